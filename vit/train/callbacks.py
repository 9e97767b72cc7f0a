"""What happens beside the training: a line an epoch for log files, the time it took, an early end, the model folder."""

from __future__ import annotations

import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar

from vit.data.module import ImageDataModule
from vit.nn import ViT
from vit.train.classifier import Classifier
from vit.train.export import Export, exported_network, whole
from vit.train.finetune import merged
from vit.weights import ModelCard, save_model


class EpochLines(L.Callback):
    """One line an epoch, for where a progress bar would fill the log file."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's figures, on the first process of each machine; not those of an earlier validation."""
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        of_epoch = [pair for pair in sorted(trainer.callback_metrics.items()) if validated or pair[0][:4] != "val_"]
        figures = "  ".join(f"{name} {value:.4f}" for name, value in of_epoch)
        trainer.print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}", flush=True)


class ProgressBar(RichProgressBar):
    """Lightning's, which counts epochs from 0 and so shows 59 of 59 while it trains the sixtieth."""

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "") + " "


class Stopwatch(L.Callback):
    """How long the training took, and how many images a second it took in."""

    def __init__(self) -> None:
        self.images_per_second: list[float] = []
        self._before = 0.0  # seconds until the checkpoint that this process went on from
        self._fit_start: float | None = None
        self._fit_end: float | None = None
        self._epoch_start = self._epoch_seconds = self._images = 0.0

    @property
    def seconds(self) -> float:
        """Trained so far, with validation and without start-up, before interruptions too."""
        if self._fit_start is None:
            return self._before
        return self._before + (self._fit_end or time.perf_counter()) - self._fit_start

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """From the checkpoint."""
        self._before = state_dict["seconds"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self._fit_start, self._fit_end = time.perf_counter(), None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start what is left of an epoch: Lightning announces no start of an epoch that is gone on with."""
        self._epoch_start, self._images = time.perf_counter(), 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start an epoch."""
        self._epoch_start, self._images = time.perf_counter(), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count; the clock of an epoch stops at its last batch, whichever that is, before validation."""
        self._images += len(batch[1]) * trainer.world_size
        self._epoch_seconds = time.perf_counter() - self._epoch_start

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the speed; max_steps may have ended the epoch early, or only its validation been left."""
        if self._images:
            self.images_per_second.append(self._images / self._epoch_seconds)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        self._fit_end = time.perf_counter()


class StopsEarly(EarlyStopping):
    """Lightning's, whose patience counts validations; here it is epochs, however often those are validated."""

    def __init__(self, monitor: str, epochs: int) -> None:
        """End when `monitor` has not risen for so many epochs."""
        super().__init__(monitor, mode="max", patience=epochs)
        self.epochs = epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Now it is known how many validations an epoch has; a part of one is waited for."""
        self.patience = math.ceil(self.epochs * validations_an_epoch(trainer))

    @property
    def reason(self) -> str:
        """Why it ended the training, if it did."""
        epochs = "an epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{self.monitor} did not rise for {epochs}; the best was {self.best_score:.4f}."


def validations_an_epoch(trainer: L.Trainer) -> float:
    """How often an epoch is validated, below 1 where not every one is; of a training that has begun."""
    batches, between = trainer.num_training_batches, trainer.val_check_batch
    if between is None or not math.isfinite(between) or not math.isfinite(batches):
        return 1.0
    if trainer.check_val_every_n_epoch is None:  # counted over the ends of epochs
        return batches / between
    return (batches // between) / trainer.check_val_every_n_epoch


class SaveModelFolder(L.Callback):
    """Write the finished model as a folder when training ends: of the best epoch by validation, or of the last."""

    def __init__(self, folder: Path, export: Export, command: str) -> None:
        self.folder, self.command = folder, command
        self.export: Export = export

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it, on the first process only."""
        if trainer.fast_dev_run or trainer.global_step == 0:  # pyright: ignore[reportAttributeAccessIssue]
            return
        assert isinstance(pl_module, Classifier)
        if not isinstance(pl_module.network, ViT):  # a baseline of another library
            return
        classifier = whole(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        assert isinstance(data, ImageDataModule)
        network, weights = exported_network(trainer, classifier, self.export)
        assert isinstance(network, ViT)
        model = merged(network)
        provenance = {
            "command": self.command,
            "weights": weights,
            **fine_tuned(pl_module),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "last_epoch": {name: round(float(value), 6) for name, value in sorted(trainer.callback_metrics.items())},
            "versions": {name: version(name) for name in ("plain-vit", "torch", "lightning")},
        }
        card = ModelCard(
            config=model.config,
            classes=data.classes,
            descriptions=data.source.descriptions,
            preprocessing=data.preprocessing,
            provenance=provenance,
        )
        save_model(model, card, self.folder)


def fine_tuned(classifier: Classifier) -> dict[str, Any]:
    """What the weights started from and how much of them learned, where they did not start fresh."""
    start = classifier.hparams
    return {name: start[name] for name in ("pretrained", "tune")} if start["pretrained"] else {}
