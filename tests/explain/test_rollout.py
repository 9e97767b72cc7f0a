"""Attention rollout against numbers worked by hand, plain loops, and what must hold for any attention."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from vit.explain import rollout
from vit.explain.rollout import check_attention

FIRST, SECOND = [[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]


def random_attention(layers: int = 3, b: int = 2, heads: int = 5, n: int = 7, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(layers, b, heads, n, n, generator=generator).mul(4).softmax(dim=-1)


def by_plain_loops(
    attention: Tensor, head_fusion: str, discard_ratio: float, start_layer: int, residual: float
) -> np.ndarray:
    """Abnar & Zuidema's equation 1, entry by entry in double precision."""
    layers, images, heads, n, _ = attention.shape
    weights = attention.double().numpy()
    results = np.zeros((images, n, n))
    for image in range(images):
        result = np.eye(n)
        for layer in range(start_layer, layers):
            fused = np.zeros((n, n))
            for i, j in product(range(n), range(n)):
                of_heads = [weights[layer, image, head, i, j] for head in range(heads)]
                fused[i, j] = {"mean": sum(of_heads) / heads, "max": max(of_heads), "min": min(of_heads)}[head_fusion]
            if head_fusion != "mean":
                fused = np.array([row / row.sum() for row in fused])
            count = int(discard_ratio * n * n)
            if count:
                candidates = sorted((fused[i, j], i, j) for i, j in product(range(n), range(1, n)))
                for _, i, j in candidates[:count]:
                    fused[i, j] = 0.0
                fused = np.array([row / row.sum() for row in fused])
            step = residual * np.eye(n) + (1 - residual) * fused
            result = np.array([[sum(step[i, k] * result[k, j] for k in range(n)) for j in range(n)] for i in range(n)])
        results[image] = result
    return results


@pytest.mark.parametrize("head_fusion", ["mean", "max", "min"])
@pytest.mark.parametrize(
    ("discard_ratio", "start_layer", "residual"), [(0, 0, 0.5), (0.3, 0, 0.5), (0.6, 1, 0.2), (0, 2, 0)]
)
def test_rollout_is_what_plain_loops_give(
    head_fusion: str, discard_ratio: float, start_layer: int, residual: float
) -> None:
    attention = random_attention()
    ours = rollout(attention, head_fusion, float(discard_ratio), start_layer, float(residual))  # pyright: ignore
    expected = by_plain_loops(attention, head_fusion, discard_ratio, start_layer, residual)
    assert_close(ours.double().numpy(), expected, atol=1e-6, rtol=0)  # ours is float32


def test_two_layers_worked_by_hand() -> None:
    attention = torch.tensor([[[FIRST]], [[SECOND]]])  # layers b heads n n
    # half attention, half staying: [[.5, .5], [0, 1]], then [[1, 0], [.25, .75]]; the later times the earlier
    assert rollout(attention)[0].tolist() == [[0.5, 0.5], [0.125, 0.875]]


def test_later_layers_stand_on_the_left() -> None:
    attention = torch.tensor([[[SECOND]], [[FIRST]]])
    assert rollout(attention)[0].tolist() == [[0.625, 0.375], [0.25, 0.75]]


def test_the_share_of_the_residual_path_is_worked_by_hand() -> None:
    attention = torch.tensor([[[FIRST]]])
    assert rollout(attention, residual=0.0)[0].tolist() == FIRST
    assert rollout(attention, residual=0.75)[0].tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_heads_fused_by_hand() -> None:
    heads = torch.tensor([[[[[0.2, 0.8], [0.5, 0.5]], [[0.6, 0.4], [0.5, 0.5]]]]])
    assert_close(rollout(heads, "mean", residual=0.0)[0, 0], torch.tensor([0.4, 0.6]))
    assert_close(rollout(heads, "max", residual=0.0)[0, 0], torch.tensor([0.6, 0.8]) / 1.4)  # rows sum to 1 again
    assert_close(rollout(heads, "min", residual=0.0)[0, 0], torch.tensor([0.2, 0.4]) / 0.6)


