# %% [markdown]
# # 5 · The vision transformer: an image as a sequence of words
#
# | | |
# |---|---|
# | **You will understand** | how an image becomes tokens, why that is a convolution, what the class token and the positions are for, where 86, 307 and 632 million parameters sit, why this network needs so much data, and how it is moved to another resolution |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb): scores, heads, positions; the letters N, D, h, P |
# | **It takes** | an hour to read; all cells together run in about a minute on two CPU cores |
# | **Before · after** | 4 · The transformer · **5 · The vision transformer** · [6 · What ViTs see](06_what_vits_see.ipynb) |
# | **Homework** | [hw2 · Vision transformer](../assignments/hw2_vit/hw2_vit.ipynb): you build all of it, until it agrees with the public one |

# %% tags=["setup"]
import torch
from torch import nn
from einops import rearrange, reduce
from course import budget, plots, setup
from course.data import load
from course.figures import vision_transformer as figures
from course.knobs import turn
from course.models import card, compare, create_model
from course.models.stems import PatchEmbed, Tokens, sinusoidal_2d
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · What are the words of an image?
#
# A transformer reads a *sequence of vectors*. A sentence is one by nature: a word, a vector. An image is a
# grid of numbers, and somebody has to say what its words are. Pixels are too many: 224 × 224 of them are
# 50,176 tokens, and attention compares each with each (lecture 3, section 9). In 2020 Dosovitskiy and others
# took the simplest way out that there is: **cut the image into squares, and call each square a word.** Then
# change nothing else about the transformer, and see how far that goes.
#
# One word on its way, from left to right: a patch of 4 × 4 pixels; its 48 numbers (16 for each colour), laid
# out as one row; and a vector of D numbers made from that row by one linear map. *Turn the knob: the map is
# the same for every patch.*

# %%
test = load("two_questions", "test", size=budget(tiny=50, cpu=500), device="cpu")
image = test.images[3]  # (C, H, W) = (3, 32, 32)
stem = PatchEmbed(dim=12, img_size=(32, 32), patch_size=4)  # D = 12

def one_word(token):
    return figures.patch_to_token(image, stem.proj.weight, stem.proj.bias, token)

turn(one_word, token=[*range(17, 64), *range(17)])

# %% [markdown]
# The map is not trained yet, so its numbers mean nothing so far. What counts is what it does *not* do: it
# never looks at two patches at once, and it does not know which patch it has before it. All patches are
# treated alike, and all that relates them comes later.

# %% [markdown]
# ## 2 · The linear map is a convolution that does not overlap
#
# Look at one number of the token. It is a weighted sum of the 48 numbers of the patch. The 48 weights can be
# laid out as a patch, too: they are a small *picture*, and the token's number says how much of it is in the
# patch. Three such pictures, made by hand:

# %%
red, blue, slanted = torch.zeros(3, 3, 4, 4)  # (C, P, P) each
red[0], red[1:] = 1 / 16, -1 / 32
blue[2], blue[:2] = 1 / 16, -1 / 32
y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
slanted[:] = torch.cos(2 * torch.pi * (x + y) / 5.7) / 48  # stripes across the diagonal, one every 4 pixels
slanted -= slanted.mean()  # so that brightness alone does not count

by_hand = PatchEmbed(dim=3, img_size=(32, 32), patch_size=4)
by_hand.proj.weight.data, by_hand.proj.bias.data = torch.stack([red, blue, slanted]), torch.zeros(3)
found = by_hand(image[None].float() / 255)[0]  # (h, w, D) = (8, 8, 3)
filters = {"red": red, "blue": blue, "slanted stripes": slanted}
figures.filters_and_maps(image, filters, rearrange(found, "h w d -> d h w"))

# %% [markdown]
# Number 0 finds the plus and number 1 the ring, and where they are can be read off the 8 × 8 map. A small
# picture slid over the image, that is a **convolution**; and as the patches do not overlap, it moves on by a
# whole patch each time. So the patch embedding is a convolution with *kernel = stride = P*, and that is how
# `PatchEmbed` has it inside. By hand for the patch in row 2, column 1:

# %%
pixels = image.float() / 255
cut = pixels[:, 8:12, 4:8].flatten()  # (C·P·P,) = (48,), channel by channel, row by row
rows = stem.proj.weight.flatten(1)  # (D, C·P·P) = (12, 48)
as_product = rows @ cut + stem.proj.bias  # (D,)
as_convolution = stem(pixels[None])[0, 2, 1]  # (D,): of the map (B, h, w, D)
f"largest difference: {(as_product - as_convolution).abs().max():.0e}"

