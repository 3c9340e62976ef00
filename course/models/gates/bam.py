"""Bottleneck attention module (Park et al. 2018, arXiv:1807.06514)."""

from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv


class BAM(nn.Module):
    """``x + x * sigmoid(channel(x) + spatial(x))``, a gate for each channel and place: (B, H, W, D) to the same.

    Equations 1 and 2. ``channel``: an MLP on the means of the channels (equation 3). ``spatial``: the map narrowed to
    D/r channels, and dilated convolutions that look far (equation 4).

    The layers are those of the authors' code, where a batch norm follows every layer but the last of each branch; the
    equations have one norm at the end of each instead. That code multiplies the branches; the paper adds them.

    Args:
        dim: D.
        reduction: r, in both branches.
        dilation: of the two 3×3 convolutions.
    """

    def __init__(self, dim: int, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        hidden = dim // reduction
        self.channel = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, dim),
        )
        self.spatial = nn.Sequential(
            Conv(dim, hidden, 1),
            BatchNorm(hidden),
            nn.ReLU(),
            Conv(hidden, hidden, 3, padding=dilation, dilation=dilation),
            BatchNorm(hidden),
            nn.ReLU(),
            Conv(hidden, hidden, 3, padding=dilation, dilation=dilation),
            BatchNorm(hidden),
            nn.ReLU(),
            Conv(hidden, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel(x.mean(dim=(1, 2)))[:, None, None]  # (B, 1, 1, D)
        return x + x * (channel + self.spatial(x)).sigmoid()  # (B, 1, 1, D) + (B, H, W, 1)
