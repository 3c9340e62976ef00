# %% [markdown]
# # 13 · Scaling: more data, more depth, more width, and what it costs
#
# | | |
# |---|---|
# | **You will understand** | what more images and more parameters buy, and how to measure it by a scaling law; what makes 36 blocks trainable (LayerScale) and what CaiT changed row by row; class attention and talking heads; three ways to more for less: cheaper attention, a mixture of experts, retention; why a ViT keeps a GPU busy |
# | **You need** | [5 · The vision transformer](05_vision_transformer.ipynb); a power law is a straight line on logarithmic axes |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [12 · ConvNets strike back](12_convnets_strike_back.ipynb) · **13 · Scaling** · [14 · Video](14_video.ipynb) |

# %% tags=["setup"]
import time
from dataclasses import replace
import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from scipy.optimize import curve_fit
from torch import nn
from course import budget, plots, setup
from course.data import load
from course.figures import metaformer
from course.figures import scaling as figures
from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.registry import entry
from course.models.spec import part
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Five years of more
#
# The first ViT was a paper about size: *transformers for image recognition at scale*. It stood in a row of papers
# that asked one question: **does more data still help?**
#
# | | labels | images | network | ImageNet top-1, % |
# |---|---|---|---|---|
# | Sun and others 2017 | JFT, automatic | 300 million | ResNet-101 | 79.2 |
# | Mahajan and others 2018 | hashtags of photographs | 3.5 billion | ResNeXt-101 32×48d | 85.4 |
# | Xie and others 2020, *Noisy Student* | a teacher's answers on unlabelled images | 300 million | EfficientNet-L2 | 88.4 |
# | Kolesnikov and others 2020, *BiT* | JFT, automatic | 300 million | ResNet-152x4 | 87.54 |
# | Dosovitskiy and others 2021, *ViT* | JFT, automatic | 303 million | ViT-H/14 | 88.55 |
#
# All but one pre-train on much, then fine-tune on ImageNet. (Noisy Student trains on ImageNet and on the images that
# its teacher answered for, together.) Nobody labelled these images by hand: the labels are **weak
# labels** (what a page or a hashtag says) or **pseudo-labels** (what another network says). Sun and others tell why
# it works only sometimes: their small networks gained little from 300 million images, the large ones more. *Large
# data are useful only to a network with room for them.*
#
# What did it cost? The ViT paper gives the time for pre-training (Dosovitskiy and others 2021, table 2). A TPUv3 chip
# has two cores; the unit is a core-day.

# %%
cost = {"ViT, JFT-300M": {"L/16": (0.68, 87.76), "H/14": (2.5, 88.55)},
        "ViT, ImageNet-21k": {"L/16, 21k": (0.23, 85.30)},
        "CNN: BiT, JFT-300M": {"R152x4": (9.9, 87.54)},
        "CNN: Noisy Student": {"EffNet-L2": (12.3, 88.4)}}
metaformer.families(cost, above=["EffNet-L2"], ylabel="ImageNet top-1, %",
                    xlabel="pre-training, thousand TPUv3-core-days")

# %% [markdown]
# The ViTs reach the accuracy of the CNNs at a quarter of the time or less. Why they can is section 9. On the 19 tasks
# of **VTAB** (Zhai and others 2019: natural, specialised and structured images, 1,000 examples for each task)
# ViT-H/14 has 77.6 and BiT 76.3 (table 2 of the ViT paper): here, too, more data and a larger network transfer
# better. And **hybrids**, a small CNN in front of a ViT (lecture 5, section 8), are better than ViT at small size
# only; with more computing the gap vanishes (figure 5 there).
#
# Later records went on in the same way. The slides' table of the best, with sizes that we count where the course has
# the network (accuracies: Dosovitskiy 2021; Pham 2021, *Meta Pseudo Labels*; Zhai 2022; Dai 2021):

# %%
RECORDS = {"vit_h14": 88.55, "efficientnet_l2": 90.2, "vit_g14": 90.45, "coatnet_7": 90.88}
for name, accuracy in list(RECORDS.items())[: budget(tiny=1, cpu=4)]:
    with torch.device("meta"):  # shapes without numbers
        size = count_parameters(create_model(name)) / 1e6
    print(f"{name:16} top-1 {accuracy:.2f} %   counted {size:7.1f} M parameters")

# %% [markdown]
# Our counts agree with the sizes that the papers give (632 M; 480 M; 1.8 G; 2.44 G). The largest has five times the
# parameters of the smallest, and 0.7<!-- = 90.88 - 90.2 --> points more. The order by size is not the order by
# accuracy: EfficientNet-L2 has fewer parameters than ViT-H and more accuracy, by a better teacher. All four saw JFT
# images, which only one company has (EfficientNet-L2 saw them without labels).
#
# > **What slides get wrong here.**
# >
# > * **"2.5k TPUv3-days"**: *core*-days. A chip has two cores, so that is half as many chip-days.
# > * **88.36 or 88.55** for ViT-H/14: the first and the last version of the same paper. Slides quote both.
# > * **79.2 %** is Sun and others 2017; one deck also writes "Chen et al. 2017".
# > * **A leaderboard's first places** (OmniVec 92.4, CoCa 91.0 with 2,100M parameters; slides) use images that nobody
# >   else has. It ranks data and money as well as ideas. "Transfer still wins: 91.0 against 88.3 (PeCo, 2021)"
# >   compares networks of different size, resolution and data. It is probably right; this pair does not prove it.

# %% [markdown]
# ## 2 · A scaling law of our own
#
# Zhai and others (2022) trained ViTs of many sizes on 1 million to 3 billion images. On logarithmic axes the error
# falls as a straight line for a long way, and bends at both ends: a **scaling law**,
#
# $$E = a\, (C + d)^{-b} + c,$$
#
# with C the computing and c what no computing removes: the bend at the right. The small d keeps the error finite where
# there is hardly any computing: the bend at the left. Hoffmann and others (2022) write for language, with P
# parameters and n examples, a sum of two terms: what the *network* is too small for, and what the *data* do not tell.
# For the test error ε of our networks we try
#
# $$\varepsilon(P, n) = A\, P^{-\alpha} + B\, n^{-\beta}.$$
#
# Whether this holds for a network of some thousand parameters can be measured on a laptop. The images are handwritten
# digits of 8 × 8 pixels; the networks are ViTs with 16 tokens and two blocks.

# %%
train = load("digits", "train", device="cpu")  # 1,400 images (C, H, W) = (1, 8, 8)
test = load("digits", "test", device="cpu")  # 397
DIGITS = dict(num_classes=10, img_size=8, patch_size=2, in_chans=1, num_heads=2,
              mlp_ratio=2, position="sinusoidal")  # 16 tokens

def small_vit(width, depth=2, **changes):
    return create_model("vit_cifar", embed_dim=width, depth=depth, **DIGITS | changes)

def trained(network, count=len(train), steps=400, lr=4e-3, seed=0):
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=steps), lr=lr, seed=seed)
    fit(network, train.subset(count), recipe, plot=False, progress=False)
    return network

plots.image_grid(train, count=5)

# %% [markdown]
# Twelve runs: four widths times three numbers of images, all with 400 steps. Three seeds each. **Predict** before you
# look: where does four times the data help most, in a narrow network or in a wide one? *(Price: none. The 36
# trainings were run once and stored; `twelve_runs(3)` trains twelve more, in about a minute.)*

# %%
WIDTHS, COUNTS = (4, 8, 16, 32), (88, 350, 1400)

def one_run(width, count, seed):
    torch.manual_seed(seed)
    return 1 - evaluate(trained(small_vit(width), count, seed=seed), test)

def twelve_runs(seed):
    return {f"{width}": {f"{count}": one_run(width, count, seed) for count in COUNTS}
            for width in WIDTHS}

runs = over_seeds("13_scaling/law", twelve_runs, live=False)
for width, row in runs.items():
    print(f"width {width:>2}:", ", ".join(f"{100 * np.mean(seeds):4.1f} % at {count} images"
                                         for count, seeds in row.items()))

# %% [markdown]
# Data help a *wide* network. From 88 to 1,400 images the error of width 32 falls from 37 to 48 %<!-- law / 32 / 88
# --> to 3 to 6 %<!-- law / 32 / 1400 -->; that of width 4 falls from 68 to 77 %<!-- law / 4 / 88 --> to 47 to 63
# %<!-- law / 4 / 1400 --> only. And width helps where data are *many*: with 1,400 images from 47 to 63 %<!-- law / 4
# / 1400 --> (width 4) to 3 to 6 %<!-- law / 32 / 1400 --> (width 32), with 88 images from 68 to 77 %<!-- law / 4 / 88
# --> to 37 to 48 %<!-- law / 32 / 88 -->.
#
# Now the law. We fit its four numbers to all runs at once. A small error and a large one should count alike, so the
# fit is in logarithms (`scipy.optimize.curve_fit`). Beside each number stands its standard error, as the fit
# estimates it from the scatter of the points.

