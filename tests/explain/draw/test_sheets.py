"""Contact sheets, films and the x-ray page show every map, and say what is missing and why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vit.explain.draw.files import MARK
from vit.explain.draw.growth import draw_growth, film_frames, save_film
from vit.explain.draw.heads import draw_heads
from vit.explain.draw.scale import Pixels, Scale, enlarge
from vit.explain.draw.sheet import Sheet
from vit.explain.draw.xray import HALF, draw_xray, filter_tiles
from vit.explain.xray import Filters, heads_of
from vit.nn import ViT, ViTConfig


class Recorder:
    """What is laid on sheets."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pictures: list[tuple[Pixels, int, int]] = []


@pytest.fixture
def laid(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder, text, picture = Recorder(), Sheet.text, Sheet.picture

    def write(self: Sheet, words: str, *places: int, **options: Any) -> int:
        recorder.texts.append(words)
        return text(self, words, *places, **options)

    def lay(self: Sheet, pixels: Pixels, left: int, top: int) -> int:
        recorder.pictures.append((pixels, left, top))
        return picture(self, pixels, left, top)

    monkeypatch.setattr(Sheet, "text", write)
    monkeypatch.setattr(Sheet, "picture", lay)
    return recorder


def picture() -> Image.Image:
    return Image.effect_noise((20, 12), 80).convert("RGB")


def maps(*axes: int) -> np.ndarray:
    return np.random.default_rng(0).random((*axes, 3, 5), dtype=np.float32) / 15


def test_heads_stand_in_a_grid_of_layers_and_heads_with_their_mean_below(laid: Recorder) -> None:
    found = maps(4, 2)
    draw_heads(picture(), found, "title", "caption")
    _, *tiles = laid.pictures
    assert len(tiles) == 4 * 3
    size = tiles[0][0].shape[:2]
    for number, (pixels, _, _) in enumerate(tiles):
        head, layer = divmod(number, 4)
        scores = found[layer, head] if head < 2 else found[layer].mean(axis=0)
        np.testing.assert_array_equal(pixels, Scale.of([scores]).colours(enlarge(scores, size)))
    assert len({left for _, left, _ in tiles}) == 4
    assert len({top for _, _, top in tiles}) == 3
    for words in ("layer 0", "3", "head 0", "head 1", "mean", f"{100 * found[2, 1].max():.3g} %"):
        assert words in laid.texts


def test_heads_can_share_one_scale_which_is_drawn_then(laid: Recorder) -> None:
    found = maps(2, 2)
    draw_heads(picture(), found, "", "", shared_scale=True)
    common = Scale.of([found])
    pixels = laid.pictures[1][0]
    np.testing.assert_array_equal(pixels, common.colours(enlarge(found[0, 0], pixels.shape[:2])))
    assert "share of each patch; one scale for all heads and layers" in laid.texts


def test_twelve_heads_of_twelve_layers_are_large_enough_to_read() -> None:
    page = draw_heads(Image.new("RGB", (224, 224)), np.full((12, 12, 14, 14), 0.01), "", "").render()
    assert 1000 < page.width < 1500


def test_growth_shows_every_layer_and_what_the_patches_hold(laid: Recorder) -> None:
    found = maps(4)
    draw_growth(picture(), found, "title", "caption", first=2)
    assert len(laid.pictures) == 1 + 4 + 1  # the picture, the layers, the bar
    assert "after layer 2" in laid.texts
    assert "after layer 5" in laid.texts
    assert f"patches hold {100 * found[3].sum():.0f} % together" in laid.texts
    assert f"{100 * found.max():.3g} %" in laid.texts


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_has_a_frame_for_every_layer_and_stands_at_the_end(kind: str, tmp_path: Path) -> None:
    frames = film_frames(picture(), maps(3), "title")
    assert len({frame.size for frame in frames}) == 1
    save_film(frames, tmp_path / f"film.{kind}", kind)  # type: ignore[arg-type]
    assert MARK.encode() in (tmp_path / f"film.{kind}").read_bytes()
    with Image.open(tmp_path / f"film.{kind}") as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]
        assert film.size == frames[0].size
        assert film.info["loop"] == 0
        durations = []
        for number in range(3):
            film.seek(number)
            film.load()
            durations.append(film.info["duration"])
            shown = np.asarray(film.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(frames[number])).mean() < 4  # a GIF has 256 colours
    assert durations[0] == durations[1] < durations[2]


def test_frames_of_a_film_say_their_layer(laid: Recorder) -> None:
    film_frames(picture(), maps(3), "title", first=1)
    assert [words for words in laid.texts if words.startswith("rollout after")] == [
        f"rollout after layer {layer} (1 to 3)" for layer in (1, 2, 3)
    ]


def model(**changes: object) -> ViT:
    config = {"image_size": (6, 10), "patch_size": 2, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 7}
    return ViT(ViTConfig(**{**config, **changes})).eval()  # type: ignore[arg-type]


def xray(network: ViT) -> Image.Image:
    batch = torch.randn(2, network.config.in_channels, 6, 10)
    return draw_xray(network, heads_of(network, [batch]), "title", "caption").render()


def test_the_xray_page_shows_positions_filters_and_heads(laid: Recorder) -> None:
    page = xray(model())
    assert not [words for words in laid.texts if "Left out" in words]
    for words in ("positions", "patch filters", "attention heads", "what patches give the class token, in %"):
        assert words in laid.texts
    assert np.asarray(page.convert("L")).std() > 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"positions": "rope2d"}, "adds no position to its tokens; it turns queries and keys instead"),
        ({"positions": "none"}, "adds no position to its tokens; it knows no places at all"),
        ({"in_channels": 4}, "4 channels are neither grey nor RGB"),
        ({"class_token": False, "pool": "mean"}, "Left out: this model has none."),
    ],
)
def test_what_a_model_does_not_have_is_said(changes: dict[str, object], sentence: str, laid: Recorder) -> None:
    xray(model(**changes))
    assert any(sentence in words for words in laid.texts)


def test_grey_models_have_grey_filters(laid: Recorder) -> None:
    xray(model(in_channels=1))
    assert any("in grey (the model has one channel)" in words for words in laid.texts)


def test_a_filter_is_mid_grey_at_0_and_full_where_it_is_largest() -> None:
    components = torch.zeros(2, 3, 2, 2)
    components[0, 0, 0, 0], components[0, 2, 1, 1] = 0.8, -0.4
    tiles = filter_tiles(Filters(components=components, explained=1.0))
    times = (tiles.shape[0] - 0) // 2
    assert tiles[0, 0].tolist() == [255, 128, 128]
    assert tiles[times, times].tolist() == [128, 128, 64]
    assert tiles[0, -1].tolist() == [128, 128, 128]


def test_positions_of_a_narrow_grid_are_as_high_as_a_column_is_wide_at_most(laid: Recorder) -> None:
    network = model(image_size=(32, 8))
    draw_xray(network, heads_of(network, [torch.rand(1, 3, 32, 8)]), "", "")
    assert 0.8 * HALF < max(pixels.shape[0] for pixels, *_ in laid.pictures) <= HALF


def test_a_fine_grid_shows_some_of_its_positions_on_a_page_of_the_same_width(laid: Recorder) -> None:
    network = model(image_size=(6, 200))
    heads = heads_of(network, [torch.randn(1, 3, 6, 200)])
    sheet = draw_xray(network, heads, "", "")
    assert any("the positions of every" in words for words in laid.texts)
    assert min(min(pixels.shape[:2]) for pixels, *_ in laid.pictures) > 0
    assert all(left + pixels.shape[1] <= sheet.width for pixels, left, _ in laid.pictures)
