"""What takes the place of a patch, and that nothing else changes."""

import pytest
import torch
from einops import rearrange
from torch import nn

from vit.explain.removal import FILLS, filled, remover
from vit.nn import Preprocessing, ViT, ViTConfig

GRID = (2, 3)
SPEC = Preprocessing(image_size=(8, 15), mean=(0.5, 0.2), std=(0.25, 0.1))
CONFIG = ViTConfig(
    image_size=(8, 15), patch_size=(4, 5), in_channels=2, num_classes=5, embed_dim=24, depth=2, num_heads=3
)


@pytest.fixture
def model() -> ViT:
    return ViT(CONFIG).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 2, 8, 15)


class Pixels(nn.Module):
    """A model that answers with its input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def test_patches_are_numbered_in_reading_order_and_others_stay(images):
    ask = remover(Pixels(), images, GRID, "mean", SPEC)
    seen = ask(torch.tensor([[0, 5], [2, 1], [3, 4]]))
    blocks = rearrange(seen, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", gh=2, gw=3)
    before = rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", gh=2, gw=3)
    changed = (blocks != before).any(dim=-1)
    assert changed.tolist() == [
        [True, False, False, False, False, True],
        [False, True, True, False, False, False],
        [False, False, False, True, True, False],
    ]


def test_black_is_black_before_normalising(images):
    black = filled(images, GRID, "black", SPEC)
    pixels = black[:, 0] * 0.25 + 0.5, black[:, 1] * 0.1 + 0.2
    for channel in pixels:
        torch.testing.assert_close(channel, torch.zeros(3, 8, 15), atol=1e-6, rtol=0)  # float32 about 1


def test_mean_is_each_images_own_colour(images):
    mean = filled(images, GRID, "mean", SPEC)
    torch.testing.assert_close(mean[1, 0], images[1, 0].mean().expand(8, 15))


def test_blur_keeps_an_even_image_and_takes_the_detail_of_another(images):
    even = torch.full((1, 2, 8, 15), 3.0)
    torch.testing.assert_close(filled(even, GRID, "blur", SPEC), even)
    assert filled(images, GRID, "blur", SPEC).std() < 0.3 * images.std()


def test_blur_is_the_gaussian_of_scipy(images):
    from scipy.ndimage import gaussian_filter

    theirs = gaussian_filter(images.numpy(), sigma=(0, 0, 4, 5), mode="nearest", truncate=3.0)
    torch.testing.assert_close(filled(images, GRID, "blur", SPEC), torch.from_numpy(theirs), atol=1e-5, rtol=1e-5)


def test_dropped_patches_are_not_in_the_encoder(model, images):
    gone = torch.tensor([[1, 4], [0, 2], [5, 3]])
    kept = torch.tensor([[0, 2, 3, 5], [1, 3, 4, 5], [0, 1, 2, 4]])
    ask = remover(model, images, GRID, "drop", SPEC)
    torch.testing.assert_close(ask(gone), model.classify(model.encode_some(images, kept)))


@pytest.mark.parametrize("fill", FILLS)
def test_taking_nothing_away_changes_nothing(model, images, fill):
    nothing = torch.zeros(3, 0, dtype=torch.long)
    torch.testing.assert_close(remover(model, images, GRID, fill, SPEC)(nothing), model(images))


def test_tokens_of_a_foreign_model_cannot_be_dropped(images):
    with pytest.raises(ValueError, match=r"fill='drop' leaves tokens out, which Pixels cannot; load_model makes"):
        remover(Pixels(), images, GRID, "drop", SPEC)


@pytest.mark.parametrize("fill", FILLS)
def test_models_in_half_precision_are_asked_in_it(model, images, fill):
    half = remover(model.bfloat16(), images.bfloat16(), GRID, fill, SPEC)(torch.tensor([[0, 4], [1, 2], [3, 5]]))
    assert half.dtype == torch.bfloat16
    whole = remover(model.float(), images, GRID, fill, SPEC)(torch.tensor([[0, 4], [1, 2], [3, 5]]))
    torch.testing.assert_close(half.float(), whole, atol=0.05, rtol=0)  # bfloat16 has 8 bits, here of numbers near 1


@pytest.mark.usefixtures("_annotations_unchecked")
def test_a_fill_that_there_is_not_is_never_taken_for_another(model, images):
    with pytest.raises(ValueError, match=r"fill='white' is not one of black, mean, blur, drop\."):
        remover(model, images, GRID, "white", SPEC)
