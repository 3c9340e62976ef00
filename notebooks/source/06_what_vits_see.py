# %% [markdown]
# # 6 · What ViTs see
#
# | | |
# |---|---|
# | **You will understand** | eight ways to look into a trained ViT, what each of them measures, what the papers found with it, and what it cannot tell |
# | **You need** | [5 · The vision transformer](05_vision_transformer.ipynb): patches, class token, learned positions, blocks |
# | **It takes** | {reading time}; all cells together run in about a minute and a half on two CPU cores |
# | **Before · after** | [5 · The vision transformer](05_vision_transformer.ipynb) · **6 · What ViTs see** · 7 · Training with less data |
# | **Homework** | [hw2 · Vision transformer](../assignments/hw2_vit/hw2_vit.ipynb): there you build two of these measures yourself |

# %% tags=["setup"]
import torch
from collections import OrderedDict
from einops import reduce, repeat
from torch import nn
from course import budget, plots, setup
from course.analysis import (attention_weights, cka, mean_attention_distance, most_exciting, occlusion,
                             position_similarity, principal_filters, receptive_fields, rollout_maps, shuffling)
from course.analysis import plots as pictures
from course.data import load
from course.figures import what_vits_see as figures
from course.knobs import turn
from course.models import compare, create_model
from course.models.stems import sinusoidal_2d
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 1 · Four networks to look into
#
# A trained network is a pile of numbers that answers well. *Why* does it? There are many ways to look, and
# each gives a fine picture. A picture convinces easily, so in this lecture every tool is tried on something
# whose answer we know: on heads written by hand, on networks that have **not** been trained, on images whose
# question we made ourselves. Then it stands beside what the paper found on millions of photographs.
#
# We look into four networks: a ViT and a CNN, each trained once for each of the two questions of
# `two_questions` (lecture 3). *Texture* is local, *relation* is global. The ViT is lecture 5's, for small images;
# what is different from ViT-B/16 are sizes and nothing else:

# %%
compare("vit_b16", "vit_cifar")

# %% [markdown]
# And we make it smaller still, 4 blocks of width 64:

# %%
def small_vit(start="waves"):
    """Images (B, 3, 32, 32) -> logits (B, 10): 64 patches of 4 × 4, D = 64, 4 heads, 4 blocks."""
    torch.manual_seed(0)
    model = create_model("vit_cifar", depth=4, embed_dim=64, num_heads=4, num_classes=10)
    position = model.stages[0].entry.position.data  # (1 + N, D); learned, wherever it starts
    if start == "waves":
        position[1:] = sinusoidal_2d((8, 8), 64)
    else:
        position[1:].normal_(std=0.5)
    return model

# %% [markdown]
# Lecture 3 has shown why the positions do not start at the usual 0.02: in so short a training they would not
# get off the ground. The CNN is six 3×3 convolutions, two of them with stride 2:

# %%
def small_cnn():
    """Images (B, 3, 32, 32) -> logits (B, 10), with about half as many parameters."""
    torch.manual_seed(0)

    def layer(channels, width, stride=1):
        convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        return Layer(convolution, nn.BatchNorm2d(width), nn.ReLU())

    widths = [(3, 16), (16, 32, 2), (32, 32), (32, 64, 2), (64, 64), (64, 64)]
    layers = OrderedDict((f"conv{i}", layer(*sizes)) for i, sizes in enumerate(widths, start=1))
    head = {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(64, 10)}
    return nn.Sequential(layers | head)

class Layer(nn.Sequential):
    """Convolution, norm and ReLU, looked at as one."""

# %% [markdown]
# **Predict.** In lecture 3 a CNN that saw 9 pixels could not answer *relation*. Add up what this one sees
# (each 3×3 layer adds 2 pixels times the strides before it): 3, 5, 9, 13, 21, 29 pixels. Will it?
#
# *(Price: four trainings, together under two CPU-minutes, that is under a minute on two cores; GPU: not measured.)*

# %%
train = load("two_questions", "train", size=budget(tiny=200, cpu=5000))
test = load("two_questions", "test", size=budget(tiny=60, cpu=500))
steps = {("ViT", "relation"): 250, ("ViT", "texture"): 110,
         ("CNN", "relation"): 120, ("CNN", "texture"): 80}
nets, right = {}, {"ViT": {}, "CNN": {}}
for (kind, question), count in steps.items():
    net = nets[kind, question] = small_vit() if kind == "ViT" else small_cnn()
    recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=count))
    fit(net, train.ask(question), recipe, plot=False)
    right[kind][question] = evaluate(net, test.ask(question))
