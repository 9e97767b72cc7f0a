"""`vit explain --evaluate`: labelled images -> how far each method can be trusted, as a table, JSON and curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vit.cli.columns import aligned
from vit.cli.explain_settings import class_index
from vit.data.sources.table import Columns, find_table, read_rows
from vit.explain import METHODS
from vit.explain.draw.curves import draw_curves
from vit.explain.draw.files import MARK, require_free, write_whole
from vit.explain.faithfulness import LOW_IS_GOOD, MEASURES, Curves, estimate, faithfulness, verdicts
from vit.explain.priors import PRIORS
from vit.explain.removal import Fill
from vit.explain.sanity import likeness_of_classes, likeness_to_shuffled
from vit.predict import Predictor
from vit.weights import ModelCard

BATCH = 8
"""Images that go through the model together."""

CHECKED = 32
"""Images, the first ones, whose maps are set beside those of shuffled weights and of another class."""


def evaluate(
    predictor: Predictor,
    pictures: Iterable[tuple[str, Image.Image]],
    labels: Mapping[str, int] | None,
    methods: Mapping[str, Mapping[str, Any]],
    fills: Sequence[Fill],
    output: Path,
    model: str,
) -> None:
    """Measure, print the table and what to think of it, and write both.

    Args:
        predictor: The model.
        pictures: Paths and pictures, as `Predictor.read` returns them.
        labels: Number of the class of each path; without them, accuracy is agreement with the model's own prediction.
        methods: Names in `METHODS`, with settings.
        fills: What takes the place of a patch.
        output: Folder for faithfulness.json and faithfulness.png.
        model: What the model is called in them.
    """
    report, picture = output / "faithfulness.json", output / "faithfulness.png"
    require_free([report, picture])
    batches = Batches(predictor, pictures, labels)
    curves = faithfulness(predictor.model, batches, methods, predictor.card.preprocessing, fills)
    number = len(curves[0].probability_most_first)
    images = f"{number} image{'s' * (number != 1)}"
    likeness = _likeness(predictor, batches.first, methods)
    said = verdicts(curves)
    known = "with labels" if labels else "without labels: accuracy is agreement with the model's own prediction"
    print(f"{images}, {known}")
    for fill in fills:
        print(f"\n{'tokens left out: drop' if fill == 'drop' else f'patches replaced by: {fill}'}")
        print(_table([each for each in curves if each.fill == fill], likeness))
    print("", *(said or ["Every method beats chance, the centre and the input's energy, by the gap."]), sep="\n")
    print("Intervals are of 95 %, by the bootstrap over images; what the figures mean: docs/explanation.md.")
    written = {
        "made": MARK,
        "model": model,
        "images": number,
        "verdicts": said,
        "results": [_as_json(each) for each in curves],
    }
    text = json.dumps({**written, "likeness": likeness}, indent=1)
    write_whole(report, lambda unfinished: unfinished.write_text(text + "\n", encoding="utf-8"))
    draw_curves(curves, f"{model}, {images}").save(picture)
    print(report, picture, sep="\n")


def labels_by_folder(paths: Sequence[str], card: ModelCard) -> dict[str, int] | None:
    """The class of each image where every folder bears the name of one; else none."""
    numbers = {name: index for index, name in enumerate(card.classes)}
    folders = {path: Path(path).resolve().parent.name for path in paths}
    return {path: numbers[name] for path, name in folders.items()} if set(folders.values()) <= numbers.keys() else None


def labels_by_table(paths: Sequence[str], table: Path, column: str | None, card: ModelCard) -> dict[str, int]:
    """The class of each image by a table of paths, relative to its own folder, and names or numbers of classes.

    Raises:
        FileNotFoundError: no such table.
        ValueError: an image that it does not have, or a class that the model does not have.
    """
    try:
        file = find_table(table, None)
        rows = read_rows(file, Columns(label=column))
    except (FileNotFoundError, ValueError) as error:  # in the words of a training's flags
        words = {
            "data.root=": "--labels ",
            "choose with data.table": "name one",
            "data.columns.label": "--label-column",
        }
        sentence = str(error)
        for theirs, ours in words.items():
            sentence = sentence.replace(theirs, ours)
        raise type(error)(sentence) from None
    named = {(file.parent / row.path).resolve(): row.label for row in rows}
    if missing := [path for path in paths if Path(path).resolve() not in named]:
        raise ValueError(f"{file} has no label of {len(missing)} of {len(paths)} images, {missing[0]} the first.")
    wanted = {path: named[Path(path).resolve()] for path in paths}
    numbers = {label: class_index(card, label) for label in set(wanted.values())}
    return {path: numbers[label] for path, label in wanted.items()}


class Batches:
    """Normalised images with labels, a few at a time; keeps the first ones for the checks of sanity."""

    def __init__(
        self, predictor: Predictor, pictures: Iterable[tuple[str, Image.Image]], labels: Mapping[str, int] | None
    ) -> None:
        self.predictor, self.pictures, self.labels = predictor, pictures, labels
        self.first: list[Tensor] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        pictures, done = iter(self.pictures), 0
        while part := list(islice(pictures, BATCH)):
            images = self.predictor.images([picture for _, picture in part])
            if done < CHECKED:
                self.first.append(images)
            yield images, self._labels(images, [path for path, _ in part])
            done += len(part)
            if sys.stderr.isatty():
                print(f"\r{done} of {length_hint(self.pictures)} images", end="\r", file=sys.stderr, flush=True)

    def _labels(self, images: Tensor, paths: Sequence[str]) -> Tensor:
        if self.labels is None:
            return self.predictor.model(images).argmax(dim=-1)
        return torch.tensor([self.labels[path] for path in paths], device=images.device)


def _likeness(
    predictor: Predictor, first: Sequence[Tensor], methods: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Mean rank correlation of each method's maps with those of shuffled weights, and of the second likeliest class."""
    found: dict[str, dict[str, float]] = {}
    for name, settings in methods.items():
        weights = torch.cat([likeness_to_shuffled(predictor.model, images, name, settings) for images in first])
        found[name] = {"shuffled_weights": float(weights.mean()), "other_class": 1.0}
        if METHODS[name].class_specific:
            classes = torch.cat([likeness_of_classes(predictor.model, images, name, settings) for images in first])
            found[name]["other_class"] = float(classes.mean())
    return found


