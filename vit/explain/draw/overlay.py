"""picture + maps -> a sheet to look at: the picture as the model saw it, and every map over it with its scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit.explain.draw.scale import Look, Pixels, Scale, Scores, enlarge, lay_over
from vit.explain.draw.sheet import GREY, HEADING, MARGIN, SMALL, TITLE, Sheet

HARD = 128
"""Pictures of fewer pixels a side are enlarged pixel by pixel, never blurred."""

SIDE = 400
"""Pixels, nearly, of the longer side of a picture on the sheet."""

NARROWEST = 240
"""Pixels that a column has at least, for what is written above and below the picture."""

GAP = 28

OWN = "own scale"
"""What is said of a scale that no other map has."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """One map of one image, and what has to be said about it."""

    scores: Float[Tensor, "gh gw"]
    method: str
    """In a word or two."""

    target: str
    """The class that it explains, as people read it; for a map that is the same for every class, it is not shown."""

    class_specific: bool
    scale: Scale
    scope: str = OWN
    """Which maps have the same colours."""

    @property
    def numbers(self) -> Scores:
        """The scores, as numpy has them."""
        return self.scores.float().cpu().numpy()

    @property
    def concerns(self) -> str:
        """What the map is about, as it is written under its method's name."""
        return f"for {self.target}" if self.class_specific else "the same for every class"

    @property
    def range(self) -> str:
        """What stands under the colour bar."""
        what = "share of each patch" if self.scale.unit == "share" else "score of each patch"
        if self.scale.greatest and not self.scores.any():  # the bar shows the colours of other maps
            what += ", 0 everywhere"
        return f"{what}; {self.scope}"


def draw(
    picture: Image.Image, rows: Sequence[Sequence[Map]], title: str, caption: str, look: Look | None = None
) -> Sheet:
    """The picture, and beside it every map over it; a map that is the only one is shown alone as well.

    Args:
        picture: As the model saw it.
        rows: Maps of this picture, row by row.
        title: Above: what the model predicts.
        caption: Below: which methods, and what the scores mean.
        look: How maps are shown.
    """
    look = look or Look()
    only = rows[0][0] if sum(map(len, rows)) == 1 else None
    columns = 3 if only else 1 + max(map(len, rows))
    size = panel_size(picture.size, rows[0][0].numbers.shape, SIDE if columns <= 4 else 3 * SIDE // 4)
    column = max(size[1], NARROWEST)
    sheet = Sheet(2 * MARGIN + columns * column + (columns - 1) * GAP)
    saw = enlarge_picture(picture, size)
    top = sheet.text(title, MARGIN, MARGIN, sheet.width - 2 * MARGIN, size=TITLE, bold=True) + 12
    for number, maps in enumerate(rows):
        row = _Row(sheet, top, column, size)
        if number == 0:
            row.add("what the model saw", "", saw)
        for place, one in enumerate(maps, start=1):
            over = lay_over(saw, one.scale.colours(enlarge(one.numbers, size, look.smooth)), look.opacity)
            row.add(one.method, one.concerns, over, place=place)
        if only:
            alone = only.scale.colours(enlarge(only.numbers, size, look.smooth))
            row.add("the map alone", "", alone, place=2)
            row.bar(only, place=2)
        else:
            for place, one in enumerate(maps, start=1):
                row.bar(one, place)
        top = row.finish() + GAP
    sheet.text(caption, MARGIN, top - GAP + 16, sheet.width - 2 * MARGIN, colour=GREY)
    return sheet


class _Row:
    """Pictures side by side, with headings above that may have several lines; they start at one height."""

    def __init__(self, sheet: Sheet, top: int, column: int, size: tuple[int, int]) -> None:
        self.sheet, self.top, self.column, self.size = sheet, top, column, size
        self.pictures: list[tuple[Pixels, int]] = []
        self.bars: list[tuple[Map, int]] = []
        self.under = top

    def add(self, heading: str, note: str, pixels: Pixels, place: int = 0) -> None:
        """A picture with its heading, in a column."""
        bottom = self.sheet.text(heading, self._left(place), self.top, self.column, size=HEADING, bold=True)
        if note:
            bottom = self.sheet.text(note, self._left(place), bottom, self.column, size=SMALL, colour=GREY)
        self.under = max(self.under, bottom)
        self.pictures.append((pixels, place))

    def bar(self, one: Map, place: int) -> None:
        """The scale of a map, under the picture of a column."""
        self.bars.append((one, place))

    def finish(self) -> int:
        """Lay everything down, now that the height of the headings is known; returns where the row ends."""
        ends = [self.sheet.picture(pixels, self._left(place), self.under + 8) for pixels, place in self.pictures]
        end = max(ends)
        for one, place in self.bars:
            bottom = self.sheet.bar(one.scale, self._left(place), max(ends) + 10, max(self.size[1], NARROWEST))
            end = max(end, self.sheet.text(one.range, self._left(place), bottom, self.column, colour=GREY))
        return end

    def _left(self, place: int) -> int:
        return MARGIN + place * (self.column + GAP)


def panel_size(picture: tuple[int, int], grid: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width on the sheet: near `side`, and every patch a whole number of pixels.

    Args:
        picture: Width and height in pixels, as Pillow has them.
        grid: Rows and columns of patches.
        side: About how long the longer side should be.
    """
    width, height = picture
    scale = side / max(picture)
    if max(picture) < HARD:
        scale = max(1, round(scale))  # every pixel, too
    gh, gw = grid
    return gh * max(1, round(height / gh * scale)), gw * max(1, round(width / gw * scale))


def enlarge_picture(picture: Image.Image, size: tuple[int, int]) -> Pixels:
    """The picture in (height, width) pixels and in colour; a small one keeps its pixels as squares."""
    resampling = Image.Resampling.NEAREST if max(picture.size) < HARD else Image.Resampling.LANCZOS
    return np.asarray(picture.convert("RGB").resize((size[1], size[0]), resampling))
