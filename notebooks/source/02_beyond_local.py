# %% [markdown]
# # 2 · Beyond local: gates, non-local blocks and local attention
#
# | | |
# |---|---|
# | **You will understand** | why a convolution needs many layers to see far; four gates that carry global information (SE, gather-excite, BAM, CBAM); the non-local block; attention in the place of a convolution; why it matters that a network knows *where* something is |
# | **You need** | [1 · Convolution](01_convolution.ipynb) |
# | **It takes** | {reading time}; all cells together run in about half a minute on two CPU cores |
# | **Before · after** | [1 · Convolution](01_convolution.ipynb) · **2 · Beyond local** · [3 · Self-attention](03_self_attention.ipynb) |
#
# This lecture is the bridge from convolution to attention. Between 2017 and 2019 many people felt that a CNN sees
# too little at once, and repaired it from inside: the network stayed a CNN, and something global was added.

# %% tags=["setup"]
import time
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import beyond_local as figures
from course.figures import metaformer
from course.models import compare, create_model
from course.models.count import count_macs, count_parameters
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · How far does a convolution see?
#
# One convolution with a kernel of K × K sees K × K pixels. A second one on top sees further, but only by K − 1.
# The **receptive field** of a layer is the part of the image that one number of its output depends on. For a
# stack of layers with kernels $K_l$ and strides $s_l$ its side is
#
# $$r = 1 + \sum_{l} (K_l - 1) \prod_{m < l} s_m .$$
#
# Each layer adds K − 1 steps; a step is as many pixels as the strides *below* it multiplied.

# %%
def receptive_field(layers):
    """The side r after each layer (kernel, stride), in pixels."""
    side, step, sides = 1, 1, []
    for kernel, stride in layers:
        side += (kernel - 1) * step  # (K_l − 1) · the strides below
        step *= stride
        sides.append(side)
    return sides

depths = range(1, 21)
plain = receptive_field([(3, 1)] * 20)
strided = receptive_field([(3, 2 if layer % 4 == 3 else 1) for layer in range(20)])
plots.curves(depths, {"stride 1": plain, "stride 2 in each fourth layer": strided}, log="y",
             xlabel="3 × 3 convolutions", ylabel="receptive field, pixels",
             levels={"an image of 224 pixels": 224}).described(
    f"the receptive field grows by 2 pixels a layer with stride 1, to {plain[-1]} after 20 "
    f"layers; with stride 2 in each fourth layer it is {strided[-1]}")

# %% [markdown]
# With stride 1, twenty layers see 41<!-- = 1 + 2 * 20 --> pixels: a small corner of an image of 224. Strides help, and
# they cost resolution: what is far apart meets only on a coarse map, late in the network. So a CNN joins two distant parts
# of an image **late** and **in many steps**. (And the field is a bound: most of the influence comes from its
# middle. Lecture 6 measures that.)
#
# **Question 2.1** How many 3 × 3 layers of stride 1 does it take until one place sees all 224 pixels? Change `20` in
# both lines of the cell (and `21` to one more than that), and look where the curve meets the line.
#
# <details><summary>Answer</summary>
#
# 1 + 2 L ≥ 224 gives L = 112<!-- = 224 / 2 --> layers. With a stride of 2 in each fourth layer, 20 layers are enough.
# </details>
#
# Three ways out were proposed. A **gate** computes a factor from far away and scales the local features by it.
# A **non-local block** adds to each place a weighted mean of all places. **Local attention** replaces the
# convolution itself. We build each of them, and then we ask all of them one question that needs far sight.
#
# ## 2 · Squeeze-and-excitation: one number a channel
#
# Hu and others (2018) let a block look at the *whole* map before it passes it on. **Squeeze**: the mean of each
# channel over all places. **Excite**: a small MLP turns these D means into D factors between 0 and 1. **Scale**:
# each channel is multiplied by its factor. With x of shape (B, H, W, D), δ the ReLU, σ the sigmoid:
#
# $$z_c = \frac{1}{HW} \sum_{i,j} x_{ijc}, \qquad s = \sigma\big(W_2\, \delta(W_1 z)\big), \qquad y_{ijc} = s_c\, x_{ijc}.$$
#
# (Equations 2, 3 and 4 of the paper. $W_1$ narrows to D / r numbers, r is the `reduction`.)

# %% tags=["slide-code"]
from course.models.gates.squeeze_excite import SqueezeExcite

x = torch.randn(2, 4, 5, 8)  # (B, H, W, D)
gate = SqueezeExcite(dim=8, reduction=4)
z = reduce(x, "b h w d -> b d", "mean")  # squeeze
hidden = (z @ gate.fc1.weight.T + gate.fc1.bias).relu()  # (B, D / r)
s = (hidden @ gate.fc2.weight.T + gate.fc2.bias).sigmoid()  # (B, D): excite
y = x * rearrange(s, "b d -> b 1 1 d")  # (B, H, W, D): scale
print("the same as the class:", torch.allclose(y, gate(x), atol=1e-6))
print("factors of the first image:", ", ".join(f"{value:.2f}" for value in s[0].tolist()))

# %% [markdown]
# A **gate** is this: factors, computed from x, times x. Gates differ in two things: how they gather, and what shape
# the factors have. Here are the four of this lecture:

# %%
figures.gates({
    "SE": ("mean of each channel", True, False),
    "gather-excite θ": ("weighted sum over the map", True, False),
    "CBAM, second half": ("7 × 7 conv. of mean, max", False, True),
    "BAM": ("mean, and dilated conv.", True, True)})

