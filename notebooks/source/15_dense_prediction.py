# %% [markdown]
# # 15 · Dense prediction: a class for every pixel, a box for every object
#
# | | |
# |---|---|
# | **You will understand** | how a classifier becomes a network that answers at every pixel; why skip connections, pyramids and decoders exist, and what each of them is worth, measured at edges and by size of object |
# | **You need** | [8 · Swin](08_swin.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [14 · Video](14_video.ipynb) · **15 · Dense prediction** · 16 · Self-supervision, multimodal |

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from course import budget, plots, setup
from course.analysis import iou_by_size, mean_iou
from course.data import load
from course.data.shapes import objects
from course.figures import segmentation as figures
from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.dense.convs import ConvNormReLU, resized
from course.seeds import over_seeds
from course.training import Recipe
from course.training.dense import fit_dense
setup(seed=0)
torch.set_num_threads(1)  # these networks are so small that a second core does not help

# %% [markdown]
# ## 1 · One answer for every pixel
#
# Until now a network gave one answer for a whole image: *cat*. Many questions need an answer **at every place**. Which
# pixels are road? Where does the tumour end? How far away is each point? This is **dense prediction**. The output is as
# large as the input.
#
# This lecture has two such tasks. In **semantic segmentation** every pixel gets a class (sections 2 to 5). In **object
# detection** every object gets a class and a box (section 6).
#
# Our images have 64 × 64 pixels. One to four flat shapes lie on a flat ground. Below each image stands its **mask**, the
# class of every pixel; the white frames are the boxes.

# %%
train = load("shapes", size=budget(tiny=32, cpu=2000), device="cpu")
test = load("shapes", "test", size=budget(tiny=20, cpu=200), device="cpu")
truth = test.labels  # (N, 64, 64): 0 is ground, then disc, ring, square, triangle
own_boxes = [box for _, box in objects(test)]  # N times (M, 4)
figures.masks(test.images[:6], {"mask": truth[:6]}, test.classes, own_boxes[:6]).described(
    "six images with one to four shapes in white frames. Under each its mask: every pixel "
    "has the colour of its class, ground, disc, ring, square or triangle")

# %% [markdown]
# Colours say nothing here: a disc may be red on blue or blue on red. Only the **outline** says what a shape is. So a pixel in
# the middle of a large square needs information from far away. At the same time the answer must be exact to the pixel. These
# two wishes are the theme of the lecture: *look far* and *stay sharp*.
#
# ### How good is a mask?
#
# The share of right pixels is a bad measure. Most pixels are ground, and a network that always says "ground" looks
# good. The usual measure is the **intersection over union** (IoU) of each class, and its mean over the K classes, the **mIoU**:
#
# $$\mathrm{IoU}_k = \frac{|P_k \cap T_k|}{|P_k \cup T_k|}, \qquad \mathrm{mIoU} = \frac{1}{K} \sum_k \mathrm{IoU}_k.$$
#
# $P_k$ are all pixels that are *said* to be of class k, $T_k$ all that *are*. They are counted over all images together.

# %%
def class_ious(predicted, true, classes=5):  # (N, H, W) each -> (K,)
    ious = []
    for k in range(classes):
        both = ((predicted == k) & (true == k)).sum()
        either = ((predicted == k) | (true == k)).sum()
        ious.append(both / either)  # nan where neither has the class
    return torch.stack(ious)

ground = torch.zeros_like(truth)  # (N, H, W): whoever always says "ground"
ious = class_ious(ground, truth)  # (K,)
assert abs(ious.nanmean().item() - mean_iou(ground, truth, classes=5)) < 1e-6
print(f"always ground: {100 * (ground == truth).float().mean():.1f} % of the pixels right,")
print(f"IoU of the ground {100 * ious[0]:.1f} %, of the other classes 0, "
      f"mIoU {100 * ious.nanmean():.1f} %")

# %% [markdown]
# So 17.4 %<!-- printed --> is what knowing nothing gives. Each number below must be held against it.
#
# What can be known from little? That is the second control. A network that sees *one pixel* knows its colour. One that
# sees *5 × 5 pixels* knows whether an edge is near. **Predict** their mIoU. Both are a few convolutions, and the loss is the
# cross-entropy at every pixel, with t the true classes and z the scores:
#
# $$L = -\frac{1}{N H W} \sum_{n, i, j} \log\, \mathrm{softmax}\big(z_{n, :, i, j}\big)_{t_{n, i, j}}$$
#
# *(Price: about five seconds.)*

