"""image file -> pixels decoded and resized once, and kept: in memory that all workers share, or on disk for later runs.

What is evaluated is kept as the model sees it, pixel for pixel. What is cropped at random is kept whole, its shorter
side reduced, so that later crops are cut out of the reduced picture.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import WeakSet

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vit.data.decode import DECODER_ERRORS, EncodedImage, image_size, read_image
from vit.data.memory import free_bytes
from vit.data.preprocess import fit, to_tensor
from vit.data.sources.labelled import ImageFile
from vit.nn import Preprocessing

Caching = Literal["none", "ram", "disk"]
Pixels = UInt8[Tensor, "c h w"]


class CacheError(ValueError):
    """The cache does not fit, or the disk it is on is full; the message says what is needed and what is free."""


@dataclass(frozen=True)
class Form:
    """In what shape pictures are kept."""

    spec: Preprocessing
    shorter_side: int | None = None
    """Of the whole picture, pixels, never enlarged; None: what the model sees, resized and cut out by `spec`."""

    def decoded(self, file: ImageFile) -> Pixels:
        """The picture of a file in this form; errors as `read_image`."""
        picture = read_image(file, self.spec.channels)
        if self.shorter_side is None:
            return to_tensor(fit(picture, self.spec))
        size = self._size(*picture.size)
        return to_tensor(picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC))

    def num_bytes(self, width: int, height: int) -> int:
        """That a picture of this size takes; the same for one turned on its side."""
        width, height = self.spec.image_size if self.shorter_side is None else self._size(width, height)
        return self.spec.channels * width * height

    def _size(self, width: int, height: int) -> tuple[int, int]:
        scale = min((self.shorter_side or 0) / min(width, height), 1.0)
        return max(round(width * scale), 1), max(round(height * scale), 1)


class RamCache:
    """Pictures in shared memory, a slot of equal size for each; one that is larger than its slot is decoded each time.

    A picture's height is written after its pixels, and one without a height is not there. Two workers at the same
    picture write the same bytes.
    """

    def __init__(self, num_images: int, channels: int, slot: int) -> None:
        self.channels = channels
        self.slots = torch.empty(num_images, slot, dtype=torch.uint8).share_memory_()
        self.heights = torch.zeros(num_images, dtype=torch.int32).share_memory_()
        self.widths = torch.zeros(num_images, dtype=torch.int32).share_memory_()

    def to_come(self) -> int:
        """Bytes that the pictures not kept yet will take."""
        return int((self.heights == 0).sum()) * self.slots.shape[1]

    def get(self, index: int, decode: Callable[[], Pixels]) -> Pixels:
        """The picture as it is kept, or else decoded and kept from now on."""
        if height := int(self.heights[index]):
            width = int(self.widths[index])
            kept = self.slots[index, : height * width * self.channels].view(height, width, self.channels)
            return rearrange(kept, "h w c -> c h w").clone()  # what is handed out may be changed
        pixels = decode()
        if pixels.numel() <= self.slots.shape[1]:
            self.slots[index, : pixels.numel()] = rearrange(pixels, "c h w -> (h w c)")
            self.widths[index] = pixels.shape[2]
            self.heights[index] = pixels.shape[1]
        return pixels


class DiskCache:
    """Pictures in a file each, named by image and form, so that a changed image is decoded anew.

    An image file is known by path, size and time of change; one that lies in a larger file by its content. A picture is
    written under another name first and checked by a checksum when read, so that nothing half written is ever used.
    """

    def __init__(self, files: Sequence[ImageFile], form: Form, folder: Path) -> None:
        self.files, self.folder = files, folder
        spec = form.spec
        seen = (spec.image_size, spec.interpolation, spec.crop_pct, spec.crop_mode)
        self._form = (_VERSION, spec.channels, form.shorter_side or seen)
        self._sampled = _sample(files, form)

    def kept(self) -> float:
        """The share of the pictures that is there already, estimated."""
        return sum(self.path(index).is_file() for index in self._sampled) / max(len(self._sampled), 1)

    def to_come(self) -> int:
        """Bytes that the pictures not kept yet will take, estimated."""
        each = sum(self._sampled.values()) / max(len(self._sampled), 1)
        return int(len(self.files) * each * (1 - self.kept()))

    def path(self, index: int) -> Path:
        """Where the picture is kept, or will be."""
        file = self.files[index]
        if isinstance(file, EncodedImage):
            content = file.content
        else:
            state = file.stat()
            content = f"{file.absolute()} {state.st_size} {state.st_mtime_ns}".encode()
        name = hashlib.blake2b(repr(self._form).encode() + b"\0" + content, digest_size=20).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.pixels"

    def get(self, index: int, decode: Callable[[], Pixels]) -> Pixels:
        """As `RamCache.get`.

        Raises:
            CacheError: it cannot be written.
        """
        path = self.path(index)
        if (pixels := self._read(path)) is None:
            pixels = decode()
            self._write(path, pixels)
        return pixels

    def _read(self, path: Path) -> Pixels | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(content) < _HEADER.size:
            return None
        checksum, channels, height, width = _HEADER.unpack_from(content)
        pixels = np.frombuffer(bytearray(content), np.uint8, offset=_HEADER.size)
        if pixels.size != channels * height * width or zlib.crc32(pixels.data) != checksum:
            return None
        return rearrange(torch.from_numpy(pixels), "(h w c) -> c h w", h=height, w=width)

    def _write(self, path: Path, pixels: Pixels) -> None:
        content = rearrange(pixels, "c h w -> (h w c)").contiguous().numpy()
        unfinished: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                unfinished = Path(file.name)
                file.write(_HEADER.pack(zlib.crc32(content.data), *pixels.shape))
                file.write(content.data)
            unfinished.replace(path)
        except OSError as error:
            free = shutil.disk_usage(_existing(path)).free
            full = error.errno == errno.ENOSPC and free > 2 * content.nbytes
            why = f"{error.strerror}{', for one more file perhaps: df -i says' if full else ''}"
            raise CacheError(
                f"data.cache=disk: {_amount(content.nbytes)} could not be written to {self.folder}, where "
                f"{_amount(free)} are free ({why}); set data.cache_folder to another disk, or "
                "data.cache=none."
            ) from None
        finally:
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)


Cache = RamCache | DiskCache
"""Pictures by their number in a part of the data."""

_OPEN: WeakSet[Cache] = WeakSet()
"""Caches in use in this process: what they will still take is not free for another."""


def open_cache(
    caching: Caching, files: Sequence[ImageFile], form: Form, folder: Path, part: str, copies: int = 1
) -> tuple[Cache, str]:
    """An empty cache, or on disk the one of earlier runs, and a sentence on what it will take.

    The size is estimated from some images' headers.

    Args:
        caching: ram or disk.
        files: The images.
        form: In what shape they are kept.
        folder: Of the cache on disk.
        part: What a message calls these images.
        copies: Processes that train, each of which has memory of its own.

    Raises:
        CacheError: it does not fit into what is free and not spoken for by another cache, a tenth of that left over.
    """
    if caching == "ram":
        sizes = sorted(_sample(files, form).values())
        slot = sizes[min(int(len(sizes) * 0.95), len(sizes) - 1)] if sizes else 0
        needed, what, kept = len(files) * slot * copies, "memory", 0.0
        free = min(free_bytes(torch.device("cpu")), _shared_memory())
        cache: Cache = RamCache(0, form.spec.channels, slot)  # the whole of it where it fits
    else:
        slot, cache = 0, DiskCache(files, form, folder)
        needed, what, kept = cache.to_come(), str(folder), cache.kept()
        free = shutil.disk_usage(_existing(folder)).free
    promised = sum(other.to_come() for other in _OPEN if isinstance(other, RamCache) == (caching == "ram")) * copies
    if needed + promised > 0.9 * free:
        spoken_for = f" and {_amount(promised)} are for other images" if promised else ""
        raise CacheError(
            f"data.cache={caching}: the {len(files):,} {part} images would take {_amount(needed)} of {what}, of which "
            f"{_amount(free)} are free{spoken_for}; data.cache={'disk' if caching == 'ram' else 'none'}"
            f"{' or a smaller data.cache_size' if form.shorter_side else ''} does with less."
        )
    if caching == "ram":
        cache = RamCache(len(files), form.spec.channels, slot)
    _OPEN.add(cache)
    shape = "as the model sees them" if form.shorter_side is None else f"shorter side {form.shorter_side} pixels"
    already = f", {kept:.0%} of them there already" if kept else ""
    sentence = f"cache of {len(files):,} {part} images, {shape}: about {_amount(needed)} of {what}{already}."
    return cache, sentence


def default_folder() -> Path:
    """In the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plain-vit" / "images"


def _sample(files: Sequence[ImageFile], form: Form) -> dict[int, int]:
    """Bytes that some of the pictures will take, by number of the picture, from the headers of their files."""
    some = range(0, len(files), max(len(files) // _SAMPLED, 1))
    return {index: form.num_bytes(*size) for index in some if (size := _size_of(files, index))}


def _size_of(files: Sequence[ImageFile], index: int) -> tuple[int, int] | None:
    """Width and height by an image's header; None where it cannot be read, which is said when the image is used."""
    try:
        return image_size(files[index])
    except DECODER_ERRORS:
        return None


def _shared_memory() -> int:
    """Bytes free for sharing between processes: containers have little unless they are given more."""
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).free if folder.is_dir() else 1 << 62


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _amount(size: int) -> str:
    units = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
    name = next((name for name, unit in units.items() if size >= unit), "kB")
    return f"{size / units[name]:,.1f} {name}"


_SAMPLED = 200
_VERSION = 2
"""Of the form of files; raised whenever decoding or resizing changes."""
_HEADER = struct.Struct("<IIII")
