"""`vit fit`: train. LightningCLI has the flags: every one of the trainer, the model, the recipe and the data."""

from __future__ import annotations

import sys

from vit.train.conclude import conclude
from vit.train.run import Run, fit
from vit.train.signals import Stopped
from vit.train.start import advice


def run(arguments: list[str]) -> int:
    """Train one run and say where it lies; 130 or 143 where Ctrl-C or another signal stopped it."""
    training = Run(arguments)
    parameters = sum(p.numel() for p in training.model.network.parameters())
    data = training.datamodule
    say = training.trainer.print  # on the first of several processes only
    say(
        f"{training.folder}: a ViT of {parameters:,} parameters, {len(data.train):,} images to train on, "
        f"{len(data.val or ()):,} to validate, {data.num_classes} classes"
    )
    if report := training.model.load_report:
        say(report)
    for sentence in advice(training.config):
        say(f"warning: {sentence}", file=sys.stderr)
    for note in data.notes:
        say(f"note: {note}")
    if training.checkpoint is not None:
        say(f"going on from {training.checkpoint}")
    try:
        metrics = fit(training)
    except Stopped as stop:
        say(f"stopped: {stop}", file=sys.stderr)
        # another process that leaves with an error would make Lightning and torchrun kill the first
        return stop.exit_code if training.trainer.is_global_zero else 0
    if "val_acc" in metrics:
        say(f"validation accuracy of the last epoch {100 * metrics['val_acc']:.2f} %", end=", ")
    say(f"trained in {training.stopwatch.seconds:.0f} s")
    if (training.folder / "model").is_dir():
        say(f"model in {training.folder / 'model'}; try: vit predict IMAGE --model {training.folder / 'model'}")
        if training.config.report and training.trainer.is_global_zero:
            _report(training)
    return 0


def _report(training: Run) -> None:
    """Measure and draw the finished model; the training stays finished, whatever becomes of the report."""
    try:
        look, page = conclude(training)
    except (OSError, ValueError, KeyError) as error:
        print(f"warning: the run is finished, but there is no report: {error}", file=sys.stderr)
        return
    top_1 = look["measures"]["top_1"]
    print(
        f"validation accuracy of that model {100 * top_1['value']:.2f} % ({100 * top_1['low']:.1f} to "
        f"{100 * top_1['high']:.1f}); report in {page}"
    )
