"""The schema of a model: one frozen dataclass, validated once, so that the modules need no checks of their own."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal

Size = int | tuple[int, int]


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a size given as one number or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Architecture of a plain ViT (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, table 1 and section 3.1).

    Raises:
        ValueError: a patch does not divide the image, heads do not divide the width, or a number is out of its range.
    """

    image_size: Size = 224
    """Pixels of the square image, or (height, width)."""

    patch_size: Size = 16
    """Pixels of the square patch, or (height, width); must divide image_size."""

    in_channels: int = 3
    """Colour channels: 3 for RGB, 1 for grey."""

    num_classes: int = 1000
    """Number of logits. 0 leaves the head out: the model then returns the pooled features."""

    embed_dim: int = 192
    """Width of a token."""

    depth: int = 12
    """Number of encoder blocks."""

    num_heads: int = 3
    """Attention heads of a block; must divide embed_dim."""

    mlp_ratio: float = 4.0
    """Hidden width of the MLP, in units of embed_dim."""

    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""

    drop_rate: float = 0.0
    """Dropout after the embedding, after attention and inside the MLP, from 0 to below 1."""

    drop_path_rate: float = 0.0
    """Stochastic depth of the last block, from 0 to below 1; rises linearly from 0 at the first (Huang et al. 2016)."""

    init: Literal["trunc_normal", "xavier"] = "trunc_normal"
    """Initial linear weights: truncated normal of std 0.02 as in timm, or Xavier uniform, which narrow models need."""

    pos_embed_std: float = 0.02
    """Standard deviation of the initial position embedding; 0.02 as in timm, more for narrow models on small images."""

    def __post_init__(self) -> None:
        for side, image, patch in zip(("height", "width"), self.image_hw, self.patch_hw, strict=True):
            _require(image > 0, f"image_size={self.image_size} has no {side}; it must be a positive number of pixels.")
            _require(patch > 0, f"patch_size={self.patch_size} has no {side}; it must be a positive number of pixels.")
            _require(
                image % patch == 0,
                f"patch_size={self.patch_size} does not divide image_size={self.image_size}, so the image has no "
                f"whole grid of patches; {_either(_divisors_near(image, patch))}.",
            )
        for name in ("in_channels", "embed_dim", "depth", "num_heads"):
            value = getattr(self, name)
            _require(value > 0, f"{name}={value} must be at least 1.")
        _require(self.num_classes >= 0, f"num_classes={self.num_classes} must be 0 (features, no head) or more.")
        _require(
            self.embed_dim % self.num_heads == 0,
            f"num_heads={self.num_heads} does not divide embed_dim={self.embed_dim}; "
            f"{_either(_divisors_near(self.embed_dim, self.num_heads))}.",
        )
        _require(self.mlp_ratio > 0, f"mlp_ratio={self.mlp_ratio} must be above 0; 4 is usual.")
        for name in ("drop_rate", "drop_path_rate"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name}={value} is not a probability from 0 to below 1; 0.1 is usual.")
        _require(self.pos_embed_std >= 0, f"pos_embed_std={self.pos_embed_std} must be 0 or more.")

    @property
    def image_hw(self) -> tuple[int, int]:
        """Image height and width in pixels."""
        return pair(self.image_size)

    @property
    def patch_hw(self) -> tuple[int, int]:
        """Patch height and width in pixels."""
        return pair(self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_hw[0] // self.patch_hw[0], self.image_hw[1] // self.patch_hw[1]

    @property
    def num_patches(self) -> int:
        """Number of patches of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token."""
        return 1

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the encoder sees."""
        return self.num_prefix_tokens + self.num_patches

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ViTConfig:
        """The architecture of that name (timm's names), with some fields changed.

        Raises:
            ValueError: no such preset, or no such field; the nearest name is suggested.
        """
        if name not in PRESETS:
            raise ValueError(f"there is no architecture {name!r}{did_you_mean(name, PRESETS)}")
        fields = {field.name for field in dataclasses.fields(cls)}
        for key in changes:
            if key not in fields:
                raise ValueError(f"ViTConfig has no field {key!r}{did_you_mean(key, fields)}")
        return cls(**{**PRESETS[name], **changes})


PRESETS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3},
    "vit_small_patch32_224": {"patch_size": 32, "embed_dim": 384, "depth": 12, "num_heads": 6},
    "vit_small_patch16_224": {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6},
    "vit_base_patch32_224": {"patch_size": 32, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_base_patch16_224": {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_large_patch16_224": {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
    "vit_huge_patch14_224": {"patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16},
}
"""Sizes of Dosovitskiy et al. 2021 (table 1) and Touvron et al. 2021 (tiny, small), under timm's names."""


def did_you_mean(name: str, known: Any) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(known))}."


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _divisors_near(whole: int, wanted: int) -> list[int]:
    """The divisors of `whole` on either side of `wanted`."""
    divisors = [n for n in range(1, whole + 1) if whole % n == 0]
    below = [n for n in divisors if n < wanted]
    above = [n for n in divisors if n > wanted]
    return below[-1:] + above[:1]


def _either(numbers: list[int]) -> str:
    return f"{numbers[0]} does" if len(numbers) == 1 else f"{numbers[0]} and {numbers[1]} do"
