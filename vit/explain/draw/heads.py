"""what every head looks at -> a contact sheet: layers from left to right, heads from top to bottom."""

from __future__ import annotations

import numpy as np
from einops import reduce
from jaxtyping import Float
from PIL import Image

from vit.explain.draw.overlay import enlarge_picture, panel_size
from vit.explain.draw.scale import Scale, enlarge
from vit.explain.draw.sheet import GREY, MARGIN, SMALL, TITLE, Sheet, line_height

SIDES = (84, 160)
"""Pixels of the longer side of a map: at least, however many layers there are, and at most."""

WIDTH = 1300
"""Pixels that the sheet takes, as long as maps do not become too small or too large for it."""

GAP = 8


def draw_heads(
    picture: Image.Image,
    maps: Float[np.ndarray, "layers heads gh gw"],
    title: str,
    caption: str,
    *,
    shared_scale: bool = False,
) -> Sheet:
    """All heads of all layers, and below them their mean.

    Each map has its own scale, from 0 to the number that stands under it, unless `shared_scale` gives all of them one:
    then colours can be compared, and heads that look everywhere stay dark.
    """
    layers, heads = maps.shape[:2]
    rows = np.concatenate([maps, reduce(maps, "layers heads gh gw -> layers 1 gh gw", "mean")], axis=1)
    side = min(max((WIDTH - 2 * MARGIN) // (layers + 1) - GAP, SIDES[0]), SIDES[1])
    size = panel_size(picture.size, maps.shape[2:], side)
    across, down = max(size[1], 64) + GAP, size[0] + line_height(SMALL) + GAP
    sheet = Sheet(max(2 * MARGIN + (layers + 1) * across - GAP, 640))
    wide = sheet.width - 2 * MARGIN
    top = sheet.text(title, MARGIN, MARGIN, wide, size=TITLE, bold=True)
    top = sheet.text(caption, MARGIN, top + 4, wide, colour=GREY) + 16
    sheet.picture(enlarge_picture(picture, size), MARGIN, top)
    for layer in range(layers):
        name = f"layer {layer}" if layer == 0 else str(layer)
        above = top + size[0] - line_height(SMALL)
        sheet.text(name, MARGIN + (layer + 1) * across, above, size[1], align="centre", bold=True)
    common = Scale.of([maps])
    top += size[0] + GAP
    for head in range(heads + 1):
        name = "mean" if head == heads else f"head {head}"
        middle = top + size[0] // 2 - line_height(SMALL) // 2
        sheet.text(name, MARGIN, middle, across - 2 * GAP, align="right", bold=True)
        for layer in range(layers):
            scores = rows[layer, head]
            left = MARGIN + (layer + 1) * across
            scale = common if shared_scale else Scale.of([scores])
            bottom = sheet.picture(scale.colours(enlarge(scores, size)), left, top)
            greatest = scale.number(float(scores.max()))
            sheet.text(greatest, left, bottom + 1, size[1], align="centre", colour=GREY)
        top += down
    if shared_scale:
        end = sheet.bar(common, MARGIN + across, top + GAP, 400)
        sheet.text("share of each patch; one scale for all heads and layers", MARGIN + across, end, wide, colour=GREY)
    return sheet
