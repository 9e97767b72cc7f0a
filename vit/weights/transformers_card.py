"""`config.json` and `preprocessor_config.json` of Hugging Face transformers <-> our model card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vit.nn import Preprocessing, ViTConfig
from vit.nn.config import pair
from vit.nn.preprocessing import CropMode, Interpolation
from vit.weights.card import ModelCard, numbered

RESAMPLE: dict[Interpolation, int] = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Pillow's numbers, which is what transformers writes."""

VIT_DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "layer_norm_eps": 1e-12,
    "architectures": ["ViTForImageClassification"],
}
"""What transformers takes where `config.json` says nothing."""

DINOV2_DEFAULTS: dict[str, Any] = VIT_DEFAULTS | {
    "patch_size": 14,
    "mlp_ratio": 4,
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
}

MLPS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "quick_gelu": "quick_gelu"}
"""`hidden_act` of theirs -> `mlp` of ours."""

ACTIVATIONS = {ours: theirs for theirs, ours in MLPS.items() if theirs != "gelu_new"}
"""The way back."""


def card_from_transformers(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> ModelCard:
    """The card of a folder that transformers wrote.

    Without a `preprocessor_config.json` it has the values that transformers itself falls back on: 224 pixels (here the
    size of the model), mean and standard deviation 0.5, bilinear, oblong pictures squashed.

    Raises:
        KeyError: an entry is missing.
        ValueError: another model than ViT or DINOv2, or a preprocessing that our card has no words for.
    """
    kind = config.get("model_type")
    if kind not in READERS:
        raise ValueError(f"model_type={kind!r} of transformers is not read here; {', '.join(READERS)} are.")
    architecture = READERS[kind](config)
    return ModelCard(
        config=architecture,
        classes=_classes(config, architecture.num_classes),
        preprocessing=_preprocessing(preprocessor or {}, architecture),
        provenance={"library": "transformers"},
    )


def card_to_transformers(card: ModelCard) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `config.json` and `preprocessor_config.json` say about this model: with LayerScale a DINOv2, else a ViT.

    Raises:
        ValueError: a width of DINOv2's MLP, or a preprocessing, that transformers has no words for.
    """
    architecture, preprocessing = card.config, card.preprocessing
    config = {
        "image_size": _both_sides(architecture.image_hw),
        "patch_size": _both_sides(architecture.patch_hw),
        "num_channels": architecture.in_channels,
        "hidden_size": architecture.embed_dim,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.num_heads,
        "hidden_act": ACTIVATIONS.get(architecture.mlp, "gelu"),  # which swiglu does not look at
        "qkv_bias": architecture.qkv_bias,
        "layer_norm_eps": architecture.norm_eps,
        **(_of_vit(card) if architecture.init_values is None else _of_dinov2(architecture)),
    }
    preprocessor = {
        **_resizing(preprocessing),
        "resample": RESAMPLE[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    return config, preprocessor


def _of_vit(card: ModelCard) -> dict[str, Any]:
    """What only a ViT has in its `config.json`."""
    labels = [card.label(index) for index in range(card.config.num_classes)]
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "intermediate_size": card.config.mlp_hidden_dim,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _of_dinov2(architecture: ViTConfig) -> dict[str, Any]:
    """What only a DINOv2 has in its `config.json`."""
    registers = architecture.num_register_tokens
    return {
        "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        "mlp_ratio": dinov2_ratio(architecture),
        "use_swiglu_ffn": architecture.mlp == "swiglu",
        "layerscale_value": architecture.init_values,
        **({"num_register_tokens": registers} if registers else {}),
    }


def dinov2_ratio(architecture: ViTConfig) -> int:
    """The whole number from which transformers' DINOv2 gets the width of this model's MLP.

    Raises:
        ValueError: there is none.
    """
    is_swiglu, width = architecture.mlp == "swiglu", architecture.embed_dim
    # transformers takes two thirds of this for each of gate and value, whose sum is ours
    ratio = round(architecture.mlp_ratio * 3 / 4) if is_swiglu else round(architecture.mlp_ratio)
    if _dinov2_hidden(width, ratio, is_swiglu) != architecture.mlp_hidden_dim:
        raise ValueError(
            f"mlp_ratio={architecture.mlp_ratio} gives {architecture.mlp_hidden_dim} hidden units, and transformers' "
            f"DINOv2 takes whole multiples of the width; {_dinov2_hidden(width, ratio, is_swiglu) / width:g} works."
        )
    return ratio


def _dinov2_hidden(width: int, ratio: int | float, is_swiglu: bool) -> int:
    """How wide transformers makes the first layer of DINOv2's MLP."""
    hidden = int(width * ratio)
    return 2 * ((int(hidden * 2 / 3) + 7) // 8 * 8) if is_swiglu else hidden  # gate and value, each in whole eights


def _resizing(preprocessing: Preprocessing) -> dict[str, Any]:
    """The processor that resizes as we do: theirs for ViT squashes the picture, theirs for BiT crops its centre."""
    height, width = preprocessing.image_size
    if preprocessing.crop_mode == "squash" and preprocessing.crop_pct == 1:
        size = {"height": height, "width": width}
        return {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": size}
    if preprocessing.crop_mode == "squash":
        raise ValueError("transformers has no processor that squashes pictures and then crops them; crop_pct=1 works.")
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": int(min(height, width) / preprocessing.crop_pct)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
    }


def _vit(config: Mapping[str, Any]) -> ViTConfig:
    given = {**VIT_DEFAULTS, **config}
    return ViTConfig(
        **_shared(given),
        num_classes=_num_classes(given),
        mlp=_mlp(given),
        mlp_ratio=_ratio(given["intermediate_size"], given["hidden_size"]),
    )


def _dinov2(config: Mapping[str, Any]) -> ViTConfig:
    """DINOv2, as features: the classifier of `Dinov2ForImageClassification` reads class token and mean together."""
    given = {**DINOV2_DEFAULTS, **config}
    width = given["hidden_size"]
    hidden = _dinov2_hidden(width, given["mlp_ratio"], given["use_swiglu_ffn"])
    registers = given.get("num_register_tokens", 4) if given["model_type"] == "dinov2_with_registers" else 0
    return ViTConfig(
        **_shared(given),
        num_classes=0,
        mlp="swiglu" if given["use_swiglu_ffn"] else _mlp(given),
        mlp_ratio=_ratio(hidden, width),
        init_values=given["layerscale_value"],
        num_register_tokens=registers,
        prefix_positions=not registers,
    )


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {
    "vit": _vit,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
}
"""`model_type` -> how its `config.json` is read."""


def _shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that ViT and DINOv2 have in common."""
    return {
        "image_size": _size(given["image_size"]),
        "patch_size": _size(given["patch_size"]),
        "in_channels": given["num_channels"],
        "embed_dim": given["hidden_size"],
        "depth": given["num_hidden_layers"],
        "num_heads": given["num_attention_heads"],
        "qkv_bias": given["qkv_bias"],
        "norm_eps": given["layer_norm_eps"],
    }


def _size(size: int | list[int]) -> int | tuple[int, int]:
    return size if isinstance(size, int) else (size[0], size[1])


def _mlp(given: Mapping[str, Any]) -> Any:
    act = given["hidden_act"]
    if act not in MLPS:
        raise ValueError(f"hidden_act={act!r} of transformers is not built here; {', '.join(MLPS)} are.")
    return MLPS[act]


def _ratio(hidden: int, width: int) -> float:
    """The `mlp_ratio` that `int(width * mlp_ratio)` turns into `hidden` again."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _num_classes(given: Mapping[str, Any]) -> int:
    """The number of classes: transformers leaves them out where there are two, or no classifier."""
    if not any("ForImageClassification" in name for name in given["architectures"] or VIT_DEFAULTS["architectures"]):
        return 0
    return len(given.get("id2label") or range(given.get("num_labels", 2)))


def _classes(config: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    labels = config.get("id2label")
    return tuple(labels[str(index)] for index in range(num_classes)) if labels else numbered(num_classes)


def _preprocessing(given: Mapping[str, Any], architecture: ViTConfig) -> Preprocessing:
    """What a `preprocessor_config.json` says, at the size of the model."""
    channels = architecture.in_channels
    for step in ("do_resize", "do_rescale"):
        if not given.get(step, True):
            raise ValueError(f"{step}=False of transformers is not done here; true is.")
    normalised = given.get("do_normalize", True)
    mode, share = _crop(given)
    return Preprocessing(
        image_size=architecture.image_hw,
        mean=tuple(given.get("image_mean", [0.5] * channels) if normalised else [0.0] * channels),
        std=tuple(given.get("image_std", [0.5] * channels) if normalised else [1.0] * channels),
        interpolation=_interpolation(given.get("resample", RESAMPLE["bilinear"])),
        crop_pct=share,
        crop_mode=mode,
    )


def _interpolation(resample: Any) -> Interpolation:
    for name, number in RESAMPLE.items():
        if number == resample:
            return name
    known = ", ".join(f"{number} ({name})" for name, number in RESAMPLE.items())
    raise ValueError(f"resample={resample} of transformers is not done here; {known} are.")


def _crop(given: Mapping[str, Any]) -> tuple[CropMode, float]:
    """How an oblong picture is treated, and the share of it that a centre crop keeps.

    Only shares count, since the size is the model's: DINOv2's processor crops 224 of 256 for a model of 518 pixels.
    """
    size = given.get("size", {})
    if not given.get("do_center_crop"):
        if isinstance(size, Mapping) and "shortest_edge" in size:
            raise ValueError(f"size={dict(size)} of transformers without do_center_crop leaves pictures oblong.")
        return "squash", 1.0
    cropped, shortest = _sides(given["crop_size"]), _shortest_edge(given)
    if shortest is not None:
        return "center", _share(min(cropped), shortest)
    resized = _sides(given["size"])
    if cropped[0] * resized[1] != cropped[1] * resized[0]:
        raise ValueError(f"a crop of {cropped} from {resized} keeps another share of the height than of the width.")
    return "squash", _share(cropped[0], resized[0])


def _shortest_edge(given: Mapping[str, Any]) -> int | None:
    """The length of a picture's shorter side when it is resized; none where it is squashed."""
    size = given["size"]
    if isinstance(size, Mapping):
        return size.get("shortest_edge")
    # a mere number is a square to the processor of ViT, and the shorter side to those that crop
    is_vit = any(str(given.get(key)).startswith("ViT") for key in ("image_processor_type", "feature_extractor_type"))
    return None if is_vit else size


def _sides(size: Any) -> tuple[int, int]:
    """Height and width, of any way in which transformers writes a size."""
    if not isinstance(size, Mapping):
        return pair(size)
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _share(cropped: int, resized: int) -> float:
    """The `crop_pct` that is `resized` pixels again for `cropped` ones."""
    share = cropped / resized
    return share if int(cropped / share) == resized else math.nextafter(share, 0)


def _both_sides(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
