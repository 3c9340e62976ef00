# %% [markdown]
# # 16 · Self-supervision, multimodal: learning without labels, from pixels in any order, from what comes together
#
# | | |
# |---|---|
# | **You will understand** | how a Perceiver reads 50,000 pixels, or anything else, and what is kept when the pixels are permuted; how a clip, a tone and a sentence meet in one space without a label; what is known of the systems that slides list, and which questions are open |
# | **You need** | [3 · Self-attention](03_self_attention.ipynb) (cross-attention, positions), [5 · The vision transformer](05_vision_transformer.ipynb) |
# | **It takes** | {reading time}; all cells together run in about a minute on two CPU cores |
# | **Before · after** | 15 · Dense prediction · **16 · Self-supervision, multimodal** |

# %% tags=["setup"]
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F
from course import budget, plots, setup
from course.data import load
from course.data.narrated import DIGIT_WORDS, VOCABULARY
from course.figures import multimodal as figures
from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.perceiver import CrossAttend, Perceiver, fourier_features
from course.models.vatt import (
    VATT, AudioTokens, TextTokens, VideoTokens, encoder, nce, vatt_loss)
from course.seeds import cache, over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %% [markdown]
# ## 5 · Perceiver: any input, in any order
#
# A ViT cuts an image into patches, a Swin cuts it into windows, a CNN slides a kernel. All of them *know* that the
# input is a grid. Sound is no grid, a cloud of 3-D points is none, and for each of them somebody has to invent a new
# way to cut. Could one network read them all, one number (pixel, sample, point) at a time?
#
# Self-attention could, but it compares everything with everything. An image of 224 × 224 has
# 50,176<!-- = 224 * 224 --> pixels. The **Perceiver** (Jaegle and others 2021) lets a small set of **latents** ask in
# their place: L = 512 learned vectors, which belong to no pixel. They look at the M pixels by *cross-attention*
# (lecture 3), and all further work is done among the latents. Here are the tables of attention weights, to scale:

# %%
M, L = 224 * 224, 512
figures.tables_to_scale({"pixels look at pixels": (M, M), "latents look at pixels": (L, M),
                         "latents look at latents": (L, L)})

# %% [markdown]
# This is the *asymmetric attention* of the slides: queries come from one side, keys and values from the other. With
# latents $z$ of shape (L, D) and inputs $x$ of shape (M, C):
#
# $$z' = z + W_o\,\mathrm{softmax}\!\Big(\frac{q(z)\,k(x)^\top}{\sqrt{C}}\Big)\, v(x), \qquad \text{cost } L \cdot M \text{ in place of } M^2.$$
#
# The same on numbers, with L = 3 latents and M = 7 inputs, line by line and then by the class:

# %%
latents, inputs = torch.randn(1, 3, 8), torch.randn(1, 7, 6)  # (B, L, D), (B, M, C)
look = CrossAttend(dim=8, in_dim=6)
with torch.no_grad():
    q = look.q(look.norm(latents))  # (B, L, C)
    k, v = look.kv(look.norm_inputs(inputs)).chunk(2, dim=2)  # (B, M, C) each
    weights = (q @ k.transpose(1, 2) / 6**0.5).softmax(dim=2)  # (B, L, M)
    bare = look.channel_mixer(latents + look.proj(weights @ v))  # (B, L, D)
    difference = (bare - look(latents, look.keys_values(inputs))).abs().max()
print(f"largest difference from the class: {difference:.0e}")
plots.matrices({"weights  (latents, inputs)": weights[0]}).described(
    "three rows of seven weights: each latent looks at all seven inputs, and each row sums to "
    f"{weights[0].sum(dim=1).mean():.0f}")

# %% [markdown]
# Then the latents attend to each other in a few transformer blocks, look at the pixels once more, think again, and so
# on: "iterative attention". The blocks are *the same* in every round, and so is the second and every later look. At
# the size of the paper:

# %%
for which in ("perceiver", "perceiver_io"):
    with torch.device("meta"):  # shapes only, no numbers
        whole = create_model(which)
    print(f"{which}: {count_parameters(whole) / 1e6:.1f} million parameters, "
          f"{count_macs(whole, 1, 3, 224, 224) / 1e9:.0f} billion multiply-adds")

# %% [markdown]
# The Perceiver has 44.9<!-- printed --> million parameters, as the paper says, for 8 looks and 48<!-- = 8 * 6 -->
# blocks. Sharing makes it small; it does not make it cheap: ViT-B/16 has twice the parameters and needs 17.6 billion
# multiply–adds (lecture 5). That is the price of reading every pixel.
#
# ### Where is a pixel? Fourier features
#
# Attention does not see order (lecture 3), so each pixel carries its place beside its colour: the two coordinates,
# $p \in [-1, 1]$, and K sines and cosines of each,
#
# $$\big(p,\; \sin(f_1 \pi p), \dots, \sin(f_K \pi p),\; \cos(f_1 \pi p), \dots, \cos(f_K \pi p)\big),$$
#
# with frequencies from 1 to half the number of rows or columns, the fastest that the grid can show. Here are some of
# the 26<!-- = 2 + 4 * 6 --> maps for 12 × 12 pixels and K = 6:

