# %% [markdown]
# # 14 · Video: what moves, and in which order?
#
# | | |
# |---|---|
# | **You will understand** | what a clip adds to its frames; convolution in space-time, optical flow, two frame rates; tubelets; which tokens attend to which in ViViT and TimeSformer, and what it costs; why a network has to be told the order of the frames |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb) (masks, order), [5 · The vision transformer](05_vision_transformer.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [13 · Scaling](13_scaling.ipynb) · **14 · Video** · [15 · Dense prediction](15_dense_prediction.ipynb) |
# | **Homework** | [hw6 · ViViT](../assignments/hw6_vivit/hw6_vivit.ipynb): you build the four models and TimeSformer's attention |

# %% tags=["setup"]
from collections import Counter
from functools import cache
import torch
import torch.nn.functional as F
from torch import nn
from einops import rearrange, reduce
from course import budget, plots, setup
from course.data import load
from course.figures import video
from course.knobs import turn
from course.models import architecture, card, compare, create_model
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)
torch.set_num_threads(1)  # these networks are so small that a second core does not help

# %% [markdown]
# ## 1 · What a clip adds
#
# A clip is a stack of T images: (B, T, C, H, W), one axis more than the images of lecture 5. Here are the middle
# frames of four clips. In each, a handwritten digit moves **right, left, down or up**, one pixel a frame. Which digit
# moves in which direction?

# %%
test = load("digit_video", "test", device="cpu")  # 1,000 clips
clips = test.images / 255  # (B, T, C, H, W), 0..1
four = [38, 25, 6, 60]  # a 0, a 2, a 5 and an 8, one of each motion
plots.image_grid(clips[four, 2], count=4, columns=4, captions=list("abcd")).described(
    "the middle frames of four clips, a 0, a 2, a 5 and an 8: four still digits, and nothing "
    "in them tells in which direction they move")

# %% [markdown]
# Nobody can know. Now the same four clips with all of their frames. Follow one edge of the digit from the left to
# the right:

# %%
plots.video_strip(test.subset(four)).described(
    "four clips of five frames: the 0 moves to the right, the 2 to the left, the 5 down and "
    "the 8 up, each by one pixel a frame")

# %% [markdown]
# So a clip adds two things to its frames: **that** something changed, and **in which order**. Both are lost
# if frames are looked at one by one. And a clip costs more: it has T times as many numbers. In patches of 16 × 16
# pixels, an image of 224 × 224 is 196<!-- = (224 / 16) ** 2 --> tokens; 32 such frames are
# 6,272<!-- = 32 * (224 / 16) ** 2 --> tokens, and attention compares all *pairs* of tokens.
#
# Everything in this lecture answers one question: **how can a network see order, at a cost that we can pay?**

# %% [markdown]
# ## 2 · Convolution in space-time
#
# A clip is a block of numbers with the axes t, y, x. We can look at this block *from another side*.
# Below each frame is the clip seen from above (each column added up: x over time) and from the side (each row added
# up: y over time):

# %%
motions = test.classes  # right, left, down, up
video.space_time_slices(clips[four], motions)

# %% [markdown]
# A thing that stands still is a vertical stripe. A thing that moves is a **slanted** stripe, and the slant is
# its velocity: *motion is orientation in space-time* (Adelson and Bergen, 1985). What finds oriented edges
# in an image? A convolution. So a convolution with one more axis finds motion. Its kernel K is a small *box*, here
# 3 frames × 3 × 3 pixels (one channel, and counted from 0):
#
# $$y_{t,i,j} = \sum_{\tau=0}^{2}\, \sum_{a=0}^{2}\, \sum_{b=0}^{2} K_{\tau,a,b}\; x_{t+\tau,\; i+a,\; j+b}$$
#
# We write four kernels by hand. The one for *right* answers to what is one pixel further right in each frame:

# %%
kernels = torch.full((4, 3, 3, 3), -1.0)  # (filters, t, y, x)
for t in range(3):
    kernels[0, t, :, t] = 2  # right: a column that moves to larger x
    kernels[1, t, :, 2 - t] = 2  # left
    kernels[2, t, t, :] = 2  # down: a row that moves to larger y
    kernels[3, t, 2 - t, :] = 2  # up
video.kernel_in_time(dict(zip(motions, kernels))).described(
    "four kernels of three frames. Each has 2 along one line and −1 elsewhere. For right, the "
    "line is the left column at t = 0, the middle one at t = 1, the right one at t = 2; for "
    "left the other way round; for down a row that moves down, for up a row that moves up")

# %% [markdown]
# How strongly does each kernel answer? We convolve, keep what is positive, square it, and take the mean over the clip.
# Rows are the four clips, columns the four kernels. And how many of all test clips are right, if the kernel with the
# strongest answer decides?

# %% tags=["slide-code"]
def answers(clips, kernels):
    """Strength of each answer: clips (B, T, 1, H, W), kernels (K, t, k, k) -> (B, K)."""
    x = rearrange(clips, "b t c h w -> b c t h w")
    maps = F.conv3d(x, kernels[:, None], padding=(0, 1, 1))  # (B, K, T-2, H, W)
    return reduce(maps.relu() ** 2, "b k t h w -> b k", "mean")

guess = answers(clips, kernels).argmax(dim=1)  # (B,)
print(f"right: {(guess == test.labels).float().mean():.1%} of all test clips")
table = answers(clips[four], kernels)  # (4 clips, 4 kernels)
ratio = table.diagonal() / (table - torch.diag(table.diagonal())).amax(dim=1)  # (4,)
plots.matrices({"answers  (clips, kernels)": table}, rows=motions, columns=motions).described(
    "answers of the four kernels to the four clips. In each row the kernel of the true motion "
    f"answers most, {ratio.min():.1f} to {ratio.max():.1f} times as strongly as the next")

# %% [markdown]
# The largest answer of each row is on the diagonal. If the strongest answer decides, 100.0 %<!-- printed --> of *all*
# test clips are right: without any training, and with 108<!-- = 4 * 3 * 3 * 3 --> numbers in this "network".
#
# **Question 14.1** *Change the kernels.* Subtract from each kernel its own reverse in time: `answers(clips, kernels -
# kernels.flip(1))`, so that *right* becomes "right minus left". Then change also `maps.relu() ** 2` to
# `maps ** 2`. Predict both accuracies.
#
# <details><summary>Answer</summary>
#
# With `relu() ** 2` nearly all clips remain right (99 per cent). With the plain square the share falls to one half
# (49 per cent). The kernel for *right* is now minus the kernel for *left*: where one answers r, the other answers −r, and
# squaring removes the sign. So it finds the axis of the motion, but not its direction. This is the second ceiling of section 7,
# built by hand.
# </details>

# %% [markdown]
# ### What the third axis costs
#
# Here are three layers from 64 to 64 channels, on 8 frames of 56 × 56: a kernel that sees each frame alone, a box, and the
# compromise that many networks use (a kernel in space, then one along time). With a kernel of
# t × k × k, every output number takes $C_{in}\, t\, k^2$ multiply–adds, so a layer takes $T H W\, C_{out}\, C_{in}\, t\, k^2$.

# %%
from course.models.count import count_macs, count_parameters

layers = {
    "1×3×3, each frame alone": [(1, 3, 3)],
    "3×3×3, a box": [(3, 3, 3)],
    "1×3×3, then 3×1×1": [(1, 3, 3), (3, 1, 1)],
}
for name, sizes in layers.items():
    with torch.device("meta"):
        convs = [nn.Conv3d(64, 64, size, padding="same", bias=False) for size in sizes]
        layer = nn.Sequential(*convs)
    macs = count_macs(layer, 1, 64, 8, 56, 56)  # (B, C, T, H, W)
    print(f"{name:24} {count_parameters(layer):7,} weights  {macs / 1e9:.2f}G multiply-adds")

