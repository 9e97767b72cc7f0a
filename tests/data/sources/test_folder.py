"""Where images come from: classes by name and in natural order, parts that share no image."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vit.data.listing import list_folder
from vit.data.sources import Labelled, class_folders, folder, image_files, open_source

MakeFolder = Callable[..., Path]


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
    assert list(class_folders(root / "train")) == ["cat"]
    assert [path.name for path in image_files(root / "train" / "cat")] == ["0.png", "1.png", "2.png"]


def test_image_files_are_found_below_and_in_any_case_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/10.JPG", "b/9.jpeg", "a.PNG", "notes.md", "2.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert found == ["2.webp", "a.PNG", "b/9.jpeg", "b/10.JPG"]


def test_other_extensions_that_are_there_are_counted(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"]})
    (root / "train" / "dog" / "deep").mkdir(parents=True)
    for name in ("1.heic", "2.HEIC", "deep/3.heic", "labels.txt", "README"):
        (root / "train" / "dog" / name).touch()
    with pytest.raises(
        FileNotFoundError,
        match=r"dog has no image; .*, found 3 \.heic, 1 \.txt, 1 without extension\. Put some there, or",
    ):
        folder(root)


def test_images_beside_the_class_folders_are_left_out_with_a_note(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    for name in ("10.jpg", "9.jpg", "notes.txt", ".hidden.jpg"):
        (root / "train" / name).touch()
    source = folder(root)
    assert len(source.train) == 6
    assert source.notes == (f"{root}/train has images beside its class folders, which are left out: 9.jpg, 10.jpg.",)


def test_a_class_that_validation_lacks_is_a_note(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog", "owl"], "val": ["dog"]})
    (note,) = folder(root).notes
    assert note == f"{root}/val has no image of cat, owl: its figures say nothing about them."


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_circles_of_links_come_to_an_end(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "elsewhere": ["owl"]})
    (root / "train" / "owl").symlink_to(root / "elsewhere" / "owl")
    (root / "train" / "cat" / "again").symlink_to(root / "train")
    (root / "train" / "dog" / "self").symlink_to(".")
    (root / "train" / "dog" / "linked.png").symlink_to(root / "elsewhere" / "owl" / "0.png")
    assert len(image_files(root / "train" / "owl")) == 3
    assert [path.name for path in image_files(root / "train" / "dog")] == ["0.png", "1.png", "2.png", "linked.png"]
    assert folder(root).classes == ("cat", "dog", "owl")


def test_names_match_however_a_system_writes_their_accents(folder_of_classes: MakeFolder) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    source = folder(folder_of_classes({"train": [composed, "bar"], "val": [apart, "bar"]}))
    assert source.classes == ("bar", composed)
    assert source.val is not None
    assert source.val.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_no_images_are_lost_to_a_folder_whose_name_looks_like_anothers(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["dog"]})
    for number, form in enumerate(("caf\u00e9", "cafe\u0301")):  # é in one character, and in two
        shutil.copytree(root / "train" / "dog", root / "train" / form)
        if number == 0:
            assert folder(root).classes == ("caf\u00e9", "dog")
    if len(list((root / "train").iterdir())) == 2:
        pytest.skip("this file system takes both for one name")
    with pytest.raises(ValueError, match=r"two folders that look the same, caf\u00e9: .* put their images into one"):
        folder(root)


def test_a_class_that_is_called_train_is_explained(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({".": ["bus", "car", "train"]})
    with pytest.raises(
        FileNotFoundError,
        match=r"train has 3 images .* but no class folders; if train is a class beside bus, car, put all of them into "
        r"one folder more, as .*pictures/train/train/\*\.jpg\.",
    ):
        folder(root)


def test_a_flat_validation_folder_is_explained(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": []})
    (root / "val").mkdir()
    for number in (1, 2):
        (root / "val" / f"{number}.png").touch()
    with pytest.raises(
        FileNotFoundError, match=r"val has 2 images \(1\.png, \.\.\.\) but no class folders; sort them into"
    ):
        folder(root)
    (root / "val" / "labels.csv").touch()
    with pytest.raises(
        FileNotFoundError, match=r"a table of paths and labels \(labels\.csv may be one\): data\.source=t"
    ):
        folder(root)


def test_imagenets_flat_validation_folders_are_recognised(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    (root / "val").mkdir()
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    with pytest.raises(FileNotFoundError, match=r"1 images .* which data\.source=imagenet reads with its labels"):
        folder(root)
    (root / "val" / "images").mkdir()
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").rename(root / "val" / "images" / "val_0.JPEG")
    (root / "val" / "val_annotations.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"Tiny-ImageNet's layout, which data\.source=tiny_imagenet reads"):
        folder(root)


def test_validation_and_test_without_train_are_no_classes(folder_of_classes: MakeFolder) -> None:
    with pytest.raises(ValueError, match=r"has test and val but no train; put the training images there"):
        folder(folder_of_classes({"val": ["cat"], "test": ["cat"]}))


def test_two_folders_for_one_part_are_refused(folder_of_classes: MakeFolder) -> None:
    with pytest.raises(ValueError, match=r"val and .*valid would both be the val part"):
        folder(folder_of_classes({"train": ["cat"], "val": ["cat"], "valid": ["cat"]}))


def test_a_test_part_can_be_set_apart_of_every_class_and_always_the_same(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]}, images=10)
    first, second = (open_source("folder", root, test_fraction=0.2) for _ in range(2))
    assert first.test is not None
    assert second.test is not None
    assert first.test.labels.tolist() == [0, 0, 1, 1]
    assert list(first.test.images) == list(second.test.images)
    assert sorted([*first.train.images, *first.test.images]) == sorted(folder(root).train.images)  # pyright: ignore
    with pytest.raises(ValueError, match=r"data\.test_fraction=1\.0 must be above 0 and below 1"):
        open_source("folder", root, test_fraction=1.0)


def test_a_test_part_is_not_set_apart_where_there_is_one(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "test": ["cat", "dog"]})
    with pytest.raises(ValueError, match=r"data\.test_fraction=0\.5 has nothing to do: the data has a test part"):
        open_source("folder", root, test_fraction=0.5)


def test_an_option_of_another_source_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(
        ValueError, match=r"data\.download says nothing to data\.source=folder; it is for cifar10, cifar100"
    ):
        open_source("folder", Path(), download=True)
    assert len(open_source("digits", Path(), download=None).train) == 1437


def test_the_clothing_photographs_are_all_found(shared_data: Path) -> None:
    source = folder(shared_data / "clothing")
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.classes), source.notes) == (1026, 341, 10, ())


def test_names_are_ordered_by_text_then_number_at_any_place() -> None:
    from vit.data.sources.classes import in_order

    names = ["b", "a10", "a2b", "a2", "10", "9", "a02", "é1"]
    assert in_order(names) == ("9", "10", "a02", "a2", "a2b", "a10", "b", "é1")


def test_paths_are_files_in_order_whether_sliced_taken_or_one_by_one(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]}, images=2)
    part = folder(root).train
    files = [root / "train" / name for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")]
    assert list(part.images) == files
    assert part.names() == [str(file) for file in files]
    assert list(part.images[1:3]) == files[1:3]  # pyright: ignore
    some = part.take(torch.tensor([3, 0]))
    assert (list(some.images), some.labels.tolist()) == ([files[3], files[0]], [1, 0])


@pytest.mark.parametrize("names", [("Train", "Val", "TEST"), ("training", "Validation", "Testing")])
def test_parts_are_known_in_any_case_and_as_kaggle_calls_them(
    folder_of_classes: MakeFolder, names: tuple[str, ...]
) -> None:
    source = folder(folder_of_classes({name: ["cat", "dog"] for name in names}))
    assert source.classes == ("cat", "dog")
    assert [len(part or ()) for part in (source.train, source.val, source.test)] == [6, 6, 6]


def test_two_training_folders_are_refused(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "training": ["cat"]})
    with pytest.raises(ValueError, match=r"train and .*training would both be the train part; keep one of them there"):
        folder(root)


def test_a_folder_above_the_data_and_classes_above_parts_are_refused(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    with pytest.raises(
        ValueError,
        match=r"pictures.train would be images of class 'pictures'; give .*pictures if that is the data, or put the "
        r"parts above the classes, as train/pictures\.",
    ):
        folder(root.parent)
    with pytest.raises(ValueError, match="would be images of class 'pictures'"):
        list_folder(root.parent)
