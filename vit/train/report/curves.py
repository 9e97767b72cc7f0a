"""metrics.csv -> learning curves: loss, accuracy and learning rate over the steps."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit.train.measures import Array
from vit.train.report.contents import listed, percent

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which the colour-blind tell apart."""

Curves = Mapping[str, tuple[Array, Array]]


def draw_curves(metrics: Curves) -> tuple[Figure, str]:
    """The figure, and what it shows in words."""
    losses = {name: curve for name, curve in metrics.items() if "_loss" in name}
    accuracies = {name: curve for name, curve in metrics.items() if "_acc" in name}
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _plot(left, losses, "loss (nats)")
    _plot(middle, {name: (steps, 100 * shares) for name, (steps, shares) in accuracies.items()}, "accuracy (%)")
    _plot(right, {name: metrics[name] for name in ("learning_rate",) if name in metrics}, "learning rate")
    ends = [f"{name} {values[-1]:.4g}" for name, (_, values) in losses.items()]
    ends += [f"{name} {percent(values[-1])}" for name, (_, values) in accuracies.items()]
    return figure, f"Learning curves over the optimiser steps. They end at {listed(ends)}."


def _plot(axes: Axes, curves: Curves, what: str) -> None:
    for (name, (steps, values)), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        marker = "." if len(steps) <= 30 else ""  # points where they can be told apart
        dashes = "--" if name.startswith("train") else "-"
        axes.plot(steps + 1, values, dashes, color=colour, label=name.replace("_", " "), linewidth=1.6, marker=marker)
    axes.set_title(what, fontsize=11)
    axes.set_xlabel("optimiser step", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(fontsize=9, frameon=False)
    if not curves:
        axes.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axes.transAxes, color="0.4")
