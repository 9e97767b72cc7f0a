"""Every family of transformers that is read, against its own class: all tensors random, through the files it writes.

`test_proof.py` has ViT and DINOv2, which are written too.
"""

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vit.nn import ViT, ViTConfig
from vit.weights import describe, load, read_card
from vit.weights.proof import Parity, parity

library = pytest.importorskip("transformers", reason="transformers comes with the extra `bench`")

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
SQUARE = {**SIZES, "image_size": 12, "patch_size": 4}
OBLONG = {**SIZES, "image_size": [10, 12], "patch_size": [5, 3], "num_channels": 2, "hidden_act": "gelu_pytorch_tanh"}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
}
CONFIG = ViTConfig(image_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=7, mlp_ratio=40 / 24)


def build(name: str, config: str, **fields: Any) -> Any:
    """A model of that class with every tensor random: heads and norms start so that they would hide mistakes."""
    model = getattr(library, name)(getattr(library, config)(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def images_for(model: ViT) -> torch.Tensor:
    return torch.randn(2, model.config.in_channels, *model.config.image_hw)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()  # float32 rounding of two blocks


def holds(results: list[Parity]) -> bool:
    return [result.direction for result in results] == ["read"] and all(result.holds for result in results)


@pytest.mark.parametrize("fields", [SQUARE, OBLONG], ids=["square", "oblong"])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DeiTForImageClassification", "DeiTConfig"),
        ("DeiTForImageClassificationWithTeacher", "DeiTConfig"),
        ("ViTMSNForImageClassification", "ViTMSNConfig"),
    ],
)
def test_a_classifier_has_the_same_logits_from_its_folder_and_from_a_state_dict(tmp_path, name, config, fields):
    theirs = build(name, config, **fields, num_labels=7)
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "by_hand.pth")
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model(images), theirs(images).logits)
    assert loaded.report.left_over == ()
    assert not loaded.report.completed
    by_hand = load(tmp_path / "by_hand.pth", loaded.model.config)
    close(by_hand.model(images), theirs(images).logits)
    assert describe(tmp_path).num_parameters == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "config", "left_over"),
    [
        ("DeiTModel", "DeiTConfig", {"pooler.dense.weight", "pooler.dense.bias"}),
        ("DeiTForMaskedImageModeling", "DeiTConfig", {"decoder.0.weight", "decoder.0.bias", "embeddings.mask_token"}),
        ("ViTMSNModel", "ViTMSNConfig", set()),
    ],
)
def test_a_model_without_a_classifier_has_the_same_tokens_and_the_rest_is_reported(tmp_path, name, config, left_over):
    theirs = build(name, config, **SQUARE)
    theirs.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    bare = getattr(theirs, "deit", theirs)
    close(loaded.model.encode(images), bare(images).last_hidden_state)
    assert set(loaded.report.left_over) == left_over
    assert loaded.model.config.num_classes == 0


def test_both_heads_of_deit_are_where_they_belong(tmp_path):
    theirs = build("DeiTForImageClassificationWithTeacher", "DeiTConfig", **SQUARE, num_labels=7)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path).model
    images = images_for(ours)
    output = theirs(images)
    logits, distilled = ours.distillation_logits(images)
    close(logits, output.cls_logits)
    close(distilled, output.distillation_logits)


def test_a_distillation_token_that_no_head_reads_is_a_register_and_it_is_said(tmp_path):
    build("DeiTForImageClassification", "DeiTConfig", **SQUARE, num_labels=7).save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert (loaded.model.config.distilled, loaded.model.config.num_register_tokens) == (False, 1)
    assert "no head reads the distillation token there, so it is a register here" in str(loaded.report)
    assert "so it is a register here" in describe(tmp_path).notes[0]


