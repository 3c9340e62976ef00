# %% [markdown]
# # 1 · Convolution: what a CNN assumes, and what follows from it
#
# | | |
# |---|---|
# | **You will understand** | what a convolution assumes about images; equivariance and invariance, tested; twenty-five years of CNNs as one counted table; why depth needs a path around; eight update rules; batch norm in training and in evaluation; how to read training curves; an inductive bias as a prior |
# | **You need** | PyTorch; [0 · Start here](00_start_here.ipynb) for the letters B C H W |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [0 · Start here](00_start_here.ipynb) · **1 · Convolution** · [2 · Beyond local](02_beyond_local.ipynb) |
# | **Homework** | none of its own; the networks of this lecture are the controls of all later ones |

# %% tags=["setup"]
import inspect
from dataclasses import replace
import torch
import torch.nn.functional as F
import torchvision
from einops import rearrange
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import convolution as figures
from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.mobilenet import SeparableBlock
from course.models.resnet import Bottleneck
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes, update_rules
from course.training.update_rules import descend, minibatches
setup(seed=0)

# %% [markdown]
# ## 1 · From fully connected to convolution
#
# An image of 32 × 32 pixels and three colours is 3,072<!-- = 3 * 32 * 32 --> numbers. The simplest network for it
# is a **fully connected** layer: each of its outputs is a weighted sum of *all* inputs, each with weights of its
# own. How many weights does that take, and how many does a convolution take?

# %%
connected = nn.Linear(3 * 32 * 32, 10)  # (B, 3072) -> (B, 10)
convolution = nn.Conv2d(3, 16, kernel_size=3)  # (B, 3, 32, 32) -> (B, 16, 30, 30)
for name, layer in {"fully connected": connected, "convolution": convolution}.items():
    shapes = [tuple(p.shape) for p in layer.parameters()]
    print(f"{name}: {count_parameters(layer):,} numbers, {shapes}")

# %% [markdown]
# 30,730<!-- printed --> numbers for ten outputs, against 448<!-- printed --> for sixteen whole maps. An image of
# 224 × 224 pixels would need 49 times<!-- = 224 * 224 / 32 / 32 --> as many weights in the fully connected layer, and
# not one more in the convolution.
#
# A convolution gets there by two assumptions about images:
#
# 1. **Locality.** What belongs together lies close together. So an output looks at a small window only.
# 2. **Sharing.** What is worth finding in one place is worth finding in every place. So all windows use the same
#    weights, the **kernel** (or *filter*).
#
# Written out, for input channels c and a kernel of F × F:
#
# $$y_{i,j} = b + \sum_{c=1}^{C}\ \sum_{p=0}^{F-1}\ \sum_{q=0}^{F-1} w_{c,p,q}\; x_{c,\,i+p,\,j+q}$$
#
# Here it is with loops, on one channel. The input is dark on the left and bright on the right. The kernel
# subtracts what is left of a place from what is right of it:

# %%
x = torch.tensor([[0.0, 0, 0, 4, 4, 4]] * 3 + [[0.0, 0, 0, 0, 4, 4]] * 2)  # (H, W) = (5, 6)
w = torch.tensor([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]])  # (F, F) = (3, 3)
y = torch.zeros(3, 4)  # (H - F + 1, W - F + 1)
for i in range(3):
    for j in range(4):
        y[i, j] = (w * x[i:i + 3, j:j + 3]).sum()
assert torch.equal(y, F.conv2d(x[None, None], w[None, None])[0, 0])  # (1, 1, 3, 4)
plots.matrices({"x (5, 6)": x, "kernel w (3, 3)": w, "y (3, 4)": y}).described(
    f"an image of 5 by 6 with an edge, a kernel of 3 by 3 that finds vertical edges, and the "
    f"map of 3 by 4: first row {y[0].int().tolist()}, last row {y[2].int().tolist()}")

# %% [markdown]
# The map is large where the edge is, and 0 where nothing changes. It is smaller than the image, since a window of
# 3 has only 4 places in a row of 6. With **padding** P (a border of zeros) and **stride** S (how far the window
# moves), a side of I pixels becomes
#
# $$O = \left\lfloor \frac{I + 2P - F}{S} \right\rfloor + 1 .$$
#
# A kernel spans *all* input channels: it is a block of C × F × F numbers, and gives *one* map of O × O. A layer
# with 16 kernels gives 16 maps.
#
# ### The same thing as a matrix
#
# A convolution is linear, so it is a matrix too: a fully connected layer in which most weights are 0 and the
# others are equal. We read the matrix off by feeding in maps with a single 1. In the middle is what lies between:
# a layer that is local, but has weights of its own at every place.

# %%
def as_matrix(layer, height=4, width=5):
    """(N, N) of a layer on maps of N places: row i is what output i takes from each input."""
    basis = torch.eye(height * width).view(-1, 1, height, width)  # (B = N, 1, H, W)
    return layer(basis).detach().flatten(1).T  # (N, N)

shared = as_matrix(nn.Conv2d(1, 1, 3, padding=1, bias=False))  # (N, N) = (20, 20)
everything = torch.randn(20, 20)
local = torch.randn(20, 20) * (shared != 0)
tables = {"fully connected": everything, "local": local,
          "local and shared\n= convolution": shared}
weights = {name.splitlines()[0]: len(t[t != 0].unique()) for name, t in tables.items()}
print(weights)
plots.matrices(tables, numbers=False).described(
    "the three as matrices of 20 by 20. Different weights: " + "; ".join(
        f"{name} {count}" for name, count in weights.items()))

# %% [markdown]
# 400<!-- printed --> weights, then 130<!-- printed -->, then 9<!-- printed -->. The first step is locality, the
# second is sharing.
#
# ### What follows a convolution
#
# A CNN repeats three steps: convolution, a non-linear function, **pooling**. Pooling takes one number for each
# small square, mostly the largest. Here are three kernels made by hand, on one image of the course's set
# `two_questions` (lecture 0):

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=4000), device="cpu")
train = train.ask("texture")
test = load("two_questions", "test", size=budget(tiny=50, cpu=500), device="cpu")
test = test.ask("texture")
image = test.images[3]  # (C, H, W) = (3, 32, 32)
kernels = torch.zeros(3, 3, 5, 5)  # (D, C, F, F)
kernels[0, 0], kernels[0, 1:] = 1 / 25, -1 / 50  # red, and not green or blue
kernels[1, :, :, :2], kernels[1, :, :, 3:] = -1 / 30, 1 / 30  # brighter to the right
kernels[2, :, :2], kernels[2, :, 3:] = -1 / 30, 1 / 30  # brighter below
maps = F.conv2d(image[None] / 255, kernels)[0]  # (D, 28, 28)
pooled = F.max_pool2d(maps.relu(), 4)  # (D, 7, 7)
panels = {"image": image}
for name, before, after in zip(("red", "left to right", "top to bottom"), maps, pooled):
    panels |= {f"{name}": before, f"{name}\nReLU, max of 4 × 4": after}
figures.layers(panels, columns=7)

# %% [markdown]
# The first map answers to the plus, wherever it is. The other two answer to edges. **ReLU** keeps what is
# positive, and pooling makes the map coarse: *there is a plus about here*. What the kernels should be, nobody has
# to say. They are learned.
#
# **Question 1.1** A layer has kernels of 3 × 3, 16 input channels and 32 output channels. How many numbers does it
# learn? How large is its map of an image of 32 × 32 with padding 1 and stride 2? Predict, then run
# `count_parameters(nn.Conv2d(16, 32, 3))`.
#
# <details><summary>Answer</summary>
#
# 32 kernels of 16 × 3 × 3 and 32 biases: 4,640<!-- = 32 * 16 * 3 * 3 + 32 -->. The map: (32 + 2 − 3) / 2 is
# 15.5<!-- = 31 / 2 -->, rounded down, plus 1: 16 × 16.
# </details>
#
# > **What slides get wrong here.** In mathematics, a convolution turns the kernel upside down first. What all
# > libraries compute, and what the formula above says, is a *cross-correlation*. For learned kernels it makes no
# > difference; for a formula that is copied from a book on signals it does.

# %% [markdown]
# ## 2 · Equivariant is not invariant
#
# Slides disagree here. On some of them a CNN has *translation invariance*. Others quote Geoffrey Hinton, who
# counts *poor translational invariance* among the flaws of CNNs. Two words have to be kept apart. Let T be a shift
# of the image:
#
# $$\text{equivariant:}\quad f(Tx) = T f(x) \qquad\qquad \text{invariant:}\quad f(Tx) = f(x)$$
#
# A **convolution is equivariant**: if the cat moves, its map moves. A *classifier* should be invariant: the answer
# stays "cat". We test both. First the maps: cut a window out of a large image, move the window by d pixels, and
# compare the last map with the moved last map, where the two overlap.

# %%
def small_cnn(padding=0, stride=1):
    layers = []
    for before, after, s in [(3, 16, 1), (16, 16, stride), (16, 16, 1)]:
        layers += [nn.Conv2d(before, after, 3, s, padding), nn.ReLU()]
    return nn.Sequential(*layers)  # (B, 3, H, W) -> (B, 16, h, w)

