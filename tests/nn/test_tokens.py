"""From patches to tokens: their order, their places, and patches left out in training."""

import torch

from vit.nn.tokens import PatchDropout, Tokenizer


def test_tokens_come_as_class_distillation_registers_patches() -> None:
    tokenizer = Tokenizer(
        (1, 2), 3, distilled=True, num_register_tokens=2, num_placed_prefix_tokens=0, positions="none"
    )
    for value, token in enumerate((tokenizer.cls_token, tokenizer.dist_token, tokenizer.reg_token)):
        torch.nn.init.constant_(token, value)
    tokens = tokenizer(torch.full((2, 2, 3), 7.0), (1, 2))
    assert tokens[:, :, 0].tolist() == [[0, 1, 2, 2, 7, 7]] * 2


def test_each_token_gets_its_own_position() -> None:
    tokenizer = Tokenizer((1, 2), 1, num_register_tokens=1, num_placed_prefix_tokens=2)
    tokenizer.pos_embed.data = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    assert tokenizer(torch.full((1, 2, 1), 10.0), (1, 2)).flatten().tolist() == [1, 2, 13, 14]


def test_without_prefix_positions_only_patches_have_a_place() -> None:
    tokenizer = Tokenizer((1, 2), 1, num_register_tokens=1, num_placed_prefix_tokens=0)
    tokenizer.pos_embed.data = torch.tensor([[3.0], [4.0]])
    assert tokenizer(torch.full((1, 2, 1), 10.0), (1, 2)).flatten().tolist() == [0, 0, 13, 14]


def test_fixed_positions_are_saved_but_not_trained() -> None:
    tokenizer = Tokenizer((2, 3), 8, num_placed_prefix_tokens=0, positions="sincos2d")
    assert "pos_embed" in tokenizer.state_dict()
    assert "pos_embed" not in dict(tokenizer.named_parameters())
    assert len(tokenizer.pos_embed) == 6


def test_resizing_keeps_a_frozen_table_frozen_and_a_fixed_one_fixed() -> None:
    frozen = Tokenizer((2, 3), 8, num_placed_prefix_tokens=1).requires_grad_(False)
    frozen.resize((4, 5))
    assert frozen.pos_embed.shape == (21, 8)
    assert not frozen.pos_embed.requires_grad
    fixed = Tokenizer((2, 3), 8, num_placed_prefix_tokens=0, positions="sincos2d")
    fixed.resize((4, 5))
    assert "pos_embed" not in dict(fixed.named_parameters())
    assert fixed.state_dict()["pos_embed"].shape == (20, 8)


def test_patch_dropout_keeps_whole_patches_and_the_prefix() -> None:
    tokens = torch.arange(2 * 12.0).reshape(2, 12, 1).expand(2, 12, 3)
    kept, _ = PatchDropout(0.5, num_prefix_tokens=2)(tokens)
    assert kept.shape == (2, 7, 3)
    assert torch.equal(kept[:, :2], tokens[:, :2])
    for image, patches in zip(tokens, kept[:, 2:], strict=True):
        values = patches[:, 0].tolist()
        assert len(set(values)) == 5
        assert set(values) <= set(image[2:, 0].tolist())


def test_patch_dropout_keeps_one_patch_at_least_and_all_when_evaluating() -> None:
    dropout, tokens = PatchDropout(0.9, num_prefix_tokens=1), torch.rand(2, 4, 3)
    assert dropout(tokens)[0].shape == (2, 2, 3)
    assert dropout.eval()(tokens)[0] is tokens


def test_patch_dropout_draws_for_every_image_and_every_patch_alike() -> None:
    kept = PatchDropout(0.5, num_prefix_tokens=0).draw(2000, 4, torch.device("cpu"))
    counts = torch.bincount(kept.flatten(), minlength=4) / 2000
    # each patch stays in half of the images; 0.05 is 4.5 standard deviations of a mean of 2000 coins
    torch.testing.assert_close(counts, torch.full((4,), 0.5), atol=0.05, rtol=0)
