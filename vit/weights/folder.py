"""The model folder: all that is needed to use a model, in two files that hold no code.

`model.safetensors` has the weights, `config.json` the card (`card.py`), both as timm names them:
`timm.create_model("local-dir:FOLDER", pretrained=True)` reads it too. A folder that Hugging Face transformers wrote is
read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vit.nn import PRESETS, ViT
from vit.weights.card import ModelCard, card_from_json, card_to_json
from vit.weights.timm import to_timm
from vit.weights.transformers.card import card_from_transformers

WEIGHTS = "model.safetensors"
CARD = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
OTHER_WEIGHTS = ("model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What transformers calls the weights of models in several files, and older repositories of it and of timm theirs."""


def save_model(model: ViT, card: ModelCard, folder: str | os.PathLike[str]) -> Path:
    """Write the model folder. Each file appears whole or not at all, and the weights before the card that names them.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the card is not of this model; `card.for_model(model)` is.
    """
    card.require_of(model)
    return write_folder(folder, to_timm(model.state_dict(), model.config), {CARD: card_to_json(card)})


def write_folder(
    folder: str | os.PathLike[str], tensors: Mapping[str, Tensor], cards: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Write tensors to `model.safetensors`, then each card to its own file, each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(weights, folder / f"{WEIGHTS}.tmp", metadata={"format": "pt"})
    (folder / f"{WEIGHTS}.tmp").replace(folder / WEIGHTS)
    for name, card in cards.items():
        (folder / f"{name}.tmp").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / f"{name}.tmp").replace(folder / name)
    return folder


def read_card(folder: str | os.PathLike[str]) -> ModelCard:
    """What a model folder says about itself, without reading the weights.

    Raises:
        FileNotFoundError: no such folder, or not a model folder.
        ValueError: `config.json` is damaged, or describes something else than a plain ViT.
    """
    path = find(Path(folder), CARD)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card, dict):
            raise ValueError(f"it holds a {type(card).__name__}, and a card is an object with names and values.")
        return card_from_transformers(card, _preprocessor(path)) if is_of_transformers(card) else card_from_json(card)
    except KeyError as error:
        raise ValueError(f"{path} does not describe an image model: it has no {error}.") from None
    except (ValueError, TypeError, RecursionError) as error:  # a JSON error is a ValueError
        raise ValueError(f"{path}: {error}") from None


def is_of_transformers(card: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is Hugging Face transformers'."""
    return "model_type" in card


def has_weights_alone(path: Path) -> bool:
    """Whether this is a folder with weights and without a card, which is no more than a file of tensors."""
    return (
        path.is_dir()
        and not (path / CARD).is_file()
        and any((path / name).is_file() for name in (WEIGHTS, *OTHER_WEIGHTS))
    )


def find_weights(folder: Path) -> Path:
    """The file of a model folder that has its weights.

    Raises:
        FileNotFoundError: no such folder, or no weights in it.
    """
    for name in OTHER_WEIGHTS:
        if not (folder / WEIGHTS).is_file() and (folder / name).is_file():
            return folder / name
    return find(folder, WEIGHTS)


def find(folder: Path, name: str) -> Path:
    """The path of a file of the model folder.

    Raises:
        FileNotFoundError: with a sentence about what is there instead.
    """
    if (folder / name).is_file():
        return folder / name
    nearby = sorted(str(p.parent) for p in folder.glob(f"*/{CARD}")) if folder.is_dir() else []
    if nearby:
        more = f" and {len(nearby) - 3} more" if len(nearby) > 3 else ""
        raise FileNotFoundError(f"{folder} is not a model folder, but {', '.join(nearby[:3])}{more} may be.")
    what = f"has no {name}" if folder.is_dir() else "does not exist"
    raise FileNotFoundError(
        f"model folder {folder} {what}; `vit fit` writes one to runs/NAME/model, and load_model also takes timm/NAME "
        f"and hf-hub:OWNER/REPO{_meant(folder)}."
    )


def _meant(folder: Path) -> str:
    """The name that somebody may have meant, as a part of a sentence."""
    if folder.exists() or folder.is_absolute():
        return ""
    if str(folder).partition(".")[0] in PRESETS:
        return f"; timm/{folder} is the one that timm publishes"
    return f"; hf-hub:{folder.as_posix()} if it is there" if len(folder.parts) == 2 else ""


def _preprocessor(card: Path) -> Mapping[str, Any] | None:
    """What transformers says about pictures: in a file of its own, or beside the tokenizer of a model of two towers."""
    alone, beside = card.with_name(PREPROCESSOR), card.with_name(PROCESSOR)
    if alone.is_file():
        return _object(alone)
    return _object(beside).get("image_processor") if beside.is_file() else None


def _object(path: Path) -> Mapping[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__} where names and values are needed.")
    return content
