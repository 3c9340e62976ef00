"""Another image size for a trained model: what stays, what is resized and how, and what cannot be."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.data import load
from course.models import at_resolution, create_model
from course.models.registry import _made, entry, input_shape_of
from course.models.spec import overridden, part
from course.models.stems import resized_positions
from course.models.token_mixers.global_filter import GlobalFilter, filter_weight
from course.models.token_mixers.offset_bias import offset_table
from course.models.token_mixers.relative_attention import displacement_line
from course.models.token_mixers.relative_bias import displacement_table
from course.models.video import clip_positions
from course.training import evaluate, fit, recipes
from course.training.speed import Speed
from tests.models.parity import assert_agrees, difference, pair, randomised
from tests.models.test_every_model import SMALL, _distinct, _tensors

SMALL_VIT = dict(img_size=8, patch_size=2, in_chans=1, embed_dim=32, depth=2, num_heads=2, num_classes=10)
PLAIN = Speed.plain()
# Their weights belong to the places of one map.
FIXED = ("ge_theta_resnet", "ge_theta_plus", "lenet_", "vgg_", "gmlp_", "vit_linformer", "mixer_", "resmlp_", "vip_")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images_of(model: nn.Module) -> torch.Tensor:
    return numbers(1, *input_shape_of(model))


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


# Every model of the table
# -----------------------------------------------------------------------------------------------------------


def same_but_for_places(name: str, old: dict, new: dict) -> bool:
    """Whether every weight is there and only those whose shape changed are others."""
    return old.keys() == new.keys() and all(
        torch.equal(old[key], new[key]) for key in old if old[key].shape == new[key].shape
    )


@pytest.mark.parametrize("name", _distinct())
def test_resizes_or_says_why_not(name):
    model = create_model(name, **SMALL[name])
    height, width = input_shape_of(model)[-2:]
    before = state(model)
    fixed = any(getattr(module, "one_map", None) for module in model.modules())
    assert fixed == name.startswith(FIXED), (
        f"{name}: FIXED has the beginnings of the names of models with a module whose one_map names weights of one size; "
        f"this one has {'such a' if fixed else 'no such'} module"
    )
    if fixed:
        with pytest.raises(ValueError, match=rf"{name} .* {height}×{width} to another size: the weights of"):
            at_resolution(model, (2 * height, 2 * width))
        result = at_resolution(model, (height, width))
    else:
        result = at_resolution(model, (2 * height, 2 * width))
        changed = [key for key in before if before[key].shape != result.state_dict()[key].shape]
        if changed:  # or else it takes every size already, which its own tests look at
            with torch.no_grad():
                outputs = _tensors(result.eval()(numbers(1, *input_shape_of(result))))
            assert input_shape_of(result)[-2:] == (2 * height, 2 * width)
            assert all(output.isfinite().all() for output in outputs)
    assert same_but_for_places(name, before, result.state_dict())
    assert all(torch.equal(before[key], weight) for key, weight in model.state_dict().items())


HEADS = ["vit_b16", "deit_s_distilled", "cait_s24", "convnext_t", "levit_256", "resnet_50", "vivit_model2", "setr_mla"]


@pytest.mark.parametrize("name", HEADS)
def test_a_new_head_begins_at_zero_and_the_rest_stays(name):
    model = randomised(create_model(name, **SMALL[name]))
    result = at_resolution(model, input_shape_of(model)[-2:], num_classes=3)
    old, new = state(model), state(result)
    head = [key for key in new if not torch.equal(new[key], old[key])] if old.keys() == new.keys() else None
    assert head and all(not new[key].any() and 3 in new[key].shape for key in head)
    logits = result(images_of(model))
    assert logits.shape[1] == 3 and not logits.any()
    logits.mean().backward()
    assert all(parameter.grad is not None for key, parameter in result.named_parameters() if key in head)


def test_no_head_and_a_head_anew():
    model = randomised(create_model("vit_b16", **SMALL["vit_b16"]))
    features = at_resolution(model, 32, num_classes=0)
    head = at_resolution(features, 32, num_classes=10)
    images = images_of(model)
    torch.testing.assert_close(features(images) @ model.head.fc.weight.T + model.head.fc.bias, model(images))
    assert not head(images).any() and state(head).keys() == state(model).keys()
    assert not at_resolution(model, 32, num_classes=10)(images).any()  # as many classes, but others


# What does not change
# -----------------------------------------------------------------------------------------------------------


SAME = [
    "vit_b16",
    "deit_s_distilled",
    "swin_t",
    "levit_256",
    "coatnet_0",
    "botnet_50",
    "gfnet_s",
    "vivit_model1",
    "timesformer_divided",
    "vatt_medium",
    "pvt_s",
]


@pytest.mark.parametrize("name", SAME)
def test_at_the_same_size_nothing_changes(name):
    model = randomised(create_model(name, **SMALL[name]))
    result = at_resolution(model, input_shape_of(model)[-2:])
    old = model.state_dict()
    assert all(torch.equal(old[key], weight) for key, weight in result.state_dict().items())
    images = images_of(model)
    with torch.no_grad():
        for one, other in zip(_tensors(model(images)), _tensors(result(images))):
            assert torch.equal(one, other)
            one.zero_()
        for weight in result.parameters():
            weight.zero_()
    assert any(weight.any() for weight in model.parameters())  # two models, not two views of one


def test_mode_precision_normalisation_and_randomness():
    model = create_model("vit_b16", **SMALL["vit_b16"]).bfloat16().eval()
    model.normalise_images = object()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    result = at_resolution(model, 64)
    assert torch.equal(torch.rand(3), expected), "the global random state is the caller's"
    assert not result.training and {weight.dtype for weight in result.parameters()} == {torch.bfloat16}
    assert result.normalise_images is model.normalise_images and result.name == model.name
    assert at_resolution(model.train(), 64).training
    # Once more, from what is not as the name says: the spec goes along.
    assert at_resolution(result, 32).stages[0].entry.position.shape == model.stages[0].entry.position.shape


# How weights are resized
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_tokens", [0, 1, 2])
@pytest.mark.parametrize("old, new", [((4, 4), (7, 7)), ((8, 8), (5, 5)), ((4, 8), (8, 4))])
def test_positions_are_resized_as_in_timm(class_tokens, old, new):
    from timm.layers.pos_embed import resample_abs_pos_embed

    table = numbers(class_tokens + old[0] * old[1], 6)
    theirs = resample_abs_pos_embed(table[None], list(new), list(old), num_prefix_tokens=class_tokens)[0]
    assert torch.equal(resized_positions(table, old, new), theirs)


@pytest.mark.parametrize("old, new", [(7, 12), (7, 8), (12, 7)])
def test_tables_of_windows_are_resized_as_in_timm(old, new):
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple

    table = numbers((2 * old - 1) ** 2, 3)
    theirs = resize_rel_pos_bias_table_simple(table, (new, new), ((2 * new - 1) ** 2, 3))
    assert torch.equal(displacement_table(table, (old, old), (new, new)), theirs)


def ramp(height: int, width: int) -> torch.Tensor:
    """Row and column of each place, in parts of the side, from middle to middle: (h*w, 2)."""
    rows, columns = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([rows, columns], dim=-1).flatten(0, 1)


@pytest.mark.parametrize("new", [(12, 24), (24, 12), (9, 17)])
def test_a_ramp_stays_a_ramp(new):
    old = (8, 12)
    classes = torch.tensor([[5.0, -3.0]])
    resized = resized_positions(torch.cat([classes, ramp(*old)]), old, new)
    assert torch.equal(resized[:1], classes)
    # Within two old places of the border, there is nothing beyond to go on with.
    border = torch.tensor([2.5 / 8, 2.5 / 12])
    inside = ((ramp(*new) > border) & (ramp(*new) < 1 - border)).all(1)
    assert inside.sum() > 20
    torch.testing.assert_close(resized[1:][inside], ramp(*new)[inside])
    moments = torch.cat([classes, ramp(*old), ramp(*old) + 1])
    resized = clip_positions(moments, (2, *old), (2, *new), class_tokens=1)
    torch.testing.assert_close(resized[1:][: len(inside)][inside], ramp(*new)[inside])
    torch.testing.assert_close(resized[1:][len(inside) :][inside], ramp(*new)[inside] + 1)


def test_displacements_keep_their_middle_their_ramp_and_their_mirror():
    old, new = (5, 4), (8, 9)
    table = numbers(9 * 7, 2)
    resized = displacement_table(table, old, new).unflatten(0, (15, 17))
    torch.testing.assert_close(resized[7, 8], table.unflatten(0, (9, 7))[4, 3])
    line = torch.arange(-4.0, 5.0)[:, None]  # by how far, of length 5
    stretched = displacement_line(line, torch.empty(15, 1))[:, 0]
    # Without antialiasing the cubic is another one (a = -0.75), which bends a straight line a little.
    torch.testing.assert_close(stretched[4:11], torch.arange(-3.0, 4.0) * 9 / 15, rtol=0, atol=0.05)
    quarter = numbers(2, 5 * 4)
    small, large = quarter.unflatten(1, old), offset_table(quarter, old, new).unflatten(1, new)
    torch.testing.assert_close(large[:, 0, 0], small[:, 0, 0])  # no offset is no offset
    whole = small[:, torch.arange(-4, 5).abs()][:, :, torch.arange(-3, 4).abs()].flatten(1).T
    whole = displacement_table(whole, old, new).T.unflatten(1, (15, 17))
    torch.testing.assert_close(large, whole[:, 7:, 8:])
    torch.testing.assert_close(whole, whole.flip(1, 2))
    distance = torch.arange(5.0)[None, :, None].expand(1, 5, 4).flatten(1)  # |dy|
    torch.testing.assert_close(
        offset_table(distance, old, new).unflatten(1, new)[0, 3:5, 2],
        torch.tensor([3.0, 4.0]) * 9 / 15,
        rtol=0,
        atol=0.05,
    )


@pytest.mark.parametrize("new", [(12, 12), (9, 16), (8, 7)])
def test_a_filter_stays_the_same_convolution(new):
    old = (6, 7)
    kernel = torch.zeros(*old, 3)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-2, -1, 0, 1, 2)]
    for (dy, dx), value in zip(around, numbers(len(around), 3)):
        kernel[dy, dx] = value
    small, large = GlobalFilter(3, old), GlobalFilter(3, new)
    small.weight.data = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1)))
    large.weight.data = filter_weight(small.weight.data, old, new)
    spark, larger = torch.zeros(1, *old, 3), torch.zeros(1, *new, 3)
    spark[0, 3, 3] = larger[0, 5, 4] = 1
    torch.testing.assert_close(large(larger)[0, 4:7, 2:7], small(spark)[0, 2:5, 1:6])
    assert large(larger).abs().gt(1e-6).any(-1).sum() == len(around)


# The resized network is theirs
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 48, (64, 32)])
def test_agrees_with_a_timm_vit_that_timm_resized(size):
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    def theirs(img_size):
        return VisionTransformer(img_size, 8, embed_dim=24, depth=2, num_heads=3, num_classes=10).eval()

    small = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=10)
    ours, trained = pair("vit_b16", small, theirs(32), "timm")
    resized = theirs(size)
    resized.load_state_dict(checkpoint_filter_fn(trained.state_dict(), resized))
    images = numbers(2, 3, *((size, size) if isinstance(size, int) else size))
    result = at_resolution(ours, size)
    assert_agrees(result, resized, images)
    wrong = copy.deepcopy(result)
    wrong.stages[0].entry.position.data[1:] = F.interpolate(
        ours.stages[0].entry.position[1:].T[None], size=len(wrong.stages[0].entry.position) - 1, mode="linear"
    )[0].T
    assert difference(wrong, resized, images)[0] > 1e-3  # as a sequence, not as an image


def test_agrees_with_a_timm_swin_at_another_window():
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
    from timm.models.swin_transformer import SwinTransformer

    def theirs(size, window):
        return SwinTransformer(
            size, 2, window_size=window, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10
        ).eval()

    ours, trained = pair("swin_t", SMALL["swin_t"], theirs(32, 4), "timm")
    for window in (4, 8):
        resized = theirs(64, window)
        weights = {
            key: resize_rel_pos_bias_table_simple(value, (window, window), resized.state_dict()[key].shape)
            if "bias_table" in key
            else value
            for key, value in trained.state_dict().items()
        }
        resized.load_state_dict(weights, strict=False)
        result = at_resolution(ours, 64, window_size=window)
        assert_agrees(result, resized, numbers(1, 3, 64, 64))
        kept = torch.equal(
            result.stages[0].blocks[1].token_mixer.branch.bias_table,
            ours.stages[0].blocks[1].token_mixer.branch.bias_table,
        )
        assert kept == (window == 4)


# What it refuses
# -----------------------------------------------------------------------------------------------------------


def test_a_shape_that_fits_by_chance_is_resized_or_refused_all_the_same():
    upright = create_model("vit_b16", **SMALL["vit_b16"] | {"img_size": (32, 64)})
    lying = at_resolution(upright, (64, 32))
    assert upright.stages[0].entry.position.shape == lying.stages[0].entry.position.shape
    assert not torch.equal(upright.stages[0].entry.position, lying.stages[0].entry.position)
    mixer = create_model("mixer_s16", **SMALL["mixer_s16"] | {"img_size": (32, 64)})
    with pytest.raises(ValueError, match="TokenMLP .*fc1.weight.* belong to the places of one map"):
        at_resolution(mixer, (64, 32))
    permutator = create_model("vip_s7", **SMALL["vip_s7"])  # whose weights are D×D at any size
    with pytest.raises(ValueError, match="Permutator .*height.weight"):
        at_resolution(permutator, 16)


def test_other_requests_that_cannot_be():
    model = create_model("vit_b16", **SMALL["vit_b16"])
    with pytest.raises(ValueError, match="made by create_model is needed"):
        at_resolution(nn.Linear(2, 2), 32)
    with pytest.raises(ValueError, match="vit_b16: an image of 33×33 is not divided"):
        at_resolution(model, 33)
    with pytest.raises(ValueError, match=r"stem.proj.weight of shape .* in the trained model it is \("):
        at_resolution(model, 32, patch_size=4)
    with pytest.raises(ValueError, match=r"blocks.2.* in the trained model it is not there"):
        at_resolution(model, 32, depth=3)
    with pytest.raises(ValueError, match=r"stages.0.blocks.1.* there is no place in the new spec"):
        at_resolution(model, 32, depth=1)
    swin = at_resolution(create_model("swin_t", **SMALL["swin_t"]), 36)  # 18×18 places for windows of 4×4: filled up
    assert swin(torch.zeros(2, 3, 36, 36)).shape == (2, 10)


class Forgetful(nn.Module):
    """A mixer with a number for each place that does not say how it is resized."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.table = nn.Linear(grid[0] * grid[1], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_mixer_that_forgets_to_say_how_it_is_resized_is_told():
    spec = overridden(entry("vit_b16").spec, **SMALL["vit_b16"], token_mixer=part(Forgetful))
    with pytest.raises(ValueError, match=r"write a method resized\(.*into Forgetful.*one_map = \"table.weight\""):
        at_resolution(_made("vit_b16", spec, {}), 64)


