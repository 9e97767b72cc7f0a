"""Cut a subset out of an ImageNet folder: some classes, some images of each, smaller if wanted.

    python scripts/make_imagenet_subset.py ILSVRC2012 imagenet100 --classes imagenet-100 --short-side 160
    python scripts/make_imagenet_subset.py ILSVRC2012 few --num-classes 20 --images-per-class 100
    python scripts/make_imagenet_subset.py ILSVRC2012 mine --classes my-classes.txt
    vit fit --config configs/folder.yaml --data.source imagenet --data.root imagenet100

The source is read as `data.source=imagenet` reads it, with flat validation images and all. What comes out is
train/WNID/ and val/WNID/, words.txt, and subset.json, which says how it was made. Images that need no resizing are hard
links to the source's, or copies where the file system has no links, so a subset in full size takes no space. Resized
ones are upright RGB JPEGs of the quality asked for, resampled by Lanczos; none is enlarged.

An interrupted call goes on when it is repeated; one with other settings is refused. Exit code 1: some images could not
be read; they are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vit.data.decode import UnreadableImageError, read_image
from vit.data.readers import usable_cores
from vit.data.sources import Labelled, Source, imagenet, some_of_each_class
from vit.spelling import did_you_mean

KNOWN = {
    # Tian et al. 2019, Contrastive Multiview Coding: imagenet100.txt of github.com/HobbitLong/CMC
    "imagenet-100": """
        n01558993 n01692333 n01729322 n01735189 n01749939 n01773797 n01820546 n01855672 n01978455 n01980166
        n01983481 n02009229 n02018207 n02085620 n02086240 n02086910 n02087046 n02089867 n02089973 n02090622
        n02091831 n02093428 n02099849 n02100583 n02104029 n02105505 n02106550 n02107142 n02108089 n02109047
        n02113799 n02113978 n02114855 n02116738 n02119022 n02123045 n02138441 n02172182 n02231487 n02259212
        n02326432 n02396427 n02483362 n02488291 n02701002 n02788148 n02804414 n02859443 n02869837 n02877765
        n02974003 n03017168 n03032252 n03062245 n03085013 n03259280 n03379051 n03424325 n03492542 n03494278
        n03530642 n03584829 n03594734 n03637318 n03642806 n03764736 n03775546 n03777754 n03785016 n03787032
        n03794056 n03837869 n03891251 n03903868 n03930630 n03947888 n04026417 n04067472 n04099969 n04111531
        n04127249 n04136333 n04229816 n04238763 n04336792 n04418357 n04429376 n04435653 n04485082 n04493381
        n04517823 n04589890 n04592741 n07714571 n07715103 n07753275 n07831146 n07836838 n13037406 n13040303
    """,
    # github.com/fastai/imagenette: tench, English springer, cassette player, chain saw, church, French horn, garbage
    # truck, gas pump, golf ball, parachute
    "imagenette": """
        n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257
    """,
    # the same place: ten breeds of dogs
    "imagewoof": """
        n02086240 n02087394 n02088364 n02089973 n02093754 n02096294 n02099601 n02105641 n02111889 n02115641
    """,
}
"""Published subsets by name. Imagenette and Imagewoof as published divide train and val in their own way; these are
ImageNet's own parts of the same classes."""

SETTINGS = "subset.json"
JPEG = (".jpeg", ".jpg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or go on making a subset; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        return cut(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same call goes on", file=sys.stderr)
        return 130


def cut(args: argparse.Namespace) -> int:
    """Choose classes and images, then place every image that is not there yet."""
    if not 1 <= args.quality <= 95:
        raise ValueError(f"--quality {args.quality} must be from 1 to 95.")
    if args.short_side is not None and args.short_side < 1:
        raise ValueError(f"--short-side {args.short_side} must be at least 1 pixel.")
    source = imagenet(args.source)
    wanted = choose_classes(args.classes, args.num_classes, args.seed, source.classes)
    train = _of_classes(source, source.train, wanted)
    if args.images_per_class is not None:
        train = some_of_each_class(train, args.images_per_class, args.seed, wanted)
    parts = {"train": train} | ({} if source.test is None else {"val": _of_classes(source, source.test, wanted)})
    _begin(args, wanted, {wnid: source.descriptions.get(wnid, "") for wnid in wanted})
    jobs = [
        (path, args.output / part / wanted[label] / _name(path, args.short_side))
        for part, images in parts.items()
        for path, label in zip(images.images, images.labels.tolist(), strict=True)
    ]
    todo = [(source, target) for source, target in jobs if not target.exists()]
    print(
        f"{args.output}: {len(wanted)} classes, {len(jobs):,} images, {len(jobs) - len(todo):,} of them there already"
    )
    failures = [
        problem
        for problem in _in_parallel(
            partial(place, short_side=args.short_side, quality=args.quality), todo, args.workers
        )
        if problem
    ]
    for problem in failures:
        print(problem, file=sys.stderr)
    counts = {part: len(images) for part, images in parts.items()}
    print(f"done: {', '.join(f'{count:,} in {part}' for part, count in counts.items())}", end="")
    print(f"; left out as unreadable: {len(failures)}" if failures else "")
    return 1 if failures else 0


