"""Another library's model and ours with the same weights -> the largest difference of their logits, there and back.

The proof that a layout is read and written rightly, for anyone to repeat: `vit parity timm/vit_tiny_patch16_224`.
Weights travel as they do for a user: each library writes its own file, and reads ours. Other libraries are imported
only here and in `hub.py`, and only when they are asked for.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import jax
from vit.weights.card import ModelCard, numbered
from vit.weights.export import export_model
from vit.weights.sources import load
from vit.weights.timm import timm_architecture, timm_arguments

SUFFIXES = {"torchvision": ".pth", "jax": ".npz"}
"""Of the layouts that are a file and no folder."""

NARROW = 384
"""Widest model of which a relative difference of 1e-5 is asked; beyond it rounding alone comes near, and 1e-4 is."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the logits of two models with the same weights are apart."""

    model: str
    """LIBRARY/ARCHITECTURE."""

    direction: str
    """`read` for weights that the library wrote, `written` for weights that we wrote."""

    absolute: float
    """Largest difference of a logit."""

    relative: float
    """The same, in units of the largest logit."""

    tolerance: float
    """What `relative` may be."""

    @property
    def holds(self) -> bool:
        """Whether the two are the same function, up to rounding. Not a number is not."""
        return self.relative <= self.tolerance

    def __str__(self) -> str:
        """One line."""
        verdict = "equal" if self.holds else "DIFFERENT"
        return (
            f"{self.model} {self.direction}: {verdict}, logits differ by at most "
            f"{self.absolute:.1e}, relative {self.relative:.1e} (tolerance {self.tolerance:.0e})"
        )


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

    logits: Callable[[Any], Tensor] = lambda output: output
    """Takes the logits out of what the model returns."""


def parity(name: str, config: ViTConfig | None = None, *, pretrained: bool = False, seed: int = 0) -> list[Parity]:
    """Build another library's model, load its weights into ours and back, and compare logits of random images.

    Args:
        name: LIBRARY/ARCHITECTURE, or the library alone beside a config. Libraries are `timm`, `torchvision`,
            `transformers`, `vit-pytorch`, `vit-pytorch-simple` and `jax`, whose checkpoints timm reads on the other
            side; architectures are those that the library itself names (timm, torchvision), or ours.
        config: an architecture without a name.
        pretrained: take the library's published weights, which it downloads, instead of random ones. Only timm and
            torchvision have them by name.
        seed: of weights and images.

    Raises:
        ValueError: no such library or architecture, or the library is not installed; how to install it is said.
    """
    library, _, named = name.partition("/")
    if library not in PEERS:
        raise ValueError(f"there is no parity with {library!r}, there is with {', '.join(PEERS)}.")
    if bool(named) == (config is not None):
        raise ValueError(f"{name!r} is not LIBRARY/ARCHITECTURE; {library}/vit_tiny_patch16_224 is of that form.")
    _require_installed(library)
    torch.manual_seed(seed)
    peer = PEERS[library](config or named, pretrained)
    if not pretrained:
        _randomise(peer.model)
    with tempfile.TemporaryDirectory() as folder:
        return [
            Parity(
                model=name,
                direction=direction,
                absolute=absolute,
                relative=absolute / largest,
                tolerance=1e-5 if peer.config.embed_dim <= NARROW else 1e-4,
            )
            for direction, absolute, largest in _compare(peer, Path(folder))
        ]


@torch.inference_mode()
def _compare(peer: Peer, folder: Path) -> list[tuple[str, float, float]]:
    """Direction, largest difference and largest logit, of reading and, where there is, of writing."""
    images = torch.randn(2, peer.config.in_channels, *peer.config.image_hw)
    logits = peer.logits(peer.model.eval()(images))
    written = peer.write(peer.model, folder)
    ours = load(written, None if peer.says_its_architecture else peer.config).model
    results = [("read", _apart(ours(images), logits), logits.abs().max().item())]
    if peer.read is not None:
        path = folder / ("ours" + SUFFIXES.get(peer.layout, ""))
        back = peer.read(export_model(ours, _card(ours), path, peer.layout))
        results.append(("written", _apart(peer.logits(back.eval()(images)), logits), logits.abs().max().item()))
    return results


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return (ours - theirs).abs().max().item()