@torch.no_grad()
def moved_map(net, d, stride=1):
    """How far the map of a moved image is from the moved map, relative to its size."""
    large = torch.randn(4, 3, 40, 40)  # (B, C, H, W)
    here, there = net(large[..., 8:]), net(large[..., 8 - d:40 - d])  # (B, 16, h, w)
    best = 1.0
    for k in {d // stride, -(-d // stride)}:  # the shift of the map, rounded down and up
        width = here.shape[-1] - k
        error = (there[..., k:] - here[..., :width]).norm() / here.norm()
        best = min(best, error.item())
    return best

# %%
def equivariance(seed):
    torch.manual_seed(seed)
    nets = {"no padding": (small_cnn(), 1), "zero padding": (small_cnn(padding=1), 1),
            "stride 2": (small_cnn(stride=2), 2)}
    return {name: {str(d): moved_map(net, d, stride) for d in (1, 2, 3, 4)}
            for name, (net, stride) in nets.items()}

moved = over_seeds("01_convolution/equivariance", equivariance)
table = torch.tensor([[max(seeds) for seeds in row.values()] for row in moved.values()])
plots.matrices({"relative difference, largest of the seeds": table}, rows=list(moved),
               columns=[f"by {d} px" for d in (1, 2, 3, 4)]).described(
    "how far the map of a moved image is from the moved map. " + "; ".join(
        f"{name}: " + ", ".join(f"{max(seeds):.2f} by {d}" for d, seeds in row.items())
        for name, row in moved.items()))

# %% [markdown]
# Without padding and with stride 1 the difference is 0, up to rounding: *equivariant*. **Zero padding** breaks it
# at the border, at which windows see zeros that do not move with the image. **Stride 2** breaks it for odd shifts:
# half a place is no place. For even shifts it holds.
#
# Now the answer of whole classifiers. Handwritten digits of 8 × 8 pixels stand in the middle of an image of 20 ×
# 20. Four networks learn to read them *there*; a fifth learns from digits in all places. Then the test digits move to
# the right.

# %%
digits, new_digits = (load("digits", split, device="cpu") for split in ("train", "test"))

def placed(data, dx=0, dy=0):
    """The digits on an empty image of 20 × 20, away from the middle by dx and dy."""
    canvas = torch.zeros(len(data), 1, 20, 20, dtype=torch.uint8)  # (B, 1, 20, 20)
    places = [torch.as_tensor(d).expand(len(data)).tolist() for d in (dx, dy)]
    for digit, to, x, y in zip(data.images, canvas, *places):
        to[:, 6 + y:14 + y, 6 + x:14 + x] = digit  # (1, 8, 8)
    return replace(data, images=canvas)

def reader(end):
    """Two convolutions of 3 × 3, and what comes behind them."""
    if end == "MLP":
        return nn.Sequential(nn.Flatten(), nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, 10))
    pool = nn.MaxPool2d(2, stride=1 if end == "largest, stride 1" else 2)
    body = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), pool,
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]  # (B, 32, 10, 10), or (B, 32, 19, 19)
    if end == "flattened":
        return nn.Sequential(*body, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 25, 10))
    return nn.Sequential(*body, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 10))

# %%
SHIFTS = range(7)

def moved_digits(seed):
    def accuracies(end, data):
        torch.manual_seed(seed)
        net = reader(end)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=150), seed=seed)
        fit(net, data, recipe, plot=False, progress=False)
        return [evaluate(net, placed(new_digits, dx=dx)) for dx in SHIFTS]

    torch.manual_seed(seed)
    anywhere = torch.randint(-6, 7, (2, len(digits)))  # (2, N): dx and dy of each digit
    ends = ("MLP", "flattened", "largest, stride 2", "largest, stride 1")
    found = {end: accuracies(end, placed(digits)) for end in ends}
    moving = placed(digits, *anywhere)
    return found | {"flattened, trained on moved digits": accuracies("flattened", moving)}

readers = over_seeds("01_convolution/moved_digits", moved_digits)
plots.curves(SHIFTS, readers, xlabel="test digits moved to the right, pixels",
             ylabel="accuracy", levels={"chance": 0.1})

# %% [markdown]
# In the middle, the first four read more than 90 %<!-- > moved_digits / largest, stride 1 / 0 --> of the digits,
# which they have never seen. Then they part:
#
# * The **MLP** has a weight for every pixel. It falls to 10 to 15 %<!-- moved_digits / MLP / 2 --> two pixels away
#   from the middle: it has never seen anything there.
# * The **flattened** CNN falls as well, to 11 to 21 %<!-- moved_digits / flattened / 4 --> four pixels away. Its
#   maps move with the digit, but the last layer has a weight for every place. Equivariant layers do not make an
#   invariant network.
# * **Largest, stride 1** keeps the largest value of every channel, wherever it is. It does not notice the shift:
#   92 to 95 %<!-- moved_digits / largest, stride 1 / 0 --> in the middle, 92 to 95
#   %<!-- moved_digits / largest, stride 1 / 5 --> five pixels away. This is an invariant network.
# * **Largest, stride 2** is invariant for even shifts only. One pixel away it has 73 to 86
#   %<!-- moved_digits / largest, stride 2 / 1 -->, two pixels away 94 to 95
#   %<!-- moved_digits / largest, stride 2 / 2 --> again. (Azulay and Weiss 2019 found this in large networks,
#   Zhang 2019 a remedy: blur before each stride.)
# * The last line has the same layers as *flattened*, and was trained on digits in all places. What invariance it
#   has comes from the data, and has to be paid for: 53 to 65
#   %<!-- moved_digits / flattened, trained on moved digits / 0 --> in the middle and 64 to 73
#   %<!-- moved_digits / flattened, trained on moved digits / 5 --> five pixels away, after the same 150 steps.
#
# **Question 1.2** Put `nn.AdaptiveAvgPool2d(1)` for `nn.AdaptiveMaxPool2d(1)`. Is the network still invariant?
# Does it still read?
#
# <details><summary>Answer</summary>
#
# Still invariant, at even shifts; and it reads much worse after 150 steps. With stride 2 our three runs gave 34, 43 and
# 41 per cent in the middle, exactly the same two and four pixels away, and 32, 41 and 30 one pixel away. Most places of
# the image are empty, and the mean over all places hides the few that are not. Invariance is cheap: a network that always answers "3" has
# it.
# </details>
#
# ### Parts in the wrong place
#
# Another flaw that Hinton names is the **Picasso problem**: a face whose parts are in the wrong places is still taken
# for a face. The network that keeps the largest value of each channel is built that way: it knows *that* a stroke
# is there, not *where*. Lecture 6 shuffles the parts of images for ViTs. **Capsules** (Sabour, Frosst and Hinton
# 2017) were meant as the answer: groups of neurons that also say where and how a part lies. They have not replaced
# CNNs on large images, and this course has no implementation of them.
#
# > **What slides get wrong here.** Each side is right about one part. A *convolution* is equivariant. A *CNN* is invariant as far as its pooling, its strides, its border and its training data make it so. "CNNs are
# > translation invariant" is wrong as a fact about the architecture.

# %% [markdown]
# ## 3 · Twenty-five years, counted
#
# The history of CNNs is mostly told by years and names. We count instead: how many numbers, in which layers, and
# how many multiply–adds (**MACs**). Networks that torchvision has are torchvision's (AlexNet in one tower,
# GoogLeNet without the classifiers that help in training). LeNet-5, VGG's column C, MobileNet v1 and the last two
# are the course's own (its tests compare them with public implementations, or with their formulas). The `meta`
# device knows shapes and holds no numbers, so that even VGG is made at once.

# %%
public = torchvision.models
HISTORY = {  # name: year, how to make it
    "LeNet-5": (1998, lambda: create_model("lenet_5")),
    "AlexNet": (2012, public.alexnet),
    "VGG A": (2014, public.vgg11), "VGG B": (2014, public.vgg13),
    "VGG C": (2014, lambda: create_model("vgg_16_c")),
    "VGG D": (2014, public.vgg16), "VGG E": (2014, public.vgg19),
    "GoogLeNet": (2014, lambda: public.googlenet(init_weights=False, aux_logits=False)),
    "ResNet-18": (2015, public.resnet18), "ResNet-50": (2015, public.resnet50),
    "ResNet-152": (2015, public.resnet152),
    "Wide ResNet-50-2": (2016, public.wide_resnet50_2),
    "ResNeXt-50 32×4d": (2016, public.resnext50_32x4d),
    "DenseNet-121": (2016, public.densenet121),
    "MobileNet v1": (2017, lambda: create_model("mobilenet_v1")),
    "MobileNet v2": (2018, public.mobilenet_v2),
    "ConvNeXt-T": (2022, lambda: create_model("convnext_t")),
    "SLaK-T": (2022, lambda: create_model("slak_t"))}

