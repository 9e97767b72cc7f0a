"""captum's methods on our models, against loops and autograd by hand."""

import sys

import pytest
import torch
from torch.testing import assert_close

from vit.explain import METHODS, explain
from vit.nn import ViT, ViTConfig

pytest.importorskip("captum")


def model() -> ViT:
    config = ViTConfig(
        image_size=(6, 10), patch_size=(3, 2), embed_dim=12, depth=2, num_heads=3, num_classes=7, init="xavier"
    )
    return ViT(config).eval()


def images(b: int = 2) -> torch.Tensor:
    return torch.randn(b, 3, 6, 10)


def input_gradient(network: ViT, batch: torch.Tensor, target: int) -> torch.Tensor:
    batch = batch.clone().requires_grad_()
    return torch.autograd.grad(network(batch)[:, target].sum(), batch)[0]


def summed_over_patches(pixels: torch.Tensor) -> torch.Tensor:
    summed = torch.zeros(len(pixels), 2, 5)
    for row in range(2):
        for column in range(5):
            patch = pixels[:, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            summed[:, row, column] = patch.sum(dim=(1, 2, 3))
    return summed


def test_occlusion_is_the_fall_of_the_logit_when_a_patch_is_covered() -> None:
    network, batch = model(), images()
    maps = explain(network, batch, "occlusion", target=3, fill=0.5).maps
    with torch.no_grad():
        for row in range(2):
            for column in range(5):
                covered = batch.clone()
                covered[:, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2] = 0.5
                fall = network(batch)[:, 3] - network(covered)[:, 3]
                assert_close(maps[:, row, column], fall, atol=1e-5, rtol=1e-5)


def test_saliency_is_the_size_of_the_gradient_of_the_logit() -> None:
    network, batch = model(), images()
    expected = summed_over_patches(input_gradient(network, batch, 3).abs())
    assert_close(explain(network, batch, "saliency", target=3).maps, expected, atol=1e-6, rtol=1e-5)


def test_gradient_x_input_is_their_product() -> None:
    network, batch = model(), images()
    expected = summed_over_patches(input_gradient(network, batch, 3) * batch)
    assert_close(explain(network, batch, "gradient_x_input", target=3).maps, expected, atol=1e-6, rtol=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_the_logits() -> None:
    network, batch = model(), images()
    maps = explain(network, batch, "integrated_gradients", target=3, steps=64).maps
    with torch.no_grad():
        difference = network(batch)[:, 3] - network(torch.zeros_like(batch))[:, 3]
    assert_close(maps.sum(dim=(1, 2)), difference, atol=1e-2, rtol=1e-2)  # 64 steps


def test_smoothgrad_is_the_size_of_the_mean_of_gradients_of_noisy_copies() -> None:
    network, batch = model(), images(1)
    deviation = 0.1 * float(batch.max() - batch.min())
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        noisy = [batch + torch.normal(0.0, torch.full_like(batch, deviation)) for _ in range(3)]
    expected = torch.stack([input_gradient(network, copy, 3) for copy in noisy]).mean(dim=0).abs()
    maps = explain(network, batch, "smoothgrad", target=3, samples=3, noise=0.1, seed=5).maps
    assert_close(maps, summed_over_patches(expected), atol=1e-5, rtol=1e-4)


def test_smoothgrad_leaves_random_numbers_alone_and_repeats_itself() -> None:
    network, batch = model(), images()
    state = torch.get_rng_state()
    first = explain(network, batch, "smoothgrad").maps
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(explain(network, batch, "smoothgrad").maps, first)
    assert not torch.equal(explain(network, batch, "smoothgrad", seed=1).maps, first)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs == "captum"])
def test_without_captum_the_cure_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ImportError, match=r"needs captum, which is not installed; pip install 'plain-vit\[captum\]'"):
        explain(model(), images(), name)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("smoothgrad", {"samples": 0}),
        ("integrated_gradients", {"steps": 0}),
        ("occlusion", {"patches_at_once": 0}),
    ],
)
def test_settings_out_of_range_are_explained(name: str, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        explain(model(), images(), name, **wrong)
