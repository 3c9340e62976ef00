"""A learned filter as large as the map, applied in the Fourier domain (GFNet: Rao et al. 2021, arXiv:2107.00645)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm


def filter_weight(weight: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A filter by its frequencies, (h, w//2+1, D, 2) -> (h', w'//2+1, D, 2), that stays the same convolution.

    Its kernel of h×w places gets zeros around it, or loses its rim, until it is as large as the new map.
    """
    if old == new:
        return weight
    kernel = torch.fft.irfft2(torch.view_as_complex(weight.float()), s=old, dim=(0, 1))  # (h, w, D)
    kernel = torch.fft.fftshift(kernel, dim=(0, 1))  # its middle now lies at (h//2, w//2)
    before = [n // 2 - o // 2 for o, n in zip(old, new)]
    after = [n - o - b for o, n, b in zip(old, new, before)]
    kernel = F.pad(kernel, (0, 0, before[1], after[1], before[0], after[0]))  # (h', w', D)
    spectrum = torch.fft.rfft2(torch.fft.ifftshift(kernel, dim=(0, 1)), dim=(0, 1))  # (h', w'//2+1, D)
    return torch.view_as_real(spectrum).to(weight.dtype)


class GlobalFilter(nn.Module):
    """Fourier transform, product with a learned complex number for each frequency and channel, and back: (B, H, W, D).

    The same as a convolution, around the edges, with a kernel of H×W for each channel, at HW log(HW) cost (section 3.2
    of the paper). Of a real map's frequencies one half tells all, W' = W//2 + 1 of the columns: the rest are conjugates.

    Args:
        dim: D.
        grid: (H, W). The weights belong to its frequencies.
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        # Real and imaginary parts as the last axis: optimisers and files then see real numbers.
        self.weight = nn.Parameter(torch.randn(grid[0], grid[1] // 2 + 1, dim, 2) * 0.02)  # (H, W', D, 2)

    def resized(self, name: str, weight: Tensor, trained: "GlobalFilter | None" = None) -> Tensor:
        """The filter of another map for this one."""
        return filter_weight(weight, trained.grid, self.grid) if name == "weight" and trained is not None else weight

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(self.weight.dtype, torch.float32)  # there are no complex numbers of half precision
        spectrum = torch.fft.rfft2(x.to(wide), dim=(1, 2), norm="ortho")  # (B, H, W', D), complex
        spectrum = spectrum * torch.view_as_complex(self.weight.to(wide).contiguous())
        return torch.fft.irfft2(spectrum, s=self.grid, dim=(1, 2), norm="ortho").to(self.weight.dtype)  # (B, H, W, D)


class FilterMLP(nn.Module):
    """GFNet's block is one step: filter, norm, MLP, with one path around them all; tokens (B, N, D) to the same.

    Args:
        dim: D.
        grid: (h, w) with N = h*w.
        mlp_ratio: width of the MLP's hidden layer, in units of D.
        eps: of the norm.
    """

    def __init__(self, dim: int, grid: tuple[int, int], mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.grid = grid
        self.filter = GlobalFilter(dim, grid)
        self.norm = LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_ratio=mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        y = self.filter(x.unflatten(1, self.grid)).flatten(1, 2)  # (B, h, w, D), then (B, N, D)
        return self.mlp(self.norm(y))
