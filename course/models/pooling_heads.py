"""Heads that learn which positions to read: tokens (B, N, D) to logits (B, num_classes)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.heads import linear_or_nothing
from course.models.norms import LayerNorm
from course.models.token_mixers.attention import head_width
from course.models.token_mixers.class_attention import ClassAttention, OnClassToken


class ClassAttentionHead(nn.Module):
    """A class token that joins only here, and blocks in which only it changes (CaiT: arXiv:2103.17239, section 3).

    Args:
        dim: D.
        num_heads, mlp_ratio: of these blocks.
        class_depth: how many blocks.
        class_layer_scale: first value of their LayerScale.
        eps: of all norms.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        class_depth: int = 2,
        class_layer_scale: float = 1e-5,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, dim) * 0.02)

        def half(branch: nn.Module) -> Residual:
            return Residual(branch, norm=LayerNorm(dim, eps=eps), dim=dim, layer_scale=class_layer_scale)

        self.blocks = nn.Sequential(
            *[
                Block(half(ClassAttention(dim, num_heads)), half(OnClassToken(MLP(dim, mlp_ratio))))
                for _ in range(class_depth)
            ]
        )
        self.norm = LayerNorm(dim, eps=eps)
        self.fc = linear_or_nothing(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + N, D)
        x = self.blocks(x)
        return self.fc(self.norm(x[:, 0]))


class MAPHead(nn.Module):
    """Multi-head attention pooling: one learned query reads the normed tokens, then a residual MLP.

    Lee et al. 2019, arXiv:1810.00825 (pooling by multi-head attention); as a head of ViT: Zhai et al. 2022,
    arXiv:2106.04560.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.
        mlp_ratio: of the MLP.
        eps: of both norms.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(
        self, dim: int, num_classes: int, num_heads: int = 8, mlp_ratio: float = 4.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.norm = LayerNorm(dim, eps=eps)
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, dim), std=dim**-0.5))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.mlp = Residual(MLP(dim, mlp_ratio), norm=LayerNorm(dim, eps=eps))
        self.fc = linear_or_nothing(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        q = rearrange(self.q(self.query), "one (h d) -> h one d", h=self.num_heads)
        q = q.expand(x.shape[0], -1, -1, -1)  # (B, h, 1, d), the same for each image
        k, v = rearrange(self.kv(self.norm(x)), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, 1, d)
        y = self.proj(rearrange(y, "b h one d -> b (one h d)"))
        return self.fc(self.mlp(y))


class SequencePoolHead(nn.Module):
    """A mean of the normed tokens, weighted by softmax of a learned score (CCT: Hassani et al. 2021, arXiv:2104.05704)."""

    def __init__(self, dim: int, num_classes: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, eps=eps)
        self.score = nn.Linear(dim, 1)
        self.fc = linear_or_nothing(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        weights = self.score(x).softmax(dim=1)  # (B, N, 1), summing to 1 over the tokens
        return self.fc((weights.transpose(1, 2) @ x)[:, 0])  # (B, 1, N) times (B, N, D)