# %%
def counted(year, make):
    with torch.device("meta"):
        model = make()
    one_image = (1, 1, 32, 32) if year == 1998 else (1, 3, 224, 224)  # (B, C, H, W)
    # Linear layers behind the last map; in ConvNeXt those of a stage are 1 × 1 convolutions.
    connected = sum(count_parameters(layer) for name, layer in model.named_modules()
                    if isinstance(layer, nn.Linear) and "stages" not in name)
    macs = count_macs(model, *one_image)
    return figures.Counted(year, count_parameters(model) - connected, connected, macs)

names = list(HISTORY)[:budget(tiny=5, cpu=None)]
history = {name: counted(*HISTORY[name]) for name in names}
figures.history(history)

# %%
for name, each in history.items():
    share = f"{100 * each.connected / each.parameters:.0f} % fully connected"
    print(f"{name:17} {each.year} {each.parameters:13,} {share:24} {each.macs / 1e6:8,.1f} M")

# %% [markdown]
# Read the picture from top to bottom. In LeNet-5, AlexNet and VGG nearly all numbers are in the fully connected
# layers at the end: 96 %<!-- printed --> of AlexNet's. The multiply–adds are in the convolutions: a fully connected
# layer does one for each of its weights, 59 million of AlexNet's 714.2<!-- printed --> million. So the fully
# connected layers were thrown away first: GoogLeNet and ResNet put the *mean* over all places there instead. The
# steps, one by one:
#
# | network | what was new |
# |---|---|
# | LeNet-5 (LeCun and others 1998) | convolution, pooling, learned end to end; tanh; read cheques |
# | AlexNet (Krizhevsky and others 2012) | the same on ImageNet, with ReLU, dropout, augmentation, two GPUs |
# | VGG (Simonyan and Zisserman 2014) | many kernels of 3 × 3 in place of few large ones; five depths, A to E |
# | GoogLeNet (Szegedy and others 2014) | paths of several kernel sizes side by side, made cheap by 1 × 1 convolutions |
# | ResNet (He and others 2015) | a path around every two or three layers: section 4 |
# | Wide ResNet (Zagoruyko and Komodakis 2016) | wider in place of deeper |
# | ResNeXt (Xie and others 2016) | many equal paths: groups |
# | DenseNet (Huang and others 2016) | each layer gets the maps of all before it, side by side |
# | MobileNet v1, v2 (Howard and others 2017, Sandler and others 2018) | depthwise and pointwise convolutions |
# | ConvNeXt, SLaK (2022) | what transformers taught CNNs, and kernels of 51 × 51: lecture 12 |
#
# ### Why kernels of 3 × 3
#
# Two layers of 3 × 3 see 5 × 5 pixels, three see 7 × 7. With C channels in and out, three layers of 3 × 3 cost 27
# C² numbers and one of 7 × 7 costs 49 C². And there are two more ReLUs between them. Depth is not all: VGG's
# columns C and D both have 16 layers, but three of C's convolutions are 1 × 1 and see one place only. D has
# 4,718,592<!-- = 138357544 - 133638952 --> numbers more in these three, and was better (Simonyan and Zisserman
# 2014, section 4.1).
#
# ### 1 × 1: cheap, if it comes first
#
# A convolution of 1 × 1 sees one place and mixes channels. GoogLeNet lets it reduce the channels before an
# expensive kernel (an **Inception module**). ResNet's bottleneck does the same, with a third layer that restores
# them. ResNeXt splits the middle of the bottleneck into 32 groups that do not see each other. Its paper compares
# the two blocks number by number (Xie and others 2017, figure 1 and section 3, "Model Capacity"), and so do we:

# %%
with torch.device("meta"):
    direct = nn.Conv2d(192, 32, 5, padding=2)
    reduced = nn.Sequential(nn.Conv2d(192, 16, 1), nn.Conv2d(16, 32, 5, padding=2))
    at_28 = (1, 192, 28, 28)  # (B, C, H, W) of GoogLeNet's module 3a
    print(f"5 × 5 on 192 channels: {count_macs(direct, *at_28) / 1e6:.1f} M multiply-adds; "
          f"behind a 1 × 1 to 16 channels: {count_macs(reduced, *at_28) / 1e6:.1f} M")

def weights_of(block):
    convolutions = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    return sum(layer.weight.numel() for layer in convolutions)

resnet_block = Bottleneck(in_dim=256, middle=64, dim=256)
resnext_block = Bottleneck(in_dim=256, middle=128, dim=256, groups=32)
print(f"ResNet's block: {weights_of(resnet_block):,}")
print(f"ResNeXt's block: {weights_of(resnext_block):,}")

# %% [markdown]
# 69,632<!-- printed --> and 70,144<!-- printed -->: the same price, twice the width inside. By hand:
#
# $$256 \cdot 64 + 3 \cdot 3 \cdot 64 \cdot 64 + 64 \cdot 256 = 69{,}632 \qquad
#   32 \cdot (256 \cdot 4 + 3 \cdot 3 \cdot 4 \cdot 4 + 4 \cdot 256) = 70{,}144$$
#
# ### Depthwise and pointwise
#
# Take groups to the end: as many groups as channels. A **depthwise** convolution treats each channel alone, and
# mixes none of them. A **pointwise convolution** (1 × 1) mixes channels, and sees one place. One after the other
# they do the two jobs of a convolution separately (a *separable* convolution, MobileNet v1). Per place, with D
# channels in and out and a kernel of k × k:
#
# $$\frac{k^2 D + D^2}{k^2 D^2} = \frac{1}{D} + \frac{1}{k^2}$$
#
# (Howard and others 2017, section 3.1).

# %%
ratios = {}
for D in (16, 64, 256, 1024):
    with torch.device("meta"):
        dense = nn.Conv2d(D, D, 3, padding=1, bias=False)
        apart = SeparableBlock(D, D, stride=1)
    ratios[D] = count_macs(apart, 1, D, 14, 14) / count_macs(dense, 1, D, 14, 14)
    assert abs(ratios[D] - (1 / D + 1 / 9)) < 1e-9
plots.curves(list(ratios), {"separable / dense": list(ratios.values())}, log="x",
             xlabel="channels D", ylabel="ratio of multiply-adds", levels={"1/9": 1 / 9})

# %% [markdown]
# With many channels a separable convolution of 3 × 3 costs about a ninth. MobileNet v1 has two more knobs: α multiplies all
# widths (here `width=32` is α = 1), and ρ the size of the image.
#
# **Question 1.3** MobileNet v1 with α = 1/2, and with ρ = 1/2: which of the two saves parameters, which saves
# multiply–adds, and how much? Predict, then run.

# %%
def sizes(width=32, side=224):
    with torch.device("meta"):
        net = create_model("mobilenet_v1", width=width)
    macs = count_macs(net, 1, 3, side, side) / 1e6
    return f"{count_parameters(net) / 1e6:.2f} M parameters, {macs:.0f} M multiply-adds"

