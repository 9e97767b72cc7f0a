"""docs/measuring.md gives the numbers that the code has, and its commands are ones that there are."""

import re
from pathlib import Path

from vit.cli import COMMANDS
from vit.train import measures, rehearsal
from vit.train.largest_batch import MARGIN
from vit.train.report import answers, mistakes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def test_its_numbers_are_those_of_the_code() -> None:
    for sentence in (
        f"Of the first {rehearsal.WARM_UP} steps nothing is counted, of at most {rehearsal.STEPS} more the median",
        f"after {rehearsal.SECONDS:.0f} seconds it is enough",
        f"of the loader alone, for {rehearsal.SECONDS / 4:.0f} seconds",
        f"more than {100 * MARGIN:.0f} % of what is free",
        f"up to {answers.MATRIX} classes, the most confused pairs of more",
        f"of more than {answers.ROWS + 10} classes the {answers.ROWS} worst",
        f"the {mistakes.MOST} wrong answers",
        f"confidence in {measures.BINS} bins",
        f"in {measures.BINS} equal bins",
        f"by {measures.RESAMPLES:,} resamples",
    ):
        assert sentence in TEXT


def test_its_commands_are_there() -> None:
    named = set(re.findall(r"^    vit (\w+)", PAGE, flags=re.MULTILINE))
    assert named == {"compare", "plan", "test", "fit"}
    assert named <= set(COMMANDS)
