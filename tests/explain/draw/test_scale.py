"""A colour is a score: the whole range is shown, nothing is clipped, and 0 is the middle where signs mean something."""

import numpy as np
import pytest
from matplotlib import colormaps

from vit.explain.draw.scale import Look, Scale, enlarge, lay_over


def scores() -> np.ndarray:
    return np.arange(6, dtype=np.float32).reshape(2, 3) / 20


def test_a_scale_runs_from_nothing_to_the_greatest_score() -> None:
    scale = Scale.of([scores(), scores() / 2])
    assert (scale.least, scale.greatest) == (0, pytest.approx(0.25))
    ends = scale.colours(np.array([0, 0.25]))
    np.testing.assert_array_equal(ends, colormaps["inferno"]([0.0, 1.0], bytes=True)[:, :3])


def test_signed_scores_have_white_at_nothing_and_red_above() -> None:
    scale = Scale.of([scores() - 0.2])
    assert scale.signed
    assert (scale.least, scale.greatest) == (pytest.approx(-0.2), pytest.approx(0.2))
    below, middle, above = scale.colours(np.array([-0.2, 0, 0.2])).astype(int)
    assert middle.min() > 240
    assert above[0] > above[2] + 60  # red
    assert below[2] > below[0] + 60  # blue


def test_a_signed_method_whose_scores_are_all_above_0_keeps_its_middle() -> None:
    assert Scale.of([scores()], signed=True).least == pytest.approx(-0.25)


def test_different_scores_have_different_colours_up_to_the_last() -> None:
    steps = np.linspace(0, 0.25, 64)
    colours = Scale.of([steps[None]]).colours(steps)
    assert len({tuple(colour) for colour in colours.tolist()}) == 64


def test_lightness_grows_with_the_score_so_that_it_reads_in_grey() -> None:
    colours = Scale(greatest=1.0).colours(np.linspace(0, 1, 32)).astype(float)
    assert (np.diff(colours @ [0.299, 0.587, 0.114]) > 0).all()


def test_a_map_of_nothing_is_dark_and_no_error() -> None:
    scale = Scale.of([np.zeros((2, 3))])
    assert scale.colours(np.zeros((2, 3))).sum(axis=-1).max() < 10
    assert str(scale) == "0 % to 0 %"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 6 scores are not finite"):
        Scale.of([np.where(scores() == 0, bad, scores())])


def test_numbers_are_written_in_percent_or_as_they_are() -> None:
    assert Scale(greatest=1.0).number(0.01234) == "1.23 %"
    assert Scale(greatest=1.0, unit="score").number(-0.01234) == "-0.0123"


def test_each_patch_becomes_one_even_rectangle() -> None:
    large = enlarge(scores(), (4, 9))
    np.testing.assert_array_equal(large, scores().repeat(2, axis=0).repeat(3, axis=1))


def test_smooth_maps_keep_the_middles_of_the_patches_and_invent_nothing_beyond() -> None:
    large = enlarge(scores(), (10, 15), smooth=True)
    np.testing.assert_allclose(large[2::5, 2::5], scores(), atol=1e-6)
    assert large.min() >= scores().min()
    assert large.max() <= scores().max()
    assert len(np.unique(large)) > 6


def test_opacity_runs_from_the_picture_alone_to_the_map_alone() -> None:
    generator = np.random.default_rng(0)
    picture, colours = generator.integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(lay_over(picture, colours, 0.0), picture)
    np.testing.assert_array_equal(lay_over(picture, colours, 1.0), colours)
    half = lay_over(np.full_like(picture, 255), np.zeros_like(colours), 0.5).astype(int)
    assert (half == round(0.5 * (127.5 + 0.75 * 127.5))).all()  # softened white, half of it


@pytest.mark.parametrize("opacity", [-0.1, 1.5])
def test_opacity_out_of_range_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match=f"opacity={opacity} must be from 0"):
        Look(opacity=opacity)
