# %% [markdown]
# # 14 · Video: what moves, and in which order?
#
# | | |
# |---|---|
# | **You will understand** | what a clip adds to its frames; convolution in space-time, flow, two frame rates; tubelets; who looks at whom in ViViT and TimeSformer, and what it costs; why order must be given |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb) (masks, order), [5 · The vision transformer](05_vision_transformer.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | 13 · Scaling · **14 · Video** · 15 · Dense prediction |
# | **Homework** | [hw6 · ViViT](../assignments/hw6_vivit/hw6_vivit.ipynb): you build the four models and TimeSformer's attention |

# %% tags=["setup"]
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
torch.set_num_threads(1)  # the networks here are so small that a second core only gets in the way

# %% [markdown]
# ## 1 · What a clip adds
#
# A clip is a stack of T images: (B, T, C, H, W), one axis more than lecture 5 had. Here are the middle frames
# of four clips. In each a handwritten digit slides **right, left, down or up**, one pixel a frame. Which goes
# where?

# %%
test = load("digit_video", "test", device="cpu")  # 1,000 clips
clips = test.images / 255  # (B, T, C, H, W), 0..1
four = [38, 25, 6, 60]  # a 0, a 2, a 5 and an 8, one of each motion
plots.image_grid(clips[four, 2], count=4, columns=4, captions=list("abcd"))

# %% [markdown]
# Nobody can know. Now the same four with all of their frames. Follow one edge of the digit from left to
# right:

# %%
plots.video_strip(test.subset(four))

# %% [markdown]
# So a clip adds two things to its frames: **that** something changed, and **in which order**. Both are lost
# if frames are looked at one by one. And it adds a bill: T times as many numbers. In patches of 16 × 16, an
# image of 224 × 224 is 196 tokens; 32 such frames are 6,272, and attention pays for *pairs*.
#
# Everything in this lecture is an answer to: **how to see order, at a price one can pay?**

# %% [markdown]
# ## 2 · Convolution in space-time
#
# Take a clip as what it is, a block of numbers with the axes t, y, x, and look at it *from another side*.
# Below each frame is the clip seen from above (columns added up: x over time) and from the side (y over
# time):

# %%
motions = test.classes  # right, left, down, up
video.space_time_slices(clips[four], motions)

# %% [markdown]
# A thing that stands still is a vertical stripe. A thing that moves is a **slanted** one, and the slant is
# its velocity. *Motion is orientation in space-time* (Adelson and Bergen, 1985). What finds oriented edges
# in an image? A convolution. So what finds motion is a convolution with one axis more, its kernel a small
# *box*, here 3 frames × 3 × 3 pixels. We write four of them by hand. The one for *right* likes what is one
# pixel further right in each frame:

# %%
kernels = torch.full((4, 3, 3, 3), -1.0)  # (filters, t, y, x)
for t in range(3):
    kernels[0, t, :, t] = 2  # right: a column that moves to larger x
    kernels[1, t, :, 2 - t] = 2  # left
    kernels[2, t, t, :] = 2  # down: a row that moves to larger y
    kernels[3, t, 2 - t, :] = 2  # up
video.kernel_in_time(dict(zip(motions, kernels)))

# %% [markdown]
# How strongly does each answer? Convolve, keep what is positive, square, take the mean over the clip. Rows are the
# four clips, columns the four kernels. And of all test clips, how many are right if the loudest kernel decides?

# %%
def answers(clips, kernels):
    """How strongly each kernel answers: clips (B, T, 1, H, W), kernels (K, t, k, k) -> (B, K)."""
    maps = F.conv3d(rearrange(clips, "b t c h w -> b c t h w"), kernels[:, None], padding=(0, 1, 1))
    return reduce(maps.relu() ** 2, "b k t h w -> b k", "mean")  # maps: (B, K, T-2, H, W)

guess = answers(clips, kernels).argmax(dim=1)  # (B,)
print(f"right: {(guess == test.labels).float().mean():.1%} of all test clips")
plots.matrices({"answers  (clips, kernels)": answers(clips[four], kernels)}, rows=motions, columns=motions)

