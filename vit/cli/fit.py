"""`vit fit`: train. LightningCLI has the flags: every one of the trainer, the model, the recipe and the data."""

from __future__ import annotations

import sys

from vit.cli.tables import table_of_seeds
from vit.train.conclude import conclude
from vit.train.run import Run, fit
from vit.train.seeds import Flags, Seeds, collect, plan_seeds, validation_of
from vit.train.signals import Stopped
from vit.train.start import advice


def run(arguments: list[str]) -> int:
    """Train one run, or one for each of several seeds; 130 or 143 where Ctrl-C or another signal stopped it."""
    flags = Flags(arguments)
    if flags.config.seeds < 1:
        raise ValueError(f"--seeds {flags.config.seeds} must be at least 1.")
    try:
        return _train_seeds(plan_seeds(arguments, flags)) if flags.config.seeds > 1 else _train(Run(arguments))
    except Stopped as stop:  # while the run was being built
        print(f"stopped {stop}: nothing was saved; no step was taken.", file=sys.stderr)
        return stop.exit_code


def _train(training: Run) -> int:
    """Train one run and say where it lies."""
    _announce(training)
    try:
        metrics = fit(training)
    except Stopped as stop:
        training.trainer.print(f"stopped {stop}", file=sys.stderr)
        # another process that leaves with an error would make Lightning and torchrun kill the first
        return stop.exit_code if training.trainer.is_global_zero else 0
    _conclude(training, metrics)
    return 0


def _announce(training: Run) -> None:
    sizes = [(p.numel(), p.requires_grad) for p in training.model.network.parameters()]
    parameters, learning = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    of_them = "" if learning == parameters else f" ({learning:,} of them learn)"
    data = training.datamodule
    say = training.trainer.print  # on the first process of each machine
    say(
        f"{training.folder}: a ViT of {parameters:,} parameters{of_them}, {len(data.train):,} images to train on, "
        f"{len(data.val or ()):,} to validate, {data.num_classes} classes",
        flush=True,
    )
    for note in data.notes:
        say(f"note: {note}")
    if report := training.model.load_report:
        say(report)
    for sentence in advice(training.config):
        say(f"warning: {sentence}", file=sys.stderr)
    if training.checkpoint is not None:
        say(f"going on from {training.checkpoint}, of step {training.from_step:,}", flush=True)


def _conclude(training: Run, metrics: dict[str, float]) -> None:
    say = training.trainer.print
    if training.config.trainer.fast_dev_run:
        say("a dry run: all parts work together; nothing is kept")
        return
    if "val_acc" in metrics:
        say(f"validation accuracy of the last epoch {100 * metrics['val_acc']:.2f} %", end=", ")
    say(f"trained in {training.stopwatch.seconds:.0f} s")
    if training.stopped_early:
        say(f"stopped early: {training.stopped_early}")
    if training.time_is_up:
        say(f"stopped by --max-time; to go on:  vit fit --resume {training.folder} --max-time LONGER")
    if training.trainer.is_global_zero and (training.folder / "model").is_dir():
        print(f"model in {training.folder / 'model'}; try: vit predict IMAGE --model {training.folder / 'model'}")
        _report(training)


def _report(training: Run) -> None:
    """Measure and draw the finished model; the training stays finished, whatever becomes of the report."""
    if not training.config.report:
        return
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


def _train_seeds(plan: Seeds) -> int:
    """Train the seeds one after the other, those that are finished left out, and say how far they are apart."""
    try:
        code = _train_each(plan)
    finally:
        plan.take_back()
    if code:
        print(
            f"to go on with all {len(plan.seeds)} seeds:  the same command, with --output {plan.folder.parent} "
            f"--name {plan.folder.name}",
            file=sys.stderr,
        )
        return code
    rows = collect(plan.folder, plan.seeds, "val", [validation_of(plan.run_of(seed)) for seed in plan.seeds])
    print(f"\n{table_of_seeds(rows)}\n\nvalidation figures of {plan.folder}; vit test {plan.folder} tests all of them")
    return 0


def _train_each(plan: Seeds) -> int:
    """Train until one of the seeds is told to stop, whose exit code this is, or all are done, which is 0."""
    for number, seed in enumerate(plan.seeds, 1):
        print(f"seed {seed}, {number} of {len(plan.seeds)}:", end=" ", flush=True)
        if plan.is_finished(seed):
            print(f"{plan.run_of(seed)} is finished already")
            continue
        training = Run(plan.args_of(seed))
        if training.trainer.world_size > 1:
            training.take_back()
            raise ValueError("--seeds trains on one device, and here are several; say --trainer.devices 1.")
        if code := _train(training):
            return code
    return 0
