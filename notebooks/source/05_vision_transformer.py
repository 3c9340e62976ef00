# %% [markdown]
# # 5 · The vision transformer: an image as a sequence of words
#
# | | |
# |---|---|
# | **You will understand** | how an image becomes tokens, why that is a convolution, what the class token and the positions are for, where 86, 307 and 632 million parameters sit, what each part of a block is for, why this network needs so much data, and how it is fine-tuned at another resolution |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb): scores, heads, positions; the letters N, D, h, P |
# | **It takes** | {reading time}; all cells together run in under a minute on two CPU cores |
# | **Before · after** | [4 · The transformer](04_transformer.ipynb) · **5 · The vision transformer** · [6 · What ViTs see](06_what_vits_see.ipynb) |
# | **Homework** | [hw2 · Vision transformer](../assignments/hw2_vit/hw2_vit.ipynb): you build all of it, until it agrees with the public one |

# %% tags=["setup"]
import torch
from torch import nn
from einops import rearrange, reduce
from course import budget, plots, setup
from course.data import load
from course.seeds import over_seeds
from course.figures import vision_transformer as figures
from course.knobs import turn
from course.models import architecture, card, compare, create_model
from course.models.stems import PatchEmbed, Tokens, sinusoidal_2d
from course.training import TrainingError, evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · What are the words of an image?
#
# A transformer reads a *sequence of vectors*, called **tokens**. A sentence is such a sequence by nature: each
# word is turned into one vector. An image is a grid of numbers, and somebody has to decide what its words
# are. Pixels are too many: 224 × 224 of them are 50,176<!-- = 224 * 224 --> tokens, and attention compares each
# with each (lecture 3, section 9). Dosovitskiy and others (2021) took the simplest solution: **cut the image
# into squares, called patches, and use each patch as a word.** The rest of the transformer stays as it is.
#
# The figure follows one patch from left to right. First the patch: 4 × 4 pixels. Then its 48<!-- = 3 * 4 * 4 -->
# numbers (16 for each colour), laid out as one row. Then a vector of D numbers, made from that row by one
# linear layer. *Turn the knob: the linear layer is the same for every patch.*

# %%
test = load("two_questions", "test", size=budget(tiny=50, cpu=500), device="cpu")
image = test.images[3]  # (C, H, W) = (3, 32, 32)
stem = PatchEmbed(dim=12, img_size=(32, 32), patch_size=4)  # D = 12

def one_word(token):
    return figures.patch_to_token(image, stem.proj.weight, stem.proj.bias, token)

turn(one_word, token=[*range(17, 64), *range(17)])

# %% [markdown]
# The linear layer is not trained yet, so the numbers of the token mean nothing so far. Important is what the
# layer does *not* do. It never looks at two patches at once, and it does not know from which place of the
# image a patch comes. Every relation between patches has to come later.

# %% [markdown]
# ## 2 · The linear layer is a convolution that does not overlap
#
# Look at one number of the token. It is a weighted sum of the 48 numbers of the patch. The 48 weights can be
# laid out as a patch, too: they are a small picture, called a **filter**, and the token's number says how
# strongly the patch agrees with it. Here are three filters, made by hand:

# %%
red, blue, slanted = torch.zeros(3, 3, 4, 4)  # (C, P, P) each
red[0], red[1:] = 1 / 16, -1 / 32
blue[2], blue[:2] = 1 / 16, -1 / 32
y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
# Stripes across the diagonal, one every 4 pixels.
slanted[:] = torch.cos(2 * torch.pi * (x + y) / 5.7) / 48  # (C, P, P)
slanted -= slanted.mean()  # so that brightness alone does not count

by_hand = PatchEmbed(dim=3, img_size=(32, 32), patch_size=4)
by_hand.proj.weight.data = torch.stack([red, blue, slanted])  # (D, C, P, P)
by_hand.proj.bias.data = torch.zeros(3)  # (D,)
found = by_hand(image[None].float() / 255)[0]  # (h, w, D) = (8, 8, 3)
filters = {"red": red, "blue": blue, "slanted stripes": slanted}
figures.filters_and_maps(image, filters, rearrange(found, "h w d -> d h w"))

# %% [markdown]
# Each map in the lower row is drawn from its lowest value (white) to its highest (black). Number 0 finds the plus, number
# 1 finds the ring, and their places can be read off the 8 × 8 map, the **feature map** of that filter. Number
# 2 finds nothing that one could see: the stripes are weaker than the noise, and one filter answers only to
# stripes that lie in one position. To use stripes, a network has to combine many filters. That is work for the
# layers behind the embedding.
#
# Sliding a filter over an image is a **convolution**. As the patches do not overlap, the filter moves on by a
# whole patch each time. So the patch embedding is a convolution with *kernel size = stride = P*, and that is
# how `PatchEmbed` is written inside:
#
# $$(x_p E)_d = \sum_{c,\,i,\,j} x_p[c, i, j]\; E[(c, i, j),\, d]$$
#
# By hand, for the patch in row 2, column 1:

# %%
pixels = image.float() / 255
cut = pixels[:, 8:12, 4:8].flatten()  # (C·P·P,) = (48,), channel by channel, row by row
rows = stem.proj.weight.flatten(1)  # (D, C·P·P) = (12, 48)
as_product = rows @ cut + stem.proj.bias  # (D,)
as_convolution = stem(pixels[None])[0, 2, 1]  # (D,): of the map (B, h, w, D)
f"largest difference: {(as_product - as_convolution).abs().max():.0e}"

# %% [markdown]
# **Question 5.1** For which of these models is the token shorter than the patch from which it is made? Predict
# before you run the cell. B, L and H are the paper's three sizes; the number behind them is the side P of a
# patch.

