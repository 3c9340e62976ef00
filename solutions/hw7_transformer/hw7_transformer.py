# %% [markdown]
# # Homework 7 · From the LSTM to the transformer
#
# **You build** an LSTM, the parts of a transformer's encoder and decoder, greedy decoding, and a training loop; then you
# train three networks on film reviews and find out which of them learn to read them · **needs** lecture `04_transformer` and
# homework 1 · **takes** about three and a half hours, of which reading takes {reading time} · **computing** under a minute on
# a laptop · **60 points**
#
# | | exercise | difficulty | minutes (estimate) | points |
# |-|-|-|-:|-:|
# | 1 | `lstm_cell` | ●●○○○ | 20 | 6 |
# | 2 | `run_lstm` | ●●●○○ | 25 | 6 |
# | 3 | `padding_mask`, `masked_mean` | ●●○○○ | 15 | 5 |
# | 4 | `EncoderClassifier` | ●●○○○ | 20 | 7 |
# | 5 | `causal_mask` | ●●○○○ | 10 | 3 |
# | 6 | `cross_attention` | ●●●○○ | 25 | 7 |
# | 7 | `DecoderBlock` | ●●○○○ | 20 | 7 |
# | 8 | `shift_targets` | ●○○○○ | 10 | 3 |
# | 9 | `greedy_decode` | ●●●○○ | 20 | 5 |
# | 10 | `train_sentiment` | ●●○○○ | 20 | 6 |
# | 11 | a discussion | ●●●○○ | 25 | 5 |
#
# Under each exercise stands a check. It tries your code on inputs of its own, compares the numbers, and if it
# knows your mistake it tells you which one it is. Run it as often as you like. When you hand in, the same is
# done with other inputs. Cells that need your code wait until it is written, so you can run the whole
# notebook at any time.
#
# The letters: $B$ sequences in a batch, $N$ words of the source, $M$ words of the target, $D$ numbers a word, $H$ numbers
# of an LSTM's state, $V$ words in the vocabulary, $h$ heads, $d$ numbers a head. You may use everything in torch
# except what does the exercise for you: no `nn.LSTM`, no `nn.LSTMCell`, no `F.scaled_dot_product_attention`, no
# `nn.MultiheadAttention`, no `nn.TransformerDecoderLayer`.
#
# **What counts as right.**
# * *Numbers.* A number may be off by $10^{-4}$ and by one part in ten thousand; whole numbers and truth values must
#   be exact.
# * *Shapes and containers.* Where the text gives a shape, return one tensor of that shape. Several results stand in a tuple or
#   a list, in the order of the text. Truth values are `bool` tensors.
# * *Inputs.* Inputs stay as they are, and where they can be differentiated, gradients are compared too: no
#   `.detach()`, `torch.no_grad()` or `.item()` on the way.
# * *Names.* Arguments are passed by position, so you may rename them; the parts of a module need the names of the text,
#   because the check loads weights of its own by these names.
# * *`eps`.* The only `eps` in this homework is torch's own, $10^{-5}$, in the norms of exercise 7.
# * *Points.* Exercises 1 to 4, 6 and 7: right numbers with lost gradients earn eight tenths, results of the right shape
#   alone one tenth. The others are all or nothing.
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
# ## What we read
#
# Short film reviews, drawn by a program. Each has good words, bad words, and three times *not*, which turns the word
# behind it into its opposite. In a positive review every bad word has a *not* before it; in a negative one every good word
# has. The *not*s that are left stand before words that mean nothing. So **no word and no count of words tells the answer**:
# only the order does. A word is a whole number; 0 fills up to the longest review.

# %%
from course import plots
from course.data import load

torch.set_num_threads(1)  # everything here is so small that a second core only gets in the way
PADDING, START, END = 0, 1, 2  # words that stand for no word
reviews = load("sentiment", device="cpu", size=budget(tiny=100, cpu=2000))
for words, label in zip(reviews.words[:4], reviews.labels[:4]):  # words: (N,), label: ()
    print(f"{reviews.classes[label]:8}  {reviews.text(words)}")

