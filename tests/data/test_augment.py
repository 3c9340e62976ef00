"""Batched augmentation does to each image what torchvision does to one image with the same numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms.v2 import functional as one

from course.data import colour
from course.data.augment import (
    AUGMENTATIONS,
    ColorJitter,
    Cutout,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    ThreeAugment,
)
from course.data.mix import Mix, RandomErasing
from course.data.rand_augment import OPERATIONS, RandAugment
from tests.models.parity import proves

ON_PIXELS = AUGMENTATIONS | {"rand_augment": RandAugment(9, 0.5), "color_jitter": ColorJitter(0.4)}
EVERY = ON_PIXELS | {"random_erasing": RandomErasing(0.5), "mixup": Mix(0.8, 0), "cutmix": Mix(0, 1)}
BILINEAR = InterpolationMode.BILINEAR


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_like(shape, dtype=torch.uint8, seed: int = 1) -> Tensor:
    images = torch.randint(0, 256, shape, generator=seeded(seed))
    return images.to(dtype)


def photographs(count: int, size: tuple[int, int] = (20, 24), channels: int = 3) -> Tensor:
    """Smooth, of unlike brightness and contrast; unlike noise, no statistic of theirs is that of another."""
    coarse = torch.rand(count, channels, 4, 5, generator=seeded(2)) * 255
    smooth = F.interpolate(coarse, size, mode="bicubic", align_corners=False)
    strength = torch.linspace(0.3, 1, count)[:, None, None, None]
    return (smooth * strength + 40 * (1 - strength)).clamp(0, 255).to(torch.uint8)


def fitting(name: str, shape) -> Tensor:
    """Images that an augmentation takes."""
    normalised = EVERY[name].on_normalised
    return torch.randn(shape, generator=seeded(1)) if normalised else images_like(shape)


def only_images(result) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def assert_close(ours: Tensor, theirs: Tensor, share: float = 0.005) -> None:
    """Equal but for a few values, which lie between two whole numbers and fall on the other side."""
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() <= share


# What holds for all
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(31, 3, 8, 8), (30, 1, 9, 12), (30, 4, 3, 8, 9), (30, 5, 8, 8)])
def test_rows_of_the_drawn_numbers_give_rows_of_the_images(name, shape):
    images, augmentation = fitting(name, shape), EVERY[name]
    before = images.clone()
    drawn = augmentation.draw(len(images), images.shape, seeded())
    assert len(drawn) == len(images) and drawn.ndim == 2
    whole = only_images(augmentation.apply(images, drawn))
    assert whole.shape == images.shape and whole.dtype == images.dtype
    assert torch.equal(images, before) and not torch.equal(whole, before)
    for rows in (slice(0, 10), slice(10, 12), slice(12, len(images))):
        assert torch.equal(only_images(augmentation.apply(images[rows], drawn[rows])), whole[rows])


@pytest.mark.parametrize("name", EVERY)
def test_all_frames_of_a_clip_are_treated_alike(name):
    still = fitting(name, (30, 1, 3, 8, 8))
    clips = still.expand(30, 5, 3, 8, 8)
    augmentation = EVERY[name]
    drawn = augmentation.draw(30, clips.shape, seeded())
    result = only_images(augmentation.apply(clips, drawn))
    assert torch.equal(result, result[:, :1].expand_as(result))
    if name not in ("rand_augment", "color_jitter"):  # which look at means over the clip
        assert torch.equal(result[:, 0], only_images(augmentation.apply(still[:, 0], drawn)))


def test_where_an_operation_looks_at_the_image_it_looks_at_the_clip():
    clips = images_like((6, 4, 3, 8, 10))
    clips[:, 0] //= 4  # a dark frame
    long = clips.transpose(1, 2).flatten(2, 3)  # (B, C, T·H, W)
    augmentation = RandAugment()
    for operation in ("autocontrast", "equalize", "contrast", "posterize"):
        drawn = torch.tensor([[OPERATIONS.index(operation), 0.7, -1, 0]]).expand(6, 4)
        expected = augmentation.apply(long, drawn).unflatten(2, (4, 8)).transpose(1, 2)
        assert torch.equal(augmentation.apply(clips, drawn), expected)


@pytest.mark.parametrize("name", EVERY)
def test_the_generator_decides(name):
    images, augmentation = fitting(name, (50, 3, 8, 8)), EVERY[name]
    first, again, other = (only_images(augmentation(images, seeded(seed))) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    augmentation(images, seeded())
    assert torch.equal(state, torch.get_rng_state()), "the global random state is the caller's"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 2, 3, 8, 8)])
def test_nothing_waits_for_the_device(name, shape):
    images, augmentation = fitting(name, shape), EVERY[name]
    with FakeTensorMode():  # has no numbers in it: whoever needs one fails
        assert augmentation.draw(6, shape, torch.Generator()).shape[0] == 6
    drawn = augmentation.draw(6, shape, seeded())
    assert only_images(augmentation.apply(images.to("meta"), drawn.to("meta"))).shape == shape


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name not in ("random_resized_crop", "cutmix"))) for name in EVERY],
)
def test_all_is_one_graph(name):
    images, augmentation = fitting(name, (6, 3, 8, 8)), EVERY[name]
    drawn = augmentation.draw(6, images.shape, seeded())
    torch._dynamo.reset()
    compiled = torch.compile(augmentation.apply, fullgraph=True, backend="eager")
    assert torch.equal(only_images(compiled(images, drawn)), only_images(augmentation.apply(images, drawn)))


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_compiled_it_is_the_same(name):
    images, augmentation = fitting(name, (6, 3, 8, 8)), EVERY[name]
    drawn = augmentation.draw(6, images.shape, seeded())
    torch._dynamo.reset()
    compiled = only_images(torch.compile(augmentation.apply, fullgraph=True)(images, drawn))
    expected = only_images(augmentation.apply(images, drawn))
    if images.dtype == torch.uint8:
        assert_close(compiled, expected, share=0.01)
    else:
        torch.testing.assert_close(compiled, expected)


@pytest.mark.parametrize("name", ["three_augment", "rand_augment", "color_jitter"])
def test_colours_want_uint8_and_say_so(name):
    with pytest.raises(ValueError, match="augment before normalising"):
        ON_PIXELS[name](torch.rand(2, 3, 8, 8), seeded())


@pytest.mark.parametrize("name", ["random_erasing", "mixup", "cutmix"])
def test_erasing_and_mixing_want_normalised_images_and_say_so(name):
    with pytest.raises(ValueError, match=r"pass normalise\(images\)"):
        EVERY[name](images_like((2, 3, 8, 8)), seeded())


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: ColorJitter(1.5), "0..1, not 1.5"),
        (lambda: RandomErasing(-0.1), "0..1, not -0.1"),
        (lambda: RandAugment(11, 0.5), "not 11 and 0.5"),
        (lambda: RandAugment(9, -1), "not 9 and -1"),
        (lambda: Mix(-1, 0), "here -1 and 0"),
        (lambda: Mix(0, 3), "here 0 and 3"),
        (lambda: RandomErasing(0.5).draw(2, (8, 8), seeded()), "has no channels"),
        (lambda: RandomCrop(8).draw(2, (8, 8), seeded()), "padding is 8"),
    ],
)
def test_a_wrong_number_is_named(build, says):
    with pytest.raises(ValueError, match=says):
        build()


# Where the pixels are
# ---------------------------------------------------------------------------------------------------


def every_crop(image: Tensor, padding: int) -> list[Tensor]:
    """All crops of one image (C, H, W), by padding and slicing."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None].float(), [padding] * 4, mode="reflect")[0]
    return [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]


