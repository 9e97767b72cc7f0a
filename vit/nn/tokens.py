"""patches -> tokens: class token and registers in front, and where each token stands added to what it shows."""

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vit.nn.attention import dropout
from vit.nn.config import Positions
from vit.nn.positions import Rotation, resample_pos_embed, sincos2d


class Tokenizer(nn.Module):
    """Prepend the prefix tokens and add positions (Dosovitskiy et al. 2021, eq. 1).

    `pos_embed` has one row for every token that has a place: the prefix tokens' first, all `num_placed_prefix_tokens`
    or none, then the patches' in reading order. It is a parameter for learned positions and a buffer for sincos2d; both
    are saved with the weights. Positions of the kind rope2d act inside attention, and there is no `pos_embed`.
    """

    pos_embed: Tensor | None

    def __init__(
        self,
        grid: tuple[int, int],
        embed_dim: int,
        *,
        class_token: bool = True,
        distilled: bool = False,
        num_register_tokens: int = 0,
        num_placed_prefix_tokens: int,
        positions: Positions = "learned",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.num_prefix_tokens = int(class_token) + int(distilled) + num_register_tokens
        self.num_placed_prefix_tokens = num_placed_prefix_tokens
        self.cls_token = nn.Parameter(torch.zeros(embed_dim)) if class_token else None
        self.dist_token = nn.Parameter(torch.zeros(embed_dim)) if distilled else None
        self.reg_token = nn.Parameter(torch.zeros(num_register_tokens, embed_dim)) if num_register_tokens else None
        if positions == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(self.num_placed_prefix_tokens + grid[0] * grid[1], embed_dim))
        else:
            self.register_buffer("pos_embed", sincos2d(grid, embed_dim) if positions == "sincos2d" else None)
        self.dropout = dropout(drop_rate)

    def forward(self, patches: Float[Tensor, "b p d"], grid: tuple[int, int]) -> Float[Tensor, "b n d"]:
        prefix = [token for token in (self.cls_token, self.dist_token, self.reg_token) if token is not None]
        prefix = [repeat(torch.atleast_2d(token), "n d -> b n d", b=patches.shape[0]) for token in prefix]
        tokens = torch.cat([*prefix, patches], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self.positions(self.pos_embed, grid)
        return self.dropout(tokens)

    def positions(self, pos_embed: Float[Tensor, "m d"], grid: tuple[int, int]) -> Float[Tensor, "n d"]:
        """What is added to the tokens of an image of that grid; nothing, where a prefix token has no place."""
        # a comparison would fix the sizes that torch.export leaves free; resampling to the same grid changes nothing
        is_free = any(isinstance(length, torch.SymInt) for length in grid)
        if is_free or grid != self.grid:
            pos_embed = resample_pos_embed(pos_embed, self.grid, grid, self.num_placed_prefix_tokens)
        return F.pad(pos_embed, (0, 0, self.num_prefix_tokens - self.num_placed_prefix_tokens, 0))

    def resize(self, grid: tuple[int, int]) -> None:
        """Make `grid` the native one; positions are resampled in place of the old ones."""
        if self.pos_embed is not None and grid != self.grid:
            # on the CPU, since some devices lack the kernel
            table = self.pos_embed.detach().cpu()
            table = resample_pos_embed(table, self.grid, grid, self.num_placed_prefix_tokens).to(self.pos_embed.device)
            is_parameter = isinstance(self.pos_embed, nn.Parameter)
            self.pos_embed = nn.Parameter(table, self.pos_embed.requires_grad) if is_parameter else table
        self.grid = grid


class PatchDropout(nn.Module):
    """In training, keep a random subset of the patches of every image (FLIP, Li et al. 2023); prefix tokens stay."""

    def __init__(self, rate: float, num_prefix_tokens: int) -> None:
        super().__init__()
        self.rate = rate
        self.num_prefix_tokens = num_prefix_tokens

    def forward(
        self, tokens: Float[Tensor, "b n d"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b m d"], Rotation | None]:
        if not self.training or self.rate == 0:
            return tokens, rotation
        num_patches = tokens.shape[1] - self.num_prefix_tokens
        return show_only(self.draw(len(tokens), num_patches, tokens.device), tokens, rotation, self.num_prefix_tokens)

    def draw(self, b: int, num_patches: int, device: torch.device) -> Int[Tensor, "b kept"]:
        """Which patches stay: as many in every image, at least one, all subsets equally likely."""
        num_kept = max(1, int(num_patches * (1 - self.rate)))
        return torch.rand(b, num_patches, device=device).argsort(dim=1)[:, :num_kept]

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f"rate={self.rate:g}"


def show_only(
    kept: Int[Tensor, "b kept"], tokens: Float[Tensor, "b n d"], rotation: Rotation | None, num_prefix_tokens: int
) -> tuple[Float[Tensor, "b m d"], Rotation | None]:
    """Of every image the prefix tokens and the patches of these numbers, in this order, and how far they turn."""
    prefix = repeat(torch.arange(num_prefix_tokens, device=kept.device), "n -> b n", b=len(kept))
    shown = torch.cat([prefix, kept + num_prefix_tokens], dim=1)
    tokens = tokens.gather(1, repeat(shown, "b m -> b m d", d=tokens.shape[-1]))
    return tokens, rotation and rotation.of(shown)
