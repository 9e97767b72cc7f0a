"""What is near is found without comparing everything with everything, and nothing else is."""

import numpy as np
import pytest

from vit.data.duplicates import joined, near, near_hashes, same


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Hashes of which many are a few bits from another."""
    chance = np.random.default_rng(seed)
    centres = chance.integers(0, 2**64, count // 5, dtype=np.uint64)
    found = centres[chance.integers(0, len(centres), count)]
    for _ in range(8):
        flips = np.uint64(1) << chance.integers(0, 64, count, dtype=np.uint64)
        found = np.where(chance.random(count) < 0.6, found ^ flips, found)
    return np.unique(found)


@pytest.mark.parametrize("radius", [0, 3, 10])
def test_near_hashes_are_those_that_comparing_all_finds(radius: int) -> None:
    hashes = clustered(700)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(distances <= radius, 1))
    assert len(expected) > 0 or radius == 0
    np.testing.assert_array_equal(near_hashes(hashes, radius), expected)


def test_few_in_memory_at_once_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = clustered(300)
    whole = near_hashes(hashes)
    monkeypatch.setattr("vit.data.duplicates._AT_ONCE", 7)
    np.testing.assert_array_equal(near_hashes(hashes), whole)
    assert len(whole) > 100


def test_no_image_and_one_image_have_no_copies() -> None:
    for count in (0, 1):
        assert near(np.zeros(count, dtype=np.uint64), np.zeros((count, 32, 32), dtype=np.uint8)) == []


def test_a_near_hash_alone_is_no_copy() -> None:
    chance = np.random.default_rng(0)
    one, other = chance.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    thumbnails = np.stack([one, other, one // 2, one])
    # 0, 2 and 3 show the same; 1 has the hash of 0 by accident; 3 has one that is far off
    hashes = np.array([0b1111, 0b1111, 0b1110, 2**40 - 1], dtype=np.uint64)
    assert near(hashes, thumbnails) == [(0, 2)]


def test_even_pictures_are_like_nothing() -> None:
    thumbnails = np.zeros((2, 32, 32), dtype=np.uint8)
    thumbnails[:, 0, 0] = 7  # of 255: nothing that could be seen
    assert near(np.zeros(2, dtype=np.uint64), thumbnails) == []
    thumbnails[:, 0, 0] = 8
    assert near(np.zeros(2, dtype=np.uint64), thumbnails) == [(0, 1)]


def test_groups_by_hand() -> None:
    assert same(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]
    assert joined(7, [[4, 1], [2, 3], [3, 4], [6, 0]]) == [[0, 6], [1, 2, 3, 4]]
    assert joined(2, []) == []
