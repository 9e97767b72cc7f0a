"""A plan is measured by a rehearsal that leaves nothing behind, and its arithmetic is right."""

import json
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from vit.cli import main
from vit.nn import ViTConfig
from vit.train import largest_batch, rehearsal
from vit.train import plan as planning
from vit.train.largest_batch import BatchLimit, Trial, find_largest_batch, limit_by
from vit.train.plan import plan
from vit.train.rehearsal import Clock
from vit.weights.description import count_flops


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that whatever is left behind is seen."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_plan_says_what_the_run_would_take_and_leaves_nothing(tiny_run: list[str], elsewhere: Path) -> None:
    found = plan([*tiny_run, "--trainer.max_epochs", "7"], largest_batch=False)
    assert (found.steps, found.epochs, found.batch_size, found.train_images) == (140, 7, 64, 1293)
    assert (found.device, found.precision, found.parameters, found.trainable) == ("cpu", "32-true", 7130, 7130)
    config = ViTConfig(image_size=8, patch_size=2, in_channels=1, embed_dim=16, depth=2, num_heads=2, num_classes=10)
    assert found.gflops == pytest.approx(count_flops(config) / 1e9)
    assert found.measured_batches == 40
    assert found.images_needed == pytest.approx(64 / found.step_seconds)
    a_run = 140 * (found.step_seconds + found.wait_seconds) + 7 * found.validation_seconds
    assert found.total_seconds == pytest.approx(a_run)
    assert min(found.step_seconds, found.validation_seconds, found.images_loaded) > 0
    assert found.peak_memory > 50 * 2**20  # torch alone takes more
    assert not list(elsewhere.iterdir())


def test_accumulated_batches_are_one_step(tiny_run: list[str], elsewhere: Path) -> None:
    found = plan(
        [*tiny_run, "--trainer.accumulate_grad_batches", "3", "--trainer.limit_train_batches", "6"], largest_batch=False
    )
    assert (found.steps, found.epochs) == (4, 2)  # 2 epochs of 6 batches
    assert found.total_seconds == pytest.approx(
        12 * (found.step_seconds + found.wait_seconds) + 2 * found.validation_seconds
    )


def test_a_few_batches_to_learn_by_heart_are_all_of_an_epoch(
    tiny_run: list[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    monkeypatch.setattr("vit.train.classifier.Classifier.on_validation_start", lambda _: passes.append(1))
    flags = ["--trainer.overfit_batches", "3", "--trainer.max_epochs", "7", "--data.batch_size", "16"]
    found = plan([*tiny_run, *flags], largest_batch=False)
    assert (found.steps, found.epochs) == (21, 7)  # of 3 batches, not of 80
    assert passes == []  # the rehearsal trains alone
    assert planning.limits({"overfit_batches": 3, "limit_train_batches": 5, "limit_val_batches": 0}) == (3, 3)
    assert planning.limits({"overfit_batches": 0.0, "limit_train_batches": 5, "limit_val_batches": 0}) == (5, 0)


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "steps"), [(5, -1, 50), (5, 7, 7), (5, 70, 50), (None, -1, 10_000), (-1, 30, 30)]
)
def test_the_number_of_steps_is_lightnings(max_epochs: int | None, max_steps: int, steps: int) -> None:
    assert planning._steps(max_epochs, max_steps, 10) == steps  # pyright: ignore


@pytest.mark.parametrize(("limit", "batches"), [(None, 20), (5, 5), (50, 20), (0.5, 10), (1.0, 20)])
def test_limits_are_numbers_of_batches_or_shares(limit: float | None, batches: int) -> None:
    assert planning._limited(limit, 20) == batches  # pyright: ignore


@pytest.mark.parametrize(
    ("interval", "every", "passes"),
    [
        (None, 1, 6),
        (None, 4, 1),  # after the fourth epoch
        (1.0, 2, 3),
        (0.25, 1, 24),
        (5, 1, 24),  # of 20 batches
        (8, 1, 12),  # after batches 8 and 16 of each epoch
        (50, None, 2),  # of 120 batches
    ],
)
def test_the_number_of_validations_is_lightnings(interval: float | None, every: int | None, passes: int) -> None:
    assert planning._validations(interval, every, 20, 6.0) == passes  # pyright: ignore


class FakeTrainer(L.Trainer):
    accumulate_grad_batches, should_stop = 1, False  # pyright: ignore

    def __init__(self) -> None: ...


