# %% [markdown]
# # Homework 8 · How transformers are trained
#
# **You build** every part of a modern training recipe: update rules, the learning rate's way, softened and mixed
# labels, stochastic depth, batch norm, a teacher, layer-wise rates, sharpness-aware steps; then you train two networks
# by one recipe and find out which of them needed it · **needs** lecture `07_training_with_less_data` and homework 2 ·
# **takes** about four hours, of which reading takes {reading time} · **computing** about two minutes on a laptop ·
# **70 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `sgd_momentum`, `sgd_momentum_averaged` | ●○○○○ | 10 | 3 |
# | 2 | `lr_schedule` | ●●○○○ | 15 | 4 |
# | 3 | `adam_step` | ●●○○○ | 20 | 6 |
# | 4 | `adamw_step` | ●●○○○ | 15 | 5 |
# | 5 | `label_smoothing`, `soft_cross_entropy` | ●●○○○ | 20 | 6 |
# | 6 | `mixup_images`, `mixup_targets` | ●●○○○ | 15 | 5 |
# | 7 | `cutmix_box` | ●●●○○ | 20 | 5 |
# | 8 | `drop_path` | ●●○○○ | 15 | 5 |
# | 9 | `batch_norm` | ●●●○○ | 25 | 8 |
# | 10 | `distillation_loss` | ●●●○○ | 20 | 6 |
# | 11 | `layer_decay` | ●●○○○ | 15 | 4 |
# | 12 | `sam_step` | ●●●●○ | 25 | 7 |
# | 13 | a discussion | ●●●○○ | 25 | 6 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it knows
# your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is done with other
# inputs. No exercise needs an earlier one to be right, so you may skip and come back. Cells that need code you have not
# written yet wait for it.
#
# The letters: $B$ examples in a batch, $C$ channels of $H \times W$ numbers, $K$ classes, $w$ weights, $g$ their
# gradient, $\eta$ the learning rate. You may use everything in torch except what does the exercise for you: no
# `torch.optim` and no `course.training` in any answer, no batch, group or instance norm of torch's in exercise 9, no
# cross entropy of torch's in exercise 5, no `F.kl_div` in exercise 10, no `torchvision.ops.stochastic_depth`, no
# `torchvision.transforms.v2.MixUp` or `CutMix`.
#
# **What counts as right.**
# * *Numbers.* A number may be off by $10^{-4}$ and by one part in ten thousand; whole numbers must be exact.
# * *Shapes and containers.* Where the text gives a shape, return one tensor of that shape. Where it asks for a number,
#   a plain Python number, one of NumPy or a tensor without axes will do. Several results stand in a tuple or a list, in
#   the order of the text.
# * *Inputs.* Inputs stay as they are: make new tensors, and do not write into those you were given. One exercise says
#   otherwise: `sam_step` moves the weights of its model in place.
# * *Gradients.* In exercises 5, 6 and 8 to 10 gradients are compared too, those of scores, images and weights: no
#   `.detach()`, `torch.no_grad()` or `.item()` on the way, but for what exercises 9 and 10 ask to be cut off. Gradients
#   of targets, shares and running means are not compared, and the update rules of exercises 1, 3, 4 and 12 need none.
# * *Arguments.* They are passed by position and none has a default, so you may rename them; use them all, also where a
#   paper has a usual value. Every `eps` and every share is given.
# * *Points.* Exercises 5, 6, 8, 9 and 10: right numbers with wrong gradients earn eight tenths, results of the right
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
from einops import einsum, rearrange
from torch import nn
from course import budget, check, setup, when_done
setup(seed=0)

# %% [markdown]
# ## 1 · Momentum, in both forms ●○○○○
#
# **Why.** The gradient of one small batch points somewhere else each time, and in a narrow valley it points across
# rather than along. **Momentum** (Polyak 1964) remembers: steps that agree add up, steps to and fro cancel. Papers
# write it in two forms, which want *different learning rates*. Who copies a rate from one into the other trains ten
# times too fast or too slowly.
#
# **What.** Both take the weights `w`, their gradient `g` and the memory `v` (three tensors of one shape, any number of
# axes), the learning rate $\eta$ and the `decay` $\beta$. Both return the tuple `(w, v)` of the new ones.
#
# * `sgd_momentum(w, g, v, learning_rate, decay)`: $\quad v' = \beta v - \eta\, g, \qquad w' = w + v'$
# * `sgd_momentum_averaged(w, g, v, learning_rate, decay)`:
#   $\quad v' = \beta v - (1 - \beta)\, g, \qquad w' = w + \eta\, v'$
#
# In the first, `v` is a step; in the second, a running mean of gradients with the sign turned.
#
# **By hand.** $w = 1$, $g = 2$, $v = 0.4$, $\eta = 0.1$, $\beta = 0.5$. First form: $v' = 0.2 - 0.2 = 0$, $w' = 1$.
# Second form: $v' = 0.2 - 1 = -0.8$, $w' = 1 - 0.08 = 0.92$.

# %% exercise="sgd_momentum"
def sgd_momentum(w, g, v, learning_rate, decay):
    """The heavy ball: w, g, v of one shape -> (w, v), both new; v is the step."""
    ### BEGIN SOLUTION
    v = decay * v - learning_rate * g
    return w + v, v
    ### END SOLUTION


def sgd_momentum_averaged(w, g, v, learning_rate, decay):
    """The other form: w, g, v of one shape -> (w, v), both new; v is a running mean of -g."""
    ### BEGIN SOLUTION
    v = decay * v - (1 - decay) * g
    return w + learning_rate * v, v
    ### END SOLUTION

# %% check="sgd_momentum"
check("hw8.sgd_momentum", sgd_momentum, sgd_momentum_averaged)

# %% [markdown]
# **Look at it.** A valley, fifty times as steep across as along, $f(w) = \frac12 (w_1^2 + 50\, w_2^2)$. How high is the
# ball after each step? The first form with $\eta = 0.004$, the second with the same rate, and the second with
# $\eta / (1 - \beta)$.

# %%
from course import plots

def way_down(rule, learning_rate, steps=100):
    """Heights after each step, a list."""
    steep = torch.tensor([1.0, 50.0])
    w, v, heights = torch.tensor([-4.0, 1.2]), torch.zeros(2), []
    for _ in range(steps):
        w, v = rule(w, steep * w, v, learning_rate, 0.9)
        heights.append((steep * w * w).sum().item() / 2)
    return heights

with when_done():
    ways = {"first form, 0.004": way_down(sgd_momentum, 0.004),
            "second form, 0.004": way_down(sgd_momentum_averaged, 0.004),
            "second form, 0.04": way_down(sgd_momentum_averaged, 0.04)}
    ends = "; ".join(f"{name}: {heights[-1]:.2g}" for name, heights in ways.items())
    picture = plots.curves(range(1, 101), ways, xlabel="step", ylabel="height", log="y")
    display(picture.described(f"heights; after 100 steps {ends}"))

# %% [markdown]
# Two of the three curves are one. torch has a third way: its `v` is $\beta v + g$, and the step is $-\eta v$. That is
# the first form, as long as $\eta$ stays the same; when a schedule lowers $\eta$, torch's old steps shrink with it.

