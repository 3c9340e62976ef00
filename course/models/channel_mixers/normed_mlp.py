"""Channel mixers of convolutional networks, with batch norm between the layers."""

from torch import Tensor, nn

from course.models.norms import BatchNorm


class PointwiseConv(nn.Module):
    """One linear layer on each position, activation, batch norm, with no path around it (ConvMixer: arXiv:2201.09792)."""

    residual = False

    def __init__(self, dim: int, act: type = nn.GELU) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.act = act()
        self.norm = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(self.fc(x)))  # (B, H, W, D)


class BatchNormMLP(nn.Module):
    """Linear, batch norm, GELU, linear, batch norm (RepLKNet's ConvFFN: arXiv:2203.06717, section 4.1)."""

    def __init__(self, dim: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden, bias=False)
        self.norm1 = BatchNorm(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, bias=False)
        self.norm2 = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.fc2(self.act(self.norm1(self.fc1(x)))))  # (B, H, W, D)
