"""Of one image torch's batch norm has a wrong gradient before tokens (``course/models/PEERS.md``); ours has not."""

import torch
from torch import Tensor, nn

from course.analysis import receptive_fields, tangent_kernel
from course.analysis.features import evaluating
from course.analysis.robustness import gradient_saliency
from tests.models.parity import randomised


class PublicStem(nn.Module):
    """As LeViT and CvT begin in public: a convolution, a batch norm, and tokens of its map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.norm = nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.LayerNorm(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.bn(self.conv(images)).flatten(2).transpose(1, 2)  # (B, N, D)
        return self.fc((tokens + self.norm(tokens).tanh()).square().mean(dim=1))


MODEL = randomised(PublicStem())
IMAGES = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def saliency(model: nn.Module, images: Tensor) -> Tensor:
    with evaluating(model):
        return gradient_saliency(model, images)


def test_torch_is_still_wrong_or_the_guard_can_go():
    one, two = gradient_saliency(MODEL, IMAGES[:1])[0], gradient_saliency(MODEL, IMAGES)[0]
    assert (one - two).abs().max() > 0.1 * two.abs().max()


def test_saliency_of_one_image_is_that_of_the_same_among_two():
    torch.testing.assert_close(saliency(MODEL, IMAGES[:1])[0], saliency(MODEL, IMAGES)[0])


def test_receptive_fields_do_not_depend_on_how_many_images_come_at_once():
    one, two = (receptive_fields(MODEL, IMAGES, ["norm"], batch_size=size)["norm"] for size in (1, 2))
    torch.testing.assert_close(one, two)


def test_the_tangent_kernel_takes_images_one_by_one_and_is_right():
    parameters = dict(MODEL.named_parameters())

    def row(index: int) -> Tensor:
        outputs = MODEL(IMAGES)[index]  # of two images
        gradients = [torch.autograd.grad(y, list(parameters.values()), retain_graph=True) for y in outputs]
        return torch.stack([torch.cat([g.flatten() for g in parts]) for parts in gradients]).double()

    rows = torch.stack([row(0), row(1)])
    expected = torch.einsum("i k p, j k p -> i j", rows, rows) / rows.shape[1]
    torch.testing.assert_close(tangent_kernel(MODEL, IMAGES), expected, rtol=1e-4, atol=0)


def test_nothing_stays_on_the_model():
    with evaluating(MODEL):
        assert MODEL.bn._forward_hooks
    assert not MODEL.bn._forward_hooks