def test_discarding_by_hand_spares_the_class_token() -> None:
    row = [0.01, 0.3, 0.09, 0.6]
    attention = torch.tensor([[[[row, [0.25] * 4, [0.25] * 4, [0.25] * 4]]]])
    kept = rollout(attention, discard_ratio=1 / 16, residual=0.0)[0]
    # of the 16 entries the smallest is 0.01, but it goes to the class token: 0.09 is left out
    assert_close(kept[0], torch.tensor([0.01, 0.3, 0.0, 0.6]) / 0.91)
    assert_close(kept[1], torch.full((4,), 0.25))


def test_rows_are_scaled_each_by_its_own_sum() -> None:
    attention = torch.tensor([[[[[0.5, 0.5, 0.0], [0.2, 0.1, 0.7], [0.1, 0.6, 0.3]]]]])
    kept = rollout(attention, discard_ratio=0.25, residual=0.0)[0]  # 2 of 9 entries: 0.0 and 0.1
    assert_close(kept[1], torch.tensor([0.2 / 0.9, 0.0, 0.7 / 0.9]))
    assert_close(kept[2], torch.tensor([0.1, 0.6, 0.3]))


@pytest.mark.parametrize("discard_ratio", [0.0, 0.5, 0.9])
def test_an_image_has_the_same_rollout_alone_and_among_others(discard_ratio: float) -> None:
    attention = random_attention(b=3)
    attention[:, 1] = random_attention(b=1, seed=1)[:, 0].pow(8)  # much smaller entries than its neighbours'
    attention = attention / attention.sum(dim=-1, keepdim=True)
    together = rollout(attention, discard_ratio=discard_ratio)
    for image in range(3):
        alone = rollout(attention[:, image : image + 1], discard_ratio=discard_ratio)
        assert_close(together[image], alone[0], atol=1e-6, rtol=0)  # batched products add in another order


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(2, 7)),
    head_fusion=st.sampled_from(["mean", "max", "min"]),
    discard_ratio=st.floats(0, 0.99),
    residual=st.floats(0, 0.99),
)
def test_rows_of_rollout_are_distributions(
    seed: int, shape: tuple[int, int, int, int], head_fusion: str, discard_ratio: float, residual: float
) -> None:
    result = rollout(random_attention(*shape, seed=seed), head_fusion, discard_ratio, 0, residual)  # pyright: ignore
    assert result.min() >= 0
    assert_close(result.sum(dim=-1), torch.ones(result.shape[:2]), atol=1e-5, rtol=0)  # float32 over a few layers


def test_attention_to_oneself_alone_mixes_nothing() -> None:
    attention = torch.eye(5).expand(4, 2, 3, 5, 5)
    assert_close(rollout(attention), torch.eye(5).expand(2, 5, 5))


def test_even_attention_in_one_layer_spreads_half_evenly() -> None:
    result = rollout(torch.full((1, 1, 1, 4, 4), 0.25))[0]
    assert result[0].tolist() == [0.625, 0.125, 0.125, 0.125]


def test_leaving_out_early_layers_is_rollout_of_the_others() -> None:
    attention = random_attention(layers=5)
    assert_close(rollout(attention, start_layer=2), rollout(attention[2:]))


def test_half_precision_attention_is_multiplied_in_single_precision() -> None:
    attention = random_attention(layers=12)
    result = rollout(attention.bfloat16())
    assert result.dtype == torch.float32
    assert_close(result, rollout(attention), atol=5e-3, rtol=0)  # bfloat16 has three digits, on the way in only


