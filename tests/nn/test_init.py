"""Every initial value."""

import subprocess
import sys

import torch

from vit.nn import ViT, ViTConfig


def test_initial_values_are_those_of_the_table() -> None:
    own = {"num_register_tokens": 5, "init_values": 0.3, "patch_norm": True}
    model = ViT(ViTConfig(image_size=64, patch_size=4, embed_dim=96, depth=2, **own))
    tokenizer = model.tokenizer
    for tensor, std in (
        (model.blocks[0].mlp.fc1.weight, 0.02),
        (model.head.weight, 0.02),
        (tokenizer.pos_embed, 0.02 * 0.88),  # cut off at two standard deviations
        (tokenizer.cls_token, 1e-6),
        (tokenizer.reg_token, 1e-6),
    ):
        # 96 numbers at the fewest: their standard deviation is known to 7 %; three of those
        assert abs(tensor.std().item() / std - 1) < 0.22
    assert not model.blocks[0].mlp.fc1.bias.any()
    assert (model.blocks[1].ls2.gamma == 0.3).all()
    for norm in (model.norm, model.patch_embed.norm, model.patch_embed.norm_pixels):
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


def test_xavier_draws_linear_weights_evenly_within_their_bound() -> None:
    model = ViT(ViTConfig(image_size=8, patch_size=4, embed_dim=24, num_heads=2, depth=1, init="xavier"))
    weight = model.blocks[0].mlp.fc1.weight
    bound = (6 / (24 + 96)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return ViT(ViTConfig(image_size=8, patch_size=4, embed_dim=12, depth=1)).blocks[0].attn.qkv.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_on_the_meta_device_nothing_is_computed_and_the_compiler_is_not_imported() -> None:
    build = "import sys, torch; from vit.nn import create_model; torch.set_default_device('meta')"
    build += "; model = create_model('vit_lite_6_4_32', positions='sincos2d'); assert model.tokenizer.pos_embed.is_meta"
    # torch._dynamo costs 5 s
    subprocess.run([sys.executable, "-c", build + "; assert 'torch._dynamo' not in sys.modules"], check=True)
