# %% [markdown]
# # 3 · Self-attention: what should a pixel look at?
#
# | | |
# |---|---|
# | **You will understand** | how every token of an image can look at every other one: scores, softmax, values, heads, masks, positions; why each of them is there; what it costs |
# | **You need** | PyTorch, one CNN trained before; [0 · Start here](00_start_here.ipynb) for the letters B N D h d |
# | **It takes** | {reading time}; all cells together run in under a minute on two CPU cores |
# | **Before · after** | [2 · Beyond local](02_beyond_local.ipynb) · **3 · Self-attention** · [4 · The transformer](04_transformer.ipynb) |
# | **Homework** | [hw1 · Self-attention](../assignments/hw1_self_attention/hw1_self_attention.ipynb): you build it, from two loops to batched heads |

# %% tags=["setup"]
import torch
from torch import nn
from einops import einsum, rearrange, reduce
from course import budget, plots, setup
from course.data import load
from course.models import architecture
from course.seeds import over_seeds
from course.training import fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · What should a pixel look at?
#
# A convolution has a fixed answer: *at its neighbours, always, whatever is in them*. For much of vision that
# is a very good answer. To see where it ends we use images that carry **two questions about the same pixels**:
#
# * *texture*: in which direction do the stripes of the ground run? (ten angles)
# * *relation*: in which direction does the blue ring lie, seen from the red plus? (ten directions)

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000))
test = load("two_questions", "test", size=budget(tiny=50, cpu=500))
plots.image_grid(test, count=5).described(
    "Five images of 32 by 32 pixels: faint stripes everywhere, one red plus and one blue "
    "ring far apart. Under each stand its two answers, the angle of the stripes and the "
    "direction of the ring.")

# %% [markdown]
# The stripes are faint, but they are *everywhere*. The plus and the ring are easy to see, but they are *far
# apart*: their centres are never closer than 15 pixels. Here is one image, and what a network sees of it whose
# **receptive field** is 9 pixels wide. (The receptive field is the part of the image that one number of a
# feature map depends on.) The network looks through all such windows, takes the average of what it found, and
# decides.

# %%
plots.windows_on_image(test.images[3], centres=[(9, 5), (26, 4), (12, 22)], size=9).described(
    "One image and three windows of 9 by 9 pixels: one shows the ring, one the plus, one "
    "only stripes. No window shows both glyphs.")

# %% [markdown]
# Each window shows some stripes. No window shows both glyphs. And to know that there is *a plus somewhere and
# a ring somewhere* is worth nothing: that is true of every image.
#
# So we can predict, before any training, what a CNN with this receptive field will do. Three 3 × 3
# convolutions, the second with stride 2, see 9 × 9 pixels. (`padding="circular"` continues the image at the
# left where it ends at the right. Why not with the usual zeros? That is question 3.2.)

# %%
def small_field_cnn(more=0, padding="circular"):
    """3 + more convolutions of 3 × 3: a place of the last map sees 9 + 4·more pixels."""
    layers = []
    for before, after, stride in [(3, 16, 1), (16, 32, 2), (32, 32, 1)] + more * [(32, 32, 1)]:
        conv = nn.Conv2d(before, after, 3, stride, padding=1, padding_mode=padding, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]  # (B, after, H/stride, W/stride)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1),  # (B, 32, 1, 1)
                         nn.Flatten(), nn.Linear(32, 10))  # (B, 10)

# %% [markdown]
# The same network is trained twice on the same images, once for each question. *(Price: two trainings of about
# 4 seconds on two CPU cores. The runs with two other random seeds, other first weights and another order of
# the images, are stored; the small marks in the picture are the three runs.)*

# %%
def cnn_learns(question, steps, seed, images=train, **network):
    torch.manual_seed(seed)
    cnn_recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=steps), lr=3e-3, seed=seed)
    return fit(small_field_cnn(**network), images.ask(question), cnn_recipe,
               val=test.ask(question), val_points=5, plot=False)

def nine_pixels(seed):
    return {"texture": cnn_learns("texture", 100, seed).final_accuracy,
            "relation": cnn_learns("relation", 100, seed).final_accuracy}

cnn = over_seeds("03_self_attention/nine_pixels", nine_pixels)
plots.bars({"CNN that sees 9 pixels": cnn}, chance=0.1)

# %% [markdown]
# One question is solved: 100 %<!-- nine_pixels / texture --> in all three runs. The other one is answered by
# guessing: 10 to 12 %<!-- nine_pixels / relation -->, where chance is 10 %<!-- = 100 / 10 -->. More data and more
# training do not help this network (question 3.2 tries both): the answer is in nothing that it looks at.
#
# The classic way out is to stack layers until one number sees both glyphs:
#
# **Question 3.1** `more=1`, `more=2` and `more=3` give this CNN a fourth, fifth and sixth layer. Each adds 4 pixels to
# the receptive field (2 × the strides before it). From which field on will *relation* leave chance? Predict, then
# run the cell. (It shows three stored runs of 300 steps each.)

# %%
def wider_fields(seed):
    return {"13 pixels": {
                "relation": cnn_learns("relation", 300, seed, more=1).final_accuracy},
            "17 pixels": {
                "relation": cnn_learns("relation", 300, seed, more=2).final_accuracy}}

def field_of_21(seed):
    return {"21 pixels": {
                "relation": cnn_learns("relation", 300, seed, more=3).final_accuracy}}

