"""`vit data`: look at the images before training with them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vit.spelling import did_you_mean

if TYPE_CHECKING:
    from vit.data.check import Report
    from vit.data.listing import Listing
    from vit.train.data import DataOfRun

COMMANDS = {
    "check": "read every file, and report what would stop a training or make its figures untrue",
    "show": "draw a batch of training images as the model gets them",
}

SECONDS_BETWEEN_LINES = 10
"""Of progress, where there is no terminal."""


def run(arguments: list[str]) -> int:
    """Run `vit data check` or `vit data show`."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        lines = "\n".join(f"  {name:<8}{what}" for name, what in COMMANDS.items())
        print(f"usage: vit data COMMAND ...\n\ncommands:\n{lines}\n\n  vit data COMMAND --help says more.")
        raise SystemExit(0 if arguments else 2)  # as argparse does
    name, *rest = arguments
    if name not in COMMANDS:
        raise ValueError(f"there is no command 'data {name}'{did_you_mean(name, COMMANDS)}")
    return {"check": check, "show": show}[name](rest)


def check(arguments: list[str]) -> int:
    """Report on a folder or on the data of a config; 0 nothing wrong, 1 something that harms, 2 wrong input."""
    parser = _parser(
        "check",
        "Read every image before training: what cannot be read, is in two parts, twice there, or under two labels.",
        "vit data check FOLDER, or vit data check --config FILE with any flag of `vit fit`: the parts as that run "
        "would split them. Exit code 1 where something would stop a training or make its figures untrue.",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything that was found there")
    parser.add_argument("--list-bad", metavar="FILE", help="write the paths of the files to take away, one a line")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="of what is printed")
    parser.add_argument("--processes", type=int, default=None, help="that read files; default: one a core")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds that reading one file may take")
    parser.add_argument(
        "--likeness",
        type=float,
        default=0.8,
        help="from which images are near copies, 0 to 1; 0.65 finds moved ones too, and different ones (default 0.8)",
    )
    args, rest = parser.parse_known_args(arguments)
    if args.processes is not None and args.processes < 1:
        raise ValueError(f"--processes {args.processes} must be at least 1.")
    if args.timeout <= 0:
        raise ValueError(f"--timeout {args.timeout:g} must be more than 0 seconds.")
    if not 0 < args.likeness <= 1:
        raise ValueError(f"--likeness {args.likeness:g} must be above 0 and at most 1.")
    from vit.data import check as checking
    from vit.data.summary import summary

    listing, where = _listing(rest)
    start = time.perf_counter()
    with _progress(len(listing.names)) as progress:
        report = checking.check(listing, args.processes, args.timeout, args.likeness, progress)
    seconds = time.perf_counter() - start
    as_json = json.dumps(dataclasses.asdict(report), indent=1, ensure_ascii=False)
    for target, text in ((args.json, as_json + "\n"), (args.list_bad, "".join(f"{p}\n" for p in report.bad_files()))):
        if target is not None:
            Path(target).write_text(text, encoding="utf-8", errors="surrogateescape")
    if args.format == "json":
        print(as_json)
    else:
        print(f"{where}: {len(listing.names):,} images read in {seconds:.1f} s\n")
        print("\n".join(summary(report)))
        print(f"\n{_next(report, args.list_bad)}")
    return 1 if report.harmful else 0


