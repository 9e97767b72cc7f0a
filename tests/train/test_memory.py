"""What a step frees is there for the next."""

import subprocess
import sys

import pytest

from vit.train.memory import keep_freed_memory

STEPS = """
import resource
import torch
from vit.train.memory import keep_freed_memory

def pages_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [torch.empty(64 * 2**20, dtype=torch.uint8).fill_(1) for _ in range(2)]  # never kept as it comes
    del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages_of_a_step()
as_it_comes = pages_of_a_step()
kept = keep_freed_memory()
pages_of_a_step()
print(as_it_comes, pages_of_a_step(), kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_was_freed_is_not_paged_in_again() -> None:
    # in a process of its own: what a long one has left in its memory may be in the way
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    as_it_comes, kept, piece = map(int, done.stdout.split())
    if not piece:
        pytest.skip("another C library")
    assert kept < as_it_comes / 20


def test_an_older_c_library_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        def mallopt(self, what: int, value: int) -> int:
            return int(what != -3 or value <= 2**25)  # M_MMAP_THRESHOLD

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("vit.train.memory.ctypes.CDLL", lambda _: Older())
    assert keep_freed_memory() == 2**25


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
