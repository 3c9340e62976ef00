# %% [markdown]
# # 0 · Start here
#
# | | |
# |---|---|
# | **You will understand** | what this course is, how a lecture and a check work, and what the letters B T C H W, N, D, h, d, P, M mean |
# | **You need** | Python; PyTorch as far as having trained one CNN (on CIFAR-10, say) |
# | **It takes** | {reading time}; all cells together run in seconds |
# | **Before · after** | **0 · Start here** · [1 · Convolution](01_convolution.ipynb) |
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
# This course takes you from *I have trained a CNN* to building, training and understanding **vision
# transformers**, and the networks that were built in answer to them. You read lectures like this one, in which
# every idea is run and drawn, and you write the networks yourself in homeworks. Everything runs on a laptop,
# without a network connection (one data set, which you may leave out, is downloaded once: section 5). With a GPU
# the cells that train on photographs take larger networks and all the images; no GPU has run them yet.
#
# This is the plan; dashed boxes are lectures that are still being written. Follow the arrows: the left column is
# needed for all the rest. After lecture 5 you can take the rows in any order.

# %%
plots.course_map()

# %% [markdown]
# **Where you are.** The next cell looks through the homeworks that you have saved and marks on the map what is right
# and what is begun. It reads your own files on this machine, and sends and stores nothing. Run it whenever you want to
# know what to do next; in a terminal (*File → New → Terminal*), `course progress` says the same.

# %% tags=["no-output"]
plots.course_progress()

# %% [markdown]
# ## 2 · How to read a lecture
#
# **Run, look, change a number, run again.** Do not only read. Press *Shift + Enter* in every cell. After each
# step that moves numbers to other places there is a picture of what moved. Where it says **Question**, decide on
# an answer *before* you change the cell, then run it. You learn most where your answer was wrong.
#
# Try it. An image is a block of numbers (C, H, W): channels, height, width. One line cuts it into patches.
# `p=4` and `q=4` make patches of 4 × 4 pixels:

# %%
image = load("two_questions", "test").images[3]  # (C, H, W) = (3, 32, 32)
cut = rearrange(image, "c (row p) (column q) -> (row column) (c p q)", p=4, q=4)  # (N, C·P·P)
cut.shape

# %% [markdown]
# 64 tokens of 48 numbers. This is what was cut:

# %%
plots.patches(image, patch=4).described(
    "An image of 32 by 32 pixels, and beside it the same image cut into 64 patches of 4 by "
    "4 pixels, numbered from 0 to 63 row by row. Nothing of the image is lost.")

# %% [markdown]
# **Question 0.1** Change `p` and `q` to 8, and `patch` to 8. What happens to the number of tokens, and to the
# length of each? What stays the same? Then try 5.
#
# <details><summary>Answer</summary>
#
# A quarter of the tokens (64 → 16), each four times as long (48 → 192). The product, 3,072<!-- = 64 * 48 -->
# numbers, is the whole image and stays the same. 5 does not divide 32, so there is no such cut, and you get an
# error that says so. Read the errors of this course: they say what to do.
# </details>

# %% [markdown]
# Answers are folded away like that one. A lecture ends with a summary in a few lines, exercises and
# references.

# %% [markdown]
# ## 3 · How the checks work
#
# In the homework you write a function, and the cell below it checks it. A check has three possible results. Here
# are all three, on the smallest exercise: `mean_of_tokens(x)` should turn tokens `x` of shape (B, N, D) into
# their average, (B, D).
#
# **Not started.** This is how you find every exercise. It is no mistake:

# %%
def mean_of_tokens(x):
    raise NotImplementedError("hw0.mean_of_tokens")

check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# **Not right yet.** Suppose you write this. It runs, and its shape is right. The check does not only say "wrong":
# it compares what your function returns with what known mistakes return, and tells you which one you made. (In a
# homework it also stops *Run All*, so that you see it.)

# %% tags=["raises-exception"]
def mean_of_tokens(x):
    return x.sum(dim=1)

check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# **Right.** There is more than one way to be right, and all of them pass: only the numbers that your function
# returns are compared.

# %% tags=["slide-code"]
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
# The first two. It cannot name a mistake that nobody has told it, but then it shows what was expected beside what
# you returned, and that is often enough to see it.
# </details>

# %% [markdown]
# A check in your notebook uses *stored* inputs. When your homework is graded, the same exercise is run on new
# inputs that nobody has seen. So only a function that is right for every input gets the points.
#
# **Your own cells count.** What you add or change is run when you hand in homework, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.
#
# **Before you hand in**, save the notebook (*Ctrl + S*) and check all of it at once. In a terminal (*File → New →
# Terminal*) that is, for homework 0:
#
# `course check assignments/hw0_first_check/hw0_first_check.ipynb`
#
# It runs the whole notebook from the first cell to the last, as grading does, and lists every exercise with its points.
# Then hand in that one file, under the name it has, where your course collects homework. The end of every homework
# says so again.

