"""Heads: from the last features to logits (B, num_classes)."""

import torch
from torch import Tensor, nn

from course.models.norms import LayerNorm


def linear_or_nothing(dim: int, num_classes: int) -> nn.Module:
    """The last layer; with ``num_classes=0`` the pooled features (B, D) themselves come out."""
    return nn.Linear(dim, num_classes) if num_classes else nn.Identity()


class ClassTokenHead(nn.Module):
    """Norm, then a linear layer on the class token (B, N, D) -> (B, num_classes) (arXiv:2010.11929, equation 4)."""

    def __init__(self, dim: int, num_classes: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, eps=eps)
        self.fc = linear_or_nothing(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x[:, 0]))  # one token is all that is read


class MeanHead(nn.Module):
    """The mean over all positions, normed before or after, then a linear layer (B, ..., D) -> (B, num_classes).

    Args:
        norm_first: norm each position and then average (Mixer, Swin), or average and then norm (ConvNeXt).
        norm: class of the norm; None: no norm.
        eps: of the norm; None: what its class has by itself.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        norm: type | None = LayerNorm,
        eps: float | None = None,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        settings = {} if eps is None else {"eps": eps}
        self.norm = norm(dim, **settings) if norm else nn.Identity()
        self.fc = linear_or_nothing(dim, num_classes)
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = self.norm(x)
        x = x.flatten(1, -2).mean(dim=1)  # (B, D)
        if not self.norm_first:
            x = self.norm(x)
        return self.fc(x)


class DistilledHead(nn.Module):
    """Two linear layers, on the class token and on the distillation token (DeiT: arXiv:2012.12877, section 3).

    ``forward`` gives their mean (B, num_classes), as at test time; ``both`` gives the pair that training compares
    with the label and with the teacher, and so does ``forward`` in training while `gives_both` is set.
    """

    gives_both = False

    def __init__(self, dim: int, num_classes: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, eps=eps)
        self.fc = linear_or_nothing(dim, num_classes)
        self.fc_distilled = linear_or_nothing(dim, num_classes)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x[:, :2])  # (B, 2, D)
        return self.fc(x[:, 0]), self.fc_distilled(x[:, 1])

    def forward(self, x: Tensor) -> Tensor:
        if self.gives_both and self.training:
            return self.both(x)
        return torch.stack(self.both(x)).mean(dim=0)
