"""Tensors of any known layout -> the same tensors as timm names them: which layout it is shows in the names.

A checkpoint may keep a model under any prefix (`model.`, `module.`, `_orig_mod.`, `teacher.backbone.`): every layout
has one tensor that marks it, and what stands before that tensor's name is the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vit.nn import ViTConfig
from vit.weights import jax, torchvision, transformers, vit_pytorch
from vit.weights.names import Layout, patch_shape, rename
from vit.weights.timm import to_timm

TIMM_RELATIVES = {
    "register_tokens": "reg_token",
    "blocks.{}.mlp.w12": "blocks.{}.mlp.fc1",
    "blocks.{}.mlp.w3": "blocks.{}.mlp.fc2",
    "blocks.{}.gamma_1": "blocks.{}.ls1.gamma",
    "blocks.{}.gamma_2": "blocks.{}.ls2.gamma",
}
"""What DINOv2 (the first three) and DeiT III call otherwise than timm; DeiT, DINO and MAE use timm's names."""

PROJECTION = "patch_embed.proj.weight"
"""timm's is a convolution with four axes, ours linear with two."""

AXES = {PROJECTION: 4, "cls_token": 3, "dist_token": 3, "reg_token": 3, "pos_embed": 3, "head.weight": 2}
"""How many axes a tensor of a plain ViT has in timm's layout."""

PREFERRED = ("teacher.", "state_dict_ema.", "model_ema.")
"""Of several models in one checkpoint, the one that its authors evaluate: DINO's teacher, and the averaged weights."""


def _of_timm(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
    if state[PROJECTION].ndim != 4:
        raise ValueError(f"{PROJECTION} is no convolution, so this is no plain ViT in timm's layout.")
    return rename(state, TIMM_RELATIVES)


def _of_ours(state: Mapping[str, Tensor], config: ViTConfig | None) -> dict[str, Tensor]:
    """Our own state dict, saved by hand: the model folder has timm's layout.

    Patches are the config's, and taken to be square with three channels or one where there is none.
    """
    _, ph, pw = patch_shape(state[PROJECTION].shape[1], config)
    return to_timm(state, config or ViTConfig(image_size=(ph, pw), patch_size=(ph, pw)))


def _renaming(
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> Callable[[Mapping[str, Tensor], ViTConfig | None], dict[str, Tensor]]:
    """A conversion that needs no architecture."""

    def converted(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
        return convert(state)

    return converted


LAYOUTS = (
    Layout(name="vit", marker=re.escape(PROJECTION), marker_ndim=2, to_timm=_of_ours),
    Layout(
        name="timm",
        marker=re.escape(PROJECTION),
        to_timm=_of_timm,
        spare=r"mask_token|decoder_.*",  # of MAE and DINOv2
    ),
    Layout(name="torchvision", marker=re.escape(torchvision.MARKER), to_timm=_renaming(torchvision.to_timm)),
    *transformers.LAYOUTS,
    Layout(name="vit-pytorch", marker=vit_pytorch.MARKER, to_timm=vit_pytorch.to_timm),
    Layout(name="JAX", marker=re.escape(jax.MARKER), to_timm=_renaming(jax.to_timm)),
)


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The tensors of one model in a file."""

    layout: Layout
    prefix: str
    """What stood before each name."""

    state: Mapping[str, Tensor]
    """The tensors, as timm names them."""

    chosen: bool
    """Whether there were several models in the file."""

    left_over: tuple[str, ...]
    """Names of the file's other tensors: another copy of the model, an optimiser's, or spare ones."""

    completed: Mapping[str, str]
    """Tensors of the state that have zeros in them which are not the file's -> why."""

    notes: tuple[str, ...]
    """What else the reader should know."""


def recognise(tensors: Mapping[str, Tensor], path: Path, config: ViTConfig | None = None) -> Recognised:
    """Find the model among the tensors of a file, whose architecture is `config` where it is known.

    Raises:
        ValueError: no ViT of a known layout, or several with nothing to say which is meant.
    """
    for layout in LAYOUTS:
        prefixes = _prefixes(layout, tensors)
        if prefixes:
            prefix = _choose(prefixes, path)
            inside = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            try:
                renamed = layout.to_timm(inside, config)
                _check_axes(renamed)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            except (KeyError, IndexError, TypeError, RuntimeError) as error:  # a tensor missing, or of another shape
                reason = str(error).strip().partition("\n")[0]
                raise ValueError(
                    f"{path} has a name of the {layout.name} layout in it, but not the tensors of a ViT ({reason})."
                ) from None
            spare = [name for name in renamed if re.fullmatch(layout.spare, name)]
            return Recognised(
                layout=layout,
                prefix=prefix,
                chosen=len(prefixes) > 1,
                state={name: tensor for name, tensor in renamed.items() if name not in spare},
                left_over=tuple(name for name in tensors if not name.startswith(prefix)) + tuple(spare),
                completed=layout.completed(inside),
                notes=layout.notes(inside),
            )
    raise ValueError(
        f"{path} has no plain ViT among its tensors ({_some(list(tensors))}); the layouts that are read are "
        f"{', '.join(dict.fromkeys(layout.name for layout in LAYOUTS))}."
    )


def _check_axes(state: Mapping[str, Tensor]) -> None:
    for name, axes in AXES.items():
        if name in state and state[name].ndim != axes:
            raise ValueError(f"{name} has the shape {tuple(state[name].shape)}, and {axes} axes in a plain ViT.")


def _prefixes(layout: Layout, tensors: Mapping[str, Tensor]) -> list[str]:
    """What stands before the layout's marker, for each model of that layout."""
    found = [
        re.search(rf"(?<![\w]){layout.marker}$", name)
        for name, tensor in tensors.items()
        if layout.marker_ndim in (None, tensor.ndim)
    ]
    return sorted({match.string[: match.start()] for match in found if match})


def _choose(prefixes: list[str], path: Path) -> str:
    """The only prefix, or the preferred one of several.

    Raises:
        ValueError: several, and none is preferred.
    """
    if len(prefixes) == 1:
        return prefixes[0]
    preferred = [prefix for start in PREFERRED for prefix in prefixes if prefix.startswith(start)]
    if not preferred:
        raise ValueError(
            f"{path} has several models in it, under {' and '.join(map(repr, prefixes))}; save the one that you want "
            f"alone."
        )
    return preferred[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