# %% [markdown]
# The largest of each row is on the diagonal. And if the loudest kernel decides, the printed share of *all* test clips is
# right: no training, and 108 numbers in this "network".
#
# **Question 14.1** *Change the kernels.* Take from each kernel its own reverse: `answers(clips, kernels -
# kernels.flip(1))`, so that *right* becomes "right minus left". Then also change `maps.relu() ** 2` to
# `maps ** 2`. Predict both accuracies. (This answer and all others are at the end of the lecture.)
#
# ### What the third axis costs
#
# A layer from 64 to 64 channels, on 8 frames of 56 × 56: flat, as a box, and as the compromise that many
# networks take, a flat kernel followed by one along time only. Each layer of the last two sees one more frame
# on either side.

# %%
from course.models.count import count_macs, count_parameters

layers = {
    "1×3×3, each frame by itself": [(1, 3, 3)],
    "3×3×3, a box": [(3, 3, 3)],
    "1×3×3, then 3×1×1": [(1, 3, 3), (3, 1, 1)],
}
for name, sizes in layers.items():
    with torch.device("meta"):
        layer = nn.Sequential(*[nn.Conv3d(64, 64, size, padding="same", bias=False) for size in sizes])
    macs = count_macs(layer, 1, 64, 8, 56, 56)  # (B, C, T, H, W)
    print(f"{name:28} {count_parameters(layer):7,} weights  {macs / 1e9:.2f}G multiply-adds")

# %% [markdown]
# Three times the price for the box, a third more for the split one. Keep that in mind: *splitting space from
# time* is what the transformers will do, too. And as with images, the field of view grows by a fixed amount a
# layer: what was 50 frames ago is 25 layers away.

# %% [markdown]
# ## 3 · Two streams: what is there, and how it moves
#
# The other way is to *compute* the motion first and show it to an ordinary 2-D network. **Optical flow** says
# for each place where it went. The simplest method: take a patch, try all small shifts, keep the one that
# fits best in the next frame.

# %%
def flow_between(first, second, patch=4, reach=2):
    """For each patch of `first` its best shift: two frames (C, H, W) -> (h, w, 2) as x, y; nan where dark."""
    height, width = first.shape[-2:]
    shifts = [(x, y) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    padded = F.pad(second, [reach] * 4)
    moved = [padded[:, reach + y :, reach + x :][:, :height, :width] for x, y in shifts]
    misfit = reduce((torch.stack(moved) - first) ** 2, "s c (h p) (w q) -> s h w", "sum", p=patch, q=patch)
    flow = torch.tensor(shifts, dtype=torch.float)[misfit.argmin(dim=0)]  # (h, w, 2)
    flow[reduce(first, "c (h p) (w q) -> h w", "mean", p=patch, q=patch) < 0.25] = torch.nan
    return flow

clip = clips[four[0]]  # (T, C, H, W): moves right
video.flow_field(clip[1], clip[2], flow_between(clip[1], clip[2]), patch=4)

# %% [markdown]
# Every patch that holds ink has moved one pixel to the right. Where it is dark there is nothing to follow,
# and no arrow. (On a long straight edge the shift *along* the edge cannot be seen either: the aperture
# problem.) Real flow is computed more finely; the idea is this.
#
# The **two-stream network** (Simonyan and Zisserman, 2014) trains one ConvNet on a single frame and one on
# the flow of ten steps, stacked as channels, and averages what they say. Its table 4 (UCF-101): frame alone
# 73.0 %, flow alone 83.7 %, average of both 86.9 %. The appearance stream knows *what*, the motion stream
# *how*.
#
# ### SlowFast: two frame rates
#
# **SlowFast** (Feichtenhofer and others, 2019) needs no flow. What is there changes slowly: look at few
# frames, with many channels. What moves is fast, but simple: look at all frames, with β = 1/8 of the
# channels. We let PyTorch count where the work goes:

# %%
from torch.utils.flop_counter import FlopCounterMode

def cost_shares(alpha):
    """What the slow and the fast pathway take of all multiply-adds, at 32 frames of 224 × 224."""
    with torch.device("meta"):
        model, clip = create_model("slowfast_r50", alpha=alpha).eval(), torch.empty(1, 32, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    stages = [name for name in counts if name.count(".") == 2]  # SlowFast.slow.0, SlowFast.fast.0, ...
    of = {path: sum(counts[stage] for stage in stages if path in stage) for path in ("slow", "fast")}
    return [part / counts["Global"] for part in of.values()]

alpha = 8  # the slow pathway sees every 8th frame
video.frame_rates(32, alpha, channels=(64, 8), shares=cost_shares(alpha))

# %% [markdown]
# A bar is a frame, its height the channels. The fast pathway sees eight times as many frames and takes a
# fifth of the work, as the paper says (section 3.2: about 20 %). That is so because work grows with the
# *square* of the width. The rest, about 2 %, is the grey arrows.
#
# **Question 14.2** *Change `alpha` to 4*, so that the slow pathway sees 8 frames. Predict the fast pathway's
# share.

# %% [markdown]
# ## 4 · From a clip to tokens
#
# A transformer wants tokens. ViViT (Arnab and others, 2021, section 3.2) has two ways. **Uniform frame
# sampling**: keep a frame now and then, cut it into patches as ViT does. **Tubelets**: give the patch a third
# side and cut the clip into boxes of t frames. Same number of tokens; but a tubelet has seen what happened
# *inside* it. Below, pixels in frames of the same colour go into one token:

# %%
frames, tubelet, patch = 4, 2, 4
video.two_embeddings(clip[:frames], tubelet, patch)

# %% [markdown]
# ### Where do the filters come from?
#
# Clips with labels are few, images with labels many, so a video model starts from an image model. Its patch
# embedding has filters of P × P, a tubelet's are t × P × P. Two ways to get from one to the other, on
# numbers: an image filter of 2 × 2 pixels, and tubelets of t = 4.

# %%
from course.models.tubelets import central_frame_filters, inflated_filters

image_filter = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])  # (D, C, P, P) = (1, 1, 2, 2)
ways = {"central frame": central_frame_filters, "inflated": inflated_filters}
ways = {name: make(image_filter, 4) for name, make in ways.items()}  # (D, C, t, P, P) = (1, 1, 4, 2, 2)
video.kernel_in_time({name: weight[0, 0] for name, weight in ways.items()})

