# %% [markdown]
# # 11 · MetaFormer: is attention what matters?
#
# | | |
# |---|---|
# | **You will understand** | the block that all transformers share; pooling, shift, depthwise convolution and attention as five token mixers in one network; how to compare them fairly; why multiply–adds are not time |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb); [5 · The vision transformer](05_vision_transformer.ipynb); [10 · All-MLP](10_all_mlp.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [10 · All-MLP](10_all_mlp.ipynb) · **11 · MetaFormer** · [12 · ConvNets strike back](12_convnets_strike_back.ipynb) |
# | **Homework** | [hw5 · PoolFormer](../assignments/hw5_poolformer/hw5_poolformer.ipynb): you build the block and its token mixers, and compare them over several seeds |

# %% tags=["setup"]
import statistics
import time
from dataclasses import replace
import torch
from einops import einsum, rearrange
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import metaformer as figures
from course.knobs import turn
from course.models import architecture, card, compare
from course.models.registry import entry
from course.models.spec import part
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · One block, and a place for any token mixer
#
# In 2020 the vision transformer was good, and most people thought they knew why: *attention*. In 2021 the
# MLP-Mixer (lecture 10) replaced attention by an MLP along the tokens. It was still good. Other groups used a
# Fourier transform, a shift or a gate instead, and their networks were good too. So is attention really what
# matters?
#
# Yu and others (2022) looked at the other side: what do all these networks have **in common**? They gave it a
# name:

# %%
MIXERS = ["identity", "pooling", "shift", "depthwise conv", "attention"]
figures.block(MIXERS)

# %% [markdown]
# This is the **MetaFormer** block (equations 1 to 3 of the paper). Its first half is a norm, then a **token
# mixer**, which passes information between tokens. Its second half is a norm, then a **channel mixer**: an MLP
# on each token alone. Each half has a **residual connection** (skip connection): what came in is added to what
# comes out. With x of shape (B, H, W, D):
#
# $$y = x + \mathrm{mixer}(\mathrm{norm}(x)), \qquad z = y + \mathrm{MLP}(\mathrm{norm}(y)).$$
#
# The norm stands *before* each half: this is called **pre-norm**. Attention is one choice of mixer. The claim of
# the paper is in its title: the block is what you need; which mixer stands in it matters less.
#
# Such a claim can be tested on a laptop, and this lecture does it. First we look at the mixers one by one. Then
# comes the experiment, then what ImageNet says, and last what each part costs in *time*.
#
# What has changed since the last lecture? `compare` subtracts one network's spec from another's:

# %%
compare("mixer_s16", "poolformer_s12")

# %% [markdown]
# At least three things changed at once: the mixer, the norm, and the *layout*. The Mixer has one grid of 14 × 14
# tokens from the first block to the last. PoolFormer is a **pyramid**: 56 × 56 tokens with 64 channels, then
# 28 × 28, 14 × 14 and 7 × 7, each with more channels. (Feature maps lie in memory as (B, H, W, D) in this course; a
# token is the D numbers at one place.) Here is the whole network:

# %%
architecture("poolformer_s12")

# %% [markdown]
# Since three things changed, nobody can learn from these two networks what the mixer alone does. Remember
# that when we come to tables.
#
# ## 2 · The simplest mixer: the average of the neighbours
#
# What is the least that a mixer can do? Each token takes the average of its K × K neighbourhood. There are no weights
# and no softmax, and the result does not depend on what the tokens say. **PoolFormer** uses exactly this, with K = 3
# (equation 4 of the paper):
#
# $$\mathrm{mixer}(x)_{i,j} = \frac{1}{|\mathcal{N}_{i,j}|} \sum_{(p,q)\, \in\, \mathcal{N}_{i,j}} x_{p,q} \;-\; x_{i,j},$$
#
# where $\mathcal{N}_{i,j}$ holds the places of the K × K window around (i, j) that lie on the map: 9 inside, 4 in a corner.

# %%
from course.models.token_mixers.pooling import Pooling

x = torch.zeros(4, 6)  # (H, W), one channel
x[0, 0], x[2, 3] = 36.0, 18.0
mixer = Pooling(pool_size=3)  # on maps (B, H, W, D)
mixed = mixer(x[None, :, :, None])[0, :, :, 0]  # (H, W)
figures.windows_averaged(x, mixed + x, places=[(0, 0), (1, 4)])

# %% [markdown]
# Red frames: four places, 36 / 4 = 9. Green frames: nine places, 18 / 9 = 2. The picture shows `mixed + x`, because the
# mixer does not return the average. It returns the average **minus the token itself**:

# %%
after = mixed + x  # (H, W)
plots.matrices({"mixer(x) = average − x": mixed, "x + mixer(x) = average": after}).described(
    f"what the mixer returns is {mixed[0, 0]:.0f} where x was 36, {mixed[2, 3]:.0f} where x "
    f"was 18, and the average elsewhere; with x added it is the average, {after[0, 0]:.0f} and "
    f"{after[2, 3]:.0f} at these places")

# %% [markdown]
# ### Why minus?
#
# The residual connection adds x anyway: the result of the half is x + mixer(x). If the mixer returned the plain
# average, every block would count the content twice. On a map where all numbers are 1, nothing should change.
# Watch twelve blocks that have a mixer and a residual connection and nothing else:

# %%
flat = {"x + average": [1.0], "x + (average − x)": [1.0]}
for _ in range(12):
    for name, minus in (("x + average", 0), ("x + (average − x)", 1)):
        even = torch.full((1, 8, 8, 1), flat[name][-1])  # (B, H, W, D), the same everywhere
        average = mixer(even) + even  # (B, H, W, D)
        flat[name].append((even + average - minus * even)[0, 4, 4, 0].item())
last = [values[-1] for values in flat.values()]
plots.curves(range(13), flat, log="y", xlabel="blocks", ylabel="value of the map").described(
    f"after 12 blocks a flat map of ones is {last[0]:,.0f} with the plain average, and still "
    f"{last[1]:.0f} with the average minus x")

# %% [markdown]
# With the minus, the mixer returns only *how far the neighbours differ from the token*: 0 on a flat map. So each
# block adds a small correction, as a residual branch should. (A norm before the mixer hides the doubling, and a
# trained network can work around it. The paper gives the residual connection as its reason and does not test it
# in its table 5. Exercise 3 does.)
#
# ### LayerScale: how much of it?
#
# PoolFormer multiplies the output of each half by one learned number per channel, s. It starts at a tiny
# value, 10⁻⁵. This is **LayerScale** (Touvron and others 2021):
#
# $$y = x + s \odot \mathrm{mixer}(\mathrm{norm}(x)).$$
#
# With s = 1, one block replaces each token by the average: a blur. With s = 0.1 it does a tenth of this, and depth
# decides how far it gets. (The norm is left out here.)

# %%
image = load("two_questions", "test", device="cpu").images[3] / 255  # (C, H, W)
scales, rounds = (1.0, 0.1, 1e-5), (1, 4, 16)
pictures, captions = [], []
for s in scales:
    stream = rearrange(image, "c h w -> 1 h w c")  # (B, H, W, D)
    for step in range(1, rounds[-1] + 1):
        stream = stream + s * mixer(stream)  # (B, H, W, D)
        if step in rounds:
            pictures.append(rearrange(stream, "1 h w c -> c h w"))
            captions.append(f"s = {s:g}, {step} block{'s' * (step > 1)}")
