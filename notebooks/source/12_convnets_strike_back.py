# %% [markdown]
# # 12 · ConvNets strike back: what was it that made transformers better?
#
# | | |
# |---|---|
# | **You will understand** | how a ResNet becomes a ConvNeXt in twelve steps, and what each step costs; why a gain belongs to a recipe and a task; what ConvMixer leaves out; why and how kernels became 31 and 51 places wide; how to compare two networks at equal compute |
# | **You need** | [1 · Convolution](01_convolution.ipynb); [8 · Swin](08_swin.ipynb); [11 · MetaFormer](11_metaformer.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | [11 · MetaFormer](11_metaformer.ipynb) · **12 · ConvNets strike back** · [13 · Scaling](13_scaling.ipynb) |

# %% tags=["setup"]
import statistics
import time
from dataclasses import fields, replace
import torch
import torch.nn.functional as F
from torch import nn
from course import budget, plots, setup
from course.analysis import receptive_fields
from course.analysis import plots as pictures
from course.analysis.receptive_field import area
from course.data import load
from course.figures import convnets_strike_back as figures
from course.models import compare, create_model, list_models
from course.models.count import count_macs, count_parameters
from course.models.families.ladder import ladder
from course.models.registry import entry
from course.models.stems import sinusoidal_2d
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Swin or ResNet: which of all the differences was it?
#
# In 2021 Swin (lecture 8) was better than ResNet on ImageNet, in detection and in segmentation. The explanation
# seemed clear: *attention*. But Swin and ResNet differ in much more. Swin cuts the image into patches, is wider, uses
# LayerNorm and GELU, has other proportions, and above all it was trained in another way. None of these is attention.
# Which of them made the difference?
#
# Liu and others (2022) answered by an experiment that you know how to read: start from a ResNet-50, change **one
# thing at a time** towards Swin, and never put attention in. What came out they called **ConvNeXt**. A ladder of this
# kind is an *ablation* read upwards. First, are the three ends comparable at all? We count. (The `meta` device knows
# shapes and holds no numbers. G are 10⁹ multiply–adds, M are 10⁶ parameters.)

# %%
def size(model, side=224):
    """(parameters, multiply-adds for one image) of a network on the meta device."""
    return count_parameters(model), count_macs(model, 1, 3, side, side)

for name in ("resnet_50", "convnext_t", "swin_t"):
    with torch.device("meta"):  # shapes without numbers
        parameters, macs = size(create_model(name))
    print(f"{name:10}  {macs / 1e9:.2f} G  {parameters / 1e6:.1f} M")

# %% [markdown]
# The paper's table 9 prints 4.1, 4.5 and 4.5 G and 25.6, 28.6 and 28.3 M: the same. So all three cost about as much,
# and a comparison of their accuracy means something. What differs between ConvNeXt and Swin is short, too:

# %%
compare("convnext_t", "swin_t")

# %% [markdown]
# ### The first step is no change of the network at all
#
# A ResNet-50 as PyTorch distributes it has 76.1 % on ImageNet. Trained in the way of Swin (300 epochs in place of 90,
# AdamW, mixup, CutMix, RandAugment, random erasing, stochastic depth, label smoothing: lecture 7) *the same network*
# has 78.8 % (Liu and others 2022, table 10). That is 2.7 of the 5.2 points from there to Swin-T's 81.3. Wightman and
# others (2021) went on in this direction, in "ResNet strikes back": 80.4 % with 600 epochs. Whoever had compared Swin
# with the old number had compared recipes.
#
# > **What slides get wrong here.** (1) "Plain transformers outperform ResNets by a significant margin" compares a
# > network of 2021 under a recipe of 2021 with a network of 2015 under a recipe of 2015. (2) One deck prints 4.1 G
# > for ResNet-50 and another 3.86 G. Both are right: the paper of 2015 has the stride in the first 1 × 1 convolution
# > of a block, PyTorch's has it in the 3 × 3 (`create_model("resnet_50_v1")` has the former).
#
# ## 2 · The ladder: one difference at a time
#
# In this course every step is a network of its own, and two neighbours differ in **one option**. The tests count that
# it is one. Here are all thirteen, each with what it changes in the one before. (`ladder` makes their specs for any
# size; these are the paper's.)

# %%
FULL = ladder(depths=((3, 4, 6, 3), (3, 3, 9, 3)), widths=(64, 96))
before = {}
for name, spec in FULL.items():
    options = dict(spec.part.options)
    changed = {key: value for key, value in options.items() if before.get(key) != value}
    print(f"{name:12} {changed if before else 'the start: ' + str(options)}")
    before = options

# %% [markdown]
# In words, with the paper's reasons (section 2):
#
# | step | what changes | why |
# |---|---|---|
# | stage_ratio | blocks in the four stages: 3, 4, 6, 3 → 3, 3, 9, 3 | Swin's are 1 : 1 : 3 : 1 |
# | patchify | 7 × 7 convolution and max pooling → patches of 4 × 4 pixels | as in every ViT |
# | depthwise | dense 3 × 3 → a 3 × 3 kernel for each channel | mixes places only, as attention does |
# | wider | 64 → 96 channels | what was saved is spent again; Swin-T has 96 |
# | inverted | 4 W – W – 4 W → W – 4 W – W channels | as the MLP of a transformer, which is 4 W wide inside |
# | moved_up | the depthwise kernel comes first | as attention comes before the MLP; it sees fewer channels |
# | kernel_7 | 3 × 3 → 7 × 7 | Swin's windows have 7 × 7 places |
# | gelu | ReLU → GELU | as in transformers |
# | fewer_acts | three activations a block → one | a transformer's MLP has one |
# | fewer_norms | three norms a block → one | a transformer's block has few |
# | layer_norm | BatchNorm → LayerNorm | as in transformers |
# | convnext | the map is halved *between* stages, by a norm and a 2 × 2 convolution | as Swin's patch merging |
#
# Which of these cost something, and which are free? **Predict**: which two steps change the multiply–adds most? Then
# count.

# %%
PRINTED = {  # accuracy, its standard deviation and multiply-adds in G: the paper's table 10
    "resnet": (78.82, 0.07, 4.09), "stage_ratio": (79.36, 0.07, 4.53),
    "patchify": (79.51, 0.18, 4.42), "depthwise": (78.28, 0.08, 2.35),
    "wider": (80.50, 0.02, 5.27), "inverted": (80.64, 0.03, 4.64),
    "moved_up": (79.92, 0.08, 4.07), "kernel_7": (80.57, 0.14, 4.15),
    "gelu": (80.62, 0.14, 4.15), "fewer_acts": (81.27, 0.06, 4.15),
    "fewer_norms": (81.41, 0.09, 4.15), "layer_norm": (81.47, 0.09, 4.46),
    "convnext": (81.97, 0.06, 4.49)}

