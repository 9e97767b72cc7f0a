"""A trained run -> the weights that it hands on: of the best epoch or the last, averaged over the steps or raw."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from vit.train.checkpoints import BEST
from vit.train.classifier import Classifier
from vit.train.sharded import is_sharded

Export = Literal["best", "last", "best-raw", "last-raw"]
"""Of the best epoch by validation, or of the last; the average of the weights where there is one, unless raw."""


def monitored(classifier: Classifier, export: Export) -> str:
    """The validation accuracy that says which epoch is the best: of the weights that are handed on."""
    return "val_acc_ema" if _is_averaged(classifier, export) else "val_acc"


def exported_network(trainer: L.Trainer, classifier: Classifier, export: Export) -> tuple[nn.Module, str]:
    """The network with the weights to hand on, and which they are, in words."""
    averaged = _is_averaged(classifier, export)
    network = classifier.ema if averaged else classifier.network
    assert network is not None
    words = "of the last epoch"
    if best := best_epoch(trainer, export):
        network = copy.deepcopy(network)
        network.load_state_dict(network_state(best.best_model_path, "ema" if averaged else "network"))
        words = f"of the best epoch by {best.monitor} ({best.best_model_score:.4f})"
    return network, f"moving average (ema_decay {classifier.recipe.ema_decay}) {words}" if averaged else words


def whole(trainer: L.Trainer, classifier: Classifier) -> Classifier:
    """In the first process the classifier with all its weights, where they are split over devices; else as it is.

    All processes call it together.
    """
    if not is_sharded(classifier.network):
        return classifier
    state = trainer.strategy.lightning_module_state_dict()
    return Classifier.restored(classifier.hparams, state) if trainer.is_global_zero else classifier


def best_epoch(trainer: L.Trainer, export: Export) -> ModelCheckpoint | None:
    """Where the weights to hand on are, if they are not those the training ended with."""
    keeper = keeper_of_best(trainer)
    return keeper if keeper and keeper.best_model_path and export.startswith("best") else None


def keeper_of_best(trainer: L.Trainer) -> ModelCheckpoint | None:
    """Lightning's callback that keeps `best.ckpt`; whoever started the run may have added others of its kind."""
    keepers = (each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint))
    return next((keeper for keeper in keepers if keeper.filename == Path(BEST).stem), None)


def network_state(checkpoint: str, which: Literal["network", "ema"] = "network") -> dict[str, Tensor]:
    """The tensors of the network, or of its average, out of a checkpoint file."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix(f"{which}."): tensor for name, tensor in state.items() if name.startswith(f"{which}.")}


def _is_averaged(classifier: Classifier, export: Export) -> bool:
    return classifier.recipe.ema_decay is not None and not export.endswith("raw")
