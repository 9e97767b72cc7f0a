"""Models of transformers with the architecture of a `ViTConfig`, for comparison. They import it when they are built."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vit.nn import ViTConfig
from vit.weights.transformers.dinov2 import whole_ratio
from vit.weights.transformers.fields import written


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A model of transformers as it starts."""

    model: Any
    """A module; the library is untyped."""

    config: ViTConfig
    """Its architecture in our words: what was asked for, and what every model of its class has."""

    logits: Callable[[Any], Tensor]
    """Takes the logits, or the features, out of what the model returns."""


def vit(config: ViTConfig) -> Theirs:
    """`ViTForImageClassification`; for an architecture with LayerScale DINOv2, of which the features are compared."""
    if config.init_values is not None:
        return _dinov2(config)
    return _classifier("ViT", config)


def deit(config: ViTConfig) -> Theirs:
    """DeiT, with a head for its distillation token where `config` has one, else with that token as a register."""
    if config.distilled:
        return _classifier("DeiT", config, "ForImageClassificationWithTeacher")
    return _classifier("DeiT", dataclasses.replace(config, num_register_tokens=1))


def msn(config: ViTConfig) -> Theirs:
    """`ViTMSNForImageClassification`."""
    return _classifier("ViTMSN", config)


def mae(config: ViTConfig) -> Theirs:
    """`ViTMAEModel` that hides no patch; it shuffles them all the same, which the class token does not see."""
    library = importlib.import_module("transformers")
    return Theirs(
        model=library.ViTMAEModel(library.ViTMAEConfig(**_of_vit(config), mask_ratio=0.0)),
        config=dataclasses.replace(config, num_classes=0),
        logits=lambda output: output.last_hidden_state[:, 0],
    )


def clip(config: ViTConfig) -> Theirs:
    """The tower that sees, with the projection as a head where `config` has one."""
    library = importlib.import_module("transformers")
    settings = library.CLIPVisionConfig(**_of_square(config), projection_dim=config.num_classes or 1)
    if config.num_classes:
        model = library.CLIPVisionModelWithProjection(settings)
        return Theirs(model=model, config=config, logits=lambda output: output.image_embeds)
    return Theirs(model=library.CLIPVisionModel(settings), config=config, logits=lambda output: output.pooler_output)


def siglip(config: ViTConfig) -> Theirs:
    """The tower that sees, with attention pooling; for the mean of the patches the classifier, or mere tokens."""
    library = importlib.import_module("transformers")
    fields = _of_square(config) | {"vision_use_head": config.pool == "map"}
    if config.num_classes:
        both = library.SiglipConfig(vision_config=fields, num_labels=config.num_classes)
        model = library.SiglipForImageClassification(both)
        return Theirs(model=model, config=config, logits=lambda output: output.logits)
    model = library.SiglipVisionModel(library.SiglipVisionConfig(**fields))
    if config.pool == "map":
        return Theirs(model=model, config=config, logits=lambda output: output.pooler_output)
    return Theirs(model=model, config=config, logits=lambda output: output.last_hidden_state.mean(dim=1))


def _classifier(family: str, config: ViTConfig, kind: str = "ForImageClassification") -> Theirs:
    library = importlib.import_module("transformers")
    settings = getattr(library, f"{family}Config")(**_of_vit(config), num_labels=config.num_classes)
    return Theirs(model=getattr(library, family + kind)(settings), config=config, logits=lambda output: output.logits)


def _dinov2(config: ViTConfig) -> Theirs:
    library = importlib.import_module("transformers")
    fields = {
        **written(config),
        "qkv_bias": config.qkv_bias,
        "mlp_ratio": whole_ratio(config),
        "use_swiglu_ffn": config.mlp == "swiglu",
        "layerscale_value": config.init_values,
    }
    if config.num_register_tokens:
        fields["num_register_tokens"] = config.num_register_tokens
        model = library.Dinov2WithRegistersModel(library.Dinov2WithRegistersConfig(**fields))
    else:
        model = library.Dinov2Model(library.Dinov2Config(**fields))
    return Theirs(model=model, config=config, logits=lambda output: output.pooler_output)


def dinov3(config: ViTConfig) -> Theirs:
    """`DINOv3ViTModel`, whose features are those of the class token; keys have no bias, as in the published ones."""
    library = importlib.import_module("transformers")
    is_swiglu = config.mlp == "swiglu"
    settings = library.DINOv3ViTConfig(
        **written(config) | ({"hidden_act": "silu"} if is_swiglu else {}),
        intermediate_size=config.mlp_hidden_dim // 2 if is_swiglu else config.mlp_hidden_dim,
        use_gated_mlp=is_swiglu,
        query_bias=config.qkv_bias,
        key_bias=False,
        value_bias=config.qkv_bias,
        layerscale_value=config.init_values or 1.0,
        num_register_tokens=config.num_register_tokens,
        rope_theta=config.rope_temperature,
    )
    return Theirs(
        model=library.DINOv3ViTModel(settings),
        config=dataclasses.replace(config, pool="cls"),
        logits=lambda output: output.pooler_output,
    )


def _of_square(config: ViTConfig) -> dict[str, Any]:
    """CLIP and SigLIP take one number for the sides of an image, and one for those of a patch."""
    sides = {"image_size": config.image_hw[0], "patch_size": config.patch_hw[0]}
    return {**written(config), **sides, "intermediate_size": config.mlp_hidden_dim}


def _of_vit(config: ViTConfig) -> dict[str, Any]:
    return {**written(config), "qkv_bias": config.qkv_bias, "intermediate_size": config.mlp_hidden_dim}
