"""model (and images) -> numbers about its inside: positions, patch filters, how far and how widely heads look.

What figure 7 of Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, shows of their models, and two things more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vit.explain.layers import look_inside
from vit.nn import ViT


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The patterns that the patch projection sees most of."""

    components: Float[Tensor, "count c ph pw"]
    """Principal components of its rows, the first explaining most; each of length 1, its sign such that the largest
    number is positive."""

    explained: float
    """Share of the variance of the rows that these components hold together."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What every attention head does, as a mean over images and queries."""

    distance: Float[Tensor, "layers heads"]
    """How far patches look: mean distance to the patches they attend to, in pixels, weighted by attention. What goes to
    prefix tokens, which have no place, is left out, and the rest counts as a whole."""

    entropy: Float[Tensor, "layers heads"]
    """How widely tokens look: entropy of their attention in bits; 2 to its power is like a number of tokens."""

    prefix_share: Float[Tensor, "layers heads"]
    """Share of the patches' attention that goes to class, distillation and register tokens."""

    even_distance: float
    """The distance, if attention were the same for every patch."""

    even_entropy: float
    """The entropy, likewise; the greatest there is."""

    num_images: int


@torch.no_grad()
def position_similarity(model: ViT) -> Float[Tensor, "gh gw gh gw"] | None:
    """Cosine similarity of the position of each patch (first two axes) with all others; none without such vectors.

    Positions that are rotations, or not there, leave nothing to compare.
    """
    positions = model.tokenizer.pos_embed
    if positions is None:
        return None
    unit = F.normalize(positions[model.config.num_placed_prefix_tokens :].float(), dim=-1)
    gh, gw = model.config.grid
    return rearrange(unit @ unit.mT, "(gh gw) (rows columns) -> gh gw rows columns", gh=gh, gw=gw, rows=gh, columns=gw)


@torch.no_grad()
def patch_filters(model: ViT, count: int = 28) -> Filters:
    """The first principal components of the patch embedding's filters; at most as many as there are."""
    weight = model.patch_embed.proj.weight.float()
    if isinstance(model.patch_embed.norm_pixels, torch.nn.LayerNorm):
        weight = weight * model.patch_embed.norm_pixels.weight.float()
    _, sizes, rows = torch.linalg.svd(weight - weight.mean(dim=0), full_matrices=False)
    rows = rows[:count]
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    ph, pw = model.config.patch_hw
    return Filters(
        components=rearrange(rows * largest.sign(), "count (c ph pw) -> count c ph pw", ph=ph, pw=pw),
        explained=float((sizes[:count] ** 2).sum() / (sizes**2).sum()),
    )


@torch.no_grad()
def heads_of(model: ViT, batches: Iterable[Float[Tensor, "b c h w"]]) -> Heads:
    """What the attention heads of a model do, over images of the model's own size, given batch by batch.

    Raises:
        ValueError: no images.
    """
    config = model.config
    apart = patch_distances(config.grid, config.patch_hw)
    sums, num_images = torch.zeros(3, config.depth, config.num_heads), 0
    for images in batches:
        attention = look_inside(model, images).attention
        sums += torch.stack(_head_sums(attention, config.num_prefix_tokens, apart.to(attention.device))).cpu()
        num_images += len(images)
    if num_images == 0:
        raise ValueError("attention distances need at least one image.")
    distance, entropy, prefix_share = sums / num_images
    return Heads(
        distance=distance,
        entropy=entropy,
        prefix_share=prefix_share,
        even_distance=float(apart.mean()),
        even_entropy=math.log2(config.num_tokens),
        num_images=num_images,
    )


def patch_distances(grid: tuple[int, int], patch_hw: tuple[int, int]) -> Float[Tensor, "p p"]:
    """Pixels between the middles of every two patches."""
    rows, columns = (torch.arange(count) * size for count, size in zip(grid, patch_hw, strict=True))
    places = torch.cartesian_prod(rows, columns).float().reshape(-1, 2)
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def _head_sums(
    attention: Float[Tensor, "layers b heads n n"], num_prefix: int, apart: Float[Tensor, "p p"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, entropy and share of the prefix tokens, each (layers, heads), added up over images."""
    among_patches = attention[..., num_prefix:, num_prefix:]
    whole = among_patches.sum(dim=-1)
    distances = (among_patches * apart).sum(dim=-1) / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    entropies = torch.special.entr(attention).sum(dim=-1) / torch.tensor(2.0).log()
    per_query = (distances, entropies, 1 - whole)
    means = [reduce(value, "layers b heads n -> layers heads b", "mean").sum(dim=-1) for value in per_query]
    return means[0], means[1], means[2]
