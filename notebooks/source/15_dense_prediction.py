# %% [markdown]
# # 15 · Dense prediction: a class for every pixel, a box for every object
#
# | | |
# |---|---|
# | **You will understand** | how a classifier becomes a network that answers at every pixel; why skip connections, pyramids and decoders exist, and what each of them is worth, measured at edges and by size of object; detection as a set: matching, set loss, average precision; how to read tables of dense prediction |
# | **You need** | [8 · Swin](08_swin.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [14 · Video](14_video.ipynb) · **15 · Dense prediction** · [16 · Self-supervision, multimodal](16_self_supervision_and_multimodal.ipynb) |

# %% tags=["setup"]
from itertools import permutations
import torch
import torch.nn.functional as F
from einops import rearrange
from scipy.optimize import linear_sum_assignment
from torch import nn
from course import budget, plots, setup
from course.analysis import average_precision, iou_by_size, mean_iou
from course.analysis.detection import recall_by_size, without_copies
from course.data import load
from course.data.shapes import KINDS, object_sides, objects
from course.figures import detection as draw
from course.figures import segmentation as figures
from course.models import architecture, create_model
from course.models.count import count_macs, count_parameters
from course.models.dense.convs import ConvNormReLU, resized
from course.models.dense.detr import (
    detections, generalized_iou, in_order, matching_cost, set_loss)
from course.seeds import over_seeds
from course.training import Recipe
from course.training.dense import fit_dense
from course.training.pretrained import stored_model
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
# *(Stored runs of three seeds; one takes about 17 seconds of one CPU core.)*

# %%
def learned(model, steps, seed, lr=5e-3, weight_decay=1e-4):
    def loss(model, images, chosen):  # (B, 3, 64, 64), (B,)
        masks = train.labels[chosen]  # (B, 64, 64)
        return F.cross_entropy(model(images), masks)  # of (B, 5, 64, 64)

    recipe = Recipe(steps=budget(tiny=2, cpu=steps), batch_size=budget(tiny=4, cpu=32), lr=lr,
                    seed=seed, weight_decay=weight_decay, warmup=0.1, grad_clip=1.0)
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

results = over_seeds("15_dense_prediction/controls", controls, live=False)
plots.bars(results, measure="share", neutral=True)

# %% [markdown]
# Both answer "ground" everywhere, with every seed: 17.4 %<!-- controls / 5 × 5 pixels / mIoU --> mIoU and 87.2 %<!-- controls / 1 × 1 pixels / pixels right --> of the pixels right. More steps
# would not help. A colour does not tell what it belongs to, and near an edge the ground is still the most probable class. So what the networks below find, they find in
# outlines that are larger than 5 pixels.
#
# > **What slides get wrong here.** A table of ADE20K with the columns **"val mIoU" and "test mIoU"**: Swin-L has 53.5 and 62.8, SETR 50.3 and 61.7. No
# > network is 9 to 11 points better just because the images are others. The second column is the benchmark's *test score*: the mean of mIoU and of the share of right
# > pixels (Swin's table 3; the benchmark's page). You saw above how generous that share is.
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
plots.bars(at_best, measure="mIoU", neutral=True)

# %% [markdown]
# With 8 × 8 places large shapes can still be drawn well, and small ones hardly at all: a small shape is about as large as one place. With 16 × 16 most of the loss
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

def by_edge(said):
    return {"all pixels": mean_iou(said, truth, 5),
            "near edges": mean_iou(said[edge], truth[edge], 5),
            "elsewhere": mean_iou(said[~edge], truth[~edge], 5)}

def chart(results, *keys):
    chosen = {name: {key: row[key] for key in keys} for name, row in results.items()}
    return plots.bars(chosen, measure="mIoU", neutral=True)

# %% [markdown]
# *(Price: two trainings, together about 30 seconds of one CPU core; on a GPU not measured. Seed 0 is trained here, seeds 1 and 2 come from a stored run. The control with zeros
# is a stored run of all three seeds.)*

# %%
said_by = {}

def fcn_and_way_up(seed, name, carried):
    torch.manual_seed(seed)
    fcn = learned(create_model("fcn_shapes"), steps=200, seed=seed)
    said_by["FCN"] = answer(fcn)
    torch.manual_seed(seed)
    said_by[name] = answer(learned(WayUp(fcn, carried), steps=100, seed=seed, lr=1e-2))
    return {each: by_edge(said_by[each]) | by_size(said_by[each]) for each in ("FCN", name)}

def skips(seed):
    return fcn_and_way_up(seed, "way up, skips", 1.0)

def zeros(seed):
    return fcn_and_way_up(seed, "way up, zeros", 0.0)

results = (over_seeds("15_dense_prediction/zeros", zeros, live=False)
           | over_seeds("15_dense_prediction/skips", skips))
chart(results, "all pixels", "near edges", "elsewhere")

# %%
few = slice(0, 6)
figures.masks(test.images[few], {"mask": truth[few]} | {k: v[few] for k, v in said_by.items()},
              test.classes).described(
    "six images, their masks, and what two networks say. The FCN's shapes are round and "
    "soft; with a way up and skip connections the borders lie nearer to the true ones, but the "
    "ring of the fifth image is torn, and the third image's square is a disc for both")

# %% [markdown]
# The seeds agree. By mIoU over all pixels the FCN has 72, 71 and 65 %<!-- skips / FCN / all pixels -->, the way up with zeros 76, 75 and 68 %<!-- zeros / way up, zeros / all pixels -->, and with skips
# 79, 79 and 71 %<!-- skips / way up, skips / all pixels -->. What the skips alone add, against zeros, is 5 to 8 points<!-- skips / way up, skips / near edges - zeros / way up, zeros / near edges -->
# near edges and 2 to 3 points<!-- skips / way up, skips / elsewhere - zeros / way up, zeros / elsewhere --> elsewhere. So they do what the drawing promises: they say *where*. (Not *what*: in the pictures, the square of the third image is a
# disc for both networks, and the ring of the fifth is torn.) Small
# shapes, which are nearly all edge, gain too: 5 to 7 points<!-- skips / way up, skips / small - zeros / way up, zeros / small --> against zeros.
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
# >   of 512 does not work (exercise 3).
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
    return {name: by_edge(each) | by_size(each) for name, each in said.items()}

results = over_seeds("15_dense_prediction/setr", three_decoders, live=False)
chart(results, "all pixels", "near edges", "elsewhere")

# %% [markdown]
# All seeds give the same order. Naive has 52 to 54 %<!-- setr / naive / all pixels --> mIoU, PUP 69 to 73 %<!-- setr / PUP / all pixels -->, MLA 79 to 80 %<!-- setr / MLA / all pixels -->.
#
# * **PUP against naive** is what section 2 lets you expect: a learned way up is sharper. Near edges it gains 16 to 22 points<!-- setr / PUP / near edges - setr / naive / near edges -->.
# * **MLA against PUP** is another thing. Near edges they are closer, 0 to 7 points<!-- setr / MLA / near edges - setr / PUP / near edges --> apart. *Elsewhere* MLA gains
#   9 to 14 points<!-- setr / MLA / elsewhere - setr / PUP / elsewhere -->: it knows better *what* a shape is. It reads all four layers, so its loss also reaches all four directly. Which of the two is the
#   reason we have not measured.
#
# **Question 15.2** In section 4 the naive decoder stands on a trunk of its own, of the same size, and has 36 to 46 %<!-- one_grid / ViT, patches of 8 × 8 / all pixels --> after as many steps. Why more here?
#
# <details><summary>Answer</summary>
#
# The trunk is trained by three losses here. What PUP and MLA teach it helps naive as well. So "naive on a shared trunk" is not "naive". A comparison on one trunk is
# fair between the decoders; it is not the number that each would have alone.
# </details>
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
# this grid finer? With N = (64 / P)² tokens, the linear layers take work in proportion to N, attention to N².
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
        found[f"ViT, patches of {P} × {P}"] = by_size(said) | by_edge(said)
    return found

