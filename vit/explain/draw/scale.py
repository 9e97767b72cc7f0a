"""scores -> colours: which score has which colour, said in numbers, so that a picture can be read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Scores = Float[np.ndarray, "gh gw"]
Pixels = UInt8[np.ndarray, "h w 3"]
Unit = Literal["share", "score"]

SEQUENTIAL = "inferno"
"""Even in lightness, so that it reads in grey and to the colour-blind alike."""

DIVERGING = "RdBu_r"
"""Red for, blue against, white for neither: the two ends differ to the colour-blind too."""


OPACITY = 0.65
"""Of the map where it lies on the picture."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A range of scores and the colours it runs through. It holds every score that it was made of: nothing is clipped.

    Scores that are never negative run from 0 to the greatest; signed ones from minus to plus the greatest size, so that
    0 is the middle.
    """

    greatest: float
    """Score of the last colour."""

    signed: bool = False
    """Whether scores below 0 mean something."""

    unit: Unit = "share"
    """Whether scores are parts of a whole, written in percent, or numbers without a unit."""

    @classmethod
    def of(cls, maps: Iterable[Float[np.ndarray, ...]], *, signed: bool = False, unit: Unit = "share") -> Scale:
        """The scale that just holds these maps.

        Raises:
            ValueError: a score is not a number.
        """
        every = np.concatenate([np.ravel(scores) for scores in maps]).astype(np.float64)
        if not np.isfinite(every).all():
            raise ValueError(f"{(~np.isfinite(every)).sum()} of {every.size} scores are not finite numbers.")
        return cls(greatest=float(np.abs(every).max()), signed=signed or bool((every < 0).any()), unit=unit)

    @property
    def least(self) -> float:
        """Score of the first colour."""
        return -self.greatest if self.signed else 0.0

    def colours(self, scores: Float[np.ndarray, "*axes"]) -> UInt8[np.ndarray, "*axes 3"]:
        """The colour of every score."""
        from matplotlib import colormaps

        reach = self.greatest - self.least
        places = (scores - self.least) / reach if reach else np.zeros_like(scores)
        return colormaps[DIVERGING if self.signed else SEQUENTIAL](places, bytes=True)[..., :3]

    def number(self, score: float) -> str:
        """A score as it is written, to three digits."""
        return f"{100 * score:.3g} %" if self.unit == "share" else f"{score:.3g}"

    def __str__(self) -> str:
        return f"{self.number(self.least)} to {self.number(self.greatest)}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How maps are shown; it changes no score."""

    opacity: float = OPACITY
    """Of the map over the picture, from 0 (only the picture) to 1 (only the map)."""

    smooth: bool = False
    """Whether colours run into each other from patch to patch; else every patch is one even rectangle."""

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity={self.opacity} must be from 0 (only the picture) to 1 (only the map).")


def enlarge(scores: Scores, size: tuple[int, int], smooth: bool = False) -> Float[np.ndarray, "h w"]:
    """A map in (height, width) pixels: each patch one even rectangle, since the model knows no finer place.

    With `smooth`, scores run linearly from the middle of one patch to the next: easier on the eye, and no truer. No
    score is invented beyond those of the patches.
    """
    resampling = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(scores.astype(np.float32)).resize((size[1], size[0]), resampling))


def lay_over(picture: Pixels, colours: Pixels, opacity: float) -> Pixels:
    """Colours over a picture, of which only softened greys are kept.

    Its own colours would be taken for scores, and so would its full contrast, since lightness is what tells scores
    apart. With opacity 0 the picture is as it was.
    """
    grey = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)[..., None]
    soft = 127.5 + (1 - opacity / 2) * (grey - 127.5) if opacity else picture
    return np.rint((1 - opacity) * soft + opacity * colours.astype(np.float32)).astype(np.uint8)
