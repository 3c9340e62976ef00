# %% [markdown]
# # Homework 6 · ViViT: a transformer that watches, and sees what moves
#
# **You build** the four models of ViViT and TimeSformer's attention, and train them on clips in which no single frame
# holds the answer · **needs** lecture `14_video`, homeworks 1 and 2 · **takes** about four hours, of which reading
# takes {reading time} · **computing** about a minute on a laptop · **70 points**, 5 of them a bonus: 65 are full
# marks
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `uniform_frames` | ●○○○○ | 10 | 4 |
# | 2 | `fold_tubelets` | ●●○○○ | 20 | 6 |
# | 3 | `TubeletEmbedding` | ●●○○○ | 15 | 5 |
# | 4 | `central_frame_filters`, `inflated_filters` | ●●○○○ | 20 | 5 |
# | 5 | `ClipTokens`, `SpatioTemporalEncoder` | ●●○○○ | 20 | 6 |
# | 6 | `attend_over_space`, `attend_over_time` | ●●●○○ | 20 | 6 |
# | 7 | `FactorisedEncoder` | ●●●○○ | 30 | 8 |
# | 8 | `FactorisedBlock` | ●●○○○ | 15 | 5 |
# | 9 | `DividedAttention` | ●●●●○ | 30 | 7 |
# | 10 | `split_heads_attention` (bonus) | ●●●○○ | 20 | 5 |
# | 11 | `video_cost` | ●●○○○ | 20 | 4 |
# | 12 | `train_on_clips` | ●●●○○ | 20 | 4 |
# | 13 | a question in words | ●●●○○ | 20 | 5 |
#
# Attention and the block are finished: you built them in homeworks 1 and 2. New is one axis, time, and what
# follows from it: which axes are folded into the batch, in which order, and how the model knows *when* something
# was. Under each exercise stands a check that knows the usual mistakes by name. Cells that
# need your code wait until it is written, so you can run the whole notebook at any time.
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
# * *`eps`.* Every layer norm here has **`eps=1e-6`**, as in homework 2 and not as in homework 3; exercises 5, 7, 8
#   and 9 say it again.
# * *Points.* An exercise that is right in parts earns a part: if all results have the right shape, one tenth of its
#   points; if the values are right too, eight tenths; with right gradients all of them. Where no gradient is asked
#   for, the right shape earns one eighth and right values all; single numbers earn nothing for their shape. Exercise
#   12 is all or nothing, and what the course forbids earns nothing.
# * *Hints.* If a card is not right yet, **hints** wait folded under it: open one, try it, and only then the next.
#
# The letters are those of the lectures: a batch of $B$ clips of $T$ frames, $C$ channels, $H \times W$ pixels
# is **$(B, T, C, H, W)$**. Tokens are $D$ wide; a frame has $S = h \cdot w$ of them. You may use everything in
# torch except what does the exercise for you: no `F.scaled_dot_product_attention`, no
# `nn.MultiheadAttention`, no `timm`, `transformers` or `course.models`.
#
# **Your own cells count.** What you add or change is run when you hand in, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.

# %% tags=["setup"]
import math
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import nn
from course import budget, check, setup, when_done
setup(seed=0)

# %% [markdown]
# ## What we look at
#
# Clips of five frames, 16 × 16 pixels: one handwritten digit slides right, left, down or up, one pixel a frame.
# **Which way?** is the question. The clips are made so that two kinds of model cannot solve them. The middle frame
# looks the same under all four motions: a model that sees this frame alone can only guess, 25 %. And *right* and
# *left* show the same set of frames, only in the other order (*down* and *up* too): a model that does not know which
# frame came first is right at most every second time, 50 %. At the end you will compare your models with these two
# upper bounds, which we call **ceilings**.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything in this notebook is so small that a second core only gets in the way
videos = load("digit_video", device="cpu")  # .images: (4000, 5, 1, 16, 16) uint8
held_out = load("digit_video", "test", device="cpu")  # other digits, 1,000 clips
clip = videos.images[:1] / 255  # (B, T, C, H, W) = (1, 5, 1, 16, 16)
plots.video_strip(videos, count=4)

# %% [markdown]
# ## 1 · The cheapest way: keep few frames ●○○○○
#
# **Why.** A transformer reads tokens, so a clip must become tokens. The simplest way (Arnab et al. 2021,
# section 3.2) treats a clip as a pile of pictures: take a frame now and then, evenly spread (**uniform frame
# sampling**), and cut each into patches as ViT does. The frames between them are not used.
#
# **What.** `uniform_frames(clips, every)`: $(B, T, C, H, W) \to (B, T/k, C, H, W)$ with $k$ = `every`, a
# divisor of $T$. The $T$ frames fall into groups of $k$; keep the **middle** frame of each group, and where
# there are two middle ones, the **later**. (The paper leaves open which. In exercise 4 this choice pays.)
#
# **By hand.** $T = 8$ and $k = 4$: the groups are frames 0 1 2 3 and 4 5 6 7, their two middle frames 1 2 and
# 5 6, so frames 2 and 6 are kept. With $T = 6$ and $k = 3$: frames 1 and 4.

