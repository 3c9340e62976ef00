"""Stems: from images (B, C, H, W) to a first map of tokens (B, h, w, D)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.norms import LayerNorm


def divided(size: tuple[int, int], patch_size: int, what: str = "an image") -> tuple[int, int]:
    """How many patches fit along each side.

    Raises:
        ValueError: the patches do not divide the image; the message names the nearest sizes that fit.
    """
    height, width = size
    if height % patch_size or width % patch_size or min(size) < patch_size:
        wrong = sorted({side for side in size if side % patch_size or side < patch_size})
        fits = sorted({n * patch_size for side in wrong for n in (max(side // patch_size, 1), -(-side // patch_size))})
        which = f"{fits[0]} fits" if len(fits) == 1 else f"{', '.join(map(str, fits[:-1]))} and {fits[-1]} fit"
        small = "the images are too small for this network: " if min(size) < patch_size else ""
        raise ValueError(
            f"{small}{what} of {height}×{width} is not divided by patches of {patch_size}×{patch_size}: {which}"
        )
    return height // patch_size, width // patch_size


class PatchEmbed(nn.Module):
    """Cut the image into patches and map each linearly to D channels, (B, C, H, W) -> (B, H/P, W/P, D).

    A convolution whose kernel is as long as its stride is that linear map (Dosovitskiy et al. 2021,
    arXiv:2010.11929, equation 1).

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        in_chans: C.
        patch_size: P, in pixels.
        norm: whether a layer norm follows (Swin).
        eps: of that norm.

    Raises:
        ValueError: P does not divide the image.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        in_chans: int = 3,
        patch_size: int = 16,
        norm: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.grid = divided(img_size, patch_size)
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = LayerNorm(dim, eps=eps) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        # A convolution keeps the order in memory: without the copy all maps to come would lie there channels first.
        return self.norm(self.proj(images).permute(0, 2, 3, 1).contiguous())  # (B, h, w, D)


class Tokens(nn.Module):
    """From a map to a sequence, (B, h, w, D) -> (B, n + h*w, D): n class tokens in front, positions added.

    Args:
        dim: D.
        grid: (h, w).
        class_tokens: n, learned tokens that do not depend on the image (ViT: 1; distilled DeiT: 2).
        position: "learned", "sinusoidal" (fixed, half of the channels for each axis), "sequence" (fixed, of the place in
            the row of all tokens, as in a text) or None.
        position_on_class: whether the class tokens have learned positions too (DeiT III: no).
    """

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int],
        class_tokens: int = 1,
        position: str | None = "learned",
        position_on_class: bool = True,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.class_tokens = nn.Parameter(torch.randn(class_tokens, dim) * 0.02) if class_tokens else None
        self.position_on_class = position_on_class
        if position == "learned":
            rows = grid[0] * grid[1] + (class_tokens if position_on_class else 0)
            self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, dim), std=0.02))
        elif position == "sinusoidal":
            rows = torch.zeros(class_tokens if position_on_class else 0, dim)
            self.register_buffer("position", torch.cat([rows, sinusoidal_2d(grid, dim)]), persistent=False)
        elif position == "sequence":
            rows = grid[0] * grid[1] + (class_tokens if position_on_class else 0)
            self.register_buffer("position", sinusoidal(torch.arange(rows), dim), persistent=False)
        elif position is None:
            self.position = None
        else:
            raise ValueError(f"position is 'learned', 'sinusoidal', 'sequence' or None, and not {position!r}")

    def resized(self, name: str, weight: Tensor, trained: "Tokens | None" = None) -> Tensor:
        """Learned positions of another grid for this one. Of a public network's grid nothing is known: it is a square."""
        if name != "position":
            return weight
        if trained is not None:
            return resized_positions(weight, trained.grid, self.grid)
        rows = weight.flatten(0, -2)  # (n + N, D)
        n = len(self.position) - self.grid[0] * self.grid[1]
        side = round(max(len(rows) - n, 0) ** 0.5)
        return resized_positions(rows, (side, side), self.grid) if side and side**2 + n == len(rows) else weight

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)  # (B, h*w, D)
        if self.position is not None and not (self.position_on_class and self.class_tokens is not None):
            x = x + self.position
        if self.class_tokens is not None:
            x = torch.cat([self.class_tokens.expand(x.shape[0], -1, -1), x], dim=1)  # (B, n + h*w, D)
            if self.position is not None and self.position_on_class:
                x = x + self.position
        return x


def sinusoidal(positions: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """Sines and cosines of geometrically falling frequencies, (N,) -> (N, D), sine and cosine in turn.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5: channel 2i is sin(p / base^(2i/D)), channel 2i+1 its cosine.
    """
    if dim % 2:
        raise ValueError(f"sinusoidal positions need an even number of channels, and {dim} is odd")
    frequency = base ** (-torch.arange(0, dim, 2) / dim)  # (D/2,)
    angle = positions[:, None].float() * frequency  # (N, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (N, D)


def sinusoidal_2d(grid: tuple[int, int], dim: int) -> Tensor:
    """Half of the channels tell the row and half the column, (h*w, D)."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.cat([sinusoidal(rows.flatten(), dim // 2), sinusoidal(columns.flatten(), dim // 2)], dim=1)  # (h*w, D)


def resized_positions(position: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Learned positions for another grid, (n + h*w, D) -> (n + h'*w', D): bicubic with antialiasing.

    The first n rows, those of the class tokens, stay (Dosovitskiy et al. 2021, section 3.2, fine-tuning).
    """
    if old == new:
        return position
    n = len(position) - old[0] * old[1]
    classes, patches = position[:n], position[n:]
    image = patches.reshape(1, *old, -1).permute(0, 3, 1, 2).float()  # (1, D, h, w)
    image = F.interpolate(image, size=new, mode="bicubic", antialias=True)  # (1, D, h', w')
    return torch.cat([classes, image.flatten(2)[0].T.to(position.dtype)])  # (n + h'*w', D)
