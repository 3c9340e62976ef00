"""Perceptrons with a convolution between their layers."""

from torch import Tensor, nn

from course.models.norms import Conv


class ConvMLP(nn.Module):
    """Linear, depthwise 3×3 convolution, GELU, linear: (B, H, W, D) -> (B, H, W, D).

    The convolutional feed-forward of PVT v2 (Wang et al. 2022, arXiv:2106.13797): the zeros around the map tell the
    positions where they are, and no learned positions are needed.

    Args:
        dim: D.
        mlp_ratio: width of the hidden map, in units of D.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.depthwise = Conv(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.fc1(x))  # (B, H, W, hidden)
        return self.fc2(self.act(x))  # (B, H, W, D)


class GroupConvMLP(nn.Module):
    """Linear, 3×3 convolution in groups, linear, GELU between them: (B, H, W, D) -> (B, H, W, D).

    What Visformer (Chen et al. 2021, arXiv:2104.12533) has in its first stage, and there it mixes positions too:
    no attention stands beside it. Nothing has a bias.

    Args:
        dim: D.
        expansion: width of the hidden maps, in units of D.
        groups: the channels are cut into so many groups; a hidden channel sees only those of its own.
    """

    def __init__(self, dim: int, expansion: float = 2.0, groups: int = 8) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        if hidden % groups:
            raise ValueError(f"{groups} groups do not divide {hidden} hidden channels")
        self.fc1 = nn.Linear(dim, hidden, bias=False)
        self.conv = Conv(hidden, hidden, kernel_size=3, padding=1, groups=groups, bias=False)
        self.fc2 = nn.Linear(hidden, dim, bias=False)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.act(self.fc1(x))))  # (B, H, W, hidden)
        return self.fc2(x)  # (B, H, W, D)
