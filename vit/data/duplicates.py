"""hashes and thumbnails of images -> groups of copies, exact and near, without comparing each with each.

Near copies are found in two steps. Perceptual hashes that differ in few bits propose them, and are looked up by parts
of their bits (multi-index hashing; Norouzi, Punjani & Fleet 2012). Whether they are copies is decided by the outlines
of their thumbnails.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Int, UInt8, UInt64

from vit.data.fingerprint import outlines

RADIUS = 10
"""Bits of 64 in which the hashes of near copies may differ."""

LIKENESS = 0.8
"""Correlation of outlines from which two images are near copies.

On CIFAR-10 and on the clothing data every pair above it is one by eye. Lower finds more, moved or cropped copies, and
with them different things that were photographed alike: of shirts on one bed from 0.65.
"""

CONTRAST = 8
"""Grey levels between the darkest and the lightest pixel of a thumbnail, below which there is nothing to compare."""

_BLOCK, _BLOCKS = 16, 4
_AT_ONCE = 1 << 22


def same(keys: Sequence[Hashable]) -> list[list[int]]:
    """Groups of two and more places with equal keys, each in ascending order."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    return [group for group in places.values() if len(group) > 1]


def near(
    hashes: UInt64[np.ndarray, " n"], thumbnails: UInt8[np.ndarray, "n 32 32"], likeness: float = LIKENESS
) -> list[tuple[int, int]]:
    """Pairs of near copies, the smaller place first. Of many images with one hash, each is compared with the first.

    Images of one colour are left out: they have no outlines.
    """
    contrast = np.ptp(thumbnails.reshape(len(thumbnails), -1), axis=1) if len(thumbnails) else np.zeros(0)
    shown = np.flatnonzero(contrast >= CONTRAST)
    different, first, which = np.unique(hashes[shown], return_index=True, return_inverse=True)
    same_hash = np.stack([shown[first[which]], shown], axis=1)
    candidates = [same_hash[same_hash[:, 0] != same_hash[:, 1]], shown[first[near_hashes(different)]]]
    found: list[tuple[int, int]] = []
    for pairs in candidates:
        for start in range(0, len(pairs), 1 << 14):
            one, other = pairs[start : start + (1 << 14)].T
            alike = (outlines(thumbnails[one]) * outlines(thumbnails[other])).sum(axis=1) >= likeness
            found += [(min(pair), max(pair)) for pair in zip(one[alike].tolist(), other[alike].tolist(), strict=True)]
    return sorted(found)


def near_hashes(hashes: UInt64[np.ndarray, " n"], radius: int = RADIUS) -> Int[np.ndarray, "pairs 2"]:
    """All pairs of different hashes that differ in at most `radius` bits, each once.

    Of four blocks of 16 bits, one must differ in at most a quarter of `radius`, so that for each of the few patterns of
    flipped bits a table of that block says who comes into question.
    """
    found = [np.zeros(0, dtype=np.int64)]  # pairs as single numbers, which are sorted many times as fast
    sizes = range(radius // _BLOCKS + 1)
    flips = [sum(1 << bit for bit in bits) for size in sizes for bits in combinations(range(_BLOCK), size)]
    for block in range(_BLOCKS):
        keys = ((hashes >> np.uint64(_BLOCK * block)) & np.uint64((1 << _BLOCK) - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << _BLOCK) + 1))
        for flip in flips:
            half = (
                np.flatnonzero(keys < keys ^ flip) if flip else np.arange(len(keys))
            )  # the others are looked up by these
            for one, other in _meetings(half, keys ^ flip, starts, order):
                close = np.bitwise_count(hashes[one] ^ hashes[other]) <= radius
                one, other = np.minimum(one, other)[close], np.maximum(one, other)[close]
                found.append((one * len(hashes) + other)[one < other])
    return np.stack(np.divmod(np.unique(np.concatenate(found)), max(len(hashes), 1)), axis=1)


def _meetings(
    asking: Int[np.ndarray, " m"],
    keys: Int[np.ndarray, " n"],
    starts: Int[np.ndarray, " ends"],
    order: Int[np.ndarray, " n"],
) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]]:
    """Each of `asking` with everyone in the table under his key, some millions at a time."""
    counts = starts[keys[asking] + 1] - starts[keys[asking]]
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(asking):
        limit = (ends[begin - 1] if begin else 0) + _AT_ONCE
        end = max(begin + 1, int(np.searchsorted(ends, limit, side="right")))
        some, many = asking[begin:end], counts[begin:end]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(some, many), order[np.repeat(starts[keys[some]], many) + within]
        begin = end


def joined(count: int, groups: Iterable[Iterable[int]]) -> list[list[int]]:
    """Groups and pairs that share a member made one, of `count` places; in ascending order."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for group in groups:
        roots = sorted({root(place) for place in group})
        for other in roots[1:]:
            parent[other] = roots[0]
    return sorted(same([root(place) for place in range(count)]))
