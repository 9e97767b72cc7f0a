"""model <-> file: a model is a folder, `model.safetensors` and `config.json`, in the layout that timm itself reads.

folder.py  save and load the folder; the card: architecture, class names, preprocessing, provenance
timm.py    our tensors and fields under timm's names, and back
"""

from vit.weights.folder import ModelCard, load_model, read_card, save_model

__all__ = ["ModelCard", "load_model", "read_card", "save_model"]
