"""Random changes of training images.

A photograph is cropped, mirrored and its colours jittered one image at a time in the workers; what is cheap for a
whole batch happens on the device that trains, and so do the policies, see `policy.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Generator, Tensor

Policy = Literal["none", "trivial", "randaugment", "autoaugment_cifar10", "autoaugment_imagenet"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are changed at random; the defaults change nothing.

    Raises:
        ValueError: a probability or a share of the area that is none.
    """

    crop_scale: tuple[float, float] | None = None
    """Random resized crop of files: least and greatest share of the picture's area, 0.08 to 1 on ImageNet."""

    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and greatest width by height of that crop, before it is resized to the model's shape."""

    crop_interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """How that crop is resized."""

    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Greatest random change of brightness, contrast, saturation (shares) and hue (turns, up to 0.5), of files."""

    policy: Policy = "none"
    """Colour and geometry, by torchvision: TrivialAugment, RandAugment (2 operations, magnitude 9) or AutoAugment."""

    flip: float = 0.0
    """Probability of mirroring left and right."""

    shift: int = 0
    """Largest shift in pixels in either direction, whole pixels, black beyond the border: 4 is usual on CIFAR."""

    shift_probability: float = 1.0
    """Share of the images that are shifted."""

    erase: float = 0.0
    """Probability of covering a rectangle with black: 2 to 20 % of the area (Zhong et al. 2020)."""

    repeats: int = 1
    """Differently changed copies of an image in one step (repeated augmentation, Hoffer et al. 2020; DeiT has 3)."""

    mixup: float = 0.0
    """Mixup (Zhang et al. 2018): alpha of the Beta distribution of the shares; 0.2 to 0.8 is usual, 0 leaves it out."""

    cutmix: float = 0.0
    """CutMix (Yun et al. 2019): alpha of the Beta distribution of the shares; 1 is usual, 0 leaves it out."""

    mix_probability: float = 1.0
    """Share of the batches that are mixed, by mixup or CutMix."""

    cutmix_share: float = 0.5
    """Share of the mixed batches that CutMix mixes, where both are on."""

    mix_off_epochs: int = 0
    """Last epochs of the training, in which nothing is mixed."""

    def __post_init__(self) -> None:
        for name in ("flip", "shift_probability", "erase", "mix_probability", "cutmix_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} is not a probability; it must be from 0 to 1.")
        for name, least in (("mixup", 0), ("cutmix", 0), ("mix_off_epochs", 0), ("repeats", 1)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name}={value} must be a number of at least {least}.")
        if self.shift < 0:
            raise ValueError(f"shift={self.shift} must be 0 pixels or more.")
        self._check_photographs()

    def _check_photographs(self) -> None:
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1] < math.inf:
            raise ValueError(f"crop_ratio={self.crop_ratio} must be two widths by height, 0 < least <= greatest.")
        if not all(0 <= change < math.inf for change in self.color_jitter) or self.color_jitter[3] > 0.5:
            raise ValueError(
                f"color_jitter={self.color_jitter} must be four numbers of at least 0, the last, of hue, at most 0.5."
            )
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(
                f"crop_scale={self.crop_scale} must be two shares of the area, 0 < least <= greatest <= 1."
            )


def erase(
    images: UInt8[Tensor, "b c h w"], probability: float, generator: Generator | None = None
) -> UInt8[Tensor, "b c h w"]:
    """Cover one rectangle of each chosen image, of 2 to 20 % of the area and up to 3 times as long as wide."""
    b, _, h, w = images.shape
    area = h * w * torch.empty(b, device=images.device).uniform_(0.02, 0.2, generator=generator)
    aspect = torch.exp(
        torch.empty(b, device=images.device).uniform_(-1.1, 1.1, generator=generator)
    )  # log-uniform, exp(1.1) = 3
    height, width = (area * aspect).sqrt().round().clamp(1, h), (area / aspect).sqrt().round().clamp(1, w)
    top, left = (
        torch.rand(2, b, device=images.device, generator=generator) * torch.stack([h - height + 1, w - width + 1])
    ).floor()
    rows = rearrange(torch.arange(h, device=images.device), "h -> 1 1 h 1")
    columns = rearrange(torch.arange(w, device=images.device), "w -> 1 1 1 w")

    def within(positions: Tensor, start: Tensor, length: Tensor) -> Tensor:
        start, length = rearrange(start, "b -> b 1 1 1"), rearrange(length, "b -> b 1 1 1")
        return (positions >= start) & (positions < start + length)

    covered = within(rows, top, height) & within(columns, left, width) & _chosen(images, probability, generator)
    return images.masked_fill(covered, 0)


def _chosen(images: Tensor, probability: float, generator: Generator | None) -> Tensor:
    """Which images of a batch a change falls on, (b, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device, generator=generator) < probability
