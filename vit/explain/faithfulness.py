"""model, labelled images, methods -> how far the maps can be trusted: what happens when patches are taken away.

Patches leave in the order of a map, the most important first or the least important first, and after every tenth of
them the model is asked again. A faithful map makes the first curve fall early and the second fall late.

deletion   area under the probability, most important first (RISE, Petsiuk et al. 2018); low is good
insertion  area under the probability, most important put in first, which is least important taken first; high is good
positive   accuracy over 10 to 90 % taken, most important first (Chefer et al. 2021); low is good
negative   accuracy over 10 to 90 % taken, least important first; high is good
gap        insertion minus deletion; 0 is chance, whatever the fill
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vit.explain.as_found import as_for_explaining, unwrapped
from vit.explain.explain import explain
from vit.explain.priors import PRIORS
from vit.explain.removal import FILLS, Fill, remover
from vit.nn import Preprocessing

STEPS = 11
"""Shares of the patches that are taken: 0, 10, ..., 100 %."""

DRAWS = 2000
"""Of the bootstrap."""

FEWEST = 10
"""Images without which nothing is concluded: intervals by the bootstrap over fewer are much narrower than 95 %."""

Measure = Literal["deletion", "insertion", "positive", "negative", "gap"]
MEASURES: tuple[Measure, ...] = ("deletion", "insertion", "positive", "negative", "gap")
LOW_IS_GOOD: frozenset[Measure] = frozenset({"deletion", "positive"})

Maps = Callable[[Float[Tensor, "b c h w"], Int[Tensor, " b"]], Float[Tensor, "b gh gw"]]
"""From images and the classes that are asked about to maps."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What was seen of every image while its patches left in the order of one method's map."""

    method: str
    fill: Fill
    fractions: Float[Tensor, " steps"]
    """Shares of the patches that are taken, from 0 to 1."""

    probability_most_first: Float[Tensor, "images steps"]
    """Of the class that the map is of, the most important patches taken first."""

    probability_least_first: Float[Tensor, "images steps"]
    right_most_first: Bool[Tensor, "images steps"]
    """Whether the label was predicted, the most important patches taken first."""

    right_least_first: Bool[Tensor, "images steps"]

    def measure(self, name: Measure) -> Float[Tensor, " images"]:
        """One number for each image, from 0 to 1; the gap from -1 to 1."""
        if name == "deletion":
            return self._area(self.probability_most_first)
        if name == "insertion":
            return self._area(self.probability_least_first)
        if name == "positive":
            return self._area(self.right_most_first.double(), inside=True)
        if name == "negative":
            return self._area(self.right_least_first.double(), inside=True)
        return self.measure("insertion") - self.measure("deletion")

    def _area(self, curve: Float[Tensor, "images steps"], inside: bool = False) -> Float[Tensor, " images"]:
        """Trapezoid rule, divided by the width; `inside` leaves out both ends."""
        x = self.fractions
        if inside:
            curve, x = curve[:, 1:-1], x[1:-1]
        return torch.trapezoid(curve.double(), x.double()) / (x[-1] - x[0])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over images with its 95 % interval, by the bootstrap over images."""

    mean: float
    low: float
    high: float

    def __format__(self, sign: str) -> str:
        """With "+", all numbers have a sign."""
        return f"{self.mean:{sign}.3f} ({self.low:{sign}.3f} to {self.high:{sign}.3f})"


@torch.no_grad()
def faithfulness(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    methods: Mapping[str, Mapping[str, Any]],
    preprocessing: Preprocessing,
    fills: Sequence[Fill] = FILLS,
    explain_labels: bool = False,
    seed: int = 0,
) -> list[Curves]:
    """Curves of every method and every prior, for every fill; each method is one call of `explain` a batch.

    Cost: 20 runs of the model for each image, method and fill.

    Args:
        model: As for `explain`, on the device of the images.
        batches: Normalised images, (b, c, h, w), and the numbers of their classes, (b,); batches may differ in b.
        methods: Names in `METHODS`, each with its settings.
        preprocessing: Of the images; says what black is.
        fills: What takes the place of a patch.
        explain_labels: Ask about the labels' classes instead of the predicted ones.
        seed: Of the order of chance, and of patches that score alike.

    Raises:
        ValueError: no images, no methods, an unknown one, or a fill that the model cannot do.
    """
    if not methods:
        raise ValueError("no methods were given, so there is nothing to measure.")
    generator = torch.Generator().manual_seed(seed)
    seen: dict[tuple[str, Fill], list[tuple[Tensor, ...]]] = {}
    model = unwrapped(model)
    with as_for_explaining(model):
        for images, labels in batches:
            whole = model(images)
            asked = labels if explain_labels else whole.argmax(dim=-1)
            maps = {name: explain(model, images, name, asked, **settings).maps for name, settings in methods.items()}
            grid = next(iter(maps.values())).shape[1:]
            maps |= {name: prior(images, (grid[0], grid[1]), generator) for name, prior in PRIORS.items()}
            orders = {name: order_of(relevance, generator) for name, relevance in maps.items()}
            for fill in fills:
                ask = remover(model, images, (grid[0], grid[1]), fill, preprocessing)
                for name, order in orders.items():
                    watched = _watch(ask, whole, order, asked, labels, keep_one=fill == "drop")
                    seen.setdefault((name, fill), []).append(watched)
    if not seen:
        raise ValueError("no images were given, so there is nothing to measure.")
    fractions = torch.linspace(0, 1, STEPS)
    return [
        Curves(
            method=name,
            fill=fill,
            fractions=fractions,
            probability_most_first=most,
            right_most_first=right_most,
            probability_least_first=least,
            right_least_first=right_least,
        )
        for (name, fill), parts in seen.items()
        for most, right_most, least, right_least in [[torch.cat(each) for each in zip(*parts, strict=True)]]
    ]


def order_of(relevance: Float[Tensor, "b gh gw"], generator: torch.Generator) -> Int[Tensor, "b p"]:
    """Numbers of the patches of each image, the most important first; those that score alike in random order.

    Grad-CAM scores half of all patches 0, which says nothing about them; in reading order, the bottom of the picture
    would go last.
    """
    scores = rearrange(relevance, "b gh gw -> b (gh gw)")
    shuffled = torch.rand(scores.shape, generator=generator).argsort(dim=1).to(scores.device)
    return shuffled.gather(1, scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))


def estimate(values: Float[Tensor, " images"], seed: int = 0) -> Estimate:
    """The mean and the central 95 % of the means of samples drawn with replacement (Efron 1979)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (DRAWS, len(values)), generator=generator)
    means = reduce(values.double()[drawn], "draws images -> draws", "mean")
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(mean=float(values.double().mean()), low=low, high=high)


