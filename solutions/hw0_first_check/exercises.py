"""Homework 0: one line, to meet the checks."""

from einops import reduce

from course.checks import Call, Draw, Homework

homework = Homework("hw0_first_check")

mean_of_tokens = homework.exercise(
    "mean_of_tokens",
    points=1,
    hints=(
        "Print `x.shape` and the shape of what you return: B images of D numbers should be left, the N tokens gone.",
        "Make an `x` whose axes have three different lengths, `torch.randn(2, 3, 5)`: which axis has the length N?",
    ),
)


@mean_of_tokens.inputs
def _(draw: Draw):
    for B, N, D in ((2, 3, 5), (4, 7, 6)):
        yield Call("mean_of_tokens", {"x": draw.normal(B, N, D)}, gradients=("x",))


@mean_of_tokens.mistake(
    "You averaged over the D numbers of each token, so that every token became one number. "
    "Average over the tokens: in (B, N, D) they are the axis N."
)
def over_the_width(x):
    return x.mean(dim=2)


@mean_of_tokens.mistake(
    "You averaged over the images of the batch, which mixes pictures that have nothing to do with each other. "
    "In (B, N, D) the tokens are the axis N."
)
def over_the_batch(x):
    return x.mean(dim=0)


@mean_of_tokens.mistake("You added the tokens up, but did not divide by how many there are.")
def sum_not_mean(x):
    return x.sum(dim=1)


@mean_of_tokens.mistake("You took the first token only. The average hears all N of them.")
def first_token(x):
    return x[:, 0]


@mean_of_tokens.alternative
def with_einops(x):
    return reduce(x, "b n d -> b d", "mean")


@mean_of_tokens.alternative
def with_a_loop(x):
    total = 0
    for n in range(x.shape[1]):
        total = total + x[:, n]
    return total / x.shape[1]
