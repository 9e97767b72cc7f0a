"""Weights of unequally large classes."""

import math

import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.testing import assert_close

from vit.data.balance import class_counts, class_weights, describe

LABELS = torch.tensor([0] * 6 + [1] * 3 + [2])


def test_auto_is_what_scikit_learn_calls_balanced() -> None:
    weights = class_weights("auto", LABELS, ("a", "b", "c"))
    assert weights is not None
    expected = compute_class_weight("balanced", classes=LABELS.unique().numpy(), y=LABELS.numpy())
    assert_close(weights, torch.from_numpy(expected).float())
    assert_close(weights * torch.tensor(class_counts(LABELS, 3)), torch.full((3,), 10 / 3))


def test_weights_go_by_name_and_those_left_out_weigh_1() -> None:
    assert class_weights({"c": 4.0}, LABELS, ("a", "b", "c")).tolist() == [1, 1, 4]  # pyright: ignore


def test_a_number_that_yaml_made_of_a_name_is_that_name_and_a_truth_value_is_refused() -> None:
    weights: dict[str | int, float] = {1: 2.0, "10": 3.0}
    assert class_weights(weights, LABELS, ("1", "2", "10")).tolist() == [2, 1, 3]  # pyright: ignore
    of_yes: dict[str | int, float] = {True: 2.0}
    with pytest.raises(ValueError, match=r"class_weights names True, .* put the name in quotes"):
        class_weights(of_yes, LABELS, ("yes", "no", "10"))


def test_no_weights_are_none() -> None:
    assert class_weights("none", LABELS, ("a", "b", "c")) is None


def test_wrong_weights_are_explained() -> None:
    with pytest.raises(ValueError, match=r"class_weights names 'dgo', which is no class; did you mean 'dog'\?"):
        class_weights({"dgo": 2.0}, LABELS, ("cat", "dog", "owl"))
    with pytest.raises(ValueError, match=r"class_weights gives 'dog' the weight 0\.0; it must be a number above 0\."):
        class_weights({"dog": 0.0}, LABELS, ("cat", "dog", "owl"))
    with pytest.raises(ValueError, match=r"class_weights gives 'dog' the weight inf"):
        class_weights({"dog": math.inf}, LABELS, ("cat", "dog", "owl"))


def test_the_table_of_classes_says_counts_weights_and_how_often_each_is_shown() -> None:
    table = describe(LABELS, ("a", "bb", "ccccc"), torch.tensor([0.5, 1.0, 3.33]), "balanced").splitlines()
    assert table == [
        "class  images  weight  shown an epoch",
        "a           6     0.5               3",
        "bb          3       1               3",
        "ccccc       1    3.33               3",
    ]
    assert describe(LABELS, ("a", "b", "c"), None, "shuffled").splitlines()[1].split() == ["a", "6", "1", "6"]