# %% [markdown]
# The box costs three times as much, the split kernel a third more. Remember this: video transformers *separate space
# from time*, too. And the field of view grows only by a fixed amount per layer, as with images: each such layer sees one more
# frame on either side. What was 50 frames ago is 50 layers away. (Strides along time, and pooling, shorten this.)

# %% [markdown]
# ## 3 · Two streams: what is there, and how it moves
#
# The other way is to *compute* the motion first and to show it to an ordinary 2-D network. **Optical flow** says
# for each place where it went. The simplest method is block matching. Take a patch p, try all small shifts (u, v), and keep
# the one that fits best in the next frame:
#
# $$\mathrm{flow}(p) = \arg\min_{(u, v)} \sum_{(x, y)\, \in\, p} \big( I_{t+1}(x + u,\; y + v) - I_t(x, y) \big)^2$$

# %%
def flow_between(first, second, patch=4, reach=2):
    """Best shift of each patch: two frames (C, H, W) -> (h, w, 2) as x, y; nan where dark."""
    height, width = first.shape[-2:]
    steps = range(-reach, reach + 1)
    shifts = [(x, y) for y in steps for x in steps]
    padded = F.pad(second, [reach] * 4)  # (C, H + 4, W + 4)
    moved = torch.stack([  # (shifts, C, H, W)
        padded[:, reach + y :, reach + x :][:, :height, :width] for x, y in shifts])
    into = dict(p=patch, q=patch)
    misfit = reduce((moved - first) ** 2, "s c (h p) (w q) -> s h w", "sum", **into)
    flow = torch.tensor(shifts, dtype=torch.float)[misfit.argmin(dim=0)]  # (h, w, 2)
    flow[reduce(first, "c (h p) (w q) -> h w", "mean", **into) < 0.25] = torch.nan
    return flow

clip = clips[four[0]]  # (T, C, H, W): moves right
video.flow_field(clip[1], clip[2], flow_between(clip[1], clip[2]), patch=4)

# %% [markdown]
# The difference is the second frame minus the first: blue where it became brighter, red where it became darker. Every
# patch that is bright enough has moved one pixel to the right. Where it is dark there is too little to
# follow, and no arrow. (On a long straight edge the shift *along* the edge cannot be seen: the **aperture
# problem**.) Real methods are finer, and find a vector for each pixel, but the idea is the same.
#
# The **two-stream network** (Simonyan and Zisserman, 2014) trains one CNN on a single frame and one on
# the flow of ten steps, stacked as channels, and averages their predictions. Its table 4 (UCF-101: clips of 101 human actions): frame alone
# 73.0 %, flow alone 83.7 %, average of both 86.9 %. The first stream knows *what* is there, the second *how* it moves.
#
# ### SlowFast: two frame rates
#
# **SlowFast** (Feichtenhofer and others, 2019) needs no flow. What is there changes slowly: the *slow pathway* looks at
# few frames, with many channels. What moves is fast, but simple: the *fast pathway* looks at α times as many frames, with
# β = 1/8 of the channels.
#
# **Predict first.** Work grows with the number of frames and with the *square* of the width. So the fast pathway should take
# $\alpha \beta^2 = 8 \cdot (1/8)^2 = 1/8$ of the work of the slow one. We let PyTorch count every convolution, by kernel:

# %%
def work(alpha):
    """Multiply-adds in G of SlowFast, 32 frames of 224 × 224: (pathway, kernel) -> number."""
    with torch.device("meta"):
        model = create_model("slowfast_r50", alpha=alpha).eval()
    tally = Counter()

    def note(name, layer, output):  # output: (B, C, T, h, w)
        t, k, _ = layer.kernel_size
        kind = "stem" if k == 7 else "1 frame" if t == 1 else "several frames"
        tally[name.split(".")[0], kind] += output.numel() * layer.weight[0].numel() / 1e9

    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv3d):
            layer.register_forward_hook(lambda layer, _, y, name=name: note(name, layer, y))
    with torch.no_grad():
        model(torch.empty(1, 32, 3, 224, 224, device="meta"))
    return tally

# %%
alpha = 8  # the slow pathway sees every 8th frame
tally = work(alpha)
for kind in ("1 frame", "several frames", "stem"):
    slow, fast = tally["slow", kind], tally["fast", kind]
    print(f"{kind:14}  slow {slow:5.2f}G   fast {fast:4.2f}G   fast/slow {fast / slow:.2f}")

total = sum(tally.values())
shares = [sum(tally[path, kind] for kind in ("1 frame", "several frames", "stem")) / total
          for path in ("slow", "fast")]
print(f"of all {total:.1f}G: slow {shares[0]:.1%}, fast {shares[1]:.1%}")
video.frame_rates(32, alpha, channels=(64, 8), shares=shares)

# %% [markdown]
# A bar is a frame; its height is the number of channels. The fast pathway takes 19.0 %<!-- printed --> of all work (the
# paper, section 3.2, says about 20 %). That is much more than 1/8 of the slow pathway's work. The table says where the rest
# comes from:
#
# * **Kernels that see one frame** follow the rule: fast/slow is 0.11<!-- printed -->. (It is not 0.125, because the slow
#   pathway also takes in what comes from the fast one, and gets wider.)
# * **The stem** costs *five times* as much in the fast pathway, 5.00<!-- printed -->. Both read the same 3 colours, so β counts once and
#   not twice; and the fast kernel is 5 frames long: 8 · 1/8 · 5<!-- = 8 / 8 * 5 -->. It is the largest part of the fast pathway.
# * **Kernels along time** stand in every stage of the fast pathway, but only in the last two of the slow one:
#   0.19<!-- printed -->.
#
# So the rule αβ² is right for a layer and wrong for this network. The grey arrows (convolutions that carry the fast
# pathway's maps into the slow one) take the remaining 2 %<!-- = 100 * 0.55 / 27.8 -->.
#
# **Question 14.2** *Change `alpha` to 4*, so that the slow pathway sees 8 frames. Predict the fast pathway's
# share.
#
# <details><summary>Answer</summary>
#
# 10.5 %<!-- = 100 * 5.29 / (5.29 + 2 * 21.96 + 2 * 0.55) -->: the fast pathway does what it did, the slow one (and the arrows) twice as much. The paper's
# 20 % belongs to its 4 slow frames (α = 8, β = 1/8).
# </details>

# %% [markdown]
# ## 4 · From a clip to tokens
#
# A transformer needs tokens. ViViT (Arnab and others, 2021, section 3.2) has two ways to make them. **Uniform frame
# sampling**: keep one frame of every t, and cut it into patches as ViT does. **Tubelet embedding**: make the patch three-dimensional,
# and cut the clip into boxes of t frames × P × P pixels. One linear layer makes a token of each box:
#
# $$z = E\, x_{\text{box}} + b, \qquad x_{\text{box}} \in \mathbb{R}^{C\, t P^2}, \quad E \in \mathbb{R}^{D \times C\, t P^2}$$
#
# Both give the same number of tokens; but a tubelet has seen what happened *inside* it. Below, pixels in frames of the
# same colour go into one token:

# %%
frames, tubelet, patch = 4, 2, 4
video.two_embeddings(clip[:frames], tubelet, patch)

# %% [markdown]
# ### Where do the filters come from?
#
# Clips with labels are few, images with labels are many. So a video model starts from an image model (**pre-training**).
# The image model's patch embedding has filters of P × P, a tubelet's filters are t × P × P. There are two ways to get from one to
# the other (equations 8 and 9 of the paper). **Filter inflation** repeats the image filter and divides by t, as I3D
# (Carreira and Zisserman, 2017) did for 3-D CNNs. The **central frame** way puts it into the middle and zeros elsewhere:
#
# $$E_{\text{inflated}} = \frac{1}{t}\, [\,E_{\text{image}},\, E_{\text{image}},\, \dots,\, E_{\text{image}}\,], \qquad
# E_{\text{central}} = [\,0,\, \dots,\, 0,\, E_{\text{image}},\, 0,\, \dots,\, 0\,]$$
#
# On numbers, with an image filter of 2 × 2 pixels and tubelets of t = 4:

# %%
from course.models.tubelets import central_frame_filters, inflated_filters

image_filter = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])  # (D, C, P, P) = (1, 1, 2, 2)
ways = {"central frame": central_frame_filters, "inflated": inflated_filters}
ways = {name: make(image_filter, 4) for name, make in ways.items()}  # (D, C, t, P, P) each
video.kernel_in_time({name: weight[0, 0] for name, weight in ways.items()}).described(
    "two filters of four frames made of the image filter 3, 1, 0, 2. Central frame: the image "
    "filter at t = 2, zeros elsewhere. Inflated: a quarter of it, 0.75, 0.25, 0, 0.5, in "
    "every frame")

# %% [markdown]
# Both have the same property: **on a still clip they give the token of the image model.** On a moving clip
# they differ. Below, a dot stands still at the first pixel, or visits the four pixels in turn (where the image filter has
# 3, 1, 0, 2):

# %%
moving = torch.eye(4).view(4, 2, 2)  # (T, H, W): in frame t the t-th pixel is bright
still = moving[:1].expand(4, -1, -1)  # (T, H, W)
for name, dot in {"still ": still, "moving": moving}.items():
    by_frame = (dot * image_filter[0, 0]).sum(dim=(1, 2)).tolist()  # T tokens
    tokens = {way: (dot * weight[0, 0]).sum().item() for way, weight in ways.items()}
    print(f"{name}   image model, frame by frame: {by_frame}   tubelet: {tokens}")

# %% [markdown]
# The central frame filter begins as plain frame sampling: it repeats what the image model says about frame 2.
# The inflated filter begins as a *mean* over the frames, and a mean blurs motion. Which start is better?
# ViViT's table 1 (Kinetics-400: clips of 400 human actions; top-1 accuracy):
#
# | table 1 | frame sampling | tubelets, random | tubelets, inflated | tubelets, central frame |
# |---|--:|--:|--:|--:|
# | top-1 | 78.5 % | 73.2 % | 77.6 % | **79.2 %** |
#
# Random filters cost six points. The best is the one that starts as frame sampling and *learns* to look at
# the other frames.
#
# What else changes from the ViT of lecture 5 to a video transformer? Very little:

# %%
for name in ("vit_b16", "vivit_model1"):
    ours = card(name)
    print(f"{name:13} {ours.parameters / 1e6:5.2f}M parameters   "
          f"{ours.macs / 1e9:6.2f}G multiply-adds")

# %% [markdown]
# There are 2.4M parameters more: +2.26<!-- = (16 - 1) * 196 * 768 / 1e6 -->M for
# 3,136<!-- = 16 * 196 --> positions in place of 196, +0.59<!-- = 3 * 16 * 16 * 768 / 1e6 -->M since each filter is two
# frames long, −0.46<!-- = 0 - 600 * 769 / 1e6 -->M because there are 400 classes and not 1000. The blocks are the same. But
# 16 times as many tokens take 26 times<!-- = 451.52 / 17.56 --> the work. The rest of the lecture is about this.

# %% [markdown]
# ## 5 · Which tokens attend to which?
#
# Lecture 3 answered this with a boolean matrix, a **mask** M: True where token i may attend to token j. Hidden pairs get
# $-\infty$ before the softmax, and so the weight 0:
#
# $$\mathrm{attention}(x) = \mathrm{softmax}\!\left( \frac{q k^\top}{\sqrt d} + \log M \right) v$$
#
# We do the same for clips. Each token has three coordinates: time, row, column. Every scheme says *which of them must be
# equal*:

# %%
def masks_of(T, h, w):
    """Which of T·h·w tokens attend to which: name -> (N, N) truth values."""
    places = torch.meshgrid(torch.arange(T), torch.arange(h), torch.arange(w), indexing="ij")
    t, row, column = (axis.flatten() for axis in places)  # (N,) each

    def same(a):  # (N,) -> (N, N)
        return a[:, None] == a[None, :]

    return {
        "joint": torch.ones(len(t), len(t), dtype=torch.bool),
        "space": same(t),
        "time": same(row) & same(column),
        "height": same(t) & same(column),
        "width": same(t) & same(row),
        "local": same(row * 2 // h) & same(column * 2 // w),  # a quarter, all frames
        "global": same(t % 2) & same(row % 2) & same(column % 2),  # every second one
    }

# %%
small = masks_of(3, 2, 2)  # 12 tokens
names = [f"t{t} {place}" if place == "↖" else place for t in range(3) for place in "↖↗↙↘"]
three = {name: small[name] for name in ("joint", "space", "time")}  # (12, 12) each
pairs = {name: int(mask.sum()) for name, mask in three.items()}
plots.matrices(three, rows=names).described(
    "masks of 12 tokens, 3 frames of 4. Pairs that are allowed, of 144: " + "; ".join(
        f"{name} {count}" for name, count in pairs.items())
    + ". Space: blocks of 4 on the diagonal; time: the diagonal and stripes beside it")

# %% [markdown]
# Twelve tokens, three frames of four. **Joint**: all pairs. **Space**: blocks on the diagonal, each frame by
# itself. **Time**: stripes, each place by itself.
#
# A network would not compute all pairs and then hide most of them. It sorts the tokens into groups and lets
# attention run inside each group (you do this in the homework). The result must be the same:

# %%
from course.models.token_mixers.space_time import GroupedAttention

x = torch.randn(2, 4 * 4 * 4, 24)  # (B, N, D)
masks = masks_of(4, 4, 4)
for name in ("space", "time", "height", "width", "local", "global"):
    layer = GroupedAttention(24, grid=(4, 4, 4), within=name, num_heads=3)
    q, k, v = rearrange(layer.qkv(x), "b n (three h d) -> three b h n d", three=3, h=3)
    hidden = F.scaled_dot_product_attention(q, k, v, attn_mask=masks[name])  # (B, h, N, d)
    by_mask = layer.proj(rearrange(hidden, "b h n d -> b n (h d)"))  # (B, N, D)
    print(f"{name:7} groups and mask agree: {torch.allclose(layer(x), by_mask, atol=1e-5)}")

# %% [markdown]
# ### TimeSformer: five schemes
#
# TimeSformer (Bertasius and others, 2021, section 3) compares five schemes. In three of them a block has several attentions, one after the
# other. In **divided attention** each block attends along time first, then in space, each with its norm (pre-norm) and its
# residual connection; then comes the MLP:
#
# $$a = x + \mathrm{attention}_{\text{time}}(\mathrm{norm}(x)), \qquad b = a + \mathrm{attention}_{\text{space}}(\mathrm{norm}(a)), \qquad
# z = b + \mathrm{MLP}(\mathrm{norm}(b))$$
#
# Here is the whole network, as our code builds it:

# %%
architecture("timesformer_divided")

# %% [markdown]
# And this is what one token, in the orange frame, attends to in each of the five. The colour says in which step; what is
# never attended to is faded. **Turn the knobs.**

# %%
SCHEMES = {  # name: the steps of a block, in turn
    "space": ("space",),
    "joint": ("joint",),
    "divided": ("time", "space"),
    "local_global": ("local", "global"),
    "axial": ("time", "width", "height"),
}

def seen_from(frame, row, column):
    token = (frame * 4 + row) * 4 + column
    rows = {s: {step: masks[step][token].view(4, 4, 4) for step in steps}
            for s, steps in SCHEMES.items()}
    return video.neighbourhoods(clip[:4], rows, query=(frame, row, column))

turn(seen_from, frame=[1, 2, 3, 0], row=[1, 2, 3, 0], column=[1, 2, 3, 0])

# %% [markdown]
# *Space only* never leaves its frame. *Divided* sees its place at all times, and its
# time at all places. *Local + global* sees a near quarter in detail and a sparse grid over everything. *Axial* sees three
# lines only.
#
# This is one step each. But a block takes its steps **one after the other**: what I see in the second step has
# itself seen something in the first step. In matrices: multiply the masks. How many blocks does it take until every token
# depends on every token?

# %%
def blocks_until_all(steps, most=8):
    reached = torch.eye(64)  # (N, N): at first every token knows itself
    for block in range(1, most + 1):
        for step in steps:
            reached = ((masks[step].float() @ reached) > 0).float()  # (N, N)
        if reached.all():
            return block
    return "never"

{name: blocks_until_all(steps) for name, steps in SCHEMES.items()}

# %% [markdown]
# All but *space only* need a single block. With divided attention a token attends to 19<!-- = 4 + 16 - 1 --> tokens of 64,
# and after both steps it depends on all 64: *two cheap steps reach as far as one expensive step*. Is anything lost against
# joint attention, then? Keep that question for the homework.
#
# **Question 14.3** *Change a scheme*: what does `blocks_until_all` say to `("time", "height")`? To
# `("local",)`, to `("global",)`? To `("width", "time", "height")`?
#
# <details><summary>Answer</summary>
#
# `("time", "height")`: never; no step ever moves sideways. `("local",)`: never, the quarters stay apart.
# `("global",)`: never, odd and even places stay apart, as the colours of a chessboard. Only together do they reach all.
# `("width", "time", "height")` is axial in another order: one block, since every axis is there once.
# </details>

# %% [markdown]
# ### ViViT: four models
#
# ViViT puts the same two steps, space and time, together in four ways (section 3.3). Each row is one model; the orange
# token asks:

# %%
T, h, w = 3, 3, 3
grid, asks = masks_of(T, h, w), (1, 0, 1)
token = (asks[0] * h + asks[1]) * w + asks[2]
joint, space, time = (grid[name][token].view(T, h, w) for name in ("joint", "space", "time"))
frames_only = torch.ones(T, 1, 1, dtype=torch.bool)  # (T, h, w) = (3, 1, 1)
later = ("time, 4 layers, a frame = a token", frames_only, (1, 0, 0))
video.attention_stages({
    "Model 1\njoint": [("joint, every layer", joint, asks)],
    "Model 2\ntwo encoders": [("space, 12 layers", space, asks), later],
    "Model 3\ntwo steps": [("space, each layer", space, asks), ("time, then", time, asks)],
    "Model 4\nsplit heads": [("space, half of the heads", space, asks),
                             ("+ time, the others", time, asks)],
})

# %% [markdown]
# * **Model 1** is ViT on more tokens.
# * **Model 2**, the *factorised encoder*, runs a ViT on each moment, which gives *one* token $h_t$ (its class token). Only then a second,
#   short transformer attends along time (late fusion):
#   $\; h_t = \mathrm{Encoder}_{\text{space}}(x_t), \;\; \mathrm{logits} = W\, \mathrm{Encoder}_{\text{time}}(h_1, \dots, h_T)$.
# * **Model 3** takes both steps in every block. It is TimeSformer's *divided*, in the other order.
# * **Model 4** takes both at once: half of the heads attend in space, the others along time. It has no more
#   weights than Model 1.
#
# Here is Model 2 in full size; section 7 trains a small one:

# %%
architecture("vivit_model2")

# %% [markdown]
# > **What slides get wrong here.** "Model 3: the first layer computes attention in space, the next layer along time."
# > Both are steps of *one* block (section 3.3 and figure 5 of the paper). And slides that stop at Model 3 leave out Model 4,
# > which has the fewest multiply–adds of all four (table 2, below).

# %% [markdown]
# ## 6 · What it costs
#
# We count the pairs of TimeSformer's grid, 8 frames of 14 × 14 tokens, and then the networks themselves:
# parameters beside the paper's table 1, and multiply–adds for one clip. Which scheme do you expect to be the
# cheapest?

# %%
big = masks_of(8, 14, 14)  # N = 1568
table_1 = {"space": 85.9, "joint": 85.9, "divided": 121.4,  # M
           "local_global": 121.4, "axial": 156.8}
counted = budget(tiny=["divided"], cpu=list(SCHEMES))
print(f"{'':13} {'pairs a block':>13} {'parameters (paper)':>20} {'multiply-adds':>14}")
for name in counted:
    pairs = sum(int(big[step].sum()) for step in SCHEMES[name])
    ours = card(f"timesformer_{name}")
    size = f"{ours.parameters / 1e6:.1f}M ({table_1[name]}M)"
    print(f"{name:13} {pairs:13,} {size:>20} {ours.macs / 1e9:13.1f}G")

# %% [markdown]
# The parameters agree, all five. *Space only* is the cheapest; it is ViT on each frame, and then a mean. And there
# is a surprise: **divided attention has 8<!-- = 2458624 / 319872 --> times fewer pairs than joint attention, and more
# multiply–adds.** Axial has 44<!-- = 2458624 / 56448 --> times fewer pairs and is the most expensive of all. The pairs are
# not the largest part of the cost. Every additional attention brings its own linear layers for q, k, v and the output, and these
# cost the same however few tokens it attends to:

# %%
print(compare("timesformer_joint", "timesformer_divided"))

# %% [markdown]
# So when does divided attention pay? When there are many tokens, since the number of pairs grows with their square. For N = 196 T
# tokens, a block takes
#
# $$\text{joint: } 12\, N D^2 + 2 N^2 D, \qquad \text{divided: } 17\, N D^2 + 2 N (T + 196)\, D$$
#
# multiply–adds: 4 N D² for an attention's linear layers, 8 N D² for the MLP, and in divided attention 5 N D² more (four
# for the second attention, one that TimeSformer adds behind it). We count both networks for longer and longer clips:

# %%
lengths = budget(tiny=[8], cpu=[4, 8, 16, 32, 64])

@cache
def macs_of(name, frames, **options):
    with torch.device("meta"):
        model = create_model(name, num_frames=frames, **options)
    return count_macs(model, 1, frames, 3, 224, 224) / 1e9

lines = {scheme: [macs_of(f"timesformer_{scheme}", frames) for frames in lengths]
         for scheme in ("joint", "divided")}
factor = [a / b for a, b in zip(lines["joint"], lines["divided"])]
plots.curves(lengths, lines, log="xy", xlabel="frames of 224 × 224",
             ylabel="billion multiply-adds").described(
    "work over the number of frames. Joint over divided: " + "; ".join(
        f"{ratio:.2f} at {frames} frames" for frames, ratio in zip(lengths, factor)))

# %% [markdown]
# **Question 14.4** From how many frames on is divided attention the cheaper one? Calculate it from the two formulas
# (D = 768), then *change the lengths* and check.
#
# <details><summary>Answer</summary>
#
# Divided is cheaper if 2 D N (N − T − 196) > 5 N D², that is if N − T − 196 > 2.5 D = 1920<!-- = 2.5 * 768 -->. With N = 196 T this
# is T > 10.85<!-- = (1920 + 196) / 195 -->: from 11 frames on. In the network: at 10 frames 238.6G joint and 244.8G divided, at 11 frames
# 270.2G and 269.4G. At 96 frames joint takes 3.4 times as much.
# </details>
#
# ### ViViT's table 2, counted again
#
# 32 frames in tubelets of 2 × 16 × 16 give 16 moments of 196 places:

# %%
table_2 = {1: (88.9, 455.2), 2: (115.1, 284.4), 3: (117.3, 372.3), 4: (88.9, 277.1)}  # M, G
cards = {number: card(f"vivit_model{number}") for number in budget(tiny=[2], cpu=[1, 2, 3, 4])}
for number, ours in cards.items():
    parameters, macs = table_2[number]
    print(f"Model {number}   {ours.parameters / 1e6:6.1f}M (paper {parameters}M)   "
          f"{ours.macs / 1e9:6.1f}G (paper {macs}G, {ours.macs / 1e9 / macs - 1:+.1%})")

for layers in budget(tiny=[4], cpu=[4, 3, 2]):
    with torch.device("meta"):
        model = create_model("vivit_model2", temporal_depth=layers)
    print(f"Model 2 with {layers} layers over time: {count_parameters(model) / 1e6:.1f}M")

# %% [markdown]
# The parameters agree with the paper's (89.0 is 88.95, which it cuts off), the work to 1 %<!-- = 100 * (455.2 - 451.5) / 455.2 -->:
# we count products and convolutions, the authors' counter a little more. What does it buy? Table 2, Kinetics-400 and Epic Kitchens
# (a smaller set: cooking, filmed from the cook's head; top-1): Model 1 80.0 and 43.1 %, Model 2 78.8
# and 43.7 %, Model 3 77.4 and 39.1 %. On the large set, joint attention is best; on the small one, the cheap Model 2,
# which in the authors' measurement also ran 3.4 times<!-- = 58.9 / 17.4 --> faster (17.4 instead of 58.9 ms on a TPU).
#
# **How many moments?** Shorter tubelets give more tokens along time. In the paper's figure 8 accuracy grows with their number in all
# models, and so does the work. We count that half of the figure:

# %%
tubelets = budget(tiny=[2], cpu=[8, 4, 2])
numbers = budget(tiny=[2], cpu=[1, 2, 3])
grows = {f"Model {n}": [macs_of(f"vivit_model{n}", 32, tubelet_size=t) for t in tubelets]
         for n in numbers}
for name, line in grows.items():
    print(f"{name}: {line[-1]:.1f}G with {32 // tubelets[-1]} moments, "
          f"{line[-1] / line[0]:.1f} times as many as with {32 // tubelets[0]}")
if len(numbers) > 1:
    large = macs_of("vivit_model1", 32, embed_dim=1024, depth=24, num_heads=16)
    print(f"Model 1 with ViT-L, not ViT-B: {large / grows['Model 1'][-1]:.1f} times the work")

# %%
moments = [32 // t for t in tubelets]
plots.curves(moments, grows, log="xy", xlabel="moments (tokens along time)",
             ylabel="billion multiply-adds").described(
    "work over the number of moments. From the fewest to the most: " + "; ".join(
        f"{name} {line[-1] / line[0]:.1f} times" for name, line in grows.items()))

# %% [markdown]
# Model 1 grows fastest, because its attention compares all moments with all. The paper's figure 7 exchanges the backbone, ViT-L for ViT-B:
# more accurate, and more expensive again. So a video transformer has three knobs (scheme, moments, backbone), and each of
# them trades accuracy for work.
#
# ### Once more with views
#
# At test time a clip is looked at several times, in several **views** (crops and starting points), and this
# multiplies the work. Here is TimeSformer's table 2 (Bertasius and others, 2021). "TFLOPs" are multiply–adds of all views:
#
# | table 2 | pre-training | hours of training | Kinetics-400, top-1 | TFLOPs | parameters |
# |---|---|--:|--:|--:|--:|
# | I3D 8×8 R50 | ImageNet-1K | 444 | 71.0 | 1.11 | 28.0M |
# | I3D 8×8 R50 | ImageNet-1K | 1440 | 73.4 | 1.11 | 28.0M |
# | SlowFast R50 | ImageNet-1K | 448 | 70.0 | 1.97 | 34.6M |
# | SlowFast R50 | ImageNet-1K | 3840 | 75.6 | 1.97 | 34.6M |
# | SlowFast R50 | none | 6336 | 76.4 | 1.97 | 34.6M |
# | TimeSformer | ImageNet-1K | 416 | 75.8 | 0.59 | 121.4M |
# | TimeSformer | ImageNet-21K | 416 | 78.0 | 0.59 | 121.4M |
#
# Do the TFLOPs agree with what we count?

# %%
with torch.device("meta"):
    slowfast = create_model("slowfast_r50")  # 8 slow and 32 fast frames
one_view = {"TimeSformer": macs_of("timesformer_divided", 8),
            "SlowFast": count_macs(slowfast, 1, 32, 3, 256, 256) / 1e9}
for name, views in {"TimeSformer": 3, "SlowFast": 30}.items():
    all_views = views * one_view[name] / 1000
    print(f"{name}: {views} views of {one_view[name]:.0f}G are {all_views:.2f}T")

# %% [markdown]
# They do. But read what it says: *one* view of TimeSformer takes 196<!-- printed -->G, one of SlowFast
# 66<!-- printed -->G (at 256 × 256 pixels). The transformer is 3 times<!-- = 196 / 66 --> as expensive per view, and is shown three views
# where the CNN is shown thirty.
#
# And read the accuracies with their hours. With the same pre-training and about the same hours, TimeSformer is 5.8 points<!-- = 75.8 - 70.0 -->
# better (table 2). With nine times the hours SlowFast is level, 75.6; without any pre-training, and with fifteen times the hours, it is
# ahead, 76.4. What the transformer wins is training time, and what it can do with more images: ImageNet-21K gives it 78.0.
#
# > **What slides get wrong here.** One deck prints 100.7M parameters for ViViT's Model 2. The paper's table 2 says 115.1M, and
# > the cell above counts it. With two layers over time instead of four it would be 100.9<!-- printed -->M; no number of layers gives
# > 100.7M. Checking a printed number takes one line.

# %% [markdown]
# ## 7 · Three ceilings
#
# Back to the moving digits, and to *order*. Before any training we can say how good a network can become at
# most. Three predictions:
#
# 1. **It sees the middle frame only.** Where can the digit be in it? Anywhere in a square of 5 × 5 places,
#    whatever the motion. Nothing in this frame depends on the motion: 25 %<!-- = 100 / 4 -->.
# 2. **It sees all frames, but not their order.** *Right* and *left* show the same set of frames, and so do
#    *down* and *up*. It can find the axis, and must guess the direction: 50 %<!-- = 100 / 2 -->.
# 3. **It sees frames and order.** No ceiling.
#
# Which networks are blind to order? Those whose output f stays the same when the frames are permuted, for every permutation π:
#
# $$f(x_{\pi(1)}, \dots, x_{\pi(T)}) = f(x_1, \dots, x_T).$$
#
# A mean over the frames does this; so does attention over the frames without a code for time (lecture 3, section 8).
#
# The first ceiling can be counted. Below, for each motion, the places where the digit's corner can be (1), all
# equally likely. The best guess at a place is the likeliest motion there. The knob chooses the frame.

# %%
MOVES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}  # (x, y) a frame

def places_in(frame):
    """The chance of each corner place in that frame, by motion: name -> (9, 9), y and x."""
    chances = {}
    for motion, (x, y) in MOVES.items():
        left, top = 2 + (frame - 2) * x, 2 + (frame - 2) * y
        chances[motion] = torch.zeros(9, 9)
        chances[motion][top : top + 5, left : left + 5] = 1 / 25
    return chances

def ceiling(frame):
    return torch.stack(list(places_in(frame).values())).amax(dim=0).sum().item() / 4

# %%
def drawn(frame):
    places = {f"{motion}, frame {frame}": (chance > 0).long()  # (9, 9)
              for motion, chance in places_in(frame).items()}
    overlap = torch.stack(list(places.values())).amin(dim=0).sum()
    return plots.token_maps(places, heat=True).described(
        f"frame {frame}: 25 places for each motion, {overlap} of them possible for all four; "
        f"the best guess from this frame alone is right in {ceiling(frame):.0%}")

turn(drawn, frame=[2, 3, 4, 0, 1])
f"from frame 2 alone: at most {ceiling(2):.0%}"

# %% [markdown]
# Now we measure. The network is ViViT's Model 2 at the size of these clips: one transformer block makes a token of each
# frame, then one block attends along the five frames. We take away what the predictions speak of:

# %%
def small_vivit(seed, num_frames=5, temporal_depth=1, time_code=True):
    """Model 2: (B, T, 1, 16, 16) -> (B, 4); temporal_depth=0: the mean over the frames."""
    torch.manual_seed(seed)
    network = create_model("vivit_digits_model2", embed_dim=32, depth=1,
                           num_frames=num_frames, temporal_depth=temporal_depth)
    encoders = [network.space, network.time] if temporal_depth else [network.space]
    for encoder in encoders:
        nn.init.normal_(encoder.tokens.position, std=0.5)  # 0.02 is too small (question 3.10)
    if temporal_depth and not time_code:
        network.time.tokens.position.requires_grad_(False).zero_()
    return network

# %% tags=["slide-code"]
class OneFrame(nn.Module):
    """Shows a network one frame of the clip: (B, T, C, H, W) -> (B, 4)."""

    def __init__(self, network, frame=2):
        super().__init__()
        self.network, self.frame = network, frame

    def forward(self, clips):
        return self.network(clips[:, self.frame : self.frame + 1])

# %% [markdown]
# All four are trained on the same 4,000 clips, made of other digits than the test clips, with the same number of
# steps (250). Write down your four numbers now. *(Price: about 30 seconds of one CPU core for all four; on a GPU not measured,
# and not needed. This is seed 0; the black marks of seeds 1 and 2 in the figure come from a stored run of the same cell. A seed sets the
# first weights and the order of the clips.)*

# %%
learn = load("digit_video", "train", size=budget(tiny=200, cpu=4000))
unseen = load("digit_video", "test", size=budget(tiny=50, cpu=1000))
CONTENDERS = {  # name: seed -> network
    "one frame": lambda seed: OneFrame(small_vivit(seed, num_frames=1)),
    "mean over frames": lambda seed: small_vivit(seed, temporal_depth=0),
    "attention, no time code": lambda seed: small_vivit(seed, time_code=False),
    "attention and time code": small_vivit,
}

def trained(network, seed, on=learn, num_steps=250, looks=1, **changes):
    """Trains it, in place; the seed sets the order of the clips."""
    num_steps = budget(tiny=2, cpu=num_steps)
    recipe = recipes.cpu_minute.but(steps=num_steps, seed=seed, **changes)
    return fit(network, on, recipe, val=unseen, val_points=looks, plot=False, progress=False)

def says(network, shown):  # clips (B, T, C, H, W) -> (B,), a motion for each
    with torch.no_grad():
        return network(network.normalise_images(shown)).argmax(dim=1)

# %%
def ceilings(seed):
    accuracy, curve, backwards = {}, {}, {}
    for who, build in CONTENDERS.items():
        contender = build(seed)
        run = trained(contender, seed, looks=10)
        accuracy[who], curve[who] = {"motion": run.final_accuracy}, run.val_accuracy
        there = says(contender, unseen.images)  # (B,)
        back = says(contender, unseen.images.flip(1))  # (B,): T reversed
        backwards[who] = (there == back).float().mean().item()
    return {"accuracy": accuracy, "curve": curve, "backwards": backwards,
            "steps": run.val_steps}

seen_so_far = over_seeds("14_video/ceilings", ceilings)
plots.bars(seen_so_far["accuracy"], chance=0.25)

# %% [markdown]
# The predictions hold with every seed. One frame gets 24 to 25 %<!-- ceilings / accuracy / one frame / motion -->. What does not
# know the order stays below the second ceiling, or on it: the mean over the frames
# gets 41 to 45 %<!-- ceilings / accuracy / mean over frames / motion -->, attention without a time code
# 47 to 50 %<!-- ceilings / accuracy / attention, no time code / motion -->. Five learned rows, one for each moment (the **time
# code**), take the same network above this ceiling: 94 to 100 %<!-- ceilings / accuracy / attention and time code / motion -->. How did they
# get there?

# %%
two = {kind: seen_so_far["curve"][kind] for kind in list(CONTENDERS)[2:]}
ends = {kind: [curve[-1] for curve in lines] for kind, lines in two.items()}
plots.curves(seen_so_far["steps"][0], two, xlabel="step", ylabel="accuracy",
             levels={"one frame: 25 %": 0.25, "no order: 50 %": 0.5}).described(
    "accuracy over the steps, a band from the lowest to the highest seed. At the end: "
    + "; ".join(f"{kind} {min(each):.0%} to {max(each):.0%}" for kind, each in ends.items()))

# %% [markdown]
# Without the time code no seed gets past 50 %<!-- = 100 / 2 --> by more than chance allows (with 1,000 clips the standard error is
# 1.6<!-- = 100 * (0.25 / 1000) ** 0.5 --> points). With it, every seed does. How it gets there differs: with seed 0 the network stays near
# one half for some 50 steps, as if it had found the axis and not yet the direction; with seeds 1 and 2 it does not stop there. So it is not
# decided whether a network learns first the axis and then the direction.
#
# Is the network without the time code really *blind* to order, or has it only not learned it? The experiment has also shown each
# network all test clips backwards:

# %%
for who, same in seen_so_far["backwards"].items():
    low, high = min(same), max(same)
    print(f"{who:24} same answer to a clip and its reverse: {low:.0%} to {high:.0%}")

# %% [markdown]
# The three networks that do not know the order give the same answer to a clip and to its reverse in 100 %<!-- ceilings / backwards / attention, no time code --> of
# the clips, whatever their weights are: this is the equation above, and no training can change it. So somebody has to tell the
# order.
#
# Keep these ceilings in mind when you read TimeSformer's table 1, top-1 in %. (The classes of Something-Something v2 are
# what hands do with some thing, whatever the thing is: "pushing something from left to right".)
#
# | | space | joint | divided | local + global | axial |
# |---|--:|--:|--:|--:|--:|
# | Kinetics-400 | 76.9 | 77.4 | **78.0** | 75.9 | 73.5 |
# | Something-Something v2 | 36.6 | 58.5 | **59.5** | 56.3 | 56.2 |
#
# One number stands apart from its row. The homework asks you why.
#
# **Question 14.5** *Turn the knob to frame 0.* Is the first frame as blind as the middle one? Predict
# `ceiling(0)`, then run it. What will a network reach that is trained on frame 0 alone?
#
# **Question 14.6** Many recipes mirror half of the images left to right (*random flip*), and leave the labels
# alone. Train the last network of this section with `augment=("random_flip",)`. Predict its accuracy on the four motions.
#
# The cell below shows stored runs of both, three seeds each:

# %%
def leaks(seed):
    frame_0 = OneFrame(small_vivit(seed, num_frames=1), frame=0)
    mirrored = small_vivit(seed)
    trained(mirrored, seed, augment=("random_flip",))
    correct = (says(mirrored, unseen.images) == unseen.labels).float()  # (B,)
    sideways = unseen.labels < 2  # (B,): right and left; the others are down and up
    return {
        "frame 0 alone": {"all motions": trained(frame_0, seed).final_accuracy},
        "trained with flips": {"all motions": correct.mean().item(),
                               "right, left": correct[sideways].mean().item(),
                               "down, up": correct[~sideways].mean().item()},
    }

plots.bars(over_seeds("14_video/leaks", leaks, live=False), chance=0.25)

# %% [markdown]
# <details><summary>Answer to 14.5</summary>
#
# No: `ceiling(0)` is 65 %<!-- = 100 * 65 / 25 / 4 -->. What will move right starts further left. The four squares overlap only in part:
# 65 places are possible in all, each with 1/25 of its motion, so 65 / 25 / 4. The network on frame 0 alone gets
# 64 to 66 %<!-- leaks / frame 0 alone / all motions -->. Such a *leak* is easily built into a data set. One finds it by
# asking what *one frame* can do.
# </details>
#
# <details><summary>Answer to 14.6</summary>
#
# About three quarters at most: *down* and *up* are not changed by a mirror, but every second *right* now shows
# a motion to the left, so these two labels become coin tosses. With three seeds the network gets 50 to 68 %<!-- leaks / trained with flips / all motions -->.
# *Right* and *left* never get past a coin: 40 to 50 %<!-- leaks / trained with flips / right, left -->. *Down* and *up* could all
# be right, but after 250 steps only one seed of three has learned them
# (49, 63 and 100 %<!-- leaks / trained with flips / down, up -->): a quarter of all labels is wrong, and with the other two seeds learning is
# slower. Without flips the same steps give 94 to 100 %<!-- ceilings / accuracy / attention and time code / motion -->.
# On Epic Kitchens a mirrored "cut the onion" still shows an onion being cut. Whether an augmentation is harmless depends on the question.
# </details>
#
# **What this shows, and what it does not.** The hand-made kernels of section 2 had all clips right without
# any training, so these clips are no test of which network is best. They are made to hold *one* question,
# order, and to make blindness visible. A ceiling says what is impossible. It does not promise that everything below it is
# easy to learn.

# %% [markdown]
# ## 8 · Small data sets
#
# ViViT needs as much data as ViT, and video data sets are small. What helped on Epic Kitchens, one thing after the
# other (table 4, Model 2, top-1)? Guess before you look: which of these five brings most? Starting from weights trained on
# Kinetics, stochastic depth (leaving out residual branches at random), RandAugment (random changes of the images), label
# smoothing (a part of the target is spread over all classes), or mixup?

# %%
table_4 = {
    "crop, flip, colour jitter": 38.4,
    "+ start from Kinetics-400": 39.6,
    "+ stochastic depth": 40.2,
    "+ RandAugment": 41.1,
    "+ label smoothing": 43.1,
    "+ mixup": 43.7,
}
video.gains(table_4, unit="Epic Kitchens, action accuracy, % (Arnab et al. 2021, table 4)")

# %% [markdown]
# No step is large. Together they are 5.3 points<!-- = 43.7 - 38.4 -->, and 4.1<!-- = 43.7 - 39.6 --> of them come without any further data. Label smoothing brings
# most here. (It was added fourth. A table in which each row contains those above does not say what each
# would bring alone.)
#
# In our recipes each of them is one word. We try one of them where its effect is easy to see: with only **200 clips** instead
# of 4,000, for the last network of section 7. **Mixup** (Zhang and others, 2018) trains on a weighted mean of two clips, and on the same
# mean of their labels:
#
# $$\tilde x = \lambda\, x_i + (1 - \lambda)\, x_j, \qquad \tilde y = \lambda\, y_i + (1 - \lambda)\, y_j, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)$$
#
# One clip goes left and one goes up, say, and the network should give both answers in proportion. Predict: does
# the network stay above the second ceiling, 50 %<!-- = 100 / 2 -->? And what will mixup do, help or blur? *(Price: about
# 15 seconds of a CPU core; GPU not measured.)*

# %%
def small_set(seed):
    few, found = learn.subset(200), {}
    for method, strength in {"plain": 0.0, "mixup": 0.8}.items():
        student = small_vivit(seed)
        trained(student, seed, on=few, num_steps=220, mixup=strength)
        found[method] = {"its 200 clips": evaluate(student, few),
                         "unseen clips": evaluate(student, unseen)}
    return found

plots.bars(over_seeds("14_video/small_set", small_set), chance=0.25)

# %% [markdown]
# Trained plainly, the network knows its 200 clips by heart (100 %<!-- small_set / plain / its 200 clips -->), and of unseen clips it
# gets 62, 52 and 71 %<!-- small_set / plain / unseen clips --> right: two seeds are clearly above the second ceiling, one is within
# chance of it. With mixup no batch comes twice, and from the same clips in the same number of steps it gets
# 87 to 93 %<!-- small_set / mixup / unseen clips -->: with each seed 22 to 35 points<!-- small_set / mixup / unseen clips - small_set / plain / unseen clips --> more.
# And mixup brings 0.6 points<!-- = 43.7 - 43.1 --> on Epic Kitchens: what a regulariser brings depends on what is lacking.
#
# ### After ViViT
#
# Three ideas of the next years, each from another lecture of this course:
#
# * **MViT** (Fan and others, 2021) is a *pyramid* in space-time: from stage to stage there are fewer tokens and more channels, and
#   attention pools its queries, keys and values. It learns Kinetics from scratch, without an image model.
# * **Video Swin** (Liu and others, 2022) attends in *shifted windows* (lecture 8), now boxes in space-time, and starts from Swin's
#   image weights: 84.9 % on Kinetics-400, 69.6 % on Something-Something v2.
# * **VideoMAE** (Tong and others, 2022) needs no labels for pre-training: it hides 90 to 95 % of the tubelets, the same places in all frames, and learns to
#   fill them in. Then a plain ViT with *joint* attention gets 87.4 % on Kinetics-400 and 75.4 % on
#   Something-Something v2, without any data but each set's own. (The figures are those of the papers' abstracts.)

# %% [markdown]
# ## 9 · Photographs
#
# Digits on black are easy to follow. Now a camera pans over CIFAR-10's photographs, two pixels a frame: `panned` cuts a window
# of 24 × 24 pixels out of each. Which way does it go? On a CPU the network is small and sees 2,000 pans, which may be too few;
# on a GPU it is wider and sees 20,000. *(Price: some 20 seconds of one CPU core, as
# measured once, and once a download of 170 MB; on a GPU not measured.)*

# %%
from course.data import PANS, panned, photographs

def pans(photos, seed):
    """Each photograph, panned in a direction drawn by lot: clips (n, 5, 3, 24, 24), labels (n,)."""
    labels = torch.randint(4, (len(photos),), generator=torch.Generator().manual_seed(seed))
    labels = labels.to(photos.images.device)
    return panned(photos.images, labels), labels

photos = photographs(budget(tiny=200, cpu=2_000, gpu=20_000), budget(tiny=100, cpu=500, gpu=5_000))
if photos:
    moving, still_unseen = (pans(some, seed) for seed, some in enumerate(photos))
    strip = moving[0][:2].flatten(0, 1).cpu()  # (B T, C, H, W), two clips
    display(plots.image_grid(strip, count=10, columns=5, captions=[PANS[n] for n in moving[1][:2] for _ in range(5)]))

# %%
if photos:
    torch.manual_seed(0)
    watcher = create_model("vivit_digits_model3", num_classes=4, img_size=24, in_chans=3,
                           embed_dim=budget(tiny=16, cpu=32, gpu=128), depth=budget(tiny=1, cpu=2))
    for table in (weight for name, weight in watcher.named_parameters() if "position" in name):
        nn.init.normal_(table, std=0.5)  # 0.02 is too small (question 3.10)
    some = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200, gpu=1500), batch_size=budget(tiny=8, cpu=32, gpu=128))
    fit(watcher, moving, some, plot=False)
    print(f"{evaluate(watcher, still_unseen):.0%} of {len(still_unseen[1]):,} pans are told, of four directions")