# %%
P = {width: count_parameters(small_vit(width)) for width in WIDTHS}

def law(x, A, alpha, B, beta):
    """(parameters, images), each (n,), -> error (n,)"""
    return A * x[0] ** -alpha + B * x[1] ** -beta

def fitted(widths):
    """The law through the runs of these widths, and how uncertain each of its numbers is."""
    points = [(P[width], count, error) for width in widths for count in COUNTS
              for error in runs[str(width)][str(count)]]
    *x, errors = np.array(points, dtype=float).T  # three times (n,)
    return curve_fit(lambda x, *numbers: np.log(law(x, *numbers)), np.stack(x), np.log(errors),
                     p0=(10, 0.5, 10, 0.5), bounds=(0, np.inf))

best, covariance = fitted(WIDTHS)
for name, value, width in zip(("A", "alpha", "B", "beta"), best, np.diag(covariance) ** 0.5):
    print(f"{name:5} = {value:6.2f} ± {width:.2f}")

# %%
A, alpha, B, beta = best
for width in WIDTHS:
    bend = (B / A * P[width] ** alpha) ** (1 / beta)  # images at which both terms are equal
    print(f"width {width:2}, {P[width]:6,} parameters: bends at {bend:6,.0f} images")
small, _ = fitted(WIDTHS[:3])
for count in COUNTS:
    predicted, found = law((P[32], count), *small), np.mean(runs["32"][str(count)])
    print(f"width 32, {count:4} images: predicted {predicted:.1%}, measured {found:.1%}")
as_numbers = {width: {count: runs[str(width)][str(count)] for count in COUNTS}
              for width in WIDTHS}
figures.law(as_numbers, P, lambda parameters, images: law((parameters, images), *best))

# %% [markdown]
# Four numbers describe 36 runs well. The exponents are α = 0.97<!-- printed --> and β = 0.87<!-- printed -->: twice
# the parameters halve the first term (to 0.51<!-- = 1 / 2 ** 0.97 -->), twice the images leave 0.55<!-- = 1 / 2 **
# 0.87 --> of the second. The exponents are known to about a tenth; A and B much worse, because a larger A with a
# larger α fits nearly as well. Two points fit badly. With width 8 and 1,400 images the line, at 20 %<!-- = 19.9 -->, lies
# below all three runs, 22 to 30 %<!-- law / 8 / 1400 -->. With width 4 and 88 images it lies clearly above them, 68 to
# 77 %<!-- law / 4 / 88 -->: guessing has an error of 90 %<!-- = 100 - 10 -->, and the law does not know that. This is
# the *upper* bend.
#
# **Where it bends.** Follow a line of the left panel. While the second term, $B n^{-\beta}$, is the larger one, more
# images help, and the line falls steeply. When the first term takes over, the line becomes flat: the network is full.
# Both are equal at the number of images that the cell prints: the narrower the network, the earlier. In the right
# panel the same happens to few images: there a wider network stops to help.
#
# This is what the slides mean by "large data is useful only with a high-capacity network", as an equation.
#
# **Does it predict?** A law that only repeats what it was fitted to is worth little. So the cell also fits it to the
# three smaller widths alone, and predicts the largest. For width 32 the smaller networks predict the error well with
# 1,400 images (4.5 %<!-- printed -->, as measured) and promise too much with fewer: with 350 (11.1 %<!-- printed -->
# against 14.7 %<!-- printed -->) and more so with 88 (33.3 %<!-- printed --> against
# 41.8 %<!-- printed -->): no term of the law says that a wide network may overfit few images. (That this is the reason is
# our guess.)
#
# **Question 13.1** According to the fitted law, what is better for the network of width 16 at 350 images: four times
# the images, or width 32? Compute both with `law` before you look at the table.
#
# <details><summary>Answer</summary>
#
# Four times the images: the law gives 8.2 %<!-- = 8.19 --> (`law((P[16], 1400), *best)`) against 12.3 %<!-- = 12.33
# --> for width 32 at 350 images. At 350 images width 16 is below its bend (886<!-- printed -->), so the second term
# is the larger one. The runs agree: 5 to 9 %<!-- law / 16 / 1400 --> and 11 to 19 %<!-- law / 32 / 350 -->.
# </details>
#
# > **What slides get wrong here.** "ViT follows a scaling law" on a slide is often a straight line. In Zhai and
# > others (2022, figure 2) the line bends at both ends: small networks stop to gain from more computing, and the
# > largest come near a floor that is not 0.

# %% [markdown]
# ## 3 · Deeper: LayerScale
#
# More parameters can be had by width or by **depth**. ViT-B has 12 blocks. The authors of CaiT (Touvron and others
# 2021) found that DeiT-S becomes *worse* with 36. Their repair is one learned number for each channel of each half of
# a block, **LayerScale**, which starts near 0 (lecture 11 met it in PoolFormer):
#
# $$z' = z + \lambda \odot \mathrm{MSA}(\mathrm{LN}(z)), \qquad z'' = z' + \lambda' \odot \mathrm{MLP}(\mathrm{LN}(z')).$$
#
# Look at 24 blocks before training: how large is what comes out of each block?

# %%
SCALES = {"none": None, "1": 1.0, "0.1": 0.1, "1e-5": 1e-5}
pixels = (test.images.float() - 77) / 96  # (n, C, H, W), about mean 0 and spread 1
growth = {}
for name, scale in SCALES.items():
    torch.manual_seed(0)
    network = small_vit(32, depth=24, layer_scale=scale)
    z = network.stages[0].entry(network.stem(pixels))  # (n, N + 1, D)
    growth[f"LayerScale {name}"] = [z.std().item()]
    for block in network.stages[0].blocks:
        z = block(z)  # (n, N + 1, D)
        growth[f"LayerScale {name}"].append(z.std().item())
plots.curves(range(25), growth, xlabel="blocks", ylabel="spread of the residual stream")

# %% [markdown]
# Without LayerScale every block adds something random of its own, and the stream grows. With a start of 10⁻⁵ nothing
# is added: all 24 blocks together are the identity. A start of 1 is no start at all: the curve lies on that of
# *none*.
#
# Does it matter for training? Networks of width 32 and 2 to 24 blocks, 50 steps on the digits. **Predict**: which
# depth has the lowest loss, without and with LayerScale? *(Price: none, the runs are stored; `depths(3)` takes about
# a minute.)*

# %%
DEPTHS, SLOWER = (2, 6, 12, 24), "none, rate ÷ 4"

def loss(network):
    network.eval()
    with torch.no_grad():
        logits = network(network.normalise_images(test.images))  # (n, 10)
    return F.cross_entropy(logits, test.labels).item()

def after_fifty(depth, scale, seed, lr=4e-3):
    """The first layer's gradient before training, and the test loss after 50 steps."""
    torch.manual_seed(seed)
    network = small_vit(32, depth, layer_scale=scale)
    F.cross_entropy(network(pixels[:100]), test.labels[:100]).backward()
    gradient = network.stem.proj.weight.grad.norm().item()
    return {"gradient": gradient, "loss": loss(trained(network, steps=50, lr=lr, seed=seed))}

# %%
def depths(seed):
    """LayerScale -> depth -> gradient and loss"""
    found = {name: {f"{depth}": after_fifty(depth, SCALES[name], seed) for depth in DEPTHS}
             for name in ("none", "0.1", "1e-5")}
    found["1"] = {"24": after_fifty(24, 1.0, seed)}
    found[SLOWER] = {"24": after_fifty(24, None, seed, lr=1e-3)}
    return found

deep = over_seeds("13_scaling/depth", depths, live=False)
lines = {f"LayerScale {name}": tuple(zip(*(deep[name][f"{depth}"]["loss"] for depth in DEPTHS)))
         for name in ("none", "0.1", "1e-5")}
plots.curves(DEPTHS, lines, log="x", xlabel="blocks", ylabel="test loss after 50 steps",
             levels={"guessing": np.log(10)})

# %% [markdown]
# Without LayerScale 24 blocks have learned little or nothing: a loss of 2.16 to 2.30<!-- depth / none / 24 / loss
# -->, and guessing has 2.30<!-- = 2.302585 -->. With a start of 10⁻⁵ it is 1.25 to 1.51<!-- depth / 1e-5 / 24 / loss
# -->, and *lower* than with 2 blocks (1.76 to 1.98<!-- depth / 1e-5 / 2 / loss -->): here depth helps. A start of 0.1
# lies between, 1.75 to 2.03<!-- depth / 0.1 / 24 / loss -->.
#
# Two controls at 24 blocks. LayerScale that starts at **1** has the same learned numbers and another start. And **no
# LayerScale, but a quarter of the learning rate**: perhaps small steps are all that is needed?

