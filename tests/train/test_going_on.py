"""A fine-tune is gone on with by its own run folder alone: the weights that it started from may be gone by then."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.test_resume import assert_same_run, break_off
from vit.train.checkpoints import LAST
from vit.train.run import Run, fit

SHORT = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2"]


@pytest.fixture
def fine_tune(finished_run: Any, tmp_path: Path) -> Callable[..., Run]:
    """Build a run that starts from weights, with nothing typed that follows from them; whether these stay there."""
    weights = tmp_path / "weights"
    data = ["--data.source", "digits", "--data.batch_size", "64", "--trainer.accelerator", "cpu"]
    learned = ["--model.recipe.ema_decay", "0.5", "--model.recipe.layer_decay", "0.75"]

    def fine_tune(name: str, *flags: str, gone: bool = False) -> Run:
        shutil.rmtree(weights, ignore_errors=True)
        if not gone:
            shutil.copytree(finished_run.model, weights)
        own = [*SHORT, "--output", str(tmp_path), "--name", name, "--model.pretrained", str(weights)]
        return Run([*data, *learned, *own, *flags], epoch_lines=False)

    return fine_tune


@pytest.mark.parametrize("tune", ["all", "last:1", "head", "lora"])
def test_a_fine_tune_goes_on_to_the_same_weights_where_those_it_started_from_are_gone(
    tune: str, fine_tune: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--model.tune", tune, "--model.vit.drop_rate", "0.1", "--data.crop_pct", "0.9"]
    fit(fine_tune("unbroken", *typed))
    break_off(fine_tune("it", *typed), "on_train_batch_start", 6)
    again = fine_tune("it", *typed, gone=True)
    said = capsys.readouterr().err
    assert "weights cannot be had now; the run goes on without it, and what is left out here is as " in said
    break_off(again, "on_train_batch_start", 4)
    fit(Run(["--resume", str(tmp_path / "it")], epoch_lines=False))  # whose config leaves nothing out
    assert capsys.readouterr().err == ""
    assert_same_run(tmp_path / "it", tmp_path / "unbroken")


def test_a_new_run_starts_from_the_checkpoint_of_a_fine_tune_whose_weights_are_gone(
    fine_tune: Callable[..., Run], tmp_path: Path
) -> None:
    break_off(fine_tune("it", "--data.crop_pct", "0.9"), "on_train_batch_start", 6)
    last = tmp_path / "it" / "checkpoints" / LAST
    run = fine_tune("new", "--resume", str(last), gone=True)
    assert (run.from_step, run.config.data.crop_pct, run.config.model.vit.embed_dim) == (6, 0.9, 16)
    fit(run)
    assert run.trainer.global_step == 12


def test_a_fine_tune_without_a_checkpoint_needs_its_weights(fine_tune: Callable[..., Run], tmp_path: Path) -> None:
    break_off(fine_tune("it"), "on_train_batch_start", 2, how="cut")
    with pytest.raises(FileNotFoundError, match=r"model folder .*weights does not exist"):
        fine_tune("it", gone=True)
    with pytest.raises(FileNotFoundError, match=r"model folder .*weights does not exist"):
        Run(["--resume", str(tmp_path / "it")])
    fit(fine_tune("it"))


def test_other_weights_than_those_it_started_from_must_be_there(fine_tune: Callable[..., Run], tmp_path: Path) -> None:
    break_off(fine_tune("it"), "on_train_batch_start", 2)
    with pytest.raises(FileNotFoundError, match=r"model folder .*elsewhere does not exist"):
        Run(["--resume", str(tmp_path / "it"), "--model.pretrained", str(tmp_path / "elsewhere")])
