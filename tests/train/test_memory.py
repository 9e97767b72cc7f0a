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

    if not keep_freed_memory():
        pytest.skip("another C library")
    size = 200 * 2**20
    pages_of(size)
    assert pages_of(size) < size // PAGE // 20


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
