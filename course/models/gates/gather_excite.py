"""Gather-excite (Hu et al. 2018, arXiv:1810.12348), with an extent as large as the map."""

from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv


class GatherExcite(nn.Module):
    """A factor for each channel, from all places: ``x * sigmoid(excite(gather(x)))``, (B, H, W, D) -> (B, H, W, D).

    Three members of the family: GE-θ⁻ gathers the mean and has no parameters; GE-θ gathers with a weight for each
    channel and place; GE-θ⁺ then also mixes the channels, as squeeze-and-excitation does.

    Args:
        dim: D.
        grid: (H, W); the weights of ``gather="conv"`` belong to it.
        gather: "mean", or "conv": a depthwise convolution as large as the map, and a batch norm.
        excite: whether two layers mix the channels. That a batch norm stands between them is known from the number
            of parameters of the authors' network.
        reduction: the hidden layer has D / reduction units.
    """

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int] | None = None,
        gather: str = "mean",
        excite: bool = False,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        self.conv = self.norm = None
        if gather == "conv":
            self.one_map = "conv.weight"  # belongs to the places of one map, and cannot be resized
            self.conv = Conv(dim, dim, grid, groups=dim, bias=False)
            self.norm = BatchNorm(dim)
        elif gather != "mean":
            raise ValueError(f"gather is 'mean' or 'conv', and not {gather!r}")
        self.excite = nn.Identity()
        if excite:
            self.excite = nn.Sequential(
                Conv(dim, dim // reduction, 1, bias=False),
                BatchNorm(dim // reduction),
                nn.ReLU(),
                Conv(dim // reduction, dim, 1),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is None:
            gathered = x.mean(dim=(1, 2), keepdim=True)  # (B, 1, 1, D)
        else:
            gathered = self.norm(self.conv(x))  # (B, 1, 1, D)
        return x * self.excite(gathered).sigmoid()
