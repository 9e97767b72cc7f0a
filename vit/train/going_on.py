"""The flags `output`, `name` and `resume` -> the run's folder, and what there is in it to go on from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vit.train.checkpoints import BEST, FINISHED, FOLDER, LAST, newest_whole, read_checkpoint
from vit.train.differences import differences, in_words
from vit.train.flags import AUTO, NEVER, seconds
from vit.train.folder import CONFIG, is_empty, locked, new_named
from vit.train.metrics_file import NAME as METRICS


@dataclass(frozen=True)
class RunFolder:
    """Where a run lives, and from which checkpoint it goes on, if it does."""

    path: Path
    checkpoint: Path | None = None
    step: int = 0
    """Of the checkpoint."""
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
        checkpoint = read_checkpoint(path)
        _same_model(path, checkpoint, config)
        return RunFolder(new_named(output, name, config), path, checkpoint["global_step"])
    if (before := run_before(resume, name, output)) is not None:
        return _go_on(before, config, warn, asked_for=False)
    if name is not None and is_empty(output / name):  # of a start that was killed while it read its data
        return RunFolder(output / name, is_new=False)
    return RunFolder(new_named(output, name, config))


def run_before(resume: str, name: str | None, output: Path) -> Path | None:
    """The folder of the run that these flags mean to go on with, or whose checkpoint; None where there is none."""
    if resume == NEVER or (resume == AUTO and name is None):
        return None
    path = output / str(name) if resume == AUTO else Path(resume)
    folder = path.parent.parent if path.is_file() else path
    return folder if (folder / CONFIG).is_file() else None


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
    found = newest_whole(folder, warn)
    if found is None:
        return _from_its_beginning(folder, warn)
    path, checkpoint = found
    _same_model(path, checkpoint, config)
    _require_more_to_train(folder, checkpoint, config, changed)
    if changed:
        warn(f"going on with {folder}, changed: {in_words(changed)}")
    return RunFolder(folder, path, checkpoint["global_step"], is_new=False)


def _from_its_beginning(folder: Path, warn: Any) -> RunFolder:
    """A run that was killed before its first checkpoint is trained anew in its folder, unless that has a result in it.

    Raises:
        FileExistsError: there is a model, or the best epoch's state, that a new training would write over.
    """
    if results := [name for name in ("model", f"{FOLDER}/{BEST}") if (folder / name).exists()]:
        raise FileExistsError(
            f"run folder {folder} has {' and '.join(results)} but no {LAST} to go on from, and training anew would "
            "write over it; choose another --name."
        )
    rows = ", and what its metrics.csv has is written anew" if (folder / METRICS).is_file() else ""
    warn(f"{folder} has no checkpoint yet: it starts from its beginning{rows}")
    return RunFolder(folder, is_new=False)


def _require_more_to_train(
    folder: Path, checkpoint: dict[str, Any], config: dict[str, Any], changed: Iterable[str]
) -> None:
    """Refuse an end that lies behind what has been trained already: no step would be taken.

    Raises:
        ValueError: it does; or the time that the run may take is over.
    """
    for name, done in (("max_epochs", checkpoint["epoch"]), ("max_steps", checkpoint["global_step"])):
        limit = config["trainer"][name]
        if f"trainer.{name}" in changed and limit is not None and 0 <= limit <= done:
            raise ValueError(
                f"run {folder} has {done} {name.removeprefix('max_')} behind it already; trainer.{name}={limit} trains "
                "nothing more."
            )
    trained = checkpoint["callbacks"].get("Stopwatch", {}).get("seconds", 0.0)
    if config["max_time"] is not None and trained >= seconds("max_time", config["max_time"]):
        raise ValueError(
            f"run {folder} has been trained for {trained:.0f} s, as long as --max-time {config['max_time']} allows; "
            "give it more."
        )


def _same_model(path: Path, checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse a checkpoint of another architecture, before anything is built."""
    theirs = checkpoint.get("hyper_parameters", {}).get("vit", {})
    if changed := differences({"vit": theirs}, {"vit": config["model"]["vit"]}):
        raise ValueError(f"{path} is a checkpoint of another model: {in_words(changed)}.")
