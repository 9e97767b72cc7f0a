"""Layer by layer: what every head gives to each patch, and how the rollout comes about."""

import pytest
import torch
from torch.testing import assert_close

from vit.explain import explain, rollout
from vit.explain.layers import Seen, growth, head_maps, look_inside
from vit.nn import ViT, ViTConfig


def model(**changes: object) -> ViT:
    config = {"image_size": (6, 10), "patch_size": 2, "embed_dim": 12, "depth": 3, "num_heads": 2, "num_classes": 7}
    return ViT(ViTConfig(**{**config, "init": "xavier", **changes})).eval()  # type: ignore[arg-type]


def images(b: int = 2) -> torch.Tensor:
    return torch.randn(b, 3, 6, 10)


def test_a_heads_map_is_the_class_tokens_row_on_the_grid() -> None:
    network, batch = model(num_register_tokens=2), images()
    maps = head_maps(look_inside(network, batch))
    attention = network.attention(batch)
    assert maps.shape == (2, 3, 2, 3, 5)  # images, layers, heads, rows, columns
    assert_close(maps[1, 2, 0, 1, 4], attention[2, 1, 0, 0, 3 + 5 * 1 + 4])


def test_without_a_class_token_rows_are_averaged() -> None:
    network, batch = model(class_token=False, pool="mean"), images()
    maps = head_maps(look_inside(network, batch))
    assert_close(maps[0, 1, 1].flatten(), network.attention(batch)[1, 0, 1].mean(dim=0))


def by_hand() -> Seen:
    """Two layers, one head, a class token and two patches."""
    first = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    second = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    return Seen(
        attention=torch.tensor([first, second])[:, None, None],
        read=torch.tensor([[1.0, 0.0, 0.0]]),
        probabilities=torch.ones(1, 1),
        grid=(1, 2),
        num_prefix_tokens=1,
    )


def test_growth_by_hand() -> None:
    # after the first layer the class token has 1/2 + 1/4 of itself and 1/4 of the first patch; the second adds half of
    # the second patch, which is all its own still, and keeps half of what was there
    assert_close(growth(by_hand())[0], torch.tensor([[[0.25, 0.0]], [[0.125, 0.5]]]))
    assert_close(growth(by_hand(), start_layer=1)[0], torch.tensor([[[0.0, 0.5]]]))
    assert_close(growth(by_hand(), residual=0.0)[0], torch.tensor([[[0.5, 0.0]], [[0.0, 1.0]]]))


@pytest.mark.parametrize(
    "settings", [{}, {"head_fusion": "max", "discard_ratio": 0.5, "start_layer": 1, "residual": 0.2}]
)
def test_growth_ends_in_the_rollout(settings: dict[str, object]) -> None:
    network, batch = model(), images()
    grown = growth(look_inside(network, batch), **settings)  # type: ignore[arg-type]
    assert grown.shape[1] == 3 - settings.get("start_layer", 0)  # type: ignore[operator]
    assert_close(grown[:, -1], explain(network, batch, "rollout", **settings).maps)  # type: ignore[arg-type]


def test_in_between_growth_is_the_rollout_of_the_layers_so_far() -> None:
    network, batch = model(), images()
    middle = rollout(network.attention(batch, layers=[0, 1]))[:, 0, 1:].reshape(2, 3, 5)
    assert_close(growth(look_inside(network, batch))[:, 1], middle)


def test_growth_refuses_what_rollout_refuses() -> None:
    with pytest.raises(ValueError, match="start_layer=2 is not one of the 2 layers"):
        growth(by_hand(), start_layer=2)


def test_looking_inside_gives_what_the_model_predicts() -> None:
    network, batch = model(), images()
    assert_close(look_inside(network, batch).probabilities, network(batch).softmax(dim=-1))
