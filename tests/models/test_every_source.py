"""Every name and every library whose weights it takes: the same outputs and gradients, or a sentence that refuses.

The public networks are made by the public entry points, small: what an entry point says beside the sizes (eps,
activation, where a norm stands) is theirs and not written down here again. At full size names, shapes, eps and heads are
compared.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from inspect import signature

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model, list_models, load_reference
from course.models.public_names import PUBLIC
from course.models.reference import copy_weights
from course.models.registry import another, entry, input_shape_of
from course.models.spec import per_stage
from tests.models import (
    test_cvt,
    test_detr,
    test_fcn,
    test_ladder,
    test_perceiver,
    test_pvt,
    test_timesformer,
    test_upernet,
    test_vgg,
    test_vit_c,
    test_vivit,
)
from tests.models.parity import difference, randomised

LIBRARIES = ("timm", "torchvision", "transformers")
SOURCES = [(name, source) for name in list_models() for source in entry(name).keys if source in LIBRARIES]


def small(name: str) -> dict:
    from tests.models.test_every_model import SMALL  # which imports this file

    return SMALL[name]


@contextmanager
def _smaller(module, builder: str, sizes: dict):
    """Inside, a module's builder of networks gets these sizes in place of those that the entry points give it."""
    made = getattr(module, builder)

    def build(*arguments, **options):
        options = dict(zip(signature(made).parameters, arguments)) | options
        config = options.get("model_cfg")
        if config is not None:  # timm's MaxxVit, RegNet and MViT have their sizes in one
            options["model_cfg"] = replace(config, **sizes.get("model_cfg", {}))
        return made(**options | {k: v for k, v in sizes.items() if k != "model_cfg"})

    setattr(module, builder, build)
    try:
        yield
    finally:
        setattr(module, builder, made)


def timm(name: str, builder: str = "build_model_with_cfg", **sizes) -> nn.Module:
    from timm.models import model_entrypoint

    make = model_entrypoint(name)
    with _smaller(sys.modules[make.__module__], builder, sizes):
        return make()


def torchvision(name: str, builder: str, **sizes) -> nn.Module:
    from torchvision.models import get_model_builder

    make = get_model_builder(name)
    with _smaller(sys.modules[make.__module__], builder, sizes):
        return make()


def transformers(model: str, config: str, **sizes) -> nn.Module:
    """With the configuration's own defaults, as published, for all but the sizes."""
    import transformers as library

    return getattr(library, model)(getattr(library, config)(**sizes))


VIT = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, mlp_ratio=4, num_classes=10)
TORCHVISION_VIT = dict(
    image_size=32, patch_size=8, hidden_dim=48, num_layers=2, num_heads=4, mlp_dim=192, num_classes=10
)
HF_VIT = dict(
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=192,
    image_size=32,
    patch_size=8,
    num_labels=10,
)
SWIN = dict(img_size=32, patch_size=2, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10)
HF_SWIN = dict(image_size=32, patch_size=2, window_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], num_labels=10)
CONVNEXT = dict(dims=(16, 24, 32, 48), depths=(1, 2, 1, 1), num_classes=10)
MIXER = dict(img_size=32, patch_size=8, num_blocks=2, embed_dim=48, num_classes=10)
RESNEXT = dict(depths=(1, 1, 1, 1), base_width=1, num_classes=10)
RESNET = dict(depths=(2, 2, 1, 1), base_width=8, num_classes=10)
POOLFORMER = dict(depths=(2, 1, 1), dims=(16, 24, 32), num_classes=10)
META = dict(dims=(32, 64, 96, 128), depths=(1, 1, 1, 1), num_classes=10)
EFFICIENT = dict(channel_multiplier=0.25, depth_multiplier=0.5, num_classes=10)
TV_CONVNEXT = [(16, 24, 1), (24, 32, 2), (32, 48, 1), (48, None, 1)]


def torchvision_convnext(name: str) -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig

    blocks = [CNBlockConfig(*width) for width in TV_CONVNEXT]
    return torchvision(name, "_convnext", block_setting=blocks, num_classes=10)


def hybrid(name: str) -> nn.Module:
    from timm.models import vision_transformer_hybrid

    with _smaller(vision_transformer_hybrid, "_resnetv2", dict(layers=(1, 1, 2))):
        return timm(name, img_size=32, embed_dim=48, depth=2, num_heads=4, num_classes=10)


def torchvision_vgg(name: str) -> nn.Module:
    """At 224 pixels its pooling to 7×7 does nothing, which the one of the other test leaves out."""
    model = test_vgg.torchvision_vgg(name.replace("vgg", "vgg_"))
    model.avgpool = nn.AdaptiveAvgPool2d(7)
    model.classifier[0] = nn.Linear(32 * 49, 16)
    return model


