# %% [markdown]
# # Homework 3 · Swin, from windows to a pyramid that agrees with the public one
#
# **You build** the Swin transformer (Liu et al. 2021) out of its parts: windows, relative positions, the shift
# and its mask, merging; and you load the weights of the public one into yours · **needs** lecture `08_swin`,
# homework 1 · **takes** about four hours, of which reading takes {reading time} · **computing** under a minute on a
# laptop · **70 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `window_partition`, `window_reverse` | ●●○○○ | 20 | 5 |
# | 2 | `relative_position_index`, `relative_position_bias` | ●●●○○ | 30 | 8 |
# | 3 | `WindowAttention` | ●●●○○ | 30 | 10 |
# | 4 | `cyclic_shift`, `undo_shift` | ●○○○○ | 10 | 4 |
# | 5 | `shift_mask` | ●●●●○ | 35 | 7 |
# | 6 | `SwinBlock` | ●●●○○ | 25 | 9 |
# | 7 | `PatchMerging` | ●●○○○ | 20 | 6 |
# | 8 | `attention_macs` | ●●○○○ | 15 | 4 |
# | 9 | `swin_plan` | ●●○○○ | 20 | 5 |
# | 10 | `train_with_schedule` | ●●●○○ | 25 | 6 |
# | 11 | a question in words | ●●●○○ | 20 | 6 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is
# done with other inputs. Cells that need your code wait until it is written, so you can run the whole
# notebook at any time.
#
# The letters are those of the lectures: a **map** of tokens is $(B, H, W, D)$, $B$ images, $H$ rows and $W$
# columns of tokens, $D$ numbers a token (the paper writes $C$). A window has $M$ tokens on a side and $N =
# M^2$ in all; there are $h$ heads, $d = D/h$ numbers wide. You may use everything in torch except what does
# the exercise for you: no `torchvision.models`, no `timm`, no `course.models`, no
# `F.scaled_dot_product_attention`, no `nn.MultiheadAttention` in the cells of the exercises.
#
# **What counts as right.**
# * *Numbers.* A number may be off by $10^{-4}$ and by one part in ten thousand; whole numbers and truth values must
#   be exact.
# * *Shapes and containers.* Where the text gives a shape, return one tensor of that shape. Where it asks for a
#   number, a plain Python number, one of NumPy or a tensor without axes will do. Several results stand in a tuple or
#   a list, in the order of the text.
# * *Inputs.* Inputs stay as they are, and where they can be differentiated, gradients are compared too: no
#   `.detach()`, `torch.no_grad()` or `.item()` on the way.
# * *Names.* Arguments are passed by position, so you may rename them; the parts of a module need the **names** in
#   bold, because the check loads weights of its own by these names. So it does not see what yours begin with.
# * *`eps`.* All layer norms have torch's own `eps`, $10^{-5}$, as in the public Swin (homework 2's have $10^{-6}$: do
#   not carry them over).
# * *Points.* Each exercise is all or nothing: one that is nearly right earns none of its points.
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
# ## What we look at
#
# An image of 32 × 32 pixels. Patches of 4 × 4 pixels make a map of 8 × 8 tokens, and these are grouped into
# four **windows** of $M \times M = 4 \times 4$ tokens: the four pieces on the right, 16 × 16 pixels each.
# Attention inside a window is cheap. But the red plus and the blue ring lie in different windows, and attention
# inside these windows alone never compares them. How Swin gets round that is what you build here.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything in this notebook is so small that a second core only gets in the way
questions = load("two_questions", size=12, device="cpu")
corners = [(8, 8), (8, 24), (24, 8), (24, 24)]  # the middle of each window, in pixels
plots.windows_on_image(questions.images[1], corners, 16)  # try another image

# %% [markdown]
# ## 1 · Cut into windows, put together again ●●○○○
#
# **Why.** Attention over all tokens of a map compares every pair of them, and the number of pairs grows with
# the *square* of the number of tokens. If each token looks only at the $N = M^2$ tokens of its own window, the
# number of pairs grows with the number of windows, that is in proportion to the area of the image (**window
# attention**). All it takes is moving axes: once the windows have an axis of their own, attention is the one from
# homework 1.
#
# **What.**
# * `window_partition(x, window_size)`: $(B, H, W, D) \to (B, n, M^2, D)$ with $n = \frac HM \cdot \frac WM$
#   windows. Windows are counted as one reads, along the first row of windows, then the next; so are the
#   tokens inside a window. $M$ divides $H$ and $W$.
# * `window_reverse(windows, height, width)`: the way back. $M$ can be told from the shape of `windows`.
#
# Window $w = i\,\frac WM + j$ lies in row $i$ and column $j$ of the grid of windows:
#
# $$\text{windows}_{b,\; w,\; r M + s,\; k} = x_{b,\; i M + r,\; j M + s,\; k}, \qquad r, s = 0, \dots, M - 1.$$
#
# **By hand.** $H = 4$, $W = 6$, $M = 2$, and the tokens numbered as one reads, 0 to 23. Window 0 holds the
# tokens 0, 1, 6, 7. Which ones are in window 4, and in which order?
#
# <details><summary>Answer</summary>
#
# 14, 15, 20, 21: it is the middle one of the second row of windows.
# </details>

# %%
numbered = torch.arange(24).reshape(1, 4, 6, 1)  # (B, H, W, D): each token holds its own number
numbered[0, :, :, 0]

