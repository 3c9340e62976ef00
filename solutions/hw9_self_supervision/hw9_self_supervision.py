# %% [markdown]
# # Homework 9 · Learning without labels
#
# **You build** the losses that pictures are learned with when nobody names what is on them (MAE, SimMIM, contrast,
# DINO with its teacher), the linear probe that tells what was learned, and the matching and the loss of DETR; then you
# train a small masked autoencoder and ask what its probe proves · **needs** lectures `15_dense_prediction` and
# `16_self_supervision_and_multimodal`, homework 2 · **takes** about four hours, of which reading takes {reading time} ·
# **computing** about a minute on a laptop · **70 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `random_masking`, `unmask` | ●●○○○ | 25 | 7 |
# | 2 | `mae_loss` | ●●●○○ | 25 | 7 |
# | 3 | `simmim_loss` | ●●○○○ | 15 | 5 |
# | 4 | `info_nce` | ●●○○○ | 15 | 5 |
# | 5 | `dino_loss`, `update_centre` | ●●●○○ | 30 | 8 |
# | 6 | `ema_teacher` | ●●○○○ | 15 | 5 |
# | 7 | `linear_probe` | ●●●○○ | 20 | 6 |
# | 8 | `generalised_iou` | ●●○○○ | 20 | 6 |
# | 9 | `match_cost`, `match_boxes` | ●●●○○ | 25 | 7 |
# | 10 | `set_loss` | ●●●●○ | 25 | 8 |
# | 11 | a discussion | ●●●○○ | 25 | 6 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it knows
# your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is done with other
# inputs. No exercise needs an earlier one to be right, so you may skip and come back. Cells that need code you have not
# written yet wait for it.
#
# The letters: $B$ images in a batch, $C$ channels of $H \times W$ pixels, $p$ the side of a patch, $N$ patches of
# $P = p^2 C$ numbers, $D$ numbers a token, $K$ classes or outputs, $Q$ queries, $M$ objects, $\tau$ a temperature. You
# may use everything in torch except what does the exercise for you: nothing from `course.training` or
# `course.analysis`, no `torch.optim.swa_utils`, no functions for boxes from `torchvision.ops`, nothing of scikit-learn.
#
# **What counts as right.**
# * *Numbers.* A number may be off by $10^{-4}$ and by one part in ten thousand; whole numbers and truth values must be
#   exact.
# * *Shapes and containers.* Where the text gives a shape, return one tensor of that shape. Where it asks for a
#   number, a plain Python number, one of NumPy or a tensor without axes will do; where gradients are compared, it is
#   a tensor. Several results stand in a tuple or a list, in the order of the text. Masks are `bool` tensors, and True
#   stands for *hidden*.
# * *Inputs.* Inputs stay as they are: make new tensors, and do not write into those you were given. One exercise says
#   otherwise: `ema_teacher` moves the weights of a module in place.
# * *Gradients.* In exercises 1 to 5, 8 and 10 gradients are compared too, with respect to what the text names: no
#   `.detach()`, `torch.no_grad()` or `.item()` on the way, but for what exercise 5 asks to be cut off.
# * *Arguments.* They are passed by position and none has a default, so you may rename them. Use them all: every `eps`,
#   temperature, momentum and weight is given, also where a paper has a usual value.
# * *Points.* Exercises 1 to 5, 8 and 10: right numbers with wrong gradients earn eight tenths, results of the right
#   shape alone one tenth. The others are all or nothing.
# * *Hints.* If a card is not right yet, **hints** wait folded under it: open one, try it, and only then the next.
#
# **Your own cells count.** What you add or change is run when you hand in, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.

# %% tags=["setup"]
import math
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from scipy.optimize import linear_sum_assignment
from torch import nn
from course import budget, check, setup, when_done

setup(seed=0)

# %% [markdown]
# ## 1 · Hiding tokens, and putting them back ●●○○○
#
# **Why.** A label is one word for a whole picture. The picture itself says much more: hide a part, and the rest has to
# tell what was there. A **masked autoencoder** (MAE, He et al. 2022) hides three quarters of the patches and gives its
# encoder *only the others*, so a large encoder costs a quarter. A small decoder then gets all places back, with one
# learned **mask token** wherever something is hidden. Two pieces of bookkeeping, and both go wrong silently.
#
# **What.** Two functions.
#
# `random_masking(x, keep, generator)`: `x` is $(B, N, D)$. Draw one number for each token,
# `torch.rand(B, N, generator=generator)`, once. Put the tokens of each image in the order of its numbers, the smallest
# first; the first `keep` stay, the others are hidden. Return the tuple `(kept, mask, places)`:
#
# * `kept` $(B, \text{keep}, D)$: the tokens that stay, **in the new order**;
# * `mask` $(B, N)$ bool, in the **old** order: True where a token is hidden;
# * `places` $(B, N)$ int64, in the old order: at which place of the new order each token stands. Token $n$ is hidden
#   exactly if $\text{places}_n \ge \text{keep}$.
#
# `unmask(kept, places, mask_token)`: the way back. `kept` is $(B, k, D)$ for some $k < N$, `places` is $(B, N)$,
# `mask_token` is $(D)$. Return $(B, N, D)$: the kept tokens at their old places, the mask token at all others.
#
# Gradients are compared with respect to `x`, `kept` and `mask_token`.
#
# **By hand.** $N = 3$, the numbers are $0.5, 0.9, 0.1$, `keep` $= 2$. New order: token 2, token 0, token 1 (counted
# from 0). So kept is (token 2, token 0), the mask (False, True, False), and places $(1, 2, 0)$. Mind the difference:
# the *order* is $(2, 0, 1)$, and places is its inverse. `unmask` gives (token 0, mask token, token 2).


# %% exercise="random_masking"
def random_masking(x, keep, generator):
    """Keep the tokens that drew the smallest numbers.

    Args:
        x: (B, N, D).
        keep: how many tokens of each image stay.
        generator: the torch.Generator that one number for each token is drawn from.

    Returns:
        (kept, mask, places): (B, keep, D); (B, N) bool, True for hidden; (B, N) int64.
    """
    ### BEGIN SOLUTION
    order = torch.rand(x.shape[:2], generator=generator).argsort(dim=1)  # (B, N): which token comes first, second, ...
    places = order.argsort(dim=1)  # (B, N): the inverse
    kept = x.gather(1, order[:, :keep, None].expand(-1, -1, x.shape[2]))  # (B, keep, D)
    return kept, places >= keep, places
    ### END SOLUTION


def unmask(kept, places, mask_token):
    """(B, k, D), (B, N) int64, (D,) -> (B, N, D): kept tokens at their places, mask tokens elsewhere."""
    ### BEGIN SOLUTION
    B, N = places.shape
    hidden = mask_token.expand(B, N - kept.shape[1], -1)  # (B, N - k, D)
    ordered = torch.cat([kept, hidden], dim=1)  # (B, N, D) in the new order
    return ordered.gather(1, places[:, :, None].expand(-1, -1, kept.shape[2]))  # (B, N, D)
    ### END SOLUTION


