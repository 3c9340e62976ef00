import dataclasses

import pytest

from course.training import Recipe, recipes
from tests.models.parity import proves


def test_named_recipes():
    assert recipes.get("cpu_minute") is recipes.cpu_minute and recipes.get("gpu") is recipes.gpu
    with pytest.raises(ValueError, match="cpu_minit.*did you mean 'cpu_minute'.*gpu"):
        recipes.get("cpu_minit")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.gpu.lr = 1.0


def test_but_changes_a_copy():
    shorter = recipes.cpu_minute.but(steps=7, lr=0.5)
    assert (shorter.steps, shorter.lr) == (7, 0.5) and recipes.cpu_minute.steps != 7
    assert shorter.but(epochs=2).steps is None and recipes.gpu.but(steps=9).epochs is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rat": 1.0}, "no field 'learning_rat'"),
        ({"warmpu": 0.1}, "did you mean 'warmup'"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"augment": ("flip",)}, "random_flip"),
        ({"steps": 3, "epochs": 3}, "steps= or as epochs="),
        ({"steps": None}, "steps= or as epochs="),
        ({"steps": 0}, "at least 1"),
        ({"steps": 2.5}, "whole numbers"),
        ({"batch_size": 0}, "whole numbers"),
        ({"warmup": 1.0}, "warmup"),
        ({"lr": 0.0}, "lr"),
        ({"seed": -1}, "seed"),
        ({"loss": "mse"}, "no loss 'mse'"),
        ({"distill": "medium"}, "no distillation"),
        ({"random_erasing": 1.5}, "random_erasing is a share"),
        ({"mixup": -0.1}, "mixup is 0 or more"),
        ({"sam": 0.0}, "sam is above 0"),
        ({"repeated_augment": 0}, "repeated_augment"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        recipes.cpu_minute.but(**changes)


def test_length_in_steps_and_epochs():
    assert Recipe(steps=9).total_steps(100) == 9
    assert Recipe(epochs=3).total_steps(100) == 300


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.1),
        ("constant", 9, 1.0),
        ("constant", 99, 1.0),
        ("flat_then_linear", 4, 0.5),
        ("flat_then_linear", 20, 1.0),
        ("flat_then_linear", 65, 0.5),
        ("flat_then_linear", 93, 0.1),
        ("linear", 4, 0.5),
        ("linear", 10, 1.0),
        ("linear", 55, 0.5),
        ("linear", 99, 1 / 90),
        ("cosine", 0, 0.1),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 99, 0.0003),
    ],
)
def test_schedules_at_hand_computed_points(schedule, step, expected):
    recipe = Recipe(steps=100, lr=2.0, warmup=0.1, schedule=schedule)
    assert recipe.learning_rate(step, 100) == pytest.approx(2 * expected, abs=2e-4)


def test_no_warmup_starts_at_the_full_rate():
    assert Recipe(steps=10, lr=1.0, warmup=0.0, schedule="cosine").learning_rate(0, 10) == 1.0


