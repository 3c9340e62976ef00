"""U-Net against figure 1 of the paper, written out pixel by pixel."""

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.count import count_parameters
from course.models.dense import unet
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SIZES = dict(img_size=(44, 48), in_chans=2, num_classes=3, width=4, depth=2)
SMALL = {"unet": SIZES, "unet_shapes": SIZES}
IMAGES = torch.randn(2, 2, 44, 48, generator=torch.Generator().manual_seed(2))


def slow_conv(x: Tensor, weight: Tensor, bias: Tensor, border: int) -> Tensor:
    """What each place of the kernel adds; without a border the map loses its rim."""
    side = weight.shape[-1]
    wide = x.new_zeros(*x.shape[:2], x.shape[2] + 2 * border, x.shape[3] + 2 * border)
    wide[:, :, border : border + x.shape[2], border : border + x.shape[3]] = x
    height, width = wide.shape[2] - side + 1, wide.shape[3] - side + 1
    y = bias[:, None, None]
    for i in range(side):
        for j in range(side):
            y = y + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], wide[:, :, i : i + height, j : j + width])
    return y


def slow_pool(x: Tensor) -> Tensor:
    quarters = [x[:, :, i::2, j::2] for i in range(2) for j in range(2)]
    return torch.stack(quarters).amax(0)


def slow_up_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each pixel becomes a square of 2×2, each of its four places by its own matrix."""
    y = x.new_zeros(len(x), weight.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    for i in range(2):
        for j in range(2):
            y[:, :, i::2, j::2] = torch.einsum("co,bchw->bohw", weight[:, :, i, j], x) + bias[:, None, None]
    return y


def slow_unet(model: nn.Module, border: int = 0):
    """Reads the weights in the order in which figure 1 uses them."""

    def forward(images: Tensor) -> Tensor:
        w = {name: p.to(images.dtype) for name, p in model.state_dict().items()}

        def twice(x, name):
            for layer in (0, 2):
                x = slow_conv(x, w[f"{name}.{layer}.weight"], w[f"{name}.{layer}.bias"], border).clamp(min=0)
            return x

        one = twice(images, "down.0")
        two = twice(slow_pool(one), "down.1")
        three = twice(slow_pool(two), "down.2")
        x = slow_up_conv(three, w["up.1.weight"], w["up.1.bias"])
        off = [(two.shape[i] - x.shape[i]) // 2 for i in (2, 3)]
        x = torch.cat([two[:, :, off[0] : off[0] + x.shape[2], off[1] : off[1] + x.shape[3]], x], 1)
        x = slow_up_conv(twice(x, "merge.1"), w["up.0.weight"], w["up.0.bias"])
        off = [(one.shape[i] - x.shape[i]) // 2 for i in (2, 3)]
        x = torch.cat([one[:, :, off[0] : off[0] + x.shape[2], off[1] : off[1] + x.shape[3]], x], 1)
        return slow_conv(twice(x, "merge.0"), w["classifier.weight"], w["classifier.bias"], 0)

    return forward


@proves(130)
@pytest.mark.parametrize("padded", [False, True])
def test_agrees_with_the_slow_version(padded):
    ours = randomised(create_model("unet", **SIZES, padded=padded))
    assert_agrees(ours, slow_unet(ours, border=int(padded)), IMAGES)


def test_the_paper_s_sizes():
    with torch.device("meta"):
        model = create_model("unet")
        assert model(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        bottom = []
        model.down[4].register_forward_hook(lambda module, inputs, y: bottom.append((inputs[0].shape[2], y.shape[1:])))
        model(torch.empty(1, 1, 572, 572))
    assert bottom == [(32, (1024, 28, 28))]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "in total the network has 23 convolutional layers"
    assert count_parameters(model) == 31_030_658


def upsampled_beside_the_other_way(model):
    for merge in model.merge:
        merge[0].weight.data = merge[0].weight.unflatten(1, (2, -1)).flip(1).flatten(1, 2)


def mean_pooling(model):
    model.pool = nn.AvgPool2d(2)


def kernel_of_the_up_convolution_turned(model):
    for up in each(model, nn.ConvTranspose2d):
        up.weight.data = up.weight.flip(2, 3)


def relu_behind_the_up_convolution(model):
    for up in each(model, nn.ConvTranspose2d):
        up.register_forward_hook(lambda module, inputs, y: y.relu())


@pytest.mark.parametrize(
    "mistake",
    [upsampled_beside_the_other_way, mean_pooling, kernel_of_the_up_convolution_turned, relu_behind_the_up_convolution],
)
def test_catches(mistake):
    ours = randomised(create_model("unet", **SIZES))
    assert_catches(mistake, ours, slow_unet(ours), IMAGES)


def nothing_in_the_model(model):
    """The mistake is in the function that the test exchanges."""


def test_catches_a_crop_at_the_corner(monkeypatch):
    ours = randomised(create_model("unet", **SIZES))
    theirs = slow_unet(ours)
    monkeypatch.setattr(unet, "cropped", lambda x, size: x[:, :, : size[0], : size[1]])
    assert_catches(nothing_in_the_model, ours, theirs, IMAGES)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="a side of 224 pixels cannot be halved 4 times: 220 and 236 can"):
        create_model("unet", img_size=224)
    with pytest.raises(ValueError, match="a side of 30 pixels cannot be halved 4 times: 32 and 16 can"):
        create_model("unet", img_size=30, padded=True)
