"""A Hugging Face data set on disk: what `save_to_disk` wrote, or a folder that `load_dataset` understands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from vit.data.decode import EncodedImage, UnreadableImageError
from vit.data.sources.classes import PARTS, check_classes, in_order, listed
from vit.data.sources.labelled import ImageFile, ImageTable, Labelled, Rows, Source
from vit.data.sources.table import GUESSES, Columns, as_text
from vit.spelling import did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def huggingface(root: Path, columns: Columns = Columns()) -> Source:
    """The data set in a folder; no network is used.

    Its images are decoded by this package, from the bytes that it holds or the files that it names. A column of class
    labels gives names and their order, without the names of which the training part has no image; any other column
    gives names in natural order, those of the training part.

    Args:
        root: What `dataset.save_to_disk` wrote, or a folder of Parquet files in the layout of the Hub, which `datasets`
            copies into its own cache once (HF_DATASETS_CACHE).
        columns: Which column is what; guessed are the only column of images and the only one of class labels, and
            without one of that kind the first of the common names (`GUESSES`).

    Raises:
        FileNotFoundError: no such folder, or no data set in it.
        ValueError: a damaged data set; parts, columns or labels that cannot be understood.
        ModuleNotFoundError: without the package `datasets`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder; it should be what dataset.save_to_disk wrote.")
    if columns.split is not None:
        raise ValueError(
            f"data.columns.split={columns.split} says nothing here: a Hugging Face data set has its splits."
        )
    parts, notes = _parts(_load(root), root)
    image, label = _find_columns(parts["train"], columns, root)
    classes, unused = _classes(parts["train"], label)
    if unused:
        notes += (f"{root} names classes without a training image, which are left out: {listed(unused)}.",)
    numbers = {name: number for number, name in enumerate(classes)}
    labelled: dict[str, Labelled] = {}
    for part, dataset in parts.items():
        where = f"{root}, {part}"
        if image not in dataset.column_names:
            raise ValueError(f"the {part} part of {root} has no column {image!r}; it has {_named(dataset)}.")
        names = _names(dataset, label)
        unlabelled = names.count("")
        if part != "train" and unlabelled == len(names):
            notes += (f"the {part} part of {root} has no labels and is left out.",)
            continue
        if unlabelled:
            raise ValueError(f"{where}: {unlabelled} of {len(names)} rows have no label, first row {names.index('')}.")
        notes += check_classes(classes, names, f"the {part} part of {root}")
        images = ArrowImages(_undecoded(dataset, image), image, root, where)
        labelled[part] = Labelled(
            Rows(images, torch.arange(len(names))), torch.tensor([numbers[name] for name in names])
        )
    return Source(
        classes=classes, train=labelled["train"], val=labelled.get("val"), test=labelled.get("test"), notes=notes
    )


class ArrowImages(ImageTable):
    """The images of one column, as the bytes that the file has, or as paths from the folder of the data set."""

    def __init__(self, dataset: Dataset, column: str, root: Path, where: str) -> None:
        self.dataset, self.column, self.root, self.where = dataset, column, root, where
        self.identity = f"{len(dataset)} rows, {dataset.data.nbytes} bytes"

    def name(self, row: int) -> str:
        return f"{self.where}, row {row}"

    def fetch(self, row: int) -> ImageFile:
        value = cast(Any, self.dataset[row])[self.column]
        if value is None:
            raise UnreadableImageError(f"{self.name(row)}: there is no image.")
        if value["bytes"] is None:
            return self.root / value["path"]
        return EncodedImage(self.name(row) + (f" ({value['path']})" if value["path"] else ""), value["bytes"])