# The tables of the papers, as the lectures show them. Field by field: what is off is said to be off.
OFF = {
    "label_smoothing": 0.0,
    "dropout": None,
    "drop_path": None,
    "repeated_augment": 1,
    "rand_augment": None,
    "mixup": 0.0,
    "cutmix": 0.0,
    "random_erasing": 0.0,
    "grad_clip": None,
    "color_jitter": 0.0,
    "ema": None,
    "layer_decay": None,
    "layer_scale": None,
    "loss": "ce",
    "sam": None,
    "distill": None,
    "mix_until": 1.0,
    "crop_area": (0.08, 1.0),
    "views": 1,
    "local_views": None,
}
RRC = ("random_resized_crop", "random_flip")
TABLES = {
    # Touvron et al. 2021, table 9: ViT-B's column and DeiT-B's.
    "vit": dict(
        epochs=300,
        batch_size=4096,
        optimizer="adamw",
        lr=0.003,
        schedule="cosine",
        weight_decay=0.3,
        warmup_epochs=3.4,
        dropout=0.1,
        grad_clip=1.0,
        augment=RRC,
        test_crop=0.875,
    ),
    "deit": dict(
        epochs=300,
        batch_size=1024,
        optimizer="adamw",
        lr=0.0005 * 1024 / 512,
        schedule="cosine",
        weight_decay=0.05,
        warmup_epochs=5,
        label_smoothing=0.1,
        drop_path=0.1,
        repeated_augment=3,
        rand_augment=(9, 0.5),
        mixup=0.8,
        cutmix=1.0,
        random_erasing=0.25,
        augment=RRC,
        test_crop=0.875,
    ),
    # Touvron et al. 2022, table 1: ImageNet-1k, ImageNet-21k, fine-tuning. (Lengths: the authors' commands.)
    "deit3": dict(
        epochs=800,
        batch_size=2048,
        optimizer="lamb",
        lr=3e-3,
        schedule="cosine",
        weight_decay=0.02,
        warmup_epochs=5,
        drop_path=0.05,
        repeated_augment=3,
        grad_clip=1.0,
        layer_scale=1e-6,
        mixup=0.8,
        cutmix=1.0,
        color_jitter=0.3,
        test_crop=1.0,
        loss="bce",
        augment=(*RRC, "three_augment"),
    ),
    "deit3_21k": dict(
        epochs=240,
        batch_size=2048,
        optimizer="lamb",
        lr=3e-3,
        schedule="cosine",
        weight_decay=0.02,
        warmup_epochs=5,
        label_smoothing=0.1,
        drop_path=0.05,
        grad_clip=1.0,
        layer_scale=1e-6,
        cutmix=1.0,
        color_jitter=0.3,
        test_crop=1.0,
        augment=("random_flip", "three_augment"),
    ),
    "deit3_21k_finetune": dict(
        epochs=50,
        batch_size=2048,
        optimizer="lamb",
        lr=3e-4,
        schedule="cosine",
        weight_decay=0.02,
        warmup_epochs=5,
        label_smoothing=0.1,
        drop_path=0.05,
        grad_clip=1.0,
        layer_scale=1e-6,
        cutmix=1.0,
        color_jitter=0.3,
        test_crop=1.0,
        augment=("random_flip", "three_augment"),
    ),
    # Liu et al. 2022, tables 5 and 6.
    "convnext": dict(
        epochs=300,
        batch_size=4096,
        optimizer="adamw",
        lr=4e-3,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=20,
        rand_augment=(9, 0.5),
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        drop_path=0.1,
        layer_scale=1e-6,
        ema=0.9999,
        random_erasing=0.25,
        augment=RRC,
    ),
    "convnext_22k": dict(
        epochs=90,
        batch_size=4096,
        optimizer="adamw",
        lr=4e-3,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=5,
        rand_augment=(9, 0.5),
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        drop_path=0.1,
        layer_scale=1e-6,
        random_erasing=0.25,
        augment=RRC,
    ),
    "convnext_finetune": dict(
        epochs=30,
        batch_size=512,
        optimizer="adamw",
        lr=5e-5,
        betas=(0.9, 0.999),
        weight_decay=1e-8,
        schedule="cosine",
        layer_decay=0.7,
        warmup_epochs=0,
        rand_augment=(9, 0.5),
        label_smoothing=0.1,
        drop_path=0.8,
        random_erasing=0.25,
        augment=RRC,
    ),
    "convnext_22k_finetune": dict(
        epochs=30,
        batch_size=512,
        optimizer="adamw",
        lr=5e-5,
        betas=(0.9, 0.999),
        weight_decay=1e-8,
        schedule="cosine",
        layer_decay=0.8,
        warmup_epochs=0,
        rand_augment=(9, 0.5),
        label_smoothing=0.1,
        drop_path=0.2,
        random_erasing=0.25,
        augment=RRC,
    ),
    # Dosovitskiy et al. 2021, section 4.1 and table 3: pre-training on JFT, fine-tuning.
    "vit_jft": dict(
        epochs=7,
        batch_size=4096,
        optimizer="adamw",
        lr=8e-4,
        betas=(0.9, 0.999),
        weight_decay=0.1,
        schedule="linear",
        dropout=0.0,
        augment=RRC,
    ),
    "vit_finetune": dict(
        steps=20_000,
        batch_size=512,
        optimizer="sgd",
        lr=0.03,
        weight_decay=0.0,
        grad_clip=1.0,
        schedule="cosine",
        warmup_epochs=0,
        augment=RRC,
    ),
    # Liu et al. 2021, section 4.1 and appendix A2.1.
    "swin": dict(
        epochs=300,
        batch_size=1024,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=20,
        grad_clip=1.0,
        label_smoothing=0.1,
        drop_path=0.2,
        rand_augment=(9, 0.5),
        color_jitter=0.4,
        mixup=0.8,
        cutmix=1.0,
        random_erasing=0.25,
        repeated_augment=1,
        augment=RRC,
    ),
    # He et al. 2022, table 8; the authors' code for the crop.
    "mae": dict(
        epochs=800,
        batch_size=4096,
        optimizer="adamw",
        lr=1.5e-4 * 16,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=40,
        augment=RRC,
        crop_area=(0.2, 1.0),
    ),
    # Xie et al. 2022, section 4.1.1.
    "simmim": dict(
        epochs=100,
        batch_size=2048,
        optimizer="adamw",
        lr=8e-4,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=10,
        augment=RRC,
        crop_area=(0.67, 1.0),
    ),
    # Caron et al. 2021, section 3.2; the authors' code for the crops.
    "dino": dict(
        epochs=100,
        batch_size=1024,
        optimizer="adamw",
        lr=5e-4 * 4,
        weight_decay=0.04,
        schedule="cosine",
        warmup_epochs=10,
        augment=(*RRC, "three_augment"),
        color_jitter=0.4,
        crop_area=(0.4, 1.0),
        views=2,
        local_views=(8, 96),
    ),
}


@proves(91, 92, 107, 148, 149, 150, 167)
@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_is_its_table(name):
    recipe, table = recipes.get(name), dict(TABLES[name])
    if "warmup_epochs" in table:
        assert recipe.warmup * (recipe.epochs or 1) == pytest.approx(table.pop("warmup_epochs"))
    expected = OFF | table
    assert {field: getattr(recipe, field) for field in expected} == expected


@proves(91)
def test_what_deit_adds_to_vit():
    changed = {
        f.name for f in dataclasses.fields(Recipe) if getattr(recipes.vit, f.name) != getattr(recipes.deit, f.name)
    }
    assert changed == {
        "batch_size",
        "lr",
        "weight_decay",
        "warmup",
        "label_smoothing",
        "dropout",
        "drop_path",
        "repeated_augment",
        "grad_clip",
        "rand_augment",
        "mixup",
        "cutmix",
        "random_erasing",
    }


def test_another_batch_size():
    smaller = recipes.deit.at_batch_size(128)
    assert (smaller.batch_size, smaller.lr, smaller.epochs) == (128, pytest.approx(1e-3 / 8), 300)
    assert recipes.deit3.at_batch_size(512).lr == pytest.approx(3e-3 / 2)
    assert Recipe(steps=100, batch_size=64).at_batch_size(32).steps == 200