# %%
def learned(model, steps, seed, lr=5e-3, weight_decay=1e-4):
    def loss(model, images, chosen):  # (B, 3, 64, 64), (B,)
        masks = train.labels[chosen]  # (B, 64, 64)
        return F.cross_entropy(model(images), masks)  # of (B, 5, 64, 64)

    recipe = Recipe(steps=budget(tiny=2, cpu=steps), batch_size=32, lr=lr, seed=seed,
                    weight_decay=weight_decay, warmup=0.1, grad_clip=1.0)
    fit_dense(model, train, loss, recipe, device="cpu", progress=False)
    return model

def answer(model):  # -> (N, 64, 64)
    with torch.no_grad():
        return model(model.normalise_images(test.images)).argmax(dim=1)

def window(k):  # sees k × k pixels
    return nn.Sequential(nn.Conv2d(3, 32, k, padding=k // 2), nn.ReLU(),
                         nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 5, 1))

# %%
def controls(seed):
    found = {}
    for k in (1, 5):
        torch.manual_seed(seed)
        said = answer(learned(window(k), steps=60, seed=seed))
        found[f"{k} × {k} pixels"] = {"mIoU": mean_iou(said, truth, 5),
                                      "pixels right": (said == truth).float().mean().item()}
    return found

plots.bars(over_seeds("15_dense_prediction/controls", controls), measure="share")

# %% [markdown]
# Both answer "ground" everywhere, with every seed: 17.4 %<!-- controls / 5 × 5 pixels / mIoU --> mIoU and 87.2 %<!-- controls / 1 × 1 pixels / pixels right --> of the pixels right. More steps
# would not help. A colour does not tell what it belongs to, and near an edge the ground is still the most probable class. So what the networks below find, they find in
# outlines that are larger than 5 pixels.
#
# ## 2 · From a class to a map: FCN and U-Net
#
# ### The last layer was a convolution all along
#
# A CNN ends with a map (B, D, h, w). The classifier takes the mean over the places and applies a linear layer. Both
# are linear, so their order does not matter:
#
# $$W \Big( \frac{1}{hw} \sum_{i,j} x_{:,i,j} \Big) + b \;=\; \frac{1}{hw} \sum_{i,j} \big( W x_{:,i,j} + b \big).$$
#
# The right-hand side applies the same layer at every place: that is a **1 × 1 convolution**. Leave out the mean, and the
# classifier gives a map of classes. No new weight is needed:

# %%
x = torch.randn(2, 7, 3, 4)  # (B, D, h, w)
linear = nn.Linear(7, 5)
conv = nn.Conv2d(7, 5, kernel_size=1)
with torch.no_grad():
    conv.weight.copy_(linear.weight[:, :, None, None])  # (K, D, 1, 1)
    conv.bias.copy_(linear.bias)
    one = linear(x.mean(dim=(2, 3)))  # (B, K)
    every = conv(x)  # (B, K, h, w)
print(f"largest difference: {(every.mean(dim=(2, 3)) - one).abs().max():.0e}")

# %% [markdown]
# This is the idea of the **fully convolutional network** (FCN; Long and others 2015). It takes images of any size, since
# no layer knows the size.
#
# But the map is coarse. A ResNet halves it five times: 224 pixels become 7 places. Today's FCN does two things about it:
#
# * The last two stages do not halve the map. So that their kernels still reach as far, they are spread out by holes. This is
#   **dilation** (Yu and Koltun 2016): a 3 × 3 kernel with dilation 2 looks at every second place of a 5 × 5 window.
# * The map of classes is interpolated to the size of the image.
#
# ### What can a grid of 8 × 8 say at best?
#
# Here 64 pixels become 8 places. How much is lost by that alone, however good the network? We need no training to
# ask. Take the *true* mask, average it over each place of the grid, interpolate, and take the largest class. By size:
# *small* shapes have the area of a square with a side of 6 to 9 pixels, *medium* ones 11 to 15, *large* ones 19 to 25.
# (The ground is left out of the figures by size. A pixel of ground counts for the shape that is nearest.)

