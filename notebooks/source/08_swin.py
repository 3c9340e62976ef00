# %% [markdown]
# # 8 · Swin: windows that move
#
# | | |
# |---|---|
# | **You will understand** | why one coarse map of tokens is not enough for detection and segmentation; how windows make attention linear in the number of tokens; what the shift, its mask, the relative position bias and merging are for, and what each is worth |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb), above all its masks and its costs; [5 · The vision transformer](05_vision_transformer.ipynb) |
# | **It takes** | {reading time}; all cells together run in under a minute and a half on two CPU cores |
# | **Before · after** | 7 · Training with less data · **8 · Swin** · 9 · The ViT–CNN spectrum |
# | **Homework** | [hw3 · Swin](../assignments/hw3_swin/hw3_swin.ipynb): you build it, and load the public weights into it |

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import swin as draw
from course.knobs import turn
from course.models import card, compare, create_model
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Why a pyramid?
#
# A ViT says what is *in* an image. Many questions are about *where*: draw a box around each person, colour
# each pixel by what it belongs to. This is called **dense prediction**, and for it a ViT/16 has two
# weaknesses.
#
# * **Its map is coarse, and there is only one.** 14 × 14 tokens, from the first layer to the last. A person
#   far away is smaller than a token; a person nearby is two hundred tokens.
# * **A finer map is out of reach.** Patches of 4 pixels make 56 × 56 = 3136 tokens, sixteen times as many;
#   and since every token looks at every other (lecture 3, section 9), 256 times as many pairs.
#
# CNNs never had this trouble: they begin fine and local, and end coarse and global. Swin (Liu and others
# 2021) gives a transformer the same shape. Here is one photograph as both networks cut it.

# %%
from sklearn.datasets import load_sample_image  # "china.jpg", photograph by danielbuechele, CC BY 2.0

photo = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[:, :, 100:527]  # (C, 427, 427)
photo = F.interpolate(photo[None].float(), 224, mode="bilinear", antialias=True)[0].byte()  # (C, H, W)
grids = {"ViT-B/16, all layers": (14, 14), "Swin, stage 1": (56, 7), "stage 2": (28, 7), "stage 3": (14, 7)}
draw.token_grids(photo, grids | {"stage 4": (7, 7)})

# %% [markdown]
# Two grids lie on each picture. White: **tokens** (drawn inside one window only). Orange: **windows**, inside
# which attention happens. Swin has four **stages**. From one to the next, the tokens get twice as wide in
# pixels, and a window always has 7 × 7 tokens: so the windows grow over the image, until the last one covers
# it all. The networks themselves agree:

# %%
with torch.device("meta"):  # shapes only: nothing is computed
    for name in ("vit_b16", "swin_t"):
        maps = create_model(name).features(torch.empty(1, 3, 224, 224))
        print(f"{name:8}", *[tuple(x.shape) for x in maps])

# %% [markdown]
# The ViT gives one list of 197 tokens, 196 patches and a class token, (B, N, D). Swin gives four maps, (B, H,
# W, D), each half the side and twice the width of the last. A detector or a segmenter built for the pyramid
# of a ResNet can stand on them as it is (lecture 15).
#
# What changed, in one table:

# %%
compare("vit_b16", "swin_t")

# %% [markdown]
# Read it from the top: small patches in the **stem**; **windows**, plain and shifted in turns, for the token
# mixer; no class token but the mean; no position codes added to the tokens; **merging** between stages. The
# MLP is not in the table because nothing about it has changed. The rest of the lecture takes these one by
# one.

# %% [markdown]
# ## 2 · Windows: each token meets M² others, not all
#
# We go back to the images of lecture 3, with their question: *in which direction does the blue ring lie, seen
# from the red plus?* 32 × 32 pixels in patches of 4 are a map of H × W = 8 × 8 tokens. Windows of M × M = 4 ×
# 4 tokens cut it into four.

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000)).ask("relation")
test = load("two_questions", "test", size=budget(tiny=50, cpu=500)).ask("relation")
image = test.images[3].cpu()
plots.windows_on_image(image, [(8, 8), (8, 24), (24, 8), (24, 24)], size=16)

