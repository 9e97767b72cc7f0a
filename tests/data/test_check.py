"""What harms is found, and nothing that does not."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit.data.check import check, report
from vit.data.fingerprint import fingerprint_of, read_fingerprint
from vit.data.listing import Listing, list_folder, list_parts
from vit.data.sources.labelled import Labelled
from vit.data.summary import summary

MakeFolder = Callable[..., Path]


def landscape(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def of_pictures(*rows: tuple[str, str, Image.Image | str]) -> tuple[Listing, list[object]]:
    """A listing and what was found of it, from (part, class, picture or reason)."""
    names = [f"{part}/{label}/{n}.png" for n, (part, label, _) in enumerate(rows)]
    listing = Listing(names=names, parts=[part for part, _, _ in rows], classes=[label for _, label, _ in rows])
    return listing, [shown if isinstance(shown, str) else fingerprint_of(shown) for _, _, shown in rows]


def test_an_image_in_two_parts_is_a_leak_and_its_earlier_copies_are_to_go() -> None:
    listing, found = of_pictures(
        ("test", "cat", landscape(0)),
        ("train", "cat", landscape(0)),
        ("train", "cat", landscape(1)),
        ("test", "cat", landscape(1, (45, 35))),
        ("test", "cat", landscape(2)),
    )
    result = report(listing, found)  # pyright: ignore
    (leak,) = result.leaks
    assert (leak.part, leak.earlier, leak.images, leak.exact, leak.of) == ("test", "train", 2, 1, 3)
    assert [(copies.kind, [image.path for image in copies.images]) for copies in result.leaked] == [
        ("exact", ["train/cat/1.png", "test/cat/0.png"]),
        ("near", ["train/cat/2.png", "test/cat/3.png"]),
    ]
    assert result.bad_files() == ["train/cat/1.png", "train/cat/2.png"]
    assert result.harmful
    assert next(summary(result)) == (
        "WRONG  2 of 3 test images (66.7 %) are also in train (1 exactly, 1 nearly): test figures count them as known"
    )


def test_copies_under_two_classes_contradict_each_other_where_they_are_exact() -> None:
    listing, found = of_pictures(
        ("train", "cat", landscape(0)),
        ("train", "dog", landscape(0)),
        ("train", "cat", landscape(1)),
        ("train", "dog", landscape(1, (45, 35))),
    )
    result = report(listing, found)  # pyright: ignore
    assert [image.label for copies in result.contradictions for image in copies.images] == ["cat", "dog"]
    assert [[image.path for image in copies.images] for copies in result.doubtful] == [
        ["train/cat/2.png", "train/dog/3.png"]
    ]
    assert result.bad_files() == ["train/cat/0.png", "train/dog/1.png"]


def test_copies_in_one_class_are_no_harm_and_are_told() -> None:
    listing, found = of_pictures(*[("all", "cat", landscape(0))] * 3, ("all", "dog", landscape(1)))
    result = report(listing, found)  # pyright: ignore
    assert not result.harmful
    assert [len(copies.images) for copies in result.repeated] == [3]
    assert "2 images repeat others of their part and class (2 exactly)" in "\n".join(summary(result))


def test_small_images_have_exact_copies_only() -> None:
    tiny = landscape(0, (90, 31))
    listing, found = of_pictures(("train", "cat", tiny), ("test", "cat", tiny.resize((91, 31))))
    result = report(listing, found)  # pyright: ignore
    assert (result.leaks, result.small) == ((), 2)
    listing, found = of_pictures(("train", "cat", tiny), ("test", "cat", tiny))
    assert len(report(listing, found).leaks) == 1  # pyright: ignore


def test_classes_are_held_against_the_training_part() -> None:
    listing, found = of_pictures(
        ("train", "10", landscape(0)),
        ("train", "9", landscape(1)),
        ("train", "9", landscape(2)),
        ("val", "9", landscape(3)),
        ("val", "bird", landscape(4)),
        ("val", "10", "truncated"),
    )
    result = report(listing, found)  # pyright: ignore
    assert result.strangers == {"val": ("bird",)}
    assert result.missing == {"val": ("10",)}
    assert result.classes == {"train": {"9": 2, "10": 1}, "val": {"9": 1, "bird": 1}}
    assert [(bad.path, bad.reason) for bad in result.unreadable] == [("val/10/5.png", "truncated")]
    lines = "\n".join(summary(result))
    assert "WRONG  1 file cannot be read" in lines
    assert "WRONG  classes of val that train does not have: bird" in lines
    assert "the largest class has 2.0 times the images of the smallest" in lines


def test_one_class_is_none_to_be_told_apart_and_one_image_none_to_be_divided() -> None:
    listing, found = of_pictures(("all", "cat", landscape(0)), ("all", "cat", landscape(1)))
    result = report(listing, found)  # pyright: ignore
    assert result.harmful
    assert next(summary(result)) == "WRONG  one class, cat: telling apart takes two"
    listing, found = of_pictures(
        ("all", "cat", landscape(0)), ("all", "cat", landscape(1)), ("all", "ox", landscape(2))
    )
    result = report(listing, found)  # pyright: ignore
    assert not result.harmful
    assert list(summary(result))[1] == "note   classes of one image, of which none can be split off for validation: ox"


def test_images_beside_the_classes_are_told_by_part() -> None:
    rows = [("train", name, landscape(n)) for n, name in enumerate(["a", "b"])]
    listing, found = of_pictures(*rows, ("val", "", landscape(5)))
    lines = list(summary(report(listing, found)))  # pyright: ignore
    assert lines[0] == "WRONG  1 image lies beside the class folders of val, in no class"


def test_an_image_in_no_class_is_not_the_smallest_class() -> None:
    rows = [("train", name, landscape(n)) for n, name in enumerate(["", "a", "a", "b", "b", "b", "b"])]
    for uneven, some in ((True, rows), (False, rows[:-1])):
        lines = list(summary(report(*of_pictures(*some))))  # pyright: ignore
        assert ("the largest class has 2.0 times the images of the smallest" in lines) is uneven
        assert ("times the images" in "\n".join(lines)) is uneven


def test_sizes_and_modes_by_hand() -> None:
    listing, found = of_pictures(
        ("all", "a", landscape(0, (40, 80))),
        ("all", "a", landscape(1, (60, 40)).convert("L")),
        ("all", "b", landscape(2, (50, 50))),
        ("all", "b", Image.new("RGB", (40, 40), (9, 9, 9))),
    )
    result = report(listing, found)  # pyright: ignore
    assert (result.sizes["width"].least, result.sizes["width"].median, result.sizes["width"].greatest) == (40, 45, 60)
    assert (result.sizes["aspect"].least, result.sizes["aspect"].greatest) == (0.5, 1.5)
    assert result.modes == {"RGB": 3, "L": 1}
    assert result.peculiar == {"of one even colour": 1}


def test_images_in_memory_are_checked_too() -> None:
    pixels = torch.from_numpy(np.stack([np.asarray(landscape(n, (40, 33))) for n in (0, 1, 0)])).permute(0, 3, 1, 2)
    parts = {"train": Labelled(pixels[:2], torch.tensor([0, 1])), "test": Labelled(pixels[2:], torch.tensor([0]))}
    seen: list[tuple[int, int]] = []
    result = check(list_parts(parts, ["cat", "dog"]), progress=lambda *figures: seen.append(figures))
    assert [image.path for image in result.leaked[0].images] == ["train[0]", "test[0]"]
    assert seen == [(1, 0), (2, 0), (3, 0)]
    grey = Labelled(pixels[:, :1], torch.tensor([0, 1, 0]))
    assert check(list_parts({"all": grey}, ["cat", "dog"])).modes == {"L": 3}


@pytest.mark.slow  # starts processes
def test_a_folder_without_its_bad_files_passes(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "test": ["cat", "dog"]})
    for n, name in enumerate(("test/cat/0.png", "test/dog/0.png", "test/dog/1.png", "test/cat/1.png"), start=10):
        landscape(n).save(root / name)  # all others are in both parts
    (root / "train" / "cat" / "2.png").write_bytes(b"\x89PNG damaged")
    landscape(3).save(root / "train" / "cat" / "a.bmp")
    landscape(3).save(root / "train" / "dog" / "b.png")
    found = check(list_folder(root), processes=2)
    assert found.harmful
    assert {Path(path).relative_to(root).as_posix() for path in found.bad_files()} == {
        *("train/cat/2.png", "train/cat/a.bmp", "train/dog/b.png", "train/dog/2.png"),
    }
    for path in found.bad_files():
        Path(path).unlink()
    assert not check(list_folder(root), processes=1).harmful


def test_every_nasty_file_ends_in_the_right_verdict(shared_data: Path) -> None:
    nasty = shared_data / "nasty-images"
    # 32-bit floats have no agreed range; the other verdicts are those of Pillow, in the manifest
    refused = {"10ct_32bit_128.tiff"}
    with (nasty / "manifest.csv").open(encoding="utf-8") as file:
        readable = {row["file"]: row["pil13_result"] in {"ok", "warn"} for row in csv.DictReader(file)}
    for name in list_folder(nasty).names:
        expected = readable[Path(name).name] and Path(name).name not in refused
        assert isinstance(read_fingerprint(name), str) != expected, name
