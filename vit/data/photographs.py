"""an image file -> one changed uint8 image: what the workers do, each image by its key.

Decoded once and cropped; resized and changed as a uint8 tensor, where torchvision is twice as fast as on
Pillow's pictures; normalised later, a batch at a time on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import PIL.Image
import torch
from einops import rearrange
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vit.data.augment import Augmentation
from vit.data.cache import Cache, Form
from vit.data.decode import UnreadableImageError, read_image
from vit.data.jpeg import jpeg_pixels
from vit.data.order import ImageKey, Stream, keyed_randomness
from vit.data.preprocess import fit, load_image, to_tensor
from vit.data.sources.labelled import ImageFile, name_of
from vit.nn import Preprocessing

Image = UInt8[Tensor, "c h w"]
AnySize = UInt8[Tensor, "c any_h any_w"]
OnError = Literal["error", "skip"]


class Photographs(Dataset[Any]):
    """Images that are read from their files when asked for. A damaged file is an error that names it.

    With `on_error="skip"` another image takes its place instead, drawn by the key of the damaged one, with its own
    label; `damaged` says which these are. One asked for by its key is changed at random, by the key; one asked for by
    its number is what prediction sees.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        labels: Tensor,
        spec: Preprocessing,
        augmentation: Augmentation = Augmentation(),
        on_error: OnError = "error",
        num_workers: int = 0,
        cache: Cache | None = None,
        form: Form | None = None,
    ) -> None:
        self.on_error = on_error
        # both shared with the workers, so that the process that waits for them can say what happened
        self.damaged = torch.zeros(len(labels), dtype=torch.bool).share_memory_()
        self.reading = torch.full((max(num_workers, 1),), -1).share_memory_()
        """Which image each worker is at, -1 between two."""
        self.files, self.labels, self.spec, self.augmentation = files, labels, spec, augmentation
        self.cache, self.form = cache, form or Form(spec)
        """Where decoded pictures are kept, and in what shape: `Form`."""
        self._change: RandomChange | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: ImageKey | int) -> tuple[Tensor, Tensor]:
        worker = torch.utils.data.get_worker_info()
        place = worker.id if worker else 0
        self.reading[place] = key if isinstance(key, int) else key.image
        try:
            return self._as_predicted(key) if isinstance(key, int) else self._in_training(key)
        except (FileNotFoundError, PermissionError) as error:  # it was there when the run began
            raise UnreadableImageError(f"{error.filename}: {error.strerror}. {self._cure(key)}") from None
        except UnreadableImageError as error:
            raise UnreadableImageError(f"{error} {self._cure(key)}") from None
        finally:
            self.reading[place] = -1

    def skipped(self, damaged: Bool[Tensor, " n"]) -> str | None:
        """A sentence about the damaged images that others were shown in the place of, or None where there are none."""
        if not (count := int(damaged.sum())):
            return None
        names = [name_of(self.files, index) for index in damaged.nonzero()[:_NAMED].flatten().tolist()]
        rest = f" and {count - len(names):,} more, which vit data check names" if count > len(names) else ""
        return (
            f"{count:,} of {len(self):,} training images could not be read; others were shown in their place: "
            f"{', '.join(names)}{rest}."
        )

    def _cure(self, key: ImageKey | int) -> str:
        may_skip = isinstance(key, tuple) and self.on_error == "error"
        skip = "; data.on_error=skip trains on others in their place" if may_skip else ""
        return f"vit data check names all such files{skip}."

    def _as_predicted(self, image: int) -> tuple[Image, Tensor]:
        return self._kept(image) if self.cache else load_image(self.files[image], self.spec), self.labels[image]

    def _in_training(self, key: ImageKey) -> tuple[Image, Tensor]:
        with keyed_randomness(Stream.IMAGE, *key):
            image = key.image
            for _ in range(_TRIES):
                try:
                    return self._changed(image), self.labels[image]
                except (UnreadableImageError, FileNotFoundError, PermissionError):
                    if self.on_error == "error":
                        raise
                    self.damaged[image] = True
                    image = int(torch.randint(len(self.files), ()))
            name = name_of(self.files, image)
            raise UnreadableImageError(f"{_TRIES} images in a row are damaged, {name} the last of them.")

    def _changed(self, image: int) -> Image:
        if self._change is None:  # built by the worker: torchvision is imported there, and the rest is easy to pickle
            self._change = RandomChange(self.augmentation, self.spec)
        if self.cache is not None:
            return self._change(self._kept(image))
        file = self.files[image]
        if self.augmentation.crop_scale is None:
            return self._change(fit(read_image(file, self.spec.channels), self.spec))
        pixels = jpeg_pixels(file) if self.spec.channels == 3 else None
        return self._change(read_image(file, self.spec.channels) if pixels is None else pixels)

    def _kept(self, image: int) -> AnySize:
        assert self.cache is not None
        return self.cache.get(image, lambda: self.form.decoded(self.files[image]))


