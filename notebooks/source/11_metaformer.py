# %% [markdown]
# # 11 · MetaFormer: is attention what matters?
#
# | | |
# |---|---|
# | **You will understand** | the body that all transformers share; pooling, shift, depthwise convolution and attention as five fillings of one hole; how to compare them fairly; why multiply–adds are not time |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb); [5 · The vision transformer](05_vision_transformer.ipynb); [10 · All-MLP](10_all_mlp.ipynb) |
# | **It takes** | an hour to read; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [10 · All-MLP](10_all_mlp.ipynb) · **11 · MetaFormer** · 12 · ConvNets strike back |
# | **Homework** | [hw5 · PoolFormer](../assignments/hw5_poolformer/hw5_poolformer.ipynb): you build the body and its fillings, and compare them over several seeds |

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
from course.models import card, compare
from course.models.registry import entry
from course.models.spec import part
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · One body, a hole, and what to put into it
#
# In 2020 the vision transformer was good, and everybody knew why: *attention*. In 2021 the MLP-Mixer (lecture
# 10) threw the attention out, put an MLP over the places in, and was still good. Others put in a Fourier
# transform, a shift, a gate; still good. At some point one has to ask whether the thing that is exchanged is
# the thing that matters.
#
# Yu and others (2022) turned the question round. Look at what is **not** exchanged, and give it a name:

# %%
MIXERS = ["identity", "pooling", "shift", "depthwise conv", "attention"]
figures.block(MIXERS)

# %% [markdown]
# That is the **MetaFormer** block: norm, *something that lets tokens hear of each other*, a path around; norm,
# an MLP for each token alone, a path around. Attention is one filling of the hole. The claim of the paper,
# in its title: the body is what you need; the filling is a detail.
#
# A claim like that can be tested on a laptop, and this lecture does it. First the fillings, one by one; then
# the experiment; then what ImageNet says; last, what any of it costs in *time*.
#
# What is new since the last lecture? The course's models are specs, and two specs can be subtracted:

# %%
compare("mixer_s16", "poolformer_s12")

# %% [markdown]
# At least three things changed at once: the mixer, the norm, and the *layout*, from one grid of 14 × 14 tokens to a
# **pyramid**: 56 × 56 places with 64 channels, then 28 × 28, 14 × 14, 7 × 7. (Maps lie in memory as (B, H, W,
# D) in this course: a token is what stands at one place.) So from these two networks nobody can learn what
# the mixer does. Remember that when we come to tables.
#
# ## 2 · The rudest mixer: the average of the neighbours
#
# What is the least that a mixer can do? Let each token take the average of its 3 × 3 neighbourhood. No
# weights, no content, no softmax. At the border there are fewer neighbours; only those that exist are counted.

# %%
from course.models.token_mixers.pooling import Pooling

x = torch.zeros(4, 6)  # (H, W), one channel
x[0, 0], x[2, 3] = 36.0, 18.0
mixer = Pooling(pool_size=3)  # on maps (B, H, W, D)
mixed = mixer(x[None, :, :, None])[0, :, :, 0]  # (H, W)
figures.windows_averaged(x, mixed + x, places=[(0, 0), (1, 4)])

# %% [markdown]
# Red: four places, 36 / 4 = 9. Green: nine places, 18 / 9 = 2. But why `mixed + x`? Because the mixer does not
# return the average. It returns the average **minus the place itself**:

# %%
plots.matrices({"mixer(x) = average − x": mixed, "x + mixer(x) = average": mixed + x})

# %% [markdown]
# ### Why minus?
#
# Around the mixer there is a path (section 1), and the path brings x already: out comes x + mixer(x). If the
# mixer were the plain average, every block would count everything twice. On a map where nothing happens, all
# ones, nothing *should* happen; watch twelve blocks without anything else in them:

# %%
flat = {"x + average": [1.0], "x + (average − x)": [1.0]}
for _ in range(12):
    for name, minus in (("x + average", 0), ("x + (average − x)", 1)):
        even = torch.full((1, 8, 8, 1), flat[name][-1])  # (B, H, W, D), the same everywhere
        average = mixer(even) + even
        flat[name].append((even + average - minus * even)[0, 4, 4, 0].item())
plots.curves(range(13), flat, log="y", xlabel="blocks", ylabel="the value of a flat map")

# %% [markdown]
# With the minus, the mixer says only *how far my neighbours are from me*: 0 on flat ground. It is a
# difference, a small correction to the stream, as a residual branch should be. (A norm before the mixer hides
# the doubling, and a trained network can work around much; the paper gives the path around as its reason and
# its table 5 does not try it without. Exercise 3 does.)
#
# ### LayerScale: how much of it?
#
# PoolFormer multiplies each branch by a learned number for each channel that starts at a tiny value, 10⁻⁵:
# **LayerScale** (Touvron and others 2021). So the stream is x + s (average − x). With s = 1 one block is a
# blur; with s = 0.1 it is a tenth of a blur, and depth decides how far it gets:

# %%
image = load("two_questions", "test", device="cpu").images[3] / 255  # (C, H, W)
scales, rounds = (1.0, 0.1, 1e-5), (1, 4, 16)
pictures, captions = [], []
for s in scales:
    stream = rearrange(image, "c h w -> 1 h w c")  # (B, H, W, D)
    for step in range(1, rounds[-1] + 1):
        stream = stream + s * mixer(stream)
        if step in rounds:
            pictures.append(rearrange(stream, "1 h w c -> c h w"))
            captions.append(f"s = {s:g}, {step} block{'s' * (step > 1)}")
plots.image_grid(torch.stack(pictures), count=9, columns=3, captions=captions)

# %% [markdown]
# Two lessons. At s = 10⁻⁵ a whole network is, at birth, the identity: every block starts as *nothing* and is
# switched on by training as far as it pays. And blurs add up: the red plus is heard of further and further
# away, one place a block. Depth is how a local mixer sees far.
#
# **Question 11.1** Put `scales = (1.0, 1.4, 2.0)`. A blur with s = 1 averages; is s = 2 a stronger blur?
# Predict before you run, then look at 16 blocks.
#
# <details><summary>Answer</summary>
#
# No: it explodes. Stripes of one pixel, + − + −, have a 3 × 3 average of −1/3 of themselves (three alike, six
# opposed). So x + s (average − x) multiplies them by 1 − 4s/3: at s = 1 that is −1/3, at s = 1.5 it is −1, and
# beyond it they grow, by 1.67 a block at s = 2. At 1.4 they still die out, but slowly. Faint noise holds such
# stripes, and after 16 blocks there is nothing else.
# </details>

# %% [markdown]
# ## 3 · Every mixer is a table of N × N weights
#
# Lecture 3 called the shares of attention "who looks at whom": an (N, N) table, a row for each token. *Every*
# mixer has one. To see it, put a 1 on one place, 0 on all others, and look where it arrives. Here is a map of
# 4 × 5 = 20 places:

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.depthwise import DepthwiseConv
from course.models.token_mixers.shift import Shift

def table(mixer, grid=(4, 5), dim=8, channel=0):
    """(N, N) of one channel, of a linear mixer: row i says what place i takes from each place j."""
    N = grid[0] * grid[1]
    basis = torch.zeros(N, N, dim)  # (B = N, N, D): image j has a 1 at place j
    basis[torch.arange(N), torch.arange(N), channel] = 1.0
    arrived = mixer(basis.view(N, *grid, dim)).view(N, N, dim)[:, :, channel]  # (j, i)
    return arrived.T.detach()

tables = {"identity": table(nn.Identity()), "pooling": table(Pooling(3)),
          "shift, channel 0": table(Shift(dim=8, n_div=8)),
          "depthwise conv": table(DepthwiseConv(dim=8, kernel_size=3, bias=False))}

# %% [markdown]
# Attention is the only one whose table depends on what is on the map, so it needs tokens (here: random ones),
# and we read the table off its queries and keys (sharpened a little, since it is not trained):

# %%
attention = SelfAttention(dim=8, num_heads=1)
tokens = 2 * torch.randn(20, 8)  # (N, D)
q, k, _ = rearrange(attention.qkv(tokens), "n (three d) -> three n d", three=3)
tables["attention"] = (2 * einsum(q, k, "i d, j d -> i j")).softmax(dim=1).detach()  # (N, N)
plots.matrices(tables, numbers=False)

# %% [markdown]
# Row i is what place i takes, blue positive, red negative. *Identity* takes itself. *Pooling* takes its
# neighbours in equal parts and subtracts itself (the red diagonal; every row sums to 0). *Shift*: a single
# other place for this channel, other channels take other places. *Depthwise convolution*: the same places as
# pooling, with weights that are learned, the same for all i. *Attention*: anything from anywhere.
#
# | mixer | whose weights? | reach | learned numbers | depends on the image? |
# |---|---|---|---|---|
# | identity | – | itself | 0 | no |
# | pooling 3 × 3 | fixed, 1/9 each | 8 neighbours | 0 | no |
# | shift | fixed, 0 and 1 | 4 neighbours, a few channels each | 0 | no |
# | depthwise 3 × 3 | learned, one kernel a channel | 8 neighbours | 9 D (+ D biases) | no |
# | attention | **computed** from queries and keys | everywhere | 4 D² (+ 4 D) | yes |
#
# The **shift** (ShiftViT, Wang and others 2022) is the oddest: a twelfth of the channels is moved one place to
# the left, a twelfth to the right, up and down; two thirds stay. No weight, no multiplication, not even an
# addition: after it, the MLP at each place finds some of the neighbours' numbers among its own. Here is one
# map of numbers in each of five channels (so a fifth of them moves each way), before and after:

# %%
numbered = torch.arange(1.0, 13.0).view(1, 3, 4, 1).expand(1, 3, 4, 5)  # (B, H, W, D)
moved = Shift(dim=5, n_div=5)(numbered)  # (B, H, W, D)
directions = ["left", "right", "up", "down", "stays"]
by_channel = rearrange(moved, "1 h w d -> d h w")
plots.token_maps(dict(zip(directions, by_channel)), heat=True)

# %% [markdown]
# What is pushed over the edge is lost, and zeros come in on the other side: the border is noticed, as with
# pooling.

# %% [markdown]
# ### Turn: from where does a place hear, after a few blocks?
#
# One block of pooling hears 3 × 3 places, two blocks 5 × 5. Below: whole blocks (mixer, MLP, paths around),
# random weights, and how strongly the middle place depends on each place of the input (the size of the
# gradient; the darker the more, and whispers are drawn louder than they are). In the notebook, turn the
# number of blocks.

# %%
from course.models.conv_stems import ConvStem
from course.models.norms import LayerNorm

PARTS = {
    "identity": part(nn.Identity), "pooling": part(Pooling, pool_size=3), "shift": part(Shift, n_div=8),
    "depthwise conv": part(DepthwiseConv, kernel_size=3), "attention": part(SelfAttention, num_heads=4),
}
pixels = part(ConvStem, patch_size=1, stride=1, padding=0)  # each pixel a token
plain = replace(entry("poolformer_cifar").spec, stem=pixels, dims=(16,), img_size=11,
                layer_scale=None, norm=part(LayerNorm))

def heard(name, blocks):
    torch.manual_seed(0)
    model = replace(plain, token_mixer=PARTS[name], depths=(blocks,)).build()
    images = torch.randn(8, 3, 11, 11, requires_grad=True)  # (B, C, H, W)
    centre = model.features(images)[-1][:, 5, 5]  # (B, D)
    (gradient,) = torch.autograd.grad((centre * torch.randn_like(centre)).sum(), images)
    return gradient.abs().sum(dim=(0, 1))  # (H, W)

turn(lambda blocks: figures.reach({name: heard(name, blocks) for name in PARTS}), blocks=[1, 2, 3, 5])

# %% [markdown]
# After one block attention has heard everyone; pooling and convolution a square, shift a cross. After five
# blocks the squares have reached the edge of the map, the cross has grown to a diamond that covers half of it.
# So attention's privilege is to do it *at once*; a pyramid, which makes every place twice as large from stage
# to stage, buys the same with depth.

# %% [markdown]
# ### One more exchangeable part: the norm
#
# In the knob above, each token had a norm of its own (LayerNorm). PoolFormer does not use it. It takes *one*
# mean and *one* spread for the whole map, all places and channels together: group norm with a single group,
# which the paper calls *modified layer normalization*. What is the difference? Take an image, put its right
# half into the shade, and let the three colours be the channels:

# %%
from course.models.norms import GroupNorm1

shaded = rearrange(image, "c h w -> 1 h w c").clone()  # (B, H, W, D)
shaded[:, :, 16:] *= 0.3
normed = {"half in the shade": shaded, "LayerNorm\neach place alone": LayerNorm(3)(shaded),
          "GroupNorm1\nthe whole map": GroupNorm1(3)(shaded)}
stacked = rearrange(list(normed.values()), "three 1 h w c -> three c h w").detach()
plots.image_grid(stacked, columns=3, captions=list(normed))

# %% [markdown]
# LayerNorm brings every place to the same loudness: shade and light look alike, grey noise becomes colourful.
# GroupNorm1 only rescales the whole; what was brighter than what is kept. The paper measured what that is
# worth on ImageNet (table 5): GroupNorm1 77.2 %, LayerNorm 76.5, batch norm 76.4, no norm at all 46.1.
#
# It has a side door, too: its mean and spread are taken over *all* places, so every place hears, very
# faintly, of every other. That is why the knob used LayerNorm: with GroupNorm1 even "identity" would have
# been pale blue all over.

# %% [markdown]
# ## 4 · The experiment: five fillings, one body, one budget
#
# The task of lecture 3: images of 32 × 32 that carry two questions. *Texture*: which way do the stripes of
# the ground run? *Relation*: in which direction from the red plus is the blue ring? The first can be answered
# from any small patch, the second from no patch at all.

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000))
test = load("two_questions", "test", size=budget(tiny=50, cpu=500))
plots.image_grid(test, count=5)

