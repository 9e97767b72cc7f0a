"""A folder of its own for every run: made, kept from others, and taken away where nothing came of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vit.train.checkpoints import FOLDER

CONFIG, LOCK = "config.yaml", ".lock"


def is_empty(folder: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    return folder.is_dir() and not any(folder.iterdir())


def new_folder(output: Path, name: str) -> Path:
    """Make `output/name`, or `output/name-2` and so on where that is there already: two runs never share a folder."""
    output.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = output / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()  # atomic, so that two runs that start together get two folders
        except FileExistsError:
            number += 1
        else:
            return folder


def missing_above(folder: Path) -> list[Path]:
    """The folders that making this one makes too, the innermost first."""
    return [above for above in folder.parents if not above.exists()]


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Take folders that we made a moment ago, the innermost first, away again where nothing is in them."""
    for folder in folders:
        if is_empty(folder):
            folder.rmdir()


def remove_if_untrained(folder: Path, above: Iterable[Path] = ()) -> None:
    """Take away a folder that we made a moment ago, if no step has left anything in it that is worth keeping.

    Args:
        folder: Of a run.
        above: Folders that were made for it, which go where nothing else is in them.
    """
    if folder.is_dir() and not (folder / FOLDER).is_dir() and not (folder / "model").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        remove_if_empty(above)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other processes from training in this folder. The system lets go of it when this process ends, however.

    Raises:
        FileExistsError: another process trains in it now.
    """
    if os.name == "nt":  # which has no such locks
        yield
        return
    import fcntl

    path = folder / LOCK
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise FileExistsError(
                f"run folder {folder} is being trained in now, by process {file.read().strip()}; stop that first, or "
                "choose another --name."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def require_name(output: str | Path, name: str | None) -> None:
    """Refuse what would lie elsewhere than in `output`.

    Raises:
        ValueError: a path, or nothing.
    """
    path = None if name is None else Path(name)
    if path is not None and (path.is_absolute() or ".." in path.parts or not path.name):
        raise ValueError(f"--name {name!r} is no name of a folder in --output {output}.")


def new_named(output: Path, name: str | None, config: dict[str, Any]) -> Path:
    """A new folder: of the given name, which must be free, or of the config's with the next free number."""
    if name is not None:
        folder = output / name
        if folder.exists():
            raise FileExistsError(f"run folder {folder} exists already; choose another --name, or leave it out.")
        folder.mkdir(parents=True)
        return folder
    if not config["config"]:
        return new_folder(output, "run")
    file = Path(config["config"][0]).absolute()
    return new_folder(output, file.parent.name if file.name == CONFIG else file.stem)
