"""Losses and weights that are no numbers any more: found soon, without waiting for the device at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

REMEDIES = "lower model.recipe.learning_rate, raise model.recipe.warmup, or set trainer.gradient_clip_val to 1."

STEPS_BETWEEN_LOOKS = 50
"""On a GPU the losses of so many steps are looked at together: looking waits until they are computed."""


class NotFiniteError(ValueError):
    """The training has left the numbers; its last checkpoint has not."""


class LossWatch:
    """Looks at every loss: at once on the CPU, else in batches and before anything is kept."""

    def __init__(self) -> None:
        self._pending: list[_Seen] = []

    def see(self, loss: Tensor, step: int, learning_rate: Callable[[], float], images: Callable[[], str] = str) -> None:
        """Take note of a loss, of the step and the learning rate that it belongs to.

        Args:
            loss: Of a batch, a scalar.
            step: Its number.
            learning_rate: Asked at once where the loss is not looked at now.
            images: Says, when it must, what the batch held.

        Raises:
            NotFiniteError: it, or one since the last look, is no number.
        """
        if loss.device.type == "cpu":
            if not loss.isfinite():
                raise _not_finite(_Seen(loss, step, learning_rate(), images))
            return
        self._pending.append(_Seen(loss.detach(), step, learning_rate(), images))
        if len(self._pending) == STEPS_BETWEEN_LOOKS:
            self.look()

    def look(self) -> None:
        """Look at all losses since the last look.

        Raises:
            NotFiniteError: one is no number; the first is named.
        """
        pending, self._pending = self._pending, []
        if not pending or torch.stack([seen.loss for seen in pending]).isfinite().all():
            return
        raise _not_finite(next(seen for seen in pending if not seen.loss.isfinite()))


class _Seen(NamedTuple):
    loss: Tensor
    step: int
    learning_rate: float
    images: Callable[[], str]


def require_finite(parameters: Iterable[Tensor], step: int, learning_rate: float) -> None:
    """Look at all weights, for instance before they are kept. Waits for the device once.

    Raises:
        NotFiniteError: one of them is no number.
    """
    finite = [parameter.detach().isfinite().all() for parameter in parameters]
    if finite and not torch.stack(finite).all():
        raise NotFiniteError(
            f"the weights are no numbers any more after step {step}, learning rate {learning_rate:.3g}; {REMEDIES}"
        )


def _not_finite(seen: _Seen) -> NotFiniteError:
    of = f", of a batch of {images}" if (images := seen.images()) else ""
    return NotFiniteError(
        f"the loss is {seen.loss.item()} at step {seen.step}, learning rate {seen.learning_rate:.3g}{of}; {REMEDIES}"
    )
