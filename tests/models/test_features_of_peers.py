"""Features behind stages and blocks against those that timm and transformers give, with the same weights."""

import pytest
import torch

from course.models.registry import input_shape_of
from tests.models.test_every_source import made

ISOTROPIC = ("vit_b16", "deit_s", "deit_s_distilled", "deit3_s", "cait_s24", "mixer_s16", "convmixer_768_32")
PYRAMIDS = ("swin_t", "convnext_t", "pvt_v2_b2", "mvit_v2_t", "levit_256", "visformer_s", "pit_s", "poolformer_s12")
PYRAMIDS += ("caformer_s18", "efficientformer_l1", "coatnet_0")
CONVOLUTIONS = ("resnet_50", "regnety_4gf", "bit_r101x3", "se_resnet_50")
WITH_STEM = (*CONVOLUTIONS, "coatnet_0")


def _images(model) -> torch.Tensor:
    *rest, height, width = input_shape_of(model)
    size = (height, width) if model.spec.fits_one_size() else (64, 64)
    return torch.randn(2, *rest, *size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    for x, y in zip(ours, theirs):
        assert (x - y).abs().max() <= 1e-9 * y.abs().max()


@pytest.mark.parametrize("name", ISOTROPIC + PYRAMIDS + CONVOLUTIONS)
def test_maps_are_those_of_timms_forward_intermediates(name):
    """Its numbers count the blocks of a ViT and the stages of a pyramid, of some behind the stem."""
    ours, theirs = made(name, "timm")
    images = _images(ours)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, norm=False, intermediates_only=True, output_fmt="NCHW")
        blocks = range(len(ours.stages[0].blocks)) if name in ISOTROPIC else None
        maps = ours.features(images, blocks=blocks, layout="maps")
    assert len(expected) - len(maps) == (name in WITH_STEM)
    _assert_equal(maps, list(expected)[-len(maps) :])


def test_tokens_are_those_of_get_intermediate_layers_and_of_forward_features_before_its_norm():
    """DINO's and timm's method, with the class token; and what timm norms at the end, ours norms in the head."""
    ours, theirs = made("vit_b16", "timm")
    images = _images(ours)
    with torch.no_grad():
        layers = theirs.get_intermediate_layers(images, n=[1, 0], return_prefix_tokens=True, norm=False)
        expected = [torch.cat([prefix, patches], dim=1) for patches, prefix in layers]
        _assert_equal(ours.features(images, blocks=[0, 1], layout="tokens"), expected)
        _assert_equal([ours.head.norm(ours.forward_features(images))], [theirs.forward_features(images)])


@pytest.mark.parametrize("name, which", [("pvt_s", slice(-6, -1)), ("vit_b16", slice(1, None))])
def test_tokens_behind_blocks_are_transformers_hidden_states(name, which):
    """ViT's first are those before any block; PVT's last are normed."""
    ours, theirs = made(name, "transformers")
    images = _images(ours)
    with torch.no_grad():
        hidden = theirs(images, output_hidden_states=True).hidden_states[which]
        _assert_equal(ours.features(images, blocks=range(len(hidden)), layout="tokens"), list(hidden))


def test_a_mistake_is_seen():
    """Two blocks exchanged: the comparison above is not one of shapes."""
    ours, theirs = made("vit_b16", "timm")
    images = _images(ours)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, norm=False, intermediates_only=True)
        with pytest.raises(AssertionError):
            _assert_equal(ours.features(images, blocks=[1, 0], layout="maps"), expected)
