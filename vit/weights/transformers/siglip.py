"""SigLIP of transformers, and SigLIP 2 of fixed size: the tower that sees. What reads texts is left over.

Patches alone, without a class token; a learned query asks them (`head.probe`). `SiglipForImageClassification` reads
their mean instead, and leaves that query out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.names import Layout, fuse, rename, strip
from vit.weights.transformers.clip import BODY, TOWER_NAMES, TOWER_SPARE, tower
from vit.weights.transformers.clip import DEFAULTS as CLIP_DEFAULTS
from vit.weights.transformers.fields import is_classifier, num_classes, plain_mlp, shared

NAMES = TOWER_NAMES | {"post_layernorm": "norm"}

POOL_NAMES = {
    "head.probe": "attn_pool.latent",
    "head.attention.in_proj_weight": "attn_pool.qkv.weight",
    "head.attention.in_proj_bias": "attn_pool.qkv.bias",
    "head.attention.out_proj": "attn_pool.proj",
    "head.layernorm": "attn_pool.norm",
    "head.mlp.fc1": "attn_pool.mlp.fc1",
    "head.mlp.fc2": "attn_pool.mlp.fc2",
}
"""Left over where a classifier reads the mean of the patches."""

DEFAULTS = CLIP_DEFAULTS | {"patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}


def to_timm(state: Mapping[str, Tensor], _: ViTConfig | None) -> dict[str, Tensor]:
    """The tensors under timm's names; the query's map apart from that of keys and values."""
    bare = strip(state, BODY)
    renamed = fuse(rename(bare, NAMES if "classifier.weight" in bare else NAMES | POOL_NAMES))
    renamed["pos_embed"] = rearrange(renamed["pos_embed"], "n d -> 1 n d")
    for kind in ("weight", "bias"):
        if (name := f"attn_pool.qkv.{kind}") in renamed:
            q, k, v = rearrange(renamed.pop(name), "(qkv d) ... -> qkv d ...", qkv=3)
            renamed |= {f"attn_pool.q.{kind}": q, f"attn_pool.kv.{kind}": rearrange([k, v], "kv d ... -> (kv d) ...")}
    return renamed


def notes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What stands for the image where nothing in the file says it."""
    bare = strip(state, BODY)
    if "head.probe" in bare or "classifier.weight" in bare:
        return ()
    return ("the file has tokens only and nothing to pool them: the mean of the patches stands for the image here",)


LAYOUT = Layout(
    name="transformers",
    marker=r"(vision_model\.)?embeddings\.patch_embedding\.weight",
    to_timm=to_timm,
    spare=rf"{TOWER_SPARE}|head\.(probe|(attention|layernorm|mlp)\..*)",
    notes=notes,
)


def _siglip(config: Mapping[str, Any]) -> ViTConfig:
    given = tower(config, DEFAULTS)
    is_pooled = given.get("vision_use_head", True)
    has_classes = is_classifier(config, usual="SiglipModel")
    return ViTConfig(
        **shared(given),
        **plain_mlp(given),
        class_token=False,
        pool="map" if is_pooled and not has_classes else "mean",
        num_classes=num_classes(config) if has_classes else 0,
    )


READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = {
    "siglip": _siglip,
    "siglip_vision_model": _siglip,
}
"""`model_type` -> how its `config.json` is read. `siglip2` is of any shape of image, whose patches come in lists."""