# %% [markdown]
# ## 2 · The learning rate's way ●●○○○
#
# **Why.** In the first steps gradients are large and change their direction, and the averages of the update rules rest
# on very few of them: so the rate climbs from small (**warm-up**). At the end, small steps settle what large ones have
# found: so it falls along half a **cosine** (Loshchilov and Hutter 2017). Nearly every recipe for transformers has this
# curve, and an error by one step in it is never seen in the results.
#
# **What.** `lr_schedule(step, steps, warmup_steps, peak, floor)` returns the rate of step $s$ = `step`
# $= 0, 1, \dots, S - 1$, a number. $S$ = `steps`; $W$ = `warmup_steps`, from 0 (no warm-up) to $S - 1$:
#
# $$\eta_s = \begin{cases} \text{peak} \cdot \dfrac{s + 1}{W} & s < W \\[6pt]
# \text{floor} + (\text{peak} - \text{floor}) \cdot \dfrac12 \left(1 + \cos \pi\, \dfrac{s - W}{S - W}\right) & s \ge W \end{cases}$$
#
# The first step has a rate above 0, steps $W - 1$ and $W$ both have the peak, and the floor itself would come at step
# $S$, which is never taken.
#
# **By hand.** $S = 6$, $W = 2$, peak 1, floor 0.2: the rates are 0.5, 1, 1, 0.88, 0.6, 0.32.

# %% exercise="lr_schedule"
def lr_schedule(step, steps, warmup_steps, peak, floor):
    """The learning rate of one step, a number.

    Args:
        step: s, from 0 to steps - 1.
        steps: S, how many there are.
        warmup_steps: W, from 0 to steps - 1.
        peak, floor: the highest rate, and the one that the cosine falls to.
    """
    ### BEGIN SOLUTION
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / (steps - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
    ### END SOLUTION

# %% check="lr_schedule"
check("hw8.lr_schedule", lr_schedule)

# %% [markdown]
# **Look at it.** DeiT's curve: 300 epochs, 5 of them warm-up, peak 0.001, floor 0.00001, and the same with three other
# warm-ups.

# %%
with when_done():
    curves = {f"warm-up {W}": [lr_schedule(s, 300, W, 1e-3, 1e-5) for s in range(300)] for W in (5, 20, 60, 0)}
    first = curves["warm-up 5"]
    picture = plots.curves(range(300), curves, xlabel="epoch", ylabel="learning rate")
    display(picture.described(f"four learning rates; with a warm-up of 5 they begin with {first[0]:.4f}, "
                              f"{first[1]:.4f} and end with {first[-1]:.2g}"))

# %% [markdown]
# ## 3 · Adam ●●○○○
#
# **Why.** In a transformer gradients of different weights differ by factors of a thousand. One rate for all is too
# large for some and too small for others. **Adam** (Kingma and Ba 2015) divides each number's step by the size that its
# gradient usually has. It keeps two running means: $m$ of the gradient and $v$ of its square. Both begin at zero and
# would be too small at first; so each is divided by what it still lacks.
#
# **What.** `adam_step(w, g, m, v, step, learning_rate, beta1, beta2, eps)`: four tensors of one shape and numbers;
# `step` is $t$ and counts **from 1**. Squares, roots and fractions are taken number by number:
#
# $$m' = \beta_1 m + (1 - \beta_1)\, g, \qquad v' = \beta_2 v + (1 - \beta_2)\, g^2$$
# $$\hat m = \frac{m'}{1 - \beta_1^t}, \qquad \hat v = \frac{v'}{1 - \beta_2^t}, \qquad w' = w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# Return the tuple `(w', m', v')`. What is remembered are the means *as they are*, $m'$ and $v'$, not those with a hat.
# $\epsilon$ = `eps` stands **outside the root**. It is usually $10^{-8}$; here it is given, and some checks give a
# large one, so that its place shows.
#
# **By hand.** $t = 1$, $m = v = 0$, $g = 3$: $\hat m = 3$, $\hat v = 9$, so the step is $-\eta \cdot 3 / 3 = -\eta$
# (with $\epsilon = 0$). The first step has the length $\eta$, however large the gradient is.

# %% exercise="adam_step"
def adam_step(w, g, m, v, step, learning_rate, beta1, beta2, eps):
    """One step of Adam.

    Args:
        w, g: weights and their gradient.
        m, v: running means of g and of its square, of the same shape.
        step: t, counted from 1.
        learning_rate, beta1, beta2, eps: numbers.

    Returns:
        (w, m, v), all new.
    """
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    return w - learning_rate * m_hat / (v_hat.sqrt() + eps), m, v
    ### END SOLUTION

# %% check="adam_step"
check("hw8.adam_step", adam_step)

# %% [markdown]
# **Look at it.** Is it torch's Adam? Twenty steps of both on the same gradients.

# %%
with when_done():
    torch.manual_seed(0)
    gradients = torch.randn(20, 1) * torch.tensor([0.001, 0.01, 0.1, 1.0, 10.0])  # (steps, 5)
    theirs = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.01)
    w, m, v = torch.zeros(3, 5)
    for step, g in enumerate(gradients, start=1):
        theirs.grad = g.clone()
        optimizer.step()
        w, m, v = adam_step(w, g, m, v, step, 0.01, 0.9, 0.999, 1e-8)
    print("yours: ", [f"{number:.4f}" for number in w])
    print(f"largest difference from torch's: {(w - theirs).abs().max().item():.0e}")

# %% [markdown]
# The gradients of the five weights differ by a factor of up to 10,000, and the weights have gone equally far.

# %% [markdown]
# ## 4 · AdamW: decay that stays out of the gradient ●●○○○
#
# **Why.** Large weights are kept down by letting every weight shrink a little in each step. With plain gradient descent
# one may as well add $\lambda w$ to the gradient (an "L2 penalty"). In Adam that goes wrong: the addition is divided by
# $\sqrt{\hat v}$ like everything else, so weights with large gradients hardly decay. **AdamW** (Loshchilov and
# Hutter 2019) takes the decay out: it is *decoupled*.
#
# **What.** `adamw_step(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay)`: as `adam_step` with the same
# $g$, $m$, $v$, and besides the weight **before the step** shrinks by $\eta \lambda$ of its size ($\lambda$ =
# `weight_decay`):
#
# $$w' = w - \eta\, \lambda\, w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# Return `(w', m', v')`. Use your `adam_step`.
#
# **By hand.** $g = 0$ and $m = v = 0$, $w = 2$, $\eta = 0.1$, $\lambda = 0.5$: $w' = 2 - 0.1 \cdot 0.5 \cdot 2 = 1.9$,
# and $m'$ and $v'$ are still 0: no gradient, no memory.