# %% check="random_masking"
check("hw9.random_masking", random_masking, unmask)

# %% [markdown]
# **Look at it.** Three digits, cut into 16 patches of 2 × 2 pixels, of which 4 stay. Grey is the mask token. Could you
# still tell which digit it is?

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything here is so small that a second core only gets in the way
digits = load("digits", device="cpu")
digit_images = digits.images.float() / 255  # (n, 1, 8, 8), from 0 to 1


def to_patches(images, p):
    """(B, C, H, W) -> (B, N, p p C): along the rows, all channels of a pixel side by side."""
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)


def to_images(patches, p, height, channels):
    """(B, N, p p C) -> (B, C, H, W), the way back."""
    return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=height // p, p=p, q=p, c=channels)


with when_done():
    shown = digit_images[:3]  # (B, C, H, W) = (3, 1, 8, 8)
    tokens = to_patches(shown, 2)  # (3, 16, 4)
    kept, mask, places = random_masking(tokens, 4, torch.Generator().manual_seed(0))
    back = unmask(kept, places, torch.full((4,), 0.5))  # (3, 16, 4)
    pictures = torch.cat([shown, to_images(back, 2, 8, 1)])  # (6, 1, 8, 8)
    titles = [*(f"a {digits.classes[n]}" for n in digits.labels[:3].tolist()), *["4 of 16 patches"] * 3]
    display(plots.image_grid(pictures, captions=titles, columns=3))

# %% [markdown]
# ## 2 · The loss of MAE ●●●○○
#
# **Why.** What should the network say about a hidden patch? Its pixels, but not as they are: brightness changes
# slowly, so a network could do well by copying the mean of the neighbours and learn nothing about form. MAE takes
# brightness and contrast out: each target patch is brought to mean 0 and variance 1. And only **hidden** patches
# count: to repeat what one sees is no achievement.
#
# **What.** `mae_loss(images, predicted, mask, patch_size, eps)` returns one number. `images` is $(B, C, H, W)$; cut
# into patches of $p \times p$, which run along the rows of the image, it gives $x$ of shape $(B, N, P)$. Within a
# patch the numbers run along the rows of pixels too, and **all channels of a pixel stand side by side**. `predicted`
# $\hat y$ is $(B, N, P)$, `mask` $(B, N)$ bool, True for hidden. With the mean $\mu$ and the variance $v$ of each
# patch over its $P$ numbers,
#
# $$v = \frac{1}{P - 1} \sum_i (x_i - \mu)^2, \qquad y_i = \frac{x_i - \mu}{\sqrt{v + \epsilon}}, \qquad L = \operatorname*{mean}_{\text{hidden patches of the batch}} \; \frac1P \sum_i (\hat y_i - y_i)^2$$
#
# The variance divides by $P - 1$ (so does the code of the paper), $\epsilon$ = `eps` stands under the root; it is
# given, and some checks give a large one. At least one patch is hidden, and all hidden patches of the batch count
# alike, however many an image has. Targets are no part of the network: gradients are compared with respect to
# `predicted` only.
#
# **By hand.** One patch of $P = 2$ numbers, 1 and 3: $\mu = 2$, $v = 2$, so with $\epsilon = 0$ the target is
# $(-0.71, 0.71)$. If 0 is predicted for both, the loss is $0.5$.


# %% exercise="mae_loss"
def mae_loss(images, predicted, mask, patch_size, eps):
    """The mean square over hidden patches, of targets that are normalised patch by patch.

    Args:
        images: (B, C, H, W).
        predicted: (B, N, P), P = patch_size * patch_size * C.
        mask: (B, N) bool, True for hidden.
        patch_size: p.
        eps: added to the variance.

    Returns:
        one number, a tensor without axes.
    """
    ### BEGIN SOLUTION
    patches = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch_size, q=patch_size)  # (B, N, P)
    mean = patches.mean(dim=-1, keepdim=True)  # (B, N, 1)
    variance = patches.var(dim=-1, keepdim=True)  # (B, N, 1), over P - 1
    target = (patches - mean) / (variance + eps).sqrt()
    errors = (predicted - target).square().mean(dim=-1)  # (B, N)
    return errors[mask].mean()
    ### END SOLUTION


# %% check="mae_loss"
check("hw9.mae_loss", mae_loss)

# %% [markdown]
# **Look at it.** What does a network get that knows nothing? The loss if it says 0 everywhere, for patches of several
# sizes, of digits and of noise.

# %%
with when_done():
    torch.manual_seed(0)
    pictures = {"digits": digit_images[:100], "noise": torch.rand(100, 1, 8, 8)}
    rows = []
    for images in pictures.values():
        row = []
        for p in (2, 4):
            N, P = (8 // p) ** 2, p * p
            hidden = torch.ones(100, N, dtype=torch.bool)
            row.append(mae_loss(images, torch.zeros(100, N, P), hidden, p, 1e-6))
        rows.append(torch.stack(row))
    table = torch.stack(rows)  # (2, 2)
    display(plots.matrices({"loss of a network that says 0": table}, rows=list(pictures), columns=["2 × 2", "4 × 4"]))

# %% [markdown]
# For noise it is $(P - 1) / P$, and would be so for pictures ten times as bright: that is what normalised targets are
# for. The digits have many patches of one colour. Their variance is 0, so is their target, and to say 0 of them costs
# nothing.
#
# And what does `eps` do? The same for 2 × 2 patches of noise, from faint to bright, with a small one and a large one.

# %%
with when_done():
    contrasts, lines = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0], {}
    hidden = torch.ones(100, 16, dtype=torch.bool)
    for eps in (1e-6, 1e-2):
        say_0 = lambda contrast: mae_loss(contrast * pictures["noise"], torch.zeros(100, 16, 4), hidden, 2, eps).item()
        lines[f"eps {eps:g}"] = [say_0(contrast) for contrast in contrasts]
    display(plots.curves(contrasts, lines, xlabel="contrast", ylabel="loss of a network that says 0", log="x"))

# %% [markdown]
# With a large `eps`, what is faint costs little.

# %% [markdown]
# ## 3 · SimMIM: bare pixels, and their distance ●●○○○
#
# **Why.** MAE drops hidden tokens, which a Swin transformer cannot: its windows need the whole grid. **SimMIM** (Xie et
# al. 2022) therefore leaves all tokens in, hidden ones as mask tokens, and finds that the simplest target will do: the
# pixels as they are, and the **size** of the difference. Its mask lies on patches, its loss on pixels.
#
# **What.** `simmim_loss(images, predicted, mask, patch_size)` returns one number: the mean of $|\hat x - x|$ over all
# hidden *numbers* of the batch. `images` and `predicted` are $(B, C, H, W)$, `mask` is $(B, H/p, W/p)$ bool, True for
# hidden; each of its values stands for a square of $p \times p$ pixels with all their channels:
#
# $$L = \frac{\sum_{b, c, h, w} m_{bhw}\, |\hat x_{bchw} - x_{bchw}|}{C \sum_{b, h, w} m_{bhw}}, \qquad m_{bhw} = \text{mask}_{b,\, \lfloor h/p \rfloor,\, \lfloor w/p \rfloor}$$
#
# Nothing is added below the fraction: at least one patch is hidden. Gradients are compared with respect to `predicted`
# only.
#
# **By hand.** $p = 2$, an image of one channel and $2 \times 4$ pixels, its right patch hidden. All pixels are 1, all
# predictions 0.25: the sum is $4 \cdot 0.75$, divided by 4 hidden pixels: 0.75.


