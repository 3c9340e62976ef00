"""Attention that starts as a convolution (ConViT: d'Ascoli et al. 2021, arXiv:2103.10697, section 3)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


class GatedPositionalAttention(nn.Module):
    """Each head weighs what the tokens contain against where they lie, (B, N, D) -> (B, N, D).

    The weights of a head are (1 - σ(g)) softmax(q kᵀ / √d) + σ(g) softmax(u · r), with a learned gate g, and with
    r = (Δx, Δy, Δx² + Δy²) for each pair of tokens. Both summands sum to 1 over the keys, and so does the whole.

    As made, each head looks at one displacement of its own, -1, 0 or 1 along each axis with nine heads: together they
    are a convolution with a 3×3 kernel.

    Args:
        dim: D.
        grid: (h, w) with N = h*w: no class token.
        num_heads: a square number; each head has width d = D over it.

    Raises:
        ValueError: the heads do not divide D, or are no square number.
    """

    def __init__(self, dim: int, grid: tuple[int, int], num_heads: int = 9) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.position = nn.Linear(3, num_heads)
        self.gate = nn.Parameter(torch.ones(num_heads))
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("displacements", displacements(grid), persistent=False)  # (N, N, 3)
        with torch.no_grad():
            self.v.weight.copy_(torch.eye(dim))
            self.position.weight.copy_(kernel_of_heads(num_heads))
            self.position.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        q, k = rearrange(self.qk(x), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        v = rearrange(self.v(x), "b n (h d) -> b h n d", h=self.num_heads)
        content = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)  # (B, h, N, N)
        place = rearrange(self.position(self.displacements), "n m h -> h n m").softmax(
            dim=-1
        )  # the same for each image
        gate = self.gate.sigmoid()[:, None, None]  # (h, 1, 1)
        y = ((1 - gate) * content + gate * place) @ v  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))


def displacements(grid: tuple[int, int]) -> Tensor:
    """(Δx, Δy, Δx² + Δy²) from each query to each key, (N, N, 3)."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    dx = (columns.flatten() - columns.flatten()[:, None]).float()  # (N, N)
    dy = (rows.flatten() - rows.flatten()[:, None]).float()  # (N, N)
    return torch.stack([dx, dy, dx**2 + dy**2], dim=-1)  # (N, N, 3)


def kernel_of_heads(num_heads: int) -> Tensor:
    """Weights u of each head's position score, (h, 3): the score 2aΔx + 2bΔy - Δx² - Δy² is largest at (a, b).

    The (a, b) are the places of a square kernel, column by column, with (0, 0) in its middle.

    Raises:
        ValueError: the heads fill no square.
    """
    side = int(num_heads**0.5)
    if side**2 != num_heads:
        raise ValueError(f"{num_heads} heads fill no square kernel: {side**2} and {(side + 1) ** 2} do")
    place = torch.arange(side) - (side - 1) / 2  # (side,)
    a, b = torch.meshgrid(place, place, indexing="ij")
    return torch.stack([2 * a.flatten(), 2 * b.flatten(), -torch.ones(num_heads)], dim=1)  # (h, 3)