# %% [markdown]
# **Question 5.1** A slide lists the steps of ViT, and the third is: "produce *lower-dimensional* linear
# embeddings from the flattened patches". Predict, before you run the cell: for which of these models is the
# token shorter than the patch?

# %%
for name in ("vit_b16", "vit_b32", "vit_l16", "vit_h14"):
    with torch.device("meta"):  # shapes without numbers: made at once, whatever the size
        D, C, P, _ = create_model(name).stem.proj.weight.shape
    print(f"{name}:  {C} · {P} · {P} = {C * P * P:4} numbers a patch,  D = {D:4}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Only for B/32. In B/16 the token is exactly as long as its patch, so nothing has to be lost; in L/16 and
# H/14 it is *longer*. The embedding is there to change the coordinates, not to compress.
# </details>

# %% [markdown]
# ## 3 · z₀, by hand
#
# The paper writes everything up to the first block in one line (equation 1):
#
# $$z_0 = [\,x_{\text{class}};\; x_1 E;\; x_2 E;\; \dots;\; x_N E\,] + E_{\text{pos}}, \qquad E \in \mathbb
# R^{(P^2 C) \times D}, \quad E_{\text{pos}} \in \mathbb R^{(N + 1) \times D}$$
#
# We compute it with a pencil: a grey image of 4 × 4 pixels, P = 2, so N = 4 patches of 4 numbers, and D = 3.
# The columns of E are readable: the mean of the patch; the mean of its right half minus that of its left
# half; the mean of its lower half minus that of its upper half.

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
# its token is (1, 2, 0). The others the same way, **by you, before you read on**.
#
# In front comes a vector that belongs to no patch, the *class token*; let it be (−1, −1, −1). Then each row
# gets its *position* added: here 0.1 in the second number for the right column of patches, 0.1 in the third
# for the lower row.

# %%
xE = torch.tensor([[1.0, 0, 0], [1, 2, 0], [1, 0, 2], [0.5, 0, 0]])  # (N, D)
x_class = torch.tensor([[-1.0, -1, -1]])  # (1, D)
E_pos = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0.1, 0], [0, 0, 0.1], [0, 0.1, 0.1]])  # (N + 1, D)
z0 = torch.tensor([[-1.0, -1, -1], [1, 0, 0], [1, 2.1, 0], [1, 0, 2.1], [0.5, 0.1, 0.1]])  # (N + 1, D)
names = ["class", "patch 0", "patch 1", "patch 2", "patch 3"]
plots.matrices({"x E": xE, "E_pos": E_pos, "z₀  (N + 1, D)": z0},
               rows={"x E": names[1:], "E_pos": names, "z₀  (N + 1, D)": names})

# %% [markdown]
# The course has two parts for this: `PatchEmbed`, the map, and `Tokens`, which puts the class token in front
# and adds the positions. Given our numbers, they must find what the pencil found:

# %%
embed = PatchEmbed(dim=3, img_size=(4, 4), in_chans=1, patch_size=2)
tokens = Tokens(dim=3, grid=(2, 2), class_tokens=1, position="learned")
embed.proj.weight.data = E.T.reshape(3, 1, 2, 2)  # (D, C, P, P): each column of E as a small picture
embed.proj.bias.data = torch.zeros(3)
tokens.class_tokens.data, tokens.position.data = x_class, E_pos
torch.allclose(tokens(embed(tiny[None, None]))[0], z0)

# %% [markdown]
# ## 4 · The class token: who gives the answer?
#
# N tokens go into the encoder and N come out, each about its own patch. The answer is about the image. So one
# token is added that is about nothing: learned numbers, the same for every image. It has no pixels, so
# whatever it knows in the end it has *fetched*, by attention, from the others; and the answer is read from it
# alone. Two images, before and after three blocks:

# %%
model = create_model("vit_cifar", num_classes=10, embed_dim=48, depth=3, num_heads=4, mlp_ratio=2)
two = test.images[:2].float() / 255  # (B, C, H, W)
with torch.no_grad():
    before = model.stages[0].entry(model.stem(two))  # (B, N + 1, D): z0
    after = model.stages[0].blocks(before)  # (B, N + 1, D)
for name, z in {"before": before, "after": after}.items():
    apart = (z[0] - z[1]).norm(dim=-1)  # (N + 1,): how far the two images are apart, token by token
    print(f"{name}: class token {apart[0]:.2f}, patch tokens {apart[1:].mean():.2f} on average")

