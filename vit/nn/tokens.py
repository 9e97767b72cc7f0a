"""patches -> tokens: a class token in front, and where each token stands added to what it shows."""

import torch
from einops import pack, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Tokenizer(nn.Module):
    """Prepend the class token and add learned positions (Dosovitskiy et al. 2021, eq. 1).

    `pos_embed` has one row for every token, the class token's first, then the patches' in reading order.
    """

    def __init__(self, grid: tuple[int, int], embed_dim: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1 + grid[0] * grid[1], embed_dim))
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, patches: Float[Tensor, "b p d"]) -> Float[Tensor, "b n d"]:
        cls_tokens = repeat(self.cls_token, "d -> b d", b=len(patches))
        tokens, _ = pack([cls_tokens, patches], "b * d")
        return self.dropout(tokens + self.pos_embed)


def resample_pos_embed(
    pos_embed: Float[Tensor, "n d"], old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int = 1
) -> Float[Tensor, "m d"]:
    """Positions for another grid: resampled in two dimensions, prefix tokens as they were.

    Bicubic with antialiasing, as timm does; done on the CPU in float32, since some devices lack the kernel.
    Taking the first rows instead would give every patch but those of the first row a wrong place.
    """
    prefix, patches = pos_embed[:num_prefix_tokens], pos_embed[num_prefix_tokens:]
    assert len(patches) == old_grid[0] * old_grid[1], f"{len(patches)} positions are no grid {old_grid}"
    table = rearrange(patches.detach().float().cpu(), "(gh gw) d -> 1 d gh gw", gh=old_grid[0])
    table = F.interpolate(table, size=new_grid, mode="bicubic", antialias=True, align_corners=False)
    resampled = rearrange(table, "1 d gh gw -> (gh gw) d").to(prefix)
    return torch.cat([prefix.detach(), resampled])
