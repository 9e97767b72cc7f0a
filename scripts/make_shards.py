"""Pack a data set into shards: tar files of the WebDataset format with an index beside them.

    python scripts/make_shards.py shards --source folder --root photos --val-fraction 0.05
    python scripts/make_shards.py shards --source table --root labels.csv --label-column species
    python scripts/make_shards.py shards --verify                           # read everything again, compare checksums
    vit fit --config configs/folder.yaml --data.source shards --data.root shards

Any source of `vit fit` will do. Its images are shuffled once by the seed and go into the shards as they are, byte for
byte (those of CIFAR and the digits as PNG). What the source has as validation and test part stays so. Every image is
decoded once (1.0 s of a core for 1,000 photographs of 500 x 375 pixels, all counted in): of one that cannot be read
the file is named and its shard not written, or, with --on-error skip, it is left out, which index.json says. Each
shard is written whole or not at all, and read again by webdataset before it counts; an interrupted call goes on when
it is repeated, and one with other settings is refused. index.json comes last: a folder without it is not finished.

Needs the package webdataset: pip install 'plain-vit[shards]'.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vit.data.decode import EXTENSIONS, EncodedImage, UnreadableImageError, read_image
from vit.data.photographs import OnError
from vit.data.readers import usable_cores
from vit.data.sources import Columns, Labelled, Source, SourceName, open_source, stratified_split
from vit.data.sources.classes import listed
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
        print(f"error: {_by_our_flags(str(error))}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(
            "error: a process that packs images was killed, for want of memory or by a file that the decoder does not "
            "survive: vit data check names such files. The same call goes on.",
            file=sys.stderr,
        )
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
    source, parts = _open(args)
    plan = {name: _planned(args.output, name, part, args.images_per_shard, args.seed) for name, part in parts.items()}
    if not _begin(args, {name: len(part) for name, part in parts.items()}):
        print(f"{args.output}: finished already")
        return 0
    print("".join(f"note: {note}\n" for note in source.notes), end="")
    shards = [shard for part in plan.values() for shard in part]
    todo = [shard for shard in shards if not _sidecar(shard.file).is_file()]
    print(f"{args.output}: {len(shards)} shards, {len(shards) - len(todo)} of them there already")
    _write(todo, args)
    described = {
        name: [json.loads(_sidecar(shard.file).read_text(encoding="utf-8")) for shard in part]
        for name, part in plan.items()
    }
    _refuse_lost_classes(parts["train"], described["train"], source.classes)
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
    for name, part in described.items():
        print(f"{sum(len(shard['labels']) for shard in part):,} images in {name}")
    if left_out := sum(len(shard.get("left_out", {})) for part in described.values() for shard in part):
        print(f"left out because they cannot be read, and named in {INDEX}: {left_out:,}")
    return 0


def _open(args: argparse.Namespace) -> tuple[Source, dict[str, Labelled]]:
    """The source, and its parts as they are to be packed."""
    columns = Columns(image=args.image_column, label=args.label_column, split=args.split_column)
    source = open_source(
        args.source,
        args.root,
        test_fraction=args.test_fraction,
        download=args.download or None,
        table=args.table,
        columns=None if columns == Columns() else columns,
    )
    train, val = source.train, source.val
    if args.val_fraction is not None:
        if val is not None:
            raise ValueError(f"--val-fraction {args.val_fraction} has nothing to do: the data has a validation part.")
        train, val = stratified_split(train, args.val_fraction, args.seed, "--val-fraction")
    parts = {"train": train, "val": val, "test": source.test}
    return source, {name: part for name, part in parts.items() if part is not None}


def write_shard(shard: Shard, on_error: OnError) -> dict[int, str]:
    """Write one shard, read it again by webdataset, and put what the index needs beside it.

    Returns:
        Which of its images cannot be read, by their place in it, and why. Unless these are to be skipped, a shard with
        any is not written.
    """
    from webdataset import TarWriter

    part = shard.file.with_name(f".{shard.file.name}.part")
    samples, unreadable = _samples(shard)
    if unreadable and on_error == "error":
        return unreadable
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
        "labels": [int(sample["cls"]) for sample in samples],
        "kind": [member.name.partition(".")[2] for member in members],
        "offset": [member.offset_data for member in members],
        "size": [member.size for member in members],
        "crc32": [zlib.crc32(content) for content in contents],
        **({"left_out": unreadable} if unreadable else {}),
    }
    part.replace(shard.file)
    _write_whole(_sidecar(shard.file), json.dumps(description).encode())
    return unreadable


def verify(root: Path) -> int:
    """Read every shard and compare it with the index; 1 where one differs."""
    wrong = 0
    shards = [shard for part in read_index(root)["parts"].values() for shard in part]
    for shard in shards:
        file = root / shard["file"]
        problem = "is not there" if not file.is_file() else "is damaged" if _sha256(file) != shard["sha256"] else None
        if problem:
            print(f"{file} {problem}", file=sys.stderr)
            wrong += 1
    print(f"{len(shards) - wrong} of {len(shards)} shards are as they were made")
    return 1 if wrong else 0


def _planned(output: Path, name: str, part: Labelled, size: int, seed: int) -> list[Shard]:
    """The shards of a part: its images in random order, so many in each."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    return [
        Shard(output / f"{name}-{number:06}.tar", number * size, part.take(some))
        for number, some in enumerate(order.split(size))
    ]


