"""The schema of a model: one frozen dataclass, validated once, so that the modules need no checks of their own."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vit.nn.presets import PRESETS
from vit.spelling import did_you_mean

Size = int | tuple[int, int]
"""A length of both sides, or (height, width)."""

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "swiglu"]
Positions = Literal["learned", "sincos2d", "rope2d", "rope2d_centred", "none"]


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a size given as one number or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Architecture of a plain ViT (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, table 1 and section 3.1).

    Raises:
        ValueError: a field has another type or is none of the choices, a patch does not divide the image, heads do not
            divide the width, or a number is out of its range.
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

    mlp: Activation = "gelu"
    """Non-linearity of the MLP: exact GELU; its tanh approximation (SigLIP); x * sigmoid(1.702 x) (OpenAI's CLIP); or
    SwiGLU, where one half of the hidden units gates the other (DINOv2 giant)."""

    mlp_ratio: float = 4.0
    """Width of the MLP's first layer, in units of embed_dim, rounded down. With swiglu it holds gate and value."""

    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""

    qk_norm: bool = False
    """Whether every head normalises its queries and keys, which keeps large models stable (Dehghani et al. 2023)."""

    class_token: bool = True
    """Whether a class token stands before the patches."""

    distilled: bool = False
    """Whether a distillation token with a head of its own follows the class token (DeiT, Touvron et al. 2021)."""

    num_register_tokens: int = 0
    """Further tokens without a meaning of their own, room to compute in (Darcet et al. 2024)."""

    positions: Positions = "learned"
    """How a token knows its place: a learned vector added to it; fixed sines and cosines of row and column added to it
    (Beyer et al. 2022); queries and keys turned by row and column, so that attention sees distances (rope2d, Heo et al.
    2024), where rows and columns may run from -1 to 1 whatever the size (rope2d_centred, DINOv3); or not at all."""

    prefix_positions: bool = True
    """Whether class, distillation and register tokens have learned positions too (timm: not no_embed_class)."""

    rope_temperature: float = 100.0
    """Base of the frequencies of rope2d: a patch turns its pair k of channels by its row or column times
    rope_temperature ** (-k / K) radians, or as many full turns for rope2d_centred; K is a quarter of a head's width."""

    patch_norm: bool = False
    """Whether every patch is normalised before and after its projection, against the large gradients there (Dual
    PatchNorm, Kumar et al. 2023, https://arxiv.org/abs/2302.01327; every ViT of vit-pytorch since its 1.0)."""

    pre_norm: bool = False
    """Whether tokens are normalised before the first block too, and patches projected without bias (CLIP)."""

    final_norm: Literal["tokens", "pooled", "none"] = "tokens"
    """Where the last norm stands: over every token, over the pooled features (timm's fc_norm), or nowhere."""

    pool: Literal["cls", "mean", "map"] = "cls"
    """What stands for the image: the class token, the mean of the patches, or attention pooling with a learned query
    (MAP, Zhai et al. 2022; SigLIP)."""

    norm_eps: float = 1e-6
    """Epsilon of every LayerNorm: 1e-6 in the paper's code and timm, 1e-5 in CLIP and torch's default."""

    init_values: float | None = None
    """Initial LayerScale (CaiT, Touvron et al. 2021, eq. 4), for instance 1e-5; none leaves LayerScale out."""

    dynamic_image_size: bool = False
    """Whether images of any size that the patch divides are taken, positions being resampled at every call."""

    drop_rate: float = 0.0
    """Dropout after the embedding, after attention and inside the MLP, from 0 to below 1."""

    patch_drop_rate: float = 0.0
    """Share of the patches left out of every training image, from 0 to below 1 (FLIP, Li et al. 2023)."""

    drop_path_rate: float = 0.0
    """Stochastic depth of the last block, from 0 to below 1; rises linearly from 0 at the first (Huang et al. 2016)."""

    init: Literal["trunc_normal", "xavier"] = "trunc_normal"
    """Initial linear weights: truncated normal of std 0.02 as in timm, or Xavier uniform, which narrow models need."""

    pos_embed_std: float = 0.02
    """Standard deviation of the initial position embedding; 0.02 as in timm, more for narrow models on small images."""

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_sizes()
        self._check_numbers()
        self._check_combinations()

    def _check_kinds(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal:
                choices = get_args(kind)
                _require(value in choices, f"{name}={value!r} is not known{did_you_mean(str(value), choices)}")
            elif kind == Size:
                _require(_is_size(value), f"{name}={value!r} is no size; whole pixels are, as 224 or as (224, 160).")
            else:
                taken = get_args(kind) or (kind,)
                known = isinstance(value, (int, *taken) if float in taken else taken)
                _require(known, f"{name}={value!r} is a {type(value).__name__}; {_KINDS[kind]} works.")

    def _check_sizes(self) -> None:
        for side, image, patch in zip(("height", "width"), self.image_hw, self.patch_hw, strict=True):
            _require(image > 0, f"image_size={self.image_size} has no {side}; it must be a positive number of pixels.")
            _require(patch > 0, f"patch_size={self.patch_size} has no {side}; it must be a positive number of pixels.")
            if image % patch:  # not by `_require`, since the sentence takes time
                raise ValueError(
                    f"patch_size={self.patch_size} does not divide image_size={self.image_size}, so the image has no "
                    f"whole grid of patches; {_divisors_near(image, patch)}."
                )
        for name in ("in_channels", "embed_dim", "depth", "num_heads"):
            value = getattr(self, name)
            _require(value > 0, f"{name}={value} must be at least 1.")
        _require(self.num_classes >= 0, f"num_classes={self.num_classes} must be 0 (features, no head) or more.")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads={self.num_heads} does not divide embed_dim={self.embed_dim}; "
                f"{_divisors_near(self.embed_dim, self.num_heads)}."
            )

    def _check_numbers(self) -> None:
        _require(
            math.isfinite(self.mlp_ratio) and self.mlp_hidden_dim > 0,
            f"mlp_ratio={self.mlp_ratio} gives the MLP no hidden units to count; 4 is usual.",
        )
        _require(self.num_register_tokens >= 0, f"num_register_tokens={self.num_register_tokens} must be 0 or more.")
        _require(self.norm_eps > 0, f"norm_eps={self.norm_eps} must be above 0; 1e-6 is usual.")
        _require(self.rope_temperature > 0, f"rope_temperature={self.rope_temperature} must be above 0; 100 is usual.")
        _require(
            self.init_values is None or self.init_values > 0,
            f"init_values={self.init_values} must be above 0, or none for a model without LayerScale; 1e-5 is usual.",
        )
        for name in ("drop_rate", "patch_drop_rate", "drop_path_rate"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name}={value} is not a probability from 0 to below 1; 0.1 is usual.")
        _require(self.pos_embed_std >= 0, f"pos_embed_std={self.pos_embed_std} must be 0 or more.")

    def _check_combinations(self) -> None:
        _require(
            self.class_token or self.pool != "cls",
            "pool='cls' reads the class token, and class_token=False leaves it out; pool='mean' and pool='map' work.",
        )
        _require(
            not self.distilled or (self.pool == "cls" and self.final_norm == "tokens"),
            f"distilled=True reads the class and the distillation token; pool={self.pool!r} with "
            f"final_norm={self.final_norm!r} does not give them, pool='cls' with final_norm='tokens' does.",
        )
        _require(
            self.mlp != "swiglu" or self.mlp_hidden_dim % 2 == 0,
            f"mlp_ratio={self.mlp_ratio} gives mlp='swiglu' {self.mlp_hidden_dim} hidden units, which have no half; "
            f"{(self.mlp_hidden_dim + 1) / self.embed_dim:g} works.",
        )
        _require(
            self.positions != "sincos2d" or self.embed_dim % 4 == 0,
            f"positions='sincos2d' needs sine and cosine of row and column; embed_dim={self.embed_dim} is no multiple "
            f"of 4, {self.embed_dim + -self.embed_dim % 4} is.",
        )
        _require(
            not self.rotary or self.head_dim % 4 == 0,
            f"positions={self.positions!r} rotates pairs of channels by row and by column; embed_dim / num_heads="
            f"{self.head_dim} is no multiple of 4.",
        )

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
        """Tokens before the first patch: class token, distillation token, registers, in that order."""
        return int(self.class_token) + int(self.distilled) + self.num_register_tokens

    @property
    def num_placed_prefix_tokens(self) -> int:
        """Prefix tokens that have a position of their own: all or none."""
        return self.num_prefix_tokens if self.positions == "learned" and self.prefix_positions else 0

    @property
    def num_tokens(self) -> int:
        """Length of the sequence that the encoder sees."""
        return self.num_prefix_tokens + self.num_patches

    @property
    def rotary(self) -> bool:
        """Whether positions act inside attention, by rotation."""
        return self.positions in ("rope2d", "rope2d_centred")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def mlp_hidden_dim(self) -> int:
        """Width of the MLP's first layer."""
        return int(self.embed_dim * self.mlp_ratio)

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


_KINDS = {int: "a whole number", float: "a number", float | None: "a number or none", bool: "true or false"}


def _is_size(value: Any) -> bool:
    """Whether this is a whole number, or two of them."""
    sides = value if isinstance(value, tuple | list) else (value, value)
    return len(sides) == 2 and all(isinstance(side, int) for side in sides)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _divisors_near(whole: int, wanted: int) -> str:
    """A clause that names the divisors of `whole` on either side of `wanted`."""
    divisors = sorted(
        {n for small in range(1, math.isqrt(whole) + 1) if whole % small == 0 for n in (small, whole // small)}
    )
    near = [*[n for n in divisors if n < wanted][-1:], *[n for n in divisors if n > wanted][:1]]
    return f"{' and '.join(map(str, near))} {'does' if len(near) == 1 else 'do'}"
