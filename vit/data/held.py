"""images held on the training device as one tensor -> batches, by lookup: no workers, no copies from host to device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vit.data.augment import Augmentation
from vit.data.crops import Crops, crops_bytes
from vit.data.memory import free_bytes
from vit.data.on_device import change_by_policy
from vit.data.order import BatchKey, Order, Stream, keyed_seed


class HeldReader:
    """Training batches, shifted and mirrored while they are looked up, and changed by the policy.

    Nothing waits for the device. On a GPU the policy, some two hundred small kernels however many images there are,
    changes several batches at a time; each has its own random numbers still, so that nothing else depends on that.
    """

    def __init__(self, images: Tensor, labels: Tensor, device: torch.device, augmentation: Augmentation) -> None:
        self.crops = Crops(images.to(device), augmentation)
        self.labels = labels.to(device)
        self.left = replace(augmentation, shift=0, flip=0.0, policy="none")
        """What is still to be done with the batches."""
        self.at_once = 0 if device.type == "cpu" else _AT_ONCE
        """Bytes of images that are changed together, one batch at least."""

    def read(self, order: Order, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.labels.device
        generator = torch.Generator(device)
        indices = order.epoch(epoch)[0].to(device, non_blocking=True)
        policy = self.crops.augmentation.policy
        together = max(self.at_once // (order.batch_size * self.crops.image_bytes), 1)
        for first in range(start, len(indices), together):
            batches = indices[first : first + together]
            keys = [BatchKey(order.seed, epoch, first + number, order.rank) for number in range(len(batches))]
            crops = [
                self.crops.take(batch, generator.manual_seed(keyed_seed(Stream.CROP, *key)))
                for batch, key in zip(batches, keys, strict=True)
            ]
            if policy != "none":
                crops = change_by_policy(torch.cat(crops), policy, keys).split(order.batch_size)
            for images, batch in zip(crops, batches, strict=True):
                yield images, self.labels.index_select(0, batch)

    def close(self) -> None:
        """Nothing to end; the memory goes with the reader."""


class HeldEvaluation:
    """Batches of unchanged images, each image once."""

    def __init__(self, images: Tensor, labels: Tensor, batches: Sequence[Tensor], device: torch.device) -> None:
        self.images, self.labels = images.to(device), labels.to(device)
        self.batches = [batch.to(device) for batch in batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self.batches:
            yield [self.images.index_select(0, batch), self.labels.index_select(0, batch)]


def fits(images: Tensor, augmentation: Augmentation, device: torch.device) -> bool:
    """Whether the images, ready to be shifted and mirrored, take at most half of what is free on a device."""
    return 2 * crops_bytes(images.shape, augmentation) <= free_bytes(device)


_AT_ONCE = 2**24
"""Bytes of images that a GPU changes together: 5,000 of CIFAR's."""
