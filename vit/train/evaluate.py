"""A finished run or any model -> how good it is on validation or test images, and a record of every look at the test.

    test.json         a list of looks at the test images, the last one last; it only grows
    test.csv          what the model said about each test image at the last look
    validation.json   the same of the validation images, which may be looked at as often as one likes
    validation.csv

A model is tested as it was trained and as it predicts: with the preprocessing of its own folder, in the number type of
its run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from vit.data.module import ImageDataModule
from vit.train.measures import Outcomes, measure
from vit.train.predictions import PRECISIONS, name_predictions, predict, write_predictions
from vit.train.run import quieten
from vit.train.story import fingerprint, now, read_story, write_json
from vit.weights import ModelCard, load
from vit.weights.folder import WEIGHTS

Part = Literal["val", "test"]
FILES: dict[Part, str] = {"val": "validation", "test": "test"}
RECORD = "test.json"
KEPT = ("batch_size", "num_workers")
"""What is taken from a run's data settings where it is tested on another kind of data."""


@dataclass(frozen=True)
class Subject:
    """A model, and the data to measure it on."""

    network: nn.Module
    card: ModelCard
    data: ImageDataModule
    precision: str
    """Lightning's word for the number type: 32-true, bf16-mixed, ..."""
    folder: Path
    """Where what is found is written."""
    digest: str | None
    """Of its weights: `digest_of`."""


