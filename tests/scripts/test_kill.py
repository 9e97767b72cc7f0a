"""`scripts/kill.py` in short: kills at moments that nobody chose. docs/reliability.md has what it gave at length."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "kill.py"


@pytest.fixture
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    random.seed()
    return module


def test_writing_survives(kill: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert kill.kill_writing(10, tmp_path)
    assert capfd.readouterr().out.count("kill ") == 10


@pytest.mark.slow
@pytest.mark.usefixtures("_annotations_unchecked")  # whose checks draw numbers from Python's generator
def test_training_survives(kill: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert kill.kill_training(3, tmp_path, workers=0)
    said = capfd.readouterr().out
    assert said.count("the same") == 6
    assert "kill 1: step " in said


def test_what_differs_is_seen(kill: ModuleType) -> None:
    one = {"a": [kill.torch.zeros(2), 3.0]}
    assert kill._equal(one, {"a": [kill.torch.zeros(2), 3.0]})
    for other in (
        {"a": [kill.torch.ones(2), 3.0]},
        {"a": [kill.torch.zeros(2)]},
        {"b": one["a"]},
        {"a": [one["a"][0], 4]},
    ):
        assert not kill._equal(one, other)
