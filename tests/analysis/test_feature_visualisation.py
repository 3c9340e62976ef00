"""Images that excite units of which one knows what excites them."""

import pytest
import torch
from torch import nn

from course.analysis.feature_visualisation import most_exciting
from course.data.normalise import Normalise
from tests.models.parity import proves

SHAPE = 3, 16, 16


class Templates(nn.Module):
    """Class 0 likes bright left halves, class 1 red ones."""

    def forward(self, x):
        left = x[..., :8].mean((1, 2, 3)) - x[..., 8:].mean((1, 2, 3))
        red = x[:, 0].mean((1, 2)) - x[:, 1:].mean((1, 2, 3))
        return torch.stack([left, red], dim=1)


def roughness(images):
    return float(images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean())


@proves(179)
def test_each_image_is_what_its_class_likes():
    images = most_exciting(Templates(), [1, 0], SHAPE, jitter=0, roughness_cost=0.0)
    assert images.shape == (2, *SHAPE) and images.min() >= 0 and images.max() <= 1
    said = Templates()(images)
    drawn = Templates()(torch.rand(500, *SHAPE, generator=torch.Generator().manual_seed(0)))
    assert said[0, 1] > 0.8 > 4 * drawn[:, 1].max()
    assert said[1, 0] > 0.8 > 4 * drawn[:, 0].max()
    assert abs(said[0, 0]) < 0.2 and abs(said[1, 1]) < 0.2


def test_a_class_that_needs_a_place_suffers_from_jitter():
    still, moved = (most_exciting(Templates(), [0], SHAPE, jitter=jitter, roughness_cost=0.0) for jitter in (0, 8))
    assert Templates()(moved)[0, 0] < 0.5 * Templates()(still)[0, 0]


def test_slow_waves_and_the_cost_make_it_smooth():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))

    def found(**options):
        return roughness(most_exciting(model, [0, 1], SHAPE, steps=40, **options))

    assert found() < 0.7 * found(smoothness=0.0)
    assert found(roughness_cost=5.0) < 0.7 * found(roughness_cost=0.0)


def test_a_channel_of_a_layer_and_the_images_of_training():
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(512, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1, -1], [-1, 1, -1]]).view(2, 3, 1, 1))
    model.normalise_images = Normalise((100.0,) * 3, (50.0,) * 3)
    red, green = most_exciting(model, [0, 1], SHAPE, layer="0").mean((2, 3))  # (C,) each
    assert min(red[0], green[1]) > 0.85 and max(red[1:].max(), green[0], green[2]) < 0.15


def test_the_network_sees_it_in_the_units_of_its_training():
    class Mean(nn.Module):
        def forward(self, x):  # likes nothing better than the mean of the training images
            return -x.square().mean((1, 2, 3))[:, None]

    model = Mean()
    model.normalise_images = Normalise((204.0,) * 3, (51.0,) * 3)
    image = most_exciting(model, [0], SHAPE, jitter=0)
    assert float(image.mean()) == pytest.approx(204 / 255, abs=0.02)


def test_a_seed_gives_the_same_image_and_no_gradient_stays():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).train()
    first, second, other = (most_exciting(model, [2], SHAPE, steps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert model.training and model[1].weight.grad is None


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="did you mean"):
        most_exciting(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), [0], SHAPE, layer="11")
