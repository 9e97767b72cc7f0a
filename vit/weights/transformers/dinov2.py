"""DINOv2 of transformers, with and without registers: ViT's attention, its own names for the rest.

It is read and written as features: the classifier of `Dinov2ForImageClassification` reads class token and mean
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import Layout, fuse, inverse, rename, split, strip
from vit.weights.transformers import vit
from vit.weights.transformers.fields import plain_mlp, ratio, shared

NAMES = vit.SHARED_NAMES | {
    **vit.ATTENTION_NAMES,
    "embeddings.register_tokens": "reg_token",
    "encoder.layer.{}.norm1": "blocks.{}.norm1",
    "encoder.layer.{}.norm2": "blocks.{}.norm2",
    "encoder.layer.{}.layer_scale1.lambda1": "blocks.{}.ls1.gamma",
    "encoder.layer.{}.layer_scale2.lambda1": "blocks.{}.ls2.gamma",
}

MLP_NAMES = {
    "encoder.layer.{}.mlp.fc1": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.mlp.fc2": "blocks.{}.mlp.fc2",
}

SWIGLU_NAMES = {
    "encoder.layer.{}.mlp.weights_in": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.mlp.weights_out": "blocks.{}.mlp.fc2",
}

NAMES_IN_MEMORY = {
    "encoder.layer.{}.attention.q_proj": "blocks.{}.attn.q",
    "encoder.layer.{}.attention.k_proj": "blocks.{}.attn.k",
    "encoder.layer.{}.attention.v_proj": "blocks.{}.attn.v",
    "encoder.layer.{}.attention.o_proj": "blocks.{}.attn.proj",
    "encoder.layer.{}.mlp.gate_proj": "blocks.{}.mlp.g",
    "encoder.layer.{}.mlp.up_proj": "blocks.{}.mlp.u",
    "encoder.layer.{}.mlp.down_proj": "blocks.{}.mlp.fc2",
}
"""transformers 5, while the model runs: gate and value (`up`) are two maps there."""

BODY = r"(dinov2|dinov2_with_registers)\."

DEFAULTS: dict[str, Any] = vit.DEFAULTS | {
    "patch_size": 14,
    "mlp_ratio": 4,
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
}


def to_timm(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors under timm's names."""
    bare = strip(state, BODY)
    return fuse_gates(fuse(rename(bare, NAMES | MLP_NAMES | SWIGLU_NAMES | NAMES_IN_MEMORY)))


def fuse_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gate (`g`) and value (`u`) of every SwiGLU as the one map, `fc1`, that they are here."""
    gated = fuse(state, "gu", owner=r"blocks\.\d+\.mlp")
    return rename(gated, {"blocks.{}.mlp.gu": "blocks.{}.mlp.fc1"})


def from_timm(state: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """The tensors of a DINOv2 as `Dinov2Model` keeps them in a file, or `Dinov2WithRegistersModel`.

    The latter gives the class token a position, which is then zero. Both have a token for masked patches, which only
    their training needed.
    """
    if config.num_register_tokens:
        state = {**state, "pos_embed": torch.nn.functional.pad(state["pos_embed"], (0, 0, 1, 0))}
    names = NAMES | (SWIGLU_NAMES if config.mlp == "swiglu" else MLP_NAMES)
    mask_token = torch.zeros_like(state["cls_token"][0])
    return rename(split(state), inverse(names)) | {"embeddings.mask_token": mask_token}


LAYOUT = Layout(
    name="transformers",
    marker=r"((dinov2|dinov2_with_registers)\.)?encoder\.layer\.0\.layer_scale1\.lambda1",
    to_timm=to_timm,
    spare=r"embeddings\.mask_token",
)


def whole_ratio(architecture: ViTConfig) -> int:
    """The whole number from which transformers' DINOv2 gets the width of this model's MLP.

    Raises:
        ValueError: there is none.
    """
    is_swiglu, width = architecture.mlp == "swiglu", architecture.embed_dim
    # transformers takes two thirds of this for each of gate and value, whose sum is ours
    whole = round(architecture.mlp_ratio * 3 / 4) if is_swiglu else round(architecture.mlp_ratio)
    if _hidden(width, whole, is_swiglu) != architecture.mlp_hidden_dim:
        raise ValueError(
            f"mlp_ratio={architecture.mlp_ratio} gives {architecture.mlp_hidden_dim} hidden units, and transformers' "
            f"DINOv2 takes whole multiples of the width; {_hidden(width, whole, is_swiglu) / width:g} works."
        )
    return whole


def _hidden(width: int, mlp_ratio: int | float, is_swiglu: bool) -> int:
    """How wide transformers makes the first layer of DINOv2's MLP."""
    hidden = int(width * mlp_ratio)
    return 2 * ((int(hidden * 2 / 3) + 7) // 8 * 8) if is_swiglu else hidden  # gate and value, each in whole eights


def _dinov2(config: Mapping[str, Any]) -> ViTConfig:
    given = {**DEFAULTS, **config}
    width, is_swiglu = given["hidden_size"], given["use_swiglu_ffn"]
    hidden = _hidden(width, given["mlp_ratio"], is_swiglu)
    registers = given.get("num_register_tokens", 4) if given["model_type"] == "dinov2_with_registers" else 0
    mlp: dict[str, Any] = {"mlp": "swiglu", "mlp_ratio": ratio(hidden, width)}
    return ViTConfig(
        **shared(given),
        **(mlp if is_swiglu else plain_mlp({**given, "intermediate_size": hidden})),
        qkv_bias=given["qkv_bias"],
        num_classes=0,
        init_values=given["layerscale_value"],
        num_register_tokens=registers,
        prefix_positions=not registers,
    )


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
}
