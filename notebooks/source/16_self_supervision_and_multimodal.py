# %% [markdown]
# # 16 · Self-supervision, multimodal: learning without labels
#
# | | |
# |---|---|
# | **You will understand** | how a network learns from images that nobody has named: by filling in what is hidden (MAE, SimMIM), and by agreeing with itself (DINO); why the second collapses, in two ways, and what prevents it; what a linear probe proves and what it does not; when attention is a mask |
# | **You need** | [4 · The transformer](04_transformer.ipynb): BERT; [5 · The vision transformer](05_vision_transformer.ipynb): patches, class token, fine-tuning |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | 15 · Dense prediction · **16 · Self-supervision, multimodal** |

# %% tags=["setup"]
import math
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn
from course import budget, plots, setup
from course.analysis import (
    PIXELS, attention_masks, attention_weights, frozen_features, iou, knn, linear_probe)
from course.data import load
from course.data.digits import MOTIONS
from course.data.normalise import Normalise
from course.figures import self_supervision as figures
from course.figures.what_vits_see import panels
from course.models import create_model
from course.models.dino import DINO, dino_loss
from course.models.masked_images import (
    MAE, SimMIM, mae_loss, patchify, random_masking, simmim_loss, unmask, unpatchify)
from course.seeds import cache, over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Hide a part, and fill it in
#
# A label is one word for a whole image, and somebody has to write it. The image itself says much more. Lecture 4,
# section 8, used this for sentences: **BERT** hides 15 % of the words (Devlin and others 2019), and to guess them it has to find out what the
# others say. Nobody names anything. Such training is called **self-supervised**: the task is made from the data.
#
# Can the same be done with images? Two things are different:
#
# * *There is no vocabulary.* A hidden word is one of 30,000, a question with classes and a cross-entropy. A hidden patch is a
#   vector of pixels, and "grey, a little darker on the left" is nearly right. The simplest loss is a distance between pixels.
# * *Neighbours say nearly all.* If one patch of a photograph is hidden, one can paint it over with the colours beside it and
#   will be nearly right, without knowing what is shown. So **much more has to be hidden**: 75 % in MAE (He and others 2022,
#   figure 5), 60 % in SimMIM, in squares of 32 pixels (Xie and others 2022, section 4.1).
#
# Our images are single frames of the clips of lecture 14: a digit somewhere on a dark ground, with noise. There are 4,000 of them to learn
# from. Their labels stay unused, except when we ask at the end what was learned.

# %%
def middle(split, size):
    """The middle frame (N, 1, 16, 16) of each clip, uint8, and which digit it shows, (N,)."""
    clips = load("digit_video", split, size=size, label="digit", device="cpu")
    return clips.images[:, 2], clips.labels

unlabelled, _ = middle("train", budget(tiny=60, cpu=4000))  # without labels
known = middle("train", budget(tiny=60, cpu=2000))  # whose labels a probe may see
asked = middle("test", budget(tiny=40, cpu=1000))
plots.image_grid(unlabelled, count=8, columns=8)

# %% [markdown]
# In frames of 16 × 16 pixels, patches of 4 × 4 make N = 16 tokens. How does one hide half of them, in each image
# others? **`random_masking`** draws a number for each token and keeps those with the smallest (section 3 of the MAE paper). What
# is left comes in *random order*; `restore` says where each token of the image stands in it.

# %%
images = asked[0][:8].float() / 255  # (B, C, H, W) = (8, 1, 16, 16)
tokens = patchify(images, 4)  # (B, N, P·P·C) = (8, 16, 16)
kept, hidden, restore = random_masking(tokens, mask_ratio=0.5)
print(f"left {tuple(kept.shape)}, hidden {tuple(hidden.shape)}")
where = rearrange(hidden, "b (h w) -> b h 1 w 1", h=4).expand(-1, -1, 4, -1, 4)
where = where.reshape(8, 16, 16)  # bool (B, H, W): each patch a square of pixels
figures.rows({"image": images, "what is left": images}, painted={"what is left": where},
             colour="#767676")

# %% [markdown]
# `unmask` is the way back: tokens that are left go to their places, and one learned vector, the **mask token**, to all others.

# %%
mask_token = torch.full((16,), 0.5)  # (P·P·C,): learned in MAE, here a grey patch
back = unmask(kept, mask_token, restore)  # (B, N, P·P·C)
right = torch.where(hidden[..., None], mask_token, tokens)  # (B, N, P·P·C)
f"largest difference: {(back - right).abs().max():.0f}"

