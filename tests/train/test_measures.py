"""Every figure is what independent implementations and hand cases give, and its interval what it is said to be."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor
from torchmetrics.functional import classification as torchmetrics

from vit.train.measures import BINS, Figure, Measures, Outcomes, bins_of, calibration_error, measure, wilson_interval

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def predictions(images: int = 211, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Log-probabilities that are right more often than not, and labels; the last class has neither."""
    labels = torch.randint(classes - 1, (images,))
    logits = torch.randn(images, classes) + 2 * torch.nn.functional.one_hot(labels, classes)
    logits[:, -1] = -20
    return logits.log_softmax(dim=1), labels


@pytest.fixture(scope="module")
def measured() -> tuple[Tensor, Tensor, Measures]:
    torch.manual_seed(0)
    logs, labels = predictions()
    return logs, labels, measure(Outcomes.of(logs, labels), NAMES)


def test_shares_of_images_are_scikit_learns(measured: tuple[Tensor, Tensor, Measures]) -> None:
    logs, labels, ours = measured
    assert ours.top_1.value == pytest.approx(metrics.accuracy_score(labels, logs.argmax(1)))
    top_5 = metrics.top_k_accuracy_score(labels, logs.exp(), k=5, labels=range(7))
    assert (ours.k, ours.top_k.value) == (5, pytest.approx(top_5))
    assert 0 < ours.top_1.value < ours.top_k.value < 1  # so that this says something
    assert ours.images == 211


def test_macro_figures_are_scikit_learns_over_the_classes_that_have_images(
    measured: tuple[Tensor, Tensor, Measures],
) -> None:
    logs, labels, ours = measured
    there = range(6)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, logs.argmax(1), average="macro", labels=there, zero_division=0
    )
    assert ours.macro_recall.value == pytest.approx(recall)
    assert ours.macro_recall.value == pytest.approx(metrics.balanced_accuracy_score(labels, logs.argmax(1)))
    assert ours.macro_precision.value == pytest.approx(precision)
    assert ours.macro_f1.value == pytest.approx(f1)


def test_the_figures_of_a_class_are_scikit_learns(measured: tuple[Tensor, Tensor, Measures]) -> None:
    logs, labels, ours = measured
    theirs = metrics.precision_recall_fscore_support(labels, logs.argmax(1), labels=range(6))
    for one, precision, recall, f1, support in zip(ours.classes[:6], *theirs, strict=True):
        assert one.recall is not None
        assert one.precision is not None
        assert (one.precision.value, one.recall.value, one.f1, one.images) == pytest.approx(
            (precision, recall, f1, support)
        )
    assert [one.name for one in ours.classes] == list(NAMES)


def test_a_class_without_images_and_predictions_has_no_figures(measured: tuple[Tensor, Tensor, Measures]) -> None:
    nothing = measured[2].classes[-1]
    assert (nothing.images, nothing.predicted, nothing.right) == (0, 0, 0)
    assert nothing.recall is nothing.precision is nothing.f1 is None


def test_nll_and_brier_score_are_scikit_learns(measured: tuple[Tensor, Tensor, Measures]) -> None:
    logs, labels, ours = measured
    probabilities = logs.double().exp() / logs.double().exp().sum(1, keepdim=True)
    assert ours.nll.value == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(7)), abs=1e-6)
    assert ours.brier.value == pytest.approx(
        metrics.brier_score_loss(labels, probabilities, labels=list(range(7)), scale_by_half=False), abs=1e-6
    )


def test_ece_is_torchmetrics(measured: tuple[Tensor, Tensor, Measures]) -> None:
    logs, labels, ours = measured
    theirs = torchmetrics.multiclass_calibration_error(logs.exp(), labels, num_classes=7, n_bins=BINS, norm="l1")
    assert ours.ece.value == pytest.approx(float(theirs), abs=1e-6)