@pytest.mark.parametrize("changes", [{}, {"num_channels": 1, "qkv_bias": False}], ids=["plain", "grey, without bias"])
@pytest.mark.parametrize("name", ["ViTMAEModel", "ViTMAEForPreTraining"])
def test_the_encoder_of_vit_mae_sees_every_patch_and_its_decoder_is_left_over(tmp_path, name, changes):
    theirs = build(name, "ViTMAEConfig", **SQUARE, **changes, **DECODER, mask_ratio=0.75)
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "by_hand.pth")
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    encoder = getattr(theirs, "vit", theirs)
    encoder.embeddings.config.mask_ratio = 0.0
    in_order = torch.arange(9.0).expand(2, -1)
    tokens = encoder(images, noise=in_order).last_hidden_state
    close(loaded.model.encode(images), tokens)
    close(load(tmp_path / "by_hand.pth", loaded.model.config).model.encode(images), tokens)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        decoder = {name for name in file.keys() if name.startswith("decoder.")}  # noqa: SIM118, it is no dictionary
    assert set(loaded.report.left_over) == decoder
    assert bool(decoder) == ("all patches are seen" in str(loaded.report)) == (name == "ViTMAEForPreTraining")


TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "vocab_size": 30,
    "max_position_embeddings": 7,
}
BOTH = {"vision_config": SQUARE, "text_config": TEXT}
POST_NORM = {"post_layernorm.weight", "post_layernorm.bias"}
PROBE = {
    "head.probe",
    *(f"head.attention.in_proj_{kind}" for kind in ("weight", "bias")),
    *(f"head.{part}.{kind}" for part in ("attention.out_proj", "layernorm") for kind in ("weight", "bias")),
    *(f"head.mlp.{layer}.{kind}" for layer in ("fc1", "fc2") for kind in ("weight", "bias")),
}


@pytest.mark.parametrize(
    ("name", "config", "fields", "output", "left_over"),
    [
        ("CLIPVisionModel", "CLIPVisionConfig", SQUARE, "pooler_output", set()),
        ("CLIPVisionModel", "CLIPVisionConfig", {**SQUARE, "hidden_act": "gelu"}, "pooler_output", set()),
        ("CLIPVisionModelWithProjection", "CLIPVisionConfig", {**SQUARE, "projection_dim": 7}, "image_embeds", set()),
        ("CLIPForImageClassification", "CLIPConfig", {**BOTH, "num_labels": 5}, "logits", POST_NORM),
        ("SiglipVisionModel", "SiglipVisionConfig", SQUARE, "pooler_output", set()),
        ("SiglipVisionModel", "SiglipVisionConfig", {**SQUARE, "num_channels": 1}, "pooler_output", set()),
        ("SiglipForImageClassification", "SiglipConfig", {**BOTH, "num_labels": 5}, "logits", PROBE),
    ],
)
def test_a_tower_that_sees_gives_the_same(tmp_path, name, config, fields, output, left_over):
    theirs = build(name, config, **fields)
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "by_hand.pth")
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model(images), getattr(theirs(images), output))
    assert set(loaded.report.left_over) == left_over
    by_hand = load(tmp_path / "by_hand.pth", loaded.model.config)
    close(by_hand.model(images), getattr(theirs(images), output))


@pytest.mark.parametrize(
    ("family", "alone"),
    [("CLIP", {"text_projection.weight", "logit_scale"}), ("Siglip", {"logit_scale", "logit_bias"})],
)
def test_of_two_towers_the_one_that_sees_is_taken_and_the_other_is_left_over(tmp_path, family, alone):
    projection = {"projection_dim": 5} if family == "CLIP" else {}
    theirs = build(f"{family}Model", f"{family}Config", **BOTH, **projection)
    theirs.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model(images), theirs.get_image_features(images).pooler_output)
    texts = {name for name in loaded.report.left_over if name.startswith("text_model.")}
    assert set(loaded.report.left_over) - texts == alone
    assert len(texts) == sum(name.startswith("text_model.") for name in theirs.state_dict())


