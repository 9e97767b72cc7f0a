"""The class contract: names map to indices by the training part, and every other part is matched by name.

Names are in natural order, numbers by their size: 1, 2, 10. torchvision's ImageFolder sorts them as text, 1, 10, 2, so
its indices differ from these wherever such names occur; class names travel with the model, indices do not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from vit.spelling import did_you_mean

_DIGITS = re.compile(r"([0-9]+)")

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
"""The parts of a data set, and the names of folders, splits and column values that mean them, in any case."""


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorting key that takes runs of digits for numbers: 2 before 10."""
    parts: list[str | int] = [*_DIGITS.split(name)]
    parts[1::2] = map(int, parts[1::2])  # every second part is digits, so that like is compared with like
    return parts, name


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names as they are numbered: each once, in natural order."""
    return tuple(sorted(set(names), key=natural))


def check_classes(classes: Collection[str], found: Iterable[str], where: str) -> tuple[str, ...]:
    """Hold a part's classes against the training part's; the notes that this gives.

    Args:
        classes: Names of the training part.
        found: Names of the other part.
        where: How a sentence calls the other part.

    Raises:
        ValueError: a class that the training part does not have; the message has the nearest name.
    """
    found = set(found)
    for name in in_order(found - set(classes)):
        more = len(found - set(classes)) - 1
        others = f" (and {more} more)" if more else ""
        raise ValueError(
            f"class {name!r}{others} of {where} is not one of the training part{did_you_mean(name, classes)}"
        )
    if missing := in_order(set(classes) - found):
        return (f"{where} has no image of {listed(missing)}: its figures say nothing about them.",)
    return ()


def listed(names: Collection[str], most: int = 5) -> str:
    """Some names for a sentence, and how many more there are."""
    shown = list(names)[:most]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def counted(counts: Mapping[str, int], most: int = 5) -> str:
    """Counts of things for a sentence, the largest first: 12 .txt, 3 .heic."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{number} {name}" for name, number in ordered], most)
