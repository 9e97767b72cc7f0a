"""images -> logits: the whole model, read from top to bottom like figure 1 of the paper."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vit.nn.config import Size, ViTConfig
from vit.nn.encoder import Block
from vit.nn.init import init_weights
from vit.nn.patches import PatchEmbedding
from vit.nn.pool import AttentionPool, ClassTokenPool, DistilledHead, DistilledPool, MeanOfBoth, MeanPool
from vit.nn.positions import CentredRotary2d, Rotary2d, Rotation
from vit.nn.tokens import Tokenizer


class ViT(nn.Module):
    """Vision Transformer of Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, and its plain descendants.

    `model(images)` gives logits, `model.encode(images)` the tokens, `model.features(images)` feature maps,
    `model.attention(images)` who looked at whom. Which parts a model has is decided here, by the config.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        width, eps = config.embed_dim, config.norm_eps
        self.patch_embed = PatchEmbedding(
            config.patch_hw,
            config.in_channels,
            width,
            bias=not config.pre_norm,
            norm=config.patch_norm,
            norm_eps=eps,
        )
        self.tokenizer = Tokenizer(
            config.grid,
            width,
            class_token=config.class_token,
            distilled=config.distilled,
            num_register_tokens=config.num_register_tokens,
            positions=config.positions,
            prefix_positions=config.prefix_positions,
            drop_rate=config.drop_rate,
            patch_drop_rate=config.patch_drop_rate,
        )
        self.rotary = _rotary(config)
        self.norm_pre = nn.LayerNorm(width, eps=eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(_blocks(config))
        self.norm = nn.LayerNorm(width, eps=eps) if config.final_norm == "tokens" else nn.Identity()
        self.pool = _pool(config)
        self.fc_norm = nn.LayerNorm(width, eps=eps) if config.final_norm == "pooled" else nn.Identity()
        self.head = _head(config)
        self.grad_checkpointing = False
        init_weights(self, config.init, config.pos_embed_std)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.classify(self.encode(images))

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b classes"]:
        """Logits of what `encode` returned."""
        return self.head(self.fc_norm(self.pool(tokens)))

    def encode(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Normalised tokens: class, distillation and register tokens first, then the patches in reading order.

        Raises:
            ValueError: the images have another size or number of channels than the model.
        """
        tokens, rotation = self.embed(images), self.rotation(images)
        for block in self._first_blocks(self.config.depth):
            tokens = self._run(block, tokens, rotation)
        return self.norm(tokens)

    def embed(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens as they enter the first block."""
        grid = self._grid_of(images)
        return self.norm_pre(self.tokenizer(self.patch_embed(images), grid))

    def rotation(self, images: Float[Tensor, "b c h w"]) -> Rotation | None:
        """How far the tokens of these images turn inside attention; none unless positions are rotary."""
        return None if self.rotary is None else self.rotary(self._grid_of(images), images.device)

    def distillation_logits(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b classes"], Float[Tensor, "b classes"]]:
        """Logits of the class token, to be compared with the label, and of the distillation token, with the teacher.

        `forward` returns their mean, in training too: what it returns never depends on a switch.

        Raises:
            ValueError: the model has no distillation token or no head.
        """
        if not isinstance(self.head, DistilledHead):
            raise ValueError("only a model with distilled=True and num_classes above 0 has logits to distil into.")
        return self.head.both(self.pool(self.encode(images)))

    def features(
        self, images: Float[Tensor, "b c h w"], layers: Sequence[int] | None = None, normalise: bool = False
    ) -> list[Float[Tensor, "b d gh gw"]]:
        """What all blocks, or the given ones (0 is nearest the image), put out, as maps, in ascending order.

        For detection and segmentation code. Prefix tokens are left out. Blocks behind the last one do not run.

        Args:
            images: as for `forward`.
            layers: numbers of the blocks; all by default.
            normalise: put the final norm over each map, as DINOv2 does; by default maps are the bare residual stream.

        Raises:
            ValueError: a layer that the model does not have, or patches being dropped, which leaves holes.
        """
        if self.training and self.config.patch_drop_rate:
            raise ValueError("in training patch_drop_rate leaves holes in the maps; call model.eval() first.")
        wanted = self._checked(layers)
        tokens, rotation = self.embed(images), self.rotation(images)
        maps: list[Tensor] = []
        for layer, block in enumerate(self._first_blocks(wanted[-1] + 1)):
            tokens = self._run(block, tokens, rotation)
            if layer in wanted:
                maps.append(self._as_map(self.norm(tokens) if normalise else tokens, self._grid_of(images)))
        return maps

    def attention(
        self, images: Float[Tensor, "b c h w"], layers: Sequence[int] | None = None
    ) -> Float[Tensor, "layers b heads n n"]:
        """Attention weights of all blocks, or of the given ones (0 is nearest the image), in ascending order.

        Exact: the softmax that the forward pass multiplies by, whichever kernel it uses. Row i is the distribution over
        the tokens that token i takes from. Blocks that were not asked for run as always, and those behind the last one
        do not run. Holds b * heads * n * n numbers a layer. For the weights of inference call `model.eval()` first.

        Raises:
            ValueError: a layer that the model does not have.
        """
        wanted = self._checked(layers)
        tokens, rotation = self.embed(images), self.rotation(images)
        maps: list[Tensor] = []
        for layer, block in enumerate(self._first_blocks(wanted[-1] + 1)):
            if layer in wanted:
                tokens, weights = block.forward_with_weights(tokens, rotation)
                maps.append(weights)
            else:
                tokens = block(tokens, rotation)
        return torch.stack(maps)

    def resize(self, image_size: Size) -> "ViT":
        """Make this model one for images of another size, and return it.

        Learned and sine-cosine positions are resampled in two dimensions, as timm does; all other weights stay. Call it
        before building an optimiser, since positions become a new parameter.

        Raises:
            ValueError: the patch does not divide the size.
        """
        self.config = dataclasses.replace(self.config, image_size=image_size)
        self.tokenizer.resize(self.config.grid)
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training: recompute the inside of every block on the way back (Chen et al. 2016).

        Logits and gradients stay what they are.
        """
        self.grad_checkpointing = enable

    def _run(self, block: Block, tokens: Tensor, rotation: Rotation | None) -> Tensor:
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, tokens, rotation, use_reentrant=False)
        return block(tokens, rotation)

    def _first_blocks(self, count: int) -> Iterator[Block]:
        for block in islice(self.blocks, count):
            assert isinstance(block, Block)
            yield block

    def _as_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = tokens[:, self.config.num_prefix_tokens :]
        return rearrange(patches, "b (gh gw) d -> b d gh gw", gh=grid[0], gw=grid[1])

    def _checked(self, layers: Sequence[int] | None) -> list[int]:
        """The layers in ascending order, each once."""
        wanted = sorted(set(range(self.config.depth) if layers is None else layers))
        if not wanted or wanted[0] < 0 or wanted[-1] >= self.config.depth:
            raise ValueError(
                f"layers={layers} asks for blocks that are not there; this model has 0 to {self.config.depth - 1}."
            )
        return wanted

    def _grid_of(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of these images, once they are known to fit."""
        config = self.config
        channels, height, width = images.shape[1:]
        (ph, pw), fixed = config.patch_hw, not config.dynamic_image_size
        given = f"images are {channels} x {height} x {width} (channels x height x width), but this model takes "
        if channels != config.in_channels or (fixed and (height, width) != config.image_hw):
            size = f"{config.image_hw[0]} x {config.image_hw[1]}" if fixed else "any height x width"
            raise ValueError(
                f"{given}{config.in_channels} x {size}; convert the images, call model.resize(({height}, {width})), or "
                "build the model with that image_size and in_channels."
            )
        if height % ph or width % pw or not height or not width:
            raise ValueError(f"{given}multiples of its patch, {ph} x {pw}; crop, pad or resize the images.")
        return height // ph, width // pw


def _blocks(config: ViTConfig) -> Iterator[Block]:
    for layer in range(config.depth):
        yield Block(
            config.embed_dim,
            config.num_heads,
            config.mlp_ratio,
            config.qkv_bias,
            config.drop_rate,
            config.drop_path_rate * layer / max(config.depth - 1, 1),
            activation=config.mlp,
            qk_norm=config.qk_norm,
            init_values=config.init_values,
            norm_eps=config.norm_eps,
        )


def _rotary(config: ViTConfig) -> Rotary2d | None:
    if not config.rotary:
        return None
    rotary = Rotary2d if config.positions == "rope2d" else CentredRotary2d
    return rotary(config.head_dim, config.rope_temperature, config.num_prefix_tokens)


def _pool(config: ViTConfig) -> ClassTokenPool | DistilledPool | MeanPool | AttentionPool:
    if config.pool == "mean":
        return MeanPool(config.num_prefix_tokens)
    if config.pool == "map":
        return AttentionPool(
            config.embed_dim,
            config.num_heads,
            config.mlp_ratio,
            config.num_prefix_tokens,
            activation=config.mlp,
            norm_eps=config.norm_eps,
        )
    return DistilledPool() if config.distilled else ClassTokenPool()


def _head(config: ViTConfig) -> nn.Module:
    if config.num_classes == 0:
        return MeanOfBoth() if config.distilled else nn.Identity()
    head = DistilledHead if config.distilled else nn.Linear
    return head(config.embed_dim, config.num_classes)
