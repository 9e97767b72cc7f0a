"""How much memory a process can still have: of a GPU, of the machine, or of the container or job that it runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int:
    """Memory free on a GPU; or of the machine and of every group with a limit around this process, the least of them.

    What is cached of files counts as free.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return max(min(_of_machine(), *_of_groups()), 0)


def _of_machine() -> int:
    try:
        return 1024 * _numbers(_ROOT / "proc/meminfo")["MemAvailable"]
    except (OSError, KeyError):  # not Linux: half of all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 2**30


def _of_groups() -> Iterator[int]:
    """What is free in each Linux control group (version 1 or 2) that this process is in: a container, a SLURM job.

    A group's limit holds for all groups below it too. In a container the process may be told the machine's name of its
    group, of which only the root is there, and is the container's.
    """
    yield 1 << 62
    try:
        lines = (_ROOT / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = _ROOT / "sys/fs/cgroup" / ("memory" if controllers else "")
        group = top / name.lstrip("/")
        for folder in (group, *(above for above in group.parents if above.is_relative_to(top))):
            yield from _of_group(folder, *(_VERSION_1 if controllers else _VERSION_2))


def _of_group(folder: Path, limit: str, used: str, cached: tuple[str, str]) -> Iterator[int]:
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        if most != "max":
            stat = _numbers(folder / "memory.stat")
            yield int(most) - int((folder / used).read_text(encoding="ascii")) + sum(stat[name] for name in cached)
    except (OSError, KeyError):  # no such group here, or the root of all, which has no limit
        return


def _numbers(file: Path) -> dict[str, int]:
    """`name number` a line."""
    words = (line.replace(":", " ").split() for line in file.read_text(encoding="utf-8").splitlines())
    return {name: int(number) for name, number, *_ in words}


_ROOT = Path("/")
_VERSION_1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_active_file", "total_inactive_file"),
)
_VERSION_2 = ("memory.max", "memory.current", ("active_file", "inactive_file"))
"""Files of a group, and the rows of its memory.stat that are files cached, which give way to whatever needs memory."""
