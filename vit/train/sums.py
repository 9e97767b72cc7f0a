"""What is summed up over an epoch, and where random numbers stand: the state of a run that Lightning saves nowhere.

A checkpoint in the middle of an epoch needs both: without the sums, train_loss and train_acc of that epoch would be of
its rest alone, and without the random numbers dropout would go on differently.
"""

# pyright: reportPrivateUsage=false
# Lightning offers no public way to what was logged; tests/train/test_resume.py notices when that changes

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from torchmetrics import Metric

State = dict[str, Any]
"""Plain values and tensors, as `torch.load(weights_only=True)` reads them."""


def random_state() -> State:
    """Where the random number generators of torch, all CUDA devices, numpy and Python stand."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # the one that others use
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: State) -> None:
    """Go on drawing from where `random_state` found them. CUDA's need as many devices as there were."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def epoch_sums(trainer: L.Trainer) -> list[State]:
    """Everything logged so far in this epoch of training, with how it was logged."""
    saved: list[State] = []
    for result in _results(trainer).values():
        meta = result.meta
        entry: State = {
            "log": {
                "fx": meta.fx,
                "name": meta.name,
                "prog_bar": meta.prog_bar,
                "logger": meta.logger,
                "on_step": meta.on_step,
                "on_epoch": meta.on_epoch,
                "reduce_fx": meta.reduce_fx.__name__,
                "sync_dist": meta.sync.should,
                "rank_zero_only": meta.sync.rank_zero_only,
                "add_dataloader_idx": meta.add_dataloader_idx,
                "metric_attribute": meta.metric_attribute,
            },
            "updates": result.value._update_count if isinstance(result.value, Metric) else result._update_count,
            "sums": _sums(result.value if isinstance(result.value, Metric) else result),
        }
        saved.append(entry)
    return saved


def set_epoch_sums(trainer: L.Trainer, saved: list[State]) -> None:
    """Log everything once more as it was logged, and put the sums in the place of what that summed up."""
    results = _results(trainer)
    module = trainer.lightning_module
    for entry in saved:
        log = entry["log"]
        attribute = log["metric_attribute"]
        metric = module.get_submodule(attribute) if attribute else torch.zeros((), device=module.device)
        assert isinstance(metric, Metric | torch.Tensor)
        results.log(value=metric, sync_dist_fn=trainer.strategy.reduce, batch_size=1, **log)
        summing = metric if isinstance(metric, Metric) else results[f"{log['fx']}.{log['name']}"]
        summing._update_count = entry["updates"]
        summing._computed = None
        for name, value in entry["sums"].items():
            setattr(summing, name, _on_device(value, module.device))
    trainer._logger_connector._first_loop_iter = False  # the first batch to come is not the epoch's first


def _results(trainer: L.Trainer) -> Any:
    return trainer.fit_loop.epoch_loop._results


def _sums(metric: Metric) -> State:
    return {name: _on_device(getattr(metric, name), torch.device("cpu")) for name in metric._defaults}


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_on_device(item, device) for item in value]
    return value.detach().to(device).clone() if isinstance(value, torch.Tensor) else value