# %% [markdown]
# ## 4 · The letters
#
# To understand a network, follow the shapes. Every shape in this course is written with the same letters:
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
# follow any network of this course line by line.
#
# **Question 0.3** A batch of 32 colour images of 224 × 224 pixels is cut into patches of 16 × 16. What are N
# and D, and how many numbers does the tensor (B, N, D) hold? Compare with (B, C, H, W).
#
# <details><summary>Answer</summary>
#
# N = (224 / 16)² = 14² = 196 and D = 3 · 16 · 16 = 768. 32 · 196 · 768 = 4,816,896<!-- = 32 * 3 * 224 * 224 -->
# numbers, exactly as many as 32 · 3 · 224 · 224: cutting loses nothing. (These are the numbers of ViT-B/16,
# lecture 5.)
# </details>

# %% [markdown]
# ## 5 · The data
#
# Three data sets need no download. **digits** are 1,797 real handwritten digits, 8 × 8 pixels:

# %%
digits = load("digits", "train")
plots.image_grid(digits, count=20, columns=10).described(
    "Twenty handwritten digits in grey, 8 by 8 pixels each, with the number that each of "
    "them is.")

# %% [markdown]
# **two_questions** is drawn by the computer, and asks two questions about the same pixels. *Texture*: in which
# direction do the stripes run? Any small window of the image shows it. *Relation*: in which direction does the
# blue ring lie from the red plus? No small window shows both. Lecture 3 is about the difference.

# %%
plots.image_grid(load("two_questions", "test"), count=10).described(
    "Ten images of 32 by 32 pixels: faint stripes, one red plus, one blue ring far from it. "
    "Under each stand its two answers: the direction from plus to ring, and the angle of "
    "the stripes.")

# %% [markdown]
# **digit_video** lets the digits move. The middle frame alone says nothing about the motion. For that one needs
# the other frames, and their order:

# %%
plots.video_strip(load("digit_video", "test"), count=4).described(
    "Four clips of five frames. In each a digit moves by a pixel a frame, left, right, up "
    "or down; beside it stands which digit and which motion.")

# %% [markdown]
# What `load` returns is images as bytes, labels as numbers, and the names of the classes. It is the same
# every time, on every machine:

# %%
digits

# %% [markdown]
# A fourth one, **cifar10**, has 60,000 small photographs. It is downloaded once (`course data cifar10` in a
# terminal) and then needs no network either. If it is on this machine, the next cell shows some of it.

# %% tags=["no-output"]
from course.data import available

state = {row["name"]: row["state"] for row in available()}["cifar10"]
if state == "here":
    display(plots.image_grid(load("cifar10", "test"), count=20, columns=10))
else:
    print(f"CIFAR-10: {state}. No lecture needs it; some, and most homeworks, have a cell that trains on it.")

# %% [markdown]
# ## 6 · How much your machine has to do
#
# Cells that train say how long it takes. How much they do depends on a *budget*: `cpu` on a laptop, `gpu` where
# there is one, `tiny` to see only that everything runs. It is chosen for you; set the environment variable
# `COURSE_BUDGET` to choose yourself. All cells of a lecture take a minute or two with `cpu` on two cores.
#
# Numbers that depend on a training come from **three runs** with three random seeds. One is trained in the cell,
# the other two are stored with the course. A bar then has three marks, a curve has a band, and the text says the
# range of the three. The mark of your own run may lie a little outside of that range: another processor, or another
# number of cores, rounds in another way, and a training makes such small differences larger.

# %% tags=["no-output"]
budget(tiny="just see that it runs", cpu="a minute on two cores", gpu="larger networks, more images")

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
# 5. `COURSE_BUDGET` says how much to compute. In a terminal, `course doctor` says what is wrong, `course check` how a
#    homework stands before you hand it in, and `course progress` what to do next.
#
# ## Exercises
#
# | | | minutes |
# |---|---|---|
# | 1 | ●○○ Do [homework 0](../assignments/hw0_first_check/hw0_first_check.ipynb): one line, to meet the checks. | 5 |
# | 2 | ●○○ `load("digit_video").ask("digit")`: what changed? Look at `.labels`, `.classes` and `.all_labels`. | 5 |
# | 3 | ●●○ Put the patches of section 2 together again with a second `rearrange`, and check that you get the very same image. | 10 |
#
# <details><summary>Answer 2</summary>
#
# The images are the same, the question is another: `.labels` and `.classes` are now those of *digit* (ten classes)
# and not of *motion* (four). `.all_labels` holds both questions, before and after.
# </details>
#
# <details><summary>Answer 3</summary>
#
# `rearrange(cut, "(row column) (c p q) -> c (row p) (column q)", row=8, c=3, p=4)` swaps the two sides. Compare with
# `torch.equal(again, image)`, which should print `True`.
# </details>
#
# Then go on to [3 · Self-attention](03_self_attention.ipynb) and
# [hw1](../assignments/hw1_self_attention/hw1_self_attention.ipynb). ([Lecture 1](01_convolution.ipynb) is a refresher of
# convolution; lecture 2 shows the ways out of the small window; 3 needs only what you know already.)
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
