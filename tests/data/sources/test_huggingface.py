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
    assert huggingface(tmp_path / "one").classes == ("dog", "cat")
    text = make([1, 2], ["cat", "dog"], datasets.Value("string"), names=("picture", "Labels"))
    text.add_column("id", [7, 8]).save_to_disk(tmp_path / "text")
    assert huggingface(tmp_path / "text").classes == ("cat", "dog")
    text.rename_column("Labels", "species").save_to_disk(tmp_path / "species")
    with pytest.raises(ValueError, match=r"which column of .*species is the label\? It has picture, species; name one"):
        huggingface(tmp_path / "species")
    assert huggingface(tmp_path / "species", columns=Columns(label="species")).classes == ("cat", "dog")
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


def test_class_labels_without_a_training_image_are_left_out_with_a_note(tmp_path: Path) -> None:
    # as `dataset.filter` leaves them: the names of all classes, the rows of some
    datasets.DatasetDict(train=make([1, 2], [2, 0]), test=make([3], [2])).save_to_disk(tmp_path / "some")
    source = huggingface(tmp_path / "some")
    assert source.classes == ("dog", "owl")
    assert source.train.labels.tolist() == [1, 0]
    assert source.test is not None
    assert source.test.labels.tolist() == [1]
    assert source.notes[0].endswith("names classes without a training image, which are left out: cat.")
    datasets.DatasetDict(train=make([1, 2], [2, 0]), test=make([3], [1])).save_to_disk(tmp_path / "strange")
    with pytest.raises(ValueError, match=r"class 'cat' of the test part of .*strange is not one of the training part"):
        huggingface(tmp_path / "strange")


def test_images_may_be_bytes_or_paths_from_the_folder_of_the_data_set(tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=NAMES[:2])
    for name, kind, values in (
        ("bytes", "binary", [png(level)["bytes"] for level in (1, 2)]),
        ("paths", "string", ["a/1.png", str(tmp_path / "elsewhere.png")]),
    ):
        features = datasets.Features({"image": datasets.Value(kind), "label": label})
        datasets.Dataset.from_dict({"image": values, "label": [0, 1]}, features=features).save_to_disk(tmp_path / name)
    (tmp_path / "paths" / "a").mkdir()
    (tmp_path / "paths" / "a" / "1.png").write_bytes(png(1)["bytes"])
    (tmp_path / "elsewhere.png").write_bytes(png(2)["bytes"])
    assert levels(huggingface(tmp_path / "bytes").train) == [1, 2]
    assert levels(huggingface(tmp_path / "paths").train) == [1, 2]


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (2, 3), 77), (77, 77, 77)),
        (Image.new("I;16", (2, 3), 257 * 9), (9, 9, 9)),
        (Image.new("RGBA", (2, 3), (200, 0, 0, 0)), (255, 255, 255)),
    ],
    ids=["grey", "16-bit", "transparent"],
)
def test_images_of_any_mode_are_the_pictures_that_files_of_them_are(
    image: Image.Image, pixel: tuple[int, ...], tmp_path: Path
) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    datasets.Dataset.from_dict({"image": [image], "label": [0]}, features=features).save_to_disk(tmp_path / "set")
    assert read_image(huggingface(tmp_path / "set").train.images[0]).getpixel((0, 0)) == pixel  # pyright: ignore


def test_what_holds_no_images_or_no_class_is_said(tmp_path: Path) -> None:
    arrays = datasets.Dataset.from_dict({"image": [[[1, 2], [3, 4]]], "label": [0]})
    arrays.save_to_disk(tmp_path / "arrays")
    with pytest.raises(
        ValueError, match=r"'image' of .*arrays holds no images but .*; image files are read .*, their by"
    ):
        huggingface(tmp_path / "arrays")
    several = make([1], [[0, 2]], datasets.List(datasets.Value("int64")))
    several.save_to_disk(tmp_path / "several")
    with pytest.raises(ValueError, match=r"'label' of .*several holds no class an image but List"):
        huggingface(tmp_path / "several")


def test_splits_and_columns_that_are_not_as_in_train_are_said(tmp_path: Path) -> None:
    train = make([1, 2, 3], [0, 1, 2])
    parts = {"train": train, "test": train.remove_columns("label"), "unsupervised": train}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    assert [note.replace(str(tmp_path), "") for note in huggingface(tmp_path / "set").notes] == [
        "splits of /set that are no part of a training, and are left out: unsupervised.",
        "the test part of /set has no labels and is left out.",
    ]
    parts = {"train": train, "validation": train.rename_column("image", "img")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "other")
    with pytest.raises(ValueError, match=r"the val part of .*other has no column 'image'; it has img, label\."):
        huggingface(tmp_path / "other")


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
    with pytest.raises(ValueError, match=r"set has no split 'train'; it has all; data\.root=.*set/all trains on that"):
        huggingface(tmp_path / "set")
    assert levels(huggingface(tmp_path / "set" / "all").train) == [1]


def test_a_damaged_data_set_is_named(tmp_path: Path) -> None:
    for name in ("cut", "bare", "state"):
        make([1, 2], [0, 1]).save_to_disk(tmp_path / name)
    arrow = "data-00000-of-00001.arrow"
    (tmp_path / "cut" / arrow).write_bytes((tmp_path / "cut" / arrow).read_bytes()[:-600])
    with pytest.raises(ValueError, match=r"cut cannot be read as a data set of Hugging Face: Expected to read"):
        huggingface(tmp_path / "cut")
    (tmp_path / "bare" / arrow).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"bare is no data set of Hugging Face, or not a whole one \(.*arrow'\)"
    ):
        huggingface(tmp_path / "bare")
    (tmp_path / "state" / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state cannot be read as a data set of Hugging Face: Expecting property"):
        huggingface(tmp_path / "state")
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / "train.parquet").write_bytes(b"PAR1, but no more")
    with pytest.raises(ValueError, match=r"parquet cannot be read as a data set of Hugging Face: Parquet magic bytes"):
        huggingface(tmp_path / "parquet")


def test_an_encoded_image_is_read_as_the_file_would_be(write_image: Any) -> None:
    path = Path(write_image("a.png"))
    assert read_image(EncodedImage("a", path.read_bytes())).tobytes() == read_image(path).tobytes()