# %% [markdown]
# The body: a small pyramid, one block on 8 × 8 tokens of 32 channels, one block on 4 × 4 of 64. One thing is
# **not** PoolFormer's. Its patches overlap (7 × 7 pixels every 4, then 3 × 3 places every 2), so its entrances
# are convolutions that mix neighbours by themselves, whatever the mixer does. We want to see the mixer. So
# here patches lie side by side, and apart from that faint side door of the norm *nothing but the mixer lets
# the tokens of a stage hear of each other*.

# %%
from course.models.downsampling import ConvDownsampling

body = replace(
    entry("poolformer_cifar").spec,
    stem=part(ConvStem, patch_size=4, stride=4, padding=0),  # (B, 3, 32, 32) -> (B, 8, 8, 32)
    downsample=part(ConvDownsampling, overlap=False),  # (B, 8, 8, 32) -> (B, 4, 4, 64)
    dims=(32, 64), depths=(1, 1), layer_scale=None, num_classes=10,
)
for name, filling in PARTS.items():
    model = replace(body, token_mixer=filling).build()
    print(f"{name:15} {sum(weights.numel() for weights in model.parameters()):6d} parameters")

# %% [markdown]
# Any two of these networks differ in one word of their spec. Now **predict**, for each of the five and for
# both questions: at chance (10 %), clearly above, or solved? Write it down; there are two surprises in it.
#
# * Which of the five *need* a mixer for texture?
# * Who can learn the relation, and in which order?
#
# *(Price: ten small trainings, together about 35 seconds on two CPU cores; on a GPU not measured.)*

# %%
def trained(filling, question, steps, body=body, seed=0):
    torch.manual_seed(seed)
    model = replace(body, token_mixer=filling).build()
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=steps), lr=5e-3, seed=seed)
    fit(model, train.ask(question), recipe, plot=False, progress=False)
    return evaluate(model, test.ask(question))

STEPS = {"texture": 80, "relation": 200}
results = {
    name: {question: trained(filling, question, steps) for question, steps in STEPS.items()}
    for name, filling in PARTS.items()
}
plots.bars(results, chance=0.1)

# %% [markdown]
# **Texture needs no mixer.** All five answer it, the identity too: what one patch of 4 × 4 pixels, and four of
# them merged, can tell is enough. On this question one would conclude that the mixer does not matter.
#
# **Relation needs one.** Without it the body guesses. The neighbour average, which has not learned a single
# number, gets most of it; a shift, a learned kernel, more. So far the paper's claim looks good: *some* mixer,
# nearly any.
#
# **And attention is at chance.** The mixer with by far the most parameters, the one that hears everybody at
# once, is as good as nothing. Before you write the headline: why? Lecture 3, section 8, has the answer.
#
# <details><summary>Answer</summary>
#
# Attention is permutation equivariant, the head takes the mean, and this body has no position codes: beyond the
# 8 × 8 pixels of a merged patch the network sees a *bag*. Shift and convolution are wired to neighbours and know
# which is left and which is right. Pooling, taken alone, does not know left from right; but what it spreads
# *fades with distance*, and the layer that merges 2 × 2 places has weights of its own for each of the four, so
# it can compare: more red in the left half than in the right. (All of them notice the border, too.) A ViT has
# position codes; a PoolFormer does without.
# </details>
#
# So the comparison was fair in budget and unfair in the *body*: it lacks something that only one filling
# needs. We give attention the place codes of lecture 3, added to what it reads:

# %%
from course.models.stems import sinusoidal_2d

class PlacedAttention(SelfAttention):
    """Attention that is told where each token lies: (B, H, W, D) -> the same."""

    def __init__(self, dim, grid, num_heads=4):  # the layout hands in dim and grid
        super().__init__(dim, num_heads)
        self.register_buffer("code", sinusoidal_2d(grid, dim).view(*grid, dim))  # (H, W, D)

    def forward(self, x):
        return super().forward(x + self.code)

placed = part(PlacedAttention)
results["attention + places"] = {
    question: trained(placed, question, steps) for question, steps in STEPS.items()
}
plots.bars(results, chance=0.1)

