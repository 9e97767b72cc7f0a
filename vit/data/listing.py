"""a folder, or the parts of a source -> the images that `vit data check` looks at, with part and class of each.

A folder is listed as it is, with empty classes and what no training would accept: saying so is what the check is for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vit.data.decode import EXTENSIONS
from vit.data.sources import Labelled
from vit.data.sources.classes import counted
from vit.data.sources.folder import (
    class_name,
    extension,
    files_below,
    part_folders,
    refuse_parts_in_classes,
    visible_folders,
)
from vit.data.sources.labelled import Rows

WHOLE = "all"
"""The part of images that lie in no folder of a part."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images to be checked. All lists are of the same length."""

    names: Sequence[str]
    """Paths; of images in memory the part and the place in it, test[12]; of others what their source calls them."""

    parts: Sequence[str]
    """train, val or test; `all` where the data is not in parts."""

    classes: Sequence[str]
    """The class each image belongs to; empty for none."""

    pictures: Mapping[str, Tensor | Rows] | None = None
    """Where the images are no files of their own: each part's, uint8 (n, c, h, w) or rows of a table, in order."""

    empty: Sequence[Path] = ()
    """Class folders without an image."""

    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many files have an extension that is not an image's."""

    hidden: int = 0
    """Files that are hidden or lie in hidden folders."""

    beside: Sequence[Path] = ()
    """Folders beside those of the parts: nobody looks into them."""


def list_folder(root: Path) -> Listing:
    """All images below a folder: `PART/CLASS/*`, `CLASS/*`, or images without classes.

    Raises:
        NotADirectoryError: it is no folder.
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: two folders for one part, or parts within a class, which no training accepts either.
    """
    if not root.is_dir():
        if root.exists():
            raise NotADirectoryError(f"{root} is a file; give the folder that holds the images.")
        raise FileNotFoundError(f"there is no folder {root}.")
    folders = part_folders(root)
    parts = folders if "train" in folders else {WHOLE: root}
    refuse_parts_in_classes(visible_folders(next(iter(parts.values()))))
    names: list[str] = []
    part_of: list[str] = []
    labels: list[str] = []
    ignored, hidden, empty = Counter[str](), 0, list[Path]()
    for part, folder in parts.items():
        found, before = Counter[str](), len(str(folder).rstrip(os.sep)) + 1
        for path in files_below(folder, hidden=True):
            inside = path[before:]
            if os.sep + "." in os.sep + inside:
                hidden += 1
            elif extension(path) not in EXTENSIONS:
                ignored[extension(path) or "none"] += 1
            else:
                names.append(path)
                part_of.append(part)
                labels.append(class_name(inside.split(os.sep, 1)[0]) if os.sep in inside else "")
                found[labels[-1]] += 1
        empty += [entry for name, entry in visible_folders(folder).items() if not found[name]]
    if not names:
        there = counted(ignored) if ignored else "no visible file"
        raise FileNotFoundError(f"no image in {root}: looked for {' '.join(sorted(EXTENSIONS))}, found {there}.")
    beside = (
        [] if WHOLE in parts else [entry for entry in visible_folders(root).values() if entry not in parts.values()]
    )
    return Listing(
        names=names, parts=part_of, classes=labels, empty=empty, ignored=ignored, hidden=hidden, beside=beside
    )


def list_parts(parts: Mapping[str, Labelled], classes: Sequence[str]) -> Listing:
    """The parts of a source, as they are trained, validated and tested on."""
    names: list[str] = []
    pictures: dict[str, Tensor | Rows] = {}
    for part, labelled in parts.items():
        held = isinstance(labelled.images, Tensor)
        names += [f"{part}[{name}]" if held else name for name in labelled.names()]
        if isinstance(labelled.images, Tensor | Rows):
            pictures[part] = labelled.images
    return Listing(
        names=names,
        parts=[part for part, labelled in parts.items() for _ in range(len(labelled))],
        classes=[classes[int(label)] for labelled in parts.values() for label in labelled.labels.tolist()],
        pictures=pictures or None,
    )
