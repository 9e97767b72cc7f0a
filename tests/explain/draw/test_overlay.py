"""The picture is shown crisply and every patch evenly; what a map is, and its scale, stand on the sheet."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vit.explain.draw.overlay import GAP, MARGIN, Map, draw, enlarge_picture, panel_size
from vit.explain.draw.scale import Look, Scale, enlarge, lay_over
from vit.explain.draw.sheet import Sheet


def picture(size: tuple[int, int] = (10, 6), mode: str = "RGB") -> Image.Image:
    return Image.effect_noise(size, 80).convert(mode)


def a_map(**changes: object) -> Map:
    scores = torch.arange(15).reshape(3, 5) / 200
    given = {"scores": scores, "method": "rollout", "target": "cat, 93.1 %", "class_specific": False}
    return Map(**{**given, "scale": Scale.of([scores.numpy()]), **changes})  # type: ignore[arg-type]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts that are put on sheets."""
    texts: list[str] = []
    text = Sheet.text

    def write(self: Sheet, words: str, *places: int, **options: Any) -> int:
        texts.append(words)
        return text(self, words, *places, **options)

    monkeypatch.setattr(Sheet, "text", write)
    return texts


def holds(page: np.ndarray, pixels: np.ndarray, left: int) -> bool:
    """Whether these pixels are on the page, somewhere below each other, at this distance from its left border."""
    height, width, _ = pixels.shape
    strip = page[:, left : left + width]
    return any(np.array_equal(strip[top : top + height], pixels) for top in range(len(page) - height + 1))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_picture_overlay_and_map_are_on_the_sheet_pixel_for_pixel(mode: str) -> None:
    shown, one = picture(mode=mode), a_map()
    page = np.asarray(draw(shown, [[one]], "a title", "a caption").render())
    size = panel_size(shown.size, (3, 5), 400)
    assert size == (240, 400)  # 40 pixels for each pixel, 80 for each patch
    saw = np.asarray(shown.convert("RGB")).repeat(40, axis=0).repeat(40, axis=1)
    colours = one.scale.colours(one.numbers.repeat(80, axis=0).repeat(80, axis=1))
    across = size[1] + GAP
    assert holds(page, saw, MARGIN)
    assert holds(page, lay_over(saw, colours, Look().opacity), MARGIN + across)
    assert holds(page, colours, MARGIN + 2 * across)


def test_several_maps_lie_side_by_side_and_row_below_row() -> None:
    shown = picture()
    maps = [a_map(scores=torch.rand(3, 5) / 10, method=name) for name in ("one", "two", "three")]
    page = np.asarray(draw(shown, [maps[:2], maps[2:]], "", "", Look(opacity=1.0)).render())
    size = panel_size(shown.size, (3, 5), 400)
    for place, one in ((1, maps[0]), (2, maps[1]), (1, maps[2])):
        assert holds(page, one.scale.colours(enlarge(one.numbers, size)), MARGIN + place * (size[1] + GAP))


def test_what_a_map_is_stands_on_the_sheet(written: list[str]) -> None:
    draw(picture(), [[a_map(), a_map(method="chefer", class_specific=True)]], "predicted: cat", "who says so")
    for words in ("predicted: cat", "rollout", "the same for every class", "chefer", "for cat, 93.1 %", "who says so"):
        assert words in written
    assert written.count("share of each patch; own scale") == 2


def test_the_numbers_of_the_scale_stand_on_the_sheet(written: list[str]) -> None:
    signed = a_map(scale=Scale(greatest=0.25, signed=True, unit="score"), scope="one scale for all 7 maps")
    draw(picture(), [[signed]], "", "")
    for words in ("-0.25", "0", "0.25", "score of each patch; one scale for all 7 maps"):
        assert words in written


def test_shared_scales_give_equal_scores_equal_colours() -> None:
    scale = Scale(greatest=1.0)
    dark, bright = (a_map(scores=torch.full((3, 5), level), scale=scale) for level in (0.2, 0.9))
    page = np.asarray(draw(picture(), [[dark, bright]], "", "", Look(opacity=1.0)).render())
    size = panel_size((10, 6), (3, 5), 400)
    middle = page.shape[0] // 2
    for place, level in ((1, 0.2), (2, 0.9)):
        colour = page[middle, MARGIN + place * (size[1] + GAP) + 5]
        np.testing.assert_array_equal(colour, scale.colours(np.array([level], dtype=np.float32))[0])


@pytest.mark.parametrize(
    ("size", "grid", "expected"),
    [
        ((8, 8), (4, 4), (400, 400)),  # 50 pixels a pixel
        ((32, 32), (8, 8), (384, 384)),  # 12 pixels a pixel
        ((224, 224), (14, 14), (406, 406)),  # 29 pixels a patch
        ((224, 112), (7, 14), (203, 406)),
        ((518, 518), (37, 37), (407, 407)),
        ((2048, 2048), (128, 128), (384, 384)),
    ],
)
def test_panels_are_whole_patches_of_a_size_to_look_at(
    size: tuple[int, int], grid: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert panel_size(size, grid, 400) == expected


def test_large_pictures_are_resampled_and_small_ones_keep_their_pixels() -> None:
    small, large = picture((10, 6)), picture((200, 120))
    assert len(np.unique(enlarge_picture(small, (60, 100)))) == len(np.unique(np.asarray(small)))
    assert len(np.unique(enlarge_picture(large, (300, 500)), axis=0)) > 120


def test_a_narrow_picture_has_room_for_its_words() -> None:
    shown = picture((4, 100))
    one = dataclasses.replace(a_map(), scores=torch.rand(25, 1), target="a class of quite a few words, 3.2 %")
    page = draw(shown, [[one]], "predicted: a class of quite a few words", "caption").render()
    assert page.width > 700


def test_a_map_of_nothing_is_said_to_be_one(written: list[str]) -> None:
    nothing = a_map(scores=torch.zeros(3, 5), scale=Scale(greatest=0.0))
    draw(picture(), [[nothing]], "", "").render()
    assert "0 everywhere" in written
    draw(picture(), [[a_map(scores=torch.zeros(3, 5), scope="one scale for all 2 maps")]], "", "").render()
    assert any("share of each patch, 0 everywhere; one scale for all 2 maps" in words for words in written)


def test_flat_and_empty_maps_can_be_drawn() -> None:
    for scores in (torch.full((3, 5), 1 / 15), torch.zeros(3, 5)):
        draw(picture(), [[a_map(scores=scores, scale=Scale.of([scores.numpy()]))]], "", "").render()