def open_subject(
    source: str | os.PathLike[str],
    data: Mapping[str, Any] | None = None,
    precision: str | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Subject:
    """A run folder with its own data, or any model with data that is named.

    Args:
        source: A run folder, its model folder, or whatever `vit.weights.load` takes and names classes.
        data: Settings of `ImageDataModule` instead of the run's.
        precision: Number type instead of the run's; a model without a run is tested in 32-true.
        output: Folder to write to; default: the run folder, or the model folder.

    Raises:
        FileNotFoundError: no such run or model, or a run without a finished model.
        ValueError: data that does not fit the model, or none was named.
    """
    quieten()
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision={precision} is none that a model is tested in; one of {', '.join(PRECISIONS)}.")
    folder = run_folder(source)
    given = dict(data or {})
    if folder is None and "source" not in given:
        raise FileNotFoundError(
            f"{source} is not a run folder: it has no config.yaml; `vit fit` makes runs/NAME. Another model needs data "
            "to be tested on: --data.source folder --data.root PATH."
        )
    if folder is None and output is None and not Path(source).is_dir():
        raise ValueError(f"where are the figures of {source} to be kept? --output FOLDER says.")
    loaded = load(folder / "model" if folder else source)
    if loaded.card is None or not loaded.card.classes:
        raise ValueError(f"{source} names no classes, so its answers cannot be told right from wrong.")
    values = _merge(_data_of_run(folder), given) if folder else given
    story = read_story(folder) if folder else []
    return Subject(
        network=loaded.model,
        card=loaded.card,
        data=_open_data(values, loaded.card),
        precision=precision or (story[-1]["precision"] if story else "32-true"),
        folder=Path(output or folder or source),
        digest=digest_of(folder / "model" if folder else source),
    )


def run_folder(source: str | os.PathLike[str]) -> Path | None:
    """The run folder that is meant: the folder itself, or the one whose `model` it is."""
    given = Path(source)
    candidates = (given, given.parent) if given.name == "model" else (given,)
    return next((folder for folder in candidates if (folder / "config.yaml").is_file()), None)


def evaluate(
    source: str | os.PathLike[str], part: Part = "test", device: str | None = None, **settings: Any
) -> list[dict[str, Any]]:
    """Measure a finished run or another model; all looks at the test images so far, this one last.

    Args:
        source: As for `open_subject`.
        part: Test images, or validation images, of which only the last look is kept.
        device: Where the model runs; default: the accelerator, if there is one.
        **settings: Of `open_subject`.

    Raises:
        FileNotFoundError, ValueError: as `open_subject`; or the data has no such part.
    """
    subject = open_subject(source, **settings)
    return examine(subject, part, torch.device(device) if device else default_device())


def examine(subject: Subject, part: Part, device: torch.device) -> list[dict[str, Any]]:
    """Measure, and write what was found: `test.json` and `test.csv`, or `validation.json` and `validation.csv`."""
    data, card = subject.data, subject.card
    data.trainer = None  # of several devices each would be given its share of the images
    to_model = _class_indices(data.classes, card.classes)
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    images = data.val if part == "val" else data.source.test
    assert images is not None
    logs, labels = predict(
        subject.network, loader, lambda batch: data.on_after_batch_transfer(batch, 0), device, subject.precision
    )
    labels = to_model[labels]
    measures = measure(Outcomes.of(logs, labels), card.classes)
    look = {
        "time": now(),
        "images": len(labels),
        f"{part}_loss": measures.nll.value,
        f"{part}_acc": measures.top_1.value,
        "precision": subject.precision,
        "device": str(device),
        "weights": card.provenance.get("weights"),
        "steps": card.provenance.get("steps"),
        "sha256": subject.digest,
        "data": {"images": len(labels), "classes": len(to_model), "fingerprint": fingerprint(images)},
        "measures": measures.as_json(),
    }
    subject.folder.mkdir(parents=True, exist_ok=True)
    record = subject.folder / f"{FILES[part]}.json"
    looks = [*(read_looks(subject.folder) if part == "test" else []), look]
    write_json(record, looks if part == "test" else look)
    write_predictions(record.with_suffix(".csv"), name_predictions(logs, labels, card.classes, images))
    return looks


def is_measured(run: Path) -> bool:
    """Whether the validation figures of a run are of its model as it is now; it may have been trained longer since."""
    record = run / "validation.json"
    if not record.is_file() or not record.with_suffix(".csv").is_file():
        return False
    return is_current(run, json.loads(record.read_text(encoding="utf-8")))


def is_current(run: Path, look: Mapping[str, Any]) -> bool:
    """Whether a look at a run was at its model as it is now; of those of older versions nobody knows."""
    return look.get("sha256") == digest_of(run / "model")


def digest_of(source: str | os.PathLike[str]) -> str | None:
    """SHA-256 of the weights of a model folder, which tells models apart; None where they lie elsewhere."""
    weights = Path(source) / WEIGHTS
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_looks(folder: Path) -> list[dict[str, Any]]:
    """The record of all looks at the test images, none where there is no such file."""
    record = folder / RECORD
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []


def looks_alike(looks: Sequence[Mapping[str, Any]]) -> int:
    """How many looks were at the same images as the last; those of older versions say nothing of theirs, and count."""
    seen = [look["data"]["fingerprint"] if "data" in look else None for look in looks]
    return sum(one in (None, seen[-1]) for one in seen)


def default_device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _open_data(values: Mapping[str, Any], card: ModelCard) -> ImageDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ImageDataModule, "data")
    sized = {**values, "image_size": list(card.preprocessing.image_size)}
    data: ImageDataModule = parser.instantiate(parser.parse_object({"data": sized})).data
    if isinstance(data.train.images, Tensor) and data.preprocessing.channels != card.preprocessing.channels:
        raise ValueError(
            f"the images of this data have {data.preprocessing.channels} channels, and the model takes "
            f"{card.preprocessing.channels}."
        )
    data.preprocessing = card.preprocessing  # the model's, not the data's: as `vit predict` does it
    return data


def _data_of_run(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["data"]


def _merge(of_run: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The run's settings with others in their place; of another kind of data, only those that concern any."""
    if given.get("source", of_run["source"]) != of_run["source"]:
        of_run = {name: of_run[name] for name in KEPT if name in of_run}
    nested = {
        name: {**of_run[name], **value}
        for name, value in given.items()
        if isinstance(value, Mapping) and isinstance(of_run.get(name), Mapping)
    }
    return {**of_run, **given, **nested}


def _class_indices(of_data: Sequence[str], of_model: Sequence[str]) -> Tensor:
    """The model's index of each class of the data, by name: folders may be in another order, or fewer.

    Raises:
        ValueError: a class that the model does not know.
    """
    known = {name: index for index, name in reversed(list(enumerate(of_model)))}
    if unknown := [name for name in of_data if name not in known]:
        raise ValueError(
            f"the data has the classes {_some(unknown)}, but the model was trained on {_some(of_model)}; classes are "
            "matched by name."
        )
    return torch.tensor([known[name] for name in of_data])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
