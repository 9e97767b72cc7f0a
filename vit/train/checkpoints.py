"""The state of a run <-> a file: written whole or not at all, read without running code, known when it is damaged.

checkpoints/last.ckpt       the newest state to go on from
checkpoints/previous.ckpt   the one before it, for when the newest turns out damaged
checkpoints/best.ckpt       the state after the epoch that validated best
"""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch.utils._pytree import tree_leaves

FOLDER, LAST, PREVIOUS, BEST = "checkpoints", "last.ckpt", "previous.ckpt", "best.ckpt"

FINISHED = "finished"
"""File beside the checkpoints of a run that has reached its end and written its model."""


class DamagedCheckpointError(ValueError):
    """A file that is no checkpoint, or no longer one."""


class AtomicCheckpointIO(CheckpointIO):
    """How Lightning's trainer writes and reads checkpoints here.

    A checkpoint is streamed into a temporary file in its own folder, forced to the disk, and renamed: under the final
    name there is the old file or the new one, whole, at every moment. (Lightning's own way builds the file in memory
    and moves it from $TMPDIR, which across file systems is a copy over the old one.)
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write `path`; `last.ckpt` that was there becomes `previous.ckpt`.

        Raises:
            OSError: the disk is full or may not be written to; what was there is still there, whole.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                _keep_as_previous(path)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            # torch's writer, finding its file cut off, hides the reason behind an error of its own
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise _not_written(reason, checkpoint, path, temporary) from error
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read `path` on the CPU. Plain types only, whatever `weights_only` says: no code of the file is run."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete `path` if it is there."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All of a checkpoint file, on the CPU.

    Raises:
        FileNotFoundError: no such file. Addresses (https://...) are no files.
        DamagedCheckpointError: it is cut off, empty, something else, or holds objects whose loading would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; a run writes runs/NAME/{FOLDER}/{LAST}.")
    what = f"{path} ({path.stat().st_size:,} bytes)"
    if not _whole(path):
        raise DamagedCheckpointError(f"{what} is damaged or not a checkpoint.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedCheckpointError(
            f"{what} holds more than plain values, which could run code; not loaded."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise DamagedCheckpointError(f"{what} is not a checkpoint.") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step", "loops"} <= checkpoint.keys():
        raise DamagedCheckpointError(f"{what} is not a checkpoint of a training: it knows no steps.")
    return checkpoint


def _whole(path: Path) -> bool:
    """Whether all parts of a checkpoint, which is a zip archive, have the checksums they were written with.

    torch.load looks at no checksum: a flipped bit in a tensor would be trained on.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        return False


def newest_whole(folder: Path, warn: Callable[[str], object]) -> tuple[Path, dict[str, Any]] | None:
    """The newest state in a run's folder that can be read, and its content; None where the run has none yet.

    Args:
        folder: Of the run.
        warn: Is told of every damaged one that was passed over.

    Raises:
        DamagedCheckpointError: there are states, but none can be read.
    """
    damage: list[str] = []
    for name in (LAST, PREVIOUS):
        path = folder / FOLDER / name
        try:
            checkpoint = read_checkpoint(path)
        except DamagedCheckpointError as error:
            damage.append(str(error))
        except FileNotFoundError:
            continue
        else:
            for sentence in damage:
                warn(f"{sentence} Going on from {path} instead, of step {checkpoint['global_step']}.")
            return path, checkpoint
    if damage:
        raise DamagedCheckpointError(
            f"{' '.join(damage)} Nothing is left to go on from; start anew under another --name."
        )
    return None


def remove_stale(folder: Path) -> None:
    """Delete temporary files that a run killed in the middle of writing left in its folder."""
    for path in (folder / FOLDER).glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _keep_as_previous(path: Path) -> None:
    """Let `previous.ckpt` be what `path` is now, too: renaming would leave no file under its name for a moment."""
    link = path.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        path.replace(path.with_name(PREVIOUS))
        return
    link.replace(path.with_name(PREVIOUS))
    link.unlink(missing_ok=True)  # is still there where both were names of one file already


def _not_written(reason: OSError, checkpoint: dict[str, Any], path: Path, temporary: Path) -> OSError:
    """The reason in one sentence. Called while the temporary file still takes up its place on the disk."""
    if reason.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OSError(f"checkpoint {path} could not be written: {reason.strerror}.")
    written = temporary.stat().st_size if temporary.exists() else 0
    free = shutil.disk_usage(path.parent).free + written
    return OSError(
        f"the disk is full: checkpoint {path} needs {_bytes(checkpoint) / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; "
        "older checkpoints are whole. Make room, then go on."
    )


def _bytes(state: Any) -> int:
    """Size of all tensors in nested dictionaries, lists and tuples."""
    return sum(leaf.nbytes for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor))


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk; where folders cannot be opened (Windows) they need no forcing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
