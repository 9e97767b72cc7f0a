"""A model of timm, looked into: its fused attention is switched off and its weights hooked, for the time of one run.

timm itself is not imported: a model of it is known by its class.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vit.explain.subject import Seen, Subject, Watch
from vit.nn.attention import attention_weights

MODELS = {"timm.models.vision_transformer.VisionTransformer", "timm.models.eva.Eva"}
BLOCKS = {"Block", "EvaBlock"}
"""Pre-norm, one attention each."""

ATTENTIONS = {"Attention", "AttentionRope", "EvaAttention"}
"""One softmax whose weights go through `attn_drop` where attention is not fused."""


def is_vit_of_timm(model: nn.Module) -> bool:
    """Whether it is one of timm's two classes of plain Vision Transformers, or derived from them."""
    return any(f"{parent.__module__}.{parent.__name__}" in MODELS for parent in type(model).__mro__)


class ViTOfTimm(Subject):
    """A `VisionTransformer` (DeiT's and SigLIP's, too) or `Eva`, with class-token, mean or attention pooling."""

    def __init__(self, model: Any, images: Float[Tensor, "b c h w"]) -> None:
        _check(model)
        self.model = self._model = model
        self.grid = _grid(model.patch_embed, images)
        self.num_prefix_tokens = model.num_prefix_tokens
        self.class_token = model.cls_token is not None
        self.depth = len(model.blocks)

    def run(self, images: Float[Tensor, "b c h w"], watch: Watch | None = None, only_read: bool = False) -> Seen:
        last: list[Tensor] = []

        def end(module: nn.Module, inputs: object, tokens: Tensor) -> None:
            last.append(tokens)

        with ExitStack() as stack:
            stack.enter_context(_hooked(self._model.norm, end))
            for block in self._model.blocks if watch is not None else ():
                stack.callback(setattr, block.attn, "fused_attn", block.attn.fused_attn)
                block.attn.fused_attn = False
                stack.enter_context(_hooked(block.attn.attn_drop, self._looking(watch)))
            logits = self._model.forward(images)
        if watch is not None:
            watch.check(self.depth)
        assert len(last) == 1, "timm's VisionTransformer and Eva put their tokens through `norm` once"
        with torch.no_grad():
            return Seen(logits, self._read(last[0]).float())

    def _looking(self, watch: Watch | None) -> Callable[..., None]:
        def look(module: nn.Module, inputs: Any, weights: Tensor) -> None:
            assert watch is not None
            if weights.shape[-2:] != (self.num_tokens, self.num_tokens):
                raise ValueError(
                    f"attention of {weights.shape[-2]} x {weights.shape[-1]} tokens was seen where {self.num_tokens} "
                    f"were awaited: {self.num_prefix_tokens} and a grid of {self.grid[0]} x {self.grid[1]} patches."
                )
            watch.see(weights)

        return look

    def _read(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        """How much the pooling takes of each token."""
        model, prefix = self._model, self.num_prefix_tokens
        first = 0 if getattr(model, "pool_include_prefix", False) else prefix
        if model.attn_pool is not None:
            return F.pad(_pool_weights(model.attn_pool, tokens[:, first:]), (first, 0))
        if model.global_pool == "avg":
            read = torch.arange(tokens.shape[1], device=tokens.device) >= first
        else:  # the class token, and the distillation token where it has a head of its own
            read = torch.arange(tokens.shape[1], device=tokens.device) < (2 if hasattr(model, "head_dist") else 1)
        return repeat(read / read.sum(), "n -> b n", b=len(tokens))


def _pool_weights(pool: Any, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
    """What the query of timm's `AttentionPoolLatent` takes of each token, mean over its heads."""
    if pool.pos_embed is not None:
        tokens = tokens + pool.pos_embed
    q = repeat(pool.q(pool.latent), "1 1 (heads dh) -> b heads 1 dh", heads=pool.num_heads, b=len(tokens))
    k, _ = rearrange(pool.kv(tokens), "b n (kv heads dh) -> kv b heads n dh", kv=2, heads=pool.num_heads)
    weights = attention_weights(pool.q_norm(q), pool.k_norm(k))
    return reduce(weights, "b heads 1 n -> b n", "mean")


def _check(model: Any) -> None:
    """Raise a `ValueError` that says what of this model cannot be looked into."""
    name = type(model).__name__
    if not model.num_classes:
        raise ValueError(f"this {name} has num_classes=0 and predicts nothing; create it with classes.")
    for block in model.blocks:
        kind = type(block).__name__
        if kind not in BLOCKS or type(block.attn).__name__ not in ATTENTIONS:
            raise ValueError(
                f"the blocks of this {name} are {kind}, whose attention is not of the plain kind; pre-norm blocks with "
                "one softmax attention can be looked into."
            )
    pooled = model.attn_pool.latent_len == 1 if model.attn_pool is not None else model.global_pool in ("token", "avg")
    if not pooled:
        raise ValueError(
            f"this {name} pools by global_pool={model.global_pool!r}, which is no weighing of tokens; token, avg and "
            "map are."
        )


def _grid(patch_embed: Any, images: Tensor) -> tuple[int, int]:
    """Rows and columns of patches.

    Raises:
        ValueError: the images do not fit.
    """
    (ph, pw), native = patch_embed.patch_size, patch_embed.img_size
    size = tuple(images.shape[-2:])
    if images.ndim != 4:
        raise ValueError(f"images have {images.ndim} axes, but 4 are wanted: batch x channels x height x width.")
    if images.shape[1] != (channels := patch_embed.proj.in_channels):
        raise ValueError(f"images have {images.shape[1]} channels, but this model takes {channels}.")
    if patch_embed.strict_img_size and native is not None and size != tuple(native):
        raise ValueError(
            f"images are {size[0]} x {size[1]}, but this model takes {native[0]} x {native[1]} pixels; resize them, or "
            "create the model with dynamic_img_size=True."
        )
    if size[0] % ph or size[1] % pw:
        raise ValueError(f"images are {size[0]} x {size[1]}, which is no whole number of patches of {ph} x {pw}.")
    return size[0] // ph, size[1] // pw


def _hooked(module: nn.Module, hook: Callable[..., None]) -> Any:
    """The handle of a hook, which is a context that ends with it."""
    return module.register_forward_hook(hook)