@proves(161)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("shape", "padding"), [((90, 3, 9, 7), 1), ((12, 1, 5, 6), 4), ((20, 2, 8, 8), 0)])
def test_every_crop_is_one_that_padding_and_slicing_gives(shape, padding, dtype):
    images = images_like(shape, dtype)
    cropped = RandomCrop(padding)(images, seeded())
    assert cropped.shape == images.shape and cropped.dtype == dtype
    seen = set()
    for image, crop in zip(images, cropped, strict=True):
        crops = torch.stack(every_crop(image, padding))  # (places, C, H, W)
        matches = (crops == crop).flatten(1).all(1).nonzero()[:, 0].tolist()
        assert matches
        seen.update(matches)
    if shape[0] == 90:
        assert len(seen) == (2 * padding + 1) ** 2, "every place occurs"


def test_crop_pads_by_an_eighth_unless_told():
    images = images_like((60, 3, 16, 16))
    assert torch.equal(RandomCrop()(images, seeded()), RandomCrop(2)(images, seeded()))


def test_every_image_is_itself_or_its_mirror_image():
    images = images_like((400, 3, 4, 6))
    flipped = RandomFlip()(images, seeded())
    mirrored = [not torch.equal(after, before) for before, after in zip(images, flipped, strict=True)]
    for before, after, mirror in zip(images, flipped, mirrored, strict=True):
        assert torch.equal(after, before.flip(-1) if mirror else before)
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resized_crop_cuts_out_and_stretches(dtype):
    images = images_like((60, 3, 20, 14), dtype)
    drawn = RandomResizedCrop().draw(60, images.shape, seeded())
    drawn[0] = torch.tensor([0, 0, 20, 14])  # the whole image
    drawn[1] = torch.tensor([19, 13, 1, 1])  # one pixel
    result = RandomResizedCrop().apply(images, drawn)
    for image, box, ours in zip(images, drawn.int().tolist(), result, strict=True):
        theirs = one.resized_crop(image, *box, size=[20, 14], antialias=False)
        if dtype == torch.uint8:
            assert (ours.int() - theirs.int()).abs().max() <= 1
        else:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    torch.testing.assert_close(result[0], images[0], rtol=0, atol=1e-3)
    assert (result[1] == images[1, :, -1:, -1:]).all()


