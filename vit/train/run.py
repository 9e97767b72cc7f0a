"""YAML and flags -> a run: trainer, classifier and data, by LightningCLI, in a folder of its own.

runs/NAME/config.yaml       every value of the run, defaults too; `vit fit --config` takes it again
runs/NAME/run.json          command, seed, git commit, versions, hardware, data: an entry for every start
runs/NAME/metrics.csv       one row an epoch and part
runs/NAME/checkpoints/      last.ckpt and best.ckpt (by validation), to go on from
runs/NAME/model/            the finished model folder, to predict with
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from vit.data.module import ImageDataModule
from vit.parsing import ExplainsErrors
from vit.train.callbacks import EpochLines, SaveModelFolder, Stopwatch
from vit.train.classifier import Classifier
from vit.train.export import Export, exported_network, monitored
from vit.train.folder import new_folder, remove_if_empty
from vit.train.start import absolute, check_flags, parse_from_weights
from vit.train.story import RunStory
from vit.train.trainer import Trainer

FOLDER_OF_RANK_ZERO = "VIT_RUN_FOLDER"
"""Environment variable by which the processes that Lightning starts for more devices learn the run's folder."""


class RunParser(ExplainsErrors, LightningArgumentParser):
    """Lightning's parser, with our words for errors."""


class Run(LightningCLI):
    """Everything of one training run, built from the arguments of `vit fit` and not yet started.

    Raises:
        jsonargparse.ArgumentError: an unknown key or flag, or a value of the wrong type.
        ValueError: values that do not fit each other.
        FileExistsError: the folder named by `--name` is there already.
    """

    model: Classifier
    datamodule: ImageDataModule

    def __init__(self, args: Sequence[str], epoch_lines: bool = True) -> None:
        """Parse and build.

        Args:
            args: As for `vit fit`.
            epoch_lines: Whether to print a line an epoch where there is no terminal for a progress bar.
        """
        self.command = shlex.join(["vit", "fit", *args])
        self.epoch_lines = epoch_lines
        self.stopwatch = Stopwatch()
        quieten()
        super().__init__(
            Classifier,
            ImageDataModule,
            trainer_class=Trainer,
            args=list(args),
            run=False,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 10},
            parser_class=RunParser,
            parser_kwargs={"prog": "vit fit"},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own flags, and what the parts tell each other."""
        parser.add_argument("--output", type=str, default="runs", help="folder in which the run makes its own")
        parser.add_argument("--name", type=str | None, default=None, help="its name there; default: the config's")
        parser.add_argument("--export", type=Export, default="best", help="weights of the model folder")
        parser.add_argument("--resume", type=str | None, default=None, help="checkpoint of a run to go on from")
        parser.add_argument(
            "--early_stopping",
            type=int | None,
            default=None,
            help="epochs without a better validation accuracy after which training ends",
        )
        parser.add_argument("--compile", action="store_true", help="let torch.compile make the network faster")
        parser.add_argument("--threads", type=int | None, default=None, help="CPU threads of torch; default: all cores")
        parser.link_arguments("model.vit.image_size", "data.image_size")
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what we were given; sys.argv is the business of `vit.cli`."""
        self.config = parse_from_weights(parser, args)

    def before_instantiate_classes(self) -> None:
        """Take the threads that were asked for: a small model on busy cores is many times faster with one."""
        if self.config.threads is not None:
            if self.config.threads < 1:
                raise ValueError(f"threads={self.config.threads} must be at least 1.")
            torch.set_num_threads(self.config.threads)
        check_flags(self.config)
        self.config.model.pretrained = absolute(self.config.model.pretrained)

    def instantiate_classes(self) -> None:
        """Build everything; what Lightning finds wrong with the trainer's flags is the user's to mend."""
        try:
            super().instantiate_classes()
            self.model.compiles = self.config.compile
        except MisconfigurationException as error:
            raise ValueError(f"these trainer flags do not work here: {error}") from error

    def seed(self) -> None:
        """Start all random numbers from the run's seed: before building, and again before training.

        So the order of the images and their augmentation do not depend on what drew numbers while building.
        """
        if self.config.seed_everything is True:  # Lightning's word for any; noted in the saved config
            self.config.seed_everything = secrets.randbelow(2**32)
        if self.config.seed_everything is not False:
            L.seed_everything(self.config.seed_everything, workers=True, verbose=False)

    def _set_seed(self) -> None:
        self.seed()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, writing into the run's folder unless the flags say otherwise."""
        if "spawn" in str(self.config.trainer.strategy):
            raise ValueError(
                f"trainer.strategy={self.config.trainer.strategy} keeps its results in another process; ddp works."
            )
        channels = self.model.hparams["vit"]["in_channels"]
        if channels != self.datamodule.preprocessing.channels:
            raise ValueError(
                f"model.vit.in_channels={channels}, but the images of this data have "
                f"{self.datamodule.preprocessing.channels} channels."
            )
        # for the saved config, which is to work from anywhere
        self.config.model.vit.num_classes = self.datamodule.num_classes
        self.config.data.root = str(Path(self.config.data.root).absolute())
        self.folder = self._make_folder()
        flags = self.config.trainer
        settings: dict[str, Any] = {"default_root_dir": flags.default_root_dir or str(self.folder)}
        if flags.logger in (None, True):
            settings["logger"] = CSVLogger(self.folder, name="", version="")
        try:
            trainer = super().instantiate_trainer(**settings, **kwargs)
        except BaseException:  # some flags are found wrong here, by errors of many kinds
            remove_if_empty(self.folder)
            raise
        trainer.callbacks.append(self.stopwatch)  # pyright: ignore[reportAttributeAccessIssue]
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[L.Callback]) -> L.Trainer:
        best_by = monitored(self.model, self.config.export)
        if config.get("enable_checkpointing") is not False:
            checkpoints = ModelCheckpoint(
                self.folder / "checkpoints",
                filename="best",
                monitor=best_by,
                mode="max",
                save_last=True,
                enable_version_counter=False,
            )
            callbacks.append(checkpoints)
        if self.config.early_stopping is not None:
            callbacks.append(EarlyStopping(best_by, mode="max", patience=self.config.early_stopping))
        if sys.stdout.isatty() and config.get("enable_progress_bar") is not False:
            callbacks.append(RichProgressBar(refresh_rate=5))
        else:
            config["enable_progress_bar"] = False
            callbacks += [EpochLines()] if self.epoch_lines else []
        callbacks.append(SaveModelFolder(self.folder / "model", self.config.export, self.command))
        callbacks.append(RunStory(self.folder, self.command, self.config.seed_everything))
        return super()._instantiate_trainer(config, callbacks)

    def _make_folder(self) -> Path:
        """A new folder for this run: the given name, which must be free, or the config's with the next free number."""
        if FOLDER_OF_RANK_ZERO in os.environ and int(os.environ.get("LOCAL_RANK", "0")) > 0:
            return Path(os.environ[FOLDER_OF_RANK_ZERO])
        folder = self._new_folder(Path(self.config.output))
        self.config.name = None  # the saved config is to be trained from again, under another name
        os.environ[FOLDER_OF_RANK_ZERO] = str(folder)
        return folder

    def _new_folder(self, output: Path) -> Path:
        if self.config.name is not None:
            folder = output / self.config.name
            if folder.exists():
                raise FileExistsError(f"run folder {folder} exists already; choose another --name, or leave it out.")
            folder.mkdir(parents=True)
            return folder
        if not self.config.config:
            return new_folder(output, "run")
        config = Path(str(self.config.config[0])).absolute()
        of_a_run = config.name == "config.yaml"  # runs/NAME/config.yaml: the same once more
        return new_folder(output, config.parent.name if of_a_run else config.stem)


