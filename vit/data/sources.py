"""a name and a folder -> classes, training images, test images: where pictures come from.

A source knows nothing of batches, splits or augmentation. Its images are either one tensor (small ones, all of one
size) or files that are read when they are needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from einops import rearrange
from torch import Tensor

from vit.data.decode import EXTENSIONS
from vit.spelling import did_you_mean

SourceName = Literal["digits", "cifar10", "cifar100", "folder"]


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
    mean: tuple[float, ...]
    """Of every channel, pixel values from 0 to 1."""
    std: tuple[float, ...]


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def digits(root: Path) -> Source:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships; `root` is not used.

    It has no test part of its own: a fifth of every class, always the same, is set apart.
    """
    from sklearn.datasets import load_digits

    arrays = cast(Any, load_digits())
    greys = torch.from_numpy(arrays.images * (255 / 16)).round().to(torch.uint8)
    everything = Labelled(rearrange(greys, "n h w -> n 1 h w"), torch.from_numpy(arrays.target).long())
    train, test = stratified_split(everything, fraction=0.2, seed=0)
    return Source(classes=tuple("0123456789"), train=train, test=test, mean=(0.305,), std=(0.376,))


def cifar10(root: Path) -> Source:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32x32 pixels in 10 classes."""
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, root, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def cifar100(root: Path) -> Source:
    """CIFAR-100 (Krizhevsky 2009): as CIFAR-10, in 100 classes."""
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, root, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))


def _cifar(dataset: Callable[..., object], root: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> Source:
    """Read the python batches under `root`; download them only where they are not there."""
    parts: list[Labelled] = []
    classes: tuple[str, ...] = ()
    for train in (True, False):
        try:
            part = dataset(root, train=train, download=False)
        except RuntimeError:  # torchvision: not found, or corrupted
            try:
                part = dataset(root, train=train, download=True)
            except (OSError, RuntimeError) as error:
                raise FileNotFoundError(
                    f"{root} has no whole copy of the data set, and downloading it failed ({error}); put the unpacked "
                    "folder of python batches there (cifar-10-batches-py or cifar-100-python), or set --data.root."
                ) from None
        pixels = rearrange(torch.from_numpy(part.data), "n h w c -> n c h w").contiguous()  # pyright: ignore[reportAttributeAccessIssue]
        parts.append(Labelled(pixels, torch.tensor(part.targets)))  # pyright: ignore[reportAttributeAccessIssue]
        classes = tuple(part.classes)  # pyright: ignore[reportAttributeAccessIssue]
    return Source(classes=classes, train=parts[0], test=parts[1], mean=mean, std=std)


def folder(root: Path) -> Source:
    """A folder of images: `train/CLASS/*.jpg`, and perhaps `val/` (or `validation/`) and `test/` beside `train/`.

    Without `train/`, the classes are the folders in `root`. Class names are in natural order (2 before 10) and come
    from the training part alone; the other parts are matched by name. Hidden folders and files are left out.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: a class that only the validation or test part has.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder; it should hold train/CLASS/*.jpg.")
    train_root = root / "train" if (root / "train").is_dir() else root
    classes = class_folders(train_root)
    train = _labelled_files(train_root, classes)
    parts: dict[str, Labelled] = {}
    for part, names in {"val": ("val", "validation", "valid"), "test": ("test",)}.items():
        found = [root / name for name in names if train_root != root and (root / name).is_dir()]
        if found:
            parts[part] = _labelled_files(found[0], classes)
    return Source(
        classes=classes,
        train=train,
        val=parts.get("val"),
        test=parts.get("test"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


SOURCES: dict[SourceName, Callable[[Path], Source]] = {
    "digits": digits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "folder": folder,
}


def class_folders(root: Path) -> tuple[str, ...]:
    """Names of the visible folders in `root`, numbers in them in order of size."""
    names = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not names:
        raise FileNotFoundError(f"{root} has no class folders; expected {root}/CLASS/*.jpg, one folder a class.")
    return tuple(sorted(names, key=_natural))


def image_files(root: Path) -> list[Path]:
    """Image files in a folder and below it, in natural order; hidden files and folders left out."""
    found: list[Path] = []
    for directory, subdirectories, names in os.walk(root, followlinks=True):
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".")]
        visible = [name for name in names if not name.startswith(".")]
        found += [Path(directory, name) for name in visible if Path(name).suffix.lower() in EXTENSIONS]
    return sorted(found, key=lambda path: _natural(str(path)))


def stratified_split(all_of_it: Labelled, fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    """Set apart a share of every class, the same images for the same seed; both parts in the original order.

    Raises:
        ValueError: a class is too small to be in both parts.
    """
    from sklearn.model_selection import train_test_split

    labels = all_of_it.labels.numpy()
    fewest = int(all_of_it.labels.bincount().min())
    if fewest < 2 or fraction * len(labels) < len(all_of_it.labels.unique()):
        raise ValueError(
            f"setting {fraction:g} of {len(labels)} images apart leaves some class with none, the smallest has "
            f"{fewest}; add images, raise data.val_fraction, or put val/CLASS beside train/."
        )
    kept, apart = train_test_split(range(len(labels)), test_size=fraction, random_state=seed, stratify=labels)
    return all_of_it.take(torch.tensor(sorted(kept))), all_of_it.take(torch.tensor(sorted(apart)))


def _labelled_files(root: Path, classes: tuple[str, ...]) -> Labelled:
    known = {name: index for index, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for name in class_folders(root):
        if name not in known:
            raise ValueError(f"class {name!r} of {root} is not one of the training part{did_you_mean(name, known)}")
        files = image_files(root / name)
        if not files:
            raise FileNotFoundError(f"{root / name} has no image; looked for {' '.join(sorted(EXTENSIONS))}.")
        paths += files
        labels += [known[name]] * len(files)
    return Labelled(paths, torch.tensor(labels))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorting key that takes runs of digits for numbers: 2 before 10."""
    parts = enumerate(re.split(r"([0-9]+)", name))  # every second part is digits
    return [(bool(n % 2), int(part) if n % 2 else 0, part) for n, part in parts]
