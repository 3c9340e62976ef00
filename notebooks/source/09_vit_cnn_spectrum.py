# %% [markdown]
# # 9 · The ViT–CNN spectrum: between the two ends
#
# | | |
# |---|---|
# | **You will understand** | the five choices in which a ViT and a CNN differ; pyramids and PVT's cheaper attention; what a convolutional stem changes in training; four heads; networks that stack convolution and attention, and networks that mix them in one layer; how ConViT's gates move |
# | **You need** | [5 · The vision transformer](05_vision_transformer.ipynb); [8 · Swin](08_swin.ipynb); [2 · Beyond local](02_beyond_local.ipynb) for section 2 |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [8 · Swin](08_swin.ipynb) · **9 · The ViT–CNN spectrum** · [10 · All-MLP](10_all_mlp.ipynb) |

# %% tags=["setup"]
import torch
from einops import rearrange
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import spectrum as figures
from course.models import at_resolution, compare, create_model
from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import EarlyConvStem, PositionedPatchStem
from course.models.count import count_macs, count_parameters
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import entry
from course.models.spec import Pyramid, part
from course.models.stems import PatchEmbed, sinusoidal_2d
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Five choices
#
# In 2021 there were two ways to build a network for images. A CNN: convolutions in stages, on ever smaller maps. A
# ViT: attention on one grid of tokens. In the same year dozens of papers built something *between* the two, and each
# of them changed several things at once. Who wants to learn from them has to take them apart.
#
# Chen and others (2021) did this in a good way: they walked from DeiT to ResNet-50 in small steps, and called their
# result *Visformer*. A walk needs directions. There are five:
#
# 1. **Layout**: one grid of tokens from the first block to the last (*isotropic*), or **stages**, on ever smaller
#    and wider maps (a *pyramid*).
# 2. **Stem**: what makes the first tokens. Patches that lie side by side, or convolutions.
# 3. **Mixing of places**: attention, convolution, or both.
# 4. **Head**: what collects one answer from many places. A class token, the mean, or attention once more.
# 5. **Details**: norm, activation, positions, where the residual connections stand, how wide the layers are.
#
# Here are eleven networks. A word in a cell says what the network has; its colour says whose choice that is.

# %%
V, B, C = 0.0, 0.5, 1.0  # as in ViT, between or both, as in a CNN
AXES = ["layout", "stem", "mixing of places", "head", "norm"]
ROWS = {
    "DeiT": "1 grid V | 16 × 16 patch V | attention V | class token V | LayerNorm V",
    "ConViT": "1 grid V | 16 × 16 patch V | gated attention B | class token V | LayerNorm V",
    "ViT_C": "1 grid V | 4 convolutions C | attention V | class token V | LayerNorm V",
    "PVT": "4 stages C | 4 × 4 patch V | attention V | class token V | LayerNorm V",
    "CvT": "3 stages C | 7 × 7 conv. C | conv. in attention B | class token V | LayerNorm V",
    "Swin": "4 stages C | 4 × 4 patch V | windows B | mean C | LayerNorm V",
    "LeViT": "3 stages C | 4 convolutions C | attention V | mean C | BatchNorm C",
    "Visformer": "3 stages C | conv., patch B | conv., attention B | mean C | BatchNorm C",
    "CoAtNet": "4 stages C | 2 convolutions C | conv., attention B | mean C | both B",
    "BoTNet": "4 stages C | conv., pooling C | conv., attention B | mean C | BatchNorm C",
    "ResNet": "4 stages C | conv., pooling C | convolution C | mean C | BatchNorm C"}

def places(row):  # "16 × 16 patch V" -> ("16 × 16 patch", 0.0)
    words = [cell.rsplit(" ", 1) for cell in row.split(" | ")]
    colour = {"V": V, "B": B, "C": C}
    return {axis: (word, colour[end]) for axis, (word, end) in zip(AXES, words)}

figures.spectrum({name: places(row) for name, row in ROWS.items()})

# %% [markdown]
# From top to bottom the table becomes pink, but not cell by cell: between DeiT and ResNet no network has the same
# colour in every column. There is no *single* line from ViT to CNN. That is why "hybrid" alone says little about a
# network.
#
# (In this course most networks are written as data, a **spec**, with these choices by name; `compare` lists what
# differs between two of them, and we will use it all the time.) The stages of nine networks, with the number of
# blocks and the side of the map, counted from the models themselves:

# %%
KINDS = {"resnet_50": "CCCC", "botnet_50": "CCCA", "coatnet_0": "CCAA", "visformer_s": "CAA",
         "levit_256": "AAA", "cvt_13": "AAA", "swin_t": "AAAA", "pvt_s": "AAAA", "deit_s": "A"}

def stages(name):
    with torch.device("meta"):  # shapes without numbers
        model = create_model(name)
        maps = model.features(torch.empty(1, 3, 224, 224))  # tokens (1, N, D), or maps
    sides = [int(m.shape[1] ** 0.5) if m.ndim == 3 else m.shape[2] for m in maps]
    blocks = [len(getattr(stage, "blocks", stage)) for stage in model.stages]
    return list(zip(KINDS[name], sides, blocks))

figures.stages({name: stages(name) for name in KINDS})

# %% [markdown]
# Pink blocks convolve, green blocks attend. Look at DeiT at the bottom: one grid of 14 × 14 for all twelve blocks. All
# others but LeViT begin on finer maps, and all others but CvT end on 7 × 7 places or fewer. And wherever both kinds
# are there, convolution comes *first*. We will ask why.
#
# **Question 9.1** `compare("deit_s", "swin_t")` lists the differences of two specs. How many of the five choices
# changed? Somebody concludes from their accuracies (79.8 and 81.3 %, Liu and others 2021, table 1) that windows are
# better than full attention. What is wrong with that?

# %%
compare("deit_s", "swin_t")

# %% [markdown]
# <details><summary>Answer</summary>
#
# All five: layout, stem (4 × 4 patches), mixing of places, head, and of the details the widths and the positions
# (relative biases inside the windows; `tokens` with learned positions are gone). Kind of norm and activation stayed.
# The 1.5 points belong to all of this together, and to two different training recipes. The comparison cannot say what
# windows alone do.
# </details>
#
# > **What slides get wrong here.** "Transformers have uniform width, CNNs are built from stages." That was so in
# > 2020. In the table above eight networks of eleven have stages, and seven of these eight attend. A layout belongs
# > to nobody.
#
# The rest of this lecture changes **one choice at a time**.
#
# ## 2 · Layout: pyramids, and how PVT pays for them
#
# Why stages? Two reasons. Tasks with fine answers (detection, segmentation) need fine maps, and 14 × 14 is coarse.
# And early features are simple: they need many places and few channels. CNNs have always been built so.
#
# The trouble is attention. On the 56 × 56 map of a first stage there are N = 3,136<!-- = 56 ** 2 --> tokens, and N²
# is 256<!-- = 56 ** 4 / 14 ** 4 --> times as much as with 14 × 14. Swin (lecture 8) solved this with windows.
# **PVT**, the *Pyramid Vision Transformer* (Wang and others 2021), a month earlier, had another idea: every place
# asks, but only a *reduced* map answers. A convolution with kernel R × R and stride R makes one key and one value of
# R × R places:
#
# $$\mathrm{SRA}(x) = \mathrm{softmax}\Big(\frac{q\, k^\top}{\sqrt d}\Big)\, v, \qquad q = x W_q, \quad
#   [k, v] = \mathrm{LN}(\mathrm{conv}_{R \times R}(x))\, W_{kv}$$
#
# This is **spatial-reduction attention** (SRA). By hand on a map of 4 × 8 places, with R = 2:

# %% tags=["slide-code"]
from course.models.token_mixers.spatial_reduction import SpatialReductionAttention

