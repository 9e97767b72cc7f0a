"""Kill a training with `kill -9` at random moments, go on each time, and set the end against an unbroken run's.

    python scripts/kill.py --kills 20                  # two minutes
    python scripts/kill.py --kills 200 --writing       # only the writing of checkpoints, 4 MB each

The first wants finished weights, metrics and random numbers that are the unbroken run's to the bit. The second wants a
whole checkpoint under the final name after every kill. Both exit with 1 where that is not so. What is killed are copies
of this process, which has imported the package and trained nothing: so they need no start-up.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from vit.cli import main
from vit.train import run as _imported_for_the_copies  # noqa: F401
from vit.train.checkpoints import FINISHED, AtomicCheckpointIO, newest_whole, read_checkpoint

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    *("--config", str(ROOT / "configs/digits.yaml"), "--trainer.accelerator", "cpu", "--checkpoint-every", "0.2s"),
    *("--model.vit.embed_dim", "16", "--model.vit.depth", "2", "--model.vit.num_heads", "2"),
    *("--model.vit.drop_rate", "0.1", "--model.recipe.ema_decay", "0.99", "--trainer.max_epochs", "8"),
]


def kill_training(kills: int, folder: Path, workers: int) -> bool:
    """Whether a run that was killed so often ended as the unbroken one."""
    fit = ["fit", *FLAGS, "--output", str(folder), "--data.num_workers", str(workers), "--report", "false"]
    longest, _, _ = _copy(lambda: main([*fit, "--name", "unbroken"]))
    done, latest = 0, min(4 / kills, 0.7)  # in shares of the unbroken run, so that the first kill comes before its end
    while done < kills and not (folder / "killed/checkpoints" / FINISHED).exists():
        _, killed, _ = _copy(lambda: main([*fit, "--name", "killed"]), random.uniform(0, latest) * longest)
        if killed:
            done += 1
            found = newest_whole(folder / "killed", print)
            print(f"kill {done}: step {found[1]['global_step'] if found else 0} is saved", flush=True)
    if not (folder / "killed/checkpoints" / FINISHED).exists():
        _copy(lambda: main([*fit, "--name", "killed"]))
    same = True
    for name in ("metrics.csv", "model/model.safetensors"):
        equal = (folder / "unbroken" / name).read_bytes() == (folder / "killed" / name).read_bytes()
        same &= equal
        print(f"{name}: {'the same' if equal else 'DIFFERENT'}")
    first, second = (read_checkpoint(folder / name / "checkpoints/last.ckpt") for name in ("unbroken", "killed"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "plain_vit"):
        equal = _equal(first[part], second[part])
        same &= equal
        print(f"{part}: {'the same' if equal else 'DIFFERENT'}")
    return same


def _copy(act: Callable[[], int], kill_after: float | None = None) -> tuple[float, bool, list[str]]:
    """Let a copy of this process act, until its end or some seconds after the first line it prints.

    Returns:
        The seconds since that line, whether it was killed, and the lines.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 and later: threads do not go along; none is needed
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        sys.stdout = os.fdopen(writing, "w", buffering=1)
        try:
            code = act()
        except BaseException as error:  # noqa: BLE001  # of a copy, which ends here
            print(repr(error), file=sys.stderr)
            code = 1
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = [said.readline()]
        started = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        lines += said.readlines()
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code > 0:
        sys.exit("".join(["a copy failed\n", *lines]))
    return seconds, code == -signal.SIGKILL, lines


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def kill_writing(kills: int, folder: Path) -> bool:
    """Whether every kill in the middle of writing left a whole checkpoint that is no older than the last known."""
    path, written = folder / "checkpoints/last.ckpt", 0
    for kill in range(kills):
        _, _, lines = _copy(lambda first=written + 1: _write(path, first), random.uniform(0, 0.1))
        said = [int(line) for line in lines if line.endswith("\n")]
        step = read_checkpoint(path)["global_step"]
        print(f"kill {kill + 1}: step {step}", flush=True)
        if step < max(said):
            return False
        written = step
    return newest_whole(folder, print) is not None


def _write(path: Path, step: int) -> int:
    """Write one checkpoint after the other, for ever, and say which are written."""
    while True:
        weight = torch.full((1_000_000,), float(step))
        AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": weight}, "global_step": step, "loops": {}}, path)
        print(step)
        step += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writing", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        fine = (
            kill_writing(chosen.kills, Path(place))
            if chosen.writing
            else kill_training(chosen.kills, Path(place), chosen.workers)
        )
    print("survived" if fine else "NOT survived")
    sys.exit(0 if fine else 1)
