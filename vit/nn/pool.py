"""tokens -> features -> logits: what stands for the whole image, and the heads that read it."""

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vit.nn.attention import attend, attention_weights
from vit.nn.config import Activation
from vit.nn.encoder import MLP


class ClassTokenPool(nn.Module):
    """The class token stands for the image (Dosovitskiy et al. 2021, eq. 4)."""

    num_read = 1
    """How many tokens a pool reads, from the first; None where it reads the patches."""

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        return tokens[:, 0]

    def weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """How much each token counts in what stands for the image; rows sum to 1. All pools can say."""
        return _even(tokens, slice(0, 1))


class DistilledPool(nn.Module):
    """Class token and distillation token, each for its own head (Touvron et al. 2021, section 4)."""

    num_read = 2

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b 2 d"]:
        return tokens[:, :2]

    def weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """Half each, since the two heads' logits are averaged."""
        return _even(tokens, slice(0, 2))


class MeanPool(nn.Module):
    """The mean of the patches; prefix tokens do not count."""

    num_read = None

    def __init__(self, num_prefix_tokens: int) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        return reduce(tokens[:, self.num_prefix_tokens :], "b p d -> b d", "mean")

    def weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """The same for every patch."""
        return _even(tokens, slice(self.num_prefix_tokens, None))


class AttentionPool(nn.Module):
    """A learned query asks the patches, then an MLP (MAP head, Zhai et al. 2022, section 3.1; SigLIP).

    Prefix tokens are not asked. Names and layout are timm's `AttentionPoolLatent`.
    """

    num_read = None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_hidden_dim: int,
        num_prefix_tokens: int,
        *,
        activation: Activation = "gelu",
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_prefix_tokens = num_prefix_tokens
        self.latent = nn.Parameter(torch.zeros(embed_dim))
        self.q = nn.Linear(embed_dim, embed_dim)
        self.kv = nn.Linear(embed_dim, 2 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = MLP(embed_dim, mlp_hidden_dim, activation=activation)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        pooled = self.proj(rearrange(attend(*self.split_heads(tokens)), "b heads 1 dh -> b (heads dh)"))
        return pooled + self.mlp(self.norm(pooled))

    def weights(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """The query's attention, mean over the heads; 0 for the prefix tokens, which are not asked."""
        q, k, _ = self.split_heads(tokens)
        attention = reduce(attention_weights(q, k), "b heads 1 p -> b p", "mean")
        return F.pad(attention, (self.num_prefix_tokens, 0))

    def split_heads(self, tokens: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor, Tensor]:
        """The query (b, heads, 1, dh), and keys and values (b, heads, p, dh) of the patches."""
        patches = tokens[:, self.num_prefix_tokens :]
        q = repeat(self.q(self.latent), "(heads dh) -> b heads 1 dh", heads=self.num_heads, b=patches.shape[0])
        k, v = rearrange(self.kv(patches), "b p (kv heads dh) -> kv b heads p dh", kv=2, heads=self.num_heads)
        return q, k, v


class DistilledHead(nn.Module):
    """One classifier for the class token and one for the distillation token; their mean is the prediction.

    Touvron et al. 2021, https://arxiv.org/abs/2012.12877, section 4, "classification with our approach". The mean is
    returned in training as well; whoever distils asks for `both`, and compares the first with the label and the second
    with the teacher.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.cls = nn.Linear(embed_dim, num_classes)
        self.dist = nn.Linear(embed_dim, num_classes)

    def forward(self, pooled: Float[Tensor, "b 2 d"]) -> Float[Tensor, "b classes"]:
        logits, distilled = self.both(pooled)
        return (logits + distilled) / 2

    def both(self, pooled: Float[Tensor, "b 2 d"]) -> tuple[Float[Tensor, "b classes"], Float[Tensor, "b classes"]]:
        """Logits of the class token and of the distillation token."""
        return self.cls(pooled[:, 0]), self.dist(pooled[:, 1])


class MeanOfBoth(nn.Module):
    """The features of a distilled model without heads: the mean of its two tokens, as in timm."""

    def forward(self, pooled: Float[Tensor, "b 2 d"]) -> Float[Tensor, "b d"]:
        return reduce(pooled, "b two d -> b d", "mean")


def _even(tokens: Float[Tensor, "b n d"], chosen: slice) -> Float[Tensor, "b n"]:
    """The same weight for each of some tokens, and none for the others."""
    weights = torch.zeros_like(tokens[:, :, 0])
    weights[:, chosen] = 1
    return weights / weights.sum(dim=-1, keepdim=True)
