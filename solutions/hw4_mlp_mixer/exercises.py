"""Homework 4: MLP-Mixer, and what ResMLP, gMLP and S²-MLP put in the place of its parts.

The right answers stand in ``hw4_mlp_mixer.py``. Here, exercise by exercise: the inputs it is tried on, the
mistakes people make with the sentence that names each, and other right answers.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from course.checks import Accuracy, Call, Draw, Homework, Probe, Seeded
from course.checks.exercise import Mistake
from course.data import load

homework = Homework("hw4_mlp_mixer")


# ------------------------------------------------------------------------------------------------------------
# 1. mix_tokens

mix = homework.exercise(
    "mix_tokens",
    points=3,
    hints=(
        (
            "Try the example by hand: tokens `[[1., 0, 4], [5, 2, 1]]`, weight `[[2., -1]]`, bias `[3.]`. Do 0, "
            "1, 10 come out?"
        ),
        (
            "Let M differ from N and print the shape of your result: (M, D), one tensor? Which loop runs over M, "
            "and what does one round of the other add?"
        ),
        "How often is the bias added to a new token: once, or once for every old one?",
    ),
)


@mix.inputs
def _(draw: Draw):
    for _ in range(2):
        N, M, D = draw.sizes(3, low=3, high=8)
        arguments = {"x": draw.normal(N, D), "weight": draw.normal(M, N), "bias": draw.normal(M)}
        yield Call("mix_tokens", arguments)


@mix.mistake("The bias is missing: after its sum, each new token gets one number added to all its channels.")
def mix_without_bias(x, weight, bias):
    return weight @ x


@mix.mistake(
    "Your bias is added in the inner loop, once for every old token. It belongs to the new token, after the sum: once."
)
def bias_in_the_inner_loop(x, weight, bias):
    return weight @ x + len(x) * bias[:, None]


@mix.mistake(
    "Each step of your inner loop overwrites the one before, so only the last old token is heard. The terms "
    "are to be added up."
)
def only_the_last_token(x, weight, bias):
    return weight[:, -1:] * x[-1] + bias[:, None]


@mix.mistake(
    "Only your first row is filled: the function returns inside the loop, before the other new tokens are made."
)
def returned_too_early(x, weight, bias):
    y = torch.zeros(len(weight), x.shape[1])
    y[0] = weight[0] @ x + bias[0]
    return y


@mix.mistake(
    "The sums are right, but only the last new token gets its bias: the line stands behind the loop over the "
    "new tokens, not in it."
)
def bias_behind_the_loop(x, weight, bias):
    y = weight @ x
    y[-1] += bias[-1]
    return y


@mix.mistake("You divided by the number of old tokens N. Here the sum is asked for; the weights say how much.")
def averaged(x, weight, bias):
    return weight @ x / len(x) + bias[:, None]


@mix.mistake(
    "You put a softmax on the weights. Attention does that; here they are learned numbers, used as they are, "
    "negative ones too."
)
def mix_with_softmax(x, weight, bias):
    return weight.softmax(dim=1) @ x + bias[:, None]


@mix.mistake(
    "You added up the channels too. Each channel is mixed for itself: a new token has D numbers, as the old ones have."
)
def channels_added_up(x, weight, bias):
    return (weight @ x).sum(dim=1) + bias


@mix.mistake("Your table lies on its side: new tokens are rows and channels are columns, in the shape (M, D).")
def mix_transposed(x, weight, bias):
    return (weight @ x + bias[:, None]).T


@mix.mistake("You have already put the GELU on. That comes with exercise 2; here the sums are asked for.")
def mix_with_gelu(x, weight, bias):
    return F.gelu(weight @ x + bias[:, None])


@mix.alternative
def mix_by_matrix_product(x, weight, bias):
    return weight @ x + bias[:, None]


@mix.alternative
def mix_by_linear(x, weight, bias):
    return F.linear(x.T, weight, bias).T


@mix.alternative
def mix_by_einsum(x, weight, bias):
    return einsum(weight, x, "m n, n d -> m d") + rearrange(bias, "m -> m 1")


@mix.alternative
def mix_by_lists(x, weight, bias):
    one = lambda m, d: sum(float(weight[m, n] * x[n, d]) for n in range(len(x))) + float(bias[m])
    return torch.tensor([[one(m, d) for d in range(x.shape[1])] for m in range(len(weight))])


# ------------------------------------------------------------------------------------------------------------
# 2. ChannelMixing and TokenMixing

mixing = homework.exercise(
    "mixing_modules",
    points=5,
    targets=("ChannelMixing", "TokenMixing"),
    hints=(
        (
            "For (B, N, D) = (2, 5, 7) and hidden 3, print the shape after `fc1`: (2, 5, 3) in `ChannelMixing`, "
            "(2, 7, 3) in `TokenMixing`?"
        ),
        (
            "Change one number of the input and see which outputs move: those of the same token in "
            "`ChannelMixing`, those of the same channel in `TokenMixing`."
        ),
        (
            "`nn.Linear` works along the last axis: what has to be last in `TokenMixing`, before `fc1` and after "
            "`fc2`? The path around belongs to exercise 3: is there none here?"
        ),
    ),
)


@mixing.inputs
def _(draw: Draw):
    for target in ("ChannelMixing", "TokenMixing"):
        N, D, hidden = draw.sizes(3, low=4, high=9)
        width = D if target == "ChannelMixing" else N
        name = "embed_dim" if target == "ChannelMixing" else "num_tokens"
        yield Call(
            target,
            {"x": draw.normal(3, N, D)},
            init={name: width, "hidden": hidden},
            parameters=draw.linear("fc1", width, hidden) | draw.linear("fc2", hidden, width),
            gradients=("x",),
        )


class _Layers(nn.Module):
    """Two layers, and what is right along the last axis."""

    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class _Channels(_Layers):
    def forward(self, x):
        return self.mlp(x)


class _Tokens(_Layers):
    def turn(self, x):
        return x.transpose(1, 2)

    def turn_back(self, x):
        return x.transpose(1, 2)

    def forward(self, x):
        return self.turn_back(self.mlp(self.turn(x)))


def in_both(sentence):
    """A mistake made in both modules: a class with another `mlp`, put before each of them."""

    def register(variant):
        objects = {
            target: type(variant.__name__, (variant, right), {})
            for target, right in (("ChannelMixing", _Channels), ("TokenMixing", _Tokens))
        }
        mixing.mistakes.append(Mistake(sentence, objects))
        return variant

    return register


@mixing.mistake(
    "TokenMixing pours the numbers into (B, D, N) in the order they lie in, so your layer mixes pieces of "
    "several tokens and channels. The two axes have to change places.",
    target="TokenMixing",
)
class TokensPoured(_Tokens):
    def turn(self, x):
        return x.reshape(x.shape[0], x.shape[2], x.shape[1])

    def turn_back(self, x):
        return x.reshape(x.shape[0], x.shape[2], x.shape[1])


@mixing.mistake(
    "TokenMixing pours the numbers into (B, D, N) on the way in (on the way back all is well). The two axes "
    "have to change places there too.",
    target="TokenMixing",
)
class TokensPouredIn(_Tokens):
    def turn(self, x):
        return x.reshape(x.shape[0], x.shape[2], x.shape[1])


@mixing.mistake(
    "TokenMixing is right on the way in, but on the way back it pours the numbers into (B, N, D) in the "
    "order they lie in. The two axes have to change places again.",
    target="TokenMixing",
)
class TokensPouredBack(_Tokens):
    def turn_back(self, x):
        return x.reshape(x.shape[0], x.shape[2], x.shape[1])


@mixing.mistake("TokenMixing returns (B, D, N): it turned the table and did not turn it back.", target="TokenMixing")
class TokensLeftTurned(_Tokens):
    def turn_back(self, x):
        return x


@mixing.mistake(
    "TokenMixing lets every channel hear of the others: it works on the mean over the channels. Each channel "
    "goes through the MLP for itself.",
    target="TokenMixing",
)
class TokensOfTheMeanChannel(_Tokens):
    def turn(self, x):
        return x.mean(dim=2, keepdim=True).expand_as(x).transpose(1, 2)


@in_both("Your MLP has a ReLU between its layers. A GELU is asked for, which has no kink at 0.")
class ReluBetween:
    def mlp(self, x):
        return self.fc2(F.relu(self.fc1(x)))


@in_both(
    "Your GELU is the approximation by tanh. It is off by a few ten-thousandths; the exact one, which is "
    "torch's default, is asked for."
)
class TanhGelu:
    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


@in_both(
    "There is nothing between the two layers of your MLP. Two linear layers in a row are one linear layer: "
    "put the GELU between them."
)
class NothingBetween:
    def mlp(self, x):
        return self.fc2(self.fc1(x))


@in_both("There is a GELU after the second layer too. It stands between the layers only.")
class GeluAtTheEndToo:
    def mlp(self, x):
        return F.gelu(self.fc2(F.gelu(self.fc1(x))))


@in_both("Your GELU comes before the first layer. It stands between the two.")
class GeluFirst:
    def mlp(self, x):
        return self.fc2(self.fc1(F.gelu(x)))


@in_both(
    "You added the input x to the output. That residual connection is a matter for the block, the next "
    "exercise; here the MLP alone is asked for."
)
class ResidualInside:
    def mlp(self, x):
        return x + self.fc2(F.gelu(self.fc1(x)))


@in_both(
    "You normalise the input first. The layer norms stand in the block, the next exercise; here the MLP "
    "alone is asked for."
)
class NormInside:
    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(F.layer_norm(x, x.shape[-1:]))))


@mixing.alternative
class ChannelsOneByOne(nn.Module):
    """Token after token, its layers defined in another order."""

    def __init__(self, embed_dim, hidden):
        super().__init__()
        self.fc2 = nn.Linear(hidden, embed_dim)
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.act = nn.GELU()

    def forward(self, x):
        return torch.stack([self.fc2(self.act(self.fc1(token))) for token in x.unbind(1)], dim=1)


@mixing.alternative(target="TokenMixing")
class TokensByEinsum(_Layers):
    def forward(self, x):
        hidden = einsum(self.fc1.weight, x, "m n, b n d -> b m d") + self.fc1.bias[:, None]
        return einsum(self.fc2.weight, F.gelu(hidden), "n m, b m d -> b n d") + self.fc2.bias[:, None]


@mixing.alternative(target="TokenMixing")
class TokensByEinops(_Layers):
    def forward(self, x):
        B = len(x)
        columns = rearrange(x, "b n d -> (b d) n")
        return rearrange(self.mlp(columns), "(b d) n -> b n d", b=B)


@mixing.alternative(target="TokenMixing")
class TokensChannelByChannel(_Layers):
    def forward(self, x):
        return torch.stack([self.mlp(x[:, :, d]) for d in range(x.shape[2])], dim=2)


# ------------------------------------------------------------------------------------------------------------
# 3. MixerBlock

block = homework.exercise(
    "MixerBlock",
    points=7,
    hints=(
        "Set weight and bias of both `fc2` to zero: does the block return x itself? If not, look at the two sums.",
        (
            "Return after the first half and compare with u in the formula: what is added to what, and what goes "
            "into the norm?"
        ),
        (
            "Print `norm1.eps` and `norm2.eps`, and over how many numbers each norm works. Does the second half "
            "read u or x?"
        ),
    ),
)


def _block_weights(draw: Draw, N: int, D: int, token_hidden: int, channel_hidden: int, prefix: str = "") -> dict:
    weights = {}
    for norm in ("norm1", "norm2"):
        weights |= draw.norm(prefix + norm, D)
    for name, width, hidden in (("token_mixing", N, token_hidden), ("channel_mixing", D, channel_hidden)):
        weights |= draw.linear(f"{prefix}{name}.fc1", width, hidden)
        weights |= draw.linear(f"{prefix}{name}.fc2", hidden, width)
    return weights


@block.inputs
def _(draw: Draw):
    # A stream that is small, and stays small, shows the eps of the norms. Its gradients are left out: sums that cancel, and
    # so mostly rounding.
    for size in (1.0, 0.003):
        N, D, token_hidden, channel_hidden = draw.sizes(4, low=4, high=9)
        weights = _block_weights(draw, N, D, token_hidden, channel_hidden)
        weights |= {name: size * value for name, value in weights.items() if name.startswith("token_mixing.fc2.")}
        yield Call(
            "MixerBlock",
            {"x": size * draw.normal(3, N, D)},
            init={"num_tokens": N, "embed_dim": D, "token_hidden": token_hidden, "channel_hidden": channel_hidden},
            parameters=weights,
            gradients=("x",) if size == 1.0 else (),
        )


class _Block(nn.Module):
    """The right parts, by the names of the exercise; each mistake below wires them in its own way."""

    def __init__(self, num_tokens, embed_dim, token_hidden, channel_hidden, eps=1e-6):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=eps)
        self.token_mixing = _Tokens(num_tokens, token_hidden)
        self.norm2 = nn.LayerNorm(embed_dim, eps=eps)
        self.channel_mixing = _Channels(embed_dim, channel_hidden)

    def forward(self, x):
        x = x + self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(self.norm2(x))


@block.mistake(
    "Your layer norms have torch's own eps of 0.00001. It shows for small numbers only, but the public "
    "Mixers have 0.000001, and their weights would give other scores in your block."
)
class UsualEps(_Block):
    def __init__(self, *sizes):
        super().__init__(*sizes, eps=1e-5)


@block.mistake(
    "Your block normalises after each addition (post-norm). Here each part gets a normalised copy of the "
    "stream, and the stream itself is left alone (pre-norm)."
)
class PostNorm(_Block):
    def forward(self, x):
        x = self.norm1(x + self.token_mixing(x))
        return self.norm2(x + self.channel_mixing(x))


@block.mistake(
    "Your stream itself is normalised: what comes back from each part is added to the normalised x. Keep the "
    "x that came in, and normalise only what the part gets to see."
)
class ResidualFromNormalised(_Block):
    def forward(self, x):
        x = self.norm1(x)
        x = x + self.token_mixing(x)
        x = self.norm2(x)
        return x + self.channel_mixing(x)


@block.mistake("The residual connection around the token mixing is missing: its output replaces the stream.")
class NoResidualAroundTokens(_Block):
    def forward(self, x):
        x = self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(self.norm2(x))


@block.mistake("The residual connection around the channel mixing is missing: its output replaces the stream.")
class NoResidualAroundChannels(_Block):
    def forward(self, x):
        x = x + self.token_mixing(self.norm1(x))
        return self.channel_mixing(self.norm2(x))


@block.mistake("Both residual connections are missing: the two parts should add to the stream, not replace it.")
class NoResiduals(_Block):
    def forward(self, x):
        return self.channel_mixing(self.norm2(self.token_mixing(self.norm1(x))))


@block.mistake(
    "The second addition goes back to the x that came in, so what the token mixing found is lost from the "
    "stream. Add the channel mixing's output to the stream as the token mixing left it."
)
class SecondResidualFromInput(_Block):
    def forward(self, x):
        y = x + self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(self.norm2(y))


@block.mistake(
    "Both parts read the x that came in, side by side. Here they work one after the other: the channel "
    "mixing sees what the token mixing has added."
)
class SideBySide(_Block):
    def forward(self, x):
        return x + self.token_mixing(self.norm1(x)) + self.channel_mixing(self.norm2(x))


@block.mistake("norm1 is used in both places and norm2 in none. Each part has a normalisation of its own.")
class OneNormForBoth(_Block):
    def forward(self, x):
        x = x + self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(self.norm1(x))


@block.mistake(
    "norm1 and norm2 have changed places: the token mixing reads through norm1, the channel mixing through norm2."
)
class NormsSwapped(_Block):
    def forward(self, x):
        x = x + self.token_mixing(self.norm2(x))
        return x + self.channel_mixing(self.norm1(x))


@block.mistake("The token mixing gets the stream as it is: norm1 is missing in front of it.")
class NoNormBeforeTokens(_Block):
    def forward(self, x):
        x = x + self.token_mixing(x)
        return x + self.channel_mixing(self.norm2(x))


@block.mistake("The channel mixing gets the stream as it is: norm2 is missing in front of it.")
class NoNormBeforeChannels(_Block):
    def forward(self, x):
        x = x + self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(x)


@block.mistake("The channel mixing comes first in your block: in the Mixer the tokens are mixed first.")
class ChannelsFirst(_Block):
    def forward(self, x):
        x = x + self.channel_mixing(self.norm2(x))
        return x + self.token_mixing(self.norm1(x))


@block.mistake("The token mixing is never used in your block: no token hears of another.")
class TokensForgotten(_Block):
    def forward(self, x):
        return x + self.channel_mixing(self.norm2(x))


@block.mistake("You normalise what the two parts give, after them. Normalise what they read, before them.")
class BranchesNormalised(_Block):
    def forward(self, x):
        x = x + self.norm1(self.token_mixing(x))
        return x + self.norm2(self.channel_mixing(x))


@block.alternative
class BlockByHand(_Block):
    """Layer norm and both MLPs written out."""

    def normalise(self, x, norm):
        centred = x - x.mean(dim=-1, keepdim=True)
        return centred / (centred.pow(2).mean(dim=-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias

    def forward(self, x):
        tokens, channels = self.token_mixing, self.channel_mixing
        hidden = F.gelu(tokens.fc1.weight @ self.normalise(x, self.norm1) + tokens.fc1.bias[:, None])
        x = tokens.fc2.weight @ hidden + tokens.fc2.bias[:, None] + x
        return channels.fc2(F.gelu(channels.fc1(self.normalise(x, self.norm2)))) + x


@block.alternative
class BlockInAnotherOrder(nn.Module):
    """One class for both MLPs, turned by the block, and the parts defined the other way round."""

    def __init__(self, num_tokens, embed_dim, token_hidden, channel_hidden):
        super().__init__()
        self.channel_mixing = _Channels(embed_dim, channel_hidden)
        self.token_mixing = _Channels(num_tokens, token_hidden)
        self.norm2 = nn.LayerNorm(embed_dim, 1e-6)
        self.norm1 = nn.LayerNorm(embed_dim, 1e-6)

    def forward(self, x):
        y = rearrange(self.norm1(x), "b n d -> b d n")
        x = x + rearrange(self.token_mixing(y), "b d n -> b n d")
        return x + self.channel_mixing(self.norm2(x))


# ------------------------------------------------------------------------------------------------------------
# 4. MLPMixer

mixer = homework.exercise(
    "MLPMixer",
    points=7,
    hints=(
        (
            "Print name and shape of every parameter. For 4 × 6 pixels, P = 2 and D = 8 there are 6 tokens; the "
            "weight of `fc1` is (4, 6) in the token mixing and (32, 8) in the channel mixing."
        ),
        (
            "Print the shape after each step: map (B, D, h, w), tokens (B, N, D), after the mean (B, D), scores. "
            "Which is the first that differs?"
        ),
        (
            "If the shapes are right: do the tokens come in reading order, row after row? Does `norm` come before "
            "the mean, and with which eps? Has each block weights of its own?"
        ),
    ),
)


@mixer.inputs
def _(draw: Draw):
    # Where every branch adds little to a small stream, the eps of the last norm shows.
    for patch_size, depth, size in ((2, 2, 1.0), (3, 3, 1.0), (3, 1, 0.003)):
        h, w = draw.sizes(2, low=2, high=4)
        C, D = (3, 2 * draw.integer(3, 4)) if patch_size == 2 else (1, 2 * draw.integer(2, 3))
        N, classes = h * w, draw.integer(11, 13)
        weights = {"stem.weight": draw.normal(D, C, patch_size, patch_size), "stem.bias": draw.normal(D)}
        for i in range(depth):
            weights |= _block_weights(draw, N, D, D // 2, 4 * D, prefix=f"blocks.{i}.")
        small = [name for name in weights if name.startswith("stem.") or ".fc2." in name]
        weights |= {name: size * weights[name] for name in small}
        weights |= draw.norm("norm", D) | draw.linear("head", D, classes)
        H, W = h * patch_size, w * patch_size
        yield Call(
            "MLPMixer",
            {"images": draw.normal(2, C, H, W)},
            init={
                "height": H,
                "width": W,
                "patch_size": patch_size,
                "in_channels": C,
                "embed_dim": D,
                "depth": depth,
                "num_classes": classes,
            },
            parameters=weights,
            gradients=("images",) if size == 1 else (),
        )


class _Network(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    eps = 1e-6

    def __init__(self, height, width, patch_size, in_channels, embed_dim, depth, num_classes):
        super().__init__()
        num_tokens = height * width // patch_size**2
        self.stem = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size)
        self.blocks = nn.Sequential(*[self.make(num_tokens, embed_dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim, eps=self.eps)
        self.head = nn.Linear(embed_dim, num_classes)

    def make(self, N, D):
        return _Block(N, D, D // 2, 4 * D)

    def tokens(self, maps):
        return rearrange(maps, "b d h w -> b (h w) d")

    def through(self, x):
        return self.blocks(x)

    def pool(self, x):
        return self.norm(x).mean(dim=1)

    def forward(self, images):
        return self.head(self.pool(self.through(self.tokens(self.stem(images)))))


@mixer.mistake(
    "Your last layer norm has torch's own eps of 0.00001. The public Mixers have 0.000001 there too; where the numbers of a "
    "token are nearly equal, that shows."
)
class LastNormUsualEps(_Network):
    eps = 1e-5


@mixer.mistake(
    "Your tokens are in the wrong order: the grid is read column after column. Reading order goes along the "
    "rows; the token layers have a weight for each place, so order counts."
)
class ColumnAfterColumn(_Network):
    def tokens(self, maps):
        return rearrange(maps, "b d h w -> b (w h) d")


@mixer.mistake(
    "You poured the map (B, D, h, w) into (B, N, D) in the order its numbers lie in, so a token holds one "
    "channel at many places. The channels have to move to the end first."
)
class MapPoured(_Network):
    def tokens(self, maps):
        B, D, h, w = maps.shape
        return maps.reshape(B, h * w, D)


@mixer.mistake("The last layer norm is missing, between the blocks and the mean.")
class NoLastNorm(_Network):
    def pool(self, x):
        return x.mean(dim=1)


@mixer.mistake(
    "You average first and normalise then. Each token is normalised for itself, then the mean is taken: it "
    "is not the same."
)
class NormAfterMean(_Network):
    def pool(self, x):
        return self.norm(x.mean(dim=1))


@mixer.mistake(
    "Your head reads the first token only, as if it were a class token. The Mixer has none: average all tokens."
)
class FirstToken(_Network):
    def pool(self, x):
        return self.norm(x)[:, 0]


@mixer.mistake("You take the largest value over the tokens. The mean is asked for.")
class MaximumOverTokens(_Network):
    def pool(self, x):
        return self.norm(x).amax(dim=1)


@mixer.mistake("You add the tokens up. The mean is asked for: divide by how many there are.")
class SumOverTokens(_Network):
    def pool(self, x):
        return self.norm(x).sum(dim=1)


@mixer.mistake(
    "Only your first block is used, again and again. Each of the blocks has weights of its own, and each comes once."
)
class SameBlockAgain(_Network):
    def through(self, x):
        for _ in self.blocks:
            x = self.blocks[0](x)
        return x


@mixer.mistake("Only your last block reaches the output: each block must get what the one before it returned.")
class BlocksNotChained(_Network):
    def through(self, x):
        for part in self.blocks:
            y = part(x)
        return y


@mixer.mistake("The blocks are never used: the tokens go straight from the stem to the last norm.")
class BlocksForgotten(_Network):
    def through(self, x):
        return x


@mixer.mistake(
    "You added one more residual connection, around all blocks together. Each block has its own two; there "
    "is none around them."
)
class ResidualAroundAll(_Network):
    def through(self, x):
        return x + self.blocks(x)


@mixer.mistake("There is a GELU after your stem. The tokens go into the first block as the convolution gives them.")
class GeluAfterStem(_Network):
    def tokens(self, maps):
        return super().tokens(F.gelu(maps))


@mixer.mistake(
    "Your network ends with a softmax. Raw scores are asked for: the cross entropy has a softmax of its own."
)
class SoftmaxAtTheEnd(_Network):
    def forward(self, images):
        return super().forward(images).softmax(dim=-1)


@mixer.mistake("Your blocks lack the token mixing: no token hears of another before the mean at the end.")
class WithoutTokenMixing(_Network):
    def make(self, N, D):
        return TokensForgotten(N, D, D // 2, 4 * D)


@mixer.mistake(
    "The head is never used: you return the averaged token, D numbers, where one score for each class is asked for."
)
class HeadForgotten(_Network):
    def forward(self, images):
        return self.pool(self.through(self.tokens(self.stem(images))))


@mixer.alternative
class MixerByPatches(_Network):
    """The stem as a linear layer on cut-out patches."""

    def forward(self, images):
        P = self.stem.kernel_size[0]
        patches = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=P, q=P)
        x = F.linear(patches, self.stem.weight.flatten(1), self.stem.bias)
        for part in self.blocks:
            x = part(x)
        return self.head(self.norm(x)).mean(dim=1)


@mixer.alternative
class MixerByFlatten(_Network):
    def forward(self, images):
        x = self.stem(images).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(x))
        return F.linear(x.sum(dim=1) / x.shape[1], self.head.weight, self.head.bias)


# ------------------------------------------------------------------------------------------------------------
# 5. token_kernels and channel_kernels

convolutions = homework.exercise(
    "as_convolutions",
    points=7,
    targets=("token_kernels", "channel_kernels"),
    hints=(
        (
            "Try the example by hand, M = 1, a grid of 1 × 2, two channels: is the kernel 5, 7 and again 5, 7, "
            "and its shape (2, 1, 1, 2)?"
        ),
        (
            "Let M = 2 and print the kernels along the first axis: the M kernels of channel 0 come first, then "
            "those of channel 1. Or does kernel 0 come first, for all channels?"
        ),
        "Run the cell below the check and read both differences. Is the picture in each kernel filled row after row?",
    ),
)


@convolutions.inputs
def _(draw: Draw):
    for _ in range(2):
        h, w, M, D = draw.sizes(4, low=2, high=6)
        yield Call(
            "token_kernels",
            {
                "weight": draw.normal(M, h * w),
                "bias": draw.normal(M),
                "height": h,
                "width": w,
                "channels": D,
            },
            gradients=("weight", "bias"),
        )
    E, D = draw.sizes(2, low=3, high=7)
    weights = {"weight": draw.normal(E, D), "bias": draw.normal(E)}
    yield Call("channel_kernels", weights, gradients=("weight", "bias"))


def _kernels(weight, height, width, channels):
    return repeat(weight, "m (h w) -> (d m) 1 h w", h=height, w=width, d=channels)


@convolutions.mistake(
    "token_kernels: all copies of kernel 0 come first, then all of kernel 1. torch gives the first M kernels "
    "to channel 0, so the whole set of M comes again and again, once for each channel.",
    target="token_kernels",
)
def each_kernel_repeated(weight, bias, height, width, channels):
    kernel = rearrange(weight, "m (h w) -> m 1 h w", h=height)
    return kernel.repeat_interleave(channels, dim=0), bias.repeat_interleave(channels)


@convolutions.mistake(
    "token_kernels: the kernel is right, but your bias repeats each number where it should repeat the whole "
    "set, as the kernel does.",
    target="token_kernels",
)
def each_bias_repeated(weight, bias, height, width, channels):
    return _kernels(weight, height, width, channels), bias.repeat_interleave(channels)


@convolutions.mistake(
    "token_kernels: the kernel is right, but your bias has M numbers. The convolution has D·M outputs, and "
    "each needs one.",
    target="token_kernels",
)
def bias_not_repeated(weight, bias, height, width, channels):
    return _kernels(weight, height, width, channels), bias


@convolutions.mistake(
    "token_kernels: you made one set of M kernels. With one group for each channel, torch wants a set for "
    "each of them, D·M kernels in all, though all sets are equal.",
    target="token_kernels",
)
def one_set_only(weight, bias, height, width, channels):
    return _kernels(weight, height, width, 1), bias


@convolutions.mistake(
    "token_kernels: your kernels were turned round by half a turn. What torch calls a convolution does not "
    "turn them, so nor need you.",
    target="token_kernels",
)
def kernels_turned(weight, bias, height, width, channels):
    return _kernels(weight, height, width, channels).flip(2, 3), bias.repeat(channels)


@convolutions.mistake(
    "token_kernels: you read a row of the weight column after column of the grid. Places are in reading "
    "order: along the rows.",
    target="token_kernels",
)
def column_after_column(weight, bias, height, width, channels):
    return repeat(weight, "m (w h) -> (d m) 1 h w", h=height, w=width, d=channels), bias.repeat(channels)


@convolutions.mistake(
    "token_kernels: your kernels have width and height exchanged: asked for is (D·M, 1, height, width).",
    target="token_kernels",
)
def sides_exchanged(weight, bias, height, width, channels):
    return repeat(weight, "m (h w) -> (d m) 1 w h", h=height, w=width, d=channels), bias.repeat(channels)


@convolutions.mistake(
    "token_kernels: you divided by the number of places. The layer adds up over the places, and so does a convolution.",
    target="token_kernels",
)
def kernels_averaged(weight, bias, height, width, channels):
    return _kernels(weight, height, width, channels) / (height * width), bias.repeat(channels)


@convolutions.mistake(
    "token_kernels: your kernels look at all channels at once, (M, D, h, w). That would mix the channels; in "
    "a depthwise kernel the second axis has length 1.",
    target="token_kernels",
)
def dense_kernels(weight, bias, height, width, channels):
    return repeat(weight, "m (h w) -> m d h w", h=height, w=width, d=channels), bias


@convolutions.mistake(
    "channel_kernels: you return the weight as the layer has it. A convolution wants two axes more, for the "
    "height and the width of its kernel, both of length 1.",
    target="channel_kernels",
)
def channel_weight_as_it_is(weight, bias):
    return weight, bias


@convolutions.mistake(
    "channel_kernels: inputs and outputs are exchanged. A convolution, like a linear layer, has its outputs "
    "on the first axis.",
    target="channel_kernels",
)
def channel_weight_transposed(weight, bias):
    return weight.T[:, :, None, None], bias


@convolutions.mistake(
    "channel_kernels: the two axes of length 1 stand in front. The kernel is (E, D, 1, 1): outputs, inputs, "
    "height, width.",
    target="channel_kernels",
)
def ones_in_front(weight, bias):
    return weight[None, None], bias


@convolutions.alternative
def kernels_by_einops(weight, bias, height, width, channels):
    return _kernels(weight, height, width, channels), repeat(bias, "m -> (d m)", d=channels)


@convolutions.alternative
def kernels_by_loops(weight, bias, height, width, channels):
    kernels, biases = [], []
    for _ in range(channels):
        for m in range(len(weight)):
            kernels.append(weight[m].view(1, height, width))
            biases.append(bias[m])
    return torch.stack(kernels), torch.stack(biases)


@convolutions.alternative(target="channel_kernels")
def channel_by_reshape(weight, bias):
    return weight.reshape(*weight.shape, 1, 1), bias.clone()


@convolutions.alternative(target="channel_kernels")
def channel_by_einops(weight, bias):
    return rearrange(weight, "e d -> e d 1 1"), bias


# ------------------------------------------------------------------------------------------------------------
# 6. mixer_parameters

counting = homework.exercise(
    "mixer_parameters",
    points=4,
    forbidden=("torch.nn.Module",),
    hints=(
        "Count one token mixing alone, with N = 4 and hidden 3: is it 31?",
        (
            "Make a small `MLPMixer` and print the size of each parameter by name. Compare part by part, stem, "
            "one block, last norm, head: which differs from yours?"
        ),
        (
            "How many layer norms are in a block, and which one is there besides? Are all biases counted? Which "
            "MLP is D/2 wide inside, and which 4D?"
        ),
    ),
)


@counting.inputs
def _(draw: Draw):
    for patch_size in (4, 7):
        h, w, depth = draw.sizes(3, low=3, high=9)
        yield Call(
            "mixer_parameters",
            {
                "height": h * patch_size,
                "width": w * patch_size,
                "patch_size": patch_size,
                "in_channels": draw.integer(3, 5),
                "embed_dim": 2 * draw.integer(20, 60),
                "depth": depth,
                "num_classes": draw.integer(11, 99),
            },
        )


def _count(
    H,
    W,
    P,
    C,
    D,
    L,
    K,
    biases=1,
    block_norms=2,
    last_norm=1,
    stem=1,
    head=1,
    blocks=None,
    extra=0,
    token_mlps=1,
    token_hidden=None,
    pixels=None,
    in_channels=None,
    stem_bias=1,
):
    """The right count with replaceable parts."""
    N = (H // P) * (W // P)
    mlp = lambda outside, inside: 2 * outside * inside + biases * (outside + inside)
    block = token_mlps * mlp(N, token_hidden or D // 2) + mlp(D, 4 * D) + block_norms * 2 * D
    total = (L if blocks is None else blocks) * block + last_norm * 2 * D + extra
    total += stem * ((in_channels or C) * (pixels or P * P) * D + biases * stem_bias * D)
    return total + head * (D * K + biases * K)


def counted(sentence, name, **parts):
    """A wrong count as a mistake; `parts` may be functions of the arguments."""

    def wrong(*sizes):
        return _count(*sizes, **{key: part(*sizes) if callable(part) else part for key, part in parts.items()})

    wrong.__name__ = name
    counting.mistake(sentence)(wrong)


counted("You counted the weights only: every linear layer and the stem have biases too.", "no_biases", biases=0)
counted("You left out the layer norms of the blocks.", "no_block_norms", block_norms=0)
counted("Each block has two layer norms; you counted one.", "one_norm_in_a_block", block_norms=1)
counted(
    "You counted one number for each channel of a layer norm. It has two: a weight and a bias.",
    "half_norms",
    block_norms=1,
    last_norm=0.5,
)
counted("The last layer norm is missing, between the blocks and the head.", "no_last_norm", last_norm=0)
counted("You left out all layer norms.", "no_norms", block_norms=0, last_norm=0)
counted("The head is missing: linear from D to the classes.", "no_head", head=0)
counted("The stem is missing: from the pixels of a patch to D channels.", "no_stem", stem=0)
counted("You counted one block. There are depth of them.", "one_block", blocks=1)
counted(
    "Your token mixing is half of N wide inside. In the Mixer its hidden width is half of D, whatever the "
    "number of tokens.",
    "hidden_from_tokens",
    token_hidden=lambda H, W, P, C, D, L, K: (H // P) * (W // P) // 2,
)
counted(
    "Your token mixing is 4·D wide inside, as the channel mixing is. It is half of D.",
    "token_hidden_like_channels",
    token_hidden=lambda H, W, P, C, D, L, K: 4 * D,
)
counted(
    "You counted a token MLP for each of the D channels. All channels share one: this is what keeps the Mixer small.",
    "mlp_for_each_channel",
    token_mlps=lambda H, W, P, C, D, L, K: D,
)
counted(
    "You counted position codes, N·D numbers. The Mixer has none: the places are in the weights of its token layers.",
    "position_codes",
    extra=lambda H, W, P, C, D, L, K: (H // P) * (W // P) * D,
)
counted(
    "Your stem counts a patch as P numbers. It has P·P pixels.",
    "patch_as_a_line",
    pixels=lambda H, W, P, C, D, L, K: P,
)
counted(
    "Your stem reads one colour only: a patch has P·P pixels in each of the C channels of the image.",
    "one_colour",
    in_channels=1,
)
counted("Your stem has no bias: it has one number for each of its D outputs.", "stem_without_bias", stem_bias=0)


@counting.alternative
def counted_by_shapes(height, width, patch_size, in_channels, embed_dim, depth, num_classes):
    N, D = height // patch_size * (width // patch_size), embed_dim
    shapes = [(D, in_channels, patch_size, patch_size), (D,), (D,), (D,), (num_classes, D), (num_classes,)]
    for outside, inside in depth * [(N, D // 2), (D, 4 * D)]:
        shapes += [(inside, outside), (inside,), (outside, inside), (outside,), (D,), (D,)]
    return sum(math.prod(shape) for shape in shapes)


@counting.alternative
def counted_layer_by_layer(height, width, patch_size, in_channels, embed_dim, depth, num_classes):
    linear = lambda a, b: (a + 1) * b
    N = height * width / patch_size**2
    total = linear(in_channels * patch_size * patch_size, embed_dim)
    for _ in range(depth):
        total += 2 * embed_dim + linear(N, embed_dim / 2) + linear(embed_dim / 2, N)
        total += 2 * embed_dim + linear(embed_dim, 4 * embed_dim) + linear(4 * embed_dim, embed_dim)
    return total + 2 * embed_dim + linear(embed_dim, num_classes)


# ------------------------------------------------------------------------------------------------------------
# 7. resize_token_mixing

resizing = homework.exercise(
    "resize_token_mixing",
    points=5,
    hints=(
        (
            "Let the new grid be the old one: do all three come back unchanged? If not, look at the axes before "
            "and after `F.interpolate`."
        ),
        "Try the example by hand, the row 8, 4 of `fc1` from 1 × 2 to 1 × 4: 4, 3.5, 2.5, 2? Its sum stays 12.",
        (
            "`fc2` is (N, M), so its pictures stand in columns. What has to be done before and after, so that "
            "they are resized like the rows of `fc1`? Which of the three gets a factor?"
        ),
    ),
)


@resizing.inputs
def _(draw: Draw):
    # A larger grid, then a smaller one.
    for M, (least, most), (new_least, new_most) in ((7, (2, 4), (5, 8)), (9, (5, 6), (3, 4))):
        h, w = draw.sizes(2, low=least, high=most)
        new_h, new_w = draw.sizes(2, low=new_least, high=new_most)
        N = h * w
        yield Call(
            "resize_token_mixing",
            {
                "fc1_weight": draw.normal(M, N),
                "fc2_weight": draw.normal(N, M),
                "fc2_bias": draw.normal(N),
                "height": h,
                "width": w,
                "new_height": new_h,
                "new_width": new_w,
            },
            gradients=("fc1_weight", "fc2_weight", "fc2_bias"),
        )


def _resized(pictures, grid, new_grid, mode="bilinear", align=False):
    """(K, N) -> (K, N')."""
    maps = pictures.reshape(-1, 1, *grid)
    maps = F.interpolate(maps, size=new_grid, mode=mode, **({} if mode == "nearest" else {"align_corners": align}))
    return maps.flatten(1)


def _resize(fc1, fc2, bias, h, w, new_h, new_w, in_factor=None, out_factor=1.0, resized=_resized, **how):
    """The right answer with replaceable parts."""
    factor = h * w / (new_h * new_w) if in_factor is None else in_factor
    new = lambda pictures: resized(pictures, (h, w), (new_h, new_w), **how)
    return new(fc1) * factor, new(fc2.T).T * out_factor, new(bias[None])[0] * out_factor


@resizing.mistake(
    "Your fc1 is not scaled: it adds up over the places, so with more places its sums would grow. Multiply "
    "by the old number of places over the new one."
)
def fc1_not_scaled(*arguments):
    return _resize(*arguments, in_factor=1.0)


@resizing.mistake("Your factor for fc1 is upside down: with more places each single weight must become smaller.")
def factor_upside_down(fc1, fc2, bias, h, w, new_h, new_w):
    return _resize(fc1, fc2, bias, h, w, new_h, new_w, in_factor=new_h * new_w / (h * w))


@resizing.mistake(
    "You scaled fc2 and its bias as well. They write to each place, and do not add up over places: no factor there."
)
def everything_scaled(fc1, fc2, bias, h, w, new_h, new_w):
    return _resize(fc1, fc2, bias, h, w, new_h, new_w, out_factor=h * w / (new_h * new_w))


@resizing.mistake(
    "You scaled fc2 instead of fc1. The layer that adds up over the places is fc1; fc2 writes to each of them."
)
def wrong_layer_scaled(fc1, fc2, bias, h, w, new_h, new_w):
    right = _resize(fc1, fc2, bias, h, w, new_h, new_w, in_factor=1.0)
    return right[0], right[1] * (h * w / (new_h * new_w)), right[2]


@resizing.mistake(
    "You resized with the corners aligned. Here the pictures are aligned by their outer edges: align_corners is False."
)
def corners_aligned(*arguments):
    return _resize(*arguments, align=True)


@resizing.mistake("Your pictures are resized by taking the nearest value. Bilinear is asked for.")
def nearest_value(*arguments):
    return _resize(*arguments, mode="nearest")


@resizing.mistake("Your pictures are resized by the bicubic rule. Bilinear is asked for.")
def bicubic(*arguments):
    return _resize(*arguments, mode="bicubic")


@resizing.mistake(
    "You stretched the N places as if they stood in one line, so the end of a row runs into the start of the "
    "next. Lay them out as the grid first."
)
def as_one_line(*arguments):
    def along_the_line(pictures, grid, new_grid):
        return F.interpolate(pictures[:, None], size=new_grid[0] * new_grid[1], mode="linear")[:, 0]

    return _resize(*arguments, resized=along_the_line)


@resizing.mistake(
    "Your pictures are laid out column after column. Places are in reading order, along the rows of the grid."
)
def laid_out_by_columns(*arguments):
    def by_columns(pictures, grid, new_grid):
        maps = rearrange(pictures, "k (w h) -> k 1 h w", h=grid[0])
        return rearrange(F.interpolate(maps, size=new_grid, mode="bilinear"), "k 1 h w -> k (w h)")

    return _resize(*arguments, resized=by_columns)


@resizing.mistake("The new height and the new width have changed places.")
def new_sides_exchanged(*arguments):
    return _resize(*arguments, resized=lambda pictures, grid, new: _resized(pictures, grid, new[::-1]))


@resizing.mistake(
    "fc1 and the bias are right, but you cut fc2 into pictures as its numbers lie. In (N, M) the pictures "
    "are the columns: turn it first, and turn it back."
)
def fc2_poured(fc1, fc2, bias, h, w, new_h, new_w):
    new_fc1, _, new_bias = _resize(fc1, fc2, bias, h, w, new_h, new_w)
    poured = _resized(fc2.reshape(fc2.shape[1], -1), (h, w), (new_h, new_w))
    return new_fc1, poured.reshape(-1, fc2.shape[1]), new_bias


@resizing.mistake(
    "Your factor for fc1 is divided in whole numbers, which drops everything behind the point. It is the old number of places "
    "over the new one as it is."
)
def factor_in_whole_numbers(fc1, fc2, bias, h, w, new_h, new_w):
    return _resize(fc1, fc2, bias, h, w, new_h, new_w, in_factor=h * w // (new_h * new_w))


@resizing.alternative
def resized_picture_by_picture(fc1_weight, fc2_weight, fc2_bias, height, width, new_height, new_width):
    def one(picture):
        picture = picture.view(1, 1, height, width)
        return F.interpolate(picture, (new_height, new_width), mode="bilinear").flatten()

    rows = torch.stack([one(row) for row in fc1_weight / (new_height * new_width) * height * width])
    columns = torch.stack([one(column.contiguous()) for column in fc2_weight.T], dim=1)
    return rows, columns, one(fc2_bias)


@resizing.alternative
def resized_by_a_matrix(fc1_weight, fc2_weight, fc2_bias, height, width, new_height, new_width):
    """Bilinear resizing is linear: one matrix (N', N) does all three."""
    N, new = height * width, (new_height, new_width)
    stretch = F.interpolate(torch.eye(N).view(1, N, height, width), new, mode="bilinear")[0].flatten(1).T
    return fc1_weight @ stretch.T * N / len(stretch), stretch @ fc2_weight, stretch @ fc2_bias


# ------------------------------------------------------------------------------------------------------------
# 8. Affine and fold_affine

affine = homework.exercise(
    "affine",
    points=4,
    targets=("Affine", "fold_affine"),
    hints=(
        "Print the parameters of an `Affine` that was just made: are they `alpha`, all ones, and `beta`, all zeros?",
        "For the folding, take D = E = 1, alpha 3, beta 5, weight 2, bias 1: do weight 6 and bias 11 come out?",
        (
            "Write the linear layer of Affine's result as a sum over the channels, and sort by x: what stands "
            "before each x, and what is left over? Which axis of `weight` counts the channels?"
        ),
    ),
)


@affine.inputs
def _(draw: Draw):
    N, D = draw.sizes(2, low=4, high=8)
    yield Call(
        "Affine",
        {"x": draw.normal(3, N, D)},
        init={"embed_dim": D},
        parameters={"alpha": 1 + 0.5 * draw.normal(D), "beta": draw.normal(D)},
        gradients=("x",),
        start=("alpha", "beta"),
    )
    E, D = draw.sizes(2, low=3, high=8)
    yield Call(
        "fold_affine",
        {
            "alpha": 1 + 0.5 * draw.normal(D),
            "beta": draw.normal(D),
            "weight": draw.normal(E, D),
            "bias": draw.normal(E),
        },
        gradients=("alpha", "beta", "weight", "bias"),
    )


class _Affine(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(embed_dim))
        self.alpha = nn.Parameter(torch.ones(embed_dim))


@affine.mistake(
    "Affine: what it computes is right, but alpha begins at 0. A fresh layer then gives 0 for everything; alpha begins at "
    "1 and beta at 0, so that it changes nothing.",
    target="Affine",
)
class AlphaBeginsAtZero(_Affine):
    def __init__(self, embed_dim):
        super().__init__(embed_dim)
        nn.init.zeros_(self.alpha)

    def forward(self, x):
        return self.alpha * x + self.beta


@affine.mistake(
    "Affine: what it computes is right, but alpha and beta begin as random numbers. They begin at 1 and 0, so that a fresh "
    "layer changes nothing.",
    target="Affine",
)
class AffineBeginsAtRandom(_Affine):
    def __init__(self, embed_dim):
        super().__init__(embed_dim)
        nn.init.normal_(self.alpha)
        nn.init.normal_(self.beta)

    def forward(self, x):
        return self.alpha * x + self.beta


@affine.mistake(
    "Affine: you normalise first. That is a layer norm; here nothing is measured, the numbers are only "
    "stretched and moved.",
    target="Affine",
)
class AffineLikeLayerNorm(_Affine):
    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.alpha, self.beta)


@affine.mistake("Affine: beta is added before the stretching. Stretch by alpha first, then move.", target="Affine")
class MovedFirst(_Affine):
    def forward(self, x):
        return self.alpha * (x + self.beta)


@affine.mistake("Affine: beta is never added.", target="Affine")
class WithoutBeta(_Affine):
    def forward(self, x):
        return self.alpha * x + 0 * self.beta


@affine.mistake("Affine: alpha is never used.", target="Affine")
class WithoutAlpha(_Affine):
    def forward(self, x):
        return x + self.beta + 0 * self.alpha


@affine.mistake(
    "Affine: you added the x that came in. Residual connections are a matter for the block.", target="Affine"
)
class AffineWithResidual(_Affine):
    def forward(self, x):
        return x + self.alpha * x + self.beta


@affine.mistake("Affine: you divide by alpha. It multiplies.", target="Affine")
class DividedByAlpha(_Affine):
    def forward(self, x):
        return x / self.alpha + self.beta


@affine.mistake(
    "fold_affine: the bias is as it was. What beta adds to the channels goes through the weight, and arrives "
    "at the outputs as a constant.",
    target="fold_affine",
)
def beta_lost(alpha, beta, weight, bias):
    return weight * alpha, bias


@affine.mistake(
    "fold_affine: the weight is as it was. Each of its columns reads one channel, which alpha has stretched.",
    target="fold_affine",
)
def alpha_lost(alpha, beta, weight, bias):
    return weight, bias + weight @ beta


@affine.mistake(
    "fold_affine: beta went through the new weight, which has alpha in it. It is added after the stretching, "
    "so it meets the old weight.",
    target="fold_affine",
)
def beta_stretched(alpha, beta, weight, bias):
    return weight * alpha, bias + (weight * alpha) @ beta


@affine.mistake("fold_affine: the old bias of the linear layer is lost.", target="fold_affine")
def bias_lost(alpha, beta, weight, bias):
    return weight * alpha, weight @ beta


@affine.mistake(
    "fold_affine: you subtract what beta brings, as if the Affine were to be undone. It is to be included.",
    target="fold_affine",
)
def affine_undone(alpha, beta, weight, bias):
    return weight / alpha, bias - (weight / alpha) @ beta


@affine.alternative
class AffineByAddcmul(_Affine):
    def forward(self, x):
        return torch.addcmul(self.beta, self.alpha, x)


@affine.alternative
class AffineByMatrix(_Affine):
    def forward(self, x):
        return x @ self.alpha.diag() + self.beta


@affine.alternative(target="fold_affine")
def fold_by_matrix(alpha, beta, weight, bias):
    return weight @ alpha.diag(), F.linear(beta, weight, bias)


@affine.alternative(target="fold_affine")
def fold_by_trying(alpha, beta, weight, bias):
    """Asks the two layers what they do with nothing, and with each channel alone."""
    both = lambda x: F.linear(alpha * x + beta, weight, bias)
    constant = both(torch.zeros(len(alpha)))
    return (both(torch.eye(len(alpha))) - constant).T, constant


# ------------------------------------------------------------------------------------------------------------
# 9. initial_gate and SpatialGatingUnit

gating = homework.exercise(
    "gating",
    points=5,
    targets=("initial_gate", "SpatialGatingUnit"),
    hints=(
        "Print what `initial_gate(3)` returns: which of the two is 0, which is 1, and what are their shapes?",
        (
            "Try the example by hand, `SpatialGatingUnit(4, 1)` on `torch.tensor([[[3., 4, 7, 9]]])`: 3 and 4? If "
            "not, print the gate alone. It should be 1 everywhere."
        ),
        (
            "Print the shape that goes into `proj`: the tokens have to be last. Which half is normalised, and "
            "which is let through? Print `norm.eps`, too."
        ),
    ),
)


@gating.inputs
def _(draw: Draw):
    yield Call("initial_gate", {"num_tokens": draw.integer(4, 8)})
    for size in (1.0, 1.0, 0.003):  # of v, in which the eps of the norm then shows
        N, half = draw.sizes(2, low=4, high=8)
        E = 2 * half if 2 * half != N else 2 * half + 2
        yield Call(
            "SpatialGatingUnit",
            {"z": torch.cat([draw.normal(3, N, E // 2), size * draw.normal(3, N, E // 2)], dim=-1)},
            init={"embed_dim": E, "num_tokens": N},
            parameters=draw.norm("norm", E // 2) | draw.linear("proj", N, N),
            gradients=("z",) if size == 1 else (),
            start=("proj.weight", "proj.bias"),
        )


class _Gate(nn.Module):
    """Right, and cut into pieces."""

    eps = 1e-5

    def __init__(self, embed_dim, num_tokens):
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim // 2, eps=self.eps)
        self.proj = nn.Linear(num_tokens, num_tokens)
        self.begin()

    def begin(self):
        nn.init.zeros_(self.proj.weight)
        nn.init.ones_(self.proj.bias)

    def cut(self, z):
        return z.chunk(2, dim=-1)

    def gate(self, v):
        return self.along_tokens(self.norm(v))

    def along_tokens(self, v):
        return self.proj(v.transpose(1, 2)).transpose(1, 2)

    def forward(self, z):
        u, v = self.cut(z)
        return u * self.gate(v)


def beginning(sentence):
    """A wrong initial_gate, with the unit that a student would then have: right, but with a wrong start."""

    def register(initial_gate):
        def begin(unit):
            with torch.no_grad():
                for weight, value in zip((unit.proj.weight, unit.proj.bias), initial_gate(len(unit.proj.bias))):
                    weight.copy_(value)

        unit = type("UnitOf" + initial_gate.__name__, (_Gate,), {"begin": begin})
        gating.mistakes.append(Mistake(sentence, {"initial_gate": initial_gate, "SpatialGatingUnit": unit}))
        return initial_gate

    return register


@beginning(
    "initial_gate: your bias begins at 0, so the gate is shut: the unit returns zeros, and u gets no "
    "gradient. With a bias of 1 it starts by letting u pass.",
)
def gate_begins_shut(num_tokens):
    return torch.zeros(num_tokens, num_tokens), torch.zeros(num_tokens)


@beginning(
    "initial_gate: your weight begins as the identity. Then the gate already follows v; it should begin as 1 "
    "whatever v says, with a weight near 0.",
)
def gate_begins_with_identity(num_tokens):
    return torch.eye(num_tokens), torch.ones(num_tokens)


@beginning(
    "initial_gate: the identity belongs to the unit as a whole, not to its weight. That begins near 0, and "
    "the bias at 1.",
)
def gate_is_the_identity(num_tokens):
    return torch.eye(num_tokens), torch.zeros(num_tokens)


@beginning(
    "initial_gate: weight and bias are exchanged: the weight begins at 0 and the bias at 1.",
)
def gate_exchanged(num_tokens):
    return torch.ones(num_tokens, num_tokens), torch.zeros(num_tokens)


@beginning(
    "initial_gate: your weight averages all tokens. It should begin near 0, so that a fresh unit hears of no "
    "other token.",
)
def gate_begins_as_average(num_tokens):
    return torch.full((num_tokens, num_tokens), 1 / num_tokens), torch.ones(num_tokens)


@beginning(
    "initial_gate: it returns the weight and the bias of a fresh nn.Linear. They are random and not small: "
    "the weight should begin near 0, the bias at 1.",
)
def gate_as_torch_makes_it(num_tokens):
    layer = nn.Linear(num_tokens, num_tokens)
    return layer.weight.detach(), layer.bias.detach()


def gate_mistake(sentence):
    return gating.mistake(sentence, target="SpatialGatingUnit")


@gate_mistake(
    "Your norm has an eps of 0.000001. Here, other than in the blocks of the Mixer, it is torch's own, 0.00001, which you "
    "get if you say nothing."
)
class GateSmallerEps(_Gate):
    eps = 1e-6


@gate_mistake(
    "Your unit works, but it does not begin as the text says: its layer along the tokens keeps the random numbers that "
    "torch gives it. Copy the initial values into it."
)
class GateNotCopied(_Gate):
    def begin(self):
        pass


@gate_mistake("The halves have changed places: the second half v makes the gate, the first half u passes through it.")
class HalvesExchanged(_Gate):
    def cut(self, z):
        return z.chunk(2, dim=-1)[::-1]


@gate_mistake("You dealt the channels out in turn, like cards. u is the first half of the channels, v the second half.")
class HalvesDealtOut(_Gate):
    def cut(self, z):
        return z[..., 0::2], z[..., 1::2]


@gate_mistake("The norm is missing: v is normalised before it goes along the tokens.")
class GateWithoutNorm(_Gate):
    def gate(self, v):
        return self.along_tokens(v)


@gate_mistake("Your norm comes after the layer along the tokens. v is normalised first.")
class GateNormAfterwards(_Gate):
    def gate(self, v):
        return self.norm(self.along_tokens(v))


@gate_mistake("You normalise u as well. Only the gate's half is normalised; u passes as it is.")
class BothNormalised(_Gate):
    def forward(self, z):
        u, v = self.cut(z)
        return self.norm(u) * self.gate(v)


@gate_mistake("You add the gate. It multiplies: a gate of 0 lets nothing pass, and a gate of 1 everything.")
class GateAdded(_Gate):
    def forward(self, z):
        u, v = self.cut(z)
        return u + self.gate(v)


@gate_mistake("Your gate goes through a sigmoid. Here it is used as it is: it may be negative, and larger than 1.")
class GateWithSigmoid(_Gate):
    def gate(self, v):
        return super().gate(v).sigmoid()


@gate_mistake("Your gate goes through a GELU. Nothing stands between the layer and the product.")
class GateWithGelu(_Gate):
    def gate(self, v):
        return F.gelu(super().gate(v))


@gate_mistake("You return the gate alone. It still has to be multiplied with u.")
class GateAlone(_Gate):
    def forward(self, z):
        return self.gate(self.cut(z)[1])


@gate_mistake("Your gate opens for v, the half it was made from. It is there for the other half, u.")
class GateForItself(_Gate):
    def forward(self, z):
        _, v = self.cut(z)
        return v * self.gate(v)


@gate_mistake("You added u to the result. Nothing is added in this unit; the residual is a matter for the block.")
class GateWithResidual(_Gate):
    def forward(self, z):
        u, v = self.cut(z)
        return u + u * self.gate(v)


@gate_mistake(
    "To get at the tokens you poured the numbers into another box. The tokens and the channels have to "
    "change places, and change back."
)
class GatePoured(_Gate):
    def along_tokens(self, v):
        B, N, half = v.shape
        return self.proj(v.reshape(B, half, N)).reshape(B, N, half)


@gating.alternative
def initial_gate_of_tiny_numbers(num_tokens):
    return 1e-6 * torch.randn(num_tokens, num_tokens), torch.full((num_tokens,), 1.0)


@gating.alternative
def initial_gate_of_a_layer(num_tokens):
    layer = nn.Linear(num_tokens, num_tokens)
    nn.init.normal_(layer.weight, std=1e-7)
    nn.init.ones_(layer.bias)
    return layer.weight, layer.bias


@gating.alternative(target="SpatialGatingUnit")
class GateByEinsum(_Gate):
    def forward(self, z):
        half = z.shape[-1] // 2
        gate = einsum(self.proj.weight, self.norm(z[..., half:]), "n m, b m e -> b n e")
        return (gate + self.proj.bias[:, None]) * z[..., :half]


@gating.alternative(target="SpatialGatingUnit")
class GateByHand(_Gate):
    def forward(self, z):
        u, v = torch.split(z, z.shape[-1] // 2, dim=-1)
        v = (v - v.mean(-1, keepdim=True)) / (v.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        v = rearrange(v * self.norm.weight + self.norm.bias, "b n e -> b e n")
        return u * rearrange(self.proj(v), "b e n -> b n e")


# ------------------------------------------------------------------------------------------------------------
# 10. spatial_shift

shift = homework.exercise(
    "spatial_shift",
    points=4,
    hints=(
        "Run the cell below the check, in which four channels hold the same numbers: which of the four moves wrongly?",
        (
            "Take one row of places, 1 2 3 4: moved to the right it is 1 1 2 3. Does the border keep its number, "
            "and is each place read before it is written?"
        ),
        "Compare x before and after the call: is it unchanged? Which axis is H, and which is W, in (B, H, W, D)?",
    ),
)


@shift.inputs
def _(draw: Draw):
    for quarter in (2, 3):
        H, W = draw.sizes(2, low=3, high=5)
        yield Call("spatial_shift", {"x": draw.normal(2, H, W, 4 * quarter)}, gradients=("x",))


def _step(x, axis, forth, border="keep"):
    """One place forth or back along the axis."""
    length = x.shape[axis]
    inside = x.narrow(axis, 0 if forth else 1, length - 1)
    edge = x.narrow(axis, 0 if forth else length - 1, 1)
    if border == "zero":
        edge = torch.zeros_like(edge)
    if border == "round":
        edge = x.narrow(axis, length - 1 if forth else 0, 1)
    return torch.cat([edge, inside] if forth else [inside, edge], dim=axis)


MOVES = ((2, True), (2, False), (1, True), (1, False))  # right, left, down, up


def _shift(x, moves=MOVES, border="keep", cut=lambda x: x.chunk(4, dim=-1), join=lambda parts: torch.cat(parts, -1)):
    return join([_step(part, axis, forth, border) for part, (axis, forth) in zip(cut(x), moves)])


@shift.mistake(
    "What leaves your map on one side comes in on the other. Nothing wraps around here: the border keeps what it has."
)
def wrapped_around(x):
    return _shift(x, border="round")


@shift.mistake("Zeros come in at your border. The border keeps what it has.")
def zeros_at_the_border(x):
    return _shift(x, border="zero")


@shift.mistake("Everything moves the wrong way. To move right means that a place now holds what was on its left.")
def all_directions_reversed(x):
    return _shift(x, moves=(MOVES[1], MOVES[0], MOVES[3], MOVES[2]))


@shift.mistake("Right and left have changed places; down and up are as they should be.")
def right_and_left_exchanged(x):
    return _shift(x, moves=(MOVES[1], MOVES[0], MOVES[2], MOVES[3]))


@shift.mistake(
    "Down and up have changed places. Rows are counted from the top, so what moves down goes to a larger number."
)
def down_and_up_exchanged(x):
    return _shift(x, moves=(MOVES[0], MOVES[1], MOVES[3], MOVES[2]))


@shift.mistake(
    "Your axes are exchanged: the first two groups move along the width W (right and left), the last two "
    "along the height H. The map is (B, H, W, D)."
)
def axes_exchanged(x):
    return _shift(x, moves=(MOVES[2], MOVES[3], MOVES[0], MOVES[1]))


@shift.mistake(
    "You write into the map that you are still reading from, so a value just moved is moved again, to the "
    "end: whole rows and columns become one number. Read from the old map, write into a new one."
)
def smeared(x):
    right, left, down, up = x.chunk(4, dim=-1)
    parts = [right[:, :, :1].expand_as(right), left[:, :, -1:].expand_as(left)]
    parts += [down[:, :1].expand_as(down), up[:, -1:].expand_as(up)]
    return torch.cat(parts, dim=-1)


@shift.mistake(
    "Right and down are smeared over the whole map: there you write into the map that you are still reading "
    "from, so a value just moved is moved again. Read from the old map, write into a new one."
)
def smeared_forth_only(x):
    right, left, down, up = x.chunk(4, dim=-1)
    right = right[:, :, :1].expand_as(right)
    down = down[:, :1].expand_as(down)
    return torch.cat([right, _step(left, 2, False), down, _step(up, 1, False)], dim=-1)


@shift.mistake(
    "Your groups take every fourth channel. The first quarter of the channels in a row is one group, the next "
    "quarter the second, and so on."
)
def groups_dealt_out(x):
    cut = lambda x: [x[..., group::4] for group in range(4)]
    return _shift(x, cut=cut, join=lambda parts: torch.stack(parts, dim=-1).flatten(-2))


@shift.mistake("All your channels move to the right. Each quarter has a direction of its own.")
def everything_right(x):
    return _shift(x, moves=(MOVES[0],) * 4)


@shift.mistake("Right and left are done, but your last two groups stay where they are: they move down and up.")
def half_done(x):
    a, b, c, d = x.chunk(4, dim=-1)
    return torch.cat([_step(a, *MOVES[0]), _step(b, *MOVES[1]), c, d], dim=-1)


@shift.mistake(
    "You moved every group in all four directions, one after the other. Each group makes one move; the "
    "others are for the other groups."
)
def all_moves_on_all(x):
    for axis, forth in MOVES:
        x = _step(x, axis, forth)
    return x


@shift.alternative
def shift_by_cat(x):
    return _shift(x)


@shift.alternative
def shift_by_roll(x):
    right, left, down, up = (part.clone() for part in x.chunk(4, dim=-1))
    new = [right.roll(1, dims=2), left.roll(-1, dims=2), down.roll(1, dims=1), up.roll(-1, dims=1)]
    new[0][:, :, 0], new[1][:, :, -1] = right[:, :, 0], left[:, :, -1]
    new[2][:, 0], new[3][:, -1] = down[:, 0], up[:, -1]
    return torch.cat(new, dim=-1)


@shift.alternative
def shift_by_places(x):
    """Each place asks a clamped neighbour."""
    H, W, quarter = x.shape[1], x.shape[2], x.shape[3] // 4
    row, column = torch.arange(H), torch.arange(W)
    return torch.cat(
        [
            x[:, :, (column - 1).clamp(min=0), :quarter],
            x[:, :, (column + 1).clamp(max=W - 1), quarter : 2 * quarter],
            x[:, (row - 1).clamp(min=0), :, 2 * quarter : 3 * quarter],
            x[:, (row + 1).clamp(max=H - 1), :, 3 * quarter :],
        ],
        dim=-1,
    )


@shift.alternative
def shift_by_padding(x):
    """Pads with copies of the border and cuts out four windows."""
    padded = F.pad(rearrange(x, "b h w d -> b d h w"), (1, 1, 1, 1), mode="replicate")
    padded = rearrange(padded, "b d h w -> b h w d")
    H, W = x.shape[1:3]
    windows = [padded[:, 1:-1, :W], padded[:, 1:-1, 2:], padded[:, :H, 1:-1], padded[:, 2:, 1:-1]]
    return torch.cat([window.chunk(4, dim=-1)[i] for i, window in enumerate(windows)], dim=-1)


# ------------------------------------------------------------------------------------------------------------
# 11. train_with_shifts

training = homework.exercise(
    "train_with_shifts",
    points=5,
    hints=(
        (
            "Print what is drawn in the first step: first the indices, then two numbers in one go. Can both "
            "−reach and +reach come out?"
        ),
        (
            "Print one image before and after it is moved: is it `down` first, then `right`? Are the images that "
            "you were handed still the same?"
        ),
        (
            "Go through one step in the order of the text: draw, move, loss, clear, compute, update. Of which "
            "images is the loss taken, and when does it go into the list?"
        ),
    ),
)

HELD_OUT = 300  # of the 397 test digits: which ones, the seed decides
GOAL = 0.65


def _moved(images, down, right):
    return F.pad(images, (right, -right, down, -down))


def _held_out(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits that have moved by one pixel, each quarter of them in another direction, and their labels."""
    images, labels = load("digits", "test", device="cpu")
    chosen = torch.randperm(len(images), generator=draw.generator)[:HELD_OUT]
    parts = (images[chosen].float() / 255).chunk(4)
    moves = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return torch.cat([_moved(part, *move) for part, move in zip(parts, moves)]), labels[chosen]


@training.inputs
def _(draw: Draw):
    asked, _ = _held_out(draw)  # first of all, so that the goals below draw the same ones
    for steps, reach in ((5, 2), (6, 1)):
        classes, height, width = draw.sizes(3, low=4, high=7)
        pixels = height * width
        yield Call(
            "train_with_shifts",
            {
                "model": Probe(
                    "linear_classifier",
                    {"weight": draw.normal(classes, pixels), "bias": draw.normal(classes)},
                    ask=draw.uniform(2, 1, height, width),
                ),
                "images": draw.uniform(40, 1, height, width),
                "labels": draw.integers(0, classes - 1, 40),
                "steps": steps,
                "batch_size": 8,
                "learning_rate": 0.05,
                "reach": reach,
                "generator": Seeded(draw.integer(0, 10**6)),
            },
        )
    images, labels = load("digits", "train", device="cpu")
    yield Call(
        "train_with_shifts",
        {
            "model": Probe("digits_net", seed=draw.integer(0, 10**6), ask=asked),
            "images": images.float() / 255,
            "labels": labels,
            "steps": 100,
            "batch_size": 96,
            "learning_rate": 0.005,
            "reach": 1,
            "generator": Seeded(draw.integer(0, 10**6)),
        },
    )


@training.goals
def _(draw: Draw):
    return {2: Accuracy(_held_out(draw)[1], GOAL)}


def _train(
    model,
    images,
    labels,
    steps,
    batch_size,
    learning_rate,
    reach,
    generator,
    optimizer=torch.optim.AdamW,
    draw=None,
    score=F.cross_entropy,
    clear=True,
    move=_moved,
):
    """The right loop with replaceable parts. draw() -> (indices, (down, right))."""
    optimizer = optimizer(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        if draw:
            chosen, way = draw()
        else:
            chosen = torch.randint(len(images), (batch_size,), generator=generator)
            way = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        loss = score(model(move(images[chosen], *way)), labels[chosen])
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _batch(images, batch_size, generator):
    return torch.randint(len(images), (batch_size,), generator=generator)


def _way(reach, generator):
    return torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()


@training.mistake(
    "Your images never move, and nothing is drawn for it. In each step two numbers are drawn, and the batch "
    "moves by them."
)
def nothing_moves(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    draw = lambda: (_batch(images, batch_size, generator), (0, 0))
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake("You draw how far to move, but the model is shown the images as they were.")
def moved_images_not_used(*arguments):
    return _train(*arguments, move=lambda images, down, right: images)


@training.mistake(
    "Down and right have changed places: the first of the two numbers says how far down, the second how far "
    "to the right."
)
def down_and_right_exchanged(*arguments):
    return _train(*arguments, move=lambda images, down, right: _moved(images, right, down))


@training.mistake(
    "Your images never move by the full reach in one direction: the upper end that torch.randint is given is "
    "left out, and the reach is to be included."
)
def reach_left_out(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    draw = lambda: (
        _batch(images, batch_size, generator),
        torch.randint(-reach, reach, (2,), generator=generator).tolist(),
    )
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake("Your images move down and to the right only. The numbers run from minus the reach to the reach.")
def forth_only(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    draw = lambda: (
        _batch(images, batch_size, generator),
        torch.randint(0, reach + 1, (2,), generator=generator).tolist(),
    )
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake(
    "You draw the move before the batch. The order matters to the generator: indices first, then the move."
)
def move_drawn_first(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    draw = lambda: (_way(reach, generator), _batch(images, batch_size, generator))[::-1]
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake(
    "The move is drawn once, before the loop, so all batches move the same way. Draw a new one in every step."
)
def one_move_for_all(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    way = _way(reach, generator)
    draw = lambda: (_batch(images, batch_size, generator), way)
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake(
    "You move all the images in every step and keep them: they wander off, and what has left the picture "
    "never comes back. Move the batch only, and start from the images you were handed."
)
def images_wander_off(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = _batch(images, batch_size, generator)
        images = _moved(images, *_way(reach, generator))
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@training.mistake(
    "What leaves your images on one side comes in on the other. The given function moves them, and lets black come in."
)
def images_wrap_around(*arguments):
    return _train(*arguments, move=lambda images, down, right: images.roll((down, right), dims=(2, 3)))


@training.mistake("Your images move the same way down as to the right: one number is used for both directions.")
def along_the_diagonal(*arguments):
    return _train(*arguments, move=lambda images, down, right: _moved(images, down, down))


@training.mistake(
    "The gradients of all steps so far pile up: backward adds to what is there. They must be cleared once in "
    "every step."
)
def gradients_not_cleared(*arguments):
    return _train(*arguments, clear=False)


@training.mistake(
    "Your scores go through a softmax before they reach the cross entropy, which has a softmax of its own: "
    "the gradients become tiny. Give it the raw scores."
)
def softmax_twice(*arguments):
    return _train(*arguments, score=lambda scores, labels: F.cross_entropy(scores.softmax(dim=1), labels))


@training.mistake("Your optimizer is plain SGD. AdamW is asked for.")
def sgd_for_adamw(*arguments):
    return _train(*arguments, optimizer=torch.optim.SGD)


@training.mistake(
    "Your weights do not decay. AdamW as it comes lets them decay a little in every step; Adam does not, and neither does "
    "AdamW with a decay of 0."
)
def adam_for_adamw(*arguments):
    return _train(*arguments, optimizer=torch.optim.Adam)


@training.mistake("The argument learning_rate has no effect: your optimizer runs at its default rate of 0.001.")
def rate_ignored(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    return _train(model, images, labels, steps, batch_size, 1e-3, reach, generator)


@training.mistake(
    "Your batches and moves are random, but not drawn from the generator you were given, so nobody can repeat your run."
)
def generator_ignored(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, None)


@training.mistake("The batches come from the generator, but the moves do not: nobody can repeat your run.")
def moves_without_generator(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    draw = lambda: (_batch(images, batch_size, generator), _way(reach, None))
    return _train(model, images, labels, steps, batch_size, learning_rate, reach, generator, draw=draw)


@training.mistake(
    "The training is right, but you return only the last loss. All of them are asked for, one for each step."
)
def last_loss_only(*arguments):
    return _train(*arguments)[-1]


@training.mistake(
    "The training is right, but the losses you return still hang on the computation that made them, and keep "
    "all of it in memory. Return plain numbers."
)
def losses_as_tensors(*arguments):
    return [torch.tensor(loss, requires_grad=True) * 1 for loss in _train(*arguments)]


@training.mistake(
    "The training is right, but each loss is measured after its step. Asked for is the loss that the step "
    "went down from."
)
def losses_after_the_step(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = _batch(images, batch_size, generator)
        batch = _moved(images[chosen], *_way(reach, generator))
        loss = F.cross_entropy(model(batch), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(F.cross_entropy(model(batch), labels[chosen]).item())
    return losses


@training.alternative
def train_by_criterion(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    losses = []
    while len(losses) < steps:
        chosen = torch.randint(0, len(labels), (batch_size,), generator=generator)
        down, right = torch.randint(high=reach + 1, low=-reach, size=(2,), generator=generator)
        loss = criterion(model(_moved(images[chosen], int(down), int(right))), labels[chosen])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@training.alternative
def train_by_log_softmax(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    """Moves all images before it takes the batch, from a copy that is thrown away."""
    optimizer = torch.optim.AdamW(list(model.parameters()), learning_rate)
    history = torch.zeros(steps)
    for step in range(steps):
        model.zero_grad()
        chosen = torch.randint(high=images.shape[0], size=[batch_size], generator=generator)
        down, right = torch.randint(2 * reach + 1, (2,), generator=generator).sub(reach).tolist()
        likelihood = model(_moved(images, down, right)[chosen]).log_softmax(dim=1)
        loss = -likelihood[torch.arange(batch_size), labels[chosen]].mean()
        loss.backward()
        optimizer.step()
        history[step] = loss.detach()
    return history.tolist()
