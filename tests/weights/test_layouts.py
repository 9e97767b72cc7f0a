"""Whose tensors they are shows in their names, whatever they are wrapped in; what is not the model's is reported."""

import dataclasses
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from einops import rearrange
from torchvision.models import VisionTransformer

from vit.nn import ViT, ViTConfig
from vit.weights import jax, load, torchvision
from vit.weights.layouts import recognise
from vit.weights.names import split
from vit.weights.timm import timm_architecture, timm_arguments, to_timm

CONFIG = ViTConfig(image_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=7)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 12 * 12).sin().reshape(2, 3, 12, 12)


@pytest.fixture
def model() -> ViT:
    return random_model(CONFIG)


def random_model(config: ViTConfig) -> ViT:
    """With every tensor random: heads and norms start so that they would hide mistakes."""
    model = ViT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def timm_tensors(model: ViT) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in to_timm(model.state_dict(), model.config).items()}


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"model": tensors, "epoch": 3},
        lambda tensors: {"state_dict": under("module.", tensors)},
        lambda tensors: {"state_dict": under("model._orig_mod.", tensors)},
        lambda tensors: under("backbone.", tensors),
    ],
    ids=["bare", "model", "module", "compiled", "backbone"],
)
def test_a_wrapped_model_is_the_same_model(model, tmp_path, wrap):
    torch.save(wrap(timm_tensors(model)), tmp_path / "wrapped.pth")
    loaded = load(tmp_path / "wrapped.pth", CONFIG)
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), rtol=0, atol=0)  # the same tensors
    assert loaded.report.layout == "timm"
    assert not loaded.report.left_over


def test_of_dinos_teacher_and_student_the_teacher_is_taken_and_the_rest_is_reported(model, tmp_path):
    student = random_model(CONFIG)
    checkpoint = {
        "student": under("module.backbone.", timm_tensors(student)),
        "teacher": {**under("backbone.", timm_tensors(model)), "head.mlp.0.weight": torch.zeros(5, 24)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    }
    torch.save(checkpoint, tmp_path / "dino.pth")
    loaded = load(tmp_path / "dino.pth", CONFIG)
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), rtol=0, atol=0)  # the same tensors
    assert "teacher.head.mlp.0.weight" in loaded.report.left_over
    assert "optimizer.state.0.exp_avg" in loaded.report.left_over
    assert "of several models in the file, the one under 'teacher.backbone.'" in str(loaded.report)


def test_two_models_without_a_preference_are_refused(model, tmp_path):
    tensors = timm_tensors(model)
    torch.save(under("left.", tensors) | under("right.", tensors), tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"several models in it, under 'left\.' and 'right\.'"):
        load(tmp_path / "two.pth", CONFIG)


def test_the_decoder_of_mae_is_left_over_and_its_missing_head_is_new_only_on_request(model, tmp_path):
    tensors = {name: t for name, t in timm_tensors(model).items() if not name.startswith("head.")}
    decoder = {"mask_token": torch.zeros(1, 1, 5), "decoder_pos_embed": torch.zeros(1, 10, 5)}
    decoder |= {f"decoder_blocks.{n}.attn.qkv.bias": torch.zeros(15) for n in range(3)}
    torch.save({"model": tensors | decoder}, tmp_path / "mae.pth")
    with pytest.raises(ValueError, match=r"missing: head\.bias, head\.weight\..*3 channels, 10 positions, no head"):
        load(tmp_path / "mae.pth", CONFIG)
    loaded = load(tmp_path / "mae.pth", CONFIG, num_classes=3)
    assert loaded.report.initialised == ("head.bias", "head.weight")
    assert set(loaded.report.left_over) == set(decoder)
    assert "left over: mask_token, decoder_pos_embed, decoder_blocks.* (3)" in str(loaded.report)
    torch.testing.assert_close(loaded.model.encode(IMAGES), model.encode(IMAGES), rtol=0, atol=0)  # the same tensors


@pytest.mark.parametrize("num_register_tokens", [0, 3])
@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_dinov2_as_its_authors_publish_it(tmp_path, num_register_tokens, mlp):
    """The class token has a position there, registers have none, and SwiGLU has names of its own."""
    config = ViTConfig(
        image_size=12,
        patch_size=4,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=0,
        init_values=1e-5,
        mlp=mlp,
        num_register_tokens=num_register_tokens,
        prefix_positions=not num_register_tokens,
    )
    model = random_model(config)
    tensors = timm_tensors(model)
    if num_register_tokens:
        place = torch.randn(1, 1, 24)
        tensors["pos_embed"] = torch.cat([place, tensors["pos_embed"]], dim=1)
        tensors["cls_token"] -= place
        tensors["register_tokens"] = tensors.pop("reg_token")
    if mlp == "swiglu":
        names = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
        tensors = {
            next((name.replace(ours, theirs) for ours, theirs in names.items() if ours in name), name): tensor
            for name, tensor in tensors.items()
        }
    torch.save({**tensors, "mask_token": torch.zeros(1, 24)}, tmp_path / "dinov2.pth")
    loaded = load(tmp_path / "dinov2.pth", config)
    assert loaded.report.left_over == ("mask_token",)
    assert ("tokenizer.cls_token" in loaded.report.resized) == bool(num_register_tokens)
    # class token minus a place plus that place is rounded
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)


