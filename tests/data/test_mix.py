"""Mixed images come with the shares of their classes."""

import pytest
import torch
from torch.testing import assert_close

from vit.data.augment import Augmentation
from vit.data.mix import mix_batch
from vit.data.order import BatchKey


def key(number: int) -> BatchKey:
    return BatchKey(seed=3, epoch=1, number=number)


def test_mixup_mixes_images_and_targets_by_one_share() -> None:
    labels = torch.tensor([0, 1, 2])
    images = torch.tensor([10.0, 200.0, 3000.0])[:, None, None, None].expand(3, 2, 5, 7)
    mixed, targets = mix_batch(images, labels, Augmentation(mixup=1.0), 4, key(0))
    share = targets[0, 0].item()
    assert 0 < share < 1
    assert_close(targets[0], torch.tensor([share, 0, 1 - share, 0]))
    assert_close(mixed[0], torch.full((2, 5, 7), 10 * share + 3000 * (1 - share)))
    assert_close(targets.sum(dim=1), torch.ones(3))


def test_cutmix_takes_the_share_of_the_area() -> None:
    labels = torch.tensor([1, 0])
    images = labels.float()[:, None, None, None].expand(2, 3, 10, 20)
    for number in range(5):
        mixed, targets = mix_batch(images, labels, Augmentation(cutmix=1.0), 2, key(number))
        assert_close(mixed[0].mean(), targets[0, 1])
        assert mixed.unique().tolist() in ([0, 1], [0.0], [1.0])


def test_a_batch_of_one_and_an_odd_last_batch_are_fine() -> None:
    for size in (1, 3):
        images, labels = torch.rand(size, 1, 4, 4), torch.zeros(size, dtype=torch.long)
        mixed, targets = mix_batch(images, labels, Augmentation(mixup=1.0, cutmix=1.0), 2, key(0))
        assert mixed.shape == images.shape
        assert targets.shape == (size, 2)


@pytest.mark.parametrize(("probability", "share"), [(1.0, 0.5), (0.4, 0.25)])
def test_batches_are_mixed_as_often_and_in_the_way_asked_for(probability: float, share: float) -> None:
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    changes = Augmentation(mixup=1.0, cutmix=1.0, mix_probability=probability, cutmix_share=share)
    alone = cut = 0
    for number in range(400):
        mixed, targets = mix_batch(images, labels, changes, 2, key(number))
        alone += not targets.is_floating_point()
        cut += targets.is_floating_point() and bool(((mixed == images) | (mixed == images.flip(0))).all())
    assert abs(alone / 400 - (1 - probability)) < 0.08
    assert abs(cut / 400 - probability * share) < 0.08


def test_the_same_key_mixes_in_the_same_way_and_takes_no_random_number_from_outside() -> None:
    images, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    changes = Augmentation(mixup=0.8, cutmix=1.0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = mix_batch(images, labels, changes, 5, key(7)), mix_batch(images, labels, changes, 5, key(7))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(mix_batch(images, labels, changes, 5, key(8))[1], first[1])