# %% [markdown]
# With places, attention is back among the others. *(Price of that: about 5 seconds.)* What this experiment
# says, and what it does not:
#
# * **The body carries much**, as the paper claims: four very different mixers, one of them without a single
#   weight, get most of a global question right in the same body.
# * **But the mixer is not a detail here.** From none to any: chance to most. Which question you ask decides
#   whether mixers look alike (texture) or not (relation).
# * **Be careful with the order.** One seed, one learning rate for all, one length of training. With other
#   seeds our runs of pooling gave 70 to 73 %, of shift 90, of depthwise convolution 90 to 96, but of attention
#   with places anything from 72 to 93. So pooling lies below the next two *here*, and where attention lies we
#   cannot say. hw5 repeats such a comparison over three seeds, with PoolFormer's own overlapping patches and
#   fewer steps; there identity got 23 %, pooling 76, shift 64, depthwise 78, attention 14, attention with
#   places 72. Another body, another order; you will find out which of the differences survive.
# * **"Attention fails" was true of the body, not of attention.** A mixer is always compared *in* something.
#
# **Question 11.2** In the cell below, PoolFormer's own overlapping patches replace ours. Predict what becomes
# of the *identity* on relation: still chance? (One training, about 4 seconds.) Then let only one of the two
# lines overlap.

# %%
overlap = True
stem = part(ConvStem, patch_size=7, stride=4, padding=2) if overlap else body.stem
leaky = replace(body, stem=stem, downsample=part(ConvDownsampling, overlap=overlap))
leaking = trained(PARTS["identity"], "relation", 200, body=leaky)
both = {"identity, patches side by side": {"relation": results["identity"]["relation"]},
        "identity, overlapping patches": {"relation": leaking}}