# %% [markdown]
# Both have the same property: **on a still clip, they give the token of the image model.** On a moving one
# they differ. A dot visits the four pixels in turn (3, 1, 0, 2 for the image filter), or stands still at the
# first:

# %%
dot = torch.eye(4).view(1, 4, 1, 2, 2)  # (B, T, C, H, W): frame t has its t-th pixel lit
still = dot[:, :1].expand(-1, 4, -1, -1, -1)
for name, clip_of_dots in {"still ": still, "moving": dot}.items():
    by_frame = (clip_of_dots[0, :, 0] * image_filter[0, 0]).sum(dim=(1, 2)).tolist()  # T tokens
    tokens = {way: (clip_of_dots[0, :, 0] * w[0, 0]).sum().item() for way, w in ways.items()}
    print(f"{name}   image model, frame by frame: {by_frame}   tubelet: {tokens}")

# %% [markdown]
# The central frame filter begins as plain frame sampling: it repeats what the image model says of frame 2.
# The inflated one begins as a *mean* over the frames, in which motion is blurred. Which start is better?
# ViViT's table 1 (Kinetics-400, top-1):
#
# | frame sampling | tubelets, random | tubelets, inflated | tubelets, central frame |
# |--:|--:|--:|--:|
# | 78.5 % | 73.2 % | 77.6 % | **79.2 %** |
#
# Random filters cost six points. The winner is the one that starts as frame sampling and *learns* to look at
# the other frames.
#
# What else changes from the ViT of lecture 5 to a video transformer? Next to nothing:

# %%
for name in ("vit_b16", "vivit_model1"):
    ours = card(name)
    print(f"{name:13} {ours.parameters / 1e6:5.2f}M parameters   {ours.macs / 1e9:6.2f}G multiply-adds")

# %% [markdown]
# 2.4M parameters more: +2.26M for 3,136 positions in place of 196, +0.59M since each filter is two frames
# long, −0.46M because there are 400 classes and not 1000. The layers are the same. But 16 times as many
# tokens cost 26 times the work. The rest of the lecture is about that.

# %% [markdown]
# ## 5 · Who looks at whom?
#
# Lecture 3 said it with a boolean matrix: True where token i may look at token j. So let us do that for
# clips. Each token has three coordinates. Every scheme is then a question about *which of them are equal*:

# %%
def masks_of(T, h, w):
    """Who sees whom among T·h·w tokens, frame after frame: name -> (N, N) truth values."""
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
        "local": same(row * 2 // h) & same(column * 2 // w),  # the same quarter of the image, all frames
        "global": same(t % 2) & same(row % 2) & same(column % 2),  # every second along each axis
    }

