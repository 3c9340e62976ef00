"""CCT against the paper's equations, written out with loops; no public package has it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.count import count_macs, count_parameters
from course.models.pooling_heads import SequencePoolHead
from tests.models.parity import assert_agrees, assert_catches, each, randomised

SMALL = {"cct_7_3x1_cifar": dict(img_size=9, embed_dim=16, depth=2, num_heads=4, num_classes=10)}
IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(2))


class Slow(nn.Module):
    """The same network from the paper's text, one number at a time where that is what the paper says."""

    def __init__(self, fast: nn.Module) -> None:
        super().__init__()
        for name, value in fast.state_dict().items():
            self.register_buffer(name.replace(".", "/"), value.clone())

    def norm(self, x, name):
        """Each token less its mean, over its standard deviation."""
        deviation = x - x.mean(-1, keepdim=True)
        scaled = deviation / ((deviation**2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.get(name + "/weight") + self.get(name + "/bias")

    def get(self, name):
        return self._buffers[name]

    def linear(self, x, name):
        y = x @ self.get(name + "/weight").T
        return y + self.get(name + "/bias") if name + "/bias" in self._buffers else y

    def tokens(self, image):
        """MaxPool(ReLU(Conv2d(x))): 3×3 windows, first at every pixel, then at every second one."""
        kernel = self.get("stem/conv/weight")
        _, height, width = image.shape
        zero_padded = F.pad(image, (1, 1, 1, 1))
        convolved = {}
        for i in range(height):
            for j in range(width):
                window = zero_padded[:, i : i + 3, j : j + 3]
                convolved[i, j] = (kernel * window).sum(dim=(1, 2, 3)).clamp(min=0)
        tokens = []
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                inside = [convolved[p, q] for p in (i - 1, i, i + 1) for q in (j - 1, j, j + 1) if (p, q) in convolved]
                tokens.append(torch.stack(inside).amax(dim=0))
        return torch.stack(tokens)

    def attention(self, x, name):
        q, k, v = self.linear(x, name + "/qkv").chunk(3, dim=-1)
        heads = []
        for h in range(4):
            part = slice(4 * h, 4 * h + 4)
            rows = []
            for query in q[:, part]:
                weights = torch.stack([(query * key).sum() / math.sqrt(4) for key in k[:, part]]).exp()
                rows.append(sum(w * value for w, value in zip(weights / weights.sum(), v[:, part])))
            heads.append(torch.stack(rows))
        return self.linear(torch.cat(heads, dim=-1), name + "/proj")

    def mlp(self, x, name):
        hidden = self.linear(x, name + "/fc1")
        return self.linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), name + "/fc2")

    def one(self, image):
        x = self.tokens(image) + self.get("stages/0/entry/position")
        for i in range(2):
            block = f"stages/0/blocks/{i}"
            x = x + self.attention(self.norm(x, f"{block}/token_mixer/norm"), f"{block}/token_mixer/branch")
            x = x + self.mlp(self.norm(x, f"{block}/channel_mixer/norm"), f"{block}/channel_mixer/branch")
        x = self.norm(x, "head/norm")
        scores = self.linear(x, "head/score")[:, 0].exp()
        pooled = sum(score / scores.sum() * token for score, token in zip(scores, x))
        return self.linear(pooled, "head/fc")

    def forward(self, images):
        return torch.stack([self.one(image) for image in images])


def fast_and_slow():
    fast = randomised(create_model("cct_7_3x1_cifar", **SMALL["cct_7_3x1_cifar"]))
    return fast, Slow(fast)


def test_agrees_with_the_equations():
    assert_agrees(*fast_and_slow(), IMAGES)


def test_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        model = create_model("cct_7_3x1_cifar")
    assert count_parameters(model) == 3_760_139
    # Worked out by hand: the convolution, seven blocks (8D²N and 2N²D), the pooling's scores and sum, the last layer.
    d, n = 256, 256
    expected = 27 * d * 32**2 + 7 * (8 * d * d * n + 2 * n * n * d) + 2 * n * d + 10 * d
    assert count_macs(model, 1, 3, 32, 32) == expected


def test_any_size_of_image_makes_tokens():
    for height, width in [(32, 32), (33, 20), (7, 8)]:
        model = create_model("cct_7_3x1_cifar", **SMALL["cct_7_3x1_cifar"] | {"img_size": (height, width)})
        assert model(torch.zeros(1, 3, height, width)).shape == (1, 10)


def mean_of_the_tokens(model):
    each(model, SequencePoolHead)[0].score.weight.data.zero_()


def norm_after_the_pooling(model):
    head = each(model, SequencePoolHead)[0]
    head.norm, head.fc = nn.Identity(), nn.Sequential(head.norm, head.fc)


def pooled_before_relu(model):
    model.stem.act = nn.Identity()


def mean_pooling(model):
    model.stem.pool = nn.AvgPool2d(3, stride=2, padding=1)


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


@pytest.mark.parametrize(
    "mistake",
    [mean_of_the_tokens, norm_after_the_pooling, pooled_before_relu, mean_pooling, gelu_by_tanh],
)
def test_catches(mistake):
    assert_catches(mistake, *fast_and_slow(), IMAGES)
