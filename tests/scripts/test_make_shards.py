"""Shards: the same images, labels and parts as their source, whole, resumable, and read by webdataset too."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vit.data.decode import EncodedImage, UnreadableImageError, read_image
from vit.data.module import ImageDataModule
from vit.data.sources import Labelled, digits, folder, shards

pytest.importorskip("webdataset")


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("make_shards")


@pytest.fixture
def photos(folder_of_classes: Callable[..., Path]) -> Path:
    """Ten training images of each of two classes and of `owl`, and three of `dog` to validate."""
    return folder_of_classes({"train": ["cat", "dog", "owl"], "val": ["dog"]}, images=10)


def make(script: ModuleType, out: Path, *flags: object) -> int:
    return script.main([str(out), "--workers", "1", *map(str, flags)])


def from_folder(script: ModuleType, out: Path, photos: Path, *flags: object) -> int:
    return make(script, out, "--source", "folder", "--root", photos, "--images-per-shard", 7, *flags)


def damage(out: Path, row: int) -> None:
    """Flip one bit of a training image in its shard."""
    table = shards(out).train.images.table  # pyright: ignore
    file = table.files[int(table.shard[row])]
    damaged = bytearray(file.read_bytes())
    damaged[int(table.offset[row]) + 20] ^= 1
    file.write_bytes(damaged)


def content(part: Labelled | None) -> list[tuple[bytes, int]]:
    """Bytes and label of every image, sorted."""
    assert part is not None
    assert not isinstance(part.images, torch.Tensor)
    files = [image.content if isinstance(image, EncodedImage) else image.read_bytes() for image in part.images]
    return sorted(zip(files, part.labels.tolist(), strict=True))


def test_shards_have_the_images_labels_and_parts_of_their_source_in_another_order(
    script: ModuleType, photos: Path, tmp_path: Path
) -> None:
    assert from_folder(script, tmp_path / "out", photos) == 0
    made, source = shards(tmp_path / "out"), folder(photos)
    assert made.classes == source.classes
    assert content(made.train) == content(source.train)
    assert content(made.val) == content(source.val)
    assert made.test is None
    assert made.train.labels.tolist() != source.train.labels.tolist()
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        *("index.json", "train-000000.tar", "train-000001.tar", "train-000002.tar", "train-000003.tar"),
        *("train-000004.tar", "val-000000.tar", "val-000001.tar"),
    ]
    assert made.notes == (
        f"{tmp_path / 'out'}, val part has no image of cat, owl: its figures say nothing about them.",
    )


def test_webdataset_reads_the_same_images_from_the_tar_files(script: ModuleType, photos: Path, tmp_path: Path) -> None:
    assert from_folder(script, tmp_path / "out", photos) == 0
    files = sorted((tmp_path / "out").glob("train-*.tar"))
    theirs = [sample for file in files for sample in script.read_by_webdataset(file)]
    ours = shards(tmp_path / "out").train
    assert [sample["png"] for sample in theirs] == [image.content for image in ours.images]  # pyright: ignore
    assert [int(sample["cls"]) for sample in theirs] == ours.labels.tolist()
    assert ours.names()[9].endswith(f"train-000001.tar, {theirs[9]['__key__']}.png")


def test_images_in_memory_become_png_without_loss(script: ModuleType, tmp_path: Path) -> None:
    assert make(script, tmp_path / "out", "--source", "digits", "--val-fraction", 0.1) == 0
    made, source = shards(tmp_path / "out"), digits(Path())
    assert (len(made.train), len(made.val or ()), made.mean) == (1293, 144, source.mean)
    assert made.test is not None
    picture = torch.tensor(list(read_image(made.test.images[0], channels=1).tobytes())).reshape(8, 8)  # pyright: ignore
    same = (source.test.images[:, 0] == picture).flatten(1).all(dim=1)  # pyright: ignore
    assert source.test.labels[same].unique().tolist() == [made.test.labels[0]]  # pyright: ignore


def test_the_same_seed_makes_the_same_files_and_another_seed_others(
    script: ModuleType, photos: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert from_folder(script, tmp_path / name, photos, "--seed", seed) == 0
    a, b, c = ([path.read_bytes() for path in sorted((tmp_path / name).glob("*.tar"))] for name in "abc")
    assert a == b != c


def test_an_interrupted_call_goes_on_and_leaves_finished_shards_alone(
    script: ModuleType,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, write, written = tmp_path / "out", script.write_shard, list[object]()

    def stopped(shard: object, on_error: str) -> dict[int, str]:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(shard)
        return write(shard, on_error)

    monkeypatch.setattr(script, "write_shard", stopped)
    assert from_folder(script, out, photos) == 130
    assert capsys.readouterr().err == "interrupted: the same call goes on\n"
    with pytest.raises(
        FileNotFoundError, match=r"out has tar files but no index\.json; python scripts/make_shards\.py"
    ):
        shards(out)
    (out / ".train-000003.tar.part").write_bytes(b"half a shard")
    monkeypatch.setattr(script, "write_shard", write)
    assert from_folder(script, out, photos, "--seed", 1) == 2
    assert "was begun with other settings" in capsys.readouterr().err
    assert from_folder(script, out, photos) == 0
    assert "7 shards, 3 of them there already" in capsys.readouterr().out
    assert content(shards(out).train) == content(folder(photos).train)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert from_folder(script, out, photos) == 0
    assert capsys.readouterr().out == f"{out}: finished already\n"


@pytest.fixture
def truncated(photos: Path) -> Path:
    """One of the training images, its end cut off."""
    path = photos / "train" / "cat" / "4.png"
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_image_that_cannot_be_read_is_named_and_not_packed(
    script: ModuleType, photos: Path, truncated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    out = tmp_path / "out"
    assert from_folder(script, out, photos, "--workers", workers) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"{truncated}: image file is truncated.",
        "error: 1 of 40 images cannot be read, and the shards that they belong in are not written; the same call goes "
        "on when they are mended, or with --on-error skip, which leaves them out.",
    ]
    assert said.out.count("(1 unreadable)") == 1
    assert len(list(out.glob("*.tar"))) == 6
    assert not (out / "index.json").exists()
    truncated.write_bytes((photos / "train" / "cat" / "5.png").read_bytes())
    assert from_folder(script, out, photos, "--workers", workers) == 0
    assert "7 shards, 6 of them there already" in capsys.readouterr().out
    assert content(shards(out).train) == content(folder(photos).train)


def test_images_that_cannot_be_read_are_left_out_where_that_is_said_and_the_others_keep_their_names(
    script: ModuleType, photos: Path, truncated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    damaged = truncated.read_bytes()
    truncated.write_bytes((photos / "train" / "cat" / "5.png").read_bytes())
    assert from_folder(script, whole, photos) == 0
    truncated.write_bytes(damaged)
    capsys.readouterr()
    assert from_folder(script, out, photos) == 2
    assert from_folder(script, out, photos, "--on-error", "skip") == 0
    assert (
        "29 images in train\n10 images in val\nleft out because they cannot be read, and named in index.json: 1\n"
        in capsys.readouterr().out
    )
    shard = next(s for s in json.loads((out / "index.json").read_text())["parts"]["train"] if "left_out" in s)
    ((place, why),) = shard["left_out"].items()
    assert why == f"{truncated}: image file is truncated."
    row = 7 * int(shard["file"][6:12]) + int(place)
    names = [name.replace(str(whole), str(out)) for name in shards(whole).train.names()]
    assert shards(out).train.names() == [*names[:row], *names[row + 1 :]]
    keys = [s["__key__"] for file in sorted(out.glob("train-*.tar")) for s in script.read_by_webdataset(file)]
    assert [name.rpartition(" ")[2] for name in shards(out).train.names()] == [f"{key}.png" for key in keys]
    assert len(shards(out).train.images) == 29
    assert from_folder(script, out, photos) == 0
    assert capsys.readouterr().out == f"{out}: finished already\n"


def test_a_class_without_a_readable_training_image_is_an_error(
    script: ModuleType, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "train" / "cat").iterdir():
        path.write_bytes(b"")
    assert from_folder(script, tmp_path / "out", photos, "--on-error", "skip") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: no training image of cat can be read; mend some, and make a new folder."
    )
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.usefixtures("_annotations_unchecked")  # checking one looks at an image, which may be the damaged one
def test_a_damaged_image_is_named_by_shard_and_key(script: ModuleType, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert from_folder(script, out, photos) == 0
    damage(out, 8)
    images = shards(out).train.images
    with pytest.raises(
        UnreadableImageError, match=r"train-000001\.tar, 000000008\.png: damaged, its checksum is not the one in index"
    ):
        images[8]
    assert read_image(images[7]).size == (8, 8)  # pyright: ignore
    assert read_image(images[9]).size == (8, 8)  # pyright: ignore


def test_shards_that_are_cut_off_or_gone_are_named_before_training(
    script: ModuleType, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert from_folder(script, out, photos) == 0
    file = out / "train-000002.tar"
    whole = file.read_bytes()
    assert script.main([str(out), "--verify"]) == 0
    file.write_bytes(whole[:-512])
    with pytest.raises(ValueError, match=r"train-000002\.tar has [\d,]+ bytes and should have [\d,]+: it is cut off"):
        shards(out)
    assert script.main([str(out), "--verify"]) == 1
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-000002\.tar is not there, but .*index\.json lists it"):
        shards(out)
    capsys.readouterr()
    assert script.main([str(out), "--verify"]) == 1
    said = capsys.readouterr()
    assert said.err == f"{file} is not there\n"
    assert said.out == "6 of 7 shards are as they were made\n"


def test_what_is_no_index_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no index\.json"):
        shards(tmp_path)
    (tmp_path / "index.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match=r"is not an index of 'plain-vit shards 1'"):
        shards(tmp_path)
    (tmp_path / "index.json").write_text('{"format"')
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        shards(tmp_path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "which data? --source is one of digits, cifar10"),
        (["--source", "folder", "--root", "nowhere"], "--root=nowhere is not a folder"),
        (["--source", "folder", "--root", "PHOTOS", "--val-fraction", "0.5"], "the data has a validation part"),
        (["--source", "folder", "--root", "PHOTOS", "--images-per-shard", "0"], "--images-per-shard 0 must be at"),
        (
            ["--source", "folder", "--root", "PHOTOS", "--label-column", "x"],
            "--label-column or --split-column says nothing",
        ),
        (["--source", "table", "--root", "LABELS", "--label-column", "x"], "--label-column=x is no column of"),
        (["--source", "table", "--root", "LABELS"], "which column of"),
        (["--source", "table", "--root", "LABELS"], "name one with --label-column."),
    ],
)
def test_wrong_input_is_one_line_and_makes_nothing(
    flags: list[str],
    sentence: str,
    script: ModuleType,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "labels.csv").write_text("path,species\na.jpg,cat\n")
    named = {"PHOTOS": str(photos), "LABELS": str(tmp_path / "labels.csv")}
    assert make(script, tmp_path / "out", *[named.get(flag, flag) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_ours_is_left_alone(script: ModuleType, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert from_folder(script, tmp_path / "out", photos) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def from_shards(root: Path, **changes: object) -> ImageDataModule:
    settings = {"image_size": 8, "batch_size": 4, "num_workers": 0, **changes}
    return ImageDataModule("shards", root=str(root), **settings)  # pyright: ignore


def test_training_and_validation_on_shards_meet_the_images_of_the_files(
    script: ModuleType, photos: Path, tmp_path: Path
) -> None:
    assert from_folder(script, tmp_path / "out", photos) == 0
    of_shards = from_shards(tmp_path / "out", batch_size=5)
    of_files = ImageDataModule("folder", root=str(photos), image_size=8, batch_size=5, num_workers=0)
    seen = [
        sorted(bytes(image.numpy()) for images, *_ in data.train_dataloader() for image in images)
        for data in (of_shards, of_files)
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 30
    assert sum(len(labels) for _, labels in of_shards.val_dataloader()) == 10


def test_a_run_on_shards_goes_on_in_the_middle_of_an_epoch(script: ModuleType, photos: Path, tmp_path: Path) -> None:
    assert from_folder(script, tmp_path / "out", photos) == 0
    whole = from_shards(tmp_path / "out").train_dataloader()
    unbroken = [images for _ in range(2) for images, *_ in whole]
    stopped = from_shards(tmp_path / "out").train_dataloader()
    first = [images for _, (images, *_) in zip(range(3), stopped, strict=False)]
    later = from_shards(tmp_path / "out").train_dataloader()
    later.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    rest = [images for _ in range(2) for images, *_ in later]
    assert len(unbroken) == len(first) + len(rest) == 14
    assert all(torch.equal(ours, theirs) for ours, theirs in zip([*first, *rest], unbroken, strict=True))


@pytest.mark.usefixtures("_annotations_unchecked")  # checking one looks at an image, which may be the damaged one
@pytest.mark.parametrize("cache", ["none", "ram"])
def test_a_damaged_image_of_a_shard_is_skipped_by_name_where_that_is_asked_for(
    script: ModuleType, photos: Path, tmp_path: Path, cache: str
) -> None:
    out = tmp_path / "out"
    assert from_folder(script, out, photos) == 0
    damage(out, 0)
    damage(out, 8)
    data = from_shards(out, batch_size=5, on_error="skip", cache=cache)
    assert sum(len(images) for images, *_ in data.train_dataloader()) == 30
    with pytest.warns(
        UserWarning, match=r"2 of 30 .*train-000000\.tar, 000000000\.png, .*train-000001\.tar, 000000008\.png\.$"
    ):
        data.teardown()


def test_shards_can_be_sent_to_processes_that_are_not_forked(script: ModuleType, photos: Path, tmp_path: Path) -> None:
    assert from_folder(script, tmp_path / "out", photos) == 0
    images = shards(tmp_path / "out").train.images
    assert pickle.loads(pickle.dumps(images))[3] == images[3]