# %% [markdown]
# SE stands at the end of a block's branch, before the residual (skip) connection is added, in every block. What does
# that change in ResNet-50?

# %%
compare("resnet_50_v1", "se_resnet_50")

# %% [markdown]
# ### What does the mean not tell?
#
# Through the gate every place hears from every other place. But *what* does it hear? If we shuffle the places of a map,
# the mean stays the same. So the factors stay the same, too:

# %%
order = torch.randperm(4 * 5)  # a random order of the N = 20 places

def shuffled(x):  # (B, H, W, D) -> (B, H, W, D)
    tokens = rearrange(x, "b h w d -> b (h w) d")[:, order]
    return rearrange(tokens, "b (h w) d -> b h w d", h=x.shape[1])

def factors(gate, x):  # (B, H, W, D): what each number is multiplied by
    return gate(x) / x

change = (factors(gate, shuffled(x)) - factors(gate, x)).abs().max()
print(f"SE: a shuffled map changes the factors by {change:.0e}")

# %% [markdown]
# The gate hears *that* there is something red somewhere, and how much. It cannot hear *where*. Keep this in mind: it
# decides the experiment of section 7.
#
# The same as a picture. Row i of an N × N table says how strongly the output at place i depends on the input at place
# j, in one channel (the derivative $\partial y_i / \partial x_j$):

# %%
from course.models.resnet import ChannelsLast

def table(layer, x):
    """(N, N): how y at place i changes with x at place j, in the first channel."""
    def first_channel(flat):  # (N,) -> (N,)
        changed = torch.cat([flat.view(1, *x.shape[1:3], 1), x[:1, ..., 1:]], dim=-1)
        return layer(changed)[0, :, :, 0].flatten()
    return torch.autograd.functional.jacobian(first_channel, x[0, :, :, 0].flatten())

conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
strong = SqueezeExcite(dim=8, reduction=1)
with torch.no_grad():
    strong.fc1.weight.mul_(8), strong.fc2.weight.mul_(8)  # so that the eye sees the faint part

# %%
def local(x):  # (B, H, W, D) -> the same
    return rearrange(conv(rearrange(x, "b h w d -> b d h w")), "b d h w -> b h w d")

tables = {"convolution 3 × 3": table(local, x), "SE": table(strong, x)}
used = {name: (each.abs() > 1e-9).sum(1) for name, each in tables.items()}  # (N,)
others = tables["SE"][~torch.eye(20, dtype=torch.bool)].view(20, 19)  # each row without itself
plots.matrices(tables, numbers=False).described("places that a place depends on. " + "; ".join(
    f"{name}: {min(count)} to {max(count)} of 20" for name, count in used.items()) +
    ". The convolution has bands along the diagonal. SE has the diagonal, and a stripe in each "
    f"row: its other entries differ by {(others.amax(1) - others.amin(1)).max():.0e} at most")

# %% [markdown]
# The convolution fills a band: neighbours. SE fills the whole table, but look at a row: away from the diagonal all
# its entries are *equal*. Every place hears from all others, and from all of them the same. (The weights were made
# larger for this picture; in a fresh gate the faint part is hardly visible.)
#
# > **What slides get wrong here.** Slides call SE "all-to-all communication". That is true of the table, which has no
# > zero. But only one number for each channel is communicated, the mean, and it does not say which place it came from.
#
# **Question 2.2** Make one corner ten times as large: `large = x.clone(); large[:, 0, 0] *= 10`. Print
# `factors(gate, large)[0, 0, 0]` and the same for `x`. Does the gate notice? Then move the corner elsewhere:
# `shuffled(large)`. Does the gate notice *which* place is large?
#
# <details><summary>Answer</summary>
#
# It notices that something is large: the means change, and the factors with them. It does not notice where: after the
# shuffle the means are the same, and so are the factors.
# </details>
#
# ## 3 · Gather-excite: from the mean to a weighted sum
#
# Hu and others (2018b) took SE apart. **Gather**: collect from a neighbourhood of extent e (SE: the whole map).
# **Excite**: make factors of it and stretch them back to the map's size by nearest-neighbour interpolation.
#
# $$y = x \odot \sigma\big(\mathrm{interp}(\mathrm{gather}_e(x))\big)$$
#
# Without any parameter, gather is a mean over e × e places (called GE-θ⁻). Here is its factor on one image of
# lecture 3's data, read as a feature map with three channels: for e = 2, 8, and the whole image.

# %%
image = load("two_questions", "test", device="cpu").images[3] / 255  # (C, H, W)
centred = (image - image.mean((1, 2), keepdim=True)) / image.std((1, 2), keepdim=True)

def gathered(x, extent):  # (C, H, W) -> (C, H, W)
    mean = F.avg_pool2d(x[None], extent)  # (1, C, H / e, W / e)
    return F.interpolate(mean, size=x.shape[-2:], mode="nearest")[0]

shown = {f"extent {e}": gathered(centred, e)[0].sigmoid() for e in (2, 8, 32)}  # (H, W), red
spread = {name: each.max() - each.min() for name, each in shown.items()}
plots.matrices(shown, numbers=False, shared=True).described(
    "factors of the red channel, largest minus smallest: " + "; ".join(
        f"{name} {value:.2f}" for name, value in spread.items()))

