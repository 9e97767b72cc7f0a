"""scikit-learn's handwritten digits: real data that needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from einops import rearrange

from vit.data.sources.labelled import Labelled, Source
from vit.data.sources.split import stratified_split


def digits(root: Path) -> Source:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships; `root` is not used.

    It has no test part of its own: a fifth of every class, always the same, is set apart.
    """
    from sklearn.datasets import load_digits

    arrays = cast(Any, load_digits())
    greys = torch.from_numpy(arrays.images * (255 / 16)).round().to(torch.uint8)
    everything = Labelled(rearrange(greys, "n h w -> n 1 h w"), torch.from_numpy(arrays.target).long())
    train, test = stratified_split(everything, fraction=0.2, seed=0)
    return Source(classes=tuple("0123456789"), train=train, test=test, mean=(0.305,), std=(0.376,))
