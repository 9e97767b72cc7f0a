"""Attention: by hand, both of its ways the same, and its laws."""

import math

import pytest
import torch
from einops import einsum
from torch.nn import functional as F

from vit.nn import attention as module
from vit.nn.attention import Attention, attend, attention_weights, explicit_attention, prefers_explicit
from vit.nn.positions import Rotary2d


def test_attention_of_two_tokens_worked_by_hand() -> None:
    q = torch.tensor([[[[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])
    k = torch.tensor([[[[math.log(3), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])
    v = torch.tensor([[[[4.0, 0.0, 0.0, 0.0], [8.0, 0.0, 0.0, 0.0]]]])
    mixed, weights = explicit_attention(q, k, v), attention_weights(q, k)
    # scores 2 log 3 / sqrt(4) = log 3 and 0, so weights 3/4 and 1/4; the second token asks nothing and takes the mean
    torch.testing.assert_close(weights[0, 0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    torch.testing.assert_close(mixed[0, 0, :, 0], torch.tensor([5.0, 6.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_explicit_attention_equals_the_fused_kernel(dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(2, 3, 7, 5, dtype=dtype) for _ in range(3))
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2e-2}[
        dtype
    ]  # bfloat16 has 8 bits: 2**-8 of values around 1, twice
    fused = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(explicit_attention(q, k, v), fused, atol=tolerance, rtol=tolerance)


def test_both_ways_have_the_same_gradients() -> None:
    q, k, v = (torch.randn(2, 3, 7, 5, requires_grad=True) for _ in range(3))
    weights = torch.randn(2, 3, 7, 5)
    explicit = torch.autograd.grad((explicit_attention(q, k, v) * weights).sum(), (q, k, v))
    fused = torch.autograd.grad((F.scaled_dot_product_attention(q, k, v) * weights).sum(), (q, k, v))
    torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=1e-5)  # float32, sums in another order


def test_under_autocast_weights_for_looking_are_float32_and_the_output_is_the_fused_kernels() -> None:
    q, k, v = (torch.randn(2, 3, 7, 5, dtype=torch.bfloat16) for _ in range(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        explicit, weights = explicit_attention(q, k, v), attention_weights(q, k)
        fused = F.scaled_dot_product_attention(q, k, v)
    assert (explicit.dtype, weights.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 7))  # rows of bfloat16 would miss 1 by 2**-8
    torch.testing.assert_close(explicit, fused, atol=2e-2, rtol=2e-2)  # 8 bits: 2**-8 of values around 1, twice


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_forward_is_what_forward_with_weights_returns(qk_norm: bool, rotary: bool) -> None:
    attention, tokens = Attention(24, 3, qk_norm=qk_norm), torch.randn(2, 7, 24)
    rotation = Rotary2d(8, 100.0, num_prefix_tokens=1)((2, 3), tokens.device) if rotary else None
    mixed, weights = attention.forward_with_weights(tokens, rotation)
    torch.testing.assert_close(attention(tokens, rotation), mixed, atol=1e-6, rtol=1e-5)  # float32, another kernel
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 7))


def test_weights_times_values_are_the_output() -> None:
    attention, tokens = Attention(6, 2), torch.randn(2, 5, 6)
    _, _, v = attention.split_heads(tokens)
    mixed, weights = attention.forward_with_weights(tokens)
    by_hand = attention.merge_heads(einsum(weights, v, "b heads i j, b heads j dh -> b heads i dh"))
    torch.testing.assert_close(mixed, by_hand)


def test_attention_does_not_care_in_which_order_tokens_come() -> None:
    attention, tokens, order = Attention(6, 2), torch.randn(2, 5, 6), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(attention(tokens)[:, order], attention(tokens[:, order]), atol=1e-6, rtol=1e-5)


def test_the_scale_is_that_of_a_head_not_of_the_model() -> None:
    wide, narrow = (torch.randn(1, heads, 3, 4) for heads in (8, 1))
    for q in (wide, narrow):
        torch.testing.assert_close(attention_weights(q, q), (q @ q.mT / 2).softmax(-1))


def test_explicit_attention_is_for_bfloat16_on_the_cpu_while_its_weights_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def query(dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(2, 3, 5, 4, dtype=dtype)

    assert prefers_explicit(query(torch.bfloat16), query(torch.bfloat16))
    assert not prefers_explicit(query(torch.float16), query(torch.float16))
    assert not prefers_explicit(query(torch.float32), query(torch.float32))
    on_another_device = query(torch.bfloat16).to("meta")
    assert not prefers_explicit(on_another_device, on_another_device)
    monkeypatch.setattr(module, "MOST_EXPLICIT_WEIGHTS", 2 * 3 * 5 * 5 - 1)
    assert not prefers_explicit(query(torch.bfloat16), query(torch.bfloat16))


def test_one_query_may_ask_many_tokens() -> None:
    q, k, v = torch.randn(2, 3, 1, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    torch.testing.assert_close(attend(q, k, v), explicit_attention(q, k, v), atol=1e-6, rtol=1e-5)


def test_attention_under_autocast_stays_near_float32() -> None:
    attention, tokens = Attention(24, 3, qk_norm=True), torch.randn(2, 7, 24)
    with torch.autocast("cpu", torch.bfloat16):
        low = attention(tokens)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), attention(tokens), atol=2e-2, rtol=2e-2)  # three roundings to 8 bits