print(f"as it is:  {sizes()}\nα = 1/2:   {sizes(width=16)}\nρ = 1/2:   {sizes(side=112)}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# α = 1/2 makes both smaller: the pointwise layers, which are nearly all of it, fall to a quarter. (The parameters
# less so: the last layer with its 1,000 classes falls to a half only.) ρ = 1/2 leaves every parameter where it is,
# and has a quarter of the places, so a quarter of the multiply–adds.
# </details>
#
# ### MobileNet v2: why "memory efficient"?
#
# Its **inverted bottleneck** is narrow at both ends and wide in the middle, and the path around joins the narrow
# ends. So what has to be *kept* for the addition is narrow. And the wide middle never has to exist as a whole: it
# is depthwise, so each of its channels can be computed alone and added to the result (Sandler and others 2018,
# section 5). We do it in six parts:

# %%
x = torch.randn(2, 24, 28, 28)  # (B, D, H, W)
expand, project = torch.randn(144, 24) / 5, torch.randn(24, 144) / 12  # 1 × 1 convolutions
depthwise = torch.randn(144, 1, 3, 3) / 3

def branch(part):
    """What some of the 144 middle channels add; norms are left out."""
    y = F.relu6(F.conv2d(x, expand[part, :, None, None]))  # (B, len(part), H, W)
    y = F.relu6(F.conv2d(y, depthwise[part], padding=1, groups=len(part)))
    return F.conv2d(y, project[:, part, None, None])  # (B, D, H, W)

every = torch.arange(144)
whole, in_parts = branch(every), sum(branch(part) for part in every.split(24))
difference = (whole - in_parts).abs().max() / whole.abs().max()
print(f"largest difference: {difference:.0e} of the largest number")
print(f"numbers in the middle at once: {144 * 28 * 28:,}, or in parts {24 * 28 * 28:,}")

# %% [markdown]
# > **What slides get wrong here.** *MobileNet v1's table*: its last depthwise line says stride 2, with a map of 7
# > × 7 before and behind it. Both cannot be true. The stride is 1: `create_model("mobilenet_v1")` has 7 × 7 there,
# > as timm's has. *The error beside ResNet*: 3.57 % top-5 is an **ensemble** of several networks (abstract of He
# > and others 2016); it is no property of the block that is drawn beside it. *LeNet-5's 61,706 numbers* are those
# > of the version that everybody draws. The paper connects its second convolution to a part of the maps, gives its
# > pooling weights, and arrives at 60,000 (LeCun and others 1998, section II.B).

# %% [markdown]
# ## 4 · Depth: what a gradient meets on its way
#
# A network learns by the **chain rule**. Forward, each step computes a value from the one before. Backward, each
# step multiplies the derivative that arrives by its own. Here is the smallest network with all its parts: a weight
# w, a sigmoid, a second weight v, a loss.
#
# $$\frac{\partial L}{\partial w} = \frac{\partial L}{\partial z}\cdot\frac{\partial z}{\partial h}\cdot
#   \frac{\partial h}{\partial a}\cdot\frac{\partial a}{\partial w}, \qquad a = w\,x,\quad h = \sigma(a),\quad z = v\,h,\quad
#   L = \tfrac12 (z - t)^2$$

# %%
x, v, t = 2.0, 3.0, 1.0
w = torch.tensor(0.5, requires_grad=True)
a = w * x
h = a.sigmoid()
z = v * h
L = (z - t) ** 2 / 2
slopes = torch.autograd.grad(L, [w, a, h, z, L])
by_hand = (z - t) * v * h * (1 - h) * x  # dL/dz · dz/dh · dh/da · da/dw
assert torch.isclose(slopes[0], by_hand)
steps = ["w", "a = w x", "h = σ(a)", "z = v h", "L = (z − t)²/2"]
figures.forward_and_backward([(name, value.item(), slope.item())
                              for name, value, slope in zip(steps, [w, a, h, z, L], slopes)])

# %% [markdown]
# ### From sigmoid to ReLU
#
# The third factor is the slope of the activation. That of a sigmoid, σ(a) (1 − σ(a)), is at most 1/4. Through 20
# layers these factors are multiplied: (1/4)²⁰ is about 10⁻¹². That of ReLU is 1 where the input is positive. We
# measure it: a chain of 20 fully connected layers as made (He's initialisation for ReLU, Xavier's for the others),
# and the gradient that arrives at each.

# %%
def slopes_by_layer(activation, seed, depth=20, width=64):
    torch.manual_seed(seed)
    layers = [nn.Linear(width, width) for _ in range(depth)]
    for layer in layers:
        start = nn.init.kaiming_normal_ if activation is torch.relu else nn.init.xavier_normal_
        start(layer.weight)
    x = torch.randn(128, width)  # (B, D)
    for layer in layers:
        x = activation(layer(x))
    F.cross_entropy(nn.Linear(width, 10)(x), torch.randint(10, (128,))).backward()
    return [layer.weight.grad.norm().item() for layer in layers]

def vanishing(seed):
    activations = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu}
    return {name: slopes_by_layer(each, seed) for name, each in activations.items()}

sizes_of_gradients = over_seeds("01_convolution/vanishing", vanishing)
plots.curves(range(1, 21), sizes_of_gradients, log="y", xlabel="layer, counted from the input",
             ylabel="size of its gradient")

# %% [markdown]
# With sigmoids, the first layer's gradient is smaller than that of the last by about twelve powers of ten. With
# tanh and with ReLU the two differ by less than one power of ten. Two things did this: the slope of the activation, and a start
# that keeps the size of the signal (Glorot and Bengio 2010 for tanh, He and others 2015 for ReLU). Slides mostly
# name the first only.
#
# ### Dropout
#
# AlexNet had a second aid: **dropout** (Srivastava and others 2014). In each training step, each unit is set to 0
# with probability p, and the others are divided by 1 − p, so that the mean stays. In evaluation it does nothing.
# (Usual values of p: 0.5 for hidden units, 0.2 for inputs.) What does a gradient see of it? One image, a layer of
# 6 units:

# %%
torch.manual_seed(1)
hidden, last, drop = nn.Linear(5, 6), nn.Linear(6, 3), nn.Dropout(0.5)
x = torch.randn(1, 5)  # (B, D)

def gradient_of_weights(training):
    hidden.zero_grad()
    drop.train(training)
    kept = drop(torch.ones(1, 6))  # (B, 6): 0, or 1 / (1 - p)
    F.cross_entropy(last(hidden(x) * kept), torch.tensor([0])).backward()
    return kept[0], hidden.weight.grad + 0.0  # (6,), (6, 5): a row a unit

(_, without), (mask, dropped) = gradient_of_weights(False), gradient_of_weights(True)
units = [f"unit {i}" for i in range(6)]
tables = {"mask": mask[:, None], "gradient, dropout": dropped, "gradient, evaluation": without}
plots.matrices(tables, rows=units).described(
    f"dropout has switched off units {(mask == 0).nonzero().flatten().tolist()}: all weights "
    "into these have gradient 0 in this step; in evaluation all rows have gradients")

# %% [markdown]
# A unit that is switched off takes *all* its weights out of this step. So each step trains another, thinner
# network, and no unit can rely on a certain other one.
#
# ### More layers, and worse
#
# With ReLU, He's initialisation and batch norm (section 6), gradients of deep networks have a good size. Still, He
# and others (2016, figure 1) found that a plain CNN of 56 layers has a *higher training error* than one of 20.
# Deeper could not be worse in principle: the added layers could copy their input. They do not learn to. So give
# them the copy:
#
# $$\text{plain:}\quad y = \mathrm{relu}(f(x)) \qquad\qquad \text{residual:}\quad y = \mathrm{relu}(x + f(x))$$
#
# Then "do nothing" is f = 0. This is a **residual connection** (skip connection). Here it is, one line apart from
# the plain network:

# %% tags=["slide-code"]
class TwoLayers(nn.Module):
    """Two convolutions, (B, D, H, W) -> (B, D, H, W), with a path around or without."""

    def __init__(self, dim, residual):
        super().__init__()
        self.residual = residual
        self.f = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(),
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim))

    def forward(self, x):
        return F.relu(x + self.f(x)) if self.residual else F.relu(self.f(x))

def deep(layers, residual, dim=12):
    stem = [nn.Conv2d(3, dim, 3, 2, 1), nn.BatchNorm2d(dim), nn.ReLU()]  # (B, D, 16, 16)
    blocks = [TwoLayers(dim, residual) for _ in range(layers // 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(dim, 10))

# %% [markdown]
# *(Price: three trainings of 100 steps, about 10 seconds in all on two CPU cores.)*

# %%
KINDS = {"4 layers, plain": (4, False), "20 layers, plain": (20, False),
         "20 layers, residual": (20, True)}

def gradient_ratio(net):
    """At the start: the gradient of the first convolution, relative to that of the last."""
    batch = (train.images[:32] / 255 - 0.45) / 0.2  # (B, C, H, W)
    F.cross_entropy(net(batch), train.labels[:32]).backward()
    sizes = [p.grad.norm().item() for p in net.parameters() if p.ndim == 4]
    net.zero_grad()
    return sizes[0] / sizes[-1]

# %%
def depth(seed):
    found = {}
    for name, (layers, residual) in KINDS.items():
        torch.manual_seed(seed)
        net = deep(layers, residual)
        ratio = gradient_ratio(net)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=10, cpu=100), batch_size=32,
                                        seed=seed)
        run = fit(net, train, recipe, plot=False, progress=False)
        every_ten = torch.tensor(run.loss).view(-1, 10).mean(dim=1)  # (steps / 10,)
        found[name] = {"accuracy": evaluate(net, test), "loss": every_ten, "ratio": ratio}
    return found

depths = over_seeds("01_convolution/depth", depth)
losses = {name: tuple(map(list, each["loss"])) for name, each in depths.items()}
ten_steps = range(10, 10 + 10 * len(losses["4 layers, plain"][0]), 10)
plots.curves(ten_steps, losses, xlabel="step", ylabel="training loss, mean of ten steps")

# %% [markdown]
# The plain network with 20 layers does not even fit its *training* images as well as the one with 4: its loss at
# the end is 1.63 to 1.83<!-- depth / 20 layers, plain / loss / -1 -->, against 1.05 to
# 1.39<!-- depth / 4 layers, plain / loss / -1 -->. With the path around, the same 20 layers arrive at 0.06 to
# 0.57<!-- depth / 20 layers, residual / loss / -1 -->. Accuracy on test images: 20 plain layers have 29 to 38
# %<!-- depth / 20 layers, plain / accuracy -->, 4 plain layers 64 to 94
# %<!-- depth / 4 layers, plain / accuracy -->, and 20 layers with the path around 85 to 100
# %<!-- depth / 20 layers, residual / accuracy -->.
#
# **Question 1.4** Is it because gradients vanish in the plain network? Look at how large the gradient of the
# *first* convolution is at the start, relative to that of the last one. Predict, then run.

