"""scikit-learn's digits: whole, apart, and always the same."""

from pathlib import Path

import pytest
import torch

from vit.data.sources import digits


def test_digits_are_scikit_learns_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    source = digits(Path())
    assert source.test is not None
    assert isinstance(source.train.images, torch.Tensor)
    assert (len(source.train), len(source.test), source.val) == (1437, 360, None)
    assert source.train.images.shape[1:] == (1, 8, 8)
    ours = torch.cat([source.train.images, source.test.images]).float().flatten(1)  # pyright: ignore
    theirs = torch.from_numpy(load_digits().data).float() * 255 / 16  # pyright: ignore
    assert (ours.sort(dim=0).values - theirs.sort(dim=0).values).abs().max() <= 0.5  # rounded to whole levels


def test_mean_and_std_of_digits_are_those_of_the_training_images() -> None:
    source = digits(Path())
    pixels = source.train.images.float() / 255  # pyright: ignore
    assert source.mean[0] == pytest.approx(pixels.mean().item(), abs=0.002)  # written with three digits
    assert source.std[0] == pytest.approx(pixels.std().item(), abs=0.002)


def test_training_and_test_digits_are_apart_and_always_the_same() -> None:
    first, second = digits(Path()), digits(Path())
    assert torch.equal(first.train.images, second.train.images)  # pyright: ignore
    train = {bytes(image.numpy()) for image in first.train.images}  # pyright: ignore
    test = {bytes(image.numpy()) for image in first.test.images}  # pyright: ignore
    assert not train & test
