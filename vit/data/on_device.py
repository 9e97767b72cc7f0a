"""uint8 batch -> augmented batch, on the device where it is: what the reader of the images has not done yet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from vit.data.augment import Augmentation, erase
from vit.data.crops import Crops
from vit.data.order import BatchKey, Stream, keyed_seed
from vit.data.policy import Step, apply_policy, draw_policy


def augment_batch(
    images: UInt8[Tensor, "b c h w"], augmentation: Augmentation, key: BatchKey
) -> UInt8[Tensor, "b c h w"]:
    """Change every image in its own way: shift, mirror, policy, erase. What and how depends on the key only.

    Every change has its own random numbers, so that it is the same whoever makes it: `HeldReader` shifts and mirrors
    and changes by the policy while it looks the images up.
    """
    generator = torch.Generator(images.device)
    if augmentation.shift or augmentation.flip:
        generator.manual_seed(keyed_seed(Stream.CROP, *key))
        images = Crops(images, augmentation).take(torch.arange(len(images), device=images.device), generator)
    if augmentation.policy != "none":
        images = change_by_policy(images, augmentation.policy, [key])
    if augmentation.erase:
        images = erase(images, augmentation.erase, generator.manual_seed(keyed_seed(Stream.BATCH, *key)))
    return images


def change_by_policy(
    images: UInt8[Tensor, "n c h w"], policy: str, keys: Sequence[BatchKey]
) -> UInt8[Tensor, "n c h w"]:
    """Change every image as a policy has it, in one batch or in several of equal size, each by its own key."""
    batch, size = len(images) // len(keys), (images.shape[-2], images.shape[-1])
    drawn = [
        draw_policy(policy, batch, size, torch.Generator().manual_seed(keyed_seed(Stream.POLICY, *key))) for key in keys
    ]
    steps = [
        Step(torch.cat([step.operations for step in same]), torch.cat([step.magnitudes for step in same]))
        for same in zip(*drawn, strict=True)
    ]
    return apply_policy(images, steps)
