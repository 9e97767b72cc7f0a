"""What the architectures that a `config.json` of transformers describes have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vit.nn.config import Activation, ViTConfig

MLPS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
"""`hidden_act` of theirs -> `mlp` of ours."""

ACTIVATIONS = {ours: theirs for theirs, ours in MLPS.items() if theirs != "gelu_new"}
"""The way back."""


def shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every family has.

    Raises:
        ValueError: heads of another width than ours.
    """
    width, heads, head_dim = given["hidden_size"], given["num_attention_heads"], given.get("head_dim")
    if head_dim is not None and head_dim * heads != width:
        raise ValueError(
            f"head_dim={head_dim} of transformers is not built here: {heads} heads share a token {width} wide evenly."
        )
    return {
        "image_size": size(given["image_size"]),
        "patch_size": size(given["patch_size"]),
        "in_channels": given["num_channels"],
        "embed_dim": width,
        "depth": given["num_hidden_layers"],
        "num_heads": heads,
        "norm_eps": given["layer_norm_eps"],
    }


def written(config: ViTConfig) -> dict[str, Any]:
    """The entries of `config.json` that every family has, of an architecture of ours."""
    return {
        "image_size": _both_sides(config.image_hw),
        "patch_size": _both_sides(config.patch_hw),
        "num_channels": config.in_channels,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "hidden_act": ACTIVATIONS.get(config.mlp, "gelu"),  # which swiglu does not look at
        "layer_norm_eps": config.norm_eps,
    }


def plain_mlp(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an MLP of two layers.

    Raises:
        ValueError: a non-linearity that is not built here.
    """
    act = given["hidden_act"]
    if act not in MLPS:
        raise ValueError(f"hidden_act={act!r} of transformers is not built here; {', '.join(MLPS)} are.")
    return {"mlp": MLPS[act], "mlp_ratio": ratio(given["intermediate_size"], given["hidden_size"])}


def ratio(hidden: int, width: int) -> float:
    """The `mlp_ratio` that `int(width * mlp_ratio)` turns into `hidden` again."""
    share = hidden / width
    return share if int(width * share) == hidden else math.nextafter(share, math.inf)


def size(given: Any) -> Any:
    """A size, which is a list in JSON where it is two numbers; what is none is for `ViTConfig` to refuse."""
    return tuple(given) if isinstance(given, list) else given


def is_classifier(config: Mapping[str, Any], usual: str) -> bool:
    """Whether the class that wrote this has a classifier; `usual` is the class where none is named."""
    return any("ForImageClassification" in name for name in config.get("architectures") or [usual])


def num_classes(config: Mapping[str, Any]) -> int:
    """The number of classes of a classifier: transformers leaves them out where there are two."""
    return len(config.get("id2label") or range(config.get("num_labels", 2)))


def _both_sides(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
