# %% [markdown]
# # Homework 1 · Self-attention, from two loops to a network that reads digits
#
# **You build** a transformer of one block, every part of it yourself, and train it to read handwritten digits
# · **needs** lecture `03_self_attention` · **takes** about three hours, of which reading takes {reading time} ·
# **computing** under a minute on a laptop · **60 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `attention_scores` | ●○○○○ | 10 | 4 |
# | 2 | `scaled_dot_product_attention` | ●●○○○ | 25 | 8 |
# | 3 | `causal_and_padding_masks` | ●●○○○ | 15 | 5 |
# | 4 | `split_heads`, `merge_heads` | ●●○○○ | 15 | 5 |
# | 5 | `MultiHeadSelfAttention` | ●●●○○ | 30 | 10 |
# | 6 | `sinusoidal_positions` | ●●○○○ | 15 | 5 |
# | 7 | `TransformerBlock` | ●●○○○ | 20 | 8 |
# | 8 | `attention_cost` | ●●○○○ | 15 | 4 |
# | 9 | `train_on_digits` | ●●●○○ | 20 | 6 |
# | 10 | a question in words | ●●●○○ | 20 | 5 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is
# done with other inputs. Cells that need your code wait until it is written, so you can run the whole
# notebook at any time.
#
# The letters are those of the lectures: $B$ images in a batch, $N$ tokens, $D$ numbers a token, $h$ heads,
# $d$ numbers a head. You may use everything in torch except what does the exercise for you: no
# `F.scaled_dot_product_attention`, no `nn.MultiheadAttention`, no `nn.TransformerEncoderLayer`.
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
# * *`eps`.* The only `eps` in this homework is torch's own, $10^{-5}$, in the norms of exercise 7.
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
# One handwritten digit, 8 × 8 pixels, cut into 16 patches of 2 × 2. Each patch is a *token*: here simply its
# $d=4$ grey values. The numbers in the corners are the order in which the patches stand in the matrix
# `patches`.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything in this notebook is so small that a second core only gets in the way
digits = load("digits", device="cpu")
image = digits.images[0]  # (1, 8, 8), grey values 0..255
patches = rearrange(image / 255, "c (gh ph) (gw pw) -> (gh gw) (c ph pw)", ph=2, pw=2)  # (N, d) = (16, 4)
plots.patches(image, 2)

# %% [markdown]
# ## 1 · Who is interested in whom? ●○○○○
#
# **Why.** A convolution looks at its neighbours, whatever they show. Attention lets the *content* decide:
# every token sends out a **query** $q_i$ ("what am I looking for?"), every token puts up a **key** $k_j$
# ("what have I got?"), and how well the two fit is one number, their **score**
#
# $$s_{ij} = \frac{q_i \cdot k_j}{\sqrt d} \qquad \text{(Vaswani et al. 2017, eq. 1).}$$
#
# A dot product of $d$ terms of spread 1 has spread $\sqrt d$. Dividing by it keeps the scores at spread 1,
# however wide the tokens are; exercise 2 shows what happens otherwise.
#
# **What.** `attention_scores(q, k)`: from `q` of shape $(N, d)$ and `k` of shape $(M, d)$ to the scores,
# shape $(N, M)$. Row $i$ belongs to query $i$, column $j$ to key $j$. Write it with two loops, one over the
# queries and one over the keys: slow, but easy to read. From exercise 2 on, no loops. (Gradients are compared from exercise 2
# on; here only the numbers count.)
#
# **By hand.** $d=4$, one query $(1, 0, 2, 1)$, two keys $(3, 1, 1, 1)$ and $(0, 5, 0, 0)$. The dot products
# are $3 + 0 + 2 + 1 = 6$ and $0$; divided by $\sqrt 4 = 2$ the scores are $(3, 0)$. The second key is large, and
# still its score is 0: its numbers stand where the query has a 0.

# %% exercise="attention_scores"
def attention_scores(q, k):
    """Scaled dot products of every query with every key, by two loops.

    Args:
        q: (N, d) queries.
        k: (M, d) keys.

    Returns:
        (N, M): entry [i, j] is q[i] · k[j] / sqrt(d).
    """
    ### BEGIN SOLUTION
    scores = torch.zeros(len(q), len(k))  # (N, M)
    for i in range(len(q)):
        for j in range(len(k)):
            scores[i, j] = (q[i] * k[j]).sum() / math.sqrt(q.shape[1])
    return scores
    ### END SOLUTION

# %% check="attention_scores"
check("hw1.attention_scores", attention_scores)

# %% [markdown]
# **Look at it.** Every patch of the digit is its own query and its own key. Left: all $16 \times 16$ scores.
# Right: row 5 laid back on the image. Bright patches score high with everyone, simply because their numbers
# are large; to look for something subtler, query and key have to be *learned*. That comes with exercise 5.

# %%
query = 5  # try 0 (an empty corner) and 9
with when_done():
    scores = attention_scores(patches, patches)  # (N, N) = (16, 16)
    as_image = scores[query].reshape(4, 4)
    display(plots.matrices({"scores (N, N)": scores, f"row {query}, laid out as the image": as_image}))

