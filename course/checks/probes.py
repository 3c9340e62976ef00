"""Small modules of ours that a check hands to the student's code, so that one exercise does not lean on another."""

import threading

import torch
import torch.nn.functional as F
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


class MaskedMixer(nn.Module):
    """A stand-in for an encoder: every token plus twice the mean of the visible ones, times a matrix.

    ``forward``: (B, N, D), visible (B, N) bool -> (B, N, D). Weight: ``weight`` (D, D).
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        return (x + 2 * _mean_of_visible(x, visible)) @ self.weight  # (B, N, D)


class MemoryMixer(nn.Module):
    """A stand-in for cross-attention: every token plus the mean of the visible tokens of a memory, times a matrix.

    ``forward``: (B, M, D), memory (B, N, D), visible (B, N) bool -> (B, M, D). Weight: ``weight`` (D, D).
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, y: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        return (y + _mean_of_visible(memory, visible)) @ self.weight  # (B, M, D)


def _mean_of_visible(x: Tensor, visible: Tensor) -> Tensor:
    """(B, N, D), (B, N) bool -> (B, 1, D)."""
    seen = visible[..., None].to(x.dtype)  # (B, N, 1)
    return (x * seen).sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True)


class WordClassifier(nn.Module):
    """A network on words that can be followed digit by digit: a table of scores, averaged over the words.

    ``forward``: words (B, N) int64 -> scores (B, classes). Weights: ``table`` (vocabulary, classes), ``bias`` (classes,):
    two, so that a gradient that is clipped weight by weight differs from one that is clipped as a whole.
    """

    def __init__(self, table: Tensor, bias: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)
        self.bias = nn.Parameter(bias)

    def forward(self, words: Tensor) -> Tensor:
        return self.table[words].mean(dim=1) + self.bias  # (B, classes)


class NextWord(nn.Module):
    """A stand-in for a decoder: scores of the next word, by the last word and by how many there are.

    ``forward``: written (B, m) int64 -> scores (B, m, V), at each place of the word behind it. Weights: ``after`` (V, V),
    ``place`` (longest, V).
    """

    def __init__(self, after: Tensor, place: Tensor):
        super().__init__()
        self.after = nn.Parameter(after)
        self.place = nn.Parameter(place)

    def forward(self, written: Tensor) -> Tensor:
        return self.after[written] + self.place[: written.shape[1]]  # (B, m, V)


class SentimentNet(nn.Module):
    """A convolution of width 2 over the words of ``sentiment``, averaged: what a training loop is tried on.

    ``forward``: words (B, N) int64, 0 is padding -> scores (B, 2). 60 steps with 64 sentences each (0.2 s on one core)
    end at 97 to 100 %.
    """

    def __init__(self, vocabulary: int = 64, embed_dim: int = 32):
        super().__init__()
        self.words = nn.Embedding(vocabulary, embed_dim)
        self.pairs = nn.Conv1d(embed_dim, embed_dim, 2)
        self.head = nn.Linear(embed_dim, 2)

    def forward(self, words: Tensor) -> Tensor:
        visible = words != 0  # (B, N)
        x = F.pad(self.words(words) * visible[..., None], (0, 0, 1, 0))  # (B, N + 1, D)
        x = F.gelu(self.pairs(x.transpose(1, 2))).transpose(1, 2)  # (B, N, D)
        return self.head(_mean_of_visible(x, visible)[:, 0])  # (B, 2)


# Held by whoever seeds torch's random numbers and then draws some: the grader judges several students at a time.
RANDOM_NUMBERS = threading.RLock()

KINDS = {
    "token_mixer": TokenMixer,
    "masked_mixer": MaskedMixer,
    "memory_mixer": MemoryMixer,
    "next_word": NextWord,
    "linear_classifier": LinearClassifier,
    "normed_classifier": NormedClassifier,
    "word_classifier": WordClassifier,
    "digits_net": DigitsNet,
    "sentiment_net": SentimentNet,
}


def build(probe: Probe) -> nn.Module:
    """The module a `Probe` stands for, always with the same weights."""
    with RANDOM_NUMBERS, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(probe.seed)
        return KINDS[probe.kind](**{name: tensor.clone() for name, tensor in probe.tensors.items()})
