"""images -> a report: what is in them that would stop a training, or make its figures untrue."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
from torch import Tensor

from vit.data.duplicates import CONTRAST, LIKENESS, joined, near, same
from vit.data.fingerprint import SIDE, Fingerprint, fingerprint_of, read_fingerprint
from vit.data.listing import WHOLE, Listing
from vit.data.preprocess import to_picture
from vit.data.readers import read_all, usable_cores
from vit.data.sources.classes import in_order
from vit.data.sources.labelled import Rows

PART_ORDER = (WHOLE, "train", "val", "test")
"""Of an image that is in two parts, it is the figures of the later one that are untrue."""

Found = Fingerprint | str
"""Of an image: what it is, or why it cannot be read."""


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be trained on, and why."""

    path: str
    reason: str
    part: str


@dataclass(frozen=True)
class Suspect:
    """A file that is read, of whose picture a part may be missing, and what the decoder warns of."""

    path: str
    reason: str
    part: str


@dataclass(frozen=True)
class Copy:
    """One of several copies of an image."""

    path: str
    part: str
    label: str


@dataclass(frozen=True)
class Copies:
    """The same image more than once.

    `exact` copies have the same size and decoded pixels, however their files differ. `near` ones are alike in a
    perceptual hash and in their outlines; where one is like a second and that like a third, all are one group.
    """

    kind: Literal["exact", "near"]
    images: tuple[Copy, ...]
    """The training part's first."""


@dataclass(frozen=True)
class Leak:
    """How much of a part is in an earlier one too: what was learned by heart counts as right there."""

    part: str
    earlier: str
    images: int
    """Of the part, that are also in the earlier one."""
    exact: int
    """Of these, exact copies."""
    of: int
    """Images of the part."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median and greatest."""

    least: float | int
    median: float | int
    greatest: float | int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found; the fields are the keys of the JSON."""

    images: int
    leaks: tuple[Leak, ...]
    leaked: tuple[Copies, ...]
    """Images that are in more than one part."""
    unreadable: tuple[Unreadable, ...]
    suspect: tuple[Suspect, ...]
    """JPEG files that decode with warnings."""
    contradictions: tuple[Copies, ...]
    """Exact copies under different classes: at least one label is wrong."""
    doubtful: tuple[Copies, ...]
    """Near copies under different classes."""
    repeated: tuple[Copies, ...]
    """Images more than once in one part, under one class."""
    strangers: dict[str, tuple[str, ...]]
    """Classes that the training part does not have, by part."""
    missing: dict[str, tuple[str, ...]]
    """Classes of the training part that another part does not have, by part."""
    empty: tuple[str, ...]
    """Class folders without an image."""
    unlabelled: int
    """Images in no class folder, where others are in one."""
    classes: dict[str, dict[str, int]]
    """Readable images of each part, by class."""
    sizes: dict[str, Spread]
    """Of width and height in pixels, upright, and of aspect, which is width / height."""
    modes: dict[str, int]
    """Images of each mode as stored: RGB, L, P, CMYK, I;16 ..."""
    small: int
    """Images of fewer than 32 pixels a side, of which only exact copies are looked for."""
    peculiar: dict[str, int]
    """Images that are turned by EXIF, animated, transparent, or of one even colour."""
    ignored: dict[str, int]
    """Files that are not read, by extension."""
    hidden: int
    """Hidden files and files in hidden folders, which are not read either."""
    beside: tuple[str, ...]
    """Folders beside those of the parts, which nobody looks into."""

    @property
    def harmful(self) -> bool:
        """Whether training would stop, or its figures would be untrue."""
        wrong = (self.leaks, self.unreadable, self.contradictions, self.strangers, self.empty, self.unlabelled)
        return any((*wrong, self.only_class))

    @property
    def only_class(self) -> str | None:
        """The name of the one class that there is to train on, where there are not several."""
        names = [name for name in self.classes.get("train", self.classes.get(WHOLE, {})) if name]
        return names[0] if len(names) == 1 else None

    def bad_files(self) -> list[str]:
        """What to take away so that nothing harmful is left: what cannot be read, the copies that are in an earlier
        part than another copy, so that a test set stays what it was, and all exact copies that contradict each other.
        """  # noqa: D205
        bad = {bad.path for bad in self.unreadable}
        bad |= {image.path for copies in self.contradictions for image in copies.images}
        for copies in self.leaked:
            left = [image for image in copies.images if image.path not in bad]
            last = max((PART_ORDER.index(image.part) for image in left), default=0)
            bad |= {image.path for image in left if PART_ORDER.index(image.part) < last}
        return sorted(bad)


def check(
    listing: Listing,
    processes: int | None = None,
    timeout: float = 60.0,
    likeness: float = LIKENESS,
    progress: Callable[[int, int], None] = lambda done, unreadable: None,
) -> Report:
    """Read every image and report.

    Takes about 1.2 KB of memory an image, and what `processes` decoded pictures take.

    Args:
        listing: The images.
        processes: Processes that read; by default one a core.
        timeout: Seconds that reading one file may take.
        likeness: Correlation of outlines from which two images are near copies: `vit.data.duplicates.LIKENESS`.
        progress: Told after each image how many are read, and how many of them cannot be.
    """
    found: list[Found] = [""] * len(listing.names)
    unreadable = 0
    for done, (place, answer) in enumerate(_read(listing, processes or usable_cores(), timeout), start=1):
        found[place] = answer
        unreadable += isinstance(answer, str)
        progress(done, unreadable)
    return report(listing, found, likeness)


def _read(listing: Listing, processes: int, timeout: float) -> Iterator[tuple[int, Found]]:
    """What is found of each image, as it comes. Images in memory are no one's to damage, and looked at here."""
    if listing.pictures is None:
        yield from read_all(listing.names, read_fingerprint, processes, timeout)
        return
    held = [images for images in listing.pictures.values() if isinstance(images, Tensor)]
    if held:
        for place, pixels in enumerate(chain.from_iterable(held)):
            yield place, fingerprint_of(to_picture(pixels))
        return
    tables = {part: images for part, images in listing.pictures.items() if isinstance(images, Rows)}
    rows = [(part, row) for part, images in tables.items() for row in range(len(images))]
    yield from read_all(rows, partial(_read_row, tables), processes, timeout)