# %% exercise="simmim_loss"
def simmim_loss(images, predicted, mask, patch_size):
    """images, predicted (B, C, H, W), mask (B, H / p, W / p) bool -> the mean difference of hidden pixels, a number."""
    ### BEGIN SOLUTION
    hidden = repeat(mask, "b h w -> b c (h p) (w q)", c=images.shape[1], p=patch_size, q=patch_size)  # (B, C, H, W)
    return (predicted - images)[hidden].abs().mean()
    ### END SOLUTION


# %% check="simmim_loss"
check("hw9.simmim_loss", simmim_loss)

# %% [markdown]
# **Look at it.** Why hide in large squares? Say the network simply copies the nearest visible pixel to the left. Half of
# all pixels are hidden, in squares of several sizes, of pictures of 64 × 64 pixels with a few flat shapes on a flat
# ground. The dotted line is what it costs to give each picture one colour, its mean. From which size on does copying
# cost more than that?


# %%
def copy_from_the_left(images, hidden):
    """Each hidden pixel becomes the nearest visible one to its left, (B, C, H, W); grey if there is none."""
    columns, last = [], torch.full_like(images[..., 0], 0.5)
    for w in range(images.shape[-1]):
        last = torch.where(hidden[..., w], last, images[..., w])
        columns.append(last)
    return torch.stack(columns, dim=-1)