# %%
shown = {"row": 0, "column": 1, "sin, slowest, row": 2, "sin, faster, row": 4,
         "sin, slowest, column": 8, "cos, faster, column": 22}
on_grid = rearrange(fourier_features((12, 12), 6), "(h w) c -> c 1 h w", h=12)
plots.image_grid(on_grid[list(shown.values())], count=6, columns=6,
                 captions=list(shown)).described(
    "six of the 26 maps: the row and the column as ramps from dark to bright; sines of the "
    "row as one and as more stripes across; waves of the column as upright stripes")

# %% [markdown]
# Compare this with a ViT. Its positions are *added* to the token and learned, one vector a place. Here they are
# *beside* the colour (concatenated), and fixed: a place is described by numbers that are similar for neighbours. So
# the network can find out what "near" means; nobody has wired it.
#
# ### Permuted pixels
#
# Now the experiment that the slides show as a table. Take **one** permutation of the pixels and apply it to all
# images, in training and in the test. Nothing is lost: every pixel is there, always at the same wrong place. To us it
# is noise:

# %%
def frames(split, size=None):
    data = load("digit_video", split, size=size, label="digit")
    return data.images[:, 2, :, 2:14, 2:14], data.labels  # (N, 1, 12, 12), (N,)

learn, exam = frames("train"), frames("test")
order = torch.randperm(144, generator=torch.Generator().manual_seed(0))  # one for all images

def permuted(maps):
    return maps.flatten(-2)[..., order].view_as(maps)  # (..., H, W): every pixel elsewhere

figures.permuted_pixels(learn[0][0], permuted(learn[0][0]), window=3, patch=3)

# %% [markdown]
# (The set is one you know: the middle frame of `digit_video`, cut to 12 × 12. The digit stands at one of
# 25<!-- = 5 * 5 --> places.)
#
# The 3 × 3 window of a CNN (purple) and the patch of a ViT (green) now hold nine pixels from anywhere. Each of the
# three networks is given the Fourier features of each pixel, *made before the permutation*, as in the paper: a pixel
# that is moved takes its true place along. So all three could, in principle, put the image together again. For the
# CNN and the ViT a small wrapper does it:

# %%
places = rearrange(fourier_features((12, 12), 6), "(h w) c -> c h w", h=12)  # (26, H, W)

class WithPlaces(nn.Module):
    """A network that is given the place of each pixel beside its brightness."""

    def __init__(self, network, places):
        super().__init__()
        self.network = network
        self.register_buffer("places", places)  # (26, H, W)

    def forward(self, images):  # (B, 1, H, W)
        beside = self.places.expand(len(images), -1, -1, -1)  # (B, 26, H, W)
        return self.network(torch.cat([images, beside], dim=1))  # (B, 27, H, W) -> (B, 10)