# %% [markdown]
# Before the first block the class token cannot tell the two images apart: the distance is zero. After three
# it can.
#
# Is it needed? No: the mean over all patch tokens serves as well (the paper tried it, appendix D.3: the two
# differ in the learning rate they want, not in how good they get). The class token came from language models,
# to change as little as possible; many later networks average. It has one charm: its attention says *where
# the answer was fetched*. We shall look at that in section 11.

# %% [markdown]
# ## 5 · Positions: what is lost without them, and how loud they must be
#
# Lecture 3 showed that attention knows no order. Does this hold for the whole ViT? Roll the image around by
# whole patches: 8 pixels down, 12 to the right. The patches are the same, each in another place.

# %%
rolled = torch.roll(two, shifts=(8, 12), dims=(2, 3))  # by 2 and by 3 patches of 4 pixels
shown = torch.stack([two[0], rolled[0], torch.roll(two[0], 1, dims=2)])
plots.image_grid(shown, captions=["the image", "rolled by 8 and 12", "rolled by 1"])

# %%
def change(position, shifts):
    """Largest change of a logit of a fresh ViT when images are rolled."""
    torch.manual_seed(0)
    vit = create_model("vit_cifar", num_classes=10, embed_dim=48, depth=2, num_heads=4, position=position)
    with torch.no_grad():
        return (vit(torch.roll(two, shifts, dims=(2, 3))) - vit(two)).abs().max().item()

for position in (None, "learned", "sinusoidal"):
    print(f"position={position!s:10}  rolled by 8 and 12: {change(position, (8, 12)):.6f}")

# %% [markdown]
# Without positions nothing changes but rounding: the network sees a bag of patches. With positions it does
# change; only a little, in a network that nobody has taught anything yet, and less with the learned ones,
# whose table starts out faint. We come to that below.
#
# **Question 5.2** A slide compares: "CNN: shift invariant, mostly. ViT: no. Permutation invariant: CNN no,
# ViT mostly (at the patch level)." Predict the change for `position=None` and a roll by *one* pixel,
# `change(None, (0, 1))`; then decide for which network the slide's last words are right.

# %%
f"{change(None, (0, 1)):.3f}"

# %% [markdown]
# <details><summary>Answer</summary>
#
# It does change: all patches are cut anew, and hold other pixels. So even the bag of patches is no friend of
# small shifts; it only ignores shifts by whole patches. And "permutation invariant" is right for a ViT
# *without* positions (as the first line shows), which nobody uses. With positions it is not, on purpose. The
# slide means that trained ViTs lose little when patches are shuffled; that is a finding about what they
# learned (lecture 6), not a property of the network.
# </details>
#
# ### How loud is a position?
#
# A position is *added* to the patch, so the two must share the same D numbers. The paper starts its table at
# random, with standard deviation 0.02. Here is how that compares with the patches themselves, and with the
# sines and cosines of lecture 3 (half of the channels for the row, half for the column):

# %%
normalised = (test.images[:50].float() / 255 - 0.45) / 0.2  # to mean 0 and spread about 1
sines = sinusoidal_2d((8, 8), 48)  # (N, D)
faint = 0.02 * torch.randn(64, 48)  # (N, D)
figures.sizes_of_tokens({"patch tokens x E": model.stem(normalised), "positions, random 0.02": faint,
                         "positions, sines": sines})

# %% [markdown]
# The faint table is more than twenty times quieter than what it is added to. It *can* grow, since it is
# learned, and in the paper's 300 epochs on more than a million images it does: at the end it looks like a
# grid (figure 7 there). In the two hundred steps that a lecture has time for it does not, and the network
# answers *relation* by guessing (question 3.10, and homework 2 has the four curves). **The scale trap:
# nothing fails, no shape is wrong, it just does not learn.** Our way out in this lecture: positions that are
# learned, but start as sines.
#
# Besides size there is shape. Which other places are like the one under the dot? *Turn the knob to move the
# dot.*

# %%
from course.analysis import position_similarity

tables = {"random": faint, "sines": sines - sines.mean(dim=0)}  # less what all places have in common
likeness = {name: position_similarity(table, (8, 8)) for name, table in tables.items()}

def like_the_dot(row, column):
    return figures.same_place(likeness, (row / 8, column / 8))

turn(like_the_dot, row=[2, 3, 4, 5, 6, 7, 0, 1], column=[5, 6, 7, 0, 1, 2, 3, 4])

