"""What the tests of training share: another process that costs no imports."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator

import pytest


class Copy:
    """A copy of this process that does something until it is killed, and says lines to this one.

    It is there at once, where a fresh one would import torch and lightning for ten seconds.
    """

    def __init__(self, act: Callable[[Callable[[str], object]], object]) -> None:
        ours, theirs = os.pipe()
        with warnings.catch_warnings():  # Python 3.12 and later: threads do not go along; none is needed
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            try:
                act(lambda line: os.write(theirs, f"{line}\n".encode()))
                time.sleep(600)
            finally:
                os._exit(1)  # without what pytest does at its end
        os.close(theirs)
        self.said = os.fdopen(ours)
        self.is_dead = False

    @property
    def is_alive(self) -> bool:
        """Whether it has not come to its end yet; if it has, that is not known afterwards."""
        return os.waitpid(self.pid, os.WNOHANG) == (0, 0)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        _, status = os.waitpid(self.pid, 0)
        self.is_dead = True
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """As `kill -9`, and wait until it is dead."""
        if not self.is_dead:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()
        self.said.close()


@pytest.fixture
def copy_of_process() -> Iterator[Callable[..., Copy]]:
    copies: list[Copy] = []

    def start(act: Callable[[Callable[[str], object]], object]) -> Copy:
        copies.append(Copy(act))
        return copies[-1]

    yield start
    for copy in copies:
        copy.kill()