def test_what_is_no_tensor_of_the_file_is_not_said_to_be_loaded(tmp_path):
    theirs = build("CLIPVisionModelWithProjection", "CLIPVisionConfig", **SQUARE, projection_dim=7)
    theirs.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert "head.bias" not in loaded.report.loaded
    assert "  zeros in: head.bias; CLIP's projection has no bias" in str(loaded.report).splitlines()
    assert "7 numbers to compare with those of texts, and no classes" in describe(tmp_path).notes[0]
    assert loaded.card.classes[:2] == ("projection 0", "projection 1")  # what `vit predict` would print
    new = load(tmp_path, num_classes=3).report
    assert (new.initialised, new.left_over, dict(new.completed)) == (("head.bias", "head.weight"), ("head.weight",), {})


def test_a_tower_alone_is_read_under_the_names_of_older_versions_too(tmp_path):
    theirs = build("CLIPVisionModel", "CLIPVisionConfig", **SQUARE)
    theirs.save_pretrained(tmp_path)
    old = {f"vision_model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    old["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    save_file(old, tmp_path / "model.safetensors")
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model(images), theirs(images).pooler_output)
    assert loaded.report.left_over == ("embeddings.position_ids",)


def test_a_siglip_without_pooling_is_read_and_it_is_said_what_stands_for_the_image(tmp_path):
    theirs = build("SiglipVisionModel", "SiglipVisionConfig", **SQUARE, vision_use_head=False)
    theirs.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model.encode(images), theirs(images).last_hidden_state)
    assert "nothing to pool them: the mean of the patches stands for the image here" in str(loaded.report)


@pytest.mark.parametrize("family", ["CLIP", "Siglip"])
def test_fields_that_a_tower_does_not_say_are_those_of_its_class(tmp_path, family):
    """As in the repositories of SigLIP, whose `vision_config` is all but empty."""
    kind = family.lower()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vision_config": {"depth": 1}}))
    ours = read_card(tmp_path).config
    theirs = getattr(library, f"{family}VisionConfig")()
    assert (ours.image_size, ours.patch_size, ours.embed_dim, ours.depth, ours.num_heads, ours.norm_eps) == (
        theirs.image_size,
        theirs.patch_size,
        theirs.hidden_size,
        theirs.num_hidden_layers,
        theirs.num_attention_heads,
        theirs.layer_norm_eps,
    )
    assert ours.mlp_hidden_dim == theirs.intermediate_size
    assert ours.num_classes == (512 if family == "CLIP" else 0)


DINOV3 = {**SQUARE, "num_register_tokens": 2, "layerscale_value": 0.3, "rope_theta": 30.0}
GATED = {**DINOV3, "use_gated_mlp": True, "hidden_act": "silu"}
KEY_BIAS = {"keys have no bias there"}


@pytest.mark.parametrize(
    ("fields", "completed"),
    [
        (DINOV3, KEY_BIAS),
        (GATED, KEY_BIAS),
        ({**DINOV3, "image_size": [20, 12], "num_channels": 2}, KEY_BIAS),
        ({**DINOV3, "query_bias": False}, {"queries and keys have no bias there"}),
        ({**DINOV3, "query_bias": False, "value_bias": False}, set()),
        ({**DINOV3, "key_bias": True}, set()),
        ({**DINOV3, "num_register_tokens": 0}, KEY_BIAS),
    ],
    ids=["plain", "gated", "oblong", "values only", "no bias", "all biases", "no registers"],
)
def test_dinov3_has_the_same_tokens_at_any_size(tmp_path, fields, completed):
    theirs = build("DINOv3ViTModel", "DINOv3ViTConfig", **fields)
    theirs.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "by_hand.pth")
    loaded = load(tmp_path)
    images = images_for(loaded.model)
    close(loaded.model.encode(images), theirs(images).last_hidden_state)
    close(loaded.model(images), theirs(images).pooler_output)
    larger = torch.randn(2, images.shape[1], 8, 28)
    close(loaded.model.encode(larger), theirs(larger).last_hidden_state)
    close(load(tmp_path / "by_hand.pth", loaded.model.config).model(images), theirs(images).pooler_output)
    empty = set() if fields["num_register_tokens"] else {"embeddings.register_tokens"}
    assert set(loaded.report.left_over) == {"embeddings.mask_token"} | empty
    assert set(loaded.report.completed.values()) == completed
    assert describe(tmp_path).num_parameters == sum(parameter.numel() for parameter in loaded.model.parameters())


