"""Perceiver (Jaegle et al. 2021, arXiv:2103.03206) and Perceiver IO (Jaegle et al. 2021, arXiv:2107.14795).

A small array of learned latents reads an input of any length by cross-attention, and all further work is done on the
latents: with L latents and M inputs a look at the input costs L*M and not M². Nothing in it knows that the input is
an image, except the positions beside the pixels.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.heads import MeanHead, linear_or_nothing
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.token_mixers.attention import SelfAttention, head_width


def fourier_features(grid: tuple[int, int], num_bands: int) -> Tensor:
    """Positions of a grid: the two coordinates, then their sines, then their cosines, (h*w, 2 + 4K).

    A coordinate p runs from -1 to 1; its features are sin(f π p) and cos(f π p) for K frequencies f, equally spaced
    from 1 to half the number of rows or columns, the highest that the grid can show (section 3.2).
    """
    sides = [torch.linspace(-1, 1, length) for length in grid]
    positions = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 1)  # (h*w, 2)
    frequencies = torch.stack([torch.linspace(1, length / 2, num_bands) for length in grid])  # (2, K)
    angles = math.pi * (positions[:, :, None] * frequencies).flatten(1)  # (h*w, 2K)
    return torch.cat([positions, angles.sin(), angles.cos()], dim=1)  # (h*w, 2 + 4K)


class PixelsWithPositions(nn.Module):
    """Every pixel is one input, its position beside its colour: (B, C, H, W) -> (B, H*W, C + 2 + 4K)."""

    def __init__(self, img_size: int | tuple[int, int], num_bands: int = 64) -> None:
        super().__init__()
        grid = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.register_buffer("position", fourier_features(grid, num_bands), persistent=False)  # (H*W, 2 + 4K)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2).transpose(1, 2)  # (B, H*W, C)
        return torch.cat([pixels, self.position.expand(images.shape[0], -1, -1)], dim=2)  # (B, H*W, C + 2 + 4K)


class CrossAttend(nn.Module):
    """Latents (B, L, D) read inputs (B, M, C), then pass an MLP, each with a residual: (B, L, D).

    Queries come from the latents, keys and values from the inputs. Those depend on the inputs alone, so that whoever
    reads the same inputs several times with the same weights makes them once: ``keys_values``, then ``forward``.

    Args:
        dim: D, of the latents.
        in_dim: C, of the inputs.
        num_heads: h.
        width: of queries, keys and values, all heads together. Default: C.
        mlp_ratio: hidden width of the MLP, in units of D.

    Raises:
        ValueError: h does not divide the width.
    """

    def __init__(
        self,
        dim: int,
        in_dim: int,
        num_heads: int = 1,
        width: int | None = None,
        mlp_ratio: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        width = in_dim if width is None else width
        head_width(width, num_heads)
        self.num_heads = num_heads
        self.norm = LayerNorm(dim, eps=eps)
        self.norm_inputs = LayerNorm(in_dim, eps=eps)
        self.q = nn.Linear(dim, width)
        self.kv = nn.Linear(in_dim, 2 * width)
        self.proj = nn.Linear(width, dim)
        self.channel_mixer = Residual(MLP(dim, mlp_ratio), norm=LayerNorm(dim, eps=eps))

    def keys_values(self, inputs: Tensor) -> Tensor:
        """(B, M, C) -> (2, B, h, M, d)."""
        return rearrange(self.kv(self.norm_inputs(inputs)), "b m (two h d) -> two b h m d", two=2, h=self.num_heads)

    def forward(self, latents: Tensor, keys_values: Tensor) -> Tensor:
        q = rearrange(self.q(self.norm(latents)), "b l (h d) -> b h l d", h=self.num_heads)
        y = F.scaled_dot_product_attention(q, *keys_values)  # (B, h, L, d)
        latents = latents + self.proj(rearrange(y, "b h l d -> b l (h d)"))  # (B, L, D)
        return self.channel_mixer(latents)


def latent_transformer(
    dim: int, depth: int, num_heads: int, mlp_ratio: float = 1.0, eps: float = 1e-5
) -> nn.Sequential:
    """Blocks of self-attention and MLP on the latents, (B, L, D) -> (B, L, D)."""

    def block() -> Block:
        return Block(
            Residual(SelfAttention(dim, num_heads), norm=LayerNorm(dim, eps=eps)),
            Residual(MLP(dim, mlp_ratio), norm=LayerNorm(dim, eps=eps)),
        )

    return nn.Sequential(*[block() for _ in range(depth)])


def learned_rows(count: int, dim: int) -> nn.Parameter:
    """Vectors that belong to no input, (count, D)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(count, dim), std=0.02))


