"""The model folder: written whole, read by timm, and explained where it is not what it should be."""

import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, export_model, load, read_card, save_model
from vit.weights.description import describe
from vit.weights.transformers.card import card_to_transformers

CONFIG = ViTConfig(image_size=(8, 12), patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=2)
CARD = ModelCard(
    config=CONFIG,
    classes=("n01", "n02"),
    preprocessing=Preprocessing(image_size=(8, 12), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop_pct=0.875),
    descriptions={"n02": "goldfish"},
    provenance={"command": "vit fit", "accuracy": 0.5},
)


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_model(ViT(CONFIG), CARD, tmp_path / "model")


def test_the_card_comes_back_as_it_was(folder):
    assert read_card(folder) == CARD
    assert [CARD.label(index) for index in range(2)] == ["n01", "goldfish (n02)"]


def test_timm_builds_the_same_model_from_the_folder(folder):
    images = torch.randn(2, 3, 8, 12)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    torch.testing.assert_close(load(folder).model(images), theirs(images), rtol=1e-5, atol=1e-6)  # float32


def test_a_model_that_timm_does_not_have_is_kept_all_the_same(tmp_path):
    config = dataclasses.replace(CONFIG, norm_eps=1e-12, drop_path_rate=0.2)
    card = dataclasses.replace(CARD, config=config)
    folder = save_model(ViT(config), card, tmp_path / "model")
    assert load(folder).card == card


def test_no_half_written_file_stays_behind(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_again_replaces_the_files(folder):
    other = ViT(CONFIG)
    save_model(other, CARD, folder)
    torch.testing.assert_close(load(folder).model.state_dict(), other.state_dict(), rtol=0, atol=0)  # the same tensors


def test_a_folder_of_models_is_no_model_but_names_those_in_it(folder):
    with pytest.raises(FileNotFoundError, match=r"is not a model folder, but .*model may be"):
        load(folder.parent)


def test_a_missing_folder_says_what_writes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; `vit fit` writes one"):
        load(tmp_path / "nowhere")


def test_a_folder_without_weights_says_so(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", r"config\.json: Expecting property name"),
        ("[1]", r"config\.json: it holds a list, and a card is an object"),
        ("[" * 100_000, r"config\.json: maximum recursion depth"),
        ('{"pretrained_cfg": []}', r"pretrained_cfg=\[\] is no object with names and values"),
        ('{"pretrained_cfg": {}, "config": ["depth"]}', r"config=\['depth'\] is no object with names and values"),
        ('{"pretrained_cfg": {"input_size": [3, 16]}}', r"input_size=\[3, 16\] is not channels, height and width"),
        ("{}", "does not describe an image model: it has no 'pretrained_cfg'"),
        ('{"model_type": "bert"}', "model_type='bert' of transformers is not read here; vit, deit, vit_mae"),
    ],
)
def test_a_damaged_card_is_named_with_what_is_wrong(folder, content, what):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=what):
        read_card(folder)


