"""What there is to say about a folder or file of weights, from its headers: no weights are read, and no code is run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vit.nn import ViTConfig
from vit.weights.card import ModelCard
from vit.weights.files import READERS, read_tensors, size_of
from vit.weights.folder import find_weights, has_weights_alone, read_card
from vit.weights.hub import card_of_timm, download_folder
from vit.weights.layouts import recognise
from vit.weights.likeness import config_as, fitting_presets, likeness, require_sizes, skeleton
from vit.weights.timm import to_timm


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model as its card and the shapes of its tensors show it."""

    weights: str
    """The file of the tensors, or why there is none."""

    size_bytes: int
    """Of the file, or of the files that it names; 0 where there is none."""

    layout: str
    """Whose names the tensors have."""

    dtypes: tuple[str, ...]
    """Number types of the tensors."""

    architectures: tuple[str, ...]
    """Named architectures that the tensors fit, whatever the classes and the image size; often several do."""

    looks: str
    """The shapes in a sentence."""

    config: ViTConfig | None
    """The architecture: the card's, or the first one that fits; none where none does."""

    card: ModelCard | None
    """What the folder says; a file says nothing."""

    num_parameters: int
    """Of the model, without what is left over in the file."""

    gflops: float | None
    """Thousand millions of floating-point operations for one image, a multiplication and an addition being two."""

    left_over: tuple[str, ...]
    """Tensors of the file that are not the model's."""

    notes: tuple[str, ...] = ()
    """What else a reader of the file should know."""


def describe(source: str | os.PathLike[str]) -> Description:
    """Everything that the headers of a model folder or a weight file say.

    Args:
        source: a model folder; a file; `timm/NAME`, of which timm's own registry tells all but the tensors, without a
            download; or `hf-hub:OWNER/REPO`, whose folder is fetched into the hub's cache where it is not there yet.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: a damaged or unsafe file, or no ViT.
    """
    path, name = Path(source), os.fspath(source)
    if name.startswith("timm/") and not path.exists():
        return _of_card(card_of_timm(name.removeprefix("timm/")), "timm")
    if name.startswith("hf-hub:"):
        path = download_folder(name.removeprefix("hf-hub:"))
    if has_weights_alone(path):
        path = find_weights(path)
    is_file = path.is_file() or path.suffix in READERS
    card = None if is_file else read_card(path)
    weights = path if is_file else find_weights(path)
    tensors = read_tensors(weights, shapes_only=True)
    recognised = recognise(tensors, weights, card.config if card else None)
    fitting = fitting_presets(recognised.state)
    if card:
        require_sizes(card.config, recognised.state, name)
        # tensors do not show heads
        fitting = [name for name in fitting if ViTConfig.preset(name).num_heads == card.config.num_heads]
    config = card.config if card else config_as(fitting[0], recognised.state) if fitting else None
    return Description(
        weights=str(weights),
        size_bytes=size_of(weights),
        layout=recognised.layout.name,
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in recognised.state.values()})),
        architectures=tuple(fitting),
        looks=likeness(recognised.state),
        config=config,
        card=card,
        num_parameters=sum(tensor.numel() for tensor in recognised.state.values()),
        gflops=count_flops(config) / 1e9 if config else None,
        left_over=recognised.left_over,
        notes=recognised.notes,
    )


def _of_card(card: ModelCard, layout: str) -> Description:
    """What a card tells where the tensors are not here."""
    model = skeleton(card.config)
    shapes = dict(model.named_parameters())
    return Description(
        weights="not downloaded",
        size_bytes=0,
        layout=layout,
        dtypes=(),
        architectures=tuple(
            name
            for name in fitting_presets(to_timm(shapes, card.config))
            if ViTConfig.preset(name).num_heads == card.config.num_heads
        ),
        looks="",
        config=card.config,
        card=card,
        num_parameters=sum(parameter.numel() for parameter in shapes.values()),
        gflops=count_flops(card.config) / 1e9,
        left_over=(),
    )


def count_flops(config: ViTConfig) -> int:
    """Floating-point operations of the matrix products for one image; a multiplication and an addition are two.

    Norms, softmax and GELU are left out, and all tokens count in all blocks, as is usual: `classify(encode(images))`.
    The same number as torch's `FlopCounterMode` measures of that, which has to run the model for it. `forward` leaves
    out what nobody reads of the last block.
    """
    tokens, patches, width = config.num_tokens, config.num_patches, config.embed_dim
    rows = {"patch_embed": patches, "blocks": tokens, "pool.kv": patches}  # that a linear map is applied to; else one
    linear = sum(
        2 * module.weight.numel() * next((number for start, number in rows.items() if name.startswith(start)), 1)
        for name, module in skeleton(config).named_modules()
        if isinstance(module, nn.Linear)
    )
    # scores, and their product with the values: every token asks every other, and a pooling query asks the patches
    attention = 2 * (2 * tokens * tokens * width) * config.depth
    pooling = 2 * (2 * patches * width) if config.pool == "map" else 0
    return linear + attention + pooling
