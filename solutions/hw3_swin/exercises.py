"""Homework 3: Swin, from windows to a pyramid that agrees with the public one.

The right answers stand in ``hw3_swin.py``. Here, exercise by exercise: the inputs it is tried on, the
mistakes people make with the sentence that names each, and other right answers.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from course.checks import Accuracy, Call, Draw, Homework, Probe, Seeded
from course.checks.exercise import Mistake
from course.data import load

homework = Homework("hw3_swin", forbidden=("torch.nn.functional.scaled_dot_product_attention",))


# ------------------------------------------------------------------------------------------------------------
# 1. window_partition and window_reverse

windows = homework.exercise(
    "windows",
    points=5,
    targets=("window_partition", "window_reverse"),
    hints=(
        (
            "Print `window_partition(numbered, 2)[0, :, :, 0]`: is its first row 0, 1, 6, 7, and does the second "
            "begin with 2?"
        ),
        (
            "Write down the shape after each step. Each side of the map becomes two axes, one that counts windows "
            "and one inside a window: which two must stand side by side before the last reshape?"
        ),
        (
            "Is `window_reverse(window_partition(x, 2), H, W)` equal to x where H and W differ? If only this "
            "fails, read the shapes of your partition from the bottom up."
        ),
    ),
)


def _map_sizes(draw: Draw) -> tuple[int, int, int, int]:
    """Windows downwards and across, tokens on a side of a window, width of a token: never one of the others."""
    down, across = draw.sizes(2, low=2, high=3)
    return down, across, draw.integer(2, 3), 5


@windows.inputs
def _(draw: Draw):
    i, j, M, D = _map_sizes(draw)
    B = 2 if M == 3 else 3
    yield Call("window_partition", {"x": draw.normal(B, i * M, j * M, D), "window_size": M}, gradients=("x",))
    i, j, M, D = _map_sizes(draw)
    B = 2 if M == 3 else 3
    yield Call(
        "window_reverse",
        {"windows": draw.normal(B, i * j, M * M, D), "height": i * M, "width": j * M},
        gradients=("windows",),
    )


def _cut(x, M, to="b (i j) (m n) d"):
    return rearrange(x, f"b (i m) (j n) d -> {to}", m=M, n=M)


def _lay(windows, height, width, layout="b (i j) (m n) d"):
    M = math.isqrt(windows.shape[2])
    return rearrange(windows, f"{layout} -> b (i m) (j n) d", i=height // M, j=width // M, m=M, n=M)


def poured(x, window_size):
    B, H, W, D = x.shape
    return x.reshape(B, H * W // window_size**2, window_size**2, D)


def poured_back(windows, height, width):
    return windows.reshape(len(windows), height, width, -1)


def windows_by_columns(x, window_size):
    return _cut(x, window_size, "b (j i) (m n) d")


def windows_by_columns_back(windows, height, width):
    return _lay(windows, height, width, "b (j i) (m n) d")


def tokens_by_columns(x, window_size):
    return _cut(x, window_size, "b (i j) (n m) d")


def tokens_by_columns_back(windows, height, width):
    return _lay(windows, height, width, "b (i j) (n m) d")


def spread_out(x, window_size):
    return rearrange(x, "b (m i) (n j) d -> b (i j) (m n) d", m=window_size, n=window_size)


def spread_out_back(windows, height, width):
    M = math.isqrt(windows.shape[2])
    return rearrange(windows, "b (i j) (m n) d -> b (m i) (n j) d", i=height // M, j=width // M, m=M, n=M)


windows.mistake(
    "window_partition pours the numbers into the shape of windows in the order they lie in, so a window is a "
    "piece of one long row. Cut both sides of the map, then bring the two axes inside a window together.",
    target="window_partition",
)(poured)
windows.mistake(
    "window_partition counts the windows down the columns of the map. Count them as one reads: along the first "
    "row of windows, then the next.",
    target="window_partition",
)(windows_by_columns)
windows.mistake(
    "window_partition counts the tokens of a window down its columns. Count them as one reads: along the first "
    "row of the window, then the next.",
    target="window_partition",
)(tokens_by_columns)
windows.mistake(
    "window_partition makes a window of tokens that lie far apart, spread over the whole map like the teeth of "
    "a comb. A window is a square of neighbours.",
    target="window_partition",
)(spread_out)


@windows.mistake(
    "window_partition lays the windows of all images into one axis. Here the images of a batch keep an axis of "
    "their own: four axes come out.",
    target="window_partition",
)
def windows_in_the_batch(x, window_size):
    return _cut(x, window_size, "(b i j) (m n) d")


@windows.mistake(
    "The windows are right, but their tokens still lie in a square: five or six axes. Attention wants the "
    "tokens of a window in one row.",
    target="window_partition",
)
def windows_still_square(x, window_size):
    return _cut(x, window_size, "b (i j) m n d")


@windows.mistake(
    "window_partition took window_size for how many windows there are on a side. It is how many tokens there "
    "are on the side of a window.",
    target="window_partition",
)
def size_taken_for_count(x, window_size):
    return rearrange(x, "b (i m) (j n) d -> b (i j) (m n) d", i=window_size, j=window_size)


windows.mistake(
    "window_reverse pours the numbers into the shape of a map in the order they lie in. The rows of windows "
    "that stand side by side have to be threaded together.",
    target="window_reverse",
)(poured_back)
windows.mistake(
    "window_reverse lays the windows down the columns of the map. They come as one reads: along the first row "
    "of windows, then the next.",
    target="window_reverse",
)(windows_by_columns_back)
windows.mistake(
    "window_reverse lays the tokens of each window down its columns: every window comes out mirrored at its diagonal.",
    target="window_reverse",
)(tokens_by_columns_back)
windows.mistake(
    "window_reverse spreads each window over the whole map like the teeth of a comb. A window is a square of "
    "neighbours.",
    target="window_reverse",
)(spread_out_back)


for poured_at_the_end in (False, True):

    @windows.mistake(
        "window_reverse has height and width changed about: there are H/M windows one below the other and W/M "
        "side by side.",
        target="window_reverse",
    )
    def height_for_width(windows, height, width, poured_at_the_end=poured_at_the_end):
        x = _lay(windows, width, height)
        return x.reshape(len(windows), height, width, -1) if poured_at_the_end else x


# Both functions wrong in ways that fit together come last: each of them alone is told apart above.
for first, second, sentence in (
    (
        poured,
        poured_back,
        "Both functions only pour the numbers into another box. They undo each other, but a window then holds "
        "pieces of long rows of the map. Cut both sides of the map, then bring the two axes inside a window "
        "together.",
    ),
    (
        windows_by_columns,
        windows_by_columns_back,
        "Both functions count the windows down the columns of the map. They undo each other, but here windows "
        "are counted as one reads: along the first row of windows, then the next.",
    ),
    (
        tokens_by_columns,
        tokens_by_columns_back,
        "Both functions count the tokens inside a window down its columns. They undo each other, but here "
        "tokens are counted as one reads: along the first row of the window, then the next.",
    ),
    (
        spread_out,
        spread_out_back,
        "Both functions make a window of tokens that lie far apart, spread over the whole map like the teeth of "
        "a comb. They undo each other, but a window is a square of neighbours.",
    ),
):
    windows.mistakes.append(Mistake(sentence, {"window_partition": first, "window_reverse": second}))


@windows.alternative
def cut_by_einops(x, window_size):
    return _cut(x, window_size)


@windows.alternative
def cut_by_loops(x, window_size):
    M, found = window_size, []
    for top in range(0, x.shape[1], M):
        for left in range(0, x.shape[2], M):
            found.append(x[:, top : top + M, left : left + M].flatten(1, 2))
    return torch.stack(found, dim=1)


@windows.alternative
def cut_by_unfolding(x, window_size):
    found = x.unfold(1, window_size, window_size).unfold(2, window_size, window_size)  # (B, i, j, D, M, M)
    return found.flatten(1, 2).flatten(3).transpose(2, 3)


@windows.alternative(target="window_reverse")
def lay_by_einops(windows, height, width):
    return _lay(windows, height, width)


@windows.alternative(target="window_reverse")
def lay_by_rows(windows, height, width):
    M = int(windows.shape[2] ** 0.5)
    squares = windows.unflatten(2, (M, M)).unbind(dim=1)
    across = width // M
    rows = [torch.cat(squares[k : k + across], dim=2) for k in range(0, len(squares), across)]
    return torch.cat(rows, dim=1)


# ------------------------------------------------------------------------------------------------------------
# 2. relative_position_index and relative_position_bias

relative = homework.exercise(
    "relative_position",
    points=8,
    targets=("relative_position_index", "relative_position_bias"),
    hints=(
        (
            "Print `relative_position_index(2)`: 4 along the diagonal, and 3 for token 0 as seen from its right "
            "neighbour, at [0, 1]?"
        ),
        (
            "Print row and column of each token, for M = 2 rows 0 0 1 1 and columns 0 1 0 1. Is it i minus j, "
            "with i along the first axis? Which of the two differences is multiplied?"
        ),
        (
            "For the bias: print the shape that you get by looking up rows of the table. On which axis are the "
            "heads, and on which should they be? Is the index a tensor of whole numbers?"
        ),
    ),
)


@relative.inputs
def _(draw: Draw):
    for M in (3, draw.integer(4, 5)):
        yield Call("relative_position_index", {"window_size": M})  # a module keeps it as a buffer
    h, entries = draw.sizes(2, low=3, high=5)
    for M in (2, 3):
        entries, (N, K) = (2 * M - 1) ** 2, draw.sizes(2, low=6, high=8)
        yield Call(
            "relative_position_bias",
            {"table": draw.normal(entries, h), "index": draw.integers(0, entries - 1, N, K)},
            gradients=("table",),
        )


def _steps(M):
    """Rows and columns from token j to token i, each (M², M²) and from 1 − M to M − 1."""
    place = torch.arange(M * M)
    row, column = place // M, place % M
    return row[:, None] - row, column[:, None] - column


@relative.mistake(
    "Your index is mirrored at its diagonal: you went from token i to token j. Entry [i, j] is where i lies as "
    "seen from j, row and column of i minus row and column of j.",
    target="relative_position_index",
)
def seen_from_the_query(window_size):
    M = window_size
    dy, dx = _steps(M)
    return (M - 1 - dy) * (2 * M - 1) + M - 1 - dx


@relative.mistake(
    "A row down counts M in your index, as if the window were one long row and you subtracted the numbers of the "
    "tokens. Different displacements then share an entry: along a row there are 2M − 1 of them.",
    target="relative_position_index",
)
def rows_of_m(window_size):
    M = window_size
    dy, dx = _steps(M)
    return (dy + M - 1) * M + dx + M - 1


@relative.mistake(
    "Your rows of the table are 2M entries long: one entry of each is never used, and the table is too short "
    "for the last ones. From 1 − M to M − 1 there are 2M − 1 numbers.",
    target="relative_position_index",
)
def rows_of_two_m(window_size):
    M = window_size
    dy, dx = _steps(M)
    return (dy + M - 1) * 2 * M + dx + M - 1


@relative.mistake(
    "Half of your indices are negative: 0 stands for no displacement. A negative index counts from the end of "
    "the table. Move both displacements up first, so that they begin at 0.",
    target="relative_position_index",
)
def not_moved_up(window_size):
    dy, dx = _steps(window_size)
    return dy * (2 * window_size - 1) + dx


@relative.mistake(
    "Columns come first in your table: a step down moves your index by 1 and a step to the right by 2M − 1. "
    "It is the other way round here, as one reads.",
    target="relative_position_index",
)
def columns_first(window_size):
    M = window_size
    dy, dx = _steps(M)
    return (dx + M - 1) * (2 * M - 1) + dy + M - 1


@relative.mistake(
    "You added the two displacements. One down and one to the right then share an entry. One of them has to "
    "count in steps of a whole row of the table.",
    target="relative_position_index",
)
def displacements_added(window_size):
    dy, dx = _steps(window_size)
    return dy + dx + 2 * (window_size - 1)


@relative.mistake(
    "You took the absolute values of the displacements: left and right, above and below are then the same. The "
    "sign is part of a displacement.",
    target="relative_position_index",
)
def without_direction(window_size):
    dy, dx = _steps(window_size)
    return dy.abs() * (2 * window_size - 1) + dx.abs()


@relative.mistake(
    "The numbers are right, but they lie in one long row: one row for each token i, one column for each token "
    "j is asked for.",
    target="relative_position_index",
)
def index_in_a_row(window_size):
    M = window_size
    dy, dx = _steps(M)
    return ((dy + M - 1) * (2 * M - 1) + dx + M - 1).flatten()


@relative.mistake(
    "The heads of your bias are behind the tokens. They come first, so that each head has a matrix to add to "
    "its scores.",
    target="relative_position_bias",
)
def heads_stay_behind(table, index):
    return table[index]


@relative.mistake(
    "You looked the biases up well and then poured them into the shape with the heads first. That scatters "
    "them: move the axis instead.",
    target="relative_position_bias",
)
def heads_poured_first(table, index):
    return table[index].reshape(-1, *index.shape)


@relative.mistake(
    "Each matrix of your bias is mirrored at its diagonal: rows and columns of the index changed places while "
    "the heads were moved.",
    target="relative_position_bias",
)
def bias_mirrored(table, index):
    return table[index].permute(2, 1, 0)


@relative.mistake(
    "You reshaped the table into one row for each head before looking up. Each row of the table holds one "
    "number for every head; a reshape tears them apart.",
    target="relative_position_bias",
)
def table_poured(table, index):
    return table.reshape(table.shape[1], -1)[:, index]


@relative.mistake(
    "You averaged the heads. Each head has biases of its own, so that one may look left and another up.",
    target="relative_position_bias",
)
def heads_share(table, index):
    return table.mean(dim=1)[index].expand(table.shape[1], -1, -1)


@relative.mistake(
    "All heads of yours get the biases of the first one. Each head has a column of the table.",
    target="relative_position_bias",
)
def first_head_only(table, index):
    return table[:, 0][index].expand(table.shape[1], -1, -1)


@relative.alternative
def index_by_loops(window_size):
    M, side = window_size, 2 * window_size - 1
    index = torch.zeros(M * M, M * M, dtype=torch.long)
    for i in range(M * M):
        for j in range(M * M):
            dy, dx = i // M - j // M, i % M - j % M
            index[i, j] = (dy + M - 1) * side + (dx + M - 1)
    return index


@relative.alternative
def index_by_meshgrid(window_size):
    M = window_size
    side = torch.arange(M)
    places = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)  # (2, M²)
    steps = places[:, :, None] - places[:, None, :] + (M - 1)  # (2, M², M²)
    return steps[0] * (2 * M - 1) + steps[1]


@relative.alternative
def index_without_rows_and_columns(window_size):
    """A token's number in a grid 2M − 1 wide; the difference of two such numbers is the whole story."""
    M = window_size
    wide = (torch.arange(M)[:, None] * (2 * M - 1) + torch.arange(M)).flatten()
    return wide.view(-1, 1) - wide + (2 * M - 1) ** 2 // 2