# %%
def by_size(said):
    scores = iou_by_size(said, truth, own_boxes, classes=5)
    return dict(zip(("small", "medium", "large"), scores))

shares = rearrange(F.one_hot(truth, 5), "n h w k -> n k h w").float()  # (N, 5, 64, 64)
at_best = {}
for side in (4, 8, 16, 32):
    averaged = F.adaptive_avg_pool2d(shares, side)  # (N, 5, side, side)
    said = resized(averaged, (64, 64)).argmax(dim=1)  # (N, 64, 64)
    at_best[f"{side} × {side} places"] = by_size(said)
    print(f"{side:2} × {side:<2} mIoU {100 * mean_iou(said, truth, 5):.1f} %")
plots.bars(at_best, measure="mIoU")

# %% [markdown]
# With 8 × 8 places large shapes can still be drawn well, and small ones hardly at all: a small ring is as large as one place. With 16 × 16 most of the loss
# is gone. (It is no strict ceiling. A network is free to exaggerate its scores so that interpolated edges come out right. It is what
# an honest average gives.)
#
# ### Skip connections
#
# The fine maps are there, in the first layers. They know *where* edges are, and not *what* they belong to. The deep maps
# know what, and not where. So bring both together. The FCN paper already adds two finer maps (FCN-16s and FCN-8s).
# **U-Net** (Ronneberger and others 2015) does it at every level: a way down, a way up, and **skip connections** that put
# the map of the way down beside that of the way up:

# %%
net = create_model("unet_shapes").eval()
maps = net.features(torch.zeros(1, 3, 64, 64))  # (1, D, H, W) each, the finest first
levels = [f"{x.shape[2]} × {x.shape[3]} × {x.shape[1]}" for x in maps]
figures.ladder(levels, levels[:-1], across="put beside it", bottom="two convolutions",
               downwards="max pooling, ÷ 2", upwards="up-convolution, × 2",
               last="1 × 1: classes")

# %% [markdown]
# An **up-convolution** (transposed convolution) with a 2 × 2 kernel and stride 2 makes four places of each one.
#
# Now the experiment: what is a skip connection worth? We train an FCN. Then we freeze it and put a way up on it, in three steps: 8 × 8 to
# 16 × 16, 32 × 32 and 64 × 64. In each step the scores are interpolated, the map of the way down is put beside
# them, and two convolutions *add* a correction. The control has the same way up with the same weights, but
# the skip connections carry **zeros**. So we see what the skip adds, and not what more layers add.

# %%
class WayUp(nn.Module):
    """A frozen FCN with a way up: images (B, 3, 64, 64) -> logits (B, 5, 64, 64)."""

    def __init__(self, fcn, skips):
        super().__init__()
        self.fcn, self.skips = fcn.requires_grad_(False), skips
        self.steps = nn.ModuleList([
            nn.Sequential(ConvNormReLU(5 + dim, 16), nn.Conv2d(16, 5, 3, padding=1))
            for dim in (32, 8, 3)])
        for step in self.steps:
            nn.init.zeros_(step[1].weight)  # the beginning is the FCN itself

    def forward(self, images):
        trunk = self.fcn.eval().backbone
        half = F.relu(trunk.norm(trunk.conv(images)))  # (B, 8, 32, 32)
        quarter, *_, last = trunk.features(images)  # (B, 32, 16, 16), ..., (B, 256, 8, 8)
        x = self.fcn.classifier(self.fcn.conv(last))  # (B, 5, 8, 8)
        for skip, step in zip((quarter, half, images), self.steps):
            x = resized(x, skip.shape[2:])  # (B, 5, 16, 16), then 32, then 64
            x = x + step(torch.cat([x, self.skips * skip], dim=1))
        return x

# %% [markdown]
# Where should skips help? At **edges**. A pixel is near an edge if its 3 × 3 neighbours are not all of one class:

# %%
def near_edges(true):  # (N, H, W) -> the same, truth values
    x = true[:, None].float()  # (N, 1, H, W)
    highest, lowest = F.max_pool2d(x, 3, 1, padding=1), -F.max_pool2d(-x, 3, 1, padding=1)
    return (highest != lowest)[:, 0]

