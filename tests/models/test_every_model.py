"""What holds for every model of the table, at its tiny size from ``SMALL`` in its family's test."""

import math
import re
from ast import literal_eval
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from course.models import create_model, list_models, show
from course.models.backbone import Backbone
from course.models.model import Model
from course.models.registry import _input_shape, entry, input_shape_of
from course.models.spec import Pyramid, Whole, overridden
from course.training.compiling import compiled
from tests.models.parity import randomised


def _small() -> dict[str, dict]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            found |= getattr(import_module(f"tests.models.{path.stem}"), "SMALL", {})
    return found


SMALL = _small()


@cache
def _distinct() -> list[str]:
    """The names whose tiny variant no name before has: ViT-B/16 and ViT-L/16 are the same network when small."""
    seen = []
    for name, overrides in SMALL.items():
        if name not in list_models():  # the first test says so
            continue
        spec = overridden(entry(name).spec, **overrides)
        if spec not in [s for s, _ in seen]:
            seen.append((spec, name))
    return [name for _, name in seen]


def _inputs(name: str, batch: int = 2) -> torch.Tensor:
    shape = _input_shape(name, overridden(entry(name).spec, **SMALL[name]))
    if "img_size" not in SMALL[name]:
        shape = (*shape[:-2], *(min(side, 64) for side in shape[-2:]))
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


def _has_batch_norms_and_tokens(name: str) -> bool:
    with torch.device("meta"):
        model = create_model(name, **SMALL[name])
    tokens = isinstance(model, Backbone) or any(hasattr(module, "num_heads") for module in model.modules())
    return tokens and any(isinstance(module, _BatchNorm) for module in model.modules())


def _tensors(output) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else [t for part in output for t in _tensors(part)]


def test_every_model_has_a_tiny_variant_here():
    without = sorted(set(list_models()) - set(SMALL))
    assert not without, (
        f"no tiny variant of {', '.join(without)}: SMALL in tests/models/test_FAMILY.py needs one for each name "
        "(CONTRIBUTING.md, A model, step 4)"
    )
    unknown = sorted(set(SMALL) - set(list_models()))
    assert not unknown, (
        f"SMALL has {', '.join(unknown)}, and there is no such model: a file in course/models/families/ needs a line "
        "register(...) for it (CONTRIBUTING.md, A model, step 2)"
    )


