"""What a stopped and continued run sees is what an unbroken run sees, whoever reads it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

import vit.cli
from vit.data.augment import Augmentation
from vit.data.decode import UnreadableImageError
from vit.data.loaders import EvaluationLoader, WorkerError, WorkerReader
from vit.data.module import ImageDataModule
from vit.data.photographs import Photographs

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",  # lightning 2.6 on torch 2.15
    "ignore:.*callbacks used to create the checkpoint need to be provided.*",
    "ignore:This DataLoader will create .* worker processes:UserWarning",  # torch, where there is one core
)

MakeFolder = Callable[..., Path]
CHANGES = Augmentation(crop_scale=(0.2, 1.0), policy="trivial", flip=0.5, shift=1, erase=0.5)
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Onlooker(L.LightningModule):
    """Takes steps that depend on what it sees, and remembers what that was."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[bytes, list[Any]]] = []
        self.evaluated = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        self.seen.append((images.numpy().tobytes(), labels.tolist()))
        torch.rand(3)  # as dropout would
        return (self.weight - images.mean()).square().mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.evaluated += len(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def files(root: Path, num_workers: int, changes: Augmentation = CHANGES) -> ImageDataModule:
    return ImageDataModule(
        "folder",
        root=str(root),
        image_size=6,
        batch_size=2,
        val_fraction=0.34,
        augmentation=changes,
        num_workers=num_workers,
    )


@pytest.fixture
def nine_pictures(folder_of_classes: MakeFolder) -> Path:
    return folder_of_classes({"train": ["a", "b", "c"], "val": ["a"]})


def train(data: ImageDataModule, resume: Path | None = None, seed: int = 3, **flags: object) -> Onlooker:
    onlooker = Onlooker()
    L.seed_everything(seed, verbose=False)
    trainer = L.Trainer(**{**QUIET, "enable_checkpointing": "callbacks" in flags, **flags})  # pyright: ignore
    trainer.fit(onlooker, datamodule=data, ckpt_path=resume, weights_only=True)
    return onlooker


def every_step(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_stopped_anywhere_and_continued_sees_what_an_unbroken_run_sees(
    nine_pictures: Path, tmp_path: Path, num_workers: int
) -> None:
    unbroken = train(files(nine_pictures, 0), max_epochs=3)  # 4 batches an epoch
    assert len(unbroken.seen) == len(set(map(str, unbroken.seen))) == 12
    for stop in (3, 4, 6) if num_workers else range(1, 12):
        stopped = train(files(nine_pictures, num_workers), max_steps=stop, callbacks=[every_step(tmp_path / str(stop))])
        checkpoint = tmp_path / str(stop) / f"step={stop}.ckpt"
        continued = train(files(nine_pictures, num_workers), checkpoint, seed=99, max_epochs=3)
        assert stopped.seen + continued.seen == unbroken.seen


@pytest.mark.parametrize(
    ("validate", "when"),
    [
        ({"limit_val_batches": 0}, {"save_on_train_epoch_end": True}),
        ({"val_check_interval": 1.0}, {"save_on_train_epoch_end": True}),
        ({"val_check_interval": 1.0}, {"save_on_train_epoch_end": False}),  # but when validation ends
        ({"val_check_interval": 2}, {"save_on_train_epoch_end": False}),
    ],
)
def test_a_run_continued_from_the_end_of_an_epoch_or_a_validation_goes_on_with_the_next_batch(
    nine_pictures: Path, tmp_path: Path, validate: dict[str, float], when: dict[str, bool]
) -> None:
    unbroken = train(files(nine_pictures, 0), max_epochs=3, **validate)
    saved = ModelCheckpoint(tmp_path / "saved", filename="{step}", save_top_k=-1, **when)  # pyright: ignore
    train(files(nine_pictures, 0), max_epochs=3, callbacks=[saved], **validate)
    for checkpoint in sorted((tmp_path / "saved").iterdir()):
        steps = int(checkpoint.stem.removeprefix("step="))
        continued = train(files(nine_pictures, 0), checkpoint, seed=99, max_epochs=3, **validate)
        assert unbroken.seen[:steps] + continued.seen == unbroken.seen, checkpoint.name


def test_shortened_epochs_are_epochs(nine_pictures: Path, tmp_path: Path) -> None:
    unbroken = train(files(nine_pictures, 0), max_epochs=3, limit_train_batches=3)
    assert len(set(map(str, unbroken.seen))) == 9
    for stop in (2, 3, 4):
        folder = tmp_path / str(stop)
        short = {"limit_train_batches": 3}
        stopped = train(files(nine_pictures, 0), max_steps=stop, callbacks=[every_step(folder)], **short)
        continued = train(files(nine_pictures, 0), folder / f"step={stop}.ckpt", max_epochs=3, **short)
        assert stopped.seen + continued.seen == unbroken.seen


def test_overfitting_sees_the_same_batch_in_every_epoch(nine_pictures: Path) -> None:
    seen = train(files(nine_pictures, 0), max_epochs=3, overfit_batches=1).seen
    assert len({str(labels) for _, labels in seen}) == 1


def test_loading_takes_no_random_number_from_those_outside(nine_pictures: Path) -> None:
    data = files(nine_pictures, 0)
    torch.manual_seed(8)
    before = torch.get_rng_state()
    for batch in data.train_dataloader():
        data.on_after_batch_transfer(batch, 0)
    for _ in data.val_dataloader():
        pass
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("last", "mixed_epochs"), [(0, [True] * 3), (1, [True, True, False]), (5, [False] * 3)])
def test_mixing_is_left_out_of_the_last_epochs(nine_pictures: Path, last: int, mixed_epochs: list[bool]) -> None:
    changes = Augmentation(mixup=1.0, cutmix=1.0, mix_off_epochs=last)
    data = ImageDataModule("folder", root=str(nine_pictures), image_size=6, batch_size=9, augmentation=changes)
    seen = train(data, max_epochs=3).seen
    assert [isinstance(targets[0], list) for _, targets in seen] == mixed_epochs


def test_leaving_out_the_last_epochs_takes_a_last_epoch(nine_pictures: Path) -> None:
    data = files(nine_pictures, 0, Augmentation(mixup=1.0, mix_off_epochs=2))
    with pytest.raises(ValueError, match=r"mix_off_epochs=2 needs to know the last epoch; set trainer\.max_epochs\."):
        train(data, max_steps=3, max_epochs=-1)


def test_rare_classes_are_told_of_and_weigh_more(nine_pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in ("0.png", "1.png"):
        (nine_pictures / "train" / "b" / picture).unlink()
    data = ImageDataModule(
        "folder", str(nine_pictures), image_size=6, batch_size=7, class_weights="auto", sampling="balanced"
    )
    assert data.class_weights is not None
    assert data.class_weights.tolist() == pytest.approx([7 / 9, 7 / 3, 7 / 9])
    seen = train(data, max_epochs=1).seen
    assert sorted(torch.tensor(seen[0][1]).bincount().tolist()) == [2, 2, 3]
    assert "class  images  weight  shown an epoch" in capsys.readouterr().out


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_image_is_named_in_one_sentence(nine_pictures: Path, num_workers: int) -> None:
    (nine_pictures / "train" / "b" / "1.png").write_bytes(b"not an image")
    data = files(nine_pictures, num_workers)
    with pytest.raises(UnreadableImageError) as caught:
        list(data.train_dataloader())
    assert (
        str(caught.value) == f"{nine_pictures / 'train' / 'b' / '1.png'}: not an image, or damaged beyond recognition. "
        "vit data check names all such files; data.on_error=skip trains on others in their place."
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damaged_images_can_be_skipped_and_are_counted(nine_pictures: Path, num_workers: int) -> None:
    (nine_pictures / "train" / "b" / "1.png").write_bytes(b"not an image")
    (nine_pictures / "train" / "c" / "2.png").unlink()
    (nine_pictures / "train" / "c" / "2.png").write_bytes(b"")
    settings = {"image_size": 6, "batch_size": 3, "on_error": "skip", "augmentation": CHANGES}
    data = ImageDataModule("folder", str(nine_pictures), num_workers=num_workers, **settings)  # pyright: ignore
    torch.manual_seed(5)
    first = [images for images, *_ in data.train_dataloader()]
    with pytest.warns(UserWarning, match=r"2 of 9 training images could not be read; others .*1\.png.*2\.png\."):
        data.teardown()
    again = ImageDataModule("folder", str(nine_pictures), num_workers=0, **settings)  # pyright: ignore
    torch.manual_seed(5)
    assert torch.equal(torch.cat(first), torch.cat([images for images, *_ in again.train_dataloader()]))
    with pytest.warns(UserWarning, match="2 of 9"):
        again.teardown()


def skipping(root: Path) -> ImageDataModule:
    for name in ("a/0.png", "b/1.png"):
        (root / "train" / name).write_bytes(b"not an image")
    return ImageDataModule("folder", str(root), image_size=6, batch_size=3, num_workers=0, on_error="skip")


def test_what_was_skipped_is_said_once_when_training_ends(
    nine_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(skipping(nine_pictures), max_epochs=3)
    assert capsys.readouterr().out == (
        "note: 2 of 9 training images could not be read; others were shown in their place: "
        f"{nine_pictures / 'train' / 'a' / '0.png'}, {nine_pictures / 'train' / 'b' / '1.png'}.\n"
    )


def test_what_was_skipped_is_said_of_a_training_that_ends_by_an_error(
    nine_pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Onlooker, batch: list[Tensor], batch_idx: int) -> None:
        raise ValueError("the second epoch is not reached")

    monkeypatch.setattr(Onlooker, "validation_step", fails)
    with pytest.raises(ValueError, match="the second epoch"):
        train(skipping(nine_pictures), max_epochs=2)
    assert capsys.readouterr().out.startswith("note: 2 of 9 training images could not be read")


def test_no_loader_waits_for_its_workers_for_ever_unless_told_to(nine_pictures: Path) -> None:
    def waits(data: ImageDataModule) -> tuple[float, float]:
        reader, val = data.train_dataloader().reader, data.val_dataloader()
        assert isinstance(reader, WorkerReader)
        assert isinstance(val, EvaluationLoader)
        assert reader._loader is not None
        return reader._loader.timeout, val.loader.timeout

    data = files(nine_pictures, 2)
    assert waits(data) == (300, 300)
    data.timeout = 7
    assert waits(data) == (7, 7)
    data.timeout = 0
    assert waits(data) == (0, 0)
    assert waits(files(nine_pictures, 0)) == (0, 0)  # torch takes none where there are no workers
    digits = ImageDataModule("digits", image_size=8, num_workers=1, hold_on_device=False)
    reader = digits.train_dataloader().reader
    assert isinstance(reader, WorkerReader)
    assert reader._loader is not None
    assert reader._loader.timeout == 300
    with pytest.raises(ValueError, match="timeout=-1 must be a number of seconds, or 0"):
        ImageDataModule("digits", image_size=8, timeout=-1)


def test_a_worker_error_is_one_that_the_command_line_says_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(given: list[str]) -> int:
        raise WorkerError("a worker process died; the workers were at a.jpg.")

    monkeypatch.setattr(vit.cli, "_dispatch", dies)
    assert vit.cli.main(["fit"]) == 2
    assert capsys.readouterr().err == "error: a worker process died; the workers were at a.jpg.\n"


@pytest.mark.slow  # a worker that hangs is given 5 seconds to end
@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "a worker process died; the workers were at {}. "),
        (lambda: time.sleep(20), "no batch came from the workers for 1 s; the workers were at {}. "),
    ],
)
def test_a_worker_that_dies_or_hangs_in_validation_is_an_error_that_names_the_file(
    nine_pictures: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], sentence: str
) -> None:
    culprit = nine_pictures / "val" / "a" / "1.png"
    data = files(nine_pictures, 1)
    data.timeout = 1
    monkeypatch.setattr(
        "vit.data.photographs.load_image",
        lambda file, spec: end() if file == culprit else torch.zeros(3, 6, 6, dtype=torch.uint8),
    )
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # as Lightning leaves it after a fit
    with pytest.raises(WorkerError) as caught:
        list(data.val_dataloader())
    assert str(caught.value).startswith(sentence.format(culprit))
    assert "num_workers=1" in str(caught.value)


