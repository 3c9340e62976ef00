"""Named recipes, as data: those of the papers, and those of a budget. ``recipes.cpu_minute.but(steps=100)``.

The papers' recipes are for ImageNet, hundreds of epochs and hundreds of cores; what they say is copied field by field
from their tables (tests/training/test_recipes.py holds the tables), so that a lecture can train by
``recipes.deit.but(epochs=3).at_batch_size(128)`` and say that it is DeiT's. Where a table does not say something, it is
off. Where two sources disagree, the comment says so.
"""

from course.names import one_of
from course.training.recipe import Recipe

cpu_minute = Recipe(steps=200, batch_size=64, lr=3e-3)
"""Half a minute on two cores for a network of width 64 on 32×32 images, mostly less. No augmentation: most
offline sets ask questions whose answer a flip would change."""

gpu = Recipe(
    epochs=50,
    batch_size=1024,
    lr=1e-3,
    warmup=0.05,
    label_smoothing=0.1,
    augment=("random_crop", "random_flip"),
)
"""For CIFAR on one GPU. Batch size, learning rate and clipping are those of Beyer, Zhai and Kolesnikov,
"Better plain ViT baselines for ImageNet-1k" (2022); crop and flip are usual on CIFAR. A starting point."""

photographs = Recipe(
    epochs=4,
    batch_size=64,
    optimizer="muon",
    lr=2e-3,
    muon_lr=0.02,
    weight_decay=0.05,
    warmup=0.05,
    schedule="flat_then_linear",
    label_smoothing=0.1,
    augment=("random_crop", "random_flip"),
)
"""For small networks on CIFAR's 50,000 photographs in some ten minutes of one or two CPU cores;
``course bench photographs`` makes the course's stored runs by it. Its schedule is that of the GPU board. Not tuned."""

_IMAGENET = Recipe(
    epochs=300,
    schedule="cosine",
    betas=(0.9, 0.999),
    grad_clip=None,
    augment=("random_resized_crop", "random_flip"),
)

vit = _IMAGENET.but(
    batch_size=4096,
    lr=3e-3,
    weight_decay=0.3,
    warmup=3.4 / 300,
    dropout=0.1,
    grad_clip=1.0,
    test_crop=0.875,
)
"""ViT on ImageNet (Dosovitskiy et al. 2021, arXiv:2010.11929, table 3, as the DeiT paper's table 9 repeats it).
The DeiT III paper's table prints weight decay 0.1 and label smoothing 0.1 for it instead. Warm-up: 10,000 steps of
4096 images would be 32 epochs; both tables print 3.4 epochs, and so do we."""

vit_jft = vit.but(
    epochs=7,
    lr=8e-4,
    weight_decay=0.1,
    warmup=10_000 / (7 * 303e6 / 4096),
    schedule="linear",
    dropout=0.0,
    grad_clip=None,
)
"""ViT-B's pre-training on the 303 million images of JFT: Adam, batch 4096, weight decay 0.1, linear warm-up of 10,000
steps, linear decay (section 4.1 and table 3). Larger ones: 6e-4 to 3e-4, up to 14 epochs."""

vit_finetune = _IMAGENET.but(
    steps=20_000,
    batch_size=512,
    optimizer="sgd",
    lr=0.03,
    weight_decay=0.0,
    warmup=0.0,
    grad_clip=1.0,
)
"""Its fine-tuning: SGD with momentum 0.9, cosine, no weight decay, norm clipped at 1 (section 4.1 and table 4, of whose
learning rates for ImageNet 0.03 is one), at a higher resolution (`course.models.at_resolution`)."""

deit = _IMAGENET.but(
    batch_size=1024,
    lr=5e-4 * 1024 / 512,
    weight_decay=0.05,
    warmup=5 / 300,
    label_smoothing=0.1,
    drop_path=0.1,
    repeated_augment=3,
    rand_augment=(9, 0.5),
    mixup=0.8,
    cutmix=1.0,
    random_erasing=0.25,
    test_crop=0.875,
)
"""DeiT (Touvron et al. 2021, arXiv:2012.12877, table 9)."""

deit_distilled = deit.but(distill="hard", distill_weight=0.5)
"""With the distillation token, hard decisions of the teacher, half of the loss (equation 3)."""

deit3 = _IMAGENET.but(
    epochs=800,
    batch_size=2048,
    optimizer="lamb",
    lr=3e-3,
    weight_decay=0.02,
    warmup=5 / 800,
    loss="bce",
    grad_clip=1.0,
    augment=("random_resized_crop", "random_flip", "three_augment"),
    color_jitter=0.3,
    mixup=0.8,
    cutmix=1.0,
    repeated_augment=3,
    drop_path=0.05,
    layer_scale=1e-6,
)
"""DeiT III on ImageNet-1k (Touvron et al. 2022, arXiv:2204.07118, table 1, "ours"). The table says nothing of how long
and how much stochastic depth: 800 epochs and, for the small model, 0.05 in the authors' published commands, which have
a learning rate of 4e-3 and a weight decay of 0.05 where the table has 3e-3 and 0.02."""

