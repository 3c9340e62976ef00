# %% [markdown]
# # Homework 10 · Topic
#
# **You write** two small parts that vision transformers are trained and read with · **needs** nothing · **takes**
# about an hour · **7 points**
#
# | | exercise | points |
# |-|-|-:|
# | 1 | `random_tokens` | 2 |
# | 2 | `AttentionPool` | 3 |
# | 3 | a question in words | 2 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, and if it knows your mistake it tells
# you which one it is. If a card is not right yet, **hints** wait folded under it. Cells that need your code wait until
# it is written. $B$ is the number of images in a batch, $N$ of tokens in an image, $D$ of numbers in a token.
#
# **What counts as right.** A number may be off by 0.0001 and by one part in ten thousand of its size. Where the text
# gives a shape, return one tensor of that shape; several results stand in a tuple or a list. Inputs stay as they are,
# and gradients are compared too: no `.detach()` on the way. The parts of a module need the names that the text gives.

# %% tags=["setup"]
import torch
from torch import nn

from course import check, setup, when_done

setup(seed=0)

# %% [markdown]
# ## 1 · A part of the tokens
#
# **Why.** Neighbouring patches tell much the same. A transformer that sees a random quarter of them is trained in a
# fraction of the time, and has to learn what the others show.
#
# **What.** `random_tokens(x, keep, generator)`: from `x` of shape $(B, N, D)$ to $(B, \text{keep}, D)$. Draw one
# number for each token, `torch.rand(B, N, generator=generator)`. Each image keeps the tokens with its smallest
# numbers, the smallest first.
#
# **By hand.** $N = 3$ tokens, two to keep, the numbers drawn are $0.5$, $0.9$ and $0.1$: the third token comes
# first, then the first token; the second is gone.

# %% exercise="random_tokens"
def random_tokens(x, keep, generator):
    """(B, N, D) -> (B, keep, D): of each image, the tokens that drew the smallest numbers, the smallest first."""
    ### BEGIN SOLUTION
    drawn = torch.rand(x.shape[:2], generator=generator)  # (B, N)
    kept = drawn.argsort(dim=1)[:, :keep]  # (B, keep)
    return x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))  # (B, keep, D)
    ### END SOLUTION

# %% check="random_tokens"
check("hw10.random_tokens", random_tokens)

# %% [markdown]
# **Look at it.** One image of six tokens, each of which holds its own number twice. Another seed keeps others.

# %%
x = torch.arange(6.0)[None, :, None].expand(1, 6, 2)  # (B, N, D) = (1, 6, 2)
with when_done():
    print(random_tokens(x, 3, torch.Generator().manual_seed(0)))  # (1, 3, 2)

# %% [markdown]
# ## 2 · One vector for the whole image
#
# **Why.** The average over the tokens hears the sky as much as the bird. It is better if the network itself says
# how much each token counts.
#
# **What.** `AttentionPool(embed_dim)`, a module. Its only layer is `self.score = nn.Linear(embed_dim, 1)`, one score
# for a token. Its `forward` turns the $N$ scores of each image into weights that are positive and sum to 1, by a
# softmax, and adds up the tokens with these weights: from `x` of shape $(B, N, D)$ to $(B, D)$.
#
# **By hand.** Two tokens $(4)$ and $(8)$ with the scores $0$ and $\ln 3$: the weights are $\frac14$ and $\frac34$,
# the result is $\frac14 \cdot 4 + \frac34 \cdot 8 = 7$.

# %% exercise="AttentionPool"
class AttentionPool(nn.Module):
    """(B, N, D) -> (B, D): the tokens, added up with weights that the layer `score` gives."""

    def __init__(self, embed_dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.score = nn.Linear(embed_dim, 1)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        weights = self.score(x).softmax(dim=1)  # (B, N, 1)
        return (weights * x).sum(dim=1)  # (B, D)
        ### END SOLUTION

# %% check="AttentionPool"
check("hw10.AttentionPool", AttentionPool)

# %% [markdown]
# ## 3 · A question in words

# %% [markdown] written="bias_of_the_score" points=2
# The layer `score` has a bias. Does it change what `AttentionPool` returns? Say why.
#
# ### BEGIN SOLUTION
# No. The bias adds the same number to all scores of an image, which multiplies all $e^{s_i}$ by the same factor. The
# softmax divides by their sum, and the factor is gone.
#
# *Marking: 1 point for "no", 1 point for the factor that cancels.*
# ### END SOLUTION