def big_vision(tensors: dict[str, torch.Tensor], stacked: bool) -> dict[str, torch.Tensor]:
    """The same tensors as big_vision numbers modules, with blocks one by one or stacked."""
    names = {"LayerNorm_2": "LayerNorm_1", "MlpBlock_3": "MlpBlock_0", "Attention_1": "Attention_0"}
    names["Transformer/posembed_input/pos_embedding"] = "pos_embedding"
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        for theirs, big in names.items():
            name = name.replace(theirs, big)
        renamed[f"params/{name}"] = tensor
    if not stacked:
        return renamed
    blocks = [name for name in renamed if "encoderblock_0" in name]
    stack = {
        name.replace("encoderblock_0", "encoderblock"): torch.stack(
            [renamed.pop(name.replace("_0/", f"_{block}/", 1)) for block in range(2)]
        )
        for name in blocks
    }
    return renamed | stack


@pytest.mark.parametrize("stacked", [False, True], ids=["apart", "stacked"])
def test_big_vision_numbers_modules_otherwise_and_may_stack_its_blocks(model, stacked):
    theirs = big_vision(jax.from_timm(timm_tensors(model), CONFIG.num_heads), stacked)
    found = recognise(theirs, Path("big_vision.npz"))
    assert found.layout.name == "JAX"
    assert not found.left_over
    expected = timm_tensors(model)
    assert found.state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found.state[name], tensor, rtol=0, atol=0)  # nothing is computed


def test_tensors_of_something_else_are_refused_with_the_layouts_that_are_read():
    with pytest.raises(
        ValueError, match=r"resnet\.pth has no plain ViT among its tensors \(conv1\.weight\); the layou"
    ):
        recognise({"conv1.weight": torch.zeros(1)}, Path("resnet.pth"))


def test_the_files_that_torchvision_publishes_have_older_names_for_the_mlp(model, tmp_path):
    theirs = VisionTransformer(
        image_size=12, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=96, num_classes=7
    ).eval()
    old = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): tensor
        for name, tensor in torchvision.from_timm(timm_tensors(model)).items()
    }
    assert any("linear_1" in name for name in old)
    metadata = OrderedDict({"": {"version": 1}})
    published = OrderedDict(old)
    published._metadata = metadata  # what says to torchvision that names are old
    theirs.load_state_dict(published)
    torch.save(old, tmp_path / "vit_b_16.pth")
    torch.testing.assert_close(
        theirs(IMAGES), load(tmp_path / "vit_b_16.pth", CONFIG).model(IMAGES), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "changes", [{}, {"distilled": True}, {"pool": "map"}, {"positions": "sincos2d"}, {"patch_norm": True}], ids=str
)
def test_our_own_state_dict_saved_by_hand_is_read_too(tmp_path, changes):
    config = dataclasses.replace(CONFIG, **changes)
    model = random_model(config)
    torch.save({"state_dict": under("model.", model.state_dict())}, tmp_path / "last.ckpt")
    loaded = load(tmp_path / "last.ckpt", config)
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), rtol=0, atol=0)  # the same tensors
    assert loaded.report.layout == "vit"


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": "rope2d", "init_values": 1e-5},
        {"positions": "sincos2d", "class_token": False, "pool": "mean"},
        {"positions": "none", "mlp": "swiglu"},
        {"pool": "map", "class_token": False, "final_norm": "pooled"},
        {"distilled": True},
        {"pre_norm": True, "norm_eps": 1e-5, "mlp": "quick_gelu", "qk_norm": True},
        {"patch_norm": True},
        {"num_register_tokens": 3, "prefix_positions": False},
    ],
    ids=str,
)
def test_every_option_survives_a_file_in_timms_names(tmp_path, changes):
    config = dataclasses.replace(CONFIG, **changes)
    model = random_model(config)
    torch.save(timm_tensors(model), tmp_path / "model.pth")
    loaded = load(tmp_path / "model.pth", config)
    torch.testing.assert_close(loaded.model(IMAGES), model(IMAGES), rtol=0, atol=0)  # the same tensors
    assert not any(tensor.is_meta for tensor in [*loaded.model.parameters(), *loaded.model.buffers()])