def cnn(channels=27, width=32):
    def layer(before):
        return [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(
        *layer(channels), *layer(width), nn.MaxPool2d(2), *layer(width), *layer(width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

# %%
def vit():
    return create_model("vit_cifar", img_size=12, patch_size=3, in_chans=27, num_classes=10,
                        embed_dim=64, depth=2, num_heads=4)

def perceiver():
    return Perceiver(12, 1, 10, num_latents=16, embed_dim=64, iterations=2, depth=1,
                     num_heads=4, cross_heads=3, num_bands=6, mlp_ratio=2)

sizes = {each.__name__: count_parameters(each()) for each in (cnn, vit, perceiver)}
print("parameters: " + ", ".join(f"{each} {count:,}" for each, count in sizes.items()))

# %% [markdown]
# Before any training, one thing can be predicted. A Perceiver takes a weighted sum over all inputs, and a sum has no
# order. If places go with their pixels, it computes the *same* function. A CNN does not:

# %%
four = learn[0][:4] / 255  # (B, 1, H, W)
with torch.no_grad():
    reads, slides = perceiver().eval(), cnn().eval()
    straight = reads(four), WithPlaces(slides, places)(four)  # (B, 10) each
    reads.inputs.position = reads.inputs.position[order]  # (H*W, 26), each with its pixel
    moved = reads(permuted(four)), WithPlaces(slides, permuted(places))(permuted(four))
    far = [((new - old).norm() / (old - old.mean(dim=0)).norm()).item()
           for old, new in zip(straight, moved)]
print(f"change, by the distance between images: Perceiver {far[0]:.0e}, CNN {far[1]:.1f}")

# %% [markdown]
# Up to rounding the Perceiver says the same as before. So we need to train it only once: *raw* and *permuted* are the
# same training. The CNN and the ViT are trained on each. The five trainings take minutes, so the runs of three seeds
# are stored:

# %%
recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=500))

def learned(model, seed, arrange):
    fit(model, (arrange(learn[0]), learn[1]), recipe.but(seed=seed), plot=False,
        progress=False)
    return evaluate(model, (arrange(exam[0]), exam[1]))

def permutation(seed):
    found = {}
    for name, make in (("CNN", cnn), ("ViT", vit)):
        found[name] = {}
        for question, arrange in (("raw", nn.Identity()), ("permuted", permuted)):
            torch.manual_seed(seed)
            model = WithPlaces(make(), arrange(places))
            found[name][question] = learned(model, seed, arrange)
    torch.manual_seed(seed)
    model = perceiver()
    found["Perceiver"] = {"raw": learned(model, seed, nn.Identity())}
    model.inputs.position = model.inputs.position[order]  # each place goes with its pixel
    found["Perceiver"]["permuted"] = evaluate(model, (permuted(exam[0]), exam[1]))
    return found

kept = over_seeds("16_self_supervision_and_multimodal/permutation", permutation, live=False)
plots.bars(kept, chance=0.1)

# %% [markdown]
# The CNN falls from 99 %<!-- permutation / CNN / raw --> to 83 %<!-- permutation / CNN / permuted -->, the ViT from
# 68 to 74 %<!-- permutation / ViT / raw --> to 53 to 60 %<!-- permutation / ViT / permuted -->. The Perceiver has 48
# to 62 %<!-- permutation / Perceiver / raw -->, and keeps all of it.
#
# What does this say, and what does it not say?
#
# * **Kept is not high.** The Perceiver keeps everything, and has the least to keep: it is not told that neighbours
#   belong together, and 4,000 small images in 500 steps are not enough to find it out. This is the bargain of lecture
#   5 once more: a bias saves data, and costs where it is wrong.
# * **The ViT loses as much as the CNN**: 14 to 17
#   points<!-- permutation / ViT / raw - permutation / ViT / permuted -->, and 16
#   points<!-- permutation / CNN / raw - permutation / CNN / permuted -->. Attention among its tokens does not mind
#   where they lie. What is lost is lost in its first layer, which is a convolution, and here it takes
#   9<!-- = 3 * 3 --> pixels together, as the CNN's does.
# * **Even the CNN learns something.** It has the places beside the pixels, so it can treat each pixel by itself and
#   take the mean.
#
# And on ImageNet (Jaegle and others 2021, table 2)?

# %%
plots.bars({"ResNet-50": {"raw": 0.735, "permuted": 0.394},
            "ViT-B/16": {"raw": 0.767, "permuted": 0.617},
            "transformer on 64 × 64 pixels": {"raw": 0.570, "permuted": 0.570},
            "Perceiver": {"raw": 0.780, "permuted": 0.780},
            "Perceiver, learned positions": {"raw": 0.709, "permuted": 0.709}},
           title="ImageNet, all but the last with Fourier features")

# %% [markdown]
# With enough data, the network that assumes least is the best of the five (78.0) and loses nothing. The losses follow
# the table's last column, "Input RF", which slides show without a word: how many pixels the first layer takes
# together. ResNet-50 with 49<!-- = 7 * 7 --> loses 34 points<!-- = 73.5 - 39.4 -->, ViT-B/16 with
# 256<!-- = 16 * 16 --> loses 15 points<!-- = 76.7 - 61.7 -->, those that take all pixels lose nothing. The last row
# is worth a look: if positions are learned, one vector a pixel, it gets 70.9 (table 2). A Perceiver needs to be told
# *something* about space: which pixels are near.
#
# **Question 16.1** Both rows with a transformer that sees single pixels, and both Perceivers, have two equal numbers.
# Were these networks trained twice? What would you have to change for the numbers to differ?
#
# <details><summary>Answer</summary>
#
# Nobody needs to train twice: the function is the same, as the cell above shows, so the numbers are equal by
# construction and not by luck. They would differ if the Fourier features were made *after* the permutation: then
# neighbours in the features are no neighbours in the image. The code of each pixel would still be unique, so the
# network could learn as with learned positions, but what "near" means would be wrong.
# </details>

# %% [markdown]
# ### Perceiver IO: any output as well
#
# The Perceiver ends with the mean of its latents: one vector, good for a class. **Perceiver IO** (Jaegle and others
# 2021, the second paper) reads the *output* as it reads the input. Output queries, one for each thing to be said, ask
# the latents:

# %%
answer = CrossAttend(dim=8, in_dim=8)  # now the latents are what is looked at
with torch.no_grad():
    for asked in (1, 5, 12 * 12):  # a class; five words; a map of 12 × 12
        queries = torch.randn(1, asked, 8)  # (B, O, D), learned, or made of positions
        said = answer(queries, answer.keys_values(bare))  # (B, O, D)
        print(f"{asked:>3} queries to {bare.shape[1]} latents -> {tuple(said.shape)}")

# %% [markdown]
# One query gives a class, N queries give a map or a sentence. The cost is O · L, and no output pays for another. The
# paper uses the same network for language, optical flow and images. It also looks at the input only *once*. In this
# course `perceiver` and `perceiver_io` are two models; the second agrees with the public implementation number by
# number.
#
# Sound and video together is one more input: the tokens of both are put in one list. The slides' second table
# (AudioSet, mean average precision; Jaegle and others 2021, table 3) puts this at 43.5 to 44.2 for audio and video,
# above each alone (38.4 and 25.8). The best row of that column is not the Perceiver's: *Attention AV-fusion* has
# 46.2. "Performant across modalities" means near the specialists, with one network.
#
# > **What slides get wrong here.**
# >
# > * **"224 × 224 → 512 latent dimensions"**: 512 is the *number* of latents. Each of them has 1,024 dimensions.
# > * **"No need to fine-tune the architecture for different modalities"**: somebody chooses the positions, and they
# >   matter: 78.0 with Fourier features, 70.9 with learned ones (table 2). The table for sound even has a row
# >   "tuned".
# > * **The column "Perm."** is often read as "needs no positions". Places were attached *before* the permutation.
# > * **"Perceiver-IO"** beside MLP-Mixer, as an even simpler network: the raw and permuted numbers are those of the
# >   *Perceiver*. Perceiver IO is a second paper, whose idea is the output.

# %% [markdown]
# ## 6 · What comes together: clip, tone and word
#
# So far the supervision came from *within* an image: a hidden part, a second crop. Another source is free, too. In a
# video, what is seen, heard and said comes *together*. Nobody has to label it; somebody switched on a camera.
# **VATT** (Akbari and others 2021) learns from this alone: one transformer for video, audio and text.
#
# We need a small set of this kind. `narrated_digits` is drawn offline: a short clip of a digit, a tone, two
# sentences. The pitch of the tone belongs to the digit. *One* of the two sentences names it, and nothing says which
# one: people who talk over a video often speak of something else. All the rest (motion, place, loudness, phase, other
# words) is drawn independently:

# %%
few = load("narrated_digits", "test", size=4)
spoken = [[" ".join(VOCABULARY[number] for number in sentence) for sentence in two.tolist()]
          for two in few.all_labels["words"]]
figures.come_together(few.images, few.all_labels["tone"], spoken)

# %% [markdown]
# The labels exist, so that *we* can test. The training never sees them.

# %%
def narrated(split, size):
    data = load("narrated_digits", split, size=size)
    pixels = data.images.float()  # (N, T, C, H, W)
    clips = (pixels - pixels.mean()) / pixels.std()
    return clips, data.all_labels["tone"], data.all_labels["words"], data.labels

clips, tones, words, digits = narrated("train", budget(tiny=200, cpu=4000))
test_clips, test_tones, test_words, test_digits = narrated("test", budget(tiny=200, cpu=1000))
print(f"clips {tuple(clips.shape)}, tones {tuple(tones.shape)}, words {tuple(words.shape)}")

# %% [markdown]
# ### Three ways to cut, one encoder
#
# Anything that you can tokenise, you can feed to a transformer: that is the slides' sentence, and here is what it
# takes. Video is cut into voxels of t × P × P (tubelets, lecture 14), a sound wave into pieces of s samples, a
# sentence into words. Each piece becomes a vector by *one* linear layer or table. No spectrogram, no convolution. In
# front of each list goes one learned token, AGG, which will stand for the whole, like a class token:

# %%
def vatt(dim=48):
    return VATT(
        VideoTokens(dim, num_frames=4, img_size=10, in_chans=1, tubelet_size=2, patch_size=5),
        AudioTokens(dim, num_samples=256, audio_patch=32),
        TextTokens(dim, vocab_size=len(VOCABULARY), num_words=5),
        encoder(dim, depth=2, num_heads=4, mlp_ratio=2), dim, audio_dim=64, text_dim=32)

sample = vatt()
with torch.no_grad():
    for kind, cut in (("video", sample.video(clips[:2])), ("audio", sample.audio(tones[:2])),
                      ("text", sample.text(words[:2, 0]))):
        print(f"{kind}: {tuple(cut.shape)}, (B, 1 + N, D)")
print(f"{count_parameters(sample):,} parameters, "
      f"{count_parameters(sample.encoder):,} of them in the encoder")

# %% [markdown]
# From here on the *same* blocks read all three: VATT calls this the modality-agnostic backbone. Its output for AGG
# goes through small projections into two spaces. Video and audio meet in the first, video and text in the second,
# coarser one, which is reached *through* the first:
#
# $$v_{va} = g_v(\text{video}),\quad a_{va} = g_a(\text{audio}),\quad v_{vt} = h(v_{va}),\quad t_{vt} = g_t(\text{text}).$$
#
# Why two? A sound tells much of what is seen, words tell less (equation 3 of the paper).
#
# ### The loss: know your own among others
#
# In a batch of B clips, clip i has its own tone, and B − 1 others that are not its own. With the cosine $s_{ij}$ of
# clip i and tone j, divided by a temperature τ, **noise contrastive estimation** (NCE) asks for the share of the own
# pair among all pairs with this clip or with this tone:
#
# $$\mathcal{L}_{NCE} = -\frac{1}{B} \sum_i \log \frac{e^{s_{ii}/\tau}}{\sum_j e^{s_{ij}/\tau} + \sum_{j \neq i} e^{s_{ji}/\tau}}.$$

# %%
seen, heard = torch.randn(5, 8), torch.randn(5, 8)  # (B, d): five clips, five tones
score = F.normalize(seen, dim=1) @ F.normalize(heard, dim=1).T / 0.07  # (B, B)
no_own = score.masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf)  # (B, B)
below = torch.cat([score, no_own.T], dim=1).logsumexp(dim=1)  # (B,), of (B, 2 B)
by_hand = (below - score.diagonal()).mean()
print(f"by hand {by_hand:.4f}, by the library {nce(seen, heard):.4f}")

