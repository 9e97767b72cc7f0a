"""docs/reliability.md names, for every trial that can be shown, tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|(---| # )", line)]


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_every_test_that_is_named_is_there(file: str, name: str) -> None:
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_trial_is_there_and_all_but_the_one_that_nobody_can_notice_have_a_test() -> None:
    numbers = re.findall(r"\d+", " ".join(row.split("|")[1] for row in ROWS))
    assert sorted(map(int, set(numbers))) == list(range(1, 26))
    assert [row.split("|")[1].strip() for row in ROWS if "::" not in row] == ["20"]
