"""Homework 2: a vision transformer from patches to the public model's logits.

The right answers stand in ``hw2_vit.py``. Here, exercise by exercise: the inputs it is tried on, the mistakes
people make with the sentence that names each, and other right answers.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from course.checks import Accuracy, Call, Credit, Draw, Homework, Probe, Seeded
from course.checks.exercise import Mistake
from course.data import load

# A forward pass whose gradient is cut off is most of the work, and useless for training: it earns eight tenths.
homework = Homework("hw2_vit", credit=Credit(shape=0.1, values=0.7, gradients=0.2))


def _grid(draw: Draw, batch: int, channels: int) -> tuple[int, int, int]:
    """Patch side and grid (P, gh, gw), all different, such that no two axes of images or patches agree."""
    while True:
        P, gh, gw = draw.sizes(3, low=2, high=4)
        if len({batch, channels, gh * P, gw * P}) == 4 and len({batch, gh * gw, channels * P * P}) == 3:
            return P, gh, gw


# ------------------------------------------------------------------------------------------------------------
# 1. patchify and unpatchify

cutting = homework.exercise(
    "patchify_and_unpatchify",
    points=5,
    targets=("patchify", "unpatchify"),
    hints=(
        "Print `patchify(numbered, 2)[0]`: is patch 0 equal to 0, 1, 6, 7, and does patch 1 begin with 2?",
        (
            "Take two channels, `torch.arange(48).reshape(1, 2, 4, 6)`, and print patch 0. After its first four "
            "numbers, which should come next: 2, or 24 of the other channel?"
        ),
        (
            "For the way back, write the shape after each step of `patchify` on a line of its own, and read the "
            "lines from the bottom up: each step of `unpatchify` undoes one."
        ),
    ),
)


@cutting.inputs
def _(draw: Draw):
    P, gh, gw = _grid(draw, 2, 3)
    yield Call("patchify", {"images": draw.normal(2, 3, gh * P, gw * P), "patch_size": P}, gradients=("images",))
    P, gh, gw = _grid(draw, 2, 3)
    size = {"patch_size": P, "height": gh * P, "width": gw * P}
    yield Call("unpatchify", {"patches": draw.normal(2, gh * gw, 3 * P * P), **size}, gradients=("patches",))
    P, gh, gw = _grid(draw, 3, 1)  # grey images: here the order of the channels is no help
    yield Call("patchify", {"images": draw.normal(3, 1, gh * P, gw * P), "patch_size": P})


def _cut(images, P, pixels="(gh ph) (gw pw)", tokens="b (gh gw) (c ph pw)"):
    return rearrange(images, f"b c {pixels} -> {tokens}", ph=P, pw=P)


def _paste(patches, P, height, width, tokens="b (gh gw) (c ph pw)", pixels="b c (gh ph) (gw pw)"):
    return rearrange(patches, f"{tokens} -> {pixels}", ph=P, pw=P, gh=height // P, gw=width // P)


def poured(images, P):
    B, C, H, W = images.shape
    return images.reshape(B, H * W // P**2, C * P * P)


def poured_back(patches, P, height, width):
    return patches.reshape(len(patches), -1, height, width)


def channels_last(images, P):
    return _cut(images, P, tokens="b (gh gw) (ph pw c)")


def channels_last_back(patches, P, height, width):
    return _paste(patches, P, height, width, tokens="b (gh gw) (ph pw c)")


def down_the_columns(images, P):
    return _cut(images, P, tokens="b (gw gh) (c ph pw)")


def down_the_columns_back(patches, P, height, width):
    return _paste(patches, P, height, width, tokens="b (gw gh) (c ph pw)")


def patches_mirrored(images, P):
    return _cut(images, P, tokens="b (gh gw) (c pw ph)")


def patches_mirrored_back(patches, P, height, width):
    return _paste(patches, P, height, width, tokens="b (gh gw) (c pw ph)")


def every_pth_pixel(images, P):
    return _cut(images, P, pixels="(ph gh) (pw gw)")


def every_pth_pixel_back(patches, P, height, width):
    return _paste(patches, P, height, width, pixels="b c (ph gh) (pw gw)")


for target, wrong, back in (("patchify", "", ""), ("unpatchify", "_back", "back ")):
    cutting.mistake(
        f"{target} only pours the numbers {back}into a box of the right shape. A patch is a square: its rows lie far "
        "apart in the image, so the axes must be cut, moved and only then put together.",
        target=target,
    )(globals()["poured" + wrong])
    cutting.mistake(
        f"{target} has the channels innermost: pixel by pixel, each with its channels. Asked for is channel by "
        "channel, and in each channel the pixels.",
        target=target,
    )(globals()["channels_last" + wrong])
    cutting.mistake(
        f"{target} walks down the columns of patches. Patches come in reading order: the first row of patches from "
        "left to right, then the second row.",
        target=target,
    )(globals()["down_the_columns" + wrong])
    cutting.mistake(
        f"{target} mirrors every patch: inside a patch, too, the pixels come row by row.",
        target=target,
    )(globals()["patches_mirrored" + wrong])
    cutting.mistake(
        f"{target} takes pixels that lie a whole grid apart. When an axis is cut in two, the grid is the outer part and "
        "the place inside the patch the inner one.",
        target=target,
    )(globals()["every_pth_pixel" + wrong])


@cutting.mistake(
    "patchify puts the patches in the columns, as unfold does. One row for each patch is asked for: (B, N, C·P·P).",
    target="patchify",
)
def patches_in_columns(images, P):
    return _cut(images, P).mT


@cutting.mistake(
    "patchify makes a token of each channel of a patch. All channels of a patch go into one token.",
    target="patchify",
)
def a_token_for_each_channel(images, P):
    return _cut(images, P, tokens="b (gh gw c) (ph pw)")


@cutting.mistake(
    "unpatchify has height and width in exchange: the image that comes out lies on its side.", target="unpatchify"
)
def height_and_width_swapped(patches, P, height, width):
    return _paste(patches, P, width, height)


# Both wrong in ways that undo each other: last, because each alone is told apart above.
for sentence, one, other in (
    (
        "Both functions only pour numbers into another box. They undo each other, but what is in between are no squares "
        "of the image.",
        poured,
        poured_back,
    ),
    (
        "Both functions have the channels innermost. They undo each other, but inside a patch the order is channel, row, "
        "column.",
        channels_last,
        channels_last_back,
    ),
    (
        "Both functions walk down the columns of patches. They undo each other, but patches come in reading order.",
        down_the_columns,
        down_the_columns_back,
    ),
    (
        "Both functions mirror every patch. They undo each other, but inside a patch the pixels come row by row.",
        patches_mirrored,
        patches_mirrored_back,
    ),
    (
        "Both functions take pixels that lie a whole grid apart. They undo each other, but a patch is made of neighbours.",
        every_pth_pixel,
        every_pth_pixel_back,
    ),
):
    cutting.mistakes.append(Mistake(sentence, {"patchify": one, "unpatchify": other}))


@cutting.alternative
def cut_by_einops(images, patch_size):
    return rearrange(images, "b c (gh p) (gw q) -> b (gh gw) (c p q)", p=patch_size, q=patch_size)


@cutting.alternative
def cut_by_unfold(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size).mT


@cutting.alternative
def cut_by_loops(images, patch_size):
    tokens = []
    for top in range(0, images.shape[2], patch_size):
        for left in range(0, images.shape[3], patch_size):
            tokens.append(images[:, :, top : top + patch_size, left : left + patch_size].flatten(1))
    return torch.stack(tokens, dim=1)


@cutting.alternative(target="unpatchify")
def paste_by_einops(patches, patch_size, height, width):
    return rearrange(
        patches, "b (gh gw) (c p q) -> b c (gh p) (gw q)", p=patch_size, q=patch_size, gh=height // patch_size
    )


@cutting.alternative(target="unpatchify")
def paste_by_fold(patches, patch_size, height, width):
    return F.fold(patches.mT, (height, width), patch_size, stride=patch_size)


# ------------------------------------------------------------------------------------------------------------
# 2. patch_embedding

WAYS = ("embed_by_unfold", "embed_by_convolution", "embed_by_einops")
embedding = homework.exercise(
    "patch_embedding",
    points=6,
    targets=WAYS,
    hints=(
        (
            "Call all three on the same input and print the largest difference of each two: the one that differs "
            "from both others is where to look."
        ),
        (
            "Print the shape that `F.unfold`, or the convolution, returns: on which axis are the patches, and on "
            "which should they be in the end?"
        ),
        (
            "Try the example by hand: `images = torch.tensor([[[[1., 2, 3, 5]]]])`, `weight = "
            "torch.tensor([[[[1., -1]]]])`, `bias = torch.tensor([10.])`. Are the tokens 9 and 8?"
        ),
    ),
)


@embedding.inputs
def _(draw: Draw):
    for way in WAYS:
        B, C = 2, 3
        while True:
            Ph, Pw, D = draw.sizes(3, low=2, high=7)
            gh, gw = draw.sizes(2, low=2, high=4)
            if len({D, C, Ph, Pw}) == 4 and len({B, C, gh * Ph, gw * Pw}) == 4 and gh * gw != D and Ph * Pw <= 12:
                break
        weights = {"weight": draw.normal(D, C, Ph, Pw) / (C * Ph * Pw) ** 0.5, "bias": draw.normal(D)}
        yield Call(
            way,
            {"images": draw.normal(B, C, gh * Ph, gw * Pw), **weights},
            gradients=("images", "weight", "bias"),
        )


def _embed(images, weight, bias, pixels="(gh ph) (gw pw)", tokens="(gh gw)"):
    Ph, Pw = weight.shape[2:]
    patches = rearrange(images, f"b c {pixels} -> b {tokens} c ph pw", ph=Ph, pw=Pw)
    return einsum(patches, weight, "b n c ph pw, d c ph pw -> b n d") + bias


def without_bias(images, weight, bias):
    return _embed(images, weight, 0 * bias)


def columns_first(images, weight, bias):
    return _embed(images, weight, bias, tokens="(gw gh)")


def left_as_map(images, weight, bias):
    return _embed(images, weight, bias).mT


def map_poured(images, weight, bias):
    tokens = _embed(images, weight, bias)  # (B, N, D)
    return tokens.mT.reshape(tokens.shape)


def weight_channels_last(images, weight, bias):
    shuffled = rearrange(weight, "d c ph pw -> d (ph pw c)").reshape(weight.shape)
    return _embed(images, shuffled, bias)


for way in WAYS:
    embedding.mistake(f"{way} leaves out the bias: D numbers, added to every token.", target=way)(without_bias)
    embedding.mistake(
        f"{way} has its tokens down the columns of the image. Patches come in reading order, row by row.", target=way
    )(columns_first)
    embedding.mistake(
        f"{way} has the right numbers with the axes D and N in exchange: each token should be a row, (B, N, D).",
        target=way,
    )(left_as_map)
    embedding.mistake(
        f"{way} turns (B, D, N) into (B, N, D) by pouring the numbers into another box. That mixes the entries of "
        "different tokens: the two axes must be exchanged.",
        target=way,
    )(map_poured)


@embedding.mistake(
    "embed_by_unfold pours the columns of unfold, (B, C·Ph·Pw, N), into another box. Its patches are the columns: "
    "exchange the two axes.",
    target="embed_by_unfold",
)
def columns_poured(images, weight, bias):
    columns = F.unfold(images, weight.shape[2:], stride=weight.shape[2:])
    return columns.reshape(len(images), columns.shape[2], columns.shape[1]) @ weight.flatten(1).T + bias


@embedding.mistake(
    "embed_by_unfold pours the weight into (C·Ph·Pw, D). Row k of the flattened weight belongs to token entry k: "
    "flatten behind D, then transpose.",
    target="embed_by_unfold",
)
def weight_poured(images, weight, bias):
    columns = F.unfold(images, weight.shape[2:], stride=weight.shape[2:])
    return columns.mT @ weight.reshape(-1, len(weight)) + bias


embedding.mistake(
    "embed_by_unfold flattens the weight with its channels last. unfold lays out a patch as channel, row, column; the "
    "weight must lie in the same order.",
    target="embed_by_unfold",
)(weight_channels_last)


@embedding.mistake(
    "embed_by_convolution moves its kernel on by one pixel at a time, so the patches overlap and there are far too many. "
    "The stride is the size of the kernel.",
    target="embed_by_convolution",
)
def stride_of_one(images, weight, bias):
    return F.conv2d(images, weight, bias).flatten(2).mT


@embedding.mistake(
    "embed_by_convolution turns the kernel by 180 degrees. The convolution of deep learning does not: it is a plain sum "
    "of products.",
    target="embed_by_convolution",
)
def kernel_turned(images, weight, bias):
    return _embed(images, weight.flip(2, 3), bias)


@embedding.mistake(
    "embed_by_einops gathers pixels that lie a whole grid apart. When an axis is cut in two, the grid is the outer part "
    "and the place inside the patch the inner one.",
    target="embed_by_einops",
)
def pixels_far_apart(images, weight, bias):
    return _embed(images, weight, bias, pixels="(ph gh) (pw gw)")


embedding.mistake(
    "embed_by_einops multiplies patches laid out pixel by pixel with a weight laid out channel by channel. Both need the "
    "same order of their axes.",
    target="embed_by_einops",
)(weight_channels_last)

embedding.mistakes.append(
    Mistake("None of the three adds the bias: D numbers, the same for every token.", dict.fromkeys(WAYS, without_bias))
)
embedding.mistakes.append(
    Mistake(
        "All three have their tokens down the columns of the image. Patches come in reading order, row by row.",
        dict.fromkeys(WAYS, columns_first),
    )
)
embedding.mistakes.append(
    Mistake(
        "All three give (B, D, N): the right numbers, but each token should be a row, (B, N, D).",
        dict.fromkeys(WAYS, left_as_map),
    )
)


@embedding.alternative
def embed_by_patch_loop(images, weight, bias):
    Ph, Pw = weight.shape[2:]
    tokens = []
    for top in range(0, images.shape[2], Ph):
        for left in range(0, images.shape[3], Pw):
            patch = images[:, None, :, top : top + Ph, left : left + Pw]  # (B, 1, C, Ph, Pw)
            tokens.append((patch * weight).sum(dim=(2, 3, 4)) + bias)
    return torch.stack(tokens, dim=1)


@embedding.alternative(target="embed_by_convolution")
def embed_by_conv_module(images, weight, bias):
    D, C, Ph, Pw = weight.shape
    grid = torch.conv2d(images, weight, stride=(Ph, Pw)) + bias[:, None, None]
    return rearrange(grid, "b d gh gw -> b (gh gw) d")


@embedding.alternative(target="embed_by_einops")
def embed_by_flat_einsum(images, weight, bias):
    _, _, p, q = weight.shape
    patches = rearrange(images, "b c (gh p) (gw q) -> b gh gw (c p q)", p=p, q=q)
    tokens = torch.einsum("bhwf,df->bhwd", patches, rearrange(weight, "d c p q -> d (c p q)")) + bias
    return rearrange(tokens, "b h w d -> b (h w) d")


# ------------------------------------------------------------------------------------------------------------
# 3. add_class_token_and_positions

sequence = homework.exercise(
    "add_class_token_and_positions",
    points=4,
    hints=(
        (
            "Try the example by hand: tokens 5 and 6, class token 1, positions 0.1, 0.2, 0.3. Do 1.1, 5.2, 6.3 "
            "come out, in this order?"
        ),
        "Print the shape of the class token just before it is put in front: is there one for every image of the batch?",
        "There are N + 1 positions. How many tokens are they added to: before the class token is there, or after?",
    ),
)


@sequence.inputs
def _(draw: Draw):
    for _ in range(2):
        while True:
            B, N, D = draw.sizes(3, low=2, high=8)
            if N + 1 != D:
                break
        yield Call(
            "add_class_token_and_positions",
            {
                "tokens": draw.normal(B, N, D),
                "class_token": draw.normal(1, 1, D),
                "positions": draw.normal(1, N + 1, D),
            },
            gradients=("tokens", "class_token", "positions"),
        )


def _in_front(tokens, class_token):
    return torch.cat([class_token.expand(len(tokens), -1, -1), tokens], dim=1)


@sequence.mistake(
    "Your class token comes last. It stands in front of the patches: token 0, where everyone will look for it."
)
def class_token_last(tokens, class_token, positions):
    return torch.cat([tokens, class_token.expand(len(tokens), -1, -1)], dim=1) + positions


@sequence.mistake(
    "The patches get their positions, but the class token gets none. It has one as well: row 0 of the table."
)
def class_token_without_position(tokens, class_token, positions):
    return _in_front(tokens + positions[:, 1:], class_token)


@sequence.mistake(
    "Your patches get the rows from 0 on, and the class token none. Row 0 belongs to the class token, so the first patch "
    "gets row 1: put the class token in front before you add."
)
def positions_one_too_early(tokens, class_token, positions):
    return _in_front(tokens + positions[:, :-1], class_token)


@sequence.mistake("The class token is there, but the positions are never added.")
def positions_left_out(tokens, class_token, positions):
    return _in_front(tokens, class_token) + 0 * positions


@sequence.mistake(
    "The positions are there, but token 0 is empty: it should start from the class token's own learned numbers."
)
def class_token_left_out(tokens, class_token, positions):
    return _in_front(tokens, 0 * class_token) + positions


@sequence.mistake("You multiplied by the positions. They are added, so that a token keeps what it has.")
def positions_multiplied(tokens, class_token, positions):
    return _in_front(tokens, class_token) * positions


@sequence.mistake(
    "You added the class token to every patch. It is a token of its own, in front of them: one token more."
)
def class_token_added(tokens, class_token, positions):
    return tokens + class_token + positions[:, 1:]


@sequence.mistake("Your class token takes the place of the first patch. It comes in addition: N + 1 tokens.")
def first_patch_overwritten(tokens, class_token, positions):
    return _in_front(tokens[:, 1:], class_token) + positions[:, : tokens.shape[1]]


@sequence.mistake("Your token 0 is the mean of the patches. The class token is learned, and the same for every image.")
def mean_for_class_token(tokens, class_token, positions):
    return _in_front(tokens, tokens.mean(dim=1, keepdim=True) + 0 * class_token) + positions


@sequence.alternative
def sequence_by_repeat(tokens, class_token, positions):
    x = torch.cat((repeat(class_token, "1 1 d -> b 1 d", b=tokens.shape[0]), tokens), 1)
    x = x + positions
    return x


@sequence.alternative
def sequence_in_parts(tokens, class_token, positions):
    first = class_token + positions[:, 0:1]
    return torch.cat([first.repeat(len(tokens), 1, 1), tokens + positions[:, 1:]], dim=1)


# ------------------------------------------------------------------------------------------------------------
# 4. interpolate_positions

resizing = homework.exercise(
    "interpolate_positions",
    points=6,
    hints=(
        (
            "Let the new grid be the old one: does the table come back unchanged? If not, look at the order of "
            "the axes, not at the resizing."
        ),
        (
            "Print the shape that goes into `F.interpolate`: it wants (1, D, h, w). Fill row n of a table with "
            "the number n: do the numbers of the image run along its rows?"
        ),
        (
            "Compare row 0 of your result with row 0 of the input: is it the same, bit for bit? Which mode did "
            "you name, and did you set any option that the text leaves alone?"
        ),
    ),
)


@resizing.inputs
def _(draw: Draw):
    for low, high in ((6, 9), (3, 4)):  # enlarge, shrink
        h, w = draw.sizes(2, low=4, high=5)
        new_h, new_w = draw.sizes(2, low=low, high=high)
        positions = draw.normal(1, 1 + h * w, draw.integer(6, 9))
        yield Call(
            "interpolate_positions",
            {
                "positions": positions,
                "old_height": h,
                "old_width": w,
                "new_height": new_h,
                "new_width": new_w,
            },
            gradients=("positions",),
        )


def _resize(
    positions,
    h,
    w,
    new_h,
    new_w,
    to_image="1 (h w) d -> 1 d h w",
    back="1 d h w -> 1 (h w) d",
    mode="bicubic",
    **options,
):
    """The right answer with replaceable parts."""
    image = rearrange(positions[:, 1:], to_image, h=h, w=w)
    resized = F.interpolate(image, size=(new_h, new_w), mode=mode, **options)
    return torch.cat([positions[:, :1], rearrange(resized, back)], dim=1)


@resizing.mistake("You resized with bilinear interpolation. Bicubic is asked for: smoother, and what the models use.")
def bilinear(*arguments):
    return _resize(*arguments, mode="bilinear")


@resizing.mistake(
    "You took the nearest old row for each new place. That repeats rows; bicubic interpolation passes smoothly from one "
    "to the next."
)
def nearest(*arguments):
    return _resize(*arguments, mode="nearest")


@resizing.mistake(
    "Your corners are aligned: the first and last places of both grids fall together. Leave that option at its default, "
    "so that the edges of the image fall together instead."
)
def corners_aligned(*arguments):
    return _resize(*arguments, align_corners=True)


@resizing.mistake("You have antialiasing on. Some libraries do; here the option stays at its default, off.")
def antialiased(*arguments):
    return _resize(*arguments, antialias=True)


@resizing.mistake(
    "Height and width of the old grid are in exchange, so rows of the table that lie side by side are taken for ones "
    "that lie below each other."
)
def old_grid_swapped(positions, h, w, new_h, new_w):
    return _resize(positions, w, h, new_h, new_w)


@resizing.mistake("Height and width of the new grid are in exchange.")
def new_grid_swapped(positions, h, w, new_h, new_w):
    return _resize(positions, h, w, new_w, new_h)


@resizing.mistake(
    "Your new table runs down the columns of the grid. It is in reading order, row by row, as the old one."
)
def new_table_by_columns(*arguments):
    return _resize(*arguments, back="1 d h w -> 1 (w h) d")


@resizing.mistake(
    "You poured the rows of the table into (1, D, h, w). D is the last axis of the table and has to be moved in front of "
    "the grid, not just renamed."
)
def table_poured_into_image(positions, h, w, new_h, new_w):
    image = positions[:, 1:].reshape(1, -1, h, w)
    resized = F.interpolate(image, size=(new_h, new_w), mode="bicubic")
    return torch.cat([positions[:, :1], rearrange(resized, "1 d h w -> 1 (h w) d")], dim=1)


@resizing.mistake(
    "The resizing is right, but then you poured (1, D, h', w') into (1, h'·w', D). D has to be moved behind the grid "
    "again."
)
def image_poured_into_table(positions, h, w, new_h, new_w):
    right = _resize(positions, h, w, new_h, new_w)
    return torch.cat([right[:, :1], right[:, 1:].mT.reshape(1, new_h * new_w, -1)], dim=1)


@resizing.mistake("The class token's row is lost: it stays, unchanged, in front of the resized ones.")
def class_row_lost(*arguments):
    return _resize(*arguments)[:, 1:]


@resizing.mistake("The class token's row comes last in your table. It stays where it was, in front.")
def class_row_last(*arguments):
    return _resize(*arguments).roll(-1, dims=1)


@resizing.mistake(
    "You left out the last row of the table instead of the first: the class token's row is number 0, and your grid "
    "begins with it."
)
def last_row_left_out(positions, *sizes):
    return _resize(positions.roll(1, dims=1), *sizes)


@resizing.mistake(
    "You stretched the table as one long list, so the end of each row of the grid runs into the start of the next. Lay "
    "the rows out on their grid first."
)
def as_one_list(positions, h, w, new_h, new_w):
    flat = positions[:, 1:].mT[:, :, None]  # (1, D, 1, h·w)
    resized = F.interpolate(flat, size=(1, new_h * new_w), mode="bicubic")[:, :, 0]
    return torch.cat([positions[:, :1], resized.mT], dim=1)


@resizing.mistake(
    "The table is poured into an image as its numbers lie, and poured back the same way: your channels and places are mixed "
    "up. Its axes have to change places, on the way in and on the way back."
)
def poured_both_ways(positions, h, w, new_h, new_w):
    image = positions[:, 1:].reshape(1, -1, h, w)
    resized = F.interpolate(image, size=(new_h, new_w), mode="bicubic")
    return torch.cat([positions[:, :1], resized.reshape(1, new_h * new_w, -1)], dim=1)


@resizing.alternative
def resize_by_permute(positions, old_height, old_width, new_height, new_width):
    D = positions.shape[-1]
    image = positions[0, 1:].reshape(old_height, old_width, D).permute(2, 0, 1)[None]
    image = F.interpolate(image, (new_height, new_width), mode="bicubic", align_corners=False)
    return torch.cat((positions[:, :1], image[0].permute(1, 2, 0).reshape(1, -1, D)), dim=1)


@resizing.alternative
def resize_channel_by_channel(positions, old_height, old_width, new_height, new_width):
    upsample = nn.Upsample(size=(new_height, new_width), mode="bicubic")
    channels = [
        upsample(positions[:, 1:, channel].reshape(1, 1, old_height, old_width)).reshape(1, -1)
        for channel in range(positions.shape[2])
    ]
    return torch.cat([positions[:, :1], torch.stack(channels, dim=2)], dim=1)


# ------------------------------------------------------------------------------------------------------------
# 5. EncoderBlock

block = homework.exercise(
    "EncoderBlock",
    points=5,
    hints=(
        (
            "Set weight and bias of attention's last layer and of `fc2` to zero: is the block the identity? If "
            "not, look at the two sums."
        ),
        "Print `block.norm1.eps` and `block.norm2.eps`: what does the text ask for?",
        (
            "Return after the first half and compare with y in the first formula; only then look at the second "
            "half. What goes into `norm2`, and which form has the GELU?"
        ),
    ),
)

ONE_MLP = {
    **{name: [name] for name in ("norm1.weight", "norm1.bias", "attention.weight", "norm2.weight", "norm2.bias")},
    "mlp.0.weight": ["fc1.weight"],
    "mlp.0.bias": ["fc1.bias"],
    "mlp.2.weight": ["fc2.weight"],
    "mlp.2.bias": ["fc2.bias"],
}


@block.inputs
def _(draw: Draw):
    for size in (1.0, 0.003):  # in a small stream, the eps of the norms shows
        N, D, mlp_dim = draw.sizes(3, low=4, high=9)
        mixing = size * draw.normal(D, D) / D**0.5
        attention = Probe("token_mixer", {"weight": mixing})
        weights = {
            **draw.norm("norm1", D),
            "attention.weight": mixing,
            **draw.norm("norm2", D),
            **draw.linear("fc1", D, mlp_dim),
            **draw.linear("fc2", mlp_dim, D),
        }
        yield Call(
            "EncoderBlock",
            {"x": size * draw.normal(3, N, D)},
            init={"embed_dim": D, "attention": attention, "mlp_dim": mlp_dim},
            parameters=weights,
            layouts=(ONE_MLP,),
            gradients=("x",) if size == 1 else (),
        )


class _Parts(nn.Module):
    """The right parts; each mistake below wires them in its own way."""

    eps = 1e-6, 1e-6

    def __init__(self, embed_dim, attention, mlp_dim):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=self.eps[0])
        self.attention = attention
        self.norm2 = nn.LayerNorm(embed_dim, eps=self.eps[1])
        self.fc1 = nn.Linear(embed_dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, embed_dim)

    def activation(self, x):
        return F.gelu(x)

    def mlp(self, x):
        return self.fc2(self.activation(self.fc1(x)))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


# Who wires wrongly may have left the eps at its default as well: both are known, under one name.
for default in (1e-6, 1e-5):

    class _Wired(_Parts):
        eps = default, default

    @block.mistake(
        "Your block normalises after each addition (post-norm, as in the first transformer of 2017). Here each part gets "
        "a normalised copy of the stream, and the stream itself is left alone (pre-norm)."
    )
    class PostNorm(_Wired):
        def forward(self, x):
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.mlp(x))

    @block.mistake(
        "Your stream itself is normalised: what comes back after each part is added to the normalised x. Keep the x that "
        "came in, and normalise only what the part gets to see."
    )
    class StreamNormalised(_Wired):
        def forward(self, x):
            x = self.norm1(x)
            x = x + self.attention(x)
            x = self.norm2(x)
            return x + self.mlp(x)

    @block.mistake("You normalise what attention and MLP give, after them. Normalise what they read, before them.")
    class BranchesNormalised(_Wired):
        def forward(self, x):
            x = x + self.norm1(self.attention(x))
            return x + self.norm2(self.mlp(x))

    @block.mistake("The residual connection around the attention is missing: its output replaces the stream.")
    class AttentionReplaces(_Wired):
        def forward(self, x):
            x = self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    @block.mistake("The residual connection around the MLP is missing: its output replaces the stream.")
    class MlpReplaces(_Wired):
        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return self.mlp(self.norm2(x))

    @block.mistake("Both residual connections are missing: attention and MLP should add to the stream, not replace it.")
    class BothReplace(_Wired):
        def forward(self, x):
            return self.mlp(self.norm2(self.attention(self.norm1(x))))

    @block.mistake(
        "The second addition goes back to the x that came in, so what the attention found is lost from the stream. Add "
        "the MLP's output to the stream as the attention left it."
    )
    class AttentionForgotten(_Wired):
        def forward(self, x):
            return x + self.mlp(self.norm2(x + self.attention(self.norm1(x))))

    @block.mistake(
        "Attention and MLP both read the x that came in, side by side. Here they work one after the other: the MLP sees "
        "what the attention has added."
    )
    class InParallel(_Wired):
        def forward(self, x):
            return x + self.attention(self.norm1(x)) + self.mlp(self.norm2(x))

    @block.mistake("The attention gets the stream as it is: norm1 is missing in front of it.")
    class AttentionUnnormalised(_Wired):
        def forward(self, x):
            x = x + self.attention(x)
            return x + self.mlp(self.norm2(x))

    @block.mistake("The MLP gets the stream as it is: norm2 is missing in front of it.")
    class MlpUnnormalised(_Wired):
        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(x)

    @block.mistake("norm1 is used in both places and norm2 in none. Each part has a normalisation of its own.")
    class SameNormTwice(_Wired):
        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm1(x))

    @block.mistake("The MLP comes first in your block and the attention second: it is the other way round.")
    class MlpBeforeAttention(_Wired):
        def forward(self, x):
            x = x + self.mlp(self.norm2(x))
            return x + self.attention(self.norm1(x))

    @block.mistake("Your MLP has a ReLU between its layers. A GELU is asked for, which has no kink at 0.")
    class WithRelu(_Wired):
        def activation(self, x):
            return F.relu(x)

    @block.mistake(
        "Your GELU is the approximation by tanh. It is off by a few ten-thousandths; the exact one, which is torch's "
        "default, is asked for."
    )
    class WithTanhGelu(_Wired):
        def activation(self, x):
            return F.gelu(x, approximate="tanh")

    @block.mistake(
        "There is nothing between the two layers of your MLP. Two linear layers in a row are one linear layer: put the "
        "GELU between them."
    )
    class WithoutGelu(_Wired):
        def activation(self, x):
            return x


for pair in ((1e-5, 1e-5), (1e-5, 1e-6), (1e-6, 1e-5)):

    @block.mistake(
        "All is wired well, but the eps of your layer norms (of one or both) is PyTorch's default of 1e-5. The published "
        "ViTs have 1e-6: where the stream is small it decides how much it is enlarged."
    )
    class DefaultEps(_Parts):
        eps = pair


@block.alternative
class BlockWithOneMlp(nn.Module):
    def __init__(self, embed_dim, attention, mlp_dim):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(embed_dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, embed_dim))
        self.attention = attention
        self.norm1, self.norm2 = (nn.LayerNorm(embed_dim, eps=1e-6) for _ in range(2))

    def forward(self, x):
        y = self.attention(self.norm1(x)) + x
        return self.mlp(self.norm2(y)) + y


@block.alternative
class BlockWrittenOut(_Parts):
    """Layer normalisation and GELU by hand."""

    def normalise(self, x, norm):
        variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(variance + 1e-6) * norm.weight + norm.bias

    def forward(self, x):
        x = self.attention(self.normalise(x, self.norm1)) + x
        hidden = self.fc1(self.normalise(x, self.norm2))
        return self.fc2(0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))) + x


# ------------------------------------------------------------------------------------------------------------
# 6. VisionTransformer

vit = homework.exercise(
    "VisionTransformer",
    points=9,
    hints=(
        (
            "Print name and shape of every parameter beside the table above. For 24 × 40 pixels and patches of 8 "
            "there are 15 patches, so `positions` has 16 rows."
        ),
        (
            "Print the shape after each step of `forward`: map (B, D, h, w), tokens (B, N, D), with the class "
            "token (B, N + 1, D), scores (B, K). Which is the first that differs?"
        ),
        (
            "If all shapes are right: do the tokens come in reading order? Are positions added after the class "
            "token is in front? Which token does the head read, and has it been through `norm`?"
        ),
    ),
)


def _vit_call(draw: Draw, target: str, size: float, extra_tokens: int, **more) -> Call:
    """A ViT with three blocks of ours; the last makes the stream `size` large, so that the final norm's eps shows."""
    B, C = 2, 3
    while True:
        P, gh, gw = _grid(draw, B, C)
        D, K = draw.sizes(2, low=4, high=9)
        if gh * gw + extra_tokens != D and gh * gw != D:
            break
    mixing = [draw.normal(D, D) / D**0.5 for _ in range(3)]
    mixing[-1] = size * mixing[-1]
    weights = {"patch_embed.weight": draw.normal(D, C, P, P) / (C * P * P) ** 0.5, "patch_embed.bias": draw.normal(D)}
    weights["class_token"] = draw.normal(1, 1, D)
    if extra_tokens == 2:
        weights["distillation_token"] = draw.normal(1, 1, D)
    weights["positions"] = draw.normal(1, gh * gw + extra_tokens, D)
    weights |= {f"blocks.{i}.weight": matrix for i, matrix in enumerate(mixing)}
    weights |= draw.norm("norm", D) | draw.linear("head", D, K)
    if extra_tokens == 2:
        weights |= draw.linear("head_distilled", D, K)
    blocks = {f"block {i}": Probe("token_mixer", {"weight": matrix}) for i, matrix in enumerate(mixing)}
    init = {
        "image_height": gh * P,
        "image_width": gw * P,
        "patch_size": P,
        "channels": C,
        "embed_dim": D,
        "num_classes": K,
    }
    arguments = {"images": draw.normal(B, C, gh * P, gw * P), **more}
    return Call(target, arguments, init=init | blocks, parameters=weights, gradients=("images",) if size == 1 else ())


