# %% [markdown]
# # 3 · Self-attention: what should a pixel look at?
#
# | | |
# |---|---|
# | **You will understand** | how every token of an image can look at every other one: scores, softmax, values, heads, masks, positions; why each of them is there; what it costs |
# | **You need** | PyTorch, one CNN trained before; [0 · Start here](00_start_here.ipynb) for the letters B N D h d |
# | **It takes** | {reading time}; all cells together run in under a minute on two CPU cores |
# | **Before · after** | 2 · Beyond local · **3 · Self-attention** · 4 · The transformer |
# | **Homework** | [hw1 · Self-attention](../assignments/hw1_self_attention/hw1_self_attention.ipynb): you build it, from two loops to batched heads |

# %% tags=["setup"]
import torch
from torch import nn
from einops import einsum, rearrange, reduce
from course import budget, plots, setup
from course.data import load
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · What should a pixel look at?
#
# A convolution has a fixed answer: *at its neighbours, always, whatever is in them*. For much of vision that
# is a superb answer. To see where it ends we use images that carry **two questions about the same pixels**:
#
# * *texture*: which way do the stripes of the ground run? (ten angles)
# * *relation*: in which direction does the blue ring lie, seen from the red plus? (ten directions)

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000))
test = load("two_questions", "test", size=budget(tiny=50, cpu=500))
plots.image_grid(test, count=5)

# %% [markdown]
# The stripes are faint, but they are *everywhere*. The plus and the ring are loud, but they are *far apart*:
# never closer than 15 pixels. Here is one image, and what a network whose receptive field is 9 pixels wide
# gets to see of it. It looks through all such windows, averages what it found, and decides.

# %%
plots.windows_on_image(test.images[3], centres=[(9, 5), (26, 4), (12, 22)], size=9)

# %% [markdown]
# Each window shows some stripes. No window shows both glyphs. And knowing that there is *a plus somewhere and
# a ring somewhere* is worth nothing: that is true of every image.
#
# So we can predict, before any training, what a CNN with this receptive field will do. Three 3×3
# convolutions, the second with stride 2, see 9×9 pixels:

# %%
def small_field_cnn():
    def layer(channels, width, stride=1):
        return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()

    features = nn.Sequential(*layer(3, 16), *layer(16, 32, stride=2), *layer(32, 32))  # (B, 32, H/2, W/2)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))  # (B, 10)

# %% [markdown]
# The same network is trained twice on the same images, once for each question. *(Price: two trainings of
# about 4 seconds on two CPU cores. All networks here are small; a GPU would be bored.)*

# %%
recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=100), lr=3e-3)
cnn = {}
for question in ("texture", "relation"):
    model = small_field_cnn()
    fit(model, train.ask(question), recipe, plot=False)
    cnn[question] = evaluate(model, test.ask(question))

plots.bars({"CNN that sees 9 pixels": cnn}, chance=0.1)

# %% [markdown]
# One question is solved, the other is answered by guessing. More data would not help, nor more training: the
# answer is not in anything the network looks at. The classic way out is to stack layers until one neuron sees
# both glyphs. It works; but every layer adds a few pixels only, and *where to look* has to be learned anew
# for every distance and direction.
#
# What we would like to say is: **"you, the red thing: find the blue thing, wherever it is, and tell me
# where."** That is a look-up by content, and it is all that attention is. The rest of this lecture builds it,
# piece by piece.
#
# **Question 3.1** Add a fourth layer, `*layer(32, 32)`, to `small_field_cnn`, train it for 300 steps; then
# add a fifth. Each adds 4 pixels to the field (2 × the strides before it). From which field on will
# *relation* leave chance?
#
# <details><summary>Answer</summary>
#
# The centres are at least 15 pixels apart and each glyph is 6 wide, so between the nearest of them there are
# 9 pixels of ground, and a window of 13 holds two columns of each: enough to know the red one from the blue
# one. Our runs: 9 pixels 11 %, 13 pixels 46 %, 17 pixels 88 %.
# </details>

# %% [markdown]
# ## 2 · Four tokens, followed by hand
#
# A **token** is a vector that stands for a piece of the input: here, a patch of an image. We take only four
# of them, N = 4, and describe each by D = 5 numbers that we can read: how red it is, how blue, how striped,
# and where it lies (x, y, with y upwards).

# %%
names = ["plus", "ground a", "ground b", "ring"]
features = ["red", "blue", "striped", "x", "y"]
x = torch.tensor([[0.9, 0.1, 0.2, 0.2, 0.8],
                  [0.1, 0.3, 0.8, 0.8, 0.9],
                  [0.2, 0.2, 0.9, 0.1, 0.2],
                  [0.1, 1.0, 0.1, 0.7, 0.3]])  # (N, D) = (4, 5)
plots.matrices({"x  (N, D)": x}, rows=names, columns=features)