small = masks_of(3, 2, 2)  # 12 tokens
names = [f"t{t} {place}" if place == "↖" else place for t in range(3) for place in "↖↗↙↘"]
plots.matrices({name: small[name] for name in ("joint", "space", "time")}, rows=names)

# %% [markdown]
# Twelve tokens, three frames of four. **Joint**: all pairs. **Space**: blocks on the diagonal, a frame by
# itself. **Time**: the stripes, a place by itself.
#
# A network would not compute all pairs only to hide most of them. It sorts the tokens into groups, and lets
# attention run inside each group (you do that in the homework). It must come to the same:

# %%
from course.models.token_mixers.space_time import GroupedAttention

x = torch.randn(2, 4 * 4 * 4, 24)  # (B, N, D)
masks = masks_of(4, 4, 4)
for name in ("space", "time", "height", "width", "local", "global"):
    layer = GroupedAttention(24, grid=(4, 4, 4), within=name, num_heads=3)
    q, k, v = rearrange(layer.qkv(x), "b n (three h d) -> three b h n d", three=3, h=3)
    hidden = F.scaled_dot_product_attention(q, k, v, attn_mask=masks[name])  # (B, h, N, d)
    by_mask = layer.proj(rearrange(hidden, "b h n d -> b n (h d)"))
    print(f"{name:7} groups and mask agree: {torch.allclose(layer(x), by_mask, atol=1e-5)}")

# %% [markdown]
# ### TimeSformer's five schemes
#
# TimeSformer (Bertasius and others, 2021) tried five, most with several steps in a block. Here is what one
# token, framed, sees in each: coloured by the step in which it sees it, faded if never. **Turn the knobs.**

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
    rows = {s: {step: masks[step][token].view(4, 4, 4) for step in steps} for s, steps in SCHEMES.items()}
    return video.neighbourhoods(clip[:4], rows, query=(frame, row, column))

turn(seen_from, frame=[1, 2, 3, 0], row=[1, 2, 3, 0], column=[1, 2, 3, 0])

# %% [markdown]
# *Space only* never leaves its frame. *Divided* sees a cross through space-time: its place at all times, its
# time at all places. *Local + global* sees a near quarter finely and the whole coarsely. *Axial* sees three
# lines only.
#
# That is one step each. But a block takes its steps **one after the other**: what I see in the second has
# itself seen something in the first. As matrices: multiply the masks. How many blocks until everything has
# reached everything?

# %%
def blocks_until_all(steps, most=8):
    reached = torch.eye(64)  # (N, N): at first every token knows itself
    for block in range(1, most + 1):
        for step in steps:
            reached = ((masks[step].float() @ reached) > 0).float()
        if reached.all():
            return block
    return "never"

{name: blocks_until_all(steps) for name, steps in SCHEMES.items()}

# %% [markdown]
# Everyone but *space only* needs a single block. A cross of 19 tokens out of 64, looked through twice,
# reaches all 64: *two cheap looks instead of a dear one*. Is anything lost against
# joint attention, then? Keep that question for the homework.
#
# **Question 14.3** *Change a scheme*: what does `blocks_until_all` say to `("time", "height")`? To
# `("local",)`, to `("global",)`? To `("width", "time", "height")`?
#
# ### ViViT's four models
#
# The same two cuts, put together in four ways (section 3.3). One row is one model; the orange token asks:

# %%
T, h, w = 3, 3, 3
grid, asks = masks_of(T, h, w), (1, 0, 1)
token = (asks[0] * h + asks[1]) * w + asks[2]
joint, space, time = (grid[name][token].view(T, h, w) for name in ("joint", "space", "time"))
frames_only = torch.ones(T, 1, 1, dtype=torch.bool)
video.attention_stages({
    "Model 1\njoint": [("every layer", joint, asks)],
    "Model 2\ntwo encoders": [
        ("12 layers", space, asks), ("4 layers, a frame = a token", frames_only, (1, 0, 0))
    ],
    "Model 3\ntwo steps": [("each layer, first", space, asks), ("then", time, asks)],
    "Model 4\nsplit heads": [("half of the heads", space, asks), ("+ the others", time, asks)],
})

# %% [markdown]
# * **Model 1** is ViT on more tokens.
# * **Model 2** looks at each frame to the end, boils it down to *one* token, and only then looks along time:
#   late fusion.
# * **Model 3** takes both steps in every layer. It is TimeSformer's *divided*, in the other order.
# * **Model 4** takes both at once: half of the heads see space, the others time. It has no more
#   weights than Model 1. (Slides often show only the first three.)

