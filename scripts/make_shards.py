"""Pack a data set into shards: tar files of the WebDataset format with an index beside them.

    python scripts/make_shards.py shards --source folder --root photos --val-fraction 0.05
    python scripts/make_shards.py shards --source table --root labels.csv --label-column species
    python scripts/make_shards.py shards --verify                           # read everything again, compare checksums
    vit fit --config configs/folder.yaml --data.source shards --data.root shards

Any source of `vit fit` will do. Its images are shuffled once by the seed and go into the shards as they are, byte for
byte (those of CIFAR and the digits as PNG). What the source has as validation and test part stays so. Each shard is
written whole or not at all, and read again by webdataset before it counts; an interrupted call goes on when it is
repeated, and one with other settings is refused. index.json comes last: a folder without it is not finished.

Needs the package webdataset: pip install 'plain-vit[shards]'.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vit.data.decode import EXTENSIONS, EncodedImage
from vit.data.readers import usable_cores
from vit.data.sources import Columns, Labelled, SourceName, open_source, stratified_split
from vit.data.sources.shards import FORMAT, INDEX, key, read_index

BEGUN = "begun.json"
"""The settings of an unfinished folder."""


class Shard(NamedTuple):
    """One shard to be made."""

    file: Path
    first: int
    """Number of its first image in the part, from which the keys count."""
    images: Labelled


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, go on making, or verify shards; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        return verify(args.output) if args.verify else make(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same call goes on", file=sys.stderr)
        return 130


def make(args: argparse.Namespace) -> int:
    """Plan the shards, write those that are not there, and then the index."""
    if args.source is None:
        raise ValueError(f"which data? --source is one of {', '.join(_sources())}.")
    if args.images_per_shard < 1:
        raise ValueError(f"--images-per-shard {args.images_per_shard} must be at least 1.")
    columns = Columns(image=args.image_column, label=args.label_column, split=args.split_column)
    source = open_source(
        args.source,
        args.root,
        test_fraction=args.test_fraction,
        download=args.download or None,
        table=args.table,
        columns=None if columns == Columns() else columns,
    )
    parts = {"train": source.train, "val": source.val, "test": source.test}
    if args.val_fraction is not None:
        if source.val is not None:
            raise ValueError(f"--val-fraction {args.val_fraction} has nothing to do: the data has a validation part.")
        parts["train"], parts["val"] = stratified_split(source.train, args.val_fraction, args.seed, "--val-fraction")
    plan = {
        name: _planned(args.output, name, part, args.images_per_shard, args.seed)
        for name, part in parts.items()
        if part is not None
    }
    if not _begin(args, {name: len(part) for name, part in parts.items() if part is not None}):
        print(f"{args.output}: finished already")
        return 0
    shards = [shard for part in plan.values() for shard in part]
    todo = [shard for shard in shards if not _sidecar(shard.file).is_file()]
    print(f"{args.output}: {len(shards)} shards, {len(shards) - len(todo)} of them there already")
    for number, shard in enumerate(_in_parallel(todo, args.workers), start=1):
        print(f"{number} of {len(todo)}: {shard}", flush=True)
    described = {
        name: [json.loads(_sidecar(shard.file).read_text(encoding="utf-8")) for shard in part]
        for name, part in plan.items()
    }
    index = {
        "format": FORMAT,
        "classes": source.classes,
        "descriptions": dict(source.descriptions),
        "mean": source.mean,
        "std": source.std,
        "parts": described,
    }
    _write_whole(args.output / INDEX, json.dumps(index).encode())
    for shard in shards:
        _sidecar(shard.file).unlink()
    (args.output / BEGUN).unlink()
    print(", ".join(f"{sum(len(shard.images) for shard in part):,} images in {name}" for name, part in plan.items()))
    return 0


def write_shard(shard: Shard) -> str:
    """Write one shard, read it again by webdataset, and put what the index needs beside it; its file's name."""
    from webdataset import TarWriter

    part = shard.file.with_name(f".{shard.file.name}.part")
    samples = [_sample(shard, place) for place in range(len(shard.images))]
    with part.open("wb") as file, TarWriter(file, encoder=False, mtime=0) as writer:
        for sample in samples:
            writer.write(sample)
        file.flush()
        os.fsync(file.fileno())
    if not all(there == sample for there, sample in zip_longest(read_by_webdataset(part), samples)):
        raise OSError(f"{part} is not what was written; is the disk in order?")
    with tarfile.open(part) as archive:
        members = [member for member in archive.getmembers() if not member.name.endswith(".cls")]
    contents = [next(value for name, value in sample.items() if name not in {"__key__", "cls"}) for sample in samples]
    description = {
        "file": shard.file.name,
        "bytes": part.stat().st_size,
        "sha256": _sha256(part),
        "labels": shard.images.labels.tolist(),
        "kind": [member.name.partition(".")[2] for member in members],
        "offset": [member.offset_data for member in members],
        "size": [member.size for member in members],
        "crc32": [zlib.crc32(content) for content in contents],
    }
    part.replace(shard.file)
    _write_whole(_sidecar(shard.file), json.dumps(description).encode())
    return shard.file.name