def test_another_crop_than_the_centre_is_refused(folder):
    card = json.loads((folder / "config.json").read_text())
    card["pretrained_cfg"]["crop_mode"] = "border"
    (folder / "config.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"crop_mode='border' is not supported; center and squash are"):
        read_card(folder)


def test_weights_of_another_architecture_than_the_card_says_are_refused(folder):
    card = json.loads((folder / "config.json").read_text())
    card["config"]["depth"] = 3
    (folder / "config.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"model: the card says depth=3 where the tensors have 2\.$"):
        load(folder)


def test_a_card_that_asks_for_a_thousand_million_blocks_is_refused_before_they_are_built(folder):
    card = json.loads((folder / "config.json").read_text())
    card["config"]["depth"] = 10**9
    (folder / "config.json").write_text(json.dumps(card))
    for look in (load, describe):
        with pytest.raises(ValueError, match="the card says depth=1000000000 where the tensors have 2"):
            look(folder)


def test_of_many_models_in_a_folder_some_are_named(tmp_path):
    for number in range(5):
        (tmp_path / f"run-{number}").mkdir()
        (tmp_path / f"run-{number}" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"run-0, .*run-1, .*run-2 and 2 more may be\.$"):
        load(tmp_path)


def test_class_names_must_be_as_many_as_classes():
    with pytest.raises(ValueError, match="1 class names do not fit num_classes=2"):
        dataclasses.replace(CARD, classes=("one",))


def write_transformers(folder: Path, config: dict, preprocessor: dict | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", **config}))
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def test_what_a_card_of_transformers_leaves_out_is_what_transformers_takes(tmp_path):
    card = read_card(write_transformers(tmp_path / "vit", {"id2label": {"1": "dog", "0": "cat"}}))
    assert card.config == ViTConfig(embed_dim=768, num_heads=12, num_classes=2, norm_eps=1e-12)
    assert card.classes == ("cat", "dog")
    assert card.preprocessing == Preprocessing(
        image_size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_mode="squash"
    )


def test_the_preprocessing_of_dinov2_crops_the_centre(tmp_path):
    given = {"do_center_crop": True, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    folder = write_transformers(tmp_path / "dino", {"model_type": "dinov2"}, {**given, "resample": 3})
    assert (read_card(folder).preprocessing.crop_pct, read_card(folder).preprocessing.interpolation) == (
        0.875,
        "bicubic",
    )


def test_a_picture_that_transformers_squashes_is_squashed_here_and_so_again_there(tmp_path):
    card = read_card(write_transformers(tmp_path / "vit", {}))
    assert card.preprocessing.crop_mode == "squash"
    _, preprocessor = card_to_transformers(card)
    assert preprocessor["image_processor_type"] == "ViTImageProcessor"
    assert preprocessor["size"] == {"height": 224, "width": 224}
    assert "do_center_crop" not in preprocessor


@pytest.mark.parametrize("resized", range(224, 300))
def test_the_share_of_a_crop_gives_the_size_that_transformers_resizes_to(tmp_path, resized):
    given = {"do_center_crop": True, "size": {"shortest_edge": resized}, "crop_size": {"height": 224, "width": 224}}
    assert int(224 / read_card(write_transformers(tmp_path / "vit", {}, given)).preprocessing.crop_pct) == resized


def test_an_activation_that_is_not_built_is_refused(tmp_path):
    with pytest.raises(ValueError, match="hidden_act='relu' of transformers is not built here; gelu"):
        read_card(write_transformers(tmp_path / "relu", {"hidden_act": "relu"}))


def test_the_card_of_a_model_as_it_was_is_refused_and_the_one_as_it_is_now_is_a_call_away(folder, tmp_path):
    loaded = load(folder)
    loaded.model.resize((16, 12))
    with pytest.raises(
        ValueError, match=r"card says image_size=\(8, 12\) and the model has \(16, 12\); card\.for_model"
    ):
        save_model(loaded.model, loaded.card, tmp_path / "resized")
    with pytest.raises(ValueError, match=r"card\.for_model"):
        export_model(loaded.model, loaded.card, tmp_path / "resized", "timm")
    again = load(save_model(loaded.model, loaded.card.for_model(loaded.model), tmp_path / "resized"))
    assert again.card.preprocessing.image_size == (16, 12)
    torch.testing.assert_close(again.model.state_dict(), loaded.model.state_dict(), rtol=0, atol=0)  # the same tensors


SQUARE_256, SQUARE_224 = {"height": 256, "width": 256}, {"height": 224, "width": 224}


@pytest.mark.parametrize(
    ("given", "mode", "share"),
    [
        ({"size": SQUARE_224}, "squash", 1.0),
        ({"size": 224}, "squash", 1.0),
        ({"do_center_crop": True, "size": SQUARE_256, "crop_size": SQUARE_224}, "squash", 0.875),
        ({"do_center_crop": True, "size": 256, "crop_size": 224}, "center", 0.875),
        (
            {"do_center_crop": True, "size": 256, "crop_size": 224, "image_processor_type": "ViTImageProcessor"},
            "squash",
            0.875,
        ),
        ({"do_center_crop": True, "size": {"shortest_edge": 256}, "crop_size": 224}, "center", 0.875),
    ],
)
def test_a_size_means_what_it_means_to_transformers_however_it_is_written(tmp_path, given, mode, share):
    preprocessing = read_card(write_transformers(tmp_path / "vit", {}, given)).preprocessing
    assert (preprocessing.crop_mode, preprocessing.crop_pct) == (mode, share)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"resample": 4}, r"resample=4 of transformers is not done here; 0 \(nearest\), 1 \(lanczos\), 2"),
        ({"do_rescale": False}, "do_rescale=False of transformers is not done here"),
        ({"size": {"shortest_edge": 224}}, "without do_center_crop leaves pictures oblong"),
        (
            {"do_center_crop": True, "size": SQUARE_256, "crop_size": {"height": 224, "width": 128}},
            r"a crop of \(224, 128\) from \(256, 256\) keeps another share",
        ),
    ],
)
def test_a_preprocessing_that_the_card_cannot_say_is_refused(tmp_path, given, why):
    with pytest.raises(ValueError, match=why):
        read_card(write_transformers(tmp_path / "vit", {}, given))


def test_pictures_that_are_not_normalised_have_mean_0_and_deviation_1(tmp_path):
    given = {"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    preprocessing = read_card(write_transformers(tmp_path / "vit", {}, given)).preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0.0,) * 3, (1.0,) * 3)


def test_no_architectures_are_the_usual_one(tmp_path):
    labels = {"id2label": {"0": "cat", "1": "dog", "2": "eel"}}
    assert read_card(write_transformers(tmp_path / "vit", {"architectures": None, **labels})).config.num_classes == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("google/vit-base-patch16-224", "hf-hub:google/vit-base-patch16-224 if it is there"),
        ("vit_tiny_patch16_224", "timm/vit_tiny_patch16_224 is the one that timm publishes"),
    ],
)
def test_a_name_without_its_place_is_answered_with_the_whole_name(name, meant):
    with pytest.raises(FileNotFoundError, match=meant):
        load(name)


def test_weights_that_transformers_wrote_in_several_files_are_one_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=8, patch_size=4
    )
    theirs = transformers.ViTForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(load(tmp_path).model(images), theirs(images).logits, rtol=1e-5, atol=1e-5)  # float32
    description = describe(tmp_path)
    assert description.num_parameters == sum(parameter.numel() for parameter in theirs.parameters())
    assert description.size_bytes > 4 * description.num_parameters


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        ("{}", "has no weight_map"),
        ('{"weight_map": {"a": "../secret.safetensors"}}', "no weight file beside it"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors does not exist"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "names the tensor a, which model-00001-of-00002"),
    ],
)
def test_a_wrong_index_of_several_files_is_refused(folder, index, problem):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        load(folder)
