"""queries, keys, values -> mixed values and the mean of the heads' weights, at hardly more than the fused kernel costs.

Rollout needs no more of a layer than this mean. Scores of a few rows of all heads are made, used and forgotten while
they are in the cache, so the weights of all heads never lie in memory together.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from vit.explain.subject import Watch

BYTES_A_THREAD = 2**21
"""Of scores made at a time on a CPU: they and what comes of them stay in its cache."""

MOST_BYTES = 2**24
"""The same of all threads together, since the memory counts, too."""

BYTES_ON_A_GPU = 2**28
"""There it is better to make many at once."""


class HeadMeans(Watch):
    """Keeps the mean of the heads of every layer, in float32."""

    def __init__(self, layers: range) -> None:
        super().__init__(lambda weights: reduce(weights.float(), "b heads i j -> b i j", "mean"), layers)

    def look(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mixed, mean = attend_with_head_mean(q, k, v)
        self.kept.append(mean)
        return mixed


def attend_with_head_mean(
    q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"], v: Float[Tensor, "b heads j dh"]
) -> tuple[Float[Tensor, "b heads i dh"], Float[Tensor, "b i j"]]:
    """softmax(q k^T / sqrt(dh)) v, and the mean over the heads of the softmax, in float32. Not for gradients."""
    b, heads, n, dh = q.shape
    mixed = torch.empty_like(q, dtype=v.dtype)
    mean = torch.empty(b, n, k.shape[2], dtype=torch.float32, device=q.device)
    images, rows = _block(q, k)
    nothing = q.new_empty(())
    for first in range(0, b, images):
        some = slice(first, first + images)
        queries, keys, values = (rearrange(part[some], "b heads n dh -> (b heads) n dh") for part in (q, k, v))
        for row in range(0, n, rows):
            chunk = queries[:, row : row + rows]
            scores = torch.baddbmm(nothing, chunk, keys.mT, beta=0, alpha=dh**-0.5)
            weights = scores.softmax(dim=-1, dtype=torch.float32)
            by_head = rearrange(weights, "(b heads) i j -> b heads i j", heads=heads)
            torch.sum(by_head, dim=1, out=mean[some, row : row + rows])
            mixed[some, :, row : row + rows] = rearrange(
                weights.to(v.dtype) @ values, "(b heads) i dh -> b heads i dh", heads=heads
            )
    return mixed, mean.div_(heads)


def _block(q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"]) -> tuple[int, int]:
    """How many images, and how many rows of each, to make the scores of at a time; an image is cut evenly."""
    _, heads, n, _ = q.shape
    budget = BYTES_ON_A_GPU if q.is_cuda else min(BYTES_A_THREAD * torch.get_num_threads(), MOST_BYTES)
    a_row = 4 * heads * k.shape[2]
    images = max(1, budget // (a_row * n))
    parts = -(-a_row * n // budget)
    return images, max(1, -(-n // parts))
