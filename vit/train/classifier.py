"""images, labels -> loss, metrics, steps: the one LightningModule."""

from __future__ import annotations

import dataclasses
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from vit.nn import ViT, ViTConfig
from vit.train.recipe import Recipe


class Classifier(L.LightningModule):
    """A network that is trained by a recipe. `network` may be any module from images to logits, timm's too.

    Logs train_loss, train_acc, val_loss, val_acc, test_loss and test_acc; accuracies are shares of images (micro), from
    0 to 1, counted over the whole epoch, not averaged over batches.
    """

    def __init__(self, vit: ViTConfig = ViTConfig(), recipe: Recipe = Recipe(), num_classes: int | None = None) -> None:
        """Build the network with fresh weights.

        Args:
            vit: The architecture; num_classes is taken from the data.
            recipe: Optimiser and schedule.
            num_classes: Number of classes of the data.

        Raises:
            ValueError: `vit` was given another number of classes than the data has.
        """
        super().__init__()
        if num_classes is not None and vit.num_classes not in (ViTConfig.num_classes, num_classes):
            raise ValueError(
                f"model.vit.num_classes={vit.num_classes}, but the data has {num_classes} classes; leave it out, and "
                "it follows the data."
            )
        vit = vit if num_classes is None else dataclasses.replace(vit, num_classes=num_classes)
        # plain dicts: a checkpoint with anything else cannot be loaded with weights_only=True
        self.save_hyperparameters({"vit": dataclasses.asdict(vit), "recipe": dataclasses.asdict(recipe)}, logger=False)
        self.recipe = recipe
        self.network: nn.Module = ViT(vit)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.accuracy = nn.ModuleDict(
            {f"{part}_acc": MulticlassAccuracy(vit.num_classes, average="micro") for part in ("train", "val", "test")}
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {self.global_step}, learning rate {self._learning_rate():.3g}; "
                "lower model.recipe.learning_rate, raise model.recipe.warmup, or set trainer.gradient_clip_val to 1."
            )
        self._log("train", loss, logits, labels)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._evaluate("val", *batch)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._evaluate("test", *batch)

    def configure_optimizers(self) -> Any:
        # with fp16's loss scaler the fused kernel unscales gradients itself, which is too late for clipping; without a
        # scaler it does not, but Lightning refuses to clip by this flag alone
        optimizer = self.recipe.optimizer(self.network, fused=self.trainer.precision != "16-mixed")
        optimizer._step_supports_amp_scaling = False  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        schedule = self.recipe.schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate(self) -> float:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return optimizer.param_groups[0]["lr"]

    def _evaluate(self, part: str, images: Tensor, labels: Tensor) -> None:
        logits = self(images)
        self._log(part, F.cross_entropy(logits, labels), logits, labels)

    def _log(self, part: str, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        accuracy = self.accuracy[f"{part}_acc"]
        assert isinstance(accuracy, MulticlassAccuracy)
        accuracy(logits, labels)
        self.log(f"{part}_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        self.log(f"{part}_acc", accuracy, on_step=False, on_epoch=True, batch_size=len(labels), prog_bar=part != "test")
