"""A source, split and served in batches: uint8 images from the workers, augmented and normalised on the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from vit.data.augment import Augmentation
from vit.data.balance import Sampling, Weighting, describe
from vit.data.balance import class_weights as class_weights_by_index
from vit.data.cache import Cache, Caching, Form, default_folder, open_cache
from vit.data.held import HeldEvaluation, HeldReader, fits
from vit.data.loaders import TIMEOUT, Batch, EvaluationLoader, Reader, TensorImages, TrainLoader, WorkerReader
from vit.data.mix import mix_batch
from vit.data.on_device import augment_batch
from vit.data.order import BatchKey, Order, evaluation_batches
from vit.data.photographs import OnError, Photographs
from vit.data.preprocess import normalise
from vit.data.readers import usable_cores
from vit.data.sources import (
    Columns,
    Labelled,
    Rows,
    Source,
    SourceName,
    open_source,
    share_of_each_class,
    some_of_each_class,
    stratified_split,
    without_images,
)
from vit.data.sources.classes import listed
from vit.data.sources.labelled import name_of
from vit.nn import Preprocessing
from vit.nn.config import Size, pair
from vit.nn.preprocessing import CropMode, Interpolation


class ImageDataModule(L.LightningDataModule):
    """Training, validation and test images of one source.

    Validation is the source's own part, or else a share of the training part, stratified and the same for the same
    `split_seed`. The test part serves `vit test` and `vit compare` only, never a choice.
    """

    def __init__(
        self,
        source: SourceName,
        root: str = "data",
        download: bool = False,
        table: str | None = None,
        columns: Columns = Columns(),
        test_fraction: float | None = None,
        fraction: float | None = None,
        per_class: int | None = None,
        image_size: Size = 224,
        batch_size: int = 128,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        augmentation: Augmentation = Augmentation(),
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        interpolation: Interpolation = "bicubic",
        crop_pct: float = 1.0,
        crop_mode: CropMode = "center",
        num_workers: int | None = None,
        hold_on_device: bool | Literal["auto"] = "auto",
        class_weights: Weighting = "none",
        sampling: Sampling = "shuffled",
        on_error: OnError = "error",
        timeout: int = TIMEOUT,
        cache: Caching = "none",
        cache_folder: str | None = None,
        cache_size: int | None = None,
    ) -> None:
        """Read the class names and the list of images; the images themselves where they are one small file.

        Args:
            source: Which data: scikit-learn's digits, CIFAR, a folder of images, a table of paths and labels,
                ImageNet or Tiny-ImageNet as handed out, a Hugging Face data set on disk, or shards.
            root: Folder of the data: the one that holds cifar-10-batches-py, or train/CLASS/*.jpg; or a table.
            download: Fetch CIFAR into `root` if it is not there.
            table: CSV or Parquet file of paths and labels, relative to `root`, which may also be the table itself.
            columns: Which column of a table or of a Hugging Face data set is what.
            test_fraction: Share of the training images to set apart for `vit test`, always the same, where the source
                has no test part.
            fraction: Share of every class to train on, the validation images apart: for learning curves.
            per_class: Number of images of every class to train on, instead of a share.
            image_size: Pixels of the images, one number or height and width; taken from the model's.
            batch_size: Images a step and device.
            val_fraction: Share of the training images for validation, where the source has no validation part.
            split_seed: Which images that share is; apart from the run's seed, so that runs of other seeds compare.
            augmentation: Random changes of the training images.
            mean: Of every channel, by which images are normalised; of the pretrained weights, or else of the data.
            std: Standard deviation likewise.
            interpolation: How pictures are resized; as the pretrained weights know it, and so on.
            crop_pct: Share of the resized picture that the centre crop keeps in validation and prediction.
            crop_mode: Whether an oblong picture loses its ends, or is squashed to the model's shape whole.
            num_workers: Processes that read and augment images; by default one less than there are cores for
                this process, at most 8, and none where the images are in memory.
            hold_on_device: Keep images that are in memory (digits, CIFAR) on the training device and look the batches
                up there, which is many times as fast; auto: where they take at most half of what is free.
            class_weights: Weights of the classes in the loss: none, auto (rare classes weigh more, so that all weigh
                the same together), or a number by class name, 1 for those left out.
            on_error: What a damaged training image does: error ends the run and names the file; skip shows another
                image in its place and says at the end how many these were.
            timeout: Seconds to wait for a batch from the workers before the run ends with an error; 0 waits for ever.
            sampling: Training images in random order, or balanced: every class equally often.
            cache: Decode and resize image files once and keep the pixels: ram for this run, disk for later ones too.
            cache_folder: Of the cache on disk; by default in the user's cache directory.
            cache_size: Shorter side in pixels of kept pictures that are cropped at random; the crops are cut out of
                the reduced picture. By default 1.15 times the image size. Others are kept as the model sees them.
        """
        super().__init__()
        _check_numbers(batch_size, num_workers, val_fraction, timeout)
        self.source: Source = open_source(
            source,
            Path(root),
            test_fraction=test_fraction,
            download=download or None,
            table=table,
            columns=None if columns == Columns() else columns,
        )
        if len(self.source.classes) < 2:
            raise ValueError(f"{root} has one class, {', '.join(self.source.classes)}; telling apart takes two.")
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.sampling: Sampling = sampling
        self.on_error: OnError = on_error
        self.timeout = timeout
        self.preprocessing = Preprocessing(
            image_size=pair(image_size),
            mean=mean or self.source.mean,
            std=std or self.source.std,
            interpolation=interpolation,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
        )
        self.train, self.val = self.source.train, self.source.val
        if self.val is None:
            self.train, self.val = stratified_split(self.source.train, val_fraction, split_seed)
            notes = without_images(self.val, self.source.classes, "the validation part, split from train,")
            self.source = replace(self.source, notes=self.source.notes + notes)
        self._not_chosen = len(self.train)
        self.train = _subset(self.train, fraction, per_class, split_seed, self.source.classes)
        self._not_chosen -= len(self.train)
        self.class_weights: Tensor | None = class_weights_by_index(class_weights, self.train.labels, self.classes)
        """Of the loss, (classes,), or None where all classes weigh the same."""
        self._train_loader: TrainLoader | None = None
        self._photographs: Photographs | None = None
        self._place: dict[str, int] = {}
        self._made: BatchKey | None = None  # the training batch that was made last
        self._left = augmentation  # what the reader of the images leaves to be done with the batch
        self.num_workers = _default_workers(self.train) if num_workers is None else num_workers
        self.hold_on_device: bool | Literal["auto"] = hold_on_device
        self.cache: Caching = cache
        self.cache_folder = default_folder() if cache_folder is None else Path(cache_folder)
        self.cache_size = cache_size or round(1.15 * max(self.preprocessing.image_size))
        _check_cache(cache, cache_folder, cache_size)
        if isinstance(self.train.images, Tensor):
            self._check_in_memory(source, self.train.images)
        elif hold_on_device is True:
            raise ValueError(f"hold_on_device=true, but the images of source={source} are files; leave it out.")
        if len(self.train) < batch_size:
            raise ValueError(
                f"batch_size={batch_size} is more than the {len(self.train)} training images; lower data.batch_size."
            )

    def _check_in_memory(self, source: SourceName, images: Tensor) -> None:
        """Images in memory are taken as they are, so that they must be what the model takes."""
        if self.cache != "none":
            raise ValueError(f"cache={self.cache}, but the images of source={source} are in memory; leave it out.")
        if self.augmentation.crop_scale is not None or any(self.augmentation.color_jitter):
            name = "crop_scale" if self.augmentation.crop_scale is not None else "color_jitter"
            raise ValueError(
                f"augmentation.{name} is for image files, and those of source={source} are in memory; "
                "augmentation.shift and augmentation.policy are for them."
            )
        spec, (channels, height, width) = self.preprocessing, images.shape[1:]
        if (height, width) != spec.image_size:
            wanted = spec.image_size[0] if spec.image_size[0] == spec.image_size[1] else spec.image_size
            raise ValueError(
                f"image_size={wanted} does not fit source={source}, whose images are {height} x {width} pixels."
            )
        if channels != spec.channels:
            raise ValueError(
                f"mean={spec.mean} is for {spec.channels} channels, but the images of source={source} have {channels}; "
                f"--model.vit.in_channels {channels} makes of pretrained weights those for {channels}."
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, and so of the model's logits."""
        return len(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order."""
        return self.source.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before training: the source's own notes, and the counts of a chosen subset."""
        if not self._not_chosen:
            return self.source.notes
        counts = torch.bincount(self.train.labels, minlength=self.num_classes).tolist()
        named = listed([f"{name} {count}" for name, count in zip(self.classes, counts, strict=True)], most=10)
        of = f"{len(self.train):,} of {len(self.train) + self._not_chosen:,} training images"
        return (*self.source.notes, f"training on {of}: {named}.")

    def train_dataloader(self) -> TrainLoader:
        """The training batches: [images, labels, key] of every epoch in turn, each iteration being an epoch.

        With a trainer a new loader goes on where the one before stopped, without one it starts from the first epoch.
        """
        self.teardown()
        order = Order(
            num_images=len(self.train),
            batch_size=self.batch_size,
            seed=self._order_seed(),
            shuffle=not getattr(self.trainer, "overfit_batches", 0),
            repeats=self.augmentation.repeats,
            balance=self.train.labels if self.sampling == "balanced" else None,
            shards=self.train.images.shards() if isinstance(self.train.images, Rows) else None,
            rank=self._rank,
            world_size=self._world_size,
        )
        self._train_loader = TrainLoader(order, self._reader(), self._limit(len(order)))
        if self._place and self.trainer is not None:
            self._train_loader.load_state_dict(self._place)
        return self._train_loader

    def val_dataloader(self) -> EvaluationLoader | HeldEvaluation:
        assert self.val is not None
        return self._evaluation_loader(self.val)

    def test_dataloader(self) -> EvaluationLoader | HeldEvaluation:
        if self.source.test is None:
            raise ValueError("this data has no test part; for a folder of images put one beside train/, as test/CLASS.")
        return self._evaluation_loader(self.source.test)

    def state_dict(self) -> dict[str, Any]:
        """The place in the training images. Lightning 2.6 forgets the loader's own between two epochs."""
        return dict(self._place if self._train_loader is None else self._train_loader.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training go on from there."""
        self._place = state_dict

    def setup(self, stage: str) -> None:
        """Forget the place in an earlier training; a checkpoint is read after this."""
        self._place = {}
        assert self.trainer is not None
        if stage == "fit" and (self.class_weights is not None or self.sampling != "shuffled"):
            self.trainer.print(describe(self.train.labels, self.classes, self.class_weights, self.sampling))

    def teardown(self, stage: str | None = None) -> None:
        """End the workers of training, and say which images were skipped."""
        if self._train_loader is not None:
            self._place = self._train_loader.state_dict()
            self._train_loader.close()
            self._train_loader = None
            self._say_what_was_skipped(over_devices=stage is not None)

    def on_exception(self, exception: BaseException) -> None:
        """Say which images were skipped before it; Lightning tears nothing down then."""
        self._say_what_was_skipped(over_devices=False)  # the others may be past answering

    def _say_what_was_skipped(self, over_devices: bool) -> None:
        """Once, of the first device or of all; a warning where no trainer is there to print."""
        if self._photographs is None:
            return
        photographs, self._photographs = self._photographs, None
        damaged = photographs.damaged
        if over_devices and self.trainer is not None:
            strategy = self.trainer.strategy
            damaged = strategy.reduce(damaged.int().to(strategy.root_device), reduce_op="max").cpu() > 0
        if (sentence := photographs.skipped(damaged)) is None:
            return
        if self.trainer is None:
            warnings.warn(sentence, stacklevel=3)
        else:
            self.trainer.print(f"note: {sentence}", flush=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training images and normalise all, on the device where they are now.

        Returns:
            [images, targets]; targets are class indices (b,), int64, or shares (b, classes), float, where mixup or
            CutMix mixed the images.
        """
        if len(batch) == 2:
            images, labels = batch
            return [normalise(images, self.preprocessing), labels]
        images, labels, key = batch
        self._made = key
        images = normalise(augment_batch(images, self._left, key), self.preprocessing)
        if self._mixes_in(key.epoch):
            return [*mix_batch(images, labels, self.augmentation, self.num_classes, key)]
        return [images, labels]

    def names_of_batch(self) -> Callable[[], str]:
        """What says, if it is asked, which images the training batch holds that was made last: the first three."""
        return partial(self._names, self._made)

    def _names(self, key: BatchKey | None) -> str:
        if key is None or self._train_loader is None:
            return ""
        images, indices = self.train.images, self._train_loader.order.epoch(key.epoch)[0][key.number].tolist()
        if isinstance(images, Tensor):
            return listed([f"training image {index}" for index in indices], most=3)
        return listed([name_of(images, index) for index in indices], most=3)

    def _mixes_in(self, epoch: int) -> bool:
        """Whether this epoch is before the last ones, in which nothing is mixed."""
        if not self.augmentation.mix_off_epochs or self.trainer is None:
            return True
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 0:
            raise ValueError(
                f"augmentation.mix_off_epochs={self.augmentation.mix_off_epochs} needs to know the last epoch; set "
                "trainer.max_epochs."
            )
        return epoch < epochs - self.augmentation.mix_off_epochs

    def _reader(self) -> Reader:
        """Who reads the training images, and with that what of the augmentation is left for the batch."""
        images, labels = self.train.images, self.train.labels
        self._left = self.augmentation
        if not isinstance(images, Tensor):
            self._left = replace(self.augmentation, flip=0.0)
            side = None if self.augmentation.crop_scale is None else self.cache_size
            cache, form = self._open_cache(self.train, "training", side)
            photographs = Photographs(
                images, labels, self.preprocessing, self.augmentation, self.on_error, self.num_workers, cache, form
            )
            self._photographs = photographs if self.on_error == "skip" else None
            return WorkerReader(photographs, self.num_workers, self._device.type == "cuda", self.timeout)
        hold = self.hold_on_device
        if hold == "auto":
            hold = fits(images, self.augmentation, self._device)
        if hold:
            reader = HeldReader(images, labels, self._device, self.augmentation)
            self._left = reader.left
            return reader
        in_memory = TensorImages(images, labels)
        return WorkerReader(in_memory, self.num_workers, self._device.type == "cuda", self.timeout)

    def _evaluation_loader(self, part: Labelled) -> EvaluationLoader | HeldEvaluation:
        batches = evaluation_batches(len(part), self.batch_size, self._rank, self._world_size)
        if isinstance(part.images, Tensor):
            return HeldEvaluation(part.images, part.labels, batches, self._device)
        cache, form = self._open_cache(part, "test" if part is self.source.test else "validation")
        photographs = Photographs(
            part.images, part.labels, self.preprocessing, num_workers=self.num_workers, cache=cache, form=form
        )
        return EvaluationLoader(photographs, batches, self.num_workers, self._device.type == "cuda", self.timeout)

    def _open_cache(self, part: Labelled, name: str, shorter_side: int | None = None) -> tuple[Cache | None, Form]:
        """Where decoded pictures are kept, if at all, and in what shape."""
        form = Form(self.preprocessing, shorter_side)
        if self.cache == "none" or isinstance(part.images, Tensor):
            return None, form
        copies = self._world_size if self.cache == "ram" else 1
        cache, sentence = open_cache(self.cache, part.images, form, self.cache_folder, name, copies)
        if self.trainer is not None:
            self.trainer.print(sentence)
        return cache, form

    @property
    def _device(self) -> torch.device:
        """The one that this process trains on."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _order_seed(self) -> int:
        """The seed that torch was given last: the run's; that of the first process, should each have its own."""
        seed = torch.initial_seed()
        return seed if self.trainer is None else self.trainer.strategy.broadcast(seed)

    def _limit(self, batches: int) -> int | None:
        limit = 1.0 if self.trainer is None else self.trainer.limit_train_batches
        return limit if isinstance(limit, int) else int(batches * limit)


def _subset(
    train: Labelled, fraction: float | None, per_class: int | None, seed: int, classes: Sequence[str]
) -> Labelled:
    """The training images, or the part of every class that was asked for."""
    if fraction is not None and per_class is not None:
        raise ValueError(f"data.fraction={fraction} and data.per_class={per_class} both say how many; give one.")
    if fraction is not None:
        return share_of_each_class(train, fraction, seed)
    return train if per_class is None else some_of_each_class(train, per_class, seed, classes)


def _check_numbers(batch_size: int, num_workers: int | None, val_fraction: float, timeout: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"num_workers={num_workers} must be 0 (the images are read by the main process) or more.")
    if timeout < 0:
        raise ValueError(f"timeout={timeout} must be a number of seconds, or 0 to wait for ever.")
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction} must be above 0 and below 1; 0.1 is usual.")


def _check_cache(cache: Caching, folder: str | None, size: int | None) -> None:
    if size is not None and size < 1:
        raise ValueError(f"cache_size={size} must be at least 1 pixel; 1.15 times image_size is the default.")
    if cache == "none" and (folder is not None or size is not None):
        name = "cache_size" if folder is None else "cache_folder"
        raise ValueError(f"data.{name} says nothing without a cache; set data.cache to ram or disk.")
    if cache == "ram" and folder is not None:
        raise ValueError("data.cache_folder says nothing to data.cache=ram; leave it out, or set data.cache=disk.")


def _default_workers(train: Labelled) -> int:
    return 0 if isinstance(train.images, Tensor) else min(max(usable_cores() - 1, 1), 8)
