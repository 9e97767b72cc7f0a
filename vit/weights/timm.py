"""Our tensors and fields under timm's names, and back. Nothing here imports timm: names and shapes are all it takes.

Most names are the same. Three tensors differ: timm's patch projection is a convolution (d, c, ph, pw) where ours is
linear (d, c * ph * pw), and its class token and positions carry axes of length one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from vit.nn import ViTConfig

ARCHITECTURE_OF_ANY_SHAPE = "vit_base_patch16_224"
"""timm builds every plain ViT from this entry point, given `model_args`."""

ARGUMENTS = {
    "image_size": "img_size",
    "patch_size": "patch_size",
    "in_channels": "in_chans",
    "num_classes": "num_classes",
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
}
"""Our field -> timm's argument, for all that decides which tensors there are and what they compute."""


def to_timm(state: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """Our state dict as timm's `VisionTransformer` names and shapes it."""
    ph, pw = config.patch_hw
    renamed = {name.removeprefix("tokenizer."): tensor for name, tensor in state.items()}
    renamed["patch_embed.proj.weight"] = rearrange(
        renamed["patch_embed.proj.weight"], "d (c ph pw) -> d c ph pw", ph=ph, pw=pw
    )
    renamed["cls_token"] = rearrange(renamed["cls_token"], "d -> 1 1 d")
    renamed["pos_embed"] = rearrange(renamed["pos_embed"], "n d -> 1 n d")
    return {name: tensor.contiguous() for name, tensor in renamed.items()}


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_timm`.

    Raises:
        ValueError: the tensors are not those of a plain ViT with class token and learned positions.
    """
    missing = [name for name in ("patch_embed.proj.weight", "cls_token", "pos_embed") if name not in state]
    if missing:
        raise ValueError(f"these are not the weights of a plain ViT in timm's layout: {', '.join(missing)} missing.")
    ours = dict(state)
    ours["patch_embed.proj.weight"] = rearrange(ours["patch_embed.proj.weight"], "d c ph pw -> d (c ph pw)")
    ours["tokenizer.cls_token"] = rearrange(ours.pop("cls_token"), "1 1 d -> d")
    ours["tokenizer.pos_embed"] = rearrange(ours.pop("pos_embed"), "1 n d -> n d")
    return ours


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """The keyword arguments with which timm builds a model of this shape."""
    return {theirs: getattr(config, ours) for ours, theirs in ARGUMENTS.items()}


def config_from_timm(architecture: str, arguments: Mapping[str, Any]) -> ViTConfig:
    """The `ViTConfig` of timm's `architecture` with some of its arguments changed.

    Raises:
        ValueError: an architecture, or an argument, that is not one of a plain ViT as this package has it.
    """
    fields = {theirs: ours for ours, theirs in ARGUMENTS.items()}
    unknown = [name for name in arguments if name not in fields]
    if unknown:
        raise ValueError(f"{architecture} with {', '.join(unknown)} is not a plain ViT that this package builds.")
    changes = {fields[name]: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()}
    return ViTConfig.preset(architecture, **changes)
