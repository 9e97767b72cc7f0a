"""ViT of transformers, and its relatives that differ in tokens, heads and training: DeiT, ViTMAE, ViTMSN.

Queries, keys and values are three maps there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import Layout, fuse, inverse, rename, split, strip
from vit.weights.transformers.fields import is_classifier, num_classes, plain_mlp, shared

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

NAMES = SHARED_NAMES | {
    **ATTENTION_NAMES,
    "encoder.layer.{}.layernorm_before": "blocks.{}.norm1",
    "encoder.layer.{}.layernorm_after": "blocks.{}.norm2",
    "encoder.layer.{}.intermediate.dense": "blocks.{}.mlp.fc1",
    "encoder.layer.{}.output.dense": "blocks.{}.mlp.fc2",
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
}
"""transformers 5, while the model runs."""

DISTILLED_NAMES = {
    "embeddings.distillation_token": "dist_token",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}
"""DeiT whose distillation token has a head of its own."""

UNREAD_DISTILLATION_NAMES = {"embeddings.distillation_token": "reg_token"}
"""DeiT whose head reads the class token alone: the other token only takes part, as a register does."""

BODY = r"(vit|deit)\."
"""What stands before every tensor but the classifier's."""

DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "layer_norm_eps": 1e-12,
}
"""What transformers takes where `config.json` says nothing."""


def to_timm(state: Mapping[str, Tensor], config: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors under timm's names; DeiT's distillation token is what `config`, else its head, makes of it."""
    bare = strip(state, BODY)
    distilled = config.distilled if config else "distillation_classifier.weight" in bare
    deit = DISTILLED_NAMES if distilled else UNREAD_DISTILLATION_NAMES
    return fuse(rename(bare, NAMES | NAMES_IN_MEMORY | deit))


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a plain ViT as `ViTForImageClassification` keeps them in a file."""
    renamed = rename(split(state), inverse(NAMES))
    return {name if name.startswith("classifier.") else f"vit.{name}": tensor for name, tensor in renamed.items()}


def notes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What is to be known about DeiT and ViTMAE."""
    names = strip(state, BODY)
    said: list[str] = []
    if "embeddings.distillation_token" in names and "distillation_classifier.weight" not in names:
        said.append("no head reads the distillation token there, so it is a register here: the same function")
    if any(name.startswith("decoder.decoder_") for name in names):
        said.append("all patches are seen, where ViTMAE's training hides most; its decoder is left over")
    return tuple(said)


LAYOUT = Layout(
    name="transformers",
    marker=r"((vit|deit)\.)?embeddings\.patch_embeddings\.projection\.weight",
    to_timm=to_timm,
    spare=r"pooler\..*|embeddings\.mask_token|decoder\..*",
    notes=notes,
)


def _plain(config: Mapping[str, Any], classifier: str, **tokens: Any) -> ViTConfig:
    """The architecture of a model of the `classifier`'s family, with or without its head."""
    given = {**DEFAULTS, **config}
    classes = num_classes(given) if is_classifier(given, usual=classifier) else 0
    return ViTConfig(**shared(given), **plain_mlp(given), qkv_bias=given["qkv_bias"], num_classes=classes, **tokens)


def _vit(config: Mapping[str, Any]) -> ViTConfig:
    return _plain(config, "ViTForImageClassification")


def _deit(config: Mapping[str, Any]) -> ViTConfig:
    """DeiT: with a head for the distillation token a distilled model, else that token is a register."""
    has_both = any("WithTeacher" in name for name in config.get("architectures") or [])
    tokens = {"distilled": True} if has_both else {"num_register_tokens": 1}
    return _plain(config, "DeiTForImageClassification", **tokens)


def _mae(config: Mapping[str, Any]) -> ViTConfig:
    """The encoder of ViTMAE. Its fixed positions are tensors of the file, so learned ones hold the same values."""
    return _plain(config, "ViTMAEForPreTraining")


def _msn(config: Mapping[str, Any]) -> ViTConfig:
    return _plain({"layer_norm_eps": 1e-6, **config}, "ViTMSNForImageClassification")


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {
    "vit": _vit,
    "deit": _deit,
    "vit_mae": _mae,
    "vit_msn": _msn,
}
"""`model_type` -> how its `config.json` is read."""