sra = SpatialReductionAttention(dim=6, grid=(4, 8), num_heads=1, sr_ratio=2)
x = torch.randn(1, 4, 8, 6)  # (B, H, W, D)
small = sra.norm(sra.reduction(x))  # (B, H/R, W/R, D) = (1, 2, 4, 6)
q = rearrange(sra.q(x), "1 h w d -> (h w) d")  # (N, D) = (32, 6): every place asks
k, v = rearrange(sra.kv(small), "1 h w (two d) -> two (h w) d", two=2)  # (N / R², D) = (8, 6)
weights = (q @ k.T / 6**0.5).softmax(dim=-1)  # (N, N / R²) = (32, 8)
y = sra.proj(weights @ v)  # (N, D)
print("the same as the class:", torch.allclose(y, sra(x).view(32, 6), atol=1e-6))
print("weights:", tuple(weights.shape), "in place of (32, 32)")

# %% [markdown]
# The table of weights is R² times narrower. PVT takes R = 8, 4, 2, 1 in its four stages, so that all of them have 7 ×
# 7 = 49<!-- = 7 ** 2 --> keys at 224 pixels. What changes from DeiT to PVT?

# %%
compare("deit_s", "pvt_s")

# %% [markdown]
# How does the cost grow with the image? Count the multiply–adds of *one* attention layer with 64 channels on the map
# of a first stage (4 × 4 patches), for images of 224 to 1,792 pixels:

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.window import WindowAttention

def cost(make, pixels):  # multiply-adds of one layer, in G
    grid = (pixels // 4, pixels // 4)
    with torch.device("meta"):
        return count_macs(make(grid), 1, *grid, 64) / 1e9

LAYERS = {"ViT: every place": lambda grid: SelfAttention(64, num_heads=1),
          "PVT: reduced, R = 8": lambda grid: SpatialReductionAttention(64, grid, 1, 8),
          "Swin: windows of 7 × 7": lambda grid: WindowAttention(64, grid, 1, window_size=7)}
sides = [224, 448, 896, 1792]
costs = {name: [cost(make, pixels) for pixels in sides] for name, make in LAYERS.items()}
for name, line in costs.items():
    growth = ", ".join(f"{after / before:.1f}" for before, after in zip(line, line[1:]))
    print(f"{name:23} {line[0]:5.2f} G at 224 pixels; twice the side: {growth} times as much")
plots.curves(sides, costs, log="xy", xlabel="side of the image, pixels",
             ylabel="multiply–adds, G")

# %% [markdown]
# Twice the side is four times the places. Windows cost four times as much: **linear** in N. Full attention comes near
# 16 times: **quadratic**. PVT starts with 64<!-- = 8 ** 2 --> times fewer products, and is quadratic all the same: R
# is fixed, so the number of keys grows with the image. Reduction makes the *factor* smaller, not the *law*. (PVT v2
# has a linear variant, which pools the keys to 7 × 7, whatever the image is: Wang and others 2022.)
#
# ### What does the reduction lose?
#
# Keys that stand for R × R places cannot tell exactly where something is. Our data can ask for that. As in lecture 5:
# *texture*, which way do the stripes run? *relation*, in which direction from the red plus is the blue ring?

# %%
train = load("two_questions", "train", size=budget(tiny=100, cpu=4000))
test = load("two_questions", "test", size=budget(tiny=50, cpu=500))
STEPS = {"texture": 80, "relation": 150}

def train_on(question, model, seed, lr=4e-3, **changes):
    """The model after a short training; the seed sets the order of the images."""
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=STEPS[question]), lr=lr)
    recipe = recipe.but(seed=seed, **changes)
    fit(model, train.ask(question), recipe, plot=False, progress=False)
    return model

def with_sines(positions, grid=(8, 8)):  # lecture 5: positions have to be large enough
    positions.data[-grid[0] * grid[1] :] = sinusoidal_2d(grid, positions.shape[1])  # (N, D)

plots.image_grid(test, count=5)

# %% [markdown]
# One stage of two blocks on 8 × 8 tokens of 48 channels, R = 1, 4 and 8. **Predict**: how much of *relation* is left
# with R = 4, that is 2 × 2 keys? And with R = 8, that is *one* key for the whole image? *(Price: none. The nine
# trainings were run once and stored; the cell looks them up.)*

# %%
def one_stage(R):
    return Pyramid(stem=part(PositionedPatchStem, patch_size=4), downsample=None,
                   token_mixer=part(SpatialReductionAttention, num_heads=4, sr_ratio=R),
                   channel_mixer=part(MLP, mlp_ratio=2), norm=part(LayerNorm),
                   head=part(MeanHead), dims=(48,), depths=(2,), img_size=32, num_classes=10)

def reduction(seed):
    """R -> accuracy on relation"""
    found = {}
    for R in (1, 4, 8):
        torch.manual_seed(seed)
        model = one_stage(R).build()
        with_sines(model.stem.tokens.position)
        found[f"R = {R}, {(8 // R) ** 2} keys"] = {"relation": evaluate(
            train_on("relation", model, seed), test.ask("relation"))}
    return found

reduced = over_seeds("09_vit_cnn_spectrum/reduction", reduction, live=False)
counts = [f"{count_parameters(one_stage(R).build()):,}" for R in (1, 4, 8)]
print("parameters:", ", ".join(counts))
plots.bars(reduced, chance=0.1)

# %% [markdown]
# *One key* for the whole image reaches 68 to 75 %<!-- reduction / R = 8, 1 keys / relation -->, with every seed more
# than four keys (45 to 64 %<!-- reduction / R = 4, 4 keys / relation -->). With all 64 keys the seeds differ very
# much, 38 to 87 %<!-- reduction / R = 1, 64 keys / relation -->: best with two of them, last with the third. So "the
# more is reduced, the more is lost" is not what we see. Many people predict chance for a single key. Before you read
# the answer: how can one key be enough?
#
# Look at the parameters, too: 44,026, 118,042 and 339,226<!-- printed -->. The convolution that reduces has R² D²
# weights. So this is no comparison at equal size.
#
# **Question 9.2** With R = 8 there is one key. What is the softmax of a single score? So what does each place get
# from this attention? And which gate of lecture 2 is it almost?
#
# <details><summary>Answer</summary>
#
# The softmax of one number is 1, whatever the query is. Every place gets the same vector: a weighted sum over all 8 ×
# 8 places, with learned weights for each place (and a norm). That is nearly what *gather-excite θ* gathers (lecture 2,
# section 3). There each channel is summed by itself, and the result multiplies; here the channels are mixed, and the
# result is added. It knows places because each of them has weights of
# its own. The queries do nothing at all.
# </details>
#
# > **What slides get wrong here.** "Pro: improvement in accuracy, fewer parameters." PVT-Small has the accuracy of
# > DeiT-S, 79.8 %, with 11 %<!-- = 100 * (24.49 - 22.05) / 22.05 --> *more* parameters and 17
# > %<!-- = 100 * (4.60 - 3.82) / 4.60 --> fewer multiply–adds; only PVT-Large has fewer parameters, 61 million
# > against DeiT-B's 86 million, for 81.7 % against 81.8 (Wang and others 2021, table 2).
#
# ## 3 · Stem: a few convolutions in place of one large patch
#
# ViT's stem is one convolution with a kernel of 16 × 16 and a stride of 16 (lecture 5, section 2). CNNs are not built
# like this: their first kernels are small and overlap (even AlexNet's 11 × 11 has a stride of only 4). Xiao and others
# (2021) replaced it with what CNNs have: four 3 × 3 convolutions of stride 2, each with batch norm and ReLU, and a 1 ×
# 1 convolution. They call the old network ViT_P (patchify) and the new one ViT_C. The rest stays as it is, with one
# block less, because the new stem costs about as much as a block:

# %%
compare("vit_s16", "vit_c_4gf")

# %% [markdown]
# (The width of the MLP changed too: their 4 GF model has 3 D in place of 4 D. A fair comparison needs its own twin
# ViT_P, with 12 blocks and 3 D; the cell below counts both.)
#
# What does the paper promise? That ViT_C is *less sensitive* to learning rate and weight decay, learns faster, and
# trains with SGD as well as with AdamW (section 5). Claims about sensitivity need many trainings. Ours are small, so
# we can do them: *texture*, 80 steps, two optimisers, three learning rates each, two stems, three seeds. To be fair,
# the patch stem gets three blocks and the convolutional one two:

# %%
SMALL = {"num_classes": 10, "embed_dim": 48, "num_heads": 4, "mlp_ratio": 2}
PLAIN = {"class_tokens": 0, "position": "sinusoidal", "head": part(MeanHead)}
STEMS = {"ViT with patches": {"depth": 3},
         "CNN stem": {"depth": 2, "stem": part(EarlyConvStem, widths=(16, 32))}}

def with_stem(name):
    return create_model("vit_cifar", **SMALL, **PLAIN, **STEMS[name])

def size(make, side):
    """'parameters, multiply-adds' of a network on images of side × side pixels."""
    with torch.device("meta"):
        model = make()
        return (f"{count_parameters(model):10,} parameters, "
                f"{count_macs(model, 1, 3, side, side) / 1e6:8,.2f} M multiply-adds")

for name in STEMS:
    print(f"{name:20}", size(lambda: with_stem(name), 32))
print(f"{'ViT_C':20}", size(lambda: create_model("vit_c_4gf"), 224))
print(f"{'its twin ViT_P':20}", size(lambda: create_model("vit_s16", mlp_ratio=3), 224))

# %% [markdown]
# **Predict**: which of the four lines will be flat? *(Price: none, 36<!-- = 3 * 12 --> stored trainings. `stem(3)`
# runs twelve new ones in about a minute.)*

# %%
OPTIMISERS = {"AdamW": ({"optimizer": "adamw"}, [1e-3, 4e-3, 1.6e-2]),
              "SGD": ({"optimizer": "sgd", "weight_decay": 1e-4}, [0.03, 0.1, 0.3])}

def stem(seed):
    """optimiser -> stem -> learning rate -> accuracy on texture"""
    found = {}
    for optimiser, (changes, rates) in OPTIMISERS.items():
        found[optimiser] = {name: {} for name in STEMS}
        for name in STEMS:
            for lr in rates:
                torch.manual_seed(seed)
                model = train_on("texture", with_stem(name), seed, lr, **changes)
                found[optimiser][name][f"{lr:g}"] = evaluate(model, test.ask("texture"))
    return found

robust = over_seeds("09_vit_cnn_spectrum/stem", stem, live=False)
figures.over_rates(
    {optimiser: {name: {float(lr): seeds for lr, seeds in line.items()}
                 for name, line in lines.items()} for optimiser, lines in robust.items()},
    chance=0.1)

# %% [markdown]
# **SGD** shows it clearly, with every seed. With the convolutional stem: 48 to 60
# %<!-- stem / SGD / CNN stem / 0.03 -->, 98 to 100 %<!-- stem / SGD / CNN stem / 0.1 --> and 100
# %<!-- stem / SGD / CNN stem / 0.3 --> at the three rates. With patches: 12 to 14
# %<!-- stem / SGD / ViT with patches / 0.03 -->, 49 to 65 %<!-- stem / SGD / ViT with patches / 0.1 --> and 91 to 96
# %<!-- stem / SGD / ViT with patches / 0.3 -->. At the lowest rate one learns and the other only guesses. So much of
# the paper's claim is there in 80 steps: with SGD the convolutional stem is ahead at each of our rates. But the patches
# do train with SGD, at the right rate. The highest rate is the best for both stems, and we tried none beyond it.
#
# **AdamW** tells less. At the lowest rate the convolutional stem is ahead by 15 to 17
# points<!-- stem / AdamW / CNN stem / 0.001 - stem / AdamW / ViT with patches / 0.001 -->; at the two others the
# seeds differ more than the stems do: by −4 to 23
# points<!-- stem / AdamW / CNN stem / 0.004 - stem / AdamW / ViT with patches / 0.004 -->, and by −7 to 5
# points<!-- stem / AdamW / CNN stem / 0.016 - stem / AdamW / ViT with patches / 0.016 -->. Nothing here says that a
# convolutional stem is more *robust* under AdamW.
#
# What this does not show: weight decay was not varied, *texture* is a question that convolutions answer well (lecture
# 5, section 9), and 80 steps are the very beginning of a training.
#
# ### What a convolutional stem makes harder
#
# Patches that lie side by side have one quality of their own: each token knows its own pixels and *nothing else*.
# Change one patch of 16 × 16 pixels. How many tokens change behind the stem?

# %%
images = torch.rand(1, 3, 224, 224)  # (B, C, H, W)
painted = images.clone()
painted[:, :, 80:96, 112:128] = 0  # the patch in row 5, column 7
heard = {}
for name, make in {"patch": PatchEmbed, "convolutional": EarlyConvStem}.items():
    layer = make(dim=384, img_size=(224, 224)).eval()
    with torch.no_grad():
        change = (layer(painted) - layer(images)).norm(dim=-1)[0]  # (h, w) = (14, 14)
    heard[f"{name} stem"] = change / change.max()
counts = {name: int((each > 1e-6).sum()) for name, each in heard.items()}
plots.matrices(heard, numbers=False).described(
    f"how much each of 14 by 14 tokens changes when one patch of pixels is painted black. "
    f"{'; '.join(f'{name}: {count} changed' for name, count in counts.items())}")

# %% [markdown]
# One token with patches; four with convolutions, whose windows overlap. Methods that *hide patches* and let the
# network guess them (masked image modelling, lecture 16) live from the left picture: what is hidden must not be seen
# elsewhere. With the right one, the neighbours tell.
#
# **Question 9.3** How many tokens change with three convolutions of stride 2 (`widths=(48, 96, 192)`, tokens of 8 × 8
# pixels), if again 16 × 16 pixels are painted? Predict, then add a third stem to the cell:
# `lambda **o: EarlyConvStem(**o, widths=(48, 96, 192))`.
#
# <details><summary>Answer</summary>
#
# Nine: the four tokens that lie on the black square, and one more column to the right and one more row below, 3 × 3.
# Each convolution looks one pixel beyond its place, to the left and above; so what is painted is heard one token
# further, to the right and below.
# </details>
#
# > **What slides get wrong here.** "Works with SGD", "robust", "outperforms": four ticks beside ViT_C and four
# > crosses beside ViT_P. The paper's claims are about 50 to 400 epochs of ImageNet, and in its own figures ViT_P does
# > train with SGD, only clearly worse. And "a conv stem is problematic for mask-based self-supervision" is true for a
# > reason that slides leave out: overlapping windows let hidden pixels through. A stem of convolutions whose kernel
# > equals the stride has no such problem.
#
# ## 4 · Head: who collects the answer?
#
# Behind the last block there are N tokens, and one vector is wanted. Four ways are common:

# %%
figures.heads()

# %% [markdown]
# * **Class token** (lecture 5): a learned token runs through *all* blocks. It collects in every one of them, and the
#   patches see it, too.
# * **Mean**, or *global average pooling*: every place counts the same. CNNs have done so since 2014.
# * **Attention pooling** (MAP: multi-head attention pooling; Lee and others 2019, in ViTs Zhai and others 2022): one
#   learned query, behind the last block, weighs the tokens once. A small MLP follows.
# * **Class attention** (CaiT, Touvron and others 2021b): a class token that joins behind the last block, and one or
#   two blocks in which *only it* changes.
#
# Mean and attention pooling are one formula with two kinds of weights. For a query u that is learned and the same for
# every image:
#
# $$z = \sum_{n=1}^{N} a_n\, W_v x_n, \qquad a = \tfrac{1}{N}(1, \dots, 1)\ \ (\text{mean}) \quad\text{or}\quad
#   a = \mathrm{softmax}_n\Big(\frac{(W_q u)^\top W_k x_n}{\sqrt d}\Big)\ \ (\text{attention pooling})$$

