"""Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507)."""

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """A factor for each channel, computed from the means of all channels: (B, H, W, D) -> (B, H, W, D).

    Squeeze: the mean of each channel (equation 2). Excite: ``sigmoid(W2 relu(W1 z))`` (equation 3). Scale (equation 4).

    Args:
        dim: D.
        reduction: the hidden layer has D / reduction units.
        act: class of the activation between the two layers (mobile networks: SiLU).
        hidden: units of the hidden layer, where they do not follow from D.
    """

    def __init__(self, dim: int, reduction: int = 16, act: type = nn.ReLU, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or dim // reduction
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean(dim=(1, 2))  # (B, D)
        s = self.fc2(self.act(self.fc1(z))).sigmoid()
        return x * s[:, None, None]  # (B, 1, 1, D) times the map
