"""The `vit` command: exit codes, one line for an error, and what each command prints and writes."""

import csv
import errno
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vit.cli import COMMANDS, main

WriteImage = Callable[..., str]
QUICK = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]


@pytest.fixture
def digit(write_image: WriteImage) -> str:
    return write_image("digit.png", (8, 8), "L")


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_no_command_shows_help_and_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: vit" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import vit

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"plain-vit {vit.__version__}\n"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([name, "--help"])
    assert done.value.code == 0
    assert f"usage: vit {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predit"], "there is no command 'predit'; did you mean 'predict'?"),
        (["--frob"], "there is no command '--frob'; known are: compare, data, "),
        (["fit"], "missing: --data.source; --help says what for."),
        (["fit", "--resume", "runs/nope"], "--resume runs/nope is no run folder and no checkpoint; runs/NAME, "),
        (["predict"], "missing: images, --model; --help says what for."),
        (["predict", "a.png", "--model", "m", "--top-kk", "3"], "there is no flag --top-kk; did you mean '--top-k'?"),
        (["predict", "a.png", "--model", "m", "--top-k", "0"], "--top-k 0 must be at least 1."),
        (["predict", "a.png", "--model", "m", "--batch-size", "-1"], "--batch-size -1 must be at least 1."),
        (["predict", "a.png", "--model", "m", "--format", "xml"], "format=xml is not of its type; expected one of"),
        (["predict", "a.png", "--model", "nowhere"], "model folder nowhere does not exist; `vit fit` writes one to"),
        (["explain", "a.png", "--model", "nowhere"], "model folder nowhere does not exist"),
        (["explain", "a.png", "--model", "m", "--head-fusion", "sum"], "head_fusion=sum is not of its type"),
        (["test"], "missing: model; --help says what for."),
        (["test", "nowhere"], "nowhere is not a run folder: it has no config.yaml"),
        (["compare", "--name", "../elsewhere"], "--name '../elsewhere' is no name of a folder in --output runs."),
        (["compare", "--seeds", "0"], "--seeds 0 must be at least 1."),
        (["compare", "--baseline", "keras"], "argument --baseline: invalid choice: 'keras'"),
        (["fit", "--config", "nowhere.yaml"], "nowhere.yaml does not exist."),
        (
            ["fit", "--resume", "https://a.b/last.ckpt"],
            "https://a.b/last.ckpt is no run folder and no checkpoint",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert sentence in error_line(capsys)


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="there is no command"):
        main(["--debug", "predit"])


def test_interrupting_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("vit.cli._dispatch", interrupt)
    assert main(["fit"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_fit_trains_and_says_where_the_model_is(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny_run, *QUICK, "--output", str(tmp_path), "--name", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "1,293 images to train on, 144 to validate, 10 classes" in printed
    assert "epoch 1/1" in printed
    assert f"vit predict IMAGE --model {tmp_path / 'mine' / 'model'}" in printed
    assert (tmp_path / "mine" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--trainer.max_epoch", "3"], "there is no flag --trainer.max_epoch; did you mean '--trainer.max_epochs'?"),
        (["--model.vit.patch_size", "3"], "patch_size=3 does not divide image_size=8"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs=0 trains nothing"),
        (["--trainer.accelerator", "abacus"], "trainer.accelerator=abacus is not known"),
    ],
)
def test_a_fit_that_cannot_be_is_one_line_and_leaves_no_folder(
    flags: list[str], sentence: str, tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny_run, "--output", str(tmp_path / "runs"), *flags]) == 2
    assert sentence in error_line(capsys)
    assert not list(tmp_path.glob("runs/*/model"))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="here is a GPU")
def test_a_gpu_that_is_not_here_is_one_line(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny_run, "--output", str(tmp_path / "runs"), "--trainer.accelerator", "gpu"]) == 2
    assert "these trainer flags do not work here: No supported gpu backend found" in error_line(capsys)
    assert not (tmp_path / "runs").exists()