# %%
from course.models.pooling_heads import ClassAttentionHead, MAPHead

pool = MAPHead(dim=8, num_classes=10, num_heads=1)
tokens = torch.randn(2, 5, 8)  # (B, N, D)
k, v = pool.kv(pool.norm(tokens)).chunk(2, dim=-1)  # (B, N, D) each
scores = (k @ pool.q(pool.query)[0]) / 8**0.5  # (B, N): one query, (D,), for all images
a = scores.softmax(dim=1)  # (B, N), each row sums to 1
z = pool.proj((a[:, :, None] * v).sum(dim=1))  # (B, D)
print("the same as the class:", torch.allclose(pool.fc(pool.mlp(z)), pool(tokens), atol=1e-6))
print("weights of the first image:", ", ".join(f"{share:.2f}" for share in a[0].tolist()))

# %% [markdown]
# (A fresh query is small, and weighs all tokens nearly alike: attention pooling *starts* as the mean.)
#
# Does it matter? **Predict**, for *relation* and two blocks of 48 channels: which of the four heads is best, and
# which last? *(Price: none, twelve stored trainings. `heads(3)` runs four new ones in about half a minute.)*

# %%
MAP = part(MAPHead, num_heads=4, mlp_ratio=2)
CAIT = part(ClassAttentionHead, num_heads=4, mlp_ratio=2, class_depth=1, class_layer_scale=1.0)
HEADS = {"class token": {"class_tokens": 1},
         "mean": {"class_tokens": 0, "head": part(MeanHead)},
         "attention pooling": {"class_tokens": 0, "head": MAP},
         "class attention": {"class_tokens": 0, "head": CAIT}}
for name, options in HEADS.items():
    make = lambda: create_model("vit_cifar", depth=2, **SMALL, **options)
    print(f"{name:18}", size(make, 32))

# %%
trained = {}

def with_head(name, seed):
    """A ViT with that head, trained on relation; each is trained once."""
    if (name, seed) not in trained:
        torch.manual_seed(seed)
        model = create_model("vit_cifar", depth=2, **SMALL, **HEADS[name])
        with_sines(model.stages[0].entry.position)
        trained[name, seed] = train_on("relation", model, seed)
    return trained[name, seed]

def heads(seed):
    """head -> accuracy on relation"""
    return {name: {"relation": evaluate(with_head(name, seed), test.ask("relation"))}
            for name in HEADS}

plots.bars(over_seeds("09_vit_cnn_spectrum/heads", heads, live=False), chance=0.1)

# %% [markdown]
# Class token (83 to 92 %<!-- heads / class token / relation -->) and mean (85 to 90
# %<!-- heads / mean / relation -->) cannot be told apart. Attention pooling varies (65 to 87
# %<!-- heads / attention pooling / relation -->): with one seed it is the best of all, with another the last. Class
# attention is behind the class token with every seed, by 15 to 16
# points<!-- heads / class token / relation - heads / class attention / relation -->, although it has 43
# %<!-- = 100 * (63034 - 44026) / 44026 --> more parameters.
#
# So in a short training the *simple* heads are the safe choice, and "learned" does not mean "better". Perhaps because
# a query has to be learned first, and the mean has nothing to learn; this we did not test. The class token asks from
# the first block on; class attention asks only once. The limits: one question, one learning rate, 150 steps, blocks of
# two; CaiT's class attention was made for 24 to 48 blocks and 400 epochs.
#
# ### Heads and resolution
#
# A head meets another number of tokens when the images become larger. The mean divides by the new N. A softmax
# spreads over more tokens. Does one of them suffer? The four trained networks, tested on images that were enlarged
# from 32 to 48 pixels, with positions resized (lecture 5, section 10) and no further training:

# %%
def enlarged(data, size):
    smooth = {"mode": "bilinear", "antialias": True}
    larger = nn.functional.interpolate(data.images.float(), (size, size), **smooth)
    return larger.round().clamp(0, 255).byte(), data.labels  # (n, C, size, size), (n,)

def resolution(seed):
    """head -> accuracy on relation at 48 pixels"""
    asked = enlarged(test.ask("relation"), 48)
    return {name: {"relation": evaluate(at_resolution(with_head(name, seed), 48), asked)}
            for name in HEADS}

plots.bars(over_seeds("09_vit_cnn_spectrum/resolution", resolution, live=False), chance=0.1)

# %% [markdown]
# None of them suffers. From 32 to 48 pixels the class token gains 1 to 3
# points<!-- resolution / class token / relation - heads / class token / relation -->, the mean −1 to
# 4<!-- % resolution / mean / relation - heads / mean / relation -->, attention pooling 0 to
# 4<!-- % resolution / attention pooling / relation - heads / attention pooling / relation --> and class attention 2
# to 7<!-- % resolution / class attention / relation - heads / class attention / relation -->. More tokens show the
# same glyphs, so a mean over them stays what it was, and a softmax spreads over the copies. What has to be resized
# are the positions, and those belong to the tokens, not to the head.
#
# ### "The class token wastes memory"
#
# One token more than 196 is 0.5 %<!-- = 100 / 196 -->. How can that be a waste? Some hardware pads a dimension to a
# multiple of 128 (Zhai and others 2022, on TPUs). Then it depends on N: 196 tokens take the room of 256, and so do
# 197. But 256 tokens (patches of 14 pixels, the size of ViT-H) fill it exactly, and 257 take the room of
# 384<!-- = 3 * 128 -->.
#
# > **What slides get wrong here.** "Class token: wastes memory on some hardware." With patches of 14 pixels, or 32
# > pixels on 512, it does: 257 tokens take the room of 384, half as much again. With patches of 16 at 224 or 384
# > pixels it costs nothing at all: the room for it is there anyway. The statement is about certain *sizes*. "The
# > choice is not very important" is about ImageNet accuracy after long training; our bars show a short one.
#
# ## 5 · Mixing of places, option 1: stacked hybrids
#
# Now the choice that everybody talks about. A **stacked hybrid** has blocks of convolution and blocks of attention,
# one kind behind the other. The smallest step from a CNN is **BoTNet** (Srinivas and others 2021): ResNet-50, in
# whose last three blocks self-attention stands in the place of the 3 × 3 convolution. Nothing else:

# %%
compare("resnet_50", "botnet_50")

# %% [markdown]
# There are 4.7<!-- = 25.56 - 20.85 --> million parameters fewer. Count it by hand: in the last stage a 3 × 3
# convolution with 512 channels has $9 D^2$ weights, and attention $3 D^2$ (queries, keys and values; BoTNet has no
# last linear layer) and a few for positions. Three times $6 D^2$ is 4.72<!-- = 3 * 6 * 512 ** 2 / 10 ** 6 -->
# million; the positions take 0.01 million back.
#
# **Question 9.4** To see the whole map of 7 × 7 places at once, a convolution needs at least a kernel of 7 × 7. Put
# 49 in place of 9: how many weights have three of them? What does reach cost a convolution, and what attention?
#
# <details><summary>Answer</summary>
#
# Three such convolutions have 38.5<!-- = 3 * 49 * 512 ** 2 / 10 ** 6 --> million weights: they grow with the square
# of the reach. Attention's $3 D^2$ do not depend on reach; only its table of offsets grows, and in proportion to the
# side.
# </details>
#
# BoTNet's scores have a part that knows places: each offset in rows and in columns has a learned vector r that speaks
# to the query,
#
# $$\mathrm{score}_{ij} = q_i^\top k_j + q_i^\top \big(r^{\text{row}}_{j - i} + r^{\text{column}}_{j - i}\big).$$
#
# Does attention help there? A ResNet of two blocks for 32 × 32 images; the second block with a convolution, or with
# attention. As in the paper's BoTNet-S1 the last stage keeps its map, 8 × 8, so that attention has something to look
# at.