def counted(spec):
    with torch.device("meta"):
        return size(spec.build())

sizes = {name: counted(spec) for name, spec in [*FULL.items()][: budget(tiny=3, cpu=None)]}
for name, (parameters, macs) in sizes.items():
    printed = PRINTED[name][2]
    print(f"{name:12} {parameters / 1e6:6.2f} M  {macs / 1e9:.2f} G, printed {printed:.2f} G")

# %% [markdown]
# The count agrees with the paper's table 10 to the last printed digit, from the first step to `fewer_norms`. That is
# how we know that these *are* the networks of the paper, which published only the last of them. Two printed figures
# do not agree. A norm in place of another norm brings no multiply–add, so 4.46 behind `layer_norm` cannot be right
# (in table 11, for the larger network, the same step changes nothing). And ConvNeXt-T has 4.46 G when norms are not
# counted.
#
# Now the accuracies of that table. The dot is the mean of three seeds, the thick line their standard deviation; at
# the right, our count.

# %%
table_10 = {name: {"CNN": (accuracy - spread, accuracy, accuracy + spread)}
            for name, (accuracy, spread, _) in PRINTED.items() if name in sizes}
notes = {name: f"{macs / 1e9:.2f} G" for name, (_, macs) in sizes.items()}
figures.steps(table_10, notes, level=("Swin-T", 81.3), xlabel="ImageNet top-1, %")

# %% [markdown]
# Read it slowly; it is one of the most honest tables of the field.
#
# * **It goes down twice.** *Depthwise* loses 1.2 points and saves almost half of the compute; *moved up* loses 0.7
#   and saves an eighth. Both prepare the next step. Whoever keeps only what helps at once never gets to the top.
# * **Compute is not constant.** Between 2.35 and 5.27 G lies more than a factor of two. The 80.5 % of the slides is
#   that of the most expensive network of the ladder, at 5.3 G, and the gain of 2.2 points over the step before comes
#   with 2.2 times the multiply–adds.
# * **Small things are not small.** Two activations fewer: + 0.65. GELU for ReLU: + 0.05, less than the spread of the
#   seeds.
# * **Swin-T is passed without attention**, by fewer norms, and the end is 81.97.
#
# (All numbers of the list: Liu and others 2022, table 10.)
#
# ### The block turns inside out
#
# The figure draws the blocks of four steps. A box is as wide as the convolution has channels at its top and its
# bottom; a "d" and purple mean depthwise.

# %%
def convolutions(step):
    """(channels in, channels out, kernel, whether depthwise) of a block inside stage 1."""
    with torch.device("meta"):
        block = FULL[step].build().stages[0][1]
    return [(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.groups > 1)
            for conv in block.convs]

figures.blocks({step: convolutions(step)
                for step in ("patchify", "wider", "inverted", "kernel_7")})

# %% [markdown]
# A ResNet block is narrow inside (**bottleneck**), because its 3 × 3 convolution is expensive. A depthwise
# convolution is cheap. So the waist can be where the network is wide: an **inverted bottleneck**. With W channels
# outside, the multiply–adds at each place of the map are
#
# $$\underbrace{W \cdot 4W}_{1 \times 1} + \underbrace{k^2 \cdot 4W}_{\text{depthwise}} + \underbrace{4W \cdot W}_{1 \times 1}
# = 8 W^2 + 4 k^2 W, \qquad \text{moved up:} \quad 8 W^2 + k^2 W.$$
#
# Moved up, the kernel sees W channels and not 4 W, so it costs a quarter. (That is 0.06 G of the 0.57 G that the step
# saves. The rest comes from the three blocks that halve the map: the stride moves up with the kernel, so their first
# 1 × 1 layer now works on the halved map.) Then the kernel can grow: at W = 96, a kernel of 7
# × 7 costs 49 · 96 = 4,704<!-- = 49 * 96 --> beside the 73,728<!-- = 8 * 96 ** 2 --> of the two 1 × 1 layers. This is
# the order of a transformer: the complex operation on few channels, then the wide MLP.
#
# ### Why depthwise is "like" attention
#
# Attention takes a weighted sum over *places*, the same for all channels of a head; it never adds one channel to
# another. A depthwise convolution does likewise, with weights that are learned and not computed:
#
# $$\text{attention:}\quad y_{i,c} = \sum_j a_{ij}(x)\, v_{j,c} \qquad\qquad \text{depthwise:}\quad y_{i,c} = \sum_j w_{i-j,\,c}\, x_{j,c}$$
#
# There are two differences: $a$ depends on the image and $w$ does not; $w$ is another one in each channel and $a$ is
# not (within a head). What attention does not do, mixing channels, is left to 1 × 1 convolutions. We test who hears
# whom: for three layers, which *channels* and which *places* of the input does the middle of the output depend on?

# %%
from course.models.norms import Conv
from course.models.token_mixers.depthwise import DepthwiseConv

def who_hears_whom(layer, dim=4):
    """(D, D) channels and (H, W) places: how the middle of the output depends on the input."""
    x = torch.randn(1, 5, 5, dim, requires_grad=True)  # (B, H, W, D)
    out = layer(x)[0, 2, 2]  # (D,), the middle
    heard = torch.stack([torch.autograd.grad(each, x, retain_graph=True)[0][0].abs()
                         for each in out])  # (D, H, W, D)
    return heard.sum(dim=(1, 2)), heard.sum(dim=(0, 3))

layers = {"3 × 3": Conv(4, 4, 3, padding=1), "depthwise 3 × 3": DepthwiseConv(4, 3),
          "1 × 1": Conv(4, 4, 1)}
tables = {}
for name, layer in layers.items():
    tables[f"{name}: channels"], tables[f"{name}: places"] = who_hears_whom(layer)
heard_of = {name: f"{int((table > 0).sum())} of {table.numel()}" for name, table in tables.items()}
plots.matrices(tables, numbers=False).described(
    "what the middle of the output depends on; pairs of channels, or places, that are heard: "
    + "; ".join(f"{name} {said}" for name, said in heard_of.items()))

# %% [markdown]
# A dense 3 × 3 convolution mixes both. The depthwise one hears a channel from itself alone (the diagonal) and nine
# places; 1 × 1 hears all channels and one place. ConvNeXt separates the two jobs, as a transformer does.
#
# **Question 12.1** *Inverted* makes the depthwise convolution four times as wide, and yet the whole network falls
# from 5.27 to 4.64 G. Where is the saving? Make a guess, then run the cell.

