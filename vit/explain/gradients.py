"""attention and its gradients -> relevance for one class. Pure functions; gradients are of the class's logit.

Gradients G are of the logit by the attention weights A themselves, after softmax, in the same order of layers.
"""

import torch
from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor

from vit.explain.rollout import check_attention, check_layer, check_share, discard_smallest, rows_sum_to_one


def chefer(
    attention: Float[Tensor, "layers b heads n n"], gradients: Float[Tensor, "layers b heads n n"]
) -> Float[Tensor, "b n n"]:
    """The generic rule of Chefer et al. 2021 (ICCV), https://arxiv.org/abs/2103.15679, eq. 5 and 6, for self-attention.

    R <- R + A' R with A' the mean over heads of the positive part of G * A, from R = I, first layer first. Row i of the
    result is the relevance of every input token for output token i. Rows are no distributions: nothing is normalised.

    Raises:
        TypeError: attention is no tensor.
        ValueError: attention of another shape.
    """
    check_attention(attention)
    result = _identity(attention)
    for weights, gradient in zip(attention.float(), gradients.float(), strict=True):
        result = result + positive_relevance(weights, gradient) @ result
    return result


def positive_relevance(
    weights: Float[Tensor, "b heads n n"], gradient: Float[Tensor, "b heads n n"]
) -> Float[Tensor, "b n n"]:
    """Chefer's A' of one layer: positive part first, then the mean over heads."""
    return reduce((weights * gradient).clamp(min=0), "b heads i j -> b i j", "mean")


def gradient_rollout(
    attention: Float[Tensor, "layers b heads n n"],
    gradients: Float[Tensor, "layers b heads n n"],
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    class_token: bool = True,
) -> Float[Tensor, "b n n"]:
    """Rollout of what attention counts for a class: rows are distributions, later layers stand on the left.

    A' is the positive part of the mean over heads of A * G (in this order, where Chefer takes the positive part of each
    head), its smallest entries discarded; half of it and half the identity, each row divided by its sum, is one step.
    This is what the widely used script means to do, with gradients in the order of the layers.

    Args:
        attention: Softmax weights, layer 0 nearest the image.
        gradients: Of the class's logit, in the same order.
        discard_ratio: As in `rollout`.
        start_layer: As in `rollout`.
        class_token: As in `rollout`.

    Raises:
        TypeError: attention is no tensor.
        ValueError: attention of another shape, a layer that is not there, or a share out of range.
    """
    check_attention(attention)
    check_layer(len(attention), "start_layer", start_layer)
    check_share("discard_ratio", discard_ratio)
    result = _identity(attention)
    for weights, gradient in zip(attention[start_layer:].float(), gradients[start_layer:].float(), strict=True):
        result = weighted_step(weights, gradient, discard_ratio, class_token) @ result
    return result


def weighted_step(
    weights: Float[Tensor, "b heads n n"],
    gradient: Float[Tensor, "b heads n n"],
    discard_ratio: float,
    class_token: bool,
) -> Float[Tensor, "b n n"]:
    """One layer of `gradient_rollout`, with the residual path; rows sum to 1."""
    fused = reduce(weights * gradient, "b heads i j -> b i j", "mean").clamp(min=0)
    fused = discard_smallest(fused, discard_ratio, class_token)
    return rows_sum_to_one((fused + torch.eye(fused.shape[-1], device=fused.device)) / 2)


def attention_gradcam(
    weights: Float[Tensor, "b heads n n"],
    gradient: Float[Tensor, "b heads n n"],
    read: Float[Tensor, "b n"],
    num_prefix_tokens: int = 1,
) -> Float[Tensor, "b p"]:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) with the heads of one layer for channels.

    A head's map is the row of attention that the head of the model reads (of the class token, or as the pooling does),
    its weight the mean of the gradient over the patches of that row; the positive part of their mean over heads.
    """
    maps = einsum(read, weights, "b i, b heads i j -> b heads j")[..., num_prefix_tokens:]
    slopes = einsum(read, gradient, "b i, b heads i j -> b heads j")[..., num_prefix_tokens:]
    importance = reduce(slopes, "b heads p -> b heads 1", "mean")
    return reduce(importance * maps, "b heads p -> b p", "mean").clamp(min=0)


def token_gradcam(
    tokens: Float[Tensor, "b n d"], gradient: Float[Tensor, "b n d"], num_prefix_tokens: int = 1
) -> Float[Tensor, "b p"]:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) on the patch tokens that enter an attention, normalised."""
    patches, slopes = tokens[:, num_prefix_tokens:], gradient[:, num_prefix_tokens:]
    importance = reduce(slopes, "b p d -> b d", "mean")
    return einsum(importance, patches, "b d, b p d -> b p").clamp(min=0)


def _identity(attention: Float[Tensor, "layers b heads n n"]) -> Float[Tensor, "b n n"]:
    _, b, _, n, _ = attention.shape
    return torch.eye(n, dtype=torch.float32, device=attention.device).expand(b, n, n)