# %% exercise="adamw_step"
def adamw_step(w, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    """One step of AdamW: arguments of adam_step and the share that decays -> (w, m, v), all new."""
    ### BEGIN SOLUTION
    moved, m, v = adam_step(w, g, m, v, step, learning_rate, beta1, beta2, eps)
    return moved - learning_rate * weight_decay * w, m, v
    ### END SOLUTION

# %% check="adamw_step"
check("hw8.adamw_step", adamw_step)

# %% [markdown]
# **Look at it.** Four weights begin at 1; their gradients are pure noise, of four sizes. AdamW lets all shrink alike.
# With $\lambda w$ in the gradient, who shrinks depends on the noise.

# %%
with when_done():
    torch.manual_seed(0)
    sizes = torch.tensor([0.01, 0.1, 1.0, 10.0])
    noise = torch.randn(200, 2000, 4) * sizes  # (steps, copies, 4)
    ends = {}
    for name in ("AdamW", "L2 inside Adam"):
        w, m, v = torch.ones(2000, 4), torch.zeros(2000, 4), torch.zeros(2000, 4)
        for step, g in enumerate(noise, start=1):
            inside, outside = (0.0, 1.0) if name == "AdamW" else (1.0, 0.0)
            w, m, v = adamw_step(w, g + inside * w, m, v, step, 0.005, 0.9, 0.999, 1e-8, outside)
        ends[name] = w.mean(dim=0)  # (4,)
    table = torch.stack(list(ends.values()))  # (2, 4)
    columns = [f"noise {size:g}" for size in sizes.tolist()]
    display(plots.matrices({"what is left of 1 after 200 steps": table}, rows=list(ends), columns=columns))

# %% [markdown]
# ## 5 · Softer labels ●●○○○
#
# **Why.** Cross entropy with a hard label is never satisfied: the score of the right class should be infinitely far
# above the others. On few images a network reaches for that and gets far too sure. **Label smoothing** (Szegedy et
# al. 2016) asks for a little less: the share $\varepsilon$ of every target is spread over *all* classes. The loss must
# then take targets that are shares, not class numbers; the same loss will serve mixed labels (exercise 6) and a teacher
# (exercise 10).
#
# **What.**
# * `label_smoothing(targets, smoothing)`: from `targets` $(B, K)$, rows of shares that sum to 1 (one-hot or mixed), to
#   $(B, K)$: $\quad q' = (1 - \varepsilon)\, q + \varepsilon / K$. The right class gets its part of $\varepsilon$ too,
#   and rows still sum to 1.
# * `soft_cross_entropy(scores, targets)`: raw scores (before the softmax) and targets, $(B, K)$ each, to one number,
#   the **mean over the batch**:
#
# $$-\frac1B \sum_{b} \sum_{k} q_{bk} \log p_{bk}, \qquad p_b = \operatorname{softmax}(\text{scores}_b)$$
#
# Scores may be some hundreds large: the logarithm of a softmax must not pass through a probability that rounds to 0.
#
# **By hand.** $K = 4$, $\varepsilon = 0.2$: $(0, 1, 0, 0)$ becomes $(0.05, 0.85, 0.05, 0.05)$. With equal scores all
# $p = \frac14$, and the loss is $\ln 4 = 1.386$, whatever the targets.

# %% exercise="label_smoothing"
def label_smoothing(targets, smoothing):
    """(B, K) shares that sum to 1 -> (B, K): the share `smoothing` is spread over all classes."""
    ### BEGIN SOLUTION
    return (1 - smoothing) * targets + smoothing / targets.shape[1]
    ### END SOLUTION


def soft_cross_entropy(scores, targets):
    """Raw scores (B, K), targets (B, K) -> one number: the mean over the batch."""
    ### BEGIN SOLUTION
    return -(targets * F.log_softmax(scores, dim=1)).sum(dim=1).mean()
    ### END SOLUTION

# %% check="label_smoothing"
check("hw8.label_smoothing", label_smoothing, soft_cross_entropy)

# %% [markdown]
# **Look at it.** Ten classes; the right one's score lies some distance above the nine others. Where is the loss least?

# %%
with when_done():
    gaps = torch.linspace(0, 14, 57)  # (57,)
    scores = F.pad(gaps[:, None], (0, 9))  # (57, 10)
    right = F.one_hot(torch.zeros(1, dtype=torch.long), 10).float()  # (1, 10)
    losses = {}
    for smoothing in (0.0, 0.02, 0.1, 0.3):
        target = label_smoothing(right, smoothing)
        losses[f"ε = {smoothing}"] = [soft_cross_entropy(row[None], target).item() for row in scores]
    least = {name: gaps[torch.tensor(line).argmin()].item() for name, line in losses.items()}
    said = "; ".join(f"{name}: {gap:.2f}" for name, gap in least.items())
    picture = plots.curves(gaps, losses, xlabel="distance of the scores", ylabel="loss")
    display(picture.described(f"loss by distance, least at {said}"))

# %% [markdown]
# Without smoothing the curve falls for ever; with it there is a distance that is enough,
# $\ln \frac{1 - \varepsilon + \varepsilon / K}{\varepsilon / K}$.

# %% [markdown]
# ## 6 · Mixed images, mixed labels ●●○○○
#
# **Why.** Between two training images a network may do as it likes, and with few images there is a lot of "between".
# **Mixup** (Zhang et al. 2018) asks for a straight line: halfway between a cat and a dog, say half cat, half dog. The
# share $\lambda$ comes from a Beta distribution; DeiT's recipe mixes every batch. Nobody would call the mixture a
# photograph, and it is one of the strongest parts of the recipe.
#
# **What.** `partners` $(B)$ int64 says with which image of the batch each one is mixed, `shares` $(B)$ how much of
# **its own** it keeps, from 0 to 1. Both are given, so nothing is drawn here.
#
# * `mixup_images(images, partners, shares)`: $(B, C, H, W) \to (B, C, H, W)$:
#   $\quad \lambda_b\, x_b + (1 - \lambda_b)\, x_{\text{partner}(b)}$
# * `mixup_targets(labels, partners, shares, num_classes)`: `labels` $(B)$ int64 $\to (B, K)$ float: $\lambda_b$ at the
#   own class and $1 - \lambda_b$ at the partner's. If both have the same class, that one gets all: 1.
#
# **By hand.** Labels $(2, 0)$, each the other's partner, shares $(0.7, 0.9)$, $K = 3$: targets $(0.3, 0, 0.7)$ and
# $(0.9, 0, 0.1)$.

# %% exercise="mixup_targets"
def mixup_images(images, partners, shares):
    """(B, C, H, W), (B,) int64, (B,) -> (B, C, H, W): each image mixed with its partner."""
    ### BEGIN SOLUTION
    own = shares[:, None, None, None]  # (B, 1, 1, 1)
    return own * images + (1 - own) * images[partners]
    ### END SOLUTION


def mixup_targets(labels, partners, shares, num_classes):
    """(B,) int64, (B,) int64, (B,) and K -> (B, K): the labels of mixed images."""
    ### BEGIN SOLUTION
    hard = F.one_hot(labels, num_classes).float()  # (B, K)
    own = shares[:, None]  # (B, 1)
    return own * hard + (1 - own) * hard[partners]
    ### END SOLUTION

# %% check="mixup_targets"
check("hw8.mixup_targets", mixup_images, mixup_targets)

# %% [markdown]
# **Look at it.** Two digits, and five mixtures on the way from the one to the other.

# %%
from course.data import load

torch.set_num_threads(1)  # everything here is so small that a second core only gets in the way
digits = load("digits", device="cpu")
standard = lambda images: (images.float() / 255 - 0.3) / 0.37  # to mean 0 and spread about 1
with when_done():
    two = digits.images[torch.tensor([0, 5])].float() / 255  # (2, 1, 8, 8)
    batch = torch.cat([two[:1].expand(5, -1, -1, -1), two[1:]])  # (6, 1, 8, 8): the last is everybody's partner
    labels = torch.cat([digits.labels[:1].expand(5), digits.labels[5:6]])  # (6,)
    shares = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0, 1.0])  # (6,)
    partners = torch.full((6,), 5)
    mixed = mixup_images(batch, partners, shares)[:5]
    targets = mixup_targets(labels, partners, shares, 10)[:5]
    captions = [", ".join(f"{share:.2f} × {digit}" for digit, share in enumerate(row.tolist()) if share)
                for row in targets]
    display(plots.image_grid(mixed, captions=captions))

