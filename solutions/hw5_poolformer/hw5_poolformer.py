# %% [markdown]
# # Homework 5 · PoolFormer: how much of a transformer is the attention?
#
# **You build** the body of a vision transformer with an empty place where the attention was, and put into it
# one mixer after another: an average of the neighbours, a shift, a depthwise convolution, attention, nothing
# at all · **needs** lecture `11_metaformer` · **takes** about three hours, of which reading takes {reading time} ·
# **computing** about a minute and a half on a laptop · **60 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `neighbour_mean` | ●○○○○ | 10 | 4 |
# | 2 | `Pooling` | ●○○○○ | 10 | 4 |
# | 3 | `GroupNorm1` | ●●○○○ | 20 | 6 |
# | 4 | `patch_embedding` | ●●●○○ | 25 | 7 |
# | 5 | `MetaFormerBlock` | ●●○○○ | 20 | 8 |
# | 6 | `Shift` | ●●○○○ | 15 | 4 |
# | 7 | `MapAttention` | ●●●○○ | 20 | 6 |
# | 8 | `ConvNeXtBlock` | ●●○○○ | 15 | 4 |
# | 9 | `MetaFormer` | ●●●○○ | 25 | 7 |
# | 10 | `learning_rates`, `train` | ●●○○○ | 15 | 5 |
# | 11 | a question in words | ●●●○○ | 20 | 5 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is
# done with other inputs. Cells that need your code wait until it is written, so you can run the whole
# notebook at any time.
#
# Tokens lie on a **map** here, as in the paper's own code: $(B, C, H, W)$ is a batch of $B$ maps, $H \times
# W$ places on each, $C$ channels at each place; a token is what stands at one place. You may use everything
# in torch except what does the exercise for you: no group norm, instance norm or batch norm in exercise 3, no
# convolution of any kind (`F.conv2d`, `nn.Conv3d`, transposed ones) in exercise 4, no `nn.MultiheadAttention`
# in exercise 7, no `timm` and no `course.models` anywhere.
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
# * *`eps`.* Three values of `eps` occur, each where the published network has it: exercise 3 takes it as an argument,
#   **$10^{-5}$** if nobody says; exercise 5 uses exercise 3's; the layer norms of exercises 8 and 9 have
#   **`eps=1e-6`**.
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
from einops import rearrange, repeat
from torch import nn
from course import budget, check, setup, when_done
setup(seed=0)

# %% [markdown]
# ## The question
#
# A block of a vision transformer has two halves. One lets the tokens hear of each other: the **token mixer**, usually
# attention. The other, an MLP, works on each token alone: the **channel mixer**. Each half has a norm before it and a
# **residual connection** (skip connection) around it. In 2021 the MLP-Mixer put a second MLP, along the places, where
# the attention was, and it still worked. So what is it that makes these networks good: the attention, or the rest?
#
# Yu et al. (2022) asked in the simplest way. They replaced the attention by the average over 3 × 3
# neighbours, which has not a single weight, and called the body around it the **MetaFormer**. Their
# PoolFormer reaches 77.2 % on ImageNet (top-1: the likeliest class is right) with 12 million parameters (their table 2). In this homework you build
# the body, ask the question yourself in seconds, and find out how easily such a question is answered wrongly.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything in this notebook is so small that a second core only gets in the way
digits = load("digits", device="cpu")
image = digits.images[0, 0] / 255  # (H, W) = (8, 8), grey values 0 to 1
plots.image_grid(digits, count=8, columns=8)

# %% [markdown]
# ## 1 · The average of the neighbours ●○○○○
#
# **Why.** First the average, written so that it is easy to check. The difficult part is the border. A place in the
# corner of a map has only four places in its 3 × 3 neighbourhood. The other five are outside, where there is nothing.
# Most libraries put zeros there (**zero padding**) and count them, so that the average at the border is too small.
# PoolFormer does not count them: the average is over the places *inside the map*.
#
# **What.** `neighbour_mean(image, pool_size)`: `image` is one map with one channel, $(H, W)$; $k$ =
# `pool_size` is odd. To a new $(H, W)$: at each place, the average of all places inside the map that are at
# most $(k-1)/2$ rows and $(k-1)/2$ columns away, itself included. With $\mathcal N_{ij}$ for these places,
#
# $$\bar x_{ij} = \frac{1}{|\mathcal N_{ij}|} \sum_{(r, s)\, \in\, \mathcal N_{ij}} x_{rs}.$$
#
# Write it with two loops over the places: slow, but easy to read. (Gradients are compared from exercise 2 on; here only the
# numbers count.)
#
# **By hand.** A map of 3 × 4 places, $k=3$:
#
# | | | | |
# |-|-|-|-|
# | **36** | 0 | 0 | 0 |
# | 0 | 0 | 0 | 0 |
# | 0 | 0 | 0 | 0 |
#
# In the corner: four places, $36 / 4 = 9$. Next to it at the top: six places, $36/6 = 6$. One further down: nine
# places, $36/9 = 4$. So the largest number stands where the 36 was: not by a weight, but because fewest places share
# it there.

# %% exercise="neighbour_mean"
def neighbour_mean(image, pool_size):
    """The average over the neighbourhood of each place, by two loops.

    Args:
        image: (H, W).
        pool_size: k, odd: the side of the neighbourhood.

    Returns:
        (H, W): entry [i, j] is the mean of all places of the map in the k × k square around [i, j].
    """
    ### BEGIN SOLUTION
    height, width = image.shape
    reach = pool_size // 2
    means = torch.zeros(height, width)  # (H, W)
    for i in range(height):
        for j in range(width):
            rows = slice(max(i - reach, 0), i + reach + 1)  # a slice may end beyond the map, but not begin before it
            columns = slice(max(j - reach, 0), j + reach + 1)
            means[i, j] = image[rows, columns].mean()
    return means
    ### END SOLUTION

# %% check="neighbour_mean"
check("hw5.neighbour_mean", neighbour_mean)

# %% [markdown]
# **Look at it.** The map from above, and then a map of ones. Its averages should be ones as well. On the right, the
# same map when zeros around it are counted: a frame that is not in the image. A network would get it in every layer.