# %%
for name in ("vit_b16", "vit_b32", "vit_l16", "vit_h14"):
    with torch.device("meta"):  # shapes without numbers: made at once, whatever the size
        D, C, P, _ = create_model(name).stem.proj.weight.shape
    print(f"{name}:  {C} · {P} · {P} = {C * P * P:4} numbers a patch,  D = {D:4}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only for B/32. In B/16 the token has exactly as many numbers as its patch, so nothing has to be lost. In L/16
# and H/14 it has *more*. The embedding changes the coordinates; it need not compress.
# </details>
#
# > **What slides get wrong here.** "Produce *lower-dimensional* linear embeddings from the flattened patches"
# > is the third step of ViT on many slides, and the paper says it too (section 4.5). Of the four models above it
# > is true of B/32 only.

# %% [markdown]
# ## 3 · z₀, by hand
#
# The paper writes everything up to the first block in one line (equation 1):
#
# $$z_0 = [\,x_{\text{class}};\; x_1 E;\; x_2 E;\; \dots;\; x_N E\,] + E_{\text{pos}}, \qquad E \in \mathbb
# R^{(P^2 C) \times D}, \quad E_{\text{pos}} \in \mathbb R^{(N + 1) \times D}$$
#
# In words: each patch x₁ … x_N, as a row of numbers, is multiplied by the matrix E; a learned vector is put in
# front; a table of positions is added. We compute it by hand: a grey image of 4 × 4 pixels, P = 2, so N = 4 patches of 4 numbers, and D = 3.
# The three columns of E have a meaning: the mean of the patch; the mean of its right half minus that of its
# left half; the mean of its lower half minus that of its upper half.

# %%
tiny = torch.tensor([[1.0, 1, 0, 2],
                     [1, 1, 0, 2],
                     [0, 0, 1, 0],
                     [2, 2, 0, 1]])  # (H, W)
E = torch.tensor([[0.25, -0.5, -0.5],   # upper left pixel of a patch
                  [0.25, 0.5, -0.5],    # upper right
                  [0.25, -0.5, 0.5],    # lower left
                  [0.25, 0.5, 0.5]])    # lower right; (P·P·C, D) = (4, 3)
plots.matrices({"the image (H, W)": tiny, "E (P·P·C, D)": E},
               columns={"E (P·P·C, D)": ["mean", "right − left", "lower − upper"]})

# %% [markdown]
# Take the patch in the upper right corner, (0, 2, 0, 2). Its mean is $\frac{0+2+0+2}{4} = 1$; right minus
# left is $\frac{2+2}{2} - \frac{0+0}{2} = 2$; lower minus upper is $\frac{0+2}{2} - \frac{0+2}{2} = 0$. So
# its token is (1, 2, 0). **Compute the others the same way before you read on.**
#
# In front comes a vector that belongs to no patch, the *class token*; let it be (−1, −1, −1). Then each row
# gets its *position* added: here 0.1 in the second number for the right column of patches, 0.1 in the third
# for the lower row.

# %% tags=["slide-code"]
xE = torch.tensor([[1.0, 0, 0], [1, 2, 0], [1, 0, 2], [0.5, 0, 0]])  # (N, D)
x_class = torch.tensor([[-1.0, -1, -1]])  # (1, D)
E_pos = torch.tensor([[0, 0, 0],  # (N + 1, D)
                      [0, 0, 0], [0, 0.1, 0], [0, 0, 0.1], [0, 0.1, 0.1]])
z0 = torch.tensor([[-1.0, -1, -1],  # (N + 1, D)
                   [1, 0, 0], [1, 2.1, 0], [1, 0, 2.1], [0.5, 0.1, 0.1]])
names = ["class", "patch 0", "patch 1", "patch 2", "patch 3"]
plots.matrices({"x E": xE, "E_pos": E_pos, "z₀  (N + 1, D)": z0},
               rows={"x E": names[1:], "E_pos": names, "z₀  (N + 1, D)": names})

# %% [markdown]
# The course has two modules for this: `PatchEmbed`, the linear layer, and `Tokens`, which puts the class token
# in front and adds the positions. With our numbers, they must give what we computed by hand:

# %%
embed = PatchEmbed(dim=3, img_size=(4, 4), in_chans=1, patch_size=2)
tokens = Tokens(dim=3, grid=(2, 2), class_tokens=1, position="learned")
embed.proj.weight.data = E.T.reshape(3, 1, 2, 2)  # (D, C, P, P): each column as a filter
embed.proj.bias.data = torch.zeros(3)
tokens.class_tokens.data, tokens.position.data = x_class, E_pos
torch.allclose(tokens(embed(tiny[None, None]))[0], z0)

# %% [markdown]
# ## 4 · The class token: who gives the answer?
#
# N tokens go into the encoder and N come out, each about its own patch. The answer is about the whole image. So
# one more token is added that belongs to no patch: the **class token**, learned numbers that are the same for
# every image. It has no pixels. Whatever it knows at the end it has collected from the other tokens, by
# attention; and the answer is read from this one token alone. Two images, before and after three blocks:

# %%
SMALL = {"num_classes": 10, "embed_dim": 48, "num_heads": 4, "mlp_ratio": 2}
model = create_model("vit_cifar", depth=3, **SMALL)
two = test.images[:2].float() / 255  # (B, C, H, W)
with torch.no_grad():
    before = model.stages[0].entry(model.stem(two))  # (B, N + 1, D): z0
    after = model.stages[0].blocks(before)  # (B, N + 1, D)
for name, z in {"before": before, "after": after}.items():
    apart = (z[0] - z[1]).norm(dim=-1)  # (N + 1,): distance of the two images, by token
    print(f"{name}: class token {apart[0]:.2f}, patch tokens {apart[1:].mean():.2f} (mean)")

# %% [markdown]
# Before the first block the class token cannot tell the two images apart: the distance is zero. After three
# it can.
#
# Is it needed? No. The mean over all patch tokens serves as well: the paper tried it (appendix D.3), and the two
# differ in the learning rate they want, not in the accuracy they reach. The class token came from language
# models, and was kept to change as little as possible. Many later networks average instead, or collect the
# answer by one more attention layer (lecture 9). The class token has one advantage for us: its attention shows
# *from where the answer was collected*. Section 11 looks at that.

# %% [markdown]
# ## 5 · Positions: what is lost without them, and how large they must be
#
# Lecture 3 showed that attention knows no order. Is this true of the whole ViT? Roll the image by whole
# patches: 8 pixels down, 12 to the right; what leaves on one side enters on the other. The patches are the
# same, each at another place.

# %%
figures.rolled(test.images[0], shifts=[(8, 12), (0, 1)], patch=4)

# %%
def change(position, shifts):
    """Largest change of a logit of a fresh ViT when images are rolled."""
    torch.manual_seed(0)
    vit = create_model("vit_cifar", depth=2, position=position, **SMALL)
    rolled = torch.roll(two, shifts, dims=(2, 3))  # (B, C, H, W)
    with torch.no_grad():
        return (vit(rolled) - vit(two)).abs().max().item()

for position in (None, "learned", "sinusoidal"):
    print(f"position={position!s:10}  rolled by 8 and 12: {change(position, (8, 12)):.6f}")

# %% [markdown]
# Without positions only rounding changes: the network sees a *set* of patches without order. With positions the
# answer does change; only a little here, since nothing is trained yet, and less with the learned table, whose
# numbers start very small. We come back to that below.
#
# **Question 5.2** Now roll by *one* pixel instead of whole patches. Predict `change(None, (0, 1))` for the
# network without positions: is it zero again?

# %%
f"{change(None, (0, 1)):.3f}"

# %% [markdown]
# <details><summary>Answer</summary>
#
# No, it changes: all patches are cut anew and hold other pixels. Even the network without positions ignores
# shifts by whole patches only. Small shifts change its answer.
# </details>
#
# ### How large is a position?
#
# A position is *added* to the token of its patch, so both must share the same D numbers. The paper starts its
# table at random, with standard deviation 0.02. The figure compares it with the patch tokens themselves and
# with the sines and cosines of lecture 3 (half of the channels for the row, half for the column):

# %%
normalised = (test.images[:50].float() / 255 - 0.45) / 0.2  # to mean 0 and spread about 1
sines = sinusoidal_2d((8, 8), 48)  # (N, D)
faint = 0.02 * torch.randn(64, 48)  # (N, D)
figures.sizes_of_tokens({"patch tokens x E": model.stem(normalised),
                         "positions, random": faint, "positions, sines": sines})

# %% [markdown]
# The random table is more than twenty times smaller than what it is added to. It *can* grow, since it is learned,
# and in a long training it does: figure 7 of the paper shows the table of a trained ViT-L/32, and its rows and
# columns can be seen. How about a short training? Four networks learn *relation* (in which direction does the
# ring lie from the plus?): without positions, and with learned positions from three different starts.

# %%
train = load("two_questions", "train", size=budget(tiny=100, cpu=4000), device="cpu")

def small_vit(start="sines"):
    """Two blocks. Positions are learned, and start as sines or at random, or do not exist."""
    position = None if start == "none" else "learned"
    vit = create_model("vit_cifar", depth=2, position=position, **SMALL)
    table = vit.stages[0].entry.position  # (N + 1, D), random with spread 0.02
    if start == "sines":
        table.data[1:] = sinusoidal_2d((8, 8), 48)  # (N, D)
    elif start == "random 0.7":
        table.data[1:] = 0.7 * torch.randn(64, 48)  # (N, D)
    return vit

def trained(make, question, count, lr, seed):
    """A new network after 150 steps; the seed decides its first weights and the order."""
    torch.manual_seed(seed)
    network = make()
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=150), lr=lr, seed=seed)
    fit(network, train.subset(count).ask(question), recipe, plot=False, progress=False)
    return network

# %% [markdown]
# *(Price: none. The twelve trainings, four networks from three seeds each, were run once and stored; the cell
# looks them up. `positions(3)` trains all four from another seed, in about a minute.)*

# %%
def positions(seed):
    """start -> accuracy on relation"""
    found = {}
    for start in ("none", "random 0.02", "random 0.7", "sines"):
        vit = trained(lambda: small_vit(start), "relation", len(train), 4e-3, seed)
        found[start] = {"relation": evaluate(vit, test.ask("relation"))}
    return found

starts = over_seeds("05_vision_transformer/positions", positions, live=False)
plots.bars(starts, chance=0.1)

