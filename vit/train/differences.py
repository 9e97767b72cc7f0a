"""Two configs -> the values in which they differ, as far as that matters to what is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vit.nn import ViTConfig

HARMLESS = (
    *("config", "output", "name", "resume", "export", "threads", "max_time", "checkpoint_every"),
    *("report", "seeds", "data.num_workers", "data.timeout", "data.download"),
    *("trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.num_sanity_val_steps", "trainer.profiler", "trainer.detect_anomaly"),
)
"""What may change from one process of a run to the next without a word: the order of images, their random changes and
all weights stay the same."""


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names and both values. What only one of them has is of another version, and left out."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return {
        name: (old[name], new[name])
        for name in old.keys() & new.keys()
        if not name.startswith(HARMLESS) and not _same(name, old[name], new[name])
    }


def in_words(changed: dict[str, tuple[Any, Any]]) -> str:
    """As `depth 4 there, 6 here; ...`, at most six of them."""
    words = [f"{name} {old} there, {new} here" for name, (old, new) in sorted(changed.items())]
    return "; ".join(words[:6]) + (f"; and {len(words) - 6} more" if len(words) > 6 else "")


def _flat(values: dict[str, Any], group: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{group}{name}.")
        else:
            pairs.append((f"{group}{name}", value))
    return pairs


def _same(name: str, old: Any, new: Any) -> bool:
    if name.endswith("num_classes") and new == ViTConfig.num_classes:  # not known before the data is
        return True
    if name == "seed_everything" and new is True:  # any will do
        return True
    if name == "data.root":
        return Path(old).absolute() == Path(new).absolute()
    plain_old, plain_new = (list(value) if isinstance(value, tuple) else value for value in (old, new))
    return plain_old == plain_new
