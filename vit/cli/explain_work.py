"""One image -> what the model and the methods say about it, for `vit explain`, as far as it was wished for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from vit.explain import Explanation, explain
from vit.explain.draw.files import Film
from vit.explain.draw.scale import Look
from vit.explain.layers import Seen, growth, head_maps, look_inside
from vit.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be drawn of every image."""

    kinds: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]
    """The methods, and the settings of each."""

    growth: Mapping[str, Any]
    """Settings of the rollout that is shown layer by layer."""

    targets: Sequence[int] = ()
    """Classes to explain; if there are none, the likeliest ones."""

    top_k: int = 1
    """How many of the likeliest ones."""

    look: Look = field(default_factory=Look)
    shared_scale: bool = False
    film: Film = "gif"
    arrays: bool = False


class Work:
    """One image on its way: what the models and the methods say about it, each asked once, when it is needed."""

    def __init__(self, path: str, picture: Image.Image, predictor: Predictor, wish: Wish) -> None:
        self.path, self.picture, self.predictor, self.wish = path, picture, predictor, wish

    @cached_property
    def images(self) -> torch.Tensor:
        """A batch of this image."""
        return self.predictor.images([self.picture])

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """Of all classes."""
        return self.predictor.probabilities([self.picture])[0]

    @cached_property
    def maps(self) -> list[list[Explanation]]:
        """A row for each method, with a map for each class; one map, where it is the same for every class."""
        model, wish = self.predictor.model, self.wish
        targets = wish.targets or self.probabilities.topk(min(wish.top_k, len(self.probabilities))).indices.tolist()
        rows: list[list[Explanation]] = []
        for method, settings in wish.settings.items():
            first = explain(model, self.images, method, target=targets[0], **settings)
            others = targets[1:] if first.class_specific else []
            rows.append([first, *(explain(model, self.images, method, target=t, **settings) for t in others)])
        return rows

    @cached_property
    def seen(self) -> Seen:
        """Attention of all layers and heads."""
        return look_inside(self.predictor.model, self.images)

    @cached_property
    def heads(self) -> Float[np.ndarray, "layers heads gh gw"]:
        """What the class token, or what else the classifier reads, attends to: in every layer and attention head."""
        return head_maps(self.seen)[0].cpu().numpy()

    @cached_property
    def grown(self) -> Float[np.ndarray, "layers gh gw"]:
        """The rollout after each layer, from the first that is asked for."""
        return growth(self.seen, **self.wish.growth)[0].cpu().numpy()

    @property
    def title(self) -> str:
        """What the model says."""
        return f"predicted: {self.class_of(int(self.probabilities.argmax()), '  ')}"

    def class_of(self, index: int, between: str = ", ") -> str:
        """A class with its probability."""
        percent = f"{100 * float(self.probabilities[index]):.1f}\N{NO-BREAK SPACE}%"
        return f"{self.predictor.card.label(index)}{between}{percent}"
