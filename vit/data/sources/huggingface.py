"""A Hugging Face data set on disk: what `save_to_disk` wrote, or a folder that `load_dataset` understands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from vit.data.decode import EncodedImage, UnreadableImageError
from vit.data.sources.classes import PARTS, check_classes, in_order, listed
from vit.data.sources.labelled import ImageFile, ImageTable, Labelled, Rows, Source
from vit.data.sources.table import Columns
from vit.spelling import did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def huggingface(root: Path, columns: Columns = Columns()) -> Source:
    """The data set in a folder; no network is used.

    Its images are decoded by this package, from the bytes that it holds. A column of class labels gives names and
    order; any other column gives names in natural order, those of the training part.

    Args:
        root: What `dataset.save_to_disk` wrote, or a folder of Parquet files in the layout of the Hub, which `datasets`
            copies into its own cache once (HF_DATASETS_CACHE).
        columns: Which column is what; guessed are the only column of images and the only one of class labels.

    Raises:
        FileNotFoundError: no such folder, or no data set in it.
        ValueError: parts, columns or labels that cannot be understood.
        ModuleNotFoundError: without the package `datasets`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder; it should be what dataset.save_to_disk wrote.")
    if columns.split is not None:
        raise ValueError(
            f"data.columns.split={columns.split} says nothing here: a Hugging Face data set has its splits."
        )
    parts = _parts(_load(root), root)
    image, label = _find_columns(parts["train"], columns, root)
    classes = _classes(parts["train"], label)
    numbers = {name: number for number, name in enumerate(classes)}
    notes: tuple[str, ...] = ()
    labelled: dict[str, Labelled] = {}
    for part, dataset in parts.items():
        where = f"{root}, {part}"
        names = _names(dataset, label)
        unlabelled = names.count(None)
        if part != "train" and unlabelled == len(names):
            notes += (f"the {part} part of {root} has no labels and is left out.",)
            continue
        if unlabelled:
            raise ValueError(
                f"{where}: {unlabelled} of {len(names)} rows have no label, first row {names.index(None)}."
            )
        known = [name for name in names if name is not None]
        notes += check_classes(classes, known, f"the {part} part of {root}")
        images = ArrowImages(_undecoded(dataset, image), image, where)
        labelled[part] = Labelled(
            Rows(images, torch.arange(len(known))), torch.tensor([numbers[name] for name in known])
        )
    return Source(
        classes=classes, train=labelled["train"], val=labelled.get("val"), test=labelled.get("test"), notes=notes
    )


class ArrowImages(ImageTable):
    """The images of one column, as the bytes that the file has."""

    def __init__(self, dataset: Dataset, column: str, where: str) -> None:
        self.dataset, self.column, self.where = dataset, column, where
        self.identity = f"{len(dataset)} rows, {dataset.data.nbytes} bytes"

    def name(self, row: int) -> str:
        return f"{self.where}, row {row}"

    def fetch(self, row: int) -> ImageFile:
        value = cast(Any, self.dataset[row])[self.column]
        if value is None:
            raise UnreadableImageError(f"{self.name(row)}: there is no image.")
        if value["bytes"] is None:
            return Path(value["path"])
        return EncodedImage(self.name(row) + (f" ({value['path']})" if value["path"] else ""), value["bytes"])


def _load(root: Path) -> Dataset | DatasetDict:
    try:
        from datasets import load_dataset, load_from_disk
        from datasets.exceptions import DatasetGenerationError
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "data.source=huggingface needs the package datasets: pip install 'plain-vit[huggingface]'.", name="datasets"
        ) from None
    if any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return load_from_disk(str(root))
    try:
        return load_dataset(str(root))
    except (FileNotFoundError, DatasetGenerationError) as error:
        raise FileNotFoundError(
            f"{root} is no data set of Hugging Face ({' '.join(str(error).split())}); expected what "
            "dataset.save_to_disk writes, or Parquet files."
        ) from None


def _parts(loaded: Dataset | DatasetDict, root: Path) -> dict[str, Dataset]:
    """Our names of the parts; a data set without splits is all for training."""
    from datasets import Dataset

    if isinstance(loaded, Dataset):
        return {"train": loaded}
    ours = {name: part for part, names in PARTS.items() for name in names}
    found = {ours[str(name)]: dataset for name, dataset in loaded.items() if str(name) in ours}
    if "train" not in found:
        raise ValueError(f"{root} has no split 'train'; it has {listed([str(name) for name in loaded])}.")
    return {part: found[part] for part in PARTS if part in found}


def _find_columns(dataset: Dataset, columns: Columns, root: Path) -> tuple[str, str]:
    """The columns of the image and of the label: as said, or the only ones of their kind."""
    from datasets import ClassLabel, Image

    found: list[str] = []
    for what, said, kind in (("image", columns.image, Image), ("label", columns.label, ClassLabel)):
        if said is not None and said not in dataset.column_names:
            raise ValueError(
                f"data.columns.{what}={said} is no column of {root}{did_you_mean(said, dataset.column_names)}"
            )
        fitting = [name for name, feature in dataset.features.items() if isinstance(feature, kind)]
        fitting = fitting or [name for name in dataset.column_names if name == what]
        if said is None and len(fitting) != 1:
            there = listed(fitting or dataset.column_names, 10)
            raise ValueError(
                f"which column of {root} is the {what}? It has {there}; name one with data.columns.{what}."
            )
        found.append(fitting[0] if said is None else said)
    if not isinstance(dataset.features[found[0]], Image):
        raise ValueError(f"column {found[0]!r} of {root} holds no images but {dataset.features[found[0]]}.")
    return found[0], found[1]


def _classes(dataset: Dataset, label: str) -> tuple[str, ...]:
    """Class names in index order: those of the column of class labels, or else natural order."""
    from datasets import ClassLabel

    feature = dataset.features[label]
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    return in_order(str(value) for value in dataset.unique(label) if value is not None)


def _names(dataset: Dataset, label: str) -> list[str | None]:
    """The class of every row by name; None where it has none."""
    from datasets import ClassLabel

    feature, values = dataset.features[label], cast(list[Any], dataset[label][:])
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else None for value in values]
    return [None if value is None else str(value) for value in values]


def _undecoded(dataset: Dataset, image: str) -> Dataset:
    """The column of images alone, as bytes."""
    from datasets import Image

    return dataset.select_columns([image]).cast_column(image, Image(decode=False))