@relative.alternative(target="relative_position_bias")
def bias_by_columns(table, index):
    return table.T[:, index]


@relative.alternative(target="relative_position_bias")
def bias_by_embedding(table, index):
    return rearrange(F.embedding(index, table), "n k h -> h n k")


@relative.alternative(target="relative_position_bias")
def bias_head_by_head(table, index):
    return torch.stack([table[:, head].take(index) for head in range(table.shape[1])])


# ------------------------------------------------------------------------------------------------------------
# 3. WindowAttention

attention = homework.exercise(
    "WindowAttention",
    points=10,
    hints=(
        (
            "Set the table to zero and hand in one window without a mask: does it say what the attention of "
            "homework 1 says, with the same weights? If so, look at bias and mask."
        ),
        (
            "Print the shape of the scores, (B, n, h, N, N). Write those of the bias and of the mask below it, "
            "aligned at their right ends: which axis has to be added, and where?"
        ),
        (
            "Print `weights.sum(-1)`: is it 1? Is the bias added before or after the division by the root of d, "
            "and is d the width of one head?"
        ),
    ),
)


def _mask(draw: Draw, count: int, N: int) -> torch.Tensor:
    """Random (count, N, N), True = may look. Every row and every column has both a True and a False."""
    mask = draw.boolean(count, N, N, probability=0.5)
    place = torch.arange(N)
    mask[:, place, place] = True
    mask[:, place, (place + 1) % N] = False
    return mask


def _attention_weights(draw: Draw, name: str, D: int, h: int, M: int) -> dict:
    return {
        **draw.linear(f"{name}qkv", D, 3 * D),
        **draw.linear(f"{name}proj", D, D),
        f"{name}table": draw.normal((2 * M - 1) ** 2, h),
    }


@attention.inputs
def _(draw: Draw):
    for M, masked in ((2, False), (3, True)):
        h, d = draw.sizes(2, low=2, high=3)
        D, N, count = h * d, M * M, 5
        arguments = {"windows": draw.normal(2, count, N, D)}
        if masked:
            arguments["mask"] = _mask(draw, count, N)
        yield Call(
            "WindowAttention",
            arguments,
            init={"embed_dim": D, "num_heads": h, "window_size": M},
            parameters=_attention_weights(draw, "", D, h, M),
            gradients=("windows",),
        )


