"""a data module -> a picture of its training images as the model gets them, each with what it was made from."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from einops import rearrange
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vit.data.augment import Augmentation
from vit.data.decode import UnreadableImageError
from vit.data.module import ImageDataModule
from vit.data.preprocess import load_image, unnormalise
from vit.lettering import drawable, lettering

COLUMNS = 8
LETTERS = 20
"""Of a label, a line."""
GREY = "0.45"
SMALL = 128
"""Images of fewer pixels a side are enlarged with hard edges."""
EPOCHS = 1000
"""After which an image is no longer waited for."""


@dataclass(frozen=True)
class Sample:
    """A training image as the model gets it."""

    place: int
    """Of the image in the training part."""

    pixels: UInt8[Tensor, "c h w"]
    """Augmented; normalised and back again."""

    target: str
    """Its class, or the shares of the classes that were mixed: cat 0.7 / dog 0.3."""


def batch(data: ImageDataModule) -> list[Sample]:
    """The first training batch, image by image: the one that `vit fit` begins with, if torch has the run's seed."""
    return next(_batches(data, [(0, 0)]))


def readable(data: ImageDataModule, samples: Iterable[Sample], number: int) -> tuple[list[Sample], list[Exception]]:
    """The first so many samples of which the original can be read, and what is wrong with those left out before them.

    In the place of a damaged original training shows another image, which is not what it would be drawn below.

    Raises:
        UnreadableImageError: an original is damaged, and `data.on_error` is error; or there are none but damaged ones.
    """
    kept, errors = list[Sample](), list[Exception]()
    for sample in samples:
        if len(kept) == number:
            break
        try:
            original(data, sample.place)
            kept.append(sample)
        except (UnreadableImageError, FileNotFoundError, PermissionError) as error:
            if data.on_error == "error":
                raise
            errors.append(error)
    if not kept:
        raise UnreadableImageError(f"no image of this batch can be read; the first of them: {errors[0]}")
    return kept, errors


def draws(data: ImageDataModule, place: int, number: int) -> list[Sample]:
    """One training image as the model gets it in one epoch after another.

    Args:
        data: Its training images.
        place: Of the image in the training part.
        number: How often.

    Raises:
        ValueError: there is no such image, or it does not come that often.
        UnreadableImageError: it is damaged.
    """
    if not 0 <= place < len(data.train):
        raise ValueError(f"there is no training image {place}; they are 0 to {len(data.train) - 1}.")
    original(data, place)
    order = data.train_dataloader().order
    comes = (
        (epoch, row)
        for epoch in range(EPOCHS)
        for row in (order.epoch(epoch)[0] == place).any(dim=1).nonzero().flatten().tolist()
    )
    samples = (sample for some in _batches(data, comes) for sample in some if sample.place == place)
    found = list(islice(samples, number))
    if len(found) < number:
        raise ValueError(f"training image {place} comes {len(found)} times in {EPOCHS} epochs; fewer --images work.")
    return found


