"""name -> model: the named architectures, with random weights. `vit.weights` loads trained ones."""

from fnmatch import fnmatchcase
from typing import Any

from vit.nn.config import ViTConfig
from vit.nn.presets import PRESETS
from vit.nn.vit import ViT


def create_model(name: str, **changes: Any) -> ViT:
    """A model of that architecture (timm's names) with random weights; `changes` are fields of `ViTConfig`.

    create_model("vit_small_patch16_224", num_classes=10, image_size=96, drop_path_rate=0.1)

    Raises:
        ValueError: no such architecture or field (the nearest name is suggested), or sizes that do not fit.
    """
    return ViT(ViTConfig.preset(name, **changes))


def list_models(pattern: str = "*") -> list[str]:
    """Names of the architectures that match a shell pattern such as "*dinov2", in alphabetical order."""
    return sorted(name for name in PRESETS if fnmatchcase(name, pattern))
