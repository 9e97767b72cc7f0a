"""Plain Vision Transformers: train one, predict with it, and see what it attends to.

image -> patches -> tokens -> pre-norm encoder blocks -> norm -> head -> logits      vit/nn/
files -> images, labels                                                              vit/data/
logits -> loss, metrics, steps (Lightning)                                           vit/train/
attention of every block -> rollout -> heat map                                      vit/explain/
model <-> folder of safetensors + config.json, as timm reads it                      vit/weights/
image files -> labels with probabilities                                             vit/predict.py
ours and timm under one recipe -> one table                                          vit/compare/
the `vit` command                                                                    vit/cli/

from vit import ViT, ViTConfig, load_model, rollout
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vit.explain import rollout
    from vit.nn import Preprocessing, ViT, ViTConfig, create_model, list_models
    from vit.predict import Predictor
    from vit.weights import load_model, read_card, save_model

__version__ = "0.1.0"

__all__ = [
    "Predictor",
    "Preprocessing",
    "ViT",
    "ViTConfig",
    "create_model",
    "list_models",
    "load_model",
    "read_card",
    "rollout",
    "save_model",
]

_HOME = {
    "Predictor": "vit.predict",
    "Preprocessing": "vit.nn",
    "ViT": "vit.nn",
    "ViTConfig": "vit.nn",
    "create_model": "vit.nn",
    "list_models": "vit.nn",
    "load_model": "vit.weights",
    "read_card": "vit.weights",
    "rollout": "vit.explain",
    "save_model": "vit.weights",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import vit` itself costs nothing, not even torch."""
    if name == "explain":  # a package, not a function: vit.explain.explain(model, images)
        return import_module("vit.explain")
    if name not in _HOME:
        raise AttributeError(f"module 'vit' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOME[name]), name)
