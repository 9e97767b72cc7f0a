"""Our tensors and fields under timm's names, and back. Nothing here imports timm: names and shapes are all it takes.

Most names are the same. timm's patch projection is a convolution (d, c, ph, pw) where ours is linear (d, c * ph * pw),
its tokens and positions carry axes of length one, and its rotary models call LayerScale `gamma_1`. What timm does not
have (the norm before the patch projection) keeps our name and shape.

timm spreads its ViTs over three classes, and sets some options only in code. So an architecture of timm, the entry
point, is needed that has those options; all the others are arguments.
"""

from collections.abc import Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from vit.nn import PRESETS, ViTConfig
from vit.spelling import did_you_mean

ARCHITECTURE_OF_ANY_SHAPE = "vit_base_patch16_224"
"""timm builds every ViT without special options from this entry point, given its arguments."""

ARGUMENTS = {
    "image_size": "img_size",
    "patch_size": "patch_size",
    "in_channels": "in_chans",
    "num_classes": "num_classes",
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_norm": "qk_norm",
    "class_token": "class_token",
    "init_values": "init_values",
    "dynamic_image_size": "dynamic_img_size",
}
"""Our field -> timm's argument, of all of timm's classes."""

PLAIN_ARGUMENTS = {"num_register_tokens": "reg_tokens", "pre_norm": "pre_norm"}
"""Likewise, of `VisionTransformer`."""

ROTARY_ARGUMENTS = {
    "num_register_tokens": "num_reg_tokens",
    "pre_norm": "use_pre_transformer_norm",
    "rope_temperature": "rope_temperature",
}
"""Likewise, of `Eva`, which has the rotary positions."""

RATES = {"patch_drop_rate": "patch_drop_rate", "drop_path_rate": "drop_path_rate"}
"""Read, not written: they change training only."""

POOLS = {"cls": "token", "mean": "avg", "map": "map"}

VALUES: dict[str, dict[Any, dict[str, Any]]] = {
    "global_pool": {theirs: {"pool": ours} for ours, theirs in POOLS.items()},
    "act_layer": {name: {"mlp": name} for name in ("gelu", "gelu_tanh", "quick_gelu")},
    "pos_embed": {"learn": {"positions": "learned"}, "none": {"positions": "none"}, "": {"positions": "none"}},
    "no_embed_class": {True: {"prefix_positions": False}, False: {"prefix_positions": True}},
    "attn_type": {"rope": {}},
    "swiglu_mlp": {True: {"mlp": "swiglu"}, False: {"mlp": "gelu"}},
}
"""timm's argument -> its value -> our fields, where it takes more than another name."""

NORMS = ("final_norm", "fc_norm", "use_post_transformer_norm", "use_fc_norm")
"""timm's arguments that together say where the last norm stands."""


