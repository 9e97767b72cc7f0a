"""images -> logits: the backbone, made of torch and einops alone.

    config.py         ViTConfig: the schema of a model, validated; named presets
    preprocessing.py  what pixels must go through to be the images that a model was trained on (numbers only)
    patches.py        images -> patches
    tokens.py         patches -> tokens: class token, position embedding
    attention.py      tokens -> tokens: fused attention, and the explicit weights for looking
    encoder.py        tokens -> tokens: MLP, pre-norm block
    init.py           every initial value
    vit.py            the whole model

Axes, the same everywhere: b batch; c channels; h, w pixels; gh, gw grid rows and columns; ph, pw patch pixels;
p patches; n tokens (class token first, then patches in reading order); d embed_dim; heads; dh head_dim. Height before
width.
"""

from vit.nn.config import PRESETS, ViTConfig
from vit.nn.preprocessing import Preprocessing
from vit.nn.vit import ViT

__all__ = ["PRESETS", "Preprocessing", "ViT", "ViTConfig"]
