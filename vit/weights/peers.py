"""Models of other libraries to compare ours with, and how each of those libraries writes and reads its weights.

The other libraries are imported inside the functions that build their models, and nowhere else but in `hub.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vit.nn import ViTConfig
from vit.weights import jax
from vit.weights.export import (
    require_of_transformers,
    require_plain,
    require_vit_of_jax,
    require_vit_of_torchvision,
)
from vit.weights.hub import pretrained_timm
from vit.weights.timm import timm_architecture, timm_arguments
from vit.weights.transformers import models


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A model of another library, and how that library writes and reads weights."""

    model: nn.Module
    config: ViTConfig
    """The same architecture in our words."""

    write: Callable[[nn.Module, Path], Path]
    """Writes the model in its own layout into a folder, and returns what `load` is given."""

    says_its_architecture: bool
    """Whether what it writes has a card."""

    read: Callable[[Path], nn.Module] | None = None
    """Reads what `export_model` wrote; none where that layout is not written."""

    layout: str = ""
    """The layout of `export_model`."""

    suffix: str = ""
    """What a file of that layout is called; nothing for a folder."""

    logits: Callable[[Any], Tensor] = lambda output: output
    """Takes the logits out of what the model returns."""


def require_installed(library: str) -> None:
    """Raise a `ValueError` that says how to install what a comparison with `library` needs, if it is not there."""
    module = "timm" if library == "jax" else library
    module = next((name.replace("-", "_") for name in ("transformers", "vit-pytorch") if name in library), module)
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"parity with {library} needs {module}; pip install {module.replace('_', '-')}")


def _config(architecture: str | ViTConfig, library: str, pretrained: bool) -> ViTConfig:
    """The architecture that a library without names of its own is to build."""
    if pretrained:
        raise ValueError(f"pretrained weights by name are there for timm and torchvision, not for {library}.")
    return ViTConfig.preset(architecture) if isinstance(architecture, str) else architecture


def _write_pth(model: nn.Module, folder: Path) -> Path:
    torch.save(model.state_dict(), folder / "theirs.pth")
    return folder / "theirs.pth"


def _timm(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    import timm

    if isinstance(architecture, str):
        config = ViTConfig.preset(architecture.partition(".")[0])
        if not (timm.is_model_pretrained(architecture) if pretrained else timm.is_model(architecture)):
            raise ValueError(f"timm has no {'weights of' if pretrained else 'model'} {architecture}.")
        model: Any = pretrained_timm(architecture) if pretrained else timm.create_model(architecture)
        config = dataclasses.replace(config, num_classes=model.num_classes)  # which its weights decide
    else:
        config = architecture
        model = timm.create_model(timm_architecture(config), **timm_arguments(config))

    def write(model: nn.Module, folder: Path) -> Path:
        save_file(model.state_dict(), folder / "theirs.safetensors")
        return folder / "theirs.safetensors"

    def read(folder: Path) -> nn.Module:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)

    return Peer(model=model, config=config, write=write, says_its_architecture=False, read=read, layout="timm")