# %% [markdown]
# Without positions, and with the small random start, the network stays at guessing with every seed: 9 to 11 %<!--
# positions / none / relation --> and 8 to 9 %<!-- positions / random 0.02 / relation -->. With sines at the start
# it reaches 82 to 92 %<!-- positions / sines / relation -->. Is that because sines contain rows and columns? Not
# only: random numbers that start as large as the sines (spread 0.7) reach 33 to 68 %<!-- positions / random 0.7 /
# relation -->. The size comes first; the shape of the sines helps further. **When positions are too small nothing
# crashes and no shape is wrong: the network just does not learn it in the time we have.** From here on our
# positions are learned, but start as sines.
#
# Besides their size, positions have a shape. Which other places are similar to the one under the dot? *Turn
# the knob to move the dot.*

# %%
from course.analysis import position_similarity

# The sines without what all places have in common.
tables = {"random": faint, "sines": sines - sines.mean(dim=0)}  # (N, D) each
likeness = {name: position_similarity(table, (8, 8)) for name, table in tables.items()}

def like_the_dot(row, column):
    return figures.same_place(likeness, (row / 8, column / 8))

turn(like_the_dot, row=[2, 3, 4, 5, 6, 7, 0, 1], column=[5, 6, 7, 0, 1, 2, 3, 4])

# %% [markdown]
# In a random table every place is similar to itself only: that two places are neighbours has to be learned from
# images. The sines contain it from the start, as rows and columns.
#
# For photographs it matters little *which* code is used, as long as there is one. The paper (appendix D.4,
# table 8) gives the five-shot accuracy of ViT-B/16: 61.4 % without positions, 64.2 % with places numbered in a
# row, 64.0 % with row and column, 64.0 % with relative positions. (**Five-shot** accuracy: the network stays as
# it is, and only a linear layer on its features is fitted, to five images of each class. It is a quick test,
# one kind of *few-shot* evaluation.) That 61.4 % is so close says something about photographs: their classes
# can mostly be told from a set of patches. Our *relation* cannot.
#
# > **What slides get wrong here.** A common table says "permutation invariant: CNN no, ViT mostly (at the patch
# > level)". A ViT *without* positions is exactly permutation invariant, as the first line above shows, but
# > nobody uses one. With positions it is not, on purpose. The slide may mean that trained ViTs lose little
# > accuracy when patches are shuffled. That is a finding about what they learned (lecture 6), not a property
# > of the network.

# %% [markdown]
# ## 6 · The block: four parts, and what each is for
#
# From here on ViT is the transformer's encoder with nothing changed. The figure is drawn from the model itself:
# below each box stands the shape of what leaves it, without the batch.

# %%
architecture("vit_cifar", depth=3, **SMALL)

# %% [markdown]
# Follow the shapes. The image (3, 32, 32) becomes a feature map of 8 × 8 tokens, then a sequence of
# 65<!-- = 8 * 8 + 1 -->, and it keeps that shape through all blocks. **Nothing is ever halved**: a token of the
# last block still stands for 4 × 4 pixels. In a CNN the feature map shrinks and its channels grow; ViT has one
# resolution throughout, which is called *isotropic*.
#
# One block is two lines. The paper's equations 2 and 3, for the blocks ℓ = 1 … L, and equation 4 behind the
# last of them:
#
# $$z'_\ell = \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1}, \qquad z_\ell = \text{MLP}(\text{LN}(z'_\ell)) +
# z'_\ell, \qquad y = \text{LN}(z_L^0)$$
#
# MSA is multi-head self-attention (lecture 3), and $z_L^0$ is the class token after the last block. The cell
# computes the three equations one by one, and compares with the model:

# %%
with torch.no_grad():
    z = model.stages[0].entry(model.stem(two))  # (B, N + 1, D): z0, equation 1
    for block in model.stages[0].blocks:
        attention, mlp = block.token_mixer, block.channel_mixer
        z_prime = attention.branch(attention.norm(z)) + z  # (B, N + 1, D), equation 2
        z = mlp.branch(mlp.norm(z_prime)) + z_prime  # (B, N + 1, D), equation 3
    y = model.head.norm(z[:, 0])  # (B, D), equation 4
    logits = model.head.fc(y)  # (B, 10)
    print("the same as the model:", torch.allclose(logits, model(two), atol=1e-5))

# %% [markdown]
# Homework 2 is to build this. Each of the four parts has a reason.
#
# **1 · The residual connection**, or *skip connection*: the "+ z" in both equations (He and others 2016). A half
# of a block does not replace its input, it *adds a correction* to it. What the sums carry from the first block
# to the last is called the **residual stream**. A block that has nothing to add can leave the stream as it is,
# and in the backward pass the gradient goes through every "+" unchanged.
#
# **2 · LayerNorm** (Ba and others 2016): of the D numbers of one token it subtracts the mean µ and divides by the
# standard deviation σ; then each channel has a learned scale γ and shift β.
#
# $$\text{LN}(z) = \gamma\, \frac{z - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta$$
#
# The stream is a sum, so it grows from block to block. The norm makes what a half reads independent of that. In
# ViT it stands *before* each half, inside the residual connection: **pre-norm**. The stream itself is never
# normalised, and so one more norm is needed behind the last block (equation 4). To forget it is a common mistake.

# %%
with torch.no_grad():
    z = model.stages[0].entry(model.stem(two))  # (B, N + 1, D)
    norm = model.stages[0].blocks[0].token_mixer.norm
    print("of a stream 10 times as large the norm is the same:",
          torch.allclose(norm(10 * z), norm(z), atol=1e-2))
    spread = [z.std().item()]
    for block in model.stages[0].blocks:
        z = block(z)  # (B, N + 1, D)
        spread.append(z.std().item())
print("spread of the stream:", ", ".join(f"{each:.2f}" for each in spread))

# %% [markdown]
# **3 · The MLP** (multi-layer perceptron): two linear layers, which work on each token alone. Attention moves
# information between tokens, as weighted means of values; the MLP works on what has arrived. Its hidden layer is
# 4 D wide, so that it holds two thirds of the weights of a block.
#
# **4 · GELU** (Gaussian error linear unit: Hendrycks and Gimpel 2016), the nonlinearity between the two: a smooth
# ReLU. Φ is the distribution function of the normal distribution.
#
# $$\text{MLP}(z) = \text{GELU}(z W_1 + b_1)\, W_2 + b_2, \qquad \text{GELU}(x) = x\, \Phi(x)$$
#
# Without it, the two linear layers are one, however wide the hidden layer is:

# %%
mlp = model.stages[0].blocks[0].channel_mixer.branch
with torch.no_grad():
    u = torch.randn(5, 48)  # (tokens, D)
    print("GELU is x Φ(x):", torch.allclose(mlp.act(u), u * torch.special.ndtr(u), atol=1e-6))
    W = mlp.fc1.weight.T @ mlp.fc2.weight.T  # (D, 2 D) @ (2 D, D) = (D, D)
    b = mlp.fc1.bias @ mlp.fc2.weight.T + mlp.fc2.bias  # (D,)
    both = mlp.fc2(mlp.fc1(u))  # (tokens, D)
    print("two linear layers are one:", torch.allclose(both, u @ W + b, atol=1e-5))

# %% [markdown]
# ### Remove one part, and see what fails
#
# Reasons are good; a measurement is better. We need a question that asks something of every part and takes
# seconds. An image of 4 × 8 pixels shows two symbols, a patch each. There are 16 symbols, so
# 256<!-- = 16 * 16 --> pairs, and every pair has an answer from 0 to 9 that was drawn once at random. There is no
# rule to find: the network has to bring two tokens together, and then to know the answer by heart, in spite of
# some noise.

# %%
drawing = torch.Generator().manual_seed(7)
symbols = (torch.rand(16, 4, 4, generator=drawing) > 0.5).float()  # (16, P, P), black or white
answers = torch.randint(10, (16, 16), generator=drawing)  # (left symbol, right symbol)

def pairs(count, seed):
    """(images (n, C, H, W) = (n, 3, 4, 8), answers (n,))"""
    draw = torch.Generator().manual_seed(seed)
    left, right = torch.randint(16, (2, count), generator=draw)  # (n,) each
    image = torch.cat([symbols[left], symbols[right]], dim=-1)  # (n, 4, 8)
    image = 0.25 + 0.5 * image + 0.1 * torch.randn(image.shape, generator=draw)  # (n, 4, 8)
    return (255 * image.clamp(0, 1)).byte()[:, None].repeat(1, 3, 1, 1), answers[left, right]