for P in (16, 8, 4):
    macs = count_macs(shapes_only("setr_naive_shapes", patch_size=P), 1, 3, 64, 64)
    print(f"{P:2} × {P:<2} {(64 // P) ** 2:4} tokens, {macs / 1e6:5.1f} million multiply-adds")
results = over_seeds("15_dense_prediction/one_grid", one_grid, live=False)
chart(results, "small", "medium", "large")

# %% [markdown]
# From 8 × 8 to 4 × 4 the work grows 5.7<!-- = 73.0 / 12.7 --> times, for four times the tokens. That is the price of a fine grid.
#
# Whoever predicted "the small ones" is wrong here. With patches of 16 × 16 the network has hardly learned to tell the kinds: 19 to 21 %<!-- one_grid / ViT, patches of 16 × 16 / all pixels --> mIoU over all
# pixels, where "always ground" has 17.4 %<!-- controls / 1 × 1 pixels / mIoU -->. With 8 × 8 it has 36 to 46 %<!-- one_grid / ViT, patches of 8 × 8 / all pixels -->, and what it gained are first of all *large* shapes:
# from 2 to 5 %<!-- one_grid / ViT, patches of 16 × 16 / large --> to 24 to 42 %<!-- one_grid / ViT, patches of 8 × 8 / large -->. Small ones end at 6 to 7 %<!-- one_grid / ViT, patches of 8 × 8 / small -->. Is it the grid's ceiling? For the small ones, perhaps: an honest
# average on 8 × 8 places has about as much (section 2). For the large ones it is not: 4 × 4 places could hold far more than this. A patch of 16 × 16 is a hard
# token: 768 numbers, one linear layer, and an outline is spread over several of them. In 400 steps that is not learned. *A coarse grid costs
# resolution and learning, and by accuracy alone one cannot tell which.*
#
# So must the trunk be a pyramid? It is an open debate. **UViT** (Chen and others 2022) keeps one grid and one width through the whole ViT and finds that, for detection,
# it is enough. **ViTDet** (Li and others 2022) makes a pyramid of the *last* map only, by a few (up-)convolutions, and "can compete with" the best
# detectors on trunks in stages of its time when it is pre-trained as a masked autoencoder (abstract; lecture 16). Both need fine patches and large images. The measured part of the debate: a decoder can do much. By section 3's
# runs, on the same grid of 8 × 8, small shapes have 7 to 11 %<!-- setr / naive / small --> with the naive decoder and 21 to 25 %<!-- setr / MLA / small --> with MLA.
#
# > **What slides get wrong here.** **"ViT can only produce feature maps of single low resolution."** A *single* one, yes. How low it is, the patch size decides; it is a price
# > and no impossibility. And the decoder need not leave it at that: PUP makes finer maps of it step by step, ViTDet a whole pyramid.

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
# $$p_3 = \mathrm{pool}(c_3), \qquad p_\ell = r_\ell(c_\ell) + u_2(p_{\ell + 1}), \qquad z = C\,\big[\,f_1(p_1),\; u_2 f_2(p_2),\; u_4\, p_3\,\big]$$
#
# c are the maps of the trunk, r are 1 × 1 convolutions, f are 3 × 3 convolutions, u interpolates, and C mixes what stands side by side and decides the classes.
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
        found[name] = by_size(answer(model)) | by_edge(answer(model))
    return found

results = over_seeds("15_dense_prediction/pyramid", pyramid, live=False)
chart(results, "small", "medium", "large")

# %% [markdown]
# Without the fine maps everything is lost, and not only the small shapes: these fall to 0 to 1 %<!-- pyramid / last map only / small --> from
# 17 to 19 %<!-- pyramid / all three maps / small -->, but large ones, too, to 12 to 34 %<!-- pyramid / last map only / large --> from 55 to 61 %<!-- pyramid / all three maps / large -->. So *if* the trunk is a pyramid,
# its decoder must read all of it.
#
# Does it follow that a pyramid is better than one grid? **No.** Look back: the plain ViT of section 3, with MLA, has 79 to 80 %<!-- setr / MLA / all pixels --> over all pixels after as many
# steps, and UperNet with all maps 58 to 61 %<!-- pyramid / all three maps / all pixels -->. Nor does the opposite follow: the trunks differ in size, in attention and in their losses. An experiment answers the
# question that was varied, and here that was only what the decoder reads.
#
# UperNet in Swin's paper has one part more, for training only: an **auxiliary head** on the last map but one. Its loss, times 0.4, is added, so that the
# middle of the network is told directly what to find. Afterwards it is thrown away. (Here it is left out.) Section 6 meets the idea in DETR.
#
# > **What slides get wrong here.**
# >
# > * **The row "UperNet, DeiT-S, 44.0" of Swin's table 3** looks like a plain ViT with one grid. Its sign says otherwise: extra (de)convolutions make a pyramid
# >   of its map. So the table compares one kind of pyramid with another, and not "pyramid" with "no pyramid".
# > * **"UperNet" names only the decoder.** The row before it, UperNet with ResNet-101 (44.9), has the same decoder and another trunk. Section 7 counts
# >   how much of "UperNet with Swin" is Swin.

# %% [markdown]
# ## 6 · Detection as a set
#
# A mask says which pixels are *disc*. It does not say how many discs there are. If two of them touch, the mask is one
# region. **Object detection** asks for a list instead: for each object its class and a **box** around it. A box is four
# numbers here: centre x, centre y, width and height, in units of the image's side.

# %%
scenes = test  # the 200 images of section 1
pixels = scenes.images / 255  # (N, 3, 64, 64), 0..1
truths = objects(scenes)  # for each image the classes (M,) and the boxes (M, 4)
i = max(range(len(scenes)), key=lambda image: len(truths[image][0].unique()))  # most kinds
shown = [0, 1, 3, i]

def numbered(kinds, boxes):
    return [(f"{KINDS[kind]} {m}", box) for m, (kind, box) in enumerate(zip(kinds, boxes))]

draw.boxes(pixels[shown], [numbered(*truths[image]) for image in shown],
           [f"{len(truths[image][0])} to find" for image in shown])

# %% [markdown]
# Two things are new for a network. The answer has no fixed length: one object or four. And it has **no order**. "A disc here,
# a square there" is the same answer as "a square there, a disc here". It is a *set*. Both make the loss difficult:
# which of the network's answers should be compared with which object?
#
# Most detectors before 2020 got round the question. They put a fixed grid of **anchors** over the image: thousands of boxes of a
# few sizes and shapes. A rule says which anchor is responsible for which object, and the network moves each anchor a little. Many
# anchors then find the same object. So a second rule, **non-maximum suppression** (NMS), throws away every box that covers a
# surer one too well. **DETR** (Carion and others 2020) has neither. Its loss decides itself who answers for what.
#
# ### How well do two boxes agree?
#
# First we need a number for "this box is right". **Intersection over union** (IoU) is what both boxes cover, over what at
# least one of them covers. It is 1 for equal boxes and 0 for boxes that do not touch:
#
# $$\mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|}, \qquad
# \mathrm{GIoU}(A, B) = \mathrm{IoU}(A, B) - \frac{|C| - |A \cup B|}{|C|},$$
#
# where C is the smallest box around A and B. The second is the **generalised IoU** (Rezatofighi and others 2019).
#
# Why a second one? The cell also moves a box of 0.2 × 0.2 away from an equal one, to the right:

# %%
def corners(box):  # (..., 4): centre and size -> (..., 2) twice: upper left, lower right
    return box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2

def iou_and_giou(a, b):  # (..., 4) twice -> (...) twice
    (a_low, a_high), (b_low, b_high) = corners(a), corners(b)
    overlap = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0)
    both = overlap.prod(dim=-1)  # (...): |A ∩ B|
    either = a[..., 2:].prod(dim=-1) + b[..., 2:].prod(dim=-1) - both  # (...): |A ∪ B|
    around = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).prod(dim=-1)
    return both / either, both / either - (around - either) / around

a, b = torch.rand(2, 5, 7, 4).add(0.1)  # (5, 7, 4) each
assert torch.allclose(iou_and_giou(a, b)[1], generalized_iou(a, b), atol=1e-6)
away = torch.linspace(0, 0.6, 61)  # (61,)
still = torch.tensor([0.2, 0.5, 0.2, 0.2])
moved = still + away[:, None] * torch.tensor([1.0, 0, 0, 0])  # (61, 4)
iou, giou = iou_and_giou(still, moved)  # (61,) each
plots.curves(away, {"IoU": iou, "GIoU": giou}, xlabel="how far the box is moved").described(
    f"IoU falls from 1 to 0 where the boxes part, at 0.2, and stays 0. GIoU goes on falling, "
    f"to {giou[-1]:.2f} at 0.6")

# %% [markdown]
# IoU is 0 as soon as the boxes part, and so is its gradient: a network that looks in the wrong place is not told where to go.
# GIoU goes on falling, since C grows. As a loss, 1 − GIoU pulls the box back.
#
# **Question 15.3** The moved box is twice as wide: `moved[:, 2] = 0.4`. What is the IoU where the centres agree? Predict, then run.
#
# <details><summary>Answer</summary>
#
# 0.5<!-- = 0.2 * 0.2 / (0.2 * 0.4) -->: the small box lies inside the large one, so the intersection is 0.04<!-- = 0.2 * 0.2 --> and the union
# 0.08<!-- = 0.2 * 0.4 -->. It stays 0.5 until the small box leaves the large one: IoU does not tell a box in the middle from one at
# the edge. Nor does GIoU there. This is one reason why DETR's loss also has the plain difference of the four numbers.
# </details>
#
# ### DETR: questions instead of anchors
#
# A small CNN makes a map of 8 × 8 places. Its places are the tokens of a transformer's encoder (lecture 4). The decoder begins with
# eight learned vectors, the **object queries**. In each layer they look at each other (self-attention) and at the image
# (cross-attention). At the end, each query says a class and a box:

# %%
architecture("detr_shapes")

# %% [markdown]
# The last two steps stand side by side: both read the 8 × 64 numbers of the decoder. There are 5 classes for 4 kinds of shapes. The
# fifth is **no object**: eight queries answer, whether there is one shape or four, and most of them should say "nothing". So
# the answer's length is solved: eight are enough for every image, and DETR has 100 for COCO.
#
# Training such a network takes long. The paper's has seen its images 500 times (section 4), and ours needs
# 4,000 steps, some minutes of one CPU core. (We tried a fifth of them: it found next to nothing.) So the course brings
# its weights (`course bench shapes matched --save` makes them anew). What does it find?

# %%
@torch.no_grad()
def detr_answers(detector, at_layer=-1):  # -> logits (N, 8, 5) and boxes (N, 8, 4)
    layers_say = detector.objects(detector.normalise_images(scenes.images))  # (N, 8, D) each
    return detector.predictions(layers_say[at_layer])

detr = stored_model("detr_shapes")
logits, boxes = detr_answers(detr)
found = detections(logits, boxes)  # N times scores (8,), classes (8,), boxes (8, 4)
sure = [[(f"{KINDS[kind]} {score:.2f}", box) for score, kind, box in zip(*found[image])
         if score > 0.5] for image in shown]
draw.boxes(pixels[shown], sure, [f"{len(own)} found, {len(truths[image][0])} there"
                                 for own, image in zip(sure, shown)])

# %% [markdown]
# Each word has its score, the probability of the class. Boxes of queries that are less than half sure are left out, and nothing
# else: no anchors, no NMS.
#
# ### Who answers for what?
#
# Now the heart of it. What does it *cost* to say that query i answers for object j, of class $c_j$ and with the box $b_j$? (Section 3.1
# of the paper; $\hat p$ and $\hat b$ are what the query says.)
#
# $$\mathcal{C}_{ij} = -\,\hat p_i(c_j) + 5\, \lVert \hat b_i - b_j \rVert_1 - 2\, \mathrm{GIoU}(\hat b_i, b_j)$$
#
# Cheap is who is sure of the right class and has the right box. Here is the matrix of the last image
# above, part by part. Look at the sum: who should answer for which of the objects?

# %% tags=["slide-code"]
kinds, true = truths[i]  # (M,), (M, 4)
right_class = logits[i].softmax(dim=-1)[:, kinds]  # (Q, M)
distance = (boxes[i][:, None] - true[None]).abs().sum(dim=-1)  # (Q, 1, 4), (1, M, 4) -> (Q, M)
giou = iou_and_giou(boxes[i][:, None], true[None])[1]  # (Q, M)
cost = -right_class + 5 * distance - 2 * giou  # (Q, M)
assert torch.allclose(cost, matching_cost(logits[i], boxes[i], kinds, true), atol=1e-5)
parts = {"−p(class)": -right_class, "5 · distance": 5 * distance, "−2 · GIoU": -2 * giou}
plots.matrices(parts | {"cost: the sum": cost}, rows=[f"query {q}" for q in range(8)],
               columns=[f"no. {m}" for m in range(len(kinds))], numbers=True).described(
    f"costs of 8 queries for {len(kinds)} objects. The cheapest of each: " + "; ".join(
        f"{KINDS[kind]}, query {q}, {c:.2f}"
        for kind, q, c in zip(kinds, cost.argmin(dim=0).tolist(), cost.min(dim=0).values)))

# %% [markdown]
# Red is cheap (negative), blue is dear. DETR takes the **one-to-one matching** with the smallest sum: each object gets one query, no query
# gets two objects. How does one find it? With a toy matrix of three queries and three objects, three ways:

# %%
def greedy(cost):  # (Q, M) -> the cheapest pair, then the cheapest of what is left, ...
    cost, pairs = cost.clone(), []
    for _ in range(cost.shape[1]):
        q, m = divmod(cost.argmin().item(), cost.shape[1])
        cost[q], cost[:, m] = torch.inf, torch.inf
        pairs.append((q, m))
    return tuple(zip(*pairs))

def hungarian(cost):
    return tuple(each.tolist() for each in linear_sum_assignment(cost.numpy()))

