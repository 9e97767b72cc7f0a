"""Splits, batches and what is done to them on the device."""

import pickle
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from vit.data.augment import Augmentation
from vit.data.decode import UnreadableImageError
from vit.data.module import ImageDataModule
from vit.data.order import BatchKey, Stream, keyed_seed
from vit.data.policy import apply_policy, draw_policy
from vit.data.preprocess import normalise
from vit.data.sources import Columns

MakeFolder = Callable[..., Path]


def digits(**changes: object) -> ImageDataModule:
    return ImageDataModule("digits", **{"image_size": 8, "batch_size": 64, **changes})  # pyright: ignore


def pictures(root: Path, **changes: object) -> ImageDataModule:
    settings = {"image_size": 8, "batch_size": 2, "val_fraction": 0.34, "num_workers": 0}
    return ImageDataModule("folder", root=str(root), **{**settings, **changes})  # pyright: ignore


def as_bytes(images: Tensor) -> list[bytes]:
    return [bytes(image.numpy()) for image in images]


def test_no_validation_or_test_image_is_trained_on() -> None:
    data = digits()
    assert data.val is not None
    assert data.source.test is not None
    train, val, test = (set(as_bytes(part.images)) for part in (data.train, data.val, data.source.test))  # pyright: ignore
    assert not train & val
    assert not train & test
    assert not val & test
    assert (len(data.train), len(data.val), len(data.source.test)) == (1293, 144, 360)


def test_the_batches_of_an_epoch_are_the_training_images_in_a_new_order() -> None:
    loader = (data := digits(batch_size=1)).train_dataloader()
    first = [image for images, *_ in loader for image in as_bytes(images)]
    second = [image for images, *_ in loader for image in as_bytes(images)]
    assert first != second
    assert sorted(first) == sorted(second) == sorted(as_bytes(data.train.images))  # pyright: ignore


def test_validation_and_test_see_each_image_once_in_order_and_whole_batches_are_not_needed() -> None:
    data = digits(batch_size=100)
    for loader, part in ((data.val_dataloader(), data.val), (data.test_dataloader(), data.source.test)):
        batches = list(loader)
        assert part is not None
        assert sum(len(labels) for _, labels in batches) == len(part)
        assert len(part) % 100 > 0
        assert torch.equal(torch.cat([images for images, _ in batches]), part.images)  # pyright: ignore
        assert torch.equal(torch.cat([labels for _, labels in batches]), part.labels)


def test_validation_depends_on_the_split_seed_and_not_on_the_runs_seed() -> None:
    first = digits().val
    torch.manual_seed(12345)
    second, other = digits().val, digits(split_seed=1).val
    assert first is not None
    assert second is not None
    assert other is not None
    assert torch.equal(first.images, second.images)  # pyright: ignore
    assert not torch.equal(first.labels, other.labels) or not torch.equal(first.images, other.images)  # pyright: ignore


def after_transfer(data: ImageDataModule, images: Tensor, training: bool) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.long)
    key = [BatchKey(seed=1, epoch=2, number=3)] if training else []
    return data.on_after_batch_transfer([images, labels, *key], 0)[0]


def test_validation_images_are_normalised_and_nothing_else() -> None:
    data = digits(augmentation=Augmentation(shift=3, flip=1.0, erase=1.0))
    assert data.val is not None
    images = data.val.images[:5]
    expected = (images.float() / 255 - 0.305) / 0.376  # pyright: ignore
    assert_close(after_transfer(data, images, training=False), expected)  # pyright: ignore


def test_training_images_are_augmented_before_they_are_normalised() -> None:
    data = digits(augmentation=Augmentation(flip=1.0))
    images = data.train.images[:5]
    expected = (images.flip(-1).float() / 255 - 0.305) / 0.376  # pyright: ignore
    assert_close(after_transfer(data, images, training=True), expected)  # pyright: ignore


def test_a_folder_without_validation_part_gives_some_of_its_training_images(folder_of_classes: MakeFolder) -> None:
    data = pictures(folder_of_classes({"train": ["cat", "dog"]}))
    assert data.val is not None
    assert sorted([*data.train.images, *data.val.images]) == sorted(data.source.train.images)  # pyright: ignore
    assert data.val.labels.tolist() == [0, 1] or len(data.val) == 3


