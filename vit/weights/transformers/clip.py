"""CLIP of transformers: the tower that sees. What reads texts is left over.

A whole `CLIPModel` and `CLIPVisionModelWithProjection` have a projection behind it, a head without bias: the numbers
that are compared with those of texts. `CLIPForImageClassification` reads the mean of the patches, and no last norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import Layout, fuse, rename, strip
from vit.weights.transformers.fields import is_classifier, num_classes, plain_mlp, shared

TOWER_NAMES = {
    "embeddings.patch_embedding": "patch_embed.proj",
    "embeddings.position_embedding.weight": "pos_embed",
    "encoder.layers.{}.layer_norm1": "blocks.{}.norm1",
    "encoder.layers.{}.self_attn.q_proj": "blocks.{}.attn.q",
    "encoder.layers.{}.self_attn.k_proj": "blocks.{}.attn.k",
    "encoder.layers.{}.self_attn.v_proj": "blocks.{}.attn.v",
    "encoder.layers.{}.self_attn.out_proj": "blocks.{}.attn.proj",
    "encoder.layers.{}.layer_norm2": "blocks.{}.norm2",
    "encoder.layers.{}.mlp.fc1": "blocks.{}.mlp.fc1",
    "encoder.layers.{}.mlp.fc2": "blocks.{}.mlp.fc2",
    "classifier": "head",
}
"""What CLIP and SigLIP call alike."""

NAMES = TOWER_NAMES | {
    "embeddings.class_embedding": "cls_token",
    "pre_layrnorm": "norm_pre",
    "visual_projection": "head",
}

POST_NORM_NAMES = {"post_layernorm": "norm"}
"""Left over where a classifier reads the tokens before it."""

TOWER_SPARE = r"text_model\..*|logit_scale|logit_bias|embeddings\.position_ids"
"""The tower that reads texts, and what old versions saved beside the positions."""

BODY = r"vision_model\."

DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 32,
    "num_channels": 3,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def to_timm(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors under timm's names, the projection with a bias of zero."""
    bare = strip(state, BODY)
    renamed = fuse(rename(bare, NAMES if "classifier.weight" in bare else NAMES | POST_NORM_NAMES))
    renamed["cls_token"] = rearrange(renamed["cls_token"], "d -> 1 1 d")
    renamed["pos_embed"] = rearrange(renamed["pos_embed"], "n d -> 1 n d")
    if "visual_projection.weight" in bare:
        weight = bare["visual_projection.weight"]
        renamed["head.bias"] = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    return renamed


def completed(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The bias that the projection does not have."""
    return {"head.bias": "CLIP's projection has no bias"} if "visual_projection.weight" in state else {}


def notes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What the projection, where there is one, is for."""
    if "visual_projection.weight" not in state:
        return ()
    numbers = len(state["visual_projection.weight"])
    return (f"CLIP's projection gives {numbers} numbers to compare with those of texts, and no classes",)


LAYOUT = Layout(
    name="transformers",
    marker=r"(vision_model\.)?embeddings\.class_embedding",
    to_timm=to_timm,
    spare=rf"{TOWER_SPARE}|text_projection\.weight|post_layernorm\..*",
    notes=notes,
    completed=completed,
)


def tower(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the `config.json` of both towers, or of this one alone, says about the one that sees.

    Raises:
        ValueError: it is no object with names and values.
    """
    if "vision" in config["model_type"]:
        return {**defaults, **config}
    # `vision_config_dict` is older, and counts where both are there
    said = config.get("vision_config_dict") or config.get("vision_config") or {}
    if not isinstance(said, Mapping):
        raise ValueError(f"vision_config={said!r} is no object with names and values.")
    return {**defaults, **said}


def _clip(config: Mapping[str, Any], usual: str) -> ViTConfig:
    """The architecture; `usual` is the class where none is named."""
    given = tower(config, DEFAULTS)
    return ViTConfig(**shared(given), **plain_mlp(given), **_head(config, usual), pre_norm=True)


def _head(config: Mapping[str, Any], usual: str) -> dict[str, Any]:
    """The fields of what reads the tokens, of the class that wrote this."""
    classes = config.get("architectures") or [usual]
    if is_classifier(config, usual):
        return {"num_classes": num_classes(config), "pool": "mean", "final_norm": "none"}
    has_projection = any(name == "CLIPModel" or "WithProjection" in name for name in classes)
    return {"num_classes": config.get("projection_dim", 512) if has_projection else 0}


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {
    "clip": lambda config: _clip(config, "CLIPModel"),
    "clip_vision_model": lambda config: _clip(config, "CLIPVisionModel"),
}
"""`model_type` -> how its `config.json` is read."""