plots.bars(right, chance=0.1)

# %% [markdown]
# All four answer their question. The ViT answers *relation* a little less well: keep that in mind where the two are
# compared.
#
# ## 2 · The first layer: what does it look for?
#
# The patch embedding is a linear map: D = 64 rows of C·P·P = 48 weights. Each row has the form of a patch, so
# it can be drawn as one. 64 little pictures are many, and most of them are mixtures; **principal components**
# are the few pictures they are mixtures of, the most important first.
#
# ViT's paper draws the first 28 of a ViT-L/32 trained on millions of images: smooth blobs, bars and gratings in
# several directions, like what the first layer of a CNN learns (Dosovitskiy et al. 2021, figure 7, left).
#
# **Predict.** Of the rows a, b and c below one is our *texture* ViT, one our *relation* ViT, and one has learned
# nothing. Which is which?

# %%
vit, cnn = nets["ViT", "relation"], nets["CNN", "relation"]
untrained = small_vit().eval()  # for comparison: exactly as it was before its first step
untrained.normalise_images = vit.normalise_images
three = {"a": nets["ViT", "texture"], "b": untrained, "c": vit}
found = {name: principal_filters(net) for name, net in three.items()}  # components (48, C, P, P)
first = {name: f.components[:8] for name, f in found.items()}
largest = {name: c.abs().amax(dim=(1, 2, 3), keepdim=True) for name, c in first.items()}
figures.rows_of_images({name: 0.5 + 0.5 * c / largest[name] for name, c in first.items()})  # grey is 0

# %% [markdown]
# In row a the first components are almost *grey*, the same in red, green and blue: stripes are in the brightness,
# noise is in each colour for itself. It is the texture ViT. Rows b and c both look like noise, and only c has been
# trained, on *relation*. The eye wants a number: how much of all variance do the first
# components hold together? If training had found a few good pictures, the curve would rise steeply.

# %%
names = {"a": "texture ViT", "b": "untrained", "c": "relation ViT"}
figures.shares_of_components({names[name]: f.shares for name, f in found.items()})

# %% [markdown]
# Hardly anything has happened to these filters. That is no failure of the network, which answers well: random
# filters lose nothing (48 numbers go in, 64 come out), and the layers behind them can work with that. So:
#
# * *our* pictures show that the texture ViT began to look at brightness, and nothing more;
# * that the paper's show gratings is a fact about *long* trainings on photographs, not about patch embeddings.
#
# (A slide on this topic says that the filters look like "CNN feature maps". Filters are weights; feature maps
# are what comes out. It is the *filters* of a CNN's first layer that they resemble.)

# %% [markdown]
# ## 3 · Positions: learned, or put there?
#
# ViT's position table is learned, one row of D numbers a patch. The paper draws how alike they are: the cosine
# of one row with all others, laid out as the image, for every patch. What comes out there is a grid again: near
# positions are alike, and so are those of the same row and the same column (figure 7, centre). Nobody told that
# ViT that its tokens had been a grid. Ours:

# %%
pictures.position_maps(position_similarity(vit))

# %% [markdown]
# Each small map belongs to the position with the dot. Dark where alike: around the dot, along its row, along its
# column. Just as in the paper! But ours *started* as waves, which are built to be alike when near. Before we
# write "the network has learned the grid", we look at what there was before the first step. Below: the cosine
# of all pairs of positions, over their distance.

# %%
random_start = small_vit(start="random")
tables = {"waves, before": untrained, "waves, trained": vit, "random, before": random_start}
figures.cosine_over_distance({name: position_similarity(net) for name, net in tables.items()})

# %% [markdown]
# The two upper curves nearly coincide. Training has spread the positions a little, and that is all: **what the
# map shows is what was put in.** A control like this takes one line, and without it the picture would have
# misled us.
#
# **Question 6.1** What will a network *learn* that starts from random positions? Train it and draw its line:
# set `start` to `"random"` in the cell below. Will it answer *relation*? Will near positions become alike?

# %%
start = "waves"
if start == "random":
    net = small_vit(start)
    fit(net, train.ask("relation"), recipes.cpu_minute.but(steps=300), val=test.ask("relation"))
    tables["random, trained"] = net
figures.cosine_over_distance({name: position_similarity(net) for name, net in tables.items()})

