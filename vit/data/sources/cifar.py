"""CIFAR-10 and CIFAR-100: the original python batches, from disk, or downloaded where that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange

from vit.data.sources.labelled import Labelled, Source

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def cifar10(root: Path, download: bool = False) -> Source:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32x32 pixels in 10 classes.

    A whole copy in `root` is used as it is. Only without one, and only where `download` is true, is one fetched.

    Raises:
        FileNotFoundError: no copy, or a damaged one, which is named; or the download failed.
    """
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, root, download, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def cifar100(root: Path, download: bool = False) -> Source:
    """CIFAR-100 (Krizhevsky 2009): as CIFAR-10, in 100 classes."""
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, root, download, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))


def _cifar(
    dataset: type[CIFAR10], root: Path, download: bool, mean: tuple[float, ...], std: tuple[float, ...]
) -> Source:
    if root.name == dataset.base_folder:  # the folder of batches itself was named
        root = root.parent
    try:
        parts = [dataset(root, train=train) for train in (True, False)]
    except RuntimeError:  # torchvision: not found, or corrupted
        if not download:
            raise FileNotFoundError(_what_is_wrong(dataset, root)) from None
        parts = _downloaded(dataset, root)
    train, test = (
        Labelled(rearrange(torch.from_numpy(part.data), "n h w c -> n c h w").contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return Source(classes=tuple(parts[0].classes), train=train, test=test, mean=mean, std=std)


def _downloaded(dataset: type[CIFAR10], root: Path) -> list[CIFAR10]:
    """Fetch the data set; of several processes that want it, one does and the others wait."""
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / f".{dataset.base_folder}.lock"):
            return [dataset(root, train=train, download=train) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"downloading {dataset.url} to {root} failed ({error}); put the unpacked {dataset.base_folder} there "
            "by hand, or try again."
        ) from None


def _what_is_wrong(dataset: type[CIFAR10], root: Path) -> str:
    """Why there is no whole copy: no such folder, no batches in it, or which of them are missing or damaged."""
    from torchvision.datasets.utils import check_integrity

    name = dataset.base_folder
    cure = f"or fetch it with --data.download true ({'162' if name.startswith('cifar-10-') else '161'} MB)"
    if not root.is_dir():
        return f"data.root={root} is not a folder; name the one that holds {name}, {cure}."
    if not (root / name).is_dir():
        return f"data.root={root} has no {name} in it; name the folder that has, {cure}."
    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    missing = [file for file, _ in files if not (root / name / file).is_file()]
    damaged = [file for file, md5 in files if file not in missing and not check_integrity(str(root / name / file), md5)]
    reasons = [f"lacks {', '.join(missing)}"] * bool(missing)
    reasons += [f"has other bytes than published in {', '.join(damaged)}"] * bool(damaged)
    return f"{root / name} {' and '.join(reasons)}; put a whole copy there, {cure}."