def test_attention_that_was_given_is_not_changed() -> None:
    attention = random_attention()
    before = attention.clone()
    rollout(attention, "max", discard_ratio=0.5)
    assert torch.equal(attention, before)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"start_layer": 3}, r"start_layer=3 is not one of the 3 layers, 0 to 2\."),
        ({"start_layer": -1}, r"start_layer=-1 is not one of"),
        ({"discard_ratio": 1.0}, r"discard_ratio=1\.0 must be from 0 to below 1\."),
        ({"residual": -0.5}, r"residual=-0\.5 must be from 0 to below 1\."),
    ],
)
def test_settings_out_of_range_are_explained(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rollout(random_attention(), **wrong)  # pyright: ignore


def test_attention_of_another_form_is_answered_with_what_makes_it_right() -> None:
    """Shapes are checked at run time in these tests, and are not elsewhere: so the check is asked by itself."""
    check_attention(torch.rand(2, 1, 3, 5, 5))
    with pytest.raises(
        TypeError, match=r"attention is a tuple, but one tensor of .* is wanted; torch\.stack makes it of"
    ):
        check_attention((torch.rand(1, 3, 5, 5), torch.rand(1, 3, 5, 5)))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 5, 5\), but layers x batch .*; attention\[:, None\] adds"):
        check_attention(torch.rand(2, 3, 5, 5))
    with pytest.raises(ValueError, match=r"shape \(2, 1, 3, 5, 7\), but layers x batch"):
        check_attention(torch.rand(2, 1, 3, 5, 7))


def test_rollout_under_autocast_is_that_of_float32() -> None:
    attention = torch.rand(3, 2, 2, 7, 7).softmax(-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = rollout(attention)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, rollout(attention))


def test_three_tokens_and_two_layers_worked_by_hand_in_fractions() -> None:
    first = [
        [Fraction(1, 3), Fraction(1, 3), Fraction(1, 3)],
        [Fraction(0), Fraction(1, 2), Fraction(1, 2)],
        [Fraction(1), Fraction(0), Fraction(0)],
    ]
    second = [
        [Fraction(1, 2), Fraction(0), Fraction(1, 2)],
        [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)],
        [Fraction(0), Fraction(1), Fraction(0)],
    ]
    one, two = (
        [[(row[j] + (i == j)) / 2 for j in range(3)] for i, row in enumerate(layer)] for layer in (first, second)
    )
    assert one == [
        [Fraction(2, 3), Fraction(1, 6), Fraction(1, 6)],
        [Fraction(0), Fraction(3, 4), Fraction(1, 4)],
        [Fraction(1, 2), Fraction(0), Fraction(1, 2)],
    ]
    # the class token's row: 3/4 of [2/3, 1/6, 1/6] and 1/4 of [1/2, 0, 1/2]
    expected = [
        [Fraction(5, 8), Fraction(1, 8), Fraction(1, 4)],
        [Fraction(5, 24), Fraction(47, 96), Fraction(29, 96)],
        [Fraction(1, 4), Fraction(3, 8), Fraction(3, 8)],
    ]
    assert expected == [[sum(two[i][k] * one[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
    attention = torch.tensor([[[[[float(x) for x in row] for row in layer]]] for layer in (first, second)])
    assert_close(rollout(attention)[0], torch.tensor([[float(x) for x in row] for row in expected]))


def test_dividing_along_the_wrong_axis_is_not_what_we_do() -> None:
    """The fault of the well-known script: without keepdim each column is divided by another row's sum."""
    attention = random_attention(b=1, n=5)
    wrong = torch.eye(5)
    for weights in attention[:, 0].amax(dim=1):
        step = weights + torch.eye(5)
        wrong = (step / step.sum(dim=-1)) @ wrong
    right = rollout(attention, "max")[0]
    assert (right - wrong).abs().max() > 0.01
    assert_close(right.sum(dim=-1), torch.ones(5))


def test_all_that_goes_to_the_class_token_stays_not_one_entry() -> None:
    """The fault of the well-known script: it keeps the first entry of the matrix alone."""
    attention = random_attention(layers=1, b=2, n=7)
    attention[..., 0] = 1e-4
    kept = rollout(attention, discard_ratio=0.6, residual=0.0)
    assert bool((kept[:, :, 0] > 0).all())
    assert int((kept == 0).sum()) == 2 * int(0.6 * 49)


def test_without_a_class_token_no_column_is_spared() -> None:
    attention = torch.tensor([[[[[0.1, 0.9], [0.4, 0.6]]]]])
    assert_close(
        rollout(attention, discard_ratio=0.25, residual=0.0, class_token=False)[0, 0], torch.tensor([0.0, 1.0])
    )
    assert_close(rollout(attention, discard_ratio=0.25, residual=0.0)[0, 0], torch.tensor([0.1, 0.9]))