with when_done():
    images = load("shapes", size=60, device="cpu").images.float() / 255  # (60, 3, 64, 64)
    costs, holes, copies, sides = [], [], [], [1, 2, 4, 8, 16]
    for p in sides:
        drawn = torch.rand(60, (64 // p) ** 2, generator=torch.Generator().manual_seed(0))
        mask = (drawn.argsort(dim=1).argsort(dim=1) % 2 == 0).view(60, 64 // p, 64 // p)  # half of the patches
        large = repeat(mask, "b h w -> b 1 (h p) (w q)", p=p, q=p)
        copies.append(copy_from_the_left(images, large))
        holes.append(torch.where(large, 0.5, images))
        costs.append(simmim_loss(images, copies[-1], mask, p).item())
    one_colour = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    levels = {"one colour": simmim_loss(images, one_colour, mask, p).item()}
    shown, captions = torch.stack([each[0] for each in (*holes, *copies)]), [f"{p} × {p}" for p in sides]
    display(plots.image_grid(shown, captions=[*captions, *["copied"] * 5], columns=5))
    display(plots.curves(sides, {"copied": costs}, xlabel="side of a square", ylabel="loss", log="x", levels=levels))

# %% [markdown]
# ## 4 · Contrast: who belongs to whom? ●●○○○
#
# **Why.** Another source of supervision: two views of one image (SimCLR), or an image and its caption (CLIP), or a
# video and its sound (VATT), belong together; the other pairs of the batch do not. A network that knows which are
# partners has understood what they share. Without the others, it could make all vectors the same one.
#
# **What.** `info_nce(a, b, temperature)` returns one number. `a` and `b` are $(B, D)$, row $i$ of one belongs to row
# $i$ of the other. Bring each row to length 1 and compare all with all,
# $s_{ij} = \frac{a_i \cdot b_j}{|a_i|\,|b_j|\,\tau}$. Each $a$ has to find its $b$ among all $B$, and each $b$ its
# $a$; the loss is the mean of both directions:
#
# $$L = -\frac12 \cdot \frac1B \sum_i \left( \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}} \right)$$
#
# Gradients are compared with respect to `a` and `b`. There is no `eps`: no row is zero.
#
# **By hand.** $B = 2$, $a_1 = b_1 = (1, 0)$, $a_2 = b_2 = (0, 5)$, $\tau = 1$: $s$ is 1 on the diagonal and 0
# elsewhere, so the loss is $-\log \frac{e}{e + 1} = 0.31$.


# %% exercise="info_nce"
def info_nce(a, b, temperature):
    """a, b (B, D), row by row partners -> the contrastive loss in both directions, a number."""
    ### BEGIN SOLUTION
    a = a / a.norm(dim=1, keepdim=True)
    b = b / b.norm(dim=1, keepdim=True)
    logits = a @ b.T / temperature  # (B, B)
    partners = torch.arange(len(a))  # (B,)
    return (F.cross_entropy(logits, partners) + F.cross_entropy(logits.T, partners)) / 2
    ### END SOLUTION


# %% check="info_nce"
check("hw9.info_nce", info_nce)

# %% [markdown]
# **Look at it.** Two copies of the same digits, one darker and moved by a pixel, compared by their bare pixels. The
# loss of guessing is $\log B$. Which temperature makes the loss lowest?

# %%
with when_done():
    one = digit_images[:64].flatten(1)  # (64, 64)
    two = (0.6 * digit_images[:64].roll(1, dims=-1)).flatten(1)
    temperatures = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    losses = [info_nce(one, two, t).item() for t in temperatures]
    levels = {"guessing": math.log(64)}
    picture = plots.curves(
        temperatures, {"pixels": losses}, xlabel="temperature", ylabel="loss", log="x", levels=levels
    )
    display(picture.described("losses " + ", ".join(f"{t}: {loss:.2f}" for t, loss in zip(temperatures, losses))))

# %% [markdown]
# ## 5 · DINO: a teacher made of oneself ●●●○○
#
# **Why.** Can one learn without any negatives? **DINO** (Caron et al. 2021) lets a student say of one view what a
# teacher says of another view of the same image. The teacher is an average of earlier students. That has two trivial
# solutions: always the same output (one of $K$ wins), or always all outputs alike. Two opposite forces exclude them:
# the teacher's scores are **centred**, which forbids the first, and **sharpened** by a low temperature, which forbids
# the second.
#
# **What.** Two functions. $B$ images, $K$ outputs, raw scores.
#
# `dino_loss(student, teacher, centre, student_temperature, teacher_temperature)`: `student` is $(S, B, K)$, `teacher`
# is $(T, B, K)$ with $T \le S$: views $0 \dots T - 1$ are the same images for both (large views); the student sees
# some small ones besides. `centre` is $(K)$. With $c$ = `centre`:
#
# $$t = \operatorname{softmax}\!\left(\frac{\text{teacher} - c}{\tau_t}\right), \qquad s = \operatorname{softmax}\!\left(\frac{\text{student}}{\tau_s}\right)$$
#
# $$L = \operatorname*{mean}_{(i, j):\; i \ne j} \; \frac1B \sum_{b, k} - t_{ibk} \log s_{jbk}$$
#
# where $i$ runs over the teacher's views and $j$ over the student's. Pairs of one and the same view, $i = j$, are
# left out of the sum and of the count. **The teacher does not learn**: gradients are compared with respect to
# `student`, `teacher` and `centre`, and the last two are 0 (or none flow at all).
#
# `update_centre(centre, teacher, momentum)`: from `centre` $(K)$ and the teacher's raw scores $(T, B, K)$ to the new
# centre $(K)$,
#
# $$c' = m\, c + (1 - m) \cdot \operatorname*{mean}_{\text{views, images}} \text{teacher}$$
#
# It needs no gradients.
#
# **By hand.** $T = S = 2$, $B = 1$, $K = 2$, centre 0, both temperatures 1, all scores 0: each $t$ and $s$ is
# $(\frac12, \frac12)$, each of the two pairs costs $\ln 2$, and so does the loss.


# %% exercise="dino_loss"
def dino_loss(student, teacher, centre, student_temperature, teacher_temperature):
    """The student says of one view what the teacher says of another.

    Args:
        student: (S, B, K) raw scores.
        teacher: (T, B, K) raw scores, T <= S; view i of the teacher is view i of the student.
        centre: (K,).
        student_temperature, teacher_temperature: numbers.

    Returns:
        one number, a tensor without axes; no gradient reaches teacher and centre.
    """
    ### BEGIN SOLUTION
    targets = ((teacher - centre) / teacher_temperature).softmax(dim=-1).detach()  # (T, B, K)
    guesses = (student / student_temperature).log_softmax(dim=-1)  # (S, B, K)
    losses = -einsum(targets, guesses, "t b k, s b k -> t s b").mean(dim=-1)  # (T, S)
    other = ~torch.eye(len(teacher), len(student), dtype=torch.bool)  # (T, S)
    return losses[other].mean()
    ### END SOLUTION


def update_centre(centre, teacher, momentum):
    """centre (K,), the teacher's raw scores (T, B, K), a number -> the new centre (K,)."""
    ### BEGIN SOLUTION
    return momentum * centre + (1 - momentum) * teacher.mean(dim=(0, 1))
    ### END SOLUTION


# %% check="dino_loss"
check("hw9.dino_loss", dino_loss, update_centre)

# %% [markdown]
# **Look at it.** First, what centre and temperature do to a teacher that has a favourite: scores of 256 images, in
# which output 0 is ahead for all. The picture shows the shares of one image, and the mean of all. Two numbers say the
# same: how undecided the teacher is about one image (entropy; 0: one output has it all), and how many outputs all
# images together use (the exponential of the entropy of their mean). Then a network that has collapsed: whatever it
# sees, it says output 0. What does that cost?


# %%
def entropy(shares):
    return -(shares * shares.clamp(min=1e-12).log()).sum(dim=-1)


with when_done():
    scores = torch.randn(1, 256, 8, generator=torch.Generator().manual_seed(0))  # (T, B, K)
    scores[..., 0] += 4  # the favourite
    found = update_centre(torch.zeros(8), scores, 0.0)  # (K,)
    ways = {
        "centred and sharpened": (found, 0.1),
        "sharpened only": (0 * found, 0.1),
        "centred only": (found, 2.0),
    }
    shares = torch.stack([((scores - c) / t).softmax(dim=-1)[0] for c, t in ways.values()])  # (3, B, K)
    panels = {"shares of one image": shares[:, 0], "mean of 256 images": shares.mean(dim=1)}
    display(plots.matrices(panels, rows={"shares of one image": list(ways)}, columns=list("01234567"), shared=True))
    for name, each in zip(ways, shares):
        undecided, used = entropy(each).mean().item(), entropy(each.mean(dim=0)).exp().item()
        print(f"{name:22} entropy of one image {undecided:.2f} of {math.log(8):.2f}, outputs in use {used:3.1f} of 8")
    collapsed = torch.zeros(2, 8, 16)  # two views of 8 images
    collapsed[..., 0] = 4
    centre = update_centre(torch.zeros(16), collapsed, 0.0)
    for name, c in (("without the centre", 0 * centre), ("with it", centre)):
        print(f"loss of the collapsed network {name}: {dino_loss(collapsed, collapsed, c, 0.1, 0.04).item():.2f}")

# %% [markdown]
# ## 6 · A teacher that follows ●●○○○
#
# **Why.** Where does the teacher come from? It is never trained. After each step of the student, every weight of the
# teacher moves a little towards it: an **exponential moving average**. It changes slowly, so the target stands still
# long enough to be learned, and as an average of many students it is better than each.
#
# **What.** `ema_teacher(teacher, student, momentum)`: two modules of the same kind. **In place**, and for *every*
# parameter, in the order of `.parameters()`,
#
# $$w_t \leftarrow m\, w_t + (1 - m)\, w_s$$
#
# The student stays as it is; neither has buffers. Return the **distance** of the two *after* the move, one number:
# the length of the differences of all parameters together, $\sqrt{\sum_i (w_{t,i} - w_{s,i})^2}$. No gradients may be
# tracked on the way, and none are compared.
#
# **By hand.** One weight each, teacher 1, student 3, $m = 0.75$: the teacher becomes $0.75 + 0.75 = 1.5$, and the
# distance is 1.5.


# %% exercise="ema_teacher"
def ema_teacher(teacher, student, momentum):
    """Move the teacher's weights in place towards the student's; return how far apart the two then are, a number."""
    ### BEGIN SOLUTION
    squares = 0.0
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.mul_(momentum).add_(s, alpha=1 - momentum)
            squares += (t - s).square().sum().item()
    return math.sqrt(squares)
    ### END SOLUTION


# %% check="ema_teacher"
check("hw9.ema_teacher", ema_teacher)

# %% [markdown]
# **Look at it.** A student that jumps about the right answer, 0, and teachers that follow it with three momenta.
# Which one is nearest to 0, and which one came there first?


# %%
class OneWeight(nn.Module):
    """A network of one weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))


with when_done():
    ways = {"student": []}
    torch.manual_seed(0)
    student, noise = OneWeight(4.0), torch.randn(100)
    teachers = {m: OneWeight(4.0) for m in (0.5, 0.9, 0.98)}
    for step in range(100):
        with torch.no_grad():
            student.weight.copy_(4 * 0.9**step + noise[step])  # it learns, and jumps
        ways["student"].append(student.weight.item())
        for m, teacher in teachers.items():
            ema_teacher(teacher, student, m)
            ways.setdefault(f"teacher, {m}", []).append(teacher.weight.item())
    picture = plots.curves(range(100), ways, xlabel="step", ylabel="weight")
    far = {name: sum(abs(w) for w in way[-30:]) / 30 for name, way in ways.items()}
    display(
        picture.described(
            "mean distance from 0 in the last 30 steps: " + ", ".join(f"{name} {d:.2f}" for name, d in far.items())
        )
    )

# %% [markdown]
# ## 7 · The linear probe ●●●○○
#
# **Why.** A loss of 0.4 on hidden patches: is that good? Nobody can say. So one asks what the features are *good
# for*: freeze the network, and fit a **linear** classifier on its features. It has no power of its own to undo what
# the network has mixed, so what it reads must lie there openly. The least fussy form has a closed solution: least
# squares with a penalty.
#
# **What.** `linear_probe(backbone, images, labels, test_images, num_classes, penalty)` returns scores $(n', K)$ of
# the $n'$ test images. `backbone(images)` gives features $(n, D)$; it is frozen: no weight in it changes. `labels` is
# $(n)$ int64, `num_classes` is $K$ (not every class need occur), `penalty` is $\lambda > 0$.
#
# 1. *Standardise.* Of each of the $D$ features take mean $\mu$ and standard deviation $\sigma$ over the $n$
#    **training** images, the latter with $\frac1n$ under the root and without an `eps`. Let $Z = (X - \mu) / \sigma$,
#    $(n, D)$. The test features are standardised with the *same* $\mu$ and $\sigma$: $Z'$.
# 2. *Targets.* $Y$ is $(n, K)$: 1 in the column of the label, 0 elsewhere. $\bar y$, $(K)$, is its mean over the
#    images.
# 3. *Fit.* $W$, $(D, K)$, makes $\;\frac1n \lVert Z W - (Y - \bar y) \rVert^2 + \lambda \lVert W \rVert^2\;$ least:
#
# $$W = (Z^\top Z + n \lambda I)^{-1} Z^\top (Y - \bar y), \qquad \text{scores} = Z' W + \bar y$$
#
# No gradients are compared: there are none to follow.
#
# **By hand.** $n = 2$, $D = 1$: features 0 and 4 of the classes 0 and 1. $\mu = 2$, $\sigma = 2$, so
# $Z = (-1, 1)^\top$, $\bar y = (\frac12, \frac12)$. With $\lambda = 1$: $Z^\top Z + 2 = 4$,
# $Z^\top (Y - \bar y) = (-1, 1)$, so $W = (-\frac14, \frac14)$. A test image with feature 4 has $Z' = 1$ and the
# scores $(\frac14, \frac34)$.


# %% exercise="linear_probe"
def linear_probe(backbone, images, labels, test_images, num_classes, penalty):
    """Least squares on frozen features.

    Args:
        backbone: a module, images -> features (n, D).
        images: the n training images, labels: (n,) int64.
        test_images: n' images.
        num_classes: K.
        penalty: lambda.

    Returns:
        (n', K): the scores of the test images.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        features, asked = backbone(images), backbone(test_images)  # (n, D), (n', D)
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)  # (D,) each
    z, asked = (features - mean) / std, (asked - mean) / std
    targets = F.one_hot(labels, num_classes).to(z.dtype)  # (n, K)
    shares = targets.mean(dim=0)  # (K,)
    ridge = len(z) * penalty * torch.eye(z.shape[1])  # (D, D)
    weights = torch.linalg.solve(z.T @ z + ridge, z.T @ (targets - shares))  # (D, K)
    return asked @ weights + shares
    ### END SOLUTION


# %% check="linear_probe"
check("hw9.linear_probe", linear_probe)

# %% [markdown]
# **Look at it.** The control that ruins most claims: the probe on *raw pixels*, and on a **random** network that has
# never learned anything.

# %%
held_out = load("digits", "test", device="cpu")


def probed(backbone, n=300):
    """The share of the held-out digits that a probe gets right that has seen n labels."""
    scores = linear_probe(backbone, digit_images[:n], digits.labels[:n], held_out.images.float() / 255, 10, 0.1)
    return (scores.argmax(dim=1) == held_out.labels).float().mean().item()


class Pixels(nn.Module):
    """Images -> their pixels; a little noise keeps those that are always black from having no deviation."""

    def forward(self, images):
        noise = torch.randn(images.flatten(1).shape, generator=torch.Generator().manual_seed(0))
        return images.flatten(1) + 0.01 * noise


with when_done():
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 200), nn.Tanh())
    bars = {
        "raw pixels": {"held-out digits": probed(Pixels())},
        "a random layer": {"held-out digits": probed(untrained)},
    }
    display(plots.bars(bars, chance=0.1))

