"""Methods that look at the input alone, by captum: what to set beside attention. All are of one class.

Pixels are summed over each patch. captum is an extra, imported when a method is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from vit.explain.answer import Answer, Choose
from vit.explain.as_found import with_gradients
from vit.explain.subject import Subject

Attribute = Callable[[Any, Float[Tensor, "b c h w"], Int[Tensor, " b"]], Float[Tensor, "b c h w"]]
"""From captum.attr, images and classes to one number a pixel and channel."""


def occlusion(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    fill: float = 0.0,
    patches_at_once: int = 8,
) -> Answer:
    """How far the logit falls when a patch is covered (Zeiler & Fergus 2014): one forward pass a patch.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        fill: What patches are covered with, in the units of the normalised images; 0 is the mean colour.
        patches_at_once: Covered patches of each image that go through the model together.
    """
    if patches_at_once < 1:
        raise ValueError(f"patches_at_once={patches_at_once} must be above 0.")
    window = (images.shape[1], *_patch_hw(subject, images))

    def attribute(attr: Any, pixels: Tensor, target: Tensor) -> Tensor:
        method = attr.Occlusion(_logits_of(subject))
        options = {"sliding_window_shapes": window, "strides": window, "baselines": fill}
        return method.attribute(pixels, target=target, perturbations_per_eval=patches_at_once, **options)

    with torch.no_grad():
        answer = _attributed(subject, images, choose, attribute)
    return Answer(answer.patches / window[0] / window[1] / window[2], answer.logits)  # captum repeats it in each pixel


def saliency(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose) -> Answer:
    """Size of the gradient of the logit by the pixels (Simonyan et al. 2014).

    Args:
        subject: Model.
        images: Images.
        choose: The class.
    """

    def attribute(attr: Any, pixels: Tensor, target: Tensor) -> Tensor:
        return attr.Saliency(_logits_of(subject)).attribute(pixels, target=target, abs=True)

    return _by_gradient(subject, images, choose, attribute)


def smoothgrad(
    subject: Subject,
    images: Float[Tensor, "b c h w"],
    choose: Choose,
    *,
    samples: int = 16,
    noise: float = 0.15,
    seed: int = 0,
) -> Answer:
    """Size of the mean gradient over noisy copies of the image (Smilkov et al. 2017, eq. 1).

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        samples: Noisy copies.
        noise: Standard deviation of the noise, as a share of the image's range.
        seed: Of the noise, begun anew for each image.
    """
    if samples < 1 or noise <= 0:
        raise ValueError(f"samples={samples} and noise={noise:g} must be above 0.")

    def attribute(attr: Any, pixels: Tensor, target: Tensor) -> Tensor:
        method = attr.NoiseTunnel(attr.Saliency(_logits_of(subject)))
        devices = [pixels.device] if pixels.is_cuda else []
        mean: list[Tensor] = []
        for image, label in zip(pixels.split(1), target.split(1), strict=True):
            deviation = noise * float(image.detach().max() - image.detach().min())
            with torch.random.fork_rng(devices):
                torch.manual_seed(seed)
                options = {"nt_samples": samples, "nt_samples_batch_size": 1, "stdevs": max(deviation, 1e-12)}
                mean.append(method.attribute(image, nt_type="smoothgrad", target=label, abs=False, **options))
        return torch.cat(mean).abs()

    return _by_gradient(subject, images, choose, attribute)


def gradient_x_input(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose) -> Answer:
    """Gradient of the logit by each pixel, times the pixel (Shrikumar et al. 2016).

    Args:
        subject: Model.
        images: Images.
        choose: The class.
    """

    def attribute(attr: Any, pixels: Tensor, target: Tensor) -> Tensor:
        return attr.InputXGradient(_logits_of(subject)).attribute(pixels, target=target)

    return _by_gradient(subject, images, choose, attribute)


def integrated_gradients(
    subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, *, steps: int = 32
) -> Answer:
    """Gradient times input, the gradient averaged on the way from the mean colour (Sundararajan et al. 2017).

    A map sums to the difference of the logits of the image and of the mean colour, up to the number of steps.

    Args:
        subject: Model.
        images: Images.
        choose: The class.
        steps: Points on the way.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be above 0.")

    def attribute(attr: Any, pixels: Tensor, target: Tensor) -> Tensor:
        method = attr.IntegratedGradients(_logits_of(subject))
        return method.attribute(pixels, target=target, n_steps=steps, internal_batch_size=len(pixels))

    return _by_gradient(subject, images, choose, attribute)


def _by_gradient(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, attribute: Attribute) -> Answer:
    with with_gradients(subject.model):
        return _attributed(subject, images.detach().clone().requires_grad_(), choose, attribute)


def _attributed(subject: Subject, images: Float[Tensor, "b c h w"], choose: Choose, attribute: Attribute) -> Answer:
    try:
        from captum import attr
    except ImportError:
        raise ImportError("this method needs captum, which is not installed; pip install 'plain-vit[captum]'") from None
    with torch.no_grad():
        logits = subject.run(images.detach()).logits
    pixels = attribute(attr, images, choose(logits)).detach().float()
    gh, gw = subject.grid
    patches = reduce(pixels, "b c (gh ph) (gw pw) -> b (gh gw)", "sum", gh=gh, gw=gw)
    return Answer(patches, logits)


def _logits_of(subject: Subject) -> Callable[[Tensor], Tensor]:
    return lambda images: subject.run(images).logits.float()


def _patch_hw(subject: Subject, images: Tensor) -> tuple[int, int]:
    return images.shape[-2] // subject.grid[0], images.shape[-1] // subject.grid[1]
