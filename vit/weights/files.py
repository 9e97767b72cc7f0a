"""weight file -> tensors by name, without running any code that is in it.

safetensors, torch's `.pth` and its other names (only what `weights_only=True` reads), numpy's `.npz` (no pickles), and
the `.index.json` of weights that lie in several files.
Asked for shapes only, it reads as little of the file as its format allows and returns tensors on the meta device.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

NOT_WEIGHTS = {
    b"<": "is a web page, not weights; a download went wrong",
    b"version https://git-lfs": "is a Git LFS pointer, not weights; `git lfs pull` fetches them",
}
"""First bytes of files that are often found where weights should be -> what they are."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""safetensors' names of number types -> torch's, of those that weights and counters have."""

BEGINNINGS = {
    rb"PK": "a zip archive, as torch and numpy write them",
    rb"\x80[\x02-\x05]": "a pickle",
    rb".{8}\{": "safetensors",
    rb"\x93NUMPY": "a single array of numpy",
    rb"\x89HDF": "HDF5",
    rb"GGUF": "GGUF",
    rb"\x1f\x8b": "gzip",
}
"""How a file begins, as a regular expression -> what it then looks like."""

DAMAGED = (
    RuntimeError,  # NotImplementedError, of zip versions and encryption, is one of these
    EOFError,
    KeyError,
    IndexError,
    UnicodeDecodeError,
    AssertionError,
    AttributeError,
    TypeError,
    OSError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What torch, numpy and zipfile raise when a file is not what they take it for: all of these were seen."""


BFLOAT16 = np.dtype("V2")
"""How big_vision's bfloat16 comes out of numpy, which has no such type."""


def read_tensors(path: Path, shapes_only: bool = False) -> dict[str, Tensor]:
    """All tensors of a file; those of nested dictionaries have their keys joined by dots.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty, truncated or foreign file, or one that could run code when read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist.")
    if path.suffix not in READERS:
        raise ValueError(f"{path} is no weight file that is read here; {', '.join(READERS)} are.")
    _refuse_what_is_no_weights(path)
    tensors = READERS[path.suffix](path, shapes_only)
    if not tensors:
        raise ValueError(f"{path} has no tensors in it.")
    return tensors


def _refuse_what_is_no_weights(path: Path) -> None:
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty (0 bytes).")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    for beginning, what in NOT_WEIGHTS.items():
        if start.startswith(beginning):
            raise ValueError(f"{path} ({size} bytes) {what}.")


def size_of(path: Path) -> int:
    """Bytes of a weight file; of an index, of the files it names."""
    if path.suffix != ".json":
        return path.stat().st_size
    names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    return sum(path.with_name(name).stat().st_size for name in names)


def _damaged(path: Path, kind: str, error: Exception | None = None) -> ValueError:
    """The error of a file that cannot be read, with its reader's reason or, without an error, what it begins like."""
    # what unpickling noise and reading behind the end say, a mere number, tells nobody anything
    tells_nothing = error is None or isinstance(error, (KeyError, IndexError, OSError)) or _is_cut(path)
    reason = _beginning(path) if tells_nothing else str(error).partition("\n")[0].rstrip(".")
    return ValueError(f"{path} ({path.stat().st_size} bytes) is damaged or not a {kind} file ({reason}).")


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    for pattern, what in BEGINNINGS.items():
        if re.match(pattern, start, re.DOTALL):
            return f"it begins like {what}{', and its end is missing' if _is_cut(path) else ''}"
    return f"it begins with the bytes {start[:4].hex(' ')}"


def _is_cut(path: Path) -> bool:
    """Whether this is the beginning of a zip archive, whose table of contents stands at its end."""
    with path.open("rb") as file:
        return file.read(2) == b"PK" and not zipfile.is_zipfile(path)


def _read_safetensors(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = cast("list[str]", list(file.keys()))
            if not shapes_only:
                return {name: file.get_tensor(name) for name in names}
            headers = {name: file.get_slice(name) for name in names}
            return {
                name: torch.empty(header.get_shape(), dtype=_dtype_of_safetensors(header.get_dtype()), device="meta")
                for name, header in headers.items()
            }
    except SafetensorError as error:
        raise _damaged(path, "safetensors", error) from None


def _dtype_of_safetensors(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise SafetensorError(f"numbers of type {name} are not read here; {', '.join(DTYPES)} are")
    return DTYPES[name]


def _read_torch(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    """A pickle of tensors. DINO and MAE keep their command line beside them, a Namespace, which holds only data."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of other kinds of pickle, of which our errors speak
            content = torch.load(path, map_location="meta" if shapes_only else "cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words recommend to read it without weights_only
        if refused := re.search(r"GLOBAL (\S+) (?:was|whose)", str(error)):
            raise ValueError(
                f"{path} holds {refused[1]}, which torch does not read with weights_only=True since it might run code; "
                f"open it in the library it came from and save its state dict as safetensors."
            ) from None
        raise _damaged(path, "torch") from None
    except DAMAGED as error:
        if "TorchScript" in str(error):
            raise ValueError(f"{path} is a TorchScript program, which is not run; save its state dict.") from None
        raise _damaged(path, "torch", None if "weights_only" in str(error) else error) from None
    return dict(_flatten(content))


def _flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested dictionaries: `{"model": {"norm.bias": t}}` has `model.norm.bias`."""
    if isinstance(content, Tensor):
        yield prefix.removesuffix("."), content
    elif isinstance(content, Mapping):
        for key, value in cast("Mapping[Any, Any]", content).items():
            yield from _flatten(value, f"{prefix}{key}.")


def _read_npz(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            read = _npy_shape if shapes_only else _npy
            return {name.removesuffix(".npy"): read(archive, name) for name in members}
    except DAMAGED as error:
        raise _damaged(path, "numpy .npz", error) from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} has pickled objects in it, which would run code when read, so it is refused; "
                f"save plain arrays with numpy.savez."
            ) from None
        raise _damaged(path, "numpy .npz", error) from None


def _read_index(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    """Hugging Face's index of a model in several files: the files beside it that it names, all of whose tensors count.

    Raises:
        ValueError: no such index, a file that is not beside it, or a tensor that is not where the index says.
    """
    try:
        places: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no index of weights: it has no weight_map ({error!r}).") from None
    if foreign := [name for name in names if Path(name).name != name or Path(name).suffix not in READERS]:
        raise ValueError(f"{path} names {foreign[0]!r}, which is no weight file beside it.")
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= read_tensors(path.with_name(name), shapes_only)
    if missing := places.keys() - tensors.keys():
        raise ValueError(f"{path} names the tensor {min(missing)}, which {places[min(missing)]} does not have.")
    return tensors


def _npy(archive: zipfile.ZipFile, name: str) -> Tensor:
    array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.asarray(array))


def _npy_shape(archive: zipfile.ZipFile, name: str) -> Tensor:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return torch.empty(shape, dtype=_dtype(dtype), device="meta")


def _dtype(dtype: np.dtype[Any]) -> torch.dtype:
    if dtype.hasobject:
        raise ValueError("objects are not read, since allow_pickle=False")
    return torch.bfloat16 if dtype == BFLOAT16 else torch.from_numpy(np.empty(0, dtype)).dtype


READERS: dict[str, Callable[[Path, bool], dict[str, Tensor]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".tar": _read_torch,  # timm's own training writes .pth.tar
    ".ckpt": _read_torch,
    ".npz": _read_npz,
    ".json": _read_index,
}
"""How a file is read, by its suffix."""