# %%
pool_size = 3  # try 5
ones = torch.ones(6, 7)  # (H, W)
by_hand = torch.zeros(3, 4)
by_hand[0, 0] = 36.0
with when_done():
    zeros_counted = F.avg_pool2d(ones[None], pool_size, stride=1, padding=pool_size // 2)[0]  # (H, W)
    display(plots.matrices({
        "the 36, averaged": neighbour_mean(by_hand, pool_size), "ones, averaged": neighbour_mean(ones, pool_size),
        "zeros outside counted": zeros_counted,
    }))

# %% [markdown]
# ## 2 · The mixer ●○○○○
#
# **Why.** In the block there will be a residual connection around the mixer: out comes $x + \text{mixer}(x)$. If the
# mixer were the average $\bar x$ alone, $x$ itself would be in the sum twice. So PoolFormer subtracts it again (Yu et
# al. 2022, eq. 4):
#
# $$\text{mixer}(x) = \bar x - x, \qquad\text{so that}\qquad x + \text{mixer}(x) = \bar x.$$
#
# The mixer gives the difference between the average of the neighbours and the place itself. On a constant map it is 0.
#
# **What.** A module `Pooling(pool_size)`, without parameters; `forward(x)` is $(B, C, H, W) \to (B, C, H,
# W)$: for every map and every channel alone, the average of exercise 1 minus `x`. No loops. `F.avg_pool2d` is
# allowed; look up what it does with a border, and what its stride is if nobody says.
#
# **By hand.** The map of exercise 1: in the corner $9 - 36 = -27$, next to it $6 - 0 = 6$.

# %% exercise="Pooling"
class Pooling(nn.Module):
    """The average of the neighbours minus the place itself (Yu et al. 2022, eq. 4).

    Args:
        pool_size: k, odd.
    """

    def __init__(self, pool_size=3):
        super().__init__()
        ### BEGIN SOLUTION
        self.pool_size = pool_size
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        k = self.pool_size
        return F.avg_pool2d(x, k, stride=1, padding=k // 2, count_include_pad=False) - x  # (B, C, H, W)
        ### END SOLUTION

# %% check="Pooling"
check("hw5.Pooling", Pooling)

# %% [markdown]
# **Look at it.** A digit, its averages, and what the mixer adds: negative where the neighbours have less than the
# place itself (on the stroke), positive where they have more (beside it). With the residual connection the result is
# the digit, blurred. A pooling mixer does nothing else.

# %%
with when_done():
    mixed = Pooling(3)(image[None, None])[0, 0]  # (H, W)
    display(plots.matrices(
        {"a digit x": image, "x + mixer(x)": image + mixed, "mixer(x)": mixed}, numbers=False
    ))

# %% [markdown]
# **You know this mixer already.** A depthwise convolution has one $k \times k$ kernel for each channel,
# learned. With a kernel of ninths, and one less in the middle, it *is* the pooling mixer, away from the
# border. So PoolFormer is a network of convolutions whose spatial kernels are fixed and not trained.

# %%
with when_done():
    x = torch.randn(1, 5, 6, 7)  # (B, C, H, W)
    kernel = torch.full((3, 3), 1 / 9)
    kernel[1, 1] -= 1
    as_convolution = F.conv2d(x, repeat(kernel, "i j -> c 1 i j", c=5), padding=1, groups=5)  # (B, C, H, W)
    difference = (Pooling(3)(x) - as_convolution)[0].abs().amax(dim=0)  # (H, W), the largest of all channels
    display(plots.matrices({"the kernel": kernel, "|pooling − convolution|": difference}))

# %% [markdown]
# ## 3 · A norm over everything ●●○○○
#
# **Why.** A transformer normalises each token alone: LayerNorm over the channels. That takes something away: at each
# place the channels are brought to the same mean and spread, so a place with small numbers and one with large numbers
# have the same size afterwards. PoolFormer takes one mean and one spread for the **whole map, all channels and all
# places together**. So the places keep their sizes relative to each other. It is called group normalisation with one
# group (Wu and He 2018); the PoolFormer paper calls it Modified Layer Normalization.
#
# $$y_{c,i,j} = w_c\,\frac{x_{c,i,j} - \mu}{\sqrt{\sigma^2 + \varepsilon}} + b_c, \qquad \mu, \sigma^2:
# \text{ mean and variance over all } c, i, j \text{ of one image.}$$
#
# The variance is the mean of the squared distances from $\mu$ (divide by their number, not by one less).
#
# **What.** A module `GroupNorm1(channels, eps=1e-5)`, which uses the `eps` that it is given, with two parameters,
# both of shape $(C,)$: **`weight`**, ones at first, and **`bias`**, zeros. `forward(x)` is $(B, C, H, W) \to (B, C,
# H, W)$.
#
# **By hand.** One image, $C = 2$, one row of two places: channel 0 is $(1, 3)$, channel 1 is $(5, 7)$. The
# mean of all four is 4, the variance $(9 + 1 + 1 + 9)/4 = 5$. With $\varepsilon = 0$ channel 0 becomes $(-3,
# -1)/\sqrt5$, channel 1 $(1, 3)/\sqrt5$. A LayerNorm at each place would have made $-1$ and $1$ of both
# places, and they would no longer differ.

# %% exercise="GroupNorm1"
class GroupNorm1(nn.Module):
    """Group normalisation with one group: each image by the mean and variance of all its numbers.

    Args:
        channels: C.
        eps: what is added to the variance.
    """

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        ### BEGIN SOLUTION
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        mean = x.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        variance = (x - mean).pow(2).mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        normal = (x - mean) / (variance + self.eps).sqrt()  # (B, C, H, W)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]
        ### END SOLUTION

# %% check="GroupNorm1"
check("hw5.GroupNorm1", GroupNorm1)

# %% [markdown]
# **Look at it.** A map with two channels: the numbers of the right half are ten times as large. How large is each
# place after the norm (the root of the mean square over its channels)? With one norm for the whole map, the right
# half is still larger. LayerNorm at each place has made all alike. Neither is *the* right one; but they are not the
# same, and code that exchanges them runs without any error.

# %%
loud = torch.cat([torch.randn(2, 4, 3), 10 * torch.randn(2, 4, 3)], dim=2)  # (C, H, W) = (2, 4, 6)
loudness = lambda map: map.detach().pow(2).mean(dim=0).sqrt()  # (C, H, W) -> (H, W)
with when_done():
    whole = GroupNorm1(2)(loud[None])[0]  # (C, H, W)
    each_place = F.layer_norm(loud.movedim(0, -1), (2,)).movedim(-1, 0)  # (C, H, W)
    display(plots.matrices({
        "before": loudness(loud), "GroupNorm1": loudness(whole), "LayerNorm at each place": loudness(each_place),
    }))

# %% [markdown]
# ## 4 · Patches that overlap ●●●○○
#
# **Why.** A vision transformer cuts its image into patches side by side. A stroke on the cut is then in two tokens,
# half in each. PoolFormer lets the patches **overlap**: at the entrance (the **stem**), squares of 7 × 7 pixels, a
# new one every 4 pixels, with 2 pixels of zeros around the image. Later, from one stage to the next, squares of 3 ×
# 3, every 2 places, with 1 of zeros (**downsampling**). Each square becomes one long vector, and one linear layer,
# the same for all, makes a token of it. That is a convolution with a stride, and here you build it.
#
# **What.** `patch_embedding(x, weight, bias, patch_size, stride, padding)`; no convolution in it.
# * `x` is $(B, C, H, W)$. Zeros are put around it, `padding` on each side.
# * Squares of side $k$ = `patch_size` are cut out, the first at the top left, the next `stride` to the right
#   or down, as long as they fit: $H' = \lfloor (H + 2 \cdot \text{padding} - k) / \text{stride} \rfloor + 1$
#   of them down, $W'$ across.
# * Each square is laid out as one vector of $C \cdot k \cdot k$ numbers: channel 0 first, in it row by row,
#   then channel 1.
# * `weight` is $(D, C \cdot k \cdot k)$ and `bias` $(D,)$: the linear layer.
# * Out comes a map again, $(B, D, H', W')$.
#
# Loops over the $H' \times W'$ squares are fine; `F.unfold` or `Tensor.unfold` do it without.
#
# **By hand.** 32 pixels, squares of 7, stride 4, padding 2: $(32 + 4 - 7)/4 = 7.25$, so $H' = 7 + 1 = 8$; the
# last pixel of the padding is in no square. Then 3, 2, 1: $(8 + 2 - 3)/2 = 3.5$, so 4. A quarter, then half
# of that.

# %% exercise="patch_embedding"
def patch_embedding(x, weight, bias, patch_size, stride, padding):
    """Overlapping patches, each through the same linear layer, back on a map.

    Args:
        x: (B, C, H, W).
        weight: (D, C·k·k), for patches laid out channel by channel, row by row.
        bias: (D,).
        patch_size: k.
        stride: from one patch to the next.
        padding: zeros on each side of the map.

    Returns:
        (B, D, H', W').
    """
    ### BEGIN SOLUTION
    x = F.pad(x, (padding, padding, padding, padding))  # (B, C, H + 2p, W + 2p)
    patches = x.unfold(2, patch_size, stride).unfold(3, patch_size, stride)  # (B, C, H', W', k, k)
    vectors = rearrange(patches, "b c gh gw kh kw -> b gh gw (c kh kw)")
    return rearrange(vectors @ weight.T + bias, "b gh gw d -> b d gh gw")
    ### END SOLUTION

# %% check="patch_embedding"
check("hw5.patch_embedding", patch_embedding)

# %% [markdown]
# **Look at it.** In how many patches is each pixel? Take a linear layer of ones, ask for the gradient of the
# sum of all tokens: a pixel has moved the sum once for every patch that it is in. Left, patches side by side:
# each pixel is in one. In the middle PoolFormer's entrance, right the step between two stages: in one patch
# (light), two, or four (dark). The price of overlapping is that some pixels are heard more often than others.

# %%
def patches_per_pixel(side, patch_size, stride, padding):
    """(side, side): in how many patches each pixel is."""
    x = torch.zeros(1, 1, side, side, requires_grad=True)  # (B, C, H, W)
    tokens = patch_embedding(x, torch.ones(1, patch_size**2), torch.zeros(1), patch_size, stride, padding)
    return torch.autograd.grad(tokens.sum(), x)[0][0, 0]


with when_done():
    sizes = {"side by side: 4, 4, 0": (4, 4, 0), "entrance: 7, 4, 2": (7, 4, 2), "later: 3, 2, 1": (3, 2, 1)}
    display(plots.matrices({title: patches_per_pixel(12, *size) for title, size in sizes.items()}, shared=True))

# %% [markdown]
# And the same weights in torch's own convolution, which only wants them as $(D, C, k, k)$. From here on we
# use that one: it does the same and is faster.

# %%
with when_done():
    conv = nn.Conv2d(3, 6, kernel_size=7, stride=4, padding=2)
    x = torch.randn(2, 3, 21, 34)  # (B, C, H, W)
    ours = patch_embedding(x, conv.weight.flatten(1), conv.bias, 7, 4, 2)  # (B, D, H', W')
    print(tuple(ours.shape), "same as nn.Conv2d, to five decimals:", torch.allclose(ours, conv(x), atol=1e-5))

# %% [markdown]
# ## 5 · The block with an empty place ●●○○○
#
# **Why.** Here is the whole idea of the paper: the block of a transformer, with the mixer left open.
#
# ```
#        ┌── norm1 ── mixer ── · scale1 ──┐       ┌── norm2 ── fc1 ── GELU ── fc2 ── · scale2 ──┐
# x ─────┴────────────────────────────────+───────┴─────────────────────────────────────────────+─── out
# ```
#
# New against homework 1 are the two **scales**: the result of each half is multiplied by one number for each
# channel before it is added. They are learned, and begin at something tiny such as $10^{-5}$, so that a new block is
# nearly the identity, however deep the network: this is **LayerScale** (Touvron et al. 2021).
#
# **What.** A module `MetaFormerBlock(channels, mixer, mlp_ratio, layer_scale)`; `forward(x)` is $(B, C, H, W)
# \to (B, C, H, W)$:
#
# $$y = x + s_1 \cdot \text{mixer}(\text{norm1}(x)), \qquad
# \text{out} = y + s_2 \cdot \text{fc2}(\text{GELU}(\text{fc1}(\text{norm2}(y)))).$$
#
# `mixer` is a finished module for maps that you are handed: keep it as **`self.mixer`**. **`norm1`** and
# **`norm2`** are your `GroupNorm1(channels)` (or `nn.GroupNorm(1, channels)` if exercise 3 is still open), both with
# `eps` at $10^{-5}$.
# The MLP works on each place alone, which on a map is a convolution of 1 × 1: **`fc1`** is `nn.Conv2d(C,
# mlp_ratio·C, 1)`, **`fc2`** the way back. (Instead, an `nn.Sequential` called `mlp` of convolution, GELU,
# convolution is accepted.) **`scale1`** and **`scale2`** are `nn.Parameter`s of shape $(C,)$, all entries
# `layer_scale` at first.
#
# **By hand.** Why is only the branch scaled, and not the sum? With a scale of 0, the block in the picture is the
# identity. If the sum were scaled, all would be 0 from the first block on.

# %% exercise="MetaFormerBlock"
class MetaFormerBlock(nn.Module):
    """A transformer block on maps, for any token mixer (Yu et al. 2022, eq. 2 and 3, with LayerScale).

    Args:
        channels: C.
        mixer: a module (B, C, H, W) -> (B, C, H, W).
        mlp_ratio: how many times wider than C the MLP is inside; a whole number.
        layer_scale: what the scales are at first.
    """

    def __init__(self, channels, mixer, mlp_ratio=4, layer_scale=1e-5):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = GroupNorm1(channels)
        self.mixer = mixer
        self.scale1 = nn.Parameter(torch.full((channels,), layer_scale))
        self.norm2 = GroupNorm1(channels)
        self.fc1 = nn.Conv2d(channels, mlp_ratio * channels, kernel_size=1)
        self.fc2 = nn.Conv2d(mlp_ratio * channels, channels, kernel_size=1)
        self.scale2 = nn.Parameter(torch.full((channels,), layer_scale))
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        x = x + self.scale1[:, None, None] * self.mixer(self.norm1(x))  # (B, C, H, W)
        return x + self.scale2[:, None, None] * self.fc2(F.gelu(self.fc1(self.norm2(x))))
        ### END SOLUTION

# %% check="MetaFormerBlock"
check("hw5.MetaFormerBlock", MetaFormerBlock)

# %% [markdown]
# **Look at it.** Twelve new blocks in a row. How far is the output from the input, in parts of the input's size, for
# three scales? (The check loads its own scales and does not see how yours begin. Here you can: with $10^{-5}$ the
# output must be very near the input.)

# %%
def moved_at_birth(layer_scale, depth=12):
    """How far `depth` new blocks move a map, relative to its size."""
    x = torch.randn(1, 16, 6, 7)  # (B, C, H, W)
    blocks = nn.Sequential(*[MetaFormerBlock(16, nn.Identity(), 4, layer_scale) for _ in range(depth)])
    with torch.no_grad():
        return float((blocks(x) - x).norm() / x.norm())


with when_done():
    for layer_scale in (1e-5, 0.1, 1.0):
        print(f"layer scale {layer_scale:g}: moved by {moved_at_birth(layer_scale):.5f}")

# %% [markdown]
# Remember the first of these lines for the end of the notebook: at $10^{-5}$ the blocks change so little that *any*
# mistake in them is invisible from outside. A comparison of two freshly made networks compares their first and last
# layers only.

# %% [markdown]
# ## 6 · A mixer without arithmetic ●●○○○
#
# **Why.** Pooling has no weights. One can go further: **move** some channels by one place and leave the rest
# (Wang et al. 2022, ShiftViT). There is not even an addition. The MLP that follows then finds at each place
# the channels of five places: itself, left, right, above, below. (In ShiftViT this half has neither a norm nor a
# residual connection. In our comparison it stands inside the block, with both, as every other mixer does.)
#
# **What.** A module `Shift(num_parts)`, without parameters; `forward(x)` is $(B, C, H, W) \to (B, C, H, W)$.
# Let $g = \lfloor C / \text{num\_parts} \rfloor$, and `num_parts` be 4 at least.
# * The first $g$ channels move one place to the **left**: at each place now stands what was to the right of
#   it.
# * The next $g$ move to the **right**, the next **up** (to the row before), the next **down**.
# * All other channels stay.
#
# What leaves the map is lost; where nothing comes from there is 0. `x` itself is not changed.
#
# **By hand.** A row $(1, 2, 3)$: moved to the left it is $(2, 3, 0)$, to the right $(0, 1, 2)$.

# %% exercise="Shift"
class Shift(nn.Module):
    """Four groups of channels move by one place: left, right, up, down (Wang et al. 2022).

    Args:
        num_parts: each group is C // num_parts channels.
    """

    def __init__(self, num_parts):
        super().__init__()
        ### BEGIN SOLUTION
        self.num_parts = num_parts
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        g = x.shape[1] // self.num_parts
        out = torch.zeros_like(x)  # (B, C, H, W)
        out[:, :g, :, :-1] = x[:, :g, :, 1:]  # left
        out[:, g : 2 * g, :, 1:] = x[:, g : 2 * g, :, :-1]  # right
        out[:, 2 * g : 3 * g, :-1] = x[:, 2 * g : 3 * g, 1:]  # up
        out[:, 3 * g : 4 * g, 1:] = x[:, 3 * g : 4 * g, :-1]  # down
        out[:, 4 * g :] = x[:, 4 * g :]
        return out
        ### END SOLUTION

# %% check="Shift"
check("hw5.Shift", Shift)

# %% [markdown]
# **Look at it.** The same digit in five channels, each a group of its own (`num_parts=5`).

# %%
with when_done():
    five = repeat(digits.images[:1, 0] / 255, "b h w -> b c h w", c=5)  # (B, C, H, W) = (1, 5, 8, 8)
    shifted = Shift(num_parts=5)(five)[0][:, None]  # (C, 1, H, W)
    display(plots.image_grid(shifted, count=5, captions=["left", "right", "up", "down", "stays"]))

# %% [markdown]
# ## 7 · Attention on a map ●●●○○
#
# **Why.** For the comparison the old mixer is needed too. You have built it, for tokens in a row. On a map
# there is one thing more to do: the channels lie on axis 1, the places on two axes behind, and attention
# wants $(B, N, C)$ with the channels last. A bare reshape gives the right shape and the wrong numbers.
#
# **What.** A module `MapAttention(channels, num_heads)`; `forward(x)` is $(B, C, H, W) \to (B, C, H, W)$:
#
# $$\text{out}\!\left(\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v\right) \quad \text{in every head, with}
# \quad q, k, v = \text{query}(\text{tokens}),\ \text{key}(\text{tokens}),\ \text{value}(\text{tokens}).$$
#
# Each of the $N = H \cdot W$ places is a token of $C$ numbers. **`query`**, **`key`**, **`value`** and
# **`out`** are `nn.Linear(C, C)`; head 0 has the first $d = C / h$ numbers of each, and so on; scores are
# divided by $\sqrt d$, there is no mask. (Instead of the first three, one `nn.Linear(C, 3·C)` called `qkv` is
# accepted, all queries first, then all keys, then all values.) `F.scaled_dot_product_attention` is allowed:
# homework 1 was about it.
#
# **By hand.** $C = 2$ channels on a map of 1 × 3: channel 0 is $(1, 2, 3)$, channel 1 is $(7, 8, 9)$. The
# tokens are $(1, 7)$, $(2, 8)$, $(3, 9)$. A bare reshape to $(3, 2)$ would give $(1, 2)$, $(3, 7)$, $(8, 9)$.

# %% exercise="MapAttention"
class MapAttention(nn.Module):
    """Multi-head self-attention among all places of a map.

    Args:
        channels: C, a multiple of num_heads.
        num_heads: h.
    """

    def __init__(self, channels, num_heads):
        super().__init__()
        ### BEGIN SOLUTION
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        tokens = rearrange(x, "b c h w -> b (h w) c")  # (B, N, C)
        projected = (self.query(tokens), self.key(tokens), self.value(tokens))
        q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=self.num_heads) for part in projected)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        mixed = self.out(rearrange(mixed, "b h n d -> b n (h d)"))  # (B, N, C)
        return rearrange(mixed, "b (h w) c -> b c h w", w=x.shape[3])
        ### END SOLUTION

