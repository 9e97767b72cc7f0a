"""What every source gives: images with the index of their class, in parts, under class names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from torch import Tensor

from vit.data.decode import EncodedImage

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


ImageFile = Path | EncodedImage
"""What `read_image` takes: a file, or the bytes of one that lies in a larger file."""


class ImageTable(ABC):
    """Image files that lie as rows in larger files: each is fetched when asked for."""

    identity: str
    """Changes where the content does."""

    @abstractmethod
    def name(self, row: int) -> str:
        """What a message calls the image; nothing is fetched."""

    @abstractmethod
    def fetch(self, row: int) -> ImageFile:
        """The image file."""

    def shards(self, rows: Tensor) -> Tensor | None:
        """The number of the larger file in which each row lies, or None where it makes no difference."""
        return None


class Rows(Sequence[ImageFile]):
    """Some rows of a table of images, none of them fetched before it is asked for."""

    def __init__(self, table: ImageTable, rows: Tensor) -> None:
        self.table, self.rows = table, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ImageFile: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> ImageFile | Rows:
        if isinstance(index, slice):
            return Rows(self.table, self.rows[index])
        return self.table.fetch(int(self.rows[index]))

    def take(self, indices: Tensor) -> Rows:
        """Some of these rows, in the order of `indices`."""
        return Rows(self.table, self.rows[indices])

    def shards(self) -> Tensor | None:
        """The larger file in which each of these images lies, as `ImageTable.shards`."""
        return self.table.shards(self.rows)

    def names(self) -> list[str]:
        """What messages call these images."""
        return [self.table.name(row) for row in self.rows.tolist()]


class Paths(Sequence[Path]):
    """Image files by their paths, kept as text: `Path`s take three times the memory, and a listing twice the time."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        return Paths(self.paths[index]) if isinstance(index, slice) else Path(self.paths[index])

    def take(self, indices: Tensor) -> Paths:
        """Some of these files, in the order of `indices`."""
        return Paths([self.paths[index] for index in indices.tolist()])

    def names(self) -> list[str]:
        """The paths as messages have them."""
        return list(self.paths)


def name_of(files: Sequence[ImageFile], index: int) -> str:
    """What a message calls one of these images; nothing is fetched, which may be what failed."""
    return files.table.name(int(files.rows[index])) if isinstance(files, Rows) else str(files[index])


@dataclass(frozen=True)
class Labelled:
    """Images with the index of their class: a uint8 tensor (n, c, h, w), or files."""

    images: Tensor | Sequence[ImageFile]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def names(self) -> list[str]:
        """What to call each image: its path, its row, or its number where the images are one tensor."""
        if isinstance(self.images, Tensor):
            return [str(number) for number in range(len(self))]
        return self.images.names() if isinstance(self.images, Rows | Paths) else [str(path) for path in self.images]

    def take(self, indices: Tensor) -> Labelled:
        """Some of the images, in the order of `indices`."""
        images = self.images
        if isinstance(images, Tensor):
            some: Tensor | Sequence[ImageFile] = images[indices]
        else:
            some = images.take(indices) if isinstance(images, Rows | Paths) else [images[i] for i in indices.tolist()]
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
