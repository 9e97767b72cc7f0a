"""Loading adapts what it is asked to adapt, as timm does, says what became of every tensor, and refuses the rest."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, describe, load, load_model, read_card, save_model
from vit.weights.adapt import adapt_channels
from vit.weights.timm import to_timm

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "weights" / "vit_tiny_patch16_224"
needs_real_weights = pytest.mark.skipif(not REAL.is_dir(), reason=f"no pretrained weights at {REAL}")

CONFIG = ViTConfig(image_size=(8, 12), patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=7)


@pytest.fixture
def model() -> ViT:
    return ViT(CONFIG).eval()


@pytest.fixture
def folder(model, tmp_path) -> Path:
    card = ModelCard(
        config=CONFIG,
        classes=tuple("abcdefg"),
        preprocessing=Preprocessing(image_size=(8, 12), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    )
    return save_model(model, card, tmp_path / "model")


def test_a_folder_comes_back_as_it_was(model, folder):
    loaded = load(folder)
    images = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(loaded.model(images), model(images), rtol=0, atol=0)  # the same tensors
    assert loaded.card == read_card(folder)
    assert loaded.report.loaded == tuple(name for name, _ in model.named_parameters())
    assert str(loaded.report) == f"{folder} (timm layout): 32 tensors loaded as they are"
    assert not loaded.model.training


def test_a_new_head_an_image_size_and_grey_images_are_adapted_and_reported(folder):
    loaded = load(folder, num_classes=3, image_size=(12, 20), in_channels=1)
    assert torch.equal(loaded.model(torch.randn(2, 1, 12, 20)), torch.zeros(2, 3))  # of a head at zero
    assert str(loaded.report).splitlines()[1:] == [
        "  resized: patch_embed.proj.weight, 3 -> 1 colour channels",
        "  resized: tokenizer.pos_embed, 2 x 3 -> 3 x 5 patches",
        "  new, at zero: head.bias, head.weight",
        "  left over: head.bias, head.weight",
    ]
    assert loaded.card is not None
    assert loaded.card.classes == ("0", "1", "2")
    assert loaded.card.preprocessing.image_size == (12, 20)
    assert loaded.card.preprocessing.mean == pytest.approx((0.2,))


def test_a_head_of_the_same_size_is_kept(model, folder):
    loaded = load(folder, num_classes=7)
    assert not loaded.report.initialised
    assert loaded.card is not None
    assert loaded.card.classes == tuple("abcdefg")
    torch.testing.assert_close(loaded.model.head.weight, model.head.weight, rtol=0, atol=0)  # the same tensor


def test_without_classes_the_model_returns_features(model, folder):
    images = torch.randn(2, 3, 8, 12)
    features = load_model(folder, num_classes=0)(images)
    # of the last block the forward pass computes what is read alone, and rounds otherwise
    torch.testing.assert_close(features, model.pool(model.encode(images)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_channels_are_adapted_as_timm_does(in_channels):
    weight = torch.randn(5, 3, 2, 4)
    expected = timm.models.adapt_input_conv(in_channels, weight.clone())
    torch.testing.assert_close(adapt_channels(weight, in_channels), expected)


def test_grey_images_give_what_equal_channels_gave():
    weight, grey = torch.randn(5, 3, 2, 4), torch.randn(1, 1, 2, 4)
    torch.testing.assert_close(
        torch.nn.functional.conv2d(grey, adapt_channels(weight, 1)),
        torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight),
    )


def test_a_norm_before_a_projection_without_bias_is_not_adapted_to_other_channels(tmp_path):
    config = dataclasses.replace(CONFIG, patch_norm=True, pre_norm=True)
    path = file_of(ViT(config), tmp_path)
    with pytest.raises(ValueError, match="in_channels=1 cannot be had from a model with patch_norm=True and pre_norm"):
        load(path, config, in_channels=1)


@needs_real_weights
def test_real_weights_adapted_are_those_that_timm_adapts():
    ours = load_model(REAL, num_classes=0, image_size=(160, 256), in_channels=1)
    theirs = timm.create_model(
        f"local-dir:{REAL}", pretrained=True, num_classes=0, img_size=(160, 256), in_chans=1
    ).eval()
    images = torch.randn(1, 1, 160, 256)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)  # float32 rounding of 12 blocks


def test_a_file_needs_an_architecture_and_one_that_fits_is_named(tmp_path):
    path = file_of(ViT(ViTConfig.preset("vit_tiny_patch16_224", num_classes=5)), tmp_path)
    with pytest.raises(ValueError, match=r"does not say its architecture; .* architecture='vit_tiny_patch16_224'"):
        load(path)
    loaded = load(path, "vit_tiny_patch16_224")
    assert loaded.card is None
    assert loaded.model.config.num_classes == 5  # the file's, since a preset's name says nothing about classes


def test_a_file_of_another_architecture_is_refused_with_what_differs_and_what_it_looks_like(tmp_path):
    path = file_of(ViT(ViTConfig.preset("vit_tiny_patch16_224")), tmp_path)
    with pytest.raises(ValueError, match=r"\(192, 768\) where \(384, 768\) is needed.* and \d+ more\.") as refusal:
        load(path, "vit_small_patch16_224")
    assert (
        "Its tensors are those of a ViT 192 wide, 12 blocks, patches of 16 x 16 pixels, 3 channels, 197 positions, "
        "1000 classes, which fits vit_tiny_patch16_224 and"
    ) in str(refusal.value)


@pytest.mark.parametrize("field", [{"num_classes": 5}, {"in_channels": 2}, {"image_size": (8, 16)}])
def test_nothing_is_adapted_that_was_not_asked_for(model, tmp_path, field):
    path = file_of(model, tmp_path)
    with pytest.raises(ValueError, match=r"does not fit: of another shape: .* are adapted where num_classes"):
        load(path, dataclasses.replace(CONFIG, **field))


def test_a_file_for_a_larger_square_image_is_recognised_when_an_image_size_is_asked_for(tmp_path):
    large = dataclasses.replace(CONFIG, image_size=20)
    path = file_of(ViT(large), tmp_path)
    small = dataclasses.replace(CONFIG, image_size=8)
    with pytest.raises(ValueError, match=r"pos_embed \(26, 24\) where \(5, 24\) is needed"):
        load(path, small)
    assert load(path, small, image_size=20).report.resized == {}
    assert load(path, small, image_size=12).report.resized == {"tokenizer.pos_embed": "5 x 5 -> 3 x 3 patches"}


def test_missing_and_unknown_tensors_are_named(model, tmp_path):
    tensors = to_timm(model.state_dict(), CONFIG)
    tensors["blocks.1.attn.relative_bias"] = torch.zeros(2)
    del tensors["norm.bias"]
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"missing: norm\.bias; not in the model: blocks\.1\.attn\.relative_bias\."):
        load(tmp_path / "odd.safetensors", CONFIG)


def test_half_precision_becomes_single(model, tmp_path):
    tensors = {name: tensor.half() for name, tensor in to_timm(model.state_dict(), CONFIG).items()}
    save_file(tensors, tmp_path / "half.safetensors")
    assert {p.dtype for p in load_model(tmp_path / "half.safetensors", CONFIG).parameters()} == {torch.float32}


def test_a_folder_brings_its_own_architecture(folder):
    with pytest.raises(ValueError, match="says itself what architecture it has; leave out the architecture"):
        load(folder, "vit_tiny_patch16_224")


def test_a_folder_of_weights_without_a_card_is_a_file(model, folder):
    (folder / "config.json").unlink()
    with pytest.raises(
        ValueError, match=r"model\.safetensors does not say its architecture; give it, as a ViTConfig\. "
    ):
        load(folder)
    batch = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(load_model(folder, CONFIG)(batch), model(batch))
    assert describe(folder).config is None


def test_the_weights_of_a_model_folder_point_to_the_folder(folder):
    with pytest.raises(ValueError, match=r"does not say its architecture; \S+model does\. Its tensors"):
        load(folder / "model.safetensors")


def test_a_state_dict_of_ours_with_oblong_patches_needs_to_be_told_so(tmp_path):
    config = dataclasses.replace(CONFIG, patch_size=(4, 6))
    ours = ViT(config).eval()
    torch.save(ours.state_dict(), tmp_path / "ours.pth")
    for look in (load, describe):
        with pytest.raises(ValueError, match=r"a patch of 72 numbers is no square .*patch_size=\(HEIGHT, WIDTH\)"):
            look(tmp_path / "ours.pth")
    batch = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(load_model(tmp_path / "ours.pth", config)(batch), ours(batch))


def test_loading_draws_no_random_numbers_where_the_file_has_all(folder):
    before = torch.get_rng_state()
    load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_loading_a_folder_imports_no_other_library_nor_the_compiler(folder):
    """torch imports its compiler, 5 s, for a single random number on the meta device."""
    unwanted = {"timm", "lightning", "transformers", "huggingface_hub", "torchvision", "torch._dynamo"}
    code = f"import sys, vit; vit.load_model({str(folder)!r}, num_classes=2); assert not {unwanted} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def file_of(model: ViT, folder: Path) -> Path:
    save_file(to_timm(model.state_dict(), model.config), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_the_grid_of_the_named_architecture_is_not_taken_for_another_square(tmp_path):
    """8 patches and 2 prefix tokens make 10 positions; one less is a square of 9, which the file does not have."""
    config = dataclasses.replace(CONFIG, image_size=(8, 16), distilled=True)
    path = file_of(ViT(config), tmp_path)
    assert load(path, config, image_size=8).report.resized == {"tokenizer.pos_embed": "2 x 4 -> 2 x 2 patches"}


def test_positions_of_an_oblong_grid_that_nobody_named_are_refused_and_not_guessed(model, tmp_path):
    path = file_of(model, tmp_path)
    with pytest.raises(ValueError, match=r"pos_embed \(7, 24\) where \(17, 24\) is needed"):
        load(path, dataclasses.replace(CONFIG, image_size=20), image_size=16)


def test_another_size_of_computed_positions_is_the_same_before_loading_and_after(tmp_path):
    """Also where the table is no tensor of the file, as in vit-pytorch's SimpleViT."""
    config = ViTConfig(image_size=12, patch_size=4, embed_dim=24, depth=1, num_heads=3, positions="sincos2d")
    tensors = {name: t for name, t in to_timm(ViT(config).state_dict(), config).items() if name != "pos_embed"}
    torch.save(tensors, tmp_path / "computed.pth")
    loaded = load(tmp_path / "computed.pth", config, image_size=20)
    resized = load(tmp_path / "computed.pth", config).model.resize(20)
    torch.testing.assert_close(loaded.model.state_dict(), resized.state_dict(), rtol=0, atol=0)  # the same tensors
    assert loaded.report.resized == {"tokenizer.pos_embed": "3 x 3 -> 5 x 5 patches"}
