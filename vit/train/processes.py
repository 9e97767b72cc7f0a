"""What the first of several processes decides -> all of them know it, before they are connected for training."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

DECIDED = "VIT_DECIDED"
"""Environment variable that the processes which Lightning starts inherit from the first."""


def decided_by_first(decide: Callable[[], str]) -> str:
    """Let the first process decide, the others take over what it decided.

    Processes started by torchrun or by SLURM's srun learn it through a store at the address they will train over.
    """
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect() and (environment := kind()).world_size() > 1:
            return _through_store(decide, environment)
    if DECIDED in os.environ and int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return os.environ[DECIDED]
    os.environ[DECIDED] = decide()
    return os.environ[DECIDED]


def _through_store(decide: Callable[[], str], environment: ClusterEnvironment) -> str:
    first = environment.global_rank() == 0
    text = decide() if first else ""
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun itself
    store = TCPStore(
        environment.main_address,
        environment.main_port,
        is_master=first and not hosted,
        wait_for_workers=False,
        timeout=timedelta(minutes=10),
    )
    key = f"{DECIDED}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if not first:
        text = store.get(key).decode()
        if store.add(f"{key}/readers", 1) == environment.world_size() - 1:
            store.set(f"{key}/read", "")
        return text
    store.set(key, text)
    if not hosted:
        store.wait([f"{key}/read"])  # the store ends with this function, and its port is used again
    return text
