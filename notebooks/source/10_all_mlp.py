# %% [markdown]
# # 10 · All-MLP: is attention needed to mix tokens?
#
# | | |
# |---|---|
# | **You will understand** | how the Mixer mixes a table along its two sides; what that shares and what it fixes: no position code, one image size, many images to learn from; and its relatives (ResMLP, gMLP, S²-MLP, AS-MLP, CycleMLP, Vision Permutator, GFNet) as points on one spectrum |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb), [5 · The vision transformer](05_vision_transformer.ipynb), what a depthwise convolution is |
# | **It takes** | an hour to read; all cells together run in about a minute on two CPU cores |
# | **Before · after** | 9 · The ViT–CNN spectrum · **10 · All-MLP** · [11 · MetaFormer](11_metaformer.ipynb) |
# | **Homework** | [hw4 · MLP-Mixer](../assignments/hw4_mlp_mixer/hw4_mlp_mixer.ipynb): you build it, prove that it is a convolution, and three of its relatives |

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from torch import nn
from einops import rearrange
from course import budget, plots, setup
from course.data import load
from course.figures import all_mlp
from course.knobs import turn
from course.models import card, compare, create_model
from course.models.spec import part
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · A question about the most expensive part
#
# A block of the vision transformer does two things: attention *between* the tokens, then an MLP on each token
# by itself. Attention is the part with the queries, keys, softmax and the N × N weights, computed anew for
# every image. In May 2021, several groups asked within weeks of each other: **must those weights be computed?
# What if they were simply learned numbers, the same for every image?** The first answer was the *MLP-Mixer*.
# This is all that changes (left ViT-B/16, right Mixer-B/16):

# %%
print(compare("vit_b16", "mixer_b16"))

# %% [markdown]
# One word in the middle: `TokenMLP` for `SelfAttention`. Around it, two things have *gone*: the class token
# (the mean of all tokens is read instead) and the position code. Section 4 says why that may go. The channel mixer does not appear, since it is the
# same: the MLP that a transformer has anyway. (A slide that is shown a lot has it the wrong way round:
# "channel MLP instead of self-attention". It is the *token* MLP that stands in for attention.)

# %% [markdown]
# ## 2 · One table, mixed along one side, then along the other
#
# The tokens of an image are a table: N rows, one a patch, and D columns, the channels. Here is one image
# (16 patches of 8 × 8 pixels), and below its table, made by a random linear map to D = 12.

# %%
test = load("two_questions", "test", size=budget(tiny=50, cpu=1000))
image = test.images[3].cpu().float() / 255  # (C, H, W) = (3, 32, 32)
cut = rearrange(image, "c (h p) (w q) -> (h w) (c p q)", p=8, q=8)  # (N, C·P·P) = (16, 192)
x = (cut - cut.mean(dim=0)) @ torch.randn(192, 12)  # (N, D) = (16, 12)
x = nn.LayerNorm(12, elementwise_affine=False)(x)[None]  # (B, N, D) = (1, 16, 12)
plots.patches(image, 8)

# %% [markdown]
# A linear layer works along the *last* side of a table. So a small network (linear, GELU, linear) either reads
# **rows**: one token, its D channels; or, when the table is turned first, **columns**: one channel, at all N
# places. The Mixer does one after the other, and adds each result to what came in.

# %%
from course.models.channel_mixers.mlp import MLP
from course.models.token_mixers.token_mlp import TokenMLP

token_mlp = part(TokenMLP, token_ratio=0.5).build(dim=12, grid=(4, 4))  # N → 6 → N
channel_mlp = part(MLP, mlp_ratio=4).build(dim=12)  # D → 48 → D
with torch.no_grad():
    y = x + 2 * token_mlp(x)  # (1, N, D); twice, so that more is to be seen
    z = y + 2 * channel_mlp(y)  # (1, N, D)
all_mlp.mixer_block(x[0], y[0], z[0], token=5, channel=3, hidden=(6, 48))

# %% [markdown]
# Above: the table is turned, every **channel** (orange) goes through the same token MLP, and is turned back.
# Below: every **token** (blue) goes through the same channel MLP. (Left out: a layer norm of each token
# before either half.) The two together are a block; Mixer-B/16 has twelve.
#
# Who hears of whom? Ask the gradient: which numbers of the table in front move one number behind, token 5,
# channel 3?

# %%
def heard(module, token=5, channel=3):
    """(N, D): how much each input number moves one output number."""
    inputs = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(inputs)[0, token, channel], inputs)
    return slope[0].abs()

both = nn.Sequential(token_mlp, channel_mlp)
steps = {"token MLP": token_mlp, "channel MLP": channel_mlp, "one after the other": both}
plots.matrices({f"{name}\n(N, D)": heard(module) for name, module in steps.items()}, numbers=False)

# %% [markdown]
# A column, a row, everything. Two cheap steps, each blind in one direction, and after both of them every
# number has heard of every other.
#
# ### What is shared
#
# *All channels use the same token MLP; all tokens use the same channel MLP.* If that is true, it must not
# matter to the first in which order the channels stand, nor to the second in which order the tokens stand:

# %%
order_D, order_N = torch.randperm(12), torch.randperm(16)
with torch.no_grad():
    difference = {
        "token MLP, channels reordered": token_mlp(x[..., order_D]) - token_mlp(x)[..., order_D],
        "channel MLP, tokens reordered": channel_mlp(x[:, order_N]) - channel_mlp(x)[:, order_N],
        "token MLP, tokens reordered": token_mlp(x[:, order_N]) - token_mlp(x)[:, order_N],
    }
for name, error in difference.items():
    print(f"{name}: {error.abs().max():.0e}")