# %%
for name, row in deep.items():
    found = row["24"]
    print(f"24 blocks, LayerScale {name:15}:",
          "; ".join(f"{what} {', '.join(f'{each:.3f}' for each in seeds)}"
                    for what, seeds in found.items()))

# %% [markdown]
# * **The start is what counts, not the learned scale.** With a start of 1 the loss is 2.09 to 2.30<!-- depth / 1 / 24
#   / loss -->, about that of no LayerScale.
# * **Smaller steps help a little**, 2.02 to 2.11<!-- depth / none, rate ÷ 4 / 24 / loss -->, and are not enough. A
#   longer warm-up, or other tricks, may do more; we tried one.
# * **It is not the size of the gradient.** Without LayerScale the first layer's gradient is 0.05 to 0.13<!-- depth /
#   none / 24 / gradient --> at the start, neither very large nor very small, and training still fails. With 10⁻⁵ it
#   is below 0.001<!-- < depth / 1e-5 / 24 / gradient -->.
#
# (One width, one recipe, 50 steps: who trains longer may see the deep network without LayerScale come back. CaiT's
# table, next section, has 300 epochs and the same order.)
#
# How far do the scales go? One network of 12 blocks, trained here for 50 steps:

# %%
torch.manual_seed(0)
network = trained(small_vit(32, depth=12, layer_scale=1e-5), steps=50)
blocks = network.stages[0].blocks
after = {half: [getattr(block, half).scale.abs().mean().item() for block in blocks]  # of (D,)
         for half in ("token_mixer", "channel_mixer")}
plots.curves(range(1, 13), {"attention": after["token_mixer"], "MLP": after["channel_mixer"]},
             log="y", xlabel="block", ylabel="mean size of LayerScale")

# %% [markdown]
# They leave 10⁻⁵ at once: after 50 steps they are hundreds to thousands of times as large, in all blocks, those of
# attention larger than those of the MLP. The network *chooses* how much each half may add. (The paper starts at 10⁻⁵
# for 24 blocks and at 10⁻⁶ for 36.)
#
# **Question 13.2** With 24 blocks, the gradient of the first layer is below 0.001<!-- < depth / 1e-5 / 24 / gradient
# --> at the start with 10⁻⁵. How can the network train at all?
#
# <details><summary>Answer</summary>
#
# The head reads the class token, and with scales of 10⁻⁵ almost nothing of the patches arrives there; so the first
# layer has almost no gradient. But the *scales* have one: each is multiplied by the output of its branch, which is
# not small. Adam divides a gradient by its size, so after a step or two the scales have moved by about the learning
# rate, far more than 10⁻⁵, and the patches arrive.
# </details>
#
# ## 4 · CaiT's table, row by row
#
# The slides show how DeiT-S becomes CaiT-S36: twelve rows, one change each. A row that changes the network is a
# *spec*; a row that changes the training (400 epochs, distillation, crop) has the same spec as the row above it.

# %%
from course.models.token_mixers.talking_heads import TalkingHeadsAttention

deit, cait = entry("deit_s").spec, entry("cait_s36").spec
talking = replace(deit, token_mixer=part(TalkingHeadsAttention, num_heads=8))
ROWS = {  # what changes: (spec, top-1, printed parameters and multiply-adds)
    "DeiT-S": (deit, 79.9, "22M 4.6B"),
    "8 heads": (deit.but(num_heads=8), 80.0, "22M 4.6B"),
    "talking heads": (talking, 80.5, "22M 4.6B"),
    "36 blocks": (talking.but(depth=36), 69.9, "64M 13.8B"),
    "LayerScale 1e-6": (talking.but(depth=36, layer_scale=1e-6), 80.5, "64M 13.8B"),
    "stochastic depth 0.2": (talking.but(depth=36, layer_scale=1e-6, drop_path=0.2), 83.0,
                             "64M 13.8B"),
    "class attention": (cait.but(drop_path=0.2), 83.2, "68M 13.9B"),
    "400 epochs": (cait.but(drop_path=0.2), 83.4, "68M 13.9B"),
    "256 pixels": (cait.but(img_size=256), 83.8, "68M 18.6B"),
    "fine-tuned at 384": (cait.but(img_size=384), 84.8, "68M 48.0B"),
    "hard distillation": (cait.but(img_size=384), 85.2, "68M 48.0B"),
    "crop ratio 1.0": (cait.but(img_size=384), 85.4, "68M 48.0B")}

# %%
counted = {}
for name, (spec, _, printed) in list(ROWS.items())[: budget(tiny=2, cpu=12)]:
    key = repr(spec)
    if key not in counted:
        with torch.device("meta"):  # shapes without numbers
            network = spec.build()
        macs = count_macs(network, 1, 3, spec.img_size, spec.img_size)
        counted[key] = f"{count_parameters(network) / 1e6:.2f}M {macs / 1e9:.2f}G"
    print(f"{name:22} printed {printed:10}  counted {counted[key]}")
figures.ladder({name: accuracy for name, (_, accuracy, _) in ROWS.items()}, start=66,
               xlabel="ImageNet-1k top-1, %")

# %% [markdown]
# The blue bars are the accuracy before the change, green what it added, red what it cost (accuracies as printed; not
# ours). Parameters and multiply–adds are counted. All agree with the print to its last digit but one: 36 blocks have
# 13.86<!-- printed --> G, which would round to 13.9 (the print cuts off). DeiT-S at depth 36 *without* talking heads,
# `deit_s_36` in the course, has 64.64 M and 13.68 G.
#
# What the rows tell:
#
# * **Depth alone costs ten points** (80.5 to 69.9; but see the box), and **LayerScale gives them back** (80.5): equal
#   to 12 blocks, at three times the cost. The gain comes with the next row: stronger **stochastic depth** (+2.5), a
#   *regulariser* (blocks are left out at random in training). So the large network could now be trained, and it seems
#   that it overfitted (numbers: CaiT's table, 2021; the reasons are our reading).
# * **Class attention**, the part that gave CaiT its name, adds 0.2 and 4 M parameters.
# * From 83.4 on nothing about the network changes: resolution, a teacher, and the crop of the test image, together
#   2.0<!-- = 85.4 - 83.4 --> points. The multiply–adds grow by 3.4<!-- = 47.9 / 13.9 -->.
#
# > **What slides get wrong here.**
# >
# > * **69.9†** without the dagger's meaning. In the paper it marks, as we remember it, a training that *broke off*;
# >   69.9 is what it had reached. So "deeper models fail to converge" is right for this run, and "depth costs ten
# >   points" is not the price of 36 blocks that were trained to the end.
# > * **CaiT-M48 has 356 M parameters**, not 350: we count 356.46 M (`card("cait_m48")`). And its "86.5 % from
# >   scratch" is at 448 pixels and with a CNN as teacher (the authors' tables, 2021): no other images, but not the
# >   network alone.

# %% [markdown]
# ## 5 · Class attention and talking heads
#
# A class token in a ViT has two jobs: in every block it helps the patches to look at each other, and in the end it is
# the answer. CaiT separates them. The 36 blocks see patches only. Then come two layers in which **only the class
# token asks**, and the patches stay as they are:

# %%
figures.class_attention()

# %% [markdown]
# $$z_\text{class}' = z_\text{class} + \mathrm{softmax}\Big(\frac{q_\text{class}\, K^\top}{\sqrt d}\Big) V\, W_O, \qquad K, V \text{ from } [z_\text{class}; z_1 \dots z_N]$$
#
# One query in place of N + 1: the table of weights is one row, and the cost grows with N, not with N².

# %% tags=["slide-code"]
from course.models.token_mixers.class_attention import ClassAttention

layer = ClassAttention(dim=48, num_heads=4)
z = torch.randn(2, 10, 48)  # (B, 1 + N, D): class token and 9 patches
q = rearrange(layer.q(z[:, :1]), "b 1 (h d) -> b h 1 d", h=4)  # one query
k, v = rearrange(layer.kv(z), "b n (two h d) -> two b h n d", two=2, h=4)
scores = einsum(q, k, "b h i d, b h j d -> b h i j") / 12**0.5  # (B, h, 1, 1 + N)
out = layer.proj(rearrange(scores.softmax(dim=-1) @ v, "b h 1 d -> b 1 (h d)"))  # (B, 1, D)
print("the same as the class:", torch.allclose(layer(z)[:, :1], out, atol=1e-6))
print("what is added to the patches:", layer(z)[:, 1:].abs().max().item())
D, N = 384, 197
costs = {"self-attention": 4 * N * D**2 + 2 * N**2 * D,
         "class attention": 2 * N * D**2 + 2 * D**2 + 2 * N * D}