# %% [markdown]
# ## 2 · From scores to an answer ●●○○○
#
# **Why.** A score says how much a query wants a key. To get an answer, each query turns its row of scores
# into **weights** that are positive and sum to 1 (softmax), and takes the weighted average of the **values**
# $v_j$ ("what I pass on if you look at me"):
#
# $$\text{attention}(q, k, v) = \operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v.$$
#
# First see why the root is there. Without it, the scores of tokens of width $d$ would have the spread (standard
# deviation) $\sqrt d$. Below, the same nine random scores with the spreads $1$, $4$ and $16$, after the softmax. At
# spread 1 several keys have a weight. At spread 16 one key has nearly all of it, and almost no gradient reaches
# the others (the softmax is *saturated*): the network cannot learn to look elsewhere.

# %%
random_scores = torch.randn(9)
softmax_at = lambda spread: (random_scores * spread).softmax(dim=0)[:, None]  # (9, 1)
plots.matrices({f"softmax at spread √{d}": softmax_at(math.sqrt(d)) for d in (1, 16, 256)})

# %% [markdown]
# **What.** `scaled_dot_product_attention(q, k, v, mask=None)`, now for any number of axes in front: a batch,
# heads, or none at all. `q` is $(\dots, N, d)$, `k` is $(\dots, M, d)$, `v` is $(\dots, M, e)$; the result is
# $(\dots, N, e)$, that tensor alone. No loops.
#
# `mask` is either `None` or a tensor of truth values that broadcasts to $(\dots, N, M)$: **True means that
# the query may look at the key**. A forbidden key gets the weight 0, and those that are left still add up
# to one. You may rely on it that every query may look at one key at least.
#
# **By hand.** $d = 1$, one query $\ln 3$, keys $0$ and $1$, values $8$ and $4$. The scores are $0$ and $\ln
# 3$; $e$ to the power of them is $1$ and $3$; the weights are $\frac14$ and $\frac34$; the answer is $\frac14
# \cdot 8 + \frac34 \cdot 4 = 5$. If the mask forbids the second key, the weights are $1$ and $0$, and the
# answer is $8$.