def show(arguments: list[str]) -> int:
    """Draw training images as the model gets them, and say where the picture is."""
    parser = _parser(
        "show",
        "Draw the first batch of a training as the model gets it, each image below the one it was made from.",
        "vit data show --config FILE, with any flag of `vit fit`, of which the seed decides what is drawn.",
    )
    parser.add_argument("--output", metavar="FILE", default="batch.png", help="the picture (default batch.png)")
    parser.add_argument("--images", type=int, default=16, help="how many, or how often the same (default 16)")
    parser.add_argument(
        "--same",
        type=int,
        nargs="?",
        const=0,
        metavar="PLACE",
        help="one image in as many epochs, by its place in the training images (0 if left out)",
    )
    args, flags = parser.parse_known_args(arguments)
    target = Path(args.output)
    if target.suffix.lower() != ".png":
        raise ValueError(f"--output {args.output} must end in .png.")
    if args.images < 1:
        raise ValueError(f"--images {args.images} must be at least 1.")
    if not flags:
        raise ValueError("which data? vit data show --config FILE; configs/digits.yaml is one.")
    if not flags[0].startswith("-"):
        raise ValueError(f"{flags[0]} is no flag; vit data show --config configs/folder.yaml --data.root {flags[0]}.")
    run = _data([*flags, "--data.num_workers", "0"])  # however many workers: the images are the same
    data = run.datamodule
    run.seed()
    from vit.data import show as showing

    title = f"source {run.config.data.source}, {data.batch_size} images a batch: {showing.settings(data)}"
    if args.same is None:
        samples, errors = showing.readable(data, showing.batch(data), args.images)
        for error in errors:
            print(f"note: left out, and another image shown in its place in training: {error}", file=sys.stderr)
        figure = showing.figure_of_batch(data, samples, title)
    else:
        samples = showing.draws(data, args.same, args.images)
        figure = showing.figure_of_draws(data, samples, title)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.tmp")
    figure.savefig(unfinished, dpi=120, format="png")
    unfinished.replace(target)
    print(target)
    return 0


def _parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Own flags only: argparse leaves those of `vit fit` for LightningCLI."""
    return argparse.ArgumentParser(
        f"vit data {name}", description=description, epilog=epilog, allow_abbrev=False, exit_on_error=False
    )


def _listing(rest: list[str]) -> tuple[Listing, str]:
    """The images that are meant, and what to call them: a folder as it is, or the data of a run."""
    from vit.data.listing import list_folder, list_parts

    if not rest:
        raise ValueError("which data? vit data check FOLDER, or vit data check --config FILE.")
    folder, others = (None, rest) if rest[0].startswith("-") else (rest[0], rest[1:])
    if others and not others[0].startswith("-"):
        raise ValueError(f"{folder} and {others[0]}: one folder at a time.")
    if folder is not None and not others:
        return list_folder(Path(folder)), folder
    data = _data([*others, *(["--data.root", folder] if folder is not None else [])]).datamodule
    parts = {"train": data.train, "val": data.val, "test": data.source.test}
    listing = list_parts({name: part for name, part in parts.items() if part is not None}, data.classes)
    return listing, "the data of this config"


def _data(flags: list[str]) -> DataOfRun:
    from vit.train.data import DataOfRun

    return DataOfRun(flags)


@contextmanager
def _progress(total: int) -> Generator[Callable[[int, int], None]]:
    """A bar on a terminal, else a line now and then; on stderr, since what is printed may be JSON."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unreadable]} unreadable"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("read", total=total, unreadable=0)
            yield lambda done, unreadable: bar.update(task, completed=done, unreadable=unreadable)
        return
    last = time.monotonic()

    def line(done: int, unreadable: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{done:,} of {total:,} images read, {unreadable:,} unreadable", file=sys.stderr, flush=True)

    yield line


def _next(report: Report, list_bad: str | None) -> str:
    """What to do now, in a line or two."""
    from vit.data.listing import WHOLE

    bad = len(report.bad_files())
    if not report.harmful and not any(name for counts in report.classes.values() for name in counts):
        return "next: sort the images into class folders"
    if not report.harmful:
        return "next: train with it (vit fit)"
    if not bad:
        return "next: mend the class folders, and check again"
    if list_bad is None:
        step = f"next: run this again with --list-bad FILE, which lists the {bad:,} to take away, and look at them"
    else:
        step = f"next: look at the {bad:,} in {list_bad}, move away those that are bad, and check again"
    if not any(file.part in {"train", WHOLE} for file in report.unreadable):
        return step
    return (
        f"{step}\n      what cannot be read may stay in train, where vit fit --data.on_error skip shows others in its "
        "place; not in val and test"
    )
