"""SETR: three ways from a ViT's tokens to a class for every pixel (Zheng et al. 2021, arXiv:2012.15840, section 3.3).

Sizes and details are those of the authors' code. There the first convolution of the naive head is 3×3, and so are
the parameters that the paper's table counts; its text says 1×1.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Backbone, Block, Residual, Stage
from course.models.channel_mixers.mlp import MLP
from course.models.dense.convs import ConvNormReLU, pixel_classifier, resized
from course.models.norms import LayerNorm
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.attention import SelfAttention


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """The tokens of the patches, without the class token if there is one, as a map: (B, n + h*w, D) -> (B, D, h, w)."""
    height, width = grid
    return rearrange(tokens[:, -height * width :], "b (h w) d -> b d h w", h=height)


class TokensToPixels(nn.Module):
    """What the first two heads share: (B, n + h*w, D) -> (B, num_classes, h*P, w*P), through a map of `channels`.

    Args:
        dim: D.
        num_classes: classes of a pixel.
        grid: (h, w).
        patch_size: P, of the stem.
        channels: width of all convolutions but the last.
        eps: of the layer norm.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        grid: tuple[int, int],
        patch_size: int = 16,
        channels: int = 256,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.size = (grid[0] * patch_size, grid[1] * patch_size)
        self.norm = LayerNorm(dim, eps=eps)
        self.add_convolutions(dim, channels)
        self.classifier = pixel_classifier(channels, num_classes)

    def add_convolutions(self, dim: int, channels: int) -> None:
        """Those between the norm and the classifier, from D to `channels`."""
        raise NotImplementedError


class NaiveHead(TokensToPixels):
    """Two convolutions, then one upsampling by P: (B, n + h*w, D) -> (B, num_classes, h*P, w*P)."""

    def add_convolutions(self, dim: int, channels: int) -> None:
        self.conv = ConvNormReLU(dim, channels, bias=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.conv(as_map(self.norm(tokens), self.grid))  # (B, channels, h, w)
        return resized(self.classifier(x), self.size)  # (B, num_classes, H, W)


class PUPHead(TokensToPixels):
    """Progressive upsampling: four convolutions in turn with four upsamplings, each but the last by 2.

    (B, n + h*w, D) -> (B, num_classes, h*P, w*P). Patches of 16×16 make the last one a doubling too. The classes are
    decided before it, at half resolution.
    """

    def add_convolutions(self, dim: int, channels: int) -> None:
        self.convs = nn.ModuleList([ConvNormReLU(dim if i == 0 else channels, channels, bias=True) for i in range(4)])

    def forward(self, tokens: Tensor) -> Tensor:
        height, width = self.grid
        x = self.convs[0](as_map(self.norm(tokens), self.grid))  # (B, channels, h, w)
        for conv in self.convs[1:]:
            height, width = 2 * height, 2 * width
            x = conv(resized(x, (height, width)))  # (B, channels, 2h, 2w), then 4 and 8 times
        return resized(self.classifier(x), self.size)  # (B, num_classes, H, W)


class MLAHead(nn.Module):
    """Multi-level aggregation: a stream for each of M layers, each given what the deeper ones found.

    M tensors (B, h*w, D), the deepest last -> (B, num_classes, h*P, w*P).

    Args:
        dim: D.
        num_classes: classes of a pixel.
        grid: (h, w).
        levels: M.
        patch_size: P, of the stem.
        channels: width of the streams where they are summed; half of it where they are put side by side.
        eps: of the layer norms.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        grid: tuple[int, int],
        levels: int = 4,
        patch_size: int = 16,
        channels: int = 256,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.size = (grid[0] * patch_size, grid[1] * patch_size)
        narrow = channels // 2
        self.norms = nn.ModuleList([LayerNorm(dim, eps=eps) for _ in range(levels)])
        self.reduce = nn.ModuleList([ConvNormReLU(dim, channels, kernel_size=1) for _ in range(levels)])
        self.smooth = nn.ModuleList([ConvNormReLU(channels, channels) for _ in range(levels)])
        self.refine = nn.ModuleList(
            [nn.Sequential(ConvNormReLU(channels, narrow), ConvNormReLU(narrow, narrow)) for _ in range(levels)]
        )
        self.classifier = pixel_classifier(levels * narrow, num_classes, kernel_size=3)

    def forward(self, tokens: list[Tensor]) -> Tensor:
        height, width = self.grid
        maps = [reduce(as_map(norm(x), self.grid)) for x, norm, reduce in zip(tokens, self.norms, self.reduce)]
        for level in reversed(range(len(maps) - 1)):
            maps[level] = maps[level] + maps[level + 1]  # top down: each level gets the sum of all deeper ones
        streams = [
            refine(smooth(x)) for x, smooth, refine in zip(maps, self.smooth, self.refine)
        ]  # (B, channels/2, h, w)
        streams = [resized(x, (4 * height, 4 * width), align_corners=True) for x in streams]  # (B, channels/2, 4h, 4w)
        return resized(self.classifier(torch.cat(streams, dim=1)), self.size)  # (B, num_classes, H, W)


class SETRMLA(Backbone):
    """SETR with multi-level aggregation: images (B, C, H, W) -> logits (B, num_classes, H, W).

    The trunk is ViT's, without a class token; the head reads M of its blocks, at equal distances, the last among them.

    Args:
        img_size: (H, W) in pixels, or H = W.
        in_chans: C.
        num_classes: classes of a pixel.
        patch_size, embed_dim, depth, num_heads, mlp_ratio: of the trunk.
        levels: M.
        channels: of the head.

    Raises:
        ValueError: M does not divide the depth.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 19,
        patch_size: int = 16,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        levels: int = 4,
        channels: int = 256,
    ) -> None:
        if depth % levels:
            raise ValueError(
                f"{levels} levels do not divide {depth} blocks: a depth of {depth - depth % levels} would do"
            )
        img_size = (img_size, img_size) if isinstance(img_size, int) else img_size
        stem = PatchEmbed(embed_dim, img_size, in_chans=in_chans, patch_size=patch_size)
        tokens = Tokens(embed_dim, stem.grid, class_tokens=0)
        blocks = []
        for _ in range(depth):
            attention, mlp = SelfAttention(embed_dim, num_heads=num_heads), MLP(embed_dim, mlp_ratio=mlp_ratio)
            blocks.append(Block(Residual(attention, LayerNorm(embed_dim)), Residual(mlp, LayerNorm(embed_dim))))
        head = MLAHead(embed_dim, num_classes, stem.grid, levels, patch_size, channels)
        super().__init__(stem, [Stage(blocks, entry=tokens)], head)
        self.num_features = embed_dim
        self.step = depth // levels

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The tokens (B, h*w, D) behind every M-th part of the depth."""
        x = self.stages[0].entry(self.stem(images))  # (B, h*w, D)
        layers = []
        for block in self.stages[0].blocks:
            x = block(x)
            layers.append(x)
        return layers[self.step - 1 :: self.step]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage_outputs(images))
