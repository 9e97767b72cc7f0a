"""Two processes that train on shards share them: each image once, the same ones after a stop, all of them evaluated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from vit.data.decode import read_image
from vit.data.sources import Rows, shards

pytest.importorskip("webdataset")

pytestmark = pytest.mark.slow  # fresh processes that import torch

PROGRAM = Path(__file__).with_name("two_devices.py")
ROOT = Path(__file__).resolve().parents[2]
STOP = 11
"""Step of the second epoch from which one training of the program goes on."""


class Seen(NamedTuple):
    """What each of the two processes saw of every training, by the images' grey levels, and what they printed."""

    by_rank: list[dict[str, dict[str, list[list[int]]]]]
    shard_of: dict[int, int]
    """The shard in which each training image lies."""
    printed: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """64 images to train on in 8 shards and 13 to validate, of a grey level each; and the same with two damaged."""
    root = tmp_path_factory.mktemp("two")
    for level in range(77):
        folder = root / "photos" / ("train" if level < 64 else "val") / ("even" if level % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (level, level, level)).save(folder / f"{level}.png")
    flags = ["--source", "folder", "--root", str(root / "photos"), "--images-per-shard", "8", "--workers", "1"]
    run(str(ROOT / "scripts" / "make_shards.py"), str(root / "shards"), *flags)
    images = shards(root / "shards").train.images
    assert isinstance(images, Rows)
    in_shard = images.shards()
    assert in_shard is not None
    levels = [int(read_image(image).getpixel((0, 0))[0]) for image in images]  # pyright: ignore
    damage(shutil.copytree(root / "shards", root / "damaged"), images, [levels.index(7), levels.index(50)])
    printed = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PROGRAM), str(root))
    by_rank = [json.loads((root / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    return Seen(by_rank, dict(zip(levels, in_shard.tolist(), strict=True)), printed)


def run(*arguments: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def damage(folder: Path, images: Rows, rows: list[int]) -> None:
    table: Any = images.table
    for row in rows:
        file = folder / table.files[int(table.shard[row])].name
        content = bytearray(file.read_bytes())
        content[int(table.offset[row]) + 20] ^= 1
        file.write_bytes(content)


def test_each_image_comes_once_an_epoch_from_shards_that_the_other_device_does_not_read(seen: Seen) -> None:
    for epoch in (slice(0, 8), slice(8, 16)):
        mine, others = ([level for step in of["unbroken"]["trained"][epoch] for level in step] for of in seen.by_rank)
        assert sorted(mine + others) == list(range(64))
        assert len(mine) == len(others) == 32
        assert not {seen.shard_of[level] for level in mine} & {seen.shard_of[level] for level in others}
    first, second = (seen.by_rank[0]["unbroken"]["trained"][epoch] for epoch in (slice(0, 8), slice(8, 16)))
    assert {seen.shard_of[level] for step in first for level in step} != {
        seen.shard_of[level] for step in second for level in step
    }


def test_a_run_continued_in_the_middle_of_an_epoch_sees_what_an_unbroken_run_sees(seen: Seen) -> None:
    for of in seen.by_rank:
        assert len(of["unbroken"]["trained"]) == 16
        assert of["continued"]["trained"] == of["unbroken"]["trained"][STOP:]


def test_every_validation_sees_each_image_once_over_both_devices(seen: Seen) -> None:
    for epoch in (0, 1):
        mine, others = (of["unbroken"]["validated"][epoch] for of in seen.by_rank)
        assert sorted(mine + others) == list(range(64, 77))
        assert {len(mine), len(others)} == {6, 7}


def test_what_both_devices_skipped_is_said_once(seen: Seen) -> None:
    notes = [line for line in seen.printed.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert notes[0].startswith("note: 2 of 64 training images could not be read; others were shown in their place: ")
    assert notes[0].count("damaged/train-") == 2
