"""UperNet on Swin against transformers."""

from types import MethodType

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.dense import upernet
from course.models.dense.upernet import PaddedWindowAttention, PyramidPooling
from course.models.norms import LayerNorm
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SIZES = dict(
    img_size=(64, 96),
    embed_dim=8,
    depths=(2, 2, 2, 2),
    num_heads=(1, 2, 2, 4),
    window_size=5,
    num_classes=5,
    channels=8,
    auxiliary_channels=6,
)
SMALL = dict.fromkeys(["upernet_swin_t", "upernet_swin_s", "upernet_swin_b", "upernet_swin_l", "upernet_shapes"], SIZES)
# Maps of 16×24, 8×12, 4×6 and 2×3: windows of 5×5 divide none of them, and the last two are smaller.
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def transformers_upernet() -> nn.Module:
    from transformers import SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

    swin = SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 2, 4],
        window_size=5,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=swin, num_labels=5, hidden_size=8, auxiliary_in_channels=32, auxiliary_channels=6
    )
    return UperNetForSemanticSegmentation(config)


def made() -> tuple[nn.Module, nn.Module]:
    return pair("upernet_swin_t", SIZES, transformers_upernet(), "transformers")


def logits(theirs):
    return lambda images: theirs.to(images.dtype)(images).logits


@proves(124, 125, 126, 127)
def test_agrees_with_transformers():
    ours, theirs = made()
    assert_agrees(ours, logits(theirs), IMAGES)


@proves(124)
def test_the_auxiliary_head_agrees_by_the_loss_that_it_adds():
    """transformers returns its logits in no way but as a part of the loss."""
    ours, theirs = made()
    ours, theirs, images = ours.double(), theirs.double(), IMAGES.double()
    labels = torch.randint(5, (2, 64, 96), generator=torch.Generator().manual_seed(4))
    main, auxiliary = (nn.functional.cross_entropy(y, labels) for y in ours.both(images))
    torch.testing.assert_close(main + 0.4 * auxiliary, theirs(images, labels=labels).loss, rtol=1e-9, atol=0)


def no_shift(model):
    for attention in each(model, PaddedWindowAttention):
        attention.shift, attention.mask = 0, None


def small_maps_not_shifted(model):
    """As Swin classifies: what stands in front of UperNet pads and shifts in any case."""
    for attention in each(model.stages[3], PaddedWindowAttention):
        attention.shift, attention.mask = 0, None


def padded_on_the_other_sides(model):
    for attention in each(model, PaddedWindowAttention):
        _, _, _, width, _, height = attention.padding
        attention.padding = (0, 0, width, 0, height, 0)


def norms_on_the_way_to_the_next_stage(model):
    for stage, norm in zip(model.stages, model.norms):
        stage.norm = norm
    model.norms = nn.ModuleList([nn.Identity()] * 4)


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


def pooled_maximum(model):
    for pooling in each(model, PyramidPooling):
        for pool, scale in zip(pooling.pools, (1, 2, 3, 6)):
            pool[0] = nn.AdaptiveMaxPool2d(scale)


def no_top_down_path(model):
    def forward(self, maps):
        maps = [*[lateral(x) for lateral, x in zip(self.lateral, maps)], self.pooling(maps[-1])]
        maps = [*[smooth(x) for smooth, x in zip(self.smooth, maps)], maps[-1]]
        maps = [upernet.resized(x, maps[0].shape[2:]) for x in maps]
        return self.classifier(self.fuse(torch.cat(maps, dim=1)))

    model.head.forward = MethodType(forward, model.head)


@pytest.mark.parametrize(
    "mistake",
    [
        no_shift,
        small_maps_not_shifted,
        padded_on_the_other_sides,
        norms_on_the_way_to_the_next_stage,
        eps_of_vit,
        pooled_maximum,
        no_top_down_path,
    ],
)
def test_catches(mistake):
    ours, theirs = made()
    assert_catches(mistake, ours, logits(theirs), IMAGES)


def test_an_image_that_the_stages_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="image of 240×240 is not divided by patches of 32×32: 224 and 256 fit"):
        create_model("upernet_swin_t", img_size=240)
