import pytest
import torch

from vit.weights import torchvision
from vit.weights.names import fuse, inverse, rename, split
from vit.weights.transformers import dinov2, vit

TABLE = {"encoder.layer_{}.ln": "blocks.{}.norm1", "head": "head"}


def test_a_module_is_renamed_with_its_tensors_in_every_block():
    state = {name: torch.zeros(()) for name in ("encoder.layer_0.ln.weight", "encoder.layer_11.ln.bias", "head.bias")}
    assert list(rename(state, TABLE)) == ["blocks.0.norm1.weight", "blocks.11.norm1.bias", "head.bias"]


def test_a_name_that_the_table_does_not_know_stays():
    assert list(rename({"encoder.layer_0.lnx.weight": torch.zeros(()), "a.head.bias": torch.zeros(())}, TABLE)) == [
        "encoder.layer_0.lnx.weight",
        "a.head.bias",
    ]


@pytest.mark.parametrize("table", [TABLE, torchvision.NAMES, vit.NAMES, dinov2.NAMES])
def test_the_inverse_table_brings_every_name_back(table):
    state = {f"{name.replace('{}', '7')}.weight": torch.zeros(()) for name in table if not name.endswith("_weight")}
    assert rename(rename(state, table), inverse(table)).keys() == state.keys()


def test_fused_queries_keys_and_values_lie_in_that_order():
    parts = {f"blocks.0.attn.{part}.bias": torch.tensor([float(number)]) for number, part in enumerate("qkv")}
    assert fuse(parts)["blocks.0.attn.qkv.bias"].tolist() == [0.0, 1.0, 2.0]
    assert split(fuse(parts)) == parts


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match=r"blocks\.0\.attn\.v\.bias is missing beside blocks\.0\.attn\.q\.bias"):
        fuse({f"blocks.0.attn.{part}.bias": torch.zeros(1) for part in "qk"})
