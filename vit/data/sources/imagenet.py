"""Layouts of ImageNet whose validation images lie flat: ILSVRC 2012 as it is handed out, and Tiny-ImageNet-200.

Published figures for both are measured on the official validation images. They are the test part here, so that no
choice is made on them, and validation is split from train. (The official test images have no published labels.)
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from vit.data.sources.classes import check_classes, listed
from vit.data.sources.folder import class_folders, image_files, labelled_files, left_out
from vit.data.sources.labelled import Labelled, Source

KAGGLE = Path("ILSVRC/Data/CLS-LOC")
SOLUTION, SYNSETS = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SYNSET_LABELS = "imagenet_2012_validation_synset_labels.txt"
DEVKIT = Path("ILSVRC2012_devkit_t12/data")


def imagenet(root: Path) -> Source:
    """ILSVRC 2012: `train/WNID/*.JPEG`, and the validation images as `vit test` takes them.

    They may lie in class folders, `val/WNID/*.JPEG`, or flat, as handed out, `val/ILSVRC2012_val_00000001.JPEG`, with
    their labels in one of: Kaggle's LOC_val_solution.csv; a text of one WNID a line in the order of the images
    (imagenet_2012_validation_synset_labels.txt); or the development kit, whose
    ILSVRC2012_validation_ground_truth.txt has numbers that only its meta.mat turns into WNIDs.

    Classes are WNIDs, in their order, which is the usual one of models; LOC_synset_mapping.txt or meta.mat describes
    them.

    Raises:
        FileNotFoundError: no train folder, or flat validation images without labels.
        ValueError: labels that do not fit the images, or a class that the training part does not have.
    """
    images = root / KAGGLE if (root / KAGGLE).is_dir() else root
    if not (images / "train").is_dir():
        raise FileNotFoundError(
            f"data.root={root} is not ImageNet's folder: it has no train/ of WNIDs, nor {KAGGLE}/train."
        )
    classes = class_folders(images / "train")
    val = images / "val"
    if not val.is_dir():
        test, notes = None, (f"{images} has no val/, so there is nothing for `vit test`.",)
    elif any(entry.is_dir() for entry in val.iterdir()):
        test, notes = _in_class_folders(val, classes)
    else:
        test, notes = _flat(val, _validation_labels(root, val), classes)
    return Source(
        classes=tuple(classes),
        train=labelled_files(images / "train", classes),
        test=test,
        descriptions=_descriptions(root, classes),
        notes=left_out(images / "train") + notes,
    )


def tiny_imagenet(root: Path) -> Source:
    """Tiny-ImageNet-200: `train/WNID/images/*.JPEG`; `val/images/` and `val_annotations.txt` are the test part.

    Classes are WNIDs; words.txt describes them.

    Raises:
        FileNotFoundError: a part of this layout is not there.
        ValueError: annotations that do not fit the images or the classes.
    """
    if not (root / "train").is_dir():
        raise FileNotFoundError(f"data.root={root} is not Tiny-ImageNet's folder: it has no train/WNID/images.")
    classes = class_folders(root / "train")
    val = root / "val"
    if (val / "images").is_dir():
        test, notes = _flat(val / "images", _annotations(val / "val_annotations.txt"), classes)
    elif val.is_dir():  # sorted into class folders, as many scripts leave it
        test, notes = _in_class_folders(val, classes)
    else:
        test, notes = None, (f"{root} has no val/, so there is nothing for `vit test`.",)
    return Source(
        classes=tuple(classes),
        train=labelled_files(root / "train", classes),
        test=test,
        descriptions=_descriptions(root, classes),
        notes=left_out(root / "train") + notes,
    )


def _in_class_folders(root: Path, classes: Mapping[str, Path]) -> tuple[Labelled, tuple[str, ...]]:
    notes = check_classes(classes, class_folders(root), str(root))
    return labelled_files(root, classes), notes


def _annotations(file: Path) -> Mapping[str, str]:
    """Tiny-ImageNet's WNID of each validation image: its name, the WNID and a box, with tabs between."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist, so the validation images have no labels.")
    labels: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            name, tab, rest = line.partition("\t")
            if not tab:
                raise ValueError(f"{file}, line {number}: expected an image and its WNID, with a tab between.")
            labels[name] = rest.partition("\t")[0].strip()
    return labels


