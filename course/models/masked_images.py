"""Learning without labels by filling in what is hidden of an image: MAE and SimMIM.

Both take an encoder from the map, hide most of an image's patches and are trained on the hidden ones alone. MAE (He et
al. 2022, arXiv:2111.06377) shows its encoder nothing but the patches that are left, and leaves the rest to a small
decoder. SimMIM (Xie et al. 2022, arXiv:2111.09886) puts a mask token in place of each hidden patch, so that the map stays
whole, as Swin needs it, and has one linear layer for a decoder.

``fit(MAE(encoder), images, recipe)`` trains one: ``forward`` is the loss. What is kept afterwards is ``encoder``.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Backbone, Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.stems import PatchEmbed, Tokens, divided, sinusoidal_2d
from course.models.token_mixers.attention import SelfAttention


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """The pixels of each patch, (B, C, H, W) -> (B, N, P*P*C): row by row, the channels of a pixel side by side."""
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch_size, q=patch_size)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """The image of these patches, (B, N, P*P*C) -> (B, C, H, W), which undoes `patchify`; grid = (H/P, W/P)."""
    p, (h, w) = patch_size, grid
    return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=h, w=w, p=p, q=p)


def number_kept(count: int, mask_ratio: float) -> int:
    """How many of so many patches are left, rounded down."""
    return int(round(count * (1 - mask_ratio), 6))  # 10 * (1 - 0.9) is 0.99999...


def random_masking(tokens: Tensor, mask_ratio: float, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Some tokens of each image, at random, in random order (arXiv:2111.06377, section 3, "Simple implementation").

    Args:
        tokens: (B, N, D).
        mask_ratio: the share that is hidden.
        noise: (B, N), 0 to 1: the lowest stay. Default: from torch's own random numbers.

    Returns:
        The K tokens that are left, (B, K, D); which are hidden, bool (B, N); and `restore`, (B, N), for `unmask`:
        where in the new order each token stands.
    """
    count = tokens.shape[1]
    noise = torch.rand(tokens.shape[:2], device=tokens.device) if noise is None else noise
    order = noise.argsort(dim=1)  # (B, N)
    restore = order.argsort(dim=1)  # (B, N): the order that undoes this order
    keep = number_kept(count, mask_ratio)
    return _taken(tokens, order[:, :keep]), restore >= keep, restore


def unmask(kept: Tensor, mask_token: Tensor, restore: Tensor) -> Tensor:
    """The inverse of `random_masking`, with a mask token (D,) for each one hidden: (B, K, D) -> (B, N, D)."""
    hidden = restore.shape[1] - kept.shape[1]
    tokens = torch.cat([kept, mask_token.to(kept.dtype).expand(len(kept), hidden, -1)], dim=1)  # (B, N, D)
    return _taken(tokens, restore)


