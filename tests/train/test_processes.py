"""What the first of several processes decides is known to all, however they were started."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from vit.train import processes
from vit.train.processes import decided_by_first


def environment(start: str, rank: int, count: int) -> dict[str, str]:
    """What torchrun, srun or a person sets for process `rank`, each on a machine of its own."""
    return {
        "torchrun": {"TORCHELASTIC_RUN_ID": "1", "RANK": str(rank), "WORLD_SIZE": str(count)},
        "srun": {
            **{"SLURM_NTASKS": str(count), "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": str(rank)},
            **{"SLURM_JOB_NAME": "big", "SLURM_JOB_ID": "17"},
        },
        "by hand": {"NODE_RANK": str(rank)},
    }[start]


@pytest.mark.parametrize("start", ["torchrun", "srun", "by hand"])
def test_three_machines_know_what_the_first_decided(start: str, copy_of_process: Callable[..., Any]) -> None:
    port = str(find_free_network_port())

    def take_part(rank: int) -> Callable[..., None]:
        def act(say: Callable[[str], object]) -> None:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment(start, rank, 3)}
            say(decided_by_first(lambda: f"decided by {rank}", num_nodes=3))

        return act

    machines = [copy_of_process(take_part(rank)) for rank in (2, 0, 1)]
    assert [machine.said.readline() for machine in machines] == ["decided by 0\n"] * 3


def test_machines_that_cannot_find_each_other_are_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv(processes.DECIDED, raising=False)
    with pytest.raises(
        ValueError, match=r"trainer\.num_nodes=2, but the environment has no MASTER_ADDR, NODE_RANK, by"
    ):
        decided_by_first(lambda: "", num_nodes=2)


def test_a_first_machine_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    port = find_free_network_port()
    monkeypatch.setattr(processes, "WAIT", timedelta(seconds=0.1))
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match=rf"process 1 of 2 had no answer .* at 127\.0\.0\.1, port {port}; the first may"):
        decided_by_first(lambda: "", num_nodes=2)