# %% [markdown]
# ## 7 · A box from another image ●●●○○
#
# **Why.** A mixture of two images is blurred everywhere, and a network for *places* learns little from it. **CutMix**
# (Yun et al. 2019) puts a rectangle of one image into the other; the label is mixed by area. The place is drawn so that
# the box may reach over the edge. What lies outside does not exist, so **the share has to be counted again** from the
# box that is left. Forget it, and labels promise a dog of which hardly a hair is in the image.
#
# **What.** `cutmix_box(height, width, share, row, column)`: the image is $H \times W$ pixels, `share` is $\lambda$,
# what the image should keep of itself (above 0 and below 1), and `row`, `column` the whole numbers of the pixel on
# which the box is centred ($0 \le$ row $< H$, $0 \le$ column $< W$). The box has the image's shape and $1 - \lambda$ of
# its area:
#
# 1. Its sides are $h = \lfloor H \sqrt{1 - \lambda} \rfloor$ and $w = \lfloor W \sqrt{1 - \lambda} \rfloor$.
# 2. It begins at $\text{top} = \text{row} - \lfloor h / 2 \rfloor$ and ends before $\text{bottom} = \text{top} + h$;
#    left and right in the same way.
# 3. What is outside is **cut off**: top and bottom into $0 \dots H$, left and right into $0 \dots W$. The box is not
#    moved.
# 4. The share that is kept is counted from what is left:
#    $\lambda' = 1 - \dfrac{(\text{bottom} - \text{top})(\text{right} - \text{left})}{H W}$.
#
# Return the five numbers `(top, left, bottom, right, λ')`, whole numbers but for the last.
#
# **By hand.** $H = 8$, $W = 12$, $\lambda = 0.75$, row 1, column 6: $h = 4$, $w = 6$; rows $-1$ to 3, cut to 0 to 3;
# columns 3 to 9. $3 \cdot 6 = 18$ of 96 pixels are replaced: $\lambda' = 0.8125$.

# %% exercise="cutmix_box"
def cutmix_box(height, width, share, row, column):
    """A box inside an image, and what the image keeps of itself.

    Args:
        height, width: of the image, in pixels.
        share: of the area that should be kept, above 0 and below 1.
        row, column: the pixel on which the box is centred.

    Returns:
        (top, left, bottom, right, share): whole numbers, bottom and right not included; the share that is kept.
    """
    ### BEGIN SOLUTION
    side = math.sqrt(1 - share)
    h, w = math.floor(height * side), math.floor(width * side)
    top, left = row - h // 2, column - w // 2
    bottom, right = min(top + h, height), min(left + w, width)
    top, left = max(top, 0), max(left, 0)
    return top, left, bottom, right, 1 - (bottom - top) * (right - left) / (height * width)
    ### END SOLUTION

# %% check="cutmix_box"
check("hw8.cutmix_box", cutmix_box)

# %% [markdown]
# **Look at it.** The same share, three centres: how much is kept?

# %%
with when_done():
    captions, pasted = [], []
    scene = load("two_questions", device="cpu", size=2).images.float() / 255  # (2, 3, 32, 32)
    for row, column in ((16, 16), (4, 16), (2, 30)):
        top, left, bottom, right, kept = map(float, cutmix_box(32, 32, 0.6, row, column))
        image = scene[0].clone()  # (3, 32, 32)
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        image[:, rows, columns] = 0.4 * scene[1][:, rows, columns]  # darker, so that the box is seen
        pasted.append(image)
        captions.append(f"asked 0.60, kept {kept:.2f}")
    display(plots.image_grid(torch.stack(pasted), columns=3, captions=captions))

# %% [markdown]
# ## 8 · Leaving out whole branches ●●○○○
#
# **Why.** A deep network with residual connections, $x + f(x)$, can be trained with some branches $f$ left out at
# random: **stochastic depth** (Huang et al. 2016), in code mostly `drop_path`. Each image then goes through a shallower
# network of its own, and no block may rely on the one before. Vision transformers are trained with it rather than with
# dropout.
#
# **What.** `drop_path(branch, rate, training, generator)`: `branch` is $f(x)$, $(B, \dots)$ with any number of axes
# behind; returns the same shape.
#
# * If `training` is False, the branch comes back as it is: nothing is left out, nothing is scaled.
# * If it is True, draw one number for each **sample**,
#   `torch.rand(len(branch), generator=generator, device=branch.device)`. Where it is **below** `rate`, the whole branch
#   of that sample becomes 0. Where it is not, the branch is divided by $1 - \text{rate}$, so that on average everything
#   stays as large as it was. `rate` is at least 0 and below 1.
#
# **By hand.** Three samples, each with $f(x) = 6$, rate 0.25, drawn 0.9, 0.1, 0.5: the result is 8, 0, 8.

# %% exercise="drop_path"
def drop_path(branch, rate, training, generator):
    """(B, ...) -> (B, ...): in training, each sample loses the whole branch with the probability `rate`."""
    ### BEGIN SOLUTION
    if not training:
        return branch
    drawn = torch.rand(len(branch), generator=generator, device=branch.device)  # (B,)
    kept = (drawn >= rate).to(branch.dtype).view(-1, *[1] * (branch.ndim - 1))  # (B, 1, ...)
    return branch * kept / (1 - rate)
    ### END SOLUTION

# %% check="drop_path"
check("hw8.drop_path", drop_path)

# %% [markdown]
# **Look at it.** The rate grows from 0 in the first block to its highest value in the last. In a network of 12 blocks:
# through how many does an image go?

# %%
with when_done():
    generator, found = torch.Generator().manual_seed(0), {}
    for highest in (0.1, 0.3, 0.5):
        rates = torch.linspace(0, highest, 12).tolist()
        alive = [drop_path(torch.ones(4000, 1), rate, True, generator) > 0 for rate in rates]  # (4000, 1) each
        depths = torch.stack(alive).sum(dim=0).flatten()  # (4000,)
        found[f"up to {highest}"] = [(depths == n).float().mean().item() for n in range(13)]
        print(f"rate up to {highest}: {depths.float().mean():.1f} of 12 blocks on average")
    display(plots.curves(range(13), found, xlabel="blocks that an image goes through", ylabel="share of the images"))

