"""An average of the weights over the last steps, which is often better than the weights themselves.

The average is a network beside the network, in the same checkpoint. It needs no state but its weights: how much it
keeps of itself follows from the number of the step.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def average_of(network: nn.Module) -> nn.Module:
    """A copy that is never trained, for a `Follower` of the network; until it does, it is the network itself."""
    return copy.deepcopy(network).requires_grad_(False).eval()


class Follower:
    """Moves an average towards its network: average = decay * average + (1 - decay) * network.

    The tensors of both are looked up once, and anew only by another follower: to walk through the modules at every step
    takes longer than the average itself. torch's `AveragedModel` does the same, but asks the device at every step how
    often it has done so.
    """

    def __init__(self, average: nn.Module, network: nn.Module) -> None:
        pairs = zip(average.parameters(), network.parameters(), strict=True)
        moved = [(old, new) for old, new in pairs if new.requires_grad]
        self._old: list[Tensor] = [old for old, _ in moved]
        self._new: list[Tensor] = [new for _, new in moved]
        self._buffers = list(zip(average.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average, which keeps the share `decay` of itself."""
        torch._foreach_lerp_(self._old, self._new, 1 - decay)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        for old, new in self._buffers:
            old.copy_(new)


def decay_at(step: int, decay: float) -> float:
    """What the average keeps of itself at an update, counted from 0: little at first, when the weights are still bad.

    TensorFlow's `ExponentialMovingAverage(num_updates)`; 0.999 is reached after 8,990 updates.
    """
    return min(decay, (1 + step) / (10 + step))
