"""What became of every contestant and seed: a row each in `results.json`, and each image's answer beside its run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from vit.compare.difference import Difference, difference
from vit.train.predictions import read_predictions
from vit.train.story import write_json

RESULTS = "results.json"
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trained contestant."""

    name: str
    seed: int
    test_accuracy: float
    """Share of the test images, from 0 to 1."""
    test_images: int
    parameters: int
    seconds: float
    """Training with validation, without start-up and testing."""
    images_per_second: float | None
    """Median over the epochs of the images trained on in a second; none of a run that was gone on with at its end."""


def run_name(name: str, seed: int) -> str:
    """The name of a contestant's run folder."""
    return f"{name}-seed{seed}"


def write_results(folder: Path, results: Sequence[Result], differences: Mapping[str, Difference]) -> None:
    """All of a comparison, for other programs."""
    found = {name: asdict(one) | {"is_clear": one.is_clear} for name, one in differences.items()}
    write_json(folder / RESULTS, {"results": [asdict(one) for one in results], "ours_minus": found})


def read_results(folder: Path) -> list[Result]:
    """The rows of a comparison that has begun, none of one that has not."""
    if not (folder / RESULTS).is_file():
        return []
    return [Result(**row) for row in json.loads((folder / RESULTS).read_text(encoding="utf-8"))["results"]]


def differences(folder: Path, results: Sequence[Result]) -> dict[str, Difference]:
    """Ours minus each baseline, over the seeds that both have been trained with."""
    seeds: dict[str, set[int]] = {}
    for one in results:
        seeds.setdefault(one.name, set()).add(one.seed)
    ours = seeds.pop(OURS, set())
    return {
        name: difference(_right(folder, OURS, both), _right(folder, name, both))
        for name, theirs in seeds.items()
        if (both := sorted(ours & theirs))
    }


def _right(folder: Path, name: str, seeds: Sequence[int]) -> Bool[np.ndarray, "seeds images"]:
    """Which test images a contestant has right."""
    return np.stack([read_predictions(folder / run_name(name, seed) / "test.csv").right for seed in seeds])
