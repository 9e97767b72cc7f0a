"""What a model folder's `config.json` says: architecture, class names, preprocessing, provenance; as timm names them.

The entry `config` has all fields of our `ViTConfig`, also those that timm does not know; where it is there, it counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.nn.preprocessing import CropMode
from vit.spelling import did_you_mean
from vit.weights.timm import config_from_timm, timm_architecture, timm_arguments

TRAINING = frozenset({"drop_rate", "patch_drop_rate", "drop_path_rate", "init", "pos_embed_std", "dynamic_image_size"})
"""Fields that change no logits."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What `config.json` says about a model."""

    config: ViTConfig
    """Its architecture."""

    classes: tuple[str, ...]
    """Class names in the order of the logits."""

    preprocessing: Preprocessing
    """What a picture goes through before the model sees it."""

    descriptions: Mapping[str, str] = field(default_factory=dict[str, str])
    """What a class name means, where the name is a code."""

    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Where the model comes from: command, versions, scores; plain JSON values."""

    def __post_init__(self) -> None:
        if len(self.classes) != self.config.num_classes:
            raise ValueError(f"{len(self.classes)} class names do not fit num_classes={self.config.num_classes}.")

    def label(self, index: int) -> str:
        """The name of a class; what a code means stands before it: "tench, Tinca tinca (n01440764)"."""
        name = self.classes[index]
        return f"{self.descriptions[name]} ({name})" if name in self.descriptions else name

    def for_model(self, model: ViT) -> ModelCard:
        """The card of this model after its architecture was changed, by `model.resize` for instance."""
        return self.for_config(model.config)

    def for_config(self, config: ViTConfig) -> ModelCard:
        """The card of a model whose architecture was changed to `config`.

        New classes have numbers for names, and new channels the mean of the old ones' mean and standard deviation.
        """
        old = self.preprocessing
        if config.in_channels != old.channels:
            mean = (sum(old.mean) / old.channels,) * config.in_channels
            std = (sum(old.std) / old.channels,) * config.in_channels
        else:
            mean, std = old.mean, old.std
        image_size = old.image_size if config.image_hw == self.config.image_hw else config.image_hw
        return dataclasses.replace(
            self,
            config=config,
            classes=self.classes if len(self.classes) == config.num_classes else numbered(config.num_classes),
            preprocessing=dataclasses.replace(old, image_size=image_size, mean=mean, std=std),
        )

    def require_of(self, model: ViT) -> None:
        """Raise a `ValueError` if this is the card of a model with other tensors or another function."""
        for name in differing(self.config, model.config):
            raise ValueError(
                f"the card says {name}={getattr(self.config, name)!r} and the model has {getattr(model.config, name)!r}"
                "; card.for_model(model) is the card of the model as it is now."
            )


def differing(one: ViTConfig, other: ViTConfig) -> list[str]:
    """Fields in which two architectures differ, of those that decide shapes or logits."""
    fields = [field.name for field in dataclasses.fields(ViTConfig) if field.name not in TRAINING]
    as_read = {"image_size": "image_hw", "patch_size": "patch_hw", "mlp_ratio": "mlp_hidden_dim"}
    return [name for name in fields if getattr(one, as_read.get(name, name)) != getattr(other, as_read.get(name, name))]


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """The content of a `config.json` that timm builds the same model from."""
    config, preprocessing = card.config, card.preprocessing
    arguments = timm_arguments(config)
    try:
        architecture = timm_architecture(config)
    except ValueError as error:  # the model is kept all the same, and timm says that it does not know this name
        architecture = f"none: {error}"
    return {
        "architecture": architecture,
        "num_classes": config.num_classes,
        "num_features": config.embed_dim,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [preprocessing.channels, *preprocessing.image_size],
            "fixed_input_size": True,
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_pct,
            "crop_mode": preprocessing.crop_mode,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": config.num_classes,
            "first_conv": "patch_embed.proj",
            "classifier": ["head", "head_dist"] if config.distilled else "head",
            "label_names": list(card.classes),
            "label_descriptions": dict(card.descriptions),
        },
        "config": dataclasses.asdict(config),
        "provenance": dict(card.provenance),
    }


def card_from_json(card: Mapping[str, Any]) -> ModelCard:
    """The inverse of `card_to_json`; it also reads what timm wrote.

    Raises:
        KeyError: an entry is missing.
        ValueError: an architecture or a preprocessing that this package does not have.
    """
    for entry in ("pretrained_cfg", "config", "model_args"):
        if not isinstance(card.get(entry, {}), Mapping):
            raise ValueError(f"{entry}={card[entry]!r} is no object with names and values.")
    pretrained = card["pretrained_cfg"]
    if len(pretrained["input_size"]) != 3:
        raise ValueError(f"input_size={pretrained['input_size']} is not channels, height and width.")
    channels, height, width = pretrained["input_size"]
    mean, std = pretrained["mean"], pretrained["std"]
    if not len(mean) == len(std) == channels:
        raise ValueError(f"mean={mean} and std={std} are not for {channels} channels.")
    crop_mode = pretrained.get("crop_mode") or "center"
    if crop_mode not in get_args(CropMode):
        raise ValueError(f"crop_mode={crop_mode!r} is not supported; {' and '.join(get_args(CropMode))} are.")
    config = _config(card)
    return ModelCard(
        config=config,
        classes=tuple(pretrained.get("label_names") or numbered(config.num_classes)),
        preprocessing=Preprocessing(
            image_size=(height, width),
            mean=tuple(mean),
            std=tuple(std),
            interpolation=pretrained["interpolation"],
            crop_pct=pretrained["crop_pct"],
            crop_mode=crop_mode,
        ),
        descriptions=pretrained.get("label_descriptions") or {},
        provenance=card.get("provenance", {}),
    )


def _config(card: Mapping[str, Any]) -> ViTConfig:
    if "config" in card:
        known = {field.name for field in dataclasses.fields(ViTConfig)}
        for name in card["config"]:
            if name not in known:
                raise ValueError(f"ViTConfig has no field {name!r}{did_you_mean(name, known)}")
        return ViTConfig(**{name: _tuple(value) for name, value in card["config"].items()})
    channels, height, width = card["pretrained_cfg"]["input_size"]
    # what timm, too, takes from there where no argument says otherwise
    arguments = {"num_classes": card["num_classes"], "in_chans": channels, **card.get("model_args", {})}
    if card["pretrained_cfg"].get("fixed_input_size"):
        arguments.setdefault("img_size", (height, width))
    if card.get("global_pool"):
        arguments.setdefault("global_pool", card["global_pool"])
    return config_from_timm(card["architecture"], arguments)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def numbered(num_classes: int) -> tuple[str, ...]:
    """Names for classes of which only the number is known."""
    return tuple(str(index) for index in range(num_classes))
