"""Google's JAX checkpoints (vision_transformer and big_vision, `.npz`) <-> timm's names and shapes.

Flax stores the kernel of a linear map as (in, out), that of a convolution as (height, width, in, out), and attention
with an axis for the heads. vision_transformer numbers the modules of a block by their order, big_vision by kind, and
big_vision may stack all blocks along a first axis. Nothing here imports JAX.
"""

from __future__ import annotations

from collections.abc import Mapping

from einops import rearrange
from torch import Tensor

from vit.weights.names import fuse, inverse, rename, split

MARKER = "embedding/kernel"

ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "proj"}


def _block_names(block: str, attention: int, norm2: int, mlp: int) -> dict[str, str]:
    """Names of one block, given the number that Flax gave to each of its modules."""
    return {
        f"{block}/LayerNorm_0": "blocks.{}.norm1",
        f"{block}/LayerNorm_{norm2}": "blocks.{}.norm2",
        f"{block}/MlpBlock_{mlp}/Dense_0": "blocks.{}.mlp.fc1",
        f"{block}/MlpBlock_{mlp}/Dense_1": "blocks.{}.mlp.fc2",
        **{
            f"{block}/MultiHeadDotProductAttention_{attention}/{theirs}": f"blocks.{{}}.attn.{ours}"
            for theirs, ours in ATTENTION.items()
        },
    }


NAMES = {
    "cls": "cls_token",
    "embedding": "patch_embed.proj",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm": "norm",
    "head": "head",
    **_block_names("Transformer/encoderblock_{}", attention=1, norm2=2, mlp=3),
}
"""google-research/vision_transformer."""

BIG_VISION_NAMES = {
    "pos_embedding": "pos_embed",
    "MAPHead_0/probe": "attn_pool.latent",
    "MAPHead_0/LayerNorm_0": "attn_pool.norm",
    "MAPHead_0/MlpBlock_0/Dense_0": "attn_pool.mlp.fc1",
    "MAPHead_0/MlpBlock_0/Dense_1": "attn_pool.mlp.fc2",
    **{f"MAPHead_0/MultiHeadDotProductAttention_0/{theirs}": f"attn_pool.{ours}" for theirs, ours in ATTENTION.items()},
    **_block_names("Transformer/encoderblock_{}", attention=0, norm2=1, mlp=0),
}
"""google-research/big_vision, where it differs; MAPHead is its attention pooling."""

AXES = {
    "embedding/kernel": "ph pw c d -> d c ph pw",
    **{f"{part}/kernel": "d heads dh -> (heads dh) d" for part in ("query", "key", "value")},
    **{f"{part}/bias": "heads dh -> (heads dh)" for part in ("query", "key", "value")},
    "out/kernel": "heads dh d -> d (heads dh)",
    "kernel": "i o -> o i",
}
"""End of a name of theirs -> the change of axes to torch's; the first that fits holds. Others stay as they are."""


SUFFIXES = {"/kernel": ".weight", "/scale": ".weight", "/bias": ".bias"}


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under timm's names, with torch's order of axes."""
    turned = {name: rearrange(tensor, _axes(name)) for name, tensor in _unstack(state).items()}
    renamed = rename(turned, NAMES | BIG_VISION_NAMES)
    dotted = {_with_suffix(name, SUFFIXES): tensor for name, tensor in renamed.items()}
    return fuse(fuse(dotted), "kv", owner="attn_pool")


def from_timm(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """The tensors of a plain ViT as google-research/vision_transformer names them and lays them out."""
    kernel = {".weight": "/kernel", ".bias": "/bias"}
    scale = {".weight": "/scale", ".bias": "/bias"}
    slashed = {_with_suffix(name, scale if "norm" in name else kernel): tensor for name, tensor in split(state).items()}
    renamed = rename(slashed, inverse(NAMES))
    return {
        name: rearrange(tensor, _backwards(_axes(name)), **({"heads": num_heads} if "heads" in _axes(name) else {}))
        for name, tensor in renamed.items()
    }


def _axes(name: str) -> str:
    return next((axes for end, axes in AXES.items() if name.endswith(end)), "... -> ...")


def _backwards(axes: str) -> str:
    before, _, after = axes.partition(" -> ")
    return f"{after} -> {before}"


def _with_suffix(name: str, suffixes: Mapping[str, str]) -> str:
    """The name with its last word replaced, if that is one of `suffixes`."""
    for old, new in suffixes.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _unstack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blocks that lie stacked along the first axis, one by one."""
    stacked = "Transformer/encoderblock/"
    apart: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(stacked):
            rest = name.removeprefix(stacked)
            apart |= {f"Transformer/encoderblock_{block}/{rest}": part for block, part in enumerate(tensor)}
        else:
            apart[name] = tensor
    return apart