def _flat(root: Path, labels: Mapping[str, str], classes: Mapping[str, Path]) -> tuple[Labelled, tuple[str, ...]]:
    """The images of a flat folder with the class that their names have in `labels`."""
    files = image_files(root) if root.is_dir() else []
    if not files:
        raise FileNotFoundError(f"{root} has no image.")
    if unknown := [file.name for file in files if file.name not in labels]:
        raise ValueError(f"{len(unknown)} of the {len(files)} images in {root} have no label: {listed(unknown, 3)}.")
    names = [labels[file.name] for file in files]
    notes = check_classes(classes, names, str(root))
    numbers = {name: index for index, name in enumerate(classes)}
    return Labelled(files, torch.tensor([numbers[name] for name in names])), notes


def _validation_labels(root: Path, val: Path) -> Mapping[str, str]:
    """WNID of each validation image by its file's name, from whichever file of labels is there."""
    places = dict.fromkeys([root, val.parent, val, root / DEVKIT, val.parent / DEVKIT, root / "data"])
    found = {
        name: place / name
        for name in (SOLUTION, SYNSET_LABELS, GROUND_TRUTH)
        for place in reversed(places)
        if (place / name).is_file()
    }
    if SOLUTION in found:
        return _from_solution(found[SOLUTION])
    if SYNSET_LABELS in found:
        return _by_number(found[SYNSET_LABELS].read_text(encoding="utf-8").split())
    if GROUND_TRUTH in found:
        return _from_devkit(found[GROUND_TRUTH])
    raise FileNotFoundError(
        f"{val} is flat, and nothing says what its images are; put one of {SOLUTION}, {SYNSET_LABELS}, or the "
        f"development kit ({GROUND_TRUTH} with its meta.mat) into {root}."
    )


def _from_solution(file: Path) -> Mapping[str, str]:
    """Kaggle's table: an image's name, and boxes that each begin with its WNID."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"ImageId", "PredictionString"} <= set(rows[0]):
        raise ValueError(f"{file} has not the columns ImageId and PredictionString.")
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        wnids = set(re.findall(r"\bn\d{8}\b", row["PredictionString"] or ""))
        if len(wnids) != 1:
            raise ValueError(f"{file}, line {number}: {row['ImageId']} has {len(wnids)} WNIDs; expected one.")
        labels[f"{row['ImageId']}.JPEG"] = wnids.pop()
    return labels


def _from_devkit(file: Path) -> Mapping[str, str]:
    """The development kit's numbers: ILSVRC2012_IDs, in an order of their own that meta.mat explains."""
    lines = file.read_text(encoding="utf-8").split()
    if all(re.fullmatch(r"n\d{8}", line) for line in lines):
        return _by_number(lines)
    meta = file.with_name("meta.mat")
    if not meta.is_file():
        raise FileNotFoundError(
            f"{file} has numbers in an order of its own, not that of sorted WNIDs; its meta.mat must lie beside it."
        )
    wnids = {number: wnid for number, wnid, _ in _synsets(meta)}
    if strange := sorted({line for line in lines if line not in wnids}):
        raise ValueError(f"{file} has numbers that {meta.name} does not know: {listed(strange, 3)}.")
    return _by_number([wnids[line] for line in lines])


def _by_number(wnids: list[str]) -> Mapping[str, str]:
    """Labels in the order of the images, which are numbered from 1."""
    return {f"ILSVRC2012_val_{number:08}.JPEG": wnid for number, wnid in enumerate(wnids, start=1)}


def _synsets(meta: Path) -> list[tuple[str, str, str]]:
    """ILSVRC2012_ID, WNID and words of the classes of the challenge: the synsets without children."""
    from scipy.io import loadmat

    synsets = cast(Any, loadmat(str(meta), squeeze_me=True))["synsets"]
    return [
        (str(int(row["ILSVRC2012_ID"])), str(row["WNID"]), str(row["words"]))
        for row in synsets
        if row["num_children"] == 0
    ]


def _descriptions(root: Path, classes: Mapping[str, Path]) -> dict[str, str]:
    """What the WNIDs mean, where a file says so."""
    for file, separator in ((root / "words.txt", "\t"), (root / SYNSETS, " ")):
        if file.is_file():
            pairs = [line.partition(separator) for line in file.read_text(encoding="utf-8").splitlines()]
            return {wnid: words.strip() for wnid, _, words in pairs if wnid in classes}
    metas = [place / "meta.mat" for place in (root, root / DEVKIT, root / "data") if (place / "meta.mat").is_file()]
    return {wnid: words for _, wnid, words in _synsets(metas[0]) if wnid in classes} if metas else {}
