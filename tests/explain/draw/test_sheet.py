"""On a sheet pictures lie pixel by pixel where they were put, and no text is cut."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.explain.draw.files import write_whole
from vit.explain.draw.scale import Scale
from vit.explain.draw.sheet import MARGIN, SMALL, Sheet, text_width, wrapped


def noise(height: int = 11, width: int = 17) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pictures_are_laid_down_unchanged() -> None:
    sheet = Sheet(90)
    sheet.text("above", 5, 2, 80)
    assert sheet.picture(noise(), 13, 31) == 42
    sheet.picture(255 - noise(), 50, 31)
    page = np.asarray(sheet.render())
    assert page.shape == (42 + MARGIN, 90, 3)
    np.testing.assert_array_equal(page[31:42, 13:30], noise())
    np.testing.assert_array_equal(page[31:42, 50:67], 255 - noise())
    assert (page[43:] == 255).all()


def test_a_bar_shows_all_colours_of_its_scale_from_least_to_greatest() -> None:
    sheet, scale = Sheet(400), Scale(greatest=0.5, signed=True)
    sheet.bar(scale, 10, 20, 256)
    page = np.asarray(sheet.render())
    np.testing.assert_array_equal(page[25, 10:266], scale.colours(np.linspace(-0.5, 0.5, 256)))


def test_long_text_is_broken_between_words_and_fits() -> None:
    words = "a class of many words that nobody would give a class but people do"
    lines = wrapped(words, 120, SMALL)
    assert len(lines) > 2
    assert " ".join(lines) == words
    assert max(text_width(line, SMALL) for line in lines) <= 120


def test_a_word_that_is_wider_than_its_column_is_broken_and_whole() -> None:
    lines = wrapped("see Donaudampfschifffahrtsgesellschaftskapitän too", 100, SMALL)
    assert "".join(lines).replace(" ", "") == "seeDonaudampfschifffahrtsgesellschaftskapitäntoo"
    assert max(text_width(line, SMALL) for line in lines) <= 100


def test_text_stays_inside_its_column_and_its_lines_do_not_touch() -> None:
    sheet = Sheet(200)
    bottom = sheet.text("many words that need more than a single line here", 20, 10, 90)
    ink = np.asarray(sheet.render().convert("L")) < 128
    assert ink.any()
    assert not ink[:, :20].any()
    assert not ink[:, 111:].any()
    assert not ink[bottom:].any()
    assert not ink[10:].any(axis=1)[:bottom].all()  # there are empty rows between


def test_dollars_are_letters_and_no_formula() -> None:
    assert wrapped("$5 and $x^2$", 500, SMALL) == ["$5 and $x^2$"]
    sheet = Sheet(200)
    sheet.text("$\\frac{1}{0", 0, 0, 200)  # as a formula this would not parse
    sheet.render()


def test_a_file_that_could_not_be_finished_never_bears_the_name(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "deep" / "map.png", full)
    assert not list((tmp_path / "deep").iterdir())


def test_the_file_is_a_png_that_says_who_drew_it(tmp_path: Path) -> None:
    sheet = Sheet(90)
    sheet.picture(noise(), 5, 5)
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as written:
        assert written.format == "PNG"
        assert "vit explain" in written.info["Software"]
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_words_in_any_script_are_drawn_without_a_warning() -> None:
    sheet = Sheet(400)
    sheet.text("猫 🐈 $x_$", 10, 10, 300)
    sheet.render()