deit3_21k = deit3.but(
    epochs=240,
    warmup=5 / 240,
    loss="ce",
    label_smoothing=0.1,
    repeated_augment=1,
    mixup=0.0,
    augment=("random_flip", "three_augment"),
)
"""DeiT III on ImageNet-21k. No random resized crop: a simple one instead. The authors' commands: 240 epochs at 1e-3."""

deit3_21k_finetune = deit3_21k.but(epochs=50, warmup=5 / 50, lr=3e-4)
"""Fine-tuned from there on ImageNet-1k."""

swin = _IMAGENET.but(
    batch_size=1024,
    lr=1e-3,
    weight_decay=0.05,
    warmup=20 / 300,
    label_smoothing=0.1,
    drop_path=0.2,
    grad_clip=1.0,
    rand_augment=(9, 0.5),
    color_jitter=0.4,
    mixup=0.8,
    cutmix=1.0,
    random_erasing=0.25,
    test_crop=0.875,
)
"""Swin-T (Liu et al. 2021, arXiv:2103.14030, section 4.1 and appendix A2.1; the strengths of augmentation are those of the
authors' configuration, which clips at 5 where the paper says 1). Small: drop_path 0.3, base: 0.5."""

convnext = _IMAGENET.but(
    batch_size=4096,
    lr=4e-3,
    weight_decay=0.05,
    warmup=20 / 300,
    label_smoothing=0.1,
    drop_path=0.1,
    layer_scale=1e-6,
    rand_augment=(9, 0.5),
    mixup=0.8,
    cutmix=1.0,
    random_erasing=0.25,
    ema=0.9999,
    test_crop=0.875,
)
"""ConvNeXt-T on ImageNet-1k (Liu et al. 2022, arXiv:2201.03545, table 5). Small, base, large: drop_path 0.4, 0.5, 0.5."""

convnext_22k = convnext.but(epochs=90, warmup=5 / 90, drop_path=0.1, ema=None)
"""ConvNeXt-B on ImageNet-22k (table 5). Large, extra large: drop_path 0.1, 0.2."""

convnext_finetune = convnext.but(
    epochs=30,
    batch_size=512,
    lr=5e-5,
    weight_decay=1e-8,
    warmup=0.0,
    layer_decay=0.7,
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.8,
    layer_scale=None,
    ema=None,
    test_crop=1.0,
)
"""ConvNeXt-B from ImageNet-1k at 224 to 384 pixels (table 6). Large: drop_path 0.95."""

convnext_22k_finetune = convnext_finetune.but(layer_decay=0.8, drop_path=0.2)
"""ConvNeXt-B from ImageNet-22k to 1k, at 224 or 384 pixels (table 6). Large: 0.3; extra large: 0.4 and ema=0.9999."""

sam = vit.but(sam=0.05, dropout=0.0)
"""ViT by sharpness-aware minimisation: crop and flip and nothing else (Chen, Hsieh and Gong 2022, arXiv:2106.01548,
section 4). rho is the default of Foret et al. 2021 (arXiv:2010.01412); Chen et al. choose it for each model."""

mae = _IMAGENET.but(
    epochs=800,
    batch_size=4096,
    lr=1.5e-4 * 4096 / 256,
    weight_decay=0.05,
    betas=(0.9, 0.95),
    warmup=40 / 800,
    crop_area=(0.2, 1.0),
)
"""MAE's pre-training (He et al. 2022, arXiv:2111.06377, table 8; the area of crops is that of the authors' code)."""

simmim = _IMAGENET.but(
    epochs=100,
    batch_size=2048,
    lr=8e-4,
    weight_decay=0.05,
    warmup=10 / 100,
    crop_area=(0.67, 1.0),
)
"""SimMIM's pre-training in its ablations (Xie et al. 2022, arXiv:2111.09886, section 4.1.1)."""

dino = _IMAGENET.but(
    epochs=100,
    batch_size=1024,
    lr=5e-4 * 1024 / 256,
    weight_decay=0.04,
    warmup=10 / 100,
    augment=("random_resized_crop", "random_flip", "three_augment"),
    color_jitter=0.4,
    crop_area=(0.4, 1.0),
    views=2,
    local_views=(8, 96),
)
"""DINO (Caron et al. 2021, arXiv:2104.14294, section 3.2). Weight decay grows to 0.4 there. Blur and solarization stand in
for BYOL's by those of DeiT III; the numbers of the crops are those of the authors' code. A batch is of as many images, each
in ten views: for images of 32 pixels say ``recipes.dino.but(local_views=(4, 16)).at_batch_size(64)``."""

NAMED = {name: value for name, value in list(globals().items()) if isinstance(value, Recipe) and name[0] != "_"}


def get(name: str) -> Recipe:
    """A recipe by name, for the command line.

    Raises:
        ValueError: no such recipe; names the nearest.
    """
    return NAMED[one_of(name, NAMED, "there is no recipe")]