seen, new = pairs(budget(tiny=100, cpu=4000), seed=1), pairs(500, seed=2)
guessing = answers.flatten().bincount().max().item() / 256
print(f"the most frequent answer is right for {guessing:.1%} of the pairs")
plots.image_grid(new[0], count=5, captions=[f"answer {answer}" for answer in new[1][:5]])

# %% [markdown]
# A ViT of width 48 with all its parts, and with each part removed in turn; once with 1 block, once with 8.
#
# **Question 5.3** Predict before you run the cells: for each of the four parts, does the network without it fail
# with one block? With eight?

# %%
def vit_without(part, depth):
    changes = {"no LayerNorm": {"norm": None}, "no MLP": {"channel_mixer": None},
               "no GELU": {"act": nn.Identity}}.get(part, {})
    vit = create_model("vit_cifar", num_classes=10, img_size=(4, 8), embed_dim=48, depth=depth,
                       num_heads=4, **changes)
    vit.stages[0].entry.position.data[1:] = sinusoidal_2d((1, 2), 48)  # (N, D) = (2, 48)
    if part == "no residual":
        for block in vit.stages[0].blocks:
            a, m = block.token_mixer, block.channel_mixer
            block.token_mixer = nn.Sequential(a.norm, a.branch)  # (B, N + 1, D), no sum
            block.channel_mixer = nn.Sequential(m.norm, m.branch)  # (B, N + 1, D), no sum
    return vit

# %% [markdown]
# *(Price: five trainings with one block, about 8 seconds together on one CPU core. Those with eight blocks take
# five times as long; they were run once and stored.)*

# %%
def without_each(depth, seed):
    """network -> accuracy on new images of the same pairs"""
    found = {}
    for part in ("all parts", "no residual", "no LayerNorm", "no MLP", "no GELU"):
        torch.manual_seed(seed)
        vit = vit_without(part, depth)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=300), lr=4e-3, seed=seed)
        try:
            fit(vit, seen, recipe, plot=False, progress=False)
            found[part] = evaluate(vit, new)
        except TrainingError:  # the gradient is no longer finite: it counts as guessing
            found[part] = guessing
    return found

def with_one(seed):
    return without_each(1, seed)

def with_eight(seed):
    return without_each(8, seed)

one = over_seeds("05_vision_transformer/one block", with_one)
eight = over_seeds("05_vision_transformer/eight blocks", with_eight, live=False)
figures.parts_removed({"1 block": one, "8 blocks": eight}, guessing)

# %% [markdown]
# **With one block**, the complete network reaches 78 to 86 %<!-- one block / all parts -->. Without the MLP it is
# 41 to 45 %<!-- one block / no MLP -->, and without the GELU, which makes the MLP one linear layer, 43 %<!-- one
# block / no GELU -->: each of them gives less than half of the answers. (That is still far above guessing,
# because attention has a nonlinearity of its own, the softmax.) Without LayerNorm it is 48 to 50 %<!-- one block
# / no LayerNorm --> after equally many steps. Without the residual connection nothing is lost: 85 to 90 %<!-- one
# block / no residual -->.
#
# **With eight blocks** it is different. The complete network reaches 93 to 98 %<!-- eight blocks / all parts -->.
# Without the residual connection it only guesses, 12 %<!-- eight blocks / no residual -->. Without LayerNorm it
# is hardly better, 12 to 18 %<!-- eight blocks / no LayerNorm -->; with one of the three seeds the gradient
# became infinite, which counts as guessing. But without the MLP it is 98 to 99 %<!-- eight blocks / no MLP -->:
# eight layers of attention, each with its softmax, learn this table as well. Without the GELU alone it is 56 to
# 65 %<!-- eight blocks / no GELU -->: here a linear MLP is worse than none. We have not found out why.
#
# So no part is necessary at every depth. **MLP and GELU give a block what it can compute and store. The residual
# connection makes many blocks trainable, and LayerNorm makes them trainable in big steps**: with a smaller
# learning rate the network without it learns, too (exercise 5). The paper's ViTs have 12 to 32 blocks and far
# more to learn than 256 answers. Note the limits of what we measured: one question, one recipe, one width.
#
# Why does depth fail without the residual connection? The usual answer is that the gradient vanishes on its way
# to the first layer. Measure it, before any training, with eight blocks:

# %%
pixels, right = new[0].float() / 255, new[1]  # (n, C, H, W), (n,)
for part in ("all parts", "no residual"):
    sizes = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        vit = vit_without(part, depth=8)  # untrained
        nn.functional.cross_entropy(vit(pixels), right).backward()
        sizes.append(vit.stem.proj.weight.grad.norm().item())
    print(f"{part}: gradient of the first layer {', '.join(f'{size:.2f}' for size in sizes)}")

# %% [markdown]
# It does not vanish: with and without the residual connection the gradient has about the same size, since
# LayerNorm keeps all sizes in order. (He and others, 2016, section 4.1, wrote the same of their networks with
# batch norm.) Another explanation is that without residual connections the gradient changes too fast from one
# input to a similar one, until it looks like noise (Balduzzi and others 2017). Our cell does not decide this; it
# only excludes the usual answer.

# %% [markdown]
# ## 7 · The size table, recomputed
#
# The paper's three sizes (table 1), which most lectures about ViT show:
#
# | | layers L | width D | MLP | heads | parameters |
# |---|---|---|---|---|---|
# | ViT-Base | 12 | 768 | 3072 | 12 | 86M |
# | ViT-Large | 24 | 1024 | 4096 | 16 | 307M |
# | ViT-Huge | 32 | 1280 | 5120 | 16 | 632M |
#
# Nearly all of these parameters are in the blocks, and they can be counted without a computer. Attention has
# four matrices of D × D: for queries, keys, values, and for the output. The MLP has two of D × 4 D. So
#
# $$\underbrace{4 D^2}_{\text{attention}} + \underbrace{2 \cdot 4 D^2}_{\text{MLP}} = 12\, D^2
# \text{ a block,} \qquad 12\, L\, D^2 \text{ in all.}$$
#
# The biases and the two norms of a block add 13 D, which is next to nothing. For Base, 12 · 12 · 768² is
# 84.9<!-- = 12 * 12 * 768 ** 2 / 10 ** 6 --> million; for Large it is
# 302.0<!-- = 12 * 24 * 1024 ** 2 / 10 ** 6 --> million, for Huge 629.1<!-- = 12 * 32 * 1280 ** 2 / 10 ** 6 -->
# million. What is missing to 86, 307 and 632 lies outside the blocks: the patch embedding (P² C D weights), the
# positions, the head. The patch size is not in the table: B/16, B/32, L/16 and L/32 share a line each. So which
# model has 307 million? Count:

# %%
from course.models.count import count_macs, count_parameters

says = {"vit_b16": 86, "vit_b32": 86, "vit_l16": 307, "vit_l32": 307, "vit_h14": 632}
print("        printed   12 L D²   patches   head      all   all but head   (millions)")
for name, printed in list(says.items())[:budget(tiny=1, cpu=5)]:
    with torch.device("meta"):
        network = create_model(name)  # 1000 classes
    L, D = len(network.stages[0].blocks), network.num_features
    parts = (network, network.stem, network.head.fc)
    size, stem, head = (count_parameters(each) / 1e6 for each in parts)
    print(f"{name} {printed:7} {12 * L * D**2 / 1e6:9.1f} {stem:9.1f} {head:6.1f}"
          f" {size:8.1f} {size - head:14.1f}")

# %% [markdown]
# Three figures and two ways of counting. **86** is B/16 *without* its last linear layer (with it, it would round
# to 87). **632** is H/14 *with* it (without it, to 631). And **307**? L/16 gives 304 with its head and 303
# without. L/32 gives 306.5 with its head, and that is the only count of the four that rounds to 307. (The paper
# does not say how it counted.) L/32 is the larger of the two because its patches are: four times as many pixels
# a patch, so four times as many weights in the embedding.
#
# What the course knows about a model, with the source of each number:

# %%
card("vit_l16")

# %% [markdown]
# L/16 and L/32 differ in one number. Twice the patch side makes a quarter of the tokens, and of the work:

# %%
compare("vit_l16", "vit_l32")

# %% [markdown]
# **Question 5.4** The same ViT-B/16 for images of 384 × 384 pixels, `img_size=384`. Predict both numbers
# before you run the cell: do the parameters change, and by how much? Do the multiply-adds grow more or less
# than the number of tokens, which grows by (384 / 224)² = 2.94?

# %%
img_size = 384
for name in ("vit_b16", "vit_l16"):
    with torch.device("meta"):
        network = create_model(name, img_size=img_size)
    macs = count_macs(network, 1, 3, img_size, img_size)
    size = count_parameters(network) / 1e6
    print(f"{name}: {size:.2f} M parameters, {macs / 1e9:.1f} G multiply-adds")

# %% [markdown]
# <details><summary>Answer</summary>
#
# B/16 has 0.29<!-- = 380 * 768 / 10 ** 6 --> million more parameters: positions for 577 tokens instead of 197,
# each of 768 numbers. Nothing else depends on the size of the image. The multiply-adds grow by a factor of
# 3.16, from 17.6 G to 55.5<!-- printed --> G, a little more than the tokens: the linear layers grow with N, the
# products of attention with N², and at D = 768 those are still the smaller part (lecture 3, section 9). L/16 at
# 384, the model with which the paper reports its results, takes 191.1<!-- printed --> G.
# </details>
#
# > **What slides get wrong here.** "ViT-L/16 has 307 million parameters" is copied from the paper's table, whose
# > line is Large, and not L/16. L/16 has 304.

# %% [markdown]
# ## 8 · The hybrid: a CNN makes the tokens
#
# Tokens need not be patches of raw pixels. The paper's **hybrid** runs a ResNet over the image and takes each
# place of its feature map as a token: "patches" of 1 × 1 in a feature map. In the course's models one part is
# exchanged, the stem:

# %%
compare("vit_b16", "vit_b_r50")

# %% [markdown]
# Which pixels can change one token before the first block, and how much? The gradient says it: for a plain patch
# and for a ResNet stem of the same build (half as wide, untrained, 112 × 112 pixels).

# %%
from course.models.resnet_stem import ResNetStem

stems = {"patch of 16 × 16": PatchEmbed(16, (112, 112), patch_size=16),
         "ResNet, stride 16": ResNetStem(16, (112, 112), depths=(3, 4, 9),
                                         widths=(128, 256, 512))}
fields = {}
for name, part in stems.items():
    noise = torch.rand(8, 3, 112, 112, requires_grad=True)  # (B, C, H, W)
    middle = part(noise)[:, 3, 3]  # (B, D): the token in the middle of the feature map (7, 7)
    (middle * torch.randn(8, 16)).sum().backward()
    change = noise.grad.abs()  # (B, C, H, W)
    fields[name] = reduce(change, "b c (h p) (w q) -> h w", "sum", p=4, q=4)  # (28, 28)
figures.receptive_fields(fields)

# %% [markdown]
# The plain token depends on its own square and on nothing else. The hybrid's token can be changed by every pixel
# of this small image, but not equally: the nearer, the more. So the tokens overlap, and each has seen its
# surroundings, by convolutions, before attention begins. The preference of a CNN for what is near is put back
# *in front of* the transformer. In the paper it helps the smaller models a little; for the larger ones the advantage
# is gone (section 4.4 and figure 5; all pre-trained on JFT).
#
# **Question 5.5** A ResNet50 halves the image five times by the end of its stage 4: how many tokens would that give
# at 224 × 224? Our `vit_b_r50` has `depths=(3, 4, 9)`: how many stages, and how many tokens? (To look:
# `create_model("vit_b_r50").stem.grid`.)
#
# <details><summary>Answer</summary>
#
# 224 / 32 = 7, so 49<!-- = 7 * 7 --> tokens. That is one of the paper's two ways. In the other, stage 4 is left
# out and its layers are moved into stage 3 (hence 9 where ResNet50 has 6), so that the feature map is 14 × 14:
# 196<!-- = 14 * 14 --> tokens, four times as many, like those of B/16 (section 4.1 there).
# </details>
#
# > **What slides get wrong here.** "Use the ResNet50 output from stage 4" is one of the two ways. The
# > "R50 + ViT-B/16" that one can download is the other one.

# %% [markdown]
# ## 9 · What a CNN assumes, and a ViT has to learn
#
# A network's **inductive bias** is what it assumes before it has seen an image:
#
# | | CNN | ViT |
# |---|---|---|
# | near things belong together | in every layer | only inside a patch |
# | a pattern means the same everywhere | in every layer | in the embedding and the MLP; attention sees positions |
# | the image is two-dimensional | in every layer | only where patches are cut (and in the start of our positions) |
# | small things make larger ones | the feature map shrinks | no |
# | far things may belong together | after many layers | in the first layer |
#
# In the language of probability the bias is a *prior* over functions f, and training examples move it:
#
# $$p(f \mid \text{data}) \;\propto\; p(\text{data} \mid f)\; p(f)$$
#
# With few examples the prior p(f) decides; with many, the data do. If what is assumed is true, fewer examples are
# needed. If it is false, the examples have to overcome it. So we expect: *the fewer the images, the more a fitting
# bias is worth.*
#
# ### Pre-training, fine-tuning, and the paper's three data sets
#
# Few people have enough images for a ViT. So the paper trains in two steps. **Pre-training**: the network learns to
# classify a large data set. **Fine-tuning**: the trained network is trained a little more, on the smaller data set
# that one is interested in. For this the head is taken off and a *new head* put in its place, one linear layer of
# D × K weights for the K new classes, which starts at zero. (In pre-training the paper's head is a small MLP with one
# hidden layer; that one is thrown away.) In the course: `at_resolution(model, 384, num_classes=K)`.
#
# | data set | images | classes |
# |---|---|---|
# | ImageNet | 1.3 million | 1,000 |
# | ImageNet-21k | 14 million | 21,000 |
# | JFT-300M (Google's own, labelled automatically) | 303 million | 18,000 |
#
# The same networks, pre-trained on each of the three, then fine-tuned on ImageNet; **top-1** accuracy, the share of
# test images whose highest-scoring class is the right one:

# %%
millions = [1.3, 14, 303]  # ImageNet, ImageNet-21k, JFT
accuracy = {"ViT-B/16": [77.91, 83.97, 84.15], "ViT-L/16": [76.53, 85.15, 87.12],
            "ViT-H/14": [None, 85.13, 88.04], "CNN (ResNet-152x4)": [81.30, 85.39, 87.54]}
figures.by_pretraining(millions, accuracy)

