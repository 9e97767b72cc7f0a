"""How much better one contestant is: by hand, by other formulae, and how often the interval holds the truth."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from vit.compare.difference import difference

GENERATOR = np.random.default_rng


def answers(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one seed: how many images both have right, one alone, or neither."""
    counts = [both, first, second, neither]
    return tuple(
        np.repeat(pattern, counts)[None] for pattern in ([True, True, False, False], [True, False, True, False])
    )


def test_one_seed_has_the_interval_of_bonett_and_price() -> None:
    found = difference(*answers(30, 12, 4, 4))
    assert found.points == pytest.approx(100 * 8 / 50)
    # p12 = 13/52, p21 = 5/52: 8/52 +- 1.96 sqrt((18/52 - (8/52)^2) / 52)
    half = 1.959964 * np.sqrt((18 / 52 - (8 / 52) ** 2) / 52)
    assert (found.low, found.high) == pytest.approx((100 * (8 / 52 - half), 100 * (8 / 52 + half)))
    assert (found.only_first, found.only_second, found.seeds, found.images) == (12, 4, 1, 50)
    assert not found.is_clear  # by a hair
    assert difference(*answers(30, 13, 3, 4)).is_clear


def test_the_other_way_round_is_the_other_sign() -> None:
    first, second = answers(5, 3, 9, 2)
    there, back = difference(first, second), difference(second, first)
    assert (back.points, back.low, back.high) == pytest.approx((-there.points, -there.high, -there.low))
    assert (back.only_first, back.only_second) == (9, 3)
    assert not there.is_clear


def test_contestants_that_do_not_differ_leave_an_interval() -> None:
    for seeds in (1, 3):
        right = np.ones((seeds, 40), dtype=bool)
        found = difference(right, right)
        assert found.points == 0
        assert -10 < found.low < 0 < found.high < 10


def test_seeds_that_decide_everything_make_it_a_paired_t_test() -> None:
    # the images are all alike, and so many that only the seeds are in doubt
    gains = np.array([40, 10, 30, -10, 20])
    first, second = np.zeros((2, 5, 20_000), dtype=bool)
    for seed, gain in enumerate(gains):
        (first if gain > 0 else second)[seed, GENERATOR(seed).permutation(20_000)[: abs(gain) * 100]] = True
    found = difference(first, second)
    expected = ttest_1samp(gains / 2, 0).confidence_interval(0.95)  # 100 of 20,000 images are half a point
    assert found.points == pytest.approx(9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1)


def test_images_that_decide_everything_are_counted_once_and_not_once_a_seed() -> None:
    first, second = answers(60, 25, 10, 5)
    alone = difference(first, second)
    again = difference(np.repeat(first, 4, axis=0), np.repeat(second, 4, axis=0))  # every seed with the same answers
    assert again.points == alone.points
    assert (again.low, again.high) == pytest.approx((alone.low, alone.high), rel=0.1)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(seeds: int) -> None:
    generator, held = GENERATOR(seeds), 0
    spread = 0.0 if seeds == 1 else 0.15  # of the starts; of one seed no interval can know that
    for _ in range(300):
        hard = generator.normal(0, 2, 400)  # for both, so that neither is truly better
        noise = generator.normal(0, 1, (2, seeds, 400)) + spread * generator.normal(0, 1, (2, seeds, 1))
        first, second = hard + noise + 2.5 > 0
        found = difference(first, second)
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / 300 <= 1
