"""Every link of the README and the documentation leads somewhere in a fresh clone."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def prose(page: Path) -> str:
    """Its text without comments, and without code, where brackets mean something else."""
    text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> list[str]:
    """What is linked to or shown, but for the web."""
    found = re.findall(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """What its headings are called in links, as GitHub and others make it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = (
        "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN") for heading in headings
    )
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        assert target.exists(), f"{link} of {page.name} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} of {page.name} leads out of the repository"
        if heading:
            assert heading in anchors(target), f"{target.name} has no heading for {link} of {page.name}"


def test_pages_are_found_and_so_are_their_links() -> None:
    assert {"README.md", "CHANGELOG.md", "explanation.md", "faithfulness.md"} <= {page.name for page in PAGES}
    assert {"docs/gallery.md", "docs/images/methods.webp"} <= set(links(ROOT / "README.md"))


def test_every_picture_is_shown_somewhere_and_all_are_small() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    pictures = [path.resolve() for path in (ROOT / "docs/images").iterdir()]
    assert set(pictures) <= shown
    assert sum(path.stat().st_size for path in pictures) < 900_000