# %% [markdown]
# The first two are rounding. The third is not, and it is the reason for most of this lecture: the token MLP
# *knows* the order of the tokens. Weight (m, n) belongs to place m and place n, for good.

# %% [markdown]
# ## 3 · Every token mixer is an N × N table of numbers
#
# For a moment leave the GELU aside. A linear token mixer says, for each channel: *new token m is a weighted
# sum of the old tokens n*. That is a matrix of N × N, whatever the mixer is called. To see it, put a single 1
# at one place after the other and look at what comes out. Four mixers on a grid of 5 × 5, so N = 25:

# %%
from course.models.token_mixers.depthwise import DepthwiseConv
from course.models.token_mixers.global_filter import GlobalFilter
from course.models.token_mixers.shift import Shift
from course.models.token_mixers.token_linear import TokenLinear

def lively(module):
    """Random weights that are neither near 0 nor near 1, so that all of them are to be seen."""
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return module

def on_map(mixer):
    """A mixer of tokens (B, N, D), for maps (B, h, w, D)."""
    return lambda x: mixer(x.flatten(1, 2)).unflatten(1, x.shape[1:3])

# %%
def mixing_matrix(mixer, side=5, width=4):
    """(N, N) of a linear mixer, for its first channel: row m is what new token m is made of."""
    spikes = torch.eye(side**2).view(-1, side, side, 1).expand(-1, -1, -1, width)  # (N, h, w, D)
    with torch.no_grad():
        return (mixer(spikes) - mixer(0 * spikes))[..., 0].flatten(1).T

def built(cls, side=5, width=4, **options):
    return lively(part(cls, **options).build(dim=width, grid=(side, side)))

plots.matrices({
    "shift\nno number learned": mixing_matrix(built(Shift, n_div=4)),
    "3×3 convolution\n9 numbers": mixing_matrix(built(DepthwiseConv, kernel_size=3)),
    "GFNet's filter\n25 numbers": mixing_matrix(built(GlobalFilter)),
    "linear layer (ResMLP)\n625 numbers": mixing_matrix(on_map(built(TokenLinear))),
}, numbers=False)

# %% [markdown]
# Row m is what token m hears. A **shift** copies one neighbour. A **convolution** has the same nine numbers in
# each row, moved along: few numbers, near places only. **GFNet** (section 6) has the same 25 numbers in each
# row, moved around: few numbers, all places. A **linear layer** has all 625, each its own. And attention? It
# would be a full table as well, but *another one for every image and every head*.
#
# That is the spectrum of this lecture: **how free is the table, and does it depend on the image?**
#
# In these terms the Mixer is a CNN, as its authors say themselves (section 2 of the paper): channel mixing is
# a **1 × 1 convolution**, and row m of a token layer is a kernel **as large as the whole map**, depthwise: one
# channel at a time. Slides call it a "generalised depthwise convolution". True, with two differences that are
# easily missed: *all channels share the same kernels*, where a depthwise convolution has new ones for each;
# and *nothing slides*, each kernel is used at one place. In homework 4 you build the kernels from the weights.
#
# **Question 10.1** In the cell above change the grid of all four from 5 × 5 to 7 × 7 (`side=7`, in
# `mixing_matrix` and `built`). Which of the four counts of learned numbers change, and to what?
#
# <details><summary>Answer</summary>
#
# Shift 0 and convolution 9 stay. GFNet: 49. The linear layer: 49² = 2401. For 14 × 14 places: 0, 9, 196 and
# 38,416. The first two do not know how large the map is; section 5 is about the other two. (For each channel
# the convolution and GFNet have other numbers again, so with D = 384 GFNet has 75,264 of them, twice as many
# as the linear layer, which serves all channels with one table.)
# </details>

# %% [markdown]
# ## 4 · No position code. Why?
#
# Attention without position codes cannot tell an image from its shuffled patches (lecture 3, section 8). The
# Mixer has no position code at all. Can it? *Predict, then run.*

# %%
from course.models.heads import MeanHead