# %% [markdown]
# ### 2.1 Scores: how much do two tokens have to do with each other?
#
# The simplest measure of likeness of two vectors is their **dot product**: multiply number by number, add up.
# It is large where both are large in the same places. Take what the tokens *look like* (their first three
# numbers):
#
# $$\text{plus}\cdot\text{ring} = 0.9\cdot0.1 + 0.1\cdot1.0 + 0.2\cdot0.1 = 0.21 \qquad
#   \text{plus}\cdot\text{plus} = 0.81 + 0.01 + 0.04 = 0.86$$

# %%
looks = x[:, :3]  # (N, 3)
scores = torch.zeros(4, 4)
for i in range(4):
    for j in range(4):
        scores[i, j] = (looks[i] * looks[j]).sum()
plots.matrices({"scores  (N, N): row i looks at column j": scores}, rows=names, columns=names)

# %% [markdown]
# Two loops over the tokens: N² dot products. A matrix product does the same at once, and `einsum` writes down
# what happens to which axis: `d` appears on the left only, so it is summed over; `i` and `j` stay.

# %%
at_once = einsum(looks, looks, "i d, j d -> i j")  # (N, N)
(at_once - scores).abs().max()

# %% [markdown]
# ### 2.2 Softmax: from scores to shares
#
# Scores can be any numbers. We want *shares of attention*: positive, and adding up to 1 in each row, since
# each token has one whole attention to spend. Softmax does that: raise e to the power of each score, divide
# by the row's sum. For the plus:
#
# $$e^{0.86},\ e^{0.28},\ e^{0.38},\ e^{0.21} = 2.36,\ 1.32,\ 1.46,\ 1.23
#   \quad\text{(sum 6.38)} \quad\Rightarrow\quad 0.37,\ 0.21,\ 0.23,\ 0.19$$

# %%
alike = scores.exp() / scores.exp().sum(dim=1, keepdim=True)  # (N, N), each row sums to 1
plots.matrices({"scores": scores, "weights = softmax of each row": alike}, rows=names, columns=names)

# %% [markdown]
# **Question 3.2** Multiply the scores by 10 before the softmax, then by 100, and run again. Then add 5 to all
# of them. What happens to the weights, and which token does the plus end up looking at?
#
# <details><summary>Answer</summary>
#
# Multiplying sharpens: differences between scores become ratios between weights, $e^{a}/e^{b}=e^{a-b}$, so
# ten times the difference is the ratio to the tenth power. At 100 each row is all but 0 and 1: softmax has
# become *argmax*. The plus looks at itself, and so does every other token but ground a, which likes ground b
# best. Adding a constant changes nothing at all.
# </details>
#
# ### 2.3 Values: what a token brings home
#
# Attention is spent on something: each token takes the **weighted average** of what the others have to offer.
# Let that be *where they are*, the last two numbers. One row of weights is then a set of pulls on one point:

# %%
places = x[:, 3:]  # (N, 2)
brought = einsum(alike, places, "i j, j v -> i v")  # (N, 2): for each token an average place
plots.weighted_average(places, {"what the plus brings home": alike[0]}, names)

# %% [markdown]
# That is all of attention: *scores → softmax → weighted average*. Only, it is of no use yet. The plus wanted
# to know where the ring is; it pays most attention to itself and least to the ring, because likeness is the
# wrong question. The star lies somewhere in the middle of everything.

# %% [markdown]
# ## 3 · Queries, keys and values: three jobs, three matrices
#
# A token plays three parts, and there is no reason to play them all with the same vector:
#
# | part | what it says | the plus, for example |
# |---|---|---|
# | **query** q | what I am looking for | "something blue" |
# | **key** k | what I can be found by | "I am red" |
# | **value** v | what I tell whoever finds me | "I am at (0.2, 0.8)" |
#
# Each is a linear map of the token. A network *learns* the three matrices. Here we write them by hand, so
# that red asks for blue and blue asks for red; and we give the keys the colours, the values the place.

# %%
W_query, W_key, W_value = torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 2)
W_query[0, 0], W_query[1, 1], W_query[2, 2] = 8.0, 4.0, 8.0  # red asks on channel 0, blue on 1, stripes on 2
W_key[1, 0] = W_key[0, 1] = W_key[2, 2] = 1.0  # blue answers on channel 0, red on channel 1, stripes on 2
W_value[3, 0] = W_value[4, 1] = 1.0  # x and y

q, k, v = x @ W_query, x @ W_key, x @ W_value  # (N, 3), (N, 3), (N, 2)
plots.matrices({"queries q = x W_q": q, "keys k = x W_k": k, "values v = x W_v": v}, rows=names)

# %% [markdown]
# By hand, from the plus to the ring: $7.2\cdot1.0 + 0.4\cdot0.1 + 1.6\cdot0.1 = 7.40$; from the plus to
# itself: $7.2\cdot0.1 + 0.4\cdot0.9 + 1.6\cdot0.2 = 1.40$. (We also divide by $\sqrt{d}=\sqrt3$, d = 3 being
# the width of queries and keys; why is the next section.)

