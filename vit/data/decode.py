"""image file -> picture: the one decoder, so that training, prediction and explanation see the same pixels.

Pillow reads the file; what Pillow leaves to its caller is done here: orientation, 16-bit greys, transparency, limits,
and an error that names the file.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga", ".ico"}
)
"""What counts as an image when a folder is searched, in any case."""

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO"]
"""What is decoded. EPS and PDF are left out: Pillow hands them to another program."""

MAX_PIXELS = 100_000_000
"""Pictures with more pixels are refused: decoded they take over 300 MB (a decompression bomb, or a map)."""

BACKGROUND = (255, 255, 255)
"""The colour behind transparent pixels. Dropping the alpha channel would show whatever colour hides there."""

PILLOW_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
)
DECODER_ERRORS = (*PILLOW_ERRORS, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow's decoders raise on damaged files, by its issue tracker and `tests/data/test_decode.py`."""


class UnreadableImageError(ValueError):
    """An image file cannot be read; the message names the file and the reason."""


@dataclass(frozen=True)
class EncodedImage:
    """An image file that lies in another file: its bytes, and what a message calls it."""

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


_BLOCKS_KEPT = 4
"""Pieces of memory, of 16 MB at most, that Pillow keeps for the next pictures. As it comes it keeps none: every picture
is paged in anew, which takes a tenth of the time of a photograph, and cropped too a sixth."""

if not Image.core.get_blocks_max():  # else somebody has chosen, by PILLOW_BLOCKS_MAX perhaps
    Image.core.set_blocks_max(_BLOCKS_KEPT)


def read_image(path: str | os.PathLike[str] | EncodedImage, channels: int = 3) -> Image.Image:
    """The picture in a file, upright, opaque, 8 bits a channel: RGB, or grey when `channels` is 1.

    The first frame of an animation. Transparency is laid on white. 16-bit greys are scaled, not cut off at 255.

    Raises:
        FileNotFoundError: no such file.
        UnreadableImageError: damaged, truncated, not an image, too large, or with values of an unknown range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow: our own size limit is an error, the rest concerns metadata
            content = io.BytesIO(path.content) if isinstance(path, EncodedImage) else path
            with Image.open(content, formats=FORMATS) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise UnreadableImageError(
                        f"{file.width} x {file.height} pixels are more than {MAX_PIXELS // 10**6} million"
                    )
                file.load()  # else a picture that needs no change would be read when the file is closed
                picture = _opaque(_eight_bits(_upright(file), file))
                picture = picture if picture.mode in {"L", "1"} else _in_mode(picture, "RGB")  # Lab has no way to L
                return _in_mode(picture, "L" if channels == 1 else "RGB")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"{path}: not an image, or damaged beyond recognition.") from None
    except Image.DecompressionBombError:  # Pillow's own limit, nearly twice ours
        raise UnreadableImageError(
            f"{path}: its header has far more than {MAX_PIXELS // 10**6} million pixels."
        ) from None
    except DECODER_ERRORS as error:
        reason = str(error).rstrip(".")
        raise UnreadableImageError(f"{path}: {reason}.") from None


def image_size(path: str | os.PathLike[str] | EncodedImage) -> tuple[int, int]:
    """Width and height as the header has them, before the picture is turned upright; errors are `DECODER_ERRORS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = io.BytesIO(path.content) if isinstance(path, EncodedImage) else path
        with Image.open(content, formats=FORMATS) as file:
            return file.size


def _upright(file: Image.Image) -> Image.Image:
    """Turned as EXIF says; Pillow would copy a picture that needs no turning."""
    turned = file.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(file) if turned else file


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Converted where that changes anything; Pillow would copy the picture otherwise."""
    return picture if picture.mode == mode else picture.convert(mode)


def _eight_bits(picture: Image.Image, file: Image.Image) -> Image.Image:
    """Scale deep greys of a file to 8 bits; Pillow's own conversion turns everything above 255 white."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and file.format in {"PNG", "PPM"}):
        return _scaled(picture, getattr(file, "tag_v2", {}))
    if picture.mode in {"I", "F"}:
        raise UnreadableImageError(
            f"32-bit pixels (mode {picture.mode}) have no agreed range from black to white; save it with 8 or 16 bits"
        )
    return picture


def _scaled(picture: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Greys from 0 to 65535, or 4095 in a TIFF of 12 bits, as 8 bits, with what Pillow leaves undone: a TIFF in which 0
    is white, and the one grey that a PNG calls transparent.
    """  # noqa: D205
    white = 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 65535
    levels = np.asarray(picture).astype(np.uint32)
    greys = ((levels * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        greys = 255 - greys
    transparent = picture.info.get("transparency")
    if transparent is None:
        return Image.fromarray(greys)
    return Image.fromarray(np.stack([greys, np.where(levels == transparent, 0, 255).astype(np.uint8)], axis=-1))


def _opaque(picture: Image.Image) -> Image.Image:
    """Lay a picture with transparency on the background."""
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, (*BACKGROUND, 255)), picture).convert("RGB")
