"""What a picture goes through before it is an image the model knows: numbers only, so that every room can carry them.

The numbers travel with the weights (`vit.weights`), and `vit.data` applies them; nobody derives them a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CropMode = Literal["center", "squash"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, crop and normalise, with timm's meaning of each number.

    Raises:
        ValueError: mean and std do not fit each other, or a number is out of its range.
    """

    image_size: tuple[int, int]
    """Height and width in pixels of what the model receives."""

    mean: tuple[float, ...]
    """Mean of every channel, of pixel values from 0 to 1; its length is the number of channels."""

    std: tuple[float, ...]
    """Standard deviation of every channel, likewise."""

    interpolation: Interpolation = "bicubic"
    """How a picture is resized."""

    crop_pct: float = 1.0
    """Share of the resized picture that the centre crop keeps, by length: 0.875 resizes to 256 and crops 224."""

    crop_mode: CropMode = "center"
    """Whether an oblong picture keeps its proportions and loses its ends, or is squashed to the model's shape whole."""

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean={self.mean} and std={self.std} must have one number for each channel.")
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std} must be above 0 in every channel.")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct={self.crop_pct} must be above 0 and at most 1; 0.875 and 1.0 are usual.")

    @property
    def channels(self) -> int:
        """Colour channels of an image."""
        return len(self.mean)
