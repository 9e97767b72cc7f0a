"""What a run would take, measured by a rehearsal of a few steps: time, memory, the largest batch, the loader's speed.

The rehearsal is the run itself, with its data, precision, augmentation and device, cut short, on one device; it writes
nothing but a temporary folder.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch

from vit.nn import ViT
from vit.train.largest_batch import BatchLimit, find_largest_batch
from vit.train.memory import peak_memory
from vit.train.predictions import predict
from vit.train.rehearsal import SECONDS, WARM_UP, Rehearsal, for_rehearsal, limits, now
from vit.train.run import Run, fit
from vit.weights.description import count_flops

NOT_SOUGHT = "not looked for"
TRIAL_FAILED = "not found: the process that tried was killed, perhaps for want of memory, or says above what went wrong"


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
    no_largest_batch: str | None
    """Why there is none, in words."""


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
        if not largest_batch:
            return _plan(run, None, NOT_SOUGHT)
        limit = find_largest_batch(args, run.datamodule.batch_size)
        return _plan(run, limit, TRIAL_FAILED if limit is None else None)


def _plan(run: Rehearsal, largest_batch: BatchLimit | None, no_largest_batch: str | None) -> Plan:
    flags, data, device = run.config.trainer, run.datamodule, run.trainer.strategy.root_device
    network = run.model.network
    memory = peak_memory(device)  # before anything else is measured
    batch = run.clock.batch_seconds(run.trainer.accumulate_grad_batches)
    wait = median(run.clock.waits[min(WARM_UP, len(run.clock.waits) - 1) :])
    to_train, to_validate = limits(vars(flags))
    batches = _limited(to_train, len(data.train_dataloader()))
    an_epoch = math.ceil(batches / run.trainer.accumulate_grad_batches)
    steps = _steps(flags.max_epochs, flags.max_steps, an_epoch)
    all_batches = min(steps * run.trainer.accumulate_grad_batches, steps * batches)
    epochs = steps / an_epoch
    validation = _validation_seconds(run, device, to_validate)
    networks = 1 if run.model.ema is None else 2  # the average of the weights is validated too
    passes = networks * _validations(flags.val_check_interval, flags.check_val_every_n_epoch, batches, epochs)
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
        no_largest_batch=no_largest_batch,
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


def _validations(interval: int | float | None, every: int | None, batches: int, epochs: float) -> int:
    """How often the validation images are passed over.

    Args:
        interval: trainer.val_check_interval: a share of an epoch, or a number of batches; None is a whole epoch.
        every: trainer.check_val_every_n_epoch; None has `interval` count batches over the ends of epochs.
        batches: Of an epoch.
        epochs: Of the run.
    """
    between = _limited(interval, batches) if interval is None or isinstance(interval, float) else interval
    if every is None:
        return int(epochs * batches / between)
    return math.floor(epochs / every) * (batches // between)


def _validation_seconds(run: Run, device: torch.device, limit: int | float | None) -> float:
    """Of all validation images that `limit` leaves, by some of the batches; the first one is left out."""
    data, precision = run.datamodule, str(run.trainer.precision)
    if limit in (0, 0.0) or not data.val:
        return 0.0
    loader = data.val_dataloader()
    batches = [*islice(loader, 4)]
    ends: list[float] = []
    for batch in batches:
        predict(run.model.network, [batch], lambda one: data.on_after_batch_transfer(one, 0), device, precision)
        ends.append(now(device))
    one = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 0.0
    return one * _limited(limit, len(loader))


def _loader_speed(run: Run, device: torch.device) -> float:
    """Images a second of the training loader alone, counted from its second batch on."""
    loader = run.datamodule.train_dataloader()
    images, start, last = 0, None, 0.0
    for batch in loader:
        last = now(device)
        if start is None:
            start = last
            continue
        images += len(batch[0])
        if last - start > SECONDS / 4:
            break
    run.datamodule.teardown()
    return images / max(last - start, 1e-9) if start is not None and images else math.nan
