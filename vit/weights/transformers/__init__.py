"""Hugging Face transformers <-> timm's names; its `config.json` <-> our card. `models.py` alone imports it, when asked.

card.py           `config.json` <-> the model card
preprocessing.py  `preprocessor_config.json` <-> its preprocessing
fields.py         what the architectures of `config.json` have in common
vit.py            ViT, and with other tokens or heads its relatives DeiT, ViTMAE and ViTMSN
dinov2.py         DINOv2, with and without registers
dinov3.py         DINOv3's ViT
clip.py           CLIP, the tower that sees
siglip.py         SigLIP, likewise
models.py         models of transformers, to compare ours with

Each family says what its tensors are called (`LAYOUT`) and how its `config.json` is read (`READERS`). Files keep the
names of transformers 4 even where transformers 5 wrote them; a state dict that was saved by hand has the names of the
running version, so both are read.
"""

from vit.weights.transformers import clip, dinov2, dinov3, siglip, vit

LAYOUTS = (dinov2.LAYOUT, vit.LAYOUT, dinov3.LAYOUT, clip.LAYOUT, siglip.LAYOUT)
"""All of them are called "transformers"; each has a marker of its own, and the first that is found counts."""

__all__ = ["LAYOUTS"]
