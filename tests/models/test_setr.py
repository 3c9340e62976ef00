"""SETR against a slow version of its heads behind timm's trunk, with the parameters named as in the authors' code."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.count import count_parameters
from course.models.dense import setr_heads
from course.models.dense.setr_heads import MLAHead, NaiveHead, PUPHead
from course.models.norms import LayerNorm
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SIZES = dict(img_size=(48, 32), embed_dim=24, depth=4, num_heads=3, num_classes=5, channels=8)
SMALL = dict.fromkeys(["setr_naive", "setr_pup", "setr_mla", "setr_naive_b", "setr_pup_b", "setr_mla_b"], SIZES)
SMALL |= dict.fromkeys(["setr_naive_shapes", "setr_pup_shapes", "setr_mla_shapes"], SIZES)
IMAGES = torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(2))


def interpolation(length: int, new: int, align_corners: bool) -> list[tuple[int, int, float]]:
    """For each new place the two old ones it lies between, and how far it is from the first."""
    places = []
    for i in range(new):
        x = i * (length - 1) / (new - 1) if align_corners else max((i + 0.5) * length / new - 0.5, 0)
        low = min(math.floor(x), length - 1)
        places.append((low, min(low + 1, length - 1), x - low))
    return places


def slow_resize(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    x = torch.stack(
        [x[:, :, a] * (1 - t) + x[:, :, b] * t for a, b, t in interpolation(x.shape[2], size[0], align_corners)], 2
    )
    return torch.stack(
        [x[:, :, :, a] * (1 - t) + x[:, :, :, b] * t for a, b, t in interpolation(x.shape[3], size[1], align_corners)],
        3,
    )


def slow_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The sum, over the places of the kernel, of a matrix applied to the shifted map."""
    k, (height, width) = conv.weight.shape[2], x.shape[2:]
    padded = x.new_zeros(*x.shape[:2], height + k - 1, width + k - 1)
    padded[:, :, k // 2 : k // 2 + height, k // 2 : k // 2 + width] = x
    y = 0 if conv.bias is None else conv.bias[:, None, None]
    for i in range(k):
        for j in range(k):
            y = y + torch.einsum("oc,bchw->bohw", conv.weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
    return y


def slow_norm_relu(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return ((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)


def slow_layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def conv_norm_relu(in_dim: int, dim: int, kernel_size: int) -> list[nn.Module]:
    return [nn.Conv2d(in_dim, dim, kernel_size, bias=False), nn.BatchNorm2d(dim), nn.ReLU()]


class Slow(nn.Module):
    """timm's patches, positions and blocks; the rest is written here."""

    def __init__(self, class_token: bool) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        trunk = VisionTransformer((48, 32), 16, embed_dim=24, depth=4, num_heads=3, num_classes=0)
        trunk.norm = nn.Identity()
        self.backbone = trunk
        self.class_token = class_token
        self.decode_head = nn.Module()

    def layers(self, images: Tensor) -> list[Tensor]:
        """What comes out of every block."""
        x = self.backbone.patch_embed(images)
        if self.class_token:
            x = torch.cat([self.backbone.cls_token.expand(len(x), -1, -1), x], dim=1) + self.backbone.pos_embed
        else:
            x = x + self.backbone.pos_embed[:, 1:]
        found = []
        for block in self.backbone.blocks:
            x = block(x)
            found.append(x)
        return found

    @staticmethod
    def as_map(tokens: Tensor) -> Tensor:
        """Token by token to its place in the grid of 3×2."""
        patches = tokens[:, 1:] if tokens.shape[1] == 7 else tokens
        return torch.stack([torch.stack([patches[:, 2 * i + j] for j in range(2)], -1) for i in range(3)], -2)


class SlowUp(Slow):
    def __init__(self, convs: int) -> None:
        super().__init__(class_token=True)
        head = self.decode_head
        head.norm = nn.LayerNorm(24)
        for i in range(convs):
            head.add_module(f"conv_{i}", nn.Conv2d(24 if i == 0 else 8, 8, 3))
            head.add_module(f"syncbn_fc_{i}", nn.BatchNorm2d(8))
        head.add_module(f"conv_{convs}", nn.Conv2d(8, 5, 1))
        self.convs = convs

    def forward(self, images: Tensor) -> Tensor:
        head = self.decode_head
        x = self.as_map(slow_layer_norm(self.layers(images)[-1], head.norm))
        for i in range(self.convs):
            if i > 0:
                x = slow_resize(x, (2 * x.shape[2], 2 * x.shape[3]))
            x = slow_norm_relu(slow_conv(x, head.get_submodule(f"conv_{i}")), head.get_submodule(f"syncbn_fc_{i}"))
        return slow_resize(slow_conv(x, head.get_submodule(f"conv_{self.convs}")), (48, 32))


class SlowMLA(Slow):
    def __init__(self) -> None:
        super().__init__(class_token=False)
        trunk, head = self.backbone, self.decode_head
        trunk.mla, head.mlahead = nn.Module(), nn.Module()
        for i in range(4):
            trunk.add_module(f"norm_{i}", nn.LayerNorm(24))
            trunk.mla.add_module(f"mla_p{i + 2}_1x1", nn.Sequential(*conv_norm_relu(24, 8, 1)))
            trunk.mla.add_module(f"mla_p{i + 2}", nn.Sequential(*conv_norm_relu(8, 8, 3)))
            head.mlahead.add_module(f"head{i + 2}", nn.Sequential(*conv_norm_relu(8, 4, 3), *conv_norm_relu(4, 4, 3)))
        head.cls = nn.Conv2d(16, 5, 3)

    def forward(self, images: Tensor) -> Tensor:
        trunk, head = self.backbone, self.decode_head
        layers = self.layers(images)
        above, streams = 0, {}
        for i in (3, 2, 1, 0):
            x = self.as_map(slow_layer_norm(layers[i], trunk.get_submodule(f"norm_{i}")))
            first, second = trunk.mla.get_submodule(f"mla_p{i + 2}_1x1"), trunk.mla.get_submodule(f"mla_p{i + 2}")
            above = slow_norm_relu(slow_conv(x, first[0]), first[1]) + above
            y = slow_norm_relu(slow_conv(above, second[0]), second[1])
            refine = head.mlahead.get_submodule(f"head{i + 2}")
            y = slow_norm_relu(slow_conv(y, refine[0]), refine[1])
            y = slow_norm_relu(slow_conv(y, refine[3]), refine[4])
            streams[i] = slow_resize(y, (12, 8), align_corners=True)
        return slow_resize(slow_conv(torch.cat([streams[i] for i in range(4)], 1), head.cls), (48, 32))


def slow(name: str) -> Slow:
    return SlowMLA() if "mla" in name else SlowUp(convs=1 if "naive" in name else 4)


def made(name: str) -> tuple[nn.Module, nn.Module]:
    return pair(name, SMALL[name], slow(name), "official")


@proves(119, 120, 121, 122)
@pytest.mark.parametrize("name", ["setr_naive", "setr_pup", "setr_mla", "setr_naive_b", "setr_pup_b", "setr_mla_b"])
def test_agrees_with_the_slow_version(name):
    assert_agrees(*made(name), IMAGES)


def class_token_read_as_a_patch(model):
    model.head.register_forward_pre_hook(lambda head, inputs: (inputs[0][:, :-1],))


def rows_and_columns_exchanged(model):
    def exchanged(head, inputs):
        tokens = inputs[0][:, 1:].unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
        return (tokens,)

    model.head.register_forward_pre_hook(exchanged)


def eps_of_the_other_framework(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def no_norm_before_the_head(model):
    model.head.norm = nn.Identity()


@pytest.mark.parametrize("name", ["setr_naive", "setr_pup"])
@pytest.mark.parametrize(
    "mistake",
    [class_token_read_as_a_patch, rows_and_columns_exchanged, eps_of_the_other_framework, no_norm_before_the_head],
)
def test_catches(name, mistake):
    assert_catches(mistake, *made(name), IMAGES)


def upsampled_after_the_convolutions(model):
    convs = each(model.head, PUPHead)[0].convs
    for conv in convs[1:]:
        conv.register_forward_pre_hook(lambda conv, inputs: (inputs[0][:, :, ::2, ::2],))
        conv.register_forward_hook(lambda conv, inputs, y: setr_heads.resized(y, (2 * y.shape[2], 2 * y.shape[3])))


def test_catches_upsampling_after_the_convolutions():
    assert_catches(upsampled_after_the_convolutions, *made("setr_pup"), IMAGES)


def streams_bottom_up(model):
    """The head sees the levels in the other order, with its weights moved along: only the direction of the sum differs."""
    head = each(model, MLAHead)[0]
    for name in ("norms", "reduce", "smooth", "refine"):
        setattr(head, name, nn.ModuleList(list(getattr(head, name))[::-1]))
    head.classifier.weight.data = head.classifier.weight.unflatten(1, (4, 4)).flip(1).flatten(1, 2)
    head.register_forward_pre_hook(lambda head, inputs: (inputs[0][::-1],))


def streams_side_by_side_the_other_way(model):
    classifier = each(model, MLAHead)[0].classifier
    classifier.weight.data = classifier.weight.unflatten(1, (4, 4)).flip(1).flatten(1, 2)


def one_norm_for_all_levels(model):
    head = each(model, MLAHead)[0]
    for level in range(3):
        head.norms[level] = head.norms[3]


def the_last_layer_for_all_levels(model):
    each(model, MLAHead)[0].register_forward_pre_hook(lambda head, inputs: ([inputs[0][-1]] * 4,))


@pytest.mark.parametrize(
    "mistake",
    [streams_bottom_up, streams_side_by_side_the_other_way, one_norm_for_all_levels, the_last_layer_for_all_levels],
)
def test_catches_in_mla(mistake):
    assert_catches(mistake, *made("setr_mla"), IMAGES)


@pytest.mark.parametrize("aligned", ["setr_naive", "setr_mla"])
def test_catches_corners_aligned_in_the_wrong_place(aligned, monkeypatch):
    right = setr_heads.resized

    def wrong(x, size, align_corners=False):
        return right(x, size, not align_corners)

    ours, theirs = made(aligned)
    monkeypatch.setattr(setr_heads, "resized", wrong)
    assert_catches(corners_of_the_other_kind, ours, theirs, IMAGES)


def corners_of_the_other_kind(model):
    """The mistake is in the function that is patched above."""


def test_levels_that_do_not_divide_the_depth_are_refused():
    with pytest.raises(ValueError, match="4 levels do not divide 6 blocks: a depth of 4 would do"):
        create_model("setr_mla", **SIZES | {"depth": 6})


def test_the_heads_without_classes_give_features():
    for name, channels in (("setr_naive", 8), ("setr_pup", 8), ("setr_mla", 16)):
        model = create_model(name, **SIZES | {"num_classes": 0}).eval()
        assert model(IMAGES).shape == (2, channels, 48, 32)


def test_naive_and_pup_differ_in_the_head_only():
    naive, pup = (create_model(name, **SIZES) for name in ("setr_naive", "setr_pup"))
    assert isinstance(naive.head, NaiveHead) and isinstance(pup.head, PUPHead)
    assert str(naive.stages) == str(pup.stages)


@proves(123)
def test_308_million_is_the_pup_of_the_code_at_the_size_and_with_the_classes_of_ade20k():
    """The size that Swin's table 3 prints for SETR; SETR's own table 2 has it nowhere."""
    with torch.device("meta"):
        sizes = {
            name: count_parameters(create_model(name, img_size=512, num_classes=150)) / 1e6
            for name in ("setr_naive", "setr_pup", "setr_mla")
        }
    assert sizes["setr_pup"] == pytest.approx(308.32, abs=0.005)
    assert all(abs(sizes[name] - 308) > 1 for name in ("setr_naive", "setr_mla"))
