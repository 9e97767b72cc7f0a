"""Damage that Pillow passes over is suspected, and sound files are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.data.check import check
from vit.data.decode import read_image
from vit.data.jpeg_warnings import jpeg_warning
from vit.data.listing import list_folder
from vit.data.summary import summary

pytest.importorskip("simplejpeg", reason="it has no wheels here, and nothing is suspected")


def jpeg(path: Path, seed: int = 0, **how: bool) -> Path:
    """A picture with detail, so that most of the file is image data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90, **how)
    return path


def zeroed(path: Path) -> Path:
    """The same file with 200 zeros in its middle, where image data are."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("progressive", [False, True])
def test_wrong_image_data_that_pillow_reads_are_warned_of(progressive: bool, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", progressive=progressive)
    assert jpeg_warning(path.read_bytes()) == ""
    zeroed(path)
    read_image(path)  # and says nothing
    assert jpeg_warning(path.read_bytes()).startswith("Corrupt JPEG data: ")


def test_junk_between_the_segments_of_the_header_harms_no_pixel(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg")
    content, picture = path.read_bytes(), read_image(path)
    tables = content.index(b"\xff\xdb")
    path.write_bytes(content[:tables] + b"junk" + content[tables:])
    assert read_image(path) == picture
    assert jpeg_warning(path.read_bytes()) == ""


def test_what_is_no_jpeg_or_in_four_inks_is_not_suspected(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "a.png")
    Image.new("CMYK", (9, 7)).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").touch()
    assert [jpeg_warning(path.read_bytes()) for path in sorted(tmp_path.iterdir())] == ["", "", ""]


def test_photographs_and_unusual_files_that_are_in_order_are_not_suspected(shared_data: Path) -> None:
    files = sorted((shared_data / "imagenet-sample").glob("*.jpg"))
    files += sorted((shared_data / "clothing").rglob("*.jpg"))[::5]
    assert len(files) > 500
    assert [file.name for file in files if jpeg_warning(file.read_bytes())] == []
    nasty = (shared_data / "nasty-images").glob("*.[jJ][pP]*")  # those cut off are refused before they are suspected
    assert {file.name for file in nasty if jpeg_warning(file.read_bytes())} == {
        "half_download.JPEG",
        "truncated_jpeg.jpg",
        "ultrahdr.jpg",
    }


def test_the_check_names_suspects_and_takes_them_for_no_harm(tmp_path: Path) -> None:
    for number in range(4):
        jpeg(tmp_path / "ab"[number % 2] / f"{number}.jpg", seed=number)
    bad = zeroed(tmp_path / "b" / "3.jpg")
    result = check(list_folder(tmp_path), processes=1)
    reason = jpeg_warning(bad.read_bytes())
    assert [(file.path, file.part, file.reason) for file in result.suspect] == [(str(bad), "all", reason)]
    assert not result.harmful
    assert result.bad_files() == []
    lines = list(summary(result))
    at = lines.index(
        "note   1 file that decodes with warnings: a part of the picture may be missing or grey, look at them"
    )
    assert lines[at + 1].strip() == f"{bad}: {reason}"