# %% [markdown]
# <details><summary>Answer</summary>
#
# In our run it was right in 87 of 100 new images after 300 steps, so it knows very well where things are. The
# mean cosine of neighbours rose from −0.01 to 0.05, which you cannot see in the curve. A table of 64 unrelated
# codes is a perfectly good table: each position has a name, and nothing asks that near ones have similar names.
# The smooth maps of the paper come from a long training on images in which near patches *are* similar.
# </details>

# %% [markdown]
# ## 4 · How far does a head look?
#
# The **mean attention distance** of a head is the distance, in pixels, from a patch to the patches it looks at,
# averaged with its attention as weights. It is the attention layer's answer to the receptive field. Heads
# written by hand first, on a grid of 8 × 8 patches of 4 pixels: one looks at itself, one at its
# neighbourhood, one at everything alike, and one at a far corner only.

# %%
place = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))  # (N, 2): row, column
apart = torch.cdist(place, place)  # (N, N), in patches
heads = {"itself": torch.eye(64), "near": (apart < 1.5).float(), "all alike": torch.ones(64, 64),
         "one corner": (torch.arange(64) == 7).float().expand(64, -1)}
heads = {name: head / head.sum(dim=1, keepdim=True) for name, head in heads.items()}  # rows sum to 1
distances = mean_attention_distance([torch.stack(list(heads.values()))[None]], 32)[0]  # (heads,), in pixels
figures.by_hand(heads, 42, [f"{distance:.1f} pixels" for distance in distances])

# %% [markdown]
# So 0 is "itself" and about half of the image's side is "everything alike". Turn the width of a Gaussian head
# and watch its distance go from one to the other:

# %%
def gaussian_head(width):
    head = (-apart.square() / (2 * width**2)).softmax(dim=1)  # (N, N)
    distance = mean_attention_distance([head[None, None]], 32)[0]
    return figures.by_hand({f"width {width:g}": head}, 42, [f"{distance.item():.1f} pixels"])

turn(gaussian_head, width=[1.0, 0.3, 0.5, 2.0, 4.0, 8.0])

# %% [markdown]
# In the paper's ViT-L/16 some heads of the first layers already look across most of the image while others
# stay near, and with depth all look far (figure 7, right; section 4.5). Raghu et al. (2021, figures 3 and 4)
# add a condition: with less training data the early heads that stay *near* are missing.
#
# **Predict.** Our images are small and few. Where will the heads of *our* layers lie, near 0 or near the dotted
# line? And where those of the untrained ViT?

# %%
looked_at = test.images[:budget(tiny=10, cpu=100)]
weights = {"trained": attention_weights(vit, looked_at),
           "untrained": attention_weights(untrained, looked_at)}  # each a list of (B, heads, 1 + N, 1 + N)
far = {name: mean_attention_distance(layers, 32) for name, layers in weights.items()}  # a list of (heads,)
figures.heads_over_depth(far, ylabel="attention distance, pixels", level=("all alike", distances[2].item()))

# %% [markdown]
# All of them lie on the dotted line or next to it, trained or not. Two lessons:
#
# * **A large distance is what you start with.** A fresh ViT looks everywhere alike, so it is as "global" as can
#   be and understands nothing. (A slide concludes from wide attention in early layers that they have a "global
#   understanding". The distance cannot show that. What training has to *learn* is to look near, and that is
#   what Raghu et al. see missing with little data.)
# * **Our question rewards no distance.** Plus and ring lie anywhere. Looking at the plus, wherever it is, is on
#   average as far as looking anywhere.
#
# So has the network learned to look at all? Count how many patches a head looks at: e to the power of its
# entropy, which is 64 for 64 patches alike and 1 for a single one. For the class token, which reads the answer:

# %%
def patches_seen(layers):
    """For each layer (B, heads, 1 + N, 1 + N) -> (heads,): e^entropy of what the class token looks at."""
    of_class = [layer[:, :, 0].clamp(min=1e-12) for layer in layers]  # (B, heads, 1 + N)
    return [(-(w * w.log()).sum(dim=-1)).exp().mean(dim=0) for w in of_class]

seen = {name: patches_seen(layers) for name, layers in weights.items()}
figures.heads_over_depth(seen, ylabel="tokens that the class token looks at", level=("all alike", 65))

# %% [markdown]
# Now they are apart as day and night: the untrained heads look at everything, most of the trained ones of the first
# layer at no more than three tokens. The same weights, another summary. **A mean hides what it is not asked.**
# Which patches? Turn the layer and the token that looks (the first one holds the plus, the second the ring):

