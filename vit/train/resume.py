"""A run that is stopped or killed at any moment -> the same run, gone on with as if nothing had happened.

`Resumable` saves `checkpoints/last.ckpt` before every validation, every so many minutes between two of them, when the
run is told to stop, and at its end. Besides what Lightning saves there (weights, optimiser, schedule, counts, place
in the data) it holds the random numbers and the sums of the epoch of every process, the number of rows of metrics.csv,
and the time spent. On a CPU the finished weights are those of an unbroken run, to the bit.
"""

# pyright: reportPrivateUsage=false
# Lightning offers no public way to its counts of batches; tests/train/test_resume.py notices when they change

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from vit.train.callbacks import Stopwatch
from vit.train.checkpoints import BEST, FINISHED, FOLDER, LAST, DamagedCheckpointError, read_checkpoint, remove_stale
from vit.train.export import keeper_of_best
from vit.train.metrics_file import MetricsFile
from vit.train.signals import Stopped, StopSignals
from vit.train.sums import State, epoch_sums, random_state, set_epoch_sums, set_random_state

KEY = "plain_vit"
"""Under this a checkpoint holds what is ours."""

Place = Literal["in an epoch", "after a batch", "before validation", "between epochs"]
"""Where in the run a state was saved."""

NOTHING, SAVE, TIME_UP = 0, 1, 2
"""What a process wishes after a step; above these are exit codes. The highest wish of all processes is granted."""