wider = over_seeds("03_self_attention/wider_fields", wider_fields, live=False)
widest = over_seeds("03_self_attention/field_of_21", field_of_21, live=False)
plots.bars(wider | widest, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each glyph is 6 pixels wide. A window that holds two columns of each is at least as wide as their distance minus 2.
# The centres are 15 to 21 pixels apart, so 13 pixels are enough for the nearest pairs only, 17 pixels for pairs up
# to 19, and 21 pixels for all. Three runs of 300 steps gave 8 to 10 %<!-- wider_fields / 13 pixels / relation --> with
# 13 pixels, 14 to 30 %<!-- wider_fields / 17 pixels / relation --> with 17. With 21 pixels they gave 11, 54 and 70 %
# <!-- field_of_21 / 21 pixels / relation -->. That the field is wide enough does not
# yet mean that the network has learned to use it: one of the three runs had not begun after 300 steps.
# </details>

# %% [markdown]
# Now the question that surprises most readers. Almost every CNN continues the image not with itself but with zeros.
# We change only that, `padding="zeros"`, and train for longer: 1,000 steps on 20,000 images. The receptive
# field is still 9 pixels, and no window shows both glyphs. *(Stored runs: about a minute each.)*

# %%
def border_leak(seed):
    many = load("two_questions", "train", size=budget(tiny=200, cpu=20000))
    zeros = cnn_learns("relation", 1000, seed, many, padding="zeros")
    circular = cnn_learns("relation", 1000, seed, many, padding="circular")
    return {"steps": zeros.val_steps,
            "zeros": zeros.val_accuracy, "circular": circular.val_accuracy}

leak = over_seeds("03_self_attention/border_leak", border_leak, live=False)
padded = {"padding with zeros": leak["zeros"], "circular padding": leak["circular"]}
plots.curves(leak["steps"][0], padded, levels={"chance": 0.1}, xlabel="step",
             ylabel="accuracy, relation")

# %% [markdown]
# **Question 3.2** With circular padding the CNN stays at chance: 9 to 10 %<!-- border_leak / circular / -1 --> after
# 1,000 steps. With zeros it reaches 44 to 50 %<!-- border_leak / zeros / -1 -->. *This network sees nine pixels and
# still learns where things are. How?*
#
# <details><summary>Answer</summary>
#
# The zeros mark the border. A window that reaches over the left border sees a strip of zeros at its left side,
# without stripes or noise, and no other window does. So a window can say "here is a plus, *close to the left
# border*", and another one "here is a ring, *close to the right border*". Each needs only nine pixels. The average
# over all windows brings both to the last layer, which concludes that the ring lies to the right. Zero padding is a
# **position code** (section 8), at least near the border (Islam, Jia and Bruce 2020 measured it in deep networks). With
# circular padding nothing tells a window where it is.
#
# How much can the borders tell? Who knows of each glyph only which borders it is within 3 pixels of is right in 39
# of 100 images, within 6 pixels in 67 of 100 (`course/data/two_questions.py`). Windows of 9 pixels that reach over
# the border see about that far. Circular padding is not perfect either: opposite borders now touch, so in some
# images one window holds the outermost pixels of both glyphs *across* the border. The network makes nothing of it.
# </details>

# %% [markdown]
# Larger receptive fields work, and even a border can help. But every layer adds a few pixels only, and *where
# to look* has to be learned anew for every distance and direction. What we would like to say is: **"you, the
# red thing: find the blue thing, wherever it is, and tell me where."** That is a look-up by content, and it is
# all that attention is. The rest of this lecture builds it, piece by piece.

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
plots.matrices({"x  (N, D)": x}, rows=names, columns=features).described(
    "The four tokens as a table. The plus: red 0.9, at (0.2, 0.8). Ground a: striped 0.8, "
    "at (0.8, 0.9). Ground b: striped 0.9, at (0.1, 0.2). The ring: blue 1.0, at (0.7, "
    "0.3).")

# %% [markdown]
# ### 2.1 Scores: how much do two tokens have to do with each other?
#
# The simplest measure of how alike two vectors are is their **dot product**: multiply number by number, add
# up. It is large where both are large in the same places. Take what the tokens *look like* (their first three
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
plots.matrices({"scores  (N, N): row i looks at column j": scores}, rows=names,
               columns=names).described(
    "The table of scores, four by four and symmetric. The row of the plus: 0.86 with "
    "itself, 0.28 and 0.38 with the two grounds, 0.21 with the ring.")

# %% [markdown]
# Two loops over the tokens: N² dot products. A matrix product does the same at once, and `einsum` writes down
# what happens to which axis: `d` appears on the left only, so it is summed over; `i` and `j` stay.

# %%
at_once = einsum(looks, looks, "i d, j d -> i j")  # (N, N)
(at_once - scores).abs().max()

# %% [markdown]
# ### 2.2 Softmax: from scores to shares
#
# Scores can be any numbers. We want *shares of attention*, called **attention weights**: positive, and with the
# sum 1 in each row, since each token has one whole attention to spend. **Softmax** does that: raise e to the
# power of each score, divide by the sum of the row. For the plus:
#
# $$e^{0.86},\ e^{0.28},\ e^{0.38},\ e^{0.21} = 2.36,\ 1.32,\ 1.46,\ 1.23
#   \quad\text{(sum 6.38)} \quad\Rightarrow\quad 0.37,\ 0.21,\ 0.23,\ 0.19$$

# %%
alike = scores.exp() / scores.exp().sum(dim=1, keepdim=True)  # (N, N), each row sums to 1
plots.matrices({"scores": scores, "weights = softmax of each row": alike}, rows=names,
               columns=names).described(
    "Scores and weights side by side. The plus spends 0.37 of its attention on itself, 0.21 "
    "and 0.23 on the grounds and 0.19, the least, on the ring.")

# %% [markdown]
# **Question 3.3** Multiply the scores by 10 before the softmax, then by 100, and run again. Then add 5 to all
# of them. What happens to the weights, and which token does the plus end up looking at?
#
# <details><summary>Answer</summary>
#
# Multiplying sharpens. Differences between scores become ratios between weights, $e^{a}/e^{b}=e^{a-b}$, so ten
# times the difference is the ratio to the tenth power. At 100 almost all weights are 0 or 1: softmax has become
# *argmax*. The plus looks at itself, and so does every other token except ground a, whose largest score is the
# one with ground b. Adding a constant changes nothing at all.
# </details>
#
# ### 2.3 Values: what a token brings home
#
# What does a token get for its attention? The **weighted average** of what the tokens have to offer, their
# **values**. Let that be *where they are*, the last two numbers. One row of weights then pulls one point, the
# star, towards the four places:

# %%
places = x[:, 3:]  # (N, 2)
brought = einsum(alike, places, "i j, j v -> i v")  # (N, 2): for each token an average place
plots.weighted_average(places, {"what the plus gets": alike[0]}, names)

# %% [markdown]
# That is all of attention: *scores → softmax → weighted average*. But it does not help us yet. The plus wanted
# to know where the ring is. It pays most attention to itself and least to the ring, because "who is like me?"
# is the wrong question. The star lies somewhere in the middle of all four.

# %% [markdown]
# ## 3 · Queries, keys and values: three jobs, three matrices
#
# A token has three jobs, and nothing says that the same vector must do all of them:
#
# | job | what it says | the plus, for example |
# |---|---|---|
# | **query** q | what I am looking for | "something blue" |
# | **key** k | what I can be found by | "I am red" |
# | **value** v | what I tell whoever finds me | "I am at (0.2, 0.8)" |
#
# Each comes from the token by a **linear layer**, a multiplication by a matrix. With all N tokens as rows of one
# matrix x,
#
# $$q = x\,W_{query},\qquad k = x\,W_{key},\qquad v = x\,W_{value},\qquad
#   \text{attention}(q, k, v) = \text{softmax}\!\left(\frac{q\,k^\top}{\sqrt d}\right) v$$
#
# (Vaswani and others 2017, equation 1). A network *learns* the three matrices. Here we write them by hand, so
# that red asks for blue and blue asks for red. The keys get the colours, the values get the places.

# %%
W_query, W_key, W_value = torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 2)
# red asks on channel 0, blue on channel 1, stripes on channel 2
W_query[0, 0], W_query[1, 1], W_query[2, 2] = 8.0, 4.0, 8.0
# blue answers on channel 0, red on channel 1, stripes on channel 2
W_key[1, 0] = W_key[0, 1] = W_key[2, 2] = 1.0
W_value[3, 0] = W_value[4, 1] = 1.0  # x and y

q, k, v = x @ W_query, x @ W_key, x @ W_value  # (N, 3), (N, 3), (N, 2)
plots.matrices({"queries q = x W_query": q, "keys k = x W_key": k, "values v = x W_value": v},
               rows=names).described(
    "Queries, keys and values of the four tokens. The plus has the query (7.2, 0.4, 1.6): "
    "it asks on channel 0, where the key of the ring is 1.0. Its value is its place, (0.2, "
    "0.8).")

