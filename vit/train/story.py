"""What a run was: command, seed, git commit, versions, hardware, data; in run.json, an entry for every start.

A run that was killed and gone on with has several entries. One that has no `ended` was killed, or is still running.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from vit.data.module import ImageDataModule
from vit.data.sources import Labelled, Rows
from vit.train.signals import Stopped, StopSignals

STORY = "run.json"
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "einops", "numpy", "pillow", "safetensors", "timm")
SIZES_LOOKED_AT = 10_000
"""Files of a part whose size is part of its fingerprint; asking a million would take minutes on a network drive."""


class RunStory(L.Callback):
    """Write run.json when training starts and complete it when it ends, and log the learning rate once an epoch."""

    def __init__(self, folder: Path, command: str, seed: int | bool | None, signals: StopSignals) -> None:
        self.path = folder / STORY
        self.command, self.seed, self.signals = command, seed, signals
        self.entry: dict[str, Any] | None = None
        self._earlier: list[dict[str, Any]] | None = None  # of other processes; two may start in the same second

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin an entry, now that it is known from which step the run goes on."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            return
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        assert isinstance(data, ImageDataModule)
        self.entry = {
            "command": self.command,
            "started": now(),
            "seed": self.seed,
            "git": git_state(Path.cwd()),
            "plain-vit": {"version": version("plain-vit"), "git": git_of_package()},
            "versions": versions(),
            "hardware": hardware(),
            "devices": trainer.world_size,
            "precision": str(trainer.precision),
            "parameters": sum(parameter.numel() for parameter in pl_module.parameters()),
            "data": describe_data(data),
            "from_step": trainer.global_step,
        }
        self._write()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the highest learning rate of all groups, that of the step to come."""
        rate = max(group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups)
        for logger in trainer.loggers:
            logger.log_metrics({"learning_rate": rate, "epoch": trainer.current_epoch}, trainer.global_step - 1)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Complete the entry."""
        self._end(trainer, "finished")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what ended the run."""
        if isinstance(exception, Stopped):
            self._end(trainer, f"stopped by {self.signals.by}")
        else:
            self._end(trainer, f"stopped: {type(exception).__name__} {exception}".strip())

    def _end(self, trainer: L.Trainer, how: str) -> None:
        if self.entry is None:
            return
        figures = {name: round(float(value), 6) for name, value in sorted(trainer.callback_metrics.items())}
        self.entry |= {"ended": now(), "how": how, "epochs": trainer.current_epoch, "steps": trainer.global_step}
        self.entry["last_epoch"] = figures
        self._write()

    def _write(self) -> None:
        assert self.entry is not None
        if self._earlier is None:
            self._earlier = read_story(self.path.parent)
        write_json(self.path, [*self._earlier, self.entry])


def read_story(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's run.json, none where there is no such file."""
    path = run / STORY
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def write_json(path: Path, content: Any) -> None:
    """Write the whole file or nothing; class names from file names that are no text come back as they were."""
    unfinished = path.with_name(f"{path.name}.tmp")
    text = json.dumps(content, indent=1, ensure_ascii=False)
    unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")  # which is JSON's way too
    unfinished.replace(path)


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None where the folder is under no git, or git is not here."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def git_of_package() -> dict[str, Any] | None:
    """The same of this package's own checkout, where it runs from one.

    An installed copy may lie inside the checkout of something else, whose commit says nothing about it.
    """
    folder = Path(__file__).parent
    return git_state(folder) if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) else None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=10, encoding="utf-8"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Of Python and of the packages that may change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Machine, cores, threads of torch, and the accelerators that torch sees."""
    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if cuda else [],
    }


def _cpu_name() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def describe_data(data: ImageDataModule) -> dict[str, Any]:
    """Class names, and of each part that is used the number of images of every class and a fingerprint."""
    parts = {"train": data.train, "val": data.val, "test": data.source.test}
    return {
        "classes": list(data.classes),
        "parts": {name: describe_part(part, data.num_classes) for name, part in parts.items() if part is not None},
    }


def describe_part(part: Labelled, num_classes: int) -> dict[str, Any]:
    """How many images, how many of every class, and the fingerprint."""
    return {
        "images": len(part),
        "per_class": part.labels.bincount(minlength=num_classes).tolist(),
        "fingerprint": fingerprint(part),
    }


def fingerprint(part: Labelled) -> str:
    """SHA-256 that changes where the data does, in a second or less.

    Of images in memory all bytes count; of files their paths below the folder that holds them all, and the sizes of at
    most 10,000 of them, evenly spaced, but not what is in them; of rows of a larger file what that says of itself.
    Labels count in all.
    """
    digest = hashlib.sha256(part.labels.contiguous().numpy().tobytes())
    if isinstance(part.images, Tensor):
        digest.update(part.images.contiguous().numpy().tobytes())
        return digest.hexdigest()
    if isinstance(part.images, Rows):
        digest.update(part.images.table.identity.encode())
        digest.update(part.images.rows.numpy().tobytes())
        return digest.hexdigest()
    paths = part.names()
    together = os.path.commonpath([min(paths), max(paths)]) if paths else ""  # what these share all do
    above = os.path.join(together, "")  # noqa: PTH118
    below = (  # what relpath says, in a tenth of its time
        path[len(above) :] if path.startswith(above) else os.path.relpath(path, together) for path in paths
    )
    digest.update("\n".join(below).encode("utf-8", "surrogateescape"))
    for path in paths[:: max(1, len(paths) // SIZES_LOOKED_AT)]:
        digest.update(str(Path(path).stat().st_size).encode())
    return digest.hexdigest()