class Resumable(Checkpoint):
    """Saves the state of a run, restores it, and ends the run when a signal or the clock says so.

    It is one of Lightning's checkpoint callbacks, which run after all others: what is saved after a step includes what
    the others did in it.
    """

    def __init__(
        self, folder: Path, signals: StopSignals, stopwatch: Stopwatch, every: float, limit: float | None = None
    ) -> None:
        """Save into a run's folder.

        Args:
            folder: Of the run.
            signals: Say when to stop.
            stopwatch: Knows how long the run has been trained.
            every: Seconds between two saves within an epoch.
            limit: Seconds of training after which to stop, those before an interruption included.
        """
        self.folder, self.signals, self.stopwatch, self.every, self.limit = folder, signals, stopwatch, every, limit
        self.time_is_up = False
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._place: Place | None = None
        self._saved_place: Place | None = None
        self._validation_is_due = self._within_step = False
        self._loaded: State | None = None

    # ---- when to save, and when to stop

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """From here to the step's end the state is neither the old nor the new one."""
        self._within_step = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save or stop after a step, if a process wishes it; while gradients are accumulated there is no state."""
        self._within_step = False
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        # asked before the clock may end the run, which is a reason to validate too
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        self._validation_is_due = loop._should_check_val_fx(fetcher)
        wish = _highest(trainer, self._wish())
        if wish == TIME_UP:
            trainer.should_stop = self.time_is_up = True
        if self._validation_is_due or trainer.is_last_batch:
            return  # validation or the end of the epoch come next, which save and stop
        if wish or loop._is_training_done:
            self._save(trainer, "in an epoch")
        if self.time_is_up or loop._is_training_done:
            _no_candidate_for_best(trainer)
        _stop_if(wish)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save before validating, so that a stop in the middle of validation loses nothing."""
        if not _fitting(trainer) or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        wish = _highest(trainer, self._wish())
        self._save(trainer, "before validation" if self._validation_is_due else "in an epoch")
        _stop_if(wish)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop in the middle of validation; several processes, whose parts may differ in length, stop after it."""
        if trainer.world_size == 1 and _fitting(trainer):
            _stop_if(self.signals.wish or NOTHING)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after an epoch that was not validated, if it is time, now that its metrics are in the files too."""
        if trainer.global_step and (wish := _highest(trainer, self._wish())):
            self._save(trainer, "between epochs")
            _stop_if(wish)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end, with the last epoch's validation behind it, so that a longer training does not repeat that."""
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if batches >= trainer.num_training_batches and self._saved_place != "between epochs":
            self._saved_step = 0
        if trainer.global_step:
            self._save(trainer, "between epochs")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that the run has reached its end, after all others have written what they write then."""
        if trainer.is_global_zero and not self.time_is_up and (self.folder / FOLDER).is_dir():
            words = f"{trainer.global_step} steps, {trainer.current_epoch} epochs\n"
            (self.folder / FOLDER / FINISHED).write_text(words, encoding="utf-8")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what a damaged image or a lost worker has interrupted: between two steps the state is good.

        Not where the loss is no number any more, or writing failed, or several processes would have to agree.
        """
        between_steps = (
            trainer.training and not self._within_step and not trainer.fit_loop.epoch_loop._should_accumulate()
        )
        if isinstance(exception, Stopped) or not isinstance(exception, Exception) or not between_steps:
            return
        if trainer.world_size == 1 and trainer.global_step and self._place is None:
            with contextlib.suppress(OSError, ValueError):
                self._save(trainer, "after a batch")

    def _wish(self) -> int:
        if self.signals.wish:
            return self.signals.wish
        if self.limit is not None and self.stopwatch.seconds >= self.limit:
            return TIME_UP
        return SAVE if time.monotonic() - self._saved_at >= self.every else NOTHING

    def _save(self, trainer: L.Trainer, place: Place) -> None:
        if trainer.global_step == self._saved_step:
            return
        self._place = place
        trainer.save_checkpoint(self.folder / FOLDER / LAST)
        self._place = None
        self._saved_step, self._saved_place, self._saved_at = trainer.global_step, place, time.monotonic()

    # ---- what is saved

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out, of this process and all others."""
        fit_loop = checkpoint["loops"]["fit_loop"]
        epochs = fit_loop["epoch_progress"]["current"]
        over = epochs["processed"] == epochs["started"]  # the epoch's sums have been made into its metrics
        mine = {"random": random_state(), "sums": [] if over else epoch_sums(trainer)}
        checkpoint[KEY] = {
            "rows": {str(n): log.rows for n, log in enumerate(trainer.loggers) if isinstance(log, MetricsFile)},
            "processes": _gather(trainer, mine),
        }
        if self._place is not None:  # else it is not ours, but the best epoch's
            _adapt_counts(fit_loop, self._place)

    # ---- what is restored

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep ours until training starts; building the loaders still draws random numbers."""
        self._loaded = checkpoint.get(KEY)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on from where the loaded state was, and take over the signals."""
        self.signals.install()  # Lightning put its own in their place
        self.signals.training = True
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if trainer.is_global_zero:
            remove_stale(self.folder)
            (self.folder / FOLDER / FINISHED).unlink(missing_ok=True)
        state, self._loaded = self._loaded or {"rows": {}, "processes": []}, None
        for number, logger in enumerate(trainer.loggers):
            if isinstance(logger, MetricsFile):
                logger.keep_rows(state["rows"].get(str(number), 0))
        if not trainer.global_step:
            return
        restore_best(trainer)
        epochs = trainer.fit_loop.epoch_progress.current
        if epochs.processed == epochs.ready:  # pyright: ignore[reportAttributeAccessIssue]
            # with max_steps Lightning would go on in the epoch that is over, at its end
            trainer.fit_loop.epoch_loop.restarting = False
        validated = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
        validated.ready = validated.started = validated.completed  # pyright: ignore[reportAttributeAccessIssue]  # see _adapt_counts
        if len(state["processes"]) != trainer.world_size:
            trainer.print(
                f"going on with {trainer.world_size} processes after {len(state['processes'])}: random numbers start "
                "anew, and the training metrics of this epoch are of its rest."
            )
            return
        mine = state["processes"][trainer.global_rank]
        if mine["sums"]:
            set_epoch_sums(trainer, mine["sums"])
        set_random_state(mine["random"])


def restore_best(trainer: L.Trainer) -> None:
    """Let Lightning's keeper of the best epoch know what is in this run's best.ckpt, and how good that is.

    The file may be newer than the state that is gone on from; where a run goes on in another folder, it is not there.
    """
    keeper = keeper_of_best(trainer)
    if keeper is None:
        return
    assert keeper.dirpath is not None
    # spelt as the keeper does, which deletes the file that it takes for the one before
    path = os.path.join(keeper.dirpath, BEST)  # noqa: PTH118
    try:
        score = read_checkpoint(path)["callbacks"][keeper.state_key]["best_model_score"]
    except (FileNotFoundError, DamagedCheckpointError, KeyError):
        path, score = "", None
    keeper.best_model_path = keeper.kth_best_model_path = path
    keeper.best_model_score = keeper.current_score = score
    keeper.best_k_models = {path: score} if score is not None else {}
    if score is not None:
        keeper.kth_value = score


def _no_candidate_for_best(trainer: L.Trainer) -> None:
    """Let Lightning's keeper of the best epoch pass over a part of an epoch.

    At the end of max_steps there is no validation of it, and an unbroken run would not validate where the time was up.
    """
    for keeper in trainer.checkpoint_callbacks:
        if isinstance(keeper, ModelCheckpoint):
            keeper._last_global_step_saved = trainer.global_step


def _fitting(trainer: L.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _stop_if(wish: int) -> None:
    if wish > TIME_UP:
        raise Stopped(wish)


def _adapt_counts(fit_loop: State, place: Place) -> None:
    """Make Lightning's counts of epochs and batches say where the run is to go on; it counts on between our hooks."""
    epoch, batches = fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]
    for scope in ("total", "current"):
        if place == "between epochs":  # the epoch that is over is complete, the next has not begun
            epoch[scope]["ready"] = epoch[scope]["started"] = epoch[scope]["completed"] = epoch[scope]["processed"]
        elif place == "before validation":  # which has begun and done nothing
            validation = fit_loop["epoch_loop.val_loop.batch_progress"][scope]
            validation["ready"] = validation["started"] = validation["completed"] + 1
        else:  # the end of the last batch is still to be counted
            batches[scope]["completed"] = batches[scope]["processed"] - 1
    if place == "after a batch":  # its end was counted here, too
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def _highest(trainer: L.Trainer, wish: int) -> int:
    """What all processes do: the same, at the same step."""
    if trainer.world_size == 1:
        return wish
    return int(trainer.strategy.reduce(torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"))


def _gather(trainer: L.Trainer, state: State) -> list[State]:
    """The states of all processes, in order of their rank."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states
