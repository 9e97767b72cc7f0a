"""Ctrl-C and the signals that end a process -> a wish to stop, which training grants when a step is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes: Ctrl-C; and SIGTERM, a closed terminal (SIGHUP) or a scheduler's warning (SIGUSR1)."""


class Stopped(Exception):  # noqa: N818  # not an error
    """Training was told to stop, and did; the message, if there is one, says by what."""

    def __init__(self, exit_code: int, message: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopSignals:
    """Within `with`, signals set `wish` instead of ending the process.

    The first Ctrl-C asks for a stop, the second is a KeyboardInterrupt at once. Before `training` is set there is
    nothing to save, and any signal stops at once. Lightning installs handlers of its own when a fit starts; `install`,
    called after that, puts ours back.
    """

    def __init__(self) -> None:
        self.wish: int | None = None
        self.by = "a signal to another process"
        self.training = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self.wish, self.training = None, False
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take over the signals that this system has; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
            if number := getattr(signal, name, None):
                handler = signal.signal(number, self._receive)
                self._before.setdefault(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        interrupt = number == signal.SIGINT
        if interrupt and (self.wish is not None or not self.training):
            raise KeyboardInterrupt
        self.wish = INTERRUPTED if interrupt else TERMINATED
        self.by = "Ctrl-C" if interrupt else signal.Signals(number).name
        if not self.training:
            raise Stopped(TERMINATED, f"by {self.by}, before training")