# %%
def shortcuts(step):
    """Multiply-adds of the 1 x 1 convolutions on the paths around, at 224 pixels."""
    total, side = 0, 56
    with torch.device("meta"):
        stages = FULL[step].build().stages
    for number, stage in enumerate(stages):
        side = side // 2 if number > 0 else side
        for block in stage:
            if isinstance(block.shortcut, nn.Sequential):
                total += side**2 * block.shortcut[0].weight.numel()
    return total

for step in ("wider", "inverted"):
    print(f"{step:9} {shortcuts(step) / 1e9:.2f} G on the paths around")

# %% [markdown]
# <details><summary>Answer</summary>
#
# On the paths around. Where a stage begins, the map is halved and the width doubles, so the path around needs a 1 × 1
# convolution. Before, it goes from 4 W to 8 W channels, afterwards from W to 2 W: a sixteenth. That is
# 0.77<!-- = 0.81 - 0.04 --> G less, more than the depthwise kernels cost.
# </details>
#
# **Question 12.2** Does the kernel have to stop at 7? In the counting cell above, put `spec.but(kernel_size=11)` into
# `counted`. How much more does `kernel_7` cost then?
#
# <details><summary>Answer</summary>
#
# 4.29 G in place of 4.15 (the steps before it change as well, since they get the kernel too). So cost is no reason to
# stop. Accuracy is: 80.57 % with 7 and with 9, 80.47 % with 11 (Liu and others 2022, table 10). Section 6 comes back
# to it.
# </details>
#
# > **What slides get wrong here.** "Depthwise convolution reduces FLOPs and, *as expected*, the accuracy." It is
# > expected because the network shrinks from 4.4 to 2.4 G, not because depthwise is worse: at equal compute nobody
# > has compared the two here. And "80.5 % with increased FLOPs (5.3 G)" is the most expensive network of the ladder.
# > Its neighbours should stand beside it: 4.4 G before *depthwise*, 4.6 G after *inverted*.
#
# ## 3 · The same ladder, where we can train it
#
# ImageNet takes days, so we cannot repeat table 10. But we can climb the same ladder in small: three stages in place
# of four, on the images of 32 × 32 with two questions (*texture*: which way do the stripes run? *relation*: in which
# direction from the red plus is the blue ring?). Patches of 4 × 4 pixels make 8 × 8 places. Parameters and
# multiply–adds:

# %%
LADDER = list_models("ladder_*")
small = {}
for name in LADDER:
    with torch.device("meta"):
        parameters, macs = size(create_model(name), side=32)
    small[name] = f"{macs / 1e6:.2f} M"
    print(f"{name:30} {parameters:8,}  {small[name]}")

# %% [markdown]
# All get the same recipe: AdamW at a learning rate of 0.003, 150 steps of 64 out of 4,000 images, no augmentation,
# PyTorch's first weights. But for the number of steps it is the course's `cpu_minute`, which was chosen before there
# was a ladder. **Predict** before you look: will the accuracies rise from top to bottom, as they do on ImageNet?

# %%
train = load("two_questions", "train", size=budget(tiny=100, cpu=4000), device="cpu")
test = load("two_questions", "test", size=budget(tiny=50, cpu=500), device="cpu")
QUESTIONS = ("texture", "relation")

def trained(make, question, seed, steps=150, lr=3e-3):
    """Accuracy 0..1; the seed sets the first weights and the order of the images."""
    torch.manual_seed(seed)
    model = make()
    steps = budget(tiny=2, cpu=steps)
    recipe = recipes.cpu_minute.but(steps=steps, lr=lr, seed=seed)
    fit(model, train.ask(question), recipe, plot=False, progress=False)
    return evaluate(model, test.ask(question))

# %% [markdown]
# *(Price: none. The trainings, about 5 seconds each, were run once and stored; the two cells look them up.)*

# %%
def whole_ladder(seed):
    return {name: {question: trained(lambda: create_model(name), question, seed)
                   for question in QUESTIONS} for name in LADDER}

one_seed = over_seeds("12_convnets_strike_back/ladder", whole_ladder, seeds=(0,), live=False)
in_per_cent = {name: {question: [100 * accuracies[0]] for question, accuracies in row.items()}
               for name, row in one_seed.items()}
figures.steps(in_per_cent, small, xlabel="accuracy, % (one seed)")

# %% [markdown]
# This is **one seed**: a picture to look at, no claim. What differs by a few points here may come out the other way
# with the next seed, and the 55 %<!-- ladder / ladder_12_convnext_cifar / texture --> of the last step on texture are
# a run that went badly: the same network, somewhat wider, gets more than 85
# %<!-- > matched / CNN: ConvNeXt / texture --> with every seed (section 7). Four of the steps are therefore trained
# with three seeds, on relation:

# %%
def four_steps(seed):
    names = ["ladder_00_resnet_cifar", "ladder_03_depthwise_cifar",
             "ladder_07_kernel_7_cifar", "ladder_12_convnext_cifar"]
    return {name[10:-6]: {"relation": trained(lambda: create_model(name), "relation", seed)}
            for name in names}

three_seeds = over_seeds("12_convnets_strike_back/steps", four_steps, live=False)
plots.bars(three_seeds, chance=0.1)

# %% [markdown]
# **Down, not up.** Each of the four is below the one before, with every one of three seeds: the ResNet gets 97 to 99
# %<!-- steps / resnet / relation --> of the relation right, after *depthwise* it is 88 to 91
# %<!-- steps / depthwise / relation -->, after *kernel_7* 76 to 87 %<!-- steps / kernel_7 / relation -->, and the
# ConvNeXt gets 71 to 73 %<!-- steps / convnext / relation -->. It has the most parameters of the four, but not the
# most multiply–adds: 1.87<!-- printed --> M, where the ResNet has 2.41<!-- printed --> M. So a part of the fall may
# be compute; section 7 makes the ConvNeXt larger than that. On ImageNet it is the best of them, by 1.4 points or more
# (Liu and others 2022, table 10).
#
# Is it the learning rate, which may suit the ResNet by chance? Or is the time too short? One run each (no claim
# either) with other rates and with more steps:

# %%
def other_recipes(seed):
    def top():
        return create_model("ladder_12_convnext_cifar")

    return {"convnext, rate 0.001": {"relation": trained(top, "relation", seed, lr=1e-3)},
            "convnext, rate 0.01": {"relation": trained(top, "relation", seed, lr=1e-2)},
            "convnext, 400 steps": {"relation": trained(top, "relation", seed, steps=400)}}

