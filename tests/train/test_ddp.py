"""Two processes train as one does with twice the batch, by one folder, and stop together."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vit.train.checkpoints import LAST, read_checkpoint

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


def test_a_signal_to_the_first_of_two_processes_stops_both_after_the_same_step(
    tiny_run: list[str], tmp_path: Path
) -> None:
    flags = [*tiny_run, *TWO, "--trainer.max_epochs", "10000", "--output", str(tmp_path), "--name", "it"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    training = subprocess.Popen(
        [*VIT, "fit", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert training.stdout is not None
    while not training.stdout.readline().startswith("epoch 1/"):
        assert training.poll() is None
    os.kill(training.pid, signal.SIGTERM)
    _, said = training.communicate(timeout=300)
    assert training.returncode == 143, said
    assert said.count("to go on:  vit fit --resume") == 1
    step = read_checkpoint(tmp_path / "it" / "checkpoints" / LAST)["global_step"]
    on = run(VIT, tmp_path, "--resume", str(tmp_path / "it"), "--trainer.max_steps", str(step + 1))
    assert on.returncode == 0, on.stderr
    assert "going on from" in on.stdout
