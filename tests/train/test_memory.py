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
    activations = [torch.empty(8 * 2**20, dtype=torch.uint8).fill_(1) for _ in range(16)]  # 32,768 pages
    del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
print(int(kept), min(pages_of_a_step() for _ in range(6)))  # a system may take pages away by itself now and then
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_was_freed_is_not_paged_in_again() -> None:
    # in a process of its own: what a long one has left in its memory may be in the way
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    kept, pages = map(int, done.stdout.split())
    if not kept:
        pytest.skip("another C library")
    assert pages < 600


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
