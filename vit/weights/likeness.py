"""What architecture a file of tensors has, as far as its tensors show: the part that errors and `vit info` speak from.

Everything here is about shapes, so that tensors may lie on the meta device.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vit.nn import PRESETS, ViT, ViTConfig
from vit.weights.adapt import join_prefix_positions
from vit.weights.timm import from_timm


def skeleton(config: ViTConfig) -> ViT:
    """A model on the meta device: shapes without values, but for what is computed from the config, a small table."""
    with torch.device("meta"), _NothingComputed():
        return ViT(config)


def config_of_file(
    named: ViTConfig, state: Mapping[str, Tensor], changes: Mapping[str, Any], *, head_of_file: bool
) -> ViTConfig:
    """The architecture that the tensors have, given what it is called and which changes of it are asked for.

    The number of classes is the file's where only a preset was named (`head_of_file`) or a new head is asked for. The
    image size and the number of channels may only differ from `named` where a change of them is asked for; that the
    file's positions then lie on a square grid is a guess, since a file does not say it.
    """
    own = _measured(state)
    config = named
    if head_of_file or "num_classes" in changes:
        config = dataclasses.replace(config, num_classes=own["num_classes"])
    if "in_channels" in changes:
        config = dataclasses.replace(config, in_channels=own["in_channels"])
    return _with_positions_of(state, config) if "image_size" in changes else config


def _measured(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of a `ViTConfig` that the shapes show."""
    width, channels, *patch = state["patch_embed.proj.weight"].shape
    blocks = {match[1] for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    return {
        "patch_size": tuple(patch),
        "in_channels": channels,
        "embed_dim": width,
        "depth": len(blocks),
        "num_classes": len(state["head.weight"]) if "head.weight" in state else 0,
    }


def require_sizes(config: ViTConfig, state: Mapping[str, Tensor], source: str) -> None:
    """Raise a `ValueError` if a card says other sizes than the tensors beside it have; no model is built for that."""
    own = _measured(state)
    said = {"patch_size": config.patch_hw} | {
        name: getattr(config, name) for name in ("in_channels", "embed_dim", "depth")
    }
    if others := [
        f"{name}={value} where the tensors have {own[name]}" for name, value in said.items() if value != own[name]
    ]:
        raise ValueError(f"{source}: the card says {', '.join(others)}.")


def fitting_presets(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the architectures whose tensors are exactly these, but for classes and image size; the nearest first."""
    own = _measured(state)
    sizes = {"patch_hw": own["patch_size"], "embed_dim": own["embed_dim"], "depth": own["depth"]}
    alike = {name: config for name in PRESETS if _has(config := ViTConfig.preset(name), sizes)}
    fitting = [name for name in alike if _fits(config_as(name, state), state)]
    return sorted(fitting, key=lambda name: config_as(name, state).grid != alike[name].grid)


def config_as(name: str, state: Mapping[str, Tensor]) -> ViTConfig:
    """The architecture of that name, with the classes, the channels and the image size of the file."""
    own = _measured(state)
    config = ViTConfig.preset(name, num_classes=own["num_classes"], in_channels=own["in_channels"])
    return _with_positions_of(state, config)


def _has(config: ViTConfig, values: Mapping[str, Any]) -> bool:
    return all(getattr(config, name) == value for name, value in values.items())


def _fits(config: ViTConfig, state: Mapping[str, Tensor]) -> bool:
    # these two are added up, which on the meta device would import torch's compiler: 5 s
    small = {name: torch.zeros(state[name].shape) for name in ("cls_token", "pos_embed") if name in state}
    return not difference(skeleton(config).state_dict(), from_timm(join_prefix_positions({**state, **small}, config)))


def likeness(state: Mapping[str, Tensor]) -> str:
    """A sentence about what the tensors look like."""
    own = _measured(state)
    ph, pw = own["patch_size"]
    size = f"{own['embed_dim']} wide, {own['depth']} blocks, patches of {ph} x {pw} pixels"
    head = f"{own['num_classes']} classes" if own["num_classes"] else "no head"
    positions = f", {state['pos_embed'].shape[1]} positions" if "pos_embed" in state else ""
    norms = ", patches normalised (patch_norm=True)" if "patch_embed.norm_pixels.weight" in state else ""
    fitting = fitting_presets(state)
    names = f", which fits {' and '.join(fitting[:3])}" if fitting else ""
    return f"Its tensors are those of a ViT {size}, {own['in_channels']} channels{norms}{positions}, {head}{names}."


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What is missing, unknown or of another shape, as a part of a sentence; empty where nothing is."""
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    other = [
        f"{name} {tuple(found[name].shape)} where {tuple(tensor.shape)} is needed"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "not in the model": unknown, "of another shape": other}
    return "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _with_positions_of(state: Mapping[str, Tensor], config: ViTConfig) -> ViTConfig:
    """The config with the image size of the file's positions, taken for a square grid unless its own fits."""
    if "pos_embed" not in state:
        return config
    # DINOv2 with registers is published with a position for the class token all the same
    candidates = [state["pos_embed"].shape[1] - extra for extra in (config.num_placed_prefix_tokens, 1)]
    sides = [math.isqrt(number) for number in candidates if number > 0 and math.isqrt(number) ** 2 == number]
    if config.num_patches in candidates or not sides:
        return config
    return dataclasses.replace(config, image_size=(sides[0] * config.patch_hw[0], sides[0] * config.patch_hw[1]))


class _NothingComputed(TorchFunctionMode):
    """Keep arithmetic off the meta device, for which torch would import its compiler: 5 s.

    Random values are left out, since there are none, and the sequences that sincos2d is computed from are real.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (nn.init.normal_, Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        if func is torch.arange and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "cpu"}
        return func(*args, **kwargs)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
