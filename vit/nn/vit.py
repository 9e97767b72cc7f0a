"""images -> logits: the whole model, read from top to bottom like figure 1 of the paper."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vit.nn.config import ViTConfig
from vit.nn.encoder import NORM_EPS, Block
from vit.nn.init import init_weights
from vit.nn.patches import PatchEmbedding
from vit.nn.tokens import Tokenizer


class ViT(nn.Module):
    """Vision Transformer of Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929.

    `model(images)` gives logits, `model.encode(images)` the tokens, `model.attention(images)` who looked at whom.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config.patch_hw, config.in_channels, config.embed_dim)
        self.tokenizer = Tokenizer(config.grid, config.embed_dim, config.drop_rate)
        rates = [config.drop_path_rate * layer / max(config.depth - 1, 1) for layer in range(config.depth)]
        self.blocks = nn.Sequential(
            *(
                Block(config.embed_dim, config.num_heads, config.mlp_ratio, config.qkv_bias, config.drop_rate, rate)
                for rate in rates
            )
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        self.head = nn.Linear(config.embed_dim, config.num_classes) if config.num_classes else nn.Identity()
        init_weights(self, config.init, config.pos_embed_std)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.head(self.pool(self.encode(images)))

    def encode(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Normalised tokens: the class token first, then the patches in reading order.

        Raises:
            ValueError: the images have another size or number of channels than the model.
        """
        return self.norm(self.blocks(self.embed(images)))

    def embed(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens as they enter the first block."""
        self._check(images)
        return self.tokenizer(self.patch_embed(images))

    def pool(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """The class token, which stands for the whole image."""
        return tokens[:, 0]

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
        wanted = sorted(set(range(self.config.depth) if layers is None else layers))
        if not wanted or wanted[0] < 0 or wanted[-1] >= self.config.depth:
            raise ValueError(
                f"layers={layers} asks for blocks that are not there; this model has 0 to {len(self.blocks) - 1}."
            )
        tokens = self.embed(images)
        maps: list[Tensor] = []
        for before, layer in pairwise([-1, *wanted]):
            tokens = self.blocks[before + 1 : layer](tokens)
            block = self.blocks[layer]
            assert isinstance(block, Block)
            tokens, weights = block.forward_with_weights(tokens)
            maps.append(weights)
        return torch.stack(maps)

    def _check(self, images: Tensor) -> None:
        channels, height, width = images.shape[1:]
        if (channels, (height, width)) != (self.config.in_channels, self.config.image_hw):
            expected = f"{self.config.in_channels} x {self.config.image_hw[0]} x {self.config.image_hw[1]}"
            raise ValueError(
                f"images are {channels} x {height} x {width} (channels x height x width), but this model takes "
                f"{expected}; resize the images, or build the model with that image_size and in_channels."
            )