# %% [markdown]
# ## Summary
#
# 1. **A clip adds change and order.** Motion is a slanted stripe in space-time; a 3-D kernel, optical flow or a
#    second frame rate can see it.
# 2. **Tokens are patches of kept frames, or tubelets.** Start tubelet filters so that a still clip gives the
#    image model's token; best as the central frame (ViViT, table 1).
# 3. **Which token attends to which is a mask**: joint, or space and time in turn, in two encoders, or in two halves of the
#    heads. Two cheap steps reach as far as one expensive step.
# 4. **Pairs are not the largest cost.** Divided attention has 8<!-- = 2458624 / 319872 --> times fewer pairs than joint attention and costs more at 8
#    frames; it pays from 11 frames on.
# 5. **Order must be given.** Predicted, then measured with three seeds: one frame 24 to 25 %<!-- ceilings / accuracy / one frame / motion --> (ceiling 25),
#    no order 47 to 50 %<!-- ceilings / accuracy / attention, no time code / motion --> (ceiling 50), with a time code
#    94 to 100 %<!-- ceilings / accuracy / attention and time code / motion -->.
#
# ## To revise: which cell shows what
#
# | figure or cell | what it shows |
# |---|---|
# | 1, film strips | one frame says nothing, five frames say it all |
# | 2, x over t | velocity is a slant; kernels by hand, all clips right |
# | 2, three layers | a box costs 3 ×, the split kernel 1⅓ × |
# | 3, arrows | optical flow: the shift that fits best, patch by patch |
# | 3, SlowFast | 8 × the frames, 1/8 of the channels, 19 % of the work; the stem is the largest part of it |
# | 4, two rows of frames | frame sampling and tubelets; filters and tokens on numbers |
# | 5, three masks | joint, space, time, as matrices; groups compute the same |
# | 5, knob | TimeSformer's five schemes around any token |
# | 5, four rows, two drawings | ViViT's Models 1 to 4; divided attention and Model 2 as networks |
# | 6, table and curves | pairs, parameters, work; the crossing at 11 frames; the number of moments |
# | 7, bars and curve | three ceilings |
# | 7, stored runs | two leaks: the first frame, and labels that a mirror changes |
# | 8, steps and bars | what regularisation adds up to on a small set; mixup with 200 clips |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Write kernels for digits that move *diagonally*, and clips to test them on. | 15 |
# | 2 | ●○○ Let `flow_between` decide the motion of test clips (the mean arrow). How many are right? Add noise until it fails. | 15 |
# | 3 | ●●○ `card("vivit_digits")` counts Model 1 at the size of our clips, and `vivit_digits_model2` to `4` the others. Predict the order of their work from section 6, then count. Which of the four is out of order, and why? | 15 |
# | 4 | ●●○ Ask for the digit, `learn.ask("digit")`, of the first network of section 7 (with 10 outputs). Which of the three ceilings do you predict? | 15 |
# | 5 | ●●○ Train section 8's network on 200 clips with `label_smoothing=0.2`, three seeds. On Epic Kitchens label smoothing brought most. And here? | 20 |
# | 6 | ●●● Draw the masks of a scheme of your own (a band in time and a window in space, say), count its pairs, and find with `blocks_until_all` how deep it must be. | 30 |
#
# <details><summary>Answers</summary>
#
# 1. With 2 on the one, three and one places where i + j is 0, 2 and 4, and −1 elsewhere, our kernels had 76 per cent of the diagonal clips
#    right (middle frames, shifted by one pixel each way with `torch.roll`). With the mean of each kernel subtracted, so that its numbers
#    sum to zero, they had all of them right.
# 2. Of the first 300 test clips: all without further noise and with noise of standard deviation 0.1, 99.7 per cent with 0.2, 91 with
#    0.3, 56 with 0.5.
# 3. Model 3 is out of order: 19.4, 18.1, 21.9 and 16.2 million multiply–adds for Models 1 to 4, while in table 2 Model 1 takes most. With
#    80 tokens the pairs cost little, and the linear layers of Model 3's second attention cost more than they save.
# 4. None of the three: every frame shows the digit, so neither the order nor the other frames are needed. Our three runs gave 35, 35 and 34
#    per cent (guessing: 10). What holds this network back is its size and its 250 steps, and not a ceiling.
# 5. Not decided. Our three runs gave 65, 62 and 67 per cent, in place of 62, 52 and 71: more with two seeds, less with one, and far less than
#    mixup with every seed.
# 6. It depends on your scheme. With `same(column // 2) & same(row // 2) & (t[:, None] - t[None, :]).abs().le(1)`, windows of 2 × 2 places and a band of one
#    frame, on 4 × 4 × 4 tokens, `blocks_until_all` says "never": windows that do not move stay apart, as in lecture 8. Let every second step move
#    the windows by one place.
# </details>
#
# Then build it: [hw6 · ViViT](../assignments/hw6_vivit/hw6_vivit.ipynb).
#
# ## References
#
# * A. Arnab, M. Dehghani, G. Heigold, C. Sun, M. Lučić, C. Schmid. *ViViT: A Video Vision Transformer.* ICCV
#   2021. [arXiv:2103.15691](https://arxiv.org/abs/2103.15691). Sections 3.2 to 3.4: tokens, the four models,
#   initialisation; tables 1, 2 and 4 and figures 7 and 8 are quoted here.
# * G. Bertasius, H. Wang, L. Torresani. *Is Space-Time Attention All You Need for Video Understanding?* ICML
#   2021. [arXiv:2102.05095](https://arxiv.org/abs/2102.05095). Section 3: the five schemes; tables 1 and 2.
#   For local + global and axial there is neither code nor a listing; ours is one reading that has the
#   paper's number of parameters.
# * C. Feichtenhofer, H. Fan, J. Malik, K. He. *SlowFast Networks for Video Recognition.* ICCV 2019.
#   [arXiv:1812.03982](https://arxiv.org/abs/1812.03982). Section 3.
# * K. Simonyan, A. Zisserman. *Two-Stream Convolutional Networks for Action Recognition in Videos.* NIPS
#   2014. [arXiv:1406.2199](https://arxiv.org/abs/1406.2199). Table 4.
# * J. Carreira, A. Zisserman. *Quo Vadis, Action Recognition?* CVPR 2017.
#   [arXiv:1705.07750](https://arxiv.org/abs/1705.07750). Inflated filters, I3D.
# * D. Tran, H. Wang, L. Torresani, J. Ray, Y. LeCun, M. Paluri. *A Closer Look at Spatiotemporal
#   Convolutions for Action Recognition.* CVPR 2018. [arXiv:1711.11248](https://arxiv.org/abs/1711.11248).
#   The split kernel.
# * H. Fan, B. Xiong, K. Mangalam, Y. Li, Z. Yan, J. Malik, C. Feichtenhofer. *Multiscale Vision Transformers.* ICCV 2021.
#   [arXiv:2104.11227](https://arxiv.org/abs/2104.11227).
# * Z. Liu, J. Ning, Y. Cao, Y. Wei, Z. Zhang, S. Lin, H. Hu. *Video Swin Transformer.* CVPR 2022.
#   [arXiv:2106.13230](https://arxiv.org/abs/2106.13230).
# * Z. Tong, Y. Song, J. Wang, L. Wang. *VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
#   Pre-Training.* NeurIPS 2022. [arXiv:2203.12602](https://arxiv.org/abs/2203.12602).
# * H. Zhang, M. Cissé, Y. Dauphin, D. Lopez-Paz. *mixup: Beyond Empirical Risk Minimization.* ICLR 2018.
#   [arXiv:1710.09412](https://arxiv.org/abs/1710.09412).
# * E. H. Adelson, J. R. Bergen. *Spatiotemporal energy models for the perception of motion.* Journal of the
#   Optical Society of America A 2(2), 1985. Section 2's idea.