# %%
image = test.images[3]
colour = reduce(image.float(), "c (r p) (s q) -> c (r s)", "mean", p=4, q=4)  # (C, N)
plus, ring = (colour[0] - colour[2]).argmax().item(), (colour[2] - colour[0]).argmax().item()
of_image = attention_weights(vit, image[None])  # for each layer (1, heads, 1 + N, 1 + N)

def where(layer, query):
    return pictures.patch_attention(image, of_image[layer - 1][0], query)

turn(where, layer=[1, 2, 3, 4], query=[plus, ring, 0, 27, 63])

# %% [markdown]
# ## 5 · Rollout: where does the answer come from?
#
# A map like that is one head of one layer. The class token of layer 4 looks at tokens that have themselves
# looked around in layers 3, 2 and 1. **Attention rollout** (Abnar & Zuidema 2020, section 3) follows all these
# paths: each layer passes on half of what it gathered and half of what was there (the path around it), and
# the shares of all layers are multiplied through. You build it in homework 2; here we use it. Below each image
# is a square for each patch, its area the share of that patch in the class token at the end.

# %%
pictures.rollout_on_images(test.images[:5], rollout_maps(attention_weights(vit, test.images[:5])))

# %% [markdown]
# The large squares lie on the plus and on the ring: it has found, without being told, the two things that the
# question is about. Now the same for the *texture* ViT, for which plus and ring are nothing but a nuisance:

# %%
texture_vit = nets["ViT", "texture"]
pictures.rollout_on_images(test.images[:5], rollout_maps(attention_weights(texture_vit, test.images[:5])))

# %% [markdown]
# Everywhere a little: any window shows the stripes. (Mind the numbers below the maps: each map is stretched to
# its own largest square.)
#
# ### Is it true?
#
# Rollout uses attention weights alone; what values, MLPs and norms do is left out. So it is a guess about
# causes, and a guess can be tested: **take away the patches that it names** and see whether the answer is lost
# faster than with patches taken at random. Abnar & Zuidema did such a test with words.
#
# **Predict.** 16 of 64 patches are taken away, at random or by rollout. How many answers are left?

# %%
def by_rollout(model, images):
    """Saliency (B, H, W) of normalised images (B, C, H, W)."""
    stored = model.normalise_images.undo(images)
    shares = rollout_maps(attention_weights(model, stored))  # (B, 8, 8)
    return shares.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)

few = test.ask("relation").subset(budget(tiny=20, cpu=200))
gone = [0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]  # of the 64 patches
lost = {
    "at random": occlusion(vit, few, gone),
    "what rollout names first": occlusion(vit, few, gone, order="salient", saliency=by_rollout),
    "what the gradient names first": occlusion(vit, few, gone, order="salient"),
    "what the gradient names last": occlusion(vit, few, gone, order="non-salient"),
}
pictures.occlusion_curves(gone, lost, chance=0.1)

# %% [markdown]
# Rollout passes the test: four patches of its choice (6 %) cost more than half of the image at random. The gradient
# of the answer does know about values and MLPs, and does no better here. And the upper line is the most telling:
# half of the image can go at no cost, if it is the right half.
#
# **Question 6.2** Put `"texture"` for `"relation"` and `texture_vit` for `vit` in the cell above. There the squares of
# rollout were nearly of one size. So will its line fall like the random one?
#
# <details><summary>Answer</summary>
#
# At first. With a quarter gone 98 % are left at random and 86 % by rollout: every patch shows the stripes, and no few
# of them are needed. With half of them gone it is 82 % and 23 %. So the small differences between the squares did
# mean something: in the patches with the larger shares the stripes are clearer. What the picture cannot say
# is *how much* they mean; the test can.
# </details>

# %% [markdown]
# ## 6 · Do a ViT and a CNN see alike?
#
# Layers of two networks cannot be compared number by number: one has 65 tokens of 64 numbers, the other 64 maps
# of 8 × 8, and nobody says which number belongs to which. **CKA** asks a question that needs no such
# matching: *which images are alike to this layer?* For n images, that is a matrix (n, n), the dot products of
# their features. Here for 40 images, sorted by the answer to *relation*:

# %%
from course.analysis.cka import centred_gram
from course.analysis.features import prepared, recorded

order = test.ask("relation").labels[:40].argsort()
forty = test.images[:40][order]
grams = {}
for title, net, layer in [("ViT, block 4", vit, "stages.0.blocks.3"), ("CNN, conv 6", cnn, "conv6"),
                          ("texture ViT, block 4", texture_vit, "stages.0.blocks.3")]:
    with recorded(net, [layer]) as kept, torch.no_grad():
        net(prepared(net, forty))
    grams[title] = centred_gram(kept[layer])  # (n, n)