# %% check="MapAttention"
check("hw5.MapAttention", MapAttention)

# %% [markdown]
# ## 8 · One block that is not a MetaFormer ●●○○○
#
# **Why.** At the same conference, others came from the other end: they took a ResNet and changed it towards a
# transformer, step by step, and arrived at a block with the same parts in another order (Liu et al. 2022, ConvNeXt).
# It has *one* residual connection instead of two and *one* norm instead of two, which comes after the spatial mixing:
#
# $$\text{out} = x + \text{scale} \cdot \text{fc2}(\text{GELU}(\text{fc1}(\text{norm}(\text{conv}(x))))).$$
#
# ```
#        ┌── conv 7×7, depthwise ── norm ── fc1 ── GELU ── fc2 ── · scale ──┐
# x ─────┴──────────────────────────────────────────────────────────────────+─── out
# ```
#
# **What.** A module `ConvNeXtBlock(channels, kernel_size, mlp_ratio, layer_scale)`; `forward(x)` is $(B, C,
# H, W) \to (B, C, H, W)$. **`conv`** is an `nn.Conv2d` with one kernel of its own for each channel and as
# much padding as keeps the map's size ($k$ is odd). **`norm`** is an `nn.LayerNorm(C, eps=1e-6)` over the
# channels of **each place alone**: here it is the token's own norm, not that of exercise 3. **`fc1`** and
# **`fc2`** are `nn.Linear`, $C \to$ `mlp_ratio` $\cdot C \to C$ (or one `nn.Sequential` called `mlp`).
# **`scale`** is a parameter $(C,)$. LayerNorm and Linear want the channels last.
#
# **By hand.** $C = 96$, $k = 7$, ratio 4: the convolution has $96 \cdot 49 = 4{,}704$ weights, the MLP $2
# \cdot 4 \cdot 96^2 = 73{,}728$. The mixing over places has few weights; nearly all of them are in the MLP.