# %% [markdown]
# A small extent gives a factor to each spot: it knows places, but it sees near. The full extent sees everything, and has one
# factor for the whole map: it is SE without the MLP. On ImageNet, the authors
# found the larger extents better.
#
# **GE-θ** learns to gather: in place of the mean a **depthwise convolution as large as the map**, with its own weight for
# each place and channel. **GE-θ⁺** puts SE's small MLP behind it.
#
# $$s_c = \sigma\Big(\mathrm{BN}\Big(\sum_{i,j} w_{ijc}\, x_{ijc}\Big)\Big)$$

# %%
from course.models.gates.gather_excite import GatherExcite

minus = GatherExcite(dim=8).eval()
theta = GatherExcite(dim=8, grid=(4, 5), gather="conv").eval()
weights = theta.conv.weight[:, 0]  # (D, H, W): a weight for each place and channel
summed = einsum(x, weights, "b h w d, d h w -> b d")  # (B, D)
s = theta.norm(rearrange(summed, "b d -> b 1 1 d")).sigmoid()  # (B, 1, 1, D)
print("the same as the class:", torch.allclose(x * s, theta(x), atol=1e-6))
for name, gate in {"GE-θ⁻": minus, "GE-θ": theta}.items():
    change = (factors(gate, shuffled(x)) - factors(gate, x)).abs().max()
    print(f"{name}: a shuffled map changes the factors by {change:.0e}")

# %% [markdown]
# GE-θ notices the shuffle: its factor depends on *where* things are. That costs weights, since each map size has its
# own. In ResNet-50, with 3, 4, 6 and 3 blocks on maps of 56, 28, 14 and 7 places:

# %%
stages = [(3, 256, 56), (4, 512, 28), (6, 1024, 14), (3, 2048, 7)]  # blocks, D, side
added = sum(blocks * (D * side**2 + 2 * D) for blocks, D, side in stages)  # BN: 2 D
with torch.device("meta"):  # counted without memory
    without, with_theta = create_model("resnet_50_v1"), create_model("ge_theta_resnet_50")
counted = count_parameters(with_theta) - count_parameters(without)
print(f"by the formula {added / 1e6:.2f} M more, counted {counted / 1e6:.2f} M")

# %% [markdown]
# And such a network belongs to one size of image: the kernels are as large as its maps.
#
# > **What slides get wrong here.** The product of factors and map is called a "dot product" on some slides. It is
# > **elementwise** (⊙): a dot product would add up, and give one number.
#
# **Question 2.3** The first stage has only 3 blocks of 256 channels. Which stage adds most parameters? Change the side of its map to half and look
# what becomes of the sum.
#
# <details><summary>Answer</summary>
#
# The first: 3 · 256 · 56² is 2.4<!-- = 3 * 256 * 56 ** 2 / 1000000 --> million of 5.5. With 28 places a side it would
# be a quarter of it, 0.6<!-- = 3 * 256 * 28 ** 2 / 1000000 --> million.
# </details>
#
# ## 4 · CBAM and BAM: factors for places
#
# Woo and others (2018) give a map two gates, one behind the other: **CBAM**. The first has a factor for each channel, as SE,
# from the mean *and* the maximum. The second has a factor for each *place*: the mean and the maximum over the channels
# make two maps, and a 7 × 7 convolution makes one map of these two. (The authors' code has a batch norm, `gate.norm`,
# before the second sigmoid; their equation leaves it out.)
#
# $$M_c = \sigma\big(\mathrm{MLP}(\mathrm{mean}_{ij}\, x) + \mathrm{MLP}(\max_{ij} x)\big), \qquad
#   M_s = \sigma\big(\mathrm{conv}_{7\times 7}[\mathrm{mean}_c\, x';\; \max_c x']\big), \quad x' = M_c \odot x$$

# %%
from course.models.gates.cbam import CBAM

gate = CBAM(dim=8, reduction=4).eval()
mlp = lambda z: gate.fc2(gate.fc1(z).relu())  # (B, D) -> (B, D)
M_c = (mlp(x.mean((1, 2))) + mlp(x.amax((1, 2)))).sigmoid()  # (B, D)
scaled = x * rearrange(M_c, "b d -> b 1 1 d")  # (B, H, W, D)
two = torch.stack([scaled.mean(-1), scaled.amax(-1)], dim=1)  # (B, 2, H, W)
M_s = F.conv2d(two, gate.conv.weight, padding=3)  # (B, 1, H, W)
M_s = gate.norm(rearrange(M_s, "b 1 h w -> b h w 1")).sigmoid()  # (B, H, W, 1)
print("the same as the class:", torch.allclose(scaled * M_s, gate(x), atol=1e-6))

# %% [markdown]
# **BAM** (Park and others 2018) adds the two kinds before the sigmoid, $y = x + x \odot \sigma(M_c + M_s)$, and stands only
# three times in a network, where the map is about to be halved. Its place branch uses **dilated** convolutions: a 3 × 3 kernel
# whose nine weights stand four places apart. Two of them see far with 18 weights. Which places does the middle one
# depend on?

