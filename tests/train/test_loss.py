"""Mixed targets, smoothing and class weights together: by hand, and against hard targets."""

import pytest
import torch
from torch.nn import functional as F

from vit.train.loss import training_loss

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.5, -3.0], [-1.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
LABELS = torch.tensor([0, 2, 1, 1, 0])
WEIGHTS = torch.tensor([0.2, 3.0, 1.7])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_an_index_and_a_target_of_one_class_give_the_same_loss(smoothing: float, weights: torch.Tensor | None) -> None:
    of_indices = training_loss(LOGITS, LABELS, smoothing, weights)
    of_shares = training_loss(LOGITS, F.one_hot(LABELS, 3).float(), smoothing, weights)
    torch.testing.assert_close(of_shares, of_indices)
    torch.testing.assert_close(of_indices, F.cross_entropy(LOGITS, LABELS, weights, label_smoothing=smoothing))


def test_a_mixed_target_worked_by_hand() -> None:
    # logits 2, 0, 0: the logarithm of the sum of exponentials is 2.2395; targets 0.6 and 0.4 become, with a third of
    # 0.3 spread over three classes, 0.52, 0.38 and 0.1
    loss = training_loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.6, 0.4, 0.0]]), smoothing=0.3)
    assert loss.item() == pytest.approx(2.2395 - 0.52 * 2, abs=1e-4)


def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses() -> None:
    first, second = F.one_hot(LABELS, 3).float(), F.one_hot(LABELS.flip(0), 3).float()
    mixed = training_loss(LOGITS, 0.7 * first + 0.3 * second, smoothing=0.1)
    apart = 0.7 * training_loss(LOGITS, LABELS, 0.1) + 0.3 * training_loss(LOGITS, LABELS.flip(0), 0.1)
    torch.testing.assert_close(mixed, apart)


def test_an_image_counts_by_the_weight_of_its_classes() -> None:
    # two images with losses a and b, of which the first is half of class 0 (weight 2) and half of class 1 (weight 4)
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    targets = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    log = logits.log_softmax(dim=1)
    expected = -(0.5 * 2 * log[0, 0] + 0.5 * 4 * log[0, 1] + 4 * log[1, 1]) / (3 + 4)
    torch.testing.assert_close(training_loss(logits, targets, 0.0, torch.tensor([2.0, 4.0])), expected)
