"""image files -> names of what is drawn of them: no two alike, and nobody's file is overwritten but our own."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from PIL import Image, PngImagePlugin

Film = Literal["gif", "webp"]
"""Forms of a film: GIF opens anywhere, WebP has all colours."""

MARK = "made by vit explain (plain-vit)"
"""Stands in every file that is drawn, by which it is known again and may be replaced."""


def stems(paths: Sequence[str]) -> dict[str, str]:
    """A name for each image: its own, with its folder in front where another has it too, and a number if need be."""
    names: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        given = Path(path)
        alone = sum(Path(other).stem == given.stem for other in set(paths)) == 1
        stem = given.stem if alone else "-".join([*given.parent.parts[-1:], given.name.replace(".", "-")])
        free = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        names[path] = next(name for name in free if name not in names.values())
    return names


def is_ours(path: Path) -> bool:
    """Whether a file was written here: pictures and pages bear a mark, and an array's lies beside it."""
    marked = path.with_suffix(".json") if path.suffix == ".npy" else path
    return marked.is_file() and MARK.encode() in marked.read_bytes()


def without_ours(paths: Iterable[str]) -> list[str]:
    """Images without those that were drawn here, into whatever folder: they explain, and are not to be explained."""
    return [path for path in paths if not (Path(path).suffix in PICTURES and _is_readable_and_ours(Path(path)))]


def _is_readable_and_ours(path: Path) -> bool:
    try:
        return is_ours(path)
    except OSError:  # it is named when its turn comes
        return False


def require_free(paths: Iterable[Path]) -> None:
    """Raise a `ValueError` if there is something that was not written here; earlier pictures of ours are replaced."""
    for path in paths:
        if path.exists() and not is_ours(path):
            raise ValueError(f"{path} is there already and was not drawn by vit explain; name another --output.")


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG that bears our mark; an unfinished file never bears the name."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", MARK)
    write_whole(path, lambda unfinished: picture.save(unfinished, format="png", pnginfo=notes))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under another name, and give it its own when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def save_array(numbers: Shaped[np.ndarray, ...], path: Path, about: Mapping[str, Any]) -> None:
    """Write an array as .npy, and what it is as .json beside it."""
    described = {"made": MARK, "shape": list(numbers.shape), **about}
    text = json.dumps(described, indent=1, ensure_ascii=False)
    write_whole(path.with_suffix(".json"), lambda unfinished: unfinished.write_text(text + "\n", encoding="utf-8"))
    write_whole(path, lambda unfinished: _save(numbers, unfinished))


def save_index(drawn: Mapping[str, Sequence[Path]], path: Path, title: str) -> None:
    """A page that shows what was drawn of many images, each under the name of its file.

    Args:
        drawn: Of each image, its pictures, films, pages and arrays, in the folder of `path`.
        path: The page.
        title: Above it.
    """
    parts = [_INDEX_HEAD.format(title=html.escape(title), mark=MARK)]
    for image, files in drawn.items():
        parts.append(f"<section><h2>{html.escape(image)}</h2>")
        for file in files:
            name = html.escape(file.name)
            link = html.escape(_url(file.name))
            shown = f'<img loading="lazy" src="{link}" alt="{name}">'
            parts.append(f'<a href="{link}">{shown if file.suffix in PICTURES else name}</a>')
        parts.append("</section>")
    page = "\n".join([*parts, "</body>", "</html>", ""])
    write_whole(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))


PICTURES = frozenset({".png", ".gif", ".webp"})

_INDEX_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{mark}">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 16px/1.45 system-ui, sans-serif; max-width: 84rem; margin: 1.5rem auto; padding: 0 1.2rem; }}
  h2 {{ font-size: 1rem; overflow-wrap: anywhere; margin: 1.6rem 0 .4rem; }}
  img {{ max-width: 100%; height: auto; display: block; margin-bottom: .6rem; }}
</style>
</head>
<body>
<h1>{title}</h1>"""


def _url(name: str) -> str:
    from urllib.parse import quote

    return f"./{quote(name)}"


def _save(numbers: Shaped[np.ndarray, ...], path: Path) -> None:
    with path.open("wb") as file:  # np.save would add .npy to the name
        np.save(file, numbers)