# %%
def depends(layer, side):  # (side, side): |d middle / d place|
    field = torch.zeros(1, 1, side, side, requires_grad=True)
    layer(field)[0, 0, side // 2, side // 2].backward()
    return field.grad[0, 0].abs()

ones = lambda size: torch.ones(1, 1, size, size)
plain = lambda x: F.conv2d(F.conv2d(x, ones(3), padding=1), ones(3), padding=1)
dilated = lambda x: F.conv2d(F.conv2d(x, ones(3), padding=4, dilation=4), ones(3),
                             padding=4, dilation=4)
seven = lambda x: F.conv2d(x, ones(7), padding=3)
metaformer.reach({"two 3 × 3": depends(plain, 19),
                  "two 3 × 3, dilation 4": depends(dilated, 19),
                  "one 7 × 7 (CBAM)": depends(seven, 19)})

# %% [markdown]
# With dilation the field is 17 × 17 places, and 25 of them are seen: a net with holes. (The 1 × 1 convolutions before and
# after mix channels, not places. What falls through the holes was already mixed with its neighbours by the layers below.)
#
# **Question 2.4** Change the dilation to 3 and to 2 (`padding` as well). When do the holes close, and what is lost?
#
# <details><summary>Answer</summary>
#
# The field is 1 + 4 d wide: 13<!-- = 1 + 4 * 3 --> and 9<!-- = 1 + 4 * 2 --> places, and always 25 of them are seen. Only d = 1 has no holes: two plain 3 × 3, 5 × 5
# places. Reach is paid with holes.
# </details>
#
# ## 5 · The non-local block: every place asks every other
#
# Wang and others (2018) went further. In their **non-local block** each place gets a *weighted mean over all places*,
# and the weights depend on what is there: how similar place i is to place j, after two linear layers θ and φ.
#
# $$y_i = \sum_j \mathrm{softmax}_j\big(\theta(x_i)^\top \phi(x_j)\big)\; g(x_j), \qquad \mathrm{out}_i = x_i + W_z\, y_i$$

# %%
from course.models.token_mixers.nonlocal_attention import NonLocal

block = NonLocal(dim=8).eval()
nn.init.ones_(block.norm.weight)  # a fresh block has 0 here: see below
tokens = rearrange(x, "b h w d -> b (h w) d")  # (B, N, D)
scores = einsum(block.theta(tokens), block.phi(tokens), "b i d, b j d -> b i j")  # (B, N, N)
y = einsum(scores.softmax(-1), block.g(tokens), "b i j, b j d -> b i d")  # (B, N, D / 2)
out = x + block.norm(rearrange(block.proj(y), "b (h w) d -> b h w d", h=4))
print("the same as the class:", torch.allclose(out, block(x), atol=1e-6))
print("a fresh block changes nothing:", torch.equal(NonLocal(dim=8).eval()(x), x))

# %% [markdown]
# This *is* attention. θ, φ and g are called query, key and value in the next lecture, where the softmax also gets its
# scale 1/√d, several heads, and words for all that. The authors put a batch norm behind $W_z$ (`block.norm`), and its scale
# starts at 0. So the block can be put into a trained CNN without changing what the CNN does: it starts as the identity
# and learns to help.
#
# And where things are? Shuffle the places:

# %%
change = (block(shuffled(x)) - shuffled(block(x))).abs().max()
print(f"shuffle then block, or block then shuffle: they differ by {change:.0e}")

# %% [markdown]
# The block is **permutation equivariant**: shuffle the input, and the output is shuffled in the same way. It finds *similar* things wherever they are,
# and does not know where that is. The CNN around it has to tell it.
#
# What does "every place asks every other" cost? The table of scores has N² numbers, for each image:

# %%
for side in (7, 14, 28, 56):
    N = side**2
    print(f"{side:3} × {side:<3} places: N = {N:5,}, {N * N:10,} scores, "
          f"{4 * N * N / 2**20:6.2f} MiB")

# %% [markdown]
# On the 56 × 56 map of a ResNet's first stage it is 37.52<!-- printed --> MiB an image. So the authors put the blocks into the later
# stages, and halve the map that is asked. (Fused kernels do not store the table. They still compute it.)
#
# ## 6 · Attention in the place of the convolution
#
# Why keep the convolution at all? Ramachandran and others (2019) replaced each 3 × 3 convolution of a ResNet by
# attention to the k × k neighbours, **stand-alone self-attention**: query from the place, keys and values from its
# neighbourhood, and a learned vector r for each *offset*, so that left and right differ.
#
# $$y_i = \sum_{j \in \mathcal{N}_k(i)} \mathrm{softmax}_j\big(q_i^\top k_j + q_i^\top r_{j-i}\big)\, v_j$$

# %% tags=["slide-code"]
from course.models.token_mixers.local_attention import LocalAttention

layer = LocalAttention(dim=8, num_heads=1, kernel_size=3)
q, k, v = layer.qkv(x).split(8, dim=-1)  # (B, H, W, D) each
i, j = 2, 3  # one place
near = (slice(None), slice(i - 1, i + 2), slice(j - 1, j + 2))  # its 3 × 3 neighbours
keys, values = (rearrange(each[near], "b p q d -> b (p q) d") for each in (k, v))
r = layer.offsets()[0]  # (9, D): one vector for each offset
scores = einsum(q[:, i, j], keys + r, "b d, b n d -> b n")  # (B, 9)
y = einsum(scores.softmax(-1), values, "b n, b n d -> b d")  # (B, D)
print("the same as the class:", torch.allclose(y, layer(x)[:, i, j], atol=1e-5))

# %% [markdown]
# A convolution has *fixed* weights for its nine neighbours; here they are computed for each place. The weights of four
# places of our image, with a fresh layer:

# %%
maps = rearrange(F.avg_pool2d(centred[None], 2), "1 c h w -> 1 h w c")  # (1, 16, 16, 3)
wide = nn.Linear(3, 16)(maps)  # (1, 16, 16, D)
seer = LocalAttention(dim=16, num_heads=1, kernel_size=7)
q, k, _ = seer.qkv(wide).split(16, dim=-1)
panels = {}
for i, j in [(4, 4), (4, 11), (11, 4), (11, 11)]:
    keys = rearrange(k[0, i - 3 : i + 4, j - 3 : j + 4], "p q d -> (p q) d")
    weights = (q[0, i, j] @ (keys + seer.offsets()[0]).T).softmax(-1)  # (49,)
    panels[f"row {i}, column {j}"] = weights.view(7, 7).detach()
plots.matrices(panels, numbers=False, shared=True).described(
    "weights of 7 by 7 neighbours; the largest is " + "; ".join(
        f"{each.max():.2f} at {name}" for name, each in panels.items()))

# %% [markdown]
# Four places, four kernels. Yet it keeps what makes a convolution good: weights that belong to offsets, not to places. Move
# the image, and the result moves along (away from the border):

# %%
moved = wide.roll((1, 1), dims=(1, 2))  # one down, one to the right
inside = (slice(None), slice(5, -5), slice(5, -5))
difference = seer(moved) - seer(wide).roll((1, 1), dims=(1, 2))  # (1, 16, 16, D)
change = difference[inside].abs().max()
print(f"moving first or last: the difference is {change:.0e}")

# %% [markdown]
# ### What it costs
#
# For each place a K × K convolution takes $K^2 D^2$ multiply–adds. Local attention takes $3 D^2$ for queries, keys and values,
# whatever K is, and $3 K^2 D$ to compare (with keys and with offsets) and to add up.

# %%
D, kernels = 64, [3, 5, 7, 9, 11]
counts = {"convolution": [K**2 * D**2 for K in kernels],
          "local attention": [3 * D**2 + 3 * K**2 * D for K in kernels]}
plots.curves(kernels, counts, log="y", xlabel="K", ylabel="multiply–adds a place").described(
    f"at D = {D}, K = 3 a convolution takes {counts['convolution'][0]:,} and local attention "
    f"{counts['local attention'][0]:,}; at K = 11 {counts['convolution'][-1]:,} and "
    f"{counts['local attention'][-1]:,}")

# %% [markdown]
# By this count it wins at once, and in parameters too: ResNet-50 falls from 25.6 to 18.0 million (table 1 of the paper).
# Now the clock:

# %%
def seconds(layer, x, repeat=budget(tiny=1, cpu=20)):
    layer(x)  # once, to be ready
    taken = []
    for _ in range(repeat):
        begin = time.perf_counter()
        layer(x)
        taken.append(time.perf_counter() - begin)
    return min(taken)  # the others waited for something else

big = torch.randn(2, 28, 28, 64)  # (B, H, W, D)
conv = nn.Conv2d(64, 64, 3, padding=1)
near, far = (LocalAttention(64, 8, K) for K in (3, 7))
with torch.no_grad():
    base = seconds(conv, rearrange(big, "b h w d -> b d h w"))
    for name, layer in {"3 × 3": near, "7 × 7": far}.items():
        counted = (3 * 64**2 + 3 * layer.kernel_size**2 * 64) / (9 * 64**2)
        print(f"local attention {name}: {counted:.1f} times the multiply-adds of a 3 × 3 "
              f"convolution, {seconds(layer, big) / base:.0f} times its time")

# %% [markdown]
# Fewer multiply–adds than the convolution, and many times its time: each neighbourhood is copied into memory
# before it is used. The slides call it "hard to implement and marginally better". Hard it was: a fast kernel for sliding
# neighbourhoods came four years later (NATTEN, Hassani and others 2023). Swin (lecture 8) found a simpler way out:
# windows that do *not* slide.
#
# **Question 2.5** The local attention here is written for clarity. On which side of the comparison would a good kernel
# change most, and what could it not change?
#
# <details><summary>Answer</summary>
#
# It would not copy the neighbours, so most of the extra time would go. It cannot change how often a number is used: each
# number of a key is multiplied K² times, once for each place that looks at it. In a convolution each input number is
# multiplied K² D times. Lecture 11, section 7, shows that multiply–adds are not time.
# </details>
#
# ## 7 · The experiment: must a network know where?
#
# Now all of them get one question that needs far sight. In these images (lecture 3 looks at them more closely) a red plus and a blue ring
# lie at least 15 pixels apart. The question, *relation*: in which of ten directions lies the ring, seen from the plus?

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000)).ask("relation")
test = load("two_questions", "test", size=budget(tiny=50, cpu=500)).ask("relation")
plots.image_grid(test, count=5).described(
    "Five images of 32 by 32 pixels, each with one red plus and one blue ring far apart; "
    "under each stands the direction from the plus to the ring.")

