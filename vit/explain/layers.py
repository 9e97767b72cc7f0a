"""attention of all layers -> maps layer by layer: what every head looks at, and how the rollout grows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from vit.explain.rollout import HeadFusion, check_shares, rollout
from vit.nn import ViT


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What went on inside a model while it looked at a batch of images."""

    attention: Float[Tensor, "layers b heads n n"]
    """Softmax weights, layer 0 nearest the image; rows are the queries and sum to 1."""

    read: Float[Tensor, "b n"]
    """How much each token counts in what the head reads; rows sum to 1. For most models, the class token alone."""

    probabilities: Float[Tensor, "b classes"]
    grid: tuple[int, int]
    """Rows and columns of patches."""

    num_prefix_tokens: int
    """Tokens before the first patch."""


@torch.no_grad()
def look_inside(model: ViT, images: Float[Tensor, "b c h w"]) -> Seen:
    """Attention of all layers and heads, and what is needed to make sense of it; the model must be in evaluation mode.

    Holds layers * b * heads * n * n numbers: 22 MB for one image of 224 pixels in a ViT-B/16.
    """
    tokens, attention = model.encode_with_attention(images)
    return Seen(
        attention=attention.float(),
        read=model.pool.weights(tokens).float(),
        probabilities=model.classify(tokens).float().softmax(dim=-1),
        grid=model.grid_of(images),
        num_prefix_tokens=model.config.num_prefix_tokens,
    )


def head_maps(seen: Seen) -> Float[Tensor, "b layers heads gh gw"]:
    """Share of its attention that what the head reads gives to each patch, in every attention head.

    That is the class token's row; of models that pool otherwise, rows are averaged as the pooling does. What is
    missing to 1 went to the prefix tokens.
    """
    rows = einsum(seen.read, seen.attention, "b i, layers b heads i j -> b layers heads j")
    return _on_grid(rows, seen)


def growth(
    seen: Seen,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    residual: float = 0.5,
) -> Float[Tensor, "b layers gh gw"]:
    """The rollout after every layer from `start_layer` on, as if the model ended there: the last map is the rollout.

    Arguments are those of `vit.rollout`, and so are the errors. Before layer 0 the class token knows no patch at all,
    so that its map would be empty; of a mean over patches it would be even.
    """
    check_shares(len(seen.attention), head_fusion, discard_ratio, start_layer, residual)
    result = []
    state = torch.eye(seen.attention.shape[-1], device=seen.attention.device).expand(seen.read.shape[0], -1, -1)
    for weights in seen.attention[start_layer:]:
        # one layer's rollout times what the earlier layers came to
        state = rollout(weights[None], head_fusion, discard_ratio, residual=residual) @ state
        result.append(einsum(seen.read, state, "b i, b i j -> b j"))
    return _on_grid(torch.stack(result, dim=1), seen)


def _on_grid(rows: Float[Tensor, "b *axes n"], seen: Seen) -> Float[Tensor, "b *axes gh gw"]:
    return rearrange(rows[..., seen.num_prefix_tokens :], "... (gh gw) -> ... gh gw", gh=seen.grid[0])
