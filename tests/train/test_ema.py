"""The average of the weights: by hand, beside torch's, validated from the first step, and kept to the bit."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vit.nn import ViT
from vit.train.ema import Follower, average_of, decay_at
from vit.train.export import network_state
from vit.train.run import Run, fit
from vit.weights import load_model, read_card

QUICK = ("--trainer.limit_train_batches", "3", "--model.recipe.ema_decay", "0.9")


@pytest.fixture
def train(tiny_run: list[str], tmp_path: Path) -> Any:
    def train(*flags: str, callbacks: tuple[L.Callback, ...] = ()) -> Run:
        run = Run([*tiny_run, "--output", str(tmp_path / "runs"), *QUICK, *flags], epoch_lines=False)
        run.trainer.callbacks += callbacks  # pyright: ignore
        fit(run)
        return run

    return train


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_average_worked_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(8.0)
    average = average_of(network)
    follower = Follower(average, network)
    for value, expected in [(0.0, 2.0), (4.0, 3.5)]:  # a quarter of the old, three quarters of the new
        network.weight.data.fill_(value)
        follower.follow(0.25)
        assert average.weight.item() == expected
    assert network.weight.item() == 4.0


def test_the_average_is_torchs() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    ours, theirs = average_of(network), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7))
    theirs.update_parameters(network)  # the first one of torch's copies
    follower = Follower(ours, network)
    for _ in range(4):
        for tensor in (*network.parameters(), network[1].running_mean):
            tensor.data.normal_()  # pyright: ignore
        follower.follow(0.7)
        theirs.update_parameters(network)
    for mine, other in zip(ours.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    assert torch.equal(ours[1].running_mean, network[1].running_mean)  # pyright: ignore


def test_frozen_weights_stay_and_the_average_is_not_trained() -> None:
    network = nn.Linear(2, 3)
    network.weight.requires_grad_(False)
    average = average_of(network)
    network.weight.data.add_(1)
    network.bias.data.add_(1)
    Follower(average, network).follow(0.5)
    assert not torch.equal(average.weight, network.weight)  # nobody moves a frozen weight, so none is looked at
    torch.testing.assert_close(average.bias, network.bias - 0.5)
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_little_is_kept_at_first() -> None:
    assert [decay_at(step, 0.999) for step in (0, 1, 8, 90)] == pytest.approx([0.1, 2 / 11, 0.5, 0.91])
    assert decay_at(8_989, 0.999) < decay_at(8_990, 0.999) == decay_at(100_000, 0.999) == 0.999


def test_both_scores_are_shown_and_both_weights_kept(train: Any) -> None:
    run = train()
    assert {"val_acc", "val_acc_ema", "val_loss", "val_loss_ema"} <= set(run.trainer.callback_metrics)
    last = str(run.folder / "checkpoints" / "last.ckpt")
    raw, average = network_state(last), network_state(last, "ema")
    assert raw.keys() == average.keys()
    assert not any(torch.equal(raw[name], average[name]) for name in ("head.weight", "patch_embed.proj.weight"))


def test_what_is_validated_is_an_average_that_was_updated(train: Any) -> None:
    """lightning's `EMAWeightAveraging` validates initial weights where its start is delayed; ours has no delay."""
    steps: list[tuple[Tensor, Tensor]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
            steps.append((pl_module.network.head.weight.detach().clone(), pl_module.ema.head.weight.clone()))

    start: list[Tensor] = []

    class First(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
            start.append(pl_module.ema.head.weight.clone())

    train(callbacks=(First(), Watch()))
    expected = start[0]
    for step, (raw, average) in enumerate(steps):
        keep = (1 + step) / (10 + step)
        expected = keep * expected + (1 - keep) * raw
        torch.testing.assert_close(average, expected)
    assert len(steps) == 6


def test_accumulated_batches_are_one_update(train: Any) -> None:
    updates: list[Tensor] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
            updates.append(pl_module.ema.head.weight.clone())

    train("--trainer.accumulate_grad_batches", "3", "--trainer.max_epochs", "1", callbacks=(Watch(),))
    assert torch.equal(updates[0], updates[1])
    assert not torch.equal(updates[1], updates[2])


@pytest.mark.parametrize(
    ("export", "which", "words"),
    [
        ("last", "ema", "moving average (ema_decay 0.9) of the last epoch"),
        ("last-raw", "network", "of the last epoch"),
        ("best", "ema", "moving average (ema_decay 0.9) of the best epoch by val_acc_ema"),
        ("best-raw", "network", "of the best epoch by val_acc ("),
    ],
)
def test_the_model_folder_says_which_weights_it_holds(export: str, which: Any, words: str, train: Any) -> None:
    run = train("--trainer.max_epochs", "1", "--export", export)
    file = "best.ckpt" if export.startswith("best") else "last.ckpt"
    exported = load_model(run.folder / "model").state_dict()
    assert same(exported, network_state(str(run.folder / "checkpoints" / file), which))
    assert read_card(run.folder / "model").provenance["weights"].startswith(words)


def test_the_average_goes_on_to_the_bit(train: Any) -> None:
    whole = train("--trainer.max_epochs", "2")

    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, *_: object) -> None:
            trainer.should_stop = True

    half = train("--trainer.max_epochs", "2", callbacks=(Stop(),))
    checkpoint = str(half.folder / "checkpoints" / "last.ckpt")
    average = network_state(checkpoint, "ema")
    seen: list[bool] = []

    class Compare(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
            seen.append(same(pl_module.ema.state_dict(), average))

    rest = train("--trainer.max_epochs", "2", "--resume", checkpoint, callbacks=(Compare(),))
    assert seen == [True]
    assert rest.trainer.global_step == whole.trainer.global_step == 6


def test_the_average_runs_as_in_evaluation(train: Any) -> None:
    modes: list[tuple[bool, bool]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
            modes.append((pl_module.network.training, pl_module.ema.training))

    run = train("--model.vit.drop_rate", "0.1", callbacks=(Watch(),))
    assert modes == [(True, False)] * 6
    assert isinstance(run.model.ema, ViT)