def _read_row(tables: Mapping[str, Rows], row: tuple[str, int]) -> Found:
    part, place = row
    try:
        return read_fingerprint(tables[part][place])
    except ValueError as error:  # there is no image in this row
        return str(error)


def report(listing: Listing, found: Sequence[Found], likeness: float = LIKENESS) -> Report:
    """What follows from what was found of each image."""
    read = [place for place, answer in enumerate(found) if not isinstance(answer, str)]
    prints = [answer for answer in found if not isinstance(answer, str)]
    parts = [part for part in PART_ORDER if part in set(listing.parts)]
    classes = {part: Counter[str]() for part in parts}
    for place in read:
        classes[listing.parts[place]][listing.classes[place]] += 1
    trained = classes.get("train", Counter[str]())
    labelled = any(listing.classes)
    exact, everything = copies_in(prints, likeness)

    def named(groups: Iterable[list[int]], kind: Literal["exact", "near"] | None = None) -> tuple[Copies, ...]:
        return tuple(_copies(listing, [read[n] for n in group], kind or _kind(prints, group)) for group in groups)

    def spans(group: list[int], of: Sequence[str]) -> bool:
        return len({of[read[n]] for n in group}) > 1

    return Report(
        images=len(listing.names),
        leaks=tuple(_leaks(listing, read, exact, everything, classes)),
        leaked=named(group for group in everything if spans(group, listing.parts)),
        unreadable=tuple(
            Unreadable(listing.names[n], answer, listing.parts[n])
            for n, answer in enumerate(found)
            if isinstance(answer, str)
        ),
        suspect=tuple(
            Suspect(listing.names[n], print_.warning, listing.parts[n])
            for n, print_ in zip(read, prints, strict=True)
            if print_.warning
        ),
        contradictions=named((group for group in exact if spans(group, listing.classes)), "exact"),
        doubtful=named(
            group for group in everything if spans(group, listing.classes) and _kind(prints, group) == "near"
        ),
        repeated=named(
            group for group in everything if not spans(group, listing.parts) and not spans(group, listing.classes)
        ),
        strangers={part: names for part in parts if trained and (names := _except(classes[part], trained))},
        missing={part: names for part in parts if (names := _except(trained, classes[part]))},
        empty=tuple(map(str, listing.empty)),
        unlabelled=listing.classes.count("") if labelled else 0,
        classes={part: {name: counts[name] for name in in_order(counts)} for part, counts in classes.items()},
        sizes=_sizes(prints),
        modes=dict(Counter(print_.mode for print_ in prints).most_common()),
        small=sum(map(_small, prints)),
        peculiar={what: count for what, count in _peculiar(prints).items() if count},
        ignored=dict(listing.ignored),
        hidden=listing.hidden,
        beside=tuple(map(str, listing.beside)),
    )


