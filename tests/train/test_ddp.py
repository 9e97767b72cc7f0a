"""Two processes train as one does with twice the batch, by one folder, and stop together.

Processes that import torch and lightning are dear: two trainings are started for all that is shown here.
"""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file, save_file

from vit.train.checkpoints import LAST, read_checkpoint
from vit.train.classifier import Classifier
from vit.train.run import Run, fit
from vit.train.signals import TERMINATED, Stopped

pytestmark = pytest.mark.slow

VIT = [sys.executable, "-m", "vit"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vit"]
FLAGS = [
    *("--config", str(Path(__file__).parents[2] / "configs" / "digits.yaml"), "--trainer.accelerator", "cpu"),
    *("--model.vit.embed_dim", "8", "--model.vit.depth", "1", "--model.vit.num_heads", "2"),
    *("--trainer.limit_train_batches", "4", "--trainer.max_epochs", "10000", "--model.recipe.warmup", "0"),
    *("--model.recipe.ema_decay", "0.9", "--data.augmentation.shift", "0"),  # shifts are drawn by device
]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.callbacks+=test_ddp.KeepsAverages"]


class KeepsAverages(L.Callback):
    """Each process writes its average of the weights after the first epoch."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0 and not trainer.sanity_checking:
            assert isinstance(pl_module, Classifier)
            assert pl_module.ema is not None
            path = Path(trainer.default_root_dir) / f"average-{trainer.global_rank}.safetensors"
            save_file(pl_module.ema.state_dict(), path)


class StopAfter(L.Callback):
    """Ends the training after one epoch, as a signal does."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_epoch_end(self, *_: object) -> None:
        self.run.signals.wish = TERMINATED


def start(command: list[str], folder: Path, *flags: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    words = [*command, "fit", *flags, "--output", str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_rows(one: list[dict[str, str]], two: list[dict[str, str]]) -> None:
    assert len(one) == len(two) > 0
    for expected, found in zip(one, two, strict=True):
        for name, value in expected.items():  # sums in another order differ in the last digits
            assert (value == found[name] == "") or float(found[name]) == pytest.approx(float(value), rel=1e-4), name


def assert_same_weights(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    """But for the bias of the keys: it shifts all scores of a query alike, so softmax gives it no gradient but
    rounding, of which AdamW makes whole steps."""
    assert one.keys() == two.keys()
    for name, weights in one.items():
        parts = torch.tensor_split(torch.stack([weights, two[name]], dim=-1), 3)
        expected, found = torch.cat(parts[::2] if name.endswith("qkv.bias") else parts).unbind(-1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of a run of two processes of which the first was told to stop after an epoch, and what it printed."""
    folder = tmp_path_factory.mktemp("two")
    flags = [*FLAGS, *TWO, "--data.batch_size", "32", "--name", "it"]
    training = start(VIT, folder, *flags)
    assert training.stdout is not None
    printed = ""
    while "epoch 1/" not in printed:
        assert training.poll() is None
        printed += training.stdout.readline()
    os.kill(training.pid, signal.SIGTERM)
    _, said = training.communicate(timeout=300)
    assert training.returncode == 143, said
    return folder / "it", said


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first epoch of the same run by one process with twice the batch."""
    folder = tmp_path_factory.mktemp("one")
    run = Run([*FLAGS, "--data.batch_size", "64", "--output", str(folder)], epoch_lines=False)
    run.trainer.callbacks[:0] = [KeepsAverages(), StopAfter(run)]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Stopped):
        fit(run)
    return run.folder


def test_a_signal_to_the_first_of_two_processes_stops_both_after_the_same_step(stopped: tuple[Path, str]) -> None:
    folder, said = stopped
    assert said.count("to go on:  vit fit --resume") == 1
    saved = read_checkpoint(folder / "checkpoints" / LAST)
    assert f"step {saved['global_step']:,} is saved" in said
    assert len(saved["plain_vit"]["processes"]) == 2


def test_two_processes_train_as_one_with_twice_the_batch(stopped: tuple[Path, str], alone: Path) -> None:
    one, two = ([row for row in rows(run) if row["epoch"] == "0"] for run in (alone, stopped[0]))
    assert {name for row in one for name in row} >= {"train_loss", "train_acc", "val_loss", "val_acc_ema"}
    assert_same_rows(one, two)


def test_the_average_of_the_weights_is_the_same_in_both_processes_and_in_one(
    stopped: tuple[Path, str], alone: Path
) -> None:
    first, second = (load_file(stopped[0] / f"average-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(weights, second[name]) for name, weights in first.items())
    assert_same_weights(load_file(alone / "average-0.safetensors"), first)


def test_a_new_run_of_two_by_torchrun_goes_on_in_one_folder_as_one_process_does(
    stopped: tuple[Path, str], tmp_path: Path
) -> None:
    last = stopped[0] / "checkpoints" / LAST
    steps = str(read_checkpoint(last)["global_step"] + 6)  # to the end of the epoch, and into the next
    on = [*FLAGS, "--resume", str(last), "--trainer.max_steps", steps, "--export", "last"]
    training = start(TORCHRUN, tmp_path, *on, *TWO, "--data.batch_size", "32", "--name", "two")
    printed, said = training.communicate(timeout=300)
    assert training.returncode == 0, said
    assert printed.count("images to train on") == printed.count("going on from") == 1
    fit(Run([*on, "--data.batch_size", "64", "--name", "one", "--output", str(tmp_path)], epoch_lines=False))
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}  # one folder a run
    assert_same_weights(*(load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")))