edge = near_edges(truth)  # (N, 64, 64)
print(f"{100 * edge.float().mean():.1f} % of the pixels are near an edge")

def scores(said):
    return {"all pixels": mean_iou(said, truth, 5),
            "near edges": mean_iou(said[edge], truth[edge], 5),
            "elsewhere": mean_iou(said[~edge], truth[~edge], 5)}

# %% [markdown]
# *(Price: three trainings, together about 25 seconds. Seed 0 is trained here, seeds 1 and 2 come from a stored run.)*

# %%
said_by = {}

def skips(seed):
    torch.manual_seed(seed)
    fcn = learned(create_model("fcn_shapes"), steps=200, seed=seed)
    said_by["FCN"] = answer(fcn)
    for name, carried in (("way up, zeros", 0.0), ("way up, skips", 1.0)):
        torch.manual_seed(seed)
        said_by[name] = answer(learned(WayUp(fcn, carried), steps=100, seed=seed, lr=1e-2))
    return {name: scores(said) | by_size(said) for name, said in said_by.items()}

results = over_seeds("15_dense_prediction/skips", skips)
shown = ("all pixels", "near edges", "elsewhere")
plots.bars({name: {key: row[key] for key in shown} for name, row in results.items()},
           measure="mIoU")

# %%
few = slice(0, 6)
figures.masks(test.images[few], {"mask": truth[few]} | {k: v[few] for k, v in said_by.items()},
              test.classes).described(
    "six images, their masks, and what three networks say. The FCN's shapes are round and "
    "soft; with a way up they are sharper, most of all where skip connections carry the "
    "fine maps")

# %% [markdown]
# The seeds agree. By mIoU over all pixels the FCN has 72, 71 and 65 %<!-- skips / FCN / all pixels -->, the way up with zeros 76, 75 and 68 %<!-- skips / way up, zeros / all pixels -->, and with skips
# 79, 79 and 71 %<!-- skips / way up, skips / all pixels -->. What the skips alone add, against zeros, is 5 to 8 points<!-- skips / way up, skips / near edges - skips / way up, zeros / near edges -->
# near edges and 2 to 3 points<!-- skips / way up, skips / elsewhere - skips / way up, zeros / elsewhere --> elsewhere. So they do what the drawing promises: they say *where*. Small
# shapes, which are nearly all edge, gain too: 5 to 7 points<!-- skips / way up, skips / small - skips / way up, zeros / small --> against zeros.
#
# Here the trunk was frozen, so that nothing but the way up differs. U-Net trains everything together.
#
# **Question 15.1** Why does a way up *without* skips help at all? It sees nothing that the FCN did not see.
#
# <details><summary>Answer</summary>
#
# Interpolation is a fixed way from 8 × 8 to 64 × 64. The way up is learned. It can learn that shapes have straight edges and
# round ones, and draw what it expects. The exact place of the edge it has to guess from 8 × 8 scores. With the skips it can
# look.
# </details>
#
# > **What slides get wrong here.**
# >
# > * **"No requirement on the input size"** is said of the FCN, and U-Net is called "also fully convolutional". U-Net's pooling
# >   needs an even side at every level. Without padding, as in its paper, 572 × 572 pixels work and give 388 × 388; a side
# >   of 512 does not work (exercise 4).
# > * **Skip connections did not begin with U-Net.** The FCN paper adds finer maps, and its figures compare the results.

# %% [markdown]
# ## 3 · SETR: a plain ViT and three decoders
#
# A plain ViT (lecture 5) has no fine maps at all. Its first layer makes patches of 16 × 16 pixels, and all its layers have that
# one grid. But each token can look at the whole image from the first layer on. So *looking far* is solved, and *staying sharp*
# is the problem of the **decoder**, the part behind the trunk. **SETR** (Zheng and others 2021) tries three of them. Here they
# are at our size, with patches of 8 × 8:

# %%
figures.map_sizes(
    {"naive": [(8, 64), (8, 32), (8, 5), (64, 5)],
     "PUP": [(8, 64), (8, 32), (16, 32), (32, 32), (64, 32), (64, 5)],
     "MLA": [(8, 64), (8, 32), (8, 16), (32, 64), (32, 5), (64, 5)]},
    steps={"naive": ["conv", "1 × 1", "× 8"],
           "PUP": ["conv", "× 2, conv", "× 2, conv", "× 2, conv", "1 × 1"],
           "MLA": ["4 layers,\nsummed", "3 convs\neach", "× 4, side\nby side", "conv", "× 2"]})