# %% [markdown]
# The two methods differ in *when* they put in mask tokens.
#
# **MAE** (masked autoencoder) does it late. Its encoder, a ViT, sees only the patches that are left: no mask token, no hole. A ViT can do
# that, because attention takes any number of tokens and each brings its own position. Then a *small decoder*, thrown away afterwards, gets the
# tokens at their places and mask tokens at the others. With 75 % hidden, the large encoder has a quarter of the tokens to work on.
#
# **SimMIM** does it early: the mask tokens go through the encoder too. This costs more, but the map stays whole. So it also works with Swin,
# whose windows need every place. Its decoder is one linear layer.

# %%
figures.two_ways(count=16, kept=8)

# %% [markdown]
# Both losses look at hidden places only. What is visible could be copied. Let $x$ be the pixels, $\hat x$ the answer, $M$ what is
# hidden, P the side of a patch, C the channels:
#
# $$L_\mathrm{MAE} = \frac{1}{|M|} \sum_{n \in M} \frac{1}{P^2 C} \lVert \hat x_n - x_n \rVert_2^2, \qquad
# L_\mathrm{SimMIM} = \frac{1}{|M|\, C} \sum_{(i, j) \in M} \lVert \hat x_{ij} - x_{ij} \rVert_1$$
#
# In the first, $M$ is a set of patches; in the second, of pixels. MAE does better on ImageNet if each target patch is brought to mean 0 and
# variance 1 (`norm_pix_loss`; 84.9 → 85.4 % after fine-tuning, paper, table 1d): brightness is the part that neighbours tell anyway.

# %%
said = torch.randn(8, 16, 16)  # (B, N, P·P·C): what a network might answer
error = (said - tokens).square().mean(dim=-1)  # (B, N)
by_hand = (error * hidden).sum() / hidden.sum()
ours = mae_loss(said, images, hidden, patch_size=4, norm_pix_loss=False)
print(f"MAE     {by_hand:.5f} {ours:.5f}")
drawn = unpatchify(said, 4, grid=(4, 4))  # (B, C, H, W)
by_hand = ((drawn - images).abs() * where[:, None]).sum() / where.sum()
print(f"SimMIM  {by_hand:.5f} {simmim_loss(drawn, images, where):.5f}")

# %% [markdown]
# Now a small one. *(Price: about 10 seconds on one CPU core.)*

# %%
def small_vit(num_classes=0):
    """16 × 16 pixels as 16 tokens of 48 numbers, with a class token; three blocks."""
    return create_model("vit_cifar", img_size=16, patch_size=4, in_chans=1, embed_dim=48,
                        depth=3, num_heads=4, num_classes=num_classes)

@cache
def pretrained(way, seed):
    """An encoder that saw no label, in what trained it, and the curve of its loss."""
    torch.manual_seed(seed)
    if way == "SimMIM":
        model = SimMIM(small_vit(), mask_ratio=0.5, mask_size=4)
    else:
        model = MAE(small_vit(), mask_ratio=0.5, norm_pix_loss=way == "MAE, normalised",
                    decoder_dim=48, decoder_depth=1, decoder_heads=4)
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=300), lr=2e-3, seed=seed)
    return model, fit(model, unlabelled, recipe, plot=False, progress=False).loss

mae, loss = pretrained("MAE, pixels", seed=0)
plots.curves(range(1, len(loss) + 1), {"MAE": loss}, xlabel="step", ylabel="loss",
             levels={"variance of the pixels": 1.0})

# %% [markdown]
# The loss of 1 is what one gets for always saying the mean. (`fit` brings the pixels to mean 0 and standard deviation 1.) It
# falls, but not far: half of what is hidden is noise, which nobody can guess. Does it do more than the simplest answers? They are the
# control: black everywhere, and the mean of all frames at that place. And what does it draw?

# %%
normalise = mae.normalise_images  # to mean 0 and standard deviation 1, as fit found them
target = normalise(asked[0])  # (B, C, H, W), floats
torch.manual_seed(1)
with torch.no_grad():
    patches, hidden = mae.reconstruct(target)  # (B, N, P·P·C), bool (B, N)
filled = unpatchify(torch.where(hidden[..., None], patches, patchify(target, 4)), 4, (4, 4))
where = unpatchify(hidden[..., None].expand(-1, -1, 16), 4, (4, 4))[:, 0]  # bool (B, H, W)
place = normalise(unlabelled).mean(dim=0)  # (C, H, W): the mean frame
wrong = {"black everywhere": target - target.median(), "the mean frame": target - place,
         "MAE": target - filled}
for name, error in wrong.items():
    print(f"{name:16} {error.square()[:, 0][where].mean():.2f}")
figures.rows({"image": target[:8], "what is left": target[:8], "filled in": filled[:8]},
             painted={"what is left": where[:8]}, colour="#767676")

# %% [markdown]
# The numbers are mean squared errors on hidden pixels of test frames. The network continues strokes, and where several digits would fit
# it draws something in between: a blur. A squared error asks for the mean of all that is possible. To look good is not the aim; the decoder
# is thrown away.
#
# ### Which networks can be trained so?

