"""logits, targets -> loss: cross-entropy with hard or mixed targets, smoothing and class weights together."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def training_loss(
    logits: Float[Tensor, "b classes"],
    targets: Int[Tensor, " b"] | Float[Tensor, "b classes"],
    smoothing: float = 0.0,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy, averaged over the images by the weight of their classes.

    Targets are class indices, or the shares of the classes in a mixed image (Zhang et al. 2018, eq. 1; Yun et al. 2019,
    eq. 1), of which an index is the special case: both give the same loss, which torch's own mean does not where there
    are class weights. `smoothing` spreads that share of the target evenly over all classes.
    """
    if not targets.is_floating_point():
        return F.cross_entropy(logits, targets, class_weights, label_smoothing=smoothing)
    losses = F.cross_entropy(logits, targets, class_weights, reduction="none", label_smoothing=smoothing)
    return losses.mean() if class_weights is None else losses.sum() / (targets.to(class_weights) @ class_weights).sum()
