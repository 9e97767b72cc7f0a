"""ours and timm under one recipe: the same data, split, order, augmentation, steps and seeds. Who is better, if anyone?

__init__.py     train all of them in turn, test each once
baselines.py    timm's ViT of our shape, from our start or its own
results.py      a row a run, kept in results.json; which images each has right
difference.py   these -> how much better ours is, with the 95 % interval of the pairs
table.py        all of it for people
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vit.compare.baselines import BASELINES, Baseline, timm_model
from vit.compare.results import OURS, RESULTS, Result, differences, read_results, run_name, write_results
from vit.compare.table import table
from vit.nn import ViT, ViTConfig
from vit.train.checkpoints import FINISHED, FOLDER
from vit.train.evaluate import Subject, digest_of, examine
from vit.train.export import exported_network, whole
from vit.train.flags import AUTO
from vit.train.predictions import read_predictions
from vit.train.run import Run, fit
from vit.train.seeds import Flags, require_same
from vit.weights import ModelCard
from vit.weights.timm import timm_architecture

__all__ = ["BASELINES", "TABLE", "Baseline", "Result", "compare", "is_comparison"]

TABLE = "table.md"
NAMES = (OURS, *BASELINES)


def compare(
    args: Sequence[str],
    baselines: Sequence[Baseline],
    seeds: Sequence[int],
    folder: Path,
    begin: Callable[[int], None] = lambda trained: None,
) -> Iterator[Result]:
    """Train ours and the baselines with each seed, one after the other, and test each once when it is finished.

    The order of the contestants is turned round from seed to seed, so that a machine that slows down favours none.
    Every run keeps its folder, `folder/NAME-seedN`, with `test.csv`, its answer to each image; `folder` holds
    results.json and table.md. What is there already is not trained again, and an unfinished run is gone on with, so a
    comparison that was stopped can be taken up, or be given more seeds and baselines.

    Args:
        args: The run, as for `vit fit`.
        baselines: What ours is set against.
        seeds: Of initial weights, order and augmentation; the split of the data is the same for all.
        folder: For the runs and the table: a new one, or that of a comparison to be gone on with.
        begin: Told once how many runs are there already, when the first of the others is about to be trained.

    Yields:
        The result of each run as it is tested, not of those that were there.

    Raises:
        ValueError: the data has no test part, or flags that cannot be compared by.
        FileExistsError: the folder has runs of another config.
    """
    names = [OURS, *dict.fromkeys(baselines)]
    results = read_results(folder)
    _require_same_runs(folder, _values(args, names))
    there = {(result.name, result.seed) for result in results}
    begun = False
    for turn, seed in enumerate(seeds):
        for name in names if turn % 2 == 0 else reversed(names):
            if (name, seed) in there:
                continue
            run = _contestant(name, seed, args, folder)
            if not begun:
                begin(sum((each, number) in there for each in names for number in seeds))
                begun = True
            latest = _train(run, name, seed)
            results = sorted([*results, latest], key=lambda result: (NAMES.index(result.name), result.seed))
            # after every run: a crash in the last one must not lose the others
            found = differences(folder, results)
            write_results(folder, results, found)
            (folder / TABLE).write_text(table(results, found), encoding="utf-8")
            yield latest


def is_comparison(folder: Path) -> bool:
    """Whether a comparison has begun in this folder."""
    return (folder / RESULTS).is_file() or any(any(folder.glob(f"{name}-seed*")) for name in NAMES)


def _values(args: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Those of all flags, once it is known that they make runs that can be compared, each in its own folder."""
    flags = Flags(args, of_several=True)
    config = flags.config
    if config.resume != AUTO:
        raise ValueError("--resume is for one run; vit compare goes on with the comparison of that --name.")
    if config.max_time is not None or config.trainer.max_time is not None:
        raise ValueError("a time to stop at gives the faster one more steps; leave max_time out, and say max_epochs.")
    if config.early_stopping is not None:
        raise ValueError("early_stopping gives each its own number of steps; leave it out, and say max_epochs.")
    if "timm-default" in names and config.model.pretrained is not None:
        raise ValueError(
            "timm-default starts from timm's own random weights, and ours from model.pretrained; "
            "--baseline timm starts from the same."
        )
    return flags.values()


def _require_same_runs(folder: Path, values: Mapping[str, Any]) -> None:
    """Refuse to set runs of one config beside those of another."""
    for name in NAMES:
        for run in sorted(folder.glob(f"{name}-seed*")):
            require_same(run, values)


def _contestant(name: str, seed: int, args: Sequence[str], folder: Path) -> Run:
    """The run of one contestant, ready to be trained."""
    path = folder / run_name(name, seed)
    # of a run that was trained to its end and stopped before its result was kept: it is gone on with there
    (path / FOLDER / FINISHED).unlink(missing_ok=True)
    run = Run([*args, "--output", str(folder), "--name", path.name, "--seed_everything", str(seed)], epoch_lines=False)
    if wrong := _cannot_be_compared(run):
        run.take_back()
        raise ValueError(wrong)
    if name in BASELINES:
        run.model.network = timm_model(cast(ViT, run.model.network), own_weights=name == "timm")
    return run


def _cannot_be_compared(run: Run) -> str | None:
    """Why this run is none to compare by, if so."""
    if run.trainer.world_size > 1:
        return "vit compare trains on one device, and here are several; say --trainer.devices 1."
    if run.config.model.tune != "all":
        return f"comparing trains all weights of both models; leave model.tune={run.config.model.tune} out."
    if run.config.trainer.fast_dev_run:
        return "comparing needs finished models, and trainer.fast_dev_run keeps none; try it with vit fit."
    if run.datamodule.source.test is None:
        return "comparing needs test images, and this data has none; put test/CLASS beside train/."
    tested = next(run.folder.parent.glob("*-seed*/test.csv"), None)
    if tested is not None and list(read_predictions(tested).images) != run.datamodule.source.test.names():
        return f"the test images are others than those of {tested.parent}; choose another --name."
    try:  # before ours is trained
        timm_architecture(cast(ViT, run.model.network).config)
    except ValueError as error:
        return str(error)
    return None


def _train(run: Run, name: str, seed: int) -> Result:
    fit(run)
    network, weights = exported_network(run.trainer, whole(run.trainer, run.model), run.config.export)
    subject = Subject(
        network=network,
        card=ModelCard(
            config=ViTConfig(**run.model.hparams["vit"]),
            classes=run.datamodule.classes,
            preprocessing=run.datamodule.preprocessing,
            provenance={"weights": weights, "steps": run.trainer.global_step},
        ),
        data=run.datamodule,
        precision=str(run.trainer.precision),
        folder=run.folder,
        digest=digest_of(run.folder / "model"),
    )
    look = examine(subject, "test", run.trainer.strategy.root_device)[-1]
    return Result(
        name=name,
        seed=seed,
        test_accuracy=look["test_acc"],
        test_images=look["images"],
        parameters=sum(parameter.numel() for parameter in run.model.network.parameters()),
        seconds=run.stopwatch.seconds,
        images_per_second=statistics.median(speeds) if (speeds := run.stopwatch.images_per_second) else None,
    )
