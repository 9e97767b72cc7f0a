"""Checks of maps against models that have learned nothing."""

import dataclasses

import pytest
import torch
from scipy.stats import spearmanr

from vit.explain.priors import PRIORS
from vit.explain.sanity import likeness_of_classes, likeness_to_shuffled, shuffled, spearman
from vit.nn import ViT, ViTConfig

CONFIG = ViTConfig(
    image_size=(8, 12), patch_size=4, in_channels=1, num_classes=3, embed_dim=24, depth=2, num_heads=3, init="xavier"
)


def test_rank_correlation_is_that_of_scipy_ties_too():
    one, other = torch.randint(0, 4, (5, 2, 7)).float(), torch.randn(5, 2, 7)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)]
    torch.testing.assert_close(spearman(one, other), torch.tensor(expected).float())


def test_an_even_map_is_like_nothing():
    assert spearman(torch.ones(1, 2, 3), torch.rand(1, 2, 3)).item() == 0


def test_shuffling_keeps_every_tensors_numbers_and_the_model():
    model = ViT(CONFIG)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = shuffled(model)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)
        assert torch.equal(model.state_dict()[name], before[name])
    assert not torch.equal(other.state_dict()["head.weight"], before["head.weight"])


def test_rollout_does_not_know_classes_and_its_map_depends_on_the_weights():
    model, images = ViT(CONFIG), torch.randn(40, 1, 8, 12)
    torch.testing.assert_close(likeness_of_classes(model, images, "rollout", {}), torch.ones(40))
    assert likeness_to_shuffled(model, images, "rollout", {}).abs().mean() < 0.9


def test_priors_by_hand():
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(1, 1, 4, 6)
    images[0, 0, 0, 0] = 6.0  # mean colour 1/4: the first patch has one pixel 5.75 away and three 1/4, others four 1/4
    energy = PRIORS["energy"](images, (2, 3), generator)[0]
    assert energy[0, 0].item() == pytest.approx((5.75**2 + 3 / 16) / 4)
    assert energy[1, 2].item() == pytest.approx(1 / 16)
    centre = PRIORS["centre"](images, (3, 3), generator)[0]
    torch.testing.assert_close(centre[1, 1].item(), 1.0)
    torch.testing.assert_close(centre[0], torch.tensor([0.0, 1 - 0.5**0.5, 0.0]))
    assert PRIORS["chance"](images, (2, 3), generator).unique().numel() == 6


def test_a_model_of_one_class_has_no_other_to_compare_with():
    with pytest.raises(ValueError, match="one class, so there is no second one"):
        likeness_of_classes(ViT(dataclasses.replace(CONFIG, num_classes=1)), torch.randn(2, 1, 8, 12), "chefer", {})
