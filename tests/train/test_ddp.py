"""Two processes train as one does with twice the batch, by one folder, and stop together."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # fresh processes that import torch

VIT = [sys.executable, "-m", "vit"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vit"]
SHORT = ["--trainer.limit_train_batches", "4", "--data.augmentation.shift", "0"]  # shifts are drawn by device
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run(command: list[str], folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "fit", *flags, "--output", str(folder)], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.parametrize("command", [VIT, TORCHRUN], ids=["vit", "torchrun"])
def test_two_processes_train_as_one_with_twice_the_batch(
    command: list[str], tiny_run: list[str], tmp_path: Path
) -> None:
    one = run(VIT, tmp_path, *tiny_run, *SHORT, "--name", "one", "--data.batch_size", "64")
    assert one.returncode == 0, one.stderr
    two = run(command, tmp_path, *tiny_run, *SHORT, *TWO, "--name", "two", "--data.batch_size", "32")
    assert two.returncode == 0, two.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}  # one folder a run
    assert two.stdout.count("images to train on") == 1
    first, second = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(first) == len(second)
    for expected, found in zip(first, second, strict=True):
        for name, value in expected.items():  # sums in another order differ in the last digits
            assert (value == found[name] == "") or float(found[name]) == pytest.approx(float(value), rel=1e-4), name
