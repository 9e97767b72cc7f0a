"""What the headers say is what the model has."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, save_model
from vit.weights.description import count_flops, describe
from vit.weights.timm import to_timm

CONFIG = ViTConfig(image_size=(8, 12), patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=7)


@pytest.fixture
def folder(tmp_path) -> Path:
    preprocessing = Preprocessing(image_size=(8, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
    card = ModelCard(config=CONFIG, classes=tuple("abcdefg"), preprocessing=preprocessing)
    return save_model(ViT(CONFIG), card, tmp_path / "model")


def test_a_folder_is_described_by_its_card_and_the_shapes_of_its_tensors(folder):
    description = describe(folder)
    assert description.card is not None
    assert description.card.classes == tuple("abcdefg")
    assert description.config == CONFIG
    assert description.num_parameters == sum(parameter.numel() for parameter in ViT(CONFIG).parameters())
    assert (description.layout, description.dtypes) == ("timm", ("float32",))
    assert description.architectures == ()  # nobody gave this one a name


def test_a_file_is_described_by_the_architectures_that_it_fits(tmp_path):
    config = ViTConfig.preset("vit_tiny_patch16_224", num_classes=3)
    tensors = {name: tensor.half() for name, tensor in to_timm(ViT(config).state_dict(), config).items()}
    save_file({**tensors, "mask_token": torch.zeros(1)}, tmp_path / "tiny.safetensors")
    description = describe(tmp_path / "tiny.safetensors")
    assert description.architectures[0] == "vit_tiny_patch16_224"
    assert description.config == config
    assert (description.dtypes, description.left_over) == (("float16",), ("mask_token",))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_classes": 0, "pool": "mean", "class_token": False},
        {"pool": "map", "num_register_tokens": 2},
        {"distilled": True, "qkv_bias": False},
        {"mlp": "swiglu", "init_values": 1e-5},
        {"positions": "rope2d", "qk_norm": True},
        {"patch_norm": True},
    ],
    ids=str,
)
def test_flops_are_those_that_torch_counts(changes):
    config = dataclasses.replace(CONFIG, **changes)
    model = ViT(config).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        model.classify(model.encode(torch.zeros(1, 3, 8, 12)))
    assert count_flops(config) == counter.get_total_flops()


def test_flops_of_vit_tiny_are_the_published_ones():
    assert count_flops(ViTConfig.preset("vit_tiny_patch16_224")) / 2e9 == pytest.approx(1.3, abs=0.1)  # timm: 1.3 GMACs


def test_looking_at_shapes_does_not_wait_for_torchs_compiler(tmp_path):
    """Its import takes seconds, and arithmetic on the meta device asks for it."""
    code = """
import sys
from vit.nn import ViTConfig
from vit.weights.likeness import fitting_presets, skeleton
from vit.weights.timm import to_timm
for changes in ({}, {"positions": "sincos2d"}, {"positions": "rope2d", "init_values": 1e-5}):
    config = ViTConfig.preset("deit3_small_patch16_224", **changes)
    fitting_presets(to_timm(skeleton(config).state_dict(), config))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
