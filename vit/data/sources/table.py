"""A table of paths and labels, CSV or Parquet: for images whose folders say nothing, and for parts kept in a column."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vit.data.decode import EXTENSIONS
from vit.data.sources.classes import PARTS, check_classes, in_order, listed
from vit.data.sources.folder import extension, files_below
from vit.data.sources.labelled import Labelled, Paths, Source
from vit.spelling import did_you_mean

SEPARATORS = ",;\t|"
TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns of a table or of a Hugging Face data set; what is not given is guessed from common names."""

    image: str | None = None
    """The image, or the path of its file. Guessed: path, file, filepath, file_path, filename, file_name, image,
    image_path, img, img_path, in this order."""

    label: str | None = None
    """The class, text or number. Guessed: label, labels, class, class_name, category, target, in this order."""

    split: str | None = None
    """The part, train, val or test. Guessed: split, part, subset; a table without one is all for training."""


GUESSES = {
    "image": (
        *("path", "file", "filepath", "file_path", "filename", "file_name"),
        *("image", "image_path", "img", "img_path"),
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target"),
    "split": ("split", "part", "subset"),
}


@dataclass(frozen=True)
class Row:
    """One image of a table."""

    line: int
    """Of the file, the header being line 1; in Parquet, which has no lines, the row, from 1."""
    path: str
    label: str
    part: str


def table(root: Path, table: str | None = None, columns: Columns = Columns()) -> Source:
    """The images and classes that a table names.

    A path in it is absolute, or relative to the table's folder or else to `root`; backslashes are taken for `/` where
    nothing else is there. Labels are names; numbers become names in order of size. A row that says the same as one
    before it is left out with a note.

    Args:
        root: The table, or the folder that has it.
        table: The table's file, relative to `root`; may be left out where `root` has just one.
        columns: Which column is what.

    Raises:
        FileNotFoundError: no such table, or files that it names are not there: how many, the first and their lines.
        ValueError: a column, part, label or class that cannot be understood, or an image in two parts or classes.
        ModuleNotFoundError: Parquet without pyarrow.
    """
    file = find_table(root, table)
    rows = read_rows(file, columns)
    paths = _existing_files(rows, file, root)
    rows, notes = _distinct(file, rows, paths)
    parts = {part: [row for row in rows if row.part == part] for part in PARTS}
    if not parts["train"]:
        raise ValueError(f"{file} has no row of the training part; its {len(rows)} rows are of others.")
    classes = in_order(row.label for row in parts["train"])
    for part in ("val", "test"):
        if parts[part]:
            notes += check_classes(classes, *_classes_of(parts[part], classes, f"{file}, {part} part"))
    numbers = {name: index for index, name in enumerate(classes)}
    labelled = {
        part: Labelled(Paths([paths[row.path] for row in some]), torch.tensor([numbers[row.label] for row in some]))
        for part, some in parts.items()
        if some
    }
    return Source(
        classes=classes, train=labelled["train"], val=labelled.get("val"), test=labelled.get("test"), notes=notes
    )


def find_table(root: Path, name: str | None) -> Path:
    """The table that is meant.

    Raises:
        FileNotFoundError: it is not there, or nothing is said and the folder has none.
        ValueError: the folder has several, or the file is no table by its extension.
    """
    if not root.exists():
        raise FileNotFoundError(f"data.root={root} does not exist; it should be a table, or the folder that has one.")
    if root.is_dir() and name is None:
        found = sorted(path for path in root.iterdir() if path.suffix.lower() in TABLES and path.name[0] != ".")
        if not found:
            raise FileNotFoundError(f"data.root={root} has no table; looked for {' '.join(TABLES)}.")
        if len(found) > 1:
            names = listed([path.name for path in found])
            raise ValueError(f"data.root={root} has several tables, {names}; choose with data.table.")
        return found[0]
    if root.is_file() and name is not None:
        raise ValueError(f"data.root={root} is a table already, so data.table={name} has nothing to say.")
    file = root if name is None else root / name
    if not file.is_file():
        raise FileNotFoundError(f"table {file} does not exist; data.table is relative to data.root.")
    if file.suffix.lower() not in TABLES:
        raise ValueError(f"{file} is no table by its extension; {' '.join(TABLES)} are read.")
    return file


def read_rows(file: Path, columns: Columns) -> list[Row]:
    """The rows of a table, parts by our names for them.

    Raises:
        ValueError: the table is empty or damaged, a column is not there, or a value is missing or unknown.
    """
    read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
    header, lines = read(file)
    places = find_columns(columns, header, str(file))
    rows: list[Row] = []
    for line, values in lines:
        if len(values) != len(header):
            raise ValueError(f"{file}, line {line}, has {len(values)} values, but the header names {len(header)}.")
        picked = {what: values[place].strip() for what, place in places.items()}
        for what, value in picked.items():
            if not value:
                raise ValueError(f"{file}, line {line}, has nothing in column {header[places[what]]!r}.")
        part = part_named(picked["split"], f"{file}, line {line}") if "split" in picked else "train"
        rows.append(Row(line, picked["image"], picked["label"], part))
    if not rows:
        raise ValueError(f"{file} has no rows below its header.")
    return rows


def find_columns(columns: Columns, header: Sequence[str], where: str) -> dict[str, int]:
    """Which column is the image, the label and, where there is one, the split: by the given names, or guessed.

    Raises:
        ValueError: a named column is not there, or image or label cannot be guessed.
    """
    places: dict[str, int] = {}
    lower = [name.strip().lower() for name in header]
    for what, guesses in GUESSES.items():
        name = getattr(columns, what)
        if name is not None and name not in header:
            raise ValueError(f"data.columns.{what}={name} is no column of {where}{did_you_mean(name, header)}")
        guess = next((lower.index(guess) for guess in guesses if guess in lower), None)
        place = guess if name is None else list(header).index(name)
        if place is not None:
            places[what] = place
        elif what != "split":
            if any(extension(name.strip()) in EXTENSIONS for name in header):
                raise ValueError(f"{where} has no line that names its columns; put one first, such as path,label.")
            raise ValueError(
                f"which column of {where} is the {what}? Its first line has {listed(header, 10)}; "
                f"name one with data.columns.{what}."
            )
    return places


def part_named(value: str, where: str) -> str:
    """`train`, `val` or `test` for any of the names that people use, in any case.

    Raises:
        ValueError: another name.
    """
    for part, names in PARTS.items():
        if value.lower() in names:
            return part
    raise ValueError(
        f"{where}: {value!r} is no part{did_you_mean(value, [n for names in PARTS.values() for n in names])}"
    )


def _read_csv(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Header and numbered lines; the separator is the one that cuts the header into the most names."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text (byte {error.start}); save it as CSV UTF-8.") from None
    if not text.strip():
        raise ValueError(f"{file} is empty.")
    lines = io.StringIO(text, newline="")
    first = next(line for line in lines if line.strip())
    separator = max(SEPARATORS, key=lambda mark: len(next(csv.reader([first], delimiter=mark))))
    header = next(csv.reader([first.rstrip("\r\n")], delimiter=separator))
    before = text[: lines.tell()].count("\n")

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(lines, delimiter=separator)
        try:
            for values in reader:
                if values:
                    yield before + reader.line_num, values
        except csv.Error as error:
            raise ValueError(f"{file}, line {before + reader.line_num}: {error}.") from None

    return header, rows()


def _read_parquet(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Column names and numbered rows, all as text. One missing number makes all others decimal: 3.0 is 3."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{file} is Parquet, which pyarrow reads: pip install 'plain-vit[parquet]'.", name="pyarrow"
        ) from None
    try:
        content = parquet.read_table(file)
    except pa.ArrowException as error:
        raise ValueError(f"{file} is not a Parquet file, or damaged: {error}.") from None

    columns = [content.column(name).to_pylist() for name in content.column_names]
    rows = ([as_text(value) for value in row] for row in zip(*columns, strict=True))
    return content.column_names, enumerate(rows, start=1)


def as_text(value: object) -> str:
    """A value as the name of a class: 3.0 is 3, and nothing, or no number, is empty."""
    if value is None or value != value:  # the second is NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _distinct(file: Path, rows: Sequence[Row], paths: Mapping[str, str]) -> tuple[list[Row], tuple[str, ...]]:
    """Each image once, however its path is written, and a note about those that stood there more than once."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(os.path.abspath(paths[row.path]), row)  # noqa: PTH100, as `_existing`
        if (other.label, other.part) != (row.label, row.part):
            twice = f"{row.path} twice" if row.path == other.path else f"one image as {other.path} and {row.path}"
            what = f"of class {other.label!r} and {row.label!r}"
            what = what if other.label != row.label else f"in the {other.part} part and the {row.part} part"
            raise ValueError(f"{file} has {twice}, {what} (lines {other.line} and {row.line}); keep one.")
    repeated = len(rows) - len(first)
    note = f"{file} repeats {repeated} of its {len(rows)} rows; each image counts once."
    return list(first.values()), (note,) if repeated else ()


def _classes_of(rows: Sequence[Row], classes: Sequence[str], where: str) -> tuple[set[str], str]:
    """The classes of a part and how a sentence calls it: with the first line that has an unknown one."""
    known = set(classes)
    strange = [row.line for row in rows if row.label not in known]
    return {row.label for row in rows}, f"{where} (line {strange[0]})" if strange else where


def _existing_files(rows: Sequence[Row], file: Path, root: Path) -> Mapping[str, str]:
    """The file of each path, in the table's folder or else in `root`; all must be there."""
    bases = dict.fromkeys([file.parent, root if root.is_dir() else file.parent])
    above = ["" if base == Path() else str(base) for base in bases]  # as Path writes a path in "."
    found: dict[str, str] = {}
    missing: list[str] = []
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.path, row)
    for row in first.values():
        here = _existing(row.path, above) or _existing(row.path.replace("\\", "/"), above)
        if here is None:
            missing.append(f"{row.path} (line {row.line})")
        else:
            found[row.path] = here
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(first)} files that {file} names are not there, looked for in "
            f"{' and '.join(map(str, bases))}: {listed(missing, 3)}{_nearest(missing[0], bases)}."
        )
    return found


def _existing(path: str, above: Iterable[str]) -> str | None:
    places = (os.path.join(base, path) for base in above)  # noqa: PTH118, a Path for each takes as long again
    return next(filter(os.path.isfile, places), None)


def _nearest(missing: str, bases: Iterable[Path]) -> str:
    """For a path that lacks its folder or its extension, the file that may be meant."""
    path = "/" + missing.rpartition(" (line ")[0].replace("\\", "/")
    for base in bases:
        for file in files_below(base):
            there = "/" + Path(file).as_posix()
            if there.endswith(path) or there.removesuffix(Path(there).suffix).endswith(path):
                return f". {file} is there: a path is written with its folder and its extension"
    return ""
