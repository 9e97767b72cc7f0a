"""pretrained weights -> a network for other classes, and which part of it learns."""

from __future__ import annotations

import copy
import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vit.nn import ViT, ViTConfig
from vit.weights import LoadReport, ModelCard, load
from vit.weights.card import differing
from vit.weights.sources import glance

LARGEST_RATE = 3e-4
"""Above it AdamW unlearns what was pretrained; peers fine-tune whole ViTs at 1e-5 to 1e-4."""


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank changes of the frozen matrices of attention, qkv and proj (Hu et al. 2022, eq. 3).

    Raises:
        ValueError: a number out of its range.
    """

    rank: int = 8
    """Of the matrix that is added to each frozen one; 8 are 4 % of a ViT-Ti's parameters."""

    alpha: float = 16.0
    """That matrix counts alpha / rank times."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank={self.rank} must be at least 1; 4 to 16 are usual.")
        if self.alpha <= 0:
            raise ValueError(f"alpha={self.alpha} must be above 0; twice the rank is usual.")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from, before what the user typed."""

    config: ViTConfig
    card: ModelCard | None
    """What the weights say about themselves, their preprocessing for instance; a mere file says nothing."""


def starting_point(pretrained: str | None, architecture: str | None) -> Start:
    """The architecture of pretrained weights, by their headers alone, or the named one.

    Raises:
        FileNotFoundError, ValueError: as `vit.weights.load`.
    """
    if pretrained is None:
        return Start(config=ViTConfig.preset(architecture) if architecture else ViTConfig(), card=None)
    config, card = glance(pretrained, architecture)
    return Start(config=config, card=card)


def pretrained_network(config: ViTConfig, source: str, architecture: str | None) -> tuple[ViT, LoadReport]:
    """The network of that config with the weights of `source`; another head, image size and channels are adapted.

    Raises:
        FileNotFoundError, ValueError: as `vit.weights.load`, or a config that these weights are not for.
    """
    loaded = load(
        source,
        architecture,
        num_classes=config.num_classes,
        image_size=config.image_size,
        in_channels=config.in_channels,
    )
    found = loaded.model.config
    for name in differing(config, found):
        raise ValueError(
            f"model.vit.{name}={getattr(config, name)!r}, but the weights of {source} have {getattr(found, name)!r}; "
            "leave it out, and it follows the weights."
        )
    network = ViT(config)
    network.load_state_dict(loaded.model.state_dict())
    return network, loaded.report


def restrict(network: nn.Module, tune: str, lora: LoRA) -> list[nn.Module]:
    """Freeze what is not to learn, and return the parts that are to run as in evaluation.

    Args:
        network: a ViT; with `lora` its matrices qkv and proj are replaced by peft's, in place.
        tune: all; head, a linear probe; last:N, the last N blocks, the final norm, the pool and the head; or lora, with
            the head.
        lora: rank and weight of the added matrices.

    Raises:
        ValueError: another word, or another number of blocks than the network has.
        ModuleNotFoundError: peft is not installed.
    """
    if tune == "all":
        return []
    assert isinstance(network, ViT)
    if tune == "lora":
        add_lora(network, lora)
        network.head.requires_grad_(True)
        return []
    frozen = [network.patch_embed, network.tokenizer, network.norm_pre, *network.blocks]
    if tune == "head":
        frozen += [network.norm, network.pool, network.fc_norm]
    else:
        frozen = frozen[: -blocks_to_tune(tune, network.config.depth)]
    for part in frozen:
        part.requires_grad_(False)
    return frozen


def blocks_to_tune(tune: str, depth: int) -> int:
    """N of last:N.

    Raises:
        ValueError: no such form, or more blocks than there are.
    """
    match = re.fullmatch(r"last:(\d+)", tune)
    if match is None:
        raise ValueError(f"model.tune={tune} is not known; all, head, last:N (such as last:2) and lora are.")
    if not 1 <= int(match[1]) <= depth:
        raise ValueError(f"model.tune={tune} asks for blocks that are not there; last:1 to last:{depth} are.")
    return int(match[1])


def add_lora(network: ViT, lora: LoRA) -> None:
    """Freeze the network and add low-rank matrices, which learn, to qkv and proj of every block's attention.

    Raises:
        ModuleNotFoundError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("model.tune=lora needs peft: pip install 'plain-vit[lora]'.") from error
    matrices = r"blocks\.\d+\.attn\.(qkv|proj)"
    inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=matrices), network)  # pyright: ignore[reportArgumentType]


def merged(network: ViT) -> ViT:
    """A plain ViT that computes the same: low-rank matrices added to those they belong to."""
    network = copy.deepcopy(network)
    for block in network.blocks:
        attention: Any = block.attn
        for name in ("qkv", "proj"):
            matrix = getattr(attention, name)
            if not isinstance(matrix, nn.Linear):  # peft's
                with torch.no_grad():
                    matrix.merge()
                setattr(attention, name, matrix.get_base_layer())
    plain = ViT(dataclasses.replace(network.config))
    plain.load_state_dict(network.state_dict())
    return plain
