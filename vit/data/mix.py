"""a batch -> a batch of mixed images with shares of classes for targets: mixup and CutMix, by torchvision.

Zhang et al. 2018, https://arxiv.org/abs/1710.09412, and Yun et al. 2019, https://arxiv.org/abs/1905.04899. An image is
mixed with its neighbour in the batch; one share is drawn a batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vit.data.augment import Augmentation
from vit.data.order import BatchKey, Stream, keyed_randomness

Targets = Int64[Tensor, " b"] | Float[Tensor, "b classes"]
"""Class indices, or for mixed images the share of every class."""


def mix_batch(
    images: Float[Tensor, "b c h w"],
    labels: Int64[Tensor, " b"],
    augmentation: Augmentation,
    num_classes: int,
    key: BatchKey,
) -> tuple[Float[Tensor, "b c h w"], Targets]:
    """Mix a batch, or leave it alone where chance says so; which and how depends on the key only.

    The random numbers are drawn on the CPU, a few a batch, so nothing waits for the device.
    """
    if not (augmentation.mixup or augmentation.cutmix):
        return images, labels
    from torchvision.transforms import v2

    with keyed_randomness(Stream.MIX, *key):
        mixed, cut = torch.rand(2).tolist()
        if mixed >= augmentation.mix_probability:
            return images, labels
        if augmentation.cutmix and (not augmentation.mixup or cut < augmentation.cutmix_share):
            return v2.CutMix(alpha=augmentation.cutmix, num_classes=num_classes)(images, labels)
        return v2.MixUp(alpha=augmentation.mixup, num_classes=num_classes)(images, labels)