class _Windows(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    heads_inside = "(three h d)"

    def __init__(self, embed_dim, num_heads, window_size):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        dy, dx = _steps(window_size)
        self.index = (dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1

    def split(self, windows):
        pattern = f"b w n {self.heads_inside} -> three b w h n d"
        return rearrange(self.qkv(windows), pattern, three=3, h=self.num_heads)

    def bias(self):
        return self.table.T[:, self.index]  # (h, N, N)

    def raw(self, q, k):
        return q @ k.mT * q.shape[-1] ** -0.5

    def scores(self, q, k):
        return self.raw(q, k) + self.bias()

    def weights(self, scores, mask):
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(dim=-1)

    def forward(self, windows, mask=None):
        q, k, v = self.split(windows)
        y = self.weights(self.scores(q, k), mask) @ v  # (B, nW, h, N, d)
        return self.proj(rearrange(y, "b w h n d -> b w n (h d)"))


@attention.mistake("The bias table is never used: your windows know what their tokens hold, but not where.")
class WithoutBias(_Windows):
    def bias(self):
        return 0 * self.table.T[:, self.index]


@attention.mistake(
    "Your bias is added before the scores are divided by the square root of the head width, so it is divided "
    "along with them. Scale the dot products first, then add the bias."
)
class BiasScaledToo(_Windows):
    def scores(self, q, k):
        return (q @ k.mT + self.bias()) * q.shape[-1] ** -0.5


@attention.mistake(
    "Your bias is added after the softmax, so the weights of a query no longer sum to 1. It is a part of the scores."
)
class BiasAfterSoftmax(_Windows):
    def scores(self, q, k):
        return self.raw(q, k)

    def weights(self, scores, mask):
        return super().weights(scores, mask) + self.bias()


@attention.mistake("Your bias multiplies the scores. It is added to them: where it is 0, nothing happens to a score.")
class BiasMultiplied(_Windows):
    def scores(self, q, k):
        return self.raw(q, k) * self.bias()


@attention.mistake(
    "Your bias is mirrored: what belongs to query i and key j is added to query j and key i. Left and right, "
    "above and below are changed about."
)
class BiasMirrored(_Windows):
    def bias(self):
        return super().bias().mT


@attention.mistake("All your heads get the same bias. Each head has a column of the table to itself.")
class OneBiasForAll(_Windows):
    def bias(self):
        return super().bias()[:1]


@attention.mistake(
    "The scores of the heads are not divided by the square root of the head width d; only then is the bias added."
)
class ScoresNotScaled(_Windows):
    def raw(self, q, k):
        return q @ k.mT


@attention.mistake(
    "The scores of each head are divided by the square root of the full width D. A head's dot product has only "
    "d = D/h terms: d is what counts."
)
class ScoresScaledByFullWidth(_Windows):
    def raw(self, q, k):
        return q @ k.mT * (q.shape[-1] * self.num_heads) ** -0.5


@attention.mistake("Your softmax runs over the queries. It belongs on the keys, the last axis of the scores.")
class OverTheQueries(_Windows):
    def weights(self, scores, mask):
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        return scores.softmax(dim=-2)


@attention.mistake("Without a mask all is right, but your module takes a mask and never uses it.")
class MaskNotUsed(_Windows):
    def forward(self, windows, mask=None):
        return super().forward(windows)


@attention.mistake("Your module reads the mask the wrong way round: True means that the query may look at the key.")
class MaskUpsideDown(_Windows):
    def forward(self, windows, mask=None):
        return super().forward(windows, None if mask is None else ~mask)


@attention.mistake(
    "You set the forbidden weights to zero after the softmax, so those that are left no longer sum to 1. A "
    "forbidden key must be out before the weights are shared out."
)
class MaskTooLate(_Windows):
    def weights(self, scores, mask):
        weights = scores.softmax(dim=-1)
        return weights if mask is None else weights * mask[:, None]


@attention.mistake(
    "You added the mask to the scores as it is, as ones and zeros: that only favours the allowed keys a little."
)
class MaskAdded(_Windows):
    def weights(self, scores, mask):
        return (scores if mask is None else scores + mask[:, None].float()).softmax(dim=-1)


@attention.mistake(
    "Your windows are masked by masks of other windows. If windows and images share one axis, the whole list "
    "of masks has to come once for the first image, then once more for the next."
)
class MasksDealtOut(_Windows):
    def weights(self, scores, mask):
        if mask is not None:
            mask = mask.repeat_interleave(len(scores), dim=0).unflatten(0, scores.shape[:2])
            scores = scores.masked_fill(~mask[:, :, None], -torch.inf)
        return scores.softmax(dim=-1)


@attention.mistake(
    "The output of qkv is cut head by head. Its first D numbers are all the queries, the next D all the keys, "
    "the last D all the values; only then come the heads. Public weights lie in this order."
)
class HeadByHead(_Windows):
    heads_inside = "(h three d)"


@attention.mistake("Your heads take every h-th number of a query, key or value instead of d neighbours in a row.")
class EveryHthNumber(_Windows):
    heads_inside = "(three d h)"

    def forward(self, windows, mask=None):
        q, k, v = self.split(windows)
        return self.proj(rearrange(self.weights(self.scores(q, k), mask) @ v, "b w h n d -> b w n (d h)"))


@attention.mistake(
    "The heads are merged by a bare reshape, which mixes the tokens of a window: the axis of the heads must "
    "come back behind the tokens first."
)
class HeadsPoured(_Windows):
    def forward(self, windows, mask=None):
        q, k, v = self.split(windows)
        return self.proj((self.weights(self.scores(q, k), mask) @ v).reshape(windows.shape))


@attention.mistake("Queries and keys have changed places: in the output of qkv the queries come first.")
class KeysFirst(_Windows):
    def raw(self, q, k):
        return super().raw(k, q)


@attention.mistake("The last linear layer, proj, is never used: no head has heard of another.")
class WithoutProj(_Windows):
    def forward(self, windows, mask=None):
        q, k, v = self.split(windows)
        return rearrange(self.weights(self.scores(q, k), mask) @ v, "b w h n d -> b w n (h d)")


@attention.mistake(
    "You added the input to the output. That residual connection is a matter for the block; here the attention "
    "alone is asked for."
)
class WithResidual(_Windows):
    def forward(self, windows, mask=None):
        return windows + super().forward(windows, mask)


@attention.alternative
class AttentionByEinsum(nn.Module):
    """Layers in another order, windows folded into the batch, a huge negative number instead of infinity."""

    def __init__(self, embed_dim, num_heads, window_size):
        super().__init__()
        self.window_size, self.num_heads = window_size, num_heads
        self.table = nn.Parameter(torch.randn((2 * window_size - 1) ** 2, num_heads))
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)

    def forward(self, windows, mask=None):
        B, count, N, D = windows.shape
        qkv = self.qkv(windows).reshape(B * count, N, 3, self.num_heads, D // self.num_heads)
        q, k, v = qkv.unbind(dim=2)
        scores = einsum(q, k, "w n h d, w m h d -> w h n m") / math.sqrt(D // self.num_heads)
        scores = scores + bias_by_embedding(self.table, index_by_loops(self.window_size))
        if mask is not None:
            shut = torch.zeros(mask.shape).masked_fill(~mask, -1e9)
            scores = scores + repeat(shut, "w n m -> (b w) 1 n m", b=B)
        y = einsum(scores.softmax(-1), v, "w h n m, w m h d -> w n h d")
        return self.proj(y.reshape(B, count, N, D))


@attention.alternative
class WindowAfterWindow(nn.Module):
    """Loops over windows and heads."""

    def __init__(self, embed_dim, num_heads, window_size):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, embed_dim * 3)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer("where", index_by_meshgrid(window_size))

    def forward(self, windows, mask=None):
        done = []
        for number, window in enumerate(windows.unbind(dim=1)):  # (B, N, D)
            parts = [part.chunk(self.num_heads, dim=-1) for part in self.qkv(window).chunk(3, dim=-1)]
            heads = []
            for head, (q, k, v) in enumerate(zip(*parts)):
                scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + self.table[self.where, head]
                if mask is not None:
                    scores = torch.where(mask[number], scores, torch.tensor(-float("inf")))
                heads.append(F.softmax(scores, dim=-1) @ v)
            done.append(self.proj(torch.cat(heads, dim=-1)))
        return torch.stack(done, dim=1)


@attention.alternative
class AttentionWithMinusHundred(_Windows):
    """The public code adds −100 where a query may not look, which is as good as nothing left."""

    def weights(self, scores, mask):
        if mask is not None:
            scores = scores - 100.0 * (~mask)[None, :, None]
        return scores.softmax(dim=-1)


# ------------------------------------------------------------------------------------------------------------
# 4. cyclic_shift and undo_shift

shifts = homework.exercise(
    "shifts",
    points=4,
    targets=("cyclic_shift", "undo_shift"),
    hints=(
        (
            "Print your shift of the example by hand, `torch.arange(6).reshape(1, 2, 3, 1)` by 1, as `[0, :, :, "
            "0]`: is its first row 4, 5, 3?"
        ),
        (
            "If the numbers moved the other way, look at the sign. If they moved along one side only, or from "
            "image to image, look at the axes that you named: the map is (B, H, W, D)."
        ),
    ),
)


@shifts.inputs
def _(draw: Draw):
    for target in ("cyclic_shift", "undo_shift"):
        # Long enough that no axis comes back to itself, or to its mirror image, after two steps.
        H, W = draw.sizes(2, low=6, high=7)
        x = draw.normal(3, H, W, 4)
        yield Call(target, {"x": x, "shift": draw.integer(1, 2)}, gradients=("x",))


def down_and_right(x, shift):
    return x.roll((shift, shift), dims=(1, 2))


def up_and_left(x, shift):
    return x.roll((-shift, -shift), dims=(1, 2))


shifts.mistake(
    "cyclic_shift moves the map down and to the right. Token (s, s) should come to the corner (0, 0): up and to "
    "the left.",
    target="cyclic_shift",
)(down_and_right)
shifts.mistake(
    "undo_shift moves the map up and to the left once more. It has to go back the way the first shift came.",
    target="undo_shift",
)(up_and_left)


shifts.mistakes.append(
    Mistake(
        "Both functions go the wrong way: cyclic_shift moves the map up and to the left, so that token (s, s) comes "
        "to the corner, and undo_shift brings it back.",
        {"cyclic_shift": down_and_right, "undo_shift": up_and_left},
    )
)


def _both_ways(sentence, move):
    """The same slip in one of the two functions, or in both."""

    def forth(x, shift):
        return move(x, -shift)

    def back(x, shift):
        return move(x, shift)

    forth.__name__, back.__name__ = f"forth_{move.__name__}", f"back_{move.__name__}"
    for targets in (("cyclic_shift",), ("undo_shift",), ("cyclic_shift", "undo_shift")):
        who = targets[0] if len(targets) == 1 else "Both functions"
        moves = {"cyclic_shift": forth, "undo_shift": back}
        words = f"{who} {sentence.format(s='s' if len(targets) == 1 else '')}"
        shifts.mistakes.append(Mistake(words, {target: moves[target] for target in targets}))


def rows_only(x, by):
    return x.roll(by, dims=1)


def columns_only(x, by):
    return x.roll(by, dims=2)


def images_and_rows(x, by):
    return x.roll((by, by), dims=(0, 1))


def columns_and_channels(x, by):
    return x.roll((by, by), dims=(2, 3))


def as_one_row(x, by):
    return x.roll(by)


def not_around(x, by):
    place_y, place_x = torch.arange(x.shape[1]) - by, torch.arange(x.shape[2]) - by
    inside = ((place_y >= 0) & (place_y < x.shape[1]))[:, None] & (place_x >= 0) & (place_x < x.shape[2])
    return x.roll((by, by), dims=(1, 2)) * inside[:, :, None]


_both_ways("move{s} the rows only; the columns have to move as well.", rows_only)
_both_ways("move{s} the columns only; the rows have to move as well.", columns_only)
_both_ways(
    "move{s} axes number 0 and 1, the images of the batch and the rows. The map lies in axes 1 and 2.", images_and_rows
)
_both_ways(
    "move{s} axes number 2 and 3, the columns and the numbers of a token. The map lies in axes 1 and 2.",
    columns_and_channels,
)
_both_ways(
    "move{s} all numbers as if they stood in one long row: no axis was named. The two axes of the map move, each by "
    "itself.",
    as_one_row,
)
_both_ways(
    "let{s} what leaves the map at one edge fall off. It comes back in at the opposite edge: nothing is lost, and "
    "no zeros appear.",
    not_around,
)


@shifts.alternative
def shift_by_cutting(x, shift):
    x = torch.cat([x[:, shift:], x[:, :shift]], dim=1)
    return torch.cat([x[:, :, shift:], x[:, :, :shift]], dim=2)


@shifts.alternative
def shift_by_places(x, shift):
    H, W = x.shape[1:3]
    return x[:, (torch.arange(H) + shift) % H][:, :, (torch.arange(W) + shift) % W]


@shifts.alternative(target="undo_shift")
def undo_by_places(x, shift):
    H, W = x.shape[1:3]
    return x[:, (torch.arange(H) - shift) % H][:, :, (torch.arange(W) - shift) % W]


# ------------------------------------------------------------------------------------------------------------
# 5. shift_mask

mask = homework.exercise(
    "shift_mask",
    points=7,
    hints=(
        (
            "Print the masks for H = W = 4, M = 2, s = 1: window 0 is True everywhere, window 3 on its diagonal "
            "only. Which of the four differs?"
        ),
        (
            "Print the map of numbered pieces before it is cut into windows. For H = W = 4 and s = 1 the seams "
            "leave a square of 3 × 3, two strips and a corner: has each a number of its own?"
        ),
        (
            "How far from the lower end is your seam? Try M = 4 with s = 1, and then with s = 3, where s and M − "
            "s are not the same."
        ),
    ),
)


@mask.inputs
def _(draw: Draw):
    # The seam s tokens from the edge, the seam M − s from it, and a seam one off are then three different ones.
    for M, shift in ((4, 3), (5, 2 * draw.integer(1, 2))):
        i, j = draw.sizes(2, low=2, high=4) if M == 4 else draw.sizes(2, low=2, high=3)
        yield Call("shift_mask", {"height": i * M, "width": j * M, "window_size": M, "shift": shift})


def _same_piece(pieces, M):
    """(H, W) numbers of pieces -> (windows, M², M²), True where both tokens are in one piece."""
    cut = _cut(pieces[None, :, :, None], M)[0, :, :, 0]
    return cut[:, :, None] == cut[:, None, :]


def _pieces(height, width, seam):
    """Past the seam (True) or not, for rows (H, 1) and columns (W,)."""
    return torch.arange(height)[:, None] >= height - seam, torch.arange(width) >= width - seam


def _right_mask(height, width, window_size, shift):
    below, right = _pieces(height, width, shift)
    return _same_piece(2 * below + right, window_size)


@mask.mistake(
    "Your mask is upside down: it is True where two tokens may not meet. True means that the query may look at the key."
)
def true_where_forbidden(height, width, window_size, shift):
    return ~_right_mask(height, width, window_size, shift)


@mask.mistake(
    "Your mask keeps apart what comes from the top and the bottom of the map, but not what comes from its left "
    "and right edge: there is a seam in the columns too."
)
def seam_in_rows_only(height, width, window_size, shift):
    below, right = _pieces(height, width, shift)
    return _same_piece(below + 0 * right, window_size)


@mask.mistake(
    "Your mask keeps apart what comes from the left and the right edge of the map, but not what comes from its "
    "top and bottom: there is a seam in the rows too."
)
def seam_in_columns_only(height, width, window_size, shift):
    below, right = _pieces(height, width, shift)
    return _same_piece(0 * below + right, window_size)


@mask.mistake(
    "You numbered the pieces so that two of them share a number: beyond the seam below, and beyond the seam on "
    "the right. In the last window they meet, and may not. All four pieces there need different numbers."
)
def two_pieces_share_a_number(height, width, window_size, shift):
    below, right = _pieces(height, width, shift)
    return _same_piece(below.long() + right.long(), window_size)


@mask.mistake(
    "Your seam lies at the top and on the left, in the first windows. The shift brings the first rows to the "
    "end: foreign tokens stand in the last windows."
)
def seam_at_the_beginning(height, width, window_size, shift):
    below, right = torch.arange(height)[:, None] < shift, torch.arange(width) < shift
    return _same_piece(2 * below + right, window_size)


@mask.mistake(
    "Your seam lies M − s tokens from the end instead of s: exactly as many rows come round to the end as the "
    "map was moved by."
)
def seam_on_the_other_side(height, width, window_size, shift):
    return _right_mask(height, width, window_size, window_size - shift)


@mask.mistake(
    "Your seam is off by one: of the tokens that came round the edge, the first is taken for one that belongs there."
)
def seam_off_by_one(height, width, window_size, shift):
    return _right_mask(height, width, window_size, shift - 1)


@mask.mistake(
    "Your mask lets two tokens meet only if they shared a window before the shift. But that is what the shift is "
    "for: neighbours from different windows meet. Forbidden is only what the edge of the map brought together."
)
def old_windows_kept_apart(height, width, window_size, shift):
    row, column = torch.arange(height)[:, None] // window_size, torch.arange(width) // window_size
    return _same_piece((row * width + column).roll((-shift, -shift), dims=(0, 1)), window_size)


@mask.mistake("Your mask is True everywhere: tokens from opposite edges of the map may look at each other.")
def nothing_forbidden(height, width, window_size, shift):
    return _right_mask(height, width, window_size, 0)


@mask.mistake(
    "The pattern is right, but yours holds numbers to add to the scores. Asked for are truth values: True where "
    "the query may look."
)
def numbers_to_add(height, width, window_size, shift):
    return (~_right_mask(height, width, window_size, shift)).float() * -100.0


@mask.mistake(
    "The pattern is right, but your mask holds the numbers 0 and 1. Make it True and False, so that nobody can "
    "take it for something to add."
)
def zeros_and_ones(height, width, window_size, shift):
    return _right_mask(height, width, window_size, shift).float()


@mask.mistake(
    "You return the mask of the last window only. The windows in the last row and in the last column have seams "
    "as well, and all others need a mask that allows everything: one for each window."
)
def last_window_only(height, width, window_size, shift):
    return _right_mask(height, width, window_size, shift)[-1]


@mask.mistake(
    "You return a mask for all pairs of tokens of the map. Attention works inside windows, so each window gets "
    "a mask of its own, for the pairs of its tokens."
)
def mask_of_the_whole_map(height, width, window_size, shift):
    below, right = _pieces(height, width, shift)
    pieces = (2 * below + right).flatten()
    return pieces[:, None] == pieces


@mask.alternative
def mask_by_nine_regions(height, width, window_size, shift):
    """As the paper's code does it: nine regions of the shifted map, numbered in a double loop."""
    regions, number = torch.zeros(1, height, width, 1), 0
    for rows in (slice(0, -window_size), slice(-window_size, -shift), slice(-shift, None)):
        for columns in (slice(0, -window_size), slice(-window_size, -shift), slice(-shift, None)):
            regions[:, rows, columns] = number
            number += 1
    regions = cut_by_loops(regions, window_size)[0, :, :, 0]
    return (regions.unsqueeze(1) - regions.unsqueeze(2)) == 0


@mask.alternative
def mask_by_distance(height, width, window_size, shift):
    """Two tokens of a shifted window may meet if they were less than a window apart before the shift."""
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    place = cut_by_loops(place.roll((-shift, -shift), dims=(0, 1))[None], window_size)[0]  # (nW, N, 2)
    apart = (place[:, :, None] - place[:, None]).abs()  # (nW, N, N, 2)
    return (apart < window_size).all(dim=-1)


# ------------------------------------------------------------------------------------------------------------
# 6. SwinBlock

block = homework.exercise(
    "SwinBlock",
    points=9,
    hints=(
        (
            "Try `shift=0` first. If only the shift is wrong, the plain path is right, and what is left are the "
            "shift, the mask and the way back."
        ),
        (
            "Write down the order of your steps between `norm1` and the sum, and compare with the drawing: norm, "
            "shift, cut, attention, put together, undo. What is their result added to?"
        ),
        (
            "Leave the attention out and follow a map of numbers through shift, cut, put together, undo: is it "
            "the same map again? Then print `mask.shape` beside the number of windows."
        ),
    ),
)

AS_SEQUENTIAL = {
    **{name: [name] for part in ("norm1", "norm2") for name in (f"{part}.weight", f"{part}.bias")},
    **{f"attention.{name}": [f"attention.{name}"] for name in ("qkv.weight", "qkv.bias")},
    **{f"attention.{name}": [f"attention.{name}"] for name in ("proj.weight", "proj.bias", "table")},
    "mlp.0.weight": ["fc1.weight"],
    "mlp.0.bias": ["fc1.bias"],
    "mlp.2.weight": ["fc2.weight"],
    "mlp.2.bias": ["fc2.bias"],
}


@block.inputs
def _(draw: Draw):
    # In a small stream, the eps of the norms shows.
    for M, shift, mlp_ratio, size in ((2, 0, 2, 1.0), (3, draw.integer(1, 2), 3, 1.0), (3, 0, 2, 0.003)):
        i, j = draw.sizes(2, low=2, high=3) if M == 3 else draw.sizes(2, low=4, high=5)
        B, D, h = (1, 4, 2) if M == 3 else (2, 6, 3)
        weights = {
            **draw.norm("norm1", D),
            **_attention_weights(draw, "attention.", D, h, M),
            **draw.norm("norm2", D),
            **draw.linear("fc1", D, mlp_ratio * D),
            **draw.linear("fc2", mlp_ratio * D, D),
        }
        weights |= {name: size * value for name, value in weights.items() if name.startswith("attention.proj.")}
        yield Call(
            "SwinBlock",
            {"x": size * draw.normal(B, i * M, j * M, D)},
            init={"embed_dim": D, "num_heads": h, "window_size": M, "shift": shift, "mlp_ratio": mlp_ratio},
            parameters=weights,
            layouts=(AS_SEQUENTIAL,),
            gradients=("x",) if size == 1 else (),
        )


class _Block(nn.Module):
    """The right parts; each mistake below wires them in its own way."""

    eps = 1e-5

    def __init__(self, embed_dim, num_heads, window_size, shift, mlp_ratio):
        super().__init__()
        self.window_size, self.shift = window_size, shift
        self.norm1 = nn.LayerNorm(embed_dim, eps=self.eps)
        self.attention = _Windows(embed_dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(embed_dim, eps=self.eps)
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def mask(self, x):
        return _right_mask(x.shape[1], x.shape[2], self.window_size, self.shift)

    def there(self, x):
        return x.roll((-self.shift, -self.shift), dims=(1, 2))

    def back(self, x):
        return x.roll((self.shift, self.shift), dims=(1, 2))

    def in_windows(self, x):
        cut = _cut(x, self.window_size)
        return _lay(self.attention(cut, self.mask(x)), x.shape[1], x.shape[2])

    def mix(self, x):
        return self.back(self.in_windows(self.there(x)))

    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(x)))

    def forward(self, x):
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@block.mistake(
    "Your layer norms have an eps of 0.000001, that of many vision transformers. Swin has torch's own, 0.00001; where the "
    "numbers of a token are nearly equal, that shows."
)
class SmallerEps(_Block):
    eps = 1e-6


@block.mistake("Your block never shifts the map: the argument shift has no effect.")
class NeverShifted(_Block):
    def mask(self, x):
        return None

    def mix(self, x):
        return self.in_windows(x)


@block.mistake("Your block masks its windows as if the map were shifted, but the map stays where it is.")
class MaskedNotShifted(_Block):
    def mix(self, x):
        return self.in_windows(x)


@block.mistake(
    "Your block shifts the map but masks nothing: in the last windows, tokens from opposite edges of the map look "
    "at each other."
)
class ShiftedNotMasked(_Block):
    def mask(self, x):
        return None


@block.mistake(
    "The shift is never undone: what attention has found for one token is added to another, a few places away."
)
class NotShiftedBack(_Block):
    def back(self, x):
        return x


@block.mistake("After the attention your map is shifted further in the same direction. It has to go back.")
class ShiftedTwice(_Block):
    def back(self, x):
        return self.there(x)


@block.mistake(
    "Your map is shifted down and to the right, and then back. It has to go up and to the left first: the mask is "
    "made for that."
)
class ShiftedTheWrongWay(_Block):
    def there(self, x):
        return super().back(x)

    def back(self, x):
        return super().there(x)


@block.mistake(
    "You shift the whole stream and undo it at the wrong place: attention's result is added to a shifted copy of "
    "the stream, or the stream leaves the block shifted."
)
class StreamLeftShifted(_Block):
    def forward(self, x):
        x = self.there(x)
        x = x + self.in_windows(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@block.mistake(
    "Your windows are put together by pouring them into the shape of the map. Undo the partition step by step instead."
)
class WindowsPoured(_Block):
    def in_windows(self, x):
        return self.attention(_cut(x, self.window_size), self.mask(x)).reshape(x.shape)


@block.mistake(
    "Your block normalises after each addition (post-norm). Here each part gets a normalised copy of the stream, "
    "and the stream itself is left alone."
)
class NormsAfter(_Block):
    def forward(self, x):
        x = self.norm1(x + self.mix(x))
        return self.norm2(x + self.mlp(x))


@block.mistake("The residual connection around the attention is missing: its output replaces the stream.")
class AttentionReplaces(_Block):
    def forward(self, x):
        x = self.mix(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@block.mistake("The residual connection around the MLP is missing: its output replaces the stream.")
class MlpReplaces(_Block):
    def forward(self, x):
        x = x + self.mix(self.norm1(x))
        return self.mlp(self.norm2(x))


@block.mistake(
    "What is added to is the normalised copy, not the stream itself. Keep the x that came in, and normalise only "
    "what the part gets to see."
)
class AddedToTheCopy(_Block):
    def forward(self, x):
        x = self.norm1(x)
        x = x + self.mix(x)
        x = self.norm2(x)
        return x + self.mlp(x)


@block.mistake("The attention gets the stream as it is: norm1 is missing in front of it.")
class NoFirstNorm(_Block):
    def forward(self, x):
        x = x + self.mix(x)
        return x + self.mlp(self.norm2(x))


@block.mistake("The MLP gets the stream as it is: norm2 is missing in front of it.")
class NoSecondNorm(_Block):
    def forward(self, x):
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(x)


@block.mistake("norm1 is used in both places and norm2 in none. Each part has a normalisation of its own.")
class OneNormTwice(_Block):
    def forward(self, x):
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(self.norm1(x))


@block.mistake("Your MLP has a ReLU between its layers. A GELU is asked for.")
class ReluInside(_Block):
    def mlp(self, x):
        return self.fc2(F.relu(self.fc1(x)))


@block.mistake(
    "Your GELU is the approximation by tanh. It is off by a few ten-thousandths; the exact one, which is torch's "
    "default, is asked for."
)
class TanhInside(_Block):
    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


@block.mistake("There is nothing between the two layers of your MLP: put the GELU between them.")
class NothingInside(_Block):
    def mlp(self, x):
        return self.fc2(self.fc1(x))


@block.mistake(
    "You normalise what attention and MLP give, after them, as the second version of Swin does. Here what they read is "
    "normalised, before them."
)
class BranchesNormalised(_Block):
    def forward(self, x):
        x = x + self.norm1(self.mix(x))
        return x + self.norm2(self.mlp(x))


@block.mistake(
    "Your block masks with half a window also where shift is 0. Nothing has moved then, and nothing is to be masked."
)
class MaskedWithoutShift(_Block):
    def mask(self, x):
        return _right_mask(x.shape[1], x.shape[2], self.window_size, self.shift or self.window_size // 2)


@block.alternative
class BlockOfSequentials(nn.Module):
    """Another order of layers, an MLP in one piece, and the shift undone at the very end of the first half."""

    def __init__(self, embed_dim, num_heads, window_size, shift, mlp_ratio):
        super().__init__()
        hidden = mlp_ratio * embed_dim
        self.mlp = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim))
        self.norm2, self.norm1 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.attention = AttentionByEinsum(embed_dim, num_heads, window_size)
        self.window_size, self.shift = window_size, shift

    def forward(self, x):
        H, W = x.shape[1:3]
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        allowed = mask_by_nine_regions(H, W, self.window_size, self.shift) if self.shift else None
        y = self.attention(cut_by_loops(self.norm1(x), self.window_size), allowed)
        x = torch.roll(x + lay_by_rows(y, H, W), (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


@block.alternative
class BlockNormalisedInWindows(_Block):
    """Layer normalisation looks at one token only, so it may as well come after the cutting."""

    def forward(self, x):
        cut = _cut(self.there(x), self.window_size)
        y = cut + self.attention(self.norm1(cut), self.mask(x))
        y = y + self.mlp(self.norm2(y))
        return self.back(_lay(y, x.shape[1], x.shape[2]))


# ------------------------------------------------------------------------------------------------------------
# 7. PatchMerging

merging = homework.exercise(
    "PatchMerging",
    points=6,
    hints=(
        "Take D = 1 and the square 1 2 above 3 4, and print the four numbers before the norm: 1, 3, 2, 4?",
        (
            "Print the shape before the norm: (B, H/2, W/2, 4D). If it is right and the numbers are not, the "
            "order of the four neighbours is what is left."
        ),
        (
            "Print `named_parameters()` of your module: does `reduction` have a bias? Print `norm.eps`, too, and "
            "its width."
        ),
    ),
)


@merging.inputs
def _(draw: Draw):
    for B, size in ((1, 1.0), (2, 1.0), (1, 0.003)):  # where all is small, the eps of the norm shows
        i, j = draw.sizes(2, low=2, high=4)
        D = (3, 5)[draw.integer(0, 1)]
        weights = {**draw.norm("norm", 4 * D), "reduction.weight": draw.normal(2 * D, 4 * D) / D**0.5}
        yield Call(
            "PatchMerging",
            {"x": size * draw.normal(B, 2 * i, 2 * j, D)},
            init={"embed_dim": D},
            parameters=weights,
            gradients=("x",) if size == 1 else (),
        )


class _Merging(nn.Module):
    """Right; the mistakes below gather in another order or wire the two layers in another way."""

    order = "(q p d)"
    eps = 1e-5

    def __init__(self, embed_dim):
        super().__init__()
        self.norm = nn.LayerNorm(4 * embed_dim, eps=self.eps)
        self.reduction = nn.Linear(4 * embed_dim, 2 * embed_dim, bias=False)

    def gather(self, x):
        return rearrange(x, f"b (i p) (j q) d -> b i j {self.order}", p=2, q=2)

    def forward(self, x):
        return self.reduction(self.norm(self.gather(x)))


@merging.mistake(
    "Your norm has an eps of 0.000001, that of many vision transformers. Swin has torch's own, 0.00001; where the numbers "
    "of a token are nearly equal, that shows."
)
class MergingSmallerEps(_Merging):
    eps = 1e-6


@merging.mistake(
    "Your four neighbours stand in reading order: top left, top right, bottom left, bottom right. The public "
    "weights expect them column by column: the one below comes second, the one to the right third."
)
class RowByRow(_Merging):
    order = "(p q d)"


@merging.mistake(
    "Your four neighbours are woven into each other: number 0 of all four, then number 1 of all four. Each keeps "
    "its D numbers together: all of the first, then all of the second, and so on."
)
class NumberByNumber(_Merging):
    order = "(d q p)"


@merging.mistake(
    "Your four neighbours are woven into each other, and row by row at that. Each keeps its D numbers together, "
    "and they come column by column."
)
class NumberByNumberRowByRow(_Merging):
    order = "(d p q)"


@merging.mistake(
    "What you put together are the four quarters of the map, far apart from each other. It is the four "
    "neighbours of each 2 × 2 square that become one token."
)
class QuartersOfTheMap(_Merging):
    def gather(self, x):
        return rearrange(x, "b (p i) (q j) d -> b i j (q p d)", p=2, q=2)


@merging.mistake(
    "You poured the map into a box with a quarter of the tokens and four times the width. That puts four tokens "
    "of one row together; here it is a square of 2 × 2."
)
class FourInARow(_Merging):
    def gather(self, x):
        B, H, W, D = x.shape
        return x.reshape(B, H // 2, W // 2, 4 * D)


@merging.mistake(
    "The order is off in one place: the last two neighbours, top right and bottom right, have changed places."
)
class LastTwoSwapped(_Merging):
    def gather(self, x):
        a, b, c, d = super().gather(x).chunk(4, dim=-1)
        return torch.cat([a, b, d, c], dim=-1)


@merging.mistake("The normalisation is missing: the linear layer gets the four neighbours as they are.")
class NotNormalised(_Merging):
    def forward(self, x):
        return self.reduction(self.gather(x))


@merging.mistake(
    "The linear layer is there, but each of the four neighbours is normalised by itself, D numbers "
    "at a time. Normalise the 4D numbers as one."
)
class NormalisedOneByOne(_Merging):
    def forward(self, x):
        x = self.gather(F.layer_norm(x, x.shape[-1:]))
        return self.reduction(x * self.norm.weight + self.norm.bias)


@merging.mistake(
    "Your normalisation uses another eps than the public Swin, which has 0.00001 everywhere, also torch's default."
)
class LargerEps(_Merging):
    def __init__(self, embed_dim):
        super().__init__(embed_dim)
        self.norm.eps = 1e-3


@merging.mistake("Your map comes out with height and width changed about: rows of the map stay rows.")
class MapOnItsSide(_Merging):
    def forward(self, x):
        return super().forward(x).transpose(1, 2)


@merging.mistake(
    "You keep every pixel: windows of 2 × 2 that overlap. Each token of the map goes into exactly one new token, so "
    "height and width are halved."
)
class OverlappingSquares(_Merging):
    def gather(self, x):
        return torch.cat([x[:, p:, q:][:, : x.shape[1] - 1, : x.shape[2] - 1] for q in (0, 1) for p in (0, 1)], dim=-1)


@merging.alternative
class MergingBySlices(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.reduction = nn.Linear(4 * embed_dim, 2 * embed_dim, bias=False)
        self.norm = nn.LayerNorm(4 * embed_dim)

    def forward(self, x):
        corners = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


@merging.alternative
class MergingByLoops(_Merging):
    def gather(self, x):
        rows = []
        for i in range(x.shape[1] // 2):
            square = x[:, 2 * i : 2 * i + 2]  # (B, 2, W, D)
            tokens = [square[:, :, j : j + 2].transpose(1, 2).flatten(1) for j in range(0, x.shape[2], 2)]
            rows.append(torch.stack(tokens, dim=1))
        return torch.stack(rows, dim=1)


@merging.alternative
class MergingByUnfold(_Merging):
    """torch's own unfold numbers a square row by row and puts the channel first: both undone."""

    def gather(self, x):
        squares = F.unfold(rearrange(x, "b h w d -> b d h w"), kernel_size=2, stride=2)  # (B, D·4, H/2·W/2)
        return rearrange(squares, "b (d p q) (i j) -> b i j (q p d)", p=2, q=2, i=x.shape[1] // 2)


# ------------------------------------------------------------------------------------------------------------
# 8. attention_macs

cost = homework.exercise(
    "attention_macs",
    points=4,
    hints=(
        (
            "Try the example by hand, `attention_macs(4, 4, 2, 2)`: 1280 and 512? If one of them is right, look "
            "at the other alone."
        ),
        (
            "Print the two terms by themselves: 256 for the four linear layers, in both results; then 1024, or "
            "256, for the two products between tokens."
        ),
        "How many keys does a token meet in a window, and how many tokens are there in all windows together?",
    ),
)


@cost.inputs
def _(draw: Draw):
    for M in (draw.integer(3, 5), draw.integer(6, 9)):
        i, j = draw.sizes(2, low=3, high=9)
        yield Call(
            "attention_macs",
            {
                "height": i * M,
                "width": j * M,
                "embed_dim": draw.integer(20, 90),
                "window_size": M,
            },
        )


def _macs(H, W, D, M, layers=4, products=2, of_all=None, of_window=None):
    N = H * W
    of_all = products * N * N * D if of_all is None else of_all
    of_window = products * M * M * N * D if of_window is None else of_window
    return layers * N * D * D + of_all, layers * N * D * D + of_window


@cost.mistake("You counted three linear layers: query, key and value. After them comes a fourth, proj.")
def three_layers(H, W, D, M):
    return _macs(H, W, D, M, layers=3)


@cost.mistake(
    "You left out the linear layers. They cost the same with and without windows, and in Swin they are the larger part."
)
def products_alone(H, W, D, M):
    return _macs(H, W, D, M, layers=0)


@cost.mistake("You counted one product between tokens. There are two: the scores, and the weights times the values.")
def scores_alone(H, W, D, M):
    return _macs(H, W, D, M, products=1)


@cost.mistake(
    "The first number is right. In the second, each query looks at M keys: a window has M rows and M columns, so "
    "there are M² of them."
)
def m_keys(H, W, D, M):
    return _macs(H, W, D, M, of_window=2 * M * H * W * D)


@cost.mistake(
    "The first number is right. In the second you counted the products of one window only: there are H/M times "
    "W/M of them."
)
def one_window(H, W, D, M):
    return _macs(H, W, D, M, of_window=2 * M**4 * D)


@cost.mistake(
    "The first number is right. In the second, a query meets as many keys as there are windows. It meets the "
    "tokens of its own window."
)
def windows_for_keys(H, W, D, M):
    return _macs(H, W, D, M, of_window=2 * (H // M) * (W // M) * H * W * D)


@cost.mistake(
    "The second number is right. In the first, every token meets every token of the map, not only those of its "
    "own row and column: H·W keys for each of H·W queries."
)
def rows_and_columns(H, W, D, M):
    return _macs(H, W, D, M, of_all=2 * H * W * (H + W) * D)


@cost.mistake(
    "Both numbers are twice what is asked for: a multiplication and the addition after it count as one "
    "multiply-accumulate."
)
def each_counted_twice(H, W, D, M):
    return tuple(2 * number for number in _macs(H, W, D, M))


@cost.mistake("Both numbers are right, but in the wrong order: the whole map first, windows second.")
def windows_come_first(H, W, D, M):
    return _macs(H, W, D, M)[::-1]


@cost.mistake(
    "The first number is right. In the second you let the linear layers work on one window only. They work on every "
    "token of the map."
)
def layers_of_one_window(H, W, D, M):
    return _macs(H, W, D, M)[0], 4 * M * M * D * D + 2 * M * M * H * W * D


@cost.alternative
def cost_window_by_window(height, width, embed_dim, window_size):
    def attention_over(tokens):
        return 4 * tokens * embed_dim**2 + 2 * tokens**2 * embed_dim

    count = (height // window_size) * (width // window_size)
    return attention_over(height * width), count * attention_over(window_size**2)


@cost.alternative
def cost_by_tensors(height, width, embed_dim, window_size):
    tokens = torch.tensor(float(height * width), dtype=torch.float64)
    linear = 4 * tokens * embed_dim**2
    return linear + 2 * tokens**2 * embed_dim, linear + 2 * window_size**2 * tokens * embed_dim


# ------------------------------------------------------------------------------------------------------------
# 9. swin_plan

plan = homework.exercise(
    "swin_plan",
    points=5,
    hints=(
        (
            "Print `swin_plan(16, 2, 10, 4, torch.tensor([3, 2]))` beside the five rows by hand: which column "
            "differs, and from which row on?"
        ),
        (
            "In the second stage of the example the window is as large as the map: is the shift 0 there? And "
            "where the map is smaller than M, what is the window?"
        ),
        (
            "Does the counting of plain and shifted blocks begin anew in each stage? Try depths (3, 3) on a large "
            "map: both stages begin with a plain one."
        ),
    ),
)


@plan.inputs
def _(draw: Draw):
    def call(image, patch, M, depths):
        return Call(
            "swin_plan",
            {
                "image_size": image,
                "patch_size": patch,
                "embed_dim": 2 * draw.integer(10, 40),
                "window_size": M,
                "depths": torch.tensor(depths),
            },
        )

    # The third stage is covered by one window, the fourth is smaller than one. Odd depths: where the alternation
    # starts anew in each stage, and where it runs on, are then different.
    side, patch = 2 * draw.integer(1, 2) + 1, draw.integer(2, 4)
    yield call(8 * side * patch, patch, 2 * side, [3, *draw.sizes(2, low=2, high=4), 3])
    side, patch = 2 * draw.integer(1, 3) + 1, draw.integer(2, 4)
    yield call(12 * side * patch, patch, side, [3, *draw.sizes(2, low=2, high=4)])


def _plan(
    image,
    patch,
    dim,
    M,
    depths,
    shift=lambda number, in_all, M: M // 2 * (number % 2),
    grow=2,
    shrink=2,
    early=0,
    covered=True,
    clipped=True,
):
    """The right table with replaceable parts."""
    rows = []
    for stage, depth in enumerate(depths.tolist()):
        side = image // patch // shrink ** (stage + early)
        for number in range(depth):
            window = min(M, side) if clipped else M
            s = 0 if covered and side <= M else shift(number, len(rows), window)
            rows.append((stage, side, dim * grow**stage, window, s))
    return rows


@plan.mistake(
    "Your first block of a stage shifts and the second does not. A stage begins with plain windows; every second "
    "block shifts."
)
def shift_comes_first(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: M // 2 * (1 - number % 2))


@plan.mistake(
    "Your alternation runs on from one stage into the next. Each stage begins anew, with plain windows: with an odd "
    "number of blocks that makes a difference."
)
def alternation_runs_on(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: M // 2 * (in_all % 2))


@plan.mistake("Every block of yours shifts. Plain and shifted windows take turns.")
def every_block_shifts(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: M // 2)


@plan.mistake("None of your blocks shifts: windows would never hear of each other until they are merged.")
def no_block_shifts(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: 0)


@plan.mistake(
    "You shift by a whole window. That moves every token into a window with the same neighbours as before; half a "
    "window is what mixes them."
)
def shift_by_a_window(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: M * (number % 2))


@plan.mistake("Your half of an odd window is rounded up. The public Swin rounds down: 7 gives 3.")
def half_rounded_up(*arguments):
    return _plan(*arguments, shift=lambda number, in_all, M: (M + 1) // 2 * (number % 2))


@plan.mistake(
    "You shift where one window covers the whole map. Every token sees every other there already; a shift would only "
    "let the mask forbid something."
)
def shift_where_covered(*arguments):
    return _plan(*arguments, covered=False)


@plan.mistake(
    "You stop shifting only where the map is smaller than a window. If it is just as large, one window covers it as "
    "well, and there is nothing to shift."
)
def shift_where_just_covered(image, patch, dim, M, depths):
    rows = _plan(image, patch, dim, M, depths, covered=False)
    return [(*row[:4], row[4] if row[1] >= M else 0) for row in rows]


@plan.mistake("Your window stays larger than its map in the last stage: there it is as large as the map.")
def window_larger_than_map(*arguments):
    return _plan(*arguments, clipped=False)


@plan.mistake("Your map stays as large as it was. Merging 2 × 2 tokens between two stages halves its side.")
def side_never_halved(*arguments):
    return _plan(*arguments, shrink=1)


@plan.mistake("You merge in front of the first stage as well. It works on the patches as they are.")
def merged_too_early(*arguments):
    return _plan(*arguments, early=1)


@plan.mistake(
    "Your tokens get four times as wide with each stage. Merging puts four tokens side by side, but its linear layer "
    "brings the 4D numbers down to 2D."
)
def four_times_as_wide(*arguments):
    return _plan(*arguments, grow=4)


@plan.mistake("Your tokens stay as wide as they were. Merging makes them twice as wide.")
def never_wider(*arguments):
    return _plan(*arguments, grow=1)


@plan.mistake("Your stages are counted from 1. The first one is number 0.")
def stages_from_one(*arguments):
    return [(stage + 1, *rest) for stage, *rest in _plan(*arguments)]


@plan.mistake("You have one row for each stage. One for each block is asked for.")
def one_row_a_stage(image, patch, dim, M, depths):
    return _plan(image, patch, dim, M, torch.ones_like(depths))


@plan.alternative
def plan_in_tensors(image_size, patch_size, embed_dim, window_size, depths):
    stage = torch.repeat_interleave(torch.arange(len(depths)), depths)
    number = torch.cat([torch.arange(depth) for depth in depths])
    side = image_size // patch_size // 2**stage
    window = side.clamp(max=window_size)
    shift = (window // 2) * (number % 2) * (side > window_size)
    return torch.stack([stage, side, embed_dim * 2**stage, window, shift], dim=1)


@plan.alternative
def plan_step_by_step(image_size, patch_size, embed_dim, window_size, depths):
    side, dim, rows = image_size // patch_size, embed_dim, []
    for stage in range(len(depths)):
        shifted = False
        for _ in range(int(depths[stage])):
            covers = window_size >= side
            rows.append(
                [stage, side, dim, side if covers else window_size, window_size // 2 if shifted and not covers else 0]
            )
            shifted = not shifted
        side, dim = side // 2, dim * 2
    return rows


# ------------------------------------------------------------------------------------------------------------
# 10. train_with_schedule

training = homework.exercise(
    "train_with_schedule",
    points=6,
    hints=(
        "Write the rates into a list and print it for T = 6, w = 2, r = 1: 0.5, 1, 1, 0.85, 0.5, 0.15?",
        (
            "Print for each of the two groups its weight decay and the shapes of its parameters. To which does a "
            "bias belong, and to which the scale of a norm?"
        ),
        (
            "Within one step: is the rate set in both groups before the update? Is the loss taken before the "
            "weights move, and the batch drawn once, with the generator?"
        ),
    ),
)

HELD_OUT = 300  # of the 397 test digits: which ones, the seed decides
GOAL = 0.92


def _held_out(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load("digits", "test", device="cpu")
    chosen = torch.randperm(len(images), generator=draw.generator)[:HELD_OUT]
    return images[chosen].float() / 255, labels[chosen]


@training.inputs
def _(draw: Draw):
    asked, _ = _held_out(draw)  # first of all, so that the goals below draw the same ones
    for steps, warmup in ((7, 3), (6, 2)):
        classes, height, width = draw.sizes(3, low=3, high=6)
        pixels = height * width
        yield Call(
            "train_with_schedule",
            {
                "model": Probe(
                    "normed_classifier",
                    {
                        "scale": 2 + draw.uniform(pixels),
                        "shift": 1 + draw.uniform(pixels),
                        "weight": draw.normal(classes, pixels),
                        "bias": 2 + draw.normal(classes),
                    },
                    ask=draw.uniform(2, 1, height, width),
                ),
                "images": draw.uniform(40, 1, height, width),
                "labels": draw.integers(0, classes - 1, 40),
                "steps": steps,
                "warmup": warmup,
                "batch_size": 7,
                "peak_rate": 0.05,
                "weight_decay": 0.9,
                "generator": Seeded(draw.integer(0, 10**6)),
            },
        )
    images, labels = load("digits", "train", size=1000, device="cpu")  # they are stored with the public check
    yield Call(
        "train_with_schedule",
        {
            "model": Probe("digits_net", seed=draw.integer(0, 10**6), ask=asked),
            "images": images.float() / 255,
            "labels": labels,
            "steps": 50,
            "warmup": 5,
            "batch_size": 128,
            "peak_rate": 0.01,
            "weight_decay": 0.05,
            "generator": Seeded(draw.integer(0, 10**6)),
        },
    )


@training.goals
def _(draw: Draw):
    return {2: Accuracy(_held_out(draw)[1], GOAL)}


def _left(step, steps, warmup):
    """How much of the way down is done, 0 to 1."""
    return (step - warmup) / (steps - warmup)


def _half_wave(done):
    return 0.5 + 0.5 * math.cos(math.pi * done)


def _schedule(
    up=lambda step, warmup: (step + 1) / warmup,
    down=lambda step, steps, warmup: _half_wave(_left(step, steps, warmup)),
):
    """The right learning rate with replaceable halves."""
    return lambda step, steps, warmup, peak: peak * (up(step, warmup) if step < warmup else down(step, steps, warmup))


_rate = _schedule()


def _both(model, decay):
    many = [p for p in model.parameters() if p.ndim >= 2]
    few = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": many, "weight_decay": decay}, {"params": few, "weight_decay": 0.0}]


def _train(
    model,
    images,
    labels,
    steps,
    warmup,
    batch_size,
    peak_rate,
    weight_decay,
    generator,
    rate=_rate,
    groups=_both,
    scheduled=slice(None),
    late=False,
    clear=True,
    optimizer=torch.optim.AdamW,
    draw=None,
    score=F.cross_entropy,
):
    """The right loop with replaceable parts."""
    parameters = groups(model, weight_decay)
    optimizer = optimizer(parameters, lr=peak_rate)
    losses = []
    for step in range(steps):
        if not late:
            for group in optimizer.param_groups[scheduled]:
                group["lr"] = rate(step, steps, warmup, peak_rate)
        chosen = draw() if draw else torch.randint(len(images), (batch_size,), generator=generator)
        loss = score(model(images[chosen]), labels[chosen])
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if late:
            for group in optimizer.param_groups[scheduled]:
                group["lr"] = rate(step, steps, warmup, peak_rate)
        losses.append(loss.item())
    return losses


@training.mistake(
    "The scales of your norms decay. They have one axis, as biases have, and no reason to be small: only what has two axes "
    "or more decays, whatever it is called."
)
def scales_decay(*arguments):
    def by_name(model, decay):
        named = list(model.named_parameters())
        many = [p for name, p in named if "bias" not in name]
        few = [p for name, p in named if "bias" in name]
        return [{"params": many, "weight_decay": decay}, {"params": few, "weight_decay": 0.0}]

    return _train(*arguments, groups=by_name)


@training.mistake("Your learning rate stays at its peak in every step: there is no schedule.")
def no_schedule(*arguments):
    return _train(*arguments, rate=lambda step, steps, warmup, peak: peak)


@training.mistake(
    "Your rate does not warm up: it begins at its peak. In the first steps it climbs to it, in equal steps."
)
def no_warmup(*arguments):
    return _train(*arguments, rate=_schedule(up=lambda step, warmup: 1))


@training.mistake(
    "Your rate climbs and then stays up: after the warm-up it has to come down along half a wave of the cosine."
)
def never_comes_down(*arguments):
    return _train(*arguments, rate=lambda step, steps, warmup, peak: min((step + 1) / warmup, 1) * peak)


@training.mistake(
    "Your rate is 0 in the first step, which is then wasted. Step 0 already gets the first share of the peak, and "
    "step number warmup − 1 all of it."
)
def first_step_wasted(*arguments):
    return _train(*arguments, rate=_schedule(up=lambda step, warmup: step / warmup))


@training.mistake(
    "Your cosine is counted from step 0, so the rate jumps down where the warm-up ends. It begins at its top after "
    "the warm-up, and spends only the steps that are left."
)
def cosine_from_the_start(*arguments):
    return _train(*arguments, rate=_schedule(down=lambda step, steps, warmup: _half_wave(step / steps)))


@training.mistake(
    "Your cosine begins after the warm-up, but is stretched over the number of all steps, so it never comes near 0. "
    "It has the steps that are left."
)
def cosine_too_long(*arguments):
    return _train(*arguments, rate=_schedule(down=lambda step, steps, warmup: _half_wave((step - warmup) / steps)))


@training.mistake(
    "Your rate follows a quarter of a wave of the cosine. It is half a wave, from +1 to −1, moved up and halved, so "
    "that it leaves its peak and reaches 0 without a kink."
)
def quarter_of_a_wave(*arguments):
    return _train(
        *arguments, rate=_schedule(down=lambda step, steps, warmup: math.cos(math.pi / 2 * _left(step, steps, warmup)))
    )


@training.mistake("After the warm-up your rate falls along a straight line. It should follow a cosine.")
def straight_line_down(*arguments):
    return _train(*arguments, rate=_schedule(down=lambda step, steps, warmup: 1 - _left(step, steps, warmup)))


@training.mistake(
    "Your rate is set after the optimizer has moved, so every step runs at the rate of the step before, and the very "
    "first at the peak. Set it first."
)
def rate_one_step_late(*arguments):
    return _train(*arguments, late=True)


@training.mistake(
    "Only the first group of parameters follows your schedule; the others stay at the peak rate. An optimizer keeps "
    "one learning rate for each group."
)
def first_group_only(*arguments):
    return _train(*arguments, scheduled=slice(1))


@training.mistake(
    "All your parameters decay, also biases and what scales a normalisation. Only those with two axes or more may: "
    "the matrices."
)
def everything_decays(*arguments):
    return _train(*arguments, groups=lambda model, decay: [{"params": list(model.parameters()), "weight_decay": decay}])


@training.mistake("Nothing of yours decays: weight_decay has no effect. The matrices should.")
def nothing_decays(*arguments):
    return _train(*arguments, groups=lambda model, decay: _both(model, 0.0))


@training.mistake("Your groups are changed about: biases decay and matrices do not.")
def groups_swapped(*arguments):
    def swapped(model, decay):
        many, few = _both(model, decay)
        return [{**many, "weight_decay": 0.0}, {**few, "weight_decay": decay}]

    return _train(*arguments, groups=swapped)


@training.mistake(
    "The group that should not decay still does, at the 0.01 that AdamW takes if nobody says otherwise. Say 0 for it."
)
def default_decay_left(*arguments):
    def unsaid(model, decay):
        many, few = _both(model, decay)
        return [many, {"params": few["params"]}]

    return _train(*arguments, groups=unsaid)


@training.mistake(
    "Your optimizer is Adam. AdamW is asked for: with Adam, decay goes through the running averages, where it is "
    "scaled away."
)
def adam_with_decay(*arguments):
    return _train(*arguments, optimizer=torch.optim.Adam)


@training.mistake(
    "The gradients of all steps so far pile up: backward adds to what is there. They must be cleared once in every "
    "step."
)
def never_cleared(*arguments):
    return _train(*arguments, clear=False)


@training.mistake(
    "Your batches are random, but not drawn from the generator you were given, so nobody can repeat your run."
)
def other_random_numbers(model, images, labels, steps, warmup, batch_size, *rest):
    draw = lambda: torch.randint(len(images), (batch_size,))
    return _train(model, images, labels, steps, warmup, batch_size, *rest, draw=draw)


@training.mistake("The training is right, but you return only the last loss. All of them are asked for.")
def only_the_last(*arguments):
    return _train(*arguments)[-1]


@training.mistake(
    "Your cosine reaches 0 in the last step, because it is spread over one step too few. It has the T − w steps after the "
    "warm-up."
)
def zero_in_the_last_step(*arguments):
    down = lambda step, steps, warmup: _half_wave((step - warmup) / (steps - warmup - 1))
    return _train(*arguments, rate=_schedule(down=down))


@training.mistake(
    "Your warm-up is one step too long: the rate climbs beyond its peak. Step number w is the first of the cosine."
)
def warmup_one_step_longer(*arguments):
    def rate(step, steps, warmup, peak):
        return peak * (step + 1) / warmup if step == warmup else _rate(step, steps, warmup, peak)

    return _train(*arguments, rate=rate)


@training.alternative
def train_by_scheduler(model, images, labels, steps, warmup, batch_size, peak_rate, weight_decay, generator):
    optimizer = torch.optim.AdamW(_both(model, weight_decay), lr=peak_rate)
    share = lambda step: _rate(min(step, steps - 1), steps, warmup, 1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


@training.alternative
def train_with_decay_by_hand(model, images, labels, steps, warmup, batch_size, peak_rate, weight_decay, generator):
    """AdamW is Adam plus a shrinking of the weights, and the shrinking can be done by hand."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    losses = torch.zeros(steps)
    for step in range(steps):
        rate = optimizer.param_groups[0]["lr"] = _rate(step, steps, warmup, peak_rate)
        chosen = torch.randint(0, images.shape[0], (batch_size,), generator=generator)
        loss = -F.log_softmax(model(images[chosen]), dim=1).gather(1, labels[chosen][:, None]).mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * weight_decay)
        optimizer.step()
        losses[step] = loss.detach()
    return losses
