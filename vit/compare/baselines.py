"""our ViT -> timm's of the same shape, from the same start or from timm's own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from vit.nn import ViT
from vit.weights.timm import timm_architecture, timm_arguments, to_timm

Baseline = Literal["timm", "timm-default"]
BASELINES: dict[Baseline, str] = {
    "timm": "timm's VisionTransformer of the same shape, starting from the very weights ours starts from",
    "timm-default": "timm's VisionTransformer of the same shape with timm's own initial weights",
}


def timm_model(ours: ViT, own_weights: bool) -> nn.Module:
    """The baseline: timm's model of the same shape, with our weights or with its own initial ones."""
    import timm

    config = ours.config
    model = timm.create_model(
        timm_architecture(config),
        **timm_arguments(config),
        pos_drop_rate=config.drop_rate,
        proj_drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        patch_drop_rate=config.patch_drop_rate,
    )
    if own_weights:
        with torch.no_grad():
            model.load_state_dict(to_timm(ours.state_dict(), config))
    return model
