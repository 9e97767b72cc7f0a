"""Each change does what it says, to every image in its own way."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from vit.data.augment import Augmentation
from vit.data.on_device import augment_batch
from vit.data.order import BatchKey


def images(b: int = 5, c: int = 3, h: int = 7, w: int = 11) -> Tensor:
    return torch.randint(1, 256, (b, c, h, w), dtype=torch.uint8)  # never 0, so that black is what was put there


def shifted_by_hand(image: Tensor, down: int, right: int) -> Tensor:
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def changed(batch: Tensor, augmentation: Augmentation, number: int = 0) -> Tensor:
    return augment_batch(batch, augmentation, BatchKey(seed=1, epoch=2, number=number))


def test_the_defaults_change_nothing() -> None:
    batch = images()
    assert torch.equal(changed(batch, Augmentation()), batch)


def test_a_shifted_image_is_one_shifted_by_hand_and_all_shifts_occur() -> None:
    one = images(b=1)
    moved = changed(one.expand(200, -1, -1, -1), Augmentation(shift=1))
    by_hand = {(d, r): shifted_by_hand(one[0], d, r) for d in (-1, 0, 1) for r in (-1, 0, 1)}
    seen = [[key for key, image in by_hand.items() if torch.equal(image, result)] for result in moved]
    assert all(len(keys) == 1 for keys in seen)
    assert {keys[0] for keys in seen} == set(by_hand)


def test_only_a_share_of_the_images_is_shifted() -> None:
    one = images(b=1)
    moved = changed(one.expand(1000, -1, -1, -1), Augmentation(shift=2, shift_probability=0.5))
    unmoved = sum(torch.equal(image, one[0]) for image in moved)
    assert 460 < unmoved < 580  # half are left alone, and 1 in 25 of the others is shifted by nothing: 520


def test_a_flip_mirrors_left_and_right_exactly() -> None:
    batch = images()
    flipped = changed(batch, Augmentation(flip=1.0))
    for row in range(batch.shape[2]):
        for column in range(batch.shape[3]):
            assert torch.equal(flipped[:, :, row, column], batch[:, :, row, batch.shape[3] - 1 - column])


def test_a_flip_falls_on_each_image_by_itself() -> None:
    batch = images(b=400)
    flipped = changed(batch, Augmentation(flip=0.25))
    mirrored = [torch.equal(result, image.flip(-1)) for result, image in zip(flipped, batch, strict=True)]
    kept = [torch.equal(result, image) for result, image in zip(flipped, batch, strict=True)]
    assert sum(mirrored) + sum(kept) == 400
    assert 70 < sum(mirrored) < 130


def test_an_erased_part_is_one_black_rectangle_of_2_to_20_per_cent() -> None:
    batch = images(b=300, h=32, w=40)
    erased = changed(batch, Augmentation(erase=1.0))
    shares = []
    for before, after in zip(batch, erased, strict=True):
        black = (after == 0).all(dim=0)
        rows, columns = black.any(dim=1), black.any(dim=0)
        assert torch.equal(black, rows[:, None] & columns[None, :])  # a rectangle of all channels
        assert (rows.int().diff().abs().sum() <= 2) & (columns.int().diff().abs().sum() <= 2)  # in one piece
        assert torch.equal(after[:, ~black], before[:, ~black])
        shares.append(black.float().mean().item())
    assert 0.01 < min(shares) < 0.03  # whole pixels round 2 % to 1.x
    assert 0.17 < max(shares) < 0.23
    assert 0.1 < sum(shares) / len(shares) < 0.12  # evenly between: 11 % on average


def test_every_pixel_is_sometimes_erased_those_at_the_border_too() -> None:
    often = (changed(images(b=3000, c=1, h=8, w=6), Augmentation(erase=1.0)) == 0).float().sum(dim=(0, 1))
    assert often.min() > 0
    assert_close(often, often.flip(0).flip(1), rtol=0.35, atol=0)  # chance alone moves counts of some 100 by 20 %


def test_erasing_a_small_image_always_covers_something() -> None:
    erased = changed(images(b=300, h=8, w=8), Augmentation(erase=1.0))
    assert (erased == 0).flatten(1).any(dim=1).all()


def test_every_image_of_a_batch_is_changed_in_its_own_way() -> None:
    batch = images(b=1, h=16, w=16).expand(64, -1, -1, -1)
    different = changed(batch, Augmentation(shift=4, flip=0.5, erase=0.5))
    assert len(torch.unique(different, dim=0)) > 50


def test_the_same_key_gives_the_same_changes_and_another_batch_others() -> None:
    batch, changes = images(), Augmentation(shift=2, flip=0.5, erase=0.5, policy="trivial")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = changed(batch, changes)
    assert torch.equal(changed(batch, changes), first)
    assert not torch.equal(changed(batch, changes, number=1), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"flip": 1.5}, r"flip=1\.5 is not a probability; it must be from 0 to 1\."),
        ({"erase": -0.1}, r"erase=-0\.1 is not a probability"),
        ({"shift_probability": 2.0}, r"shift_probability=2\.0 is not a probability"),
        ({"shift": -1}, r"shift=-1 must be 0 pixels or more\."),
        ({"crop_scale": (0.5, 0.2)}, r"crop_scale=\(0\.5, 0\.2\) must be two shares of the area"),
        ({"crop_ratio": (2.0, 1.0)}, r"crop_ratio=\(2\.0, 1\.0\) must be two widths by height"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, r"color_jitter=.* the last, of hue, at most 0\.5\."),
        ({"mixup": -1.0}, r"mixup=-1\.0 must be a number of at least 0\."),
        ({"repeats": 0}, r"repeats=0 must be a number of at least 1\."),
        ({"cutmix_share": 1.2}, r"cutmix_share=1\.2 is not a probability"),
        ({"crop_scale": (0.0, 1.0)}, r"crop_scale=\(0\.0, 1\.0\) must be"),
    ],
)
def test_a_number_out_of_range_is_explained(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Augmentation(**wrong)  # pyright: ignore
