"""`vit compare`: ours and timm under one recipe -> one table."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from vit.compare import BASELINES, TABLE, compare, is_comparison
from vit.train.folder import is_empty, missing_above, new_folder, remove_if_empty, require_name
from vit.train.signals import Stopped


def run(arguments: list[str]) -> int:
    """Train all contestants with all seeds, print the table and say where everything lies."""
    parser = argparse.ArgumentParser(
        "vit compare",
        description="Train ours and timm's ViT of the same shape on the same data by the same recipe.",
        epilog="All flags of `vit fit` apply: --config FILE, --trainer.max_epochs N, ...",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--baseline", nargs="+", choices=list(BASELINES), default=["timm"], help=_baselines())
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0; several tell chance from more")
    parser.add_argument("--output", default="runs", help="folder in which the comparison makes its own")
    parser.add_argument("--name", default=None, help="its name there; one that is there is gone on with")
    args, for_fit = parser.parse_known_args(arguments)
    if any(word.startswith("--seed_everything") for word in for_fit):
        raise ValueError("vit compare trains with the seeds 0, 1, ...; --seeds N says how many.")
    if args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds} must be at least 1.")
    require_name(args.output, args.name)
    above = missing_above(Path(args.output) / (args.name or "compare"))
    folder = _folder(Path(args.output), args.name, for_fit)
    seeds = f"{args.seeds} seed{'s' * (args.seeds > 1)}"

    def begin(trained: int) -> None:
        there = f"; {trained} of its {args.seeds * (1 + len(set(args.baseline)))} runs are there" if trained else ""
        print(f"{folder}: ours against {', '.join(args.baseline)}, {seeds}{there}", flush=True)

    try:
        for result in compare(for_fit, args.baseline, range(args.seeds), folder, begin):
            speed = result.images_per_second
            print(
                f"  {result.name}, seed {result.seed}: {100 * result.test_accuracy:.2f} % of {result.test_images:,} "
                f"test images, {result.seconds:.0f} s" + (f", {speed:,.0f} images/s" if speed else ""),
                flush=True,
            )
    except Stopped as stop:  # whose own words are of the run that was trained just then
        print(f"stopped {str(stop).partition(': ')[0]}: {_how_to_go_on(folder)}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_how_to_go_on(folder)) from stop
    finally:
        remove_if_empty([folder, *above])
    print(f"\n{(folder / TABLE).read_text(encoding='utf-8')}")
    for name in args.baseline:
        print(f"{name}: {BASELINES[name]}; data, order, augmentation, recipe and steps are the same.")
    print(f"table and runs in {folder}")
    return 0


def _folder(output: Path, name: str | None, for_fit: list[str]) -> Path:
    """That of the name, new or to be gone on with; without a name a new one, called by the config.

    Raises:
        FileExistsError: the folder of that name is of something else.
    """
    if name is None:
        return new_folder(output, f"compare-{_config_name(for_fit)}")
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    if not is_empty(folder) and not is_comparison(folder):
        raise FileExistsError(f"{folder} exists already, and is no comparison to go on with; choose another --name.")
    return folder


def _how_to_go_on(folder: Path) -> str:
    """What is kept of a comparison that was stopped, and the command that goes on with it."""
    if not is_comparison(folder):
        return "nothing was saved; no step was taken."
    return f"what is done is kept; to go on:  the same command, with --output {folder.parent} --name {folder.name}"


def _baselines() -> str:
    return "; ".join(f"{name}: {what}" for name, what in BASELINES.items())


def _config_name(arguments: list[str]) -> str:
    for word, following in pairwise([*arguments, ""]):
        flag, _, value = word.partition("=")
        if flag in {"--config", "-c"}:
            return Path(value or following).stem
    return "run"