def fit(run: Run) -> dict[str, float]:
    """Train to the end; the last epoch's metrics.

    Raises:
        ValueError: not one step was taken, the loss is no number any more, or flags do not work together.
        KeyboardInterrupt: Ctrl-C; the message says where the last checkpoint is.
    """
    resume = run.config.resume
    if resume is not None and not Path(resume).is_file():
        raise FileNotFoundError(f"checkpoint {resume} does not exist; a run writes runs/NAME/checkpoints/last.ckpt.")
    run.seed()
    try:
        run.trainer.fit(run.model, datamodule=run.datamodule, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise ValueError(f"these trainer flags do not work here: {error}") from error
    except SystemExit as stop:
        if run.trainer.interrupted:  # Lightning makes of Ctrl-C an exit without a word
            raise KeyboardInterrupt(f"the last whole epoch is in {run.folder / 'checkpoints' / 'last.ckpt'}") from stop
        raise
    if run.trainer.global_step == 0:
        if not (run.folder / "checkpoints").exists():
            shutil.rmtree(run.folder, ignore_errors=True)  # our own, made a moment ago
        raise ValueError("the training took no step: max_epochs, max_steps and limit_train_batches must be above 0.")
    return {name: float(value) for name, value in run.trainer.callback_metrics.items()}


def test(run: Run) -> float:
    """Accuracy on the test images of the weights that the run was told to export.

    Raises:
        ValueError: the data has no test part.
    """
    run.model.network = exported_network(run.trainer, run.model, run.config.export)[0]
    return run.trainer.test(run.model, datamodule=run.datamodule, verbose=False)[0]["test_acc"]


def quieten() -> None:
    """Leave out what Lightning says on every run and no user can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # sources in memory need none
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")  # what we log is of whole epochs
    warnings.filterwarnings("ignore", ".*Experiment logs directory .* exists.*")  # the run's own, just made
    warnings.filterwarnings("ignore", ".*The dirpath has changed.*")  # a run that goes on from another has its own
    warnings.filterwarnings("ignore", r".*module\(s\) in eval mode.*")  # frozen parts, and the average of the weights
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
