"""A run folder says what made it: command, seed, commit, versions, hardware, data."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from vit.data.sources import Labelled
from vit.train.run import Run, fit
from vit.train.signals import StopSignals
from vit.train.story import fingerprint, git_state, read_story


def test_run_json_tells_the_story(finished_run: Any) -> None:
    (entry,) = read_story(finished_run.folder)
    assert entry["command"].startswith("vit fit --config")
    assert (entry["seed"], entry["precision"], entry["devices"]) == (0, "32-true", 1)
    assert entry["versions"]["torch"] == version("torch")
    assert entry["hardware"]["threads"] == torch.get_num_threads()
    assert entry["data"]["classes"] == list("0123456789")
    parts = entry["data"]["parts"]
    assert {name: part["images"] for name, part in parts.items()} == {"train": 1293, "val": 144, "test": 360}
    assert all(sum(part["per_class"]) == part["images"] for part in parts.values())
    assert (entry["how"], entry["epochs"], entry["steps"]) == ("finished", 2, 40)
    assert entry["started"] <= entry["ended"]
    assert entry["last_epoch"]["val_acc"] == pytest.approx(finished_run.metrics["val_acc"], abs=1e-6)


def test_the_learning_rate_is_logged_once_an_epoch(finished_run: Any) -> None:
    header, *rows = [line.split(",") for line in (finished_run.folder / "metrics.csv").read_text().splitlines()]
    column = header.index("learning_rate")
    rates = [float(row[column]) for row in rows if row[column]]
    # after 20 of 40 steps, 4 of them warm-up: (1 + cos(pi 16 / 36)) / 2 of 3e-3; and the cosine's end
    assert rates == pytest.approx([3e-3 * 0.586824, 0.0], abs=1e-7)


def test_a_run_that_fails_says_how(tiny_run: list[str], tmp_path: Path) -> None:
    run = Run([*tiny_run, "--output", str(tmp_path), "--model.recipe.learning_rate", "1e30"], epoch_lines=False)
    with pytest.raises(ValueError, match="the loss is nan"):
        fit(run)
    (entry,) = read_story(run.folder)
    assert entry["how"].startswith("stopped: ")
    assert "the loss is nan" in entry["how"]


def test_a_second_start_in_the_same_folder_adds_an_entry(finished_run: Any, tmp_path: Path) -> None:
    from vit.train.story import RunStory

    folder = finished_run.copy(tmp_path / "run")
    story = RunStory(folder, "vit fit again", 7, StopSignals())
    story.entry = {"command": "vit fit again", "started": "later"}
    story._write()  # pyright: ignore
    assert [entry["command"] for entry in json.loads((folder / "run.json").read_text())][1:] == ["vit fit again"]


def test_a_fingerprint_changes_with_pixels_labels_names_and_sizes_and_not_with_the_place(
    folder_of_classes: Any, tmp_path: Path
) -> None:
    images, labels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2), torch.tensor([0, 1])
    of_pixels = fingerprint(Labelled(images, labels))
    assert of_pixels == fingerprint(Labelled(images.clone(), labels.clone()))
    assert of_pixels != fingerprint(Labelled(images + 1, labels))
    assert of_pixels != fingerprint(Labelled(images, labels.flip(0)))

    root = folder_of_classes({"train": ["cat", "dog"]})
    paths = sorted((root / "train").rglob("*.png"))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    of_files = fingerprint(Labelled(paths, labels))
    moved = (root / "train").rename(tmp_path / "elsewhere")
    paths = sorted(moved.rglob("*.png"))
    assert fingerprint(Labelled(paths, labels)) == of_files
    with paths[0].open("ab") as file:
        file.write(b"x")
    assert fingerprint(Labelled(paths, labels)) != of_files


def test_the_commit_is_that_of_the_folder_and_says_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    assert git_state(tmp_path) is None  # nothing committed
    (tmp_path / "train.py").write_text("a")
    git("add", "train.py")
    git("commit", "-m", "first")
    state = git_state(tmp_path)
    assert state is not None
    assert (len(state["commit"]), state["changed"]) == (40, False)
    (tmp_path / "notes.txt").write_text("not tracked")
    assert git_state(tmp_path) == state
    (tmp_path / "train.py").write_text("b")
    assert git_state(tmp_path) == {**state, "changed": True}