# %% [markdown]
# ## 1 · One step of an LSTM ●●○○○
#
# **Why.** Before transformers, a network read a text word by word and kept what it had understood in a state of fixed
# size. A plain recurrent network overwrites that state at each step, and the gradient through many steps vanishes. The
# **long short-term memory** (Hochreiter and Schmidhuber 1997, with a forget gate since Gers and others 2000) keeps a second
# vector, the **cell** $c$. It is changed by adding and by forgetting only, each controlled by a **gate** between 0 and 1.
#
# **What.** `lstm_cell(x, h, c, w_x, w_h, bias)`: one step for a batch. `x` is $(B, D)$, the states `h` and `c` are $(B, H)$,
# `w_x` is $(D, 4H)$, `w_h` is $(H, 4H)$ and `bias` $(4H)$. One sum holds four vectors side by side, **in this order**: input
# gate $i$, forget gate $f$, candidate $g$, output gate $o$:
#
# $$[\,i \mid f \mid g \mid o\,] = x\, W_x + h\, W_h + b$$
# $$c' = \sigma(f) \odot c + \sigma(i) \odot \tanh(g), \qquad h' = \sigma(o) \odot \tanh(c')$$
#
# $\sigma$ is the logistic function (sigmoid), $\odot$ the product number by number. Return the tuple `(h', c')`.
#
# **By hand.** $D = H = 1$, all four sums are 0 except $f$, which is very large, and $c = 2$: then $\sigma(f) = 1$, the cell
# keeps $2 + \frac12 \tanh 0 = 2$, and $h' = \frac12 \tanh 2 \approx 0.48$. A large forget gate *remembers*, in spite of its name.

# %% exercise="lstm_cell"
def lstm_cell(x, h, c, w_x, w_h, bias):
    """One step of an LSTM.

    Args:
        x: (B, D) the word that is read.
        h, c: (B, H) the state before it.
        w_x: (D, 4 H), w_h: (H, 4 H), bias: (4 H,); the four parts in the order i, f, g, o.

    Returns:
        (h, c): (B, H) each, the state after it.
    """
    ### BEGIN SOLUTION
    i, f, g, o = (x @ w_x + h @ w_h + bias).chunk(4, dim=-1)  # (B, H) each
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # (B, H)
    return torch.sigmoid(o) * torch.tanh(c), c
    ### END SOLUTION

# %% check="lstm_cell"
check("hw7.lstm_cell", lstm_cell)

# %% [markdown]
# **Look at it.** How long does a cell remember? The cell starts at 1, nothing is written to it, and the forget gate is
# $\sigma(b_f)$ at each of 24 steps. With $b_f = 0$ half is lost at each step; people therefore start $b_f$ at 1 or more.

# %%
def remembered(b_f, steps=24):
    """The cell after each step, a list of numbers: no input, the forget gate's bias alone."""
    zero, c, kept = torch.zeros(1, 1), torch.ones(1, 1), []  # (B, H) = (1, 1)
    w = torch.zeros(1, 4)  # (1, 4 H)
    bias = torch.tensor([-50.0, b_f, 0.0, 0.0])  # the input gate is shut
    for _ in range(steps):
        _, c = lstm_cell(zero, zero, c, w, w, bias)
        kept.append(c.item())
    return kept


with when_done():
    kept = {f"bias {b_f}": remembered(b_f) for b_f in (0.0, 1.0, 3.0)}
    ends = "; ".join(f"{name}: {values[-1]:.2g}" for name, values in kept.items())
    picture = plots.curves(range(1, 25), kept, xlabel="steps", ylabel="left of the cell")
    display(picture.described(
        f"what is left of a cell of 1 after 24 steps. {ends}"))

# %% [markdown]
# ## 2 · A whole sentence, and sentences of different lengths ●●●○○
#
# **Why.** The sentences of a batch have different lengths, and the short ones are filled up. An LSTM that reads on through
# the filling changes its state with every meaningless word. So a sentence has to *end* at its own last word. (PyTorch does
# this by "packing" sequences; here you see what packing means.)
#
# **What.** `run_lstm(x, lengths, w_x, w_h, bias)`: `x` is $(B, N, D)$; `lengths`, $(B)$ whole numbers from 1 to $N$, says how
# many words of each sentence are real. Both states begin with zeros. Return the tuple `(outputs, last)`:
#
# * `outputs`, $(B, N, H)$: $h$ after each real word, and **0 behind the last one**;
# * `last`, $(B, H)$: $h$ after each sentence's own last word.
#
# Use your `lstm_cell`. A loop over the $N$ words is right here: each step needs the one before.
#
# **By hand.** $N = 3$, lengths 3 and 1. The second sentence's `last` is its $h$ after word 1, and its outputs are
# $(h_1, 0, 0)$, whatever stands at its places 2 and 3.