# %% [markdown]
# ## 6 · What it costs
#
# Count the pairs of TimeSformer's grid, 8 frames of 14 × 14, and let the networks themselves be counted:
# parameters beside the paper's table 1, and multiply-adds for one clip. Which scheme do you expect to be the
# cheapest?

# %%
big = masks_of(8, 14, 14)  # N = 1568
table_1 = {"space": 85.9, "joint": 85.9, "divided": 121.4, "local_global": 121.4, "axial": 156.8}
counted = budget(tiny=["divided"], cpu=list(SCHEMES))
print(f"{'':13} {'pairs a block':>13} {'parameters (paper)':>20} {'multiply-adds':>14}")
for name in counted:
    pairs = sum(int(big[step].sum()) for step in SCHEMES[name])
    ours = card(f"timesformer_{name}")
    size = f"{ours.parameters / 1e6:.1f}M ({table_1[name]}M)"
    print(f"{name:13} {pairs:13,} {size:>20} {ours.macs / 1e9:13.1f}G")

# %% [markdown]
# The parameters agree, all five. *Space only* is the cheapest; it is ViT on each frame and a mean. And there
# is a surprise: **divided has 8 times fewer pairs than joint, and more multiply-adds.** Axial has 44 times
# fewer pairs, and is the most expensive of all! The pairs are not the bill. Every additional step brings its
# own maps for q, k, v and the output, and these cost the same however few tokens it looks at:

# %%
print(compare("timesformer_joint", "timesformer_divided"))

# %% [markdown]
# So when does dividing pay? When there are many tokens, since pairs grow with their square. We count both for
# longer and longer clips:

# %%
lengths = budget(tiny=[8], cpu=[4, 8, 16, 32, 64])

@cache
def macs_of(scheme, frames):
    with torch.device("meta"):
        model = create_model(f"timesformer_{scheme}", num_frames=frames)
    return count_macs(model, 1, frames, 3, 224, 224) / 1e9

lines = {scheme: [macs_of(scheme, frames) for frames in lengths] for scheme in ("joint", "divided")}
plots.curves(lengths, lines, log="xy", xlabel="frames of 224 × 224", ylabel="billion multiply-adds")

# %% [markdown]
# **Question 14.4** *Change the lengths*: from how many frames on is divided the cheaper one? Predict it
# first: a joint layer costs 12 N D² + 2 N · N · D; a divided one has 5 N D² more in linear maps (four for
# the second attention, one that TimeSformer adds), and of pairs only N (T + 196). D = 768, N = 196 T.
#
# ### ViViT's table 2, run again
#
# 32 frames in tubelets of 2 × 16 × 16, so 16 moments of 196 places:

# %%
table_2 = {1: (88.9, 455.2), 2: (115.1, 284.4), 3: (117.3, 372.3), 4: (88.9, 277.1)}  # M, G
cards = {number: card(f"vivit_model{number}") for number in budget(tiny=[2], cpu=[1, 2, 3, 4])}
for number, ours in cards.items():
    parameters, macs = table_2[number]
    print(f"Model {number}   {ours.parameters / 1e6:6.1f}M (paper {parameters}M)   "
          f"{ours.macs / 1e9:6.1f}G (paper {macs}G, {ours.macs / 1e9 / macs - 1:+.1%})")
cards[2]

# %% [markdown]
# The weights agree with the paper's (89.0 is 88.95, which it cuts off), the work to 1 %: we count products
# and convolutions, the authors' counter a little more. But the card of Model 2 knows of a slide deck that
# prints 100.7M. That cannot be: with 12 + 4 layers it is 115M; with two layers over time instead of four it
# would be 100.9M. Checking a printed number takes one line, and is worth it.
#
# And what does it buy? Table 2, Kinetics-400 and Epic Kitchens (top-1): Model 1 80.0 and 43.1 %, Model 2 78.8
# and 43.7 %, Model 3 77.4 and 39.1 %. On the large set, joint wins; on the small one, the cheap Model 2 does,
# which in the authors' measurement also ran 3.4 times faster (17.4 instead of 58.9 ms on a TPU).
#
# ### Once more with views
#
# At test time a clip is looked at several times, in several *views* (crops and starting points), and that
# multiplies the bill. TimeSformer's table 2 prints 0.59 TFLOPs where SlowFast has 1.97. Do they agree with
# what we count?