@pytest.mark.parametrize(
    ("num_workers", "spoil", "reason"),
    [
        (0, lambda path: path.write_bytes(b"not an image"), "not an image, or damaged beyond recognition"),
        (1, lambda path: path.write_bytes(b"not an image"), "not an image, or damaged beyond recognition"),
        (1, Path.unlink, "No such file or directory"),
    ],
)
def test_an_image_that_cannot_be_read_in_validation_is_named_in_one_sentence(
    nine_pictures: Path, num_workers: int, spoil: Callable[[Path], object], reason: str
) -> None:
    data = ImageDataModule(
        "folder", str(nine_pictures), image_size=6, batch_size=2, num_workers=num_workers, on_error="skip"
    )  # skipping is for training alone: of an accuracy without some images nobody could tell
    culprit = nine_pictures / "val" / "a" / "2.png"
    spoil(culprit)
    with pytest.raises(UnreadableImageError) as caught:
        list(data.val_dataloader())
    assert str(caught.value) == f"{culprit}: {reason}. vit data check names all such files."


@pytest.mark.slow  # a worker that hangs is given 5 seconds to end
@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            r"a worker process died; the workers were at .*\.png.*num_workers=1",
        ),
        (lambda: time.sleep(20), r"no batch came from the workers for 1 s; the workers were at .*\.png.*num_workers=1"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_an_error_that_names_the_file(
    nine_pictures: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], sentence: str
) -> None:
    data = files(nine_pictures, 1)
    data.timeout = 1
    monkeypatch.setattr(Photographs, "_changed", lambda self, file: end())
    with pytest.raises(WorkerError, match=sentence):
        list(data.train_dataloader())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_worker_outlives_a_process_that_was_killed() -> None:
    """Torch's workers look every few seconds whether their parent is there."""
    program = """
import multiprocessing, sys
from vit.data.module import ImageDataModule
data = ImageDataModule("digits", image_size=8, batch_size=50, hold_on_device=False, num_workers=2)
next(iter(data.train_dataloader()))
print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [int(number) for number in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(is_running(worker) for worker in workers)
        parent.kill()
    patience = time.monotonic() + 60
    while any(is_running(worker) for worker in workers) and time.monotonic() < patience:
        time.sleep(0.1)
    assert not any(is_running(worker) for worker in workers)


def is_running(process: int) -> bool:
    """Whether it is there and no corpse that nobody has asked for."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
