"""The test images are measured right, and every look at them is on record."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from vit.cli import main
from vit.data.preprocess import normalise
from vit.data.sources import digits
from vit.train.evaluate import digest_of, evaluate, is_measured, looks_alike, open_subject
from vit.train.predictions import read_predictions
from vit.train.report.page import OUTDATED
from vit.weights import ModelCard, load_model, read_card, save_model


def test_accuracy_is_the_share_of_the_test_images_that_a_plain_loop_finds(finished_run: Any, tmp_path: Path) -> None:
    looks = evaluate(finished_run.copy(tmp_path / "run"))
    network, source = load_model(finished_run.model), digits(Path())
    assert source.test is not None
    right = 0
    with torch.no_grad():
        for image, label in zip(source.test.images, source.test.labels, strict=True):  # pyright: ignore
            logits = network(normalise(image[None], read_card(finished_run.model).preprocessing))
            right += int(logits.argmax() == label)
    assert looks[0]["test_acc"] == pytest.approx(right / 360)
    assert looks[0]["images"] == 360


def test_every_look_is_on_record(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    evaluate(folder)
    looks = evaluate(str(folder))
    assert len(looks) == 2
    assert looks == json.loads((folder / "test.json").read_text())
    assert looks[0]["test_acc"] == looks[1]["test_acc"]


def train_longer(run: Path) -> None:
    """What another epoch leaves of the model folder."""
    network, card = load_model(run / "model"), read_card(run / "model")
    with torch.no_grad():
        network.head.bias += 1e-3  # pyright: ignore
    save_model(network, dataclasses.replace(card, provenance={**card.provenance, "steps": 60}), run / "model")


def test_a_report_measures_a_model_that_was_trained_longer_anew(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    evaluate(folder, "val")
    assert is_measured(folder)
    evaluate(folder)
    train_longer(folder)
    assert not is_measured(folder)
    assert main(["report", str(folder)]) == 0
    assert is_measured(folder)
    validation, test = (folder / "report" / "report.html").read_text().split("<h2>Test</h2>")
    assert OUTDATED not in validation
    assert OUTDATED in test
    evaluate(folder)
    assert main(["report", str(folder)]) == 0
    assert OUTDATED not in (folder / "report" / "report.html").read_text()


def test_a_look_says_at_which_weights(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    first = evaluate(folder)[-1]
    train_longer(folder)
    second = evaluate(folder)[-1]
    assert (first["weights"], first["steps"], second["steps"]) == ("of the last epoch", 40, 60)
    assert first["sha256"] != second["sha256"] == digest_of(folder / "model")


def test_a_folder_that_is_no_run_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"is not a run folder: it has no config\.yaml; `vit fit` makes runs/NAME"
    ):
        evaluate(tmp_path)


def test_a_run_without_a_finished_model_is_explained(finished_run: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((finished_run.folder / "config.yaml").read_text())
    with pytest.raises(FileNotFoundError, match=r"model folder .*model does not exist"):
        evaluate(tmp_path)


def test_data_with_other_classes_than_the_models_is_refused(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    card = read_card(folder / "model")
    other = ModelCard(config=card.config, classes=tuple("abcdefghij"), preprocessing=card.preprocessing)
    save_model(load_model(folder / "model"), other, folder / "model")
    with pytest.raises(ValueError, match=r"the data has the classes 0, 1, 2, .* but the model was trained on a, b, c"):
        evaluate(folder)
    assert not (folder / "test.json").exists()


def test_data_without_test_images_is_refused(finished_run: Any, folder_of_classes: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    root = folder_of_classes({"train": list("0123456789")})
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["data"].update(source="folder", root=str(root), batch_size=2, val_fraction=0.5)
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=r"this data has no test part"):
        evaluate(folder)


def test_the_figures_of_a_look_are_those_of_the_table_of_predictions(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    look = evaluate(folder)[-1]
    table = read_predictions(folder / "test.csv")
    assert len(table.images) == 360
    assert table.right.mean() == pytest.approx(look["test_acc"])
    assert -torch.tensor(table.of_label).log().mean() == pytest.approx(look["test_loss"], abs=1e-4)  # 6 digits kept
    assert look["measures"]["top_1"]["low"] < look["test_acc"] < look["measures"]["top_1"]["high"]
    assert sum(one["images"] for one in look["measures"]["classes"]) == 360


def test_looking_at_validation_images_is_no_look_at_the_test(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    for _ in range(2):
        looks = evaluate(folder, "val")
    assert looks == [json.loads((folder / "validation.json").read_text())]
    assert looks[0]["val_acc"] == pytest.approx(finished_run.metrics["val_acc"])
    assert looks[0]["val_loss"] == pytest.approx(finished_run.metrics["val_loss"], abs=1e-5)
    assert len(read_predictions(folder / "validation.csv").images) == 144
    assert not (folder / "test.json").exists()


def test_looks_of_older_versions_stay_on_record_and_count(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    old = {"time": "2026-11-20T10:00:00+00:00", "images": 360, "test_loss": 0.5, "test_acc": 0.9}
    (folder / "test.json").write_text(json.dumps([old]))
    looks = evaluate(folder)
    assert looks[0] == old
    assert looks_alike(looks) == 2
    assert looks_alike([*looks, {**looks[-1], "data": {"fingerprint": "of other images"}}]) == 2


def test_the_model_folder_of_a_run_means_the_run(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    evaluate(folder / "model")
    assert (folder / "test.json").is_file()
    assert not (folder / "model" / "test.json").exists()


def test_the_number_type_is_that_of_the_run(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    in_full = evaluate(folder)[-1]
    story = json.loads((folder / "run.json").read_text())
    story[-1]["precision"] = "bf16-mixed"
    (folder / "run.json").write_text(json.dumps(story))
    in_half = evaluate(folder)[-1]
    again = evaluate(folder, precision="32-true")[-1]
    assert (in_full["precision"], in_half["precision"]) == ("32-true", "bf16-mixed")
    assert in_half["test_loss"] == pytest.approx(in_full["test_loss"], abs=0.02)  # bf16 keeps 8 bits
    assert in_half["test_loss"] != in_full["test_loss"] == again["test_loss"]
    with pytest.raises(ValueError, match=r"precision=fp8 is none that a model is tested in; one of 32-true, "):
        evaluate(folder, precision="fp8")


@pytest.fixture
def two_digits(tmp_path: Path) -> Path:
    """The digits 7 and 3 as a folder of images, so that 3 is the first class and 7 the second; 20 of each to test."""
    source = digits(Path())
    assert source.test is not None
    for part, images in {"train": source.train, "test": source.test}.items():
        for digit in (3, 7):
            folder = tmp_path / "pictures" / part / str(digit)
            folder.mkdir(parents=True)
            for number, index in enumerate((images.labels == digit).nonzero()[:20, 0].tolist()):
                Image.fromarray(images.images[index, 0].numpy()).save(folder / f"{number}.png")  # pyright: ignore
    return tmp_path / "pictures"


def test_a_model_is_tested_on_other_data_whose_classes_are_matched_by_name(
    finished_run: Any, two_digits: Path, tmp_path: Path
) -> None:
    data = {"source": "folder", "root": str(two_digits), "batch_size": 7, "val_fraction": 0.2, "num_workers": 0}
    look = evaluate(finished_run.model, data=data, output=tmp_path / "found")[-1]
    table = read_predictions(tmp_path / "found" / "test.csv")
    assert look["images"] == 40
    assert table.labels == ["3"] * 20 + ["7"] * 20
    assert Path(table.images[20]) == two_digits / "test" / "7" / "0.png"
    # the same images as the model was tested on in its run, there numbered 3 and 7
    of_run = open_subject(finished_run.folder)
    assert of_run.data.source.test is not None
    labels = of_run.data.source.test.labels
    chosen = torch.cat([(labels == digit).nonzero()[:20, 0] for digit in (3, 7)])
    images = of_run.data.source.test.images[chosen]  # pyright: ignore
    with torch.no_grad():
        logits = of_run.network(normalise(images, of_run.card.preprocessing))
    assert look["test_acc"] == pytest.approx(float((logits.argmax(1) == labels[chosen]).float().mean()))
    assert [one["images"] for one in look["measures"]["classes"]] == [0, 0, 0, 20, 0, 0, 0, 20, 0, 0]


def test_another_model_needs_data(finished_run: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Another model needs data to be tested on: --data\.source folder"):
        evaluate(tmp_path)
    with pytest.raises(ValueError, match=r"where are the figures of timm/vit_tiny_patch16_224 to be kept"):
        evaluate("timm/vit_tiny_patch16_224", data={"source": "digits"})


def test_answers_that_are_no_numbers_are_refused(finished_run: Any, tmp_path: Path) -> None:
    folder = finished_run.copy(tmp_path / "run")
    model, card = load_model(folder / "model"), read_card(folder / "model")
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))  # pyright: ignore
    save_model(model, card, folder / "model")
    with pytest.raises(ValueError, match="answer to image 0 is no number; its weights are spoilt"):
        evaluate(folder)
    assert not (folder / "test.json").exists()
