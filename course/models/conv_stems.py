"""Convolutions that make a map smaller and wider: as stems, from images, and as what stands between the stages."""

from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv, LayerNorm
from course.models.stems import Tokens, divided


class ConvEmbed(nn.Module):
    """Overlapping patches: a strided convolution, then a layer norm, (B, H, W, D) -> (B, H/2, W/2, D').

    The convolutional token embedding of CvT (Wu et al. 2021, arXiv:2103.15808, section 3.1) and the overlapping patch
    embedding of PVT v2 (Wang et al. 2022, arXiv:2106.13797). Neighbouring patches share pixels; the zeros around the
    map tell where its border is, so that no positions are needed.

    Args:
        class_token: whether a learned token is put in front; tokens (B, 1 + h*w, D') come out then, and no map.
        eps: of the norm.
    """

    def __init__(self, in_dim: int, dim: int, grid: tuple[int, int], class_token: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv = Conv(in_dim, dim, kernel_size=3, stride=2, padding=1)
        self.norm = LayerNorm(dim, eps=eps)
        smaller = tuple(-(-side // 2) for side in grid)
        self.tokens = Tokens(dim, smaller, class_tokens=1, position=None) if class_token else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.norm(self.conv(x)))  # (B, h, w, D') or (B, 1 + h*w, D')


class ConvEmbedStem(nn.Module):
    """The same from pixels, (B, C, H, W) -> (B, H/4, W/4, D).

    Args:
        patch_size: side of the kernel, in pixels.
        stride: distance of two patches, in pixels.
        padding: zeros around the image, in pixels.
        eps: of the norm.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        in_chans: int = 3,
        patch_size: int = 7,
        stride: int = 4,
        padding: int = 3,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.grid = tuple((side + 2 * padding - patch_size) // stride + 1 for side in img_size)
        self.conv = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=stride, padding=padding)
        self.norm = LayerNorm(dim, eps=eps)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images).permute(0, 2, 3, 1))  # (B, h, w, D)


class PositionedPatches(nn.Module):
    """Patches of a map, a norm and learned positions, (B, H, W, D) -> (B, H/P, W/P, D').

    PVT (Wang et al. 2021, arXiv:2102.12122, section 3.2) begins every stage so, and Visformer (Chen et al. 2021,
    arXiv:2104.12533).

    Args:
        class_token: whether a learned token, with a position of its own, is put in front; tokens (B, 1 + h*w, D')
            come out then, and no map.
        stride: P, in positions of the map that comes in.
        norm: its class.
        eps: of the norm.

    Raises:
        ValueError: P does not divide the map.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        grid: tuple[int, int],
        class_token: bool = False,
        stride: int = 2,
        norm: type = LayerNorm,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.grid = divided(grid, stride, what="a map")
        self.proj = Conv(in_dim, dim, kernel_size=stride, stride=stride)
        self.norm = norm(dim, eps=eps)
        self.tokens = Tokens(dim, self.grid, class_tokens=int(class_token), position="learned")
        self.class_token = class_token

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(self.norm(self.proj(x)))  # (B, h*w, D') or (B, 1 + h*w, D')
        return x if self.class_token else x.unflatten(1, self.grid)  # (B, h, w, D')


class PositionedPatchStem(PositionedPatches):
    """The same from pixels, (B, C, H, W) -> (B, H/P, W/P, D)."""

    def __init__(
        self, dim: int, img_size: tuple[int, int], in_chans: int = 3, patch_size: int = 4, eps: float = 1e-5
    ) -> None:
        divided(img_size, patch_size)
        super().__init__(in_chans, dim, img_size, stride=patch_size, eps=eps)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.permute(0, 2, 3, 1))  # (B, h, w, D)


class ConvPatchStem(PositionedPatches):
    """A strided 7×7 convolution, then positioned patches, (B, C, H, W) -> (B, H/2P, W/2P, D) (Visformer's stem).

    Args:
        stem_dim: channels between the two.
        patch_size: P, in positions of the map that the convolution has halved.
        norm: class of the norm behind the patches.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        in_chans: int = 3,
        stem_dim: int = 32,
        patch_size: int = 4,
        norm: type = BatchNorm,
    ) -> None:
        divided(img_size, 2 * patch_size)
        super().__init__(stem_dim, dim, (img_size[0] // 2, img_size[1] // 2), stride=patch_size, norm=norm)
        self.conv = Conv(in_chans, stem_dim, kernel_size=7, stride=2, padding=3, bias=False)
        self.conv_norm = BatchNorm(stem_dim)
        self.act = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        # A convolution keeps the order in memory; without the copy all maps to come would lie there channels first.
        x = self.conv(images.permute(0, 2, 3, 1).contiguous())  # (B, H/2, W/2, D_stem)
        return super().forward(self.act(self.conv_norm(x)))  # (B, h, w, D)


class HalvingStem(nn.Module):
    """3×3 convolutions of stride 2, each with batch norm, (B, C, H, W) -> (B, H/16, W/16, D) (LeViT's stem).

    Graham et al. 2021, arXiv:2104.01136: D/8, D/4, D/2 and D channels, an activation between two convolutions.

    Raises:
        ValueError: 16 does not divide the image.
    """

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3, act: type = nn.Hardswish) -> None:
        super().__init__()
        self.grid = divided(img_size, 16)
        dims = (in_chans, dim // 8, dim // 4, dim // 2, dim)
        self.convs = nn.ModuleList(
            Conv(narrow, wide, kernel_size=3, stride=2, padding=1, bias=False) for narrow, wide in zip(dims, dims[1:])
        )
        self.norms = nn.ModuleList(BatchNorm(wide) for wide in dims[1:])
        self.act = act()

    def forward(self, images: Tensor) -> Tensor:
        # A convolution keeps the order in memory; without the copy all maps to come would lie there channels first.
        x = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = norm(conv(x if i == 0 else self.act(x)))  # (B, H/2, W/2, 2D'), four times
        return x
