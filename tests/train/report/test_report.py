"""The report says what the run's files say, for any number of classes and any names, and costs no training."""

import base64
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vit.cli import main
from vit.data.module import ImageDataModule
from vit.data.sources import Labelled, Source
from vit.nn import Preprocessing
from vit.train.measures import Outcomes, measure
from vit.train.predictions import name_predictions, read_predictions, write_predictions
from vit.train.report import draw_report
from vit.train.report.contents import read_answers, read_metrics, shown
from vit.train.story import fingerprint, write_json

NASTY = (
    "<script>alert(1)</script>",
    "a$b$ & co",
    "日本語",
    "line\nbreak",
    "b\udce9d",
    "x" * 300,
    "crane",
    "crane",
)


class Held(ImageDataModule):
    """Data that lies here already."""

    def __init__(self, part: Labelled, classes: tuple[str, ...]) -> None:
        self.source = Source(classes=classes, train=part, mean=(0.5,), std=(0.5,))
        self.train = self.val = part
        self.preprocessing = Preprocessing(image_size=(8, 8), mean=(0.5,), std=(0.5,))


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., tuple[Path, Held]]:
    """A run folder with answers that are right half the time, and its data."""

    def make(classes: tuple[str, ...], images: int) -> tuple[Path, Held]:
        labels = torch.arange(images) % len(classes)
        logits = torch.randn(images, len(classes))
        logits[labels % 2 == 0, labels[labels % 2 == 0]] += 5
        logits[0, 0] -= 9  # wrong in any case
        logs = logits.log_softmax(1)
        part = Labelled(torch.randint(256, (images, 1, 8, 8), dtype=torch.uint8), labels)
        measures = measure(Outcomes.of(logs, labels), classes)
        about = {"time": "now", "images": images, "data": {"fingerprint": fingerprint(part)}}
        write_json(tmp_path / "validation.json", {**about, "measures": measures.as_json()})
        write_predictions(tmp_path / "validation.csv", name_predictions(logs, labels, classes, part))
        return tmp_path, Held(part, classes)

    return make


