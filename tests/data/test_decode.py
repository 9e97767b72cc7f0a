"""Every file becomes the right picture, or an error that names it."""

import csv
import random
import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.data.decode import BACKGROUND, UnreadableImageError, read_image

ORIENTATION = 0x0112


def upright() -> np.ndarray:
    """2 rows, 3 columns: red, green, blue over black, white, grey."""
    return np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0] * 3, [255] * 3, [128] * 3]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("orientation", "as_stored"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.swapaxes(0, 1)),
        (6, lambda pixels: np.rot90(pixels, 1)),
        (7, lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda pixels: np.rot90(pixels, -1)),
    ],
)
def test_a_turned_camera_gives_an_upright_picture(
    orientation: int, as_stored: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored(upright()))).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "turned.png")), upright())


def test_the_memory_of_a_picture_is_used_again_and_no_picture_loses_its_own(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (60, 50), (number, 2 * number, 200)).save(tmp_path / f"{number}.png")
    read_image(tmp_path / "0.png")
    Image.core.reset_stats()
    kept = [read_image(tmp_path / f"{number}.png") for number in range(3)]
    assert Image.core.get_stats()["reused_blocks"] > 0
    assert [picture.getpixel((59, 49)) for picture in kept] == [(0, 0, 200), (1, 2, 200), (2, 4, 200)]


def test_sixteen_bit_greys_are_scaled_and_not_cut_off_at_255(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 256], [32768, 65278, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    picture = read_image(tmp_path / "deep.png", channels=1)
    # divided by 257 and rounded: 256 / 257 = 0.996 -> 1, 32768 / 257 = 127.50 -> 128
    assert np.asarray(picture).tolist() == [[0, 1, 1], [128, 254, 255]]


def test_big_endian_sixteen_bit_tiff_reads_like_the_png(tmp_path: Path) -> None:
    levels = np.array([[0, 65535, 32768]], dtype=np.uint16)
    Image.frombytes("I;16B", (3, 1), levels.astype(">u2").tobytes()).save(tmp_path / "deep.tif")
    assert np.asarray(read_image(tmp_path / "deep.tif", channels=1)).tolist() == [[0, 255, 128]]


def tiff(width: int, bits: int, photometric: int, pixels: bytes) -> bytes:
    """A TIFF of one row of greys, as Pillow reads but does not write it."""
    first = 8 + 2 + 9 * 12 + 4
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, first), (277, 1), (278, 1)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in [*tags, (279, len(pixels))])
    return struct.pack("<2sHIH", b"II", 42, 8, 9) + entries + bytes(4) + pixels


def test_greys_of_twelve_bits_reach_from_black_to_white(tmp_path: Path) -> None:
    # 0, 4095, 2048, 16 in one and a half bytes each; 16 / 4095 * 255 = 0.996 -> 1, 2048 / 4095 * 255 = 127.53 -> 128
    (tmp_path / "scan.tif").write_bytes(tiff(4, 12, 1, bytes.fromhex("000fff800010")))
    assert np.asarray(read_image(tmp_path / "scan.tif", channels=1)).tolist() == [[0, 255, 128, 1]]


def test_a_sixteen_bit_tiff_in_which_zero_is_white_is_not_shown_as_its_negative(tmp_path: Path) -> None:
    levels = np.array([0, 65535, 257], dtype="<u2").tobytes()
    (tmp_path / "film.tif").write_bytes(tiff(3, 16, 0, levels))
    assert np.asarray(read_image(tmp_path / "film.tif", channels=1)).tolist() == [[255, 0, 254]]
    (tmp_path / "print.tif").write_bytes(tiff(3, 16, 1, levels))
    assert np.asarray(read_image(tmp_path / "print.tif", channels=1)).tolist() == [[0, 255, 1]]


def test_the_transparent_grey_of_a_sixteen_bit_png_is_laid_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 514]], dtype=np.uint16)).save(tmp_path / "deep.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "deep.png", channels=1)).tolist() == [[255, 0, 2]]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5], [1.0, 3.0]], dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableImageError, match=r"float\.tif: 32-bit pixels \(mode F\) have no agreed range"):
        read_image(tmp_path / "float.tif")


def test_transparency_is_laid_on_white_and_hidden_colours_stay_hidden(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    # opaque, fully clear, and a fifth of black over white: 255 * 0.8 = 204
    assert BACKGROUND == (255, 255, 255)
    assert np.asarray(read_image(tmp_path / "clear.png")).tolist() == [[[10, 20, 30], [255] * 3, [204] * 3]]


def test_transparency_of_greys_and_palettes_is_laid_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[7, 255], [7, 0]]], dtype=np.uint8), mode=None).save(tmp_path / "la.png")
    assert np.asarray(read_image(tmp_path / "la.png", channels=1)).tolist() == [[7, 255]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=1)
    assert np.asarray(read_image(tmp_path / "p.png")).tolist() == [[[200, 0, 0], [255] * 3]]


