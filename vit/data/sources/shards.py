"""Shards: tar files of the WebDataset format with an index, for data of more files than a file system likes.

    DIR/index.json          class names, and of every shard: its size, its SHA-256, where each image lies in it, and
                            which images were left out of it because they could not be read
    DIR/train-000000.tar    000000000.cls, 000000000.jpg, 000000001.cls, ...
    DIR/val-000000.tar

`scripts/make_shards.py` makes them, and any WebDataset pipeline reads them. Here an image is read from its place in its
shard, which the index knows, so that shards behave as files do: the order of training depends on the seed and the epoch
alone, whatever the number of workers, a run goes on from any batch, and an evaluation meets every image once.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vit.data.decode import EncodedImage, UnreadableImageError
from vit.data.sources.classes import PARTS, check_classes
from vit.data.sources.labelled import ImageTable, Labelled, Rows, Source

INDEX = "index.json"
FORMAT = "plain-vit shards 1"


class Shards(ImageTable):
    """The images of one part. Rows are in the order of the shards, and of the images in each."""

    def __init__(self, root: Path, shards: list[dict[str, Any]]) -> None:
        """Take what the index says of each shard, and look whether the file has the size that it says.

        Raises:
            FileNotFoundError: a shard is not there.
            ValueError: a shard has another size.
        """
        self.files = [root / shard["file"] for shard in shards]
        self.shard = _joined([[number] * len(shard["labels"]) for number, shard in enumerate(shards)])
        self.number = _numbers(shards)
        """By which the images are called, counted with those that were left out."""
        self.kinds = sorted({kind for shard in shards for kind in shard["kind"]})
        self.kind = _joined([[self.kinds.index(kind) for kind in shard["kind"]] for shard in shards])
        self.offset, self.size, self.checksum = (
            _joined([shard[name] for shard in shards]) for name in ("offset", "size", "crc32")
        )
        self.identity = " ".join(shard["sha256"] for shard in shards)
        for file, shard in zip(self.files, shards, strict=True):
            if not file.is_file():
                raise FileNotFoundError(f"{file} is not there, but {root / INDEX} lists it.")
            if file.stat().st_size != shard["bytes"]:
                raise ValueError(
                    f"{file} has {file.stat().st_size:,} bytes and should have {shard['bytes']:,}: it is cut off or "
                    "another file; `python scripts/make_shards.py DIR --verify` checks them all."
                )

    def name(self, row: int) -> str:
        return f"{self.files[int(self.shard[row])]}, {key(int(self.number[row]))}.{self.kinds[int(self.kind[row])]}"

    def shards(self, rows: Tensor) -> Tensor:
        return self.shard[rows]

    def fetch(self, row: int) -> EncodedImage:
        """The bytes of an image.

        Raises:
            UnreadableImageError: they are not those that were put there; the message names shard and key.
        """
        with self.files[int(self.shard[row])].open("rb") as file:
            file.seek(int(self.offset[row]))
            content = file.read(int(self.size[row]))
        if zlib.crc32(content) != int(self.checksum[row]):
            raise UnreadableImageError(f"{self.name(row)}: damaged, its checksum is not the one in {INDEX}.")
        return EncodedImage(self.name(row), content)


def shards(root: Path) -> Source:
    """What `scripts/make_shards.py` made.

    Raises:
        FileNotFoundError: no index, or a shard is not there.
        ValueError: an index that is damaged or of another program, or a shard of another size.
    """
    index = read_index(root)
    classes = tuple(index["classes"])
    labelled: dict[str, Labelled] = {}
    notes: tuple[str, ...] = ()
    for part in PARTS:
        if part in index["parts"]:
            table = Shards(root, index["parts"][part])
            labels = _joined([shard["labels"] for shard in index["parts"][part]])
            labelled[part] = Labelled(Rows(table, torch.arange(len(labels))), labels)
            if part != "train":
                notes += check_classes(classes, {classes[label] for label in labels.tolist()}, f"{root}, {part} part")
    return Source(
        classes=classes,
        train=labelled["train"],
        val=labelled.get("val"),
        test=labelled.get("test"),
        mean=tuple(index["mean"]),
        std=tuple(index["std"]),
        descriptions=index["descriptions"],
        notes=notes,
    )


def key(number: int) -> str:
    """What an image is called in its shard: its number in the part."""
    return f"{number:09}"


def read_index(root: Path) -> dict[str, Any]:
    """The index of a folder of shards.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or was not written by `scripts/make_shards.py`.
    """
    file = root / INDEX
    if not file.is_file():
        there = "has tar files but no" if root.is_dir() and any(root.glob("*.tar")) else "has no"
        raise FileNotFoundError(f"data.root={root} {there} {INDEX}; python scripts/make_shards.py makes both.")
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}.") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{file} is not an index of {FORMAT!r}; python scripts/make_shards.py writes it.")
    return index


def _numbers(shards: list[dict[str, Any]]) -> Tensor:
    """The number of each image in its part."""
    there: list[bool] = []
    for shard in shards:
        left_out = shard.get("left_out", {})
        there += [str(place) not in left_out for place in range(len(shard["labels"]) + len(left_out))]
    return torch.tensor(there).nonzero().flatten()


def _joined(lists: list[list[int]]) -> Tensor:
    """Whole numbers of all shards as one tensor, which workers share and do not copy."""
    return torch.tensor([number for numbers in lists for number in numbers], dtype=torch.long)
