"""Where a token stands: vectors to add to it, or angles to turn its queries and keys by.

Learned positions are a parameter of the `Tokenizer`; here is what is computed: sines and cosines, rotations, and
positions of another grid.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import einsum, pack, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


def sincos2d(grid: tuple[int, int], embed_dim: int, temperature: float = 10000.0) -> Float[Tensor, "p d"]:
    """Fixed positions: sine and cosine of the column, then of the row, at a quarter of embed_dim frequencies each.

    Beyer et al. 2022, https://arxiv.org/abs/2205.01580, as in big_vision and vit-pytorch's SimpleViT: frequencies fall
    geometrically from 1 to 1 / temperature, both included. (MAE and timm stop one step before.)

    Computed on the CPU, then moved to the default device: on "meta" a computation would import the compiler, for 5 s.
    """
    cpu, num_bands = torch.device("cpu"), embed_dim // 4
    frequencies = temperature ** -(torch.arange(num_bands, device=cpu) / max(num_bands - 1, 1))
    rows, columns = _coordinates(grid, cpu)
    angles = [rearrange(where, "p -> p 1") * frequencies for where in (columns, rows)]
    table = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=-1)
    return table.to(torch.get_default_device())


class Rotation(NamedTuple):
    """How far every token turns each pair of channels of its queries and keys; of all images alike, or of each."""

    cos: Float[Tensor, "*images n pairs"]
    sin: Float[Tensor, "*images n pairs"]
    pairs: str
    """Where the two channels of a pair stand: "pairs xy" for neighbours, "xy pairs" for one in each half."""

    def of(self, tokens: Int[Tensor, "b m"]) -> "Rotation":
        """That of some tokens, others for each image; its axes are those of (b, heads, m, pairs)."""
        cos, sin = (rearrange(wave[tokens], "b m pairs -> b 1 m pairs") for wave in (self.cos, self.sin))
        return Rotation(cos, sin, self.pairs)


class Rotary2d(nn.Module):
    """Half of a head's channels turn by column, half by row; neighbouring channels are a pair.

    Heo et al. 2024, https://arxiv.org/abs/2403.13298, section 3.1 (axial frequencies), in timm's layout. Prefix tokens
    do not turn. Coordinates count patches, also on another grid, so a larger image has larger coordinates.
    """

    def __init__(self, head_dim: int, temperature: float, num_prefix_tokens: int) -> None:
        super().__init__()
        self.num_bands = head_dim // 4
        self.temperature = temperature
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, grid: tuple[int, int], device: torch.device) -> Rotation:
        rows, columns = _coordinates(grid, device)
        return self.rotation((columns, rows), "pairs xy")

    def rotation(self, coordinates: Sequence[Float[Tensor, " p"]], pairs: str) -> Rotation:
        """The rotation by these coordinates, each at all frequencies, in radians."""
        frequencies = self.temperature ** -(torch.arange(self.num_bands, device=coordinates[0].device) / self.num_bands)
        angles, _ = pack([rearrange(where, "p -> p 1") * frequencies for where in coordinates], "p *")
        angles = F.pad(angles, (0, 0, self.num_prefix_tokens, 0))
        return Rotation(angles.cos(), angles.sin(), pairs)


class CentredRotary2d(Rotary2d):
    """Half of the pairs turn by row, half by column; the two halves of a head's channels are the pairs.

    Siméoni et al. 2025 (DINOv3), https://arxiv.org/abs/2508.10104, in timm's layout. Coordinates run from -1 to 1
    between the borders of the image, whatever its grid: in a larger image they are closer.
    """

    def forward(self, grid: tuple[int, int], device: torch.device) -> Rotation:
        rows, columns = _coordinates(grid, device)
        centred = [(2 * (where + 0.5) / length - 1) for where, length in zip((rows, columns), grid, strict=True)]
        return self.rotation([2 * math.pi * where for where in centred], "xy pairs")


def rotate(vectors: Float[Tensor, "b heads n dh"], rotation: Rotation) -> Float[Tensor, "b heads n dh"]:
    """Turn every pair of channels (Su et al. 2021, eq. 34); lengths stay."""
    cos, sin, pairs = rotation
    x, y = rearrange(vectors, f"b heads n ({pairs}) -> xy b heads n pairs", xy=2)
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos])
    return rearrange(turned, f"xy b heads n pairs -> b heads n ({pairs})").to(vectors.dtype)


def resample_pos_embed(
    pos_embed: Float[Tensor, "n d"], old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int = 1
) -> Float[Tensor, "m d"]:
    """Positions for another grid: resampled in two dimensions, prefix tokens as they were. Differentiable.

    Bicubic with antialiasing, as timm does, in float32. Taking the first rows instead would give every patch but those
    of the first row a wrong place.
    """
    prefix, patches = pos_embed[:num_prefix_tokens], pos_embed[num_prefix_tokens:]
    assert len(patches) == old_grid[0] * old_grid[1], f"{len(patches)} positions are no grid {old_grid}"
    table = rearrange(patches.float(), "(gh gw) d -> gh gw d", gh=old_grid[0])
    down, across = (_resampling(old, new, table.device) for old, new in zip(old_grid, new_grid, strict=True))
    with torch.autocast("cpu" if table.is_meta else table.device.type, enabled=False):
        table = einsum(down, table, "new_h gh, gh gw d -> new_h gw d")
        table = einsum(across, table, "new_w gw, gh gw d -> gh new_w d")
    return torch.cat([prefix, rearrange(table, "gh gw d -> (gh gw) d").to(prefix.dtype)])


def _resampling(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """What each of `old` places in a row counts in each of `new` places.

    An axis at a time, by a product, and not the whole table by `F.interpolate`: on the CPU that gives every row of a
    table of one column the values of the first (torch 2.15), and its way back cannot be compiled for sizes left free.
    """
    unit = torch.eye(old, device=device)[None, None]
    return F.interpolate(unit, size=(new, old), mode="bicubic", antialias=True)[0, 0]


def _coordinates(grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of every patch, in reading order."""
    rows = torch.arange(grid[0], dtype=torch.float32, device=device)
    columns = torch.arange(grid[1], dtype=torch.float32, device=device)
    return repeat(rows, "gh -> (gh gw)", gw=grid[1]), repeat(columns, "gw -> (gh gw)", gh=grid[0])
