"""The whole report of a run: pictures as PNG, and one page with all of them."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit.data.module import ImageDataModule
from vit.data.sources import Labelled
from vit.nn import Preprocessing
from vit.train.report.answers import draw_classes, draw_confusions, draw_reliability
from vit.train.report.contents import Answers, read_answers, read_metrics
from vit.train.report.curves import draw_curves
from vit.train.report.mistakes import draw_mistakes, find_mistakes
from vit.train.report.page import Picture, Section, write_page
from vit.train.story import fingerprint, read_story

FOLDER, PAGE = "report", "report.html"


def draw_report(run: str | os.PathLike[str], data: ImageDataModule) -> Path:
    """Draw everything that the files of a run tell; the page.

    The validation images are shown as measured when training ended, the test images only after `vit test`.

    Args:
        run: Its folder.
        data: Where the pictures of the worst mistakes are taken from, if it is what the run was measured on.

    Raises:
        OSError: the folder cannot be written.
        ValueError: one of the run's files was changed so that it cannot be read.
    """
    run = Path(run)
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    metrics = read_metrics(run)
    curves = [_saved(folder / "learning-curves.png", *draw_curves(metrics))] if metrics else []
    parts = {"val": data.val, "test": data.source.test}
    sections = [
        _section(answers, images, data.preprocessing, folder)
        for part, images in parts.items()
        if (answers := read_answers(run, "test" if part == "test" else "val")) and images is not None
    ]
    return write_page(folder / PAGE, run.absolute().name, read_story(run), curves, sections)


def _section(answers: Answers, images: Labelled, spec: Preprocessing, folder: Path) -> Section:
    same = fingerprint(images) == answers.look["data"]["fingerprint"]  # `vit test` may have looked at other images
    mistakes = find_mistakes(answers, images, spec) if same else []
    figures = {
        "confusions": draw_confusions(answers),
        "classes": draw_classes(answers),
        "reliability": draw_reliability(answers),
    }
    pictures = [_saved(folder / f"{answers.title}-{name}.png", *drawn) for name, drawn in figures.items()]
    if mistakes:
        _saved(folder / f"{answers.title}-mistakes.png", *draw_mistakes(mistakes))  # the page has them one by one
    return Section(answers, pictures, mistakes)


def _saved(path: Path, figure: Figure, words: str) -> Picture:
    """Write a figure as PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # such names are on the page in letters
        figure.savefig(content, dpi=110, format="png", bbox_inches="tight", pad_inches=0.1)
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(content.getvalue())
    unfinished.replace(path)
    return Picture(path.stem, content.getvalue(), words)
