"""model + image -> picture: what the model attends to, and what it counts for a class.

Pure functions on attention of shape (layers, b, heads, n, n):
    rollout.py     attention rollout
    flow.py        attention flow
    gradients.py   with gradients: Chefer's rule, gradient rollout, Grad-CAM of attention and of tokens
On a model, each returning one number a patch:
    looking.py     raw attention, rollout, flow: one forward pass, the same for every class
    descending.py  those with gradients: one forward and one backward pass
    baselines.py   captum's: occlusion, input gradients
    methods.py     METHODS: all of them by name, and what they claim
    explain.py     model, images, method, target -> Explanation
    answer.py      what all methods return
What they stand on:
    head_mean.py   attention that keeps the mean of its heads, quickly
    subject.py     what methods need of a model: logits, and the attention on the way
    ours.py        of a ViT of this package
    timm.py        of a model of timm
    as_found.py    the model left exactly as it was found
How far to trust them:
    faithfulness.py  what happens when patches are taken away in the order of a map: curves, measures, verdicts
    removal.py       four ways to take patches away
    priors.py        maps that know nothing of the model, which every method must beat
    sanity.py        likeness to maps of shuffled weights and of another class
To look at:
    layers.py      maps of every layer and head, and how the rollout grows
    xray.py        numbers about a model: positions, filters, heads
    draw/          maps -> pictures and pages
"""

from vit.explain.explain import Explanation, explain
from vit.explain.flow import attention_flow
from vit.explain.gradients import attention_gradcam, chefer, gradient_rollout, token_gradcam
from vit.explain.looking import raw_attention
from vit.explain.methods import METHODS, Method
from vit.explain.rollout import rollout

__all__ = [
    "METHODS",
    "Explanation",
    "Method",
    "attention_flow",
    "attention_gradcam",
    "chefer",
    "explain",
    "gradient_rollout",
    "raw_attention",
    "rollout",
    "token_gradcam",
]
