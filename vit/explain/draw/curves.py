"""faithfulness -> curves: what the model still says while patches leave, a row of panels for each fill."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from vit.explain.draw.sheet import GREY, HEADING, MARGIN, TITLE, Sheet
from vit.explain.faithfulness import Curves
from vit.explain.priors import PRIORS

PANEL = (470, 260)
"""Width and height of a panel in pixels."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#000000")
"""Told apart by the colour-blind (Okabe & Ito 2008, and two more); marks tell more methods than that apart."""

MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = {"chance": (1, 2), "centre": (4, 2), "energy": (7, 2, 1, 2)}

ORDERS = {
    "most": "most important patches taken first: should fall early",
    "least": "least important patches taken first: should fall late",
}


def draw_curves(curves: Sequence[Curves], caption: str) -> Sheet:
    """Mean probability of the class asked about; priors, which know nothing of the model, grey and dashed."""
    sheet = Sheet(2 * (PANEL[0] + 80) + 2 * MARGIN)
    wide = sheet.width - 2 * MARGIN
    top = sheet.text("how far the maps can be trusted", MARGIN, MARGIN, wide, size=TITLE, bold=True)
    words = f"{caption}; mean probability of the predicted class. Grey: orders that know nothing of the model."
    top = sheet.text(words, MARGIN, top + 4, wide, colour=GREY) + 16
    for fill in dict.fromkeys(each.fill for each in curves):
        some = [each for each in curves if each.fill == fill]
        name = "tokens left out (drop)" if fill == "drop" else f"patches replaced by: {fill}"
        top = sheet.text(name, MARGIN, top, wide, size=HEADING, bold=True) + 8
        for side, (order, says) in enumerate(ORDERS.items()):
            left = MARGIN + 56 + side * (PANEL[0] + 80)
            below = sheet.text(says, left, top, PANEL[0], colour=GREY) + 6
            sheet.plot(left, below, *PANEL, lambda axes, order=order, some=some: _panel(axes, some, order))
        top += PANEL[1] + 100
    sheet.text("After every tenth of the patches the model is asked again.", MARGIN, top - 20, wide, colour=GREY)
    return sheet


def _panel(axes: Axes, curves: Sequence[Curves], order: str) -> None:
    methods = [each for each in curves if each.method not in PRIORS]
    for number, each in enumerate(methods):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        axes.plot(_percent(each), _of(each, order), mark, ls="-", ms=4, lw=1.6, color=colour, label=each.method)
    for each in curves:
        if each.method in PRIORS:
            dashes = (0, DASHES[each.method])
            axes.plot(_percent(each), _of(each, order), ls=dashes, lw=1.4, color="0.45", label=each.method)
    axes.set(xlim=(0, 100), ylim=(0, 1), xlabel="patches taken, %", ylabel="probability")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    if order == "most":
        axes.legend(fontsize=7.5, ncols=2 if len(curves) > 7 else 1, frameon=False)


def _percent(curves: Curves) -> list[float]:
    return (100 * curves.fractions).tolist()


def _of(curves: Curves, order: str) -> list[float]:
    probability = curves.probability_most_first if order == "most" else curves.probability_least_first
    return probability.mean(dim=0).tolist()
