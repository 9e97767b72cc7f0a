"""`vit test`: how good a finished run, or any model, is on the test images."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import torch

from vit.data.module import ImageDataModule
from vit.parsing import command_parser
from vit.predict import check_device
from vit.train.evaluate import Part, Subject, default_device, examine, looks_alike, open_subject, run_folder
from vit.train.report import draw_report

SHOWN = 20
"""Classes that are listed; of more the worst are."""


def run(arguments: list[str]) -> int:
    """Measure once, print the table, and say how often the test images have been looked at."""
    parser = command_parser(
        "test",
        "Measure a finished run, or another model on data that is named, on the test images; record that they were "
        "looked at. Classes are matched by name.",
    )
    parser.add_argument("model", type=str, help="run folder, such as runs/NAME; or another model, with --data.source")
    parser.add_argument("--part", type=Part, default="test", help="which images; looking at val costs nothing")
    parser.add_argument(
        "--device", type=str | None, default=None, help="where the model runs; default: the accelerator"
    )
    parser.add_argument("--precision", type=str | None, default=None, help="number type; default: the run's")
    parser.add_argument("--output", type=str | None, default=None, help="folder of the record; default: the run's")
    parser.add_argument("--report", type=bool, default=True, help="draw the report of the run again, with the test")
    parser.add_argument("--format", type=Literal["text", "json"], default="text", help="of what is printed")
    parser.add_class_arguments(ImageDataModule, "data", skip={"image_size"})
    # only what was given: the rest is the run's
    given = parser.parse_args(arguments, defaults=False, _skip_validation=True).as_dict()
    if given.get("device"):
        check_device(given["device"])
    form, model, report = given.pop("format", "text"), given.pop("model"), given.pop("report", True)
    part, device = given.pop("part", "test"), given.pop("device", None)
    subject = open_subject(model, **given)
    looks = examine(subject, part, torch.device(device) if device else default_device())
    print(json.dumps(looks[-1], indent=1, ensure_ascii=False) if form == "json" else as_text(looks))
    if report and subject.folder == run_folder(model):
        _draw(subject, quiet=form == "json")
    return 0


def _draw(subject: Subject, quiet: bool) -> None:
    """The figures stand, whatever becomes of their pictures."""
    try:
        page = draw_report(subject.folder, subject.data)
    except (OSError, ValueError, KeyError) as error:
        print(f"warning: there is no report: {error}", file=sys.stderr)
    else:
        if not quiet:
            print(f"\nreport in {page}")


def as_text(looks: list[dict[str, Any]]) -> str:
    """The last look as tables, and the number of looks where it was not the first."""
    look = looks[-1]
    part, accuracy = ("test", look["test_acc"]) if "test_acc" in look else ("validation", look["val_acc"])
    lines = [f"{part} accuracy {100 * accuracy:.2f} % of {look['images']:,} images (top-1)", ""]
    lines += [*figures(look["measures"]), "", *classes(look["measures"]["classes"])]
    if part == "test" and (count := looks_alike(looks)) > 1:
        lines += ["", f"this was look number {count} at the test images: choose nothing by them"]
    return "\n".join(lines)


def figures(measures: dict[str, Any]) -> list[str]:
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
        percent = name not in {"nll", "brier"}
        value, low, high = ((100 if percent else 1) * one[key] for key in ("value", "low", "high"))
        digits, unit = (2, " %") if percent else (4, "")
        rows.append([words, f"{value:.{digits}f}{unit}", f"{low:.{digits}f} to {high:.{digits}f}{unit}"])
    noise = f"so few images show an ECE of {100 * measures['ece_if_calibrated']:.2f} % where the model is calibrated"
    return [*aligned(rows), noise]


def classes(of_classes: list[dict[str, Any]]) -> list[str]:
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


def aligned(rows: list[list[str]]) -> list[str]:
    """Columns as wide as they need; the first one to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