contrast = [f"{each}: {picture.std():.2f}" for each, picture in zip(captions, pictures)]
plots.image_grid(torch.stack(pictures), count=9, columns=3, captions=captions).described(
    f"an image after blocks that average; standard deviation of its pixels, "
    f"{image.std():.2f} before. {'; '.join(contrast)}")

# %% [markdown]
# Two lessons. At s = 10⁻⁵ the whole network begins as the identity: every block starts by changing nothing, and
# training increases s where that helps. And blurs add up: the red plus reaches one place further with each block. A
# local mixer reaches far through depth.
#
# **Question 11.1** Put `scales = (1.0, 1.4, 2.0)`. A blur with s = 1 averages; is s = 2 a stronger blur?
# Predict before you run, then look at 16 blocks.
#
# <details><summary>Answer</summary>
#
# No: the values explode. Stripes one pixel wide, + − + −, have a 3 × 3 average of −1/3 of themselves (of nine
# pixels, three have the same sign and six the opposite). So x + s (average − x) multiplies them by 1 − 4s/3. At s = 1 that is
# −1/3, at s = 1.5 it is −1. Beyond that they grow: at s = 2 by 1.67<!-- = 4 * 2 / 3 - 1 --> a block. At
# s = 1.4 they still die out, but slowly. Faint noise contains such stripes, and after 16 blocks there is nothing
# else.
# </details>

# %% [markdown]
# ## 3 · Five mixers as N × N tables
#
# Lecture 10, section 3, wrote every linear mixer as a table A of N × N weights, a row for each token: row i says
# how much token i takes from each token j.
#
# $$\mathrm{mixer}(x)_i = \sum_j A_{ij}\, x_j$$
#
# Here are the five mixers of this lecture on a map of 4 × 5 = 20 places. For attention the table is the
# softmax of lecture 3, $A = \mathrm{softmax}(q k^\top / \sqrt{d})$, applied to the values. Only this table depends on the image. So
# attention needs tokens (here: random ones), and we read its table from its queries and keys. (It is made a little sharper, since
# these weights are not trained.)

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.depthwise import DepthwiseConv
from course.models.token_mixers.shift import Shift

def table(mixer, grid=(4, 5), dim=8, channel=0):
    """(N, N) of one channel, of a linear mixer: row i is what place i takes from each j."""
    N = grid[0] * grid[1]
    basis = torch.zeros(N, N, dim)  # (B = N, N, D): image j has a 1 at place j
    basis[torch.arange(N), torch.arange(N), channel] = 1.0
    arrived = mixer(basis.view(N, *grid, dim)).view(N, N, dim)[:, :, channel]  # (j, i)
    return arrived.T.detach()

tables = {"identity": table(nn.Identity()), "pooling": table(Pooling(3)),
          "shift, channel 0": table(Shift(dim=8, n_div=8)),
          "depthwise conv": table(DepthwiseConv(dim=8, kernel_size=3, bias=False))}

# %%
attention = SelfAttention(dim=8, num_heads=1)
tokens = 2 * torch.randn(20, 8)  # (N, D)
q, k, _ = rearrange(attention.qkv(tokens), "n (three d) -> three n d", three=3)  # (N, d) each
tables["attention"] = (2 * einsum(q, k, "i d, j d -> i j")).softmax(dim=1).detach()  # (N, N)
used = {name: (each != 0).sum(dim=1) for name, each in tables.items()}  # (N,): how many places
plots.matrices(tables, numbers=False).described(
    "how many of 20 places a token takes from. " + "; ".join(
        f"{name}: {min(count)} to {max(count)}" for name, count in used.items()))

# %% [markdown]
# Blue is positive, red is negative. *Identity* takes the token itself. *Pooling* takes its neighbours in equal
# parts and subtracts the token (the red diagonal; every row sums to 0). *Shift* takes a single other place in this
# channel; other channels take other places. *Depthwise convolution* takes the same places as pooling, with learned
# weights that are the same for all i. *Attention* takes any amount from any place.
#
# | mixer | where its weights come from | reach | learned numbers | depends on the image? |
# |---|---|---|---|---|
# | identity | – | itself | 0 | no |
# | pooling 3 × 3 | fixed, 1/9 each | 8 neighbours | 0 | no |
# | shift | fixed, 0 and 1 | 4 neighbours, a few channels each | 0 | no |
# | depthwise 3 × 3 | learned, one kernel a channel | 8 neighbours | 9 D (+ D biases) | no |
# | attention | **computed** from queries and keys | everywhere | 4 D² (+ 4 D) | yes |
#
# The **shift** (ShiftViT, Wang and others 2022) moves a twelfth of the channels one place to the left, and a
# twelfth each to the right, up and down. The other two thirds stay. With g = D // n_div channels in a group:
#
# $$\mathrm{shift}(x)_{i,j} = \big(x_{i,j+1}^{[0,g)},\; x_{i,j-1}^{[g,2g)},\; x_{i+1,j}^{[2g,3g)},\; x_{i-1,j}^{[3g,4g)},\; x_{i,j}^{[4g,D)}\big)$$
#
# It has no weight, no multiplication, not even an addition. The MLP that follows sees, at each place, some of the
# neighbours' numbers among the token's own. Here is a small map with five channels (so a fifth of them moves each way), after
# the shift:

# %%
numbered = torch.arange(1.0, 13.0).view(1, 3, 4, 1).expand(1, 3, 4, 5)  # (B, H, W, D)
moved = Shift(dim=5, n_div=5)(numbered)  # (B, H, W, D)
directions = ["left", "right", "up", "down", "stays"]
by_channel = rearrange(moved, "1 h w d -> d h w")
plots.token_maps(dict(zip(directions, by_channel)), heat=True).described(
    "a map of 1 to 12 in each of five channels, after the shift. First row: " + "; ".join(
        f"{name} {each[0].int().tolist()}" for name, each in zip(directions, by_channel)))

# %% [markdown]
# What is moved over the edge is lost, and zeros come in on the other side. So the network can notice where the border is, as
# with pooling.
#
# ### Turn: which places does a token depend on, after a few blocks?
#
# With one block of pooling a token depends on 3 × 3 places, with two blocks on 5 × 5. Below are whole blocks
# (mixer, MLP, residual connections) with random weights. The colour says how strongly the middle token depends on each
# place of the input (the size of the gradient; the darker the more). The square root is drawn, so that small values can be
# seen too. In the notebook, turn the number of blocks.

# %%
from course.models.conv_stems import ConvStem
from course.models.norms import LayerNorm

class ResidualShift(Shift):
    """The shift with norm and residual connection around it, like every other mixer."""

    residual = True  # ShiftViT's own class says False: see question 11.2

PARTS = {
    "identity": part(nn.Identity), "pooling": part(Pooling, pool_size=3),
    "shift": part(ResidualShift, n_div=8),
    "depthwise conv": part(DepthwiseConv, kernel_size=3),
    "attention": part(SelfAttention, num_heads=4),
}
pixels = part(ConvStem, patch_size=1, stride=1, padding=0)  # each pixel a token
plain = replace(entry("poolformer_cifar").spec, stem=pixels, dims=(16,), img_size=11,
                layer_scale=None, norm=part(LayerNorm))

