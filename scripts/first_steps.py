"""Every CIFAR-10 recipe takes its first hundred steps on the real images; its loss must fall.

    python scripts/first_steps.py --root FOLDER --output docs/results/first-steps.csv

FOLDER holds cifar-10-batches-py. Model, augmentation, loss and optimiser are those of the config; batches
have 32 images and the schedule is squeezed into the hundred steps, so that it fits a CPU. Writes one row a step.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import lightning as L

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("cifar10*.yaml"))
STEPS = 100


class Losses(L.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, *_: object) -> None:
        assert isinstance(outputs, dict)
        self.seen.append(float(outputs["loss"]))


def first_losses(config: Path, root: Path, steps: int = STEPS, batch_size: int = 32) -> list[float]:
    """The training loss of the first steps of a recipe, on a CPU."""
    from vit.train.run import Run, fit

    with tempfile.TemporaryDirectory() as folder:
        flags = ["--config", str(config), "--data.root", str(root), "--output", folder, "--threads", "1"]
        here = ["--trainer.accelerator", "cpu", "--trainer.precision", "bf16-mixed", "--no_compile"]
        short = ["--trainer.max_steps", str(steps), "--data.batch_size", str(batch_size), "--data.num_workers", "0"]
        quiet = ["--trainer.limit_val_batches", "0", "--export", "last", "--trainer.logger", "false"]
        run = Run([*flags, *here, *short, *quiet], epoch_lines=False)
        losses = Losses()
        run.trainer.callbacks.append(losses)  # pyright: ignore[reportAttributeAccessIssue]
        fit(run)
    return losses.seen


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """The mean loss of the first ten steps, and of the last ten."""
    return statistics.mean(losses[:10]), statistics.mean(losses[-10:])


def main() -> None:
    """Measure all recipes, print a table, and write every loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--output", type=Path, required=True, help="CSV file: config, step, loss")
    arguments = parser.parse_args()
    rows: list[tuple[str, int, float]] = []
    for config in CONFIGS:
        losses = first_losses(config, arguments.root)
        first, last = ends(losses)
        print(f"| `{config.stem}` | {first:.3f} | {last:.3f} |", flush=True)
        rows += [(config.stem, step, round(loss, 4)) for step, loss in enumerate(losses)]
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("config", "step", "loss"), *rows])


if __name__ == "__main__":
    main()
