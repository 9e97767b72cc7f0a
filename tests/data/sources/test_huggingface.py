"""Hugging Face data sets on disk: the same pictures and names, decoded by us, without a network."""

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vit.data.decode import EncodedImage, UnreadableImageError, read_image
from vit.data.sources import Columns, Labelled, huggingface

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _cache_in_the_tests_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def png(level: int) -> dict[str, Any]:
    """A grey picture of 2 x 3 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (2, 3), (level, level, level)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": f"{level}.png"}


NAMES = ["dog", "cat", "owl"]


def make(levels: list[int], labels: list[Any], label: Any = None, names: tuple[str, str] = ("image", "label")) -> Any:
    features = {names[0]: datasets.Image(), names[1]: label or datasets.ClassLabel(names=NAMES)}
    rows = {names[0]: [png(level) for level in levels], names[1]: labels}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def levels(part: Labelled | None) -> list[int]:
    assert part is not None
    assert not isinstance(part.images, torch.Tensor)
    return [read_image(image).getpixel((0, 0))[0] for image in part.images]  # pyright: ignore


def test_a_saved_data_set_gives_its_parts_and_names_in_the_order_of_its_class_labels(tmp_path: Path) -> None:
    parts = {"train": make([1, 2, 3], [0, 1, 2]), "validation": make([4], [1]), "test": make([5], [-1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    source = huggingface(tmp_path / "set")
    assert source.classes == ("dog", "cat", "owl")
    assert (levels(source.train), source.train.labels.tolist()) == ([1, 2, 3], [0, 1, 2])
    assert source.val is not None
    assert (levels(source.val), source.val.labels.tolist()) == ([4], [1])
    assert source.test is None
    assert [note.replace(str(tmp_path), "") for note in source.notes] == [
        "the val part of /set has no image of dog, owl: its figures say nothing about them.",
        "the test part of /set has no labels and is left out.",
    ]


def test_one_data_set_without_splits_is_all_for_training_and_can_be_split(tmp_path: Path) -> None:
    make(list(range(1, 8)), [0, 1, 0, 1, 0, 1, 2]).save_to_disk(tmp_path / "set")
    source = huggingface(tmp_path / "set")
    some = source.train.take(torch.tensor([6, 1]))
    assert levels(some) == [7, 2]
    assert some.labels.tolist() == [2, 1]
    assert levels(Labelled(some.images[1:], some.labels[1:])) == [2]  # pyright: ignore
    assert levels(pickle.loads(pickle.dumps(some))) == [7, 2]  # as workers get it that are not forked


def test_text_and_numbers_are_names_in_natural_order_and_parts_match_by_name(tmp_path: Path) -> None:
    label = datasets.Value("int64")
    parts = {"train": make([1, 2, 3], [10, 2, 1], label), "valid": make([4, 5], [1, 10], label)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    source = huggingface(tmp_path / "set")
    assert source.classes == ("1", "2", "10")
    assert source.train.labels.tolist() == [2, 1, 0]
    assert source.val is not None
    assert source.val.labels.tolist() == [0, 2]


def test_parts_whose_class_labels_are_ordered_differently_match_by_name(tmp_path: Path) -> None:
    for part, names in (("train", NAMES), ("test", NAMES[::-1])):
        make([1, 2, 3], [0, 1, 2], datasets.ClassLabel(names=names)).save_to_disk(tmp_path / "set" / part)
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = huggingface(tmp_path / "set")
    assert source.test is not None
    assert source.test.labels.tolist() == [2, 1, 0]


def test_a_folder_of_parquet_files_as_on_the_hub_is_read(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    make([1, 2, 3], [0, 1, 2]).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    make([9], [2]).to_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet")
    source = huggingface(tmp_path / "set")
    assert levels(source.train) == [1, 2, 3]
    assert levels(source.test) == [9]
    assert source.classes == ("dog", "cat", "owl")


def test_columns_are_found_by_their_kind_or_named(tmp_path: Path) -> None:
    make([1, 2], [0, 1], names=("img", "fine_label")).save_to_disk(tmp_path / "one")
    assert huggingface(tmp_path / "one").classes == ("dog", "cat", "owl")
    two = make([1, 2], [0, 1]).add_column("coarse", [0, 0]).cast_column("coarse", datasets.ClassLabel(names=["pet"]))
    two.save_to_disk(tmp_path / "two")
    with pytest.raises(
        ValueError, match=r"which column of .*two is the label\? It has label, coarse; name one with data"
    ):
        huggingface(tmp_path / "two")
    assert huggingface(tmp_path / "two", columns=Columns(label="coarse")).classes == ("pet",)
    with pytest.raises(ValueError, match=r"data\.columns\.label=corse is no column of .*; did you mean 'coarse'"):
        huggingface(tmp_path / "two", columns=Columns(label="corse"))
    with pytest.raises(ValueError, match=r"column 'label' of .* holds no images but ClassLabel"):
        huggingface(tmp_path / "two", columns=Columns(image="label", label="coarse"))
    with pytest.raises(ValueError, match=r"data\.columns\.split=part says nothing here"):
        huggingface(tmp_path / "two", columns=Columns(split="part"))


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path: Path) -> None:
    label = datasets.Value("string")
    parts = {"train": make([1, 2], ["cat", "dog"], label), "test": make([3], ["dgo"], label)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=r"class 'dgo' of the test part of .* is not one of .*; did you mean 'dog'"):
        huggingface(tmp_path / "set")


def test_rows_without_a_label_are_refused_and_damaged_images_named_by_row(tmp_path: Path) -> None:
    make([1, 2], [0, None]).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=r"set, train: 1 of 2 rows have no label, first row 1"):
        huggingface(tmp_path / "set")
    broken = make([1, 2], [0, 1])
    rows = {"image": [png(1), {"bytes": b"no image", "path": "b.png"}], "label": [0, 1]}
    datasets.Dataset.from_dict(rows, features=broken.features).save_to_disk(tmp_path / "broken")
    with pytest.raises(UnreadableImageError, match=r"broken, train, row 1 \(b\.png\): not an image"):
        levels(huggingface(tmp_path / "broken").train)


def test_what_is_no_data_set_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is not a folder; it should be what dataset\.save_to_disk wrote"
    ):
        huggingface(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty is no data set of Hugging Face"):
        huggingface(tmp_path / "empty")
    datasets.DatasetDict({"all": make([1], [0])}).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=r"set has no split 'train'; it has all"):
        huggingface(tmp_path / "set")


def test_an_encoded_image_is_read_as_the_file_would_be(write_image: Any) -> None:
    path = Path(write_image("a.png"))
    assert read_image(EncodedImage("a", path.read_bytes())).tobytes() == read_image(path).tobytes()
