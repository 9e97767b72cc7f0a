"""A run cut short, on one device, that measures its steps and keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI

from vit.train.run import Run

WARM_UP, STEPS = 5, 40
"""Steps that are left out, since memory and kernels are being prepared; and those that are measured, at most."""

SECONDS = 20.0
"""After which the measuring of steps ends, however many there were, and of the loader after a quarter of that."""


class Clock(L.Callback):
    """When each batch was asked for and when its step was done; ends the training when there is enough."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.steps: list[float] = []
        self._last = self._start = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self._start = self._last = now(pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The data is here."""
        moment = now(pl_module.device)
        self.waits.append(moment - self._last)
        self._last = moment

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done."""
        moment = now(pl_module.device)
        self.steps.append(moment - self._last)
        self._last = moment
        whole = len(self.steps) % trainer.accumulate_grad_batches == 0
        enough = len(self.steps) >= (WARM_UP + STEPS) * trainer.accumulate_grad_batches
        late = moment - self._start > SECONDS and len(self.steps) > WARM_UP
        trainer.should_stop = whole and (enough or late)

    def batch_seconds(self, accumulated: int) -> float:
        """Median time of a batch, the optimiser's step shared by the batches that are accumulated for it."""
        kept = self.steps[min(WARM_UP * accumulated, len(self.steps) - accumulated) :]
        groups = [sum(kept[start : start + accumulated]) for start in range(0, len(kept), accumulated)]
        return median(groups) / accumulated


class Rehearsal(Run):
    """A run that measures itself and keeps nothing."""

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[L.Callback]) -> L.Trainer:
        self.clock = Clock()
        only = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "fast_dev_run": False}
        one_device = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        batches = {"limit_train_batches": limits(config)[0], "limit_val_batches": 0, "overfit_batches": 0.0}
        config |= {**only, **one_device, **batches, "num_sanity_val_steps": 0, "min_epochs": None}
        return LightningCLI._instantiate_trainer(self, config, [self.clock])  # pyright: ignore[reportPrivateUsage]


def limits(trainer: Mapping[str, Any]) -> tuple[int | float | None, int | float | None]:
    """How many batches of an epoch are trained on and validated on, or which shares, by the trainer's flags.

    overfit_batches stands for both.
    """
    overfit = trainer["overfit_batches"]
    return (overfit, overfit) if overfit else (trainer["limit_train_batches"], trainer["limit_val_batches"])


def for_rehearsal(args: Sequence[str], folder: str) -> list[str]:
    """The flags of the run, in a folder that will be gone."""
    return [
        *args,
        "--output",
        folder,
        "--name",
        "rehearsal",
        "--resume",
        "no",
        "--export",
        "last",
        "--trainer.num_nodes",
        "1",
    ]


def now(device: torch.device) -> float:
    """The time, when the device has done all it was told to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