# %% exercise="run_lstm"
def run_lstm(x, lengths, w_x, w_h, bias):
    """Read sentences of different lengths.

    Args:
        x: (B, N, D) words, filled up behind the end of each sentence.
        lengths: (B,) int64, from 1 to N.
        w_x: (D, 4 H), w_h: (H, 4 H), bias: (4 H,), as in lstm_cell.

    Returns:
        (outputs, last): (B, N, H), zeros behind the end; (B, H), h after the last real word.
    """
    ### BEGIN SOLUTION
    B, N, _ = x.shape
    h = c = x.new_zeros(B, w_h.shape[0])  # (B, H)
    outputs = []
    for n in range(N):
        new_h, new_c = lstm_cell(x[:, n], h, c, w_x, w_h, bias)  # (B, H) each
        reads = (n < lengths)[:, None]  # (B, 1): who has a word at this place
        h, c = torch.where(reads, new_h, h), torch.where(reads, new_c, c)
        outputs.append(h * reads)
    return torch.stack(outputs, dim=1), h  # (B, N, H) and (B, H)
    ### END SOLUTION

# %% check="run_lstm"
check("hw7.run_lstm", run_lstm)

# %% [markdown]
# **Look at it.** Three sentences of 6, 4 and 1 words: the size of each output, the same random words in all three. Where a sentence
# has ended, nothing is left.

# %%
with when_done():
    D, H = 5, 8
    weights = [torch.randn(D, 4 * H), 0.3 * torch.randn(H, 4 * H), torch.zeros(4 * H)]
    x = torch.randn(1, 6, D).expand(3, 6, D)  # (B, N, D)
    outputs, last = run_lstm(x, torch.tensor([6, 4, 1]), *weights)  # (3, 6, H) and (3, H)
    sizes = outputs.norm(dim=-1)  # (B, N)
    names = ["6 words", "4 words", "1 word"]
    display(plots.matrices({"size of h": sizes}, rows=names).described(
        f"sizes of the outputs; {int((sizes == 0).sum())} of 18 are 0, those behind the ends"))

# %% [markdown]
# ## 3 · Padding for attention ●●○○○
#
# **Why.** A transformer reads all words at once, so nothing can "stop". Instead each word is told which others are real, and
# the average at the end leaves the filling out.
#
# **What.**
# * `padding_mask(words, padding)`: from whole numbers $(B, N)$ to truth values $(B, N)$: **True for a real word**, False where
#   the word is `padding`.
# * `masked_mean(x, visible)`: from `x` $(B, N, D)$ and truth values $(B, N)$ to $(B, D)$: of each sentence, the average of the
#   words that are visible. You may rely on it that each sentence has one at least.
#
# **By hand.** Words $(7, 3, 0)$ with padding 0: the mask is (True, True, False). With $D = 1$ and `x` $(4, 8, 100)$ the mean is
# $(4 + 8) / 2 = 6$.

# %% exercise="padding_mask"
def padding_mask(words, padding):
    """(B, N) int64 -> (B, N) bool: True where a word is real."""
    ### BEGIN SOLUTION
    return words != padding
    ### END SOLUTION


def masked_mean(x, visible):
    """(B, N, D), (B, N) bool -> (B, D): the average over each sentence's visible words."""
    ### BEGIN SOLUTION
    seen = visible[:, :, None].to(x.dtype)  # (B, N, 1)
    return (x * seen).sum(dim=1) / seen.sum(dim=1)  # (B, D)
    ### END SOLUTION

# %% check="padding_mask"
check("hw7.padding_mask", padding_mask, masked_mean)

# %% [markdown]
# **Look at it.** The masks of eight reviews. How much of a batch is filling?

# %%
with when_done():
    visible = padding_mask(reviews.words[:8], PADDING)  # (B, N)
    share = 1 - visible.float().mean().item()
    display(plots.matrices({"real words of eight reviews": visible}).described(
        f"masks of eight reviews; {100 * share:.0f} per cent of the places are padding"))