# %% [markdown]
# In a random table every place is like itself only: that two places are neighbours has to be learned from
# images. The sines bring it along, as rows and columns. In the end it matters little *which* code is used, as
# long as there is one: the paper's five-shot accuracy of ViT-B/16 is 61.4 % without positions, 64.2 % with
# numbers 0 … N − 1 in a row, 64.0 % with row and column, 64.0 % with relative ones (appendix D.4, table 8).
# That 61.4 is so close is worth a thought: photographs are kind to bags of patches. Our *relation* is not.

# %% [markdown]
# ## 6 · The encoder: the parts, in a row
#
# From here on it is the transformer's encoder with nothing changed: blocks of attention and a small network
# (MLP, two linear layers with a GELU between) that works on each token alone. Each half reads a *normalised
# copy* of the stream (pre-norm) and *adds* its result to it. The figure below is not drawn by hand: the
# network is run once, and names and shapes are read off.

# %%
figures.forward_chain(model, two)

# %% [markdown]
# Follow the shapes: (B, C, H, W) becomes a map of 8 × 8 tokens, then a sequence of 65, and stays (B, 65, 48)
# through all blocks. **Nothing is ever halved**: a token of the last block still stands for 4 × 4 pixels of
# the image. In CNNs the map shrinks and the channels grow; ViT has one resolution throughout (*isotropic*).
# Homework 2 is to build these boxes. Run one after the other, they are the network:

# %%
with torch.no_grad():
    z = model.stages[0].entry(model.stem(two))  # (B, N + 1, D)
    stream = [z.std().item()]
    for block in model.stages[0].blocks:
        z = block(z)  # (B, N + 1, D)
        stream.append(z.std().item())
    logits = model.head(z)  # (B, 10): norm, then a linear layer on token 0
    print("the same as the model:", torch.equal(logits, model(two)))
print("spread of the stream:", ", ".join(f"{spread:.2f}" for spread in stream))

# %% [markdown]
# The stream is never normalised itself, so it grows from block to block. That is why a last norm stands in
# front of the classifier, and forgetting it is a popular mistake (equation 4 in the paper: y = LN(z of token
# 0)).

# %% [markdown]
# ## 7 · The size table, recomputed
#
# This table stands in the paper (table 1) and on the slides of most lectures about it:
#
# | | layers | D | MLP | heads | parameters |
# |---|---|---|---|---|---|
# | ViT-Base | 12 | 768 | 3072 | 12 | 86M |
# | ViT-Large | 24 | 1024 | 4096 | 16 | 307M |
# | ViT-Huge | 32 | 1280 | 5120 | 16 | 632M |
#
# The patch size is not in it: B/16, B/32, L/16 and L/32 share a line each. So which one has 307 million?
# Count:

# %%
from course.models.count import count_macs, count_parameters

says = {"vit_b16": 86, "vit_b32": 86, "vit_l16": 307, "vit_l32": 307, "vit_h14": 632}
print("          printed  counted  without head   multiply-adds at 224 × 224")
for name, printed in list(says.items())[:budget(tiny=1, cpu=5)]:
    with torch.device("meta"):
        network = create_model(name)  # 1000 classes
    size, head = count_parameters(network) / 1e6, count_parameters(network.head.fc) / 1e6
    macs = count_macs(network, 1, 3, 224, 224) / 1e9
    print(f"{name}   {printed:5} M  {size:6.1f} M   {size - head:6.1f} M      {macs:6.1f} G")

# %% [markdown]
# Three figures and three conventions. **86** is B/16 *without* its last layer (with it, 86.6 would round to
# 87). **632** is H/14 *with* it. **307** is not L/16, the model that everybody means, in either way of
# counting: it is **L/32**. The larger patch has the larger embedding; the difference of two million is small,
# and the printed figure has been copied for years. What the course knows about a model, with who says what:

# %%
card("vit_l16")

# %% [markdown]
# L/16 and L/32 differ in one number. Twice the patch side makes a quarter of the tokens, and of the work:

# %%
compare("vit_l16", "vit_l32")

# %% [markdown]
# **Question 5.3** The same ViT-B/16 for images of 384 × 384 pixels, `img_size=384`. Predict both numbers
# before you run the cell: do the parameters change, and by how much? Do the multiply-adds grow more or less
# than the number of tokens, which grows by (384 / 224)² = 2.94?

# %%
img_size = 384
with torch.device("meta"):
    network = create_model("vit_b16", img_size=img_size)
