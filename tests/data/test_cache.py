"""What is kept is what was decoded, nothing half written is read, and a changed image is decoded anew."""

import errno
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vit.data import cache as cache_module
from vit.data.augment import Augmentation
from vit.data.cache import CacheError, DiskCache, Form, RamCache, open_cache
from vit.data.decode import EncodedImage, UnreadableImageError
from vit.data.module import ImageDataModule
from vit.data.order import ImageKey
from vit.data.photographs import Photographs
from vit.data.preprocess import load_image
from vit.nn import Preprocessing

MakeFolder = Callable[..., Path]
SPEC = Preprocessing(image_size=(6, 10), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.9)
CROPS = Augmentation(crop_scale=(0.3, 1.0), flip=0.5)
SHAPES = [(53, 41), (23, 31), (19, 19), (97, 29)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(SHAPES))]
    for number, (path, (width, height)) in enumerate(zip(paths, SHAPES, strict=True)):
        write(path, width, height, number)
    return paths


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many bytes be free, of the memory and of every disk."""

    def set_(free: int) -> None:
        monkeypatch.setattr(cache_module, "free_bytes", lambda device: free)
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free}))

    return set_


def write(path: Path, width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def photographs(files: Any, kind: Any, folder: Path, form: Form, augmentation: Augmentation = CROPS) -> Photographs:
    kept, _ = open_cache(kind, files, form, folder / "kept", "training")
    return Photographs(files, torch.arange(len(files)), SPEC, augmentation, cache=kept, form=form)


def refuse_decoding(*_: Any) -> Tensor:
    raise AssertionError("decoded again")


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_picture_of_evaluation_is_the_same_to_the_pixel_and_decoded_once(
    kind: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photographs(files, kind, tmp_path, Form(SPEC))
    expected = [load_image(path, SPEC) for path in files]
    first = [data[number][0] for number in range(4)]
    monkeypatch.setattr(Form, "decoded", refuse_decoding)
    again = [data[number][0] for number in range(4)]
    for pictures in (first, again):
        assert all(torch.equal(picture, plain) for picture, plain in zip(pictures, expected, strict=True))


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_crops_are_cut_out_of_the_whole_picture_its_shorter_side_reduced(
    kind: str, files: list[Path], tmp_path: Path
) -> None:
    data = photographs(files, kind, tmp_path, Form(SPEC, 20))
    assert [tuple(data.form.decoded(path).shape[1:]) for path in files] == [(20, 26), (27, 20), (19, 19), (20, 67)]
    keys = [ImageKey(1, epoch, number) for epoch in (0, 1) for number in range(4)]
    fresh, kept = ([data[key][0] for key in keys] for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(fresh, kept, strict=True))
    # with a side that reduces nothing the crops are those without a cache
    plain = Photographs(files, torch.arange(4), SPEC, CROPS)
    whole = photographs(files, kind, tmp_path, Form(SPEC, 100))
    assert all(torch.equal(whole[key][0], plain[key][0]) for key in keys + keys)


def test_changing_what_was_handed_out_does_not_change_what_is_kept(files: list[Path], tmp_path: Path) -> None:
    for kind in ("ram", "disk"):
        data = photographs(files, kind, tmp_path, Form(SPEC))
        expected = data[0][0].clone()
        data[0][0].zero_()
        assert torch.equal(data[0][0], expected)


def test_a_picture_larger_than_its_slot_in_memory_is_decoded_each_time(files: list[Path]) -> None:
    kept, form = RamCache(4, 3, 3 * 20 * 30), Form(SPEC, 20)
    for _ in range(2):
        assert torch.equal(kept.get(3, lambda: form.decoded(files[3])), form.decoded(files[3]))
    assert kept.heights.tolist() == [0, 0, 0, 0]


def test_workers_fill_the_memory_that_all_share(files: list[Path], tmp_path: Path) -> None:
    data = photographs(files, "ram", tmp_path, Form(SPEC))
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1)
    batches = torch.cat([images for images, _ in loader])
    assert isinstance(data.cache, RamCache)
    assert data.cache.heights.tolist() == [6] * 4
    assert torch.equal(batches, torch.stack([load_image(path, SPEC) for path in files]))
    assert torch.equal(pickle.loads(pickle.dumps(data))[1][0], batches[1])


def test_a_changed_image_is_decoded_anew_and_another_form_is_kept_apart(files: list[Path], tmp_path: Path) -> None:
    before = photographs(files, "disk", tmp_path, Form(SPEC))[0][0]
    write(files[0], 53, 41, seed=9)
    os.utime(files[0], (1, 1))  # whatever the clock of the file system
    after = photographs(files, "disk", tmp_path, Form(SPEC))[0][0]
    assert torch.equal(after, load_image(files[0], SPEC))
    assert not torch.equal(after, before)
    other = Preprocessing(image_size=(6, 10), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.5)
    assert DiskCache(files, Form(other), tmp_path).path(0) != DiskCache(files, Form(SPEC), tmp_path).path(0)


def test_an_image_in_a_larger_file_is_known_by_its_content(files: list[Path], tmp_path: Path) -> None:
    rows = [EncodedImage(f"row {number}", path.read_bytes()) for number, path in enumerate(files)]
    data = photographs(rows, "disk", tmp_path, Form(SPEC))
    assert torch.equal(data[2][0], load_image(files[2], SPEC))
    swapped = photographs(rows[::-1], "disk", tmp_path, Form(SPEC))
    assert torch.equal(swapped[1][0], data[2][0])


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_file_that_was_cut_off_or_altered_is_not_used(left: int, files: list[Path], tmp_path: Path) -> None:
    data = photographs(files, "disk", tmp_path, Form(SPEC))
    expected = data[0][0]
    assert isinstance(data.cache, DiskCache)
    path = data.cache.path(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if left < 0 else content[:left])
    assert torch.equal(data[0][0], expected)
    assert path.read_bytes()[-1] == content[-1] ^ 1  # written anew


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photographs(files, "disk", tmp_path, Form(SPEC))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(
            CacheError, match=r"0\.2 kB could not be .* to .*kept, where .* are free \(No space .*: df -i says\)"
        ):
            data[0]
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert torch.equal(data[0][0], load_image(files[0], SPEC))


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_what_does_not_fit_is_refused_with_the_size(
    kind: Any, files: list[Path], tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    set_free(700)
    with pytest.raises(CacheError, match=rf"data\.cache={kind}: the 4 training images would take .* are free"):
        open_cache(kind, files, Form(SPEC), tmp_path, "training")
    set_free(900)
    _, sentence = open_cache(kind, files, Form(SPEC), tmp_path, "training")  # 4 x 180 bytes
    assert sentence.startswith("cache of 4 training images, as the model sees them: about 0.7 kB of ")


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_what_another_cache_will_still_take_is_not_free(
    kind: Any, files: list[Path], tmp_path: Path, set_free: Callable[[int], None]
) -> None:
    set_free(1500)
    form = Form(SPEC)
    training, _ = open_cache(kind, files, form, tmp_path / "kept", "training")  # 4 x 180 bytes
    assert training.to_come() == 720
    other = Form(replace(SPEC, crop_pct=0.5))  # as large, but other pictures
    with pytest.raises(CacheError, match=r"validation images would take .* free and 0\.7 kB are for other images"):
        open_cache(kind, files, other, tmp_path / "kept", "validation")
    for number, path in enumerate(files):
        training.get(number, partial(form.decoded, path))
    assert training.to_come() == 0
    open_cache(kind, files, other, tmp_path / "kept", "validation")


def test_the_estimate_counts_what_is_already_there(files: list[Path], tmp_path: Path) -> None:
    for number in (0, 1):
        photographs(files, "disk", tmp_path, Form(SPEC))[number]
    _, sentence = open_cache("disk", files, Form(SPEC), tmp_path / "kept", "training")
    assert sentence.endswith("50% of them there already.")


def test_a_damaged_image_is_named_and_not_kept(files: list[Path], tmp_path: Path) -> None:
    files[1].write_bytes(b"no image")
    for kind in ("ram", "disk"):
        data = photographs(files, kind, tmp_path, Form(SPEC))
        for _ in range(2):
            with pytest.raises(UnreadableImageError, match=r"1\.png"):
                data[1]


def test_the_data_module_trains_and_validates_from_its_caches(folder_of_classes: MakeFolder, tmp_path: Path) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat", "dog"]})
    settings: dict[str, Any] = {"image_size": 8, "batch_size": 2, "num_workers": 0}
    plain = ImageDataModule("folder", str(root), **settings)
    kept = ImageDataModule("folder", str(root), **settings, cache="disk", cache_folder=str(tmp_path / "kept"))
    for loader, other in (
        (plain.val_dataloader(), kept.val_dataloader()),
        (plain.train_dataloader(), kept.train_dataloader()),
    ):
        for batch, same in zip(loader, other, strict=True):
            assert torch.equal(batch[0], same[0])
    assert list((tmp_path / "kept").rglob("*.pixels"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cache_size": 3}, r"data\.cache_size says nothing without a cache"),
        ({"cache_folder": "x"}, r"data\.cache_folder says nothing without a cache"),
        ({"cache": "ram", "cache_size": 0}, r"cache_size=0 must be at least 1 pixel"),
    ],
)
def test_settings_that_do_nothing_are_refused(
    wrong: dict[str, Any], sentence: str, folder_of_classes: MakeFolder
) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    with pytest.raises(ValueError, match=sentence):
        ImageDataModule("folder", str(root), image_size=8, batch_size=2, val_fraction=0.34, **wrong)


def test_images_in_memory_need_no_cache() -> None:
    with pytest.raises(ValueError, match="cache=ram, but the images of source=digits are in memory"):
        ImageDataModule("digits", image_size=8, cache="ram")