def _table(curves: Sequence[Curves], likeness: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each method, then one for each prior, the best gap first."""
    rows = [("", *(f"{name} {'-' if name in LOW_IS_GOOD else '+'}" for name in MEASURES), "shuffled", "other class")]
    ranked = sorted(curves, key=lambda each: (each.method in PRIORS, -float(each.measure("gap").mean())))
    for each in ranked:
        figures = [estimate(each.measure(name)) for name in MEASURES]
        alike = likeness.get(each.method)
        rows.append(
            (
                each.method,
                *(f"{figure.mean:.3f}" for figure in figures[:-1]),
                format(figures[-1]),
                f"{alike['shuffled_weights']:+.2f}" if alike else "",
                f"{alike['other_class']:+.2f}" if alike else "",
            )
        )
    return "\n".join(aligned(rows))


def _as_json(curves: Curves) -> dict[str, Any]:
    figures = {name: estimate(curves.measure(name)) for name in MEASURES}
    return {
        "method": curves.method,
        "fill": curves.fill,
        **{name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in figures.items()},
        "fractions": [round(float(fraction), 4) for fraction in curves.fractions],
        "probability_most_first": curves.probability_most_first.mean(dim=0).tolist(),
        "probability_least_first": curves.probability_least_first.mean(dim=0).tolist(),
        "accuracy_most_first": curves.right_most_first.float().mean(dim=0).tolist(),
        "accuracy_least_first": curves.right_least_first.float().mean(dim=0).tolist(),
    }
