# %% [markdown]
# # Homework 4 · MLP-Mixer, and three relatives that mix tokens in other ways
#
# **You build** an MLP-Mixer and the one new part of each of ResMLP, gMLP and S²-MLP, and find out what they
# can read that they have never been shown · **needs** lecture `10_all_mlp` · **takes** about three and a half
# hours, of which reading takes {reading time} · **computing** about a minute on a laptop · **60 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `mix_tokens` | ●○○○○ | 10 | 3 |
# | 2 | `ChannelMixing`, `TokenMixing` | ●●○○○ | 20 | 5 |
# | 3 | `MixerBlock` | ●●○○○ | 20 | 7 |
# | 4 | `MLPMixer` | ●●●○○ | 25 | 7 |
# | 5 | `token_kernels`, `channel_kernels` | ●●●●○ | 25 | 7 |
# | 6 | `mixer_parameters` | ●●○○○ | 15 | 4 |
# | 7 | `resize_token_mixing` | ●●●○○ | 20 | 5 |
# | 8 | `Affine`, `fold_affine` | ●●○○○ | 15 | 4 |
# | 9 | `initial_gate`, `SpatialGatingUnit` | ●●●○○ | 20 | 5 |
# | 10 | `spatial_shift` | ●●○○○ | 15 | 4 |
# | 11 | `train_with_shifts` | ●●●○○ | 20 | 5 |
# | 12 | a question in words | ●●●○○ | 15 | 4 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is
# done with other inputs. Cells that need your code wait until it is written, so you can run the whole
# notebook at any time.
#
# The letters are those of the lectures: $B$ images in a batch, $N$ tokens of $D$ numbers (the *channels*),
# laid out in a grid of $h \times w = N$. You may use everything in torch; a ready-made Mixer from another
# package would do the exercise for you.
#
# **What counts as right.**
# * *Numbers.* A number may be off by $10^{-4}$ and by one part in ten thousand; whole numbers and truth values must
#   be exact.
# * *Shapes and containers.* Where the text gives a shape, return one tensor of that shape. Where it asks for a
#   number, a plain Python number, one of NumPy or a tensor without axes will do. Several results stand in a tuple or
#   a list, in the order of the text.
# * *Inputs.* Inputs stay as they are, and where they can be differentiated, gradients are compared too: no
#   `.detach()`, `torch.no_grad()` or `.item()` on the way.
# * *Names.* Arguments are passed by position, so you may rename them; the parts of a module need the **names** in
#   bold, because the check loads weights of its own by these names. So it does not see what yours begin with.
# * *`eps`.* Two values of `eps` occur, each as the published network has it: **`eps=1e-6`** in the layer norms of
#   exercises 3 and 4, torch's own $10^{-5}$ in exercise 9.
# * *Points.* Each exercise is all or nothing: one that is nearly right earns none of its points.
# * *Hints.* If a card is not right yet, **hints** wait folded under it: open one, try it, and only then the next.
#
# **Your own cells count.** What you add or change is run when you hand in, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.

# %% tags=["setup"]
import math
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn
from course import budget, check, setup, when_done
setup(seed=0)

# %% [markdown]
# ## What we look at
#
# One handwritten digit of 8 × 8 pixels, cut into a grid of 4 × 4 patches: $N = 16$ tokens of $D = 4$ grey
# values. It is a table of 16 rows and 4 columns. Everything in this homework comes down to one question:
# which numbers of this table may talk to each other, along the rows or along the columns?

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything in this notebook is so small that a second core only gets in the way
digits = load("digits", device="cpu")
image = digits.images[0]  # (1, 8, 8), grey values 0..255
tokens = rearrange(image / 255, "c (gh ph) (gw pw) -> (gh gw) (c ph pw)", ph=2, pw=2)  # (N, D) = (16, 4)
plots.patches(image, 2)

# %% [markdown]
# ## 1 · A linear layer across the tokens ●○○○○
#
# **Why.** In attention the weights by which tokens are added up are computed anew for each image. That costs
# queries, keys and a softmax. What if the weights were simply *learned numbers*, the same for every image?
# Then a new token is a sum of the old ones with fixed weights (**token mixing**):
#
# $$y_m = \sum_{n=1}^{N} w_{mn}\, x_n + b_m .$$
#
# Here $x_n$ is a whole token, a row of the table. So the same weights serve all $D$ channels, and nothing passes from
# one channel to another.
#
# **What.** `mix_tokens(x, weight, bias)`: from `x` $(N, D)$, `weight` $(M, N)$ and `bias` $(M,)$ to $M$ new tokens
# $(M, D)$, in one tensor (a list of rows will not do). $M$ may be any number. Write it with two loops, one over the
# new tokens and one over the old ones; a row may be added in one go. From exercise 2 on, no loops. (Gradients are
# compared from exercise 2 on; here only the numbers count.)
#
# **By hand.** Two tokens $(1, 0, 4)$ and $(5, 2, 1)$, one new token with weights $(2, -1)$ and bias $3$:
# $2 \cdot (1, 0, 4) - (5, 2, 1) + 3 = (0, 1, 10)$. The one bias goes to all three channels.

# %% exercise="mix_tokens"
def mix_tokens(x, weight, bias):
    """New tokens as fixed sums of the old ones, by two loops.

    Args:
        x: (N, D) tokens.
        weight: (M, N): how much of old token n goes into new token m.
        bias: (M,): one number for each new token.

    Returns:
        (M, D): row m is the sum over n of weight[m, n] · x[n], plus bias[m].
    """
    ### BEGIN SOLUTION
    y = torch.zeros(len(weight), x.shape[1])  # (M, D)
    for m in range(len(weight)):
        for n in range(len(x)):
            y[m] += weight[m, n] * x[n]
        y[m] += bias[m]
    return y
    ### END SOLUTION

# %% check="mix_tokens"
check("hw4.mix_tokens", mix_tokens)

# %% [markdown]
# **Look at it.** Two tables of weights, and what they make of the digit. The first takes for each token the
# one opposite in its row: the patches change sides, in one step (inside a patch nothing moves). No small
# convolution could carry a patch from one edge of the picture to the other. The second averages each row of
# patches. Write a third one: what weights turn the grid upside down?
#
# <details><summary>Answer</summary>
#
# Weight $[m, n]$ is 1 where the columns of the places $m$ and $n$ are equal and their rows are opposite, $3 -$ row:
# the first table with rows and columns exchanged.
# </details>

# %%
place = torch.arange(16)
row, column = place // 4, place % 4  # (N,) each
mirror = ((row[:, None] == row) & (column[:, None] == 3 - column)).float()  # (N, N), a 1 in each row
average = (row[:, None] == row).float() / 4  # (N, N)

def as_image(x):
    """Tokens (16, 4) back to an image (1, 8, 8)."""
    return rearrange(x, "(gh gw) (c ph pw) -> c (gh ph) (gw pw)", gh=4, ph=2, c=1)

with when_done():
    mixed = [tokens, *(mix_tokens(tokens, weight, torch.zeros(16)) for weight in (mirror, average))]
    names = ["the digit", "mirror", "average of the row"]
    display(plots.image_grid(torch.stack([as_image(x) for x in mixed]), captions=names))
    display(plots.matrices({"mirror (N, N)": mirror, "average (N, N)": average}, numbers=False))