recipe_changed = over_seeds("12_convnets_strike_back/recipes", other_recipes, seeds=(0,),
                            live=False)
plots.bars(recipe_changed, chance=0.1, title="one seed")

# %% [markdown]
# A higher rate gives 80 %<!-- recipes / convnext, rate 0.01 / relation -->, more time 83
# %<!-- recipes / convnext, 400 steps / relation -->: both help the ConvNeXt in this run, and neither brings it to the
# ResNet. Does this refute table 10? No. It says what such a table *is*:
#
# * **A gain belongs to a recipe.** The steps were chosen one after the other by what each gained with 300 epochs and
#   strong augmentation. We train 150 steps without any. That networks with many batch norms get going quickly, and
#   those with few norms slowly, is our guess; what we measured is only the accuracies.
# * **A gain belongs to a task.** A kernel of 7 × 7 is meant for maps of 56 × 56 places. Ours has 8 × 8: nearly all of
#   it is seen anyway.
# * **One may be honest and get either answer.** "ConvNeXt beats ResNet" and "ResNet beats ConvNeXt" are both true,
#   each with its recipe and its task named. Without them neither means anything.

# %% [markdown]
# ## 4 · ConvNeXt, its recipe and its results
#
# After twelve steps little is left of the ResNet: a depthwise 7 × 7 convolution, a norm, and an MLP with one GELU,
# and the path around all of them.
#
# $$y = x + W_2\, \mathrm{GELU}\big(W_1\, \mathrm{LN}(\mathrm{dw}_{7 \times 7}(x))\big)$$
#
# One path around, where a transformer has two: compare with the MetaFormer block of lecture 11. A 1 × 1 convolution
# *is* a linear layer at every place, so ConvNeXt can be written with either. The last step of our ladder has
# convolutions, the course's `ConvNeXtMixer` has linear layers. With the same numbers in both:

# %%
from course.models.token_mixers.depthwise import ConvNeXtMixer

ours = create_model("ladder_12_convnext_cifar").stages[2][1]  # (B, H, W, 96) -> the same
theirs = ConvNeXtMixer(dim=96, kernel_size=7)
theirs.conv.load_state_dict(ours.convs[0].state_dict())
theirs.norm.load_state_dict(ours.norms[0].state_dict())
for linear, conv in ((theirs.fc1, ours.convs[1]), (theirs.fc2, ours.convs[2])):
    linear.weight.data, linear.bias.data = conv.weight.data[..., 0, 0], conv.bias.data
x = torch.randn(2, 4, 4, 96)  # (B, H, W, D)
print(f"largest difference: {(ours(x) - (x + theirs(x))).abs().max():.0e}")

# %% [markdown]
# One thing is still missing: **LayerScale** (lecture 11), which the paper counts to the recipe. It stands in the last
# row of the table below.
#
# ### The recipe, field by field
#
# Tables 5 and 6 of the paper say how ConvNeXt was trained on ImageNet-1K and on ImageNet-22K, and how it was
# fine-tuned. In this course a recipe is data, so the table can be printed from what would be trained. (Augmentation
# that all of them have, crop and flip, is left out.)

# %%
columns = ["convnext", "convnext_22k", "convnext_finetune", "convnext_22k_finetune"]
print(f"{'':16}" + "".join(f"{name[9:] or 'ImageNet-1k':>16}" for name in columns))
for field in fields(recipes.convnext):
    row = [getattr(getattr(recipes, name), field.name) for name in columns]
    if field.name not in ("seed", "augment") and any(value != field.default for value in row):
        row = [round(value, 9) if isinstance(value, float) else value for value in row]
        print(f"{field.name:16}" + "".join(f"{value!s:>16}" for value in row))

# %% [markdown]
# How to read it: `warmup` is a share of the steps (20 of 300 epochs); `drop_path` is that of the smallest network
# (tiny 0.1, small 0.4, base and large 0.5); `ema` is a running mean of the weights; `layer_decay` gives layers far
# from the head smaller learning rates in fine-tuning; 4096 images a batch need many GPUs.
#
# "Close to DeiT's and Swin's", says the paper. How close? Subtract:

# %%
for field in fields(recipes.swin):
    swin, convnext = getattr(recipes.swin, field.name), getattr(recipes.convnext, field.name)
    if swin != convnext:
        print(f"{field.name:12} Swin {swin!s:6}  ConvNeXt {convnext}")

# %% [markdown]
# A batch four times as large with a rate four times as high is the same rate for each image. So ConvNeXt has its rate
# from Swin, but EMA, LayerScale and other strengths besides. Therefore even "81.97 against 81.3" is *almost* one
# recipe, not exactly one.
#
# ### What it reached
#
# | trained on ImageNet-1K, 224 pixels | parameters | multiply–adds | ConvNeXt | Swin |
# |---|---|---|---|---|
# | tiny | 29 and 28 M | 4.5 and 4.5 G | 82.1 | 81.3 |
# | small | 50 and 50 M | 8.7 and 8.7 G | 83.1 | 83.0 |
# | base | 89 and 88 M | 15.4 and 15.4 G | 83.8 | 83.5 |
#
# (Liu and others 2022, table 1.) And without a pyramid, on one grid of 14 × 14 places, as wide as a ViT (table 2): S
# 79.7 against ViT-S 79.8, B 82.0 against ViT-B 81.8, L 82.6 against ViT-L 82.6. That is a tie. As a body for
# detection and segmentation it is as good as Swin or better (tables 3 and 4).
#
# > **What slides get wrong here.** "With the right combination of methods, ConvNets are *better* than transformers
# > for vision." The paper says that they "compete favorably". The advantage over Swin is 0.8, 0.1 and 0.3 points;
# > over ViT it is −0.1, 0.2 and 0.0; and over seeds alone the standard deviation is up to 0.18 (table 10). What the
# > paper shows is that *attention was not needed* for these numbers.
#
# **Question 12.3** Which of the twelve steps are older than vision transformers, and where do they come from?
# (Lecture 1 has them.)
#
# <details><summary>Answer</summary>
#
# Depthwise convolutions and the inverted bottleneck are MobileNet v2's (Sandler and others 2018), with widening from
# ResNeXt (Xie and others 2017: more groups, more width). The authors say so: each step was known. GELU and LayerNorm
# (both 2016) are from before the transformer of 2017. New is that somebody made these steps one after the other, and
# counted.
# </details>
#
# ## 5 · ConvMixer: how much can be left out?
#
# Trockman and Kolter (2022) asked from the other side, under the title "Patches are all you need?": what if *only*
# the patches and the separation of places and channels are kept? **ConvMixer** has patches, then at one resolution
# again and again a depthwise convolution with a path around it, and a 1 × 1 convolution without one:
#
# $$z' = \mathrm{BN}\big(\mathrm{GELU}(\mathrm{dw}_{k \times k}(z))\big) + z, \qquad z'' = \mathrm{BN}\big(\mathrm{GELU}(W z')\big)$$
#
# There is no MLP with a wide middle, no pyramid, no LayerNorm. The whole forward pass, by hand, beside the course's
# model:

