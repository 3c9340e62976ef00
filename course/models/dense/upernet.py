"""UperNet (Xiao et al. 2018, arXiv:1807.10221) on Swin, as Swin's paper segments with it (arXiv:2103.14030, section 4.3)."""

import torch
from torch import Tensor, nn

from course.models.backbone import Block, Residual, Stage
from course.models.channel_mixers.mlp import MLP
from course.models.dense.convs import ConvNormReLU, pixel_classifier, resized
from course.models.downsampling import PatchMerging
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.stems import PatchEmbed, divided
from course.models.token_mixers.window import WindowAttention, shift_mask


class PaddedWindowAttention(WindowAttention):
    """Attention in (shifted) windows on a map of any size, (B, H, W, D) -> (B, H, W, D).

    A map no larger than a window is filled up and shifted as any other, and its windows are no smaller.

    Args:
        dim, grid, num_heads, window_size, shift: as of ``WindowAttention``.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 4, window_size: int = 7, shift: int = 0
    ) -> None:
        height, width = (-(-side // window_size) * window_size for side in grid)
        super().__init__(dim, (height, width), num_heads, window_size)
        self.padding = (0, 0, 0, width - grid[1], 0, height - grid[0])
        self.shift = shift
        self.mask = shift_mask((height, width), window_size, shift) if shift else None


class PyramidPooling(nn.Module):
    """What the image looks like as a whole, beside every place of its last map: (B, D, h, w) -> (B, D', h, w).

    Means over grids of 1×1, 2×2, 3×3 and 6×6 regions, each mapped to D' channels and stretched over the map
    (PSPNet: Zhao et al. 2017, arXiv:1612.01105).

    Args:
        in_dim, dim: D and D'.
        pool_scales: regions along a side.
    """

    def __init__(self, in_dim: int, dim: int, pool_scales: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            [
                nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvNormReLU(in_dim, dim, kernel_size=1))
                for scale in pool_scales
            ]
        )
        self.fuse = ConvNormReLU(in_dim + len(pool_scales) * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [resized(pool(x), x.shape[2:]) for pool in self.pools]  # (B, D', h, w) each
        return self.fuse(torch.cat([x, *pooled], dim=1))  # (B, D + 4D', h, w), then (B, D', h, w)


class UperNetHead(nn.Module):
    """Maps (B, D_i, h_i, w_i), the coarsest last -> logits (B, num_classes, h_0, w_0).

    A feature pyramid (Lin et al. 2017, arXiv:1612.03144) under pyramid pooling: each finer map gets the sum of the
    coarser ones, and all are put side by side.

    Args:
        dims: D_i.
        num_classes: classes of a pixel.
        channels: width of the head.
    """

    def __init__(self, dims: tuple[int, ...], num_classes: int, channels: int = 512) -> None:
        super().__init__()
        self.pooling = PyramidPooling(dims[-1], channels)
        self.lateral = nn.ModuleList([ConvNormReLU(dim, channels, kernel_size=1) for dim in dims[:-1]])
        self.smooth = nn.ModuleList([ConvNormReLU(channels, channels) for _ in dims[:-1]])
        self.fuse = ConvNormReLU(len(dims) * channels, channels)
        self.classifier = pixel_classifier(channels, num_classes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps = [*[lateral(x) for lateral, x in zip(self.lateral, maps)], self.pooling(maps[-1])]
        for level in reversed(range(len(self.lateral))):
            maps[level] = maps[level] + resized(maps[level + 1], maps[level].shape[2:])  # top down
        maps = [*[smooth(x) for smooth, x in zip(self.smooth, maps)], maps[-1]]
        maps = [resized(x, maps[0].shape[2:]) for x in maps]  # (B, channels, h_0, w_0)
        return self.classifier(self.fuse(torch.cat(maps, dim=1)))  # (B, num_classes, h_0, w_0)


class UperNet(Model):
    """Images (B, C, H, W) -> logits (B, num_classes, H, W).

    Args:
        img_size: (H, W) in pixels, or H = W.
        in_chans: C.
        num_classes: classes of a pixel.
        embed_dim, depths, num_heads, window_size, patch_size: of the Swin Transformer.
        drop_path: rate of its last block; it grows from 0 along the depth.
        channels: width of the head.
        auxiliary_channels: width of the second head; see ``both``.
    """

    blocks_channels_last = True

    def __init__(
        self,
        img_size: int | tuple[int, int] = (512, 2048),
        in_chans: int = 3,
        num_classes: int = 150,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int = 7,
        patch_size: int = 4,
        drop_path: float = 0.0,
        channels: int = 512,
        auxiliary_channels: int = 256,
    ) -> None:
        super().__init__()
        img_size = (img_size, img_size) if isinstance(img_size, int) else img_size
        divided(img_size, patch_size * 2 ** (len(depths) - 1))
        dims = tuple(embed_dim * 2**stage for stage in range(len(depths)))
        self.num_features = dims[-1]
        self.stem = PatchEmbed(embed_dim, img_size, in_chans, patch_size, norm=True)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        grid, stages = self.stem.grid, []
        for stage, (dim, depth, heads) in enumerate(zip(dims, depths, num_heads, strict=True)):
            entry = None
            if stage > 0:
                entry = PatchMerging(dims[stage - 1], dim, grid)
                grid = (grid[0] // 2, grid[1] // 2)
            blocks = []
            for index in range(depth):
                shift = window_size // 2 if index % 2 else 0
                attention = PaddedWindowAttention(dim, grid, heads, window_size, shift)
                rate = next(rates)
                blocks.append(
                    Block(
                        Residual(attention, LayerNorm(dim, eps=1e-5), drop_path=rate),
                        Residual(MLP(dim), LayerNorm(dim, eps=1e-5), drop_path=rate),
                    )
                )
            stages.append(Stage(blocks, entry=entry))
        self.stages = nn.ModuleList(stages)
        self.norms = nn.ModuleList([LayerNorm(dim, eps=1e-5) for dim in dims])
        self.head = UperNetHead(dims, num_classes, channels)
        self.auxiliary = nn.Sequential(
            ConvNormReLU(dims[-2], auxiliary_channels), pixel_classifier(auxiliary_channels, num_classes)
        )

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, normed beside the way to the next: (B, D, H/4, W/4) to (B, 8D, H/32, W/32)."""
        x, maps = self.stem(images), []
        for stage, norm in zip(self.stages, self.norms):
            x = stage(x)  # (B, h, w, D)
            maps.append(norm(x).permute(0, 3, 1, 2))  # (B, D, h, w)
        return maps

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and those of a small head on the last stage but one, whose loss training adds with weight 0.4."""
        maps = self.stage_outputs(images)
        return resized(self.head(maps), images.shape[2:]), resized(self.auxiliary(maps[-2]), images.shape[2:])

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.head(self.stage_outputs(images)), images.shape[2:])  # (B, num_classes, H, W)