# %% exercise="scaled_dot_product_attention"
def scaled_dot_product_attention(q, k, v, mask=None):
    """Attention with any leading axes (batch, heads).

    Args:
        q: (..., N, d) queries.
        k: (..., M, d) keys.
        v: (..., M, e) values.
        mask: bool, broadcasts to (..., N, M); True = the query may look at the key. None: all may.

    Returns:
        (..., N, e): for each query, the average of the values by its weights.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., N, M)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)  # (..., N, M), rows sum to 1
    return weights @ v  # (..., N, e)
    ### END SOLUTION

# %% check="scaled_dot_product_attention"
check("hw1.scaled_dot_product_attention", scaled_dot_product_attention)

# %% [markdown]
# **Look at it.** Your function returns the averages, not the weights. But there is a trick to see the
# weights: hand it the *identity matrix* as values. Then value $j$ is a 1 at place $j$, and averaging the
# values by the weights gives the weights themselves. Here are those of one patch: in the middle free, on the right
# with a mask that forbids the left half of the image.

# %%
query = 6
right_half = (torch.arange(16) % 4 >= 2)  # (N,): True in the two columns of patches on the right
with when_done():
    sharper = 3 * patches  # makes the differences easier to see
    free = scaled_dot_product_attention(sharper, sharper, torch.eye(16))  # (N, N)
    masked = scaled_dot_product_attention(sharper, sharper, torch.eye(16), right_half.expand(16, 16))
    display(plots.attention_maps(image, torch.stack([free[query], masked[query]]), query=[query, query]))

# %% [markdown]
# **Change a number.** Make the mask wholly False (`>= 4` instead of `>= 2`) and print `masked`. What comes
# out, and why? (The softmax divides by the sum of its terms. What is that sum now?)
#
# <details><summary>Answer</summary>
#
# With $-\infty$ at every key, all terms $e^{-\infty}$ are 0 and so is their sum: 0 divided by 0 is `nan`, in every
# entry. (If you filled in a large negative number instead of $-\infty$, all keys get the same weight,
# $\frac1{16}$: a forbidden key is then heard after all.) Libraries differ in what they do here. So let every query
# look at one key at least.
# </details>

# %% [markdown]
# ## 3 · What may not be seen ●●○○○
#
# **Why.** Two masks turn up everywhere. A model that predicts the next token must not peek at it: query $i$
# may look at the keys $0 \dots i$ only (**causal**). And sequences in a batch have different lengths, so the
# short ones are filled up with meaningless tokens at the end, which nobody may look at (**padding**). Images
# usually need neither; frames of a video and captions of images do. (A network without such a mask is called
# *bidirectional*, one with the causal mask *autoregressive*.)
#
# **What.** `causal_and_padding_masks(lengths, num_tokens)`: from `lengths`, whole numbers of shape $(B,)$,
# each from 1 to $N$, and $N$ = `num_tokens`, to truth values of shape $(B, N, N)$. Entry $[b, i, j]$ is True
# if key $j$ is not after query $i$ **and** lies inside the length of sequence $b$. About padded *queries*
# nothing is said: they follow the same rule, and what they compute is thrown away later. So every query may
# look at key 0 at least.
#
# **By hand.** $N = 4$ and length 2: rows are queries, columns are keys.
#
# | | key 0 | key 1 | key 2 | key 3 |
# |-|:-:|:-:|:-:|:-:|
# | **query 0** | True | · | · | · |
# | **query 1** | True | True | · | · |
# | **query 2** (padding) | True | True | · | · |
# | **query 3** (padding) | True | True | · | · |

# %% exercise="causal_and_padding_masks"
def causal_and_padding_masks(lengths, num_tokens):
    """Who may look at whom in a batch of sequences that are read from left to right and padded at the end.

    Args:
        lengths: (B,) int64, how many tokens of each sequence are real, 1 to N.
        num_tokens: N.

    Returns:
        (B, N, N) bool: [b, i, j] is True where query i of sequence b may look at key j.
    """
    ### BEGIN SOLUTION
    place = torch.arange(num_tokens)  # (N,)
    causal = place[None, :] <= place[:, None]  # (N, N): key j not after query i
    inside = place[None, :] < lengths[:, None]  # (B, N): key j is real
    return causal & inside[:, None, :]  # (B, N, N)
    ### END SOLUTION

# %% check="causal_and_padding_masks"
check("hw1.causal_and_padding_masks", causal_and_padding_masks)

# %% [markdown]
# **Look at it.** Three sequences of a batch. And what attention does with the middle one: each row of weights
# ends where its mask ends, and what is left still sums to 1.

# %%
lengths = torch.tensor([6, 4, 1])
with when_done():
    mask = causal_and_padding_masks(lengths, 6)  # (B, N, N) = (3, 6, 6)
    display(plots.matrices({f"length {length}": mask[b] for b, length in enumerate(lengths)}))
    x = torch.randn(3, 6, 5)  # (B, N, d)
    weights = scaled_dot_product_attention(x, x, torch.eye(6).expand(3, 6, 6), mask)  # (B, N, N)
    display(plots.matrices({"weights of the middle one": weights[1]}))

# %% [markdown]
# ## 4 · Several heads: cut and put together ●●○○○
#
# **Why.** One softmax gives each token *one* set of weights. But a token may need two things at the same time: what
# is to its left, and whether there is a loop at the bottom. So the $D$ numbers of a token are cut into $h$ **heads**
# of $d = D/h$ numbers; each head has weights of its own, and afterwards the answers are put side by side again
# (**multi-head attention**). Nearly all the work is moving axes, and if they are moved wrongly, the shape is right
# and the numbers are in the wrong places:
#
# $$\text{split}(x)_{b,\,i,\,n,\,j} = x_{b,\,n,\,i d + j}, \qquad i = 0, \dots, h - 1, \quad j = 0, \dots, d - 1.$$
#
# **What.**
# * `split_heads(x, num_heads)`: $(B, N, D) \to (B, h, N, d)$. Head 0 is made of the *first* $d$ numbers of
#   every token, head 1 of the next $d$, and so on. Then each head is an ordinary $(N, d)$ matrix of tokens,
#   and your attention from exercise 2 works on all heads of all images at once.
# * `merge_heads(x)`: $(B, h, N, d) \to (B, N, D)$, the way back: for every token the $d$ numbers of head 0,
#   then those of head 1, and so on. `merge_heads(split_heads(x, h))` is `x` again.
#
# **By hand.** One image, $N=3$ tokens of $D=8$ numbers, $h=2$ heads. On paper: which numbers are in head 1,
# in which order?
#
# <details><summary>Answer</summary>
#
# The last four of each token: 4 5 6 7, then 12 13 14 15, then 20 21 22 23.
# </details>

# %%
numbered = torch.arange(24).reshape(3, 8)  # (N, D): a number says where it came from
numbered

# %% exercise="split_and_merge_heads"
def split_heads(x, num_heads):
    """(B, N, D) -> (B, h, N, d): head i holds the numbers i·d to i·d + d − 1 of every token; d = D / h."""
    ### BEGIN SOLUTION
    B, N, D = x.shape
    x = x.reshape(B, N, num_heads, D // num_heads)  # (B, N, h, d)
    return x.transpose(1, 2)  # (B, h, N, d)
    ### END SOLUTION


def merge_heads(x):
    """(B, h, N, d) -> (B, N, D): for every token the d numbers of head 0, then those of head 1, and so on."""
    ### BEGIN SOLUTION
    x = x.transpose(1, 2)  # (B, N, h, d)
    return x.flatten(2)  # (B, N, D)
    ### END SOLUTION

# %% check="split_and_merge_heads"
check("hw1.split_and_merge_heads", split_heads, merge_heads)

# %% [markdown]
# **Look at it.** Colour says which head a number belongs to, shade says which token it is from. On the right, the
# same numbers after a bare `reshape`: a "head" then holds all of one token and half of another. The shape is
# right and the network trains, with no error message, on mixed-up tokens. This is a common bug in attention code.

# %%
with when_done():
    display(plots.regrouped(numbered, {
        "your split_heads  (h, N, d)": split_heads(numbered[None], 2)[0],
        "poured into (h, N, d)": numbered.reshape(2, 3, 4),
    }))

# %% [markdown]
# ## 5 · Multi-head self-attention ●●●○○
#
# **Why.** So far the tokens themselves were queries, keys and values. Now each role gets a linear layer of
# its own (a **projection**), which can learn *what to look for*, *what to offer* and *what to pass on*. A fourth
# layer, `out`, mixes the results of the heads.
#
# ```
#              ┌── query ── split ──┐
# x (B, N, D) ─┼── key ──── split ──┼── attention in every head ── merge ── out ── (B, N, D)
#              └── value ── split ──┘
# ```
#
# $$q,\, k,\, v = \text{split}(\text{query}(x)),\ \text{split}(\text{key}(x)),\ \text{split}(\text{value}(x)), \qquad
# \text{result} = \text{out}\!\left(\text{merge}\!\left(\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right)
# v\right)\right)$$
#
# **What.** A module `MultiHeadSelfAttention(embed_dim, num_heads)`, Vaswani et al. 2017, section 3.2.2. Its
# parameters are those of four layers `nn.Linear(embed_dim, embed_dim)` called **`query`, `key`, `value` and
# `out`**. (If you would rather make the first three in one go, a single `nn.Linear(embed_dim, 3 * embed_dim)`
# called `qkv` is accepted instead: its first $D$ outputs are the queries, the next $D$ the keys, the last $D$
# the values.) The check loads its own weights by these names.
#
# `forward(x, mask=None)`: `x` is $(B, N, D)$, so is the result. The scores of a head are divided by $\sqrt
# d$, the width of the head. `mask` is $(B, N, N)$, as exercise 3 makes it, the same for all heads of an
# image: think about where the axis of the heads goes. You may call your own functions from above.
#
# **By hand.** With $h = 1$ and the identity in all four layers this is exactly exercise 2 with $q = k = v =
# x$.

# %% exercise="MultiHeadSelfAttention"
class MultiHeadSelfAttention(nn.Module):
    """Self-attention with several heads (Vaswani et al. 2017, section 3.2.2).

    Args:
        embed_dim: D, the width of a token; a multiple of num_heads.
        num_heads: h.
    """

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        ### BEGIN SOLUTION
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x, mask=None):
        """x (B, N, D), mask None or bool (B, N, N), True = may look -> (B, N, D)."""
        ### BEGIN SOLUTION
        q = split_heads(self.query(x), self.num_heads)  # (B, h, N, d)
        k = split_heads(self.key(x), self.num_heads)  # (B, h, N, d)
        v = split_heads(self.value(x), self.num_heads)  # (B, h, N, d)
        if mask is not None:
            mask = mask[:, None]  # (B, 1, N, N): the same for every head
        return self.out(merge_heads(scaled_dot_product_attention(q, k, v, mask)))  # (B, N, D)
        ### END SOLUTION

# %% check="MultiHeadSelfAttention"
check("hw1.MultiHeadSelfAttention", MultiHeadSelfAttention)

# %% [markdown]
# **Compare with torch.** PyTorch has a module of the same kind, written by other people in another way. Copy
# your weights into it, and both should say the same of any input.

# %%
def packed(weights, kind):
    """Weights or biases of query, key and value in one tensor, the way torch keeps them: (3D, D) or (3D,)."""
    if f"qkv.{kind}" in weights:
        return weights[f"qkv.{kind}"]
    return torch.cat([weights[f"{name}.{kind}"] for name in ("query", "key", "value")])


with when_done():
    ours, theirs = MultiHeadSelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    weights = ours.state_dict()
    theirs.load_state_dict({
        "in_proj_weight": packed(weights, "weight"), "in_proj_bias": packed(weights, "bias"),
        "out_proj.weight": weights["out.weight"], "out_proj.bias": weights["out.bias"],
    })
    x = torch.randn(2, 5, 12)  # (B, N, D)
    print("same as torch's own, to five decimals:", torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-5))

# %% [markdown]
# **Change a number.** Before you run it: how many parameters has the module with 12 heads instead of 3? And
# with one?
#
# <details><summary>Answer</summary>
#
# The same number each time, $4\,(D^2 + D) = 624$: the heads only cut what the four layers give.
# </details>

# %%
with when_done():
    for num_heads in (3, 12, 1):
        parameters = MultiHeadSelfAttention(12, num_heads).parameters()
        print(f"{num_heads:2} heads: {sum(parameter.numel() for parameter in parameters)} parameters")

# %% [markdown]
# ## 6 · Where am I? ●●○○○
#
# **Why.** Nothing in exercise 5 knows the order of the tokens: shuffle them, and the outputs come out
# shuffled the same way, otherwise unchanged. Two digits made of the same patches in other places would be one
# to it. So each place gets a pattern of numbers of its own, which is added to its token: a **position encoding**
# (positional embedding, where it is learned). The first transformer used sines and cosines, like the hands of many
# clocks, from fast to slow:
#
# $$p_{n,\,2i} = \sin\frac{n}{10000^{2i/D}}, \qquad p_{n,\,2i+1} = \cos\frac{n}{10000^{2i/D}}, \qquad
# i = 0, \dots, D/2 - 1$$
#
# (Vaswani et al. 2017, section 3.5). Columns $2i$ and $2i+1$ are the two coordinates of one hand; $n = 0,
# \dots, N-1$ is the place. The first hand turns by one radian a place, the last one hardly moves at all.
#
# **What.** `sinusoidal_positions(num_tokens, embed_dim)`: to a table of shape $(N, D)$; $D$ is even. Sine and
# cosine **alternate**: column 0 is a sine, column 1 the cosine of the same angle, column 2 the next sine.
# (Some code puts all sines first. It works as well, but here the formula counts.)
#
# **By hand.** $D = 4$: row 0 is $(0, 1, 0, 1)$. Row 1 is $(\sin 1, \cos 1, \sin 0.01, \cos 0.01)$, because
# $10000^{2/4} = 100$.

# %% exercise="sinusoidal_positions"
def sinusoidal_positions(num_tokens, embed_dim):
    """A pattern for every place (Vaswani et al. 2017, section 3.5).

    Args:
        num_tokens: N.
        embed_dim: D, even.

    Returns:
        (N, D) float: column 2i is sin(n / 10000^(2i/D)), column 2i+1 the cosine of the same angle.
    """
    ### BEGIN SOLUTION
    frequency = 10000 ** (-torch.arange(0, embed_dim, 2) / embed_dim)  # (D/2,)
    angle = torch.arange(num_tokens)[:, None] * frequency  # (N, D/2)
    positions = torch.zeros(num_tokens, embed_dim)  # (N, D)
    positions[:, 0::2] = angle.sin()
    positions[:, 1::2] = angle.cos()
    return positions
    ### END SOLUTION

# %% check="sinusoidal_positions"
check("hw1.sinusoidal_positions", sinusoidal_positions)

# %% [markdown]
# **Look at it.** Left, the table: fast columns on the left, slow ones on the right. Right, the dot product of
# each two rows: it is largest on the diagonal and depends only on *how far apart* two places are, not on
# where they are. So the score of a query and a key that carry these patterns can depend on their distance.

# %%
num_tokens = 32  # try 64: which columns tell place 40 from place 50?
with when_done():
    positions = sinusoidal_positions(num_tokens, 24)  # (N, D)
    display(plots.matrices({"positions (N, D)": positions, "row · row (N, N)": positions @ positions.T}))

# %% [markdown]
# ## 7 · The block ●●○○○
#
# **Why.** Attention moves information *between* tokens; it computes little *from* it. So a block has two parts:
# attention, and then a small network (**MLP**, or feed-forward network) that works on each token alone. Each part
# *adds* its result to its input (**residual connection**, skip connection), so that the gradient reaches the early
# ones of many blocks along the plain sum; what runs through all these sums is called the **residual stream**. And
# each part reads a normalised copy of the stream (**pre-norm**; the first transformer normalised after the sum,
# *post-norm*), so that its inputs always have the same size.
#
# ```
#         ┌── norm1 ── attention ──┐        ┌── norm2 ── fc1 ── GELU ── fc2 ──┐
# x ──────┴────────────────────────+────────┴─────────────────────────────────+──── out
# ```
#
# **What.** A module `TransformerBlock(embed_dim, attention, mlp_ratio)`; `forward(x)` is $(B, N, D) \to (B,
# N, D)$:
#
# $$y = x + \text{attention}(\text{norm1}(x)), \qquad
# \text{out} = y + \text{fc2}(\text{GELU}(\text{fc1}(\text{norm2}(y)))).$$
#
# `attention` is a finished module that you are handed: keep it as **`self.attention`**. The others are yours:
# **`norm1`** and **`norm2`** are `nn.LayerNorm(embed_dim)`, with torch's own `eps`, $10^{-5}$ (homework 2 will
# want another); the GELU (a smooth form of ReLU) is torch's default, the exact one. **`fc1`** is linear from $D$ to
# `mlp_ratio` $\cdot D$, **`fc2`** linear back. (Instead of `fc1` and `fc2`, an `nn.Sequential` called `mlp` of linear,
# GELU, linear is accepted.) The check hands in an attention of its own, so exercise 5 need not be done for
# this one. It is the block of the vision transformer (Dosovitskiy et al. 2021, eq. 2 and 3).

# %% exercise="TransformerBlock"
class TransformerBlock(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, eq. 2 and 3).

    Args:
        embed_dim: D, the width of a token.
        attention: a module (B, N, D) -> (B, N, D) that mixes the tokens.
        mlp_ratio: how many times wider than D the MLP is inside; a whole number.
    """

    def __init__(self, embed_dim, attention, mlp_ratio):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x):
        """(B, N, D) -> (B, N, D)."""
        ### BEGIN SOLUTION
        x = x + self.attention(self.norm1(x))  # (B, N, D)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))  # (B, N, D)
        ### END SOLUTION