macs = count_macs(network, 1, 3, img_size, img_size)
print(f"{count_parameters(network) / 1e6:.2f} M parameters, {macs / 1e9:.1f} G multiply-adds")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0.29 million more parameters: positions for 577 tokens instead of 197, each of 768 numbers; nothing else
# knows the size of the image. Multiply-adds grow by 3.16, a little more than the tokens: the linear maps grow
# with N, the products of attention with N², and at D = 768 those are the smaller part still (lecture 3,
# section 9).
# </details>

# %% [markdown]
# ## 8 · The hybrid: let a CNN make the words
#
# Nothing says that the words must be raw squares. The paper's *hybrid* runs a ResNet over the image and takes
# each place of its map as a token: "patches" of 1 × 1 in a map of features. In the course's language, one
# part is exchanged:

# %%
compare("vit_b16", "vit_b_r50")

# %% [markdown]
# What does one token know before the first block? The pixels that can move it at all, measured by the
# gradient, for a plain patch and for a ResNet stem of the same build (half as wide, fresh weights, 112 × 112
# pixels):

# %%
from course.models.resnet_stem import ResNetStem

stems = {"patch of 16 × 16": PatchEmbed(16, (112, 112), patch_size=16),
         "ResNet, stride 16": ResNetStem(16, (112, 112), depths=(3, 4, 9), widths=(128, 256, 512))}
fields = {}
for name, part in stems.items():
    noise = torch.rand(8, 3, 112, 112, requires_grad=True)  # (B, C, H, W)
    (part(noise)[:, 3, 3] * torch.randn(8, 16)).sum().backward()  # the token in the middle of the map (7, 7)
    field = reduce(noise.grad.abs(), "b c (h p) (w q) -> h w", "sum", p=4, q=4)  # (28, 28): squares of 4 × 4
    fields[name] = 0.93 * (1 - field / field.max())  # the darker the more
plots.image_grid(torch.stack([*fields.values()])[:, None], captions=[*fields])

# %% [markdown]
# The plain token knows its own square and nothing else, with hard edges. The hybrid's tokens overlap: each
# has seen its surroundings, by convolutions, before attention begins. Locality is brought back *in front*. It
# helps while networks and data are small; for the larger ones the advantage is gone (paper, section 4.4 and
# figure 5).
#
# **Question 5.4** A slide says: "use the ResNet50 output from stage 4". A ResNet50 halves the image five
# times by then: how many tokens would that give at 224 × 224? And our `vit_b_r50` has `depths=(3, 4, 9)`: how
# many stages, and how many tokens? (To look: `create_model("vit_b_r50").stem.grid`.)
#
# <details><summary>Answer</summary>
#
# 224 / 32 = 7, so 49 tokens. That is one of the paper's two ways. In the other, stage 4 is left out and its
# layers are moved into stage 3 (hence 9 where ResNet50 has 6), so that the map is 14 × 14: 196 tokens, four
# times as many, like those of B/16 (section 4.1 there). The "R50 + ViT-B/16" that one can download is the
# second one. The slide tells half.
# </details>

# %% [markdown]
# ## 9 · What a CNN knows beforehand, and a ViT has to be told
#
# A network's **inductive bias** is what it takes for granted before it has seen an image:
#
# | | CNN | ViT |
# |---|---|---|
# | near things belong together | in every layer | only inside a patch |
# | a pattern means the same everywhere | in every layer | in the embedding and the MLP; attention sees positions |
# | the image is two-dimensional | in every layer | only where patches are cut (and in the start of our positions) |
# | small things make larger ones | the map shrinks | no |
# | far things may belong together | after many layers | in the first layer |
#
# If what is taken for granted is true, less has to be learned from examples. If it is a hindrance, examples
# will not help. So we should see: *few images, bias wins; many images, freedom wins.* The paper's three
# stages, the same networks pre-trained on three data sets and then fine-tuned on ImageNet:

# %%
millions = [1.3, 14, 303]  # ImageNet, ImageNet-21k, JFT
accuracy = {"ViT-B/16": [77.91, 83.97, 84.15], "ViT-L/16": [76.53, 85.15, 87.12],
            "ResNet (BiT, R152x4)": [81.30, 85.39, 87.54]}
plots.curves(millions, accuracy, log="x", xlabel="images to pre-train on, millions",
             ylabel="ImageNet top-1, %")