# By names and library, the first that fits: their network made small, and how ours is to be (None: as in SMALL).
SMALLER: dict[tuple[str, str], tuple[Callable[[str], nn.Module], dict | None]] = {
    ("bit_*", "timm"): (
        partial(timm, layers=[2, 1], channels=(128, 256), stem_chs=32, width_factor=1, num_classes=10),
        dict(depths=(2, 1), width=32, widen=1, num_classes=10),
    ),
    ("caformer_s18", "timm"): (partial(timm, **META), META | {"num_heads": per_stage(1, 2, 3, 4)}),
    ("convformer_s18", "timm"): (partial(timm, **META), META),
    ("cait_*", "timm"): (
        partial(timm, img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10),
        None,
    ),
    ("coatnet_0", "timm"): (
        partial(
            timm,
            img_size=64,
            num_classes=10,
            model_cfg=dict(embed_dim=(16, 24, 32, 64), depths=(1, 2, 2, 1), stem_width=8, head_hidden_size=64),
        ),
        None,
    ),
    ("convit_s", "timm"): (
        partial(
            timm, img_size=32, patch_size=8, embed_dim=12, depth=4, num_heads=4, local_up_to_layer=2, num_classes=10
        ),
        None,
    ),
    ("convmixer_768_32", "timm"): (partial(timm, dim=24, depth=2, num_classes=10), None),
    ("convnext_*", "timm"): (partial(timm, **CONVNEXT), None),
    ("convnext_*", "torchvision"): (torchvision_convnext, None),
    ("convnext_*", "transformers"): (
        lambda _: transformers(
            "ConvNextForImageClassification",
            "ConvNextConfig",
            depths=[1, 2, 1, 1],
            hidden_sizes=[16, 24, 32, 48],
            num_labels=10,
        ),
        None,
    ),
    ("cvt_13", "transformers"): (lambda _: test_cvt.transformers_cvt(), None),
    ("deit_s_distilled", "transformers"): (
        lambda _: transformers("DeiTForImageClassificationWithTeacher", "DeiTConfig", **HF_VIT),
        None,
    ),
    ("detr_r50", "transformers"): (lambda _: test_detr.transformers_detr(), test_detr.SIZES),
    ("efficientformer_l1", "timm"): (
        partial(timm, embed_dims=(8, 8, 12, 16), depths=(1, 1, 1, 4), num_vit=1, num_classes=10),
        dict(dims=(8, 8, 12, 16), depths=(1, 1, 1, 4), num_vit=1, num_classes=10, img_size=224),
    ),
    ("efficientnet_*", "timm"): (partial(timm, builder="_gen_efficientnet", **EFFICIENT), None),
    ("fcn_r50", "torchvision"): (lambda _: test_fcn.torchvision_fcn(), None),
    ("gmlp_*", "timm"): (partial(timm, **MIXER | {"embed_dim": 24}), None),
    ("ladder_00_*", "torchvision"): (
        lambda _: torchvision("resnet50", "_resnet", layers=[1, 2, 1, 1], num_classes=10),
        test_ladder.FOUR_STAGES | {"width": 64},
    ),
    ("ladder_12_*", "timm"): (
        lambda _: timm(
            "convnext_tiny", depths=(1, 2, 1, 1), dims=(16, 32, 64, 128), ls_init_value=None, num_classes=10
        ),
        test_ladder.FOUR_STAGES | {"width": 16},
    ),
    ("levit_256", "timm"): (
        partial(
            timm, img_size=80, embed_dim=(16, 24, 32), key_dim=8, depth=(2, 1, 1), num_heads=(2, 3, 4), num_classes=10
        ),
        None,
    ),
    ("mixer_*", "timm"): (partial(timm, **MIXER), None),
    ("mobilenet_v1", "timm"): (
        partial(timm, builder="_gen_mobilenet_v1", channel_multiplier=0.25, num_classes=10),
        dict(width=8, num_classes=10),
    ),
    ("mvit_v2_t", "timm"): (
        partial(timm, img_size=64, num_classes=10, model_cfg=dict(depths=(1, 2, 1, 1), embed_dim=8)),
        None,
    ),
    ("perceiver_io", "transformers"): (
        lambda _: transformers(
            "PerceiverForImageClassificationFourier",
            "PerceiverConfig",
            num_latents=5,
            d_latents=24,
            num_blocks=3,
            num_self_attends_per_block=2,
            num_self_attention_heads=4,
            num_cross_attention_heads=1,
            num_labels=10,
        ),
        test_perceiver.SMALL["perceiver_io"] | dict(img_size=224),
    ),
    ("pit_s", "timm"): (
        partial(timm, img_size=56, base_dims=(16, 16, 16), depth=(1, 2, 1), heads=(1, 2, 4), num_classes=10),
        None,
    ),
    ("poolformer_cifar", "transformers"): (
        lambda _: transformers(
            "PoolFormerForImageClassification",
            "PoolFormerConfig",
            depths=[2, 1, 1],
            hidden_sizes=[16, 24, 32],
            num_encoder_blocks=3,
            patch_sizes=[2, 3, 3],
            strides=[2, 2, 2],
            padding=[0, 1, 1],
            num_labels=10,
        ),
        POOLFORMER,
    ),
    ("poolformer_*", "timm"): (partial(timm, **POOLFORMER), POOLFORMER),
    ("poolformer_*", "transformers"): (
        lambda _: transformers(
            "PoolFormerForImageClassification",
            "PoolFormerConfig",
            depths=[2, 1, 1],
            hidden_sizes=[16, 24, 32],
            num_encoder_blocks=3,
            num_labels=10,
        ),
        POOLFORMER,
    ),
    ("pvt_?", "transformers"): (lambda _: test_pvt.transformers_pvt(), None),
    ("pvt_v2_b2", "timm"): (
        partial(timm, depths=(1, 2, 1, 1), embed_dims=(16, 24, 32, 48), num_heads=(1, 2, 4, 8), num_classes=10),
        None,
    ),
    ("regnety_*", "timm"): (
        partial(timm, num_classes=10, model_cfg=dict(depth=6, w0=16, wa=24.0, wm=2.0, group_size=8, stem_width=8)),
        dict(dims=(16, 32, 64, 128), depths=(1, 1, 2, 2), group_width=8, stem_dim=8, num_classes=10),
    ),
    ("resmlp_*", "timm"): (partial(timm, **MIXER), None),
    ("resnext*", "timm"): (partial(timm, layers=(1, 1, 1, 1), base_width=1, num_classes=10), RESNEXT),
    ("resnext*", "torchvision"): (
        partial(torchvision, builder="_resnet", layers=[1, 1, 1, 1], width_per_group=1, num_classes=10),
        RESNEXT,
    ),
    ("resn*", "timm"): (partial(timm, layers=(2, 2, 1, 1), base_width=8, num_classes=10), RESNET),
    ("resn*", "torchvision"): (
        partial(torchvision, builder="_resnet", layers=[2, 2, 1, 1], width_per_group=8, num_classes=10),
        RESNET,
    ),
    ("se_resnet_50", "timm"): (
        lambda _: timm("seresnet50", layers=(2, 2, 1, 1), base_width=8, num_classes=10),
        RESNET,
    ),
    ("swin_*", "timm"): (partial(timm, **SWIN), None),
    ("swin_*", "torchvision"): (
        partial(
            torchvision,
            builder="_swin_transformer",
            patch_size=[2, 2],
            embed_dim=24,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=[4, 4],
            num_classes=10,
        ),
        None,
    ),
    ("swin_*", "transformers"): (lambda _: transformers("SwinForImageClassification", "SwinConfig", **HF_SWIN), None),
    ("timesformer_divided", "transformers"): (
        lambda _: test_timesformer.transformers_timesformer("divided_space_time"),
        None,
    ),
    ("timesformer_joint", "transformers"): (
        lambda _: test_timesformer.transformers_timesformer("joint_space_time"),
        None,
    ),
    ("timesformer_space", "transformers"): (lambda _: test_timesformer.transformers_timesformer("space_only"), None),
    ("upernet_*", "transformers"): (lambda _: test_upernet.transformers_upernet(), None),
    ("vgg_*", "torchvision"): (torchvision_vgg, dict(width=4, hidden=16, img_size=224, num_classes=10)),
    ("visformer_s", "timm"): (
        partial(timm, img_size=64, init_channels=8, embed_dim=32, depth=(2, 1, 1), num_heads=4, num_classes=10),
        None,
    ),
    ("vit_b_r50", "timm"): (
        hybrid,
        dict(img_size=32, depths=(1, 1, 2), embed_dim=48, depth=2, num_heads=4, num_classes=10),
    ),
    ("vit_c_4gf", "torchvision"): (lambda _: test_vit_c.torchvision_vit_c(), None),
    ("vivit_digits", "transformers"): (
        lambda _: test_vivit.transformers_vivit(
            num_frames=5,
            tubelet_size=[1, 4, 4],
            num_channels=1,
            hidden_size=16,
            intermediate_size=64,
            num_labels=4,
        ),
        None,
    ),
    ("vivit_*", "transformers"): (lambda _: test_vivit.transformers_vivit(), test_vivit.SIZES),
    ("convmixer_cifar", "timm"): (
        lambda _: timm("convmixer_1536_20", dim=24, depth=2, kernel_size=5, patch_size=4, num_classes=10),
        None,
    ),
    ("*it*", "timm"): (partial(timm, **VIT), VIT),
    ("*it*", "torchvision"): (partial(torchvision, builder="_vision_transformer", **TORCHVISION_VIT), VIT),
    ("*it*", "transformers"): (lambda _: transformers("ViTForImageClassification", "ViTConfig", **HF_VIT), VIT),
}

