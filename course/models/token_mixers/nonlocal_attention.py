"""Attention beside convolutions: the non-local block (Wang et al. 2018, arXiv:1711.07971)."""

from torch import Tensor, nn

from course.models.norms import BatchNorm


class NonLocal(nn.Module):
    """``x + norm(W_z softmax(θ(x) φ(x)ᵀ) g(x))``, (B, H, W, D) -> (B, H, W, D): every place sees every other.

    Equations 1 and 6 with the embedded Gaussian (equation 4), which is self-attention with one head and without 1/√d.
    The norm begins as 0, so that the block can be put into a trained network without changing it (section 4.1).

    Args:
        dim: D.
        reduction: θ, φ and g map to D / reduction channels.
    """

    def __init__(self, dim: int, reduction: int = 2) -> None:
        super().__init__()
        hidden = dim // reduction
        self.theta = nn.Linear(dim, hidden)
        self.phi = nn.Linear(dim, hidden)
        self.g = nn.Linear(dim, hidden)
        self.proj = nn.Linear(hidden, dim)
        self.norm = BatchNorm(dim)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)  # (B, N, D)
        theta, phi, g = self.theta(tokens), self.phi(tokens), self.g(tokens)  # (B, N, D/2) each
        scores = theta @ phi.transpose(1, 2)  # (B, N, N)
        y = self.proj(scores.softmax(dim=-1) @ g)  # (B, N, D)
        return x + self.norm(y.view(x.shape))  # (B, H, W, D)