# %% [markdown]
# Whoever shows you a probe of 90 % should also show you these two.

# %% [markdown]
# ## 8 · How far apart are two boxes? ●●○○○
#
# **Why.** Lecture 15: a detector says *where*, and the usual measure for that, overlap through union (IoU), is 0 for
# all boxes that do not touch. A box that is nearly right and one that is far away get the same loss and no gradient.
# The **generalised IoU** (Rezatofighi et al. 2019) goes on below 0: it takes away the empty part of the **hull**, the
# smallest box around both.
#
# **What.** `generalised_iou(a, b)`: `a` $(N, 4)$ and `b` $(M, 4)$, each box as two corners $(x_1, y_1, x_2, y_2)$
# with $x_1 < x_2$ and $y_1 < y_2$. Returns $(N, M)$, all pairs. With the areas $|A|$, $|B|$, $|A \cap B|$ (0 if they
# do not touch), $|A \cup B| = |A| + |B| - |A \cap B|$ and the hull $|H|$:
#
# $$\text{GIoU} = \frac{|A \cap B|}{|A \cup B|} - \frac{|H| - |A \cup B|}{|H|}$$
#
# Coordinates are numbers on a line, not counted pixels: a side is $x_2 - x_1$. No `eps`: no box is empty. Gradients
# are compared with respect to `a` and `b`.
#
# **By hand.** $A = (0, 0, 1, 1)$ and $B = (2, 2, 3, 3)$: no overlap, union 2, hull 9, so $0 - \frac79$.