# %% [markdown]
# ## 9 · Batch norm, in training and after it ●●●○○
#
# **Why.** Transformers are normalised over a token's own numbers (layer norm). ConvNets mostly use
# **batch norm** (Ioffe and Szegedy 2015): it normalises each channel by mean and variance *of the batch*. So an image's
# result depends on its neighbours in the batch, and at test time, when one image may come alone, other numbers have to
# be used: a running mean of what was seen in training. Two modes, two variances, a running mean: more goes wrong here
# than in any other layer.
#
# **What.** `batch_norm(x, scale, shift, running_mean, running_var, training, momentum, eps)`: `x` $(B, C, H, W)$; the
# next four $(C)$, one number for a channel. Returns the tuple `(y, running_mean, running_var)`: $(B, C, H, W)$ and the
# two running ones as they are *afterwards*, new tensors $(C)$ each. With $n = B H W$ numbers in a channel:
#
# * **`training` True:** $\mu$ and $\sigma^2$ are mean and variance of each channel over batch, rows and columns, the
#   variance **divided by $n$**. Then
#
# $$y = \text{scale} \cdot \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \text{shift}$$
# $$\text{running\_mean}' = (1 - m)\, \text{running\_mean} + m\, \mu, \qquad \text{running\_var}' = (1 - m)\, \text{running\_var} + m\, \frac{n}{n - 1}\, \sigma^2$$
#
#   $m$ = `momentum` is the share of the **new**, as in torch. The running variance takes the estimate **divided by
#   $n - 1$**, because it is to be true of images that were not in the batch.
# * **`training` False:** the running ones stand for $\mu$ and $\sigma^2$ as they are, and come back unchanged.
#
# $\epsilon$ = `eps` stands inside the root. Gradients flow through $\mu$ and $\sigma^2$ into $x$; but the **running
# ones are detached** from the graph, or each of them would keep all batches so far in memory.
#
# **By hand.** One channel, two images of one pixel each: $x = (1, 5)$, scale 1, shift 0, $\epsilon = 0$, $m = 0.1$,
# running 0 and 1. $\mu = 3$, $\sigma^2 = 4$, so $y = (-1, 1)$; afterwards the running mean is 0.3 and the running
# variance $0.9 + 0.1 \cdot 8 = 1.7$.

# %% exercise="batch_norm"
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum, eps):
    """Normalise each channel over the batch, or by what was seen in training.

    Args:
        x: (B, C, H, W).
        scale, shift, running_mean, running_var: (C,) each.
        training: True or False.
        momentum: share of the new in the running ones.
        eps: a number, inside the root.

    Returns:
        (y, running_mean, running_var): (B, C, H, W), (C,), (C,).
    """
    ### BEGIN SOLUTION
    mean, var = running_mean, running_var
    if training:
        mean = x.mean(dim=(0, 2, 3))  # (C,)
        var = ((x - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))  # (C,)
        n = x.numel() / x.shape[1]
        running_mean = (1 - momentum) * running_mean + momentum * mean.detach()
        running_var = (1 - momentum) * running_var + momentum * var.detach() * n / (n - 1)
    y = (x - mean[:, None, None]) / (var[:, None, None] + eps).sqrt()  # (B, C, H, W)
    return scale[:, None, None] * y + shift[:, None, None], running_mean, running_var
    ### END SOLUTION

# %% check="batch_norm"
check("hw8.batch_norm", batch_norm)

# %% [markdown]
# **Look at it.** A channel with mean 5 and variance 4 comes by in batches of 8 × 3 × 3 numbers. Running mean and
# variance begin at 0 and 1. How many steps until they know?

# %%
with when_done():
    torch.manual_seed(0)
    lines = {}
    for momentum in (0.01, 0.1, 0.5):
        mean, var, line = torch.zeros(1), torch.ones(1), []
        for _ in range(100):
            x = 5 + 2 * torch.randn(8, 1, 3, 3)  # (B, C, H, W)
            _, mean, var = batch_norm(x, torch.ones(1), torch.zeros(1), mean, var, True, momentum, 1e-5)
            line.append(var.item())
        lines[f"momentum {momentum}"] = line
    ends = "; ".join(f"{name}: {line[-1]:.2f}" for name, line in lines.items())
    picture = plots.curves(range(1, 101), lines, xlabel="step", ylabel="running variance", levels={"true": 4.0})
    display(picture.described(f"running variances; after 100 steps {ends}; the true one is 4"))

# %% [markdown]
# A small momentum forgets its beginning slowly, a large one never stops trembling. A training of 50 steps with momentum
# 0.01 is *tested* with numbers more than half of which are those from before it.

# %% [markdown]
# ## 10 · A teacher ●●●○○
#
# **Why.** A teacher that has already been trained says more than a label: that this cat is a little like a lynx and not
# at all like a lorry. In DeiT a ConvNet taught the transformer, and with it 1.3 million images were enough (Touvron et
# al. 2021). In homework 2 you wrote that loss for labels that are class numbers. In a whole recipe the labels are
# smoothed and mixed, and the teacher must stay as it is while the student learns.
#
# **What.** `distillation_loss(scores, targets, teacher_scores, temperature, weight)`: all three $(B, K)$; scores are
# raw (before the softmax), targets are shares that sum to 1. Returns one number. With $\tau$ = `temperature`,
# $\alpha$ = `weight` and $t = \operatorname{softmax}(\text{teacher\_scores} / \tau)$,
# $s = \operatorname{softmax}(\text{scores} / \tau)$:
#
# $$(1 - \alpha) \cdot \frac1B \sum_{b, k} -q_{bk} \log \operatorname{softmax}(\text{scores})_{bk} \;+\; \alpha\, \tau^2 \cdot \frac1B \sum_{b, k} t_{bk} \log \frac{t_{bk}}{s_{bk}}$$
#
# * The first part, with the targets $q$, has no temperature.
# * The second is the divergence of the student *from the teacher*: the teacher's shares stand in front. It is 0 if both
#   agree. $\tau^2$ keeps its gradient as large as at $\tau = 1$.
# * The **teacher does not learn**: detach its scores. The gradient with respect to them is compared, and it is 0.
#
# **By hand.** Two classes, $\tau = 1$, $\alpha = 1$, one image: teacher $(\frac34, \frac14)$, student
# $(\frac12, \frac12)$: $\frac34 \ln \frac32 + \frac14 \ln \frac12 = 0.131$. With the two in exchange it would be 0.144.

# %% exercise="distillation_loss"
def distillation_loss(scores, targets, teacher_scores, temperature, weight):
    """Raw scores (B, K), targets (B, K), the teacher's raw scores (B, K), two numbers -> one number."""
    ### BEGIN SOLUTION
    student = F.log_softmax(scores / temperature, dim=1)  # (B, K)
    teacher = F.log_softmax(teacher_scores.detach() / temperature, dim=1)  # (B, K)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=1).mean()
    return (1 - weight) * soft_cross_entropy(scores, targets) + weight * temperature**2 * divergence
    ### END SOLUTION

# %% check="distillation_loss"
check("hw8.distillation_loss", distillation_loss)

# %% [markdown]
# **Look at it.** What pulls at the student's score of each class? A label "cat" alone, a teacher that is nearly sure,
# and the same teacher at temperature 4. The student knows nothing yet: all its scores are 0.

# %%
with when_done():
    names = ["cat", "lynx", "dog", "lorry"]
    teacher = torch.tensor([[6.0, 4.0, 2.0, -3.0]])  # (1, K)
    target = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    pulls = []
    for temperature, weight in ((1.0, 0.0), (1.0, 1.0), (4.0, 1.0)):
        scores = torch.zeros(1, 4, requires_grad=True)
        distillation_loss(scores, target, teacher, temperature, weight).backward()
        pulls.append(-scores.grad[0])
    rows = ["label", "τ = 1", "τ = 4"]  # at weight 0 and, twice, at weight 1
    display(plots.matrices({"pull at each score": torch.stack(pulls)}, rows=rows, columns=names))

