"""A folder of images, one folder a class: the layout that most people have."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from vit.data.decode import EXTENSIONS
from vit.data.sources.classes import PARTS, check_classes, counted, in_order, listed, natural
from vit.data.sources.labelled import Labelled, Paths, Source


def folder(root: Path) -> Source:
    """A folder of images: `train/CLASS/*.jpg`, and perhaps `val/` and `test/` beside `train/`, or others of `PARTS`.

    Without `train/`, the classes are the folders in `root`. Class names are in natural order (2 before 10) and come
    from the training part alone; the other parts are matched by name. Hidden folders and files are left out.

    Raises:
        FileNotFoundError: no such folder, no image in it, or a part without class folders.
        ValueError: a class that only the validation or test part has; parts within a class folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder; it should hold train/CLASS/*.jpg.")
    folders = part_folders(root)
    train_root = folders.get("train", root)
    classes = class_folders(train_root)
    _refuse_parts_as_classes(root, folders, classes)
    refuse_parts_in_classes(classes)
    train = labelled_files(train_root, classes)
    notes = left_out(train_root)
    parts: dict[str, Labelled] = {}
    for part in ("val", "test") if "train" in folders else ():
        if part in folders:
            notes += check_classes(classes, class_folders(folders[part]), str(folders[part]))
            notes += left_out(folders[part])
            parts[part] = labelled_files(folders[part], classes)
    return Source(classes=tuple(classes), train=train, val=parts.get("val"), test=parts.get("test"), notes=notes)


def part_folders(root: Path) -> dict[str, Path]:
    """Which folders in `root` hold the parts.

    Raises:
        ValueError: two folders for one part.
    """
    entries = [entry for entry in root.iterdir() if entry.is_dir()]
    found: dict[str, Path] = {}
    for part, names in PARTS.items():
        there = sorted(entry for entry in entries if entry.name.lower() in names)
        if len(there) > 1 and (part == "train" or "train" in found):
            raise ValueError(f"{' and '.join(map(str, there))} would both be the {part} part; keep one of them there.")
        if there:
            found[part] = there[0]
    return found


def refuse_parts_in_classes(classes: Mapping[str, Path]) -> None:
    """A class folder with a training part in it is a data set, or is divided the wrong way round.

    Raises:
        ValueError: there is one; the message says what would work for either.
    """
    names = [form for name in PARTS["train"] for form in (name, name.capitalize())]
    for name, path in classes.items():
        if inner := next((path / form for form in names if (path / form).is_dir()), None):
            raise ValueError(
                f"{inner} would be images of class {name!r}; give {path} if that is the data, or put the parts above "
                f"the classes, as {inner.name}/{name}."
            )


def class_folders(root: Path) -> dict[str, Path]:
    """The visible folders in `root` by their names, which are the classes, in natural order.

    Names are composed (NFC): macOS writes é as two characters, and a part from there must match one from elsewhere.

    Raises:
        FileNotFoundError: there are none; the message says what is there instead, and how to have it read.
    """
    found = visible_folders(root)
    flat = root / "images"
    if not found or (set(found) == {"images"} and not any(entry.is_dir() for entry in flat.iterdir())):
        raise FileNotFoundError(_without_class_folders(root))
    return found


def visible_folders(root: Path) -> dict[str, Path]:
    """The visible folders in `root` by their names, composed (NFC), in natural order.

    Raises:
        ValueError: two folders have one name, é in one character and in two, of which one would be left out.
    """
    entries = [entry for entry in root.iterdir() if entry.is_dir() and _visible(entry)]
    found = {class_name(entry.name): entry for entry in entries}
    if twice := [name for name, number in Counter(class_name(entry.name) for entry in entries).items() if number > 1]:
        raise ValueError(
            f"{root} has two folders that look the same, {listed(twice)}: é, say, is one character in one of them and "
            "two in the other; put their images into one."
        )
    return {name: found[name] for name in in_order(found)}


def class_name(folder_name: str) -> str:
    """The class that a folder's name means, its characters composed (NFC)."""
    return unicodedata.normalize("NFC", folder_name)


def image_files(root: Path) -> Paths:
    """Image files in a folder and below it, in natural order; hidden files and folders left out.

    Links to files and folders are followed, except a link to a folder that it lies in itself, which has no end.
    """
    return Paths([path for path in files_below(root) if extension(path) in EXTENSIONS])


def labelled_files(root: Path, classes: Mapping[str, Path]) -> Labelled:
    """The images of each class folder in `root`, numbered by the order of `classes`.

    Raises:
        FileNotFoundError: a class folder without an image.
    """
    numbers = {name: index for index, name in enumerate(classes)}
    paths: list[str] = []
    labels: list[int] = []
    for name, path in class_folders(root).items():
        files = image_files(path)
        if not files:
            raise FileNotFoundError(
                f"{path} has no image; {what_was_there(path)}. Put some there, or take the folder away."
            )
        paths += files.paths
        labels += [numbers[name]] * len(files)
    return Labelled(Paths(paths), torch.tensor(labels))


def left_out(root: Path) -> tuple[str, ...]:
    """A note about image files that lie beside the class folders and so belong to no class."""
    beside = [
        path for path in root.iterdir() if path.suffix.lower() in EXTENSIONS and _visible(path) and not path.is_dir()
    ]
    names = listed(sorted((path.name for path in beside), key=natural), most=3)
    return (f"{root} has images beside its class folders, which are left out: {names}.",) if beside else ()


def what_was_there(root: Path) -> str:
    """Which extensions were looked for below a folder without images, and which are there."""
    others = Counter(extension(path) or "without extension" for path in files_below(root))
    found = f"found {counted(others)}" if others else "found no file at all"
    return f"looked for {' '.join(sorted(EXTENSIONS))}, {found}"


def files_below(root: str | Path, hidden: bool = False, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Files below a folder, each folder's in natural order.

    Args:
        root: The folder.
        hidden: Also hidden files, and files in hidden folders.
        above: The folders that we came through, since a link to one of them has no end.
    """
    here = os.path.realpath(root)
    if here in above:
        return
    above |= {here}
    for entry in sorted(os.scandir(root), key=lambda entry: natural(entry.name)):
        if entry.name.startswith(".") and not hidden:
            continue
        if entry.is_dir():
            yield from files_below(entry.path, hidden, above)
        else:
            yield entry.path


def extension(path: str) -> str:
    """The extension of a file's name in small letters, with its dot; empty where there is none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122, a Path for each of a million files takes seconds


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _refuse_parts_as_classes(root: Path, folders: dict[str, Path], classes: dict[str, Path]) -> None:
    """`val/` and `test/` alone are parts that lack `train/`, not two classes."""
    if "train" not in folders and {name.lower() for name in classes} <= _PART_NAMES:
        raise ValueError(
            f"{root} has {' and '.join(classes)} but no train; put the training images there, as train/CLASS/*.jpg."
        )


def _without_class_folders(root: Path) -> str:
    """What a folder is that has no class folders, by what lies in it, and what would read it."""
    images = image_files(root)
    if not images:
        return f"{root} has no class folders; expected {root}/CLASS/*.jpg, one folder a class; {what_was_there(root)}."
    flat = f"{root} has {len(images)} images ({images[0].name}, ...) but no class folders"
    if root.name.lower() in PARTS["train"] and (
        beside := visible_folders(root.parent).keys() - _PART_NAMES - {root.name}
    ):
        return (
            f"{flat}; if {root.name} is a class beside {listed(in_order(beside))}, put all of them into one folder "
            f"more, as {root}/{root.name}/*.jpg."
        )
    if (root / "val_annotations.txt").is_file():
        return f"{flat}: this is Tiny-ImageNet's layout, which data.source=tiny_imagenet reads."
    if images[0].name.startswith("ILSVRC2012_val_"):
        return f"{flat}: this is ImageNet's flat validation folder, which data.source=imagenet reads with its labels."
    tables = sorted(path.name for path in (root, root.parent) for path in path.glob("*.[ctp][sa][vr]*"))
    hint = f" ({listed(tables, 3)} may be one)" if tables else ""
    return (
        f"{flat}; sort them into {root}/CLASS/, or have them read by a table of paths and labels{hint}: "
        "data.source=table."
    )


_PART_NAMES = {name for names in PARTS.values() for name in names}
