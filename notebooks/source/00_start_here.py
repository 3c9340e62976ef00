# %% [markdown]
# # 0 · Start here
#
# | | |
# |---|---|
# | **You will understand** | what this course is, how a lecture and a check work, and what the letters B T C H W, N, D, h, d, P, M mean |
# | **You need** | Python; PyTorch as far as having trained one CNN (on CIFAR-10, say) |
# | **It takes** | {reading time}; all cells together run in seconds |
# | **Before · after** | **0 · Start here** · 1 · Convolution |
# | **Homework** | [hw0 · Your first check](../assignments/hw0_first_check/hw0_first_check.ipynb): one line |

# %% tags=["setup"]
import torch
from einops import rearrange
from course import budget, check, plots, setup
from course.data import load
setup(seed=0)

# %% [markdown]
# ## 1 · What this is
#
# This course takes you from *I have trained a CNN* to building, training and understanding every family of
# **vision transformer**, and the networks that were built in answer to them. You read lectures like this one,
# in which every idea is run and drawn, and you write the networks yourself in six homeworks. Everything runs
# on a laptop, without a network connection; with a GPU the same cells train at full size.
#
# This is the whole of it. Follow the arrows: the left column is the common ground, after lecture 5 take the
# rows in any order.

# %%
plots.course_map()

# %% [markdown]
# ## 2 · How to read a lecture
#
# **Run, look, change a number, run again.** A lecture is not a film. Press *Shift + Enter* in every cell;
# after each step that moves numbers about, there is a picture of what moved. Where it says **Question**,
# decide on an answer *before* you change the cell, then run it. Being wrong there is the fastest way to
# learn.
#
# Try it. An image is a block of numbers (C, H, W), and cutting it into patches is one line. `p=4` makes
# patches of 4 × 4 pixels:

# %%
image = load("two_questions", "test").images[3]  # (C, H, W) = (3, 32, 32)
cut = rearrange(image, "c (row p) (column q) -> (row column) (c p q)", p=4, q=4)  # (N, C·P·P)
cut.shape

# %% [markdown]
# 64 tokens of 48 numbers. This is what was cut:

# %%
plots.patches(image, patch=4)

# %% [markdown]
# **Question 0.1** Change `p` and `q` to 8, and `patch` to 8. What happens to the number of tokens, and to the
# length of each? What stays the same? Then try 5.
#
# <details><summary>Answer</summary>
#
# A quarter of the tokens (64 → 16), each four times as long (48 → 192): the product, 3072 numbers, is the
# whole image and stays. 5 does not divide 32, so there is no such cut, and you get an error that says so.
# Reading errors is part of the course; ours try to be worth reading.
# </details>

# %% [markdown]
# Answers are folded away like that one. A lecture ends with a summary in five lines, exercises and
# references.

# %% [markdown]
# ## 3 · How the checks work
#
# In the homework you write a function, and the cell below it checks it. A check has three moods. Here are all
# three, on the smallest exercise there is: `mean_of_tokens(x)` should turn tokens `x` of shape (B, N, D) into
# their average, (B, D).
#
# **Not started.** This is how you find it, and nobody scolds you:

# %%
def mean_of_tokens(x):
    raise NotImplementedError("hw0.mean_of_tokens")

check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# **Not right yet.** Suppose you write this. It runs, it has a plausible shape. The check does not just say
# "wrong": it compares what your function returns with what known mistakes return, and tells you which one you
# made. (It also stops, so that *Run All* does not hide it.)

# %% tags=["raises-exception"]
def mean_of_tokens(x):
    return x.sum(dim=1)

check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# **Right.** There is more than one way to be right, and all of them pass: what counts are the numbers.

# %%
def mean_of_tokens(x):
    batch, tokens, width = x.shape
    share = torch.full((tokens,), 1 / tokens, dtype=x.dtype)
    return torch.einsum("bnd,n->bd", x, share)

check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# **Question 0.2** In the wrong version above, write `x.mean(dim=2)`; then `x[:, 0]`; then a mistake of your
# own. Which of them does the check know by name?
#
# <details><summary>Answer</summary>
#
# The first two. A mistake that it has not met it cannot name, but it then shows what was expected beside what
# you returned, and that is often enough to see it.
# </details>

# %% [markdown]
# What a check in your notebook looks at are *stored* inputs. When your homework is graded the same exercise
# is run on new inputs that nobody has seen, so a function that is right for the right reason is the shortest
# way to the points.
#
# **Your own cells count.** What you add or change is run when you hand in homework, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.

# %% [markdown]
# ## 4 · The letters
#
# A network is mostly a story about shapes. So every shape in this course is written with the same letters:
#
# | letter | means | here, below |
# |---|---|---|
# | **B** | batch: how many images or clips at once | 2 clips |
# | **T** | time: frames of a clip | 5 frames |
# | **C H W** | channels, height, width of an image | 3 × 32 × 32 |
# | **P** | side of a patch, in pixels | 4 |
# | **N** | number of tokens (patches, say) | 8 · 8 = 64 |
# | **D** | width: numbers in a token; `embed_dim` in code | 3 · 4 · 4 = 48 |
# | **h**, **d** | heads, and the width of a head; D = h · d | 6 heads of 8 |
# | **M** | side of a window, in tokens | 2 |
#
# And this is what they look like on real tensors:

