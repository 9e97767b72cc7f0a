"""Weights, gradients, moments and the moving average split over the devices: FSDP2, for what one device cannot hold.

Each device holds a part of every tensor, along its first axis, and the whole of one block at a time while that block is
computed. Split parameters are DTensors: they keep their shape and name, so that groups of the optimiser, clipping by
the norm of all gradients, and names in a checkpoint are those of one device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only


def is_sharded(network: nn.Module) -> bool:
    """Whether the network's weights are split over devices."""
    return isinstance(network, FSDPModule)


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Split the weights of a network over the devices, in place; each block is gathered by itself.

    The rest is split again after the forward pass too (torch would keep it whole until the backward pass, which never
    comes after validation), so that between two passes all parameters are DTensors.
    """
    blocks = getattr(network, "blocks", None)
    for part in (*(blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else ()), network):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for split weights, over all devices of all machines, with checkpoints of whole tensors.

    They are those of one device: a run may go on with any number of devices, sharded or not. Lightning's own would
    number the optimiser's state by the order of all parameters, while torch's go by the order in the groups.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Connect the processes, and lay out a mesh of all their devices along one axis."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Before it, as unsharded strategies do: the weights are split by then, and the data must know its place."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """By `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights, whole, in the first process. All processes call it together."""
        assert self.lightning_module is not None
        return self._whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's state, whole, in the first process. All processes call it together."""
        return self._whole(super(ModelParallelStrategy, self).optimizer_state(optimizer))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the whole checkpoint in every process, as unsharded strategies do."""
        return super(ModelParallelStrategy, self).load_checkpoint(checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take over this device's part of the weights."""
        assert self.lightning_module is not None
        ours, saved = self.lightning_module.state_dict(), checkpoint["state_dict"]
        parts = {name: _part(tensor, ours.get(name)) for name, tensor in saved.items()}
        self.lightning_module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over this device's part of the optimiser's state."""
        parts: list[dict[str, Any]] = []
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = {
                number: {name: _part(value, parameters[number]) for name, value in of_one.items()}
                for number, of_one in saved["state"].items()
            }
            parts.append({**saved, "state": state})
        super(ModelParallelStrategy, self).load_optimizer_state_dict({"optimizer_states": parts})

    def _whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """Gather one tensor after the other; only the first process, which writes them, keeps them."""

        def gather(tensor: DTensor) -> Tensor | None:
            gathered = tensor.full_tensor()
            return gathered.cpu() if self.is_global_zero else None

        return tree_map_only(DTensor, gather, state)


def _part(value: Any, ours: Tensor | None) -> Any:
    """This device's part of a tensor, as ours of that shape is split; what is not split stays as it is."""
    if not isinstance(ours, DTensor) or not isinstance(value, Tensor) or value.shape != ours.shape:
        return value
    return distribute_tensor(value.to(ours.device), ours.device_mesh, ours.placements, src_data_rank=None)
