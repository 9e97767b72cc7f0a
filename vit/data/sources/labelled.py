"""What every source gives: images with the index of their class, in parts, under class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Labelled:
    """Images with the index of their class: a uint8 tensor (n, c, h, w), or paths."""

    images: Tensor | Sequence[Path]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Labelled:
        """Some of the images, in the order of `indices`."""
        images = self.images
        some = images[indices] if isinstance(images, Tensor) else [images[i] for i in indices.tolist()]
        return Labelled(some, self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: class names in index order, and its parts. `val` is None where the data set has none of its own."""

    classes: tuple[str, ...]
    train: Labelled
    val: Labelled | None = None
    test: Labelled | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of every channel, pixel values from 0 to 1."""
    std: tuple[float, ...] = IMAGENET_STD
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """More than the name for some classes: `goldfish, Carassius auratus` for n01443537."""
    notes: tuple[str, ...] = ()
    """What the user should know and may have meant otherwise, a sentence each: files left out, a class without
    validation images."""
