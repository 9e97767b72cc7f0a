"""Models of other libraries, and ours with their weights, are the same function; so are theirs with weights of ours.

All tensors are random, sizes differ in every dimension, and weights travel through the files that each library writes.
"""

import dataclasses
import importlib.util

import pytest
import torch

from vit.nn import ViTConfig
from vit.weights import load
from vit.weights.peers import PEERS
from vit.weights.proof import Parity, parity

SQUARE = ViTConfig(image_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=7)
OBLONG = ViTConfig(
    image_size=(10, 15), patch_size=5, embed_dim=20, depth=3, num_heads=2, num_classes=5, mlp_ratio=3.0, in_channels=2
)
COLOURFUL = dataclasses.replace(OBLONG, in_channels=3)
GREY = dataclasses.replace(OBLONG, in_channels=1)
STRIPES = dataclasses.replace(OBLONG, image_size=(10, 12), patch_size=(5, 3))
THREE_BY_THREE = dataclasses.replace(OBLONG, image_size=15, in_channels=3)
DINOV2 = dataclasses.replace(SQUARE, init_values=1e-5, num_classes=0)
REGISTERS = dataclasses.replace(DINOV2, num_register_tokens=3, prefix_positions=False)
GIANT = dataclasses.replace(DINOV2, mlp="swiglu", mlp_ratio=2 * 64 / 24)  # two thirds of 96, twice

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers comes with the extra `bench`"
)
needs_vit_pytorch = pytest.mark.skipif(
    importlib.util.find_spec("vit_pytorch") is None, reason="vit-pytorch comes with the extra `bench`"
)


def holds_in(results: list[Parity], *directions: str) -> bool:
    assert [result.direction for result in results] == list(directions)
    return all(result.holds and result.tolerance == 1e-5 for result in results)  # float32 rounding of three blocks


@pytest.mark.parametrize("config", [SQUARE, OBLONG, STRIPES], ids=["square", "oblong", "oblong patches"])
def test_timm_is_equal_there_and_back(config):
    assert holds_in(parity("timm", config), "read", "written")


@pytest.mark.parametrize("config", [SQUARE, COLOURFUL], ids=["square", "oblong"])
def test_a_checkpoint_of_jax_is_to_us_what_it_is_to_timm(config):
    assert holds_in(parity("jax", config), "read", "written")


@pytest.mark.parametrize("config", [SQUARE, THREE_BY_THREE], ids=["square", "another square"])
def test_torchvision_is_equal_there_and_back(config):
    assert holds_in(parity("torchvision", config), "read", "written")


@needs_transformers
@pytest.mark.parametrize("config", [SQUARE, OBLONG, STRIPES], ids=["square", "oblong", "oblong patches"])
def test_transformers_is_equal_there_and_back(config):
    assert holds_in(parity("transformers", config), "read", "written")


@needs_transformers
@pytest.mark.parametrize("config", [DINOV2, REGISTERS, GIANT], ids=["plain", "registers", "swiglu"])
def test_dinov2_of_transformers_is_equal_there_and_back(config):
    assert holds_in(parity("transformers", config), "read", "written")


@needs_vit_pytorch
@pytest.mark.parametrize(
    "config", [SQUARE, COLOURFUL, GREY, STRIPES], ids=["square", "oblong", "grey", "oblong patches"]
)
@pytest.mark.parametrize(
    ("library", "pool"), [("vit-pytorch", "cls"), ("vit-pytorch", "mean"), ("vit-pytorch-simple", "mean")]
)
def test_vit_pytorch_is_equal(library, pool, config):
    config = dataclasses.replace(config, pool=pool)
    assert PEERS[library](config, False).config.patch_norm  # that there are norms to get wrong
    assert holds_in(parity(library, config), "read")


@needs_vit_pytorch
def test_the_norms_around_the_patch_embedding_of_vit_pytorch_are_not_left_out_silently(tmp_path):
    peer = PEERS["vit-pytorch"](SQUARE, False)
    path = peer.write(peer.model, tmp_path)
    with pytest.raises(
        ValueError, match=r"not in the model: patch_embed\.norm\.bias, .*normalised \(patch_norm=True\)"
    ):
        load(path, dataclasses.replace(peer.config, patch_norm=False))


@needs_vit_pytorch
def test_grey_images_give_what_equal_channels_gave_through_the_norms_too(tmp_path):
    peer = PEERS["vit-pytorch"](COLOURFUL, False)
    with torch.no_grad():
        for parameter in peer.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    loaded = load(peer.write(peer.model, tmp_path), peer.config, in_channels=1)
    grey = torch.randn(2, 1, *COLOURFUL.image_hw)
    theirs = peer.model.eval()(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(loaded.model(grey), theirs, rtol=1e-5, atol=1e-5)  # float32, one norm folded
    assert "patch_embed.norm_pixels.weight, 3 -> 1 colour channels" in str(loaded.report)


@needs_vit_pytorch
@pytest.mark.parametrize("config", [SQUARE, COLOURFUL], ids=["square", "oblong"])
@pytest.mark.parametrize("kind", ["ViT", "SimpleViT"])
def test_vit_pytorch_without_those_norms_is_equal(kind, config, tmp_path):
    """As it was before 1.0."""
    simple = {"class_token": False, "positions": "sincos2d", "pool": "mean"} if kind == "SimpleViT" else {}
    config = dataclasses.replace(config, qkv_bias=False, norm_eps=1e-5, **simple)
    theirs = getattr(importlib.import_module("vit_pytorch"), kind)(
        image_size=config.image_hw,
        patch_size=config.patch_hw,
        num_classes=config.num_classes,
        dim=config.embed_dim,
        depth=config.depth,
        heads=config.num_heads,
        dim_head=config.head_dim,
        mlp_dim=config.mlp_hidden_dim,
    ).eval()
    cut, _, project, _ = theirs.to_patch_embedding
    theirs.to_patch_embedding = torch.nn.Sequential(cut, project)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    images = torch.randn(2, 3, *config.image_hw)
    ours = load(tmp_path / "theirs.pth", config).model
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)  # float32 rounding