# %% [markdown]
# ## 11 · Lower layers move less ●●○○○
#
# **Why.** A pre-trained network is fine-tuned on a few images. Its first layers know edges and colours, which are the
# same everywhere; its last ones know the old classes. So each layer gets a learning rate of its own, which falls from
# the head down to the patches by a factor a layer: **layer-wise decay** (BEiT, Bao et al. 2022). Most errors here are
# by one layer, or in the reading of a parameter's name.
#
# **What.** `layer_decay(name, depth, decay)`: the *name* of one parameter of a vision transformer with `depth` blocks;
# returns the factor of its learning rate, a number, $\text{decay}^{\,\text{depth} + 1 - \text{layer}}$, where
#
# | name | layer |
# |-|-|
# | begins with `patch_embed.`, or is `class_token` or `positions` | 0 |
# | begins with `blocks.` $i$ `.` | $i + 1$ |
# | everything else: `norm.`…, `head.`… | depth + 1 |
#
# Blocks are counted from 0 and may have two digits. Only the *beginning* of a name counts: `blocks.3.norm1.weight`
# belongs to block 3.
#
# **By hand.** Depth 2, decay $\frac12$: `patch_embed.weight` $\frac18$, `blocks.0.mlp.fc1.bias` $\frac14$,
# `blocks.1.norm2.weight` $\frac12$, `norm.bias` and `head.weight` 1.

# %% exercise="layer_decay"
def layer_decay(name, depth, decay):
    """The name of a parameter, how many blocks there are, a factor for each layer -> a number."""
    ### BEGIN SOLUTION
    first, *rest = name.split(".")
    if first in ("patch_embed", "class_token", "positions"):
        layer = 0
    elif first == "blocks":
        layer = int(rest[0]) + 1
    else:
        layer = depth + 1
    return decay ** (depth + 1 - layer)
    ### END SOLUTION

# %% check="layer_decay"
check("hw8.layer_decay", layer_decay)

# %% [markdown]
# **Look at it.** Twelve blocks, three decays. BEiT fine-tuned its base model with 0.65: the patches move at less than
# half a per cent of the head's rate.

# %%
with when_done():
    names = ["patch_embed.weight", *(f"blocks.{i}.mlp.fc1.weight" for i in range(12)), "head.weight"]
    lines = {f"decay {decay}": [layer_decay(name, 12, decay) for name in names] for decay in (0.65, 0.75, 0.9)}
    ends = "; ".join(f"{name}: {line[0]:.4f}" for name, line in lines.items())
    picture = plots.curves(range(14), lines, xlabel="layer", ylabel="factor of the rate")
    display(picture.described(f"factors by layer, 1 at the head; at the patches {ends}"))

# %% [markdown]
# ## 12 · Towards flat places ●●●●○
#
# **Why.** Two networks fit the training images equally well; at one of them the loss rises steeply as soon as a weight
# is changed a little, at the other hardly. The flat one tends to do better on new images. **Sharpness-aware
# minimisation** (SAM, Foret et al. 2021) looks for flat places: it climbs a short way *uphill* first, to where the loss
# is worst nearby, takes the gradient **there**, and makes the step with it **from where it came**. Vision transformers
# trained from scratch gain much from it (Chen et al. 2022). It costs two gradients a step.
#
# **What.** `sam_step(model, images, labels, learning_rate, rho)` makes one step in place. The loss $L$ is the cross
# entropy of `model(images)`, $(B, K)$, and `labels` $(B)$; `F.cross_entropy` is allowed here.
#
# $$g = \nabla L(w), \qquad e = \rho\, \frac{g}{\lVert g \rVert}, \qquad w' = w - \eta\, \nabla L(w + e)$$
#
# * $\lVert g \rVert$ is **one** length for all parameters together: the root of the sum of all squares in all tensors.
# * The second gradient is taken at $w + e$ and nowhere else: clear the first one before it.
# * The step is plain gradient descent (no momentum, no decay) and begins at $w$: put the old weights back.
# * Return the loss **before** anything moved, $L(w)$, a plain number.
#
# You may rely on it that the gradient is not 0.
#
# **By hand.** One weight, $L = w^2$, $w = 1$, $\rho = 0.5$, $\eta = 0.1$: $g = 2$, $e = 0.5$, the gradient at 1.5 is 3,
# so $w' = 1 - 0.3 = 0.7$, and 1 is returned.

# %% exercise="sam_step"
def sam_step(model, images, labels, learning_rate, rho):
    """One sharpness-aware step, in place.

    Args:
        model: images (B, C, H, W) -> scores (B, K).
        images: (B, C, H, W), labels: (B,) int64.
        learning_rate: of the step.
        rho: how far uphill, over all parameters together.

    Returns:
        the loss before the step, a float.
    """
    ### BEGIN SOLUTION
    weights = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    uphill = torch.autograd.grad(loss, weights)
    length = torch.cat([g.flatten() for g in uphill]).norm()
    old = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, g in zip(weights, uphill):
            w += rho * g / length
    there = torch.autograd.grad(F.cross_entropy(model(images), labels), weights)
    with torch.no_grad():
        for w, before, g in zip(weights, old, there):
            w.copy_(before - learning_rate * g)
    return loss.item()
    ### END SOLUTION

# %% check="sam_step"
check("hw8.sam_step", sam_step)

# %% [markdown]
# **Look at it.** A small network learns 200 digits, once by plain steps ($\rho$ nearly 0) and once by yours. Then all
# weights are moved by a random step of growing length: how fast does the loss rise?

# %%
few = digits.subset(200)

def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))

@torch.no_grad()
def loss_nearby(model, distances, directions=20):
    """Loss on the 200 digits at each distance, the mean over random directions; a list."""
    weights, found = list(model.parameters()), []
    old, generator = [w.clone() for w in weights], torch.Generator().manual_seed(0)
    for distance in distances:
        total = 0.0
        for _ in range(directions):
            step = [torch.randn(w.shape, generator=generator) for w in weights]
            length = torch.cat([d.flatten() for d in step]).norm()
            for w, before, d in zip(weights, old, step):
                w.copy_(before + distance * d / length)
            total += F.cross_entropy(model(standard(few.images)), few.labels).item()
        found.append(total / directions)
    return found

# %% [markdown]
# *Price of the next cell: a few seconds on a laptop's CPU.*

# %%
with when_done():
    distances, lines = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0], {}
    for name, rho in (("plain steps", 1e-6), ("SAM, ρ = 0.3", 0.3)):
        model = small_network()
        for _ in range(budget(tiny=5, cpu=300)):
            sam_step(model, standard(few.images), few.labels, 0.1, rho)
        lines[name] = loss_nearby(model, distances)
    said = "; ".join(f"{name}: {line[0]:.3f} there, {line[-1]:.2f} at a distance of 4" for name, line in lines.items())
    picture = plots.curves(distances, lines, xlabel="distance from the trained weights", ylabel="loss")
    display(picture.described(f"loss around two trained networks. {said}"))

