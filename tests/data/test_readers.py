"""Every file gets an answer, also where reading it kills or stops the process."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from vit.data.readers import read_all


def read(name: str) -> str:
    """Stands for a decoder; what it does is in the name. Runs in another process."""
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit":
        os._exit(7)
    if name == "hang":
        time.sleep(1000)
    if name.startswith("once"):
        marker = Path(name.partition(" ")[2])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return name.upper()


# the tests' own module cannot be imported by its name in another process unless its folder is on the path
@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, "test_readers", sys.modules[__name__])
    monkeypatch.setattr(read, "__module__", "test_readers")


@pytest.mark.slow
def test_every_file_is_answered_once_and_bad_ones_are_named(tmp_path: Path) -> None:
    files = [*"abcdefghij", "kill", *"klmno", "hang", "exit", f"once {tmp_path / 'marker'}", *"pq"]
    answers = dict(read_all(files, read, processes=2, timeout=2.0))
    assert len(answers) == len(files)
    by_name = {files[place]: answer for place, answer in answers.items()}
    assert by_name.pop("kill") == "the process that read it was ended by SIGKILL, twice"
    assert by_name.pop("exit") == "the process that read it ended with code 7, twice"
    assert by_name.pop("hang") == "reading it takes more than 2 s"
    assert all(answer == name.upper() for name, answer in by_name.items())


@pytest.mark.slow
def test_whoever_stops_listening_ends_the_processes() -> None:
    answers = read_all(["a", "hang", "b"], read, processes=2, timeout=1000.0)
    assert next(answers) is not None
    begun = time.monotonic()
    answers.close()  # type: ignore
    assert time.monotonic() - begun < 500  # it does not wait for the hanging one


def test_no_files_need_no_process() -> None:
    assert list(read_all([], read, processes=3, timeout=1.0)) == []