print("; ".join(f"{name} {cost / 1e6:.1f} M multiply-adds" for name, cost in costs.items()))

# %% [markdown]
# The patches get exactly 0. At the size of CaiT-S (D = 384, 197 tokens) such a layer has 40 %<!-- = 100 * 58.5 / 146
# --> of the multiply–adds of self-attention, nearly all of them for keys and values. Lecture 9 compares class
# attention with other heads.
#
# **Talking heads** (Shazeer and others 2020) are older, and answer another question. Each head computes its own N × N
# table, from queries and keys of width d = D/h. What if heads could exchange what they found? Two small h × h
# matrices mix the tables of all heads, before the softmax and after it:
#
# $$S'_g = \sum_h L_{gh}\, \frac{Q_h K_h^\top}{\sqrt d}, \qquad A'_g = \sum_h M_{gh}\, \mathrm{softmax}(S'_h).$$
#
# What can a head do with the others' tables that it cannot do alone? A table $QK^\top$ has at most rank d, however
# long the sequence is. More heads are narrower heads, so each table becomes poorer. Count it:

# %%
def ranks(heads, D=32, N=64):
    """Rank of one head's N × N table before softmax: alone, and after heads have talked."""
    torch.manual_seed(0)
    layer = TalkingHeadsAttention(D, heads)
    q, k, _ = rearrange(layer.qkv(torch.randn(1, N, D)), "b n (three h d) -> three b h n d",
                        three=3, h=heads)
    scores = einsum(q, k, "b h i d, b h j d -> b h i j")  # (B, h, N, N)
    talked = einsum(layer.talk_before.weight, scores, "g h, b h i j -> b g i j")
    return [int(torch.linalg.matrix_rank(each[0, 0], rtol=1e-4)) for each in (scores, talked)]

for heads in (1, 2, 4, 8):
    alone, talked = ranks(heads)
    print(f"{heads} heads of {32 // heads:2}: rank {alone:2} alone, {talked:2} after talking")

# %% [markdown]
# **After talking every head has the rank of all of them together.** So with talking heads one can have many heads,
# and each is still rich. CaiT's table gives 0.1 for eight heads in place of six, and 0.5 for talking (2021). The
# price is not in multiply–adds: all h tables must be there at the same time, so the fused attention kernels, which
# never write a table, cannot be used.
#
# **Question 13.3** How many learned numbers do talking heads add to a block with h = 8? Compare "8 heads" and
# "talking heads" in section 4.
#
# <details><summary>Answer</summary>
#
# Two linear maps of 8 × 8 with 8 biases: 144<!-- = 2 * (8 * 8 + 8) --> numbers, in 12 blocks 1,728<!-- = 12 * 144
# -->. In millions nobody sees it.
# </details>
#
# ## 6 · Cheaper attention
#
# N tokens make N² pairs. For long sequences (books, films, large images) many proposals make it O(N): the survey of
# Tay and others (2020) sorts them:
#
# | | idea | for example |
# |---|---|---|
# | fixed patterns | look at neighbours, or at every k-th token | Swin's windows (lecture 8) |
# | learned patterns | sort tokens, look inside groups | Reformer |
# | low rank | summarise keys and values into k tokens | **Linformer**; PVT's reduction |
# | kernels | write the softmax as a product of features | **Performer** |
# | recurrence | carry a state along | Transformer-XL; **RetNet** (section 8) |
# | memory | a few tokens that all others share | Perceiver (lecture 16) |
#
# We build two. **Linformer** (Wang and others 2020) multiplies keys and values by learned k × N matrices E and F:
#
# $$\mathrm{softmax}\Big(\frac{Q\,(E K)^\top}{\sqrt d}\Big)\, F V.$$
#
# **Performer** (Choromanski and others 2021) replaces the exponential by random features φ with $\mathbb
# E\,[\varphi(q) \cdot \varphi(k)] = e^{q \cdot k}$. Then the sum over the keys can be done first, once for all
# queries:
#
# $$\mathrm{out}_i = \frac{\varphi(q_i) \sum_j \varphi(k_j)\, v_j^\top}{\varphi(q_i) \sum_j \varphi(k_j)}.$$

# %%
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.linformer import LinformerAttention
from course.models.token_mixers.performer import PerformerAttention

LENGTHS = (64, 256, 1024, 4096)

def three(N, sharpness=1.0, D=64, heads=2):
    """Attention, and two approximations with the same projections."""
    torch.manual_seed(0)
    exact = SelfAttention(D, heads)
    exact.qkv.weight.data[: 2 * D] *= sharpness**0.5  # of queries and keys
    others = {"Performer, 256 features": PerformerAttention(D, heads, num_features=256),
              "Linformer, 64 summaries": LinformerAttention(D, (1, N), heads, class_tokens=0)}
    for other in others.values():
        other.qkv, other.proj = exact.qkv, exact.proj
    return {"attention": exact} | others

# %% [markdown]
# How good is the approximation? The same weights, the same tokens, exact and approximated. The **error** is the size
# of the difference relative to the size of the output: 0 is perfect, and who always answers 0 has an error of 1. The
# first table changes how *sharp* attention is; the picture is at 3.

# %%
@torch.inference_mode()
def errors(N, sharpness):
    exact, *others = three(N, sharpness).values()
    x = torch.randn(1, N, 64)  # (B, N, D)
    y = exact(x) - exact.proj.bias  # (B, N, D)
    found = [((other(x) - exact(x)).norm() / y.norm()).item() for other in others]
    q, k, _ = rearrange(exact.qkv(x), "b n (three h d) -> three b h n d", three=3, h=2)
    table = (q[0, 0] @ k[0, 0].T / 32**0.5).softmax(dim=-1)  # (N, N)
    return *found, table.max(dim=-1).values.mean().item()

for sharpness in (1, 3, 10, 30):
    performer, linformer, largest = errors(budget(tiny=64, cpu=1024), sharpness)
    print(f"scores × {sharpness:2}: largest weight {largest:.3f}; error of Performer "
          f"{performer:.2f}, of Linformer {linformer:.2f}")
by_length = {N: errors(N, 3) for N in LENGTHS[: budget(tiny=1, cpu=4)]}
plots.curves(list(by_length), {name: [found[i] for found in by_length.values()] for i, name in
             enumerate(("Performer, 256 features", "Linformer, 64 summaries"))},
             log="x", xlabel="tokens N", ylabel="error, relative to the output")

# %% [markdown]
# Performer's random features are a good estimate when attention is spread over many tokens, and a bad one as soon as
# it is sharp: an exponential that is large in one place is hard to hit by random directions. Here its error is above
# 1 as soon as the largest of a query's 1,024 weights is on average 0.02<!-- = 0.017 -->. It does not depend on N in any simple way. (One draw of weights and features for each point:
# the order of size is what counts.) Linformer's error is above 1 throughout. That is no surprise: E and F are
# *random* here. Linformer does not approximate attention that was trained without it; it must be trained with it.
#
# And the time? (This CPU; yours differ. Both axes are logarithmic: a slope of 2 is N².)

# %%
@torch.inference_mode()
def seconds(layer, *inputs, times=budget(tiny=1, cpu=5)):
    layer(*inputs)  # once to warm up
    found = []
    for _ in range(times):
        start = time.perf_counter()
        layer(*inputs)
        found.append(time.perf_counter() - start)
    return min(found)

lengths = LENGTHS[: budget(tiny=1, cpu=4)]
taken = {name: [1e3 * seconds(three(N)[name], torch.randn(1, N, 64)) for N in lengths]
         for name in three(64)}
plots.curves(lengths, taken, log="xy", xlabel="tokens N", ylabel="milliseconds")

# %% [markdown]
# On 64 tokens nothing is gained. Linformer needs N well above its k = 64 summaries; Performer needs N above its
# number of features, 256 here, since it turns each query of width 32 into 256 numbers. With the 196 tokens of a ViT
# there is little to win; with thousands of tokens O(N) shows. A fused kernel (FlashAttention: Dao and others 2022)
# moves the crossing further away, since it is exact and saves memory traffic (section 9).
#
# Error and time are only half of it: what if the network *learns* with the cheaper mixer? Digits have 16 tokens. Four
# networks that differ in the mixer alone. **Predict** their order. *(Stored runs, three seeds.)*

# %%
from course.models.heads import MeanHead
from course.models.stems import Tokens
from course.models.token_mixers.retention import Retention

CHEAPER = {"attention": part(SelfAttention), "retention": part(Retention, value_ratio=1),
           "Linformer, 4 summaries": part(LinformerAttention, class_tokens=0, num_summaries=4),
           "Performer, 16 features": part(PerformerAttention, num_features=16)}

