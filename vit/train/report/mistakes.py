"""The worst mistakes -> their pictures: wrong answers that the model was surest of, as it saw the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vit.data.decode import UnreadableImageError
from vit.data.preprocess import load_image
from vit.data.sources import Labelled
from vit.nn import Preprocessing
from vit.train.report.contents import Answers, percent, shown

MOST = 24
COLUMNS = 6


@dataclass(frozen=True)
class Mistake:
    """One wrongly answered image."""

    picture: Image.Image
    name: str
    """Its file, or its number."""
    label: str
    answer: str
    confidence: float
    of_label: float
    """The probability of the label."""


def find_mistakes(answers: Answers, images: Labelled, spec: Preprocessing) -> list[Mistake]:
    """The worst ones, the surest first; images that cannot be read any more are left out."""
    predictions = answers.predictions
    found: list[Mistake] = []
    for number in answers.worst(MOST):
        try:
            pixels = _pixels(images, number, spec)
        except (UnreadableImageError, OSError):  # moved or deleted since
            continue
        found.append(
            Mistake(
                picture=Image.fromarray(pixels),
                name=predictions.images[number],
                label=predictions.labels[number],
                answer=predictions.classes[number][0],
                confidence=predictions.probabilities[number][0],
                of_label=predictions.of_label[number],
            )
        )
    return found


def _pixels(images: Labelled, number: int, spec: Preprocessing) -> np.ndarray:
    held = images.images
    image = held[number] if isinstance(held, Tensor) else load_image(held[number], spec)
    return rearrange(image, "1 h w -> h w" if len(image) == 1 else "c h w -> h w c").numpy()


def draw_mistakes(mistakes: list[Mistake]) -> tuple[Figure, str]:
    """All of them in a grid; small pictures are enlarged pixel by pixel."""
    rows = -(-len(mistakes) // COLUMNS)
    columns = min(len(mistakes), COLUMNS)
    figure = Figure(figsize=(2.1 * columns, 2.6 * rows))  # a constrained layout of so many would take half a second
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.3, "wspace": 0.1})
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, mistake in zip(grid.flat, mistakes, strict=False):
        small = max(mistake.picture.size) < 128
        axes.imshow(mistake.picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if small else "antialiased")
        axes.set_title(words_of(mistake, lambda name: shown(name, 18), "\n"), fontsize=8)
    return figure, f"The {len(mistakes)} wrong answers that the model was surest of, as it saw the images."


def words_of(mistake: Mistake, named: Callable[[str], str] = str, between: str = ", ") -> str:
    """What was answered and what it is, with the probabilities of both."""
    return (
        f"answer {named(mistake.answer)} ({percent(mistake.confidence)}){between}"
        f"label {named(mistake.label)} ({percent(mistake.of_label)})"
    )