# %%
with torch.device("meta"):
    slowfast = create_model("slowfast_r50")  # 8 slow and 32 fast frames
one_view = {"TimeSformer": macs_of("divided", 8), "SlowFast": count_macs(slowfast, 1, 32, 3, 256, 256) / 1e9}
views = {"TimeSformer": 3, "SlowFast": 30}
{f"{name}, {n} views": f"{n * one_view[name] / 1000:.2f} T" for name, n in views.items()}

# %% [markdown]
# They do. But read what it says: *one* view of TimeSformer is 196G, one of SlowFast 66G, at 256 × 256 pixels.
# The transformer is three times dearer a view, and is shown three views where the ConvNet is shown thirty.
# Also quoted there: 416 hours of training against 3,840, for 75.8 and 75.6 % with the same pre-training on
# ImageNet-1k. (A "FLOP" in these tables is one multiply-add.)

# %% [markdown]
# ## 7 · Three ceilings
#
# Back to the sliding digits, and to *order*. Before any training we can say how good a network can become at
# most. Three predictions:
#
# 1. **It sees the middle frame only.** Where can the digit be in it? Anywhere in a square of 5 × 5 places,
#    whatever the motion. There is nothing to go by: **25 %**.
# 2. **It sees all frames, but not their order.** *Right* and *left* show the same set of frames, and so do
#    *down* and *up*. It can find the axis, and must toss a coin for the direction: **50 %**.
# 3. **It sees frames and order.** No ceiling.
#
# The first can be counted. Below, for each motion, the places where the digit's corner can be (1), all
# equally likely; the best guess at a place is the likeliest motion there. The knob chooses the frame.

# %%
def places_in(frame):
    """For each motion the chance of each corner place in that frame: name -> (9, 9), rows y, columns x."""
    chances = {}
    for motion, (x, y) in {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}.items():
        left, top = 2 + (frame - 2) * x, 2 + (frame - 2) * y
        chances[motion] = torch.zeros(9, 9)
        chances[motion][top : top + 5, left : left + 5] = 1 / 25
    return chances

def ceiling(frame):
    return torch.stack(list(places_in(frame).values())).amax(dim=0).sum().item() / 4

def drawn(frame):
    possible = {f"{motion}, frame {frame}": chance > 0 for motion, chance in places_in(frame).items()}
    return plots.token_maps({title: places.long() for title, places in possible.items()}, heat=True)

turn(drawn, frame=[2, 3, 4, 0, 1])
f"from frame 2 alone: at most {ceiling(2):.0%}"

# %% [markdown]
# **Question 14.5** *Turn the knob to frame 0.* Is the first frame as blind as the middle one? Predict
# `ceiling(0)`, then run it.
#
# Now measure. The network is ViViT's Model 2 at the size of these clips: each frame becomes one token by a
# transformer layer, then a layer looks along the five frames. We take away what the predictions speak of:

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

class OneFrame(nn.Module):
    """Shows a network one frame of the clip: (B, T, C, H, W) -> (B, 4)."""

    def __init__(self, network, frame=2):
        super().__init__()
        self.network, self.frame = network, frame

    def forward(self, clips):
        return self.network(clips[:, self.frame : self.frame + 1])

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

# %%
two = {kind: seen_so_far["curve"][kind] for kind in list(CONTENDERS)[2:]}
plots.curves(seen_so_far["steps"][0], two, xlabel="step", ylabel="accuracy",
             levels={"one frame: 25 %": 0.25, "no order: 50 %": 0.5})

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
# A theorem cannot be trained away. This is lecture 3's section 8 again: attention knows no order, a mean
# knows none either, so somebody has to tell.
#
# Keep these ceilings in mind when you read TimeSformer's table 1, top-1 in %:
#
# | | space | joint | divided | local + global | axial |
# |---|--:|--:|--:|--:|--:|
# | Kinetics-400 | 76.9 | 77.4 | **78.0** | 75.9 | 73.5 |
# | Something-Something v2 | 36.6 | 58.5 | **59.5** | 56.3 | 56.2 |
#
# One column falls out of line, in one row. The homework asks you why.
#
# **What this shows, and what it does not.** The hand-made kernels of section 2 had all clips right without
# any training, so these clips are no test of who is best. They are made to have *one* question in them,
# order, and to make blindness visible. One seed each. With an earlier version of these clips, 8 frames and a
# walk that wraps around the edge, such a network stayed at 50 % even *with* the time code and three times as
# long a training; we do not know why. A ceiling says what cannot be; it does not promise that
# all below it is easy.

