"""model + image -> picture: what the model attends to.

rollout.py  attention of all layers -> one matrix: attention rollout
subject.py  model, images -> logits and the attention of every layer, the model left as it was found
methods.py  the methods by name: METHODS
explain.py  model, images -> one map an image, by any method
overlay.py  picture + map -> a figure to look at
"""

import sys
from types import ModuleType

from vit.explain.explain import Explanation, explain
from vit.explain.methods import METHODS, Method
from vit.explain.rollout import rollout

__all__ = ["METHODS", "Explanation", "Method", "explain", "rollout"]


class _CallableModule(ModuleType):
    """`from vit import explain` finds this module, which bears the name of its main function: so it can be called."""

    __call__ = staticmethod(explain)


sys.modules[__name__].__class__ = _CallableModule