# %% exercise="ConvNeXtBlock"
class ConvNeXtBlock(nn.Module):
    """ConvNeXt's block (Liu et al. 2022, figure 4).

    Args:
        channels: C.
        kernel_size: k of the depthwise convolution, odd.
        mlp_ratio: how many times wider than C the MLP is inside.
        layer_scale: what the scale is at first.
    """

    def __init__(self, channels, kernel_size=7, mlp_ratio=4, layer_scale=1e-6):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1 = nn.Linear(channels, mlp_ratio * channels)
        self.fc2 = nn.Linear(mlp_ratio * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))
        ### END SOLUTION

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        ### BEGIN SOLUTION
        y = rearrange(self.conv(x), "b c h w -> b h w c")
        y = self.scale * self.fc2(F.gelu(self.fc1(self.norm(y))))  # (B, H, W, C)
        return x + rearrange(y, "b h w c -> b c h w")
        ### END SOLUTION

# %% check="ConvNeXtBlock"
check("hw5.ConvNeXtBlock", ConvNeXtBlock)

# %% [markdown]
# **Look at it: how far does each mixer reach?** One place in the middle of a map is changed a little. By how much does
# the output of each *mixer* change, place by place? With the identity only that place; with pooling and a 3 × 3
# convolution also the eight neighbours, in equal parts with the one, by its weights (here: random) with the other; with
# the shift four neighbours; with attention all places; with ConvNeXt's block a square of 7 × 7.