# %%
from course.models.resnet import ResNet
from course.models.token_mixers.relative_attention import RelativeAttention

LAST = {"CNN: convolution last": {},
        "attention last": {"mixer": (None, RelativeAttention),
                           "mixer_options": {"num_heads": 4}}}

def small_resnet(name):
    return ResNet(depths=(1, 1), width=24, grid=(32, 32), num_classes=10,
                  replace_stride_with_dilation=(True,), **LAST[name])

def last_block(seed):
    """network -> accuracy on relation"""
    found = {}
    for name in LAST:
        torch.manual_seed(seed)
        model = train_on("relation", small_resnet(name), seed)
        found[name] = {"relation": evaluate(model, test.ask("relation"))}
    return found

for name in LAST:
    print(f"{name:22}", size(lambda: small_resnet(name), 32))
plots.bars(over_seeds("09_vit_cnn_spectrum/last block", last_block, live=False), chance=0.1)

# %% [markdown]
# Here it does not: 90 to 92 %<!-- last block / attention last / relation --> with attention and 93 to 94
# %<!-- last block / CNN: convolution last / relation --> with the convolution, 2 to 4
# points<!-- last block / CNN: convolution last / relation - last block / attention last / relation --> more with
# every seed; but with 19 %<!-- = 100 * (70306 - 56842) / 70306 --> fewer parameters and 9
# %<!-- = 100 * (4.96 - 4.52) / 4.96 --> fewer multiply–adds. Two blocks of convolution behind a stem of stride 4 see
# nearly the whole image of 32 pixels. That may be why attention adds nothing here. One expects it to help where the
# other layers do *not* see everything: on larger maps, as in detection, for which BoTNet was made (Srinivas and others
# 2021, section 4).
#
# ### In which order?
#
# **Visformer** (Chen et al. 2021) has one stage of convolutions and two of attention. **CoAtNet** (Dai and others
# 2021) asked which order is best, and compared C-C-C-C, C-C-C-T, C-C-T-T, C-T-T-T and a ViT, where C is a stage of
# inverted bottlenecks (a widening, a depthwise 3 × 3 convolution, a narrowing) and T a stage of Transformer blocks.
# On ImageNet, without other data, more C generalised better. With JFT's 300 million images C-C-T-T and C-T-T-T had the
# larger capacity, above the pure ViT and above more C. Between the two, C-C-T-T transferred better and was chosen
# (section 2.2). We can ask small questions with two stages, on maps of 8 × 8
# and 4 × 4 places:
#
# **Predict**: CC, CT and TT, for *texture* and for *relation*. Which letter decides texture, the first or the second?
# *(Price: none, 21<!-- = 3 * 7 --> stored trainings.)*

# %%
from course.models.families.coatnet import CoAtNet

def two_stages(layout, biases=0.0):
    model = CoAtNet(img_size=32, num_classes=10, layout=layout, dims=(32, 48), strides=(2, 2),
                    depths=(1, 1), stem_dim=16, head_dim=16)
    for name, weight in model.named_parameters():
        if biases and name.endswith("bias_table"):
            nn.init.normal_(weight, std=biases)  # ((2h−1)(2w−1), heads)
    return model

def order(seed):
    """layout -> question -> accuracy"""
    found = {}
    for layout in ("CC", "CT", "TT"):
        for question in STEPS:
            torch.manual_seed(seed)
            model = train_on(question, two_stages(layout), seed)
            found.setdefault(layout, {})[question] = evaluate(model, test.ask(question))
    torch.manual_seed(seed)
    model = train_on("relation", two_stages("CT", biases=3.0), seed)
    found["CT, large biases"] = {"relation": evaluate(model, test.ask("relation"))}
    return found

plots.bars(over_seeds("09_vit_cnn_spectrum/order", order, live=False), chance=0.1)

# %% [markdown]
# **Texture** is decided by the first letter: CC gets 100 %<!-- order / CC / texture -->, CT 81 to 100
# %<!-- order / CT / texture -->, TT 25 to 38 %<!-- order / TT / texture -->. (The control TC is missing:
# we did not train it.) Early layers have to find stripes, edges, colours. A convolution is made for that, and attention
# has to learn it. This fits what the stacked hybrids of section 1 do: BoTNet, CoAtNet and Visformer begin with
# convolutions.
#
# **Relation** turns the order of the paper around: CC gets 45 to 53 %<!-- order / CC / relation -->, CT and TT stay
# at chance (8 to 9 %<!-- order / CT / relation --> and 9 to 10 %<!-- order / TT / relation -->), although attention
# sees all places. Lecture 5 knows the reason by now: CoAtNet's attention knows places only by its relative biases,
# and these *start at 0*. The last bar tests it: the same CT with biases that start as random numbers of size 3 gets
# 34 to 70 %<!-- order / CT, large biases / relation -->. So what failed was not the order but the start, in a
# training of 150 steps. (Whether it then beats CC is open: with one seed it does, with two it does not.)
#
# At the other end of size stands **CoAtNet-7**, layout C-C-C-T-T, with 2,440 million parameters and 90.88 % on
# ImageNet after JFT-3B (Dai and others 2021, table 5). Our CoAtNet-7 counts 2,444 million. Between our CT and that
# network lie a factor of fifty thousand in size and all conclusions about order.
#
# **LeViT** (Graham and others 2021) is the hybrid that was made for *speed*. Its stem of four convolutions is CNN,
# its stages attend, and all its details come from fast CNNs (`compare("deit_s", "levit_256")` lists them). No norm
# stands before a block: each linear layer has a batch norm behind it, which can be folded into the weights after
# training (lecture 11, section 7). The map is halved *by attention*: every second place asks, all places answer
# (`ShrinkingAttention`). Keys are narrow (32) and values twice as wide. A learned number for each offset (|dy|, |dx|)
# replaces positions. A quarter of DeiT-S's multiply–adds.
#
# > **What slides get wrong here.** The table of BoTNet-50 on slides shows one changed cell, "MHSA, 512", and a reader
# > concludes that three cells of attention explain its accuracy. The paper trains its ResNets anew with the same
# > recipes, and its gains, on COCO, grow with longer training and stronger augmentation (Srinivas and others 2021,
# > section 4). And CoAtNet stands on slides under both headings, "stacked" and "locality prior": rightly, as it does
# > both. It is *two* ideas, and one accuracy cannot tell them apart.
#
# ## 6 · Mixing of places, option 2: locality inside attention
#
# Instead of stacking two kinds of layers, one layer can be made of both. Attention asks *what* is there; convolution
# asks *where* it is, seen from here. Both are weighted sums over places, so their weights can be added.
#
# **CoAtNet** adds before the softmax: a learned number for each offset, as in Swin (lecture 8), but over the whole
# map,
#
# $$A = \mathrm{softmax}_j\Big(\frac{q_i^\top k_j}{\sqrt d} + b_{j - i}\Big).$$
#
# **ConViT** (d'Ascoli and others 2021) adds *after* two softmaxes, and lets every head choose by a **gate** g:
#
# $$A = \big(1 - \sigma(g)\big)\, \mathrm{softmax}_j\Big(\frac{q_i^\top k_j}{\sqrt d}\Big) + \sigma(g)\, \mathrm{softmax}_j\big(u^\top r_{j - i}\big),
#   \qquad r = (\Delta x,\ \Delta y,\ \Delta x^2 + \Delta y^2)$$
#
# This is **gated positional self-attention** (GPSA). σ(g) = 1: the head looks at places only, whatever is there. σ(g)
# = 0: content only, as in a ViT. And each head *starts* as one tap of a convolution: with u = (2a, 2b, −1) the score
# is largest at the offset (a, b), because
# $2a\Delta x + 2b\Delta y - \Delta x^2 - \Delta y^2 = a^2 + b^2 - (\Delta x - a)^2 - (\Delta y - b)^2$. Nine heads
# start as a 3 × 3 kernel. Here are their weights, seen from the middle of a map:

# %%
from course.models.token_mixers.gated_positional import GatedPositionalAttention

gpsa = GatedPositionalAttention(dim=18, grid=(7, 7), num_heads=9)
scores = gpsa.position(gpsa.displacements)  # (N, N, heads)
places = scores.softmax(dim=1)  # (N, N, heads): where each head looks, whatever is there
middle = rearrange(places[24], "(h w) heads -> heads h w", h=7).detach()  # (heads, 7, 7)
panels = {f"head {n}": middle[n] for n in range(9)}
plots.matrices(panels, numbers=False, shared=True).described(
    "where nine heads look from the middle of 7 by 7 places: each has its largest weight, "
    f"{middle.max():.2f}, at one of the 3 by 3 places around the middle")

# %% [markdown]
# A soft kernel: a head puts 32 %<!-- = 100 / 1.7726 ** 2 --> of its weight on its own place and the rest around it.
# (The paper has a factor for sharpness; as made here it is 1.) As published, g starts at 1, so that σ(g) =
# 0.73<!-- printed -->: mostly place, and some content from the first step on. By hand, for one head:

# %%
tokens = torch.randn(1, 49, 18)  # (B, N, D)
head, d = 5, 2  # the sixth head; its width is D / heads
q, k = (each[0, :, head * d : (head + 1) * d] for each in gpsa.qk(tokens).chunk(2, dim=-1))
content = (q @ k.T / d**0.5).softmax(dim=-1)  # (N, N): what is there
gate = gpsa.gate[head].sigmoid()
A = (1 - gate) * content + gate * places[:, :, head]  # (N, N), rows sum to 1
kept = []
gpsa.proj.register_forward_pre_hook(lambda layer, given: kept.append(given[0]))
gpsa(tokens)
v = gpsa.v(tokens)[0, :, head * d : (head + 1) * d]  # (N, d)
print(f"σ(g) = {gate:.2f}; the same as the class:",
      torch.allclose(A @ v, kept[0][0, :, head * d : (head + 1) * d], atol=1e-6))

# %% [markdown]
# ### Watch the gates
#
# Convolution at the start, attention if it is needed: does a network *move* its gates? *Texture* can be answered from
# any small patch. *Relation* needs two places that are far apart. **Predict**: σ(g) starts at 0.73 in every head.
# Where does it go for each question?
#
# A network can open up in a second way: u is learned, too. A head that looks at places only may still look *further*.
# So we watch two numbers over the training: the mean of σ(g), and how far from its query a head looks by place, in
# patches. ConViT trains for 300 epochs; ours has 150 steps. So that the gates can move as far in so few steps, we let
# them learn 20 times as fast: `g = 20 · raw`. Our ConViT has one gated block and one global one. *(Price: two
# trainings, less than half a minute on one CPU core. This is seed 0; the others are stored.)*

# %%
from course.models.families.convit import ConViT
from torch.nn.utils.parametrize import register_parametrization

class Faster(nn.Module):
    """A step of Adam moves `20 · raw` 20 times as far as `raw`."""

    def forward(self, raw):
        return 20 * raw

    def right_inverse(self, value):
        return value / 20

def small_convit(seed):
    torch.manual_seed(seed)
    model = ConViT(img_size=32, num_classes=10, patch_size=4, embed_dim=72, depth=2,
                   local_depth=1, num_heads=9, mlp_ratio=2)
    with_sines(model.tokens.position)
    register_parametrization(model.blocks[0].token_mixer.branch, "gate", Faster())
    return model

# %%
@torch.no_grad()
def gate_and_distance(layer):
    """Means over the heads: σ(g), and how far a head looks by place, in patches."""
    places = layer.position(layer.displacements).softmax(dim=1)  # (N, N, heads)
    far = layer.displacements[..., 2:].sqrt()  # (N, N, 1)
    return layer.gate.sigmoid().mean().item(), (places * far).sum(dim=1).mean().item()

def gates(seed):
    """question -> accuracy, and both numbers before each step"""
    found = {}
    for question in STEPS:
        model, seen = small_convit(seed), []
        layer = model.blocks[0].token_mixer.branch
        watch = lambda *_: seen.append(gate_and_distance(layer))
        hook = model.register_forward_pre_hook(watch)
        train_on(question, model, seed)
        hook.remove()
        gate, distance = zip(*seen[: budget(tiny=2, cpu=80)])
        found[question] = {"accuracy": evaluate(model, test.ask(question)), "gate": gate,
                           "distance": distance, "last gate": gate_and_distance(layer)[0],
                           "last distance": gate_and_distance(layer)[1]}
    return found

moved = over_seeds("09_vit_cnn_spectrum/gates", gates)

# %%
for question in STEPS:
    for what in ("last gate", "last distance", "accuracy"):
        shown = ", ".join(f"{float(value):.2f}" for value in moved[question][what])
        print(f"{question:8} {what:13} {shown}")
steps = range(len(moved["texture"]["gate"][0]))
plots.curves(steps, {question: moved[question]["gate"] for question in STEPS},
             xlabel="step", ylabel="σ(g), mean of nine heads")

# %%
plots.curves(steps, {question: moved[question]["distance"] for question in STEPS},
             xlabel="step", ylabel="distance by place, patches")

# %% [markdown]
# The gates move, with every seed, and **the other way round** than most people predict (we did, too). On *relation*
# they *close*: σ(g) rises to 0.92 to 0.93<!-- gates / relation / last gate -->, the heads look at places nearly
# alone. On *texture* they *open*: σ(g) falls to 0.41 to 0.45<!-- gates / texture / last gate -->, more than half of
# the weight goes to content. The distance by place hardly changes, 1.2<!-- gates / relation / last distance --> and
# 1.1<!-- gates / texture / last distance --> patches at the end. So the kernels neither grow nor shrink. (The curves show
# the first 80 steps. *Relation* is trained for 150; the printed numbers are from the end.)
#
# Why? The experiment does not say. Two guesses. For *relation* somebody has to look far: but there is a second block,
# a global one, and it can. What it needs from the first are clean tokens that know their neighbourhood and their
# place; a gated head that mixes in far tokens spoils them. For *texture* the whole image shows the same stripes; a
# head that collects *similar* patches from everywhere averages their noise away.
#
# What does it show, then? That a soft bias is *used*: it is strengthened or given up within 80 steps, and in another
# way for each question. And that a story about a mechanism ("it starts local and opens up when it must") wants a
# measurement before it is told. (On ImageNet many gates fall during training: d'Ascoli and others 2021.)
#
# ### CvT: a convolution before the attention
#
# **CvT** (Wu and others 2021) puts locality into the *projections*. Before a token becomes query, key or value, a
# depthwise 3 × 3 convolution looks at its neighbours. For keys and values that convolution has stride 2, so there are
# four times fewer of them, as in PVT. The zeros around the map, which its convolutions see, tell where the border is,
# and CvT has no positions at all.

# %%
from course.models.token_mixers.conv_projection import ConvProjection, ConvProjectionAttention

D = 64
projection = ConvProjection(D, kernel_size=3, stride=1)
for name, weight in projection.named_parameters():
    print(f"{name:18} {tuple(weight.shape)!s:15} {weight.numel():6,}")
