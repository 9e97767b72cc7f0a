"""uint8 images -> shifted and mirrored ones, by one lookup: every crop of every image is a view into the same memory.

In the padded images the crop that begins `rows` down and `columns` to the right begins `rows * width + columns` bytes
later. So a view with strides (1, plane, row, 1) has all crops of all images, of their mirrored copies too, and a batch
is one `index_select` by where its crops begin: several times as fast as padding, indexing and flipping each batch.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor
from torch.nn import functional as F

from vit.data.augment import Augmentation


class Crops:
    """Images on a device, from which batches are taken, each image shifted and mirrored at random.

    Takes the images' memory, larger by the border of black that they are shifted into, and twice that where they are
    mirrored: see `crops_bytes`.
    """

    def __init__(self, images: UInt8[Tensor, "n c h w"], augmentation: Augmentation) -> None:
        """Pad and mirror the images, on the device where they are."""
        self.augmentation = augmentation
        self.device = images.device
        most = augmentation.shift
        padded = F.pad(images, (most, most, most, most)) if most else images.contiguous()
        n, c, rows, columns = padded.shape
        self._row, self._image, self._mirrored = columns, c * rows * columns, n * c * rows * columns
        memory = rearrange(
            [padded, padded.flip(-1)] if augmentation.flip else [padded], "twice n c h w -> (twice n c h w)"
        )
        h, w = images.shape[-2:]
        last = self._image - ((c - 1) * rows + h - 1) * columns - w  # where the last crop of an image may begin
        starts = len(memory) - self._image + last + 1 if n else 0
        self.image_bytes = c * h * w
        """Size of one image as it is taken."""
        self._crops = memory.as_strided((starts, c, h, w), (1, rows * columns, columns, 1))

    def take(self, indices: Int64[Tensor, " b"], generator: Generator | None = None) -> UInt8[Tensor, "b c h w"]:
        """Images by index, each changed in its own way; random numbers of `generator`, on the device."""
        most, b = self.augmentation.shift, len(indices)
        begin = indices * self._image
        if most:
            by = torch.randint(-most, most + 1, (2, b), device=self.device, generator=generator)
            shifted = self._chosen(b, self.augmentation.shift_probability, generator)
            down, right = torch.where(shifted, by, 0)
            begin = begin + (most - down) * self._row + (most - right)
        if self.augmentation.flip:
            begin = begin + self._chosen(b, self.augmentation.flip, generator) * self._mirrored
        return self._crops.index_select(0, begin)

    def _chosen(self, b: int, probability: float, generator: Generator | None) -> Tensor:
        return torch.rand(b, device=self.device, generator=generator) < probability


def crops_bytes(shape: torch.Size, augmentation: Augmentation) -> int:
    """Memory that `Crops` takes for images of a shape (n, c, h, w)."""
    n, c, h, w = shape
    border = 2 * augmentation.shift
    return n * c * (h + border) * (w + border) * (2 if augmentation.flip else 1)
