"""Flags of the start and the end of a run: when it stops early, what it is compiled by, how it is tried out."""

import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from vit.train.run import Run, fit
from vit.train.seeds import Flags
from vit.train.start import absolute

LIGHTNINGS_OWN = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val_acc"]
LIGHTNINGS_OWN += ["--trainer.callbacks.mode", "max", "--trainer.callbacks.stopping_threshold", "-1"]


@pytest.fixture
def make(tiny_run: list[str], tmp_path: Path) -> Any:
    def make(*flags: str) -> Run:
        return Run([*tiny_run, "--output", str(tmp_path / "runs"), *flags], epoch_lines=False)

    return make


def test_training_stops_when_validation_gets_no_better(make: Any) -> None:
    run = make("--early_stopping", "2", "--trainer.max_epochs", "50", "--trainer.limit_train_batches", "1")
    run.model.recipe = run.model.recipe.__class__(learning_rate=1e-30)  # nothing is learned
    fit(run)
    assert run.trainer.current_epoch == 3  # one that is the best so far, and two that are no better
    assert run.stopped_early is not None
    assert re.fullmatch(r"val_acc did not rise for 2 epochs; the best was [01]\.\d{4}\.", run.stopped_early)


def test_lightnings_own_early_stopping_says_its_own_reason(make: Any) -> None:
    run = make("--trainer.max_epochs", "5", "--trainer.limit_train_batches", "1", *LIGHTNINGS_OWN)
    fit(run)
    assert run.stopped_early is not None
    assert run.stopped_early.startswith("Stopping threshold reached: val_acc")


@pytest.mark.parametrize(
    ("validated", "epochs", "last"),
    [
        ([], 3, 4),  # the first is the best so far
        (["--trainer.check_val_every_n_epoch", "3"], 3, 6),
        (["--trainer.check_val_every_n_epoch", "3"], 4, 9),  # a part of a validation is waited for
        (["--trainer.val_check_interval", "2"], 2, 3),  # after the first of two in its epoch
        (["--trainer.val_check_interval", "6", "--trainer.check_val_every_n_epoch", "null"], 2, 5),  # every 1.5 epochs
    ],
)
def test_stopping_early_counts_epochs_however_often_they_are_validated(
    validated: list[str], epochs: int, last: int, make: Any
) -> None:
    short = ["--trainer.max_epochs", "50", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "1"]
    run = make("--early_stopping", str(epochs), *short, *validated)
    run.model.recipe = run.model.recipe.__class__(learning_rate=1e-30)  # nothing is learned
    fit(run)
    assert run.trainer.current_epoch == last


def test_early_stopping_looks_at_the_weights_that_are_exported(make: Any) -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    run = make("--early-stopping", "3", "--model.recipe.ema_decay", "0.9")
    monitors = [each.monitor for each in run.trainer.callbacks if isinstance(each, EarlyStopping)]
    assert monitors == ["val_acc_ema"]
    assert run.trainer.checkpoint_callback.monitor == "val_acc_ema"  # pyright: ignore


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--trainer.devices", "4000"], r"devices=4000 would start as many processes on \d+ cores; on a CPU 1 is"),
        (["--trainer.strategy", "deepspeed"], r"strategy=deepspeed splits the weights in a way .*; fsdp splits them"),
        (["--trainer.strategy", "fsdp_cpu_offload"], r"strategy=fsdp_cpu_offload splits the weights in a way "),
        (["--trainer.strategy", "ddp_spawn"], r"strategy=ddp_spawn keeps its results in another process; ddp works"),
        (["--trainer.strategy", "ddp_fork"], r"strategy=ddp_fork keeps its results in another process; ddp works"),
        (["--trainer.strategy", "dpp"], r"trainer\.strategy=dpp is not known; did you mean 'ddp'\?$"),
        (["--trainer.strategy", "fsdp2"], r"strategy=fsdp2 splits the weights in a way .*; fsdp splits them and works"),
        (
            ["--trainer.strategy", "quick"],
            r"strategy=quick is not known; known are: auto, ddp, .*, fsdp, single_device",
        ),
        (["--trainer.accelerator", "gup"], r"trainer\.accelerator=gup is not known; did you mean 'gpu'\?$"),
        (["--trainer.devices", "two"], r"trainer\.devices=two is no number of devices; auto works, and 2\.$"),
        (["--trainer.devices", "-1"], r"trainer\.devices=-1 is no number of devices; auto works, and 2\.$"),
        (
            ["--trainer.accelerator", "gpu", "--trainer.devices", "-3"],
            r"devices=-3 is no number .* 2, -1 for all, or 0,1 ",
        ),
        (["--early_stopping", "0"], r"early_stopping=0 must be at least 1 epoch"),
        (["--name", "../mine"], r"--name '\.\./mine' is no name of a folder in --output "),
        (["--name", ""], r"--name '' is no name"),
        (["--trainer.max_epochs", "0"], r"trainer\.max_epochs=0 trains nothing; it must be above 0"),
        (["--trainer.max_steps", "0"], r"trainer\.max_steps=0 trains nothing"),
        (["--trainer.limit_train_batches", "0.0"], r"trainer\.limit_train_batches=0\.0 trains nothing"),
        (["--trainer.accumulate_grad_batches", "0"], r"trainer\.accumulate_grad_batches=0 must be at least 1"),
        (["--trainer.check_val_every_n_epoch", "0"], r"trainer\.check_val_every_n_epoch=0 must be at least 1"),
        (["--trainer.val_check_interval", "0"], r"trainer\.val_check_interval=0 must be above 0; limit_val_batches=0"),
        (["--trainer.gradient_clip_val", "-1"], r"trainer\.gradient_clip_val=-1.* must be at least 0"),
        (["--compile"], r"--compile needs a C\+\+ compiler such as g\+\+, and none is on the path"),
    ],
)
def test_what_cannot_work_is_refused(
    flags: list[str], sentence: str, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vit.train.start.shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=sentence):
        make(*flags)
    assert not list(tmp_path.glob("runs/*"))