# %% exercise="generalised_iou"
def generalised_iou(a, b):
    """Corners (N, 4) and (M, 4) -> (N, M), from -1 to 1."""
    ### BEGIN SOLUTION
    area = lambda boxes: (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    inner = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(min=0)
    outer = torch.maximum(a[:, None, 2:], b[None, :, 2:]) - torch.minimum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    overlap, hull = inner.prod(dim=-1), outer.prod(dim=-1)  # (N, M) each
    union = area(a)[:, None] + area(b)[None] - overlap  # (N, M)
    return overlap / union - (hull - union) / hull
    ### END SOLUTION


# %% check="generalised_iou"
check("hw9.generalised_iou", generalised_iou)

# %% [markdown]
# **Look at it.** A unit square slides over another and away from it. Where does the plain IoU stop telling anything?

# %%
with when_done():
    shifts = torch.linspace(0, 4, 41)  # how far to the right
    moved = torch.stack([shifts, torch.zeros(41), shifts + 1, torch.ones(41)], dim=1)  # (41, 4)
    wanted = torch.tensor([[0.0, 0.0, 1.0, 1.0]])  # (1, 4)
    overlap = (1 - shifts).clamp(min=0)
    lines = {
        "generalised IoU": generalised_iou(moved, wanted)[:, 0].tolist(),
        "IoU": (overlap / (2 - overlap)).tolist(),
    }
    picture = plots.curves(shifts.tolist(), lines, xlabel="shift", ylabel="value")
    display(
        picture.described(
            f"both fall from 1; at a shift of 4 the generalised IoU is {lines['generalised IoU'][-1]:.2f}, the IoU {lines['IoU'][-1]:.2f}"
        )
    )

# %% [markdown]
# ## 9 · Which query belongs to which object? ●●●○○
#
# **Why.** A picture has a *set* of objects: no order, any number. **DETR** (Carion et al. 2020) answers with a fixed
# number of queries, each a class and a box. Before there can be a loss, somebody has to say which query should have
# found which object. DETR lets the cheapest **one-to-one assignment** decide. One-to-one is the point: two queries
# that find the same object cannot both be right, so none needs to be removed afterwards.
#
# **What.** Two functions, for one image with $Q$ queries and $M \le Q$ objects. They need no gradients.
#
# `match_cost(scores, boxes, labels, targets, l1_weight, giou_weight)` returns the table $(Q, M)$ of what each pair
# costs. `scores` is $(Q, K + 1)$, raw, the last class means *no object*; `boxes` $(Q, 4)$ and `targets` $(M, 4)$ are
# corners; `labels` is $(M)$ int64, from 0 to $K - 1$. With $p_q = \operatorname{softmax}$ of the scores of query $q$
# over all $K + 1$ classes:
#
# $$c_{qm} = -\,p_q(\text{label}_m) + \lambda_1 \sum_{i=1}^4 |\text{box}_{q,i} - \text{target}_{m,i}| - \lambda_2\, \text{GIoU}(\text{box}_q, \text{target}_m)$$
#
# The class enters as the bare probability (not its logarithm), $\lambda_1$ = `l1_weight`, $\lambda_2$ =
# `giou_weight`. (DETR takes the second term of centres and sizes; we keep corners.) Use your `generalised_iou`.
#
# `match_boxes(cost)`: from the table $(Q, M)$ to $(M)$ int64: for each object, in the order of the columns, its
# query. All are different, and the **sum of their costs is the least possible**. (Of several best assignments any
# would do; in the checks there is one.) Costs may be negative. The checks have at most 7 queries, so you may try all
# assignments; `linear_sum_assignment` of SciPy, which does it in $O(Q^3)$ (the *Hungarian method*), is imported and
# allowed.
#
# **By hand.** Two queries, two objects, $c = \begin{pmatrix} 1 & 2 \\ 3 & 9 \end{pmatrix}$ (a row is a query). Both
# objects want query 0. If object 0 gets it, the total is $1 + 9 = 10$; the other way it is $3 + 2 = 5$: the answer is
# $(1, 0)$.


# %% exercise="match_boxes"
def match_cost(scores, boxes, labels, targets, l1_weight, giou_weight):
    """What each pair costs.

    Args:
        scores: (Q, K + 1) raw, boxes: (Q, 4) corners.
        labels: (M,) int64, targets: (M, 4) corners.
        l1_weight, giou_weight: numbers.

    Returns:
        (Q, M).
    """
    ### BEGIN SOLUTION
    chances = scores.softmax(dim=-1)[:, labels]  # (Q, M)
    distance = (boxes[:, None] - targets[None]).abs().sum(dim=-1)  # (Q, M)
    return l1_weight * distance - chances - giou_weight * generalised_iou(boxes, targets)
    ### END SOLUTION


def match_boxes(cost):
    """(Q, M) -> (M,) int64: the query of each object, all different, with the least total."""
    ### BEGIN SOLUTION
    queries, objects = linear_sum_assignment(cost.detach().numpy())
    found = torch.zeros(cost.shape[1], dtype=torch.int64)  # (M,)
    found[torch.from_numpy(objects)] = torch.from_numpy(queries)
    return found
    ### END SOLUTION


# %% check="match_boxes"
check("hw9.match_boxes", match_cost, match_boxes)

# %% [markdown]
# **Look at it.** Is the short cut so bad? Random tables of 10 queries and 8 objects: the total of the best
# assignment, and that of "each object in turn takes what is cheapest and free". Then one table of 5 queries and 4
# objects, a column each, with both assignments.


# %%
def in_turn(cost):
    """Each object takes the cheapest free query: (Q, M) -> (M,)."""
    left, chosen = cost.clone(), []
    for m in range(cost.shape[1]):
        chosen.append(left[:, m].argmin())
        left[chosen[-1]] = math.inf
    return torch.stack(chosen)


with when_done():
    tables = torch.rand(200, 10, 8, generator=torch.Generator().manual_seed(0))
    total = lambda queries, table: table[queries, torch.arange(8)].sum().item()
    best = sum(total(match_boxes(table), table) for table in tables) / 200
    greedy = sum(total(in_turn(table), table) for table in tables) / 200
    print(f"mean total: best {best:.2f}, in turn {greedy:.2f}")
    small = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))  # one that fits a page
    panels = {"cost": small}
    for name, queries in (("best", match_boxes(small)), ("in turn", in_turn(small))):
        price = small[queries, torch.arange(4)].sum().item()
        panels[f"{name}, total {price:.2f}"] = F.one_hot(queries, 5).T.bool()
    rows = {"cost": [f"query {q}" for q in range(5)]}
    display(plots.matrices(panels, rows=rows, columns=list("0123")))

# %% [markdown]
# ## 10 · The loss of a set ●●●●○
#
# **Why.** Now every query has something to learn: a matched one its object's class and box, every other one to say
# that there is *nothing*. The latter are the many (in DETR about 93 of 100), so they count less.
#
# **What.** `set_loss(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight)` returns one
# number, for one image. The first four are as in exercise 9; `queries` is $(M)$ int64: object $m$ was matched with
# query $\text{queries}_m$. Two parts are added:
#
# * *Classes.* Each query $q$ has a class $k_q$: its object's label if it was matched, else $K$ (no object, the last
#   column). Its weight $w_q$ is 1, or `no_object_weight` if $k_q = K$. A **weighted mean** over all $Q$ queries:
#
# $$L_\text{class} = \frac{\sum_q w_q \cdot \left(-\log \operatorname{softmax}(\text{scores}_q)_{k_q}\right)}{\sum_q w_q}$$
#
# * *Boxes.* Matched queries only, divided by the number $M$ of objects. There is at least one, and no query has two.
#   With $b_m = \text{boxes}_{\text{queries}_m}$:
#
# $$L_\text{box} = \frac1M \sum_m \left( \lambda_1 \sum_{i=1}^4 |b_{m,i} - \text{target}_{m,i}| + \lambda_2 \left(1 - \text{GIoU}(b_m, \text{target}_m)\right) \right)$$
#
# Use your `generalised_iou`. Gradients are compared with respect to `scores` and `boxes`.
#
# **By hand.** $Q = 2$, $M = K = 1$, all scores 0, weight of no object 0.5. Each query costs $\ln 2$, so
# $L_\text{class} = \frac{1 \cdot \ln 2 + 0.5 \cdot \ln 2}{1.5} = \ln 2$. If the matched box is exactly right, that is
# all.


