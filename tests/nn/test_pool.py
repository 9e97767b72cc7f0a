"""What stands for the whole image."""

import torch

from vit.nn.pool import AttentionPool, ClassTokenPool, DistilledHead, DistilledPool, MeanOfBoth, MeanPool

TOKENS = torch.tensor([[[1.0], [2.0], [3.0], [7.0]]])


def test_pools_worked_by_hand() -> None:
    assert ClassTokenPool()(TOKENS).tolist() == [[1]]
    assert MeanPool(num_prefix_tokens=2)(TOKENS).tolist() == [[5]]
    assert DistilledPool()(TOKENS).tolist() == [[[1], [2]]]
    assert MeanOfBoth()(DistilledPool()(TOKENS)).tolist() == [[1.5]]


def test_attention_pooling_ignores_prefix_tokens_and_order() -> None:
    pool, tokens = AttentionPool(6, 2, 24, num_prefix_tokens=1), torch.randn(2, 5, 6)
    torch.nn.init.normal_(pool.latent)
    other = torch.cat([torch.randn(2, 1, 6), tokens[:, [4, 2, 1, 3]]], dim=1)
    torch.testing.assert_close(pool(tokens), pool(other))


def test_attention_pooling_of_equal_patches_is_that_of_one() -> None:
    pool, patch = AttentionPool(6, 2, 24, num_prefix_tokens=0), torch.randn(2, 1, 6)
    torch.testing.assert_close(pool(patch.expand(2, 7, 6)), pool(patch))


def test_the_distilled_head_predicts_the_mean_of_both_heads() -> None:
    head, pooled = DistilledHead(3, 5), torch.randn(2, 2, 3)
    logits, distilled = head.both(pooled)
    torch.testing.assert_close(logits, head.cls(pooled[:, 0]))
    torch.testing.assert_close(distilled, head.dist(pooled[:, 1]))
    torch.testing.assert_close(head(pooled), (logits + distilled) / 2)


def test_weights_say_how_much_of_each_token_is_in_the_pooled_one() -> None:
    assert ClassTokenPool().weights(TOKENS).tolist() == [[1, 0, 0, 0]]
    assert DistilledPool().weights(TOKENS).tolist() == [[0.5, 0.5, 0, 0]]
    assert MeanPool(num_prefix_tokens=2).weights(TOKENS).tolist() == [[0, 0, 0.5, 0.5]]


def test_weights_of_attention_pooling_are_those_it_mixes_values_with() -> None:
    pool, tokens = AttentionPool(6, 1, 24, num_prefix_tokens=1), torch.randn(2, 5, 6)
    torch.nn.init.normal_(pool.latent)
    weights = pool.weights(tokens)
    assert weights[:, 0].tolist() == [0, 0]
    _, _, values = pool.split_heads(tokens)
    pooled = pool.proj((weights[:, None, 1:] @ values[:, 0])[:, 0])
    torch.testing.assert_close(pool(tokens), pooled + pool.mlp(pool.norm(pooled)), atol=1e-6, rtol=1e-5)