# %% [markdown]
# The body is a CNN that is too short-sighted on purpose: one place of its last map sees 9 × 9 pixels, so it never
# sees both. (`padding="circular"` continues the image on its other side. Zeros at the border would tell a network where
# it is: lecture 3.) Into its 8 × 8 map we put one *part*:

# %%
D, GRID = 48, (8, 8)

def conv_layer(before, after, kernel, stride):  # (B, before, H, W) -> (B, after, H/s, W/s)
    pad = dict(padding=1, padding_mode="circular") if kernel == 3 else {}
    conv = nn.Conv2d(before, after, kernel, stride, bias=False, **pad)
    return [conv, nn.BatchNorm2d(after), nn.ReLU()]

def network(part):
    return nn.Sequential(
        *conv_layer(3, 16, 3, 2),  # (B, 16, 16, 16), sees 3 pixels
        *conv_layer(16, 32, 3, 1),  # (B, 32, 16, 16), sees 7
        *conv_layer(32, D, 2, 2),  # (B, D, 8, 8), sees 9
        ChannelsLast(part),  # the part, on (B, 8, 8, D)
        nn.Conv2d(D, D, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(D, 10))  # (B, D), then (B, 10)

# %% [markdown]
# The parts: nothing; SE; GE-θ; CBAM; the non-local block; and the non-local block that is told where each place lies, by a
# fixed code added to what θ, φ and g read (lecture 3 explains the code).

# %%
from course.models.stems import sinusoidal_2d

class PlacedNonLocal(NonLocal):
    def __init__(self, dim, grid):
        super().__init__(dim)
        self.register_buffer("code", sinusoidal_2d(grid, dim).view(*grid, dim))  # (H, W, D)

    def forward(self, x):  # (B, H, W, D) -> the same
        return x + super().forward(x + self.code) - (x + self.code)

PARTS = {"nothing": nn.Identity, "SE": lambda: SqueezeExcite(D, reduction=4),
         "GE-θ": lambda: GatherExcite(D, GRID, gather="conv"), "CBAM": lambda: CBAM(D, 4),
         "non-local": lambda: NonLocal(D),
         "non-local + places": lambda: PlacedNonLocal(D, GRID)}
for name, part in PARTS.items():
    print(f"{name:20} {count_parameters(network(part())):6,} parameters")

# %% [markdown]
# **Predict** before you run: which of the six can answer? Chance is 10 %<!-- = 100 / 10 -->. Two of them see the whole map and know nothing of places; one of
# these compares content with content, over any distance.
#
# *(Price: six trainings of about 3 seconds. This is seed 0; the black marks of seeds 1 and 2 in the figure are stored runs of the same cell.)*

# %%
def accuracy(part, seed):
    """0..1; the seed sets the first weights and the order of the images."""
    torch.manual_seed(seed)
    model = network(part())
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=160), lr=5e-3, seed=seed)
    fit(model, train, recipe, plot=False, progress=False)
    return evaluate(model, test)

