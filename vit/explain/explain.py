"""model, images -> maps: for every image, how much each patch counted, by any of the methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vit.explain.answer import Choose
from vit.explain.as_found import as_for_explaining, unwrapped
from vit.explain.methods import METHODS, Method, Unit
from vit.explain.ours import OurViT
from vit.explain.subject import Subject
from vit.explain.timm import ViTOfTimm, is_vit_of_timm
from vit.nn import ViT
from vit.spelling import did_you_mean

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Explanation:
    """Maps of a batch and what they are of."""

    maps: Float[Tensor, "b gh gw"]
    """One number a patch, in float32, as the method gave it: not stretched, not clipped."""

    target: Int[Tensor, " b"]
    """The class of each image that was asked about. Maps that are not `class_specific` do not depend on it."""

    probabilities: Float[Tensor, "b classes"]
    """What the model predicts for the images."""

    method: str
    """Title of the method with its settings, for a caption."""

    name: str = "rollout"
    """The method's key in `METHODS`."""

    class_specific: bool = False
    """Whether the maps are of the target class; otherwise they are the same for every class."""

    signed: bool = False
    """Whether numbers below 0 mean something: that the patch speaks against the class."""

    unit: Unit = "share"
    """`share`: of what the head reads, from 0 to 1, patches of an image at most 1 together; `score`: of no unit."""

    @property
    def claim(self) -> str:
        """What the maps say and what they do not, in one sentence for a caption."""
        if self.class_specific:
            return "Of the class that is named, as this method sees it."
        return "The same for every class: it says where the model looked, not what for."


def explain(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    method: str = "rollout",
    target: int | Tensor | None = None,
    **settings: Setting,
) -> Explanation:
    """How much each patch of each image counted for what the model says; the model is left as it was found.

    Args:
        model: A `ViT`, or one of timm's Vision Transformers, compiled or not; it is run as in evaluation.
        images: Normalised as for the model.
        method: A name in `METHODS`; docs/explanation.md says what each does and what it costs.
        target: The class to explain: one for all images or, as a tensor (b,), one for each; the predicted ones by
            default. Maps of methods that are not class-specific do not depend on it.
        settings: Of the method, by name: `METHODS[method].settings`.

    Raises:
        ValueError: an unknown method, setting or class, a setting out of range, images that do not fit the model, or a
            model that cannot be looked into.
        ImportError: the method needs an extra that is not installed.
    """
    chosen = method_named(method)
    _check_settings(method, chosen, settings)
    model = unwrapped(model)
    choose = _chooser(target, len(images))
    with as_for_explaining(model):
        subject = _subject_of(model, images)
        answer = chosen.answer(subject, images, choose, **settings)
    probabilities = answer.logits.detach().float().softmax(dim=-1)
    defaults = {name: parameter.default for name, parameter in chosen.settings.items()}
    return Explanation(
        maps=rearrange(answer.patches.detach().float(), "b (gh gw) -> b gh gw", gh=subject.grid[0]),
        target=choose(answer.logits.detach()),
        probabilities=probabilities,
        method=", ".join(filter(None, [chosen.title, _described({**defaults, **settings})])),
        name=method,
        class_specific=chosen.class_specific,
        signed=chosen.signed,
        unit=chosen.unit,
    )


def method_named(name: str) -> Method:
    """The method of this name.

    Raises:
        ValueError: there is none; the nearest name is said.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}{did_you_mean(name, METHODS)}")
    return METHODS[name]


def _check_settings(name: str, method: Method, settings: dict[str, Setting]) -> None:
    for setting in settings:
        if setting not in method.settings:
            known = did_you_mean(setting, method.settings) if method.settings else "; it has none."
            raise ValueError(f"method={name!r} has no setting {setting!r}{known}")


def _chooser(target: int | Tensor | None, num_images: int) -> Choose:
    """Logits -> the class of each image that was asked for, checked."""

    def choose(logits: Float[Tensor, "b classes"]) -> Int[Tensor, " b"]:
        if target is None:
            return logits.argmax(dim=-1)
        if isinstance(target, str):
            raise ValueError(f"target={target!r} is a name, and classes are asked for by number.")
        classes = torch.as_tensor(target, device=logits.device)
        if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
            raise ValueError(f"target has dtype {classes.dtype}; numbers of classes are whole.")
        if classes.ndim and tuple(classes.shape) != (num_images,):
            raise ValueError(
                f"target has shape {tuple(classes.shape)}; one class is wanted, or one for each of {num_images} images."
            )
        if outside := [each for each in classes.reshape(-1).tolist() if not 0 <= each < logits.shape[-1]]:
            raise ValueError(
                f"target={outside[0]} is not one of the {logits.shape[-1]} classes, 0 to {logits.shape[-1] - 1}."
            )
        return classes.long().expand(num_images)

    return choose


def _subject_of(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Subject:
    """The model as methods see it.

    Raises:
        ValueError: it is no ViT that can be looked into, or the images do not fit it.
    """
    if not images.is_floating_point():
        raise ValueError(f"images have dtype {images.dtype}; normalised ones, of floating-point numbers, are wanted.")
    if images.ndim == 4 and len(images) == 0:
        raise ValueError("images is an empty batch, so there is nothing to explain.")
    if isinstance(model, ViT):
        return OurViT(model, images)
    if is_vit_of_timm(model):
        return ViTOfTimm(model, images)
    raise ValueError(
        f"{type(model).__name__} is no Vision Transformer whose attention can be looked into; a ViT of this package, "
        "or a VisionTransformer or Eva of timm is."
    )


def _described(settings: dict[str, Setting]) -> str:
    """Settings as one would type them."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in settings.items()
    )
