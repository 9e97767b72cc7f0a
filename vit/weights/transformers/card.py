"""`config.json` and `preprocessor_config.json` of transformers <-> our model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vit.nn import ViTConfig
from vit.weights.card import ModelCard, numbered
from vit.weights.transformers import clip, dinov2, dinov3, siglip, vit
from vit.weights.transformers.fields import is_classifier, written
from vit.weights.transformers.preprocessing import preprocessing_from_transformers, preprocessing_to_transformers

READERS: dict[str, Callable[[Mapping[str, Any]], ViTConfig]] = (
    vit.READERS | dinov2.READERS | dinov3.READERS | clip.READERS | siglip.READERS
)
"""`model_type` -> how its `config.json` is read."""

USUAL_PROCESSORS = {
    "deit": "DeiT",
    "dinov3_vit": "DINOv3ViT",
    "clip": "CLIP",
    "clip_vision_model": "CLIP",
    "siglip": "Siglip",
    "siglip_vision_model": "Siglip",
}
"""`model_type` -> whose processor belongs to it, where it is not ViT's."""


def card_from_transformers(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> ModelCard:
    """The card of a folder that transformers wrote.

    Without a `preprocessor_config.json` it has the values that the family's processor falls back on, at the size of the
    model; ViT's are mean and standard deviation 0.5, bilinear, oblong pictures squashed.

    Raises:
        KeyError: an entry is missing.
        ValueError: another model than those of `READERS`, one with an option that this package does not build, or a
            preprocessing that our card has no words for.
    """
    kind = config.get("model_type", "")
    if kind not in READERS:
        raise ValueError(f"model_type={kind!r} of transformers is not read here; {', '.join(READERS)} are.")
    architecture = READERS[kind](config)
    return ModelCard(
        config=architecture,
        classes=_classes(config, architecture.num_classes),
        preprocessing=preprocessing_from_transformers(
            preprocessor or {}, architecture, USUAL_PROCESSORS.get(kind, "ViT")
        ),
        provenance={"library": "transformers"},
    )


def card_to_transformers(card: ModelCard) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `config.json` and `preprocessor_config.json` say about this model: with LayerScale a DINOv2, else a ViT.

    Raises:
        ValueError: a width of DINOv2's MLP, or a preprocessing, that transformers has no words for.
    """
    architecture = card.config
    config = {
        **written(architecture),
        "qkv_bias": architecture.qkv_bias,
        **(_of_vit(card) if architecture.init_values is None else _of_dinov2(architecture)),
    }
    return config, preprocessing_to_transformers(card.preprocessing)


def _of_vit(card: ModelCard) -> dict[str, Any]:
    """What only a ViT has in its `config.json`."""
    labels = [card.label(index) for index in range(card.config.num_classes)]
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "intermediate_size": card.config.mlp_hidden_dim,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _of_dinov2(architecture: ViTConfig) -> dict[str, Any]:
    """What only a DINOv2 has in its `config.json`."""
    registers = architecture.num_register_tokens
    return {
        "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if registers else "dinov2",
        "mlp_ratio": dinov2.whole_ratio(architecture),
        "use_swiglu_ffn": architecture.mlp == "swiglu",
        "layerscale_value": architecture.init_values,
        **({"num_register_tokens": registers} if registers else {}),
    }


def _classes(config: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    """Names of the classes; what CLIP's projection gives is none, and says so, whatever names stand in the file."""
    if config["model_type"] in clip.READERS and not is_classifier(config, usual="CLIPModel"):
        return tuple(f"projection {index}" for index in range(num_classes))
    labels = config.get("id2label")
    return tuple(labels[str(index)] for index in range(num_classes)) if labels else numbered(num_classes)