# %% check="TransformerBlock"
check("hw1.TransformerBlock", TransformerBlock)

# %% [markdown]
# **Look at it.** Replace token 2 by something else: which outputs notice? With your attention in the block,
# all of them. With a mixer that does nothing (`nn.Identity`) only token 2 itself: everything else in the
# block works on each token alone.

# %%
def change(block, changed=2):
    """How much each of 6 tokens' outputs moves when one token is replaced: (N,)."""
    x = torch.randn(1, 6, 12)  # (B, N, D)
    other = x.clone()
    other[0, changed] = torch.randn(12)
    return (block(other) - block(x))[0].norm(dim=-1).detach()


with when_done():
    mixers = {"your attention": MultiHeadSelfAttention(12, 3), "nn.Identity": nn.Identity()}
    moved = torch.stack([change(TransformerBlock(12, mixer, 2)) for mixer in mixers.values()])  # (2, N)
    tokens = [f"token {n}" for n in range(6)]
    display(plots.matrices({"how far each output moves": moved}, rows=list(mixers), columns=tokens))

# %% [markdown]
# ## 8 · What it costs ●●○○○
#
# **Why.** Attention looks everywhere, and pays for it: every pair of tokens has a score. The obvious way to
# use it on an image, every pixel a token, fails on that alone. Work out by how much.
#
# **What.** `attention_cost(num_tokens, embed_dim, num_layers, num_heads, bytes_per_number)` for one image. It
# returns two whole numbers, in this order:
# 1. the **multiply-accumulates** of the self-attention in all layers. A product of an $(a, b)$ with a $(b,
#    c)$ matrix takes $a \cdot b \cdot c$ of them (a multiplication and the addition after it count as one).
#    Count the four linear layers and the two products inside the heads. Leave out what is small beside them:
#    biases, the softmax, the scaling.
# 2. the **bytes** of all score matrices of all heads in all layers, if all of them are kept, as training has
#    to for the way back (each score once).
#
# **By hand.** $N=2$ tokens, $D=4$, one layer, two heads, 4 bytes a number. A linear layer takes $2 \cdot 4
# \cdot 4 = 32$. A head is 2 wide, so its scores take $2 \cdot 2 \cdot 2 = 8$, and so does the averaging of
# its values. Together $4 \cdot 32 + 2 \cdot (8 + 8) = 160$. The scores are $2 \cdot 2 \cdot 2 = 8$ numbers,
# 32 bytes.

