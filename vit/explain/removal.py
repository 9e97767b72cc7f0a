"""images, patches to take away -> what the model still says: the ground that all measures of faithfulness stand on.

Painting a patch over is itself something to see, and every way to paint gives another figure (Rong et al. 2022,
https://arxiv.org/abs/2202.00449); a ViT can also do without the patch (Jain et al. 2022,
https://arxiv.org/abs/2204.08945). So there are four ways, and a claim should hold for more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vit.nn import Preprocessing, ViT

Fill = Literal["black", "mean", "blur", "drop"]
"""What takes a patch's place: black; its image's mean colour; the image blurred by a patch's width; or nothing: `drop`
takes the token away, positions of the others kept."""

FILLS: tuple[Fill, ...] = ("black", "mean", "blur", "drop")


def remover(
    model: nn.Module, images: Float[Tensor, "b c h w"], grid: tuple[int, int], fill: Fill, preprocessing: Preprocessing
) -> Callable[[Int[Tensor, "b gone"]], Float[Tensor, "b classes"]]:
    """A function from the numbers of the patches to take away, as many in every image, to the model's logits.

    Raises:
        ValueError: a fill that there is not, or tokens of another library's model are to be dropped.
    """
    if fill not in FILLS:
        raise ValueError(f"fill={fill!r} is not one of {', '.join(FILLS)}.")
    if fill == "drop":
        if not isinstance(model, ViT):
            raise ValueError(
                f"fill='drop' leaves tokens out, which {type(model).__name__} cannot; load_model makes a ViT of it, "
                "or fill 'black', 'mean' or 'blur'."
            )
        num_patches, num_wanted = grid[0] * grid[1], model.pool.num_read
        return lambda gone: model.classify(model.encode_some(images, _others(gone, num_patches), num_wanted))
    background = filled(images, grid, fill, preprocessing)
    return lambda gone: model(torch.where(_pixels(gone, grid, images), background, images))


def filled(
    images: Float[Tensor, "b c h w"], grid: tuple[int, int], fill: Fill, preprocessing: Preprocessing
) -> Float[Tensor, "b c h w"]:
    """Images of which nothing is left but the fill, normalised as for the model."""
    if fill == "black":
        mean, std = (torch.tensor(values, device=images.device) for values in (preprocessing.mean, preprocessing.std))
        return rearrange(-mean / std, "c -> c 1 1").to(images).expand_as(images)
    if fill == "mean":
        return reduce(images, "b c h w -> b c 1 1", "mean").expand_as(images)
    return _blurred(images, (images.shape[-2] / grid[0], images.shape[-1] / grid[1]))


def _others(gone: Int[Tensor, "b gone"], num_patches: int) -> Int[Tensor, "b kept"]:
    """The patches that stay, in reading order."""
    stays = torch.ones(len(gone), num_patches, dtype=torch.bool, device=gone.device).scatter(1, gone, value=False)
    return rearrange(stays.nonzero()[:, 1], "(b kept) -> b kept", b=len(gone))


def _pixels(gone: Int[Tensor, "b gone"], grid: tuple[int, int], images: Tensor) -> Bool[Tensor, "b 1 h w"]:
    """Where those patches are in the images."""
    taken = torch.zeros(len(gone), grid[0] * grid[1], dtype=torch.bool, device=gone.device).scatter(1, gone, value=True)
    ph, pw = images.shape[-2] // grid[0], images.shape[-1] // grid[1]
    return repeat(taken, "b (gh gw) -> b 1 (gh ph) (gw pw)", gh=grid[0], ph=ph, pw=pw)


def _blurred(images: Float[Tensor, "b c h w"], sigma: tuple[float, float]) -> Float[Tensor, "b c h w"]:
    """Convolved with a Gaussian of these standard deviations (rows, columns), in pixels; edges repeated."""
    channels = images.shape[1]
    for axis, width in zip(("h", "w"), sigma, strict=True):
        reach = round(3 * width)
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / width) ** 2)
        kernel = (weights / weights.sum()).to(images)
        padding = (0, 0, reach, reach) if axis == "h" else (reach, reach, 0, 0)
        shape = "n -> c 1 n 1" if axis == "h" else "n -> c 1 1 n"
        padded = F.pad(images, padding, mode="replicate")
        images = F.conv2d(padded, repeat(kernel, shape, c=channels), groups=channels)
    return images
