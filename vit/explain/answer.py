"""What every method returns, and how the class is chosen."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Choose = Callable[[Float[Tensor, "b classes"]], Int[Tensor, " b"]]
"""The class of each image that is to be explained, given the logits."""


@dataclass(frozen=True)
class Answer:
    """What a method found."""

    patches: Float[Tensor, "b p"]
    """One number a patch, in reading order."""

    logits: Float[Tensor, "b classes"]


def chosen_logits(logits: Float[Tensor, "b classes"], choose: Choose) -> Float[Tensor, " b"]:
    """The logit of the class of each image: what the gradients of all methods are taken of, never a probability."""
    return logits.float().gather(1, choose(logits)[:, None])[:, 0]