def test_figures_of_four_images_worked_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], dtype=torch.float64)
    ours = measure(Outcomes.of(probabilities.log(), torch.tensor([0, 1, 1, 0])), ("no", "yes"))
    assert ours.top_1.value == 0.5
    assert (ours.k, ours.top_k.value) == (2, 1.0)  # there are no five classes
    assert ours.nll.value == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.3]).mean())
    assert ours.brier.value == pytest.approx(np.mean([2 * 0.1**2, 2 * 0.6**2, 2 * 0.2**2, 2 * 0.7**2]))
    # bins of 1/15: 0.6 and 0.7 and 0.8 and 0.9 are alone in theirs
    assert ours.ece.value == pytest.approx((0.1 + 0.6 + 0.2 + 0.7) / 4)
    assert [(one.images, one.predicted, one.right) for one in ours.classes] == [(2, 2, 1), (2, 2, 1)]


def test_equally_likely_classes_count_once() -> None:
    even = Outcomes.of(torch.full((3, 3), 1 / 3).log(), torch.tensor([0, 1, 2]))
    assert even.rank.tolist() == [0, 1, 2]
    assert even.predicted.tolist() == [0, 0, 0]
    assert measure(even, "abc").top_1.value == pytest.approx(1 / 3)


def test_a_confidence_of_one_is_in_the_last_bin_and_a_bound_in_the_upper_one() -> None:
    assert bins_of(np.array([0.0, 0.2, 0.5, 0.999, 1.0])).tolist() == [0, 3, 7, 14, 14]


def test_no_image_is_refused() -> None:
    nothing = Outcomes.of(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="there is no image to measure on"):
        measure(nothing, "abc")


def test_wilson_intervals_worked_by_hand() -> None:
    # p = 1/2, n = 10: centre 1/2, half-width 1.96 / 1.38416 * sqrt(.025 + .0096036)
    low, high = wilson_interval(0.5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    low, high = wilson_interval(1.0, 100)
    assert (low, high) == (pytest.approx(0.9630, abs=1e-4), pytest.approx(1.0))
    assert wilson_interval(0.0, 7)[0] == 0


def test_the_interval_of_a_mean_is_1_96_standard_errors_to_both_sides(
    measured: tuple[Tensor, Tensor, Measures],
) -> None:
    logs, labels, ours = measured
    nll = -logs.gather(1, labels[:, None]).squeeze()
    half = 1.96 * float(nll.std()) / 211**0.5
    assert ours.nll.high - ours.nll.value == pytest.approx(half, rel=0.2)  # 1,000 resamples, and a skewed sample
    assert ours.nll.value - ours.nll.low == pytest.approx(half, rel=0.2)


def test_every_interval_holds_its_figure_and_the_same_seed_gives_the_same(
    measured: tuple[Tensor, Tensor, Measures],
) -> None:
    logs, labels, ours = measured
    figures = [getattr(ours, field.name) for field in dataclasses.fields(ours)]
    figures = [one for one in figures if isinstance(one, Figure)]
    assert len(figures) == 8
    assert all(one.low <= one.value <= one.high and one.low < one.high for one in figures)
    outcomes = Outcomes.of(logs, labels)
    assert measure(outcomes, NAMES) == ours
    assert measure(outcomes, NAMES, seed=1).nll != ours.nll


def test_the_ece_of_a_calibrated_model_is_told_from_that_of_one_that_is_too_sure() -> None:
    logits = 2 * torch.randn(500, 3)
    labels = torch.distributions.Categorical(logits=logits).sample()
    calibrated = measure(Outcomes.of(logits.log_softmax(1), labels), "abc")
    too_sure = measure(Outcomes.of((3 * logits).log_softmax(1), labels), "abc")
    assert calibrated.ece_if_calibrated == pytest.approx(calibrated.ece.value, rel=0.6)  # all of it is noise
    assert calibrated.ece.low < 0.02
    assert too_sure.ece.low > 3 * too_sure.ece_if_calibrated


def test_calibration_error_worked_by_hand() -> None:
    confidence, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, False, True, False])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
