"""The order of images is a function of seed and epoch, shared out fairly."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vit.data.order import ImageKey, Order, Stream, evaluation_batches, keyed_randomness, keyed_seed


def test_an_epoch_holds_every_image_once_but_those_that_fill_no_step() -> None:
    order = Order(num_images=23, batch_size=5)
    indices, copies = order.epoch(0)
    assert indices.shape == (4, 5) == (len(order), 5)
    assert len(set(indices.flatten().tolist())) == 20
    assert not copies.any()
    left_out = [set(range(23)) - set(order.epoch(epoch)[0].flatten().tolist()) for epoch in range(100)]
    assert set.union(*left_out) == set(range(23))  # never the same three


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    first = Order(num_images=50, batch_size=7, seed=3)
    torch.manual_seed(0)
    expected = first.epoch(2)[0]
    torch.manual_seed(1)
    assert torch.equal(Order(num_images=50, batch_size=7, seed=3).epoch(2)[0], expected)
    assert not torch.equal(first.epoch(3)[0], expected)
    assert not torch.equal(Order(num_images=50, batch_size=7, seed=4).epoch(2)[0], expected)


def test_without_shuffling_every_epoch_is_the_images_as_they_are() -> None:
    assert Order(num_images=7, batch_size=3, shuffle=False).epoch(5)[0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("settings", [{}, {"repeats": 3}, {"balance": torch.arange(61) % 4}])
def test_two_devices_take_together_what_one_takes_with_the_doubled_batch(settings: dict[str, object]) -> None:
    one = Order(num_images=61, batch_size=10, seed=1, **settings)  # pyright: ignore
    two = [Order(num_images=61, batch_size=5, seed=1, rank=rank, world_size=2, **settings) for rank in (0, 1)]  # pyright: ignore
    assert len(one) == len(two[0]) == 6
    together = torch.cat([order.epoch(4)[0] for order in two], dim=1)
    assert torch.equal(together.sort(dim=1).values, one.epoch(4)[0].sort(dim=1).values)


def test_repeated_augmentation_shows_copies_of_an_image_in_one_step() -> None:
    order = Order(num_images=60, batch_size=12, repeats=3)
    indices, copies = order.epoch(0)
    for batch, copy in zip(indices, copies, strict=True):
        assert batch.bincount()[batch].tolist() == [3] * 12
        assert sorted(copy.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    looks = {*zip(indices.flatten().tolist(), copies.flatten().tolist(), strict=True)}
    assert len(looks) == 60
    assert len(indices.unique()) == 20


def test_neighbours_in_a_batch_are_seldom_copies_since_mixup_pairs_them() -> None:
    indices, _ = Order(num_images=3000, batch_size=100, repeats=3).epoch(0)
    assert (indices == indices.roll(1, dims=1)).float().mean() < 0.05  # 2 of 3 if they stood side by side


def test_balanced_sampling_shows_every_class_equally_often() -> None:
    labels = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    indices, copies = Order(num_images=60, batch_size=1, balance=labels).epoch(0)
    assert labels[indices.flatten()].bincount().tolist() == [20, 20, 20]
    often = indices.flatten().bincount(minlength=60)
    assert often[:40].max() == 1  # of the large class a half
    assert set(often[40:55].tolist()) == {1, 2}  # of the middle one each, and five again
    assert often[55:].tolist() == [4] * 5
    assert copies.max() == 3
    looks = {*zip(indices.flatten().tolist(), copies.flatten().tolist(), strict=True)}
    assert len(looks) == 60  # no two looks have one key, and so the same changes


def test_balanced_sampling_is_as_even_where_images_are_repeated() -> None:
    labels = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    indices, copies = Order(num_images=60, batch_size=3, balance=labels, repeats=2).epoch(0)
    assert labels[indices.flatten()].bincount().tolist() == [20, 20, 20]  # ten draws of each class, two copies of each
    assert set(indices.flatten().bincount().tolist()) == {0, 2, 4}
    assert copies.max() == 3


@given(images=st.integers(1, 300), batch=st.integers(1, 40), devices=st.integers(1, 9))
def test_evaluation_sees_each_image_once_in_equally_many_batches(images: int, batch: int, devices: int) -> None:
    if images < devices:
        return
    parts = [evaluation_batches(images, batch, rank, devices) for rank in range(devices)]
    assert sorted(torch.cat([torch.cat(part) for part in parts]).tolist()) == list(range(images))
    assert len({len(part) for part in parts}) == 1
    for same_time in zip(*parts, strict=True):
        sizes = [len(indices) for indices in same_time]
        assert min(sizes) >= 1
        assert max(sizes) <= min(sizes) + 1 <= batch + 2


def test_evaluation_is_in_order_and_its_batches_are_nearly_equal() -> None:
    assert [batch.tolist() for batch in evaluation_batches(7, 3)] == [[0, 1, 2], [3, 4], [5, 6]]


def test_no_batch_is_of_a_second_size_where_that_can_be() -> None:  # a model would be compiled for it
    assert {len(batch) for batch in evaluation_batches(1000, 256)} == {250}


def test_one_image_too_many_joins_the_last_round() -> None:
    assert [batch.tolist() for batch in evaluation_batches(9, 1, rank=0, world_size=8)] == [[0, 8]]
    assert [batch.tolist() for batch in evaluation_batches(9, 1, rank=7, world_size=8)] == [[7]]


def test_fewer_images_than_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 images cannot be shared by 3 devices; evaluate on one\."):
        evaluation_batches(2, 5, world_size=3)


def test_a_step_of_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size=5 takes 5 images a step, more than the 4 training images; lower"):
        Order(num_images=4, batch_size=5)
    with pytest.raises(ValueError, match=r"batch_size=5 on 2 devices takes 10 images a step, more than the 9 training"):
        Order(num_images=9, batch_size=5, world_size=2)


def test_near_keys_give_unrelated_seeds() -> None:
    keys = [(a, b, c) for a in range(20) for b in range(20) for c in range(20)]
    low = torch.tensor([keyed_seed(*key) & 0xFFFFFFFF for key in keys], dtype=torch.int64)
    assert len(low.unique()) == len(keys)
    bits = (low[:, None] >> torch.arange(32)) & 1
    assert (bits.float().mean(dim=0) - 0.5).abs().max() < 0.03  # chance: 0.0056 standard deviation
    assert keyed_seed(0) == 0xE220A8397B1DCDAF  # the published first number of splitmix64 from 0


def test_keyed_randomness_repeats_and_leaves_the_numbers_outside_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first_outside = torch.rand(1)
    with keyed_randomness(Stream.IMAGE, *ImageKey(seed=1, epoch=2, image=3)):
        inside = torch.rand(4)
    assert torch.equal(torch.cat([first_outside, torch.rand(1)]), expected)
    random.seed(0)
    with keyed_randomness(Stream.IMAGE, *ImageKey(seed=1, epoch=2, image=3)):
        assert torch.equal(torch.rand(4), inside)
    with keyed_randomness(Stream.IMAGE, *ImageKey(seed=1, epoch=2, image=3, copy=1)):
        assert not torch.equal(torch.rand(4), inside)


SHARDS = torch.arange(120) // 10
"""Of 120 images, in 12 shards."""


def seen(epoch: int = 0, batch_size: int = 5, **settings: int) -> list[int]:
    order = Order(num_images=120, batch_size=batch_size, shards=SHARDS, **settings)
    return order.epoch(epoch)[0].flatten().tolist()


def test_images_of_shards_come_once_an_epoch_in_an_order_of_seed_and_epoch() -> None:
    assert sorted(seen()) == list(range(120))
    assert seen(seed=3) == seen(seed=3)
    assert len({tuple(seen(epoch, seed=seed)) for epoch in range(2) for seed in range(2)}) == 4
    assert seen() != sorted(seen())


def test_images_that_are_shuffled_together_lie_in_few_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit.data.order.SHUFFLED_TOGETHER", 30)
    indices = torch.tensor(seen(epoch=4))
    touched = [len(SHARDS[stretch].unique()) for stretch in indices.split(30)]
    assert touched == [3, 3, 3, 3]  # each stretch of 30 images is three whole shards
    inside = SHARDS[indices[:30]]
    assert len(inside[:10].unique()) > 1  # and they are mixed within it
    assert len(SHARDS[torch.tensor(seen())[:30]].unique()) >= 3


def test_devices_read_shards_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit.data.order.SHUFFLED_TOGETHER", 30)
    first, second = (torch.tensor(seen(rank=rank, world_size=2)) for rank in range(2))
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(120))
    assert not set(SHARDS[first].tolist()) & set(SHARDS[second].tolist())