def test_the_validation_part_of_a_folder_is_used_and_named_by_the_training_part(folder_of_classes: MakeFolder) -> None:
    data = pictures(folder_of_classes({"train": ["1", "2", "10"], "val": ["10"]}))
    assert len(data.train) == 9
    assert [labels.tolist() for _, labels in data.val_dataloader()] == [[2, 2], [2]]
    assert data.classes == ("1", "2", "10")
    assert data.num_classes == 3


def test_batches_of_files_are_what_prediction_would_see(folder_of_classes: MakeFolder) -> None:
    from vit.data.preprocess import load_image

    data = pictures(folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]}), image_size=(6, 4), crop_pct=0.8)
    images = torch.cat([images for images, _ in data.val_dataloader()])
    assert data.val is not None
    assert_close(images, torch.stack([load_image(str(path), data.preprocessing) for path in data.val.images]))  # pyright: ignore


def test_random_crops_are_for_training_alone(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]})
    data = pictures(root, augmentation=Augmentation(crop_scale=(0.1, 0.5)), batch_size=3)
    first, second = (next(images for images, _ in data.val_dataloader()) for _ in range(2))
    assert torch.equal(first, second)
    cropped = next(images for images, *_ in data.train_dataloader())
    assert cropped.shape == (3, 3, 8, 8)
    assert not set(as_bytes(cropped)) & set(as_bytes(first))


def test_a_damaged_training_file_stops_the_run_and_is_named(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat"]})
    (root / "train" / "dog" / "1.png").write_bytes(b"not an image")
    with pytest.raises(UnreadableImageError, match=r"dog.1\.png: not an image"):
        list(pictures(root).train_dataloader())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"batch_size": 0}, r"batch_size=0 must be at least 1\."),
        ({"batch_size": 5000}, r"batch_size=5000 is more than the 1293 training images; lower data\.batch_size\."),
        ({"num_workers": -1}, r"num_workers=-1 must be 0"),
        ({"val_fraction": 0.0}, r"val_fraction=0\.0 must be above 0 and below 1; 0\.1 is usual\."),
        ({"val_fraction": 1.0}, r"val_fraction=1\.0 must be"),
        ({"image_size": 16}, r"image_size=16 does not fit source=digits, whose images are 8 x 8 pixels\."),
        ({"crop_pct": 1.5}, r"crop_pct=1\.5 must be above 0 and at most 1"),
    ],
)
def test_settings_that_do_not_fit_are_explained(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        digits(**wrong)


def test_testing_without_test_images_is_explained(folder_of_classes: MakeFolder) -> None:
    with pytest.raises(ValueError, match=r"this data has no test part; .* as test/CLASS\."):
        pictures(folder_of_classes({"train": ["cat", "dog"]})).test_dataloader()


def test_the_same_seed_gives_the_same_batches() -> None:
    orders = []
    for _ in range(2):
        L.seed_everything(5, verbose=False)
        orders.append(torch.cat([labels for _, labels, _ in digits().train_dataloader()]))
    assert torch.equal(*orders)


def test_what_workers_read_can_be_sent_to_processes_that_are_not_forked(folder_of_classes: MakeFolder) -> None:
    cropped = Augmentation(crop_scale=(0.5, 1.0), policy="trivial")
    data = pictures(folder_of_classes({"train": ["cat", "dog"]}), augmentation=cropped)
    train = data.train_dataloader().reader.dataset  # pyright: ignore
    for dataset in (train, data.val_dataloader().loader.dataset):
        image, _ = pickle.loads(pickle.dumps(dataset))[0]
        assert image.shape == (3, 8, 8)


def test_a_policy_changes_photographs_a_batch_at_a_time_by_the_batchs_key(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    data = pictures(root, augmentation=Augmentation(crop_scale=(0.5, 1.0), flip=0.5, policy="trivial"))
    images, labels, key = next(iter(data.train_dataloader()))
    steps = draw_policy("trivial", len(images), (8, 8), torch.Generator().manual_seed(keyed_seed(Stream.POLICY, *key)))
    expected = normalise(apply_policy(images, steps), data.preprocessing)
    assert torch.equal(data.on_after_batch_transfer([images, labels, key], 0)[0], expected)


def test_one_class_is_refused(folder_of_classes: MakeFolder) -> None:
    with pytest.raises(ValueError, match="has one class, cat; telling apart takes two"):
        pictures(folder_of_classes({"train": ["cat"]}))


def test_a_small_class_without_validation_images_is_told_of(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["a", "b"]}, images=30)
    for number in range(2, 30):
        (root / "train" / "b" / f"{number}.png").unlink()
    data = ImageDataModule("folder", root=str(root), image_size=6, batch_size=3, val_fraction=0.1)
    assert data.val is not None
    assert data.val.labels.tolist() == [0, 0, 0, 0]
    assert data.notes == (
        "the validation part, split from train, has no image of b: its figures say nothing about them.",
    )


def test_a_part_that_would_lack_a_class_is_refused(folder_of_classes: MakeFolder) -> None:
    with pytest.raises(
        ValueError, match=r"setting 0.01 of 6 images apart leaves some class with none, the smallest has 3"
    ):
        pictures(folder_of_classes({"train": ["cat", "dog"]}), val_fraction=0.01)


def test_a_subset_is_of_the_training_images_alone_and_its_counts_are_told(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]}, images=10)
    whole = pictures(root, val_fraction=0.2)
    some, few = pictures(root, val_fraction=0.2, fraction=0.5), pictures(root, val_fraction=0.2, per_class=3)
    assert list(some.val.images) == list(few.val.images) == list(whole.val.images)  # pyright: ignore
    assert (len(whole.train), len(some.train), len(few.train)) == (16, 8, 6)
    assert set(few.train.images) < set(some.train.images) < set(whole.train.images)  # pyright: ignore
    assert whole.notes == ()
    assert few.notes == ("training on 6 of 16 training images: cat 3, dog 3.",)
    with pytest.raises(ValueError, match=r"data\.fraction=0\.5 and data\.per_class=3 both say how many; give one"):
        pictures(root, fraction=0.5, per_class=3)


