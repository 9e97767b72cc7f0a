"""an order, images -> batches: read by workers, or indexed where they lie on the device.

`TrainLoader` is what Lightning trains from. It is no DataLoader, so Lightning neither wraps nor reorders it, and it
owns its place in the data: `state_dict()` is a few plain numbers, which Lightning saves in every checkpoint (as the
data module's state, and under `loops/fit_loop/state_dict/combined_loader`) and loads before the first batch of a run
that goes on. Nothing else of a run's state concerns the data: no worker holds any, and no loader draws from torch's
global generator.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from vit.data.cache import CacheError
from vit.data.decode import UnreadableImageError
from vit.data.order import BatchKey, ImageKey, Order
from vit.data.photographs import Photographs
from vit.data.sources.labelled import name_of

Batch = list[Any]
"""[images, labels] and, for training, the batch's key: what `ImageDataModule.on_after_batch_transfer` takes."""


@runtime_checkable
class Reader(Protocol):
    """Where the batches of an epoch come from."""

    def read(self, order: Order, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of the batches of an epoch, from number `start` on."""
        ...

    def close(self) -> None:
        """Let go of processes and memory."""
        ...


class TrainLoader:
    """The training batches, epoch after epoch: every new iteration is the next epoch.

    A state that was loaded is gone on from by the next iteration, in the middle of its epoch or at its end. The place
    counts what was handed out, not what workers have read ahead. `iter` alone changes nothing, only the first `next`
    does, since Lightning calls it more often than it means it; and Lightning's own count of epochs is not asked, as it
    starts from 0 again where a run goes on within an epoch.
    """

    def __init__(self, order: Order, reader: Reader, limit: int | None = None) -> None:
        """Begin before the first epoch.

        Args:
            order: Which images, when, on which device.
            reader: Reads them.
            limit: Batches after which whoever iterates ends an epoch, if before the last (limit_train_batches).
        """
        self.order, self.reader = order, reader
        self.limit = len(order) if limit is None else min(limit, len(order))
        self.epoch = 0
        self.batches = 0
        """Handed out in this epoch."""
        self._going_on = True  # the next iteration starts from the place as it is, and not from the next epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        if not self._going_on or self.batches >= self.limit:
            self.epoch, self.batches = self.epoch + 1, 0
        self._going_on = False
        epoch = self.epoch
        for images, labels in self.reader.read(self.order, epoch, self.batches):
            key = BatchKey(self.order.seed, epoch, self.batches, self.order.rank)
            self.batches += 1
            yield [images, labels, key]

    def state_dict(self) -> dict[str, int]:
        """The place in the data."""
        return {
            "seed": self.order.seed,
            "epoch": self.epoch,
            "batches": self.batches,
            "step_size": self.order.step_size,
            "num_images": self.order.num_images,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a place, in the order of the run that it was saved by."""
        self.order = replace(self.order, seed=state["seed"])
        self.epoch, self.batches, self._going_on = state["epoch"], state["batches"], True
        if state["num_images"] != self.order.num_images:
            warnings.warn(
                f"the checkpoint was saved with {state['num_images']} training images and there are "
                f"{self.order.num_images} now; the order of the images is not that of an unbroken run.",
                stacklevel=2,
            )
        if state["step_size"] != self.order.step_size:
            seen = self.batches * state["step_size"]
            self.batches = seen // self.order.step_size
            if seen % self.order.step_size:
                warnings.warn(
                    f"the checkpoint is {seen} images into epoch {self.epoch + 1}, which is no whole number of steps "
                    f"of {self.order.step_size} images; {seen % self.order.step_size} of them are seen again.",
                    stacklevel=2,
                )

    def close(self) -> None:
        """End the workers."""
        self.reader.close()


class WorkerError(ChildProcessError):
    """A worker process died, or gave nothing for too long; the message says at which files, and what to change."""


TIMEOUT = 300
"""Seconds to wait for a batch from the workers."""


class WorkerReader:
    """Reads by `torch.utils.data.DataLoader`: in worker processes, or here where there are none."""

    def __init__(
        self, dataset: Dataset[Any], num_workers: int, pin_memory: bool = False, timeout: int = TIMEOUT
    ) -> None:
        self.dataset = dataset
        self._keys = _KeyedBatches()
        self._loader: DataLoader[Any] | None = DataLoader(
            dataset,
            batch_sampler=self._keys,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            timeout=timeout if num_workers > 0 else 0,
            collate_fn=_as_it_is if isinstance(dataset, TensorImages) else None,
            generator=torch.Generator(),  # else every epoch takes a number of the global one, on which dropout depends
        )

    def read(self, order: Order, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        assert self._loader is not None, "this reader was closed"
        self._keys.order, self._keys.epoch, self._keys.start = order, epoch, start
        yield from _explained(self._loader)

    def close(self) -> None:
        """End the workers."""
        self._loader = None


class _KeyedBatches:
    """A batch sampler whose items are the keys of images."""

    def __init__(self) -> None:
        self.order: Order | None = None
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[ImageKey]]:
        assert self.order is not None
        indices, copies, seed = *self.order.epoch(self.epoch), self.order.seed
        for some, often in zip(indices[self.start :].tolist(), copies[self.start :].tolist(), strict=True):
            yield [ImageKey(seed, self.epoch, index, copy) for index, copy in zip(some, often, strict=True)]

    def __len__(self) -> int:
        return 0 if self.order is None else len(self.order) - self.start


def _explained(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader; what goes wrong in its workers is said in one sentence."""
    _hear_of_dead_workers()
    try:
        yield from loader
    except (UnreadableImageError, CacheError) as error:  # of a worker it comes with its traceback for a message
        kind = type(error)
        raise kind(str(error).strip().splitlines()[-1].split(f"{kind.__name__}: ")[-1]) from None
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise WorkerError(_what_happened(loader, str(error))) from error


def _hear_of_dead_workers() -> None:
    """Let torch install its handler for dead workers again, where somebody has removed it.

    torch does so once a process, and Lightning, when a fit is over, puts back the handlers from before it. After that a
    death would be noticed only when `timeout` is over.
    """
    child = getattr(signal, "SIGCHLD", None)
    if child is not None and signal.getsignal(child) in (signal.SIG_DFL, None):
        signal_handling._SIGCHLD_handler_set = False  # pyright: ignore[reportPrivateUsage]


def _what_happened(loader: DataLoader[Any], error: str) -> str:
    dataset, workers = loader.dataset, f"num_workers={loader.num_workers}"
    at = (
        [name_of(dataset.files, index) for index in dataset.reading.tolist() if index >= 0]
        if isinstance(dataset, Photographs)
        else []
    )
    where = f"; the workers were at {', '.join(at)}" if at else ""
    if "timed out" in error:
        return (
            f"no batch came from the workers for {loader.timeout:g} s{where}. A disk or network that hangs, or a "
            f"file that takes too long; raise data.timeout, or lower data.{workers}."
        )
    return (
        f"a worker process died{where}. Too little memory or shared memory is the usual cause: lower "
        f"data.{workers} (0 reads in the main process and shows the error itself), or give more of /dev/shm."
    )


class EvaluationLoader:
    """Batches of images that are not changed, each image once over all devices: see `evaluation_batches`.

    Lightning leaves it as it is; of a DataLoader it would repeat images to make the parts of several devices equal.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batches: Sequence[Tensor],
        num_workers: int = 0,
        pin_memory: bool = False,
        timeout: int = TIMEOUT,
    ) -> None:
        self.loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=[batch.tolist() for batch in batches],  # pyright: ignore[reportArgumentType]
            num_workers=num_workers,
            pin_memory=pin_memory,
            timeout=timeout if num_workers > 0 else 0,
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in _explained(self.loader):
            yield [images, labels]


class TensorImages(Dataset[Any]):
    """Images held as one tensor, for workers: a batch is one indexing, torch's loader asks for it by `__getitems__`."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: ImageKey) -> tuple[Tensor, Tensor]:
        return self.images[key.image], self.labels[key.image]

    def __getitems__(self, keys: Sequence[ImageKey]) -> tuple[Tensor, Tensor]:
        indices = [key.image for key in keys]
        return self.images[indices], self.labels[indices]


def _as_it_is(batch: Any) -> Any:
    return batch