# %% [markdown]
# ## 4 · A classifier around an encoder ●●○○○
#
# **Why.** An encoder turns words into better vectors, $(B, N, D) \to (B, N, D)$. To classify with it one needs three more things:
# vectors for the words, something that says where each stands, and one vector for the whole sentence.
#
# **What.** `EncoderClassifier(vocab_size, longest, embed_dim, num_classes, encoder, padding)`, a module. `encoder` is given: it
# is called as `encoder(x, visible)` with `x` $(B, N, D)$ and `visible` $(B, N)$. The layers have these names:
#
# | name | what it is | shape of the weight |
# |-|-|-|
# | `words` | `nn.Embedding(vocab_size, embed_dim)` | $(V, D)$ |
# | `positions` | `nn.Parameter`, starts at 0, one row a place | $(\text{longest}, D)$ |
# | `encoder` | what was given | |
# | `head` | `nn.Linear(embed_dim, num_classes)` | $(\text{classes}, D)$ |
#
# `forward(words)`, with words $(B, N)$, $N \le$ `longest`: the word's vector plus the row of its place; through the encoder, with
# the padding mask; the masked mean; the head. Returns $(B, \text{classes})$. Use exercise 3.

# %% exercise="EncoderClassifier"
class EncoderClassifier(nn.Module):
    """Words (B, N) int64 -> scores (B, classes); encoder: (B, N, D), (B, N) -> (B, N, D)."""

    def __init__(self, vocab_size, longest, embed_dim, num_classes, encoder, padding):
        super().__init__()
        ### BEGIN SOLUTION
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Parameter(torch.zeros(longest, embed_dim))
        self.encoder = encoder
        self.head = nn.Linear(embed_dim, num_classes)
        self.padding = padding
        ### END SOLUTION

    def forward(self, words):
        ### BEGIN SOLUTION
        visible = padding_mask(words, self.padding)  # (B, N)
        x = self.words(words) + self.positions[: words.shape[1]]  # (B, N, D)
        x = self.encoder(x, visible)  # (B, N, D)
        return self.head(masked_mean(x, visible))  # (B, classes)
        ### END SOLUTION

# %% check="EncoderClassifier"
check("hw7.EncoderClassifier", EncoderClassifier)

# %% [markdown]
# ## 5 · Who may look at whom, while writing ●●○○○
#
# **Why.** A decoder writes word after word and may only look at what it has written. In training all places are computed at once,
# with a triangular mask. When it writes, it often computes only the *newest* places and keeps the keys of the older ones. So the mask is
# not always square.
#
# **What.** `causal_mask(num_queries, num_keys)`, with `num_queries` $M \le$ `num_keys` $N$: truth values $(M, N)$. The queries are the
# **last** $M$ of the $N$ places: query $i$ stands at place $N - M + i$. Entry $[i, j]$ is True if key $j$ is not after that place.
#
# **By hand.** $M = 2$, $N = 4$: query 0 stands at place 2 and sees keys 0, 1, 2; query 1 stands at place 3 and sees all four. $M = N$ is
# the usual triangle.

# %% exercise="causal_mask"
def causal_mask(num_queries, num_keys):
    """(M, N) bool: True where a query, one of the last M of N places, may look at a key."""
    ### BEGIN SOLUTION
    key = torch.arange(num_keys)  # (N,)
    query = key[num_keys - num_queries :]  # (M,): where the queries stand
    return key[None, :] <= query[:, None]  # (M, N)
    ### END SOLUTION

# %% check="causal_mask"
check("hw7.causal_mask", causal_mask)

# %%
with when_done():
    masks = {"6 of 6": causal_mask(6, 6), "2 of 6": causal_mask(2, 6)}
    display(plots.matrices(masks).described(
        "two causal masks: a triangle of 6 by 6, and its last two rows"))

# %% [markdown]
# ## 6 · Looking at the source: cross-attention ●●●○○
#
# **Why.** A translator reads the source again and again while writing. In **cross-attention** the queries come from what is being
# written, keys and values from the encoder's output, the *memory*. It is the only place where the two halves of a transformer meet.
#
# **What.** `cross_attention(y, memory, visible, w_q, w_k, w_v, w_o, num_heads)`: `y` is $(B, M, D)$, `memory` $(B, N, C)$ (the encoder may have another
# width), `visible` $(B, N)$, True for the words of the source that may be looked at (one at least). The matrices stand on the right: $q = y\,W_q$ with
# $W_q$ $(D, A)$, $k = \text{memory}\; W_k$ and $v = \text{memory}\; W_v$ with $(C, A)$ each. Cut these into $h$ heads of $d = A/h$ numbers (head 0 the first
# $d$, and so on), then in each head
#
# $$\operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v \qquad \text{over the } N \text{ words of the source,}$$
#
# put the heads side by side again, and multiply by $W_o$, $(A, D)$. Returns $(B, M, D)$.