def shuffled(images, order, p=4):
    """The patches of images (B, C, H, W) in another order."""
    patches = rearrange(images, "b c (h p) (w q) -> b (h w) c p q", p=p, q=p)
    return rearrange(patches[:, order], "b (h w) c p q -> b c (h p) (w q)", h=images.shape[2] // p)

order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
plots.patches(image, 4, order=order)

# %%
small = dict(num_classes=10, embed_dim=64, depth=2)
like_mixer = dict(num_heads=4, class_tokens=0, head=part(MeanHead))  # of the ViT: the mean is read
models = {"ViT without positions": create_model("vit_cifar", **small, **like_mixer, position=None),
          "Mixer": create_model("mixer_cifar", **small)}
with torch.no_grad():
    for name, model in models.items():
        model.eval()
        one, other = model(image[None]), model(shuffled(image[None], order))  # (1, 10) each
        print(f"{name:22} scores change by {(one - other).norm() / one.norm():.0e} of their size")

# %% [markdown]
# The Mixer, untrained, notices; the ViT without a code does not (what is left is rounding). The places are
# *in the weights*: to the token MLP, "token 17" is an input with weights of its own, as pixel 17 is to the
# first layer of a plain MLP.
#
# There is a second side to that. If every place has its own weights, **no order is better than another**. Shuffle the
# patches of *all* images the same way, shuffle the weights to match, and it is the same network:

# %%
twin = part(TokenMLP).build(dim=12, grid=(4, 4))
with torch.no_grad():
    twin.fc1.weight.copy_(token_mlp.fc1.weight[:, order_N])  # (hidden, N): inputs elsewhere
    twin.fc1.bias.copy_(token_mlp.fc1.bias)
    twin.fc2.weight.copy_(token_mlp.fc2.weight[order_N])  # (N, hidden): and outputs
    twin.fc2.bias.copy_(token_mlp.fc2.bias[order_N])
    error = twin(x[:, order_N]) - token_mlp(x)[:, order_N]
f"difference: {error.abs().max():.0e}"

# %% [markdown]
# So to a Mixer an image and the same image cut up and shuffled *by one fixed order* are equally easy. That
# neighbours are alike, it has to find out. Its authors trained it both ways: the curves match, while those of a
# ResNet fall apart (section 3.4 of the paper). That is what slides mean by "MLP-based models consider these as
# equivalent". Two sentences that sound alike and are not: *attention* cannot see a new shuffle of each image
# (blind to order); the *Mixer* does not mind one old shuffle of all images (no favourite order).

# %% [markdown]
# ## 5 · What follows: a fixed number of tokens
#
# Train at 32 × 32, then show it 48 × 48:

# %%
mixer = create_model("mixer_cifar", **small).eval()
larger = F.interpolate(image[None], (48, 48), mode="bilinear")  # (1, 3, 48, 48)
try:
    mixer(larger)
except ValueError as error:
    print(error)

# %% [markdown]
# The message offers a network *for* 48 × 48. But that one has fresh weights. Which of the trained ones would
# fit into it?

# %%
def misfits(name, **options):
    """First block's weights whose shape depends on the size of the image: at 32 and at 48 pixels."""
    shapes = []
    for size in (32, 48):
        named = create_model(name, img_size=size, **options).named_parameters()
        shapes.append({n: tuple(p.shape) for n, p in named if "blocks.1" not in n})
    return {n: (shape, shapes[1][n]) for n, shape in shapes[0].items() if shape != shapes[1][n]}

for name, options in {"mixer_cifar": small, "vit_cifar": small | {"num_heads": 4}}.items():
    print(name, *(f"\n    {n}: {a} → {b}" for n, (a, b) in misfits(name, **options).items()))

# %% [markdown]
# Three tensors in *every* block of the Mixer (64 tokens become 144); in the ViT only the table of positions,
# once. Slides put it so: convolutions take any resolution, transformers need their position codes resized,
# MLPs need custom re-initialisation and finetuning. The remedies, from cheap to dear:
#
# 1. **Shrink the image** to the size that was trained: nothing to learn, detail lost.
# 2. **Cut out** a piece of that size, or several and average: detail kept, the wide view lost.
# 3. **Resize the weights**: a kernel as large as the map is a picture, and pictures can be enlarged. Then train
#    on for a while. (Homework 4.)
# 4. **Choose a mixer whose weights do not know N**: section 6 has four of them.
#
# Section 9 tries the first two on a trained network.

# %% [markdown]
# ## 6 · The relatives: who hears whom?
#
# Within a year of the Mixer there were a dozen others. They differ in one thing: **the token mixer**. Here is
# what each lets one token hear, found by the gradient as in section 2, with random weights, on a map of 9 × 9. Three
# acquaintances come first and last to compare with: attention, the shift, the 3 × 3 convolution.

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.axial_shift import AxialShift
from course.models.token_mixers.cycle_fc import CycleMixing
from course.models.token_mixers.permutator import Permutator
from course.models.token_mixers.spatial_gating import SpatialGating
from course.models.token_mixers.spatial_shift import SpatialShiftMLP, SplitSpatialShift

mixers = {
    "attention": part(SelfAttention, num_heads=4), "Mixer": part(TokenMLP), "ResMLP": part(TokenLinear),
    "gMLP": part(SpatialGating), "GFNet": part(GlobalFilter), "Permutator": part(Permutator),
    "AS-MLP": part(AxialShift, shift_size=5), "CycleMLP": part(CycleMixing),
    "S²-MLP": part(SpatialShiftMLP), "S²-MLPv2": part(SplitSpatialShift),
    "ShiftViT": part(Shift), "3×3 conv": part(DepthwiseConv, kernel_size=3),
}
takes_tokens = {"attention", "Mixer", "ResMLP", "gMLP", "S²-MLP"}

# %%
def make(name, side=9, width=36):
    """The mixer and the function (B, h, w, D) -> (B, h, w, D) that it is."""
    torch.manual_seed(1)
    module = lively(mixers[name].build(dim=width, grid=(side, side)))
    return module, on_map(module) if name in takes_tokens else module

def reach(mix, maps, query=(4, 4)):
    """How much each token moves the one at `query`: maps (B, h, w, D) -> (B, h, w)."""
    maps = maps.clone().requires_grad_()
    behind = mix(maps)[:, query[0], query[1]]  # (B, D)
    signs = torch.randint(0, 2, behind.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 - 1
    (slope,) = torch.autograd.grad((behind * signs).sum(), maps)  # (B, h, w, D)
    return slope.abs().sum(dim=-1)

maps = torch.randn(4, 9, 9, 36, generator=torch.Generator().manual_seed(0))  # (B, h, w, D)
all_mlp.reach_maps({name: reach(make(name)[1], maps)[0] for name in mixers}, query=(4, 4))

# %% [markdown]
# Upper row: *everything is heard*, at once; attention, Mixer, ResMLP, gMLP and GFNet. Then the ones that
# restrict: the **Permutator** hears its own row and column, **AS-MLP** a cross of 5, **CycleMLP** a cross of 3,
# **S²-MLP** its four neighbours (and not itself: that comes along the path around the block).
#
# One thing the pictures show and the papers' drawings do not: in Permutator, AS-MLP and CycleMLP the rest of the
# map is *pale, not white*. AS-MLP normalises over the whole map; the others weigh their branches against each
# other by a mean over all places (*split attention*). In S²-MLPv2 it is a *sum* over all places, and with these random weights
# the whole map is heard nearly as well as the four neighbours. A block that is called local need not be blind to the rest.
#
# Now one at a time. Most of the designs fit into a sentence.
#
# **ResMLP** (Touvron and others): half a token MLP, one linear layer without a GELU, and an *affine* map, a
# learned stretch and shift of each channel, in place of the layer norm. Nothing in it measures the image. What
# keeps it stable is a small factor on each branch at the start (LayerScale):

# %%
print(compare("mixer_s16", "resmlp_s12"))

# %% [markdown]
# **gMLP** (Liu and others): no separate token MLP. Inside the channel MLP, half of the hidden channels are
# *multiplied* by a linear map, along the tokens, of the other half: a gate. A product of two things that both
# come from the image, as in attention. It starts with a gate of 1, so that a fresh block mixes nothing. How
# much does the token at the middle hear of the others, at the start?

# %%
fresh = part(SpatialGating).build(dim=36, grid=(9, 9))
at_start = reach(on_map(fresh), maps)[0]  # (h, w)
others = at_start.clone()
others[4, 4] = 0
f"the loudest other token is heard {others.max() / at_start[4, 4]:.0e} as much as the token itself"

# %% [markdown]
# Mixing is learned from nothing; the pictures above are of a gate with random weights.
#
# **S²-MLP** (Yu and others) has *no* weights between tokens: a quarter of the channels of every token moves to
# the right, a quarter to the left, down, up; the linear layer behind, which sees one token, finds its
# neighbours' channels in it. **S²-MLPv2** makes three copies, shifts one in this order, one in another, one not at all,
# and weighs them by split attention. **AS-MLP** moves groups of channels by −2 … 2 along each axis, and
# **CycleMLP** takes each channel from another neighbour in turn. The **Vision Permutator** mixes along the height, the
# width and the channels, beside each other. (Slides say it runs three MLPs; in the paper and the authors' code
# each is a single linear layer.)
#
# ### Few places, many layers
#
# A token that hears four neighbours needs many layers to hear a corner. Turn the knobs: what has reached the
# token after 1, 2 and 4 layers of each kind?

# %%
places = {"middle": (4, 4), "edge": (0, 4), "corner": (0, 0)}

def after_layers(mixer, token):
    mix, query = make(mixer)[1], places[token]

    def stack(x, layers):
        return stack(x + mix(x), layers - 1) if layers else x  # with the path around each

    panels = {f"{mixer}, layers: {n}": reach(lambda x: stack(x, n), maps[:1], query)[0] for n in (1, 2, 4)}
    return all_mlp.reach_maps(panels, query)

others = [name for name in mixers if name != "S²-MLP"]
turn(after_layers, mixer=["S²-MLP", *others], token=list(places))

# %% [markdown]
# A diamond that grows by one step a layer: S²-MLP is local, like a convolution, and hears far only through its
# depth. The Permutator needs two layers for the whole map: along the row, then along the column.
#
# **Question 10.2** In `mixers` give AS-MLP `shift_size=9` and run section 6 again. How many tokens are *strongly* heard now?
# And how many with 3?
#
# <details><summary>Answer</summary>
#
# A cross of S along each axis, the middle counted once: 2 S − 1. So 17 for S = 9, as many as the Permutator,
# and 5 for S = 3, as many as CycleMLP. The number of weights is the same for all S: it only says how far
# channels are moved.
# </details>

# %% [markdown]
# ### GFNet: a filter as large as the map
#
# GFNet (Rao and others) takes the Fourier transform of the map, multiplies each frequency of each channel by
# a learned number, and transforms back. By the convolution theorem this *is* a convolution, around the edges,
# with a kernel as large as the map. Do not believe it. The kernel is the filter's answer to a single 1; the
# convolution is a sum of moved copies of the input, each times one number of the kernel:

# %%
filtering = lively(GlobalFilter(dim=3, grid=(6, 7)))
spike = torch.zeros(1, 6, 7, 3)  # (1, h, w, D)
spike[0, 0, 0] = 1
x_map = torch.randn(2, 6, 7, 3)  # (B, h, w, D)
with torch.no_grad():
    kernel = filtering(spike)[0]  # (h, w, D)
    one_by_one = torch.zeros_like(x_map)
    for row in range(6):
        for column in range(7):
            one_by_one += kernel[row, column] * x_map.roll((row, column), dims=(1, 2))
    error = (filtering(x_map) - one_by_one).abs().max()
f"Fourier and 42 moved copies differ by {error:.0e}"

# %% [markdown]
# Equal, to rounding. What the detour buys is work: 42 products for each token by hand, N in general; N² in all,
# and N log N by the fast Fourier transform.
#
# **Question 10.3** The Mixer needs no position code; GFNet's authors gave theirs one. Predict: a GFNet
# *without* it, and an image moved around the edge by one patch (`image.roll(4, dims=2)`, patches of 4). What
# happens to the scores?
#
# <details><summary>Answer</summary>
#
# Nothing. A convolution around the edge treats all places alike: moving the input moves the output, and the
# mean at the end does not care. We tried: `create_model("gfnet_s", img_size=32, patch_size=4, embed_dim=64, depth=2,
# position=None)` changes its scores by about 1e-6 of their size for the moved image; with learned positions or for patches in a
# *shuffled* order they do change. GFNet is between: it knows who is how far from whom, but not where "here" is.
# </details>

# %% [markdown]
# ## 7 · The spectrum, measured
#
# Each property is *run*, not quoted. *Heard well*: with at least 2 % of the loudest. *Changes*: what share of
# the pattern of section 6 is elsewhere for another image (0: none). *Fits*: have the weights
# the same shape for a larger map? *Order*: does shuffling the tokens do more than shuffle the result? *Same
# everywhere*: if the content moves by one place, away from the edges, does the result just move?

# %%
shuffle = torch.randperm(81, generator=torch.Generator().manual_seed(2))
reorder = lambda maps: maps.flatten(1, 2)[:, shuffle].view_as(maps)
middle = torch.zeros_like(maps)
middle[:, 3:6, 3:6] = maps[:, 3:6, 3:6]  # content that one step does not bring near an edge

def measured(name):
    module, mix = make(name)
    heard_by = reach(mix, maps)  # (B, h, w)
    share = heard_by / heard_by.sum((1, 2), keepdim=True)
    with torch.no_grad():
        size, order = mix(maps).norm(), mix(reorder(maps)) - reorder(mix(maps))
        moved = mix(middle.roll(1, dims=2))[:, 2:-2, 3:-2] - mix(middle)[:, 2:-2, 2:-3]
    shapes = [[p.shape for p in make(name, side)[0].parameters()] for side in (9, 12)]
    return {
        "heard well\n(of 81)": int((heard_by[0] > 0.02 * heard_by[0].max()).sum()),
        "changes with\nthe image": 0.5 * float((share[0] - share[1]).abs().sum()),
        "fits a\nlarger map": shapes[0] == shapes[1],
        "knows the\norder": bool(order.norm() > 1e-3 * size),
        "same\neverywhere": bool(moved.norm() < 1e-2 * size),
    }

# %%
def weights_at(name, side=14, width=392):
    with torch.device("meta"):
        return sum(p.numel() for p in mixers[name].build(dim=width, grid=(side, side)).parameters())

all_mlp.properties({
    name: measured(name) | {"weights, 14×14,\nD = 392": f"{weights_at(name):,}"} for name in mixers
})

# %% [markdown]
# Read it by columns.
#
# * **Changes with the image**: exactly 0 for ResMLP, GFNet, shift and convolution, which are linear. Attention changes, by
#   design: *whom* a token hears is computed. What lies between has GELUs, norms or a gate: *whom* a token hears is fixed, *how
#   loudly* is not. AS-MLP's figure is as large as attention's, but it is spent on the same nine tokens. (The attention here has
#   random weights and hears all nearly alike; training makes it choose.)
# * **Fits** and **same everywhere** go together, with two exceptions worth a thought. GFNet is the same
#   everywhere but has a number for each frequency of *its* map. The Permutator's weights have the right *shape*
#   (D × D), but what they mean depends on the place; its paper trains one network for one size.
# * **Knows the order**: all but attention. That is why attention alone needs position codes.
# * **Weights**: 38,612 in ResMLP for all channels together (196² and a bias): little, against 616,224 in attention. The Mixer is
#   the heavier, the more tokens.
#
# Where on the spectrum something stands is a question of *what is given and what must be learned*. The lower rows
# are given "neighbours matter, everywhere alike"; the Mixer is given nothing but the table.

# %% [markdown]
# ## 8 · Sizes: count before you believe a table
#
# What our networks have, counted when this cell runs, then what the papers print, and whether the two agree
# (multiply–adds for one image of 224 × 224; the Fourier transforms of GFNet are not counted):

# %%
names = ["mixer_b16", "resmlp_s24", "gmlp_s", "s2mlp_wide", "s2mlp_deep", "as_mlp_t", "cyclemlp_b2",
         "vip_s7", "gfnet_s", "shiftvit_t"]
cards = {name: card(name) for name in names[:budget(tiny=1, cpu=10)]}
for name, its in cards.items():
    ours = f"{its.parameters / 1e6:7.2f}M {its.macs / 1e9:6.2f}G"
    print(f"{name:12} {ours}   {'; '.join(its.paper_says) or '–'}".replace(" for this network", ""))

# %% [markdown]
# Mostly to the digit. S²-MLP-deep is five per cent off, and we do not know why. Now rows of a table that is on many
# slides (table 2 of the ShiftViT paper), against the same counts. **Which figures are wrong, and how could that have come about?**

# %%
slides = {"MLP-Mixer-B/16": ("mixer_b16", "79M"), "S²-MLP-D": ("s2mlp_deep", "71M 14.0G"),
          "S²-MLP-W": ("s2mlp_wide", "51M 10.5G"), "AS-MLP-T": ("as_mlp_t", "28M 4.4G"),
          "Shift-T": ("shiftvit_t", "28M 4.4G")}
for label, (name, printed) in list(slides.items())[:budget(tiny=1, cpu=5)]:
    its = cards[name]
    ours = f"{its.parameters / 1e6:.1f}M {its.macs / 1e9:.2f}G"
    print(f"{label:15} slide: {printed:10}  {name}, counted: {ours}")

# %% [markdown]
# * **Mixer-B/16** has 59.9M; no Mixer has 79M.
# * **S²-MLP-D and -W are swapped.** 71M and 14.0G belong to 12 blocks of width 768, the *wide* one; 51M and 10.5G to 36 blocks of
#   width 384, the *deep* one.
# * **Shift-T** has 4.6G; 4.4G is the row above it, AS-MLP-T. So it goes on in that table (S: 8.5 for 8.7, B: 15.2 for 15.5).
#   The authors' own page has 4.5G for T.
# * And one that no counting finds: the table has **gMLP-S** at 79.4 %, its paper at 79.6 (table 2).
#
# And on another slide: *ResMLP reaches 81.0 % from scratch, just behind an equivalent transformer*. That is
# ResMLP-**B24**. How large is it?

# %%
from course.models.count import count_macs, count_parameters

with torch.device("meta"):
    resmlp_b24, deit_b = create_model("resmlp_s24", embed_dim=768), create_model("deit_b")
for name, model in {"ResMLP-B24 (81.0 %)": resmlp_b24, "DeiT-B (81.8 %)": deit_b}.items():
    macs = count_macs(model, 1, 3, 224, 224)
    print(f"{name:20} {count_parameters(model) / 1e6:6.1f}M {macs / 1e9:5.1f}G")

# %% [markdown]
# A third more of everything, for 0.8 points less. "Equivalent" hides that.

# %% [markdown]
# ## 9 · Trained: what does it cost to be given nothing?
#
# `two_questions` again: *texture* (any small window knows) and *relation* (no small window knows). Three
# small networks: a CNN whose five layers see 33 × 33 pixels, a ViT with positions, a Mixer, the last two
# with 64 tokens, D = 64, two blocks.
#
# **Predict first.** With 1,000 images, and with 4,000: who answers *relation* best, who worst? And *texture*?
# All see the same number of images in all (250 steps of 48 for *relation*, 100 for *texture*), so that only their *variety* differs.

# %%
def network(kind, sizes=small, widths=(3, 16, 32, 64, 64, 64), stride=2):
    """Images (B, C, H, W) -> logits (B, 10); `sizes` of Mixer and ViT, `widths` and `stride` of the CNN."""
    torch.manual_seed(0)
    if kind == "Mixer":
        return create_model("mixer_cifar", **sizes)
    if kind == "ViT":
        return create_model("vit_cifar", **sizes, **like_mixer, position="sinusoidal")
    layers = []
    for index, (before, width) in enumerate(zip(widths, widths[1:])):
        conv = nn.Conv2d(before, width, 3, stride if index else 1, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))

# %% [markdown]
# *(Price: nine trainings, together about 85 seconds of one CPU core, 50 on two. On a GPU: not measured.)*

# %%
train = load("two_questions", "train", size=budget(tiny=80, cpu=4000))
few = budget(tiny=40, cpu=1000)
runs = {"texture, 1,000": ("texture", few, 100), "relation, 1,000": ("relation", few, 250),
        "relation, 4,000": ("relation", len(train), 250)}
trained, results = {}, {}
for kind in ("CNN", "ViT", "Mixer"):
    results[kind] = {}
    for run, (question, size, steps) in runs.items():
        model = trained[kind, run] = network(kind)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=steps), batch_size=48, lr=3e-3)
        fit(model, train.subset(size).ask(question), recipe, plot=False)
        results[kind][run] = evaluate(model, test.ask(question))