def drawn_order(cost):  # the first query for the first object, and so on
    return (list(range(cost.shape[1])),) * 2

WAYS = {"Hungarian": hungarian, "greedy": greedy, "in order": drawn_order}
toy = torch.tensor([[0.9, 0.1, 0.3], [0.8, 0.2, 0.9], [0.6, 0.8, 0.7]])
draw.assignments(toy, {name: way(toy) for name, way in WAYS.items()})

# %% [markdown]
# **Greedy** takes the cheapest pair (query 0, object 1: 0.1). But query 0 was also the only one that is any good for object
# 2. What is left is dear. The **Hungarian algorithm** (Kuhn 1955) finds the smallest sum of all: it gives object 1 to query 1,
# which costs 0.1 more and saves 0.6 elsewhere. It needs no search through all possibilities; for n × n its time grows like n³.
# **In order** is no matching at all: the list of objects has no order that the image could tell.
#
# Are these differences real with our networks? We match 200 test images each way, with an untrained network and with the trained
# one. To be sure of the Hungarian algorithm, one image is also solved by trying all possibilities.

# %%
all_choices = permutations(range(8), len(kinds))  # of a query for each object
smallest = min(cost[list(choice), range(len(kinds))].sum() for choice in all_choices)
q, m = hungarian(cost)
assert torch.isclose(smallest, cost[q, m].sum())

torch.manual_seed(0)
untrained = create_model("detr_shapes").eval()
untrained.normalise_images = detr.normalise_images
for name, net in {"untrained": untrained, "trained": detr}.items():
    with torch.no_grad():
        said = net(net.normalise_images(scenes.images))  # (N, Q, 5), (N, Q, 4)
    tables = [matching_cost(z, box, *there) for z, box, there in zip(*said, truths)]  # (Q, M)
    sums = {way: torch.stack([table[choose(table)].sum() for table in tables])
            for way, choose in WAYS.items()}  # (N,) each
    more = (sums["greedy"] > sums["Hungarian"] + 1e-4).sum()
    print(f"{name:9} ", "  ".join(f"{way} {each.mean():5.2f}" for way, each in sums.items()),
          f"  greedy pays more in {more} of {len(scenes)} images")

# %% [markdown]
# The last table holds a surprise. Pairs *in order* cost the trained network dear: 5.96<!-- printed --> against -4.89<!-- printed -->. But greedy costs no more than the
# Hungarian algorithm, in none of the 200 images; with an untrained network it does in 29<!-- printed -->, and by so little that the mean is the same. With eight
# queries and at most four objects there is nearly always another query free. So what DETR needs here is *one-to-one* and *by what is in the image*; that the sum is the
# smallest possible one matters in the toy, and not in our images. (With 100 queries and crowds of people it may.)
#
# And look at the first row: to an untrained network all three are alike, 9.44 to 9.46<!-- printed -->. All its queries say nearly the same, wherever they look. The first
# matchings are chance. They decide which query learns from which object, and the query becomes a little better at it, and is matched to such an object again. That is one reason
# why DETR learns slowly.
#
# ### The set loss
#
# With the pairs known, the loss is an ordinary one (the paper calls it the **Hungarian loss**, equation 2):
#
# $$\mathcal{L} = \mathrm{CE}(\text{classes of all queries}) + \frac{1}{M} \sum_{(i, j)\ \text{matched}}
# \big( 5\, \lVert \hat b_i - b_j \rVert_1 + 2\, (1 - \mathrm{GIoU}(\hat b_i, b_j)) \big)$$
#
# The cross-entropy asks all queries: the matched ones for the class of their object, all others for "no object". The boxes are asked
# of the matched ones only.

# %%
wanted = torch.full((8,), 4)  # (Q,): no object
wanted[q] = kinds[m]
weight = torch.tensor([1, 1, 1, 1, 0.1])  # (5,): "no object" counts a tenth
class_loss = F.cross_entropy(logits[i], wanted, weight)
box_loss = 5 * distance[q, m].sum() + 2 * (1 - giou[q, m]).sum()
loss = class_loss + box_loss / len(kinds)
assert torch.isclose(loss, set_loss(logits[i:i + 1], boxes[i:i + 1], [truths[i]]), atol=1e-5)
print(f"classes {class_loss:.2f}, boxes {box_loss / len(kinds):.2f}")

# %% [markdown]
# The weights 5 and 2, and the tenth of "no object", are numbers that somebody has chosen. Gradients do not flow through the matching:
# it is found anew in each step, with the weights as they are.
#
# **Question 15.4** Why a tenth? Hint: how many of the 8 queries have nothing to find?
#
# <details><summary>Answer</summary>
#
# An image has one to four shapes, so of eight queries at least half have nothing to find (of DETR's 100 on COCO, more than nine in ten). With
# equal weights, the easiest way down is that all queries always say "no object". It is the imbalance of classes that you know from
# classification. Try it: `weight[4] = 1` raises the class loss most where a query is not quite sure of "nothing".
# </details>
#
# ### How to score a detector: average precision
#
# A detector gives boxes with scores. Which score is high enough? **Average precision** (AP) does not choose. For one class: sort all
# answers of all images, the surest first. An answer is right if its IoU with an object of that class is at least 0.5, and nobody surer has
# taken the object. After each answer there is a **precision** (the share of answers that were right) and a **recall** (the share of
# objects that were found). AP is the mean, over 101 recalls from 0 to 1, of the best precision at that recall or a higher one.

# %%
def precisions(found, targets, which, threshold=0.5):  # -> (101,), for recalls 0, 0.01, ..., 1
    right, there = [], 0  # (score, was it right?)
    for (scores, kinds, boxes), (true_kinds, true) in zip(found, targets):
        free = true[true_kinds == which]  # (M, 4)
        there += len(free)
        for query in scores.argsort(descending=True):
            if kinds[query] == which:
                overlap = iou_and_giou(boxes[query], free)[0]  # (M,)
                hit = len(free) > 0 and overlap.max() >= threshold
                right.append((scores[query].item(), float(hit)))
                if hit:  # each object is found once
                    free = free[torch.arange(len(free)) != overlap.argmax()]
    hits = torch.tensor(sorted(right, key=lambda one: -one[0]))[:, 1].cumsum(0)  # (D,)
    precision, recall = hits / torch.arange(1, len(hits) + 1), hits / there  # (D,) each
    best = [precision[recall >= r - 1e-6] for r in torch.linspace(0, 1, 101)]
    return torch.stack([each.max() if len(each) else torch.tensor(0.0) for each in best])

# %%
by_kind = {name: precisions(found, truths, which) for which, name in enumerate(KINDS)}
mean = torch.stack(list(by_kind.values())).mean().item()
library = average_precision(found, truths, classes=4, thresholds=(0.5,))
print(f"AP50 by ours {mean:.3f}, by the course's function {library:.3f}; "
      f"its AP over ten thresholds {average_precision(found, truths, classes=4):.3f}")
assert abs(mean - library) < 0.01
levels = torch.linspace(0, 1, 101)
plots.curves(levels, by_kind, xlabel="recall", ylabel="precision").described(
    "precision over recall at an IoU of 0.5. Their means, AP50: " + "; ".join(
        f"{name} {curve.mean():.2f}" for name, curve in by_kind.items()))