# %% exercise="attention_cost"
def attention_cost(num_tokens, embed_dim, num_layers, num_heads, bytes_per_number):
    """What the self-attention of a transformer costs for one image.

    Args:
        num_tokens: N.
        embed_dim: D, a multiple of num_heads.
        num_layers: how many layers there are.
        num_heads: h, heads in each layer.
        bytes_per_number: 4 for float32, 2 for bfloat16.

    Returns:
        (macs, score_bytes): multiply-accumulates of all layers, bytes of all score matrices.
    """
    ### BEGIN SOLUTION
    projections = 4 * num_tokens * embed_dim**2  # query, key, value, out
    products = 2 * num_tokens**2 * embed_dim  # scores and averages; h heads of D/h cost what one of D would
    macs = num_layers * (projections + products)
    score_bytes = num_layers * num_heads * num_tokens**2 * bytes_per_number
    return macs, score_bytes
    ### END SOLUTION

# %% check="attention_cost"
check("hw1.attention_cost", attention_cost)

# %% [markdown]
# **Look at it.** A transformer of 48 layers with 16 heads, once on the 128 × 128 pixels of a small picture,
# once on the 14 × 14 patches of a usual one (224 × 224 pixels, patches of 16 × 16).

# %%
sizes = [2**power for power in range(4, 15)]  # tokens
with when_done():
    gib = {N: attention_cost(N, 1024, 48, 16, 4)[1] / 2**30 for N in (*sizes, 14 * 14)}
    print(f"every pixel a token: {gib[128 * 128]:.0f} GiB    patches: {gib[14 * 14] * 1024:.1f} MiB")
    display(plots.curves(
        sizes, {"scores": [gib[N] for N in sizes]}, log="xy", xlabel="tokens N", ylabel="GiB for one image",
        marks={"14 × 14 patches": (196, gib[196]), "128 × 128 pixels": (16384, gib[16384])},
        levels={"a GPU of 80 GiB": 80},
    ))

