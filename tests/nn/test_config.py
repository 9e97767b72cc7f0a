"""The schema of a model: sizes that follow from others, presets, and what each wrong value is answered with."""

import dataclasses
import inspect
import math

import pytest

from vit.nn import PRESETS, ViT, ViTConfig, create_model, list_models

TINY = {"image_size": 6, "patch_size": 3, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 5}


def test_the_grid_is_rows_then_columns() -> None:
    config = ViTConfig(image_size=(6, 20), patch_size=(2, 5))
    assert config.grid == (3, 4)
    assert (config.num_patches, config.num_tokens) == (12, 13)


def test_class_distillation_and_register_tokens_stand_before_the_patches() -> None:
    config = ViTConfig(image_size=6, patch_size=3, distilled=True, num_register_tokens=3)
    assert (config.num_prefix_tokens, config.num_tokens) == (5, 9)
    assert ViTConfig(class_token=False, pool="mean").num_prefix_tokens == 0


def test_prefix_tokens_have_places_only_if_positions_are_learned_and_theirs_too() -> None:
    assert ViTConfig(num_register_tokens=3).num_placed_prefix_tokens == 4
    assert ViTConfig(num_register_tokens=3, prefix_positions=False).num_placed_prefix_tokens == 0
    assert ViTConfig(num_register_tokens=3, positions="sincos2d").num_placed_prefix_tokens == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"image_size": 224, "patch_size": 15}, "patch_size=15 does not divide image_size=224.*14 and 16 do"),
        ({"image_size": (6, 0)}, "image_size=.* has no width"),
        ({"patch_size": -1}, "patch_size=-1 has no height"),
        ({"num_heads": 3}, "num_heads=3 does not divide embed_dim=8; 2 and 4 do"),
        ({"depth": 0}, "depth=0 must be at least 1"),
        ({"num_classes": -1}, "num_classes=-1 must be 0"),
        ({"mlp_ratio": 0.0}, "mlp_ratio=0.0 gives the MLP no hidden units to count; 4 is usual"),
        ({"mlp_ratio": 1e-3}, "mlp_ratio=0.001 gives the MLP no hidden units to count"),
        ({"mlp_ratio": math.inf}, "mlp_ratio=inf gives the MLP no hidden units to count"),
        ({"num_register_tokens": -2}, "num_register_tokens=-2 must be 0 or more"),
        ({"norm_eps": 0.0}, "norm_eps=0.0 must be above 0"),
        ({"rope_temperature": 0.0}, "rope_temperature=0.0 must be above 0"),
        ({"init_values": 0.0}, "init_values=0.0 must be above 0, or none"),
        ({"drop_rate": 1.0}, "drop_rate=1.0 is not a probability from 0 to below 1"),
        ({"patch_drop_rate": -0.1}, "patch_drop_rate=-0.1 is not a probability"),
        ({"drop_path_rate": 1.5}, "drop_path_rate=1.5 is not a probability"),
        ({"pos_embed_std": -1.0}, "pos_embed_std=-1.0 must be 0 or more"),
        ({"class_token": False}, "pool='cls' reads the class token.*pool='mean' and pool='map' work"),
        ({"distilled": True, "pool": "mean"}, "distilled=True reads .*pool='cls' with final_norm='tokens' does"),
        ({"mlp": "swiglu", "mlp_ratio": 1.125}, "9 hidden units, which have no half; 1.25 works"),
        ({"positions": "sincos2d", "embed_dim": 10}, "embed_dim=10 is no multiple of 4, 12 is"),
        ({"positions": "rope2d", "embed_dim": 12}, "embed_dim / num_heads=6 is no multiple of 4"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_work(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ViTConfig(**{**TINY, **wrong})


@pytest.mark.usefixtures("_annotations_unchecked")
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"pool": "avg"}, r"pool='avg' is not known; known are: cls, map, mean\.$"),
        ({"positions": "rope"}, "positions='rope' is not known; did you mean 'rope2d'"),
        ({"final_norm": "token"}, "final_norm='token' is not known; did you mean 'tokens'"),
        ({"init": "xaiver"}, "init='xaiver' is not known; did you mean 'xavier'"),
        ({"mlp": "relu"}, "mlp='relu' is not known; did you mean 'gelu'"),
        ({"pool": None}, "pool=None is not known"),
        ({"image_size": 32.0}, r"image_size=32.0 is no size; whole pixels are, as 224 or as \(224, 160\)"),
        ({"image_size": (6,)}, r"image_size=\(6,\) is no size"),
        ({"patch_size": (3, 3, 3)}, r"patch_size=\(3, 3, 3\) is no size"),
        ({"patch_size": "3"}, "patch_size='3' is no size"),
        ({"num_classes": None}, "num_classes=None is a NoneType; a whole number works"),
        ({"embed_dim": 8.0}, "embed_dim=8.0 is a float; a whole number works"),
        ({"norm_eps": "1e-6"}, "norm_eps='1e-6' is a str; a number works"),
        ({"init_values": "small"}, "init_values='small' is a str; a number or none works"),
        ({"qkv_bias": "false"}, "qkv_bias='false' is a str; true or false works"),
    ],
)
def test_a_misspelt_choice_or_another_kind_of_value_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ViTConfig(**{**TINY, **wrong})


