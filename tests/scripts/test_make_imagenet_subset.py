"""Subsets of ImageNet: the right classes and images, whole files, resumable, and read as ImageNet again."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from vit.data.decode import read_image
from vit.data.sources import imagenet

WNIDS = ["n01440764", "n02102040", "n02979186", "n03000684"]


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("make_imagenet_subset")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four classes of five training images each, 40 x 30 pixels, the first 8 x 6, and flat validation images."""
    root = tmp_path / "ILSVRC2012"
    for number, wnid in enumerate(WNIDS):
        (root / "train" / wnid).mkdir(parents=True)
        for image in range(5):
            size = (8, 6) if image == 0 else (40, 30)
            Image.new("RGB", size, (50 * number, 50 * image, 0)).save(root / "train" / wnid / f"{wnid}_{image}.JPEG")
    (root / "val").mkdir()
    for number in range(1, 9):
        Image.new("RGB", (20, 60)).save(root / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(WNIDS * 2))
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\n")
    return root


def images_in(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix == ".JPEG")


def cut(script: ModuleType, *arguments: object) -> int:
    return script.main([*map(str, arguments), "--workers", "1"])


def test_named_classes_are_linked_whole_and_read_as_imagenet_again(
    script: ModuleType, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    assert cut(script, source, out, "--classes", "n02979186,n01440764") == 0
    subset = imagenet(out)
    assert subset.classes == ("n01440764", "n02979186")
    assert subset.descriptions == {"n01440764": "tench, Tinca tinca"}
    assert subset.test is not None
    assert (len(subset.train), subset.test.labels.tolist()) == (10, [0, 0, 1, 1])
    assert images_in(out / "val" / "n02979186") == ["ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000007.JPEG"]
    name = "train/n01440764/n01440764_3.JPEG"
    assert (out / name).samefile(source / name)
    assert not list(out.rglob(".*"))


def test_images_are_resized_by_their_short_side_and_small_ones_left_alone(
    script: ModuleType, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    assert cut(script, source, out, "--num-classes", 4, "--short-side", 15) == 0
    sizes = {name: read_image(out / name).size for name in images_in(out)}
    assert sizes["train/n01440764/n01440764_1.JPEG"] == (20, 15)
    assert sizes["train/n01440764/n01440764_0.JPEG"] == (8, 6)
    assert sizes["val/n01440764/ILSVRC2012_val_00000001.JPEG"] == (15, 45)
    assert (out / "train/n01440764/n01440764_0.JPEG").samefile(source / "train/n01440764/n01440764_0.JPEG")


def test_so_many_classes_and_images_are_chosen_by_the_seed(script: ModuleType, source: Path, tmp_path: Path) -> None:
    chosen: dict[str, list[str]] = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        flags = ["--num-classes", 2, "--images-per-class", 3, "--seed", seed]
        assert cut(script, source, tmp_path / name, *flags) == 0
        chosen[name] = images_in(tmp_path / name)
        assert len([image for image in chosen[name] if image.startswith("train/")]) == 6
    assert chosen["a"] == chosen["b"] != chosen["c"]


def test_an_interrupted_call_goes_on_and_other_settings_are_refused(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, flags = tmp_path / "out", ["--classes", "n01440764", "--short-side", 15]
    assert cut(script, source, out, *flags) == 0
    whole = {name: (out / name).read_bytes() for name in images_in(out)}
    lost = out / "train/n01440764/n01440764_2.JPEG"
    lost.unlink()
    lost.with_name(f".{lost.name}.part").write_bytes(b"half")
    kept = (out / "train/n01440764/n01440764_1.JPEG").stat().st_mtime_ns
    assert cut(script, source, out, *flags) == 0
    assert "7 images, 6 of them there already" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in images_in(out)} == whole
    assert (out / "train/n01440764/n01440764_1.JPEG").stat().st_mtime_ns == kept
    assert cut(script, source, out, "--classes", "n01440764", "--short-side", 14) == 2
    assert capsys.readouterr().err.startswith(f"error: {out} was begun with other settings")
    assert json.loads((out / "subset.json").read_text())["short_side"] == 15


def test_unreadable_images_are_named_and_left_out(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "train/n01440764/n01440764_2.JPEG").write_bytes(b"no image")
    assert cut(script, source, tmp_path / "out", "--classes", "n01440764", "--short-side", 15) == 1
    said = capsys.readouterr()
    assert "n01440764_2.JPEG: not an image" in said.err
    assert said.out.endswith("5 in train, 2 in val; left out as unreadable: 1\n")
    assert len(images_in(tmp_path / "out/train")) == 4


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "which classes? --classes imagenet-100, imagenette, imagewoof, a file"),
        (["--classes", "imagenete"], "--classes imagenete is no file and no known subset; did you mean 'imagenette'?"),
        (["--classes", "imagenette"], "6 of 10 classes are not in the source, first n03028079."),
        (["--num-classes", "5"], "--num-classes 5 must be from 1 to 4."),
        (["--num-classes", "2", "--images-per-class", "6"], "per_class=6 is more than the 5 training images of class"),
        (["--num-classes", "2", "--quality", "0"], "--quality 0 must be from 1 to 95."),
        (["--num-classes", "2", "--short-side", "0"], "--short-side 0 must be at least 1 pixel."),
    ],
)
def test_wrong_input_is_one_line_and_makes_nothing(
    flags: list[str],
    sentence: str,
    script: ModuleType,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cut(script, source, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_ours_is_left_alone(
    script: ModuleType, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert cut(script, source, tmp_path / "out", "--num-classes", 2) == 2
    assert "is not empty and was not begun by this script" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_classes_are_read_from_a_file_with_comments_and_names(script: ModuleType, source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# my classes\nn02102040 English springer\n\nn03000684\n")
    assert cut(script, source, tmp_path / "out", "--classes", tmp_path / "mine.txt") == 0
    assert imagenet(tmp_path / "out").classes == ("n02102040", "n03000684")


def test_known_subsets_are_of_imagenets_classes_each_once(script: ModuleType) -> None:
    synsets = set(files("timm.data").joinpath("_info/imagenet_synsets.txt").read_text().split())
    assert len(synsets) == 1000
    sizes = {name: len(set(text.split()) & synsets) for name, text in script.KNOWN.items()}
    assert sizes == {"imagenet-100": 100, "imagenette": 10, "imagewoof": 10}
    assert all(len(text.split()) == sizes[name] for name, text in script.KNOWN.items())


def test_known_subsets_are_what_their_names_say(script: ModuleType) -> None:
    lines = files("timm.data").joinpath("_info/imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemma = dict(line.split("\t") for line in lines)
    names = {name: " ".join(lemma[wnid] for wnid in text.split()) for name, text in script.KNOWN.items()}
    for word in ("tench", "English springer", "cassette player", "chain saw", "church", "French horn", "garbage truck"):
        assert word in names["imagenette"]
    for word in ("beagle", "Samoyed", "dingo", "Shih-Tzu", "Old English sheepdog", "Rhodesian ridgeback"):
        assert word in names["imagewoof"]


@pytest.mark.slow  # a fresh import of torch in three processes
def test_several_processes_make_the_same(source: Path, tmp_path: Path, script: ModuleType) -> None:
    flags = ["--num-classes", "3", "--short-side", "15"]
    assert cut(script, source, tmp_path / "one", *flags) == 0
    command = [sys.executable, script.__file__, source, tmp_path / "two", *flags, "--workers", "2"]
    subprocess.run(command, check=True, capture_output=True)
    one, two = (
        {name: (out / name).read_bytes() for name in images_in(out)} for out in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
