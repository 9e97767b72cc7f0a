"""The precision suits the device, unless one is asked for."""

import lightning as L
import pytest
import torch

from vit.train.sharded import Sharded
from vit.train.trainer import Trainer, precision_for


@pytest.mark.parametrize(
    ("accelerator", "has_cuda", "has_bf16", "expected"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, True, "bf16-mixed"),
        ("cuda", True, False, "32-true"),  # fp16 only when asked for
        ("cpu", True, True, "32-true"),
        ("auto", False, False, "32-true"),
        ("mps", False, False, "32-true"),
    ],
)
def test_bfloat16_is_taken_where_the_device_computes_in_it(
    accelerator: str, has_cuda: bool, has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16)
    assert precision_for(accelerator) == expected


@pytest.mark.parametrize(
    ("asked", "given"), [("auto", "32-true"), (None, "32-true"), ("bf16-mixed", "bf16-mixed"), ("64-true", "64-true")]
)
def test_what_is_asked_for_is_given(asked: str, given: str) -> None:
    trainer = Trainer(accelerator="cpu", precision=asked, logger=False, enable_checkpointing=False)  # pyright: ignore
    assert trainer.precision == given
    assert isinstance(trainer, L.Trainer)


def test_fsdp_is_the_sharding_that_keeps_the_shapes_of_weights() -> None:
    trainer = Trainer(accelerator="cpu", devices=1, strategy="fsdp", logger=False, enable_checkpointing=False)
    assert isinstance(trainer.strategy, Sharded)