# %% [markdown]
# * **Naive**: two convolutions, then one large interpolation. What section 2 said about 8 × 8 places holds here too.
# * **PUP** (progressive upsampling): the map is doubled again and again, with a convolution each time.
# * **MLA** (multi-level aggregation): reads the tokens of *four* layers of the ViT, not of the last only. Each level gets the sum of the
#   deeper ones. The four streams are interpolated to four times the grid and put side by side.
#
# With $z_\ell$ the tokens behind layer $\ell$ as a map and $u_s$ an interpolation by s:
#
# $$\text{naive: } u_8\big(C\, f(z_4)\big), \qquad \text{PUP: } C\, f_4(u_2\, f_3(u_2\, f_2(u_2\, f_1(z_4)))), \qquad
# \text{MLA: } u_2\, C\,\big[\, u_4\, f_\ell\big(\textstyle\sum_{m \ge \ell} r_m(z_m)\big) \,\big]_{\ell = 1}^{4}.$$
#
# C decides the classes, f are convolutions with norm and ReLU, r is a 1 × 1 convolution.
#
# To compare only the decoders, all three stand on **one** trunk, and are trained with it at the same time: the loss is the sum of
# the three. So the trunk serves all of them alike.

# %%
from course.models.dense.setr_heads import MLAHead, NaiveHead, PUPHead

class ThreeDecoders(nn.Module):
    """Images (B, 3, 64, 64) -> decoder -> logits (B, 5, 64, 64)."""

    def __init__(self, dim=64, grid=(8, 8), patch_size=8, channels=32):
        super().__init__()
        self.trunk = create_model("setr_naive_shapes")  # its own head is not used
        self.naive = NaiveHead(dim, 5, grid, patch_size, channels)
        self.pup = PUPHead(dim, 5, grid, patch_size, channels)
        self.mla = MLAHead(dim, 5, grid, 4, patch_size, channels)

    def forward(self, images):
        (stage,), layers = self.trunk.stages, []
        x = stage.entry(self.trunk.stem(images))  # (B, 1 + 64, D)
        for block in stage.blocks:
            x = block(x)  # (B, 1 + 64, D)
            layers.append(x)
        return {"naive": self.naive(x), "PUP": self.pup(x), "MLA": self.mla(layers)}

# %% [markdown]
# *(One training takes about a minute, so the cell shows stored runs of three seeds.)*

# %%
def three_decoders(seed):
    torch.manual_seed(seed)
    model = ThreeDecoders()

    def loss(model, images, chosen):
        return sum(F.cross_entropy(z, train.labels[chosen]) for z in model(images).values())

    recipe = Recipe(steps=budget(tiny=2, cpu=400), batch_size=32, lr=3e-3, weight_decay=1e-2,
                    warmup=0.1, grad_clip=1.0, seed=seed)
    fit_dense(model, train, loss, recipe, device="cpu", progress=False)
    with torch.no_grad():
        logits = model(model.normalise_images(test.images))
    said = {name: z.argmax(dim=1) for name, z in logits.items()}  # (N, 64, 64) each
    return {name: scores(each) | by_size(each) for name, each in said.items()}

results = over_seeds("15_dense_prediction/setr", three_decoders, live=False)
plots.bars({name: {key: row[key] for key in shown} for name, row in results.items()},
           measure="mIoU")

# %% [markdown]
# DECODERS TEXT
#
# ### The other rows of SETR's table
#
# SETR's table 2 is read in section 7. It also has rows of other papers' networks: FCN with 68.59 M and Semantic FPN with 47.51 M parameters,
# both on a ResNet-101. The paper does not define them. But they are built with a known library, so we can try to count them. A 3 × 3 convolution
# from i to o channels, with its norm, has 9 i o + 2 o numbers.

# %%
def conv(i, o, k=3):
    return k * k * i * o + 2 * o  # with scale and shift of its norm

