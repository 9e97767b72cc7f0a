"""labels -> weights of classes: so that large classes do not drown small ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vit.spelling import did_you_mean

Weighting = Literal["none", "auto"] | dict[str | int, float]
Sampling = Literal["shuffled", "balanced"]


def class_counts(labels: Int64[Tensor, " n"], num_classes: int) -> list[int]:
    """How many images every class has."""
    return labels.bincount(minlength=num_classes).tolist()


def describe(labels: Int64[Tensor, " n"], classes: Sequence[str], weights: Tensor | None, sampling: Sampling) -> str:
    """A table of the classes, for the start of a run: how many images, their weight, how often an epoch shows them."""
    width = max(len("class"), *map(len, classes))
    lines = [f"{'class':<{width}}  images  weight  shown an epoch"]
    counts = class_counts(labels, len(classes))
    present = sum(count > 0 for count in counts)
    for index, (name, count) in enumerate(zip(classes, counts, strict=True)):
        weight = 1.0 if weights is None else weights[index].item()
        shown = count if sampling == "shuffled" else round(len(labels) / present) if count else 0
        lines.append(f"{name:<{width}}  {count:6d}  {weight:6.3g}  {shown:14d}")
    return "\n".join(lines)


def class_weights(
    weighting: Weighting, labels: Int64[Tensor, " n"], classes: Sequence[str]
) -> Float[Tensor, " classes"] | None:
    """Weights of the classes in the loss, by index; None where all weigh the same.

    `auto` gives every class the same sum of weights: n / (classes * count), as scikit-learn's "balanced"; a class has 1
    where it is of average size. Classes that a mapping leaves out weigh 1.

    Raises:
        ValueError: a class that is none, or a weight that is not a positive number.
    """
    if weighting == "none":
        return None
    if isinstance(weighting, dict):
        weights = {_as_name(key): weight for key, weight in weighting.items()}
        for name, weight in weights.items():
            if name not in classes:
                raise ValueError(f"class_weights names {name!r}, which is no class{did_you_mean(name, classes)}")
            if not 0 < weight < math.inf:
                raise ValueError(f"class_weights gives {name!r} the weight {weight}; it must be a number above 0.")
        return torch.tensor([float(weights.get(name, 1.0)) for name in classes])
    counts = labels.bincount(minlength=len(classes)).clamp(min=1)
    return len(labels) / (len(classes) * counts)


def _as_name(key: object) -> str:
    """The class that a key names: YAML takes 1 without quotes for a number, and yes for true."""
    if isinstance(key, str) or type(key) is int:
        return str(key)
    raise ValueError(f'class_weights names {key!r}, which is no text in YAML; put the name in quotes, {{"yes": 2.0}}.')