def parts(seed):
    return {name: {"relation": accuracy(part, seed)} for name, part in PARTS.items()}

results = over_seeds("02_beyond_local/parts", parts)
plots.bars(results, chance=0.1)

# %% [markdown]
# **Global is not enough.** SE sees the whole map, and so does the non-local block, and both are at chance
# (8 to 12 %<!-- parts / SE / relation --> and 9 to 11 %<!-- parts / non-local / relation -->), as is the network with nothing
# (9 to 10 %<!-- parts / nothing / relation -->). It does not help to know that there is a ring *somewhere*, or to find it: the answer is in *where*.
#
# **Where must be known.** GE-θ, whose gate has a weight for each place, gets
# 81 to 85 %<!-- parts / GE-θ / relation --> right. The non-local block with a code of places gets 37 to
# 67 %<!-- parts / non-local + places / relation -->: far above chance with each seed, and how far depends on the seed. CBAM gets 32 to
# 47 %<!-- parts / CBAM / relation -->: on this small map its 7 × 7 kernel reaches nearly everything, so its factors know in which direction
# something lies. A part of it comes from the zeros at the border of the map, which tell it where it is: with circular padding in that
# convolution our three runs gave 19, 38 and 18 per cent.
#
# And attention to the neighbours, with vectors for offsets? Offsets *are* relative places. With k = 7 on an 8 × 8 map it
# sees almost all of them. (These runs are stored: a training takes ten times as long, which is section 6 again.)

# %%
class AddedLocalAttention(nn.Module):
    def __init__(self, dim, kernel_size):
        super().__init__()
        self.attention, self.norm = LocalAttention(dim, 4, kernel_size), nn.LayerNorm(dim)

    def forward(self, x):  # (B, H, W, D) -> the same
        return x + self.attention(self.norm(x))

def neighbourhoods(seed):
    return {f"local attention {k} × {k}": {
        "relation": accuracy(lambda: AddedLocalAttention(D, k), seed)} for k in (3, 7)}

near_and_far = over_seeds("02_beyond_local/neighbourhoods", neighbourhoods, live=False)
plots.bars(near_and_far, chance=0.1)

# %% [markdown]
# With k = 3 it stays at chance (10 to 11 %<!-- neighbourhoods / local attention 3 × 3 / relation -->): three places of this map are 17<!-- = 9 + 2 * 4 -->
# pixels, too few for most pairs. With k = 7 it gets 70 to 87 %<!-- neighbourhoods / local attention 7 × 7 / relation -->. So attention is not worse than
# a gate with weights for places. It has to be told where things are, absolutely (a code) or relative to the one who
# asks (offsets). That is what *position embeddings* are for, in every transformer of this course.
#
# What this experiment shows, and what it does not:
#
# * **In this body**, with this question, a global part without places adds nothing, with any seed. In a real ResNet the layers below see far themselves, zeros
#   at borders tell places, and SE has been found to help with ImageNet's question (section 8).
# * **One budget**: 160 steps and one learning rate for all. The non-local block with places may learn more with more steps; question
#   2.6 tries.
# * **The parts differ in size** by up to a third of the network. The best is not the largest.
#
# **Question 2.6** Give the non-local block with places twice the steps: `cpu=320`, only that part, seed 0. Does it reach GE-θ?
#
# <details><summary>Answer</summary>
#
# Our run gave 38 per cent: hardly more than with 160 steps, and far from GE-θ. With this seed it is not the budget alone.
# </details>
#
# ## 8 · Two printed tables, counted again
#
# Do such parts pay on real data? Two tables are shown everywhere. The first, of Hu and others (2018b), is on ImageNet, with the top-1
# error. We build each row and count:

