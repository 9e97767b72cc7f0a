"""`vit compare` that is stopped keeps what is done, and says how the comparison is gone on with, not one run of it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest

from tests.train.test_signals import SHORT, SendAtStep
from vit.cli import main
from vit.train.run import Run


@pytest.fixture
def handlers_as_before() -> Iterator[None]:
    """Lightning ignores Ctrl-C from its first on."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("numbers", "code", "said"),
    [
        ([signal.SIGINT], 130, "stopped by Ctrl-C"),
        ([signal.SIGTERM], 143, "stopped by SIGTERM"),
        ([signal.SIGINT, signal.SIGINT], 130, "interrupted"),
    ],
)
@pytest.mark.usefixtures("handlers_as_before")
def test_a_comparison_that_is_stopped_is_gone_on_with_by_the_same_command(
    numbers: list[signal.Signals],
    code: int,
    said: str,
    tiny_run: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build, flags = Run._instantiate_trainer, ["compare", *tiny_run, *SHORT, "--output", str(tmp_path)]

    def with_signals(self: Run, config: dict[str, object], callbacks: list[L.Callback]) -> L.Trainer:
        second = [SendAtStep(5, *numbers)] if self.folder.name == "timm-seed0" else []
        return build(self, config, [*callbacks, *second])

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_instantiate_trainer", with_signals)
        assert main(flags) == code
    words = (
        f"{said}: what is done is kept; to go on:  the same command, with --output {tmp_path} --name compare-digits\n"
    )
    assert capsys.readouterr().err == words
    assert main([*flags, "--name", "compare-digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("ours against timm, 1 seed; 1 of its 2 runs are there")
    assert lines[1].startswith("  timm, seed 0: ")
