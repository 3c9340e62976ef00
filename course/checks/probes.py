"""Small modules of ours that a check hands to the student's code, so that one exercise does not lean on another."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.checks.calls import Probe


class TokenMixer(nn.Module):
    """A stand-in for attention inside a block: every token plus the mean token, times a matrix.

    ``forward``: (B, N, D) -> (B, N, D). Weight: ``weight`` (D, D).
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x + x.mean(dim=1, keepdim=True)) @ self.weight  # (B, N, D)


class LinearClassifier(nn.Module):
    """A network so small that three steps of training can be followed digit by digit.

    ``forward``: images (B, 1, H, W) -> scores (B, classes). Weights: ``weight`` (classes, H·W), ``bias`` (classes,).
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias  # (B, classes)


class NormedClassifier(nn.Module):
    """The same behind a layer norm over all pixels, so that there are weights with one axis that are no biases.

    ``forward``: images (B, 1, H, W) -> scores (B, classes). Weights: ``norm.weight`` and ``norm.bias`` (H·W,), made of
    `scale` and `shift`, ``head.weight`` (classes, H·W), ``head.bias`` (classes,).
    """

    def __init__(self, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor):
        super().__init__()
        self.norm = nn.LayerNorm(len(scale))
        self.norm.weight, self.norm.bias = nn.Parameter(scale), nn.Parameter(shift)
        self.head = LinearClassifier(weight, bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(images.flatten(1)))  # (B, classes)


class DigitsNet(nn.Module):
    """One transformer block of torch's own on 4x4 patches of 8x8 digits: what a training loop is tried on.

    ``forward``: images 0..1 (B, 1, 8, 8) -> scores (B, 10). Its head reads all tokens side by side, so that 50 steps
    with 128 digits each (0.2 s on one core) end at 94 to 99 %.
    """

    def __init__(self, embed_dim: int = 32):
        super().__init__()
        self.embed = nn.Linear(16, embed_dim)
        self.positions = nn.Parameter(torch.randn(4, embed_dim) * 0.2)
        self.block = nn.TransformerEncoderLayer(
            embed_dim, nhead=4, dim_feedforward=64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(4 * embed_dim, 10)

    def forward(self, images: Tensor) -> Tensor:
        standard = (images - 0.3) / 0.37  # mean and spread of the digits' grey values
        patches = rearrange(standard, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=4, pw=4)  # (B, 4, 16)
        tokens = self.norm(self.block(self.embed(patches) + self.positions))  # (B, 4, D)
        return self.head(tokens.flatten(1))  # (B, 10)


KINDS = {
    "token_mixer": TokenMixer,
    "linear_classifier": LinearClassifier,
    "normed_classifier": NormedClassifier,
    "digits_net": DigitsNet,
}


def build(probe: Probe) -> nn.Module:
    """The module a `Probe` stands for, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(probe.seed)
        return KINDS[probe.kind](**{name: tensor.clone() for name, tensor in probe.tensors.items()})