# %%
scores = einsum(q, k, "i d, j d -> i j") / 3**0.5  # (N, N)
weights = scores.softmax(dim=1)  # along j: one row is one token's attention
plots.matrices({"scores / √3": scores, "weights": weights}, rows=names, columns=names)

# %% [markdown]
# Now the plus looks at the ring and the ring at the plus, and the ground at the ground. And scores are not
# symmetric any more: blue asks only half as loudly as red here, and so the ring looks around a bit. To look
# is not to be looked at. What the plus brings home is now, nearly, the place of the ring:

# %%
brought = einsum(weights, v, "i j, j v -> i v")  # (N, 2)
by = {"the plus, by likeness": alike[0], "the plus, by query and key": weights[0]}
plots.weighted_average(places, by, names)

# %% [markdown]
# The plus knows its own place, (0.2, 0.8), too. The difference of the two is the direction from plus to ring:
# *down and to the right*. One look-up and a subtraction answer the question that the CNN could not, and
# nothing in it cares how far apart the two are.

# %%
brought[0] - places[0]

# %% [markdown]
# Written as a loop, for one token at a time, attention is a *soft dictionary*: compare my query with every
# key, and take each value as far as its key fits. The matrix form above must give the same.

# %%
def look_up(query, keys, values):
    """One token's attention: query (d,), keys (N, d), values (N, v) -> (v,)."""
    fits = torch.stack([query @ key for key in keys]) / len(query) ** 0.5  # (N,)
    shares = fits.exp() / fits.exp().sum()
    return sum(share * value for share, value in zip(shares, values))

one_by_one = torch.stack([look_up(query, k, v) for query in q])  # (N, 2)
torch.allclose(one_by_one, brought)

# %% [markdown]
# **Question 3.3** Move the ring: change its place in `x` to (0.9, 0.9) and run sections 2 and 3 again. Which
# numbers change: scores, weights, or what is brought home? Then make it green: set its blue to 0.
#
# <details><summary>Answer</summary>
#
# Only what is brought home: queries and keys here are made of looks alone, so *who* is looked at does not
# depend on where it is. That is the look-up by content we asked for. Without its blue, nobody's key answers
# the plus any more, and its attention spreads over the two grounds, which are a little blue.
# </details>

# %% [markdown]
# ## 4 · Why divide by √d?
#
# The dot product adds up d terms. If the numbers in q and k are independent with mean 0 and variance 1, each
# term has variance 1 and the sum has variance d. Do not believe it; draw some:

# %%
sizes = [1, 4, 16, 64, 256, 1024]
variance = [(torch.randn(2000, d) * torch.randn(2000, d)).sum(dim=1).var() for d in sizes]
plots.curves(sizes, {"measured variance of q·k": variance, "d": sizes}, log="xy", xlabel="width d of q and k")

# %% [markdown]
# So with d = 1024 typical scores are ±32, and question 3.2 told what softmax does with those: one token gets
# everything. To see it, measure how spread out the weights are by their **entropy**, $-\sum_j w_j \ln w_j$.
# It is 0 when one token gets all, and ln N when all get the same.

# %%
def entropy(weights):  # (..., N) -> average over the rows, in nats
    return -(weights * weights.clamp(min=1e-30).log()).sum(dim=-1).mean().item()

spread = {"q·k": [], "q·k / √d": [], "q·k / d": []}
for d in sizes:
    raw = torch.randn(200, d) @ torch.randn(196, d).T  # 200 queries, N = 196 keys
    for name, scale in zip(spread, (1, d**-0.5, 1 / d)):
        spread[name].append(entropy((raw * scale).softmax(dim=1)))
plots.curves(sizes, spread, log="x", xlabel="width d of q and k", ylabel="entropy of the weights, nats",
             levels={"all alike: ln 196": torch.tensor(196.0).log()})

# %% [markdown]
# Without a scale, wide heads are blind to all but one token from the first step of training on. Divided by d,
# they cannot prefer anything. Only √d makes the sharpness of a head independent of its width, so that it is
# *learned*.
#
# It matters for learning, because a softmax that has made up its mind passes no gradient: if the scores
# change a little, the weight w changes by w (1 − w) times that, which is next to 0 for w near 0 and near 1.

# %%
raw = torch.randn(200, 1024) @ torch.randn(196, 1024).T
gradient = {}
for name, scale in {"q·k": 1, "q·k / √d": 1024**-0.5}.items():
    w = (raw * scale).softmax(dim=1)
    gradient[name] = round((w * (1 - w)).sum(dim=1).mean().item(), 3)
gradient

