"""What is written for another library is refused where that library has no such model. Equality is in test_parity."""

import dataclasses
from pathlib import Path

import pytest
import torch

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, export_model, load, read_card

CONFIG = ViTConfig(image_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=2)


def card_of(config: ViTConfig) -> ModelCard:
    return ModelCard(
        config=config,
        classes=tuple(f"class {number}" for number in range(config.num_classes)),
        preprocessing=Preprocessing(
            image_size=config.image_hw,
            mean=(0.1, 0.2, 0.3),
            std=(0.4, 0.5, 0.6),
            interpolation="lanczos",
            crop_pct=0.75,
        ),
    )


def export(layout: str, path: Path, **changes) -> Path:
    config = dataclasses.replace(CONFIG, **changes)
    return export_model(ViT(config), card_of(config), path, layout)


def test_a_folder_for_transformers_keeps_classes_and_preprocessing(tmp_path):
    card = read_card(export("transformers", tmp_path, norm_eps=1e-12, mlp="gelu_tanh"))
    assert card.classes == ("class 0", "class 1")
    assert card.preprocessing == card_of(CONFIG).preprocessing
    assert card.config == dataclasses.replace(CONFIG, norm_eps=1e-12, mlp="gelu_tanh")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_for_torchvision_is_read_again(tmp_path, suffix):
    path = export("torchvision", tmp_path / f"weights{suffix}")
    assert load(path, CONFIG).report.layout == "torchvision"


@pytest.mark.parametrize(
    ("layout", "changes", "why"),
    [
        ("torchvision", {"num_register_tokens": 2}, "torchvision's ViT has no num_register_tokens=2, only 0"),
        ("torchvision", {"norm_eps": 1e-5}, "torchvision's ViT has no norm_eps=1e-05, only 1e-06"),
        ("torchvision", {"image_size": (12, 16)}, r"no image_size=\(12, 16\); it takes squares"),
        ("torchvision", {"in_channels": 1}, "no in_channels=1"),
        ("transformers", {"pool": "mean"}, "transformers' ViT has no pool='mean', only 'cls'"),
        ("transformers", {"mlp": "swiglu"}, "transformers' ViT has no mlp='swiglu'"),
        (
            "transformers",
            {"init_values": 1e-5},
            "num_classes=2: the classifier of transformers' DINOv2 reads class tok",
        ),
        ("transformers", {"init_values": 1e-5, "pool": "mean"}, "transformers' DINOv2, .*, has no pool='mean', only"),
        ("transformers", {"num_classes": 0}, r"num_classes=0: transformers' ViT is a classifier"),
        ("jax", {"qkv_bias": False}, "has no qkv_bias=False"),
        ("torchvision", {"patch_norm": True}, "torchvision's ViT has no patch_norm=True, only False"),
        ("transformers", {"patch_norm": True}, "transformers' ViT has no patch_norm=True, only False"),
        ("jax", {"patch_norm": True}, "google-research/vision_transformer has no patch_norm=True, only False"),
        ("timm", {"patch_norm": True}, "timm has no ViT with patch_norm=True"),
        ("timm", {"norm_eps": 1e-12}, "timm has no ViT with norm_eps=1e-12"),
    ],
)
def test_a_model_that_the_library_does_not_have_is_not_written(tmp_path, layout, changes, why):
    suffix = {"torchvision": ".pth", "jax": ".npz"}.get(layout, "")
    with pytest.raises(ValueError, match=why):
        export(layout, tmp_path / f"out{suffix}", **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layout", "fits"), [("torchvision", r"PATH\.pth and PATH\.safetensors"), ("jax", r"PATH\.npz")]
)
def test_a_path_without_the_right_suffix_is_refused(tmp_path, layout, fits):
    with pytest.raises(ValueError, match=fits):
        export(layout, tmp_path / "weights")


def test_a_layout_that_is_not_written_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(
        ValueError, match="layout='keras' is not written here; timm, transformers, torchvision, jax are"
    ):
        export("keras", tmp_path)


def test_a_model_on_its_way_to_torchvision_takes_no_gradients_along(tmp_path):
    tensors = torch.load(export("torchvision", tmp_path / "weights.pth"), weights_only=True)
    assert not any(tensor.requires_grad for tensor in tensors.values())
