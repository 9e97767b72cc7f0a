"""a report of `vit data check` -> lines for people: what is wrong first, and at the end what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vit.data.check import Copies, Copy, Report
from vit.data.listing import WHOLE
from vit.data.sources.classes import counted, in_order, listed

SHOWN = 5
"""Examples of each fault; the JSON has all."""

MANY_CLASSES = 30
"""Classes from which on only the largest and smallest are shown."""


def summary(report: Report) -> Iterator[str]:
    """The report as text, line by line."""
    yield from _wrong(report)
    yield from _noteworthy(report)
    yield ""
    yield from _contents(report)
    yield ""
    yield from _class_table(report)


def _wrong(report: Report) -> Iterator[str]:
    """What stops a training or makes its figures untrue."""
    for leak in report.leaks:
        kinds = f"{leak.exact} exactly, {leak.images - leak.exact} nearly"
        yield (
            f"WRONG  {leak.images:,} of {leak.of:,} {leak.part} images ({100 * leak.images / leak.of:.1f} %) are also "
            f"in {leak.earlier} ({kinds}): {leak.part} figures count them as known"
        )
    yield from _examples(report.leaked)
    if report.unreadable:
        yield f"WRONG  {_number(report.unreadable, 'file')} cannot be read: training would stop there"
        yield from _some([f"{bad.path}: {bad.reason}" for bad in report.unreadable], 2 * SHOWN)
    if report.contradictions:
        yield f"WRONG  {_number(report.contradictions, 'image')} in copies under different classes: some label is wrong"
        yield from _examples(report.contradictions)
    yield from _wrong_classes(report)
    if not report.harmful:
        yield "nothing wrong: every file can be read, no image is in two parts or under two labels"


def _wrong_classes(report: Report) -> Iterator[str]:
    """Class folders of which no training can be made."""
    for part, names in report.strangers.items():
        yield f"WRONG  classes of {part} that train does not have: {listed(names)}"
    if report.empty:
        yield f"WRONG  class folders without an image: {listed(report.empty)}"
    if report.unlabelled:
        where = [part for part, counts in report.classes.items() if counts.get("") and part != WHOLE]
        of = f" of {listed(where)}" if where else ""
        lie = f"{report.unlabelled:,} image{' lies' if report.unlabelled == 1 else 's lie'}"
        yield f"WRONG  {lie} beside the class folders{of}, in no class"
    if report.only_class is not None:
        yield f"WRONG  one class, {report.only_class}: telling apart takes two"


def _noteworthy(report: Report) -> Iterator[str]:
    """What may be meant so."""
    yield from _suspect(report)
    if report.doubtful:
        yield f"note   {_number(report.doubtful, 'image')} nearly the same under different classes"
        yield from _examples(report.doubtful)
    if report.repeated:
        spare = sum(len(copies.images) - 1 for copies in report.repeated)
        exact = sum(len(copies.images) - 1 for copies in report.repeated if copies.kind == "exact")
        torn = "" if "val" in report.classes else "; a validation set split off at random would share some"
        repeat = f"{spare:,} image{' repeats another' if spare == 1 else 's repeat others'}"
        yield f"note   {repeat} of their part and class ({exact:,} exactly){torn}"
        yield from _examples(report.repeated)
    first = report.classes.get("train", report.classes.get(WHOLE, {}))
    if "val" not in report.classes and (single := [name for name, count in first.items() if name and count == 1]):
        yield f"note   classes of one image, of which none can be split off for validation: {listed(single)}"
    for part, names in report.missing.items():
        yield f"note   classes of train without an image in {part}: {listed(names)}"
    if report.small:
        yield f"note   {report.small:,} images have fewer than 32 pixels a side: only exact copies of them are found"
    if report.beside:
        yield f"note   not looked into, beside the parts: {listed(report.beside)}"
    if report.ignored or report.hidden:
        hidden = {"hidden": report.hidden} if report.hidden else {}
        yield f"note   files that are not read: {counted({**report.ignored, **hidden}, most=10)}"


def _suspect(report: Report) -> Iterator[str]:
    """Files of which a part of the picture may be missing."""
    if report.suspect:
        yield (
            f"note   {_number(report.suspect, 'file')} that decode{'s' if len(report.suspect) == 1 else ''} with "
            "warnings: a part of the picture may be missing or grey, look at them"
        )
        yield from _some([f"{file.path}: {file.reason}" for file in report.suspect], 2 * SHOWN)


def _contents(report: Report) -> Iterator[str]:
    if not report.sizes:
        return
    for what, spread in report.sizes.items():
        unit = "width / height" if what == "aspect" else "pixels"
        yield f"{what:<9}{spread.least:>8g} to {spread.greatest:g}, median {spread.median:g} ({unit})"
    yield f"{'stored':<9}{counted(report.modes, most=10)}"
    if report.peculiar:
        yield f"{'of these':<9}{counted(report.peculiar)}"


def _class_table(report: Report) -> Iterator[str]:
    """Images of each class in each part, and how uneven they are."""
    parts = list(report.classes)
    names = list(in_order(name for counts in report.classes.values() for name in counts))
    if names in ([], [""]):
        yield "no class folders: training needs CLASS/*.jpg or train/CLASS/*.jpg"
        return
    first = report.classes.get("train", report.classes[parts[0]])
    shown = names
    if len(names) > MANY_CLASSES:
        by_size = sorted(names, key=lambda name: (-first.get(name, 0), name))
        shown = [*by_size[: MANY_CLASSES // 2], *by_size[-MANY_CLASSES // 2 :]]
        yield f"{len(names)} classes, the largest and the smallest {MANY_CLASSES // 2}:"
    width = min(40, max(len(name) for name in ["class", *shown]))
    yield f"{'class':<{width}}" + "".join(f"{'images' if part == WHOLE else part:>9}" for part in parts)
    for name in shown:
        counts = "".join(f"{report.classes[part].get(name, 0):>9,}" for part in parts)
        yield f"{name or '(none)':<{width}}{counts}"
    yield f"{'total':<{width}}" + "".join(f"{sum(report.classes[part].values()):>9,}" for part in parts)
    in_classes = [count for name, count in first.items() if name]
    most, fewest = max(in_classes, default=0), min(in_classes, default=0)
    if fewest and most / fewest >= 2:
        yield f"the largest class has {most / fewest:.1f} times the images of the smallest"


def _examples(groups: Sequence[Copies]) -> Iterator[str]:
    lines: list[str] = []
    for group in groups:
        one, other = _telling(group.images)
        more = f" and {len(group.images) - 2} more" if len(group.images) > 2 else ""
        lines.append(f"{group.kind:<5} {one.path} = {other.path}{more}")
    yield from _some(lines, SHOWN)


def _telling(images: Sequence[Copy]) -> tuple[Copy, Copy]:
    """The first of a group, and one that is of another part or class if there is one."""
    first = images[0]
    others = [image for image in images[1:] if (image.part, image.label) != (first.part, first.label)]
    return first, (others or images[1:])[0]


def _some(lines: Sequence[str], most: int) -> Iterator[str]:
    for line in lines[:most]:
        yield f"         {line}"
    if len(lines) > most:
        yield f"         ... and {len(lines) - most:,} more; --json FILE has all"


def _number(things: Sequence[object], name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"
