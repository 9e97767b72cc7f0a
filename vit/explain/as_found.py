"""A model as explanations run it, and afterwards exactly as it was found, after an error too."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of what `torch.compile` and data parallelism put around it."""
    while True:
        inner = getattr(model, "_orig_mod", None) or (getattr(model, "module", None) if _is_parallel(model) else None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _is_parallel(model: nn.Module) -> bool:
    return isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)


@contextmanager
def as_for_explaining(model: nn.Module) -> Generator[None, None, None]:
    """In evaluation, nothing recomputed, nothing compiled; afterwards everything as it was found."""
    before: list[tuple[Any, str, bool]] = []

    def put(owner: Any, name: str, value: bool) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    with ExitStack() as stack:
        stack.callback(_put_back, before)
        stack.callback(torch.clear_autocast_cache)  # it may hold weights that were cast without a way back
        for module in model.modules():
            put(module, "training", False)
            if isinstance(getattr(module, "grad_checkpointing", None), bool):
                put(module, "grad_checkpointing", False)
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _put_back(before: list[tuple[Any, str, bool]]) -> None:
    for owner, name, value in before:
        setattr(owner, name, value)


@contextmanager
def with_gradients(model: nn.Module) -> Generator[None, None, None]:
    """Gradients are kept, whatever the caller has switched off, but none of the weights', which would cost memory.

    Raises:
        ValueError: the weights were made under torch.inference_mode, and have none.
    """
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError(
            "the weights of this model were made under torch.inference_mode, so it has no gradients; load it outside."
        )
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad = False
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad = True