def test_a_patch_embedding_that_is_no_convolution_is_refused(tmp_path):
    torch.save({"patch_embed.proj.weight": torch.zeros(24, 48, 1)}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth: patch_embed\.proj\.weight is no convolution"):
        load(tmp_path / "odd.pth", CONFIG)


def test_the_attention_pooling_of_big_vision_is_to_us_what_it_is_to_timm(tmp_path):
    config = dataclasses.replace(CONFIG, pool="map", class_token=False)
    theirs = timm.create_model(timm_architecture(config), **timm_arguments(config)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    tensors = split(split(theirs.state_dict()), "kv", owner="attn_pool")
    back = {ours: name for name, ours in (jax.NAMES | jax.BIG_VISION_NAMES).items()}
    arrays = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        kind = {"weight": "/scale" if "norm" in module else "/kernel", "bias": "/bias"}.get(kind, "")
        block = re.match(r"blocks\.(\d+)", module)
        key = back[re.sub(r"^blocks\.\d+", "blocks.{}", module if kind else name)]
        key = key.replace("{}", block[1] if block else "")
        axes = next((axes for end, axes in jax.AXES.items() if (key + kind).endswith(end)), "... -> ...")
        before, after = axes.split(" -> ")
        heads = {"heads": config.num_heads} if "heads" in axes else {}
        arrays[f"params/{key}{kind}"] = rearrange(tensor, f"{after} -> {before}", **heads).numpy()
    np.savez(tmp_path / "siglip.npz", **arrays)
    read_by_timm = timm.create_model(timm_architecture(config), **timm_arguments(config)).eval()
    read_by_timm.load_pretrained(tmp_path / "siglip.npz")
    ours = load(tmp_path / "siglip.npz", config).model
    torch.testing.assert_close(read_by_timm(IMAGES), theirs(IMAGES), rtol=1e-5, atol=1e-6)  # float32 rounding
    torch.testing.assert_close(ours(IMAGES), theirs(IMAGES), rtol=1e-5, atol=1e-6)


def test_the_layer_before_the_head_of_older_jax_checkpoints_goes_with_the_head_and_not_silently(model, tmp_path):
    arrays = {name: tensor.numpy() for name, tensor in jax.from_timm(timm_tensors(model), CONFIG.num_heads).items()}
    arrays |= {"pre_logits/kernel": np.zeros((24, 24)), "pre_logits/bias": np.zeros(24)}
    np.savez(tmp_path / "in21k.npz", **arrays)
    with pytest.raises(ValueError, match=r"not in the model: pre_logits\.bias, pre_logits\.weight"):
        load(tmp_path / "in21k.npz", CONFIG)
    assert "pre_logits.weight" in load(tmp_path / "in21k.npz", CONFIG, num_classes=0).report.left_over


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "rope2d", "class_token": False, "pool": "mean"},
        {"positions": "none", "class_token": False, "pool": "mean", "init_values": 1e-5},
        {"patch_size": (4, 2), "in_channels": 2},
    ],
    ids=["plain", "rotary", "none", "oblong"],
)
def test_our_own_state_dict_is_read_too(tmp_path, prefix, changes):
    model = random_model(dataclasses.replace(CONFIG, **changes))
    torch.save(under(prefix, model.state_dict()), tmp_path / "ours.pth")
    loaded = load(tmp_path / "ours.pth", model.config)
    assert loaded.report.layout == "vit"
    images = IMAGES[:, : model.config.in_channels]
    torch.testing.assert_close(loaded.model(images), model(images), rtol=0, atol=0)  # the same tensors


def test_patches_of_another_size_than_the_named_one_are_refused(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    with pytest.raises(ValueError, match="a patch of 48 numbers is not one of patch_size=5 pixels"):
        load(tmp_path / "ours.pth", dataclasses.replace(CONFIG, patch_size=5, image_size=15))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        (
            {"patch_embed.proj.weight": (24, 3, 4, 4), "pos_embed": (1, 3, 3, 24)},
            r"pos_embed has the shape \(1, 3, 3, 24",
        ),
        ({"patch_embed.proj.weight": (24,)}, "is no convolution"),
        ({"embedding/kernel": (48, 24)}, "of the JAX layout in it, but not the tensors of a ViT"),
        ({"transformer.layers.0.0.to_qkv.weight": (72, 24)}, r"vit-pytorch layout in it, .*patch_embed\.proj\.weight"),
    ],
    ids=["maps", "vector", "jax", "vit-pytorch"],
)
def test_names_of_a_layout_on_other_tensors_are_refused_in_a_sentence(tmp_path, tensors, why):
    torch.save({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth.*{why}"):
        load(tmp_path / "odd.pth", CONFIG)