def test_a_model_of_greys_gets_greys_and_one_of_colours_colours(write_image: Callable[..., str]) -> None:
    assert read_image(write_image("grey.png", (3, 2), "L")).mode == "RGB"
    assert read_image(write_image("colour.png", (3, 2), "RGB"), channels=1).mode == "L"


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    red.save(tmp_path / "moving.gif", save_all=True, append_images=[blue])
    assert read_image(tmp_path / "moving.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_cameras_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    left, right = Image.new("RGB", (16, 16), (200, 100, 50)), Image.new("RGB", (16, 16), (0, 0, 0))
    left.save(tmp_path / "stereo.mpo", save_all=True, append_images=[right])
    pixel = np.asarray(read_image(tmp_path / "stereo.mpo"))[8, 8].astype(int)
    assert np.abs(pixel - [200, 100, 50]).max() <= 3  # JPEG loses some


def test_a_truncated_photograph_is_an_error_and_not_half_grey(write_image: Callable[..., str]) -> None:
    path = Path(write_image("cut.jpg", (64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match=r"cut\.jpg: image file is truncated"):
        read_image(path)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "empty.png").touch()
    for name in ("page.jpg", "empty.png"):
        with pytest.raises(UnreadableImageError, match=rf"{name}: not an image, or damaged beyond recognition\."):
            read_image(tmp_path / name)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "nowhere.png")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (10_001, 10_000)).save(tmp_path / "map.png")
    with pytest.raises(UnreadableImageError, match=r"map\.png: 10001 x 10000 pixels are more than 100 million\."):
        read_image(tmp_path / "map.png")


def test_a_header_of_thousands_of_millions_of_pixels_is_told_our_limit_and_not_pillows(tmp_path: Path) -> None:
    (tmp_path / "bomb.ppm").write_bytes(b"P6 60000 60000 255\n")
    with pytest.raises(UnreadableImageError, match=r"bomb\.ppm: its header has far more than 100 million pixels\."):
        read_image(tmp_path / "bomb.ppm")


def test_pillow_is_left_as_it_was_found(write_image: Callable[..., str]) -> None:
    from PIL import ImageFile

    read_image(write_image("a.png"))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", UserWarning, stacklevel=1)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000"])
def test_bytes_damaged_at_random_give_a_picture_or_a_named_error(file_format: str, tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = BytesIO()
    Image.effect_noise((17, 19), 50).convert("RGB").save(whole, format=file_format)
    path = tmp_path / "damaged.jpg"
    for _ in range(60):
        damaged = bytearray(whole.getvalue())
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(1, len(damaged))])])
        try:
            assert read_image(path).mode == "RGB"
        except UnreadableImageError as error:
            assert str(path) in str(error)  # noqa: PT017  # a picture is as good


def test_every_nasty_file_gives_a_picture_or_an_error_that_names_it(shared_data: Path) -> None:
    with (shared_data / "nasty-images" / "manifest.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    refused = set()
    for name in names:
        try:
            assert read_image(shared_data / "nasty-images" / name).mode == "RGB"
        except UnreadableImageError as error:
            assert name in str(error)  # noqa: PT017  # a picture is as good
            refused.add(name)
    readable = {
        "hopper_gray.jpg",
        "pil_sample_cmyk.jpg",
        "sugarshack_bad_mpo_header.jpg",
        "été 写真 (1).JPEG",
        "pil123p.png",
    }
    broken = {"half_download.JPEG", "zero_byte.jpg", "html_error_page.jpg", "decompression_bomb.gif", "._photo.jpg"}
    assert len(names) == 51
    assert not refused & readable
    assert broken <= refused


def test_photographs_turned_by_every_camera_look_alike(shared_data: Path) -> None:
    pictures = [
        np.asarray(read_image(shared_data / "nasty-images" / f"hopper_orientation_{n}.jpg")).astype(float)
        for n in (3, 6, 7, 8)
    ]
    for other in pictures[1:]:
        assert np.abs(pictures[0] - other).mean() < 4  # JPEG blocks lie differently in each


def test_the_sixteen_bit_gradient_does_not_turn_white(shared_data: Path) -> None:
    levels = np.asarray(read_image(shared_data / "nasty-images" / "gray16_gradient.png"))
    assert levels.min() == 0
    assert levels.max() == 255
    assert 120 < levels.mean() < 135