# %%
def refusal(method, name, **options):
    try:
        method(create_model(name, num_classes=0), **options)
    except ValueError as error:
        return str(error)
    return "takes it"

print("MAE,    Swin:      ", refusal(MAE, "swin_cifar"))
print("SimMIM, Swin:      ", refusal(SimMIM, "swin_cifar", mask_size=4))
print("SimMIM, ConvStem:  ", refusal(SimMIM, "poolformer_cifar", mask_size=4))

# %% [markdown]
# The last refusal is the remark on many slides that convolutional stems are "problematic for mask-based self-supervision". Why? Hide a patch,
# and look which pixels the *visible* tokens depend on:

# %%
from course.models.conv_stems import ConvStem
from course.models.stems import PatchEmbed

mask = torch.rand(16).argsort().view(4, 4) >= 8  # bool (h, w): half of 4 × 4 patches hidden
large = mask.repeat_interleave(8, 0).repeat_interleave(8, 1)  # bool (H, W)

def seen_by_visible(stem):
    """The pixels (H, W) on which any token depends that is not hidden."""
    pixels = torch.randn(1, 3, 32, 32, requires_grad=True)  # (B, C, H, W)
    visible = stem(pixels)[0][~mask]  # (K, D)
    (gradient,) = torch.autograd.grad(visible.abs().sum(), pixels)
    return gradient[0].abs().sum(dim=0) > 0

separate = PatchEmbed(16, (32, 32), patch_size=8)  # (B, 3, 32, 32) -> (B, 4, 4, 16)
overlapping = ConvStem(16, patch_size=13, stride=8, padding=3)  # the same shapes
figures.leak(large, {"patches of 8 × 8": seen_by_visible(separate),
                     "13 × 13, stride 8": seen_by_visible(overlapping)})

# %% [markdown]
# With separate patches, nothing. With an overlapping stem a good part of what is hidden is seen by the neighbours, and the task becomes copying. One
# way out is to hide pixels *before* the stem, which costs MAE its saving. (ConvNeXt V2 hides large squares and uses sparse convolutions, Woo and others 2023.)
#
# > **What slides get wrong here.**
# >
# > * **SimMIM's figure under "Self-supervision" in a talk about ViT** was not ViT's own method. The ViT paper (Dosovitskiy and others 2021,
# >   section 4.6 and appendix B.1.2) hid patches too, but guessed their *mean colour*, as one of 512. ViT-B/16 got 79.9 % on ImageNet: 2
# >   points more than from scratch, 4 less than with labels. A year later, MAE got 83.6 % from the same network without a label (paper, table 3).
# > * **"Masking does not work with CNNs"**: it does not work *in this way*. See above.
#
# ## 2 · What does a probe prove?
#
# The network has learned something; is it of use? The usual tests *freeze* it and ask for labels:
#
# * a **linear probe**: one linear layer on its features, $\hat y = \mathrm{argmax}\,(W f(x) + b)$, trained on labelled images;
# * **nearest neighbours** (kNN): the vote of the k labelled images whose features have the largest cosine with those of x, each vote
#   weighted by $\exp(\cos / \tau)$ (Wu and others 2018). Nothing is trained.
#
# The probe by hand, on the features of a network that has *not* been trained:

# %%
def untrained(seed):
    torch.manual_seed(seed)
    encoder = small_vit()
    encoder.normalise_images = Normalise.of(unlabelled)  # as `fit` would do it
    return encoder

features, labels = frozen_features(untrained(0), known[0]), known[1]  # (n, D), (n,)
mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6  # (D,)
scaled = (features - mean) / std  # (n, D)
probe = nn.Linear(48, 10)
optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=budget(tiny=5, cpu=100))

def penalised():
    optimiser.zero_grad()
    loss = F.cross_entropy(probe(scaled), labels)
    loss = loss + probe.weight.square().sum() / (2 * len(labels))
    loss.backward()
    return loss

optimiser.step(penalised)
right = (probe(scaled).argmax(dim=1) == labels).float().mean()
print(f"an untrained ViT, on the frames that the probe was fitted to: {100 * right:.0f} %")

# %% [markdown]
# A network with random weights, and the probe fits a good part of its 2,000 frames. That was on the frames that it was fitted to; on others it is much
# less. But it is more than chance, and this is the point: **features need a control**. There are two, and both cost nothing: the same network *untrained*, and
# the raw *pixels* (`PIXELS` is a network whose features are the pixels). Predict before you look: which of the bars is the longest?
# *(Stored runs, three seeds: about 30 seconds each. `SimMIM` has as many steps as MAE.)*

# %%
@cache
def both(model, known, asked):
    return {"linear probe": linear_probe(model, known, asked),
            "nearest neighbours": knn(model, known, asked)}

