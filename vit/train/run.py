"""YAML and flags -> a run: trainer, classifier and data, by LightningCLI, in a folder of its own.

runs/NAME/config.yaml       every value of the run, defaults too; `vit fit --config` takes it again
runs/NAME/run.json          command, seed, git commit, versions, hardware, data: an entry for every start
runs/NAME/metrics.csv       one row an epoch and part
runs/NAME/checkpoints/      last.ckpt to go on from, previous.ckpt before it, and best.ckpt (by validation)
runs/NAME/model/            the finished model folder, to predict with
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from vit.data.module import ImageDataModule
from vit.train.callbacks import EpochLines, ProgressBar, SaveModelFolder, StopsEarly, Stopwatch
from vit.train.checkpoints import BEST, FOLDER, LAST, AtomicCheckpointIO, read_checkpoint
from vit.train.classifier import Classifier
from vit.train.differences import differences, in_words
from vit.train.export import monitored
from vit.train.flags import AUTO, RunParser, add_run_flags, of_run_folder, seconds
from vit.train.folder import CONFIG, locked, missing_above, remove_if_untrained
from vit.train.going_on import choose_folder
from vit.train.memory import keep_freed_memory
from vit.train.metrics_file import MetricsFile
from vit.train.processes import decided_by_first, disconnect_at_exit
from vit.train.resume import Resumable
from vit.train.signals import Stopped, StopSignals
from vit.train.start import absolute, check_flags, parse_from_weights
from vit.train.story import RunStory
from vit.train.trainer import Trainer
from vit.train.troubles import in_a_sentence, require_logged


class Run(LightningCLI):
    """Everything of one training run, built from the arguments of `vit fit` and not yet started.

    Raises:
        jsonargparse.ArgumentError: an unknown key or flag, or a value of the wrong type.
        ValueError: values that do not fit each other.
        FileExistsError: the folder named by `--name` is there already.
    """

    model: Classifier
    datamodule: ImageDataModule

    is_new = False
    """Whether the run's folder was made by this start."""

    made: Sequence[Path] = ()
    """Folders above the run's that were made for it, the innermost first."""

    def __init__(self, args: Sequence[str], epoch_lines: bool = True) -> None:
        """Parse and build.

        Args:
            args: As for `vit fit`.
            epoch_lines: Whether to print a line an epoch where there is no terminal for a progress bar.
        """
        self.command = shlex.join(["vit", "fit", *args])
        self.epoch_lines = epoch_lines
        self.stopwatch = Stopwatch()
        self.signals = StopSignals(self._abandon)
        args = of_run_folder(args)
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
            save_config_callback=None,  # the run's folder gets it, wherever loggers write
            trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 10},
            parser_class=RunParser,
            parser_kwargs={"prog": "vit fit"},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own flags, and what the parts tell each other."""
        add_run_flags(parser)
        parser.link_arguments("model.vit.image_size", "data.image_size")
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.num_classes", "model.load_pretrained", self.starts_anew, apply_on="instantiate")

    def starts_anew(self, _: int) -> bool:
        """Whether no checkpoint brings all weights, which is known by the time that the data tells its classes."""
        return self.checkpoint is None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what we were given; sys.argv is the business of `vit.cli`."""
        self.config = parse_from_weights(parser, args, warn)

    def before_instantiate_classes(self) -> None:
        """Decide what can be known before data is loaded: threads, times, the folder, and what to go on from."""
        if self.config.threads is not None:
            if self.config.threads < 1:
                raise ValueError(f"threads={self.config.threads} must be at least 1.")
            # a small model on busy cores is many times faster with one
            torch.set_num_threads(self.config.threads)
        keep_freed_memory()
        self.limit = None if self.config.max_time is None else seconds("max_time", self.config.max_time)
        self.every = seconds("checkpoint_every", self.config.checkpoint_every)
        check_flags(self.config)
        self.config.model.pretrained = absolute(self.config.model.pretrained)
        try:
            with self.signals:  # other machines may have to be waited for
                decided = json.loads(decided_by_first(self._decide, self.config.trainer.num_nodes))
        except BaseException:
            self.take_back()
            raise
        self.folder, self.is_new = Path(decided["folder"]), decided["is_new"]
        self.checkpoint = Path(decided["checkpoint"]) if decided["checkpoint"] else None
        self.from_step = decided["step"]
        self.config.seed_everything = decided["seed"]

    def _decide(self) -> str:
        """What all processes of this run must agree on, as JSON. Makes the folder."""
        if self.config.seed_everything is True:  # Lightning's word for any; noted in the saved config
            self.config.seed_everything = secrets.randbelow(2**32)
        self.made = missing_above(Path(self.config.output) / (self.config.name or "run"))
        chosen = choose_folder(self.values(), warn)
        self.folder, self.is_new = chosen.path, chosen.is_new
        return json.dumps(
            {
                "folder": str(chosen.path),
                "is_new": chosen.is_new,
                "checkpoint": str(chosen.checkpoint) if chosen.checkpoint else None,
                "step": chosen.step,
                "seed": self.config.seed_everything,
            }
        )

    def take_back(self) -> None:
        """Take the run's folder away again if it is new and no step has left anything in it."""
        if self.is_new:
            remove_if_untrained(self.folder, self.made)

    def _abandon(self, why: str) -> None:
        """End in order where a signal comes while other processes are waited for, and then the process ends at once."""
        trainer: L.Trainer | None = getattr(self, "trainer", None)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"stopped {why}: nothing was saved; no step was taken.", file=sys.stderr, flush=True)  # noqa: T201
        if trainer is not None and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)  # the processes that this one has started
        if trainer is None or trainer.is_global_zero:
            self.take_back()

    def values(self) -> dict[str, Any]:
        """The config as plain values."""
        return yaml.safe_load(self.parser.dump(self.config, skip_none=False)) | {
            "config": list(map(str, self.config.config or []))
        }

    def instantiate_classes(self) -> None:
        """Build everything; what Lightning finds wrong with the trainer's flags is the user's to mend."""
        try:
            self.seed()
            super().instantiate_classes()
            self.model.compiles = self.config.compile
        except BaseException as error:  # of many kinds; the folder was made a moment ago, and nothing is in it
            self.take_back()
            if isinstance(error, MisconfigurationException):
                raise ValueError(f"these trainer flags do not work here: {error}") from error
            raise

    @property
    def time_is_up(self) -> bool:
        """Whether `--max-time` ended the training."""
        return any(isinstance(each, Resumable) and each.time_is_up for each in self.trainer.checkpoint_callbacks)

    @property
    def stopped_early(self) -> str | None:
        """Why, if `--early-stopping` or another such callback ended the training."""
        for stop in self.trainer.early_stopping_callbacks:
            if stop.stopping_reason_message:
                return stop.reason if isinstance(stop, StopsEarly) else stop.stopping_reason_message
        return None

    def seed(self) -> None:
        """Start all random numbers from the run's seed: before building, and again before training.

        So the order of the images and their augmentation do not depend on what drew numbers while building.
        """
        if self.config.seed_everything is not False:
            L.seed_everything(self.config.seed_everything, workers=True, verbose=False)

    def _set_seed(self) -> None:
        """Not yet: which seed is decided with the folder."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, writing into the run's folder unless the flags say otherwise."""
        channels = self.model.hparams["vit"]["in_channels"]
        if channels != self.datamodule.preprocessing.channels:
            raise ValueError(
                f"model.vit.in_channels={channels}, but the images of this data have "
                f"{self.datamodule.preprocessing.channels} channels."
            )
        settings = {"default_root_dir": self.config.trainer.default_root_dir or str(self.folder)}
        trainer = super().instantiate_trainer(**settings, **kwargs)
        trainer.callbacks.append(self.stopwatch)  # pyright: ignore[reportAttributeAccessIssue]
        if trainer.is_global_zero:
            self._save_config()
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[L.Callback]) -> L.Trainer:
        require_logged([*callbacks, *_as_list(config.get("callbacks"))])
        best_by = monitored(self.model, self.config.export)
        keeps = config.get("enable_checkpointing") is not False and not config.get("fast_dev_run")
        config["enable_checkpointing"] = keeps
        validates = config.get("limit_val_batches") not in (0, 0.0)
        if keeps and validates:
            folder, name = self.folder / FOLDER, Path(BEST).stem
            callbacks.append(
                ModelCheckpoint(folder, filename=name, monitor=best_by, mode="max", enable_version_counter=False)
            )
        elif self.config.export.startswith("best") and not config.get("fast_dev_run"):
            warn("without validation and checkpoints there is no best epoch; the last epoch's weights are exported.")
        if keeps:
            callbacks.append(Resumable(self.folder, self.signals, self.stopwatch, self.every, self.limit))
        if self.config.early_stopping is not None:
            if not validates:
                raise ValueError("early_stopping needs validation, and trainer.limit_val_batches=0 leaves it out.")
            callbacks.append(StopsEarly(best_by, self.config.early_stopping))
        if sys.stdout.isatty() and config.get("enable_progress_bar") is not False:
            callbacks.append(ProgressBar(refresh_rate=5))
        else:
            config["enable_progress_bar"] = False
            callbacks += [EpochLines()] if self.epoch_lines else []
        callbacks.append(SaveModelFolder(self.folder / "model", self.config.export, self.command))
        callbacks.append(RunStory(self.folder, self.command, self.config.seed_everything, self.signals))
        config["logger"] = self._loggers(config.get("logger"))
        config["plugins"] = [*_as_list(config.get("plugins")), AtomicCheckpointIO()]
        return super()._instantiate_trainer(config, callbacks)

    def _loggers(self, asked_for: Any) -> list[Logger]:
        """metrics.csv, unless no logger is wanted, and those asked for, or TensorBoard's where that is installed."""
        if asked_for is False:
            return []
        if asked_for in (None, True):
            return [MetricsFile(self.folder), *tensorboard(self.folder, self.from_step)]
        return [MetricsFile(self.folder), *_as_list(asked_for)]

    def _save_config(self) -> None:
        """config.yaml, which can be trained from again anywhere; one that said something else is kept beside it."""
        config = self.config.clone()
        config.model.vit.num_classes = self.datamodule.num_classes
        config.data.root = str(Path(config.data.root).absolute())
        config.name, config.resume = None, AUTO
        path, text = self.folder / CONFIG, self.parser.dump(config, skip_none=False)
        if path.is_file() and differences(yaml.safe_load(path.read_text(encoding="utf-8")), yaml.safe_load(text)):
            number = 1 + len(list(self.folder.glob("config-*.yaml")))
            path.replace(self.folder / f"config-{number}.yaml")
        path.write_text(text, encoding="utf-8")