plots.bars(both, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It leaves chance: about 30 % in our run. The entrances are 7 × 7 and 3 × 3 convolutions with a stride: they mix
# neighbours, with learned weights. "Identity" in the paper's body is not a network without mixing; it is a small
# convolutional network. Keep that in mind for the 74.3 % of the next section.
# </details>
#
# **Question 11.3** `trained(part(Pooling, pool_size=5), "relation", 200)`: a larger neighbourhood hears
# further. Better? And 7, on maps of 8 × 8 and 4 × 4?
#
# <details><summary>Answer</summary>
#
# 5 × 5: a few points more (75 % in our run, where 3 × 3 had 70). 7 × 7: less, 60 %. The last map has 4 × 4
# places: there a window of 7 is nearly the whole map for every place, so all of them get nearly the same
# average, and what is where is lost. Hearing further is not hearing better, if all that is heard is a mean.
# </details>

# %% [markdown]
# ## 5 · What ImageNet says
#
# The paper's own table 5 is the same experiment, large: PoolFormer-S12, 300 epochs, one word changed.
# (Figures quoted, not measured here.)

# %%
table_5 = {
    "no path around": 0.001, "no MLP": 0.057, "no norm": 0.461,
    "identity": 0.743, "random N × N, frozen": 0.758, "pooling 3 × 3": 0.772, "depthwise conv": 0.781,
    "attention in stage 4": 0.783, "attention in stages 3, 4": 0.810,
}
plots.bars({name: {"ImageNet top-1": accuracy} for name, accuracy in table_5.items()},
           title="PoolFormer-S12, one thing changed (table 5)")

# %% [markdown]
# Read it from the top. Take the **body** apart and there is nothing left: without the path around 0.1 %,
# without the MLP 5.7. Exchange the **mixer**, and between *nothing* and *pooling* there are 2.9 points; a
# random table that nobody has trained gives half of that. This is the paper's case, and it is a strong one.
#
# And now from the bottom. Attention in the last two stages adds 3.8 points to pooling, more than pooling adds
# to nothing; with more weights, 16.5M in place of 11.9M, and 2.5G multiply–adds in place of 1.8G. Both
# readings are right. *The body is most of it; the mixer is what is left to win.*
#
# That last row became the follow-up, **MetaFormer baselines** (Yu and others 2022b). Where are few tokens, far
# apart? In the late stages, 14 × 14 and 7 × 7. So: convolutions early, attention late. ConvFormer and CAFormer
# differ in one line:

# %%
compare("convformer_s18", "caformer_s18")

# %% [markdown]
# One line changed, and the paper reports 83.0 % and 83.6 %. In the same paper the *identity* in a larger body
# (IdentityFormer-M48, 73M) passes 80 %, where the first ViT paper's B/16 had 77.9 % from ImageNet alone, at 384 ×
# 384 pixels. Accuracy against multiply–adds, as printed:

# %%
imagenet = {
    "CAFormer": {"CA S18": (4.1, 83.6)}, "ConvFormer": {"Conv S18": (3.9, 83.0)},
    "PoolFormer": {"S12": (1.8, 77.2), "S24": (3.4, 80.3), "S36": (5.0, 81.4),
                   "M36": (8.8, 82.1), "M48": (11.6, 82.5)},
    "IdentityFormer": {"S12": (1.8, 74.6), "S24": (3.4, 78.2), "S36": (5.0, 79.3),
                       "M36": (8.8, 80.0), "M48": (11.5, 80.4)},
    "DeiT (attention, one grid)": {"DeiT S": (4.6, 79.8), "DeiT B": (17.5, 81.8)},
}
figures.families(imagenet, xlabel="multiply–adds, G", ylabel="ImageNet-1k top-1, %")

# %% [markdown]
# PoolFormer lies above DeiT *although* DeiT has attention: the pyramid, the entrances, the norm and the recipe
# differ too. IdentityFormer runs two or three points under PoolFormer; but it comes from the second paper, whose
# body is another one (activation, scales on the path around). In *that* body pooling has 78.0, 80.7, 81.6, 82.2,
# 82.6 % for S12 to M48: 3.4 points above the identity for the smallest, 2.2 for the largest. That is the share of
# this mixer. From PoolFormer to ConvFormer it is as much again, and there, too, more has changed than the mixer.
# Only neighbouring specs can be compared.
#
# **Question 11.4** An early version of the authors' README lists RandFormer, the frozen random tables, as 74.6,
# 78.2, 79.3, 80.0, 80.4 % for S12 to M48. What do you say?
#
# <details><summary>Answer</summary>
#
# Look at the IdentityFormer row of our cell: the same five numbers. A row was copied and not changed; it also
# contradicts their abstract, "over 81 %". The later README has 76.6, 78.2, 79.5, 81.2, 81.4. Tables are typed
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
SAID = {
    "poolformer_s12": "12M 1.8G", "poolformer_m48": "73M 11.6G", "convformer_s18": "27M 3.9G",
    "efficientformer_l1": "12.3M 1.3G", "as_mlp_t": "28M 4.4G", "shiftvit_t": "28M 4.4G",
}
print(f"{'':20} {'printed':12}    counted")
for name, said in list(SAID.items())[:budget(tiny=1, cpu=6)]:
    counted = card(name)
    print(f"{name:20} {said:12}  {counted.parameters / 1e6:5.2f}M {counted.macs / 1e9:5.2f}G")

# %% [markdown]
# All agree to about one per cent, but the last: **ShiftViT-T**. The table on the slides prints 28M and 4.4G for it. We count
# 28.6M and 4.58G, and the authors' own repository says 29M and 4.5G. Where does 4.4 come from? Look at the line
# above: AS-MLP-T, its neighbour in that table, has exactly these two numbers, and the same holds for S (50M
# 8.5G) and B (88M 15.2G). Four per cent are no drama, but "same budget, better result" is an argument, and here
# the budget was not the same. (The slides also show ShiftViT's table 6, a step-by-step change of the training
# recipe from 76.4 to 81.7 %. Its last two rows have the same ticks, and 78.4 against 81.7 %: in the slide's copy
# the last tick, 90 to 300 epochs, has slipped into a row too early.)
#
# ## 7 · Multiply–adds are not time
#
# A shift has no multiplications at all. Is it free? *EfficientFormer* (Li and others 2022) asked a telephone
# and not a formula, and reports four observations about what takes time on its neural chip (an iPhone 12).
# Phones differ from laptops. So we repeat all four *here*, in the only way that survives a busy machine: A and
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
# MLP. Blue diamonds are what the multiply–adds say: 0.35 % for a 3 × 3 depthwise kernel. For pooling and
# shift there is none to draw. *(All ratios from here on are those of the CPU that built this page. Yours will
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
# what is slow. The depthwise kernels take longer than their multiply–adds say, for the same reason: each
# number fetched is used a few times only, in the MLP it is used 1,280 times. Attention, on 196 tokens, costs
# about what it should.

# %% [markdown]
# ### Observation 1: large patches
#
# *On the phone, a patch embedding with a large kernel and stride is a bottleneck; a stem of 3 × 3 convolutions
# is faster.* PoolFormer's entrance is 7 × 7 with stride 4; EfficientFormer's are two 3 × 3 with stride 2.
# Predict: which is faster here? The second has more multiply–adds (the diamond).

# %%
from course.models.families.efficientformer import TwoConvStem

images = torch.randn(4, 3, 224, 224)  # (B, C, H, W)
small, large = TwoConvStem(64).eval(), ConvStem(64)  # both to (B, 56, 56, 64)
macs_small, macs_large = 112**2 * 27 * 32 + 56**2 * 9 * 32 * 64, 56**2 * 147 * 64
figures.ratios({"two 3 × 3": ratio(small, large, images)}, against="one 7 × 7, stride 4",
               counted={"two 3 × 3": macs_small / macs_large})

# %% [markdown]
# On this CPU the phone's advice is wrong: the small kernels have 2.3 times the multiply–adds and take longer.
# Here both are done by routines made for any kernel; the paper's reason is that the phone's compiler speeds up
# 3 × 3 and not large kernels. *A bottleneck belongs to a machine.*
#
# ### Observation 2: keep the layout; attention is not always the bottleneck
#
# Linear layers want channels last in memory, (B, H, W, D); many convolutions want them first, (B, D, H, W).
# A network that goes back and forth copies the whole map each time. Two linear layers, without and with such
# copies between them:

# %%
def stays(x):  # (B, H, W, D) throughout
    return linear(linear(x))

def goes_back_and_forth(x):
    first = rearrange(linear(x), "b h w d -> b d h w").contiguous()  # a copy
    return linear(rearrange(first, "b d h w -> b h w d").contiguous())  # and back

reshaped = {}
for side, width in ((56, 64), (28, 128), (14, 320), (7, 512)):  # the stages of PoolFormer-S12
    linear = nn.Linear(width, width)
    maps_here = torch.randn(4, side, side, width)  # (B, H, W, D)
    reshaped[f"{side} × {side} × {width}"] = ratio(goes_back_and_forth, stays, maps_here)
figures.ratios(reshaped, against="the same layers without copies")

# %% [markdown]
# Not one multiply–add more, and on the large early maps it shows most, where a place has few channels to work
# on. EfficientFormer therefore keeps maps as maps in its early stages and turns them into tokens *once*.
#
# The other half of the observation: attention *is not necessarily* slow. N decides. Against the MLP beside it,
# at D = 256, from the last stage's 49 tokens to the first one's 3,136:

# %%
against_mlp, counts = {}, {}
wide, looks = MLP(dim=256, mlp_ratio=4), SelfAttention(256, 8)
for side in (7, 14, 28, 56):
    name, one = f"attention, N = {side**2}", torch.randn(1, side, side, 256)  # (B, H, W, D)
    against_mlp[name] = ratio(looks, wide, one, pairs=budget(tiny=1, cpu=4))
    counts[name] = (4 * 256**2 + 2 * side**2 * 256) / (8 * 256**2)
figures.ratios(against_mlp, against="the MLP", counted=counts)

# %% [markdown]
# On 49 or 196 tokens it takes no longer than the MLP; on 3,136 it takes several times as long. That is
# why CAFormer and EfficientFormer attend in the *last* stages, and Swin looks through windows.
#
# ### Observation 3: a batch norm can vanish, a layer norm cannot
#
# After training, batch norm is a fixed scale and shift of each channel: $\gamma (y - \mu)/\sigma + \beta$ with
# stored $\mu, \sigma$. Behind a linear map $y = W x + b$ the two are *one* linear map: rows of W times
# $\gamma/\sigma$. Not approximately:

# %%
layer, norm = nn.Linear(6, 4), nn.BatchNorm1d(4).eval()
norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), nn.init.normal_(norm.weight)
with torch.no_grad():
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (4,)
    folded = nn.Linear(6, 4)
    folded.weight.copy_(scale[:, None] * layer.weight)  # (4, 6)
    folded.bias.copy_(scale * (layer.bias - norm.running_mean) + norm.bias)
    tokens = torch.randn(5, 6)  # (N, D)
    print(f"largest difference: {(folded(tokens) - norm(layer(tokens))).abs().max():.0e}")

