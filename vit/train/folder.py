"""A folder of its own for every run, and what there is in it to go on from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vit.train.checkpoints import FINISHED, FOLDER, newest_whole, read_checkpoint
from vit.train.differences import differences, in_words
from vit.train.flags import AUTO, NEVER, seconds

CONFIG, LOCK = "config.yaml", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """Where a run lives, and from which checkpoint it goes on, if it does."""

    path: Path
    checkpoint: Path | None = None
    is_new: bool = True


def choose_folder(config: dict[str, Any], warn: Any = print) -> RunFolder:
    """The folder that the flags `output`, `name` and `resume` mean; a new one is made.

    Args:
        config: All flags, as plain values.
        warn: Is told what the user should know of a run that is gone on with.

    Raises:
        FileNotFoundError: nothing to go on from where `resume` says.
        FileExistsError: the name is taken by a run that is finished or was started with another config.
        ValueError: the run's checkpoints are damaged, or of another model.
    """
    resume, name, output = config["resume"], config["name"], Path(config["output"])
    if resume not in (AUTO, NEVER):
        path = Path(resume)
        if path.is_dir():
            return _go_on(path, config, warn, asked_for=True)
        _same_model(path, read_checkpoint(path), config)
        return RunFolder(new_named(output, name, config), path)
    if name is not None and resume == AUTO and (output / name / CONFIG).is_file():
        return _go_on(output / name, config, warn, asked_for=False)
    if name is not None and _is_empty(output / name):  # of a start that was killed while it read its data
        return RunFolder(output / name, is_new=False)
    return RunFolder(new_named(output, name, config))


def _is_empty(folder: Path) -> bool:
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
        if _is_empty(folder):
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


def _go_on(folder: Path, config: dict[str, Any], warn: Any, asked_for: bool) -> RunFolder:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG}; `vit fit` makes runs/NAME.")
    with locked(folder):  # else the config of a run that goes on beside us would be changed under it
        pass
    changed = differences(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")), config)
    finished = folder / FOLDER / FINISHED
    if finished.is_file() and not (asked_for and changed.keys() & {"trainer.max_epochs", "trainer.max_steps"}):
        raise FileExistsError(
            f"run {folder} is finished ({finished.read_text(encoding='utf-8').strip()}); to train it for longer say "
            f"--resume {folder} --trainer.max_epochs N, for a new run choose another --name."
        )
    if changed and not asked_for:
        raise FileExistsError(
            f"run {folder} was started with another config: {in_words(changed)}; to go on with it all the same say "
            f"--resume {folder}, for a new run choose another --name."
        )
    if changed:
        warn(f"going on with {folder}, changed: {in_words(changed)}")
    found = newest_whole(folder, warn)
    if found is None:
        warn(f"{folder} has no checkpoint yet; it starts from its beginning")
        return RunFolder(folder, is_new=False)
    path, checkpoint = found
    _same_model(path, checkpoint, config)
    trained = checkpoint["callbacks"].get("Stopwatch", {}).get("seconds", 0.0)
    if config["max_time"] is not None and trained >= seconds("max_time", config["max_time"]):
        raise ValueError(
            f"run {folder} has been trained for {trained:.0f} s, as long as --max-time {config['max_time']} allows; "
            "give it more."
        )
    return RunFolder(folder, path, is_new=False)


def _same_model(path: Path, checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse a checkpoint of another architecture, before anything is built."""
    theirs = checkpoint.get("hyper_parameters", {}).get("vit", {})
    if changed := differences({"vit": theirs}, {"vit": config["model"]["vit"]}):
        raise ValueError(f"{path} is a checkpoint of another model: {in_words(changed)}.")
