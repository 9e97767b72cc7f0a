"""The numbers of what `vit explain` draws, as arrays with a description beside them (`--npy`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from vit.cli.explain_work import Work
from vit.explain.draw.files import save_array


def save_maps(work: Work, file: Path, row: int) -> None:
    """The maps of one method, the one of this row of `work.maps`: (class, row, column)."""
    found = work.maps[row]
    about = {
        "axes": ["class", "row", "column"],
        "method": found[0].name,
        "described": found[0].method,
        "class_specific": found[0].class_specific,
        "signed": found[0].signed,
        "unit": found[0].unit,
        "classes": [{"index": int(one.target[0]), **_said(work, int(one.target[0]))} for one in found],
    }
    _save(np.concatenate([one.maps.cpu().numpy() for one in found]), file, work, about)


def save_heads(work: Work, file: Path) -> None:
    """What every head of every layer attends to: (layer, head, row, column)."""
    about = {"axes": ["layer", "head", "row", "column"], "method": "attention", "unit": "share"}
    _save(work.heads, file, work, about)


def save_growth(work: Work, file: Path) -> None:
    """The rollout after every layer: (layer, row, column)."""
    about = {"axes": ["layer", "row", "column"], "method": "rollout", "unit": "share", **work.wish.growth}
    _save(work.grown, file, work, about)


def _save(numbers: Shaped[np.ndarray, ...], file: Path, work: Work, about: Mapping[str, Any]) -> None:
    predicted = _said(work, int(work.probabilities.argmax()))
    ends = {"least": float(numbers.min()), "greatest": float(numbers.max())}
    save_array(numbers, file, {"image": work.path, "predicted": predicted, **about, **ends})


def _said(work: Work, index: int) -> dict[str, Any]:
    """A class and its probability."""
    return {"class": work.predictor.card.label(index), "probability": float(work.probabilities[index])}
