"""Looked-up crops are what padding, cutting and mirroring give."""

import pytest
import torch
from torch.nn import functional as F

from vit.data.augment import Augmentation
from vit.data.crops import Crops, crops_bytes


@pytest.mark.parametrize("changes", [Augmentation(shift=2, flip=0.5), Augmentation(flip=0.5), Augmentation(shift=2)])
def test_a_crop_is_a_window_of_the_padded_image_or_of_its_mirror_image(changes: Augmentation) -> None:
    images = torch.randint(1, 256, (5, 2, 3, 7), dtype=torch.uint8)
    most = changes.shift
    indices = torch.randint(5, (400,))
    taken = Crops(images, changes).take(indices)
    padded = F.pad(images, (most, most, most, most))
    places: set[tuple[int, ...]] = set()
    for result, index in zip(taken, indices.tolist(), strict=True):
        found = [
            (down, right, mirrored)
            for mirrored, picture in enumerate([padded[index], padded[index].flip(-1)])
            for down in range(2 * most + 1)
            for right in range(2 * most + 1)
            if torch.equal(picture[:, down : down + 3, right : right + 7], result)
        ]
        assert found
        places.update(found)
    assert len(places) == (2 * most + 1) ** 2 * (2 if changes.flip else 1)  # each occurs, those at the ends too


def test_the_last_crop_of_the_last_image_lies_within_its_memory() -> None:
    images = torch.full((3, 2, 4, 5), 9, dtype=torch.uint8)
    crops = Crops(images, Augmentation(shift=1, flip=1.0))
    assert crops.take(torch.full((500,), 2)).shape == (500, 2, 4, 5)
    assert crops.take(torch.full((500,), 2)).flatten(1).float().mean(dim=1).min() >= 9 * (3 * 4) / (4 * 5)


def test_the_memory_is_counted_before_it_is_taken() -> None:
    images = torch.zeros(7, 3, 8, 6, dtype=torch.uint8)
    for changes in (Augmentation(), Augmentation(shift=2), Augmentation(flip=0.5), Augmentation(shift=1, flip=0.1)):
        storage = Crops(images, changes)._crops.untyped_storage()
        assert crops_bytes(images.shape, changes) == storage.nbytes()
