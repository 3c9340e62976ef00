"""The inverted bottleneck (MobileNetV2: Sandler et al. 2018, arXiv:1801.04381)."""

from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv


class InvertedBottleneck(nn.Module):
    """1×1 to more channels, k×k on each for itself, 1×1 back: (B, H, W, D) -> (B, H, W, D), table 1 of the paper.

    A pointwise convolution mixes channels and sees one place; a depthwise one sees k×k places and one channel. The
    path around it joins the narrow ends, where there is no activation.

    Args:
        dim: D.
        mlp_ratio: width of the middle, in units of D (the paper's expansion factor t).
        kernel_size: k, odd.
        act: class of the activation.
    """

    def __init__(self, dim: int, mlp_ratio: float = 6.0, kernel_size: int = 3, act: type = nn.ReLU6) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.expand = Conv(dim, hidden, 1, bias=False)
        self.norm1 = BatchNorm(hidden)
        self.depthwise = Conv(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, bias=False)
        self.norm2 = BatchNorm(hidden)
        self.project = Conv(hidden, dim, 1, bias=False)
        self.norm3 = BatchNorm(dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.expand(x)))  # (B, H, W, tD)
        y = self.act(self.norm2(self.depthwise(y)))
        return self.norm3(self.project(y))  # (B, H, W, D)
