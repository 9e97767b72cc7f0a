"""Splits and subsets: every class in its share, the same images for the same seed."""

from pathlib import Path

import pytest
import torch

from vit.data.sources import (
    Labelled,
    Source,
    share_of_each_class,
    some_of_each_class,
    stratified_split,
    with_test_apart,
)


def test_a_split_takes_its_share_of_every_class_and_each_image_once() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    everything = Labelled(torch.arange(100).reshape(100, 1, 1, 1).to(torch.uint8), labels)
    kept, apart = stratified_split(everything, fraction=0.2, seed=7)
    assert torch.bincount(apart.labels).tolist() == [10, 6, 4]
    indices = torch.cat([kept.images, apart.images]).flatten()  # pyright: ignore
    assert sorted(indices.tolist()) == list(range(100))
    assert kept.images.flatten().tolist() == sorted(kept.images.flatten().tolist())  # pyright: ignore  # in order


def test_a_split_depends_on_its_seed_alone() -> None:
    everything = Labelled(torch.arange(60).reshape(60, 1, 1, 1).to(torch.uint8), torch.arange(60) % 3)
    first, other = (stratified_split(everything, 0.3, seed)[1].images.flatten().tolist() for seed in (1, 2))  # pyright: ignore
    torch.manual_seed(99)
    again = stratified_split(everything, 0.3, 1)[1].images.flatten().tolist()  # pyright: ignore
    assert first == again
    assert first != other


def test_labels_stay_with_their_images_through_a_split() -> None:
    labels = torch.arange(60) % 3
    for part in stratified_split(Labelled([Path(str(i)) for i in range(60)], labels), 0.3, 1):
        assert [int(path.name) % 3 for path in part.images] == part.labels.tolist()  # pyright: ignore


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="leaves some class with none, the smallest has 1"):
        stratified_split(numbered([1, 1]), 0.5, 0)


def test_what_would_work_is_said_by_the_name_of_the_setting() -> None:
    with pytest.raises(
        ValueError, match=r"smallest has 40; data\.val_fraction=0\.03 is the least for 3 classes, or give"
    ):
        stratified_split(numbered([40, 40, 40]), 0.02, 0)
    stratified_split(numbered([40, 40, 40]), 0.03, 0)
    with pytest.raises(ValueError, match=r"smallest has 40; lower data\.test_fraction, or give"):
        stratified_split(numbered([40, 40, 40]), 0.98, 0, "data.test_fraction")
    with pytest.raises(
        ValueError, match=r"smallest has 2; add images to the smallest class or lower data\.val_fraction"
    ):
        stratified_split(numbered([200, 2]), 0.9, 0)


def test_a_class_without_images_in_the_part_split_off_is_told_of() -> None:
    everything = Source(classes=("a", "b", "rare"), train=numbered([60, 41, 3]))
    test = with_test_apart(everything, 0.1)
    assert test.test is not None
    assert torch.bincount(test.test.labels, minlength=3).tolist() == [7, 4, 0]
    assert test.notes == ("the test part, split from train, has no image of rare: its figures say nothing about them.",)
    assert with_test_apart(everything, 0.4).notes == ()


def numbered(sizes: list[int]) -> Labelled:
    """Images of one pixel with their number, so many of each class, the classes by turns as long as they last."""
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    return Labelled(torch.arange(len(labels)).reshape(-1, 1, 1, 1).to(torch.uint8), labels)


def numbers(part: Labelled) -> list[int]:
    assert isinstance(part.images, torch.Tensor)
    return part.images.flatten().tolist()


def test_a_fraction_is_of_every_class_and_at_least_one_image() -> None:
    part = share_of_each_class(numbered([50, 30, 2]), 0.1, seed=0)
    assert torch.bincount(part.labels).tolist() == [5, 3, 1]
    assert numbers(part) == sorted(set(numbers(part)))


def test_a_number_a_class_takes_that_many_of_each_with_their_labels() -> None:
    everything = numbered([11, 7, 5])
    part = some_of_each_class(everything, 5, seed=0, classes="abc")
    assert torch.bincount(part.labels).tolist() == [5, 5, 5]
    assert [everything.labels[number].item() for number in numbers(part)] == part.labels.tolist()


def test_smaller_subsets_are_contained_in_larger_ones_of_the_same_seed() -> None:
    everything = numbered([40, 20])
    few, more = (share_of_each_class(everything, fraction, seed=4) for fraction in (0.2, 0.5))
    assert set(numbers(few)) < set(numbers(more)) < set(numbers(everything))
    assert set(numbers(some_of_each_class(everything, 4, 4, "ab"))) < set(numbers(more))
    assert numbers(few) != numbers(share_of_each_class(everything, 0.2, seed=5))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"data\.fraction={fraction} must be above 0 and at most 1"):
        share_of_each_class(numbered([3, 3]), fraction, 0)


def test_more_a_class_than_there_are_is_refused_with_the_smallest_class() -> None:
    with pytest.raises(ValueError, match=r"per_class=6 is more than the 5 training images of class 'b'; 5 is the most"):
        some_of_each_class(numbered([9, 5]), 6, 0, "ab")
    with pytest.raises(ValueError, match=r"per_class=0 must be at least 1"):
        some_of_each_class(numbered([9, 5]), 0, 0, "ab")