linear = nn.Linear(D, D)
print(f"a linear projection, as in ViT: {count_parameters(linear):,} parameters; "
      f"CvT's: {count_parameters(projection):,}")

# %% [markdown]
# > **What slides get wrong here.** "The linear projection is *replaced* with a depthwise separable convolution." The
# > paper says so too; look at the list of weights. The pointwise half of a separable convolution *is* the linear
# > projection. It is all there, and a small depthwise convolution and a batch norm were put in front of it:
# > 704<!-- = 9 * 64 + 2 * 64 --> more numbers beside 4,160<!-- = 64 ** 2 + 64 -->. And Swin is often listed as a
# > "locality *prior*". A prior can be overruled by data, as ConViT's gates can; Swin's windows are a *wall*, which no
# > training moves. Its prior is the relative position bias.
#
# **Question 9.5** Which of these can a trained network give up, if the data ask for it: the windows of Swin; the
# gates of ConViT; the offsets' biases of CoAtNet; the 3 × 3 convolutions of CvT?
#
# <details><summary>Answer</summary>
#
# The gates (σ(g) → 0), the biases (all equal) and CvT's depthwise kernels (all weight on the middle) can: then a plain
# ViT remains (CvT's keys and values still four times fewer). The windows cannot: no weight of Swin connects two places
# of different windows within a layer. (Shifting lets them meet layers later.)
# </details>
#
# ## 7 · More complicated, or simpler?
#
# Many lectures about vision transformers end with a debate: should ViTs become *more* complicated (convolutions,
# pyramids, windows, gates), or *less*? Slides give a list of pyramids at this point: T2T-ViT, PiT, PVT, PVT v2, Swin,
# CvT, MViT. It is worth counting first: what leaves each stage, as side² × width?

# %%
for name in ("t2t_vit_14", "pit_s", "pvt_s", "pvt_v2_b2", "swin_t", "cvt_13", "mvit_v2_t"):
    with torch.device("meta"):
        model = create_model(name)
        maps = model.features(torch.empty(1, 3, 224, 224))  # (1, N, D) or (1, H, W, D) each
    shown = " → ".join(f"{int(m[..., 0].numel() ** 0.5)}² × {m.shape[-1]}" for m in maps)
    print(f"{name:11} {type(entry(name).spec).__name__:9} {shown:63} "
          f"{count_parameters(model) / 1e6:.1f} M")

# %% [markdown]
# T2T-ViT has one stage. **PiT** (Heo and others 2021) has three, and halves the map between them by a depthwise
# convolution. MViT (Fan and others 2021) pools queries too, so that the map becomes smaller *inside* an attention
# layer; so do LeViT's shrinking layers.
#
# > **What slides get wrong here.** T2T-ViT stands among the *pyramids* on slides. Its name, tokens to tokens,
# > describes its stem: there the grid shrinks twice, from 56 × 56 to 14 × 14 tokens. Behind it follow 14 blocks on
# > *one* grid with *one* width (Yuan and others 2021, table 1). It is a DeiT with another stem: choice 2, not choice
# > 1.
#
# Others that surveys name: **MobileViT** (Mehta and Rastegari 2022) puts attention inside a mobile CNN; **Twins**
# (Chu and others 2021) alternates windows with PVT's reduction; **XCiT** (El-Nouby and others 2021) lets channels
# attend to channels, so that the cost is linear in N; **CoaT** (Xu and others 2021) lets several scales attend to
# each other.
#
# ### UViT's question
#
# Chen and others (2022) asked what a pyramid is good for, on the task where it seemed needed most: detection, with
# large images. They removed one part after the other (spatial reduction, doubled channels, features of many scales),
# and ended with **UViT**, the *Universal Vision Transformer*: patches of 8 × 8 pixels, one grid, one width, and
# windows in the early blocks that grow with depth. It was at least as good as Swin at equal cost on COCO (their
# figure 1). So the pyramid was not what mattered there.
#
# What does "one grid" cost on large images? Count whole networks:

# %%
def whole(name, pixels):
    with torch.device("meta"):
        return count_macs(create_model(name, img_size=pixels), 1, 3, pixels, pixels) / 1e9

sides = [224, 448, 896]
for name in ("deit_s", "pvt_s", "swin_t"):
    print(f"{name:8}", ", ".join(f"{whole(name, pixels):6.1f} G" for pixels in sides),
          "at 224, 448 and 896 pixels")
