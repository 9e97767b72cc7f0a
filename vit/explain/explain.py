"""model, images -> maps: for every image, how much of what the model read came from each patch."""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vit.explain.rollout import HeadFusion, rollout
from vit.nn import ViT


@dataclass(frozen=True)
class Explanation:
    """Maps of a batch and what they are of."""

    maps: Float[Tensor, "b gh gw"]
    """Share of each patch in the rollout of what the head reads, as it came out: not stretched, not clipped."""

    target: Int[Tensor, " b"]
    """The predicted class of each image. Rollout is the same for every class."""

    probabilities: Float[Tensor, "b classes"]
    """What the model predicts for the images."""

    method: str
    """Name of the method, with its settings."""


@torch.no_grad()
def explain(
    model: ViT,
    images: Float[Tensor, "b c h w"],
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    residual: float = 0.5,
) -> Explanation:
    """Attention rollout of images, on the patch grid; the model is left as it was found.

    It is the class token's row of `rollout`; of models that pool otherwise, the rows are averaged as the pooling does.

    Args:
        model: Any `ViT`; it is run as in evaluation.
        images: Normalised as for the model.
        head_fusion: As in `rollout`.
        discard_ratio: As in `rollout`.
        start_layer: As in `rollout`.
        residual: As in `rollout`.

    Raises:
        ValueError: as `rollout`, images that do not fit the model, or a model without classes.
    """
    if model.config.num_classes == 0:
        raise ValueError("a model with num_classes=0 predicts nothing; rollout(model.attention(images)) explains it.")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        grid = model.grid_of(images)
        tokens, attention = model.encode_with_attention(images)
        logits, read = model.classify(tokens), model.pool.weights(tokens)
    finally:
        for module, training in modes.items():
            module.training = training
    mixed = rollout(attention, head_fusion, discard_ratio, start_layer, residual)
    shares = einsum(read.float(), mixed, "b i, b i j -> b j")
    patches = shares[:, model.config.num_prefix_tokens :]
    probabilities = logits.float().softmax(dim=-1)
    settings = f"heads {head_fusion}, residual {residual:g}"
    settings += f", discard {discard_ratio:g}" if discard_ratio else ""
    settings += f", from layer {start_layer}" if start_layer else ""
    return Explanation(
        maps=rearrange(patches, "b (gh gw) -> b gh gw", gh=grid[0]),
        target=probabilities.argmax(dim=-1),
        probabilities=probabilities,
        method=f"attention rollout ({settings})",
    )
