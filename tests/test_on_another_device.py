"""What is meant for a GPU, on a device that is not there: no two devices in one operation, no waiting for the device.

Tensors say that they are on another device while the CPU computes them. It stands for a GPU where a machine has none,
to see what is wrong on a GPU only. It borrows the name of torch's `meta`, whose tensors torch hands out without a
driver.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vit.data.augment import Augmentation
from vit.data.held import HeldReader
from vit.data.mix import mix_batch
from vit.data.module import ImageDataModule
from vit.data.on_device import augment_batch
from vit.data.order import BatchKey, Order
from vit.explain import explain
from vit.explain.methods import METHODS
from vit.nn import ViT, ViTConfig
from vit.train.classifier import Classifier
from vit.train.recipe import Recipe
from vit.train.run import quieten

ANOTHER = torch.device("meta")

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}
"""What needs numbers of the device on the processor, or how many there are."""


class Elsewhere(Tensor):
    """A tensor of the other device."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        there = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=ANOTHER
        )
        there.here = here
        return there

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"Elsewhere({self.here})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} is called outside `another_device`")


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = function._schema.name, dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
        here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
        device = kwargs.get("device")
        copied = name in ("aten::_to_copy", "aten::copy_")
        goes_there = bool(there) if device is None else device == ANOTHER
        if name == "aten::copy_":
            goes_there = isinstance(args[0], Elsewhere)
        if not copied and there and any(tensor.ndim for tensor in here):  # a single number of the CPU may come along
            raise AssertionError(f"{name} mixes two devices at {_line_of_ours()}")
        moved = copied and (bool(there) != goes_there or bool(there and here))
        non_blocking = kwargs.get("non_blocking", False) or (name == "aten::copy_" and len(args) > 2 and args[2])
        if (there and name in WAITING) or (moved and not (goes_there and non_blocking)):
            self.waits.append(f"{name} at {_line_of_ours()}")
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        known = {id(tensor.here): tensor for tensor in there}  # what is changed in place stays the tensor that it is
        args, kwargs = tree_map(lambda leaf: leaf.here if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))

        def taken_there(leaf: Any) -> Any:
            return known.get(id(leaf), Elsewhere(leaf) if goes_there else leaf) if isinstance(leaf, Tensor) else leaf

        return tree_map(taken_there, function(*args, **kwargs))


