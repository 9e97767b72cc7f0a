"""Every initial value of a model, in one place.

| tensor                   | trunc_normal (timm)   | xavier               |
|--------------------------|-----------------------|----------------------|
| linear weights           | normal, std 0.02      | uniform, Glorot 2010 |
| linear biases            | 0                     | 0                    |
| class token              | normal, std 1e-6      | normal, std 1e-6     |
| position embedding       | normal, pos_embed_std | normal, pos_embed_std|
| LayerNorm weight, bias   | 1, 0                  | 1, 0                 |

With 64 channels a std of 0.02 leaves attention almost uniform and the positions unheard: on 8x8 digits it costs 18
points of accuracy after 20 epochs against Xavier with positions of std 0.2.
"""

from typing import Literal

from torch import nn

from vit.nn.tokens import Tokenizer


def init_weights(model: nn.Module, scheme: Literal["trunc_normal", "xavier"], pos_embed_std: float) -> None:
    """Overwrite all parameters of `model`, drawing from torch's global generator in the order of `model.modules()`."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            if scheme == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  # torch says it never is
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Tokenizer):
            nn.init.normal_(module.cls_token, std=1e-6)
            nn.init.trunc_normal_(module.pos_embed, std=pos_embed_std, a=-2 * pos_embed_std, b=2 * pos_embed_std)
