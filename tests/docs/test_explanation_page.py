"""What docs/explanation.md shows of pictures works as it is written there."""

import re
from pathlib import Path

import pytest

from vit.cli.explain import KINDS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "explanation.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_of_the_page_runs() -> None:
    *_, block = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    shapes = [tuple(names[name].shape) for name in ("maps", "grown", "distance")]  # type: ignore[attr-defined]
    assert shapes == [(2, 12, 3, 14, 14), (2, 12, 14, 14), (12, 3)]


def test_the_page_has_every_kind_of_picture() -> None:
    assert all(f"`--{kind}`" in PAGE for kind in KINDS)


def test_the_gallery_shows_pictures_that_are_there_and_small() -> None:
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = [DOCS / name for name in re.findall(r"\((images/\S+)\)", gallery)]
    assert len(shown) == 8
    assert sum(path.stat().st_size for path in shown) < 2e6
