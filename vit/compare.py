"""ours and timm under one recipe -> one table: the same data, split, order, augmentation, steps and seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from vit.nn import ViT
from vit.train.measures import wilson_interval
from vit.train.run import Run, fit, test
from vit.weights.timm import timm_architecture, timm_arguments, to_timm

Baseline = Literal["timm", "timm-default"]
BASELINES: dict[Baseline, str] = {
    "timm": "timm's VisionTransformer of the same shape, starting from the very weights ours starts from",
    "timm-default": "timm's VisionTransformer of the same shape with timm's own initial weights",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trained contestant."""

    name: str
    seed: int
    test_accuracy: float
    """Share of the test images, from 0 to 1."""
    test_images: int
    parameters: int
    seconds: float
    """Training with validation, without start-up and testing."""
    images_per_second: float
    """Median over the epochs of the images trained on in a second."""


def compare(args: Sequence[str], baselines: Sequence[Baseline], seeds: Sequence[int], folder: Path) -> Iterator[Result]:
    """Train ours and the baselines with each seed, one after the other, and test each once when it is finished.

    The order of the contestants is turned round from seed to seed, so that a machine that slows down favours none.
    Every run keeps its folder, `folder/NAME-seedN`; afterwards `folder` holds results.json and table.md.

    Args:
        args: The run, as for `vit fit`.
        baselines: What ours is set against.
        seeds: Of initial weights, order and augmentation; the split of the data is the same for all.
        folder: A new folder for the runs and the table.

    Raises:
        ValueError: the data has no test part.
    """
    names = ["ours", *dict.fromkeys(baselines)]
    results: list[Result] = []
    for turn, seed in enumerate(seeds):
        for name in names if turn % 2 == 0 else reversed(names):
            latest = _train(name, seed, args, folder)
            results = sorted([*results, latest], key=lambda result: (names.index(result.name), result.seed))
            # after every run: a crash in the last one must not lose the others
            written = json.dumps([asdict(result) for result in results], indent=1)
            (folder / "results.json").write_text(written, encoding="utf-8")
            (folder / "table.md").write_text(table(results), encoding="utf-8")
            yield latest


def table(results: Sequence[Result]) -> str:
    """Results as a Markdown table, one row a contestant."""
    rows = [("model", "test accuracy", "parameters", "training", "speed")]
    for name in dict.fromkeys(result.name for result in results):
        mine = [result for result in results if result.name == name]
        rows.append(
            (
                name,
                _accuracy(mine),
                f"{mine[0].parameters:,}",
                f"{statistics.mean(result.seconds for result in mine):.0f} s",
                f"{statistics.median(result.images_per_second for result in mine):,.0f} images/s",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _accuracy(results: Sequence[Result]) -> str:
    """Mean and standard deviation over seeds; of a single run the 95 % interval that its test images allow."""
    percent = [100 * result.test_accuracy for result in results]
    if len(percent) > 1:
        return f"{statistics.mean(percent):.2f} ± {statistics.stdev(percent):.2f} % ({len(percent)} seeds)"
    low, high = wilson_interval(results[0].test_accuracy, results[0].test_images)
    return f"{percent[0]:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def _train(name: str, seed: int, args: Sequence[str], folder: Path) -> Result:
    own = ["--seed_everything", str(seed), "--output", str(folder), "--name", f"{name}-seed{seed}"]
    run = Run([*args, *own], epoch_lines=False)
    if run.trainer.world_size > 1:
        run.take_back()
        raise ValueError("vit compare trains on one device, and here are several; say --trainer.devices 1.")
    images = run.datamodule.source.test
    if run.config.model.tune != "all":
        run.take_back()
        raise ValueError(f"comparing trains all weights of both models; leave model.tune={run.config.model.tune} out.")
    if images is None:
        run.take_back()
        raise ValueError("comparing needs test images, and this data has none; put test/CLASS beside train/.")
    ours = cast(ViT, run.model.network)
    if name in BASELINES:
        run.model.network = timm_model(ours, own_weights=name == "timm")
    fit(run)
    return Result(
        name=name,
        seed=seed,
        test_accuracy=test(run),
        test_images=len(images),
        parameters=sum(parameter.numel() for parameter in run.model.network.parameters()),
        seconds=run.stopwatch.seconds,
        images_per_second=statistics.median(run.stopwatch.images_per_second),
    )


def timm_model(ours: ViT, own_weights: bool) -> nn.Module:
    """The baseline: timm's model of the same shape, with our weights or with its own initial ones."""
    import timm

    config = ours.config
    model = timm.create_model(
        timm_architecture(config),
        **timm_arguments(config),
        pos_drop_rate=config.drop_rate,
        proj_drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )
    if own_weights:
        with torch.no_grad():
            model.load_state_dict(to_timm(ours.state_dict(), config))
    return model