# %% [markdown]
# On these two axes a straight line that climbs two steps for each step to the right is a *square*: twice the
# side of the image is four times the tokens is sixteen times the memory. That is why vision transformers look
# at patches, and why later lectures find ways to look at fewer pairs.
#
# **A question.** Your first result is a sum of two terms, one for the linear layers and one for the products
# inside the heads. At some $N$ both are equal: at which? With $D=1024$ and 196 tokens, which of the two is larger?
#
# <details><summary>Answer</summary>
#
# At $N = 2D$. For $D = 1024$ that is 2048 tokens; with 196 the linear layers cost about ten times as much as the
# products.
# </details>

# %% [markdown]
# ## 9 · Training ●●●○○
#
# **Why.** You have trained networks before. Here you write the loop so exactly that another person's run with
# the same seed gives the same numbers. So experiments can be compared, and mistakes in the loop are found: with many of
# them the loss falls all the same.
#
# **What.** `train_on_digits(model, images, labels, steps, batch_size, learning_rate, generator)` trains
# `model` in place and returns the list of its losses, one plain number for each step (`loss.item()`; a tensor that
# still holds its graph is none).
#
# * Before the first step, make one `torch.optim.AdamW` over all parameters of the model, with the given
#   learning rate and nothing else: weight decay and all other options keep torch's defaults.
# * In each step, draw the indices of a batch with `torch.randint(len(images), (batch_size,),
#   generator=generator)`, once, for images and labels alike.
# * The loss is the cross entropy between the model's raw scores $(B, 10)$ and the labels; its value *before*
#   the weights move is what goes into the list.
# * Then the gradients are cleared and computed, and the optimizer moves.
#
# `images` is float, $(n, 1, H, W)$, from 0 to 1; `labels` is int64, $(n,)$. The check follows a tiny
# classifier for a few steps, number by number. Then your loop gets 50 steps to teach a small transformer of
# ours to read digits: **at least 92 %** of 300 it has never seen must be right (it takes about a second).

