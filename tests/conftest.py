"""What all tests share: one thread, a fixed seed, warnings as errors (pyproject.toml), shapes checked (jaxtyping)."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

# two busy cores made ten tiny training steps take 10 s; one thread takes 0.06 s
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]

TINY_RUN = [
    *("--config", str(ROOT / "configs" / "digits.yaml")),
    *("--model.vit.embed_dim", "16", "--model.vit.depth", "2", "--model.vit.num_heads", "2"),
    *("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
]
"""Flags of `vit fit` for a run on the digits that takes a second."""


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test() -> None:
    torch.manual_seed(0)


@pytest.fixture
def _annotations_unchecked() -> Iterator[None]:
    """As outside tests, where annotations are not enforced: the compiler cannot look into their checks, and the errors
    that a caller meets are our own sentences."""
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout: nasty images, photographs, a pretrained model."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return folder


@pytest.fixture
def tiny_run() -> list[str]:
    return list(TINY_RUN)


@dataclass(frozen=True)
class FinishedRun:
    """A run on the digits that was trained once for all tests. Read it; to change it, copy it."""

    folder: Path
    metrics: dict[str, float]

    @property
    def model(self) -> str:
        return str(self.folder / "model")

    def copy(self, target: Path) -> Path:
        return Path(shutil.copytree(self.folder, target))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    from vit.train.run import Run, fit

    run = Run([*TINY_RUN, "--output", str(tmp_path_factory.mktemp("runs"))])
    return FinishedRun(run.folder, fit(run))


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., str]:
    """Write a picture of random pixels; the path as text."""

    def write(name: str, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random_picture(size, mode, seed).save(path)
        return str(path)

    return write


@pytest.fixture
def folder_of_classes(tmp_path: Path) -> Callable[[dict[str, Sequence[str]]], Path]:
    """Make `PART/CLASS/*.png` of the given classes, three images a class; the folder that holds the parts."""

    def make(parts: dict[str, Sequence[str]], images: int = 3) -> Path:
        root = tmp_path / "pictures"
        for part, classes in parts.items():
            for number, name in enumerate(classes):
                (root / part / name).mkdir(parents=True)
                for image in range(images):
                    random_picture((8, 8), "RGB", 10 * number + image).save(root / part / name / f"{image}.png")
        return root

    return make


@pytest.fixture
def fake_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above cifar-10-batches-py, in the original format: 20 random images a batch, and 7 to test.

    The first pixel of a batch's images is its number, from 0.
    """
    from torchvision.datasets import CIFAR10

    batches = tmp_path / "cifar" / "cifar-10-batches-py"
    batches.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> list[str]:
        (batches / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((batches / name).read_bytes()).hexdigest()]

    files: list[list[str]] = []
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        size = 7 if name == "test_batch" else 20
        rows = np.random.default_rng(number).integers(0, 256, (size, 3072), dtype=np.uint8)
        rows[:, 0], rows[:, 1], rows[:, 1024] = number, 11, 22  # first pixels of red, and the first of green
        labels = [i % 10 for i in range(size)]
        files.append(write(name, {"data": rows, "labels": labels, "batch_label": name, "filenames": []}))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    filename, md5 = write("batches.meta", {"label_names": names})
    # the checksums of these files instead of the published ones
    monkeypatch.setattr(CIFAR10, "train_list", files[:5])
    monkeypatch.setattr(CIFAR10, "test_list", files[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "filename": filename, "md5": md5})
    return tmp_path / "cifar"


def random_picture(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Noise, width and height given as Pillow has them."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(pixels)