# %%
def depends_on(name, blocks):
    torch.manual_seed(0)
    model = replace(plain, token_mixer=PARTS[name], depths=(blocks,)).build()
    images = torch.randn(8, 3, 11, 11, requires_grad=True)  # (B, C, H, W)
    centre = model.features(images)[-1][:, 5, 5]  # (B, D)
    (gradient,) = torch.autograd.grad((centre * torch.randn_like(centre)).sum(), images)
    return gradient.abs().sum(dim=(0, 1))  # (H, W)

def all_mixers(blocks):
    return figures.reach({name: depends_on(name, blocks) for name in PARTS})

turn(all_mixers, blocks=[1, 2, 3, 5])

# %% [markdown]
# After one block of attention a token depends on all 121<!-- = 11 ** 2 --> places. Pooling and convolution give a
# square, the shift a cross. After five blocks the squares have reached the edge of the map, and the cross has
# grown to a diamond that covers half of it: 61<!-- = 2 * 5 * 6 + 1 --> places. So attention reaches everything *at once*; the
# others need depth. A pyramid helps them, since it halves the map at each stage.

# %% [markdown]
# ### One more exchangeable part: the norm
#
# In the knob above, each token had a norm of its own (LayerNorm). PoolFormer does not use it. It uses group
# norm with a single group (**GroupNorm1** here; the paper says *modified layer normalization*): *one* mean and *one* variance
# for the whole map, all places and channels together.
#
# $$\mathrm{norm}(x)_{i,j,c} = \gamma_c\, \frac{x_{i,j,c} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_c, \qquad
# \mu, \sigma^2 \text{ over } c \text{ (LayerNorm), or over } i, j, c \text{ (GroupNorm1)}$$
#
# What is the difference? Take an image, put its right half into the shade, and let the three colours be the channels:

# %%
from course.models.norms import GroupNorm1

shaded = rearrange(image, "c h w -> 1 h w c").clone()  # (B, H, W, D)
shaded[:, :, 16:] *= 0.3
normed = {"half in the shade": shaded, "LayerNorm\neach place alone": LayerNorm(3)(shaded),
          "GroupNorm1\nthe whole map": GroupNorm1(3)(shaded)}
stacked = rearrange(list(normed.values()), "three 1 h w c -> three c h w").detach()
spread = {name: each.detach().std(dim=(0, 1, 3)) for name, each in normed.items()}  # (W,)
plots.image_grid(stacked, columns=3, captions=list(normed)).described(
    "standard deviation in the left half and in the shaded right half. " + "; ".join(
        f"{name}: {each[:16].mean():.2f} and {each[16:].mean():.2f}"
        for name, each in spread.items()))

# %% [markdown]
# LayerNorm gives every place the same size: shade and light look alike, and grey noise becomes colourful.
# GroupNorm1 only rescales the whole map: what was brighter stays brighter. The paper measured what that is
# worth on ImageNet (table 5): GroupNorm1 77.2 %, LayerNorm 76.5, batch norm 76.4, no norm at all 46.1.
#
# GroupNorm1 also lets information leak. Its mean and variance are taken over *all* places, so every token depends
# a little on every other. That is why the knob used LayerNorm: with GroupNorm1 even "identity" would have been
# pale blue everywhere.

# %% [markdown]
# ## 4 · The experiment: five mixers, one body, one budget
#
# The task is that of lecture 3: images of 32 × 32 with two questions. *Texture*: which way do the stripes of
# the background run? *Relation*: in which direction from the red plus is the blue ring? The first can be answered
# from any small patch, the second from no patch alone.

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000))
test = load("two_questions", "test", size=budget(tiny=50, cpu=500))
plots.image_grid(test, count=5)

# %% [markdown]
# The body is a small pyramid: one block on 8 × 8 tokens of 32 channels, then one block on 4 × 4 tokens of 64. One thing is
# **not** as in PoolFormer. There, patches overlap (7 × 7 pixels every 4, then 3 × 3 places every 2), so the stem and
# the merging layers mix neighbours themselves, whatever the mixer does. We want to see the mixer alone. So
# here patches lie side by side. Then, apart from the small leak of the norm, *nothing but the mixer passes information
# between the tokens of a stage*.

# %%
from course.models.count import count_parameters
from course.models.downsampling import ConvDownsampling

body = replace(
    entry("poolformer_cifar").spec,
    stem=part(ConvStem, patch_size=4, stride=4, padding=0),  # (B, 3, 32, 32) -> (B, 8, 8, 32)
    downsample=part(ConvDownsampling, overlap=False),  # (B, 8, 8, 32) -> (B, 4, 4, 64)
    dims=(32, 64), depths=(1, 1), layer_scale=None, num_classes=10,
)

def parameters(filling):
    return count_parameters(replace(body, token_mixer=filling).build())

for name, filling in PARTS.items():
    print(f"{name:15} {parameters(filling):6,} parameters")

# %% [markdown]
# Any two of these networks differ in one entry of their spec, `token_mixer`: each mixer stands behind a norm and beside a
# residual connection. Now **predict**, for each of the five and for both questions: at chance (10 %<!-- = 100 / 10 -->), clearly
# above, or solved? Write it down; there are two surprises in it.
#
# * Which of the five *need* a mixer for texture?
# * Which can learn the relation, and in which order?
#
# *(Price: ten small trainings, together about 35 seconds on two CPU cores; on a GPU not measured. This is seed 0; the marks
# of seeds 1 and 2 come from a stored run of the same cell. A seed sets the first weights and the order of the images.)*

# %%
STEPS = {"texture": 80, "relation": 200}

def trained(filling, question, seed, body=body):
    """Accuracy 0..1; the seed sets the first weights and the order of the images."""
    torch.manual_seed(seed)
    model = replace(body, token_mixer=filling).build()
    steps = budget(tiny=2, cpu=STEPS[question])
    recipe = recipes.cpu_minute.but(steps=steps, lr=5e-3, seed=seed)
    fit(model, train.ask(question), recipe, plot=False, progress=False)
    return evaluate(model, test.ask(question))

def mixers(seed):
    return {name: {question: trained(filling, question, seed) for question in STEPS}
            for name, filling in PARTS.items()}

results = over_seeds("11_metaformer/mixers", mixers)
plots.bars(results, chance=0.1)