def _randomise(model: nn.Module) -> None:
    """Move every parameter away from where it started: heads start at zero, norms at one, and would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)


def _card(model: ViT) -> ModelCard:
    half = (0.5,) * model.config.in_channels
    return ModelCard(
        config=model.config,
        classes=numbered(model.config.num_classes),
        preprocessing=Preprocessing(image_size=model.config.image_hw, mean=half, std=half),
    )


def _require_installed(library: str) -> None:
    module = {"jax": "timm", "vit-pytorch": "vit_pytorch", "vit-pytorch-simple": "vit_pytorch"}.get(library, library)
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
        model = timm.create_model(architecture, pretrained=pretrained)
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
    from torchvision.models import VisionTransformer, get_model

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
        model = get_model(architecture, weights="DEFAULT" if pretrained else None)
    else:
        model = build(_config(architecture, "a config", pretrained))
    if not isinstance(model, VisionTransformer):
        raise ValueError(
            f"torchvision's {architecture} is no ViT; vit_b_16, vit_b_32, vit_l_16, vit_l_32, vit_h_14 are."
        )
    first = model.encoder.layers[0]
    config = ViTConfig(
        image_size=model.image_size,
        patch_size=model.patch_size,
        num_classes=model.num_classes,
        embed_dim=model.hidden_dim,
        depth=len(model.encoder.layers),
        num_heads=first.num_heads,  # pyright: ignore[reportArgumentType]  # a module's attribute
        mlp_ratio=model.mlp_dim / model.hidden_dim,
    )
    return Peer(
        model=model, config=config, write=_write_pth, says_its_architecture=False, read=read, layout="torchvision"
    )


def _transformers(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    """ViT, there and back; for an architecture with LayerScale DINOv2, whose pooled features are compared."""
    config = _config(architecture, "transformers", pretrained)
    library = importlib.import_module("transformers")
    fields = {
        "image_size": list(config.image_hw),
        "patch_size": list(config.patch_hw),
        "num_channels": config.in_channels,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "qkv_bias": config.qkv_bias,
    }

    def write(model: nn.Module, folder: Path) -> Path:
        model.save_pretrained(folder / "theirs")  # pyright: ignore[reportCallIssue]  # the library is untyped
        return folder / "theirs"

    if config.init_values is None:
        fields |= {"intermediate_size": config.mlp_hidden_dim, "num_labels": config.num_classes}
        return Peer(
            model=library.ViTForImageClassification(library.ViTConfig(**fields)),
            config=config,
            write=write,
            says_its_architecture=True,
            read=library.ViTForImageClassification.from_pretrained,
            layout="transformers",
            logits=lambda output: output.logits,
        )
    fields |= {"mlp_ratio": int(config.mlp_ratio), "use_swiglu_ffn": config.mlp == "swiglu"}
    if config.num_register_tokens:
        fields["num_register_tokens"] = config.num_register_tokens
        model = library.Dinov2WithRegistersModel(library.Dinov2WithRegistersConfig(**fields))
    else:
        model = library.Dinov2Model(library.Dinov2Config(**fields))
    return Peer(
        model=model,
        config=config,
        write=write,
        says_its_architecture=True,
        logits=lambda output: output.pooler_output,
    )


def _vit_pytorch(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    return _of_vit_pytorch("ViT", _config(architecture, "vit-pytorch", pretrained))


def _vit_pytorch_simple(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    return _of_vit_pytorch("SimpleViT", _config(architecture, "vit-pytorch", pretrained))


def _of_vit_pytorch(kind: str, config: ViTConfig) -> Peer:
    """A model of vit-pytorch, and `config` with what every model there has."""
    own: dict[str, Any] = {"qkv_bias": False, "norm_eps": 1e-5}
    if kind == "SimpleViT":
        own |= {"class_token": False, "positions": "sincos2d", "pool": "mean"}
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
    )
    if kind == "SimpleViT" and isinstance(model.linear_head, nn.Sequential):  # old versions
        config = dataclasses.replace(config, final_norm="pooled")
    return Peer(model=model, config=config, write=_write_pth, says_its_architecture=False)


def _jax(architecture: str | ViTConfig, pretrained: bool) -> Peer:
    """How timm reads a Google checkpoint against how we do; the checkpoint has the weights of a model of timm."""
    import timm

    config = _config(architecture, "jax", pretrained)

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

    return Peer(model=build(), config=config, write=write, says_its_architecture=False, read=read, layout="jax")


PEERS: dict[str, Callable[[str | ViTConfig, bool], Peer]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "vit-pytorch": _vit_pytorch,
    "vit-pytorch-simple": _vit_pytorch_simple,
    "jax": _jax,
}
"""How a library's model is built."""
