"""An average of the weights over the last steps, which is often better than the weights themselves.

The average is a network beside the network, in the same checkpoint. It needs no state but its weights: how much it
keeps of itself follows from the number of the step.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


def average_of(network: nn.Module) -> nn.Module:
    """A copy that is never trained, to `follow` the network; until it does, it is the network itself."""
    return copy.deepcopy(network).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network: average = decay * average + (1 - decay) * network.

    torch's `AveragedModel` does the same, but asks the device at every step how often it has done so.
    """
    moved = [
        (old, new) for old, new in zip(average.parameters(), network.parameters(), strict=True) if new.requires_grad
    ]
    torch._foreach_lerp_([old for old, _ in moved], [new for _, new in moved], 1 - decay)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)


def decay_at(step: int, decay: float) -> float:
    """What the average keeps of itself at an update, counted from 0: little at first, when the weights are still bad.

    TensorFlow's `ExponentialMovingAverage(num_updates)`; 0.999 is reached after 8,990 updates.
    """
    return min(decay, (1 + step) / (10 + step))
