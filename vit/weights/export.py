"""model -> a folder or file in another library's layout."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from vit.nn import ViT, ViTConfig
from vit.weights import jax, torchvision
from vit.weights.card import TRAINING, ModelCard
from vit.weights.folder import CARD, PREPROCESSOR, save_model, write_folder
from vit.weights.timm import timm_architecture, to_timm
from vit.weights.transformers import dinov2, vit
from vit.weights.transformers.card import card_to_transformers

SIZES = frozenset(
    {"image_size", "patch_size", "in_channels", "num_classes", "embed_dim", "depth", "num_heads", "mlp_ratio"}
)
"""Fields that every library has."""


def export_model(model: ViT, card: ModelCard, path: str | os.PathLike[str], layout: str) -> Path:
    """Write the model for another library, and return where it is.

    Args:
        model: what is written.
        card: what is said about it, where the layout has a place for that.
        path: a folder for `timm` and `transformers`; a `.safetensors` or `.pth` file for `torchvision`, an
            `.npz` file for `jax`.
        layout: `timm` (`timm.create_model("local-dir:PATH", pretrained=True)` reads it), `transformers`
            (`ViTForImageClassification.from_pretrained("PATH")`; with LayerScale and without classes `Dinov2Model` or
            `Dinov2WithRegistersModel`), `torchvision` (a state dict for
            `torchvision.models.VisionTransformer`) or `jax` (google-research/vision_transformer).

    Raises:
        ValueError: no such layout, the library has no such model, or the card is not of this model.
        OSError: the path cannot be written.
    """
    if layout not in WRITERS:
        raise ValueError(f"layout={layout!r} is not written here; {', '.join(WRITERS)} are.")
    card.require_of(model)
    return WRITERS[layout](model, card, Path(path))


def _write_timm(model: ViT, card: ModelCard, path: Path) -> Path:
    timm_architecture(model.config)  # raises where timm has none
    return save_model(model, card, path)


def _write_transformers(model: ViT, card: ModelCard, path: Path) -> Path:
    architecture = model.config
    require_of_transformers(architecture)
    config, preprocessor = card_to_transformers(card)
    tensors = to_timm(model.state_dict(), architecture)
    is_vit = architecture.init_values is None
    tensors = vit.from_timm(tensors) if is_vit else dinov2.from_timm(tensors, architecture)
    return write_folder(path, tensors, {CARD: config, PREPROCESSOR: preprocessor})


def _write_jax(model: ViT, card: ModelCard, path: Path) -> Path:
    require_vit_of_jax(model.config)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is no name for a checkpoint of JAX; PATH.npz is.")
    tensors = jax.from_timm(to_timm(model.state_dict(), model.config), model.config.num_heads)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        arrays: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        np.savez(file, **arrays)
    return path


def _write_torchvision(model: ViT, card: ModelCard, path: Path) -> Path:
    require_vit_of_torchvision(model.config)
    if path.suffix not in (".pth", ".safetensors"):
        raise ValueError(f"{path} is no name for a state dict of torchvision; PATH.pth and PATH.safetensors are.")
    tensors = torchvision.from_timm(to_timm(model.state_dict(), model.config))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return path


WRITERS: dict[str, Callable[[ViT, ModelCard, Path], Path]] = {
    "timm": _write_timm,
    "transformers": _write_transformers,
    "torchvision": _write_torchvision,
    "jax": _write_jax,
}
"""How a layout is written."""


def require_of_transformers(config: ViTConfig) -> None:
    """Raise a `ValueError` if transformers has no such model: with LayerScale its DINOv2, without it its ViT."""
    if config.init_values is not None:
        _require_dinov2(config)
        return
    if config.mlp == "swiglu":
        raise ValueError("transformers' ViT has no mlp='swiglu'; its DINOv2 has, with init_values.")
    _require_head(config, "transformers' ViT")
    require_plain(config, "transformers' ViT", may_differ={"mlp", "qkv_bias", "norm_eps"})


def _require_dinov2(config: ViTConfig) -> None:
    own, registers = {"init_values", "mlp", "qkv_bias", "norm_eps"}, config.num_register_tokens > 0
    own |= {"num_register_tokens", "prefix_positions"} if registers else set()
    require_plain(config, "transformers' DINOv2, which is its ViT with init_values,", own)
    if registers and config.prefix_positions:
        raise ValueError("transformers' DINOv2 has no registers with prefix_positions=True, only False.")
    if config.num_classes:
        raise ValueError(
            f"num_classes={config.num_classes}: the classifier of transformers' DINOv2 reads class token and mean "
            "together; without one it is written, and load_model(..., num_classes=0) leaves it out."
        )
    dinov2.whole_ratio(config)


def require_vit_of_jax(config: ViTConfig) -> None:
    """Raise a `ValueError` if google-research/vision_transformer has no such model."""
    _require_head(config, "google-research/vision_transformer")
    require_plain(config, "google-research/vision_transformer", may_differ=set())


def require_vit_of_torchvision(config: ViTConfig) -> None:
    """Raise a `ValueError` if torchvision has no such model."""
    _require_head(config, "torchvision's ViT")
    require_plain(config, "torchvision's ViT", may_differ=set())
    for field, (height, width) in {"image_size": config.image_hw, "patch_size": config.patch_hw}.items():
        if height != width:
            raise ValueError(f"torchvision's ViT has no {field}={height, width}; it takes squares.")
    if config.in_channels != 3:
        raise ValueError(f"torchvision's ViT has no in_channels={config.in_channels}; it takes 3.")


def require_plain(config: ViTConfig, whose: str, may_differ: AbstractSet[str]) -> None:
    """Raise a `ValueError` if the model has an option that the other library's ViT has not."""
    plain = ViTConfig()
    for field in dataclasses.fields(ViTConfig):
        value, usual = getattr(config, field.name), getattr(plain, field.name)
        if value != usual and field.name not in SIZES | TRAINING | may_differ:
            raise ValueError(f"{whose} has no {field.name}={value!r}, only {usual!r}.")


def _require_head(config: ViTConfig, whose: str) -> None:
    if not config.num_classes:
        raise ValueError(f"num_classes=0: {whose} is a classifier; load_model(..., num_classes=N) adds a head.")