# %% [markdown]
# ## 2 · Two small networks, one for each direction ●●○○○
#
# **Why.** One linear layer in each direction would do little: put them one after another, and they are still linear.
# So each direction gets a small network (an **MLP**): a linear layer, a GELU, a linear layer. With $x^\top$ for the
# table with tokens and channels exchanged,
#
# $$\text{ChannelMixing}(x) = \text{fc2}(\text{GELU}(\text{fc1}(x))), \qquad
# \text{TokenMixing}(x) = \big(\text{fc2}(\text{GELU}(\text{fc1}(x^\top)))\big)^\top.$$
#
# ```
# ChannelMixing   every token for itself:   D channels ── fc1 ── hidden ── GELU ── fc2 ── D channels
# TokenMixing     every channel for itself: N tokens ──── fc1 ── hidden ── GELU ── fc2 ── N tokens
# ```
#
# The first you know: it is the MLP of a transformer block. The second is the same network, read along the
# other side of the table.
#
# **What.** Two modules. `ChannelMixing(embed_dim, hidden)` has `fc1`, linear from $D$ to `hidden`, and `fc2`
# back. `TokenMixing(num_tokens, hidden)` has `fc1`, linear from $N$ to `hidden`, and `fc2` back. Both take
# $(B, N, D)$ to $(B, N, D)$. The GELU is torch's default, the exact one.
#
# `nn.Linear` works along the *last* axis, whatever else there is. If torch says `mat1 and mat2 shapes cannot
# be multiplied`, the last axis is not the one that your layer was made for.
#
# **By hand.** $(B, N, D) = (2, 5, 7)$ and `hidden` = 3. Which shape has the hidden layer of each?
#
# <details><summary>Answer</summary>
#
# $(2, 5, 3)$ in `ChannelMixing`: each of the 5 tokens has 3 numbers. $(2, 7, 3)$ in `TokenMixing`: each of the 7
# channels has.
# </details>

# %% exercise="mixing_modules"
class ChannelMixing(nn.Module):
    """An MLP along the channels, the same for every token.

    Args:
        embed_dim: D.
        hidden: width of the hidden layer.
    """

    def __init__(self, embed_dim, hidden):
        super().__init__()
        ### BEGIN SOLUTION
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)
        ### END SOLUTION

    def forward(self, x):
        """x (B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        return self.fc2(F.gelu(self.fc1(x)))  # (B, N, hidden) inside
        ### END SOLUTION


class TokenMixing(nn.Module):
    """An MLP along the tokens, the same for every channel.

    Args:
        num_tokens: N.
        hidden: width of the hidden layer.
    """

    def __init__(self, num_tokens, hidden):
        super().__init__()
        ### BEGIN SOLUTION
        self.fc1 = nn.Linear(num_tokens, hidden)
        self.fc2 = nn.Linear(hidden, num_tokens)
        ### END SOLUTION

    def forward(self, x):
        """x (B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        x = x.transpose(1, 2)  # (B, D, N): now the tokens are last
        x = self.fc2(F.gelu(self.fc1(x)))  # (B, D, hidden) inside
        return x.transpose(1, 2)  # (B, N, D)
        ### END SOLUTION

# %% check="mixing_modules"
check("hw4.mixing_modules", ChannelMixing, TokenMixing)

# %% [markdown]
# **Look at it.** Change a single number of the table, token 1 and channel 2, and see which outputs change.
# With channel mixing it is the row of this number, with token mixing its column. Neither reaches the whole
# table. What happens if you do one after the other?

# %%
def news(module, token=1, channel=2):
    """How much each output changes when one input number does: (N, D)."""
    x = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(0))  # (B, N, D)
    changed = x.clone()
    changed[0, token, channel] += 1
    with torch.no_grad():
        return (module(changed) - module(x))[0].abs()


with when_done():
    torch.manual_seed(0)
    channels, along_tokens = ChannelMixing(7, 28), TokenMixing(5, 20)
    display(plots.matrices({
        "ChannelMixing (N, D)": news(channels), "TokenMixing (N, D)": news(along_tokens),
        "one after the other": news(nn.Sequential(along_tokens, channels)),
    }, numbers=False))

# %% [markdown]
# ## 3 · The block ●●○○○
#
# **Why.** Row, column, row, column: after one step in each direction every output depends on every number of the
# table. That is the whole idea of the Mixer. Around it stands what every transformer block has: each part *adds* its
# result to what came in (a **residual connection**), and each part reads a normalised copy (**pre-norm**).
#
# ```
#      ┌── norm1 ── token_mixing ──┐      ┌── norm2 ── channel_mixing ──┐
# x ───┴───────────────────────────+──────┴─────────────────────────────+─── out
# ```
#
# **What.** A module `MixerBlock(num_tokens, embed_dim, token_hidden, channel_hidden)`; `forward(x)` is $(B,
# N, D) \to (B, N, D)$:
#
# $$u = x + \text{token\_mixing}(\text{norm1}(x)), \qquad \text{out} = u +
# \text{channel\_mixing}(\text{norm2}(u))$$
#
# (Tolstikhin et al. 2021, eq. 1). **`norm1`** and **`norm2`** are layer norms over the channels of each
# token, with **`eps=1e-6`**: that is what the public Mixers were trained with. **`token_mixing`** and
# **`channel_mixing`** are your two modules from exercise 2, with `token_hidden` and `channel_hidden` numbers
# inside; their layers are called `fc1` and `fc2`.
#
# **By hand.** Compare with the block of a vision transformer. What is in the place of the attention? What has
# not changed at all?
#
# <details><summary>Answer</summary>
#
# The token mixing. All else is the same: both norms, both sums, and the channel mixing, which is the transformer's MLP.
# </details>