# %% [markdown]
# **Texture needs no mixer.** All five answer it with every seed, the identity too (more than 99 %<!-- > mixers / identity / texture -->): what one patch of 4 × 4 pixels, and four of
# them merged, can tell is enough. From this question alone one would conclude that the mixer does not matter.
#
# **Relation needs one.** The identity stays near chance (10 to 14 %<!-- mixers / identity / relation -->). The average of
# the neighbours, which has not learned a single number, gets more than 70 %<!-- > mixers / pooling / relation --> and less than
# 74 %<!-- < mixers / pooling / relation -->; the shift 79 to 80 %<!-- mixers / shift / relation -->; the depthwise convolution
# 91 to 95 %<!-- mixers / depthwise conv / relation -->. So far the paper's claim looks good: *some* mixer is needed, and many will do.
#
# **And attention is at chance** (11 to 12 %<!-- mixers / attention / relation -->). It has by far the most
# parameters, it reaches every token at once, and it is no better than no mixer. Before you write a headline about it: why? Lecture 3,
# section 8, has the answer.
#
# <details><summary>Answer</summary>
#
# Attention is permutation equivariant, the head takes the mean, and this body has no position codes. Beyond the
# 8 × 8 pixels of a merged patch the network sees a *bag of tokens*, without their order. Shift and convolution are wired to neighbours
# and know which is left and which is right. Pooling alone does not know left from right. But what it spreads
# becomes weaker with distance, and the layer that merges 2 × 2 places has different weights for each of the four, so
# it can compare: more red in the left half than in the right. (All of them notice the border, too.) A ViT has
# position codes; a PoolFormer does without.
# </details>
#
# So the comparison was fair in its budget and unfair in the *body*: the body lacks something that only one mixer
# needs. We give attention the sinusoidal position codes of lecture 3, added to what it reads:

# %%
from course.models.stems import sinusoidal_2d

class PlacedAttention(SelfAttention):
    """Attention that is told where each token lies: (B, H, W, D) -> the same."""

    def __init__(self, dim, grid, num_heads=4):  # the layout hands in dim and grid
        super().__init__(dim, num_heads)
        self.register_buffer("code", sinusoidal_2d(grid, dim).view(*grid, dim))  # (H, W, D)

    def forward(self, x):
        return super().forward(x + self.code)

def with_places(seed):
    placed = part(PlacedAttention)
    return {"attention + places": {question: trained(placed, question, seed)
                                   for question in STEPS}}

results |= over_seeds("11_metaformer/places", with_places)
plots.bars(results, chance=0.1)

# %% [markdown]
# With places, attention gets 72 to 93 %<!-- places / attention + places / relation --> of the relation right. *(Price: about 5 seconds.)* What this experiment
# shows, and what it does not:
#
# * **The body carries much**, as the paper claims: four very different mixers, one of them without a single
#   weight, get most of a global question right in the same body, with every seed.
# * **But the mixer is not a detail here.** Without one: chance. With one that knows places: more than 70 %<!-- > mixers / pooling / relation -->. Which question you ask decides
#   whether mixers look alike (texture) or not (relation).
# * **The order is only partly decided.** With each of the three seeds the shift is above pooling, by
#   6 to 9 points<!-- mixers / shift / relation - mixers / pooling / relation -->, and the depthwise convolution above the shift, by
#   11 to 16 points<!-- mixers / depthwise conv / relation - mixers / shift / relation -->. A fourth seed (3) gave the same order: 72, 77 and
#   93 of 100. Attention with places varies so much between seeds that we cannot say where it belongs (the fourth seed: 78 of 100).
# * **The budget is equal in steps and images only.** Attention has 40 %<!-- = 100 * (73290 - 52426) / 52426 --> more
#   parameters. All have one learning rate, which may suit some better than others, and one length of training.
# * **"Attention fails" was true of the body, not of attention.** A mixer is always compared *in* something. Homework 5 repeats
#   the comparison with PoolFormer's own overlapping patches and fewer steps: another body, another order.
#
# **Question 11.2** Who noticed the parameters? ShiftViT's own shift (the class `Shift`, which says `residual = False`) stands **outside** of
# this body: its half is shift(x) alone, without a norm and without a residual connection. It has 52,234 parameters in place of
# 52,426<!-- printed -->. Where are the missing 192<!-- = 52426 - 52234 -->? And what does it change on *relation*: nothing, one
# point, ten points? Predict, then run. The cell also has a third wiring, with the minus of section 2. (It shows stored runs:
# three seeds each.)

# %% tags=["slide-code"]
class ShiftMinusItself(ResidualShift):
    def forward(self, x):  # (B, H, W, D) -> (B, H, W, D)
        return super().forward(x) - x

WIRINGS = {"x + shift(norm(x))": part(ResidualShift, n_div=8),
           "x + shift(norm(x)) − norm(x)": part(ShiftMinusItself, n_div=8),
           "shift(x), as in ShiftViT": part(Shift, n_div=8)}

def wirings(seed):
    return {name: {"relation": trained(filling, "relation", seed)}
            for name, filling in WIRINGS.items()}

for name, filling in WIRINGS.items():
    print(f"{name:30} {parameters(filling):6,} parameters")
