"""metrics.csv of a run: a row for every time something was logged, on the disk at once, and again after a stop."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

NAME = "metrics.csv"


class MetricsFile(Logger):
    """Lightning's CSVLogger with two differences: it never deletes a file that is there, and it can take rows back.

    A run that goes on from a checkpoint keeps the rows that were written before it, and writes those after it anew, so
    that the file is the one an unbroken run leaves. Columns are in alphabetical order.
    """

    def __init__(self, folder: Path) -> None:
        """Write `folder/metrics.csv` when something is logged."""
        super().__init__()
        self.folder = folder
        self.rows = 0
        """Rows written or kept so far."""
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def log_dir(self) -> str:
        return str(self.folder)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a row."""
        row: dict[str, Any] = {**metrics, "step": self.rows if step is None else step}
        new = row.keys() - set(self._columns)
        if new:
            before = self._read()[: self.rows]
            self._columns = sorted({*self._columns, *new})
            self._write([*before, row])
        else:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        self.rows += 1

    @rank_zero_only
    def keep_rows(self, count: int) -> None:
        """Take the rows after the first `count` back; the last one may have been cut off in the middle."""
        kept = self._read()[:count]
        self.rows = len(kept)
        self._columns = sorted(kept[0]) if kept else []
        if kept:
            self._write(kept)
        else:
            self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / NAME

    def _read(self) -> list[dict[str, str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{NAME}.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self._path)
