"""ImageNet's layouts: flat validation folders with each of their files of labels, and never a guess."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.data.sources import Source, folder, imagenet, tiny_imagenet

CAT, DOG, OWL = "n02123045", "n02085620", "n01622779"  # sorted: owl, dog, cat
LABELS = [DOG, OWL, CAT, DOG]
"""Of the validation images 1 to 4."""
IDS = {1: CAT, 2: OWL, 3: DOG}
"""The development kit's numbers, not those of sorted WNIDs."""

Make = Callable[..., Path]


@pytest.fixture
def make_imagenet(tmp_path: Path) -> Make:
    """`train/WNID/` of two images, and four flat validation images, below `base`."""

    def make(base: str = "") -> Path:
        root = tmp_path / "imagenet"
        for wnid in (CAT, DOG, OWL):
            (root / base / "train" / wnid).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (2, 2)).save(root / base / "train" / wnid / f"{wnid}_{number}.JPEG", "JPEG")
        (root / base / "val").mkdir()
        for number in range(1, 5):
            Image.new("RGB", (2, 2)).save(root / base / "val" / f"ILSVRC2012_val_{number:08}.JPEG", "JPEG")
        return root

    return make


def labels_of(source: Source) -> list[str]:
    assert source.test is not None
    return [source.classes[label] for label in source.test.labels.tolist()]


def write_devkit(folder: Path) -> None:
    """Ground truth and meta.mat of three classes and the synset that they are below."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    number = {wnid: number for number, wnid in IDS.items()}
    truth = "".join(f"{number[wnid]}\n" for wnid in LABELS)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    rows = [(n, wnid, f"words of {wnid}, too", "", 0) for n, wnid in IDS.items()] + [(4, "n0", "animal", "", 3)]
    synsets = np.zeros((len(rows), 1), dtype=[(field, object) for field in fields])
    for place, row in enumerate(rows):
        synsets[place, 0] = tuple(float(cell) if isinstance(cell, int) else cell for cell in row)
    savemat(folder / "meta.mat", {"synsets": synsets})


def test_the_development_kit_labels_flat_validation_images(make_imagenet: Make) -> None:
    root = make_imagenet()
    write_devkit(root / "ILSVRC2012_devkit_t12" / "data")
    source = imagenet(root)
    assert source.classes == (OWL, DOG, CAT)
    assert labels_of(source) == LABELS
    assert (len(source.train), source.val) == (6, None)
    assert source.descriptions[CAT] == f"words of {CAT}, too"


def test_the_development_kit_is_read_as_torchvision_reads_it(
    make_imagenet: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import imagenet as theirs

    root = make_imagenet()
    write_devkit(root / "ILSVRC2012_devkit_t12" / "data")
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as archive:
        archive.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    monkeypatch.setattr(theirs, "_verify_archive", lambda *_: None)  # of the real file's checksum
    theirs.parse_devkit_archive(tmp_path, "kit.tar.gz")
    wnid_to_classes, val_wnids = theirs.load_meta_file(tmp_path)
    source = imagenet(root)
    assert labels_of(source) == val_wnids
    assert {wnid: ", ".join(words) for wnid, words in wnid_to_classes.items()} == source.descriptions


def test_numbers_without_the_meta_file_are_not_guessed(make_imagenet: Make) -> None:
    root = make_imagenet()
    write_devkit(root)
    (root / "meta.mat").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"numbers in an order of its own, not that of sorted WNIDs; its meta\.mat"
    ):
        imagenet(root)
    write_devkit(root)
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n4\n1\n")
    with pytest.raises(ValueError, match=r"has numbers that meta\.mat does not know: 4\."):
        imagenet(root)


@pytest.mark.parametrize(
    "name", ["imagenet_2012_validation_synset_labels.txt", "ILSVRC2012_validation_ground_truth.txt"]
)
def test_a_text_of_wnids_labels_the_images_by_their_numbers(name: str, make_imagenet: Make) -> None:
    root = make_imagenet()
    (root / name).write_text("\n".join(LABELS))
    (root / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    assert labels_of(imagenet(root)) == [LABELS[0], LABELS[2], LABELS[3]]


def test_kaggles_folder_is_read_with_its_solution_and_its_names(make_imagenet: Make) -> None:
    root = make_imagenet("ILSVRC/Data/CLS-LOC")
    rows = [f"ILSVRC2012_val_{n:08},{w} 1 2 3 4 {w} 5 6 7 8 " for n, w in reversed(list(enumerate(LABELS, 1)))]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    (root / "LOC_synset_mapping.txt").write_text(f"{CAT} tabby, tabby cat\n{OWL} great grey owl\nn0 another\n")
    source = imagenet(root)
    assert labels_of(source) == LABELS
    assert source.descriptions == {CAT: "tabby, tabby cat", OWL: "great grey owl"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Image,Label\na,b", r"has not the columns ImageId and PredictionString"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,none", r"line 2: ILSVRC2012_val_00000001 has 0 WNIDs"),
        (f"ImageId,PredictionString\na,{CAT} 1 {DOG} 1", r"line 2: a has 2 WNIDs; expected one"),
        (f"ImageId,PredictionString\na,{CAT}", r"4 of the 4 images in .*val have no label: ILSVRC2012_val_00000001"),
        (
            "\n".join(["ImageId,PredictionString", *(f"ILSVRC2012_val_{n:08},n02085621" for n in range(1, 5))]),
            r"class 'n02085621' of .*val is not one of the training part; did you mean 'n02085620'",
        ),
    ],
)
def test_a_solution_that_does_not_fit_is_explained(text: str, sentence: str, make_imagenet: Make) -> None:
    root = make_imagenet()
    (root / "LOC_val_solution.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        imagenet(root)


def test_flat_images_without_labels_are_explained_and_class_folders_need_none(make_imagenet: Make) -> None:
    root = make_imagenet()
    with pytest.raises(
        FileNotFoundError, match=r"val is flat, and nothing says what its images are; put one of LOC_val"
    ):
        imagenet(root)
    with pytest.raises(FileNotFoundError, match=r"val has 4 images .* data\.source=imagenet reads with its labels"):
        folder(root)
    for number, wnid in enumerate(LABELS, start=1):
        (root / "val" / wnid).mkdir(exist_ok=True)
        (root / "val" / f"ILSVRC2012_val_{number:08}.JPEG").rename(root / "val" / wnid / f"{number}.JPEG")
    assert labels_of(imagenet(root)) == [OWL, DOG, DOG, CAT]


def test_no_validation_folder_is_a_note_and_no_train_folder_an_error(make_imagenet: Make, tmp_path: Path) -> None:
    root = make_imagenet()
    (root / "val").rename(tmp_path / "away")
    source = imagenet(root)
    assert source.test is None
    assert source.notes == (f"{root} has no val/, so there is nothing for `vit test`.",)
    with pytest.raises(
        FileNotFoundError, match=r"away is not ImageNet's folder: it has no train/ of WNIDs, nor ILSVRC"
    ):
        imagenet(tmp_path / "away")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny-ImageNet's layout, of two classes."""
    root = tmp_path / "tiny-imagenet-200"
    for wnid in (DOG, OWL):
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").touch()
        for number in range(3):
            Image.new("RGB", (2, 2)).save(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", "JPEG")
    (root / "val" / "images").mkdir(parents=True)
    (root / "test" / "images").mkdir(parents=True)
    lines: list[str] = []
    for number, wnid in enumerate([OWL, DOG, OWL]):
        Image.new("RGB", (2, 2)).save(root / "val" / "images" / f"val_{number}.JPEG", "JPEG")
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "words.txt").write_text(f"n00001740\tentity\n{OWL}\tgreat grey owl, Strix nebulosa\n{DOG}\tChihuahua\n")
    return root