class Page(HTMLParser):
    """Collects the tags of a page, and what stands in its headings."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize(("classes", "images"), [(2, 7), (10, 60), (120, 480)])
def test_a_report_of_few_and_of_many_classes(classes: int, images: int, measured: Any) -> None:
    run, data = measured(tuple(f"class {number}" for number in range(classes)), images)
    page = Page(draw_report(run, data))
    pictures = page.all("img")
    wrong = int((~read_predictions(run / "validation.csv").right).sum())
    assert wrong > 0
    assert len(pictures) == 3 + min(wrong, 24)
    for picture in pictures:
        assert picture["alt"]
        kind, _, content = str(picture["src"]).partition(";base64,")
        assert kind == "data:image/png"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            image.load()
    answers = read_answers(run, "val")
    assert answers is not None
    pairs = min(10, len(answers.most_confused(99)))
    assert [tag for tag, _ in page.tags].count("tr") == (1 + 8) + (1 + pairs) + (1 + classes)
    assert {path.name for path in (run / "report").glob("*.png")} == {
        f"validation-{name}.png" for name in ("confusions", "classes", "reliability", "mistakes")
    }


def test_nothing_of_the_page_comes_from_elsewhere_and_names_are_escaped(measured: Any) -> None:
    run, data = measured(NASTY, 40)
    path = draw_report(run, data)
    page, source = Page(path), path.read_text(encoding="utf-8")
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in source.replace("&", "")
    assert "prefers-color-scheme: dark" in source
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "a$b$ & co" in text
    assert "日本語" in text
    assert text.count("crane") >= 2


def test_the_worst_mistakes_are_the_surest_wrong_answers_and_show_their_images(measured: Any) -> None:
    run, data = measured(("cat", "dog", "owl"), 30)
    table = read_predictions(run / "validation.csv")
    wrong = [number for number in range(30) if not table.right[number]]
    surest = max(wrong, key=lambda number: table.confidence[number])
    page = Page(draw_report(run, data))
    first = page.all("img")[3]
    assert str(first["alt"]).startswith(f"Image {surest}: answer {table.classes[surest][0]} (")
    content = base64.b64decode(str(first["src"]).partition(",")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), data.val.images[surest, 0])


def test_other_images_than_those_measured_are_not_shown_as_mistakes(measured: Any) -> None:
    run, data = measured(("cat", "dog", "owl"), 30)
    others = Labelled(data.val.images + 1, data.val.labels)
    assert len(Page(draw_report(run, Held(others, ("cat", "dog", "owl")))).all("img")) == 3


def test_confusions_worked_by_hand(tmp_path: Path) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    answers = torch.tensor([0, 1, 1, 1, 0, 2])
    logs = (5.0 * torch.nn.functional.one_hot(answers, 3)).log_softmax(1)
    part = Labelled(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), labels)
    measures = measure(Outcomes.of(logs, labels), ("cat", "dog", "owl")).as_json()
    write_json(tmp_path / "validation.json", {"images": 6, "measures": measures})
    write_predictions(tmp_path / "validation.csv", name_predictions(logs, labels, ("cat", "dog", "owl"), part))
    read = read_answers(tmp_path, "val")
    assert read is not None
    names, counts = read.confusions()
    assert names == ["cat", "dog", "owl"]
    assert counts.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    assert read.most_confused(5) == [("cat", "dog", 2, 3), ("dog", "cat", 1, 2)]
    assert read.worst(2) == [1, 2]


def test_metrics_are_read_by_step_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,val_loss,train_loss\n0,4,1.5,\n0,4,,2\n1,9,nan,1\n1,9,,0.5\n")
    metrics = read_metrics(tmp_path)
    assert {name: (steps.tolist(), values.tolist()) for name, (steps, values) in metrics.items()} == {
        "val_loss": ([4], [1.5]),
        "train_loss": ([4, 9], [2, 0.5]),
    }
    assert read_metrics(tmp_path / "nowhere") == {}


def test_names_are_made_fit_to_be_drawn() -> None:
    assert [shown(name) for name in NASTY[1:6]] == [r"a\$b\$ & co", "日本語", "line break", "b?d", "x" * 23 + "…"]


def test_predictions_come_back_as_they_were_written(measured: Any) -> None:
    run, _ = measured(NASTY, 24)
    table = read_predictions(run / "validation.csv")
    assert table.labels[:6] == list(NASTY[:6])
    assert table.labels[6:8] == ["crane #6", "crane #7"]  # told apart
    assert table.images[:2] == ["0", "1"]
    for broken in ("", "a,b\n1,2\n"):
        (run / "broken.csv").write_text(broken)
        with pytest.raises(ValueError, match=r"broken\.csv is no table of predictions"):
            read_predictions(run / "broken.csv")


QUICK = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]


@pytest.mark.slow  # three reports
def test_training_ends_with_a_report_of_the_validation_images_and_testing_adds_the_test(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny_run, *QUICK, "--output", str(tmp_path), "--name", "mine"]) == 0
    run = tmp_path / "mine"
    assert f"report in {run / 'report' / 'report.html'}" in capsys.readouterr().out
    assert json.loads((run / "validation.json").read_text())["images"] == 144  # all, whatever limit_val_batches says
    headings = "".join(Page(run / "report" / "report.html").text)
    assert "vit fit --config" in headings
    assert "Validation\n" in headings
    assert "Test\n" not in headings
    assert not (run / "test.json").exists()
    assert main(["test", str(run)]) == 0
    assert f"report in {run / 'report' / 'report.html'}" in capsys.readouterr().out
    assert "Test\n" in "".join(Page(run / "report" / "report.html").text)
    before = (run / "test.json").read_bytes()
    (run / "report" / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report' / 'report.html'}\n"
    assert "Test\n" in "".join(Page(run / "report" / "report.html").text)
    assert (run / "test.json").read_bytes() == before


def test_a_report_can_be_left_out(tiny_run: list[str], tmp_path: Path) -> None:
    assert main(["fit", *tiny_run, *QUICK, "--output", str(tmp_path), "--name", "mine", "--report", "false"]) == 0
    assert (tmp_path / "mine" / "model").is_dir()
    assert not list((tmp_path / "mine").glob("validation.*"))
    assert not (tmp_path / "mine" / "report").exists()


def test_a_report_that_fails_is_a_warning_and_the_run_is_finished(
    tiny_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vit.train.conclude.draw_report", full)
    assert main(["fit", *tiny_run, *QUICK, "--output", str(tmp_path), "--name", "mine"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ("warning: the run is finished, but there is no report: [Errno 28] No space left on device\n")
    assert (tmp_path / "mine" / "model" / "model.safetensors").is_file()


def test_what_is_no_run_has_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder: it has no config.yaml" in capsys.readouterr().err
