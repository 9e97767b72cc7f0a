"""image files -> labels with probabilities, one answer for every file: its classes, or why there are none."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vit.data.decode import UnreadableImageError, read_image
from vit.data.preprocess import fit, normalise, to_tensor
from vit.data.sources import image_files
from vit.nn import ViT
from vit.weights import ModelCard, load


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, the likeliest first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    """From 0 to 1; over all classes of the model they sum to 1."""


@dataclass(frozen=True)
class Failure:
    """An image file that could not be read, and why."""

    path: str
    reason: str


class Predictor:
    """A model with its class names and preprocessing, all from its folder: nothing has to be said a second time."""

    def __init__(self, model: ViT, card: ModelCard, device: str | torch.device = "cpu") -> None:
        self.model = model.to(device).eval()
        self.card = card
        self.device = torch.device(device)

    @classmethod
    def load(cls, source: str | os.PathLike[str], device: str | torch.device = "cpu") -> Predictor:
        """From a model folder, or from any source of `vit.weights.load` that names its classes.

        Raises:
            FileNotFoundError: no such folder, or not a model folder.
            ValueError: a damaged file in it, a source without class names, or a device that is not here.
        """
        check_device(device)
        if Path(source).is_file():
            of_run = Path(source).absolute().parent.parent / "model"
            where = f" That of this run is {of_run}." if of_run.is_dir() else ""
            raise ValueError(
                f"{source} is a file, which knows neither class names nor preprocessing; name a model folder, such as "
                f"runs/NAME/model.{where}"
            )
        loaded = load(source)
        if loaded.card is None or not loaded.card.classes:
            raise ValueError(f"{source} names no classes, so there is nothing to predict; a folder of `vit fit` does.")
        return cls(loaded.model, loaded.card, device)

    def read(self, path: str) -> Image.Image:
        """An image file as the model sees it: upright, resized and cropped, not yet normalised.

        Raises:
            UnreadableImageError: it cannot be read; the message names the file.
            OSError: it is not there, or not ours to read.
        """
        return fit(read_image(path, self.card.preprocessing.channels), self.card.preprocessing)

    def read_or_failure(self, path: str) -> Image.Image | Failure:
        """What `read` returns, or why it cannot."""
        try:
            return self.read(path)
        except UnreadableImageError as error:
            return Failure(path, str(error))
        except OSError as error:
            return Failure(path, f"{path}: {error.strerror or error}.")

    def images(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "b c h w"]:
        """Pictures that `read` returned, normalised, as one batch on the model's device."""
        pixels = torch.stack([to_tensor(picture) for picture in pictures]).to(self.device)
        return normalise(pixels, self.card.preprocessing)

    @torch.inference_mode()
    def probabilities(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "b classes"]:
        """Probabilities of all classes for pictures that `read` returned."""
        return self.model(self.images(pictures)).float().softmax(dim=-1).cpu()

    def predict(self, paths: Iterable[str], top_k: int = 5, batch_size: int = 32) -> Iterator[Prediction | Failure]:
        """One answer for each path, in order, as soon as its batch is done. A bad file leaves its neighbours alone.

        Args:
            paths: Image files.
            top_k: How many of the likeliest classes; all of them where the model has fewer.
            batch_size: Images that go through the model together.
        """
        remaining = iter(paths)
        while chunk := list(islice(remaining, batch_size)):
            pictures = [self.read_or_failure(path) for path in chunk]
            readable = [picture for picture in pictures if not isinstance(picture, Failure)]
            rows = iter(self.probabilities(readable) if readable else ())
            for path, picture in zip(chunk, pictures, strict=True):
                yield picture if isinstance(picture, Failure) else self._likeliest(path, next(rows), top_k)

    def _likeliest(self, path: str, probabilities: Float[Tensor, " classes"], top_k: int) -> Prediction:
        values, indices = probabilities.topk(min(top_k, len(probabilities)))
        return Prediction(path, tuple(self.card.label(i) for i in indices.tolist()), tuple(values.tolist()))


def check_device(device: str | torch.device) -> None:
    """Raise a `ValueError` if torch does not know this device, or it is not here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        first_line = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"device={str(device)!r} does not work here: {first_line}; cpu always does.") from None


def find_images(inputs: Sequence[str]) -> list[str]:
    """The image files meant by files, folders (searched to the bottom) and patterns such as `photos/*.jpg`.

    A file that is named is taken whatever its extension; one that does not exist is kept, to be reported in its place.

    Raises:
        FileNotFoundError: a folder or pattern with no image in it.
    """
    found: list[str] = []
    for given in inputs:
        if Path(given).is_dir():
            files = [str(path) for path in image_files(Path(given))]
        elif glob.has_magic(given) and not Path(given).exists():
            files = sorted(path for path in glob.glob(given, recursive=True) if Path(path).is_file())  # noqa: PTH207
        else:
            files = [given]
        if not files:
            raise FileNotFoundError(f"no image found in {given}.")
        found += files
    return found
