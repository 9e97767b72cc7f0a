"""Tables of paths and labels: columns, separators, parts, and what is wrong with a row, by its line."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from vit.data.sources import Columns, Labelled, open_source, table
from vit.data.sources.table import GUESSES

WriteTable = Callable[..., Path]


@pytest.fixture
def write_table(folder_of_classes: Callable[..., Path]) -> WriteTable:
    """A table of the given text beside `photos/cat/0.png` to `2.png` and the same of dog; its path."""
    root = folder_of_classes({"photos": ["cat", "dog"]})

    def write(text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
        (root / name).write_bytes(text.encode(encoding))
        return root / name

    return write


def content(part: Labelled | None, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Parent/name and class of every image."""
    assert part is not None
    assert not isinstance(part.images, torch.Tensor)
    names = [f"{path.parent.name}/{path.name}" for path in part.images]
    return list(zip(names, [classes[label] for label in part.labels.tolist()], strict=True))


FOUR = "path,label\nphotos/cat/0.png,cat\nphotos/cat/1.png,cat\nphotos/dog/0.png,dog\nphotos/dog/1.png,dog\n"


def test_a_table_gives_its_images_in_its_order_with_their_classes(write_table: WriteTable) -> None:
    source = table(write_table(FOUR))
    assert source.classes == ("cat", "dog")
    assert content(source.train, source.classes) == [
        ("cat/0.png", "cat"),
        ("cat/1.png", "cat"),
        ("dog/0.png", "dog"),
        ("dog/1.png", "dog"),
    ]
    assert (source.val, source.test, source.notes) == (None, None, ())
    assert all(path.is_file() for path in source.train.images)  # pyright: ignore


def test_parts_are_taken_from_a_column_by_any_of_their_names(write_table: WriteTable) -> None:
    rows = ["photos/cat/0.png;cat;Train", "photos/dog/0.png;dog;train", "photos/dog/1.png;dog;VALID"]
    source = table(write_table("\n".join(["filename;class;split", *rows, "photos/cat/2.png;cat;test"])))
    assert content(source.train, source.classes) == [("cat/0.png", "cat"), ("dog/0.png", "dog")]
    assert content(source.val, source.classes) == [("dog/1.png", "dog")]
    assert content(source.test, source.classes) == [("cat/2.png", "cat")]
    assert [note.partition(", ")[2] for note in source.notes] == [
        "val part has no image of cat: its figures say nothing about them.",
        "test part has no image of dog: its figures say nothing about them.",
    ]