def advantage(method: Curves, other: Curves, measure: Measure = "gap") -> Estimate:
    """By how much a method does better than another on the same images, above 0 where it is better."""
    assert method.fill == other.fill, "curves of two fills are not of the same question"
    better = method.measure(measure) - other.measure(measure)
    return estimate(-better if measure in LOW_IS_GOOD else better)


def verdicts(curves: Sequence[Curves]) -> list[str]:
    """A sentence for each method and prior that it does not beat by the gap, with the fills; none where all is well.

    Beaten is where the interval of the advantage lies above 0. Of fewer than 10 images, that is all that is said.
    """
    images = len(curves[0].probability_most_first)
    if images < FEWEST:
        few = "1 image is" if images == 1 else f"{images} images are"
        return [f"{few} too few to say whether a method is better than chance; give {FEWEST} or more."]
    by_name = {(each.method, each.fill): each for each in curves}
    fills = list(dict.fromkeys(each.fill for each in curves))
    methods = [name for name in dict.fromkeys(each.method for each in curves) if name not in PRIORS]
    sentences: list[str] = []
    for method in methods:
        for prior in PRIORS:
            gains = {fill: advantage(by_name[method, fill], by_name[prior, fill]) for fill in fills}
            lost = [fill for fill in fills if gains[fill].low <= 0]
            if lost:
                sentences.append(
                    f"{method} is not shown to be better than {prior} on this model and these images, fill "
                    f"{' and '.join(lost)}: the gap differs by "
                    f"{' and '.join(f'{gains[fill]:+}' for fill in lost)}."
                )
    return sentences


def _watch(
    ask: Callable[[Tensor], Tensor],
    whole: Float[Tensor, "b classes"],
    ranked: Int[Tensor, "b p"],
    asked: Int[Tensor, " b"],
    labels: Int[Tensor, " b"],
    keep_one: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probability of the class asked about and whether the label is predicted, most and then least important first.

    Where tokens are dropped, one patch stays at the end, since some heads read nothing else.
    """
    num_patches = ranked.shape[1]
    kept: list[Tensor] = []
    for order in (ranked, ranked.flip(1)):
        probability, right = [], []
        for fraction in torch.linspace(0, 1, STEPS).tolist():
            count = min(round(fraction * num_patches), num_patches - keep_one)
            logits = (ask(order[:, :count]) if count else whole).float()
            probability.append(logits.softmax(dim=-1).gather(1, rearrange(asked, "b -> b 1"))[:, 0])
            right.append(logits.argmax(dim=-1) == labels)
        kept += [torch.stack(probability, dim=1).cpu(), torch.stack(right, dim=1).cpu()]
    return kept[0], kept[1], kept[2], kept[3]