def test_the_clock_leaves_the_first_steps_out_and_stops_when_it_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, steps = [0.5] * 60, [9.0] * 5 + [0.1, 0.3, 0.2] * 20
    moments = [0.0]
    for wait, step in zip(waits, steps, strict=False):
        moments += [moments[-1] + wait, moments[-1] + wait + step]
    given = iter(moments)
    monkeypatch.setattr(rehearsal, "now", lambda _: next(given))
    monkeypatch.setattr(rehearsal, "SECONDS", 1e9)
    clock: Any = Clock()
    trainer, module = FakeTrainer(), L.LightningModule()
    clock.on_train_start(trainer, module)
    while not trainer.should_stop:
        clock.on_train_batch_start(trainer, module, None, 0)
        clock.on_train_batch_end(trainer, module, None, None, 0)
    assert len(clock.steps) == 45
    assert clock.batch_seconds(1) == pytest.approx(0.2)
    assert clock.waits[1:] == pytest.approx([0.5] * 44)


def trials(*sizes_and_peaks: tuple[int, int], available: int, images: int = 10_000, gpu: bool = True) -> list[Trial]:
    return [Trial(size, peak, available, images, gpu) for size, peak in sizes_and_peaks]


@pytest.mark.parametrize(
    ("tried", "limit"),
    [
        ([], None),
        # 850 is more than eight tenths of 1,000
        (trials((64, 300), (128, 500), (256, 850), available=1000), BatchLimit(128, tried=True, by_images=False)),
        (trials((64, 300), available=1000), BatchLimit(64, tried=True, by_images=False)),  # the next one did not fit
        (trials((64, 950), available=1000), BatchLimit(0, tried=True, by_images=False)),
        (trials((64, 30), (128, 50), available=1000, images=200), BatchLimit(128, tried=True, by_images=True)),
        # 2 an image: 800 are to be had, 100 are used at 64, so that 414 fit, and of the doubles 256
        (trials((16, 4), (64, 100), available=1000, gpu=False), BatchLimit(256, tried=False, by_images=False)),
        (trials((16, 7), (64, 7), available=9, images=300, gpu=False), BatchLimit(256, tried=False, by_images=True)),
    ],
)
def test_the_largest_batch_follows_from_the_trials(tried: list[Trial], limit: BatchLimit | None) -> None:
    assert limit_by(tried) == limit


@pytest.mark.parametrize(
    ("free", "limit"), [(1_000_000, BatchLimit(256, tried=True, by_images=False)), (300, BatchLimit(128, True, False))]
)
def test_on_a_gpu_batches_are_doubled_until_one_does_not_fit(
    free: int, limit: BatchLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where 512 images are out of memory, or where 256 take more than eight tenths of it."""
    used = [0]

    def two_steps(run: Any, size: int, device: torch.device) -> None:
        if size >= 512:
            raise torch.OutOfMemoryError
        used[0] = size

    run = SimpleNamespace(
        trainer=SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda"))),
        datamodule=SimpleNamespace(train=range(5000)),
    )
    monkeypatch.setattr(largest_batch, "Rehearsal", lambda *_, **__: run)
    monkeypatch.setattr(largest_batch, "_two_steps", two_steps)
    monkeypatch.setattr(largest_batch, "free_bytes", lambda _: free)
    monkeypatch.setattr(largest_batch, "peak_memory", lambda _: used[0])
    ours, theirs = multiprocessing.Pipe(duplex=False)
    largest_batch._try_sizes([], 32, theirs)  # pyright: ignore
    answers: list[Trial] = []
    while ours.poll():
        answers.append(ours.recv())
    ours.close()
    theirs.close()
    assert limit_by(answers) == limit


@pytest.mark.slow  # a process that imports torch and lightning
def test_the_largest_batch_is_looked_for_in_another_process(tiny_run: list[str], elsewhere: Path) -> None:
    before = torch.get_rng_state()
    found = find_largest_batch(tiny_run, 64)
    assert found is not None
    assert (found.batch_size, found.tried) == (1024, False)  # of 1,293 images, and this model takes next to nothing
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(elsewhere.iterdir())


def test_plan_prints_a_table_or_json(tiny_run: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *tiny_run, "--largest-batch", "false"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("steps ") and "40 of 64 images, 2 epochs" in line for line in lines)
    assert any(line.startswith("time to finish") for line in lines)
    assert main(["plan", *tiny_run, "--largest-batch", "false", "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["steps"] == 40
    assert (values["largest_batch"], values["no_largest_batch"]) == (None, "not looked for")
    assert not list(elsewhere.iterdir())


def test_a_trial_that_fails_is_told_from_one_that_was_not_wanted(
    tiny_run: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "find_largest_batch", lambda *_: None)
    assert main(["plan", *tiny_run]) == 0
    assert "largest batch     not found: the process that tried was killed" in capsys.readouterr().out
    assert main(["plan", *tiny_run, "--largest-batch", "false"]) == 0
    assert "largest batch     not looked for\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model.vit.patch_size", "3"], "patch_size=3 does not divide image_size=8"),
        (["--trainer.max_epoch", "3"], "there is no flag --trainer.max_epoch; did you mean '--trainer.max_epochs'?"),
    ],
)
def test_what_cannot_be_trained_cannot_be_planned(
    flags: list[str], sentence: str, tiny_run: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *tiny_run, *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(elsewhere.iterdir())
