# %% [markdown]
# # Homework 0 · Your first check
#
# **You write** one line · **needs** nothing · **takes** five minutes
#
# This homework is here so that you meet the checks before they matter. A network that has turned an image into
# $N$ tokens, each a vector of $D$ numbers, still has to answer one question about the whole image. The simplest way
# is to average the tokens: one vector that has heard from every place.
#
# **Your own cells count.** What you add or change is run when you hand in, statement by statement in the order of
# the notebook, so that one that fails takes nothing else along, and what only prints, draws or trains costs
# nothing. A `.py` file beside the notebook that it imports is run too: hand it in with the notebook.
# `course check` and your feedback page name every line that failed or was not run.

# %% tags=["setup"]
import torch

from course import check, setup

setup(seed=0)

# %% [markdown]
# ## Average the tokens
#
# Write `mean_of_tokens(x)`: from `x` of shape `(B, N, D)` to `(B, D)`, the average over the `N` tokens of each image.

# %% exercise="mean_of_tokens"
def mean_of_tokens(x):
    """(B, N, D) -> (B, D): the average over the N tokens."""
    ### BEGIN SOLUTION
    return x.mean(dim=1)  # (B, D)
    ### END SOLUTION

# %% check="mean_of_tokens"
check("hw0.mean_of_tokens", mean_of_tokens)

# %% [markdown]
# Try it the wrong way on purpose: average over `dim=2`, run both cells again, and read the card. Under it a **hint** is
# folded away, with another one inside: open it when the card alone does not help. Then put it right.