# %% exercise="set_loss"
def set_loss(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight):
    """The loss of one image whose objects have been matched.

    Args:
        scores: (Q, K + 1) raw, boxes: (Q, 4) corners.
        labels: (M,) int64, targets: (M, 4) corners.
        queries: (M,) int64, the query of each object.
        no_object_weight, l1_weight, giou_weight: numbers.

    Returns:
        one number, a tensor without axes.
    """
    ### BEGIN SOLUTION
    no_object = scores.shape[1] - 1
    classes = torch.full((len(scores),), no_object)  # (Q,)
    classes[queries] = labels
    weights = torch.ones(no_object + 1)  # (K + 1,)
    weights[no_object] = no_object_weight
    class_loss = F.cross_entropy(scores, classes, weight=weights)  # its mean is the weighted one
    found = boxes[queries]  # (M, 4)
    distance = (found - targets).abs().sum(dim=-1).mean()
    overlap = generalised_iou(found, targets).diagonal().mean()
    return class_loss + l1_weight * distance + giou_weight * (1 - overlap)
    ### END SOLUTION


# %% check="set_loss"
check("hw9.set_loss", set_loss)

# %% [markdown]
# **Look at it.** Six free boxes and scores, with no network and no picture before them, learn the objects of 40
# pictures, three in each: of class 0 in the left half, of class 1 in the right. At first all six lie in the middle.
# They are matched anew in every step. How often does a picture's match change from one round to the next? And where
# do the boxes go? *Price: about three seconds.*


# %%
def some_objects(generator):
    """(labels (M,), corners (M, 4)) of three objects; the label says in which half one begins."""
    corner = 0.75 * torch.rand(3, 2, generator=generator)
    size = 0.15 + 0.1 * torch.rand(3, 2, generator=generator)
    return (corner[:, 0] > 0.375).long(), torch.cat([corner, corner + size], dim=1)


def coverage(boxes, side=24):
    """By how many boxes each point of the picture is covered, (side, side)."""
    x = (torch.arange(side) + 0.5) / side
    across = (boxes[:, 0, None] < x) & (x < boxes[:, 2, None])  # (Q, side)
    down = (boxes[:, 1, None] < x) & (x < boxes[:, 3, None])
    return (down[:, :, None] & across[:, None, :]).sum(dim=0)