# %% exercise="MixerBlock"
class MixerBlock(nn.Module):
    """Token mixing, then channel mixing (Tolstikhin et al. 2021, eq. 1).

    Args:
        num_tokens: N.
        embed_dim: D.
        token_hidden: width inside the MLP along the tokens.
        channel_hidden: width inside the MLP along the channels.
    """

    def __init__(self, num_tokens, embed_dim, token_hidden, channel_hidden):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.token_mixing = TokenMixing(num_tokens, token_hidden)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.channel_mixing = ChannelMixing(embed_dim, channel_hidden)
        ### END SOLUTION

    def forward(self, x):
        """x (B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        x = x + self.token_mixing(self.norm1(x))
        return x + self.channel_mixing(self.norm2(x))
        ### END SOLUTION

# %% check="MixerBlock"
check("hw4.MixerBlock", MixerBlock)

# %% [markdown]
# **Look at it.** What the same single number changes after one whole block (its weights are multiplied by 1.5, so that
# there is more to see). The number itself changes most, because the sum carries it on. Then come its column, through
# the first half of the block, and its row, through the second; everything else changes a little.

# %%
with when_done():
    torch.manual_seed(1)
    block = MixerBlock(5, 7, 20, 28)
    for weight in block.parameters():
        weight.data.mul_(1.5)
    display(plots.matrices({"after one MixerBlock (N, D)": news(block)}))

# %% [markdown]
# **Change a number.** Give the block `token_hidden=1`. Do all tokens still change?
#
# <details><summary>Answer</summary>
#
# Yes. But what a channel's tokens receive is now one and the same number, each with its own weight of `fc2`.
# </details>

# %% [markdown]
# ## 4 · The network ●●●○○
#
# **Why.** What is missing are the first and the last layers. First (the **stem**, or patch embedding): cut the image
# into patches, and make of each a token of $D$ numbers. Last: average the tokens (**global average pooling**), and
# let a linear layer, the **head**, give a score for each class. There is no class token and no position encoding.
#
# **What.** A module `MLPMixer(height, width, patch_size, in_channels, embed_dim, depth, num_classes)`, from
# images $(B, C, H, W)$ to scores $(B, \text{classes})$. $P$ = `patch_size` divides both sides. In this order:
#
# 1. **`stem`**: an `nn.Conv2d` from $C$ to $D$ channels with kernel $P$ and stride $P$: $(B, D, h, w)$. Then
#    tokens $(B, N, D)$ in *reading order*, row after row of the grid.
# 2. **`blocks`**: an `nn.Sequential` of `depth` blocks from exercise 3, each with weights of its own. Inside,
#    the token mixing is $D/2$ wide ($D$ is even) and the channel mixing $4D$, as in the paper.
# 3. **`norm`**: one more layer norm, `eps=1e-6`, over the channels of each token.
# 4. The mean over the tokens, $(B, D)$, and **`head`**, linear from $D$ to the classes. Raw scores, no
#    softmax.
#
# This check uses your `MixerBlock`: do exercise 3 first.
#
# **By hand.** An image of 224 × 224 and patches of 16 × 16: how many tokens? With $D = 768$ (Mixer-B/16), what
# shape has the weight of `fc1` in the token mixing?
#
# <details><summary>Answer</summary>
#
# $14 \cdot 14 = 196$ tokens; the weight is $(384, 196)$.
# </details>

# %% exercise="MLPMixer"
class MLPMixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021).

    Args:
        height, width: of the images; multiples of patch_size.
        patch_size: P.
        in_channels: C of the images.
        embed_dim: D, even.
        depth: how many blocks.
        num_classes: how many scores.
    """

    def __init__(self, height, width, patch_size, in_channels, embed_dim, depth, num_classes):
        super().__init__()
        ### BEGIN SOLUTION
        num_tokens = (height // patch_size) * (width // patch_size)
        self.stem = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        blocks = [MixerBlock(num_tokens, embed_dim, embed_dim // 2, 4 * embed_dim) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(self, images):
        """images (B, C, H, W) -> scores (B, classes)."""
        ### BEGIN SOLUTION
        x = rearrange(self.stem(images), "b d h w -> b (h w) d")  # (B, N, D)
        x = self.norm(self.blocks(x))  # (B, N, D)
        return self.head(x.mean(dim=1))  # (B, classes)
        ### END SOLUTION

# %% check="MLPMixer"
check("hw4.MLPMixer", MLPMixer)

# %% [markdown]
# **Look at it.** Attention without positions gives the same answer to a picture and to its shuffled patches. The
# Mixer adds no positions either. Does its answer change?

# %%
order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
plots.patches(image, 2, order=order)

# %%
with when_done():
    torch.manual_seed(0)
    fresh = MLPMixer(8, 8, 2, 1, embed_dim=32, depth=2, num_classes=10)
    with torch.no_grad():
        both = fresh(torch.stack([as_image(tokens), as_image(tokens[order])]))  # (2, 10)
    display(plots.matrices({"scores of an untrained Mixer": both}, rows=["digit", "shuffled"]))

# %% [markdown]
# It does, even before any training: weight $w_{mn}$ of a token layer belongs to place $m$ and place $n$. The
# positions are built into the weights, so none need to be added. The price for it comes in exercises 7 and 11.

# %% [markdown]
# ## 5 · It was a convolution all along ●●●●○
#
# **Why.** "All-MLP" sounds as if convolutions were gone. But a linear layer over all places is a
# convolution whose kernel is as large as the picture, and a linear layer over the channels of one place is a
# convolution of 1 × 1. The paper says so itself: the Mixer is a very special CNN. You prove it, by *building
# the kernels from the weights*.
#
# * **Channel mixing**, `fc1` of shape $(E, D)$: a 1 × 1 convolution from $D$ to $E$ channels.
# * **Token mixing**, `fc1` of shape $(M, N)$: each channel of the map $(D, h, w)$ is seen by itself
#   (**depthwise**: `groups` = $D$) by $M$ kernels of $h \times w$. Nothing is left to slide: each kernel
#   gives one number. And all channels use **the same** $M$ kernels; an ordinary depthwise convolution has
#   different ones for each.
#
# **What.** Two functions, which return what `F.conv2d` takes.
# * `token_kernels(weight, bias, height, width, channels)`: from `weight` $(M, N)$ with $N = h \cdot w$ in
#   reading order, `bias` $(M,)$ and $D$ = `channels` to a kernel $(D \cdot M, 1, h, w)$ and a bias $(D \cdot
#   M,)$. With `groups` = $D$, torch gives the first $M$ kernels to channel 0, the next $M$ to channel 1, and
#   so on.
# * `channel_kernels(weight, bias)`: from `weight` $(E, D)$ and `bias` $(E,)$ to a kernel $(E, D, 1, 1)$ and a
#   bias $(E,)$.
#
# What torch calls a convolution does not turn the kernel round, so you need not either.
#
# **By hand.** $M = 1$, a grid of 1 × 2, two channels, weight $(5, 7)$, bias $2$. The kernel is $5, 7$ for
# channel 0 and again $5, 7$ for channel 1; the bias is $2, 2$.

# %% exercise="as_convolutions"
def token_kernels(weight, bias, height, width, channels):
    """A linear layer along the tokens as a full-size depthwise convolution.

    Args:
        weight: (M, N) of the layer, N = height · width places in reading order.
        bias: (M,).
        height, width: of the grid of tokens.
        channels: D.

    Returns:
        (kernel, bias): (D·M, 1, height, width) and (D·M,), those of channel 0 first.
    """
    ### BEGIN SOLUTION
    kernel = rearrange(weight, "m (h w) -> m 1 h w", h=height, w=width)
    return kernel.repeat(channels, 1, 1, 1), bias.repeat(channels)
    ### END SOLUTION


def channel_kernels(weight, bias):
    """A linear layer along the channels, weight (E, D) and bias (E,), as a 1x1 convolution: (E, D, 1, 1), (E,)."""
    ### BEGIN SOLUTION
    return weight[:, :, None, None], bias
    ### END SOLUTION

# %% check="as_convolutions"
check("hw4.as_convolutions", token_kernels, channel_kernels)

# %% [markdown]
# **Look at it.** Both layers of your own modules, once as they are and once as convolutions of the map. The
# differences are rounding.

# %%
with when_done():
    torch.manual_seed(0)
    along_tokens, channels = TokenMixing(3 * 4, 6), ChannelMixing(5, 7)
    x = torch.randn(2, 3 * 4, 5)  # (B, N, D), a grid of 3 × 4
    as_map = rearrange(x, "b (h w) d -> b d h w", h=3)  # (B, D, h, w)
    with torch.no_grad():
        kernel, bias = token_kernels(along_tokens.fc1.weight, along_tokens.fc1.bias, 3, 4, channels=5)
        seen = F.conv2d(as_map, kernel, bias, groups=5)  # (B, D·M, 1, 1)
        wanted = along_tokens.fc1(x.transpose(1, 2))  # (B, D, M)
        print("token layer,   largest difference:", f"{(seen.view(2, 5, 6) - wanted).abs().max():.0e}")
        seen = F.conv2d(as_map, *channel_kernels(channels.fc1.weight, channels.fc1.bias))  # (B, E, h, w)
        wanted = rearrange(channels.fc1(x), "b (h w) e -> b e h w", h=3)
        print("channel layer, largest difference:", f"{(seen - wanted).abs().max():.0e}")

# %% [markdown]
# **A question.** How many *different* numbers does the kernel of the token layer hold, and how many would an
# ordinary depthwise convolution of that size have?
#
# <details><summary>Answer</summary>
#
# $M \cdot h \cdot w = M N$, against $D \cdot M \cdot N$ with kernels of its own for each channel. Sharing them keeps
# a Mixer small.
# </details>

# %% [markdown]
# ## 6 · Counting ●●○○○
#
# **Why.** Sizes of networks are copied from table to table, and sometimes they are wrong: for Mixer-B/16 its own paper
# says 59 million (table 1), and table 2 of a later paper (Wang et al. 2022) says 79. You can find out which is right
# without downloading anything: count.
#
# **What.** `mixer_parameters(height, width, patch_size, in_channels, embed_dim, depth, num_classes)` returns
# the number of parameters of the network of exercise 4, a whole number. Count every weight and every bias; a layer norm
# has two numbers for each channel. Work it out as a formula: no module is built. A network that torch has built and counted
# gives the same number, you learn nothing from it, and the check refuses it.
#
# **By hand.** A linear layer from $a$ to $b$ has $ab + b$ numbers. So the token mixing with $N = 4$ and $D =
# 6$ (hidden width 3) has $4 \cdot 3 + 3 + 3 \cdot 4 + 4 = 31$. The number of channels $D$ counts only through
# the hidden width: the same MLP serves all channels.

# %% exercise="mixer_parameters"
def mixer_parameters(height, width, patch_size, in_channels, embed_dim, depth, num_classes):
    """How many parameters an MLP-Mixer has; arguments as for MLPMixer.

    Returns:
        int.
    """
    ### BEGIN SOLUTION
    def mlp(outside, inside):
        return outside * inside + inside + inside * outside + outside

    num_tokens = (height // patch_size) * (width // patch_size)
    stem = in_channels * patch_size**2 * embed_dim + embed_dim
    block = mlp(num_tokens, embed_dim // 2) + mlp(embed_dim, 4 * embed_dim) + 2 * (2 * embed_dim)
    head = embed_dim * num_classes + num_classes
    return stem + depth * block + 2 * embed_dim + head
    ### END SOLUTION

# %% check="mixer_parameters"
check("hw4.mixer_parameters", mixer_parameters)

# %% [markdown]
# **Look at it.** The three sizes with patches of 16 × 16 (Tolstikhin et al. 2021, table 1). Their table says
# 18, 59 and 207 million.

# %%
with when_done():
    for name, embed_dim, depth in (("S/16", 512, 8), ("B/16", 768, 12), ("L/16", 1024, 24)):
        count = mixer_parameters(224, 224, 16, 3, embed_dim, depth, 1000)
        print(f"Mixer-{name}: {count:>11,} parameters = {count / 1e6:.1f} M")

# %% [markdown]
# Now the same Mixer-B/16 for larger and larger images. A transformer's linear layers do not depend on the number of
# tokens. The Mixer's do:

# %%
sides = [64, 128, 224, 384, 512, 768, 1024]  # pixels
with when_done():
    millions = [mixer_parameters(side, side, 16, 3, 768, 12, 1000) / 1e6 for side in sides]
    attention = 4 * (768**2 + 768)  # query, key, value, out: the same at any size
    as_vit = (mixer_parameters(16, 16, 16, 3, 768, 12, 1000) - 12 * (2 * 384 + 384 + 1) + 12 * attention) / 1e6
    display(plots.curves(
        sides, {"Mixer-B/16": millions, "attention in its place": [as_vit] * len(sides)}, log="x",
        xlabel="side of the image, pixels", ylabel="million parameters", marks={"224": (224, millions[2])},
    ))

# %% [markdown]
# **Change a number.** For which side of the image would a Mixer-B/16 have 79 million parameters?
#
# <details><summary>Answer</summary>
#
# For about 760 pixels: each token more costs $12 \cdot (2 \cdot 384 + 1) = 9228$ parameters, so 79 million need about
# 2070 tokens more than 196. With 768 pixels, 2304 tokens, it has 79.3 million.
# </details>
#
# > **What slides get wrong here.** They give 79 million for Mixer-B/16, which is the figure of Wang et al. 2022. With its
# > head of 1000 classes it has 59.9 million at 224 pixels, and neither S/16 nor L/16 comes near 79. Where that figure is from
# > we do not know.

# %% [markdown]
# ## 7 · Another resolution ●●●○○
#
# **Why.** A trained convolution works on an image of any size. A transformer needs its position embeddings resized.
# The Mixer does not run at all: its token layers have $N$ inputs, and with another image there are $N'$. What can one
# do?
#
# Remember exercise 5: each row of the token layer `fc1` *is a picture* of $h \times w$, a kernel. Pictures can be
# enlarged. So can the columns of `fc2` (column $k$ says how much of hidden number $k$ goes to each place), and the
# bias of `fc2`, which has one number for each place.
#
# **What.** `resize_token_mixing(fc1_weight, fc2_weight, fc2_bias, height, width, new_height, new_width)`: from the
# shapes $(M, N)$, $(N, M)$ and $(N,)$, with $N = h \cdot w$, to three results, $(M, N')$, $(N', M)$ and $(N',)$, with
# $N' = h' \cdot w'$. All places are in reading order. (The bias of `fc1` has no numbers for places and stays.)
#
# * Every picture is resized with `F.interpolate`, `mode="bilinear"`, `align_corners=False`. It wants $(B, C,
#   h, w)$.
# * `fc1` *adds up* over the places. With four times as many places its sums would be four times as large. So
#   its new weights are multiplied by $N / N'$. `fc2` and its bias *give* each place its number: no factor.
#
# **By hand.** A grid of 1 × 2 becomes 1 × 4, and a row of `fc1` is $(8, 4)$. Bilinear: $(8, 7, 5, 4)$. Times
# $2/4$: $(4, 3.5, 2.5, 2)$. The sum was 12, and it is 12 again.

# %% exercise="resize_token_mixing"
def resize_token_mixing(fc1_weight, fc2_weight, fc2_bias, height, width, new_height, new_width):
    """The weights of a token mixing MLP for another grid of tokens.

    Args:
        fc1_weight: (M, N), N = height · width places in reading order.
        fc2_weight: (N, M).
        fc2_bias: (N,).
        height, width: the old grid.
        new_height, new_width: the new grid.

    Returns:
        (fc1_weight, fc2_weight, fc2_bias): (M, N'), (N', M) and (N',), N' = new_height · new_width.
    """
    ### BEGIN SOLUTION
    def resized(pictures):
        """(K, N) -> (K, N')."""
        grid = rearrange(pictures, "k (h w) -> k 1 h w", h=height, w=width)
        grid = F.interpolate(grid, size=(new_height, new_width), mode="bilinear", align_corners=False)
        return rearrange(grid, "k 1 h w -> k (h w)")

    fewer = height * width / (new_height * new_width)
    return resized(fc1_weight) * fewer, resized(fc2_weight.T).T, resized(fc2_bias[None])[0]
    ### END SOLUTION

# %% check="resize_token_mixing"
check("hw4.resize_token_mixing", resize_token_mixing)

# %% [markdown]
# **Look at it.** Two kernels of 4 × 4, made up: one that compares left with right, one that looks at the
# middle. And the same two for a grid of 6 × 6. At the end of the homework you will try this on a trained
# network.

# %%
with when_done():
    left_right = (torch.arange(16) % 4 - 1.5)  # (N,)
    middle = ((row - 1.5).abs() + (column - 1.5).abs() < 1.5).float()  # (N,)
    kernels = torch.stack([left_right, middle])  # (M, N)
    larger, _, _ = resize_token_mixing(kernels, kernels.T, torch.zeros(16), 4, 4, 6, 6)  # (M, N') = (2, 36)
    display(plots.matrices({
        "left to right": kernels[0].view(4, 4), "for 6 × 6": larger[0].view(6, 6),
        "middle": kernels[1].view(4, 4), "for 6 × 6 too": larger[1].view(6, 6),
    }, numbers=False))

# %% [markdown]
# The authors of the Mixer went another way for larger images: they cut the larger image into parts of the old
# size, made the hidden layer wider by the number of parts, and began with the old weights once for each part,
# in blocks along the diagonal (appendix of Tolstikhin et al. 2021). Either way the network is trained on for
# a while.
#
# > **What slides leave out here.** "Custom re-initialization & finetuning" is needed, they say. The weights need not begin
# > at random: resized, as above, they keep part of what they have learned.

# %% [markdown]
# ## 8 · ResMLP: a norm that measures nothing ●●○○○
#
# **Why.** A layer norm computes a mean and a spread of every token, at every place, in every layer, while the
# network is in use. ResMLP (Touvron et al. 2021) does without: it only stretches and moves each channel by
# learned numbers,
#
# $$\text{Aff}(x) = \alpha \odot x + \beta ,$$
#
# with $\alpha$ and $\beta$ of $D$ numbers each, which begin at 1 and 0. Nothing is measured. So after
# training it costs nothing: multiplying and adding, followed by a linear layer, is *one* linear layer.
#
# **What.**
# * A module `Affine(embed_dim)` with parameters **`alpha`** and **`beta`**, both $(D,)$; $(B, N, D) \to (B,
#   N, D)$. (The check loads numbers of its own into them and does not see how yours begin. The cell below it does.)
# * `fold_affine(alpha, beta, weight, bias)`: from these and a linear layer, `weight` $(E, D)$ and `bias`
#   $(E,)$, to a new weight $(E, D)$ and a new bias $(E,)$, such that the new layer alone does what Affine and
#   then the old layer did.
#
# **By hand.** $D = E = 1$, $\alpha = 3$, $\beta = 5$, weight $2$, bias $1$: $2 (3x + 5) + 1 = 6x + 11$.

# %% exercise="affine"
class Affine(nn.Module):
    """A learned stretch and move of each channel (Touvron et al. 2021, section 2).

    Args:
        embed_dim: D.
    """

    def __init__(self, embed_dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.alpha = nn.Parameter(torch.ones(embed_dim))
        self.beta = nn.Parameter(torch.zeros(embed_dim))
        ### END SOLUTION

    def forward(self, x):
        """x (B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        return self.alpha * x + self.beta
        ### END SOLUTION


def fold_affine(alpha, beta, weight, bias):
    """Affine and the linear layer after it as one linear layer.

    Args:
        alpha, beta: (D,) of the Affine.
        weight: (E, D) of the linear layer.
        bias: (E,) of the linear layer.

    Returns:
        (weight, bias): (E, D) and (E,) of the layer that does both.
    """
    ### BEGIN SOLUTION
    return weight * alpha, bias + weight @ beta
    ### END SOLUTION

# %% check="affine"
check("hw4.affine", Affine, fold_affine)

# %% [markdown]
# **Look at it.** A token, and the same token with everything ten times as large (another exposure of the
# photograph, say). The layer norm gives the same for both. Affine gives ten times as much: what keeps a ResMLP
# stable is something else, small factors at the end of every branch when training begins (LayerScale).

# %%
with when_done():
    token = torch.tensor([1.0, 3.0, -2.0, 0.5])  # (D,)
    pair = torch.stack([token, 10 * token])[None]  # (B, N, D) = (1, 2, 4)
    with torch.no_grad():
        display(plots.matrices({
            "x": pair[0], "layer norm": nn.LayerNorm(4)(pair)[0], "Affine at its start": Affine(4)(pair)[0],
        }, rows=["token", "10 × token"]))

# %% [markdown]
# ## 9 · gMLP: let a gate decide ●●●○○
#
# **Why.** In a Mixer, what a token hears of the others is a fixed sum, whatever the picture shows. Attention
# *multiplies* what is in one token with what is in another. gMLP (Liu et al. 2021) brings a product back
# without attention: half of the channels become a **gate** for the other half. With $z = (u, v)$ cut in two
# along the channels,
#
# $$s(z) = u \odot \bigl(W\, \text{norm}(v) + b\bigr),$$
#
# where $W$ of $(N, N)$ and $b$ of $(N,)$ work along the *tokens* (the paper's **spatial gating unit**). So what another
# place holds decides how much of $u$ passes here.
#
# At the start, $W$ is near 0 and $b = 1$. The gate is then 1 everywhere, $u$ passes unchanged, and how tokens are
# mixed is learned from there.
#
# **What.**
# * `initial_gate(num_tokens)` returns two results, what $W$ and $b$ begin with: shapes $(N, N)$ and $(N,)$. Zero for $W$
#   is fine, and so are tiny random numbers (below $10^{-5}$).
# * A module `SpatialGatingUnit(embed_dim, num_tokens)` from $z$ $(B, N, E)$, $E$ = `embed_dim` even, to
#   $(B, N, E/2)$. The *first* half of the channels is $u$, the second is $v$. **`norm`** is `nn.LayerNorm(E/2)` over
#   the channels of $v$, with torch's own **`eps`, $10^{-5}$**: unlike the norms of exercises 3 and 4. **`proj`** is an
#   `nn.Linear(num_tokens, num_tokens)` that works along the tokens. Copy your initial values into it. (The check loads
#   its own afterwards; the cell below it shows what a fresh unit of yours does.)
#
# **By hand.** A fresh unit, one token, $z = (3, 4, 7, 9)$: $u = (3, 4)$, the gate is $(1, 1)$ whatever $v$
# says, the answer is $(3, 4)$.

# %% exercise="gating"
def initial_gate(num_tokens):
    """What the weight (N, N) and the bias (N,) of a fresh gate are."""
    ### BEGIN SOLUTION
    return torch.zeros(num_tokens, num_tokens), torch.ones(num_tokens)
    ### END SOLUTION


class SpatialGatingUnit(nn.Module):
    """One half of the channels gates the other, across the tokens (Liu et al. 2021, section 2.1).

    Args:
        embed_dim: E, even.
        num_tokens: N.
    """

    def __init__(self, embed_dim, num_tokens):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm = nn.LayerNorm(embed_dim // 2)
        self.proj = nn.Linear(num_tokens, num_tokens)
        weight, bias = initial_gate(num_tokens)
        with torch.no_grad():
            self.proj.weight.copy_(weight)
            self.proj.bias.copy_(bias)
        ### END SOLUTION

    def forward(self, z):
        """z (B, N, E) -> (B, N, E/2)."""
        ### BEGIN SOLUTION
        u, v = z.chunk(2, dim=-1)  # (B, N, E/2) each
        gate = self.proj(self.norm(v).transpose(1, 2))  # (B, E/2, N): along the tokens
        return u * gate.transpose(1, 2)  # (B, N, E/2)
        ### END SOLUTION

# %% check="gating"
check("hw4.gating", initial_gate, SpatialGatingUnit)

# %% [markdown]
# **Look at it.** The gate itself: hand the unit a $u$ of ones, and what comes out is the gate. Left, a fresh unit:
# ones everywhere, if your initial values were copied. Middle, the same with a $W$ as it might be after training
# (here: made up, the gate of each token depends on another token). Right, the middle one for another $v$: the gate
# depends on the content of the image, and no weight of a Mixer does.

# %%
def gate_of(unit, v):
    """The gate (N, E/2) that v (N, E/2) opens."""
    with torch.no_grad():
        return unit(torch.cat([torch.ones_like(v), v], dim=-1)[None])[0]


with when_done():
    unit = SpatialGatingUnit(8, 5)
    one, other = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))  # (N, E/2) each
    panels = {"fresh": gate_of(unit, one)}
    with torch.no_grad():
        unit.proj.weight.copy_(0.5 * torch.eye(5).roll(-1, dims=1))
    panels |= {"learned": gate_of(unit, one), "learned, another v": gate_of(unit, other)}
    display(plots.matrices(panels, shared=True))

# %% [markdown]
# ## 10 · S²-MLP: mixing that costs nothing ●●○○○
#
# **Why.** Because of its token layer a Mixer works for one image size only. S²-MLP (Yu et al. 2022) leaves this layer
# out, and puts no weights at all in its place: a quarter of the channels of every token is **moved** to the neighbour
# on the right, a quarter to the left, one down and one up (the **spatial shift**). Then the channel MLP, which works
# on each token alone, finds there what belongs to its four neighbours. No parameter, no multiplication, and any size
# of image.
#
# **What.** `spatial_shift(x)`: $(B, H, W, D) \to (B, H, W, D)$ with $D$ a multiple of 4; here the tokens are
# laid out as the grid they are. The channels are cut into four groups in a row:
#
# | channels | move | so a place holds now |
# |-|-|-|
# | the first quarter | to the right (along $W$) | what was on its left |
# | the second | to the left | what was on its right |
# | the third | down (along $H$) | what was above it |
# | the fourth | up | what was below it |
#
# **What happens at the border:** the first column has no left neighbour. It **keeps** what it has. The same
# for the last column, the first row and the last row in their turn. `x` itself must not be changed: write into
# a copy (what `chunk` returns cannot be written into where gradients flow), or put pieces together.
#
# **By hand.** One row of places with the numbers $1, 2, 3, 4$. To the right: $1, 1, 2, 3$. To the left: $2,
# 3, 4, 4$. What would it be if you wrote each result into the row you are still reading from?
#
# <details><summary>Answer</summary>
#
# To the right, place by place from the left: $1, 1, 1, 1$. Each place would hand on what it has just received.
# </details>

# %% exercise="spatial_shift"
def spatial_shift(x):
    """A quarter of the channels each one place right, left, down and up; the border keeps its values.

    Args:
        x: (B, H, W, D), D a multiple of 4.

    Returns:
        (B, H, W, D).
    """
    ### BEGIN SOLUTION
    y, quarter = x.clone(), x.shape[-1] // 4
    right, left, down, up = (slice(i * quarter, (i + 1) * quarter) for i in range(4))
    y[:, :, 1:, right] = x[:, :, :-1, right]
    y[:, :, :-1, left] = x[:, :, 1:, left]
    y[:, 1:, :, down] = x[:, :-1, :, down]
    y[:, :-1, :, up] = x[:, 1:, :, up]
    return y
    ### END SOLUTION

# %% check="spatial_shift"
check("hw4.spatial_shift", spatial_shift)

# %% [markdown]
# **Look at it.** Four channels, all with the same map of numbers, so that each group is one channel.

# %%
with when_done():
    numbered = torch.arange(1.0, 13).reshape(3, 4)  # (H, W)
    shifted = spatial_shift(numbered[None, :, :, None].repeat(1, 1, 1, 4))[0]  # (H, W, D) = (3, 4, 4)
    names = ["right", "left", "down", "up"]
    display(plots.matrices({"before": numbered, **{name: shifted[..., i] for i, name in enumerate(names)}}))

# %% [markdown]
# **Change a number.** How far does a number get by one shift? How many blocks, with one shift each, does a network need
# until one corner of a 14 × 14 grid depends on the opposite one? (The Mixer needs one.)
#
# <details><summary>Answer</summary>
#
# One place, in one of four directions. The corners are 13 rows and 13 columns apart: 26 blocks.
# </details>

# %% [markdown]
# ## 11 · What it has never been shown ●●●○○
#
# **Why.** A convolution uses the same kernel at all places, so what it has learned of a digit on the left holds on
# the right (**translation equivariance**). Your Mixer has a weight of its own for every place. Nothing in it says
# that a seven moved by one pixel is still a seven; it has to be *shown*. So in each step the whole batch is moved a
# little, each time differently (**data augmentation**): examples in place of structure.
#
# **What.** `train_with_shifts(model, images, labels, steps, batch_size, learning_rate, reach, generator)`
# trains `model` in place and returns the list of its losses, one plain number for each step (`loss.item()`; a tensor
# that still holds its graph is none).
#
# * Before the first step, one `torch.optim.AdamW` over all parameters, with the given learning rate; all other options
#   keep torch's defaults.
# * In each step, first draw the indices of a batch: `torch.randint(len(images), (batch_size,),
#   generator=generator)`. *Then* draw two whole numbers from $-$`reach` to `reach`, **both included**, in one
#   go, by `torch.randint` with the size `(2,)` and the same generator: how far *down* and how far to the
#   *right* all images of this batch move. `moved` below does the moving; it is given. The images you were
#   handed stay as they are.
# * The loss is the cross entropy of the raw scores for the moved images; its value *before* the weights move
#   goes into the list. Clear the gradients, compute them, and let the optimizer move.
#
# The check follows a tiny classifier for a few steps, number by number. Then your loop gets 100 steps to
# teach a small network of ours to read digits, and is tried on 300 held-out digits, **moved by one pixel** in
# some direction: at least 65 % must be right (it takes about a second; a loop that forgets to move the images fails).

# %% exercise="train_with_shifts"
def moved(images, down, right):
    """Images (B, C, H, W), all moved by so many pixels; black comes in at the edge. (Given.)"""
    return F.pad(images, (right, -right, down, -down))


def train_with_shifts(model, images, labels, steps, batch_size, learning_rate, reach, generator):
    """Train a classifier in place on images that are moved about.

    Args:
        model: images (B, C, H, W) -> scores (B, classes).
        images: (n, C, H, W) float.
        labels: (n,) int64.
        steps: how many batches.
        batch_size: B.
        learning_rate: of AdamW.
        reach: the farthest an image moves in either direction, in pixels.
        generator: the torch.Generator that batches and moves are drawn from.

    Returns:
        list of `steps` floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)  # (B,)
        down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        loss = F.cross_entropy(model(moved(images[chosen], down, right)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_with_shifts"
check("hw4.train_with_shifts", train_with_shifts)

# %% [markdown]
# ## All together: your Mixer reads digits
#
# Two blocks, 32 channels, 18,602 parameters. Once trained on the digits as they are (`reach=0`), once on
# digits that move by up to one pixel. `trained` trains when it is first asked for and then remembers; run its
# cell again after you have changed a part.

# %%
from functools import cache

held_out = load("digits", "test", device="cpu")
to_input = lambda images: (images / 255 - 0.3) / 0.37  # mean 0 and spread 1
BLACK = -0.3 / 0.37  # what 0 becomes


@cache
def trained(make_blocks, reach):
    """A trained network and its losses; make_blocks() gives the blocks, None leaves the Mixer's own."""
    torch.manual_seed(0)
    model = MLPMixer(8, 8, 2, 1, embed_dim=32, depth=2, num_classes=10)
    if make_blocks is not None:
        model.blocks = make_blocks()
    losses, generator = [], torch.Generator().manual_seed(0)
    images = to_input(digits.images) - BLACK  # black is 0 again, so that `moved` brings in black
    for steps, rate in budget(tiny=[(10, 0.005)], cpu=[(400, 0.005), (100, 0.0005)]):
        losses += train_with_shifts(model, images, digits.labels, steps, 64, rate, reach, generator)
    return model.eval(), losses


def reads(model):
    """Share of the 397 held-out digits read right: as they are, and moved by one pixel in four directions."""
    images = to_input(held_out.images) - BLACK
    ways = {"as they are": [(0, 0)], "moved by a pixel": [(1, 0), (-1, 0), (0, 1), (0, -1)]}
    with torch.no_grad():
        return {
            name: sum(float((model(moved(images, *way)).argmax(1) == held_out.labels).float().mean()) for way in some)
            / len(some) for name, some in ways.items()
        }

# %% [markdown]
# *Price of the next cell: about 8 s on a laptop's CPU; on a GPU not measured.*

# %%
with when_done():
    results = {}
    for name, reach in {"trained on digits as they are": 0, "trained with shifts": 1}.items():
        results[name] = reads(trained(None, reach)[0])
    display(plots.bars(results, chance=0.1, title="your Mixer on digits it has never seen"))

# %% [markdown]
# Compare the two bars of each network. How much does the first lose when the digits move by one pixel, and the
# second? And what did the second pay for it on the digits as they are? (One run each: the last digits change with the
# seed.) An assumption that is built into a network is called its **inductive bias**. A convolution has this one by
# construction; the Mixer must be shown.
#
# **What has it learned?** Eight rows of the first token layer, `fc1`, each laid out as the 4 × 4 kernel that
# it is (exercise 5). Each looks at the whole picture at once. Do not expect the clear edges that a small
# convolution learns: on so few places and after seconds of training, much is still the random start.

# %%
with when_done():
    kernels = trained(None, 1)[0].blocks[0].token_mixing.fc1.weight.detach()[:8]  # (8, N)
    display(plots.matrices({f"row {i}": kernel.view(4, 4) for i, kernel in enumerate(kernels)}, numbers=False))

# %% [markdown]
# **Another resolution, now for real.** The held-out digits in 12 × 12 pixels, so that the same patches of
# 2 × 2 make a grid of 6 × 6. The network as it is would stop with an error. Either its token layers are made
# anew, at random, or your `resize_token_mixing` gives them a start. How well does it read then, at once and
# after training on for a few steps? *Price: about 5 s.*

# %%
def larger_mixer(model, train_steps, resized):
    """The trained network for a 6 × 6 grid, its token layers resized or made anew, and trained on for a little."""
    torch.manual_seed(0)
    larger = MLPMixer(12, 12, 2, 1, embed_dim=32, depth=2, num_classes=10)
    fresh, weights = larger.state_dict(), dict(model.state_dict())
    for block in ("blocks.0.token_mixing.", "blocks.1.token_mixing."):
        names = [block + name for name in ("fc1.weight", "fc2.weight", "fc2.bias")]
        old = [weights[name] for name in names]
        weights |= zip(names, resize_token_mixing(*old, 4, 4, 6, 6) if resized else [fresh[name] for name in names])
    larger.load_state_dict(weights)
    images = F.interpolate(to_input(digits.images) - BLACK, (12, 12), mode="bilinear")  # (n, 1, 12, 12)
    generator = torch.Generator().manual_seed(0)
    train_with_shifts(larger, images, digits.labels, train_steps, 64, 0.002, 1, generator)
    return larger

# %%
def reads_larger(model):
    images = F.interpolate(to_input(held_out.images) - BLACK, (12, 12), mode="bilinear")  # (397, 1, 12, 12)
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == held_out.labels).float().mean())


with when_done():
    results, small = {}, trained(None, 1)[0]
    for steps in budget(tiny=(0, 1), cpu=(0, 30, 100)):
        ways = {"token layers resized": True, "made anew": False}
        results[f"{steps} steps more"] = {
            way: reads_larger(larger_mixer(small, steps, resized)) for way, resized in ways.items()
        }
    display(plots.bars(results, chance=0.1, title="the same digits in 12 × 12 pixels"))

# %% [markdown]
# Read the bars at 0 steps: how much of its accuracy does the network keep with resized layers, and how much with layers
# made anew? What resizing cannot save is that a patch of 2 × 2 now shows a smaller piece of a stroke, which the channel
# layers have never seen. Then the bars after training on (**fine-tuning**): which of the two comes back sooner?
#
# **Change a number.** The factor $N/N'$ keeps the sums right where neighbouring places hold similar numbers. Leave it
# out of `resize_token_mixing` and run again: is the network better or worse at 0 steps, and at 100? No rule is sure
# to be right for a network that was never trained at another size.
#
# **The relatives.** The same network with other blocks, all made of your parts. And one that mixes nothing:
# its blocks have only the channel MLP, so until the last average every token is alone.

# %%
class ResMLPBlock(nn.Module):
    """Affine for norms, one linear layer along the tokens (without the paper's LayerScale)."""

    def __init__(self, N, D):
        super().__init__()
        self.affine1, self.tokens, self.affine2 = Affine(D), nn.Linear(N, N), Affine(D)
        self.channel_mixing = ChannelMixing(D, 4 * D)

    def forward(self, x):
        x = x + self.tokens(self.affine1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mixing(self.affine2(x))


class GMLPBlock(nn.Module):
    """One branch for both directions: the gate sits inside the channel MLP."""

    def __init__(self, N, D):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(D), nn.Linear(D, 6 * D), nn.Linear(3 * D, D)
        self.gate = SpatialGatingUnit(6 * D, N)

    def forward(self, x):
        return x + self.fc2(self.gate(F.gelu(self.fc1(self.norm(x)))))

# %%
class ShiftBlock(nn.Module):
    """S²-MLP: the shift between two channel layers. `shift=False` mixes no tokens at all."""

    def __init__(self, N, D, shift=True):
        super().__init__()
        self.norm1, self.fc1, self.fc2 = nn.LayerNorm(D), nn.Linear(D, D), nn.Linear(D, D)
        self.norm2, self.channel_mixing = nn.LayerNorm(D), ChannelMixing(D, 4 * D)
        self.side, self.shift = math.isqrt(N), shift

    def forward(self, x):
        y = F.gelu(self.fc1(self.norm1(x)))  # (B, N, D)
        if self.shift:
            y = spatial_shift(y.unflatten(1, (self.side, self.side))).flatten(1, 2)  # through (B, h, w, D)
        x = x + self.fc2(y)
        return x + self.channel_mixing(self.norm2(x))


relatives = {
    "MLP-Mixer": None,
    "ResMLP": lambda: nn.Sequential(ResMLPBlock(16, 32), ResMLPBlock(16, 32)),
    "gMLP": lambda: nn.Sequential(GMLPBlock(16, 32), GMLPBlock(16, 32)),
    "S²-MLP": lambda: nn.Sequential(ShiftBlock(16, 32), ShiftBlock(16, 32)),
    "no mixing": lambda: nn.Sequential(ShiftBlock(16, 32, shift=False), ShiftBlock(16, 32, shift=False)),
}

# %% [markdown]
# *Price of the next cell: about 20 s on a laptop's CPU.*

# %%
with when_done():
    results = {}
    for name, make_blocks in relatives.items():
        model = trained(make_blocks, 1)[0]
        count = sum(parameter.numel() for parameter in model.parameters())
        results[f"{name}\n{count:,} parameters"] = reads(model)
    display(plots.bars(results, chance=0.1, title="the relatives, all trained with shifts"))

# %% [markdown]
# Compare the four ways of mixing tokens, as different as a dense layer, a gate, and a shift that has no weights: how
# far are they apart? And how far is the last network from all of them, which has the same channel layers and mixes
# nothing? Where the second gap is by far the larger one, *that* tokens are mixed matters more than *how*. The next
# lecture takes this up.
#
# (One seed, tiny networks, a toy task: the order among the four says little.)
#
# **Change a number.** Which of the four should lose least if it is *not* shown any moved digits? Guess, then
# put `trained(make_blocks, 0)` into the cell above.
#
# <details><summary>Answer</summary>
#
# S²-MLP: its shift has no weights, so none of them belongs to a place, and only the border differs from place to
# place. Whether your run shows it, the bars say.
# </details>

# %% [markdown]
# ## Does it agree with the public code?
#
# Not graded. The package `timm` has the Mixer as its authors released it. Here is a tiny one with random
# weights. They are copied into *your* network, name by name, and both should give the same scores. The same
# with its gate and its Affine.

# %%
try:
    from timm.models import mlp_mixer as public
except ImportError:
    public = None
    print("timm is not installed: `pip install timm`, then run this cell and the next again")


def to_ours(name):
    """blocks.0.mlp_tokens.fc1.weight -> blocks.0.token_mixing.fc1.weight, and so on."""
    names = {"stem.proj": "stem", "mlp_tokens": "token_mixing", "mlp_channels": "channel_mixing"}
    for theirs, ours in names.items():
        name = name.replace(theirs, ours)
    return name


def compare(name, theirs, ours, x):
    """Copy random weights from the public module into yours, and print how far the two results are apart."""
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.2)  # as made, many are 0, which would hide differences
    shapes = {key: weight.shape for key, weight in ours.state_dict().items()}
    ours.load_state_dict({to_ours(key): w.reshape(shapes[to_ours(key)]) for key, w in theirs.state_dict().items()})
    with torch.no_grad():
        print(f"{name}: largest difference {(ours(x) - theirs.eval()(x)).abs().max():.0e}")

# %%
if public is not None:
    with when_done():
        torch.manual_seed(0)
        theirs = public.MlpMixer(img_size=24, patch_size=4, num_blocks=3, embed_dim=20, num_classes=7)
        compare("MLPMixer", theirs, MLPMixer(24, 24, 4, 3, 20, 3, 7), torch.randn(2, 3, 24, 24))
        theirs, z = public.SpatialGatingUnit(12, 5), torch.randn(2, 5, 12)
        compare("SpatialGatingUnit", theirs, SpatialGatingUnit(12, 5), z)
        compare("Affine", public.Affine(12), Affine(12), z)

# %% [markdown]
# ## Photographs
#
# A Mixer on CIFAR-10, with your own loop and moves of up to four pixels: on a CPU three blocks and 5,000 photographs, on
# a GPU eight blocks and all of them.
#
# *Price: some 30 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not
# measured.*

# %%
from course.data import photographs


def mixer_on_photographs():
    """Your Mixer on photographs, at the size of this machine."""
    torch.manual_seed(0)
    width, depth = budget(tiny=(16, 1), cpu=(64, 3), gpu=(192, 8))
    model = MLPMixer(32, 32, 4, 3, embed_dim=width, depth=depth, num_classes=10)
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    train, unseen = photos
    model.to(train.images.device)
    scaled = lambda images: (images.float() / 255 - 0.47) / 0.25
    generator = torch.Generator().manual_seed(0)
    for steps, rate in budget(
        tiny=[(2, 1e-3)], cpu=[(300, 1e-3), (100, 1e-4)], gpu=[(3000, 1e-3), (1000, 1e-4)]
    ):
        batch_size = budget(tiny=8, cpu=64, gpu=256)
        train_with_shifts(model, scaled(train.images), train.labels, steps, batch_size, rate, 4, generator)
    with torch.no_grad():
        answers = torch.cat([model(scaled(part)).argmax(dim=1) for part in unseen.images.split(500)])
    print(f"CIFAR-10: {(answers == unseen.labels).float().mean():.0%} of {len(unseen):,} unseen photographs are right")

# %%
with when_done():
    mixer_on_photographs()

# %% [markdown] written="mixing_in_words" points=4
# ## 12 · In your own words ●●●○○
#
# A few sentences for each part. This one is read by a person.
#
# **(a)** *(1 point)* A lecture asks: "Can we use something simpler than self-attention to mix across
# tokens?" You have built four such things. What can self-attention do for an image that the token mixing of
# the Mixer cannot, and what does the Mixer save by that?
#
# **(b)** *(1 point)* Token mixing is a depthwise convolution as large as the picture, with the same kernels
# for all channels. Compare it with an ordinary 3 × 3 convolution: what has it gained, and what has it given
# up? Name what you saw in exercise 11.
#
# **(c)** *(1 point)* You want to use a network that was trained on 224 × 224 pixels for the images of a
# detector, 800 × 608. Say for each of a ResNet, a vision transformer, the Mixer and S²-MLP whether it runs,
# and what has to be done if not.
#
# **(d)** *(1 point)* The same lecture calls the architectures of the transformer and of the Mixer
# "fundamentally same", wonders why the Mixer works so well, and asks: "Is Transformer Architecture all we
# need?" Give one reason for and one against, with a result from this homework for at least one of them.
#
# ### BEGIN SOLUTION
# **(a)** The weights of attention depend on the content: two images get different ones, each token chooses
# whom to hear. The Mixer's are the same for every image. It saves queries, keys and the softmax; its cost grows with
# $N$ for a fixed hidden width, not with $N^2$.
#
# *Marking: half a point for content-dependent against fixed, half for a saving.*
#
# **(b)** Gained: every place reaches every other in one layer, and different places may be treated
# differently, so no position code is needed. Given up: locality and weight sharing between places, so a
# pattern learned here is not known there. In exercise 11 one pixel cost more than half of the digits, until
# shifts were shown in training. (Also given up: kernels of its own for each channel.)
#
# *Marking: half a point for the gain, half for the loss with the observation.*
#
# **(c)** A ResNet runs: its kernels slide, and its head averages over places. A ViT's layers run, but its learned
# position codes belong to a 14 × 14 grid and are resized. The Mixer does not run: the token layers have 196
# inputs; they must be resized or laid out anew, and trained on. S²-MLP runs: the shift has no weights.
#
# *Marking: a quarter for each.*
#
# **(d)** For: with the same frame (residuals, norms, channel MLP, patches) four very different ways of mixing
# ended close together, so the frame does much of the work. Against: without mixing it read fewer than half, so not
# everything may be left out; and on large data or other sizes the ways differ (attention adapts to content
# and to the number of tokens). Norms, too, could be exchanged (Affine).
#
# *Marking: half a point each; one must rest on a result seen here.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * Token mixing works along the columns of the table, channel mixing along the rows; in turns they reach
#   everything.
# * Token mixing is a convolution as large as the picture, depthwise, one set of kernels for all channels;
#   channel mixing is a 1 × 1 convolution.
# * Places are built into the weights: no position code, but one image size, and nothing is known about a
#   picture that has moved.
# * ResMLP measures nothing, gMLP multiplies and starts as the identity, S²-MLP moves and has no weights: what
#   counts is that tokens are mixed.
# * Count before you believe a table.
#
# **Next:** lecture `11_metaformer`, and homework 5, where the mixing becomes an average.
#
# **References.** I. Tolstikhin et al., *MLP-Mixer: an all-MLP architecture for vision*, NeurIPS 2021. · H.
# Touvron et al., *ResMLP: feedforward networks for image classification with data-efficient training*, 2021
# (TPAMI 2022). · H. Liu et al., *Pay attention to MLPs*, NeurIPS 2021 (gMLP). · T. Yu et al., *S²-MLP:
# spatial-shift MLP architecture for vision*, WACV 2022. · G. Wang et al., *When shift operation meets vision
# transformer*, AAAI 2022 (ShiftViT). · R. Wightman, *PyTorch image models* (timm). · The digits: E. Alpaydin
# and C. Kaynak, *Optical recognition of handwritten digits*, UCI repository, 1998.