# %%
GE_TABLE = {  # printed: top-1 error %, multiply-adds (G), parameters (M)
    "resnet_101_v1": (22.20, 7.57, 44.6), "resnet_50_v1": (23.30, 3.86, 25.6),
    "se_resnet_50": (22.12, 3.87, 28.1), "ge_theta_minus_resnet_50": (22.14, 3.86, 25.6),
    "ge_theta_resnet_50": (22.00, 3.87, 31.2), "ge_theta_plus_resnet_50": (21.88, 3.87, 33.7)}

def count(name, *size):
    with torch.device("meta"):
        model = create_model(name)
    return count_parameters(model) / 1e6, count_macs(model, 1, 3, *size) / 1e9

print(f"{'':26}error   M printed counted     G printed counted")
counts = {name: count(name, 224, 224) for name in GE_TABLE}
for name, (error, G, M) in GE_TABLE.items():
    m, g = counts[name]
    print(f"{name:26}{error:.2f}  {M:9.1f} {m:7.2f}   {G:9.2f} {g:7.2f}")

# %% [markdown]
# All rows come out (within 0.1 million and 0.01 billion). One detail decides the second column: **where the stride stands**. The paper's
# ResNet halves the map in the first 1 × 1 convolution of a block ("v1"); torchvision's halves it in the 3 × 3 ("v1.5"):

# %%
for name in ("resnet_50_v1", "resnet_50"):
    print(f"{name:13} {count(name, 224, 224)[1]:.2f} G multiply-adds")

# %% [markdown]
# So "ResNet-50 has 3.86 G" and "ResNet-50 has 4.09<!-- printed --> G" are two networks, and a gate that is compared with the other one
# looks 6 %<!-- = 100 * (4.09 / 3.86 - 1) --> cheaper or dearer than it is.
#
# Read the table as a whole: GE-θ⁻ has *no parameter* and saves 1.16<!-- = 23.30 - 22.14 --> points, nearly all of what SE saves with 2.5 million
# (1.18<!-- = 23.30 - 22.12 --> points). The learned ones add a little more. And ResNet-50 with θ⁺ lies below ResNet-101, with half its work.
#
# The second table is BAM's (Park and others 2018, CIFAR-100), with four networks, each alone, with SE, and with BAM:

# %%
BAM_TABLE = {  # printed: error %, M, G: alone, with SE, with BAM
    "resnet_50_cifar": [(21.49, 23.71, 1.22), (20.72, 26.24, 1.23), (20.00, 24.07, 1.25)],
    "pre_resnet_110_cifar": [(22.22, 1.73, 0.245), (21.85, 1.93, 0.245), (21.96, 1.73, 0.246)],
    "wide_resnet_28_8_cifar": [(20.40, 23.40, 3.36), (19.85, 23.58, 3.36),
                               (19.06, 23.42, 3.37)],
    "resnext_29_16x64d_cifar": [(17.25, 68.25, 9.88), (16.52, 68.81, 9.88),
                                (16.39, 68.34, 9.9)]}
twelve = {}
for body, rows in BAM_TABLE.items():
    for gate, (error, M, G) in zip(("", "se_", "bam_"), rows):
        m, g = twelve[gate + body] = count(gate + body, 32, 32)
        print(f"{gate + body:28} {error:.2f}  {M:6.2f} {m:7.3f} M  {G:6.3f} {g:6.3f} G")

# %% [markdown]
# Eight of the twelve rows agree to the last printed digit or differ by how it was rounded. Four do not:
#
# * **PreResNet110**, three rows: 0.253<!-- printed --> G here; the table says 0.245, 0.245 and 0.246. The difference is
#   3 %<!-- = 100 * (0.253 / 0.245 - 1) -->, and we could not find its reason. The counts of parameters agree. With SE,
#   though, 1.93 million needs `reduction=1`, which the paper does not say. With the usual 16 the hidden layers would have
#   one, two and four units, and the network 1.75 million.
# * **ResNeXt29 with SE**: 68.769<!-- printed --> million here, the table says 68.81; we found no reason.
#
# > **What slides get wrong here.** BAM lowers the error "for free" on some slides. It is cheap, not free: up to
# > 2 %<!-- = 100 * (1.249 / 1.223 - 1) --> more multiply–adds and 1.5 %<!-- = 100 * (24.063 / 23.705 - 1) --> more parameters
# > (both in ResNet-50). SE costs up to 11 %<!-- = 100 * (1.934 / 1.736 - 1) --> more parameters, as the next figure
# > shows. And a table of one run each shows no spread.
#
# What is the gain per parameter?

# %%
short = {"resnet_50_cifar": "ResNet-50", "pre_resnet_110_cifar": "PreResNet110",
         "wide_resnet_28_8_cifar": "WRN-28-8", "resnext_29_16x64d_cifar": "ResNeXt29"}
rows = []
for body, printed in BAM_TABLE.items():
    for gate, title, (error, *_) in zip(("se_", "bam_"), ("SE", "BAM"), printed[1:]):
        more = 100 * (twelve[gate + body][0] / twelve[body][0] - 1)
        rows.append((short[body], title, more, printed[0][0] - error))
figures.price_of_a_gate(rows)

