"""which images two contestants have right, seed by seed -> how much better one is, and within what limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two accuracies, in points of 100: how much higher the first is."""

    points: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    seeds: int
    images: int
    only_first: float
    """Images that the first alone has right, on average over the seeds."""
    only_second: float

    @property
    def is_clear(self) -> bool:
        """Whether chance alone would rarely make so much of nothing: the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def difference(first: Bool[np.ndarray, "seeds images"], second: Bool[np.ndarray, "seeds images"]) -> Difference:
    """How much more often the first is right, where both are asked about the same images after the same start.

    Pairs say more than two intervals side by side: what is hard for both, or a start that is lucky for both, cancels.
    With several seeds the interval is that for other seeds and other images of the same kind: seeds and images are
    crossed random effects (Searle, Casella & McCulloch 1992, chapter 4), with Satterthwaite's (1946) degrees of
    freedom. With one seed only the images are other ones; nothing is known of the seeds then. In both cases two images
    are added that one contestant each has right, after Bonett & Price (2012), without which no interval would be left
    where the two hardly differ; for one seed this is their interval.
    """
    gained = first.astype(float) - second
    seeds, images = gained.shape
    padded = np.concatenate([gained, np.full((seeds, 1), 1.0), np.full((seeds, 1), -1.0)], axis=1)
    centre, half = padded.mean(), _half_width(padded)
    return Difference(
        points=100 * float(gained.mean()),
        low=100 * max(float(centre - half), -1.0),
        high=100 * min(float(centre + half), 1.0),
        seeds=seeds,
        images=images,
        only_first=float((gained > 0).sum() / seeds),
        only_second=float((gained < 0).sum() / seeds),
    )


def _half_width(gained: np.ndarray) -> float:
    """Half the 95 % interval of the mean of a table whose rows and columns are both drawn at random."""
    from scipy.stats import t

    seeds, images = gained.shape
    of_image, of_seed = gained.mean(axis=0), gained.mean(axis=1, keepdims=True)
    if seeds == 1:
        return 1.959964 * math.sqrt(of_image.var() / images)
    rest = gained - of_image - of_seed + gained.mean()
    # mean squares of the table, and their degrees of freedom
    between_seeds, df_seeds = images * of_seed.var(ddof=1), seeds - 1
    between_images, df_images = seeds * of_image.var(ddof=1), images - 1
    within, df_within = (rest**2).sum() / (df_seeds * df_images), df_seeds * df_images
    # both hold what is within; it is taken off once, but never more than there is
    variance = max(between_seeds + between_images - within, between_seeds, between_images)
    parts = between_seeds**2 / df_seeds + between_images**2 / df_images + within**2 / df_within
    return float(t.ppf(0.975, variance**2 / parts) * math.sqrt(variance / gained.size))
