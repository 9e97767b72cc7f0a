"""`preprocessor_config.json` of transformers <-> our preprocessing.

What a file leaves out is what its processor's class takes, and each family has a usual one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from vit.nn import Preprocessing, ViTConfig
from vit.nn.config import pair
from vit.nn.preprocessing import CropMode, Interpolation

RESAMPLE: dict[Interpolation, int] = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Pillow's numbers, which is what transformers writes."""

SQUARE, IMAGENET = {"height": 224, "width": 224}, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"resample": 2, "size": SQUARE, **HALF},
    "DeiT": {
        "resample": 3,
        "size": {"height": 256, "width": 256},
        "do_center_crop": True,
        "crop_size": SQUARE,
        **HALF,
    },
    "CLIP": {
        "resample": 3,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": SQUARE,
        **OPENAI,
    },
    "Siglip": {"resample": 3, "size": SQUARE, **HALF},
    "DINOv3ViT": {"resample": 2, "size": SQUARE, **IMAGENET},
}
"""What a processor's class takes where `preprocessor_config.json` says nothing, by the beginning of its name."""

SQUASHING = ("ViT", "DeiT", "DINOv3ViT")
"""Processors to which a mere number is the side of a square; to the others it is the picture's shorter side."""

CLASS_NAME = re.compile(r"(\w+?)(ImageProcessor(Fast|Pil)?|FeatureExtractor)")
"""What the class of a processor is called, of this version of transformers or of an older one."""


def preprocessing_from_transformers(
    given: Mapping[str, Any], architecture: ViTConfig, usual: str = "ViT"
) -> Preprocessing:
    """What a `preprocessor_config.json` says, at the size of the model.

    Args:
        given: what it says, nothing where there is none.
        architecture: of the model.
        usual: whose processor it is where it does not say so, of `PROCESSORS`.

    Raises:
        KeyError: an entry is missing.
        ValueError: what our preprocessing has no words for.
    """
    given = {name: value for name, value in given.items() if value is not None}  # as if it were not there
    for step in ("do_resize", "do_rescale"):
        if not given.get(step, True):
            raise ValueError(f"{step}=False of transformers is not done here; true is.")
    factor = given.get("rescale_factor", 1 / 255)
    if not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise ValueError(f"rescale_factor={factor} of transformers is not done here; 1/255 is.")
    kind = _kind(given)
    taken = {**PROCESSORS.get(kind, PROCESSORS[usual]), **given}
    mode, share = _crop(taken, squashes=kind in SQUASHING)
    normalised = taken.get("do_normalize", True)
    return Preprocessing(
        image_size=architecture.image_hw,
        mean=_of_channels("mean", taken, architecture.in_channels) if normalised else (0.0,) * architecture.in_channels,
        std=_of_channels("std", taken, architecture.in_channels) if normalised else (1.0,) * architecture.in_channels,
        interpolation=_interpolation(taken["resample"]),
        crop_pct=share,
        crop_mode=mode,
    )


def preprocessing_to_transformers(preprocessing: Preprocessing) -> dict[str, Any]:
    """What `preprocessor_config.json` says about it.

    Raises:
        ValueError: no processor of transformers does this.
    """
    return {
        **_resizing(preprocessing),
        "resample": RESAMPLE[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def _kind(given: Mapping[str, Any]) -> str:
    """How the name of the processor's class begins; nothing where there is none."""
    name = given.get("image_processor_type") or given.get("feature_extractor_type") or ""
    match = CLASS_NAME.fullmatch(name)
    return match[1] if match else ""


def _of_channels(name: str, taken: Mapping[str, Any], channels: int) -> tuple[float, ...]:
    """Mean or standard deviation of every channel; the class's are for three, and their mean stands for others."""
    if (given := taken.get(f"image_{name}")) is not None:
        if len(given) != channels:
            raise ValueError(f"image_{name}={given} of transformers is not for the {channels} channels of the model.")
        return tuple(given)
    usual = taken[name]
    return usual if channels == len(usual) else (sum(usual) / len(usual),) * channels


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


def _interpolation(resample: Any) -> Interpolation:
    for name, number in RESAMPLE.items():
        if number == resample:
            return name
    known = ", ".join(f"{number} ({name})" for name, number in RESAMPLE.items())
    raise ValueError(f"resample={resample} of transformers is not done here; {known} are.")


def _crop(given: Mapping[str, Any], squashes: bool) -> tuple[CropMode, float]:
    """How an oblong picture is treated, and the share of it that a centre crop keeps.

    Only shares count, since the size is the model's: DINOv2's processor crops 224 of 256 for a model of 518 pixels.
    """
    size = given.get("size", {})
    if not given.get("do_center_crop"):
        if isinstance(size, Mapping) and "shortest_edge" in size:
            raise ValueError(f"size={dict(size)} of transformers without do_center_crop leaves pictures oblong.")
        return "squash", 1.0
    cropped = _sides(given["crop_size"])
    shortest = None if squashes and not isinstance(given["size"], Mapping) else _shortest_edge(given["size"])
    if shortest is not None:
        return "center", _share(min(cropped), shortest)
    resized = _sides(given["size"])
    if cropped[0] * resized[1] != cropped[1] * resized[0]:
        raise ValueError(f"a crop of {cropped} from {resized} keeps another share of the height than of the width.")
    return "squash", _share(cropped[0], resized[0])


def _shortest_edge(size: Any) -> int | None:
    """The length of a picture's shorter side when it is resized; none where both sides are said."""
    return size.get("shortest_edge") if isinstance(size, Mapping) else size


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
