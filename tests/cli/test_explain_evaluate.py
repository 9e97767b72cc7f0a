"""`vit explain --evaluate`: what is measured, with which labels, what is written, and what it says to wrong input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vit.cli import main
from vit.predict import Predictor


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images of class 3 and one of class 7, in folders of these names, and a table that says otherwise."""
    for folder, name in (("3", "a"), ("3", "b"), ("7", "c")):
        (tmp_path / "photos" / folder).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{name}.png")
    rows = ["path,digit", "photos/3/a.png,1", "photos/3/b.png,1", "photos/7/c.png,1"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "photos"


@pytest.fixture
def evaluate(
    finished_run: Any, tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*flags: str) -> tuple[int, str, str]:
        given = [
            "explain",
            str(photos),
            "--model",
            finished_run.model,
            "--output",
            str(tmp_path / "maps"),
            "--evaluate",
        ]
        code = main([*given, *flags])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_table_verdicts_json_and_curves_are_given(evaluate, finished_run, tmp_path):
    code, out, err = evaluate("--method", "rollout", "chefer", "--fills", "mean")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "3 images, with labels"
    assert lines[2] == "patches replaced by: mean"
    assert lines[3].split()[:2] == ["deletion", "-"]
    assert {line.split()[0] for line in lines[4:9]} == {"rollout", "chefer", "chance", "centre", "energy"}
    assert lines[-2:] == [str(tmp_path / "maps" / name) for name in ("faithfulness.json", "faithfulness.png")]
    written = json.loads((tmp_path / "maps" / "faithfulness.json").read_text())
    rollout = next(each for each in written["results"] if each["method"] == "rollout")
    assert rollout["gap"]["mean"] == pytest.approx(rollout["insertion"]["mean"] - rollout["deletion"]["mean"])
    assert written["likeness"]["rollout"]["other_class"] == 1.0
    assert written["model"] == f"{Path(finished_run.model).parent.name}/model"
    assert abs(written["likeness"]["chefer"]["other_class"]) < 1.0
    with Image.open(tmp_path / "maps" / "faithfulness.png") as picture:
        assert picture.width > 1000


def test_labels_come_from_folders_or_from_a_table(evaluate, photos, finished_run, tmp_path):
    def accuracy(*flags: str) -> float:
        assert evaluate("--fills", "black", *flags)[0] == 0
        written = json.loads((tmp_path / "maps" / "faithfulness.json").read_text())
        return written["results"][0]["accuracy_most_first"][0]

    paths = [str(photos / name) for name in ("3/a.png", "3/b.png", "7/c.png")]
    said = [answer.classes[0] for answer in Predictor.load(finished_run.model).predict(paths)]
    assert accuracy() == pytest.approx(sum(a == b for a, b in zip(said, "337", strict=True)) / 3)
    by_table = accuracy("--labels", str(tmp_path / "labels.csv"), "--label-column", "digit")
    assert by_table == pytest.approx(said.count("1") / 3)


def test_without_labels_the_models_own_prediction_stands_for_them(evaluate, photos):
    (photos / "3").rename(photos / "three")
    code, out, _ = evaluate("--fills", "black")
    assert code == 0
    assert "3 images, without labels: accuracy is agreement with the model's own prediction" in out


def test_a_bad_file_is_named_and_the_others_are_measured(evaluate, photos):
    (photos / "7" / "broken.png").write_bytes(b"no picture")
    code, out, err = evaluate("--fills", "black")
    assert (code, out.splitlines()[0]) == (1, "3 images, with labels")
    assert err.count("broken.png") == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--heads"], "leave out --heads"),
        (["--npy"], "leave out --npy"),
        (["--method", "rolout"], "rollout"),
        (["--labels", "nowhere.csv"], "--labels nowhere.csv does not exist"),
        (["--labels", "{folder}/photos"], "photos has no table"),
        (["--labels", "{folder}"], "labels.csv, part.csv, wrong.csv; name one."),
        (["--labels", "{folder}/labels.csv"], "name one with --label-column"),
        (["--labels", "{folder}/part.csv"], "no label of 2 of 3 images"),
        (["--labels", "{folder}/wrong.csv"], "there is no class 'cat'"),
    ],
)
def test_wrong_use_is_one_line(evaluate, tmp_path, flags, sentence):
    (tmp_path / "part.csv").write_text("path,label\nphotos/3/a.png,3\n")
    (tmp_path / "wrong.csv").write_text(
        "path,label\n" + "".join(f"photos/{n},cat\n" for n in ("3/a.png", "3/b.png", "7/c.png"))
    )
    code, out, err = evaluate(*(flag.format(folder=tmp_path) for flag in flags))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_where_no_image_can_be_read_that_is_all_that_is_said(evaluate, photos, tmp_path):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    code, out, err = evaluate("--fills", "black")
    assert (code, out, err.count("\n")) == (2, "", 3)
    assert "no images" not in err
    assert not (tmp_path / "maps").exists()


def test_of_few_images_nothing_is_concluded(evaluate, photos):
    assert "3 images are too few to say whether a method is better than chance" in evaluate("--fills", "mean")[1]
    for name in ("3/a.png", "3/b.png"):
        (photos / name).unlink()
    out = evaluate("--fills", "mean")[1]
    assert out.startswith("1 image, with labels")
    assert "1 image is too few to say" in out
    assert "beats" not in out


def test_somebody_elses_file_is_not_overwritten(evaluate, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "faithfulness.json").write_text("mine")
    code, _, err = evaluate("--fills", "black")
    assert code == 2
    assert "was not drawn by vit explain" in err
    assert (tmp_path / "maps" / "faithfulness.json").read_text() == "mine"
