"""Hugging Face transformers' ViT and DINOv2 <-> timm's names; their `config.json` <-> ours. Imports no transformers.

Queries, keys and values are three maps there. Files keep the names of transformers 4 even where transformers 5 wrote
them; a state dict that was saved by hand has the names of the running version, so both are read.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import fuse, inverse, rename, split

MARKER = r"(vit\.|dinov2\.|dinov2_with_registers\.)?embeddings\.patch_embeddings\.projection\.weight"

SHARED_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
}

ATTENTION_NAMES = {
    "encoder.layer.{}.attention.attention.query": "blocks.{}.attn.q",
    "encoder.layer.{}.attention.attention.key": "blocks.{}.attn.k",
    "encoder.layer.{}.attention.attention.value": "blocks.{}.attn.v",
    "encoder.layer.{}.attention.output.dense": "blocks.{}.attn.proj",
}

VIT_NAMES = SHARED_NAMES | {
    **ATTENTION_NAMES,
    "encoder.layer.{}.layernorm_before": "blocks.{}.norm1",
    "encoder.layer.{}.layernorm_after": "blocks.{}.norm2",
    "encoder.layer.{}.intermediate.dense": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.output.dense": "blocks.{}.mlp.fc2",
}

DINOV2_NAMES = SHARED_NAMES | {
    **ATTENTION_NAMES,
    "embeddings.register_tokens": "reg_token",
    "encoder.layer.{}.norm1": "blocks.{}.norm1",
    "encoder.layer.{}.norm2": "blocks.{}.norm2",
    "encoder.layer.{}.layer_scale1.lambda1": "blocks.{}.ls1.gamma",
    "encoder.layer.{}.layer_scale2.lambda1": "blocks.{}.ls2.gamma",
}

DINOV2_MLP_NAMES = {
    "encoder.layer.{}.mlp.fc1": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.mlp.fc2": "blocks.{}.mlp.fc2",
}

DINOV2_SWIGLU_NAMES = {
    "encoder.layer.{}.mlp.weights_in": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.mlp.weights_out": "blocks.{}.mlp.fc2",
}

NAMES_IN_MEMORY = {
    "layers.{}.attention.q_proj": "blocks.{}.attn.q",
    "layers.{}.attention.k_proj": "blocks.{}.attn.k",
    "layers.{}.attention.v_proj": "blocks.{}.attn.v",
    "layers.{}.attention.o_proj": "blocks.{}.attn.proj",
    "layers.{}.layernorm_before": "blocks.{}.norm1",
    "layers.{}.layernorm_after": "blocks.{}.norm2",
    "layers.{}.mlp.fc1": "blocks.{}.mlp.fc1",
    "layers.{}.mlp.fc2": "blocks.{}.mlp.fc2",
    "encoder.layer.{}.attention.q_proj": "blocks.{}.attn.q",
    "encoder.layer.{}.attention.k_proj": "blocks.{}.attn.k",
    "encoder.layer.{}.attention.v_proj": "blocks.{}.attn.v",
    "encoder.layer.{}.attention.o_proj": "blocks.{}.attn.proj",
    "encoder.layer.{}.mlp.gate_proj": "blocks.{}.mlp.g",
    "encoder.layer.{}.mlp.up_proj": "blocks.{}.mlp.u",
    "encoder.layer.{}.mlp.down_proj": "blocks.{}.mlp.fc2",
}
"""transformers 5, while the model runs: ViT, then DINOv2, whose gate and value (`up`) are two maps there."""

BODY = ("vit.", "dinov2.", "dinov2_with_registers.")
"""What stands before every tensor but the classifier's."""


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers under timm's names."""
    bare = {_without_body(name): tensor for name, tensor in state.items()}
    renamed = rename(bare, VIT_NAMES | DINOV2_NAMES | DINOV2_MLP_NAMES | DINOV2_SWIGLU_NAMES | NAMES_IN_MEMORY)
    gated = fuse(fuse(renamed), "gu", owner=r"blocks\.\d+\.mlp")
    return rename(gated, {"blocks.{}.mlp.gu": "blocks.{}.mlp.fc1"})


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a plain ViT as `ViTForImageClassification` keeps them in a file."""
    renamed = rename(split(state), inverse(VIT_NAMES))
    return {name if name.startswith("classifier.") else f"vit.{name}": tensor for name, tensor in renamed.items()}


def dinov2_from_timm(state: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """The tensors of a DINOv2 as `Dinov2Model` keeps them in a file, or `Dinov2WithRegistersModel`.

    The latter gives the class token a position, which is then zero. Both have a token for masked patches, which only
    their training needed.
    """
    if config.num_register_tokens:
        state = {**state, "pos_embed": torch.nn.functional.pad(state["pos_embed"], (0, 0, 1, 0))}
    names = DINOV2_NAMES | (DINOV2_SWIGLU_NAMES if config.mlp == "swiglu" else DINOV2_MLP_NAMES)
    mask_token = torch.zeros_like(state["cls_token"][0])
    return rename(split(state), inverse(names)) | {"embeddings.mask_token": mask_token}


def _without_body(name: str) -> str:
    return next((name.removeprefix(body) for body in BODY if name.startswith(body)), name)
