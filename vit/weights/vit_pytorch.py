"""lucidrains/vit-pytorch's `ViT` and `SimpleViT` -> timm's names and shapes. Imports no vit-pytorch.

A patch vector is `(ph pw c)` there, queries, keys and values have no bias, and LayerNorm's epsilon is 1e-5. Since 1.0
patches are normalised before and after their projection. `SimpleViT` has no class token, no bias behind attention, and
computed positions that are no tensor of the file.

As a `ViTConfig`: `patch_norm=True` (False before 1.0), `qkv_bias=False, norm_eps=1e-5`; for `ViT(pool="mean")` also
`class_token=False, pool="mean"`, and for `SimpleViT` these and `positions="sincos2d"`. Before 1.16 `ViT(pool="mean")`
counts the class token into the mean, which no `ViTConfig` does, and which its tensors do not show.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import pack, rearrange
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import patch_shape, rename

MARKER = r"transformer\.layers\.0\.0\.(fn\.)?to_qkv\.weight"

NAMES = {
    "pos_embedding": "pos_embed",
    "transformer.layers.{}.0.norm": "blocks.{}.norm1",
    "transformer.layers.{}.0.to_qkv": "blocks.{}.attn.qkv",
    "transformer.layers.{}.0.to_out": "blocks.{}.attn.proj",
    "transformer.layers.{}.0.to_out.0": "blocks.{}.attn.proj",
    "transformer.layers.{}.1.net.0": "blocks.{}.norm2",
    "transformer.layers.{}.1.net.1": "blocks.{}.mlp.fc1",
    "transformer.layers.{}.1.net.3": "blocks.{}.mlp.fc2",
    "transformer.layers.{}.1.net.4": "blocks.{}.mlp.fc2",
    "transformer.norm": "norm",
    "mlp_head": "head",
    "linear_head": "head",
}

PATCH_NAMES = {
    "to_patch_embedding.1": "patch_embed.norm_pixels",
    "to_patch_embedding.2": "patch_embed.proj",
    "to_patch_embedding.3": "patch_embed.norm",
}
"""Since 1.0."""

OLD_PATCH_NAMES = {"to_patch_embedding.1": "patch_embed.proj"}

OLD_NAMES = {
    "transformer.layers.{}.0.fn.to_qkv": "blocks.{}.attn.qkv",
    "transformer.layers.{}.0.fn.to_out": "blocks.{}.attn.proj",
    "transformer.layers.{}.0.fn.to_out.0": "blocks.{}.attn.proj",
    "transformer.layers.{}.1.norm": "blocks.{}.norm2",
    "transformer.layers.{}.1.fn.net.0": "blocks.{}.mlp.fc1",
    "transformer.layers.{}.1.fn.net.2": "blocks.{}.mlp.fc2",
    "transformer.layers.{}.1.fn.net.3": "blocks.{}.mlp.fc2",
    "mlp_head.0": "norm",
    "mlp_head.1": "head",
    "linear_head.0": "fc_norm",
    "linear_head.1": "head",
}
"""In old versions, 0.35.8 for one, norms stood outside of attention and MLP, and the last one in the head: behind the
pooling, which for the class token is the same, and for the mean of `SimpleViT` is `final_norm="pooled"`."""


def to_timm(state: Mapping[str, Tensor], config: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors of vit-pytorch under timm's names and in timm's shapes.

    Raises:
        ValueError: patches that are not the config's, or without one not square with one or three channels.
    """
    patch_names = PATCH_NAMES if "to_patch_embedding.2.weight" in state else OLD_PATCH_NAMES
    ours = rename(state, NAMES | OLD_NAMES | patch_names)
    weight = ours["patch_embed.proj.weight"]
    channels, ph, _ = patch_shape(weight.shape[1], config)
    ours["patch_embed.proj.weight"] = rearrange(weight, "d (ph pw c) -> d c ph pw", c=channels, ph=ph)
    for name in {"patch_embed.norm_pixels.weight", "patch_embed.norm_pixels.bias"} & ours.keys():
        ours[name] = rearrange(ours[name], "(ph pw c) -> (c ph pw)", c=channels, ph=ph)
    if "cls_token" in ours and not ours["cls_token"].numel():  # what ViT(pool="mean") has of it
        del ours["cls_token"]
    for name in {"cls_token", "pos_embed"} & ours.keys():  # some versions have the axis of length one, some do not
        ours[name], _ = pack([ours[name]], "* n d")
    # SimpleViT has no bias there, which is a bias of zero
    for name in [name for name in ours if name.endswith("attn.proj.weight")]:
        ours.setdefault(name.replace("weight", "bias"), torch.zeros(ours[name].shape[0], device=weight.device))
    return ours