def test_a_dry_run_takes_one_step_and_writes_no_model(make: Any) -> None:
    run = make("--trainer.fast_dev_run", "true")
    fit(run)
    assert run.trainer.global_step == 1
    assert not (run.folder / "model").exists()


def test_one_batch_is_learned_by_heart(make: Any) -> None:
    flags = ["--trainer.overfit_batches", "1", "--trainer.max_epochs", "80", "--data.batch_size", "16"]
    run = make(*flags, "--data.augmentation.shift", "0")
    metrics = fit(run)
    assert run.trainer.global_step == 80
    assert run.stopped_early is None
    assert metrics["train_acc"] == 1.0
    assert metrics["train_loss"] < 0.3  # of 10 classes, 2.3 by chance


@pytest.mark.parametrize(
    ("flags", "compiles"),
    [([], False), (["--compile"], True), (["--compile", "true"], True), (["--no_compile"], False)],
)
def test_compiling_is_switched_on_and_off_again(flags: list[str], compiles: bool, tiny_run: list[str]) -> None:
    assert Flags([*tiny_run, *flags]).config.compile == compiles
    assert not Flags([*tiny_run, *flags, "--compile", "false"]).config.compile


def test_a_path_works_from_anywhere_and_a_name_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("weights") == str(tmp_path / "weights")
    assert absolute("timm/vit_tiny_patch16_224") == "timm/vit_tiny_patch16_224"
    assert absolute(None) is None


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true"])
def test_class_weights_and_mixing_train_together(precision: str, make: Any) -> None:
    mixing = [
        "--data.augmentation.mixup",
        "0.8",
        "--data.augmentation.cutmix",
        "1.0",
        "--data.augmentation.mix_off_epochs",
        "1",
    ]
    others = ["--model.recipe.label_smoothing", "0.1", "--model.recipe.ema_decay", "0.9"]
    run = make(*mixing, *others, "--data.class_weights", "auto", "--trainer.precision", precision)
    seen: list[set[str]] = []

    class Names(L.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append({name for name in trainer.callback_metrics if name.startswith("train_acc")})

    run.trainer.callbacks.append(Names())
    metrics = fit(run)
    assert seen[0] == {"train_acc_mixed"}  # the last epoch mixes nothing
    assert "train_acc" in seen[1]
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())


@pytest.mark.parametrize("seed", ["-3", str(2**32)])
def test_a_seed_that_numpy_does_not_take_is_named(seed: str, make: Any) -> None:
    with pytest.raises(ValueError, match=rf"seed_everything={seed} must be from 0 to 4294967295"):
        make("--seed_everything", seed)