# %% [markdown]
# **Question 3.4** A code listing of the vision transformer that many lecture slides show computes `self.scale
# = dim ** -0.5`, where `dim` is the width of the whole model, D = 768, although it has h = 12 heads of d =
# 64. The formula beside it says $\sqrt{d}$. Does it matter? Predict on which side of the right entropy it
# ends.

# %%
q_64, k_64 = torch.randn(400, 64), torch.randn(196, 64)
{f"{width} ** -0.5": round(entropy((q_64 @ k_64.T * width**-0.5).softmax(dim=1)), 2) for width in (64, 768)}

# %% [markdown]
# <details><summary>Answer</summary>
#
# The scores are √12 ≈ 3.5 times too small, so attention starts out nearly uniform: 5.24 nats, where 5.28 is
# "all alike" and 4.79 is right. It is a real mistake, from the first version of a widely used library,
# corrected there in January 2021 and still on slides. The network still trains: it can learn larger queries
# and keys to make up for it. That is why such a mistake lives long: no shape is wrong, no error is raised,
# results are only a little worse. It also breaks pretrained weights, which expect the right scale.
# </details>

# %% [markdown]
# ## 5 · Heads: several questions at once
#
# One softmax gives one weighted average. Suppose *ground a* wants to know where the plus is **and** where the
# ring is. It can ask for both colours in one query; or it can ask twice.

# %%
asks = torch.tensor([[8.0, 8.0, 0.0], [0.0, 8.0, 0.0], [8.0, 0.0, 0.0]])  # red or blue; red; blue
shares = (asks @ k.T / 3**0.5).softmax(dim=1)  # (3, N)
titles = ["one query for both", "head 0: find red", "head 1: find blue"]
plots.weighted_average(places, dict(zip(titles, shares)), names)

# %% [markdown]
# The one query brings home a place *between* the two: nearly the same if plus and ring were swapped, or twice
# as far apart. The direction is lost in the average. Two queries bring home two places. So a layer of
# attention has h **heads**, each with its own small q, k, v of width d = D / h; their results are laid side
# by side again.
#
# No loop is needed. One matrix makes all queries at once, (N, D), and the D numbers of a token are *read* as
# h groups of d. In the picture below N = 3, h = 2, d = 4; colour says which head a number belongs to, shade
# says which token.

# %%
numbered = torch.arange(24).view(3, 8)  # (N, D): 0 .. 23
right = rearrange(numbered, "n (h d) -> h n d", h=2)  # (h, N, d)
tempting = numbered.reshape(2, 3, 4)  # the same shape
plots.regrouped(numbered, {'rearrange "n (h d) -> h n d"': right, "reshape(h, n, d): wrong": tempting})

# %% [markdown]
# The last one has the right shape and the wrong contents: `reshape` only re-reads the numbers in their old
# order, so "head 0" is now the first token and half of the second. Nothing complains, and a network trained
# like that even learns something. Name the axes, as `rearrange` makes you do, and it cannot happen.
#
# **Question 3.5** How many parameters does a layer have with h = 1, and how many with h = 8, at the same D?
#
# <details><summary>Answer</summary>
#
# The same. Heads are a way of reading the D numbers, not additional ones: three D × D matrices for q, k, v
# and one for the output, whatever h is. What changes is how *many* weighted averages there are (h) and how
# wide each comparison is (d = D / h).
# </details>

# %% [markdown]
# ## 6 · Wrap it, and compare it with PyTorch's own
#
# Everything is on the table: one linear map makes q, k and v for all heads; scores, scale, softmax, average;
# the heads side by side; and a last linear map mixes what they brought home. Every line has been run above,
# except `may_look`, which the next section is about.