# %% [markdown]
# This is AP at IoU 0.5, **AP50**. COCO's "AP" is the mean over ten thresholds, 0.5, 0.55, …, 0.95, and over the classes: a box must fit
# tightly to count in all ten. The course's function has both, and the tests hold it against pycocotools, the official program.
#
# ### What happens without matching?
#
# First with the trained network. It is trained on for 80 steps, once as before, and once with the pairs *in order*: the first query answers
# for the first object of the list. The list comes in a random order, so the order says nothing. All else is the same. Predict: nothing happens, it
# learns more slowly, it unlearns?
#
# *(Price: two short trainings, about 10 seconds on a CPU; on a GPU not measured. This is seed 0; seeds 1 and 2 come from a stored run of the same cell. A seed
# sets the order of the images.)*

# %%
practice = train
practice_truths = objects(practice)

def train_detr(detector, pairing, recipe_here, asked=slice(None), no_object=0.1):
    def set_losses(detector, batch, chosen):  # (B, 3, 64, 64), (B,)
        to_find = [practice_truths[image_number] for image_number in chosen.tolist()]
        given = in_order(to_find) if pairing == "in order" else None  # None: matched
        return sum(set_loss(*detector.predictions(per_query), to_find, no_object=no_object,
                            pairs=given) for per_query in detector.objects(batch)[asked])
    fit_dense(detector, practice, set_losses, recipe_here, device="cpu", progress=False)

def detr_ap50(detector, at_layer=-1, then=list):
    per_image = then(detections(*detr_answers(detector, at_layer)))
    return average_precision(per_image, truths, classes=4, thresholds=(0.5,))

detr_recipe = Recipe(
    steps=400, batch_size=budget(tiny=4, cpu=16), lr=1e-3, weight_decay=1e-4, warmup=0.05,
    grad_clip=1.0)

# %%
gone_on = {}
def going_on(seed):
    for pairing in ("matched", "in order"):
        gone_on[pairing] = stored_model("detr_shapes")
        train_detr(gone_on[pairing], pairing,
                   detr_recipe.but(steps=budget(tiny=2, cpu=80), lr=3e-4, seed=seed))
    return {pairing: {"AP50": detr_ap50(detector)} for pairing, detector in gone_on.items()}

trained_on = over_seeds("15_dense_prediction/going_on", going_on)
draw.average_precisions({"as stored": {"AP50": detr_ap50(detr)}} | trained_on)

# %%
spoiled = detections(*detr_answers(gone_on["in order"]))
draw.boxes(pixels[shown], [
    [(KINDS[kind], box) for score, kind, box in zip(*spoiled[image]) if score > 0.3]
    for image in shown], [f"{len(truths[image][0])} there" for image in shown])

# %% [markdown]
# It unlearns, and fast: in 80 steps AP50 falls from 0.815<!-- printed --> to 15 to 22 %<!-- going_on / in order / AP50 -->, with every seed. Trained on by
# matching it stays at 78 to 81 %<!-- going_on / matched / AP50 -->. The pictures (boxes with a score above 0.3) show why. A query that is told "your object is here" in one step and "there" in the next
# answers with the middle: boxes lie between the objects, or shrink. Where an image has a single object, there is nothing to confuse, and the boxes are the best.
#
# That was unlearning. Does it also prevent learning? A whole training takes too long for three seeds. So the trunk and the encoder are kept
# as they are, trained and frozen, and only the decoder, the queries and both heads begin anew: 400 steps, four ways.
#
# The third and fourth way change two other parts of the loss. **Auxiliary losses**: each layer of the decoder is asked, not only the last one, and all
# these losses are summed (section 3.2 of the paper; `set_loss_of_all_layers` in the course). All layers share the norm, the classifier and the boxes' MLP, and each has
# a matching of its own. The third way asks the last layer alone. The fourth gives "no object" the weight 1. Predict: which of the four learn?
#
# *(Stored runs, three seeds each; a seed sets the first weights and the order of the images. One way takes about 20 seconds of one CPU core.)*

# %%
def fresh_decoder(seed):  # trunk and encoder stay as they are; the rest begins anew
    torch.manual_seed(seed)
    detector, beginner = stored_model("detr_shapes"), create_model("detr_shapes")
    for part_name in ("decoder", "norm", "queries", "classifier", "box"):
        setattr(detector, part_name, getattr(beginner, part_name))
    for trained_part in (detector.backbone, detector.reduce, detector.encoder):
        trained_part.requires_grad_(False)
    return detector

FOUR_WAYS = {"matched": {}, "in order": {},
             "matched, last layer only": {"asked": slice(-1, None)},
             "matched, no-object weight 1": {"no_object": 1.0}}

# %%
def decoders(seed):
    scored = {}
    for pairing, changed in FOUR_WAYS.items():
        detector = fresh_decoder(seed)
        train_detr(detector, pairing, detr_recipe.but(seed=seed), **changed)
        scored[pairing] = {"as it is": detr_ap50(detector),
                           "with NMS": detr_ap50(detector, then=without_copies),
                           "layer 1, as it is": detr_ap50(detector, 0)}
        if pairing == "matched":
            per_image = detections(*detr_answers(detector))
            by_size = recall_by_size(per_image, truths, object_sides(scenes))
            scored["found"] = dict(zip(("small", "medium", "large"), by_size))
    return scored

four_ways = over_seeds("15_dense_prediction/decoders", decoders, live=False)
for layer in (0, 1):
    print(f"stored network, layer {layer + 1}: AP50 {detr_ap50(detr, layer):.3f}, "
          f"with NMS {detr_ap50(detr, layer, then=without_copies):.3f}")
draw.average_precisions({name: four_ways[name] for name in FOUR_WAYS})

# %% [markdown]
# **With matching** the new decoder gets 46 to 49 %<!-- decoders / matched / as it is --> in 400 steps, **in order** 7 to 9 %<!-- decoders / in order / as it is -->. Everything else is the same: the
# same images, the same trunk, the same loss. Who answers for what decides whether anything is learned.
#
# **The weight of "no object"** matters. With 1 in place of a tenth, AP50 is
# 6 to 14 points<!-- decoders / matched / as it is - decoders / matched, no-object weight 1 / as it is --> lower with every seed: more queries say "nothing".
#
# **The auxiliary loss did not help here.** Asked at the last layer only, the three decoders have 41, 53 and 57 %<!-- decoders / matched, last layer only / as it is -->: one is worse than
# with the auxiliary loss, two are better. Layer 1 then says nothing that can be read (less than 1 %<!-- < decoders / matched, last layer only / layer 1, as it is -->), of course. The paper
# found them helpful (section 3.2), with six layers. With two layers and 400 steps we cannot confirm it.
#
# **Is NMS really superfluous?** It takes away boxes that cover a surer one of the same class by more than 0.7. With auxiliary losses each layer's
# answers can be read, with NMS and without. The paper finds (section 4.2, figure 4) that NMS helps the first layer and later layers no longer: the queries have looked at each other, and one of two
# that see the same object steps back. Ours are not so far. The stored network gains 3.7<!-- = 100 * (0.852 - 0.815) --> points by NMS in its *last* layer, and the drawing above had
# two rings for one. In the experiment all three decoders gain too: by 4 to 5 points<!-- decoders / matched / with NMS - decoders / matched / as it is -->. "DETR needs no NMS" is a statement about a network with six layers, trained
# for 500 epochs, and not about the method.
#
# ### What has a query learned?
#
# A query is a vector that is the same for every image. Where do the boxes lie that it finds? A disc for each box, the larger the box, the larger the disc:

# %%
scores, _, boxes_of = (torch.stack(part) for part in zip(*found))  # (N, Q), (N, Q), (N, Q, 4)
centres = boxes_of[..., :2].masked_fill(scores[..., None] < 0.5, torch.nan)  # (N, Q, 2)
draw.places_of_queries(centres, areas=boxes_of[..., 2:].prod(dim=-1))

# %% [markdown]
# Nobody told a query where to look; that they differ comes from the matching alone. Each has a part of the image, the ones in the middle have the larger boxes. (The paper's
# figure 7 shows the same for 20 of its 100 queries. This is one network: with another seed the parts are others.) It is not quite an end to anchors, then: queries are
# learned, few, and not bound to one place, but each has a region that it answers for. The successors of DETR make this plain and give every query
# a learned box of its own (Anchor DETR, DAB-DETR, 2022).
#
# And where does a query look? The last cross-attention has 4 heads; each query has weights over the 8 × 8 places, which sum to 1. A *hook* catches
# what comes into that layer, and the weights are computed from it, as in lecture 3. We draw their mean over the heads, with the box that the query finds:

# %%
caught = []
cross = detr.decoder[-1].cross_attention
hook = cross.register_forward_hook(lambda layer, inputs, output: caught.append(inputs))
detr_answers(detr)
hook.remove()
query, key, *_ = caught[0]  # (N, Q, D), (N, 64, D)
q, k = cross.heads(cross.q(query)), cross.heads(cross.k(key))  # (N, h, Q, d), (N, h, 64, d)
look = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1).detach()  # (N, Q, 64)
named = {f"query {n}: {KINDS[found[i][1][n]]}": n for n in range(8) if found[i][0][n] > 0.5}
draw.looks(pixels[i], {name: look[i, n].view(8, 8) for name, n in named.items()},
           {name: found[i][2][n] for name, n in named.items()})

# %% [markdown]
# The weights lie on the object, for the large disc on its border more than on its middle: the border tells where the box ends. Query 6 says "square" for the same disc; it looks at the
# disc's upper edge only, and that is nearly straight.
#
# ### Small objects
#
# The encoder reads 8 × 8 places. A small shape of our set has the area of a square of 6 to 9 pixels: about one place. Which share of the objects did the
# three "matched" networks of the experiment find, with the right class, a score above 0.5 and an IoU of at least 0.5?
# Of the small objects 42 to 45 %<!-- decoders / found / small -->, of the medium ones 82 to 85 %<!-- decoders / found / medium -->, of the large ones 90 to 95 %<!-- decoders / found / large -->, with every seed. (A box of 7 pixels is
# also harder to hit: one pixel to the side costs a quarter of the IoU.)
#
# The paper has the same, larger (table 1; COCO, ResNet-50): DETR and a Faster R-CNN, each with a long training (500 and 109 epochs), have the same AP, 42.0. On small
# objects DETR has 20.5 against 26.6; on large ones 61.1 against 53.4. Attention over the whole image sees large objects whole. A map of a
# 32nd of the image's side is too coarse for small ones, and a finer one is dear: twice the side is four times the tokens and 16 times
# the pairs. Later detectors attend to a few places on maps of several sizes instead (Deformable DETR, Zhu and others 2021); they
# need a tenth of the epochs, too. (`course models detr_r50` shows the paper's network, part by part.)
#
# > **What slides get wrong here.**
# >
# > * **"DETR does not rely on hand-designed components."** Not on anchors and not on NMS. What is left was chosen by hand: the weights 5
# >   and 2 of the boxes, in the loss and again in the matching; the tenth for "no object"; the number of queries; the auxiliary losses. Our
# >   experiment changed two of them.
# > * **"DETR requires an extra-long training schedule."** True: 500 epochs (section 4). But the Faster R-CNN of the same AP, "+" in table 1,
# >   was trained for 109 epochs, three times as long as is usual, with GIoU and random crops as DETR's. Compare it with that one.
# > * **"The same model does panoptic segmentation."** The boxes are learned first; then a mask head is trained that reads
# >   the attention maps (section 4.4). The idea is the same, the model has one part more.

# %% [markdown]
# ## 7 · The decks' tables, read
#
# Tables of detection and segmentation are longer than those of classification, and each row has more in it than a name: a trunk, a head,
# pre-training, a schedule, a size of image. We read three of them and count again what can be counted.
#
# ### Swin on COCO: four detectors
#
# Table 2 of the Swin paper (Liu and others 2021) exchanges the trunk in four detectors, ResNet-50 for Swin-T:
#
# | detector | what it is | AP, R-50 → Swin-T | parameters | multiply–adds |
# |---|---|---:|---:|---:|
# | Cascade Mask R-CNN (Cai and Vasconcelos 2018) | two steps: boxes are proposed, then judged three times in turn, each time with a stricter IoU; a mask for each | 46.3 → 50.5 | 82M → 86M | 739G → 745G |
# | ATSS (Zhang and others 2020) | one step, one anchor a place; which anchors answer for an object is decided by the statistics of their IoU | 43.5 → 47.2 | 32M → 36M | 205G → 215G |
# | RepPoints v2 (Chen and others 2020) | no boxes as anchors: a set of points for each object, moved by deformable convolutions, and corners as a check | 46.5 → 50.0 | 42M → 45M | 274G → 283G |
# | Sparse R-CNN (Sun and others 2021) | DETR's idea without a transformer over the image: some hundred learned boxes and vectors, refined six times, with a one-to-one matching and no NMS | 44.5 → 47.9 | 106M → 110M | 166G → 172G |
#
# So all four rows ask the question of this section, *who answers for what*, and give four answers: by an IoU that grows
# (Cascade), by statistics (ATSS), by points (RepPoints), by matching (Sparse R-CNN). The trunk gives 3.4 to 4.2 points in each (table 2).
#
# Can the columns be checked? The head is the same in both rows, so the *difference* is the trunk's. We have both trunks:

# %%
def trunk(name, size, **options):  # parameters and multiply-adds, without the classifier
    with torch.device("meta"):
        network = create_model(name, num_classes=0, **options)
    return count_parameters(network) / 1e6, count_macs(network, 1, 3, *size) / 1e9

size = (896, 1120)
swin, swin_macs = trunk("swin_t", size, img_size=size)
resnet, resnet_macs = trunk("resnet_50", size)
print(f"Swin-T {swin:.1f}M {swin_macs:.0f}G, ResNet-50 {resnet:.1f}M {resnet_macs:.0f}G: "
      f"{swin - resnet:.1f}M and {swin_macs - resnet_macs:.0f}G more")

