"""Methods that look at attention alone: one forward pass, and the same map for every class."""

from __future__ import annotations

import torch
from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor

from vit.explain.answer import Answer, Choose
from vit.explain.flow import check_size, flow_of_layers
from vit.explain.head_mean import HeadMeans
from vit.explain.rollout import HeadFusion, check_share, check_shares, fuse, roll_back
from vit.explain.subject import Subject, Watch

KEPT = 2**23
"""Bytes of matrices that rollout holds at most, one a layer and image, on a CPU: a batch goes through in parts."""

KEPT_ON_A_GPU = 2**30
"""Likewise on a GPU, which wants larger parts."""


def raw_attention(
    weights: Float[Tensor, "b heads n n"], read: Float[Tensor, "b n"], head: int | None = None
) -> Float[Tensor, "b n"]:
    """The row of one layer's attention that the model's head reads, of one head of attention or the mean of all.

    Raises:
        ValueError: a head that is not there.
    """
    heads = weights.shape[1]
    if head is not None and not 0 <= head < heads:
        raise ValueError(f"head={head} is not one of the {heads} heads, 0 to {heads - 1}.")
    fused = reduce(weights.float(), "b heads i j -> b i j", "mean") if head is None else weights[:, head].float()
    return einsum(read, fused, "b i, b i j -> b j")


@torch.no_grad()
def raw(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    layer: int = -1,
    head: int | None = None,
) -> Answer:
    """Attention of one layer, as the class token (or what the pooling reads) pays it.

    Args:
        subject: Model.
        images: Images.
        choose: Not asked; every class has the same map.
        layer: Which layer, 0 nearest the image; from the end where negative.
        head: Which head of attention; the mean of all by default.
    """
    chosen = layer_of(subject, layer)
    watch = Watch(lambda weights: weights, [chosen])
    seen = subject.run(images, watch)
    return Answer(raw_attention(watch.kept[0], seen.read, head)[:, subject.num_prefix_tokens :], seen.logits)


@torch.no_grad()
def rolled_out(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    residual: float = 0.5,
) -> Answer:
    """Attention rollout: the row of what the head reads.

    Args:
        subject: Model.
        images: Images.
        choose: Not asked; every class has the same map.
        head_fusion: How the heads of a layer are fused.
        discard_ratio: Share of the smallest weights of a layer that is left out, from 0 to below 1.
        start_layer: First layer that counts; 0 is nearest the image.
        residual: Share of a step that stays where it is, from 0 to below 1.
    """
    check_shares(subject.depth, head_fusion, discard_ratio, start_layer, residual)
    layers = range(start_layer, subject.depth)

    def of_some(images: Float[Tensor, "b c h w"]) -> Answer:
        plain = head_fusion == "mean" and not discard_ratio
        watch = HeadMeans(layers) if plain else Watch(fused, layers)
        seen = subject.run(images, watch, only_read=plain)  # shares of a whole layer are discarded, read or not
        return Answer(roll_back(seen.read, watch.kept, residual)[:, subject.num_prefix_tokens :], seen.logits)

    def fused(weights: Float[Tensor, "b heads n n"]) -> Float[Tensor, "b n n"]:
        return fuse(weights, head_fusion, discard_ratio, subject.class_token)

    kept = 4 * subject.num_tokens**2 * len(layers)
    answers = [of_some(part) for part in images.split(max(1, (KEPT_ON_A_GPU if images.is_cuda else KEPT) // kept))]
    return Answer(torch.cat([each.patches for each in answers]), torch.cat([each.logits for each in answers]))


@torch.no_grad()
def flow(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, *, residual: float = 0.5) -> Answer:
    """Attention flow, of models with up to 72 tokens, as of 8 x 8 patches and a class token.

    Args:
        subject: Model.
        images: Images.
        choose: Not asked; every class has the same map.
        residual: Share of a step that stays where it is, from 0 to below 1.
    """
    check_size(subject.num_tokens)
    check_share("residual", residual)
    watch = HeadMeans(range(subject.depth))
    seen = subject.run(images, watch)
    flows = flow_of_layers(torch.stack(watch.kept), seen.read, residual)
    return Answer(flows[:, subject.num_prefix_tokens :], seen.logits)


def layer_of(subject: Subject, layer: int) -> int:
    """Its number from the image, where negative ones count from the end.

    Raises:
        ValueError: the model has no such layer.
    """
    depth = subject.depth
    if not -depth <= layer < depth:
        raise ValueError(f"layer={layer} is not one of the {depth} layers, 0 to {depth - 1}, or -1 for the last.")
    return layer % depth
