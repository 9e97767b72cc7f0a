"""Another library's model and ours with the same weights -> the largest difference of their logits, there and back.

The proof that a layout is read and written rightly, for anyone to repeat: `vit parity timm/vit_tiny_patch16_224`.
Weights travel as they do for a user: each library writes its own file, and reads ours. Other libraries are imported
only when they are asked for (`peers.py`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.nn.presets import PRESETS
from vit.weights.card import ModelCard, differing, numbered
from vit.weights.export import export_model
from vit.weights.peers import PEERS, Peer, require_installed
from vit.weights.sources import load

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


def parity(name: str, config: ViTConfig | None = None, *, pretrained: bool = False, seed: int = 0) -> list[Parity]:
    """Build another library's model, load its weights into ours and back, and compare logits of random images.

    Args:
        name: LIBRARY/ARCHITECTURE, or the library alone beside a config, or an architecture of ours alone, for timm.
            Libraries are `timm`, `torchvision`, `transformers` (ViT and DINOv2), `transformers-deit` and its other
            families, `vit-pytorch`, `vit-pytorch-simple` and `jax`, whose checkpoints timm reads on the other side;
            architectures are those that the library itself names (timm, torchvision), or ours.
        config: an architecture without a name.
        pretrained: take the library's published weights, which it downloads, instead of random ones. Only timm and
            torchvision have them by name.
        seed: of weights and images.

    Raises:
        ValueError: no such library or architecture, or the library is not installed; how to install it is said.
    """
    if name in PRESETS:
        name = f"timm/{name}"
    library, _, named = name.partition("/")
    if library not in PEERS:
        raise ValueError(f"there is no parity with {library!r}, there is with {', '.join(PEERS)}.")
    if bool(named) == (config is not None):
        raise ValueError(f"{name!r} is not LIBRARY/ARCHITECTURE; {library}/vit_tiny_patch16_224 is of that form.")
    require_installed(library)
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
    for field in differing(peer.config, ours.config):
        asked, built = getattr(peer.config, field), getattr(ours.config, field)
        raise ValueError(f"no comparison: {field}={asked!r} was asked for, and the library built {built!r}.")
    results = [("read", _apart(ours(images), logits), logits.abs().max().item())]
    if peer.read is not None:
        path = folder / ("ours" + peer.suffix)
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
