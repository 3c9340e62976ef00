"""The right answers of homework 9 are what transformers, torchvision, scikit-learn, torch and the course itself compute."""

import copy
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.checks import load_homework
from course.models import dino, masked_images
from course.models.dense import detr

ROOT = Path(__file__).resolve().parents[2]
P, C = 2, 3


@pytest.fixture(scope="module")
def right() -> dict:
    return load_homework(ROOT / "solutions/hw9_self_supervision").reference


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def with_gradients(loss, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The value of a loss, and its gradients with respect to these inputs; 0 where none flows."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    value = loss(*leaves)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return value.detach(), *[torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients)]


def assert_equal(ours, theirs, *inputs: torch.Tensor) -> None:
    """One loss, by two ways, with its gradients."""
    torch.testing.assert_close(with_gradients(ours, *inputs), with_gradients(theirs, *inputs))


def test_masking_is_that_of_transformers_and_unmask_its_inverse(right, generator):
    from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings

    tokens = torch.randn(5, 12, 4, generator=generator)
    kept, mask, places = right["random_masking"](tokens, 3, torch.Generator().manual_seed(7))
    noise = torch.rand(5, 12, generator=torch.Generator().manual_seed(7))
    embeddings = types.SimpleNamespace(config=types.SimpleNamespace(mask_ratio=0.75))
    theirs = ViTMAEEmbeddings.random_masking(embeddings, tokens, noise)
    torch.testing.assert_close((kept, mask, places), (theirs[0], theirs[1].bool(), theirs[2]))
    torch.testing.assert_close((kept, mask, places), masked_images.random_masking(tokens, 0.75, noise))

    filled = right["unmask"](kept, places, torch.full((4,), 9.0))
    assert (filled[mask] == 9).all() and torch.equal(filled[~mask], tokens[~mask])
    everything, _, places = right["random_masking"](tokens, 12, generator)
    assert torch.equal(right["unmask"](everything, places, torch.full((4,), 9.0)), tokens)


def test_the_loss_of_mae_is_that_of_transformers(right, generator):
    """Theirs is computed within the model: it is asked for what it makes of the patches, and for its loss."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, decoder_hidden_size=8)
    sizes |= dict(decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=8)
    theirs = ViTMAEForPreTraining(ViTMAEConfig(image_size=4 * P, patch_size=P, norm_pix_loss=True, **sizes)).eval()
    images = torch.randn(5, C, 4 * P, 4 * P, generator=generator)
    with torch.no_grad():
        found = theirs(images, noise=torch.rand(5, 16, generator=generator))
    mask = found.mask.bool()
    torch.testing.assert_close(right["mae_loss"](images, found.logits, mask, P, 1e-6), found.loss)

    mask[0] = torch.arange(16) < 3  # the images hide differently many
    assert_equal(
        lambda predicted: right["mae_loss"](images, predicted, mask, P, 1e-6),
        lambda predicted: masked_images.mae_loss(predicted, images, mask, P),
        found.logits,
    )


def test_the_loss_of_simmim_is_that_of_transformers(right, generator):
    """Theirs is computed within the model: it is asked for what it makes of the images, and for its loss."""
    from transformers import SwinConfig, SwinForMaskedImageModeling

    config = SwinConfig(image_size=32, patch_size=P, window_size=4, embed_dim=8, depths=(1,), num_heads=(2,))
    config.encoder_stride = P
    theirs = SwinForMaskedImageModeling(config).eval()
    images = torch.randn(3, C, 32, 32, generator=generator)
    mask = torch.rand(3, 16, 16, generator=generator) < 0.6
    with torch.no_grad():
        found = theirs(images, bool_masked_pos=mask.flatten(1))
    torch.testing.assert_close(right["simmim_loss"](images, found.reconstruction, mask, P), found.loss)

    large = masked_images.enlarged(mask, P)
    assert_equal(
        lambda predicted: right["simmim_loss"](images, predicted, mask, P),
        lambda predicted: masked_images.simmim_loss(predicted, images, large),
        found.reconstruction,
    )


def test_the_contrastive_loss_is_that_of_clip(right, generator):
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    a, b = 3 * torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    theirs = lambda a, b: image_text_contrastive_loss(F.normalize(a) @ F.normalize(b).T / 0.3)
    assert_equal(lambda a, b: right["info_nce"](a, b, 0.3), theirs, a, b)


def test_the_loss_of_dino_and_its_centre_are_those_of_the_course(right, generator):
    student, teacher = torch.randn(4, 5, 7, generator=generator), torch.randn(2, 5, 7, generator=generator)
    centre = torch.randn(7, generator=generator)
    ours, theirs = (
        with_gradients(lambda s, t, c, loss=loss: loss(s, t, c, 0.5, 0.3), student, teacher, centre)
        for loss in (right["dino_loss"], dino.dino_loss)
    )
    torch.testing.assert_close(ours, theirs)
    assert ours[1].any() and not ours[2].any() and not ours[3].any(), "the student learns, nothing else does"

    of_course = types.SimpleNamespace(centre=centre.clone(), centre_momentum=0.8)
    dino.DINO._move_centre(of_course, teacher.flatten(0, 1).mean(dim=0))
    torch.testing.assert_close(right["update_centre"](centre, teacher, 0.8), of_course.centre)


def test_the_teacher_follows_as_torchs_averaged_model_does(right):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    teacher, student = (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)) for _ in range(2))
    theirs = AveragedModel(copy.deepcopy(teacher), multi_avg_fn=get_ema_multi_avg_fn(0.8))
    theirs.update_parameters(teacher)  # the first time it copies
    before = copy.deepcopy(student.state_dict())
    for _ in range(3):
        apart = right["ema_teacher"](teacher, student, 0.8)
        theirs.update_parameters(student)
    vectors = [nn.utils.parameters_to_vector(each.parameters()).detach() for each in (teacher, theirs.module, student)]
    torch.testing.assert_close(vectors[0], vectors[1])
    assert apart == pytest.approx(float((vectors[0] - vectors[2]).norm()), rel=1e-5)
    torch.testing.assert_close(student.state_dict(), before)


def test_the_probe_is_ridge_regression_of_scikit_learn(right, generator):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, asked = (3 * torch.randn(n, 1, 2, 3, generator=generator) + 1 for n in (20, 7))
    labels, backbone = torch.arange(20) % 3, nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    before = copy.deepcopy(backbone.state_dict())
    found = right["linear_probe"](backbone, images, labels, asked, 4, 0.3)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=20 * 0.3))
    theirs.fit(backbone(images).detach().numpy(), F.one_hot(labels, 4).numpy())
    expected = torch.from_numpy(theirs.predict(backbone(asked).detach().numpy())).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone.state_dict(), before)


def corners(count: int, generator: torch.Generator) -> torch.Tensor:
    low = torch.rand(count, 2, generator=generator)
    return torch.cat([low, low + 0.1 + 0.4 * torch.rand(count, 2, generator=generator)], dim=1)


def test_the_generalised_iou_is_that_of_torchvision(right, generator):
    from torchvision.ops import generalized_box_iou

    a, b = corners(6, generator), corners(9, generator)
    b[0], b[1] = a[0], a[1] + 5  # the same box; one that lies apart
    for found in with_gradients(lambda a, b: (right["generalised_iou"](a, b) - generalized_box_iou(a, b)).sum(), a, b):
        torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-4)
    torch.testing.assert_close(right["generalised_iou"](a, b), generalized_box_iou(a, b))
    assert right["generalised_iou"](a, b)[0, 0] == 1 and right["generalised_iou"](a, b)[1, 1] < -0.5


@pytest.fixture
def scene(generator) -> tuple[torch.Tensor, ...]:
    """Scores (9, 6) and boxes (9, 4) of nine queries, labels (4,) and boxes (4, 4) of four objects; corners."""
    scores, labels = torch.randn(9, 6, generator=generator), torch.tensor([2, 0, 4, 2])
    return scores, corners(9, generator), labels, corners(4, generator)


def test_cost_and_matching_are_those_of_torchvision_and_detr(right, scene):
    """DETR's matcher takes distances of centres and sizes, the homework those of corners: without that term they agree."""
    from torchvision.ops import box_convert, generalized_box_iou
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    scores, boxes, labels, targets = scene
    expected = -scores.softmax(-1)[:, labels] + 5 * torch.cdist(boxes, targets, p=1)
    expected = expected - 2 * generalized_box_iou(boxes, targets)
    torch.testing.assert_close(right["match_cost"](*scene, 5.0, 2.0), expected)

    centred, true = (box_convert(x, "xyxy", "cxcywh") for x in (boxes, targets))
    matcher = HungarianMatcher(class_cost=1, bbox_cost=0, giou_cost=2)
    outputs = {"logits": scores[None], "pred_boxes": centred[None]}
    [(queries, objects)] = matcher(outputs, [{"class_labels": labels, "boxes": true}])
    found = right["match_boxes"](right["match_cost"](*scene, 0.0, 2.0))
    assert found.dtype == torch.int64 and dict(enumerate(found.tolist())) == dict(
        zip(objects.tolist(), queries.tolist())
    )
    [(queries, objects)] = detr.match(scores[None], centred[None], [(labels, true)], l1=0.0)
    assert torch.equal(found[objects], queries)


def test_the_loss_of_a_set_is_that_of_detr(right, scene):
    """Classes and overlap as DETR has them; the distance, which it takes of centres and sizes, by torch."""
    from torchvision.ops import box_convert, generalized_box_iou_loss
    from transformers.loss.loss_for_object_detection import ImageLoss

    scores, boxes, labels, targets = scene
    queries = right["match_boxes"](right["match_cost"](*scene, 5.0, 2.0))
    as_matched = lambda outputs, targets: [(queries, torch.arange(4))]
    criterion = ImageLoss(matcher=as_matched, num_classes=5, eos_coef=0.2, losses=["labels", "boxes"])

    def theirs(scores, boxes):
        centred, true = (box_convert(x, "xyxy", "cxcywh") for x in (boxes, targets))
        outputs = {"logits": scores[None], "pred_boxes": centred[None]}
        losses = criterion(outputs, [{"class_labels": labels, "boxes": true}])
        distance = F.l1_loss(boxes[queries], targets, reduction="sum") / 4
        return losses["loss_ce"] + 5 * distance + 2 * losses["loss_giou"]

    ours = lambda scores, boxes: right["set_loss"](scores, boxes, labels, targets, queries, 0.2, 5.0, 2.0)
    assert_equal(ours, theirs, scores, boxes)
    boxes_alone = right["set_loss"](*scene, queries, 0.2, 0.0, 2.0) - right["set_loss"](*scene, queries, 0.2, 0.0, 0.0)
    overlap = generalized_box_iou_loss(boxes[queries], targets, reduction="mean", eps=0.0)
    torch.testing.assert_close(boxes_alone, 2 * overlap)

    # The course's own, whose boxes are centres and sizes: classes and overlap.
    centred, true = (box_convert(x, "xyxy", "cxcywh") for x in (boxes, targets))
    pairs = [(queries, torch.arange(4))]
    of_course = detr.set_loss(scores[None], centred[None], [(labels, true)], 0.0, 2.0, 0.2, pairs)
    torch.testing.assert_close(right["set_loss"](*scene, queries, 0.2, 0.0, 2.0), of_course)
