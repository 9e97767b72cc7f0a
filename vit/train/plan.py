"""What a run would take, measured by a rehearsal of a few steps: time, memory, the largest batch, the loader's speed.

The rehearsal is the run itself, with its data, precision, augmentation and device, cut short, on one device; it writes
nothing but a temporary folder.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI

from vit.nn import ViT
from vit.train.largest_batch import BatchLimit, find_largest_batch
from vit.train.memory import peak_memory
from vit.train.predictions import predict
from vit.train.run import Run, fit
from vit.weights.description import count_flops

WARM_UP, STEPS = 5, 40
"""Steps that are left out, since memory and kernels are being prepared; and those that are measured, at most."""

SECONDS = 20.0
"""After which the measuring of steps ends, however many there were, and of the loader after a quarter of that."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is known of a run before it starts."""

    device: str
    precision: str
    parameters: int
    trainable: int
    gflops: float | None
    """Of one image, forward; training takes about three times as much. None where the model is no ViT of ours."""
    batch_size: int
    train_images: int
    steps: int
    """Optimiser steps of the whole run."""
    epochs: float
    step_seconds: float
    """Median over the measured steps, without waiting for data."""
    wait_seconds: float
    """Median time a batch that training waits for data."""
    measured_batches: int
    validation_seconds: float
    """Of one pass over the validation images."""
    total_seconds: float
    peak_memory: int
    """Bytes: of the accelerator's memory that torch reserved, or of the process on a CPU."""
    images_needed: float
    """Images a second that the loader must give so that training never waits."""
    images_loaded: float
    """Images a second that it gives when nothing else runs."""
    largest_batch: BatchLimit | None


class Clock(L.Callback):
    """When each batch was asked for and when its step was done; ends the training when there is enough."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.steps: list[float] = []
        self._last = self._start = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self._start = self._last = _now(pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The data is here."""
        now = _now(pl_module.device)
        self.waits.append(now - self._last)
        self._last = now

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done."""
        now = _now(pl_module.device)
        self.steps.append(now - self._last)
        self._last = now
        whole = len(self.steps) % trainer.accumulate_grad_batches == 0
        enough = len(self.steps) >= (WARM_UP + STEPS) * trainer.accumulate_grad_batches
        late = now - self._start > SECONDS and len(self.steps) > WARM_UP
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
        config |= {**only, **one_device, "limit_val_batches": 0, "num_sanity_val_steps": 0, "min_epochs": None}
        return LightningCLI._instantiate_trainer(self, config, [self.clock])  # pyright: ignore[reportPrivateUsage]


def plan(args: Sequence[str], largest_batch: bool = True) -> Plan:
    """Rehearse a run.

    Args:
        args: As for `vit fit`.
        largest_batch: Whether to look for the largest batch that fits, in a process of its own.

    Raises:
        jsonargparse.ArgumentError, ValueError, FileNotFoundError: what `vit fit` would refuse.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Rehearsal(for_rehearsal(args, folder), epoch_lines=False)
        fit(run)
        return _plan(run, find_largest_batch(args, run.datamodule.batch_size) if largest_batch else None)


def for_rehearsal(args: Sequence[str], folder: str) -> list[str]:
    """The flags of the run, in a folder that will be gone."""
    return [*args, "--output", folder, "--name", "rehearsal", "--resume", "no", "--export", "last"]


def _plan(run: Rehearsal, largest_batch: BatchLimit | None) -> Plan:
    flags, data, device = run.config.trainer, run.datamodule, run.trainer.strategy.root_device
    network = run.model.network
    memory = peak_memory(device)  # before anything else is measured
    batch = run.clock.batch_seconds(run.trainer.accumulate_grad_batches)
    wait = median(run.clock.waits[min(WARM_UP, len(run.clock.waits) - 1) :])
    batches = len(data.train_dataloader())
    batches = _limited(flags.limit_train_batches, batches)
    steps = _steps(flags.max_epochs, flags.max_steps, math.ceil(batches / run.trainer.accumulate_grad_batches))
    all_batches = min(steps * run.trainer.accumulate_grad_batches, steps * batches)
    epochs = steps / math.ceil(batches / run.trainer.accumulate_grad_batches)
    validation = _validation_seconds(run, device)
    passes = math.floor(epochs / (flags.check_val_every_n_epoch or 1)) * (1 if run.model.ema is None else 2)
    return Plan(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=str(run.trainer.precision),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        trainable=sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        gflops=count_flops(network.config) / 1e9 if isinstance(network, ViT) else None,
        batch_size=data.batch_size,
        train_images=len(data.train),
        steps=steps,
        epochs=epochs,
        step_seconds=batch,
        wait_seconds=wait,
        measured_batches=max(len(run.clock.steps) - WARM_UP, 1),
        validation_seconds=validation,
        total_seconds=all_batches * (batch + wait) + passes * validation,
        peak_memory=memory,
        images_needed=data.batch_size / batch,
        images_loaded=_loader_speed(run, device),
        largest_batch=largest_batch,
    )


def _limited(limit: int | float | None, batches: int) -> int:
    """Lightning's limits: a number of batches, or a share of them."""
    if limit is None:
        return batches
    return min(limit, batches) if isinstance(limit, int) else max(int(batches * limit), 1)


def _steps(max_epochs: int | None, max_steps: int, an_epoch: int) -> int:
    """All optimiser steps; Lightning takes 1,000 epochs where nothing is said."""
    if max_epochs is None and max_steps < 0:
        max_epochs = 1000
    by_epochs = max_epochs * an_epoch if max_epochs is not None and max_epochs >= 0 else sys.maxsize
    return min(by_epochs, max_steps if max_steps >= 0 else sys.maxsize)


def _validation_seconds(run: Run, device: torch.device) -> float:
    """Of all validation images, by some of the batches; the first one is left out."""
    data, precision = run.datamodule, str(run.trainer.precision)
    if run.config.trainer.limit_val_batches in (0, 0.0) or not data.val:
        return 0.0
    loader = data.val_dataloader()
    batches = [*islice(loader, 4)]
    ends: list[float] = []
    for batch in batches:
        predict(run.model.network, [batch], lambda one: data.on_after_batch_transfer(one, 0), device, precision)
        ends.append(_now(device))
    one = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 0.0
    return one * _limited(run.config.trainer.limit_val_batches, len(loader))


def _loader_speed(run: Run, device: torch.device) -> float:
    """Images a second of the training loader alone, counted from its second batch on."""
    loader = run.datamodule.train_dataloader()
    images, start, now = 0, None, 0.0
    for batch in loader:
        now = _now(device)
        if start is None:
            start = now
            continue
        images += len(batch[0])
        if now - start > SECONDS / 4:
            break
    run.datamodule.teardown()
    return images / max(now - start, 1e-9) if start is not None and images else math.nan


def _now(device: torch.device) -> float:
    """The time, when the device has done all it was told to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