class RandomChange:
    """Crop, mirroring and colours of one picture, drawn from torch's random numbers."""

    def __init__(self, augmentation: Augmentation, spec: Preprocessing) -> None:
        from torchvision.transforms import v2
        from torchvision.transforms.v2 import functional

        self.augmentation, self.size, self.resize = augmentation, list(spec.image_size), functional.resize
        interpolation = augmentation.crop_interpolation
        self.interpolation = v2.InterpolationMode("nearest-exact" if interpolation == "nearest" else interpolation)
        self.jitter = v2.ColorJitter(*augmentation.color_jitter) if any(augmentation.color_jitter) else None

    def __call__(self, picture: PIL.Image.Image | AnySize) -> Image:
        """Change a picture: one of any size where it is to be cropped, else one of the model's size."""
        image = self._cropped(picture)
        if self.augmentation.crop_scale is not None:
            image = self.resize(image, self.size, interpolation=self.interpolation, antialias=True)
        if self.augmentation.flip and torch.rand(()) < self.augmentation.flip:
            image = image.flip(
                -1
            )  # of the few pixels that are left: mirroring the crop took a sixth of an image's time
        if self.jitter is not None:
            image = self.jitter(image.contiguous())  # channels last suits resizing, but not colours
        return image

    def _cropped(self, picture: PIL.Image.Image | AnySize) -> Image:
        """At random where that is asked for; of a picture first, so that only the crop's pixels become a tensor."""
        scale, ratio = self.augmentation.crop_scale, self.augmentation.crop_ratio
        if isinstance(picture, Tensor):
            if scale is None:
                return picture
            left, upper, right, lower = crop_box((picture.shape[2], picture.shape[1]), scale, ratio)
            crop = picture[:, upper:lower, left:right]
            if picture.stride(0) != 1:
                return crop
            # pixel by pixel in a memory of its own a crop is resized a third sooner, the copying counted in
            return rearrange(rearrange(crop, "c h w -> h w c").contiguous(), "h w c -> c h w")
        return to_tensor(picture if scale is None else picture.crop(crop_box(picture.size, scale, ratio)))


def crop_box(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Left, upper, right and lower end of a random crop (Szegedy et al. 2015), as torchvision's RandomResizedCrop.

    All random numbers are drawn at once: torchvision draws them one by one, which takes an eighth of an image's time.
    """
    width, height = size
    shares, proportions, xs, ys = torch.rand(4, _TRIES).tolist()
    for share, proportion, x, y in zip(shares, proportions, xs, ys, strict=True):
        area = width * height * (scale[0] + share * (scale[1] - scale[0]))
        aspect = ratio[0] * (ratio[1] / ratio[0]) ** proportion  # log-uniform
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * ratio[1]))  # the largest in the middle that is neither too wide nor too high
    h = min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


_TRIES = 10

_NAMED = 5
"""Of the damaged images, by `skipped`."""