# %%
def told(mixer, channels=20, side=9):
    """(side, side): how far each place's output moves when the place in the middle is changed."""
    torch.manual_seed(0)
    x = torch.randn(1, channels, side, side)  # (B, C, H, W)
    other = x.clone()
    other[0, :, side // 2, side // 2] += torch.randn(channels)
    return (mixer(other) - mixer(x))[0].norm(dim=0).detach()  # (H, W)

# %%
with when_done():
    zoo = {
        "identity": nn.Identity(), "pooling": Pooling(3), "shift": Shift(num_parts=5),
        "depthwise 3 × 3": nn.Conv2d(20, 20, 3, padding=1, groups=20),
        "attention": MapAttention(20, 4), "ConvNeXt block": ConvNeXtBlock(20, 7, 4, 1.0),
    }
    moved = {name: told(mixer) for name, mixer in zoo.items()}  # (H, W) each
    display(plots.matrices({name: moved[name].sqrt() for name in list(moved)[:3]}, numbers=False))
    display(plots.matrices({name: moved[name].sqrt() for name in list(moved)[3:]}, numbers=False))

# %% [markdown]
# (The square root is drawn, so that attention's many small values can be seen beside its one large value.)
#
# **Is it ConvNeXt's?** torchvision has the block too. The names differ, the network does not.

# %%
from torchvision.models.convnext import CNBlock

THEIR_NAMES = {
    "conv.": "block.0.", "norm.": "block.2.", "fc1.": "block.3.", "fc2.": "block.5.", "mlp.0.": "block.3.",
    "mlp.2.": "block.5.", "scale": "layer_scale",
}
with when_done():
    theirs, ours = CNBlock(12, layer_scale=0.7, stochastic_depth_prob=0.0), ConvNeXtBlock(12, 7, 4, 0.7)
    weights = theirs.state_dict()
    for name, weight in ours.state_dict().items():
        part = next(part for part in THEIR_NAMES if name.startswith(part))
        weight.copy_(weights[name.replace(part, THEIR_NAMES[part])].view_as(weight))  # their scale is (C, 1, 1)
    x = torch.randn(2, 12, 9, 10)  # (B, C, H, W)
    print("same as torchvision's block, to five decimals:", torch.allclose(ours(x), theirs(x), atol=1e-5))

# %% [markdown]
# ## 9 · The pyramid ●●●○○
#
# **Why.** What is left to build is the shape of the whole network. In the first stage the map is large and has few
# channels; then, stage by stage, the side halves and the channels double, as in every ResNet since 2015 (a
# **hierarchical** network, or pyramid). Early stages work on fine detail, late ones on the whole image.
#
# **What.** `make_block(kind, channels)` below is given: it puts your parts together. Write
# `MetaFormer(in_channels, num_classes, width, num_stages, depth, kind)`:
# * **`embed`**, an `nn.ModuleList` of `num_stages` convolutions. The first is the entrance, 7 × 7, stride 4,
#   padding 2, to `width` channels. Each later one is 3 × 3, stride 2, padding 1, and doubles the channels.
# * **`stages`**, an `nn.ModuleList` of `num_stages` `nn.Sequential`s, each of `depth` blocks made by
#   `make_block(kind, channels)`.
# * `forward(images)`: embed, blocks, embed, blocks, … Then the average over all places, $(B, C)$; then
#   **`norm`**, an `nn.LayerNorm(C, eps=1e-6)`; then **`head`**, an `nn.Linear` to $(B, \text{num\_classes})$.
#   Only the numbers count here, no gradients: exercise 10 trains through your parts.
#
# (This order, average and then LayerNorm, is that of the `timm` library. The paper's own code norms the map
# with GroupNorm and then averages. Both are called PoolFormer; weights of the one give wrong answers in the
# other.)
#
# **By hand.** Images of 32 × 32, `width=16`, two stages: $16 \times 8 \times 8$, then $32 \times 4 \times 4$.
# The map has a quarter of the places and twice the channels: half the numbers.

# %% exercise="MetaFormer"
def make_block(kind, channels):
    """A new block of one of seven kinds; scales start at 1, since our networks are not deep."""
    if kind == "ConvNeXt block":
        return ConvNeXtBlock(channels, kernel_size=7, mlp_ratio=4, layer_scale=1.0)
    mixer = {
        "identity": nn.Identity,
        "pooling": lambda: Pooling(3),
        "shift": lambda: Shift(num_parts=8),
        "depthwise 3 × 3": lambda: nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        "attention": lambda: MapAttention(channels, num_heads=4),
        "attention + places": lambda: nn.Sequential(Places(channels), MapAttention(channels, num_heads=4)),
    }[kind]()
    return MetaFormerBlock(channels, mixer, mlp_ratio=4, layer_scale=1.0)


class MetaFormer(nn.Module):
    """A pyramid of MetaFormer blocks with a classifier on top.

    Args:
        in_channels: of the images. num_classes: how many scores come out.
        width: channels of the first stage; each stage has twice those of the one before.
        num_stages: how many stages. depth: blocks in each of them.
        kind: what make_block understands.
    """

    def __init__(self, in_channels, num_classes, width, num_stages, depth, kind):
        super().__init__()
        ### BEGIN SOLUTION
        self.embed, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage in range(num_stages):
            channels = width * 2**stage
            patch_size, stride, padding = (7, 4, 2) if stage == 0 else (3, 2, 1)
            self.embed.append(nn.Conv2d(in_channels, channels, patch_size, stride, padding))
            self.stages.append(nn.Sequential(*[make_block(kind, channels) for _ in range(depth)]))
            in_channels = channels
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, num_classes)
        ### END SOLUTION

    def forward(self, images):
        """images (B, C, H, W) -> scores (B, num_classes)."""
        ### BEGIN SOLUTION
        x = images
        for embed, blocks in zip(self.embed, self.stages):
            x = blocks(embed(x))  # (B, C, H, W), a smaller map with more channels each time
        return self.head(self.norm(x.mean(dim=(2, 3))))  # (B, num_classes)
        ### END SOLUTION

