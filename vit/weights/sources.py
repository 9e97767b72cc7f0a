"""A folder, a file or a name -> a model with its weights, and a report of what became of every tensor.

find the tensors (folder, file, hub) -> timm's names (`layouts.py`) -> another size on request (`adapt.py`) -> ours
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit.nn import ViT, ViTConfig
from vit.nn.config import Size
from vit.weights.adapt import adapt
from vit.weights.card import ModelCard
from vit.weights.files import READERS, read_tensors
from vit.weights.folder import CARD, find_weights, has_weights_alone, read_card
from vit.weights.hub import download_folder, download_timm, fetch_timm
from vit.weights.layouts import recognise
from vit.weights.likeness import config_of_file, difference, fitting_presets, likeness, require_sizes, skeleton
from vit.weights.report import LoadReport
from vit.weights.timm import from_timm


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with weights, and what is known about them."""

    model: ViT
    """In evaluation mode, float32, on the CPU."""

    card: ModelCard | None
    """What the source says about itself, for the model as it is now; none where it was a mere file of tensors."""

    report: LoadReport
    """What became of every tensor."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Weights as they lie in their source."""

    state: Mapping[str, Tensor]
    """Tensors, as timm names them."""

    config: ViTConfig
    """Their architecture."""

    card: ModelCard | None
    layout: str
    left_over: tuple[str, ...] = ()
    completed: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


def load_model(
    source: str | os.PathLike[str],
    architecture: str | ViTConfig | None = None,
    *,
    num_classes: int | None = None,
    image_size: Size | None = None,
    in_channels: int | None = None,
) -> ViT:
    """The model of `source`, as `load` finds it, alone."""
    return load(source, architecture, num_classes=num_classes, image_size=image_size, in_channels=in_channels).model


def load(
    source: str | os.PathLike[str],
    architecture: str | ViTConfig | None = None,
    *,
    num_classes: int | None = None,
    image_size: Size | None = None,
    in_channels: int | None = None,
) -> Loaded:
    """A model with the weights of `source`, and the report. Runs no code that is in a file.

    Args:
        source: a model folder (ours, timm's or Hugging Face transformers'); `timm/NAME` or `timm/NAME.TAG`;
            `hf-hub:OWNER/REPO`; or a file (`.safetensors`, `.pth` and its other names, `.npz`) of tensors as timm,
            DeiT, DINO, MAE, DINOv2, torchvision, transformers, vit-pytorch or Google's JAX code names them.
        architecture: what a file holds, which it does not say itself: a preset's name, whose number of classes then is
            the file's, or a config. Folders and names bring their own; a folder of weights alone is a file.
        num_classes: another number of classes gets a new head; 0 leaves the head out.
        image_size: another size in pixels, positions resampled in two dimensions.
        in_channels: another number of colour channels, the patch projection summed or repeated.

    Raises:
        FileNotFoundError: no such file or folder, or a download that is not possible.
        ValueError: a damaged or unsafe file, or tensors that do not fit and that no argument asked to change.
    """
    requested = {"num_classes": num_classes, "image_size": image_size, "in_channels": in_channels}
    changes: dict[str, Any] = {name: value for name, value in requested.items() if value is not None}
    found = _find(source, architecture, changes)
    wanted = dataclasses.replace(found.config, **changes)
    adapted = adapt(found.state, found.config, wanted, new_head=num_classes is not None)
    model, initialised = _build(wanted, adapted.state, new_head=num_classes is not None, source=str(source))
    completed = {name: why for name, why in found.completed.items() if name not in adapted.left_over}
    others = {*adapted.resized, *initialised, *completed}
    report = LoadReport(
        source=str(source),
        layout=found.layout,
        loaded=tuple(name for name, _ in model.named_parameters() if name not in others),
        resized=adapted.resized,
        initialised=initialised,
        completed=completed,
        left_over=(*found.left_over, *(name for name in adapted.left_over if name not in found.completed)),
        notes=found.notes,
    )
    return Loaded(model=model, card=found.card and found.card.for_config(wanted), report=report)


def glance(
    source: str | os.PathLike[str], architecture: str | ViTConfig | None = None
) -> tuple[ViTConfig, ModelCard | None]:
    """The architecture of `source` and what it says about itself, from its headers: no weights are read.

    Of `timm/NAME`, whose weights are fetched into the hub's cache, timm's own registry tells both.

    Raises:
        FileNotFoundError, ValueError: as `load`, as far as headers show it.
    """
    name = os.fspath(source)
    if name.startswith("timm/") and architecture is None and not Path(source).is_dir():
        card = fetch_timm(name.removeprefix("timm/"))
        return card.config, card
    found = _find(source, architecture, {}, shapes_only=True)
    expected = skeleton(found.config).state_dict()
    ours = from_timm(adapt(found.state, found.config, found.config, new_head=False).state)
    parameters = {name for name, _ in skeleton(found.config).named_parameters()}
    computed = {name: tensor for name, tensor in expected.items() if name not in parameters}
    _require_fit(expected, computed | ours, name, found.state)
    return found.config, found.card


