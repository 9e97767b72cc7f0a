"""Ctrl-C and the signals that end a process -> a wish to stop, which training grants when a step is done."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes: Ctrl-C; and SIGTERM, a closed terminal (SIGHUP) or a scheduler's warning (SIGUSR1)."""

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if (number := getattr(signal, name, None))]
"""Those of them that this system has."""

PATIENCE = 2.0
"""Seconds within which Python calls the handler of a signal, unless it waits in code that is not its own."""


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

    Python calls no handler while it waits in code that is not its own, as torch does for other machines, half an hour
    long. So until `training` is set, a thread, which the system wakes, looks whether the handler was called, and ends
    the process if it was not.
    """

    def __init__(self, abandon: Callable[[str], object] = print) -> None:
        """Change nothing yet.

        Args:
            abandon: Is called, with a part of a sentence, in the thread that ends a process that waits.
        """
        self.wish: int | None = None
        self.by = "a signal to another process"
        self.training = False
        self._abandon = abandon
        self._before: dict[int, Any] = {}
        self._heard = threading.Event()
        self._wake: socket.socket | None = None
        self._wake_before = -1

    def __enter__(self) -> StopSignals:
        self.wish, self.training = None, False
        self._heard.clear()
        self.install()
        if threading.current_thread() is threading.main_thread():
            self._wake, woken = socket.socketpair()
            self._wake.setblocking(False)
            self._wake_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(woken,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wake is not None:
            signal.set_wakeup_fd(self._wake_before)
            self._wake.close()  # which ends the thread
            self._wake = None
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take over the signals; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.signal(number, self._receive)
            self._before.setdefault(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._heard.set()
        interrupt = number == signal.SIGINT
        if interrupt and (self.wish is not None or not self.training):
            raise KeyboardInterrupt
        self.wish = INTERRUPTED if interrupt else TERMINATED
        self.by = _name(number)
        if not self.training:
            raise Stopped(TERMINATED, f"by {self.by}, before training")

    def _watch(self, woken: socket.socket) -> None:
        with woken:
            while received := woken.recv(1):
                number = received[0]
                if number not in SIGNALS or self.training or self._heard.wait(PATIENCE):
                    continue
                self._abandon(f"by {_name(number)}, while waiting for other processes")
                os._exit(INTERRUPTED if number == signal.SIGINT else TERMINATED)


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
