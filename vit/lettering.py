"""names of classes and files -> text that a picture can show: any script, or its code points, never empty boxes."""

from __future__ import annotations

import functools
import unicodedata
from contextlib import AbstractContextManager

WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Nirmala UI",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Segoe UI Symbol",
)
"""Fonts for what matplotlib's own lacks, by their names on Linux, Windows and macOS; those that are installed help."""


def lettering() -> AbstractContextManager[None]:
    """While a figure is made: fonts for as many scripts as are installed, and a dollar sign is a dollar sign."""
    import matplotlib as mpl

    return mpl.rc_context({"font.family": fonts(), "text.parse_math": False})


def drawable(text: str) -> str:
    r"""Text as far as the fonts have it; of other characters the code points: \u732b for a cat where no font has it."""
    known = _characters()
    return "".join(character if ord(character) in known else _code_point(character) for character in text)


def _code_point(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


@functools.cache
def fonts() -> list[str]:
    """The font that matplotlib brings, then those installed that have more."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]


@functools.cache
def _characters() -> frozenset[int]:
    """All that can be drawn, in upright and in bold; control characters cannot."""
    from matplotlib import font_manager

    found = set[int]()
    for name in fonts():
        path = font_manager.findfont(font_manager.FontProperties(family=name))
        found |= font_manager.get_font(path).get_charmap().keys()
    return frozenset(number for number in found if not unicodedata.category(chr(number)).startswith("C"))