# %% [markdown]
# ## All together: one recipe, two architectures
#
# Nothing to write here. Two networks of about the same size learn the digits from 200 of them: a **ViT** of three
# blocks on patches of 2 × 2 pixels, and a **CNN** of three residual blocks with your batch norm. Both leave out
# branches by your `drop_path`. Two recipes, out of your parts alone: the **bare** one is AdamW's step with a constant
# rate and hard labels; the **full** one has warm-up and cosine, decay, smoothed and mixed labels and stochastic depth.
# Three seeds each.

# %%
class BatchNorm(nn.Module):
    """(B, C, H, W) -> (B, C, H, W): a layer around your batch_norm, which keeps the running ones."""

    def __init__(self, channels):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x):
        y, mean, var = batch_norm(x, self.scale, self.shift, self.mean, self.var, self.training, 0.1, 1e-5)
        if self.training:
            self.mean, self.var = mean, var
        return y

# %%
class SmallCNN(nn.Module):
    """Images (B, C, H, W) -> scores (B, K): residual blocks of one convolution each."""

    def __init__(self, channels=1, width=32, depth=3, drop=0.0, num_classes=10):
        super().__init__()
        conv = lambda inputs: nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(conv(channels), BatchNorm(width), nn.ReLU())
        self.blocks = nn.ModuleList(nn.Sequential(conv(width), BatchNorm(width), nn.ReLU()) for _ in range(depth))
        self.head = nn.Linear(width, num_classes)
        self.rates = torch.linspace(0, drop, depth).tolist()

    def forward(self, images):
        x = self.stem(images)  # (B, D, H, W)
        for block, rate in zip(self.blocks, self.rates):
            x = x + drop_path(block(x), rate, self.training, None)
        return self.head(x.mean(dim=(2, 3)))

