"""The largest batch that fits, tried in a process of its own, so that running out of memory hurts nobody.

On a GPU batches are doubled until one does not fit. On a CPU, where too large a batch would bring the machine down, the
growth from one batch to its double is measured, and the rest is arithmetic.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from torch.nn import functional as F

from vit.data.memory import free_bytes
from vit.data.preprocess import normalise
from vit.train.memory import peak_memory
from vit.train.recipe import fused_is_faster
from vit.train.rehearsal import Rehearsal, for_rehearsal
from vit.train.run import Run

MARGIN = 0.8
"""Share of the free memory that may be used: fragments, other processes and larger images want some too."""

SIZES = 20
"""Doublings, at most."""


@dataclass(frozen=True)
class BatchLimit:
    """The largest batch size that fits, among the configured one times powers of two."""

    batch_size: int
    """0 where not even one image fits."""
    tried: bool
    """On a GPU; else it is an estimate."""
    by_images: bool
    """There are not more training images; memory would allow more."""


@dataclass(frozen=True)
class Trial:
    """One batch size, tried."""

    batch_size: int
    peak: int
    """Bytes."""
    available: int
    """Bytes that the process could have before the first trial, what it has had by then included."""
    images: int
    """Training images."""
    is_gpu: bool


def find_largest_batch(args: Sequence[str], batch_size: int) -> BatchLimit | None:
    """Try batches of made-up images with the model, precision and optimiser of a run; None where the trial fails.

    Args:
        args: As for `vit fit`.
        batch_size: To start from.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_try_sizes, args=([*args], batch_size, theirs), daemon=True)
    process.start()
    theirs.close()
    trials: list[Trial] = []
    try:
        while True:
            trials.append(ours.recv())
    except EOFError:  # it is done, or was killed for its memory: what it said until then counts
        process.join()
    return limit_by(trials)


def limit_by(trials: Sequence[Trial]) -> BatchLimit | None:
    """What the trials mean: on a GPU the last one that fitted, on a CPU the extension of their growth."""
    if not trials:
        return None
    first, last = trials[0], trials[-1]
    if first.is_gpu:
        fitting = [trial.batch_size for trial in trials if trial.peak <= MARGIN * trial.available]
        best = max(fitting, default=0)
        return BatchLimit(best, tried=True, by_images=2 * best > last.images and best == last.batch_size)
    growth = (last.peak - first.peak) / max(last.batch_size - first.batch_size, 1)
    room = MARGIN * first.available - last.peak
    best = last.batch_size
    while 2 * best <= first.images and growth * (2 * best - last.batch_size) <= room:
        best *= 2
    return BatchLimit(best, tried=False, by_images=2 * best > first.images)


def _try_sizes(args: list[str], batch_size: int, answers: Connection) -> None:
    """In the other process: send a `Trial` for each size that could be tried."""
    with tempfile.TemporaryDirectory() as folder:
        run = Rehearsal(for_rehearsal(args, folder), epoch_lines=False)
        device = run.trainer.strategy.root_device
        is_gpu, images = device.type == "cuda", len(run.datamodule.train)
        available = free_bytes(device) + peak_memory(device)
        for size in _sizes(batch_size, images, is_gpu):
            try:
                _two_steps(run, size, device)
            except torch.OutOfMemoryError:
                break
            answers.send(Trial(size, peak_memory(device), available, images, is_gpu))
            if is_gpu and peak_memory(device) > MARGIN * available:
                break


def _sizes(batch_size: int, images: int, is_gpu: bool) -> Iterator[int]:
    """The configured size and its doubles; on a CPU a quarter of it, and itself."""
    if not is_gpu:
        yield from sorted({max(batch_size // 4, 1), batch_size})
        return
    size = batch_size
    for _ in range(SIZES):
        if size > images:
            return
        yield size
        size *= 2


def _two_steps(run: Run, size: int, device: torch.device) -> None:
    """Forward, backward and optimiser, twice: the optimiser's state exists from the second on."""
    network, recipe, spec = run.model.network.to(device).train(), run.model.recipe, run.datamodule.preprocessing
    precision = run.trainer.precision_plugin
    average = copy.deepcopy(network) if recipe.ema_decay is not None else None  # it takes memory too
    optimizer = recipe.optimizer(network, fused_is_faster(device, str(run.trainer.precision)))
    for _ in range(2):
        pixels = torch.randint(256, (size, spec.channels, *spec.image_size), dtype=torch.uint8, device=device)
        labels = torch.zeros(size, dtype=torch.long, device=device)
        with precision.forward_context():
            loss = F.cross_entropy(network(normalise(pixels, spec)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    del average
