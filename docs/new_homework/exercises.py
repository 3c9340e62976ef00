"""Homework 10: what its exercises are tried on, the mistakes people make, and other right answers."""

import torch
from einops import einsum
from torch import nn

from course.checks import Call, Draw, Homework, Seeded

homework = Homework("hw10_topic")


# ------------------------------------------------------------------------------------------------------------
# 1. random_tokens: a function

some = homework.exercise(
    "random_tokens",
    points=2,
    hints=(
        "Print the numbers that you drew for one image, and the places that you keep: are the smallest there?",
        "Try three tokens that hold their own place, and `keep = 2`: which come out, and in which order?",
    ),
)


@some.inputs
def _(draw: Draw):
    for _ in range(2):
        B, D, N = sorted(draw.sizes(3, low=3, high=8))
        arguments = {"x": draw.normal(B, N, D), "keep": N - 2, "generator": Seeded(draw.integer(0, 10**6))}
        yield Call("random_tokens", arguments, gradients=("x",))


def _gathered(x, kept):
    return torch.stack([tokens[places] for tokens, places in zip(x, kept)])


@some.mistake("You kept the tokens that drew the largest numbers. Asked for are those with the smallest ones.")
def keeps_the_largest(x, keep, generator):
    drawn = torch.rand(x.shape[:2], generator=generator)
    return _gathered(x, drawn.argsort(dim=1, descending=True)[:, :keep])


@some.mistake("All your images keep the tokens of the first one. Each image has numbers of its own, and goes by them.")
def same_for_every_image(x, keep, generator):
    drawn = torch.rand(x.shape[:2], generator=generator)
    return x[:, drawn[0].argsort()[:keep]]


@some.mistake("Your tokens are the right ones in their old order. The one that drew the smallest number comes first.")
def kept_in_the_old_order(x, keep, generator):
    drawn = torch.rand(x.shape[:2], generator=generator)
    return _gathered(x, drawn.argsort(dim=1)[:, :keep].sort(dim=1).values)


@some.mistake("You kept the first tokens, whatever was drawn.")
def keeps_the_first_ones(x, keep, generator):
    return x[:, :keep]


@some.mistake("You drew the numbers without the generator that you were given, so no seed brings them back.")
def without_its_generator(x, keep, generator):
    return _gathered(x, torch.rand(x.shape[:2]).argsort(dim=1)[:, :keep])


@some.alternative
def image_by_image(x, keep, generator):
    drawn = torch.rand(x.shape[0], x.shape[1], generator=generator)
    return torch.stack([tokens[numbers.argsort()[:keep]] for tokens, numbers in zip(x, drawn)])


@some.alternative
def by_the_smallest_k(x, keep, generator):
    kept = torch.rand(x.shape[:2], generator=generator).topk(keep, largest=False).indices
    return x[torch.arange(len(x))[:, None], kept]


# ------------------------------------------------------------------------------------------------------------
# 2. AttentionPool: a module

pool = homework.exercise(
    "AttentionPool",
    points=3,
    hints=(
        "Print the shape of your weights and their sum for each image: one for each token, and the sum 1?",
        "With all scores equal, every weight is 1 / N: does your result then equal the mean of the tokens?",
    ),
)


@pool.inputs
def _(draw: Draw):
    for _ in range(2):
        B, N, D = draw.sizes(3, low=2, high=7)
        yield Call(
            "AttentionPool",
            {"x": draw.normal(B, N, D)},
            init={"embed_dim": D},
            parameters=draw.linear("score", D, 1),
            gradients=("x",),
        )


class _Pool(nn.Module):
    """Right as it stands; each mistake below changes one of its two steps."""

    def __init__(self, embed_dim):
        super().__init__()
        self.score = nn.Linear(embed_dim, 1)

    def weights(self, scores):
        return scores.softmax(dim=1)

    def forward(self, x):
        return einsum(self.weights(self.score(x)[..., 0]), x, "b n, b n d -> b d")


@pool.mistake("You used the bare scores as weights. A softmax makes them positive and lets them sum to 1.")
class ScoresAsWeights(_Pool):
    def weights(self, scores):
        return scores


@pool.mistake("Your weights sum to 1 over the batch, so images share them. They should do so over an image's tokens.")
class SharedOverTheBatch(_Pool):
    def weights(self, scores):
        return scores.softmax(dim=0)


@pool.mistake("Your softmax runs over the one score of a token, so every weight is 1. It should run over the N tokens.")
class EveryWeightOne(_Pool):
    def weights(self, scores):
        return scores[..., None].softmax(dim=-1)[..., 0]


@pool.mistake("You squeezed each score by itself, with a sigmoid: the weights of an image then do not sum to 1.")
class SqueezedOneByOne(_Pool):
    def weights(self, scores):
        return scores.sigmoid()


@pool.mistake("You took the mean of the weighted tokens. Their weights sum to 1 already: add the tokens up.")
class MeanOfTheWeighted(_Pool):
    def forward(self, x):
        return super().forward(x) / x.shape[1]


@pool.alternative
class WithAMatrixProduct(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.score = nn.Linear(embed_dim, 1)

    def forward(self, x):
        return (torch.softmax(self.score(x).mT, dim=-1) @ x).squeeze(1)


@pool.alternative
class WithExponentials(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.score = nn.Linear(embed_dim, 1)

    def forward(self, x):
        powers = self.score(x).exp()
        return (powers * x).sum(1) / powers.sum(1)