def with_mixer(mixer):
    """A ViT of width 32 without a class token: its head takes the mean of the 16 tokens."""
    spec = replace(entry("vit_cifar").spec, token_mixer=mixer, head=part(MeanHead),
                   tokens=part(Tokens, class_tokens=0))
    return spec.but(embed_dim=32, depth=2, **DIGITS).build()

def trained_through(seed):
    found = {}
    for name, mixer in CHEAPER.items():
        torch.manual_seed(seed)
        found[name] = {"digits": evaluate(trained(with_mixer(mixer), seed=seed), test)}
    return found

plots.bars(over_seeds("13_scaling/trained through", trained_through, live=False), chance=0.1)

# %% [markdown]
# Attention is *not* the best: 93 to 96 %<!-- trained through / attention / digits -->. Linformer with its four
# summaries has 96 to 97 %<!-- trained through / Linformer, 4 summaries / digits -->, retention 96 to 97 %<!-- trained
# through / retention / digits -->, Performer 91 to 96 %<!-- trained through / Performer, 16 features / digits -->. So
# a bad approximation is no bad network: Linformer's error was the largest above. One reason may be that the weights
# of E and F belong to *places*, like those of an MLP-Mixer, and retention's decay knows the order; both are a prior
# that suits centred digits. (One small task, one recipe. Bad news for those who compare mixers by how well they
# imitate attention.)
#
# > **What slides get wrong here.** "Many O(N) approximations, unfortunately none provides a clear improvement" was
# > written about 2021, and is right about what it means: *as a replacement of attention at equal quality*. Read as
# > "efficient attention does not work" it is wrong. Windows, summaries and state-carrying mixers are in use. Always
# > ask: at which N, against which kernel, trained how?

# %% [markdown]
# ## 7 · Mixture of experts: parameters without cost
#
# A network of twice the width costs four times as much for *every* token. A **mixture of experts** (MoE; Shazeer and
# others 2017) has E MLPs in place of one. A **router**, one linear layer, rates all experts for each token, and the
# token goes to the best k only:
#
# $$y = \sum_{i \,\in\, \text{top-}k(W x)} \mathrm{softmax}_{\text{chosen}}(W x)_i \; E_i(x).$$
#
# By hand, token by token, with E = 4 and k = 2:

# %%
from course.models.channel_mixers.mixture_of_experts import (
    MixtureOfExperts, load_balancing_loss)

moe = MixtureOfExperts(dim=6, num_experts=4, top_k=2)
x = torch.randn(1, 5, 6)  # (B, N, D)
logits, expert = moe.router(x).topk(2, dim=-1)  # (B, N, k) each
weight = logits.softmax(dim=-1)  # (B, N, k): over the chosen ones only
y = torch.zeros_like(x)  # (B, N, D)
for n in range(5):
    for choice in range(2):
        e = expert[0, n, choice]
        hidden = F.gelu(x[0, n] @ moe.fc1[e])  # (4 D,): W₁ of this expert
        y[0, n] += weight[0, n, choice] * (hidden @ moe.fc2[e])  # (D,): W₂
print("the same as the class:", torch.allclose(y, moe(x), atol=1e-5))
print("experts of token 0:", expert[0, 0].tolist(), "with weights",
      ", ".join(f"{each:.2f}" for each in weight[0, 0].tolist()))

# %% [markdown]
# The weights make the choice trainable: the choice itself has no gradient, but the *weight* of each chosen expert
# has. What it costs in a ViT with experts in every second block (k = 2 of E = 8):

# %%
for name in ("vit_s16", "vit_moe_s16"):
    with torch.device("meta"):
        network = create_model(name)
    print(f"{name:12} {count_parameters(network) / 1e6:6.1f} M parameters, "
          f"{count_macs(network, 1, 3, 224, 224) / 1e9:.2f} G multiply-adds")

# %% [markdown]
# 3.2<!-- = 71.6 / 22.1 --> times the parameters at 1.3<!-- = 6.15 / 4.6 --> times the multiply–adds. V-MoE (Riquelme
# and others 2021) went up to 15 billion parameters in this way. "Sparsity is less explored" is what the slides say;
# it is explored.
#
# ### Who gets the tokens?
#
# Nothing makes the router fair. An expert that is chosen often is trained often, becomes better and is chosen more.
# So one needs **load balancing**: an extra loss (Fedus and others 2021), with $f_i$ how often expert i is chosen for
# each token, on average (so the $f_i$ sum to k), and $P_i$ the mean probability that the router gives it:
#
# $$\mathcal L = E \sum_i f_i\, P_i .$$
#
# With k = 2 choices a token it is 2 when all experts get the same, and more when some get most. We train
# a ViT with 8 experts in its second block with three weights of this loss. Beside accuracy and load we measure how
# many choices find **no place**: in practice every expert has a box of fixed size (here 1.05 times its fair share,
# for each image), and who comes too late is left out. *(Price: none, the runs are stored.)*

# %%
mean, spread = train.images.float().mean(), train.images.float().std()

def routed(balance, seed, steps=200):
    """A ViT with 8 experts in its second block, trained; and its router's logits (T, E)."""
    torch.manual_seed(seed)
    network = create_model("vit_moe_s16", embed_dim=32, depth=2, capacity_factor=None,
                           **DIGITS)
    moe, seen = network.stages[0].blocks[1].channel_mixer.branch, {}
    moe.router.register_forward_hook(lambda *call: seen.update(logits=call[-1]))  # (B, N, E)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(budget(tiny=2, cpu=steps)):
        batch = torch.randint(len(train), (64,))
        out = network((train.images[batch].float() - mean) / spread)  # (B, 10)
        balanced = load_balancing_loss(seen["logits"].flatten(0, 1), top_k=2)
        (F.cross_entropy(out, train.labels[batch]) + balance * balanced).backward()
        optimizer.step(), optimizer.zero_grad()
    with torch.no_grad():
        out = network((test.images.float() - mean) / spread)
    return (out.argmax(dim=1) == test.labels).float().mean().item(), seen["logits"]

# %%
def balance(seed):
    """weight of the loss -> accuracy, its value, largest load, choices without a place"""
    found = {}
    for weight in (0.0, 0.01, 0.1):
        accuracy, logits = routed(weight, seed)
        chosen = logits.topk(2, dim=-1).indices  # (B, N, k)
        counts = F.one_hot(chosen, 8).sum(dim=(1, 2))  # (B, E): choices of an image
        room = int(np.ceil(1.05 * counts[0].sum().item() / 8))  # a box of 1.05 fair shares
        loads = counts.sum(dim=0) / counts.sum()  # (E,)
        found[f"{weight:g}"] = {
            "accuracy": accuracy, "largest load": loads.max(),
            "loss": load_balancing_loss(logits.flatten(0, 1), top_k=2).item(),
            "no place": 1 - counts.clamp(max=room).sum() / counts.sum()}
    return found

for weight, found in over_seeds("13_scaling/balance", balance, live=False).items():
    print(f"weight {weight:4}", "; ".join(
        f"{name} {', '.join(f'{float(each):.2f}' for each in seeds)}"
        for name, seeds in found.items()))

# %% [markdown]
# Without the loss (weight 0) the busiest of eight experts gets 28 to 34 %<!-- balance / 0 / largest load --> of all
# choices, where 12.5 %<!-- = 100 / 8 --> would be fair, and the balancing loss ends at 2.49 to 3.38<!-- balance / 0 /
# loss -->. With a weight of 0.01 the busiest gets 15 to 21 %<!-- balance / 0.01 / largest load -->, and the loss is
# 2.02 to 2.10<!-- balance / 0.01 / loss -->: nearly its least value, 2. A weight of 0.1 is no better: 17 to 20 %<!--
# balance / 0.1 / largest load -->. Does balance cost accuracy? With the weight 0.01 the accuracy is lower with each
# seed, by 2 to 4 points<!-- balance / 0 / accuracy - balance / 0.01 / accuracy --> (80 to 89 %<!-- balance / 0 / accuracy -->
# without the loss). A weight of 0.1 gives 81 to 88 %<!-- balance / 0.1 / accuracy -->, about as much as without. So
# these runs do not decide it.
#
# Note the last column. Over *all* images the load is even, but the boxes are filled image by image, and one image has
# many patches of one kind: 24 to 33 %<!-- balance / 0.01 / no place --> of the choices find no place even when
# balanced, 41 to 48 %<!-- balance / 0 / no place --> when not. With 17 tokens an image such a box has five places;
# large batches are kinder.
#
# Which patch goes where? The number on each patch is its first choice (weight 0.01, seed 0; one training, about 5
# seconds):

