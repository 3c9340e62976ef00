"""Moving some channels by one position: a token mixer without weights and without arithmetic."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Shift(nn.Module):
    """A few channels step to the left, as many to the right, up and down; (B, H, W, D) -> (B, H, W, D).

    ShiftViT (Wang et al. 2022, arXiv:2201.10801). Of g = D // n channels each, the first group takes what stands one
    position further right, so that it moves to the left; the next ones move right, up and down. All others stay. What
    comes in from outside is 0, and what goes out is lost. Neither norm nor path around belong to it.

    Args:
        dim: D.
        n_div: n; 4/n of the channels move.

    Raises:
        ValueError: n is not between 4 and D.
    """

    residual = False

    def __init__(self, dim: int, n_div: int = 12) -> None:
        super().__init__()
        if not 4 <= n_div <= dim:
            raise ValueError(
                f"n_div is from 4, where all channels move, to {dim}, the number of channels, and not {n_div}"
            )
        group = dim // n_div
        self.groups = [group] * 4 + [dim - 4 * group]

    def forward(self, x: Tensor) -> Tensor:
        left, right, up, down, still = x.split(self.groups, dim=-1)  # (B, H, W, g), four times, and the rest
        # Padding by -1 cuts off: one column or row goes at one end, and zeros come in at the other.
        left = F.pad(left, (0, 0, -1, 1))
        right = F.pad(right, (0, 0, 1, -1))
        up = F.pad(up, (0, 0, 0, 0, -1, 1))
        down = F.pad(down, (0, 0, 0, 0, 1, -1))
        return torch.cat([left, right, up, down, still], dim=-1)  # (B, H, W, D)