plots.bars(results, chance=0.1)

# %% [markdown]
# *Texture* is easy for all. *Relation* from 1,000 images: the ViT is far ahead, with about 87 %; the Mixer gets about
# half, the CNN one in three. With 4,000 the CNN has caught up with the ViT, and the Mixer has
# gained some twenty points. So each is given something, and it shows when images are few:
#
# * attention is given the **look-up by content** ("find the ring, wherever it is"): just what *relation* asks;
# * the CNN is given "the same everywhere"; after five layers it has the field, but must learn to use it, and
#   1,000 images are not enough;
# * the Mixer must learn for *each pair of places* what the others have for all. It can say what they say; it needs to be
#   told more often. **Data hunger** is the other side of freedom.
#
# (One seed. In a longer record of ours, with three blocks: Mixer 42, 76 and 75 % at 1,000, 5,000 and 20,000
# images, ViT 87, 94 and 93, CNN 29, 98 and 99: the Mixer did not catch up within that training.)
#
# What has it learned? The rows of its first token layer, each a picture of 8 × 8 places:

# %%
def first_layer(model):
    return model.stages[0].blocks[0].token_mixer.branch.fc1.weight  # (hidden, N) = (32, 64)

all_mlp.kernels(first_layer(trained["Mixer", "relation, 4,000"]), (8, 8), count=16)