def ways(seed):
    found = {"pixels": both(PIXELS, known, asked),
             "untrained": both(untrained(seed), known, asked)}
    for way in ("MAE, pixels", "MAE, normalised", "SimMIM"):
        found[way] = both(pretrained(way, seed)[0].encoder, known, asked)
    return found

plots.bars(over_seeds("16_self_supervision_and_multimodal/ways", ways, live=False), chance=0.1)

# %% [markdown]
# By the **linear probe**, training without labels was worth it: 29 to 35 %<!-- ways / MAE, pixels / linear probe --> (30 to 34 %<!-- ways / MAE, normalised / linear probe --> with
# normalised targets), where the untrained network has 19 to 21 %<!-- ways / untrained / linear probe --> and the pixels have 23 %<!-- ways / pixels / linear probe -->. With each seed MAE is above both. (SimMIM:
# 22 to 30 %<!-- ways / SimMIM / linear probe -->, not with each.)
#
# By **nearest neighbours** the same networks get 31 to 47 %<!-- ways / MAE, pixels / nearest neighbours --> and 41 to 49 %<!-- ways / MAE, normalised / nearest neighbours -->: much more than untrained
# (17 to 20 %<!-- ways / untrained / nearest neighbours -->). A paper could stop here. But the pixels get **89 %**<!-- ways / pixels / nearest neighbours -->. So by this test the training has *thrown away* most of what the images show.
#
# So "our features are better than pixels" is true or false, and the test decides. Why are pixels so good at *neighbours*? Look at them:

# %%
def nearest(model, count=8):
    """Of the first test frames, the frame of `known` that is most alike: (count,) places."""
    table, query = frozen_features(model, known[0]), frozen_features(model, asked[0][:count])
    mean = table.mean(dim=0)  # (D,)
    table, query = F.normalize(table - mean, dim=1), F.normalize(query - mean, dim=1)
    return (query @ table.T).argmax(dim=1)  # (B,)

found = {"by pixels": nearest(PIXELS), "by MAE": nearest(mae.encoder)}
digits_of = {name: [str(n) for n in known[1][which].tolist()] for name, which in found.items()}
digits_of["asked"] = [str(n) for n in asked[1][:8].tolist()]
shown = {"asked": asked[0][:8]} | {name: known[0][which] for name, which in found.items()}
figures.rows(shown, captions=digits_of)

# %% [markdown]
# There are 25<!-- = 5 * 5 --> places where a digit can stand, and about 80<!-- = 2000 / 25 --> labelled frames for each. A test frame nearly always has a neighbour with the same digit at the same
# place, and comparing pixels finds it. Nobody has understood what a digit is; the table of frames is just full enough. A linear layer on pixels cannot use that: it would need one template that
# fits at all 25 places. *The two tests ask different things*: are the neighbours right, and: does one direction in feature space stand for a class?
#
# And the *question* decides as well. Here is MAE on the images of lecture 3, in colour, 32 × 32, with 75 % hidden; then both tests for both questions:
# which way do the stripes run (texture), and where is the ring, seen from the plus (relation)? *(Stored runs: about a minute each.)*

# %%
@cache
def on_two_questions(seed):
    torch.manual_seed(seed)
    encoder = create_model("vit_cifar", embed_dim=48, depth=3, num_heads=4, num_classes=0)
    model = MAE(encoder, decoder_dim=48, decoder_depth=1, decoder_heads=4)  # hides 75 %
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=400), lr=2e-3, seed=seed)
    images = load("two_questions", size=budget(tiny=60, cpu=4000), device="cpu").images
    fit(model, images, recipe, plot=False, progress=False)
    return encoder

@cache
def sets(question):
    sizes = {"train": budget(tiny=60, cpu=2000), "test": budget(tiny=40, cpu=1000)}
    return [load("two_questions", split, size=size, label=question, device="cpu")
            for split, size in sizes.items()]

def turned(seed):
    found = {}
    for name, model in {"pixels": PIXELS, "MAE": on_two_questions(seed)}.items():
        for question in ("texture", "relation"):
            for way, right in both(model, *sets(question)).items():
                found.setdefault(f"{name}, {way}", {})[question] = right
    return found

results = over_seeds("16_self_supervision_and_multimodal/turned", turned, live=False)
plots.bars(results, chance=0.1)