@pytest.mark.usefixtures("_annotations_unchecked")
def test_whole_numbers_are_numbers_and_two_sizes_may_come_as_a_list() -> None:
    assert ViTConfig(**{**TINY, "mlp_ratio": 2, "init_values": 1, "image_size": [6, 9]}).grid == (2, 3)


def test_numbers_too_large_for_any_model_are_looked_at_as_quickly() -> None:
    # what a damaged config.json may say; naming divisors one by one up to these would take hours
    assert ViTConfig(**{**TINY, "image_size": 3 * 2**40}).grid == (2**40, 2**40)
    with pytest.raises(ValueError, match="num_heads=3 does not divide embed_dim=1099511627776; 2 and 4 do"):
        ViTConfig(**{**TINY, "embed_dim": 2**40, "num_heads": 3})


def test_the_answer_to_an_odd_hidden_width_works() -> None:
    assert ViTConfig(**{**TINY, "mlp": "swiglu", "mlp_ratio": 1.25}).mlp_hidden_dim == 10


def test_an_unknown_architecture_or_field_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'vit_small_patch16_224'"):
        ViTConfig.preset("vit_smal_patch16_224")
    with pytest.raises(ValueError, match="ViTConfig has no field 'num_clases'; did you mean 'num_classes'"):
        create_model("vit_tiny_patch16_224", num_clases=3)


def test_a_name_near_to_none_is_answered_with_some_of_many_and_all_of_few() -> None:
    with pytest.raises(ValueError, match=r"no architecture 'resnet50'; known are: deit3_base.*, \d+ others\.$"):
        ViTConfig.preset("resnet50")
    with pytest.raises(ValueError, match=r"no field 'zzz'; known are: class_token, .*, rope_temperature"):
        ViTConfig.preset("vit_tiny_patch16_224", zzz=1)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_valid_config(name: str) -> None:
    assert ViTConfig.preset(name).num_patches > 0


def test_create_model_changes_the_fields_it_is_given() -> None:
    model = create_model("vit_lite_7_4_32", num_classes=3, image_size=(8, 12), depth=1)
    assert isinstance(model, ViT)
    assert (model.config.num_classes, model.config.grid, model.config.embed_dim) == (3, (2, 3), 256)


@pytest.mark.parametrize(
    ("name", "millions"),
    # published, rounded: Touvron et al. 2021 (5.7, 22, 86); Hassani et al. 2021 (3.717, 3.191); Lee et al. 2021 (2.7)
    [
        ("vit_tiny_patch16_224", 5.717),
        ("vit_small_patch16_224", 22.051),
        ("vit_base_patch16_224", 86.568),
        ("vit_lite_7_4_32", 3.717),
        ("vit_lite_6_4_32", 3.191),
        ("vit_small_data_patch4_32", 2.692),
    ],
)
def test_presets_have_their_published_number_of_parameters(name: str, millions: float) -> None:
    parameters = sum(parameter.numel() for parameter in create_model(name).parameters())
    assert round(parameters / 1e6, 3) == millions


def test_list_models_takes_shell_patterns() -> None:
    assert list_models("vit_small_patch14*dinov2") == ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"]
    assert list_models() == sorted(PRESETS)
    assert list_models("resnet*") == []


def test_every_field_says_what_it_is() -> None:
    # attribute docstrings are the help of the command line; a field without one would be listed bare
    source = inspect.getsource(ViTConfig).split("def __post_init__")[0]
    for field in dataclasses.fields(ViTConfig):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), field.name