# %%
for name, each in depths.items():
    print(f"{name}: " + ", ".join(f"{ratio:.2f}" for ratio in each["ratio"]))

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. In the plain network the gradient of the first convolution is 10 to
# 16<!-- depth / 20 layers, plain / ratio --> times as large as that of the last one: it is not small at all. With
# batch norm in every layer, sizes are not the problem. The authors' explanation is another one: with the path
# around, a layer has to learn a small correction only, and not the whole.
# </details>
#
# > **What slides get wrong here.** *Dropout* is often said to "select weights": it switches off *units*, and with
# > each of them a whole row of weights (dropping single weights is DropConnect). That it is "not useful in RNNs"
# > was true of dropping the recurrent state anew at every step. Between layers it was in use from 2014 on (Zaremba
# > and others 2014), and with one mask for all steps in the state as well (Gal and Ghahramani 2016). *Residual
# > connections* are said to cure vanishing gradients. Their authors ruled that out for their own plain networks
# > (He and others 2016, section 4.1).

# %% [markdown]
# ## 5 · Update rules
#
# The gradient says which way is down. What to do with it is the **update rule**.
#
# ### How many examples for one step?
#
# | | gradient g from | $\hat g$ |
# |---|---|---|
# | gradient descent (GD) | all N examples | exact |
# | stochastic gradient descent (SGD) | one example | noisy, N times cheaper |
# | minibatch | B examples | in between |
#
# $$w \leftarrow w - \epsilon\, \hat g, \qquad \hat g = \frac1B \sum_{i \in \text{batch}} \nabla_w L_i(w)$$
#
# With a constant rate ε, SGD comes close to the lowest point and then keeps jumping around it. Robbins and Monro
# (1951) gave a condition under which it arrives: $\sum_k \epsilon_k = \infty$ and $\sum_k \epsilon_k^2 < \infty$.
# A rate that falls like 1/k fulfils it. Here is a problem whose lowest point is known: least squares with 256
# examples.

# %%
def examples(seed):
    torch.manual_seed(seed)
    features = torch.randn(256, 8) * torch.linspace(0.3, 1.0, 8)  # (N, D)
    return features, features @ torch.randn(8) + 0.5 * torch.randn(256)  # (N, D), (N,)

def descent(features, targets, size, lr, seen, falling=False):
    """How much higher than the lowest the loss is, after every 256 examples."""
    batches, steps = minibatches(len(targets), size), seen // size
    def loss(w):
        return ((features @ w - targets) ** 2).mean(dim=0) / 2
    k, best = 0, torch.linalg.lstsq(features, targets[:, None]).solution[:, 0]  # (D,)
    def gradient(w):
        nonlocal k
        k, chosen = k + 1, next(batches)  # (B,)
        slope = features[chosen].T @ (features[chosen] @ w - targets[chosen]) / size  # (D,)
        return slope / (1 + k / 100) if falling else slope
    path = descend(update_rules.gradient_descent, gradient, torch.zeros(8), steps, lr=lr)
    every = path[::max(256 // size, 1)]  # (points, D)
    return [(loss(w) - loss(best)).clamp(min=1e-9).item() for w in every]

# %%
SEEN = 256 * budget(tiny=2, cpu=40)

def batch_sizes(seed):
    data = examples(seed)
    return {"GD, all 256": descent(*data, 256, 1.0, SEEN),
            "minibatch of 16": descent(*data, 16, 0.2, SEEN),
            "SGD, one": descent(*data, 1, 0.05, SEEN),
            "SGD, one, falling rate": descent(*data, 1, 0.05, SEEN, falling=True)}

sizes_of_batches = over_seeds("01_convolution/batch_sizes", batch_sizes)
plots.curves(range(0, SEEN + 1, 256), sizes_of_batches, log="y",
             xlabel="examples seen", ylabel="loss above the lowest")

# %% [markdown]
# All four have seen the same number of examples, and done about the same number of multiplications. (Their rates
# were chosen by hand, one for each.) After the first 256 of them, GD
# has made one step and its loss lies 0.39 to 0.53<!-- batch_sizes / GD, all 256 / 1 --> above the lowest, SGD has
# made 256 and is at 0.006 to 0.029<!-- batch_sizes / SGD, one / 1 -->. Then SGD stays where it is and jumps about,
# while GD goes on falling. With a falling rate SGD settles; the minibatch lies in between. So many noisy steps are
# better at the beginning, and the noise does harm at the end. That is one reason why rates are lowered during training. (On a GPU a batch of
# 256 may cost little more *time* than one image. That is the other half of the story, and the reason for large
# batches in practice.)
#
# ### Seven more rules
#
# Each of these is a few lines of `course/training/update_rules.py`, and is tested to be the optimizer of
# `torch.optim`. A rule gets the weights, a function for the gradient, and a dictionary for what it remembers. Two
# of them as they stand there:

# %%
def shown(rule):
    source = inspect.getsource(rule)
    before, _, after = source.partition('"""')
    return before.rstrip() + after.partition('"""')[2]

print(shown(update_rules.nesterov), shown(update_rules.adam), sep="\n")

# %% [markdown]
# | rule | what it remembers | step |
# |---|---|---|
# | momentum (heavy ball) | $v \leftarrow \lambda v - \epsilon g$ | $w \leftarrow w + v$ |
# | momentum, other form | $v \leftarrow \lambda v - (1 - \lambda) g$ | $w \leftarrow w + \epsilon v$ |
# | Nesterov | $v \leftarrow \lambda v - \epsilon\, g(w + \lambda v)$ | $w \leftarrow w + v$ |
# | AdaGrad | $r \leftarrow r + g^2$ | $w \leftarrow w - \epsilon\, g / (\sqrt r + \delta)$ |
# | RMSProp | $r \leftarrow \rho r + (1 - \rho) g^2$ | $w \leftarrow w - \epsilon\, g / (\sqrt r + \delta)$ |
# | Adam | $s \leftarrow \rho_1 s + (1 - \rho_1) g$, $r \leftarrow \rho_2 r + (1 - \rho_2) g^2$ | $w \leftarrow w - \epsilon\, \hat s / (\sqrt{\hat r} + \delta)$, $\hat s = s / (1 - \rho_1^t)$, $\hat r = r / (1 - \rho_2^t)$ |
# | AdamW | as Adam | as Adam, and $w \leftarrow w - \epsilon\, \eta\, w$ with the weight before the step |
#
# Squares, roots and fractions are taken number by number. Momentum adds up steps that agree, and cancels those
# that go to and fro. AdaGrad, RMSProp and Adam give each weight a rate of its own: long steps where gradients are
# small.
#
# Now a race in a narrow valley, fifty times as steep across as along. Once its axes are the two weights, once it
# is turned by 45°. Nothing else differs. (The rates were chosen by hand, the same for both.)
#
# $$f(u) = \tfrac12\,(u_1^2 + 50\, u_2^2), \qquad u = w \ \text{ or }\ u = Q^\top w$$

# %%
Q = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / 2**0.5  # turns by 45°
TURNS = {"straight": torch.eye(2, dtype=torch.float64), "turned by 45°": Q}
STEEP = torch.tensor([1.0, 50.0], dtype=torch.float64)
ONE_RATE = {"GD": ("gradient_descent", 0.039), "momentum": ("momentum", 0.04),
            "Nesterov": ("nesterov", 0.02)}
A_RATE_EACH = {"AdaGrad": ("adagrad", 2.0), "RMSProp": ("rmsprop", 0.1),
               "Adam": ("adam", 0.1), "AdamW": ("adamw", 0.1)}

def height(title, w):
    turn = title.partition(": ")[2]
    return (STEEP * (w @ TURNS[turn]) ** 2).sum(dim=-1) / 2  # (..., 2) -> (...)

def way(title, rule, lr, steps=400):
    turned = TURNS[title.partition(": ")[2]]
    start = turned @ torch.tensor([-4.0, 1.2], dtype=torch.float64)  # (2,)
    def gradient(w):
        return turned @ (STEEP * (turned.T @ w))  # (2,)
    return descend(getattr(update_rules, rule), gradient, start, steps, lr=lr)

# %%
kinds = {"one rate": ONE_RATE, "a rate for each weight": A_RATE_EACH}
ways = {f"{kind}: {turn}": {name: way(f": {turn}", *rule) for name, rule in rules.items()}
        for kind, rules in kinds.items() for turn in TURNS}
figures.descents(height, ways, limits=(-4.6, 2.4, -4.2, 2.0), low=1e-3)

# %%
def steps_down(rule, lr):
    arrived = [figures.arrival(height(f": {turn}", way(f": {turn}", rule, lr)), 1e-3)
               for turn in TURNS]
    return " and turned ".join(str(step or "more than 400") for step in arrived)

for name, rule in (ONE_RATE | A_RATE_EACH | {"Adam, rate 0.3": ("adam", 0.3)}).items():
    print(f"{name:15} straight {steps_down(*rule)}")

# %% [markdown]
# GD, momentum and Nesterov take exactly as many steps in both valleys: 117<!-- printed -->, 72<!-- printed --> and
# 38<!-- printed -->. They know no axes. The others do. AdaGrad needs 8<!-- printed --> steps in the straight
# valley and 171<!-- printed --> in the turned one, RMSProp 25<!-- printed --> and 139<!-- printed -->, Adam
# 101<!-- printed --> and 291<!-- printed -->, AdamW 56<!-- printed --> and 276<!-- printed --> (its decay pulls to
# 0, where the lowest point happens to be). A rate for each weight is a rate for each *axis*. It helps as far as
# the axes of the valley are the weights. How much is lost depends on the rate: Adam with 0.3 needs
# 84<!-- printed --> and 101<!-- printed -->.
#
# **Question 1.5** Slides write momentum in both forms of the table. Do they take the same way, with the same rate
# ε? Run the cell. Which rate does the second form need?

# %%
both = ("momentum", 0.004), ("averaged_momentum", 0.004), ("averaged_momentum", 0.04)
for rule, lr in both:
    print(f"{rule}, rate {lr}: straight {steps_down(rule, lr)} steps")

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. In the second form each gradient comes in with the share 1 − λ, a tenth with λ = 0.9, so its rate has to be ε
# / (1 − λ): 0.04 for 0.004. Then the two take the same way, 92<!-- printed --> steps. With the same rate the
# second has not arrived after 400. If you copy a learning rate from one paper into the code of another, look up which
# form each of them uses.
# </details>
#
# And which rule for a real network? The answer depends on the network. Transformers are trained with AdamW,
# ResNets mostly by SGD with momentum. Dosovitskiy and others (2021, appendix D.1, table 7) report an exception:
# ResNets pre-trained on the very large set JFT did better with Adam, 89.33 against 88.79 on average of five tasks
# for ResNet-50. On ImageNet, one of the five, SGD was ahead, 78.24 to 77.54.
#
# > **What slides get wrong here.** *Adam's line* often begins with ŝ and r̂ and never says how s and r are
# > updated; without that it is no rule. *AdaGrad's line* has two arrows and a minus sign on the wrong side of one.
# > *RMSProp*: δ stands outside the root here, as in torch; other texts have it inside. *The two forms of momentum*
# > stand side by side with the same ε. "*The larger the minibatch the better*": counted in steps, yes; counted in
# > examples, not at the beginning: see the first figure of this section. And Robbins and Monro's condition
# > promises an arrival at the lowest point only where there is one (a convex loss); elsewhere, at a place where
# > the gradient is 0.

# %% [markdown]
# ## 6 · Batch norm, in training and in evaluation
#
# **Batch norm** (Ioffe and Szegedy 2015) brings every channel to mean 0 and variance 1, over all images and all
# places of the batch, and then gives it a scale γ and a shift β that are learned:
#
# $$\mu_c = \frac{1}{BHW}\sum_{b,i,j} x_{b,c,i,j}, \qquad \sigma_c^2 = \frac{1}{BHW}\sum_{b,i,j} (x_{b,c,i,j} - \mu_c)^2, \qquad
#   y_{b,c,i,j} = \gamma_c\, \frac{x_{b,c,i,j} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c$$
#
# In training these are the statistics of *this batch*. So what a network says about one image depends on the
# others in its batch. In evaluation that must not be, and batch norm takes **running means** of both instead, which it
# collected while it trained: `running ← 0.9 · running + 0.1 · batch`.

# %%
torch.manual_seed(0)
x = 3 * torch.randn(4, 6, 5, 5) + 1  # (B, C, H, W)
norm = nn.BatchNorm2d(6).train()
mean = x.mean(dim=(0, 2, 3), keepdim=True)  # (1, C, 1, 1)
variance = x.var(dim=(0, 2, 3), keepdim=True, correction=0)  # (1, C, 1, 1)
by_hand = (x - mean) / (variance + norm.eps).sqrt()  # (B, C, H, W)
assert torch.allclose(norm(x), by_hand, atol=1e-5)
assert torch.allclose(norm.running_mean, 0.1 * mean.flatten(), atol=1e-5)  # it began at 0
with torch.no_grad():
    alone, together = norm(x[:1])[0], norm(x)[0]  # (C, H, W): the same image
    norm.eval()
    alone_later, together_later = norm(x[:1])[0], norm(x)[0]
print("the same image alone and among others, largest difference:")
print(f"{(alone - together).abs().max():.2f} in training")
print(f"{(alone_later - together_later).abs().max():.2f} in evaluation")

# %% [markdown]
# **Group norm** (Wu and He 2018) and **layer norm** (Ba and others 2016) do the same sum over other numbers: those
# of *one image*. The picture shows three images (rows) with four channels of two places each (columns). Numbers
# with the same colour share a mean:

# %%
image_of = torch.arange(3)[:, None].expand(3, 4)  # (B, C)
channel_of = torch.arange(4).expand(3, 4)  # (B, C)
groups = {"batch norm": channel_of, "group norm, 2 groups": 2 * image_of + channel_of // 2,
          "layer norm, per image": image_of, "instance norm": 4 * image_of + channel_of}
groups = {name: each.repeat_interleave(2, dim=1) for name, each in groups.items()}  # (B, 2 C)
plots.token_maps(groups, colours=groups).described(
    "which numbers share a mean, three images by four channels of two places. " + "; ".join(
        f"{name}: {len(each.unique())} means" for name, each in groups.items()))

# %% [markdown]
# (The layer norm of transformers is narrower still: it takes the channels of *one token*, so each place has a mean
# of its own. Lecture 11 compares them.)
#
# What happens to a trained network that is left in training mode, as after a forgotten `model.eval()`? Three
# networks learn *texture* with batches of 64. Then they answer in evaluation mode, and in training mode with
# batches of 50 and of 2.

# %%
NORMS = {"batch norm": nn.BatchNorm2d,
         "group norm, 4 groups": lambda dim: nn.GroupNorm(4, dim),
         "layer norm, per image": lambda dim: nn.GroupNorm(1, dim)}

def cnn(norm, dim=16):
    layers = []
    for before, after, stride in [(3, dim, 2), (dim, dim, 1), (dim, 2 * dim, 2)]:
        layers += [nn.Conv2d(before, after, 3, stride, 1), norm(after), nn.ReLU()]
    return nn.Sequential(*layers,  # (B, 3, 32, 32) -> (B, 2 dim, 8, 8)
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * dim, 10))

@torch.no_grad()
def accuracy_in_training_mode(net, size):
    net.train()
    batches = zip(test.images.split(size), test.labels.split(size))
    return sum((net(net.normalise_images(images)).argmax(dim=1) == labels).sum().item()
               for images, labels in batches) / len(test)

# %%
def norms(seed):
    found = {}
    for name, norm in NORMS.items():
        torch.manual_seed(seed)
        net = cnn(norm)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=100), seed=seed)
        fit(net, train, recipe, plot=False, progress=False)
        found[name] = {"evaluation": evaluate(net, test)} | {
            f"training, {size}": accuracy_in_training_mode(net, size) for size in (50, 2)}
    return found

