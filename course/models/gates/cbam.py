"""Convolutional block attention module (Woo et al. 2018, arXiv:1807.06521)."""

import torch
from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv


class CBAM(nn.Module):
    """A factor for each channel, then a factor for each place: (B, H, W, D) -> (B, H, W, D), equation 1.

    Channels: one MLP on their means and on their maxima, and the sigmoid of the sum (equation 2). Places: a 7×7
    convolution of the mean and the maximum over the channels, and its sigmoid (equation 3).

    Args:
        dim: D.
        reduction: the hidden layer has D / reduction units.
        kernel_size: of the spatial convolution.
    """

    def __init__(self, dim: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim // reduction)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(dim // reduction, dim)
        self.conv = Conv(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1)

    def channel(self, x: Tensor) -> Tensor:
        """(B, H, W, D) -> (B, 1, 1, D), from 0 to 1."""
        both = torch.stack([x.mean(dim=(1, 2)), x.amax(dim=(1, 2))])  # (2, B, D)
        return self.fc2(self.act(self.fc1(both))).sum(dim=0).sigmoid()[:, None, None]  # (B, 1, 1, D)

    def spatial(self, x: Tensor) -> Tensor:
        """(B, H, W, D) -> (B, H, W, 1), from 0 to 1."""
        both = torch.cat([x.mean(dim=-1, keepdim=True), x.amax(dim=-1, keepdim=True)], dim=-1)  # (B, H, W, 2)
        return self.norm(self.conv(both)).sigmoid()  # (B, H, W, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        return x * self.spatial(x)