def one_box(side: int) -> float:
    """The share of the area that torchvision cuts out."""
    box = TorchvisionCrop(side).make_params([torch.zeros(1, side, side)])
    return box["height"] * box["width"] / side**2


def test_resized_crops_of_bytes_are_those_of_floats_to_one_level():
    images = torch.randint(256, (20, 2, 3, 80, 60), dtype=torch.uint8, generator=seeded())  # clips
    crop = RandomResizedCrop(side=24)
    drawn = crop.draw(20, images.shape, seeded())
    assert crop.apply(images, drawn).dtype == torch.uint8
    assert (crop.apply(images, drawn).float() - crop.apply(images.float(), drawn)).abs().max() < 1.01


def test_resized_crops_are_of_the_sizes_of_inception():
    top, left, height, width = RandomResizedCrop().draw(4000, (3, 96, 96), seeded()).unbind(1)
    assert ((top >= 0) & (left >= 0) & (top + height <= 96) & (left + width <= 96)).all()
    share, ratio = height * width / 96**2, width / height
    assert 0.075 < share.min() < 0.1 and share.max() > 0.95
    theirs = [one_box(96) for _ in range(1000)]
    assert abs(share.mean() - sum(theirs) / 1000) < 0.03, "uniform, but that the largest fit less often"
    assert 0.72 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.39
    assert abs(ratio.log().mean()) < 0.02 and abs(ratio.log().std() - 0.288 / 3**0.5) < 0.02
    inner = height < 90
    assert abs((top / (96 - height))[inner].mean() - 0.5) < 0.02, "anywhere it fits"
    whole = RandomResizedCrop().draw(50, (3, 2, 64), seeded())  # where no such rectangle is in the image
    assert (whole[:, 2] <= 2).all() and (whole == torch.tensor([0.0, 0, 2, 64])).all(1).any()


