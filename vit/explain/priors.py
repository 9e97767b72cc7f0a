"""Maps that know nothing of the model: what every method must beat before its picture means anything.

On a toy with a known answer, the input's own energy nearly tied the best method in deletion and insertion.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

Prior = Callable[[Float[Tensor, "b c h w"], tuple[int, int], torch.Generator], Float[Tensor, "b gh gw"]]
"""From images, the grid and a source of random numbers, on the CPU, to maps."""


def chance(
    images: Float[Tensor, "b c h w"], grid: tuple[int, int], generator: torch.Generator
) -> Float[Tensor, "b gh gw"]:
    """Random numbers, others for every image."""
    return torch.rand(len(images), *grid, generator=generator).to(images.device)


def centre(
    images: Float[Tensor, "b c h w"], grid: tuple[int, int], generator: torch.Generator
) -> Float[Tensor, "b gh gw"]:
    """Nearness to the centre, where photographers put things: 1 there, 0 in the corners, the same for every image."""
    rows, columns = (
        torch.linspace(-1, 1, length, device=images.device) if length > 1 else torch.zeros(1).to(images)
        for length in grid
    )
    distance = (rearrange(rows, "gh -> gh 1") ** 2 + rearrange(columns, "gw -> 1 gw") ** 2).sqrt() / 2**0.5
    return (1 - distance).expand(len(images), -1, -1)


def energy(
    images: Float[Tensor, "b c h w"], grid: tuple[int, int], generator: torch.Generator
) -> Float[Tensor, "b gh gw"]:
    """How far each patch's pixels are from their image's mean colour: mean square, in units of the normalised image."""
    away = (images - reduce(images, "b c h w -> b c 1 1", "mean")).float() ** 2
    return reduce(away, "b c (gh ph) (gw pw) -> b gh gw", "mean", gh=grid[0], gw=grid[1])


PRIORS: dict[str, Prior] = {"chance": chance, "centre": centre, "energy": energy}