# %% exercise="windows"
def window_partition(x, window_size):
    """(B, H, W, D) -> (B, windows, M·M, D): windows, and the tokens in each, counted as one reads."""
    ### BEGIN SOLUTION
    B, H, W, D = x.shape
    M = window_size
    x = x.reshape(B, H // M, M, W // M, M, D)  # both sides of the map are cut
    x = x.transpose(2, 3)  # (B, H/M, W/M, M, M, D): the two axes inside a window stand together
    return x.reshape(B, -1, M * M, D)
    ### END SOLUTION


def window_reverse(windows, height, width):
    """(B, windows, M·M, D) -> (B, H, W, D): every token back at its place."""
    ### BEGIN SOLUTION
    B, _, tokens, D = windows.shape
    M = math.isqrt(tokens)
    x = windows.reshape(B, height // M, width // M, M, M, D)
    x = x.transpose(2, 3)  # (B, H/M, M, W/M, M, D)
    return x.reshape(B, height, width, D)
    ### END SOLUTION

# %% check="windows"
check("hw3.windows", window_partition, window_reverse)

# %% [markdown]
# **Look at it.** Colour says which window a token belongs to. In the middle, your windows, one in each row.
# On the right, the same numbers after a bare `reshape` to $(n, M^2)$: a "window" is then a piece of one long row. The
# shape is right, and such a network trains without any error.

# %%
with when_done():
    windows = window_partition(numbered, 2)[0, :, :, 0]  # (n, M²) = (6, 4)
    owner = torch.arange(6).reshape(1, 6, 1, 1).expand(1, 6, 4, 1)  # (B, n, M², D): the number of the window
    owner = window_reverse(owner, 4, 6)[0, :, :, 0]  # (H, W)
    poured = numbered.reshape(6, 4)
    display(plots.token_maps(
        {"the map (H, W)": numbered[0, :, :, 0], "your windows (n, M²)": windows, "poured": poured},
        colours={"the map (H, W)": owner, "your windows (n, M²)": owner.flatten()[windows],
                 "poured": owner.flatten()[poured]},
        window={"the map (H, W)": 2},
    ))

# %% [markdown]
# **Change a number.** A window of $M = 1$: what do the shapes say, and what could attention inside such a
# window do? And what is a window of $M = H = W$?
#
# <details><summary>Answer</summary>
#
# $(B, HW, 1, D)$: every token is alone in its window. The softmax of a single score is 1, so attention returns the
# token's own value and mixes nothing. With $M = H = W$ there is one window, and it is the attention over all tokens
# of a ViT.
# </details>

# %% [markdown]
# ## 2 · Where you are, as seen from me ●●●○○
#
# **Why.** Inside a window, attention does not know which token lies where. Swin adds no position to the tokens. It
# uses **displacements**: to the score of query $i$ and key $j$ a learned number is added that depends on how many rows
# and columns lie between them, and on nothing else (the **relative position bias** $b$):
#
# $$\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d} + b\right) v
# \qquad \text{(Liu et al. 2021, eq. 4).}$$
#
# So "one to the left" means the same everywhere in the window, as in a convolution. For $N = M^2$ tokens there
# are $M^4$ pairs but only $(2M-1)^2$ displacements: from $1-M$ to $M-1$ rows, and as many columns. The learned
# numbers stand in a **table** with one row for each displacement and one column for each head; an **index**
# says for each pair which row of the table is theirs.
#
# **What.**
# * `relative_position_index(window_size)`: one tensor of whole numbers, $(M^2, M^2)$ (a list of rows will not do here: the
#   next exercise keeps it as a buffer). With row and column of token $i$ minus
#   row and column of token $j$,
#   $$\Delta y = y_i - y_j, \qquad \Delta x = x_i - x_j, \qquad
#   \text{index}_{ij} = (\Delta y + M - 1)\,(2M - 1) + (\Delta x + M - 1).$$
#   Loops or vectors, as you like; it is computed once.
# * `relative_position_bias(table, index)`: `table` is $(T, h)$, `index` holds numbers from $0$ to $T-1$ and is
#   $(N, K)$ (in a window $N = K = M^2$); the result is $(h, N, K)$, for each head a matrix to add to its scores.
#
# **By hand.** $M = 3$, nine tokens, displacements from $-2$ to $2$. Token 0 with itself: $(0+2) \cdot 5 +
# (0+2) = 12$. Token 0 and its right neighbour 1: $\Delta x = -1$, so $2 \cdot 5 + 1 = 11$. Token 0, top left,
# and token 8, bottom right: $(-2+2) \cdot 5 + (-2+2) = 0$. And token 8 with token 0?
#
# <details><summary>Answer</summary>
#
# $(2 + 2) \cdot 5 + (2 + 2) = 24$, the last row of the table.
# </details>

# %% exercise="relative_position"
def relative_position_index(window_size):
    """Which row of the bias table each pair of tokens of a window uses.

    Args:
        window_size: M.

    Returns:
        (M², M²) whole numbers from 0 to (2M − 1)² − 1: [i, j] for token i as seen from token j.
    """
    ### BEGIN SOLUTION
    M = window_size
    row = torch.arange(M).repeat_interleave(M)  # (M²,): 0 0 0 1 1 1 2 2 2
    column = torch.arange(M).repeat(M)  # (M²,): 0 1 2 0 1 2 0 1 2
    down = row[:, None] - row[None, :] + M - 1  # (M², M²), from 0 to 2M − 2
    right = column[:, None] - column[None, :] + M - 1
    return down * (2 * M - 1) + right
    ### END SOLUTION


def relative_position_bias(table, index):
    """table (T, h), index (N, K) of rows of the table -> (h, N, K)."""
    ### BEGIN SOLUTION
    found = table[index]  # (N, K, h)
    return found.permute(2, 0, 1)  # (h, N, K)
    ### END SOLUTION

# %% check="relative_position"
check("hw3.relative_position", relative_position_index, relative_position_bias)

# %% [markdown]
# **Look at it.** For $M = 3$ lecture slides print the whole table. Yours should have the same 81 entries.
# The colour says how many rows lie between the two tokens; 12, no displacement at all, stands on the diagonal.

# %%
decks = torch.tensor([
    [12, 11, 10, 7, 6, 5, 2, 1, 0], [13, 12, 11, 8, 7, 6, 3, 2, 1], [14, 13, 12, 9, 8, 7, 4, 3, 2],
    [17, 16, 15, 12, 11, 10, 7, 6, 5], [18, 17, 16, 13, 12, 11, 8, 7, 6], [19, 18, 17, 14, 13, 12, 9, 8, 7],
    [22, 21, 20, 17, 16, 15, 12, 11, 10], [23, 22, 21, 18, 17, 16, 13, 12, 11], [24, 23, 22, 19, 18, 17, 14, 13, 12],
])
with when_done():
    index = relative_position_index(3)  # (M², M²) = (9, 9)
    print(int((index == decks).sum()), "of 81 entries as in the decks")
    title = "index (M², M²): row i, column j"
    display(plots.token_maps({title: index}, colours={title: index // 5}, window=3))

# %% [markdown]
# And what the bias does. Left, the table of one head, its 25 entries laid out by displacement: someone has
# written into it that keys one step to the *left* of the query are wanted. (Where a key lies to the left,
# $\Delta x = x_i - x_j$ is $+1$.) Right, the row of the bias of three queries, laid out as the window: each
# cuts its own 3 × 3 piece out of the table, turned by half a turn, because $\Delta$ points from the key to
# the query. Query 3 stands at the left edge and has no key to its left.

# %%
table = torch.zeros(25, 1)  # ((2M − 1)², h)
table[2 * 5 + 3] = 1.0  # Δy = 0, Δx = +1; try another entry
with when_done():
    bias = relative_position_bias(table, relative_position_index(3))  # (h, N, N) = (1, 9, 9)
    panels = {"table, by Δy and Δx": table.reshape(5, 5)}
    panels |= {f"query {query}": bias[0, query].reshape(3, 3) for query in (4, 5, 3)}
    display(plots.token_maps(panels, window={title: len(panel) for title, panel in panels.items()}, heat=True))

# %% [markdown]
# **A question.** Swin has windows of $M = 7$. How many numbers does the table save, against one for each
# pair? And what if a network trained with $M = 7$ is to run with $M = 12$, as for large images: how many rows
# does the new table have, and which of them does the old one know nothing about?
#
# <details><summary>Answer</summary>
#
# For each head $13^2 = 169$ numbers instead of $7^4 = 2401$: it saves 2232. With $M = 12$ the table has $23^2 = 529$
# rows. The old one knows the displacements from $-6$ to $6$ in both directions, 169 of them; nothing about the other
# 360, those of 7 or more. (In practice the old table is resized as an image.)
# </details>

# %% [markdown]
# ## 3 · Attention inside windows ●●●○○
#
# **Why.** Now the two meet: multi-head attention as in homework 1, in all windows at once, with the bias added
# to the scores. The weights are shared: all windows use the same layers and the same table.
#
# ```
#                      ┌── q ──┐
# windows ──── qkv ────┼── k ──┼── q kᵀ / √d + bias, masked, softmax, times v ── heads side by side ── proj ──
# (B, n, N, D)         └── v ──┘                                                              (B, n, N, D)
# ```
#
# **What.** A module `WindowAttention(embed_dim, num_heads, window_size)`. Its parameters, by name:
# * **`qkv`**, `nn.Linear(embed_dim, 3 * embed_dim)`: the first $D$ outputs are the queries, the next $D$ the
#   keys, the last $D$ the values; of each, head 0 has the first $d$ numbers, head 1 the next $d$, and so on;
# * **`proj`**, `nn.Linear(embed_dim, embed_dim)`, at the end;
# * **`table`**, an `nn.Parameter` of shape $((2M-1)^2, h)$, small random numbers to begin with (spread 0.02).
#
# `forward(windows, mask=None)`: `windows` is $(B, n, N, D)$, so is the result. `mask` is $(n, N, N)$ truth
# values, True where the query may look at the key; each *window* has its own, the same for all images and
# heads. Every query may look at one key at least. The index is no parameter; a module keeps such a tensor
# with `self.register_buffer("index", ..., persistent=False)`, so that it moves to a GPU with the rest.
#
# **By hand.** With a table of zeros and one window, this is homework 1's exercise 5. With `qkv` all zeros it is
# the opposite: queries and keys are zero, and the scores are the bias alone. What are the weights if the table is zero
# as well?
#
# <details><summary>Answer</summary>
#
# All scores are 0, so each of the $N$ keys gets the weight $1/N$: every query takes the mean of the values.
# </details>

# %% exercise="WindowAttention"
class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a bias for each displacement (Liu et al. 2021, eq. 4).

    Args:
        embed_dim: D; a multiple of num_heads.
        num_heads: h.
        window_size: M.
    """

    def __init__(self, embed_dim, num_heads, window_size):
        super().__init__()
        ### BEGIN SOLUTION
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.table = nn.Parameter(0.02 * torch.randn((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer("index", relative_position_index(window_size), persistent=False)  # (N, N)
        ### END SOLUTION

    def forward(self, windows, mask=None):
        """windows (B, n, N, D), mask None or bool (n, N, N), True = may look -> (B, n, N, D)."""
        ### BEGIN SOLUTION
        q, k, v = rearrange(self.qkv(windows), "b n t (three h d) -> three b n h t d", three=3, h=self.num_heads)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, n, h, N, N)
        scores = scores + relative_position_bias(self.table, self.index)  # (h, N, N) is added
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -math.inf)  # (n, 1, N, N): the same for every head
        out = scores.softmax(dim=-1) @ v  # (B, n, h, N, d)
        return self.proj(rearrange(out, "b n h t d -> b n t (h d)"))  # (B, n, N, D)
        ### END SOLUTION

# %% check="WindowAttention"
check("hw3.WindowAttention", WindowAttention)

# %% [markdown]
# **Compare with the public one.** torchvision has this module too, written by other people for maps. Copy your
# weights into it, cut and put together with your functions, and both should say the same.

# %%
from torchvision.models.swin_transformer import ShiftedWindowAttention

with when_done():
    ours, theirs = WindowAttention(12, 3, 4), ShiftedWindowAttention(12, [4, 4], [0, 0], 3)
    weights = ours.state_dict() | {"relative_position_bias_table": ours.table.detach()}
    theirs.load_state_dict({name: weights[name] for name in theirs.state_dict() if name in weights}, strict=False)
    x = torch.randn(2, 8, 12, 12)  # (B, H, W, D)
    mine = window_reverse(ours(window_partition(x, 4)), 8, 12)
    print("same as torchvision's, to five decimals:", torch.allclose(mine, theirs(x), atol=1e-5))

# %% [markdown]
# **Look at it.** Token (2, 3) of an 8 × 8 map is replaced by another: which outputs change? Those of its own window,
# and no others. The output of (2, 4), its right neighbour, does not: the border lies between them.

# %%
def how_far_outputs_move(layer, row=2, column=3):
    """Replace one token of a map and see where the output of `layer` changes: (H, W)."""
    torch.manual_seed(0)
    x = torch.randn(1, 8, 8, 12)  # (B, H, W, D)
    other = x.clone()
    other[0, row, column] = torch.randn(12)
    return (layer(other) - layer(x))[0].norm(dim=-1).detach()


with when_done():
    torch.manual_seed(0)
    attention = WindowAttention(12, 3, 4)
    in_windows = lambda x: window_reverse(attention(window_partition(x, 4)), 8, 8)
    moved = 100 * how_far_outputs_move(in_windows)
    display(plots.token_maps({"how far each output moves, in hundredths": moved.round()}, window=4, heat=True))

# %% [markdown]
# ## 4 · Move the map under the windows ●○○○○
#
# **Why.** Windows have borders, and nothing crosses them. So every second block of Swin works in *other* windows
# (**shifted windows**), moved by $s = \lfloor M/2 \rfloor$ tokens down and to the right, that lie across the old
# borders. Moved windows would stick out over the edges: on a map of 2 × 2 windows, nine windows of four different
# sizes instead of four. So the windows stay where they are, and the *map* is moved up and to the left: what leaves at
# one edge comes back in at the opposite one (the **cyclic shift**). Nothing is lost, and the number of windows stays
# the same.
#
# **What.** `cyclic_shift(x, shift)` for `x` of shape $(B, H, W, D)$: token $(y, x)$ of the result is token
# $((y + s) \bmod H,\ (x + s) \bmod W)$ of the input. `undo_shift(x, shift)` brings all back.
#
# **By hand.** $s = 1$, a map of 2 × 3 tokens $\begin{pmatrix} 0 & 1 & 2 \\ 3 & 4 & 5 \end{pmatrix}$ becomes
# $\begin{pmatrix} 4 & 5 & 3 \\ 1 & 2 & 0 \end{pmatrix}$.

# %% exercise="shifts"
def cyclic_shift(x, shift):
    """(B, H, W, D) -> (B, H, W, D): the map moved up and to the left by `shift` tokens, around the edges."""
    ### BEGIN SOLUTION
    return torch.roll(x, shifts=(-shift, -shift), dims=(1, 2))
    ### END SOLUTION


def undo_shift(x, shift):
    """(B, H, W, D) -> (B, H, W, D): what cyclic_shift did, undone."""
    ### BEGIN SOLUTION
    return torch.roll(x, shifts=(shift, shift), dims=(1, 2))
    ### END SOLUTION

# %% check="shifts"
check("hw3.shifts", cyclic_shift, undo_shift)

# %% [markdown]
# **Look at it.** Left a map of 8 × 8 tokens, coloured by the window they belong to; right the same map shifted
# by 2, under the same windows (the thick lines). Window 0, top left, now holds tokens of four old windows,
# which is the point. Window 3, bottom right, holds the four corners of the map, which is a problem.

# %%
places = torch.arange(64).reshape(8, 8)
owner = (places // 8 // 4) * 2 + places % 8 // 4  # (H, W): the window of each token before the shift
with when_done():
    both = torch.stack([places, owner], dim=-1)[None]  # (B, H, W, D) = (1, 8, 8, 2)
    shifted = cyclic_shift(both, 2)[0]  # (H, W, 2)
    display(plots.token_maps(
        {"the map": places, "shifted by 2": shifted[..., 0]},
        colours={"the map": owner, "shifted by 2": shifted[..., 1]}, window=4,
    ))

# %% [markdown]
# ## 5 · Who may not meet ●●●●○
#
# **Why.** In the shifted map, the last windows hold tokens from opposite edges of the image, side by side. To the
# relative position bias they look like neighbours, and in the image they are far apart. So a mask forbids them to
# look at each other. It forbids nothing else: tokens from *different old windows* that lay side by side in the image
# are meant to meet; the shift is there for them.
#
# Draw a line in the shifted map $s$ rows above its lower end and another one $s$ columns before its right end: the
# **seams**, at which opposite edges of the image now touch. Two tokens of a window may look at each other exactly if
# no seam lies between them.
#
# **What.** `shift_mask(height, width, window_size, shift)`: truth values $(n, N, N)$, for each of the $n$
# windows of the *shifted* map which query $i$ may look at which key $j$. $0 < s < M$. Tip: number the pieces
# that the seams cut out of the map, cut this map of numbers into windows with your own `window_partition`,
# and compare each two tokens of a window.
#
# **By hand.** $H = W = 4$, $M = 2$, $s = 1$: four windows. Window 0 meets no seam: all True. Window 1, top
# right, is cut by the vertical seam: its tokens 0 and 2 (left) may look at each other, and so may 1 and 3.
# Window 3 is cut by both seams: its four tokens were the four corners of the image, and each may look at
# itself only.

# %% exercise="shift_mask"
def shift_mask(height, width, window_size, shift):
    """Which tokens of a shifted window may look at each other.

    Args:
        height, width: H and W of the map, in tokens; multiples of M.
        window_size: M.
        shift: s, by how many tokens the map was moved up and to the left; 0 < s < M.

    Returns:
        (windows, M², M²) bool: [w, i, j] is True where query i of window w may look at key j.
    """
    ### BEGIN SOLUTION
    below = torch.arange(height) >= height - shift  # (H,): came round from the top
    right = torch.arange(width) >= width - shift  # (W,): came round from the left
    piece = below[:, None] * 2 + right[None, :] * 1  # (H, W): four pieces, numbered 0 to 3
    piece = window_partition(piece[None, :, :, None], window_size)[0, :, :, 0]  # (n, N)
    return piece[:, :, None] == piece[:, None, :]  # (n, N, N)
    ### END SOLUTION

# %% check="shift_mask"
check("hw3.shift_mask", shift_mask)

# %% [markdown]
# **Look at it.** The masks of the four windows of the 8 × 8 map above, with $M = 4$ and $s = 2$. Blue: may
# look. The paper's code numbers nine regions instead of four pieces. Why does it come to the same? (In how
# many of the four windows does the border at row $H - M$ lie *inside* the window?)
#
# <details><summary>Answer</summary>
#
# In none: row $H - M$ is where the last windows begin, a border between windows. It makes nine numbers out of four, but
# no two tokens of one window differ by it.
# </details>

# %%
window_size, shift = 4, 2  # try shift 1 and 3: which way do the blocks grow?
with when_done():
    masks = shift_mask(8, 8, window_size, shift)  # (n, N, N) = (4, 16, 16)
    display(plots.matrices({f"window {w}: {int(masks[w].sum())} of 256": masks[w] for w in range(4)}))

# %% [markdown]
# **A question.** The shifted windows do as much work as the plain ones, but part of it is thrown away: of all
# scores above, which share is masked? And for a map of 56 × 56 tokens with $M = 7$ and $s = 3$? (Run
# `shift_mask(56, 56, 7, 3).float().mean()`.)
#
# <details><summary>Answer</summary>
#
# On the small map $1 - 576/1024 = 43.75$ %: of the four windows, three are cut. On 56 × 56 only the last row and the
# last column of the 64 windows are cut, and 11.9 % of the scores are masked.
# </details>

# %% [markdown]
# ## 6 · The block ●●●○○
#
# **Why.** Swin's blocks come in pairs: one in plain windows (the paper writes W-MSA), the next in shifted ones
# (SW-MSA). Apart from this they are the pre-norm block of homework 1, with its two residual connections (Liu et al.
# 2021, eq. 3):
#
# $$y = x + \text{attention}(\text{norm1}(x)), \qquad \text{out} = y + \text{fc2}(\text{GELU}(\text{fc1}(\text{norm2}(y)))).$$
#
# Here "attention" stands for all that happens between norm and sum: shift, cut into windows, attention with the mask,
# put together, undo the shift.
#
# ```
#      ┌─ norm1 ─ shift ─ cut ─ attention (mask) ─ put together ─ undo ─┐     ┌─ norm2 ─ fc1 ─ GELU ─ fc2 ─┐
# x ───┴────────────────────────────────────────────────────────────────+─────┴────────────────────────────+─── out
# ```
#
# **What.** A module `SwinBlock(embed_dim, num_heads, window_size, shift, mlp_ratio)`; `forward(x)` is $(B, H,
# W, D) \to (B, H, W, D)$. With `shift` 0 nothing is moved and nothing masked. Its parts, by name:
# **`norm1`**, **`norm2`**: `nn.LayerNorm(embed_dim)`, `eps` left at torch's $10^{-5}$; **`attention`**: your
# `WindowAttention`; **`fc1`**, linear from $D$ to `mlp_ratio` $\cdot D$, and
# **`fc2`**, back. (Instead of the two, an `nn.Sequential` called `mlp` of linear, GELU, linear is accepted.)
# All the other parts are your functions of exercises 1, 4 and 5. The mask has to be where $x$ is:
# `.to(x.device)`. You may make it anew in each call, or once and keep it: all maps that one block sees are of one size.

# %% exercise="SwinBlock"
class SwinBlock(nn.Module):
    """A block of Swin, with plain or with shifted windows (Liu et al. 2021, eq. 3).

    Args:
        embed_dim: D.
        num_heads: h.
        window_size: M, divides both sides of the map.
        shift: s, 0 for plain windows.
        mlp_ratio: how many times wider than D the MLP is inside; a whole number.
    """

    def __init__(self, embed_dim, num_heads, window_size, shift, mlp_ratio):
        super().__init__()
        ### BEGIN SOLUTION
        self.window_size, self.shift = window_size, shift
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attention = WindowAttention(embed_dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x):
        """(B, H, W, D) -> (B, H, W, D)."""
        ### BEGIN SOLUTION
        _, H, W, _ = x.shape
        mask = shift_mask(H, W, self.window_size, self.shift).to(x.device) if self.shift else None  # (n, N, N)
        windows = window_partition(cyclic_shift(self.norm1(x), self.shift), self.window_size)  # (B, n, N, D)
        heard = window_reverse(self.attention(windows, mask), H, W)  # (B, H, W, D), still shifted
        x = x + undo_shift(heard, self.shift)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        ### END SOLUTION

# %% check="SwinBlock"
check("hw3.SwinBlock", SwinBlock)

# %% [markdown]
# **Look at it.** The same experiment as in exercise 3: token (2, 3) is replaced, which outputs change? One plain
# block: those of its window. Then a shifted block: also those across the border. After two such pairs all of them do,
# and no layer has compared more than 16 tokens.

# %%
def blocks(*shifts):
    """Blocks one after the other, one for each shift: 0 plain, 2 shifted."""
    torch.manual_seed(0)
    return nn.Sequential(*[SwinBlock(12, 3, 4, shift, 2) for shift in shifts])


with when_done():
    stacks = {"plain": (0,), "plain, plain": (0, 0), "plain, shifted": (0, 2), "and both again": (0, 2, 0, 2)}
    heard = {name: how_far_outputs_move(blocks(*shifts)) > 1e-7 for name, shifts in stacks.items()}
    display(plots.matrices(heard))

# %% [markdown]
# **Change a number.** Let the corner be replaced, `how_far_outputs_move(..., row=0, column=0)`. Which outputs would
# change after "plain, shifted" if your block forgot the mask?
#
# <details><summary>Answer</summary>
#
# All of them. With the mask only rows and columns 0 to 5 do. Without it, rows 0 and 1 share a window with rows 6 and
# 7 of the opposite edge, and columns likewise.
# </details>

# %% [markdown]
# ## 7 · Four tokens become one ●●○○○
#
# **Why.** A network for objects of all sizes should see the image at several scales. So between two stages Swin
# **merges**: each square of 2 × 2 tokens becomes one, with twice the width. Half the side, a quarter of the tokens:
# the same window of $M \times M$ now covers four times the area. Nothing is averaged: the four stand side by side,
# $4D$ numbers, and a linear layer decides what to keep. (**Patch merging**; it does the work of a ConvNet's pooling,
# and makes Swin a **hierarchical** network, a pyramid.)
#
# **What.** A module `PatchMerging(embed_dim)`: $(B, H, W, D) \to (B, \frac H2, \frac W2, 2D)$, $H$ and $W$
# even.
# 1. The four neighbours, $D$ numbers each, side by side in the order $x_{00}, x_{10}, x_{01}, x_{11}$, where
#    the first digit counts rows: top left, *bottom left*, top right, bottom right. Column first, not as one
#    reads.
# 2. **`norm`**, `nn.LayerNorm(4 * embed_dim)`, `eps` left at torch's $10^{-5}$.
# 3. **`reduction`**, `nn.Linear(4 * embed_dim, 2 * embed_dim, bias=False)`.
#
# $$\text{token} = \text{reduction}\big(\text{norm}([\,x_{00};\; x_{10};\; x_{01};\; x_{11}\,])\big)$$
#
# **By hand.** $D = 1$ and the square $\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$: before the norm, the new
# token is $(1, 3, 2, 4)$.

# %% exercise="PatchMerging"
class PatchMerging(nn.Module):
    """2 × 2 neighbours side by side, normalised, and from 4D to 2D (Liu et al. 2021, section 3.1)."""

    def __init__(self, embed_dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm = nn.LayerNorm(4 * embed_dim)
        self.reduction = nn.Linear(4 * embed_dim, 2 * embed_dim, bias=False)
        ### END SOLUTION

    def forward(self, x):
        """(B, H, W, D) -> (B, H/2, W/2, 2D)."""
        ### BEGIN SOLUTION
        square = rearrange(x, "b (i row) (j column) d -> b i j (column row d)", row=2, column=2)
        return self.reduction(self.norm(square))
        ### END SOLUTION

# %% check="PatchMerging"
check("hw3.PatchMerging", PatchMerging)

# %% [markdown]
# **Look at it.** With both layers taken out, what is left is the order. Each row on the right is one of the
# six new tokens. Any order would do, if the network were trained from the start: the linear layer learns
# which of its inputs is which.

# %%
with when_done():
    only_gathering = PatchMerging(1)
    only_gathering.norm = only_gathering.reduction = nn.Identity()
    gathered = only_gathering(numbered).reshape(6, 4)  # (H/2 · W/2, 4D)
    owner = (numbered // 6 // 2 * 3 + numbered % 6 // 2)[0, :, :, 0]  # (H, W): the square each token is in
    display(plots.token_maps(
        {"the map (H, W)": numbered[0, :, :, 0], "your six new tokens": gathered},
        colours={"the map (H, W)": owner, "your six new tokens": owner.flatten()[gathered]},
        window={"the map (H, W)": 2},
    ))

# %% [markdown]
# But once weights are *given*, the order is part of them. Here the public layer lends yours its weights. Then
# its columns are put in reading order, as if someone had trained with that: the same layer, loaded without an
# error, gives other numbers. Put the columns back, and they agree again. Code that gets this wrong loses accuracy
# without any message.

# %%
from torchvision.models.swin_transformer import PatchMerging as PublicMerging

with when_done():
    public, ours, x = PublicMerging(5), PatchMerging(5), torch.randn(1, 4, 6, 5)  # x: (B, H, W, D)
    swap = lambda w: rearrange(w, "... (a b d) -> ... (b a d)", a=2, b=2)  # columns first to rows first, and back
    weights = public.state_dict()
    twice = lambda w: swap(swap(w))
    for name, change in {"as they are": lambda w: w, "in reading order": swap, "put back": twice}.items():
        ours.load_state_dict({key: change(value) for key, value in weights.items()})
        print(f"weights {name:17} largest difference {(ours(x) - public(x)).abs().max().item():.1e}")

# %% [markdown]
# ## 8 · What it costs ●●○○○
#
# **Why.** Windows were invented to save work. How much, exactly, and what remains?
#
# **What.** `attention_macs(height, width, embed_dim, window_size)` for one layer and one image of $H \times
# W$ tokens. It returns two whole numbers of multiply-accumulates, in this order: attention over the whole map, and
# attention in windows. As in homework 1, a product of an $(a, b)$ with a $(b, c)$ matrix takes $a \cdot b \cdot c$.
# Count the linear layers (query, key, value, proj) and the two products between tokens; leave out biases,
# softmax and the bias table. Derive it before you look it up: it is eq. 1 and 2 of the paper.
#
# **By hand.** $H = W = 4$, $D = 2$, $M = 2$. Each linear layer: $16 \cdot 2 \cdot 2 = 64$, four of them 256.
# Whole map: the scores take $16 \cdot 2 \cdot 16 = 512$, the averages as many: 1280 in all. In windows: four
# windows with $4 \cdot 2 \cdot 4 + 4 \cdot 4 \cdot 2 = 64$ each: $256 + 256 = 512$.

# %% exercise="attention_macs"
def attention_macs(height, width, embed_dim, window_size):
    """Multiply-accumulates of one attention layer on one image.

    Args:
        height, width: H and W of the map, in tokens; multiples of M.
        embed_dim: D.
        window_size: M.

    Returns:
        (over the whole map, in windows): two whole numbers.
    """
    ### BEGIN SOLUTION
    tokens = height * width
    linear = 4 * tokens * embed_dim**2  # query, key, value, proj
    everywhere = linear + 2 * tokens * tokens * embed_dim  # every token meets every token
    in_windows = linear + 2 * tokens * window_size**2 * embed_dim  # every token meets M² tokens
    return everywhere, in_windows
    ### END SOLUTION

# %% check="attention_macs"
check("hw3.attention_macs", attention_macs)

# %% [markdown]
# **Look at it.** The first stage of Swin-T on a usual image: 56 × 56 tokens, $D = 96$, $M = 7$. And then
# larger images.

# %%
sides = [28, 56, 112, 224]  # tokens on a side of the map
with when_done():
    macs = {side: attention_macs(side, side, 96, 7) for side in sides}
    print(f"56 × 56: whole map {macs[56][0] / 1e9:.3f} G, in windows {macs[56][1] / 1e9:.3f} G")
    names = "whole map", "in windows"
    lines = {name: [macs[side][k] / 1e9 for side in sides] for k, name in enumerate(names)}
    display(plots.curves(
        sides, lines, log="xy", xlabel="side of the map, in tokens", ylabel="10⁹ multiply-accumulates",
    ))

# %% [markdown]
# A formula can be wrong; so **count**. torch can record every product that a module really makes (it counts a
# multiplication and an addition as two, therefore the half). Your own `WindowAttention`, on 14 × 14 tokens:
# once with windows of 7, once with one window as large as the map, which is attention over everything.

# %%
from torch.utils.flop_counter import FlopCounterMode

with when_done():
    predicted = attention_macs(14, 14, 96, 7)
    for M, formula in ((14, predicted[0]), (7, predicted[1])):
        with FlopCounterMode(display=False) as counter:
            WindowAttention(96, 3, M)(window_partition(torch.randn(1, 14, 14, 96), M))
        print(f"M = {M:2}: counted {counter.get_total_flops() // 2:,}, formula {formula:,}")

# %% [markdown]
# ## 9 · The pyramid ●●○○○
#
# **Why.** A Swin is written down in five numbers and a list: the side of the image and of a patch, the width,
# the window, and how many blocks each stage has. Everything else follows from these, and it is in what follows that
# re-implementations make their mistakes.
#
# **What.** `swin_plan(image_size, patch_size, embed_dim, window_size, depths)`: a table of whole numbers with
# one row for each block, in order, and the columns
#
# | stage | side | width | window | shift |
# |-|-|-|-|-|
# | from 0 | of the square map, in tokens | $D$ of this stage | $M$ used by this block | $s$ |
#
# * Stage 0 works on the patches as they are. Between two stages merging halves the side and doubles the
#   width.
# * In every stage, block 0 has plain windows, block 1 is shifted by $\lfloor M/2 \rfloor$, and so on in
#   turns.
# * Where one window covers the whole map (side $\le M$), the window is as large as the map and nothing is
#   ever shifted.
#
# `depths` is a tensor of whole numbers; the table may be a list or a tuple of rows, or a tensor.
#
# **By hand.** An image of 16 pixels, patches of 2, $D = 10$, $M = 4$, depths (3, 2): sides 8 and 4; rows $(0,
# 8, 10, 4, 0)$, $(0, 8, 10, 4, 2)$, $(0, 8, 10, 4, 0)$, $(1, 4, 20, 4, 0)$, $(1, 4, 20, 4, 0)$.

# %% exercise="swin_plan"
def swin_plan(image_size, patch_size, embed_dim, window_size, depths):
    """What each block of a Swin looks like.

    Args:
        image_size: side of the square image, in pixels.
        patch_size: side of a patch, in pixels.
        embed_dim: D of the first stage.
        window_size: M.
        depths: (stages,) int64, the number of blocks of each stage.

    Returns:
        (blocks, 5) whole numbers: stage, side of the map, width, window, shift.
    """
    ### BEGIN SOLUTION
    table = []
    for stage, depth in enumerate(depths.tolist()):
        side = image_size // patch_size // 2**stage
        for block in range(depth):
            shifted = block % 2 == 1 and side > window_size
            table.append([stage, side, embed_dim * 2**stage, min(window_size, side), window_size // 2 * shifted])
    return table
    ### END SOLUTION

# %% check="swin_plan"
check("hw3.swin_plan", swin_plan)

# %% [markdown]
# **Look at it.** The plan of Swin-T. The last stage never shifts: its map of 7 × 7 is one window.

# %%
with when_done():
    plan = torch.as_tensor(swin_plan(224, 4, 96, 7, torch.tensor([2, 2, 6, 2])))  # (blocks, 5)
    names = ["stage", "side", "width", "window", "shift"]
    print(*[f"{name:>7}" for name in names])
    for row in plan.tolist():
        print(*[f"{number:7}" for number in row])

# %% [markdown]
# ## All together, and beside the public one
#
# Nothing to write here, only to put together: a convolution cuts and embeds the patches, then come the blocks
# of your plan with your merging between the stages, a last norm, the average over the map, and the scores.

# %%
class SwinTransformer(nn.Module):
    """Images (B, C, S, S) -> scores (B, classes)."""

    def __init__(self, image_size, patch_size, embed_dim, num_heads, window_size, depths, classes=10, channels=3):
        super().__init__()
        self.embed = nn.Conv2d(channels, embed_dim, patch_size, stride=patch_size)
        self.embed_norm = nn.LayerNorm(embed_dim)
        plan = torch.as_tensor(swin_plan(image_size, patch_size, embed_dim, window_size, torch.tensor(depths))).tolist()
        self.layers = nn.Sequential()
        for number, (stage, _, width, window, shift) in enumerate(plan):
            if number and stage > plan[number - 1][0]:
                self.layers.append(PatchMerging(width // 2))
            self.layers.append(SwinBlock(width, num_heads[stage], window, shift, 4))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = self.embed(images).permute(0, 2, 3, 1)  # (B, H, W, D)
        x = self.norm(self.layers(self.embed_norm(x)))  # (B, H', W', D')
        return self.head(x.mean(dim=(1, 2)))  # (B, classes)

# %% [markdown]
# torchvision's Swin at a small size: 16 × 16 tokens, three stages, the last of them covered by one window.
# Its weights are drawn at random and large, so that a mistake would show. Then they are copied into yours. All
# that is needed is a list of names: theirs has each stage, and each merging, as a part of `features`.

# %%
from torchvision.models import SwinTransformer as PublicSwin

NAMES = [
    ("embed_norm.", "features.0.2."), ("embed.", "features.0.0."),
    ("attention.table", "attn.relative_position_bias_table"),
    ("attention.", "attn."), ("fc1.", "mlp.0."), ("fc2.", "mlp.3."), ("mlp.2.", "mlp.3."),
]


def public_names(names, depths):
    """Our name of each weight -> the public one."""
    places = []  # where the public network keeps our layer number 0, 1, 2, ...
    for stage, depth in enumerate(depths):
        places += [f"features.{2 * stage + 1}.{block}." for block in range(depth)] + [f"features.{2 * stage + 2}."]
    found = {}
    for name in names:
        parts = name.split(".", 2)
        theirs = places[int(parts[1])] + parts[2] if parts[0] == "layers" else name
        for ours, public in NAMES:
            theirs = theirs.replace(ours, public)
        found[name] = theirs
    return found

# %%
depths, heads = (2, 3, 2), (2, 4, 8)
torch.manual_seed(0)
public = PublicSwin([2, 2], 16, list(depths), list(heads), [4, 4], num_classes=10).eval()
with torch.no_grad():
    for name, parameter in public.named_parameters():
        is_scale = parameter.ndim == 1 and name.endswith("weight")  # of a norm: around 1, all others around 0
        parameter.copy_(is_scale + 0.2 * torch.randn_like(parameter))
images = questions.images[:4] / 255  # (B, C, 32, 32)

with when_done():
    ours = SwinTransformer(32, 2, 16, heads, 4, depths)
    theirs = public.state_dict()
    names = public_names(dict(ours.named_parameters()), depths)
    ours.load_state_dict({name: theirs[public_name] for name, public_name in names.items()}, strict=False)
    with torch.no_grad():
        difference, size = (ours(images) - public(images)).abs().max(), public(images).abs().max()
    print(f"scores up to {size:.2f}, largest difference {difference:.1e}, same: {bool(difference < 1e-5 * size)}")

# %% [markdown]
# **Spoil it.** How far off would it be with one detail wrong? In each line one thing is changed in your
# network, nothing else. None of them gives an error, and some are so small that one has to look for them.

# %%
def never_shifted(layer):
    if not isinstance(layer, SwinBlock):
        return layer
    entries, num_heads = layer.attention.table.shape
    plain = SwinBlock(len(layer.norm1.weight), num_heads, (math.isqrt(entries) + 1) // 2, 0, 4)
    plain.load_state_dict(layer.state_dict())
    return plain


def mirrored_bias(layer):
    if isinstance(layer, SwinBlock):
        layer.attention.table.data = layer.attention.table.data.flip(0)  # Δ becomes −Δ
    return layer


def rows_first(layer):
    if isinstance(layer, PatchMerging):
        for weights in layer.state_dict().values():
            weights.copy_(rearrange(weights, "... (a b d) -> ... (b a d)", a=2, b=2))
    return layer

# %%
def smaller_eps(layer):
    for part in layer.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-6
    return layer


with when_done():
    for change in (never_shifted, mirrored_bias, rows_first, smaller_eps):
        spoiled = SwinTransformer(32, 2, 16, heads, 4, depths)
        spoiled.load_state_dict(ours.state_dict())
        spoiled.layers = nn.Sequential(*[change(layer) for layer in spoiled.layers])
        with torch.no_grad():
            difference = (spoiled(images) - public(images)).abs().max()
        print(f"{change.__name__:15} {difference / size:.1e} of the largest score")

# %% [markdown]
# ## 10 · Training, with a schedule ●●●○○
#
# **Why.** Homework 1's loop ran at one learning rate. Transformers of any size are trained with a *schedule*:
# the rate climbs in the first steps (**warm-up**: the optimizer's averages are still unreliable) and then
# comes down slowly. And **weight decay**, which pulls weights towards 0, is for matrices; a bias or the scale
# of a norm has no reason to be small. This is Swin's recipe: AdamW, linear warm-up, cosine, decay 0.05 (Liu
# et al. 2021, appendix A2.1).
#
# **What.** `train_with_schedule(model, images, labels, steps, warmup, batch_size, peak_rate, weight_decay,
# generator)` trains `model` in place and returns the list of its losses, one plain number for each step
# (`loss.item()`; a tensor that still holds its graph is none).
#
# * One `torch.optim.AdamW` with two groups of parameters: those with two axes or more (`ndim`, not the name, decides) decay
#   by `weight_decay`, those with fewer, the biases and the scales of norms, by 0. All other options keep torch's defaults.
# * The learning rate of step $t = 0, 1, \dots$, set before the step, in both groups; $T$ = `steps`, $w$ = `warmup`, $r$ =
#   `peak_rate`:
#   $$r_t = r\,\frac{t+1}{w} \quad (t < w), \qquad r_t = \frac r2 \left(1 + \cos\!\left(\pi\,\frac{t-w}{T-w}\right)\right)
#   \quad (t \ge w).$$
# * In each step: the batch's indices by `torch.randint(len(images), (batch_size,), generator=generator)`, once; cross
#   entropy; clear the gradients, compute them, move.
#
# **By hand.** $T = 6$, $w = 2$, $r = 1$: the rates are $0.5, 1, 1, 0.85, 0.5, 0.15$.
#
# The check follows a tiny classifier for a few steps, number by number. Then your loop gets 50 steps to
# teach a small transformer of ours to read digits: **at least 92 %** of 300 it has never seen must be right
# (it takes about a second).

# %% exercise="train_with_schedule"
def train_with_schedule(model, images, labels, steps, warmup, batch_size, peak_rate, weight_decay, generator):
    """Train a classifier in place, with AdamW, warm-up and cosine.

    Args:
        model: images (B, ...) -> scores (B, classes, ...).
        images, labels: (n, ...), (n, ...) int64.
        steps, warmup: how many batches, and in how many of them the rate climbs; 0 < warmup < steps.
        batch_size, peak_rate, weight_decay: B, the highest learning rate, the decay of matrices.
        generator: the torch.Generator that batches are drawn from.

    Returns:
        list of `steps` floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak_rate)
    losses = []
    for step in range(steps):
        share = (step + 1) / warmup
        if step >= warmup:
            share = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * share
        chosen = torch.randint(len(images), (batch_size,), generator=generator)  # (B,)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_with_schedule"
check("hw3.train_with_schedule", train_with_schedule)

# %% [markdown]
# ## What the shift is for: a test with a ceiling
#
# An image of 8 × 8 tokens, each of one of four colours, at random. The question to *each* token: **what colour is
# your right neighbour?** Only the neighbour holds the answer. With windows of 4 × 4, the tokens of column 3 have
# their right neighbour in another window. So a network of plain windows must guess there, right in one case of four,
# whatever its weights are, and a network with one shifted block can be right everywhere. Two blocks, 32 numbers a
# token, your loop.
#
# *Price of the next cell: about 10 s on a laptop's CPU for both; on a GPU not measured.*

# %%
class FetchNet(nn.Module):
    """Colours (B, 8, 8) -> scores of the right neighbour's colour (B, 4, 8, 7)."""

    def __init__(self, *shifts):
        super().__init__()
        self.embed = nn.Embedding(4, 32)
        self.layers = nn.Sequential(*[SwinBlock(32, 4, 4, shift, 2) for shift in shifts])
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 4))

    def forward(self, colours):
        scores = self.head(self.layers(self.embed(colours)))  # (B, 8, 8, 4)
        return scores[:, :, :-1].permute(0, 3, 1, 2)  # the last column has no right neighbour


colours = torch.randint(4, (5000, 8, 8), generator=torch.Generator().manual_seed(0))
asked, train_set = colours[4500:], colours[:4500]
with when_done():
    shares = {}
    for name, shifts in {"plain, plain": (0, 0), "plain, shifted": (0, 2)}.items():
        torch.manual_seed(0)
        net = FetchNet(*shifts)
        steps = budget(tiny=15, cpu=220)
        train_with_schedule(
            net, train_set, train_set[:, :, 1:], steps, steps // 10, 32, 0.01, 0.0, torch.Generator().manual_seed(0)
        )
        with torch.no_grad():
            right = (net(asked).argmax(dim=1) == asked[:, :, 1:]).float()  # (500, 8, 7)
        shares[f"{name}: {right.mean():.0%} right"] = (100 * right.mean(dim=0)).round()
    display(plots.token_maps(shares, window=4, heat=True))

# %% [markdown]
# The map shows, for each place, how often the answer was right, in per cent. Without the shift, no network can be
# better than $(6 + 0.25) / 7 = 89\,\%$: six columns of seven, and a guess in column 3. Compare your two maps at
# column 3, and both totals with this ceiling.
#
# **Change a question.** Ask for the neighbour one down *and* one to the right (`[:, 1:, 1:]`, and scores
# without the last row). A few places stay near a quarter, even with the shift. Work out which ones before you
# look: such a place and its neighbour share neither a plain nor a shifted window. The answer would have to be
# handed on by a third token: by which? (Two blocks are enough for it. Whether training finds it is another
# matter.)
#
# <details><summary>Answer</summary>
#
# Rows and columns 3 lie before a border of the plain windows, 1 and 5 before one of the shifted windows. A place that
# has one kind in its row and the other in its column shares no window with its neighbour: (3, 1), (3, 5), (1, 3) and
# (5, 3). For (3, 1), whose neighbour is (4, 2), a token such as (4, 1) can hand it on: in plain windows it is with
# the neighbour, in shifted ones with (3, 1).
# </details>

# %% [markdown]
# ## Your pyramid reads digits
#
# Three stages on the 8 × 8 pixels of a digit, every pixel a token, windows of 2 × 2: stages of 8 × 8, 4 × 4
# and 2 × 2 tokens, the last one covered by one window. No attention in it ever compares more than four
# tokens. *Price: about 10 s on a laptop's CPU.*

# %%
digits, held_out = load("digits", device="cpu"), load("digits", "test", device="cpu")
standard = lambda pixels: (pixels / 255 - 0.3) / 0.37  # to mean 0 and spread 1
with when_done():
    torch.manual_seed(0)
    swin = SwinTransformer(8, 1, 16, (2, 4, 8), 2, (2, 2, 1), channels=1)
    steps = budget(tiny=15, cpu=250)
    losses = train_with_schedule(
        swin, standard(digits.images), digits.labels, steps, steps // 10, 32, 0.01, 0.05,
        torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        answers = swin(standard(held_out.images)).argmax(dim=1)  # (397,)
    print(f"{(answers == held_out.labels).float().mean():.1%} of 397 held-out digits right")
    smooth = torch.tensor(losses).reshape(-1, 5).mean(dim=1)  # five steps a point
    display(plots.curves(torch.arange(2, steps, 5), {"loss": smooth}, xlabel="step", ylabel="loss", log="y"))

# %% [markdown]
# No positions were added anywhere: displacements, windows and the order of merging are all it knows of geometry.
#
# **Change a number.** Leave the last stage out: `(2, 4), 2, (2, 2)`. How many per cent does that cost, with two
# seeds? What does a token of the second stage never get to see?
#
# <details><summary>Answer</summary>
#
# The whole digit. The second stage is a map of 4 × 4 with windows of 2 × 2, and its two blocks reach the neighbours
# of a window, not the opposite edge. Only the last stage, one window, lets all parts of the digit meet.
# </details>
#
# **Photographs.** Your Swin on CIFAR-10, with windows of 4 × 4 tokens. On a CPU: 8 × 8 tokens of 4 × 4 pixels, 5,000
# photographs. On a GPU: 16 × 16 tokens of 2 × 2 pixels, all of them. *Price: some 25 seconds of one CPU core, as measured once, and once a download of 170 MB; on a GPU not measured.*

# %%
from course.data import photographs


def train_on_photographs():
    """Your Swin on photographs, at the size of this machine."""
    torch.manual_seed(0)
    patch_size, embed_dim, heads, depths = budget(
        tiny=(4, 8, (1, 2), (2, 2)), cpu=(4, 48, (2, 4), (2, 2)), gpu=(2, 64, (2, 4), (2, 4))
    )
    swin = SwinTransformer(32, patch_size, embed_dim, heads, 4, depths)
    photos = photographs(budget(tiny=200, cpu=5_000, gpu=50_000), budget(tiny=100, cpu=1_000, gpu=10_000))
    if photos is None:
        return
    train, test = photos
    as_floats = lambda pixels: (pixels.float() / 255 - 0.47) / 0.25
    steps, warmup, batch_size = budget(tiny=(2, 1, 8), cpu=(300, 30, 64), gpu=(4000, 400, 256))
    generator = torch.Generator().manual_seed(0)
    swin.to(train.images.device)
    train_with_schedule(
        swin, as_floats(train.images), train.labels, steps, warmup, batch_size, 0.001, 0.05, generator
    )
    with torch.no_grad():
        answers = torch.cat([swin(as_floats(part)).argmax(dim=1) for part in test.images.split(500)])
    print(f"{(answers == test.labels).float().mean():.0%} of the test photographs right (no augmentation)")


with when_done():
    train_on_photographs()

# %% [markdown] written="fixed_and_linear" points=6
# ## 11 · In your own words ●●●○○
#
# A few sentences for each part; a line of mathematics is welcome where it is shorter. This one is read by a
# person.
#
# **(a)** *(3 points)* One of the lecture decks says of Swin: "Because the number of patches is fixed, the
# computational complexity becomes linear wrt image size." Taken literally this is wrong. What is fixed and
# what grows when the side of the image doubles? Say it correctly, show with your formula of exercise 8 that
# the cost is linear, and in what.
#
# **(b)** *(1 point)* Swin-B has 15.4 G multiply-accumulates at 224 pixels ($M = 7$) and 47.0 G at 384 pixels
# ($M = 12$). $(384/224)^2$ is 2.94, and $15.4 \cdot 2.94$ is 45.3. Where does the rest come from?
#
# **(c)** *(2 points)* Shifted windows could be computed without rolling the map: nine windows of different
# sizes instead of four, for a map of $2 \times 2$ windows. Why does Swin roll and mask instead? And why is a
# shift by $M$ useless, and a shift in the last stage of Swin-T as well?
#
# ### BEGIN SOLUTION
# **(a)** Fixed is the number of patches *in a window*, $M^2$ (and the size of a patch in pixels). The number of
# patches $HW$ grows four times when the side doubles, and so does the number of windows. A token meets $M^2$ keys,
# whatever the size of the image; so the cost is $4HWD^2 + 2M^2HWD = HW \cdot (4D^2 + 2M^2D)$, linear in the number of
# tokens, that is in the *area* of the image: 4 times for twice the side (not linear in the side). Over the whole map,
# $2(HW)^2D$ grows 16 times.
#
# *Marking: 1 point for patches per window, as against patches in all; 1 point for the formula with what is
# constant factored out; 1 point for "linear in the number of tokens or the area", with the factor 4.*
#
# **(b)** $M^2$ is no longer the same: in the term $2M^2HWD$ each token now meets 144 keys instead of 49. Only
# the other term, and the MLP, grow with the area alone.
#
# *Marking: 1 point for the larger window; half if only "the attention" is named.*
#
# **(c)** Nine windows are more than twice as many, of different sizes: they do not fit one tensor, so they
# would run one after another, or be padded to $M \times M$ and cost 9/4. Rolled, they are again four equal
# windows, one batched product; the pieces from opposite edges that share a window are kept apart by the mask.
# A shift by $M$ moves every token into a window with the same neighbours (except that nothing has changed but
# the number of the window): no new pair meets. In the last stage of Swin-T one window covers the 7 × 7 map,
# every pair meets already; a shift would only let the mask forbid pairs.
#
# *Marking: 1 point for equal windows in one batch, or the cost of padding; half a point for each of the two others.*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * Windows make attention linear in the number of tokens: each meets $M^2$ others, not all.
# * Places are told by displacement: $(2M-1)^2$ learned numbers a head, looked up by an index that never
#   changes.
# * A shifted block joins what the windows cut apart; the map is rolled, and a mask keeps the seams shut.
# * Merging makes a pyramid. The order of its four inputs is a convention, and weights keep to it.
# * Agreement with other people's network, to the last digit, is a test that leaves nothing out.
#
# **Next:** lecture `09_vit_cnn_spectrum`, and homework 4, where attention goes altogether.
#
# **References.** Z. Liu et al., *Swin Transformer: hierarchical vision transformer using shifted windows*,
# ICCV 2021. · A. Vaswani et al., *Attention is all you need*, NeurIPS 2017. · I. Loshchilov and F. Hutter,
# *SGDR: stochastic gradient descent with warm restarts*, ICLR 2017 (the cosine), and *Decoupled weight decay
# regularization*, ICLR 2019 (AdamW). · The digits: E. Alpaydin and C. Kaynak, *Optical recognition of
# handwritten digits*, UCI repository, 1998. · The public network: `torchvision.models.SwinTransformer`.