# %% [markdown]
# Red against blue: several rows, the strongest ones above all, weigh one side or corner of the picture against the other, right
# across it. That is just
# what one needs to say *where* something lies; nothing in the design asked for it, and before training there was only
# noise. (Compare: put `network("Mixer")` into the cell.)
#
# **Question 10.4** Shuffle the patches of all images, training and test, by one fixed order (`shuffled(..., order)` of section
# 4, as uint8 with their labels), and train Mixer, ViT and CNN on *relation* with 4,000 again. Who loses, and how much?
#
# <details><summary>Answer</summary>
#
# We got 53 % for the Mixer, 23 % for the ViT and 93 % for the CNN. So the Mixer minds after all, in spite of section 4? One run
# does not tell. With three orders and two starts each we got 53 to 78 %, and without shuffling, from four starts, 66 to 76: what
# looked like a loss was luck. The ViT loses most: its position code says which places are *near*, and now says it wrongly. (A learned code would not,
# but it would have to be learned.) The CNN is the surprise: one expects it to suffer, as the ResNet in the paper does. But ours
# sees the whole picture at the end of its five layers, and zeros at the border tell it where it is; for this question that will do. An
# expectation is not a measurement.
# </details>

# %% [markdown]
# ### Another resolution, now with a trained network
#
# The test images enlarged to 48 × 48, and the first two remedies of section 5. Predict which of them saves *relation*.