# %% check="MetaFormer"
check("hw5.MetaFormer", MetaFormer)

# %% [markdown]
# **Look at it.** The sizes of the paper's PoolFormer-S12 are $C = 64, 128, 320, 512$ with 2, 2, 6, 2 blocks
# (the third stage a little more than doubled). Ours, stage by stage: where are the places, and where are the
# parameters?

# %%
with when_done():
    model = MetaFormer(3, 10, width=64, num_stages=4, depth=2, kind="pooling")
    x = torch.randn(1, 3, 224, 224)  # (B, C, H, W)
    for stage, (embed, blocks) in enumerate(zip(model.embed, model.stages)):
        with torch.no_grad():
            x = blocks(embed(x))
        weights = sum(parameter.numel() for part in (embed, blocks) for parameter in part.parameters())
        _, channels, height, width = x.shape
        print(f"stage {stage}: {channels:3} channels on {height:2} × {width:2} places, {weights:9,} parameters")

# %% [markdown]
# **A question.** Attention has a score for each pair of places. How many pairs are there on the map of stage
# 0, and how many in stage 3? Later hybrids (CAFormer: Yu et al. 2024) put convolutions in the first two
# stages and attention in the last two. Why in this order?
#
# <details><summary>Answer</summary>
#
# $56 \cdot 56 = 3136$ places and $3136^2 = 9{,}834{,}496$ pairs, against $49^2 = 2401$. Attention is affordable where
# there are few places, and there each place stands for a large part of the image; the early stages need their
# neighbours most.
# </details>

# %% [markdown]
# ## 10 · One budget for all ●●○○○
#
# **Why.** Mixers can only be compared if everything else is the same: the same body, images, number of steps, batches
# in the same order, learning rate. The rate is not one number: with large steps at the very start the training of
# some networks (those with attention above all) diverges, and with large steps at the end the loss of none of them
# comes to rest. So the rate climbs for a few steps (**warm-up**) and then falls along half a cosine to nearly 0
# (**cosine decay**).
#
# **What.** Two functions.
# * `learning_rates(steps, warmup_steps, peak)` returns `steps` numbers in a list. For step $t = 0, 1, \dots$ with $w$ =
#   `warmup_steps`:
#
# $$r_t = \text{peak}\cdot\frac{t+1}{w} \ \text{ for } t < w, \qquad
# r_t = \text{peak} \cdot \tfrac12\left(1 + \cos\left(\pi\,\frac{t - w}{\text{steps} - w}\right)\right) \ \text{ from
# } t = w \text{ on.}$$
#
# * `train(model, images, labels, rates, batch_size, generator)` trains `model` in place with one step for
#   each of the `rates` and returns the list of losses, one plain number for each step (`loss.item()`; a tensor that still
#   holds its graph is none). One `torch.optim.AdamW` for all parameters, with torch's defaults, except that each step has
#   **its** rate (an optimizer keeps it in `param_groups`, a list of dictionaries, under `"lr"`). In each step: draw
#   the indices with `torch.randint(len(images), (batch_size,), generator=generator)`, once; cross entropy of
#   the raw scores; clear the gradients, compute them, move. The loss of a batch is taken before the step.
#
# The check follows a tiny classifier number by number, and then gives your loop 50 steps for a small network
# of ours: **at least 92 %** of 300 digits it has never seen must be right (it takes about a second).
#
# **By hand.** `learning_rates(6, 2, 1.0)`: the warm-up is $0.5,\ 1$; then the angles are $0, \frac14\pi,
# \frac12\pi, \frac34\pi$, which makes $1,\ 0.854,\ 0.5,\ 0.146$.

# %% exercise="train"
def learning_rates(steps, warmup_steps, peak):
    """A list of `steps` rates: up in a line to `peak`, down along half a cosine."""
    ### BEGIN SOLUTION
    rates = []
    for step in range(steps):
        if step < warmup_steps:
            rates.append(peak * (step + 1) / warmup_steps)
        else:
            angle = math.pi * (step - warmup_steps) / (steps - warmup_steps)
            rates.append(peak * (1 + math.cos(angle)) / 2)
    return rates
    ### END SOLUTION


