"""model, images -> logits and, on the way, the attention of every layer: what all methods stand on.

Ours are handed a function that attends in the open; timm's have their fused attention switched off and hooks on its
weights, both for the time of one run. Either way a model is left exactly as it was found, after an error too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit.nn import ViT
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

    grid: tuple[int, int]
    """Rows and columns of patches."""

    num_prefix_tokens: int
    """Tokens before the patches: class, distillation, registers."""

    depth: int

    @abstractmethod
    def run(self, images: Float[Tensor, "b c h w"], watch: Watch | None = None) -> Seen:
        """The model's output, `watch` looking on."""

    @abstractmethod
    def norm_before_attention(self, layer: int) -> nn.Module:
        """The norm whose output the attention of this layer reads."""

    @property
    def num_tokens(self) -> int:
        """Prefix tokens and patches."""
        return self.num_prefix_tokens + self.grid[0] * self.grid[1]


class OurViT(Subject):
    """A `ViT`."""

    def __init__(self, model: ViT, images: Float[Tensor, "b c h w"]) -> None:
        if model.config.num_classes == 0:
            raise ValueError(
                "a model with num_classes=0 predicts nothing; rollout(model.attention(images)) explains it."
            )
        self.model = model
        self.grid = model.grid_of(images)
        self.num_prefix_tokens = model.config.num_prefix_tokens
        self.depth = model.config.depth

    def run(self, images: Float[Tensor, "b c h w"], watch: Watch | None = None) -> Seen:
        tokens = self.model.encode(images, attend if watch is None else watch.attend)
        if watch is not None:
            watch.check(self.depth)
        return Seen(self.model.classify(tokens), self.model.pool.weights(tokens).detach().float())

    def norm_before_attention(self, layer: int) -> nn.Module:
        return cast("nn.Module", self.model.blocks[layer].norm1)


def subject_of(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Subject:
    """The model as methods see it; compiled and data-parallel ones are the model inside.

    Raises:
        ValueError: it is no ViT that can be looked into, or the images do not fit it.
    """
    if images.ndim == 4 and len(images) == 0:
        raise ValueError("images is an empty batch, so there is nothing to explain.")
    if isinstance(model, ViT):
        return OurViT(model, images)
    raise ValueError(
        f"{type(model).__name__} is no Vision Transformer that can be looked into; a ViT of this package is."
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of what `torch.compile` and data parallelism put around it."""
    while True:
        inner = getattr(model, "_orig_mod", None) or (getattr(model, "module", None) if _is_parallel(model) else None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _is_parallel(model: nn.Module) -> bool:
    return isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)


@contextmanager
def as_for_explaining(model: nn.Module) -> Generator[None, None, None]:
    """In evaluation, nothing recomputed, parameters frozen, nothing compiled; afterwards everything as it was found."""
    before: list[tuple[Any, str, bool]] = []

    def put(owner: Any, name: str, value: bool) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    with ExitStack() as stack:
        stack.callback(_put_back, before)
        for module in model.modules():
            put(module, "training", False)
            if isinstance(getattr(module, "grad_checkpointing", None), bool):
                put(module, "grad_checkpointing", False)
        for parameter in model.parameters():
            put(parameter, "requires_grad", False)
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _put_back(before: list[tuple[Any, str, bool]]) -> None:
    for owner, name, value in before:
        setattr(owner, name, value)


@contextmanager
def with_gradients(model: nn.Module) -> Generator[None, None, None]:
    """Gradients are kept, whatever the caller has switched off.

    Raises:
        ValueError: the weights were made under torch.inference_mode, and have none.
    """
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError(
            "the weights of this model were made under torch.inference_mode, so it has no gradients; load it outside."
        )
    with torch.inference_mode(False), torch.enable_grad():
        yield


def described(settings: Mapping[str, object]) -> str:
    """Settings as one would type them."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in settings.items()
    )
