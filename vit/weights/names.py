"""Tensor names of one layout under those of another, from a table that reads both ways; and what a layout is.

A table maps a module, or a single tensor, of their layout to its name in timm's, which all layouts here meet in; `{}`
stands for the number of the block. `"encoder.layers.encoder_layer_{}.ln_1": "blocks.{}.norm1"` renames the weight and
the bias of that module in every block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from vit.nn import ViTConfig


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one library names and lays out a ViT's tensors."""

    name: str
    """What people call it."""

    marker: str
    """The tensor that only this layout has: a regular expression for its name, which a prefix may precede."""

    to_timm: Callable[[Mapping[str, Tensor], ViTConfig | None], dict[str, Tensor]]
    """Their tensors under timm's names, given the architecture where it is known; unknown tensors keep their names."""

    marker_ndim: int | None = None
    """How many axes the marker has, where its name alone is not this layout's."""

    spare: str = r"(?!)"
    """Tensors that training needed and the model does not: they may be left over without anybody asking for it."""

    notes: Callable[[Mapping[str, Tensor]], tuple[str, ...]] = lambda _: ()
    """What a reader of these tensors should know about the model, given them under their own names."""

    completed: Callable[[Mapping[str, Tensor]], Mapping[str, str]] = lambda _: {}
    """Tensors under timm's names that `to_timm` had to complete with zeros -> why, given those of the file."""


def rename(state: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors under the names of the table. Those that it does not know keep theirs, so that nothing is lost."""
    rules = [(_pattern(theirs), ours.replace("{}", r"\g<block>") + r"\g<rest>") for theirs, ours in table.items()]
    return {_renamed(name, rules): tensor for name, tensor in state.items()}


def strip(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors without what this regular expression finds before their names, where it does."""
    return {re.sub(f"^(?:{prefix})", "", name): tensor for name, tensor in state.items()}


def inverse(table: Mapping[str, str]) -> dict[str, str]:
    """The table that undoes `table`."""
    assert len(set(table.values())) == len(table), "two names become one, so there is no way back"
    return {ours: theirs for theirs, ours in table.items()}


def fuse(state: Mapping[str, Tensor], parts: str = "qkv", owner: str = r"blocks\.\d+\.attn") -> dict[str, Tensor]:
    """Stack the linear maps `q`, `k` and `v` of every module whose name matches `owner` to one, `qkv`, in that order.

    Raises:
        ValueError: some of the parts are missing.
    """
    fused = dict(state)
    for name in state:
        if match := re.fullmatch(rf"({owner}\.){parts[0]}\.(weight|bias)", name):
            names = [f"{match[1]}{part}.{match[2]}" for part in parts]
            if missing := [name for name in names if name not in state]:
                raise ValueError(f"{', '.join(missing)} is missing beside {name}.")
            tensors = [fused.pop(name) for name in names]
            fused[f"{match[1]}{parts}.{match[2]}"] = rearrange(tensors, "part e ... -> (part e) ...")
    return fused


def split(state: Mapping[str, Tensor], parts: str = "qkv", owner: str = r"blocks\.\d+\.attn") -> dict[str, Tensor]:
    """The inverse of `fuse`."""
    apart = dict(state)
    for name in state:
        if match := re.fullmatch(rf"({owner}\.){parts}\.(weight|bias)", name):
            tensors = rearrange(apart.pop(name), "(part e) ... -> part e ...", part=len(parts))
            apart |= {f"{match[1]}{part}.{match[2]}": tensor for part, tensor in zip(parts, tensors, strict=True)}
    return apart


def patch_shape(numbers: int, config: ViTConfig | None) -> tuple[int, int, int]:
    """Channels, height and width of a patch of so many numbers, laid out in one row.

    Its size is the config's. Where there is none it is taken for a square, of which three channels and one exclude each
    other.

    Raises:
        ValueError: that size does not fit, or no square does.
    """
    if config is not None:
        ph, pw = config.patch_hw
        if numbers % (ph * pw):
            raise ValueError(f"a patch of {numbers} numbers is not one of patch_size={config.patch_size} pixels.")
        return numbers // (ph * pw), ph, pw
    for channels in (3, 1):
        side = math.isqrt(numbers // channels)
        if side * side * channels == numbers:
            return channels, side, side
    raise ValueError(
        f"a patch of {numbers} numbers is no square with three channels or one, and its sides do not show in this "
        "layout; load_model(FILE, ViTConfig(patch_size=(HEIGHT, WIDTH), ...)) says them."
    )


def _pattern(template: str) -> re.Pattern[str]:
    """A module or tensor name with any block number, followed by nothing or by the name of one of its tensors."""
    before, hole, after = template.partition("{}")
    block = r"(?P<block>\d+)" if hole else "(?P<block>)"
    return re.compile(rf"{re.escape(before)}{block}{re.escape(after)}(?P<rest>(?:[./]\w+)?)")


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        if match := pattern.fullmatch(name):
            return match.expand(replacement)
    return name
