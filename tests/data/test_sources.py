"""Where images come from: classes by name and in natural order, parts that share no image."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vit.data.sources import Labelled, cifar10, class_folders, digits, folder, image_files, stratified_split

MakeFolder = Callable[..., Path]


def test_digits_are_scikit_learns_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    source = digits(Path())
    assert source.test is not None
    assert isinstance(source.train.images, torch.Tensor)
    assert (len(source.train), len(source.test), source.val) == (1437, 360, None)
    assert source.train.images.shape[1:] == (1, 8, 8)
    ours = torch.cat([source.train.images, source.test.images]).float().flatten(1)  # pyright: ignore
    theirs = torch.from_numpy(load_digits().data).float() * 255 / 16  # pyright: ignore
    assert (ours.sort(dim=0).values - theirs.sort(dim=0).values).abs().max() <= 0.5  # rounded to whole levels


def test_mean_and_std_of_digits_are_those_of_the_training_images() -> None:
    source = digits(Path())
    pixels = source.train.images.float() / 255  # pyright: ignore
    assert source.mean[0] == pytest.approx(pixels.mean().item(), abs=0.002)  # written with three digits
    assert source.std[0] == pytest.approx(pixels.std().item(), abs=0.002)


def test_training_and_test_digits_are_apart_and_always_the_same() -> None:
    first, second = digits(Path()), digits(Path())
    assert torch.equal(first.train.images, second.train.images)  # pyright: ignore
    train = {bytes(image.numpy()) for image in first.train.images}  # pyright: ignore
    test = {bytes(image.numpy()) for image in first.test.images}  # pyright: ignore
    assert not train & test


def test_a_split_takes_its_share_of_every_class_and_each_image_once() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    everything = Labelled(torch.arange(100).reshape(100, 1, 1, 1).to(torch.uint8), labels)
    kept, apart = stratified_split(everything, fraction=0.2, seed=7)
    assert torch.bincount(apart.labels).tolist() == [10, 6, 4]
    indices = torch.cat([kept.images, apart.images]).flatten()  # pyright: ignore
    assert sorted(indices.tolist()) == list(range(100))
    assert kept.images.flatten().tolist() == sorted(kept.images.flatten().tolist())  # pyright: ignore  # in order


def test_a_split_depends_on_its_seed_alone() -> None:
    everything = Labelled(torch.arange(60).reshape(60, 1, 1, 1).to(torch.uint8), torch.arange(60) % 3)
    first, other = (stratified_split(everything, 0.3, seed)[1].images.flatten().tolist() for seed in (1, 2))  # pyright: ignore
    torch.manual_seed(99)
    again = stratified_split(everything, 0.3, 1)[1].images.flatten().tolist()  # pyright: ignore
    assert first == again
    assert first != other


def test_labels_stay_with_their_images_through_a_split() -> None:
    labels = torch.arange(60) % 3
    for part in stratified_split(Labelled([Path(str(i)) for i in range(60)], labels), 0.3, 1):
        assert [int(path.name) % 3 for path in part.images] == part.labels.tolist()  # pyright: ignore


def test_classes_of_a_folder_are_in_natural_order(folder_of_classes: MakeFolder) -> None:
    source = folder(folder_of_classes({"train": ["10", "2", "1"]}))
    assert source.classes == ("1", "2", "10")
    assert [(path.parent.name, source.classes[label]) for path, label in pairs(source.train)] == [
        (name, name) for name in ("1", "2", "10") for _ in range(3)
    ]


def pairs(part: Labelled) -> list[tuple[Path, int]]:
    assert not isinstance(part.images, torch.Tensor)
    return list(zip(part.images, part.labels.tolist(), strict=True))


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_a_validation_folder_without_some_class_keeps_the_names_of_the_others(
    name: str, folder_of_classes: MakeFolder
) -> None:
    source = folder(folder_of_classes({"train": ["cat", "dog", "owl"], name: ["dog", "owl"], "test": ["owl"]}))
    assert source.val is not None
    assert source.test is not None
    assert source.val.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert source.test.labels.tolist() == [2, 2, 2]


def test_a_class_that_only_the_validation_folder_has_is_refused(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat", "dgo"]})
    with pytest.raises(ValueError, match=r"class 'dgo' of .*val is not one of the training part; did you mean 'dog'"):
        folder(root)


def test_a_folder_of_classes_alone_is_all_for_training(folder_of_classes: MakeFolder) -> None:
    source = folder(folder_of_classes({"": ["cat", "test"]}))
    assert source.classes == ("cat", "test")
    assert (len(source.train), source.val, source.test) == (6, None, None)


def test_a_class_folder_without_images_is_refused(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"]})
    (root / "train" / "dog").mkdir()
    (root / "train" / "dog" / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"dog has no image; looked for \.avif \.bmp"):
        folder(root)


def test_a_folder_that_is_not_there_or_empty_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*nowhere is not a folder; it should hold train/CLASS"):
        folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no class folders; expected .*/CLASS/\*\.jpg"):
        folder(tmp_path)


def test_hidden_files_and_folders_are_left_out(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"], "train/cat/.thumbnails": ["1"], "train/.git": ["2"]})
    (root / "train" / "cat" / "._0.png").touch()
    assert class_folders(root / "train") == ("cat",)
    assert [path.name for path in image_files(root / "train" / "cat")] == ["0.png", "1.png", "2.png"]


def test_image_files_are_found_below_and_in_any_case_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/10.JPG", "b/9.jpeg", "a.PNG", "notes.md", "2.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert found == ["2.webp", "a.PNG", "b/9.jpeg", "b/10.JPG"]


def test_a_class_of_one_image_cannot_be_split(folder_of_classes: MakeFolder) -> None:
    source = folder(folder_of_classes({"train": ["cat", "dog"]}, images=1))
    with pytest.raises(ValueError, match="leaves some class with none, the smallest has 1"):
        stratified_split(source.train, 0.5, 0)


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


def test_cifar_that_is_neither_here_nor_to_be_had_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(FileNotFoundError, match=r"has no whole copy .* failed \(no network\); put the unpacked folder"):
        cifar10(tmp_path)