# %% exercise="uniform_frames"
def uniform_frames(clips, every):
    """Uniform frame sampling (Arnab et al. 2021, section 3.2).

    Args:
        clips: (B, T, C, H, W).
        every: k, a divisor of T.

    Returns:
        (B, T/k, C, H, W): of every k frames the middle one, of two middle ones the later.
    """
    ### BEGIN SOLUTION
    return clips[:, every // 2 :: every]
    ### END SOLUTION

# %% check="uniform_frames"
check("hw6.uniform_frames", uniform_frames)

# %% [markdown]
# **Look at it.** All five frames as one group: one frame is left. Is the digit on its way right or left?

# %%
every = 5  # try 1
with when_done():
    display(plots.video_strip(uniform_frames(videos.images[:3], every), count=3))

# %% [markdown]
# ## 2 · Tubelets: cut a clip into boxes ●●○○○
#
# **Why.** A patch is a square of pixels. Give it a third side, $t$ frames long, and it becomes a box of space
# and time, a **tubelet**. A token made of it can hold what moved *inside* the box. Cutting only moves axes, and
# if they are moved wrongly, the shape is right and the numbers are in the wrong places.
#
# **What.** `fold_tubelets(clips, t, p)`: $(B, T, C, H, W) \to (B,\ T/t,\ H/p,\ W/p,\ C \cdot t \cdot p \cdot
# p)$. Place $[b, i, j, k]$ holds all numbers of the box of frames $i t \dots i t + t - 1$, rows from $j p$,
# columns from $k p$. In the last axis they stand in the order **channel, frame, row, column**: the column
# changes fastest. That is the order in which PyTorch keeps the filters of a 3-D convolution, $(D, C, t, p,
# p)$; you will need it in a moment. $t$ divides $T$, and $p$ divides $H$ and $W$.
#
# **By hand.** One channel, $T=2$ frames of 2 × 4 pixels, $t = 2$, $p = 2$: two boxes. On paper: which eight
# numbers are in each, and in which order?
#
# <details><summary>Answer</summary>
#
# 0, 1, 4, 5, 8, 9, 12, 13 and 2, 3, 6, 7, 10, 11, 14, 15: of each box the first frame row by row, then the second.
# </details>

# %%
numbered = torch.arange(16).reshape(1, 2, 1, 2, 4)  # (B, T, C, H, W): a number says where it came from
numbered[0, :, 0]

# %% exercise="fold_tubelets"
def fold_tubelets(clips, t, p):
    """Cut clips into boxes of t frames by p × p pixels (Arnab et al. 2021, section 3.2).

    Args:
        clips: (B, T, C, H, W).
        t: frames of a box, a divisor of T.
        p: height and width of a box in pixels, a divisor of H and of W.

    Returns:
        (B, T/t, H/p, W/p, C·t·p·p): the numbers of each box in the order channel, frame, row, column.
    """
    ### BEGIN SOLUTION
    return rearrange(clips, "b (T t) c (h p) (w q) -> b T h w (c t p q)", t=t, p=p, q=p)
    ### END SOLUTION

# %% check="fold_tubelets"
check("hw6.fold_tubelets", fold_tubelets)

# %% [markdown]
# **Look at it.** The first clip, cut into four boxes of five frames and 8 × 8 pixels. Each row is one tubelet,
# and one token: a stroke comes in at one side, or goes out at the other. One token shows the motion.

# %%
with when_done():
    boxes = fold_tubelets(clip, 5, 8)  # (1, 1, 2, 2, 1·5·8·8)
    strips = rearrange(boxes, "b T h w (c t p q) -> (b T h w) t c p q", c=1, t=5, p=8)  # (4, 5, 1, 8, 8)
    display(plots.video_strip(strips, count=4))

# %% [markdown]
# ## 3 · Tubelet embedding: fold and multiply, or convolve ●●○○○
#
# **Why.** Each box goes through one linear layer, the same for all, and becomes a token (**tubelet embedding**):
#
# $$\text{token}_{b, i, j, k} = \text{weight} \cdot \text{box}_{b, i, j, k} + \text{bias}.$$
#
# A 3-D convolution whose *stride is as long as its kernel* lays the kernel on a box, multiplies and adds up, and
# moves on by one whole box: it computes the same. Most code writes it as a convolution, because then it is one layer.
#
# **What.** A module `TubeletEmbedding(in_channels, embed_dim, t, p)` with one layer, **`proj`**, an
# `nn.Conv3d` from $C$ to $D$ channels with a bias, its kernel $t \times p \times p$. `forward(clips)`: $(B, T,
# C, H, W) \to (B,\ T/t,\ H/p,\ W/p,\ D)$. Mind that `nn.Conv3d` wants the channels *before* the time, $(B, C,
# T, H, W)$, and hands its result back in that order too.

# %% exercise="TubeletEmbedding"
class TubeletEmbedding(nn.Module):
    """Each box of t frames by p × p pixels to one token (Arnab et al. 2021, section 3.2).

    Args:
        in_channels: C.
        embed_dim: D, the width of a token.
        t: frames of a box.
        p: height and width of a box in pixels.
    """

    def __init__(self, in_channels, embed_dim, t, p):
        super().__init__()
        ### BEGIN SOLUTION
        self.proj = nn.Conv3d(in_channels, embed_dim, kernel_size=(t, p, p), stride=(t, p, p))
        ### END SOLUTION

    def forward(self, clips):
        """(B, T, C, H, W) -> (B, T/t, H/p, W/p, D)."""
        ### BEGIN SOLUTION
        maps = self.proj(clips.transpose(1, 2))  # (B, D, T/t, h, w)
        return maps.movedim(1, -1)  # (B, T/t, h, w, D)
        ### END SOLUTION

# %% check="TubeletEmbedding"
check("hw6.TubeletEmbedding", TubeletEmbedding)

# %% [markdown]
# **Look at it.** Once as your convolution, once as your boxes times the very same filters, flattened. The two
# are equal but for rounding: this is why the order *channel, frame, row, column* mattered.

# %%
with when_done():
    embedding = TubeletEmbedding(in_channels=3, embed_dim=7, t=2, p=4)
    some_clips = torch.randn(2, 6, 3, 8, 12)  # (B, T, C, H, W)
    convolved = embedding(some_clips)  # (B, T/t, h, w, D) = (2, 3, 2, 3, 7)
    filters = embedding.proj.weight.flatten(1)  # (D, C·t·p·p) = (7, 96)
    multiplied = fold_tubelets(some_clips, 2, 4) @ filters.T + embedding.proj.bias  # (2, 3, 2, 3, 7)
    print("largest difference:", f"{(convolved - multiplied).abs().max():.1e}")

# %% [markdown]
# **Change a number.** How many tokens does a clip of 32 frames and 224 × 224 pixels make with $t=2$, $p=16$?
# And with $t = 1$? Twice the tokens are four times the pairs. Exercise 11 counts what that costs.
#
# <details><summary>Answer</summary>
#
# $16 \cdot 14 \cdot 14 = 3136$, and twice as many with $t = 1$: 6272.
# </details>
#
# ## 4 · Start from an image model ●●○○○
#
# **Why.** Clips with labels are rare, images with labels are not. So a video model begins with the weights of a
# **pre-trained** image model. Most can be copied, but not those of the embedding: the image model's filters are $(D,
# C, p, p)$, yours must be $(D, C, t, p, p)$. Both ways below (Arnab et al. 2021, section 3.4) meet one condition:
# **on a still clip the video model's tokens are those of the image model.** A still clip shows the same pixels $t$
# times, so this says
#
# $$\sum_{\tau = 0}^{t - 1} \text{filters}_{d, c, \tau, r, s} = \text{image\_filters}_{d, c, r, s}.$$
#
# **What.** Two functions from `image_filters` $(D, C, p, p)$ and `t` to filters $(D, C, t, p, p)$:
# * `central_frame_filters`: the image's filter at frame $\lfloor t/2 \rfloor$, zeros at all other frames. At
#   the start this *is* uniform frame sampling; training may then fill in the zeros.
# * `inflated_filters` (**filter inflation**): the same at every frame, the image's filter times a factor, with which the
#   $t$ of them together do what the one did.
#
# Both are starting values, copied once: only the numbers count here, no gradients.
#
# **By hand.** One filter of one pixel, value 6, $t = 3$. On a still clip of brightness 5 the image model says
# $6 \cdot 5 = 30$. The central frame filter is $(0, 6, 0)$: $0 + 30 + 0$. What must the three numbers of the
# inflated filter be? And for $t = 4$, which of the four frames is the central one?
#
# <details><summary>Answer</summary>
#
# Three equal numbers that sum to 6. Frame 2, counted from 0.
# </details>

# %% exercise="filters_from_an_image_model"
def central_frame_filters(image_filters, t):
    """(D, C, p, p) -> (D, C, t, p, p): the image's filter at frame t // 2, zeros elsewhere (eq. 9)."""
    ### BEGIN SOLUTION
    filters = torch.zeros(*image_filters.shape[:2], t, *image_filters.shape[2:])  # (D, C, t, p, p)
    filters[:, :, t // 2] = image_filters
    return filters
    ### END SOLUTION


def inflated_filters(image_filters, t):
    """(D, C, p, p) -> (D, C, t, p, p): the image's filter at every frame, its sum over time kept (eq. 8)."""
    ### BEGIN SOLUTION
    return image_filters.unsqueeze(2).repeat(1, 1, t, 1, 1) / t
    ### END SOLUTION

# %% check="filters_from_an_image_model"
check("hw6.filters_from_an_image_model", central_frame_filters, inflated_filters)

# %% [markdown]
# **Look at it.** A token for a still clip and for a moving one, compared with what the image model says about
# each of the five frames. Still: all the same. Moving: the central frame filter says what the image model says
# of frame 2, the inflated filter says the *mean* over the frames, in which the motion is blurred.

# %%
image_model = nn.Conv2d(1, 4, kernel_size=16)  # a whole frame to one token: D = 4
still = clip[:, :1].expand(-1, 5, -1, -1, -1)  # (1, 5, 1, 16, 16): frame 0, five times


def as_video(filters, clips):
    """The image model's embedding with filters (D, C, 5, 16, 16) for clips: one token (1, D)."""
    return F.conv3d(clips.transpose(1, 2), filters, image_model.bias).flatten(1).detach()


with when_done():
    ways = {"central": central_frame_filters, "inflated": inflated_filters}
    panels = {}
    for name, frames in {"still clip": still, "moving clip": clip}.items():
        tokens = [image_model(frames[0]).flatten(1).detach()]  # (T, D)
        tokens += [as_video(way(image_model.weight, 5), frames) for way in ways.values()]
        panels[name] = torch.cat(tokens)  # (T + 2, D)
    names = [f"image model, frame {n}" for n in range(5)] + [f"video, {name}" for name in ways]
    display(plots.matrices(panels, rows=names, numbers=True))

# %% [markdown]
# It matters. ViViT's table 1 (Kinetics-400, top-1: the share of clips whose likeliest class is the right one): random
# filters 73.2 %, inflated 77.6 %, uniform frame sampling 78.5 %, central frame 79.2 %. The best begins as plain frame
# sampling, and training changes its zeros.
#
# ## 5 · Model 1: everything looks at everything ●●○○○
#
# **Why.** Once a clip is tokens, ViT needs no change at all: one long row of them, a class token in front, a learned
# position for each, and attention among all. That is **Model 1**, *spatio-temporal attention* (joint attention).
# Every token can attend to every moment from the first layer on. The paper finds it the most accurate on large data
# sets and the most expensive:
#
# $$z = [\,\text{class\_token};\; x_1;\; \dots;\; x_N\,] + \text{positions}, \qquad
# \text{scores} = \text{head}\big(\text{norm}(\text{blocks}(z)_0)\big).$$
#
# **Given** are multi-head self-attention and the pre-norm block, as you built them.

# %%
class SelfAttention(nn.Module):
    """Multi-head self-attention, (B, N, D) -> (B, N, D), as in homework 1, its three layers fused."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (B, h, N, N)
        return self.out(rearrange(weights @ v, "b h n d -> b n (h d)"))


class Block(nn.Module):
    """The pre-norm block of ViT, (B, N, D) -> (B, N, D), as in homework 1."""

    def __init__(self, embed_dim, num_heads, mlp_ratio=2, gelu="none", eps=1e-6):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(embed_dim, eps), nn.LayerNorm(embed_dim, eps)
        self.attention = SelfAttention(embed_dim, num_heads)
        wide = mlp_ratio * embed_dim
        self.mlp = nn.Sequential(nn.Linear(embed_dim, wide), nn.GELU(gelu), nn.Linear(wide, embed_dim))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def stack(depth, *arguments, **options):
    """`depth` blocks, one after the other."""
    return nn.Sequential(*[Block(*arguments, **options) for _ in range(depth)])

# %% [markdown]
# **What.** Two modules. `ClipTokens(num_tokens, embed_dim)`: from what your embedding made, $(B, T, h, w, D)$,
# to a sequence $(B, 1 + N, D)$:
#
# 1. all tokens in one sequence, $N = T \cdot h \cdot w$ of them: the column changes fastest, then the row, then
#    time;
# 2. the class token **in front**;
# 3. to each of the $1 + N$ its own position is added. From these Model 1 knows the time: every moment of every
#    place has a row of its own.
#
# Its parameters are **`class_token`** $(1, 1, D)$ and **`positions`** $(1, 1 + N, D)$; zeros will do to begin
# with. And `SpatioTemporalEncoder(blocks, num_tokens, embed_dim, num_classes)`, to scores $(B,$
# `num_classes`$)$: **`tokens`** (your `ClipTokens`), then **`blocks`**, a finished module $(B, N', D) \to (B,
# N', D)$ that you are handed, then the class token, and nothing else, through **`norm`**
# (`nn.LayerNorm(embed_dim, eps=1e-6)`) and **`head`**, a linear layer.
#
# **By hand.** $T = 2$ frames of one row with two places, tokens a b | c d. The sequence is: class, a, b, c, d.
# With the positions 10, 20, 30, 40, 50 the token c gets 40.

# %% exercise="SpatioTemporalEncoder"
class ClipTokens(nn.Module):
    """A clip's map of tokens as one sequence with a class token and positions.

    Args:
        num_tokens: N = T·h·w, without the class token.
        embed_dim: D.
    """

    def __init__(self, num_tokens, embed_dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + num_tokens, embed_dim))
        ### END SOLUTION

    def forward(self, x):
        """(B, T, h, w, D) -> (B, 1 + N, D)."""
        ### BEGIN SOLUTION
        x = rearrange(x, "b t h w d -> b (t h w) d")  # (B, N, D)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        ### END SOLUTION


class SpatioTemporalEncoder(nn.Module):
    """ViViT's Model 1 after the embedding (Arnab et al. 2021, section 3.3).

    Args:
        blocks: a module (B, N', D) -> (B, N', D).
        num_tokens: N = T·h·w, without the class token.
        embed_dim: D.
        num_classes: how many scores come out.
    """

    def __init__(self, blocks, num_tokens, embed_dim, num_classes):
        super().__init__()
        ### BEGIN SOLUTION
        self.tokens = ClipTokens(num_tokens, embed_dim)
        self.blocks = blocks
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(self, x):
        """(B, T, h, w, D) -> (B, num_classes)."""
        ### BEGIN SOLUTION
        x = self.blocks(self.tokens(x))  # (B, 1 + N, D)
        return self.head(self.norm(x[:, 0]))  # (B, num_classes)
        ### END SOLUTION

# %% check="SpatioTemporalEncoder"
check("hw6.SpatioTemporalEncoder", ClipTokens, SpatioTemporalEncoder)

# %% [markdown]
# **Look at it.** A clip, and the same clip played backwards: the scores that one untrained Model 1 gives to the
# two, once with no positions, once with some. Without positions the scores of the two are equal, whatever the weights
# are: this can be proved, and no training changes it. It is the second ceiling, 50 %.

# %%
def draw_all(model):
    """Weights and positions at random, large enough that differences show; the same ones each time."""
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.ndim > 1:  # not those of norms, and no biases
            nn.init.normal_(weight, std=0.7)
    return model


with when_done(), torch.no_grad():
    scores = {}
    for name, factor in {"no positions": 0, "positions": 1}.items():
        model = draw_all(SpatioTemporalEncoder(stack(1, 12, 3), 5 * 2 * 2, 12, 4))
        model.tokens.positions *= factor
        tokens = torch.randn(1, 5, 2, 2, 12)  # (B, T, h, w, D)
        scores[name] = torch.cat([model(tokens), model(tokens.flip(1))])  # (2, classes)
    display(plots.matrices(scores, rows=["forwards", "backwards"], numbers=True))

# %% [markdown]
# ## 6 · Looking along one axis only ●●●○○
#
# **Why.** $T \cdot S$ tokens have $(T S)^2$ pairs. Two smaller attentions (**factorised** attention) have far fewer:
# one over space (each frame by itself: $T$ times $S^2$ pairs) and one over time (each place by itself: $S$ times
# $T^2$ pairs). For 16 moments of 196 places, $T S / (T + S) = 3136 / 212$, that is 15 times fewer. And it needs no
# new code: attention mixes the axis of the tokens and never mixes across the batch. So the axis that is *not* to be
# mixed is **folded into the batch**.
#
# **What.** Two functions of `x` $(B, T, S, D)$ and `attention`, a module $(B', N, D) \to (B', N, D)$ for any
# $B'$ and $N$; both return $(B, T, S, D)$:
# * `attend_over_space`: the $S$ tokens of one frame see each other, no frame sees another;
# * `attend_over_time`: the $T$ tokens at one place see each other, no place sees another.
#
# **By hand.** Three frames of two places: tokens a b | c d | e f. Over space the groups are {a, b}, {c, d},
# {e, f}; over time {a, c, e} and {b, d, f}. In memory the six stand in a row, a b c d e f. Which of the two
# can be had by a mere `reshape`, and what does the other need *before* it, and *after*?

# %% exercise="attend_over_space_and_time"
def attend_over_space(x, attention):
    """Attention within each frame: (B, T, S, D) -> (B, T, S, D). `attention`: (B', N, D) -> (B', N, D)."""
    ### BEGIN SOLUTION
    frames = rearrange(x, "b t s d -> (b t) s d")
    return rearrange(attention(frames), "(b t) s d -> b t s d", b=len(x))
    ### END SOLUTION


def attend_over_time(x, attention):
    """Attention along each place: (B, T, S, D) -> (B, T, S, D). `attention`: (B', N, D) -> (B', N, D)."""
    ### BEGIN SOLUTION
    places = rearrange(x, "b t s d -> (b s) t d")
    return rearrange(attention(places), "(b s) t d -> b t s d", b=len(x))
    ### END SOLUTION

# %% check="attend_over_space_and_time"
check("hw6.attend_over_space_and_time", attend_over_space, attend_over_time)

# %% [markdown]
# **Look at it.** One token is changed, and the picture shows which outputs of your functions change. Five frames of
# 4 × 4 places; the token that was changed is marked.

# %%
def noticed(mix, query):
    """Which outputs of mix: (1, 5, 16, D) -> same move when one token changes: (5, 4, 4) truth values."""
    x = torch.randn(1, 5, 16, 8)  # (B, T, S, D)
    changed = x.clone()
    changed[0, query[0], query[1] * 4 + query[2]] += 1
    with torch.no_grad():
        moved = (mix(changed) - mix(x)).abs().amax(dim=-1)  # (1, T, S)
    return (moved > 1e-5).reshape(5, 4, 4)


query = (2, 1, 2)  # frame, row, column
with when_done():
    attention = SelfAttention(8, 2)
    joint = lambda x: attention(x.flatten(1, 2)).unflatten(1, x.shape[1:3])  # as in Model 1
    seen = {
        "Model 1: all at once": noticed(joint, query),
        "over space": noticed(lambda x: attend_over_space(x, attention), query),
        "over time": noticed(lambda x: attend_over_time(x, attention), query),
        "space, then time": noticed(
            lambda x: attend_over_time(attend_over_space(x, attention), attention), query
        ),
    }
    display(plots.reach_in_clip(clip[0], seen, query))

# %% [markdown]
# See the last row: one after the other, *two cheap attentions reach everything*. What the first brought together in a
# frame, the second carries to the other moments.
#
# ## 7 · Model 2: first each frame, then the story ●●●○○
#
# **Why.** Go one step further and do all the attention over space first. **Model 2**, the *factorised encoder*, is
# two transformers in a row: the first is an ordinary ViT that turns each frame into one vector; the second reads the
# $T$ vectors as a sequence. The frames are compared late (**late fusion**), so it is much cheaper than Model 1; and
# on small data sets the paper finds it the best.
#
# ```
# (B, T, S, D) ─ each frame ─ class token, positions ─ space_blocks ─ its class token, normed ─> (B, T, D)
# (B, T, D)    ─ class token, positions ─ time_blocks ─ its class token, normed ─ head ─> (B, classes)
# ```
#
# **What.** A module `FactorisedEncoder(space_blocks, time_blocks, num_frames, num_patches, embed_dim,
# num_classes)`; `forward(x)`: $(B, T, S, D) \to (B,$ `num_classes`$)$. The check needs these names:
# * **`space_class`** $(1, 1, D)$, **`space_positions`** $(1, 1 + S, D)$, **`space_blocks`**, **`space_norm`**;
# * **`time_class`** $(1, 1, D)$, **`time_positions`** $(1, 1 + T, D)$, **`time_blocks`**, **`time_norm`**;
# * **`head`**, linear. Norms have **`eps=1e-6`**; parameters may begin at zero.
#
# All frames share the first transformer and its positions. So only `time_positions` says *when* a frame was. For clip
# $b$ and frame $\tau$, with index 0 for the class token:
#
# $$m_{b, \tau} = \text{space\_norm}\big(\text{space\_blocks}([\text{space\_class};\, x_{b, \tau}] +
# \text{space\_positions})_0\big)$$
# $$\text{scores}_b = \text{head}\big(\text{time\_norm}\big(\text{time\_blocks}([\text{time\_class};\, m_{b, 1};\, \dots;\,
# m_{b, T}] + \text{time\_positions})_0\big)\big)$$

# %% exercise="FactorisedEncoder"
class FactorisedEncoder(nn.Module):
    """ViViT's Model 2 after the embedding: one transformer over space, one over time.

    Args:
        space_blocks, time_blocks: modules (B', N', D) -> (B', N', D).
        num_frames: T.
        num_patches: S, tokens of a frame.
        embed_dim: D.
        num_classes: how many scores come out.
    """

    def __init__(self, space_blocks, time_blocks, num_frames, num_patches, embed_dim, num_classes):
        super().__init__()
        ### BEGIN SOLUTION
        self.space_class = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.space_positions = nn.Parameter(torch.zeros(1, 1 + num_patches, embed_dim))
        self.space_blocks = space_blocks
        self.space_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.time_class = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.time_positions = nn.Parameter(torch.zeros(1, 1 + num_frames, embed_dim))
        self.time_blocks = time_blocks
        self.time_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(self, x):
        """(B, T, S, D) -> (B, num_classes)."""
        ### BEGIN SOLUTION
        B, T, S, D = x.shape
        frames = x.reshape(B * T, S, D)
        frames = torch.cat([self.space_class.expand(B * T, -1, -1), frames], dim=1)  # (B·T, 1 + S, D)
        frames = self.space_blocks(frames + self.space_positions)
        moments = self.space_norm(frames[:, 0]).reshape(B, T, D)
        moments = torch.cat([self.time_class.expand(B, -1, -1), moments], dim=1)  # (B, 1 + T, D)
        moments = self.time_blocks(moments + self.time_positions)
        return self.head(self.time_norm(moments[:, 0]))  # (B, num_classes)
        ### END SOLUTION

# %% check="FactorisedEncoder"
check("hw6.FactorisedEncoder", FactorisedEncoder)

# %% [markdown]
# **Look at it.** How much do the scores of a random Model 2 change when two frames change places? Each entry
# is one pair of frames. Left without time positions: all entries are 0. Right with them.

# %%
def moved_by_swapping(model, tokens):
    """(T, T): how far the scores move when frames i and j of tokens (1, T, S, D) change places."""
    T = tokens.shape[1]
    moved = torch.zeros(T, T)
    for i in range(T):
        for j in range(T):
            order = list(range(T))
            order[i], order[j] = j, i
            moved[i, j] = (model(tokens[:, order]) - model(tokens)).norm()
    return moved.round(decimals=4)  # what is left of 0 by rounding is 0


with when_done(), torch.no_grad():
    panels = {}
    for name, factor in {"time_positions = 0": 0, "time_positions drawn": 1}.items():
        model = draw_all(FactorisedEncoder(stack(1, 12, 3), stack(1, 12, 3), 5, 4, 12, 4))
        model.time_positions *= factor
        panels[name] = moved_by_swapping(model, torch.randn(1, 5, 4, 12))
    names = [f"frame {t}" for t in range(5)]
    display(plots.matrices(panels, rows=names, columns=names, numbers=True))

# %% [markdown]
# ## 8 · Model 3: space, then time, in every block ●●○○○
#
# **Why.** In Model 2 a frame is reduced to one vector before it is compared with another: what moved *where* must be
# written in it. **Model 3**, *factorised self-attention*, keeps all tokens to the end and splits the attention inside
# each block instead: over space, then over time, then the MLP. Each of the three adds to the residual stream and
# reads a normalised copy of it (Arnab et al. 2021, eq. 4 to 6):
#
# $$y = x + \text{space}(\text{norm\_space}(x)), \qquad z = y + \text{time}(\text{norm\_time}(y)), \qquad
# \text{out} = z + \text{fc2}(\text{GELU}(\text{fc1}(\text{norm\_mlp}(z)))).$$
#
# ```
# x ─┬─ norm_space ─ over space ─(+)─┬─ norm_time ─ over time ─(+)─┬─ norm_mlp ─ fc1 ─ GELU ─ fc2 ─(+)─ out
#    └────────────────────────────┘  └──────────────────────────┘  └────────────────────────────────┘
# ```
#
# **What.** A module `FactorisedBlock(embed_dim, space_attention, time_attention, mlp_ratio)`; `forward(x)`:
# $(B, T, S, D) \to (B, T, S, D)$. You are handed two attention modules, $(B', N, D) \to (B', N, D)$: keep them
# as **`space_attention`** and **`time_attention`**. Yours are **`norm_space`**, **`norm_time`**,
# **`norm_mlp`** (`nn.LayerNorm` with `eps=1e-6`), **`fc1`** from $D$ to `mlp_ratio` $\cdot D$ and **`fc2`**
# back, with an exact GELU between. (An `nn.Sequential` called `mlp` instead of `fc1` and `fc2` is accepted.)
# There is no class token, since it would belong to no frame and no place. You may call your functions of exercise
# 6, or fold again.

# %% exercise="FactorisedBlock"
class FactorisedBlock(nn.Module):
    """The block of ViViT's Model 3 (Arnab et al. 2021, eq. 4 to 6).

    Args:
        embed_dim: D.
        space_attention, time_attention: modules (B', N, D) -> (B', N, D).
        mlp_ratio: how many times wider than D the MLP is inside; a whole number.
    """

    def __init__(self, embed_dim, space_attention, time_attention, mlp_ratio):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm_space = nn.LayerNorm(embed_dim, eps=1e-6)
        self.space_attention = space_attention
        self.norm_time = nn.LayerNorm(embed_dim, eps=1e-6)
        self.time_attention = time_attention
        self.norm_mlp = nn.LayerNorm(embed_dim, eps=1e-6)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x):
        """(B, T, S, D) -> (B, T, S, D)."""
        ### BEGIN SOLUTION
        x = x + attend_over_space(self.norm_space(x), self.space_attention)
        x = x + attend_over_time(self.norm_time(x), self.time_attention)
        return x + self.fc2(F.gelu(self.fc1(self.norm_mlp(x))))
        ### END SOLUTION

# %% check="FactorisedBlock"
check("hw6.FactorisedBlock", FactorisedBlock)

# %% [markdown]
# **Where are the positions added?** Around the block a whole Model 3 is a few lines; they are given. Every token gets
# two position embeddings before the first block: one for its *place*, the same in all frames, and one for its
# *moment*, the same at all places (below also *time code*). That needs $S + T$ learned rows instead of $S \cdot T$,
# and one of the two can be left out to see what it does. At the end, the mean over all tokens.

# %%
class Model3(nn.Module):
    """ViViT's Model 3 after the embedding, (B, T, S, D) -> (B, num_classes)."""

    def __init__(self, depth, num_frames, num_patches, embed_dim, num_heads, num_classes, mlp_ratio=2):
        super().__init__()
        self.place_positions = nn.Parameter(torch.zeros(1, 1, num_patches, embed_dim))
        self.time_positions = nn.Parameter(torch.zeros(1, num_frames, 1, embed_dim))
        attention = lambda: SelfAttention(embed_dim, num_heads)
        blocks = [FactorisedBlock(embed_dim, attention(), attention(), mlp_ratio) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(embed_dim, eps=1e-6), nn.Linear(embed_dim, num_classes)

    def forward(self, x):
        x = self.blocks(x + self.place_positions + self.time_positions)  # (B, T, S, D)
        return self.head(self.norm(x).mean(dim=(1, 2)))

# %% [markdown]
# ## 9 · TimeSformer: divided attention, with a class token ●●●●○
#
# **Why.** TimeSformer (Bertasius et al. 2021) came out at the same time with the same idea, and differs in
# three small things that make it a good test of your axes: **time first**, then space; a second linear layer
# behind the attention over time; and a **class token**, which belongs to no frame and no place.
#
# **What.** A module `DividedAttention(embed_dim, num_frames, time_attention, space_attention)`: the two
# attention steps of a block, without the MLP. `forward(x)`: $(B, 1 + T S, D) \to (B, 1 + T S, D)$, the class
# token $c$ in front, then the patches $x$, frame after frame:
#
# $$y = x + \text{time\_linear}(\text{time\_attention}(\text{norm\_time}(x))), \qquad
# [c';\, z]_\tau = \text{space\_attention}\big([\text{norm\_space}(c);\, \text{norm\_space}(y_\tau)]\big)$$
# $$\text{patches out} = y + z, \qquad \text{class token out} = c + \frac1T \sum_\tau c'_\tau$$
#
# 1. **Over time**, the class token takes no part: the patches alone go through **`norm_time`**, attention
#    along each place (**`time_attention`**), then the linear layer **`time_linear`** ($D \to D$), and are added
#    to the patches. The class token stays as it was.
# 2. **Over space**, all tokens go through **`norm_space`**. Each of the $T$ frames gets a **copy of the class
#    token** in front of its $S$ patches, and **`space_attention`** looks at these $1 + S$ tokens. The patches
#    get their results; the class token gets the **mean of its $T$ results**. All of it is added to the
#    stream.
#
# Both norms have **`eps=1e-6`**.

# %% exercise="DividedAttention"
class DividedAttention(nn.Module):
    """Divided space-time attention (Bertasius et al. 2021, section 3), both steps with their residuals.

    Args:
        embed_dim: D.
        num_frames: T.
        time_attention, space_attention: modules (B', N, D) -> (B', N, D).
    """

    def __init__(self, embed_dim, num_frames, time_attention, space_attention):
        super().__init__()
        ### BEGIN SOLUTION
        self.num_frames = num_frames
        self.norm_time = nn.LayerNorm(embed_dim, eps=1e-6)
        self.time_attention = time_attention
        self.time_linear = nn.Linear(embed_dim, embed_dim)
        self.norm_space = nn.LayerNorm(embed_dim, eps=1e-6)
        self.space_attention = space_attention
        ### END SOLUTION

    def forward(self, x):
        """(B, 1 + T·S, D) -> (B, 1 + T·S, D)."""
        ### BEGIN SOLUTION
        B, T = len(x), self.num_frames
        first, patches = x[:, :1], x[:, 1:]  # (B, 1, D), (B, T·S, D)
        places = rearrange(self.norm_time(patches), "b (t s) d -> (b s) t d", t=T)
        places = self.time_linear(self.time_attention(places))
        x = torch.cat([first, patches + rearrange(places, "(b s) t d -> b (t s) d", b=B)], dim=1)

        z = self.norm_space(x)
        copies = repeat(z[:, :1], "b n d -> (b t) n d", t=T)
        frames = torch.cat([copies, rearrange(z[:, 1:], "b (t s) d -> (b t) s d", t=T)], dim=1)
        frames = self.space_attention(frames)  # (B·T, 1 + S, D)
        first = reduce(frames[:, :1], "(b t) n d -> b n d", "mean", t=T)
        return x + torch.cat([first, rearrange(frames[:, 1:], "(b t) s d -> b (t s) d", t=T)], dim=1)
        ### END SOLUTION

# %% check="DividedAttention"
check("hw6.DividedAttention", DividedAttention)

# %% [markdown]
# **Look at it.** Five frames of three places, and the class token: 16 tokens. A row is the token that is changed,
# blue are the outputs that change with it. An attention that is replaced by `nn.Identity` mixes nothing. Over time: a
# patch reaches its place in every frame, and the class token only itself. Over space: a patch reaches its frame and
# the class token, the class token reaches all. Both: all reach all.

# %%
def who_notices(divided):
    """(16, 16): does output m move when token n is changed?"""
    x, nudge = torch.randn(1, 16, 8), torch.eye(16)[:, :, None] * torch.randn(8)  # nudge: (16, 16, 8)
    return (divided(x + nudge) - divided(x)).norm(dim=-1) > 1e-5


with when_done(), torch.no_grad():
    look, nobody = SelfAttention(8, 2), nn.Identity()
    panels = {
        "over time": who_notices(DividedAttention(8, 5, look, nobody)),
        "over space": who_notices(DividedAttention(8, 5, nobody, look)),
        "both": who_notices(DividedAttention(8, 5, look, look)),
    }
    names = ["class"] + [f"frame {t}" if s == 1 else "" for t in range(5) for s in range(3)]
    display(plots.matrices(panels, rows=names))

# %% [markdown]
# ## 10 · Bonus, Model 4: some heads for space, some for time ●●●○○
#
# **Why.** Models 2 and 3 need 26 to 28 million weights more for their second attention (table 2 of the paper).
# **Model 4**, *factorised dot-product attention*, needs none: queries, keys and values are made once, as in Model 1,
# but **half of the heads attend over space only and the other half over time only**. It has the weights of Model 1
# and about as few pairs as Model 3. In every head, over its own axis (eq. 7):
#
# $$\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v.$$
#
# **What.** `split_heads_attention(q, k, v)`, each $(B, T, S, h, d)$ with an even number $h$ of heads; the
# result has the same shape. The **first** $h/2$ heads attend over space within each frame, the others over
# time at each place; scores are divided by $\sqrt d$ in both. (The first half over space is the paper's order;
# the authors' code has it the other way round.) No loops over tokens; you need softmax and two products, twice.

# %% exercise="split_heads_attention"
def split_heads_attention(q, k, v):
    """Factorised dot-product attention, ViViT's Model 4 (Arnab et al. 2021, eq. 7).

    Args:
        q, k, v: (B, T, S, h, d); h is even.

    Returns:
        (B, T, S, h, d): heads 0 to h/2 − 1 have looked over space, heads h/2 to h − 1 over time.
    """
    ### BEGIN SOLUTION
    half = q.shape[3] // 2

    def attend(pattern, heads):  # folded to (..., N, d)
        groups = [rearrange(x[..., heads, :], f"b t s h d -> {pattern}") for x in (q, k, v)]
        weights = (groups[0] @ groups[1].mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return rearrange(weights @ groups[2], f"{pattern} -> b t s h d")

    space = attend("b t h s d", slice(None, half))
    time = attend("b s h t d", slice(half, None))
    return torch.cat([space, time], dim=3)
    ### END SOLUTION

# %% check="split_heads_attention"
check("hw6.split_heads_attention", split_heads_attention)

# %% [markdown]
# **Look at it.** The same experiment as in exercise 6, head by head.

# %%
def noticed_by_head(head, query):
    """Which outputs of one head move when one value changes: (5, 4, 4) truth values."""
    q, k, v = torch.randn(3, 1, 5, 16, 4, 2)  # (B, T, S, h, d) each
    other = v.clone()
    other[0, query[0], query[1] * 4 + query[2]] += 1
    moved = split_heads_attention(q, k, other) - split_heads_attention(q, k, v)  # (1, T, S, h, d)
    return (moved[..., head, :].abs().amax(dim=-1) > 1e-5).reshape(5, 4, 4)


with when_done():
    seen = {f"head {head}": noticed_by_head(head, (2, 1, 2)) for head in range(4)}
    display(plots.reach_in_clip(clip[0], seen, (2, 1, 2)))

# %% [markdown]
# ## 11 · What it costs ●●○○○
#
# **Why.** "Model 3 is cheaper" is worth nothing without a number. The papers print such numbers, and you can
# recompute them to the first decimal. (And find out when one is wrong.)
#
# **What.** `video_cost(model, frames, side, t, p, embed_dim, depth, time_depth)` for one clip of `frames` frames of
# `side` × `side` pixels in tubelets of $t$ frames by $p \times p$ pixels. `model` is 1, 2, 3 or 4. It returns two
# whole numbers, in this order: the **patch tokens** $T \cdot S$ of the clip, and the **multiply-accumulates** of all
# its blocks. A block over $N$ tokens takes $4 N D^2$ for its four linear layers, $2 N^2 D$ for its two products, $8 N
# D^2$ for its MLP (four times as wide as $D$). Count no biases, norms, softmaxes, embedding, head.
#
# * **Model 1**: $N = 1 + T S$, `depth` blocks.
# * **Model 2**: `depth` blocks over each frame's $1 + S$ tokens, then `time_depth` blocks over $1 + T$.
# * **Model 3**: `depth` blocks, no class token: linear layers and products for space, the same for time,
#   one MLP. **Model 4**: one set of linear layers; half of the heads, so half of the width, look over space,
#   the other half over time. (`time_depth` plays no part in Models 1, 3 and 4.)
#
# **By hand.** $T=2$, $S=3$, $D=2$, one block, Model 4. Linear layers and MLP: $12 \cdot 6 \cdot 4 = 288$.
# Over space two groups of three, of width 1: $2 \cdot 2 \cdot 3^2 \cdot 1 = 36$; over time three groups of
# two: $3 \cdot 2 \cdot 2^2 \cdot 1 = 24$. Together 348, and 6 tokens.

# %% exercise="video_cost"
def video_cost(model, frames, side, t, p, embed_dim, depth, time_depth):
    """Patch tokens of a clip, and multiply-accumulates of all blocks of ViViT's Model 1, 2, 3 or 4.

    Args:
        model: 1, 2, 3 or 4.
        frames, side: the clip has this many frames of side × side pixels.
        t, p: a tubelet has t frames by p × p pixels.
        embed_dim: D.
        depth: blocks; in Model 2 of the first transformer.
        time_depth: blocks of Model 2's second transformer.

    Returns:
        (tokens, macs).
    """
    ### BEGIN SOLUTION
    T, S, D = frames // t, (side // p) ** 2, embed_dim
    block = lambda N: 12 * N * D**2 + 2 * N**2 * D
    if model == 1:
        macs = depth * block(1 + T * S)
    elif model == 2:
        macs = depth * T * block(1 + S) + time_depth * block(1 + T)
    else:
        pairs = T * S**2 + S * T**2
        linear, width = (16, D) if model == 3 else (12, D // 2)
        macs = depth * (linear * T * S * D**2 + 2 * pairs * width)
    return T * S, macs
    ### END SOLUTION

# %% check="video_cost"
check("hw6.video_cost", video_cost)

# %% [markdown]
# **Look at it.** ViViT-B with tubelets of 2 × 16 × 16: your multiply-accumulates (in billions, the embedding added)
# and the weights of *your own* modules at full size (in millions, made on PyTorch's `meta` device, which keeps shapes
# and no numbers), beside the paper's table 2. How near are they? (Our Model 3 adds a position for the place and one
# for the moment; the paper's, like Model 1, has one for each of the 3,136 tokens. The difference is added below.)

# %%
def count(*modules):
    return sum(weight.numel() for module in modules for weight in module.parameters()) / 1e6


B16 = dict(frames=32, side=224, t=2, p=16, embed_dim=768, depth=12, time_depth=4)
PAPER = {1: (88.9, 455.2), 2: (115.1, 284.4), 3: (117.3, 372.3), 4: (88.9, 277.1)}
with when_done(), torch.device("meta"):
    embedding = TubeletEmbedding(3, 768, 2, 16)
    blocks = lambda depth: stack(depth, 768, 12, mlp_ratio=4)
    weights = {1: count(embedding, SpatioTemporalEncoder(blocks(12), 3136, 768, 400))}
    weights[4] = weights[1] - 2 * 768 / 1e6  # no class token, and no position for it
    weights[2] = count(embedding, FactorisedEncoder(blocks(12), blocks(4), 16, 196, 768, 400))
    weights[3] = count(embedding, Model3(12, 16, 196, 768, 12, 400, mlp_ratio=4)) + (3136 - 196 - 16) * 768 / 1e6
    print("         tokens   weights (paper)   multiply-accumulates (paper)")
    for model, (paper_weights, paper_macs) in PAPER.items():
        tokens, macs = video_cost(model, **B16)
        macs += tokens * 768 * (3 * 2 * 16 * 16)  # the embedding
        row = f"Model {model}    {tokens}   {weights[model]:6.2f}M ({paper_weights:5.1f}M)"
        print(f"{row}   {macs / 1e9:5.1f}G ({paper_macs}G)")

# %% [markdown]
# > **What slides get wrong here.** Some print **100.7** million weights for Model 2; the paper's table 2 says 115.1, and so
# > does your count. Two blocks over time instead of four would have $115.1 - 2 \cdot 7.1 = 100.9$.
#
# **TimeSformer's weights**, table 1 of its paper (174 classes, 8 frames, patches of 16 × 16): 85.9M for joint
# attention, 121.4M for divided. Here the patches of *one* frame are embedded, and place and moment have codes of
# their own, as in our Model 3.

# %%
with when_done(), torch.device("meta"):
    around = count(TubeletEmbedding(3, 768, 1, 16), nn.LayerNorm(768), nn.Linear(768, 174))
    around += (1 + 1 + 196 + 8) * 768 / 1e6  # class token, its position, places, moments
    heads = [SelfAttention(768, 12), SelfAttention(768, 12)]
    mlp = [nn.LayerNorm(768), nn.Linear(768, 4 * 768), nn.Linear(4 * 768, 768)]
    divided_block = count(DividedAttention(768, 8, *heads), *mlp)
    print(f"joint {around + 12 * count(*blocks(1)):.2f}M (85.9M)   divided {around + 12 * divided_block:.2f}M (121.4M)")

# %% [markdown]
# **How it grows.** Longer clips, everything else the same: on these axes Model 1 bends upwards (its pairs grow
# with the square of the frames), the others stay straight. (Models 2 and 4 lie on each other.)

# %%
lengths = [8, 16, 32, 64, 128, 256]
with when_done():
    lines = {
        f"Model {model}": [video_cost(model, **{**B16, "frames": frames})[1] / 1e9 for frames in lengths]
        for model in (1, 2, 3, 4)
    }
    display(plots.curves(lengths, lines, log="xy", xlabel="frames", ylabel="billion multiply-accumulates"))

# %% [markdown]
# **A question.** TimeSformer's divided attention has 121.4M weights where its joint one has 85.9M. Which of
# your layers in exercise 9 make up the difference of 35.4M?
#
# <details><summary>Answer</summary>
#
# In each of the 12 blocks the four layers of `time_attention` and `time_linear`, $5 D^2$ weights: $12 \cdot 5 \cdot
# 768^2 = 35.4$ million. (Their biases and `norm_time` are 0.06 million more.)
# </details>
#
# ## 12 · Training, with clips played backwards ●●●○○
#
# **Why.** Flipping an image left to right is the most harmless augmentation there is. For clips there is one
# more: play them backwards. It doubles your data, *if the label is changed with it*: the reverse of *right* is *left*.
# (The same holds for "opening a door", and for mirrored text.) With the old label, the network is trained to ignore the
# order of the frames. You know which ceiling it then has.
#
# **What.** `train_on_clips(model, clips, labels, backwards, steps, batch_size, learning_rate, generator)`
# trains `model` in place and returns the list of its losses, one plain number for each step (`loss.item()`; a tensor
# that still holds its graph is none).
#
# * Before the first step, one `torch.optim.AdamW` over all parameters, with the given learning rate; all other options
#   keep torch's defaults.
# * In each step, first draw the indices of a batch: `torch.randint(len(clips), (batch_size,),
#   generator=generator)`. Then toss a coin for each clip of the batch: where `torch.rand(batch_size,
#   generator=generator)` is **below 0.5**, that clip is played backwards and has the label `backwards[label]`.
# * `clips` is uint8, $(n, T, C, H, W)$, 0 to 255: divide the batch by 255, so that the model gets 0 to 1.
# * Cross entropy of the raw scores; its value before the step goes into the list. Clear, compute, move.
#
# The check follows a tiny network step by step; then your loop has 150 steps to teach a *linear* classifier
# the four motions, and **90 %** of 120 new clips must be right.

# %% exercise="train_on_clips"
def train_on_clips(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    """Train a classifier of clips in place, every second clip or so played backwards.

    Args:
        model: clips (B, T, C, H, W), float 0 to 1 -> scores (B, classes).
        clips: (n, T, C, H, W) uint8.
        labels: (n,) int64.
        backwards: (classes,) int64, the class of a clip of each class when it is played backwards.
        steps: how many batches.
        batch_size: B.
        learning_rate: of AdamW.
        generator: the torch.Generator of all random numbers.

    Returns:
        list of `steps` floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(clips), (batch_size,), generator=generator)  # (B,)
        reverse = torch.rand(batch_size, generator=generator) < 0.5  # (B,)
        batch, answers = clips[chosen] / 255, labels[chosen]
        batch = torch.where(reverse[:, None, None, None, None], batch.flip(1), batch)
        answers = torch.where(reverse, backwards[answers], answers)
        loss = F.cross_entropy(model(batch), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_on_clips"
check("hw6.train_on_clips", train_on_clips)

# %% [markdown]
# A linear classifier that sees which frame is which can solve this. The clips were made so: they do not need a deep
# network, they need the *order* of the frames. So a model that fails below fails for lack of it.
#
# ## All together: the two ceilings
#
# Nothing to write here. Each network is your embedding (tubelets of *one* frame, so that no token contains
# motion), one of your models with a single block, and your loop.

# %%
class ClipClassifier(nn.Module):
    """Clips (B, T, 1, 16, 16) from 0 to 1 -> scores (B, 4)."""

    def __init__(self, encoder, embed_dim, frames=slice(None), flat=True):
        super().__init__()
        self.embedding = TubeletEmbedding(1, embed_dim, 1, 4)  # a frame: 4 × 4 tokens
        self.encoder, self.frames, self.flat = encoder, frames, flat

    def forward(self, clips):
        pixels = (clips[:, self.frames] - 0.15) / 0.3  # about mean 0 and spread 1
        x = self.embedding(pixels)  # (B, T, 4, 4, D)
        return self.encoder(x.flatten(2, 3) if self.flat else x)  # (B, 4)


def without_time(encoder):
    """The same encoder, its time code zero for ever."""
    encoder.time_positions.requires_grad_(False).zero_()
    return encoder

# %% [markdown]
# Positions are drawn with a spread of 0.5. (The usual 0.02 is small beside the pixels, and a training of seconds may
# be too short to enlarge it. Try it.) `trained` trains when first asked, then remembers.

# %%
from functools import cache

D, H = 32, 4
model1 = lambda: SpatioTemporalEncoder(stack(1, D, H), 5 * 16, D, 4)
model2 = lambda T=5: FactorisedEncoder(stack(1, D, H), stack(1, D, H), T, 16, D, 4)
model3 = lambda: Model3(1, 5, 16, D, H, 4)
NETWORKS = {  # name: (how to make it, steps)
    "one frame": (lambda: ClipClassifier(model2(1), D, slice(2, 3)), 150),
    "Model 2, no time code": (lambda: ClipClassifier(without_time(model2()), D), 300),
    "Model 2": (lambda: ClipClassifier(model2(), D), 375),
    "Model 3, no time code": (lambda: ClipClassifier(without_time(model3()), D), 120),
    "Model 3": (lambda: ClipClassifier(model3(), D), 150),
    "Model 1": (lambda: ClipClassifier(model1(), D, flat=False), 225),
}
BACKWARDS = torch.tensor([1, 0, 3, 2])  # right <-> left, down <-> up


@cache
def trained(name):
    """A trained network, its losses, and its answers (1000,) to the clips held out."""
    torch.manual_seed(0)
    make, steps = NETWORKS[name]
    model = make()
    for key, weight in model.named_parameters():
        if "positions" in key and weight.requires_grad:
            nn.init.normal_(weight, std=0.5)
    steps = budget(tiny=4, cpu=steps)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for part, rate in ((0.75, 0.003), (0.25, 0.0005)):
        losses += train_on_clips(
            model, videos.images, videos.labels, BACKWARDS, int(part * steps), 64, rate, generator
        )
    with torch.no_grad():
        scores = torch.cat([model(clips / 255) for clips in held_out.images.split(250)])  # (1000, 4)
    return model.eval(), losses, scores.argmax(dim=1)

# %% [markdown]
# *Price of the next cell: about 35 s on a laptop's CPU for all six networks; on a GPU not
# measured.* "Axis" asks only: sideways, or up and down?

# %%
with when_done():
    results = {}
    for name in NETWORKS:
        answers = trained(name)[2]
        motion, axis = answers == held_out.labels, answers // 2 == held_out.labels // 2  # (1000,) each
        results[name] = {"motion": float(motion.float().mean()), "axis": float(axis.float().mean())}
    display(plots.bars(results, chance=0.25))

# %% [markdown]
# Compare your bars with the two ceilings. **One frame**: motion 25 %, up to the error of 1,000 clips (a standard
# deviation of 1.4 points), and axis 50 %. **No time code**: at most 50 %, up to the same error, even where the axis
# is always right; the direction stays a guess, however long the training. **With a time code** nothing forbids 100 %.
# The clips are the same, and the weights differ in five learned rows: these make the difference between *something
# moves sideways* and *it moves to the left*. (One run each: change both seeds in `trained` and see how the bars above
# 50 % move.)
#
# **How it gets there.** A model that knows the axis and must guess the direction has a loss of $\ln 2 = 0.69$ at
# best. Without a time code the loss of Model 2 cannot fall below that (the marked line), except by learning single
# clips by heart. With one it can. Do your two curves agree?

# %%
with when_done():
    losses = {name: trained(name)[1] for name in ("Model 2, no time code", "Model 2")}
    length = min(map(len, losses.values())) // 3 * 3
    groups = {name: torch.tensor(row[:length]).reshape(-1, 3).mean(dim=1) for name, row in losses.items()}
    steps = torch.arange(1, length, 3)
    coin = {"ln 2: axis known, direction not": (5, math.log(2))}
    display(plots.curves(steps, groups, xlabel="step", ylabel="loss", levels={"": math.log(2)}, marks=coin))

# %% [markdown]
# **What does it get wrong?** The **confusion matrix** of the network without time code, beside that with one: rows
# are the true motions, columns the answers. On the left look for two blocks of two: it finds the axis, and inside a
# block it guesses.

# %%
def confusion(name):
    table = torch.zeros(4, 4)
    for truth, answer in zip(held_out.labels, trained(name)[2]):
        table[truth, answer] += 1
    return table


with when_done():
    tables = {name: confusion(name) for name in ("Model 3, no time code", "Model 3")}
    motions = ["right", "left", "down", "up"]
    display(plots.matrices(tables, rows=motions, columns=motions, numbers=True))

# %% [markdown]
# **Questions to play with.** With tubelets of five frames, has Model 1 without any time code still the ceiling of 50 %?
# What does Model 2 do with `std=0.02` for its positions?
#
# <details><summary>Answer</summary>
#
# No: such a token holds all five frames in their order, so the motion is inside the token and no time code is needed.
# For the second question run it, with two seeds.
# </details>
#
# ## Your Model 1 is the public Model 1
#
# `transformers` has ViViT's Model 1, written by other people. Here its weights go into *your* embedding and
# encoder; the same clip must give the same scores. Two differences are taken care of: it uses the tanh form of GELU,
# as the original did, and keeps queries, keys and values in three layers.

# %%
def copy_vivit(theirs, yours):
    """The weights of transformers' ViViT into (your embedding, your encoder)."""
    embedding, encoder = yours
    weights = theirs.state_dict()
    take = lambda name, kind: weights[f"{name}.{kind}"]
    pairs = {"vivit.embeddings.patch_embeddings.projection": embedding.proj, "vivit.layernorm": encoder.norm}
    pairs |= {"classifier": encoder.head}
    with torch.no_grad():
        encoder.tokens.class_token.copy_(weights["vivit.embeddings.cls_token"])
        encoder.tokens.positions.copy_(weights["vivit.embeddings.position_embeddings"])
        for n, block in enumerate(encoder.blocks):
            name = f"vivit.layers.{n}"
            for kind in ("weight", "bias"):
                qkv = [take(f"{name}.attention.{letter}_proj", kind) for letter in "qkv"]
                getattr(block.attention.qkv, kind).copy_(torch.cat(qkv))
            pairs |= {f"{name}.attention.o_proj": block.attention.out, f"{name}.mlp.fc1": block.mlp[0]}
            pairs |= {f"{name}.mlp.fc2": block.mlp[2], f"{name}.layernorm_before": block.norm1}
            pairs |= {f"{name}.layernorm_after": block.norm2}
        for name, layer in pairs.items():
            layer.weight.copy_(take(name, "weight"))
            layer.bias.copy_(take(name, "bias"))

# %%
def public_vivit():
    """transformers' ViViT at a small size, all weights drawn large enough that a mistake shows."""
    from transformers import VivitConfig, VivitForVideoClassification

    torch.manual_seed(0)
    config = VivitConfig(
        image_size=32, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=48, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=96, num_labels=10,
    )
    theirs = VivitForVideoClassification(config).eval()
    for name, weight in theirs.named_parameters():
        nn.init.normal_(weight, mean=float("norm" in name and "weight" in name), std=0.2)
    return theirs


try:
    import transformers
except ImportError:
    print("transformers is not installed, so this comparison is left out; `pip install transformers` brings it.")
else:
    with when_done(), torch.no_grad():
        theirs = public_vivit()
        blocks = stack(2, 48, 4, mlp_ratio=2, gelu="tanh")
        mine = TubeletEmbedding(3, 48, 2, 8), SpatioTemporalEncoder(blocks, 2 * 4 * 4, 48, 10).eval()
        copy_vivit(theirs, mine)
        some_clips = torch.randn(3, 4, 3, 32, 32)  # (B, T, C, H, W)
        a, b = theirs(some_clips).logits, mine[1](mine[0](some_clips))  # (B, 10) each
        print(f"largest score {a.abs().max():.2f}, largest difference {(a - b).abs().max():.1e}")

# %% [markdown]
# ## Photographs that move
#
# On black, a frame's one vector can say where its digit is. In a photograph nothing stands out: to know where it
# went, its parts must be compared *before* they are reduced to one vector. The next cell trains your Models 2 and 3 on
# CIFAR-10 through a moving camera: `panned` slides a window of 24 × 24 pixels over each picture, two pixels a frame. Which
# way? Which of the two models do you expect to find that hard? On a CPU the networks are small and see 2,000 pans, and
# that may be too few to tell; on a GPU they are wider and see 20,000.
#
# *Price: some 40 seconds of one CPU core for the three, as measured once, and once a download of 170 MB; on a
# GPU not measured.*

# %%
from course.data import panned, photographs


class Standardised(nn.Module):
    """Pixels from 0 to 1 to about mean 0 and spread 1."""

    def forward(self, clips):
        return (clips - 0.47) / 0.25


def pans(photos, seed):
    """Each photograph panned in a direction drawn by lot: clips (n, 5, 3, 24, 24), labels (n,)."""
    labels = torch.randint(4, (len(photos),), generator=torch.Generator().manual_seed(seed)).to(photos.images.device)
    return panned(photos.images, labels), labels


def photographs_that_move(encoder, learn, unseen):
    """Trains an encoder of (B, 5, 36, D) on pans; the share of the unseen ones that it gets right."""
    width, (clips, labels), device = budget(tiny=16, cpu=32, gpu=128), learn, learn[0].device
    for key, weight in encoder.named_parameters():
        if "positions" in key and weight.requires_grad:
            nn.init.normal_(weight, std=0.5)
    model = nn.Sequential(Standardised(), TubeletEmbedding(3, width, 1, 4), nn.Flatten(2, 3), encoder).to(device)
    with torch.device(device):  # your loop's random numbers are drawn there too
        generator = torch.Generator(device).manual_seed(0)
        for steps, rate in budget(tiny=[(2, 1e-3)], cpu=[(150, 2e-3), (50, 2e-4)], gpu=[(1000, 1e-3), (500, 1e-4)]):
            batch_size = budget(tiny=8, cpu=32, gpu=128)
            train_on_clips(model, clips, labels, BACKWARDS.to(device), steps, batch_size, rate, generator)
    with torch.no_grad():
        scores = torch.cat([model.eval()(part / 255) for part in unseen[0].split(500)])  # (n, 4)
    return float((scores.argmax(dim=1) == unseen[1]).float().mean())


# %%
def compare_on_pans():
    """Model 2 and Model 3, with and without a time code, on panned photographs."""
    torch.manual_seed(0)
    width = budget(tiny=16, cpu=32, gpu=128)
    encoders = {
        "Model 2": FactorisedEncoder(stack(2, width, 4), stack(2, width, 4), 5, 36, width, 4),
        "Model 3, no time code": without_time(Model3(2, 5, 36, width, 4, 4)),
        "Model 3": Model3(2, 5, 36, width, 4, 4),
    }
    photos = photographs(budget(tiny=200, cpu=2_000, gpu=20_000), budget(tiny=100, cpu=500, gpu=5_000))
    if photos is None:
        return
    learn, unseen = (pans(some, seed) for seed, some in enumerate(photos))
    for name, encoder in encoders.items():
        print(f"{name}: {photographs_that_move(encoder, learn, unseen):.0%} of the pans are right")


with when_done():
    compare_on_pans()

# %% [markdown] written="space_and_time" points=5
# ## 13 · In your own words ●●●○○
#
# A few sentences for each part. This one is read by a person.
#
# **(a)** *(2 points)* TimeSformer's table 1: attention over **space alone** (each frame by itself, the mean of
# the frames at the end) reaches 76.9 % on Kinetics-400 and 36.6 % on Something-Something v2. **Divided**
# attention reaches 78.0 % and 59.5 %. Something-Something has classes such as "pushing something from left to
# right". Explain both gaps, the small one and the large one, with what you measured on the moving digits.
#
# **(b)** *(2 points)* "Innovation potential lies in efficient calculation of attention", says the lecture.
# All models 2, 3 and 4 compute fewer pairs than Model 1. For **one** of them: what can Model 1 do within one
# layer that it cannot? Why is it able to do it all the same after a few layers, or why not? When would you
# take Model 1 in spite of its price?
#
# **(c)** *(1 point)* You start Model 2 from an image model. Which of its parameters have a partner there, which
# have none, and what would you set those to at the beginning?
#
# ### BEGIN SOLUTION
# **(a)** The mean over frames does not depend on their order: such a model sees a bag of frames and is our
# order-blind network, at most 50 % where reversed pairs of classes exist. In Kinetics most classes can be told
# from the things in a single frame (a pool, a guitar), so order adds little: 1.1 points. In
# Something-Something the same hands and objects appear in opposite classes; only the order tells, so blindness
# to it costs 23 points.
#
# *Marking: 1 point for order-blindness of the mean (or the bag of frames) tied to the 50 % ceiling, half a
# point for each data set.*
#
# **(b)** Within one layer Model 1 compares a patch with a *different place at another moment* directly: it can
# follow a thing that moves. Model 3 (and 4) reaches such a pair only over two steps, through the patch in the same
# frame at the other place or the same place at the other moment; that patch must carry the information along
# with its own, in a fixed width. After a layer with both steps everything can have reached everything, so with depth
# it can do it, less directly. In Model 2 a frame is one vector before frames meet: where a patch moved must be
# written into that vector; no later layer can go back to the patches. Model 1 pays off where there is a lot of
# data, clips are short or tokens few, and small or fast motion matters.
#
# *Marking: half a point for the direct pair of different place and moment, 1 point for the way round (or its loss in
# Model 2), half a point for a sensible case.*
#
# **(c)** Embedding of an image becomes that of a tubelet (central frame or inflated filters); the first transformer,
# its class token and positions are copied, all frames share them. No partner: time positions, the second
# transformer with its class token and norm, and the head. Random, or small, as in any new transformer; a sum with a new
# branch may begin at zero, so that the model starts as the image model.
#
# *Marking: half a point for the parts with a partner, half for those without and a reasonable start.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * A clip becomes tokens by sampling frames or by cutting tubelets; a tubelet embedding is a linear layer on
#   boxes, and a convolution whose stride is its kernel.
# * An image model's filters become a clip's so that a still clip gives the image model's tokens.
# * Attention mixes one axis and never looks across the batch: what is folded into the batch is kept apart.
#   Folding time away needs the axis moved first, not a reshape.
# * Model 1 mixes all, Model 2 mixes late, Model 3 in turns, Model 4 by heads; TimeSformer's class token is
#   copied into every frame and averaged back.
# * Without a time code a transformer sees a bag of frames, whatever it costs.
#
# **Next:** lecture `15_dense_prediction`.
#
# **References.** A. Arnab et al., *ViViT: a video vision transformer*, ICCV 2021, arXiv:2103.15691. · G.
# Bertasius, H. Wang and L. Torresani, *Is space-time attention all you need for video understanding?*, ICML
# 2021, arXiv:2102.05095. · J. Carreira and A. Zisserman, *Quo vadis, action recognition?*, CVPR 2017 (inflated
# filters). · R. Goyal et al., *The "something something" video database*, ICCV 2017. · A. Dosovitskiy et al.,
# *An image is worth 16x16 words*, ICLR 2021. · The digits: E. Alpaydin and C. Kaynak, UCI repository, 1998.