plots.bars(over_seeds("11_metaformer/wirings", wirings, live=False), chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The 192 are the weights and biases of two norms: 2 · 32 in the first stage and 2 · 64 in the second. Without
# norm and residual connection the shift gets 89 to 90 %<!-- wirings / shift(x), as in ShiftViT / relation -->, and with the
# minus 91 to 93 %<!-- wirings / x + shift(norm(x)) − norm(x) / relation -->, in place of
# 79 to 80 %<!-- wirings / x + shift(norm(x)) / relation --> inside the body. So how a mixer is *wired* is worth about as much
# here as *which* mixer it is. A table that sets ShiftViT's own half beside the others, and calls it "the same body", compares two things at once.
# The parameters, counted, show it.
#
# Why the two others are better is not decided by this. One guess: in x + shift(norm(x)) the channels that stay are only
# doubled, and in those that move a token's own number is mixed with its neighbour's; the other two wirings keep them apart or
# take the difference.
# </details>
#
# **Question 11.3** Now give the *identity* PoolFormer's own overlapping patches: in the stem only, in the merging
# layer only, in both. Predict: still at chance? (Stored runs, three seeds each.)

# %%
def leaky(stem, merging):
    """The body with PoolFormer's own overlapping patches at the stem, the merging, or both."""
    own = part(ConvStem, patch_size=7, stride=4, padding=2)
    merge = part(ConvDownsampling, overlap=merging)
    return replace(body, stem=own if stem else body.stem, downsample=merge)

OVERLAPS = {"stem overlaps": (True, False), "merging overlaps": (False, True),
            "both overlap": (True, True)}

def overlaps(seed):
    return {where: {"relation": trained(PARTS["identity"], "relation", seed, leaky(*which))}
            for where, which in OVERLAPS.items()}

plots.bars(over_seeds("11_metaformer/overlaps", overlaps, live=False), chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With both it leaves chance: 30 to 32 %<!-- overlaps / both overlap / relation -->. With the stem alone it
# gets 14 to 16 %<!-- overlaps / stem overlaps / relation -->, with the merging alone
# 19 %<!-- overlaps / merging overlaps / relation -->. The stem and the merging layer are 7 × 7 and
# 3 × 3 convolutions with a stride. They mix neighbours, with learned weights. "Identity" in the paper's body is not a
# network without mixing: it is a small convolutional network. Keep that in mind for the identity's 74.3 % in the paper's table 5, in the next section.
# </details>
#
# **Question 11.4** Pooling over 5 × 5 or 7 × 7 places reaches further. Is it better, on maps of 8 × 8 and 4 × 4?

# %%
def windows(seed):
    fillings = {f"pooling {k} × {k}": part(Pooling, pool_size=k) for k in (3, 5, 7)}
    return {name: {"relation": trained(filling, "relation", seed)}
            for name, filling in fillings.items()}

plots.bars(over_seeds("11_metaformer/windows", windows, live=False), chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# 5 × 5: 74 to 78 %<!-- windows / pooling 5 × 5 / relation -->, where 3 × 3 has
# 70 to 73 %<!-- windows / pooling 3 × 3 / relation -->. 7 × 7: 58 to 62 %<!-- windows / pooling 7 × 7 / relation -->.
# The last map has 4 × 4 places. There a window of 7 is nearly the whole map for every place, so all of them get nearly
# the same average, and what is where is lost. To reach further is not always better, if all that arrives is an average.
# </details>

# %% [markdown]
# ## 5 · What ImageNet says
#
# The paper's own table 5 is the same experiment, large: PoolFormer-S12, 300 epochs on ImageNet-1k, one thing changed at
# a time. *Top-1* is the share of images whose most probable class is right. (Figures quoted from table 5, not measured here.)

# %%
figures.one_thing_changed(
    {"no residual connection": 0.1, "no MLP": 5.7, "no norm": 46.1},
    {"identity": 74.3, "random N × N, frozen": 75.8, "pooling 3 × 3": 77.2,
     "depthwise conv": 78.1, "attention in stage 4": 78.3, "attention in stages 3, 4": 81.0},
    xlabel="PoolFormer-S12, ImageNet-1k top-1, % (table 5)")

# %% [markdown]
# Read the upper bars first. Take the **block** apart and little is left: without the residual connection 0.1 %,
# without the MLP 5.7 (table 5). Exchange the **mixer**, and from the *identity* to *pooling* there are 2.9<!-- = 77.2 - 74.3 -->
# points; a random table that nobody has trained gives half of that. This is the paper's case, and it is a strong one.
#
# Now the last bar. Attention in the last two stages adds 3.8<!-- = 81.0 - 77.2 --> points to pooling, more than pooling adds
# to the identity. It costs something: 16.5M parameters in place of 11.9M, and 2.5G multiply–adds in place of 1.8G. Both
# readings are right. *The block gives most of the accuracy; the mixer gives the rest.* (And "identity" stands in a body
# that mixes neighbours in its stem and its merging layers: question 11.3.)
#
# That last row became the follow-up, **MetaFormer baselines** (Yu and others 2022b). In which stages are the tokens
# few and far apart, so that attention is cheap and convolution reaches little? In the late ones, on 14 × 14 and 7 × 7. So:
# convolutions early, attention late. ConvFormer and CAFormer differ in one line:

# %%
compare("convformer_s18", "caformer_s18")

# %% [markdown]
# The paper reports 83.0 % for the first and 83.6 % for the second. In the same paper the *identity* in a larger body
# (IdentityFormer-M48, 73M) passes 80 %, where the first ViT paper's B/16 had 77.9 % from ImageNet alone, at 384 ×
# 384 pixels (Dosovitskiy and others 2021, table 5). Accuracy against multiply–adds, as printed in the two papers:

# %%
imagenet = {
    "CAFormer": {"CA S18": (4.1, 83.6)}, "ConvFormer": {"Conv S18": (3.9, 83.0)},
    "PoolFormer": {"S12": (1.8, 77.2), "S24": (3.4, 80.3), "S36": (5.0, 81.4),
                   "M36": (8.8, 82.1), "M48": (11.6, 82.5)},
    "IdentityFormer": {"S12": (1.8, 74.6), "S24": (3.4, 78.2), "S36": (5.0, 79.3),
                       "M36": (8.8, 80.0), "M48": (11.5, 80.4)},
    "ViT on one grid: DeiT": {"DeiT S": (4.6, 79.8), "DeiT B": (17.5, 81.8)},
}
figures.families(
    imagenet, above=["DeiT S"], xlabel="multiply–adds, G", ylabel="ImageNet-1k top-1, %")

# %% [markdown]
# PoolFormer lies above DeiT *although* DeiT has attention: the pyramid, the stem, the norm and the training recipe
# differ too. IdentityFormer lies 2 to 3 points under PoolFormer. But it comes from the second paper, whose
# body is another one (activation, learned scales on the residual connection). In *that* body pooling has 78.0, 80.7, 81.6, 82.2,
# 82.6 % for S12 to M48: 3.4<!-- = 78.0 - 74.6 --> points above the identity for the smallest, 2.2<!-- = 82.6 - 80.4 --> for the
# largest. That is what this mixer adds. From PoolFormer to ConvFormer the gain is as large again, and there, too, more has
# changed than the mixer. Only specs that differ in one entry can be compared.
#
# **Question 11.5** An early version of the authors' README lists RandFormer, the frozen random tables, as 74.6,
# 78.2, 79.3, 80.0, 80.4 % for S12 to M48. What do you say?
#
# <details><summary>Answer</summary>
#
# Look at the IdentityFormer row of our cell: the same five numbers. A row was copied and not changed; it also
# contradicts the abstract of the paper, "over 81 %". The authors' later README has 76.6, 78.2, 79.5, 81.2, 81.4. Tables are typed
# by people.
# </details>

# %% [markdown]
# ## 6 · Counting again
#
# So we count ourselves: parameters and multiply–adds of our own networks (each is checked number by number
# against a public one), beside what is printed.

# %%
card("caformer_s18")

# %%
SAID = {"poolformer_s12": "12M 1.8G", "poolformer_s24": "21M 3.4G",
        "poolformer_s36": "31M 5.0G", "poolformer_m36": "56M 8.8G",
        "poolformer_m48": "73M 11.6G", "convformer_s18": "27M 3.9G",
        "efficientformer_l1": "12.3M 1.3G", "shiftvit_t": "28M 4.4G"}
print(f"{'':20} {'printed':12}    counted")
for name, said in list(SAID.items())[:budget(tiny=1, cpu=8)]:
    counted = card(name)
    print(f"{name:20} {said:12}  {counted.parameters / 1e6:5.2f}M {counted.macs / 1e9:5.2f}G")

# %% [markdown]
# All agree to about one per cent but the last.
#
# > **What slides get wrong here.**
# >
# > * **ShiftViT-T is not 28M and 4.4G.** We count 28.57<!-- printed -->M and 4.58<!-- printed -->G, and the authors' repository says
# >   29M and 4.5G. The table on the slides (table 2 of the paper) repeats the row above it, AS-MLP-T, and does so again for S and B; lecture 10,
# >   section 8, counts them. Four per cent are little, but "same budget, better result" is an argument, and here the
# >   budget was not the same.
# > * **ShiftViT's table 6** changes the training recipe step by step, from 76.4 to 81.7 %. In the slide's copy the last
# >   two rows have the same ticks, and yet 78.4 and 81.7 %: the last tick (90 to 300 epochs) has slipped into a row too early.
# > * **ShiftViT's own half has no norm and no residual connection** (question 11.2). A slide that draws it as "MetaFormer
# >   with a shift" leaves that out.

# %% [markdown]
# ## 7 · Multiply–adds are not time
#
# A shift has no multiplications at all. Is it free? The authors of *EfficientFormer* (Li and others 2022) measured on
# a phone instead of counting. They report four observations about what takes time on its neural chip (an iPhone 12).
# Phones differ from laptops. So we repeat all four *here*, in a way that works on a busy machine too: A and
# B in turns, the ratio of each pair, the median of the ratios.

# %%
@torch.inference_mode()
def ratio(a, b, x, y=None, pairs=budget(tiny=1, cpu=12)):
    """How many times longer a(x) takes than b(y): the median over pairs, measured in turns."""
    y = x if y is None else y

    def seconds(layer, tensor):
        start = time.perf_counter()
        layer(tensor)
        return time.perf_counter() - start

    a(x), b(y)  # once to warm up
    a_first = [seconds(a, x) / seconds(b, y) for _ in range(pairs)]
    b_first = [1 / (seconds(b, y) / seconds(a, x)) for _ in range(pairs)]
    return statistics.median(a_first + b_first)

# %% [markdown]
# First the mixers themselves, on a map of stage 3, (B, 14, 14, 320), against the other half of the block, the
# MLP. Blue diamonds are what the multiply–adds say: 0.35 %<!-- = 100 * 9 / (8 * 320) --> for a 3 × 3 depthwise kernel. For
# pooling and shift there is none to draw. *(All ratios from here on are those of the CPU that built this page. Yours will
# differ; that is the point. No cell takes more than a few seconds.)*

# %%
from course.models.channel_mixers.mlp import MLP

D, N = 320, 14 * 14
maps = torch.randn(4, 14, 14, D)  # (B, H, W, D)
mlp = MLP(dim=D, mlp_ratio=4)  # 8 D² multiply-adds a place
halves = {"pooling": Pooling(3), "shift": Shift(D), "depthwise 3 × 3": DepthwiseConv(D, 3),
          "depthwise 7 × 7": DepthwiseConv(D, 7), "attention": SelfAttention(D, 10)}
macs = {"depthwise 3 × 3": 9 * D, "depthwise 7 × 7": 49 * D,
        "attention": 4 * D**2 + 2 * N * D}  # for each place
measured = {name: ratio(mixer, mlp, maps) for name, mixer in halves.items()}
counted = {name: count / (8 * D**2) for name, count in macs.items()}
figures.ratios(measured, against="the MLP of the block", counted=counted)

# %% [markdown]
# The mixers without a multiplication take time all the same: they read and write the whole map, and memory is
# what is slow. The 3 × 3 depthwise kernel takes longer than its multiply–adds say, for the same reason: each
# number that is fetched is used a few times only; in the MLP it is used 1,280<!-- = 4 * 320 --> times. Attention, on
# 196<!-- = 14 ** 2 --> tokens, costs about what it should.

# %% [markdown]
# ### Observation 1: large patches
#
# *On the phone, a patch embedding with a large kernel and stride is a bottleneck; a stem of 3 × 3 convolutions
# is faster.* PoolFormer's stem is 7 × 7 with stride 4; EfficientFormer's is two 3 × 3 with stride 2.
# Predict: which is faster here? The second has more multiply–adds (the diamond).

# %%
from course.models.families.efficientformer import TwoConvStem

images = torch.randn(4, 3, 224, 224)  # (B, C, H, W)
small, large = TwoConvStem(64).eval(), ConvStem(64)  # both to (B, 56, 56, 64)
macs_small, macs_large = 112**2 * 27 * 32 + 56**2 * 9 * 32 * 64, 56**2 * 147 * 64
figures.ratios({"two 3 × 3": ratio(small, large, images)}, against="one 7 × 7, stride 4",
               counted={"two 3 × 3": macs_small / macs_large})

# %% [markdown]
# On this CPU the phone's advice is wrong: the small kernels have 2.3<!-- = (112 ** 2 * 27 * 32 + 56 ** 2 * 9 * 32 * 64) / (56 ** 2 * 147 * 64) -->
# times the multiply–adds and take longer. Here both are done by routines made for any kernel; the paper's reason is that
# the phone's compiler speeds up 3 × 3 and not large kernels. *A bottleneck belongs to a machine.*
#
# ### Observation 2: keep the layout; attention is not always the bottleneck
#
# Linear layers want channels last in memory, (B, H, W, D); many convolutions want them first, (B, D, H, W).
# A network that goes back and forth copies the whole map each time. Two linear layers, without and with such
# copies between them:

# %%
def stays(x):  # (B, H, W, D) throughout
    return linear(linear(x))

def goes_back_and_forth(x):  # (B, H, W, D) -> (B, H, W, D)
    first = rearrange(linear(x), "b h w d -> b d h w").contiguous()  # a copy
    return linear(rearrange(first, "b d h w -> b h w d").contiguous())  # and back

reshaped = {}
for side, width in ((56, 64), (28, 128), (14, 320), (7, 512)):  # the stages of PoolFormer-S12
    linear = nn.Linear(width, width)
    maps_here = torch.randn(4, side, side, width)  # (B, H, W, D)
    reshaped[f"{side} × {side} × {width}"] = ratio(goes_back_and_forth, stays, maps_here)
figures.ratios(reshaped, against="the same layers without copies")

# %% [markdown]
# There is not one multiply–add more. On the large early maps it shows most, where a place has few channels to work
# on. EfficientFormer therefore keeps feature maps as they are in its early stages and turns them into tokens *once*.
#
# The other half of the observation: attention *is not necessarily* slow. N decides. Against the MLP beside it,
# at D = 256, from the last stage's 49 tokens to the first one's 3,136<!-- = 56 ** 2 -->:

# %%
against_mlp, counts = {}, {}
wide, looks = MLP(dim=256, mlp_ratio=4), SelfAttention(256, 8)
for side in (7, 14, 28, 56):
    name, one = f"attention, N = {side**2}", torch.randn(1, side, side, 256)  # (B, H, W, D)
    against_mlp[name] = ratio(looks, wide, one, pairs=budget(tiny=1, cpu=4))
    counts[name] = (4 * 256**2 + 2 * side**2 * 256) / (8 * 256**2)
figures.ratios(against_mlp, against="the MLP", counted=counts)

# %% [markdown]
# On 49 or 196 tokens it takes about as long as the MLP; on 3,136 it takes several times as long. That is
# why CAFormer and EfficientFormer attend in the *last* stages, and Swin looks through windows.
#
# ### Observation 3: a batch norm can vanish, a layer norm cannot
#
# After training, batch norm is a fixed scale and shift of each channel: $\gamma (y - \mu)/\sigma + \beta$ with
# stored $\mu, \sigma$. Behind a linear layer $y = W x + b$ the two together are *one* linear layer:
#
# $$W' = \frac{\gamma}{\sigma}\, W, \qquad b' = \frac{\gamma}{\sigma}\,(b - \mu) + \beta.$$
#
# This is exact, not an approximation:

# %%
layer, norm = nn.Linear(6, 4), nn.BatchNorm1d(4).eval()
norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), nn.init.normal_(norm.weight)
with torch.no_grad():
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (4,)
    folded = nn.Linear(6, 4)
    folded.weight.copy_(scale[:, None] * layer.weight)  # (4, 6)
    folded.bias.copy_(scale * (layer.bias - norm.running_mean) + norm.bias)  # (4,)
    tokens = torch.randn(5, 6)  # (N, D)
    print(f"largest difference: {(folded(tokens) - norm(layer(tokens))).abs().max():.0e}")

# %% [markdown]
# LayerNorm and GroupNorm1 take their mean and variance from *this* image, so they have to be computed each time.
# What does that cost? Each norm alone, against the linear layer that stands behind it, at PoolFormer's first
# and third stage. (Folded, the batch norm takes no time at all.)

# %%
from course.models.norms import BatchNorm

def norms_against_linear(side, width):
    line, x = nn.Linear(width, width), torch.randn(4, side, side, width)  # x: (B, H, W, D)
    norms = {"LayerNorm": LayerNorm(width), "GroupNorm1": GroupNorm1(width),
             "BatchNorm, not folded": BatchNorm(width).eval()}
    pairs, size = budget(tiny=1, cpu=30), f"{side} × {side} × {width}"
    return {f"{name}, {size}": ratio(norm, line, x, pairs=pairs)
            for name, norm in norms.items()}

early, late = norms_against_linear(56, 64), norms_against_linear(14, 320)
figures.ratios(early | late, against="the linear layer")

# %% [markdown]
# Where channels are few, a norm costs a good part of the layer behind it. Where they are many, it is small beside
# the matrix product: D numbers a place against D². The paper (and the slides) put the share of layer norms at 10 to
# 20 % of a whole network's time, on the phone.
#
# ### Observation 4: what a nonlinearity costs depends on the compiler
#
# GELU, its tanh approximation (*meant* to be cheaper), hard-swish, SiLU, and StarReLU, $a\,\mathrm{ReLU}(x)^2 +
# b$, which the MetaFormer baselines introduce because it has few operations: against ReLU, on a hidden map.

# %%
from course.models.channel_mixers.star_relu import StarReLU

hidden = torch.randn(4, 14, 14, 4 * D)  # (B, H, W, 4 D)
activations = {"GELU": nn.GELU(), "GELU, tanh": nn.GELU(approximate="tanh"), "SiLU": nn.SiLU(),
               "hard-swish": nn.Hardswish(), "StarReLU": StarReLU()}
against_relu = {name: ratio(act, nn.ReLU(), hidden) for name, act in activations.items()}
figures.ratios(against_relu, against="ReLU")

# %% [markdown]
# By operations StarReLU is the cheapest after ReLU. Run step by step it is not cheap, since each of its steps
# (ReLU, square, scale, shift) reads and writes the whole map. A compiler that fuses them changes the order
# again. The tanh approximation, meant to be fast, is the slowest on the CPU of this page. So the fourth observation is the one to
# remember: *it depends*. The others are cases of it.
#
# **Question 11.6** In the mixer cell at the top of this section, change `maps` to one image at PoolFormer's
# first stage: `torch.randn(1, 56, 56, 320)`, and N to 56 × 56. Which bar moves, and how far?
#
# <details><summary>Answer</summary>
#
# Attention's: its pairs grow with N², so its bar goes from a little below the MLP to about
# 3<!-- = (4 * 320 ** 2 + 2 * 56 ** 2 * 320) / (8 * 320 ** 2) --> times it, as the
# diamond says. The local mixers and the MLP both grow in proportion to N, and their ratios stay about
# where they were.
# </details>

# %% [markdown]
# ## 8 · Photographs
#
# Pooling and attention in the body of section 4, now on CIFAR-10: on a CPU as small as there, with 5,000 photographs, on a GPU
# four times as wide, with all 50,000. Compare with their bars in section 4: is one as far ahead of the other? *(Price: some 15 seconds of one CPU core for both, as measured once, and once a download of 170 MB; on a GPU not measured. One
# seed: read it accordingly.)*

# %%
from course.data import photographs

wider = replace(body, dims=budget(tiny=(8, 16), cpu=(32, 64), gpu=(128, 256)))
some = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200), augment=("random_crop", "random_flip"))
photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
for mixer in ("pooling", "attention") if photos else ():
    torch.manual_seed(0)
    on_photos = replace(wider, token_mixer=PARTS[mixer]).build()
    fit(on_photos, photos[0], budget(tiny=some, cpu=some, gpu=recipes.gpu), plot=False)
    print(f"{mixer}: {evaluate(on_photos, photos[1]):.0%} of {len(photos[1]):,} photographs that it has never seen")

