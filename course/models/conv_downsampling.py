"""Stems and downsampling by one convolution; its patches may overlap, and a norm stands before or behind it."""

from torch import Tensor, nn

from course.models.norms import Conv
from course.models.stems import divided


class ConvStem(nn.Module):
    """A strided convolution over the image, (B, C, H, W) -> (B, h, w, D).

    The patches overlap where P is larger than the stride s: PoolFormer's are 7×7 pixels, 4 apart, with a padding of 2
    (Yu et al. 2022, arXiv:2111.11418). Where they do not (P = s, padding 0), they must divide the image.

    Args:
        dim: D.
        img_size: (H, W) in pixels, for ``grid`` alone: images of other sizes may come through.
        in_chans: C.
        patch_size: P, in pixels.
        stride: s, from patch to patch.
        padding: zeros around the image.
        norm: class of a norm that follows; None: no norm.

    Raises:
        ValueError: patches that do not overlap do not divide the image.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int] = (224, 224),
        in_chans: int = 3,
        patch_size: int = 7,
        stride: int = 4,
        padding: int = 2,
        norm: type | None = None,
    ) -> None:
        super().__init__()
        self.fits = patch_size == stride and not padding
        if self.fits:
            divided(img_size, patch_size)
        self.grid = tuple((side + 2 * padding - patch_size) // stride + 1 for side in img_size)
        self.conv = Conv(in_chans, dim, patch_size, stride=stride, padding=padding)
        self.norm = norm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        if self.fits:
            divided(images.shape[-2:], self.conv.stride[0])
        # A convolution keeps the order in memory: without the copy all maps to come would lie there channels first.
        x = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        return self.norm(self.conv(x))  # (B, h, w, D)


class ConvDownsampling(nn.Module):
    """A convolution of stride 2, (B, H, W, D) -> (B, H/2, W/2, D').

    Args:
        in_dim, dim: D and D'.
        overlap: patches of 3×3 with a padding of 1, so that an odd side is rounded up (PoolFormer); otherwise 2×2, and
            both sides must be even (ShiftViT).
        norm: class of the norm; None: no norm.
        norm_first: whether the norm stands before the convolution or behind it.
        bias: of the convolution.

    Raises:
        ValueError: without overlap, and the map has an odd side.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        overlap: bool = True,
        norm: type | None = None,
        norm_first: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.norm = nn.Identity() if norm is None else norm(in_dim if norm_first else dim)
        self.conv = Conv(in_dim, dim, 3 if overlap else 2, stride=2, padding=1 if overlap else 0, bias=bias)
        self.overlap = overlap
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        if not self.overlap:
            divided(x.shape[1:3], 2, what="a map")
        return self.conv(self.norm(x)) if self.norm_first else self.norm(self.conv(x))  # (B, H/2, W/2, D')
