"""What a spec says stage by stage, and what it says once."""

from dataclasses import replace

import pytest
from torch import nn

from course.models import create_model
from course.models.registry import entry, input_shape
from course.models.spec import alternate, part, per_stage, read, written
from course.models.token_mixers.pooling import Pooling


class Keeps(nn.Module):
    """Does nothing and remembers what it was made with."""

    def __init__(self, dim: int, kernel=3) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x):
        return x


ISOTROPIC = entry("vit_cifar").spec.but(embed_dim=12, depth=2)
PYRAMID = entry("poolformer_cifar").spec.but(dims=(8, 16), depths=(1, 2), layer_scale=None)


def kernels(spec, token_mixer) -> list:
    model = replace(spec, token_mixer=token_mixer).build()
    return [block.token_mixer.branch.kernel for stage in model.stages for block in stage.blocks]


@pytest.mark.parametrize("spec, blocks", [(ISOTROPIC, 2), (PYRAMID, 3)])
def test_a_tuple_reaches_the_module_as_a_tuple(spec, blocks):
    assert kernels(spec, part(Keeps, kernel=(3, 5))) == [(3, 5)] * blocks


def test_per_stage_has_a_value_for_each_stage():
    assert kernels(PYRAMID, part(Keeps, kernel=per_stage(3, 5))) == [3, 5, 5]
    assert kernels(PYRAMID, part(Keeps, kernel=per_stage((3, 1), (5, 1)))) == [(3, 1), (5, 1), (5, 1)]
    assert kernels(PYRAMID, per_stage(part(Keeps), part(Keeps, kernel=7))) == [3, 7, 7]
    turns = alternate(part(Keeps, kernel=per_stage(3, 5)), part(Keeps, kernel=9))
    assert kernels(PYRAMID, turns) == [3, 5, 9]
    assert kernels(PYRAMID.but(token_mixer=per_stage(part(Keeps), turns)).but(kernel=4), turns.parts[0]) == [3, 5, 5]


def test_an_option_of_every_part_is_overridden_in_each_stage():
    spec = replace(PYRAMID, token_mixer=per_stage(part(Keeps), part(Pooling)))
    assert spec.but(kernel=per_stage(1, 2)).token_mixer.values[0] == part(Keeps, kernel=per_stage(1, 2))
    assert spec.but(kernel=8).token_mixer.values[1] == part(Pooling)


def test_a_scale_of_each_stage():
    model = replace(PYRAMID, layer_scale=per_stage(None, 0.5), skip_scale=per_stage(2.0, None)).build()
    first, second = (stage.blocks[0].token_mixer for stage in model.stages)
    assert first.scale is None and second.scale.eq(0.5).all() and second.scale.shape == (16,)
    assert second.skip_scale is None and first.skip_scale.eq(2).all() and first.skip_scale.shape == (8,)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (
            lambda: create_model("swin_t", num_heads=per_stage(3, 6)),
            "swin_t: token_mixer.num_heads=per_stage(3, 6) has 2 values, and the network has 4 stages",
        ),
        (
            lambda: create_model("vit_b16", num_heads=per_stage(3, 6)),
            "vit_b16: token_mixer.num_heads=per_stage(3, 6) has 2 values, and the network has 1 stage",
        ),
        (
            lambda: create_model("poolformer_cifar", layer_scale=per_stage(1.0)),
            "poolformer_cifar: layer_scale=per_stage(1.0) has 1 value, and the network has 3 stages",
        ),
        (
            lambda: create_model("convnext_t", token_mixer=per_stage(*[part(Keeps)] * 5)),
            "convnext_t: token_mixer=per_stage(Keeps(), Keeps(), Keeps(), Keeps(), Keeps()) has 5 values, and",
        ),
        (
            lambda: create_model("cvt_13", class_token=per_stage(True)),
            "cvt_13: downsample.class_token=per_stage(True) has 1 value, and the network has 3 stages",
        ),
        (
            lambda: create_model("swin_t", patch_size=per_stage(4, 2, 2, 2)),
            "swin_t: stem.patch_size is one and the same for the whole network, and not per_stage(4, 2, 2, 2)",
        ),
        (
            lambda: create_model("swin_t", num_heads=(3, 6, 12, 24)),
            "a value for each stage is written num_heads=per_stage(3, 6, 12, 24), with per_stage of course.models.spec",
        ),
    ],
)
def test_a_wrong_number_of_stages_names_the_model_and_the_option(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert sentence in str(error.value)


def test_nothing_is_said_about_stages_where_no_tuple_was_given():
    with pytest.raises(ValueError, match="does not fit together") as error:
        create_model("swin_t", num_heads="3")
    assert "per_stage" not in str(error.value)


@pytest.mark.parametrize(
    "value", [3, 0.5, None, (2, 2), "learned", per_stage(3, 6), per_stage((3, 1), None), per_stage(4), per_stage()]
)
def test_what_is_written_is_read(value):
    assert read(written(value)) == value


def test_what_is_no_value_is_a_word():
    assert [read(word) for word in ("learned", "per_stage(3", "per_stage(x)", "v1.5")] == [
        "learned",
        "per_stage(3",
        "per_stage(x)",
        "v1.5",
    ]


def test_the_size_of_the_papers_images_where_the_spec_says_none():
    assert input_shape("resnet_50_cifar") == input_shape("wide_resnet_28_8_cifar") == (3, 32, 32)
    assert input_shape("resnet_50") == (3, 224, 224)


def test_only_what_is_built_for_a_grid_fits_one_size():
    assert ISOTROPIC.fits_one_size() and entry("swin_t").spec.fits_one_size()
    assert not PYRAMID.fits_one_size() and not entry("resnet_50").spec.fits_one_size()
    assert entry("botnet_50").spec.fits_one_size()


def test_a_module_that_asks_for_what_nobody_gives_is_named():
    class Asks(Keeps):
        def __init__(self, dim: int, grid: tuple[int, int], places: int) -> None:
            super().__init__(dim)

    sentence = r"Asks asks for places, which its spec does not say \(part\(Asks, places=...\)\) and the layout does not"
    with pytest.raises(ValueError, match=sentence + " know: here it knows dim, grid"):
        replace(PYRAMID, token_mixer=part(Asks)).build()
    assert kernels(PYRAMID, part(Asks, places=3)) == [3, 3, 3]
