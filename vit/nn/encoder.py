"""tokens -> tokens: the pre-norm block, attention then MLP, each added to what came in."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vit.nn.attention import Attend, Attention, attend, dropout
from vit.nn.config import Activation
from vit.nn.positions import Rotation


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with (Hendrycks & Gimpel 2016)."""

    def forward(self, hidden: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return hidden * torch.sigmoid(1.702 * hidden)


class SwiGLU(nn.Module):
    """The first half of the hidden units, through SiLU, gates the second (Shazeer 2020, eq. 6)."""

    def forward(self, hidden: Float[Tensor, "*axes hidden"]) -> Float[Tensor, "*axes half"]:
        gate, value = rearrange(hidden, "... (two half) -> two ... half", two=2)
        return nn.functional.silu(gate) * value


class MLP(nn.Module):
    """Two linear layers with a non-linearity between; with swiglu the second is half as wide as the first."""

    def __init__(
        self, embed_dim: int, hidden_dim: int, drop_rate: float = 0.0, activation: Activation = "gelu"
    ) -> None:
        super().__init__()
        activations = {
            "gelu": nn.GELU(),
            "gelu_tanh": nn.GELU(approximate="tanh"),
            "quick_gelu": QuickGELU(),
            "swiglu": SwiGLU(),
        }
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.act = activations[activation]
        self.fc2 = nn.Linear(hidden_dim // 2 if activation == "swiglu" else hidden_dim, embed_dim)
        self.dropout = dropout(drop_rate)

    def forward(self, tokens: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(tokens)))))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, leave a residual branch out for some images of the batch.

    The branches that stay are scaled up, so that the expected sum is that of evaluation.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        kept = torch.empty(branch.shape[0], 1, 1, dtype=branch.dtype, device=branch.device).bernoulli_(keep)
        return branch * (kept / keep)  # one pass over the branch, not two

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f"rate={self.rate:g}"


class LayerScale(nn.Module):
    """Each channel of a residual branch times a learned number that starts small (CaiT, Touvron et al. 2021, eq. 4)."""

    def __init__(self, embed_dim: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.full((embed_dim,), initial))

    def forward(self, branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return branch * self.gamma


class Block(nn.Module):
    """Pre-norm encoder block (Dosovitskiy et al. 2021, eq. 2 and 3)."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_hidden_dim: int,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        *,
        activation: Activation = "gelu",
        qk_norm: bool = False,
        init_values: float | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads, qkv_bias, drop_rate, qk_norm, norm_eps)
        self.ls1 = LayerScale(embed_dim, init_values) if init_values else nn.Identity()
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp = MLP(embed_dim, mlp_hidden_dim, drop_rate, activation)
        self.ls2 = LayerScale(embed_dim, init_values) if init_values else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        rotation: Rotation | None = None,
        attend: Attend = attend,
        num_wanted: int | None = None,
    ) -> Float[Tensor, "b m d"]:
        """All tokens after this block, or only the first `num_wanted`, for which alone it then works."""
        return self.add(tokens[:, :num_wanted], self.attn(self.norm1(tokens), rotation, attend, num_wanted))

    def forward_with_weights(
        self, tokens: Float[Tensor, "b n d"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b heads n n"]]:
        """What `forward` returns, and the attention weights of this block."""
        mixed, weights = self.attn.forward_with_weights(self.norm1(tokens), rotation)
        return self.add(tokens, mixed), weights

    def add(self, tokens: Float[Tensor, "b n d"], mixed: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Add the attention's branch, then the MLP's."""
        tokens = tokens + self.drop_path(self.ls1(mixed))
        return tokens + self.drop_path(self.ls2(self.mlp(self.norm2(tokens))))