def test_cutout_hides_a_square_in_the_images_mean():
    images = photographs(500, (16, 16))
    drawn = Cutout().draw(500, images.shape, seeded())
    assert (drawn[:, 2:] == 8).all()
    result = Cutout().apply(images, drawn)
    hidden = torch.zeros(500, 16, 16, dtype=torch.bool)
    for image, (top, left, height, width) in zip(hidden, drawn.int().tolist(), strict=True):
        image[max(top, 0) : top + height, max(left, 0) : left + width] = True
    assert torch.equal(result.movedim(1, 3)[~hidden], images.movedim(1, 3)[~hidden])
    mean = images.double().mean((2, 3)).round()[:, :, None, None].expand_as(images)
    assert torch.equal(result.movedim(1, 3)[hidden].double(), mean.movedim(1, 3)[hidden])
    centres = (drawn[:, :2] + 4).long()  # at all places alike, up to the edge
    assert (centres.amin(0) == 0).all() and (centres.amax(0) == 15).all()
    assert (centres.float().mean(0) - 7.5).abs().max() < 0.6


# Colours
# ---------------------------------------------------------------------------------------------------

FACTORS = torch.linspace(0.1, 1.9, 40)
WITH_STRENGTH = {
    "brightness": (colour.brightness, one.adjust_brightness, FACTORS),
    "contrast": (colour.contrast, one.adjust_contrast, FACTORS),
    "saturation": (colour.saturation, one.adjust_saturation, FACTORS),
    "sharpness": (colour.sharpness, one.adjust_sharpness, FACTORS[::3]),
    "posterize": (colour.posterize, lambda x, bits: one.posterize(x, int(bits)), torch.arange(40) % 9),
    "solarize": (colour.solarize, one.solarize, torch.linspace(0, 255, 40).floor()),
    "solarize_add": (
        colour.solarize_add,
        lambda image, add: torch.where(image < 128, image + int(add), image),
        torch.linspace(0, 110, 40).floor(),
    ),
}
EXACT = ("posterize", "solarize", "solarize_add", "brightness")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_each_image_is_changed_as_torchvision_changes_it(name, channels):
    ours, theirs, strengths = WITH_STRENGTH[name]
    images = photographs(len(strengths), channels=channels)
    result = ours(images, strengths)
    expected = [theirs(image, strength.item()) for image, strength in zip(images, strengths, strict=True)]
    assert result.dtype == torch.uint8
    assert_close(result, torch.stack(expected), share=0 if name in EXACT else 0.005)


WITHOUT_STRENGTH = {
    "invert": (colour.invert, one.invert),
    "autocontrast": (lambda x: colour.look_up(x, colour.stretch_table(x)), one.autocontrast),
    "equalize": (lambda x: colour.look_up(x, colour.equalize_table(x)), one.equalize),
}


@pytest.mark.parametrize("size", [(20, 24), (6, 7), (40, 33)])
@pytest.mark.parametrize("name", WITHOUT_STRENGTH)
def test_what_has_no_strength_is_exactly_torchvisions(name, size):
    ours, theirs = WITHOUT_STRENGTH[name]
    images = torch.cat([photographs(30, size), images_like((4, 3, *size))])
    images[0] = 77  # of one colour
    images[1, 1] = 0
    images[2, :, :, ::2] = 9  # two values, mostly
    assert torch.equal(ours(images), theirs(images))


def test_grey_is_exactly_torchvisions():
    images = photographs(40)
    assert torch.equal(colour.grey(images).to(torch.uint8), one.rgb_to_grayscale(images))
    assert torch.equal(colour.grey(images[:, :1]).to(torch.uint8), images[:, :1])


