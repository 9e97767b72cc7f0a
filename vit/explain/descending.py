"""Methods that weigh attention by what it counts for a class: one forward and one backward pass.

Gradients arrive last layer first, which is the order in which the row of what the head reads goes down through the
layers: each is used when it arrives, and none is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from vit.explain.answer import Answer, Choose, chosen_logits
from vit.explain.as_found import with_gradients
from vit.explain.gradients import attention_gradcam, positive_relevance, token_gradcam, weighted_step
from vit.explain.looking import layer_of
from vit.explain.rollout import check_layer, check_share
from vit.explain.subject import Subject, Watch

Fold = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What is carried, the weights and the gradient of a layer -> what is carried to the layer below."""


def chefer(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose) -> Answer:
    """Relevance for a class by the generic rule of Chefer et al. 2021, of what the head reads.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
    """

    def fold(row: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
        return row + einsum(row, positive_relevance(weights, gradient), "b i, b i j -> b j")

    return _descend(subject, images, choose, fold)


def gradient_rollout(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> Answer:
    """Attention rollout with every weight multiplied by what it counts for the class.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        discard_ratio: Share of the smallest weights of a layer that is left out, from 0 to below 1.
        start_layer: First layer that counts; 0 is nearest the image.
    """
    check_layer(subject.depth, "start_layer", start_layer)
    check_share("discard_ratio", discard_ratio)

    def fold(row: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
        step = weighted_step(weights, gradient, discard_ratio, subject.class_token)
        return einsum(row, step, "b i, b i j -> b j")

    return _descend(subject, images, choose, fold, range(start_layer, subject.depth))


def gradcam_of_attention(
    subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, *, layer: int = -1
) -> Answer:
    """Grad-CAM on the attention of one layer.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        layer: Which layer, 0 nearest the image; from the end where negative.
    """

    def fold(read: Tensor, weights: Tensor, gradient: Tensor) -> Tensor:
        cam = attention_gradcam(weights, gradient, read, subject.num_prefix_tokens)
        return nn.functional.pad(cam, (subject.num_prefix_tokens, 0))

    return _descend(subject, images, choose, fold, [layer_of(subject, layer)])


def gradcam_of_tokens(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, *, layer: int = -1) -> Answer:
    """Grad-CAM on the tokens that enter the attention of one layer, normalised.

    Behind the last attention patches have no gradient where a class token is read, and the map would be empty.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        layer: Which layer, 0 nearest the image; from the end where negative.
    """
    entering: list[Tensor] = []
    norm = subject.norm_before_attention(layer_of(subject, layer))

    def enter(module: nn.Module, inputs: object, output: Tensor) -> None:
        entering.append(output)

    handle = norm.register_forward_hook(enter)
    try:
        with with_gradients(subject.model):
            logits = subject.run(images.detach().clone().requires_grad_()).logits
            if len(entering) != 1:
                raise ValueError(f"the norm before the attention ran {len(entering)} times, so nothing is said.")
            (gradient,) = torch.autograd.grad(chosen_logits(logits, choose).sum(), entering)
    finally:
        handle.remove()
    tokens = entering[0].detach().float()
    return Answer(token_gradcam(tokens, gradient.float(), subject.num_prefix_tokens), logits.detach())


def _descend(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    fold: Fold,
    layers: Sequence[int] | None = None,
) -> Answer:
    """Fold the layers, last first, over the row of what the head reads."""
    with with_gradients(subject.model):
        watch = Watch(lambda weights: weights, layers)
        seen = subject.run(images.detach().clone().requires_grad_(), watch)
        carried, left = seen.read, len(watch.kept)

        def arrive(layer: int, gradient: Tensor) -> None:
            nonlocal carried, left
            assert layer == left - 1, f"the gradient of layer {layer} came before that of layer {left - 1}"
            with torch.autocast(gradient.device.type, enabled=False):
                carried = fold(carried, watch.kept.pop().detach().float(), gradient.float())
            left = layer

        score = chosen_logits(seen.logits, choose).sum()
        for layer, weights in enumerate(watch.kept[1:], start=1):
            weights.register_hook(partial(arrive, layer))
        try:
            (last,) = torch.autograd.grad(score, watch.kept[:1])
            arrive(0, last)
        finally:
            watch.kept.clear()  # hooks and weights hold each other
    return Answer(carried[:, subject.num_prefix_tokens :], seen.logits.detach())