# %% exercise="cross_attention"
def cross_attention(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    """Queries from y, keys and values from memory.

    Args:
        y: (B, M, D) what is being written.
        memory: (B, N, C) the encoder's output.
        visible: (B, N) bool, True where a word of the source may be looked at.
        w_q: (D, A), w_k and w_v: (C, A), w_o: (A, D), applied as x @ w.
        num_heads: h, divides A.

    Returns:
        (B, M, D).
    """
    ### BEGIN SOLUTION
    q = rearrange(y @ w_q, "b m (h d) -> b h m d", h=num_heads)
    k = rearrange(memory @ w_k, "b n (h d) -> b h n d", h=num_heads)
    v = rearrange(memory @ w_v, "b n (h d) -> b h n d", h=num_heads)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, h, M, N)
    scores = scores.masked_fill(~visible[:, None, None, :], -math.inf)
    out = scores.softmax(dim=-1) @ v  # (B, h, M, d)
    return rearrange(out, "b h m d -> b m (h d)") @ w_o  # (B, M, D)
    ### END SOLUTION

# %% check="cross_attention"
check("hw7.cross_attention", cross_attention)

# %% [markdown]
# **Look at it.** With identity matrices and the same sharp vectors on both sides, each written word finds the place of the source where
# it stands: copying backwards is nothing but attention to the right place. (The values are one-hot, so that the result *is* the weights.)

# %%
with when_done():
    source = 4 * torch.eye(6)[None]  # (B, N, D) = (1, 6, 6): six words, all different
    target = source.flip(1)  # (B, M, D): the same words backwards
    eye, visible = torch.eye(6), torch.ones(1, 6, dtype=torch.bool)
    weights = cross_attention(target, source, visible, eye, eye, eye / 4, eye, 1)[0]  # (M, N)
    display(plots.matrices({"rows: written, columns: source": weights}).described(
        f"each written word looks at one place of the source, backwards, with a weight "
        f"of {weights.max():.2f}"))

# %% [markdown]
# ## 7 · The block of a decoder ●●○○○
#
# **Why.** A decoder block has one part more than an encoder block: self-attention (causal), **cross-attention**, MLP. Around each stands
# a residual connection, and before each a norm (pre-norm; the paper of 2017 had it behind).
#
# **What.** `DecoderBlock(embed_dim, self_attention, cross_attention, mlp_ratio)`, a module. Both attentions are given:
# `self_attention(y)` is causal already, `cross_attention(y, memory, visible)` is called with three arguments. Its layers: `norm1`,
# `norm2`, `norm3` (`nn.LayerNorm(embed_dim)`), `fc1` (to `mlp_ratio * embed_dim`), `fc2` (back), and the two attentions under the
# names `self_attention` and `cross_attention`. `forward(y, memory, visible)`:
#
# $$y_1 = y + \mathrm{SA}(\mathrm{norm}_1(y)), \qquad y_2 = y_1 + \mathrm{CA}(\mathrm{norm}_2(y_1), \text{memory}, \text{visible}),$$
# $$y_3 = y_2 + \mathrm{fc}_2(\mathrm{GELU}(\mathrm{fc}_1(\mathrm{norm}_3(y_2)))).$$
#
# The memory is *not* normalised again.

# %% exercise="DecoderBlock"
class DecoderBlock(nn.Module):
    """y (B, M, D), memory (B, N, D), visible (B, N) bool -> (B, M, D)."""

    def __init__(self, embed_dim, self_attention, cross_attention, mlp_ratio):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(embed_dim)
        self.self_attention = self_attention
        self.norm2 = nn.LayerNorm(embed_dim)
        self.cross_attention = cross_attention
        self.norm3 = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, y, memory, visible):
        ### BEGIN SOLUTION
        y = y + self.self_attention(self.norm1(y))  # (B, M, D)
        y = y + self.cross_attention(self.norm2(y), memory, visible)  # (B, M, D)
        return y + self.fc2(F.gelu(self.fc1(self.norm3(y))))  # (B, M, D)
        ### END SOLUTION

# %% check="DecoderBlock"
check("hw7.DecoderBlock", DecoderBlock)