# %% [markdown]
# ## 9 · Six networks, and a longer training
#
# That was a minute. Here are six kinds of networks that the course has trained by one recipe: four passes through all 50,000 images
# (stored as JPEG, which changes pixels slightly), on a CPU. `course bench photographs` makes them anew. They differ in size and in work, and the
# recipe was tuned for none of them. **Predict** an order, then look:

# %%
from course.training.pretrained import runs_of, stored_model

KINDS = {"ViT": "vit", "ViT, conv stem: CCT": "cct", "Swin": "swin", "MLP-Mixer": "mixer",
         "PoolFormer": "poolformer", "CNN: ConvMixer": "convmixer"}
runs = {kind: list(runs_of(f"photographs_{name}").values()) for kind, name in KINDS.items()}
for kind, seeds in runs.items():
    weights = count_parameters(stored_model(f"photographs_{KINDS[kind]}"))
    print(f"{kind:20} {weights:8,} weights, {seeds[0]['processor_seconds'] / 60:3.0f} minutes of a core: "
          + ", ".join(f"{run['accuracy']:.1%}" for run in seeds))
passes = [step / 781 for step in runs["ViT"][0]["val_steps"]]  # 781 batches of 64 images
plots.curves(passes, {kind: [run["val_accuracy"] for run in seeds] for kind, seeds in runs.items()},
             xlabel="passes through the training images", ylabel="share of new photographs right")