# %% [markdown]
# (The paper counts at 800 × 1280 pixels. Windows of 7 × 7 do not divide that map, so we count at 896 × 1120, which has 2 %<!-- = 100 * (1 - 896 * 1120 / (800 * 1280)) --> fewer
# pixels.) The parameters fit: 4.0<!-- printed -->M more, and the four pairs of rows differ by 4, 4, 3 and 4M. The multiply–adds fit roughly: 8<!-- printed -->G
# here, 6 to 10G there. The head is not quite the same: it reads maps of 96 to 768 channels from Swin and of 256 to 2,048 from the ResNet,
# and which of the maps differs from detector to detector. So, in this table, the trunks are about equally large, and the gain is
# not bought with size. It may be bought with pre-training: the ResNet-50 and Swin-T were trained on ImageNet by different recipes (lecture 7).
#
# **Question 15.5** Sparse R-CNN has 106M parameters and 166G multiply–adds, ATSS 32M and 205G (table 2). How can the larger one be cheaper?
#
# <details><summary>Answer</summary>
#
# ATSS runs a small convolutional head over *every place* of five maps: few weights, used very often. Sparse R-CNN runs a large head on some hundred boxes only. It is the difference between a convolution and a fully connected layer. "Parameters" and "multiply–adds" are two
# different prices, and neither is time: ATSS runs 28.3 images a second and Sparse R-CNN 21.0 (table 2; the column without a heading on the slides).
# </details>
#
# ### Swin on ADE20K: one head, four trunks
#
# UperNet with Swin (section 5) stands four times in table 3 of the paper. We count at the size at which the paper says it counts, 512 × 2048,
# and at one more:

# %%
SAID = {"upernet_swin_t": "60M 945G", "upernet_swin_s": "81M 1038G",
        "upernet_swin_b": "121M 1841G", "upernet_swin_l": "234M 3230G"}
print(f"{'':14}  {'printed':10}  counted, in head  512 × 2048  640 × 2560")
for name, said in list(SAID.items())[:budget(tiny=1, cpu=4)]:
    macs = []
    for size in ((512, 2048), (640, 2560)):
        with torch.device("meta"):
            network = create_model(name, img_size=size)
        macs.append(f"{count_macs(network, 1, 3, *size) / 1e9:6,.0f}G")
    millions, head = (count_parameters(part) / 1e6 for part in (network, network.head))
    print(f"{name}  {said:10}  {millions:5.1f}M  {head:.1f}M  {macs[0]:>10}  {macs[1]:>10}")

# %% [markdown]
# All parameters agree. More than half of "UperNet + Swin-T" is not Swin: 31.5<!-- printed -->M of 59.9<!-- printed -->M are the head. And the multiply–adds of T and S
# agree at 512 × 2048, those of B only at 640 × 2560: 1,839<!-- printed -->G. B and L carry the sign ‡: pre-trained on
# ImageNet-22K. That their images are larger too, 640 × 640 in training, stands in the authors' list of models, and the count shows it. So from S
# (49.3 mIoU) to B (51.6) three things change at once (table 3): the trunk, the data, the size of the image. One cannot read from this table what a larger Swin is worth. The authors' list of models, beside their code,
# has the row that is missing: Swin-B on ImageNet-1K at 512 × 512, with 1188G (we count 1,187<!-- printed -->G). It has 49.72 mIoU and Swin-S 49.47 in the column "ms+flip": the
# answers for the image in several sizes, and mirrored, are averaged. With one answer an image they have 48.13 and 47.64. So a row says little before one knows how it was *tested*. (L's 3230G we do not get: we count 2,580<!-- printed -->G.)
#
# ### SETR: which one is "308M"?
#
# The same table has a row "SETR, T-Large‡, 50.3 mIoU, 308M". SETR's own paper (Zheng and others 2021, table 2) prints three T-Large: Naive 305.67M, MLA 310.57M,
# PUP 318.31M. Its table is of Cityscapes (19 classes, 768 × 768 pixels), Swin's is of ADE20K (150 classes, 512 × 512):

# %%
PRINTED = {"setr_naive": 305.67, "setr_mla": 310.57, "setr_pup": 318.31, "setr_pup_b": 97.64}
print(f"{'':10}  {'printed':>8}  " + "  ".join(f"{k:>3} classes, {side}" for k, side in (
    (19, 224), (19, 768), (150, 512))))
for name, said in list(PRINTED.items())[:budget(tiny=1, cpu=4)]:
    counts = []
    for classes, size in ((19, 224), (19, 768), (150, 512)):
        with torch.device("meta"):
            network = create_model(name, num_classes=classes, img_size=size)
        counts.append(f"{count_parameters(network) / 1e6:.2f}M")
    print(f"{name:10}  {said:7.2f}M  " + "  ".join(f"{count:>14}" for count in counts))