# %% [markdown]
# ## 8 · Teacher forcing: what goes in, what should come out ●○○○○
#
# **Why.** In training a decoder is not asked to write by itself. At each place it is given the *right* words so far and has to say the next
# one: **teacher forcing**. So its input is the target, moved by one place. And where the target is padding, nobody counts.
#
# **What.** `shift_targets(targets, start, padding)`: from `targets` $(B, M)$ to the tuple `(inputs, counted)`:
#
# * `inputs` $(B, M)$ int64: `start`, then the target without its last place;
# * `counted` $(B, M)$ bool: True where the **target** is a real word.
#
# **By hand.** Target $(5, 9, 2, 0)$ with start 1 and padding 0: inputs $(1, 5, 9, 2)$, counted (True, True, True, False).

# %% exercise="shift_targets"
def shift_targets(targets, start, padding):
    """(B, M) int64 -> (inputs, counted): (B, M) int64, moved by one place, and (B, M) bool."""
    ### BEGIN SOLUTION
    first = torch.full_like(targets[:, :1], start)  # (B, 1)
    return torch.cat([first, targets[:, :-1]], dim=1), targets != padding  # (B, M) each
    ### END SOLUTION

# %% check="shift_targets"
check("hw7.shift_targets", shift_targets)

# %% [markdown]
# **Look at it.** Words to be written backwards. Under each other: what the decoder is given, and what it should say at that place.

# %%
spelled = load("reversal", device="cpu", size=50)
with when_done():
    inputs, counted = shift_targets(spelled.labels[:2], START, PADDING)  # (2, M) each
    read = lambda words: " ".join(spelled.vocabulary[word] for word in words)
    for row in range(2):
        print("source:", spelled.text(spelled.words[row]))
        print("  given:", read(inputs[row][counted[row]]))
        print("  asked:", read(spelled.labels[row][counted[row]]))

# %% [markdown]
# ## 9 · Writing ●●●○○
#
# **Why.** Once it is trained, a decoder has to go on from the words it has written itself. The simplest way takes, at each place, the word with the highest score:
# **greedy decoding**. (It is not always the best sentence: lecture 4 compares it with beam search.)
#
# **What.** `greedy_decode(decoder, batch_size, start, end, padding, max_length)`. `decoder(written)` takes what is written so far,
# $(B, m)$ int64, beginning with `start`, and returns scores $(B, m, V)$: **at each place those of the word behind it**. Take the
# word with the highest score at the last place, put it behind, and go on. A sequence that has written `end` is done: from then on it gets
# `padding`. Stop when all sequences are done or `max_length` words are written (`start` does not count). Returns $(B, L)$ int64 **without**
# `start`, with $L \le$ `max_length`: the `end` of each sequence is in it, if it was written.
#
# **By hand.** Two sequences. The first writes 5, 2 (= end), the second 4, 4, 2: the result is $(5, 2, 0)$ and $(4, 4, 2)$.

# %% exercise="greedy_decode"
def greedy_decode(decoder, batch_size, start, end, padding, max_length):
    """Write the likeliest word at each place.

    Args:
        decoder: (B, m) int64 -> (B, m, V) scores of the word behind each place.
        batch_size: B.
        start, end, padding: the words that begin, end and fill up.
        max_length: how many words may be written.

    Returns:
        (B, L) int64, L <= max_length, without start.
    """
    ### BEGIN SOLUTION
    written = torch.full((batch_size, 1), start)  # (B, 1)
    done = torch.zeros(batch_size, dtype=torch.bool)  # (B,)
    while written.shape[1] <= max_length and not done.all():
        word = decoder(written)[:, -1].argmax(dim=-1)  # (B,)
        word = torch.where(done, padding, word)
        written = torch.cat([written, word[:, None]], dim=1)  # (B, m + 1)
        done = done | (word == end)
    return written[:, 1:]  # (B, L)
    ### END SOLUTION

# %% check="greedy_decode"
check("hw7.greedy_decode", greedy_decode)

# %% [markdown]
# ## 10 · Training, with clipped gradients ●●○○○
#
# **Why.** A recurrent network multiplies many matrices on the way back, and now and then a gradient explodes: one step then throws away what
# hundreds have learned. **Clipping** scales the whole gradient down if its length is above a limit. Most language models are trained with it.
#
# **What.** `train_sentiment(model, words, labels, steps, batch_size, learning_rate, max_norm, generator)` trains `model` in place and returns the
# list of its losses, one plain Python number a step.
#
# * Before the first step, make one `torch.optim.AdamW` over all parameters, with the given learning rate and everything else as it comes.
# * In each step, draw a batch with `torch.randint(len(words), (batch_size,), generator=generator)`, once, for words and labels.
# * The loss is the cross entropy of the scores $(B, \text{classes})$ and the labels; its value *before* the step goes into the list.
# * Clear the gradients and compute them. Then clip: the **length of all gradients together** to at most `max_norm`
#   (`nn.utils.clip_grad_norm_` does it). Then the optimizer moves.
#
# The check follows a tiny network for a few steps, number by number. Then your loop trains a small network on the reviews: **at least 95 %** of
# 300 that it has never seen must be right (under a second; a sound loop reaches 97 to 100).

