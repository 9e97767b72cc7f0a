"""predictions -> which classes are taken for which, how well each is recognised, and what confidence is worth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit.train.measures import BINS, bins_of, share
from vit.train.report.contents import Answers, interval, listed, percent, shown

MATRIX = 30
"""Classes up to which a confusion matrix can be read; of more the most confused pairs are drawn."""

ROWS = 30
"""Classes, or pairs of them, that are drawn one below the other."""

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.45"


def draw_confusions(answers: Answers) -> tuple[Figure, str]:
    """A matrix where there are few classes, the most confused pairs where there are many; and that in words."""
    pairs = answers.most_confused(ROWS)
    said = [f"{shown(label)} taken for {shown(answer)} ({count} of {images})" for label, answer, count, images in pairs]
    words = f"Most often confused: {listed(said[:3])}." if pairs else "No image was taken for another class."
    names, counts = answers.confusions()
    if len(names) <= MATRIX:
        return _matrix([shown(name) for name in names], counts), f"Confusion matrix, a row a class. {words}"
    return _pairs(pairs), f"The most confused pairs of {len(names):,} classes. {words}"


def _matrix(names: list[str], counts: np.ndarray) -> Figure:
    side = max(4.5, 1.8 + 0.42 * len(names))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    rows = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts):
        axes.text(
            j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8, color="w" if rows[i, j] > 0.5 else "k"
        )
    turned = max(map(len, names)) > 2
    axes.set_xticks(range(len(names)), names, rotation=45 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlabel("answer of the model")
    axes.set_ylabel("label")
    bar = figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03, label="share of the label's images")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure


def _pairs(pairs: list[tuple[str, str, int, int]]) -> Figure:
    figure, axes = _rows(len(pairs))
    counts = [count for _, _, count, _ in pairs]
    axes.barh(range(len(pairs)), counts, color=ORANGE)
    for row, (_, _, count, images) in enumerate(pairs):
        axes.text(count, row, f" {count} of {images}", va="center", fontsize=8)
    axes.set_yticks(range(len(pairs)), [f"{shown(label)} → {shown(answer)}" for label, answer, _, _ in pairs])
    axes.set_xlim(0, 1.15 * max(counts, default=1))
    axes.set_xlabel("images of the label that got this answer")
    return figure


def draw_classes(answers: Answers) -> tuple[Figure, str]:
    """The accuracy of each class with its interval, the worst first; where there are many, of the worst."""
    ranked = sorted(answers.of_classes, key=lambda one: one["recall"]["value"])
    drawn = ranked if len(ranked) <= ROWS + 10 else ranked[:ROWS]
    figure, axes = _rows(len(drawn))
    values, lows, highs = (np.array([100 * one["recall"][key] for one in drawn]) for key in ("value", "low", "high"))
    # at 0 and 100 % Wilson's interval ends beside the value by rounding
    reach = np.maximum([values - lows, highs - values], 0)
    axes.errorbar(values, range(len(drawn)), xerr=reach, fmt="o", color=BLUE, ecolor=GREY, markersize=5, capsize=2)
    axes.axvline(100 * answers.measures["top_1"]["value"], color=ORANGE, linewidth=1, label="all images (top-1)")
    axes.set_yticks(range(len(drawn)), [f"{shown(one['name'])} ({one['images']:,})" for one in drawn])
    axes.set_xlim(-2, 102)
    axes.set_xlabel("accuracy of the class's images (%), 95 % interval; number of images in brackets")
    axes.legend(fontsize=8, loc="lower left", frameon=False)
    said = [
        f"{shown(one['name'])}: {percent(one['recall']['value'])} ({interval(one['recall'])})" for one in ranked[:3]
    ]
    of_many = f" of the {len(drawn)} worst of {len(ranked):,} classes" if len(drawn) < len(ranked) else " of each class"
    return figure, f"Accuracy{of_many}. Lowest: {listed(said)}."


def draw_reliability(answers: Answers) -> tuple[Figure, str]:
    """Accuracy against confidence in 15 bins, and how many images are in each."""
    confidence, right = answers.predictions.confidence, answers.predictions.right
    bins = bins_of(confidence)
    filled = [number for number in range(BINS) if (bins == number).any()]
    means = np.array([confidence[bins == number].mean() for number in filled])
    shares = [share(int(right[bins == number].sum()), int((bins == number).sum())) for number in filled]
    values = np.array([one.value for one in shares])
    reach = np.maximum([values - [one.low for one in shares], [one.high for one in shares] - values], 0)
    figure = Figure(figsize=(6, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--", label="calibrated")
    above.errorbar(
        100 * means, 100 * values, 100 * reach, fmt="o", color=BLUE, ecolor=GREY, capsize=2, label="the model"
    )
    above.set_ylabel("accuracy (%), 95 % interval")
    above.set_ylim(-3, 103)
    above.legend(fontsize=9, frameon=False, loc="upper left")
    counts = np.bincount(bins, minlength=BINS)
    below.bar(100 * (np.arange(BINS) + 0.5) / BINS, counts, width=96 / BINS, color=BLUE, alpha=0.6)
    for number in filled:
        below.text(
            100 * (number + 0.5) / BINS, counts[number], f"{counts[number]:,}", ha="center", va="bottom", fontsize=7
        )
    below.set_ylim(0, 1.25 * counts.max())
    below.set_ylabel("images")
    below.set_xlabel("confidence: probability of the answer (%)")
    below.set_xlim(-2, 102)  # the points at the ends whole
    _plain(above)
    _plain(below)
    ece, noise = answers.measures["ece"], answers.measures["ece_if_calibrated"]
    gap = 100 * (confidence.mean() - right.mean())
    return figure, (
        f"Reliability diagram. ECE {percent(ece['value'])} ({interval(ece)}); a calibrated model would show "
        f"{percent(noise)} on so many images. On average the model is {abs(gap):.1f} points too "
        f"{'sure' if gap > 0 else 'unsure'}."
    )


def _rows(number: int) -> tuple[Figure, Axes]:
    """Axes for so many named rows, the first on top."""
    figure = Figure(figsize=(9, 1.2 + 0.24 * max(number, 3)), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(max(number, 1) - 0.4, -0.6)
    axes.tick_params(labelsize=8)
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