def fit(run: Run) -> dict[str, float]:
    """Train to the end, or until told to stop; the last epoch's metrics.

    Raises:
        ValueError: not one step was taken, the loss is no number any more, flags do not work together, or the
            checkpoint to go on from is of another model.
        Stopped: by a signal, with the state saved.
        KeyboardInterrupt: Ctrl-C twice, or before the first step.
    """
    run.seed()
    disconnect_at_exit()
    trainer = run.trainer
    try:
        with locked(run.folder) if trainer.is_global_zero else nullcontext(), run.signals:
            _fit(run)
    finally:
        if trainer.is_global_zero and (trainer.global_step == 0 or trainer.fast_dev_run):  # pyright: ignore[reportAttributeAccessIssue]
            run.take_back()
    if trainer.global_step == 0:
        raise ValueError("the training took no step: max_epochs, max_steps and limit_train_batches must be above 0.")
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _fit(run: Run) -> None:
    trainer, checkpoint = run.trainer, None if run.checkpoint is None else str(run.checkpoint)
    if checkpoint is not None:
        require_fit(run.model, checkpoint)
    try:
        trainer.fit(run.model, datamodule=run.datamodule, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise ValueError(f"these trainer flags do not work here: {error}") from error
    except RuntimeError as error:
        if sentence := in_a_sentence(error, run.datamodule.batch_size, run.datamodule.num_workers):
            raise sentence from error
        raise
    except Stopped as stop:
        why = str(stop) or f"by {run.signals.by}"
        raise Stopped(stop.exit_code, f"{why}: {how_to_go_on(run)}") from None
    except SystemExit as stop:
        if trainer.interrupted:  # Lightning makes of a KeyboardInterrupt an exit without a word
            raise KeyboardInterrupt(how_to_go_on(run)) from stop
        raise


def how_to_go_on(run: Run) -> str:
    """What is saved of a run that was stopped, and the command that goes on with it."""
    last = run.folder / FOLDER / LAST
    if not last.is_file():
        return "nothing was saved; no step was taken."
    step = read_checkpoint(last)["global_step"]
    return f"step {step:,} is saved in {last}; to go on:  vit fit --resume {shlex.quote(str(run.folder))}"


def require_fit(model: Classifier, checkpoint: str) -> None:
    """Refuse a checkpoint of a network whose tensors are not the model's.

    Raises:
        ValueError: it is of another model.
    """
    saved = read_checkpoint(checkpoint)["state_dict"]
    theirs = {name: list(tensor.shape) for name, tensor in saved.items() if name.startswith("network.")}
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items() if name.startswith("network.")}
    changed = differences(theirs, ours) | {name: ("no", ours[name]) for name in ours.keys() - theirs.keys()}
    changed |= {name: (theirs[name], "no") for name in theirs.keys() - ours.keys()}
    if changed:
        raise ValueError(f"{checkpoint} is a checkpoint of another model: {in_words(changed)}.")


def tensorboard(folder: Path, from_step: int) -> list[Logger]:
    """A logger for TensorBoard where that is installed; it hides what was logged after the step to go on from."""
    if find_spec("tensorboard") is None:
        return []
    from lightning.pytorch.loggers import TensorBoardLogger

    purge = from_step or None
    return [TensorBoardLogger(folder, name="", version="", sub_dir="tensorboard", purge_step=purge)]


@rank_zero_only
def warn(sentence: str) -> None:
    """Tell whoever started the run, beside what it prints."""
    print(f"warning: {sentence}", file=sys.stderr)  # noqa: T201


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def quieten() -> None:
    """Leave out what Lightning says on every run and no user can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # sources in memory need none
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")  # what we log is of whole epochs
    warnings.filterwarnings("ignore", ".*The dirpath has changed.*")  # a run that goes on from another has its own
    warnings.filterwarnings("ignore", r".*module\(s\) in eval mode.*")  # frozen parts, and the average of the weights
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings(
        "ignore", ".*callbacks used to create the checkpoint need to be provided.*"
    )  # of another start
