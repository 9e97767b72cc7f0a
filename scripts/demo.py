"""From nothing to a trained, compared and explained ViT: `python3 scripts/demo.py`.

Sets everything up (see environment.py), then trains on scikit-learn's digits, compares with timm, labels images and
draws what the model attends to. No download but the packages, no GPU; after the set-up it takes under three minutes on
two cores.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from environment import ROOT, enter

CONFIG = "configs/digits.yaml"


def main() -> None:
    """Run the steps one after the other; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, help="train that long instead of the recipe's 60 (a shorter, worse demo)")
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder for what it makes")
    args = parser.parse_args()
    enter(__file__)
    from vit.train.folder import new_folder

    start = time.perf_counter()
    output = new_folder(args.output.resolve().parent, args.output.name)
    shown = _shown(output)
    shorter = [f"--trainer.max_epochs={args.epochs}"] if args.epochs else []

    _step(1, "train a ViT on 1,797 handwritten digits")
    config = _shown(ROOT / CONFIG)
    _vit("fit", "--config", config, "--output", shown, "--name", "digits", *shorter)
    _step(2, "train timm's ViT of the same shape by the same recipe, and compare")
    _vit("compare", "--config", config, "--baseline", "timm", "--output", shown, "--name", "compare", *shorter)
    _step(3, "label ten images that the model has not seen")
    images = _write_digits(output / "images")
    _vit("predict", _shown(images), "--model", f"{shown}/digits/model")
    _step(4, "draw what the model attended to in one of them")
    _vit(
        "explain", f"{_shown(images)}/digit-3.png", "--model", f"{shown}/digits/model", "--output", f"{shown}/explained"
    )
    _step(5, f"done in {time.perf_counter() - start:.0f} s; this was made in {shown}")
    for path, what in {
        "digits/model/": "the model: weights, architecture, class names, preprocessing; timm reads it too",
        "digits/": "its run: config.yaml, metrics.csv, checkpoints/",
        "compare/table.md": "ours and timm's, side by side",
        "images/": "ten digits as PNG files of 8x8 pixels",
        "explained/digit-3.rollout.png": "where the model looked: open this one",
    }.items():
        print(f"  {path:<32}{what}")
    print("\ntry next:")
    for command in (
        f"vit test {shown}/digits",
        f"vit explain {_shown(images)} --model {shown}/digits/model",
        f"vit fit --config {_shown(ROOT / 'configs/folder.yaml')} --data.root PATH  # PATH/train/CLASS/*.jpg",
    ):
        print(f"  {command}")
    if shutil.which("vit") is None:
        print(f"(`vit` is {_shown(Path(sys.executable).parent / 'vit')}, or activate that environment)")


def _step(number: int, what: str) -> None:
    print(f"\n[{number}/5] {what}", flush=True)


def _vit(*arguments: str) -> None:
    print(f"$ {shlex.join(['vit', *arguments])}", flush=True)
    done = subprocess.run([sys.executable, "-m", "vit", *arguments], check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"error: this step failed with exit code {done.returncode}; what is above says why.")


def _write_digits(folder: Path) -> Path:
    """One test image of each class, as a file; the test images took no part in training."""
    from PIL import Image

    from vit.data.sources import digits

    test = digits(ROOT).test
    folder.mkdir()
    for label in range(10):
        index = test.labels.tolist().index(label)
        Image.fromarray(test.images[index, 0].numpy()).save(folder / f"digit-{label}.png")
    return folder


def _shown(path: Path) -> str:
    """Relative to the checkout if it is inside and that is where we are called from; so it can be typed again."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) and Path.cwd() == ROOT else str(path)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
