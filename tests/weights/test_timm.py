"""timm as the reference: one tiny instance of each option, both directions, and what timm cannot say."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from vit.nn import Preprocessing, ViT, ViTConfig, list_models
from vit.weights import ModelCard, load_model, read_card, save_model
from vit.weights.timm import config_from_timm, from_timm, timm_architecture, timm_arguments, to_timm

TINY: dict[str, Any] = {
    "image_size": (14, 42),
    "patch_size": (7, 14),
    "in_channels": 2,
    "num_classes": 5,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no qkv bias": {"qkv_bias": False},
    "another mlp ratio": {"mlp_ratio": 3.7362},
    "registers": {"num_register_tokens": 3},
    "no prefix positions": {"num_register_tokens": 2, "prefix_positions": False},
    "no class token, mean": {"class_token": False, "pool": "mean"},
    "mean, norm after pooling": {"pool": "mean", "final_norm": "pooled"},
    "class token, norm after pooling": {"final_norm": "pooled"},
    "no final norm": {"final_norm": "none"},
    "attention pooling": {"class_token": False, "pool": "map", "mlp": "gelu_tanh"},
    "attention pooling, registers": {"pool": "map", "num_register_tokens": 2},
    "distilled": {"distilled": True},
    "distilled features": {"distilled": True, "num_classes": 0},
    "features": {"num_classes": 0},
    "clip": {"pre_norm": True, "norm_eps": 1e-5, "mlp": "quick_gelu"},
    "layer scale and qk norm": {"init_values": 0.1, "qk_norm": True},
    "swiglu": {"mlp": "swiglu", "mlp_ratio": 2 * 2.66667},
    "swiglu and layer scale": {"mlp": "swiglu", "init_values": 0.1},
    "sincos2d": {"positions": "sincos2d"},
    "no positions": {"positions": "none"},
    "rope2d": {"positions": "rope2d", "init_values": 0.1},
    "rope2d_centred": {"positions": "rope2d_centred", "init_values": 0.1, "norm_eps": 1e-5, "num_register_tokens": 2},
    "rope2d_centred, no bias": {"positions": "rope2d_centred", "init_values": 0.1, "norm_eps": 1e-5, "qkv_bias": False},
    "rope2d, swiglu": {"positions": "rope2d", "init_values": 0.1, "mlp": "swiglu", "qk_norm": True, "pre_norm": True},
    "rope2d, mean": {"positions": "rope2d", "init_values": 0.1, "pool": "mean", "final_norm": "pooled"},
    "rope2d, map": {"positions": "rope2d", "init_values": 0.1, "class_token": False, "pool": "map"},
}

each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def build(options: dict[str, Any]) -> ViT:
    """A model with every tensor random, so that those that start at zero or one count too."""
    model = ViT(ViTConfig(**{**TINY, **options})).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(0.3 * torch.randn_like(tensor))
    return model


def timm_of(config: ViTConfig) -> nn.Module:
    return timm.create_model(timm_architecture(config), **timm_arguments(config)).eval()


def images(height: int = 14, width: int = 42) -> Tensor:
    return torch.randn(2, 2, height, width)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    # float32 through two blocks, other kernels: observed below 1e-6
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@each_option
def test_timm_with_our_weights_gives_our_logits(options: dict[str, Any]) -> None:
    ours, batch = build(options), images()
    theirs = timm_of(ours.config)
    theirs.load_state_dict(to_timm(ours.state_dict(), ours.config))
    assert_same(ours(batch), theirs(batch))
    back = from_timm(theirs.state_dict())
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.state_dict().items())
    assert len(back) == len(ours.state_dict())


@each_option
def test_arguments_for_timm_read_back_as_the_config(options: dict[str, Any]) -> None:
    config = ViTConfig(**{**TINY, **options})
    back = config_from_timm(timm_architecture(config), timm_arguments(config))
    if config.positions == "sincos2d":  # timm has the table, and does not know how it came about
        assert (back.positions, back.prefix_positions) == ("learned", False)
    else:
        assert back == config


@each_option
def test_timm_reads_our_folder(options: dict[str, Any], tmp_path: Path) -> None:
    ours, batch = build(options), images()
    preprocessing = Preprocessing(image_size=(14, 42), mean=(0.5, 0.4), std=(0.2, 0.3))
    classes = tuple("abcde")[: ours.config.num_classes]
    save_model(ours, ModelCard(config=ours.config, classes=classes, preprocessing=preprocessing), tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert_same(theirs(batch), ours(batch))
    assert read_card(tmp_path).config == ours.config
    assert_same(load_model(tmp_path)(batch), ours(batch))


@pytest.mark.parametrize("options", [{}, {"num_register_tokens": 2, "prefix_positions": False}, {"distilled": True}])
def test_another_image_size_gives_timms_logits(options: dict[str, Any]) -> None:
    ours, larger = build({**options, "dynamic_image_size": True}), images(35, 28)
    theirs = timm_of(ours.config)
    theirs.load_state_dict(to_timm(ours.state_dict(), ours.config))
    assert_same(ours(larger), theirs(larger))
    theirs.set_input_size((35, 28))
    assert_same(ours.resize((35, 28))(larger), theirs(larger))


@pytest.mark.parametrize(
    "options", [{"num_register_tokens": 2}, {"positions": "rope2d", "init_values": 0.1}, {"pre_norm": True}]
)
def test_feature_maps_are_timms_intermediates(options: dict[str, Any]) -> None:
    ours, batch = build(options), images()
    theirs = timm_of(ours.config)
    theirs.load_state_dict(to_timm(ours.state_dict(), ours.config))
    for normalise in (False, True):
        for mine, reference in zip(
            ours.features(batch, normalise=normalise),
            theirs.forward_intermediates(batch, norm=normalise, intermediates_only=True),
            strict=True,
        ):
            assert_same(mine, reference)


@pytest.mark.parametrize("options", [{"positions": "rope2d"}, {"positions": "rope2d_centred", "norm_eps": 1e-5}])
def test_rotary_positions_on_another_grid_are_timms(options: dict[str, Any]) -> None:
    ours, larger = build({**options, "init_values": 0.1, "dynamic_image_size": True}), images(35, 28)
    theirs = timm_of(ours.config)
    theirs.load_state_dict(to_timm(ours.state_dict(), ours.config))
    assert_same(ours(larger), theirs(larger))


@pytest.mark.parametrize("name", [name for name in list_models() if timm.is_model(name)])
def test_presets_have_the_tensors_of_timms_architecture(name: str) -> None:
    config = ViTConfig.preset(name, num_classes=3)
    with torch.device("meta"):
        # one block more than two tells nothing new, and the giants would take their time
        ours = ViT(ViTConfig.preset(name, num_classes=3, depth=2)).state_dict()
        theirs = timm.create_model(name, num_classes=3, depth=2)
    shapes = {key: tensor.shape for key, tensor in to_timm(ours, config).items()}
    assert shapes == {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert config_from_timm(name, {"num_classes": 3}) == config


def test_a_folder_of_timms_own_making_is_read(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_wee_patch16_reg1_gap_256", depth=1, img_size=32, num_classes=3).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    published = {**theirs.pretrained_cfg, "input_size": (3, 32, 32), "num_classes": 3}
    save_config_for_hf(
        theirs, str(tmp_path / "config.json"), model_config=published, model_args={"depth": 1, "img_size": 32}
    )
    batch = torch.randn(2, 3, 32, 32)
    assert_same(load_model(tmp_path)(batch), theirs(batch))


def test_the_size_of_a_folder_without_arguments_is_that_of_its_images(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=48, in_chans=1)
    published = {**theirs.pretrained_cfg, "input_size": (1, 48, 48), "mean": (0.5,), "std": (0.5,)}
    save_config_for_hf(theirs, str(tmp_path / "config.json"), model_config=published)
    config = read_card(tmp_path).config
    assert (config.image_hw, config.in_channels) == ((48, 48), 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"norm_eps": 1e-4}, "timm has no ViT with norm_eps=0.0001; 1e-6 and 1e-5 it has"),
        ({"norm_eps": 1e-5, "distilled": True}, "timm has no ViT with distilled=True and norm_eps=1e-05"),
        ({"mlp": "swiglu", "distilled": True}, "timm has no ViT with distilled=True and mlp='swiglu'"),
        ({"positions": "none", "distilled": True}, "timm has no ViT with distilled=True and positions='none'"),
        (
            {"positions": "rope2d_centred", "init_values": 0.1},
            "timm has no ViT with positions='rope2d_centred' and norm_eps=1e-06",
        ),
        ({"positions": "rope2d"}, "timm has no ViT with positions='rope2d' and init_values=None"),
        (
            {"positions": "rope2d", "init_values": 0.1, "mlp": "gelu_tanh"},
            "timm has no ViT with positions='rope2d' and mlp='gelu_tanh'",
        ),
        ({"patch_norm": True}, "timm has no ViT with patch_norm=True, a norm before the patch projection"),
        ({"mlp": "swiglu", "pool": "map"}, "timm has no ViT with mlp='swiglu' and pool='map' of swiglu"),
    ],
)
def test_what_timm_cannot_build_is_said_and_kept_in_our_folder(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    model, batch = build(options), images()
    with pytest.raises(ValueError, match=sentence):
        timm_architecture(model.config)
    preprocessing = Preprocessing(image_size=(14, 42), mean=(0.5, 0.4), std=(0.2, 0.3))
    save_model(model, ModelCard(config=model.config, classes=tuple("abcde"), preprocessing=preprocessing), tmp_path)
    assert_same(load_model(tmp_path)(batch), model(batch))
    with pytest.raises(RuntimeError, match="Unknown model"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)


def test_architectures_and_arguments_of_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="vit_base_patch16_xp_224 is not a plain ViT that this package builds"):
        config_from_timm("vit_base_patch16_xp_224", {})
    with pytest.raises(ValueError, match="with global_pool='max' is not a plain ViT"):
        config_from_timm("vit_tiny_patch16_224", {"global_pool": "max"})
    with pytest.raises(ValueError, match="with scale_attn_norm=True is not a plain ViT"):
        config_from_timm("vit_tiny_patch16_224", {"scale_attn_norm": True})
    with pytest.raises(ValueError, match=r"patch_embed.proj.weight is missing"):
        from_timm({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("arguments", "final_norm"),
    [
        ({"global_pool": "avg"}, "pooled"),  # timm moves the norm behind the pool
        ({"global_pool": "avg", "fc_norm": False}, "tokens"),
        ({"fc_norm": True}, "pooled"),
        ({"final_norm": False}, "none"),
        ({"global_pool": "avg", "final_norm": False}, "none"),
        ({}, "tokens"),
    ],
)
def test_the_last_norm_stands_where_timm_puts_it(arguments: dict[str, Any], final_norm: str) -> None:
    assert config_from_timm("vit_tiny_patch16_224", arguments).final_norm == final_norm
    theirs = timm.create_model("vit_tiny_patch16_224", depth=1, **arguments)
    has_norm = {"tokens": theirs.norm, "pooled": theirs.fc_norm}
    assert [place for place, norm in has_norm.items() if isinstance(norm, nn.LayerNorm)] == [
        place for place in has_norm if place == final_norm
    ]
