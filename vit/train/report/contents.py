"""The files of a run -> what its report says."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit.train.evaluate import FILES, RECORD, Part, is_current
from vit.train.measures import Array
from vit.train.predictions import Predictions, distinct, read_predictions


@dataclass(frozen=True)
class Answers:
    """What the model answered on one part of the data, and how good that was."""

    part: Part
    look: Mapping[str, Any]
    """The entry of validation.json, or the last one of test.json."""
    looks: int
    is_current: bool
    """Whether it was the run's model as it is now; it may have been trained longer since."""
    predictions: Predictions

    @property
    def title(self) -> str:
        """The part's name for people."""
        return FILES[self.part]

    @property
    def measures(self) -> Mapping[str, Any]:
        """`Measures.as_json`."""
        return self.look["measures"]

    @property
    def of_classes(self) -> list[Mapping[str, Any]]:
        """The figures of every class that has images."""
        return [one for one in self.measures["classes"] if one["images"]]

    def confusions(self) -> tuple[list[str], Array]:
        """Names of the classes that occur, as label or as answer, and how often each label got each answer."""
        names = distinct([one["name"] for one in self.measures["classes"]])
        answered = [likeliest[0] for likeliest in self.predictions.classes]
        there = {*self.predictions.labels, *answered}
        names = [name for name in names if name in there]
        index = {name: number for number, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), dtype=int)
        for label, answer in zip(self.predictions.labels, answered, strict=True):
            counts[index[label], index[answer]] += 1
        return names, counts

    def most_confused(self, most: int) -> list[tuple[str, str, int, int]]:
        """(label, answer, how often, images of the label): the most frequent wrong pairs first."""
        names, counts = self.confusions()
        wrong = counts * (1 - np.eye(len(names), dtype=int))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [divmod(int(position), len(names)) for position in order]
        return [(names[i], names[j], int(wrong[i, j]), int(counts[i].sum())) for i, j in pairs if wrong[i, j]]

    def worst(self, most: int) -> list[int]:
        """Numbers of the wrongly answered images, the surest first."""
        wrong = np.flatnonzero(~self.predictions.right)
        return wrong[np.argsort(-self.predictions.confidence[wrong], kind="stable")][:most].tolist()


def read_answers(run: Path, part: Part) -> Answers | None:
    """What `vit test` or the end of training wrote, None where it did not.

    Raises:
        ValueError: a file that was changed so that it cannot be read.
    """
    path = run / (RECORD if part == "test" else "validation.json")
    if not path.is_file() or not path.with_suffix(".csv").is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    looks = content if part == "test" else [content]
    if "measures" not in looks[-1]:  # of an older version
        return None
    return Answers(part, looks[-1], len(looks), is_current(run, looks[-1]), read_predictions(path.with_suffix(".csv")))


def read_metrics(run: Path) -> dict[str, tuple[Array, Array]]:
    """Of every figure of metrics.csv the steps and the values; nothing where another logger was used."""
    path = run / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, tuple[Array, Array]] = {}
    for name in rows[0] if rows else ():
        # by step, the last one counts: a run that was gone on with may have logged a step twice
        values = {int(row["step"]): float(row[name]) for row in rows if row["step"] and row[name]}
        kept = {step: value for step, value in sorted(values.items()) if math.isfinite(value)}
        if name not in {"step", "epoch"} and kept:
            found[name] = (np.array(list(kept)), np.array(list(kept.values())))
    return found


def shown(name: str, longest: int = 24) -> str:
    """A class name that can be drawn: one line, printable, not too long, and no formula."""
    printable = "".join(sign if sign.isprintable() else " " for sign in name.encode("utf-8", "replace").decode())
    line = " ".join(printable.split())
    return (line if len(line) <= longest else f"{line[: longest - 1]}…").replace("$", r"\$")


def percent(share: float, digits: int = 1) -> str:
    """A share as text."""
    return f"{100 * share:.{digits}f} %"


def interval(figure: Mapping[str, float], digits: int = 1) -> str:
    """A share's 95 % interval as text."""
    return f"{100 * figure['low']:.{digits}f} to {percent(figure['high'], digits)}"


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)
