"""What has been measured -> tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vit.cli.columns import aligned
from vit.train.seeds import FIGURES, spread

SHOWN = 20
"""Classes that are listed; of more the worst are."""

PLAIN = {"nll", "brier"}
"""Figures that are no shares."""


def figures_of(measures: dict[str, Any]) -> list[str]:
    """A row for each figure, with its 95 % interval."""
    k, num_classes = measures["k"], len(measures["classes"])
    names = {
        "top_1": "top-1 accuracy",
        "top_k": f"top-{k} accuracy" + (f" (of {num_classes} classes)" if num_classes <= k else ""),
        "macro_recall": "macro accuracy",
        "macro_precision": "macro precision",
        "macro_f1": "macro F1",
        "nll": "NLL (nats)",
        "brier": "Brier score",
        "ece": "ECE (15 bins)",
    }
    rows = [["", "value", "95 % interval"]]
    for name, words in names.items():
        one = measures[name]
        low, high = written(name, one["low"], unit=False), written(name, one["high"])
        rows.append([words, written(name, one["value"]), f"{low} to {high}"])
    noise = f"so few images show an ECE of {100 * measures['ece_if_calibrated']:.2f} % where the model is calibrated"
    return [*aligned(rows), noise]


def classes_of(of_classes: list[dict[str, Any]]) -> list[str]:
    """A row for each class; where there are many, for those that are recognised worst."""
    there = [one for one in of_classes if one["images"]]
    shown = there if len(there) <= SHOWN else sorted(there, key=lambda one: one["recall"]["value"])[:SHOWN]
    rows = [["class", "images", "accuracy", "95 % interval", "precision", "F1"]]
    for one in shown:
        recall, precision = one["recall"], one["precision"]
        rows.append(
            [
                one["name"],
                f"{one['images']:,}",
                f"{100 * recall['value']:.1f} %",
                f"{100 * recall['low']:.1f} to {100 * recall['high']:.1f} %",
                f"{100 * precision['value']:.1f} %" if precision else "none",
                f"{100 * one['f1']:.1f} %",
            ]
        )
    more = [f"the {SHOWN} worst of {len(there):,} classes; the record has all"] if len(there) > SHOWN else []
    return [*aligned(rows), *more]


def table_of_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row a seed, then mean and standard deviation."""
    head = ["seed", *FIGURES.values()]
    lines = [[str(row["seed"]), *(written(name, row[name]) for name in FIGURES)] for row in rows]
    over = spread(rows)
    lines += [
        ["mean", *(written(name, mean) for name, (mean, _) in over.items())],
        ["± std", *(written(name, std) for name, (_, std) in over.items())],
    ]
    return "\n".join(aligned([head, *lines]))


def written(name: str, value: float, unit: bool = True) -> str:
    """A figure as it is read: shares in percent."""
    return f"{value:.4f}" if name in PLAIN else f"{100 * value:.2f}" + (" %" if unit else "")
