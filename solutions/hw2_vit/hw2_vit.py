# %% [markdown]
# # Homework 2 · A vision transformer, from pixels to a network that agrees with the public one
#
# **You build** the whole ViT: patches, class token, positions, blocks, head; train it; look inside it; and
# let a teacher help it · **needs** lecture `05_vision_transformer` and homework 1 · **takes** about four hours, of
# which reading takes {reading time} · **computing** under two minutes on a laptop · **70 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `patchify`, `unpatchify` | ●●○○○ | 15 | 5 |
# | 2 | `embed_by_unfold`, `embed_by_convolution`, `embed_by_einops` | ●●○○○ | 20 | 6 |
# | 3 | `add_class_token_and_positions` | ●○○○○ | 10 | 4 |
# | 4 | `interpolate_positions` | ●●●○○ | 20 | 6 |
# | 5 | `EncoderBlock` | ●●○○○ | 15 | 5 |
# | 6 | `VisionTransformer` | ●●●○○ | 30 | 9 |
# | 7 | `count_parameters` | ●●○○○ | 20 | 5 |
# | 8 | `train_with_warmup` | ●●●○○ | 25 | 6 |
# | 9 | `attention_rollout` | ●●●○○ | 20 | 5 |
# | 10 | `mean_attention_distance` | ●●●○○ | 20 | 5 |
# | 11 | `soft_distillation_loss`, `hard_distillation_loss` | ●●○○○ | 20 | 5 |
# | 12 | `DistilledVisionTransformer` | ●●○○○ | 15 | 4 |
# | 13 | a question in words | ●●●○○ | 20 | 5 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. No exercise needs an earlier one to be right, so you may skip
# and come back. Cells that need code you have not written yet wait for it.
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
# * *`eps`.* Every layer norm here has **`eps=1e-6`**, as in the published ViTs (torch's default, which homework 1
#   used, is $10^{-5}$); exercises 5, 6 and 12 say it again.
# * *Points.* An exercise that is right in parts earns a part: if all results have the right shape, one tenth of its
#   points; if the values are right too, eight tenths; with right gradients all of them. Where no gradient is asked
#   for, the right shape earns one eighth and right values all; single numbers earn nothing for their shape. Exercise
#   8 is all or nothing, and what the course forbids earns nothing.
# * *Hints.* If a card is not right yet, **hints** wait folded under it: open one, try it, and only then the next.
#
# The letters are those of the lectures: $B$ images of $C$ channels, $H \times W$ pixels; patches of $P \times
# P$; $N$ patches; $D$ numbers a token; $h$ heads of $d$ numbers; $L$ layers; $K$ classes. You may use
# everything in torch except what does the exercise for you: no `nn.MultiheadAttention`, no
# `nn.TransformerEncoderLayer`, no `torchvision.models`, no `timm`, no `course.models`.
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
# The images of `two_questions`, 32 × 32 pixels. Each asks two questions. *Texture*: which way do the faint stripes
# run? Any small part of the image answers it. *Relation*: in which direction from the red plus does the blue ring lie?
# No small part of the image holds both. By the end, your network answers the second.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # networks as small as these run no faster on two cores
data = load("two_questions", device="cpu").ask("relation")
image = data.images[2] / 255  # (C, H, W) = (3, 32, 32), values 0..1
plots.image_grid(data, count=5)

# %% [markdown]
# ## 1 · An image becomes a sequence ●●○○○
#
# **Why.** A transformer reads a sequence of tokens; an image is a grid of pixels. Taking every pixel as a
# token is far too dear (homework 1, exercise 8). So the image is cut into squares of $P \times P$ pixels, and
# each square, laid out as one long row of numbers, is a token (Dosovitskiy et al. 2021, section 3.1). There is
# nothing to learn in this step, and nothing gets lost: it can be undone.
#
# **What.**
# * `patchify(images, patch_size)`: $(B, C, H, W) \to (B, N, C P P)$ with $N = \frac HP \cdot \frac WP$. Patches
#   come in reading order: along the first row of patches from left to right, then the next row. Inside a
#   patch the order is **channel, row, column**: first all of channel 0, row by row, then channel 1.
# * `unpatchify(patches, patch_size, height, width)`: the way back, $(B, N, C P P) \to (B, C, H, W)$.
#
# $H$ and $W$ need not be equal; both are multiples of $P$. Loops are welcome to begin with; one
# `rearrange` is enough in the end.
#
# In one line, with $n = i\,\frac WP + j$ for the patch in row $i$ and column $j$ of the grid:
#
# $$\text{patches}_{b,\; n,\; c P^2 + r P + s} = \text{images}_{b,\; c,\; i P + r,\; j P + s}, \qquad r, s = 0, \dots, P - 1.$$
#
# **By hand.** One image, one channel, 4 × 6 pixels numbered in reading order, $P = 2$: which numbers are in
# patch 1? In patch 3? Write them down before you run the check.
#
# <details><summary>Answer</summary>
#
# Patch 1: 2, 3, 8, 9. Patch 3 is the first of the second row of patches: 12, 13, 18, 19.
# </details>

# %%
numbered = torch.arange(24).reshape(1, 1, 4, 6)  # (B, C, H, W)
numbered[0, 0]

