"""A ViT of this package, looked into: it is handed a function that attends in the open."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vit.explain.subject import Seen, Subject, Watch
from vit.nn import ViT
from vit.nn.attention import attend


class OurViT(Subject):
    """A `ViT`."""

    def __init__(self, model: ViT, images: Float[Tensor, "b c h w"]) -> None:
        if model.config.num_classes == 0:
            raise ValueError(
                "a model with num_classes=0 predicts nothing; rollout(model.attention(images)) explains it."
            )
        self.model = self._model = model
        self.grid = model.grid_of(images)
        self.num_prefix_tokens = model.config.num_prefix_tokens
        self.class_token = model.config.class_token
        self.depth = model.config.depth

    def run(self, images: Float[Tensor, "b c h w"], watch: Watch | None = None, only_read: bool = False) -> Seen:
        num_wanted = self._model.pool.num_read if only_read else None
        tokens = self._model.encode(images, attend if watch is None else watch.attend, num_wanted)
        if watch is not None:
            watch.check(self.depth)
        with torch.no_grad():
            read = self._model.pool.weights(tokens).float()
            read = F.pad(read, (0, self.num_tokens - read.shape[1]))
        return Seen(self._model.classify(tokens), read)