# %% [markdown]
# With P sentences for a clip, and one of them perhaps about something else, their shares are *added* above the line:
# it is enough if one fits. This is **MIL-NCE** (Miech and others 2020; MIL stands for multiple-instance learning).
# Here is the batch as a table, seen by clip 1:

# %%
figures.pairs(clips=5, sentences=2, of=1)

# %% [markdown]
# The loss of VATT is the sum of both: video with audio, video with text (equation 6). **Audio and text are never
# compared.** Keep this in mind. The training is a plain loop:

# %%
STEPS = budget(tiny=3, cpu=500)

@cache
def trained(seed, dealt=False):
    torch.manual_seed(seed)
    model = vatt()
    own = torch.arange(len(clips))  # (N,)
    tone, word = (torch.randperm(len(own)) if dealt else own for _ in range(2))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        i = torch.randint(len(clips), (64,))  # (B,)
        loss = vatt_loss(*model(clips[i], tones[tone[i]], words[word[i]]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()

# %% [markdown]
# ### Retrieval: ten tones, ten words
#
# Now the test. Given a test clip, which of ten tones (one of each digit) is the nearest? Which of ten sentences, "now
# it is a seven" and so on? And, given a *tone*, which of the ten sentences? The share that is right at the first
# place is retrieval@1; guessing gives 10 %<!-- = 100 / 10 -->. The digits of the test clips are other images than
# those of the training.

# %%
named = torch.tensor([VOCABULARY.index(word) for word in "now it is a".split()])  # (4,)
sentences = torch.cat([named.expand(10, -1), torch.arange(10)[:, None]], dim=1)  # (10, 5)
one_of_each = torch.stack([(test_digits == d).nonzero()[0, 0] for d in range(10)])  # (10,)

@torch.no_grad()
def cosines(model):
    """Of every test clip or tone with ten tones or ten words: (N, 10) each."""
    video_va, audio_va, video_vt, _ = model(test_clips, test_tones, test_words)
    text_vt = model.text_to_vt(model.encoder(model.text(sentences))[:, 0])  # (10, 32)
    pairs = {"clip to tone": (video_va, audio_va[one_of_each]),
             "clip to word": (video_vt, text_vt),
             "tone to word": (model.va_to_vt(audio_va), text_vt)}
    return {name: F.cosine_similarity(a[:, None], b, dim=2) for name, (a, b) in pairs.items()}

def right(model):
    return {name: (table.argmax(dim=1) == test_digits).float().mean().item()
            for name, table in cosines(model).items()}

# %% [markdown]
# There are two controls, the same as in section 2: the **untrained** network, and one that was trained on **dealt
# pairs**: each clip with the tone and the sentences of some other clip. If it scored as well, the score would come
# from somewhere else.

# %%
def retrieval(seed):
    torch.manual_seed(seed)
    return {"untrained": right(vatt().eval()), "trained": right(trained(seed))}

found = over_seeds("16_self_supervision_and_multimodal/retrieval", retrieval)

def dealt(seed):
    return {"trained on dealt pairs": right(trained(seed, dealt=True))}

control = over_seeds("16_self_supervision_and_multimodal/dealt", dealt, live=False)
plots.bars(found | control, chance=0.1)

# %% [markdown]
# The untrained network is near chance: 9, 11 and 11 %<!-- retrieval / untrained / clip to tone --> of the clips find
# their tone, 9, 9 and 12 %<!-- retrieval / untrained / clip to word --> their word. After 500 steps (some ten
# seconds) it is 91 to 92 %<!-- retrieval / trained / clip to tone --> and 91 to 93
# %<!-- retrieval / trained / clip to word -->. Trained just as long on dealt pairs, it stays where it was: 10 to 13
# %<!-- dealt / trained on dealt pairs / clip to tone -->, 7 to 8
# %<!-- dealt / trained on dealt pairs / clip to word --> and 8 to 14
# %<!-- dealt / trained on dealt pairs / tone to word -->. So all of it comes from what was paired.
#
# The third bar is the surprise: 99 to 100 %<!-- retrieval / trained / tone to word --> of the *tones* find their
# word, though no tone was ever compared with a sentence. They met by way of the clips. It is the highest of the
# three, because a tone is easier to read than handwriting. A sentence in the place of a class: this is **zero-shot**
# classification, as CLIP does it (section 7).
#
# What has it learned? Here are the mean cosines of each digit (rows) with the ten tones or words (columns), for the
# three questions:

# %%
by_digit = {pair: torch.stack([cosine[test_digits == d].mean(dim=0) for d in range(10)])
            for pair, cosine in cosines(trained(0)).items()}  # (10, 10) each
on_diagonal = {pair: (values.argmax(dim=1) == torch.arange(10)).sum().item()
               for pair, values in by_digit.items()}
plots.matrices(by_digit, rows=DIGIT_WORDS, columns=[str(d) for d in range(10)], numbers=False,
               shared=True).described(
    "mean cosines of the ten digits with ten tones and ten words. " + "; ".join(
        f"{pair}: largest on the diagonal in {count} of 10 rows"
        for pair, count in on_diagonal.items()))

# %% [markdown]
# **Question 16.2** The loss does not go to 0, however long you train. Why? Compute a lower bound for a batch of 64
# with ten digits.
#
# <details><summary>Answer</summary>
#
# A batch of 64 has 7.3<!-- = 1 + 63 / 10 --> clips of the same digit on average. Nothing in a clip tells *whose* tone
# it is, only which digit: the other six tones of the digit fit just as well, and the loss calls them wrong (*false
# negatives*). The best possible is equal shares among 13.6<!-- = 2 * (1 + 63 / 10) - 1 --> pairs (the row and the
# column), which gives log 13.6 = 2.6 for tones, and as much for sentences: about 5.2 in all. Print `loss` at the end
# of the loop and you will find it near this. Large batches from the web have false negatives, too; they only are
# rarer.
# </details>
#
# **Question 16.3** In `trained`, compare sentences by their first one only: `words[word[i], :1]`. Half of the time it
# says nothing of the clip. Predict: which of the three bars falls, and by how much?
#
# <details><summary>Answer</summary>
#
# Less than most people guess. Our three runs gave 91, 90 and 90 per cent of words for clips (in place of 91 to 93),
# and 99, 92 and 96 for tones (in place of 99 to 100). In half of the pairs the sentence is noise, but noise of no
# direction: it is drawn independently of the clip and averages out over the batches, while the other half always
# pulls the same way. What would hurt is noise that is *not* independent: a wrong word that always comes with the same
# digit.
# </details>

# %% [markdown]
# ### At the size of the paper
#
# VATT was trained on 136 million clips with sound (HowTo100M and AudioSet; section 4 of the paper). Its video half,
# fine-tuned, reaches 82.1 on Kinetics-400, and 78.7 on ImageNet in place of 64.7 from scratch (Akbari and others
# 2021, abstract). That is its point: *video without labels* pre-trains as labels do.
#
# > **What slides get wrong here.**
# >
# > * **VATT is not "vaat".** A well-known repository has files of that name: vision-**audio-action** transformers,
# >   another thing. VATT is video, audio, *text*.
# > * **"Seems to just work"** (on tokenising anything): VATT drops half of the video and audio tokens to pay for it,
# >   needs two spaces because sentences fit badly, and its one shared encoder comes close to three separate ones, not
# >   above them (Akbari and others 2021, tables 1 to 3).
# > * **"Self-supervised"**: pairing is supervision too. Somebody put the sound to the video, and wrote what is said.

# %% [markdown]
# ## 7 · What else is on the slides, and what came after
#
# None of the systems below can be trained at our size. So this section says what is known of each, and from where.
#
# ### The list
#
# * **Capsules** (Sabour, Frosst and Hinton 2017). Hinton's complaint: a CNN finds an eye, a nose and a mouth, and
#   does not mind if they are in the wrong place (the "Picasso problem"). A capsule is a *vector*: its length says
#   whether a thing is there, its direction says how it lies. Parts vote for wholes, and "routing by agreement" gives
#   weight to votes that agree. Look at its softmax: it runs over the *wholes* that compete for a part. That is
#   attention, normalised over the queries. It worked on MNIST and did not scale to ImageNet. The transformer solved
#   the routing by learned queries and keys, and dropped the pose.
# * **LIMoE** (Mustafa and others 2022). One encoder for images and text, trained contrastively, whose MLPs are a
#   mixture of experts (lecture 13, section 7). New trouble: experts of the rarer modality die, and an entropy term
#   keeps them alive. Zero-shot on ImageNet: 84.1 for the largest (abstract). Experts for images and for text form by
#   themselves.
# * **MERLOT Reserve** (Zellers and others 2022). Frames, subtitles and sound of 20 million videos. A snippet of text
#   or sound is replaced by a MASK, and the right snippet has to be *chosen* among others: section 1's masking with
#   section 6's loss. Sound helps even where the test has none (abstract).
# * **CoCa** (Yu and others 2022). Contrastive loss *and* captions: the first half of the text decoder does not see
#   the image and gives the contrastive vector, the second half looks at it and writes. 86.3 zero-shot on ImageNet,
#   90.6 with a frozen encoder, 91.0 fine-tuned, with the 2,100 million parameters of the slide (abstract; slides).
# * **OmniVec** (Srivastava and Sharma 2023). An encoder for each kind of data, one trunk, one head for each task;
#   masked pre-training, then the tasks one after the other. The 92.4 of the slide is a leaderboard's entry.
# * **PeCo** (Dong and others 2021). BEiT's idea: not pixels are predicted, but the *words* of a visual vocabulary.
#   PeCo makes this vocabulary so that images which look alike to a network get the same words. 84.5 with ViT-B and
#   88.3 with ViT-H, on ImageNet images alone (abstract).
#
# ### What came after
#
# * **Words**: CLIP (Radford and others 2021) is section 6 with 400 million images and their captions. **SigLIP**
#   (Zhai and others 2023) asks of each pair alone "do you belong together?" by a sigmoid, so no softmax over the
#   batch is needed. **ImageBind** (Girdhar and others 2023) binds six kinds of data, each to images only. Kinds that
#   were never paired meet: what our tone and word did.
# * **Images alone**: DINOv2 (Oquab and others 2023) adds a masked-patch loss to DINO and curates 142 million images.
#   **Registers** (Darcet and others 2024): large ViTs turn a few background patches into notepads, with tokens of
#   very high norm, which spoils attention maps; a handful of extra tokens, thrown away at the end, gives them a place
#   to write. DINOv3 (Siméoni and others 2025) goes on, to 7 billion parameters, and keeps dense features from getting
#   worse in long trainings ("Gram anchoring").
# * **Predict, but not pixels**: I-JEPA (Assran and others 2023) hides blocks of an image and predicts their
#   *representations*, as a slow-moving copy of the network gives them: MAE's question, DINO's teacher. V-JEPA (Bardes
#   and others 2024) does it for video.
#
# ### "Intriguing properties", read twice
#
# One figure of the slides promises much: ViTs are robust to occlusion, to shifts of the distribution, to adversarial
# patches and to shuffling; they segment without pixel labels; their features transfer (Naseer and others 2021, figure
# 1). "60 % top-1 with 80 % of the image hidden" is the abstract's headline. You have measured some of it yourself:
# shuffling and occlusion in [lecture 6](06_what_vits_see.ipynb), where the *kind* of question decided, and
# segmentation from attention in section 4. Two cautions. The compared networks had different recipes. With the same
# recipe, CNNs are as robust against adversarial attacks as transformers; on other distributions transformers keep an
# advantage (Bai and others 2021). And "robust to shuffling" is no praise if the question is arrangement: who does not
# notice has not looked.
#
# ### The open questions of the landscape slide
#
# * **Fit for weakly supervised data?** Yes, and it is the main road now: captions, hashtags, sound. Our section 6 is
#   weak supervision: of two sentences one said nothing, and the loss coped. What it cannot cope with is a bias that
#   *all* pairs share.
# * **Continual learning?** Open. A transformer that is fine-tuned on the next task forgets the last one, as any
#   network does. What helps is to leave the pre-trained network frozen and to learn a few prompt tokens for each task
#   (L2P: Wang and others 2022). That moves the question to the pre-training.
# * **Scaling and generalisation?** [Lecture 13](13_scaling.ipynb) fits a law. A law of loss says little about *other*
#   data.
# * **"Large models require large datasets"**: without labels, data is what there is most of. What is scarce is
#   *curated* data: DINOv2 spends a section on choosing images.
#
# > **What slides get wrong here.**
# >
# > * **Accuracies side by side**: 91.0 (CoCa) used billions of image-text pairs, 88.3 (PeCo) 1.3 million images. The
# >   pair shows neither method to be better.
# > * **"ViTs are robust"**: compared with which CNN, trained by which recipe? Ask first.
# > * **"Faster to train", "computationally efficient"** (landscape slide): per image a Perceiver costs
# >   18<!-- = 312 / 17.6 --> times ViT-B/16. It depends on which transformer.

# %% [markdown]
# ## Summary
#
# 1. **A Perceiver** lets L latents look at M inputs: L · M in place of M². It knows of space what the positions say,
#    so a permutation of the pixels changes nothing if places go with them. Here a CNN lost 16
#    points<!-- permutation / CNN / raw - permutation / CNN / permuted -->, a ViT 14 to 17
#    points<!-- permutation / ViT / raw - permutation / ViT / permuted -->. The Perceiver lost nothing and had the
#    least to lose: even permuted, the CNN was better, and the ViT about as good.
# 2. **Perceiver IO** reads the output by queries, too.
# 3. **What comes together** teaches without labels. One encoder for clip, tone and word, NCE over the batch: 91 to 92
#    %<!-- retrieval / trained / clip to tone --> of test clips find their tone among ten, and 99 to 100
#    %<!-- retrieval / trained / tone to word --> of tones find a word that they were never compared with.
# 4. **Controls** decide: untrained networks and dealt pairs stay near 10 %<!-- = 100 / 10 -->.
#
# ## References
#
# * A. Jaegle, F. Gimeno, A. Brock, A. Zisserman, O. Vinyals, J. Carreira. *Perceiver: General Perception with
#   Iterative Attention.* ICML 2021. [arXiv:2103.03206](https://arxiv.org/abs/2103.03206). Fourier features: section
#   3.2; raw and permuted: table 2; sound and video: table 3.
# * A. Jaegle and others. *Perceiver IO: A General Architecture for Structured Inputs & Outputs.* ICLR 2022.
#   [arXiv:2107.14795](https://arxiv.org/abs/2107.14795).
# * H. Akbari, L. Yuan, R. Qian, W.-H. Chuang, S.-F. Chang, Y. Cui, B. Gong. *VATT: Transformers for Multimodal
#   Self-Supervised Learning from Raw Video, Audio and Text.* NeurIPS 2021.
#   [arXiv:2104.11178](https://arxiv.org/abs/2104.11178). Spaces and losses: equations 3 to 6.
# * A. Miech and others. *End-to-End Learning of Visual Representations from Uncurated Instructional Videos.*
#   CVPR 2020. [arXiv:1912.06430](https://arxiv.org/abs/1912.06430). MIL-NCE.
# * S. Sabour, N. Frosst, G. Hinton. *Dynamic Routing Between Capsules.* NIPS 2017.
#   [arXiv:1710.09829](https://arxiv.org/abs/1710.09829).
# * B. Mustafa and others. *Multimodal Contrastive Learning with LIMoE.* NeurIPS 2022.
#   [arXiv:2206.02770](https://arxiv.org/abs/2206.02770).
# * R. Zellers and others. *MERLOT Reserve: Neural Script Knowledge through Vision and Language and Sound.* CVPR 2022.
#   [arXiv:2201.02639](https://arxiv.org/abs/2201.02639).
# * J. Yu and others. *CoCa: Contrastive Captioners are Image-Text Foundation Models.* 2022.
#   [arXiv:2205.01917](https://arxiv.org/abs/2205.01917).
# * S. Srivastava, G. Sharma. *OmniVec: Learning robust representations with cross modal sharing.* WACV 2024.
# * X. Dong and others. *PeCo: Perceptual Codebook for BERT Pre-training of Vision Transformers.* 2021.
#   [arXiv:2111.12710](https://arxiv.org/abs/2111.12710).
# * A. Radford and others. *Learning Transferable Visual Models From Natural Language Supervision.* ICML 2021.
#   [arXiv:2103.00020](https://arxiv.org/abs/2103.00020). CLIP.
# * X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer. *Sigmoid Loss for Language Image Pre-Training.* ICCV 2023.
#   [arXiv:2303.15343](https://arxiv.org/abs/2303.15343).
# * R. Girdhar and others. *ImageBind: One Embedding Space To Bind Them All.* CVPR 2023.
#   [arXiv:2305.05665](https://arxiv.org/abs/2305.05665).
# * M. Oquab and others. *DINOv2: Learning Robust Visual Features without Supervision.* 2023.
#   [arXiv:2304.07193](https://arxiv.org/abs/2304.07193).
# * T. Darcet, M. Oquab, J. Mairal, P. Bojanowski. *Vision Transformers Need Registers.* ICLR 2024.
#   [arXiv:2309.16588](https://arxiv.org/abs/2309.16588).
# * O. Siméoni and others. *DINOv3.* 2025. [arXiv:2508.10104](https://arxiv.org/abs/2508.10104).
# * M. Assran and others. *Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture.*
#   CVPR 2023. [arXiv:2301.08243](https://arxiv.org/abs/2301.08243).
# * A. Bardes and others. *Revisiting Feature Prediction for Learning Visual Representations from Video.* 2024.
#   [arXiv:2404.08471](https://arxiv.org/abs/2404.08471). V-JEPA.
# * M. Naseer and others. *Intriguing Properties of Vision Transformers.* NeurIPS 2021.
#   [arXiv:2105.10497](https://arxiv.org/abs/2105.10497).
# * Y. Bai, J. Mei, A. Yuille, C. Xie. *Are Transformers More Robust Than CNNs?* NeurIPS 2021.
#   [arXiv:2111.05464](https://arxiv.org/abs/2111.05464).
# * Z. Wang and others. *Learning to Prompt for Continual Learning.* CVPR 2022.
#   [arXiv:2112.08654](https://arxiv.org/abs/2112.08654).
