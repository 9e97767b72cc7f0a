"""`vit data` as it is typed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.cli import main

MakeFolder = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]
DIGITS = ["--config", str(ROOT / "configs" / "digits.yaml")]


@pytest.mark.slow  # starts processes
def test_a_damaged_file_gives_1_and_can_be_listed(
    folder_of_classes: MakeFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]}, images=1)
    assert main(["data", "check", str(root)]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    damaged = root / "train" / "cat" / "damaged.jpg"
    damaged.touch()
    files = [str(tmp_path / "all.json"), str(tmp_path / "bad.txt")]
    assert main(["data", "check", str(root), "--json", files[0], "--list-bad", files[1], "--processes", "1"]) == 1
    out = capsys.readouterr().out
    assert f"{damaged}: not an image, or damaged beyond recognition" in out
    assert out.splitlines()[-2:] == [
        f"next: look at the 1 in {files[1]}, move away those that are bad, and check again",
        "      what cannot be read may stay in train, where vit fit --data.on_error skip shows others in its "
        "place; not in val and test",
    ]
    assert Path(files[1]).read_text() == f"{damaged}\n"
    written = json.loads(Path(files[0]).read_text())
    assert written["unreadable"] == [
        {"path": str(damaged), "reason": "not an image, or damaged beyond recognition", "part": "train"}
    ]


def test_the_data_of_a_config_is_checked_as_it_is_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", *DIGITS, "--data.val_fraction", "0.2", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {part: sum(counts.values()) for part, counts in found["classes"].items()} == {
        "train": 1149,
        "val": 288,
        "test": 360,
    }
    assert not list(tmp_path.iterdir())  # no folder of a run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["chek"], "there is no command 'data chek'; did you mean 'check'?"),
        (["check"], "which data? vit data check FOLDER, or vit data check --config FILE."),
        (["check", "no/such"], "there is no folder no/such."),
        (["check", "a", "b"], "a and b: one folder at a time."),
        (["check", "a", "--likeness", "2"], "--likeness 2 must be above 0 and at most 1."),
        (["check", "a", "--processes", "0"], "--processes 0 must be at least 1."),
        (["check", "a", "--timeout", "0"], "--timeout 0 must be more than 0 seconds."),
        (["check", *DIGITS, "--data.val_fracton", "0.2"], "did you mean '--data.val_fraction'?"),
        (["show"], "which data? vit data show --config FILE; configs/digits.yaml is one."),
        (["show", "photos"], "photos is no flag; vit data show --config configs/folder.yaml --data.root photos."),
        (["show", *DIGITS, "--images", "0"], "--images 0 must be at least 1."),
        (["show", *DIGITS, "--output", "a.gif"], "--output a.gif must end in .png."),
        (["show", *DIGITS, "--same", "1293"], "there is no training image 1293; they are 0 to 1292."),
    ],
)
def test_wrong_input_is_explained(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.out + captured.err


@pytest.mark.parametrize("more", [[], ["--same", "5"]])
def test_a_picture_of_a_batch_is_written(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "batch.png"
    assert main(["data", "show", *DIGITS, "--images", "3", "--output", str(target), *more]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    with Image.open(target) as written:
        assert np.asarray(written.convert("L")).std() > 10  # something is on it
    assert [path.name for path in target.parent.iterdir()] == ["batch.png"]
