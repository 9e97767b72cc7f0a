"""weight file -> tensors by name, without running any code that is in it.

safetensors, torch's `.pth` and its other names (only what `weights_only=True` reads) and numpy's `.npz` (no pickles).
Asked for shapes only, it reads as little of the file as its format allows and returns tensors on the meta device.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import zipfile
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
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""safetensors' names of number types -> torch's, of those that weights and counters have."""


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


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    reason = str(error).partition("\n")[0]
    return ValueError(f"{path} ({path.stat().st_size} bytes) is damaged or not a {kind} file ({reason}).")


def _read_safetensors(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = cast("list[str]", list(file.keys()))
            if not shapes_only:
                return {name: file.get_tensor(name) for name in names}
            headers = {name: file.get_slice(name) for name in names}
            return {
                name: torch.empty(header.get_shape(), dtype=DTYPES.get(header.get_dtype()), device="meta")
                for name, header in headers.items()
            }
    except SafetensorError as error:
        raise _damaged(path, "safetensors", error) from None


def _read_torch(path: Path, shapes_only: bool) -> dict[str, Tensor]:
    """A pickle of tensors. DINO and MAE keep their command line beside them, a Namespace, which holds only data."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="meta" if shapes_only else "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL ([\w.]+)|[Uu]nsupported (?:class|global):? ([\w.]+)", str(error)):
            raise ValueError(
                f"{path} is a pickle that would run code when read ({refused[1] or refused[2]}), so it is refused; "
                f"open it in the library it came from and save its state dict as safetensors."
            ) from None
        raise _damaged(path, "torch", error) from None
    except (RuntimeError, EOFError, KeyError, IndexError, UnicodeDecodeError) as error:  # all of these were seen
        raise _damaged(path, "torch", error) from None
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
    except (zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, "numpy .npz", error) from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} has pickled objects in it, which would run code when read, so it is refused; "
                f"save plain arrays with numpy.savez."
            ) from None
        raise _damaged(path, "numpy .npz", error) from None


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
}
"""How a file is read, by its suffix."""