# Whose sizes are no public ones: the public network of the same kind.
LIKE = {
    "convnext_cifar": "convnext_t",
    "deit_s_36": "deit_s",
    "ladder_00_resnet_cifar": "resnet_50",
    "ladder_12_convnext_cifar": "convnext_t",
    "mixer_cifar": "mixer_s16",
    "poolformer_cifar": "poolformer_s12",
    "resnet_50_v1": "resnet_50",
    "resnet_101_v1": "resnet_50",
    "swin_b_384": "swin_b",
    "swin_cifar": "swin_t",
    "swin_l_384": "swin_b",
}
# What no public network computes: `load_reference` refuses, and says why.
REFUSED = {
    ("coatnet_7", "timm"),
    ("cbam_resnet_50", "timm"),
    ("nonlocal_resnet_50", "timm"),
    ("vgg_16_c", "torchvision"),
}
REFUSED |= {("ge_theta_minus_resnet_50", source) for source in ("torchvision", "timm")}
# Those whose remedy is a stride, with which they load.
STRIDES = ("resnet_50_v1", "resnet_101_v1", "resnet_50_cifar", "resnext_29_16x64d_cifar", "se_resnet_50")
OWN_STEM = ("resnet_50_cifar", "resnext_29_16x64d_cifar")


def public(name: str, source: str) -> str:
    names = PUBLIC[source]
    return names.get(name) or names.get(LIKE.get(name)) or names["vit_b16"]


