"""Three branches weighed against each other, channel by channel (split attention: Zhang et al. 2020, arXiv:2004.08955)."""

from einops import rearrange
from torch import Tensor, nn


class SplitAttention(nn.Module):
    """Three maps (B, H, W, D) -> their weighted sum (B, H, W, D); the weights of a channel add up to 1 over the branches.

    An MLP on what the whole map holds, as one vector (B, D), gives 3D scores; the softmax is over the three branches.

    Args:
        dim: D.
        hidden_ratio: width of the MLP's hidden layer, in units of D.
        bias: whether the MLP has biases.
        pooling: what makes the vector out of all positions: "mean" (Vision Permutator) or "sum" (S²-MLPv2).
    """

    def __init__(self, dim: int, hidden_ratio: float = 0.25, bias: bool = True, pooling: str = "mean") -> None:
        super().__init__()
        if pooling not in ("mean", "sum"):
            raise ValueError(f"pooling is 'mean' or 'sum', and not {pooling!r}")
        hidden = int(dim * hidden_ratio)
        self.pooling = pooling
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, 3 * dim, bias=bias)

    def weights(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        """How much of each branch is taken, (B, 3, D)."""
        pooled = x1.mean(dim=(1, 2)) + x2.mean(dim=(1, 2)) + x3.mean(dim=(1, 2))  # (B, D)
        if self.pooling == "sum":
            pooled = pooled * (x1.shape[1] * x1.shape[2])
        scores = self.fc2(self.act(self.fc1(pooled)))  # (B, 3D)
        return scores.unflatten(1, (3, -1)).softmax(dim=1)  # (B, 3, D)

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        a1, a2, a3 = self.weights(x1, x2, x3)[:, :, None, None].unbind(dim=1)  # (B, 1, 1, D) each
        return x1 * a1 + x2 * a2 + x3 * a3


def branch_by_branch(scores: Tensor) -> Tensor:
    """Rows of a public last layer in our order, for tables of names: (3D, ...) -> (3D, ...).

    Vision Permutator and CycleMLP keep the three scores of a channel together; here the D scores of a branch are.
    """
    return rearrange(scores, "(d three) ... -> (three d) ...", three=3)
