"""picture + map -> a figure to look at: the picture as the model saw it, and the map over it."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

COLOURS = "inferno"
"""Even in lightness, so that it reads in grey and to the colour-blind alike."""

OPACITY = 0.6
"""Of the map where it lies on the picture."""


def draw(picture: Image.Image, heat: Float[Tensor, "gh gw"], title: str, caption: str) -> Figure:
    """The picture beside itself under the map. Colours run from 0 to the greatest share; the bar gives the numbers.

    A small picture is enlarged pixel by pixel, never blurred, and each patch is one even square, since the model knows
    no finer place.

    Args:
        picture: As the model saw it.
        heat: Share of each patch.
        title: Above: what the model predicts.
        caption: Below: which method, and what the colours mean.
    """
    shares = heat.float().cpu().numpy()
    grey = np.asarray(picture.convert("L"))
    extent = (0, picture.width, picture.height, 0)
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    smooth = "nearest" if max(picture.size) < 128 else "antialiased"
    left.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=extent)
    left.set_title("what the model saw", fontsize=9)
    right.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=extent)
    mapped = right.imshow(
        shares, cmap=COLOURS, vmin=0, vmax=shares.max(), alpha=OPACITY, interpolation="nearest", extent=extent
    )
    right.set_title("what it attended to", fontsize=9)
    bar = figure.colorbar(mapped, ax=right, fraction=0.046, pad=0.03)
    bar.solids.set_alpha(1)  # pyright: ignore[reportOptionalMemberAccess]
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.{_decimals(shares.max())}f} %")
    bar.ax.tick_params(labelsize=8)
    for axes in (left, right):
        axes.set_axis_off()
    figure.suptitle(title, fontsize=13, fontweight="bold")
    figure.supxlabel(caption, fontsize=7.5, color="0.35")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write it as PNG; an unfinished file never bears the name."""
    unfinished = path.with_name(f"{path.name}.tmp")
    figure.savefig(unfinished, dpi=120, format="png")
    unfinished.replace(path)


def _decimals(greatest: float) -> int:
    """Decimals that tell ticks of percentages up to `greatest` apart."""
    return max(0, 1 - math.floor(math.log10(max(100 * greatest, 1e-6))))