def smaller(name: str, source: str) -> tuple[Callable[[str], nn.Module], dict]:
    """How their small network is made, and what ours is to be given."""
    find = (entry for (pattern, of), entry in SMALLER.items() if of == source and fnmatch(name, pattern))
    make, overrides = next(find)
    overrides = small(name) if overrides is None else overrides
    if name in STRIDES:
        overrides = overrides | {"stride": "v1.5"}
    return make, overrides


def _as_in(name: str, source: str) -> Callable:
    return entry(name).as_in.get(source, lambda spec: spec)


def made(name: str, source: str) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs, small, in float64, with the same random weights, by what a user calls."""
    make, overrides = smaller(name, source)
    theirs = randomised(make(public(name, source))).double()
    ours = create_model(name, **overrides).eval().double()
    load_reference(ours, theirs.state_dict(), source)
    if name == "perceiver_io":
        return smaller_perceivers(ours, theirs)
    return ours, theirs


def smaller_perceivers(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Both for images of 8×10, for 50,176 pixels take long: of 224×224 the positions alone are compared."""
    positions = theirs.perceiver.input_preprocessor.position_embeddings
    expected = positions((224, 224), batch_size=1, device="cpu", dtype=torch.float32)[0]
    torch.testing.assert_close(ours.inputs.position.float(), expected, rtol=0, atol=1e-4)
    positions.max_resolution = (8, 10)
    smaller = another(ours, img_size=(8, 10)).eval().double()
    smaller.load_state_dict(ours.state_dict())
    return smaller, theirs


def outputs(name: str, source: str, theirs: nn.Module) -> Callable[[Tensor], Tensor | tuple]:
    if name == "detr_r50":
        return test_detr.predictions(theirs)
    if name == "fcn_r50":
        return lambda x: theirs(x)["out"]
    if name == "perceiver_io":
        return lambda x: theirs(inputs=x).logits
    if name == "timesformer_space":
        return test_timesformer.logits_of(theirs)
    return (lambda x: theirs(x).logits) if source == "transformers" else theirs


FOUND: dict[tuple, tuple[float, float]] = {}  # many names are the same two networks when small