def copies_in(prints: Sequence[Fingerprint], likeness: float = LIKENESS) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of exact copies, and groups of exact and near copies together; places in ascending order."""
    exact = same([print_.digest for print_ in prints])
    again = {place for group in exact for place in group[1:]}
    once = [place for place in range(len(prints)) if place not in again and not _small(prints[place])]
    hashes = np.array([prints[place].perceptual_hash for place in once], dtype=np.uint64)
    thumbnails = np.frombuffer(b"".join(prints[place].thumbnail for place in once), dtype=np.uint8)
    pairs = near(hashes, thumbnails.reshape(len(once), SIDE, SIDE), likeness)
    return exact, joined(len(prints), [*exact, *([once[a], once[b]] for a, b in pairs)])


def _small(print_: Fingerprint) -> bool:
    """Too small to be told apart by outlines: handwritten digits of 8 x 8 pixels are all alike."""
    return min(print_.width, print_.height) < SIDE


def _kind(prints: Sequence[Fingerprint], group: list[int]) -> Literal["exact", "near"]:
    return "exact" if len({prints[place].digest for place in group}) == 1 else "near"


def _copies(listing: Listing, places: list[int], kind: Literal["exact", "near"]) -> Copies:
    images = [Copy(listing.names[place], listing.parts[place], listing.classes[place]) for place in places]
    return Copies(kind, tuple(sorted(images, key=lambda image: PART_ORDER.index(image.part))))


def _leaks(
    listing: Listing,
    read: Sequence[int],
    exact: list[list[int]],
    everything: list[list[int]],
    classes: dict[str, Counter[str]],
) -> Iterator[Leak]:
    """For every part and each earlier one, how many of its images are also there."""
    for part in classes:
        for earlier in PART_ORDER[: PART_ORDER.index(part)]:
            images, exactly = (
                _shared(listing, read, everything, part, earlier),
                _shared(listing, read, exact, part, earlier),
            )
            if images:
                yield Leak(part, earlier, images, exactly, of=classes[part].total())


def _shared(listing: Listing, read: Sequence[int], groups: list[list[int]], part: str, earlier: str) -> int:
    """How many images of a part are in a group with one of the earlier part."""
    parts = ([listing.parts[read[n]] for n in group] for group in groups)
    return sum(of.count(part) for of in parts if earlier in of)


def _except(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    known = {"", *others}
    return tuple(name for name in some if name not in known)


def _sizes(prints: Sequence[Fingerprint]) -> dict[str, Spread]:
    if not prints:
        return {}
    values = {
        "width": [print_.width for print_ in prints],
        "height": [print_.height for print_ in prints],
        "aspect": [round(print_.width / print_.height, 4) for print_ in prints],
    }
    return {what: Spread(min(of), statistics.median(of), max(of)) for what, of in values.items()}


def _peculiar(prints: Sequence[Fingerprint]) -> dict[str, int]:
    return {
        "turned by EXIF": sum(print_.turned for print_ in prints),
        "animated or of several pages": sum(print_.animated for print_ in prints),
        "with transparency": sum(print_.transparent for print_ in prints),
        "of one even colour": sum(max(print_.thumbnail) - min(print_.thumbnail) < CONTRAST for print_ in prints),
    }