# %% [markdown]
# By hand, from the plus to the ring: $7.2\cdot1.0 + 0.4\cdot0.1 + 1.6\cdot0.1 = 7.40$; from the plus to
# itself: $7.2\cdot0.1 + 0.4\cdot0.9 + 1.6\cdot0.2 = 1.40$. (We also divide by $\sqrt{d}=\sqrt3$, where d = 3 is
# the width of queries and keys. Section 4 says why.) In the code below the first line is $q\,k^\top/\sqrt d$,
# the second the softmax, and the cell after it multiplies by v:

# %%
scores = einsum(q, k, "i d, j d -> i j") / 3**0.5  # (N, N)
weights = scores.softmax(dim=1)  # along j: one row is one token's attention
plots.matrices({"scores / √3": scores, "weights": weights}, rows=names,
               columns=names).described(
    "Scores and weights by query and key. The plus gives 0.82 of its attention to the ring; "
    "the ring looks most at the plus, with 0.57; both grounds look most at ground b, with "
    "0.54 and 0.55.")

# %% [markdown]
# Now the plus looks at the ring, the ring at the plus, and the ground at the ground. The scores are not symmetric
# any more. The query of blue is half as large as that of red here, so the ring spreads its attention more: that
# i looks at j does not mean that j looks at i. What the plus gets is now, nearly, the place of the ring:

# %%
brought = einsum(weights, v, "i j, j v -> i v")  # (N, 2)
by = {"the plus, by likeness": alike[0], "the plus, by query and key": weights[0]}
plots.weighted_average(places, by, names)

# %% [markdown]
# The plus knows its own place, (0.2, 0.8), too. The difference of the two is the direction from plus to ring:
# *down and to the right*. One look-up and a subtraction answer the question that the CNN could not answer, and
# the distance between the two does not matter.

# %%
brought[0] - places[0]

# %% [markdown]
# Written as a loop, for one token at a time, attention is a *soft dictionary*: compare my query with every
# key, and take of each value as much as its key fits. The matrix form above must give the same.

# %% tags=["slide-code"]
def look_up(query, keys, values):
    """One token's attention: query (d,), keys (N, d), values (N, v) -> (v,)."""
    fits = torch.stack([query @ key for key in keys]) / len(query) ** 0.5  # (N,)
    shares = fits.exp() / fits.exp().sum()
    return sum(share * value for share, value in zip(shares, values))

one_by_one = torch.stack([look_up(query, k, v) for query in q])  # (N, 2)
torch.allclose(one_by_one, brought)

# %% [markdown]
# **Question 3.4** Move the ring: change its place in `x` to (0.9, 0.9) and run sections 2 and 3 again. Which
# numbers change: scores, weights, or what the plus gets? Then make it green: set its blue to 0.
#
# <details><summary>Answer</summary>
#
# Only what the plus gets. Queries and keys here are made of looks alone, so *who* is looked at does not depend
# on where it is. That is the look-up by content that we asked for. Without blue in the ring no key answers the
# plus any more, and its attention spreads over the two grounds, which are a little blue.
# </details>

# %% [markdown]
# ### 3.1 A convolution and attention, both as one matrix
#
# A convolution, too, gives each token a weighted sum of tokens. So both can be written as one N × N matrix A,
#
# $$y_i = \sum_{j=1}^{N} A_{ij}\,x_j \qquad\text{row i: how much token i takes from each token j}$$
#
# and this is the whole difference between them. Below, N = 64 tokens on a grid of 8 × 8: a 3 × 3 convolution,
# and attention on two of our images, with one query and one key by hand as above, "red asks for blue, blue
# asks for red".

# %%
smooth = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16  # (3, 3)
one_token = torch.eye(64).view(64, 1, 8, 8)  # (N, 1, 8, 8): one token is 1, all others 0
given = nn.functional.conv2d(one_token, smooth[None, None], padding=1)  # (N, 1, 8, 8)
# (N, N): row i takes from column j
as_matrix = {"convolution, 3 × 3\nany image": given.flatten(1).T}

for number in (3, 8):
    patch_colour = reduce(test.images[number].float() / 255,
                          "c (r p) (s q) -> (r s) c", "mean", p=4, q=4)  # (N, 3)
    redness = patch_colour[:, :1] - patch_colour[:, 2:]  # (N, 1): above 0 red, below 0 blue
    # q and k, (N, 1): red asks for blue, blue for red
    asking, answering = 90 * redness, -redness
    as_matrix[f"attention\nimage {number}"] = (asking @ answering.T).softmax(dim=1)  # (N, N)
plots.matrices(as_matrix, numbers=False, shared=True).described(
    "Three matrices of 64 by 64. The convolution: three narrow bands along the diagonal, "
    "the same numbers in every row. Attention on two images: dark columns, the tokens of a "
    "glyph at which most others look; they stand in other places for each image.")

# %% [markdown]
# | | convolution | attention |
# |---|---|---|
# | where the matrix is not 0 | in bands along the diagonal: the neighbours | anywhere |
# | its numbers | learned, the same in every row (but for the border, where neighbours are missing) and for every image | computed anew from each image |
# | what is learned | the 9 numbers of the kernel | the matrices that make q, k and v |
#
# The dark columns are tokens of the ring and of the plus: most others look at them, wherever they are. With
# relative positions (section 8) attention can also learn the matrix on the left (Cordonnier and others 2020).

# %% [markdown]
# ## 4 · Why divide by √d?
#
# The dot product adds up d terms. If the numbers in q and k are independent with mean 0 and variance 1, each
# term has variance 1 and the sum has variance d. Let us measure it:

# %%
sizes = [1, 4, 16, 64, 256, 1024]
variance = [(torch.randn(2000, d) * torch.randn(2000, d)).sum(dim=1).var() for d in sizes]
plots.curves(sizes, {"measured variance of q·k": variance, "d": sizes}, log="xy",
             xlabel="width d of q and k")

# %% [markdown]
# So with d = 1024 typical scores are ±32, and question 3.3 showed what softmax does with those: one token gets
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
plots.curves(sizes, spread, log="x", xlabel="width d of q and k",
             ylabel="entropy of the weights, nats",
             levels={"all alike: ln 196": torch.tensor(196.0).log()})

# %% [markdown]
# Without a scale, a wide head sees only one token, from the first step of training on. Divided by d, it sees
# all tokens alike. Only with √d does the sharpness at the start not depend on the width: then it can be
# *learned*.
#
# It matters for learning, because a softmax whose weights are all near 0 or 1 passes almost no gradient: if a
# score changes a little, its weight w changes by w (1 − w) times that, which is nearly 0 at both ends.

# %%
raw = torch.randn(200, 1024) @ torch.randn(196, 1024).T
gradient = {}
for name, scale in {"q·k": 1, "q·k / √d": 1024**-0.5}.items():
    w = (raw * scale).softmax(dim=1)
    gradient[name] = round((w * (1 - w)).sum(dim=1).mean().item(), 3)
gradient

# %% [markdown]
# **Question 3.5** A layer has the width D = 768 and h = 12 heads of d = 64. Somebody writes `self.scale = dim **
# -0.5`, with `dim` = 768. Does it matter? Predict on which side of the right entropy it ends.

