"""Tensors of one size -> those of another, on request: the head, the positions, the colour channels.

All in timm's names and shapes, where a patch projection still has its axes apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor

from vit.nn import ViTConfig
from vit.nn.positions import resample_pos_embed, sincos2d

HEAD = ("head.", "head_dist.", "pre_logits.")
"""What belongs to the old classes and goes with them."""


@dataclass(kw_only=True)
class Adapted:
    """Tensors of another size, and what was done to them, under our names."""

    state: dict[str, Tensor]
    resized: dict[str, str] = field(default_factory=dict[str, str])
    left_over: list[str] = field(default_factory=list[str])


def adapt(state: Mapping[str, Tensor], own: ViTConfig, wanted: ViTConfig, new_head: bool) -> Adapted:
    """The tensors of `own`, made to fit `wanted` in image size and channels, and in classes where `new_head` allows it.

    A head of another shape is left out, to be initialised; one of the right shape is kept.
    """
    adapted = Adapted(state=join_prefix_positions(state, own))
    if adapted.state.get("cls_token") is not state.get("cls_token"):
        adapted.resized["tokenizer.cls_token"] = "its position added, since prefix tokens have none"
    head_shape = (wanted.num_classes, wanted.embed_dim)
    if new_head and "head.weight" in state and state["head.weight"].shape != head_shape:
        adapted.left_over = [name for name in state if name.startswith(HEAD)]
        adapted.state = {name: tensor for name, tensor in adapted.state.items() if name not in adapted.left_over}
    if own.in_channels != wanted.in_channels:
        tensors = adapt_patches(adapted.state, wanted.in_channels)
        adapted.state |= tensors
        adapted.resized |= dict.fromkeys(tensors, f"{own.in_channels} -> {wanted.in_channels} colour channels")
    positions = adapted.state.get("pos_embed")
    if positions is None and own.positions == "sincos2d":  # resampled, as `ViT.resize` does, whether in the file or not
        positions = rearrange(sincos2d(own.grid, own.embed_dim), "n d -> 1 n d")
    prefix = own.num_placed_prefix_tokens
    # positions of yet another grid stay as they are, to be refused for their shape
    if own.grid != wanted.grid and positions is not None and positions.shape[1] == prefix + own.num_patches:
        table = resample_pos_embed(rearrange(positions, "1 n d -> n d"), own.grid, wanted.grid, prefix)
        adapted.state["pos_embed"] = rearrange(table, "n d -> 1 n d")
        adapted.resized["tokenizer.pos_embed"] = f"{_by(own.grid)} -> {_by(wanted.grid)} patches"
    return adapted


def adapt_patches(state: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The tensors of the patch embedding that depend on the number of colour channels, for another one.

    Weight and bias of a norm before the projection become part of the projection, exactly: what is left of the norm
    treats all channels alike, so that one channel still gives what equal channels gave.

    Raises:
        ValueError: that norm before a projection without bias, which leaves its bias no place.
    """
    weight = state["patch_embed.proj.weight"]
    norm_weight, norm_bias = (state.get(f"patch_embed.norm_pixels.{kind}") for kind in ("weight", "bias"))
    if norm_weight is None or norm_bias is None:
        return {"patch_embed.proj.weight": adapt_channels(weight, channels)}
    if "patch_embed.proj.bias" not in state:
        raise ValueError(
            f"in_channels={channels} cannot be had from a model with patch_norm=True and pre_norm=True: the bias of "
            "the norm before the patch projection would have to move into the projection, which has none."
        )
    _, c, ph, pw = weight.shape
    scale, shift = (rearrange(each, "(c ph pw) -> c ph pw", c=c, ph=ph) for each in (norm_weight, norm_bias))
    ones = torch.ones(channels * ph * pw)
    return {
        "patch_embed.norm_pixels.weight": ones,
        "patch_embed.norm_pixels.bias": torch.zeros_like(ones),
        "patch_embed.proj.weight": adapt_channels(weight * scale, channels),
        "patch_embed.proj.bias": state["patch_embed.proj.bias"] + einsum(weight, shift, "d c ph pw, c ph pw -> d"),
    }


def adapt_channels(weight: Float[Tensor, "d c ph pw"], channels: int) -> Float[Tensor, "d k ph pw"]:
    """A patch projection for another number of colour channels, as timm does it.

    One channel gets the sum, which is exact for a grey image that was given as equal channels; other numbers get
    the old channels in turn, scaled so that a token keeps its size.
    """
    old = weight.shape[1]
    if channels == 1:
        return reduce(weight, "d c ph pw -> d 1 ph pw", "sum")
    turns = -(-channels // old)
    return repeat(weight, "d c ph pw -> d (turns c) ph pw", turns=turns)[:, :channels] * (old / channels)


def join_prefix_positions(state: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """The class token with its position added, for a model that gives positions to patches only.

    DINOv2 with registers is published with a position for the class token and none for the registers, which this
    expresses exactly, as timm does.
    """
    positions = state.get("pos_embed")
    if positions is None or config.prefix_positions or positions.shape[1] != 1 + config.num_patches:
        return dict(state)
    return {
        **state,
        "cls_token": state["cls_token"] + positions[:, :1],
        "pos_embed": positions[:, 1:],
    }


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]} x {grid[1]}"
