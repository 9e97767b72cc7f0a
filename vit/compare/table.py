"""Results of all contestants -> a table, and a sentence for each difference."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from vit.compare.difference import Difference
from vit.compare.results import Result
from vit.train.measures import wilson_interval


def table(results: Sequence[Result], differences: Mapping[str, Difference]) -> str:
    """Results as a Markdown table, one row a contestant, and below it what ours is better or worse by."""
    rows = [("model", "test accuracy", "parameters", "training", "speed")]
    for name in dict.fromkeys(result.name for result in results):
        mine = [result for result in results if result.name == name]
        rows.append(
            (
                name,
                _accuracy(mine),
                f"{mine[0].parameters:,}",
                f"{statistics.mean(result.seconds for result in mine):.0f} s",
                _speed(mine),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([*lines, "", *(in_words(name, one) for name, one in differences.items())]).rstrip() + "\n"


def in_words(name: str, found: Difference) -> str:
    """How much better ours is than this baseline, and whether that may be chance."""
    points = f"ours minus {name}: {found.points:+.2f} points (95 % interval {found.low:+.2f} to {found.high:+.2f})"
    if found.seeds > 1:
        verdict = "no more than chance may do" if not found.is_clear else "more than chance would do"
        return f"{points} over {found.seeds} seeds and {found.images:,} images: {verdict}."
    verdict = "which images were asked may have made it" if not found.is_clear else "on other images of this kind, too"
    alone = f"ours alone has {found.only_first:.0f} right, {name} alone {found.only_second:.0f}"
    return (
        f"{points}: {verdict}. Of {found.images:,} images {alone}. What another seed gives, one run does not "
        "show; --seeds 5 does."
    )


def _accuracy(results: Sequence[Result]) -> str:
    """Mean and standard deviation over seeds; of a single run the 95 % interval that its test images allow."""
    percent = [100 * result.test_accuracy for result in results]
    if len(percent) > 1:
        return f"{statistics.mean(percent):.2f} ± {statistics.stdev(percent):.2f} % ({len(percent)} seeds)"
    low, high = wilson_interval(results[0].test_accuracy, results[0].test_images)
    return f"{percent[0]:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def _speed(results: Sequence[Result]) -> str:
    """Median over the runs of which it is known."""
    known = [result.images_per_second for result in results if result.images_per_second is not None]
    return f"{statistics.median(known):,.0f} images/s" if known else ""