# %% [markdown]
# (ViT: the paper's table 5, fine-tuned at 384 pixels; it has no H/14 for ImageNet. ResNet: the BiT paper, Kolesnikov and
# others 2020, tables 1 and 2, fine-tuned by its own recipe at a higher resolution, so the gaps are not exact.) What
# the figure shows:
#
# * **1.3 million.** The ResNet is ahead of both ViTs, by 3.4 and 4.8 points, and the *larger* ViT is behind the smaller
#   one (table 5): it overfits.
# * **14 million.** Large has passed Base, and all but Base are within 0.3 points (table 5).
# * **303 million.** Base gains almost nothing more (0.2 points), Large gains 1.97, the ResNet 2.15, Huge 2.91
#   (table 5). **Only Huge passes the ResNet here**, 88.0 against 87.5. L/16 stays below it at all three points, by
#   4.8, 0.2 and 0.4.
#
# So the figure does not say that "with enough images ViT wins". It says that the ResNet's lead of 3 to 5 points over the
# ViTs shrinks to almost nothing, and that only the larger ViTs can use the largest data set. (In the paper's table 2,
# with still higher resolution and averaged weights, L/16 has 87.76 and passes, too.)
#
# **The price** is where ViT is clearly ahead. For the best results of table 2, ViT-L/16 was pre-trained for 0.68
# thousand TPUv3-core-days, ViT-H/14 for 2.5, the ResNet for 9.9. One reason: a ViT is almost only products of
# large matrices, 12 L D² multiply-adds a token and two more products for attention, all of one shape from the first
# block to the last. That is what the matrix units of TPUs and GPUs do best. "Needs many images" does not mean "needs
# much computing".
#
# How it was trained (paper, section 4.1, tables 3 and 4):
#
# | | pre-training | fine-tuning |
# |---|---|---|
# | optimiser | Adam, batches of 4,096 | SGD with momentum, batches of 512 |
# | learning rate | warm-up, then falling linearly (JFT, ImageNet-21k) or as a cosine (ImageNet) | cosine |
# | weight decay | 0.1 (JFT; section 4.1 names this one only), 0.03 (ImageNet-21k), 0.3 (ImageNet) | none |
# | resolution | 224 | 384 or more |
# | in the course | `recipes.vit_jft`, `recipes.vit` (ImageNet) | `recipes.vit_finetune` |
#
# Before ViT, large data sets helped CNNs in the same way: JFT for a ResNet (Sun and others 2017), 3.5 billion photographs
# with hashtags (Mahajan and others 2018), a teacher's labels for unlabelled images (Noisy Student: Xie and others
# 2020). Besides ImageNet the paper fine-tunes on CIFAR, Pets, Flowers and the nineteen tasks of VTAB. Lecture 13 is
# about scale, lecture 7 about training with less data.
#
# ### Our own, small
#
# JFT does not fit on a laptop. But the two questions of lecture 3 show the two sides: *texture* is local, *relation*
# connects two things that are far apart. Two networks: a CNN whose receptive field is 27 pixels wide, and the ViT of
# section 5, two blocks with positions that start as sines.

# %%
def small_cnn():
    layers, before = [], 3
    for width, stride in ((24, 2), (32, 1), (48, 2), (64, 1), (64, 1)):  # sees 27 × 27 pixels
        conv = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    return nn.Sequential(*layers, *head)  # (B, 10)

# %% [markdown]
# Every training sees equally many images, 9,600<!-- = 150 * 64 -->; where there are few different ones, it sees them
# again and again. So the axis is *how many different ones*, and nothing else changes. **Write your prediction down
# first**: four curves, over 200, 1,000 and 4,000 images. Which network needs fewer images for *texture*? Which for
# *relation*?
#
# *(Price: none. Twelve trainings from each of three seeds were run once and stored; `data_against_bias(3)` trains
# twelve from another seed, in about two minutes.)*

# %%
networks = {"CNN": (small_cnn, 3e-3), "ViT": (small_vit, 4e-3)}
counts = budget(tiny=[100], cpu=[200, 1000, 4000])

def data_against_bias(seed):
    """question -> network -> training images -> accuracy"""
    found = {}
    for question in ("texture", "relation"):
        found[question] = {name: {} for name in networks}
        for name, (make, lr) in networks.items():
            for count in counts:
                network = trained(make, question, count, lr, seed)
                found[question][name][count] = evaluate(network, test.ask(question))
    return found

results = over_seeds("05_vision_transformer/data", data_against_bias, live=False)
figures.crossover(results, chance=0.1)

# %% [markdown]
# With 200 images each of them is seen 48<!-- = 9600 / 200 --> times, with 4,000 only two or three times. What all
# three seeds show:
#
# * **Texture**, a *local* question. The CNN needs 200 images: 100 %<!-- data / texture / CNN / 200 -->, as it
#   assumes what the answer is made of. The ViT reaches 76 to 86 %<!-- data / texture / ViT / 200 --> with 200
#   images and 99 to 100 %<!-- data / texture / ViT / 1000 --> with 1,000: images have taught it what was not
#   built in. Its freedom gains nothing, as the question does not ask for any.
# * **Relation with 200 images**: the order is the other way round. The CNN guesses, 11 to 14 %<!-- data /
#   relation / CNN / 200 -->. The ViT gets 23 to 39 %<!-- data / relation / ViT / 200 -->: its first layer can
#   already compare any two places.
# * **Relation with 1,000 images**: not decided. The CNN gets 76 to 86 %<!-- data / relation / CNN / 1000 --> and
#   the ViT 71 to 89 %<!-- data / relation / ViT / 1000 -->; one seed has the CNN ahead, two have the ViT.
# * **Relation with 4,000 images**: the CNN is ahead with every seed, 96 to 98 %<!-- data / relation / CNN / 4000
#   --> against 82 to 92 %<!-- data / relation / ViT / 4000 -->. With enough images it has learned to pass
#   information on from layer to layer.
#
# What this shows, and what it does not:
#
# * **A bias saves images where it fits the question, and only there.** "CNNs need less data" is true of
#   photographs, whose classes are mostly local things.
# * The right end is *not* the end of the story: 150 steps are the same for all, and the ViT has not finished
#   there (exercise 3). The paper's networks are trained far longer, and its largest data set has more than two
#   hundred times as many images as its smallest. Ours has 20 times as many, and we test on 500 images.
# * Nothing of the paper's right end, where large ViTs gain most, can be seen here: our ViT is small, and so are
#   the data.
# * Another CNN gives another curve. One that sees only 9 pixels has no window with both glyphs in it. It still
#   rises above guessing with more images and steps, because its zero padding marks the border and so tells it
#   places (lecture 3 measures it).
#
# > **What slides get wrong here.** Weight decay is 0.3 on one page and 0.1 on another, as if one of them were a
# > mistake: the first belongs to ImageNet alone, the second to JFT. And "with enough images ViT beats the CNN" is true
# > of the largest ViT in the figure above, and not of L/16.

# %% [markdown]
# ## 10 · Fine-tuning at a higher resolution
#
# The paper pre-trains at 224 pixels and fine-tunes at 384, because larger images show more. The patches keep their
# size in pixels, so that the embedding fits; there are more of them. The blocks do not care how many tokens come: they
# have no weight that belongs to a place.

# %%
figures.grids(image, sizes=[32, 48], patch=4)

# %% [markdown]
# One table does not fit: the positions have 65 rows, and now 145<!-- = 12 * 12 + 1 --> are wanted. But its rows lie on a
# grid, so the table is an image with D channels, and an image can be enlarged: *the row for a new place is
# interpolated between those of the old places around it.* With $E_{\text{pos}}[i, j]$ for the row at place (i, j) of the
# old grid of h × h, and h' × h' places in the new one:
#
# $$E'_{\text{pos}}[i, j] \;=\; \text{interpolate}\big(E_{\text{pos}}\big)\Big(\tfrac{h}{h'}\,(i + \tfrac12) - \tfrac12,\;
# \tfrac{h}{h'}\,(j + \tfrac12) - \tfrac12\Big)$$
#
# The class token has no place, and keeps its row. The course does this in `at_resolution`. Here is a ViT that has learned
# *relation* from all images, and the same for images of 48 × 48: which positions are similar to the one under the
# dot? *Turn the knob.* *(Price: one training, about 10 seconds on one CPU core.)*

# %%
from course.training.finetune import at_resolution

vits = {}

def relation_vit(seed):
    if seed not in vits:
        vits[seed] = trained(small_vit, "relation", len(train), 4e-3, seed)
    return vits[seed]

vit = relation_vit(0)
larger = at_resolution(vit, 48)  # the same weights; 145 positions in place of 65
likeness = {"trained at 32 pixels": position_similarity(vit),
            "resized for 48 pixels": position_similarity(larger)}

def like_the_dot_now(row, column):
    return figures.same_place(likeness, (row / 8, column / 8))

turn(like_the_dot_now, row=[2, 3, 4, 5, 6, 7, 0, 1], column=[5, 6, 7, 0, 1, 2, 3, 4])

# %% [markdown]
# The same place has the same neighbourhood, in finer steps. Is resizing needed? **Predict**, for images enlarged from
# 32 to 48 pixels, three accuracies: of the network with the table resized; with the table taken as a *list* (place n
# gets row n, as long as there are rows, and the others zeros); and resized, then fine-tuned for 25 steps. Which of
# them is near the accuracy at 32 pixels? *(Price: about 10 seconds on one CPU core.)*

