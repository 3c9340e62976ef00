"""The stem of T2T-ViT (Yuan et al. 2021, arXiv:2101.11986, section 3.1): neighbouring tokens are merged, twice."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.stems import divided
from course.models.token_mixers.performer import log_features, orthogonal_features


def soft_split(x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
    """All windows of a map, overlapping, each as one token: (B, H, W, D) -> (B, h*w, k²D), channel by channel."""
    windows = F.unfold(x.permute(0, 3, 1, 2), kernel_size, stride=stride, padding=padding)  # (B, k²D, h*w)
    return windows.transpose(1, 2)  # (B, h*w, k²D)


class TokenPerformer(nn.Module):
    """A narrow Transformer block with Performer's attention, (B, N, D') -> (B, N, D), as the authors' code has it.

    One head; the path around the attention is that of the values, for the tokens that come in are wider. Queries and
    keys are not divided by √d, the random directions all have the length √m, and 1e-8 keeps the denominator from 0.

    Args:
        in_dim, dim: D' and D.
        num_features: m.
        seed: of the random directions, which are part of the weights and are not trained.
    """

    def __init__(self, in_dim: int, dim: int, num_features: int, seed: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(in_dim, eps=1e-5)
        self.kqv = nn.Linear(in_dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = LayerNorm(dim, eps=1e-5)
        self.mlp = MLP(dim, mlp_ratio=1)
        drawn = F.normalize(orthogonal_features(num_features, dim, seed), dim=1) * num_features**0.5
        self.register_buffer("features", torch.empty(num_features, dim).copy_(drawn))  # (m, D), where the weights are

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = self.kqv(self.norm1(x)).chunk(3, dim=-1)  # (B, N, D), three times
        k, q = log_features(k, self.features).exp(), log_features(q, self.features).exp()  # (B, N, m)
        m = len(self.features)
        y = q @ (k.mT @ v) / m  # (B, N, D), by way of (B, m, D)
        weight = q @ k.sum(dim=1, keepdim=True).mT / m  # (B, N, 1), the sum over all keys
        x = v + self.proj(y / (weight + 1e-8))
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    """Windows of pixels, a narrow block, windows of tokens, a block, windows, a linear layer: (B, C, H, W) -> (B, h, w, D).

    Windows of 7×7, 4 apart, and twice of 3×3, 2 apart: tokens are 16 pixels apart in the end, and see their neighbours'
    pixels.

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        in_chans: C.
        token_dim: width of the two blocks; half as many random features.

    Raises:
        ValueError: 16 does not divide the image.
    """

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3, token_dim: int = 64) -> None:
        super().__init__()
        self.grid = divided(img_size, 16)
        self.attention1 = TokenPerformer(in_chans * 7 * 7, token_dim, token_dim // 2, seed=0)
        self.attention2 = TokenPerformer(token_dim * 3 * 3, token_dim, token_dim // 2, seed=1)
        self.project = nn.Linear(token_dim * 3 * 3, dim)

    def forward(self, images: Tensor) -> Tensor:
        h, w = self.grid
        x = self.attention1(soft_split(images.permute(0, 2, 3, 1), 7, stride=4, padding=2))  # (B, H/4 * W/4, d)
        x = self.attention2(soft_split(x.unflatten(1, (4 * h, 4 * w)), 3, stride=2, padding=1))  # (B, H/8 * W/8, d)
        x = soft_split(x.unflatten(1, (2 * h, 2 * w)), 3, stride=2, padding=1)  # (B, h*w, 9d)
        return self.project(x).unflatten(1, self.grid)  # (B, h, w, D)