# %% tags=["slide-code"]
mixer = create_model("convmixer_cifar", dims=(16,), depths=(3,)).eval()
images = torch.rand(2, 3, 32, 32)  # (B, C, H, W)
with torch.no_grad():
    z = mixer.stem(images)  # (B, 16, 16, D): patches, GELU, batch norm
    for block in mixer.stages[0].blocks:
        spatial, pointwise = block.token_mixer.branch, block.channel_mixer
        z = z + spatial.norm(F.gelu(spatial.conv(z)))  # (B, 16, 16, D): depthwise, with a path
        z = pointwise.norm(F.gelu(pointwise.fc(z)))  # (B, 16, 16, D): 1 x 1, without one
    logits = mixer.head.fc(z.mean(dim=(1, 2)))  # (B, num_classes)
    print("the same as the model:", torch.allclose(logits, mixer(images), atol=1e-5))

# %% [markdown]
# It works: ConvMixer-768/32 (768 channels, 32 layers, kernels of 7 × 7) reached 80.16 % on ImageNet with 21.1 M
# parameters (Trockman and Kolter 2022, table 1), more than DeiT-S's 79.8 with 22 M. Tables with a column for
# parameters look good. Which column is missing?

# %%
for name in ("resnet_50", "convnext_t", "convmixer_768_32"):
    with torch.device("meta"):
        parameters, macs = size(create_model(name))
    print(f"{name:17} {parameters / 1e6:.1f} M  {macs / 1e9:5.2f} G  "
          f"{macs / parameters:5.0f} multiply-adds a parameter")

# %% [markdown]
# With the same parameters it computes nearly five times as much as ConvNeXt-T, because it never halves its map of 32
# × 32 places. (The authors say that it is slow.) **Parameters are not compute**: a convolution uses each of its
# weights once for every place.
#
# > **Watch for this in tables.** 21 M parameters beside 22 M look like networks of one size. They are of one size *on
# > disk*. The column that is often left out says 20.7 G for ConvMixer-768/32 and 4.6 G for DeiT-S.
#
# ## 6 · Larger kernels: 31 × 31, and 51 × 51
#
# ### Why large and not many
#
# Two layers of 3 × 3 see 5 × 5 places; so L layers with kernels of K × K see $1 + L(K - 1)$ places along each side.
# This is the *theoretical* receptive field. The **effective receptive field** (Luo and others 2016; lecture 6) says
# from where the influence really comes. Take L mean filters: each adds its variance $(K^2 - 1)/12$, and variances
# add, so the spread grows with the *square root* of the depth:
#
# $$\sigma = \sqrt{L \, \frac{K^2 - 1}{12}} \approx 0.29\, K \sqrt{L}$$
#
# K counts fully, L by its root. To double the field, double the kernel, or take four times as many layers. We measure
# it on an impulse:

# %%
def spread(kernel, depth):
    """Standard deviation, in places, of what an impulse becomes after `depth` mean filters."""
    profile = torch.zeros(1, 1, depth * (kernel - 1) + 1)  # (B, C, L)
    profile[0, 0, profile.shape[-1] // 2] = 1.0
    for _ in range(depth):
        profile = F.conv1d(profile, torch.ones(1, 1, kernel) / kernel, padding=kernel // 2)
    place = torch.arange(profile.shape[-1]) - profile.shape[-1] // 2  # (L,)
    return (profile[0, 0] * place**2).sum().sqrt().item()

depths = [1, 2, 4, 8, 16, 32]  # layers
lines = {f"{K} × {K}": [spread(K, depth) for depth in depths] for K in (3, 7, 31)}
plots.curves(depths, lines, log="xy", xlabel="layers", ylabel="spread of the field, places")

# %% [markdown]
# A straight line with slope one half on two logarithmic axes is a square root. One layer of 31 × 31 spreads
# 8.9<!-- = 80 ** 0.5 --> places; to come as far with 3 × 3 it takes 120<!-- = 80 / (8 / 12) --> layers. That is the
# argument of **RepLKNet** (Ding and others 2022): few large kernels, not many small ones.
#
# Real blocks have norms, MLPs and paths around. Here are untrained ConvNeXt blocks on 64 × 64 single pixels, and how
# strongly the middle depends on each pixel. 12 blocks of 3 × 3 and 4 blocks of 7 × 7 have the *same* theoretical
# field, 25 × 25 pixels.

# %%
def stack(kernel, depth):
    """So many untrained blocks of ConvNeXt on single pixels of 64 x 64."""
    spec = entry("convnext_cifar").spec.but(patch_size=1, kernel_size=kernel, img_size=64)
    return replace(spec, dims=(16,), depths=(depth,), layer_scale=None).build()

STACKS = {"3 × 3, 4 blocks": (3, 4), "3 × 3, 12 blocks": (3, 12), "7 × 7, 4 blocks": (7, 4),
          "31 × 31, 4 blocks": (31, 4)}

def field_of(name, seed):
    torch.manual_seed(seed)
    images = torch.randint(256, (budget(tiny=1, cpu=6), 3, 64, 64), dtype=torch.uint8)
    kernel, depth = STACKS[name]
    last = f"stages.0.blocks.{depth - 1}"
    return receptive_fields(stack(kernel, depth), images, [last])[last]  # (H, W), sums to 1

pictures.receptive_fields({name: field_of(name, seed=0) for name in STACKS}, share=0.9)

# %%
def field_areas(seed):
    return {name: area(field_of(name, seed), 0.9) for name in STACKS}

areas = over_seeds("12_convnets_strike_back/fields", field_areas)
for name, shares in areas.items():
    print(f"{name:18} {' '.join(f'{100 * share:5.1f} %' for share in shares)}")

# %% [markdown]
# The orange line surrounds the fewest pixels that hold nine tenths of the influence. The three fields of 3 × 3 and 7
# × 7 are small parts of what they could see; 12 blocks of 3 × 3 hold it in 0.4 to 0.5
# %<!-- fields / 3 × 3, 12 blocks -->, 4 blocks of 7 × 7, which see as far, in 1.7 to 2.2
# %<!-- fields / 7 × 7, 4 blocks -->, and 4 blocks of 31 × 31 in 43 to 44 %<!-- fields / 31 × 31, 4 blocks -->. So for
# the same theoretical field, fewer and larger kernels give the larger effective one. (The paths around hold much of
# the influence in the middle: they pass it on to the place itself.)
#
# ### Trained as two, used as one
#
# A kernel of 31 × 31 has 961<!-- = 31 ** 2 --> weights a channel, and small local patterns are hard to learn with it.
# RepLKNet therefore trains a 5 × 5 kernel *beside* the large one, each with its batch norm, and adds the two results.
# After training, a batch norm is a fixed scale and shift (lecture 11), and both convolutions are linear in x. So the
# sum is **one** convolution (**re-parameterisation**):
#
# $$\mathrm{BN}_1(K_{31} * x) + \mathrm{BN}_2(K_5 * x) = \Big(\frac{\gamma_1}{\sigma_1} K_{31} + \frac{\gamma_2}{\sigma_2} \mathrm{pad}(K_5)\Big) * x
# + b_1 + b_2, \qquad b_i = \beta_i - \frac{\gamma_i\, \mu_i}{\sigma_i}$$
#
# Padded with 13 zeros on each side, 5 × 5 becomes 31 × 31. By hand:

# %%
from course.models.token_mixers.depthwise import DecomposedConv, LargeKernelConv

def lived_in(layer):
    """The layer in eval mode, with norms as after some training."""
    for norm in (module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight, 1, 0.2), nn.init.normal_(norm.bias)
    return layer.eval()

def folded(conv, norm):
    """Kernel (D, 1, k, k') and bias (D,) of the convolution with the norm in it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (D,)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale

# %%
two = lived_in(LargeKernelConv(dim=32, kernel_size=31, small_kernel=5))
(large, large_bias), (little, little_bias) = folded(*two.large), folded(*two.small)
kernel = large + F.pad(little, [13] * 4)  # (D, 1, 31, 31): the small one in the middle
one = DepthwiseConv(32, 31)
one.weight.data, one.bias.data = kernel.detach(), (large_bias + little_bias).detach()
x = torch.randn(2, 31, 31, 32)  # (B, H, W, D)
print(f"largest difference: {(two(x) - one(x)).abs().max():.0e}, "
      f"of numbers up to {one(x).abs().max():.0f}")

three = {"31 × 31": large, "5 × 5 in its middle": F.pad(little, [13] * 4), "one kernel": kernel}
strength = {name: each[0, 0, 13:18, 13:18].abs().mean() / each[0, 0].abs().mean()
            for name, each in three.items()}
plots.matrices({name: each[0, 0].detach() for name, each in three.items()},
               numbers=False).described(
    "one channel's kernels, 31 by 31 each. How much stronger the middle 5 by 5 is than the whole: "
    + "; ".join(f"{name} {each:.1f} times" for name, each in strength.items()))

# %% [markdown]
# The two are equal up to rounding. And what is it worth in time? In turns, the median of the ratios (lecture 11,
# section 7; it is the ratio on the CPU that built this page):

# %%
@torch.inference_mode()
def ratio(a, b, x, pairs=budget(tiny=1, cpu=8)):
    """How many times longer a(x) takes than b(x): the median over pairs, measured in turns."""
    def seconds(layer):
        start = time.perf_counter()
        layer(x)
        return time.perf_counter() - start

    a(x), b(x)  # once to warm up
    return statistics.median([seconds(a) / seconds(b) for _ in range(pairs)])

f"two branches take {ratio(two, one, x):.2f} times as long as the one kernel"

# %% [markdown]
# The large kernel is most of the work, so merging saves the smaller part: the second convolution, two norms and a
# sum, each of which reads and writes the whole map. In the whole RepLKNet-31B it saves 0.3 M parameters of 79.9 and
# 0.08 G of 15.4 (counted: `create_model("replknet_31b", merged=True)`).
#
# What do kernels of 31 × 31 give? RepLKNet-31B has 83.5 % on ImageNet, as Swin-B has (Ding and others 2022, section
# 4). The authors' own comparison of kernel sizes says where the gain is: on ImageNet most of it is there at 13 × 13,
# while segmentation, where far-away pixels matter, goes on gaining.
#
# ### 51 × 51 from two stripes
#
# **SLaK** (Liu and others 2023) starts from ConvNeXt and wants 51 × 51. It does not learn such a kernel. It adds the
# results of a tall one, 51 × 5, a wide one, 5 × 51, and a small one, 5 × 5:

# %%
figures.stripes(kernel_size=51, small=5)

# %% [markdown]
# So "kernel size 51" means a *cross*: a place sees far along its row and its column, and nothing in the corners. Is
# this one convolution again? The same folding says yes. Let us look whether it should be *used* as one:

# %%
thin = lived_in(DecomposedConv(dim=16, kernel_size=51, small_kernel=5))
kernel, bias = torch.zeros(16, 1, 51, 51), torch.zeros(16)
for conv, norm in (thin.tall, thin.wide, thin.small):
    weight, shift = folded(conv, norm)  # (D, 1, k, k')
    rows, columns = (51 - weight.shape[2]) // 2, (51 - weight.shape[3]) // 2
    kernel, bias = kernel + F.pad(weight, [columns, columns, rows, rows]), bias + shift
cross = DepthwiseConv(16, 51)
cross.weight.data, cross.bias.data = kernel.detach(), bias.detach()
x = torch.randn(1, 56, 56, 16)  # (B, H, W, D): SLaK's first stage
print(f"largest difference: {(thin(x) - cross(x)).abs().max():.0e}; "
      f"zeros in the 51 x 51 kernel: {100 * (kernel == 0).float().mean():.0f} %")
f"the three thin kernels take {ratio(thin, cross, x):.2f} times as long as one of 51 x 51"

# %% [markdown]
# Equal again, and four fifths of the 51 × 51 kernel are zeros. But here it does *not* pay to merge: a dense 51 × 51
# convolution multiplies with all these zeros. Merging is good where the small kernel lies inside the large one, and
# bad where the large one is made of thin ones.
#
# **Question 12.4** SLaK's kernels are 51, 49, 47 and 13 in its four stages. How many per cent of the dense weights do
# the stripes have in the last stage? Compute it, then call `figures.stripes(13, 5)`.
#
# <details><summary>Answer</summary>
#
# 2 · 13 · 5 + 5 · 5 = 155<!-- = 2 * 13 * 5 + 25 -->, of 169<!-- = 13 ** 2 -->: 92 %<!-- = 100 * 155 / 169 -->. At 13
# the stripes save almost nothing; they are for large kernels, where two stripes grow as k and the square as k².
# </details>
#
# > **What slides get wrong here.** (1) "Kernel size of the stages [51, 49, 47, 13]" omits the fifth number of the
# > authors' code, 5: the width of the stripes and the small square beside them. That is the "N = 5" of the same
# > slide. (2) "30 M, 5.0 G" is printed for a network in which 40 % of the weights are *zero* (Liu and others 2023,
# > table 2). With all of them it has 50.7 M and 8.7 G (`card("slak_t")`), and a processor that does not skip zeros
# > computes those.
#
# ## 7 · A fair fight, and a large one
#
# "Which is better?" needs at least an equal budget. We take two networks with the same multiply–adds, within 5
# %<!-- = 100 * (3.36 - 3.21) / 3.21 -->: a ViT, and the top of our ladder, made somewhat wider.

# %%
def vit():
    """Two blocks; learned positions that start as sines (lecture 5)."""
    model = create_model("vit_cifar", num_classes=10, embed_dim=48, depth=2, num_heads=4,
                         mlp_ratio=2)
    table = model.stages[0].entry.position  # (N + 1, D)
    with torch.no_grad():
        table[1:] = sinusoidal_2d((8, 8), 48).to(table.device)  # (N, D)
    return model

MATCHED = {
    "ViT": vit,
    "CNN: ConvNeXt": lambda: create_model("ladder_12_convnext_cifar", width=32)}
for name, make in MATCHED.items():
    parameters, macs = size(make().to("meta"), side=32)
    print(f"{name:15} {macs / 1e6:.2f} M multiply-adds, {parameters:7,} parameters")

# %% [markdown]
# Multiply–adds are equal; parameters differ by a factor of ten. One recipe, the same steps, three seeds. *(Price:
# four trainings, about 20 seconds; those of the seeds 1 and 2 are stored.)* **Predict**: who wins on texture, who on
# relation?

# %%
def matched(seed):
    return {name: {question: trained(make, question, seed) for question in QUESTIONS}
            for name, make in MATCHED.items()}

fight = over_seeds("12_convnets_strike_back/matched", matched)
plots.bars(fight, chance=0.1)

# %% [markdown]
# On *texture* the ViT gets 99 to 100 %<!-- matched / ViT / texture --> and the ConvNeXt 86 to 100
# %<!-- matched / CNN: ConvNeXt / texture -->; on *relation* the ViT gets 81 to 89 %<!-- matched / ViT / relation -->
# and the ConvNeXt 75 %<!-- matched / CNN: ConvNeXt / relation -->. At equal compute the ViT is ahead on relation with
# every seed. "Transformers beat CNNs"? Look back at section 3: the *ResNet* computes 2.41<!-- printed --> million, a
# quarter less than both, and gets 97 to 99 %<!-- steps / resnet / relation -->. There is no such thing as "the CNN".
# And this much was not matched at all: the recipe was chosen for neither, the data are 4,000 drawn images, the
# parameters differ tenfold. And time?

# %%
both = [make().eval() for make in MATCHED.values()]
images = torch.rand(32, 3, 32, 32)  # (B, C, H, W)
f"the ViT takes {ratio(*both, images):.2f} times as long as the ConvNeXt"

# %% [markdown]
# Equal multiply–adds need not take equal time (lecture 11, section 7).
#
# **Question 12.5** Make the ConvNeXt so narrow that it has about as many parameters as the ViT (`width=32` →
# `width=9`). Is *that* comparison fairer? For what purpose?
#
# <details><summary>Answer</summary>
#
# It depends on what is scarce. Parameters count where the network has to be stored or sent; multiply–adds are a
# stand-in for energy and time; time on your machine is what you wait for. Equal in one is nearly never equal in the
# others: convolutions use a weight at every place, and so does a ViT's MLP, but a pyramid has most of its weights
# where the map is small. Say which one is matched.
# </details>
#
# ### At scale
#
# Until 2023 the common view was: ConvNets are good for small and middle-sized data, transformers win when both are
# large. Three papers with convolutions alone belong beside it.
#
# **BiT** (Kolesnikov and others 2020) trained a ResNet-152 of four times the width, with GroupNorm, on 300 million
# images. The ViT paper took it as its opponent: 87.5 % on ImageNet for BiT-L against 88.6 for ViT-H/14, with four
# times the compute (9.9 against 2.5 thousand TPU core-days: Dosovitskiy and others 2021, table 2). **NFNet** (Brock
# and others 2021) is a ResNet without any norm, with clipped gradients in place of it: 89.2 % after the same 300
# million images.
#
# Then Smith and others (2023), under the title "ConvNets match vision transformers at scale", pre-trained NFNets on
# JFT-4B with budgets from 0.4 to 110 thousand core-hours. The loss on held-out images fell with compute along a
# straight line on two logarithmic axes, as it does for transformers (lecture 13). And fine-tuned on ImageNet:
#
# | network | pre-trained on | TPU-v4 core-hours, thousands | ImageNet top-1 |
# |---|---|---|---|
# | NFNet-F7+ (convolutions) | JFT-4B | 110 | 90.3 |
# | ViT-g/14 | JFT-3B | about 120 | 90.2 |
# | SoViT-400m/14 | JFT-3B | about 130 | 90.3 |
# | ViT-G/14 | JFT-3B | about 280 | 90.45 |
#
# (Smith and others 2023, section 3; the hours of the ViTs are converted by the authors from another kind of TPU. The
# 90.4 of their abstract is the same NFNet-F7+, with each image several times in a batch in fine-tuning.) At
# equal compute the accuracies are equal. The authors conclude that compute and data decide, and that there is no
# strong evidence that either family is better when both are compared fairly.
#
# > **What slides get wrong here.** "When CNNs are pre-trained with a similar compute budget, they match ViTs" is
# > right, and easily read as more than it is. It was shown for *classification* after *labelled* pre-training. Where
# > transformers are used for other reasons (masked patches, several kinds of input, text beside images: lecture 16)
# > nothing was compared.
#
# Both will stay. A convolution is equivariant to translations and self-attention to permutations (lectures 1 and 3):
# the first suits patterns that may lie anywhere and concern neighbours, the second suits parts whose place matters
# less. Many networks therefore begin with convolutions and attend later (lecture 9).
#
# ## Summary
#
# 1. **Between ResNet and Swin lie many differences**, and attention is one of them. The recipe alone is worth 2.7
#    points of ImageNet (Liu and others 2022, table 10).
# 2. **The ladder**: stage ratio, patches, depthwise, wider, inverted, moved up, 7 × 7, GELU, fewer activations, fewer
#    norms, LayerNorm, downsampling between stages. Each is one option; its multiply–adds can be counted, and agree
#    with table 10 but for two printed figures. It goes down twice before it goes up.
# 3. **Depthwise and 1 × 1** separate mixing places from mixing channels, as attention and MLP do.
# 4. **A gain belongs to a recipe and a task.** In our 150 steps the same ladder leads down on relation, with every
#    seed.
# 5. **ConvMixer** keeps patches and the separation, and nothing else: few parameters, many multiply–adds.
# 6. **Large kernels**: the field grows as $K \sqrt L$. A small kernel beside the large one is merged after training,
#    exactly. SLaK's 51 × 51 is a cross of two stripes and a square.
# 7. **Matched compute is the least that a comparison needs**; at scale, ConvNets and ViTs then came out equal (Smith
#    and others 2023).
#
# ## To revise: which cell shows what
#
# * Section 1: three networks of one size; `compare` says what differs between ConvNeXt and Swin.
# * Section 2: the options one by one; counted beside printed; table 10 as dots; the block inside out; who hears whom;
#   the saving on the paths around.
# * Section 3: the small ladder's sizes; one seed; three seeds; other rates.
# * Section 4: ConvNeXt's block with linear layers; tables 5 and 6 from the recipes; what differs from Swin's recipe.
# * Section 5: ConvMixer by hand; multiply–adds for each parameter.
# * Section 6: the square root on logarithmic axes; four fields; merging, and its time; the cross.
# * Section 7: a compute-matched pair, its accuracy and its time.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Leave out one step: what would ConvNeXt cost without *wider* (`FULL["convnext"].but(width=64)`), and without *inverted*? | 10 |
# | 2 | ●○○ Which of the ladder's steps change no parameter at all? Predict, then read it from the counts. | 10 |
# | 3 | ●●○ Which stage of `slak_t` has most of its multiply–adds in the spatial kernels, and which fewest? Count with formulas, as in section 2. | 20 |
# | 4 | ●●○ Write `merge(model)` for a whole `replknet_31b`: put `merged_weights()` of each `LargeKernelConv` into the network made with `merged=True`, and compare logits. | 30 |
# | 5 | ●●● Train `ladder_09`, `10` and `11` on relation, three seeds each. Where does the fall between *fewer_acts* and *convnext* happen, with every seed? | 30 |
#
# <details><summary>Answers</summary>
#
# 1. Without *wider* 2.01 G and 13.0 M, less than half. Without *inverted* 7.36 G and 55.2 M: the stream itself is
#    then four times as wide, and so are the 2 × 2 convolutions between the stages.
# 2. GELU, fewer activations and LayerNorm: an activation has no weights, and both norms have a scale and a shift.
#    *Fewer norms* has a little less, since some biases come in for the norms that go.
# 3. At each place a block has 2 · 4 W² in its MLP and (2 · 5 k + 25) W in its kernels; the quotient is (10 k + 25) /
#    (8 W). Stage 1: 535 / 992, that is 0.54<!-- = 535 / (8 * 124) -->; stage 4: 155 / 7,984, that is
#    0.02<!-- = 155 / (8 * 998) -->. Most in the first, fewest in the last.
# 4. The keys of `state_dict` are the same but for those of `.conv.large` and `.conv.small`. The course's own test
#    does it in ten lines (`tests/models/test_replknet.py`).
# 5. In the one seed of the figure the largest falls stand at *fewer_norms* and *layer_norm*. Three seeds we have not
#    trained: your answer is the first.
# </details>
#
# ## References
#
# * Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie. *A ConvNet for the 2020s.* CVPR 2022.
#   [arXiv:2201.03545](https://arxiv.org/abs/2201.03545). The ladder: section 2, tables 10 and 11; the block: figures
#   3 and 4; results: tables 1 to 4; recipes: tables 5 and 6; sizes: table 9.
# * R. Wightman, H. Touvron, H. Jégou. *ResNet Strikes Back: An Improved Training Procedure in timm.* 2021.
#   [arXiv:2110.00476](https://arxiv.org/abs/2110.00476).
# * A. Trockman, J. Z. Kolter. *Patches Are All You Need?* 2022. [arXiv:2201.09792](https://arxiv.org/abs/2201.09792).
#   ConvMixer: section 2, table 1.
# * X. Ding, X. Zhang, J. Han, G. Ding. *Scaling Up Your Kernels to 31×31: Revisiting Large Kernel Design in CNNs.*
#   CVPR 2022. [arXiv:2203.06717](https://arxiv.org/abs/2203.06717). RepLKNet: section 4; small kernels beside large
#   ones: section 3, guideline 3.
# * S. Liu, T. Chen and others. *More ConvNets in the 2020s: Scaling up Kernels Beyond 51 × 51 using Sparsity.* ICLR
#   2023. [arXiv:2207.03620](https://arxiv.org/abs/2207.03620). SLaK.
# * W. Luo, Y. Li, R. Urtasun, R. Zemel. *Understanding the Effective Receptive Field in Deep Convolutional Neural
#   Networks.* NeurIPS 2016. [arXiv:1701.04128](https://arxiv.org/abs/1701.04128).
# * S. L. Smith, A. Brock, L. Berrada, S. De. *ConvNets Match Vision Transformers at Scale.* 2023.
#   [arXiv:2310.16764](https://arxiv.org/abs/2310.16764).
# * A. Kolesnikov and others. *Big Transfer (BiT): General Visual Representation Learning.* ECCV 2020.
#   [arXiv:1912.11370](https://arxiv.org/abs/1912.11370).
# * A. Brock, S. De, S. L. Smith, K. Simonyan. *High-Performance Large-Scale Image Recognition Without Normalization.*
#   ICML 2021. [arXiv:2102.06171](https://arxiv.org/abs/2102.06171). NFNet.
# * Z. Liu and others. *Swin Transformer.* ICCV 2021. [arXiv:2103.14030](https://arxiv.org/abs/2103.14030).
# * A. Dosovitskiy and others. *An Image is Worth 16x16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). BiT beside ViT: table 2.
# * S. Xie and others. *Aggregated Residual Transformations for Deep Neural Networks.* CVPR 2017.
#   [arXiv:1611.05431](https://arxiv.org/abs/1611.05431). M. Sandler and others. *MobileNetV2.* CVPR 2018.
#   [arXiv:1801.04381](https://arxiv.org/abs/1801.04381).