# %%
def enlarged(data, size=48):
    smooth = {"mode": "bilinear", "antialias": True}
    images = nn.functional.interpolate(data.images.float(), (size, size), **smooth)
    return images.round().clamp(0, 255).byte(), data.labels  # (n, C, 48, 48), (n,)

def resolution(seed):
    """what is done -> accuracy on relation"""
    small, asked = relation_vit(seed), test.ask("relation")
    as_list, resized = at_resolution(small, 48), at_resolution(small, 48)
    table = as_list.stages[0].entry.position.data  # (1 + 144, D)
    table[:65], table[65:] = small.stages[0].entry.position.data, 0
    found = {"32 × 32": evaluate(small, asked),
             "48 × 48, table as a list": evaluate(as_list, enlarged(asked)),
             "48 × 48, table resized": evaluate(resized, enlarged(asked))}
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=25), lr=1e-3, seed=seed)
    fit(resized, enlarged(train.ask("relation")), recipe, plot=False, progress=False)
    found["48 × 48, resized and fine-tuned"] = evaluate(resized, enlarged(asked))
    return {name: {"relation": accuracy} for name, accuracy in found.items()}

plots.bars(over_seeds("05_vision_transformer/resolution", resolution), chance=0.1)

# %% [markdown]
# As a list the table is worth nothing: every place has the row of another one, or none, and the network guesses
# (5 to 11 %<!-- resolution / 48 × 48, table as a list / relation -->). Resized, *without a single step of
# training*, it reaches 87 to 93 %<!-- resolution / 48 × 48, table resized / relation -->, with every seed at
# least as much as at 32 pixels (82 to 92 %<!-- resolution / 32 × 32 / relation -->), although every patch now
# shows a smaller piece of the picture. 25 steps of fine-tuning lead to 89 to 94 %<!-- resolution / 48 × 48,
# resized and fine-tuned / relation -->, with every seed a little more. (One point is 5 of 500 test images.) Of
# the whole network only one table, of 65 rows of 48 numbers, had to be changed.
#
# **Question 5.6** `at_resolution(vit, 64)` and `enlarged(..., size=64)` double the side. Predict, before you run it: how many
# tokens are there, and is the resized table better or worse off than at 48, before any fine-tuning?

# %%
side = 64

def doubled(seed):
    larger = at_resolution(relation_vit(seed), side)
    return {"accuracy": evaluate(larger, enlarged(test.ask("relation"), side))}

right = over_seeds("05_vision_transformer/doubled", doubled)["accuracy"]
shares = ", ".join(f"{each:.1%}" for each in right)
print(f"{(side // 4) ** 2 + 1} tokens; right, seed by seed: {shares}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 16 · 16 + 1 = 257<!-- = 16 * 16 + 1 --> tokens, and 86.2 to 93.4 %<!-- doubled / accuracy -->, which is −1.2 to
# 0.8 points<!-- doubled / accuracy - resolution / 48 × 48, table resized / relation --> more than at 48: neither
# better nor worse. The table is smooth, so it can be enlarged far; and what the question asks for, colours and
# places, survives the enlargement. Stripes become twice as wide, which is another matter. </details>

# %% [markdown]
# ## 11 · The trained network, looked at
#
# The ViT of section 10: two blocks of four heads, trained on *relation*. From where does the **class token** collect its
# answer? The number above each map is the largest weight in it. *Turn the knob for other images.*

# %%
from course.analysis import attention_weights

def collected(number):
    shown = test.images[number : number + 1]  # (1, C, H, W)
    layers = attention_weights(vit, shown)  # (1, h, N + 1, N + 1) each
    rows = [layer[0, :, 0] for layer in layers]  # (h, N + 1): the class token's rows
    answer = test.ask("relation").classes[int(test.all_labels["relation"][number])]
    return figures.class_token_looks(shown[0], rows, f"relation {answer}")

turn(collected, number=[3, 0, 1, 2, 4, 5, 6, 7])

# %% [markdown]
# Some maps have their weight on the patches of the plus or of the ring. Is that so in all images, and with other seeds?
# Count it: which share of the class token's attention to patches falls on the two glyphs, in 200 images and all heads?
# The control is the same network before training.

# %%
def on_the_glyphs(network):
    """layer -> share of the class token's attention to patches that is on plus and ring"""
    images = test.images[:200]  # (n, C, H, W)
    red_blue = (images[:, 0].float() - images[:, 2].float()) / 255  # (n, H, W)
    red_blue = reduce(red_blue, "n (h p) (w q) -> n (h w)", "mean", p=4, q=4)  # (n, N)
    glyph = (red_blue - red_blue.median(dim=1, keepdim=True).values).abs() > 0.15  # (n, N)
    found = {"area": glyph.float().mean().item()}
    for number, layer in enumerate(attention_weights(network, images), start=1):
        row = layer[:, :, 0, 1:]  # (n, h, N)
        found[f"layer {number}"] = ((row * glyph[:, None]).sum() / row.sum()).item()
    return found

def looked_at(seed):
    torch.manual_seed(seed)
    untrained = on_the_glyphs(small_vit())
    return {"untrained": untrained, "trained": on_the_glyphs(relation_vit(seed))}

for name, shares in over_seeds("05_vision_transformer/looked at", looked_at).items():
    for what, seeds in shares.items():
        print(f"{name}, {what}:", ", ".join(f"{float(share):.1%}" for share in seeds))

# %% [markdown]
# The glyphs cover 10 %<!-- looked at / trained / area --> of the patches. Before training the class token gives
# them 9 to 10 %<!-- looked at / untrained / layer 1 --> of its attention in the first layer and, in the second,
# 10 %<!-- looked at / untrained / layer 2 -->: just their share of the area. After training it is 59 to 98 %<!--
# looked at / trained / layer 1 --> in the first layer and, in the second, 23 to 74 %<!-- looked at / trained /
# layer 2 -->. So with every seed the first layer collects mostly from where the answer is; what the second does
# differs from seed to seed. These are the look-ups that we wrote by hand in lecture 3, with one difference: there
# the plus looked for the ring; here a token without pixels looks for both, and what it collects are vectors that
# hold *what* and *where*, as the positions were added. The training found this by itself.
#
# Such maps are pleasant to look at, and easy to believe. How far they can be trusted, and what the positions and filters
# of large ViTs look like after millions of images, is lecture 6.

# %% [markdown]
# ## 12 · Photographs
#
# All of this was trained on drawn images, because a minute of a laptop is enough for them. Here is the same kind of network on
# real ones, CIFAR-10's: on a CPU a small one that sees 5,000 photographs, on a GPU `vit_cifar` as it is, and all 50,000.
# Guess first: after so short a training, is it near guessing, one in ten, or does it know most of them? *(Price: some 20 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not measured.)*

# %%
from course.data import photographs

size = budget(tiny=SMALL | {"depth": 1}, cpu=SMALL | {"embed_dim": 64, "depth": 3}, gpu={})
some = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200), augment=("random_crop", "random_flip"))
photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
if photos:
    torch.manual_seed(0)
    reader = create_model("vit_cifar", **{"num_classes": 10} | size)
    fit(reader, photos[0], budget(tiny=some, cpu=some, gpu=recipes.gpu), plot=False)
    print(f"{evaluate(reader, photos[1]):.0%} of {len(photos[1]):,} photographs that it has never seen")

# %% [markdown]
# What does it get wrong? Would you have known them all, at 32 × 32 pixels? Lecture 6, section 13, looks into ViTs that have seen all
# 50,000 photographs four times; lecture 7, section 10, goes on from one of them; and lecture 11, section 9, sets it beside five other networks.

# %%
if photos:
    display(plots.misread(reader, photos[1].subset(100)))

