"""What is free is the least of the machine's and of every container's around the process."""

from pathlib import Path

import pytest
import torch

from vit.data import memory
from vit.data.memory import free_bytes

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system with 8 GB of memory available and no groups."""
    monkeypatch.setattr(memory, "_ROOT", tmp_path)
    write(tmp_path / "proc/meminfo", f"MemTotal: 99 kB\nMemAvailable: {8 * GB // 1024} kB\nHugePages_Total: 0\n")
    return tmp_path


def write(file: Path, text: str | int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(text))


def group(folder: Path, limit: str | int, used: int, cached: int = 0) -> None:
    """A control group of version 2."""
    write(folder / "memory.max", limit)
    write(folder / "memory.current", used)
    write(folder / "memory.stat", f"anon 7\nactive_file {cached // 4}\ninactive_file {cached - cached // 4}\nshmem 5")


def test_without_groups_it_is_the_machines(machine: Path) -> None:
    assert free_bytes(CPU) == 8 * GB // 1024 * 1024


@pytest.mark.parametrize(
    ("limit", "free"), [(3 * GB, 1 * GB), (2 * GB, 0), (1 * GB, 0), ("max", 8 * GB // 1024 * 1024)]
)
def test_a_containers_limit_counts_less_what_is_used(machine: Path, limit: int | str, free: int) -> None:
    write(machine / "proc/self/cgroup", "0::/")
    group(machine / "sys/fs/cgroup", limit, used=2 * GB)
    assert free_bytes(CPU) == free


def test_files_that_a_container_has_cached_are_free(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/")
    group(machine / "sys/fs/cgroup", 3 * GB, used=2 * GB, cached=GB)
    assert free_bytes(CPU) == 2 * GB


def test_the_limit_of_a_group_holds_for_those_below_it(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/slurm/job 7/step")
    write(machine / "sys/fs/cgroup/cgroup.controllers", "memory")  # the root has no limit
    group(machine / "sys/fs/cgroup/slurm/job 7", 5 * GB, used=1 * GB)
    group(machine / "sys/fs/cgroup/slurm/job 7/step", "max", used=1 * GB)
    assert free_bytes(CPU) == 4 * GB


@pytest.mark.parametrize("inside", [True, False])
def test_version_1_of_groups_counts_too(machine: Path, inside: bool) -> None:
    # a container is told the machine's name of its group, and sees the group as the root
    write(machine / "proc/self/cgroup", "5:cpu:/docker/12ab\n4:memory:/docker/12ab\n0::/docker/12ab")
    folder = machine / "sys/fs/cgroup/memory" / ("" if inside else "docker/12ab")
    write(folder / "memory.limit_in_bytes", 6 * GB)
    write(folder / "memory.usage_in_bytes", 4 * GB)
    write(folder / "memory.stat", f"cache 1\ntotal_active_file 0\ntotal_inactive_file {3 * GB}")
    assert free_bytes(CPU) == 5 * GB


def test_this_machine_has_memory() -> None:
    assert 10**7 < free_bytes(CPU) < 1 << 50
