"""The two-layer perceptron of a Transformer's block."""

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear, activation, linear, on each position for itself: (B, ..., D) -> (B, ..., D).

    Vaswani et al. 2017, arXiv:1706.03762, equation 2, with GELU for ReLU.

    Args:
        dim: D.
        mlp_ratio: width of the hidden layer, in units of D.
        act: class of the activation; ``nn.GELU`` is the exact one, x times the normal distribution function.
        bias: of both layers.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, act: type = nn.GELU, bias: bool = True) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.act = act()
        self.fc2 = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # (B, ..., hidden), then (B, ..., D)