# %% [markdown]
# ## 8 · Small data sets
#
# ViViT has the appetite of ViT, and video sets are small. What helped on Epic Kitchens, one thing after the
# other (table 4, Model 2, top-1)? Guess, before you look: which of these five brings the most: starting from
# Kinetics, stochastic depth, RandAugment, label smoothing, mixup?

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
# No step is large; together they are 5.3 points, 4.1 of them without any further data. Label smoothing brings
# the most here. (It was added fourth: a table in which each row contains those above does not say what each
# would bring alone.)
#
# In our recipes each of them is a word. Let us try one, where it is easy to see: only **200 clips** instead
# of 4,000, for the last network of section 7. Mixup lays two clips over each other, one going left and one
# going up, say, and asks for both answers in proportion. Does the network stay above the second ceiling, 50
# %? And what will mixup do, help or blur? *(Price: about 18 seconds of a CPU core; GPU not measured.)*

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
# Both break the ceiling. Plainly trained, the network stops at about six in ten: it knows its 200 clips
# by heart. With mixup no batch ever comes twice, and more than nine in ten are right, from the same clips.
# (With 300 steps, seeds 0, 1, 2: 71, 73, 75 % plain; 98, 95, 98 % with mixup.) Thirty points here and
# 0.6 on Epic Kitchens: what a regulariser brings depends on what is lacking.
#
# **Question 14.6** The table begins with *flip*. Train the last network of section 7 with
# `recipe.but(augment=("random_flip",))`, which mirrors half of the clips left to right and leaves the labels
# alone. Predict the accuracy on the four motions.
#
# ## Answers
#
# <details><summary>14.1 · opponent kernels</summary>
#
# With `relu() ** 2` nearly all remain right (99 %). With the plain square it falls to one half (49 %): the
# kernel for *right* is now minus the kernel for *left*, it answers −r where the other answers r, and squaring
# forgets the sign. So it finds the axis and not the direction: the second ceiling of section 7, built by
# hand.
# </details>
#
# <details><summary>14.2 · alpha = 4</summary>
#
# 10.5 %: the fast pathway does what it did, the slow one twice as much. The paper's 20 % belongs to its 4
# slow frames (α = 8, β = 1/8).
# </details>
#
# <details><summary>14.3 · other schemes</summary>
#
# `("time", "height")`: never; no step ever moves sideways. `("local",)`: never, the quarters stay apart.
# `("global",)`: never, odd and even stay apart, as on a chessboard. Only together do they reach all.
# `("width", "time", "height")` is axial in another order: one block, since every axis is there once.
# </details>
#
# <details><summary>14.4 · when does dividing pay?</summary>
#
# Divided is cheaper if 2 D N (N − T − 196) > 5 N D², so if N − T − 196 > 2.5 D = 1920, which is T > 10.85:
# from 11 frames on. Running it: at 10 frames 238.6G joint and 244.8G divided, at 11 frames 270.2G and 269.4G.
# At 96 frames joint costs 3.4 times as much.
# </details>
#
# <details><summary>14.5 · the first frame</summary>
#
# No: `ceiling(0)` is 65 %. What will move right starts further left. The four squares overlap only in part:
# 65 places are possible in all, each with 1/25 of its motion, so 65 / 25 / 4. Train
# `MiddleFrame(small_vivit(num_frames=1), frame=0)`: ours got 63 %. Such a leak is easily built into a data
# set, and found by asking what *one frame* can do.
# </details>
#
# <details><summary>14.6 · flips</summary>
#
# About three quarters at most: *down* and *up* are untouched by a mirror, but every second *right* now shows
# a motion to the left, so their labels are coin tosses. Ours got 65 % (93 % of up and down,
# 39 % of right and left). On Epic Kitchens a mirrored "cut
# the onion" is still cutting an onion. Whether an augmentation is harmless depends on the question.
# </details>

