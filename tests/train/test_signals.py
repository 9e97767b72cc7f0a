"""Signals stop a run after the step it is in, with its state saved and the command that goes on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest

from vit.cli import main
from vit.train.checkpoints import LAST, read_checkpoint
from vit.train.run import Run
from vit.train.signals import Stopped, StopSignals
from vit.train.story import read_story

SHORT = ["--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "1"]


class SendAtStep(L.Callback):
    """Sends this process signals in the middle of a step."""

    def __init__(self, step: int, *numbers: signal.Signals) -> None:
        self.step, self.numbers = step, numbers

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch, tiny_run: list[str], tmp_path: Path) -> Iterator[object]:
    """Run `vit fit` and send it signals at a step; its exit code."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def fit(step: int, *numbers: signal.Signals) -> int:
        build = Run._instantiate_trainer

        def with_signals(self: Run, config: dict[str, object], callbacks: list[L.Callback]) -> L.Trainer:
            return build(self, config, [*callbacks, SendAtStep(step, *numbers)])

        with monkeypatch.context() as patch:
            patch.setattr(Run, "_instantiate_trainer", with_signals)
            return main(["fit", *tiny_run, *SHORT, "--output", str(tmp_path), "--name", "it"])

    yield fit
    for number, handler in handlers.items():  # Lightning ignores Ctrl-C from its first on
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "by"),
    [
        (signal.SIGINT, 130, "Ctrl-C"),
        (signal.SIGTERM, 143, "SIGTERM"),
        pytest.param(signal.SIGHUP, 143, "SIGHUP", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 143, "SIGUSR1", marks=pytest.mark.slow),
    ],
    ids=lambda value: str(value),
)
def test_a_signal_saves_the_exact_step_and_says_how_to_go_on(
    number: signal.Signals, code: int, by: str, signalled: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
    assert signalled(2, number) == code  # type: ignore[operator]
    last = tmp_path / "it" / "checkpoints" / LAST
    assert read_checkpoint(last)["global_step"] == 3  # the step that was under way is finished
    said = capsys.readouterr().err
    assert said == f"stopped by {by}: step 3 is saved in {last}; to go on:  vit fit --resume {tmp_path / 'it'}\n"
    assert read_story(tmp_path / "it")[-1]["how"] == f"stopped by {by}"
    assert {each: signal.getsignal(each) for each in before} == before
    assert main(["fit", "--resume", str(tmp_path / "it")]) == 0
    assert f"going on from {last}" in capsys.readouterr().out


def test_ctrl_c_twice_leaves_at_once(signalled: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert signalled(5, signal.SIGINT, signal.SIGINT) == 130  # type: ignore[operator]
    assert read_checkpoint(tmp_path / "it" / "checkpoints" / LAST)["global_step"] == 4  # of the end of the first epoch
    said = capsys.readouterr().err
    assert said.startswith("interrupted: step 4 is saved in ")
    assert said.endswith(f"to go on:  vit fit --resume {tmp_path / 'it'}\n")


def test_before_training_a_signal_stops_at_once_and_leaves_no_folder(tmp_path: Path) -> None:
    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.value.exit_code, str(stop.value)) == (143, "by SIGTERM, before training")
        signals.training = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wish == 143
