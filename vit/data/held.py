"""images held on the training device as one tensor -> batches, by lookup: no workers, no copies from host to device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vit.data.augment import Augmentation
from vit.data.crops import Crops, crops_bytes
from vit.data.order import BatchKey, Order, Stream, keyed_seed


class HeldReader:
    """Training batches, shifted and mirrored while they are looked up. Nothing waits for the device."""

    def __init__(self, images: Tensor, labels: Tensor, device: torch.device, augmentation: Augmentation) -> None:
        self.crops = Crops(images.to(device), augmentation)
        self.labels = labels.to(device)

    def read(self, order: Order, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.labels.device
        generator = torch.Generator(device)
        indices, _ = order.epoch(epoch)
        for number, batch in enumerate(indices[start:].to(device, non_blocking=True), start):
            key = BatchKey(order.seed, epoch, number, order.rank)
            generator.manual_seed(keyed_seed(Stream.CROP, *key))
            yield self.crops.take(batch, generator), self.labels.index_select(0, batch)

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


def free_bytes(device: torch.device) -> int:
    """Memory free on a GPU, or of the machine, what it caches of files counted as free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: half of all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 2**30