normed = over_seeds("01_convolution/norms", norms)
plots.bars(normed, chance=0.1)

# %% [markdown]
# In evaluation mode, the network with batch norm has 99 to 100 %<!-- norms / batch norm / evaluation -->. Left in
# training mode it has 61 to 68 %<!-- norms / batch norm / training, 2 --> with batches of 2: each image is
# measured by itself and one neighbour. With batches of 50 it has 98 to 100
# %<!-- norms / batch norm / training, 50 -->. The other two norms ask no neighbour, and do not change by a single
# image. (That they learn more slowly here, 70 to 94 %<!-- norms / group norm, 4 groups / evaluation --> and 70 to
# 86 %<!-- norms / layer norm, per image / evaluation -->, is true of 100 steps on these images.)
#
# **Question 1.6** What can batch norm say, in training, about a batch of *one* image whose map is 1 × 1? Predict,
# then run `nn.BatchNorm2d(6)(torch.randn(1, 6, 1, 1))`.
#
# <details><summary>Answer</summary>
#
# The mean of one number is that number, so every channel becomes 0, whatever the image is, and then β. PyTorch
# refuses with an error. Group norm and layer norm have no such case: they average over channels.
# </details>
#
# > **What slides get wrong here.** Batch norm is explained by *internal covariate shift*: layers below change, so
# > the inputs of those above shift, and batch norm stops that. That was the reason of its authors. Santurkar and
# > others (2018) added such a shift *behind* batch norm on purpose, and the network trained as well: what helps
# > seems to be a smoother loss. Treat the explanation as contested, and the effect as real.

# %% [markdown]
# ## 7 · Four curves to name
#
# Here are four trainings of the same MLP on *texture*, 200 steps each. Above the loss on training images, below
# the accuracy on test images. One had a good rate and 4,000 images. One had a rate that was too small, one a rate
# that was too large. One had the good rate, but 100 images.
#
# **Question 1.7** Which is which? Say for each what you would change. *(Price: four trainings, about 5 seconds.)*

# %%
def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 128), nn.ReLU(), nn.Linear(128, 10))

TRAININGS = {"A": (0.3, 4000), "B": (3e-3, 100), "C": (1e-5, 4000), "D": (3e-3, 4000)}

