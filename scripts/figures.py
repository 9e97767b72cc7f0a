"""The picture at the top of the README: digits and where a model looked to tell them apart.

    python scripts/figures.py --model runs/digits/model

The model is that of `vit fit --config configs/digits.yaml`, the digits are test images that it has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from vit.explain.overlay import COLOURS, save

from vit.data.preprocess import normalise
from vit.data.sources import digits
from vit.explain import explain
from vit.weights import load_model, read_card

SHOWN = range(10)


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder of a run on digits")
    parser.add_argument("--output", type=Path, default=Path("docs/images/digits-rollout.png"), help="the PNG")
    args = parser.parse_args()
    model, card = load_model(args.model), read_card(args.model)
    test = digits(Path()).test
    assert test is not None
    assert isinstance(test.images, torch.Tensor)
    images = test.images[[test.labels.tolist().index(label) for label in SHOWN]]
    explanation = explain(model, normalise(images, card.preprocessing))

    figure = Figure(figsize=(13, 3.1), layout="constrained")
    rows = figure.subplots(2, len(SHOWN))
    for column in range(len(SHOWN)):
        above, below = rows[0, column], rows[1, column]
        above.imshow(images[column, 0], cmap="gray", interpolation="nearest")
        below.imshow(explanation.maps[column], cmap=COLOURS, vmin=0, interpolation="nearest")
        target = int(explanation.target[column])
        probability = float(explanation.probabilities[column, target])
        above.set_title(f"{card.classes[target]}  {100 * probability:.1f} %", fontsize=11, fontweight="bold")
        for axes in (above, below):
            axes.set_axis_off()
    figure.text(
        0.5,
        -0.01,
        "test digits of 8x8 pixels with the predicted class, and the attention rollout of each 2x2 patch "
        "(dark: none, bright: most of that image)",
        ha="center",
        va="top",
        fontsize=9,
        color="0.35",
    )
    save(figure, args.output)
    print(args.output)


if __name__ == "__main__":
    main()