def test_a_config_that_is_no_yaml_is_one_line_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("data:\n  source: digits\n   image_size: 8\n")
    assert main(["fit", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "line 3, column 14" in error_line(capsys)


def test_a_folder_that_cannot_be_made_is_one_line_before_any_data_is_loaded(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded() -> None:
        raise AssertionError("data was loaded")

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("sklearn.datasets.load_digits", loaded)
    (tmp_path / "file").write_text("here is no room for a folder")
    assert main(["fit", *tiny_run, "--output", str(tmp_path / "file" / "runs")]) == 2
    assert error_line(capsys) == f"error: {tmp_path / 'file' / 'runs'}: Not a directory."
    monkeypatch.setattr(Path, "mkdir", refused)
    assert main(["fit", *tiny_run, "--output", str(tmp_path / "runs")]) == 2
    assert error_line(capsys) == f"error: {tmp_path / 'runs'}: Permission denied."


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_training_image_is_named_in_one_line(
    workers: str, folder_of_classes: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat", "dog"]})
    for path in (root / "train" / "dog").iterdir():
        path.write_bytes(b"not an image")
    flags = [
        "--data.source",
        "folder",
        "--data.root",
        str(root),
        "--data.batch_size",
        "2",
        "--data.num_workers",
        workers,
    ]
    shape = ["--model.vit.image_size", "8", "--model.vit.patch_size", "4", "--trainer.accelerator", "cpu"]
    small = ["--model.vit.embed_dim", "8", "--model.vit.num_heads", "2", "--model.vit.depth", "1"]
    length = ["--trainer.max_epochs", "1", "--output", str(tmp_path / "runs")]
    assert main(["fit", *flags, *shape, *small, *length]) == 2
    line = error_line(capsys)
    assert ".png: not an image, or damaged beyond recognition." in line
    assert "Traceback" not in line


def test_predict_labels_in_three_formats(finished_run: Any, digit: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", digit, digit, "--model", finished_run.model, "--top-k", "2"]
    assert main(command) == 0
    text = capsys.readouterr().out.splitlines()
    assert len(text) == 2
    assert text[0].startswith(f"{digit}: ")
    assert text[0].count("%") == 2
    assert main([*command, "--format", "jsonl"]) == 0
    first, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["path"] == digit
    likeliest, second = first["classes"]
    assert likeliest["probability"] >= second["probability"] > 0
    assert main([*command, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["path"] for row in rows] == [digit, digit]
    assert rows[0]["class_1"] == likeliest["class"]
    assert float(rows[0]["probability_2"]) == pytest.approx(second["probability"])


def test_bad_files_are_named_the_others_labelled_and_the_exit_code_is_1(
    finished_run: Any, digit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [str(tmp_path / "broken.png"), digit, str(tmp_path / "missing.png"), digit]
    assert main(["predict", *paths, "--model", finished_run.model]) == 1
    captured = capsys.readouterr()
    assert [line.partition(": ")[0] for line in captured.out.splitlines()] == [digit, digit]
    broken, missing, summary = captured.err.splitlines()
    assert broken == f"error: {tmp_path / 'broken.png'}: not an image, or damaged beyond recognition."
    assert missing == f"error: {tmp_path / 'missing.png'}: No such file or directory."
    assert summary == "2 of 4 files could not be read"


def test_explain_draws_one_picture_an_image(
    finished_run: Any, digit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "maps"
    assert main(["explain", digit, "--model", finished_run.model, "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(output / "digit.rollout.png")]
    with Image.open(output / "digit.rollout.png") as picture:
        assert min(picture.size) > 300


def test_explain_goes_on_after_a_bad_file(
    finished_run: Any, digit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", finished_run.model, "--output", str(tmp_path / "maps")]
    assert main(["explain", str(tmp_path / "missing.png"), digit, *flags]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {tmp_path / 'missing.png'}: No such file or directory.\n"
    assert captured.out.endswith("digit.rollout.png\n")


def test_images_of_one_name_get_pictures_of_different_names(
    finished_run: Any, write_image: WriteImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a/cat/1.png", "b/cat/1.png", "b/dog/1.png", "2.png"]
    paths = [write_image(name, (8, 8), "L") for name in names]
    output = tmp_path / "maps"
    assert main(["explain", *paths, "--model", finished_run.model, "--output", str(output)]) == 0
    written = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    names = ("cat-1-png", "cat-1-png-2", "dog-1-png", "2")
    assert written == [*(f"{name}.rollout.png" for name in names), "index.html"]
    assert len(list(output.iterdir())) == 5


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--start-layer", "9"], "start_layer=9 is not one of the 2 layers, 0 to 1."),
        (["--discard-ratio", "1.5"], "discard_ratio=1.5 must be from 0 to below 1."),
        (["--device", "abacus"], "device='abacus' does not work here"),
    ],
)
def test_explain_refuses_settings_in_one_line(
    flags: list[str], sentence: str, finished_run: Any, digit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", digit, "--model", finished_run.model, "--output", str(tmp_path), *flags]) == 2
    assert sentence in error_line(capsys)


def test_test_measures_and_counts_its_looks(
    finished_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(finished_run.copy(tmp_path / "run"))
    assert main(["test", folder, "--report", "false"]) == 0
    once = capsys.readouterr().out
    assert "360" in once
    assert "look" not in once
    assert main(["test", folder, "--report", "false"]) == 0
    assert "look number 2 at the test images" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["{flag} {path}", "{flag}={path}"])
def test_compare_prints_a_table_and_is_named_by_its_config(
    form: str, tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = form.format(flag="--config", path=tiny_run[1]).split()
    assert main(["compare", *config, *tiny_run[2:], *QUICK, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path / 'compare-digits'}: ours against timm, 1 seed\n  ours, seed 0: ")
    assert "| ours " in printed
    assert "| timm " in printed
    assert (tmp_path / "compare-digits" / "table.md").read_text() in printed


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model.vit.patch_size", "3"], "patch_size=3 does not divide"),
        (["--model.vit.patch_norm", "true"], "timm has no ViT with patch_norm=True"),
    ],
)
def test_a_comparison_that_cannot_be_says_that_alone_and_leaves_no_folder(
    flags: list[str], sentence: str, tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *tiny_run, "--output", str(tmp_path / "runs"), *flags]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_an_image_that_cannot_be_read_is_one_line_and_exit_code_2(
    command: str, finished_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    output = ["--output", str(tmp_path / "drawn")] if command == "explain" else []
    assert main([command, str(bad), "--model", finished_run.model, *output]) == 2
    assert error_line(capsys) == f"error: {bad}: not an image, or damaged beyond recognition."
    assert not (tmp_path / "drawn").exists()


def test_a_config_without_its_flag_is_answered_with_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "configs/digits.yaml"]) == 2
    assert "did you mean --config configs/digits.yaml" in error_line(capsys)