@pytest.mark.parametrize("name, source", [pair for pair in SOURCES if pair not in REFUSED and pair[0] not in OWN_STEM])
def test_weights_of_a_source_make_its_function(name, source):
    make, overrides = smaller(name, source)
    with torch.device("meta"):
        spec = create_model(name, **overrides).spec
    there = public(name, source) if source != "transformers" else ""
    key = (make, there, id(entry(name).keys[source]), repr(spec), repr(_as_in(name, source)(spec)))
    if key not in FOUND:
        ours, theirs = made(name, source)
        *rest, height, width = input_shape_of(ours)
        size = (height, width) if ours.spec.fits_one_size() else (min(height, 64), min(width, 32))
        inputs = torch.randn(2, *rest, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        FOUND[key] = difference(ours, outputs(name, source, theirs), inputs)
    found = FOUND[key]
    print(f"\nMATRIX {name} {source} {found[0]:.1e} {found[1]:.1e}")
    assert max(found) < 1e-9, f"outputs differ by {found[0]:.1e} of the largest, gradients by {found[1]:.1e}"


def test_every_source_is_compared_or_refused():
    assert set(SOURCES) >= REFUSED and {source for _, source in SOURCES} == set(LIBRARIES)


@pytest.mark.parametrize("name, source", sorted(REFUSED) + [p for p in SOURCES if p[0] in STRIDES])
def test_what_no_public_network_computes_is_refused_and_nothing_is_changed(name, source):
    with torch.device("meta"):
        model = create_model(name)
    with pytest.raises(ValueError, match=f"no weights of {source} are those of {name}: ") as error:
        load_reference(model, {}, source)
    assert ('stride="v1.5"' in str(error.value)) == (name in STRIDES)


FULL = [(name, source) for source in ("timm", "torchvision") for name in PUBLIC[source] if name != "fcn_r50"]


def _settings(model: nn.Module) -> tuple[list[int], Counter]:
    """The numbers of heads in the order in which they come, and how many norms have which eps."""
    heads = dict.fromkeys(m.num_heads for m in model.modules() if isinstance(getattr(m, "num_heads", None), int))
    norms = [
        m.eps for m in model.modules() if "Norm" in type(m).__name__ and isinstance(getattr(m, "eps", None), float)
    ]
    return list(heads), Counter(norms)


@pytest.mark.parametrize("name, source", FULL)
def test_the_full_size_has_the_public_ones_names_shapes_heads_and_eps(name, source):
    from timm.models import model_entrypoint
    from torchvision.models import get_model_builder

    with torch.device("meta"):
        # Some of timm's have no classes unless asked.
        theirs = (model_entrypoint if source == "timm" else get_model_builder)(PUBLIC[source][name])(num_classes=1000)
        ours = _as_in(name, source)(entry(name).spec).build()
    ours.name = name
    copy_weights(ours, theirs.state_dict(), entry(name).keys[source])
    assert _settings(ours) == _settings(theirs)


def swin_of(source: str) -> nn.Module:
    make = next(make for (pattern, of), (make, _) in SMALLER.items() if (pattern, of) == ("swin_*", source))
    return randomised(make(public("swin_t", source))).double()


@pytest.mark.parametrize("source", ["torchvision", "transformers"])
def test_windows_and_merging_fill_a_map_up_as_the_public_ones_do(source):
    """18×21 places for windows of 4×4, then 9×11 from an odd side: none of them fits."""
    theirs = swin_of(source)
    ours = create_model("swin_t", **small("swin_t") | {"img_size": (36, 42)}).eval().double()
    load_reference(ours, theirs.state_dict(), source)
    images = torch.randn(2, 3, 36, 42, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert max(difference(ours, outputs("swin_t", source, theirs), images)) < 1e-9


@pytest.mark.parametrize("source, size", [("timm", (36, 42)), ("timm", (8, 32)), ("torchvision", (16, 64))])
def test_where_windows_lie_otherwise_is_refused_and_the_size_that_is_named_is_taken(source, size):
    with pytest.raises(ValueError, match=r"its windows of 4×4 lie otherwise .* img_size=(\d+) fits") as error:
        load_reference(create_model("swin_t", **small("swin_t") | {"img_size": size}), {}, source)
    fits = int(re.search(r"img_size=(\d+)", str(error.value))[1])
    ours = create_model("swin_t", **small("swin_t") | {"img_size": fits})
    load_reference(ours, swin_of(source).state_dict(), source)


def test_the_last_source_decides_and_the_spec_says_so():
    """timm's PoolFormer, then transformers': nothing of the first is left; a copy of the spec computes the same."""
    first, _ = made("poolformer_s12", "timm")
    assert not first.head.norm_first and first.head.norm.eps == 1e-6
    _, theirs = made("poolformer_s12", "transformers")
    load_reference(first, theirs.state_dict(), "transformers")
    copied = another(first).eval().double()
    copied.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for model in (first, copied):
        assert max(difference(model, lambda x: theirs(x).logits, images)) < 1e-9