# %% [markdown]
# ## Summary
#
# 1. **An image becomes tokens by cutting:** N = HW/P² patches, each mapped by the same linear layer, which is a
#    convolution with kernel size = stride = P. z₀ = [class; patches · E] + positions.
# 2. **The class token** has no pixels and collects its answer by attention; **positions** are added, and have to
#    be about as large as the patch tokens to be of use in a short training. Without them: a set of patches.
# 3. **A block** is two residual steps: z + MSA(LN(z)), then z + MLP(LN(z)). With one block, a table of 256
#    answers needs MLP and GELU (without them 41 to 45 %<!-- one block / no MLP --> and 43 %<!-- one block / no
#    GELU -->, with all parts 78 to 86 %<!-- one block / all parts -->); with eight blocks training needs the
#    residual connection and, at this learning rate, LayerNorm (12 %<!-- eight blocks / no residual --> and 12 to 18 %<!-- eight blocks /
#    no LayerNorm --> without, 93 to 98 %<!-- eight blocks / all parts --> with all).
# 4. **12 L D²** weights are in the blocks. 86M is B/16 without its head, 632M H/14 with it, 307M is L/32 with it;
#    B/16 takes 17.6 G multiply-adds at 224 × 224.
# 5. **A bias saves images where it fits the question.** In the paper the ResNet leads by 3 to 5 points after 1.3
#    million images; after 303 million ViT-H/14 is ahead by half a point, L/16 behind by as much. In ours, from
#    200 images the CNN gets 100 %<!-- data / texture / CNN / 200 --> of *texture* and the ViT 76 to 86 %<!-- data
#    / texture / ViT / 200 -->; of *relation* the CNN 11 to 14 %<!-- data / relation / CNN / 200 --> and the ViT
#    23 to 39 %<!-- data / relation / ViT / 200 -->.
# 6. **Another resolution** needs nothing but positions that are interpolated, and a little fine-tuning; another data
#    set needs a new head.
#
# ## To revise
#
# | section | what its cells show |
# |---|---|
# | 1 | a patch becomes a row of numbers and then a token (knob) |
# | 2 | the embedding as filters; by product and by convolution, the same |
# | 3 | z₀ of a 4 × 4 image by hand, and by `PatchEmbed` and `Tokens` |
# | 4 | the class token cannot tell two images apart before the blocks; after them it can |
# | 5 | rolled by whole patches: no change without positions; how large they must be; their shape (knob) |
# | 6 | the drawing; equations 2 to 4 one by one; each part of the block removed once |
# | 7 | 12 L D² and the size table recomputed; `card`, `compare`; 384 pixels |
# | 8 | the hybrid: what one token sees before attention |
# | 9 | the paper's three data sets; ours: accuracy over the number of images |
# | 10 | positions resized (knob), and what that is worth |
# | 11 | where the class token looks (knob), and how much of it on the glyphs |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Give `by_hand` in section 2 a fourth filter: `blue` with its two lower rows multiplied by −1. Where is its feature map darkest, and where whitest? | 10 |
# | 2 | ●○○ Do section 3 with P = 1: what are N, the shapes of E and z₀? | 10 |
# | 3 | ●●○ Train the ViT on *relation* with 4,000 images for 600 steps in place of 150. Does it reach the CNN of section 9? | 15 |
# | 4 | ●○○ ViT-g/14 has D = 1664, L = 48 and an MLP of 8192. What does 12 L D² give, why is it wrong, and what is right? | 10 |
# | 5 | ●●○ In section 6, give the network without LayerNorm and with 8 blocks a learning rate of 1e-3 in place of 4e-3. Does it still fail? | 15 |
# | 6 | ●●○ In a block, the products of attention (scores, and weights times values) take 2 N² D multiply-adds, everything else 12 N D². Which share is that in B/16 at 224 and at 384 pixels? | 10 |
#
# <details><summary>Answer 1</summary>
#
# Darkest in row 7, column 0: the lower rim of the ring, with blue above and ground below. Whitest in row 6, column 1:
# the upper rim, ground above and blue below.
# </details>
#
# <details><summary>Answer 2</summary>
#
# N = 16<!-- = 4 * 4 --> tokens, each made of P² C = 1 number. E is (1, D): every token is the same direction, only longer
# or shorter. z₀ is (17, D).
# </details>
#
# <details><summary>Answer 3</summary>
#
# Yes. Our three runs (seeds 0, 1, 2; about half a minute each) gave 0.966, 0.966 and 0.976: what the CNN has after 150
# steps, and 4 to 14 points more than the ViT has after 150. We did not train the CNN longer.
# </details>
#
# <details><summary>Answer 4</summary>
#
# 12 · 48 · 1664² is 1,595<!-- = 12 * 48 * 1664 ** 2 / 10 ** 6 --> million. But the MLP is 8192 / 1664 =
# 4.92<!-- = 8192 / 1664 --> D wide, and not 4 D. With 4 D² + 2 · 8192 D a block it is
# 1,840<!-- = 48 * (4 * 1664 ** 2 + 2 * 8192 * 1664) / 10 ** 6 --> million. To look: `card("vit_g14")`.
# </details>
#
# <details><summary>Answer 5</summary>
#
# No. Our three runs (seeds 0, 1, 2; six seconds each) gave 0.928, 0.900 and 0.912 in place of 0.12 to 0.18. So at this
# depth LayerNorm is what allows the larger learning rate. The network without the residual connection still fails with
# the smaller one: 0.116, 0.130 and 0.156.
# </details>
#
# <details><summary>Answer 6</summary>
#
# 2 N² D / (12 N D² + 2 N² D) = N / (6 D + N). At 224 pixels N is 197, and the share
# 4.1 %<!-- = 100 * 197 / (6 * 768 + 197) -->; at 384 pixels N is 577, and the share
# 11.1 %<!-- = 100 * 577 / (6 * 768 + 577) -->.
# </details>
#
# Then build it all: [hw2 · Vision transformer](../assignments/hw2_vit/hw2_vit.ipynb).
#
# ## References
#
# * A. Dosovitskiy, L. Beyer, A. Kolesnikov, D. Weissenborn, X. Zhai, T. Unterthiner, M. Dehghani, M.
#   Minderer, G. Heigold, S. Gelly, J. Uszkoreit, N. Houlsby. *An Image Is Worth 16×16 Words: Transformers for
#   Image Recognition at Scale.* ICLR 2021. [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Equations 1
#   to 4, section 3.2 (resolution), table 1 (sizes), table 2 (core-days; the first version of the paper has
#   other accuracies there: 88.36 and 87.61 for H/14 and L/16 where the last has 88.55 and 87.76, and slides
#   quote both), table 5 (three data sets), table 8 (positions), figures 5 and 7.
# * A. Kolesnikov, L. Beyer, X. Zhai, J. Puigcerver, J. Yung, S. Gelly, N. Houlsby. *Big Transfer (BiT):
#   General Visual Representation Learning.* ECCV 2020. [arXiv:1912.11370](https://arxiv.org/abs/1912.11370).
#   Tables 1 and 2: the ResNets.
# * K. He, X. Zhang, S. Ren, J. Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016.
#   [arXiv:1512.03385](https://arxiv.org/abs/1512.03385). J. L. Ba, J. R. Kiros, G. E. Hinton. *Layer Normalization.*
#   2016. [arXiv:1607.06450](https://arxiv.org/abs/1607.06450). D. Hendrycks, K. Gimpel. *Gaussian Error Linear Units
#   (GELUs).* 2016. [arXiv:1606.08415](https://arxiv.org/abs/1606.08415). The parts of the block.
# * D. Balduzzi and others. *The Shattered Gradients Problem: If resnets are the answer, then what is the question?*
#   ICML 2017. [arXiv:1702.08591](https://arxiv.org/abs/1702.08591). What the residual connection does to gradients.
# * A. Vaswani and others. *Attention Is All You Need.* NeurIPS 2017.
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). The encoder, and section 3.5: sines and cosines.
# * T. Xiao, M. Singh, E. Mintun, T. Darrell, P. Dollár, R. Girshick. *Early Convolutions Help Transformers
#   See Better.* NeurIPS 2021. [arXiv:2106.14881](https://arxiv.org/abs/2106.14881). A few small convolutions
#   for the patch embedding.
# * L. Beyer, X. Zhai, A. Kolesnikov. *Better Plain ViT Baselines for ImageNet-1k.* 2022.
#   [arXiv:2205.01580](https://arxiv.org/abs/2205.01580). Sines, averaging and some care, and the first stage
#   looks better.