class OnLatents(Model):
    """What the two share: pixels with positions, latents that read them by attention, a transformer on the latents.

    Args:
        num_latents, embed_dim: L and D.
        iterations: how often the latent transformer, always the same one, is applied.
        depth: blocks of the latent transformer.
        num_heads, cross_heads: h of the self-attention and of the cross-attends to the pixels.
        num_bands: K, frequencies of the positions for each axis.
        mlp_ratio: hidden width of each MLP, in units of D.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        num_latents: int = 512,
        embed_dim: int = 1024,
        iterations: int = 8,
        depth: int = 6,
        num_heads: int = 8,
        cross_heads: int = 1,
        num_bands: int = 64,
        mlp_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        in_dim = in_chans + 2 + 4 * num_bands
        self.iterations = iterations
        self.num_features = embed_dim
        self.inputs = PixelsWithPositions(img_size, num_bands)
        self.latents = learned_rows(num_latents, embed_dim)
        self.add_layers(
            num_classes,
            read_pixels=partial(CrossAttend, embed_dim, in_dim, cross_heads, mlp_ratio=mlp_ratio),
            read_latents=partial(CrossAttend, embed_dim, embed_dim, mlp_ratio=mlp_ratio),
            transform=partial(latent_transformer, embed_dim, depth, num_heads, mlp_ratio),
        )

    def add_layers(
        self,
        num_classes: int,
        read_pixels: Callable[[], CrossAttend],
        read_latents: Callable[[], CrossAttend],
        transform: Callable[[], nn.Sequential],
    ) -> None:
        """The layers in the order in which they are used, of what the three functions make."""
        raise NotImplementedError


class Perceiver(OnLatents):
    """Look at the pixels, think, look again: images (B, C, H, W) -> logits (B, num_classes).

    Each iteration is one cross-attend and one latent transformer. The latent transformer is the same in all of them,
    the cross-attend the same in all but the first: hence 44.9 M parameters, as the paper says, for 48 latent blocks.
    """

    def add_layers(self, num_classes, read_pixels, read_latents, transform) -> None:
        self.first_cross_attend = read_pixels()
        self.latent_transformer = transform()
        self.cross_attend = read_pixels() if self.iterations > 1 else None
        self.head = MeanHead(self.num_features, num_classes, norm=None)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The latents behind each iteration, (B, L, D): no token has a place in the image."""
        inputs = self.inputs(images)  # (B, M, C)
        x = self.latents.expand(images.shape[0], -1, -1)  # (B, L, D)
        x = self.first_cross_attend(x, self.first_cross_attend.keys_values(inputs))
        out = [self.latent_transformer(x)]
        if self.cross_attend is not None:
            keys_values = self.cross_attend.keys_values(inputs)  # (2, B, h, M, d), the same in every iteration
            for _ in range(self.iterations - 1):
                out.append(self.latent_transformer(self.cross_attend(out[-1], keys_values)))
        return out

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage_outputs(images)[-1])


class PerceiverIO(OnLatents):
    """Look once, think, answer a query: images (B, C, H, W) -> logits (B, num_classes).

    The output is read from the latents by the same attention that reads the input: a learned query asks, the latents
    answer (section 3 of arXiv:2107.14795). Classification needs one query; a map would need one for each position.
    """

    def add_layers(self, num_classes, read_pixels, read_latents, transform) -> None:
        self.encoder = read_pixels()
        self.latent_transformer = transform()
        self.query = learned_rows(1, self.num_features)
        self.decoder = read_latents()
        self.head = linear_or_nothing(self.num_features, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The latents behind each iteration, (B, L, D): no token has a place in the image."""
        x = self.latents.expand(images.shape[0], -1, -1)  # (B, L, D)
        x = self.encoder(x, self.encoder.keys_values(self.inputs(images)))
        out = []
        for _ in range(self.iterations):
            x = self.latent_transformer(x)
            out.append(x)
        return out

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage_outputs(images)[-1]  # (B, L, D)
        query = self.query.expand(images.shape[0], -1, -1)  # (B, 1, D)
        answer = self.decoder(query, self.decoder.keys_values(x))  # (B, 1, D)
        return self.head(answer[:, 0])  # (B, num_classes)
