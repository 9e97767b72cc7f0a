"""Does a map depend on what the model has learned? Two checks that need no labels.

randomised weights  maps must change when the weights are shuffled (Adebayo et al. 2018,
                    https://arxiv.org/abs/1810.03292); a method whose maps do not is drawing the image, not the model
another class       how alike the maps of two classes are: 1 for methods that do not know classes
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vit.explain.as_found import unwrapped
from vit.explain.explain import explain


def shuffled(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy whose every parameter has its own numbers in random order: as large as learned, and meaningless."""
    generator = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(unwrapped(model))
    with torch.no_grad():
        for parameter in copied.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copied


def likeness_to_shuffled(
    model: nn.Module, images: Float[Tensor, "b c h w"], method: str, settings: Mapping[str, Any], seed: int = 0
) -> Float[Tensor, " b"]:
    """Spearman's correlation of each map with that of the same model with shuffled weights, for the same class.

    Near 0 is what a map of the model should have; near 1 the model does not matter.
    """
    explained = explain(model, images, method, **settings)
    other = explain(shuffled(model, seed), images, method, explained.target, **settings)
    return spearman(explained.maps, other.maps)


def likeness_of_classes(
    model: nn.Module, images: Float[Tensor, "b c h w"], method: str, settings: Mapping[str, Any]
) -> Float[Tensor, " b"]:
    """Spearman's correlation of the maps of the likeliest class and of the second.

    Raises:
        ValueError: the model has one class.
    """
    first = explain(model, images, method, **settings)
    if first.probabilities.shape[1] < 2:
        raise ValueError("this model has one class, so there is no second one to compare with.")
    second = first.probabilities.topk(2, dim=-1).indices[:, 1]
    return spearman(first.maps, explain(model, images, method, second, **settings).maps)


def spearman(one: Float[Tensor, "b gh gw"], other: Float[Tensor, "b gh gw"]) -> Float[Tensor, " b"]:
    """Correlation of the ranks of patches, ties sharing theirs, image by image; 0 where a map is constant."""
    ranks = torch.stack([_ranks(rearrange(maps, "b gh gw -> b (gh gw)")) for maps in (one, other)])
    centred = ranks - ranks.mean(dim=-1, keepdim=True)
    scale = centred.norm(dim=-1).prod(dim=0)
    return torch.where(scale > 0, centred.prod(dim=0).sum(dim=-1) / scale.clamp(min=1e-12), 0.0).float()


def _ranks(values: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
    """Rank of each value in its row, from 0; equal ones share the mean of theirs."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(values.detach().cpu().double().numpy(), axis=1) - 1)
