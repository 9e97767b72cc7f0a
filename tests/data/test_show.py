"""What is drawn is what a model is trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from vit.data.augment import Augmentation
from vit.data.decode import UnreadableImageError
from vit.data.module import ImageDataModule
from vit.data.preprocess import load_image, normalise, unnormalise
from vit.data.show import batch, draws, figure_of_batch, figure_of_draws, original, readable, settings
from vit.data.sources.labelled import name_of

MakeFolder = Callable[..., Path]


def digits(**changes: object) -> ImageDataModule:
    return ImageDataModule("digits", **{"image_size": 8, "batch_size": 5, **changes})  # pyright: ignore


def test_normalising_and_back_gives_the_pixels() -> None:
    data = digits()
    pixels = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    assert_close(unnormalise(normalise(pixels, data.preprocessing), data.preprocessing), pixels)


def test_the_batch_is_the_first_one_of_training() -> None:
    data = digits(augmentation=Augmentation(shift=2, flip=0.5))
    samples = batch(data)
    again = digits(augmentation=Augmentation(shift=2, flip=0.5))
    images, labels = again.on_after_batch_transfer(next(iter(again.train_dataloader())), 0)
    assert_close(torch.stack([sample.pixels for sample in samples]), unnormalise(images, again.preprocessing))
    assert [sample.target for sample in samples] == [again.classes[label] for label in labels]
    # unchanged, each sample is its original
    for sample in batch(digits()):
        assert torch.equal(sample.pixels, original(data, sample.place))


def test_draws_are_of_one_image_and_differ() -> None:
    data = digits(augmentation=Augmentation(shift=3), batch_size=100)
    samples = draws(data, place=7, number=6)
    assert {sample.place for sample in samples} == {7}
    assert len({bytes(sample.pixels.numpy()) for sample in samples}) > 1
    assert all(torch.equal(sample.pixels, original(data, 7)) for sample in draws(digits(), 7, 2))


def test_mixed_labels_have_their_shares() -> None:
    data = digits(augmentation=Augmentation(mixup=1.0), batch_size=100)
    targets = [sample.target for sample in batch(data)]
    mixed = [target.split(" / ") for target in targets if "/" in target]
    assert len(mixed) > 50
    assert all(sum(float(part.split()[-1]) for part in parts) == pytest.approx(1, abs=0.011) for parts in mixed)
    assert {target for target in targets if "/" not in target} <= set(data.classes)  # two images of one class


def test_originals_of_files_are_as_validation_sees_them(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]})
    data = ImageDataModule("folder", root=str(root), image_size=6, batch_size=2, num_workers=0)
    path = data.train.images[4]
    assert isinstance(path, Path)
    assert torch.equal(original(data, 4), load_image(path, data.preprocessing))


def test_damaged_images_are_left_out_where_training_skips_them(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]})
    (root / "train/cat/1.png").write_bytes(b"no image")
    flags: dict[str, Any] = {"root": str(root), "image_size": 6, "batch_size": 6, "num_workers": 0}
    data = ImageDataModule("folder", **flags, on_error="skip")
    drawn = batch(data)
    assert len(readable(data, drawn, 4)[0]) == 4
    samples, errors = readable(data, drawn, 6)
    for sample in samples:  # and nobody has its neighbour's place
        assert torch.equal(sample.pixels, original(data, sample.place))
    assert {sample.place for sample in samples} == {0, 2, 3, 4, 5}
    assert [str(error) for error in errors] == [
        f"{root / 'train/cat/1.png'}: not an image, or damaged beyond recognition."
    ]
    with pytest.raises(UnreadableImageError, match=r"1\.png"):
        draws(data, 1, 3)
    strict = ImageDataModule("folder", **flags)
    with pytest.raises(UnreadableImageError, match=r"1\.png"):
        readable(strict, batch(strict), 6)


def test_a_batch_of_damaged_images_alone_is_an_error(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]})
    data = ImageDataModule("folder", root=str(root), image_size=6, batch_size=2, num_workers=0, on_error="skip")
    samples = batch(data)
    for sample in samples:
        Path(name_of(data.train.images, sample.place)).write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"no image of this batch can be read; the first of them: .*\.png"):
        readable(data, samples, 2)


def test_what_is_set_is_in_the_title() -> None:
    assert settings(digits(augmentation=Augmentation(flip=0.5, shift=2))) == "flip 0.5, shift 2"
    assert settings(digits()) == "no augmentation"


def test_figures_have_a_cell_for_each_image() -> None:
    data = digits()
    samples = batch(data)
    drawn = [axes for axes in figure_of_batch(data, samples, "title").axes if axes.images]
    assert len(drawn) == 10  # five originals, five that are trained on
    drawn = [axes for axes in figure_of_draws(data, samples[:1] * 3, "title").axes if axes.images]
    assert len(drawn) == 4


def test_a_name_in_any_script_is_drawn_without_a_warning() -> None:
    data = digits()
    names = ("猫", "🐈", "été", "$x_$", "a\nb", *"56789")
    object.__setattr__(data.source, "classes", names)
    samples = draws(data, data.train.labels.tolist().index(0), 1) + draws(data, data.train.labels.tolist().index(1), 1)
    figure_of_batch(data, samples, "猫 $x_$").canvas.draw()  # type: ignore
