"""The model folder: all that is needed to use a model, in two files that hold no code.

`model.safetensors` has the weights, `config.json` the architecture, the class names in index order, the preprocessing
and where the model comes from, both as timm names them: `timm.create_model("local-dir:FOLDER", pretrained=True)` reads
it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights.timm import ARCHITECTURE_OF_ANY_SHAPE, config_from_timm, from_timm, timm_arguments, to_timm

WEIGHTS = "model.safetensors"
CARD = "config.json"


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
        """The name of a class, with its description where there is one."""
        name = self.classes[index]
        return f"{name} ({self.descriptions[name]})" if name in self.descriptions else name


def save_model(model: ViT, card: ModelCard, folder: str | os.PathLike[str]) -> Path:
    """Write the model folder. Each file appears whole or not at all, and the weights before the card that names them.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu() for name, tensor in to_timm(model.state_dict(), model.config).items()}
    save_file(weights, folder / f"{WEIGHTS}.tmp", metadata={"format": "pt"})
    (folder / f"{WEIGHTS}.tmp").replace(folder / WEIGHTS)
    (folder / f"{CARD}.tmp").write_text(json.dumps(_card_to_json(card), indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / f"{CARD}.tmp").replace(folder / CARD)
    return folder


def load_model(folder: str | os.PathLike[str]) -> ViT:
    """The model of a folder, ours or timm's, in evaluation mode. Runs no code from the folder.

    Raises:
        FileNotFoundError: no such folder, or not a model folder.
        ValueError: a damaged file, or weights of another architecture than the card says.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        state = from_timm(load_file(_file(folder, WEIGHTS)))
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged or not a safetensors file ({error}).") from None
    with torch.device("meta"):
        model = ViT(card.config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        differing = sorted(expected.items() ^ found.items())
        name, shape = differing[0]
        raise ValueError(
            f"{folder / WEIGHTS} has other tensors than {CARD} says: {len({n for n, _ in differing})} differ, "
            f"{name} {shape} among them."
        )
    model.load_state_dict(state, assign=True)
    return model.eval()


def read_card(folder: str | os.PathLike[str]) -> ModelCard:
    """What a model folder says about itself, without reading the weights.

    Raises:
        FileNotFoundError: no such folder, or not a model folder.
        ValueError: `config.json` is damaged, or describes something else than a plain ViT.
    """
    path = _file(Path(folder), CARD)
    try:
        return _card_from_json(json.loads(path.read_text(encoding="utf-8")))
    except KeyError as error:
        raise ValueError(f"{path} does not describe an image model: it has no {error}.") from None
    except (ValueError, TypeError) as error:  # a JSON error is a ValueError
        raise ValueError(f"{path}: {error}") from None


def _file(folder: Path, name: str) -> Path:
    """The path of a file of the model folder, or a sentence about what is there instead."""
    if (folder / name).is_file():
        return folder / name
    nearby = sorted(str(p.parent) for p in folder.glob(f"*/{CARD}")) if folder.is_dir() else []
    if nearby:
        raise FileNotFoundError(f"{folder} is not a model folder, but {' and '.join(nearby)} may be.")
    what = f"has no {name}" if folder.is_dir() else "does not exist"
    raise FileNotFoundError(f"model folder {folder} {what}; `vit fit` writes one to runs/NAME/model.")


def _card_to_json(card: ModelCard) -> dict[str, Any]:
    config, preprocessing = card.config, card.preprocessing
    return {
        "architecture": ARCHITECTURE_OF_ANY_SHAPE,
        "num_classes": config.num_classes,
        "num_features": config.embed_dim,
        "global_pool": "token",
        "model_args": timm_arguments(config),
        "pretrained_cfg": {
            "input_size": [preprocessing.channels, *preprocessing.image_size],
            "fixed_input_size": True,
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_pct,
            "crop_mode": "center",
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": config.num_classes,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "label_names": list(card.classes),
            "label_descriptions": dict(card.descriptions),
        },
        "provenance": dict(card.provenance),
    }


def _card_from_json(card: Mapping[str, Any]) -> ModelCard:
    pretrained = card["pretrained_cfg"]
    arguments = {"num_classes": card["num_classes"], **card.get("model_args", {})}
    classes = pretrained.get("label_names") or [str(index) for index in range(arguments["num_classes"])]
    channels, height, width = pretrained["input_size"]
    mean, std = pretrained["mean"], pretrained["std"]
    if not len(mean) == len(std) == channels:
        raise ValueError(f"mean={mean} and std={std} are not for {channels} channels.")
    if pretrained.get("crop_mode", "center") != "center":
        raise ValueError(f"crop_mode={pretrained['crop_mode']!r} is not supported; 'center' is.")
    return ModelCard(
        config=config_from_timm(card["architecture"], arguments),
        classes=tuple(classes),
        preprocessing=Preprocessing(
            image_size=(height, width),
            mean=tuple(mean),
            std=tuple(std),
            interpolation=pretrained["interpolation"],
            crop_pct=pretrained["crop_pct"],
        ),
        descriptions=pretrained.get("label_descriptions") or {},
        provenance=card.get("provenance", {}),
    )
