"""tokens -> tokens: every token asks every other, several heads at a time (Vaswani et al. 2017, eq. 1)."""

from collections.abc import Callable

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vit.nn.positions import Rotation, rotate

MOST_EXPLICIT_WEIGHTS = 2**27
"""256 MB of attention weights a layer in bfloat16: 32 images of 577 tokens and 12 heads, or one of 3300."""


def attend(
    q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"], v: Float[Tensor, "b heads j dh"]
) -> Float[Tensor, "b heads i dh"]:
    """softmax(q k^T / sqrt(dh)) v, by whichever way is faster here."""
    return explicit_attention(q, k, v) if prefers_explicit(q, k) else F.scaled_dot_product_attention(q, k, v)


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values, each (b, heads, n, dh), to mixed values of that shape."""


def dropout(rate: float) -> nn.Module:
    """Dropout, or nothing at all where the rate is 0: calling it three times a block is 1 % of one image's time."""
    return nn.Dropout(rate) if rate else nn.Identity()


class Attention(nn.Module):
    """Multi-head self-attention. Queries, keys and values are one linear map, laid out `(qkv heads dh)` as in timm.

    Both ways through it are the same function: `forward` never holds the (n, n) weights longer than it must and takes
    torch's fused kernel where that is faster; `forward_with_weights` returns them for those who want to look. Whoever
    wants something else of queries, keys and values hands `forward` another `attend`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(embed_dim // num_heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(embed_dim // num_heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.dropout = dropout(drop_rate)

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        rotation: Rotation | None = None,
        attend: Attend = attend,
        num_asking: int | None = None,
    ) -> Float[Tensor, "b m d"]:
        """What every token takes from all, or only what the first `num_asking` take."""
        q, k, v = self.split_heads(tokens, rotation)
        return self.merge_heads(attend(q[:, :, :num_asking], k, v))

    def forward_with_weights(
        self, tokens: Float[Tensor, "b n d"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b heads n n"]]:
        """What `forward` returns, and the weights: row i says how much token i takes from each token; rows sum to 1."""
        q, k, v = self.split_heads(tokens, rotation)
        weights = attention_weights(q, k)
        mixed = einsum(weights.to(v.dtype), v, "b heads i j, b heads j dh -> b heads i dh")
        return self.merge_heads(mixed), weights

    def split_heads(
        self, tokens: Float[Tensor, "b n d"], rotation: Rotation | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (b, heads, n, dh); queries and keys normalised and rotated as configured."""
        q, k, v = rearrange(self.qkv(tokens), "b n (qkv heads dh) -> qkv b heads n dh", qkv=3, heads=self.num_heads)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)  # autocast norms in float32
        return (q, k, v) if rotation is None else (rotate(q, rotation), rotate(k, rotation), v)

    def merge_heads(self, mixed: Float[Tensor, "b heads n dh"]) -> Float[Tensor, "b n d"]:
        """Concatenate the heads and project."""
        return self.dropout(self.proj(rearrange(mixed, "b heads n dh -> b n (heads dh)")))


def explicit_attention(
    q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"], v: Float[Tensor, "b heads j dh"]
) -> Float[Tensor, "b heads i dh"]:
    """The same by plain products; `baddbmm` scales inside the first, which saves a pass over the scores."""
    b = q.shape[0]
    q, k, v = (rearrange(part, "b heads n dh -> (b heads) n dh") for part in (q, k, v))
    scores = torch.baddbmm(q.new_empty(()), q, k.mT, beta=0, alpha=q.shape[-1] ** -0.5)
    return rearrange(scores.softmax(dim=-1).to(v.dtype) @ v, "(b heads) n dh -> b heads n dh", b=b)


def attention_weights(
    q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"]
) -> Float[Tensor, "b heads i j"]:
    """softmax(q k^T / sqrt(dh)), in float32 where the rest is computed in half precision: for looking."""
    scores = einsum(q * q.shape[-1] ** -0.5, k, "b heads i dh, b heads j dh -> b heads i j")
    return scores.softmax(dim=-1, dtype=torch.promote_types(q.dtype, torch.float32))


def prefers_explicit(q: Float[Tensor, "b heads i dh"], k: Float[Tensor, "b heads j dh"]) -> bool:
    """Whether plain products beat the fused kernel here, at a price in memory that is small.

    On the CPU in bfloat16 they do: 1.7 to 3.2 times faster forward, 2.4 to 9.5 times forward and backward, from 50 to
    1025 tokens, 1.2 and 1.5 times at 2049 (Zen 4, one thread, torch 2.15, medians of interleaved runs). In float16 the
    fused kernel is 3 to 16 times faster, in float32 they tie up to 200 tokens and it is up to twice as fast beyond, and
    on a GPU it wins.
    """
    num_weights = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and num_weights <= MOST_EXPLICIT_WEIGHTS