@contextmanager
def another_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A device `ANOTHER`; the list is of the places at which the processor waited for it."""
    generator, tensor = torch.Generator, torch.tensor

    def made(values: Any, **settings: Any) -> Tensor:  # which torch makes on `meta` itself, unseen by any mode
        device = settings.pop("device", None)
        return tensor(values, **settings) if device is None else tensor(values, **settings).to(device)

    with _Watch() as watch, monkeypatch.context() as patched:
        patched.setattr(torch, "tensor", made)
        patched.setattr(torch, "Generator", lambda device="cpu": generator())
        patched.setattr(torch, "autocast", lambda *where, **settings: nullcontext())  # `meta` has no number type for it
        yield watch.waits


def brought_back(tensor: Tensor) -> Tensor:
    """The same numbers on the CPU."""
    assert isinstance(tensor, Elsewhere)
    return tensor.here


def _line_of_ours() -> str:
    frames = reversed(traceback.extract_stack())
    return next((f"{frame.filename}:{frame.lineno}" for frame in frames if "/vit/" in frame.filename), "?")


SHAPE = ViTConfig(image_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3, drop_path_rate=0.1)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with another_device(monkeypatch) as places:
        yield places


def test_the_device_sees_waiting_and_mixing(waits: list[str]) -> None:
    there = torch.arange(3.0).to(ANOTHER, non_blocking=True)
    assert there.device == ANOTHER
    assert not waits
    assert there.sum() == 3
    there.cpu()
    torch.ones(2).to(ANOTHER)
    torch.tensor([1.0], device=ANOTHER)
    assert [wait.split()[0] for wait in waits] == ["aten::_local_scalar_dense"] + 3 * ["aten::_to_copy"]
    with pytest.raises(AssertionError, match="aten::add mixes two devices"):
        there + torch.ones(3)


@pytest.mark.parametrize("policy", ["none", "trivial", "randaugment", "autoaugment_cifar10", "autoaugment_imagenet"])
def test_training_images_are_changed_on_the_device_as_on_the_cpu_and_nothing_waits(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    images, labels = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8), torch.arange(60) % 3
    changes = Augmentation(policy=policy, shift=2, flip=0.5, erase=0.25, mixup=0.8, cutmix=1.0)  # pyright: ignore
    order = Order(num_images=60, batch_size=20, seed=5)
    read = {"cpu": HeldReader(images, labels, torch.device("cpu"), changes)}

    def batches(reader: HeldReader) -> list[tuple[torch.Tensor, torch.Tensor]]:
        mixed: list[tuple[torch.Tensor, torch.Tensor]] = []
        for number, (batch, targets) in enumerate(reader.read(order, 0, 0)):
            key = BatchKey(5, 0, number, 0)
            mixed.append(mix_batch(augment_batch(batch, reader.left, key).float(), targets, changes, 3, key))
        return mixed

    expected = batches(read["cpu"])
    with another_device(monkeypatch) as waits:
        reader = HeldReader(images, labels, ANOTHER, changes)
        waits.clear()  # the images go there once
        there = batches(reader)
    assert waits == []
    for (one, targets), (other, other_targets) in zip(expected, there, strict=True):
        torch.testing.assert_close(brought_back(other), one, atol=1, rtol=0)
        assert torch.equal(brought_back(other_targets), targets)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")  # without a trainer
def test_a_training_step_does_not_wait_for_the_device(waits: list[str]) -> None:
    classifier = Classifier(SHAPE, Recipe(ema_decay=0.9, label_smoothing=0.1)).to(ANOTHER)
    classifier.configure_model()
    optimizer = classifier.recipe.optimizer(classifier.network, fused=False)
    schedule = classifier.recipe.schedule(optimizer, 10)
    before = brought_back(classifier.network.head.weight).clone()  # pyright: ignore
    images, labels = torch.rand(4, 3, 8, 8).to(ANOTHER), torch.tensor([0, 1, 2, 0]).to(ANOTHER)
    shares = torch.rand(4, 3).to(ANOTHER)
    waits.clear()
    for targets in (labels, shares):
        classifier.training_step([images, targets], 0).backward()
        torch.nn.utils.clip_grad_norm_(classifier.network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    assert waits == []
    assert not torch.equal(brought_back(classifier.network.head.weight), before)  # pyright: ignore


class _Waits(L.Callback):
    """Where the processor waited in the steps of training, all told."""

    def __init__(self, waits: list[str]) -> None:
        self.waits, self.in_steps, self.steps = waits, list[str](), 0
        self.devices = set[torch.device]()

    def on_train_epoch_start(self, *_: object) -> None:
        self.waits.clear()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        self.devices |= {parameter.device for parameter in module.parameters()}
        self.steps += 1
        self.in_steps += self.waits
        self.waits.clear()


class _NothingToSetUp(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        pass


def test_lightning_trains_on_the_device_and_waits_for_it_in_no_step(
    waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Augmentation(policy="randaugment", shift=1, erase=0.2, mixup=0.8)
    quieten()
    data = ImageDataModule("digits", image_size=8, batch_size=100, augmentation=changes, hold_on_device=True)
    monkeypatch.setattr("vit.train.classifier.fused_is_faster", lambda *_: False)  # there is no such kernel for `meta`
    classifier = Classifier(dataclasses.replace(SHAPE, in_channels=1, num_classes=10), Recipe(ema_decay=0.9))
    watch = _Waits(waits)
    trainer = L.Trainer(
        max_epochs=2,
        strategy=SingleDeviceStrategy(ANOTHER, _NothingToSetUp()),
        gradient_clip_val=1.0,
        callbacks=[watch],
        **{f"enable_{name}": False for name in ("checkpointing", "progress_bar", "model_summary")},
        logger=False,
    )
    trainer.fit(classifier, data)
    assert watch.steps == 2 * 12
    assert watch.in_steps == []
    assert watch.devices == {ANOTHER}
    assert set(trainer.callback_metrics) == {
        *("train_loss", "train_acc_mixed", "val_loss", "val_acc", "val_loss_ema", "val_acc_ema")
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_where_the_model_is(waits: list[str], method: str) -> None:
    model = ViT(SHAPE).eval().to(ANOTHER)
    assert explain(model, torch.rand(2, 3, 8, 8).to(ANOTHER), method).maps.device == ANOTHER
