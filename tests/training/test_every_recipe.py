"""Every named recipe trains a network of the course; and what a recipe asks for happens."""

import copy

import pytest
import torch
from torch import nn

from course.data import load
from course.data.normalise import Normalise
from course.models import create_model
from course.models.dino import DINO
from course.models.masked_images import MAE, SimMIM
from course.training import Recipe, TrainingError, evaluate, fit, recipes
from course.training.batches import Batches
from course.training.parallel import Processes
from course.training.regularise import set_drop_path

SMALL = dict(num_classes=10, img_size=8, in_chans=1)


def small_vit(name: str = "vit_cifar", **overrides) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **SMALL | dict(depth=2, embed_dim=24, num_heads=2) | overrides)


WITHOUT_LABELS = {
    "mae": lambda encoder: MAE(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2),
    "simmim": lambda encoder: SimMIM(encoder, mask_size=4),
    "dino": lambda encoder: DINO(encoder, prototypes=16, hidden=24, bottleneck=8),
}


def small_convnext() -> nn.Module:
    torch.manual_seed(0)
    return create_model("convnext_cifar", **SMALL, dims=(8, 16), depths=(1, 1))


@pytest.fixture(scope="module")
def digits():
    return load("digits", device="cpu").subset(128)


@pytest.mark.parametrize("name", recipes.NAMED)
def test_every_recipe_for_a_few_steps(digits, name):
    model = small_convnext() if "convnext" in name else small_vit()
    labelled = {"val": digits, "val_points": 1}
    if name in WITHOUT_LABELS:
        model, labelled = WITHOUT_LABELS[name](small_vit(num_classes=0)), {}
    teacher = fit_teacher(digits) if recipes.get(name).distill else None
    before = copy.deepcopy(model.state_dict())
    recipe = recipes.get(name).at_batch_size(32).but(steps=3, warmup=0.3)
    recipe = recipe.but(local_views=(2, 4)) if recipe.local_views else recipe
    history = fit(model, digits, recipe, teacher=teacher, **labelled)
    assert len(history.loss) == 3 and all(0 < loss < 10 for loss in history.loss)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(changed) > 0.9 * len(before), "all weights learn"


def fit_teacher(digits) -> nn.Module:
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    fit(teacher, digits, Recipe(steps=60, batch_size=32, lr=1e-2))
    return teacher


def test_a_student_of_a_teacher_agrees_with_it_more(digits):
    """Labels that say nothing, and a teacher that knows: what is learned then comes from the teacher."""
    teacher = fit_teacher(digits)
    noise = torch.randint(0, 10, (len(digits),), generator=torch.Generator().manual_seed(0))
    recipe = Recipe(steps=60, batch_size=32, lr=1e-2, distill="soft", distill_weight=1.0, distill_temperature=2.0)
    torch.manual_seed(2)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    fit(student, (digits.images, noise), recipe, teacher=teacher)
    assert evaluate(student, digits) > 0.85
    assert teacher.training is False and all(p.requires_grad for p in teacher.parameters())


def test_each_head_of_a_distilled_network_has_its_own_teacher(digits):
    """The label says 3 to all, the teacher says what it sees: the two heads come apart."""
    teacher, three = fit_teacher(digits), torch.full((len(digits),), 3)
    model = small_vit("deit_s_distilled", patch_size=4)
    recipe = Recipe(steps=60, batch_size=32, lr=5e-3, distill="hard")
    fit(model, (digits.images, three), recipe, teacher=teacher)
    seen: list[tuple] = []
    hook = model.head.register_forward_pre_hook(lambda head, inputs: seen.append(head.both(*inputs)))
    model(model.normalise_images(digits.images))
    hook.remove()
    own, distilled = (logits.argmax(1) for logits in seen[0])
    assert (own == 3).all() and (distilled == digits.labels).float().mean() > 0.6
    model.train()
    assert isinstance(model(model.normalise_images(digits.images)), torch.Tensor), "apart only while it is taught"


def test_a_teacher_sees_the_pixels_in_its_own_way(digits):
    """The teacher was trained on darker images, with another normalisation, and must still be right."""
    teacher = fit_teacher(digits)
    brighter = (digits.images.float() * 2 + 40, digits.labels)
    seen = []
    hook = teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    recipe = Recipe(steps=1, batch_size=64, distill="hard")
    fit(small_vit(), brighter, recipe, teacher=teacher)
    hook.remove()
    student = Batches(*brighter, Normalise.of(brighter[0]), recipe, Processes())(0).images
    expected = teacher.normalise_images(Normalise.of(brighter[0]).undo(student))
    torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize(
    ("changes", "teacher", "words"),
    [
        ({"distill": "soft"}, None, "no teacher="),
        ({}, nn.Linear(2, 2), "no a recipe with distill|but no"),
        ({"optimizer": "muon"}, None, "Muon is for"),
        ({"layer_decay": 0.7}, None, "layer_decay needs"),
        ({"drop_path": 0.1}, None, "stochastic depth|drop"),
    ],
)
def test_what_a_recipe_asks_and_cannot_have(digits, changes, teacher, words):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match=words):
        fit(model, digits, Recipe(steps=1).but(**changes), teacher=teacher)