# %% [markdown]
# Positions are learned, so the size of the image counts: 48 × 48 places in place of 14 × 14 are 2.16<!-- = 1024 * (48 ** 2 - 14 ** 2) / 1e6 -->M more. Naive is printed as it is at
# *224* pixels, the size of its pre-training; MLA's 310.57M lies within 0.2<!-- = 310.735 - 310.57 -->M of the count at 768. **PUP's 318.31M is none of these**: the authors' code makes a network of
# 307.44<!-- printed --> to 309.60<!-- printed -->M, 9 to 11M less. Even with the four auxiliary heads of the training, 2.38M each, it is
# 316.96<!-- = 307.44 + 4 * 2.38 -->M at 224 pixels. And "308M" is printed nowhere in SETR's paper. Of all these only the code's PUP, at the size and with
# the classes of ADE20K, has it: 308.32<!-- printed -->M.
#
# It matters little for an argument: nearly all of these networks is the ViT-L. What the table does show is what *pre-training* is worth:
# SETR-PUP with a trunk that starts from nothing has 42.27 mIoU where the same network pre-trained on ImageNet-21K has 78.39 (table 2, 40,000 steps).
# All decoders together differ by less than 2 points (76.65 to 78.39).
#
# > **What slides get wrong here.**
# >
# > * **SETR-PUP is not 318.31M**, by its authors' own code: see above. PUP-Base is further off: 97.64M printed (table 2),
# >   89.35<!-- printed --> to 90.96<!-- printed -->M counted.
# > * **SETR is 308M in one table and 305.67, 310.57 or 318.31M in another**, on slides of the same deck. A table of other people's networks is copied,
# >   and nobody counts it again.
# > * **The last column of Swin's tables has no heading on slides.** It is FPS, images a second of the whole network (lecture 8).
# > * **"Zheng, FAIR"**: the first author is at Fudan University; Facebook AI is one of several institutions that the paper names.
#
# ## Summary
#
# 1. **Dense prediction** asks for an answer at every place. mIoU counts each class alike; the share of right pixels rewards whoever always
#    says "ground".
# 2. **FCN**: a classifier's last layer is a 1 × 1 convolution. Without the mean before it, a CNN gives a coarse map of classes.
# 3. **Coarse maps lose edges and small objects.** Skip connections bring the fine maps back. A control that carries zeros shows what they add:
#    most of it near edges.
# 4. **A plain ViT has one grid.** Its decoder (naive, PUP, MLA) decides how sharp the answer is.
# 5. **A pyramid has fine maps already.** UperNet reads all of them: it adds from coarse to fine, and looks at the whole image.
# 6. **Detection is a set**: some objects, in no order. DETR asks with more queries than there are objects; most answer "no object".
# 7. **Who answers for what** is decided by a one-to-one matching by cost: class, distance, GIoU. In our experiment a decoder learns with it and
#    not without (46 to 49 %<!-- decoders / matched / as it is --> against 7 to 9 %<!-- decoders / in order / as it is --> AP50). Greedy matching would have been as cheap
#    in our images; NMS still helped; auxiliary losses did not.
# 8. **IoU is blind where boxes do not touch**, generalised IoU is not; the loss has it beside the plain difference.
# 9. **AP** asks for no threshold of the score: precision over recall, the mean. AP50 is lenient, COCO's AP is not.
# 10. **Tables can be counted again**: trunk for trunk, size for size, with the auxiliary heads or without. Swin-B's row in the table of ADE20K is of larger
#     images; SETR-PUP's 318.31M (table 2) is not the network of its authors' code.
#
# ## To revise: which cell shows what
#
# | section | what a cell shows |
# |---|---|
# | 1 | masks and boxes; mIoU in ten lines; what always "ground", one pixel and 5 × 5 pixels are worth |
# | 2 | a linear layer as a 1 × 1 convolution; what grids of 4 to 32 places can hold; U-Net's ladder; skip connections against zeros, near edges |
# | 3 | the maps of SETR's three decoders; all three on one trunk; rows of SETR's table counted |
# | 4 | the price of a finer grid; patches of 16 × 16 and 8 × 8 by size of shape |
# | 5 | pyramid pooling in four lines; UperNet's ladder; all maps against the last one |
# | 6 | IoU and GIoU over a distance; the cost matrix of one image; three ways to match; the set loss in six lines; average precision beside the library's; training on with and without matching; four decoders; queries and where they look |
# | 7 | trunks, heads and images of three tables counted |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ What is the mIoU of a network that finds every shape to the pixel and calls all of them "disc"? Predict, then use `class_ious`. | 10 |
# | 2 | ●○○ Interpolate the honest average of section 2 with nearest neighbours, `F.interpolate(averaged, size=(64, 64))`. Which sizes gain, which lose? | 10 |
# | 3 | ●○○ U-Net without padding: print `output_side(side, depth=4, padded=False)` of `course.models.dense.unet` for sides near 512. Which fit, and what comes out of them? | 10 |
# | 4 | ●○○ Match without the distance, and without GIoU (`hungarian` of the sum of the two other parts). In how many of the 200 images does a pair change? | 10 |
# | 5 | ●●○ Match by the class alone (`-right_class`), and by the boxes alone. Which of the two is nearer to the full matching? Predict first. | 15 |
# | 6 | ●●○ `precisions` with thresholds of 0.75 and 0.9: what becomes of the four kinds? | 10 |
# | 7 | ●●● Train `unet_shapes` itself with `learned`, for 200 steps. Then put a batch norm behind each of its convolutions. Does it learn what the FCN learned? | 30 |
#
# <details><summary>Answers</summary>
#
# 1. 24 per cent: 100 for the ground, 20 for the discs (what is called "disc" is five times as much as the discs), 0 for the others.
# 2. With 8 × 8 places small shapes gain, from 10 to 28 per cent, and large ones lose, from 80 to 67. Interpolation rounds corners off and makes small things smaller;
#    nearest neighbours leave blocks. In all, 72 per cent become 66.
# 3. 492, 508, 524, 540, 556, 572, 588: they are 16 apart. Each pair of convolutions takes 4 pixels, and then the side must be even, four times.
#    Out come 184 pixels less, 388 from 572. 512 is not among them.
# 4. Of the 200 images, in which there are 452 objects: without the distance in 14 images, without GIoU in 22. The two say nearly the same here.
# 5. By the class alone 142 of the 452 pairs change, by the boxes alone 40. Several queries are sure of the same class, but few lie in the
#    same place. So places decide, and the class settles what is left.
# 6. At 0.75 the AP is 0.53, 0.65, 0.36 and 0.77 for discs, rings, squares and triangles, where it was 0.76, 0.90, 0.68 and 0.93; at 0.9 it is
#    0.08, 0.07, 0.01 and 0.13. Boxes of 8 × 8 places seldom fit to the pixel.
# 7. Not in our two runs, one seed each. The run of 200 steps without norms (rate 0.001) said "ground" nearly everywhere, mIoU 17.5 per cent; one with batch norms
#    (250 steps of 16 images) as well, though its loss fell from 1.7 to 0.35. The FCN has residual connections and 256 channels where this U-Net has 64; which of the
#    two matters we have not tried.
# </details>
#
# ## References
#
# * Z. Cai, N. Vasconcelos. *Cascade R-CNN: Delving into High Quality Object Detection.* CVPR 2018.
#   [arXiv:1712.00726](https://arxiv.org/abs/1712.00726).
# * N. Carion and others. *End-to-End Object Detection with Transformers.* ECCV 2020.
#   [arXiv:2005.12872](https://arxiv.org/abs/2005.12872). DETR; matching and loss: section 3; table 1.
# * W. Chen and others. *A Simple Single-Scale Vision Transformer for Object Detection and Instance Segmentation.* ECCV 2022.
#   [arXiv:2112.09747](https://arxiv.org/abs/2112.09747). UViT.
# * Y. Chen and others. *RepPoints V2: Verification Meets Regression for Object Detection.* NeurIPS 2020.
#   [arXiv:2007.08508](https://arxiv.org/abs/2007.08508).
# * H. W. Kuhn. *The Hungarian Method for the Assignment Problem.* Naval Research Logistics Quarterly 2, 1955.
# * Y. Li, H. Mao, R. Girshick, K. He. *Exploring Plain Vision Transformer Backbones for Object Detection.* ECCV 2022.
#   [arXiv:2203.16527](https://arxiv.org/abs/2203.16527). ViTDet.
# * T.-Y. Lin and others. *Feature Pyramid Networks for Object Detection.* CVPR 2017.
#   [arXiv:1612.03144](https://arxiv.org/abs/1612.03144).
# * Z. Liu and others. *Swin Transformer.* ICCV 2021. [arXiv:2103.14030](https://arxiv.org/abs/2103.14030). Tables 2 and 3.
# * J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015.
#   [arXiv:1411.4038](https://arxiv.org/abs/1411.4038).
# * H. Rezatofighi and others. *Generalized Intersection over Union.* CVPR 2019.
#   [arXiv:1902.09630](https://arxiv.org/abs/1902.09630).
# * O. Ronneberger, P. Fischer, T. Brox. *U-Net: Convolutional Networks for Biomedical Image Segmentation.* MICCAI 2015.
#   [arXiv:1505.04597](https://arxiv.org/abs/1505.04597). Figure 1.
# * P. Sun and others. *Sparse R-CNN: End-to-End Object Detection with Learnable Proposals.* CVPR 2021.
#   [arXiv:2011.12450](https://arxiv.org/abs/2011.12450).
# * T. Xiao, Y. Liu, B. Zhou, Y. Jiang, J. Sun. *Unified Perceptual Parsing for Scene Understanding.* ECCV 2018.
#   [arXiv:1807.10221](https://arxiv.org/abs/1807.10221). UperNet.
# * F. Yu, V. Koltun. *Multi-Scale Context Aggregation by Dilated Convolutions.* ICLR 2016.
#   [arXiv:1511.07122](https://arxiv.org/abs/1511.07122).
# * S. Zhang and others. *Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample Selection.* CVPR
#   2020. [arXiv:1912.02424](https://arxiv.org/abs/1912.02424). ATSS.
# * H. Zhao, J. Shi, X. Qi, X. Wang, J. Jia. *Pyramid Scene Parsing Network.* CVPR 2017.
#   [arXiv:1612.01105](https://arxiv.org/abs/1612.01105). Pyramid pooling.
# * S. Zheng and others. *Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers.* CVPR
#   2021. [arXiv:2012.15840](https://arxiv.org/abs/2012.15840). SETR; decoders: section 3.3; table 2.
# * X. Zhu and others. *Deformable DETR.* ICLR 2021. [arXiv:2010.04159](https://arxiv.org/abs/2010.04159).