# %%
q_64, k_64 = torch.randn(400, 64), torch.randn(196, 64)
{f"{width} ** -0.5": round(entropy((q_64 @ k_64.T * width**-0.5).softmax(dim=1)), 2)
 for width in (64, 768)}

# %% [markdown]
# <details><summary>Answer</summary>
#
# The scores are √12 ≈ 3.5 times too small, so attention starts out nearly uniform: 5.24<!-- printed --> nats,
# where 5.28 is "all alike" (ln 196) and 4.79<!-- printed --> is right. The network still trains: it can learn
# larger queries and keys to make up for it. Such a mistake lives long: no shape is wrong, no error is raised,
# results are only a little worse. But pre-trained weights, which expect the right scale, break.
# </details>

# %% [markdown]
# > **What slides get wrong here.** A listing of the vision transformer that many slides show computes
# > `self.scale = dim ** -0.5` with the width of the whole model, beside a formula that says $\sqrt{d}$. It comes
# > from the first version of a widely used library, which was corrected in January 2021; the listing on the
# > slides was not. Divide by the root of the width of *one head*.

# %% [markdown]
# ## 5 · Heads: several questions at once
#
# One softmax gives one weighted average. Suppose *ground a* wants to know where the plus is **and** where the
# ring is. It can ask for both colours in one query, or it can ask twice.

# %%
# red or blue; red; blue
asks = torch.tensor([[8.0, 8.0, 0.0], [0.0, 8.0, 0.0], [8.0, 0.0, 0.0]])
shares = (asks @ k.T / 3**0.5).softmax(dim=1)  # (3, N)
titles = ["one query for both", "head 0: find red", "head 1: find blue"]
plots.weighted_average(places, dict(zip(titles, shares)), names)

# %% [markdown]
# The one query gets a place *between* the two. It would be nearly the same if plus and ring were swapped, or
# twice as far apart: the direction is lost in the average. Two queries get two places. So a layer of attention
# has h **heads**, each with its own small q, k, v of width d = D / h. Their results are laid side by side, and
# one more linear layer mixes them:
#
# $$\text{head}_m = \text{softmax}\!\left(\frac{q_m k_m^\top}{\sqrt d}\right) v_m,\qquad
#   \text{out} = [\text{head}_1, \dots, \text{head}_h]\,W_{out}$$
#
# No loop is needed. One matrix makes all queries at once, (N, D), and the D numbers of a token are *read* as h
# groups of d. In the picture below N = 3, h = 2, d = 4. The colour says which head a number belongs to, the
# shade says which token.

# %%
numbered = torch.arange(24).view(3, 8)  # (N, D): 0 .. 23
right = rearrange(numbered, "n (h d) -> h n d", h=2)  # (h, N, d)
tempting = numbered.reshape(2, 3, 4)  # the same shape
splits = {'rearrange "n (h d) -> h n d"': right, "reshape(h, n, d): wrong": tempting}
plots.regrouped(numbered, splits).described(
    "Three tokens of eight numbers, 0 to 23. With rearrange head 0 holds 0 to 3, 8 to 11 "
    "and 16 to 19, the first half of each token. With reshape it holds 0 to 11, the first "
    "token and half of the second.")

# %% [markdown]
# The last one has the right shape and the wrong contents. `reshape` only reads the numbers again in their old
# order, so "head 0" is now the first token and half of the second. No error is raised, and a network trained
# like that even learns something. With `rearrange` you name the axes, and it cannot happen.
#
# **Question 3.6** How many parameters does a layer have with h = 1, and how many with h = 8, at the same D?
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
# We have all the parts. One linear layer makes q, k and v for all heads; then scores, scale, softmax, weighted
# average; the heads side by side; and a last linear layer mixes what they got. Every line has been run above,
# except `may_look`: that is section 7.

