"""CIFAR from a local copy; a download only where it was asked for; what is wrong with a copy is named."""

import shutil
from pathlib import Path

import pytest
import torch

from vit.data.sources import cifar10, cifar100


def test_cifar_batches_are_read_in_order_with_channels_first(fake_cifar: Path) -> None:
    source = cifar10(fake_cifar)
    assert source.test is not None
    images = source.train.images
    assert isinstance(images, torch.Tensor)
    assert images.shape == (100, 3, 32, 32)
    assert len(source.test) == 7
    assert source.classes[3] == "cat"
    assert images[:, 0, 0, 0].tolist() == [number for number in range(5) for _ in range(20)]
    assert (images[0, 0, 0, 1].item(), images[0, 1, 0, 0].item()) == (11, 22)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every download fails, and is noted."""
    asked: list[object] = []

    def unreachable(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    return asked


def test_the_folder_of_batches_may_be_named_itself(fake_cifar: Path) -> None:
    assert len(cifar10(fake_cifar / "cifar-10-batches-py").train) == 100


def test_where_there_is_a_copy_nothing_is_downloaded(fake_cifar: Path, no_network: list[object]) -> None:
    assert len(cifar10(fake_cifar, download=True).train) == 100
    assert not no_network


def test_a_folder_that_does_not_exist_is_refused_and_not_made(tmp_path: Path, no_network: list[object]) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"data\.root=.*mistyped is not a folder; name the one that holds cifar-10-batches-py, or fetch it with "
        r"--data\.download true \(162 MB\)",
    ):
        cifar10(tmp_path / "mistyped")
    assert not no_network
    assert not (tmp_path / "mistyped").exists()


def test_a_folder_without_the_batches_is_refused_without_a_download(tmp_path: Path, no_network: list[object]) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no cifar-100-python in it; name the folder that has, or fetch"):
        cifar100(tmp_path)
    assert not no_network


def test_a_download_that_was_asked_for_and_failed_is_explained(tmp_path: Path, no_network: list[object]) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"downloading https://.*cifar-10-python.tar.gz to .*new failed \(no network\); put the"
    ):
        cifar10(tmp_path / "new", download=True)
    assert len(no_network) == 1


def test_missing_and_damaged_batches_are_named(fake_cifar: Path) -> None:
    batches = fake_cifar / "cifar-10-batches-py"
    (batches / "data_batch_2").unlink()
    (batches / "test_batch").write_bytes((batches / "test_batch").read_bytes()[:-100])
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar-10-batches-py lacks data_batch_2 and has other bytes than published in test_batch; put a whole",
    ):
        cifar10(fake_cifar)


def test_a_download_mends_a_copy_that_is_not_whole(
    fake_cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree(fake_cifar, tmp_path / "server")
    (fake_cifar / "cifar-10-batches-py" / "data_batch_2").unlink()
    monkeypatch.setattr(
        "torchvision.datasets.cifar.download_and_extract_archive",
        lambda url, root, **_: shutil.copytree(whole, root, dirs_exist_ok=True),
    )
    assert len(cifar10(fake_cifar, download=True).train) == 100
