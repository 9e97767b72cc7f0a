"""model + images -> what it says about each of them: measured, and kept as a table, a row an image."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vit.data.sources import Labelled
from vit.train.measures import Array

HALF = {"bf16": torch.bfloat16, "16": torch.float16}
DTYPES = {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
PRECISIONS = (*DTYPES, *(f"{half}-mixed" for half in HALF))
Batches = Iterable[list[Tensor]]


@dataclass(frozen=True)
class Predictions:
    """A row for each image, in the order of the data."""

    images: Sequence[str]
    """Paths, or numbers from 0 where the images are held in memory."""
    labels: Sequence[str]
    classes: Sequence[Sequence[str]]
    """The likeliest classes, at most five, the likeliest first."""
    probabilities: Sequence[Sequence[float]]
    of_label: Sequence[float]
    """The probability of the label."""

    @property
    def right(self) -> Array:
        """Whether the likeliest class is the label, (n,)."""
        return np.array([label == likeliest[0] for label, likeliest in zip(self.labels, self.classes, strict=True)])

    @property
    def confidence(self) -> Array:
        """The probability of the likeliest class, (n,)."""
        return np.array([probabilities[0] for probabilities in self.probabilities])


@torch.inference_mode()
def predict(
    network: nn.Module,
    batches: Batches,
    prepare: Callable[[list[Tensor]], list[Tensor]],
    device: torch.device,
    precision: str = "32-true",
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (n, classes) and labels (n,), on the CPU.

    Args:
        network: From images to logits; moved to the device.
        batches: Images and labels as the data module's loaders give them.
        prepare: What the data module does to a batch on the device.
        device: Where the network runs.
        precision: Lightning's word for the number type of the network: 32-true, bf16-mixed, ...

    Raises:
        ValueError: the network's answer to some image is no number.
    """
    dtype = DTYPES.get(precision, torch.float32)
    network = network.to(device, dtype).eval()
    logs: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in batches:
        images, targets = prepare([part.to(device, non_blocking=True) for part in batch])
        with _autocast(device, precision):
            logits = network(images.to(dtype))
        logs.append(logits.float().log_softmax(dim=-1).cpu())
        labels.append(targets.cpu())
    together = torch.cat(logs)
    if not together.isfinite().all():
        number = int((~together.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(f"the model's answer to image {number} is no number; its weights are spoilt.")
    return together, torch.cat(labels)


def name_predictions(
    log_probabilities: Tensor, labels: Tensor, classes: Sequence[str], part: Labelled, top_k: int = 5
) -> Predictions:
    """The likeliest classes of each image, by name."""
    names = distinct(classes)
    probabilities, indices = log_probabilities.exp().topk(min(top_k, len(classes)))
    return Predictions(
        images=part.names(),
        labels=[names[label] for label in labels.tolist()],
        classes=[[names[index] for index in row] for row in indices.tolist()],
        probabilities=probabilities.tolist(),
        of_label=log_probabilities.exp().gather(1, labels[:, None])[:, 0].tolist(),
    )


def distinct(classes: Sequence[str]) -> list[str]:
    """The names, with their number where two are the same: ImageNet has two cranes and two maillots."""
    return [f"{name} #{number}" if classes.count(name) > 1 else name for number, name in enumerate(classes)]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """As CSV: image, label, its probability, then the likeliest classes with theirs."""
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        numbers = range(1, len(predictions.classes[0]) + 1)
        likeliest = [f"{what}_{number}" for number in numbers for what in ("class", "probability")]
        writer.writerow(["image", "label", "probability_of_label", *likeliest])
        rows = (predictions.images, predictions.labels, predictions.of_label)
        for image, label, of_label, names, shares in zip(
            *rows, predictions.classes, predictions.probabilities, strict=True
        ):
            pairs = zip(names, shares, strict=True)
            writer.writerow([image, label, f"{of_label:.6g}", *(cell for n, p in pairs for cell in (n, f"{p:.6g}"))])
    unfinished.replace(path)


def read_predictions(path: Path) -> Predictions:
    """What `write_predictions` wrote.

    Raises:
        ValueError: a file that is none of it.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if header[:5] != ["image", "label", "probability_of_label", "class_1", "probability_1"] or not rows:
        raise ValueError(f"{path} is no table of predictions of `vit test`.")
    return Predictions(
        images=[row[0] for row in rows],
        labels=[row[1] for row in rows],
        of_label=[float(row[2]) for row in rows],
        classes=[row[3::2] for row in rows],
        probabilities=[[float(cell) for cell in row[4::2]] for row in rows],
    )


def _autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    kind, _, mixed = precision.partition("-")
    if mixed != "mixed":
        return contextlib.nullcontext()
    return torch.autocast(device.type, HALF[kind])
