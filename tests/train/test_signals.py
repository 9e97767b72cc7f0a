"""Signals stop a run after the step it is in, with its state saved and the command that goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from vit.cli import main
from vit.train import processes, signals
from vit.train.checkpoints import LAST, read_checkpoint
from vit.train.processes import decided_by_first
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


WAITING = 0.5
"""Seconds after which a process has come to a wait in torch, where Python calls no handler of a signal."""


@pytest.mark.parametrize(("number", "code", "by"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_process_that_waits_for_others_to_connect_ends(
    number: int, code: int, by: str, copy_of_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}

    def connect(say: Callable[[str], object]) -> None:
        os.environ |= address
        with StopSignals(say):
            say("waiting")
            torch.distributed.init_process_group("gloo", rank=0, world_size=2)

    process = copy_of_process(connect)
    assert process.said.readline() == "waiting\n"
    time.sleep(WAITING)
    os.kill(process.pid, number)
    assert process.said.readline() == f"by {by}, while waiting for other processes\n"
    assert process.ended() == code


@pytest.mark.parametrize("other", ["is not there", "leaves before it connects"])
def test_a_run_that_waits_for_another_machine_ends_and_leaves_no_folder(
    other: str,
    tiny_run: list[str],
    tmp_path: Path,
    copy_of_process: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.1)
    monkeypatch.delenv(processes.DECIDED, raising=False)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    folder = tmp_path / "runs" / "it"
    flags = ["--output", str(folder.parent), "--name", "it", "--trainer.num_nodes", "2", "--trainer.devices", "1"]

    def train(say: Callable[[str], object]) -> None:
        os.environ |= {**address, "NODE_RANK": "0"}
        for stream in ("sys.stdout", "sys.stderr"):
            monkeypatch.setattr(stream, Says(say))
        os._exit(main(["fit", *tiny_run, *flags, "--trainer.strategy", "ddp"]))

    def hear(say: Callable[[str], object]) -> None:
        os.environ |= {**address, "NODE_RANK": "1"}
        decided_by_first(str, num_nodes=2)
        say("heard")

    first = copy_of_process(train)
    if other == "is not there":
        while not folder.exists() and first.is_alive:
            time.sleep(0.01)
    else:
        assert copy_of_process(hear).said.readline() == "heard\n"
        assert any("images to train on" in line for line in first.said)
    time.sleep(WAITING)
    os.kill(first.pid, signal.SIGTERM)
    assert (
        "stopped by SIGTERM, while waiting for other processes: nothing was saved; no step was taken.\n" in first.said
    )
    assert first.ended() == 143
    assert not folder.parent.exists()


class Says:
    """A stream that hands on what is printed to it."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say

    def write(self, text: str) -> None:
        if text.strip():
            self.say(text.rstrip())

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False