def test_every_family_is_proved_and_its_mistakes_are_caught():
    """By the file that has its tiny variants."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = import_module(f"tests.models.{path.stem}")
        if path != Path(__file__) and hasattr(module, "SMALL"):
            missing = [name for name in ("assert_agrees", "assert_catches") if not hasattr(module, name)]
            assert not missing, (
                f"{path.name} proves nothing with {' and '.join(missing)}: what its models compute is compared with a "
                "public implementation or with loops, and with mistakes (CONTRIBUTING.md, A model, step 4)"
            )


@pytest.mark.parametrize("name", _distinct())
def test_compiles_in_one_graph(name):
    model = randomised(create_model(name, **SMALL[name]))
    images = _inputs(name)
    torch._dynamo.reset()
    traced = compiled(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for ours, eager in zip(_tensors(traced(images)), _tensors(model(images))):
            torch.testing.assert_close(ours, eager)


@pytest.mark.parametrize("name", _distinct())
def test_the_page_runs_in_an_empty_notebook_and_is_the_same_network(name):
    page = show(name, **SMALL[name])
    assert "course.models" not in page
    namespace = {}
    exec(compile(page, f"<page of {name}>", "exec"), namespace)
    model = randomised(create_model(name, **SMALL[name]))
    pasted = namespace["model"].eval()
    missing = pasted.load_state_dict(model.state_dict())
    assert not missing.missing_keys and not missing.unexpected_keys
    images = _inputs(name)
    with torch.no_grad():
        for ours, theirs in zip(_tensors(pasted(images)), _tensors(model(images))):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", [name for name in _distinct() if isinstance(entry(name).spec, Pyramid)])
def test_the_channels_of_a_map_come_last_in_memory_too(name):
    """A convolution keeps the order that its input has in memory; the wrong one slows all that follows."""
    model = create_model(name, **SMALL[name]).eval()
    assert all(features.is_contiguous() for features in model.features(_inputs(name)))


@pytest.mark.parametrize("name", _distinct())
def test_every_weight_gets_a_gradient(name):
    torch.manual_seed(0)
    model = create_model(name, **SMALL[name]).train()
    images = _inputs(name, batch=4)
    # `both` gives the logits of every head, of which some are there for training only.
    outputs = getattr(model, "both", model)(images)
    sum(output.square().mean() for output in _tensors(outputs)).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"no gradient reaches {without}"
    assert all(math.isfinite(p.grad.sum()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", _distinct())
def test_a_wrong_channel_count_is_one_sentence(name):
    model = create_model(name, **SMALL[name]).eval()
    images = _inputs(name)
    with pytest.raises(ValueError, match="channels"):
        model(images[..., :1, :, :].expand(*images.shape[:-3], 5, *images.shape[-2:]))


# One of each way to cut images and maps.
CUT = ("as_mlp_t", "coatnet_0", "convmixer_768_32", "convnext_t", "cyclemlp_b2", "mvit_v2_t", "pvt_s", "shiftvit_t")
CUT += ("swin_t", "t2t_vit_14", "upernet_swin_t", "vip_s7", "visformer_s", "vit_b16", "vit_b_r50", "vit_c_4gf")


def test_a_size_that_a_refusal_names_fits():
    """By making the model so, and looking through it."""
    followed = set()
    for name in CUT:
        size = (50, 70) if isinstance(entry(name).spec, Pyramid) else 66
        with torch.device("meta"):
            try:
                create_model(name, **SMALL[name] | {"img_size": size})
            except ValueError as error:
                said = re.search(r": ([^:]*) fits?$", str(error))
                for fits in re.findall(r"\(\d+, \d+\)|\d+", said[1]) if said else ():
                    model = create_model(name, **SMALL[name] | {"img_size": literal_eval(fits)}).eval()
                    model(torch.empty(2, *input_shape_of(model)))
                    followed.add(name)
    assert len(followed) >= 10, followed


@pytest.mark.parametrize("name", [name for name in _distinct() if _has_batch_norms_and_tokens(name)])
def test_the_gradient_of_one_image_is_that_of_the_same_among_two(name):
    """Which public networks get wrong (``course/models/PEERS.md``): a batch norm, then tokens, in torch on a CPU."""
    model = randomised(create_model(name, **SMALL[name])).double()
    image = _inputs(name, batch=1).double()

    def gradient(copies: int) -> torch.Tensor:
        images = image.repeat(copies, *[1] * (image.ndim - 1)).requires_grad_()
        outputs, generator = _tensors(model(images)), torch.Generator().manual_seed(1)
        signs = [torch.randn(y[0].shape, generator=generator, dtype=y.dtype) for y in outputs]
        return torch.autograd.grad(sum((y[0] * sign).sum() for y, sign in zip(outputs, signs)), images)[0][0]

    one, two = gradient(1), gradient(2)
    assert (one - two).abs().max() <= 1e-9 * two.abs().max()


# What they see lies in two streams, and no one map stands for it.
WITHOUT_FEATURES = ["slowfast_r50", "two_stream"]


@pytest.mark.parametrize("name", _distinct())
def test_features_are_as_wide_as_they_say_or_one_sentence(name):
    model = create_model(name, **SMALL[name]).eval()
    images = _inputs(name)
    with torch.no_grad():
        if name in WITHOUT_FEATURES:
            with pytest.raises(NotImplementedError, match="has no features by stages.*num_classes=0"):
                model.forward_features(images)
            model.reset_classifier(0)
            assert model(images).shape == (2, model.num_features)
            return
        features, last = model.features(images), model.forward_features(images)
    assert torch.equal(last, features[-1])
    assert all(x.ndim in (3, 4) and len(x) == len(images) for x in features)
    assert last.shape[-1 if last.ndim == 3 or isinstance(model, Backbone) else 1] == model.num_features


WITH_FEATURES = [name for name in _distinct() if name not in WITHOUT_FEATURES]
# One token for a moment, or latents: none of them stands for a place.
WITHOUT_PLACES = ("perceiver", "perceiver_io", "perceiver_cifar", "timesformer_space")
WITHOUT_PLACES += ("vivit_model2", "vivit_digits_model2")
# What has no blocks but layers, or blocks that look at one moment each.
WITHOUT_BLOCKS = (*WITHOUT_PLACES, "lenet_5", "unet", "unet_shapes", "vgg_11", "vgg_13", "vgg_16_c", "vgg_16", "vgg_19")
UNPADDED = ("lenet_5", "unet", "pit_s")


@pytest.mark.parametrize("name", WITH_FEATURES)
def test_features_have_one_form(name):
    """Maps with the channels and the stride that they say, and the same numbers as tokens."""
    model = randomised(create_model(name, **SMALL[name]))
    images = _inputs(name)
    with torch.no_grad():
        own, tokens = model.features(images), model.features(images, layout="tokens")
        infos = model.feature_info()
        assert torch.equal(model.forward_features(images, layout="tokens"), tokens[-1])
        if name in WITHOUT_PLACES:
            with pytest.raises(ValueError, match=f"the tokens of {name} stand for no places.*layout='tokens'"):
                model.features(images, layout="maps")
            assert all(torch.equal(x, y) for x, y in zip(own, tokens, strict=True))
            assert infos == [(x.shape[2], None, 0) for x in own]
            return
        maps = model.features(images, layout="maps")
    assert len(own) == len(maps) == len(tokens) == len(infos)
    for x, y, z, (channels, stride, class_tokens) in zip(own, maps, tokens, infos):
        assert y.shape[:2] == (len(images), channels)
        assert torch.equal(z[:, class_tokens:], y.flatten(2).transpose(1, 2))
        assert torch.equal(x, z if x.ndim == 3 else y.permute(0, 2, 3, 1) if isinstance(model, Backbone) else y)
        if name not in UNPADDED:
            assert all(-(-side // stride) == places for side, places in zip(images.shape[-2:], y.shape[-2:]))
    assert infos[-1].channels == model.num_features


@pytest.mark.parametrize("name", WITH_FEATURES)
def test_features_behind_chosen_blocks(name):
    model = randomised(create_model(name, **SMALL[name]))
    images = _inputs(name)
    if name in WITHOUT_BLOCKS:
        with pytest.raises(NotImplementedError, match=f"{name} has no blocks.*features.images. without blocks="):
            model.features(images, blocks=[0])
        return
    with torch.no_grad():
        tokens = model.features(images, blocks=[-1, 0, -1], layout="tokens")
        maps = model.features(images, blocks=[-1, 0, -1], layout="maps")
        infos = model.feature_info(blocks=[-1, 0, -1])
        for x, y, (channels, _, class_tokens) in zip(tokens, maps, infos, strict=True):
            assert y.shape[1] == channels and torch.equal(x[:, class_tokens:], y.flatten(2).transpose(1, 2))
        assert torch.equal(maps[0], maps[2])
        assert not any(module._forward_hooks for module in model.modules())
        if isinstance(model, Backbone):
            x, expected = model.stem(images), []
            for stage in model.stages:
                x = stage.entry(x)
                for block in stage.blocks:
                    x = block(x)
                    expected.append(x)
                x = stage.norm(x)
            found = model.features(images, blocks=range(len(expected)))
            assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


# A map of logits, or boxes: what their last layer reads is a map, or as many vectors as there are objects.
DENSE = (
    "detr_r50",
    "detr_shapes",
    "fcn_r50",
    "unet",
    "unet_shapes",
    "upernet_swin_t",
    "upernet_swin_s",
    "upernet_swin_l",
)
DENSE += ("setr_naive", "setr_pup", "setr_mla", "setr_naive_shapes", "setr_pup_shapes", "setr_mla_shapes")
# Their features go through further layers before the last one reads them.
WITH_HIDDEN_LAYERS = ("lenet_5", "vgg_11", "vgg_13", "vgg_16_c", "vgg_16", "vgg_19", "caformer_s18", "convformer_s18")
MEANS = ("ResNet", "SizedResNet", "RegNetY", "EfficientNet", "MobileNetV1")


@pytest.mark.parametrize("name", _distinct())
def test_the_head_makes_the_logits_of_the_pooled_features(name):
    model = randomised(create_model(name, **SMALL[name])).double()
    images = _inputs(name).double()
    with torch.no_grad():
        logits = model(images)
        if isinstance(model, Backbone) and name not in ("setr_mla", "setr_mla_shapes"):  # whose head reads all four
            assert torch.equal(model.head(model.forward_features(images)), logits)
        if name in DENSE:
            return
        headless = create_model(name, **SMALL[name] | {"num_classes": 0}).eval().double()
        weights = model.state_dict()
        headless.load_state_dict({key: weights[key] for key in headless.state_dict()})
        pooled = headless(images)  # (B, D)
        if name not in WITH_HIDDEN_LAYERS:
            assert pooled.shape == (2, model.num_features)
        if type(model).__name__ in MEANS:
            torch.testing.assert_close(pooled, model.forward_features(images).mean((2, 3)), rtol=1e-12, atol=1e-12)
        last = sorted(weights.keys() - headless.state_dict().keys())
        if len(last) == 2:  # the others' heads are two layers, compared above
            found = torch.nn.functional.linear(pooled, weights[last[1]], weights[last[0]])
            torch.testing.assert_close(found, logits, rtol=1e-9, atol=1e-9)
        else:
            assert isinstance(model, Backbone) or name == "two_stream", last


def test_features_are_refused_with_the_model_and_the_remedy():
    model = create_model("vit_b16", **SMALL["vit_b16"]).eval()
    images = _inputs("vit_b16")
    with pytest.raises(ValueError, match="layout is 'maps', 'tokens' or None, and not 'NCHW'"):
        model.features(images, layout="NCHW")
    for blocks in (2, [2], [0, -3], [0.5]):
        with pytest.raises(ValueError, match=re.escape("vit_b16 has 2 blocks: blocks= is a list of their numbers")):
            model.features(images, blocks=blocks)
    with pytest.raises(ValueError, match="vit_b16 takes float images"):
        model.features((255 * images).byte())
    with pytest.raises(ValueError, match=r"detr_shapes: num_classes=0 .*objects\(images\)\[-1\]"):
        create_model("detr_shapes", **SMALL["detr_shapes"] | {"num_classes": 0})
    by_hand = overridden(entry("vit_b16").spec, **SMALL["vit_b16"]).build()
    with pytest.raises(ValueError, match="feature_info needs a model made by create_model"):
        by_hand.feature_info()
    assert by_hand.features(images, blocks=[0], layout="maps")[0].shape == (2, 48, 4, 4)


def test_every_model_that_is_no_whole_has_features():
    assert all(isinstance(entry(name).spec, Whole) for name in WITHOUT_FEATURES)


@pytest.mark.parametrize("name", _distinct())
def test_another_classifier_and_nothing_else(name):
    model = randomised(create_model(name, **SMALL[name]))
    images, before = _inputs(name), {key: weight.clone() for key, weight in model.state_dict().items()}
    model.reset_classifier(3)
    as_made = create_model(name, **SMALL[name] | {"num_classes": 3})
    after = model.state_dict()
    assert model.spec == as_made.spec != entry(name).spec and not model.training
    assert {k: w.shape for k, w in after.items()} == {k: w.shape for k, w in as_made.state_dict().items()}
    fresh = [key for key in after if key not in before or not torch.equal(after[key], before[key])]
    assert fresh and all(3 in after[key].shape or 4 in after[key].shape for key in fresh), fresh  # DETR: 3 and nothing
    with torch.no_grad():
        as_made.load_state_dict(after)
        for ours, theirs in zip(_tensors(model(images)), _tensors(as_made.eval()(images))):
            assert torch.equal(ours, theirs) and ours.isfinite().all()


@pytest.mark.parametrize("name", ["vit_b16", "caformer_s18", "levit_256", "two_stream", "setr_mla"])
def test_no_classifier_and_one_again(name):
    """A head may have more layers with classes than without (CAFormer's)."""
    model = randomised(create_model(name, **SMALL[name])).double()
    images = _inputs(name).double()
    model.reset_classifier(0)
    with torch.no_grad():
        pooled = model(images)
    model.reset_classifier(4)
    assert model(images).shape[1] == 4 and {weight.dtype for weight in model.parameters()} == {torch.float64}
    assert sum(w.numel() for w in model.parameters()) == sum(
        w.numel() for w in create_model(name, **SMALL[name] | {"num_classes": 4}).parameters()
    )
    model.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(model(images), pooled)


def test_a_classifier_of_a_model_made_by_hand_is_not_known():
    model = overridden(entry("vit_b16").spec, **SMALL["vit_b16"]).build()
    with pytest.raises(ValueError, match="reset_classifier needs a model made by create_model"):
        model.reset_classifier(3)
    assert model.num_features == SMALL["vit_b16"]["embed_dim"]


def test_a_model_without_classes_says_so():
    class NoClasses(Model):
        def __init__(self, num_classes: int = 5) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

    model = NoClasses()
    model.spec = Whole(NoClasses)
    with pytest.raises(ValueError, match="NoClasses has no layer that follows the number of classes"):
        model.reset_classifier(3)
