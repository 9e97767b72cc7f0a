"""attention of all layers -> the most that can flow from each patch to what the head reads (Abnar & Zuidema 2020)."""

from __future__ import annotations

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vit.explain.rollout import check_attention, check_share

MOST_TOKENS = 72
"""8 x 8 patches and up to 8 prefix tokens. One maximum flow a token, in a graph of n * n edges a layer: of 12 layers,
65 tokens take under a second an image, 101 one and a half, 197 a quarter of a minute (Zen 4, one thread)."""

UNITS = 2**30
"""Whole numbers that a capacity of 1 is cut into, since the solver counts in 32 bits."""


def attention_flow(
    attention: Float[Tensor, "layers b heads n n"], read: Float[Tensor, "b n"], residual: float = 0.5
) -> Float[Tensor, "b n"]:
    """Attention flow, https://arxiv.org/abs/2005.00928, section 3.2: the maximum flow from what is read to each token.

    Tokens of all layers are nodes, and the weights of each step, residual path included, the capacities of its edges.
    What the head reads is one more step: for a class token that is the flow from the class token itself. Each token's
    flow is found by itself, from 0 to 1; together they are more than 1, so this is no distribution.

    Args:
        attention: Softmax weights, layer 0 nearest the image; the mean over the heads is taken.
        read: How much the head reads of every token: 1 for the class token and 0 for the others, or as the pooling has
            it.
        residual: Share of the residual path, from 0 to below 1.

    Raises:
        TypeError: attention is no tensor.
        ValueError: attention of another shape or of more than 72 tokens, or a share out of range.
    """
    check_attention(attention)
    check_size(attention.shape[-1])
    check_share("residual", residual)
    return flow_of_layers(reduce(attention.float(), "layers b heads i j -> layers b i j", "mean"), read, residual)


def flow_of_layers(
    fused: Float[Tensor, "layers b n n"], read: Float[Tensor, "b n"], residual: float
) -> Float[Tensor, "b n"]:
    """`attention_flow` of attention whose heads are fused already."""
    steps = residual * torch.eye(fused.shape[-1], device=fused.device) + (1 - residual) * fused
    capacities = steps.double().cpu().numpy()
    images = [_of_one(capacities[:, image], row) for image, row in enumerate(read.double().cpu().numpy())]
    return torch.from_numpy(np.stack(images)).to(read)


def check_size(num_tokens: int) -> None:
    """Raise a `ValueError` for more tokens than is sensible."""
    if num_tokens > MOST_TOKENS:
        raise ValueError(
            f"attention flow takes up to {MOST_TOKENS} tokens, as of 8 x 8 patches and a class token, and this is "
            f"{num_tokens}: twice the tokens take ten times as long; rollout approximates it at no cost "
            "(Abnar & Zuidema 2020, section 5)."
        )


def _of_one(steps: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Of one image: a graph from a source over the last layer's tokens down to the first layer's input."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    depth, n, _ = steps.shape
    source = (depth + 1) * n
    from_nodes, to_nodes = [np.full(n, source)], [depth * n + np.arange(n)]
    capacities = [read]
    queries, keys = np.divmod(np.arange(n * n), n)
    for layer in range(depth):
        from_nodes.append((layer + 1) * n + queries)
        to_nodes.append(layer * n + keys)
        capacities.append(steps[layer].ravel())
    whole = np.rint(np.concatenate(capacities) * UNITS).astype(np.int32)
    ends = (np.concatenate(from_nodes), np.concatenate(to_nodes))
    graph = csr_array((whole, ends), shape=(source + 1, source + 1))
    return np.array([maximum_flow(graph, source, token).flow_value for token in range(n)]) / UNITS