# %% exercise="patchify_and_unpatchify"
def patchify(images, patch_size):
    """(B, C, H, W) -> (B, N, C·P·P): patches in reading order, each as channel, row, column."""
    ### BEGIN SOLUTION
    B, C, H, W = images.shape
    P = patch_size
    grid = images.reshape(B, C, H // P, P, W // P, P)  # (B, C, gh, P, gw, P)
    grid = grid.permute(0, 2, 4, 1, 3, 5)  # (B, gh, gw, C, P, P)
    return grid.flatten(3).flatten(1, 2)  # (B, N, C·P·P)
    ### END SOLUTION


def unpatchify(patches, patch_size, height, width):
    """(B, N, C·P·P) -> (B, C, H, W): undoes patchify; height and width are H and W in pixels."""
    ### BEGIN SOLUTION
    P = patch_size
    grid = patches.unflatten(1, (height // P, width // P)).unflatten(3, (-1, P, P))  # (B, gh, gw, C, P, P)
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # (B, C, H, W)
    ### END SOLUTION

# %% check="patchify_and_unpatchify"
check("hw2.patchify_and_unpatchify", patchify, unpatchify)

# %% [markdown]
# **Look at it.** The numbered image, and the rows that your function makes of it.

# %%
with when_done():
    rows = patchify(numbered, 2)[0]  # (N, P·P) = (6, 4)
    names = [f"patch {n}" for n in range(6)]
    display(plots.matrices({"the image (H, W)": numbered[0, 0], "patches (N, P·P)": rows},
                           rows={"patches (N, P·P)": names}))

# %% [markdown]
# Once it is a sequence, many things are one line. Here the tokens are shuffled, thinned out, and averaged, and
# `unpatchify` shows what is left.

# %%
with when_done():
    patches = patchify(image[None], 4)  # (1, N, C·P·P) = (1, 64, 48)
    shuffled = patches[:, torch.randperm(64)]
    half_gone = patches * (torch.rand(64) < 0.5)[:, None]
    averaged = rearrange(patches, "1 n (c p) -> 1 n c p", c=3).mean(-1, keepdim=True).expand(-1, -1, -1, 16)
    versions = [patches, shuffled, half_gone, averaged.flatten(2)]
    back = torch.cat([unpatchify(version, 4, 32, 32) for version in versions])  # (4, C, H, W)
    display(plots.image_grid(back, columns=4, captions=["there and back", "shuffled", "half gone", "averaged"]))

# %% [markdown]
# **Change a number.** With patches of 16 pixels there are only 4 tokens. Which of the two questions could you
# still answer from the shuffled ones?
#
# <details><summary>Answer</summary>
#
# The stripes: they run through every patch. Not the direction: plus and ring lie 15 to 21 pixels apart, so nearly
# always in two patches, and nobody knows any more how these lay to each other.
# </details>
#
# ## 2 · Patch embedding, three times the same ●●○○○
#
# **Why.** A patch is $C P P$ numbers; the transformer wants $D$. One linear layer does it, the same for every patch
# (the **patch embedding**): row $k$ of its weight is a small picture, and entry $k$ of the token says how much of it is
# in the patch,
#
# $$\text{token}_{n, k} = \sum_{c,\, r,\, s} \text{weight}_{k, c, r, s}\; \text{patch}_{n, c, r, s} + \text{bias}_k.$$
#
# In other people's code you will meet this in three forms. Write all three, so that you recognise each of them.
#
# **What.** Three functions of `(images, weight, bias)`. `images` is $(B, C, H, W)$; `weight` is $(D, C, P_h,
# P_w)$, `bias` is $(D)$; the result is $(B, N, D)$, patches in reading order. Here a patch may be a rectangle
# of $P_h \times P_w$ pixels: read both from the shape of `weight`.
# * `embed_by_unfold`: `F.unfold` cuts the image, one matrix product does the rest. Mind what `unfold` returns:
#   its patches are the columns.
# * `embed_by_convolution`: one `F.conv2d`, whose stride is as long as its kernel. Its result is a map $(B, D,
#   H/P_h, W/P_w)$; make it a sequence.
# * `embed_by_einops`: one `rearrange` and one `einsum`; every axis has a name.
#
# The check compares numbers and does not see which way you took: take the one that the name says.
#
# **By hand.** One channel, one row of four pixels $(1, 2, 3, 5)$, patches of $1 \times 2$, $D = 1$, weight $(1, -1)$,
# bias 10. The tokens are $10 + 1 - 2 = 9$ and $10 + 3 - 5 = 8$. (A "convolution" in deep learning does not flip
# its kernel.)

# %% exercise="patch_embedding"
def embed_by_unfold(images, weight, bias):
    """images (B, C, H, W), weight (D, C, Ph, Pw), bias (D,) -> (B, N, D), by unfold and a matrix product."""
    ### BEGIN SOLUTION
    size = weight.shape[2:]  # (Ph, Pw)
    columns = F.unfold(images, kernel_size=size, stride=size)  # (B, C·Ph·Pw, N)
    return columns.transpose(1, 2) @ weight.flatten(1).T + bias  # (B, N, D)
    ### END SOLUTION


def embed_by_convolution(images, weight, bias):
    """The same by a convolution whose stride is its kernel size."""
    ### BEGIN SOLUTION
    grid = F.conv2d(images, weight, bias, stride=weight.shape[2:])  # (B, D, H/Ph, W/Pw)
    return grid.flatten(2).transpose(1, 2)  # (B, N, D)
    ### END SOLUTION


def embed_by_einops(images, weight, bias):
    """The same by rearrange and einsum."""
    ### BEGIN SOLUTION
    Ph, Pw = weight.shape[2:]
    patches = rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) c ph pw", ph=Ph, pw=Pw)
    return einsum(patches, weight, "b n c ph pw, d c ph pw -> b n d") + bias
    ### END SOLUTION

# %% check="patch_embedding"
check("hw2.patch_embedding", embed_by_unfold, embed_by_convolution, embed_by_einops)

# %% [markdown]
# **Look at it.** Three weight rows made by hand, and what each finds in each patch: how red, how blue, how much
# brighter on top than below (the darker the square, the more). A trained network finds filters of its own.

# %%
red, blue, upper = torch.zeros(3, 3, 4, 4)  # (C, P, P) each
red[0], red[1:] = 1 / 16, -1 / 32
blue[2], blue[:2] = 1 / 16, -1 / 32
upper[:, :2], upper[:, 2:] = 1 / 24, -1 / 24
with when_done():
    tokens = embed_by_convolution(image[None], torch.stack([red, blue, upper]), torch.zeros(3))  # (1, 64, 3)
    found = rearrange(tokens, "1 (gh gw) d -> d gh gw", gh=8).clamp(min=0)  # one map for each entry
    display(plots.image_grid(image[None], captions=["the image"]))
    display(plots.matrices(dict(zip(["token entry 0: red", "1: blue", "2: upper half"], found)), numbers=False))

# %% [markdown]
# **Change a number.** A convolution allows a stride *shorter* than the kernel: then patches overlap. How
# many tokens does a 32 × 32 image give with kernel 4 and stride 2? And what would `unpatchify` do with them?
# (Later models start with several small convolutions instead of one: lecture 9.)
#
# <details><summary>Answer</summary>
#
# $(32 - 4) / 2 + 1 = 15$ in each direction, 225 in all. Most pixels are then in four patches, so `unpatchify`, which
# puts each number in one place, could not put the image together; one would have to average.
# </details>

# %%
with when_done():
    weight, bias = torch.randn(5, 3, 4, 4), torch.randn(5)
    by_unfold, by_convolution, by_einops = (
        embed(image[None], weight, bias) for embed in (embed_by_unfold, embed_by_convolution, embed_by_einops)
    )
    print("largest difference:", f"{max((by_unfold - by_convolution).abs().max(), (by_unfold - by_einops).abs().max()):.0e}")

# %% [markdown]
# ## 3 · One token more, and a place for each ●○○○○
#
# **Why.** Two things are missing. *From which token is the answer read?* $N$ patch tokens come out of the
# transformer, and none of them stands for the whole image. So a token is put in front that belongs to no patch: the
# **class token** ([CLS]), the same learned numbers for every image. It collects what it needs by attention, and at the
# end the answer is read from it alone. *Where does each patch lie?* Attention does not know order (homework 1), so a
# learned row of numbers is added to each token, its **position embedding**; the class token gets one as well.
#
# $$z_0 = [\,x_{\text{class}};\; x_1;\; \dots;\; x_N\,] + E_{\text{pos}}, \qquad E_{\text{pos}} \in \mathbb
# R^{(N+1) \times D} \qquad \text{(Dosovitskiy et al. 2021, eq. 1)}$$
#
# **What.** `add_class_token_and_positions(tokens, class_token, positions)`: `tokens` is $(B, N, D)$,
# `class_token` is $(1, 1, D)$, `positions` is $(1, N+1, D)$, its row 0 is that of the class token. The
# result is $(B, N+1, D)$.
#
# **By hand.** $N = 2$, $D = 1$, tokens $5, 6$, class token $1$, positions $0.1, 0.2, 0.3$: out come $1.1, 5.2, 6.3$.

# %% exercise="add_class_token_and_positions"
def add_class_token_and_positions(tokens, class_token, positions):
    """Put the class token in front of every image's tokens and add the positions.

    Args:
        tokens: (B, N, D).
        class_token: (1, 1, D).
        positions: (1, N + 1, D); row 0 belongs to the class token.

    Returns:
        (B, N + 1, D).
    """
    ### BEGIN SOLUTION
    in_front = class_token.expand(len(tokens), -1, -1)  # (B, 1, D)
    return torch.cat([in_front, tokens], dim=1) + positions  # (B, N + 1, D)
    ### END SOLUTION

# %% check="add_class_token_and_positions"
check("hw2.add_class_token_and_positions", add_class_token_and_positions)

# %% [markdown]
# **Look at it.** ViT learns its table of positions from scratch. To begin with something better than
# noise, here is a finished table for a grid: half of the numbers say the row, half say the column, as sines and
# cosines (homework 1, exercise 6, once for each axis). Each picture shows how alike one place is to all others.

# %%
def grid_positions(rows, columns, embed_dim):
    """Sines and cosines of row and column, with a zero row for the class token: (1, 1 + rows·columns, D)."""
    frequency = 10000 ** (-torch.arange(0, embed_dim // 2, 2) / (embed_dim // 2))  # (D/4,)
    hands = lambda n: torch.cat([(angle := torch.arange(n)[:, None] * frequency).sin(), angle.cos()], dim=1)
    of_row = hands(rows)[:, None].expand(rows, columns, -1)  # (rows, columns, D/2)
    of_column = hands(columns)[None].expand(rows, columns, -1)  # (rows, columns, D/2)
    table = torch.cat([of_row, of_column], dim=-1).flatten(0, 1)  # (rows·columns, D)
    return torch.cat([torch.zeros(1, embed_dim), table])[None]


table = grid_positions(8, 8, 48)[0, 1:]  # (N, D), without the class token's row
alike = F.cosine_similarity(table[:, None], table[None], dim=-1).reshape(64, 8, 8)
plots.matrices({f"place {n} (row {n // 8}, column {n % 8})": alike[n] for n in (0, 27, 38)}, numbers=False, shared=True)

# %% [markdown]
# The learned tables of published ViTs look much the same (Dosovitskiy et al. 2021, figure 7, middle): they find out
# by themselves that the tokens lie on a grid.
#
# **Change a number.** How narrow may the table be (48 → 8) before distant places look alike?
#
# ## 4 · Another resolution ●●●○○
#
# **Why.** A ViT is first trained on many images of 224 × 224 pixels (**pre-training**) and then for a short while
# on the task at hand, often at 384 × 384 (**fine-tuning**). The patches keep their size, so there are more of them:
# 24 × 24 instead of 14 × 14. All weights still fit, except one: the table of positions has too few rows.
# But its rows lie on a grid, so the table is an image with $D$ channels, and images can be enlarged
# (Dosovitskiy et al. 2021, section 3.2).
#
# **What.** `interpolate_positions(positions, old_height, old_width, new_height, new_width)`: from $(1, 1 + h w,
# D)$ for a grid of $h \times w$ patches to $(1, 1 + h' w', D)$. Row 0, the class token's, has no place on the
# grid and **stays as it is**. The others are resized with `F.interpolate`, bicubic; leave its other options at
# their defaults. Grids need not be square.
#
# **By hand.** If all places hold the same row of numbers, so do the new ones. If the new grid is the old
# grid, nothing changes.

# %% exercise="interpolate_positions"
def interpolate_positions(positions, old_height, old_width, new_height, new_width):
    """Learned positions for another grid of patches.

    Args:
        positions: (1, 1 + h·w, D), the class token's row first, then the grid in reading order.
        old_height, old_width: h, w, in patches.
        new_height, new_width: h', w', in patches.

    Returns:
        (1, 1 + h'·w', D).
    """
    ### BEGIN SOLUTION
    of_class, of_grid = positions[:, :1], positions[:, 1:]  # (1, 1, D), (1, h·w, D)
    as_image = rearrange(of_grid, "1 (h w) d -> 1 d h w", h=old_height)
    resized = F.interpolate(as_image, size=(new_height, new_width), mode="bicubic")  # (1, D, h', w')
    return torch.cat([of_class, rearrange(resized, "1 d h w -> 1 (h w) d")], dim=1)
    ### END SOLUTION

# %% check="interpolate_positions"
check("hw2.interpolate_positions", interpolate_positions)

# %% [markdown]
# **Look at it.** One channel of a table for 8 × 8 patches; made larger by your function; and as it comes out if the
# table is stretched as one long list, the grid forgotten: the rows no longer lie under each other.

# %%
channel, side = 27, 12  # try side = 5: a smaller image
with when_done():
    table = grid_positions(8, 8, 48)  # (1, 65, D)
    yours = interpolate_positions(table, 8, 8, side, side)[0, 1:, channel].reshape(side, side)
    as_list = F.interpolate(table[:, 1:].mT, size=side * side, mode="linear")[0, channel].reshape(side, side)
    old = table[0, 1:, channel].reshape(8, 8)
    display(plots.matrices({"for 8 × 8 patches": old, f"yours, {side} × {side}": yours, "as a list": as_list},
                           numbers=False, shared=True))

# %% [markdown]
# > **Libraries differ here.** timm smooths before it shrinks (`antialias=True`), torchvision aligns the corners: find
# > out which it was before you compare numbers. That the class token's row stays out is the same everywhere.
#
# ## 5 · The encoder block ●●○○○
#
# **Why.** As in homework 1: attention moves information between tokens, a small network (MLP) works on each
# token alone, each *adds* its result to the residual stream, and each reads a normalised copy of it (pre-norm). You get
# attention as a finished class; you write how the parts are connected.

# %%
class SelfAttention(nn.Module):
    """Multi-head self-attention, finished: (B, N, D) -> (B, N, D)."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def queries_keys_values(self, x):
        return rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)

    def forward(self, x):
        q, k, v = self.queries_keys_values(x)  # (B, h, N, d) each
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (B, h, N, N)
        return self.out(rearrange(weights @ v, "b h n d -> b n (h d)"))

# %% [markdown]
# **What.** A module `EncoderBlock(embed_dim, attention, mlp_dim)`; `forward(x)` is $(B, N, D) \to (B, N, D)$:
#
# $$y = x + \text{attention}(\text{norm1}(x)), \qquad \text{out} = y + \text{fc2}(\text{GELU}(\text{fc1}(
# \text{norm2}(y)))) \qquad \text{(Dosovitskiy et al. 2021, eq. 2, 3)}$$
#
# `attention` is handed in: keep it as **`self.attention`**. **`norm1`** and **`norm2`** are layer norms over $D$
# with **`eps=1e-6`**, as in the published ViTs (torch's default is ten times larger; the last section shows what it
# changes when other people's weights are loaded); **`fc1`** is linear from $D$ to
# `mlp_dim`, **`fc2`** back; the GELU is the exact one. (Instead of `fc1` and `fc2`, an `nn.Sequential` called `mlp`
# of linear, GELU, linear is accepted.)
#
# **By hand.** If the weights and biases of attention's last layer and of `fc2` are all zero, the block is the
# identity. If your block is not, something is wired wrongly.

# %% exercise="EncoderBlock"
class EncoderBlock(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, eq. 2 and 3).

    Args:
        embed_dim: D, the width of a token.
        attention: a module (B, N, D) -> (B, N, D) that mixes the tokens.
        mlp_dim: the width of the MLP inside.
    """

    def __init__(self, embed_dim, attention, mlp_dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attention = attention
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.fc1 = nn.Linear(embed_dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x):
        """(B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        x = x + self.attention(self.norm1(x))  # (B, N, D)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))  # (B, N, D)
        ### END SOLUTION

# %% check="EncoderBlock"
check("hw2.EncoderBlock", EncoderBlock)

# %% [markdown]
# **Look at it.** Stack 24 blocks, untrained, and send a gradient back from the end: how much of it arrives at each
# depth? Once with your block; once with the same block, from whose output the $x$ that came in is taken away again.

# %%
def gradient_at_each_depth(change):
    """Length of the gradient at the input of each of 24 blocks, where change(x, block(x)) is what goes on."""
    torch.manual_seed(0)
    streams = [torch.randn(2, 9, 48, requires_grad=True)]  # (B, N, D)
    for _ in range(24):
        block = EncoderBlock(48, SelfAttention(48, 4), 96)
        streams.append(change(streams[-1], block(streams[-1])))
        streams[-1].retain_grad()
    (streams[-1] * torch.randn(2, 9, 48)).mean().backward()
    return [stream.grad.norm() for stream in streams[:-1]]


with when_done():
    ways = {"yours": lambda x, out: out, "without what came in": lambda x, out: out - x}
    lines = {name: gradient_at_each_depth(change) for name, change in ways.items()}
    display(plots.curves(range(24), lines, log="y", xlabel="block", ylabel="length of the gradient"))

# %% [markdown]
# Along the plain sum a gradient passes every block unchanged, and what comes through the blocks is added to it.
# Without the sum it has to go through every matrix, and less and less is left (the **vanishing gradient**). **Change
# a number:** with `out - 0.5 * x`, does the curve lie between the other two?
#
# ## 6 · The vision transformer ●●●○○
#
# **Why.** All the parts are there. Put together (Dosovitskiy et al. 2021, eq. 1 to 4):
#
# $$z_0 = [\,x_{\text{class}};\; \text{patch\_embed}(\text{images})\,] + E_{\text{pos}}, \qquad z_l = \text{block}_l(z_{l-1}),
# \qquad \text{logits} = \text{head}\big(\text{norm}(z_L)_0\big)$$
#
# **Logits** are the raw scores of the classes, before any softmax.
#
# ```
# images (B, C, H, W) ── patch_embed ── flatten ── class token in front ── + positions      (B, N+1, D)
#                                                        │
#                        logits (B, K) ── head ── token 0 ── norm ── block ── … ── block
# ```
#
# **What.** A module `VisionTransformer(image_height, image_width, patch_size, channels, embed_dim, num_classes,
# *blocks)`. The finished blocks are handed in, any number of them, after the other arguments; the check hands in
# blocks of its own, so exercise 5 need not be done for this one.
#
# `forward(images, all_tokens=False)`: from $(B, C, H, W)$ to the logits $(B, K)$, read from the class token. If
# `all_tokens` is true, it returns instead all tokens as they leave `norm`, $(B, N + 1, D)$: a network that labels
# every patch, or a look inside, needs them. The parts, by name:
#
# | name | what |
# |-|-|
# | `patch_embed` | `nn.Conv2d` from $C$ to $D$ channels, kernel and stride $P$, with a bias |
# | `class_token` | `nn.Parameter`, $(1, 1, D)$ |
# | `positions` | `nn.Parameter`, $(1, N + 1, D)$ |
# | `blocks` | the blocks, in an `nn.Sequential` or an `nn.ModuleList` |
# | `norm` | `nn.LayerNorm` over $D$, `eps=1e-6`: pre-norm blocks leave the stream itself unnormalised |
# | `head` | `nn.Linear` from $D$ to $K$ |
#
# How the two parameters begin is up to you (the paper: positions normal with spread 0.02); the check loads its
# own. You may call your function from exercise 3.
#
# **By hand.** 24 × 40 pixels, patches of 8: what is $N$, and what are the shapes of all six parts for $C=3$,
# $D=12$, $K=5$?
#
# <details><summary>Answer</summary>
#
# $N = 3 \cdot 5 = 15$. `patch_embed`: weight (12, 3, 8, 8), bias (12). `class_token`: (1, 1, 12). `positions`: (1, 16,
# 12). `blocks`: whatever the blocks have. `norm`: (12) and (12). `head`: weight (5, 12), bias (5).
# </details>

# %% exercise="VisionTransformer"
class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021, eq. 1 to 4).

    Args:
        image_height, image_width: H, W in pixels; multiples of patch_size.
        patch_size: P.
        channels: C.
        embed_dim: D.
        num_classes: K.
        blocks: modules (B, N + 1, D) -> (B, N + 1, D), applied in their order.
    """

    def __init__(self, image_height, image_width, patch_size, channels, embed_dim, num_classes, *blocks):
        super().__init__()
        ### BEGIN SOLUTION
        num_patches = (image_height // patch_size) * (image_width // patch_size)
        self.patch_embed = nn.Conv2d(channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, num_patches + 1, embed_dim))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(self, images, all_tokens=False):
        """(B, C, H, W) -> logits (B, K), or all tokens after the norm, (B, N + 1, D)."""
        ### BEGIN SOLUTION
        x = self.patch_embed(images).flatten(2).transpose(1, 2)  # (B, N, D)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)  # (B, N + 1, D)
        x = self.norm(self.blocks(x + self.positions))  # (B, N + 1, D)
        return x if all_tokens else self.head(x[:, 0])  # (B, N + 1, D) or (B, K)
        ### END SOLUTION

# %% check="VisionTransformer"
check("hw2.VisionTransformer", VisionTransformer)

# %% [markdown]
# **Look at it.** All the parts of one of your networks, with their shapes.

# %%
def make_vit(embed_dim=48, depth=2, num_heads=4, patch_size=4, image_size=32, num_classes=10):
    """Your ViT with your blocks and the given attention."""
    blocks = [EncoderBlock(embed_dim, SelfAttention(embed_dim, num_heads), 2 * embed_dim) for _ in range(depth)]
    return VisionTransformer(image_size, image_size, patch_size, 3, embed_dim, num_classes, *blocks)


with when_done():
    vit = make_vit()
    for name, parameter in vit.named_parameters():
        if not name.startswith("blocks.1"):  # like blocks.0
            print(f"{name:28} {tuple(parameter.shape)}")

# %% [markdown]
# **Two facts to try out.** A network *without* positions gives the same answer when the patches of its image are
# shuffled; one with positions does not. (What would have to be wrong for the first to fail?)
#
# <details><summary>Answer</summary>
#
# The head would have to read another token than the class token, such as the first patch: shuffling puts another patch
# there. The order of the patches inside the network does not matter as long as nothing is added to it.
# </details>

# %%
with when_done():
    batch = data.images[:4] / 255  # (B, C, H, W)
    vit = make_vit().eval()
    shuffled = unpatchify(patchify(batch, 4)[:, torch.randperm(64)], 4, 32, 32)
    with torch.no_grad():
        for name, scale in {"positions of spread 1": 1.0, "no positions": 0.0}.items():
            vit.positions.copy_(scale * torch.randn(1, 65, 48))
            print(f"{name:22} largest change of a logit: {(vit(shuffled) - vit(batch)).abs().max():.6f}")

# %% [markdown]
# ## 7 · How many parameters? ●●○○○
#
# **Why.** The size of a model is the first thing a paper says about it. If you can count it, you know where the
# parameters are, you find mistakes in tables, and you check code in seconds: a wrong layer rarely has the right size.
#
# **What.** `count_parameters(image_size, patch_size, channels, embed_dim, depth, mlp_dim, num_classes)` for a
# ViT as above on square images. All linear layers and the convolution have biases; a layer norm has a scale and a
# shift; attention has four matrices $D \times D$. Return **four whole numbers**, in this order:
# 1. the patch embedding; 2. class token and positions; 3. all `depth` blocks together; 4. the final norm and
# the head.
#
# Write it as formulas: no module is built, and the check refuses one. The point of the exercise is to know where the numbers
# come from.
#
# **By hand.** $4 \times 4$ pixels, $P=2$, $C=1$, $D=2$, one block with `mlp_dim` 3, 5 classes.
# Patch embedding: $1 \cdot 2 \cdot 2 \cdot 2 + 2 = 10$. Class token and positions: $2 + 5 \cdot 2 = 12$. The block:
# norms $2 \cdot 4$, attention $4 \cdot (4 + 2)$, MLP $(2 \cdot 3 + 3) + (3 \cdot 2 + 2)$: together 49. Norm and head:
# $4 + 2 \cdot 5 + 5 = 19$.

# %% exercise="count_parameters"
def count_parameters(image_size, patch_size, channels, embed_dim, depth, mlp_dim, num_classes):
    """Parameters of a ViT on square images, from the formula.

    Returns:
        (patch embedding, class token and positions, all blocks, final norm and head): four ints.
    """
    ### BEGIN SOLUTION
    D = embed_dim
    num_patches = (image_size // patch_size) ** 2
    patch_embedding = channels * patch_size**2 * D + D
    tokens = D + (num_patches + 1) * D
    attention = 4 * (D * D + D)
    mlp = (D * mlp_dim + mlp_dim) + (mlp_dim * D + D)
    norms = 2 * 2 * D
    head = 2 * D + (D * num_classes + num_classes)
    return patch_embedding, tokens, depth * (attention + mlp + norms), head
    ### END SOLUTION

# %% check="count_parameters"
check("hw2.count_parameters", count_parameters)

# %% [markdown]
# **Look at it.** The ViT paper prints **86M, 307M, 632M** (table 1). Your numbers say where these figures come
# from.

# %%
sizes = {  # name: image, patch, channels, D, depth, mlp_dim, classes
    "ViT-B/16": (224, 16, 3, 768, 12, 3072, 1000),
    "ViT-L/16": (224, 16, 3, 1024, 24, 4096, 1000),
    "ViT-L/32": (224, 32, 3, 1024, 24, 4096, 1000),
    "ViT-H/14": (224, 14, 3, 1280, 32, 5120, 1000),
}
printed = {"ViT-B/16": "86M", "ViT-L/16": "307M", "ViT-L/32": "", "ViT-H/14": "632M"}
with when_done():
    print("          printed    patches   tokens     blocks    head      all   without head")
    for name, numbers in sizes.items():
        parts = [part / 1e6 for part in count_parameters(*numbers)]
        without = sum(parts) - (1000 * numbers[3] + 1000) / 1e6
        columns = "  ".join(f"{part:7.2f}" for part in parts)
        print(f"{name}  {printed[name]:>7}    {columns}  {sum(parts):7.2f}    {without:7.2f}")

# %% [markdown]
# 86 is B/16 *without* its head of 1000 classes (with it, 86.57 would round to 87). 632 is H/14 *with* it. Of the two
# large models, L/16 has 304.3 million with its head and L/32 306.5, so of these only **L/32 rounds to 307**. Larger
# patches mean *more* parameters: the patch embedding grows with $P^2$, to four times its size, and that is more than
# the table of positions, which loses three quarters of its rows, gives back. Both are small beside the blocks.
#
# **Change a number.** At 384 × 384 pixels, which of the four numbers changes, and by how much?
#
# <details><summary>Answer</summary>
#
# Only the second: the table of positions gets more rows. For B/16 there are 576 patches instead of 196, $380 \cdot
# 768 = 291{,}840$ parameters more; for L/16 $380 \cdot 1024 = 389{,}120$.
# </details>
#
# > **What slides get wrong here.** They copy "ViT-L: 307M" beside L/16. The table of the paper says "Large" without a size
# > of patch, and the figures of its three rows follow two conventions: with and without the head.

# %%
with when_done():  # the formula against your own network
    vit = make_vit(embed_dim=48, depth=2)
    print(count_parameters(32, 4, 3, 48, 2, 96, 10), sum(parameter.numel() for parameter in vit.parameters()))

# %% [markdown]
# ## 8 · Training a transformer ●●●○○
#
# **Why.** With one fixed learning rate a transformer either learns slowly (a small rate) or diverges in the first
# steps (a large one): there the gradients are large and change direction from step to step, and Adam's averages rest
# on very few of them. Three measures help, and nearly every ViT is trained with them: **warmup** (the rate climbs
# from small), **cosine decay** (it falls to nearly zero at the end), **gradient clipping** (a gradient that is too
# long is shortened).
#
# **What.** `train_with_warmup(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator)`
# trains `model` in place and returns the list of its losses, one plain number for each step (`loss.item()`; a tensor
# that still holds its graph is none).
#
# * One `torch.optim.AdamW` over all parameters, `weight_decay=0.05`; all other options keep torch's defaults.
# * The learning rate of step $s = 0, 1, \dots, S-1$, with $W$ = `warmup_steps`, $S$ = `steps`, is set *before* that
#   step's update:
#
# $$r_s = \begin{cases} r_{\text{peak}} \cdot \frac{s + 1}{W} & s < W \\[2pt] r_{\text{peak}} \cdot \frac12 \left(1 +
# \cos \pi \frac{s - W}{S - W}\right) & s \ge W. \end{cases}$$
#
# * In each step the indices of a batch are drawn with `torch.randint(len(images), (batch_size,),
#   generator=generator)`, once, for images and labels alike; the loss is the cross entropy of the model's raw scores;
#   its value goes into the list.
# * Once the gradients are computed, and before the update, `nn.utils.clip_grad_norm_` shortens the gradient of
#   all parameters together to length 1, if it is longer.
#
# The check follows a tiny classifier for some steps, number by number; then your loop gets 50 steps to
# teach a small transformer of ours to read digits: **at least 92 %** of 300 it has never seen must be right
# (it takes about a second).
#
# **By hand.** $W = 2$, $S = 4$, peak 1: the rates are $\frac12, 1, 1, \frac12$.

# %% exercise="train_with_warmup"
def train_with_warmup(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator):
    """Train a classifier in place, with warmup, cosine decay and clipping.

    Args:
        model: images (B, C, H, W) -> scores (B, K).
        images: (n, C, H, W) float.
        labels: (n,) int64.
        steps: S, how many batches.
        batch_size: B.
        peak_rate: the highest learning rate.
        warmup_steps: W, at least 1 and less than S.
        generator: the torch.Generator that batches are drawn from.

    Returns:
        list of `steps` floats: the loss of each batch before its update.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.05)
    model.train()
    losses = []
    for step in range(steps):
        if step < warmup_steps:
            rate = peak_rate * (step + 1) / warmup_steps
        else:
            done = (step - warmup_steps) / (steps - warmup_steps)
            rate = peak_rate * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randint(len(images), (batch_size,), generator=generator)  # (B,)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_with_warmup"
check("hw2.train_with_warmup", train_with_warmup)

# %% [markdown]
# ## Your ViT learns where the ring lies from the plus
#
# Nothing to write: your network, your loop, 1000 images, the question *relation*. Four times the same network, with
# four tables of positions to start from: sines and cosines of row and column (exercise 3), whose spread is about
# 0.7; noise of the same spread; noise of spread 0.02, as in the paper; and none at all, not even learned.
#
# `trained` trains when it is first asked for and then remembers; run its cell again after you have changed a
# part.

# %%
from functools import cache

held_out = load("two_questions", "test", device="cpu").ask("relation").subset(1000)
standard = lambda images: (images.float() / 255 - 0.45) / 0.2  # to mean 0 and spread about 1


@cache
def trained(positions):
    """A trained network, its losses, and the share of held-out images that it gets right."""
    torch.manual_seed(0)
    vit = make_vit()
    spread = {"sines": 0, "large noise": 0.7, "small noise": 0.02, "none": 0}[positions]
    start = grid_positions(8, 8, 48) if positions == "sines" else spread * torch.randn(1, 65, 48)
    vit.positions = nn.Parameter(start, requires_grad=positions != "none")
    some, generator = data.subset(1000), torch.Generator().manual_seed(0)
    steps = budget(tiny=10, cpu=300)
    losses = train_with_warmup(vit, standard(some.images), some.labels, steps, 32, 4e-3, steps // 10, generator)
    with torch.no_grad():
        right = vit.eval()(standard(held_out.images)).argmax(dim=1) == held_out.labels  # (1000,)
    return vit, losses, float(right.float().mean())

# %% [markdown]
# *Price of the next cell: about 40 s on one core of a laptop for all four; on a GPU not measured.*

# %%
with when_done():
    starts = ("sines", "large noise", "small noise", "none")
    curves = {f"positions: {start}": torch.tensor(trained(start)[1]).reshape(-1, 10).mean(dim=1) for start in starts}
    results = {f"positions: {start}": {"relation": trained(start)[2]} for start in starts}
    steps = 5 + 10 * torch.arange(len(curves["positions: none"]))
    display(plots.curves(steps, curves, xlabel="step", ylabel="loss"))
    display(plots.bars(results, chance=0.1))

# %% [markdown]
# Read the four bars. With the table of sines, a thousand images are enough to be right on most of a thousand new
# ones. Without positions, the network sees an unordered set of patches (a *bag*), and both glyphs are in every bag:
# that bar must stay at chance, whatever the weights, for the answer cannot depend on where a patch lies. Noise of the
# same spread as the sines makes every place different: enough to tell places apart, but that place 9 lies below place
# 1 has to be learned from examples. Noise of spread 0.02, as in the paper, is small beside what is in the patches:
# positions *can* be learned from there, and how far so few steps get says the third bar. (Each bar is one run. Before
# you believe a difference of a few per cent, change both seeds in `trained` and run again.)
#
# **Photographs.** The same class, deeper and wider, on CIFAR-10: on a CPU a little, with 5,000 photographs, on a GPU
# with all of them. This cell uses the training loop of the course, which augments and keeps everything on the device.
#
# *Price: some 20 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not
# measured.*

# %%
from course.data import photographs


def train_on_cifar():
    """Your ViT on photographs, at the size of this machine."""
    from course.training import evaluate, fit, recipes

    torch.manual_seed(0)
    width, depth, heads = budget(tiny=(16, 1, 2), cpu=(64, 3, 4), gpu=(192, 9, 3))
    big = make_vit(embed_dim=width, depth=depth, num_heads=heads)
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    train, test = photos
    small = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=300), augment=("random_crop", "random_flip"))
    recipe = budget(tiny=small, cpu=small, gpu=recipes.gpu.but(steps=2400))
    fit(big, train, recipe, val=test, val_points=3)
    print(f"CIFAR-10, held out: {evaluate(big, test):.0%}")


with when_done():
    train_on_cifar()

# %% [markdown]
# ## 9 · Where does the answer come from? ●●●○○
#
# **Why.** The weights of one layer say who looked at whom *in that layer*. But the tokens of layer 2 are already
# mixtures. **Attention rollout** (Abnar and Zuidema 2020) follows the mixing through all layers. It averages the
# heads; it adds the identity, because the residual connection carries every token on to itself; and it
# multiplies the layers' matrices:
#
# $$\hat A_l = \tfrac12 \Big(\tfrac1h \sum_{\text{heads}} A_l\Big) + \tfrac12 I, \qquad R = \hat A_L \cdots \hat
# A_2\, \hat A_1.$$
#
# Rows of $R$ sum to 1; $R_{ij}$ says how much of input token $j$ is in output token $i$. (It is a picture, not a
# proof: values, MLPs and signs are left out.)
#
# **What.** `attention_rollout(q, k)`: queries and keys of all layers, first layer first, both $(L, B, h, N, d)$. The
# weights of a layer are the softmax over the keys of $q k^\top / \sqrt d$, as always. Returns $R$, $(B, N, N)$. Nobody
# trains through it: only the numbers count here, no gradients.
#
# **By hand.** Two tokens, two layers, one head. In layer 1 both look at token 0 only, in layer 2 both at
# token 1 only. $\hat A_1 = \begin{pmatrix} 1 & 0 \\ .5 & .5 \end{pmatrix}$, $\hat A_2 = \begin{pmatrix} .5 & .5 \\ 0
# & 1 \end{pmatrix}$, $R = \hat A_2 \hat A_1 = \begin{pmatrix} .75 & .25 \\ .5 & .5 \end{pmatrix}$. In the other
# order it would be another matrix.

# %% exercise="attention_rollout"
def attention_rollout(q, k):
    """How much of each input token is in each output token (Abnar and Zuidema 2020).

    Args:
        q: (L, B, h, N, d) queries of all layers, first layer first.
        k: (L, B, h, N, d) keys.

    Returns:
        (B, N, N): row i says what output token i is made of; rows sum to 1.
    """
    ### BEGIN SOLUTION
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (L, B, h, N, N)
    identity = torch.eye(q.shape[-2])  # (N, N)
    rollout = identity.expand(q.shape[1], -1, -1)  # (B, N, N)
    for layer in weights.mean(dim=2):  # (B, N, N)
        rollout = (0.5 * layer + 0.5 * identity) @ rollout
    return rollout
    ### END SOLUTION

# %% check="attention_rollout"
check("hw2.attention_rollout", attention_rollout)

# %% [markdown]
# **Look at it.** What is the class token of your trained network made of? For four held-out images: the image, and
# the row of $R$ that belongs to the class token, laid out on the grid (its own share left out). **Change a number:**
# what does the row of another token look like? What of a network without positions?

# %%
@torch.no_grad()
def queries_and_keys(vit, images):
    """Those of all layers of a trained network: (L, B, h, N + 1, d) twice."""
    x = vit.patch_embed(images).flatten(2).mT  # (B, N, D)
    x = torch.cat([vit.class_token.expand(len(x), -1, -1), x], dim=1) + vit.positions
    found = []
    for block in vit.blocks:
        found.append(block.attention.queries_keys_values(block.norm1(x))[:2])
        x = block(x)
    return torch.stack(found, dim=1)  # (2, L, B, h, N + 1, d)


with when_done():
    vit = trained("sines")[0]
    q, k = queries_and_keys(vit, standard(held_out.images[:4]))  # (L, B, h, N + 1, d) each
    rollout = attention_rollout(q, k)[:, 0, 1:].reshape(4, 8, 8)  # (B, 8, 8)
    said = vit(standard(held_out.images[:4])).argmax(dim=1)
    captions = [f"{held_out.classes[a]}, read as {held_out.classes[b]}" for a, b in zip(held_out.labels, said)]
    display(plots.image_grid(held_out.images[:4], columns=4, captions=captions))
    display(plots.matrices({f"image {n}": rollout[n] for n in range(4)}, numbers=False))

# %% [markdown]
# ## 10 · How far does it look? ●●●○○
#
# **Why.** A convolution of 3 × 3 looks one pixel far. How far does an attention head look? The ViT paper measured it
# (Dosovitskiy et al. 2021, figure 7, right): even in the first layer some heads look across the whole image, others
# only next door, as if they were convolutions.
#
# **What.** `mean_attention_distance(weights, grid_width, patch_size)`: the weights of one layer, from the $N$ *patch*
# tokens as queries to *all* $N + 1$ tokens as keys, the class token first: $(B, h, N, N + 1)$. The patches lie on a
# grid that is `grid_width` patches wide, in reading order. The class token has no place: leave it out, and divide the
# rest of each row by its sum, so that it sums to 1 again (below: $\tilde w$). Then, for each query, average the
# distance to the keys by these weights: the straight (Euclidean) distance between the middles $m$ of the two patches,
# **in pixels**. Return the mean over queries and images for each head, one tensor of shape $(h)$; only the numbers
# count, no gradients:
#
# $$\text{distance}_a = \frac1{B N} \sum_{b,\, i} \sum_{j} \tilde w_{b, a, i, j}\, \lVert m_i - m_j \rVert, \qquad a = 1, \dots, h.$$
#
# **By hand.** Two patches side by side, $P = 16$. A query gives the class token 0.5, itself 0.25, the other patch
# 0.25. Without the class token the weights are 0.5 and 0.5, the distances 0 and 16: mean distance 8 pixels.

# %% exercise="mean_attention_distance"
def mean_attention_distance(weights, grid_width, patch_size):
    """How far each head looks, in pixels.

    Args:
        weights: (B, h, N, N + 1), rows sum to 1; key 0 is the class token.
        grid_width: how many patches lie side by side.
        patch_size: P.

    Returns:
        (h,): mean over images and queries of the distance to the keys, averaged by their weights.
    """
    ### BEGIN SOLUTION
    to_patches = weights[..., 1:]  # (B, h, N, N)
    to_patches = to_patches / to_patches.sum(dim=-1, keepdim=True)
    place = torch.arange(weights.shape[2])  # (N,)
    middle = torch.stack([place // grid_width, place % grid_width], dim=1) * float(patch_size)  # (N, 2)
    distance = torch.cdist(middle, middle)  # (N, N)
    return (to_patches * distance).sum(dim=-1).mean(dim=(0, 2))  # (h,)
    ### END SOLUTION

# %% check="mean_attention_distance"
check("hw2.mean_attention_distance", mean_attention_distance)

# %% [markdown]
# **Look at it.** Your trained network's heads, layer by layer, beside the same network untrained; and the distance of a
# head that looks everywhere alike.

# %%
def distances(vit, images):
    """For each layer, the distances of its heads: (L, h)."""
    q, k = queries_and_keys(vit, images)
    weights = (q[..., 1:, :] @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (L, B, h, N, N + 1)
    return torch.stack([mean_attention_distance(layer, 8, 4) for layer in weights])


with when_done():
    some = standard(held_out.images[:100])
    torch.manual_seed(0)
    both = {"untrained": distances(make_vit(), some), "trained": distances(trained("sines")[0], some)}
    print(f"looking everywhere alike: {mean_attention_distance(torch.ones(1, 1, 64, 65) / 65, 8, 4).item():.1f} pixels")
    rows, columns = [f"layer {n}" for n in range(2)], [f"head {n}" for n in range(4)]
    display(plots.matrices(both, rows=rows, columns=columns, shared=True))

# %% [markdown]
# How far have the numbers moved by training? Both glyphs may lie anywhere, so a network that looks for them has a
# reason to look everywhere. (The heads of the published networks, trained on photographs, differ much from each other:
# figure 7 of the paper.) Could a head look at its neighbours only? Let queries and keys be nothing but the table of
# positions, times a number: the larger it is, the sharper the softmax.

# %%
sharpness = [0.01, 0.03, 0.1, 0.3, 1, 3]
with when_done():
    table = grid_positions(8, 8, 48)[0]  # (N + 1, D)
    scores = table[1:] @ table.T  # (N, N + 1), like queries times keys
    far = [mean_attention_distance((s * scores).softmax(dim=-1)[None, None], 8, 4).item() for s in sharpness]
    display(plots.curves(sharpness, {"distance": far}, log="x", xlabel="sharpness", ylabel="pixels",
                         levels={"everywhere alike": 16.5, "3 × 3 patches alike": 4.3}))

# %% [markdown]
# So a head *can* become a convolution; it only does not have to. Now back to the trained network: where do the heads
# of layer 0 look, from one patch?

# %%
which, query = 0, 27  # of 64 patches; the class token comes before them
with when_done():
    q, k = queries_and_keys(trained("sines")[0], standard(held_out.images[which : which + 1]))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (L, 1, h, N + 1, N + 1)
    display(plots.attention_maps(held_out.images[which], weights[0, 0, :, 1 + query, 1:], query))

# %% [markdown]
# ## 11 · A teacher helps ●●○○○
#
# **Why.** Trained on ImageNet's 1.3 million images alone, ViT falls behind convolutional networks: it has to learn
# from data what these have built in. DeiT (Touvron et al. 2021) lets a trained ConvNet help: its network, the
# *student*, is asked for the true label *and* for what the ConvNet, the *teacher*, says. This is **knowledge
# distillation** (Hinton et al. 2015).
#
# **What.** Scores are raw (before the softmax), $(B, K)$; both functions return one number, the mean over the batch.
# The teacher is not trained: of the gradients, only those of the student's scores are compared.
# * `soft_distillation_loss(scores, labels, teacher_scores, temperature, weight)`: the student follows the teacher's
#   whole distribution. Let $p = \operatorname{softmax}(\text{teacher}/\tau)$ and $s =
#   \operatorname{softmax}(\text{scores}/\tau)$ with the temperature $\tau$, and $\lambda$ the weight:
#
# $$(1 - \lambda)\, \text{CE}(\text{scores}, \text{labels}) + \lambda\, \tau^2 \sum_{c=1}^{K} p_c \log \frac{p_c}{s_c}
# \qquad \text{(eq. 2)}$$
#
# * `hard_distillation_loss(scores, distillation_scores, labels, teacher_scores)`: two heads, two tasks. `scores` (from
#   the class token) answer the label, `distillation_scores` answer the class $y_t$ that the teacher thinks likeliest
#   (DeiT's plain version has one head for both, the version with a distillation token has two):
#
# $$\tfrac12\, \text{CE}(\text{scores}, \text{labels}) + \tfrac12\, \text{CE}(\text{distillation\_scores}, y_t), \qquad
# y_t = \operatorname{argmax}_c\, \text{teacher}_c \qquad \text{(eq. 3)}$$
#
# The gradients of a softmax at temperature $\tau$ are smaller by about $\tau^2$; the factor brings them back, so
# that $\lambda$ means the same at every temperature (Hinton et al. 2015). The teacher does not learn: its scores may be detached.
#
# **By hand.** Two classes, $\tau = 1$, $\lambda = 1$. The teacher says $(\frac34, \frac14)$, the student $(\frac12,
# \frac12)$: $\frac34 \ln \frac32 + \frac14 \ln \frac12 = 0.131$. With student and teacher in exchange it would be
# 0.144.

# %% exercise="distillation_losses"
def soft_distillation_loss(scores, labels, teacher_scores, temperature, weight):
    """(Touvron et al. 2021, eq. 2): scores (B, K), labels (B,), teacher_scores (B, K) -> one number."""
    ### BEGIN SOLUTION
    student = F.log_softmax(scores / temperature, dim=1)  # (B, K)
    teacher = F.log_softmax(teacher_scores / temperature, dim=1)  # (B, K)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=1).mean()
    return (1 - weight) * F.cross_entropy(scores, labels) + weight * temperature**2 * divergence
    ### END SOLUTION


def hard_distillation_loss(scores, distillation_scores, labels, teacher_scores):
    """(Touvron et al. 2021, eq. 3): both scores (B, K), labels (B,), teacher_scores (B, K) -> one number."""
    ### BEGIN SOLUTION
    said = teacher_scores.argmax(dim=1)  # (B,)
    return 0.5 * F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(distillation_scores, said)
    ### END SOLUTION

# %% check="distillation_losses"
check("hw2.distillation_losses", soft_distillation_loss, hard_distillation_loss)

# %% [markdown]
# **Look at it.** A teacher sees a tabby cat. At temperature 1 its answer holds little more than the label. At a higher
# temperature it shows which classes come next; at a very high one all classes are nearly equal.

# %%
names = ["tabby", "tiger cat", "lynx", "dog", "lorry"]
teacher_scores = torch.tensor([9.0, 6.0, 4.0, 2.0, -2.0])
softened = torch.stack([(teacher_scores / temperature).softmax(dim=0) for temperature in (1, 3, 10)])
plots.matrices({"what the teacher says": softened}, rows=["τ = 1", "τ = 3", "τ = 10"], columns=names)

# %% [markdown]
# And what the factor $\tau^2$ is for: the length of the student's gradient, with it and without.

# %%
with when_done():
    temperatures, lengths = [1, 2, 4, 8, 16], {"with τ²": [], "without": []}
    for temperature in temperatures:
        scores = torch.zeros(1, 5, requires_grad=True)
        soft_distillation_loss(scores, torch.tensor([0]), teacher_scores[None], temperature, 1.0).backward()
        lengths["with τ²"].append(scores.grad.norm())
        lengths["without"].append(scores.grad.norm() / temperature**2)
    display(plots.curves(temperatures, lengths, log="xy", xlabel="temperature", ylabel="length of the gradient"))

# %% [markdown]
# ## 12 · The distillation token ●●○○○
#
# **Why.** DeiT gives the second task a token of its own. The **distillation token** stands beside the class token, is
# learned like it, takes part in all attention, and its output goes to a second head, which is trained on the teacher's
# word. When the network is used, the two heads' scores are averaged.
#
# **What.** A module `DistilledVisionTransformer` with the arguments of exercise 6. New against it:
# **`distillation_token`** $(1, 1, D)$; **`positions`** is $(1, N + 2, D)$; **`head_distilled`**, linear from $D$ to
# $K$. The order of the tokens is class, distillation, patches. `norm` (`eps=1e-6`) is shared.
#
# `forward(images, both)`: if `both` is true, as in training, it returns two results, the scores of the class token and
# those of the distillation token, each $(B, K)$. Otherwise it returns their mean, $(B, K)$.
#
# **By hand.** $N = 64$, $D = 48$, $K = 10$: how many parameters does this network have more than that of exercise 6?

# %% exercise="DistilledVisionTransformer"
class DistilledVisionTransformer(nn.Module):
    """DeiT with a distillation token (Touvron et al. 2021, section 4). Arguments as for VisionTransformer."""

    def __init__(self, image_height, image_width, patch_size, channels, embed_dim, num_classes, *blocks):
        super().__init__()
        ### BEGIN SOLUTION
        num_patches = (image_height // patch_size) * (image_width // patch_size)
        self.patch_embed = nn.Conv2d(channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, num_patches + 2, embed_dim))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        self.head_distilled = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(self, images, both=False):
        """(B, C, H, W) -> (B, K), or a pair of them (class token, distillation token) if both."""
        ### BEGIN SOLUTION
        x = self.patch_embed(images).flatten(2).transpose(1, 2)  # (B, N, D)
        in_front = torch.cat([self.class_token, self.distillation_token], dim=1)  # (1, 2, D)
        x = torch.cat([in_front.expand(len(x), -1, -1), x], dim=1)  # (B, N + 2, D)
        x = self.norm(self.blocks(x + self.positions))  # (B, N + 2, D)
        scores, distilled = self.head(x[:, 0]), self.head_distilled(x[:, 1])  # (B, K) each
        return (scores, distilled) if both else (scores + distilled) / 2
        ### END SOLUTION

# %% check="DistilledVisionTransformer"
check("hw2.DistilledVisionTransformer", DistilledVisionTransformer)

# %% [markdown]
# **Look at it.** First the answer to the question above. Then a short training on both tasks at once: texture, 1000
# images. The teacher is made up: it is always right, except that it takes direction 3 (54°) for direction 4 (72°).

# %%
def both_kinds():
    """Your ViT and your distilled ViT, of the same size."""
    blocks = lambda: [EncoderBlock(48, SelfAttention(48, 4), 96) for _ in range(2)]
    return [kind(32, 32, 4, 3, 48, 10, *blocks()) for kind in (VisionTransformer, DistilledVisionTransformer)]


with when_done():
    plain, distilled = (sum(parameter.numel() for parameter in model.parameters()) for model in both_kinds())
    print(f"parameters: {plain} without, {distilled} with: {distilled - plain} more")

# %%
texture = data.ask("texture").subset(1000)
teacher_scores = F.one_hot(torch.where(texture.labels == 3, 4, texture.labels), 10).float()  # (n, K), takes 3 for 4


@cache
def taught():
    """A distilled ViT, trained on the labels and on what the teacher says."""
    torch.manual_seed(0)
    deit = both_kinds()[1]
    optimizer = torch.optim.AdamW(deit.parameters(), lr=2e-3)
    for _ in range(budget(tiny=5, cpu=200)):
        chosen = torch.randint(1000, (32,))
        scores, distilled = deit(standard(texture.images[chosen]), True)  # (B, K) each
        loss = hard_distillation_loss(scores, distilled, texture.labels[chosen], teacher_scores[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return deit.eval()

# %% [markdown]
# *Price of the next cell: about 6 s on a laptop's CPU.*

# %%
with when_done():
    deit, of_class_3 = taught(), texture.images[texture.labels == 3]  # the training images of direction 3
    with torch.no_grad():
        said = [scores.softmax(dim=1).mean(dim=0) for scores in deit(standard(of_class_3), True)]  # (K,) twice
    display(plots.matrices({"what the heads say of direction 3": torch.stack(said)},
                           rows=["class token", "distillation token"], columns=texture.classes))

# %% [markdown]
# The same image, the same blocks, one network: and each token carries the answer that *its* head is asked for. DeiT's
# teacher is not wrong on purpose, but it makes the mistakes of a ConvNet, and the second token learns to agree with
# them.
#
# **Change a number.** Let the teacher be wrong about all directions (`% 10` will help). Does the class token get worse?

# %% [markdown]
# ## In the end: the public ViT in your class
#
# torchvision's `VisionTransformer` was written by other people, from the same paper. If yours is the same function, its
# weights fit into yours, only the names differ, and both say the same of any image. The weights here are random (drawn
# wide enough that a mistake would show); with the network at hand you could load the published ones in the same way.

# %%
def names_in_yours(theirs, one_mlp):
    """torchvision's name of a parameter -> its name in your classes."""
    renamed = {
        "conv_proj": "patch_embed", "encoder.pos_embedding": "positions", "encoder.ln.": "norm.", "heads.head": "head",
        "encoder.layers.encoder_layer_": "blocks.", "ln_1": "norm1", "ln_2": "norm2", "mlp.3": "mlp.2" if one_mlp else "fc2",
        "mlp.0": "mlp.0" if one_mlp else "fc1", "self_attention.in_proj_": "attention.qkv.",
        "self_attention.out_proj": "attention.out",
    }
    for old, new in renamed.items():
        theirs = theirs.replace(old, new)
    return theirs


with when_done():
    from torchvision.models import VisionTransformer as TheirViT

    torch.manual_seed(0)
    theirs = TheirViT(image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=48, mlp_dim=96, num_classes=7)
    for name, parameter in theirs.named_parameters():  # scales of norms around 1, everything else around 0
        is_scale = name.endswith(("ln.weight", "ln_1.weight", "ln_2.weight"))
        parameter.data = is_scale + 0.2 * torch.randn_like(parameter)

# %%
with when_done():
    yours = VisionTransformer(32, 32, 8, 3, 48, 7, *[EncoderBlock(48, SelfAttention(48, 4), 96) for _ in range(3)])
    one_mlp = any("mlp.2" in name for name, _ in yours.named_parameters())
    yours.load_state_dict({names_in_yours(name, one_mlp): tensor for name, tensor in theirs.state_dict().items()})
    batch = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected, got = theirs.eval()(batch), yours.eval()(batch)  # (5, 7) each
    print(f"logits up to {expected.abs().max():.1f}, largest difference {(expected - got).abs().max():.0e}")
    print("same to five decimals:", torch.allclose(got, expected, atol=1e-5, rtol=1e-5))

# %% [markdown]
# **Change a number.** Go back to exercise 5 and let `eps` be torch's default 1e-5. Does it still agree? And with
# `approximate="tanh"` in the GELU? These are two common reasons why copied weights give a network that is "almost
# right".
#
# <details><summary>Answer</summary>
#
# No, in both cases. The logits are then off in the fourth decimal (eps) or in the third to fourth (GELU) instead of
# in the sixth: far too little to see in training, and clear in a comparison.
# </details>

# %% [markdown] written="inductive_bias" points=5
# ## 13 · In your own words ●●●○○
#
# A few sentences for each part. This one is read by a person.
#
# The accuracies are from the paper on Swin (Liu et al. 2021, table 1), a transformer that looks in windows and has a
# pyramid of resolutions like a ConvNet:
#
# | ImageNet top-1 (likeliest class right), % | image | trained on 1.3 million images | first on 14 million |
# |-|-|-:|-:|
# | ViT-B/16 | 384² | 77.9 | 84.0 |
# | ViT-L/16 | 384² | 76.5 | 85.2 |
# | Swin-B | 384² | 84.5 | 86.4 |
#
# **(a)** *(2 points)* On the smaller data the larger ViT is worse than the smaller one, on the larger data it is
# better. Swin gains least from more data. Explain both by what the architectures assume about images.
#
# **(b)** *(2 points)* Name two things that a ConvNet has built in and ViT has to learn, and say for each *which part*
# of your `VisionTransformer` would have to learn it. Which assumption about images does ViT still make?
#
# **(c)** *(1 point)* Your network stayed at chance without positions, although attention reaches everywhere. Why is
# that no lack of training data?
#
# ### BEGIN SOLUTION
# **(a)** An architecture's assumptions (its inductive bias) rule out functions before any data is seen. Few
# assumptions leave many functions that fit the training images, and with 1.3 million of them the larger ViT has more
# ways to fit them without the right reason: it overfits more. Swin assumes that nearby pixels belong together and
# that features are built from small to large; both are true of photographs, so it has less to find out and is ahead
# with little data. With 14 million images, data can teach what was not assumed: ViT catches up, the larger one
# further because its capacity is now used, and Swin has less left to gain.
#
# *Marking: 1 point for the larger ViT (capacity without assumptions against data), 1 point for Swin (its assumptions do
# part of what data would).*
#
# **(b)** Locality: neighbours matter most. ViT's attention starts out without a notion of near; positions together
# with the query and key layers have to learn it (some heads of the first layers do). Equality of places (a pattern
# means the same wherever it lies): in ViT, the patch embedding and the MLP are shared over places, but attention sees
# the positions and must learn to act alike everywhere. (Also right: the pyramid of scales; two-dimensionality, which
# the table of positions has to learn.) Still assumed: the patches. Cutting the image into a grid of squares, each
# embedded by the same map, is locality and sharing at one scale.
#
# *Marking: half a point for each property, half for the part that learns it (1.5 for both), half a point for the
# patches.*
#
# **(c)** Without positions the logits are the same for every order of the patches (shown under exercise 6), so two
# images with the same patches in other places get one answer. The function that is asked for is not among those that
# the network can be, whatever the weights: more data cannot help.
#
# *Marking: the point for "invariant, so it cannot represent it", half for "it sees a bag of patches" alone.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * A patch embedding is one linear map, the same for all patches: unfold and multiply, or a convolution with
#   stride = kernel.
# * The class token collects, positions tell where; a table of positions is an image and can be resized.
# * Pre-norm blocks add to a stream; the final norm and the head read one token of it.
# * 307M is ViT-L/32: you can find that out by counting.
# * Warmup, cosine, clipping; and what the positions begin with decides how much a short training learns.
# * Rollout and distance look inside; a teacher gives what the architecture does not assume.
#
# **Next:** lecture `06_what_vits_see`; homework 3 builds Swin, which takes the pyramid back from the ConvNets.
#
# **References.** A. Dosovitskiy et al., *An image is worth 16x16 words*, ICLR 2021. · H. Touvron et al., *Training
# data-efficient image transformers & distillation through attention*, ICML 2021 (DeiT). · S. Abnar and W. Zuidema,
# *Quantifying attention flow in transformers*, ACL 2020. · G. Hinton, O. Vinyals and J. Dean, *Distilling the knowledge
# in a neural network*, 2015. · Z. Liu et al., *Swin transformer*, ICCV 2021. · I. Loshchilov and F. Hutter, *SGDR:
# stochastic gradient descent with warm restarts*, ICLR 2017 (cosine decay) and *Decoupled weight decay regularization*,
# ICLR 2019 (AdamW). · A. Vaswani et al., *Attention is all you need*, NeurIPS 2017.
