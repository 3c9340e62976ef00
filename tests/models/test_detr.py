"""DETR and its loss against transformers."""

from types import MethodType

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.count import count_parameters
from course.models.dense import detr
from course.models.dense.detr import (
    DETRDecoderLayer,
    DETREncoderLayer,
    FrozenBatchNorm,
    detections,
    generalized_iou,
    in_order,
    match,
    matching_cost,
    set_loss,
    set_loss_of_all_layers,
)
from course.models.norms import LayerNorm
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves, randomised

SIZES = dict(
    depths=(1, 1, 1, 1),
    num_classes=5,
    num_queries=7,
    embed_dim=16,
    num_heads=2,
    mlp_ratio=2,
    encoder_depth=2,
    decoder_depth=2,
)
SMALL = {"detr_r50": SIZES | {"width": 8}, "detr_shapes": SIZES | {"width": 8, "depths": (1, 1)}}
IMAGES = torch.randn(2, 3, 72, 100, generator=torch.Generator().manual_seed(2))
# The second image is 50×60 and filled up.
VISIBLE = torch.ones(2, 72, 100, dtype=torch.bool)
VISIBLE[1, 50:] = VISIBLE[1, :, 60:] = False


def transformers_detr() -> nn.Module:
    """A small Transformer on a ResNet of one block a stage; timm cannot make its stem narrower."""
    from timm import create_model as timm_model
    from transformers import DetrConfig, DetrForObjectDetection
    from transformers.models.detr.modeling_detr import replace_batch_norm

    config = DetrConfig(
        use_timm_backbone=True,
        backbone="resnet18",
        use_pretrained_backbone=False,
        backbone_config=None,
        num_labels=5,
        num_queries=7,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    model = DetrForObjectDetection(config)
    backbone = timm_model("resnet50", features_only=True, layers=[1, 1, 1, 1], out_indices=(4,))
    with torch.no_grad():
        replace_batch_norm(backbone)
        for name, constant in backbone.named_buffers():
            noise = torch.rand(constant.shape, generator=torch.Generator().manual_seed(len(name)))
            # Scales below 1 keep the map small: where thousands come in, attention looks at one place only, and hardly
            # anything is left of the gradient in float32.
            constant.copy_(noise * 0.3 + 0.15 if name.endswith("weight") else noise - 0.5)
    model.model.backbone.model = backbone
    model.model.input_projection = nn.Conv2d(2048, 16, 1)
    return model


def made() -> tuple[nn.Module, nn.Module]:
    return pair("detr_r50", SIZES, transformers_detr(), "transformers")


def predictions(theirs, visible: Tensor | None = None):
    def forward(images):
        y = theirs.to(images.dtype)(images, pixel_mask=visible)
        return y.logits, y.pred_boxes

    return forward


@proves(118)
def test_agrees_with_transformers():
    ours, theirs = made()
    assert_agrees(ours, predictions(theirs), IMAGES)


@proves(118)
def test_agrees_where_an_image_is_filled_up():
    ours, theirs = made()
    assert_agrees(lambda x: ours.to(x.dtype)(x, VISIBLE), predictions(theirs, VISIBLE), IMAGES)


def test_all_visible_is_the_same_as_no_mask():
    ours, _ = made()
    for a, b in zip(ours(IMAGES), ours(IMAGES, torch.ones_like(VISIBLE)), strict=True):
        torch.testing.assert_close(a, b)


def test_what_an_image_is_filled_up_with_at_its_end_is_not_seen_by_the_transformer():
    ours = create_model("detr_r50", **SMALL["detr_r50"]).eval()
    ours.backbone.stage_outputs = lambda x: [x]  # places that are not mixed
    maps = torch.randn(1, 256, 3, 4)
    visible = torch.ones(1, 3, 4, dtype=torch.bool)
    visible[:, :, 3:] = False
    changed = maps.clone()
    changed[:, :, :, 3:] = 9
    results = ours.forward(maps, visible), ours.forward(changed, visible), ours.forward(maps[..., :3])
    for a, b, c in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)  # and it is found as if alone


def norm_first(model):
    for layer in each(model, DETREncoderLayer):

        def forward(self, x, position, visible=None):
            y = self.norm1(x)
            x = x + self.attention(y + position, y + position, y, visible)
            return x + self.mlp(self.norm2(x))

        layer.forward = MethodType(forward, layer)


def positions_on_values_too(model):
    for layer in each(model, DETREncoderLayer):
        layer.attention.register_forward_pre_hook(
            lambda attention, inputs: (inputs[0], inputs[1], inputs[1], inputs[3])
        )


def positions_only_once(model):
    for layer in each(model, DETREncoderLayer)[1:]:
        layer.register_forward_pre_hook(lambda layer, inputs: (inputs[0], 0 * inputs[1], inputs[2]))


def queries_only_once(model):
    for layer in each(model, DETRDecoderLayer)[1:]:
        layer.register_forward_pre_hook(lambda layer, inputs: (inputs[0], 0 * inputs[1], *inputs[2:]))


