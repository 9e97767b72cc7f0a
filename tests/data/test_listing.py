"""Folders are listed as they are, sources by their parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vit.data.listing import list_folder, list_parts
from vit.data.sources.labelled import Labelled

MakeFolder = Callable[..., Path]


def test_parts_and_classes_are_the_folders(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "validation": ["dog"]}, images=2)
    listing = list_folder(root)
    assert [Path(name).relative_to(root).as_posix() for name in listing.names] == [
        *("train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png"),
        *("validation/dog/0.png", "validation/dog/1.png"),
    ]
    assert list(listing.parts) == ["train"] * 4 + ["val"] * 2
    assert list(listing.classes) == ["cat", "cat", "dog", "dog", "dog", "dog"]
    assert listing.pictures is None


def test_without_parts_all_is_one(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"], "val": ["dog"]}, images=1)
    assert set(list_folder(root / "train").parts) == {"all"}
    flat = list_folder(root / "val" / "dog")
    assert list(flat.classes) == [""]


def test_the_folder_one_is_in_is_listed_as_any_other(
    folder_of_classes: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of_classes({"train": ["cat"], "val": ["dog"]}, images=1)
    monkeypatch.chdir(root / "train")
    here = list_folder(Path())
    assert (list(here.parts), list(here.classes), here.hidden) == (["all"], ["cat"], 0)
    monkeypatch.chdir(root)
    here = list_folder(Path())
    assert (list(here.parts), list(here.classes), here.hidden) == (["train", "val"], ["cat", "dog"], 0)


def test_what_is_no_image_is_counted_and_not_read(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"]}, images=2)
    for name in ("notes.txt", "more.TXT", "README", "._0.png"):
        (root / "train" / "cat" / name).touch()
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / ".ipynb_checkpoints" / "0.png").touch()
    (root / "train" / "dog").mkdir()
    (root / "extra").mkdir()
    listing = list_folder(root)
    assert len(listing.names) == 2
    assert listing.ignored == {".txt": 2, "none": 1}
    assert listing.hidden == 2
    assert list(listing.empty) == [root / "train" / "dog"]
    assert list(listing.beside) == [root / "extra"]


def test_classes_and_parts_are_those_of_training(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["\u00e9t\u00e9"], "val": ["e\u0301te\u0301"]}, images=1)
    assert list(list_folder(root).classes) == ["\u00e9t\u00e9"] * 2  # macOS writes \u00e9 as two characters
    (root / "valid").mkdir()
    with pytest.raises(ValueError, match=r"val and .*valid would both be the val part; keep one"):
        list_folder(root)


def test_a_link_that_leads_back_comes_to_an_end(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat"]}, images=1)
    (root / "train" / "cat" / "again").symlink_to(root / "train", target_is_directory=True)
    assert len(list_folder(root).names) == 1


def test_wrong_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere\."):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no image in .*: looked for \.avif .*, found no visible file\."):
        list_folder(tmp_path)
    (tmp_path / "a.heic").touch()
    with pytest.raises(FileNotFoundError, match=r"found 1 \.heic\."):
        list_folder(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"a\.heic is a file; give the folder"):
        list_folder(tmp_path / "a.heic")


def test_images_in_memory_are_named_by_their_part_and_place() -> None:
    train = Labelled(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 0, 1]))
    test = Labelled(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]))
    listing = list_parts({"train": train, "test": test}, ["no", "yes"])
    assert list(listing.names) == ["train[0]", "train[1]", "train[2]", "test[0]"]
    assert list(listing.classes) == ["yes", "no", "yes", "no"]
    assert listing.pictures is not None
    assert list(listing.pictures) == ["train", "test"]


def test_files_of_a_source_are_named_by_their_paths() -> None:
    train = Labelled([Path("a.png"), Path("b.png")], torch.tensor([0, 1]))
    assert list(list_parts({"train": train}, ["no", "yes"]).names) == ["a.png", "b.png"]