def test_stochastic_depth_comes_from_the_recipe(digits):
    model = small_vit()
    fit(model, digits, Recipe(steps=1, drop_path=0.4))
    rates = [block.channel_mixer.drop_path for block in model.stages[0].blocks]
    assert rates == pytest.approx([0.0, 0.4])
    set_drop_path(model, 0.0)


def test_repeated_augmentation(digits):
    recipe = Recipe(steps=2, batch_size=30, augment=("random_crop",), repeated_augment=3)
    numbered = (digits.images, torch.arange(len(digits)))
    batch = Batches(*numbered, lambda images: images.float(), recipe, Processes())(0)
    values, counts = batch.labels.unique(return_counts=True)
    assert len(values) == 10 and (counts == 3).all()
    same = batch.images[batch.labels == values[0]]
    assert not torch.equal(same[0], same[1]) or not torch.equal(same[1], same[2])
    assert (batch.labels[0::2] != batch.labels[1::2]).all(), "neighbours are mixed, so they are different images"


def test_mixing_stops_when_the_recipe_says(digits):
    recipe = Recipe(steps=10, batch_size=16, mixup=0.8, mix_until=0.6)
    batches = Batches(*digits, lambda images: images.float(), recipe, Processes())
    assert [batches(step).share is not None for step in range(10)] == [True] * 6 + [False] * 4


def test_the_running_mean_is_what_is_kept_and_evaluated(digits):
    recipe = Recipe(steps=12, batch_size=32, lr=5e-3)
    plain, averaged = small_vit(), small_vit()
    fit(plain, digits, recipe)
    history = fit(averaged, digits, recipe.but(ema=0.9), val=digits)
    assert not torch.equal(plain.head.fc.weight, averaged.head.fc.weight)
    assert history.final_accuracy == evaluate(averaged, digits)


def test_the_centre_is_looked_at(digits):
    """Only the frame of the images tells the classes apart: a recipe that looks at the centre cannot see it."""
    images = torch.zeros(64, 1, 16, 16)
    labels = torch.arange(64) % 2
    images[labels == 1, :, 0, :] = 200
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    sees = fit(model, (images, labels), Recipe(steps=30, lr=1e-2), val=(images, labels)).final_accuracy
    blind = fit(model, (images, labels), Recipe(steps=30, lr=1e-2, test_crop=0.5), val=(images, labels)).final_accuracy
    assert sees == 1.0 and blind == 0.5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: model[1].register_forward_hook(lambda m, i, output: output / 0), r"what 1 \(Linear\) makes of"),
        (
            lambda model: model[3].register_forward_hook(lambda m, i, output: output * float("nan")),
            r"what 3 \(Linear\)",
        ),
    ],
)
def test_what_is_not_finite_first_is_named(digits, tmp_path, spoil, words):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    path = tmp_path / "run.safetensors"
    fit(model, digits, Recipe(steps=4), checkpoint=path)
    spoil(model)
    before = copy.deepcopy(model.state_dict())
    path.rename(tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match=words) as error:
        fit(model, digits, Recipe(steps=4), checkpoint=tmp_path / "new.safetensors")
    assert "at step 1," in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "nothing was updated"


def test_images_that_are_not_finite_are_named(digits):
    images = digits.images.float()
    images[:, :, 0, 0] = 1.0
    batch = images.clone()
    batch[5, 0, 3, 3] = float("nan")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(TrainingError, match="images themselves"):
        fit(model, (batch, digits.labels), Recipe(steps=3, batch_size=128))


def test_a_gradient_that_is_not_finite_is_named(digits, tmp_path):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            return self.fc(x.flatten(1)) + self.weight.abs().sqrt()  # finite at 0; its slope there is not

    path = tmp_path / "run.safetensors"
    with pytest.raises(TrainingError, match="gradient with respect to weight"):
        fit(Root(), digits, Recipe(steps=3), checkpoint=path)


@pytest.mark.long
def test_compiled_augmentation_is_the_same(digits):
    recipe = recipes.deit.at_batch_size(32).but(steps=2)
    batches = [Batches(*digits, Normalise.of(digits.images), recipe, Processes()) for _ in range(2)]
    batches[1].compile()
    for step in range(2):
        plain, compiled = (one(step).images for one in batches)
        differs = (plain - compiled).abs().amax((1, 2, 3)) > 1e-3
        assert differs.float().mean() <= 0.1, "but for a pixel that rounding moves by one grey level"
