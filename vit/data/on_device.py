"""uint8 batch -> augmented batch, on the device where it is: what the reader of the images has not done yet."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from vit.data.augment import Augmentation, erase
from vit.data.crops import Crops
from vit.data.order import BatchKey, Stream, keyed_seed
from vit.data.policy import apply_policy, draw_policy


def augment_batch(
    images: UInt8[Tensor, "b c h w"], augmentation: Augmentation, key: BatchKey
) -> UInt8[Tensor, "b c h w"]:
    """Change every image in its own way: shift, mirror, policy, erase. What and how depends on the key only.

    Every change has its own random numbers, so that it is the same whoever makes it: `HeldReader` shifts and mirrors
    while it looks the images up.
    """
    generator = torch.Generator(images.device)
    if augmentation.shift or augmentation.flip:
        generator.manual_seed(keyed_seed(Stream.CROP, *key))
        images = Crops(images, augmentation).take(torch.arange(len(images), device=images.device), generator)
    if augmentation.policy != "none":
        on_cpu = torch.Generator().manual_seed(keyed_seed(Stream.POLICY, *key))
        steps = draw_policy(augmentation.policy, len(images), (images.shape[-2], images.shape[-1]), on_cpu)
        images = apply_policy(images, steps)
    if augmentation.erase:
        images = erase(images, augmentation.erase, generator.manual_seed(keyed_seed(Stream.BATCH, *key)))
    return images