# %%
class Attention(nn.Module):
    """Self-attention: (B, N, D) -> (B, N, D). `may_look`, (..., N, N), is True where i may look at j."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.to_out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x, may_look=None):
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.num_heads)
        scores = einsum(q, k, "b h i d, b h j d -> b h i j") / q.shape[-1] ** 0.5  # (B, h, N, N)
        if may_look is not None:
            scores = scores.masked_fill(~may_look, -torch.inf)
        self.weights = scores.softmax(dim=-1)  # kept, to be looked at
        heads = einsum(self.weights, v, "b h i j, b h j d -> b h i d")  # (B, h, N, d)
        return self.to_out(rearrange(heads, "b h n d -> b n (h d)"))

# %% [markdown]
# PyTorch has this layer as `nn.MultiheadAttention`. If we copy our weights into it, it must give the same
# numbers. (All sizes differ, so that no two axes can be mixed up unnoticed.)

# %%
B, N, D, h = 2, 5, 12, 3
ours, theirs = Attention(D, h), nn.MultiheadAttention(D, h, batch_first=True)
theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.to_qkv.weight.data, ours.to_qkv.bias.data
theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.to_out.weight.data, ours.to_out.bias.data

tokens = torch.randn(B, N, D)
expected, _ = theirs(tokens, tokens, tokens)  # there, q, k and v may come from three different places
f"largest difference: {(ours(tokens) - expected).abs().max():.1e}"

# %% [markdown]
# The rest is rounding. `torch.nn.functional.scaled_dot_product_attention` computes the middle part too, and
# never stores the (N, N) weights: that is what one uses in practice. We go on with our own, because we want
# to see them.

# %% [markdown]
# ## 7 · Masks: who may look at whom
#
# Sometimes a token must *not* look: a **causal** mask hides what comes later (needed where tokens are
# generated one after the other); a **padding** mask hides fill-ins (clips of different length in one batch).
# In vision, Swin hides tokens that are not really neighbours. All of them are one boolean matrix, True where
# i may look at j:

# %%
place = torch.arange(5)
causal = place[:, None] >= place[None, :]  # (N, N): j is not after i
padding = (place < 3)[None, :].expand(5, 5)  # (N, N): only 0, 1, 2 are real; the rest is fill
masks = {"causal": causal, "padding": padding, "both": causal & padding}
plots.matrices(masks, rows=list("01234"), columns=list("01234"))

# %% [markdown]
# Where a token may not look its score becomes −∞, since $e^{-\infty}=0$. The softmax then shares out the
# whole attention among the others:

# %%
scores = torch.randn(5, 5)
hidden = scores.masked_fill(~causal, -torch.inf)
plots.matrices({"scores": scores, "masked": hidden, "weights": hidden.softmax(dim=1)})

# %% [markdown]
# **Question 3.6** Why not simply set the weights to 0 *after* the softmax?
#
# <details><summary>Answer</summary>
#
# Then the rows no longer add up to 1, and the hidden tokens still have a say: their scores are in the sum
# that the others were divided by. Change a "hidden" token and the output changes. With −∞ before the softmax,
# nothing about it leaks.
# </details>
#
# ### A trap
#
# What is the softmax of a row in which *everything* is hidden? Zero divided by zero:

# %%
nobody = causal & (place > 0)[None, :]  # token 0 is hidden from all, so row 0 has no one left to look at
w = scores.masked_fill(~nobody, -torch.inf).softmax(dim=1)
plots.matrices({"who may look": nobody, "weights": w})

# %% [markdown]
# `nan` is contagious: it gets into the loss, then into every gradient, then into every weight of the network.
# Writing −1e9 for −∞ avoids it, but only hides the mistake: that row then looks at *all* tokens alike, the
# hidden ones too. The cure is to let every token look at something (itself, say) and to leave the outputs of
# fill-in tokens out of the loss.

# %% [markdown]
# ## 8 · Order: shown to be missing, then put in
#
# Where in section 6 does it say which token is where? Nowhere: tokens are compared by content. So if we
# shuffle them, the outputs should come out the same, only shuffled too. In one word, attention is
# **permutation equivariant**:

# %%
shuffle = torch.randperm(N)
difference = (ours(tokens[:, shuffle]) - ours(tokens)[:, shuffle]).abs().max()
f"shuffle before or after: {difference:.1e}"

# %% [markdown]
# And if the outputs are averaged at the end, as classifiers do, even the shuffling is gone. Attention
# followed by a mean is permutation **invariant**: it sees a *bag* of patches.

# %%
difference = (ours(tokens[:, shuffle]).mean(dim=1) - ours(tokens).mean(dim=1)).abs().max()
f"after the mean: {difference:.1e}"

# %% [markdown]
# To such a network the following two are the same picture. Which is bad news for a question about
# *directions*.

# %%
image = test.images[3]
plots.patches(image, 4, order=torch.randperm(64))

# %% [markdown]
# **Question 3.7** A slide says: "Transformer: permutation invariant." Is it?
#
# <details><summary>Answer</summary>
#
# Not the layer: shuffle the tokens and the output is shuffled, not unchanged. That is *equivariance* (the
# same deck, quoting LeCun, has it right some pages on). Invariance needs a pooling after it, and needs that
# no positions were given. A vision transformer with position codes is neither.
# </details>
#
# ### Positions
#
# The repair is as simple as it looks: **add to each token a vector that says where it is.** It should be
# different for each place, similar for near places, and of about the size of the tokens themselves. Vaswani
# and others took waves, from fast to slow, like the hands of several clocks:

# %%
def wave_code(length, width, slowest=100.0):
    """(length, width): sines, then cosines, of the place at width/2 rates from 1 down to 1/slowest."""
    rates = slowest ** -torch.linspace(0, 1, width // 2)
    angles = torch.arange(length)[:, None] * rates  # (length, width/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)

line = wave_code(24, 32)
shown = {"the code of 24 places (row = place)": line, "their dot products": line @ line.T}
plots.matrices(shown, numbers=False)

# %% [markdown]
# The dot products on the right are what attention gets to see: a dark diagonal, fading with distance, the
# same at every place. "Near me" has become something that a query can ask for. (The original uses 10,000 for
# the slowest, for long sentences; our grids are 8 tokens wide.)
#
# For an image, half of the width says the row and the other half the column. Below: the dot products of one
# token's code with those of all others, laid out as the grid of 8 × 8 tokens.

# %%
def grid_code(side, width):
    """(side², width): the code of each place of a square grid, row by row."""
    line = wave_code(side, width // 2)
    row, column = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)  # (side, side, width/2)
    return rearrange(torch.cat([row, column], dim=2), "r c d -> (r c) d")

code = grid_code(8, 64)
likeness = {f"token {i}": (code @ code[i]).view(8, 8) for i in (0, 27, 39)}
plots.matrices(likeness, numbers=False, shared=True)

# %% [markdown]
# With the code added, the order is no longer lost:

# %%
places_code = wave_code(N, D)
difference = (ours((tokens + places_code)[:, shuffle]) - ours(tokens[:, shuffle] + places_code)).abs().max()
f"shuffle before or after the code is added: {difference:.1e}"

# %% [markdown]
# ## 9 · What it costs
#
# Every token looks at every token: N² weights, in every head of every layer. If each *pixel* of an R × R
# image is a token, N = R² and N² = R⁴. For R = 128, 48 layers and 16 heads, at 4 bytes a number, the weights
# of **one image** take:

# %%
def gibibytes(tokens, layers=48, heads=16, bytes_each=4):
    return layers * heads * tokens**2 * bytes_each / 2**30

print(f"pixels of 128 × 128:   N = {128 * 128:6d}   {gibibytes(128 * 128):8.1f} GiB")
print(f"14 × 14 patches:       N = {14 * 14:6d}   {gibibytes(14 * 14) * 1024:8.1f} MiB")

# %% [markdown]
# That factor of 7,000 is the reason why the *vision* transformer looks at patches. (14 × 14 patches of 16 ×
# 16 pixels are an image of 224 × 224: larger than the 128 × 128 of the first line, and still so much cheaper.
# Slides tend to write 768 GB; counted in powers of ten it would be 825.)

# %%
sides = torch.tensor([16, 32, 64, 128, 224, 448])
memory = {"each pixel a token": gibibytes(sides**2), "16 × 16 patches": gibibytes((sides / 16) ** 2)}
plots.curves(sides, memory, log="xy", xlabel="image side R, pixels", ylabel="GiB, one image, 48 layers",
             marks={"768 GiB": (128, gibibytes(128**2)), "112.5 MiB": (224, gibibytes(196))},
             levels={"a GPU of 80 GB": 80e9 / 2**30})

# %% [markdown]
# And time? Count multiply–adds (MACs) of one layer: four D × D maps for each token, 4 N D²; then each pair of
# tokens twice, once for the score and once for the average, 2 N² D. PyTorch's counter agrees (it counts
# multiplications and additions, hence the half):

# %%
from torch.utils.flop_counter import FlopCounterMode

N, D = 196, 768  # one layer of ViT-B/16
with FlopCounterMode(display=False) as counter, torch.no_grad():
    Attention(D, 12)(torch.randn(1, N, D))
{"counted": counter.get_total_flops() // 2, "4 N D² + 2 N² D": 4 * N * D**2 + 2 * N**2 * D}

# %% [markdown]
# The quadratic part is not always the large one. The two are equal where 2 N² D = 4 N D², at **N = 2 D**:

# %%
counts = torch.tensor([50, 196, 784, 1536, 3136, 12544])
parts = {"4 N D²: the four maps": 4 * counts * D**2, "2 N² D: all pairs": 2 * counts**2 * D}
plots.curves(counts, parts, log="xy", xlabel="tokens N", ylabel="MACs of one layer, D = 768",
             marks={"N = 2 D": (1536, 4 * 1536 * D**2)})

# %% [markdown]
# **Question 3.8** An image of 224 × 224 in patches of 16 has 196 tokens; in patches of 8 it has 784. By what
# factor does the memory of the weights grow, and by what factor the MACs of a ViT-B layer?
#
# <details><summary>Answer</summary>
#
# Memory by 4² = 16. MACs from 462 + 59 = 521 million to 1850 + 944 = 2794 million: by 5.4, since at 196
# tokens the four maps are most of the work. "Quadratic" is what you feel at high resolution and in video, and
# first as memory.
# </details>

# %% [markdown]
# ## 10 · One look at a digit
#
# Time to let the matrices be learned. The smallest classifier that can be built from this: cut the image into
# patches, map each to D numbers, add the position code, **one** layer of attention; then every token votes
# for the classes, and the votes are averaged. (`x + …` keeps what the token was and adds what it brought
# home; `LayerNorm` keeps the numbers in a fair size. Both are for lecture 4.)

# %%
class OneLook(nn.Module):
    """A single layer of attention between patches and classes: images (B, C, H, W) -> logits (B, 10)."""

    def __init__(self, size, channels, patch, embed_dim, num_heads, positions=True):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(channels * patch**2, embed_dim)
        self.code = nn.Parameter(grid_code(size // patch, embed_dim)) if positions else 0
        self.attend = Attention(embed_dim, num_heads)
        self.before, self.after = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        hidden = 2 * embed_dim
        self.vote = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, 10))

    def forward(self, images):
        tokens = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=self.patch, q=self.patch)
        x = self.embed(tokens) + self.code  # (B, N, D)
        x = x + self.attend(self.before(x))  # (B, N, D)
        return self.vote(self.after(x)).mean(dim=1)  # (B, 10)

# %% [markdown]
# The digits are 8 × 8 pixels, real handwriting, 1,400 to learn from. In patches of 2 × 2 they are 16 tokens.
# One head, D = 48. *(Price: about 5 seconds on two CPU cores.)*

# %%
digits, new_digits = load("digits", "train"), load("digits", "test")
reader = OneLook(size=8, channels=1, patch=2, embed_dim=48, num_heads=1)
recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=500), lr=5e-3)
fit(reader, digits, recipe, val=new_digits);

# %% [markdown]
# About 94 of 100 new digits, with one layer and one head. A logistic regression on the 64 pixels gets 98, so
# this is no triumph; digits of this size are easy. The point is that we can now *look at it looking*. Four
# tokens of one digit, and where each of them spends its attention:

# %%
digit = new_digits.images[:1]  # (1, 1, 8, 8)
reader(reader.normalise_images(digit))
seen = reader.attend.weights[0, 0]  # (N, N): of this image and the only head
lookers = [1, 6, 9, 14]
plots.attention_maps(digit[0], seen[lookers], query=lookers)

# %% [markdown]
# A map like this shows where information *may* come from, not why the network decides as it does. How far
# such maps can be trusted is lecture 6.
#
# **Question 3.9** Set `positions=False` for the digits and run again. How much is lost, and why is it not
# everything?
#
# <details><summary>Answer</summary>
#
# About two thirds are still right, far above the 10 % of guessing: a bag of 2 × 2 patches still says how many
# corners, strokes and empty places there are, and digits differ in that. In our *relation* question the bag
# is the same for all answers.
# </details>

# %% [markdown]
# ## 11 · Both questions again
#
# Now the experiment that this lecture is about: the same `OneLook` on the images of section 1, in patches of
# 4 × 4, so N = 64 tokens, and with 4 heads. Our prediction from section 8: *with* positions it can learn the
# relation, *without* it cannot, however long it trains. *(Price: two trainings of about 5 seconds each on two
# CPU cores.)*

# %%
def one_look(question, positions=True, attention=True, steps=200):
    torch.manual_seed(0)
    model = OneLook(size=32, channels=3, patch=4, embed_dim=64, num_heads=4, positions=positions)
    if not attention:
        model.attend = nn.Identity()  # every token keeps to itself
    recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=steps), lr=6e-3)
    return model, fit(model, train.ask(question), recipe, val=test.ask(question), val_points=8, plot=False)

looker, with_code = one_look("relation")
_, without_code = one_look("relation", positions=False)

# %% [markdown]
# How did the two learn?

# %%
learned = {"with positions": with_code.val_accuracy, "without": without_code.val_accuracy}
plots.curves(with_code.val_steps, learned, levels={"chance": 0.1}, xlabel="step", ylabel="accuracy")

# %% [markdown]
# With positions, plus and ring first have to be found by their patches, then their places compared; after
# some fifty steps the network has the idea. Without positions it never has it.
#
# Two more trainings make the picture complete: the same network on the *texture* question, and one that has
# positions but **no attention**, in which every token votes by itself. *(Price: about 2 seconds each.)*

# %%
_, texture = one_look("texture", steps=100)
_, alone = one_look("relation", attention=False)
results = {
    "CNN that sees 9 pixels": cnn,
    "attention, positions": {"texture": texture.final_accuracy, "relation": with_code.final_accuracy},
    "attention, no positions": {"relation": without_code.final_accuracy},
    "positions, no attention": {"relation": alone.final_accuracy},
}
plots.bars(results, chance=0.1)

# %% [markdown]
# Where does the trained network look? Take the token that holds the plus: the reddest patch.

# %%
image = test.images[3]
redness = image[0].float() - image[2]  # (H, W)
plus = reduce(redness, "(r p) (c q) -> (r c)", "mean", p=4, q=4).argmax().item()
looker(looker.normalise_images(image[None]))
plots.attention_maps(image, looker.attend.weights[0, :, plus], query=plus)

# %% [markdown]
# Several heads keep hold of the plus itself. At least one looks right across the picture, at the ring, as our
# hand-written matrices in section 3 did. Nobody told it to.
#
# ### What this shows, and what it does not
#
# * The CNN failed because of its *field*, not because it is a CNN: question 3.1 repairs it. What attention
#   brings is that *everywhere* is one step away, in the first layer.
# * Attention without positions fails by *symmetry*, and we knew it before training. Such arguments are cheap,
#   and worth making first.
# * The last bar is the honest one. Without any attention, about half of the answers are right: the token with
#   the ring can vote "it lies where I am", the token with the plus "it lies away from me", and the average of
#   the votes is a fair guess. With more steps it gets better still. So attention is not the only way; content
#   *together with* position and *something global*, be it a mean, is what the question asks for.
# * One run, one seed. Other seeds gave accuracies within two points here; with one or two heads it gets stuck
#   around 40 %, having found one coordinate but not the other.
#
# **Question 3.10** Position codes are often learned from a random start with standard deviation 0.02. Put
# `self.code = nn.Parameter(0.02 * torch.randn(64, 64))` into `OneLook` and train on *relation*. Then try a
# random start with standard deviation 0.7, the size of our waves.
#
# <details><summary>Answer</summary>
#
# With 0.02 it has hardly left chance after these 200 steps (19 % in our run): the code is drowned by the
# patches, whose numbers are tens of times larger, so the network is, at the start, one without positions.
# With 0.7 it gets to about 80 %, later than with waves: near places do not start out alike. So both the
# *size* and the *shape* of the code matter when training is short. Large vision transformers do start at
# 0.02; they take tens of thousands of steps.
# </details>

# %% [markdown]
# ## Summary
#
# 1. **Attention is a look-up by content**: scores (query · key), softmax, weighted average of values. Three
#    linear maps give a token its three parts to play.
# 2. **√d keeps the softmax awake**: q·k has variance d; unscaled, wide heads see one token and pass no
#    gradient.
# 3. **Heads are several averages at once**: the D numbers are read as h groups of d, with no more parameters.
#    Name the axes when you split them.
# 4. **Attention knows no order.** It is permutation equivariant, after a mean invariant; position codes of
#    the right size put order back. Masks (−∞ before the softmax) say who may look at whom.
# 5. **All pairs cost N²**: 768 GiB for the pixels of one 128 × 128 image, 112.5 MiB for 14 × 14 patches;
#    below N = 2 D the linear maps are the larger part of the work.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ In section 3, give the plus a query that finds the *nearest* token instead of the bluest (use x and y). Which dot product grows when two places get closer? | 15 |
# | 2 | ●○○ Train the `OneLook` of section 11 with 1, 2 and 8 heads. Which accuracies do you get, and which coordinate does a head that works alone find? | 15 |
# | 3 | ●●○ Train on *relation* with only 1,000 images (`size=1000`), then let a deep CNN try: section 1's, with three more layers, two of stride 2. Who wins? And with 20,000? | 20 |
# | 4 | ●●○ Give the network without attention 1,000 and 4,000 steps. Does it catch up? Then write down, with pencil, what the plus and the ring should vote. | 20 |
# | 5 | ●●○ Flip the training images left–right at random (`recipe.but(augment=("random_flip",))`). Explain what happens to both questions. | 10 |
# | 6 | ●●● Make the code *relative*: add to `scores` a learned number for each offset (row and column) between i and j, and drop `self.code`. Is the layer still blind to order? Compare with lecture 8 later. | 40 |
#
# Then write it all yourself, with checks that tell you what went wrong: [hw1 ·
# Self-attention](../assignments/hw1_self_attention/hw1_self_attention.ipynb).
#
# ## References
#
# * A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser, I. Polosukhin.
#   *Attention Is All You Need.* NeurIPS 2017. [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). Scaled
#   dot-product attention, heads and sinusoidal positions: sections 3.2 and 3.5; footnote 4 is the variance
#   argument of our section 4.
# * D. Bahdanau, K. Cho, Y. Bengio. *Neural Machine Translation by Jointly Learning to Align and Translate.*
#   ICLR 2015. [arXiv:1409.0473](https://arxiv.org/abs/1409.0473). Attention before it had that name to
#   itself.
# * A. Dosovitskiy and others. *An Image Is Worth 16×16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Patches as tokens.
# * J.-B. Cordonnier, A. Loukas, M. Jaggi. *On the Relationship between Self-Attention and Convolutional
#   Layers.* ICLR 2020. [arXiv:1911.03584](https://arxiv.org/abs/1911.03584). With relative positions,
#   attention can be a convolution.
# * J. Lee, Y. Lee, J. Kim, A. R. Kosiorek, S. Choi, Y. W. Teh. *Set Transformer.* ICML 2019.
#   [arXiv:1810.00825](https://arxiv.org/abs/1810.00825). Equivariance and invariance, taken as the goal.
# * S. Jain, B. C. Wallace. *Attention is not Explanation.* NAACL 2019.
#   [arXiv:1902.10186](https://arxiv.org/abs/1902.10186). Before you trust a map.
