"""Copies have the same marks, whatever their files are like; other pictures have others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vit.data.decode import EncodedImage
from vit.data.duplicates import LIKENESS, RADIUS
from vit.data.fingerprint import (
    FREQUENCIES,
    Fingerprint,
    fingerprint_of,
    outlines,
    perceptual_hash,
    read_fingerprint,
)


def landscape(seed: int = 0, size: tuple[int, int] = (90, 70)) -> Image.Image:
    """Something with large and small shapes, as photographs have and noise has not."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def read(path: Path) -> Fingerprint:
    found = read_fingerprint(path)
    assert isinstance(found, Fingerprint)
    return found


def test_the_hash_is_that_of_scipys_cosine_transform() -> None:
    from scipy.fft import dctn

    thumbnail = np.asarray(landscape().convert("L").resize((32, 32)))
    low = dctn(thumbnail.astype(float), type=2)[:FREQUENCIES, :FREQUENCIES]
    expected = np.packbits(low > np.median(low)).view(np.uint64)[0]
    assert perceptual_hash(thumbnail) == expected
    assert expected.bit_count() == 32  # half are above the median


def test_outlines_by_hand() -> None:
    thumbnail = np.zeros((1, 32, 32), dtype=np.uint8)
    thumbnail[0, 5, 7] = 3
    edges = outlines(thumbnail)
    assert edges.shape == (1, 2 * 31 * 32)
    assert sorted(edges[edges != 0].round(6)) == [-0.5, -0.5, 0.5, 0.5]  # four sides, length 1 together


def test_a_copy_in_another_format_with_other_metadata_is_exact(tmp_path: Path) -> None:
    picture = landscape()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    picture.save(tmp_path / "a.png", exif=exif)
    picture.save(tmp_path / "b.bmp")
    assert read(tmp_path / "a.png").digest == read(tmp_path / "b.bmp").digest


def test_a_turned_camera_and_a_turned_picture_are_exact_copies(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    landscape().transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=exif)
    landscape().save(tmp_path / "upright.png")
    turned, upright = read(tmp_path / "turned.png"), read(tmp_path / "upright.png")
    assert turned.digest == upright.digest
    assert (turned.turned, upright.turned) == (True, False)


def test_one_pixel_more_or_less_is_no_exact_copy(tmp_path: Path) -> None:
    pixels = np.asarray(landscape()).copy()
    first = fingerprint_of(Image.fromarray(pixels)).digest
    pixels[69, 89, 2] ^= 1
    assert fingerprint_of(Image.fromarray(pixels)).digest != first
    # the same bytes in another shape are another picture
    flat = np.zeros((4, 6, 3), dtype=np.uint8)
    assert fingerprint_of(Image.fromarray(flat)).digest != fingerprint_of(Image.fromarray(flat.reshape(6, 4, 3))).digest


def test_large_pictures_are_hashed_in_strips_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint_of(landscape()).digest
    monkeypatch.setattr("vit.data.fingerprint._STRIP", 200)  # two rows at a time
    assert fingerprint_of(landscape()).digest == whole


def likeness(one: Fingerprint, other: Fingerprint) -> tuple[int, float]:
    """Bits that differ, and correlation of the outlines."""
    thumbnails = [np.frombuffer(of.thumbnail, dtype=np.uint8).reshape(1, 32, 32) for of in (one, other)]
    product = float((outlines(thumbnails[0]) * outlines(thumbnails[1])).sum())
    return (one.perceptual_hash ^ other.perceptual_hash).bit_count(), product


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.resize((45, 35)),
        lambda picture: picture.convert("L"),
        lambda picture: picture.point(lambda level: min(255, round(1.2 * level))),
        lambda picture: picture.quantize(64).convert("RGB"),
    ],
    ids=["half the size", "grey", "lighter", "64 colours"],
)
def test_changed_copies_are_near(change: Callable[[Image.Image], Image.Image]) -> None:
    bits, product = likeness(fingerprint_of(landscape()), fingerprint_of(change(landscape()).convert("RGB")))
    assert bits <= RADIUS
    assert product >= LIKENESS


def test_other_pictures_are_not() -> None:
    prints = [fingerprint_of(landscape(seed)) for seed in range(20)]
    pairs = [likeness(one, other) for n, one in enumerate(prints) for other in prints[:n]]
    assert min(bits for bits, _ in pairs) > RADIUS
    assert max(product for _, product in pairs) < LIKENESS


def test_what_a_file_is_like_is_told(tmp_path: Path) -> None:
    landscape().convert("P").save(tmp_path / "p.gif", save_all=True, append_images=[landscape(1).convert("P")])
    landscape().convert("CMYK").save(tmp_path / "c.jpg")
    clear = landscape().convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "a.png")
    moving, print_, glass = (read(tmp_path / name) for name in ("p.gif", "c.jpg", "a.png"))
    assert (moving.mode, moving.animated, moving.width, moving.height) == ("P", True, 90, 70)
    assert (print_.mode, print_.animated, print_.transparent) == ("CMYK", False, False)
    assert (glass.mode, glass.transparent) == ("RGBA", True)


def test_the_reason_of_an_unreadable_file_does_not_repeat_its_path(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    assert read_fingerprint(tmp_path / "page.jpg") == "not an image, or damaged beyond recognition"
    assert read_fingerprint(tmp_path / "nowhere.jpg") == "No such file or directory"
    assert read_fingerprint(EncodedImage("row 3", b"GIF89a")) == "not an image, or damaged beyond recognition"


def test_the_file_of_a_jpeg_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    landscape().save(path)
    found = read_fingerprint(EncodedImage("row 3", path.read_bytes()))
    opened, really_open = list[str](), open

    def counting(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(file))
        return really_open(file, *args, **kwargs)

    monkeypatch.setattr("vit.data.fingerprint.Path.open", counting)
    monkeypatch.setattr("PIL.Image.builtins.open", counting)
    assert read_fingerprint(path) == found
    assert opened == [str(path)]
