"""Convolution of each channel by itself, between two linear layers."""

from torch import Tensor, nn

from course.models.channel_mixers.star_relu import StarReLU
from course.models.norms import Conv


class SepConv(nn.Module):
    """Linear, activation, depthwise k×k convolution, linear, all without bias: (B, H, W, D) -> (B, H, W, D).

    MobileNetV2's inverted separable convolution (Sandler et al. 2018, arXiv:1801.04381) as ConvFormer's token mixer
    (Yu et al. 2022, arXiv:2210.13452).

    Args:
        dim: D.
        expansion_ratio: channels of the convolution, in units of D.
        kernel_size: k, odd.
        act: class of the activation.
    """

    def __init__(self, dim: int, expansion_ratio: float = 2.0, kernel_size: int = 7, act: type = StarReLU) -> None:
        super().__init__()
        hidden = int(dim * expansion_ratio)
        self.pwconv1 = nn.Linear(dim, hidden, bias=False)
        self.act = act()
        self.dwconv = Conv(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, bias=False)
        self.pwconv2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.pwconv1(x))  # (B, H, W, hidden)
        return self.pwconv2(self.dwconv(x))  # (B, H, W, D)