def shapes_only(name, **options):
    with torch.device("meta"):  # no numbers, so it takes no time
        return create_model(name, **options)

trunk = count_parameters(shapes_only("fcn_r50", depths=(3, 4, 23, 3)).backbone)
fcn = conv(2048, 512) + conv(512, 512) + conv(2048 + 512, 512) + 19 * 513  # decoder
fcn += conv(1024, 256) + 19 * 257  # auxiliary decoder
fpn = sum(i * 256 + 256 for i in (256, 512, 1024, 2048)) + 4 * (9 * 256 * 256 + 256)
fpn += 4 * conv(256, 128) + 3 * conv(128, 128) + 19 * 129
ours = count_parameters(shapes_only("fcn_r50", depths=(3, 4, 23, 3), num_classes=19))
print(f"FCN, R-101: printed 68.59M, counted {(trunk + fcn) / 1e6:.2f}M; "
      f"with torchvision's smaller head {ours / 1e6:.2f}M")
print(f"Semantic FPN, R-101: printed 47.51M, counted {(trunk + fpn) / 1e6:.2f}M")

# %% [markdown]
# Both counts are right to about 0.2 %<!-- = 100 * (68.59 - 68.47) / 68.59 -->, so this is how the rows were counted: the FCN with the **auxiliary decoder** of its training, which is thrown
# away afterwards, and Semantic FPN without one. SETR's own rows, in the same table, are counted without (section 7). With torchvision's smaller head the
# same FCN has 51.95<!-- printed --> M. *A network's name does not say its size.* (A third kind of row, *Hybrid-Base* with 112.59 M, is T-Base behind a ResNet-50: lecture 5's hybrid.)
#
# > **What slides get wrong here.**
# >
# > * **The decoders are called the key innovation.** In SETR's table 2 the three decoders on T-Large differ by 1.7<!-- = 78.39 - 76.65 --> points: 77.37, 76.65 and 78.39 %
# >   (40k steps). In our runs they differ by far more, since our trunk has nothing but these images. See section 7 for what pre-training is worth.

# %% [markdown]
# ## 4 · One grid or several: what becomes of small objects
#
# Swin (lecture 8) and PVT have a **pyramid**: maps of several sizes, the fine ones with few channels. A common argument for it is
# dense prediction: small objects need fine maps. A ViT has one grid, which a *single* number decides, the patch size P. What does it cost to make
# this grid finer? With N = (64 / P)² tokens, the linear layers take work in proportion to N, attention to N²:

#
# The cell counts. Then it shows the naive SETR with patches of 16 × 16 and of 8 × 8, trained with the same number of steps. **Predict**: which
# sizes of shapes gain most from finer patches? *(Stored runs of three seeds.)*

# %%
def one_grid(seed):
    found = {}
    for P in (16, 8):
        torch.manual_seed(seed)
        model = create_model("setr_naive_shapes", patch_size=P)
        said = answer(learned(model, steps=400, seed=seed, lr=3e-3, weight_decay=1e-2))
        found[f"ViT, patches of {P} × {P}"] = by_size(said) | scores(said)
    return found

for P in (16, 8, 4):
    macs = count_macs(shapes_only("setr_naive_shapes", patch_size=P), 1, 3, 64, 64)
    print(f"{P:2} × {P:<2} {(64 // P) ** 2:4} tokens, {macs / 1e6:5.1f} million multiply-adds")
groups = ("small", "medium", "large")
results = over_seeds("15_dense_prediction/one_grid", one_grid, live=False)
plots.bars({name: {key: row[key] for key in groups} for name, row in results.items()},
           measure="mIoU")