@pytest.mark.parametrize(
    ("separator", "name", "encoding"),
    [
        (",", "labels.csv", "utf-8-sig"),  # with a byte order mark, as Excel writes it
        (";", "labels.csv", "utf-8"),
        ("\t", "labels.tsv", "utf-8"),
        ("|", "labels.csv", "utf-8"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_any_separator_and_line_ending_is_read(
    separator: str, name: str, encoding: str, ending: str, write_table: WriteTable
) -> None:
    text = FOUR.replace(",", separator).replace("\n", ending)
    source = table(write_table(text, name, encoding))
    assert len(source.train) == 4
    assert source.classes == ("cat", "dog")


def test_quoted_names_may_have_the_separator_in_them(write_table: WriteTable) -> None:
    text = 'path,label\nphotos/cat/0.png,"cat, grey"\nphotos/dog/0.png,dog\n'
    assert table(write_table(text)).classes == ("cat, grey", "dog")


def test_numbers_are_names_in_order_of_size(write_table: WriteTable) -> None:
    rows = [f"photos/{kind}/{n}.png,{label}" for (kind, n), label in zip(SIX, [10, 2, 1, 10, 2, 1], strict=True)]
    source = table(write_table("\n".join(["image,target", *rows])))
    assert source.classes == ("1", "2", "10")
    assert source.train.labels.tolist() == [2, 1, 0, 2, 1, 0]


SIX = [(kind, n) for kind in ("cat", "dog") for n in range(3)]


def test_columns_can_be_named(write_table: WriteTable) -> None:
    file = write_table("file,wnid,name\nphotos/cat/0.png,n1,cat\nphotos/dog/0.png,n2,dog\n")
    assert table(file, columns=Columns(label="wnid")).classes == ("n1", "n2")
    assert table(file, columns=Columns(label="name")).classes == ("cat", "dog")
    with pytest.raises(
        ValueError, match=r"which column of .*labels\.csv is the label\? Its first line has file, wnid, n"
    ):
        table(file)
    with pytest.raises(
        ValueError, match=r"data\.columns\.label=nane is no column of .*labels\.csv; did you mean 'name'"
    ):
        table(file, columns=Columns(label="nane"))


def test_the_first_guess_wins_whatever_the_order_of_the_columns(write_table: WriteTable) -> None:
    source = table(write_table("class,label,path\nno,cat,photos/cat/0.png\nno,dog,photos/dog/0.png\n"))
    assert source.classes == ("cat", "dog")


def test_the_guesses_are_those_that_the_help_says() -> None:
    text = " ".join(inspect.getsource(Columns).split())
    for guesses in GUESSES.values():
        assert ", ".join(guesses) in text


def test_paths_may_be_relative_to_the_root_and_the_table_elsewhere(write_table: WriteTable, tmp_path: Path) -> None:
    photos = write_table(FOUR).parent / "photos"
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text(FOUR.replace("photos/", ""), encoding="utf-8")
    source = table(photos, table=str(tmp_path / "tables" / "mine.csv"))
    assert [path.parent.parent for path in source.train.images] == [photos] * 4  # pyright: ignore
    absolute = FOUR.replace("photos/", f"{photos}/")
    assert len(table(write_table(absolute)).train) == 4


def test_the_only_table_of_a_folder_is_found(write_table: WriteTable) -> None:
    file = write_table(FOUR)
    assert len(table(file.parent).train) == 4
    assert len(table(file.parent, table="labels.csv").train) == 4
    write_table(FOUR, "more.tsv")
    with pytest.raises(ValueError, match=r"has several tables, labels\.csv, more\.tsv; choose with data\.table"):
        table(file.parent)


def test_tables_that_are_not_there_are_explained(write_table: WriteTable) -> None:
    root = write_table(FOUR, "notes.txt").parent
    with pytest.raises(FileNotFoundError, match=r"has no table; looked for \.csv \.tsv \.parquet"):
        table(root)
    with pytest.raises(
        FileNotFoundError, match=r"table .*none\.csv does not exist; data\.table is relative to data\.root"
    ):
        table(root, table="none.csv")
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist; it should be a table, or the folder that has"
    ):
        table(root / "nowhere")
    with pytest.raises(ValueError, match=r"notes\.txt is no table by its extension"):
        table(root / "notes.txt")


def test_files_that_are_not_there_are_counted_and_the_first_named_with_their_lines(write_table: WriteTable) -> None:
    rows = "".join(f"photos/cat/{n}.jpg,cat\n" for n in range(5))
    with pytest.raises(
        FileNotFoundError,
        match=r"5 of the 9 files .*labels\.csv names are not there, looked for in .*: photos/cat/0\.jpg \(line 6\), "
        r"photos/cat/1\.jpg \(line 7\), photos/cat/2\.jpg \(line 8\) and 2 more\.",
    ):
        table(write_table(FOUR + rows))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("path,label\n", "has no rows below its header"),
        ("path,label\nphotos/cat/0.png\n", r"line 2, has 1 values, but the header names 2"),
        ("path,label\nphotos/cat/0.png,\n", r"line 2, has nothing in column 'label'"),
        ("path,label\n\nphotos/cat/0.png,cat,x\n", r"line 3, has 3 values"),
        ("path,label,split\nphotos/cat/0.png,cat,trian\n", r"line 2: 'trian' is no part; did you mean 'train'"),
        ("path,label,split\nphotos/cat/0.png,cat,val\n", r"has no row of the training part; its 1 rows are of others"),
        (
            "photos/cat/0.png,cat\n",
            r"labels\.csv has no line that names its columns; put one first, such as path,label\.",
        ),
        (FOUR + "photos/cat/0.png,dog\n", r"has photos/cat/0\.png twice, of class 'cat' and 'dog' \(lines 2 and 6\)"),
        (
            "path,label,split\nphotos/cat/0.png,cat,train\nphotos/cat/0.png,cat,val\n",
            r"photos/cat/0\.png twice, in the train part and the val part \(lines 2 and 3\)",
        ),
        (
            "path,label,split\nphotos/cat/0.png,cat,train\nphotos/cat/1.png,cta,val\n",
            r"class 'cta' of .*labels\.csv, val part \(line 3\) is not one of the training part; did you mean 'cat'",
        ),
        ('path,label\n"photos/cat/0.png,cat\n', r"line 2, has 1 values"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_with_its_line(text: str, sentence: str, write_table: WriteTable) -> None:
    with pytest.raises(ValueError, match=sentence):
        table(write_table(text))


def test_an_image_is_the_same_however_its_path_is_written(write_table: WriteTable) -> None:
    with pytest.raises(
        ValueError,
        match=r"has one image as photos/cat/0\.png and \./photos/cat/0\.png, in the train part and the test part "
        r"\(lines 2 and 4\); keep one\.",
    ):
        table(
            write_table(
                "path,label,split\nphotos/cat/0.png,cat,train\nphotos/dog/0.png,dog,train\n./photos/cat/0.png,cat,test\n"
            )
        )
    file = write_table(FOUR)
    write_table(f"{FOUR}{file.parent / 'photos/cat/1.png'},cat\nphotos\\\\dog\\\\..\\\\dog\\\\1.png,dog\n")
    source = table(file)
    assert source.notes == (f"{file} repeats 2 of its 6 rows; each image counts once.",)
    assert len(source.train) == 4


def test_text_in_another_encoding_is_explained(write_table: WriteTable) -> None:
    with pytest.raises(ValueError, match=r"is not UTF-8 text \(byte 28\); save it as CSV UTF-8"):
        table(write_table("path,label\nphotos/cat/0.png,\xe9t\xe9\n", encoding="latin-1"))


def test_a_row_that_is_repeated_counts_once_with_a_note(write_table: WriteTable) -> None:
    file = write_table(FOUR + "photos/cat/0.png,cat\n")
    source = table(file)
    assert len(source.train) == 4
    assert source.notes == (f"{file} repeats 1 of its 5 rows; each image counts once.",)


def test_parquet_is_read_as_the_same_table_in_csv(write_table: WriteTable) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    paths = [f"photos/{kind}/{n}.png" for kind, n in SIX]
    file = write_table("", "labels.parquet")
    labels = [10, 2, 1, 10, 2, 1]
    for values in (pa.array(labels), pa.array([float(n) for n in labels]), pa.array([str(n) for n in labels])):
        parquet.write_table(pa.table({"path": paths, "label": values}), file)
        source = table(file)
        assert source.classes == ("1", "2", "10")
        assert source.train.labels.tolist() == [2, 1, 0, 2, 1, 0]
    parquet.write_table(pa.table({"path": paths, "label": [None, *labels[1:]]}), file)
    with pytest.raises(ValueError, match=r"line 1, has nothing in column 'label'"):
        table(file)
    file.write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"labels\.parquet is not a Parquet file, or damaged"):
        table(file)


def test_a_table_can_have_a_test_part_set_apart(write_table: WriteTable) -> None:
    source = open_source("table", write_table(FOUR), test_fraction=0.5)
    assert source.test is not None
    assert source.test.labels.tolist() == [0, 1]
    assert len(source.train) == 2


def test_the_labels_of_the_imagenet_sample_are_a_table(shared_data: Path) -> None:
    source = table(shared_data / "imagenet-sample", columns=Columns(label="wnid"))
    assert len(source.train) == len(source.classes) == 250
    assert source.classes[0] == "n01440764"
    by_index = table(shared_data / "imagenet-sample", columns=Columns(label="class_index"))
    assert by_index.classes[:3] == ("0", "4", "8")


def test_paths_are_called_what_they_are_from_the_folder_one_is_in(
    write_table: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_table(FOUR).parent)
    assert table(Path("labels.csv")).train.names()[0] == "photos/cat/0.png"


def test_a_path_with_backslashes_is_found(write_table: WriteTable) -> None:
    source = table(write_table(FOUR.replace("/", "\\")))
    assert content(source.train, source.classes)[0] == ("cat/0.png", "cat")


@pytest.mark.parametrize("written", ["0", "cat/0", "0.png"])
def test_a_path_without_folder_or_extension_is_told_from_a_file_that_is_nowhere(
    write_table: WriteTable, written: str
) -> None:
    file = write_table(f"image,label\n{written},cat\nphotos/dog/0.png,dog\n")
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 files .*cat.0\.png is there: a path is written"):
        table(file)
    file.write_text("image,label\ncow/0.png,cat\nphotos/dog/0.png,dog\n")
    with pytest.raises(FileNotFoundError, match=r"cow/0\.png \(line 2\)\.$"):
        table(file)