@vit.inputs
def _(draw: Draw):
    for size, all_tokens in ((1.0, False), (0.003, True)):
        yield _vit_call(draw, "VisionTransformer", size, extra_tokens=1, all_tokens=all_tokens)


class _ViT(nn.Module):
    """Right, and cut into pieces, so that each mistake below spoils one of them."""

    eps = 1e-6
    extra_tokens = 1

    def __init__(self, height, width, patch_size, channels, embed_dim, num_classes, *blocks):
        super().__init__()
        N = (height // patch_size) * (width // patch_size)
        self.patch_embed = nn.Conv2d(channels, embed_dim, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.positions = nn.Parameter(torch.zeros(1, N + self.extra_tokens, embed_dim))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=self.eps)
        self.head = nn.Linear(embed_dim, num_classes)

    def patches(self, images):
        return rearrange(self.patch_embed(images), "b d gh gw -> b (gh gw) d")

    def sequence(self, x):
        return _in_front(x, self.class_token) + self.positions

    def encode(self, x):
        for one in self.blocks:
            x = one(x)
        return x

    def read(self, x):
        return self.head(self.norm(x)[:, 0])

    def tokens(self, x):
        return self.norm(x)

    def forward(self, images, all_tokens=False):
        x = self.encode(self.sequence(self.patches(images)))
        return self.tokens(x) if all_tokens else self.read(x)


# First, because a wrong reading of the class token together with this eps looks the same where all tokens are asked for.
@vit.mistake(
    "All is put together well, but the eps of your final norm is PyTorch's default of 1e-5. The published ViTs have 1e-6."
)
class FinalNormDefaultEps(_ViT):
    eps = 1e-5


# As for the block: a wrong wiring may come with the default eps.
for default in (1e-6, 1e-5):

    class _Assembled(_ViT):
        eps = default

    @vit.mistake(
        "Your head reads the mean of all tokens. ViT reads the class token alone; that is what it is there for."
    )
    class ReadsMeanOfAll(_Assembled):
        def read(self, x):
            return self.head(self.norm(x).mean(dim=1))

    @vit.mistake(
        "Your head reads the mean of the patches. That is a good way too, but then nobody reads the class token: here "
        "the answer is read from it alone."
    )
    class ReadsMeanOfPatches(_Assembled):
        def read(self, x):
            return self.head(self.norm(x)[:, 1:].mean(dim=1))

    @vit.mistake(
        "Your head reads the last token, which is the patch in the lower right corner. The class token is the first."
    )
    class ReadsLastToken(_Assembled):
        def read(self, x):
            return self.head(self.norm(x)[:, -1])

    @vit.mistake(
        "Your class token stands behind the patches, so it and all patches get each other's positions. It comes first."
    )
    class ClassTokenBehind(_Assembled):
        def sequence(self, x):
            return torch.cat([x, self.class_token.expand(len(x), -1, -1)], dim=1) + self.positions

        def read(self, x):
            return self.head(self.norm(x)[:, -1])

    @vit.mistake("The positions are never added, so your network cannot know where a patch lies.")
    class NoPositions(_Assembled):
        def sequence(self, x):
            return _in_front(x, self.class_token)

    @vit.mistake(
        "The class token gets no position in your network: only the patches do. Row 0 of the table is the class token's."
    )
    class PositionsForPatchesOnly(_Assembled):
        def sequence(self, x):
            return _in_front(x + self.positions[:, 1:], self.class_token)

    @vit.mistake(
        "Your patches get the positions from row 0 on, and the class token none. Row 0 is the class token's: put it in "
        "front before you add the positions."
    )
    class PositionsTooEarly(_Assembled):
        def sequence(self, x):
            return _in_front(x + self.positions[:, :-1], self.class_token)

    @vit.mistake(
        "You add the positions again in front of every block. They are added once; the residual stream carries them on."
    )
    class PositionsEveryTime(_Assembled):
        def encode(self, x):
            for i, one in enumerate(self.blocks):
                x = one(x + (i > 0) * self.positions)
            return x

    @vit.mistake(
        "Your patch tokens run down the columns of the image. They come in reading order, row by row; the table of "
        "positions relies on it."
    )
    class TokensByColumns(_Assembled):
        def patches(self, images):
            return rearrange(self.patch_embed(images), "b d gh gw -> b (gw gh) d")

    @vit.mistake(
        "You turned the map (B, D, gh, gw) into (B, N, D) by pouring its numbers into another box. That mixes tokens: "
        "first flatten the grid, then exchange the two axes."
    )
    class MapPoured(_Assembled):
        def patches(self, images):
            grid = self.patch_embed(images)
            return grid.reshape(len(grid), -1, grid.shape[1])

    @vit.mistake(
        "The logits are right, but the tokens that you give on request have not passed through the final norm."
    )
    class TokensNotNormalised(_Assembled):
        def tokens(self, x):
            return x

    @vit.mistake(
        "The final norm is missing. Pre-norm blocks leave the stream as large as it grew; norm brings it to size before "
        "the head."
    )
    class NoFinalNorm(_Assembled):
        def read(self, x):
            return self.head(x[:, 0])

        def tokens(self, x):
            return x

    @vit.mistake("The logits are right, but among the tokens that you give on request the class token is missing.")
    class TokensWithoutClass(_Assembled):
        def tokens(self, x):
            return self.norm(x)[:, 1:]

    @vit.mistake("Your network always answers with logits: `all_tokens` has no effect.")
    class NeverAllTokens(_Assembled):
        def forward(self, images, all_tokens=False):
            return super().forward(images)

    @vit.mistake(
        "You normalise in front of the blocks instead of after them. The blocks have norms of their own inside; this one "
        "belongs between the last block and the head."
    )
    class NormInFront(_Assembled):
        def encode(self, x):
            return super().encode(self.norm(x))

        def read(self, x):
            return self.head(x[:, 0])

        def tokens(self, x):
            return x

    @vit.mistake("You normalise twice: in front of the blocks and after them. Only the second one belongs there.")
    class NormTwice(_Assembled):
        def encode(self, x):
            return super().encode(self.norm(x))

    @vit.mistake("Your blocks are applied in the reverse order.")
    class BlocksReversed(_Assembled):
        def encode(self, x):
            for one in reversed(self.blocks):
                x = one(x)
            return x

    @vit.mistake("Only the first of your blocks is ever used.")
    class FirstBlockOnly(_Assembled):
        def encode(self, x):
            return self.blocks[0](x)

    @vit.mistake(
        "Each of your blocks reads the embedded tokens, so only the last one counts. A block reads what the one before "
        "it has made."
    )
    class EachBlockFromTheStart(_Assembled):
        def encode(self, x):
            return self.blocks[-1](x)

    @vit.mistake("You apply the first block again and again. Every block has weights of its own, and its turn.")
    class FirstBlockAgain(_Assembled):
        def encode(self, x):
            for _ in self.blocks:
                x = self.blocks[0](x)
            return x

    @vit.mistake(
        "You add each block's output to the stream. The blocks that are handed in have their residual connections inside."
    )
    class ResidualAroundBlocks(_Assembled):
        def encode(self, x):
            for one in self.blocks:
                x = x + one(x)
            return x

    @vit.mistake(
        "A softmax stands at the end of your network. Logits are asked for: the cross entropy has a softmax of its own."
    )
    class EndsInSoftmax(_Assembled):
        def read(self, x):
            return super().read(x).softmax(dim=-1)


@vit.alternative
class VitFromSequential(nn.Module):
    """Normalises every token, and makes its parts in another order."""

    def __init__(self, height, width, patch, channels, dim, classes, *blocks):
        super().__init__()
        self.head = nn.Linear(dim, classes)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.positions = nn.Parameter(torch.zeros(1, height * width // patch**2 + 1, dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.patch_embed = nn.Conv2d(channels, dim, patch, stride=patch)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images, all_tokens=False):
        x = self.patch_embed(images).permute(0, 2, 3, 1).flatten(1, 2)
        x = torch.cat((self.class_token.repeat(images.shape[0], 1, 1), x), dim=1)
        x = self.blocks(x + self.positions)
        if all_tokens:
            return self.norm(x)
        return self.head(self.norm(x[:, 0]))


@vit.alternative
class VitByUnfold(_ViT):
    def patches(self, images):
        size = self.patch_embed.kernel_size
        flat = F.unfold(images, size, stride=size).mT
        return F.linear(flat, self.patch_embed.weight.flatten(1), self.patch_embed.bias)

    def sequence(self, x):
        first = self.class_token + self.positions[:, :1]
        return _in_front(x + self.positions[:, 1:], first)


# ------------------------------------------------------------------------------------------------------------
# 7. count_parameters

counting = homework.exercise(
    "count_parameters",
    points=5,
    forbidden=("torch.nn.Module",),
    hints=(
        (
            "Call it with the numbers of the example, `count_parameters(4, 2, 1, 2, 1, 3, 5)`: 10, 12, 49 and 19. "
            "Which of the four differs?"
        ),
        (
            "Split that number into layers and compare each with one of torch: `sum(p.numel() for p in "
            "nn.Linear(2, 3).parameters())` is 9. Did you count the biases?"
        ),
        (
            "How many layer norms has one block, and how many numbers has a layer norm over D? How many rows has "
            "the table of positions?"
        ),
    ),
)


@counting.inputs
def _(draw: Draw):
    for _ in range(2):
        P, grid = draw.sizes(2, low=5, high=9)
        D = draw.integer(20, 60)
        yield Call(
            "count_parameters",
            {
                "image_size": P * grid,
                "patch_size": P,
                "channels": draw.integer(2, 4),
                "embed_dim": D,
                "depth": draw.integer(3, 9),
                "mlp_dim": 4 * D + draw.integer(1, 9),
                "num_classes": draw.integer(90, 200),
            },
        )


def _count(image, P, C, D, depth, mlp, K, patch=0, tokens=0, each_block=0, head=0):
    """The right four numbers, plus what a mistake has too many or too few."""
    in_block = 4 * (D * D + D) + D * mlp + mlp + mlp * D + D + 4 * D
    return (
        C * P * P * D + D + patch,
        D + ((image // P) ** 2 + 1) * D + tokens,
        depth * (in_block + each_block),
        2 * D + D * K + K + head,
    )


@counting.mistake("Your patch embedding has no bias: D numbers.")
def patch_without_bias(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, patch=-D)


@counting.mistake("Your patch embedding looks at one channel only. A patch has C·P·P numbers.")
def patch_without_channels(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, patch=(1 - C) * P * P * D)


@counting.mistake("A patch of yours has P pixels. It is a square: P·P of them.")
def patch_not_squared(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, patch=C * (P - P * P) * D)


@counting.mistake(
    "In your second number one row of D numbers is missing: the class token has its own D numbers and, besides, a row of "
    "its own in the table of positions."
)
def one_row_missing(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, tokens=-D)


@counting.mistake(
    "Your second number is the table of positions of the patches alone: class token and its position are both left out."
)
def patches_only(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, tokens=-2 * D)


@counting.mistake("You took the number of patches along one side for the number of all patches: the grid is a square.")
def one_row_of_patches(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, tokens=(image // P - (image // P) ** 2) * D)


@counting.mistake(
    "Your table of positions has a row for every pixel. There is one for each patch, and one for the class token."
)
def positions_for_pixels(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, tokens=(image**2 - (image // P) ** 2) * D)


@counting.mistake(
    "You counted three matrices in the attention: query, key and value. The fourth, out, mixes what the heads bring home."
)
def out_forgotten(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-D * D - D)


@counting.mistake(
    "Each of your blocks is short of 4·D numbers: either the four matrices of the attention have no biases, or the two "
    "layer norms are left out."
)
def attention_without_biases(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-4 * D)


@counting.mistake(
    "Each of your blocks is short of 2·D numbers: it has two layer norms, and each has a scale and a shift."
)
def norms_halved(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-2 * D)


@counting.mistake("The two layers of your MLP have no biases: one has as many as the MLP is wide inside, the other D.")
def mlp_without_biases(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-mlp - D)


@counting.mistake("No linear layer inside your blocks has a bias. All six have one.")
def blocks_without_biases(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-5 * D - mlp)


@counting.mistake("Your MLP has one layer. It has two: to its inner width, and back.")
def mlp_of_one_layer(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, each_block=-mlp * D - D)


@counting.mistake("You took the inner width of the MLP to be 4·D. It is an argument here, and need not be that.")
def mlp_four_times_wider(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, 4 * D, K)


@counting.mistake("Your third number is that of a single block. There are `depth` of them.")
def one_block(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, 1, mlp, K)


@counting.mistake("The final norm is missing in your fourth number: a scale and a shift, D numbers each.")
def no_final_norm_counted(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, head=-2 * D)


@counting.mistake("Your final norm has D numbers. A layer norm has a scale and a shift, D each.")
def final_norm_halved(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, head=-D)


@counting.mistake("Your head has no bias: one number for each class.")
def head_without_bias(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, head=-K)


@counting.mistake("Your head reads all tokens side by side. It reads one, the class token: D numbers.")
def head_reads_everything(image, P, C, D, depth, mlp, K):
    return _count(image, P, C, D, depth, mlp, K, head=(image // P) ** 2 * D * K)


@counting.mistake("You return the sum. It is right, but the four numbers themselves are asked for.")
def sum_only(*sizes):
    return sum(_count(*sizes))


@counting.alternative
def count_by_layers(image_size, patch_size, channels, embed_dim, depth, mlp_dim, num_classes):
    linear = lambda inputs, outputs: (inputs + 1) * outputs
    D, norm = embed_dim, 2 * embed_dim
    side = image_size // patch_size
    blocks = 0
    for _ in range(depth):
        blocks += norm + linear(D, 3 * D) + linear(D, D) + norm + linear(D, mlp_dim) + linear(mlp_dim, D)
    tokens = (1 + 1 + side * side) * D
    return linear(channels * patch_size * patch_size, D), tokens, blocks, norm + linear(D, num_classes)


@counting.alternative
def count_in_tensors(image_size, patch_size, channels, embed_dim, depth, mlp_dim, num_classes):
    P, C, D, M, K = (torch.tensor(size) for size in (patch_size, channels, embed_dim, mlp_dim, num_classes))
    N = (image_size // P) * (image_size // P)
    return (C * P.square() + 1) * D, (N + 2) * D, depth * (4 * D.square() + 2 * D * M + 9 * D + M), (2 + K) * D + K


# ------------------------------------------------------------------------------------------------------------
# 8. train_with_warmup

training = homework.exercise(
    "train_with_warmup",
    points=6,
    credit=Credit(),
    hints=(
        "Write the rates into a list and print it for W = 2, S = 4 and peak 1: 0.5, 1, 1, 0.5?",
        (
            "Write down the order of your lines within one step. Is the rate set before the update of its own "
            "step? Does the clipping come after the gradients are there, and before the update?"
        ),
        (
            "Print the learning rate and the weight decay that stand in `optimizer.param_groups` at each step. "
            "Are images and labels taken by the same indices, and is the loss taken before the update?"
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
    for steps, warmup in ((7, 3), (8, 2)):
        classes, height, width = draw.sizes(3, low=3, high=6)
        pixels = height * width
        yield Call(
            "train_with_warmup",
            {
                "model": Probe(
                    "linear_classifier",
                    {"weight": draw.normal(classes, pixels), "bias": draw.normal(classes)},
                    ask=draw.uniform(2, 1, height, width),
                ),
                "images": 3 * draw.uniform(40, 1, height, width),
                "labels": draw.integers(0, classes - 1, 40),
                "steps": steps,
                "batch_size": 7,
                "peak_rate": 0.05,
                "warmup_steps": warmup,
                "generator": Seeded(draw.integer(0, 10**6)),
            },
        )
    images, labels = load("digits", "train", device="cpu").subset(800)
    yield Call(
        "train_with_warmup",
        {
            "model": Probe("digits_net", seed=draw.integer(0, 10**6), ask=asked),
            "images": images.float() / 255,
            "labels": labels,
            "steps": 50,
            "batch_size": 128,
            "peak_rate": 0.01,
            "warmup_steps": 5,
            "generator": Seeded(draw.integer(0, 10**6)),
        },
    )


@training.goals
def _(draw: Draw):
    return {2: Accuracy(_held_out(draw)[1], GOAL)}


def _rate(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _train(
    model,
    images,
    labels,
    steps,
    batch_size,
    peak_rate,
    warmup_steps,
    generator,
    *,
    rate=_rate,
    rate_late=False,
    optimizer=torch.optim.AdamW,
    decay=0.05,
    draw=None,
    score=F.cross_entropy,
    clear="before",
    clip="norm",
    returned=lambda losses: losses,
):
    """The right loop with replaceable parts."""
    moves = optimizer(model.parameters(), lr=peak_rate, weight_decay=decay)

    def set_rate(step):
        for group in moves.param_groups:
            group["lr"] = peak_rate * rate(step, steps, warmup_steps)

    losses = []
    for step in range(steps):
        if not rate_late:
            set_rate(step)
        chosen = draw() if draw else torch.randint(len(images), (batch_size,), generator=generator)
        loss = score(model(images[chosen]), labels[chosen])
        if clear == "before":
            moves.zero_grad()
        loss.backward()
        if clip == "norm":
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        elif clip == "value":
            nn.utils.clip_grad_value_(model.parameters(), 1.0)
        elif clip == "each":
            for parameter in model.parameters():
                nn.utils.clip_grad_norm_([parameter], 1.0)
        elif clip == "always":
            length = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
            for parameter in model.parameters():
                parameter.grad /= length
        if clear == "too late":
            moves.zero_grad()
        moves.step()
        if rate_late:
            set_rate(step)
        losses.append(loss.item())
    return returned(losses)


@training.mistake(
    "Your warmup starts at 0, so the first step does nothing. Step 0 already has one W-th of the peak rate."
)
def warmup_from_zero(*arguments):
    return _train(*arguments, rate=lambda s, S, W: s / W if s < W else _rate(s, S, W))


@training.mistake("There is no warmup: your first steps run at the peak rate.")
def no_warmup(*arguments):
    return _train(*arguments, rate=lambda s, S, W: 1.0 if s < W else _rate(s, S, W))


@training.mistake("After the warmup your rate stays at its peak. It should fall along half a cosine, towards 0.")
def no_decay(*arguments):
    return _train(*arguments, rate=lambda s, S, W: (s + 1) / W if s < W else 1.0)


@training.mistake("The learning rate never changes: every one of your steps runs at the peak rate.")
def constant_rate(*arguments):
    return _train(*arguments, rate=lambda s, S, W: 1.0)


@training.mistake("Your rate falls in a straight line. Asked for is half a cosine: slow, fast, slow.")
def straight_decay(*arguments):
    return _train(*arguments, rate=lambda s, S, W: (s + 1) / W if s < W else 1 - (s - W) / (S - W))


@training.mistake(
    "Your cosine starts at step 0, so after the warmup the rate jumps down. It starts where the warmup ends, at the peak."
)
def cosine_from_the_start(*arguments):
    return _train(*arguments, rate=lambda s, S, W: (s + 1) / W if s < W else 0.5 * (1 + math.cos(math.pi * s / S)))


@training.mistake(
    "Your cosine is too long: after the warmup there are only S − W steps left for it, so it does not come down to 0."
)
def cosine_too_long(*arguments):
    return _train(
        *arguments, rate=lambda s, S, W: (s + 1) / W if s < W else 0.5 * (1 + math.cos(math.pi * (s - W) / S))
    )


@training.mistake(
    "Your cosine is not lifted: it goes from 1 to −1, and in the second half you climb the loss instead of going down. "
    "Lifted by 1 and halved, it goes from 1 to 0."
)
def cosine_below_zero(*arguments):
    return _train(*arguments, rate=lambda s, S, W: (s + 1) / W if s < W else math.cos(math.pi * (s - W) / (S - W)))


@training.mistake(
    "Your rate falls only along a quarter of a cosine. Half a period is asked for: from 1 to −1, lifted and halved."
)
def quarter_of_a_cosine(*arguments):
    return _train(
        *arguments, rate=lambda s, S, W: (s + 1) / W if s < W else math.cos(0.5 * math.pi * (s - W) / (S - W))
    )


@training.mistake(
    "The rate of each step is set after its update, so every step runs at the rate of the one before, and the first at "
    "the peak."
)
def rate_one_step_late(*arguments):
    return _train(*arguments, rate_late=True)


@training.mistake("Your gradients are never shortened (or only after the update, or before they are computed).")
def not_clipped(*arguments):
    return _train(*arguments, clip=None)


@training.mistake(
    "You clip each entry of the gradient on its own, which changes its direction. Clip its length: all parameters "
    "together, as one long vector."
)
def clipped_by_value(*arguments):
    return _train(*arguments, clip="value")


@training.mistake(
    "You clip the gradient of each parameter on its own. It is one vector of all parameters together whose length must "
    "not exceed 1."
)
def clipped_one_by_one(*arguments):
    return _train(*arguments, clip="each")


@training.mistake("The gradients of all steps so far pile up. They must be cleared once in every step.")
def never_cleared(*arguments):
    return _train(*arguments, clear="never")


@training.mistake(
    "Your gradients are cleared after they are computed and before the update, so it moves by nothing but the weight "
    "decay."
)
def cleared_too_late(*arguments):
    return _train(*arguments, clear="too late")


@training.mistake("The weight decay is AdamW's default of 0.01. Asked for is 0.05.")
def default_weight_decay(*arguments):
    return _train(*arguments, decay=0.01)


@training.mistake("There is no weight decay. Asked for is 0.05.")
def no_weight_decay(*arguments):
    return _train(*arguments, decay=0.0)


@training.mistake(
    "Your optimizer is Adam, whose weight decay goes through the gradient. AdamW shrinks the weights themselves."
)
def adam_without_w(*arguments):
    return _train(*arguments, optimizer=torch.optim.Adam)


@training.mistake("Your optimizer is plain SGD. AdamW is asked for.")
def plain_sgd(*arguments):
    return _train(*arguments, optimizer=torch.optim.SGD)


@training.mistake(
    "Your scores go through a softmax before they reach the cross entropy, which has one of its own. Give it the raw "
    "scores."
)
def two_softmaxes(*arguments):
    return _train(*arguments, score=lambda scores, labels: F.cross_entropy(scores.softmax(dim=1), labels))


@training.mistake(
    "Your batches are random, but not drawn from the generator you were given: nobody can repeat your run."
)
def own_generator(model, images, labels, steps, batch_size, *rest):
    draw = lambda: torch.randint(len(images), (batch_size,))
    return _train(model, images, labels, steps, batch_size, *rest, draw=draw)


@training.mistake("Every step uses the same batch: draw a new one inside the loop.")
def one_batch_for_all(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator):
    chosen = torch.randint(len(images), (batch_size,), generator=generator)
    return _train(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator, draw=lambda: chosen)


@training.mistake("The training is right, but you return only the last loss. One for each step is asked for.")
def only_last_loss(*arguments):
    return _train(*arguments, returned=lambda losses: losses[-1])


@training.mistake("The training is right, but you return nothing. The list of the losses is asked for.")
def no_losses(*arguments):
    _train(*arguments)


@training.mistake(
    "Your cosine reaches 0 in the last step, because it is spread over one step too few. It has the S − W steps after the "
    "warm-up."
)
def zero_in_the_last_step(*arguments):
    return _train(
        *arguments, rate=lambda s, S, W: (s + 1) / W if s < W else 0.5 * (1 + math.cos(math.pi * (s - W) / (S - W - 1)))
    )


@training.mistake(
    "Your warm-up is one step too long: the rate climbs beyond its peak. Step number W is the first of the cosine."
)
def warmup_one_step_longer(*arguments):
    return _train(*arguments, rate=lambda s, S, W: (s + 1) / W if s <= W else _rate(s, S, W))


@training.mistake(
    "The training is right, but each loss is measured after its step. Asked for is the loss that the step went down from."
)
def losses_after_the_step(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator):
    after = []
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = peak_rate * _rate(step, steps, warmup_steps)
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        after.append(F.cross_entropy(model(images[chosen]), labels[chosen]).item())
    return after


@training.alternative
def train_with_scheduler(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator):
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.05, foreach=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, warmup_steps))
    criterion = nn.CrossEntropyLoss()
    losses = torch.zeros(steps)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=False)
        chosen = torch.randint(0, len(labels), [batch_size], generator=generator)
        loss = criterion(model(images[chosen]), labels[chosen])
        loss.backward()
        nn.utils.clip_grad_norm_(list(model.parameters()), max_norm=1)
        optimizer.step()
        schedule.step()
        losses[step] = loss.detach()
    return losses


@training.alternative
def train_clipping_by_hand(model, images, labels, steps, batch_size, peak_rate, warmup_steps, generator):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05)
    history = []
    for step in range(steps):
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        likelihood = torch.log_softmax(model(images[chosen]), dim=1)
        loss = -likelihood[torch.arange(batch_size), labels[chosen]].mean()
        gradients = torch.autograd.grad(loss, parameters)
        length = sum(gradient.square().sum() for gradient in gradients).sqrt()
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient / max(1.0, float(length))
        optimizer.param_groups[0]["lr"] = peak_rate * _rate(step, steps, warmup_steps)
        optimizer.step()
        history.append(float(loss.detach()))
    return history


# ------------------------------------------------------------------------------------------------------------
# 9. attention_rollout

rollouts = homework.exercise(
    "attention_rollout",
    points=5,
    hints=(
        (
            "Print `rollout.sum(-1)`: is it 1 in every row? If not, look at one layer's matrix: softmax, mean "
            "over the heads, identity."
        ),
        "Take one layer only: R is then half of the mean over the heads plus half of the identity. Print both.",
        (
            "Put the two matrices of the example by hand into your product: is the first row 0.75 and 0.25? If it "
            "is 0.5 and 0.5, they stand in the other order."
        ),
    ),
)


@rollouts.inputs
def _(draw: Draw):
    for _ in range(2):
        L, B, h, N, d = draw.sizes(5, low=2, high=7)
        L, N = (L, N) if L > 2 else (N, L)  # with two layers some mistakes fall together
        yield Call("attention_rollout", {"q": 2 * draw.normal(L, B, h, N, d), "k": draw.normal(L, B, h, N, d)})


def _layers(q, k, scale=None, axis=-1):
    """Weights (L, B, h, N, N)."""
    return (q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)).softmax(dim=axis)


def _roll(layers, own=0.5, first_layer_first=True):
    """Rollout of (L, B, N, N), with parts that a mistake replaces."""
    identity = torch.eye(layers.shape[-1])
    product = identity.expand(layers.shape[1], -1, -1)
    for layer in layers if first_layer_first else layers.flip(0):
        product = ((1 - own) * layer + own * identity) @ product
    return product


@rollouts.mistake("The identity is missing: the residual connection carries half of every token on to itself.")
def without_residual(q, k):
    return _roll(_layers(q, k).mean(2), own=0.0)


@rollouts.mistake(
    "You added the identity without halving, so your rows sum to 2 after one layer, and to 4 after two. Weights and "
    "identity count half each."
)
def identity_not_halved(q, k):
    return _roll(_layers(q, k).mean(2)) * 2 ** len(q)


@rollouts.mistake(
    "Your layers are multiplied in the wrong order. The last layer reads what the earlier ones have made, so its matrix "
    "stands on the left."
)
def first_layer_on_the_left(q, k):
    return _roll(_layers(q, k).mean(2), first_layer_first=False)


@rollouts.mistake("Your result lies on its side: row i belongs to output token i, and its rows sum to 1.")
def rollout_transposed(q, k):
    return _roll(_layers(q, k).mean(2)).mT


@rollouts.mistake(
    "You averaged the layers. What flows through one layer flows on through the next: their matrices are multiplied."
)
def layers_averaged(q, k):
    return (0.5 * _layers(q, k).mean(2) + 0.5 * torch.eye(q.shape[-2])).mean(0)


@rollouts.mistake("You added the layers up. Their matrices are multiplied, because each reads what the last has made.")
def layers_added(q, k):
    return (0.5 * _layers(q, k).mean(2) + 0.5 * torch.eye(q.shape[-2])).sum(0)


@rollouts.mistake("Your result is that of the last layer alone.")
def last_layer_only(q, k):
    return _roll(_layers(q, k).mean(2)[-1:])


@rollouts.mistake("Your result is that of the first layer alone.")
def first_layer_only(q, k):
    return _roll(_layers(q, k).mean(2)[:1])


@rollouts.mistake("You took the largest weight over the heads. Later work does that; here the heads are averaged.")
def largest_over_heads(q, k):
    return _roll(_layers(q, k).amax(2))


@rollouts.mistake(
    "You followed each head on its own through all layers and averaged at the end. After each layer the heads are mixed "
    "again: average them first."
)
def heads_followed_alone(q, k):
    layers = _layers(q, k)
    return torch.stack([_roll(layers[:, :, head]) for head in range(layers.shape[2])]).mean(0)


@rollouts.mistake("You summed over the heads instead of averaging, so the rows no longer sum to 1.")
def heads_summed(q, k):
    return _roll(_layers(q, k).sum(2))


@rollouts.mistake("The scores are not divided by the square root of d before the softmax.")
def rollout_without_scale(q, k):
    return _roll(_layers(q, k, scale=1.0).mean(2))


@rollouts.mistake("Your softmax runs over the queries. Each query shares out its own attention over the keys.")
def rollout_softmax_over_queries(q, k):
    return _roll(_layers(q, k, axis=-2).mean(2))


@rollouts.mistake("You multiplied entry by entry. The layers' matrices are multiplied as matrices, along the tokens.")
def entry_by_entry(q, k):
    return (0.5 * _layers(q, k).mean(2) + 0.5 * torch.eye(q.shape[-2])).prod(0)


@rollouts.mistake("You return the class token's row only. The whole matrix is asked for, (B, N, N).")
def class_row_only(q, k):
    return _roll(_layers(q, k).mean(2))[:, 0]


@rollouts.mistake(
    "You average the scores of the heads, before the softmax. It is their weights that are averaged: a softmax in each head, "
    "then the mean."
)
def scores_averaged(q, k):
    return _roll((q @ k.mT * q.shape[-1] ** -0.5).mean(2).softmax(dim=-1))


@rollouts.alternative
def rollout_by_einsum(q, k):
    scores = einsum(q, k, "l b h n d, l b h m d -> l b h n m") / math.sqrt(q.shape[-1])
    mixed = scores.softmax(-1).mean(dim=2) + torch.eye(q.shape[3])
    mixed = mixed / mixed.sum(dim=-1, keepdim=True)
    rollout = mixed[0]
    for layer in range(1, len(mixed)):
        rollout = torch.einsum("bij,bjk->bik", mixed[layer], rollout)
    return rollout


@rollouts.alternative
def rollout_from_the_end(q, k):
    rollout = None
    for layer in reversed(range(q.shape[0])):
        weights = F.softmax(q[layer] @ k[layer].transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1).mean(dim=1)
        step = (weights + torch.eye(weights.shape[-1])) / 2
        rollout = step if rollout is None else torch.bmm(rollout, step)
    return rollout


# ------------------------------------------------------------------------------------------------------------
# 10. mean_attention_distance

reach = homework.exercise(
    "mean_attention_distance",
    points=5,
    hints=(
        (
            "Print the middles of four patches on a grid that is two wide, P = 16, then the distances from the "
            "first: 0, 16, 16 and 22.6 pixels?"
        ),
        "Take the class token out and print the sum of each row of weights: is it 1 again?",
        (
            "Try the example by hand: one image, one head, two queries with the weights 0.5, 0.25, 0.25 each, a "
            "grid two wide, P = 16. Is it 8? Which axes do you average over, and is that of the heads left?"
        ),
    ),
)


@reach.inputs
def _(draw: Draw):
    for B, h in ((2, 4), (4, 3)):
        gh, gw = draw.sizes(2, low=3, high=5)
        weights = (1.5 * draw.normal(B, h, gh * gw, gh * gw + 1)).softmax(dim=-1)
        yield Call(
            "mean_attention_distance",
            {
                "weights": weights,
                "grid_width": gw,
                "patch_size": draw.integer(6, 9),
            },
        )


def _lengths(N, grid_width, P, measure="straight"):
    """Distances (N, N) of the middles of patches."""
    place = torch.arange(N)
    middle = P * torch.stack([place // grid_width, place % grid_width], dim=1).float()
    along = (middle[:, None] - middle[None]).abs()  # (N, N, 2)
    if measure == "blocks":
        return along.sum(-1)
    if measure == "larger":
        return along.amax(-1)
    squared = along.square().sum(-1)
    return squared if measure == "squared" else squared.sqrt()


def _to_patches(weights):
    return weights[..., 1:] / weights[..., 1:].sum(-1, keepdim=True)


def _reach(weights, lengths):
    return (weights * lengths).sum(-1).mean((0, 2))


@reach.mistake(
    "You left the class token out, but the weights that are left no longer sum to 1: share them out anew, or heads that "
    "look at the class token seem short-sighted."
)
def not_shared_anew(weights, grid_width, P):
    return _reach(weights[..., 1:], _lengths(weights.shape[2], grid_width, P))


@reach.mistake("You left out the last patch instead of the class token: the class token is key 0.")
def last_key_left_out(weights, grid_width, P):
    kept = weights[..., :-1] / weights[..., :-1].sum(-1, keepdim=True)
    return _reach(kept, _lengths(weights.shape[2], grid_width, P))


@reach.mistake(
    "You kept the class token, as if it were the patch in the upper left corner, and moved all others on by one place."
)
def class_token_kept(weights, grid_width, P):
    return _reach(weights, _lengths(weights.shape[2] + 1, grid_width, P)[:-1])


@reach.mistake("Your distances are in patches. In pixels is asked for: neighbours lie one patch side apart.")
def in_patches(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, 1))


@reach.mistake("Your distances go along the streets: rows plus columns. The straight line is asked for, by Pythagoras.")
def along_the_streets(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P, "blocks"))


@reach.mistake("Your distances are the larger of the two along rows and columns. The straight line is asked for.")
def larger_of_two(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P, "larger"))


@reach.mistake("Your distances are squared: the root is missing.")
def squared_distance(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P, "squared"))


@reach.mistake(
    "You took the distance along the sequence. Two patches below each other are far apart in the sequence and neighbours "
    "in the image: find row and column of each."
)
def along_the_sequence(weights, grid_width, P):
    place = P * torch.arange(weights.shape[2]).float()
    return _reach(_to_patches(weights), (place[:, None] - place).abs())


@reach.mistake("You took the height of the grid for its width: patches number 0 to grid_width − 1 lie side by side.")
def grid_on_its_side(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], weights.shape[2] // grid_width, P))


@reach.mistake("Your head's distance is to the key it looks at most. All keys count, each by its weight.")
def favourite_key_only(weights, grid_width, P):
    lengths = _lengths(weights.shape[2], grid_width, P).expand(weights[..., 1:].shape)
    return lengths.gather(-1, weights[..., 1:].argmax(-1, keepdim=True))[..., 0].mean((0, 2))


@reach.mistake(
    "You left out what a patch gives to itself. It counts, at distance 0: a head that looks at its own patch looks near."
)
def itself_left_out(weights, grid_width, P):
    others = weights[..., 1:] * (1 - torch.eye(weights.shape[2]))
    return _reach(others / others.sum(-1, keepdim=True), _lengths(weights.shape[2], grid_width, P))


@reach.mistake("You averaged over the heads too. Heads differ, and that is what is to be seen: one number for each.")
def averaged_over_heads(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P)).mean()


@reach.mistake("You added the queries up. Their mean is asked for, or a larger image would seem far-sighted.")
def queries_added(weights, grid_width, P):
    return weights.shape[2] * _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P))


@reach.mistake("You averaged the products over the keys. Along the keys they are summed: the weights already sum to 1.")
def mean_over_keys(weights, grid_width, P):
    return _reach(_to_patches(weights), _lengths(weights.shape[2], grid_width, P)) / weights.shape[2]


@reach.alternative
def reach_by_loops(weights, grid_width, patch_size):
    B, h, N, _ = weights.shape
    total = torch.zeros(h)
    for i in range(N):
        for j in range(N):
            far = math.hypot(i // grid_width - j // grid_width, i % grid_width - j % grid_width) * patch_size
            total += (weights[:, :, i, j + 1] / (1 - weights[:, :, i, 0])).sum(dim=0) * far
    return total / (B * N)


@reach.alternative
def reach_by_einsum(weights, grid_width, patch_size):
    N = weights.shape[2]
    y, x = torch.meshgrid(torch.arange(N // grid_width), torch.arange(grid_width), indexing="ij")
    y, x = (axis.flatten().double() * patch_size for axis in (y, x))
    far = ((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2).sqrt()
    kept = weights[:, :, :, 1:].double()
    return einsum(kept / kept.sum(3, keepdim=True), far, "b h i j, i j -> h") / (len(weights) * N)


# ------------------------------------------------------------------------------------------------------------
# 11. distillation_losses

distilling = homework.exercise(
    "distillation_losses",
    points=5,
    targets=("soft_distillation_loss", "hard_distillation_loss"),
    hints=(
        (
            "For the hard loss, print the classes that the teacher says, and the two cross entropies by "
            "themselves: which scores are held against which classes?"
        ),
        (
            "For the soft one, set `weight` to 0: is only the cross entropy with the labels left? Then set it to "
            "1 and the temperature to 1, teacher scores ln 0.75 and ln 0.25, scores 0 and 0: 0.131?"
        ),
        (
            "Still the soft one: is the sum over the classes taken for each image, and then the mean over the "
            "batch? Where does the temperature stand: in the student, in the teacher, and once more in front?"
        ),
    ),
)


@distilling.inputs
def _(draw: Draw):
    for _ in range(2):
        B, K = draw.sizes(2, low=4, high=8)
        labels = draw.integers(0, K - 1, B)
        yield Call(
            "soft_distillation_loss",
            {
                "scores": 2 * draw.normal(B, K),
                "labels": labels,
                "teacher_scores": 3 * draw.normal(B, K),
                "temperature": 1.5 + draw.integer(1, 3),
                "weight": draw.integer(2, 4) / 10,
            },
            gradients=("scores",),
        )
        yield Call(
            "hard_distillation_loss",
            {
                "scores": 2 * draw.normal(B, K),
                "distillation_scores": 2 * draw.normal(B, K),
                "labels": labels,
                "teacher_scores": 3 * draw.normal(B, K),
            },
            gradients=("scores", "distillation_scores"),
        )


def _soft(scores, labels, teacher, temperature, weight, factor=None, hot=(True, True), over=None):
    """The right loss with replaceable parts; `over` makes the divergence from log-probabilities (student, teacher)."""
    student = F.log_softmax(scores / (temperature if hot[0] else 1), dim=1)
    teacher = F.log_softmax(teacher / (temperature if hot[1] else 1), dim=1)
    divergence = over(student, teacher) if over else _divergence(student, teacher)
    factor = temperature**2 if factor is None else factor
    return (1 - weight) * F.cross_entropy(scores, labels) + weight * factor * divergence


def _divergence(student, teacher):
    return (teacher.exp() * (teacher - student)).sum(1).mean()


soft_mistake = lambda sentence: distilling.mistake(sentence, target="soft_distillation_loss")
hard_mistake = lambda sentence: distilling.mistake(sentence, target="hard_distillation_loss")


@soft_mistake(
    "soft_distillation_loss gives torch's divergence the student's probabilities. As its first argument it takes their "
    "logarithms."
)
def divergence_of_probabilities(*arguments):
    return _soft(
        *arguments, over=lambda student, teacher: F.kl_div(student.exp(), teacher.exp(), reduction="batchmean")
    )


@soft_mistake(
    "soft_distillation_loss lacks the factor of the temperature squared: the hotter, the less the teacher counts."
)
def without_factor(*arguments):
    return _soft(*arguments, factor=1)


@soft_mistake(
    "soft_distillation_loss has the temperature as a factor. Its square is needed to bring the gradients back."
)
def factor_not_squared(scores, labels, teacher, temperature, weight):
    return _soft(scores, labels, teacher, temperature, weight, factor=temperature)


@soft_mistake(
    "soft_distillation_loss has teacher and student of the divergence in exchange. The average is taken by the teacher's "
    "probabilities."
)
def divergence_reversed(*arguments):
    return _soft(*arguments, over=lambda student, teacher: _divergence(teacher, student))


@soft_mistake(
    "soft_distillation_loss divides the divergence by the number of classes too. It is a sum over the classes and a mean "
    "over the images; the default of kl_div averages over both."
)
def mean_over_classes(*arguments):
    return _soft(*arguments, over=lambda student, teacher: _divergence(student, teacher) / student.shape[1])


@soft_mistake("soft_distillation_loss adds the divergences of the images up. Their mean is asked for.")
def divergences_added(*arguments):
    return _soft(*arguments, over=lambda student, teacher: _divergence(student, teacher) * len(student))


@soft_mistake(
    "soft_distillation_loss softens the student only: the teacher's scores are divided by the temperature too."
)
def teacher_not_softened(*arguments):
    return _soft(*arguments, hot=(True, False))


@soft_mistake(
    "soft_distillation_loss softens the teacher only: the student's scores are divided by the temperature too."
)
def student_not_softened(*arguments):
    return _soft(*arguments, hot=(False, True))


@soft_mistake("soft_distillation_loss makes no use of the temperature in its two softmaxes.")
def nothing_softened(*arguments):
    return _soft(*arguments, hot=(False, False))


@soft_mistake(
    "soft_distillation_loss has the two shares in exchange: `weight` is the teacher's, the rest is the label's."
)
def shares_swapped(scores, labels, teacher, temperature, weight):
    return _soft(scores, labels, teacher, temperature, 1 - weight)


@soft_mistake(
    "soft_distillation_loss is the cross entropy with the teacher instead of the divergence. The gradients are the same, "
    "but a perfect student's loss would not be 0: the teacher's own term is missing."
)
def cross_entropy_with_teacher(*arguments):
    return _soft(*arguments, over=lambda student, teacher: -(teacher.exp() * student).sum(1).mean())


@soft_mistake(
    "soft_distillation_loss softens the scores for the label's cross entropy as well. There they stay as they are."
)
def label_term_softened(scores, labels, teacher, temperature, weight):
    label_term = F.cross_entropy(scores / temperature, labels) - F.cross_entropy(scores, labels)
    return _soft(scores, labels, teacher, temperature, weight) + (1 - weight) * label_term


@soft_mistake(
    "soft_distillation_loss adds both terms in full. They share: 1 − weight for the label, weight for the teacher."
)
def both_in_full(scores, labels, teacher, temperature, weight):
    return _soft(scores, labels, teacher, temperature, weight) / weight + (2 - 1 / weight) * F.cross_entropy(
        scores, labels
    )


@soft_mistake("soft_distillation_loss leaves out the labels: a share of 1 − weight is theirs.")
def labels_left_out(scores, labels, teacher, temperature, weight):
    return _soft(scores, labels, teacher, temperature, weight) - (1 - weight) * F.cross_entropy(scores, labels)


@hard_mistake("hard_distillation_loss adds the two cross entropies in full. Each counts half.")
def not_halved(scores, distilled, labels, teacher):
    return F.cross_entropy(scores, labels) + F.cross_entropy(distilled, teacher.argmax(1))


@hard_mistake(
    "hard_distillation_loss has the two tasks in exchange: the class token's scores answer the label, those of the "
    "distillation token the teacher."
)
def tasks_swapped(scores, distilled, labels, teacher):
    return 0.5 * F.cross_entropy(distilled, labels) + 0.5 * F.cross_entropy(scores, teacher.argmax(1))


@hard_mistake("hard_distillation_loss compares both scores with the label. The second ones are the teacher's.")
def both_by_label(scores, distilled, labels, teacher):
    return 0.5 * F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(distilled, labels)


@hard_mistake("hard_distillation_loss compares both scores with the teacher. The first ones are the label's.")
def both_by_teacher(scores, distilled, labels, teacher):
    said = teacher.argmax(1)
    return 0.5 * F.cross_entropy(scores, said) + 0.5 * F.cross_entropy(distilled, said)


@hard_mistake(
    "hard_distillation_loss reads only the scores of the class token. The teacher's half is asked of the distillation "
    "token."
)
def class_token_for_both(scores, distilled, labels, teacher):
    return 0.5 * F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(scores, teacher.argmax(1))


@hard_mistake(
    "hard_distillation_loss uses the teacher's whole distribution. Hard means: only the class that it thinks likeliest."
)
def soft_for_hard(scores, distilled, labels, teacher):
    return 0.5 * F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(distilled, teacher.softmax(1))


@hard_mistake("hard_distillation_loss asks for the class that the teacher thinks least likely.")
def least_likely(scores, distilled, labels, teacher):
    return 0.5 * F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(distilled, teacher.argmin(1))


@distilling.alternative
def soft_by_kl_div(scores, labels, teacher_scores, temperature, weight):
    divergence = F.kl_div(
        F.log_softmax(scores / temperature, dim=-1),
        F.softmax(teacher_scores / temperature, dim=-1),
        reduction="batchmean",
    )
    return (1 - weight) * F.cross_entropy(scores, labels) + weight * divergence * temperature * temperature


@distilling.alternative
def soft_image_by_image(scores, labels, teacher_scores, temperature, weight):
    total = 0.0
    for score, label, teacher in zip(scores, labels, teacher_scores):
        p, s = (teacher / temperature).softmax(0), (score / temperature).softmax(0)
        total = total - (1 - weight) * score.log_softmax(0)[label] + weight * temperature**2 * (p * (p / s).log()).sum()
    return total / len(scores)


@distilling.alternative(target="hard_distillation_loss")
def hard_by_one_hot(scores, distillation_scores, labels, teacher_scores):
    K = scores.shape[1]
    answers = F.one_hot(labels, K), F.one_hot(teacher_scores.max(dim=1).indices, K)
    terms = [(answer * s.log_softmax(1)).sum(1) for answer, s in zip(answers, (scores, distillation_scores))]
    return -torch.stack(terms).mean()


@distilling.alternative(target="hard_distillation_loss")
def hard_by_module(scores, distillation_scores, labels, teacher_scores):
    criterion = nn.CrossEntropyLoss()
    said = teacher_scores.softmax(dim=-1).argmax(dim=-1).detach()
    return (criterion(scores, labels) + criterion(distillation_scores, said)) / 2


# ------------------------------------------------------------------------------------------------------------
# 12. DistilledVisionTransformer

deit = homework.exercise(
    "DistilledVisionTransformer",
    points=4,
    hints=(
        (
            "Print names and shapes of the parameters beside those of exercise 6: what is new, and how many rows "
            "has `positions`?"
        ),
        "Print the shape before the first block, (B, N + 2, D): which token stands at place 0, which at place 1?",
        (
            "Look at the two scores by themselves before they are averaged: which head reads which token, and "
            "have both tokens been through `norm`?"
        ),
    ),
)


@deit.inputs
def _(draw: Draw):
    for size, both in ((1.0, False), (0.003, True)):
        yield _vit_call(draw, "DistilledVisionTransformer", size, extra_tokens=2, both=both)


class _DeiT(_ViT):
    """Right, with parts that a mistake replaces."""

    extra_tokens = 2

    def __init__(self, height, width, patch_size, channels, embed_dim, num_classes, *blocks):
        super().__init__(height, width, patch_size, channels, embed_dim, num_classes, *blocks)
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.head_distilled = nn.Linear(embed_dim, num_classes)

    def sequence(self, x):
        return _in_front(_in_front(x, self.distillation_token), self.class_token) + self.positions

    def pair(self, x):
        x = self.norm(x)
        return self.head(x[:, 0]), self.head_distilled(x[:, 1])

    def together(self, scores, distilled):
        return (scores + distilled) / 2

    def forward(self, images, both=False):
        pair = self.pair(self.encode(self.sequence(self.patches(images))))
        return pair if both else self.together(*pair)


@deit.mistake(
    "All is put together well, but the eps of your norm is PyTorch's default of 1e-5. The published models have 1e-6."
)
class DistilledDefaultEps(_DeiT):
    eps = 1e-5


@deit.mistake("Your distillation token comes before the class token. The order is class, distillation, patches.")
class DistillationFirst(_DeiT):
    def sequence(self, x):
        return _in_front(_in_front(x, self.class_token), self.distillation_token) + self.positions

    def pair(self, x):
        x = self.norm(x)
        return self.head(x[:, 1]), self.head_distilled(x[:, 0])


@deit.mistake("Your distillation token stands behind the patches. The order is class, distillation, patches.")
class DistillationLast(_DeiT):
    def sequence(self, x):
        x = torch.cat([_in_front(x, self.class_token), self.distillation_token.expand(len(x), -1, -1)], dim=1)
        return x + self.positions

    def pair(self, x):
        x = self.norm(x)
        return self.head(x[:, 0]), self.head_distilled(x[:, -1])


@deit.mistake(
    "Your heads have exchanged their tokens: head reads the class token, head_distilled the distillation token."
)
class HeadsSwapped(_DeiT):
    def pair(self, x):
        x = self.norm(x)
        return self.head(x[:, 1]), self.head_distilled(x[:, 0])


@deit.mistake("Both of your heads read the class token. head_distilled reads the distillation token.")
class BothReadClassToken(_DeiT):
    def pair(self, x):
        x = self.norm(x)[:, 0]
        return self.head(x), self.head_distilled(x)


@deit.mistake("Your layer head answers for both tokens. The distillation token has a head of its own.")
class OneHeadForBoth(_DeiT):
    def pair(self, x):
        x = self.norm(x)
        return self.head(x[:, 0]), self.head(x[:, 1])


@deit.mistake("Used alone, your network adds the scores of the two heads. Their mean is asked for.")
class ScoresAdded(_DeiT):
    def together(self, scores, distilled):
        return scores + distilled


@deit.mistake("Used alone, your network answers with the class token's head only. The mean of both is asked for.")
class ClassTokenAnswers(_DeiT):
    def together(self, scores, distilled):
        return scores


@deit.mistake("Used alone, your network answers with the teacher's head only. The mean of both is asked for.")
class DistillationTokenAnswers(_DeiT):
    def together(self, scores, distilled):
        return distilled


@deit.mistake("You average probabilities. The mean of the raw scores is asked for, without a softmax.")
class ProbabilitiesAveraged(_DeiT):
    def together(self, scores, distilled):
        return (scores.softmax(-1) + distilled.softmax(-1)) / 2


@deit.mistake(
    "Your pair is in the wrong order: the class token's scores first, those of the distillation token second."
)
class PairReversed(_DeiT):
    def forward(self, images, both=False):
        out = super().forward(images, both)
        return out[::-1] if both else out


@deit.mistake("Your network never gives the pair: `both` has no effect.")
class NeverAPair(_DeiT):
    def forward(self, images, both=False):
        return super().forward(images)


@deit.mistake("Your network gives the pair even where it is not asked for: then the mean is wanted.")
class AlwaysAPair(_DeiT):
    def forward(self, images, both=False):
        return super().forward(images, True)


@deit.mistake("The final norm is missing: both heads read the normalised stream.")
class NoNormBeforeHeads(_DeiT):
    def pair(self, x):
        return self.head(x[:, 0]), self.head_distilled(x[:, 1])


@deit.mistake("The distillation token is not normalised before its head. norm is shared: both tokens pass through it.")
class DistillationNotNormalised(_DeiT):
    def pair(self, x):
        return self.head(self.norm(x[:, 0])), self.head_distilled(x[:, 1])


@deit.mistake("The positions are never added, neither to the two tokens in front nor to the patches.")
class DistilledWithoutPositions(_DeiT):
    def sequence(self, x):
        return _in_front(_in_front(x, self.distillation_token), self.class_token)


@deit.mistake("Your two tokens in front have no positions. The table has N + 2 rows: the first two are theirs.")
class TwoWithoutPositions(_DeiT):
    def sequence(self, x):
        return _in_front(_in_front(x + self.positions[:, 2:], self.distillation_token), self.class_token)


@deit.alternative
class DeitFromSequential(nn.Module):
    def __init__(self, height, width, patch, channels, dim, classes, *blocks):
        super().__init__()
        self.head_distilled, self.head = nn.Linear(dim, classes), nn.Linear(dim, classes)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.distillation_token, self.class_token = (nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(2))
        self.positions = nn.Parameter(torch.zeros(1, height * width // patch**2 + 2, dim))
        self.patch_embed = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, images, both=False):
        x = self.patch_embed(images).permute(0, 2, 3, 1).flatten(1, 2)
        first, second = (token.repeat(len(x), 1, 1) for token in (self.class_token, self.distillation_token))
        x = self.norm(self.blocks(torch.cat((first, second, x), dim=1) + self.positions)[:, :2])
        pair = self.head(x[:, 0]), self.head_distilled(x[:, 1])
        return pair if both else torch.stack(pair).mean(dim=0)


@deit.alternative
class DeitWithParentSequence(_DeiT):
    """Adds each of the three parts its own rows of the table."""

    def sequence(self, x):
        first = self.class_token + self.positions[:, :1]
        second = self.distillation_token + self.positions[:, 1:2]
        return _in_front(_in_front(x + self.positions[:, 2:], second), first)