# %%
_, logits = routed(0.01, seed=0)  # (n, N + 1, E)
chosen = logits.topk(2, dim=-1).indices  # (n, N + 1, k)
loads = F.one_hot(chosen, 8).sum(dim=(0, 1, 2)) / chosen.numel()  # (E,)
figures.routing(test.images[:5], rearrange(chosen[:5, 1:, 0], "n (h w) -> n h w", h=4),
                {"weight 0.01": loads.tolist()})

# %% [markdown]
# What an expert is for cannot be read off. In the first image the four black patches of the left column do not all go
# to one expert: the router sees the token, in which content and *place* are added. Do not expect an expert for
# strokes.
#
# **Question 13.4** Put `top_k=1`, in `create_model(...)` and in the loss. Without the balancing loss, what does the
# router learn?
#
# <details><summary>Answer</summary>
#
# Nothing: with one choice the softmax over the chosen experts is always 1, and the router gets no gradient. It stays
# as it was drawn. With a random router the load is fairly even; that is balance without a use. (Switch Transformer
# uses k = 1 and multiplies by the probability over *all* experts, which has a gradient.)
# </details>
#
# ## 8 · Retention: one mixer in three forms
#
# Attention at N tokens needs N² pairs in training, and when it writes word by word it needs all keys and values of
# the past. **RetNet** (Sun and others 2023) leaves the softmax out and puts a fixed decay γ < 1 in its place, a
# different one in each head:
#
# $$\text{parallel: } \; (Q K^\top \odot D)\, V, \quad D_{nm} = \gamma^{\,n-m} \text{ for } n \ge m, \text{ else } 0$$
#
# Without a softmax the sum can be taken in another order. All of the past fits into one d × d matrix, the **state**:
#
# $$\text{recurrent: } \; S_n = \gamma\, S_{n-1} + k_n^\top v_n, \qquad o_n = q_n S_n$$
#
# (This is the core. The paper also turns q and k by an angle that grows with the place, and has a norm for each head
# and a gate behind it; so has the course's `Retention`.) And **chunkwise**: parallel within chunks of 64 tokens,
# recurrent from chunk to chunk. Three algorithms, one function:

# %%
from course.models.token_mixers import retention

q, k, v = torch.randn(3, 1, 4, 128, 16)  # (B, h, N, d) each
gamma = retention.decay_rates(4)  # (h,)
parallel = retention.parallel_retention(q, k, v, gamma)  # (B, h, N, d)
for form in (retention.recurrent_retention, retention.chunkwise_retention):
    difference = (form(q, k, v, gamma) - parallel).abs().max() / parallel.abs().max()
    print(f"{form.__name__}: largest difference {difference:.0e}")
place = torch.arange(6)
decay = {f"head {head}: γ = {gamma[head]:.3f}":
         (gamma[head] ** (place[:, None] - place).clamp(min=0)).tril() for head in (0, 3)}
plots.matrices(decay)

# %% [markdown]
# The picture is D for the shortest and the longest memory of the four heads. It is the causal mask of lecture 4 with
# grey levels. Time, on this CPU:

# %%
forms = {"parallel": retention.parallel_retention, "recurrent": retention.recurrent_retention,
         "chunkwise": retention.chunkwise_retention}
lengths = (64, 256, 1024, 2048)[: budget(tiny=1, cpu=4)]
spent = {name: [] for name in forms}
for N in lengths:
    sequence = torch.randn(3, 1, 4, N, 16)  # q, k, v: (B, h, N, d)
    for name, form in forms.items():
        spent[name].append(1e3 * seconds(form, *sequence, gamma, times=budget(tiny=1, cpu=2)))
plots.curves(lengths, spent, log="xy", xlabel="tokens N", ylabel="milliseconds")

# %% [markdown]
# The parallel form grows with N². The recurrent form grows with N, but it does one small step after the other, which
# no processor likes. The chunkwise form has the best of both: matrix products, and linear growth. That is how it is
# trained on long sequences. To *write*, the recurrent form needs the same time for every further token and keeps d²
# numbers a head, however long the past is: 16 · 16 = 256<!-- = 16 * 16 --> here, where attention would keep 2 · N ·
# 16.
#
# Retention has an order (a token sees those before it). An image has none, so the class token would see nothing in
# front, and the course's `vit_retention_s16` takes the mean of all tokens.
#
# > **What slides get wrong here.** The slides show "parallel" and "recurrent" as two networks. They are two ways to
# > compute the same one, to rounding; the third, chunkwise, is the one that is used on long sequences, and is usually
# > left out.

# %% [markdown]
# ## 9 · Why does a ViT use a GPU so well?
#
# Slides say it and ask "why?". A processor has two limits: how many multiply–adds it can do in a second, and how many
# bytes it can move from and to its memory. Whoever needs few bytes for many operations gets close to the first limit.
# The number that decides is the **arithmetic intensity**
#
# $$I = \frac{\text{FLOP}}{\text{bytes moved}}, \qquad \text{reached} = \min(\text{peak},\; I \cdot \text{bandwidth}),$$
#
# (one multiply–add is two FLOP). The second formula is called the **roofline** (Williams and others 2009). An A100,
# for example, has a peak of 312 TFLOP/s in 16 bit and 1.555 TB/s (NVIDIA 2020): below 201<!-- = 312 / 1.555 --> FLOP
# a byte it waits for memory.
#
# For single layers the count can be done on paper. A map of 64 images, 14 × 14 places and D = 384 channels has 64 ·
# 196 · 384 numbers of 2 bytes, is read once and written once:
#
# | layer | FLOP for each number of the map | FLOP a byte |
# |---|---|---|
# | linear, D to D | 2 D | 189<!-- = 2 * 12544 * 384 ** 2 / (4 * 12544 * 384 + 2 * 384 ** 2) --> |
# | 3 × 3 convolution, D to D | 18 D | 1,519<!-- = 18 * 12544 * 384 ** 2 / (4 * 12544 * 384 + 18 * 384 ** 2) --> |
# | depthwise 7 × 7 | 98 | 24.5<!-- = 98 / 4 --> |
# | depthwise 3 × 3 | 18 | 4.5<!-- = 18 / 4 --> |
# | norm, GELU, sum | 1 to 10 | below 3 |
#
# A full convolution is excellent. A *depthwise* one, which looks so cheap in multiply–adds, is eight times (7 × 7) or
# forty times (3 × 3) below the linear layer. For a whole network we let the computer count: every operation that
# PyTorch would run, its FLOP and the bytes of all its inputs and outputs.

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

