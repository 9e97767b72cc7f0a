"""model -> one page about its inside: positions, filters, and what its heads do; what it does not have is said."""

from __future__ import annotations

import math

import numpy as np
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from torch import Tensor

from vit.explain.draw.scale import Pixels, Scale
from vit.explain.draw.sheet import GREY, HEADING, INK, MARGIN, SMALL, TITLE, Sheet, points
from vit.explain.xray import Filters, Heads, patch_filters, position_similarity
from vit.nn import ViT

HALF = 560
"""Pixels of a column; the page has two."""

GAP = 56
PLOT = (330, 230)
MOST_POSITIONS = 16
"""Positions shown in a row; of a finer grid, some are left out."""

DOTS = "#c2410c"


def draw_xray(model: ViT, heads: Heads, title: str, caption: str) -> Sheet:
    """The page: positions and filters above, statistics of the heads below, layer 0 nearest the image."""
    sheet = Sheet(2 * MARGIN + 2 * HALF + GAP)
    wide, right = sheet.width - 2 * MARGIN, MARGIN + HALF + GAP
    top = sheet.text(title, MARGIN, MARGIN, wide, size=TITLE, bold=True)
    top = sheet.text(caption, MARGIN, top + 2, wide, colour=GREY) + 24
    ends = (_positions(sheet, model, MARGIN, top), _filters(sheet, model, right, top))
    _heads(sheet, heads, max(ends) + 36, model)
    return sheet


def _positions(sheet: Sheet, model: ViT, left: int, top: int) -> int:
    top = sheet.text("positions", left, top, HALF, size=HEADING, bold=True)
    similarity = position_similarity(model)
    if similarity is None:
        reason = "it turns queries and keys instead" if model.config.rotary else "it knows no places at all"
        return sheet.text(f"Left out: this model adds no position to its tokens; {reason}.", left, top, HALF)
    shown, step = _thinned(similarity)
    which = "each position" if step == 1 else f"the positions of every {_ordinal(step)} row and column"
    top = sheet.text(
        f"A tile for {which}, laid out as in the picture: cosine similarity of its vector with all others."
        + (" They are fixed sines and cosines." if model.config.positions == "sincos2d" else ""),
        left,
        top,
        HALF,
        colour=GREY,
    )
    scale = Scale(greatest=1.0, signed=True, unit="score")
    end = sheet.picture(_tile_colours(shown, scale), left, top + 8)
    return sheet.bar(scale, left, end + 10, 260)


def _filters(sheet: Sheet, model: ViT, left: int, top: int) -> int:
    top = sheet.text("patch filters", left, top, HALF, size=HEADING, bold=True)
    channels = model.config.in_channels
    if channels not in (1, 3):
        return sheet.text(f"Left out: {channels} channels are neither grey nor RGB.", left, top, HALF)
    filters = patch_filters(model)
    count = len(filters.components)
    top = sheet.text(
        f"The first {count} principal components of the {model.config.embed_dim} filters, in "
        f"{'RGB' if channels == 3 else 'grey (the model has one channel)'}; they hold "
        f"{100 * filters.explained:.0f} % of the variance. Mid-grey is 0, and each has its own range.",
        left,
        top,
        HALF,
        colour=GREY,
    )
    return sheet.picture(filter_tiles(filters), left, top + 8)


