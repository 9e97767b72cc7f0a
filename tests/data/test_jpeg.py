"""JPEG files by the quicker decoder: Pillow's pixels, or none."""

import random
import tomllib
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

import vit.data.jpeg
from vit.data.augment import Augmentation
from vit.data.decode import EncodedImage, UnreadableImageError, read_image
from vit.data.jpeg import jpeg_pixels
from vit.data.order import ImageKey
from vit.data.photographs import Photographs
from vit.nn import Preprocessing

simplejpeg = pytest.importorskip("simplejpeg", reason="it has no wheels here, and Pillow reads everything")
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def picture(width: int = 37, height: int = 22, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def by_pillow(path: Path | EncodedImage) -> torch.Tensor:
    return torch.from_numpy(np.array(read_image(path))).permute(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "how",
    [{}, {"quality": 30}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}],
)
def test_the_pixels_are_pillows(mode: str, how: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(mode=mode).save(path, **how)
    pixels = jpeg_pixels(path)
    assert pixels is not None
    assert torch.equal(pixels, by_pillow(path))
    inside = jpeg_pixels(EncodedImage("a.jpg of a shard", path.read_bytes()))
    assert inside is not None
    assert torch.equal(inside, pixels)


def test_real_photographs_have_pillows_pixels(shared_data: Path) -> None:
    files = sorted((shared_data / "imagenet-sample").rglob("*.jp*g"), key=lambda path: path.name)[::40]
    files += sorted((shared_data / "clothing").rglob("*.jpg"))[::200]
    assert len(files) > 10
    for file in files:
        pixels = jpeg_pixels(file)
        assert pixels is not None, file
        assert torch.equal(pixels, by_pillow(file)), file


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_turned_picture_is_left_to_pillow(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(tmp_path / "exif.jpg", exif=exif)
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    picture().save(tmp_path / "xmp.jpg", xmp=xmp)
    for name in ("exif.jpg", "xmp.jpg"):
        assert (jpeg_pixels(tmp_path / name) is None) == (orientation != 1), name


def test_what_is_not_plain_is_left_to_pillow(tmp_path: Path) -> None:
    picture(mode="CMYK").save(tmp_path / "cmyk.jpg")
    picture().save(tmp_path / "a.png")
    picture().save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-40])
    (tmp_path / "empty.jpg").touch()
    for name in ("cmyk.jpg", "a.png", "cut.jpg", "empty.jpg", "not-there.jpg"):
        assert jpeg_pixels(tmp_path / name) is None, name


def test_nothing_is_taken_that_pillow_refuses_or_sees_otherwise(tmp_path: Path) -> None:
    path, numbers = tmp_path / "a.jpg", random.Random(5)
    picture(120, 90).save(path)
    whole, taken = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole[: numbers.randrange(20, len(whole))] if numbers.random() < 0.3 else whole)
        for _ in range(numbers.randint(0, 4)):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        file = EncodedImage("damaged", bytes(damaged))
        if (pixels := jpeg_pixels(file)) is not None:
            taken += 1
            assert torch.equal(pixels, by_pillow(file))
    assert taken > 10


def test_training_sees_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(4)]
    for number, file in enumerate(files):
        picture(50 + number, 40).save(file)
    spec = Preprocessing(image_size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    data = Photographs(files, torch.arange(4), spec, Augmentation(crop_scale=(0.3, 1.0), flip=0.5))
    with_it = [data[ImageKey(0, 0, number)][0] for number in range(4)]
    monkeypatch.setattr(vit.data.jpeg, "_simplejpeg", lambda: None)
    without = [data[ImageKey(0, 0, number)][0] for number in range(4)]
    assert all(torch.equal(*pair) for pair in zip(with_it, without, strict=True))


def test_a_damaged_file_is_still_named(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-40])
    spec = Preprocessing(image_size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    data = Photographs([tmp_path / "a.jpg"], torch.arange(1), spec, Augmentation(crop_scale=(0.3, 1.0)))
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: "):
        data[ImageKey(0, 0, 0)]


def test_a_plain_install_has_it_here() -> None:
    lines = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    marker = next(wanted for line in lines if (wanted := Requirement(line)).name == "simplejpeg").marker
    assert marker is not None
    assert marker.evaluate() is (find_spec("simplejpeg") is not None)
    assert not marker.evaluate({"sys_platform": "linux", "platform_machine": "riscv64"})
    assert not marker.evaluate({"python_version": "3.15"})  # to be raised when there are wheels


@pytest.fixture
def not_looked_at_yet() -> Iterator[None]:
    """As if this process had not compared the two decoders."""
    vit.data.jpeg._simplejpeg.cache_clear()
    yield
    vit.data.jpeg._simplejpeg.cache_clear()


@pytest.mark.parametrize("quicker", ["fastdct", "fastupsample"])
def test_a_decoder_that_smooths_otherwise_than_pillows_is_not_used(
    quicker: str, not_looked_at_yet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture().save(tmp_path / "a.jpg")
    monkeypatch.setattr(simplejpeg, "decode_jpeg", partial(simplejpeg.decode_jpeg, **{quicker: True}))
    assert jpeg_pixels(tmp_path / "a.jpg") is None


def test_what_there_is_no_memory_for_is_left_to_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(content: bytes) -> None:
        raise MemoryError

    picture().save(tmp_path / "a.jpg")
    assert jpeg_pixels(tmp_path / "a.jpg") is not None
    monkeypatch.setattr(simplejpeg, "decode_jpeg", no_memory)
    assert jpeg_pixels(tmp_path / "a.jpg") is None


def test_metadata_that_is_damaged_draws_no_warning_of_pillow(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "words that are longer than four bytes"
    picture().save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    at = whole.index(b"words") - 4  # the length or place of the words
    for damage in range(at - 12, at):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            jpeg_pixels(EncodedImage("a.jpg", whole[:damage] + b"\xee" + whole[damage + 1 :]))
