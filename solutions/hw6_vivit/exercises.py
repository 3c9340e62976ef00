"""Homework 6: ViViT's four models and TimeSformer's attention, on clips in which only the order of frames tells.

The right answers stand in ``hw6_vivit.py``. Here, exercise by exercise: the inputs it is tried on, the mistakes
people make with the sentence that names each, and other right answers.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import nn

from course.checks import Accuracy, Call, Credit, Draw, Homework, Probe, Seeded
from course.checks.exercise import Mistake
from course.data import load

homework = Homework(
    "hw6_vivit",
    forbidden=("torch.nn.functional.scaled_dot_product_attention",),
    # A forward pass whose gradient is cut off is most of the work, and useless for training: it earns eight tenths.
    credit=Credit(shape=0.1, values=0.7, gradients=0.2),
)


def shuffled(draw: Draw, *values: int) -> list[int]:
    """The values in a random order."""
    return [values[i] for i in torch.randperm(len(values), generator=draw.generator)]


# ------------------------------------------------------------------------------------------------------------
# 1. uniform_frames

sampling = homework.exercise(
    "uniform_frames",
    points=4,
    hints=(
        "Number the frames, `torch.arange(8.0).view(1, 8, 1, 1, 1)`, and print which are kept with k = 4: 2 and 6?",
        "Do the same with 6 frames and k = 3: 1 and 4? Which frame do you begin with, and how far is it to the next?",
    ),
)


@sampling.inputs
def _(draw: Draw):
    # Half of 4 - 1 is rounded to the even number as half of 6 - 1 is, but one up and one down.
    for every, T, gradients in ((4, 12, ("clips",)), (5, 10, ()), (6, 18, ())):
        B, C, H, W = shuffled(draw, 2, 3, 4, 5)
        yield Call("uniform_frames", {"clips": draw.normal(B, T, C, H, W), "every": every}, gradients=gradients)


@sampling.mistake(
    "You keep the first frame of every group. Asked for is the middle one: it stands for what happened before "
    "it and after it."
)
def first_of_each_group(clips, every):
    return clips[:, ::every]


@sampling.mistake("You keep the last frame of every group. Asked for is the middle one.")
def last_of_each_group(clips, every):
    return clips[:, every - 1 :: every]


@sampling.mistake(
    "For an odd number of frames in a group all is right. For an even one there are two in the middle, and you "
    "keep the earlier; the later is asked for."
)
def earlier_middle(clips, every):
    return clips[:, (every - 1) // 2 :: every]


@sampling.mistake(
    "You keep the right number of frames, but all from the beginning of the clip. They should be spread evenly "
    "over it, one from each group."
)
def beginning_of_the_clip(clips, every):
    return clips[:, : clips.shape[1] // every]


@sampling.mistake(
    "You keep neighbouring frames from the middle of the clip. They should be spread evenly over it, one from "
    "each group."
)
def middle_of_the_clip(clips, every):
    kept = clips.shape[1] // every
    start = (clips.shape[1] - kept) // 2
    return clips[:, start : start + kept]


@sampling.mistake(
    "You spread the frames from the very first to the very last one. Each should be the middle of its own "
    "group, so the ends of the clip are left out."
)
def from_end_to_end(clips, every):
    T = clips.shape[1]
    return clips[:, torch.linspace(0, T - 1, T // every).round().long()]


@sampling.mistake(
    "You take the mean of the frames of each group. That blurs what moves; sampling keeps one frame as it is."
)
def mean_of_each_group(clips, every):
    return clips.unflatten(1, (-1, every)).mean(dim=2)


@sampling.mistake(
    "You took `every` for the number of frames to keep. It is how many frames stand in a group, from which one is kept."
)
def step_taken_for_number(clips, every):
    step = clips.shape[1] // every
    return clips[:, step // 2 :: step]


@sampling.mistake(
    "You sampled the axis of the channels. A clip is (B, T, C, H, W): time is the second axis, the channels are "
    "the third."
)
def channels_sampled(clips, every):
    return clips[:, :, every // 2 :: every]


@sampling.mistake("You sampled the clips of the batch. A clip is (B, T, C, H, W): time is the second axis.")
def batch_sampled(clips, every):
    return clips[every // 2 :: every]


@sampling.alternative
def frames_by_groups(clips, every):
    return clips.unflatten(1, (-1, every))[:, :, every // 2]


@sampling.alternative
def frames_by_list(clips, every):
    T = clips.shape[1]
    return torch.stack([clips[:, start + every // 2] for start in range(0, T, every)], dim=1)


# ------------------------------------------------------------------------------------------------------------
# 2. fold_tubelets

folding = homework.exercise(
    "fold_tubelets",
    points=6,
    hints=(
        (
            "Print `fold_tubelets(numbered, 2, 2)[0, 0, 0, 0]`: it begins 0, 1, 4, 5, 8. Which number is the "
            "first that differs?"
        ),
        (
            "Write down all axes after the cutting: each of T, H and W has become two. Which four make up the "
            "last axis, and in which order?"
        ),
        "Take two channels and print one box: all frames of channel 0 come before those of channel 1.",
    ),
)


@folding.inputs
def _(draw: Draw):
    for t, p, (B, T, C), sides, gradients in (
        (2, 3, (3, 4, 2), (6, 9), ()),
        (3, 2, (2, 6, 3), (4, 8), ("clips",)),
    ):
        H, W = shuffled(draw, *sides)
        yield Call("fold_tubelets", {"clips": draw.normal(B, T, C, H, W), "t": t, "p": p}, gradients=gradients)


def _fold(pattern):
    return lambda clips, t, p: rearrange(clips, pattern, t=t, p=p, q=p)


for name, pattern, sentence in (
    (
        "frame_before_channel",
        "b (T t) c (h p) (w q) -> b T h w (t c p q)",
        "The boxes are right, but inside them the frame stands before the channel. PyTorch keeps the filters of a "
        "3-D convolution with the channel first, then the frame, so that order is asked for.",
    ),
    (
        "channel_last",
        "b (T t) c (h p) (w q) -> b T h w (t p q c)",
        "The boxes are right, but inside them the channel changes fastest. The order asked for is channel, frame, "
        "row, column.",
    ),
    (
        "frame_last",
        "b (T t) c (h p) (w q) -> b T h w (c p q t)",
        "The boxes are right, but inside them the frame changes fastest. The order asked for is channel, frame, row, "
        "column.",
    ),
    (
        "column_before_row",
        "b (T t) c (h p) (w q) -> b T h w (c t q p)",
        "The boxes are right, but each lies on its side: the column should change fastest inside a box, yours has "
        "the row.",
    ),
    (
        "every_other_frame",
        "b (t T) c (h p) (w q) -> b T h w (c t p q)",
        "Your boxes hold frames that lie far apart. When you cut the axis of time in two, the number of the box comes "
        "first, then the frame inside it: neighbours stay together.",
    ),
    (
        "every_other_pixel",
        "b (T t) c (p h) (q w) -> b T h w (c t p q)",
        "Your boxes hold pixels that lie far apart, like a comb. When you cut an axis of pixels in two, the number of "
        "the box comes first, then the pixel inside it.",
    ),
    (
        "grid_on_its_side",
        "b (T t) c (h p) (w q) -> b T w h (c t p q)",
        "The boxes are right, but your grid of them lies on its side: first the axis of H, then that of W.",
    ),
    (
        "one_row_of_tokens",
        "b (T t) c (h p) (w q) -> b (T h w) (c t p q)",
        "The numbers are right, but all boxes stand in one row already. Keep the three axes of time, height and "
        "width apart; later exercises need them.",
    ),
    (
        "one_frame_at_a_time",
        "b (T t) c (h p) (w q) -> b (T t) h w (c p q)",
        "You cut each frame by itself, into flat patches. A tubelet is t frames deep: they belong into one box.",
    ),
):
    variant = _fold(pattern)
    variant.__name__ = name
    folding.mistake(sentence)(variant)


@folding.mistake(
    "You pour the numbers into the new shape in the order they lie in, so a box gets whole rows of pixels from "
    "all over. Cut each axis in two first, and move the axes, before you flatten."
)
def poured(clips, t, p):
    B, T, C, H, W = clips.shape
    return clips.reshape(B, T // t, H // p, W // p, C * t * p * p)


@folding.mistake(
    "You average the t frames of a box. Then nobody can tell what moved inside it; all its numbers are to be "
    "kept, side by side."
)
def frames_averaged(clips, t, p):
    return reduce(clips, "b (T t) c (h p) (w q) -> b T h w (c p q)", "mean", t=t, p=p, q=p)


@folding.alternative
def fold_by_permute(clips, t, p):
    B, T, C, H, W = clips.shape
    boxes = clips.reshape(B, T // t, t, C, H // p, p, W // p, p).permute(0, 1, 4, 6, 3, 2, 5, 7)
    return boxes.flatten(4)


@folding.alternative
def fold_by_loops(clips, t, p):
    B, T, C, H, W = clips.shape
    places = [
        [
            [clips[:, i : i + t, :, j : j + p, k : k + p].transpose(1, 2).flatten(1) for k in range(0, W, p)]
            for j in range(0, H, p)
        ]
        for i in range(0, T, t)
    ]
    return torch.stack([torch.stack([torch.stack(row, 1) for row in rows], 1) for rows in places], 1)


@folding.alternative
def fold_by_unfold(clips, t, p):
    boxes = clips.unfold(1, t, t).unfold(3, p, p).unfold(4, p, p)  # (B, T/t, C, h, w, t, p, p)
    return boxes.movedim(2, 4).flatten(4)


# ------------------------------------------------------------------------------------------------------------
# 3. TubeletEmbedding

embedding = homework.exercise(
    "TubeletEmbedding",
    points=5,
    hints=(
        (
            "Print the shape that goes into `proj` and the one that comes out: (B, C, T, H, W) and (B, D, T/t, h, "
            "w)? Which axes have to change places before, and which after?"
        ),
        (
            "Print the shape of `proj.weight`: (D, C, t, p, p). Is the stride as long as the kernel in all three "
            "directions?"
        ),
        (
            "Run the cell below the check. If the shapes agree and the difference is large, an axis was reshaped "
            "where it had to be moved."
        ),
    ),
)


@embedding.inputs
def _(draw: Draw):
    for t, p, (B, T, C), sides, D, gradients in (
        (2, 3, (2, 4, 3), (6, 9), 5, ()),
        (3, 2, (3, 6, 2), (4, 8), 5, ("clips",)),
    ):
        H, W = shuffled(draw, *sides)
        filters = draw.normal(D, C, t, p, p) / (C * t * p * p) ** 0.5
        yield Call(
            "TubeletEmbedding",
            {"clips": draw.normal(B, T, C, H, W)},
            init={"in_channels": C, "embed_dim": D, "t": t, "p": p},
            parameters={"proj.weight": filters, "proj.bias": draw.normal(D)},
            gradients=gradients,
        )


class _Embedding(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    def __init__(self, in_channels, embed_dim, t, p):
        super().__init__()
        self.proj = nn.Conv3d(in_channels, embed_dim, (t, p, p), stride=self.strides(t, p))

    def strides(self, t, p):
        return t, p, p

    def before(self, clips):
        return clips.transpose(1, 2)

    def after(self, maps):
        return rearrange(maps, "b d t h w -> b t h w d")

    def forward(self, clips):
        return self.after(self.proj(self.before(clips)))


@embedding.mistake(
    "You made room for the channels before the time by a reshape. That only pours the numbers into another box, "
    "frames and channels get mixed; swap the two axes instead."
)
class ReshapedBefore(_Embedding):
    def before(self, clips):
        B, T, C, H, W = clips.shape
        return clips.reshape(B, C, T, H, W)


@embedding.mistake(
    "The convolution is right, but its result is poured into the last shape by a reshape. The axis D must be moved "
    "to the end, so that each token keeps its own numbers."
)
class ReshapedAfter(_Embedding):
    def after(self, maps):
        B, D, T, h, w = maps.shape
        return maps.reshape(B, T, h, w, D)


@embedding.mistake(
    "Both before and after the convolution you reshape where axes have to be moved: first frames and channels get "
    "mixed, then the tokens."
)
class ReshapedBoth(ReshapedBefore, ReshapedAfter):
    pass


@embedding.mistake(
    "Your boxes overlap in time: the convolution moves on by one frame only. Its stride is as long as its kernel in "
    "all three directions."
)
class OverlapInTime(_Embedding):
    def strides(self, t, p):
        return 1, p, p


@embedding.mistake(
    "Your boxes overlap in the image: the convolution moves on by one pixel only. Its stride is as long as its "
    "kernel in all three directions."
)
class OverlapInSpace(_Embedding):
    def strides(self, t, p):
        return t, 1, 1


@embedding.mistake(
    "Your convolution has no stride, so it makes a token at every frame and every pixel. Its stride is as long as "
    "its kernel: each box is read once."
)
class NoStride(_Embedding):
    def strides(self, t, p):
        return 1, 1, 1


@embedding.mistake(
    "The numbers are right, but the axis D is still where the convolution put it, in second place. Tokens have "
    "their D numbers last: (B, T/t, H/p, W/p, D)."
)
class ChannelsSecond(_Embedding):
    def after(self, maps):
        return maps


@embedding.mistake(
    "You swapped the axes D and time back after the convolution, so D stands in third place. It belongs at the very "
    "end: (B, T/t, H/p, W/p, D)."
)
class ChannelsThird(_Embedding):
    def after(self, maps):
        return maps.transpose(1, 2)


@embedding.mistake(
    "The numbers are right, but the tokens already stand in one row. Keep time, height and width apart: the models "
    "below need them."
)
class InOneRow(_Embedding):
    def after(self, maps):
        return rearrange(maps, "b d t h w -> b (t h w) d")


@embedding.mistake(
    "There is a ReLU (or the like) behind your convolution. An embedding is linear: half of what it says is "
    "negative, and that is meant."
)
class Rectified(_Embedding):
    def after(self, maps):
        return super().after(maps.relu())


@embedding.alternative
class EmbeddingByFolding(_Embedding):
    def forward(self, clips):
        t, p, q = self.proj.kernel_size
        boxes = rearrange(clips, "b (T t) c (h p) (w q) -> b T h w (c t p q)", t=t, p=p, q=q)
        return F.linear(boxes, self.proj.weight.flatten(1), self.proj.bias)


@embedding.alternative
class EmbeddingByPermute(_Embedding):
    def forward(self, clips):
        weight, bias = self.proj.weight, self.proj.bias
        return F.conv3d(clips.permute(0, 2, 1, 3, 4), weight, bias, stride=weight.shape[2:]).permute(0, 2, 3, 4, 1)


# ------------------------------------------------------------------------------------------------------------
# 4. central_frame_filters and inflated_filters

filters = homework.exercise(
    "filters_from_an_image_model",
    points=5,
    targets=("central_frame_filters", "inflated_filters"),
    hints=(
        (
            "For one filter of one pixel, value 6, and t = 3, print the three numbers: 0, 6, 0 for the central "
            "one. For the inflated one, do they sum to 6?"
        ),
        "Take t = 4: which frame is the central one, by t // 2? And is time the third of the five axes?",
        (
            "On a still clip both must say what the image model says: run the cell below the check and compare "
            "the rows of its first panel."
        ),
    ),
)


@filters.inputs
def _(draw: Draw):
    for target, t in (("central_frame_filters", 6), ("central_frame_filters", 7), ("inflated_filters", 6)):
        D, C, p, q = shuffled(draw, 2, 3, 4, 5)  # a filter need not be square, though it mostly is
        yield Call(target, {"image_filters": draw.normal(D, C, p, q), "t": t})


def _at_frame(image_filters, t, frame, factor=1.0):
    return torch.stack([image_filters * factor * (i == frame) for i in range(t)], dim=2)


def _everywhere(image_filters, t, factor=1.0):
    return torch.stack([image_filters * factor] * t, dim=2)


def inflated_right(image_filters, t):
    return _everywhere(image_filters, t, 1 / t)


def central_right(image_filters, t):
    return _at_frame(image_filters, t, t // 2)


@filters.mistake(
    "For an odd t all is right. For an even one there are two frames in the middle, and your central frame is the "
    "earlier; the paper's is t / 2, the later."
)
def central_too_early(image_filters, t):
    return _at_frame(image_filters, t, (t - 1) // 2)


@filters.mistake("central_frame_filters puts the image's filter at the first frame. It belongs at the central one.")
def central_first(image_filters, t):
    return _at_frame(image_filters, t, 0)


@filters.mistake("central_frame_filters puts the image's filter at the last frame. It belongs at the central one.")
def central_last(image_filters, t):
    return _at_frame(image_filters, t, t - 1)


@filters.mistake("central_frame_filters counts the central frame one too late: frames are counted from 0.")
def central_too_late(image_filters, t):
    return _at_frame(image_filters, t, t // 2 + 1)


@filters.mistake(
    "central_frame_filters weakens the filter by t as well. Only one frame is looked at, so nothing adds up: on a "
    "still clip the image model's token must come out whole."
)
def central_divided(image_filters, t):
    return _at_frame(image_filters, t, t // 2, 1 / t)


@filters.mistake(
    "central_frame_filters has the image's filter at all frames. The others are zero at the start: what they are "
    "good for is learned."
)
def central_everywhere(image_filters, t):
    return _everywhere(image_filters, t)


@filters.mistake(
    "In central_frame_filters the new axis stands before the channels. PyTorch's 3-D filters are (D, C, t, p, p): "
    "frame after channel."
)
def central_wrong_axis(image_filters, t):
    return _at_frame(image_filters, t, t // 2).transpose(1, 2)


@filters.mistake(
    "inflated_filters repeats the filter and leaves it as strong as it was, so t frames add up to t times the image "
    "model's token. On a still clip the token itself must come out.",
    target="inflated_filters",
)
def inflated_too_strong(image_filters, t):
    return _everywhere(image_filters, t)


@filters.mistake(
    "inflated_filters divides by the square root of t. Here the same filter is added up t times, not independent "
    "noise: it adds up to t, so t is what to divide by.",
    target="inflated_filters",
)
def inflated_by_root(image_filters, t):
    return _everywhere(image_filters, t, t**-0.5)


@filters.mistake(
    "inflated_filters has the image's filter at one frame only. Inflating means that each frame gets its share.",
    target="inflated_filters",
)
def inflated_at_one_frame(image_filters, t):
    return _at_frame(image_filters, t, t // 2)


@filters.mistake(
    "In inflated_filters the new axis stands before the channels. PyTorch's 3-D filters are (D, C, t, p, p): frame "
    "after channel.",
    target="inflated_filters",
)
def inflated_wrong_axis(image_filters, t):
    return _everywhere(image_filters, t, 1 / t).transpose(1, 2)


@filters.mistake(
    "inflated_filters draws new random filters. The image model's filters are to be used: what they learned is the "
    "point.",
    target="inflated_filters",
)
def inflated_random(image_filters, t):
    D, C, p, q = image_filters.shape
    return nn.init.kaiming_uniform_(torch.empty(D, C, t, p, q), a=5**0.5)


filters.mistakes.append(
    Mistake(
        "Your two functions have changed names: the one with zeros is the central frame, the one with equal shares is "
        "the inflated.",
        {"central_frame_filters": inflated_right, "inflated_filters": central_right},
    )
)


@filters.alternative
def central_by_one_hot(image_filters, t):
    here = F.one_hot(torch.tensor(t // 2), t).float()
    return torch.einsum("dcpq,t->dctpq", image_filters, here)


@filters.alternative(target="inflated_filters")
def inflated_by_repeat(image_filters, t):
    return repeat(image_filters / t, "d c p q -> d c t p q", t=t)


@filters.alternative(target="inflated_filters")
def inflated_by_expand(image_filters, t):
    return image_filters[:, :, None].expand(-1, -1, t, -1, -1) / t


# ------------------------------------------------------------------------------------------------------------
# 5. ClipTokens and SpatioTemporalEncoder

joint = homework.exercise(
    "SpatioTemporalEncoder",
    points=6,
    targets=("ClipTokens", "SpatioTemporalEncoder"),
    hints=(
        (
            "For `ClipTokens`, number the tokens of T = 2 frames of one row with two places: do they come as "
            "class, a, b, c, d?"
        ),
        (
            "Print the shapes: (B, N, D), with the class token (B, 1 + N, D), `positions` (1, 1 + N, D). Are the "
            "positions added after the class token is in front?"
        ),
        "For the encoder: which token goes through `norm` and `head`? Print its shape, (B, D), and `norm.eps`.",
    ),
)


@joint.inputs
def _(draw: Draw):
    B, D, classes = 5, 6, 7
    T, h, w = shuffled(draw, 2, 3, 4)
    N = T * h * w
    yield Call(
        "ClipTokens",
        {"x": draw.normal(B, T, h, w, D)},
        init={"num_tokens": N, "embed_dim": D},
        parameters={"class_token": draw.normal(1, 1, D), "positions": draw.normal(1, 1 + N, D)},
        gradients=("x",),
    )
    for size in (1.0, 0.003):  # of what the blocks give: where it is small, the eps of the norm shows
        T, h, w = shuffled(draw, 2, 3, 4)
        mixing = size * draw.normal(D, D) / D**0.5
        yield Call(
            "SpatioTemporalEncoder",
            {"x": draw.normal(B, T, h, w, D)},
            init={
                "blocks": Probe("token_mixer", {"weight": mixing}),
                "num_tokens": N,
                "embed_dim": D,
                "num_classes": classes,
            },
            parameters={
                "tokens.class_token": draw.normal(1, 1, D),
                "tokens.positions": draw.normal(1, 1 + N, D),
                "blocks.weight": mixing,
                **draw.norm("norm", D),
                **draw.linear("head", D, classes),
            },
            gradients=("x",) if size == 1 else (),
        )


class _Tokens(nn.Module):
    """Right; each mistake below spoils a piece."""

    def __init__(self, num_tokens, embed_dim):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + num_tokens, embed_dim))

    def row(self, x):
        return rearrange(x, "b t h w d -> b (t h w) d")

    def forward(self, x):
        x = self.row(x)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions


class _Encoder(nn.Module):
    Tokens = _Tokens
    eps = 1e-6

    def __init__(self, blocks, num_tokens, embed_dim, num_classes):
        super().__init__()
        self.tokens = self.Tokens(num_tokens, embed_dim)
        self.blocks = blocks
        self.norm = nn.LayerNorm(embed_dim, eps=self.eps)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x))[:, 0]))


def tokens_mistake(sentence):
    """A wrong ClipTokens, with the encoder that a student would then have: right, but with wrong tokens."""

    def register(Tokens):
        encoder = type("EncoderOf" + Tokens.__name__, (_Encoder,), {"Tokens": Tokens})
        joint.mistakes.append(Mistake(sentence, {"ClipTokens": Tokens, "SpatioTemporalEncoder": encoder}))
        return Tokens

    return register


@joint.mistake(
    "SpatioTemporalEncoder: the eps of your norm is torch's own, 0.00001. The text asks for 0.000001; where the numbers of "
    "the class token are nearly equal, that shows.",
    target="SpatioTemporalEncoder",
)
class EncoderUsualEps(_Encoder):
    eps = 1e-5


@tokens_mistake(
    "In your row of tokens time changes fastest. Frame after frame is asked for: the column changes fastest, then "
    "the row, time slowest."
)
class TimeFastest(_Tokens):
    def row(self, x):
        return rearrange(x, "b t h w d -> b (h w t) d")


@tokens_mistake(
    "In your row of tokens the row of the image changes fastest. The column does, as in reading, then the row, then "
    "time."
)
class RowFastest(_Tokens):
    def row(self, x):
        return rearrange(x, "b t h w d -> b (t w h) d")


@tokens_mistake("Your class token stands at the end. It belongs in front, and so does its position.")
class ClassAtTheEnd(_Tokens):
    def forward(self, x):
        x = self.row(x)
        return torch.cat([x, self.class_token.expand(len(x), -1, -1)], dim=1) + self.positions


@tokens_mistake(
    "Your class token has no position. It has one as well, the first row of positions: they are counted after it has "
    "joined."
)
class ClassWithoutPosition(_Tokens):
    def forward(self, x):
        x = self.row(x) + self.positions[:, 1:]
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)


@tokens_mistake(
    "Your patches take the positions from the first row on, and the class token takes the last. The class token "
    "stands in front, so the first row is its own."
)
class PositionsShifted(_Tokens):
    def forward(self, x):
        return super().forward(x) - self.positions + self.positions.roll(1, dims=1)


@tokens_mistake("Positions are never added: your model cannot know where, or when, a token was.")
class NoPositions(_Tokens):
    def forward(self, x):
        return super().forward(x) - self.positions


@tokens_mistake(
    "Your class token is added to all the tokens, and is not one of them. It joins the row as a token of its own, in "
    "front."
)
class ClassAdded(_Tokens):
    def forward(self, x):
        x = self.row(x)
        return torch.cat([torch.zeros_like(x[:, :1]), x], dim=1) + self.class_token + self.positions


@tokens_mistake(
    "Your positions are multiplied with the tokens. They are added: the token keeps what it is and learns where it is."
)
class PositionsMultiplied(_Tokens):
    def forward(self, x):
        return (super().forward(x) - self.positions) * self.positions


@joint.mistake(
    "Your encoder averages all tokens at the end. This model reads its class token alone.",
    target="SpatioTemporalEncoder",
)
class MeanOfAll(_Encoder):
    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x)).mean(dim=1)))


@joint.mistake(
    "Your encoder reads the last token at the end, a patch. The class token stands first.",
    target="SpatioTemporalEncoder",
)
class LastToken(_Encoder):
    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x))[:, -1]))


@joint.mistake(
    "Your encoder has no norm before the head. After pre-norm blocks the stream has any size; the last norm brings it "
    "back.",
    target="SpatioTemporalEncoder",
)
class NoLastNorm(_Encoder):
    def forward(self, x):
        return self.head(self.blocks(self.tokens(x))[:, 0])


@joint.mistake(
    "Your norm stands before the blocks. They have norms of their own inside; this one comes after the last block.",
    target="SpatioTemporalEncoder",
)
class NormFirst(_Encoder):
    def forward(self, x):
        return self.head(self.blocks(self.norm(self.tokens(x)))[:, 0])


@joint.mistake(
    "The tokens never go through the blocks in your encoder: the class token comes out as it went in.",
    target="SpatioTemporalEncoder",
)
class BlocksForgotten(_Encoder):
    def forward(self, x):
        return self.head(self.norm(self.tokens(x)[:, 0]))


@joint.mistake(
    "Your encoder returns scores for every token. Those of the class token are asked for, one row a clip.",
    target="SpatioTemporalEncoder",
)
class ScoresOfAll(_Encoder):
    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x))))


@joint.alternative
class TokensInPlace(_Tokens):
    def forward(self, x):
        x = x.flatten(1, 3) + self.positions[:, 1:]
        first = (self.class_token + self.positions[:, :1]).repeat(len(x), 1, 1)
        return torch.cat((first, x), dim=1)


@joint.alternative(target="SpatioTemporalEncoder")
class EncoderNormsAll(_Encoder):
    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x))))[:, 0]


# ------------------------------------------------------------------------------------------------------------
# 6. attend_over_space and attend_over_time

axes = homework.exercise(
    "attend_over_space_and_time",
    points=6,
    targets=("attend_over_space", "attend_over_time"),
    hints=(
        (
            "Hand in an attention that only looks, `def spy(x): print(x.shape); return x`. Over space it should "
            "see (B·T, S, D), over time (B·S, T, D)."
        ),
        "With such a spy, both functions must return x itself. Does every token come back to its place?",
        (
            "Print which tokens stand in one group over time, for three frames of two places: a, c, e. A reshape "
            "alone groups what lies side by side in memory: what has to come before it, and after?"
        ),
    ),
)


@axes.inputs
def _(draw: Draw):
    for target in ("attend_over_space", "attend_over_time"):
        for _ in range(2):
            T, S, D = shuffled(draw, 3, 4, 5)
            attention = Probe("token_mixer", {"weight": draw.normal(D, D) / D**0.5})
            yield Call(target, {"x": draw.normal(2, T, S, D), "attention": attention}, gradients=("x",))


def over_space(x, attention):
    return attention(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def over_time(x, attention):
    return over_space(x.transpose(1, 2), attention).transpose(1, 2)


def over_all(x, attention):
    return attention(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


axes.mistake(
    "attend_over_space looks along time: your batch holds places, each with its T moments. For space the axis S stays "
    "the axis of the tokens, and T is folded into the batch."
)(over_time)


@axes.mistake(
    "attend_over_space lets all tokens of a clip see each other, as Model 1 does: T stands with the tokens. To keep the "
    "frames apart, T has to be in the batch."
)
def all_for_space(x, attention):
    return over_all(x, attention)


@axes.mistake(
    "In attend_over_space you fold with time first and the clips second, but unfold the other way round: frames come "
    "back to the wrong clips. Fold and unfold in the same order."
)
def space_comes_back_elsewhere(x, attention):
    return attention(rearrange(x, "b t s d -> (t b) s d")).unflatten(0, x.shape[:2])


@axes.mistake(
    "attend_over_space returns the frames still folded into the batch. Give the clips their axis of time back."
)
def space_still_folded(x, attention):
    return attention(x.flatten(0, 1))


@axes.mistake(
    "attend_over_space adds x to its result. The residual is a matter for the block, which also has a norm before it."
)
def space_with_residual(x, attention):
    return x + over_space(x, attention)


@axes.mistake(
    "attend_over_space pours the tokens into groups of S although the axes S and T have changed places: a group then "
    "holds several frames."
)
def space_after_a_swap(x, attention):
    B, T, S, D = x.shape
    return attention(x.transpose(1, 2).reshape(B * T, S, D)).reshape(B, S, T, D).transpose(1, 2)


@axes.mistake(
    "attend_over_time looks inside the frames: it folds T into the batch. For time the axis T stays the axis of the "
    "tokens, and S is folded into the batch.",
    target="attend_over_time",
)
def space_for_time(x, attention):
    return over_space(x, attention)


@axes.mistake(
    "attend_over_time lets all tokens of a clip see each other: S stands with the tokens. To keep the places apart, S "
    "has to be in the batch.",
    target="attend_over_time",
)
def all_for_time(x, attention):
    return over_all(x, attention)


@axes.mistake(
    "attend_over_time makes its groups by a mere reshape, there and back. In memory the neighbours of a token are the "
    "places of its own frame; S must be moved in front of T first, and back afterwards.",
    target="attend_over_time",
)
def time_by_reshape(x, attention):
    B, T, S, D = x.shape
    return attention(x.reshape(B * S, T, D)).reshape(B, T, S, D)


@axes.mistake(
    "attend_over_time groups the tokens well, but comes back by a mere reshape: what belongs to a place ends up in a "
    "frame. After unfolding, T and S have to change places again.",
    target="attend_over_time",
)
def time_back_by_reshape(x, attention):
    B, T, S, D = x.shape
    return attention(rearrange(x, "b t s d -> (b s) t d")).reshape(B, T, S, D)


@axes.mistake(
    "attend_over_time makes its groups by a mere reshape. In memory the neighbours of a token are the places of its "
    "own frame, so S must be moved in front of T before it is folded into the batch.",
    target="attend_over_time",
)
def time_in_by_reshape(x, attention):
    B, T, S, D = x.shape
    return rearrange(attention(x.reshape(B * S, T, D)), "(b s) t d -> b t s d", b=B)


@axes.mistake(
    "In attend_over_time you fold with the places first and the clips second, but unfold the other way round: tokens "
    "come back to the wrong clips. Fold and unfold in the same order.",
    target="attend_over_time",
)
def time_comes_back_elsewhere(x, attention):
    return rearrange(attention(rearrange(x, "b t s d -> (s b) t d")), "(b s) t d -> b t s d", b=len(x))


@axes.mistake(
    "attend_over_time returns (B, S, T, D), its places before its moments. T and S have to change places again.",
    target="attend_over_time",
)
def time_left_swapped(x, attention):
    return over_space(x.transpose(1, 2), attention)


@axes.mistake(
    "attend_over_time returns the places still folded into the batch. Give the frames their places back.",
    target="attend_over_time",
)
def time_still_folded(x, attention):
    return attention(rearrange(x, "b t s d -> (b s) t d"))


axes.mistakes.append(
    Mistake(
        "Your two functions have changed names: what is folded into the batch is kept apart, so the one that folds T looks "
        "over space.",
        {"attend_over_space": over_time, "attend_over_time": over_space},
    )
)
axes.mistakes.append(
    Mistake(
        "Both functions let all tokens of a clip see each other, as Model 1 does. The axis that is to be kept apart belongs "
        "in the batch.",
        {"attend_over_space": over_all, "attend_over_time": over_all},
    )
)


@axes.alternative
def space_frame_by_frame(x, attention):
    return torch.stack([attention(x[:, t]) for t in range(x.shape[1])], dim=1)


@axes.alternative
def space_the_other_order(x, attention):
    return rearrange(attention(rearrange(x, "b t s d -> (t b) s d")), "(t b) s d -> b t s d", b=len(x))


@axes.alternative(target="attend_over_time")
def time_place_by_place(x, attention):
    return torch.stack([attention(x[:, :, s]) for s in range(x.shape[2])], dim=2)


@axes.alternative(target="attend_over_time")
def time_by_permute(x, attention):
    B, T, S, D = x.shape
    places = x.permute(0, 2, 1, 3).reshape(B * S, T, D)
    return attention(places).reshape(B, S, T, D).permute(0, 2, 1, 3)


# ------------------------------------------------------------------------------------------------------------
# 7. FactorisedEncoder

late = homework.exercise(
    "FactorisedEncoder",
    points=8,
    hints=(
        (
            "Print names and shapes of the parameters beside the list above: `space_positions` has 1 + S rows, "
            "`time_positions` 1 + T."
        ),
        (
            "Print the shape after each step: (B·T, 1 + S, D), one vector a frame (B, T, D), (B, 1 + T, D), (B, "
            "D). Which is the first that differs?"
        ),
        (
            "Which token is read after the first transformer, and is it normed before it goes on? Does the vector "
            "of frame t of clip b stand at [b, t]?"
        ),
    ),
)


@late.inputs
def _(draw: Draw):
    for gradients, size in (
        (("x",), 1.0),
        ((), 1.0),
        ((), 0.003),
    ):  # where the blocks give little, the eps of the norms shows
        T, S, D = shuffled(draw, 3, 4, 6)
        classes = 5
        space, time = size * draw.normal(D, D) / D**0.5, size * draw.normal(D, D) / D**0.5
        weights = {
            "space_class": draw.normal(1, 1, D),
            "space_positions": draw.normal(1, 1 + S, D),
            "space_blocks.weight": space,
            **draw.norm("space_norm", D),
            "time_class": draw.normal(1, 1, D),
            "time_positions": draw.normal(1, 1 + T, D),
            "time_blocks.weight": time,
            **draw.norm("time_norm", D),
            **draw.linear("head", D, classes),
        }
        yield Call(
            "FactorisedEncoder",
            {"x": draw.normal(2, T, S, D)},
            init={
                "space_blocks": Probe("token_mixer", {"weight": space}),
                "time_blocks": Probe("token_mixer", {"weight": time}),
                "num_frames": T,
                "num_patches": S,
                "embed_dim": D,
                "num_classes": classes,
            },
            parameters=weights,
            gradients=gradients,
        )


def joined(first, x):
    """A class token (1, 1, D) in front of x (B, N, D)."""
    return torch.cat([first.expand(len(x), -1, -1), x], dim=1)


class _Late(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    eps = 1e-6

    def __init__(self, space_blocks, time_blocks, num_frames, num_patches, embed_dim, num_classes):
        super().__init__()
        self.space_class = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.space_positions = nn.Parameter(torch.zeros(1, 1 + num_patches, embed_dim))
        self.space_blocks = space_blocks
        self.space_norm = nn.LayerNorm(embed_dim, eps=self.eps)
        self.time_class = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.time_positions = nn.Parameter(torch.zeros(1, 1 + num_frames, embed_dim))
        self.time_blocks = time_blocks
        self.time_norm = nn.LayerNorm(embed_dim, eps=self.eps)
        self.head = nn.Linear(embed_dim, num_classes)

    def fold(self, x):
        return x.flatten(0, 1)

    def of_space(self, frames):  # (B·T, S, D) -> (B·T, D)
        return self.space_norm(self.space_blocks(joined(self.space_class, frames) + self.space_positions)[:, 0])

    def of_time(self, moments):  # (B, T, D) -> (B, D)
        return self.time_norm(self.time_blocks(joined(self.time_class, moments) + self.time_positions)[:, 0])

    def unfold(self, moments, x):
        return moments.unflatten(0, x.shape[:2])

    def forward(self, x):
        return self.head(self.of_time(self.unfold(self.of_space(self.fold(x)), x)))


@late.mistake(
    "The eps of your norms is torch's own, 0.00001. The text asks for 0.000001; where the numbers of a token are nearly "
    "equal, that shows."
)
class LateUsualEps(_Late):
    eps = 1e-5


@late.mistake(
    "Your frames come back to the wrong clips: they are folded with time first and unfolded with the clips first. Fold "
    "and unfold in the same order."
)
class FramesOfOtherClips(_Late):
    def fold(self, x):
        return x.transpose(0, 1).flatten(0, 1)


@late.mistake("A frame is the mean of its tokens in your model. Its class token speaks for it, and it alone.")
class MeanOfAFrame(_Late):
    def of_space(self, frames):
        return self.space_norm(self.space_blocks(joined(self.space_class, frames) + self.space_positions)).mean(dim=1)


@late.mistake("The clip is the mean of its moments in your model. The second class token speaks for it, and it alone.")
class MeanOfTheMoments(_Late):
    def of_time(self, moments):
        return self.time_norm(self.time_blocks(joined(self.time_class, moments) + self.time_positions)).mean(dim=1)


@late.mistake(
    "Your second transformer is never used: the frames are just averaged. Their order is then lost, and with it every "
    "motion that can be played backwards."
)
class FramesAveraged(_Late):
    def of_time(self, moments):
        return self.time_norm(moments.mean(dim=1))


@late.mistake("time_positions are never added. Without them the second transformer sees a bag of frames, in no order.")
class NoTimePositions(_Late):
    def of_time(self, moments):
        return self.time_norm(self.time_blocks(joined(self.time_class, moments))[:, 0])


@late.mistake("space_positions are never added. Without them a frame is a bag of patches, in no order.")
class NoSpacePositions(_Late):
    def of_space(self, frames):
        return self.space_norm(self.space_blocks(joined(self.space_class, frames))[:, 0])


@late.mistake(
    "The moments go to the second transformer without space_norm. The first one is a whole ViT: its class token is normed "
    "before it is read."
)
class NoSpaceNorm(_Late):
    def of_space(self, frames):
        return self.space_blocks(joined(self.space_class, frames) + self.space_positions)[:, 0]


@late.mistake("The head reads the clip without time_norm: the last norm is missing.")
class NoTimeNorm(_Late):
    def of_time(self, moments):
        return self.time_blocks(joined(self.time_class, moments) + self.time_positions)[:, 0]


@late.mistake("space_norm is used twice, and time_norm not at all. Each of the two transformers has a norm of its own.")
class OneNormForBoth(_Late):
    def of_time(self, moments):
        return self.space_norm(self.time_blocks(joined(self.time_class, moments) + self.time_positions)[:, 0])


@late.mistake(
    "The second transformer has no class token of its own: your model reads the first moment. time_class joins in front, "
    "and is read at the end."
)
class NoTimeClass(_Late):
    def of_time(self, moments):
        return self.time_norm(self.time_blocks(moments + self.time_positions[:, 1:])[:, 0])


@late.mistake(
    "space_class goes in front of the moments too, and time_class is never used. Each of the two transformers has a class "
    "token of its own."
)
class OneClassForBoth(_Late):
    def of_time(self, moments):
        return self.time_norm(self.time_blocks(joined(self.space_class, moments) + self.time_positions)[:, 0])


@late.mistake(
    "Your class token over time has no position. Positions are added after it has joined: the first row of time_positions "
    "is its own."
)
class TimeClassWithoutPosition(_Late):
    def of_time(self, moments):
        return self.time_norm(self.time_blocks(joined(self.time_class, moments + self.time_positions[:, 1:]))[:, 0])


@late.mistake(
    "Your class token over space has no position. Positions are added after it has joined: the first row of "
    "space_positions is its own."
)
class SpaceClassWithoutPosition(_Late):
    def of_space(self, frames):
        return self.space_norm(self.space_blocks(joined(self.space_class, frames + self.space_positions[:, 1:]))[:, 0])


@late.mistake(
    "The two transformers have changed places: the blocks that are meant for space work over time, and the other way "
    "round."
)
class BlocksSwapped(_Late):
    def forward(self, x):
        self.space_blocks, self.time_blocks = self.time_blocks, self.space_blocks
        try:
            return super().forward(x)
        finally:
            self.space_blocks, self.time_blocks = self.time_blocks, self.space_blocks


@late.mistake("At the end of each transformer you read the last token, not the class token, which stands in front.")
class LastTokensRead(_Late):
    def of_space(self, frames):
        return self.space_norm(self.space_blocks(joined(self.space_class, frames) + self.space_positions)[:, -1])

    def of_time(self, moments):
        return self.time_norm(self.time_blocks(joined(self.time_class, moments) + self.time_positions)[:, -1])


@late.alternative
class FrameByFrame(_Late):
    """Loops over the frames, and adds the positions in two pieces."""

    def forward(self, x):
        place = self.space_positions
        moments = []
        for t in range(x.shape[1]):
            first = (self.space_class + place[:, :1]).repeat(len(x), 1, 1)
            moments.append(self.space_blocks(torch.cat([first, x[:, t] + place[:, 1:]], dim=1))[:, 0])
        return self.head(self.of_time(self.space_norm(torch.stack(moments, dim=1))))


@late.alternative
class TimeInFront(_Late):
    """Folds with time in front, and back in the same order."""

    def forward(self, x):
        moments = self.of_space(rearrange(x, "b t s d -> (t b) s d"))
        return self.head(self.of_time(rearrange(moments, "(t b) d -> b t d", b=len(x))))


# ------------------------------------------------------------------------------------------------------------
# 8. FactorisedBlock

block = homework.exercise(
    "FactorisedBlock",
    points=5,
    hints=(
        (
            "Hand in two attentions that return zeros, and set weight and bias of `fc2` to zero: does the block "
            "return x itself? If not, look at the three sums."
        ),
        (
            "Return after the first of the three steps and compare with the drawing, then after the second. Does "
            "each norm read the stream as it is now, or as it came in?"
        ),
        (
            "Print the eps of the three norms. Which attention looks over space, which over time, and which of "
            "them comes first?"
        ),
    ),
)

_KEPT = [f"{norm}.{kind}" for norm in ("norm_space", "norm_time", "norm_mlp") for kind in ("weight", "bias")]
AS_SEQUENTIAL = {
    **{name: [name] for name in (*_KEPT, "space_attention.weight", "time_attention.weight")},
    "mlp.0.weight": ["fc1.weight"],
    "mlp.0.bias": ["fc1.bias"],
    "mlp.2.weight": ["fc2.weight"],
    "mlp.2.bias": ["fc2.bias"],
}


@block.inputs
def _(draw: Draw):
    # In a stream that is small, and stays small, the eps of the norms shows.
    for mlp_ratio, gradients, size in ((2, ("x",), 1.0), (3, (), 1.0), (2, (), 0.003)):
        T, S, D = shuffled(draw, 3, 4, 5)
        space, time = size * draw.normal(D, D) / D**0.5, size * draw.normal(D, D) / D**0.5
        weights = {
            **draw.norm("norm_space", D),
            "space_attention.weight": space,
            **draw.norm("norm_time", D),
            "time_attention.weight": time,
            **draw.norm("norm_mlp", D),
            **draw.linear("fc1", D, mlp_ratio * D),
            **draw.linear("fc2", mlp_ratio * D, D),
        }
        yield Call(
            "FactorisedBlock",
            {"x": size * draw.normal(2, T, S, D)},
            init={
                "embed_dim": D,
                "space_attention": Probe("token_mixer", {"weight": space}),
                "time_attention": Probe("token_mixer", {"weight": time}),
                "mlp_ratio": mlp_ratio,
            },
            parameters=weights,
            layouts=(AS_SEQUENTIAL,),
            gradients=gradients,
        )


class _Parts(nn.Module):
    """The right parts; each mistake below wires them in its own way."""

    eps = 1e-6

    def __init__(self, embed_dim, space_attention, time_attention, mlp_ratio):
        super().__init__()
        self.norm_space, self.norm_time, self.norm_mlp = (nn.LayerNorm(embed_dim, eps=self.eps) for _ in range(3))
        self.space_attention, self.time_attention = space_attention, time_attention
        self.fc1 = nn.Linear(embed_dim, mlp_ratio * embed_dim)
        self.fc2 = nn.Linear(mlp_ratio * embed_dim, embed_dim)

    def space(self, x):
        return over_space(x, self.space_attention)

    def time(self, x):
        return over_time(x, self.time_attention)

    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(x)))

    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake(
    "The eps of your norms is torch's own, 0.00001. The text asks for 0.000001; where the numbers of a token are nearly "
    "equal, that shows."
)
class BlockUsualEps(_Parts):
    eps = 1e-5


@block.mistake("Time comes first in your block, and space second. Model 3 looks at the frame first.")
class TimeFirst(_Parts):
    def forward(self, x):
        x = x + self.time(self.norm_time(x))
        x = x + self.space(self.norm_space(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake(
    "Space and time both read the x that came in, side by side. Here they work one after the other: what a frame brought "
    "together is then carried through time."
)
class SpaceBesideTime(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x)) + self.time(self.norm_time(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("Both attentions of your block let all tokens of the clip see each other: nothing is factorised.")
class BothJoint(_Parts):
    def space(self, x):
        return over_all(x, self.space_attention)

    def time(self, x):
        return over_all(x, self.time_attention)


@block.mistake(
    "Your attention over time makes its groups by a mere reshape. In memory the neighbours of a token are the places of "
    "its own frame: S must be moved in front of T first, and back afterwards."
)
class TimeByReshape(_Parts):
    def time(self, x):
        return time_by_reshape(x, self.time_attention)


@block.mistake(
    "The axes have changed places: your space_attention looks along time, and your time_attention inside the frames."
)
class AxesSwapped(_Parts):
    def space(self, x):
        return over_time(x, self.space_attention)

    def time(self, x):
        return over_space(x, self.time_attention)


@block.mistake("space_attention does both jobs in your block, and time_attention none. Each has weights of its own.")
class OneAttentionForBoth(_Parts):
    def time(self, x):
        return over_time(x, self.space_attention)


@block.mistake(
    "Both attentions of your block look inside the frames: nobody ever learns what happened at another time."
)
class SpaceTwice(_Parts):
    def time(self, x):
        return over_space(x, self.time_attention)


@block.mistake("The residual connection around the attention over space is missing: its output replaces the stream.")
class NoResidualAroundSpace(_Parts):
    def forward(self, x):
        x = self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("The residual connection around the attention over time is missing: its output replaces the stream.")
class NoResidualAroundTime(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = self.time(self.norm_time(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake(
    "Space and time share one residual connection: time reads what space returned, not the stream. Each of the two adds to "
    "the stream on its own."
)
class OneResidualForBoth(_Parts):
    def forward(self, x):
        x = x + self.time(self.norm_time(self.space(self.norm_space(x))))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("The residual connection around the MLP is missing: its output replaces the stream.")
class NoResidualAroundMlp(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_time(x))
        return self.mlp(self.norm_mlp(x))


@block.mistake("norm_space is used before both attentions, and norm_time is not. Each part has a norm of its own.")
class OneNormForBothAttentions(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = x + self.time(self.norm_space(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("The attention over time gets the stream as it is: norm_time is missing in front of it.")
class NoNormBeforeTime(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = x + self.time(x)
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("Your block norms after each addition (post-norm). Here each part reads a normed copy of the stream.")
class PostNorm(_Parts):
    def forward(self, x):
        x = self.norm_space(x + self.space(x))
        x = self.norm_time(x + self.time(x))
        return self.norm_mlp(x + self.mlp(x))


@block.mistake(
    "There is an MLP after each of the two attentions in your block. There is one, at the end: what makes Model 3 cheap is "
    "not to pay for it twice."
)
class MlpTwice(_Parts):
    def forward(self, x):
        x = x + self.space(self.norm_space(x))
        x = x + self.mlp(self.norm_mlp(x))
        x = x + self.time(self.norm_time(x))
        return x + self.mlp(self.norm_mlp(x))


@block.mistake("The two attentions have changed places: space_attention works over space, time_attention over time.")
class AttentionsSwapped(_Parts):
    def space(self, x):
        return over_space(x, self.time_attention)

    def time(self, x):
        return over_time(x, self.space_attention)


@block.alternative
class BlockWithSequentialMlp(nn.Module):
    def __init__(self, embed_dim, space_attention, time_attention, mlp_ratio):
        super().__init__()
        wide = mlp_ratio * embed_dim
        self.mlp = nn.Sequential(nn.Linear(embed_dim, wide), nn.GELU(), nn.Linear(wide, embed_dim))
        for name in ("norm_mlp", "norm_time", "norm_space"):
            setattr(self, name, nn.LayerNorm(embed_dim, eps=1e-6))
        self.space_attention, self.time_attention = space_attention, time_attention

    def forward(self, x):
        B, T, S, D = x.shape
        frames = self.space_attention(self.norm_space(x).reshape(B * T, S, D))
        x = x + frames.reshape(B, T, S, D)
        places = self.norm_time(x).transpose(1, 2).reshape(B * S, T, D)
        x = x + self.time_attention(places).reshape(B, S, T, D).transpose(1, 2)
        return x + self.mlp(self.norm_mlp(x))


@block.alternative
class BlockByLoops(_Parts):
    def space(self, x):
        return space_frame_by_frame(x, self.space_attention)

    def time(self, x):
        return time_place_by_place(x, self.time_attention)


# ------------------------------------------------------------------------------------------------------------
# 9. DividedAttention

divided = homework.exercise(
    "DividedAttention",
    points=7,
    hints=(
        (
            "Hand in attentions that return zeros for both: the class token comes out unchanged, and the patches "
            "with nothing added but the bias of `time_linear`. Is it so?"
        ),
        (
            "Over time: print the shape that goes into `time_attention`, (B·S, T, D). Is the class token left out "
            "of this step?"
        ),
        (
            "Over space: print the shape, (B·T, 1 + S, D), with a copy of the class token in front of every "
            "frame. What becomes of its T results, and what are they added to?"
        ),
    ),
)


@divided.inputs
def _(draw: Draw):
    for gradients, size in ((("x",), 1.0), ((), 1.0), ((), 0.003)):  # in a small stream, the eps of the norms shows
        T, S, D = shuffled(draw, 3, 4, 5)
        space, time = draw.normal(D, D) / D**0.5, draw.normal(D, D) / D**0.5
        weights = {
            **draw.norm("norm_time", D),
            "time_attention.weight": time,
            **{name: size * value for name, value in draw.linear("time_linear", D, D).items()},
            **draw.norm("norm_space", D),
            "space_attention.weight": space,
        }
        yield Call(
            "DividedAttention",
            {"x": size * draw.normal(2, 1 + T * S, D)},
            init={
                "embed_dim": D,
                "num_frames": T,
                "time_attention": Probe("token_mixer", {"weight": time}),
                "space_attention": Probe("token_mixer", {"weight": space}),
            },
            parameters=weights,
            gradients=gradients,
        )


class _Divided(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    eps = 1e-6

    def __init__(self, embed_dim, num_frames, time_attention, space_attention):
        super().__init__()
        self.num_frames = num_frames
        self.norm_time, self.norm_space = (nn.LayerNorm(embed_dim, eps=self.eps) for _ in range(2))
        self.time_linear = nn.Linear(embed_dim, embed_dim)
        self.time_attention, self.space_attention = time_attention, space_attention

    def frames(self, patches):
        return rearrange(patches, "b (t s) d -> b t s d", t=self.num_frames)

    def row(self, frames):
        return rearrange(frames, "b t s d -> b (t s) d")

    def along_time(self, patches):
        return self.row(over_time(self.frames(patches), self.time_attention))

    def time(self, x):
        return torch.cat([x[:, :1], x[:, 1:] + self.time_linear(self.along_time(self.norm_time(x[:, 1:])))], dim=1)

    def copies(self, first):
        return repeat(first, "b n d -> (b t) n d", t=self.num_frames)

    def gather(self, copies):  # (B, T, D) -> (B, D)
        return copies.mean(dim=1)

    def inside_frames(self, z):
        frames = self.frames(z[:, 1:])
        mixed = self.space_attention(torch.cat([self.copies(z[:, :1]), frames.flatten(0, 1)], dim=1))
        mixed = mixed.unflatten(0, frames.shape[:2])  # (B, T, 1 + S, D)
        return torch.cat([self.gather(mixed[:, :, 0])[:, None], self.row(mixed[:, :, 1:])], dim=1)

    def space(self, x):
        return x + self.inside_frames(self.norm_space(x))

    def forward(self, x):
        return self.space(self.time(x))


@divided.mistake(
    "The eps of your norms is torch's own, 0.00001. The text asks for 0.000001; where the numbers of a token are nearly "
    "equal, that shows."
)
class DividedUsualEps(_Divided):
    eps = 1e-5


@divided.mistake("Space comes first in your module, and time second. TimeSformer looks along time first.")
class SpaceFirst(_Divided):
    def forward(self, x):
        return self.time(self.space(x))


@divided.mistake(
    "Your frames do not get the class token of their own clip: the copies are laid out clip after clip, frame by frame, "
    "while the frames lie in the batch with all of one clip together."
)
class CopiesOfOtherClips(_Divided):
    def copies(self, first):
        return first.repeat(self.num_frames, 1, 1)


@divided.mistake(
    "The class token keeps the result of the first frame only. Each frame has changed its own copy; the mean of all T is "
    "asked for."
)
class FirstCopyOnly(_Divided):
    def gather(self, copies):
        return copies[:, 0]


@divided.mistake(
    "The T results of the class token are added up. Their mean is asked for: one token, of the same size as before."
)
class CopiesAddedUp(_Divided):
    def gather(self, copies):
        return copies.sum(dim=1)


@divided.mistake(
    "The class token is copied into the frames, but its results are thrown away: it never learns what it asked for. The mean "
    "of its T results is added to it."
)
class ClassLearnsNothing(_Divided):
    def gather(self, copies):
        return torch.zeros_like(copies[:, 0])


@divided.mistake(
    "The class token stays out of the attention over space as well, so it never meets anyone. There, each frame gets a copy "
    "of it."
)
class ClassStaysOut(_Divided):
    def inside_frames(self, z):
        mixed = over_space(self.frames(z[:, 1:]), self.space_attention)
        return torch.cat([torch.zeros_like(z[:, :1]), self.row(mixed)], dim=1)


@divided.mistake(
    "The class token takes part in the attention over time: each place gets a copy. It steps aside there, and comes in with "
    "the attention over space only."
)
class ClassInTime(_Divided):
    def time(self, x):
        z = self.norm_time(x)
        places = rearrange(z[:, 1:], "b (t s) d -> b s t d", t=self.num_frames)
        first = repeat(z[:, :1], "b n d -> b s n d", s=places.shape[1])
        groups = torch.cat([first, places], dim=2)
        mixed = self.time_linear(self.time_attention(groups.flatten(0, 1))).unflatten(0, groups.shape[:2])
        patches = rearrange(mixed[:, :, 1:], "b s t d -> b (t s) d")
        return x + torch.cat([mixed[:, :, 0].mean(dim=1, keepdim=True), patches], dim=1)


@divided.mistake("time_linear is never used: a second linear layer stands behind the attention over time.")
class NoTimeLinear(_Divided):
    def time(self, x):
        return torch.cat([x[:, :1], x[:, 1:] + self.along_time(self.norm_time(x[:, 1:]))], dim=1)


@divided.mistake(
    "Your time_linear works on the stream, after the addition. It belongs inside the branch: only what the attention found goes "
    "through it, then it is added."
)
class LinearOnTheStream(_Divided):
    def time(self, x):
        return torch.cat([x[:, :1], self.time_linear(x[:, 1:] + self.along_time(self.norm_time(x[:, 1:])))], dim=1)


@divided.mistake("The residual connection around the attention over time is missing: its output replaces the patches.")
class NoResidualInTime(_Divided):
    def time(self, x):
        return torch.cat([x[:, :1], self.time_linear(self.along_time(self.norm_time(x[:, 1:])))], dim=1)


@divided.mistake("The residual connection around the attention over space is missing: its output replaces the stream.")
class NoResidualInSpace(_Divided):
    def space(self, x):
        return self.inside_frames(self.norm_space(x))


@divided.mistake("The attention over time gets the stream as it is: norm_time is missing in front of it.")
class NoNormTime(_Divided):
    def time(self, x):
        return torch.cat([x[:, :1], x[:, 1:] + self.time_linear(self.along_time(x[:, 1:]))], dim=1)


@divided.mistake("The attention over space gets the stream as it is: norm_space is missing in front of it.")
class NoNormSpace(_Divided):
    def space(self, x):
        return x + self.inside_frames(x)


@divided.mistake(
    "The copies of the class token go into the frames without norm_space; only the patches are normed. Everyone who looks over "
    "space is normed first."
)
class ClassNotNormed(_Divided):
    def space(self, x):
        return x + self.inside_frames(torch.cat([x[:, :1], self.norm_space(x[:, 1:])], dim=1))


@divided.mistake(
    "You read the row of patches as place after place. It is frame after frame: first all S patches of frame 0, then those of "
    "frame 1."
)
class PlaceAfterPlace(_Divided):
    def frames(self, patches):
        return rearrange(patches, "b (s t) d -> b t s d", t=self.num_frames)

    def row(self, frames):
        return rearrange(frames, "b t s d -> b (s t) d")


@divided.mistake(
    "Your groups over time are made by a mere reshape. In memory the neighbours of a patch are the places of its own frame: S "
    "must be moved in front of T first, and back afterwards."
)
class DividedTimeByReshape(_Divided):
    def along_time(self, patches):
        return self.row(time_by_reshape(self.frames(patches), self.time_attention))


@divided.mistake(
    "The attention over space reads the x that came in, not what the attention over time has made of it. One works after the "
    "other."
)
class SideBySide(_Divided):
    def forward(self, x):
        return self.time(x) + self.inside_frames(self.norm_space(x))


@divided.mistake("The two attentions have changed places: time_attention works over time, space_attention over space.")
class DividedAttentionsSwapped(_Divided):
    def along_time(self, patches):
        return self.row(over_time(self.frames(patches), self.space_attention))

    def inside_frames(self, z):
        self.space_attention, kept = self.time_attention, self.space_attention
        try:
            return super().inside_frames(z)
        finally:
            self.space_attention = kept


@divided.alternative
class DividedFrameByFrame(_Divided):
    """Loops over the places, then over the frames."""

    def forward(self, x):
        T = self.num_frames
        S = (x.shape[1] - 1) // T
        z = self.norm_time(x[:, 1:])
        places = [self.time_linear(self.time_attention(z[:, s::S])) for s in range(S)]  # (B, T, D) each
        patches = x[:, 1:] + torch.stack(places, dim=2).flatten(1, 2)
        first, rest = self.norm_space(x[:, :1]), self.norm_space(patches)
        frames = [self.space_attention(torch.cat([first, rest[:, t * S : (t + 1) * S]], dim=1)) for t in range(T)]
        first = x[:, :1] + sum(frame[:, :1] for frame in frames) / T
        return torch.cat([first, patches + torch.cat([frame[:, 1:] for frame in frames], dim=1)], dim=1)


@divided.alternative
class DividedByExpand(_Divided):
    def copies(self, first):
        return first[:, None].expand(-1, self.num_frames, -1, -1).flatten(0, 1)


# ------------------------------------------------------------------------------------------------------------
# 10. split_heads_attention

split = homework.exercise(
    "split_heads_attention",
    points=5,
    hints=(
        (
            "Look at the first half of the heads alone, attention over the S tokens of a frame, and print "
            "`weights.sum(-1)`: is it 1, and are the last two axes S and S?"
        ),
        (
            "Then the other half: the last two axes of its weights are T and T. Where have the axes of q, k and v "
            "to stand before the product, in each half?"
        ),
        (
            "Run the cell below the check: heads 0 and 1 should reach one frame, heads 2 and 3 one place. Do the "
            "halves come back in their old order, and is d the width of one head?"
        ),
    ),
)


@split.inputs
def _(draw: Draw):
    for heads, sizes, gradients in ((4, (3, 5, 6), ("q", "k", "v")), (6, (3, 4, 5), ())):
        T, S, d = shuffled(draw, *sizes)
        inputs = {name: draw.normal(2, T, S, heads, d) for name in "qkv"}
        yield Call("split_heads_attention", inputs, gradients=gradients)


def _attend(q, k, v, pattern, scale=None, axis=-1):
    q, k, v = (rearrange(x, f"b t s h d -> {pattern}") for x in (q, k, v))
    weights = (q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)).softmax(dim=axis)
    return rearrange(weights @ v, f"{pattern} -> b t s h d")


SPACE, TIME = "b t h s d", "b s h t d"


def _split(q, k, v, first=SPACE, second=TIME, **options):
    """The right answer, with parts that a mistake replaces."""
    half = q.shape[3] // 2
    a = _attend(q[..., :half, :], k[..., :half, :], v[..., :half, :], first, **options)
    b = _attend(q[..., half:, :], k[..., half:, :], v[..., half:, :], second, **options)
    return torch.cat([a, b], dim=3)


@split.mistake(
    "Your first half of the heads looks over time and the second over space. It is the other way round here, as in the "
    "paper."
)
def halves_swapped(q, k, v):
    return _split(q, k, v, TIME, SPACE)


@split.mistake(
    "The attention is right, but the heads come back in another order: those over space are the first half of the result too."
)
def heads_out_of_order(q, k, v):
    return _split(q, k, v).roll(q.shape[3] // 2, dims=3)


@split.mistake(
    "You deal the heads out in turn, every second one over space. The first half of them looks over space, the second half "
    "over time."
)
def heads_in_turn(q, k, v):
    space, time = _attend(q, k, v, SPACE), _attend(q, k, v, TIME)
    even = (torch.arange(q.shape[3]) % 2 == 0)[:, None]
    return torch.where(even, space, time)


@split.mistake("All your heads look over space: nobody looks along time.")
def all_over_space(q, k, v):
    return _split(q, k, v, SPACE, SPACE)


@split.mistake("All your heads look over time: nobody looks inside a frame.")
def all_over_time(q, k, v):
    return _split(q, k, v, TIME, TIME)


@split.mistake(
    "Every head of yours does both, and you average the two. Each head has one job here, so that nothing is computed twice."
)
def both_averaged(q, k, v):
    return (_attend(q, k, v, SPACE) + _attend(q, k, v, TIME)) / 2


@split.mistake("Your heads look at all tokens of the clip, over space and time at once: that is Model 1.")
def full_attention(q, k, v):
    return _attend(q.flatten(1, 2)[:, None], k.flatten(1, 2)[:, None], v.flatten(1, 2)[:, None], SPACE)[:, 0].unflatten(
        1, q.shape[1:3]
    )


@split.mistake("The scores are not divided by the square root of the head width d: the softmax is then too sharp.")
def split_without_scale(q, k, v):
    return _split(q, k, v, scale=1.0)


@split.mistake("The scores are divided by d instead of its square root: the softmax is then too flat.")
def split_over_width(q, k, v):
    return _split(q, k, v, scale=1 / q.shape[-1])


@split.mistake(
    "The scores are divided by the square root of the width of all heads together. A dot product has the d terms of one head: d "
    "is what counts."
)
def split_over_full_width(q, k, v):
    return _split(q, k, v, scale=(q.shape[-1] * q.shape[3]) ** -0.5)


@split.mistake(
    "Your softmax runs over the queries. Each query shares out its own attention: over the keys, the last axis of the scores."
)
def split_softmax_over_queries(q, k, v):
    return _split(q, k, v, axis=-2)


@split.mistake(
    "Your heads share out attention among each other: the softmax runs over the axis of the heads, or the heads stand where the "
    "tokens belong. Move the axis of heads in front of the tokens."
)
def heads_attend_to_heads(q, k, v):
    half = q.shape[3] // 2
    untouched = "b t s h d"
    halves = (slice(None, half), slice(half, None))
    parts = [_attend(q[..., part, :], k[..., part, :], v[..., part, :], untouched) for part in halves]
    return torch.cat(parts, dim=3)


@split.mistake(
    "The scores of your first half, over space, are not divided by the square root of d; those of the second are."
)
def space_half_not_scaled(q, k, v):
    half = q.shape[3] // 2
    factor = torch.ones(q.shape[3], 1)
    factor[:half] = q.shape[-1] ** 0.5
    return _split(q * factor, k, v)


@split.mistake(
    "The scores of your second half, over time, are not divided by the square root of d; those of the first are."
)
def time_half_not_scaled(q, k, v):
    half = q.shape[3] // 2
    factor = torch.ones(q.shape[3], 1)
    factor[half:] = q.shape[-1] ** 0.5
    return _split(q * factor, k, v)


@split.alternative
def split_by_einsum(q, k, v):
    half = q.shape[3] // 2
    (qs, qt), (ks, kt), (vs, vt) = (x.split(half, dim=3) for x in (q, k, v))
    space = torch.einsum("btihd,btjhd->bthij", qs, ks).div(math.sqrt(q.shape[-1])).softmax(-1)
    time = torch.einsum("bishd,bjshd->bshij", qt, kt).div(math.sqrt(q.shape[-1])).softmax(-1)
    return torch.cat(
        [torch.einsum("bthij,btjhd->btihd", space, vs), torch.einsum("bshij,bjshd->bishd", time, vt)], dim=3
    )


@split.alternative
def split_by_transposing(q, k, v):
    half = q.shape[3] // 2
    scale = q.shape[-1] ** -0.5
    q, k, v = (x.transpose(2, 3) for x in (q, k, v))  # (B, T, h, S, d)
    space = torch.softmax(q[:, :, :half] * scale @ k[:, :, :half].mT, -1) @ v[:, :, :half]
    q, k, v = (x[:, :, half:].transpose(1, 3) for x in (q, k, v))  # (B, S, h, T, d)
    time = torch.softmax(q * scale @ k.mT, -1) @ v
    return torch.cat([space, time.transpose(1, 3)], dim=2).transpose(2, 3)


# ------------------------------------------------------------------------------------------------------------
# 11. video_cost

cost = homework.exercise(
    "video_cost",
    points=4,
    hints=(
        (
            "Print T, S and the number of tokens first: for 32 frames of 224 pixels and tubelets of 2 × 16 × 16 "
            "they are 16, 196 and 3136."
        ),
        (
            "Write one function for a block over N tokens and print it for N = 2 and D = 2: 96 + 16 = 112. Models "
            "1 and 2 are sums of such blocks: over how many tokens, and how often?"
        ),
        (
            "For Model 3: how many times are the linear layers there in a block, and how many times the MLP? For "
            "Model 4: what is only half as wide, the linear layers or the products? Which models have a class "
            "token?"
        ),
    ),
)


@cost.inputs
def _(draw: Draw):
    for model in (1, 2, 3, 4):
        t, p = draw.sizes(2, low=2, high=5)
        depth, time_depth = draw.sizes(2, low=3, high=9)
        yield Call(
            "video_cost",
            {
                "model": model,
                "frames": t * draw.integer(5, 8),
                "side": p * draw.integer(9, 12),
                "t": t,
                "p": p,
                "embed_dim": 4 * draw.integer(10, 19),
                "depth": depth,
                "time_depth": time_depth,
            },
        )


def _cost(
    model,
    frames,
    side,
    t,
    p,
    D,
    depth,
    time_depth,
    first=1,
    mlp=8,
    products=2,
    sets=2,
    late=None,
    late_first=None,
    half=2,
    pairs=None,
    whole=False,
    patches=None,
):
    """The right answer, with parts that a mistake replaces."""
    T, S = frames // t, (side // p) ** 2 if patches is None else patches
    block = lambda N: (4 + mlp) * N * D**2 + products * N**2 * D
    if model == 1:
        macs = depth * block(first + T * S)
    elif model == 2:
        seconds = time_depth if late is None else depth
        macs = depth * T * block(first + S) + seconds * block((first if late_first is None else late_first) + T)
        if whole:
            macs = depth * block(first + S) + time_depth * block(first + T)
    else:
        groups = T * S**2 + S * T**2 if pairs is None else pairs(T, S)
        linear = (4 * sets if model == 3 else 4) + mlp
        macs = depth * (linear * T * S * D**2 + products * groups * (D if model == 3 else D // half))
    return T * S, macs


@cost.mistake(
    "Your tokens ignore the depth of a tubelet: t frames make one moment, so there are frames / t of them, not as many as "
    "frames."
)
def every_frame_a_moment(model, frames, side, t, p, D, depth, time_depth):
    return _cost(model, frames, side, 1, p, D, depth, time_depth)


@cost.mistake(
    "Your frames have only side / p tokens. They are cut along height and width, so there are that many rows of that many."
)
def one_row_of_patches(model, frames, side, t, p, D, depth, time_depth):
    return _cost(model, frames, side, t, p, D, depth, time_depth, patches=side // p)


@cost.mistake(
    "The tokens are right, but your operations leave out a class token. Model 1 has one, and the first transformer of Model 2 "
    "has one in each frame: look at both."
)
def no_class_tokens(*sizes):
    return _cost(*sizes, first=0)


@cost.mistake(
    "Model 1 is right. In Model 2 the second transformer has a class token of its own, so it works on 1 + T tokens."
)
def no_class_token_over_time(*sizes):
    return _cost(*sizes, late_first=0)


@cost.mistake(
    "The tokens are right, but your blocks have no MLP. It takes twice what the four linear layers of attention take."
)
def no_mlp(*sizes):
    return _cost(*sizes, mlp=0)


@cost.mistake(
    "The tokens are right, but you counted one product of tokens with tokens. There are two: the scores, and the weights times the values."
)
def one_product(*sizes):
    return _cost(*sizes, products=1)


@cost.mistake("In your Model 2 the second transformer is as deep as the first. It has time_depth blocks.")
def equally_deep(*sizes):
    return _cost(*sizes, late=True)


@cost.mistake("In your Model 2 the first transformer runs on one frame only. It runs on each of the T.")
def one_frame_only(*sizes):
    return _cost(*sizes, whole=True)


@cost.mistake(
    "In your Model 3 space and time share their linear layers. That is Model 4: Model 3 has two attentions, each with four "
    "layers of its own."
)
def shared_layers(*sizes):
    return _cost(*sizes, sets=1)


@cost.mistake(
    "In your Models 3 and 4, or in one of them, every token still meets every other. Over space there are T groups with S times S pairs, over time S "
    "groups with T times T."
)
def all_pairs(*sizes):
    return _cost(*sizes, pairs=lambda T, S: (T * S) ** 2)


@cost.mistake(
    "In your Models 3 and 4, or in one of them, the pairs of one frame and of one place are counted once. There are T "
    "frames and S places."
)
def one_group_of_each(*sizes):
    return _cost(*sizes, pairs=lambda T, S: S**2 + T**2)


@cost.mistake(
    "Model 3 is right. In Model 4 half of the heads look over space and half over time, so each kind is only half as wide as D."
)
def full_width_for_both(*sizes):
    return _cost(*sizes, half=1)


@cost.mistake(
    "The tokens are right, but your operations are twice what is asked for: a multiplication and the addition after it count as one."
)
def multiplications_and_additions(*sizes):
    tokens, macs = _cost(*sizes)
    return tokens, 2 * macs


@cost.mistake("Both numbers are right, but in the wrong order: tokens first, multiply-accumulates second.")
def cost_in_wrong_order(*sizes):
    return _cost(*sizes)[::-1]


@cost.alternative
def cost_step_by_step(model, frames, side, t, p, embed_dim, depth, time_depth):
    T, h, D = frames // t, side // p, embed_dim
    S = h * h

    def attention(groups, N, width=embed_dim):
        return groups * 2 * N * N * width

    def linear(N, layers):
        return N * layers * D * D

    if model == 1:
        each = linear(1 + T * S, 12) + attention(1, 1 + T * S)
    elif model == 2:
        each = linear(T * (1 + S), 12) + attention(T, 1 + S)
    elif model == 3:
        each = linear(T * S, 16) + attention(T, S) + attention(S, T)
    else:
        each = linear(T * S, 12) + attention(T, S, D / 2) + attention(S, T, D / 2)
    macs = sum(each for _ in range(depth))
    if model == 2:
        macs += time_depth * (linear(1 + T, 12) + attention(1, 1 + T))
    return T * S, macs


@cost.alternative
def cost_in_tensors(model, frames, side, t, p, embed_dim, depth, time_depth):
    T, S, D = torch.tensor([frames // t, (side // p) ** 2, embed_dim], dtype=torch.float64)
    block = lambda N: 12 * N * D.square() + 2 * N.square() * D
    choices = {
        1: depth * block(T * S + 1),
        2: depth * T * block(S + 1) + time_depth * block(T + 1),
        3: depth * (16 * T * S * D.square() + 2 * T * S * (T + S) * D),
        4: depth * (12 * T * S * D.square() + T * S * (T + S) * D),
    }
    return T * S, choices[model]


# ------------------------------------------------------------------------------------------------------------
# 12. train_on_clips

training = homework.exercise(
    "train_on_clips",
    points=4,
    credit=Credit(),
    hints=(
        (
            "Print what is drawn in the first step, in this order: the indices, then one number for each clip. "
            "Which clips are below 0.5?"
        ),
        (
            "Take one clip that is played backwards and print its label before and after. Which axis of the "
            "batch, (B, T, C, H, W), is turned round?"
        ),
        (
            "Print the smallest and the largest number that the model gets: between 0 and 1? Then go through the "
            "step in the order of the text: loss, clear, compute, update."
        ),
    ),
)

TRAIN, HELD_OUT, GOAL = 300, 120, 0.90
OPPOSITE = torch.tensor([1, 0, 3, 2])


@cache
def _small(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """digit_video at half the resolution, uint8 (N, 5, 1, 8, 8): small enough to be stored beside a notebook."""
    clips, labels = load("digit_video", split, size=1000, device="cpu")
    halved = F.avg_pool2d(clips.flatten(0, 1).float(), 2).round().to(torch.uint8)
    return halved.unflatten(0, clips.shape[:2]), labels


def _held_out(draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    clips, labels = _small("test")
    chosen = torch.randperm(len(clips), generator=draw.generator)[:HELD_OUT]
    return clips[chosen].float() / 255, labels[chosen]


@training.inputs
def _(draw: Draw):
    asked, _ = _held_out(draw)  # first of all, so that the goals below draw the same ones
    for steps in (4, 5):
        T, C, H, W = shuffled(draw, 3, 2, 4, 5)
        size, classes = T * C * H * W, 6
        yield Call(
            "train_on_clips",
            {
                "model": Probe(
                    "linear_classifier",
                    {"weight": draw.normal(classes, size) / size**0.5, "bias": draw.normal(classes)},
                    ask=draw.uniform(2, T, C, H, W),
                ),
                "clips": draw.integers(0, 255, 40, T, C, H, W).to(torch.uint8),
                "labels": draw.integers(0, classes - 1, 40),
                "backwards": torch.tensor([1, 2, 3, 4, 5, 0]),
                "steps": steps,
                "batch_size": 7,
                "learning_rate": 0.05,
                "generator": Seeded(draw.integer(0, 10**6)),
            },
        )
    clips, labels = _small("train")
    yield Call(
        "train_on_clips",
        {
            "model": Probe("linear_classifier", {"weight": torch.zeros(4, 320), "bias": torch.zeros(4)}, ask=asked),
            "clips": clips[:TRAIN],
            "labels": labels[:TRAIN],
            "backwards": OPPOSITE,
            "steps": 150,
            "batch_size": 64,
            "learning_rate": 0.02,
            "generator": Seeded(draw.integer(0, 10**6)),
        },
    )


@training.goals
def _(draw: Draw):
    return {2: Accuracy(_held_out(draw)[1], GOAL)}


def _train(
    model,
    clips,
    labels,
    backwards,
    steps,
    batch_size,
    learning_rate,
    generator,
    optimizer=torch.optim.AdamW,
    coins=None,
    play=None,
    name=None,
    scale=255,
    clear=True,
    coins_first=False,
    threshold=None,
):
    """The right loop with replaceable parts."""
    optimizer = optimizer(model.parameters(), lr=learning_rate)
    toss = coins or (lambda: torch.rand(batch_size, generator=generator) < 0.5)
    losses = []
    for _ in range(steps):
        reverse = toss() if coins_first else None
        chosen = torch.randint(len(clips), (batch_size,), generator=generator)
        reverse = reverse if coins_first else toss()
        batch, answers = clips[chosen] / scale, labels[chosen]
        batch = play(batch, reverse) if play else torch.where(reverse[:, None, None, None, None], batch.flip(1), batch)
        answers = name(answers, reverse) if name else torch.where(reverse, backwards[answers], answers)
        loss = F.cross_entropy(model(batch), answers)
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@training.mistake(
    "Your clips are played backwards but keep their labels. The reverse of a move to the right is a move to the left: so the "
    "network learns that order means nothing."
)
def labels_not_turned(*arguments):
    return _train(*arguments, name=lambda answers, reverse: answers)


@training.mistake("Your labels are turned, but the clips are never played backwards.")
def clips_not_turned(*arguments):
    return _train(*arguments, play=lambda batch, reverse: batch)


@training.mistake("No clip is ever played backwards, and no label turned: half of the work is missing.")
def nothing_turned(*arguments):
    return _train(*arguments, play=lambda batch, reverse: batch, name=lambda answers, reverse: answers)


@training.mistake(
    "Your clips are mirrored left to right, not played backwards: you flipped the last axis. In (B, T, C, H, W) time is the "
    "second."
)
def mirrored(*arguments):
    return _train(
        *arguments, play=lambda batch, reverse: torch.where(reverse[:, None, None, None, None], batch.flip(-1), batch)
    )


@training.mistake(
    "You reversed the order of the channels, not of the frames. In (B, T, C, H, W) time is the second axis."
)
def channels_reversed(*arguments):
    return _train(
        *arguments, play=lambda batch, reverse: torch.where(reverse[:, None, None, None, None], batch.flip(2), batch)
    )


@training.mistake(
    "Every clip is played backwards in every step. A coin decides for each, and about half keep their direction."
)
def always_backwards(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    def coins():
        torch.rand(batch_size, generator=generator)
        return torch.ones(batch_size, dtype=torch.bool)

    return _train(model, clips, labels, backwards, steps, batch_size, learning_rate, generator, coins=coins)


@training.mistake(
    "You play a clip backwards where its coin is 0.5 or more. Agreed is the other side, below 0.5; as good, but nobody could "
    "repeat your run."
)
def other_side_of_the_coin(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    coins = lambda: torch.rand(batch_size, generator=generator) >= 0.5
    return _train(model, clips, labels, backwards, steps, batch_size, learning_rate, generator, coins=coins)


@training.mistake("One coin is tossed for the whole batch. Each clip has a coin of its own.")
def one_coin_a_batch(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    coins = lambda: (torch.rand(1, generator=generator) < 0.5).expand(batch_size)
    return _train(model, clips, labels, backwards, steps, batch_size, learning_rate, generator, coins=coins)


@training.mistake(
    "Your coins are random, but not drawn from the generator you were given, so nobody can repeat your run."
)
def coins_of_another_generator(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    coins = lambda: torch.rand(batch_size) < 0.5
    return _train(model, clips, labels, backwards, steps, batch_size, learning_rate, generator, coins=coins)


@training.mistake(
    "You toss the coins before you draw the batch. First the indices, then the coins, so that runs can be compared."
)
def coins_before_the_batch(*arguments):
    return _train(*arguments, coins_first=True)


@training.mistake("Your clips go into the network with values up to 255. Divide them by 255 first.")
def pixels_not_scaled(*arguments):
    return _train(*arguments, scale=1)


@training.mistake("The gradients of all steps so far pile up. They must be cleared once in every step.")
def gradients_not_cleared(*arguments):
    return _train(*arguments, clear=False)


@training.mistake(
    "Your weights do not decay. AdamW as it comes lets them decay a little in every step; Adam does not, and neither does "
    "AdamW with a decay of 0."
)
def adam_for_adamw(*arguments):
    return _train(*arguments, optimizer=torch.optim.Adam)


@training.mistake("The argument learning_rate has no effect: your optimizer runs at its default rate of 0.001.")
def rate_ignored(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    return _train(model, clips, labels, backwards, steps, batch_size, 1e-3, generator)


@training.mistake(
    "The training is right, but you return only the last loss. All of them are asked for, one for each step."
)
def last_loss_only(*arguments):
    return _train(*arguments)[-1]


@training.mistake(
    "The training is right, but each loss is measured after its step. Asked for is the loss that the step went down from."
)
def losses_after_the_step(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(clips), (batch_size,), generator=generator)
        reverse = torch.rand(batch_size, generator=generator) < 0.5
        batch, answers = clips[chosen] / 255, labels[chosen]
        batch = torch.where(reverse[:, None, None, None, None], batch.flip(1), batch)
        answers = torch.where(reverse, backwards[answers], answers)
        optimizer.zero_grad()
        F.cross_entropy(model(batch), answers).backward()
        optimizer.step()
        losses.append(F.cross_entropy(model(batch), answers).item())
    return losses


@training.alternative
def train_with_indices(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate)
    criterion = nn.CrossEntropyLoss()
    losses = []
    while len(losses) < steps:
        optimizer.zero_grad()
        chosen = torch.randint(0, len(labels), (batch_size,), generator=generator)
        turned = (torch.rand(batch_size, generator=generator) < 0.5).nonzero().flatten()
        batch, answers = clips[chosen].float().div(255), labels[chosen]
        batch[turned] = batch[turned].flip(dims=[1])
        answers[turned] = backwards[answers[turned]]
        loss = criterion(model(batch), answers)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@training.alternative
def train_clip_by_clip(model, clips, labels, backwards, steps, batch_size, learning_rate, generator):
    optimizer = torch.optim.AdamW(list(model.parameters()), lr=learning_rate, foreach=False)
    losses = torch.zeros(steps)
    for step in range(steps):
        chosen = torch.randint(len(clips), (batch_size,), generator=generator)
        coins = torch.rand(batch_size, generator=generator)
        batch, answers = [], []
        for index, coin in zip(chosen.tolist(), coins.tolist()):
            clip, answer = clips[index] / 255.0, int(labels[index])
            batch.append(torch.flip(clip, [0]) if coin < 0.5 else clip)
            answers.append(int(backwards[answer]) if coin < 0.5 else answer)
        likelihood = torch.log_softmax(model(torch.stack(batch)), dim=1)
        loss = -likelihood[torch.arange(batch_size), answers].mean()
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    return losses.tolist()
