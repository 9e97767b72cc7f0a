"""Numbers about a model's inside: by hand, and against plain loops."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from vit.explain.xray import heads_of, patch_distances, patch_filters, position_similarity
from vit.nn import ViT, ViTConfig


def model(**changes: object) -> ViT:
    config = {"image_size": (6, 10), "patch_size": 2, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 7}
    return ViT(ViTConfig(**{**config, "init": "xavier", **changes})).eval()  # type: ignore[arg-type]


def test_distances_are_between_the_middles_of_patches_in_pixels() -> None:
    apart = patch_distances((2, 3), (4, 10))  # patches of 4 rows and 10 columns
    assert apart.shape == (6, 6)
    assert apart[0].tolist() == pytest.approx([0, 10, 20, 4, math.hypot(4, 10), math.hypot(4, 20)])
    assert_close(apart, apart.mT)


def test_distance_entropy_and_share_agree_with_plain_loops() -> None:
    network, batch = model(num_register_tokens=1), torch.randn(2, 3, 6, 10)
    attention = network.attention(batch).detach().double().numpy()
    places = [(2.0 * row, 2.0 * column) for row in range(3) for column in range(5)]
    heads = heads_of(network, [batch[:1], batch[1:]])
    assert heads.num_images == 2
    for layer in range(3):
        for head in range(2):
            far, wide, prefix = [], [], []
            for weights in attention[layer, :, head]:
                wide += [-sum(w * math.log2(w) for w in row) for row in weights]
                for here, row in zip(places, weights[2:], strict=True):
                    whole = sum(row[2:])
                    far.append(
                        sum(w * math.dist(here, there) for there, w in zip(places, row[2:], strict=True)) / whole
                    )
                    prefix.append(1 - whole)
            assert float(heads.distance[layer, head]) == pytest.approx(np.mean(far), rel=1e-5)
            assert float(heads.entropy[layer, head]) == pytest.approx(np.mean(wide), rel=1e-5)
            assert float(heads.prefix_share[layer, head]) == pytest.approx(np.mean(prefix), rel=1e-5)


def test_attention_that_is_even_has_the_even_values() -> None:
    network = model()
    for block in network.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)  # type: ignore[union-attr]
    heads = heads_of(network, [torch.randn(2, 3, 6, 10)])
    assert heads.even_entropy == pytest.approx(4)  # bits, of 16 tokens
    assert_close(heads.entropy, torch.full((3, 2), heads.even_entropy))
    assert_close(heads.distance, torch.full((3, 2), heads.even_distance))
    assert_close(heads.prefix_share, torch.full((3, 2), 1 / 16))


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        heads_of(model(), [])


def test_each_position_is_most_like_itself() -> None:
    network = model()
    similarity = position_similarity(network)
    assert similarity is not None
    assert similarity.shape == (3, 5, 3, 5)
    assert similarity[2, 4].argmax() == 2 * 5 + 4
    positions = network.tokenizer.pos_embed[1:].detach()  # type: ignore[index]
    expected = torch.nn.functional.cosine_similarity(positions[1], positions[7], dim=0)
    assert_close(similarity[0, 1, 1, 2], expected)


@pytest.mark.parametrize(
    ("positions", "has"), [("learned", True), ("sincos2d", True), ("rope2d", False), ("none", False)]
)
def test_similarity_is_of_positions_that_are_added(positions: str, has: bool) -> None:
    assert (position_similarity(model(positions=positions)) is not None) == has


def test_filters_are_principal_components_that_span_the_projection() -> None:
    network = model(embed_dim=16)
    filters = patch_filters(network, count=12)
    rows = filters.components.flatten(1)
    assert_close(rows @ rows.mT, torch.eye(12), atol=1e-5, rtol=0)
    weight = network.patch_embed.proj.weight.detach()
    centred = weight - weight.mean(dim=0)
    assert_close(centred @ rows.mT @ rows, centred, atol=1e-5, rtol=0)  # 12 pixels a patch: all directions
    assert filters.explained == pytest.approx(1)
    assert patch_filters(network, count=2).explained < 0.9
    spread = (centred @ rows.mT).pow(2).sum(dim=0)
    assert (spread.diff() <= 1e-6).all()
    assert (rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_a_filter_of_one_colour_and_corner_is_found_there() -> None:
    network = model()
    with torch.no_grad():
        network.patch_embed.proj.weight.zero_()
        network.patch_embed.proj.weight[3].view(3, 2, 2)[1, 0, 1] = 5.0  # green, upper right
    component = patch_filters(network, count=1).components[0]
    assert component[1, 0, 1] == pytest.approx(1)
    assert component.abs().sum() == pytest.approx(1, abs=1e-5)