def to_timm(state: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """Our state dict as timm names and shapes it."""
    ph, pw = config.patch_hw
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("tokenizer.").replace("head.cls.", "head.").replace("head.dist.", "head_dist.")
        name = "attn_" + name if name.startswith("pool.") else name
        if config.rotary:
            name = name.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2")
        if name == "patch_embed.proj.weight":
            tensor = rearrange(tensor, "d (c ph pw) -> d c ph pw", ph=ph, pw=pw)
        elif name in ("cls_token", "dist_token", "attn_pool.latent"):
            tensor = rearrange(tensor, "d -> 1 1 d")
        elif name in ("reg_token", "pos_embed"):
            tensor = rearrange(tensor, "n d -> 1 n d")
        renamed[name] = tensor.contiguous()
    return renamed


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_timm`.

    Raises:
        ValueError: the tensors are not those of a ViT in timm's layout.
    """
    if "patch_embed.proj.weight" not in state:
        raise ValueError("these are not the weights of a ViT in timm's layout: patch_embed.proj.weight is missing.")
    distilled = any(name.startswith("head_dist.") for name in state)
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "patch_embed.proj.weight":
            tensor = rearrange(tensor, "d c ph pw -> d (c ph pw)")
        elif name in ("cls_token", "dist_token"):
            name, tensor = f"tokenizer.{name}", rearrange(tensor, "1 1 d -> d")
        elif name in ("reg_token", "pos_embed"):
            name, tensor = f"tokenizer.{name}", rearrange(tensor, "1 n d -> n d")
        elif name == "attn_pool.latent":
            tensor = rearrange(tensor, "1 1 d -> d")
        name = name.replace(".gamma_1", ".ls1.gamma").replace(".gamma_2", ".ls2.gamma")
        name = name.replace("attn_pool.", "pool.").replace("head_dist.", "head.dist.")
        if distilled and name in ("head.weight", "head.bias"):
            name = name.replace("head.", "head.cls.")
        ours[name] = tensor
    return ours


def timm_architecture(config: ViTConfig) -> str:
    """The entry point from which timm builds a model of this shape, given `timm_arguments`.

    Raises:
        ValueError: timm has none; the sentence says which fields it does not have together.
    """
    if config.patch_norm:
        raise ValueError(
            "timm has no ViT with patch_norm=True, a norm before the patch projection; this package's own model folder "
            "keeps it."
        )
    if config.norm_eps not in (1e-6, 1e-5):
        raise ValueError(f"timm has no ViT with norm_eps={config.norm_eps}; 1e-6 and 1e-5 it has.")
    special = {
        "vit_base_patch16_rope_224": ("positions='rope2d'", config.positions == "rope2d"),
        "vit_small_patch16_dinov3": ("positions='rope2d_centred'", config.positions == "rope2d_centred"),
        "deit_base_distilled_patch16_224": ("distilled=True", config.distilled),
        "vit_giant_patch14_dinov2": ("mlp='swiglu'", config.mlp == "swiglu" and not config.rotary),
        "vit_base_patch16_clip_224": ("norm_eps=1e-05", config.norm_eps == 1e-5 and not config.rotary),
    }
    needed = {name: field for name, (field, is_so) in special.items() if is_so}
    clashes = [*needed.values(), *_not_beside(needed, config)]
    if len(clashes) > 1:
        raise ValueError(f"timm has no ViT with {' and '.join(clashes)}; this package's own model folder keeps it.")
    return next(iter(needed), ARCHITECTURE_OF_ANY_SHAPE)


def _not_beside(needed: Mapping[str, str], config: ViTConfig) -> list[str]:
    """Fields of `config` that timm's special classes do not have."""
    if config.rotary:
        norm_eps = 1e-6 if config.positions == "rope2d" else 1e-5
        without = {
            f"norm_eps={config.norm_eps}": config.norm_eps != norm_eps,
            "init_values=None": config.init_values is None,
            f"mlp={config.mlp!r}": config.mlp not in ("gelu", "swiglu"),
            "pool='map' over prefix tokens": config.pool == "map" and config.num_prefix_tokens > 0,
            "pool='map' of swiglu": config.pool == "map" and config.mlp == "swiglu",
        }
    elif "deit_base_distilled_patch16_224" in needed:
        without = {
            f"positions={config.positions!r}": config.positions != "learned",
            "prefix_positions=False": not config.prefix_positions,
            f"num_register_tokens={config.num_register_tokens}": config.num_register_tokens > 0,
            f"final_norm={config.final_norm!r}": config.final_norm != "tokens",
        }
    else:
        without = {"pool='map' of swiglu": config.pool == "map" and config.mlp == "swiglu"}
    return [field for field, is_so in without.items() if is_so]


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """The keyword arguments with which timm's `timm_architecture(config)` has this shape; plain JSON values."""
    names = {**ARGUMENTS, **(ROTARY_ARGUMENTS if config.rotary else PLAIN_ARGUMENTS)}
    arguments = {theirs: getattr(config, ours) for ours, theirs in names.items()}
    arguments["global_pool"] = POOLS[config.pool]
    arguments["init_values"] = config.init_values or 0  # timm takes None for "as the entry point has it"
    if config.rotary:
        # timm's Eva counts the gate apart from the value
        swiglu = config.mlp == "swiglu"
        return {
            **arguments,
            "attn_type": "rope",  # where a bias is one tensor, and keys have one too
            "use_post_transformer_norm": config.final_norm == "tokens",
            "use_fc_norm": config.final_norm == "pooled",
            "swiglu_mlp": swiglu,
            "mlp_ratio": config.mlp_ratio / 2 if swiglu else config.mlp_ratio,
        }
    arguments["final_norm"] = config.final_norm != "none"
    arguments["fc_norm"] = config.final_norm == "pooled"
    arguments["pos_embed"] = "none" if config.positions == "none" else "learn"
    arguments["no_embed_class"] = config.positions == "sincos2d" or not config.prefix_positions
    return arguments if config.mlp == "swiglu" else {**arguments, "act_layer": config.mlp}


def config_from_timm(architecture: str, arguments: Mapping[str, Any]) -> ViTConfig:
    """The `ViTConfig` of timm's `architecture` with some of its arguments changed.

    Raises:
        ValueError: an architecture, or an argument, that is not one of a plain ViT as this package has it.
    """
    if architecture not in PRESETS:
        raise ValueError(
            f"{architecture} is not a plain ViT that this package builds (convolutional stems, parallel or post-norm "
            f"blocks, RMSNorm and relative position biases it does not have){did_you_mean(architecture, PRESETS)}"
        )
    base = ViTConfig.preset(architecture)
    fields = {theirs: ours for ours, theirs in {**ARGUMENTS, **PLAIN_ARGUMENTS, **RATES}.items()}
    fields |= {theirs: ours for ours, theirs in ROTARY_ARGUMENTS.items()}
    changes: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in fields:
            changes[fields[name]] = tuple(value) if isinstance(value, list) else value
        elif name not in NORMS:
            changes |= _translated(architecture, name, value)
    changes["final_norm"] = _final_norm(base, changes.get("pool", base.pool), arguments)
    if "init_values" in changes:
        changes["init_values"] = changes["init_values"] or None
    if arguments.get("swiglu_mlp") and "mlp_ratio" in changes:
        changes["mlp_ratio"] *= 2
    return ViTConfig.preset(architecture, **changes)


def _translated(architecture: str, name: str, value: Any) -> dict[str, Any]:
    if name not in VALUES or value not in VALUES[name]:
        raise ValueError(f"{architecture} with {name}={value!r} is not a plain ViT that this package builds.")
    return VALUES[name][value]


def _final_norm(base: ViTConfig, pool: str, arguments: Mapping[str, Any]) -> str:
    """Where the last norm stands: as the arguments say, else as timm moves it when the pool is another."""
    if arguments.get("final_norm") is False or (base.final_norm == "none" and "final_norm" not in arguments):
        return "none"
    pooled = arguments.get("fc_norm", arguments.get("use_fc_norm"))
    if pooled is not None:
        return "pooled" if pooled else _over_tokens(arguments)
    return base.final_norm if pool == base.pool else ("pooled" if pool == "mean" else "tokens")


def _over_tokens(arguments: Mapping[str, Any]) -> str:
    return "none" if arguments.get("use_post_transformer_norm") is False else "tokens"