# %% [markdown]
# LayerNorm and GroupNorm1 take their mean and spread from *this* image, so they have to be computed each time.
# What does that cost? Each norm alone, against the linear layer that stands behind it, at PoolFormer's first
# and third stage. (Folded, the batch norm takes no time at all.)

# %%
from course.models.norms import BatchNorm

def norms_against_linear(side, width):
    line, x = nn.Linear(width, width), torch.randn(4, side, side, width)  # x: (B, H, W, D)
    norms = {"LayerNorm": LayerNorm(width), "GroupNorm1": GroupNorm1(width),
             "BatchNorm, not folded": BatchNorm(width).eval()}
    return {f"{name}, {side} × {side} × {width}": ratio(norm, line, x, pairs=budget(tiny=1, cpu=30))
            for name, norm in norms.items()}

figures.ratios(norms_against_linear(56, 64) | norms_against_linear(14, 320), against="the linear layer")

# %% [markdown]
# Where channels are few, a norm costs a good part of the layer behind it; where they are many it
# drowns in the matrix product, D² against D. The paper (and the slides) put the share of layer norms at 10 to
# 20 % of a whole network's time, on the phone.
#
# ### Observation 4: what a nonlinearity costs depends on who compiled it
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
# By operations StarReLU is the cheapest after ReLU; run step by step it is not cheap, since each of its steps
# (ReLU, square, scale, shift) reads and writes the whole map. A compiler that fuses them changes the order
# again. The "fast" tanh is the slowest on the CPU of this page. So the fourth observation is the one to take home: *it
# depends*; the others are cases of it.
#
# **Question 11.5** In the mixer cell at the top of this section, change `maps` to one image at PoolFormer's
# first stage: `torch.randn(1, 56, 56, 320)`, and N to 56 × 56. Which bar moves, and how far?
#
# <details><summary>Answer</summary>
#
# Attention's: its pairs grow with N², so its bar goes from a little below the MLP to about three times it, as the
# diamond says. The local mixers and the MLP both grow in proportion to N, and their ratios stay about
# where they were.
# </details>

