"""The figure shows the picture crisply, the map evenly, and is written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from vit.explain.overlay import draw, save


def picture(size: tuple[int, int] = (10, 6), mode: str = "RGB") -> Image.Image:
    return Image.effect_noise(size, 80).convert(mode)


def heat() -> torch.Tensor:
    return torch.arange(15).reshape(3, 5) / 200


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_picture_and_every_patch_are_shown_as_they_are(mode: str) -> None:
    shown = picture(mode=mode)
    figure = draw(shown, heat(), "a title", "a caption")
    saw, over, alone = (axes.images for axes in figure.axes[:3])
    np.testing.assert_array_equal(np.asarray(saw[0].get_array()), np.asarray(shown))
    np.testing.assert_array_equal(np.asarray(over[0].get_array()), np.asarray(shown.convert("L")))
    for mapped in (over[1], alone[0]):
        np.testing.assert_allclose(np.asarray(mapped.get_array()), heat().numpy())
    for image in (*saw, *over, *alone):
        assert list(image.get_extent()) == [0, 10, 6, 0]
        assert image.get_interpolation() == "nearest"


def test_colours_run_from_nothing_to_the_greatest_share() -> None:
    _, over, alone = draw(picture(), heat(), "", "").axes[:3]
    for mapped in (over.images[1], alone.images[0]):
        assert mapped.get_clim() == (0, pytest.approx(14 / 200))


def test_title_and_caption_are_on_the_figure() -> None:
    figure = draw(picture(), heat(), "cat  93.1 %", "share of each patch")
    assert figure.get_suptitle() == "cat  93.1 %"
    assert figure.get_supxlabel() == "share of each patch"


def test_a_flat_map_and_an_empty_one_can_be_drawn(tmp_path: Path) -> None:
    for values in (torch.full((3, 5), 1 / 15), torch.zeros(3, 5)):
        save(draw(picture(), values, "", ""), tmp_path / "flat.png")


def test_the_file_is_a_png_of_a_size_to_look_at(tmp_path: Path) -> None:
    save(draw(picture(), heat(), "a", "b"), tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as written:
        assert written.format == "PNG"
        assert min(written.size) > 400
        assert np.asarray(written.convert("L")).std() > 10  # something is on it
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_a_file_that_could_not_be_finished_never_bears_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        save(draw(picture(), heat(), "a", "b"), tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()
