"""A perceptron with batch norms behind its layers."""

from torch import Tensor, nn

from course.models.norms import BatchNorm


class BatchNormedMLP(nn.Module):
    """Linear, batch norm, GELU, linear, batch norm: (B, H, W, D) -> (B, H, W, D).

    EfficientFormer (Li et al. 2022, arXiv:2206.01191) puts 1×1 convolution and batch norm for layer norm and linear
    layer: after training such a norm is a fixed scale and shift, which the layer before it can take over.

    Args:
        dim: D.
        mlp_ratio: width of the hidden layer, in units of D.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden)  # on a map whose channels come last, a 1×1 convolution
        self.norm1 = BatchNorm(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.norm2 = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.fc1(x)))  # (B, H, W, hidden)
        return self.norm2(self.fc2(x))  # (B, H, W, D)