def verify(root: Path) -> int:
    """Read every shard and compare it with the index; 1 where one differs."""
    wrong = 0
    listed = [shard for part in read_index(root)["parts"].values() for shard in part]
    for shard in listed:
        file = root / shard["file"]
        problem = "is not there" if not file.is_file() else "is damaged" if _sha256(file) != shard["sha256"] else None
        if problem:
            print(f"{file} {problem}", file=sys.stderr)
            wrong += 1
    print(f"{len(listed) - wrong} of {len(listed)} shards are as they were made")
    return 1 if wrong else 0


def _planned(output: Path, name: str, part: Labelled, size: int, seed: int) -> list[Shard]:
    """The shards of a part: its images in random order, so many in each."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    return [
        Shard(output / f"{name}-{number:06}.tar", number * size, part.take(some))
        for number, some in enumerate(order.split(size))
    ]


def _sample(shard: Shard, place: int) -> dict[str, Any]:
    """One image as webdataset has it: key, label as text, and the file's bytes under its extension."""
    image, label = shard.images.images[place], int(shard.images.labels[place])
    if isinstance(image, Tensor):
        file = io.BytesIO()
        to_pil_image(image).save(file, "PNG")
        kind, content = "png", file.getvalue()
    else:
        content = image.content if isinstance(image, EncodedImage) else image.read_bytes()
        suffix = Path(image.name.rstrip(")")).suffix.lower()
        kind = suffix.lstrip(".") if suffix in EXTENSIONS else "image"
    return {"__key__": key(shard.first + place), "cls": str(label).encode(), kind: content}


def read_by_webdataset(file: Path) -> Iterator[dict[str, Any]]:
    """The samples of a shard. Its own opener leaves files open, so the file is ours."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with file.open("rb") as stream:
        for sample in group_by_keys(tar_file_expander([{"url": file.name, "stream": stream}])):
            yield {name: value for name, value in sample.items() if name != "__url__"}


def _begin(args: argparse.Namespace, sizes: dict[str, int]) -> bool:
    """Make the output folder, or see that it was begun with the same settings; false where it is finished."""
    names = ("source", "table", "image_column", "label_column", "split_column", "images_per_shard", "seed")
    settings = {
        **{name: getattr(args, name) for name in names},
        "val_fraction": args.val_fraction,
        "test_fraction": args.test_fraction,
        "root": str(args.root.absolute()),
        "images": sizes,
    }
    begun = args.output / BEGUN
    if (args.output / INDEX).is_file():
        counts = {
            name: sum(len(shard["labels"]) for shard in part) for name, part in read_index(args.output)["parts"].items()
        }
        if counts != sizes:
            raise ValueError(f"{args.output} is finished and has other images, {counts}; choose another folder.")
        return False
    if begun.is_file():
        if json.loads(begun.read_text(encoding="utf-8")) != settings:
            raise ValueError(f"{args.output} was begun with other settings, which {begun} has; choose another folder.")
        return True
    if args.output.is_dir() and any(args.output.iterdir()):
        raise ValueError(f"{args.output} is not empty and was not begun by this script; choose another folder.")
    args.output.mkdir(parents=True, exist_ok=True)
    _write_whole(begun, json.dumps(settings, indent=1).encode())
    return True


def _in_parallel(shards: Sequence[Shard], workers: int) -> Iterator[str]:
    """Names of the shards, as they are written."""
    if workers == 1 or len(shards) < 2:
        yield from map(write_shard, shards)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(write_shard, shards)


def _sidecar(shard: Path) -> Path:
    """Where what the index needs of a shard waits for the index."""
    return shard.with_suffix(".json")


def _write_whole(file: Path, content: bytes) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(content)
    part.replace(file)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sources() -> list[str]:
    return [name for name in get_args(SourceName) if name != "shards"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--verify", action="store_true", help="compare the shards of a finished folder with its index")
    parser.add_argument("--source", choices=_sources(), help="which data, as data.source")
    parser.add_argument("--root", type=Path, default=Path("data"), help="where they are, as data.root")
    parser.add_argument("--table", help="as data.table")
    parser.add_argument("--image-column", help="as data.columns.image")
    parser.add_argument("--label-column", help="as data.columns.label")
    parser.add_argument("--split-column", help="as data.columns.split")
    parser.add_argument("--download", action="store_true", help="as data.download")
    parser.add_argument("--val-fraction", type=float, help="share of every class to set apart for validation")
    parser.add_argument("--test-fraction", type=float, help="share of every class to set apart for testing")
    parser.add_argument("--images-per-shard", type=int, default=2000, help="default: 2000, 200 MB of ImageNet")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images, and of what is set apart")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes; default: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