def choose_classes(named: str | None, number: int | None, seed: int, there: Sequence[str]) -> list[str]:
    """The WNIDs that are wanted: a known subset, a file of them, a list with commas, or so many by chance; sorted.

    Raises:
        ValueError: a class that is not in the source, or more than there are.
    """
    if named is None and number is None:
        raise ValueError(f"which classes? --classes {', '.join(KNOWN)}, a file or a list of WNIDs; or --num-classes N.")
    wanted = list(there) if named is None else _named(named)
    if strange := sorted(set(wanted) - set(there)):
        raise ValueError(f"{len(strange)} of {len(wanted)} classes are not in the source, first {strange[0]}.")
    if number is not None:
        if not 0 < number <= len(wanted):
            raise ValueError(f"--num-classes {number} must be from 1 to {len(wanted)}.")
        wanted = np.random.default_rng(seed).permutation(sorted(wanted))[:number].tolist()
    return sorted(set(wanted))


def place(job: tuple[Path, Path], short_side: int | None, quality: int) -> str | None:
    """Put one image at its place, whole or not at all; why it could not be read, if it could not."""
    source, target = job
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        picture = None if short_side is None else _smaller(source, short_side)
    except UnreadableImageError as error:
        return str(error)
    if picture is not None:
        picture.save(part, "JPEG", quality=quality)
    else:
        try:
            os.link(source.resolve(), part)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, part)
    part.replace(target)
    return None


def _smaller(source: Path, short_side: int) -> Image.Image | None:
    """The picture with its shorter side at that many pixels; None for a JPEG that is no larger than that already."""
    picture = read_image(source)
    scale = short_side / min(picture.size)
    if scale >= 1:
        return None if source.suffix.lower() in JPEG else picture
    width, height = (max(short_side, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _named(named: str) -> list[str]:
    if named in KNOWN:
        return KNOWN[named].split()
    if Path(named).is_file():
        lines = Path(named).read_text(encoding="utf-8").splitlines()
        wanted = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        if not wanted:
            raise ValueError(f"{named} names no classes; expected one WNID at the start of every line.")
        return wanted
    if named.startswith("n0") or "," in named:
        return [wnid.strip() for wnid in named.split(",") if wnid.strip()]
    raise ValueError(f"--classes {named} is no file and no known subset{did_you_mean(named, KNOWN)}")


def _of_classes(source: Source, part: Labelled, wanted: Sequence[str]) -> Labelled:
    """The images of some classes, numbered by their order in `wanted`."""
    new = torch.full((len(source.classes),), -1)
    new[[source.classes.index(wnid) for wnid in wanted]] = torch.arange(len(wanted))
    numbers = new[part.labels]
    kept = part.take((numbers >= 0).nonzero().flatten())
    return Labelled(kept.images, numbers[numbers >= 0])


def _begin(args: argparse.Namespace, wanted: Sequence[str], words: dict[str, str]) -> None:
    """Make the output folder, or see that it was begun with the same settings."""
    settings: dict[str, Any] = {
        "source": str(args.source.absolute()),
        "classes": list(wanted),
        "images_per_class": args.images_per_class,
        "short_side": args.short_side,
        "quality": None if args.short_side is None else args.quality,
        "seed": args.seed,
    }
    file = args.output / SETTINGS
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != settings:
            raise ValueError(f"{args.output} was begun with other settings, which {file} has; choose another folder.")
        return
    if args.output.is_dir() and any(args.output.iterdir()):
        raise ValueError(f"{args.output} is not empty and was not begun by this script; choose another folder.")
    args.output.mkdir(parents=True, exist_ok=True)
    lines = [f"{wnid}\t{name}" for wnid, name in words.items() if name]
    if lines:
        (args.output / "words.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    part = file.with_name(f".{SETTINGS}.part")
    part.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    part.replace(file)


def _name(path: Path, short_side: int | None) -> str:
    """The source's name; other formats than JPEG that become one get its extension behind theirs."""
    return path.name if short_side is None or path.suffix.lower() in JPEG else f"{path.name}.JPEG"


def _in_parallel(work: Any, jobs: Sequence[Any], workers: int) -> Iterable[str | None]:
    """The answers to all jobs, with a line of progress now and then."""
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        for number, answer in enumerate(pool.map(work, jobs, chunksize=16), start=1):
            if number % 1000 == 0:
                print(f"{number:,} of {len(jobs):,}", flush=True)
            yield answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of ImageNet: train/WNID/ and val/, or Kaggle's")
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--classes", help=f"{', '.join(KNOWN)}; a file with a WNID at the start of each line; or a,b,c")
    parser.add_argument("--num-classes", type=int, help="so many of these (or of all) classes, by chance")
    parser.add_argument("--images-per-class", type=int, help="so many training images of each; default: all")
    parser.add_argument("--short-side", type=int, help="pixels of the shorter side; default: images stay as they are")
    parser.add_argument("--quality", type=int, default=90, help="of resized JPEGs, 1 to 95; default: 90")
    parser.add_argument("--seed", type=int, default=0, help="of what is chosen by chance")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes; default: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
