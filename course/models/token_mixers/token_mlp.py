"""An MLP across positions, the same for every channel (MLP-Mixer: Tolstikhin et al. 2021, arXiv:2105.01601)."""

import torch
from torch import Tensor, nn


def along_tokens(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer from N tokens to M, the same for every channel: (B, N, D) -> (B, M, D).

    As ``linear(x.transpose(1, 2)).transpose(1, 2)``, without moving anything: W x + b for each image.
    """
    return torch.baddbmm(linear.bias[:, None], linear.weight.expand(x.shape[0], -1, -1), x)  # (M, 1) + (M, N)(B, N, D)


class TokenMLP(nn.Module):
    """Linear, GELU, linear along the tokens: (B, N, D) -> (B, N, D), equation 1 of the paper.

    Args:
        dim: D; only the hidden width follows it.
        grid: (h, w) with N = h*w. The weights belong to N: another image size needs another network.
        token_ratio: width of the hidden layer, in units of D (not of N).
    """

    one_map = "fc1.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(self, dim: int, grid: tuple[int, int], token_ratio: float = 0.5) -> None:
        super().__init__()
        tokens, hidden = grid[0] * grid[1], int(dim * token_ratio)
        self.fc1 = nn.Linear(tokens, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.act(along_tokens(self.fc1, x))  # (B, hidden, D)
        return along_tokens(self.fc2, hidden)  # (B, N, D)