def no_norm_behind_the_decoder(model):
    model.norm = nn.Identity()


class NormAlone(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x, position, visible=None):
        return self.norm(x)


def a_norm_behind_the_encoder(model):
    model.encoder.append(NormAlone(model.norm))


def batch_norm_without_its_constants(model):
    for norm in each(model, FrozenBatchNorm):
        norm.weight.fill_(1)
        norm.bias.zero_()


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


def boxes_without_sigmoid(model):
    model.predictions = MethodType(lambda self, objects: (self.classifier(objects), self.box(objects)), model)


@pytest.mark.parametrize(
    "mistake",
    [
        norm_first,
        positions_on_values_too,
        positions_only_once,
        queries_only_once,
        no_norm_behind_the_decoder,
        a_norm_behind_the_encoder,
        batch_norm_without_its_constants,
        eps_of_vit,
        boxes_without_sigmoid,
    ],
)
def test_catches(mistake):
    ours, theirs = made()
    assert_catches(mistake, ours, predictions(theirs), IMAGES)


def nothing_in_the_model(model):
    """The mistake is in the function that the test exchanges."""


def columns_before_rows(visible, dim, dtype, right=detr.sine_positions):
    return right(visible, dim, dtype).roll(dim // 2, dims=-1)


def counted_from_zero(visible, dim, dtype, right=detr.sine_positions):
    height, width = visible.shape[1:]
    wider = torch.ones(len(visible), height + 1, width + 1, dtype=torch.bool)
    return right(wider, dim, dtype).unflatten(1, (height + 1, width + 1))[:, :height, :width].flatten(1, 2)


@pytest.mark.parametrize("wrong", [columns_before_rows, counted_from_zero])
def test_catches_wrong_positions(wrong, monkeypatch):
    ours, theirs = made()
    monkeypatch.setattr(detr, "sine_positions", wrong)
    assert_catches(nothing_in_the_model, ours, predictions(theirs), IMAGES)


def problem(objects: tuple[int, ...] = (3, 0, 6)):
    """Predictions for 9 queries and true objects, some images with none."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(len(objects), 9, 6, generator=generator, dtype=torch.float64)
    boxes = torch.rand(len(objects), 9, 4, generator=generator, dtype=torch.float64) * 0.5 + 0.2
    targets = [
        (
            torch.randint(5, (n,), generator=generator),
            torch.rand(n, 4, generator=generator, dtype=torch.float64) * 0.5 + 0.2,
        )
        for n in objects
    ]
    return logits, boxes, targets


def transformers_loss(logits: Tensor, boxes: Tensor, targets) -> Tensor:
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    labels = [{"class_labels": classes, "boxes": true} for classes, true in targets]
    # Their weights of the classes are float32 in any case.
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return ForObjectDetectionLoss(logits, labels, "cpu", boxes, DetrConfig(num_labels=5))[0]
    finally:
        torch.set_default_dtype(default)


@proves(118)
@pytest.mark.parametrize("objects", [(3, 0, 6), (1,), (9, 9), (0, 0)])
def test_the_loss_and_its_gradients_are_those_of_transformers(objects):
    logits, boxes, targets = problem(objects)
    results = []
    for loss in (set_loss, transformers_loss):
        inputs = logits.clone().requires_grad_(), boxes.clone().requires_grad_()
        value = loss(*inputs, targets)
        results.append([value.detach(), *torch.autograd.grad(value, inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_matching_is_the_cheapest_of_all():
    from itertools import permutations

    from torchvision.ops import box_convert, generalized_box_iou

    logits, boxes, targets = problem((3,))
    (queries, objects), (classes, true) = match(logits, boxes, targets)[0], targets[0]
    covers = generalized_box_iou(box_convert(boxes[0], "cxcywh", "xyxy"), box_convert(true, "cxcywh", "xyxy"))
    cost = -logits[0].softmax(-1)[:, classes] + 5 * torch.cdist(boxes[0], true, p=1) - 2 * covers
    cheapest = min(permutations(range(9), 3), key=lambda chosen: sum(cost[q, i] for i, q in enumerate(chosen)))
    assert dict(zip(objects.tolist(), queries.tolist())) == dict(enumerate(cheapest))


def corners_for_centres(a, b, right=detr.generalized_iou):
    return right(a + 0.5 * torch.cat([a[..., 2:], 0 * a[..., 2:]], -1), b)


def plain_iou(a, b):
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both)


@pytest.mark.parametrize("wrong", [corners_for_centres, plain_iou])
def test_catches_another_overlap(wrong, monkeypatch):
    monkeypatch.setattr(detr, "generalized_iou", wrong)
    assert not torch.isclose(set_loss(*problem()), transformers_loss(*problem()), rtol=1e-4)


def test_catches_no_object_with_full_weight():
    assert not torch.isclose(set_loss(*problem(), no_object=1.0), transformers_loss(*problem()), rtol=1e-4)


def test_every_layer_s_objects_are_normed_and_the_last_are_predicted():
    ours = create_model("detr_r50", **SMALL["detr_r50"]).eval()
    objects = ours.objects(IMAGES)
    assert len(objects) == 2 and all(x.shape == (2, 7, 16) for x in objects)
    torch.testing.assert_close(ours.predictions(objects[-1]), ours(IMAGES))


def test_frozen_batch_norms_learn_nothing_and_do_not_change():
    model = create_model("detr_r50", **SMALL["detr_r50"]).train()
    before = {name: value.clone() for name, value in model.backbone.named_buffers()}
    assert before and not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model(IMAGES)
    assert all(torch.equal(before[name], value) for name, value in model.backbone.named_buffers())


def test_the_published_model_of_91_classes_has_these_parameters():
    with torch.device("meta"):
        assert count_parameters(create_model("detr_r50")) == 41_524_768


@proves(118)
def test_the_losses_of_all_layers_are_those_of_transformers():
    """Theirs is told what every layer found, and sums over them, each with its own matching."""
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    model = randomised(create_model("detr_shapes", **SMALL["detr_shapes"] | {"decoder_depth": 3}))
    images, targets = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)), problem((3, 0, 6))[2]
    targets = [(classes, true.float()) for classes, true in targets]
    logits, boxes = zip(*[model.predictions(found) for found in model.objects(images)])
    assert len({tuple(q.tolist()) for ours in zip(logits, boxes) for q, _ in match(*ours, targets)[2:]}) > 1
    config = DetrConfig(num_labels=5, decoder_layers=3, auxiliary_loss=True)
    labels = [{"class_labels": classes, "boxes": true} for classes, true in targets]
    theirs = ForObjectDetectionLoss(logits[-1], labels, "cpu", boxes[-1], config, logits, boxes)[0]
    torch.testing.assert_close(set_loss_of_all_layers(model, images, targets), theirs)
    assert not torch.isclose(set_loss(logits[-1], boxes[-1], targets), theirs, rtol=1e-2)


@proves(118)
def test_the_cost_and_the_matching_are_those_of_transformers():
    from scipy.optimize import linear_sum_assignment
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    logits, boxes, targets = problem((3, 0, 6))
    labels = [{"class_labels": classes, "boxes": true} for classes, true in targets]
    theirs = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)({"logits": logits, "pred_boxes": boxes}, labels)
    for own, other in zip(match(logits, boxes, targets), theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    alone = matching_cost(logits[2], boxes[2], *targets[2])
    assert alone.shape == (9, 6)
    assert torch.equal(torch.tensor(linear_sum_assignment(alone)[1]), theirs[2][1])


def test_generalised_iou_is_torchvisions():
    from torchvision.ops import box_convert, generalized_box_iou

    generator = torch.Generator().manual_seed(5)
    a, b = torch.rand(7, 4, generator=generator), torch.rand(9, 4, generator=generator)
    b[0], b[1, :2] = a[0], 5.0  # one that is the same, one far away
    expected = generalized_box_iou(*(box_convert(boxes, "cxcywh", "xyxy") for boxes in (a, b)))
    torch.testing.assert_close(generalized_iou(a[:, None], b), expected)
    assert expected[0, 0] == 1 and expected[0, 1] < -0.9


def test_without_matching_the_order_of_the_objects_counts_and_with_it_it_does_not():
    logits, boxes, targets = problem((3, 6))
    turned = [(classes.flip(0), true.flip(0)) for classes, true in targets]
    torch.testing.assert_close(set_loss(logits, boxes, targets), set_loss(logits, boxes, turned))
    plain, other = (set_loss(logits, boxes, some, pairs=in_order(some)) for some in (targets, turned))
    assert not torch.isclose(plain, other, rtol=1e-2)
    assert plain > set_loss(logits, boxes, targets)
    queries, objects = in_order(targets)[1]
    assert queries.tolist() == objects.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_trunk_that_starts_from_nothing_has_norms_that_learn():
    model = create_model("detr_shapes", **SMALL["detr_shapes"])
    assert not any(isinstance(module, FrozenBatchNorm) for module in model.modules())
    norms = each(model.backbone, nn.BatchNorm2d)
    before = norms[0].running_mean.clone()
    model.train()(torch.randn(2, 3, 64, 64))
    assert norms and not torch.equal(before, norms[0].running_mean)


def test_the_encoder_of_the_small_one_reads_8_times_8_places():
    model = create_model("detr_shapes")
    assert model.features(torch.zeros(1, 3, 64, 64))[-1].shape[2:] == (8, 8)


def test_detections_are_those_of_transformers():
    from types import SimpleNamespace

    from torchvision.ops import box_convert
    from transformers import DetrImageProcessor

    logits, boxes, _ = problem()
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = DetrImageProcessor().post_process_object_detection(outputs, threshold=0.0)
    for (score, classes, own), expected in zip(detections(logits, boxes), theirs, strict=True):
        assert torch.equal(score, expected["scores"]) and torch.equal(classes, expected["labels"])
        torch.testing.assert_close(box_convert(own, "cxcywh", "xyxy"), expected["boxes"])