# %% [markdown]
# ## Summary
#
# 1. **A clip adds change and order.** Motion is a slanted stripe in space-time; a 3-D kernel, a flow or a
#    second frame rate can see it.
# 2. **Tokens are patches of kept frames, or tubelets.** Start tubelet filters so that a still clip gives the
#    image model's token; best as the central frame.
# 3. **Who looks at whom is a mask**: joint, or space and time in turn, in two encoders, in two halves of the
#    heads. Two cheap looks reach everything that one dear look does.
# 4. **Pairs are not the bill.** Divided attention has 8 times fewer pairs than joint and costs more at 8
#    frames; it pays from 11 frames on.
# 5. **Order must be given.** One frame 25 %, no order 50 %, a time code and no ceiling: predicted, then
#    measured.
#
# ## To revise from
#
# | figure or cell | what it shows |
# |---|---|
# | 1, film strips | one frame says nothing, five say it all |
# | 2, x over t | velocity is a slant; kernels by hand, all clips right |
# | 2, three layers | a box costs 3 ×, the split one 1⅓ × |
# | 3, arrows | flow: the shift that fits best, patch by patch |
# | 3, SlowFast | 8 × the frames, 1/8 of the channels, a fifth of the work |
# | 4, two rows of frames | frame sampling and tubelets; filters and tokens on numbers |
# | 5, three masks | joint, space, time, as matrices; groups compute the same |
# | 5, knob | TimeSformer's five schemes around any token |
# | 5, four rows | ViViT's Models 1 to 4 |
# | 6, table and curve | pairs, parameters, work; the crossing at 11 frames |
# | 7, bars and curve | three ceilings |
# | 8, steps and curve | what regularisation adds up to on a small set; mixup with 200 clips |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Write a kernel for digits that move *diagonally*, and clips to test it on. | 15 |
# | 2 | ●○○ Let `flow_between` decide the motion of all test clips (the mean arrow). How many are right? Make the noise larger until it fails. | 15 |
# | 3 | ●●○ Train `vivit_digits` (Model 1) and `vivit_digits_model3` on the motions, with positions drawn at 0.5. Which needs the fewest steps? | 20 |
# | 4 | ●●○ Ask for the digit, `learn.ask("digit")`, of the four networks of section 7. Which ceilings do you predict? | 15 |
# | 5 | ●●○ Train section 8's network on 200 clips with `label_smoothing=0.2`, then with `drop_path=0.2`. Try three seeds before you conclude anything. | 20 |
# | 6 | ●●● Draw the sparse masks of your own scheme (a band in time and a window in space, say), count its pairs, and find with `blocks_until_all` how deep it must be. | 30 |
#
# Then build it: [hw6 · ViViT](../assignments/hw6_vivit/hw6_vivit.ipynb).
#
# ## References
#
# * A. Arnab, M. Dehghani, G. Heigold, C. Sun, M. Lučić, C. Schmid. *ViViT: A Video Vision Transformer.* ICCV
#   2021. [arXiv:2103.15691](https://arxiv.org/abs/2103.15691). Sections 3.2 to 3.4: tokens, the four models,
#   initialisation; tables 1, 2 and 4 are quoted here.
# * G. Bertasius, H. Wang, L. Torresani. *Is Space-Time Attention All You Need for Video Understanding?* ICML
#   2021. [arXiv:2102.05095](https://arxiv.org/abs/2102.05095). Section 3: the five schemes; tables 1 and 2.
#   For local + global and axial there is neither code nor a listing; ours is one reading that has the
#   paper's number of parameters.
# * C. Feichtenhofer, H. Fan, J. Malik, K. He. *SlowFast Networks for Video Recognition.* ICCV 2019.
#   [arXiv:1812.03982](https://arxiv.org/abs/1812.03982). Section 3.
# * K. Simonyan, A. Zisserman. *Two-Stream Convolutional Networks for Action Recognition in Videos.* NIPS
#   2014. [arXiv:1406.2199](https://arxiv.org/abs/1406.2199). Table 4.
# * J. Carreira, A. Zisserman. *Quo Vadis, Action Recognition?* CVPR 2017.
#   [arXiv:1705.07750](https://arxiv.org/abs/1705.07750). Inflated filters.
# * D. Tran, H. Wang, L. Torresani, J. Ray, Y. LeCun, M. Paluri. *A Closer Look at Spatiotemporal
#   Convolutions for Action Recognition.* CVPR 2018. [arXiv:1711.11248](https://arxiv.org/abs/1711.11248).
#   The split kernel.
# * E. H. Adelson, J. R. Bergen. *Spatiotemporal energy models for the perception of motion.* Journal of the
#   Optical Society of America A 2(2), 1985. Section 2's idea.
