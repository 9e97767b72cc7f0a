"""Relevance for a class: numbers worked by hand in exact fractions, plain loops, and the faults of known scripts."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from vit.explain import attention_gradcam, chefer, gradient_rollout, token_gradcam

A1, A2 = [[0.5, 0.5], [0.25, 0.75]], [[0.75, 0.25], [0.5, 0.5]]
G1, G2 = [[1.0, 2.0], [-1.0, 4.0]], [[-2.0, 1.0], [2.0, 0.0]]


def one_head(*layers: list[list[float]]) -> Tensor:
    """Layers b heads n n, of one image and one head."""
    return torch.tensor(layers)[:, None, None]


def random_pair(layers: int = 3, b: int = 2, heads: int = 5, n: int = 7) -> tuple[Tensor, Tensor]:
    attention = torch.rand(layers, b, heads, n, n).mul(4).softmax(dim=-1)
    return attention, torch.randn(layers, b, heads, n, n)


def chefer_by_loops(attention: Tensor, gradients: Tensor) -> np.ndarray:
    """Equations 5 and 6 of Chefer et al. 2021, entry by entry in double precision."""
    layers, images, heads, n, _ = attention.shape
    a, g = attention.double().numpy(), gradients.double().numpy()
    results = np.zeros((images, n, n))
    for image in range(images):
        r = np.eye(n)
        for layer in range(layers):
            step = np.zeros((n, n))
            for i, j, head in product(range(n), range(n), range(heads)):
                step[i, j] += max(0.0, a[layer, image, head, i, j] * g[layer, image, head, i, j]) / heads
            r = np.array([[r[i, j] + sum(step[i, k] * r[k, j] for k in range(n)) for j in range(n)] for i in range(n)])
        results[image] = r
    return results


def gradient_rollout_by_loops(attention: Tensor, gradients: Tensor, discard_ratio: float, start: int) -> np.ndarray:
    layers, images, heads, n, _ = attention.shape
    a, g = attention.double().numpy(), gradients.double().numpy()
    results = np.zeros((images, n, n))
    for image in range(images):
        r = np.eye(n)
        for layer in range(start, layers):
            step = np.zeros((n, n))
            for i, j in product(range(n), range(n)):
                mean = sum(a[layer, image, h, i, j] * g[layer, image, h, i, j] for h in range(heads)) / heads
                step[i, j] = max(0.0, mean)
            candidates = sorted((step[i, j], i, j) for i, j in product(range(n), range(1, n)))
            for _, i, j in candidates[: int(discard_ratio * n * n)]:
                step[i, j] = 0.0
            step = (step + np.eye(n)) / 2
            step = np.array([row / row.sum() for row in step])
            r = np.array([[sum(step[i, k] * r[k, j] for k in range(n)) for j in range(n)] for i in range(n)])
        results[image] = r
    return results


def test_chefer_worked_by_hand_in_fractions() -> None:
    # positive parts: layer 1 [[1/2, 1], [0, 3]]; layer 2 [[0, 1/4], [1, 0]]
    # R1 = I + layer 1 = [[3/2, 1], [0, 4]]; R2 = R1 + layer 2 R1 = [[3/2, 1 + 1], [3/2, 4 + 1]]
    expected = [[Fraction(3, 2), Fraction(2)], [Fraction(3, 2), Fraction(5)]]
    assert chefer(one_head(A1, A2), one_head(G1, G2))[0].tolist() == [[float(x) for x in row] for row in expected]


def test_chefer_of_three_tokens_and_two_heads_worked_by_hand() -> None:
    third = [[1 / 4, 1 / 4, 1 / 2]] * 3
    first, second = torch.zeros(3, 3), torch.zeros(3, 3)
    first[0] = torch.tensor([8.0, -4.0, 2.0])
    second[0] = torch.tensor([-8.0, 16.0, 2.0])
    attention = torch.tensor([[[third, third]]])
    # mean over heads of the positive parts, not the positive part of the mean: [2 + 0, 0 + 4, 1 + 1] / 2
    result = chefer(attention, torch.stack([first, second])[None, None])
    assert result[0].tolist() == [[1 + 1, 2, 1], [0, 1, 0], [0, 0, 1]]


def test_gradient_rollout_worked_by_hand_in_fractions() -> None:
    # layer 1: (relu(A G) + I) / 2 = [[3/4, 1/2], [0, 2]] -> rows [3/5, 2/5], [0, 1]
    # layer 2: [[1/2, 1/8], [1/2, 1/2]] -> rows [4/5, 1/5], [1/2, 1/2]; layer 2 times layer 1
    expected = [[Fraction(12, 25), Fraction(13, 25)], [Fraction(3, 10), Fraction(7, 10)]]
    result = gradient_rollout(one_head(A1, A2), one_head(G1, G2))[0].double()
    assert_close(result, torch.tensor([[float(x) for x in row] for row in expected]).double(), atol=1e-7, rtol=0)


def test_gradient_rollout_averages_heads_before_it_takes_the_positive_part() -> None:
    half = [[0.5, 0.5], [0.5, 0.5]]
    attention = torch.tensor([[[half, half]]])
    gradients = torch.tensor([[[[[0.0, 8.0], [0.0, 0.0]], [[0.0, -4.0], [0.0, 0.0]]]]])
    # mean 1/2 (4 - 2) = 1 -> row [1, 1] / 2; Chefer's order would give 2 -> [1, 2] / 3
    assert gradient_rollout(attention, gradients)[0].tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert chefer(attention, gradients)[0].tolist() == [[1.0, 2.0], [0.0, 1.0]]


def test_attention_gradcam_worked_by_hand() -> None:
    weights = torch.tensor([[[[0.2, 0.6, 0.2]] * 3, [[0.5, 0.1, 0.4]] * 3]])
    gradient = torch.zeros(1, 2, 3, 3)
    gradient[0, 0, 0] = torch.tensor([100.0, 1.0, 3.0])  # mean over patches 2; the class token's column is left out
    gradient[0, 1, 0] = torch.tensor([0.0, -4.0, -4.0])  # mean -4
    read = torch.tensor([[1.0, 0.0, 0.0]])
    # patch 1: (2 * .6 - 4 * .1) / 2; patch 2: (2 * .2 - 4 * .4) / 2 < 0
    assert_close(attention_gradcam(weights, gradient, read), torch.tensor([[0.4, 0.0]]))


def test_token_gradcam_worked_by_hand() -> None:
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, -1.0]]])
    gradient = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [3.0, -2.0]]])
    # channels weigh (1 + 3) / 2 = 2 and (0 - 2) / 2 = -1: patch 1: 2 - 2 = 0, patch 2: 6 + 1
    assert token_gradcam(tokens, gradient).tolist() == [[0.0, 7.0]]
    assert token_gradcam(-tokens, gradient).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_gradcams_are_what_plain_loops_give(prefix: int) -> None:
    n, heads, d = prefix + 6, 3, 4
    weights, gradient = torch.rand(2, heads, n, n), torch.randn(2, heads, n, n)
    read = torch.rand(2, n).softmax(-1)
    tokens, slopes = torch.randn(2, n, d), torch.randn(2, n, d)
    ours, of_tokens = attention_gradcam(weights, gradient, read, prefix), token_gradcam(tokens, slopes, prefix)
    assert ours.shape == of_tokens.shape == (2, 6)
    for image, patch in product(range(2), range(6)):
        total = 0.0
        for head in range(heads):
            row = sum(read[image, i].double() * weights[image, head, i].double() for i in range(n))
            slope = sum(read[image, i].double() * gradient[image, head, i].double() for i in range(n))
            total += float(sum(slope[prefix:]) / 6 * row[prefix + patch]) / heads  # type: ignore[index]
        assert float(ours[image, patch]) == pytest.approx(max(0.0, total), abs=1e-6)
        importance = [sum(slopes[image, prefix + p, c].double() for p in range(6)) / 6 for c in range(d)]
        cam = sum(importance[c] * tokens[image, prefix + patch, c].double() for c in range(d))
        assert float(of_tokens[image, patch]) == pytest.approx(max(0.0, float(cam)), abs=1e-6)


def test_chefer_is_what_plain_loops_give() -> None:
    attention, gradients = random_pair()
    expected = chefer_by_loops(attention, gradients)
    assert_close(chefer(attention, gradients).double().numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("discard_ratio", "start_layer"), [(0.0, 0), (0.3, 0), (0.9, 1)])
def test_gradient_rollout_is_what_plain_loops_give(discard_ratio: float, start_layer: int) -> None:
    attention, gradients = random_pair()
    ours = gradient_rollout(attention, gradients, discard_ratio, start_layer)
    expected = gradient_rollout_by_loops(attention, gradients, discard_ratio, start_layer)
    assert_close(ours.double().numpy(), expected, rtol=0, atol=1e-6)
    assert_close(ours.sum(dim=-1), torch.ones(2, 7))


def test_gradients_in_the_order_that_they_arrive_in_give_another_map() -> None:
    """The fault of the well-known script: the last layer's gradient weighs the first layer's attention."""
    attention, gradients = random_pair(b=1)
    right = gradient_rollout(attention, gradients)
    assert (right - gradient_rollout(attention, gradients.flip(0))).abs().max() > 0.01


def test_uniform_attention_that_counts_evenly_gives_a_uniform_map() -> None:
    attention, gradients = torch.full((3, 1, 2, 5, 5), 0.2), torch.ones(3, 1, 2, 5, 5)
    for matrix in (chefer(attention, gradients), gradient_rollout(attention, gradients)):
        row = matrix[0, 0, 1:]
        assert_close(row, row[:1].expand(4))
        assert row[0] > 0


def test_attention_to_oneself_alone_leaves_patches_without_relevance() -> None:
    attention, gradients = torch.eye(5).expand(3, 1, 2, 5, 5), torch.randn(3, 1, 2, 5, 5)
    for matrix in (chefer(attention, gradients), gradient_rollout(attention, gradients)):
        assert matrix[0, 0, 1:].tolist() == [0.0] * 4


def test_attention_that_counts_against_a_class_is_not_relevant() -> None:
    attention, gradients = random_pair()
    identity = torch.eye(7).expand(2, 7, 7)
    assert_close(chefer(attention, -gradients.abs()), identity)
    assert_close(gradient_rollout(attention, -gradients.abs()), identity)


def test_what_was_given_in_half_precision_is_worked_in_float32() -> None:
    attention, gradients = random_pair()
    low = chefer(attention.bfloat16(), gradients.bfloat16())
    assert low.dtype == torch.float32
    assert torch.equal(low, chefer(attention.bfloat16().float(), gradients.bfloat16().float()))


@pytest.mark.parametrize(
    ("wrong", "sentence"), [({"start_layer": 3}, "start_layer=3"), ({"discard_ratio": 1.0}, "dis")]
)
def test_settings_out_of_range_are_explained(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        gradient_rollout(*random_pair(), **wrong)  # pyright: ignore