class Traffic(TorchDispatchMode):
    """Of every operation: its FLOPs, and the bytes it reads and writes (2 a number)."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        if not operation.is_view:  # a view moves nothing
            count = flop_registry.get(operation.overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
            tensors = [t for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor)]
            self.operations.append((flops, 2 * sum(t.numel() for t in tensors)))
        return out

# %%
PEAK, BANDWIDTH = 312e12, 1.555e12  # FLOP/s, bytes/s: A100 (NVIDIA 2020), 16-bit numbers

def on_the_roof(name, batch=64):
    """FLOP per byte, and the share of the peak that memory allows, 0..1"""
    with torch.device("meta"):
        network = create_model(name).eval().requires_grad_(False)
        images = torch.empty(batch, 3, 224, 224)  # (B, C, H, W)
    with Traffic() as traffic, sdpa_kernel(SDPBackend.MATH):
        network(images)
    flops, moved = np.array(traffic.operations, dtype=float).T  # (operations,) each
    needed = np.maximum(flops / PEAK, moved / BANDWIDTH).sum()  # s: the slower of the two
    return flops.sum() / moved.sum(), flops.sum() / PEAK / needed

shown = {"ViT-L/16": "vit_l16", "ViT-B/16": "vit_b16", "ConvNeXt-T": "convnext_t",
         "CNN: ResNet-50": "resnet_50", "Swin-T": "swin_t", "CNN: MobileNet": "mobilenet_v1"}
on_roof = {name: on_the_roof(model) for name, model in
           list(shown.items())[: budget(tiny=1, cpu=6)]}
for name, (intensity, share) in on_roof.items():
    print(f"{name:15} {intensity:5.0f} FLOP a byte, {100 * share:3.0f} % of the peak")
figures.roofline(on_roof, peak=PEAK, bandwidth=BANDWIDTH)

# %% [markdown]
# **A roof with six networks under it.** At best, ViT-B/16 gets 44 %<!-- printed --> of the peak, ResNet-50 23 %<!--
# printed -->, MobileNet 9 %<!-- printed -->. And L/16 is better than B/16. So the answer has three parts:
#
# 1. **Width.** A linear layer has an intensity of about D/2. ViT-B has D = 768 in every block; ResNet-50 begins with
#    64 channels on large maps.
# 2. **Few small operations.** Between two matrix products of a ViT stands one norm or one GELU. A ResNet has a norm
#    and a ReLU after every convolution, and depthwise networks do most of their work in layers of the last two rows.
# 3. **One shape throughout.** All blocks are alike, so one kernel that is tuned once serves all.
#
# The points lie *on* or below the roof because each operation waits for what it needs itself. The count assumes that
# every operation reads from and writes to memory. A compiler that fuses norm and GELU into the products, or a fused
# attention kernel, moves all points to the right; the order stays for the reasons above. It is a count, not a
# measurement: real kernels reach less.
#
# **Question 13.5** Swin-T is a transformer, too, and lies below ResNet-50. Why?
#
# <details><summary>Answer</summary>
#
# It begins with D = 96 on 56 × 56 places, so its linear layers have an intensity of about 96 / 2 = 48<!-- = 96 / 2
# -->; windows of 49 tokens make small products; and cutting and shifting windows copies the map several times a block
# without one multiply–add. Multiply–adds alone do not tell (lecture 11, section 7).
# </details>
#
# > **What slides get wrong here.** "ViTs make more efficient use of GPU / TPU hardware" is right for *wide, plain*
# > ViTs. It is not a property of attention: the products of attention are the matrix products with the lowest
# > intensity in it. And on a phone, where a chip is made for 3 × 3 convolutions, the order can turn (lecture 11).

# %% [markdown]
# ## 10 · What does a counter count?
#
# This lecture compares networks at equal multiply–adds, and so do most papers. The number comes from a tool. We ask one
# tool three times about the same layer, an `nn.MultiheadAttention` on N = 196 tokens of D = 64 numbers, and count by
# hand beside it: four linear layers and two products,
#
# $$4 N D^2 + 2 N^2 D.$$

# %%
from contextlib import nullcontext
from torch.utils.flop_counter import FlopCounterMode

N, D = 196, 64
attention = nn.MultiheadAttention(D, 4, batch_first=True).eval()
tokens = torch.zeros(1, N, D)  # (B, N, D)

def counted(gradients, explicit):
    """Multiply-adds, in millions, that PyTorch's own counter sees in one forward pass"""
    kernel = sdpa_kernel(SDPBackend.MATH) if explicit else nullcontext()
    with torch.set_grad_enabled(gradients), kernel, FlopCounterMode(display=False) as counter:
        attention(tokens, tokens, tokens, need_weights=False)
    return counter.get_total_flops() / 2e6

print(f"without gradients            {counted(False, False):.2f} M")
print(f"with gradients               {counted(True, False):.2f} M")
print(f"with gradients, no fusion    {counted(True, True):.2f} M")
print(f"by hand                      {(4 * N * D**2 + 2 * N**2 * D) / 1e6:.2f} M")

# %% [markdown]
# One layer, three answers. Without gradients PyTorch runs the whole layer as one fused operation, and the counter has no
# rule for it: 0. With gradients it runs the linear layers one by one and fuses only the two products of attention, which
# are again not seen. Only when both are explicit does the counter agree with the hand. (This is a CPU; on a GPU other
# kernels run, and other parts are missing.)
#
# Other tools have other gaps. The table gives what each says, as a multiple of the count by hand: 1 is right, 0 is not
# seen. `course bench counters` makes it (fvcore 0.1.5, thop 0.1.1, ptflops 0.7.5 with its two backends, torchinfo 1.8,
# torch 2.14; `course` is `count_macs`, the counter of this course).
#
# | | by hand | course | torch | torch, gradients | fvcore | thop | ptflops | ptflops, aten | torchinfo |
# |---|---|---|---|---|---|---|---|---|---|
# | linear layer on tokens | 0.8 M | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 0.01 |
# | 1×1 convolution | 0.8 M | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |
# | 3×3 convolution, channels last | 7.2 M | 1.00 | 1.00 | 1.00 | 1.00 | 0.00 | 0.00 | 1.00 | 4.57 |
# | 3×3 convolution, padding="same" | 7.2 M | 1.00 | 1.00 | 1.00 | 0.00 | 1.00 | 1.00 | 1.00 | 1.00 |
# | depthwise 7×7 convolution | 0.6 M | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |
# | one layer called twice | 1.6 M | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 0.01 |
# | F.linear with the layer's weight | 0.8 M | 1.00 | 1.00 | 1.00 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 |
# | product q kᵀ with @ | 2.5 M | 1.00 | 1.00 | 1.00 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 |
# | the same with einsum | 2.5 M | 1.00 | 1.00 | 1.00 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 |
# | fused attention | 4.9 M | 1.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 |
# | nn.MultiheadAttention | 8.1 M | 1.00 | 0.00 | 0.40 | 0.40 | 0.00 | 1.03 | 0.40 | 0.00 |
# | nn.LSTM | 6.4 M | 1.00 | 0.00 | 0.00 | 0.00 | 1.02 | 1.02 | 0.00 | 1.00 |
# | vit_s16 | 4,598.9 M | 1.00 | 0.92 | 0.92 | 0.92 | 0.92 | 0.93 | 0.92 | 0.02 |
# | timm's ViT-S | 4,598.9 M | 1.00 | 0.92 | 0.92 | 0.92 | 0.92 | 0.70 | 0.92 | 0.02 |
# | torchvision's ViT-B | 17,563.8 M | 1.00 | 0.64 | 0.96 | 0.96 | 0.64 | 1.00 | 0.96 | 0.01 |
# | mixer_s16 | 3,777.0 M | 1.00 | 1.00 | 1.00 | 0.89 | 0.89 | 1.00 | 0.89 | 0.03 |
# | swin_t | 4,490.6 M | 1.00 | 1.00 | 1.00 | fails | 0.97 | 0.97 | 1.00 | 0.01 |
# | resnet_50 | 4,089.2 M | 1.00 | 1.00 | 1.00 | 1.01 | 1.01 | 1.01 | 1.00 | 1.00 |
# | convnext_t | 4,455.5 M | 1.00 | 1.00 | 1.00 | 0.98 | 0.94 | 0.94 | 1.00 | 2.28 |
#
# Three kinds of tool explain the table.
#
# * **Tools that look at modules** (thop, torchinfo, ptflops' `pytorch`) know a list of classes. What a network computes
#   outside them is not there: a product written with `@`, or `F.linear`. They see the layers of a ViT, not its attention.
# * **torchinfo multiplies weights by the batch**, not by the tokens, unless the class is called a convolution. So it
#   shows less than a fiftieth of a ViT. Of a convolution it reads the map's size from the last two axes: where channels
#   come last, that is one side times D. A ConvNeXt gets more than twice its work.
# * **Tools that look at operations** (torch, fvcore, ptflops' `aten`) see everything that they have a rule for. They have
#   none for fused attention, the last two none for `torch.baddbmm`, by which this course's Mixer mixes tokens, and fvcore
#   none for a convolution with `padding="same"`.
#
# > **What slides get wrong here.** "GFLOPs" in a table may be multiply–adds or twice that, and "measured by fvcore" or
# > "by thop" is no detail: it moves a ViT by 8 % and more, a ResNet-50 by 1 % (table above). A comparison of the two is fair
# > only by a tool that sees all of both.
#
# **Question 13.6** The image gets four times as many patches. Does the gap of a tool that misses fused attention, 0.08 for ViT-S in the table,
# grow or shrink?
#
# <details><summary>Answer</summary>
#
# It grows. What is missing is 2 N² D of 12 N D² + 2 N² D, the share N / (6 D + N): for ViT-S 197 / (6 · 384 + 197) = 7.9
# %<!-- = 19700 / (6 * 384 + 197) --> with 197 tokens, and 785 / (6 · 384 + 785) = 25 %<!-- = 78500 / (6 * 384 + 785)
# --> with 785. Papers that compare at high resolution by such a tool flatter attention most.
# </details>

