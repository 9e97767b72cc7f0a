"""Every initial value of a model, in one place.

| tensor                   | trunc_normal (timm)   | xavier               |
|--------------------------|-----------------------|----------------------|
| linear weights           | normal, std 0.02      | uniform, Glorot 2010 |
| linear biases            | 0                     | 0                    |
| class, register tokens   | normal, std 1e-6      | normal, std 1e-6     |
| distillation token       | normal, std 0.02      | normal, std 0.02     |
| position embedding       | normal, pos_embed_std | normal, pos_embed_std|
| query of attention pool  | normal, std d^-0.5    | normal, std d^-0.5   |
| LayerNorm weight, bias   | 1, 0                  | 1, 0                 |
| LayerScale               | init_values           | init_values          |

With 64 channels a std of 0.02 leaves attention almost uniform and the positions unheard: on 8x8 digits it costs 18
points of accuracy after 20 epochs against Xavier with positions of std 0.2.
"""

from typing import Literal

from torch import nn

from vit.nn.encoder import LayerScale
from vit.nn.pool import AttentionPool
from vit.nn.tokens import Tokenizer


def init_weights(model: nn.Module, scheme: Literal["trunc_normal", "xavier"], pos_embed_std: float) -> None:
    """Overwrite all parameters of `model`, drawing from torch's global generator in the order of `model.modules()`.

    On the device "meta" nothing is drawn; call it again once the model is on another (`model.to_empty`).
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return  # no values are kept there, and drawing them would import the compiler, for 5 s
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _init_linear(module, scheme)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, LayerScale):
            nn.init.constant_(module.gamma, module.initial)
        elif isinstance(module, AttentionPool):
            nn.init.trunc_normal_(module.latent, std=len(module.latent) ** -0.5)
        elif isinstance(module, Tokenizer):
            _init_tokens(module, pos_embed_std)


def _init_linear(linear: nn.Linear, scheme: Literal["trunc_normal", "xavier"]) -> None:
    if scheme == "xavier":
        nn.init.xavier_uniform_(linear.weight)
    else:
        nn.init.trunc_normal_(linear.weight, std=0.02)
    if linear.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]  # torch says it never is
        nn.init.zeros_(linear.bias)


def _init_tokens(tokenizer: Tokenizer, pos_embed_std: float) -> None:
    if tokenizer.cls_token is not None:
        nn.init.normal_(tokenizer.cls_token, std=1e-6)
    if tokenizer.dist_token is not None:
        nn.init.trunc_normal_(tokenizer.dist_token, std=0.02)
    if tokenizer.reg_token is not None:
        nn.init.normal_(tokenizer.reg_token, std=1e-6)
    if isinstance(tokenizer.pos_embed, nn.Parameter):
        std = pos_embed_std
        nn.init.trunc_normal_(tokenizer.pos_embed, std=std, a=-2 * std, b=2 * std)
