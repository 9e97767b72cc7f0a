"""Pictures are prepared as the processors of transformers prepare them, and what those do not say is what they take."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from vit.data.preprocess import fit, normalise, to_tensor
from vit.weights import read_card

library = pytest.importorskip("transformers", reason="transformers comes with the extra `bench`")


def picture(width: int, height: int) -> Image.Image:
    """Waves and noise: what resizing and cropping turn into different numbers."""
    rows, columns, channels = np.ogrid[:height, :width, :3]
    waves = 128 + 80 * np.sin(rows / 5 + channels) * np.cos(columns / 7 - channels)
    noise = np.random.default_rng(0).integers(-40, 40, (height, width, 3))
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


SQUARE_48, SQUARE_56 = {"height": 48, "width": 48}, {"height": 56, "width": 56}


@pytest.mark.parametrize("shape", [(97, 61), (61, 98)], ids=["wide", "tall"])
@pytest.mark.parametrize(
    ("processor", "sizes"),
    [
        ("ViTImageProcessor", {"size": SQUARE_48}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 48}, "crop_size": SQUARE_48}),
        ("SiglipImageProcessor", {"size": SQUARE_48}),
        ("DINOv3ViTImageProcessor", {"size": SQUARE_48}),
        ("DeiTImageProcessor", {"size": SQUARE_56, "crop_size": SQUARE_48}),
        ("BitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": SQUARE_48}),
    ],
)
def test_a_picture_is_prepared_as_the_processor_prepares_it(tmp_path, processor, sizes, shape):
    """The margins that are cropped away are even here: of odd ones transformers and timm leave the odd pixel apart."""
    theirs = getattr(library, processor)(**sizes)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "image_size": 48}))
    spec = read_card(tmp_path).preprocessing
    image = picture(*shape)
    ours = normalise(to_tensor(fit(image, spec))[None], spec)
    pixels = theirs(images=image, return_tensors="pt")["pixel_values"]
    levels = (ours - pixels).abs() * torch.tensor(spec.std)[:, None, None] * 255
    assert levels.max() < 1.01  # transformers resizes with torchvision, we with Pillow: one level of 256 is rounding


@pytest.mark.parametrize(
    ("kind", "processor"),
    [
        ("vit", "ViTImageProcessor"),
        ("deit", "DeiTImageProcessor"),
        ("vit_mae", "ViTImageProcessor"),
        ("clip", "CLIPImageProcessor"),
        ("siglip", "SiglipImageProcessor"),
        ("dinov3_vit", "DINOv3ViTImageProcessor"),
    ],
)
def test_what_no_file_says_is_what_the_processor_of_the_family_takes(tmp_path, kind, processor):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    without = read_card(tmp_path).preprocessing
    getattr(library, processor)().save_pretrained(tmp_path)
    assert read_card(tmp_path).preprocessing == without


def test_a_processor_beside_a_tokenizer_is_found_in_their_common_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    image_processor = {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": image_processor}))
    assert read_card(tmp_path).preprocessing.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("content", ["[1]", '"ViT"'])
def test_a_processor_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json holds a \w+ where names and values are needed"):
        read_card(tmp_path)


def test_an_entry_without_a_value_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": None}))
    without = read_card(tmp_path).preprocessing
    empty = dict.fromkeys(["do_normalize", "image_mean", "resample", "size", "crop_size", "do_center_crop"])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(empty))
    assert read_card(tmp_path).preprocessing == without


def test_the_old_name_of_a_processor_is_known(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deit"}))
    old = {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    preprocessing = read_card(tmp_path).preprocessing
    assert (preprocessing.crop_mode, preprocessing.crop_pct, preprocessing.interpolation) == (
        "squash",
        0.875,
        "bicubic",
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"rescale_factor": 1.0}, r"rescale_factor=1\.0 of transformers is not done here; 1/255 is"),
        ({"image_mean": [0.5]}, r"image_mean=\[0\.5\] of transformers is not for the 3 channels of the model"),
    ],
)
def test_numbers_that_do_not_fit_the_model_are_refused(tmp_path, given, why):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
    with pytest.raises(ValueError, match=why):
        read_card(tmp_path)
