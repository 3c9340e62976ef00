"""An MLP across positions, the same for every channel (MLP-Mixer: Tolstikhin et al. 2021, arXiv:2105.01601)."""

from torch import Tensor, nn


class TokenMLP(nn.Module):
    """Linear, GELU, linear along the tokens: (B, N, D) -> (B, N, D), equation 1 of the paper.

    Args:
        dim: D; only the hidden width follows it.
        grid: (h, w) with N = h*w. The weights belong to N: another image size needs another network.
        token_ratio: width of the hidden layer, in units of D (not of N).
    """

    def __init__(self, dim: int, grid: tuple[int, int], token_ratio: float = 0.5) -> None:
        super().__init__()
        tokens, hidden = grid[0] * grid[1], int(dim * token_ratio)
        self.fc1 = nn.Linear(tokens, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)  # (B, D, N): a linear layer now acts along the tokens
        return self.fc2(self.act(self.fc1(y))).transpose(1, 2)  # (B, N, D)
