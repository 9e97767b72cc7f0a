"""trainer.accelerator, devices, strategy -> a sentence, where Lightning has none such or we cannot train by them."""

from __future__ import annotations

import re
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from vit.data.readers import usable_cores
from vit.spelling import did_you_mean

FEW_PROCESSES = 8
"""As many may be tried on a CPU of fewer cores."""

SPLITTING = ("fsdp", "deepspeed", "model_parallel", "modelparallel")
"""In names of strategies under which no device has all of a weight; fsdp itself is ours."""

ELSEWHERE = ("spawn", "fork", "notebook")
"""In names of strategies whose processes do not hand back what they trained."""


def check_devices(trainer: Namespace) -> None:
    """Refuse what cannot work.

    Raises:
        ValueError: with a sentence about the flag.
    """
    _require_known("accelerator", trainer.accelerator, {"auto", "gpu", *AcceleratorRegistry.available_accelerators()})
    _check_number(trainer)
    _check_strategy(str(trainer.strategy))
    whole = {name for name in StrategyRegistry.available_strategies() if not _any_in(name, *SPLITTING, *ELSEWHERE)}
    _require_known("strategy", trainer.strategy, {"auto", "fsdp", *whole})


def _require_known(flag: str, value: Any, known: set[str]) -> None:
    """Refuse a name that Lightning does not know; what is no name is a class of the user's."""
    if isinstance(value, str) and value.lower() not in known:
        raise ValueError(f"trainer.{flag}={value} is not known{did_you_mean(value, known)}")


def _check_number(trainer: Namespace) -> None:
    """Refuse what is no number of devices.

    On a CPU these are processes, which have no numbers of their own, and each of which trains the whole model: so many
    of them that the machine would stand still are refused, too.
    """
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not torch.accelerator.is_available())
    devices = str(trainer.devices).strip("[]").replace(" ", "")
    form, works = (r"auto|\d+", "2") if on_cpu else (r"auto|-1|\d+(,\d*)*", "2, -1 for all, or 0,1 by their numbers")
    if not re.fullmatch(form, devices):
        raise ValueError(f"trainer.devices={trainer.devices} is no number of devices; auto works, and {works}.")
    if on_cpu and devices != "auto" and int(devices) > max(usable_cores(), FEW_PROCESSES):
        raise ValueError(
            f"trainer.devices={devices} would start as many processes on {usable_cores()} cores; on a CPU 1 is "
            "quickest, whose threads share the work."
        )


def _check_strategy(strategy: str) -> None:
    if _any_in(strategy, *ELSEWHERE):
        raise ValueError(f"trainer.strategy={strategy} keeps its results in another process; ddp works.")
    if strategy != "fsdp" and _any_in(strategy, *SPLITTING):
        raise ValueError(
            f"trainer.strategy={strategy} splits the weights in a way that the groups of the optimiser, the moving "
            "average and the model folder do not follow; fsdp splits them and works, ddp keeps them whole."
        )


def _any_in(strategy: str, *names: str) -> bool:
    return any(name in strategy.lower() for name in names)
