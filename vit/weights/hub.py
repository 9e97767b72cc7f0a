"""Weights that other people publish -> a folder or tensors on this disk, through the cache of the Hugging Face hub.

Imports huggingface_hub and timm only when it is asked to.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from vit.weights.card import ModelCard, card_from_json
from vit.weights.folder import CARD, OTHER_WEIGHTS, PREPROCESSOR, PROCESSOR, WEIGHTS

FILES = (CARD, WEIGHTS, PREPROCESSOR, PROCESSOR, *OTHER_WEIGHTS, "model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")

FILES_OF_TIMM = (WEIGHTS, "pytorch_model.bin")
"""In the order in which timm looks for them."""


def download_folder(repository: str) -> Path:
    """The model folder of a Hugging Face repository, OWNER/REPO, from the cache or the network.

    Raises:
        FileNotFoundError: it is not in the cache and cannot be downloaded; how to get it offline is said.
        ValueError: not a name of a repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        if not _is_cached(repository, CARD):
            _say_asking(f"hf-hub:{repository}")
        return Path(snapshot_download(repository, allow_patterns=list(FILES)))
    except HFValidationError:
        raise ValueError(f"hf-hub:{repository} is no name of a repository; hf-hub:OWNER/REPO is.") from None
    except _failures_of_a_download() as error:
        raise _not_downloaded(f"hf-hub:{repository}", repository, error) from None


def download_timm(name: str) -> tuple[dict[str, Tensor], ModelCard]:
    """The pretrained tensors of timm's model NAME or NAME.TAG, as timm names them, and their card.

    timm itself finds, downloads and converts them, whatever they were published as.

    Raises:
        FileNotFoundError: not in the cache and cannot be downloaded; how to get it offline is said.
        ValueError: timm has no such model or weights, or the model is no plain ViT.
    """
    card = card_of_timm(name)  # before the download: no plain ViT, no need of it
    return pretrained_timm(name).state_dict(), card


def fetch_timm(name: str) -> ModelCard:
    """The card of timm's pretrained NAME or NAME.TAG, whose weights are now in the cache, unread.

    Raises:
        FileNotFoundError: not in the cache and cannot be downloaded; how to get it offline is said.
        ValueError: timm has no such model or weights, or the model is no plain ViT.
    """
    card = card_of_timm(name)
    _cache_timm(name)
    return card


def card_of_timm(name: str) -> ModelCard:
    """What timm itself knows about its pretrained weights NAME or NAME.TAG; nothing is downloaded.

    Raises:
        ValueError: timm has no such model or weights, or the model is no plain ViT.
    """
    import timm

    if not timm.is_model_pretrained(name):
        family = name.partition(".")[0]
        near = timm.list_models(f"{family}*", pretrained=True) or timm.list_models("vit_*", pretrained=True)
        raise ValueError(f"timm has no pretrained weights called {name!r}; it has {', '.join(near[:5])} and others.")
    published = timm.get_pretrained_cfg(name)
    assert published is not None
    return card_from_json(_card_of_timm(published.to_dict()))


def pretrained_timm(name: str) -> nn.Module:
    """The model NAME or NAME.TAG as timm itself builds it, with its pretrained weights.

    Raises:
        FileNotFoundError: not in the cache and cannot be downloaded; how to get it offline is said.
        ValueError: what is in the cache is damaged, or could run code.
    """
    import timm

    repository = _cache_timm(name)
    try:
        return timm.create_model(name, pretrained=True)
    except _failures_of_a_download() as error:
        raise _not_downloaded(f"timm/{name}", repository or f"timm/{name}", error) from None
    except (RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, KeyError) as error:
        if "Unsupported globals" in str(error):
            raise ValueError(
                f"the weights of timm/{name} hold more than tensors, which could run code; timm does not read them."
            ) from None
        # torch's and timm's own words recommend to read it without weights_only
        said = "" if "weights_only" in str(error) else str(error).partition("\n")[0].rstrip(".")
        reason = said or type(error).__name__
        raise ValueError(f"the weights of timm/{name} are damaged or no weights ({reason}).") from None


def _card_of_timm(published: Mapping[str, Any]) -> dict[str, Any]:
    """What timm knows about published weights, as its model folders have it, and the names of ImageNet's classes."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    pretrained = dict(published)
    if not pretrained.get("label_names") and (subset := infer_imagenet_subset(pretrained)):
        names = ImageNetInfo(subset)
        pretrained["label_names"] = names.label_names()
        pretrained["label_descriptions"] = names.label_descriptions(as_dict=True)
    return {
        "architecture": published["architecture"],
        "num_classes": published["num_classes"],
        "pretrained_cfg": pretrained,
        "provenance": {key: published[key] for key in ("hf_hub_id", "tag", "license", "url") if published.get(key)},
    }


def _cache_timm(name: str) -> str:
    """Have the hub's cache hold the weights of timm's NAME; their repository, or nothing where they lie elsewhere.

    By `snapshot_download`, which asks the hub once and waits as long as it takes. timm asks by `hf_hub_download`, which
    without a network tries six times for each of two files, 46 s in all.

    Raises:
        FileNotFoundError: they are not there and cannot be downloaded.
    """
    import timm
    from huggingface_hub import snapshot_download

    published = timm.get_pretrained_cfg(name)
    repository = (published and published.hf_hub_id) or ""
    if not repository or _is_cached(repository, *FILES_OF_TIMM):
        return repository
    _say_asking(f"timm/{name}")
    try:
        for file in FILES_OF_TIMM:
            snapshot_download(repository, allow_patterns=[file])
            if _is_cached(repository, file):
                break
    except _failures_of_a_download() as error:
        raise _not_downloaded(f"timm/{name}", repository, error) from None
    return repository


def _is_cached(repository: str, *files: str) -> bool:
    """Whether one of these files of a repository is on this disk."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def _say_asking(source: str) -> None:
    """Say what may take long, as the hub's client itself does with a bar once a download has begun."""
    print(f"{source} is not in the cache; asking the Hugging Face hub for it", file=sys.stderr, flush=True)  # noqa: T201


def _failures_of_a_download() -> tuple[type[Exception], ...]:
    """Errors of the disk, of the hub, and of whichever library the hub's client speaks HTTP by: a timeout half-way."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError)


def _not_downloaded(source: str, repository: str, error: Exception) -> FileNotFoundError:
    reason = str(error).partition("\n")[0]
    return FileNotFoundError(
        f"{source} is not in the cache and cannot be downloaded ({reason}). Without a network: run `hf download "
        f"{repository} --local-dir FOLDER` on a machine that has one, copy FOLDER here and give its path instead."
    )
