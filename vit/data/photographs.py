"""an image file -> one changed uint8 image: what the workers do, each image by its key.

Decoded once, by Pillow; cropped, resized and changed as a uint8 tensor, where torchvision is twice as fast as on
Pillow's pictures; normalised later, a batch at a time on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vit.data.augment import Augmentation, augment_image
from vit.data.decode import read_image
from vit.data.order import ImageKey, Stream, keyed_randomness
from vit.data.preprocess import load_image, to_tensor
from vit.data.sources.labelled import ImageFile
from vit.nn import Preprocessing

Image = UInt8[Tensor, "c h w"]


class Photographs(Dataset[Any]):
    """Images that are read from their files when asked for. A damaged file is an error that names it.

    One asked for by its key is changed at random, by the key; one asked for by its number is what prediction sees.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        labels: Tensor,
        spec: Preprocessing,
        augmentation: Augmentation = Augmentation(),
    ) -> None:
        self.files, self.labels, self.spec, self.augmentation = files, labels, spec, augmentation
        self._change: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: ImageKey | int) -> tuple[Tensor, Tensor]:
        if isinstance(key, int):
            return load_image(self.files[key], self.spec), self.labels[key]
        with keyed_randomness(Stream.IMAGE, *key):
            return self._changed(self.files[key.image]), self.labels[key.image]

    def _changed(self, file: ImageFile) -> Image:
        if self._change is None:
            self._change = image_change(self.augmentation, self.spec)
        scale = self.augmentation.crop_scale
        image = load_image(file, self.spec) if scale is None else to_tensor(read_image(file, self.spec.channels))
        return self._change(image)


def image_change(augmentation: Augmentation, spec: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Crop, mirroring, colours and policy, of one image."""
    from torchvision.transforms import v2

    steps: list[Any] = []
    if augmentation.crop_scale is not None:
        modes = {"nearest": v2.InterpolationMode.NEAREST_EXACT}
        steps.append(
            v2.RandomResizedCrop(
                spec.image_size,
                scale=augmentation.crop_scale,
                ratio=augmentation.crop_ratio,
                interpolation=modes.get(augmentation.crop_interpolation)
                or v2.InterpolationMode(augmentation.crop_interpolation),
                antialias=True,
            )
        )
    if augmentation.flip:
        steps.append(v2.RandomHorizontalFlip(augmentation.flip))
    if any(augmentation.color_jitter):
        brightness, contrast, saturation, hue = augmentation.color_jitter
        steps.append(v2.ColorJitter(brightness, contrast, saturation, hue))
    if (policy := augment_image(augmentation)) is not None:
        steps.append(policy)
    return v2.Compose(steps) if steps else torch.nn.Identity()