# %% [markdown]
# Do not read a ranking out of this. The plain ViT was trained with three seeds and ends at 60.0 to 60.6 %<!-- photographs_vit / accuracy -->;
# the others have one seed, the ConvMixer two. They differ tenfold in weights, and the recipe fits each of them by chance. One thing is worth
# a thought all the same: the smallest two, of pure convolutions or with a stem of them, are not the worst. On photographs "near things belong
# together" is a good guess. A convolution begins with it, and a ViT has to learn it from the images (lecture 5, section 9), for which four passes are few.
#
# And is it the mixers that make the difference? It may be the stem, the pyramid or the recipe as well. That is why section 4 put five
# mixers into *one* body.
#
# What do they take for what? A row is what it is, a column what the network says, of 1,000 images a row:

# %%
classes = runs["ViT"][0]["classes"]
said = {kind: torch.tensor(runs[kind][0]["answers"]) for kind in ("ViT", "PoolFormer")}  # (10, 10)
plots.matrices(said, rows=classes, columns=[name[:4] for name in classes], numbers=False).described(
    "two tables of ten classes by ten, dark on the diagonal. Off it both are darkest where cats are "
    f"taken for dogs, {said['ViT'][3, 5]} of 1,000 by the ViT and {said['PoolFormer'][3, 5]} by the PoolFormer")

# %% [markdown]
# The networks have little in common, and their mistakes much: both take cats for dogs and dogs for cats, trucks for automobiles, and
# hardly an animal for a vehicle. What is hard is in the images. The last cell shows some, where CIFAR-10 is on your machine:

# %%
if photos:  # the pictures themselves
    display(plots.misread(stored_model("photographs_poolformer"), photos[1].subset(100)))

# %% [markdown]
# ## Summary
#
# 1. **MetaFormer** is the block that transformers share: norm, token mixer, residual connection; norm, MLP, residual
#    connection. Attention is one mixer; every mixer is an N × N table, fixed, learned or computed.
# 2. **Pooling minus identity**: the residual connection adds x already, so the mixer returns only how far the
#    neighbours differ. LayerScale starts each half near 0; GroupNorm1 keeps what is brighter than what.
# 3. **In one body** with one budget and three seeds, texture needed no mixer, relation needed one (pooling
#    more than 70 %<!-- > mixers / pooling / relation -->, shift 79 to 80<!-- % mixers / shift / relation -->, depthwise
#    91 to 95<!-- % mixers / depthwise conv / relation -->), and attention failed until it was told places. A mixer is compared *in* a body, *on* a
#    question; count the parameters to see that it is the same body.
# 4. **On ImageNet** the block gives most of the accuracy (identity 74.3, pooling 77.2), and attention late in the pyramid
#    is the best addition (81.0; Yu and others 2022, table 5). Printed figures are typed by people: recount.
# 5. **Multiply–adds are not time.** Memory traffic, layouts, norms and activations cost what the machine says;
#    measure in pairs, on the machine that matters.
#
# ## To revise: which cell shows what
#
# * Section 1, the drawing: the block and its mixers. `compare`: mixer, norm and layout changed at once.
# * Section 2, the framed windows: averages at the border. The curve: without the minus a flat map doubles. The
#   nine images: LayerScale and depth.
# * Section 3, five tables: every mixer as N × N weights. The knob: which places a token depends on after some blocks. The shaded image:
#   one norm for the map or one for each place.
# * Section 4, the two bar charts: five mixers, and the sixth that was told places. Then the same shift in three
#   wirings, overlapping patches, which mix too, and larger windows.
# * Section 5, table 5 as bars; ConvFormer against CAFormer; accuracy against multiply–adds.
# * Sections 8 and 9: photographs; six networks by one recipe, and what they take for what.
# * Section 6: printed and counted. Section 7: `ratio`, the four observations, folding a batch norm.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Give the identity, in our body without overlap, `norm=part(LayerNorm)`. This closes the leak of the norm: does it change the accuracy on relation? | 10 |
# | 2 | ●○○ Train `ResidualShift` with `n_div` 4, 8 and 16 on relation, three seeds each. How many channels should move? (ShiftViT's figure 3 asks the same on ImageNet.) | 15 |
# | 3 | ●●○ Write a mixer that adds the token back to `Pooling`, so that the minus is gone, and train it in `body`, three seeds each. Does the minus matter when there is a norm? | 20 |
# | 4 | ●●○ A mixer with a frozen random N × N table, each row through a softmax (RandFormer's). Where does it come between identity and pooling? | 25 |
# | 5 | ●●○ Fold the batch norms of `efficientformer_l1`'s first MLP, compare outputs, and measure the ratio. | 25 |
# | 6 | ●●● Put depthwise convolution into stage 1 and `PlacedAttention` into stage 2 (`per_stage` of two parts), then the other way round. Three seeds each. Does CAFormer's order win here? | 30 |
#
# <details><summary>Answers</summary>
#
# All trainings as in section 4: `trained(filling, "relation", seed)` with the seeds 0, 1 and 2.
#
# 1. No. Our three runs gave 9, 11 and 12 per cent, as near to chance as with GroupNorm1. So the leak of the norm is too weak to answer the
#    question.
# 2. Our three runs gave 78, 74 and 83 per cent with `n_div` 4 (all channels move), 79, 79 and 80 with 8 (half of them), and 70, 62 and 74 with
#    16 (a quarter). A quarter is too few with every seed. Between 4 and 8 three runs do not decide.
# 3. Our three runs gave 65, 67 and 68 per cent without the minus, and 71, 73 and 71 with it: a few points less with every seed. The norm hides
#    the doubling, but not all of it.
# 4. With `torch.randn(N, N).softmax(dim=1)` our three runs gave 10, 12 and 11 per cent: chance, no better than the identity. Such a row is
#    close to an average over all places, so what is where is lost. On ImageNet the random tables gained 1.5 points (table 5 of the paper).
# 5. With random statistics in the norms, the outputs differed by 6 · 10⁻⁷ of the largest. On a busy laptop-like CPU the folded MLP took 0.84 times
#    as long (median of 30 pairs; ratios from 0.5 to 1.2 are common, so the ratio is rough).
# 6. Not decided. Our three runs gave 77, 87 and 88 per cent for convolution first, and 90, 84 and 78 for attention first: each order wins
#    with one seed or two. The spread of attention is larger than the difference.
# </details>
#
# Then build it: [hw5 · PoolFormer](../assignments/hw5_poolformer/hw5_poolformer.ipynb).
#
# ## References
#
# * W. Yu, M. Luo, P. Zhou, C. Si, Y. Zhou, X. Wang, J. Feng, S. Yan. *MetaFormer Is Actually What You Need for
#   Vision.* CVPR 2022. [arXiv:2111.11418](https://arxiv.org/abs/2111.11418). Pooling: equation 4; sizes and
#   accuracies: table 2; what happens if one thing is changed: table 5.
# * W. Yu, C. Si, P. Zhou, M. Luo, Y. Zhou, J. Feng, S. Yan, X. Wang. *MetaFormer Baselines for Vision.* 2022;
#   TPAMI 2024. [arXiv:2210.13452](https://arxiv.org/abs/2210.13452). IdentityFormer, RandFormer, ConvFormer,
#   CAFormer, StarReLU; figures as in the tables of the authors' repository.
# * G. Wang, Y. Zhao, C. Tang, C. Luo, W. Zeng. *When Shift Operation Meets Vision Transformer.* AAAI 2022.
#   [arXiv:2201.10801](https://arxiv.org/abs/2201.10801). The shift: section 3; comparison: table 2; how many
#   channels: figure 3; training by recipes: table 6.
# * Y. Li, G. Yuan, Y. Wen, J. Hu, G. Evangelidis, S. Tulyakov, Y. Wang, J. Ren. *EfficientFormer: Vision
#   Transformers at MobileNet Speed.* NeurIPS 2022. [arXiv:2206.01191](https://arxiv.org/abs/2206.01191). The
#   four observations: section 3.
# * H. Touvron, M. Cord, A. Sablayrolles, G. Synnaeve, H. Jégou. *Going Deeper with Image Transformers.* ICCV
#   2021. [arXiv:2103.17239](https://arxiv.org/abs/2103.17239). LayerScale: section 2.
# * Y. Wu, K. He. *Group Normalization.* ECCV 2018. [arXiv:1803.08494](https://arxiv.org/abs/1803.08494).
# * H. Touvron and others. *Training Data-Efficient Image Transformers.* ICML 2021.
#   [arXiv:2012.12877](https://arxiv.org/abs/2012.12877). DeiT's figures.
# * A. Dosovitskiy and others. *An Image is Worth 16x16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). B/16 trained on ImageNet alone: table 5.