@pytest.mark.parametrize(("size", "kernel"), [((20, 24), 13), ((5, 6), 9)])
def test_blur_is_gaussian(size, kernel):
    images, sigma = photographs(10, size), torch.linspace(0.1, 2, 10)
    ours = colour.gaussian_blur(images, sigma, reach=kernel // 2)
    theirs = [one.gaussian_blur(*pair, [s.item()] * 2) for *pair, s in zip(images, [kernel] * 10, sigma)]
    assert_close(ours, torch.stack(theirs))
    assert torch.equal(
        colour.gaussian_blur(images[..., :5, :5], sigma, reach=6),
        colour.gaussian_blur(images[..., :5, :5], sigma, reach=4),
    ), "no farther than the image"


@proves(92)
def test_three_augment_is_one_of_three():
    images = photographs(24)
    drawn = ThreeAugment().draw(24, images.shape, seeded())
    changed = ThreeAugment().apply(images, drawn)
    for image, (which, sigma), ours in zip(images, drawn.tolist(), changed, strict=True):
        theirs = (
            one.rgb_to_grayscale(image, 3),
            one.solarize(image, 128),
            one.gaussian_blur(image, 13, [sigma] * 2),
        )[int(which)]
        assert_close(ours, theirs, share=0.005)
    which, sigma = ThreeAugment().draw(6000, images.shape, seeded()).unbind(1)
    assert (which.long().bincount() / 6000 - 1 / 3).abs().max() < 0.03 and len(which.unique()) == 3
    assert sigma.min() >= 0.1 and sigma.max() <= 2 and abs(sigma.mean() - 1.05) < 0.03


def test_colour_jitter_is_brightness_contrast_saturation():
    images, jitter = photographs(40), ColorJitter(0.4)
    drawn = jitter.draw(40, images.shape, seeded())
    theirs = []
    for image, (brightness, contrast, saturation) in zip(images, drawn.tolist(), strict=True):
        image = one.adjust_contrast(one.adjust_brightness(image, brightness), contrast)
        theirs.append(one.adjust_saturation(image, saturation))
    assert_close(jitter.apply(images, drawn), torch.stack(theirs), share=0.005)
    factors = jitter.draw(4000, images.shape, seeded())
    assert factors.min() >= 0.6 and factors.max() <= 1.4 and (factors.mean(0) - 1).abs().max() < 0.02
    assert (factors.std(0) - 0.8 / 12**0.5).abs().max() < 0.01
    assert torch.equal(ColorJitter(0)(images, seeded()), images)


# RandAugment
# ---------------------------------------------------------------------------------------------------


def moved(image: Tensor, angle=0.0, right=0.0, down=0.0, shear=(0.0, 0.0), center=None) -> Tensor:
    """By torchvision, in float, grey where there was no image."""
    result = one.affine(image.double() - 128, angle, [right, down], 1, list(shear), BILINEAR, center=center)
    return (result + 128).round().to(torch.uint8)


def expected_of(image: Tensor, operation: str, level: float) -> Tensor:
    """One operation of RandAugment on one image, in the ranges of timm's "increasing" set, by torchvision."""
    strength, factor = abs(level), max(0.1, 1 + 0.9 * level)
    height, width = image.shape[-2:]
    shear = torch.tensor(0.3 * level).atan().rad2deg().item()
    return {
        "autocontrast": lambda: one.autocontrast(image),
        "equalize": lambda: one.equalize(image),
        "invert": lambda: one.invert(image),
        "posterize": lambda: one.posterize(image, max(1, 4 - int(4 * strength))),
        "solarize": lambda: torch.where(image.int() >= 256 - int(256 * strength), 255 - image, image),
        "solarize_add": lambda: WITH_STRENGTH["solarize_add"][1](image, int(110 * strength)),
        "brightness": lambda: one.adjust_brightness(image, factor),
        "contrast": lambda: one.adjust_contrast(image, factor),
        "color": lambda: one.adjust_saturation(image, factor),
        "sharpness": lambda: one.adjust_sharpness(image, factor),
        "rotate": lambda: moved(image, angle=-30 * level),
        "shear_x": lambda: moved(image, shear=(shear, 0), center=[0, 0]),
        "shear_y": lambda: moved(image, shear=(0, shear), center=[0, 0]),
        "translate_x": lambda: moved(image, right=-0.45 * level * width),
        "translate_y": lambda: moved(image, down=-0.45 * level * height),
    }[operation]()


MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("layer", [0, 1])
def test_each_operation_is_torchvisions(operation, layer):
    images = photographs(12)
    levels = torch.tensor([-1, -0.92, -0.75, -0.55, -0.2, 0, 0.12, 0.3, 0.5, 0.83, 0.95, 1])
    drawn = torch.tensor([-1.0, 0.5, -1.0, 0.5]).repeat(12, 1)
    drawn[:, 2 * layer] = OPERATIONS.index(operation)
    drawn[:, 2 * layer + 1] = levels
    ours = RandAugment().apply(images, drawn)
    theirs = torch.stack([expected_of(*pair) for pair in zip(images, [operation] * 12, levels.tolist())])
    # Of the moved ones many values lie halfway between two whole numbers.
    assert_close(ours, theirs, share=0.03 if operation in MOVING else 0.005)
    assert (ours != images).flatten(1).any(1).sum() >= 9


def test_two_operations_come_one_after_the_other():
    images = photographs(6)
    number = OPERATIONS.index
    drawn = torch.tensor(
        [
            [number("solarize"), 0.5, number("brightness"), 0.6],
            [number("brightness"), 0.6, number("solarize"), 0.5],
            [number("rotate"), -0.8, number("translate_x"), 0.5],
            [number("translate_y"), 0.5, number("posterize"), 0.9],
            [-1, 0.9, -1, 0.9],
            [number("translate_x"), 0.4, number("translate_x"), -0.4],
        ]
    )
    ours = RandAugment().apply(images, drawn)
    assert_close(ours[0], expected_of(expected_of(images[0], "solarize", 0.5), "brightness", 0.6))
    assert_close(ours[1], expected_of(expected_of(images[1], "brightness", 0.6), "solarize", 0.5))
    # torchvision's affine turns first and shifts then; to look further right moves the picture to the left
    assert_close(ours[2], moved(images[2], angle=24, right=-0.45 * 0.5 * 24))
    assert_close(ours[3], expected_of(expected_of(images[3], "posterize", 0.9), "translate_y", 0.5))
    assert torch.equal(ours[4], images[4])
    assert torch.equal(ours[5], images[5]), "moved at once: what leaves the image on the way is not lost"


@proves(36, 162)
def test_rand_augment_draws_as_deit():
    drawn = RandAugment(9, 0.5).draw(30_000, (3, 32, 32), seeded()).view(30_000, 2, 2)
    which, level = drawn.unbind(2)
    assert abs((which == -1).float().mean() - 0.5) < 0.01
    shares = which[which >= 0].long().bincount() / (which >= 0).sum()
    assert len(shares) == 15 and (shares - 1 / 15).abs().max() < 0.01
    assert abs(((which[:, 0] == -1) & (which[:, 1] == -1)).float().mean() - 0.25) < 0.01
    assert abs(level.abs().mean() - 0.9) < 0.01 and abs(level.abs().std() - 0.05) < 0.005
    assert level.abs().max() == 1 and abs((level > 0).float().mean() - 0.5) < 0.01
    assert (RandAugment(4, 0).draw(50, (3, 8, 8), seeded())[:, 1::2].abs() == 0.4).all()


# Erasing and mixing
# ---------------------------------------------------------------------------------------------------


@proves(162)
def test_erasing_puts_noise_into_a_rectangle_of_some_images():
    images = torch.full((2000, 3, 20, 16), 7.0)
    erasing = RandomErasing(0.25)
    drawn = erasing.draw(2000, images.shape, seeded())
    result = erasing.apply(images, drawn)
    changed = (result != images).all(1)  # (B, H, W)
    assert torch.equal(changed, (result != images).any(1)), "all channels of a pixel, or none"
    erased = changed.flatten(1).any(1)
    assert abs(erased.float().mean() - 0.25) < 0.03
    for image, (top, left, height, width) in zip(changed, drawn[:, :4].int().tolist(), strict=True):
        expected = torch.zeros(20, 16, dtype=torch.bool)
        expected[top : top + height, left : left + width] = True
        assert torch.equal(image, expected)
    share = changed[erased].float().mean((1, 2))
    assert 0.01 < share.min() < 0.04 and 0.3 < share.max() < 0.36 and abs(share.mean() - 0.175) < 0.02
    ratio = (drawn[:, 3] / drawn[:, 2])[erased]
    assert ratio.min() < 0.4 and ratio.max() > 2.5
    noise = result.movedim(1, 3)[changed]  # (pixels, C)
    assert noise.mean().abs() < 0.02 and abs(noise.std() - 1) < 0.02
    assert (noise.T.corrcoef() - torch.eye(3)).abs().max() < 0.02


def test_erasing_always_and_never():
    images = torch.full((200, 1, 12, 12), 7.0)
    never, always = (RandomErasing(p)(images, seeded()) for p in (0, 1))
    assert torch.equal(never, images) and (always != images).flatten(1).any(1).all()


@proves(36, 162)
def test_mixup_adds_a_share_of_the_neighbour():
    images = torch.randn(7, 3, 6, 6, generator=seeded())
    drawn = Mix(0.8, 0).draw(7, images.shape, seeded(3))
    mixed, partner, share = Mix(0.8, 0).apply(images, drawn)
    assert partner.tolist() == [1, 0, 3, 2, 5, 4, 6] and share.shape == (7,)
    assert share.unique().numel() == 1 and 0 < share[0] < 1
    for place, other in enumerate(partner.tolist()):
        torch.testing.assert_close(mixed[place], share[0] * images[place] + (1 - share[0]) * images[other])


@proves(162)
def test_cutmix_puts_in_a_rectangle_and_lambda_is_what_is_left():
    own = torch.arange(6.0)[:, None, None, None].expand(6, 2, 12, 10)
    seen = []
    for seed in range(150):
        drawn = Mix(0, 1).draw(6, own.shape, seeded(seed))
        mixed, partner, share = Mix(0, 1).apply(own, drawn)
        theirs = mixed == partner.view(-1, 1, 1, 1)  # of the neighbour
        assert torch.equal(mixed, torch.where(theirs, own[partner], own))
        torch.testing.assert_close(share, 1 - theirs.float().mean((1, 2, 3)))
        assert (theirs == theirs[:1]).all()
        rows, columns = theirs[0, 0].any(1), theirs[0, 0].any(0)
        assert torch.equal(theirs[0, 0], rows[:, None] & columns)
        assert rows.int().diff().clamp(min=0).sum() <= 1
        seen.append(theirs[0, 0])
    often = torch.stack(seen).float().mean(0)  # (H, W)
    assert often.min() > 0.1, "every place is covered at times"
    shares = torch.stack([Mix(0, 1).draw(1, (3, 96, 96), seeded(seed))[0, 0] for seed in range(300)])
    # The integral of s²·(1 - s/4)² over s², 0..1: half of the area, less what reaches over the edge.
    assert abs(1 - shares.mean() - 0.32) < 0.04


@pytest.mark.parametrize("alpha", [0.2, 0.8, 2.0])
def test_shares_are_from_beta(alpha):
    generator = seeded()
    shares = torch.stack([Mix(alpha, 0).draw(1, (3, 8, 8), generator)[0, 0] for _ in range(600)])
    expected = torch.distributions.Beta(alpha, alpha)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 0.5) < 4 * expected.stddev / 600**0.5
    assert abs(shares.std() - expected.stddev) < 0.03
    torch.manual_seed(0)
    others = expected.sample((20_000,)).sort().values
    at = torch.linspace(0.02, 0.98, 25)  # both distribution functions there (Kolmogorov and Smirnov)
    difference = (shares[:, None] <= at).float().mean(0) - (others[:, None] <= at).float().mean(0)
    assert difference.abs().max() < 0.06


def test_half_of_the_batches_are_mixed_this_way_and_half_that_way():
    generator = seeded()
    cut = torch.stack([Mix(0.8, 1).draw(2, (3, 8, 8), generator)[0, 1] for _ in range(500)])
    assert abs(cut.mean() - 0.5) < 0.06
    assert Mix(0.8, 0).draw(2, (3, 8, 8), generator)[0, 1] == 0
    assert Mix(0, 1).draw(2, (3, 8, 8), generator)[0, 1] == 1
    images = torch.randn(4, 3, 8, 8, generator=seeded())
    mixed, _, share = Mix(0, 0)(images, generator)
    assert torch.equal(mixed, images) and (share == 1).all()
