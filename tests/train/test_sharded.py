"""Weights split over two processes are trained as whole ones are by one process with twice the batch.

The two take over the checkpoint of one process, and one goes on from theirs, so that a single pair of processes, which
are dear, shows how they load, train, evaluate, save and export.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from vit.train.checkpoints import LAST, read_checkpoint
from vit.train.classifier import Classifier
from vit.train.run import Run, fit

pytestmark = pytest.mark.slow

FLAGS = [
    *("--config", str(Path(__file__).parents[2] / "configs" / "digits.yaml"), "--trainer.accelerator", "cpu"),
    *("--model.vit.embed_dim", "8", "--model.vit.depth", "2", "--model.vit.num_heads", "2"),
    *("--model.recipe.weight_decay", "5", "--model.recipe.ema_decay", "0.9", "--model.recipe.layer_decay", "0.5"),
    *("--trainer.gradient_clip_val", "0.1", "--trainer.limit_train_batches", "8", "--trainer.max_epochs", "100"),
    *("--trainer.accumulate_grad_batches", "2"),
    *("--data.augmentation.shift", "0", "--report", "false"),  # shifts are drawn by device
]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "fsdp", "--trainer.callbacks+=test_sharded.CountsItsPart"]


class CountsItsPart(L.Callback):
    """Each process writes how many numbers it holds, of how many there are: weights, their average, moments."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        assert pl_module.ema is not None
        moments = [each["exp_avg"] for each in trainer.optimizers[0].state.values()]
        tensors = [*pl_module.network.parameters(), *pl_module.ema.parameters(), *moments]
        assert all(isinstance(tensor, DTensor) for tensor in tensors)
        count = {
            "held": sum(tensor.to_local().numel() for tensor in tensors if isinstance(tensor, DTensor)),
            "of": sum(tensor.numel() for tensor in tensors),
        }
        (Path(trainer.default_root_dir) / f"part-{trainer.global_rank}.json").write_text(json.dumps(count))


def train(folder: Path, name: str, start: Path | None, steps: int) -> Path:
    """By one process, with a batch of 64; the run's folder."""
    on = [] if start is None else ["--resume", str(start)]
    flags = [*FLAGS, *on, "--trainer.max_steps", str(steps), "--data.batch_size", "64"]
    run = Run([*flags, "--name", name, "--output", str(folder)], epoch_lines=False)
    fit(run)
    return run.folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two runs that go on from the same four steps to the tenth: of one process, and of two."""
    folder = tmp_path_factory.mktemp("runs")
    start = train(folder, "start", None, 4) / "checkpoints" / LAST
    flags = [*FLAGS, *TWO, "--resume", str(start), "--trainer.max_steps", "10", "--data.batch_size", "32"]
    words = [sys.executable, "-m", "vit", "fit", *flags, "--name", "two", "--output", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return train(folder, "one", start, 10), folder / "two"


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    """But for the bias of the keys, to which softmax gives no gradient but rounding; AdamW makes whole steps of it."""
    assert one.keys() == two.keys()
    for name, expected in one.items():
        assert type(two[name]) is torch.Tensor, name
        parts = [0, 2] if name.endswith("qkv.bias") else [0, 1, 2]
        expected, found = (
            torch.cat([tensor.tensor_split(3)[part] for part in parts]) for tensor in (expected, two[name])
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_each_process_holds_a_part_of_every_tensor(runs: tuple[Path, Path]) -> None:
    first, second = (json.loads((runs[1] / f"part-{rank}.json").read_text()) for rank in (0, 1))
    assert first["held"] + second["held"] == first["of"] == second["of"]
    assert second["held"] > 0.4 * second["of"]


def test_weights_and_their_average_and_the_moments_are_saved_whole_and_as_one_process_has_them(
    runs: tuple[Path, Path],
) -> None:
    one, two = (read_checkpoint(run / "checkpoints" / LAST) for run in runs)
    assert_same(one["state_dict"], two["state_dict"])
    expected, found = one["optimizer_states"][0], two["optimizer_states"][0]
    assert expected["param_groups"] == found["param_groups"]  # which decay, how fast each layer learns
    assert {group["weight_decay"] for group in found["param_groups"]} == {0.0, 5.0}
    assert expected["state"].keys() == found["state"].keys()
    for number, moments in expected["state"].items():
        # moments, unlike AdamW's steps, show how much the gradients were clipped
        torch.testing.assert_close(found["state"][number], moments, rtol=1e-4, atol=1e-7)


def test_metrics_and_the_model_folder_are_those_of_one_process(runs: tuple[Path, Path]) -> None:
    one, two = (json.loads((run / "model" / "config.json").read_text())["provenance"]["last_epoch"] for run in runs)
    assert one.keys() >= {"train_loss", "val_loss", "val_acc_ema"}
    assert two == pytest.approx(one, rel=1e-4)
    assert_same(*(load_file(run / "model" / "model.safetensors") for run in runs))


def test_one_process_goes_on_from_the_checkpoint_of_two(runs: tuple[Path, Path], tmp_path: Path) -> None:
    on = [train(tmp_path, run.name, run / "checkpoints" / LAST, 14) for run in runs]
    assert_same(*(read_checkpoint(run / "checkpoints" / LAST)["state_dict"] for run in on))
