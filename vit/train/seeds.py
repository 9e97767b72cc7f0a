"""One recipe, several seeds: runs/NAME/seed-0, seed-1, ..., each a run as any other, and what they have in common.

runs/NAME/seeds.json has the seeds and each one's figures on the validation images, and on the test images after
`vit test runs/NAME`. It is written before the first run, and a folder that has it can be gone on with.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from vit.train.checkpoints import FINISHED, FOLDER
from vit.train.differences import differences, in_words
from vit.train.evaluate import FILES, Part, evaluate, is_measured
from vit.train.flags import AUTO
from vit.train.folder import CONFIG, missing_above, new_named, remove_if_empty, require_name
from vit.train.run import Run
from vit.train.start import absolute
from vit.train.story import write_json

SEEDS = "seeds.json"
FIGURES = {
    "top_1": "top-1 accuracy",
    "macro_recall": "macro accuracy",
    "macro_f1": "macro F1",
    "nll": "NLL (nats)",
    "brier": "Brier score",
    "ece": "ECE (15 bins)",
}
"""What is compared between seeds, and its name for people."""


class Flags(Run):
    """The values of the flags of `vit fit`; nothing is built and no folder made."""

    def __init__(self, args: Sequence[str], of_several: bool = False) -> None:
        """Parse.

        Args:
            args: As for `vit fit`.
            of_several: Whether they are for several runs, whatever their `--seeds` says.
        """
        self.of_several = of_several
        super().__init__(args)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; of pretrained weights, which take time to read, several runs alone need to know the architecture."""
        self.config = parser.parse_args(list(args))
        if self.of_several or self.config.seeds > 1:
            super().parse_arguments(parser, args)
            self.config.model.pretrained = absolute(self.config.model.pretrained)

    def before_instantiate_classes(self) -> None:
        """Decide nothing."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


@dataclass(frozen=True)
class Seeds:
    """The runs of several seeds."""

    folder: Path
    seeds: Sequence[int]
    args: Sequence[str]
    """As for `vit fit`, of all of them."""
    made: Sequence[Path] = ()
    """The folder and those above it, the innermost first, as far as they were made for this."""

    def run_of(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.folder / f"seed-{seed}"

    def args_of(self, seed: int) -> list[str]:
        """The flags of the run of a seed."""
        where = ("--output", str(self.folder), "--name", self.run_of(seed).name)
        return [*self.args, "--seeds", "1", "--seed_everything", str(seed), *where]

    def take_back(self) -> None:
        """Take the folder away again if it is new and no seed has left anything in it."""
        if self.made and not any(self.run_of(seed).exists() for seed in self.seeds):
            (self.folder / SEEDS).unlink(missing_ok=True)
            remove_if_empty(self.made)

    def is_finished(self, seed: int) -> bool:
        """Whether the run of a seed has been trained to its end."""
        return (self.run_of(seed) / FOLDER / FINISHED).is_file()


def plan_seeds(args: Sequence[str], flags: Flags) -> Seeds:
    """The folder, new or to be gone on with, and the seeds: the one that is given, and those that follow.

    Raises:
        FileExistsError: the named folder is of something else, or of runs with another config.
        ValueError: flags that do not go with several seeds.
    """
    config = flags.config
    if config.resume != AUTO:
        raise ValueError("--resume is for one run; the same --name goes on with the unfinished ones of several seeds.")
    if config.trainer.fast_dev_run:
        raise ValueError("--seeds compares finished models, and trainer.fast_dev_run keeps none; try one seed dry.")
    if isinstance(config.seed_everything, bool):
        raise ValueError("--seeds counts from --seed_everything, which must be a number then.")
    require_name(config.output, config.name)
    values = flags.values()
    named = Path(config.output) / config.name if config.name is not None else None
    seeds = range(config.seed_everything, config.seed_everything + config.seeds)
    if named is not None and (named / SEEDS).is_file():
        plan = Seeds(named, seeds, args)
        for seed in seeds:
            require_same(plan.run_of(seed), values)
    else:
        above = missing_above(Path(config.output) / (config.name or "run"))
        folder = new_named(Path(config.output), config.name, values)
        plan = Seeds(folder, seeds, args, made=[folder, *above])
    write_json(plan.folder / SEEDS, _read(plan.folder) | {"command": flags.command, "seeds": list(seeds)})
    return plan


def require_same(run: Path, values: Mapping[str, Any]) -> None:
    """Refuse to set runs of another config beside new ones.

    Raises:
        FileExistsError: the run folder is of another config.
    """
    if not (run / CONFIG).is_file():
        return
    before = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    changed = differences(before, dict(values))
    changed.pop("seed_everything", None)
    if before["export"] != values["export"]:  # harmless to the training of a run, but not to what is made of several
        changed["export"] = (before["export"], values["export"])
    if changed:
        raise FileExistsError(f"run {run} was trained with another config: {in_words(changed)}; choose another --name.")


def collect(folder: Path, seeds: Sequence[int], part: Part, looks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Note the figures of each seed in `seeds.json`; a row a seed."""
    rows = [
        {"seed": seed, "images": look["images"]} | {name: look["measures"][name]["value"] for name in FIGURES}
        for seed, look in zip(seeds, looks, strict=True)
    ]
    write_json(folder / SEEDS, _read(folder) | {FILES[part]: rows})
    return rows


def validation_of(run: Path) -> dict[str, Any]:
    """What the end of training measured, or measure it now."""
    if not is_measured(run):
        return evaluate(run, "val")[-1]
    return json.loads((run / "validation.json").read_text(encoding="utf-8"))


def runs_of_seeds(source: str) -> list[tuple[int, Path]]:
    """The finished runs of a folder of several seeds, none where it is something else."""
    folder = Path(source)
    if not (folder / SEEDS).is_file():
        return []
    plan = Seeds(folder, _read(folder)["seeds"], ())
    return [(seed, plan.run_of(seed)) for seed in plan.seeds if plan.is_finished(seed)]


def spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the seeds (with one degree of freedom less) of each figure."""
    values = {name: [row[name] for row in rows] for name in FIGURES}
    return {name: (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0) for name, v in values.items()}


def _read(folder: Path) -> dict[str, Any]:
    path = folder / SEEDS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
