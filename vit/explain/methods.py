"""The methods by name: what each gives for a batch of images, what its settings are, and what it claims.

A method runs the model as often as it needs, and returns one number a patch. Its settings are the keyword arguments of
its function, types, defaults and help included.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from vit.explain import baselines, descending, looking
from vit.explain.answer import Answer

Unit = Literal["share", "score"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to explain, and what its maps are."""

    title: str
    """With its source."""

    answer: Callable[..., Answer]
    """From the subject, the images and a `Choose`, with the settings as keyword arguments."""

    class_specific: bool
    """Whether the map is of the target class. Otherwise it is the same for every class."""

    unit: Unit = "score"
    """`share`: of what the head reads, from 0 to 1, patches of an image at most 1 together; `score`: of no unit."""

    signed: bool = False
    """Whether a patch can speak against the class, and is below 0 then."""

    needs: str = ""
    """The extra of this package that it needs."""

    @property
    def settings(self) -> Mapping[str, inspect.Parameter]:
        """The keyword arguments of `answer`: names, types, defaults."""
        parameters = inspect.signature(self.answer).parameters.values()
        return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


METHODS: dict[str, Method] = {
    "raw": Method(title="attention of one layer", answer=looking.raw, class_specific=False, unit="share"),
    "rollout": Method(
        title="attention rollout (Abnar & Zuidema 2020)",
        answer=looking.rolled_out,
        class_specific=False,
        unit="share",
    ),
    "flow": Method(title="attention flow (Abnar & Zuidema 2020)", answer=looking.flow, class_specific=False),
    "chefer": Method(
        title="attention relevance (Chefer et al. 2021, ICCV)", answer=descending.chefer, class_specific=True
    ),
    "gradient_rollout": Method(
        title="attention rollout weighted by gradients",
        answer=descending.gradient_rollout,
        class_specific=True,
        unit="share",
    ),
    "attention_gradcam": Method(
        title="Grad-CAM of attention", answer=descending.gradcam_of_attention, class_specific=True
    ),
    "token_gradcam": Method(title="Grad-CAM of tokens", answer=descending.gradcam_of_tokens, class_specific=True),
    "occlusion": Method(
        title="occlusion (Zeiler & Fergus 2014)",
        answer=baselines.occlusion,
        class_specific=True,
        signed=True,
        needs="captum",
    ),
    "saliency": Method(
        title="input gradient (Simonyan et al. 2014)", answer=baselines.saliency, class_specific=True, needs="captum"
    ),
    "smoothgrad": Method(
        title="SmoothGrad (Smilkov et al. 2017)", answer=baselines.smoothgrad, class_specific=True, needs="captum"
    ),
    "gradient_x_input": Method(
        title="gradient x input (Shrikumar et al. 2016)",
        answer=baselines.gradient_x_input,
        class_specific=True,
        signed=True,
        needs="captum",
    ),
    "integrated_gradients": Method(
        title="integrated gradients (Sundararajan et al. 2017)",
        answer=baselines.integrated_gradients,
        class_specific=True,
        signed=True,
        needs="captum",
    ),
}