def four(seed):
    found = {}
    for name, (lr, count) in TRAININGS.items():
        torch.manual_seed(seed)
        recipe = recipes.cpu_minute.but(steps=budget(tiny=10, cpu=200), lr=lr, warmup=0.0,
                                        schedule="constant", grad_clip=None, seed=seed)
        images = train.subset(min(count, len(train)))
        run = fit(mlp(), images, recipe, val=test, val_points=10, plot=False, progress=False)
        loss = torch.tensor(run.loss).view(10, -1).mean(dim=1)  # (10,)
        found[name] = {"steps": run.val_steps, "loss": loss, "accuracy": run.val_accuracy}
    return found

curves = over_seeds("01_convolution/four_curves", four)
figures.curves_to_name({name: (each["steps"][0], each["loss"], each["accuracy"])
                        for name, each in curves.items()}, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# * **A** had a rate that was too large (0.3). The loss jumps to several hundred, far above the axis of the figure, and
#   is still above it at the end. Lower the rate by powers of ten. (The accuracy rises all the same, to 66 to 78
#   %<!-- four_curves / A / accuracy / -1 -->: in the lower row alone A could pass for a slow, sound training.)
# * **B** had 100 images. The training loss is 0, the accuracy 14 to 15 %<!-- four_curves / B / accuracy / -1 -->:
#   **overfitting**. It knows 100 images by heart. More data, augmentation, or a network with the right bias (section
#   8). Stopping earlier would not help: it never had more than 16 %<!-- < four_curves / B / accuracy / 0 -->.
# * **C** had a rate that was too small (10⁻⁵). The loss falls, but much too slowly: 11 to 13
#   %<!-- four_curves / C / accuracy / -1 -->.
# * **D** was all right: 99 to 100 %<!-- four_curves / D / accuracy / -1 -->.
# </details>
#
# The loss alone does not show what is wrong with B: its training loss is the best of all four. You need the lower
# row. And the accuracy alone does not show what is wrong with A: you need the upper row, too.

# %% [markdown]
# ## 8 · A bias is a prior
#
# Finitely many examples never decide which function is the right one: learning is *ill-posed*. Every learner has
# to prefer some functions to others before it has seen data. That preference is its **inductive bias**. Bayes'
# rule says what it does:
#
# $$P(M \mid D) = \frac{P(D \mid M)\; P(M)}{P(D)}$$
#
# Let us count a case that is small enough. The inputs are the 16 rings of four bits (four zeros or ones in a
# circle). A function gives each ring a
# label, 0 or 1, so there are $2^{16}$ functions. Of these, 64 give the same label to all rotations of a ring: they
# are *invariant to shifts*. Two model classes, each with prior 1/2: **any** function, and **invariant** functions
# only. $P(D \mid M)$ is the share of the functions in the class that fit the examples.

# %%
rings = torch.arange(16)
rotated = ((rings << 1) & 15) | (rings >> 3)  # (16,): each ring, turned by one
functions = (torch.arange(2**16)[:, None] >> rings) & 1  # (65536, 16): a label for each ring
invariant = functions[(functions == functions[:, rotated]).all(dim=1)]  # (64, 16)
CLASSES = {"any": functions, "invariant": invariant}

def posterior(truth, order):
    """P(invariant | D) and the chance to be right on a new ring, after 0 to 14 examples."""
    shares, right = [], []
    for n in range(15):
        seen, new = order[:n], order[n:]
        fitting = {name: f[(f[:, seen] == truth[seen]).all(dim=1)]
                   for name, f in CLASSES.items()}
        joint = {name: 0.5 * len(f) / len(CLASSES[name]) for name, f in fitting.items()}
        evidence = sum(joint.values())  # P(D)
        shares.append(joint["invariant"] / evidence)
        agree = {name: (f[:, new] == truth[new]).float().mean().item()
                 for name, f in fitting.items() if len(f)}
        right.append(sum(joint[name] / evidence * share for name, share in agree.items()))
    return {"posterior": shares, "accuracy": right}

# %%
def bayes(seed):
    torch.manual_seed(seed)
    order = torch.randperm(16)  # in which the rings are shown
    truths = {"invariant truth": invariant[torch.randint(64, ())],
              "any truth": functions[torch.randint(2**16, ())]}
    return {name: posterior(truth, order) for name, truth in truths.items()}

beliefs = over_seeds("01_convolution/bayes", bayes)
lines = {"belief": "posterior", "right": "accuracy"}
plots.curves(range(15), {f"{line}, {truth}": each[key] for truth, each in beliefs.items()
                         for line, key in lines.items()},
             xlabel="examples seen", ylabel="probability")

# %% [markdown]
# If the truth is invariant, the belief in the invariant class grows with every example that it could have got
# wrong, and so does the chance to be right on a ring that was never shown. From one ring it then knows all its
# rotations. The class of *all* functions never learns anything about a new ring: half of its fitting functions say
# 0, half say 1. If the truth is any function, one contradiction ends the belief, and what is left is guessing.
# That is the trade: a strong prior learns from few data where it is right, and is worthless where it is wrong.
#
# Now the same with networks. *Texture* can be answered from any small window, so locality and sharing are true of
# it. A CNN and an MLP learn it from 100 to 4,000 images. *(Price: eight trainings, about 15 seconds.)*

# %%
def prior(seed):
    found = {}
    for name, make in {"CNN": lambda: cnn(nn.BatchNorm2d), "MLP": mlp}.items():
        for count in (100, 300, 1000, 4000):
            torch.manual_seed(seed)
            net, images = make(), train.subset(min(count, len(train)))
            recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=100), seed=seed)
            fit(net, images, recipe, plot=False, progress=False)
            found.setdefault(name, {})[str(count)] = evaluate(net, test)
    return found

by_images = over_seeds("01_convolution/prior", prior)
lines = {name: tuple(zip(*each.values())) for name, each in by_images.items()}
plots.curves([100, 300, 1000, 4000], lines, log="x", xlabel="training images",
             ylabel="accuracy, texture", levels={"chance": 0.1})

# %% [markdown]
# From 100 images the CNN has 83 to 98 %<!-- prior / CNN / 100 -->, the MLP 16 to 18 %<!-- prior / MLP / 100 -->.
# From 1,000 the MLP has 41 to 48 %<!-- prior / MLP / 1000 -->, and only 4,000 images bring it to 98 to 99
# %<!-- prior / MLP / 4000 -->. So the right bias is worth more than ten times as many images here. On *relation*,
# the other question about the same images, the bias of a CNN with a small field is wrong, and it stays at chance
# (lecture 3, section 1).
#
# ### What each kind of network assumes, measured
#
# Slides have a table for this: shift invariance, permutation invariance, for CNN and transformer. We fill it by
# measuring. Fresh networks, an image and a changed image: how far do the logits move, compared with how far apart
# the logits of *different* images are? 0 is invariant, 1 is "like another image".

