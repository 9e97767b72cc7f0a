"""seed, epoch -> which images, in which order, on which device: the order of training is a function, not a history.

The same (seed, epoch) gives the same order on any machine, so a run can go on from the middle of an epoch, and any
number of workers sees the same images. The random changes of an image have their own key, (seed, epoch, image, copy).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Int64
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for: numbers of one purpose do not depend on how many another took."""

    ORDER = 1
    IMAGE = 2
    BATCH = 3
    MIX = 4
    CROP = 5
    POLICY = 6


class ImageKey(NamedTuple):
    """One look at one training image: by this its random changes are drawn, whichever worker reads it."""

    seed: int
    epoch: int
    image: int
    """Its index in the training part."""
    copy: int = 0
    """How often this image came before in this epoch: above 0 under repeated augmentation and balanced sampling."""


class BatchKey(NamedTuple):
    """One training batch of one device: by this is drawn what is changed a batch at a time."""

    seed: int
    epoch: int
    number: int
    """Of the batch in its epoch, from 0."""
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which training images every batch of every epoch holds, and which part of them one of several devices takes.

    A step takes `batch_size * world_size` images, the same ones however many devices share them; what does not fill a
    step is left out of that epoch. Repeated augmentation (Hoffer et al. 2020, https://arxiv.org/abs/1901.09335; as in
    DeiT) shows each image `repeats` times in the same step, differently changed, and `1 / repeats` of the images an
    epoch. Balanced sampling shows every class equally often: small classes several times, large ones in part, all
    images of a class once before any of them again.

    Raises:
        ValueError: there are fewer images than one step takes.
    """

    num_images: int
    batch_size: int
    """Images a step and device."""
    seed: int = 0
    shuffle: bool = True
    repeats: int = 1
    balance: Int64[Tensor, " n"] | None = field(default=None, repr=False, compare=False)
    """The images' labels where every class is to be shown equally often."""
    shards: Int64[Tensor, " n"] | None = field(default=None, repr=False, compare=False)
    """The larger file in which each image lies, where they do. Then these files are taken in random order, some 16,000
    images at a time are shuffled together, and every device has a stretch of files of its own, so that what is read at
    a time lies together. (Balanced sampling reads from all of them.)"""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.num_images < self.step_size:
            devices = f" on {self.world_size} devices" if self.world_size > 1 else ""
            raise ValueError(
                f"batch_size={self.batch_size}{devices} takes {self.step_size} images a step, more than the "
                f"{self.num_images} training images; lower data.batch_size."
            )

    @property
    def step_size(self) -> int:
        """Images that all devices together take in one step."""
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        """Batches an epoch, the same on every device."""
        return self.num_images // self.step_size

    def epoch(self, epoch: int) -> tuple[Int64[Tensor, "batches b"], Int64[Tensor, "batches b"]]:
        """This device's part of an epoch: the images' indices, and how often each image came before in the epoch."""
        generator = torch.Generator().manual_seed(keyed_seed(self.seed, Stream.ORDER, epoch))
        indices = self._drawn(generator)
        copies = _occurrence(indices) if self.repeats > 1 or self.balance is not None else torch.zeros_like(indices)
        pair = torch.stack([indices, copies])[:, : len(self) * self.step_size]
        axes = "(batches b ranks)" if self.shards is None else "(ranks batches b)"
        mine = rearrange(pair, f"pair {axes} -> ranks pair batches b", b=self.batch_size, ranks=self.world_size)
        mine = mine[self.rank]
        if self.repeats > 1:  # mixup takes neighbours for partners: two copies of one image would mix to itself
            apart = torch.rand(mine.shape[1:], generator=generator).argsort(dim=-1)
            mine = mine.gather(-1, apart.expand_as(mine))
        return mine[0], mine[1]

    def _drawn(self, generator: torch.Generator) -> Int64[Tensor, " n"]:
        """The images of an epoch in order, for all devices together."""
        if not self.shuffle:
            return torch.arange(self.num_images)
        if self.balance is not None:
            indices = _equally_often(self.balance, -(-self.num_images // self.repeats), generator)
        elif self.shards is not None:
            indices = _shard_by_shard(self.shards, SHUFFLED_TOGETHER, generator)
        else:
            indices = torch.randperm(self.num_images, generator=generator)
        return indices.repeat_interleave(self.repeats)[: self.num_images]


def evaluation_batches(
    num_images: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[Int64[Tensor, " b"]]:
    """This device's part of the images to evaluate: over all devices each image once, none twice, in order.

    Every device gets as many batches as the others, of sizes that differ by two at most, and none is empty: a device
    with a batch more would wait for ever for the others in any forward pass that speaks to them, and for a last batch
    of another size a model would be compiled once more.

    Raises:
        ValueError: there are fewer images than devices.
    """
    if num_images < world_size:
        raise ValueError(f"{num_images} images cannot be shared by {world_size} devices; evaluate on one.")
    rounds = torch.arange(num_images).tensor_split(
        min(-(-num_images // (batch_size * world_size)), num_images // world_size)
    )
    return [images[rank::world_size] for images in rounds]


def keyed_seed(*key: int) -> int:
    """A seed for torch from any whole numbers: near keys give unrelated seeds (splitmix64, Steele et al. 2014).

    The lower 32 bits are the ones torch's generator for the CPU takes.
    """
    state = 0
    for part in key:
        state = (state + 0x9E3779B97F4A7C15 + part) & _64_BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _64_BITS
        state ^= state >> 31
    return state


@contextmanager
def keyed_randomness(*key: int) -> Generator[None]:
    """Let torch's random numbers on the CPU start from a key, and leave those outside as they were.

    What torchvision draws. Ten microseconds, where `torch.manual_seed` and `fork_rng` together take over a hundred.
    """
    outside = torch.default_generator.get_state()
    torch.default_generator.manual_seed(keyed_seed(*key))
    try:
        yield
    finally:
        torch.default_generator.set_state(outside)


def _equally_often(labels: Int64[Tensor, " n"], number: int, generator: torch.Generator) -> Int64[Tensor, " number"]:
    """So many images, every class equally often, all of a class once before any of them again."""
    classes = labels.unique()
    quota = -(-number // len(classes))
    drawn: list[Tensor] = []
    for label in classes:
        members = (labels == label).nonzero().flatten()
        passes = -(-quota // len(members))
        shuffled = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
        drawn.append(torch.cat(shuffled)[:quota])
    indices = torch.cat(drawn)
    return indices[torch.randperm(len(indices), generator=generator)][:number]


def _shard_by_shard(shards: Int64[Tensor, " n"], together: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
    """Each image once, those of a shard near each other: shards in random order, then shuffled so many at a time."""
    indices = torch.randperm(len(shards), generator=generator)
    turn = torch.randperm(int(shards.max()) + 1, generator=generator)
    indices = indices[turn[shards[indices]].argsort(stable=True)]
    stretch = torch.arange(len(shards)) // together
    return indices[(stretch + torch.rand(len(shards), dtype=torch.float64, generator=generator)).argsort()]


def _occurrence(indices: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """How often the same index came before."""
    order = indices.argsort(stable=True)
    in_order = indices[order]
    copies = torch.empty_like(indices)
    copies[order] = torch.arange(len(indices)) - torch.searchsorted(in_order, in_order)
    return copies


SHUFFLED_TOGETHER = 16384
"""Images of shards: 1.8 GB of ImageNet's, which a machine's file cache holds while they are read."""

_64_BITS = (1 << 64) - 1
