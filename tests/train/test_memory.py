"""What a step frees is there for the next."""

import sys

import pytest
import torch

from vit.train.memory import keep_freed_memory

PAGE = 4096


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_was_freed_is_not_paged_in_again() -> None:
    import resource

    def pages_of(size: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(size, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    size = keep_freed_memory() * 3 // 4
    if not size:
        pytest.skip("another C library")
    pages_of(size)
    assert pages_of(size) < size // PAGE // 20


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