# %% [markdown]
# Read it in three stages. **1.3 million:** the ResNet is ahead of both, and the *larger* ViT is behind the
# smaller: it overfits. **14 million:** the order of the two ViTs has turned, and Large is next to the ResNet.
# **303 million:** Base is full, Large goes on, and Huge (not drawn) is past the ResNet with 88.0. (ViT:
# paper, table 5, at 384 pixels. ResNet: the BiT paper, tables 1 and 2, another protocol, so mind the slopes
# more than the gaps.) And the price: for the best results, ViT-L/16 was pre-trained in 0.68 thousand
# TPUv3-core-days, ViT-H/14 in 2.5, the ResNet in 9.9 (table 2). "Needs much data" does not mean "needs much
# computing".
#
# (How it was trained is in the course as data: `recipes.vit` for ImageNet alone, `recipes.vit_jft` for the
# large sets, `recipes.vit_finetune`. Slides print a weight decay of 0.3 on one page and 0.1 on another: the
# first belongs to ImageNet alone, the second to the large sets. Lecture 7 is about doing with less data.)
#
# ### Our own, in a minute
#
# JFT does not fit on a laptop, but the effect does. The two questions of lecture 3 are made for it: *texture*
# is local, *relation* ties two far things together. Two networks: a CNN that sees 27 pixels, and a ViT with
# two blocks.

# %%
def small_cnn():
    layers, before = [], 3
    for width, stride in ((24, 2), (32, 1), (48, 2), (64, 1), (64, 1)):  # sees 27 × 27 pixels
        conv = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))  # (B, 10)

def small_vit():
    vit = create_model("vit_cifar", num_classes=10, embed_dim=48, depth=2, num_heads=4, mlp_ratio=2)
    vit.stages[0].entry.position.data[1:] = sinusoidal_2d((8, 8), 48)  # learned, but they start as sines
    return vit

# %% [markdown]
# Every training sees equally many images, 9,600; where there are few, it sees them again and again. So the
# axis is *how many different ones*, and nothing else. **Write your prediction down first**: four curves, over
# 200 and 1,000 images, for *relation* 4,000 too. Which network will need fewer images for *texture*? Which
# for *relation*? Is anybody at chance anywhere?
#
# *(Price: ten trainings, about 9 seconds of processor time each, so under a minute on two idle cores. On a
# GPU: not measured; these networks would bore it.)*

# %%
train = load("two_questions", "train", size=budget(tiny=100, cpu=4000), device="cpu")
counts = {"texture": budget(tiny=[100], cpu=[200, 1000]),
          "relation": budget(tiny=[100], cpu=[200, 1000, 4000])}
networks = {"CNN": (small_cnn, 3e-3), "ViT": (small_vit, 4e-3)}
results, trained = {}, {}
for question in ("texture", "relation"):
    results[question] = {name: {} for name in networks}
    for name, (make, lr) in networks.items():
        recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=150), lr=lr)
        for count in counts[question]:
            torch.manual_seed(0)
            trained[question, name, count] = network = make()
            fit(network, train.subset(count).ask(question), recipe, plot=False)
            results[question][name][count] = evaluate(network, test.ask(question))

figures.crossover(results, chance=0.1)

# %% [markdown]
# The losses above the figure are those of the last step. With 200 images they are next to nothing,
# everywhere: all four networks know *their* images by heart. What differs is what they make of new ones.
#
# Left is the paper's story, small: for a *local* question the CNN needs 200 images, because it takes for
# granted what the answer is made of. The ViT is nearly a quarter behind there, and level from a thousand on:
# **images have taught it what was not built in.** Nothing is gained by its freedom, as the question does not
# ask for any.
#
# Right, where far things must be related, the order at the left end is turned round: with 200 images the CNN
# guesses and the ViT is above chance, since its first layer can compare any two places. With a thousand the
# CNN has learned to hand the news from layer to layer, and goes past.
#
# What this shows, and what it does not:
#
# * **A bias is worth images where it fits the question, and only there.** "CNNs need less data" is true of
#   photographs, whose classes are mostly local things.
# * The end of the right curves is *not* the end of the story: 150 steps are the same for all, and the ViT has
#   not finished there (exercise 3). The paper's own comparison is of trained-out networks, over two hundred
#   times as many images from the first stage to the last. We have a factor of 20, one seed, and 500 test
#   images: differences of three points mean nothing.
# * Another CNN, another curve: one that sees 9 pixels stays at chance on the right for ever (lecture 3).

# %% [markdown]
# ## 10 · A higher resolution
#
# ViTs are often trained at one resolution and *fine-tuned*, that is trained a little further, at a higher
# one: the paper goes from 224 to 384 pixels. The patches keep their size in pixels, so that the embedding
# fits; there are more of them. (Blocks do not care how many tokens come: they have no weight that belongs to
# a place.)