# %%
clips = load("digit_video", "test", size=2).images  # (B, T, C, H, W)
plots.shape_letters(clips, image, patch=4, window=2, num_heads=6)

# %% [markdown]
# A line of code that changes a shape says so at its end: `# (B, h, N, d)`. If you know the letters, you can
# read a network like a sentence.
#
# **Question 0.3** A batch of 32 colour images of 224 × 224 pixels is cut into patches of 16 × 16. What are N
# and D, and how many numbers does the tensor (B, N, D) hold? Compare with (B, C, H, W).
#
# <details><summary>Answer</summary>
#
# N = (224 / 16)² = 14² = 196 and D = 3 · 16 · 16 = 768. 32 · 196 · 768 = 4,816,896 numbers, exactly as many
# as 32 · 3 · 224 · 224: cutting loses nothing. (These are the numbers of ViT-B/16, lecture 5.)
# </details>

# %% [markdown]
# ## 5 · The data
#
# Three data sets need no download. **digits** are 1,797 real handwritten digits, 8 × 8 pixels:

# %%
digits = load("digits", "train")
plots.image_grid(digits, count=20, columns=10)

# %% [markdown]
# **two_questions** is drawn by the computer, and asks two questions about the same pixels: *texture*, which
# way the stripes run (any small window knows), and *relation*, in which direction the blue ring lies from the
# red plus (no small window knows). Lecture 3 is about the difference.

# %%
plots.image_grid(load("two_questions", "test"), count=10)

# %% [markdown]
# **digit_video** lets the digits move. The middle frame alone says nothing about the motion; it takes the
# others, and their order:

# %%
plots.video_strip(load("digit_video", "test"), count=4)

# %% [markdown]
# What `load` returns is images as bytes, labels as numbers, and the names of the classes. It is the same
# every time, on every machine:

# %%
digits

# %% [markdown]
# And **cifar10**, 60,000 small photographs, is fetched once (`course data cifar10` in a terminal) and then
# needs no network either. If it is on this machine, the next cell shows some.

# %% tags=["no-output"]
from course.data import available

state = {row["name"]: row["state"] for row in available()}["cifar10"]
if state == "here":
    display(plots.image_grid(load("cifar10", "test"), count=20, columns=10))
else:
    print(f"CIFAR-10: {state}. No matter: nothing before lecture 5 wants it.")

# %% [markdown]
# ## 6 · How much your machine has to do
#
# Cells that train say what they cost. How much they do depends on a *budget*: `cpu` on a laptop, `gpu` where
# there is one, `tiny` to see only that everything runs. It is chosen for you; set the environment variable
# `COURSE_BUDGET` to choose yourself. A lecture takes a minute or so with `cpu` on two cores.

# %% tags=["no-output"]
budget(tiny="just see that it runs", cpu="a minute on two cores", gpu="full size")

# %% [markdown]
# If anything does not work, ask the **doctor**. It says what this machine has, what is missing, and what to
# do about each. In a terminal that is `course doctor`; here:

# %% tags=["no-output"]
from course.doctor import report

report();

# %% [markdown]
# ## Summary
#
# 1. Run, look, change a number, run again. Answer the question before you run the cell.
# 2. A check is *not started*, *not right yet* (and then it names the mistake if it can), or *right*; only the
#    numbers count.
# 3. The letters are the same everywhere: **B T C H W** data, **N** tokens of width **D**, **h** heads of
#    width **d**, patches of side **P**, windows of side **M**.
# 4. Three data sets need no network: digits, two_questions, digit_video.
# 5. `COURSE_BUDGET` says how much to compute, `course doctor` what is wrong.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Do [homework 0](../assignments/hw0_first_check/hw0_first_check.ipynb): one line, to meet the checks. | 5 |
# | 2 | ●○○ `load("digit_video").ask("digit")`: what changed? Look at `.labels`, `.classes` and `.all_labels`. | 5 |
# | 3 | ●●○ Put the patches of section 2 together again with a second `rearrange`, and check that you get the very same image. | 10 |
#
# Then go on to [3 · Self-attention](03_self_attention.ipynb) and
# [hw1](../assignments/hw1_self_attention/hw1_self_attention.ipynb). (Lectures 1 and 2, a refresher of
# convolution and of the ways out of the small window, are to come; 3 needs only what you know already.)
#
# ## References
#
# * A. Rogozhnikov. *Einops: Clear and Reliable Tensor Manipulations with Einstein-like Notation.* ICLR 2022.
#   [openreview.net/forum?id=oapKSVM2bcj](https://openreview.net/forum?id=oapKSVM2bcj). How `rearrange` is
#   meant.
# * E. Alpaydin, C. Kaynak. *Optical Recognition of Handwritten Digits.* UCI Machine Learning Repository,
#   1998. [doi:10.24432/C50P49](https://doi.org/10.24432/C50P49). Where the digits come from.
# * A. Krizhevsky. *Learning Multiple Layers of Features from Tiny Images.* Technical report, University of
#   Toronto, 2009. CIFAR-10.
