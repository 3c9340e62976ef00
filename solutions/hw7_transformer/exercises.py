"""Homework 7: an LSTM, the parts of a transformer's encoder and decoder, greedy decoding, and a training loop.

The right answers stand in ``hw7_transformer.py``. Here, exercise by exercise: the inputs it is tried on, the mistakes
people make with the sentence that names each, and other right answers.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from course.checks import Accuracy, Call, Credit, Draw, Homework, Probe, Seeded
from course.data import load

# A forward pass whose gradient is cut off is most of the work, and useless for training: it earns eight tenths.
homework = Homework(
    "hw7_transformer",
    forbidden=(
        "torch.nn.LSTM",
        "torch.nn.LSTMCell",
        "torch.nn.RNNBase",
        "torch.lstm",
        "torch.lstm_cell",
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.TransformerDecoder",
        "torch.nn.TransformerDecoderLayer",
    ),
    credit=Credit(shape=0.1, values=0.7, gradients=0.2),
)


def _lstm_weights(draw: Draw, D: int, H: int) -> dict[str, torch.Tensor]:
    return {"w_x": draw.normal(D, 4 * H) / D**0.5, "w_h": draw.normal(H, 4 * H) / H**0.5, "bias": draw.normal(4 * H)}


# ------------------------------------------------------------------------------------------------------------
# 1. lstm_cell

cell = homework.exercise(
    "lstm_cell",
    points=6,
    hints=(
        "Print the shape of your sum before you cut it: is it (B, 4 H)? And after cutting: four times (B, H)?",
        "Set w_x, w_h and bias to zeros: all gates are then one half and the candidate is 0. Is your new c half of the old one, and h half of its tanh?",
    ),
)


@cell.inputs
def _(draw: Draw):
    for _ in range(2):
        B, D, H = draw.sizes(3, low=2, high=6)
        arguments = {"x": draw.normal(B, D), "h": draw.normal(B, H), "c": 2 * draw.normal(B, H)}
        weights = _lstm_weights(draw, D, H)
        yield Call("lstm_cell", arguments | weights, gradients=("x", "h", "c", *weights))


def _step(x, h, c, w_x, w_h, bias, order="ifgo", forget=torch.sigmoid, candidate=torch.tanh, shown=torch.tanh):
    """The right step with replaceable parts."""
    parts = dict(zip(order, (x @ w_x + h @ w_h + bias).chunk(4, dim=-1)))
    c = forget(parts["f"]) * c + parts["i"].sigmoid() * candidate(parts["g"])
    return parts["o"].sigmoid() * shown(c), c


@cell.mistake("Your four parts stand in another order. Asked for is input gate, forget gate, candidate, output gate.")
def output_gate_before_candidate(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias, order="ifog")


@cell.mistake("Your input gate and your forget gate have changed places: what should be kept is written over.")
def forget_gate_first(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias, order="figo")


@cell.mistake(
    "Your candidate goes through a sigmoid like the gates, so a cell could never become smaller by adding. It needs a tanh."
)
def candidate_as_a_gate(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias, candidate=torch.sigmoid)


@cell.mistake("Your forget gate works the wrong way round: with a gate of 1 the cell is kept, with 0 it is forgotten.")
def forgets_what_it_should_keep(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias, forget=lambda f: 1 - f.sigmoid())


@cell.mistake("You return the cell through the output gate as it is. It goes through a tanh first.")
def cell_shown_without_tanh(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias, shown=lambda c: c)


@cell.mistake("Your new h is made from the old cell. It belongs to the new one.")
def shows_the_old_cell(x, h, c, w_x, w_h, bias):
    _, new = _step(x, h, c, w_x, w_h, bias)
    o = (x @ w_x + h @ w_h + bias).chunk(4, dim=-1)[3]
    return o.sigmoid() * c.tanh(), new


@cell.mistake("The bias is missing from your sum.")
def sum_without_bias(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, 0 * bias)


@cell.mistake("Your step does not look at the old h: what was read before cannot open or shut a gate.")
def blind_to_the_old_state(x, h, c, w_x, w_h, bias):
    return _step(x, 0 * h, c, w_x, w_h, bias)


@cell.mistake("You return the cell first and h second. Asked for is the other order.")
def cell_before_h(x, h, c, w_x, w_h, bias):
    return _step(x, h, c, w_x, w_h, bias)[::-1]


@cell.alternative
def cell_by_slices(x, h, c, w_x, w_h, bias):
    H = h.shape[1]
    sums = torch.cat([x, h], dim=1) @ torch.cat([w_x, w_h]) + bias
    gates = sums.sigmoid()
    kept = gates[:, H : 2 * H] * c
    written = gates[:, :H] * sums[:, 2 * H : 3 * H].tanh()
    c = kept + written
    return gates[:, 3 * H :] * c.tanh(), c


@cell.alternative
def cell_by_einsum(x, h, c, w_x, w_h, bias):
    sums = einsum(x, w_x, "b d, d k -> b k") + einsum(h, w_h, "b h, h k -> b k") + bias
    i, f, g, o = rearrange(sums, "b (four h) -> four b h", four=4)
    c = c * f.sigmoid() + g.tanh() * i.sigmoid()
    return c.tanh() * o.sigmoid(), c


@cell.alternative
def cell_by_four_products(x, h, c, w_x, w_h, bias):
    def part(n):
        H = h.shape[1]
        columns = slice(n * H, (n + 1) * H)
        return F.linear(x, w_x[:, columns].T, bias[columns]) + F.linear(h, w_h[:, columns].T)

    keep, write = torch.sigmoid(part(1)), torch.sigmoid(part(0))
    new = torch.addcmul(keep * c, write, torch.tanh(part(2)))
    return torch.sigmoid(part(3)) * torch.tanh(new), new


# ------------------------------------------------------------------------------------------------------------
# 2. run_lstm

reading = homework.exercise(
    "run_lstm",
    points=6,
    hints=(
        "Give all sentences their full length. Is `last` then the same as the last place of `outputs`?",
        "Give two sentences the same words and the lengths 3 and 1. Is the second `last` the first place of the first sentence's outputs?",
    ),
)


@reading.inputs
def _(draw: Draw):
    for full in (True, False):
        B, D, H = draw.sizes(3, low=2, high=5)
        N = 6 + draw.integer(0, 1)
        lengths = torch.full((B,), N) if full else draw.integers(1, N - 1, B)
        if not full:
            lengths[draw.integer(0, B - 1)] = N
            lengths[lengths.argmin()] = 1 + draw.integer(0, 1)
        arguments = {"x": draw.normal(B, N, D), "lengths": lengths}
        weights = _lstm_weights(draw, D, H)
        yield Call("run_lstm", arguments | weights, gradients=("x", *weights))


def _outputs(x, lengths, w_x, w_h, bias, keep=True, from_right=False):
    h = c = x.new_zeros(x.shape[0], w_h.shape[0])
    outputs = []
    for n in range(x.shape[1]):
        new_h, new_c = _step(x[:, n], h, c, w_x, w_h, bias)
        reads = (n < lengths)[:, None]
        h, c = (torch.where(reads, new_h, h), torch.where(reads, new_c, c)) if keep else (new_h, new_c)
        outputs.append(h)
    return torch.stack(outputs, dim=1), h


def _until_the_end(outputs, lengths):
    return outputs * (torch.arange(outputs.shape[1]) < lengths[:, None])[..., None]


@reading.mistake(
    "Your network reads on through the filling behind the end of the short sentences, and its last state with it."
)
def reads_the_filling(x, lengths, w_x, w_h, bias):
    outputs, last = _outputs(x, lengths, w_x, w_h, bias, keep=False)
    return _until_the_end(outputs, lengths), last


@reading.mistake("Behind the end of a sentence your outputs repeat its last state. Zeros are asked for there.")
def repeats_the_last_state(x, lengths, w_x, w_h, bias):
    return _outputs(x, lengths, w_x, w_h, bias)


@reading.mistake(
    "Your last states are those of the last place, which is zero for the short sentences. Each sentence has its own last word."
)
def last_place_of_the_outputs(x, lengths, w_x, w_h, bias):
    outputs = _until_the_end(_outputs(x, lengths, w_x, w_h, bias)[0], lengths)
    return outputs, outputs[:, -1]


@reading.mistake(
    "Your last states are one word too early: a sentence of n words ends at the place n - 1, counted from 0."
)
def ends_one_word_early(x, lengths, w_x, w_h, bias):
    outputs, _ = _outputs(x, lengths, w_x, w_h, bias)
    places = (lengths - 2).clamp(min=0)
    return _until_the_end(outputs, lengths), outputs[torch.arange(len(x)), places]


@reading.mistake("Your cell starts anew with every word: only h is handed on from step to step.")
def cell_not_handed_on(x, lengths, w_x, w_h, bias):
    h = x.new_zeros(x.shape[0], w_h.shape[0])
    outputs = []
    for n in range(x.shape[1]):
        new, _ = _step(x[:, n], h, torch.zeros_like(h), w_x, w_h, bias)
        h = torch.where((n < lengths)[:, None], new, h)
        outputs.append(h)
    return _until_the_end(torch.stack(outputs, dim=1), lengths), h


@reading.mistake("Every word is read with the empty state: h and c have to be handed on from step to step.")
def every_word_from_nothing(x, lengths, w_x, w_h, bias):
    zero = x.new_zeros(x.shape[0], w_h.shape[0])
    outputs = torch.stack([_step(x[:, n], zero, zero, w_x, w_h, bias)[0] for n in range(x.shape[1])], dim=1)
    return _until_the_end(outputs, lengths), outputs[torch.arange(len(x)), lengths - 1]


@reading.mistake("You return the cell of the last word. Its h is asked for.")
def returns_the_cell(x, lengths, w_x, w_h, bias):
    h = c = x.new_zeros(x.shape[0], w_h.shape[0])
    outputs = []
    for n in range(x.shape[1]):
        new_h, new_c = _step(x[:, n], h, c, w_x, w_h, bias)
        reads = (n < lengths)[:, None]
        h, c = torch.where(reads, new_h, h), torch.where(reads, new_c, c)
        outputs.append(h)
    return _until_the_end(torch.stack(outputs, dim=1), lengths), c


@reading.alternative
def sentence_by_sentence(x, lengths, w_x, w_h, bias):
    B, N, _ = x.shape
    H = w_h.shape[0]
    rows, last = [], []
    for sentence, length in zip(x, lengths.tolist()):
        h, c = torch.zeros(1, H), torch.zeros(1, H)
        states = []
        for word in sentence[:length]:
            i, f, g, o = (word[None] @ w_x + h @ w_h + bias).split(H, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        last.append(h)
        rows.append(torch.cat([*states, torch.zeros(N - length, H)]))
    return torch.stack(rows), torch.cat(last)


@reading.alternative
def reads_all_and_picks(x, lengths, w_x, w_h, bias):
    B, N, _ = x.shape
    h = c = torch.zeros(B, w_h.shape[0])
    sums = x @ w_x + bias
    states = []
    for n in range(N):
        i, f, g, o = (sums[:, n] + h @ w_h).chunk(4, 1)
        c = c * torch.sigmoid(f) + torch.sigmoid(i) * torch.tanh(g)
        h = torch.tanh(c) * torch.sigmoid(o)
        states.append(h)
    outputs = torch.stack(states, 1)
    last = outputs[torch.arange(B), lengths - 1]
    inside = torch.arange(N)[None] < lengths[:, None]
    return outputs.masked_fill(~inside[..., None], 0.0), last


@reading.alternative
def reads_by_products_with_the_mask(x, lengths, w_x, w_h, bias):
    h = c = x.new_zeros(len(x), w_h.shape[0])
    outputs = x.new_zeros(len(x), x.shape[1], w_h.shape[0])
    for n in range(x.shape[1]):
        alive = (lengths > n).float()[:, None]
        i, f, g, o = (x[:, n] @ w_x + h @ w_h + bias).chunk(4, dim=-1)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        c = alive * new + (1 - alive) * c
        h = alive * (o.sigmoid() * new.tanh()) + (1 - alive) * h
        outputs = torch.cat([outputs[:, :n], (alive * h)[:, None], outputs[:, n + 1 :]], dim=1)
    return outputs, h


# ------------------------------------------------------------------------------------------------------------
# 3. padding_mask and masked_mean

padded = homework.exercise(
    "padding_mask",
    points=5,
    targets=("padding_mask", "masked_mean"),
    hints=(
        "Try words without any padding: is your mask True everywhere, and is `masked_mean` then `x.mean(dim=1)`?",
        "By how many words is the sum of the second sentence divided? It is another number than for the first.",
    ),
)


def _padded_words(draw: Draw, B: int, N: int, vocabulary: int, padding: int) -> torch.Tensor:
    """Words that are not the padding, filled up behind; one sentence is full, one is not."""
    words = draw.integers(0, vocabulary - 2, B, N)
    words = words + (words >= padding)  # every word but the padding
    lengths = draw.integers(1, N - 1, B)
    lengths[draw.integer(0, B - 1)] = N
    words[torch.arange(N) >= lengths[:, None]] = padding
    return words


@padded.inputs
def _(draw: Draw):
    for padding in (0, 3):
        B, N, D = draw.sizes(3, low=3, high=7)
        words = _padded_words(draw, B, N, 9, padding)
        yield Call("padding_mask", {"words": words, "padding": padding})
        visible = words != padding
        yield Call("masked_mean", {"x": draw.normal(B, N, D) + 1, "visible": visible}, gradients=("x",))


def _mask(words, padding):
    return words != padding


def _mean(x, visible):
    seen = visible[..., None].float()
    return (x * seen).sum(1) / seen.sum(1)


@padded.mistake("Your mask is upside down: True should stand for a real word, and you have it at the padding.")
def true_for_the_padding(words, padding):
    return words == padding


@padded.mistake("You take every word above the padding for real. Words below its number are words too.")
def words_above_the_padding(words, padding):
    return words > padding


@padded.mistake("Your mask does not use the argument padding but the number 0.")
def zero_for_the_padding(words, padding):
    return words != 0


@padded.mistake("Your mask is made of numbers. Truth values are asked for.")
def mask_of_numbers(words, padding):
    return (words != padding).float()


@padded.mistake("Your mean counts the filling: it adds up all places and divides by all of them.", target="masked_mean")
def mean_of_all(x, visible):
    return x.mean(dim=1)


@padded.mistake("You add up the visible words only, but divide by the number of all places.", target="masked_mean")
def divided_by_all_places(x, visible):
    return (x * visible[..., None]).mean(dim=1)


@padded.mistake(
    "You divide by the number of visible words in the whole batch. Each sentence has its own number.",
    target="masked_mean",
)
def divided_by_the_batch(x, visible):
    return (x * visible[..., None]).sum(dim=1) / visible.sum()


@padded.mistake("You add up the visible words and do not divide.", target="masked_mean")
def sum_of_the_visible(x, visible):
    return (x * visible[..., None]).sum(dim=1)


@padded.mistake("Your average is over the hidden words instead of the visible ones.", target="masked_mean")
def mean_of_the_hidden(x, visible):
    hidden = (~visible)[..., None].float()
    return (x * hidden).sum(1) / hidden.sum(1).clamp(min=1)


@padded.alternative
def mask_by_equality(words, padding):
    return ~(words == padding)


@padded.alternative
def mask_by_eq(words, padding):
    return torch.logical_not(torch.eq(words, padding))


@padded.alternative(target="masked_mean")
def mean_sentence_by_sentence(x, visible):
    means = []
    for words, seen in zip(x, visible):
        means.append(words[seen].mean(dim=0))
    return torch.stack(means)


@padded.alternative(target="masked_mean")
def mean_by_weights(x, visible):
    weights = visible.float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    return einsum(weights, x, "b n, b n d -> b d")


@padded.alternative(target="masked_mean")
def mean_by_filling(x, visible):
    total = x.masked_fill(~visible.unsqueeze(-1), 0).sum(dim=-2)
    return total / visible.sum(dim=-1, keepdim=True)


# ------------------------------------------------------------------------------------------------------------
# 4. EncoderClassifier

classifier = homework.exercise(
    "EncoderClassifier",
    points=7,
    hints=(
        "Print the shapes on the way: (B, N, D) before and after the encoder, (B, D) after the mean, (B, classes) at the end.",
        "Put more padding behind all sentences (in all not more than `longest` words). Do the scores stay as they were?",
    ),
)


@classifier.inputs
def _(draw: Draw):
    for padding in (0, 4):
        B, N, D, classes = draw.sizes(4, low=3, high=8)
        vocabulary, longest = 11, N + draw.integer(1, 3)
        mixing = draw.normal(D, D) / D**0.5
        yield Call(
            "EncoderClassifier",
            {"words": _padded_words(draw, B, N, vocabulary, padding)},
            init={
                "vocab_size": vocabulary,
                "longest": longest,
                "embed_dim": D,
                "num_classes": classes,
                "encoder": Probe("masked_mixer", {"weight": mixing}),
                "padding": padding,
            },
            parameters={
                "words.weight": draw.normal(vocabulary, D),
                "positions": draw.normal(longest, D),
                "encoder.weight": mixing,
                **draw.linear("head", D, classes),
            },
        )


class _Classifier(nn.Module):
    """Right as it stands; each mistake below changes one of its steps."""

    def __init__(self, vocab_size, longest, embed_dim, num_classes, encoder, padding):
        super().__init__()
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Parameter(torch.zeros(longest, embed_dim))
        self.encoder = encoder
        self.head = nn.Linear(embed_dim, num_classes)
        self.padding = padding

    def embed(self, words):
        return self.words(words) + self.positions[: words.shape[1]]

    def pool(self, x, visible):
        return _mean(x, visible)

    def seen(self, words):
        return words != self.padding

    def forward(self, words):
        visible = words != self.padding
        return self.head(self.pool(self.encoder(self.embed(words), self.seen(words)), visible))


@classifier.mistake("Your words have no positions: to this network a sentence is a bag of words.")
class WithoutPositions(_Classifier):
    def embed(self, words):
        return self.words(words)


@classifier.mistake("Your words get the positions of the end of the table. The first word stands at row 0.")
class PositionsFromTheEnd(_Classifier):
    def embed(self, words):
        return self.words(words) + self.positions[-words.shape[1] :]


@classifier.mistake("Your positions are multiplied with the words. They are added.")
class PositionsMultiplied(_Classifier):
    def embed(self, words):
        return self.words(words) * self.positions[: words.shape[1]]


@classifier.mistake("Your encoder is told that all words are real: the filling takes part in its attention.")
class EncoderSeesTheFilling(_Classifier):
    def seen(self, words):
        return torch.ones_like(words, dtype=torch.bool)


@classifier.mistake("Your average at the end counts the filling.")
class AverageOverTheFilling(_Classifier):
    def pool(self, x, visible):
        return x.mean(dim=1)


@classifier.mistake("You classify by the vector of the first word. The mean of the visible words is asked for.")
class FirstWordAlone(_Classifier):
    def pool(self, x, visible):
        return x[:, 0]


@classifier.mistake("You take the mean of the words before the encoder and leave the encoder out.")
class EncoderLeftOut(_Classifier):
    def forward(self, words):
        return self.head(self.pool(self.embed(words), words != self.padding))


@classifier.mistake("Your positions are added behind the encoder. It has to know them while it compares words.")
class PositionsBehindTheEncoder(_Classifier):
    def forward(self, words):
        visible = words != self.padding
        x = self.encoder(self.words(words), visible) + self.positions[: words.shape[1]]
        return self.head(self.pool(x, visible))


@classifier.alternative
class ClassifierByIndex(nn.Module):
    def __init__(self, vocab_size, longest, embed_dim, num_classes, encoder, padding):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(longest, embed_dim))
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.head = nn.Linear(embed_dim, num_classes)
        self.encoder = encoder
        self.filling = padding

    def forward(self, words):
        real = ~words.eq(self.filling)
        places = torch.arange(words.shape[1])
        x = self.encoder(self.words(words) + self.positions[places][None], real)
        counts = real.sum(dim=1, keepdim=True)
        mean = x.masked_fill(~real[..., None], 0).sum(dim=1) / counts
        return self.head(mean)


@classifier.alternative
class ClassifierOfScores(nn.Module):
    """Averages the scores of all words in place of their vectors: the head is linear."""

    def __init__(self, vocab_size, longest, embed_dim, num_classes, encoder, padding):
        super().__init__()
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Parameter(torch.zeros(longest, embed_dim))
        self.encoder, self.padding = encoder, padding
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, words):
        visible = words != self.padding
        x = F.embedding(words, self.words.weight) + self.positions.narrow(0, 0, words.shape[1])
        scores = self.head(self.encoder(x, visible))
        weights = visible / visible.sum(dim=1, keepdim=True)
        return (scores * weights[..., None]).sum(dim=1)


@classifier.alternative
class ClassifierByEinsum(nn.Module):
    def __init__(self, vocab_size, longest, embed_dim, num_classes, encoder, padding):
        super().__init__()
        self.words = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Parameter(torch.zeros(longest, embed_dim))
        self.encoder = encoder
        self.head = nn.Linear(embed_dim, num_classes)
        self.padding = padding

    def forward(self, words):
        _, N = words.shape
        visible = torch.ne(words, self.padding)
        x = self.encoder(self.words.weight[words] + self.positions[0:N], visible)
        pooled = einsum(x, visible.to(x.dtype), "b n d, b n -> b d") / visible.sum(1)[:, None]
        return F.linear(pooled, self.head.weight, self.head.bias)


# ------------------------------------------------------------------------------------------------------------
# 5. causal_mask

causal = homework.exercise(
    "causal_mask",
    points=3,
    credit=Credit(),
    hints=("Print `causal_mask(2, 4).int()`: do the rows read 1 1 1 0 and 1 1 1 1?",),
)


@causal.inputs
def _(draw: Draw):
    N = draw.integer(4, 6)
    yield Call("causal_mask", {"num_queries": N, "num_keys": N})
    N = draw.integer(6, 8)
    yield Call("causal_mask", {"num_queries": draw.integer(2, 4), "num_keys": N})


@causal.mistake(
    "Your queries are the first of the places. They are the last ones: with two of six, query 0 stands at place 4."
)
def queries_at_the_beginning(num_queries, num_keys):
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril()


@causal.mistake("Your mask is turned over: a query sees what comes after it, and not what came before.")
def sees_what_comes_after(num_queries, num_keys):
    return torch.ones(num_queries, num_keys, dtype=torch.bool).triu(num_keys - num_queries)


@causal.mistake("Your queries may not look at their own place. Key j is allowed if it is not after the query's place.")
def not_at_itself(num_queries, num_keys):
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries - 1)


@causal.mistake("Your queries may look one word into the future.")
def one_word_ahead(num_queries, num_keys):
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries + 1)


@causal.mistake("True and False have changed places: True means that the query may look.")
def true_for_the_forbidden(num_queries, num_keys):
    return ~torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)


@causal.mistake("Your mask is made of numbers, zeros and minus infinity. Truth values are asked for.")
def mask_to_be_added(num_queries, num_keys):
    allowed = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
    return torch.zeros(num_queries, num_keys).masked_fill(~allowed, -math.inf)


@causal.mistake("Rows and columns have changed places: a row belongs to a query.")
def keys_in_the_rows(num_queries, num_keys):
    return torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries).T


@causal.alternative
def triangle_moved(num_queries, num_keys):
    return torch.tril(torch.ones(num_queries, num_keys), diagonal=num_keys - num_queries).bool()


@causal.alternative
def last_rows_of_a_triangle(num_queries, num_keys):
    square = torch.ones(num_keys, num_keys, dtype=torch.bool).tril()
    return square[num_keys - num_queries :]


@causal.alternative
def mask_by_two_loops(num_queries, num_keys):
    mask = torch.zeros(num_queries, num_keys, dtype=torch.bool)
    for i in range(num_queries):
        for j in range(num_keys):
            mask[i, j] = j <= num_keys - num_queries + i
    return mask


# ------------------------------------------------------------------------------------------------------------
# 6. cross_attention

crossing = homework.exercise(
    "cross_attention",
    points=7,
    hints=(
        "Print the shape of your scores: (B, h, M, N)? Along which of these axes do the weights of one query sum to 1?",
        "Let only one word of the source be visible. All weights must then be 1 at that word: is the result of all M places the same?",
        "How many numbers does one head have? Not the width of y, but a part of what w_q makes.",
    ),
)


@crossing.inputs
def _(draw: Draw):
    for heads, all_visible in ((1, True), (2, False), (3, False)):
        B, M, N = draw.sizes(3, low=2, high=5)
        A = heads * (4 if heads > 1 else 6)
        D, C = {6: (7, 9), 8: (10, 7), 12: (9, 11)}[A]
        visible = torch.ones(B, N, dtype=torch.bool)
        if not all_visible:
            hidden = torch.rand(B, N, generator=draw.generator).argmin(dim=1)
            visible[torch.arange(B), hidden] = False  # one word of each sentence
        yield Call(
            "cross_attention",
            {
                "y": 2 * draw.normal(B, M, D),
                "memory": 2 * draw.normal(B, N, C),
                "visible": visible,
                "w_q": draw.normal(D, A) / D**0.5,
                "w_k": draw.normal(C, A) / C**0.5,
                "w_v": draw.normal(C, A) / C**0.5,
                "w_o": draw.normal(A, D) / A**0.5,
                "num_heads": heads,
            },
            gradients=("y", "memory", "w_q", "w_k", "w_v", "w_o"),
        )


def _cross(y, memory, visible, w_q, w_k, w_v, w_o, num_heads, scale=None, values=None, cut="(h d)", hide=True):
    """The right function with replaceable parts."""
    split = lambda x: rearrange(x, f"b n {cut} -> b h n d", h=num_heads)
    q, k, v = split(y @ w_q), split(memory @ w_k), split((memory if values is None else values) @ w_v)
    scores = q @ k.mT / (math.sqrt(q.shape[-1]) if scale is None else scale)
    if hide:
        scores = scores.masked_fill(~visible[:, None, None], -math.inf)
    return rearrange(scores.softmax(-1) @ v, f"b h n d -> b n {cut}") @ w_o


@crossing.mistake(
    "The words of the source that may not be looked at are looked at: your scores ignore the argument visible."
)
def filling_of_the_source_is_seen(*arguments):
    return _cross(*arguments, hide=False)


@crossing.mistake("Your mask is upside down: you hide what is visible.")
def hides_what_is_visible(y, memory, visible, *rest):
    return _cross(y, memory, torch.where(visible.all(dim=1, keepdim=True), visible, ~visible), *rest)


@crossing.mistake(
    "You divide the scores by the root of the whole width. Each head has only d numbers, and d belongs under the root."
)
def scaled_by_the_whole_width(y, *rest):
    return _cross(y, *rest, scale=math.sqrt(rest[2].shape[1]))


@crossing.mistake("Your scores are not divided by the root of d.")
def scores_not_scaled(*arguments):
    return _cross(*arguments, scale=1.0)


@crossing.mistake("Your heads are made of every h-th number. Head 0 takes the first d numbers side by side.")
def heads_interleaved(*arguments):
    return _cross(*arguments, cut="(d h)")


@crossing.mistake("Your softmax runs over the queries. The weights of one query sum to 1 over the words of the source.")
def softmax_over_the_queries(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (y @ w_q, memory @ w_k, memory @ w_v))
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-2) * visible[:, None, None]
    return rearrange(scores @ v, "b h n d -> b n (h d)") @ w_o


@crossing.mistake("The matrix w_o is missing at the end: the heads stand side by side and are never mixed.")
def heads_never_mixed(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    return _cross(y, memory, visible, w_q, w_k, w_v, torch.eye(w_q.shape[1]), num_heads)


@crossing.mistake("Your values are made with the matrix of the keys. What is passed on has a matrix of its own, w_v.")
def values_by_the_matrix_of_keys(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    return _cross(y, memory, visible, w_q, w_k, w_k, w_o, num_heads)


@crossing.mistake("Your weights are averaged over the heads, so all heads look at the same places.")
def one_pattern_for_all_heads(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=num_heads) for x in (y @ w_q, memory @ w_k, memory @ w_v))
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~visible[:, None, None], -math.inf)
    weights = scores.softmax(-1).mean(dim=1, keepdim=True)
    return rearrange(weights @ v, "b h n d -> b n (h d)") @ w_o


@crossing.alternative
def head_by_head(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    d = w_q.shape[1] // num_heads
    found = []
    for head in range(num_heads):
        part = slice(head * d, (head + 1) * d)
        q, k, v = y @ w_q[:, part], memory @ w_k[:, part], memory @ w_v[:, part]
        scores = torch.bmm(q, k.transpose(1, 2)) * d**-0.5
        scores = scores.masked_fill(visible[:, None, :] == 0, float("-inf"))
        weights = F.softmax(scores, dim=2)
        found.append(torch.bmm(weights, v))
    return torch.cat(found, dim=2) @ w_o


@crossing.alternative
def crossing_by_einsum(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    h = num_heads
    q = rearrange(einsum(y, w_q, "b m c, c e -> b m e"), "b m (h d) -> b m h d", h=h)
    k = rearrange(einsum(memory, w_k, "b n c, c e -> b n e"), "b n (h d) -> b n h d", h=h)
    v = rearrange(einsum(memory, w_v, "b n c, c e -> b n e"), "b n (h d) -> b n h d", h=h)
    scores = einsum(q, k, "b m h d, b n h d -> b h m n") / q.shape[-1] ** 0.5
    scores = torch.where(visible[:, None, None, :], scores, torch.tensor(-1e9))
    mixed = einsum(scores.softmax(dim=-1), v, "b h m n, b n h d -> b m h d")
    return mixed.flatten(2) @ w_o


@crossing.alternative
def weights_by_exponentials(y, memory, visible, w_q, w_k, w_v, w_o, num_heads):
    B, M, _ = y.shape
    N, d = memory.shape[1], w_q.shape[1] // num_heads
    q = (y @ w_q).view(B, M, num_heads, d).permute(0, 2, 1, 3) / math.sqrt(d)
    k = (memory @ w_k).view(B, N, num_heads, d).permute(0, 2, 3, 1)
    v = (memory @ w_v).view(B, N, num_heads, d).permute(0, 2, 1, 3)
    scores = q @ k
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp() * visible[:, None, None, :]
    weights = powers / powers.sum(dim=-1, keepdim=True)
    out = (weights @ v).permute(0, 2, 1, 3).reshape(B, M, num_heads * d)
    return out @ w_o


# ------------------------------------------------------------------------------------------------------------
# 7. DecoderBlock

decoding = homework.exercise(
    "DecoderBlock",
    points=7,
    hints=(
        "Set the weight and bias of `fc2` to zero and both attentions to something that returns zeros: does the block return y itself?",
        "What does the second part read: the block's input, or what the first part has added to it?",
    ),
)


@decoding.inputs
def _(draw: Draw):
    for mlp_ratio, size in ((2, 1.0), (3, 1.0), (2, 0.003)):  # in a small stream, the eps of the norms shows
        B, M, N, D = draw.sizes(4, low=3, high=8)
        own, crossed = size * draw.normal(D, D) / D**0.5, size * draw.normal(D, D) / D**0.5
        visible = torch.ones(B, N, dtype=torch.bool)
        if mlp_ratio == 3:
            visible[:, -1] = False
        yield Call(
            "DecoderBlock",
            {"y": size * draw.normal(B, M, D), "memory": 2 * draw.normal(B, N, D) + 1, "visible": visible},
            init={
                "embed_dim": D,
                "self_attention": Probe("token_mixer", {"weight": own}),
                "cross_attention": Probe("memory_mixer", {"weight": crossed}),
                "mlp_ratio": mlp_ratio,
            },
            parameters={
                **draw.norm("norm1", D),
                "self_attention.weight": own,
                **draw.norm("norm2", D),
                "cross_attention.weight": crossed,
                **draw.norm("norm3", D),
                **draw.linear("fc1", D, mlp_ratio * D),
                **draw.linear("fc2", mlp_ratio * D, D),
            },
            gradients=("y", "memory") if size == 1 else (),
        )


class _Decoder(nn.Module):
    """Right as it stands; each mistake below changes one of its steps."""

    act = staticmethod(F.gelu)
    eps = 1e-5

    def __init__(self, embed_dim, self_attention, cross_attention, mlp_ratio):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(embed_dim, eps=self.eps) for _ in range(3))
        self.self_attention, self.cross_attention = self_attention, cross_attention
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def mlp(self, y):
        return self.fc2(self.act(self.fc1(y)))

    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.norm1(y))
        y = y + self.cross_attention(self.norm2(y), memory, visible)
        return y + self.mlp(self.norm3(y))


@decoding.mistake(
    "Your layer norms have an eps of 0.000001, as some published transformers have. Here it is torch's own, 0.00001, which "
    "you get if you say nothing; where the numbers of a word are nearly equal, that shows."
)
class SmallerEpsInTheDecoder(_Decoder):
    eps = 1e-6


@decoding.mistake(
    "Your norms stand behind each sum, as in the paper of 2017. Here they stand before each part, inside its branch."
)
class NormsBehindTheSums(_Decoder):
    def forward(self, y, memory, visible):
        y = self.norm1(y + self.self_attention(y))
        y = self.norm2(y + self.cross_attention(y, memory, visible))
        return self.norm3(y + self.mlp(y))


@decoding.mistake(
    "Cross-attention and self-attention have changed places: first the block looks at what is written, then at the source."
)
class SourceFirst(_Decoder):
    def forward(self, y, memory, visible):
        y = y + self.cross_attention(self.norm2(y), memory, visible)
        y = y + self.self_attention(self.norm1(y))
        return y + self.mlp(self.norm3(y))


@decoding.mistake("A residual connection is missing around your cross-attention: what was written before it is lost.")
class NoResidualAroundTheCross(_Decoder):
    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.norm1(y))
        y = self.cross_attention(self.norm2(y), memory, visible)
        return y + self.mlp(self.norm3(y))


@decoding.mistake("A residual connection is missing around your self-attention.")
class NoResidualAroundTheSelf(_Decoder):
    def forward(self, y, memory, visible):
        y = self.self_attention(self.norm1(y))
        y = y + self.cross_attention(self.norm2(y), memory, visible)
        return y + self.mlp(self.norm3(y))


@decoding.mistake("A residual connection is missing around your MLP.")
class NoResidualAroundTheMlp(_Decoder):
    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.norm1(y))
        y = y + self.cross_attention(self.norm2(y), memory, visible)
        return self.mlp(self.norm3(y))


@decoding.mistake("Your norm is applied to the memory as well. Only what is being written is normalised here.")
class MemoryNormalisedToo(_Decoder):
    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.norm1(y))
        y = y + self.cross_attention(self.norm2(y), self.norm2(memory), visible)
        return y + self.mlp(self.norm3(y))


@decoding.mistake(
    "Your three parts run beside each other on the block's input. Each one reads what the one before has added."
)
class AllOnTheInput(_Decoder):
    def forward(self, y, memory, visible):
        written = self.self_attention(self.norm1(y))
        return y + written + self.cross_attention(self.norm2(y), memory, visible) + self.mlp(self.norm3(y))


@decoding.mistake("Between your two linear layers stands a ReLU. A GELU is asked for.")
class ReluForGelu(_Decoder):
    act = staticmethod(F.relu)


@decoding.mistake("Your block leaves the source out: no cross-attention is added.")
class SourceLeftOut(_Decoder):
    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.norm1(y))
        return y + self.mlp(self.norm3(y))


@decoding.alternative
class DecoderStepByStep(nn.Module):
    def __init__(self, embed_dim, self_attention, cross_attention, mlp_ratio):
        super().__init__()
        hidden = embed_dim * mlp_ratio
        self.fc1, self.fc2 = nn.Linear(embed_dim, hidden), nn.Linear(hidden, embed_dim)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.norm3 = nn.LayerNorm(embed_dim)
        self.self_attention = self_attention
        self.cross_attention = cross_attention

    def forward(self, y, memory, visible):
        normed = self.norm1(y)
        first = self.self_attention(normed) + y
        asking = self.norm2(first)
        second = self.cross_attention(asking, memory, visible) + first
        hidden = nn.functional.gelu(self.fc1(self.norm3(second)))
        return self.fc2(hidden) + second


@decoding.alternative
class DecoderWithItsOwnNorm(nn.Module):
    def __init__(self, embed_dim, self_attention, cross_attention, mlp_ratio):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.self_attention, self.cross_attention = self_attention, cross_attention
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def normed(self, x, norm):
        centred = x - x.mean(dim=-1, keepdim=True)
        spread = centred.square().mean(dim=-1, keepdim=True)
        return norm.weight * centred / (spread + norm.eps).sqrt() + norm.bias

    def forward(self, y, memory, visible):
        y = y + self.self_attention(self.normed(y, self.norm1))
        y = y + self.cross_attention(self.normed(y, self.norm2), memory, visible)
        y = y + self.fc2(self.act(self.fc1(self.normed(y, self.norm3))))
        return y


@decoding.alternative
class DecoderOfBranches(nn.Module):
    def __init__(self, embed_dim, self_attention, cross_attention, mlp_ratio):
        super().__init__()
        for n in (1, 2, 3):
            self.add_module(f"norm{n}", nn.LayerNorm([embed_dim]))
        self.add_module("self_attention", self_attention)
        self.add_module("cross_attention", cross_attention)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def forward(self, y, memory, visible):
        out = torch.add(y, self.self_attention(self.norm1(y)))
        out = torch.add(out, self.cross_attention(self.norm2(out), memory, visible))
        inside = self.fc1(self.norm3(out))
        inside = 0.5 * inside * (1 + torch.erf(inside / math.sqrt(2)))
        return torch.add(out, self.fc2(inside))


# ------------------------------------------------------------------------------------------------------------
# 8. shift_targets

shifting = homework.exercise(
    "shift_targets",
    points=3,
    credit=Credit(),
    hints=("Write the target (5, 9, 2, 0) and your inputs under each other. Under which word does 5 stand now?",),
)


@shifting.inputs
def _(draw: Draw):
    for start, padding in ((1, 0), (5, 2)):
        B, M = draw.sizes(2, low=3, high=7)
        targets = _padded_words(draw, B, M, 9, padding)
        yield Call("shift_targets", {"targets": targets, "start": start, "padding": padding})


@shifting.mistake("Your inputs are the targets themselves: the network is shown the very word that it has to say.")
def shown_what_it_should_say(targets, start, padding):
    return targets, targets != padding


@shifting.mistake("Your inputs are moved the wrong way: each place gets a word that comes later.")
def moved_to_the_left(targets, start, padding):
    last = torch.full_like(targets[:, :1], start)
    return torch.cat([targets[:, 1:], last], dim=1), targets != padding


@shifting.mistake("You put the start before the whole target, so your inputs are one place too long.")
def one_place_too_long(targets, start, padding):
    return torch.cat([torch.full_like(targets[:, :1], start), targets], dim=1), targets != padding


@shifting.mistake("Your places are counted where the input is a real word. What counts is whether the target is one.")
def counted_by_the_input(targets, start, padding):
    inputs = torch.cat([torch.full_like(targets[:, :1], start), targets[:, :-1]], dim=1)
    return inputs, inputs != padding


@shifting.mistake("Your inputs write the start over the first word of the target, and nothing is moved.")
def start_over_the_first_word(targets, start, padding):
    inputs = targets.clone()
    inputs[:, 0] = start
    return inputs, targets != padding


@shifting.mistake("The last word of each target comes round to the front of your inputs. The start belongs there.")
def rolled_round(targets, start, padding):
    return targets.roll(1, dims=1), targets != padding


@shifting.mistake("Your second result is True at the padding. It should be True where a word counts.")
def counts_the_padding(targets, start, padding):
    return torch.cat([torch.full_like(targets[:, :1], start), targets[:, :-1]], dim=1), targets == padding


@shifting.alternative
def shifted_by_rolling(targets, start, padding):
    inputs = targets.roll(1, dims=1)
    inputs[:, 0] = start
    return inputs, ~(targets == padding)


@shifting.alternative
def shifted_by_padding(targets, start, padding):
    inputs = F.pad(targets[:, :-1], (1, 0), value=start)
    return inputs, targets.ne(padding)


@shifting.alternative
def shifted_into_a_new_one(targets, start, padding):
    inputs = torch.zeros_like(targets)
    inputs[:, 1:] = targets[:, :-1]
    inputs[:, :1] = start
    counted = torch.ones_like(targets, dtype=torch.bool)
    counted[targets == padding] = False
    return inputs, counted


# ------------------------------------------------------------------------------------------------------------
# 9. greedy_decode

writing = homework.exercise(
    "greedy_decode",
    points=5,
    credit=Credit(),
    hints=(
        "Print what you hand to the decoder in each round: is it one word longer each time, and does it begin with `start`?",
        "Print your result for a decoder that writes `end` at once. It should have one column.",
    ),
)


def _chains(draw: Draw, V: int, longest: int, end: int, written: list[int]) -> torch.Tensor:
    """Scores after each word, (V, V): from `start` along `written`, one word after the other, and the rest at random."""
    after = draw.normal(V, V)
    for word, following in zip(written, [*written[1:], end]):
        after[word] = after[word].clamp(max=1.5)
        after[word, following] += 9
    return after


@writing.inputs
def _(draw: Draw):
    start, end, padding, V = 1, 2, 0, 9
    words = (3 + torch.randperm(6, generator=draw.generator)).tolist()
    after = _chains(draw, V, 8, end, [start, *words[:3]])  # start -> three words -> end
    place = 0.5 * draw.normal(12, V)
    place[:, padding] -= 3
    common = {"start": start, "end": end, "padding": padding}
    yield Call(
        "greedy_decode",
        {"decoder": Probe("next_word", {"after": after, "place": place}), "batch_size": 2, **common, "max_length": 7},
    )
    endless = _chains(draw, V, 8, words[1], [start, *words[:3]])  # ... and round and round, never an end
    longest = draw.integer(5, 6)
    yield Call(
        "greedy_decode",
        {
            "decoder": Probe("next_word", {"after": endless, "place": place.clone()}),
            "batch_size": 3,
            **common,
            "max_length": longest,
        },
    )
    start, end, padding = 4, 7, 8
    words = [word for word in range(V) if word not in (start, end, padding)]
    after = _chains(draw, V, 8, end, [start, words[0], words[1], words[2], words[3]])
    place = 0.5 * draw.normal(12, V)
    place[2, words[4]] += 30  # at this place another word is written, whatever stands before
    after[words[4]] = after[words[4]].clamp(max=1.5)
    after[words[4], end] += 9
    yield Call(
        "greedy_decode",
        {
            "decoder": Probe("next_word", {"after": after, "place": place}),
            "batch_size": 2,
            "start": start,
            "end": end,
            "padding": padding,
            "max_length": 8,
        },
    )


def _write(
    decoder, batch_size, start, end, padding, max_length, pick=None, seen=None, stop=True, begin=True, rest=True
):
    """The right loop with replaceable parts."""
    pick = pick or (lambda scores: scores[:, -1].argmax(-1))
    written = torch.full((batch_size, 1), start)
    done = torch.zeros(batch_size, dtype=torch.bool)
    while written.shape[1] <= max_length and not (stop and done.all()):
        word = pick(decoder(written if seen is None else seen(written)))
        word = torch.where(done, padding, word) if rest else word
        written = torch.cat([written, word[:, None]], 1)
        done |= word == end
    return written[:, 1:] if begin else written


@writing.mistake("The start stands at the beginning of what you return. Only what was written is asked for.")
def start_kept(*arguments):
    return _write(*arguments, begin=False)


@writing.mistake("You take the scores of the first place. The next word stands behind the last place.")
def scores_of_the_first_place(*arguments):
    return _write(*arguments, pick=lambda scores: scores[:, 0].argmax(-1))


@writing.mistake("You take the word with the lowest score.")
def lowest_score(*arguments):
    return _write(*arguments, pick=lambda scores: scores[:, -1].argmin(-1))


@writing.mistake(
    "Your decoder is shown only the last word, not everything written so far. It cannot know how many there are."
)
def only_the_last_word_shown(*arguments):
    return _write(*arguments, seen=lambda written: written[:, -1:])


@writing.mistake("Your loop never stops before the longest allowed length, though all sequences have ended.")
def writes_to_the_end(*arguments):
    return _write(*arguments, stop=False)


@writing.mistake("You write one word too few: the start does not count as written.")
def one_word_too_few(decoder, batch_size, start, end, padding, max_length):
    return _write(decoder, batch_size, start, end, padding, max_length - 1)


@writing.mistake("The word that ends a sequence is missing from what you return. It belongs to it.")
def without_the_end(decoder, batch_size, start, end, padding, max_length):
    written = _write(decoder, batch_size, start, end, padding, max_length)
    return torch.where(written == end, padding, written)[:, : -1 if (written == end).any() else None]


@writing.alternative
def writes_by_lists(decoder, batch_size, start, end, padding, max_length):
    written = [[start] for _ in range(batch_size)]
    done = [False] * batch_size
    for _ in range(max_length):
        if all(done):
            break
        scores = decoder(torch.tensor(written))
        best = scores[:, -1].max(dim=-1).indices.tolist()
        for row, word in enumerate(best):
            word = padding if done[row] else word
            written[row].append(word)
            done[row] = done[row] or word == end
    return torch.tensor([row[1:] for row in written])


@writing.alternative
def writes_into_a_table(decoder, batch_size, start, end, padding, max_length):
    table = torch.full((batch_size, max_length + 1), padding)
    table[:, 0] = start
    alive = torch.ones(batch_size, dtype=torch.bool)
    length = 0
    while length < max_length and alive.any():
        scores = decoder(table[:, : length + 1])
        chosen = scores[:, length].argmax(dim=1)
        length += 1
        table[alive, length] = chosen[alive]
        alive = alive & (chosen != end)
    return table[:, 1 : length + 1]


@writing.alternative
def writes_and_cleans_up(decoder, batch_size, start, end, padding, max_length):
    written = torch.full((batch_size, 1), start, dtype=torch.long)
    for _ in range(max_length):
        likely = decoder(written).softmax(dim=-1)[:, -1]
        written = torch.cat([written, likely.argmax(dim=-1, keepdim=True)], dim=-1)
        if (written[:, 1:] == end).any(dim=1).all():
            break
    written = written[:, 1:]
    ended = (written == end).int().cumsum(dim=1) - (written == end).int()
    return written.masked_fill(ended > 0, padding)


# ------------------------------------------------------------------------------------------------------------
# 10. train_sentiment

training = homework.exercise(
    "train_sentiment",
    points=6,
    credit=Credit(),
    hints=(
        "Print the length of the gradient before and after clipping, in the first step, with `max_norm` 0.01: is it at most 0.01 when the optimizer moves?",
        "How many losses does your list have, and is the first one the loss before any step?",
    ),
)

HELD_OUT = 300  # of 400 test reviews: which ones, the seed decides
GOAL = 0.95


def _held_out(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    words, labels = load("sentiment", "test", size=400, device="cpu")
    chosen = torch.randperm(len(words), generator=draw.generator)[:HELD_OUT]
    return words[chosen], labels[chosen]


@training.inputs
def _(draw: Draw):
    asked, _ = _held_out(draw)  # first of all, so that the goals below draw the same ones
    for steps, max_norm in ((4, 100.0), (5, 0.01)):
        classes, N = draw.sizes(2, low=3, high=6)
        weights = {"table": draw.normal(11, classes), "bias": draw.normal(classes)}
        yield Call(
            "train_sentiment",
            {
                "model": Probe("word_classifier", weights, ask=draw.integers(0, 10, 2, N)),
                "words": draw.integers(0, 10, 40, N),
                "labels": draw.integers(0, classes - 1, 40),
                "steps": steps,
                "batch_size": 7,
                "learning_rate": 0.05,
                "max_norm": max_norm,
                "generator": Seeded(draw.integer(0, 10**6)),
            },
        )
    words, labels = load("sentiment", "train", size=1500, device="cpu")
    yield Call(
        "train_sentiment",
        {
            "model": Probe("sentiment_net", seed=draw.integer(0, 10**6), ask=asked),
            "words": words,
            "labels": labels,
            "steps": 70,
            "batch_size": 64,
            "learning_rate": 0.02,
            "max_norm": 1.0,
            "generator": Seeded(draw.integer(0, 10**6)),
        },
    )


@training.goals
def _(draw: Draw):
    return {2: Accuracy(_held_out(draw)[1], GOAL)}


def _clip(model, max_norm):
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def _train(
    model,
    words,
    labels,
    steps,
    batch_size,
    learning_rate,
    max_norm,
    generator,
    optimizer=torch.optim.AdamW,
    draw=None,
    clip=_clip,
    score=F.cross_entropy,
    clear=True,
):
    """The right loop with replaceable parts."""
    optimizer = optimizer(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = draw() if draw else torch.randint(len(words), (batch_size,), generator=generator)
        loss = score(model(words[chosen]), labels[chosen])
        if clear:
            optimizer.zero_grad()
        loss.backward()
        clip(model, max_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


@training.mistake("Your gradients are not clipped: the argument max_norm has no effect.")
def gradient_not_clipped(*arguments):
    return _train(*arguments, clip=lambda model, max_norm: None)


@training.mistake(
    "You clip after the step, when the weights have moved already. Clip between computing the gradients and the step."
)
def clipped_after_the_step(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(words), (batch_size,), generator=generator)
        loss = F.cross_entropy(model(words[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        _clip(model, max_norm)
        losses.append(loss.item())
    return losses


@training.mistake(
    "You clip each number of the gradient by itself. Asked for is the length of the whole gradient, which keeps its direction."
)
def each_number_clipped(*arguments):
    return _train(*arguments, clip=lambda model, limit: nn.utils.clip_grad_value_(model.parameters(), limit))


def _clip_each(model, max_norm):
    for weights in model.parameters():
        nn.utils.clip_grad_norm_([weights], max_norm)


@training.mistake(
    "You clip each weight tensor by itself. Asked for is the length of all gradients together, one number for the model."
)
def each_tensor_clipped(*arguments):
    return _train(*arguments, clip=_clip_each)


@training.mistake(
    "The gradients of all steps so far pile up: backward adds to what is there. They must be cleared once in every step."
)
def gradients_pile_up(*arguments):
    return _train(*arguments, clear=False)


@training.mistake("Your optimizer is plain SGD. AdamW is asked for.")
def sgd_in_place_of_adamw(*arguments):
    return _train(*arguments, optimizer=torch.optim.SGD)


@training.mistake("Your optimizer is Adam. AdamW is asked for: it also lets the weights decay a little in every step.")
def adam_in_place_of_adamw(*arguments):
    return _train(*arguments, optimizer=torch.optim.Adam)


@training.mistake("The argument learning_rate has no effect: your optimizer runs at its default rate of 0.001.")
def default_rate(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    return _train(model, words, labels, steps, batch_size, 1e-3, max_norm, generator)


@training.mistake(
    "Your batches are random, but not drawn from the generator you were given, so nobody can repeat your run."
)
def batches_from_elsewhere(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    draw = lambda: torch.randint(len(words), (batch_size,))
    return _train(model, words, labels, steps, batch_size, learning_rate, max_norm, generator, draw=draw)


@training.mistake("Every step uses the same batch: draw a new one inside the loop.")
def one_batch_for_all_steps(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    chosen = torch.randint(len(words), (batch_size,), generator=generator)
    return _train(model, words, labels, steps, batch_size, learning_rate, max_norm, generator, draw=lambda: chosen)


@training.mistake(
    "Your scores go through a softmax before they reach the cross entropy, which has a softmax of its own. Give it the raw scores."
)
def softmax_before_the_loss(*arguments):
    return _train(*arguments, score=lambda scores, labels: F.cross_entropy(scores.softmax(dim=1), labels))


@training.mistake(
    "The training is right, but you return only the last loss. All of them are asked for, one for each step."
)
def only_the_last_loss(*arguments):
    return _train(*arguments)[-1]


@training.alternative
def clips_by_hand(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    optimizer = torch.optim.AdamW(list(model.parameters()), learning_rate)
    losses = []
    for _ in range(steps):
        model.zero_grad()
        chosen = torch.randint(words.shape[0], (batch_size,), generator=generator)
        loss = F.cross_entropy(model(words[chosen]), labels[chosen])
        loss.backward()
        length = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt()
        factor = (max_norm / (length + 1e-6)).clamp(max=1.0)
        for p in model.parameters():
            p.grad *= factor
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@training.alternative
def trains_by_criterion(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    while len(losses) < steps:
        chosen = torch.randint(0, len(labels), (batch_size,), generator=generator)
        loss = criterion(model(words.index_select(0, chosen)), labels.index_select(0, chosen))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


@training.alternative
def trains_by_log_softmax(model, words, labels, steps, batch_size, learning_rate, max_norm, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, foreach=False)
    history = torch.zeros(steps)
    model.train()
    for step in range(steps):
        chosen = torch.randint(high=len(words), size=[batch_size], generator=generator)
        likelihood = model(words[chosen]).log_softmax(dim=1)
        loss = F.nll_loss(likelihood, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), float(max_norm), foreach=False)
        optimizer.step()
        history[step] = loss.detach()
    return history.tolist()