# %% [markdown]
# Read from left to right: parameters added; from bottom to top: points saved. BAM lies left of SE in all four networks,
# since it stands in three places of a network, or two. It lies above SE in three of four. In PreResNet110, the thinnest,
# BAM's hidden layers have one and two units, and it saves least.
#
# **Question 2.7** Which row of the two tables would you not believe without a second seed? What would you need to know?
#
# <details><summary>Answer</summary>
#
# PreResNet110: SE and BAM save 0.37<!-- = 22.22 - 21.85 --> and 0.26<!-- = 22.22 - 21.96 --> points. On CIFAR's 10,000 test images, a difference of 0.3 points is
# 30 images; two runs of one network differ by about as much. Five seeds each, and the range, would tell. (In our own experiment three seeds of
# the non-local block with places lie 31 points<!-- = 67.4 - 36.6 --> apart. It is a much smaller network, trained for seconds.)
# </details>
#
# ## Summary
#
# 1. **A convolution sees K − 1 places further with each layer.** Distant parts meet late, on coarse maps.
# 2. **A gate** multiplies features by factors gathered from far away. SE and GE-θ⁻ gather means: they hear *what*, not *where*. GE-θ has a
#    weight for each place; CBAM and BAM have factors for places.
# 3. **The non-local block** is self-attention inside a CNN: any place asks any other, N² scores, no idea of place.
# 4. **Local attention** takes the place of the convolution, with computed weights and vectors for offsets. Few multiply–adds, much time.
# 5. **On a question about places**, global parts without places stayed at chance with each of three seeds; a gate with weights for places got
#    81 to 85 %<!-- parts / GE-θ / relation -->.
# 6. **Printed tables can be counted again**: strides explain 3.86 against 4.09 G, and a table without seeds has no error bars.
#
# ## To revise: which cell shows what
#
# * Section 1, the curves: receptive fields. Section 2, the four gates; shuffling does not change SE's factors; the two
#   tables: neighbours against "all the same".
# * Section 3: extents, and a gate that notices a shuffle. Section 4: dilation. Section 5: the block by hand, equivariance, N².
# * Section 6: one place by hand; four places, four kernels; multiply–adds against time.
# * Section 7: two bar charts. Section 8: two tables, and the gain per parameter.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ The receptive field of ResNet-50: write its layers as (kernel, stride) and run `receptive_field`. | 10 |
# | 2 | ●○○ Put `GatherExcite(D)` (θ⁻) and `BAM(D, 4)` into `PARTS`, three seeds each. Predict first. | 10 |
# | 3 | ●●○ Give SE the places: add the code to its input before the squeeze. Does it help? Why (not)? | 15 |
# | 4 | ●●○ Replace `padding="circular"` by zeros in the body. Which parts change? | 20 |
# | 5 | ●●● Write local attention that loops over the K² offsets instead of copying neighbourhoods. Same numbers, what time? | 30 |
#
# <details><summary>Answers</summary>
#
# 1. With the stride in the 3 × 3: 427 pixels, more than the image of 224. With the stride in the first 1 × 1 ("v1"): 483.
# 2. Our three runs gave 10, 9 and 11 per cent with θ⁻ (a mean: at chance), and 12, 17 and 16 per cent with BAM: a little above chance with each seed, and
#    far below CBAM. BAM's place branch sees the map through holes and 12 channels.
# 3. No: 11, 10 and 10 per cent in our three runs. The mean of x + code is the mean of x plus a constant: the code must be added before something that
#    is not linear in x, or meet weights for places.
# 4. Our three runs gave with nothing 11, 11 and 14 per cent, with the non-local block 11, 12 and 15, with CBAM 54, 41 and 51 (47, 32 and 47 before),
#    with GE-θ 81, 86 and 84. The zeros tell the layers a little about the border: lecture 3 makes a question of it.
# 5. With `pad`, and for each of the K² offsets a shifted view of keys and values: the same numbers (difference below 10⁻⁶), and in our run 0.3
#    times the time at 3 × 3 and 0.5 times at 7 × 7. Still several times a convolution.
# </details>
#
# ## References
#
# * J. Hu, L. Shen, S. Albanie, G. Sun, E. Wu. *Squeeze-and-Excitation Networks.* CVPR 2018.
#   [arXiv:1709.01507](https://arxiv.org/abs/1709.01507). Equations 2 to 4.
# * J. Hu, L. Shen, S. Albanie, G. Sun, A. Vedaldi. *Gather-Excite: Exploiting Feature Context in CNNs.* NeurIPS 2018.
#   [arXiv:1810.12348](https://arxiv.org/abs/1810.12348).
# * J. Park, S. Woo, J.-Y. Lee, I. S. Kweon. *BAM: Bottleneck Attention Module.* BMVC 2018.
#   [arXiv:1807.06514](https://arxiv.org/abs/1807.06514).
# * S. Woo, J. Park, J.-Y. Lee, I. S. Kweon. *CBAM: Convolutional Block Attention Module.* ECCV 2018.
#   [arXiv:1807.06521](https://arxiv.org/abs/1807.06521).
# * X. Wang, R. Girshick, A. Gupta, K. He. *Non-local Neural Networks.* CVPR 2018.
#   [arXiv:1711.07971](https://arxiv.org/abs/1711.07971).
# * P. Ramachandran, N. Parmar, A. Vaswani, I. Bello, A. Levskaya, J. Shlens. *Stand-Alone Self-Attention in Vision Models.*
#   NeurIPS 2019. [arXiv:1906.05909](https://arxiv.org/abs/1906.05909).
# * A. Hassani, S. Walton, J. Li, S. Li, H. Shi. *Neighborhood Attention Transformer.* CVPR 2023.
#   [arXiv:2204.07143](https://arxiv.org/abs/2204.07143). NATTEN.
# * K. He, X. Zhang, S. Ren, J. Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016.
#   [arXiv:1512.03385](https://arxiv.org/abs/1512.03385).