def _samples(shard: Shard) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The images of a shard that can be read, as webdataset has them, and why the others cannot, by their places."""
    samples: list[dict[str, Any]] = []
    unreadable: dict[int, str] = {}
    for place in range(len(shard.images)):
        try:
            samples.append(_sample(shard, place))
        except UnreadableImageError as error:
            unreadable[place] = str(error)
        except (FileNotFoundError, PermissionError) as error:
            unreadable[place] = f"{error.filename}: {error.strerror}."
    return samples, unreadable


def _sample(shard: Shard, place: int) -> dict[str, Any]:
    """One image as webdataset has it: key, label as text, and the file's bytes under its extension, once decoded."""
    image, label = shard.images.images[place], int(shard.images.labels[place])
    if isinstance(image, Tensor):
        file = io.BytesIO()
        to_pil_image(image).save(file, "PNG")
        kind, content = "png", file.getvalue()
    else:
        content = image.content if isinstance(image, EncodedImage) else image.read_bytes()
        read_image(EncodedImage(str(image), content))
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
            name: sum(len(shard["labels"]) + len(shard.get("left_out", {})) for shard in part)
            for name, part in read_index(args.output)["parts"].items()
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


def _packed(shards: Sequence[Shard], args: argparse.Namespace) -> Iterator[dict[int, str]]:
    """What `write_shard` says of each, as they are written, by several processes."""
    write = partial(write_shard, on_error=args.on_error)
    if args.workers == 1 or len(shards) < 2:
        yield from map(write, shards)
        return
    with ProcessPoolExecutor(args.workers) as pool:
        yield from pool.map(write, shards)


def _write(shards: Sequence[Shard], args: argparse.Namespace) -> None:
    """Write shards and say how far it has come.

    Raises:
        ValueError: images cannot be read and are not to be skipped; all other shards are written.
    """
    unreadable = 0
    for number, (shard, bad) in enumerate(zip(shards, _packed(shards, args), strict=True), start=1):
        unreadable += len(bad)
        print("".join(f"{why}\n" for why in bad.values()), end="", file=sys.stderr)
        end = f" ({len(bad)} unreadable)" if bad else ""
        print(f"{number} of {len(shards)}: {shard.file.name}{end}", flush=True)
    if unreadable and args.on_error == "error":
        images = sum(len(shard.images) for shard in shards)
        raise ValueError(
            f"{unreadable:,} of {images:,} images cannot be read, and the shards that they belong in are not written; "
            "the same call goes on when they are mended, or with --on-error skip, which leaves them out."
        )


def _refuse_lost_classes(planned: Labelled, written: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    """A class of which no training image can be read would be one that no model can learn."""
    left = {label for shard in written for label in shard["labels"]}
    if lost := [classes[label] for label in planned.labels.unique().tolist() if label not in left]:
        raise ValueError(f"no training image of {listed(lost)} can be read; mend some, and make a new folder.")


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


def _by_our_flags(message: str) -> str:
    """What the sources say in the names of `vit fit`, data.columns.label, in ours, --label-column."""
    message = re.sub(r"(?<![\w./-])data\.columns\.(image|label|split)\b", r"--\1-column", message)
    message = re.sub(r"(?<![\w./-])data\.columns\b(?!\.)", "--image-column, --label-column or --split-column", message)
    name = re.compile(r"(?<![\w./-])data\.(source|root|table|download|test_fraction|val_fraction)\b(?![./])")
    return name.sub(lambda found: "--" + found[1].replace("_", "-"), message)


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
    parser.add_argument(
        "--on-error",
        choices=get_args(OnError),
        default="error",
        help="of an image that cannot be read: name it and do not finish (default), or name it and leave it out",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images, and of what is set apart")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes; default: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
