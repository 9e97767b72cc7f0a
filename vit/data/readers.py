"""many files -> what is read from each, by processes of which any may be killed or hang on a file.

The standard library's executor loses all that was going on when one of its processes dies, and cannot say at which
file. Here every process answers file by file, so that the one it did not answer for is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

QUEUED = 8
"""Files that a process has before it: enough to be never idle, few enough that sending their names never blocks."""

PAUSE = 1.0
"""Seconds between two looks at whether a process hangs."""

File = TypeVar("File")
Answer = TypeVar("Answer")


def read_all(
    files: Sequence[File], read: Callable[[File], Answer | str], processes: int, timeout: float
) -> Iterator[tuple[int, Answer | str]]:
    """One answer for every file, as they come: of `read`, or why there is none.

    A file at which its process died is tried once more, since a system kills processes for the memory that others
    took. The processes are started afresh, not forked, so that they hold nothing of ours and work alike everywhere.
    Close the iterator to end them.

    Args:
        files: What to read, such as paths.
        read: A function that another process can import, and that answers and does not raise.
        processes: How many.
        timeout: Seconds that one file may take.

    Yields:
        The place of a file in `files`, and its answer or a reason.

    Raises:
        ChildProcessError: processes cannot be started here.
    """
    todo, died_at = deque(range(len(files))), set[int]()
    readers = [_Reader(read) for _ in range(min(processes, len(files)))]
    clock = time.monotonic()
    try:
        while todo or any(reader.pending for reader in readers):
            for reader in readers:
                while todo and len(reader.pending) < QUEUED:
                    reader.give(todo.popleft(), files)
            wait([reader.connection for reader in readers], PAUSE)
            # a computer that slept, or a Ctrl-Z, counts as a few seconds
            elapsed, clock = min(time.monotonic() - clock, 3 * PAUSE), time.monotonic()
            for place, reader in enumerate(readers):
                try:
                    yield from reader.answer(elapsed, timeout)
                except _EndedError as end:
                    readers[place] = _Reader(read)
                    culprit, *others = reader.pending
                    todo.extendleft(reversed(others))
                    if end.hung or culprit in died_at:
                        yield culprit, str(end)
                    else:
                        died_at.add(culprit)
                        todo.append(culprit)
    finally:
        for reader in readers:
            reader.stop()


class _EndedError(Exception):
    """A process reads no more: it died, or it hung and was ended."""

    def __init__(self, reason: str, hung: bool) -> None:
        super().__init__(reason)
        self.hung = hung


def usable_cores() -> int:
    """Cores that this process may use; under SLURM, taskset and in some containers fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Reader:
    """A process that reads files one after the other."""

    def __init__(self, read: Callable[[Any], object]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, read), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process ends the connection
        self.started = False
        self.waited = 0.0
        """Seconds since it answered last."""
        self.pending = deque[int]()
        """Places of the files it was given and has not answered for, in the order in which it reads them."""

    def give(self, place: int, files: Sequence[object]) -> None:
        """Let it read one more."""
        self.pending.append(place)
        with contextlib.suppress(OSError):  # it is dead, which `answer` finds out
            self.connection.send(files[place])

    def answer(self, elapsed: float, timeout: float) -> Iterator[tuple[int, Any]]:
        """The answer that has come in the `elapsed` seconds since it was asked last, if one has."""
        if not self.connection.poll():
            self.waited += elapsed if self.started and self.pending else 0.0
            if self.waited > timeout:
                self.stop()
                raise _EndedError(f"reading it takes more than {timeout:g} s", hung=True)
            return
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(PAUSE)
            end = self.stop()
            if not self.started or not self.pending:
                raise ChildProcessError(f"a process that reads images {end} while it read none.") from None
            raise _EndedError(f"the process that read it {end}, twice", hung=False) from None
        self.waited = 0.0
        if self.started:
            yield self.pending.popleft(), answer
        self.started = True

    def stop(self) -> str:
        """End it, if it has not ended by itself; how it ended."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _serve(connection: Connection, read: Callable[[Any], object]) -> None:
    """What a process does: read what it is given until there is no one to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the one who asked ends us
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libtiff and others write what Pillow raises as well
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            connection.send(read(connection.recv()))
