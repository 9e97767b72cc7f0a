"""A run that is stopped or killed anywhere and gone on with is the unbroken run, to the bit."""

import csv
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from vit.data.decode import UnreadableImageError
from vit.train.checkpoints import FINISHED, LAST, PREVIOUS, read_checkpoint
from vit.train.export import keeper_of_best
from vit.train.flags import seconds
from vit.train.folder import locked
from vit.train.run import Run, fit
from vit.train.signals import TERMINATED, Stopped

SMALL = [
    *("--model.vit.embed_dim", "8", "--model.vit.depth", "1", "--model.vit.drop_rate", "0.1"),
    *("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2"),
]
"""Three epochs of four steps and two batches of validation, with dropout and random shifts."""


class At(L.Callback):
    """Does something in the middle of a hook of Lightning's, when that is called for the nth time."""

    def __init__(self, hook: str, count: int, act: Callable[[], object]) -> None:
        self.count, self.act = count, act
        setattr(self, hook, self.called)

    def called(self, *_: object, **__: object) -> None:
        self.count -= 1
        if self.count == 0:
            self.act()


class PowerCutError(BaseException):
    """Nothing is saved because of this."""


def power_cut() -> None:
    raise PowerCutError


@pytest.fixture
def start(tiny_run: list[str], tmp_path: Path) -> Callable[..., Run]:
    """Build a run of the small kind, in a folder of the given name."""

    def start(name: str, *flags: str, config: bool = True) -> Run:
        given = [*tiny_run, *SMALL] if config else []
        return Run([*given, "--output", str(tmp_path), "--name", name, *flags], epoch_lines=False)

    return start


def break_off(run: Run, hook: str, count: int, how: str = "stop") -> None:
    """Train until a hook is called for the nth time, and end there: told to stop, or cut off."""

    def stop() -> None:
        run.signals.wish = TERMINATED

    run.trainer.callbacks.insert(0, At(hook, count, stop if how == "stop" else power_cut))  # pyright: ignore
    with pytest.raises(Stopped if how == "stop" else PowerCutError):
        fit(run)


def assert_same_run(one: Path, other: Path) -> None:
    """All that two runs left is the same, but for the time it took and the names of their folders."""
    for name in ("metrics.csv", "model/model.safetensors", f"checkpoints/{FINISHED}"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert left_by(one) == left_by(other)
    for name in {"best.ckpt", LAST} & {path.name for path in (one / "checkpoints").iterdir()}:
        first, second = (dict(flat(read_checkpoint(folder / "checkpoints" / name))) for folder in (one, other))
        assert first.keys() == second.keys()
        for key, value in first.items():
            if key.endswith(("seconds", "_path", "dirpath")) or any(part in key for part in NOT_COMPARED):
                continue
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, second[key]), (name, key)
            else:
                assert value == second[key], (name, key)


def left_by(run: Path) -> set[str]:
    """Names of files, but for those that say how often the run was started."""
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(("tensorboard/events", "checkpoints/previous"))}


NOT_COMPARED = ("best_k_models", "random.python")
"""Paths, and the numbers from which beartype, which checks shapes in tests, draws the items that it looks at."""


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if "best_k_models" not in name else name)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{name}.{number}")
    else:
        yield name, value


UNBROKEN: dict[tuple[str, ...], Path] = {}


