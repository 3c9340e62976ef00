# %% [markdown]
# # 7 · Training with less data
#
# x

# %% tags=["setup"]
from copy import deepcopy
import torch
import torch.nn.functional as F
from torch import nn
from course import budget, plots, setup
from course.analysis import condition_number, direction, largest_eigenvalue, loss_surface, tangent_kernel
from course.data import load
from course.figures import less_data as figures
from course.models import create_model
from course.models.heads import DistilledHead, MeanHead
from course.models.spec import part
from course.models.stems import Tokens, sinusoidal_2d
from course.seeds import over_seeds
from course.training import evaluate, fit, recipes
setup(seed=0)

# %%
pool = load("two_questions", "train", size=budget(tiny=100, cpu=4000), device="cpu")
few = pool.subset(budget(tiny=60, cpu=300))  # what we are allowed to train on
test = load("two_questions", "test", size=budget(tiny=50, cpu=500), device="cpu")

def small_vit(sines=True, **parts):
    """Two blocks of width 48; the positions are learned and start as sines, or at random."""
    vit = create_model("vit_cifar", num_classes=10, embed_dim=48, depth=2, num_heads=4,
                       mlp_ratio=2, **parts)
    if sines:
        vit.stages[0].entry.position.data[-64:] = sinusoidal_2d((8, 8), 48)  # (N, D)
    return vit

def small_cnn():
    layers, before = [], 3
    for width, stride in ((24, 2), (32, 1), (48, 2), (64, 1), (64, 1)):  # sees 27 × 27 pixels
        conv = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    return nn.Sequential(*layers, *head)  # (B, 10)

# %%
NETWORKS = {"ViT": (small_vit, 4e-3), "CNN": (small_cnn, 3e-3)}  # and its learning rate
PLAIN = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=200), batch_size=32)

def trained(name, data, seed, make=None, teacher=None, **changes):
    """A new network after 200 steps; `changes` is what the recipe says otherwise."""
    default, lr = NETWORKS[name]
    torch.manual_seed(seed)
    network = (make or default)()
    recipe = PLAIN.but(lr=lr, seed=seed).but(**changes)
    fit(network, data, recipe, teacher=teacher, plot=False, progress=False)
    return network

# %%
def flipped(seed):
    """without and with flips -> question -> accuracy of a ViT"""
    found = {"without flips": {}, "with flips": {}}
    for question in ("texture", "relation"):
        for name, augment in (("without flips", ()), ("with flips", ("random_flip",))):
            vit = trained("ViT", few.ask(question), seed, augment=augment)
            found[name][question] = evaluate(vit, test.ask(question))
    return found

over_seeds("07_training_with_less_data/flips", flipped, live=False)

# %%
LADDER = {
    "nothing": {},
    "+ crop": {"augment": ("random_crop",)},
    "+ label smoothing": {"label_smoothing": 0.1},
    "+ erasing": {"random_erasing": 0.25},
    "+ mixup, CutMix": {"mixup": 0.8, "cutmix": 1.0},
    "+ RandAugment": {"rand_augment": (9, 0.5)},
}

def climbed(seed):
    """rung -> network -> accuracy on relation; every rung keeps what is below it"""
    found, recipe = {}, {}
    for rung, change in LADDER.items():
        recipe |= change
        found[rung] = {name: evaluate(trained(name, few, seed, **recipe), test)
                       for name in NETWORKS}
    return found

over_seeds("07_training_with_less_data/ladder", climbed, live=False)

# %%
FLIPS = {"augment": ("random_crop", "random_flip")}  # every second label becomes wrong

def two_answers():
    return small_vit(tokens=part(Tokens, class_tokens=2), head=part(DistilledHead))

STUDENTS = {  # how it learns from the teacher -> (network, what the recipe says)
    "soft": (small_vit, {"distill": "soft", "distill_temperature": 2.0}),
    "hard": (small_vit, {"distill": "hard"}),
    "hard, teacher alone": (small_vit, {"distill": "hard", "distill_weight": 1.0}),
    "hard, two tokens": (two_answers, {"distill": "hard"}),
}

def distilled(seed):
    """Accuracies on relation, and what the two tokens of the last student say."""
    teacher = trained("CNN", few, seed, augment=("random_crop",))
    students = {"labels alone": trained("ViT", few, seed, **FLIPS)}
    for name, (make, how) in STUDENTS.items():
        students[name] = trained("ViT", few, seed, make, teacher, **how, **FLIPS)
    without = trained("ViT", few, seed, two_answers, teacher, distill="hard",
                      augment=("random_crop",))
    everyone = {"the teacher": teacher, **students, "two tokens, no flips": without}
    return {"accuracy": {name: {"relation": evaluate(network, test)}
                         for name, network in everyone.items()},
            "tokens": two_opinions(students["hard, two tokens"])}

