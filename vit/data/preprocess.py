"""picture -> the image a model knows: resized, cropped, normalised, as the model's `Preprocessing` says.

Pillow and torch only, and pixel for pixel what timm's evaluation transform gives.
"""

import os

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vit.data.decode import EncodedImage, read_image
from vit.nn import Preprocessing

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def fit(picture: Image.Image, spec: Preprocessing) -> Image.Image:
    """Resize so that the crop fits, and cut out the centre: what the model sees."""
    height, width = spec.image_size
    scaled = (int(height / spec.crop_pct), int(width / spec.crop_pct))
    if spec.crop_mode == "squash":
        size = (scaled[1], scaled[0])
    else:
        picture = _without_far_ends(picture)
        size = _covering(picture, *scaled)
    if size != picture.size:
        picture = picture.resize(size, RESAMPLING[spec.interpolation])
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def _covering(picture: Image.Image, height: int, width: int) -> tuple[int, int]:
    """Width and height of the smallest picture of the same proportions that covers `height` and `width`."""
    whole = int if height == width else round  # as timm: torchvision's Resize for squares, its own for the rest
    if picture.width * height <= picture.height * width:  # width is the tighter side
        return width, whole(width * picture.height / picture.width)
    return whole(height * picture.width / picture.height), height


def _without_far_ends(picture: Image.Image) -> Image.Image:
    """The middle of a strip: resizing one of 1 x 3000 pixels whole would take half a gigabyte, to be cropped away."""
    longest = 16 * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    left, top = max(picture.width - longest, 0) // 2, max(picture.height - longest, 0) // 2
    return picture.crop((left, top, picture.width - left, picture.height - top))


def to_tensor(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    """Pixels from 0 to 255, channels first."""
    pixels = np.array(picture)
    return torch.from_numpy(
        rearrange(pixels, "h w -> 1 h w") if pixels.ndim == 2 else rearrange(pixels, "h w c -> c h w")
    )


def to_picture(pixels: UInt8[Tensor, "c h w"]) -> Image.Image:
    """The picture of pixels from 0 to 255: grey of one channel, RGB of three."""
    return Image.fromarray(rearrange(pixels.numpy(), "1 h w -> h w" if len(pixels) == 1 else "c h w -> h w c"))


def normalise(images: UInt8[Tensor, "b c h w"], spec: Preprocessing) -> Float[Tensor, "b c h w"]:
    """Pixels to zero mean and unit variance by the model's own numbers, on the device where they are."""
    return (images / 255 - _of_channels(spec.mean, images)) / _of_channels(spec.std, images)


def unnormalise(images: Float[Tensor, "b c h w"], spec: Preprocessing) -> UInt8[Tensor, "b c h w"]:
    """What `normalise` was given, for looking: pixels from 0 to 255."""
    pixels = images * _of_channels(spec.std, images) + _of_channels(spec.mean, images)
    return (255 * pixels).round().clamp(0, 255).to(torch.uint8)


def load_image(path: str | os.PathLike[str] | EncodedImage, spec: Preprocessing) -> UInt8[Tensor, "c h w"]:
    """An image file as the model sees it, not yet normalised.

    Raises:
        FileNotFoundError, UnreadableImageError: as `read_image`.
    """
    return to_tensor(fit(read_image(path, spec.channels), spec))


def _of_channels(values: tuple[float, ...], images: Tensor) -> Float[Tensor, "c 1 1"]:
    """One number a channel, where the images are; made on the device itself it would wait for all that is under way."""
    return rearrange(torch.tensor(values).to(images.device, non_blocking=True), "c -> c 1 1")