# %%
big = F.interpolate(test.images.float(), (48, 48), mode="bilinear")  # (n, 3, 48, 48)
ways = {
    "shrunk to 32": F.interpolate(big, (32, 32), mode="bilinear", antialias=True),
    "middle cut out": big[:, :, 8:-8, 8:-8],
}  # (n, 3, 32, 32) each
model, labels = trained["Mixer", "relation, 4,000"], test.ask("relation").labels
rescued = {"as trained": {"relation": evaluate(model, (test.images, labels))}}
for way, images in ways.items():
    rescued[way] = {"relation": evaluate(model, (images.round().to(torch.uint8), labels))}
plots.bars(rescued, chance=0.1)

# %% [markdown]
# Shrinking costs a little detail and saves nearly everything; cutting keeps the detail and loses a glyph
# as often as not. For a question about small detail it would be the other way round.

# %% [markdown]
# ## 10 · One pixel to the right
#
# If nothing is shared between places, then what was learned at one place is not known at the next. The digits are a
# hard test: all neatly centred, and in patches of 2 × 2. A Mixer, a ViT and a CNN learn them
# as they are. Then the unseen digits move to the right, by 1, 2 and 3 pixels.
#
# **Predict** the accuracy of each at one pixel. *(Price: three trainings, together about 10 seconds of one CPU core.)*

