"""uint8 images -> the RandAugment family, a batch at a time: every image its own operation and strength.

What to do is torchvision's: the operations, their ranges and AutoAugment's learned policies. Photographs are changed
here too, on the device that trains, not in the workers, half of whose time it took: on a GPU it costs next to nothing,
on a CPU 1.05 to 1.25 times torchvision's image by image, 0.2 ms of the many that a step takes an image. The random
choices are drawn on the CPU, a few numbers an image, so that the size of every group of equal operations is known there
and nothing waits for the device. Each operation gives what `torchvision.transforms.v2.functional` gives, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor
from torch.nn import functional as F

GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
OPERATIONS = (
    *GEOMETRY,
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert", "Identity"),
)
"""torchvision's names; an operation is an index into this."""

Images = UInt8[Tensor, "b c h w"]


class Step(NamedTuple):
    """One operation for every image of a batch, on the CPU."""

    operations: Int64[Tensor, " b"]
    magnitudes: Float[Tensor, " b"]
    """In the operation's own unit: a slope, pixels, degrees, bits, a share of the range."""


def draw_policy(policy: str, batch: int, size: tuple[int, int], generator: Generator) -> list[Step]:
    """Choose at random what to do to every image; the distribution is that of torchvision's class of the name.

    Args:
        policy: trivial, randaugment, autoaugment_cifar10 or autoaugment_imagenet.
        batch: Number of images.
        size: Their height and width, on which translations depend.
        generator: Of the random numbers, on the CPU.
    """
    transform, (strengths, signed) = _torchvision(policy), _strengths(policy, size)
    bins = strengths.shape[1]
    steps: list[Step] = []
    if policy == "trivial":
        names = list(transform._AUGMENTATION_SPACE)
        operations = _indices(names)[torch.randint(len(names), (batch,), generator=generator)]
        levels = torch.randint(bins, (batch,), generator=generator)
        return [_signed(operations, strengths[operations, levels], signed, generator)]
    if policy == "randaugment":
        names = list(transform._AUGMENTATION_SPACE)
        for _ in range(transform.num_ops):
            operations = _indices(names)[torch.randint(len(names), (batch,), generator=generator)]
            steps.append(_signed(operations, strengths[operations, transform.magnitude], signed, generator))
        return steps
    chosen = torch.randint(len(transform._policies), (batch,), generator=generator)
    for place in range(2):
        names, probabilities, levels = zip(*(pair[place] for pair in transform._policies), strict=True)
        done = torch.rand(batch, generator=generator) <= torch.tensor(probabilities)[chosen]
        operations = torch.where(done, _indices(names)[chosen], OPERATIONS.index("Identity"))
        level = torch.tensor([level or 0 for level in levels])[chosen]
        steps.append(_signed(operations, strengths[operations, level], signed, generator))
    return steps


