"""Losses and weights that are no numbers any more: found soon, without waiting for the device at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
        self._pending: list[tuple[int, float, Tensor]] = []

    def see(self, loss: Tensor, step: int, learning_rate: Callable[[], float]) -> None:
        """Take note of a loss, of the step and the learning rate that it belongs to.

        Raises:
            NotFiniteError: it, or one since the last look, is no number.
        """
        if loss.device.type == "cpu":
            if not loss.isfinite():
                raise _not_finite(loss, step, learning_rate())
            return
        self._pending.append((step, learning_rate(), loss.detach()))
        if len(self._pending) == STEPS_BETWEEN_LOOKS:
            self.look()

    def look(self) -> None:
        """Look at all losses since the last look.

        Raises:
            NotFiniteError: one is no number; the first is named.
        """
        pending, self._pending = self._pending, []
        if not pending or torch.stack([loss for _, _, loss in pending]).isfinite().all():
            return
        step, rate, loss = next(seen for seen in pending if not seen[2].isfinite())
        raise _not_finite(loss, step, rate)


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


def _not_finite(loss: Tensor, step: int, learning_rate: float) -> NotFiniteError:
    return NotFiniteError(f"the loss is {loss.item()} at step {step}, learning rate {learning_rate:.3g}; {REMEDIES}")
