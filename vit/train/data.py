"""The flags of `vit fit` -> the data of that run alone: no model, no trainer, no folder."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from jsonargparse import Namespace

from vit.data.module import ImageDataModule
from vit.parsing import ExplainsErrors
from vit.train.run import Run


class DataOfRun(Run):
    """A run of which nothing but `datamodule` is built, and the seed set as its training would set it.

    Raises:
        jsonargparse.ArgumentError, ValueError, OSError: as of a run.
    """

    def __init__(self, args: Sequence[str]) -> None:
        """Parse and build.

        Args:
            args: As for `vit fit`.
        """
        super().__init__(args, epoch_lines=False)

    def _decide(self) -> str:
        """As of a run, but no folder: nothing is written, and nothing gone on with."""
        seed = self.config.seed_everything
        seed = secrets.randbelow(2**32) if seed is True else seed
        return json.dumps({"folder": "", "is_new": False, "checkpoint": None, "step": 0, "seed": seed})

    def instantiate_classes(self) -> None:
        """Build the data as Lightning would: the flags of the rest are parsed and hold no more."""
        parser = ExplainsErrors()
        parser.add_class_arguments(ImageDataModule, "data")
        self.datamodule = parser.instantiate_classes(Namespace(data=self.config.data))["data"]