@torch.no_grad()
def two_opinions(student):
    z = student.features(student.normalise_images(test.images))[-1]  # (B, 2 + N, D)
    own, taught = (logits.argmax(1) for logits in student.head.both(z))  # (B,) each
    return {"class token right": (own == test.labels).float().mean(),
            "distillation token right": (taught == test.labels).float().mean(),
            "they agree": (own == taught).float().mean(),
            "cosine": F.cosine_similarity(z[:, 0], z[:, 1], dim=1).mean()}

over_seeds("07_training_with_less_data/distilled", distilled, live=False)

# %%
digits = load("digits", "train", size=budget(tiny=60, cpu=300), device="cpu")
new_digits = load("digits", "test", device="cpu")
TINY = {"num_classes": 10, "img_size": 8, "in_chans": 1, "patch_size": 2, "embed_dim": 32,
        "depth": 2, "mlp_ratio": 2}

def digit_vit():
    vit = create_model("vit_cifar", num_heads=4, **TINY)
    vit.stages[0].entry.position.data[-16:] = sinusoidal_2d((4, 4), 32)  # (N, D)
    return vit

def digit_mixer():
    return create_model("mixer_cifar", **TINY)

def digit_cnn():
    layers, before = [], 1
    for width, stride in ((24, 1), (32, 2), (48, 1)):
        conv = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    return nn.Sequential(*layers, *head)  # (B, 10)

DIGIT_NETWORKS = {"ViT": digit_vit, "Mixer": digit_mixer, "CNN": digit_cnn}

# %%
minima = {}  # (network, how it was trained) -> what training has found

def flat(seed):
    """network -> without and with SAM -> accuracy and λ_max"""
    found = {}
    for name, make in DIGIT_NETWORKS.items():
        found[name] = {}
        for how, rho in (("AdamW", None), ("AdamW + SAM", 0.05)):
            torch.manual_seed(seed)
            network = minima[name, how] = make()
            recipe = recipes.cpu_minute.but(steps=budget(tiny=2, cpu=250), batch_size=32,
                                            sam=rho, seed=seed)
            fit(network, digits, recipe, plot=False, progress=False)
            bend = largest_eigenvalue(network, digits.subset(budget(tiny=20, cpu=128)), most=40)
            found[name][how] = {"accuracy": evaluate(network, new_digits),
                                "λ_max": bend.value}
    return found

over_seeds("07_training_with_less_data/flat", flat)

# %%
shown = (digits.images[:budget(tiny=4, cpu=24)].float() / 255 - 0.3) / 0.4  # (n, C, H, W)

def kappa(seed):
    """network -> κ before training"""
    found = {}
    for name, make in DIGIT_NETWORKS.items():
        torch.manual_seed(seed)
        found[name] = condition_number(tangent_kernel(make(), shown))
    return found

over_seeds("07_training_with_less_data/kappa", kappa)

# %%
MEAN = {"tokens": part(Tokens, class_tokens=0, position="sinusoidal"), "head": part(MeanHead)}
PLAIN_VITS = {
    "class token, random positions": lambda: small_vit(sines=False),
    "class token, fixed sines": lambda: small_vit(sines=False, position="sinusoidal"),
    "mean, fixed sines": lambda: small_vit(sines=False, **MEAN),
}

def small_changes(seed):
    """network -> accuracy on relation"""
    return {name: {"relation": evaluate(trained("ViT", few, seed, make, augment=("random_crop",)),
                                        test)} for name, make in PLAIN_VITS.items()}

over_seeds("07_training_with_less_data/small changes", small_changes, live=False)

# %%
def other_colours(data):
    """The same scenes in other colours: (images, labels)."""
    return data.images.roll(1, dims=1), data.labels  # (n, C, H, W), (n,)

def transferred(seed):
    """labelled images in the new colours -> from where training starts -> accuracy"""
    before, found = trained("ViT", pool, seed), {}  # all images, in the old colours
    starts = {"from scratch": (small_vit, 4e-3), "pre-trained": (lambda: deepcopy(before), 1e-3)}
    for count in budget(tiny=(50,), cpu=(50, 300)):
        found[count] = {}
        for start, (make, lr) in starts.items():
            vit = trained("ViT", other_colours(pool.subset(count)), seed, make, lr=lr,
                          steps=budget(tiny=2, cpu=100), augment=("random_crop",))
            found[count][start] = evaluate(vit, other_colours(test))
    return found

over_seeds("07_training_with_less_data/transfer", transferred, live=False)
