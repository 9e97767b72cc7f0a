"""The quick way to the mean of the heads is the plain one, whatever it is cut into."""

import pytest
import torch
from torch.testing import assert_close

from vit.explain import head_mean
from vit.explain.head_mean import attend_with_head_mean
from vit.nn.attention import attention_weights


def parts(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values as a model makes them: views of one tensor, (b, heads, n, dh)."""
    return torch.randn(5, 11, 3, 2, 7).to(dtype).permute(2, 0, 3, 1, 4).unbind()


@pytest.mark.parametrize("budget", [1, 4 * 2 * 11 * 3, 4 * 2 * 11 * 11, 2 * 4 * 2 * 11 * 11, 2**21])
def test_any_cut_gives_the_same(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(head_mean, "BYTES_A_THREAD", budget)
    q, k, v = parts()
    mixed, mean = attend_with_head_mean(q, k, v)
    weights = attention_weights(q, k)
    assert_close(mean, weights.mean(dim=1))
    assert_close(mixed, weights @ v)


def test_in_bfloat16_the_weights_are_those_of_float32() -> None:
    q, k, v = parts(torch.bfloat16)
    mixed, mean = attend_with_head_mean(q, k, v)
    assert (mixed.dtype, mean.dtype) == (torch.bfloat16, torch.float32)
    # scores of bfloat16 have three digits
    assert_close(mean, attention_weights(q.float(), k.float()).mean(dim=1), atol=5e-3, rtol=0)
    assert_close(mean.sum(dim=-1), torch.ones(5, 11))
