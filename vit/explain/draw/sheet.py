"""A sheet of paper, measured in pixels: pictures, colour bars and text at exact places, so that edges stay sharp.

Pictures are laid down pixel by pixel, never resampled by the drawing library, and a text that is too long is broken
into lines and never cut.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from vit.explain.draw.files import save_png
from vit.explain.draw.scale import Pixels, Scale
from vit.lettering import drawable, fonts

DPI = 100
MARGIN = 24
INK, GREY = "#1a1a1a", "#595959"
TITLE, HEADING, SMALL = 24, 17, 14
"""Heights of type in pixels."""

Align = Literal["left", "centre", "right"]


class Sheet:
    """White paper that grows downwards as things are laid on it. Places are pixels from the upper left corner."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.height = MARGIN
        self._marks: list[Callable[[Figure], object]] = []

    def picture(self, pixels: Pixels, left: int, top: int) -> int:
        """Lay down a picture as it is; returns where it ends."""
        bottom = top + pixels.shape[0]
        self._marks.append(lambda figure: figure.figimage(pixels, xo=left, yo=self.height - bottom, origin="upper"))
        return self._grown(bottom)

    def text(
        self,
        words: str,
        left: int,
        top: int,
        width: int,
        *,
        size: int = SMALL,
        align: Align = "left",
        bold: bool = False,
        colour: str = INK,
    ) -> int:
        """Write words into a column, broken into lines; returns where they end."""
        column = {"left": left, "centre": left + width // 2, "right": left + width}[align]
        lines = wrapped(words, width, size, bold)
        for number, line in enumerate(lines):
            self._line(line, column, top + number * line_height(size) + size, size, align, bold, colour)
        return self._grown(top + len(lines) * line_height(size))

    def bar(self, scale: Scale, left: int, top: int, width: int) -> int:
        """The colours of a scale from its least score to its greatest, with numbers; returns where it ends.

        Where every score is 0, there are no colours to tell apart, and that is said instead.
        """
        if scale.greatest == 0:
            return self.text("0 everywhere", left, top, width)
        ramp = scale.colours(np.linspace(scale.least, scale.greatest, width))
        bottom = self.picture(np.repeat(ramp[None], 12, axis=0), left, top)
        numbers = (scale.least, (scale.least + scale.greatest) / 2, scale.greatest)
        ends = [
            self.text(scale.number(score), left, bottom + 3, width, align=align)
            for score, align in zip(numbers, ("left", "centre", "right"), strict=True)
        ]
        return max(ends)

    def plot(self, left: int, top: int, width: int, height: int, draw: Callable[[Axes], None]) -> int:
        """Let `draw` fill axes with their frame at a place, and labels around it; returns where the frame ends."""
        bottom = top + height
        self._marks.append(
            lambda figure: draw(
                figure.add_axes((left / self.width, 1 - bottom / self.height, width / self.width, height / self.height))
            )
        )
        return self._grown(bottom)

    def render(self) -> Image.Image:
        """The sheet with everything on it."""
        figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        for mark in self._marks:
            mark(figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    def save(self, path: Path) -> None:
        """Write it as PNG, in a folder that is made where needed; an unfinished file never bears the name."""
        save_png(self.render(), path)

    def _line(self, line: str, column: int, baseline: int, size: int, align: Align, bold: bool, colour: str) -> None:
        self._marks.append(
            lambda figure: figure.text(
                column / self.width,
                1 - baseline / self.height,
                line,
                fontfamily=fonts(),
                fontsize=points(size),
                fontweight="bold" if bold else "normal",
                color=colour,
                ha="center" if align == "centre" else align,
                va="baseline",
                parse_math=False,  # a class may be called $5
            )
        )

    def _grown(self, bottom: int) -> int:
        self.height = max(self.height, bottom + MARGIN)
        return bottom


def line_height(size: int) -> int:
    """Pixels from one line of type to the next."""
    return round(1.35 * size)


def wrapped(words: str, width: int, size: int, bold: bool = False) -> list[str]:
    """Lines that fit the width; a word that is wider than a line is broken, and line ends of the text are kept."""
    lines: list[str] = []
    for paragraph in words.split("\n"):
        line = ""
        for word in drawable(paragraph).split(" "):
            joined = f"{line} {word}" if line else word
            if text_width(joined, size, bold) <= width:
                line = joined
                continue
            lines += [line] if line else []
            *whole, line = _broken(word, width, size, bold)
            lines += whole
        lines.append(line)
    return lines


def text_width(words: str, size: int, bold: bool = False) -> float:
    """Pixels that words take on one line."""
    font = FontProperties(family=fonts(), size=points(size), weight="bold" if bold else "normal")
    return _renderer().get_text_width_height_descent(words, font, ismath=False)[0]


def points(size: int) -> float:
    """A height of type in the unit of the drawing library."""
    return size * 72 / DPI


def _broken(word: str, width: int, size: int, bold: bool) -> list[str]:
    parts = [""]
    for letter in word:
        if parts[-1] and text_width(parts[-1] + letter, size, bold) > width:
            parts.append("")
        parts[-1] += letter
    return parts


@cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)
