"""The methods by name: what each gives for a batch of images, what its settings are, and what it claims.

A method runs the model as often as it needs, and returns one number a patch. Its settings are the keyword arguments of
its function, types, defaults and help included.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vit.explain.rollout import HeadFusion, check_shares, fuse, roll_back
from vit.explain.subject import Subject, Watch

Unit = Literal["share", "score"]

Choose = Callable[[Float[Tensor, "b classes"]], Int[Tensor, " b"]]
"""The class of each image that is to be explained, given the logits."""


@dataclass(frozen=True)
class Answer:
    """What a method found."""

    patches: Float[Tensor, "b p"]
    """One number a patch, in reading order."""

    logits: Float[Tensor, "b classes"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to explain, and what its maps are."""

    title: str
    """With its source."""

    answer: Callable[..., Answer]
    """From the subject, the images and a `Choose`, with the settings as keyword arguments."""

    class_specific: bool
    """Whether the map is of the target class. Otherwise it is the same for every class."""

    unit: Unit = "score"
    """`share`: of what the head reads, from 0 to 1, patches of an image at most 1 together; `score`: of no unit."""

    signed: bool = False
    """Whether a patch can speak against the class, and is below 0 then."""

    needs: str = ""
    """An extra of this package that it needs."""

    @property
    def settings(self) -> Mapping[str, inspect.Parameter]:
        """The keyword arguments of `answer`: names, types, defaults."""
        parameters = inspect.signature(self.answer).parameters.values()
        return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


@torch.no_grad()
def _rollout(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    residual: float = 0.5,
) -> Answer:
    """Attention rollout: the row of what the head reads.

    Args:
        subject: Model.
        images: Images.
        choose: Not asked; every class has the same map.
        head_fusion: How the heads of a layer are fused.
        discard_ratio: Share of the smallest weights of a layer that is left out, from 0 to below 1.
        start_layer: First layer that counts; 0 is nearest the image.
        residual: Share of a step that stays where it is, from 0 to below 1.
    """
    check_shares(subject.depth, head_fusion, discard_ratio, start_layer, residual)
    watch = Watch(lambda weights: fuse(weights, head_fusion, discard_ratio), range(start_layer, subject.depth))
    seen = subject.run(images, watch)
    return Answer(roll_back(seen.read, watch.kept, residual)[:, subject.num_prefix_tokens :], seen.logits)


METHODS: dict[str, Method] = {
    "rollout": Method(
        title="attention rollout (Abnar & Zuidema 2020)", answer=_rollout, class_specific=False, unit="share"
    ),
}
