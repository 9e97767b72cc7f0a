"""a name and a folder -> classes, training images, test images: where pictures come from.

    labelled.py     what every source gives: images with the index of their class, in parts
    classes.py      the class contract: names and their order, by the training part
    split.py        a part -> two parts, or fewer images, every class in its share
    digits.py, cifar.py, folder.py, table.py, imagenet.py, huggingface.py, shards.py
                    one file a kind of source

A source knows nothing of batches or augmentation. Its images are either one tensor (small ones, all of one size) or
files that are read when they are needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from vit.data.sources.cifar import cifar10, cifar100
from vit.data.sources.digits import digits
from vit.data.sources.folder import class_folders, folder, image_files
from vit.data.sources.huggingface import huggingface
from vit.data.sources.imagenet import imagenet, tiny_imagenet
from vit.data.sources.labelled import Labelled, Rows, Source
from vit.data.sources.shards import shards
from vit.data.sources.split import (
    share_of_each_class,
    some_of_each_class,
    stratified_split,
    with_test_apart,
    without_images,
)
from vit.data.sources.table import Columns, table

SourceName = Literal[
    "digits", "cifar10", "cifar100", "folder", "table", "imagenet", "tiny_imagenet", "huggingface", "shards"
]

SOURCES: dict[SourceName, Callable[..., Source]] = {
    "digits": digits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "folder": folder,
    "table": table,
    "imagenet": imagenet,
    "tiny_imagenet": tiny_imagenet,
    "huggingface": huggingface,
    "shards": shards,
}

__all__ = [
    "SOURCES",
    "Columns",
    "Labelled",
    "Rows",
    "Source",
    "SourceName",
    "cifar10",
    "cifar100",
    "class_folders",
    "digits",
    "folder",
    "huggingface",
    "image_files",
    "imagenet",
    "open_source",
    "shards",
    "share_of_each_class",
    "some_of_each_class",
    "stratified_split",
    "table",
    "tiny_imagenet",
    "with_test_apart",
    "without_images",
]


def open_source(name: SourceName, root: Path, test_fraction: float | None = None, **options: Any) -> Source:
    """The source of that name in `root`; options that are None are left to the source.

    Args:
        name: Which source.
        root: Where its data is.
        test_fraction: Share of every class to set apart for `vit test`, of a source without a test part.
        **options: As the source has them.

    Raises:
        ValueError: an option that this source does not have, or test images set apart where there are some.
        FileNotFoundError, ValueError: what the source finds wrong.
    """
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in inspect.signature(SOURCES[name]).parameters:
            others = [other for other, source in SOURCES.items() if option in inspect.signature(source).parameters]
            raise ValueError(f"data.{option} says nothing to data.source={name}; it is for {', '.join(others)}.")
    source = SOURCES[name](root, **given)
    return source if test_fraction is None else with_test_apart(source, test_fraction)