# %% [markdown]
# Whoever said "the small ones" is wrong here. With patches of 16 × 16 the network has hardly learned to tell the kinds: 19 to 21 %<!-- one_grid / ViT, patches of 16 × 16 / all pixels --> mIoU over all
# pixels, where "always ground" has 17.4 %<!-- controls / 1 × 1 pixels / mIoU -->. With 8 × 8 it has 36 to 46 %<!-- one_grid / ViT, patches of 8 × 8 / all pixels -->, and what it gained are first of all *large* shapes:
# from 2 to 5 %<!-- one_grid / ViT, patches of 16 × 16 / large --> to 24 to 42 %<!-- one_grid / ViT, patches of 8 × 8 / large -->. Small ones end at 6 to 7 %<!-- one_grid / ViT, patches of 8 × 8 / small -->. Is it the grid's ceiling? For the small ones, perhaps: an honest
# average on 8 × 8 places has about as much (section 2). For the large ones it is not: 4 × 4 places could hold far more than this. A patch of 16 × 16 is a hard
# token: 768 numbers, one linear layer, and an outline is spread over several of them. In 400 steps that is not learned. *A coarse grid costs
# resolution and learning, and by accuracy alone one cannot tell which.*
#
# So must the trunk be a pyramid? It is an open debate. **UViT** (Chen and others 2022) keeps one grid and one width through the whole ViT and finds that, for detection,
# it is enough. **ViTDet** (Li and others 2022) makes a pyramid of the *last* map only, by a few (up-)convolutions, and is as good as with a trunk in
# stages when it is pre-trained as a masked autoencoder (lecture 16). Both need fine patches and large images. The measured part of the debate: a decoder can do much. By section 3's
# runs, on the same grid of 8 × 8, small shapes have SETRSMALL

# %% [markdown]
# ## 5 · UperNet with Swin: a decoder for pyramids
#
# If the trunk has several maps, a decoder should read them all. **UperNet** (Xiao and others 2018) is the decoder with which Swin's paper
# segments. It has two ideas:
#
# * A **feature pyramid** (FPN; Lin and others 2017): every finer map gets the interpolated sum of the coarser ones. So the finest map
#   knows what the coarsest has found. Unlike U-Net, which puts maps side by side, FPN *adds* them.
# * **Pyramid pooling** (PSPNet; Zhao and others 2017) on the coarsest map: means over grids of 1 × 1, 2 × 2, 3 × 3 and 6 × 6 regions. It shows every place
#   what the image is like as a whole.
#
# $$p_3 = \mathrm{pool}(c_3), \qquad p_\ell = \ell_\ell(c_\ell) + u_2(p_{\ell + 1}), \qquad z = C\,\big[\,f_1(p_1),\; u_2 f_2(p_2),\; u_4\, p_3\,\big]$$
#
# Pyramid pooling in four bare lines, on a toy map, and the whole at our size, with three stages of Swin:

# %%
c = torch.randn(2, 6, 4, 5)  # (B, D, h, w)
views = [c]
for regions in (1, 2, 3, 6):
    mean = F.adaptive_avg_pool2d(c, regions)  # (B, D, regions, regions)
    views.append(resized(mean, (4, 5)))  # (B, D, h, w)
assert torch.allclose(views[1][:, :, 2, 3], c.mean(dim=(2, 3)), atol=1e-6)
print(tuple(c.shape), "becomes", tuple(torch.cat(views, dim=1).shape))

net = create_model("upernet_shapes").eval()
maps = net.features(torch.zeros(1, 3, 64, 64))  # (1, D, h, w) each, the finest first
levels = [f"{x.shape[2]} × {x.shape[3]} × {x.shape[1]}" for x in maps]
finer = [f"{x.shape[2]} × {x.shape[3]} × 32" for x in maps[:-1]]
figures.ladder(levels, finer, across="1 × 1, added", bottom="pyramid pooling",
               downwards="Swin's merging, ÷ 2", upwards="interpolated, × 2",
               last="all maps: classes")

# %% [markdown]
# (In the network each view is also mapped to fewer channels.)
#
# ### What are the fine maps worth?
#
# As in section 2 we cut the skip connections: the control has the same trunk and the same decoder, but all maps except the last reach the
# decoder as zeros. Then the decoder has to make everything from 4 × 4 places. *(Stored runs of three seeds.)*

# %%
class Reading(nn.Module):
    """UperNet whose decoder reads all maps, or (``fine`` = 0) the last one only."""

    def __init__(self, fine):
        super().__init__()
        self.upernet, self.fine = create_model("upernet_shapes"), fine

    def forward(self, images):  # (B, 3, 64, 64) -> (B, 5, 64, 64)
        *fine, last = self.upernet.features(images)  # 16 × 16, 8 × 8 and 4 × 4 places
        z = self.upernet.head([self.fine * x for x in fine] + [last])  # (B, 5, 16, 16)
        return resized(z, images.shape[2:])

