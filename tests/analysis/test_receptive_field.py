"""Receptive fields whose extent is known exactly."""

import pytest
import torch
from torch import nn

from course.analysis.receptive_field import area, level, receptive_fields
from course.models import create_model
from tests.models.parity import proves

IMAGES = torch.rand(3, 3, 31, 31, generator=torch.Generator().manual_seed(5))


@proves(172)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_stack_of_3x3_convolutions_sees_exactly_its_square(depth):
    torch.manual_seed(depth)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[nn.Conv2d(8, 8, 3, padding=1) for _ in range(depth - 1)])
    field = receptive_fields(model, IMAGES)[str(depth - 1)]
    square = torch.zeros(31, 31, dtype=torch.bool)
    square[15 - depth : 16 + depth, 15 - depth : 16 + depth] = True
    assert torch.equal(field > 0, square)
    assert float(field.sum()) == pytest.approx(1)


def test_attention_reaches_all_and_the_stem_one_patch():
    torch.manual_seed(0)
    model = create_model("vit_cifar", img_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=3)
    fields = receptive_fields(model, torch.rand(2, 3, 16, 16))
    patch = torch.zeros(16, 16, dtype=torch.bool)
    patch[8:12, 8:12] = True  # row 2, column 2 of four by four
    for name in ("stem", "stages.0.entry"):
        assert torch.equal(fields[name] > 0, patch), name
    assert (fields["stages.0.blocks.0"] > 0).all()
    assert "head" not in fields  # its logits have no grid
    assert area(fields["stem"], 0.99) < area(fields["stages.0.blocks.0"], 0.99)


def test_behind_a_layer_norm_there_is_a_gradient_too():
    class Norm(nn.Module):
        def forward(self, x):  # its channels sum to 0, whatever the image
            return nn.functional.layer_norm(x.permute(0, 2, 3, 1), (8,))

    torch.manual_seed(0)
    fields = receptive_fields(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Norm()), IMAGES)
    assert (fields["1"] > 0).sum() == 9
    raw = receptive_fields(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), IMAGES)["0"]
    assert float((fields["1"] - raw).abs().max()) < 0.1  # no single pixel stands out from rounding


def test_the_size_of_the_batch_does_not_matter_and_a_dead_place_is_0():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Threshold(1e9, 0.0))
    one, all_at_once = (receptive_fields(model, IMAGES, batch_size=n) for n in (1, 3))
    assert torch.allclose(one["1"], all_at_once["1"])
    assert not one["2"].any()


def test_the_area_is_that_of_the_smallest_set():
    field = torch.tensor([[0.5, 0.3], [0.15, 0.05]])
    assert [area(field, share) for share in (0.2, 0.5, 0.8, 0.9, 1.0)] == [0.25, 0.25, 0.5, 0.75, 1.0]
    assert [level(field, share) for share in (0.5, 0.9)] == pytest.approx([0.5, 0.15])
    assert area(torch.full((10, 10), 0.01), 0.5) == 0.5


def test_a_layer_without_a_grid_is_refused_only_if_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 29 * 29, 2))
    assert list(receptive_fields(model, IMAGES)) == ["0"]
    with pytest.raises(ValueError, match="no grid"):
        receptive_fields(model, IMAGES, ["2"])
