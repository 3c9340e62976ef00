"""T2T-ViT against a slow version from the paper, whose weights bear the names of the authors' code."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.norms import LayerNorm
from course.models.tokens_to_token import TokenPerformer, TokensToToken
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

WIDTH, HEADS = 24, 6
SMALL = {"t2t_vit_14": dict(img_size=(32, 48), token_dim=8, embed_dim=WIDTH, depth=2, mlp_ratio=2, num_classes=10)}
IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(2))


def norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def linear(x, layer):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def split_slowly(image, kernel, stride, padding):
    """Windows one by one, (C, H, W) -> (h*w, C*k*k): a token holds a window's first channel, then its second, ..."""
    channels, height, width = image.shape
    wide = image.new_zeros(channels, height + 2 * padding, width + 2 * padding)
    wide[:, padding : padding + height, padding : padding + width] = image
    return torch.stack(
        [
            torch.cat([wide[c, i : i + kernel, j : j + kernel].flatten() for c in range(channels)])
            for i in range(0, wide.shape[1] - kernel + 1, stride)
            for j in range(0, wide.shape[2] - kernel + 1, stride)
        ]
    )


class SlowPerformer(nn.Module):
    """Each query against each key: weights φ(q)·φ(k) over their sum, φ(x)_i = exp(w_i·x - |x|²/2) / √m."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(in_dim), nn.LayerNorm(dim)
        self.kqv, self.proj = nn.Linear(in_dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.w = nn.Parameter(torch.empty(dim // 2, dim))

    def phi(self, x):
        columns = [torch.exp(x @ w - (x * x).sum(-1) / 2) / math.sqrt(len(self.w)) for w in self.w]
        return torch.stack(columns, dim=1)

    def forward(self, x):
        k, q, v = linear(norm(x, self.norm1), self.kqv).split(self.proj.in_features, dim=1)
        pairs = self.phi(q) @ self.phi(k).T  # (N, N), which the fast way never has
        x = v + linear(pairs @ v / (pairs.sum(dim=1, keepdim=True) + 1e-8), self.proj)
        y = norm(x, self.norm2)
        return x + linear(F.gelu(linear(y, self.mlp[0])), self.mlp[2])


class SlowBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH, bias=False), "proj": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 2 * WIDTH), "fc2": nn.Linear(2 * WIDTH, WIDTH)})

    def forward(self, x):
        q, k, v = linear(norm(x, self.norm1), self.attn["qkv"]).split(WIDTH, dim=1)
        heads = []
        for h in range(HEADS):
            own = slice(h * WIDTH // HEADS, (h + 1) * WIDTH // HEADS)
            # By the width of all heads: so the published weights were trained.
            scores = q[:, own] @ k[:, own].T / math.sqrt(WIDTH)
            heads.append(scores.softmax(dim=1) @ v[:, own])
        x = x + linear(torch.cat(heads, dim=1), self.attn["proj"])
        return x + linear(F.gelu(linear(norm(x, self.norm2), self.mlp["fc1"])), self.mlp["fc2"])


class SlowT2T(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens_to_token = nn.ModuleDict(
            {
                "attention1": SlowPerformer(3 * 7 * 7, 8),
                "attention2": SlowPerformer(8 * 3 * 3, 8),
                "project": nn.Linear(8 * 3 * 3, WIDTH),
            }
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.register_buffer("pos_embed", torch.zeros(1, 7, WIDTH, dtype=torch.int64))  # computed below
        self.blocks = nn.ModuleList([SlowBlock(), SlowBlock()])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, images):
        return torch.stack([self.one(image) for image in images])

    def one(self, image):
        stem = self.tokens_to_token
        x = stem["attention1"](split_slowly(image, 7, 4, 2))  # (8·12, 8)
        x = stem["attention2"](split_slowly(x.T.reshape(8, 8, 12), 3, 2, 1))  # (4·6, 8)
        x = linear(split_slowly(x.T.reshape(8, 4, 6), 3, 2, 1), stem["project"])  # (2·3, D)
        x = torch.cat([self.cls_token[0], x])
        rows = [
            [(math.cos if i % 2 else math.sin)(n / 10_000 ** (2 * (i // 2) / WIDTH)) for i in range(WIDTH)]
            for n in range(len(x))
        ]
        x = x + torch.tensor(rows, dtype=torch.float64).float().to(x.dtype)  # as the weights: in single precision
        for block in self.blocks:
            x = block(x)
        return linear(norm(x, self.norm)[0], self.head)


def small_pair():
    return pair("t2t_vit_14", SMALL["t2t_vit_14"], SlowT2T(), "official")


@proves(66)
def test_agrees_with_the_paper_window_by_window_and_pair_by_pair():
    assert_agrees(*small_pair(), IMAGES, float64=1e-7)  # the table of positions is one of single precision


def test_random_directions_are_orthogonal_and_as_long_as_the_authors():
    features = TokenPerformer(6, 8, 4, seed=0).features
    torch.testing.assert_close(features @ features.T, 4 * torch.eye(4))


def test_the_stem_sees_beyond_its_patch():
    """A pixel in the middle of one patch of 16 changes the tokens around as well, through windows that overlap."""
    stem = create_model("t2t_vit_14", **SMALL["t2t_vit_14"] | dict(img_size=80)).eval().stem
    for block in (stem.attention1, stem.attention2):
        block.proj.weight.data.zero_()  # attention itself sees everything
    images = torch.zeros(1, 3, 80, 80, requires_grad=True)
    seen = torch.autograd.grad(stem(images)[0, 2, 2].sum(), images)[0].abs().sum(dim=(0, 1))
    rows = seen.sum(dim=1).nonzero().flatten()
    assert rows.min() < 32 and rows.max() >= 48, (rows.min(), rows.max())


def test_an_image_that_16_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="t2t_vit_14: an image of 40×48 is not divided by patches of 16×16"):
        create_model("t2t_vit_14", **SMALL["t2t_vit_14"] | dict(img_size=(40, 48)))


def queries_and_keys_swapped(model):
    for performer in each(model, TokenPerformer):
        for p in (performer.kqv.weight, performer.kqv.bias):
            k, q, v = p.data.chunk(3)
            p.data = torch.cat([q, k, v])


class SkipOfTheTokens(TokenPerformer):
    """The path around starts from the tokens themselves, as far as they go, and not from their values."""

    def forward(self, x):
        v = self.kqv(self.norm1(x)).chunk(3, dim=-1)[2]
        y = super().forward(x)
        return y + x[..., : v.shape[-1]] - v


def path_around_of_the_tokens(model):
    for performer in each(model, TokenPerformer):
        performer.__class__ = SkipOfTheTokens


def other_directions(model):
    for performer in each(model, TokenPerformer):
        performer.features = performer.features.roll(1, dims=1)


def windows_place_by_place(model):
    """The window's first pixel with all its channels, then the second, in place of the first channel with all pixels."""
    for stem in each(model, TokensToToken):
        for layer in (stem.attention1.kqv, stem.attention2.kqv, stem.project):
            pixels = 49 if layer.in_features == 3 * 49 else 9
            weight = layer.weight.data
            layer.weight.data = weight.unflatten(1, (-1, pixels)).transpose(1, 2).reshape(weight.shape)


def positions_of_a_map(model):
    tokens = model.stages[0].entry
    tokens.position = torch.cat(
        [tokens.position[:1], tokens.position[1:].unflatten(0, (2, 3)).transpose(0, 1).flatten(0, 1)]
    )


def eps_of_vit(model):
    for layer in each(model, LayerNorm):
        layer.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        queries_and_keys_swapped,
        path_around_of_the_tokens,
        other_directions,
        windows_place_by_place,
        positions_of_a_map,
        eps_of_vit,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)