# %%
figures.grids(image, sizes=[32, 48], patch=4)

# %% [markdown]
# One table is in the way: the positions, 65 rows, and now 145 are wanted. But its rows lie on a grid, so the
# table is an image with D channels, and an image can be enlarged: *the row for a new place is interpolated
# between those of the old places around it.* The class token has no place, and keeps its row. The course does
# this in `at_resolution`. Our trained ViT (*relation*, the most images), and the same for images of 48 × 48:
# which positions are like the one under the dot? *Turn the knob.*

# %%
from course.training.finetune import at_resolution

vit = trained["relation", "ViT", max(counts["relation"])]
larger = at_resolution(vit, 48)  # the same weights; 145 positions in place of 65
positions = {"trained at 32 pixels": position_similarity(vit),
             "resized for 48 pixels": position_similarity(larger)}

def like_the_dot_now(row, column):
    return figures.same_place(positions, (row / 8, column / 8))

turn(like_the_dot_now, row=[2, 3, 4, 5, 6, 7, 0, 1], column=[5, 6, 7, 0, 1, 2, 3, 4])

# %% [markdown]
# The same place, the same neighbourhood, in finer steps. Is it needed? **Predict**, for images enlarged from
# 32 to 48 pixels, three accuracies: the network with the table resized; with the table taken as a *list*
# (place n gets row n, as long as there are rows, the others none); and resized, then fine-tuned for 25 steps.
# Which of them is near the accuracy at 32 pixels? *(Price: about 4 seconds on two CPU cores.)*

# %%
def enlarged(data, size=48):
    images = nn.functional.interpolate(data.images.float(), (size, size), mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).byte(), data.labels  # (n, C, 48, 48), (n,)

as_list = at_resolution(vit, 48)
table = as_list.stages[0].entry.position.data  # (1 + 144, D)
table[:65], table[65:] = vit.stages[0].entry.position.data, 0

larger_test, larger_train = enlarged(test.ask("relation")), enlarged(train.ask("relation"))
found = {"32 × 32": evaluate(vit, test.ask("relation")),
         "48 × 48, table as a list": evaluate(as_list, larger_test),
         "48 × 48, table resized": evaluate(larger, larger_test)}
fit(larger, larger_train, recipes.cpu_minute.but(steps=budget(tiny=2, cpu=25), lr=1e-3), plot=False)
found["48 × 48, resized and fine-tuned"] = evaluate(larger, larger_test)
plots.bars({name: {"relation": accuracy} for name, accuracy in found.items()}, chance=0.1)

# %% [markdown]
# As a list the table is worth nothing: every place has got the row of another one, or none, and the network
# guesses. Resized, the network is as good as before *without a single step of training* (differences of three
# points are noise here), although every patch now shows a smaller piece of the picture; some steps of
# fine-tuning add what there is to add. One weight out of all had to be touched.
#
# **Question 5.5** `at_resolution(vit, 64)` and `enlarged(..., size=64)` double the side. Predict, before you
# run it: how many tokens, and is the resized table better or worse off than at 48, before any fine-tuning?

# %%
side = 64
right = evaluate(at_resolution(vit, side), enlarged(test.ask("relation"), side))
print(f"{(side // 4) ** 2 + 1} tokens, {right:.0%} right")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 16 · 16 + 1 = 257 tokens, and 86 % in our run: no worse than at 48. The table is smooth, so it can be
# stretched far; and what the question asks for, colours and places, survives being enlarged. Stripes, which
# become twice as wide, are another matter (exercise 4).
# </details>

# %% [markdown]
# ## 11 · The trained network, looked at
#
# The ViT of section 9 that has learned *relation* from the most images: two blocks of four heads. Where does
# the **class token** fetch its answer? The number above each map is the largest weight in it. *Turn the knob
# for other images.*

# %%
from course.analysis import attention_weights

def fetched(number):
    layers = attention_weights(vit, test.images[number : number + 1])  # for each layer (1, h, N + 1, N + 1)
    rows = [layer[0, :, 0] for layer in layers]  # (h, N + 1): the class token's row of each head
    answer = test.ask("relation").classes[int(test.all_labels["relation"][number])]
    return figures.class_token_looks(test.images[number], rows, f"relation {answer}")

turn(fetched, number=[3, 0, 1, 2, 4, 5, 6, 7])

