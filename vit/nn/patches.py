"""images -> patches: cut the image into a grid, then project every patch to a token of width d."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def patchify(images: Float[Tensor, "b c h w"], patch_size: tuple[int, int]) -> Float[Tensor, "b p pixels"]:
    """Cut images into non-overlapping patches, in reading order.

    Channels vary slowest inside a patch, so a timm `Conv2d` weight becomes ours by flattening its last three axes.
    """
    ph, pw = patch_size
    return rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=ph, pw=pw)


def unpatchify(
    patches: Float[Tensor, "b p pixels"], patch_size: tuple[int, int], grid: tuple[int, int]
) -> Float[Tensor, "b c h w"]:
    """Lay patches out on their grid (rows, columns) again; the inverse of `patchify`."""
    (ph, pw), (gh, gw) = patch_size, grid
    return rearrange(patches, "b (gh gw) (c ph pw) -> b c (gh ph) (gw pw)", gh=gh, gw=gw, ph=ph, pw=pw)


class PatchEmbedding(nn.Module):
    """One linear map for every patch (Dosovitskiy et al. 2021, eq. 1): a convolution whose stride is its kernel.

    With `norm` a LayerNorm stands on either side of it, one over the numbers of a patch, in the order of `patchify`,
    and one over its token: Dual PatchNorm (Kumar et al. 2023, https://arxiv.org/abs/2302.01327).
    """

    def __init__(
        self,
        patch_size: tuple[int, int],
        in_channels: int,
        embed_dim: int,
        bias: bool = True,
        norm: bool = False,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        pixels = in_channels * patch_size[0] * patch_size[1]
        self.patch_size = patch_size
        self.norm_pixels = nn.LayerNorm(pixels, eps=norm_eps) if norm else nn.Identity()
        self.proj = nn.Linear(pixels, embed_dim, bias=bias)
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps) if norm else nn.Identity()

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b p d"]:
        return self.norm(self.proj(self.norm_pixels(patchify(images, self.patch_size))))
