"""torchvision's `vit_b_16` and relatives <-> timm's names. Nothing here imports torchvision.

Queries, keys and values are stacked in the same order (`torch.nn.MultiheadAttention`), so that every tensor is only
renamed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vit.weights.names import inverse, rename

MARKER = "conv_proj.weight"

NAMES = {
    "class_token": "cls_token",
    "conv_proj": "patch_embed.proj",
    "encoder.pos_embedding": "pos_embed",
    "encoder.layers.encoder_layer_{}.ln_1": "blocks.{}.norm1",
    "encoder.layers.encoder_layer_{}.self_attention.in_proj_weight": "blocks.{}.attn.qkv.weight",
    "encoder.layers.encoder_layer_{}.self_attention.in_proj_bias": "blocks.{}.attn.qkv.bias",
    "encoder.layers.encoder_layer_{}.self_attention.out_proj": "blocks.{}.attn.proj",
    "encoder.layers.encoder_layer_{}.ln_2": "blocks.{}.norm2",
    "encoder.layers.encoder_layer_{}.mlp.0": "blocks.{}.mlp.fc1",
    "encoder.layers.encoder_layer_{}.mlp.3": "blocks.{}.mlp.fc2",
    "encoder.ln": "norm",
    "heads.head": "head",
}

OLD_NAMES = {
    "encoder.layers.encoder_layer_{}.mlp.linear_1": "blocks.{}.mlp.fc1",
    "encoder.layers.encoder_layer_{}.mlp.linear_2": "blocks.{}.mlp.fc2",
}
"""The files that torchvision publishes still have these; it renames them itself on loading."""


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of torchvision under timm's names."""
    return rename(state, NAMES | OLD_NAMES)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_timm`."""
    return rename(state, inverse(NAMES))
