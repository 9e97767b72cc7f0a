"""What is printed, measured and written beside the training."""

from typing import Any

import lightning as L
import pytest
import torch

from vit.train.callbacks import EpochLines, Stopwatch
from vit.train.export import network_state


class FakeTrainer(L.Trainer):
    """As much of a trainer as these callbacks ask for."""

    callback_metrics = {"val_acc": torch.tensor(0.5), "train_loss": torch.tensor(1.25)}  # pyright: ignore  # noqa: RUF012
    current_epoch, max_epochs, world_size = 1, 7, 2  # pyright: ignore
    check_val_every_n_epoch = 1

    def __init__(self) -> None:
        self.printed: list[str] = []

    def print(self, *args: Any, **kwargs: Any) -> None:
        self.printed += args


def test_a_line_an_epoch_names_all_figures() -> None:
    trainer = FakeTrainer()
    EpochLines().on_train_epoch_end(trainer, L.LightningModule())
    assert trainer.printed == ["epoch 2/7  train_loss 1.2500  val_acc 0.5000"]


def test_a_line_does_not_repeat_the_validation_of_an_earlier_epoch() -> None:
    trainer = FakeTrainer()
    trainer.check_val_every_n_epoch = 3
    EpochLines().on_train_epoch_end(trainer, L.LightningModule())
    assert trainer.printed == ["epoch 2/7  train_loss 1.2500"]


def test_the_stopwatch_leaves_validation_out_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 12.0, 14.0, 99.0])  # fit, epoch, two batches, end
    monkeypatch.setattr("vit.train.callbacks.time.perf_counter", lambda: next(now))
    trainer, module, batch = FakeTrainer(), L.LightningModule(), [None, torch.zeros(6)]
    stopwatch: Any = Stopwatch()
    stopwatch.on_fit_start(trainer, module)
    stopwatch.on_train_epoch_start(trainer, module)
    for number in range(2):
        stopwatch.on_train_batch_end(trainer, module, None, batch, number)
    stopwatch.on_train_epoch_end(trainer, module)
    stopwatch.on_fit_end(trainer, module)
    assert stopwatch.images_per_second == [2 * 12 / 4]  # on two devices
    assert stopwatch.seconds == 99.0


def test_the_networks_tensors_are_taken_out_of_a_checkpoint(finished_run: Any) -> None:
    state = network_state(str(finished_run.folder / "checkpoints" / "last.ckpt"))
    assert "head.weight" in state
    assert not any(name.startswith(("network.", "accuracy", "loss")) for name in state)
