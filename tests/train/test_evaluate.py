"""The test images are measured right, and every look at them is on record."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vit.data.preprocess import normalise
from vit.data.sources import digits
from vit.train.evaluate import evaluate
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
