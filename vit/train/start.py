"""What a run starts from, known before anything is built: a flag that was left out follows the pretrained weights."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from vit.train.finetune import LARGEST_RATE, starting_point

LARGEST_SEED = 2**32 - 1
"""numpy takes none above it."""

SPLITTING = ("fsdp", "deepspeed", "model_parallel", "modelparallel")
"""In names of strategies under which no device has all of a weight; fsdp itself is ours."""


def parse_from_weights(parser: ArgumentParser, args: Sequence[str]) -> Namespace:
    """Parse; model.vit.* and the preprocessing of data.* default to those of model.pretrained or model.architecture.

    What is typed, as a flag or in a config, counts all the same.

    Raises:
        FileNotFoundError, ValueError: as `vit.weights.load`.
    """
    parsed = parser.parse_args(list(args))
    pretrained, architecture = parsed.model.pretrained, parsed.model.architecture
    if pretrained is None and architecture is None:
        return parsed
    start = starting_point(pretrained, architecture)
    fields = {name: value for name, value in dataclasses.asdict(start.config).items() if name != "num_classes"}
    parser.set_defaults({f"model.vit.{name}": value for name, value in fields.items()})
    parsed = parser.parse_args(list(args))
    if start.card is None:
        return parsed
    wanted = dataclasses.replace(start.config, in_channels=parsed.model.vit.in_channels)
    preprocessing = start.card.for_config(wanted).preprocessing
    followed = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
    parser.set_defaults({f"data.{name}": getattr(preprocessing, name) for name in followed})
    return parser.parse_args(list(args))


def check_flags(config: Namespace) -> None:
    """Refuse what cannot work, before any data is loaded.

    Raises:
        ValueError: with a sentence about the flag.
    """
    _check_trainer(config.trainer)
    seed = config.seed_everything
    if not isinstance(seed, bool) and not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed_everything={seed} must be from 0 to {LARGEST_SEED}, or true for a random one.")
    name = None if config.name is None else Path(config.name)
    if name is not None and (name.is_absolute() or ".." in name.parts or not name.name):
        raise ValueError(f"--name {config.name!r} is no name of a folder in --output {config.output}.")
    if config.early_stopping is not None and config.early_stopping < 1:
        raise ValueError(f"early_stopping={config.early_stopping} must be at least 1 epoch; 10 is usual.")
    _check_strategy(str(config.trainer.strategy))
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++", "cl")
    if config.compile and not any(name and shutil.which(name) for name in compilers):
        raise ValueError("--compile needs a C++ compiler such as g++, and none is on the path; leave --compile out.")


def _check_trainer(trainer: Namespace) -> None:
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer[name] == 0:
            raise ValueError(f"trainer.{name}={trainer[name]} trains nothing; it must be above 0.")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if trainer[name] is not None and trainer[name] < 1:
            raise ValueError(f"trainer.{name}={trainer[name]} must be at least 1.")
    if isinstance(between := trainer.val_check_interval, int | float) and between <= 0:
        raise ValueError(
            f"trainer.val_check_interval={between} must be above 0; limit_val_batches=0 leaves validation out."
        )
    if (clip := trainer.gradient_clip_val) is not None and clip < 0:  # which Lightning takes for no clipping
        raise ValueError(f"trainer.gradient_clip_val={clip} must be at least 0; 1 is usual, and 0 clips nothing.")


def _check_strategy(strategy: str) -> None:
    if "spawn" in strategy:
        raise ValueError(f"trainer.strategy={strategy} keeps its results in another process; ddp works.")
    if strategy != "fsdp" and any(name in strategy.lower() for name in SPLITTING):
        raise ValueError(
            f"trainer.strategy={strategy} splits the weights in a way that the groups of the optimiser, the moving "
            "average and the model folder do not follow; fsdp splits them and works, ddp keeps them whole."
        )


def absolute(source: str | None) -> str | None:
    """A path that works from anywhere; a name stays a name."""
    return str(Path(source).absolute()) if source is not None and Path(source).exists() else source


def advice(config: Namespace) -> list[str]:
    """What the user may have overlooked, in sentences."""
    model: Any = config.model
    rate, whole = model.recipe.learning_rate, model.tune == "all" or model.tune.startswith("last:")
    if model.pretrained is None or not whole or rate <= LARGEST_RATE:
        return []
    return [
        f"model.recipe.learning_rate={rate:g} is one for training from scratch and may unlearn the pretrained weights; "
        "1e-5 to 3e-4 are usual for fine-tuning, more for model.tune=head or lora."
    ]