# %% [markdown]
# ## Summary
#
# 1. **MetaFormer** is the body that transformers share: norm, token mixer, path around; norm, MLP, path
#    around. Attention is one filling; every filling is an N × N table, fixed, learned or computed.
# 2. **Pooling minus identity**: the path around brings x already, so the mixer adds only how far the
#    neighbours are. LayerScale starts each branch near 0; GroupNorm1 keeps what is brighter than what.
# 3. **In one body** with one budget, texture needed no mixer, relation needed any, and attention failed until
#    it was told places: a mixer is compared *in* a body, *on* a question.
# 4. **On ImageNet** the body is most of it (identity 74.3, pooling 77.2), and attention late in the pyramid is
#    the best addition (81.0). Printed figures are typed by people: recount.
# 5. **Multiply–adds are not time.** Memory traffic, layouts, norms and activations cost what the machine says;
#    measure in pairs, on the machine that matters.
#
# ## To revise: which cell shows what
#
# * Section 1, the drawing: the body and the hole. `compare`: mixer, norm and layout changed at once.
# * Section 2, the framed windows: averages at the border. The curve: without the minus a flat map doubles. The
#   nine images: LayerScale and depth.
# * Section 3, five tables: every mixer as N × N weights. The knob: reach after some blocks. The shaded image:
#   one norm for the map or one for each place.
# * Section 4, the two bar charts: five fillings, and the sixth that was told places. The leak: overlapping
#   patches mix too.
# * Section 5, table 5 as bars; ConvFormer against CAFormer; accuracy against multiply–adds.
# * Section 6: printed and counted. Section 7: `ratio`, the four observations, folding a batch norm.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Give the identity, in our body without overlap, `norm=part(LayerNorm)`: does closing the side door change its 10 %? | 10 |
# | 2 | ●○○ Train the shift with `n_div` 4, 8 and 16 on relation. How many channels should move? (ShiftViT's figure 3 asks the same on ImageNet.) | 15 |
# | 3 | ●●○ Write a mixer that adds the place back to `Pooling`, so that the minus is gone, and train it in `body`, three seeds each. Does the minus matter when there is a norm? (One seed of ours: 66 % without, 70 with it.) | 20 |
# | 4 | ●●○ A mixer with a frozen random N × N table, each row through a softmax (RandFormer's). Where does it come between identity and pooling? | 25 |
# | 5 | ●●○ Fold the batch norms of `efficientformer_l1`'s first MLP, compare outputs, and measure the ratio. | 25 |
# | 6 | ●●● Put depthwise convolution into stage 1 and `PlacedAttention` into stage 2 (a tuple of parts), then the other way round. Three seeds each. Does CAFormer's order win here? | 30 |
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
# * D. Lian, Z. Yu, X. Sun, S. Gao. *AS-MLP: An Axial Shifted MLP Architecture for Vision.* ICLR 2022.
#   [arXiv:2107.08391](https://arxiv.org/abs/2107.08391). The row above.
# * Y. Li, G. Yuan, Y. Wen, J. Hu, G. Evangelidis, S. Tulyakov, Y. Wang, J. Ren. *EfficientFormer: Vision
#   Transformers at MobileNet Speed.* NeurIPS 2022. [arXiv:2206.01191](https://arxiv.org/abs/2206.01191). The
#   four observations: section 3.
# * H. Touvron, M. Cord, A. Sablayrolles, G. Synnaeve, H. Jégou. *Going Deeper with Image Transformers.* ICCV
#   2021. [arXiv:2103.17239](https://arxiv.org/abs/2103.17239). LayerScale: section 2.
# * Y. Wu, K. He. *Group Normalization.* ECCV 2018. [arXiv:1803.08494](https://arxiv.org/abs/1803.08494).
# * H. Touvron and others. *Training Data-Efficient Image Transformers.* ICML 2021.
#   [arXiv:2012.12877](https://arxiv.org/abs/2012.12877). DeiT's figures.
