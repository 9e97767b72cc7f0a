"""What training can fail of, beside wrong flags -> a sentence that says what to change."""

from __future__ import annotations

import re
from collections.abc import Iterable

import lightning as L
import torch

from vit.spelling import did_you_mean

LOGGED = (
    *("train_loss", "train_acc", "train_acc_mixed", "learning_rate"),
    *("val_loss", "val_acc", "val_loss_ema", "val_acc_ema"),
)
"""What a run may log, and so what a callback can watch."""


def require_logged(callbacks: Iterable[L.Callback]) -> None:
    """Refuse a callback that would watch what is never logged, and find that out after an epoch.

    Raises:
        ValueError: it would; the nearest name is given.
    """
    for callback in callbacks:
        watched = getattr(callback, "monitor", None)
        if watched is not None and watched not in LOGGED:
            name = type(callback).__name__
            raise ValueError(f"{name}.monitor={watched} is never logged{did_you_mean(watched, LOGGED)}")


def in_a_sentence(error: RuntimeError, batch_size: int, num_workers: int) -> OSError | None:
    """The error for the user, where the reason is one the user can mend; else None, and it is ours."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or re.search("can't allocate memory|not enough memory", text):
        return OSError(
            f"out of memory: lower data.batch_size, now {batch_size} (half with trainer.accumulate_grad_batches=2 "
            "takes the same steps), or model.vit.image_size; on a GPU --trainer.precision bf16-mixed takes less."
        )
    if re.search(r"DataLoader worker .* (killed|exited)", text):
        return OSError(
            f"a process that reads images was killed, usually for want of memory or of shared memory (/dev/shm): lower "
            f"data.num_workers, now {num_workers}."
        )
    if "DataLoader timed out" in text:
        return OSError(
            "a process that reads images has not answered for minutes: is the disk or network drive of the data still "
            "there? data.num_workers=0 reads without such processes."
        )
    return None
