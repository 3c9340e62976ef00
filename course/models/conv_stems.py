"""Stems made of convolutions: images (B, C, H, W) -> a first map (B, h, w, D)."""

from torch import Tensor, nn

from course.models.downsampling import PositionedPatches, conv_norm_relu
from course.models.norms import BatchNorm, Conv
from course.models.stems import Tokens, divided


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
        eps: of the norm; None: what its class has by itself.

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
        eps: float | None = None,
    ) -> None:
        super().__init__()
        self.fits = patch_size == stride and not padding
        if self.fits:
            divided(img_size, patch_size)
        self.grid = tuple((side + 2 * padding - patch_size) // stride + 1 for side in img_size)
        self.conv = Conv(in_chans, dim, patch_size, stride=stride, padding=padding)
        settings = {} if eps is None else {"eps": eps}
        self.norm = norm(dim, **settings) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        if self.fits:
            divided(images.shape[-2:], self.conv.stride[0])
        # A convolution keeps the order in memory: without the copy all maps to come would lie there channels first.
        x = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        return self.norm(self.conv(x))  # (B, h, w, D)


class TokenStem(ConvStem):
    """Overlapping patches with learned positions, a class token in front: (B, C, H, W) -> (B, 1 + h*w, D) (PiT's stem).

    Args:
        dim: D.
        img_size: (H, W) in pixels; what is left over at the right and below is not seen.
        in_chans: C.
        patch_size: P, in pixels.
        stride: s, from patch to patch; h = (H - P) / s + 1, rounded down.

    Raises:
        ValueError: the image is smaller than a patch.
    """

    def __init__(
        self, dim: int, img_size: tuple[int, int], in_chans: int = 3, patch_size: int = 16, stride: int = 8
    ) -> None:
        if min(img_size) < patch_size:
            raise ValueError(f"an image of {img_size[0]}×{img_size[1]} is smaller than a patch of {patch_size} pixels")
        super().__init__(dim, img_size, in_chans, patch_size, stride, padding=0)
        # timm and the authors keep the class token beside the map, where no position reaches it.
        self.tokens = Tokens(dim, self.grid, class_tokens=1, position="learned", position_on_class=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(super().forward(images))  # (B, 1 + h*w, D)


class PatchConvStem(nn.Module):
    """Patches, activation, batch norm (ConvMixer: arXiv:2201.09792, section 2).

    Raises:
        ValueError: the patches do not divide the image.
    """

    def __init__(
        self, dim: int, img_size: tuple[int, int], in_chans: int = 3, patch_size: int = 7, act: type = nn.GELU
    ) -> None:
        super().__init__()
        self.grid = divided(img_size, patch_size)
        self.conv = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.act = act()
        self.norm = BatchNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        # A convolution keeps the order in memory: without the copy all maps to come would lie there channels first.
        x = self.conv(images).permute(0, 2, 3, 1).contiguous()  # (B, h, w, D)
        return self.norm(self.act(x))


class EarlyConvStem(nn.Module):
    """A few small convolutions in place of one large patch (Xiao et al. 2021, arXiv:2106.14881).

    Each 3×3 convolution halves the sides, and a batch norm and a ReLU follow; a 1×1 convolution ends the stem.

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        in_chans: C.
        widths: channels of each 3×3 convolution; four of them make tokens of 16×16 pixels.

    Raises:
        ValueError: the sides of the image cannot be halved so often.
    """

    def __init__(
        self, dim: int, img_size: tuple[int, int], in_chans: int = 3, widths: tuple[int, ...] = (48, 96, 192, 384)
    ) -> None:
        super().__init__()
        self.grid = divided(img_size, 2 ** len(widths))
        self.layers = nn.Sequential(
            *[
                nn.Sequential(
                    nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
                )
                for n_in, n_out in zip((in_chans, *widths), widths)
            ]
        )
        self.proj = nn.Conv2d(widths[-1], dim, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.layers(images)).permute(0, 2, 3, 1)  # (B, h, w, D)


class ConvTokenizer(nn.Module):
    """A convolution, ReLU and max pooling, whose windows overlap (CCT: Hassani et al. 2021, arXiv:2104.05704).

    (B, C, H, W) -> (B, H/2, W/2, D), odd sides rounded up.

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        in_chans: C.
    """

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3) -> None:
        super().__init__()
        self.grid = tuple(-(-side // 2) for side in img_size)
        self.conv = nn.Conv2d(in_chans, dim, kernel_size=3, padding=1, bias=False)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.act(self.conv(images))).permute(0, 2, 3, 1)  # (B, h, w, D)


class RepLKStem(nn.Module):
    """Two halvings with depthwise layers between, so that details survive (RepLKNet: arXiv:2203.06717, section 4.1)."""

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3) -> None:
        super().__init__()
        self.grid = tuple(-(-side // 4) for side in img_size)
        self.layers = nn.Sequential(
            conv_norm_relu(in_chans, dim, 3, stride=2),
            conv_norm_relu(dim, dim, 3, depthwise=True),
            conv_norm_relu(dim, dim, 1),
            conv_norm_relu(dim, dim, 3, stride=2, depthwise=True),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.permute(0, 2, 3, 1).contiguous())  # (B, H/4, W/4, D)


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


class PositionedPatchStem(PositionedPatches):
    """Patches of pixels, a norm and learned positions, (B, C, H, W) -> (B, H/P, W/P, D) (PVT's stem)."""

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