# %% [markdown]
# All that can turn has turned. For *texture*, a linear probe gets 12 %<!-- turned / pixels, linear probe / texture --> from pixels and
# 59 to 73 %<!-- turned / MAE, linear probe / texture --> from MAE: to fill in hidden patches, it has to know which way the stripes run. By neighbours pixels have
# 84 %<!-- turned / pixels, nearest neighbours / texture --> and MAE 26 to 38 %<!-- turned / MAE, nearest neighbours / texture -->. For *relation*, a linear layer on pixels gets
# 59 %<!-- turned / pixels, linear probe / relation -->, since the place of something red is nearly linear in pixels, and MAE is at chance (10 to 11 %<!-- turned / MAE, linear probe / relation -->). Is it lost? No:
# where plus and ring are stands in the tokens at their places. The class token has not collected it, as nothing asked for it. (In a try of ours, a probe on all tokens, averaged to 4 × 4 places, got 67 of 100.)
#
# **What a linear probe proves** is that what was asked can be read from the features *by a linear layer*: the network has laid it open.
# It does not prove that the network needed training for it (ask an untrained one), that the images did not have it open already (ask the pixels),
# that what is not read is not there (it may be there, and not linear; or at its places, where the class token has not collected it), or that fine-tuning would come to
# the same ranking. On ImageNet it does not: DINO's ViT-B gets 78.2 % by a linear probe and 82.8 % fine-tuned, SimMIM's 56.7 and 83.8 % (Xie
# and others 2022, table 6). By the first test DINO is far ahead, by the second it is behind.
#
# **Question 16.1** On the handwritten digits themselves (`load("digits")`, 8 × 8 pixels, in the middle), neighbours by raw pixels are right in 98.7 %
# of cases. (Figure of our own test of this set: `knn(PIXELS, load("digits"), load("digits", "test"))`.) A method reports 99.0 % there. What do you learn about the method?
#
# <details><summary>Answer</summary>
#
# Nothing. There is no room left above the control, and a few tenths are a handful of test images. Choose questions on which pixels fail.
# </details>
#
# ## 3 · DINO: agreeing with oneself
#
# Filling in is one way to make a task out of images. Another: two **views** of one image, cut, turned or coloured differently, show *the same thing*. So
# a network should say the same of both. Here are views of the digits:

# %%
digits = load("digits", size=budget(tiny=60, cpu=1400), device="cpu")
inked = F.pad(digits.images, (1, 1, 1, 1))  # (N, 1, 10, 10), uint8

def view(images):
    """Turned, moved, scaled, lighter or darker, with noise: (B, 1, H, W) -> the same."""
    B = len(images)
    turn, scale = 0.6 * torch.rand(B) - 0.3, 0.7 + 0.45 * torch.rand(B)  # (B,), (B,)
    move = 0.4 * torch.rand(B, 2) - 0.2  # (B, 2)
    rows = [[scale * turn.cos(), -scale * turn.sin(), move[:, 0]],
            [scale * turn.sin(), scale * turn.cos(), move[:, 1]]]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B, 2, 3)
    grid = F.affine_grid(theta, images.shape, align_corners=False)  # (B, H, W, 2)
    moved = F.grid_sample(images.float(), grid, align_corners=False)
    return moved * (0.7 + 0.6 * torch.rand(B, 1, 1, 1)) + 25 * torch.randn(images.shape)

pairs = {name: view(inked[:8]).clamp(0, 255) / 255 for name in ("one view", "another")}
figures.rows({"image": inked[:8]} | pairs)

# %% [markdown]
# **DINO** (Caron and others 2021: self-*di*stillation with *no* labels) has a network twice. The **student** learns by gradient. The **teacher**
# has the same form, and its weights are a running mean of the student's: $\theta_t \leftarrow \lambda \theta_t + (1 - \lambda) \theta_s$. Both end in K
# **prototypes**: unit vectors, whose cosines with the features become a distribution over K "classes" that nobody has defined. The student's answer to one view
# learns from the teacher's answer to the *other*:
#
# $$L = -\sum_k P_t(x_1)_k \log P_s(x_2)_k, \qquad P_t(x) = \mathrm{softmax}\!\left(\frac{g_t(x) - c}{\tau_t}\right), \quad P_s(x) = \mathrm{softmax}\!\left(\frac{g_s(x)}{\tau_s}\right)$$
#
# No gradient goes into $P_t$. $c$ is the **centre**, the running mean of the teacher's logits over all images, and $\tau_t < \tau_s$. By hand, with two views of four images:

# %%
student, teacher = torch.randn(2, 4, 5), torch.randn(2, 4, 5)  # logits (views, B, K)
centre = teacher.mean(dim=(0, 1))  # (K,)
target = ((teacher - centre) / 0.04).softmax(dim=-1)  # (2, B, K)
answer = (student / 0.1).log_softmax(dim=-1)  # (2, B, K)
by_hand = -(target[0] * answer[1] + target[1] * answer[0]).sum(dim=-1).mean() / 2
print(f"{by_hand:.5f} {dino_loss(list(student), list(teacher), centre, 0.1, 0.04):.5f}")