def _load(root: Path) -> Dataset | DatasetDict:
    try:
        from datasets import load_dataset, load_from_disk
        from datasets.exceptions import DatasetGenerationError
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "data.source=huggingface needs the package datasets: pip install 'plain-vit[huggingface]'.", name="datasets"
        ) from None
    try:
        if any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
            return load_from_disk(str(root))
        return load_dataset(str(root))
    except FileNotFoundError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise FileNotFoundError(
            f"{root} is no data set of Hugging Face, or not a whole one ({reason}); expected what dataset.save_to_disk "
            "writes, or Parquet files."
        ) from None
    except (OSError, ValueError, DatasetGenerationError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of what is on it
            raise
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        raise ValueError(f"{root} cannot be read as a data set of Hugging Face: {reason}.") from None


def _parts(loaded: Dataset | DatasetDict, root: Path) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The parts by our names for them, and a note about splits that are none; a data set without splits is all for
    training.
    """  # noqa: D205
    from datasets import Dataset

    if isinstance(loaded, Dataset):
        return {"train": loaded}, ()
    ours = {name: part for part, names in PARTS.items() for name in names}
    found: dict[str, Dataset] = {}
    others: list[str] = []
    for name, dataset in loaded.items():
        part = ours.get(str(name).lower())
        if part in found:
            raise ValueError(f"{root} has two splits that would be the {part} part, {name} the second of them.")
        if part is None:
            others.append(str(name))
        else:
            found[part] = dataset
    if "train" not in found:
        hint = f"; data.root={root / others[0]} trains on that one" if others and (root / others[0]).is_dir() else ""
        raise ValueError(f"{root} has no split 'train'; it has {listed([str(name) for name in loaded])}{hint}.")
    note = f"splits of {root} that are no part of a training, and are left out: {listed(others)}."
    return {part: found[part] for part in PARTS if part in found}, (note,) if others else ()


def _find_columns(dataset: Dataset, columns: Columns, root: Path) -> tuple[str, str]:
    """The columns of the image and of the label: as said, or the only ones of their kind, or by their names."""
    from datasets import ClassLabel, Image, Value

    found: list[str] = []
    for what, said, kind in (("image", columns.image, Image), ("label", columns.label, ClassLabel)):
        if said is not None and said not in dataset.column_names:
            raise ValueError(
                f"data.columns.{what}={said} is no column of {root}{did_you_mean(said, dataset.column_names)}"
            )
        fitting = [name for name, feature in dataset.features.items() if isinstance(feature, kind)]
        guesses = [name for guess in GUESSES[what] for name in dataset.column_names if name.lower() == guess]
        fitting = fitting or guesses[:1]
        if said is None and len(fitting) != 1:
            there = listed(fitting, 10) if fitting else _named(dataset)
            raise ValueError(
                f"which column of {root} is the {what}? It has {there}; name one with data.columns.{what}."
            )
        found.append(fitting[0] if said is None else said)
    image, label = (dataset.features[name] for name in found)
    if not isinstance(image, Image) and getattr(image, "dtype", "").removeprefix("large_") not in {"string", "binary"}:
        raise ValueError(
            f"column {found[0]!r} of {root} holds no images but {image}; image files are read (datasets.Image), their "
            "bytes, and their paths."
        )
    if not isinstance(label, ClassLabel | Value):
        raise ValueError(f"column {found[1]!r} of {root} holds no class an image but {label}.")
    return found[0], found[1]


def _classes(dataset: Dataset, label: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names in index order, and names of class labels that no row has."""
    from datasets import ClassLabel

    feature, there = dataset.features[label], set(_names(dataset, label)) - {""}
    if not isinstance(feature, ClassLabel):
        return in_order(there), ()
    names = tuple(feature.names)
    return tuple(name for name in names if name in there), tuple(name for name in names if name not in there)


def _names(dataset: Dataset, label: str) -> list[str]:
    """The class of every row by name; empty where it has none."""
    from datasets import ClassLabel

    if label not in dataset.column_names:
        return [""] * len(dataset)
    feature, values = dataset.features[label], cast(list[Any], dataset[label][:])
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else "" for value in values]
    return [as_text(value) for value in values]


def _named(dataset: Dataset) -> str:
    """The columns, for a sentence."""
    return listed(dataset.column_names, 10)


def _undecoded(dataset: Dataset, image: str) -> Dataset:
    """The column of images alone, as bytes."""
    from datasets import Image

    return dataset.select_columns([image]).cast_column(image, Image(decode=False))
