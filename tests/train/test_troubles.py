"""What training fails of is said in a sentence that names what to change; what would fail later is refused before."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vit.train.run import Run, fit
from vit.train.troubles import in_a_sentence


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "lower data.batch_size, now 64"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "lower data.batch_size, now 64"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "lower data.num_workers, now 3"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "shared memory (/dev/shm)"),
        (
            RuntimeError("DataLoader timed out after 300 seconds"),
            "is the disk or network drive of the data still there",
        ),
    ],
)
def test_the_sentence_names_what_to_change(error: RuntimeError, sentence: str) -> None:
    explained = in_a_sentence(error, batch_size=64, num_workers=3)
    assert explained is not None
    assert sentence in str(explained)
    assert in_a_sentence(RuntimeError("our own mistake"), 64, 3) is None


def test_a_callback_that_watches_what_is_never_logged_is_refused(tiny_run: list[str], tmp_path: Path) -> None:
    flags = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val_accuracy"]
    with pytest.raises(
        ValueError, match=r"EarlyStopping\.monitor=val_accuracy is never logged; did you mean 'val_acc'"
    ):
        Run([*tiny_run, "--output", str(tmp_path), *flags])
    assert not list(tmp_path.iterdir())


def test_a_dry_run_keeps_nothing(tiny_run: list[str], tmp_path: Path) -> None:
    run = Run([*tiny_run, "--output", str(tmp_path), "--trainer.fast_dev_run", "true"], epoch_lines=False)
    fit(run)
    assert run.trainer.global_step == 1
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_first_step_leaves_no_folder(tiny_run: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    run = Run([*tiny_run, "--output", str(tmp_path)], epoch_lines=False)
    monkeypatch.setattr(run.model, "training_step", lambda *_: torch.zeros(0)[1])
    with pytest.raises(IndexError):
        fit(run)
    assert not list(tmp_path.iterdir())


def test_without_validation_it_is_said_that_the_last_epoch_is_exported(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "0", "--export", "best"]
    run = Run([*tiny_run, "--output", str(tmp_path), *short], epoch_lines=False)
    assert "there is no best epoch; the last epoch's weights are exported" in capsys.readouterr().err
    fit(run)
    assert (run.folder / "model").is_dir()