with when_done():
    generator = torch.Generator().manual_seed(1)
    all_objects = [some_objects(generator) for _ in range(40)]
    corner = 0.35 + 0.1 * torch.rand(6, 2, generator=generator)
    scores, boxes = nn.Parameter(torch.zeros(6, 3)), nn.Parameter(torch.cat([corner, corner + 0.2], dim=1))
    optimizer, losses, matches, before = torch.optim.Adam([scores, boxes], lr=0.02), [], [], coverage(boxes.detach())
    for step in range(40 * budget(tiny=3, cpu=20)):
        labels, targets = all_objects[step % 40]
        with torch.no_grad():
            queries = match_boxes(match_cost(scores, boxes, labels, targets, 5.0, 2.0))
        loss = set_loss(scores, boxes, labels, targets, queries, 0.2, 5.0, 2.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        matches.append(queries)
    rounds = torch.stack(matches).view(-1, 40, 3)
    changed = (rounds[1:] != rounds[:-1]).any(dim=2).float().mean(dim=1).tolist()  # a share a round
    means = torch.tensor(losses).view(-1, 40).mean(dim=1).tolist()
    print(f"mean loss of the first round {means[0]:.2f}, of the last {means[-1]:.2f}")
    lines = {"pictures with another match": changed}
    display(plots.curves(range(2, len(rounds) + 1), lines, xlabel="round", ylabel="share"))
    after = coverage(boxes.detach())
    display(plots.matrices({"boxes at first": before, "boxes at last": after}, numbers=False, shared=True))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# At first the match of every other picture changes from round to round, later that of every fourth or so: the queries
# share the picture out among themselves. No two are taught the same, because no two are matched with the same object. A
# query of DETR, too, comes to look for objects of one region and one size (figure 7 of the paper); only the network
# behind it moves its box to what there is to see.
# </details>

# %% [markdown]
# ## All together: a masked autoencoder, and what its probe says
#
# Nothing to write here. A small MAE out of your parts: an encoder that sees 4 of 16 patches, your mask token, and a
# decoder of one block. It never sees a label.


# %%
class SmallMAE(nn.Module):
    """Images (B, C, H, W) -> what it says of every patch (B, N, P), and the mask (B, N); `features` is its encoder."""

    def __init__(self, channels=1, image_size=8, patch_size=2, width=48, depth=3, heads=4):
        super().__init__()
        tokens, numbers = (image_size // patch_size) ** 2, patch_size**2 * channels
        block = lambda: nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.embed, self.predict = nn.Linear(numbers, width), nn.Linear(width, numbers)
        self.positions = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.decoder_positions = nn.Parameter(0.5 * torch.randn(tokens, width))
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.encoder = nn.ModuleList(block() for _ in range(depth))
        self.norm, self.decoder = nn.LayerNorm(width), block()
        self.patch_size = patch_size

    def embedded(self, images):
        return self.embed(to_patches(images, self.patch_size)) + self.positions  # (B, N, D)

    def encoded(self, x):
        for block in self.encoder:
            x = block(x)
        return self.norm(x)

    def forward(self, images, keep, generator):
        kept, mask, places = random_masking(self.embedded(images), keep, generator)
        x = unmask(self.encoded(kept), places, self.mask_token)  # (B, N, D)
        return self.predict(self.decoder(x + self.decoder_positions)), mask


class Features(nn.Module):
    """The mean of an encoder's tokens, all of them visible: images -> (B, D)."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.encoded(self.model.embedded(images)).mean(dim=1)


# %%
def without_labels(model, images, steps, batch_size, keep, rate=2e-3):
    """Train a masked autoencoder in place; its losses, a list."""
    generator = torch.Generator().manual_seed(0)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate), []
    for _ in range(steps):
        batch = images[torch.randint(len(images), (batch_size,), generator=generator)]
        predicted, mask = model(batch, keep, generator)
        loss = mae_loss(batch, predicted, mask, model.patch_size, 1e-2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# The `eps` is large: in a patch that is all black but for a trace of grey, the trace is not worth learning. *Price of
# the next cell: about 40 seconds on one core of a laptop's CPU.*

# %%
with when_done():
    torch.manual_seed(0)
    before, model = SmallMAE(), SmallMAE()
    model.load_state_dict(before.state_dict())
    losses = without_labels(model, digit_images, budget(tiny=5, cpu=600), 64, 4)
    tens = [sum(ten) / len(ten) for ten in (losses[i : i + 10] for i in range(0, len(losses), 10))]
    display(plots.curves(range(0, len(losses), 10), {"loss": tens}, xlabel="step", ylabel="loss, mean of ten steps"))
    names = {"raw pixels": Pixels(), "encoder, untrained": Features(before), "encoder, trained": Features(model)}
    display(
        plots.bars(
            {name: {"100 labels": probed(x, 100), "1000 labels": probed(x, 1000)} for name, x in names.items()},
            chance=0.1,
        )
    )

# %% [markdown]
# Compare the three, at both numbers of labels, before you read on. Change `keep`, or train five times as long: which
# of the bars moves?
#
# <details><summary>What we saw</summary>
#
# The loss falls to about half, so the network does learn to fill in strokes. And yet its probe is not ahead of the
# raw pixels, with 1000 labels not even of the encoder before training. On such small pictures little is left to be
# taken out of the pixels. A probe of 90 % sounded well.
# </details>
#
#
# **Photographs.** The same on CIFAR-10, with 64 patches of 4 × 4 pixels, 16 of them visible, in your loss: small on a CPU,
# wider and deeper on a GPU. One seed, so read it accordingly.
#
# *Price: some 20 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not measured.*


# %%
from course.data import photographs


def train_on_cifar():
    """A masked autoencoder on photographs, and a probe on its features before and after."""
    torch.manual_seed(0)
    width, depth, heads = budget(tiny=(16, 1, 2), cpu=(48, 3, 4), gpu=(192, 8, 3))
    model = SmallMAE(3, image_size=32, patch_size=4, width=width, depth=depth, heads=heads)
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=5_000))
    if photos is None:
        return
    (images, labels), test = photos
    n, few, asked = len(test), images[: len(test)].cpu() / 255, test.images.cpu() / 255

    def right():
        scores = linear_probe(Features(model).cpu().eval(), few, labels[:n].cpu(), asked, 10, 0.1)
        return (scores.argmax(dim=1) == test.labels.cpu()).float().mean().item()

    print(f"probe before training: {right():.0%} of CIFAR-10's test images")
    model.to(images.device).train()
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=1e-3), torch.Generator().manual_seed(0)
    steps, batch_size = budget(tiny=(2, 8), cpu=(300, 64), gpu=(10_000, 256))
    for step in range(steps):
        batch = images[torch.randint(len(images), (batch_size,), generator=generator)] / 255
        patches = model.embedded(batch)  # (B, N, D)
        places = torch.rand(patches.shape[:2], generator=generator).argsort(dim=1).argsort(dim=1).to(images.device)
        kept = patches.gather(1, places.argsort(dim=1)[:, :16, None].expand(-1, -1, patches.shape[2]))
        x = unmask(model.encoded(kept), places, model.mask_token) + model.decoder_positions
        loss = mae_loss(batch, model.predict(model.decoder(x)), places >= 16, 4, 1e-2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % (steps // 2) == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    print(f"probe after training: {right():.0%} of CIFAR-10's test images")


with when_done():
    train_on_cifar()

# %% [markdown] written="what_a_probe_proves" points=6
# ## 11 · In your own words ●●●○○
#
# A few sentences for each part. This one is read by a person.
#
# **(a)** *(2 points)* "The probe reaches 90 %, so the network understands digits." What does a linear probe prove,
# and what does it not? Name the two controls of this notebook and say, with one number of your own bars each, what
# the claim would have been without them.
#
# **(b)** *(2 points)* Two networks, one trained by masking and one by contrast. Probed, the second is far ahead;
# fine-tuned, the first. (So it was with MAE and MoCo v3 on ImageNet.) How can both be true? What does each measure
# ask of the features?
#
# **(c)** *(2 points)* DINO without its centre, contrast without its negatives, DETR without one-to-one matching: each
# has a cheap way to be "right". Name the cheap way of *two* of them, and what exactly shuts it.
#
# ### BEGIN SOLUTION
# **(a)** It proves that what the labels need can be read from the features by weighted sums: it lies there openly,
# for *these* labels, *this* many of them and *this* penalty. It does not prove that training put it there (the input
# may have it already), nor that the network uses it, nor what it would give after fine-tuning; a low probe does not
# prove that the information is missing, only that it is not linear. Controls: raw pixels (how much was in the input)
# and an untrained network of the same shape (how much the architecture and more dimensions give). On our digits with
# 1000 labels: pixels 94 %, untrained 91 %, trained 90 %. So the probe of 90 % shows nothing that training has added
# (one seed: a percent or two is no difference either way); without the controls one would have claimed all that lies
# above the 10 % of guessing.
#
# *Marking: 1 point for "can be read out linearly, for these labels" with one thing that does not follow; half a point
# for each control with a number of one's own bars.*
#
# **(b)** A probe asks what lies there *linearly* and lets nothing change. Contrast throws away whatever differs
# between two views and puts what is left, mostly what an image shows as a whole, into one vector that is compared by
# angles: that is nearly a classifier already. Masking has to keep all that redraws a patch, place and texture as
# well, so the class lies deeper and not on a straight line; a few steps of fine-tuning can turn it out. Fine-tuning
# asks how good a *starting point* the weights are.
#
# *Marking: 1 point for what each measure asks (linear and frozen; a starting point), 1 point for why the two ways of
# training differ (invariance against detail).*
#
# **(c)** DINO: all images get one and the same output; taking away the running mean of the scores makes a favourite
# cost its advantage (and the low temperature shuts the opposite way, all outputs alike). Contrast: all vectors become
# the same one, since partners then agree; the sum below the fraction, over the others, grows with it. DETR: several
# queries give the best-seen object, each with a low cost; with one-to-one matching only one of them is right and the
# others are taught "no object".
#
# *Marking: 1 point each for two of the three: half for the cheap way, half for what shuts it.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * Tokens are hidden by a drawn order, and come back by its inverse.
# * MAE's loss: hidden patches, targets normalised one by one. SimMIM's: hidden pixels as they are.
# * Contrast needs the others; DINO needs a centre, a temperature and a teacher that follows.
# * A linear probe says what lies openly in features, and only its controls say who put it there.
# * Boxes are compared by their hull, matched as a set, one to one, and only then is there a loss.
#
# **References.** K. He et al., *Masked autoencoders are scalable vision learners*, CVPR 2022. · Z. Xie et al.,
# *SimMIM*, CVPR 2022. · A. van den Oord, Y. Li and O. Vinyals, *Representation learning with contrastive predictive
# coding*, 2018 (InfoNCE). · T. Chen et al., *SimCLR*, ICML 2020. · A. Radford et al., *CLIP*, ICML 2021. · H. Akbari
# et al., *VATT*, NeurIPS 2021. · M. Caron et al., *Emerging properties in self-supervised vision transformers*, ICCV
# 2021 (DINO). · G. Alain and Y. Bengio, *Understanding intermediate layers using linear classifier probes*, 2016. ·
# H. Rezatofighi et al., *Generalized intersection over union*, CVPR 2019. · N. Carion et al., *End-to-end object
# detection with transformers*, ECCV 2020 (DETR).