@pytest.fixture
def unbroken(start: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of an unbroken run with these flags, trained once for all tests."""

    def unbroken(*flags: str) -> Path:
        if flags not in UNBROKEN:
            run = start("unbroken", "--output", str(tmp_path_factory.mktemp("unbroken")), *flags)
            fit(run)
            UNBROKEN[flags] = run.folder
        return UNBROKEN[flags]

    return unbroken


MOMENTS = [
    *(("on_train_batch_start", count) for count in (2, 4, 5)),  # within an epoch, in its last step, in the first
    ("on_validation_batch_start", 6),  # the last of an epoch; two batches were looked at before training
    ("on_train_epoch_end", 2),
]


@pytest.mark.parametrize(("hook", "count"), MOMENTS)
def test_a_run_that_was_told_to_stop_goes_on_as_if_it_had_not(
    hook: str, count: int, start: Callable[..., Run], unbroken: Callable[..., Path]
) -> None:
    run = start("stopped")
    break_off(run, hook, count)
    saved = read_checkpoint(run.folder / "checkpoints" / LAST)
    assert saved["global_step"] == run.trainer.global_step  # the exact step
    fit(start("stopped"))
    assert_same_run(run.folder, unbroken())


@pytest.mark.parametrize(("hook", "count"), [*MOMENTS, ("on_train_epoch_start", 2), ("on_train_epoch_start", 3)])
def test_so_does_a_run_whose_end_is_counted_in_steps(
    hook: str, count: int, start: Callable[..., Run], unbroken: Callable[..., Path]
) -> None:
    in_steps = ["--trainer.max_epochs", "-1", "--trainer.max_steps", "10"]
    run = start("stopped", *in_steps)
    break_off(run, hook, count)
    fit(start("stopped", *in_steps))
    assert_same_run(run.folder, unbroken(*in_steps))


@pytest.mark.parametrize(
    ("every", "hook", "count"),
    [
        ("10m", "on_train_batch_start", 2),
        ("10m", "on_train_batch_start", 7),
        ("10m", "on_validation_batch_start", 6),
        ("10m", "on_train_epoch_end", 3),
        ("10m", "on_fit_end", 1),
        ("0.001s", "on_train_batch_start", 7),
        ("0.001s", "on_train_batch_start", 9),
    ],
)
def test_a_run_that_was_cut_off_goes_on_from_its_last_checkpoint_as_if_it_had_not(
    every: str, hook: str, count: int, start: Callable[..., Run], unbroken: Callable[..., Path]
) -> None:
    run = start("cut", "--checkpoint-every", every)
    break_off(run, hook, count, how="cut")
    fit(start("cut"))
    assert_same_run(run.folder, unbroken())


def test_a_run_that_is_killed_again_and_again_ends_as_the_unbroken_one(
    start: Callable[..., Run], unbroken: Callable[..., Path], copy_of_process: Callable[..., Any], tmp_path: Path
) -> None:
    """By `kill -9`; scripts/kill.py does it at moments that nobody chose."""
    moments = [("on_before_optimizer_step", 2), ("on_save_checkpoint", 2), ("fsync", 2), ("on_validation_end", 1)]
    for hook, count in moments:

        def train(say: Callable[[str], object], hook: str = hook, count: int = count) -> None:
            def here(*_: object) -> None:
                say("here")
                time.sleep(600)

            run = start("killed", "--checkpoint-every", "0.001s", "--trainer.num_sanity_val_steps", "0")
            at = At(hook, count, here)
            run.trainer.callbacks.append(at)  # pyright: ignore
            if hook == "fsync":  # all is in the temporary file, and nothing under the final name
                os.fsync = at.called
            fit(run)

        process = copy_of_process(train)
        assert process.said.readline() == "here\n"
        process.kill()
    assert read_checkpoint(tmp_path / "killed" / "checkpoints" / LAST)["global_step"] >= 3
    fit(start("killed"))
    assert_same_run(tmp_path / "killed", unbroken())


def test_what_stops_the_reading_of_images_costs_no_step(
    start: Callable[..., Run], unbroken: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("it")
    reader = type(run.datamodule.train_dataloader().reader)
    read = reader.read

    def fails(self: Any, order: Any, epoch: int, batches: int) -> Iterator[Any]:
        for number, batch in enumerate(read(self, order, epoch, batches), batches):
            if (epoch, number) == (1, 2):
                raise UnreadableImageError("7.png: not an image, or damaged beyond recognition.")
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(reader, "read", fails)
        with pytest.raises(UnreadableImageError):
            fit(run)
    assert read_checkpoint(run.folder / "checkpoints" / LAST)["global_step"] == 6
    fit(start("it"))
    assert_same_run(run.folder, unbroken())


def test_a_disk_that_is_full_stops_the_run_in_a_sentence_and_later_it_goes_on(
    start: Callable[..., Run], unbroken: Callable[..., Path]
) -> None:
    run, before = start("it"), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # writing more fails, as on a full disk

    run.trainer.callbacks.append(At("on_train_batch_start", 6, fill))  # pyright: ignore
    try:
        with pytest.raises(
            OSError, match=r"the disk is full: checkpoint .*last\.ckpt needs .* MB, .* MB are free; older"
        ):
            fit(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(run.folder / "checkpoints" / LAST)["global_step"] == 4  # of the end of the first epoch
    fit(start("it"))
    assert_same_run(run.folder, unbroken())


VARIANTS = {
    "accumulated gradients": ["--trainer.accumulate_grad_batches", "3"],
    "averaged weights": ["--model.recipe.ema_decay", "0.9"],
    "several validations an epoch": ["--trainer.val_check_interval", "2"],
    "no validation": ["--trainer.limit_val_batches", "0", "--export", "last"],
    "validation now and then": ["--trainer.check_val_every_n_epoch", "2"],
    "mixed images": ["--data.augmentation.mixup", "0.5"],
    "every step logged": ["--trainer.log_every_n_steps", "1"],
    "a worker": ["--data.num_workers", "1"],
}


@pytest.mark.slow  # eight kinds of run, each started three times
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_however_it_trains(variant: str, start: Callable[..., Run], unbroken: Callable[..., Path]) -> None:
    flags = VARIANTS[variant]
    run = start("first", *flags)
    break_off(run, "on_train_batch_start", 3)
    again = start("first", *flags)
    break_off(again, "on_train_batch_start", 4, how="cut")
    fit(start("first", *flags))
    assert_same_run(run.folder, unbroken(*flags))


def test_a_time_limit_ends_a_run_cleanly_and_more_time_makes_it_the_unbroken_run(
    start: Callable[..., Run], unbroken: Callable[..., Path]
) -> None:
    run = start("timed", "--max-time", "0.000001s")
    fit(run)
    assert run.trainer.global_step == 1
    assert run.time_is_up
    assert (run.folder / "model" / "model.safetensors").is_file()
    assert "val_acc" in (run.folder / "metrics.csv").read_text()  # of the part of the epoch that there was
    with pytest.raises(ValueError, match=r"has been trained for .* s, as long as --max-time 0\.000001s allows"):
        start("timed", "--max-time", "0.000001s")
    fit(start("timed", "--max-time", "1h"))
    assert_same_run(run.folder, unbroken())


@pytest.fixture
def stopped(start: Callable[..., Run]) -> Path:
    run = start("it")
    break_off(run, "on_train_batch_start", 2)
    return run.folder


def test_another_config_is_refused_with_what_differs_unless_it_is_asked_for(
    stopped: Path, start: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["--model.recipe.learning_rate", "0.5", "--data.num_workers", "0"]
    with pytest.raises(
        FileExistsError, match=r"another config: model\.recipe\.learning_rate 0\.003 there, 0\.5 here; to"
    ):
        start("it", *other)
    run = start("ignored", "--resume", str(stopped), *other)
    assert run.folder == stopped
    assert "learning_rate 0.003 there, 0.5 here" in capsys.readouterr().err
    assert "0.003" in (stopped / "config-1.yaml").read_text()
    assert "0.5" in (stopped / "config.yaml").read_text()


def test_a_run_folder_alone_says_everything(stopped: Path, unbroken: Callable[..., Path]) -> None:
    fit(Run(["--resume", str(stopped)], epoch_lines=False))
    assert_same_run(stopped, unbroken())
    with pytest.raises(
        FileExistsError, match=r"is finished \(12 steps, 3 epochs\); to train it for longer say --resume"
    ):
        Run(["--resume", str(stopped)])


@pytest.fixture
def finished(start: Callable[..., Run]) -> Path:
    run = start("done")
    fit(run)
    return run.folder


def epoch_lines(text: str) -> list[str]:
    return [line.partition("  ")[0] for line in text.splitlines() if line.startswith("epoch ")]


@pytest.mark.parametrize("longer", [[], ["--trainer.max_steps", "16"]], ids=["epochs", "steps"])
def test_a_finished_run_that_is_trained_for_longer_repeats_nothing(
    longer: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.csv").read_text()
    run = Run(["--resume", str(finished), "--trainer.max_epochs", "4", *longer])
    fit(run)
    assert epoch_lines(capsys.readouterr().out) == ["epoch 4/4"]
    assert (run.from_step, run.trainer.global_step) == (12, 16)
    rows = list(csv.DictReader((finished / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["val_acc"]] == [3, 7, 11, 15]
    assert (finished / "metrics.csv").read_text().startswith(before)


@pytest.mark.parametrize(
    ("flag", "limit", "done"),
    [("max_epochs", "3", "3 epochs"), ("max_epochs", "1", "3 epochs"), ("max_steps", "5", "12 steps")],
)
def test_an_end_that_lies_behind_a_finished_run_is_refused_and_changes_nothing(
    flag: str, limit: str, done: str, finished: Path
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    more = ["--trainer.max_epochs", "9"] if flag == "max_steps" else []
    sentence = rf"is finished|has {done} behind it already; trainer\.{flag}={limit} trains nothing more"
    with pytest.raises((ValueError, FileExistsError), match=sentence):
        Run(["--resume", str(finished), *more, f"--trainer.{flag}", limit])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_run_whose_checkpoints_were_deleted_is_not_trained_over(finished: Path, start: Callable[..., Run]) -> None:
    shutil.rmtree(finished / "checkpoints")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=r"done has model but no last\.ckpt to go on from, .* another --name"):
        start("done")
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_start_that_was_killed_before_its_first_checkpoint_is_said_to_start_anew(
    start: Callable[..., Run], unbroken: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("it")
    break_off(run, "on_train_batch_start", 3, how="cut")
    (run.folder / "metrics.csv").write_text("epoch,learning_rate,step\n0,0.1,1\n0,0.")  # cut off in a row
    fit(start("it"))
    said = "it has no checkpoint yet: it starts from its beginning, and what its metrics.csv has is written anew"
    assert said in capsys.readouterr().err
    assert_same_run(run.folder, unbroken())


def test_a_checkpoint_of_another_model_is_refused_before_data_is_loaded(
    stopped: Path, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded() -> None:
        raise AssertionError("data was loaded")

    monkeypatch.setattr("sklearn.datasets.load_digits", loaded)
    with pytest.raises(ValueError, match=r"last\.ckpt is a checkpoint of another model: vit\.depth 1 there, 3 here"):
        start("new", "--resume", str(stopped / "checkpoints" / LAST), "--model.vit.depth", "3")


def test_a_start_that_was_killed_before_it_wrote_anything_is_made_anew(
    start: Callable[..., Run], unbroken: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "it").mkdir()
    fit(start("it"))
    assert_same_run(tmp_path / "it", unbroken())


def test_a_damaged_last_checkpoint_is_said_and_the_one_before_it_gone_on_from(
    start: Callable[..., Run], unbroken: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("it", "--checkpoint-every", "0.001s")
    break_off(run, "on_train_batch_start", 7)
    last = run.folder / "checkpoints" / LAST
    last.write_bytes(last.read_bytes()[:-100])
    again = start("it")
    assert again.checkpoint == last.with_name(PREVIOUS)
    assert "bytes) is damaged or not a checkpoint. Going on from" in capsys.readouterr().err
    fit(again)
    assert_same_run(run.folder, unbroken())


def test_the_best_epoch_stays_where_the_folder_has_a_relative_name(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--output", "runs", "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "12"]
    break_off(start("it", *flags), "on_train_batch_start", 15)
    first = read_checkpoint("runs/it/checkpoints/best.ckpt")
    run = start("it", *flags)
    fit(run)  # validates once more, and better
    best = keeper_of_best(run.trainer)
    assert best is not None
    assert best.best_model_score > best_score(first)  # pyright: ignore
    assert read_checkpoint("runs/it/checkpoints/best.ckpt")["global_step"] == 24 > first["global_step"]


def best_score(checkpoint: dict[str, Any]) -> float:
    """Of Lightning's keeper of the best epoch."""
    (score,) = [state["best_model_score"] for key, state in checkpoint["callbacks"].items() if "Checkpoint" in key]
    return float(score)


def test_a_folder_in_which_a_process_trains_is_refused_to_others(
    stopped: Path, copy_of_process: Callable[..., Any]
) -> None:
    def train(say: Callable[[str], object]) -> None:
        with locked(stopped):
            say("locked")
            time.sleep(600)

    other = copy_of_process(train)
    assert other.said.readline() == "locked\n"
    config = (stopped / "config.yaml").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError, match=rf"is being trained in now, by process {other.pid}; stop that first"):
        Run(["--resume", str(stopped), "--trainer.max_epochs", "9"])
    assert (stopped / "config.yaml").read_text(encoding="utf-8") == config
    other.kill()
    fit(Run(["--resume", str(stopped)], epoch_lines=False))  # the lock went with the process that was killed


def test_random_numbers_go_on_from_where_they_stood() -> None:
    import random

    import numpy as np

    from vit.train.sums import random_state, set_random_state

    state = random_state()
    first = (torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.gauss() for _ in range(3)])  # noqa: NPY002
    set_random_state(state)
    assert first == (torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.gauss() for _ in range(3)])  # noqa: NPY002


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("90", 90), ("10m", 600), ("10min", 600), ("1h30m", 5400)])
def test_times_are_read(text: str, expected: float) -> None:
    assert seconds("max_time", text) == expected


@pytest.mark.parametrize("text", ["soon", "", "0s", "-3m", "1m1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"max_time=.* is not a time above 0; 90s, 10m, 1h30m and 2d are"):
        seconds("max_time", text)


def test_the_story_of_a_run_says_from_which_step_each_start_went_on(stopped: Path, start: Callable[..., Run]) -> None:
    from vit.train.story import read_story

    fit(start("it"))
    assert [entry["from_step"] for entry in read_story(stopped)] == [0, 2]
