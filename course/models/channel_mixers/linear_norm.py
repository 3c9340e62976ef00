"""LeViT's linear layers, which carry the norm themselves (Graham et al. 2021, arXiv:2104.01136)."""

from torch import Tensor, nn

from course.models.norms import BatchNorm


class LinearNorm(nn.Module):
    """A linear layer without bias, then batch norm: (B, H, W, D) -> (B, H, W, D').

    For use after training the two can be merged into one linear layer; a layer norm could not.

    Args:
        init: first value of the norm's scale; 0 where a branch of a residual ends, which is then nothing at first.
    """

    def __init__(self, in_dim: int, dim: int, init: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, dim, bias=False)
        self.norm = BatchNorm(dim)
        nn.init.constant_(self.norm.weight, init)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))  # (B, H, W, D')


class LinearNormMLP(nn.Module):
    """Two such layers with an activation between them, (B, H, W, D) -> (B, H, W, D).

    Args:
        dim: D.
        mlp_ratio: width of the hidden layer, in units of D; LeViT has 2 to spend no more on it than on attention.
        act: class of the activation.
    """

    def __init__(self, dim: int, mlp_ratio: float = 2.0, act: type = nn.Hardswish) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.fc1 = LinearNorm(dim, hidden)
        self.act = act()
        self.fc2 = LinearNorm(hidden, dim, init=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # (B, H, W, hidden), then (B, H, W, D)
