"""What stands between the stages of a pyramid: (B, H, W, D) -> (B, H/2, W/2, D')."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv, LayerNorm
from course.models.stems import Tokens, divided


class PatchMerging(nn.Module):
    """Put 2×2 neighbours side by side in the channels and map the 4D to D' (Swin: arXiv:2103.14030, section 3.1).

    The neighbours stand column by column: top left, bottom left, top right, bottom right. An odd side gets zeros at its
    end, and is rounded up.
    """

    def __init__(self, in_dim: int, dim: int, grid: tuple[int, int], eps: float = 1e-5) -> None:
        super().__init__()
        self.padding = (0, 0, 0, grid[1] % 2, 0, grid[0] % 2)
        self.norm = LayerNorm(4 * in_dim, eps=eps)
        self.reduction = nn.Linear(4 * in_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = F.pad(x, self.padding)
        x = rearrange(x, "b (h p) (w q) d -> b h w (q p d)", p=2, q=2)  # (B, H/2, W/2, 4D)
        return self.reduction(self.norm(x))


class ConvDownsampling(nn.Module):
    """A convolution of stride 2, (B, H, W, D) -> (B, H/2, W/2, D').

    Args:
        in_dim, dim: D and D'.
        overlap: patches of 3×3 with a padding of 1, so that an odd side is rounded up (PoolFormer); otherwise 2×2, and
            both sides must be even (ShiftViT, ConvNeXt).
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


class ConvEmbed(nn.Module):
    """Overlapping patches: a strided convolution, then a layer norm, (B, H, W, D) -> (B, H/2, W/2, D').

    The convolutional token embedding of CvT (Wu et al. 2021, arXiv:2103.15808, section 3.1) and the overlapping patch
    embedding of PVT v2 (Wang et al. 2022, arXiv:2106.13797). Neighbouring patches share pixels; the zeros around the
    map tell where its border is, so that no positions are needed.

    Args:
        class_token: whether a learned token is put in front; tokens (B, 1 + h*w, D') come out then, and no map.
        eps: of the norm.
    """

    def __init__(
        self, in_dim: int, dim: int, grid: tuple[int, int], class_token: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.conv = Conv(in_dim, dim, kernel_size=3, stride=2, padding=1)
        self.norm = LayerNorm(dim, eps=eps)
        smaller = tuple(-(-side // 2) for side in grid)
        self.tokens = Tokens(dim, smaller, class_tokens=1, position=None) if class_token else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.norm(self.conv(x)))  # (B, h, w, D') or (B, 1 + h*w, D')


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


class TokenPooling(nn.Module):
    """A map that comes as tokens, halved, its class token taken along: (B, 1 + H*W, D) -> (B, 1 + h*w, D').

    PiT (Heo et al. 2021, arXiv:2103.16302, section 3.2): a depthwise 3×3 convolution of stride 2, in which each channel
    makes D'/D new ones, and a linear layer for the class token. Odd sides are rounded up.

    Args:
        in_dim, dim: D and D'.
        grid: (H, W).

    Raises:
        ValueError: D does not divide D'.
    """

    def __init__(self, in_dim: int, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        if dim % in_dim:
            raise ValueError(
                f"each of {in_dim} channels makes as many new ones, so {dim} cannot follow: a multiple can"
            )
        self.grid = grid
        self.conv = Conv(in_dim, dim, kernel_size=3, stride=2, padding=1, groups=in_dim)
        self.fc = nn.Linear(in_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        image = self.conv(x[:, 1:].unflatten(1, self.grid))  # (B, h, w, D')
        return torch.cat([self.fc(x[:, :1]), image.flatten(1, 2)], dim=1)  # (B, 1 + h*w, D')


def conv_norm_relu(in_dim: int, dim: int, kernel_size: int, stride: int = 1, depthwise: bool = False) -> nn.Sequential:
    """Convolution, batch norm, ReLU on maps (B, H, W, D)."""
    groups = in_dim if depthwise else 1
    conv = Conv(in_dim, dim, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, BatchNorm(dim), nn.ReLU())


class RepLKTransition(nn.Module):
    """1×1 to the new width, then a depthwise 3×3 of stride 2: (B, H, W, D) -> (B, H/2, W/2, D')."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.widen = conv_norm_relu(in_dim, dim, 1)
        self.halve = conv_norm_relu(dim, dim, 3, stride=2, depthwise=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.halve(self.widen(x))  # (B, H/2, W/2, D')