# %% [markdown]
# The same number twice. Now the trap. Nothing in this loss says that *different* images should get different answers. A network that says the same of
# everything agrees with itself perfectly. This is **collapse**, and there are two kinds:
#
# * *one prototype* takes everything: the answers are sharp, and all alike;
# * *all prototypes* get the same share: the answers are flat, and all alike.
#
# DINO has one remedy against each. **Sharpening** (a low $\tau_t$) makes the teacher's answers decided: against the flat kind, and towards the first. **Centring** takes off what
# is said of all images: against the first kind, and towards the flat one. Together they hold each other. One answer of the teacher, for K = 8:

# %%
logits = torch.tensor([0.55, 0.5, 0.45, 0.4, 0.9, 0.35, 0.3, 0.5])  # (K,), of one image
usual = torch.tensor([0.5, 0.3, 0.4, 0.4, 0.85, 0.4, 0.3, 0.4])  # (K,), mean of all images
figures.answers({
    "temperature 1": logits.softmax(0), "temperature 0.1": (logits / 0.1).softmax(0),
    "temperature 0.02": (logits / 0.02).softmax(0),
    "0.02, centred": ((logits - usual) / 0.02).softmax(0)})

# %% [markdown]
# From left to right: flat; decided, by a lower temperature; more decided. But prototype 4 is what the teacher says of *all* images. With the centre taken off, what
# is special about *this* image wins: prototype 1.
#
# How can one see collapse? By the loss one cannot: a collapsed network has a low loss or a constant one. The measure is the **mutual information** between image and
# answer: how decided the single answers are, and how different they are between images. With the entropy $H(p) = -\sum_k p_k \log p_k$:
#
# $$I = H\big(\mathbb{E}_x\, p(x)\big) - \mathbb{E}_x\, H\big(p(x)\big) \qquad (0 \le I \le \log K)$$
#
# One prototype for all: both terms are 0. All flat: both are $\log K$. Either way I = 0.

# %%
class Encoder(nn.Sequential):
    """(B, 1, 10, 10) -> (B, 64): an MLP is enough for digits that lie in the middle."""

    num_features = 64

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(100, 128), nn.LayerNorm(128), nn.GELU(),
                         nn.Linear(128, 64), nn.GELU())

@torch.no_grad()
def entropies(model, images):
    """Of the mean answer, and the mean of the answers': H(E p) and E H(p), in nats."""
    (logits,) = model.teacher_logits([model.normalise_images(images)])  # (N, K)
    p = ((logits - model.centre) / model.teacher_temp).softmax(dim=-1)  # (N, K)
    H = lambda q: -(q * q.clamp(min=1e-12).log()).sum(dim=-1)
    return H(p.mean(dim=0)).item(), H(p).mean().item()

