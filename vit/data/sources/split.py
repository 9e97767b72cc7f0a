"""labelled images -> two parts, or fewer images: every class in its share, the same images for the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from vit.data.sources.classes import check_classes
from vit.data.sources.labelled import Labelled, Source


def stratified_split(
    all_of_it: Labelled, fraction: float, seed: int, setting: str = "data.val_fraction"
) -> tuple[Labelled, Labelled]:
    """Set apart a share of every class, the same images for the same seed; both parts in the original order.

    Classes are in proportion to the nearest image, so that a class of which the share is less than one image may have
    none in the part set apart: `without_images` says so.

    Args:
        all_of_it: What is divided.
        fraction: Share to set apart.
        seed: Which images these are.
        setting: What a message calls the fraction.

    Raises:
        ValueError: a class has one image, fewer images are set apart than there are classes, or a class keeps none.
    """
    from sklearn.model_selection import train_test_split

    labels = all_of_it.labels.numpy()
    counts = all_of_it.labels.bincount()
    fewest, classes = int(counts.min()), len(all_of_it.labels.unique())
    if fewest < 2:
        cure = "add images to the smallest class or leave it out"
    elif fraction * len(labels) < classes:
        cure = f"{setting}={math.ceil(100 * classes / len(labels)) / 100:g} is the least for {classes} classes"
    elif (1 - fraction) * len(labels) < classes:
        cure = f"lower {setting}"
    else:
        kept, apart = train_test_split(range(len(labels)), test_size=fraction, random_state=seed, stratify=labels)
        if len(all_of_it.labels[kept].unique()) == classes:
            return all_of_it.take(torch.tensor(sorted(kept))), all_of_it.take(torch.tensor(sorted(apart)))
        cure = f"add images to the smallest class or lower {setting}"
    raise ValueError(
        f"setting {fraction:g} of {len(labels)} images apart leaves some class with none, the smallest has {fewest}; "
        f"{cure}, or give the data that part of its own."
    )


def without_images(part: Labelled, classes: Sequence[str], where: str) -> tuple[str, ...]:
    """A note about the classes of which a part that was split off has no image."""
    return check_classes(classes, {classes[int(label)] for label in part.labels.tolist()}, where)


def with_test_apart(source: Source, fraction: float) -> Source:
    """The source with a share of every class taken from its training part for testing, always the same images.

    Raises:
        ValueError: it has a test part already, or the share is none.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"data.test_fraction={fraction} must be above 0 and below 1; 0.2 is usual.")
    if source.test is not None:
        raise ValueError(f"data.test_fraction={fraction} has nothing to do: the data has a test part of its own.")
    train, test = stratified_split(source.train, fraction, seed=0, setting="data.test_fraction")
    notes = without_images(test, source.classes, "the test part, split from train,")
    return replace(source, train=train, test=test, notes=source.notes + notes)


def share_of_each_class(part: Labelled, fraction: float, seed: int) -> Labelled:
    """A share of every class, at least one image of each, in the original order.

    Of the same seed, a smaller share is contained in a larger one, so that learning curves add images and swap none.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"data.fraction={fraction} must be above 0 and at most 1; 0.1 is a tenth of every class.")
    return _first_of_each_class(part, seed, lambda size: max(1, round(fraction * size)))


def some_of_each_class(part: Labelled, number: int, seed: int, classes: Sequence[str]) -> Labelled:
    """The same number of images of every class, in the original order; fewer are contained in more, as above.

    Raises:
        ValueError: a class has fewer; the message names the smallest.
    """
    if number < 1:
        raise ValueError(f"data.per_class={number} must be at least 1.")
    sizes = torch.bincount(part.labels, minlength=len(classes))
    if int(sizes.min()) < number:
        smallest = int(sizes.argmin())
        raise ValueError(
            f"data.per_class={number} is more than the {int(sizes.min())} training images of class "
            f"{classes[smallest]!r}; {int(sizes.min())} is the most that every class has."
        )
    return _first_of_each_class(part, seed, lambda size: number)


def _first_of_each_class(part: Labelled, seed: int, wanted: Callable[[int], int]) -> Labelled:
    """The first images of each class in a shuffled order that depends on the seed and the class alone."""
    labels = part.labels.numpy()
    kept = [
        np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))[: wanted(size)]
        for label, size in enumerate(np.bincount(labels).tolist())
        if size
    ]
    return part.take(torch.from_numpy(np.sort(np.concatenate(kept))))