# %%
digits, unseen = load("digits", "train"), load("digits", "test")
tiny = dict(num_classes=10, img_size=8, patch_size=2, in_chans=1, embed_dim=32, depth=2)
pixels = range(4)
right = {}
for kind in ("CNN", "ViT", "Mixer"):
    model = network(kind, tiny, widths=(1, 32, 32, 32), stride=1)
    fit(model, digits, recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200), lr=5e-3), plot=False)
    right[kind] = [evaluate(model, (F.pad(unseen.images, (by, -by)), unseen.labels)) for by in pixels]
names = dict(xlabel="pixels moved to the right", ylabel="accuracy")
picture = plots.curves(pixels, right, **names, levels={"chance": 0.1})
picture.axes[0].set_xticks(pixels)
picture

# %% [markdown]
# The CNN hardly notices the first pixel. The Mixer falls from about 97 % to less than half, and at two pixels it is *below*
# guessing: it is sure and wrong. The ViT falls as far at one pixel, and
# recovers a little at two, a whole patch: its patches are familiar again, if elsewhere. So this is not "attention against MLP": both carry
# the places of their tokens with them, one in its code, one in its weights. What helps is *sharing between places*, or to
# be shown moved digits in training; homework 4, exercise 11, measures what that is worth.
#
# **Question 10.5** Move the digits by a whole patch, 2 pixels, but *around the edge*: `unseen.images.roll(2, dims=3)`
# in place of `F.pad`. Every patch is one that has been seen, only elsewhere. Is that better for the Mixer?
#
# <details><summary>Answer</summary>
#
# No: about 5 %. Each patch is one that it knows, but at another place, and there it goes through other weights. The ViT keeps about 57 %
# (by `F.pad`: 51), the CNN 89.
# </details>

# %% [markdown]
# ## 11 · At the size of ImageNet
#
# All trained on ImageNet-1k only, at 224 × 224, without a teacher; accuracies from the papers (references below), work as
# we counted it or as the paper has it:

# %%
free, local, attention = "all places, own weights", "shifts, crosses, filters", "attention"
points = [
    ("Mixer-B/16", free, 12.6, 76.4), ("ResMLP-S12", free, 3.0, 76.6), ("ResMLP-S24", free, 6.0, 79.4),
    ("ResMLP-B24", free, 23.0, 81.0), ("gMLP-S", free, 4.4, 79.6), ("gMLP-B", free, 15.7, 81.6),
    ("S²-MLP-wide", local, 14.0, 80.0), ("S²-MLP-deep", local, 10.5, 80.7),
    ("AS-MLP-T", local, 4.35, 81.3), ("AS-MLP-S", local, 8.5, 83.1), ("CycleMLP-B2", local, 3.88, 81.6),
    ("ViP-S/7", local, 6.9, 81.5), ("GFNet-S", local, 4.45, 80.0), ("DeiT-B", attention, 17.6, 81.8),
    ("Swin-T", attention, 4.5, 81.3), ("Swin-S", attention, 8.7, 83.0),
]
left = ("CycleMLP-B2", "AS-MLP-T", "AS-MLP-S", "gMLP-S", "gMLP-B")  # written left of their points
names = dict(xlabel="multiply–adds, 10⁹ (224 × 224)", ylabel="ImageNet-1k, top-1, %")
all_mlp.accuracy_and_work(points, left=left, **names)

# %% [markdown]
# * **The freest are behind**: on 1.3 million images, the Mixer is given too little and overfits: 76.4 % for B/16, three points
#   behind a ViT-B/16 trained alike, with nearly the same *training* loss; for L/16 the gap is wider (section 3.2).
# * **With more images the gap closes**: pretrained on 300 million, Mixer-H/14 reaches 87.94 %, half a point behind ViT-H/14
#   at 2.5 times its speed (section 3.1). Mixers gain more from more data than ViTs (figure 2, right): our nine trainings, in large.
# * **A better recipe is worth as much as a design**: ResMLP, a Mixer with less in it, trained as DeiT is, beats it with a quarter of the work.
#   Mixer-B/16 itself goes from 66.4 to 77.4 % by sharpness-aware training alone (Chen and others; lecture 7).
# * **Whoever gives locality back gets accuracy back**: AS-MLP and CycleMLP stand beside Swin, at Swin's work, in Swin's
#   pyramid. At that point "all-MLP" is a way to write a convolution with few weights.
# * Accuracies were measured with different recipes. A point of difference between two papers is no proof of anything.
#
# *Is attention needed?* To mix tokens: no. What attention has that the others do not is a table that is *computed from the
# image*, and its worth shows at 1,000 images. What they all have in common (patches, residual blocks, two steps, norms) may matter
# more than the mixer: that is the next lecture.