def _torchvision(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    from torchvision.models import VisionTransformer, get_model, get_model_weights, list_models

    def build(config: ViTConfig) -> VisionTransformer:
        return VisionTransformer(
            image_size=config.image_hw[0],
            patch_size=config.patch_hw[0],
            num_layers=config.depth,
            num_heads=config.num_heads,
            hidden_dim=config.embed_dim,
            mlp_dim=config.mlp_hidden_dim,
            num_classes=config.num_classes,
        )

    def read(path: Path) -> nn.Module:
        back = build(config)
        back.load_state_dict(torch.load(path, weights_only=True))
        return back

    if isinstance(architecture, str):
        if architecture not in (names := list_models(include="vit_*")):
            raise ValueError(f"torchvision has no ViT {architecture!r}; it has {', '.join(names)}.")
        try:
            model = get_model(architecture, weights="DEFAULT" if pretrained else None)
        except URLError as error:
            raise FileNotFoundError(
                f"torchvision's weights of {architecture} are not in its cache and cannot be downloaded "
                f"({error.reason}). Without a network: download {get_model_weights(architecture).DEFAULT.url} "  # pyright: ignore[reportAttributeAccessIssue]
                f"elsewhere and put the file into {Path(torch.hub.get_dir(), 'checkpoints')}."
            ) from None
        assert isinstance(model, VisionTransformer)
        config = _of_torchvision(model)
    else:
        config = _config(architecture, "a config", pretrained)
        require_vit_of_torchvision(config)
        model = build(config)
    return Peer(
        model=model,
        config=config,
        write=_write_pth,
        says_its_architecture=False,
        read=read,
        layout="torchvision",
        suffix=".pth",
    )


def _of_torchvision(model: Any) -> ViTConfig:
    """The architecture of a model of torchvision."""
    return ViTConfig(
        image_size=model.image_size,
        patch_size=model.patch_size,
        num_classes=model.num_classes,
        embed_dim=model.hidden_dim,
        depth=len(model.encoder.layers),
        num_heads=model.encoder.layers[0].num_heads,
        mlp_ratio=model.mlp_dim / model.hidden_dim,
    )


def _transformers(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    """ViT and DINOv2, there and back."""
    config = _config(architecture, "transformers", pretrained)
    require_of_transformers(config)
    theirs = models.vit(config)
    peer = _of_transformers(theirs)
    return dataclasses.replace(peer, read=type(theirs.model).from_pretrained, layout="transformers")


def _reading_transformers(
    build: Callable[[ViTConfig], models.Theirs],
) -> Callable[[str | ViTConfig, bool], Peer]:
    """A family that is read, and not written."""

    def peer(architecture: str | ViTConfig, pretrained: bool) -> Peer:
        return _of_transformers(build(_config(architecture, "transformers", pretrained)))

    return peer


def _of_transformers(theirs: models.Theirs) -> Peer:
    def write(model: nn.Module, folder: Path) -> Path:
        model.save_pretrained(folder / "theirs")  # pyright: ignore[reportCallIssue]  # the library is untyped
        return folder / "theirs"

    return Peer(model=theirs.model, config=theirs.config, write=write, says_its_architecture=True, logits=theirs.logits)


def _vit_pytorch(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    return _of_vit_pytorch("ViT", _config(architecture, "vit-pytorch", pretrained))


def _vit_pytorch_simple(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    return _of_vit_pytorch("SimpleViT", _config(architecture, "vit-pytorch", pretrained))


def _of_vit_pytorch(kind: str, config: ViTConfig) -> Peer:
    """A model of vit-pytorch, and `config` with what every model there has."""
    own: dict[str, Any] = {"qkv_bias": False, "norm_eps": 1e-5}
    options: dict[str, Any] = {}
    if kind == "SimpleViT":
        own |= {"class_token": False, "positions": "sincos2d", "pool": "mean"}
    elif config.pool == "mean":
        own["class_token"] = False
        options["pool"] = "mean"
    require_plain(
        config,
        f"vit-pytorch's {kind}",
        {name for name, value in own.items() if getattr(config, name) == value} | {"patch_norm", "pool", "final_norm"},
    )
    if config.pool == "map" or config.final_norm == "none":
        raise ValueError(f"vit-pytorch's {kind} has no pool='map' and no final_norm='none'.")
    config = dataclasses.replace(config, **own)
    model = getattr(importlib.import_module("vit_pytorch"), kind)(
        image_size=config.image_hw,
        patch_size=config.patch_hw,
        num_classes=config.num_classes,
        dim=config.embed_dim,
        depth=config.depth,
        heads=config.num_heads,
        dim_head=config.head_dim,
        mlp_dim=config.mlp_hidden_dim,
        channels=config.in_channels,
        **options,
    )
    # old versions have the projection alone
    normalised = any(isinstance(module, nn.LayerNorm) for module in model.to_patch_embedding)
    config = dataclasses.replace(config, patch_norm=normalised)
    if kind == "SimpleViT" and isinstance(model.linear_head, nn.Sequential):  # old versions
        config = dataclasses.replace(config, final_norm="pooled")
    return Peer(model=model, config=config, write=_write_pth, says_its_architecture=False)


def _jax(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    """How timm reads a Google checkpoint against how we do; the checkpoint has the weights of a model of timm."""
    import timm

    config = _config(architecture, "jax", pretrained)
    require_vit_of_jax(config)

    def build() -> Any:
        return timm.create_model(timm_architecture(config), **timm_arguments(config))

    def write(model: nn.Module, folder: Path) -> Path:
        arrays: dict[str, Any] = {
            name: tensor.numpy() for name, tensor in jax.from_timm(model.state_dict(), config.num_heads).items()
        }
        np.savez(folder / "theirs.npz", **arrays)
        return folder / "theirs.npz"

    def read(file: Path) -> nn.Module:
        model = build()
        model.load_pretrained(file)
        return model

    return Peer(
        model=build(), config=config, write=write, says_its_architecture=False, read=read, layout="jax", suffix=".npz"
    )


PEERS: dict[str, Callable[[str | ViTConfig, bool], Peer]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "transformers-deit": _reading_transformers(models.deit),
    "transformers-msn": _reading_transformers(models.msn),
    "transformers-mae": _reading_transformers(models.mae),
    "transformers-dinov3": _reading_transformers(models.dinov3),
    "transformers-clip": _reading_transformers(models.clip),
    "transformers-siglip": _reading_transformers(models.siglip),
    "vit-pytorch": _vit_pytorch,
    "vit-pytorch-simple": _vit_pytorch_simple,
    "jax": _jax,
}
"""How a library's model is built."""
