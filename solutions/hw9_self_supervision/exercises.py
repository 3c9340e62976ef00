"""Homework 9: masked images, contrast, a teacher that follows, the linear probe, and boxes matched as a set.

The right answers stand in ``hw9_self_supervision.py``. Here, exercise by exercise: the inputs it is tried on, the
mistakes people make with the sentence that names each, and other right answers.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat

from course.checks import Call, Credit, Draw, Homework, Probe, Seeded

homework = Homework(
    "hw9_self_supervision",
    forbidden=(
        "torchvision.ops.box_iou",
        "torchvision.ops.generalized_box_iou",
        "torchvision.ops.generalized_box_iou_loss",
        "torchvision.ops.boxes",
        "torchvision.ops.giou_loss",
        "torch.optim.swa_utils",
        "sklearn",
        "course.analysis",
        "course.training",
    ),
)

# Right values whose gradient is lost are most of the work, and useless for training: they earn eight tenths.
WITH_GRADIENTS = Credit(shape=0.1, values=0.7, gradients=0.2)


# ------------------------------------------------------------------------------------------------------------
# 1. random_masking and unmask

masking = homework.exercise(
    "random_masking",
    points=7,
    targets=("random_masking", "unmask"),
    credit=WITH_GRADIENTS,
    hints=(
        "Use the example by hand: three tokens, the numbers 0.5, 0.9 and 0.1. Which of your three results differs?",
        "Keep all tokens: does `unmask` then give back what `random_masking` was given, token for token?",
        "One list says which token comes first, second, third. Another says at which place each token now stands. Which is yours?",
    ),
)


@masking.inputs
def _(draw: Draw):
    for _ in range(2):
        B, D, N = sorted(draw.sizes(3, low=3, high=9))
        N, keep = N + 4, N
        arguments = {"x": draw.normal(B, N, D), "keep": keep, "generator": Seeded(draw.integer(0, 10**6))}
        yield Call("random_masking", arguments, gradients=("x",))
        places = torch.stack([torch.randperm(N, generator=draw.generator) for _ in range(B)])  # (B, N)
        arguments = {"kept": draw.normal(B, keep, D), "places": places, "mask_token": draw.normal(D) + 1}
        yield Call("unmask", arguments, gradients=("kept", "mask_token"))


def _at(x, order):
    return torch.stack([tokens[chosen] for tokens, chosen in zip(x, order)])


def _masked(x, order, keep):
    """The three results from the order of the tokens (B, N)."""
    places = order.argsort(dim=1)
    return _at(x, order[:, :keep]), places >= keep, places


def _order(x, generator):
    return torch.rand(x.shape[:2], generator=generator).argsort(dim=1)


def _unmasked(kept, places, mask_token):
    filling = mask_token.expand(kept.shape[0], places.shape[1] - kept.shape[1], -1)
    return _at(torch.cat([kept, filling], dim=1), places)


@masking.mistake("You kept the tokens that drew the largest numbers. Asked for are those with the smallest ones.")
def keeps_largest_draws(x, keep, generator):
    return _masked(x, torch.rand(x.shape[:2], generator=generator).argsort(dim=1, descending=True), keep)


@masking.mistake("All your images hide the same places. Each image has numbers of its own, and goes by them.")
def one_draw_for_the_batch(x, keep, generator):
    order = _order(x, generator)
    return _masked(x, order[:1].expand_as(order), keep)


@masking.mistake(
    "Your kept tokens are the right ones in their old order. The one that drew the smallest number comes first."
)
def kept_tokens_sorted_back(x, keep, generator):
    order = _order(x, generator)
    kept, mask, places = _masked(x, order, keep)
    return _at(x, order[:, :keep].sort(dim=1).values), mask, places


@masking.mistake("Your mask is upside down: True stands for a hidden token.")
def true_where_kept(x, keep, generator):
    kept, mask, places = _masked(x, _order(x, generator), keep)
    return kept, ~mask, places


@masking.mistake(
    "Your third result lists the tokens in their new order. Asked for is the inverse: for each token, the place at which it now stands."
)
def order_in_place_of_places(x, keep, generator):
    order = _order(x, generator)
    return *_masked(x, order, keep)[:2], order


@masking.mistake(
    "Your mask is False at the first places of every image. It has to be brought back to the places of the image."
)
def mask_in_the_new_order(x, keep, generator):
    kept, mask, places = _masked(x, _order(x, generator), keep)
    return kept, (torch.arange(x.shape[1]) >= keep).expand_as(mask), places


@masking.mistake(
    "Your mask looks at the list of tokens in the new order. Whether a token is hidden depends on its place in it."
)
def mask_of_the_list(x, keep, generator):
    order = _order(x, generator)
    kept, _, places = _masked(x, order, keep)
    return kept, order >= keep, places


@masking.mistake("Your mask is made of numbers. Truth values are asked for.")
def masked_as_numbers(x, keep, generator):
    kept, mask, places = _masked(x, _order(x, generator), keep)
    return kept, mask.float(), places


@masking.mistake("You drew the numbers without the generator that you were given, so no seed brings them back.")
def draws_from_nowhere(x, keep, generator):
    return _masked(x, torch.rand(x.shape[:2]).argsort(dim=1), keep)


@masking.mistake(
    "You drew one permutation for each image in place of one number for each token, so your order is another one."
)
def permutation_for_each_image(x, keep, generator):
    order = torch.stack([torch.randperm(x.shape[1], generator=generator) for _ in x])
    return _masked(x, order, keep)


@masking.mistake("You drew normally distributed numbers. Asked for are evenly distributed ones from 0 to 1.")
def normal_draws(x, keep, generator):
    return _masked(x, torch.randn(x.shape[:2], generator=generator).argsort(dim=1), keep)


@masking.mistake(
    "You hide the tokens with the smallest numbers and keep the others: as many are hidden as should stay."
)
def hides_as_many_as_should_stay(x, keep, generator):
    return _masked(x, _order(x, generator), x.shape[1] - keep)


@masking.mistake(
    "Your mask begins one place too late. Places are counted from 0, so a token at place keep is hidden already."
)
def mask_one_too_late(x, keep, generator):
    kept, _, places = _masked(x, _order(x, generator), keep)
    return kept, places > keep, places


@masking.mistake("Your order is that of a later draw. The generator is asked once, for one number for each token.")
def second_draw_counts(x, keep, generator):
    torch.rand(x.shape[:2], generator=generator)
    return _masked(x, _order(x, generator), keep)


@masking.mistake("You keep the first tokens of each image, whatever was drawn.")
def keeps_first_tokens(x, keep, generator):
    kept, mask, places = _masked(x, _order(x, generator), keep)
    return x[:, :keep], mask, places


@masking.mistake(
    "Your tokens do not go back to their places: kept ones stand in front, mask tokens behind.", target="unmask"
)
def filled_up_behind(kept, places, mask_token):
    return _unmasked(kept, torch.arange(places.shape[1]).expand_as(places), mask_token)


@masking.mistake(
    "You read the places backwards, as if they said where the tokens of the new order go. They say of each token of the result where in the new order it stands.",
    target="unmask",
)
def back_by_the_inverse(kept, places, mask_token):
    return _unmasked(kept, places.argsort(dim=1), mask_token)


@masking.mistake(
    "Kept and hidden places are right, but your kept tokens fill theirs from left to right. They come in the new order.",
    target="unmask",
)
def filled_from_left_to_right(kept, places, mask_token):
    there = places < kept.shape[1]
    found = there.cumsum(1) - 1
    return torch.where(there[..., None], _at(kept, found.clamp(min=0)), mask_token)


@masking.mistake("Hidden places get zeros in yours. They get the mask token.", target="unmask")
def zeros_for_the_hidden(kept, places, mask_token):
    return _unmasked(kept, places, torch.zeros_like(mask_token))


@masking.mistake("Mask tokens stand in front of the kept ones in yours, before all go back.", target="unmask")
def filling_in_front(kept, places, mask_token):
    filling = mask_token.expand(kept.shape[0], places.shape[1] - kept.shape[1], -1)
    return _at(torch.cat([filling, kept], dim=1), places)


@masking.mistake("All images go back by the places of the first one.", target="unmask")
def back_as_the_first_image(kept, places, mask_token):
    return _unmasked(kept, places[:1].expand_as(places), mask_token)


@masking.mistake(
    "Your mask token is cut off from the graph, so it never learns. No gradient may be lost on the way.",
    target="unmask",
)
def mask_token_cut_off(kept, places, mask_token):
    return _unmasked(kept, places, mask_token.detach())


@masking.mistake("The mask token is added to the tokens that were kept, too.", target="unmask")
def mask_token_everywhere(kept, places, mask_token):
    return _unmasked(kept + mask_token, places, mask_token)


@masking.alternative
def masking_image_by_image(x, keep, generator):
    B, N, _ = x.shape
    drawn = torch.rand(B, N, generator=generator)
    kept, mask, places = [], torch.ones(B, N, dtype=torch.bool), torch.zeros(B, N, dtype=torch.int64)
    for b in range(B):
        order = sorted(range(N), key=lambda n: float(drawn[b, n]))
        kept.append(x[b, order[:keep]])
        for place, n in enumerate(order):
            places[b, n] = place
            mask[b, n] = place >= keep
    return torch.stack(kept), mask, places


@masking.alternative
def masking_by_ranks(x, keep, generator):
    drawn = torch.rand(x.shape[0], x.shape[1], generator=generator)
    places = (drawn[:, None, :] < drawn[:, :, None]).sum(dim=2)
    chosen = F.one_hot(places, x.shape[1])[:, :, :keep].to(x.dtype)
    return einsum(chosen, x, "b n k, b n d -> b k d"), places > keep - 1, places


@masking.alternative
def masking_by_scatter(x, keep, generator):
    drawn, order = torch.rand(*x.shape[:2], generator=generator).sort(dim=1)
    numbers = torch.arange(x.shape[1]).repeat(len(x), 1)
    places = torch.zeros_like(order).scatter(1, order, numbers)
    mask = torch.ones_like(order, dtype=torch.bool).scatter(1, order[:, :keep], False)
    return x.gather(1, order[:, :keep, None].repeat(1, 1, x.shape[2])), mask, places


@masking.alternative(target="unmask")
def unmask_by_where(kept, places, mask_token):
    there = places < kept.shape[1]
    chosen = places.clamp(max=kept.shape[1] - 1)
    found = kept[torch.arange(len(kept))[:, None], chosen]
    return torch.where(there[:, :, None], found, mask_token)


@masking.alternative(target="unmask")
def unmask_by_product(kept, places, mask_token):
    moves = F.one_hot(places, places.shape[1]).to(kept.dtype)[:, :, : kept.shape[1]]
    return moves @ kept + (1 - moves.sum(dim=2, keepdim=True)) * mask_token


@masking.alternative(target="unmask")
def unmask_token_by_token(kept, places, mask_token):
    rows = []
    for tokens, at in zip(kept, places.tolist()):
        rows.append(torch.stack([tokens[place] if place < len(tokens) else mask_token for place in at]))
    return torch.stack(rows)


# ------------------------------------------------------------------------------------------------------------
# 2. mae_loss

mae = homework.exercise(
    "mae_loss",
    points=7,
    credit=WITH_GRADIENTS,
    hints=(
        "Print the shape of your patches and, with one hidden patch, of what you average: P numbers?",
        "Take images whose pixels hold their own number: do the first P numbers of your first patch run channel by channel, or pixel by pixel?",
        "Print mean and variance of one of your targets with a tiny eps: 0 and 1? By which number did you divide, P or P - 1?",
    ),
)


def _mask_of_patches(draw: Draw, B: int, N: int) -> torch.Tensor:
    """True for hidden: of each image at least one and not all, another number in each of the first two."""
    counts = [1 + (2 * b) % (N - 1) for b in range(B)]
    return torch.stack([torch.randperm(N, generator=draw.generator) < count for count in counts])


@mae.inputs
def _(draw: Draw):
    for size, eps in ((1.0, 1e-6), (1.0, 0.5), (0.3, 0.05)):
        C, p = (3, 2) if size == 1 else (2, 3)
        rows, columns = (2, draw.integer(3, 4)) if draw.integer(0, 1) else (draw.integer(3, 4), 2)
        B = 5 + 2 * draw.integer(0, 1)
        images = size * draw.normal(B, C, rows * p, columns * p) + 1
        predicted = 1.5 * draw.normal(B, rows * columns, p * p * C)
        mask = _mask_of_patches(draw, B, rows * columns)
        arguments = {"images": images, "predicted": predicted, "mask": mask, "patch_size": p, "eps": eps}
        yield Call("mae_loss", arguments, gradients=("predicted",))


def _patches(images, patch_size, pattern="b (h w) (p q c)"):
    return rearrange(images, f"b c (h p) (w q) -> {pattern}", p=patch_size, q=patch_size)


def _normal(patches, eps, correction=1):
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (patches.var(dim=-1, keepdim=True, correction=correction) + eps).sqrt()


def _mae(images, predicted, mask, patch_size, eps, pattern="b (h w) (p q c)", normal=_normal, error=torch.square):
    """The right loss with replaceable parts."""
    return error(predicted - normal(_patches(images, patch_size, pattern), eps))[mask].mean()


@mae.mistake("Your loss counts the patches that the network has seen. Only hidden ones count.")
def visible_patches_count(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted, torch.ones_like(mask), patch_size, eps)


@mae.mistake("Your loss counts the visible patches in place of the hidden ones: True stands for hidden.")
def visible_in_place_of_hidden(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted, ~mask, patch_size, eps)


@mae.mistake("Your targets are the bare pixels. Each patch is normalised by its own mean and variance first.")
def targets_of_bare_pixels(*arguments):
    return _mae(*arguments, normal=lambda patches, eps: patches)


@mae.mistake("Your variance divides by P. In this exercise, as in the code of the paper, it divides by P - 1.")
def variance_over_all(*arguments):
    return _mae(*arguments, normal=lambda patches, eps: _normal(patches, eps, correction=0))


@mae.mistake("Your eps is added outside the root. It stands under the root, beside the variance.")
def eps_outside_the_root(*arguments):
    def normal(patches, eps):
        return (patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + eps)

    return _mae(*arguments, normal=normal)


@mae.mistake("Your targets are centred and not divided by anything. The root of the variance is missing.")
def targets_only_centred(*arguments):
    return _mae(*arguments, normal=lambda patches, eps: patches - patches.mean(-1, keepdim=True))


@mae.mistake("You divide by the variance. Its root belongs there.")
def divided_by_the_variance(*arguments):
    def normal(patches, eps):
        return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + eps)

    return _mae(*arguments, normal=normal)


@mae.mistake("The numbers of your patches run channel by channel. Here all channels of a pixel stand side by side.")
def channel_by_channel(*arguments):
    return _mae(*arguments, pattern="b (h w) (c p q)")


@mae.mistake("Your patches run down the columns of the image. They run along its rows, like letters.")
def patches_down_the_columns(*arguments):
    return _mae(*arguments, pattern="b (w h) (p q c)")


@mae.mistake("The pixels within your patches run down their columns. They run along the rows.")
def pixels_down_the_columns(*arguments):
    return _mae(*arguments, pattern="b (h w) (q p c)")


@mae.mistake(
    "You cut the images by a change of their shape alone, so a patch of yours is a piece of their rows. A patch is a square, with all channels."
)
def pieces_of_rows(images, predicted, mask, patch_size, eps):
    return (predicted - _normal(images.reshape(predicted.shape), eps)).square()[mask].mean()


@mae.mistake("You add up over the hidden patches, but divide by the number of all patches.")
def divided_by_all_patches(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted, mask, patch_size, eps) * mask.float().mean()


@mae.mistake("You add up the squares within a patch. Their mean over the P numbers is asked for.")
def summed_within_a_patch(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted, mask, patch_size, eps) * predicted.shape[2]


@mae.mistake("You took the mean in each image first. All hidden patches of the batch count alike.")
def mean_of_image_means(images, predicted, mask, patch_size, eps):
    errors = (predicted - _normal(_patches(images, patch_size), eps)).square().mean(2)
    return ((errors * mask).sum(1) / mask.sum(1)).mean()


@mae.mistake("You took the size of the difference. MAE takes its square.")
def absolute_difference(*arguments):
    return _mae(*arguments, error=torch.abs)


@mae.mistake("You took the root of the mean square. The mean of the squares itself is asked for.")
def root_of_the_mean(*arguments):
    return _mae(*arguments).sqrt()


@mae.mistake("You normalise what is predicted too. Only targets are normalised.")
def prediction_normalised_too(images, predicted, mask, patch_size, eps):
    return _mae(images, _normal(predicted, eps), mask, patch_size, eps)


@mae.mistake("You normalise by the whole image. Each patch has a mean and a variance of its own.")
def normalised_by_the_image(*arguments):
    def normal(patches, eps):
        mean, var = patches.mean((1, 2), keepdim=True), patches.var((1, 2), keepdim=True)
        return (patches - mean) / (var + eps).sqrt()

    return _mae(*arguments, normal=normal)


@mae.mistake("The eps that you were given has no effect in yours. It is added to the variance, under the root.")
def eps_of_its_own(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted, mask, patch_size, 1e-6)


@mae.mistake("Your prediction is cut off from the graph, so nothing learns.")
def prediction_cut_off(images, predicted, mask, patch_size, eps):
    return _mae(images, predicted.detach().requires_grad_(), mask, patch_size, eps)


@mae.alternative
def mae_patch_by_patch(images, predicted, mask, patch_size, eps):
    B, _, height, width = images.shape
    p, total, count = patch_size, 0.0, 0
    for b in range(B):
        n = 0
        for y in range(0, height, p):
            for x in range(0, width, p):
                if mask[b, n]:
                    target = images[b, :, y : y + p, x : x + p].permute(1, 2, 0).flatten()
                    var = (target - target.mean()).square().sum() / (len(target) - 1)
                    total = total + (predicted[b, n] - (target - target.mean()) / (var + eps) ** 0.5).square().sum()
                    count += len(target)
                n += 1
    return total / count


@mae.alternative
def mae_by_products_with_the_mask(images, predicted, mask, patch_size, eps):
    B, C, height, width = images.shape
    p = patch_size
    x = images.reshape(B, C, height // p, p, width // p, p).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, p * p * C)
    var, mean = torch.var_mean(x, dim=2, keepdim=True)
    errors = ((predicted - (x - mean) * torch.rsqrt(var + eps)) ** 2).mean(dim=2)
    return (errors * mask).sum() / mask.sum()


@mae.alternative
def mae_by_slices(images, predicted, mask, patch_size, eps):
    pieces = images.split(patch_size, dim=2)
    rows = [piece.split(patch_size, dim=3) for piece in pieces]
    x = torch.stack([part.movedim(1, 3).flatten(1) for row in rows for part in row], dim=1)
    x, found = x[mask], predicted[mask]
    x = x - x.mean(dim=1, keepdim=True)
    size = torch.sqrt(x.pow(2).sum(dim=1, keepdim=True) / (x.shape[1] - 1) + eps)
    return F.mse_loss(found, x / size)


# ------------------------------------------------------------------------------------------------------------
# 3. simmim_loss

simmim = homework.exercise(
    "simmim_loss",
    points=5,
    credit=WITH_GRADIENTS,
    hints=(
        "Hide one patch: how many numbers may count, and how many of your pixels are True?",
        "Print your mask at the size of the image, for one hidden patch in the upper left corner. Is it one square?",
    ),
)


@simmim.inputs
def _(draw: Draw):
    for p, C in ((2, 3), (3, 2)):
        rows, columns = draw.sizes(2, low=2, high=4)
        B = next(n for n in (5, 7) if n not in (rows * p, columns * p))
        images = 1.5 * draw.normal(B, C, rows * p, columns * p)
        mask = _mask_of_patches(draw, B, rows * columns).view(B, rows, columns)
        arguments = {"images": images, "predicted": 1.5 * draw.normal(*images.shape), "mask": mask, "patch_size": p}
        yield Call("simmim_loss", arguments, gradients=("predicted",))


def _large(mask, patch_size):
    return repeat(mask, "b h w -> b 1 (h p) (w q)", p=patch_size, q=patch_size)


def _simmim(images, predicted, mask, patch_size, error=torch.abs):
    errors = error(predicted - images)
    return (errors * _large(mask, patch_size)).sum() / (_large(mask, patch_size).sum() * images.shape[1])


@simmim.mistake("You took the square of the difference. SimMIM takes its size.")
def squared_pixels(*arguments):
    return _simmim(*arguments, error=torch.square)


@simmim.mistake("Your difference is rounded off near 0, as in a Huber loss. Its bare size is asked for.")
def huber_pixels(*arguments):
    return _simmim(*arguments, error=lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none"))


@simmim.mistake("All pixels count in your loss. Only hidden ones do.")
def all_pixels_count(images, predicted, mask, patch_size):
    return (predicted - images).abs().mean()


@simmim.mistake("Visible pixels count in place of the hidden ones: True stands for hidden.")
def seen_pixels_count(images, predicted, mask, patch_size):
    return _simmim(images, predicted, ~mask, patch_size)


@simmim.mistake("You add up over hidden pixels, but divide by the number of all.")
def divided_by_all_pixels(images, predicted, mask, patch_size):
    return ((predicted - images).abs() * _large(mask, patch_size)).mean()


@simmim.mistake("You divide by the number of hidden pixels. Each has C numbers, and their mean is asked for.")
def channels_not_divided(images, predicted, mask, patch_size):
    return _simmim(images, predicted, mask, patch_size) * images.shape[1]


@simmim.mistake("You divide by the number of hidden patches. Each has many numbers, and their mean is asked for.")
def divided_by_patches(images, predicted, mask, patch_size):
    return _simmim(images, predicted, mask, patch_size) * images.shape[1] * patch_size**2


@simmim.mistake("You count p pixels for a hidden patch. It is a square of p × p.")
def side_counted_for_area(images, predicted, mask, patch_size):
    return _simmim(images, predicted, mask, patch_size) * patch_size


@simmim.mistake(
    "Your mask is laid side by side several times, like tiles. It has to grow: each of its values becomes a square of pixels."
)
def mask_laid_like_tiles(images, predicted, mask, patch_size):
    large = mask.repeat(1, patch_size, patch_size)[:, None]
    return ((predicted - images).abs() * large).sum() / (large.sum() * images.shape[1])


@simmim.mistake("Your mask grows down the rows, and is laid like tiles across the columns.")
def mask_grown_one_way(images, predicted, mask, patch_size):
    large = mask.repeat_interleave(patch_size, dim=1).repeat(1, 1, patch_size)[:, None]
    return ((predicted - images).abs() * large).sum() / (large.sum() * images.shape[1])


@simmim.mistake("You took the mean in each image first. All hidden numbers of the batch count alike.")
def mean_of_each_image_first(images, predicted, mask, patch_size):
    each = [_simmim(*(x[b : b + 1] for x in (images, predicted, mask)), patch_size) for b in range(len(images))]
    return torch.stack(each).mean()


@simmim.mistake("You add up the differences and divide by nothing.")
def pixels_summed(images, predicted, mask, patch_size):
    return ((predicted - images).abs() * _large(mask, patch_size)).sum()


@simmim.mistake("Your differences keep their sign, so those above and those below cancel.")
def differences_with_sign(*arguments):
    return _simmim(*arguments, error=lambda x: x)


@simmim.mistake("Your targets are normalised patch by patch, as in MAE. SimMIM's targets are the pixels as they are.")
def pixels_normalised(images, predicted, mask, patch_size):
    p, C, height = patch_size, images.shape[1], images.shape[2]
    patches = _normal(_patches(images, p), 1e-6)
    target = rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=height // p, p=p, q=p, c=C)
    return _simmim(target, predicted, mask, p)


@simmim.mistake("Your prediction is cut off from the graph: no gradient reaches it.")
def pixels_cut_off(images, predicted, mask, patch_size):
    return _simmim(images, predicted.detach().requires_grad_(), mask, patch_size)


@simmim.alternative
def simmim_by_products_with_the_mask(images, predicted, mask, patch_size):
    large = mask.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2)[:, None]
    errors = (predicted - images).abs() * large
    hidden = large.sum()
    return errors.sum() / (hidden * images.shape[1])


@simmim.alternative
def simmim_by_choosing(images, predicted, mask, patch_size):
    large = mask.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2)
    chosen = large[:, None].expand_as(images)
    return F.l1_loss(predicted[chosen], images[chosen])


@simmim.alternative
def simmim_by_patches(images, predicted, mask, patch_size):
    errors = reduce((predicted - images).abs(), "b c (h p) (w q) -> b h w", "mean", p=patch_size, q=patch_size)
    return (errors * mask).sum() / mask.sum()


@simmim.alternative
def simmim_square_by_square(images, predicted, mask, patch_size):
    p = patch_size
    chosen = []
    for b, y, x in mask.nonzero().tolist():
        part = (b, slice(None), slice(y * p, (y + 1) * p), slice(x * p, (x + 1) * p))
        chosen.append((images[part] - predicted[part]).abs().mean())
    return torch.stack(chosen).mean()


# ------------------------------------------------------------------------------------------------------------
# 4. info_nce

nce = homework.exercise(
    "info_nce",
    points=5,
    credit=WITH_GRADIENTS,
    hints=(
        "Print the B × B similarities at temperature 1: is none above 1?",
        "Give both sides the same vectors, at right angles to each other. What is the loss by hand?",
        "Exchange `a` and `b`: does your loss stay the same?",
    ),
)


@nce.inputs
def _(draw: Draw):
    for temperature in (1.0, 0.4, 0.25):
        B, D = sorted(draw.sizes(2, low=3, high=7))
        a = draw.normal(B, D) + 0.5
        b = 0.8 * a + 0.8 * draw.normal(B, D)
        arguments = {"a": a * (1 + draw.uniform(B, 1)), "b": 2 * b, "temperature": temperature}
        yield Call("info_nce", arguments, gradients=("a", "b"))


def _unit(x):
    return x / x.norm(dim=1, keepdim=True)


def _cosines(a, b):
    return _unit(a) @ _unit(b).T


def _nce(logits):
    """Both directions: (B, B) -> a number."""
    return -0.5 * (logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean())


@nce.mistake("Your vectors are not brought to length 1, so a long one beats a similar one.")
def lengths_left(a, b, temperature):
    return _nce(a @ b.T / temperature)


@nce.mistake("The temperature has no effect in yours.")
def without_temperature(a, b, temperature):
    return _nce(_cosines(a, b))


@nce.mistake("You multiply by the temperature. The similarities are divided by it: a low one makes them differ more.")
def times_the_temperature(a, b, temperature):
    return _nce(_cosines(a, b) * temperature)


@nce.mistake("Only half of the loss is there: each a looks for its b. Each b has to look for its a as well.")
def one_way_only(a, b, temperature):
    return -(_cosines(a, b) / temperature).log_softmax(1).diagonal().mean()


@nce.mistake("Only half of the loss is there: each b looks for its a. Each a has to look for its b as well.")
def other_way_only(a, b, temperature):
    return -(_cosines(a, b) / temperature).log_softmax(0).diagonal().mean()


@nce.mistake("You add the two directions. Their mean is asked for.")
def both_ways_added(a, b, temperature):
    return 2 * _nce(_cosines(a, b) / temperature)


@nce.mistake("You add up over the batch. The mean is asked for.")
def batch_added_up(a, b, temperature):
    return len(a) * _nce(_cosines(a, b) / temperature)


@nce.mistake("Your softmax is taken twice: the cross entropy takes raw similarities and does it itself.")
def softmax_taken_twice(a, b, temperature):
    logits = _cosines(a, b) / temperature
    rows, columns = logits.softmax(1), logits.softmax(0)
    return -0.5 * (rows.log_softmax(1).diagonal().mean() + columns.log_softmax(0).diagonal().mean())


@nce.mistake("The right partner is missing below your fraction. The sum there runs over all, the partner with them.")
def partner_missing_below(a, b, temperature):
    logits = _cosines(a, b) / temperature
    others = logits.masked_fill(torch.eye(len(a), dtype=torch.bool), -math.inf)
    found = logits.diagonal()
    return 0.5 * (others.logsumexp(1) - found + others.logsumexp(0) - found).mean()


@nce.mistake(
    "You bring every column to length 1 over the batch. A vector is one image's D numbers, and it has length 1."
)
def length_over_the_batch(a, b, temperature):
    return _nce((a / a.norm(dim=0)) @ (b / b.norm(dim=0)).T / temperature)


@nce.mistake("You divide by one length for all rows of a side. Each row has a length of its own.")
def one_length_for_all(a, b, temperature):
    return _nce((a / a.norm()) @ (b / b.norm()).T / temperature)


@nce.mistake("Only one of the two sides is brought to length 1.")
def one_side_normalised(a, b, temperature):
    return _nce(_unit(a) @ b.T / temperature)


@nce.mistake("Only one of the two sides is brought to length 1.")
def one_side_normalised(a, b, temperature):  # noqa: F811
    return _nce(a @ _unit(b).T / temperature)


@nce.mistake(
    "You multiply by the exponential of the temperature, as if it were the learned scale of CLIP. Here it divides as it stands."
)
def exponential_of_the_temperature(a, b, temperature):
    return _nce(_cosines(a, b) * math.exp(temperature))


@nce.mistake("Only the partners are compared in yours. Without the others, all vectors may become the same one.")
def partners_alone(a, b, temperature):
    return -(_cosines(a, b) / temperature).diagonal().mean()


@nce.mistake(
    "Your sums run over both sides, as in SimCLR: all 2B vectors except oneself. Here each a is compared with the B vectors b alone."
)
def all_of_both_sides(a, b, temperature):
    x = torch.cat([a, b])
    logits = (_cosines(x, x) / temperature).masked_fill(torch.eye(len(x), dtype=torch.bool), -math.inf)
    partners = torch.arange(len(x)).roll(len(a))
    return F.cross_entropy(logits, partners)


@nce.mistake("Your softmax runs over the whole table at once. Each row is a question by itself, and each column.")
def one_softmax_for_the_table(a, b, temperature):
    logits = _cosines(a, b) / temperature
    return logits.logsumexp((0, 1)) - logits.diagonal().mean()


@nce.mistake("You divide the similarities by the root of D as well. Vectors of length 1 need only the temperature.")
def root_of_the_width(a, b, temperature):
    return _nce(_cosines(a, b) / temperature / a.shape[1] ** 0.5)


@nce.mistake("The sign is wrong: your loss falls as partners come apart.")
def partners_pushed_apart(a, b, temperature):
    return -_nce(_cosines(a, b) / temperature)


@nce.mistake("The second side is cut off from the graph. Both sides learn here.")
def second_side_cut_off(a, b, temperature):
    return _nce(_cosines(a, b.detach()) / temperature)


@nce.alternative
def nce_by_cross_entropy(a, b, temperature):
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT / temperature
    labels = torch.arange(a.shape[0])
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.mT, labels)) / 2


@nce.alternative
def nce_pair_by_pair(a, b, temperature):
    total, B = 0.0, len(a)
    similar = [[F.cosine_similarity(a[i], b[j], dim=0) / temperature for j in range(B)] for i in range(B)]
    for i in range(B):
        across = torch.stack(similar[i]).exp().sum()
        down = torch.stack([row[i] for row in similar]).exp().sum()
        total = total - similar[i][i] + 0.5 * across.log() + 0.5 * down.log()
    return total / B


@nce.alternative
def nce_by_sums(a, b, temperature):
    sizes = a.square().sum(1).sqrt()[:, None] * b.square().sum(1).sqrt()[None]
    logits = einsum(a, b, "i d, j d -> i j") / (sizes * temperature)
    below = torch.logsumexp(logits, dim=1) + torch.logsumexp(logits, dim=0)
    return (below / 2 - torch.diagonal(logits)).mean()


# ------------------------------------------------------------------------------------------------------------
# 5. dino_loss and update_centre

dino = homework.exercise(
    "dino_loss",
    points=8,
    targets=("dino_loss", "update_centre"),
    credit=WITH_GRADIENTS,
    hints=(
        "Print the teacher's probabilities of one image: do they sum to 1, and are they sharper than the student's?",
        "With 2 views of the teacher and 3 of the student: how many pairs count? Not 6.",
        "Compute the gradient with respect to the teacher's scores: is it 0, as the text asks?",
    ),
)


@dino.inputs
def _(draw: Draw):
    for views in (2, 4):
        B, K = draw.sizes(2, low=5, high=8)
        yield Call(
            "dino_loss",
            {
                "student": draw.normal(views, B, K),
                "teacher": draw.normal(2, B, K),
                "centre": draw.normal(K),
                "student_temperature": 0.5 if views == 2 else 0.7,
                "teacher_temperature": 0.3 if views == 2 else 0.4,
            },
            gradients=("student", "teacher", "centre"),
        )
        arguments = {
            "centre": draw.normal(K),
            "teacher": draw.normal(2, B, K) + 1,
            "momentum": draw.between(0.6, 0.9),
        }
        yield Call("update_centre", arguments)


def _dino(student, teacher, centre, student_temperature, teacher_temperature, **parts):
    """The right loss with replaceable parts."""
    target = parts.get("target", lambda t: ((t - centre) / teacher_temperature).softmax(-1))(teacher)
    guess = parts.get("guess", lambda s: (s / student_temperature).log_softmax(-1))(student)
    if parts.get("stop", True):
        target = target.detach()
    losses = -einsum(target, guess, "t b k, s b k -> t s b").mean(2)
    counted = parts.get("counted", lambda pairs: 1 - torch.eye(*pairs.shape))(torch.ones_like(losses))
    return parts.get("end", lambda total, count: total / count)((losses * counted).sum(), counted.sum())


def _centre_after(centre, teacher, momentum):
    return momentum * centre + (1 - momentum) * teacher.mean((0, 1))


@dino.mistake(
    "Pairs of one and the same view count in yours. What the student learns is to say the same of another view."
)
def own_view_counts(*arguments):
    return _dino(*arguments, counted=lambda pairs: pairs)


@dino.mistake(
    "You take each two views once. A pair has an order: the other way round the teacher looks at the other one."
)
def each_two_views_once(*arguments):
    return _dino(*arguments, counted=lambda pairs: pairs.triu(1))


@dino.mistake("Gradients flow into the teacher. It only follows the student, and never learns from this loss.")
def teacher_learns(*arguments):
    return _dino(*arguments, stop=False)


@dino.mistake("The centre has no effect. It is taken away from the teacher's scores.")
def loss_without_centre(student, teacher, centre, *temperatures):
    return _dino(student, teacher, 0 * centre, *temperatures)


@dino.mistake("You add the centre. It is taken away, so that no output is the answer to everything.")
def centre_added(student, teacher, centre, *temperatures):
    return _dino(student, teacher, -centre, *temperatures)


@dino.mistake("The centre is taken away from the student's scores too. Only the teacher's are centred.")
def student_centred_too(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student - centre, teacher, centre, student_temperature, teacher_temperature)


@dino.mistake("You take the centre away after dividing by the temperature. It is a mean of raw scores, and goes first.")
def centred_after_the_temperature(student, teacher, centre, student_temperature, teacher_temperature):
    target = lambda t: (t / teacher_temperature - centre).softmax(-1)
    return _dino(student, teacher, centre, student_temperature, teacher_temperature, target=target)


@dino.mistake("You take the centre away from probabilities. It belongs to the raw scores, before the softmax.")
def probabilities_centred(student, teacher, centre, student_temperature, teacher_temperature):
    target = lambda t: (t / teacher_temperature).softmax(-1) - centre
    return _dino(student, teacher, centre, student_temperature, teacher_temperature, target=target)


@dino.mistake("The two temperatures have changed places.")
def temperatures_exchanged(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student, teacher, centre, teacher_temperature, student_temperature)


@dino.mistake("The teacher is not sharpened: its scores are not divided by its temperature.")
def teacher_not_sharpened(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student, teacher, centre, student_temperature, 1.0)


@dino.mistake("The student's scores are not divided by its temperature.")
def student_temperature_missing(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student, teacher, centre, 1.0, teacher_temperature)


@dino.mistake("The student's temperature serves for both in yours.")
def one_temperature(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student, teacher, centre, student_temperature, student_temperature)


@dino.mistake(
    "Your cross entropy is turned round: the teacher's probabilities stand in front, the logarithm is the student's."
)
def entropy_turned_round(student, teacher, centre, student_temperature, teacher_temperature):
    parts = {
        "target": lambda t: ((t - centre) / teacher_temperature).log_softmax(-1),
        "guess": lambda s: (s / student_temperature).softmax(-1),
    }
    return _dino(student, teacher, centre, student_temperature, teacher_temperature, **parts)


@dino.mistake("You add up the pairs of views. Their mean is asked for.")
def pairs_added_up(*arguments):
    return _dino(*arguments, end=lambda total, count: total)


@dino.mistake("You leave out pairs of the same view, but divide as if they counted.")
def divided_by_all_pairs(student, teacher, *rest):
    return _dino(student, teacher, *rest, end=lambda total, count: total / (len(student) * len(teacher)))


@dino.mistake("You take the mean over the K outputs as well. Over the outputs the products are added up.")
def outputs_averaged(student, teacher, *rest):
    return _dino(student, teacher, *rest) / student.shape[2]


@dino.mistake("Your student speaks of the large views only. What it says of its small ones counts as well.")
def small_views_left_out(student, teacher, *rest):
    return _dino(student[: len(teacher)], teacher, *rest)


@dino.mistake("Gradients flow into the centre. It belongs to the teacher's side, which is cut off as a whole.")
def centre_learns(student, teacher, centre, student_temperature, teacher_temperature):
    return _dino(student, teacher.detach(), centre, student_temperature, teacher_temperature, stop=False)


@dino.mistake("You add up the images. Their mean is asked for.")
def images_added_up(student, teacher, *rest):
    return _dino(student, teacher, *rest) * student.shape[1]


@dino.mistake("You take the teacher's own entropy away, as a divergence does. The bare cross entropy is asked for.")
def divergence_of_views(student, teacher, centre, student_temperature, teacher_temperature):
    target = ((teacher - centre) / teacher_temperature).log_softmax(-1).detach()
    own = -(target.exp() * target).sum(-1).mean(1)  # (T,)
    counted = 1 - torch.eye(len(teacher), len(student))
    entropy = (own[:, None] * counted).sum() / counted.sum()
    return _dino(student, teacher, centre, student_temperature, teacher_temperature) - entropy


@dino.mistake("Your softmax runs over the images. It runs over the K outputs of one image.")
def softmax_over_images(student, teacher, centre, student_temperature, teacher_temperature):
    target = lambda t: ((t - centre) / teacher_temperature).softmax(1)
    return _dino(student, teacher, centre, student_temperature, teacher_temperature, target=target)


@dino.mistake("In your new centre the shares have changed places: momentum is what is kept.", target="update_centre")
def centre_shares_exchanged(centre, teacher, momentum):
    return _centre_after(centre, teacher, 1 - momentum)


@dino.mistake("Your centre is a mean of probabilities. It is one of raw scores.", target="update_centre")
def centre_of_probabilities(centre, teacher, momentum):
    return _centre_after(centre, teacher.softmax(-1), momentum)


@dino.mistake("Your centre sees the first view only. All views of the teacher count.", target="update_centre")
def centre_of_one_view(centre, teacher, momentum):
    return _centre_after(centre, teacher[:1], momentum)


@dino.mistake("Your centre adds up views and images. Their mean is asked for.", target="update_centre")
def centre_of_sums(centre, teacher, momentum):
    return momentum * centre + (1 - momentum) * teacher.sum((0, 1))


@dino.mistake("Your centre adds up the views; their mean is asked for.", target="update_centre")
def centre_of_added_views(centre, teacher, momentum):
    return momentum * centre + (1 - momentum) * teacher.sum(0).mean(0)


@dino.mistake(
    "You have a centre for each image: only the views are averaged. All images share one centre.",
    target="update_centre",
)
def centre_for_each_image(centre, teacher, momentum):
    return momentum * centre + (1 - momentum) * teacher.mean(0)


@dino.mistake("Your centre forgets what it was: it is the mean of this batch alone.", target="update_centre")
def centre_without_memory(centre, teacher, momentum):
    return teacher.mean((0, 1))


@dino.mistake("Your centre is one number for all outputs. Each of the K outputs has its own.", target="update_centre")
def one_centre_for_all(centre, teacher, momentum):
    return momentum * centre + (1 - momentum) * teacher.mean()


@dino.mistake(
    "The batch counts whole in your new centre. It gets the share that momentum leaves.", target="update_centre"
)
def batch_counts_whole(centre, teacher, momentum):
    return momentum * centre + teacher.mean((0, 1))


@dino.alternative
def dino_by_loops(student, teacher, centre, student_temperature, teacher_temperature):
    losses = []
    for t, scores in enumerate(teacher.detach() - centre.detach()):
        shares = F.softmax(scores / teacher_temperature, dim=1)
        for s, guess in enumerate(student):
            if s != t:
                losses.append((-shares * F.log_softmax(guess / student_temperature, dim=1)).sum(dim=1).mean())
    return sum(losses) / len(losses)


@dino.alternative
def dino_by_cross_entropy(student, teacher, centre, student_temperature, teacher_temperature):
    with torch.no_grad():
        shares = torch.softmax((teacher - centre) / teacher_temperature, dim=2)
    pairs = [(t, s) for t in range(len(teacher)) for s in range(len(student)) if t != s]
    guess = torch.cat([student[s] for _, s in pairs]) / student_temperature
    return F.cross_entropy(guess, torch.cat([shares[t] for t, _ in pairs]))


@dino.alternative
def dino_by_one_sum(student, teacher, centre, student_temperature, teacher_temperature):
    powers = ((teacher - centre).detach() / teacher_temperature).exp()
    shares = powers / powers.sum(-1, keepdim=True)
    guess = student / student_temperature
    guess = guess - guess.logsumexp(-1, keepdim=True)
    T, S, B = len(teacher), len(student), student.shape[1]
    every = (shares.sum(0) * guess.sum(0)).sum()
    same = (shares * guess[:T]).sum()
    return (same - every) / (B * (T * S - T))


@dino.alternative(target="update_centre")
def centre_by_lerp(centre, teacher, momentum):
    return torch.lerp(teacher.flatten(0, 1).mean(dim=0), centre, momentum)


@dino.alternative(target="update_centre")
def centre_by_einops(centre, teacher, momentum):
    mean = reduce(teacher, "t b k -> k", "mean")
    return centre + (1 - momentum) * (mean - centre)


@dino.alternative(target="update_centre")
def centre_output_by_output(centre, teacher, momentum):
    new = torch.zeros_like(centre)
    for k in range(len(centre)):
        new[k] = centre[k] * momentum + (1 - momentum) * teacher[:, :, k].mean()
    return new


# ------------------------------------------------------------------------------------------------------------
# 6. ema_teacher

ema = homework.exercise(
    "ema_teacher",
    points=5,
    hints=(
        "Set the momentum to 1: does the teacher stay as it is? And with 0, is it the student?",
        "Print a weight of the teacher before and after your call: has the module itself changed, or a copy?",
        "Which weights are in your distance, those before the step or those behind it? All of them together?",
    ),
)


@ema.inputs
def _(draw: Draw):
    for momentum in (0.7, 0.35):
        B, K = draw.sizes(2, low=4, high=6)
        H, W = draw.sizes(2, low=2, high=3)
        ask = draw.normal(B + 3, 1, H, W)

        def network():
            weights = {"scale": 1 + 0.5 * draw.normal(H * W), "shift": draw.normal(H * W)}
            weights |= {"weight": draw.normal(K, H * W), "bias": draw.normal(K)}
            return Probe("normed_classifier", weights, ask=ask)

        yield Call("ema_teacher", {"teacher": network(), "student": network(), "momentum": momentum})


def _squares(teacher, student):
    return [(t - s).square().sum() for t, s in zip(teacher.parameters(), student.parameters())]


def _follow(teacher, student, momentum, which=lambda w: True, told=lambda squares: sum(squares).sqrt().item()):
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            if which(t):
                t.copy_(momentum * t + (1 - momentum) * s)
        return told(_squares(teacher, student))


@ema.mistake("The shares have changed places: momentum is how much of the teacher is kept.")
def teacher_shares_exchanged(teacher, student, momentum):
    return _follow(teacher, student, 1 - momentum)


@ema.mistake("You moved the student towards the teacher. The student learns from its loss, the teacher follows it.")
def student_follows(teacher, student, momentum):
    return _follow(student, teacher, momentum)


@ema.mistake("Your teacher has become the student: the momentum has no effect.")
def teacher_is_the_student(teacher, student, momentum):
    return _follow(teacher, student, 0.0)


@ema.mistake("The teacher has not changed. New numbers have to be written into its own weights.")
def teacher_stands_still(teacher, student, momentum):
    return momentum * _follow(teacher, student, 1.0)


@ema.mistake("The teacher has not changed. New numbers have to be written into its own weights.")
def teacher_stands_still(teacher, student, momentum):  # noqa: F811
    return _follow(teacher, student, 1.0)


@ema.mistake("Only weights with two axes follow in yours. Biases and the norm's scale and shift follow as well.")
def only_matrices_follow(teacher, student, momentum):
    return _follow(teacher, student, momentum, which=lambda w: w.ndim > 1)


@ema.mistake("The student's weights count whole, so the teacher grows. They get the share that momentum leaves.")
def student_counts_whole(teacher, student, momentum):
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.copy_(momentum * t + s)
        return sum(_squares(teacher, student)).sqrt().item()


@ema.mistake("Your distance is the one before the step. The one behind it is asked for.")
def distance_before(teacher, student, momentum):
    with torch.no_grad():
        before = sum(_squares(teacher, student)).sqrt().item()
    _follow(teacher, student, momentum)
    return before


@ema.mistake("You add up the distances of the single tensors. All weights together make one vector with one length.")
def distances_added_up(teacher, student, momentum):
    return _follow(teacher, student, momentum, told=lambda squares: sum(each.sqrt() for each in squares).item())


@ema.mistake(
    "You take the mean of the distances of the single tensors. All weights together make one vector with one length."
)
def distances_averaged(teacher, student, momentum):
    told = lambda squares: sum(each.sqrt() for each in squares).item() / len(squares)
    return _follow(teacher, student, momentum, told=told)


@ema.mistake("You add up the sizes of the differences. A length is made of their squares.")
def sizes_added_up(teacher, student, momentum):
    _follow(teacher, student, momentum)
    with torch.no_grad():
        pairs = zip(teacher.parameters(), student.parameters())
        return sum((t - s).abs().sum().item() for t, s in pairs)


@ema.mistake("You return the square of the distance. Its root is missing.")
def distance_squared(teacher, student, momentum):
    return _follow(teacher, student, momentum, told=lambda squares: sum(squares).item())


@ema.mistake("You return the distance that the teacher has moved. How far it is from the student is asked for.")
def distance_moved(teacher, student, momentum):
    return (1 - momentum) / momentum * _follow(teacher, student, momentum)


@ema.mistake("You return the largest difference of a single weight. The length of all differences is asked for.")
def largest_difference(teacher, student, momentum):
    _follow(teacher, student, momentum)
    with torch.no_grad():
        pairs = zip(teacher.parameters(), student.parameters())
        return max((t - s).abs().max().item() for t, s in pairs)


@ema.mistake("You took the mean square before the root. The squares are added up.")
def distance_of_the_mean(teacher, student, momentum):
    count = sum(w.numel() for w in teacher.parameters())
    return _follow(teacher, student, momentum) / count**0.5


@ema.mistake("Student and teacher both move, and meet. Only the teacher moves.")
def both_move(teacher, student, momentum):
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.copy_(momentum * t + (1 - momentum) * s)
            s.copy_(momentum * s + (1 - momentum) * t)
        return sum(_squares(teacher, student)).sqrt().item()


@ema.alternative
def ema_by_lerp(teacher, student, momentum):
    far = 0.0
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.lerp_(s, 1 - momentum)
            far += (t - s).pow(2).sum().item()
    return math.sqrt(far)


@ema.alternative
def ema_by_lengths(teacher, student, momentum):
    lengths = []
    with torch.no_grad():
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.copy_(momentum * t + (1 - momentum) * s)
            lengths.append((t - s).norm())
        return torch.stack(lengths).norm()


@ema.alternative
def ema_by_vectors(teacher, student, momentum):
    old = torch.nn.utils.parameters_to_vector(teacher.parameters()).detach()
    aim = torch.nn.utils.parameters_to_vector(student.parameters()).detach()
    new = old + (1 - momentum) * (aim - old)
    torch.nn.utils.vector_to_parameters(new, teacher.parameters())
    return (new - aim).norm()


@ema.alternative
def ema_by_names(teacher, student, momentum):
    aims, new = student.state_dict(), {}
    for name, weight in teacher.state_dict().items():
        new[name] = weight * momentum + aims[name] * (1 - momentum)
    teacher.load_state_dict(new)
    differences = torch.cat([(new[name] - aims[name]).flatten() for name in new])
    return torch.linalg.vector_norm(differences).item()


# ------------------------------------------------------------------------------------------------------------
# 7. linear_probe

probe = homework.exercise(
    "linear_probe",
    points=6,
    hints=(
        "Print mean and standard deviation of your training features after the first step: 0 and 1 in each of the D columns?",
        "Set the penalty very high: do all scores become the shares of the classes among the labels?",
        "Repeat every training image: your scores must stay the same. If not, look at where n belongs.",
    ),
)


@probe.inputs
def _(draw: Draw):
    for D, K, rare, penalty in ((3, 4, False, 0.2), (4, 3, True, 0.6)):
        H, W = 2, 5
        n, n_test = draw.integer(14, 17), draw.integer(7, 9)
        weights = {"weight": draw.normal(D, H * W), "bias": 2 * draw.normal(D)}
        labels = torch.arange(n) % (K - rare)
        labels = (labels * (draw.uniform(n) > 0.3))[torch.randperm(n, generator=draw.generator)]
        labels[: K - rare] = torch.arange(K - rare)
        yield Call(
            "linear_probe",
            {
                "backbone": Probe("linear_classifier", weights, ask=draw.normal(6, 1, H, W)),
                "images": draw.normal(n, 1, H, W) + 0.3,
                "labels": labels,
                "test_images": 1.5 * draw.normal(n_test, 1, H, W),
                "num_classes": K,
                "penalty": penalty,
            },
        )


def _probed(backbone, images, labels, test_images, num_classes, penalty, **parts):
    """The right answer with replaceable parts."""
    with torch.no_grad():
        see = parts.get("see", backbone)
        x, y, asked = see(images), F.one_hot(labels, num_classes).float(), see(test_images)
        correction = parts.get("correction", 0)
        mean, std = x.mean(0), x.std(0, correction=correction)
        if parts.get("standard", True):
            own = parts.get("own_statistics")
            asked = (asked - (asked.mean(0) if own else mean)) / (asked.std(0, correction=0) if own else std)
            x = (x - mean) / std
        offset = y.mean(0) if parts.get("offset", True) else torch.zeros(num_classes)
        ridge = parts.get("ridge", lambda n, penalty: n * penalty)(len(x), penalty)
        W = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T @ (y - offset))
        return asked @ W + offset


@probe.mistake(
    "You standardised the test features by their own mean and deviation. Those of the training images serve for both."
)
def test_has_its_own_statistics(*arguments):
    return _probed(*arguments, own_statistics=True)


@probe.mistake("Your features are not standardised, so the penalty holds back the small ones more than the large.")
def features_as_they_come(*arguments):
    return _probed(*arguments, standard=False)


@probe.mistake("Your deviation divides by n - 1. Here it divides by n.")
def deviation_of_a_sample(*arguments):
    return _probed(*arguments, correction=1)


@probe.mistake(
    "You standardise by one mean and one deviation of all features together. Each of the D features has its own."
)
def one_mean_for_all_features(backbone, images, labels, test_images, num_classes, penalty):
    with torch.no_grad():
        x = backbone(images)
    see = lambda images: (backbone(images) - x.mean()) / x.std(correction=0)
    return _probed(backbone, images, labels, test_images, num_classes, penalty, see=see, standard=False)


@probe.mistake("Your test features are divided by the deviation, but the mean is not taken away from them.")
def test_not_centred(backbone, images, labels, test_images, num_classes, penalty):
    with torch.no_grad():
        mean = backbone(images).mean(0)
    see = lambda asked: backbone(asked) + (mean if asked is test_images else 0)
    return _probed(backbone, images, labels, test_images, num_classes, penalty, see=see)


@probe.mistake(
    "Your offset is fitted like a weight, by a column of ones, and so it is punished too. It is the mean of Y, and free."
)
def offset_is_punished(backbone, images, labels, test_images, num_classes, penalty):
    with torch.no_grad():
        x, asked = backbone(images), backbone(test_images)
    mean, std = x.mean(0), x.std(0, correction=0)
    x, asked = (F.pad((each - mean) / std, (0, 1), value=1.0) for each in (x, asked))
    ridge = len(x) * penalty * torch.eye(x.shape[1])
    return asked @ torch.linalg.solve(x.T @ x + ridge, x.T @ F.one_hot(labels, num_classes).float())


@probe.mistake(
    "You take 1 / K away from the targets. Their mean over the images is another where classes are not even."
)
def even_shares(backbone, images, labels, test_images, num_classes, penalty):
    scores = _probed(backbone, images, labels, test_images, num_classes, penalty)
    return scores - F.one_hot(labels, num_classes).float().mean(0) + 1 / num_classes


@probe.mistake(
    "You have a column for each class that occurs among the labels. There are K, also where one does not occur."
)
def classes_that_occur(backbone, images, labels, test_images, num_classes, penalty):
    return _probed(backbone, images, labels, test_images, int(labels.max()) + 1, penalty)


@probe.mistake("Your probe reads raw pixels. It reads what the backbone makes of them.")
def reads_raw_pixels(*arguments):
    return _probed(*arguments, see=lambda images: images.flatten(1))


@probe.mistake("The penalty has no effect in yours.")
def probe_without_penalty(*arguments):
    return _probed(*arguments, ridge=lambda n, penalty: 0.0)


@probe.mistake("Your penalty is not multiplied by n, so its effect would fade with more images.")
def penalty_without_n(*arguments):
    return _probed(*arguments, ridge=lambda n, penalty: penalty)


@probe.mistake("Your penalty is divided by n. In the equation without fractions it is multiplied by n.")
def penalty_divided(*arguments):
    return _probed(*arguments, ridge=lambda n, penalty: penalty / n)


@probe.mistake("You punish by the square of the penalty. Already the penalty itself stands before the squares of W.")
def penalty_squared(*arguments):
    return _probed(*arguments, ridge=lambda n, penalty: n * penalty**2)


@probe.mistake("Your scores have no offset: the shares of the classes, the mean of Y, are missing at the end.")
def probe_without_offset(*arguments):
    return _probed(*arguments, offset=False)


@probe.mistake("You return the scores of the training images. Those of the test images are asked for.")
def scores_of_training_images(backbone, images, labels, test_images, num_classes, penalty):
    return _probed(backbone, images, labels, images, num_classes, penalty)


@probe.mistake("You return classes. The scores of all K classes are asked for.")
def classes_in_place_of_scores(*arguments):
    return _probed(*arguments).argmax(dim=1)


@probe.mistake("Your scores went through a softmax. The bare scores of the equation are asked for.")
def scores_through_softmax(*arguments):
    return _probed(*arguments).softmax(dim=1)


@probe.mistake(
    "Your probe fits the class numbers, as if class 2 were twice class 1. Each class has a column of its own."
)
def fits_class_numbers(backbone, images, labels, test_images, num_classes, penalty):
    as_numbers = lambda labels: labels.float()[:, None]
    with torch.no_grad():
        x, y, asked = backbone(images), as_numbers(labels), backbone(test_images)
        mean, std = x.mean(0), x.std(0, correction=0)
        x, asked = (x - mean) / std, (asked - mean) / std
        W = torch.linalg.solve(x.T @ x + len(x) * penalty * torch.eye(x.shape[1]), x.T @ (y - y.mean()))
        return asked @ W + y.mean()


@probe.alternative
def probe_by_least_squares(backbone, images, labels, test_images, num_classes, penalty):
    with torch.no_grad():
        std, mean = torch.std_mean(backbone(images), dim=0, correction=0)
        x = (backbone(images) - mean) / std
        y = torch.eye(num_classes)[labels]
        D = x.shape[1]
        more = torch.eye(D) * math.sqrt(penalty * len(x))
        targets = torch.cat([y - y.mean(dim=0), torch.zeros(D, num_classes)])
        W = torch.linalg.lstsq(torch.cat([x, more]), targets).solution
        return y.mean(dim=0) + (backbone(test_images) - mean) / std @ W


@probe.alternative
def probe_by_inverse(backbone, images, labels, test_images, num_classes, penalty):
    features = backbone(images).detach().double()
    mean = features.sum(0) / len(features)
    size = ((features - mean) ** 2).mean(dim=0).sqrt()
    z = (features - mean) / size
    y = torch.zeros(len(labels), num_classes, dtype=torch.float64)
    y[torch.arange(len(labels)), labels] = 1.0
    covariance = z.T @ z / len(z)
    W = torch.inverse(covariance + penalty * torch.eye(z.shape[1])) @ z.T @ (y - y.mean(0)) / len(z)
    return (((backbone(test_images).detach().double() - mean) / size) @ W + y.mean(0)).float()


@probe.alternative
def probe_by_kernel(backbone, images, labels, test_images, num_classes, penalty):
    """From the n × n side: the same scores by products between images."""
    with torch.inference_mode():
        x, asked = backbone(images), backbone(test_images)
        shift, scale = x.mean(0, keepdim=True), x.var(0, keepdim=True, correction=0).sqrt()
        x, asked = (x - shift) / scale, (asked - shift) / scale
        y = (labels[:, None] == torch.arange(num_classes)).float()
        alpha = torch.linalg.solve(x @ x.T + penalty * len(x) * torch.eye(len(x)), y - y.mean(0))
        scores = asked @ x.T @ alpha + y.mean(0)
    return scores.clone()


# ------------------------------------------------------------------------------------------------------------
# 8. generalised_iou

giou = homework.exercise(
    "generalised_iou",
    points=6,
    credit=WITH_GRADIENTS,
    hints=(
        "Take a box and itself: is the result 1? Take the two squares of the example by hand: is it −7/9?",
        "Print width and height of the overlap of two boxes that lie apart: is one of them below 0?",
        "Is your result (N, M), also where N and M differ?",
    ),
)


def _boxes(draw: Draw, count: int) -> torch.Tensor:
    """Corners (count, 4) of boxes within the unit square."""
    corner, size = 0.55 * draw.uniform(count, 2), 0.15 + 0.3 * draw.uniform(count, 2)
    return torch.cat([corner, corner + size], dim=1)


@giou.inputs
def _(draw: Draw):
    for scale in (1, 10):
        N, M = draw.sizes(2, low=5, high=8)
        a, b = _boxes(draw, N), _boxes(draw, M)
        inner = 0.05 * draw.uniform(2, 4)
        a[0] = torch.tensor([0.1, 0.2, 0.6, 0.9]) + inner[0]  # b[0] lies in it
        b[0] = torch.tensor([0.2, 0.35, 0.5, 0.6]) + inner[1]
        a[1, :2], a[1, 2:] = 0.1 * draw.uniform(2), 0.2 + 0.1 * draw.uniform(2)  # b[1] lies apart along both axes
        b[1, :2], b[1, 2:] = 0.6 + 0.1 * draw.uniform(2), 0.8 + 0.15 * draw.uniform(2)
        yield Call("generalised_iou", {"a": scale * a, "b": scale * b}, gradients=("a", "b"))


def _areas(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _overlap_and_hull(a, b, least=0.0):
    """All pairs: areas of the overlap, the union and the hull, (N, M) each."""
    a, b = a[:, None], b[None]
    size = torch.minimum(a, b)[..., 2:] - torch.maximum(a, b)[..., :2]
    overlap = (size if least is None else size.clamp(min=least)).prod(-1)
    hull = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).prod(-1)
    return overlap, _areas(a) + _areas(b) - overlap, hull


def _giou(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    return overlap / union - (hull - union) / hull


@giou.mistake(
    "You return the plain IoU: all pairs of boxes that lie apart are 0 alike, and nothing pulls them together."
)
def plain_iou(a, b):
    overlap, union, _ = _overlap_and_hull(a, b)
    return overlap / union


@giou.mistake(
    "Where boxes lie apart along both axes, your overlap is the product of two negative numbers. Neither side of it is below 0."
)
def overlap_below_zero(a, b):
    overlap, union, hull = _overlap_and_hull(a, b, least=None)
    return overlap / union - (hull - union) / hull


@giou.mistake(
    "You set the area of the overlap to 0 where it is negative. Its two sides have to be: two negative ones make a positive area."
)
def overlap_cut_too_late(a, b):
    overlap = _overlap_and_hull(a, b, least=None)[0].clamp(min=0)
    union, hull = _areas(a)[:, None] + _areas(b)[None] - overlap, _overlap_and_hull(a, b)[2]
    return overlap / union - (hull - union) / hull


@giou.mistake(
    "Your hull is cut off from the graph. It has to lead boxes towards each other where they do not touch: no gradient "
    "may be lost in it."
)
def hull_without_gradients(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    return overlap / union - (hull.detach() - union) / hull.detach()


@giou.mistake("Your union counts the overlap twice.")
def union_counts_twice(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    union = union + overlap
    return overlap / union - (hull - union) / hull


@giou.mistake("Your IoU is right, but the empty part of the hull is divided by the union. It is a share of the hull.")
def empty_part_of_the_union(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    return overlap / union - (hull - union) / union


@giou.mistake(
    "You take away the overlap's share of the hull. What counts is the part of the hull that neither box covers."
)
def hull_without_overlap(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    return overlap / union - (hull - overlap) / hull


@giou.mistake("The empty part of the hull is added. It is taken away.")
def empty_part_added(a, b):
    overlap, union, hull = _overlap_and_hull(a, b)
    return overlap / union + (hull - union) / hull


@giou.mistake("You read the boxes as corner and size. The last two numbers are the opposite corner.")
def corner_and_size(a, b):
    return _giou(*(torch.cat([x[:, :2], x[:, :2] + x[:, 2:]], dim=1) for x in (a, b)))


@giou.mistake("You read the boxes as centre and size. The four numbers are two corners.")
def centre_and_size(a, b):
    return _giou(*(torch.cat([x[:, :2] - x[:, 2:] / 2, x[:, :2] + x[:, 2:] / 2], dim=1) for x in (a, b)))


@giou.mistake("You read the four numbers as x, x, y, y. A corner is x, y, and there are two of them.")
def both_x_first(a, b):
    return _giou(a[:, [0, 2, 1, 3]], b[:, [0, 2, 1, 3]])


@giou.mistake(
    "Sides are one too long in yours, as if boxes were counted in whole pixels. A side is the difference of its ends."
)
def one_pixel_more(a, b):
    one = torch.tensor([0.0, 0.0, 1.0, 1.0])
    return _giou(a + one, b + one)


@giou.mistake("Rows and columns have changed places: a row belongs to a box of a.")
def rows_for_b(a, b):
    return _giou(b, a)


@giou.mistake("You return one minus the generalised IoU, the loss. The generalised IoU itself is asked for.")
def loss_of_boxes(a, b):
    return 1 - _giou(a, b)


@giou.mistake(
    "You punish the distance of the centres, as another measure does (DIoU). Here it is the empty part of the hull."
)
def distance_of_centres(a, b):
    overlap, union, _ = _overlap_and_hull(a, b)
    far = ((a[:, None, :2] + a[:, None, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(-1)
    a, b = a[:, None], b[None]
    across = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).square().sum(-1)
    return overlap / union - far / across


@giou.mistake("Your hull is the overlap: the hull begins at the smaller and ends at the larger of two ends.")
def hull_is_the_overlap(a, b):
    overlap, union, _ = _overlap_and_hull(a, b)
    hull = _overlap_and_hull(a, b, least=None)[0]
    return overlap / union - (hull - union) / hull


@giou.mistake(
    "Your hull begins where the overlap begins. The smallest box around both begins at the smaller of two starts."
)
def hull_begins_too_late(a, b):
    overlap, union, _ = _overlap_and_hull(a, b)
    p, q = a[:, None], b[None]
    hull = (torch.maximum(p, q)[..., 2:] - torch.maximum(p, q)[..., :2]).prod(-1)
    return overlap / union - (hull - union) / hull


@giou.mistake("Values below 0 are cut off in yours. Boxes that lie apart have a negative generalised IoU.")
def never_negative(a, b):
    return _giou(a, b).clamp(min=0)


@giou.mistake("The second boxes are cut off from the graph. Gradients reach both.")
def second_boxes_cut_off(a, b):
    return _giou(a, b.detach())


@giou.alternative
def giou_pair_by_pair(a, b):
    rows = []
    for p in a:
        row = []
        for q in b:
            w = torch.min(p[2], q[2]) - torch.max(p[0], q[0])
            h = torch.min(p[3], q[3]) - torch.max(p[1], q[1])
            overlap = w.relu() * h.relu()
            union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - overlap
            hull = (torch.max(p[2], q[2]) - torch.min(p[0], q[0])) * (torch.max(p[3], q[3]) - torch.min(p[1], q[1]))
            row.append(overlap / union + union / hull - 1)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@giou.alternative
def giou_coordinate_by_coordinate(a, b):
    ax, ay, az, aw = a[:, :, None].unbind(1)
    bx, by, bz, bw = b[None].unbind(2)
    wide = torch.clamp(torch.minimum(az, bz) - torch.maximum(ax, bx), min=0)
    high = torch.clamp(torch.minimum(aw, bw) - torch.maximum(ay, by), min=0)
    overlap = wide * high
    union = (az - ax) * (aw - ay) + (bz - bx) * (bw - by) - overlap
    hull = (torch.maximum(az, bz) - torch.minimum(ax, bx)) * (torch.maximum(aw, bw) - torch.minimum(ay, by))
    return overlap / union - 1 + union / hull


@giou.alternative
def giou_by_sides(a, b):
    own, other = (a[:, 2:] - a[:, :2])[:, None], (b[:, 2:] - b[:, :2])[None]
    ends = torch.stack(torch.broadcast_tensors(a[:, None], b[None]))  # (2, N, M, 4)
    sides = ends[..., 2:].amax(0) - ends[..., :2].amin(0)
    inner = torch.maximum(a[:, None, :2], b[None, :, :2])
    overlap = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - inner).clamp_min(0).prod(-1)
    union = own.prod(-1) + other.prod(-1) - overlap
    whole = sides[..., 0] * sides[..., 1]
    return (overlap * whole - union * (whole - union)) / (union * whole)


# ------------------------------------------------------------------------------------------------------------
# 9. match_cost and match_boxes

match = homework.exercise(
    "match_boxes",
    points=7,
    targets=("match_cost", "match_boxes"),
    hints=(
        "Set both weights to 0: is each cost a probability with a minus sign, between −1 and 0?",
        "Take the example by hand: the two objects want the same query. Who gets it, and what is the sum?",
        "Does your list name a query for each object, or an object for each query?",
    ),
)


def _ways(cost):
    """All assignments: the queries of all objects, and what each pair costs, (ways, M) both."""
    queries = torch.tensor(list(itertools.permutations(range(cost.shape[0]), cost.shape[1])))
    return queries, cost[queries, torch.arange(cost.shape[1])]


def _least(cost):
    """The queries of all objects with the least total, by trying all: (Q, M) -> list of M numbers."""
    queries, costs = _ways(cost)
    return queries[costs.sum(dim=1).argmin()].tolist()


def _one_after_another(cost):
    taken = []
    for m in range(cost.shape[1]):
        column = cost[:, m].clone()
        column[taken] = math.inf
        taken.append(int(column.argmin()))
    return taken


def _cheapest_first(cost):
    left, found = cost.clone(), [0] * cost.shape[1]
    for _ in found:
        q, m = divmod(int(left.argmin()), cost.shape[1])
        found[m] = q
        left[q], left[:, m] = math.inf, math.inf
    return found


def _in_order(cost):
    """The best queries, if objects had to come in their order."""
    queries, costs = _ways(cost)
    rising = (queries[:, 1:] > queries[:, :-1]).all(dim=1)
    return queries[rising][costs[rising].sum(dim=1).argmin()].tolist()


def _fair(cost):
    """The queries with the least largest cost."""
    queries, costs = _ways(cost)
    return queries[costs.amax(dim=1).argmin()].tolist()


def _telling_cost(draw: Draw, Q: int, M: int) -> torch.Tensor:
    """Costs (Q, M) on which every short cut ends elsewhere than the right way."""
    while True:
        cost = (2 * draw.normal(Q, M)).round(decimals=2)
        best, second = _ways(cost)[1].sum(dim=1).topk(2, largest=False).values
        if second - best <= 0.05:
            continue
        right = _least(cost)
        wrong = [_one_after_another(cost), _cheapest_first(cost), cost.argmin(0).tolist(), _in_order(cost), _fair(cost)]
        wrong += [_least(-cost), _least(cost.abs())]
        wrong += [sorted(range(M), key=right.__getitem__), list(range(M)), sorted(right)]
        if right not in wrong and len({tuple(each) for each in wrong}) == len(wrong):
            return cost


@match.inputs
def _(draw: Draw):
    for (Q, M, K), sizes in (((6, 3, 4), (6, 4)), ((7, 5, 5), (5, 4))):
        arguments = {
            "scores": 1.5 * draw.normal(Q, K + 1),
            "boxes": _boxes(draw, Q),
            "labels": torch.randperm(K, generator=draw.generator)[:M],
            "targets": _boxes(draw, M),
            "l1_weight": draw.between(1.5, 2.5),
            "giou_weight": draw.between(0.5, 1.2),
        }
        yield Call("match_cost", arguments)
        yield Call("match_boxes", {"cost": _telling_cost(draw, *sizes)})


def _cost(scores, boxes, labels, targets, l1_weight, giou_weight, shares=None, far=None, near=_giou):
    """The right cost with replaceable parts."""
    shares = scores.softmax(-1) if shares is None else shares(scores)
    apart = (boxes[:, None] - targets[None]).abs().sum(-1) if far is None else far(boxes, targets)
    return -shares[:, labels] + l1_weight * apart - giou_weight * near(boxes, targets)


@match.mistake(
    "Likely classes cost more in your table. A probable class should make the pair cheap.", target="match_cost"
)
def likely_is_dear(*arguments):
    return _cost(*arguments, shares=lambda scores: -scores.softmax(-1))


@match.mistake(
    "Your table takes logarithms, as a cross entropy does. In the matching it is the bare probability, so that it is as large as the boxes' part.",
    target="match_cost",
)
def cost_of_logarithms(*arguments):
    return _cost(*arguments, shares=lambda scores: scores.log_softmax(-1))


@match.mistake("Your table takes raw scores. They become probabilities first.", target="match_cost")
def cost_of_raw_scores(*arguments):
    return _cost(*arguments, shares=lambda scores: scores)


@match.mistake(
    "Your probabilities are those of sigmoids. Each query has one softmax over all classes.", target="match_cost"
)
def cost_of_sigmoids(*arguments):
    return _cost(*arguments, shares=torch.sigmoid)


@match.mistake("Your softmax runs over the queries. It runs over the classes of a query.", target="match_cost")
def cost_over_queries(*arguments):
    return _cost(*arguments, shares=lambda scores: scores.softmax(0))


@match.mistake(
    "Your softmax leaves out the class for no object. It takes its share of the probability too.", target="match_cost"
)
def cost_without_no_object(*arguments):
    return _cost(*arguments, shares=lambda scores: scores[:, :-1].softmax(-1))


@match.mistake(
    "You take a query's best class, whatever the object is. The probability of the object's own label counts.",
    target="match_cost",
)
def cost_of_the_best_class(scores, boxes, labels, *rest):
    best = scores.softmax(-1)[:, :-1].amax(-1, keepdim=True).expand(scores.shape)
    return _cost(scores, boxes, labels, *rest, shares=lambda scores: best)


@match.mistake("You took the mean over the four numbers of a box. They are added up.", target="match_cost")
def cost_of_mean_distance(*arguments):
    return _cost(*arguments, far=lambda a, b: (a[:, None] - b[None]).abs().mean(-1))


@match.mistake("You took the squares of the differences of boxes. Their sizes are asked for.", target="match_cost")
def cost_of_squares(*arguments):
    return _cost(*arguments, far=lambda a, b: (a[:, None] - b[None]).square().sum(-1))


@match.mistake(
    "You took the straight distance of boxes, with squares and a root. Sizes of differences are added up.",
    target="match_cost",
)
def cost_of_straight_distance(*arguments):
    return _cost(*arguments, far=torch.cdist)


@match.mistake(
    "Boxes that cover each other cost more in yours: the sign of the generalised IoU is wrong.", target="match_cost"
)
def overlap_is_dear(*arguments):
    return _cost(*arguments, near=lambda a, b: -_giou(a, b))


@match.mistake(
    "Your cost has the generalised IoU's loss, one minus it. The matching stays the same, but the table differs from the text.",
    target="match_cost",
)
def cost_with_one_minus(*arguments):
    return _cost(*arguments, near=lambda a, b: _giou(a, b) - 1)


@match.mistake(
    "Your cost takes the plain IoU, which is 0 for all boxes that lie apart. The generalised one is asked for.",
    target="match_cost",
)
def cost_of_plain_iou(*arguments):
    return _cost(*arguments, near=plain_iou)


@match.mistake("The weights of the two parts have changed places.", target="match_cost")
def cost_weights_exchanged(scores, boxes, labels, targets, l1_weight, giou_weight):
    return _cost(scores, boxes, labels, targets, giou_weight, l1_weight)


@match.mistake("The weights of the two parts have no effect.", target="match_cost")
def cost_weights_left_out(scores, boxes, labels, targets, l1_weight, giou_weight):
    return _cost(scores, boxes, labels, targets, 1.0, 1.0)


@match.mistake("Rows and columns of your table have changed places: a row belongs to a query.", target="match_cost")
def rows_for_objects(*arguments):
    return _cost(*arguments).T


@match.mistake(
    "Each object takes its cheapest query in yours, even if another has it. A query belongs to one object.",
    target="match_boxes",
)
def each_takes_the_cheapest(cost):
    return cost.argmin(dim=0)


@match.mistake(
    "Objects choose one after another in yours. The first gets the best, and the total is not the least.",
    target="match_boxes",
)
def objects_choose_in_turn(cost):
    return torch.tensor(_one_after_another(cost))


@match.mistake(
    "The cheapest pair of all is taken first in yours, then the next. A dear one is then left, and the total is not the least.",
    target="match_boxes",
)
def cheapest_pair_first(cost):
    return torch.tensor(_cheapest_first(cost))


@match.mistake("You look for the largest total. The least is asked for.", target="match_boxes")
def largest_total(cost):
    return torch.tensor(_least(-cost))


@match.mistake("You took the size of the costs. Negative costs are the best ones.", target="match_boxes")
def cost_without_its_sign(cost):
    return torch.tensor(_least(cost.abs()))


@match.mistake(
    "You try queries in rising order only, so object 0 always stands before object 1. Every order counts.",
    target="match_boxes",
)
def rising_queries_only(cost):
    return torch.tensor(_in_order(cost))


@match.mistake("You keep the worst pair small. The sum over all pairs is to be least.", target="match_boxes")
def least_worst_pair(cost):
    return torch.tensor(_fair(cost))


@match.mistake(
    "Your queries are those of the least total, sorted by themselves. They stand in the order of the objects.",
    target="match_boxes",
)
def queries_sorted(cost):
    return torch.tensor(_least(cost)).sort().values


@match.mistake(
    "You return the objects, in the order of their queries. Asked for are the queries, in the order of their objects.",
    target="match_boxes",
)
def objects_in_the_order_of_queries(cost):
    return torch.tensor(_least(cost)).argsort()


@match.mistake(
    "You return the numbers of the objects, 0, 1, 2 and so on. Asked for are their queries.", target="match_boxes"
)
def numbers_of_the_objects(cost):
    return torch.arange(cost.shape[1])


@match.mistake("You return an object for each query. A query for each object is asked for.", target="match_boxes")
def object_of_each_query(cost):
    found = torch.full((cost.shape[0],), -1)
    found[torch.tensor(_least(cost))] = torch.arange(cost.shape[1])
    return found


@match.alternative(target="match_cost")
def cost_pair_by_pair(scores, boxes, labels, targets, l1_weight, giou_weight):
    shares = F.softmax(scores, dim=1)
    table = torch.zeros(len(boxes), len(targets))
    for q in range(len(boxes)):
        for m in range(len(targets)):
            apart = sum(abs(float(boxes[q, i] - targets[m, i])) for i in range(4))
            near = float(_giou(boxes[q : q + 1], targets[m : m + 1]))
            table[q, m] = l1_weight * apart - giou_weight * near - float(shares[q, labels[m]])
    return table


@match.alternative(target="match_cost")
def cost_by_cdist(scores, boxes, labels, targets, l1_weight, giou_weight):
    powers = scores.exp()
    shares = powers / powers.sum(dim=1, keepdim=True)
    table = l1_weight * torch.cdist(boxes, targets, p=1)
    table = table - giou_weight * _giou(boxes, targets)
    return table - shares.index_select(1, labels)


@match.alternative(target="match_cost")
def cost_by_one_hot(scores, boxes, labels, targets, l1_weight, giou_weight):
    chosen = F.one_hot(labels, scores.shape[1]).to(scores.dtype)
    kinds = einsum(scores.softmax(dim=-1), chosen, "q k, m k -> q m")
    apart = F.l1_loss(*torch.broadcast_tensors(boxes[:, None], targets[None]), reduction="none").sum(dim=2)
    return apart * l1_weight - kinds - _giou(targets, boxes).mT * giou_weight


@match.alternative(target="match_boxes")
def match_by_trying_all(cost):
    best, chosen = math.inf, None
    for queries in itertools.permutations(range(cost.shape[0]), cost.shape[1]):
        total = cost[list(queries), range(cost.shape[1])].sum().item()
        if total < best:
            best, chosen = total, queries
    return torch.tensor(chosen)


def _best_of_the_rest(rows, m, taken):
    """Total and queries of the objects m, m + 1, ... without what is taken."""
    if m == len(rows[0]):
        return 0.0, []
    ways = []
    for q in range(len(rows)):
        if q not in taken:
            total, queries = _best_of_the_rest(rows, m + 1, taken | {q})
            ways.append((rows[q][m] + total, [q, *queries]))
    return min(ways)


@match.alternative(target="match_boxes")
def match_by_recursion(cost):
    return torch.tensor(_best_of_the_rest(cost.tolist(), 0, frozenset())[1])


@match.alternative(target="match_boxes")
def match_by_one_table(cost):
    """All orders at once, as one table of totals."""
    orders = torch.tensor(list(itertools.permutations(range(cost.shape[0]), cost.shape[1])))
    totals = cost[orders, torch.arange(cost.shape[1])].sum(dim=1)
    return orders[totals.argmin()]


# ------------------------------------------------------------------------------------------------------------
# 10. set_loss

whole = homework.exercise(
    "set_loss",
    points=8,
    credit=WITH_GRADIENTS,
    hints=(
        "Set both weights of the boxes to 0 and the weight of no object to 1: is it the plain cross entropy over all Q queries?",
        "Print the class that each query should say: how many of them are K, the class for no object?",
        "Give the matched queries the very boxes of their objects: is the boxes' part 0?",
    ),
)


@whole.inputs
def _(draw: Draw):
    for no_object, (Q, M, K) in ((1.0, (6, 3, 4)), (0.2, (8, 5, 6))):
        yield Call(
            "set_loss",
            {
                "scores": 1.5 * draw.normal(Q, K + 1),
                "boxes": _boxes(draw, Q),
                "labels": torch.randperm(K, generator=draw.generator)[:M],
                "targets": _boxes(draw, M),
                "queries": _out_of_order(draw, Q, M),
                "no_object_weight": no_object,
                "l1_weight": draw.between(2, 3),
                "giou_weight": draw.between(0.7, 1.5),
            },
            gradients=("scores", "boxes"),
        )


def _out_of_order(draw: Draw, Q: int, M: int) -> torch.Tensor:
    """Queries of M objects, neither rising nor the first ones."""
    while True:
        queries = torch.randperm(Q, generator=draw.generator)[:M]
        if queries.tolist() != sorted(queries.tolist()) and int(queries.max()) >= M:
            return queries


def _classes(scores, labels, queries, fill=None):
    classes = torch.full((len(scores),), scores.shape[1] - 1 if fill is None else fill)
    classes[queries] = labels
    return classes


def _set(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight, **parts):
    """The right loss with replaceable parts."""
    classes = _classes(scores, labels, queries, parts.get("fill"))
    weights = torch.where(classes == scores.shape[1] - 1, no_object_weight, 1.0)
    losses = weights * -scores.log_softmax(-1)[torch.arange(len(scores)), classes]
    kinds = losses.sum() / parts.get("below", lambda weights: weights.sum())(weights)
    found = boxes[queries]
    apart = parts.get("far", lambda a, b: (a - b).abs().sum())(found, targets)
    near = parts.get("near", lambda a, b: (1 - _giou(a, b).diagonal()).sum())(found, targets)
    count = parts.get("count", lambda Q, M: M)(len(scores), len(labels))
    return kinds + (l1_weight * apart + giou_weight * near) / count


@whole.mistake("The weight of no object has no effect, so the many empty queries drown the few with an object.")
def no_object_counts_whole(scores, boxes, labels, targets, queries, no_object_weight, *rest):
    return _set(scores, boxes, labels, targets, queries, 1.0, *rest)


@whole.mistake(
    "You divide the classes' part by the number of queries. It is a weighted mean: divide by the sum of the weights."
)
def divided_by_queries(*arguments):
    return _set(*arguments, below=len)


@whole.mistake(
    "The classes' part counts matched queries only. The others have to learn to say that there is no object."
)
def only_matched_classes(scores, boxes, labels, targets, queries, no_object_weight, *rest):
    return _set(scores, boxes, labels, targets, queries, 0.0, *rest)


@whole.mistake("Queries without an object are taught class 0. The class for no object is the last one, K.")
def no_object_is_class_zero(*arguments):
    return _set(*arguments, fill=0)


@whole.mistake("The classes' part is added up. It is a weighted mean over the queries.")
def classes_added_up(*arguments):
    return _set(*arguments, below=lambda weights: 1.0)


@whole.mistake("You divide the boxes' part by the number of queries. It is divided by the number of objects.")
def boxes_divided_by_queries(*arguments):
    return _set(*arguments, count=lambda Q, M: Q)


@whole.mistake("The boxes' part is not divided by the number of objects.")
def boxes_not_divided(*arguments):
    return _set(*arguments, count=lambda Q, M: 1)


@whole.mistake("You take the mean over the four numbers of a box. They are added up.")
def mean_of_four_numbers(*arguments):
    return _set(*arguments, far=lambda a, b: (a - b).abs().sum() / 4)


@whole.mistake("You take squares of the differences of boxes. Their sizes are asked for.")
def squares_of_boxes(*arguments):
    return _set(*arguments, far=lambda a, b: (a - b).square().sum())


@whole.mistake("Your loss grows as boxes cover each other: the generalised IoU itself is in it, and not one minus it.")
def overlap_is_punished(*arguments):
    return _set(*arguments, near=lambda a, b: _giou(a, b).diagonal().sum())


@whole.mistake("Your loss has minus the generalised IoU. Its direction is right, but a perfect box should cost 0.")
def minus_the_overlap(*arguments):
    return _set(*arguments, near=lambda a, b: -_giou(a, b).diagonal().sum())


@whole.mistake(
    "Your loss takes the generalised IoU of all pairs of boxes. Only a query and its own object belong together."
)
def all_pairs_of_boxes(*arguments):
    return _set(*arguments, near=lambda a, b: (1 - _giou(a, b)).sum())


@whole.mistake(
    "Your loss takes the generalised IoU of all pairs of boxes. Only a query and its own object belong together."
)
def all_pairs_of_boxes(*arguments):  # noqa: F811
    return _set(*arguments, near=lambda a, b: len(a) * (1 - _giou(a, b)).mean())


@whole.mistake("The distances of the boxes are missing in yours. The boxes' part has two terms.")
def set_without_distances(*arguments):
    return _set(*arguments, far=lambda a, b: 0.0)


@whole.mistake("The overlaps of the boxes are missing in yours. The boxes' part has two terms.")
def set_without_overlaps(*arguments):
    return _set(*arguments, near=lambda a, b: 0.0)


@whole.mistake("You match the boxes anew. Which query belongs to which object is given.")
def set_matched_anew(scores, boxes, labels, targets, queries, no_object_weight, *weights):
    with torch.no_grad():
        queries = torch.tensor(_least(_cost(scores, boxes, labels, targets, *weights)))
    return _set(scores, boxes, labels, targets, queries, no_object_weight, *weights)


@whole.mistake(
    "Your loss takes the plain IoU, which has no gradient where boxes lie apart. The generalised one is asked for."
)
def set_of_plain_iou(*arguments):
    return _set(*arguments, near=lambda a, b: (1 - plain_iou(a, b).diagonal()).sum())


@whole.mistake("You compare the first queries with the objects, whatever was matched.")
def first_queries_with_objects(scores, boxes, labels, targets, queries, *rest):
    return _set(scores, boxes, labels, targets, torch.arange(len(labels)), *rest)


@whole.mistake(
    "Your boxes are compared in the order of the queries. Object m belongs to the m-th of the matched queries."
)
def boxes_in_the_order_of_queries(scores, boxes, labels, targets, queries, *rest):
    rising = boxes.clone()
    rising[queries] = boxes[queries.sort().values]
    return _set(scores, rising, labels, targets, queries, *rest)


@whole.mistake("The labels go to the queries in rising order. Object m belongs to the m-th of the matched queries.")
def labels_in_the_order_of_queries(scores, boxes, labels, targets, queries, *rest):
    other = scores.clone()
    other[queries] = scores[queries.sort().values]
    return _set(other, boxes, labels, targets, queries, *rest)


@whole.mistake("The weights of the boxes' two parts have changed places.")
def set_weights_exchanged(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight):
    return _set(scores, boxes, labels, targets, queries, no_object_weight, giou_weight, l1_weight)


@whole.mistake("The weight of no object is on the objects in yours, and empty queries count whole.")
def weight_on_the_objects(scores, boxes, labels, targets, queries, no_object_weight, *rest):
    return _set(scores, boxes, labels, targets, queries, 1 / no_object_weight, *rest)


@whole.mistake("Your classes' part goes through the softmax twice: a cross entropy takes raw scores.")
def set_with_softmax_twice(scores, *rest):
    return _set(scores.softmax(-1), *rest)


@whole.mistake("No gradient reaches the boxes: they are cut off from the graph.")
def boxes_cut_off(scores, boxes, *rest):
    return _set(scores, boxes.detach(), *rest)


@whole.alternative
def set_by_cross_entropy(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight):
    K = scores.shape[1] - 1
    weights = torch.ones(K + 1)
    weights[K] = no_object_weight
    classes = torch.tensor([K] * len(scores)).scatter(0, queries, labels)
    kinds = F.cross_entropy(scores, classes, weight=weights)
    found, M = boxes.index_select(0, queries), len(targets)
    near = torch.diagonal(_giou(found, targets))
    return kinds + l1_weight * F.l1_loss(found, targets, reduction="sum") / M + giou_weight * (1 - near).mean()


@whole.alternative
def set_query_by_query(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight):
    object_of = {query: m for m, query in enumerate(queries.tolist())}
    kinds = below = apart = near = 0.0
    for q in range(len(scores)):
        logarithms = scores[q] - torch.logsumexp(scores[q], dim=0)
        if q in object_of:
            m = object_of[q]
            kinds, below = kinds - logarithms[labels[m]], below + 1
            apart = apart + torch.linalg.vector_norm(boxes[q] - targets[m], ord=1)
            near = near + 1 - _giou(boxes[q][None], targets[m][None])[0, 0]
        else:
            kinds, below = kinds - no_object_weight * logarithms[-1], below + no_object_weight
    return kinds / below + (l1_weight * apart + giou_weight * near) / len(object_of)


@whole.alternative
def set_by_one_hot(scores, boxes, labels, targets, queries, no_object_weight, l1_weight, giou_weight):
    Q, classes = scores.shape
    chosen = F.one_hot(queries, Q).to(scores.dtype)  # (M, Q)
    wanted = chosen.T @ F.one_hot(labels, classes).to(scores.dtype)  # (Q, K + 1), zeros where no object is
    empty = 1 - chosen.sum(dim=0)
    wanted = wanted + no_object_weight * empty[:, None] * F.one_hot(torch.tensor(classes - 1), classes)
    kinds = -(wanted * scores.log_softmax(dim=1)).sum() / wanted.sum()
    found = chosen @ boxes
    near = _giou(found, targets).diagonal()
    return kinds + l1_weight * (found - targets).abs().sum(1).mean() + giou_weight * (1 - near.mean())