def figure_of_batch(data: ImageDataModule, samples: Sequence[Sample], title: str) -> Figure:
    """Originals in a row, and below each what became of it, with its label."""
    blocks = -(-len(samples) // COLUMNS)
    figure, axes = _empty(2 * blocks, min(COLUMNS, len(samples)), title)
    with lettering():
        for number, sample in enumerate(samples):
            block, column = divmod(number, COLUMNS)
            above, below = axes[2 * block][column], axes[2 * block + 1][column]
            _show(above, original(data, sample.place), _class_of(data, sample.place), GREY)
            _show(below, sample.pixels, sample.target, "black")
            if column == 0:
                for cell, what, colour in ((above, "original", GREY), (below, "trained on", "black")):
                    cell.text(
                        -0.03,
                        0.5,
                        what,
                        transform=cell.transAxes,
                        rotation=90,
                        ha="right",
                        va="center",
                        fontsize=8,
                        color=colour,
                    )
    return figure


def figure_of_draws(data: ImageDataModule, samples: Sequence[Sample], title: str) -> Figure:
    """One original, and what became of it time and again."""
    place = samples[0].place
    columns = math.ceil(1.4 * math.sqrt(len(samples) + 1))
    figure, axes = _empty(-(-(len(samples) + 1) // columns), columns, title)
    cells = [cell for row in axes for cell in row]
    with lettering():
        _show(cells[0], original(data, place), f"{_class_of(data, place)}, original", GREY)
        for cell, sample in zip(cells[1:], samples, strict=False):
            _show(cell, sample.pixels, sample.target, "black")
    return figure


def original(data: ImageDataModule, place: int) -> UInt8[Tensor, "c h w"]:
    """A training image as validation would see it: resized and cropped in the middle, nothing at random.

    Raises:
        FileNotFoundError, UnreadableImageError: as `read_image`.
    """
    images = data.train.images
    return images[place] if isinstance(images, Tensor) else load_image(images[place], data.preprocessing)


def settings(data: ImageDataModule) -> str:
    """What differs from an augmentation that changes nothing, for a title."""
    plain = Augmentation()
    fields = [field.name for field in dataclasses.fields(plain)]
    changed = {name: getattr(data.augmentation, name) for name in fields}
    changed = {name: value for name, value in changed.items() if value != getattr(plain, name)}
    return ", ".join(f"{name} {_plain(value)}" for name, value in changed.items()) or "no augmentation"


def _batches(data: ImageDataModule, rows: Iterable[tuple[int, int]]) -> Iterator[list[Sample]]:
    """The training batches of some (epoch, number in it), through all that training puts them through."""
    loader = data.train_dataloader()
    for epoch, number in rows:
        loader.load_state_dict({**loader.state_dict(), "epoch": epoch, "batches": number})
        images, targets = data.on_after_batch_transfer(next(iter(loader)), 0)
        places = loader.order.epoch(epoch)[0][number].tolist()
        pixels = unnormalise(images.cpu(), data.preprocessing)
        yield [
            Sample(place, one, _named(target, data.classes))
            for place, one, target in zip(places, pixels, targets.cpu(), strict=True)
        ]
    loader.close()


def _class_of(data: ImageDataModule, place: int) -> str:
    return data.classes[int(data.train.labels[place])]


def _named(target: Tensor, classes: Sequence[str]) -> str:
    """A class, or the greatest shares of several."""
    if target.ndim == 0:
        return classes[int(target)]
    shares, indices = target.topk(min(2, len(target)))
    if shares[0] > 0.995:
        return classes[int(indices[0])]
    return " / ".join(f"{classes[i]} {share:.2g}" for share, i in zip(shares.tolist(), indices.tolist(), strict=True))


def _empty(rows: int, columns: int, title: str) -> tuple[Figure, list[list[Axes]]]:
    """A figure of cells without anything in them."""
    figure = Figure(figsize=(1.55 * columns, 1.85 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    with lettering():
        figure.suptitle("\n".join(textwrap.wrap(drawable(title), 20 * columns)), fontsize=10)
    axes = figure.subplots(rows, columns, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    return figure, axes.tolist()


def _show(cell: Axes, pixels: UInt8[Tensor, "c h w"], label: str, colour: str) -> None:
    small = max(pixels.shape[1:]) < SMALL
    cell.imshow(
        rearrange(pixels, "c h w -> h w c").numpy() if len(pixels) > 1 else pixels[0].numpy(),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest" if small else "antialiased",
    )
    lines = textwrap.wrap(drawable(label), LETTERS)
    cell.text(
        0.5, -0.04, "\n".join(lines[:3]), transform=cell.transAxes, ha="center", va="top", fontsize=8, color=colour
    )


def _plain(value: object) -> str:
    return " to ".join(f"{number:g}" for number in value) if isinstance(value, tuple | list) else str(value)
