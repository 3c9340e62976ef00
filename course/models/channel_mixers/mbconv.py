"""The inverted bottleneck of mobile networks (Sandler et al. 2018, arXiv:1801.04381)."""

import torch.nn.functional as F
from torch import Tensor, nn

from course.models.gates.squeeze_excite import SqueezeExcite
from course.models.norms import BatchNorm, Conv


class MBConv(nn.Module):
    """Widen, mix neighbours channel by channel, weigh the channels, narrow: (B, H, W, D') -> (B, H/s, W/s, D).

    1×1 convolution to 4D channels, depthwise 3×3, squeeze-and-excitation, 1×1 to D; batch norm and GELU behind the
    first two. The path around it, and the norm before it, are the residual's.

    Args:
        dim: D.
        in_dim: D', if another.
        stride: s, of the depthwise convolution.
        expand_ratio: width of the hidden maps, in units of D.
        se_ratio: width of the squeezed vector, in units of D.
    """

    def __init__(
        self,
        dim: int,
        in_dim: int | None = None,
        stride: int = 1,
        expand_ratio: int = 4,
        se_ratio: float = 0.25,
    ) -> None:
        super().__init__()
        hidden = dim * expand_ratio
        self.widen = nn.Linear(in_dim or dim, hidden, bias=False)
        self.norm1 = BatchNorm(hidden)
        self.depthwise = Conv(hidden, hidden, kernel_size=3, stride=stride, padding=1, groups=hidden, bias=False)
        self.norm2 = BatchNorm(hidden)
        self.gate = SqueezeExcite(hidden, reduction=round(expand_ratio / se_ratio), act=nn.SiLU)
        self.narrow = nn.Linear(hidden, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.widen(x)))  # (B, H, W, 4D)
        x = self.act(self.norm2(self.depthwise(x)))  # (B, H/s, W/s, 4D)
        return self.narrow(self.gate(x))  # (B, H/s, W/s, D)


class HalfMean(nn.Module):
    """The mean of 2×2 neighbours, (B, H, W, D) -> (B, H/2, W/2, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.permute(0, 3, 1, 2), kernel_size=2).permute(0, 2, 3, 1)  # (B, H/2, W/2, D)
