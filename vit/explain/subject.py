"""What methods need of a model: logits and, on the way, the attention of every layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from vit.nn.attention import attend, attention_weights


@dataclass(frozen=True)
class Seen:
    """What one run gave."""

    logits: Float[Tensor, "b classes"]

    read: Float[Tensor, "b n"]
    """How much the head reads of every token after the last layer; rows sum to 1."""


class Watch:
    """Looks at the attention of some layers while a model runs, and keeps what `keep` makes of it, in their order."""

    def __init__(
        self, keep: Callable[[Float[Tensor, "b heads n n"]], Tensor], layers: Sequence[int] | None = None
    ) -> None:
        """All layers by default."""
        self.keep = keep
        self.layers = layers
        self.kept: list[Tensor] = []
        self._next = 0

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What `vit.nn.attention.attend` gives, with the weights looked at where this layer is one to look at."""
        return self.look(q, k, v) if self.wants_next() else attend(q, k, v)

    def look(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in the open."""
        weights = attention_weights(q, k)
        self.kept.append(self.keep(weights))
        return weights.to(v.dtype) @ v

    def see(self, weights: Tensor) -> None:
        """Weights that somebody else has made."""
        if self.wants_next():
            self.kept.append(self.keep(weights))

    def wants_next(self) -> bool:
        """Whether the layer whose turn it is is one to look at."""
        self._next += 1
        return self.layers is None or self._next - 1 in self.layers

    def check(self, depth: int) -> None:
        """Raise a `ValueError` unless every layer came by, once: nothing captured is an error, never an empty map."""
        if self._next != depth:
            raise ValueError(
                f"attention of {self._next} layers was seen, and this model has {depth}: its attention is not where "
                "it is looked for, so nothing is said about it."
            )


class Subject(ABC):
    """A model and the images it is asked about."""

    model: nn.Module

    grid: tuple[int, int]
    """Rows and columns of patches."""

    num_prefix_tokens: int
    """Tokens before the patches: class, distillation, registers."""

    class_token: bool
    """Whether the first of them is a class token."""

    depth: int

    @abstractmethod
    def run(self, images: Float[Tensor, "b c h w"], watch: Watch | None = None, only_read: bool = False) -> Seen:
        """The model's output, `watch` looking on; of the last layer perhaps at no more rows than the head reads."""

    @property
    def num_tokens(self) -> int:
        """Prefix tokens and patches."""
        return self.num_prefix_tokens + self.grid[0] * self.grid[1]

    def norm_before_attention(self, layer: int) -> nn.Module:
        """The norm whose output the attention of this layer reads."""
        return cast("Any", self.model).blocks[layer].norm1