# %% exercise="train_sentiment"
def train_sentiment(
    model, words, labels, steps, batch_size, learning_rate, max_norm, generator
):
    """Train a classifier of words in place.

    Args:
        model: words (B, N) -> scores (B, classes).
        words: (n, N) int64, labels: (n,) int64.
        steps: how many batches.
        batch_size: B.
        learning_rate: of AdamW.
        max_norm: largest length of the gradient.
        generator: the torch.Generator that batches are drawn from.

    Returns:
        list of `steps` floats: the loss of each batch before its step.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(words), (batch_size,), generator=generator)  # (B,)
        loss = F.cross_entropy(model(words[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% check="train_sentiment"
check("hw7.train_sentiment", train_sentiment)

# %% [markdown]
# ## All together: three readers
#
# Nothing to write here. Three networks read the reviews: an LSTM out of your cell; an encoder of two layers in your classifier, with positions
# for the words; and the same encoder whose words are first mixed with their left neighbour by a **convolution of width 2**.

# %%
class LSTMReader(nn.Module):
    """Words (B, N) -> scores (B, 2): your LSTM, and a linear layer on its last state."""

    def __init__(self, vocab_size, embed_dim=32, hidden=32):
        super().__init__()
        self.words = nn.Embedding(vocab_size, embed_dim)
        small = lambda *shape: nn.Parameter(torch.randn(*shape) / math.sqrt(hidden))
        self.w_x, self.w_h = small(embed_dim, 4 * hidden), small(hidden, 4 * hidden)
        self.bias = small(4 * hidden)
        self.head = nn.Linear(hidden, 2)

    def forward(self, words):
        lengths = padding_mask(words, PADDING).sum(dim=1)  # (B,)
        _, last = run_lstm(self.words(words), lengths, self.w_x, self.w_h, self.bias)  # (B, H)
        return self.head(last)

# %%
class Encoder(nn.Module):
    """(B, N, D), visible (B, N) -> (B, N, D): pre-norm, your cross-attention of x with itself."""

    def __init__(self, dim=32, depth=2, num_heads=4, pairs=False):
        super().__init__()
        matrix = lambda: nn.Parameter(torch.randn(dim, dim) / math.sqrt(dim))
        self.weights = nn.ModuleList(
            nn.ParameterList(matrix() for _ in range(4)) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth + 1))
        mlp = lambda: nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.mlps = nn.ModuleList(mlp() for _ in range(depth))
        self.left = nn.Linear(2 * dim, dim) if pairs else None  # a convolution of width 2
        self.num_heads = num_heads

    def forward(self, x, visible):
        if self.left is not None:
            before = F.pad(x, (0, 0, 1, 0))[:, :-1]  # (B, N, D): the left neighbours
            x = F.gelu(self.left(torch.cat([before, x], dim=-1)))
        for n, (matrices, mlp) in enumerate(zip(self.weights, self.mlps)):
            z = self.norms[2 * n](x)  # (B, N, D)
            x = x + cross_attention(z, z, visible, *matrices, self.num_heads)
            x = x + mlp(self.norms[2 * n + 1](x))
        return self.norms[-1](x)

# %%
from functools import cache

held_out = load("sentiment", "test", device="cpu", size=budget(tiny=50, cpu=500))
LONGEST = reviews.words.shape[1]


@cache
def trained(name, seed=0):
    """Losses, and the share of the held-out reviews that is right."""
    torch.manual_seed(seed)
    if name == "LSTM":
        model = LSTMReader(len(reviews.vocabulary))
    else:
        encoder = Encoder(pairs="pairs" in name)
        model = EncoderClassifier(len(reviews.vocabulary), LONGEST, 32, 2, encoder, PADDING)
        nn.init.normal_(model.positions, std=0.5)
    generator = torch.Generator().manual_seed(seed)
    losses = train_sentiment(
        model, *reviews, budget(tiny=3, cpu=300), 64, 0.005, 1.0, generator)
    with torch.no_grad():
        right = model.eval()(held_out.words).argmax(dim=1) == held_out.labels  # (n,)
    return losses, right.float().mean().item()

# %% [markdown]
# *Price of the next cell: about 15 seconds on a laptop's CPU.*

# %%
with when_done():
    names = ["LSTM", "encoder, positions", "encoder, positions, pairs"]
    results = {name: trained(name) for name in names}
    tens = lambda losses: torch.tensor(losses).split(10)
    curves = {name: [ten.mean().item() for ten in tens(losses)]
              for name, (losses, _) in results.items()}
    steps = range(0, len(results["LSTM"][0]), 10)
    display(plots.curves(steps, curves, xlabel="step", ylabel="loss, mean of ten steps"))
    bars = {name: {"held-out reviews": right} for name, (_, right) in results.items()}
    display(plots.bars(bars, chance=0.5))

# %% [markdown]
# Try other seeds (`trained(name, seed=1)`) before you believe a difference: it is large enough if it is there with each of three. Then exercise 11
# asks you why.

# %% [markdown] written="two_biases" points=5
# ## 11 · In your own words ●●●○○
#
# **(a)** *(2 points)* One of the three networks had as many positions and as much attention as another and learned far less. Which one,
# and why? Say what it would have to do to read "not good", and what in the other two makes that easy. Its training loss falls all the same: what does
# it learn instead?
#
# **(b)** *(2 points)* Look-up tables are the opposite: "which number belonged to *f*?", asked after twelve pairs. Why is it hard for an LSTM
# and easy for attention? Speak of the path between the question and the pair, and of what has to be kept.
#
# **(c)** *(1 point)* "Transformers have replaced LSTMs because they have no inductive bias." Correct that sentence.
#
# ### BEGIN SOLUTION
# **(a)** The encoder with positions alone. "not good" means: the word *directly before* is "not". Attention compares contents; to look exactly one place to the left,
# its queries and keys must learn from the position vectors which rows are neighbours, for each of the 24 places separately, and combine that with the words, before
# any of it helps with *new* reviews: no count of words does, so there is no first step in the right direction. Its training loss falls to 0.2 to 0.3, for it learns the
# 2,000 reviews by heart; of the held-out ones it has 56, 54 and 54 per cent with our three seeds, where the LSTM has 99, 100 and 100 and the one with pairs 100. The LSTM reads neighbours one after the other, so "not" is still in its state when "good"
# comes. The convolution of width 2 puts the two side by side with the same weights at each place.
#
# *Marking: 1 point for the network and "relative place must be learned, for each place"; half a point for order in time (LSTM) and shared weights for neighbours
# (convolution); half a point for "by heart", seen in the gap between loss and held-out reviews.*
#
# **(b)** The LSTM must keep all twelve pairs in one vector of fixed size until the question comes, and the gradient from the answer to a pair runs through all
# steps between. Attention keeps every pair at its own place; the question reaches each of them in one step, and the scores find the one with the same name by its
# content.
#
# *Marking: 1 point for the state of fixed size, 1 point for the path of length 1 and look-up by content.*
#
# **(c)** They have *another* one, a weaker one about order: every place may be asked, by content, and places are symmetric until positions are added. The LSTM's is that what is
# near in time matters most. Which is better depends on the data and how much there is of it.
#
# *Marking: half a point for "another bias", half for "depends on the data".*
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * An LSTM cell forgets and adds under gates; a batch of sentences ends where each sentence ends.
# * A mask tells attention what is filling, a second one what is still to be written.
# * Cross-attention is attention whose keys and values come from elsewhere.
# * Teacher forcing moves the target by one place; greedy decoding goes on from its own words.
# * A network's bias is neither good nor bad by itself: for "not good" it helps to see neighbours, for lists to look up by
#   content.
#
# **References.** S. Hochreiter and J. Schmidhuber, *Long short-term memory*, Neural Computation 1997. · F. Gers, J. Schmidhuber and F. Cummins, *Learning to
# forget*, Neural Computation 2000 (the forget gate). · A. Vaswani et al., *Attention is all you need*, NeurIPS 2017. · R. Pascanu, T. Mikolov and Y. Bengio,
# *On the difficulty of training recurrent neural networks*, ICML 2013 (clipping). · R. Xiong et al., *On layer normalization in the transformer architecture*, ICML 2020.
