"""`vit info`: what a model folder or a weight file is, from its headers."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from vit.nn import Preprocessing, ViTConfig
from vit.parsing import command_parser
from vit.weights.card import ModelCard
from vit.weights.description import Description, describe


def run(arguments: list[str]) -> int:
    """Print what is known about a model, as text or as JSON."""
    parser = command_parser(
        "info",
        "Show architecture, classes, preprocessing, size and origin of a model, without reading its weights or running "
        "anything that is in the file.",
    )
    parser.add_argument("model", type=str, help="a model folder, a file of weights, timm/NAME or hf-hub:OWNER/REPO")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    args = parser.parse_args(arguments)
    description = describe(args.model)
    print(json.dumps(as_json(description), indent=1, ensure_ascii=False) if args.json else as_text(description))
    return 0


def as_json(description: Description) -> dict[str, Any]:
    """Everything that is known, under the names of the dataclasses."""
    return dataclasses.asdict(description)


def as_text(description: Description) -> str:
    """The same for people: a line for each thing, and examples where there are many."""
    lines = {"weights": description.weights}
    if description.size_bytes:
        size, kinds = f"{description.size_bytes / 1e6:.1f} MB", ", ".join(description.dtypes)
        lines["weights"] += f", {size}, {description.layout} layout, {kinds}"
    lines["architecture"] = " = ".join(description.architectures[:3]) or "none that has a name"
    if description.config is None:
        lines["shapes"] = description.looks
    else:
        lines |= _of_config(description.config)
    if description.card is None:
        lines["classes"] = "not named in a file of tensors"
        lines["preprocessing"] = "not said in a file of tensors"
    else:
        lines["classes"] = _classes(description.card)
        lines["preprocessing"] = _preprocessing(description.card.preprocessing)
    lines["parameters"] = f"{description.num_parameters:,}"
    if description.gflops is not None:
        counted = "for one image, all tokens in all blocks; a multiplication and an addition are 2"
        lines["GFLOPs"] = f"{description.gflops:.3g} {counted}"
    if description.left_over:
        first, *others = description.left_over
        lines["left over"] = f"{first} and {len(others)} other tensor{'s' * (len(others) > 1)}" if others else first
    if description.notes:
        lines["note"] = "; ".join(description.notes)
    if description.card and description.card.provenance:
        lines["provenance"] = "; ".join(f"{key}: {value}" for key, value in description.card.provenance.items())
    return "\n".join(f"{name:<14} {text}" for name, text in lines.items())


def _of_config(config: ViTConfig) -> dict[str, str]:
    """Sizes, and the options in which the model is no plain ViT."""
    plain = ViTConfig()
    sizes = ("image_size", "patch_size", "in_channels", "num_classes", "embed_dim", "depth", "num_heads")
    unusual = [
        f"{field.name}={getattr(config, field.name)!r}"
        for field in dataclasses.fields(config)
        if field.name not in sizes and getattr(config, field.name) != getattr(plain, field.name)
    ]
    (height, width), (ph, pw), (rows, columns) = config.image_hw, config.patch_hw, config.grid
    return {
        "sizes": f"{config.embed_dim} wide, {config.depth} blocks, {config.num_heads} heads",
        "image": f"{config.in_channels} x {height} x {width} pixels, patches of {ph} x {pw}: {rows} x {columns} "
        f"patches and {config.num_prefix_tokens} prefix token{'' if config.num_prefix_tokens == 1 else 's'}",
        **({"options": ", ".join(unusual)} if unusual else {}),
    }


def _classes(card: ModelCard) -> str:
    if not card.classes:
        return "none: the model returns features"
    shown = ", ".join(card.label(index) for index in range(min(3, len(card.classes))))
    return f"{len(card.classes)}: {shown}" + (", ..." if len(card.classes) > 3 else "")


def _preprocessing(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.image_size
    sides = [math.floor(side / preprocessing.crop_pct) for side in (height, width)]
    if preprocessing.crop_mode == "squash":
        resize = f"squash {preprocessing.interpolation} to {sides[0]} x {sides[1]}"
    else:
        resize = f"resize {preprocessing.interpolation} to {' x '.join(map(str, dict.fromkeys(sides)))}"
    whole = preprocessing.crop_mode == "squash" and preprocessing.crop_pct == 1
    crop = "" if whole else f", crop the centre {height} x {width}"
    return f"{resize}{crop}, mean {_numbers(preprocessing.mean)}, std {_numbers(preprocessing.std)}"


def _numbers(values: tuple[float, ...]) -> str:
    """One number where all channels share it."""
    return ", ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
