"""image file -> what `vit data check` knows it by: its size and mode, and marks by which copies of it are found.

numpy and Pillow only, so that the processes that read files start in a moment.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vit.data.decode import DECODER_ERRORS, FORMATS, EncodedImage, UnreadableImageError, read_image
from vit.data.jpeg_warnings import START_OF_JPEG, jpeg_warning

SIDE = 32
"""Pixels a side of the grey thumbnail from which the hash is made and by which two images are compared."""

FREQUENCIES = 8
"""Of the cosine transform, hashed in each direction: 8 x 8 bits."""

_COSINES = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(np.float32)
_STRIP = 1 << 20
"""Pixels that are copied at once for the digest: a picture of 100 million would else be in memory twice."""
_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """What is known of an image that could be read."""

    width: int
    """Pixels, of the upright picture."""

    height: int

    mode: str
    """As stored: RGB, L, P, CMYK, I;16 ..."""

    digest: bytes
    """Of size and decoded pixels: the same for the same picture, however its file is packed and described."""

    perceptual_hash: int
    """64 bits most of which stay when the picture is resized, compressed or made lighter."""

    thumbnail: bytes
    """The picture squashed to 32 x 32 greys, row by row."""

    turned: bool = False
    """The file says by EXIF that the picture is to be turned or mirrored."""

    animated: bool = False
    """There are more frames or pages than the first, which is the one that is read."""

    transparent: bool = False

    warning: str = ""
    """What libjpeg warns of, where the picture came out all the same: a part of it may be missing or grey."""


def read_fingerprint(path: str | os.PathLike[str] | EncodedImage) -> Fingerprint | str:
    """The fingerprint of an image file, or the reason why it cannot be read, without its path."""
    try:
        source = path if isinstance(path, EncodedImage) else _jpeg_in_memory(path)
        found = fingerprint_of(read_image(source))
        if isinstance(source, EncodedImage):
            found = replace(found, warning=jpeg_warning(source.content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in read_image
            with Image.open(
                io.BytesIO(source.content) if isinstance(source, EncodedImage) else source, formats=FORMATS
            ) as file:
                return replace(
                    found,
                    mode=file.mode,
                    turned=file.getexif().get(_ORIENTATION, 1) in range(2, 9),
                    # MPO is a camera's JPEG with a preview or a second view behind it
                    animated=file.format != "MPO" and bool(getattr(file, "is_animated", False)),
                    transparent=file.has_transparency_data,
                )
    except UnreadableImageError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    except OSError as error:
        return error.strerror or str(error)
    except DECODER_ERRORS as error:  # of the header, where the picture could be read
        return f"{type(error).__name__}: {error}"


def _jpeg_in_memory(path: str | os.PathLike[str]) -> str | os.PathLike[str] | EncodedImage:
    """A JPEG file with its bytes, of which all are looked at three times; another file as it is, which may be huge."""
    with Path(path).open("rb") as file:
        if file.read(len(START_OF_JPEG)) != START_OF_JPEG:
            return path
        file.seek(0)
        return EncodedImage(str(path), file.read())


def fingerprint_of(picture: Image.Image) -> Fingerprint:
    """The fingerprint of a decoded picture."""
    grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    thumbnail = np.asarray(grey)
    return Fingerprint(
        width=picture.width,
        height=picture.height,
        mode=picture.mode,
        digest=_digest(picture),
        perceptual_hash=perceptual_hash(thumbnail),
        thumbnail=thumbnail.tobytes(),
    )


def perceptual_hash(thumbnail: UInt8[np.ndarray, "32 32"]) -> int:
    """A bit for each low frequency of the cosine transform: whether it is above the median (pHash; Zauner 2010)."""
    transformed = _COSINES @ thumbnail.astype(np.float32) @ _COSINES.T
    return int(np.packbits(transformed > np.median(transformed)).view(np.uint64)[0])


def outlines(thumbnails: UInt8[np.ndarray, "n 32 32"]) -> Float[np.ndarray, "n edges"]:
    """Differences of neighbouring pixels, scaled to length 1: their product is the correlation of two outlines.

    Outlines tell apart what has only its place and background in common, as two shirts on one bed have.
    """
    greys = thumbnails.astype(np.float32)
    edges = np.concatenate([np.diff(greys, axis=axis).reshape(len(greys), -1) for axis in (1, 2)], axis=1)
    return edges / np.maximum(np.linalg.norm(edges, axis=1, keepdims=True), 1e-6)


def _digest(picture: Image.Image) -> bytes:
    width, height = picture.size
    found = hashlib.sha256(f"{picture.mode} {width} {height}".encode())
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        found.update(picture.crop((0, top, width, min(top + rows, height))).tobytes())
    return found.digest()[:16]
