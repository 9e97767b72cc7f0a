"""What a run starts from, known before anything is built: a flag that was left out follows the pretrained weights."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from vit.train.devices import check_devices
from vit.train.finetune import LARGEST_RATE, starting_point
from vit.train.folder import CONFIG, require_name
from vit.train.going_on import run_before

LARGEST_SEED = 2**32 - 1
"""numpy takes none above it."""

PREPROCESSING = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
"""What of the data follows the pretrained weights."""

NAMES = ("timm/", "hf-hub:")
"""Beginnings of `model.pretrained` where it is no path."""


def parse_from_weights(parser: ArgumentParser, args: Sequence[str], warn: Callable[[str], object] = print) -> Namespace:
    """Parse; model.vit.* and the preprocessing of data.* default to those of model.pretrained or model.architecture.

    What is typed, as a flag or in a config, counts all the same. A run that is gone on with needs the weights no more
    that it started from: where they are gone, what is left out is as its own config says.

    Args:
        parser: Of the run.
        args: As for `vit fit`.
        warn: Is told where they are gone.

    Raises:
        FileNotFoundError, ValueError: as `vit.weights.load`.
    """
    parsed = parser.parse_args(list(args))
    pretrained, architecture = parsed.model.pretrained, parsed.model.architecture
    if pretrained is None and architecture is None:
        return parsed
    before = _config_before(parsed)
    if before is not None and before.absolute() in (Path(str(path)).absolute() for path in parsed.config or []):
        return parsed  # it leaves nothing out
    try:
        start = starting_point(pretrained, architecture)
    except FileNotFoundError:
        if before is None:
            raise
        warn(
            f"model.pretrained={pretrained} cannot be had now; the run goes on without it, and what is left out here "
            f"is as {before} says."
        )
        return _parse_as_before(parser, args, before)
    fields = {name: value for name, value in dataclasses.asdict(start.config).items() if name != "num_classes"}
    parser.set_defaults({f"model.vit.{name}": value for name, value in fields.items()})
    parsed = parser.parse_args(list(args))
    if start.card is None:
        return parsed
    wanted = dataclasses.replace(start.config, in_channels=parsed.model.vit.in_channels)
    preprocessing = start.card.for_config(wanted).preprocessing
    parser.set_defaults({f"data.{name}": getattr(preprocessing, name) for name in PREPROCESSING})
    return parser.parse_args(list(args))


def _config_before(config: Namespace) -> Path | None:
    """The config of the run that is gone on with, if there is one and it started from the same weights."""
    folder = run_before(config.resume, config.name, Path(config.output))
    if folder is None or _read(folder / CONFIG)["model"]["pretrained"] != absolute(config.model.pretrained):
        return None
    return folder / CONFIG


def _parse_as_before(parser: ArgumentParser, args: Sequence[str], before: Path) -> Namespace:
    """Parse; what would follow the pretrained weights follows another config."""
    values = _read(before)
    fields = {name: value for name, value in values["model"]["vit"].items() if name != "num_classes"}
    parser.set_defaults({f"model.vit.{name}": value for name, value in fields.items()})
    parser.set_defaults({f"data.{name}": values["data"][name] for name in PREPROCESSING})
    return parser.parse_args(list(args))


def _read(config: Path) -> dict[str, Any]:
    return yaml.safe_load(config.read_text(encoding="utf-8"))


def check_flags(config: Namespace) -> None:
    """Refuse what cannot work, before any data is loaded.

    Raises:
        ValueError: with a sentence about the flag.
    """
    _check_trainer(config.trainer)
    check_devices(config.trainer)
    seed = config.seed_everything
    if not isinstance(seed, bool) and not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed_everything={seed} must be from 0 to {LARGEST_SEED}, or true for a random one.")
    require_name(config.output, config.name)
    if config.early_stopping is not None and config.early_stopping < 1:
        raise ValueError(f"early_stopping={config.early_stopping} must be at least 1 epoch; 10 is usual.")
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


def absolute(source: str | None) -> str | None:
    """A path that works from anywhere, whether something is there or not; a name stays a name."""
    if source is None or (source.startswith(NAMES) and not Path(source).exists()):
        return source
    return str(Path(source).absolute())


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
