"""Preprocessing is timm's, pixel for pixel."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from vit.data.preprocess import fit, load_image, normalise, to_tensor
from vit.nn import Preprocessing

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def spec(size: tuple[int, int] = (24, 24), crop_pct: float = 1.0, interpolation: str = "bicubic") -> Preprocessing:
    return Preprocessing(image_size=size, mean=MEAN, std=STD, crop_pct=crop_pct, interpolation=interpolation)  # pyright: ignore


@pytest.mark.parametrize("size", [(24, 24), (24, 36), (35, 21)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 0.875])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("picture_size", [(24, 24), (53, 37), (31, 71), (13, 17), (101, 24)])
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_images_are_those_of_timms_evaluation_transform(
    size: tuple[int, int],
    crop_pct: float,
    interpolation: str,
    picture_size: tuple[int, int],
    crop_mode: str,
    write_image: Callable[..., str],
) -> None:
    from timm.data import create_transform

    picture = Image.open(write_image("noise.png", picture_size))
    transform = create_transform(
        (3, *size), mean=MEAN, std=STD, crop_pct=crop_pct, interpolation=interpolation, crop_mode=crop_mode
    )
    settings = replace(spec(size, crop_pct, interpolation), crop_mode=crop_mode)  # pyright: ignore
    ours = normalise(to_tensor(fit(picture, settings))[None], settings)[0]
    # the same operations in float32, in another order
    assert_close(ours, transform(picture), atol=2e-6, rtol=0)  # pyright: ignore


def test_normalised_pixels_match_values_worked_by_hand() -> None:
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # (0 - .5) / .2, (1 - .4) / .25, (.2 - .3) / .5
    assert_close(normalise(pixels, spec()).flatten(), torch.tensor([-2.5, 2.4, -0.2]), atol=1e-6, rtol=0)


def test_the_centre_is_kept_and_the_sides_are_cropped() -> None:
    stripes = np.zeros((2, 6), dtype=np.uint8)
    stripes[:, 2:4] = 255
    fitted = fit(Image.fromarray(stripes), Preprocessing(image_size=(2, 2), mean=(0.5,), std=(0.5,)))
    assert np.asarray(fitted).tolist() == [[255, 255], [255, 255]]


def test_greys_and_colours_both_put_channels_first() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # h w c
    assert to_tensor(Image.fromarray(pixels))[1].tolist() == [[1, 4, 7], [10, 13, 16]]
    assert to_tensor(Image.fromarray(pixels[:, :, 0])).tolist() == [[[0, 3, 6], [9, 12, 15]]]


def test_an_image_that_fits_already_is_left_as_it_is(write_image: Callable[..., str]) -> None:
    path = write_image("fits.png", (24, 24))
    assert_close(load_image(path, spec()), to_tensor(Image.open(path)), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (2, 999)])
def test_a_strip_is_seen_by_its_middle_and_not_resized_whole(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (9, 9, 9))
    picture.putpixel((size[0] // 2, size[1] // 2), (255, 255, 255))
    fitted = np.asarray(fit(picture, spec((224, 224))))
    assert fitted.shape == (224, 224, 3)
    assert fitted.max() > 200


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 23), (997, 3), (24, 25)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.33])
def test_every_picture_comes_out_in_the_size_asked_for(size: tuple[int, int], crop_pct: float) -> None:
    assert fit(Image.new("RGB", size), spec((21, 35), crop_pct)).size == (35, 21)