# %%
def train_dino(encoder, images, steps, **options):
    """DINO's training, and the two entropies ten times on the way: (10, 2)."""
    options = {"momentum": 0.99, "teacher_temp": 0.02} | options
    model = DINO(encoder, prototypes=32, hidden=64, bottleneck=32, **options)
    model.normalise_images = normalise = Normalise.of(images)
    learned = [p for p in model.parameters() if p.requires_grad]  # the student's
    optimiser = torch.optim.AdamW(learned, lr=3e-3, weight_decay=0)
    rate = lambda step: min(1, (step + 1) / 60) * (1 + math.cos(math.pi * step / steps)) / 2
    schedule, curve = torch.optim.lr_scheduler.LambdaLR(optimiser, rate), []
    for step in range(steps):
        batch = images[torch.randint(len(images), (128,))]  # (B, 1, H, W)
        loss = model([normalise(view(batch)), normalise(view(batch))])  # a scalar
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        model.after_step(step, steps)  # the teacher follows
        if (step + 1) % max(1, steps // 10) == 0:
            curve.append(entropies(model, images))
    return model, torch.tensor(curve)

# %%
ARMS = {"centre and sharpen": {}, "no centre": {"centre_momentum": 1.0},
        "no sharpening": {"teacher_temp": 1.0}, "teacher follows at once": {"momentum": 0.0}}

@cache
def dino(arm, seed):
    torch.manual_seed(seed)
    return train_dino(Encoder(), inked, budget(tiny=2, cpu=400), **ARMS[arm])

def collapse(seed):
    found = {}
    for arm in ARMS:
        of_mean, of_each = dino(arm, seed)[1].T  # (10,) each
        found[arm] = {"of the mean": of_mean, "of each": of_each,
                      "information": of_mean - of_each,
                      "in the end": of_mean[-1] - of_each[-1]}
    return found

collapsed = over_seeds("16_self_supervision_and_multimodal/collapse", collapse)
tenths = range(1, 1 + len(collapsed["no centre"]["information"][0]))
drawn = {title: (tenths, {arm: collapsed[arm][key] for arm in ARMS})
         for title, key in (("of the mean answer", "of the mean"),
                            ("of each answer, mean", "of each"),
                            ("their difference", "information"))}
panels(drawn, xlabel="tenth of the training", ylabel="entropy, nats",
       level=("log 32", math.log(32)))

# %% [markdown]
# Without the centre: both entropies go to 0, one prototype for all. Without sharpening: both stay at log 32, all alike. The information is 0.00<!-- collapse / no centre / in the end -->
# in the one case and 0.00<!-- collapse / no sharpening / in the end --> in the other, with every seed. With both, the answers become decided (the line falls in the second panel) and stay different (it falls less in the first), and the information
# grows to 1.35, 1.44 and 1.54<!-- collapse / centre and sharpen / in the end --> nats: as much as about 4<!-- = 2.718 ** 1.44 --> equally frequent classes, each answered with certainty. All 32 would be log 32 = 3.47.
#
# The last arm is a surprise to many: centre and sharpening are there, but the teacher starts with $\lambda = 0$, so it *is* the student of one step ago. It jumps from one collapsed answer to the next, and ends at
# 0.00<!-- collapse / teacher follows at once / in the end -->. The slow teacher is no luxury.
#
# And what do the prototypes stand for? For the healthy run, how many images of each digit (columns) went to the ten busiest prototypes:

# %%
model = dino("centre and sharpen", seed=0)[0]
logits = model.teacher_logits([model.normalise_images(inked)])[0] - model.centre  # (N, K)
counts = torch.zeros(32, 10).index_put_(
    (logits.argmax(dim=1), digits.labels), torch.ones(len(inked)), accumulate=True)  # (K, 10)
busy = counts.sum(dim=1).argsort(descending=True)[:10]  # (10,): those with most digits
names = [f"prototype {k}" for k in busy.tolist()]
plots.matrices({"how many images": counts[busy]}, rows=names, columns=[*"0123456789"])

# %% [markdown]
# RESULTPROTO
#
# **Question 16.2** Put `"momentum": 0.9` into an arm of your own, `{"momentum": 0.9}`. The last arm had 0 and the healthy one has 0.99. What do you expect?
#
# <details><summary>Answer</summary>
#
# It collapses, with all three seeds of ours: an information of 0.00, 0.02 and 0.04 nats, all prototypes alike (one run takes 3 seconds). A teacher that follows too quickly
# is no fixed point to learn from: student and teacher slide together. The paper's momentum is 0.996.
# </details>
#
# > **What slides get wrong here.** DINO's picture shows a teacher above a student, and "knowledge distillation" is read as in lecture 7: a *better* network teaches. This teacher
# > has never learned anything. It is the student's own past, smoothed. Nor are there negative pairs: other images push nothing away, as they do in contrastive
# > learning (section 6). Only centring and sharpening stand between it and collapse.
#
# ## 4 · Attention as a mask, and what remains to be shown
#
# The picture that made DINO famous is neither a loss nor an accuracy: the attention of the class token in the last layer covers the object (figure 1 of the paper), and no mask was ever
# learned from. As a measure: take for each head the fewest patches that hold 60 % of its attention, and compare with the true mask by **IoU**, intersection over union (figure 4 of the paper: 45.9 for DINO's ViT-S
# on VOC, 27.3 for the same network trained with labels, 22.0 with random weights).
#
# $$\mathrm{IoU}(A, B) = \frac{|A \cap B|}{|A \cup B|}$$
#
# Can we do that here? We need true masks. A clip shows the digit five times, moving by one pixel a frame; moved back and averaged, the frames show it almost without noise:

# %%
def glyphs(split, size):
    """Middle frames (B, 1, H, W), and where their digit lies, bool (B, H, W)."""
    clips = load("digit_video", split, size=size, label="motion", device="cpu")
    means = []
    for clip, motion in zip(clips.images / 255, clips.labels.tolist()):  # (T, 1, H, W)
        x, y = list(MOTIONS.values())[motion]
        shifted = [clip[t, 0].roll(((2 - t) * y, (2 - t) * x), (0, 1)) for t in range(5)]
        means.append(torch.stack(shifted).mean(dim=0))  # (H, W), with half of the noise
    return clips.images[:, 2], torch.stack(means) > 0.3

shown, truth = glyphs("test", budget(tiny=20, cpu=300))
to_choose, truth_to_choose = glyphs("train", budget(tiny=20, cpu=300))
figures.rows({"frame": shown[:8], "the digit": shown[:8]}, painted={"the digit": truth[:8]})

# %% [markdown]
# Now the class token's attention, as a mask. Heads differ, so one is chosen, on *other* frames than those on which it is judged.

# %%
def masks(encoder, images):
    """Of each head of the last layer, bool (B, heads, H, W)."""
    return attention_masks(attention_weights(encoder, images)[-1], size=(16, 16))

def best_head(encoder):
    """Which head fits best on frames for choosing, and its IoU on the others."""
    overlap = iou(masks(encoder, to_choose), truth_to_choose[:, None]).mean(dim=0)  # (heads,)
    head = overlap.argmax()
    return head, iou(masks(encoder, shown)[:, head], truth).mean().item()

encoders = {"untrained": untrained(0), "MAE": mae.encoder}
painted = {name: masks(each, shown)[:8, best_head(each)[0]] for name, each in encoders.items()}
figures.rows({"frame": shown[:8], "untrained": shown[:8], "MAE": shown[:8]}, painted=painted)

# %% [markdown]
# Blue is what the head looks at. The untrained head looks at the same places in every frame, whatever is there. MAE's head follows the digit, in squares of 4 × 4 pixels; no finer mask is possible with
# these patches.
#
# The comparison, with the controls that a picture does not show: an untrained network; the same network trained *with* labels; DINO's training on these frames (150 steps); and no
# network at all, but "brighter than a threshold", chosen on the same frames as the heads. *(Stored runs: about 25 seconds each.)*

# %%
@cache
def with_labels(seed, count, start=None):
    """A ViT that learns digits from so many labels, from an encoder or from nothing."""
    torch.manual_seed(seed)
    model = small_vit()
    if start is not None:
        model.load_state_dict(pretrained(start, seed)[0].encoder.state_dict())
    model.reset_classifier(10)
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=120), lr=2e-3, seed=seed)
    fit(model, (known[0][:count], known[1][:count]), recipe, plot=False, progress=False)
    return model

