"""model + image -> picture: what the model attends to.

rollout.py  attention of all layers -> one matrix: attention rollout
explain.py  model, images -> one map an image
overlay.py  picture + map -> a figure to look at
"""

from vit.explain.explain import Explanation, explain
from vit.explain.rollout import rollout

__all__ = ["Explanation", "explain", "rollout"]
