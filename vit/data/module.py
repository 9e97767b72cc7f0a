"""A source, split and served in batches: uint8 images from the workers, augmented and normalised on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vit.data.augment import Augmentation, augment_batch, augment_image
from vit.data.decode import read_image
from vit.data.preprocess import load_image, normalise, to_tensor
from vit.data.sources import SOURCES, Labelled, Source, SourceName, stratified_split
from vit.nn import Preprocessing
from vit.nn.config import Size, pair

Batch = list[Tensor]
"""[images, labels]: what torch's DataLoader makes of a pair."""


class ImageDataModule(L.LightningDataModule):
    """Training, validation and test images of one source.

    Validation is the source's own part, or else a share of the training part, stratified and the same for the same
    `split_seed`. The test part serves `vit test` and `vit compare` only, never a choice.
    """

    def __init__(
        self,
        source: SourceName,
        root: str = "data",
        image_size: Size = 224,
        batch_size: int = 128,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        augmentation: Augmentation = Augmentation(),
        crop_pct: float = 1.0,
        num_workers: int | None = None,
    ) -> None:
        """Read the class names and the list of images; the images themselves where they are one small file.

        Args:
            source: Which data: scikit-learn's digits, CIFAR by torchvision, or a folder of images.
            root: Folder of the data: the one that holds cifar-10-batches-py, or train/CLASS/*.jpg.
            image_size: Pixels of the images, one number or height and width; taken from the model's.
            batch_size: Images a step and device.
            val_fraction: Share of the training images for validation, where the source has no validation part.
            split_seed: Which images that share is; apart from the run's seed, so that runs of other seeds compare.
            augmentation: Random changes of the training images.
            crop_pct: Share of the resized picture that the centre crop keeps in validation and prediction.
            num_workers: Processes that read and augment images; by default one less than there are cores, at most 8,
                and none where images are held in memory and need no augmentation one by one.
        """
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1.")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers={num_workers} must be 0 (the images are read by the main process) or more.")
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction={val_fraction} must be above 0 and below 1; 0.1 is usual.")
        self.source: Source = SOURCES[source](Path(root))
        if len(self.source.classes) < 2:
            raise ValueError(f"{root} has one class, {', '.join(self.source.classes)}; telling apart takes two.")
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.preprocessing = Preprocessing(
            image_size=pair(image_size), mean=self.source.mean, std=self.source.std, crop_pct=crop_pct
        )
        self.train, self.val = self.source.train, self.source.val
        if self.val is None:
            self.train, self.val = stratified_split(self.source.train, val_fraction, split_seed)
        in_memory = isinstance(self.train.images, Tensor)
        idle = in_memory and augmentation.policy == "none"  # workers would have nothing to do
        self.num_workers = num_workers if num_workers is not None else 0 if idle else _default_workers()
        if in_memory and self.train.images.shape[-2:] != self.preprocessing.image_size:  # pyright: ignore[reportAttributeAccessIssue]
            given = " x ".join(map(str, self.train.images.shape[-2:]))  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(f"image_size={image_size} does not fit source={source}, whose images are {given} pixels.")
        if len(self.train) < batch_size:
            raise ValueError(f"batch_size={batch_size} is more than the {len(self.train)} training images.")

    @property
    def num_classes(self) -> int:
        """Number of classes, and so of the model's logits."""
        return len(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order."""
        return self.source.classes

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, training=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        assert self.val is not None
        return self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        if self.source.test is None:
            raise ValueError("this data has no test part; for a folder of images put one beside train/, as test/CLASS.")
        return self._loader(self.source.test)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training images and normalise all, on the device where they are now."""
        images, labels = batch
        if self.trainer is not None and self.trainer.training:
            images = augment_batch(images, self.augmentation)
        return [normalise(images, self.preprocessing), labels]

    def _loader(self, part: Labelled, training: bool = False) -> DataLoader[Batch]:
        change = augment_image(self.augmentation) if training else None
        if isinstance(part.images, Tensor):
            dataset: Dataset[Any] = TensorImages(part.images, part.labels, change)
        else:
            scale = self.augmentation.crop_scale if training else None
            # partials of functions, since workers that are not forked get the dataset pickled
            read = (
                partial(_read_random_crop, self.preprocessing, scale) if scale else partial(_read, self.preprocessing)
            )
            dataset = FileImages(part.images, part.labels, read, change)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.num_workers,
            persistent_workers=training and self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_as_list if isinstance(part.images, Tensor) else default_collate,
        )


class TensorImages(Dataset[Any]):
    """Images held as one tensor. A batch is one indexing, not a loop: torch's loader asks for it by `__getitems__`."""

    def __init__(self, images: Tensor, labels: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> None:
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        images = self.images[indices]
        if self.change is not None:
            images = torch.stack([self.change(image) for image in images])
        return images, self.labels[indices]


class FileImages(Dataset[Any]):
    """Images that are read from their files when asked for. A damaged file is an error that names it."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        read: Callable[[Path], Tensor],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.paths, self.labels, self.read, self.change = paths, labels, read, change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.read(self.paths[index])
        return image if self.change is None else self.change(image), self.labels[index]


def _read(spec: Preprocessing, path: Path) -> Tensor:
    return load_image(str(path), spec)


def _read_random_crop(spec: Preprocessing, scale: tuple[float, float], path: Path) -> Tensor:
    from torchvision.transforms import v2

    picture = to_tensor(read_image(path, spec.channels))
    return v2.RandomResizedCrop(spec.image_size, scale=scale, antialias=True)(picture)


def _as_list(batch: Any) -> Batch:
    return list(batch)


def _default_workers() -> int:
    return min(max((os.cpu_count() or 1) - 1, 1), 8)
