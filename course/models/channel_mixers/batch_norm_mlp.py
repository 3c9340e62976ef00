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
    """Linear, batch norm, GELU, linear, batch norm: (B, H, W, D) -> the same.

    RepLKNet's ConvFFN (arXiv:2203.06717, section 4.1); and EfficientFormer's (Li et al. 2022, arXiv:2206.01191), with
    biases: after training such a norm is a fixed scale and shift, which the layer before it can take over.

    Args:
        dim: D.
        mlp_ratio: width of the hidden layer, in units of D.
        bias: of both layers.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, bias: bool = False) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden, bias=bias)  # on a map whose channels come last, a 1×1 convolution
        self.norm1 = BatchNorm(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, bias=bias)
        self.norm2 = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.fc1(x)))  # (B, H, W, hidden)
        return self.norm2(self.fc2(x))  # (B, H, W, D)