def test_tiny_imagenet_is_read_with_its_annotations_and_words(tiny: Path) -> None:
    source = tiny_imagenet(tiny)
    assert source.classes == (OWL, DOG)
    assert (len(source.train), source.val) == (6, None)
    assert labels_of(source) == [OWL, DOG, OWL]
    assert source.descriptions == {OWL: "great grey owl, Strix nebulosa", DOG: "Chihuahua"}


def test_a_plain_folder_would_be_wrong_about_tiny_imagenet_and_says_so(tiny: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Tiny-ImageNet's layout, which data\.source=tiny_imagenet reads"):
        folder(tiny)


def test_tiny_imagenet_sorted_into_class_folders_is_read_too(tiny: Path) -> None:
    for wnid in (OWL, DOG):
        (tiny / "val" / wnid / "images").mkdir(parents=True)
    for number, wnid in enumerate([OWL, DOG, OWL]):
        (tiny / "val" / "images" / f"val_{number}.JPEG").rename(tiny / "val" / wnid / "images" / f"val_{number}.JPEG")
    (tiny / "val" / "images").rmdir()
    assert labels_of(tiny_imagenet(tiny)) == [OWL, OWL, DOG]


def test_annotations_that_do_not_fit_are_explained(tiny: Path, tmp_path: Path) -> None:
    annotations = tiny / "val" / "val_annotations.txt"
    annotations.write_text(f"val_0.JPEG\t{OWL}\n")
    with pytest.raises(ValueError, match=r"2 of the 3 images in .*images have no label: val_1\.JPEG, val_2\.JPEG\."):
        tiny_imagenet(tiny)
    annotations.write_text(f"val_0.JPEG {OWL}\n")
    with pytest.raises(ValueError, match=r"val_annotations\.txt, line 1: expected an image and its WNID"):
        tiny_imagenet(tiny)
    annotations.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"val_annotations\.txt does not exist, so the validation images have no l"
    ):
        tiny_imagenet(tiny)
    with pytest.raises(FileNotFoundError, match=r"is not Tiny-ImageNet's folder: it has no train/WNID/images"):
        tiny_imagenet(tmp_path)