# %% [markdown]
# In our run the first layer has a head that fetches the ring and two that fetch the plus, with most of their
# weight on one patch; the second layer looks at both once more. These are the look-ups that we wrote by hand
# in lecture 3, with one difference: there the plus looked for the ring; here a token without pixels looks for
# both, and what it brings home are vectors that hold *what* and *where*, as the positions were added.
# Comparing them is left to the MLP. Nobody told it to.
#
# Such maps are pleasant to look at, and easy to believe. How far they can be trusted, and what the positions
# and filters of large ViTs look like after millions of images, is lecture 6.

# %% [markdown]
# ## Summary
#
# 1. **An image becomes words by cutting:** N = HW/P² patches, each mapped by the same linear map, which is a
#    convolution with kernel = stride = P. z₀ = [class; patches · E] + positions.
# 2. **The class token** has no pixels and fetches its answer by attention; **positions** are added, and must
#    be as loud as the patches to be heard in a short training. Without them: a bag of patches.
# 3. **The rest is the transformer encoder**, N and D the same throughout: normed copy → attention or MLP →
#    added to the stream; a last norm; a linear layer on one token.
# 4. **86M is B/16 without its head, 632M H/14 with it, 307M is L/32**; B/16 takes 17.6 G multiply-adds at 224
#    × 224.
# 5. **A bias saves images where it fits the question:** the ResNet leads after 1.3 million, ViT-L has caught
#    up at 14, and goes on at 303. Another resolution needs nothing but positions that are interpolated, and a
#    little fine-tuning.
#
# ## To revise
#
# | section | what its cells show |
# |---|---|
# | 1 | a patch becomes a row of numbers and then a token (knob) |
# | 2 | the embedding as small pictures; by product and by convolution, the same |
# | 3 | z₀ of a 4 × 4 image with a pencil, and by `PatchEmbed` and `Tokens` |
# | 4 | the class token cannot tell two images apart before the blocks; after them it can |
# | 5 | rolled by whole patches: no change without positions; how loud and how shaped positions are (knob) |
# | 6 | the chain of parts and shapes; the stream grows |
# | 7 | the size table recomputed; `card`, `compare`; 384 pixels |
# | 8 | the hybrid: what one token sees before attention |
# | 9 | the paper's three stages; ours: accuracy over the number of images |
# | 10 | positions resized (knob), and what that is worth |
# | 11 | where the class token looks (knob) |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Give `by_hand` in section 2 a fourth filter that finds *corners of the ring*. What does its map look like? | 10 |
# | 2 | ●○○ Do section 3 with P = 1: what are N, the shape of E, and z₀? | 10 |
# | 3 | ●●○ Train the ViT on *relation* with 4,000 images for 600 steps in place of 150. Does it reach the CNN? | 15 |
# | 4 | ●●○ Do section 10 with the ViT that has learned *texture*. Which of the bars will be different? | 15 |
# | 5 | ●●○ Shuffle the patches of all images, training and test, in one and the same way, and train both networks on *texture* and *relation*. Who suffers, and why? (Start the positions at random with spread 0.7, too.) | 30 |
# | 6 | ●●○ Exchange the stem of `small_vit` for convolutions, `create_model("vit_c_4gf", img_size=32, embed_dim=48, depth=2, num_heads=4, widths=(24, 48), num_classes=10)`, and put it into section 9. | 20 |
# | 7 | ●●● Take the class token away and average: `create_model("vit_cifar", ..., class_tokens=0, head=part(MeanHead))`, with `part` from `course.models.spec` and `MeanHead` from `course.models.heads`. Which learns *relation* faster? Then put it back and let it start large (`class_tokens.data *= 50`). | 30 |
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
# * A. Vaswani and others. *Attention Is All You Need.* NeurIPS 2017.
#   [arXiv:1706.03762](https://arxiv.org/abs/1706.03762). The encoder, and section 3.5: sines and cosines.
# * T. Xiao, M. Singh, E. Mintun, T. Darrell, P. Dollár, R. Girshick. *Early Convolutions Help Transformers
#   See Better.* NeurIPS 2021. [arXiv:2106.14881](https://arxiv.org/abs/2106.14881). A few small convolutions
#   for the patch embedding.
# * L. Beyer, X. Zhai, A. Kolesnikov. *Better Plain ViT Baselines for ImageNet-1k.* 2022.
#   [arXiv:2205.01580](https://arxiv.org/abs/2205.01580). Sines, averaging and some care, and the first stage
#   looks better.
