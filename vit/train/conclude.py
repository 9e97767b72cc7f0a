"""A finished run -> its figures on the validation images, and its report. What goes wrong here costs no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vit.train.evaluate import Subject, digest_of, examine
from vit.train.report import draw_report
from vit.train.run import Run
from vit.weights import load


def conclude(run: Run) -> tuple[dict[str, Any], Path]:
    """Measure the model of the run's folder on the validation images, and draw the report.

    It is the model as it was written, so that the figures are those of the weights that were exported, and not of the
    last epoch where another was better.

    Returns:
        The entry of validation.json, and the page.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the weights give no numbers.
    """
    loaded = load(run.folder / "model")
    assert loaded.card is not None
    precision, digest = str(run.trainer.precision), digest_of(run.folder / "model")
    subject = Subject(loaded.model, loaded.card, run.datamodule, precision, run.folder, digest)
    look = examine(subject, "val", run.trainer.strategy.root_device)[-1]
    return look, draw_report(run.folder, run.datamodule)