N, D = (896 // 16) ** 2, 384
products = 12 * 2 * N**2 * D / 1e9
print(f"of DeiT-S's, the products of N² weights with 896 pixels: {products:.1f} G; "
      f"with windows of 14 × 14 they would be {products * 14**2 / N:.1f} G")

# %% [markdown]
# DeiT-S grows fastest, and the N² products are the reason; with windows of 14 × 14 in all blocks they nearly
# vanish, and 73.3<!-- = 158.2 - 90.6 + 5.7 --> G remain: one grid then costs about as much as Swin's pyramid. (UViT has
# finer patches, and windows that grow.) So the pyramid is *one* answer to the cost of attention, and
# windows are another.
#
# **For discussion.** Collect the evidence of this lecture for each side, and say for each piece what it does *not*
# show:
#
# | "more complicated" | "simpler" |
# |---|---|
# | convolution before attention helps with few images and short training (sections 3 and 5) | with enough data ViT-H/14 overtakes the ResNets (lecture 5, section 9) |
# | fine maps are needed for dense prediction | UViT does without stages |
# | reductions and windows make large images affordable | each of them adds numbers that somebody has to choose (R, windows, widths, depths) |
# | | plain patches allow masked pre-training (section 3), which then replaces the bias |
#
# <details><summary>A possible answer</summary>
#
# The two columns do not speak about the same situation. Built-in locality saves *data and steps*: it helps where both
# are scarce. A plain network saves *decisions*: it helps where data are plenty, and where one network should serve
# many tasks or kinds of data. None of our bars shows more than short trainings of small networks on two drawn
# questions; few tables of papers change one choice at a time under one recipe (Visformer's walk does, and
# Xiao's stems). Lecture 11 does it in small, and lecture 12 asks how much of all this was recipe.
# </details>
#
# ## Summary
#
# 1. **Five choices** lie between ViT and CNN: layout, stem, mixing of places, head, details. No line joins the two
#    ends; a paper that changes four of them at once says little about each.
# 2. **PVT** keeps all queries and reduces keys and values by R × R. That divides the N² products by R²; the
#    cost stays quadratic. A reduction is a learned convolution, and with one key it is nearly gather-excite.
# 3. **A convolutional stem** learns faster with SGD: 98 to 100 %<!-- stem / SGD / CNN stem / 0.1 --> against 49 to 65
#    %<!-- stem / SGD / ViT with patches / 0.1 --> at a rate of 0.1 (patches need 0.3). Under AdamW
#    our runs do not decide. Its windows
#    overlap, so hidden pixels leak to three more tokens.
# 4. **Heads**: mean and class token are alike (85 to 90 %<!-- heads / mean / relation --> and 83 to 92
#    %<!-- heads / class token / relation -->), class attention is behind in our short training. All four stand a
#    larger image.
# 5. **Stacked hybrids** convolve first, and *texture* fits that (CC 100 %<!-- order / CC / texture -->, TT 25 to 38
#    %<!-- order / TT / texture -->). That attention later helps *relation* depends on positions that are large enough
#    at the start.
# 6. **Locality inside attention** can be a bias that data overrule (gates, relative biases, projections) or a wall
#    (windows). ConViT's gates went to places on *relation* (0.92 to 0.93<!-- gates / relation / last gate -->) and to
#    content on *texture* (0.41 to 0.45<!-- gates / texture / last gate -->).
# 7. **UViT's question**, whether the pyramid is needed at all, is about cost on large maps; windows answer it, too.
#
# ## To revise: which cell shows what
#
# | section | what its cells show |
# |---|---|
# | 1 | the table of five choices; stages, counted; what `compare` says of DeiT and Swin |
# | 2 | reduced attention by hand; cost over the side of the image; *relation* with 64, 4 and 1 keys |
# | 3 | the fair twin; accuracy over optimiser and learning rate; how many tokens hear one patch |
# | 4 | four heads drawn; attention pooling by hand; their accuracy, at 32 and at 48 pixels |
# | 5 | BoTNet compared; the last block exchanged; the order of two stages |
# | 6 | nine heads as a kernel; one head by hand; gates over the training; CvT's weights |
# | 7 | pyramids counted; whole networks on large images |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ `compare("pvt_s", "pvt_v2_b2")`: which of the five choices changed? How does PVT v2 know where its tokens are? | 10 |
# | 2 | ●○○ Section 3 paints one patch. CvT's stem is `ConvStem(384, patch_size=7, stride=4, padding=2)`: paint 4 × 4 pixels, and predict how many of its 56 × 56 tokens change. | 10 |
# | 3 | ●●○ Which images of s × s pixels, with patches of 16, have a class token that costs an extra block of 128 rows? | 10 |
# | 4 | ●●○ At 448 pixels, which `sr_ratio` leaves PVT-Small 49 keys in its first three stages? (The last one has a class token, and stays at 1.) Count parameters and multiply–adds of `create_model("pvt_s", img_size=448, sr_ratio=per_stage(...))`, with `per_stage` from `course.models.spec`. | 15 |
# | 5 | ●●○ Leave `register_parametrization` out of `small_convit`. How far do the gates move in 150 steps? | 10 |
# | 6 | ●●● CoAtNet's paper chose C-C-T-T. Write down an experiment that would decide, for one data set, whether the order or the positions made the difference in section 5. Which networks, which control, how many seeds? | 20 |
#
# <details><summary>Answers</summary>
#
# 1. Stem (7 × 7 convolution, overlapping), head (mean), and the details: convolutions in the MLP and as downsampling,
#    a norm behind each stage. Positions are gone. The zeros around the map, which each depthwise convolution sees,
#    tell it where it is.
# 2. Nine, 3 × 3: a window reaches from 2 pixels before its patch to 1 behind it, so patches on both sides see some
#    painted pixels.
# 3. N = (s / 16)² must be a multiple of 128, so that the next token begins a new block. s / 16 must be a multiple of
#    16: 256, 512, 768 pixels and so on.
# 4. `per_stage(16, 8, 4, 1)`. 15.1 G multiply–adds in place of 16.9 G. But 38.5 million parameters in place of 25.7:
#    a reduction has R² D² weights. So making attention cheaper on a larger image has a price that does not show in
#    multiply–adds.
# 5. Hardly. One run of ours (seed 0, with two gated blocks) ended with all gates between 0.73 and 0.76, and was right
#    in 0.942 of the test images of *relation*. So a gate that has not moved proves nothing: it may not have had the
#    time.
# 6. For example: CC and CT, each with relative biases that start at 0 and at a large value, and each with absolute
#    sines as well; the control is the number of steps (150 and 1,500), since biases may only need time; at least
#    three seeds, one table, and the same learning rates tried for all.
# </details>
#
# ## References
#
# * Z. Chen, L. Xie, J. Niu, X. Liu, L. Wei, Q. Tian. *Visformer: The Vision-friendly Transformer.* ICCV 2021.
#   [arXiv:2104.12533](https://arxiv.org/abs/2104.12533). The walk from DeiT to ResNet: section 3.
# * W. Wang, E. Xie, X. Li, D.-P. Fan, K. Song, D. Liang, T. Lu, P. Luo, L. Shao. *Pyramid Vision Transformer.* ICCV
#   2021. [arXiv:2102.12122](https://arxiv.org/abs/2102.12122). Reduction: section 3.3; accuracies: table 2. *PVT v2.*
#   2022, [arXiv:2106.13797](https://arxiv.org/abs/2106.13797).
# * T. Xiao, M. Singh, E. Mintun, T. Darrell, P. Dollár, R. Girshick. *Early Convolutions Help Transformers See
#   Better.* NeurIPS 2021. [arXiv:2106.14881](https://arxiv.org/abs/2106.14881).
# * X. Zhai, A. Kolesnikov, N. Houlsby, L. Beyer. *Scaling Vision Transformers.* CVPR 2022.
#   [arXiv:2106.04560](https://arxiv.org/abs/2106.04560). Heads and memory: section 3. J. Lee and others. *Set
#   Transformer.* ICML 2019. [arXiv:1810.00825](https://arxiv.org/abs/1810.00825). H. Touvron and others. *Going
#   Deeper with Image Transformers* (CaiT). ICCV 2021 (2021b here).
#   [arXiv:2103.17239](https://arxiv.org/abs/2103.17239).
# * A. Srinivas, T.-Y. Lin, N. Parmar, J. Shlens, P. Abbeel, A. Vaswani. *Bottleneck Transformers for Visual
#   Recognition.* CVPR 2021. [arXiv:2101.11605](https://arxiv.org/abs/2101.11605). Network: table 1; positions: figure
#   4.
# * Z. Dai, H. Liu, Q. V. Le, M. Tan. *CoAtNet: Marrying Convolution and Attention for All Data Sizes.* NeurIPS 2021.
#   [arXiv:2106.04803](https://arxiv.org/abs/2106.04803). The order of stages: section 2.2.
# * B. Graham, A. El-Nouby, H. Touvron, P. Stock, A. Joulin, H. Jégou, M. Douze. *LeViT.* ICCV 2021.
#   [arXiv:2104.01136](https://arxiv.org/abs/2104.01136).
# * S. d'Ascoli, H. Touvron, M. Leavitt, A. Morcos, G. Biroli, L. Sagun. *ConViT.* ICML 2021.
#   [arXiv:2103.10697](https://arxiv.org/abs/2103.10697). Gates: section 3.
# * H. Wu, B. Xiao, N. Codella, M. Liu, X. Dai, L. Yuan, L. Zhang. *CvT.* ICCV 2021.
#   [arXiv:2103.15808](https://arxiv.org/abs/2103.15808). Projections: section 3.2.
# * W. Chen, X. Du, F. Yang, L. Beyer, X. Zhai, T.-Y. Lin, H. Chen, J. Li, X. Song, Z. Wang, D. Zhou. *A Simple
#   Single-Scale Vision Transformer for Object Detection and Instance Segmentation* (UViT). ECCV 2022.
#   [arXiv:2112.09747](https://arxiv.org/abs/2112.09747).
# * L. Yuan and others. *Tokens-to-Token ViT.* ICCV 2021. [arXiv:2101.11986](https://arxiv.org/abs/2101.11986). B. Heo
#   and others. *Rethinking Spatial Dimensions of Vision Transformers* (PiT). ICCV 2021.
#   [arXiv:2103.16302](https://arxiv.org/abs/2103.16302). H. Fan and others. *Multiscale Vision Transformers.* ICCV
#   2021. [arXiv:2104.11227](https://arxiv.org/abs/2104.11227).
# * S. Mehta, M. Rastegari. *MobileViT.* ICLR 2022. X. Chu and others. *Twins.* NeurIPS 2021. A. El-Nouby and others.
#   *XCiT.* NeurIPS 2021. W. Xu and others. *Co-Scale Conv-Attentional Image Transformers* (CoaT). ICCV 2021.
# * Z. Liu and others. *Swin Transformer.* ICCV 2021. [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). H. Touvron
#   and others. *Training Data-Efficient Image Transformers.* ICML 2021.
#   [arXiv:2012.12877](https://arxiv.org/abs/2012.12877).