# %% [markdown]
# ## Summary
#
# 1. **The Mixer mixes one table along its two sides**: a token MLP shared by all channels, a channel MLP shared by all
#    tokens; in terms of convolutions, a depthwise one as large as the map with one set of kernels for all channels, and a 1 × 1.
# 2. **Every token mixer is an N × N table**: the spectrum is how free its numbers are (shift 0, convolution 9, global
#    filter N, linear layer N²) and whether they depend on the image (attention, gMLP's gate).
# 3. **Places are in the weights**: no position code, and no favourite order; but one number of tokens, and other
#    resolutions need a remedy.
# 4. **Given nothing, it needs more images**: about half right where attention has 85 % at 1,000 images; and one pixel to the right is a new
#    world.
# 5. **The relatives give locality back**: rows and columns, crosses, four neighbours, circular convolutions;
#    with it accuracy and free resolution. Count before you believe their tables.
#
# ## To revise from
#
# | section | what the cell shows |
# |---|---|
# | 1 | `compare`: ViT and Mixer differ in the token mixer, the class token and the position code |
# | 2 | the table turned and mixed; by gradient: a column, a row, everything; what is shared, by reordering |
# | 3 | four mixers as 25 × 25 matrices: 0, 9, 25, 625 numbers |
# | 4 | shuffled patches: ViT without a code blind, Mixer not; a shuffle absorbed into the weights |
# | 5 | the error at 48 × 48, and which weights do not fit |
# | 6 | twelve patterns of reach; growth with depth (knob); gMLP's start; GFNet is a circular convolution |
# | 7 | the spectrum as a measured table |
# | 8 | counts beside the papers' and the slides' (swapped labels, 79M) |
# | 9 | data hunger: CNN, ViT, Mixer at 1,000 and 4,000 images; learned kernels; 48 × 48 rescued |
# | 10 | digits moved by 1, 2, 3 pixels |
# | 11 | ImageNet: accuracy and work |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ In section 2, make the token MLP one number wide (`token_ratio=1/12`). What can token 5 still be told about the others? | 10 |
# | 2 | ●○○ Train the Mixer of section 9 with 2,000 and 4,000 images on *texture* and *relation*, 500 steps. Draw accuracy over images with `plots.curves`. | 15 |
# | 3 | ●●○ Draw `all_mlp.kernels` for the second block too, and for the network trained on 1,000 images. Which look like something? | 15 |
# | 4 | ●●○ Put `part(GlobalFilter)` into the measured table for a map of 8 × 8 and of 9 × 9: how many weights has it, and why not H·W·D? | 15 |
# | 5 | ●●● Remedy 3 for GFNet: its weights are frequencies. How would you make a filter for a larger map from them? Try on a smooth kernel. | 40 |
#
# Then build it, with checks that tell you what went wrong: [hw4 ·
# MLP-Mixer](../assignments/hw4_mlp_mixer/hw4_mlp_mixer.ipynb).
#
# ## References
#
# * I. Tolstikhin and others. *MLP-Mixer: An all-MLP Architecture for Vision.* NeurIPS 2021.
#   [arXiv:2105.01601](https://arxiv.org/abs/2105.01601). Section 2 and table 1: the design and sizes; sections 3.1 and 3.2: 87.94, 76.44 %; 3.4:
#   shuffled inputs; 3.5: learned kernels.
# * H. Touvron and others. *ResMLP: Feedforward networks for image classification with data-efficient training.* 2021.
#   [arXiv:2105.03404](https://arxiv.org/abs/2105.03404). Section 2: affine; table 1: 76.6, 79.4, 81.0 %.
# * H. Liu, Z. Dai, D. R. So, Q. V. Le. *Pay Attention to MLPs.* NeurIPS 2021.
#   [arXiv:2105.08050](https://arxiv.org/abs/2105.08050). gMLP; table 2: 79.6, 81.6 %.
# * T. Yu and others. *S²-MLP: Spatial-Shift MLP Architecture for Vision.* WACV 2022.
#   [arXiv:2106.07477](https://arxiv.org/abs/2106.07477). *S²-MLPv2.* [arXiv:2108.01072](https://arxiv.org/abs/2108.01072).
# * D. Lian and others. *AS-MLP: An Axial Shifted MLP Architecture for Vision.* ICLR 2022.
#   [arXiv:2107.08391](https://arxiv.org/abs/2107.08391). 81.3, 83.1 %, and on the authors' page.
# * S. Chen and others. *CycleMLP: A MLP-like Architecture for Dense Prediction.* ICLR 2022.
#   [arXiv:2107.10224](https://arxiv.org/abs/2107.10224). B2: 81.6 %, and on the authors' page.
# * Q. Hou and others. *Vision Permutator: A Permutable MLP-Like Architecture for Visual Recognition.* TPAMI 2022.
#   [arXiv:2106.12368](https://arxiv.org/abs/2106.12368). Small/7: 81.5 %.
# * Y. Rao and others. *Global Filter Networks for Image Classification.* NeurIPS 2021.
#   [arXiv:2107.00645](https://arxiv.org/abs/2107.00645). Section 3.2: the filter as a circular convolution; S: 80.0 %, and on the authors' page.
# * G. Wang and others. *When Shift Operation Meets Vision Transformer.* AAAI 2022.
#   [arXiv:2201.10801](https://arxiv.org/abs/2201.10801). Table 2: the table of section 8, also the source of S²-MLP's 80.0 and 80.7 % here.
# * H. Touvron and others. *Training data-efficient image transformers* (DeiT). ICML 2021.
#   [arXiv:2012.12877](https://arxiv.org/abs/2012.12877). Z. Liu and others. *Swin Transformer.* ICCV 2021.
#   [arXiv:2103.14030](https://arxiv.org/abs/2103.14030).
# * X. Chen, C.-J. Hsieh, B. Gong. *When Vision Transformers Outperform ResNets without Pre-training or Strong Data
#   Augmentations.* ICLR 2022. [arXiv:2106.01548](https://arxiv.org/abs/2106.01548). Mixer-B/16: 66.4 → 77.4 %.
