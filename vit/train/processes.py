"""What the first of several processes decides -> all of them know it, before they are connected; and how they part."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import DistError, TCPStore  # pyright: ignore[reportPrivateImportUsage]

DECIDED = "VIT_DECIDED"
"""Environment variable that the processes which Lightning starts inherit from the first."""

WAIT = timedelta(minutes=10)
"""For the others: machines of a cluster may be minutes apart."""


def decided_by_first(decide: Callable[[], str], num_nodes: int = 1) -> str:
    """Let the first process decide, the others take over what it decided.

    Processes started by torchrun, by SLURM's srun, or by hand on several machines learn it through a store at the
    address they will train over.

    Args:
        decide: Is called in the first process.
        num_nodes: Machines, each with a process that may start others.

    Raises:
        ValueError: there are to be several machines, and nothing says where the first is, or which one this is.
    """
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect() and (environment := kind()).world_size() > 1:
            return _through_store(decide, environment, environment.global_rank(), environment.world_size())
    if DECIDED in os.environ and int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return os.environ[DECIDED]
    if num_nodes > 1:
        if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]:
            raise ValueError(
                f"trainer.num_nodes={num_nodes}, but the environment has no {', '.join(missing)}, by which machines "
                "find each other; torchrun and SLURM's srun set what is needed: docs/training.md."
            )
        environment = LightningEnvironment()
        os.environ[DECIDED] = _through_store(decide, environment, environment.node_rank(), num_nodes)
    else:
        os.environ[DECIDED] = decide()
    return os.environ[DECIDED]


def disconnect_at_exit() -> None:
    """Leave the other processes in order when this one ends; Lightning sees to that for NCCL alone.

    gloo's threads, where they are still there when Python is gone, abort a process that has finished its work, and
    torchrun then ends the others.
    """
    atexit.unregister(_disconnect)
    atexit.register(_disconnect)


def _disconnect() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _through_store(decide: Callable[[], str], environment: ClusterEnvironment, rank: int, count: int) -> str:
    """Have one of `count` processes, or machines, decide, and tell the others.

    Raises:
        OSError: they do not find each other.
    """
    text = decide() if rank == 0 else ""
    try:
        return _exchanged(text, environment, rank == 0, count)
    except DistError as error:
        raise OSError(
            f"process {rank} of {count} had no answer from the others within {WAIT}, at {environment.main_address}, "
            f"port {environment.main_port}; the first may have ended with an error of its own."
        ) from error


def _exchanged(text: str, environment: ClusterEnvironment, first: bool, count: int) -> str:
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun itself
    store = TCPStore(
        environment.main_address,
        environment.main_port,
        is_master=first and not hosted,
        wait_for_workers=False,
        timeout=WAIT,
    )
    key = f"{DECIDED}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if not first:
        text = store.get(key).decode()
        if store.add(f"{key}/readers", 1) == count - 1:
            store.set(f"{key}/read", "")
        return text
    store.set(key, text)
    if not hosted:
        store.wait([f"{key}/read"])  # the store ends with this function, and its port is used again
    return text
