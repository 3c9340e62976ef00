"""Softmax attention by random features, at linear cost (Performer: Choromanski et al. 2021, arXiv:2009.14794)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


def orthogonal_features(num_features: int, width: int, seed: int) -> Tensor:
    """Random directions, (m, d): each distributed as a normal vector, and in blocks of d at right angles.

    Right angles make the estimate vary less and leave it right on average (section 2.4).
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-num_features // width)
    square = torch.randn(blocks, width, width, generator=generator, device="cpu")
    # The signs make Q uniform over the rotations and not as the algorithm happens to choose.
    q, r = torch.linalg.qr(square)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    directions = q.mT.flatten(0, 1)[:num_features]  # (m, d), unit vectors
    lengths = torch.randn(num_features, width, generator=generator, device="cpu").norm(dim=1)  # (m,)
    return directions * lengths[:, None]


def log_features(x: Tensor, features: Tensor) -> Tensor:
    """log φ(x)_i = ω_i·x - |x|²/2, (B, h, N, d) -> (B, h, N, m): the mean of φ(q)_i φ(k)_i is exp(q·k) (lemma 1)."""
    return x @ features.T - x.square().sum(dim=-1, keepdim=True) / 2


class PerformerAttention(nn.Module):
    """FAVOR+: φ(q) (Σ_n φ(k_n)ᵀ v_n) / φ(q) Σ_n φ(k_n), (B, N, D) -> (B, N, D); cost N*m*d and not N²*d.

    Attention with the kernel φ(q)·φ(k) in place of exp(q·k/√d), with positive random features (equation 5). The sums
    over the keys are made once, and no N×N matrix ever exists.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.
        num_features: m.
        index: the block's number: every block draws its own features. They are part of the weights.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, num_heads: int = 8, num_features: int = 256, index: int = 0) -> None:
        super().__init__()
        width = head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        drawn = orthogonal_features(num_features, width, index)
        self.register_buffer("features", torch.empty(num_features, width).copy_(drawn))  # (m, d), where the weights are

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        scale = (x.shape[-1] // self.num_heads) ** -0.25  # twice: 1/√d
        q, k = log_features(qkv[0] * scale, self.features), log_features(qkv[1] * scale, self.features)  # (B, h, N, m)
        # A factor for each feature may go from φ(k) to φ(q), and one for each query cancels. With these two the
        # largest term of every denominator is at least 1, and nothing is too large or too small for the exponential.
        largest = k.detach().amax(dim=-2, keepdim=True)  # (B, h, 1, m)
        k = (k - largest).exp()
        q = q + largest
        q = (q - q.detach().amax(dim=-1, keepdim=True)).exp()
        y = q @ (k.mT @ qkv[2])  # (B, h, N, d), by way of (B, h, m, d)
        y = y / (q @ k.sum(dim=-2, keepdim=True).mT)  # (B, h, N, 1) below
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))