# %%
class SmallViT(nn.Module):
    """Images (B, C, H, W) -> scores (B, K): patches, positions, pre-norm blocks, the mean of the tokens."""

    def __init__(self, channels=1, image_size=8, patch_size=2, width=32, depth=3, heads=4, drop=0.0, num_classes=10):
        super().__init__()
        tokens = (image_size // patch_size) ** 2
        self.patch_embed = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(0.5 * torch.randn(tokens, width))
        layers = lambda: nn.ModuleDict({
            "norm1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
            "norm2": nn.LayerNorm(width),
            "mlp": nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))})
        self.blocks = nn.ModuleList(layers() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)
        self.rates, self.heads = torch.linspace(0, drop, depth).tolist(), heads

    def attention(self, block, x):
        q, k, v = rearrange(block["qkv"](x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        return block["out"](rearrange(x, "b h n d -> b n (h d)"))

    def forward(self, images):
        x = self.patch_embed(images).flatten(2).mT + self.positions  # (B, N, D)
        for block, rate in zip(self.blocks, self.rates):
            x = x + drop_path(self.attention(block, block["norm1"](x)), rate, self.training, None)
            x = x + drop_path(block["mlp"](block["norm2"](x)), rate, self.training, None)
        return self.head(self.norm(x).mean(dim=1))

# %%
BARE = {"warmup": 0.0, "floor": 1.0, "decay": 0.0, "smoothing": 0.0, "mix": 0.0, "drop": 0.0}
FULL = {"warmup": 0.1, "floor": 0.01, "decay": 0.05, "smoothing": 0.1, "mix": 0.4, "drop": 0.1}
PEAK = 2e-3  # the learning rate of both

def step_all(parameters, memory, step, rate, decay):
    """One step of your AdamW in place, all numbers in a row; only what has two axes or more decays."""
    for is_matrix, share in ((True, decay), (False, 0.0)):
        group = [w for w in parameters if (w.ndim > 1) is is_matrix]
        w = torch.cat([each.detach().flatten() for each in group])  # (n,)
        g = torch.cat([each.grad.flatten() for each in group])  # (n,)
        m, v = memory.get(is_matrix, (torch.zeros_like(w), torch.zeros_like(w)))
        w, m, v = adamw_step(w, g, m, v, step + 1, rate, 0.9, 0.999, 1e-8, share)
        memory[is_matrix] = m, v
        nn.utils.vector_to_parameters(w, group)

def mixed_batch(images, labels, mix, generator):
    """Images and targets of a batch, each mixed with the next one by a share of its own (mix = 0: not at all)."""
    partners = torch.arange(len(images)).roll(1)  # (B,)
    shares = torch.ones(len(images))
    if mix:
        shares = 1 - mix * torch.rand(len(images), generator=generator)  # (B,), evenly from 1 - mix to 1
    return mixup_images(images, partners, shares), mixup_targets(labels, partners, shares, 10)

# %%
from functools import cache

held_out = load("digits", "test", device="cpu")

@cache
def learned(kind, recipe_name, seed, times=1):
    """The share of the held-out digits that a network gets right, trained on 200 others (`times` as long)."""
    recipe = {"bare": BARE, "full": FULL}[recipe_name]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = (SmallViT if kind == "ViT" else SmallCNN)(drop=recipe["drop"])
    parameters, memory, steps = list(model.parameters()), {}, times * budget(tiny=3, cpu=200)
    for step in range(steps):
        chosen = torch.randint(len(few.labels), (32,), generator=generator)
        images, targets = mixed_batch(standard(few.images[chosen]), few.labels[chosen], recipe["mix"], generator)
        loss = soft_cross_entropy(model(images), label_smoothing(targets, recipe["smoothing"]))
        model.zero_grad()
        loss.backward()
        rate = lr_schedule(step, steps, int(recipe["warmup"] * steps), PEAK, PEAK * recipe["floor"])
        step_all(parameters, memory, step, rate, recipe["decay"])
    with torch.no_grad():
        right = model.eval()(standard(held_out.images)).argmax(dim=1) == held_out.labels  # (n,)
    return right.float().mean().item()

# %% [markdown]
# *Price of the next cell: about half a minute on a laptop's CPU.*

# %%
with when_done():
    sizes = {kind: sum(w.numel() for w in network().parameters())
             for kind, network in (("ViT", SmallViT), ("CNN", SmallCNN))}
    print("parameters:", sizes)
    seeds = range(budget(tiny=1, cpu=3))
    results = {kind: {recipe: tuple(learned(kind, recipe, seed) for seed in seeds) for recipe in ("bare", "full")}
               for kind in ("ViT", "CNN")}
    display(plots.bars(results, chance=0.1))

# %% [markdown]
# Each bar is the mean of three seeds, the marks are the single ones. A difference is one if the marks do not overlap.
# Does the recipe give the same to both networks? Now the same ViT, one seed, under both recipes *five times as long*.
# Before you run the cell: which recipe will be ahead?
#
# *Price of the next cell: about a quarter of a minute on a laptop's CPU.*

# %%
with when_done():
    longer = {f"ViT, {recipe}": {"200 steps": learned("ViT", recipe, 0), "1000 steps": learned("ViT", recipe, 0, 5)}
              for recipe in ("bare", "full")}
    display(plots.bars(longer, chance=0.1))

# %% [markdown]
# <details><summary>What we saw</summary>
#
# In 200 steps the full recipe holds the ViT back: mixed images, softened labels and missing branches make every step
# harder, and there are few. In 1000 steps the bare recipe gets no better, since it has long known its 200 images by
# heart; the full one goes on learning and passes it. The length of a training is a part of its recipe, and the CNN
# needed neither.
# </details>
#
# **Change a number.** Take one part out of `FULL` at a time. Which one carries most in the long training? And with
# `few = digits.subset(1000)`?
#
# **Photographs.** Your two networks on CIFAR-10, under a bare and a full recipe of the course's own training loop, which
# keeps everything on the device: small and with 2,000 photographs on a CPU, larger and with all of them on a GPU. (Your
# `drop_path` has to draw on the device of its branch.) One seed, so read it accordingly.
#
# *Price: some 100 seconds of one CPU core for the four, as measured once, and once a download of 170 MB; on
# a GPU not measured.*

# %%
from course.data import photographs


def train_on_cifar():
    """Two networks, two recipes, photographs."""
    from course.training import evaluate, fit, recipes

    width, depth, heads = budget(tiny=(16, 1, 2), cpu=(48, 3, 4), gpu=(192, 9, 3))
    channels, layers = budget(tiny=(8, 2), cpu=(32, 4), gpu=(128, 12))
    build = {
        "ViT": lambda drop: SmallViT(3, image_size=32, patch_size=4, width=width, depth=depth, heads=heads, drop=drop),
        "CNN": lambda drop: SmallCNN(3, width=channels, depth=layers, drop=drop),
    }
    photos = photographs(budget(tiny=200, cpu=2_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    train, test = photos
    small = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=150))
    bare = budget(tiny=small, cpu=small, gpu=recipes.gpu.but(epochs=20, label_smoothing=0.0, augment=()))
    full = bare.but(label_smoothing=0.1, augment=("random_crop", "random_flip"), mixup=0.8, cutmix=1.0)
    for name, recipe, drop in (("bare", bare, 0.0), ("full", full, 0.1)):
        for kind, network in build.items():
            torch.manual_seed(0)
            model = network(drop)
            fit(model, train, recipe, plot=False)
            print(f"{name}, {kind}: {evaluate(model, test):.0%} of CIFAR-10's test images")


with when_done():
    train_on_cifar()

# %% [markdown] written="one_recipe" points=6
# ## 13 · In your own words ●●●○○
#
# A few sentences for each part. This one is read by a person.
#
# **(a)** *(2 points)* Two networks are trained by *one* recipe, and network A is ahead of network B. "So A is the
# better architecture." Give two reasons why this does not follow, and say how you would compare the two fairly. Use
# your own bars: name one number that would have misled you.
#
# **(b)** *(1 point)* Mixup, CutMix and erasing are said to "replace" an inductive bias. What does a ViT have to learn
# from such images that a ConvNet has built in?
#
# **(c)** *(3 points)* The accuracies (ImageNet top-1, in per cent, all at 384² pixels) are from the paper on Swin (Liu
# et al. 2021, table 1).
#
# | | trained on 1.3 million images | first on 14 million |
# |-|-:|-:|
# | ViT-B/16 | 77.9 | 84.0 |
# | ViT-L/16 | 76.5 | 85.2 |
# | Swin-B | 84.5 | 86.4 |
# | DeiT-B | 83.1 | |
#
# DeiT-B is ViT-B/16 *in another recipe*. Explain the table by inductive bias × size of the pre-training: why the larger
# ViT is worse on little data and better on much; why Swin gains least. Then say what DeiT's number does to that
# explanation.
#
# ### BEGIN SOLUTION
# **(a)** A recipe is tuned for the architecture it was made with (rate, decay, augmentation, length), so B may be ahead
# under its own. It may also change more than one thing at once: A's recipe regularises, and B, which regularises itself
# by its bias, is only held back by it, or it is too short for B. And one seed is no comparison. Fair: tune rate and
# regularisation for each within the same budget (same images seen, same compute, same resolution), report both under
# both recipes, several seeds. From the bars: after 200 steps the full recipe looked harmful to the ViT (83 against 90
# on average), after 1000 it was ahead (94 against 88); or one seed whose mark lies on the other side of the mean.
#
# *Marking: half a point for each of two reasons, half a point for a fair comparison (each tuned with the same budget,
# several seeds), half a point for a number of one's own bars with what it would have suggested.*
#
# **(b)** That parts count by themselves and wherever they lie (locality, sharing over places), and that what happens
# between or on top of images changes the answer smoothly: a ConvNet's small kernels, equal at all places, have the
# first two built in. The ViT gets them as examples: a piece of a dog anywhere in another image is still a dog.
#
# *Marking: the point for locality or equality of places, tied to what the augmented image shows; half for "more data"
# alone.*
#
# **(c)** Little bias leaves many functions that fit 1.3 million images, and the larger ViT has more of the wrong ones
# to choose from: it overfits. With 14 million, data rule these out and its capacity is used. Swin assumes what is true
# of photographs (nearby belongs together, from small to large), so it needs fewer images and has less left to gain; the
# assumption may even bind it later. DeiT has the same architecture and the same images as the 77.9 and comes 5.2
# higher: much of what the table shows as bias was recipe. Augmentation and regularisation are a prior as well, put into
# the data and the loss; they do some of the work of bias and of data. Bias still counts: Swin, under a similar recipe,
# is ahead by 1.4.
#
# *Marking: 1 point for the larger ViT (capacity × data), 1 point for Swin (its assumptions do part of what data would),
# 1 point for DeiT (same network, same images: recipe, not bias alone).*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * Momentum in two forms, with two learning rates; Adam divides by the usual size of a gradient, and AdamW's decay
#   stays out of that division.
# * The rate climbs, then falls along half a cosine.
# * Labels are shares: smoothed, mixed by shares or by area, or a teacher's. One loss takes them all.
# * Stochastic depth is drawn for each sample, and rescaled; batch norm has two modes and two variances.
# * Layer-wise decay keeps what pre-training knows; SAM looks for flat places.
# * A recipe is half of a result: no architecture is better in itself.
#
# **Next:** lecture `13_scaling` asks what more data and more depth need.
#
# **References.** B. Polyak, *Some methods of speeding up the convergence of iteration methods*, 1964. · D. Kingma and
# J. Ba, *Adam*, ICLR 2015. · I. Loshchilov and F. Hutter, *SGDR*, ICLR 2017 (cosine) and *Decoupled weight decay
# regularization*, ICLR 2019. · C. Szegedy et al., *Rethinking the Inception architecture*, CVPR 2016 (label smoothing).
# · H. Zhang et al., *mixup*, ICLR 2018. · S. Yun et al., *CutMix*, ICCV 2019. · G. Huang et al., *Deep networks with
# stochastic depth*, ECCV 2016. · S. Ioffe and C. Szegedy, *Batch normalization*, ICML 2015. · H. Touvron et al.,
# *Training data-efficient image transformers & distillation through attention*, ICML 2021. · G. Hinton et al.,
# *Distilling the knowledge in a neural network*, 2015. · H. Bao et al., *BEiT*, ICLR 2022. · P. Foret et al.,
# *Sharpness-aware minimization*, ICLR 2021. · X. Chen et al., *When vision transformers outperform ResNets without
# pre-training or strong data augmentations*, ICLR 2022. · Z. Liu et al., *Swin transformer*, ICCV 2021.
