"""What became of every tensor when weights were loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of every tensor of a file, and where every tensor of the model comes from."""

    source: str
    """What was loaded."""

    layout: str
    """Whose names its tensors had."""

    loaded: tuple[str, ...]
    """Tensors of the model that are those of the file, renamed and reshaped at most."""

    resized: Mapping[str, str] = field(default_factory=dict[str, str])
    """Tensors of the model that were computed from those of the file for another size -> what was done."""

    initialised: tuple[str, ...] = ()
    """Tensors of the model that the file does not have: they have initial values, and need training."""

    completed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Tensors of the model that have zeros where the file's model has nothing at all -> why that is the same."""

    left_over: tuple[str, ...] = ()
    """Tensors of the file, under its own or timm's names, that the model does not have."""

    notes: tuple[str, ...] = ()
    """What else the reader should know."""

    def __str__(self) -> str:
        """A line for each kind, with the names where they are few."""
        lines = [f"{self.source} ({self.layout} layout): {_count(len(self.loaded), 'tensor')} loaded as they are"]
        lines += [f"  resized: {name}, {what}" for name, what in self.resized.items()]
        for reason in dict.fromkeys(self.completed.values()):
            names = [name for name, why in self.completed.items() if why == reason]
            lines.append(f"  zeros in: {_grouped(names)}; {reason}")
        lines += [f"  new, at zero: {', '.join(self.initialised)}"] if self.initialised else []
        lines += [f"  left over: {_grouped(self.left_over)}"] if self.left_over else []
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _grouped(names: Iterable[str]) -> str:
    """Names in order; those of one family (`decoder_blocks.0.attn`, `decoder_blocks.1.mlp`) counted together."""
    families = Counter(name.partition(".")[0] for name in names)
    shown = {family: [name for name in names if name.partition(".")[0] == family] for family in families}
    return ", ".join(
        ", ".join(members) if len(members) <= 2 else f"{family}.* ({len(members)})" for family, members in shown.items()
    )
