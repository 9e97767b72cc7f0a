"""images -> logits: the backbone, made of torch and einops (and jaxtyping's annotations) alone.

    config.py         ViTConfig: the schema of a model, validated
    presets.py        named architectures, a table
    create.py         a model by its name
    preprocessing.py  what pixels must go through to be the images that a model was trained on (numbers only)
    patches.py        images -> patches
    tokens.py         patches -> tokens: class token, registers, positions added
    positions.py      where a token stands: learned, sines and cosines, rotations; another grid
    attention.py      tokens -> tokens: fused attention, and the explicit weights for looking
    encoder.py        tokens -> tokens: MLPs, pre-norm block
    pool.py           tokens -> features -> logits: class token, mean or attention pooling; the distilled head
    init.py           every initial value
    vit.py            the whole model

Axes, the same everywhere: b batch; c channels; h, w pixels; gh, gw grid rows and columns; ph, pw patch pixels;
p patches; n tokens (prefix tokens first: class, distillation, registers; then patches in reading order); d embed_dim;
heads; dh head_dim. Height before width.
"""

from vit.nn.config import ViTConfig
from vit.nn.create import create_model, list_models
from vit.nn.preprocessing import Preprocessing
from vit.nn.presets import PRESETS
from vit.nn.vit import ViT

__all__ = ["PRESETS", "Preprocessing", "ViT", "ViTConfig", "create_model", "list_models"]
