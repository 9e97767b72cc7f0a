"""the rollout after every layer -> a contact sheet, and a film: GIF or WebP, by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from vit.explain.draw.files import MARK, Film, write_whole
from vit.explain.draw.overlay import enlarge_picture, panel_size
from vit.explain.draw.scale import Look, Scale, enlarge, lay_over
from vit.explain.draw.sheet import GREY, HEADING, MARGIN, SMALL, TITLE, Sheet

SIDE, FILM_SIDE = 240, 320
GAP = 20
NARROWEST = 216
"""Pixels that a column of the contact sheet has at least, for one line above each map."""

ACROSS = (4, 5, 6)
"""Maps beside each other on the contact sheet: whichever leaves the fewest places empty."""

GREYS = 48
"""Of the 256 colours of a GIF."""

SECONDS, LAST_SECONDS = 0.6, 2.4
"""How long a frame of the film stands, and its last one."""


def draw_growth(
    picture: Image.Image,
    maps: Float[np.ndarray, "layers gh gw"],
    title: str,
    caption: str,
    look: Look | None = None,
    first: int = 0,
) -> Sheet:
    """The picture, then the map after every layer, all in one scale; `first` is the number of the first layer."""
    look, scale = look or Look(), Scale.of([maps])
    size = panel_size(picture.size, maps.shape[1:], SIDE)
    across = max(size[1], NARROWEST) + GAP
    count = min(ACROSS, key=lambda columns: -(len(maps) + 1) % columns)
    sheet = Sheet(2 * MARGIN + count * across - GAP)
    wide = sheet.width - 2 * MARGIN
    saw = enlarge_picture(picture, size)
    top = sheet.text(title, MARGIN, MARGIN, wide, size=TITLE, bold=True) + 12
    panels = [("what the model saw", "", saw)]
    for layer, scores in enumerate(maps, start=first):
        over = lay_over(saw, scale.colours(enlarge(scores, size, look.smooth)), look.opacity)
        panels.append((f"after layer {layer}", _held(scores), over))
    end = top
    for start in range(0, len(panels), count):
        for place, (heading, note, pixels) in enumerate(panels[start : start + count]):
            left = MARGIN + place * across
            below = sheet.text(heading, left, top, across - GAP, size=HEADING, bold=True)
            below = sheet.text(note, left, below, across - GAP, size=SMALL, colour=GREY)
            end = sheet.picture(pixels, left, below + 6)
        top = end + GAP
    end = sheet.bar(scale, MARGIN, top, 400)
    end = sheet.text("share of each patch; one scale for all layers", MARGIN, end, wide, colour=GREY)
    sheet.text(caption, MARGIN, end + 8, wide, colour=GREY)
    return sheet


def film_frames(
    picture: Image.Image, maps: Float[np.ndarray, "layers gh gw"], title: str, look: Look | None = None, first: int = 0
) -> list[Image.Image]:
    """A frame for every layer, the picture at its side, all in one scale and of one size."""
    look, scale = look or Look(), Scale.of([maps])
    size = panel_size(picture.size, maps.shape[1:], FILM_SIDE)
    column = max(size[1], 260)
    saw = enlarge_picture(picture, size)
    frames = []
    for layer, scores in enumerate(maps, start=first):
        sheet = Sheet(2 * MARGIN + 2 * column + GAP)
        wide, right = sheet.width - 2 * MARGIN, MARGIN + column + GAP
        top = sheet.text(title, MARGIN, MARGIN, wide, size=HEADING, bold=True) + 8
        sheet.text("what the model saw, in greys", MARGIN, top, column)
        top = (
            sheet.text(
                f"rollout after layer {layer} ({first} to {first + len(maps) - 1})", right, top, column, bold=True
            )
            + 4
        )
        sheet.picture(np.repeat(saw.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8), MARGIN, top)
        over = lay_over(saw, scale.colours(enlarge(scores, size, look.smooth)), look.opacity)
        end = sheet.bar(scale, right, sheet.picture(over, right, top) + 8, column)
        sheet.text("share of each patch; one scale for all layers", right, end, column, colour=GREY)
        sheet.text(_held(scores), MARGIN, end, column, colour=GREY)
        frames.append(sheet.render())
    return frames


def save_film(frames: Sequence[Image.Image], path: Path, kind: Film) -> None:
    """Write frames as a film that starts again at its end. The last frame, the whole rollout, stands longest.

    A GIF has 256 colours, the same ones in every frame; WebP has all.
    """
    durations = [round(1000 * SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_SECONDS)]
    if kind == "gif":
        palette = _palette(frames)
        frames = [_in_256_colours(frame, palette) for frame in frames]
        options = {"comment": MARK.encode(), "optimize": True}
    else:
        options = {"xmp": MARK.encode(), "quality": 90, "method": 4}
    first, *others = frames
    write_whole(
        path,
        lambda unfinished: first.save(
            unfinished, format=kind, save_all=True, append_images=others, duration=durations, loop=0, **options
        ),
    )


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """256 colours: greys and those of the bar first, which would lose to the many shades of the map otherwise."""
    greys = np.repeat(np.linspace(0, 255, GREYS).astype(np.uint8)[:, None], 3, axis=1)
    ramp = Scale(greatest=1.0).colours(np.linspace(0, 1, GREYS))
    strip = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))
    found = strip.quantize(256 - 2 * GREYS, method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys.ravel().tolist(), *ramp.ravel().tolist(), *found])
    return palette


def _in_256_colours(frame: Image.Image, palette: Image.Image) -> Image.Image:
    """A frame in the colours of the palette; greys exactly, as Pillow finds only nearly the nearest colour."""
    quantized = frame.quantize(palette=palette, dither=Image.Dither.NONE)
    pixels, indices = np.asarray(frame), np.array(quantized)
    grey = (pixels == pixels[..., :1]).all(axis=-1)
    indices[grey] = np.rint(pixels[grey, 0] * ((GREYS - 1) / 255)).astype(np.uint8)
    exact = Image.frombytes("P", frame.size, indices.tobytes())
    exact.putpalette(palette.getpalette() or [])
    return exact


def _held(scores: Float[np.ndarray, "gh gw"]) -> str:
    return f"patches hold {100 * float(scores.sum()):.0f} % together"
