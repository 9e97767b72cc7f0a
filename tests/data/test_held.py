"""Images held on the device give the batches that workers give."""

import pytest
import torch

from vit.data.augment import Augmentation
from vit.data.held import HeldReader, fits
from vit.data.loaders import WorkerReader
from vit.data.memory import free_bytes
from vit.data.module import ImageDataModule

CHANGES = Augmentation(shift=1, flip=0.5, erase=0.3, policy="randaugment", mixup=1.0)


def digits(**changes: object) -> ImageDataModule:
    torch.manual_seed(11)
    settings = {"image_size": 8, "batch_size": 100, "augmentation": CHANGES}
    return ImageDataModule("digits", **{**settings, **changes})  # pyright: ignore


@pytest.mark.parametrize("num_workers", [0, 1])
def test_held_or_read_by_workers_the_batches_are_the_same(num_workers: int) -> None:
    held, read = digits(), digits(hold_on_device=False, num_workers=num_workers)
    loaders = [data.train_dataloader() for data in (held, read)]
    assert isinstance(loaders[0].reader, HeldReader)
    assert isinstance(loaders[1].reader, WorkerReader)
    for epoch in range(2):
        for number, pair in enumerate(zip(*loaders, strict=True)):
            one, other = (
                data.on_after_batch_transfer(batch, 0) for data, batch in zip((held, read), pair, strict=True)
            )
            assert torch.equal(one[0], other[0]), (epoch, number)
            assert torch.equal(one[1], other[1])
    read.teardown()


@pytest.mark.parametrize("start", [0, 2])
def test_however_many_batches_are_changed_at_once_the_images_are_the_same(start: int) -> None:
    data = digits()
    loader = data.train_dataloader()
    reader = loader.reader
    assert isinstance(reader, HeldReader)
    one_by_one = [images for images, _ in reader.read(loader.order, 1, start)]
    reader.at_once = 3 * 100 * 64  # digits have 8 x 8 bytes
    together = [images for images, _ in reader.read(loader.order, 1, start)]
    assert len(one_by_one) == len(together) == len(loader.order) - start
    assert all(torch.equal(*pair) for pair in zip(one_by_one, together, strict=True))
    assert not torch.equal(one_by_one[0], one_by_one[1])


def test_what_takes_more_than_half_of_the_free_memory_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits(augmentation=Augmentation())
    images = data.train.images
    assert isinstance(images, torch.Tensor)
    cpu = torch.device("cpu")
    assert free_bytes(cpu) > 10 * images.nbytes
    for free, expected in ((2 * images.nbytes, True), (2 * images.nbytes - 1, False)):
        monkeypatch.setattr("vit.data.held.free_bytes", lambda _, free=free: free)
        assert fits(images, Augmentation(), cpu) is expected
        assert isinstance(data.train_dataloader().reader, HeldReader) is expected


def test_files_cannot_be_held(folder_of_classes) -> None:  # pyright: ignore
    with pytest.raises(
        ValueError, match="hold_on_device=true, but the images of source=folder are files; leave it out"
    ):
        ImageDataModule("folder", str(folder_of_classes({"train": ["a", "b"], "val": ["a"]})), hold_on_device=True)


@pytest.mark.parametrize("changes", [{"crop_scale": (0.5, 1.0)}, {"color_jitter": (0.1, 0.0, 0.0, 0.0)}])
def test_changes_for_files_are_refused_for_images_in_memory(changes: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=rf"augmentation\.{next(iter(changes))} is for image files"):
        digits(augmentation=Augmentation(**changes))  # pyright: ignore