def apply_policy(images: Images, steps: list[Step]) -> Images:
    """Do the steps one after the other on the device where the images are, equal operations together.

    On a CPU some images at a time: of a whole batch of photographs no operation would find the pixels in the cache.
    """
    most = max(_AT_ONCE // images[0].numel(), 1) if images.device.type == "cpu" and len(images) else len(images)
    images = images.clone()
    for operations, magnitudes in steps:
        order = operations.argsort(stable=True)
        of_each = operations.bincount(minlength=len(OPERATIONS)).tolist()
        counts = [sum(of_each[: len(GEOMETRY)]), *of_each[len(GEOMETRY) :]]
        there = order.to(images.device, non_blocking=True)
        for kernel, group, places in zip(_KERNELS, order.split(counts), there.split(counts), strict=True):
            if kernel is _identity or not len(group):
                continue
            for some, place in zip(group.split(most), places.split(most), strict=True):
                changed = kernel(images.index_select(0, place), operations[some], magnitudes[some])
                images.index_copy_(0, place, changed)
    return images


def _geometry(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    """Shear, translation and rotation: where each pixel comes from is one matrix an image, as in torchvision."""
    h, w = images.shape[-2:]
    matrix = torch.eye(2, 3).repeat(len(images), 1, 1)  # from the place in the result to that in the image
    one = {name: operations == index for index, name in enumerate(GEOMETRY)}
    slope, shift, angle = magnitudes, magnitudes.trunc(), magnitudes.deg2rad()
    matrix[:, 0, 1] += torch.where(one["ShearX"], slope, 0.0)
    matrix[:, 0, 2] += torch.where(one["ShearX"], slope * h / 2, 0.0) - torch.where(one["TranslateX"], shift, 0.0)
    matrix[:, 1, 0] += torch.where(one["ShearY"], slope, 0.0)
    matrix[:, 1, 2] += torch.where(one["ShearY"], slope * w / 2, 0.0) - torch.where(one["TranslateY"], shift, 0.0)
    angle = torch.where(one["Rotate"], angle, 0.0)
    cosine, sine = angle.cos(), angle.sin()
    matrix[:, :, :2] += torch.stack([torch.stack([cosine - 1, -sine], -1), torch.stack([sine, cosine - 1], -1)], -2)
    matrix /= torch.tensor([w / 2, h / 2])[:, None]  # grid_sample counts from -1 to 1
    columns, rows = torch.arange(w) - (w - 1) / 2, torch.arange(h) - (h - 1) / 2
    places = torch.stack([columns.expand(h, w), rows[:, None].expand(h, w), torch.ones(h, w)], -1)
    matrix, places = matrix.to(images.device, non_blocking=True), places.to(images.device, non_blocking=True)
    grid = einsum(places, matrix, "h w column, b row column -> b h w row")
    sampled = F.grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return sampled.round_().to(torch.uint8)


def _blend(images: Images, other: Tensor, magnitudes: Tensor) -> Images:
    """Between another picture, at magnitude -1, and the images, at 0, and beyond."""
    factor = 1 + magnitudes.double()
    factor, rest = (_for_each_image(part.float(), images) for part in (factor, 1 - factor))
    return torch.addcmul(images * factor, other, rest).clamp_(0, 255).to(torch.uint8)


def _brightness(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    return _blend(images, torch.zeros((), device=images.device), magnitudes)


def _color(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    return images if images.shape[1] == 1 else _blend(images, _grey(images), magnitudes)


def _contrast(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), magnitudes)


def _sharpness(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    if min(images.shape[-2:]) <= 2:
        return images
    kernel = torch.ones(images.shape[1], 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.float()
    smooth[..., 1:-1, 1:-1] = F.conv2d(smooth, kernel / 13, groups=images.shape[1]).round_()
    change = (smooth - images) * _for_each_image(-magnitudes, images)  # 0 where smooth is the same, whatever rounding
    return (images + change).clamp_(0, 255).to(torch.uint8)


def _grey(images: Images) -> Float[Tensor, "b 1 h w"]:
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = rearrange(images.float(), "b c h w -> c b 1 h w")
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _posterize(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    mask = 256 - 2 ** (8 - magnitudes.trunc())  # the upper bits
    return images & _for_each_image(mask.to(torch.uint8), images)


def _solarize(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    threshold = _for_each_image((255 * magnitudes.double()).float(), images)
    return torch.where(images >= threshold, 255 - images, images)


def _for_each_image(values: Tensor, images: Images) -> Tensor:
    return rearrange(values.to(images.device, non_blocking=True), "b -> b 1 1 1")


def _autocontrast(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    from torchvision.transforms.v2 import functional

    return functional.autocontrast(images)


def _equalize(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    from torchvision.transforms.v2 import functional

    return functional.equalize(images)


def _invert(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    return 255 - images


def _identity(images: Images, operations: Tensor, magnitudes: Tensor) -> Images:
    return images


_KERNELS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _geometry,  # all of GEOMETRY at once
    _brightness,
    _color,
    _contrast,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
    _invert,
    _identity,
)

_AT_ONCE = 8 * 3 * 224 * 224
"""Bytes of images that an operation takes at a time on a CPU; as float they take four times that."""


@cache
def _torchvision(policy: str) -> Any:
    """The class of torchvision's own for a policy, whose tables are read."""
    from torchvision.transforms import v2

    if policy == "trivial":
        return v2.TrivialAugmentWide()
    if policy == "randaugment":
        return v2.RandAugment(num_ops=2, magnitude=9)
    learned_on = {
        "autoaugment_cifar10": v2.AutoAugmentPolicy.CIFAR10,
        "autoaugment_imagenet": v2.AutoAugmentPolicy.IMAGENET,
    }
    return v2.AutoAugment(learned_on[policy])


@cache
def _strengths(
    policy: str, size: tuple[int, int]
) -> tuple[Float[Tensor, "operations bins"], Bool[Tensor, " operations"]]:
    """How strong every operation is at every level, and whether it goes both ways."""
    transform = _torchvision(policy)
    bins = getattr(transform, "num_magnitude_bins", 10)
    strengths, signed = torch.zeros(len(OPERATIONS), bins), torch.zeros(len(OPERATIONS), dtype=torch.bool)
    for name, (levels, both_ways) in transform._AUGMENTATION_SPACE.items():
        values = levels(bins, *size)
        strengths[OPERATIONS.index(name)] = 0.0 if values is None else values
        signed[OPERATIONS.index(name)] = both_ways
    return strengths, signed


def _signed(operations: Tensor, magnitudes: Tensor, signed: Tensor, generator: Generator) -> Step:
    other_way = (torch.rand(len(operations), generator=generator) <= 0.5) & signed[operations]
    return Step(operations, torch.where(other_way, -magnitudes, magnitudes))


def _indices(names: Any) -> Int64[Tensor, " names"]:
    return torch.tensor([OPERATIONS.index(name) for name in names])