def train(model, images, labels, rates, batch_size, generator):
    """Train a classifier in place, one step for each rate.

    Args:
        model: images (B, C, H, W) -> scores (B, classes).
        images: (n, C, H, W) float. labels: (n,) int64.
        rates: (steps,) learning rates, one for each step.
        batch_size: B. generator: the torch.Generator that batches are drawn from.

    Returns:
        list of floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters())
    model.train()
    losses = []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        chosen = torch.randint(len(images), (batch_size,), generator=generator)  # (B,)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train"
check("hw5.train", learning_rates, train)

# %% [markdown]
# **Look at it.**

# %%
with when_done():
    steps = range(200)
    shapes = {f"warm-up {warmup}": learning_rates(200, warmup, 0.005) for warmup in (1, 20, 60)}
    display(plots.curves(steps, shapes, xlabel="step", ylabel="learning rate"))

# %% [markdown]
# ## The comparison
#
# **The task.** `two_questions`: every image has a red plus and a blue ring on a striped ground. The question
# here is *relation*: in which direction from the plus is the ring, out of ten? They lie 15 to 21 pixels
# apart, and where they lie together is random: no single patch knows the answer. It is a question made for
# telling mixers apart.

# %%
two_questions = load("two_questions", label="relation", device="cpu")
plots.image_grid(two_questions, count=8, columns=8, captions=[
    two_questions.classes[int(label)] for label in two_questions.labels[:8]
])

# %% [markdown]
# **One more mixer.** Attention by itself does not know where a place is (homework 1, exercise 6). So it
# starts twice: as it is, and with a fixed pattern of sines and cosines added to what it reads, half of the
# channels for the row, half for the column.

# %%
class Places(nn.Module):
    """Adds to every place a pattern that says where it is, (B, C, H, W) -> the same; C a multiple of 4."""

    def __init__(self, channels):
        super().__init__()
        frequency = 10 ** (-torch.arange(channels // 4) / (channels // 4))  # (C/4,)
        self.register_buffer("frequency", frequency, persistent=False)

    def axis(self, length):
        angle = self.frequency[:, None] * torch.arange(length, device=self.frequency.device)  # (C/4, length)
        return torch.cat([angle.sin(), angle.cos()])  # (C/2, length)

    def forward(self, x):
        height, width = x.shape[2:]
        rows = repeat(self.axis(height), "c h -> c h w", w=width)
        columns = repeat(self.axis(width), "c w -> c h w", h=height)
        return x + torch.cat([rows, columns])  # (B, C, H, W)

# %% [markdown]
# **The budget.** Seven kinds of block, each with the seeds 0, 1 and 2: the seed sets the first weights *and*
# the order of the batches, so that all kinds see the same batches under the same seed. Two stages of one
# block, 16 and 32 channels, the same number of steps, batches of 32, the same rates. `trained` remembers what
# it has trained; the last accuracy counts, not the best on the way.

# %%
from functools import cache

SEEDS = (0, 1, 2)
KINDS = ("identity", "pooling", "shift", "depthwise 3 × 3", "attention", "attention + places", "ConvNeXt block")
held_out = load("two_questions", "test", label="relation", device="cpu")
pixels = lambda images: (images / 255 - 0.5) / 0.25  # to about mean 0 and spread 1


@cache
def trained(kind, seed, steps):
    """The share of 1,000 new images that are right after training, and the losses."""
    torch.manual_seed(seed)
    model = MetaFormer(3, 10, width=16, num_stages=2, depth=1, kind=kind)
    rates = learning_rates(steps, steps // 10, 0.007)
    generator = torch.Generator().manual_seed(seed)
    losses = train(model, pixels(two_questions.images), two_questions.labels, rates, 32, generator)
    with torch.no_grad():
        scores = model.eval()(pixels(held_out.images))  # (1000, 10)
    return float((scores.argmax(dim=1) == held_out.labels).float().mean()), losses

# %% [markdown]
# *Price of the next cell: about a minute on one core of a laptop's CPU for all 21 networks; on a GPU not
# measured.* Before you run it, write down your order, from best to worst.

# %%
steps = budget(tiny=4, cpu=160)
seeds = budget(tiny=SEEDS[:2], cpu=SEEDS)
with when_done():
    rows = {kind: {f"seed {seed}": trained(kind, seed, steps)[0] for seed in seeds} for kind in KINDS}
    display(plots.bars(rows, chance=0.1, title=f"relation, held out, after {steps} steps"))

# %% [markdown]
# **How sure is it?** A number without its uncertainty is not a result. Below: the mean over the
# seeds, their spread (standard deviation), and the difference from pooling, *seed by seed*, with its standard
# error. Comparing seed by seed removes what both have in common: the batches.

# %%
with when_done():
    table = torch.tensor([[trained(kind, seed, steps)[0] for seed in seeds] for kind in KINDS])  # (kinds, seeds)
    difference = table - table[KINDS.index("pooling")]  # (kinds, seeds), paired by seed
    error = difference.std(dim=1) / len(seeds) ** 0.5  # (kinds,)
    for kind, mean, spread, d, e in zip(KINDS, table.mean(1), table.std(1), difference.mean(1), error):
        print(f"{kind:19} {mean:6.1%} ± {spread:5.1%}    minus pooling: {d:+6.1%} ± {e:5.1%}")

# %% [markdown]
# **What this can show, and what it cannot.**
#
# * A gap of many errors is real. Look at the identity against pooling in your table. Where the identity is above chance
#   (10 %), it is because of the overlapping patches, the only other place where neighbours are mixed.
#   (On photographs the gap is smaller: with the identity for pooling the paper still reports 74.3 % on
#   ImageNet instead of 77.2, its table 5. Recognising things asks less of the mixer than our question does.)
# * A gap of a few per cent is not. Three seeds already differ by some per cent, and 1,000 held-out images alone
#   have an error of $\sqrt{0.75 \cdot 0.25 / 1000} \approx 1.4$ %. Where a difference is less than about three of
#   its errors, say "we cannot tell"; with three seeds even the error is only roughly known. Which rows of
#   your table are left?
# * Compare "attention" with "identity". "Attention is no better than nothing" may be what these two rows say, **and it would
#   be the wrong conclusion**. Attention without positions treats the map as an unordered set of places: every place reaches
#   every other, but not where it comes from. Compare with "attention + places". What failed was not the mixer but the body,
#   which did not tell it where anything is. A comparison in one body is a comparison *for this body*.
# * Equal steps are not equal time, not equal parameters (attention has four more matrices), and not equal tuning: one
#   learning rate for all, chosen by hand, may suit some better than others.
# * Above all: **each bar is a learning curve, read at one point.** A network that learns slowly looks like one that cannot
#   learn. The next cell gives two of them three times the steps.

# %%
longer = budget(tiny=4, cpu=480)
with when_done():
    for kind in ("identity", "attention + places"):
        short, long = trained(kind, 0, steps)[0], trained(kind, 0, longer)[0]
        print(f"{kind:19} seed 0: {short:6.1%} after {steps} steps, {long:6.1%} after {longer}")

# %% [markdown]
# **Change a number.** `trained(kind, seed, steps)` takes any. Is the order of pooling and shift the same at
# 100 steps? Which of your seven would you still trust at 60 (one more seed costs a second or two)? And if the
# question is `texture` (set `label="texture"` twice above), which asks for something local, what is left of
# all these differences?

# %% [markdown]
# **Photographs.** The same classes on CIFAR-10: PoolFormer and its twin with a learned kernel, small and with 5,000
# photographs on a CPU, larger and with all of them, for 10 epochs, on a GPU. One seed, so read it accordingly.
# *Price: some 20 seconds of one CPU core for both, as measured once, and once a download of 170 MB; on a GPU
# not measured.*

# %%
from course.data import photographs


def pooling_on_photographs():
    """Two token mixers in one body on photographs, at the size of this machine."""
    from course.training import evaluate, fit, recipes

    torch.manual_seed(0)
    width, depth = budget(tiny=(8, 1), cpu=(32, 1), gpu=(96, 2))
    kinds = ("pooling", "depthwise 3 × 3")
    models = {kind: MetaFormer(3, 10, width=width, num_stages=3, depth=depth, kind=kind) for kind in kinds}
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    train, test = photos
    small = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200), augment=("random_crop", "random_flip"))
    recipe = budget(tiny=small, cpu=small, gpu=recipes.gpu.but(epochs=10, batch_size=512, lr=2e-3))
    for kind, model in models.items():
        fit(model, train, recipe, plot=False)
        print(f"{kind:19} {evaluate(model, test):.0%} on CIFAR-10's test images")


with when_done():
    pooling_on_photographs()

# %% [markdown]
# ## The same as everybody's PoolFormer?
#
# The library `timm` has a `MetaFormer` class, written by other people. Set up as PoolFormer, with its weights
# loaded into *your* network, both should say the same of any image. The head is timm's: average, then
# LayerNorm. Before we compare, all weights are drawn anew and the scales set to about 1.

# %%
def timm_name(name):
    """Our name of a weight -> timm's."""
    for ours, theirs in {"mlp.0.": "fc1.", "mlp.2.": "fc2.", "fc": "mlp.fc", "scale1": "layer_scale1.scale",
                         "scale2": "layer_scale2.scale", "embed.0": "stem.conv"}.items():
        name = name.replace(ours, theirs)
    kind, _, rest = name.partition(".")
    stage, _, rest_of_stage = rest.partition(".")
    if kind == "embed":
        return f"stages.{stage}.downsample.conv.{rest_of_stage}"
    if kind == "stages":
        return f"stages.{stage}.blocks.{rest_of_stage}"
    return {"norm": "head.norm.", "head": "head.fc."}.get(kind, f"{kind}.") + rest

