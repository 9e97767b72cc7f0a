"""DINOv3's ViT of transformers: rotary positions, registers, LayerScale; features of the class token, at any size.

Keys have no bias there, where queries and values have one: zeros in its place are the same function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import Layout, fuse, rename, strip
from vit.weights.transformers.dinov2 import fuse_gates
from vit.weights.transformers.fields import plain_mlp, ratio, shared

NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "layer.{}.norm1": "blocks.{}.norm1",
    "layer.{}.attention.q_proj": "blocks.{}.attn.q",
    "layer.{}.attention.k_proj": "blocks.{}.attn.k",
    "layer.{}.attention.v_proj": "blocks.{}.attn.v",
    "layer.{}.attention.o_proj": "blocks.{}.attn.proj",
    "layer.{}.layer_scale1.lambda1": "blocks.{}.ls1.gamma",
    "layer.{}.norm2": "blocks.{}.norm2",
    "layer.{}.mlp.down_proj": "blocks.{}.mlp.fc2",
    "layer.{}.layer_scale2.lambda1": "blocks.{}.ls2.gamma",
}

MLP_NAMES = {"layer.{}.mlp.up_proj": "blocks.{}.mlp.fc1"}

SWIGLU_NAMES = {
    "layer.{}.mlp.gate_proj": "blocks.{}.mlp.g",
    "layer.{}.mlp.up_proj": "blocks.{}.mlp.u",
}

REGISTER_NAMES = {"embeddings.register_tokens": "reg_token"}
"""The file of a model without registers has that tensor all the same, with nothing in it, which is left over."""

BODY = r"model\."
"""What stands before the blocks while the model runs."""

PARTS = {"q": "queries", "k": "keys", "v": "values"}

DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "rope_theta": 100.0,
    "query_bias": True,
    "key_bias": False,
    "value_bias": True,
    "proj_bias": True,
    "mlp_bias": True,
    "layerscale_value": 1.0,
    "use_gated_mlp": False,
    "num_register_tokens": 0,
}


def to_timm(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors under timm's names, biases of zeros beside those of a block's queries, keys and values."""
    renamed = _renamed(state)
    for block, parts in _without_bias(renamed).items():
        for part in parts:
            weight = renamed[f"{block}.{part}.weight"]
            renamed[f"{block}.{part}.bias"] = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    return fuse_gates(fuse(renamed))


def completed(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The biases that not all of queries, keys and values have."""
    return {
        f"{block}.qkv.bias": f"{' and '.join(PARTS[part] for part in parts)} have no bias there"
        for block, parts in _without_bias(_renamed(state)).items()
    }


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = strip(state, BODY)
    mlp = SWIGLU_NAMES if any(".mlp.gate_proj." in name for name in bare) else MLP_NAMES
    registers = REGISTER_NAMES if bare["embeddings.register_tokens"].numel() else {}
    return rename(bare, NAMES | mlp | registers)


def _without_bias(renamed: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The attention of a block -> those of its queries, keys and values without a bias, where others have one."""
    found = [re.fullmatch(r"(blocks\.\d+\.attn)\.[qkv]\.bias", name) for name in renamed]
    blocks = dict.fromkeys(match[1] for match in found if match)
    lacking = {block: [part for part in PARTS if f"{block}.{part}.bias" not in renamed] for block in blocks}
    return {block: parts for block, parts in lacking.items() if parts}


LAYOUT = Layout(
    name="transformers",
    marker=r"embeddings\.patch_embeddings\.weight",
    to_timm=to_timm,
    spare=r"embeddings\.(mask_token|register_tokens)",
    completed=completed,
)


def _dinov3(config: Mapping[str, Any]) -> ViTConfig:
    given = {**DEFAULTS, **config}
    for name in ("proj_bias", "mlp_bias"):
        if not given[name]:
            raise ValueError(f"{name}=False of transformers is not built here; true is.")
    return ViTConfig(
        **shared(given),
        **(_swiglu(given) if given["use_gated_mlp"] else plain_mlp(given)),
        qkv_bias=any(given[name] for name in ("query_bias", "key_bias", "value_bias")),
        num_classes=0,
        init_values=given["layerscale_value"],
        num_register_tokens=given["num_register_tokens"],
        positions="rope2d_centred",
        rope_temperature=given["rope_theta"],
        dynamic_image_size=True,
    )


def _swiglu(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a gated MLP, whose gate and value are one layer here.

    Raises:
        ValueError: another gate than SiLU.
    """
    if given["hidden_act"] not in ("silu", "swish"):
        raise ValueError(
            f"hidden_act={given['hidden_act']!r} with use_gated_mlp=True of transformers is not built here; silu is."
        )
    return {"mlp": "swiglu", "mlp_ratio": ratio(2 * given["intermediate_size"], given["hidden_size"])}


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {"dinov3_vit": _dinov3}
"""`model_type` -> how its `config.json` is read."""
