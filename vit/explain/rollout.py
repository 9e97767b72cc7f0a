"""attention of all layers -> one matrix that says how every output token draws on every input token."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

HeadFusion = Literal["mean", "max", "min"]


def rollout(
    attention: Float[Tensor, "layers b heads n n"],
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    residual: float = 0.5,
    class_token: bool = True,
) -> Float[Tensor, "b n n"]:
    """Multiply attention through the layers, a share of every step staying where it is (the residual path).

    Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928, eq. 1: with the heads fused into A of one layer,
    A' = residual * I + (1 - residual) * A, and the result is A'_L ... A'_2 A'_1 (later layers on the left). Rows of the
    input and of the output sum to 1: row i is the distribution over input tokens that token i ends up attending to.
    It does not depend on a class: it says where the model looked, not what for.

    Args:
        attention: Softmax weights, layer 0 nearest the image, rows the queries.
        head_fusion: How heads are fused. After max and min, rows are scaled to sum to 1 again.
        discard_ratio: Share of the entries of A, the smallest of each image, that is set to 0 before rows are scaled
            to sum to 1 again; what goes to the class token always stays. From 0 to below 1.
        start_layer: First layer that counts; earlier ones are left out.
        residual: Share of the residual path, from 0 to below 1.
        class_token: Whether the first token is one; of a model without, no column stays whatever it is.

    Raises:
        TypeError: attention is no tensor, but perhaps a list of one a layer.
        ValueError: attention of another shape, a head_fusion or start_layer that is not there, or a share out of range.
    """
    check_attention(attention)
    check_shares(len(attention), head_fusion, discard_ratio, start_layer, residual)
    result = torch.eye(attention.shape[-1], dtype=torch.float32, device=attention.device)
    result = result.expand(attention.shape[1], -1, -1)
    with torch.autocast(attention.device.type, enabled=False):  # shares of a hundredth need more than bfloat16's 8 bits
        for weights in attention[start_layer:]:
            result = (
                residual * result + (1 - residual) * fuse(weights, head_fusion, discard_ratio, class_token) @ result
            )
    return result


def check_attention(attention: object) -> None:
    """Raise an error that says how attention is wanted, unless it is one tensor of (layers, b, heads, n, n)."""
    wanted = "layers x batch x heads x tokens x tokens"
    if not isinstance(attention, Tensor):
        raise TypeError(
            f"attention is a {type(attention).__name__}, but one tensor of {wanted} is wanted; torch.stack makes it of "
            "a list of layers."
        )
    if attention.ndim != 5 or attention.shape[-2] != attention.shape[-1]:
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, but {wanted} is wanted; attention[:, None] adds a batch of "
            "one image, attention[None] the only layer."
        )


def check_shares(depth: int, head_fusion: str, discard_ratio: float, start_layer: int, residual: float) -> None:
    """Raise a `ValueError` that says which setting of `rollout` is out of range for a model of this depth."""
    if head_fusion not in get_args(HeadFusion):
        raise ValueError(f"head_fusion={head_fusion!r} is not one of {', '.join(get_args(HeadFusion))}.")
    check_layer(depth, "start_layer", start_layer)
    check_share("discard_ratio", discard_ratio)
    check_share("residual", residual)


def check_layer(depth: int, name: str, layer: int) -> None:
    """Raise a `ValueError` unless the model has this layer."""
    if not 0 <= layer < depth:
        raise ValueError(f"{name}={layer} is not one of the {depth} layers, 0 to {depth - 1}.")


def check_share(name: str, share: float) -> None:
    """Raise a `ValueError` unless it is from 0 to below 1."""
    if not 0 <= share < 1:
        raise ValueError(f"{name}={share} must be from 0 to below 1.")


def roll_back(
    read: Float[Tensor, "b n"], fused: Sequence[Float[Tensor, "b _ n"]], residual: float
) -> Float[Tensor, "b n"]:
    """`read` times the rollout of layers fused by `fuse`: one product of a vector and a matrix a layer, last first.

    Rows of a layer that are not there, at its end, are of tokens that are not read.
    """
    with torch.autocast(read.device.type, enabled=False):
        rows = rearrange(read, "b n -> b 1 n")
        for step in reversed(fused):
            rows = residual * rows + (1 - residual) * rows[:, :, : step.shape[1]] @ step
    return rearrange(rows, "b 1 n -> b n")


def fuse(
    weights: Float[Tensor, "b heads n n"],
    head_fusion: HeadFusion,
    discard_ratio: float = 0.0,
    class_token: bool = True,
) -> Float[Tensor, "b n n"]:
    """The heads of one layer as one matrix in float32 whose rows sum to 1, its smallest entries left out."""
    fused = reduce(weights.float(), "b heads i j -> b i j", head_fusion)
    if head_fusion == "mean" and not discard_ratio:
        return fused
    # before discarding too, so that rows count alike there
    return rows_sum_to_one(discard_smallest(rows_sum_to_one(fused), discard_ratio, class_token))


def discard_smallest(fused: Float[Tensor, "b n n"], ratio: float, class_token: bool = True) -> Float[Tensor, "b n n"]:
    """Set the smallest entries of every image's matrix to 0, those of the class token's column excepted."""
    count = int(ratio * fused.shape[1] * fused.shape[2])
    if count == 0:
        return fused
    entries = rearrange(fused, "b i j -> b (i j)").clone()
    ranked = fused.clone()
    if class_token:
        ranked[:, :, 0] = torch.inf
        count = min(count, entries.shape[1] - fused.shape[1])
    smallest = rearrange(ranked, "b i j -> b (i j)").topk(count, largest=False)
    entries.scatter_(1, smallest.indices, 0.0)
    return rearrange(entries, "b (i j) -> b i j", i=fused.shape[1])


def rows_sum_to_one(matrix: Float[Tensor, "b n n"]) -> Float[Tensor, "b n n"]:
    """Each row divided by its own sum."""
    return matrix / matrix.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(matrix.dtype).tiny)