def test_parity_tells_a_different_function(monkeypatch):
    monkeypatch.setattr("vit.nn.encoder.MLP.forward", lambda mlp, tokens: mlp.fc2(mlp.fc1(tokens)))
    (read, written) = parity("timm", SQUARE)
    assert not read.holds
    assert written.holds  # timm's own weights come back, whatever our model makes of them
    assert "DIFFERENT" in str(read)


def test_an_architecture_without_a_library_is_timms() -> None:
    assert parity("vit_xsmall_patch16_clip_224") == parity("timm/vit_xsmall_patch16_clip_224")


def test_not_a_number_is_no_parity():
    nan = float("nan")
    assert not Parity(model="timm", direction="read", absolute=nan, relative=nan, tolerance=1e-5).holds


def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="parity with vit-pytorch-simple needs vit_pytorch; pip install vit-pytorch"):
        parity("vit-pytorch-simple", SQUARE)


def test_a_library_that_is_not_compared_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"no parity with 'keras', there is with timm, torchvision"):
        parity("keras", SQUARE)


@needs_transformers
def test_a_state_dict_of_transformers_that_was_saved_by_hand_has_other_names_and_is_read_too(tmp_path):
    library = importlib.import_module("transformers")
    own = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    theirs = library.ViTForImageClassification(
        library.ViTConfig(image_size=12, patch_size=4, num_labels=7, **own)
    ).eval()
    torch.save(theirs.state_dict(), tmp_path / "by_hand.pth")
    images = torch.randn(2, 3, 12, 12)
    loaded = load(tmp_path / "by_hand.pth", dataclasses.replace(SQUARE, norm_eps=1e-12))
    assert loaded.report.layout == "transformers"
    torch.testing.assert_close(loaded.model(images), theirs(images).logits, rtol=1e-5, atol=1e-6)  # float32 rounding


@needs_transformers
def test_the_classifier_of_dinov2_reads_more_than_our_head_and_is_not_left_out_silently(tmp_path):
    library = importlib.import_module("transformers")
    own = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 12, "patch_size": 4}
    theirs = library.Dinov2ForImageClassification(library.Dinov2Config(num_labels=7, **own))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not in the model: head\.bias, head\.weight"):
        load(tmp_path)
    assert load(tmp_path, num_classes=0).report.left_over == ("embeddings.mask_token", "head.bias", "head.weight")


DIFFERENT = {
    "distilled": {"distilled": True},
    "map": {"pool": "map"},
    "sincos2d": {"positions": "sincos2d"},
    "registers": {"num_register_tokens": 2},
    "qk_norm": {"qk_norm": True},
    "mean": {"final_norm": "pooled", "pool": "mean"},
}


@needs_transformers
@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT)
@pytest.mark.parametrize("library", ["torchvision", "transformers", "jax"])
def test_a_model_that_the_library_does_not_have_is_not_said_to_be_equal(library, changes):
    with pytest.raises(ValueError, match=f"has no {next(iter(changes))}="):
        parity(library, dataclasses.replace(SQUARE, **changes))


@needs_transformers
@pytest.mark.parametrize("changes", [{"mlp": "quick_gelu"}, {"norm_eps": 1e-3}], ids=["quick_gelu", "norm_eps"])
def test_options_that_transformers_has_too_are_built_there(changes):
    config = dataclasses.replace(SQUARE, **changes)
    library = importlib.import_module("transformers")
    (theirs,) = [PEERS["transformers"](config, False).model.config]
    assert isinstance(theirs, library.ViTConfig)
    assert (theirs.hidden_act, theirs.layer_norm_eps) == (changes.get("mlp", "gelu"), config.norm_eps)
    assert holds_in(parity("transformers", config), "read", "written")


@needs_transformers
@pytest.mark.parametrize(
    ("changes", "works"),
    [
        ({"mlp_ratio": 3.5}, "3.5 gives 84 hidden units, .*; 4 works"),
        ({"mlp": "swiglu", "mlp_ratio": 3.5}, "3.5 gives 84 .*; 4 works"),
    ],
)
def test_a_width_that_transformers_dinov2_cannot_say_is_answered_with_one_that_it_can(changes, works):
    with pytest.raises(ValueError, match=f"mlp_ratio={works}"):
        parity("transformers", dataclasses.replace(DINOV2, **changes))


@needs_transformers
@pytest.mark.parametrize("config", [DINOV2, REGISTERS, GIANT], ids=["plain", "registers", "swiglu"])
def test_a_dinov2_saved_by_hand_has_the_names_of_the_running_version(config, tmp_path):
    theirs = PEERS["transformers"](config, False).model.eval()
    torch.save(theirs.state_dict(), tmp_path / "by-hand.pth")
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(
        load(tmp_path / "by-hand.pth", config).model(images), theirs(images).pooler_output, atol=1e-5, rtol=1e-5
    )


@needs_vit_pytorch
@pytest.mark.parametrize("changes", [{"norm_eps": 1e-3}, {"mlp": "quick_gelu"}, {"pool": "map"}])
def test_what_vit_pytorch_forces_is_not_forced_upon_another_model(changes):
    with pytest.raises(ValueError, match="vit-pytorch's ViT has no "):
        parity("vit-pytorch", dataclasses.replace(SQUARE, **changes))
