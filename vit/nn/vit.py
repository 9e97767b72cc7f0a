"""images -> logits: the whole model, read from top to bottom like figure 1 of the paper."""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vit.nn.attention import Attend, attend
from vit.nn.config import Size, ViTConfig
from vit.nn.encoder import Block
from vit.nn.init import init_weights
from vit.nn.parts import in_parts
from vit.nn.patches import PatchEmbedding
from vit.nn.pool import AttentionPool, ClassTokenPool, DistilledHead, DistilledPool, MeanOfBoth, MeanPool
from vit.nn.positions import CentredRotary2d, Rotary2d, Rotation
from vit.nn.tokens import PatchDropout, Tokenizer, show_only


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
            num_placed_prefix_tokens=config.num_placed_prefix_tokens,
            drop_rate=config.drop_rate,
        )
        self.patch_dropout = PatchDropout(config.patch_drop_rate, config.num_prefix_tokens)
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
        """Logits. The last block works only for tokens that the head reads.

        Where that is the class token alone, one of 197, it saves 7 % of the work of 12 blocks, and changes nothing but
        rounding. On a CPU, without gradients, a large batch goes through in parts (`vit.nn.parts`).
        """
        gh, gw = self.grid_of(images)
        parts = in_parts(self, images, self.config.num_prefix_tokens + gh * gw)
        logits = [self.classify(self.encode(part, num_wanted=self.pool.num_read)) for part in parts]
        return torch.cat(logits) if len(logits) > 1 else logits[0]

    def classify(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b classes"]:
        """Logits of what `encode` returned."""
        return self.head(self.fc_norm(self.pool(tokens)))

    def encode(
        self, images: Float[Tensor, "b c h w"], attend: Attend = attend, num_wanted: int | None = None
    ) -> Float[Tensor, "b n d"]:
        """Normalised tokens: class, distillation and register tokens first, then the patches in reading order.

        Args:
            images: as for `forward`.
            attend: what every block does with its queries, keys and values, first block first. For looking on: what it
                returns must be what the attention returns.
            num_wanted: only the first so many tokens, for which alone the last block then works; all by default.

        Raises:
            ValueError: the images have another size or number of channels than the model.
        """
        return self._pass_blocks(*self._enter(images, self.grid_of(images)), attend, num_wanted)

    def encode_some(
        self, images: Float[Tensor, "b c h w"], kept: Int[Tensor, "b kept"], num_wanted: int | None = None
    ) -> Float[Tensor, "b m d"]:
        """What `encode` returns if the model is shown only some patches of each image, every one at its own place.

        The others are not painted over but absent, which is a ViT's own way not to see something (Jain et al. 2022,
        https://arxiv.org/abs/2204.08945). Cost falls with their number. `patch_drop_rate` takes none of them away.

        Args:
            images: as for `forward`.
            kept: numbers of the patches to show, in reading order from 0, as many in every image.
            num_wanted: as for `encode`, of the tokens that are shown.

        Raises:
            ValueError: as `encode`.
        """
        return self._pass_blocks(*self._enter(images, self.grid_of(images), kept), num_wanted=num_wanted)

    def embed(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens as they enter the first block."""
        return self._enter(images, self.grid_of(images))[0]

    def rotation(self, images: Float[Tensor, "b c h w"]) -> Rotation | None:
        """How far the tokens of these images turn inside attention; none unless positions are rotary."""
        return None if self.rotary is None else self.rotary(self.grid_of(images), images.device)

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of a batch of images, (b, c, h, w), once they are known to fit.

        Raises:
            ValueError: other axes, channels or sizes than the model takes; the sentence says which, and what would do.
        """
        config = self.config
        if images.ndim != 4:
            raise ValueError(
                f"images have {images.ndim} axes, but this model takes 4: batch x channels x height x width; "
                "images[None] makes a batch of one image, images.flatten(0, 1) one of a batch of clips."
            )
        channels, height, width = images.shape[1:]
        if channels != config.in_channels:
            raise ValueError(
                f"images are {channels} x {height} x {width} (channels x height x width), but this model takes "
                f"{config.in_channels} channels; convert the images, or build the model with in_channels={channels}."
            )
        (ph, pw), (native_h, native_w) = config.patch_hw, config.image_hw
        if height % ph or width % pw or not height or not width:
            fitting = f"multiples of {ph} x {pw}" if config.dynamic_image_size else f"{native_h} x {native_w}"
            raise ValueError(
                f"images are {channels} x {height} x {width} (channels x height x width), which is no whole number of "
                f"patches of {ph} x {pw}; crop, pad or resize them to {fitting}."
            )
        if not config.dynamic_image_size and (height, width) != (native_h, native_w):
            raise ValueError(
                f"images are {channels} x {height} x {width} (channels x height x width), but this model takes "
                f"{native_h} x {native_w} pixels; resize the images, call model.resize(({height}, {width})), or build "
                "it with dynamic_image_size=True."
            )
        return height // ph, width // pw

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
        """What all blocks, or the given ones (0 is nearest the image), put out, as maps, in the order asked for.

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
        wanted, grid = self._checked(layers), self.grid_of(images)
        norm = self.norm if normalise else nn.Identity()
        maps: dict[int, Tensor] = {}
        tokens, rotation = self._enter(images, grid)
        for layer, block in enumerate(self.blocks[: max(wanted) + 1]):
            tokens = self._run(block, tokens, rotation)
            if layer in wanted:
                maps[layer] = self._as_map(norm(tokens), grid)
        return [maps[layer] for layer in wanted]

    def attention(
        self, images: Float[Tensor, "b c h w"], layers: Sequence[int] | None = None
    ) -> Float[Tensor, "layers b heads n n"]:
        """Attention weights of all blocks, or of the given ones (0 is nearest the image), in the order asked for.

        Exact: the softmax that the forward pass multiplies by, whichever kernel it uses. Row i is the distribution over
        the tokens that token i takes from. Blocks that were not asked for run as always, and those behind the last one
        do not run. Holds b * heads * n * n numbers a layer. For the weights of inference call `model.eval()` first.

        Raises:
            ValueError: a layer that the model does not have.
        """
        return self._look(images, self._checked(layers))[1]

    def encode_with_attention(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "layers b heads n n"]]:
        """What `encode` returns, and the `attention` of all blocks, in one pass.

        Tokens are those of `encode` up to rounding, since the blocks mix values by the explicit weights.
        """
        tokens, weights = self._look(images, range(self.config.depth))
        return self.norm(tokens), weights

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

    def _enter(
        self, images: Tensor, grid: tuple[int, int], kept: Tensor | None = None
    ) -> tuple[Tensor, Rotation | None]:
        """Tokens as they enter the first block, and how far they turn in all of them; of some patches, where given."""
        tokens = self.norm_pre(self.tokenizer(self.patch_embed(images), grid))
        rotation = None if self.rotary is None else self.rotary(grid, images.device)
        if kept is not None:
            return show_only(kept, tokens, rotation, self.config.num_prefix_tokens)
        return self.patch_dropout(tokens, rotation)

    def _pass_blocks(
        self, tokens: Tensor, rotation: Rotation | None, attend: Attend = attend, num_wanted: int | None = None
    ) -> Tensor:
        """Through all blocks, the last perhaps for the first tokens alone, and the final norm."""
        *blocks, last = self.blocks
        for block in blocks:
            tokens = self._run(block, tokens, rotation, attend)
        return self.norm(self._run(last, tokens, rotation, attend, num_wanted))

    def _run(
        self,
        block: nn.Module,
        tokens: Tensor,
        rotation: Rotation | None,
        attend: Attend = attend,
        num_wanted: int | None = None,
    ) -> Tensor:
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, tokens, rotation, attend, num_wanted, use_reentrant=False)
        return block(tokens, rotation, attend, num_wanted)

    def _look(self, images: Tensor, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tokens after the last of these blocks, and the attention weights of them all, in their order."""
        tokens, rotation = self._enter(images, self.grid_of(images))
        weights: dict[int, Tensor] = {}
        for layer, block in enumerate(self.blocks[: max(layers) + 1]):
            assert isinstance(block, Block)
            if layer in layers:
                tokens, weights[layer] = block.forward_with_weights(tokens, rotation)
            else:
                tokens = self._run(block, tokens, rotation)
        return tokens, torch.stack([weights[layer] for layer in layers])

    def _as_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = tokens[:, self.config.num_prefix_tokens :]
        return rearrange(patches, "b (gh gw) d -> b d gh gw", gh=grid[0], gw=grid[1])

    def _checked(self, layers: Sequence[int] | None) -> Sequence[int]:
        """The layers in the order asked for, all of them by default."""
        wanted = range(self.config.depth) if layers is None else layers
        if not wanted or min(wanted) < 0 or max(wanted) >= self.config.depth:
            raise ValueError(
                f"layers={layers} asks for blocks that are not there; this model has 0 to {self.config.depth - 1}."
            )
        return wanted


def _blocks(config: ViTConfig) -> Iterator[Block]:
    for layer in range(config.depth):
        yield Block(
            config.embed_dim,
            config.num_heads,
            config.mlp_hidden_dim,
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
            config.mlp_hidden_dim,
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
