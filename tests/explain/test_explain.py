"""A map belongs to its image, lies on the patch grid, and the model is left alone."""

import pytest
import torch
from torch.testing import assert_close

from vit.explain import explain, rollout
from vit.nn import ViT, ViTConfig


def model(depth: int = 3) -> ViT:
    config = ViTConfig(
        image_size=(6, 10),
        patch_size=2,
        in_channels=1,
        embed_dim=12,
        depth=depth,
        num_heads=3,
        num_classes=7,
        init="xavier",
    )
    return ViT(config).eval()


def images(b: int = 2) -> torch.Tensor:
    return torch.randn(b, 1, 6, 10)


def test_the_map_is_the_class_tokens_row_on_a_grid_that_is_not_square() -> None:
    network, batch = model(), images()
    maps = explain(network, batch).maps
    matrix = rollout(network.attention(batch))
    assert maps.shape == (2, 3, 5)
    for row in range(3):
        for column in range(5):
            assert_close(maps[:, row, column], matrix[:, 0, 1 + 5 * row + column])


def test_a_map_lies_where_the_attention_went(monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(depth=1)
    weights = torch.zeros(1, 16, 16)
    weights[..., 1 + 5 * 2 + 4] = 1.0  # all look at the patch of the last row and column

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asking = q.shape[2]  # of the last layer, the class token alone
        assert asking == 1
        return v[:, :, :asking], weights[:, :asking]

    monkeypatch.setattr("vit.explain.head_mean.attend_with_head_mean", attend)
    heat = explain(network, images(1)).maps[0]
    assert heat[2, 4] == 0.5
    assert heat.sum() == 0.5


def test_shares_of_the_patches_and_of_the_class_token_make_one() -> None:
    network, batch = model(), images()
    together = explain(network, batch).maps.sum(dim=(1, 2)) + rollout(network.attention(batch))[:, 0, 0]
    assert_close(together, torch.ones(2))


def test_the_target_is_what_the_model_predicts() -> None:
    network, batch = model(), images(5)
    explanation = explain(network, batch)
    assert torch.equal(explanation.target, network(batch).argmax(dim=-1))
    assert_close(explanation.probabilities, network(batch).softmax(dim=-1))


def test_each_image_is_explained_by_itself() -> None:
    network, batch = model(), images(3)
    together = explain(network, batch, discard_ratio=0.5).maps
    alone = torch.cat([explain(network, image[None], discard_ratio=0.5).maps for image in batch])
    assert_close(together, alone)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_found(training: bool) -> None:
    network = model().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    explanation = explain(network, images())
    assert {module.training for module in network.modules()} == {training}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not explanation.maps.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_model_is_left_as_it_was_found_after_an_error_too() -> None:
    network = model().train()
    with pytest.raises(ValueError, match="images are 1 x 5 x 5"):
        explain(network, torch.zeros(1, 1, 5, 5))
    assert network.training


def test_a_model_that_trains_is_explained_as_in_evaluation() -> None:
    config = ViTConfig(
        image_size=4, patch_size=2, embed_dim=8, depth=2, num_heads=2, num_classes=3, drop_rate=0.5, drop_path_rate=0.5
    )
    network, batch = ViT(config), torch.randn(2, 3, 4, 4)
    assert_close(explain(network.train(), batch).maps, explain(network.eval(), batch).maps)


def test_the_method_names_its_settings() -> None:
    explanation = explain(model(), images(), "rollout", head_fusion="max", discard_ratio=0.9)
    assert explanation.method == (
        "attention rollout (Abnar & Zuidema 2020), head_fusion=max, discard_ratio=0.9, start_layer=0, residual=0.5"
    )
    assert not explanation.class_specific
    assert explanation.claim.startswith("The same for every class")


def pooled_otherwise(**changes: object) -> ViT:
    config = {"image_size": (6, 10), "patch_size": 2, "embed_dim": 12, "depth": 3, "num_heads": 3, "num_classes": 5}
    return ViT(ViTConfig(**config, init="xavier", **changes)).eval()  # type: ignore[arg-type]


def test_of_mean_pooling_the_map_is_the_mean_of_the_patches_rows() -> None:
    network, batch = pooled_otherwise(class_token=False, pool="mean"), torch.randn(2, 3, 6, 10)
    rows = rollout(network.attention(batch))
    assert_close(explain(network, batch).maps, rows.mean(dim=1).reshape(2, 3, 5))
    registered = pooled_otherwise(class_token=False, pool="mean", num_register_tokens=2)
    rows = rollout(registered.attention(batch))
    assert_close(explain(registered, batch).maps, rows[:, 2:, 2:].mean(dim=1).reshape(2, 3, 5))


def test_of_attention_pooling_the_rows_count_as_the_query_reads_them() -> None:
    network, batch = pooled_otherwise(class_token=False, pool="map"), torch.randn(2, 3, 6, 10)
    torch.nn.init.normal_(network.pool.latent)  # type: ignore[union-attr]
    read = network.pool.weights(network.encode(batch))
    expected = (read[:, None] @ rollout(network.attention(batch))).reshape(2, 3, 5)
    assert_close(explain(network, batch).maps, expected)


def test_of_a_distilled_model_both_tokens_rows_count_alike() -> None:
    network, batch = pooled_otherwise(distilled=True), torch.randn(2, 3, 6, 10)
    rows = rollout(network.attention(batch))
    assert_close(explain(network, batch).maps, rows[:, :2, 2:].mean(dim=1).reshape(2, 3, 5))


def test_an_image_of_another_size_is_explained_on_its_own_grid() -> None:
    network, batch = pooled_otherwise(dynamic_image_size=True), torch.randn(2, 3, 10, 4)
    rows = rollout(network.attention(batch))
    assert_close(explain(network, batch).maps, rows[:, 0, 1:].reshape(2, 5, 2))


def test_a_model_without_classes_is_told_what_explains_it() -> None:
    backbone = ViT(ViTConfig(image_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, num_classes=0))
    with pytest.raises(ValueError, match="num_classes=0 predicts nothing; rollout"):
        explain(backbone, torch.randn(1, 3, 4, 4))