# %%
class Attention(nn.Module):
    """(B, N, D) -> (B, N, D). `may_look`, (..., N, N): True where i may look at j."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.to_out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x, may_look=None):
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv h d) -> qkv b h n d",
                            qkv=3, h=self.num_heads)  # (B, h, N, d) each
        # (B, h, N, N):
        scores = einsum(q, k, "b h i d, b h j d -> b h i j") / q.shape[-1] ** 0.5
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
theirs.in_proj_weight.data = ours.to_qkv.weight.data
theirs.in_proj_bias.data = ours.to_qkv.bias.data
theirs.out_proj.weight.data = ours.to_out.weight.data
theirs.out_proj.bias.data = ours.to_out.bias.data

tokens = torch.randn(B, N, D)
# there, q, k and v may come from three different places
expected, _ = theirs(tokens, tokens, tokens)
f"largest difference: {(ours(tokens) - expected).abs().max():.1e}"

# %% [markdown]
# Any rest is rounding. In practice one uses `torch.nn.functional.scaled_dot_product_attention` for the middle
# part: it is a **fused kernel**, which never stores the (N, N) weights (FlashAttention, Dao and others 2022). We
# go on with our own layer, because we want to see the weights.

# %% [markdown]
# ### Self-attention and cross-attention
#
# So far the tokens looked at each other: **self-attention**. In **cross-attention** M tokens of one kind look at
# N tokens of another kind: the queries come from the first, keys and values from the second. The weights are
# then (M, N), and the result has M tokens.
#
# $$\text{softmax}\!\left(\frac{q(x)\;k(z)^\top}{\sqrt d}\right) v(z),\qquad
#   x: (M, D),\quad z: (N, D)$$
#
# This is how a translator looks at the sentence it translates (lecture 4), how DETR's object queries look at an
# image, and how a Perceiver reads 50,000 pixels with a few hundred tokens (Carion 2020; Jaegle 2021). The cost
# grows with M · N instead of N². Nothing else changes:

# %% tags=["slide-code"]
def cross_attention(layer, asking, tokens):
    """(B, M, D) look at (B, N, D) -> (B, M, D) and weights (B, h, M, N), by an `Attention`."""
    parts = "b n (qkv h d) -> qkv b h n d"
    queries = rearrange(layer.to_qkv(asking), parts,
                        qkv=3, h=layer.num_heads)[0]  # (B, h, M, d)
    _, keys, values = rearrange(layer.to_qkv(tokens), parts,
                                qkv=3, h=layer.num_heads)  # (B, h, N, d)
    fits = einsum(queries, keys, "b h i d, b h j d -> b h i j") / queries.shape[-1] ** 0.5
    shares = fits.softmax(dim=-1)  # (B, h, M, N): over the N tokens that are looked at
    heads = einsum(shares, values, "b h i j, b h j d -> b h i d")  # (B, h, M, d)
    return layer.to_out(rearrange(heads, "b h i d -> b i (h d)")), shares

M = 4
askers = torch.randn(B, M, D)  # four vectors that ask five tokens
answers, shares = cross_attention(ours, askers, tokens)  # (B, M, D), (B, h, M, N)
difference = (answers - theirs(askers, tokens, tokens)[0]).abs().max()
print(f"answers {tuple(answers.shape)}, weights {tuple(shares.shape)}")
f"largest difference: {difference:.1e}"

# %% [markdown]
# ## 7 · Masks: who may look at whom
#
# Sometimes a token must *not* look. A **causal** mask hides what comes later; it is needed where tokens are
# generated one after the other. A **padding** mask hides tokens that only fill up a batch, when clips differ in
# length. In vision, Swin (lecture 8) hides tokens that are not really neighbours. Each mask is one boolean
# matrix, True where i may look at j:

# %%
place = torch.arange(5)
causal = place[:, None] >= place[None, :]  # (N, N): j is not after i
padding = (place < 3)[None, :].expand(5, 5)  # (N, N): only 0, 1, 2 are real; the rest is fill
masks = {"causal": causal, "padding": padding, "both": causal & padding}
plots.matrices(masks, rows=list("01234"), columns=list("01234")).described(
    "Three masks of 5 by 5. Causal: row i may look at the columns 0 to i. Padding: each row "
    "may look at the columns 0, 1 and 2. Both: only where both allow it.")

# %% [markdown]
# Where a token may not look its score becomes −∞, since $e^{-\infty}=0$. The softmax then gives the whole
# attention to the others:

# %%
scores = torch.randn(5, 5)
hidden = scores.masked_fill(~causal, -torch.inf)
masked = {"scores": scores, "masked": hidden, "weights": hidden.softmax(dim=1)}
plots.matrices(masked).described(
    "Scores; the same with minus infinity above the diagonal; the weights: 0 above the "
    "diagonal, and each row adds up to 1 on and below it.")

# %% [markdown]
# **Question 3.7** Why not simply set the weights to 0 *after* the softmax?
#
# <details><summary>Answer</summary>
#
# Then the rows no longer add up to 1, and the hidden tokens still matter: their scores are in the sum that the
# others were divided by. Change a "hidden" token and the output changes. With −∞ before the softmax, nothing of
# it gets through.
# </details>
#
# ### A trap
#
# What is the softmax of a row in which *everything* is hidden? Zero divided by zero:

# %%
# token 0 is hidden from all, so row 0 has no one left to look at
nobody = causal & (place > 0)[None, :]
w = scores.masked_fill(~nobody, -torch.inf).softmax(dim=1)
plots.matrices({"who may look": nobody, "weights": w}).described(
    "A mask whose row 0 may look at nothing, and the weights: row 0 is nan, the other rows "
    "add up to 1.")

# %% [markdown]
# `nan` spreads: into the loss, then into every gradient, then into every weight of the network. Writing −1e9 for
# −∞ avoids it, but only hides the mistake: that row then looks at *all* tokens alike, the hidden ones too. The
# cure is to let every token look at something (itself, say) and to leave the outputs of tokens that only fill up
# out of the loss.

# %% [markdown]
# ## 8 · Order: attention does not know it, so we add positions
#
# Where in section 6 does it say which token is where? Nowhere: tokens are compared by content. So if we shuffle
# them, the outputs should be the same, only shuffled too. The word for this is **permutation equivariant**: with
# P the shuffle, $\text{attention}(P x) = P\,\text{attention}(x)$.

# %%
shuffle = torch.randperm(N)
difference = (ours(tokens[:, shuffle]) - ours(tokens)[:, shuffle]).abs().max()
f"shuffle before or after: {difference:.1e}"

# %% [markdown]
# If the outputs are averaged at the end, as classifiers do, even the shuffling is gone. Attention followed by a
# mean is permutation **invariant**: it sees a *bag* of patches, without order.

# %%
difference = (ours(tokens[:, shuffle]).mean(dim=1) - ours(tokens).mean(dim=1)).abs().max()
f"after the mean: {difference:.1e}"

# %% [markdown]
# To such a network the following two are the same picture. It cannot answer a question about *directions*.

# %%
image = test.images[3]
plots.patches(image, 4, order=torch.randperm(64)).described(
    "An image, and its 64 patches in random order: plus and ring are torn apart, and their "
    "direction is lost.")

# %% [markdown]
# **Question 3.8** "A transformer is permutation invariant." Which word is right for the layer, and which for a
# vision transformer with positions?
#
# <details><summary>Answer</summary>
#
# The layer is *equivariant*: shuffle the tokens and the output is shuffled, not unchanged. Invariance needs a
# pooling after it, and needs that no positions were given. A vision transformer with positions is neither.
# </details>
#
# ### Positions
#
# The repair is simple: **add to each token a vector that says where it is**, a **position embedding** or position code. It should
# be different for each place, similar for near places, and about as large as the tokens themselves. Vaswani and
# others (2017, section 3.5) took waves, from fast to slow, like the hands of several clocks. For place p and
# k = 0, 1, …, width/2 − 1:
#
# $$c_{p,\,k} = \sin(r_k\,p),\qquad c_{p,\,k + width/2} = \cos(r_k\,p),\qquad
#   r_k = slowest^{-k/(width/2 - 1)}$$
#
# (They let sine and cosine take turns, $PE_{pos,2i}=\sin(pos/10000^{2i/D})$ and $PE_{pos,2i+1}=\cos(\dots)$. That
# is the same table with its columns in another order and slightly other rates.)

# %%
def wave_code(length, width, slowest=100.0):
    """(length, width): sines, then cosines, of the place, at rates from 1 to 1/slowest."""
    rates = slowest ** -torch.linspace(0, 1, width // 2)
    angles = torch.arange(length)[:, None] * rates  # (length, width/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)

line = wave_code(24, 32)
shown = {"the code of 24 places (row = place)": line, "their dot products": line @ line.T}
plots.matrices(shown, numbers=False).described(
    "Left: the codes of 24 places, fast waves in the first columns of each half, slow ones "
    "in the last. Right: their dot products, largest on the diagonal and smaller with "
    "distance, the same along each diagonal.")

# %% [markdown]
# Attention compares by dot products, so it sees the picture on the right: a dark diagonal that fades with
# distance, the same at every place. Now a query can ask for "near me". (The original uses 10,000 for `slowest`,
# for long sentences; our grids are 8 tokens wide.)
#
# For an image, half of the width says the row and the other half the column. Below are the dot products of one
# token's code with all codes, laid out as the grid of 8 × 8 tokens.

# %%
def grid_code(side, width):
    """(side², width): the code of each place of a square grid, row by row."""
    line = wave_code(side, width // 2)
    # both (side, side, width/2):
    row, column = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return rearrange(torch.cat([row, column], dim=2), "r c d -> (r c) d")

code = grid_code(8, 64)
likeness = {f"token {i}": (code @ code[i]).view(8, 8) for i in (0, 27, 39)}
plots.matrices(likeness, numbers=False, shared=True).described(
    "Three grids of 8 by 8, for tokens 0, 27 and 39: the dot product with the codes of all "
    "places is largest at the token itself and fades in all directions.")

# %% [markdown]
# With the code added, a shuffle is no longer without effect:

# %%
places_code = wave_code(N, D)
before, after = (tokens + places_code)[:, shuffle], tokens[:, shuffle] + places_code
difference = (ours(before) - ours(after)).abs().max()
f"shuffle before or after the code is added: {difference:.1e}"

# %% [markdown]
# > **What slides get wrong here.** "Transformer: permutation invariant." The layer is *equivariant*, and with
# > positions it is neither. (One deck says it right some pages later, in a quotation of LeCun: convolution is
# > equivariant to translation, self-attention to permutation.)

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
print(f"16 × 16 patches:       N = {16 * 16:6d}   {gibibytes(16 * 16) * 1024:8.1f} MiB")

# %% [markdown]
# That factor of 6,991<!-- = 768 * 1024 / 112.5 --> is the reason why the *vision* transformer looks at patches.
# (14 × 14 patches of 16 × 16 pixels are an image of 224 × 224, 16 × 16 patches one of 256 × 256. Both are larger
# than the 128 × 128 of the first line, and still so much cheaper.) A fused kernel does not store these weights
# at all, so its memory grows with N only; the work, below, stays the same.

# %%
sides = torch.tensor([16, 32, 64, 128, 224, 448])
memory = {"each pixel a token": gibibytes(sides**2),
          "16 × 16 patches": gibibytes((sides / 16) ** 2)}
plots.curves(sides, memory, log="xy", xlabel="image side R, pixels",
             ylabel="GiB, one image, 48 layers",
             marks={"768 GiB": (128, gibibytes(128**2)), "112.5 MiB": (224, gibibytes(196))},
             levels={"a GPU of 80 GB": 80e9 / 2**30})

# %% [markdown]
# And time? We count multiply–adds (MACs). Attention has four linear layers of D × D for each token (q, k, v and
# out): 4 N D². Then each pair of tokens is needed twice, once for the score and once for the average: 2 N² D.
#
# In a transformer a layer of attention is followed by an **MLP**, two linear layers with a non-linearity between
# them, from D to 4 D numbers and back: 8 N D² more. Together
#
# $$\text{MACs of one layer} = \underbrace{4 N D^2 + 2 N^2 D}_{\text{attention}} +
#   \underbrace{8 N D^2}_{\text{MLP}} = 12\,N D^2 + 2\,N^2 D$$
#
# PyTorch's counter agrees (it counts multiplications and additions, so we take half):

# %%
from torch.utils.flop_counter import FlopCounterMode

def counted_macs(network, shape):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(shape))
    return counter.get_total_flops() // 2

N, D = 196, 768  # one layer of ViT-B/16
mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
of_attention, of_mlp = 4 * N * D**2 + 2 * N**2 * D, 8 * N * D**2
counted_both = [counted_macs(part, (1, N, D)) for part in (Attention(D, 12), mlp)]
print(f"attention: {counted_both[0]:,} counted, 4 N D² + 2 N² D = {of_attention:,}")
print(f"MLP:       {counted_both[1]:,} counted, 8 N D²          = {of_mlp:,}")

# %% [markdown]
# The quadratic part is not always the large one. Within attention the two parts are equal where
# 2 N² D = 4 N D², at N = 2 D. In the whole layer they are equal where 2 N² D = 12 N D², at **N = 6 D**:

# %%
counts = torch.tensor([50, 196, 784, 1536, 4608, 12544])
work = {"12 N D²: all linear layers": 12 * counts * D**2,
        "4 N D²: those of attention": 4 * counts * D**2,
        "2 N² D: all pairs": 2 * counts**2 * D}
plots.curves(counts, work, log="xy", xlabel="tokens N", ylabel="MACs of one layer, D = 768",
             marks={"N = 2 D": (2 * D, 8 * D**3), "N = 6 D": (6 * D, 72 * D**3)})

# %% [markdown]
# **Question 3.9** An image of 224 × 224 in patches of 16 has 196 tokens; in patches of 8 it has 784. By what
# factor does the memory of the weights grow? By what factor do the MACs of a whole layer of ViT-B grow, with
# D = 768 and the MLP?
#
# <details><summary>Answer</summary>
#
# Memory by 4² = 16. MACs from 12 N D² + 2 N² D = 1,387 + 59 = 1,446 million to 5,549 + 944 = 6,493 million: by
# 4.5<!-- = (12 * 784 * 768 ** 2 + 2 * 784 ** 2 * 768) / (12 * 196 * 768 ** 2 + 2 * 196 ** 2 * 768) -->, little more
# than the 4 of the linear layers. (Of attention alone, without the MLP, by
# 5.4<!-- = (4 * 784 * 768 ** 2 + 2 * 784 ** 2 * 768) / (4 * 196 * 768 ** 2 + 2 * 196 ** 2 * 768) -->.) "Quadratic"
# is what you feel at high resolution and in video, beyond N = 6 D = 4,608 tokens, and first as memory.
# </details>

# %% [markdown]
# > **What slides get wrong here.** "768 GB": the number is 768 GiB, counted in powers of two; in powers of ten it
# > is 825 GB. And "attention is quadratic" does not mean that a vision transformer spends its time on pairs: at
# > 224 × 224 pixels they are 4 %<!-- = 100 * 2 * 196 ** 2 * 768 / (12 * 196 * 768 ** 2 + 2 * 196 ** 2 * 768) --> of
# > the work of a layer of ViT-B.

# %% [markdown]
# ## 10 · One look at a digit
#
# Now the matrices are learned. We build the smallest classifier that attention allows: cut the image into patches,
# make D numbers of each by a linear layer, add the position code, **one** layer of attention; then every token
# votes for the classes by a small MLP, and the votes are averaged. Two parts are new here; lectures 4 and 5
# explain them. `x + …` is a **residual (skip) connection**: it keeps what the token was and adds what it got.
# `LayerNorm` brings the numbers of each token to mean 0 and variance 1.

# %%
class OneLook(nn.Module):
    """Between patches and classes one attention: images (B, C, H, W) -> logits (B, 10)."""

    def __init__(self, channels, patch, embed_dim, num_heads, code):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(channels * patch**2, embed_dim)
        # (N, D), where each token is:
        self.code = 0 if code is None else nn.Parameter(code.clone())
        self.attend = Attention(embed_dim, num_heads)
        self.before, self.after = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.vote = nn.Sequential(
            nn.Linear(embed_dim, 2 * embed_dim), nn.GELU(), nn.Linear(2 * embed_dim, 10))

    def forward(self, images):
        tokens = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)",
                           p=self.patch, q=self.patch)  # (B, N, C·P·P)
        x = self.embed(tokens) + self.code  # (B, N, D)
        x = x + self.attend(self.before(x))  # (B, N, D)
        return self.vote(self.after(x)).mean(dim=1)  # (B, 10)

# %% [markdown]
# (**GELU** is a smooth relative of ReLU.) A real vision transformer repeats this: a block is attention *and* an
# MLP, each with its own norm before it and its own residual connection, and there are several blocks. This is
# the one that the course trains on small images, drawn from its own description:

# %%
architecture("vit_cifar")

# %% [markdown]
# Back to one layer. The digits are 8 × 8 pixels, real handwriting, 1,400 to learn from. In patches of 2 × 2 they
# are 16 tokens. One head, D = 48. For comparison the same network without positions, and a linear layer on the 64
# pixels. *(Price: about 10 seconds on two CPU cores.)*
#
# **Question 3.10** Without positions the network sees a bag of 16 patches. Will it be at chance?

# %%
digits, new_digits = load("digits", "train"), load("digits", "test")
readers = {}

def digit_readers(seed):
    torch.manual_seed(seed)
    networks = {
        "positions": OneLook(1, 2, 48, 1, code=grid_code(4, 48)),
        "no positions": OneLook(1, 2, 48, 1, code=None),
        # of the 64 pixels, no attention:
        "linear layer": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    }
    digit_recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=500), lr=5e-3, seed=seed)
    readers[seed] = networks["positions"]
    return {name: fit(network, digits, digit_recipe, val=new_digits, plot=False).final_accuracy
            for name, network in networks.items()}

read = over_seeds("03_self_attention/digits", digit_readers)
plots.bars({name: {"digits": accuracy} for name, accuracy in read.items()}, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No: 62 to 67 %<!-- digits / no positions --> is far above the 10 %<!-- = 100 / 10 --> of guessing. A bag of 2 × 2 patches still says how
# many corners, strokes and empty places there are, and digits differ in that. In our *relation* question the bag
# is the same for all answers.
# </details>
#
# With positions one layer with one head reads 91 to 94 %<!-- digits / positions --> of the new digits. The linear
# layer on the pixels gets 97 %<!-- digits / linear layer -->, so this is no great success; digits of this size
# are easy. But we can now *look at where it looks*. Four tokens of one digit, and where each of them spends its
# attention:

# %%
digit = new_digits.images[:1]  # (1, 1, 8, 8)
reader = readers[0]
reader(reader.normalise_images(digit))
seen = reader.attend.weights[0, 0]  # (N, N): of this image and the only head
lookers = [1, 6, 9, 14]
plots.attention_maps(digit[0], seen[lookers], query=lookers)

# %% [markdown]
# A map like this shows where information *may* come from, not why the network decides as it does. How far such
# maps can be trusted is a question of lecture 6 (Jain and Wallace 2019).

# %% [markdown]
# ## 11 · Both questions again
#
# Now the experiment that this lecture is about: the same `OneLook` on the images of section 1, in patches of
# 4 × 4, so N = 64 tokens, with 4 heads. Our prediction from section 8: *with* positions it can learn the
# relation, *without* it cannot, however long it trains.

# %%
waves = grid_code(8, 64)  # (N, D)

def one_look(question, seed, steps=200, num_heads=4, code=waves, attention=True, images=train):
    torch.manual_seed(seed)
    network = OneLook(3, 4, 64, num_heads, code)
    if not attention:
        network.attend = nn.Identity()  # every token keeps to itself
    look_recipe = recipes.cpu_minute.but(steps=budget(tiny=4, cpu=steps), lr=6e-3, seed=seed)
    history = fit(network, images.ask(question), look_recipe,
                  val=test.ask(question), val_points=8, plot=False)
    return network, history

# %% [markdown]
# Four trainings: *relation* with and without positions, *texture*, and *relation* with positions but **without
# attention**, where every token votes alone. *(Price: about 15 seconds on two CPU cores.)*

# %%
lookers_of = {}

def both_questions(seed):
    lookers_of[seed], with_code = one_look("relation", seed)
    _, without_code = one_look("relation", seed, code=None)
    return {
        "steps": with_code.val_steps,
        "with positions": with_code.val_accuracy,
        "without": without_code.val_accuracy,
        "texture": one_look("texture", seed, steps=100)[1].final_accuracy,
        "no attention": one_look("relation", seed, attention=False)[1].final_accuracy,
    }

looked = over_seeds("03_self_attention/both_questions", both_questions)

# %% [markdown]
# How did the first two learn?

# %%
learned = {"with positions": looked["with positions"], "without": looked["without"]}
plots.curves(looked["steps"][0], learned, levels={"chance": 0.1}, xlabel="step",
             ylabel="accuracy, relation")

# %% [markdown]
# With positions, the network first has to find plus and ring by their patches, then to compare their places.
# After 50 steps all three runs are far above chance (46 to 58 %<!-- both_questions / with positions / 1 -->), after
# 200 they have 94 to 97 %<!-- both_questions / with positions / -1 -->. Without positions they stay at
# 9 to 12 %<!-- both_questions / without / -1 -->. All networks of this lecture beside each other:

# %%
results = {
    "CNN that sees 9 pixels": cnn,
    "attention, positions": {
        "texture": looked["texture"],
        "relation": tuple(curve[-1] for curve in looked["with positions"]),
    },
    "attention, no positions": {"relation": tuple(curve[-1] for curve in looked["without"])},
    "positions, no attention": {"relation": looked["no attention"]},
}
plots.bars(results, chance=0.1)

# %% [markdown]
# Where does the trained network look? Take the token that holds the plus: the reddest patch.

# %%
how_red = image[0].float() - image[2]  # (H, W), of the image of section 8
plus = reduce(how_red, "(r p) (c q) -> (r c)", "mean", p=4, q=4).argmax().item()
looker = lookers_of[0]
looker(looker.normalise_images(image[None]))
plots.attention_maps(image, looker.attend.weights[0, :, plus], query=plus)

# %% [markdown]
# In this run three heads stay at the plus itself, and one looks across the image at the ring, as our hand-written
# matrices in section 3 did. Nobody told it to.
#
# ### The same experiment, changed in one place
#
# **Question 3.11** Position codes are often learned from a random start with standard deviation 0.02. Our waves
# have a standard deviation of 0.7. What will 200 steps give with a random start of 0.02, and with one of 0.7? And
# how many heads does this question need? Predict, then run. *(Three stored runs of each.)*

# %%
def variants(seed):
    torch.manual_seed(seed)
    noise = torch.randn(64, 64)  # (N, D)
    changed = {
        "1 head": one_look("relation", seed, num_heads=1),
        "2 heads": one_look("relation", seed, num_heads=2),
        "8 heads": one_look("relation", seed, num_heads=8),
        "code: noise of 0.02": one_look("relation", seed, code=0.02 * noise),
        "code: noise of 0.7": one_look("relation", seed, code=0.7 * noise),
        "no attention, 1000 steps": one_look("relation", seed, steps=1000, attention=False),
        "1000 images": one_look("relation", seed,
                                images=load("two_questions", "train", size=1000)),
    }
    return {name: {"relation": history.final_accuracy}
            for name, (_, history) in changed.items()}

varied = over_seeds("03_self_attention/variants", variants, live=False)
plots.bars(varied, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# *The code.* With noise of 0.02 the network has 12 to 28 %<!-- variants / code: noise of 0.02 / relation --> after
# 200 steps: the numbers of the patches are tens of times larger, so at the start the network is nearly one without
# positions. With noise of 0.7 it gets to 81 to 86 %<!-- variants / code: noise of 0.7 / relation -->, less than with
# waves: with noise, near places do not start out alike. So both the *size* and the *shape* of the code matter when
# training is short. Large vision transformers do start at 0.02; they take tens of thousands of steps.
#
# *The heads.* Direction has two coordinates, and one head is one weighted average. With one head the three runs have
# 37 to 40 %<!-- variants / 1 head / relation -->, with two 39, 48 and 94 %<!-- variants / 2 heads / relation -->, with four (above)
# 94 to 97 %<!-- both_questions / with positions / -1 -->, with eight 95 to 96 %<!-- variants / 8 heads / relation -->.
# </details>
#
# ### What this shows, and what it does not
#
# * The CNN failed because of its *receptive field*, not because it is a CNN: with 21 pixels two of three runs left
#   chance (question 3.1). What attention brings is that *everywhere* is one step away, in the first layer.
# * Attention without positions fails by *symmetry*, and we knew it before training. Such arguments cost nothing,
#   and are worth making first.
# * "Positions, no attention" is a control, and it matters. Without any attention, 53 to 56 %<!-- both_questions / no attention -->
#   of the answers are right: the token with the ring can vote "it lies where I am", the token with the plus "it
#   lies away from me", and the average of the votes is a fair guess. With 1,000 steps it gets to
#   75 to 77 %<!-- variants / no attention, 1000 steps / relation -->. So attention is not the only way. What the
#   question asks for is content *together with* position and *something global*, be it a mean.
# * All of this is one small data set, one recipe and three seeds. The ranges above are those of the three runs.

# %% [markdown]
# ## Summary
#
# 1. **Attention is a look-up by content**: scores (query · key), softmax, weighted average of values. Three
#    linear layers make query, key and value of each token. In cross-attention the queries come from other tokens.
# 2. **Scores are divided by √d**: q·k has variance d; without the scale, wide heads see one token and pass no
#    gradient.
# 3. **Heads are several averages at once**: the D numbers are read as h groups of d, with no more parameters.
#    Name the axes when you split them.
# 4. **Attention knows no order.** It is permutation equivariant, after a mean invariant; position codes of the
#    right size put order back. (A CNN gets positions from its zero padding.) Masks (−∞ before the softmax) say who
#    may look at whom.
# 5. **All pairs cost N²**: 768 GiB for the pixels of one 128 × 128 image, 112.5 MiB for 14 × 14 patches. A whole
#    layer costs 12 N D² + 2 N² D; below N = 6 D the linear layers, MLP included, are the larger part of the work.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Without training: which query and which keys find the token *nearest to the point* r = (0.2, 0.4)? Begin with q = r and k = (x, y). Why does that pick ground a, and which third number in each key repairs it? | 15 |
# | 2 | ●○○ Draw the attention maps of the last section for a `OneLook` with one head (`one_look("relation", 0, num_heads=1)`). Which glyph does the plus look at, and what can one weighted average not tell? | 15 |
# | 3 | ●●○ Train on *relation* with only 1,000 images (`size=1000`), then let a deeper CNN try: `small_field_cnn(more=5)`, which sees 29 pixels. Which one is better? And with 4,000 images? | 20 |
# | 4 | ●●○ With pencil: what should the token of the plus and the token of the ring vote, so that the mean of the votes is right as often as possible, without attention? | 20 |
# | 5 | ●●○ Flip the training images left–right at random (`.but(augment=("random_flip",))`). Which accuracy can a perfect network reach on each question? | 10 |
# | 6 | ●●● Make the position *relative*: add to `scores` a learned number for each head and each offset (row and column) between i and j, and drop `self.code`. Is the layer still blind to order? Does `OneLook` learn the relation with it? | 40 |
#
# <details><summary>Answer 1</summary>
#
# The dot products r · (x, y) are 0.36 for the plus, 0.52 for ground a, 0.10 for ground b and 0.26 for the ring:
# the largest belongs to the token that lies farthest out, not to the nearest. The squared distance is
# |r − p|² = |r|² − 2 r·p + |p|². So put −|p|²/2 into the key as a third number, and 1 into the query: the scores
# are now 0.02, −0.21, 0.08 and −0.03, and ground b, at a distance of 0.22, is first. Scores that are larger by a
# factor of 100 make the softmax choose it almost alone.
# </details>
#
# <details><summary>Answer 2</summary>
#
# With four heads (the picture in section 11) three stay at the plus and one looks at the ring. One head alone has one
# weighted average: of the plus, of the ring, or a mixture of both. The accuracy falls to 37 to 40 %
# <!-- variants / 1 head / relation -->.
# </details>
#
# <details><summary>Answer 3</summary>
#
# Attention, clearly: `OneLook` has 85 to 93 %<!-- variants / 1000 images / relation --> with 1,000 images (last bar of
# question 3.11). A CNN with a receptive field of 29 pixels sees both glyphs, but it has to learn each distance and
# direction for itself: in `course bench lessons thousand_images`, 250 steps of a CNN with more channels, three runs
# gave 34, 36 and 37 right answers of 100 with 1,000 images. With 5,000 it passes attention: 99 or 100 of 100.
# </details>
#
# <details><summary>Answer 4</summary>
#
# The token of the ring knows its own place. Seen from the middle of the image it lies in some direction, and it
# votes for that direction, more strongly the farther out it is. The token of the plus votes for the opposite of
# its own direction. A linear layer on the mean of both votes then compares them. The experiment above says how far
# a trained network gets: 75 to 77 %<!-- variants / no attention, 1000 steps / relation --> with 1,000 steps.
# </details>
#
# <details><summary>Answer 5</summary>
#
# At most 60 %<!-- = 20 + 80 / 2 --> on both. A flip leaves two of the ten answers as they are (relation 90° and
# 270°, texture 0° and 90°) and turns each of the other eight into another one; a network that sees both versions
# with the same label can only guess between the two.
# </details>
#
# <details><summary>Answer 6</summary>
#
# No: a shuffle now moves tokens to other offsets, and the scores change. (All tokens moved together by the same
# step keep their scores: that is what *relative* means.) But it learns much later: three runs of 200 steps of `OneLook`
# with such a table and no `self.code` gave 11, 13 and 13 of 100 right answers, hardly more than chance. The values say
# nothing of places; each head has to learn *on which side* it looks before a token can say where the blue was.
# Lecture 8 uses this table in windows.
# </details>
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
#   ICLR 2015. [arXiv:1409.0473](https://arxiv.org/abs/1409.0473). The first attention, between two recurrent
#   networks.
# * A. Dosovitskiy and others. *An Image Is Worth 16×16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Patches as tokens.
# * M. A. Islam, S. Jia, N. D. B. Bruce. *How Much Position Information Do Convolutional Neural Networks
#   Encode?* ICLR 2020. [arXiv:2001.08248](https://arxiv.org/abs/2001.08248). Zero padding tells a CNN where it is:
#   our question 3.2.
# * T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré. *FlashAttention.* NeurIPS 2022.
#   [arXiv:2205.14135](https://arxiv.org/abs/2205.14135). Exact attention that never stores the weights.
# * N. Carion and others. *End-to-End Object Detection with Transformers.* ECCV 2020.
#   [arXiv:2005.12872](https://arxiv.org/abs/2005.12872), and A. Jaegle and others. *Perceiver.* ICML 2021.
#   [arXiv:2103.03206](https://arxiv.org/abs/2103.03206). Cross-attention from few queries to many tokens.
# * J.-B. Cordonnier, A. Loukas, M. Jaggi. *On the Relationship between Self-Attention and Convolutional
#   Layers.* ICLR 2020. [arXiv:1911.03584](https://arxiv.org/abs/1911.03584). With relative positions,
#   attention can be a convolution.
# * J. Lee, Y. Lee, J. Kim, A. R. Kosiorek, S. Choi, Y. W. Teh. *Set Transformer.* ICML 2019.
#   [arXiv:1810.00825](https://arxiv.org/abs/1810.00825). Equivariance and invariance, taken as the goal.
# * S. Jain, B. C. Wallace. *Attention is not Explanation.* NAACL 2019.
#   [arXiv:1902.10186](https://arxiv.org/abs/1902.10186). Before you trust a map.