def test_a_bias_that_is_partly_zeros_is_not_said_to_be_loaded(tmp_path):
    build("DINOv3ViTModel", "DINOv3ViTConfig", **DINOV3).save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert list(loaded.report.completed) == ["blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias"]
    assert not set(loaded.report.completed) & set(loaded.report.loaded)
    assert loaded.model.blocks[1].attn.qkv.bias[24:48].eq(0).all()


@pytest.mark.parametrize("changes", [{}, {"mlp": "swiglu", "mlp_ratio": 80 / 24}], ids=["plain", "gated"])
def test_dinov3_is_compared(changes):
    own = {"positions": "rope2d_centred", "init_values": 1e-5, "num_register_tokens": 2, "num_classes": 0}
    assert holds(parity("transformers-dinov3", ViTConfig(**{**vars(CONFIG), **own, **changes})))


@pytest.mark.parametrize("changes", [{}, {"num_classes": 0}], ids=["projection", "features"])
def test_clip_is_compared(changes):
    assert holds(parity("transformers-clip", ViTConfig(**{**vars(CONFIG), "pre_norm": True, **changes})))


@pytest.mark.parametrize(
    "changes", [{"pool": "map", "num_classes": 0}, {"pool": "mean"}, {"pool": "mean", "num_classes": 0}], ids=str
)
def test_siglip_is_compared(changes):
    assert holds(parity("transformers-siglip", ViTConfig(**{**vars(CONFIG), "class_token": False, **changes})))


def test_an_architecture_that_a_family_does_not_have_is_not_said_to_be_equal():
    with pytest.raises(ValueError, match="no comparison: pre_norm=False was asked for, and the library built True"):
        parity("transformers-clip", CONFIG)


@pytest.mark.parametrize("changes", [{}, {"distilled": True}], ids=["deit", "distilled"])
def test_deit_is_compared(changes):
    assert holds(parity("transformers-deit", ViTConfig(**{**vars(CONFIG), **changes})))


@pytest.mark.parametrize("family", ["msn", "mae"])
def test_relatives_of_vit_are_compared(family):
    assert holds(parity(f"transformers-{family}", CONFIG))


def test_another_head_than_transformers_has_is_made_and_reported(tmp_path):
    build("DeiTForImageClassificationWithTeacher", "DeiTConfig", **SQUARE, num_labels=7).save_pretrained(tmp_path)
    loaded = load(tmp_path, num_classes=3)
    assert loaded.model.config.num_classes == 3
    assert set(loaded.report.left_over) == {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ("deit", {"hidden_act": "silu"}, "hidden_act='silu' of transformers is not built here; gelu"),
        (
            "clip",
            {"vision_config": {"hidden_act": "relu"}},
            "hidden_act='relu' of transformers is not built here; gelu",
        ),
        ("siglip", {"vision_config": [1]}, r"vision_config=\[1\] is no object with names and values"),
        ("siglip2", {}, "model_type='siglip2' of transformers is not read here; .*siglip, siglip_vision_model"),
        ("dinov3_vit", {"mlp_bias": False}, "mlp_bias=False of transformers is not built here; true is"),
        ("dinov3_vit", {"use_gated_mlp": True}, "hidden_act='gelu' with use_gated_mlp=True .*; silu is"),
        ("vit_msn", {"head_dim": 16}, "head_dim=16 of transformers is not built here: 12 heads share a token 768 wide"),
        ("deit", {"num_attention_heads": 0}, "num_heads=0 must be at least 1"),
    ],
)
def test_what_is_not_built_is_refused_in_a_sentence(tmp_path, kind, fields, why):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **fields}))
    with pytest.raises(ValueError, match=why):
        read_card(tmp_path)