def _find(
    source: str | os.PathLike[str],
    architecture: str | ViTConfig | None,
    changes: Mapping[str, Any],
    shapes_only: bool = False,
) -> Found:
    """The tensors and the architecture of a source."""
    path, name = Path(source), os.fspath(source)
    if has_weights_alone(path):
        path = find_weights(path)
    if path.is_file() or path.suffix in READERS:
        return _find_in_file(path, architecture, changes, shapes_only)
    if architecture is not None:
        raise ValueError(f"{name} says itself what architecture it has; leave out the architecture.")
    if name.startswith("timm/") and not path.is_dir():
        state, card = download_timm(name.removeprefix("timm/"))
        return Found(state=state, config=card.config, card=card, layout="timm")
    if name.startswith("hf-hub:"):
        path = download_folder(name.removeprefix("hf-hub:"))
    card, weights = read_card(path), find_weights(path)
    recognised = recognise(read_tensors(weights, shapes_only), weights, card.config)
    require_sizes(card.config, recognised.state, name)
    return Found(
        state=recognised.state,
        config=card.config,
        card=card,
        layout=recognised.layout.name,
        left_over=recognised.left_over,
        completed=recognised.completed,
        notes=recognised.notes,
    )


def _find_in_file(
    path: Path, architecture: str | ViTConfig | None, changes: Mapping[str, Any], shapes_only: bool
) -> Found:
    """The tensors of a file, with the architecture that the caller names."""
    named = ViTConfig.preset(architecture) if isinstance(architecture, str) else architecture
    recognised = recognise(read_tensors(path, shapes_only), path, named)
    if named is None:
        fitting = fitting_presets(recognised.state)
        example = f"for instance architecture={fitting[0]!r}" if fitting else "as a ViTConfig"
        wanted = f"{path.parent} does" if path.with_name(CARD).is_file() else f"give it, {example}"
        raise ValueError(f"{path} does not say its architecture; {wanted}. {likeness(recognised.state)}")
    config = config_of_file(named, recognised.state, changes, head_of_file=isinstance(architecture, str))
    notes = [f"of several models in the file, the one under {recognised.prefix!r}"] if recognised.chosen else []
    if not config.num_classes and named.num_classes:
        notes.append("the file has no head")
    return Found(
        state=recognised.state,
        config=config,
        card=None,
        layout=recognised.layout.name,
        left_over=recognised.left_over,
        completed=recognised.completed,
        notes=(*recognised.notes, *notes),
    )


def _build(
    config: ViTConfig, state: Mapping[str, Tensor], *, new_head: bool, source: str
) -> tuple[ViT, tuple[str, ...]]:
    """A model with these tensors, and the names of its parameters that were not among them.

    A new head starts at zero (Dosovitskiy et al. 2021, section 3.2): of features as large as pretrained ones random
    numbers make logits that are unlearned first, and differ from seed to seed.

    Raises:
        ValueError: tensors are missing, left over or of another shape, and it is not only that the head is new.
    """
    model = skeleton(config)
    ours = from_timm(state)
    parameters = {name for name, _ in model.named_parameters()}
    initialised = tuple(sorted(name for name in parameters - ours.keys() if new_head and name.startswith("head.")))
    if lacking := {*initialised, *(model.state_dict().keys() - parameters)} - ours.keys():
        # a head and buffers, which are computed from the configuration, are the same at any depth
        fresh = ViT(dataclasses.replace(config, depth=1)).state_dict()
        ours |= {name: torch.zeros_like(fresh[name]) if name in initialised else fresh[name] for name in lacking}
    _require_fit(model.state_dict(), ours, source, state)
    model.load_state_dict({name: tensor.float().contiguous() for name, tensor in ours.items()}, assign=True)
    return model.eval(), initialised


def _require_fit(
    expected: Mapping[str, Tensor], ours: Mapping[str, Tensor], source: str, state: Mapping[str, Tensor]
) -> None:
    if problem := difference(expected, ours):
        foreign_head = "head.weight" in ours.keys() - expected.keys()
        raise ValueError(
            f"{source} does not fit: {problem}. {likeness(state)} Another head, image size and number of channels are "
            "adapted where num_classes, image_size and in_channels ask for it"
            f"{'; num_classes=0 leaves the head out' if foreign_head else ''}."
        )
