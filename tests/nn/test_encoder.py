"""The block and its parts."""

import math

import pytest
import torch
from torch.nn import functional as F

from vit.nn.encoder import MLP, Block, DropPath, LayerScale, QuickGELU, SwiGLU


def test_quick_gelu_worked_by_hand() -> None:
    assert QuickGELU()(torch.tensor(0.0)).item() == 0
    assert QuickGELU()(torch.tensor(2.0)).item() == pytest.approx(2 / (1 + math.exp(-3.404)))


def test_swiglu_gates_the_second_half_with_the_first() -> None:
    # silu(0) = 0, silu(1) = 0.7311
    gated = SwiGLU()(torch.tensor([0.0, 1.0, 5.0, 10.0]))
    torch.testing.assert_close(gated, torch.tensor([0.0, 10 / (1 + math.exp(-1))]))


@pytest.mark.parametrize(
    ("name", "activation"),
    [("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), ("quick_gelu", QuickGELU())],
)
def test_the_mlp_has_the_activation_it_is_asked_for(name: str, activation) -> None:
    mlp, tokens = MLP(3, 7, activation=name), torch.randn(2, 5, 3)
    torch.testing.assert_close(mlp(tokens), mlp.fc2(activation(mlp.fc1(tokens))))


def test_with_swiglu_the_second_layer_is_half_as_wide() -> None:
    mlp = MLP(3, 10, activation="swiglu")
    assert (mlp.fc1.out_features, mlp.fc2.in_features) == (10, 5)


def test_layer_scale_multiplies_each_channel() -> None:
    scale = LayerScale(2, 0.5)
    scale.gamma.data = torch.tensor([2.0, 3.0])
    assert scale(torch.ones(1, 1, 2)).flatten().tolist() == [2, 3]


def test_a_block_is_attention_then_mlp_each_added_to_what_came_in() -> None:
    block, tokens = Block(6, 2, 24, init_values=0.3, drop_path_rate=0.5).eval(), torch.randn(2, 5, 6)
    after = tokens + 0.3 * block.attn(block.norm1(tokens))
    torch.testing.assert_close(block(tokens), after + 0.3 * block.mlp(block.norm2(after)))


def test_drop_path_leaves_out_whole_images_and_keeps_the_expected_sum() -> None:
    dropped = DropPath(0.25)(torch.ones(4000, 3, 2))
    per_image = dropped.flatten(1)
    assert torch.equal(per_image.amin(1), per_image.amax(1))
    # a mean of 4000 numbers, 0 or 4/3: standard deviation 0.009
    assert dropped.mean().item() == pytest.approx(1, abs=0.04)


def test_drop_path_scales_the_images_that_stay_in_one_pass_over_them() -> None:
    passes = []

    class Counted(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            result = super().__torch_function__(function, types, arguments, keywords)
            if isinstance(result, torch.Tensor) and result.shape == (4, 3, 2):
                passes.append(function.__name__)
            return result

    DropPath(0.25)(torch.ones(4, 3, 2).as_subclass(Counted))
    assert passes == ["mul"]


def test_drop_path_does_nothing_when_evaluating() -> None:
    branch = torch.ones(3, 2, 2)
    assert DropPath(0.9).eval()(branch) is branch
    assert DropPath(0.0)(branch) is branch
