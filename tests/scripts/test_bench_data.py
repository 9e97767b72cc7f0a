"""The benchmark of loading runs to its end, on a processor and by the steps that a GPU takes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With few and small things to measure."""
    pytest.importorskip("timm")
    bench = load_script("bench_data")
    for name, number in {"PHOTOGRAPHS": 2, "SMALL": 16, "BATCH": 8, "HELD": 24, "DEPTH": 1}.items():
        monkeypatch.setattr(bench, name, number)
    monkeypatch.setitem(bench.STEPS, "cpu", bench.Steps((4,), 1, 2))
    return bench


def test_every_table_has_a_row_for_each_pipeline(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main(["--rounds", "2", "--output", str(tmp_path / "results" / "bench.md")])
    report = (tmp_path / "results" / "bench.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == report
    lines = report.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("## ")] == [
        "## Photographs",
        "## Small images",
        "## What loading takes of a training step of a ViT of 4.0 M parameters (patch 4, width 192, 9 blocks)",
    ]
    assert sum(line.startswith("| ours") for line in lines) == 5 + 5
    assert [line for line in lines if line.startswith("| 4, ")][-1].startswith(
        "| 4, crop + flip + RandAugment + erasing + mixup/CutMix | "
    )


@pytest.mark.usefixtures("_annotations_unchecked")
def test_what_a_gpu_does_is_done_as_well(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # a processor by another name: its steps are compiled, in bf16, and told apart by time
    monkeypatch.setattr(script, "clock", lambda device: script.time.perf_counter())
    steps = script.Steps((4, 6), 2, 2, "eager", by_difference=True)
    rows = list(script.shares_of_a_step(torch.device("cpu"), steps))
    assert [row.split(",")[0] for row in rows] == ["| 4"] * 4 + ["| 6"] * 4
    assert all(row.endswith("% |") for row in rows)


def test_a_gpu_that_is_not_there_is_said(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for wrong, why in ((["--device", "cuda"], "torch sees no GPU here"), (["--rounds", "1"], "must be at least 2")):
        with pytest.raises(SystemExit):
            script.main(wrong)
        assert why in capsys.readouterr().err
