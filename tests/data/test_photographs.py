"""Photographs are cropped as torchvision crops them, and changed by their key."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from vit.data.augment import Augmentation
from vit.data.order import ImageKey
from vit.data.photographs import Photographs, RandomChange, crop_box
from vit.data.preprocess import load_image, to_tensor
from vit.nn import Preprocessing

MakeFolder = Callable[..., Path]
SPEC = Preprocessing(image_size=(6, 10), mean=(0.5,) * 3, std=(0.5,) * 3)


def picture(width: int = 53, height: int = 41) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([4 * columns, 5 * rows, 100 + 50 * np.sin(columns / 5 + rows / 7)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("size", [(53, 41), (400, 30)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    scale, ratio = (0.08, 1.0), (0.75, 1.333)
    ours = torch.tensor([crop_box(size, scale, ratio) for _ in range(3000)]).double()
    theirs = []
    crop = v2.RandomResizedCrop(5, scale=scale, ratio=ratio)
    for _ in range(3000):
        box = crop.make_params([torch.empty(3, size[1], size[0])])
        theirs.append([box["left"], box["top"], box["left"] + box["width"], box["top"] + box["height"]])
    theirs = torch.tensor(theirs).double()
    spread = (ours.std(dim=0) + theirs.std(dim=0)) / 2
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() <= 0.1 * spread + 0.3).all()  # 4 standard errors
    assert ((ours.std(dim=0) - theirs.std(dim=0)).abs() <= 0.1 * spread + 0.3).all()
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2:] <= torch.tensor(size)).all()
    assert ((ours.amin(dim=0) - theirs.amin(dim=0)).abs() <= 2).all()  # the ends are reached
    assert ((ours.amax(dim=0) - theirs.amax(dim=0)).abs() <= 2).all()


def test_a_crop_is_resized_as_torchvision_resizes_its_tensor() -> None:
    whole = Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(53 / 41, 53 / 41))
    for interpolation in ("bilinear", "bicubic", "nearest"):
        changed = RandomChange(Augmentation(**{**vars(whole), "crop_interpolation": interpolation}), SPEC)(picture())
        mode = v2.InterpolationMode("nearest-exact" if interpolation == "nearest" else interpolation)
        expected = v2.functional.resize(to_tensor(picture()), [6, 10], interpolation=mode, antialias=True)
        assert torch.equal(changed, expected)


def test_mirroring_mirrors_what_was_cropped_and_resized() -> None:
    changes = Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(53 / 41, 53 / 41), flip=1.0)
    expected = v2.functional.resize(to_tensor(picture()), [6, 10], antialias=True).flip(-1)
    assert torch.equal(RandomChange(changes, SPEC)(picture()), expected)


def test_without_a_crop_the_picture_is_what_prediction_sees_but_mirrored(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    data = Photographs([tmp_path / "a.png"], torch.tensor([1]), SPEC, Augmentation(flip=1.0))
    assert torch.equal(data[ImageKey(0, 0, 0)][0], load_image(str(tmp_path / "a.png"), SPEC).flip(-1))
    assert torch.equal(data[0][0], load_image(str(tmp_path / "a.png"), SPEC))


def test_colours_change_by_the_key(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    changes = Augmentation(color_jitter=(0.4, 0.4, 0.4, 0.1))
    data = Photographs([tmp_path / "a.png"], torch.tensor([1]), SPEC, changes)
    first, again, other = (data[ImageKey(0, epoch, 0)][0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, load_image(str(tmp_path / "a.png"), SPEC))


def test_greys_stay_one_channel(tmp_path: Path) -> None:
    picture().convert("L").save(tmp_path / "a.png")
    spec = Preprocessing(image_size=(6, 10), mean=(0.5,), std=(0.5,))
    changes = Augmentation(crop_scale=(0.3, 1.0), flip=0.5, policy="trivial")
    assert Photographs([tmp_path / "a.png"], torch.tensor([1]), spec, changes)[ImageKey(0, 0, 0)][0].shape == (1, 6, 10)


def test_of_many_skipped_images_the_first_are_named() -> None:
    data = Photographs([Path(f"{number}.jpg") for number in range(1500)], torch.zeros(1500), SPEC)
    assert data.skipped(data.damaged) is None
    data.damaged[2:] = True
    assert data.skipped(data.damaged) == (
        "1,498 of 1,500 training images could not be read; others were shown in their place: 2.jpg, 3.jpg, 4.jpg, "
        "5.jpg, 6.jpg and 1,493 more, which vit data check names."
    )