def pyramid(seed):
    found = {}
    for name, fine in (("last map only", 0.0), ("all three maps", 1.0)):
        torch.manual_seed(seed)
        model = learned(Reading(fine), steps=400, seed=seed, lr=3e-3, weight_decay=1e-2)
        found[name] = by_size(answer(model)) | scores(answer(model))
    return found

results = over_seeds("15_dense_prediction/pyramid", pyramid, live=False)
plots.bars({name: {key: row[key] for key in groups} for name, row in results.items()},
           measure="mIoU")

# %% [markdown]
# PYRAMID TEXT
#
# ## Summary
#
# 1. Dense prediction asks for an answer at every place. mIoU counts each class alike; the share of right pixels rewards whoever always
#    says "ground".
# 2. A classifier's last layer is a 1 × 1 convolution. Without the mean before it, a CNN gives a coarse map of classes (FCN).
# 3. Coarse maps lose edges and small objects. Skip connections bring the fine maps back; a control with zeros shows what they add.
# 4. A plain ViT has one grid. Its decoder (naive, PUP, MLA) decides how sharp the answer is. Pre-training decides more.
# 5. A pyramid has fine maps already. UperNet reads all of them: it adds from coarse to fine and looks at the whole image.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Write `pixel_accuracy` and `class_ious` for a network that says "disc" for every pixel that is not ground. What is its mIoU? | 10 |
# | 2 | ●○○ Replace `mode="bilinear"` by nearest neighbours in the ceiling of section 2. Which sizes lose most? | 10 |
# | 3 | ●●○ Give `WayUp` one skip only: the quarter, the half or the image. Which one alone is worth most near edges? | 20 |
# | 4 | ●●○ U-Net without padding: print `output_side(side, depth=4, padded=False)` of `course.models.dense.unet` for sides near 512. Which fit, and what comes out? | 10 |
# | 5 | ●●● Train `unet_shapes` itself for 200 steps, with and without a batch norm behind each convolution. Why does it learn so much more slowly than the FCN? | 30 |
#
# <details><summary>Answers</summary>
#
# EXERCISE ANSWERS
# </details>
#
# ## References
#
# * J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015.
#   [arXiv:1411.4038](https://arxiv.org/abs/1411.4038).
# * F. Yu, V. Koltun. *Multi-Scale Context Aggregation by Dilated Convolutions.* ICLR 2016.
#   [arXiv:1511.07122](https://arxiv.org/abs/1511.07122).
# * O. Ronneberger, P. Fischer, T. Brox. *U-Net: Convolutional Networks for Biomedical Image Segmentation.* MICCAI 2015.
#   [arXiv:1505.04597](https://arxiv.org/abs/1505.04597). Figure 1.
# * S. Zheng and others. *Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers.* CVPR
#   2021. [arXiv:2012.15840](https://arxiv.org/abs/2012.15840). The decoders: section 3.3; sizes and mIoU: table 2.
# * T. Xiao, Y. Liu, B. Zhou, Y. Jiang, J. Sun. *Unified Perceptual Parsing for Scene Understanding.* ECCV 2018.
#   [arXiv:1807.10221](https://arxiv.org/abs/1807.10221). UperNet.
# * T.-Y. Lin and others. *Feature Pyramid Networks for Object Detection.* CVPR 2017.
#   [arXiv:1612.03144](https://arxiv.org/abs/1612.03144).
# * H. Zhao, J. Shi, X. Qi, X. Wang, J. Jia. *Pyramid Scene Parsing Network.* CVPR 2017.
#   [arXiv:1612.01105](https://arxiv.org/abs/1612.01105). Pyramid pooling.
# * Z. Liu and others. *Swin Transformer.* ICCV 2021. [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). Tables 2 and 3.
# * W. Chen and others. *A Simple Single-Scale Vision Transformer for Object Detection and Instance Segmentation.* ECCV 2022.
#   [arXiv:2112.09747](https://arxiv.org/abs/2112.09747). UViT.
# * Y. Li, H. Mao, R. Girshick, K. He. *Exploring Plain Vision Transformer Backbones for Object Detection.* ECCV 2022.
#   [arXiv:2203.16527](https://arxiv.org/abs/2203.16527). ViTDet.