# %%
def fresh():
    circular = {"padding": 1, "padding_mode": "circular"}
    convolutional = nn.Sequential(
        nn.Conv2d(3, 32, 3, **circular), nn.ReLU(),
        nn.Conv2d(32, 32, 3, **circular), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    small = {"depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 10}
    return {"MLP": mlp(), "CNN": convolutional,
            "ViT without positions": create_model("vit_cifar", position=None, **small),
            "ViT with positions": create_model("vit_cifar", position="sinusoidal", **small)}

order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
def permuted(x):
    """Patches of 4 × 4 in another order, the same for all images: (B, C, H, W)."""
    patches = rearrange(x, "b c (h p) (w q) -> b (h w) c p q", p=4, q=4)
    return rearrange(patches[:, order], "b (h w) c p q -> b c (h p) (w q)", h=8)

CHANGES = {"by 1 px": lambda x: x.roll(1, -1), "by 4 px": lambda x: x.roll(4, -1),
           "permuted": permuted}

# %%
@torch.no_grad()
def assumes(seed):
    torch.manual_seed(seed)
    x = (test.images[:50] / 255 - 0.45) / 0.2  # (B, C, H, W)
    found = {}
    for name, net in fresh().items():
        logits = net.eval()(x)  # (B, 10)
        apart = (logits - logits.mean(dim=0)).norm() * 2**0.5  # of two different images
        found[name] = {what: ((net(change(x)) - logits).norm() / apart).item()
                       for what, change in CHANGES.items()}
    return found

assumed = over_seeds("01_convolution/assumed", assumes)
table = torch.tensor([[sum(row[what]) / len(row[what]) for row in assumed.values()]
                      for what in CHANGES])  # (changes, networks)
plots.matrices({"how far the logits move, mean of the seeds": table}, rows=list(CHANGES),
               columns=list(assumed)).described(
    "how far logits move, 1 is like another image. " + "; ".join(
        f"{name}: " + ", ".join(f"{what} {sum(s) / len(s):.2f}" for what, s in row.items())
        for name, row in assumed.items()))

# %% [markdown]
# The MLP takes every changed image for another one. The CNN (circular border, mean at the end) is invariant to all
# shifts, and not to a new order of the patches. The ViT without positions is invariant to any order of its
# patches, shifts by whole patches among them, and *not* to a shift by one pixel, which cuts other patches. With
# positions (sines, before any training) it notices all three; training decides how much. And "shift invariance: mostly" in the CNN's
# line of such tables holds for this border, this stride and this head: see section 2.
#
# > **What slides get wrong here.** A transformer is called "permutation invariant". Self-attention is
# > *equivariant* to permutations; the network is invariant only without positions, and only for whole patches. And
# > "less inductive bias" is no virtue by itself. It is a weaker prior: better where the strong one is wrong, worse
# > where it is right and data are few.

# %% [markdown]
# ## Summary
#
# * A convolution is a fully connected layer with two assumptions: locality and sharing.
# * A convolution is equivariant to shifts. A CNN is invariant as far as pooling, stride, border and training make
#   it so.
# * Counted, the history of CNNs is a history of *not* computing: fewer fully connected layers, smaller kernels,
#   groups, depthwise.
# * Deep plain networks train badly even where gradients have a good size. A path around each block makes "do
#   nothing" easy.
# * Update rules differ in what they remember. Rules with a rate for each weight depend on the axes.
# * Batch norm uses the batch in training and running means in evaluation. A forgotten `eval()` costs accuracy.
# * An inductive bias is a prior: it helps where it is right, and most of all with few data.
#
# ## Exercises
#
# 1. Write `lion` or another rule in the form of `update_rules` and race it on the two valleys.
# 2. In section 4, replace each `nn.BatchNorm2d` by `nn.Identity()`, and train the three networks again. Which of them
#    still learn?
# 3. Count VGG D with a mean over all places in place of its first two linear layers. What is left of 138 million?
# 4. In section 8, give the invariant class a prior of 1/1000. How many examples more does it need?
#
# <details><summary>Answers</summary>
#
# 1. Lion (Chen and others 2023) steps by the *sign* of a mean of gradients, $s = \operatorname{sign}(0.9\, m + 0.1\, g)$,
#    $w \leftarrow w - \epsilon\, s$, and then $m \leftarrow 0.99\, m + 0.01\, g$. With rate 0.1 ours needs 40 steps in
#    the straight valley and has not arrived after 400 in the turned one; with 0.05 it needs 80 and 87. It knows the
#    axes, as Adam does. And it does not stay where it arrives: all its steps are equally long, so after 400 steps with
#    0.05 it is back at a height of 0.13 in the turned valley. It needs a rate that falls.
# 2. Only the network with the path around learns. Our three runs gave 25, 19 and 42 per cent for it (a loss of 1.85,
#    2.07 and 1.54 at the end), 10, 8 and 8 for four plain layers, and 8, 12 and 11 for twenty: chance, with a loss of
#    2.3, which is ln 10. The reason is the start. With PyTorch's initialisation and without batch norm, a plain block
#    makes its maps about ten times smaller: a spread of 0.32 before the first block, 0.03 and 0.004 behind the first
#    two. After twenty layers all images look alike. The path around carries the maps past the block (0.3 behind each).
# 3. The mean leaves 512 numbers. The convolutions have 14,714,688 numbers and the last linear layer 512 · 1,000 weights and
#    1,000 biases: 15.2<!-- = (14714688 + 512 * 1000 + 1000) / 1000000 --> million in all.
# 4. Where the invariant class foretells the label of a ring and the example agrees, its odds double, since half of the
#    other class's functions fall away. From odds of about 1/1000 to even odds takes ten doublings (2¹⁰ = 1,024). There are
#    16 rings in 6 sets of rotations, so only ten of the labels can be foretold: the belief arrives at 1/2 when
#    all rings are seen.
# </details>
#
# ## References
#
# * Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. *Gradient-Based Learning Applied to Document Recognition.*
#   Proceedings of the IEEE 1998. LeNet-5: section II.B.
# * A. Krizhevsky, I. Sutskever, G. Hinton. *ImageNet Classification with Deep Convolutional Neural Networks.*
#   NeurIPS 2012.
# * K. Simonyan, A. Zisserman. *Very Deep Convolutional Networks for Large-Scale Image Recognition.* ICLR 2015.
#   [arXiv:1409.1556](https://arxiv.org/abs/1409.1556). Columns A to E: table 1.
# * C. Szegedy and others. *Going Deeper with Convolutions.* CVPR 2015.
#   [arXiv:1409.4842](https://arxiv.org/abs/1409.4842).
# * K. He, X. Zhang, S. Ren, J. Sun. *Deep Residual Learning for Image Recognition.* CVPR 2016.
#   [arXiv:1512.03385](https://arxiv.org/abs/1512.03385). Plain networks: figure 1, section 4.1.
# * S. Zagoruyko, N. Komodakis. *Wide Residual Networks.* BMVC 2016.
#   [arXiv:1605.07146](https://arxiv.org/abs/1605.07146).
# * S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He. *Aggregated Residual Transformations for Deep Neural Networks.*
#   CVPR 2017. [arXiv:1611.05431](https://arxiv.org/abs/1611.05431). The two blocks: figure 1; their numbers: "Model
#   Capacity" in section 3.
# * G. Huang, Z. Liu, L. van der Maaten, K. Weinberger. *Densely Connected Convolutional Networks.* CVPR 2017.
#   [arXiv:1608.06993](https://arxiv.org/abs/1608.06993).
# * A. Howard and others. *MobileNets.* 2017. [arXiv:1704.04861](https://arxiv.org/abs/1704.04861). Cost: section
#   3.1; the network: table 1.
# * M. Sandler and others. *MobileNetV2: Inverted Residuals and Linear Bottlenecks.* CVPR 2018.
#   [arXiv:1801.04381](https://arxiv.org/abs/1801.04381). Memory: section 5.
# * S. Sabour, N. Frosst, G. Hinton. *Dynamic Routing Between Capsules.* NeurIPS 2017.
#   [arXiv:1710.09829](https://arxiv.org/abs/1710.09829).
# * A. Azulay, Y. Weiss. *Why Do Deep Convolutional Networks Generalize So Poorly to Small Image Transformations?*
#   JMLR 2019. [arXiv:1805.12177](https://arxiv.org/abs/1805.12177).
# * R. Zhang. *Making Convolutional Networks Shift-Invariant Again.* ICML 2019.
#   [arXiv:1904.11486](https://arxiv.org/abs/1904.11486).
# * X. Glorot, Y. Bengio. *Understanding the Difficulty of Training Deep Feedforward Neural Networks.* AISTATS
#   2010.
# * K. He, X. Zhang, S. Ren, J. Sun. *Delving Deep into Rectifiers.* ICCV 2015.
#   [arXiv:1502.01852](https://arxiv.org/abs/1502.01852).
# * N. Srivastava and others. *Dropout: A Simple Way to Prevent Neural Networks from Overfitting.* JMLR 2014.
# * W. Zaremba, I. Sutskever, O. Vinyals. *Recurrent Neural Network Regularization.* 2014.
#   [arXiv:1409.2329](https://arxiv.org/abs/1409.2329).
# * Y. Gal, Z. Ghahramani. *A Theoretically Grounded Application of Dropout in Recurrent Neural Networks.* NeurIPS
#   2016. [arXiv:1512.05287](https://arxiv.org/abs/1512.05287).
# * H. Robbins, S. Monro. *A Stochastic Approximation Method.* Annals of Mathematical Statistics 1951.
# * B. Polyak. *Some Methods of Speeding up the Convergence of Iteration Methods.* 1964. Momentum.
# * I. Sutskever, J. Martens, G. Dahl, G. Hinton. *On the Importance of Initialization and Momentum in Deep
#   Learning.* ICML 2013. Both momenta.
# * J. Duchi, E. Hazan, Y. Singer. *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.*
#   JMLR 2011. AdaGrad.
# * T. Tieleman, G. Hinton. *Lecture 6.5: RMSProp.* Coursera, Neural Networks for Machine Learning, 2012.
# * D. Kingma, J. Ba. *Adam: A Method for Stochastic Optimization.* ICLR 2015.
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980). Algorithm 1.
# * X. Chen and others. *Symbolic Discovery of Optimization Algorithms.* NeurIPS 2023.
#   [arXiv:2302.06675](https://arxiv.org/abs/2302.06675). Lion.
# * I. Loshchilov, F. Hutter. *Decoupled Weight Decay Regularization.* ICLR 2019.
#   [arXiv:1711.05101](https://arxiv.org/abs/1711.05101). AdamW.
# * S. Ioffe, C. Szegedy. *Batch Normalization.* ICML 2015. [arXiv:1502.03167](https://arxiv.org/abs/1502.03167).
# * S. Santurkar, D. Tsipras, A. Ilyas, A. Madry. *How Does Batch Normalization Help Optimization?* NeurIPS 2018.
#   [arXiv:1805.11604](https://arxiv.org/abs/1805.11604).
# * Y. Wu, K. He. *Group Normalization.* ECCV 2018. [arXiv:1803.08494](https://arxiv.org/abs/1803.08494).
# * J. Ba, J. Kiros, G. Hinton. *Layer Normalization.* 2016. [arXiv:1607.06450](https://arxiv.org/abs/1607.06450).
# * A. Dosovitskiy and others. *An Image is Worth 16x16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Adam and SGD: appendix D.1, table 7.