def test_the_counts_of_a_subset_are_told_where_validation_has_a_folder_of_its_own(
    folder_of_classes: MakeFolder,
) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat", "dog"]}, images=10)
    assert pictures(root, fraction=0.8).notes == ("training on 16 of 20 training images: cat 8, dog 8.",)
    assert pictures(root, fraction=1.0).notes == ()


def test_settings_of_another_source_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.table says nothing to data\.source=digits; it is for table"):
        digits(table="labels.csv")
    with pytest.raises(
        ValueError, match=r"data\.columns says nothing to data\.source=digits; it is for table, hugging"
    ):
        digits(columns=Columns(label="name"))
    with pytest.raises(ValueError, match=r"data\.download says nothing to data\.source=digits"):
        digits(download=True)
    with pytest.raises(ValueError, match=r"data\.test_fraction=0\.2 has nothing to do: the data has a test part"):
        digits(test_fraction=0.2)


def test_images_of_a_table_of_parts_are_served_by_their_parts(folder_of_classes: MakeFolder) -> None:
    root = folder_of_classes({"photos": ["cat", "dog"]})
    rows = [f"photos/{kind}/{n}.png,{kind},{'val' if n == 2 else 'train'}" for kind in ("cat", "dog") for n in range(3)]
    (root / "mine.csv").write_text("\n".join(["path,label,split", *rows]))
    data = ImageDataModule("table", root=str(root / "mine.csv"), image_size=8, batch_size=2, num_workers=0)
    assert [labels.tolist() for _, labels in data.val_dataloader()] == [[0, 1]]
    assert sum(len(batch[1]) for batch in data.train_dataloader()) == 4


def test_the_images_of_the_batch_that_was_made_last_are_named() -> None:
    data = digits(batch_size=100)
    assert data.names_of_batch()() == ""
    loader = data.train_dataloader()
    saying: list[Callable[[], str]] = []
    for number, batch in enumerate(loader):
        data.on_after_batch_transfer(batch, 0)
        saying.append(data.names_of_batch())
        if number == 1:
            break
    first, second = (loader.order.epoch(0)[0][number].tolist() for number in range(2))
    assert saying[0]() == ", ".join(f"training image {index}" for index in first[:3]) + " and 97 more"
    assert saying[1]().startswith(f"training image {second[0]}, ")


def test_the_files_of_a_batch_are_named(folder_of_classes: Callable[..., Path]) -> None:
    root = folder_of_classes({"train": ["a", "b"], "val": ["a"]})
    data = ImageDataModule("folder", str(root), image_size=4, batch_size=2, num_workers=0)
    data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    named = data.names_of_batch()().split(", ")
    assert len(named) == 2
    assert all(Path(name).is_file() for name in named)
    data.teardown()