plots.matrices(grams, numbers=False)

# %% [markdown]
# ViT and CNN, built so differently, are both blue along the diagonal: to both, images with the same answer or with
# neighbouring ones are alike (and the first and last answers are neighbours too: directions go round). To the
# texture ViT the same images are alike in quite another way. CKA is
# nothing but the cosine of two such matrices, read as long vectors. So it is 1 for the same features turned or
# scaled, which no network could care about:

# %%
def cka_of(a, b):
    return ((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()).item()

x = torch.randn(40, 24)  # features (n, D)
turned = 7 * x @ torch.linalg.qr(torch.randn(24, 24)).Q  # another basis, another scale
first, second, third = grams.values()
{"x, turned and scaled": round(cka_of(centred_gram(x), centred_gram(turned)), 3),
 "x, other random features": round(cka_of(centred_gram(x), centred_gram(torch.randn(40, 24))), 2),
 "ViT, CNN": round(cka_of(first, second), 2), "ViT, texture ViT": round(cka_of(first, third), 2)}

# %% [markdown]
# Raghu et al. (2021, figures 1 and 2) compare *all* layers of ViTs and ResNets trained on hundreds of millions of
# images. ViT: alike from bottom to top, with a grid-like pattern. ResNet: two stages that differ. Between them:
# the lower half of the ResNet is like the lowest quarter of the ViT.
#
# **Predict.** Which of these three statements will hold for networks of 4 and 6 layers?

# %%
blocks = ["stem", *(f"stages.0.blocks.{i}" for i in range(4))]
convs = [f"conv{i}" for i in range(1, 7)]
shown = test.images[:256]
figures.cka_maps({
    "ViT × ViT": cka(vit, vit, shown, layers_a=blocks, layers_b=blocks),
    "CNN × CNN": cka(cnn, cnn, shown, layers_a=convs, layers_b=convs),
    "ViT × CNN": cka(vit, cnn, shown, layers_a=blocks, layers_b=convs),
})

# %% [markdown]
# * *Stages in the CNN*: in part. Neighbours are alike, first and last much less: a slope rather than a seam. (In a
#   run of 200 steps the seam was plain to see, before the last convolution.)
# * *The ViT alike throughout*: its blocks, yes; already after block 1 it is on its way. The stem is apart
#   from all: our images are mostly noise, and the stem still has all of it. In a ViT of 12 or 24 blocks one row
#   of the picture is the stem; here it is one of five.
# * *Lower half like lowest quarter*: with five rows there is no quarter to speak of. What we do see is that
#   block 1 is already most like the *last* layers of the CNN. It has what the CNN arrives at last, because
#   in its first layer every token can reach every other.
#
# **Question 6.3** Compare the two ViTs: put `texture_vit` for `cnn` and `blocks` for `convs`. Where will they
# be alike, though they have never been asked the same question?
#
# <details><summary>Answer</summary>
#
# In the stem, where both still hold the pixels (about 0.6 in our run), and nowhere else: from block 1 on CKA is
# about 0. What a network *does not need* is gone. CKA compares what the layers make of these images for
# their question; it says nothing about ViTs "as such".
# </details>

# %% [markdown]
# ## 7 · Effective receptive fields
#
# The *theoretical* receptive field says which pixels **can** move a neuron. The *effective* one says which do: the
# gradient of the middle of a layer with respect to every pixel, averaged over images. Luo et al. (2016) found that
# in CNNs it is much smaller, a bell with a faint rim, and that it grows only as the square root of the
# depth, where the theoretical one grows in proportion.
#
# **Predict.** Below are the six layers of the CNN, then the four blocks of the ViT. In which block does the ViT
# reach the rim of the image?

# %%
some = test.images[:budget(tiny=8, cpu=128)]
fields = dict(receptive_fields(cnn, some, convs))  # each (H, W), sums to 1
for name, field in receptive_fields(vit, some, blocks).items():
    patches = reduce(field, "(r p) (c q) -> r c", "mean", p=4, q=4)  # a ViT's pixels come in patches
    fields[figures.short_name(name)] = repeat(patches, "r c -> (r p) (c q)", p=4, q=4)
pictures.receptive_fields(fields, share=0.9)

# %% [markdown]
# The orange line surrounds the fewest pixels that hold 90 % of it. The CNN's field grows step by step, a
# bell each time, fainter towards its rim. The ViT's is a single patch in the stem and *the whole image in block
# 1*, with a strong spot where the token itself is: that is the path around the attention. Local fields that grow
# gradually against fields that are global early: that is what Raghu et al. found (figure 6).
#
# How much of the theoretical field does the CNN use?

# %%
from course.analysis.receptive_field import area

theory = [3, 5, 9, 13, 21, 29]  # pixels
used = {"theoretical": [100 * (side / 32) ** 2 for side in theory],
        "effective, 90 % of it": [100 * area(fields[name], 0.9) for name in convs],
        "effective, 50 % of it": [100 * area(fields[name], 0.5) for name in convs]}
plots.curves(range(1, 7), used, xlabel="layer of the CNN", ylabel="share of the image, %")

# %% [markdown]
# Half of what moves a neuron of the last layer comes from about a third of the pixels that could. Ding et al.
# (2022) drew their conclusion: a few *large* kernels (31 × 31) give a larger effective field than many
# small ones, even at equal theoretical size.
#
# (A slide notes that a CNN's field "grows only linearly per layer". Theoretical and without strides, yes. With
# strides it grows faster: ours by 2, 4, 4, 8, 8. Effectively and without strides, slower: as the square root.)

# %% [markdown]
# ## 8 · Taking patches away
#
# Naseer et al. (2021) took patches away from photographs at random (*PatchDrop*): ViTs stay right for a
# surprisingly long time, up to 60 % accuracy on ImageNet with 80 % of the image gone, while CNNs fail early.
# In our images it looks like this, with the mean colour where a tile is gone:

# %%
from course.analysis.robustness import drop_tiles

normalise = vit.normalise_images
rank = torch.rand(1, 64).argsort(dim=1).argsort(dim=1)  # (1, grid²): who goes first
one = normalise(image[None])  # (1, C, H, W)
dropped = torch.cat([drop_tiles(one, rank < round(64 * share)) for share in (0, 0.25, 0.5, 0.75)])
stored = normalise.undo(dropped).round().clamp(0, 255).byte()
plots.image_grid(stored, count=4, columns=4, captions=["all there", "25 % gone", "50 % gone", "75 % gone"])

# %% [markdown]
# **Predict.** Four curves: ViT and CNN, *texture* and *relation*. For *relation* both glyphs must be seen, and
# each lies on four to nine tiles. For *texture* any small window will do. Which two fall first?

# %%
portions = [0, 0.1, 0.25, 0.5, 0.75]
left = {
    f"{kind}, {question}": occlusion(net, test.ask(question).subset(budget(tiny=20, cpu=200)), portions)
    for (kind, question), net in nets.items()
}
pictures.occlusion_curves(portions, left, chance=0.1)

# %% [markdown]
# *Relation* begins to fall at once, for both: what is gone is gone. *Texture* holds out up to a quarter and more.
# Where is the ViT's lead? With half of the image gone there is none; with three quarters gone it is ahead, where
# neither is any good. **This is not what the paper found on photographs**, and not its contrary either: 32 pixels of
# noisy stripes are no photographs, and a minute is no training.
#
# There is a catch besides. The 64 tiles **are** the ViT's patches: a hole takes one token and leaves the
# others whole. That favours the ViT. A fair test would cut elsewhere too.
#
# **Question 6.4** Take tiles of 2 × 2 pixels: set `grid` to 16. With half of them gone, how many of the ViT's
# tokens are still whole? Who will be ahead?

# %%
grid = 8
asked = test.ask("texture").subset(budget(tiny=20, cpu=200))
shares = [0, 0.25, 0.5]
again = {kind: occlusion(nets[kind, "texture"], asked, shares, grid=grid) for kind in right}
pictures.occlusion_curves(shares, again, chance=0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# A token is whole if four tiles are: $(1/2)^4$, one in sixteen. In our run 58 % were left to the ViT and 97 % to the CNN
# (with tiles of 4 × 4 it was 82 % and 84 %). So the same share of the image, taken away in another form, turns
# "level" into "CNN far ahead". Before a comparison of two designs, ask whose grid the test is cut by.
# </details>

# %% [markdown]
# ## 9 · Shuffling, and what it says about texture
#
# The second test of the same paper (section 3.3): cut the image into n × n tiles and let them change places.
# The *parts* stay, their arrangement is lost.

# %%
pictures.shuffled_images(image, grids=(1, 2, 4, 8, 16))

# %% [markdown]
# **Predict.** One question asks for parts only, the other for arrangement only. And for *texture* there is a
# difference between ViT and CNN to be expected at one of these n. Which, and why?

# %%
grids = [1, 2, 4, 8, 16]
shuffled = {
    f"{kind}, {question}": shuffling(net, test.ask(question).subset(budget(tiny=20, cpu=200)), grids)
    for (kind, question), net in nets.items()
}
pictures.shuffling_curves(grids, shuffled, chance=0.1)

# %% [markdown]
# *Relation* is at chance from 2 × 2 tiles on, for both; it is arrangement and nothing else. *Texture* does not
# mind, down to 8 × 8, where the CNN loses much and the ViT next to nothing: tiles of 4 × 4 are exactly the ViT's own
# tokens. It sees the same bag of patches as before, and has learned to ignore positions, which its question
# does not need. The CNN's windows lie across tiles, so they see broken stripes. At 16 × 16 the patches
# themselves are broken, and the ViT goes down too.
#
# So is a ViT indifferent to arrangement, a bag of patches? **This ViT, for this question.** The same
# architecture trained for *relation* depends on it entirely. What a network is indifferent to is decided by
# what it was asked.
#
# Likewise for the famous question whether ViTs go by **shape** and CNNs by **texture**: Naseer et al. report that
# ViTs are *less* biased towards texture, measured on images in which the two contradict each other (the
# shape of a cat, the texture of an elephant). Our images have two labels, but no network here was ever free to
# choose between them, so **our experiment cannot say**. Exercise 4 makes one that can.

# %% [markdown]
# ## 10 · Which image excites a class the most?
#
# The last tool goes backwards: start with noise and change the *image* along the gradient, until the network
# says "54°!" as loudly as it can (Erhan et al. 2009; regularised as by Olah et al. 2017). Five directions each,
# for all four networks. **Predict** what a perfect answer would look like: for *texture*; for *relation*.

# %%
def exciting(question, classes=(0, 2, 4, 6, 8)):
    """The two networks of a question, and an image for each of five classes."""
    steps = budget(tiny=2, cpu=60)
    images = {kind: most_exciting(nets[kind, question], classes, (3, 32, 32), steps=steps)
              for kind in right}  # each (5, C, H, W)
    names = test.ask(question).classes
    return figures.rows_of_images(images, [f"{question} {names[c]}" for c in classes])

exciting("texture")

# %%
exciting("relation")

# %% [markdown]
# *Texture*: stripes of the right direction, clean in the CNN, smeared in the ViT. *Relation*: blue on the side of the
# answer and red opposite, in large patches in the CNN, hardly to be made out in the ViT. No plus and no ring:
# colour alone tells them apart, and much of it is louder than little.
#
# It says what the network **responds to**, not what it needs. Ghiasi et al. (2022) did it with large ViTs:
# edges and textures in early layers, parts of things, then whole objects, as in CNNs. That ladder
# needs objects and depth; four blocks and ten directions have neither.

# %% [markdown]
# ## 11 · What a tiny network can show, and what it cannot
#
# | tool | on our networks | in the paper | agrees? |
# |---|---|---|---|
# | filters | near their random start | gratings, blobs | no: too short a training |
# | positions | a grid, because put there | a grid, learned | looks so, for another reason |
# | attention distance | everything, before and after | near and far heads, far with depth | no: our question rewards no distance |
# | rollout | on plus and ring; passes a test | on the objects | yes |
# | CKA | blocks alike; CNN changes with depth | blocks alike; CNN in stages | as far as five rows go |
# | receptive field | ViT: all in block 1; CNN: grows | the same | yes |
# | occlusion | level, or the CNN ahead, by the tiles | ViT far ahead | no |
# | shuffling | by the question asked | ViT less hurt | in part |
#
# What follows from the **architecture** (receptive fields, blocks that stay alike, the grid of patches) shows in a minute. What has to be
# **learned from many photographs** (gratings, position maps, heads that stay near) does not, and a tiny
# network that seems to show it should make you look for the control.

# %% [markdown]
# ## Summary
#
# 1. **Look, then check against a network that knows nothing.** Untrained weights gave us half of the pictures:
#    filters, positions, far-reaching attention.
# 2. **A far look is not understanding.** Attention starts out global; how many tokens a head picks, and which,
#    says more than how far away they are.
# 3. **Rollout follows attention through all layers**, leaves out values and MLPs, and can be tested: take away
#    what it names.
# 4. **CKA compares what layers find alike.** A CNN changes with depth and its field grows layer by layer; a ViT has
#    the whole image after one block.
# 5. **Robustness depends on the question and on the tiles.** Compare only what the test treats alike.
#
# ## Recap: which cell shows what
#
# * 1 · what is smaller; bars: four networks, each right on its own question.
# * 2 · rows of filters; curve of shares: trained and untrained can hardly be told apart.
# * 3 · position maps; cosine over distance: the grid was there before training.
# * 4 · heads by hand: 0 to half the image; distance over depth; tokens seen over depth; knob: layer and token.
# * 5 · rollout squares on plus and ring; curves of what is lost when they go.
# * 6 · three Gram matrices; CKA by hand; three CKA maps.
# * 7 · ten receptive fields; theoretical and effective share of the image.
# * 8 · dropped tiles; four occlusion curves; the same with other tiles.
# * 9 · shuffled tiles; four shuffling curves.
# * 10 · images that excite a class.
# * 11 · the table: ours beside the papers'.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Draw `patches_seen` for the texture ViT. Does its class token pick few tokens or many? Explain with section 5. | 10 |
# | 2 | ●○○ Use `rollout_maps(..., heads="max")` in section 5. What changes in the squares, and in the test? | 15 |
# | 3 | ●●○ Draw the receptive fields of the *untrained* ViT and an untrained CNN. What of section 7 was there before training? | 15 |
# | 4 | ●●○ A choice between cues: make training images whose stripes and direction *agree* (`texture == relation`), train both networks, then test on images where they do not. Which label does each follow? | 40 |
# | 5 | ●●○ Train a ViT with `position=None` on *texture*. Is it equally good? What does shuffling by 8 × 8 tiles do to it, to the last digit? | 20 |
# | 6 | ●●● With a GPU: train on CIFAR-10 for many epochs and repeat sections 2 to 4. Which "no" of the table becomes a "yes"? | 90 |
#
# Then build rollout and the attention distance yourself: [hw2 · ViT](../assignments/hw2_vit/hw2_vit.ipynb).
#
# ## References
#
# * A. Dosovitskiy and others. *An Image Is Worth 16×16 Words.* ICLR 2021.
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929). Filters, positions, attention distance: section 4.5 and
#   figure 7.
# * M. Raghu, T. Unterthiner, S. Kornblith, C. Zhang, A. Dosovitskiy. *Do Vision Transformers See Like
#   Convolutional Neural Networks?* NeurIPS 2021. [arXiv:2108.08810](https://arxiv.org/abs/2108.08810). CKA:
#   figures 1 and 2; distances with much and little data: figures 3 and 4; effective fields: figure 6. (Slides
#   give it to Dosovitskiy, its last author.)
# * S. Abnar, W. Zuidema. *Quantifying Attention Flow in Transformers.* ACL 2020.
#   [arXiv:2005.00928](https://arxiv.org/abs/2005.00928). Rollout: section 3.
# * T. Nguyen, M. Raghu, S. Kornblith. *Do Wide and Deep Networks Learn the Same Things?* ICLR 2021.
#   [arXiv:2010.15327](https://arxiv.org/abs/2010.15327). CKA in batches, equations 2 to 4.
# * W. Luo, Y. Li, R. Urtasun, R. Zemel. *Understanding the Effective Receptive Field in Deep Convolutional Neural
#   Networks.* NeurIPS 2016. [arXiv:1701.04128](https://arxiv.org/abs/1701.04128). Section 2.
# * X. Ding, X. Zhang, J. Han, G. Ding. *Scaling Up Your Kernels to 31×31.* CVPR 2022.
#   [arXiv:2203.06717](https://arxiv.org/abs/2203.06717). Figure 1.
# * M. Naseer, K. Ranasinghe, S. Khan, M. Hayat, F. S. Khan, M.-H. Yang. *Intriguing Properties of Vision
#   Transformers.* NeurIPS 2021. [arXiv:2105.10497](https://arxiv.org/abs/2105.10497). The figures quoted are in its
#   abstract; occlusion: section 3.1; shuffling: section 3.3.
# * D. Erhan, Y. Bengio, A. Courville, P. Vincent. *Visualizing Higher-Layer Features of a Deep Network.* Technical
#   report 1341, Université de Montréal, 2009. Exciting a unit.
# * C. Olah, A. Mordvintsev, L. Schubert. *Feature Visualization.* Distill 2017. What keeps the image from being noise.
# * A. Ghiasi and others. *What Do Vision Transformers Learn? A Visual Exploration.* 2022.
#   [arXiv:2212.06727](https://arxiv.org/abs/2212.06727).
# * S. Jain, B. C. Wallace. *Attention is not Explanation.* NAACL 2019.
#   [arXiv:1902.10186](https://arxiv.org/abs/1902.10186).
