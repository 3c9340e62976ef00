"""gMLP's block: an MLP whose hidden layer is gated by what other positions hold (Liu et al. 2021, arXiv:2105.08050)."""

from torch import Tensor, nn

from course.models.norms import LayerNorm
from course.models.token_mixers.token_mlp import along_tokens


class SpatialGatingUnit(nn.Module):
    """One half of the channels times a linear map, along the tokens, of the other: (B, N, E) -> (B, N, E/2).

    z = (u, v) -> u ⊙ (W norm(v) + b) with W of N×N (section 2.1, equations 2 to 4). W begins near 0 and b at 1, so
    that a fresh unit passes u on and the block is an MLP on each position for itself.

    Args:
        dim: E/2, the channels of each half.
        num_tokens: N.
    """

    one_map = "proj.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(self, dim: int, num_tokens: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, eps=eps)
        self.proj = nn.Linear(num_tokens, num_tokens)
        nn.init.normal_(self.proj.weight, std=1e-6)
        nn.init.ones_(self.proj.bias)

    def forward(self, z: Tensor) -> Tensor:
        u, v = z.chunk(2, dim=-1)  # (B, N, E/2) each
        return u * along_tokens(self.proj, self.norm(v))  # (B, N, E/2)


class SpatialGating(nn.Module):
    """Linear, GELU, spatial gating unit, linear: (B, N, D) -> (B, N, D), equation 1. It mixes tokens and channels at once.

    Args:
        dim: D.
        grid: (h, w) with N = h*w. The weights belong to N: another image size needs another network.
        mlp_ratio: width E of the hidden layer before it is halved, in units of D.

    Raises:
        ValueError: the hidden layer cannot be halved.
    """

    def __init__(self, dim: int, grid: tuple[int, int], mlp_ratio: float = 6.0) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        if hidden % 2:
            raise ValueError(
                f"a hidden layer of {dim} × {mlp_ratio:g} = {hidden} cannot be halved: with an even mlp_ratio it can"
            )
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.gate = SpatialGatingUnit(hidden // 2, grid[0] * grid[1])
        self.fc2 = nn.Linear(hidden // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.gate(self.act(self.fc1(x))))  # (B, N, E), (B, N, E/2), (B, N, D)