def _heads(sheet: Sheet, heads: Heads, top: int, model: ViT) -> None:
    num_images = f"{heads.num_images} image{'s' * (heads.num_images != 1)}"
    top = sheet.text("attention heads", MARGIN, top, sheet.width - 2 * MARGIN, size=HEADING, bold=True)
    top = sheet.text(
        f"A dot is a head, the line is the mean of a layer; means over {num_images} and all queries. Dashed: what "
        "attention spread evenly would give.",
        MARGIN,
        top,
        sheet.width - 2 * MARGIN,
        colour=GREY,
    )
    num_prefix, num_tokens = model.config.num_prefix_tokens, round(2**heads.even_entropy)
    prefix = "class token" if num_prefix == model.config.class_token == 1 else f"{num_prefix} prefix tokens"
    panels = (
        ("how far patches look, in pixels", heads.distance, heads.even_distance, None),
        ("how widely tokens look: entropy, in bits", heads.entropy, heads.even_entropy, None),
        (f"what patches give the {prefix}, in %", 100 * heads.prefix_share, 100 * num_prefix / num_tokens, 100.0),
    )
    across = (sheet.width - 2 * MARGIN) // 3
    for place, (name, values, even, most) in enumerate(panels):
        left = MARGIN + place * across
        if place == 2 and num_prefix == 0:
            below = sheet.text("what patches give prefix tokens", left, top + 14, across - 20, size=SMALL, bold=True)
            sheet.text("Left out: this model has none.", left, below, across - 20)
        else:
            below = sheet.text(name, left, top + 14, across - 20, size=SMALL, bold=True)
            end = sheet.plot(left + 40, below + 8, *PLOT, draw=_dots(values, even, most))
            sheet.text("layer", left + 40, end + 24, PLOT[0], align="centre", colour=GREY)


def _dots(values: Float[Tensor, "layers heads"], even: float, most: float | None):
    """What draws one value of all heads, layer by layer."""

    def draw(axes: Axes) -> None:
        layers = np.arange(len(values))
        axes.axhline(even, color="0.5", linestyle="--", linewidth=1)
        axes.scatter(np.repeat(layers, values.shape[1]), values.flatten(), s=22, color=DOTS, alpha=0.65, linewidths=0)
        axes.plot(layers, values.mean(dim=1), color=INK, linewidth=1.5)
        axes.set_ylim(0, most or 1.08 * max(even, float(values.max())))
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xticks(layers[:: max(1, math.ceil(len(values) / 12))])
        axes.tick_params(labelsize=points(SMALL), length=3, color="0.6")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("0.6")

    return draw


def filter_tiles(filters: Filters) -> Pixels:
    """Filters side by side, seven in a row, each pixel a square; 0 is mid-grey and the largest size black or white."""
    components = filters.components.numpy()
    count, channels = components.shape[:2]
    reach = reduce(np.abs(components), "count c ph pw -> count 1 1 1", "max")
    shades = np.rint(127.5 + 127.5 * components / np.maximum(reach, np.finfo(np.float32).tiny)).astype(np.uint8)
    if channels == 1:
        shades = np.repeat(shades, 3, axis=1)
    tiles = rearrange(shades, "count c ph pw -> count ph pw c")
    return _montage(tiles, columns=min(7, count))


def _tile_colours(similarity: Float[np.ndarray, "rows columns gh gw"], scale: Scale) -> Pixels:
    tiles = rearrange(scale.colours(similarity), "rows columns gh gw c -> (rows columns) gh gw c")
    return _montage(tiles, columns=similarity.shape[1], gap=3, paper=64)  # white is a colour of the scale


def _montage(
    tiles: UInt8[np.ndarray, "count th tw 3"], columns: int, gap: int = 4, paper: int = 255
) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles in rows, with paper between, each enlarged by the whole number that lets all fit a square in a column."""
    rows = -(-len(tiles) // columns)
    times = max(1, min((HALF // columns - gap) // tiles.shape[2], (HALF // rows - gap) // tiles.shape[1]))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    missing = -len(tiles) % columns
    tiles = np.pad(tiles, ((0, missing), (0, gap), (0, gap), (0, 0)), constant_values=paper)
    if missing:
        tiles[-missing:] = paper
    return rearrange(tiles, "(rows columns) h w c -> (rows h) (columns w) c", columns=columns)[:-gap, :-gap]


def _thinned(similarity: Float[Tensor, "gh gw gh gw"]) -> tuple[Float[np.ndarray, "rows columns gh gw"], int]:
    """As many positions as can be shown, evenly spaced, and of how many each is one."""
    rows, columns = similarity.shape[:2]
    most = min(MOST_POSITIONS, max(1, HALF // (columns + 3)))
    step = max(math.ceil(rows / MOST_POSITIONS), math.ceil(columns / most))
    first_row, first_column = (min(step // 2, (length - 1) // 2) for length in (rows, columns))
    return similarity[first_row::step, first_column::step].numpy(), step


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