def _taken(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens at these places of each image, (B, N, D) and (B, K) -> (B, K, D)."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def mae_loss(predicted: Tensor, images: Tensor, hidden: Tensor, patch_size: int, norm_pix_loss: bool = True) -> Tensor:
    """The mean squared error of the hidden patches, and of no others; a scalar.

    Args:
        predicted: (B, N, P*P*C).
        images: (B, C, H, W).
        hidden: bool (B, N).
        norm_pix_loss: each patch is predicted with mean 0 and variance 1 of its own (arXiv:2111.06377, section 3,
            "Reconstruction target").
    """
    target = patchify(images, patch_size)  # (B, N, P*P*C)
    if norm_pix_loss:
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    error = (predicted.to(target.dtype) - target).square().mean(dim=-1)  # (B, N)
    return (error * hidden).sum() / hidden.sum()


def simmim_loss(predicted: Tensor, images: Tensor, hidden: Tensor) -> Tensor:
    """The mean absolute error of the hidden pixels, and of no others (arXiv:2111.09886, equation 1); a scalar.

    Args:
        predicted, images: (B, C, H, W).
        hidden: bool (B, H, W).
    """
    error = (predicted.to(images.dtype) - images).abs() * hidden[:, None]  # (B, C, H, W)
    return error.sum() / (hidden.sum() + 1e-5) / images.shape[1]  # 1e-5 as in the authors' code, for no pixel at all


class WithoutLabels(nn.Module):
    """What trains an `encoder` without labels: ``forward`` gives the loss of images (B, C, H, W), a scalar.

    Args:
        encoder: a backbone with ``num_classes=0``.

    Raises:
        ValueError: the encoder has a layer for classes, which nothing would train.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if isinstance(getattr(getattr(encoder, "head", None), "fc", None), nn.Linear):
            raise ValueError(
                f"{type(self).__name__} trains an encoder without its layer for classes: make it with num_classes=0, "
                "and encoder.reset_classifier(10) gives it one afterwards"
            )
        self.encoder = encoder

    @property
    def normalise_images(self):
        """What ``fit`` found out about the images; it stays with the encoder."""
        return self.encoder.normalise_images

    @normalise_images.setter
    def normalise_images(self, normalise: Callable) -> None:
        self.encoder.normalise_images = normalise


class MAEDecoder(nn.Module):
    """From the tokens that are left to the pixels of all patches, (B, n + K, D) -> (B, N, P*P*C).

    Args:
        in_dim: D, the encoder's width.
        grid: (h, w) patches, N in all.
        class_tokens: n, in front.
        pixels: numbers in a patch, P*P*C.
        dim, depth, num_heads, mlp_ratio: of the decoder's own blocks.
    """

    def __init__(
        self,
        in_dim: int,
        grid: tuple[int, int],
        class_tokens: int,
        pixels: int,
        dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.class_tokens = class_tokens
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(dim))
        position = torch.cat([torch.zeros(class_tokens, dim), sinusoidal_2d(grid, dim)])  # (n + N, dim)
        self.register_buffer("position", position, persistent=False)
        self.blocks = nn.Sequential(
            *[
                Block(
                    Residual(SelfAttention(dim, num_heads), LayerNorm(dim, eps=1e-6)),
                    Residual(MLP(dim, mlp_ratio), LayerNorm(dim, eps=1e-6)),
                )
                for _ in range(depth)
            ]
        )
        self.norm = LayerNorm(dim, eps=1e-6)
        self.pixels = nn.Linear(dim, pixels)

    def forward(self, x: Tensor, restore: Tensor) -> Tensor:
        """
        Args:
            x: (B, n + K, D).
            restore: (B, N), of `random_masking`.
        """
        x = self.embed(x)
        n = self.class_tokens
        x = torch.cat([x[:, :n], unmask(x[:, n:], self.mask_token, restore)], dim=1)  # (B, n + N, dim)
        x = self.blocks(x + self.position)
        return self.pixels(self.norm(x))[:, n:]


class MAE(WithoutLabels):
    """Masked autoencoder: ``forward`` hides patches of images (B, C, H, W) and gives the loss, a scalar.

    Args:
        encoder: a ViT, ``create_model("vit_b16", num_classes=0)``.
        mask_ratio: the share of patches that is hidden.
        norm_pix_loss: as in `mae_loss`.
        decoder_dim, decoder_depth, decoder_heads: of the decoder.

    Raises:
        ValueError: the encoder is not one that reads any number of patches.
    """

    def __init__(
        self,
        encoder: Backbone,
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__(encoder)
        entry = encoder.stages[0].entry if isinstance(encoder, Backbone) else None
        if not isinstance(entry, Tokens) or not isinstance(encoder.stem, PatchEmbed):
            raise ValueError(
                "MAE shows its encoder only the patches that are left, which takes a ViT: separate patches, then a "
                "sequence of tokens. Where the map has to stay whole, as in Swin, take SimMIM"
            )
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        self.patch_size, self.grid = encoder.stem.proj.kernel_size[0], encoder.stem.grid
        self.class_tokens = 0 if entry.class_tokens is None else len(entry.class_tokens)
        pixels = self.patch_size**2 * encoder.stem.proj.in_channels
        self.decoder = MAEDecoder(
            encoder.num_features, self.grid, self.class_tokens, pixels, decoder_dim, decoder_depth, decoder_heads
        )

    def reconstruct(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What it makes of every patch, (B, N, P*P*C), and which patches were hidden, bool (B, N).

        With `norm_pix_loss`, a patch comes with mean 0 and variance 1.

        Args:
            images: (B, C, H, W).
            noise: (B, N), as in `random_masking`.
        """
        stage, n = self.encoder.stages[0], self.class_tokens
        x = stage.entry(self.encoder.stem(images))  # (B, n + N, D), with positions
        kept, hidden, restore = random_masking(x[:, n:], self.mask_ratio, noise)
        x = stage.norm(stage.blocks(torch.cat([x[:, :n], kept], dim=1)))  # (B, n + K, D)
        return self.decoder(self.encoder.head.norm(x), restore), hidden

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        predicted, hidden = self.reconstruct(images, noise)
        return mae_loss(predicted, images, hidden, self.patch_size, self.norm_pix_loss)


class SimMIM(WithoutLabels):
    """``forward`` puts mask tokens in place of patches of images (B, C, H, W) and gives the loss, a scalar.

    Args:
        encoder: a backbone with separate patches: ViT, Swin; ``create_model("swin_t", num_classes=0)``.
        mask_ratio: the share of squares that is hidden.
        mask_size: side of these squares in pixels (the paper: 32 at 192 and 224 pixels).

    Raises:
        ValueError: the encoder's stem sees over the edge of a patch, or the squares do not fit the patches.
    """

    def __init__(self, encoder: Backbone, mask_ratio: float = 0.6, mask_size: int = 32) -> None:
        super().__init__(encoder)
        if not isinstance(encoder, Backbone) or not isinstance(encoder.stem, PatchEmbed):
            raise ValueError(
                "SimMIM puts a token in place of a patch, which hides it only where no other patch sees its pixels: "
                "take an encoder whose stem is a PatchEmbed, such as ViT or Swin, and not one with a stem of convolutions"
            )
        patch_size, grid = encoder.stem.proj.kernel_size[0], encoder.stem.grid
        if mask_size % patch_size:
            raise ValueError(f"squares of {mask_size} pixels are no whole number of patches of {patch_size} pixels")
        size = tuple(side * patch_size for side in grid)
        self.mask_ratio, self.mask_size, self.patch_size = mask_ratio, mask_size, patch_size
        self.squares = divided(size, mask_size)
        self.mask_token = nn.Parameter(0.02 * torch.randn(encoder.stem.proj.out_channels))
        self.stride = patch_size * 2 ** (len(encoder.stages) - 1)  # pixels in a step of the last map
        self.pixels = nn.Linear(encoder.num_features, self.stride**2 * encoder.stem.proj.in_channels)

    def random_mask(self, images: Tensor) -> Tensor:
        """Squares to hide, from torch's own random numbers: bool (B, h, w), h = H / mask_size."""
        count = self.squares[0] * self.squares[1]
        rank = torch.rand(len(images), count, device=images.device).argsort(dim=1).argsort(dim=1)  # (B, h*w)
        return (rank >= number_kept(count, self.mask_ratio)).unflatten(1, self.squares)

    def reconstruct(self, images: Tensor, mask: Tensor) -> Tensor:
        """What it makes of all pixels, (B, C, H, W), with these squares (B, h, w) hidden."""
        x = self.encoder.stem(images)  # (B, h, w, D)
        hidden = enlarged(mask, self.mask_size // self.patch_size)[..., None]  # (B, h, w, 1)
        x = torch.where(hidden, self.mask_token.to(x.dtype), x)
        for stage in self.encoder.stages:
            x = stage(x)
        x = self.encoder.head.norm(x)
        height, width = (side * self.mask_size // self.stride for side in self.squares)
        places = x.flatten(1, -2)[:, -height * width :]  # (B, n, D), without class tokens
        return rearrange(
            self.pixels(places), "b (h w) (c p q) -> b c (h p) (w q)", h=height, w=width, p=self.stride, q=self.stride
        )

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.random_mask(images) if mask is None else mask
        return simmim_loss(self.reconstruct(images, mask), images, enlarged(mask, self.mask_size))


def enlarged(mask: Tensor, times: int) -> Tensor:
    """Each place so many times as high and as wide, (B, h, w) -> (B, h*times, w*times)."""
    return mask.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
