"""Cutting images into patches: order worked by hand, and laws."""

import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vit.nn.patches import PatchEmbedding, patchify, unpatchify

sizes = st.integers(1, 4)


def test_patches_come_in_reading_order_with_channels_slowest() -> None:
    image = rearrange(torch.arange(24), "(c h w) -> 1 c h w", c=2, h=2).float()  # 2 channels of 2 x 6 pixels
    patches = patchify(image, (2, 3))
    assert patches.tolist() == [
        [
            [0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20],
            [3, 4, 5, 9, 10, 11, 15, 16, 17, 21, 22, 23],
        ]
    ]


@settings(max_examples=30, deadline=None)
@given(b=sizes, c=sizes, gh=sizes, gw=sizes, ph=sizes, pw=sizes)
def test_unpatchify_inverts_patchify(b: int, c: int, gh: int, gw: int, ph: int, pw: int) -> None:
    images = torch.rand(b, c, gh * ph, gw * pw)
    assert torch.equal(unpatchify(patchify(images, (ph, pw)), (ph, pw), (gh, gw)), images)


def test_the_embedding_is_a_convolution_whose_stride_is_its_kernel() -> None:
    embedding, images = PatchEmbedding((2, 3), 5, 7), torch.rand(2, 5, 4, 9)
    kernel = rearrange(embedding.proj.weight, "d (c ph pw) -> d c ph pw", ph=2, pw=3)
    convolved = F.conv2d(images, kernel, embedding.proj.bias, stride=(2, 3))
    # float32 sums of 30 products in another order
    torch.testing.assert_close(
        embedding(images), rearrange(convolved, "b d gh gw -> b (gh gw) d"), atol=1e-6, rtol=1e-5
    )


def test_the_norms_stand_before_and_after_the_projection() -> None:
    """Worked by hand: a patch of 1, 3 becomes -1, 1, then 7 * -1 + 3 and 5 * 1, of which the larger one is 1."""
    embedding, image = PatchEmbedding((1, 2), 1, 2, norm=True, norm_eps=1e-12), torch.tensor([[[[1.0, 3.0]]]])
    with torch.no_grad():
        embedding.norm_pixels.weight.copy_(torch.tensor([7.0, 5.0]))
        embedding.norm_pixels.bias.copy_(torch.tensor([3.0, 0.0]))
        embedding.proj.weight.copy_(torch.eye(2))
        embedding.proj.bias.zero_()
        embedding.norm.weight.copy_(torch.tensor([2.0, 11.0]))
        embedding.norm.bias.copy_(torch.tensor([0.0, 13.0]))
    torch.testing.assert_close(embedding(image), torch.tensor([[[-2.0, 24.0]]]))  # 2 * -1, and 11 * 1 + 13


def test_without_norms_there_is_nothing_but_the_projection() -> None:
    embedding, images = PatchEmbedding((2, 3), 5, 7), torch.rand(2, 5, 4, 9)
    assert list(embedding.state_dict()) == ["proj.weight", "proj.bias"]
    assert torch.equal(embedding(images), embedding.proj(patchify(images, (2, 3))))
