"""A finished run -> its accuracy on the test images, and a record of every time they were looked at."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import ArgumentParser

from vit.data.module import ImageDataModule
from vit.train.classifier import Classifier
from vit.train.run import quieten
from vit.weights import load_model, read_card

RECORD = "test.json"


def evaluate(run_folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Test the model of a run folder on the test part of the run's data; all looks so far, this one last.

    Raises:
        FileNotFoundError: no such run folder, or it has no finished model.
        ValueError: the data has no test part, or other classes than the model.
    """
    quieten()
    folder = Path(run_folder)
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no config.yaml; `vit fit` makes runs/NAME.")
    network = load_model(folder / "model")
    data = _data_of_run(folder / "config.yaml")
    classes = read_card(folder / "model").classes
    if data.classes != classes:
        raise ValueError(
            f"the data has the classes {', '.join(data.classes)}, but the model was trained on {', '.join(classes)}."
        )
    classifier = Classifier(network.config)
    classifier.network = network
    trainer = L.Trainer(
        devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    metrics = trainer.test(classifier, datamodule=data, verbose=False)[0]
    assert data.source.test is not None
    look = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "images": len(data.source.test), **metrics}
    record = folder / RECORD
    looks = [*(json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []), look]
    record.write_text(json.dumps(looks, indent=1), encoding="utf-8")
    return looks


def _data_of_run(config: Path) -> ImageDataModule:
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ImageDataModule, "data")
    data = {**values["data"], "image_size": values["model"]["vit"]["image_size"]}
    return parser.instantiate(parser.parse_object({"data": data})).data