# %% [markdown]
# ## 11 · What to make of it
#
# * **Transfer wins where data are few.** Pre-train large, fine-tune small: all entries of section 1 but Noisy Student
#   do.
# * **Hybrids help when small**, plain ViTs catch up with scale (section 1; Dosovitskiy and others 2021, figure 5). In
#   the language of section 2: a good prior lowers B; it does not change which term bends.
# * **The edge.** "Extremely large networks, not suited for deployment on edge devices" (slides) is true of H/14. But
#   ViTs come in all sizes: DeiT-Ti has 5 M parameters (Touvron and others 2021), EfficientFormer runs on a phone
#   (lecture 11), and a large network can teach a small one (lecture 7).
# * **Sparsity** separates parameters from cost (section 7). **Depth** needs a careful start (section 3).
# * **Recipe and architecture interact.** In CaiT's table 3.9<!-- = 2.5 + 0.4 + 1.0 --> of the 5.5<!-- = 85.4 - 79.9
#   --> points are stochastic depth and resolution. Most papers still report one scale. Reporting a curve over sizes
#   and data, with the bend, says more than a number.
# * **Surveys** count hundreds of vision transformers (for example Khan and others 2022) and sort them by task or by
#   design. The map of lecture 0 sorts them by what is exchanged.
#
# ## Summary
#
# 1. **More data help a network that has room.** On the digits the error is a sum of a term in P and a term in n; each
#    line bends where the other term takes over.
# 2. **Depth needs a start near the identity.** 24 blocks without LayerScale stayed near guessing after 50 steps, at
#    2.16 to 2.30<!-- depth / none / 24 / loss -->; with a start of 10⁻⁵ they reached 1.25 to 1.51<!-- depth / 1e-5 /
#    24 / loss -->.
# 3. **CaiT's table, counted**: sizes agree; the largest single gains are LayerScale (at 36 blocks) and stochastic
#    depth.
# 4. **Class attention** asks one query: O(N). **Talking heads** lift the rank of each head's table from D/h to D.
# 5. **Cheaper attention** is an approximation only where attention is not sharp, and faster only for long sequences;
#    trained with it, a network adapts.
# 6. **A mixture of experts** buys parameters without multiply–adds; the load has to be balanced.
# 7. **Retention** is one function with a parallel, a recurrent and a chunkwise form.
# 8. **A GPU waits for memory below about 200 FLOP a byte.** Wide linear layers are near it, depthwise convolutions
#    and norms far below.
# 9. **Ask which tool counted.** Attention that is fused is invisible to most counters; module counters miss every
#    product that no module does.
#
# ## To revise: which cell shows what
#
# | section | what its cells show |
# |---|---|
# | 1 | accuracy over core-days; sizes of the largest, counted |
# | 2 | twelve runs, a law with its errors, where it bends, what it predicts |
# | 3 | the stream over 24 blocks; loss by depth; two controls; the scales after training |
# | 4 | CaiT's twelve rows as specs, counted |
# | 5 | class attention by hand; rank with and without talking |
# | 6 | error over sharpness and N; time over N; trained with the cheaper mixer |
# | 7 | routing by hand; parameters against cost; balance; the experts of each patch |
# | 8 | three forms equal; their time |
# | 9 | FLOP and bytes of every operation; the roof |
# | 10 | one layer, counted in three ways |
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ In section 2, write down the law's answer for infinitely many images and width 32. | 5 |
# | 2 | ●○○ Which D makes a linear layer reach the A100's 201 FLOP a byte on the map of section 9? | 10 |
# | 3 | ●●○ In `three`, use 64, 256 and 1,024 random features (`num_features`): how does the error at N = 1,024 and sharpness 1 fall? Compare with $1/\sqrt m$. | 15 |
# | 4 | ●●○ Call `after_fifty(24, start, seed)` with a start of 10⁻³ and of 10⁻⁷ (section 3 has 10⁻¹ and 10⁻⁵), three seeds each. Is smaller always better? | 15 |
# | 5 | ●●● Add a third term, a constant c, to the law. Does the fit need it, with these twelve runs? | 20 |
#
# <details><summary>Answers</summary>
#
# 1. The second term vanishes: $A P^{-\alpha}$ with P = 17,674: 1.4 %<!-- = 1.36 -->. `law((P[32], 1e12), *best)`
#    gives nearly the same.
# 2. 2 · 12,544 · D² / (4 · 12,544 · D + 2 D²) = 201 gives D = 409<!-- = 201 * 2 / (1 - 201 / 12544) -->: a little
#    more than DeiT-S, half of ViT-B.
# 3. An average of m random numbers has an error of about $1/\sqrt m$: four times the features should halve it. Try
#    three seeds of `torch.manual_seed` in `three` before you answer.
# 4. From 1 over 0.1 to 10⁻⁵ smaller was better (section 3). Below some size it can hardly matter: Adam moves every
#    scale by about the learning rate in its first step, wherever it started. We have not run 10⁻³ and 10⁻⁷: compare
#    your losses with 1.25 to 1.51<!-- depth / 1e-5 / 24 / loss -->.
# 5. No. With bounds from 0, as in `fitted`, and 0.01 as the fifth start value, the fit puts c at 0 with an uncertainty
#    of 2 points: the runs do not ask for it. Nor do they exclude a floor of one or two per cent.
# </details>
#
# ## References
#
# * X. Zhai, A. Kolesnikov, N. Houlsby, L. Beyer. *Scaling Vision Transformers.* CVPR 2022.
#   [arXiv:2106.04560](https://arxiv.org/abs/2106.04560).
# * J. Hoffmann and others. *Training Compute-Optimal Large Language Models.* 2022.
#   [arXiv:2203.15556](https://arxiv.org/abs/2203.15556). The sum of two terms.
# * H. Touvron, M. Cord, A. Sablayrolles, G. Synnaeve, H. Jégou. *Going Deeper with Image Transformers.* ICCV 2021.
#   [arXiv:2103.17239](https://arxiv.org/abs/2103.17239). LayerScale, class attention, the table of section 4.
# * N. Shazeer, Z. Lan, Y. Cheng, N. Ding, L. Hou. *Talking-Heads Attention.* 2020.
#   [arXiv:2003.02436](https://arxiv.org/abs/2003.02436).
# * A. Dosovitskiy and others. *An Image Is Worth 16×16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Table 2: accuracies and core-days; figure 5: hybrids.
# * C. Sun, A. Shrivastava, S. Singh, A. Gupta. *Revisiting Unreasonable Effectiveness of Data in Deep Learning Era.*
#   ICCV 2017. [arXiv:1707.02968](https://arxiv.org/abs/1707.02968). D. Mahajan and others. *Exploring the Limits of
#   Weakly Supervised Pretraining.* ECCV 2018. [arXiv:1805.00932](https://arxiv.org/abs/1805.00932). Q. Xie, M.-T.
#   Luong, E. Hovy, Q. Le. *Self-Training with Noisy Student.* CVPR 2020.
#   [arXiv:1911.04252](https://arxiv.org/abs/1911.04252). A. Kolesnikov and others. *Big Transfer (BiT).* ECCV 2020.
#   [arXiv:1912.11370](https://arxiv.org/abs/1912.11370).
# * H. Pham, Z. Dai, Q. Xie, M.-T. Luong, Q. Le. *Meta Pseudo Labels.* CVPR 2021.
#   [arXiv:2003.10580](https://arxiv.org/abs/2003.10580). Z. Dai, H. Liu, Q. Le, M. Tan. *CoAtNet.* NeurIPS 2021.
#   [arXiv:2106.04803](https://arxiv.org/abs/2106.04803).
# * X. Zhai and others. *A Large-Scale Study of Representation Learning with the Visual Task Adaptation Benchmark.*
#   2019. [arXiv:1910.04867](https://arxiv.org/abs/1910.04867). VTAB.
# * Y. Tay, M. Dehghani, D. Bahri, D. Metzler. *Efficient Transformers: A Survey.* 2020.
#   [arXiv:2009.06732](https://arxiv.org/abs/2009.06732). S. Wang and others. *Linformer.* 2020.
#   [arXiv:2006.04768](https://arxiv.org/abs/2006.04768). K. Choromanski and others. *Rethinking Attention with
#   Performers.* ICLR 2021. [arXiv:2009.14794](https://arxiv.org/abs/2009.14794). T. Dao and others. *FlashAttention.*
#   NeurIPS 2022. [arXiv:2205.14135](https://arxiv.org/abs/2205.14135).
# * N. Shazeer and others. *Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer.* ICLR
#   2017. [arXiv:1701.06538](https://arxiv.org/abs/1701.06538). W. Fedus, B. Zoph, N. Shazeer. *Switch Transformers.*
#   2021. [arXiv:2101.03961](https://arxiv.org/abs/2101.03961). C. Riquelme and others. *Scaling Vision with Sparse
#   Mixture of Experts.* NeurIPS 2021. [arXiv:2106.05974](https://arxiv.org/abs/2106.05974).
# * Y. Sun and others. *Retentive Network: A Successor to Transformer for Large Language Models.* 2023.
#   [arXiv:2307.08621](https://arxiv.org/abs/2307.08621).
# * S. Williams, A. Waterman, D. Patterson. *Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures.* CACM 2009. NVIDIA. *A100 Tensor Core GPU Architecture.* 2020.
# * S. Khan and others. *Transformers in Vision: A Survey.* ACM Computing Surveys 2022.
#   [arXiv:2101.01169](https://arxiv.org/abs/2101.01169).
