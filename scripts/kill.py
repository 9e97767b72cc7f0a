"""Kill a training with `kill -9` at random moments, go on each time, and set the end against an unbroken run's.

    python scripts/kill.py --kills 20                  # a few minutes: most of it is starting Python
    python scripts/kill.py --kills 200 --writing       # only the writing of checkpoints, 4 MB each

The first wants finished weights, metrics and random numbers that are the unbroken run's to the bit. The second wants a
whole checkpoint under the final name after every kill. Both exit with 1 where that is not so.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from vit.train.checkpoints import FINISHED, newest_whole, read_checkpoint

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    *("--config", str(ROOT / "configs/digits.yaml"), "--trainer.accelerator", "cpu", "--checkpoint-every", "0.2s"),
    *("--model.vit.embed_dim", "16", "--model.vit.depth", "2", "--model.vit.num_heads", "2"),
    *("--model.vit.drop_rate", "0.1", "--model.recipe.ema_decay", "0.99", "--trainer.max_epochs", "8"),
]
WRITER = """
import sys, torch
from pathlib import Path
from vit.train.checkpoints import AtomicCheckpointIO
path, step = Path(sys.argv[1]), int(sys.argv[2])
while True:
    step += 1
    state = {"state_dict": {"weight": torch.full((1_000_000,), float(step))}, "global_step": step, "loops": {}}
    AtomicCheckpointIO().save_checkpoint(state, path)
    print(step, flush=True)
"""


def kill_training(kills: int, folder: Path, workers: int) -> bool:
    """Whether a run that was killed so often ended as the unbroken one."""
    fit = [sys.executable, "-m", "vit", "fit", *FLAGS, "--output", str(folder), "--data.num_workers", str(workers)]
    longest, _ = _train([*fit, "--name", "unbroken"])
    done = 0
    while done < kills and not (folder / "killed/checkpoints" / FINISHED).exists():
        _, killed = _train([*fit, "--name", "killed"], random.uniform(0, 2 / kills) * longest)
        if killed:
            done += 1
            found = newest_whole(folder / "killed", print)
            print(f"kill {done}: step {found[1]['global_step'] if found else 0} is saved", flush=True)
    if not (folder / "killed/checkpoints" / FINISHED).exists():
        _train([*fit, "--name", "killed"])
    same = True
    for name in ("metrics.csv", "model/model.safetensors"):
        same &= (folder / "unbroken" / name).read_bytes() == (folder / "killed" / name).read_bytes()
        print(f"{name}: {'the same' if same else 'DIFFERENT'}")
    first, second = (read_checkpoint(folder / name / "checkpoints/last.ckpt") for name in ("unbroken", "killed"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "plain_vit"):
        equal = _equal(first[part], second[part])
        same &= equal
        print(f"{part}: {'the same' if equal else 'DIFFERENT'}")
    return same


def _train(command: list[str], kill_after: float | None = None) -> tuple[float, bool]:
    """Seconds from the first line printed, when training begins, to the end; and whether that was a kill."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    started = time.perf_counter()
    try:
        process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.perf_counter() - started, True
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - started, False


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
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(written)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0, 0.1))
        writer.kill()
        said = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        step = read_checkpoint(path)["global_step"] if path.exists() else 0
        if path.exists() and step < max([written, *said]):
            return False
        written = max(step, written)
        print(f"kill {kill + 1}: step {step}", flush=True)
    return newest_whole(folder, print) is not None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writing", action="store_true")
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        fine = (
            kill_writing(chosen.kills, Path(place))
            if chosen.writing
            else kill_training(chosen.kills, Path(place), chosen.workers)
        )
    print("survived" if fine else "NOT survived")
    sys.exit(0 if fine else 1)