# %% [markdown]
# The idea takes one line. Each window is treated like an image of its own, with the *same* weights: cut the
# map into windows, let the windows stand in the batch axis, do ordinary attention, put the map together
# again. How the cut is done with axes is yours to find (homework, exercise 1); here we ask what it saves.
#
# **On paper.** A map of N = H·W tokens of width D (Liu and others 2021, equations 1 and 2; they write h, w,
# C):
#
# $$\Omega(\text{MSA}) = \underbrace{4ND^2}_{\text{four maps: q, k, v, out}} + \underbrace{2N^2D}_{\text{all pairs, twice}}
# \qquad \Omega(\text{W-MSA}) = 4ND^2 + \underbrace{2M^2ND}_{\text{each token with } M^2}$$
#
# **Predict** before you run on: Swin-T's first stage has 56 × 56 tokens, D = 96, M = 7. By what factor do
# windows reduce the pairs? By what factor the whole layer?

# %%
from torch.utils.flop_counter import FlopCounterMode
from course.models.token_mixers.window import WindowAttention

def counted_macs(side, window, dim=96):
    """Multiply-adds of one layer, counted while it runs; window = side: all pairs."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        layer = WindowAttention(dim, grid=(side, side), num_heads=3, window_size=window)
        layer(torch.empty(1, side, side, dim))  # (B, H, W, D)
    return counter.get_total_flops() // 2

whole, windows = counted_macs(56, 56), counted_macs(56, 7)
print(f"all pairs {whole / 1e9:.3f} G, windows {windows / 1e9:.3f} G: {whole / windows:.1f} times less")

# %% [markdown]
# The pairs become fewer by 3136 / 49 = 64; the layer cheaper by not quite 14, since the four maps stay. And
# the formula? Take the maps away from what was counted, divide by 2·N·D, and what is left must be *the number
# of tokens that each token meets*:

# %%
for name, macs in {"all pairs": whole, "windows": windows}.items():
    print(f"{name}: each token meets {(macs - 4 * 3136 * 96**2) / (2 * 3136 * 96):.0f}")

# %% [markdown]
# Now let the image grow. The side of the map doubles, so N is four times as large: the windows cost four
# times as much, all pairs up to sixteen times.

# %%
sides = [14, 28, 56, 112, 224]  # tokens on a side
work = {"all pairs": [counted_macs(n, n) / 1e9 for n in sides],
        "windows of 7 × 7": [counted_macs(n, 7) / 1e9 for n in sides]}
plots.curves(sides, work, log="xy", xlabel="side of the map, tokens",
             ylabel="10⁹ MACs of one layer, D = 96", marks={"Swin-T, stage 1": (56, windows / 1e9)})

# %% [markdown]
# And memory, which ran out first in lecture 3. PyTorch tells us what it keeps of a layer for the backward
# pass. Among those tensors we look for the weights of attention: (…, N, N), or (…, windows, h, M², M²).

# %%
def kept_weights(side, window):
    """Bytes of attention weights that a layer of 3 heads keeps for one image."""
    kept = []
    def note(x):
        if x.ndim > 3 and x.shape[-1] == x.shape[-2]:
            kept.append(x.nbytes)
        return x
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        layer = WindowAttention(96, grid=(side, side), num_heads=3, window_size=window)
        layer(torch.empty(1, side, side, 96))  # (B, H, W, D)
    return sum(kept)

memory = {"all pairs": [kept_weights(n, n) / 2**20 for n in sides],
          "windows of 7 × 7": [kept_weights(n, 7) / 2**20 for n in sides]}
plots.curves(sides, memory, log="xy", xlabel="side of the map, tokens", ylabel="MiB, one layer, one image",
             levels={"a GPU of 80 GB": 80e9 / 2**20})

# %% [markdown]
# At 224 × 224 tokens, an image of 896 pixels, all pairs of *one layer* take 28 GiB, the windows 28 MiB.
#
# **A slide says** that Swin is linear in the size of the image "because the number of patches is fixed". As it
# stands this is wrong: patches have a fixed size in *pixels*, so a larger image has more of them. Something else
# is fixed. Look at the formula and say it right; homework 3 asks you to.
#
# **Question 8.1** Double the window instead: change 7 into 14 in `counted_macs(56, 7)` and in
# `kept_weights(n, 7)`. By which factor do pairs and memory grow? What is left of the saving?
#
# <details><summary>Answer</summary>
#
# Each token meets 196 instead of 49: pairs and memory are 4 times as many, at *every* image size; the line
# keeps its slope and moves up. The layer as a whole goes from 0.145 to 0.234 G, by 1.6 only, because at M = 7
# the four maps are four fifths of the work (2 M² = 98 against 4 D = 384). All pairs would still be 8.6 times
# dearer.
# </details>

# %% [markdown]
# ## 3 · Windows do not talk
#
# There is a price. In the picture of section 2 no window shows both glyphs, and attention inside windows will
# never bring them together. Another layer of the same windows does not help, nor ten.
#
# To follow who can hear of whom, write down *who meets whom*: a matrix (N, N), True where two of the 64
# tokens share a window. After two layers i has heard of j if there is someone in between whom i meets in the
# second layer and who met j in the first: a matrix product.

# %%
def meet(shift):
    """(N, N): which of the 8 × 8 tokens share a window of 4 × 4, if the windows are moved by `shift`."""
    piece = draw.pieces(side=8, window=4, shift=shift).flatten()  # (N,): the number of each token's window
    return piece[:, None] == piece[None, :]

def heard(*shifts):
    """(N, N): [i, j] is True if token i has heard of token j after layers with these shifts."""
    so_far = torch.eye(64)  # (N, N): at first, of oneself only
    for shift in shifts:
        so_far = (meet(shift).float() @ so_far > 0).float()
    return so_far.bool()

# %% [markdown]
# Swin's answer: in every second layer the windows are **moved** by s = M/2 tokens, down and to the right,
# across the old borders. Below, what the token of the plus (orange) has heard of the ring (blue) after some
# layers. **Predict** the last picture: three layers, of which the second is shifted.

# %%
def token_of(score, H=8):
    """(B, 32, 32) -> (B,): of H × H tokens, the one with the highest mean score."""
    means = reduce(score, "b (h p) (w q) -> b (h w)", "mean", h=H, w=H)  # (B, N)
    return means.argmax(dim=1)

pixels = test.images.cpu().float()  # (B, C, H, W)
plus, ring = token_of(pixels[:, 0] - pixels[:, 2]), token_of(pixels[:, 2] - pixels[:, 0])  # reddest, bluest
stacks = {"plain": (0,), "plain, plain": (0, 0), "plain, shifted": (0, 2),
          "plain, shifted, plain": (0, 2, 0)}
seen = {name: heard(*shifts)[plus[3]].view(8, 8) for name, shifts in stacks.items()}
draw.reach(image, seen, query=divmod(int(plus[3]), 8), target=divmod(int(ring[3]), 8))

# %% [markdown]
# One shifted layer opens the door to the neighbour, one more plain layer the whole map. No layer compares
# more than 16 tokens. In how many of *all* test images has the plus heard of the ring?

# %%
for name, shifts in stacks.items():
    print(f"{name:22} {heard(*shifts)[plus, ring].float().mean():6.1%}")

# %% [markdown]
# The ring's news has to be *handed on*: some token that shares a plain window with the ring hears of it
# first, and tells it in the shifted window. These percentages are a prediction for section 7, where we train.
# A network in which the plus never hears of the ring can only guess, whatever its weights are.
#
# **Question 8.2** Change the shift from 2 to 1, then to 3, in the last two of `stacks`. Is M/2 the best?
#
# <details><summary>Answer</summary>
#
# After two layers plus and ring have met in 40 % with a shift of 1 and in 48 % with 3, against 38 %: the one
# window that holds four old ones then lies nearer to an edge, and that is where two glyphs far apart tend to be.
# After three layers it is 100 % for all of them. In general nobody knows where the objects are; M/2 treats both
# sides of an old border alike.
# </details>

# %% [markdown]
# ## 4 · Cyclic shift and mask: four windows instead of nine
#
# Moved windows stick out over the edges. What is inside the map are *nine* pieces of four sizes, and pieces
# of different sizes do not fit one tensor.
#
# Swin leaves the windows where they are and moves the **map** under them, up and to the left, like a
# treadmill: what leaves at one edge comes in at the other. There are four full windows again. But some of
# them now hold pieces that were never neighbours, so a **mask** (lecture 3, section 7) forbids those pairs.
# After attention the map is rolled back. Follow one letter from picture 1 to 2, then find its colour in 3.
# Then turn the knob.

# %%
turn(lambda shift: draw.shift_steps(image, side=8, window=4, shift=shift), shift=[2, 0, 1, 3])

# %% [markdown]
# How to read the matrices: 16 rows and 16 columns are the tokens of one window, in reading order. *Top left*
# holds piece E only: everybody may look at everybody. *Bottom right* holds I, G, C and A, the four corners of
# the image: its matrix falls into four parts that do not see each other. The colours in the row of a query
# tell which piece it is in.
#
# The masked pairs are computed and thrown away. Count them: 4 · 256 pairs, of which at s = 2 only 576 are
# allowed, little more than half. On a real map the seam is a small part:

# %%
from course.models.token_mixers.window import shift_mask

mask = shift_mask((56, 56), window_size=7, shift=3)  # (windows, M², M²): 0 where allowed, -100 where not
f"{(mask == 0).float().mean():.1%} of the pairs of Swin-T's first stage are allowed"

# %% [markdown]
# Does it do what we say? Ask a real layer: which tokens can change the output of the corner token (0, 0)? The
# gradient tells. Left with the mask, right with the same layer after we have thrown its mask away.

# %%
def listens_to(layer, row, column):
    """(H, W): which tokens of an 8 × 8 map the output of one token depends on."""
    x = torch.randn(1, 8, 8, 12, requires_grad=True)  # (B, H, W, D)
    layer(x)[0, row, column].sum().backward()
    return x.grad[0].abs().sum(dim=-1) > 1e-12

shifted = WindowAttention(12, grid=(8, 8), num_heads=3, window_size=4, shift=2)
with_mask = listens_to(shifted, 0, 0)
shifted.mask = None
draw.reach(image, {"with its mask": with_mask, "mask thrown away": listens_to(shifted, 0, 0)}, query=(0, 0))

# %% [markdown]
# Without the mask the top left corner listens to the other three corners of the image, and the bias of the
# next section would tell it that they are next door. Nothing fails, no shape is wrong. Such mistakes are
# found by looking, or by a test.
#
# **Question 8.3** Ask for another token than the corner: (3, 3), then (0, 4). Before you run: find its piece in
# the picture with the letters. How many tokens does it hear, with and without the mask?
#
# <details><summary>Answer</summary>
#
# (3, 3) lies in piece E, which fills its window: 16 tokens either way. (0, 4) lies in piece B, 2 rows of 4: 8
# tokens with the mask. Without it 16, and the other 8 are piece H, from the lower edge of the image.
# </details>

# %% [markdown]
# ## 5 · Relative position bias: "one to the left of me"
#
# Inside a window attention is blind to order, like any attention (lecture 3, section 8). ViT adds a code of
# the *absolute* place to each token. In a window what matters is the place of the key **relative to the
# query**. Swin adds to each score a learned number that depends on that displacement, and on nothing else
# (equation 4):
#
# $$\operatorname{softmax}\!\left(\frac{qk^\top}{\sqrt d} + B\right)v$$
#
# In a window of 3 × 3 a key can lie from 2 rows above to 2 rows below, and from 2 columns left to 2 right: 5
# × 5 = 25 displacements, for 81 pairs. So the numbers stand in a **table** of 25, and an **index** says which
# entry a pair uses. Turn the knob and watch the coloured block move.

# %%
turn(lambda query: draw.bias_lookup(window=3, query=query), query=[4, 0, 1, 2, 3, 5, 6, 7, 8])

# %% [markdown]
# Each query cuts its own 3 × 3 piece out of the one table. The pair (4, 3) and the pair (5, 4), both "one to
# the left", use the same entry, 13. So what is learned about "left" in one place holds in all, as in a
# convolution. The piece stands upside down and mirrored, because the displacement points from the key to the
# query.
#
# Does it cure the blindness? Shuffle the 16 tokens of a window, before or after attention, as in lecture 3:

# %%
layer = WindowAttention(12, grid=(4, 4), num_heads=3, window_size=4)
tokens, shuffle = torch.randn(1, 4, 4, 12), torch.randperm(16)
shuffled = lambda x: x.flatten(1, 2)[:, shuffle].view(1, 4, 4, 12)
for name, size in {"no bias": 0.0, "a bias of spread 1": 1.0}.items():
    layer.bias_table.data = size * torch.randn(49, 3)  # ((2M - 1)², h)
    difference = (layer(shuffled(tokens)) - shuffled(layer(tokens))).abs().max()
    print(f"{name:18} shuffled before or after: {difference:.0e}")

# %% [markdown]
# Without it, only rounding. With it, order counts.
#
# **Question 8.4** Replace 49 by the right number and `window_size=4` and `grid=(4, 4)` by windows of 3. And in
# Swin-T's first layer, M = 7 and 3 heads: how many numbers does it learn for positions? How many, if each pair
# had its own?
#
# <details><summary>Answer</summary>
#
# (2·3 − 1)² = 25 (and `randperm(9)`, `view(1, 3, 3, 12)`, `tokens` of 3 × 3). Swin-T: 13² · 3 = 507; with one for
# each pair 49² · 3 = 7203. A table is also easy to enlarge when the windows grow: it is a small picture, and is
# interpolated like one (Liu and others 2021, section 3.2).
# </details>

# %% [markdown]
# ## 6 · Merging, and the whole network
#
# Between two stages, each square of 2 × 2 tokens becomes **one** token: the four stand side by side in the
# channels, 4D numbers, and a linear map makes 2D of them. Unlike pooling, nothing is averaged before the
# network has had its say. Below, the numbers name the tokens; the norm and the linear map of the real module
# are taken out, so that only the gathering is left.

# %%
from course.models.downsampling import PatchMerging

merge = PatchMerging(in_dim=1, dim=2, grid=(4, 6))
merge.norm = merge.reduction = nn.Identity()
before = torch.arange(24).view(4, 6)  # (H, W)
draw.merging(before, merge(before[None, :, :, None])[0])  # (H/2, W/2, 4D)

# %% [markdown]
# (The order in the stack, by columns, is a convention of the public weights. A network trained from scratch
# would not care.)
#
# Half the side, a quarter of the tokens, twice the width. What does that do to the cost of a stage? The four
# maps and the MLP take 12 N D² for each block: N falls to a quarter, D² grows fourfold. **A block costs about
# the same in all stages.**
#
# That is all of Swin. Its sizes, counted on our networks and printed in the paper (table 1):

# %%
printed = {"swin_t": "29M  4.5G", "swin_s": "50M  8.7G", "swin_b": "88M 15.4G", "swin_b_384": "88M 47.0G"}
for name, paper in list(printed.items())[:budget(tiny=1, cpu=4)]:
    ours = next(line for line in str(card(name)).splitlines() if line.startswith("ours"))
    print(f"{name:11} paper {paper}   {' '.join(ours.split())}")

# %% [markdown]
# They agree to the digits printed, but for one: 47.08 G would round to 47.1, and the paper prints 47.0.
# Swin-B is about as large as ViT-B, and at 384 pixels it needs 47.1 G against ViT-B's 55.4 G. That is no
# great saving: with 24 × 24 tokens of 16 pixels, ViT's four maps and MLP are most of its work anyway. What
# Swin buys is not so much a cheaper coarse map as a fine one that can be paid for.
#
# **Question 8.5** At 448 pixels, twice the side, what do Swin-T (4.49 G) and ViT-B (17.56 G) need? Predict, then
# change the number in the next cell.

# %%
from course.models.count import count_macs

size = 224
with torch.device("meta"):
    for name in ("swin_t", "vit_b16"):
        print(f"{name:8} {count_macs(create_model(name, img_size=size), 1, 3, size, size) / 1e9:.2f} G")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Swin-T 17.96 G: exactly four times, like the area. ViT-B 78.5 G, 4.5 times: at 785 tokens the pairs begin to be
# felt. (The last stage of Swin-T then has 14 × 14 tokens, four windows, and shifts too.)
# </details>

# %% [markdown]
# ## 7 · With and without the shift, against a ViT
#
# Now train. The question is *relation*, and we ask it densely: **the token of the plus must answer**, nobody
# else. (With a mean over all tokens, plus and ring could each cast a vote without ever meeting: lecture 3,
# section 11.) All networks have three blocks, D = 48 and a position code like that of lecture 3. They differ in one thing: who meets whom.

# %%
from course.models.backbone import Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.stems import sinusoidal

def where(D):
    """A position code, half of it for the row and half for the column: (H, W, D) = (8, 8, D)."""
    along = sinusoidal(torch.arange(8), D // 2, base=100.0)  # (8, D/2)
    rows, columns = along[:, None].expand(8, 8, -1), along[None].expand(8, 8, -1)
    return torch.cat([rows, columns], dim=2)

def swin_block(H, M, s, D=48):
    """One line of equation 3: attention in windows, then an MLP, on maps (B, H, H, D)."""
    attention = WindowAttention(D, grid=(H, H), num_heads=4, window_size=M, shift=s)
    attention.qkv.weight.data *= 2  # the text says why
    attention.proj.weight.data *= 3
    return Block(Residual(attention, nn.LayerNorm(D)), Residual(MLP(D, 2), nn.LayerNorm(D)))

# %%
class AskThePlus(nn.Module):
    """Images (B, C, 32, 32) -> logits (B, 10), read from the token of the plus."""

    def __init__(self, *blocks, D=48, last_D=48):
        super().__init__()
        self.embed = nn.Linear(3 * 4 * 4, D)  # a patch becomes a token
        self.code = nn.Parameter(where(D))  # (H, W, D)
        self.blocks = nn.Sequential(*blocks)
        self.answer = nn.Sequential(nn.LayerNorm(last_D), nn.Linear(last_D, 10))

    def forward(self, pictures):
        cut = rearrange(pictures, "b c (h p) (w q) -> b h w (c p q)", p=4, q=4)  # (B, H, W, 48)
        last = self.blocks(self.embed(cut) + self.code)  # (B, h, w, D)
        red = token_of(pictures[:, 0] - pictures[:, 2], last.shape[1])  # (B,): the plus
        everyone = torch.arange(len(last), device=red.device)
        return self.answer(last.flatten(1, 2)[everyone, red])  # (B, 10)

# %%
PATTERNS = {"plain, plain, plain": (4, (0, 0, 0)), "plain, shifted, shifted": (4, (0, 2, 2)),
            "plain, shifted, plain": (4, (0, 2, 0)), "ViT: all pairs": (8, (0, 0, 0))}

def network_of(pattern, seed):
    torch.manual_seed(seed)  # the first weights
    M, moves = PATTERNS[pattern]
    return AskThePlus(*[swin_block(8, M, s) for s in moves])

def trained(network, seed):
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=160), lr=6e-3, seed=seed)
    return fit(network, train, recipe, val=test, val_points=8, plot=False, progress=False)

def patterns(seed):
    found = {}
    for pattern in PATTERNS:
        network = network_of(pattern, seed)
        history = trained(network, seed)
        for block in network.blocks:
            block.token_mixer.branch.mask = None  # only now, after training
        found[pattern] = {"relation": history.final_accuracy, "curve": history.val_accuracy,
                          "mask forgotten": evaluate(network, test)}
    return found

# %%
learned = over_seeds("08_swin/patterns", patterns)

# %%
def without(seed):
    """Plain, shifted, plain, trained without a part of it."""
    found = {}
    for taken in ("mask", "relative bias", "position code", "position code and mask"):
        network = network_of("plain, shifted, plain", seed)
        for block in network.blocks:
            attention = block.token_mixer.branch
            if "mask" in taken:
                attention.mask = None
            if "bias" in taken:
                attention.bias_table.requires_grad_(False).zero_()
        if "code" in taken:
            network.code.requires_grad_(False).zero_()
        found[f"without {taken}"] = {"relation": trained(network, seed).final_accuracy}
    return found

parts = over_seeds("08_swin/without", without, live=False)

# %%
class AverageMerging(PatchMerging):
    """The mean of 2 × 2 tokens, then norm and linear layer."""

    def __init__(self, in_dim, dim, grid):
        super().__init__(in_dim, dim, grid)
        self.norm = nn.LayerNorm(in_dim)
        self.reduction = nn.Linear(in_dim, dim, bias=False)

    def forward(self, fine):  # (B, H, W, D) -> (B, H/2, W/2, 2D)
        mean = reduce(fine, "b (h p) (w q) d -> b h w d", "mean", p=2, q=2)  # (B, H/2, W/2, D)
        return self.reduction(self.norm(mean))

def merged(seed):
    found = {}
    for kind, between in {"merging": PatchMerging, "averaging": AverageMerging}.items():
        torch.manual_seed(seed)
        coarser = between(48, 96, (8, 8))  # (B, 8, 8, 48) -> (B, 4, 4, 96)
        last = swin_block(4, M=4, s=0, D=96)  # its one window is the whole map
        network = AskThePlus(swin_block(8, M=4, s=0), coarser, last, last_D=96)
        found[f"plain, {kind}, plain"] = {"relation": trained(network, seed).final_accuracy}
    return found

pyramids = over_seeds("08_swin/merged", merged, live=False)

# %% [markdown]
# The order is the predicted one, and that is the point: these networks have the same data, the same number of
# steps and, but for the bias table, weights of the same shapes.
#
# * **Never shifted**: about 35 %, whatever it learns. That is all that one's own place is worth.
# * **Plain, shifted, shifted**: well above it, and below its ceiling of 60 %. Two hops reach the ring in four
#   images of ten.
# * **Plain, shifted, plain**: clearly above both, with *fewer* shifts, but in the right place. It is not at
#   100 %: that a message *can* be handed on does not mean that training has learned to. A token in between must
#   learn to carry what only others need.
# * **All pairs**: one look, hence the easiest to learn. And on 64 tokens windows save little:

# %%
for name, window in {"windows": 4, "all pairs": 8}.items():
    print(f"{name:9} {counted_macs(8, window, dim=48) / 1e6:.2f} million multiply-adds a layer of attention")

# %% [markdown]
# So on small images a ViT is the better choice, and nobody would build a Swin for these. At 56 × 56 tokens
# all pairs cost 14 times as much; there the news that travels a little slower is a fair price. How they
# learned:

# %%
lines = {name: history.val_accuracy for name, history in learned.items()}
plots.curves(next(iter(learned.values())).val_steps, lines, xlabel="step", ylabel="accuracy",
             levels={"chance": 0.1})

# %% [markdown]
# The flat line is the network without a shift: more steps will not help it. One run, one seed, one small set;
# the paper's own test of the shift, on real images, comes next.

# %% [markdown]
# ## 8 · What the paper measured
#
# ImageNet, trained on its 1.28 million images only (Liu and others 2021, table 1a). Cost is counted, so we
# may draw it:

# %%
published = {
    "Swin": [("T", 4.5, 81.3), ("S", 8.7, 83.0), ("B", 15.4, 83.5), ("B, 384", 47.0, 84.5)],
    "DeiT": [("S", 4.6, 79.8), ("B", 17.5, 81.8), ("B, 384", 55.4, 83.1)],
    "RegNetY": [("4G", 4.0, 80.0), ("8G", 8.0, 81.7), ("16G", 16.0, 82.9)],
    "EfficientNet": [("B3", 1.8, 81.6), ("B4", 4.2, 82.9), ("B5", 9.9, 83.6), ("B6", 19.0, 84.0),
                     ("B7", 37.0, 84.3)],
    "ViT": [("B/16, 384", 55.4, 77.9)],
}
draw.accuracy_and_cost(published, xlabel="10⁹ multiply-adds", ylabel="ImageNet top-1, %")

# %% [markdown]
# Slides like to put Swin-B (83.5) beside ViT-B (77.9), and ask what you make of it. Three things:
#
# * **The recipe.** That ViT was trained without most of the augmentation that Swin had. DeiT-B *is* a ViT-B
#   with such a recipe. All at 384 pixels: ViT-B 77.9, DeiT-B 83.1, Swin-B 84.5. So 5.2 of the 6.6 points are
#   not the architecture's (lecture 7). With ImageNet-22K first, ViT-B has 84.0 and Swin-B 86.4 (table 1b).
# * **Multiply-adds are not time.** EfficientNet wins this picture, but by throughput in the same table B5
#   (83.6 %) runs 169 images a second and Swin-B (83.5 %) 278. And Swin-B at 384 runs 84.7 where ViT-B runs
#   85.9, with fewer multiply-adds.
# * **Numbers move.** The paper's table 8 prints 83.3 for the Swin-B whose 83.5 stands in table 1.
#
# What does each idea bring? Swin-T with one thing taken out (table 4):
#
# | | ImageNet top-1 | COCO box AP | COCO mask AP | ADE20K mIoU |
# |---|---:|---:|---:|---:|
# | Swin-T: shift, relative bias | **81.3** | **50.5** | **43.7** | **46.1** |
# | no shift | 80.2 | 47.7 | 41.5 | 43.3 |
# | no positions at all | 80.1 | 49.2 | 42.6 | 43.8 |
# | absolute positions instead | 80.5 | 49.0 | 42.4 | 43.2 |
# | absolute and relative | 81.3 | 50.2 | 43.4 | 44.0 |
#
# Without the shift ImageNet loses 1.1 points, and segmentation 2.8. To *classify*, merging brings everything
# together in the end anyway. To say what is *at a place*, the place itself must have heard of its
# surroundings: our section 7.
#
# Detection and segmentation are what it was built for (tables 2 and 3):
#
# | backbone | COCO, Cascade Mask R-CNN: box / mask AP | ADE20K, UperNet: mIoU |
# |---|---:|---:|
# | ResNet-50 | 46.3 / 40.1 | |
# | ResNet-101 | | 44.9 |
# | DeiT-S, with deconvolutions to make a pyramid | 48.0 / 41.4 | 44.0 |
# | Swin-T | 50.5 / 43.7 | 46.1 |
# | Swin-S | 51.8 / 44.7 | 49.3 |
#
# And why *shifted* windows, if each token could simply have a window around itself, like a convolution? That
# is as accurate (sliding windows: 81.4, table 6) but neighbouring queries then have different keys, and
# memory has to be gathered for each: 488 images a second with a kernel written for it, 755 with the cyclic
# shift (Swin-T on a V100, table 5). With padding instead of the cyclic shift it would be 670, without any
# shift 770.
#
# ### Three sentences on slides to be careful with
#
# * "Patch partition and linear embedding (with relative positional bias)": the bias is not in the embedding.
#   It is in the *scores* of every attention layer.
# * "Merging concatenates the patches in each window": in each square of **2 × 2**. An attention window has 49
#   patches.
# * "Linear because the number of patches is fixed": section 2.

# %% [markdown]
# ## Summary
#
# 1. **A pyramid serves dense prediction**: fine maps first, coarse ones later, four scales to build on. 2 × 2
#    tokens merge into one of twice the width, and each block costs about the same.
# 2. **Windows make attention linear in the number of tokens**: each meets M², whatever the size of the image.
#    14 times cheaper at 56 × 56 tokens, 64 times less memory for the weights.
# 3. **Windows do not talk, so they move** by M/2 in every second layer. News is handed on; after plain,
#    shifted, plain it is everywhere on our small map.
# 4. **Cyclic shift and mask are bookkeeping**: four full windows instead of nine odd ones, and −100 between
#    tokens that were never neighbours. Forget the mask, and opposite edges touch.
# 5. **Positions are displacements**: one learned number for each of (2M − 1)², added to the scores, the same
#    all over the image.
#
# ## To revise: which cell shows what
#
# * section 1: one photograph under both networks' grids; the shapes of their maps; `compare("vit_b16",
#   "swin_t")`
# * section 2: windows on an image; multiply-adds and memory counted, against the side of the map
# * section 3: who has heard of whom, as a matrix product; in how many images plus meets ring
# * section 4: the knob over the shift, pieces and masks; the corner that hears too much without its mask
# * section 5: the knob over the query, window and table; shuffled with and without the bias
# * section 6: merging in numbers; counted sizes beside the paper's
# * section 7: four patterns of windows trained, against what was predicted
# * section 8: the paper's tables, and what they do not say
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Predict, then train (section 7): shifts (2, 0, 2) and (0, 1, 0). | 10 |
# | 2 | ●●○ Take the two lines `*= 2` and `*= 3` out of `train_one` and give "plain, shifted, plain" 600 steps. When does it leave 35 %? Why does "all pairs" mind less? | 20 |
# | 3 | ●●○ Set the `code` of `AskThePlus` to zero and keep it there. Can the bias alone answer? What does the token of the plus know then? | 20 |
# | 4 | ●●○ On a map of 56 × 56 tokens with M = 7 and s = 3: after how many layers, plain and shifted in turns, has one corner heard of the other? Write `meet` for it (`draw.pieces` does the windows). Then: what does merging after two layers change? | 25 |
# | 5 | ●●● Put a `PatchMerging` between two plain blocks of `AskThePlus`, so that the second window covers the whole map (it has no `token_mixer` to make louder, and the plus is then one of 4 × 4 tokens). How many steps does it need? | 30 |
#
# Then build it all yourself: [hw3 · Swin](../assignments/hw3_swin/hw3_swin.ipynb).
#
# ## References
#
# * Z. Liu, Y. Lin, Y. Cao, H. Hu, Y. Wei, Z. Zhang, S. Lin, B. Guo. *Swin Transformer: Hierarchical Vision
#   Transformer using Shifted Windows.* ICCV 2021. [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). Cost:
#   equations 1 and 2; blocks: equation 3; bias: equation 4; sizes: section 3.3 and table 7; results: tables 1
#   to 3; ablations: tables 4 to 6; image sizes: table 8.
# * A. Dosovitskiy and others. *An Image Is Worth 16×16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). ViT-B/16 and its size: table 1.
# * H. Touvron and others. *Training Data-Efficient Image Transformers.* ICML 2021.
#   [arXiv:2012.12877](https://arxiv.org/abs/2012.12877). DeiT; its figures above are as Swin's table 1 prints
#   them.
# * P. Shaw, J. Uszkoreit, A. Vaswani. *Self-Attention with Relative Position Representations.* NAACL 2018.
#   [arXiv:1803.02155](https://arxiv.org/abs/1803.02155). Relative positions, before vision.
# * P. Ramachandran and others. *Stand-Alone Self-Attention in Vision Models.* NeurIPS 2019.
#   [arXiv:1906.05909](https://arxiv.org/abs/1906.05909). Windows that slide.
# * T.-Y. Lin and others. *Feature Pyramid Networks for Object Detection.* CVPR 2017.
#   [arXiv:1612.03144](https://arxiv.org/abs/1612.03144). What a detector does with four maps.
# * The photograph: "china.jpg" by danielbuechele, CC BY 2.0, as it comes with scikit-learn.
