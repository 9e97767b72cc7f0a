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

OPACITY = 0.55
"""Of the map where it lies on the picture."""

SMALL = 128
"""Pictures of fewer pixels a side are enlarged with hard edges."""


def draw(picture: Image.Image, heat: Float[Tensor, "gh gw"], title: str, caption: str) -> Figure:
    """The picture, the map over it, and the map alone; colours run from 0 to the greatest share, as the bar says.

    A small picture is enlarged pixel by pixel, never blurred, and each patch is one even rectangle, since the model
    knows no finer place.

    Args:
        picture: As the model saw it.
        heat: Share of each patch.
        title: Above: what the model predicts.
        caption: Below: which method, and what the colours mean.
    """
    shares = heat.float().cpu().numpy()
    greatest = float(shares.max())
    whole = {"extent": (0, picture.width, picture.height, 0)}
    coloured = {"cmap": COLOURS, "vmin": 0, "vmax": greatest, "interpolation": "nearest", **whole}
    enlarged = {"interpolation": "nearest" if max(picture.size) < SMALL else "antialiased", **whole}
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    saw, over, alone = figure.subplots(1, 3)
    saw.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, **enlarged)
    over.imshow(np.asarray(picture.convert("L")), cmap="gray", vmin=0, vmax=255, **enlarged)
    over.imshow(shares, alpha=OPACITY, **coloured)
    mapped = alone.imshow(shares, **coloured)
    for axes, name in ((saw, "what the model saw"), (over, "what it attended to"), (alone, "attention of each patch")):
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    bar = figure.colorbar(mapped, ax=alone, fraction=0.046, pad=0.03)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.{_decimals(greatest)}f} %")
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=14, fontweight="bold")
    figure.supxlabel(caption, fontsize=8, color="0.35")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write it as PNG, in a folder that is made where needed; an unfinished file never bears the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    figure.savefig(unfinished, dpi=120, format="png", bbox_inches="tight", pad_inches=0.1)
    unfinished.replace(path)


def _decimals(greatest: float) -> int:
    """Decimals that tell ticks of percentages up to `greatest` apart."""
    return max(0, 1 - math.floor(math.log10(max(100 * greatest, 1e-6))))
