"""model <-> file: a model is a folder, `model.safetensors` and `config.json`, in the layout that timm itself reads.

sources.py      folder, file or name -> model: load_model, and load with a report of what became of every tensor
export.py       model -> folder or file in somebody else's layout
proof.py        another library's model (peers.py) and ours -> the largest difference of their logits: parity
description.py  what the headers of a folder or file say: describe
folder.py       the model folder
card.py         what its config.json says: architecture, class names, preprocessing, provenance
files.py        weight file -> tensors, without running any code that is in it
hub.py          names -> downloads
layouts.py      whose names tensors have; one module a layout, all meeting in timm's names: timm.py, torchvision.py,
                transformers/ (one file a family), vit_pytorch.py, jax.py; names.py: tables that read both ways
adapt.py        tensors of one size -> of another: head, positions, channels
likeness.py     what architecture a file of tensors looks like
report.py       what became of every tensor

from vit.weights import load, describe, parity
"""

from vit.weights.card import ModelCard
from vit.weights.description import Description, describe
from vit.weights.export import export_model
from vit.weights.folder import read_card, save_model
from vit.weights.proof import Parity, parity
from vit.weights.report import LoadReport
from vit.weights.sources import Loaded, load, load_model

__all__ = [
    "Description",
    "LoadReport",
    "Loaded",
    "ModelCard",
    "Parity",
    "describe",
    "export_model",
    "load",
    "load_model",
    "parity",
    "read_card",
    "save_model",
]