# %%
def public_poolformer():
    """timm's PoolFormer with four small stages; weights of a size at which every part of it matters."""
    from timm.layers import GroupNorm1
    from timm.models.metaformer import MetaFormer, Pooling

    torch.manual_seed(0)
    model = MetaFormer(
        num_classes=10, depths=(1, 1, 1, 1), dims=(8, 16, 32, 64), token_mixers=Pooling, mlp_act=nn.GELU, mlp_bias=True,
        norm_layers=GroupNorm1, downsample_norm=None, layer_scale_init_values=1e-5, res_scale_init_values=None,
        use_mlp_head=False,
    ).eval()
    for name, weight in model.named_parameters():
        around = 1.0 if "scale" in name or ("norm" in name and name.endswith("weight")) else 0.0
        nn.init.normal_(weight, mean=around, std=0.2)
    return model

# %%
images = torch.randn(2, 3, 64, 96)  # (B, C, H, W)
with when_done():
    ours = MetaFormer(3, 10, width=8, num_stages=4, depth=1, kind="pooling").eval()
    try:
        theirs = public_poolformer()
    except ImportError:
        print("timm is not installed here (pip install timm): the comparison is left out.")
    else:
        weights = theirs.state_dict()
        ours.load_state_dict({name: weights[timm_name(name)] for name in ours.state_dict()})
        with torch.no_grad():
            difference = float((ours(images) - theirs(images)).abs().max() / theirs(images).abs().max())
        print(f"largest difference from timm's PoolFormer, relative to its largest score: {difference:.0e}")

# %% [markdown]
# **Would it have noticed?** A comparison is worth what it can catch. Here timm's network gets a mistake: its
# pooling counts the zeros at the border. Once with scales about 1, once with the $10^{-5}$ that such networks
# are born with. At $10^{-5}$ the wrong network passes for right.

# %%
try:
    spoiled = {scale: public_poolformer() for scale in (1.0, 1e-5)}
except ImportError:
    spoiled = {}  # no timm here, as the cell above says
with torch.no_grad():
    for scale, model in spoiled.items():
        for name, weight in model.named_parameters():
            weight.mul_(scale if "scale" in name else 1.0)
        right = model(images)
        for part in model.modules():
            if isinstance(part, nn.AvgPool2d):
                part.count_include_pad = True
        difference = float((model(images) - right).abs().max() / right.abs().max())
        print(f"scales about {scale:g}: zeros counted at the border make a difference of {difference:.0e}")

# %% [markdown] written="attention_or_not" points=5
# ## 11 · In your own words ●●●○○
#
# After the lecture's discussion task *CNN vs. Transformer*: most vision models today have a body of
# convolutions or of attention. A few sentences for each part; refer to your own numbers and pictures where
# you can. This one is read by a person.
#
# **(a)** *(2 points)* Is a transformer always the better choice? Name one situation in which you would take a
# network that mixes locally (convolution, pooling), and one in which you would take attention, each with the
# reason: what does the mixer assume about images, and what does it cost?
#
# **(b)** *(2 points)* A friend shows your bars and says: "attention is useless, it is as bad as the
# identity". Name two things that are wrong with the conclusion, and the experiment you would run for each.
#
# **(c)** *(1 point)* Pooling has no weights, and PoolFormer still learns to see. Where does everything that
# it has learned sit, and how do far-apart places get to hear of each other in it?
#
# ### BEGIN SOLUTION
# **(a)** No. A local mixer assumes that what belongs together lies together, and treats every place alike; if
# that is true of the task and there is little data, the network need not find it out first: small data sets,
# fine local detail (texture), large images, small devices. Its cost grows in proportion to the number of
# places $N$. Attention assumes nothing about distance and lets the content decide whom to listen to; that
# pays when far-apart things must be related in few layers and there is enough data or pre-training to learn
# from (in Dosovitskiy et al. 2021 ViT overtakes the ResNets only with pre-training on very large sets). It
# costs a score for each pair, $N^2$, so hybrids use it late, on small maps. In my comparison the local mixers
# and attention with places lie within the errors of each other, so it decides nothing between them.
#
# *Marking: 1 point for each situation: half for the situation, half for a reason that names the assumption or
# the cost.*
#
# **(b)** Two of: It had no position: with places added the same mixer is far better, so what is shown is that
# this body needs positions (experiment: the row *attention + places*). It is one point on a curve: at equal
# steps a slow learner looks bad (experiment: more steps, or curves over steps, for all kinds). One learning
# rate for all, tuned for none (experiment: a small search for each kind, with the same number of trials, on
# data that is not the test set). One small made-up task and tiny networks (experiment: another task, other
# sizes). Three seeds are few (experiment: more seeds; this matters for small gaps, here the gap is large).
#
# *Marking: 1 point each: half for what is wrong, half for an experiment that could have come out either way.*
#
# **(c)** In the patch embeddings and the MLPs (and the norms, scales and the head): all weights are there,
# and the overlapping embeddings also mix neighbours with learned weights. Far-apart places meet step by step:
# each block widens the view by one place, each stage doubles what a step means in pixels, and the average
# before the head joins all.
#
# *Marking: half a point for where the weights are, half for depth and pyramid (or the average at the end).*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * A block is a body and a mixer. Norms, residual connections, the MLP, the scales and the pyramid stay; the mixer
#   can be exchanged.
# * Pooling is a convolution with fixed, equal weights. At the border, count only what is there; subtract
#   what the residual connection adds again.
# * One norm for the whole map keeps which places are larger than others; a norm for each place does not.
# * Patches may overlap: a linear layer on squares, which is a convolution with a stride.
# * A comparison has a budget, seeds and an error. It says something about *these* networks at *this* point;
#   and a test says something only if it could have failed.
#
# **Next:** lecture `12_convnets_strike_back`.
#
# **References.** W. Yu et al., *MetaFormer is actually what you need for vision*, CVPR 2022 (PoolFormer). ·
# W. Yu et al., *MetaFormer baselines for vision*, TPAMI 2024. · Z. Liu et al., *A ConvNet for the 2020s*,
# CVPR 2022 (ConvNeXt). · G. Wang et al., *When shift operation meets vision transformer*, AAAI 2022
# (ShiftViT). · Y. Wu and K. He, *Group normalization*, ECCV 2018. · H. Touvron et al., *Going deeper with
# image transformers*, ICCV 2021 (LayerScale). · I. Tolstikhin et al., *MLP-Mixer*, NeurIPS 2021. · A.
# Dosovitskiy et al., *An image is worth 16x16 words*, ICLR 2021. · I. Loshchilov and F. Hutter, *SGDR*, ICLR
# 2017 (the cosine).
