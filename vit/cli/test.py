"""`vit test`: how good a finished run, or any model, is on the test images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from vit.cli.tables import classes_of, figures_of, table_of_seeds
from vit.data.module import ImageDataModule
from vit.parsing import command_parser
from vit.predict import check_device
from vit.train.evaluate import FILES, Part, Subject, default_device, examine, looks_alike, open_subject, run_folder
from vit.train.report import draw_report
from vit.train.seeds import collect, runs_of_seeds, spread


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
    if "model" not in given:  # which the parser does not look at either then
        parser.error("the following arguments are required: model")
    if given.get("device"):
        check_device(given["device"])
    form, model, report = given.pop("format", "text"), given.pop("model"), given.pop("report", True)
    part, device = given.pop("part", "test"), given.pop("device", None)
    device = torch.device(device) if device else default_device()
    if several := runs_of_seeds(model):
        print(_all_seeds(model, several, part, device, form, given))
        return 0
    subject = open_subject(model, **given)
    looks = examine(subject, part, device)
    print(as_json(looks[-1]) if form == "json" else as_text(looks))
    if report and subject.folder == run_folder(model):
        _draw(subject, quiet=form == "json")
    return 0


def _all_seeds(
    folder: str, runs: list[tuple[int, Path]], part: Part, device: torch.device, form: str, settings: dict[str, Any]
) -> str:
    """Measure the runs of several seeds; each has the look on its own record."""
    if settings.get("output"):
        raise ValueError("--output is for one run; those of several seeds keep their figures in their own folders.")
    looks = [examine(open_subject(run, **settings), part, device) for _, run in runs]
    rows = collect(Path(folder), [seed for seed, _ in runs], part, [look[-1] for look in looks])
    if form == "json":
        return as_json({"runs": rows, "mean and std": spread(rows)})
    lines = [f"{FILES[part]} figures of {rows[0]['images']:,} images", "", table_of_seeds(rows)]
    if part == "test" and (count := max(map(looks_alike, looks))) > 1:
        lines += ["", f"this was look number {count} at the test images: choose nothing by them"]
    return "\n".join(lines)


def as_json(content: Any) -> str:
    """For programs."""
    return json.dumps(content, indent=1, ensure_ascii=False)


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
    lines += [*figures_of(look["measures"]), "", *classes_of(look["measures"]["classes"])]
    if part == "test" and (count := looks_alike(looks)) > 1:
        lines += ["", f"this was look number {count} at the test images: choose nothing by them"]
    return "\n".join(lines)
