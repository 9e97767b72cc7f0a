"""One recipe with several seeds: each is a run of its own, and what was killed is gone on with."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from vit.cli import main
from vit.train.run import Run
from vit.train.seeds import FIGURES, runs_of_seeds, spread
from vit.train.signals import Stopped

QUICK = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]


@pytest.fixture
def train(tiny_run: list[str], tmp_path: Path) -> Any:
    def train(*flags: str) -> int:
        return main(["fit", *tiny_run, *QUICK, "--report", "false", "--output", str(tmp_path), "--name", "s", *flags])

    return train


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "seeds.json").read_text())


def test_each_seed_is_a_run_and_their_spread_is_shown(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--seeds", "2", "--seed_everything", "5") == 0
    printed = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"seeds.json", "seed-5", "seed-6"}
    record = read(tmp_path / "s")
    assert record["seeds"] == [5, 6]
    assert "--seeds 2" in record["command"]
    accuracies = [json.loads((tmp_path / "s" / f"seed-{n}" / "validation.json").read_text())["val_acc"] for n in (5, 6)]
    assert [row["top_1"] for row in record["validation"]] == accuracies
    assert f"{100 * statistics.mean(accuracies):.2f} %" in printed
    assert record["validation"][0]["nll"] != record["validation"][1]["nll"]
    assert "test" not in record

    assert main(["test", str(tmp_path / "s")]) == 0
    printed = capsys.readouterr().out
    tested = read(tmp_path / "s")["test"]
    assert [row["images"] for row in tested] == [360, 360]
    assert all(len(json.loads((tmp_path / "s" / f"seed-{n}" / "test.json").read_text())) == 1 for n in (5, 6))
    assert "test figures of 360 images" in printed
    assert f"{100 * statistics.stdev([row['top_1'] for row in tested]):.2f} %" in printed


def test_finished_seeds_are_not_trained_again_and_missing_ones_are(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--seeds", "2") == 0
    folder = tmp_path / "s"
    weights = (folder / "seed-0" / "model" / "model.safetensors").stat().st_mtime_ns
    for path in sorted((folder / "seed-1").rglob("*"), reverse=True):  # as if it had not been started
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "seed-1").rmdir()
    assert runs_of_seeds(str(folder)) == [(0, folder / "seed-0")]
    assert train("--seeds", "3") == 0
    assert f"{folder / 'seed-0'} is finished already" in capsys.readouterr().out
    assert (folder / "seed-0" / "model" / "model.safetensors").stat().st_mtime_ns == weights
    assert [row["seed"] for row in read(folder)["validation"]] == [0, 1, 2]


def test_a_stop_says_how_to_go_on_with_all_seeds(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(run: Run) -> dict[str, float]:
        raise Stopped(143, "by SIGTERM")

    monkeypatch.setattr("vit.cli.fit.fit", stop)
    assert train("--seeds", "2") == 143
    said = capsys.readouterr().err
    assert said == (
        f"stopped by SIGTERM\nto go on with all 2 seeds:  the same command, with --output {tmp_path} --name s\n"
    )


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--seeds", "0"], "--seeds 0 must be at least 1."),
        (["--seeds", "2", "--resume", "x"], "--resume is for one run; the same --name goes on with the unfinished"),
        (["--seeds", "2", "--seed_everything", "true"], "--seeds counts from --seed_everything, which must be a"),
        (["--seeds", "2", "--trainer.fast_dev_run", "true"], "trainer.fast_dev_run keeps none; try one seed dry."),
        (["--seeds", "2", "--data.batch_size", "5000"], "batch_size=5000 is more than the 1293 training images"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_and_nothing_is_made(
    flags: list[str], sentence: str, train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*flags) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_seeds_of_another_config_are_not_set_beside_these(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--seeds", "2") == 0
    assert train("--seeds", "3", "--model.recipe.learning_rate", "0.1") == 2
    assert (
        "was trained with another config: model.recipe.learning_rate 0.003 there, 0.1 here" in capsys.readouterr().err
    )
    assert not (tmp_path / "s" / "seed-2").exists()


def test_the_folder_of_one_run_is_not_taken_for_several(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    assert train("--seeds", "2") == 2
    assert "exists already; choose another --name" in capsys.readouterr().err
    assert runs_of_seeds(str(tmp_path / "s")) == []


def test_the_spread_is_mean_and_sample_standard_deviation() -> None:
    rows = [dict.fromkeys(FIGURES, value) for value in (1.0, 3.0)]
    assert spread(rows)["top_1"] == (2.0, pytest.approx(2**0.5))
    assert spread(rows[:1])["ece"] == (1.0, 0.0)