def attended(seed):
    encoders = {"untrained": untrained(seed),
                "MAE": pretrained("MAE, pixels", seed)[0].encoder,
                "with labels": with_labels(seed, 2000)}
    torch.manual_seed(seed)
    encoders["DINO"] = train_dino(small_vit(), unlabelled, budget(tiny=2, cpu=150))[0].teacher
    return {name: {"IoU": best_head(each)[1]} for name, each in encoders.items()}

overlaps = over_seeds("16_self_supervision_and_multimodal/attended", attended, live=False)
cuts = [0.2, 0.3, 0.4, 0.5, 0.6]
by_cut = [iou(to_choose[:, 0] / 255 > cut, truth_to_choose).mean().item() for cut in cuts]
cut = cuts[by_cut.index(max(by_cut))]  # chosen on the same frames as the heads
bright = iou(shown[:, 0] / 255 > cut, truth).mean().item()
share = F.avg_pool2d(truth[:, None].float(), 4)  # (B, 1, 4, 4): how much of a patch is digit
best = F.interpolate((share > 0.25).float(), scale_factor=4)[:, 0] > 0  # bool (B, H, W)
controls = {f"brighter than {cut}": bright, "right patches": iou(best, truth).mean().item()}
plots.bars(overlaps | {name: {"IoU": value} for name, value in controls.items()})

# %% [markdown]
# MAE's attention has an IoU of 0.31 to 0.32<!-- attended / MAE / IoU -->, twice that of the untrained network (0.11 to 0.16<!-- attended / untrained / IoU -->), and the right patches, chosen with the true mask, would have 0.43. So
# the picture is no accident: the digit is what helps to fill in the rest. But see the other bars. Training *with* labels brings nearly the same (0.27 to 0.31<!-- attended / with labels / IoU -->), so this is no privilege of self-supervision here.
# DINO, at this size, hardly beats the untrained network (0.15 to 0.19<!-- attended / DINO / IoU -->): 150 steps are not enough for its ViT, and we do not see here what the paper saw on ImageNet. And a
# **threshold on brightness** gets 0.91. On photographs a threshold would fail; on our frames it is the control that ends the discussion. A mask from attention says something about the *network*. As a method, compare it with the
# simplest method there is.
#
# ### Few labels: what is pre-training for?
#
# The decks quote two kinds of accuracy for pre-trained networks. **Fine-tuning**: all weights go on learning, on all labels of the new task. **Few-shot**: the network is frozen, and
# a linear layer is fitted to a few images of each class. The ViT paper uses few-shot, by least squares in closed form, "for fast on-the-fly evaluation" (Dosovitskiy and others 2021, section 4.1). Both, and
# learning from nothing, over the number of labels. *(Stored runs: about 30 seconds each.)*

# %%
COUNTS = (50, 200, 2000)

def few(seed):
    found = {}
    for way, start in {"from nothing": None, "fine-tuned from MAE": "MAE, normalised"}.items():
        found[way] = [evaluate(with_labels(seed, count, start), asked) for count in COUNTS]
    encoder = pretrained("MAE, normalised", seed)[0].encoder
    for name, model in {"MAE": encoder, "pixels": PIXELS}.items():
        found[f"linear probe on {name}"] = [
            linear_probe(model, (known[0][:n], known[1][:n]), asked) for n in COUNTS]
    return found

plots.curves(COUNTS, over_seeds("16_self_supervision_and_multimodal/few", few, live=False),
             xlabel="labels", ylabel="accuracy", log="x")