# %% exercise="train_on_digits"
def train_on_digits(model, images, labels, steps, batch_size, learning_rate, generator):
    """Train a classifier in place.

    Args:
        model: images (B, 1, H, W) -> scores (B, classes).
        images: (n, 1, H, W) float.
        labels: (n,) int64.
        steps: how many batches.
        batch_size: B.
        learning_rate: of AdamW.
        generator: the torch.Generator that batches are drawn from.

    Returns:
        list of `steps` floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)  # (B,)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_on_digits"
check("hw1.train_on_digits", train_on_digits)

# %% [markdown]
# ## All together: your transformer reads digits
#
# Nothing to write here, only to put together: patches to tokens, plus places, through one block, averaged,
# and ten scores. Every part but the first and the last layer is yours.

# %%
class DigitsTransformer(nn.Module):
    """Images (B, 1, 8, 8) from 0 to 1 -> scores (B, 10)."""

    def __init__(self, with_positions=True, embed_dim=48, num_heads=4):
        super().__init__()
        self.num_heads = num_heads
        self.embed = nn.Linear(4, embed_dim)
        self.register_buffer("positions", sinusoidal_positions(16, embed_dim) * with_positions)  # (N, D)
        self.block = TransformerBlock(embed_dim, MultiHeadSelfAttention(embed_dim, num_heads), mlp_ratio=2)
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, 10)

    def tokens(self, images):
        pixels = (images - 0.3) / 0.37  # to mean 0 and spread 1
        patches = rearrange(pixels, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=2, pw=2)  # (B, N, 4)
        return self.embed(patches) + self.positions  # (B, N, D)

    def forward(self, images):
        x = self.block(self.tokens(images))  # (B, N, D)
        return self.head(self.norm(x).mean(dim=1))  # (B, 10)

# %% [markdown]
# **Train it** with your own loop: 500 steps, then 150 at a tenth of the learning rate, so that the last steps are
# small. And the same network again with all positions set to zero, so that it sees its patches in no order at
# all. `trained` trains when it is first asked for and then remembers; run its cell again after you have
# changed a part.

# %%
from functools import cache

held_out = load("digits", "test", device="cpu")


@cache
def trained(with_positions):
    """A trained network, its losses, and its scores (397, 10) on the digits held out."""
    torch.manual_seed(0)
    model = DigitsTransformer(with_positions)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for steps, rate in budget(tiny=[(20, 0.01)], cpu=[(500, 0.01), (150, 0.001)]):
        losses += train_on_digits(model, digits.images / 255, digits.labels, steps, 64, rate, generator)
    with torch.no_grad():
        return model.eval(), losses, model(held_out.images / 255)

# %% [markdown]
# *Price of the next cell: about 12 s on a laptop's CPU for both networks; on a GPU not measured.*

# %%
with when_done():
    curves, results = {}, {}
    for name, with_positions in {"with places": True, "without places": False}.items():
        _, losses, scores = trained(with_positions)
        curves[name] = torch.tensor(losses).reshape(-1, 10).mean(dim=1)  # ten steps a point
        right = scores.argmax(dim=1) == held_out.labels  # (397,)
        results[name] = {"held-out digits": float(right.float().mean())}
    steps = torch.arange(5, len(losses), 10)
    display(plots.curves(steps, curves, xlabel="step", ylabel="loss", log="y", title="your loop and network"))
    display(plots.bars(results, chance=0.1))

# %% [markdown]
# Compare the two bars. With positions, one block reads most of the digits that it has never seen. Without them it
# knows which patches there are, but not where they lie: it is far better than guessing, and far worse than with
# positions. Exercise 10 asks you why. (Each bar is one run: change both seeds in `trained`, run again, and see which
# digits of the two numbers stay.)
#
# **Where does it look?** Here are the four heads for one query patch of a held-out digit. Change `which` and
# `query`. Do the heads look at different things? (Do not expect too much meaning: one block, trained for
# seconds.)

# %%
def attention_weights(model, images):
    """Who looks at whom in the trained block: (B, h, N, N)."""
    attention, x = model.block.attention, model.block.norm1(model.tokens(images))  # x: (B, N, D)
    if hasattr(attention, "qkv"):
        q, k, _ = attention.qkv(x).chunk(3, dim=-1)  # (B, N, D) each
    else:
        q, k = attention.query(x), attention.key(x)
    q, k = split_heads(q, model.num_heads), split_heads(k, model.num_heads)  # (B, h, N, d)
    return scaled_dot_product_attention(q, k, torch.eye(16).expand(*q.shape[:2], 16, 16))  # (B, h, N, N)


which, query = 3, 6
with when_done():
    weights = attention_weights(trained(True)[0], held_out.images[which : which + 1] / 255)  # (1, h, N, N)
    display(plots.attention_maps(held_out.images[which], weights[0, :, query], query))

# %% [markdown]
# **What does it get wrong?** Look at the first few. Would you have known?

# %%
with when_done():
    answers = trained(True)[2].argmax(dim=1)  # (397,)
    wrong = (answers != held_out.labels).nonzero().flatten()[:8]
    captions = [f"a {held_out.labels[n]}, read as {answers[n]}" for n in wrong]
    display(plots.image_grid(held_out.images[wrong], count=8, columns=8, captions=captions))

# %% [markdown]
# **Questions to play with.** What does one head do instead of four (`num_heads=1`)? Is `mlp_ratio=1` enough?
# What if the positions are multiplied by 0.02, the scale at which learned tables often begin? There is no one number to
# expect: run each with two seeds before you believe a difference of a few per cent.

# %% [markdown]
# ## Photographs
#
# Digits fill their frame, and there are ten. Are photographs within reach too? The same parts of yours, more of
# them: 64 patches of 4 × 4 pixels in colour, several blocks, CIFAR-10's aeroplanes, cats and lorries. On a CPU the
# network is small and sees 5,000 photographs; on a GPU it is wider and deeper and sees all 50,000. Guess before you
# run it: how far is it from the 10 % of guessing, and which of the ten will it mix up?
#
# *Price: some 40 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not
# measured.*

# %%
class PhotographTransformer(nn.Module):
    """Images (B, 3, 32, 32) from 0 to 1 -> scores (B, 10)."""

    def __init__(self, embed_dim, depth, num_heads):
        super().__init__()
        attention = lambda: MultiHeadSelfAttention(embed_dim, num_heads)
        self.embed = nn.Linear(48, embed_dim)
        self.register_buffer("positions", sinusoidal_positions(64, embed_dim))  # (N, D)
        self.blocks = nn.Sequential(*(TransformerBlock(embed_dim, attention(), mlp_ratio=2) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 10)

    def forward(self, images):
        pixels = (images - 0.47) / 0.25  # to about mean 0 and spread 1
        patches = rearrange(pixels, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=4, pw=4)  # (B, N, 48)
        x = self.blocks(self.embed(patches) + self.positions)  # (B, N, D)
        return self.head(self.norm(x).mean(dim=1))  # (B, 10)

# %%
from course.data import photographs


def read_photographs():
    """Your transformer on CIFAR-10: its share of right answers, and the first that it gets wrong."""
    torch.manual_seed(0)
    network = PhotographTransformer(*budget(tiny=(16, 1, 2), cpu=(64, 3, 4), gpu=(192, 9, 3)))
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    (images, labels), unseen = photos
    steps, batch_size = budget(tiny=(2, 8), cpu=(300, 64), gpu=(4_000, 256))
    generator = torch.Generator().manual_seed(0)
    for share, rate in ((0.8, 1e-3), (0.2, 1e-4)):
        some = max(1, round(share * steps))
        train_on_digits(network.to(images.device), images / 255, labels, some, batch_size, rate, generator)
    with torch.no_grad():
        answers = torch.cat([network(part / 255).argmax(dim=1) for part in unseen.images.split(500)])
    print(f"{(answers == unseen.labels).float().mean():.0%} of {len(unseen):,} photographs it has never seen")
    wrong = (answers != unseen.labels).nonzero().flatten()[:8]
    captions = [f"{unseen.classes[unseen.labels[n]]}, read as {unseen.classes[answers[n]]}" for n in wrong]
    display(plots.image_grid(unseen.images[wrong].cpu(), count=8, columns=4, captions=captions))


with when_done():
    read_photographs()

# %% [markdown] written="order_and_cost" points=5
# ## 10 · In your own words ●●●○○
#
# A few sentences for each part; a line of mathematics is welcome where it is shorter. This one is read by a
# person.
#
# **(a)** *(2 points)* Convolution is equivariant to translations; self-attention is equivariant to
# permutations. Explain the second half: the tokens $x$ go into your `MultiHeadSelfAttention`, without a mask,
# in another order. What comes out, and why? Go through the layers, the scores, the softmax and the average.
#
# **(b)** *(1 point)* Without positions your network still read far more digits than the 10 % of guessing. What
# does it know about an image, and what can it not know?
#
# **(c)** *(2 points)* The side of an image is doubled, the size of the patches stays. By what factor do the
# number of tokens, the memory of the scores, and the two terms of the multiply-accumulates grow? Name one way
# out of this, and what it gives up.
#
# ### BEGIN SOLUTION
# **(a)** The outputs come out in the same new order and are otherwise unchanged. The four linear layers work
# on each token alone, so a permutation $P$ of the rows of $x$ permutes the rows of $q$, $k$ and $v$ alike.
# The scores become $P q (P k)^\top = P\,(q k^\top)\,P^\top$: rows and columns change places together. The
# softmax works on each row alone, and does not care in which order its terms stand, so the weights are
# permuted in the same way. Then $(P w P^\top)(P v) = P\,(w v)$, because $P^\top P = 1$: the sum over the keys
# has the same terms, in another order. Splitting into heads cuts the width and does not touch the rows.
#
# *Marking: 1 point for the statement (outputs permuted the same way; "unchanged" alone is invariance, half a
# point), 1 point for a reason that follows queries **and** keys through the softmax to the sum.*
#
# **(b)** The average at the end makes it invariant: it sees the bag of the patches. How many patches are
# dark, bright, a corner, a stroke of this slant: that already tells many digits apart. It cannot know where a
# patch lay, so two digits made of the same patches in other places are one to it.
#
# *Marking: half a point for the bag of patches, half a point for what is lost.*
#
# **(c)** Tokens: 4 times. Scores: 16 times, one for each pair. The term $4ND^2$ grows 4 times, $2N^2D$ 16
# times. Ways out, one is enough: larger patches (fine detail is blurred at the entrance); attention in
# windows, as in Swin (far-apart tokens no longer meet in one layer); fewer keys, by pooling them (detail of
# what is looked at); never keeping the scores, as fused kernels do (saves the memory, not the arithmetic).
#
# *Marking: 1 point for the four factors (half a point if one is wrong), half a point for a way out, half for
# its price.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * A score is a dot product divided by $\sqrt d$; a softmax over the keys makes weights; values are averaged
#   by them.
# * A mask takes keys out *before* the softmax; rows are queries, columns are keys.
# * Heads are a matter of cutting $D$ and moving an axis; a bare reshape has the right shape and the wrong
#   numbers.
# * Self-attention does not know order, so positions are added; a block adds the results of attention and MLP to the
#   residual stream.
# * Every pair of tokens costs. This is why images are cut into patches, and why the later lectures exist.
#
# **Next:** lecture `04_transformer`, and homework 2, where your block becomes a vision transformer.
#
# **References.** A. Vaswani et al., *Attention is all you need*, NeurIPS 2017. · A. Dosovitskiy et al., *An
# image is worth 16x16 words*, ICLR 2021. · R. Xiong et al., *On layer normalization in the transformer
# architecture*, ICML 2020 (why pre-norm). · D. Hendrycks and K. Gimpel, *Gaussian error linear units
# (GELUs)*, 2016. · I. Loshchilov and F. Hutter, *Decoupled weight decay regularization*, ICLR 2019 (AdamW). ·
# The digits: E. Alpaydin and C. Kaynak, *Optical recognition of handwritten digits*, UCI repository, 1998.
