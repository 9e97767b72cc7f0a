"""images, labels -> loss, metrics, steps: the one LightningModule."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from vit.data.module import ImageDataModule
from vit.nn import ViT, ViTConfig
from vit.train.checkpoints import read_checkpoint
from vit.train.ema import Follower, average_of, decay_at
from vit.train.finetune import LoRA, pretrained_network, restrict
from vit.train.finite import LossWatch, require_finite
from vit.train.loss import training_loss
from vit.train.recipe import Recipe, fused_is_faster
from vit.train.sharded import is_sharded, shard
from vit.weights import LoadReport

ACCURACIES = ("train_acc", "train_acc_mixed", "val_acc", "val_acc_ema", "test_acc")


class Classifier(L.LightningModule):
    """A network that is trained by a recipe. `network` may be any module from images to logits, timm's too.

    Logs train_loss, train_acc, val_loss, val_acc, test_loss and test_acc; accuracies are shares of images (micro), from
    0 to 1, counted over the whole epoch, not averaged over batches. Of images that mixup or CutMix mixed, the share
    whose heavier label wins is logged as train_acc_mixed instead. With an average of the weights, val_loss_ema and
    val_acc_ema are its.
    """

    ema: nn.Module | None
    """The average of the network's weights, where the recipe asks for one."""

    class_weights: Tensor | None
    """How much each class counts in the training loss, as the data says."""

    def __init__(
        self,
        vit: ViTConfig = ViTConfig(),
        recipe: Recipe = Recipe(),
        num_classes: int | None = None,
        pretrained: str | None = None,
        architecture: str | None = None,
        tune: str = "all",
        lora: LoRA = LoRA(),
        load_pretrained: bool = True,
    ) -> None:
        """Build the network with fresh weights or pretrained ones.

        Args:
            vit: The architecture; num_classes is taken from the data, and the rest from the pretrained weights.
            recipe: Optimiser and schedule.
            num_classes: Number of classes of the data.
            pretrained: Weights to start from: a model folder, timm/NAME, hf-hub:OWNER/REPO, or a weight file.
            architecture: A named architecture (timm's names) to start from; needed for a weight file, which does not
                say its own.
            tune: What learns: all; head, on frozen features (linear probe); last:N, the last N blocks and the head;
                lora, low-rank changes of attention, and the head.
            lora: Rank and weight of those changes.
            load_pretrained: False where a checkpoint is to bring all weights: the pretrained ones are not read then.

        Raises:
            ValueError: `vit` was given another number of classes than the data has, or does not fit the weights.
        """
        super().__init__()
        if num_classes is not None and vit.num_classes not in (ViTConfig.num_classes, num_classes):
            raise ValueError(
                f"model.vit.num_classes={vit.num_classes}, but the data has {num_classes} classes; leave it out, and "
                "it follows the data."
            )
        if tune != "all" and pretrained is None:
            raise ValueError(f"model.tune={tune} trains a part of pretrained weights; name them by model.pretrained.")
        vit = vit if num_classes is None else dataclasses.replace(vit, num_classes=num_classes)
        # plain dicts: a checkpoint with anything else cannot be loaded with weights_only=True
        given = {"pretrained": pretrained, "architecture": architecture, "tune": tune, "lora": dataclasses.asdict(lora)}
        self.save_hyperparameters(
            {"vit": dataclasses.asdict(vit), "recipe": dataclasses.asdict(recipe), **given}, logger=False
        )
        self.recipe = recipe
        self.load_report: LoadReport | None = None
        if pretrained is None or not load_pretrained:
            self.network: nn.Module = ViT(vit)
        else:
            self.network, self.load_report = pretrained_network(vit, pretrained, architecture)
        self.frozen = restrict(self.network, tune, lora)
        self.register_module("ema", None)
        self.register_buffer("class_weights", None, persistent=False)
        self.compiles = False
        self.accuracy = nn.ModuleDict(
            {name: MulticlassAccuracy(vit.num_classes, average="micro", validate_args=False) for name in ACCURACIES}
        )
        self.watch = LossWatch()
        self._follower: Follower | None = None

    @classmethod
    def load_from_checkpoint(  # pyright: ignore[reportIncompatibleMethodOverride]  # a checkpoint of ours says all
        cls, checkpoint_path: str | os.PathLike[str], map_location: str | torch.device = "cpu"
    ) -> Classifier:
        """The classifier of a run's checkpoint, in evaluation mode; weights it was fine-tuned from are not read again.

        Raises:
            FileNotFoundError: no such file.
            DamagedCheckpointError: it is damaged, or none of ours.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        return cls.restored(checkpoint["hyper_parameters"], checkpoint["state_dict"]).to(map_location)

    @classmethod
    def restored(cls, values: Mapping[str, Any], state: Mapping[str, Tensor]) -> Classifier:
        """The classifier that has these hyperparameters and tensors, in evaluation mode."""
        classifier = cls(
            ViTConfig(**values["vit"]),
            Recipe(**values["recipe"]),
            pretrained=values["pretrained"],
            architecture=values["architecture"],
            tune=values["tune"],
            lora=LoRA(**values["lora"]),
            load_pretrained=False,
        )
        classifier.configure_model()
        classifier.load_state_dict(state)
        return classifier.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.to(self.dtype))  # which is another where trainer.precision says *-true

    def train(self, mode: bool = True) -> Classifier:
        """Switch dropout and drop path on or off; parts that do not learn run as in evaluation always."""
        super().train(mode)
        for part in (*self.frozen, *([self.ema] if self.ema else [])):
            part.eval()
        return self

    def setup(self, stage: str) -> None:
        """Ask the data how much each class counts."""
        if stage == "fit":
            self.class_weights = getattr(getattr(self.trainer, "datamodule", None), "class_weights", None)

    def configure_model(self) -> None:
        """Add the average of the weights, have both networks compiled and, by strategy fsdp, split over the devices.

        A second call changes nothing.
        """
        if self.recipe.ema_decay is not None and self.ema is None:
            self.ema = average_of(self.network)
            if self.compiles:
                self.ema.compile()
        if self.compiles:
            self.network.compile()  # in place, so that the names of its tensors stay
        if self.device_mesh is not None:
            for network in (self.network, self.ema):
                if network is not None and not is_sharded(network):
                    shard(network, self.device_mesh["data_parallel"])

    def on_train_start(self) -> None:
        """Look up what the average follows; from here on no tensor becomes another."""
        self._follower = None if self.ema is None else Follower(self.ema, self.network)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        logits = self(images)
        loss = training_loss(logits, targets, self.recipe.label_smoothing, self.class_weights)
        self.watch.see(loss, self.global_step, self._learning_rate, self._images())
        self._log("train_loss", loss, len(images))
        mixed = targets.is_floating_point()
        name, labels = ("train_acc_mixed", targets.argmax(dim=1)) if mixed else ("train_acc", targets)
        self._log_accuracy(name, logits, labels)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._evaluate("val", "", self(images), labels)
        if self.ema is not None:
            self._evaluate("val", "_ema", self.ema(images.to(self.dtype)), labels)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, labels = batch
        self._evaluate("test", "", self(images), labels)

    def configure_optimizers(self) -> Any:
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ValueError("the learning rate needs to know when training ends; set trainer.max_epochs or max_steps.")
        # without a scaler the fused kernel clips well, but Lightning refuses to by this flag alone
        optimizer = self.recipe.optimizer(self.network, fused_is_faster(self.device, str(self.trainer.precision)))
        optimizer._step_supports_amp_scaling = False  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        schedule = self.recipe.schedule(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow; once for all the batches that are accumulated."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        if self._follower is not None:
            assert self.recipe.ema_decay is not None
            self._follower.follow(decay_at(step, self.recipe.ema_decay))

    def on_validation_start(self) -> None:
        """Look at the losses before anybody relies on them."""
        self.watch.look()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep no weights that are no numbers."""
        self.require_finite()

    def on_train_end(self) -> None:
        """End in no weights that are no numbers."""
        self.require_finite()

    def require_finite(self) -> None:
        """Look at the losses and the weights.

        Raises:
            NotFiniteError: one of them is no number.
        """
        self.watch.look()
        require_finite(self.network.parameters(), self.global_step, self._learning_rate())

    def _images(self) -> Callable[[], str]:
        """What says, if it is asked, which images the batch of this step holds."""
        data = getattr(self._trainer, "datamodule", None)  # `trainer` is an error where there is none
        return data.names_of_batch() if isinstance(data, ImageDataModule) else str

    def _learning_rate(self) -> float:
        """The highest of all groups: the head's, where layers have rates of their own; unknown where nobody trains."""
        if self._trainer is None:
            return math.nan
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return max(group["lr"] for group in optimizer.param_groups)

    def _evaluate(self, part: str, whose: str, logits: Tensor, labels: Tensor) -> None:
        self._log(f"{part}_loss{whose}", F.cross_entropy(logits, labels), len(labels))
        self._log_accuracy(f"{part}_acc{whose}", logits, labels)

    def _log(self, name: str, value: Tensor, images: int) -> None:
        self.log(name, value, on_step=False, on_epoch=True, batch_size=images, sync_dist=True)

    def _log_accuracy(self, name: str, logits: Tensor, labels: Tensor) -> None:
        accuracy = self.accuracy[name]
        assert isinstance(accuracy, MulticlassAccuracy)
        accuracy.update(logits, labels)
        shown = not name.startswith("test")
        self.log(name, accuracy, on_step=False, on_epoch=True, batch_size=len(labels), prog_bar=shown)