def test_the_old_name_leads_to_the_same_function():
    from course.training import at_resolution as of_training
    from course.training.finetune import at_resolution as of_finetune

    assert of_training is of_finetune is at_resolution


# Fine-tuning
# -----------------------------------------------------------------------------------------------------------


def enlarged(data) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits of 8×8 at 16×16."""
    images, labels = data
    return F.interpolate(images.float(), size=(16, 16), mode="bilinear").round().byte(), labels


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = create_model("vit_cifar", **SMALL_VIT)
    fit(model, load("digits", device="cpu"), recipes.cpu_minute.but(steps=150), speed=PLAIN, plot=False)
    return model


@pytest.fixture(scope="module")
def large():
    return [enlarged(load("digits", split, device="cpu")) for split in ("train", "test")]


def test_what_was_learned_at_one_size_is_soon_found_again_at_another(trained, large):
    """Not at once: a patch of the same size on an image twice as large sees a quarter of what it saw."""
    train, test = large
    resized = at_resolution(trained, 16)
    no_places = copy.deepcopy(resized)
    nn.init.trunc_normal_(no_places.stages[0].entry.position.data, std=0.02, generator=torch.Generator().manual_seed(0))
    at_once = evaluate(resized, test)
    assert at_once > evaluate(no_places, test) + 0.05
    fit(resized, train, recipes.cpu_minute.but(steps=30, lr=1e-3), speed=PLAIN, plot=False)
    assert evaluate(resized, test) > max(at_once + 0.2, 0.6)


@pytest.mark.parametrize("name", ["vit_finetune", "convnext_finetune"])
def test_the_papers_fine_tuning_runs_on_it(trained, large, name):
    (images, labels), _ = large
    if name == "vit_finetune":
        model = at_resolution(trained, 16, num_classes=10)
    else:
        small = dict(img_size=8, in_chans=1, dims=(16, 32), depths=(1, 1), num_classes=4)
        model = create_model("convnext_cifar", **small)
        model = at_resolution(model, 16, num_classes=10)
    before = state(model)
    data = (images[:32], labels[:32])
    history = fit(model, data, recipes.get(name).at_batch_size(16).but(steps=3), speed=PLAIN, plot=False)
    assert len(history.loss) == 3 and history.loss[0] == pytest.approx(2.303, abs=0.15)
    moved = [key for key, weight in model.state_dict().items() if not torch.equal(weight, before[key])]
    assert len(moved) > len(before) // 2 and any("head.fc" in key for key in moved)
