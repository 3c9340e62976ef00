"""Training by a loss that the model itself gives: `fit` needs no labels, and a training goes on to the last bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.data import load
from course.data.normalise import Normalise
from course.data.sequences import MASK
from course.models import create_model
from course.models.dino import DINO
from course.models.language import BERT, MaskedLanguageModel, hide_words
from course.models.masked_images import MAE, SimMIM
from course.training import Recipe, evaluate, fit
from course.training.batches import Batches, mixed_seed
from course.training.parallel import Processes
from course.training.regularise import set_drop_path
from tests.models.parity import proves
from tests.training.after_steps import after_each_step

QUICK = Recipe(steps=12, batch_size=16, lr=3e-3, augment=("random_crop",), drop_path=0.1, ema=0.9)


@pytest.fixture(scope="module")
def images():
    return load("digits", device="cpu").images[:200]


def encoder(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    sizes = dict(img_size=8, patch_size=2, in_chans=1, embed_dim=16, depth=2, num_heads=2)
    return create_model("vit_cifar", num_classes=0, **sizes)


def mae(seed: int = 0) -> MAE:
    return MAE(encoder(seed), decoder_dim=8, decoder_depth=1, decoder_heads=2)


def simmim(seed: int = 0) -> SimMIM:
    return SimMIM(encoder(seed), mask_size=2)


def dino(seed: int = 0) -> DINO:
    return DINO(encoder(seed), prototypes=16, hidden=32, bottleneck=8, momentum=0.9)


METHODS = [mae, simmim, dino]
VIEWS = dict(augment=("random_resized_crop", "random_flip"), crop_area=(0.4, 1.0), views=2, local_views=(2, 4))


def recipe_for(make, **changes) -> Recipe:
    return QUICK.but(**(VIEWS if make is dino else {}) | changes)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("make", [mae, simmim])
def test_it_learns_without_labels(images, make):
    model = make()
    history = fit(model, images, QUICK.but(steps=60, drop_path=None, ema=None))
    assert len(history.loss) == 60 and history.final_accuracy is None
    assert sum(history.loss[-10:]) < 0.93 * sum(history.loss[:10])
    assert not model.training and model.normalise_images == model.encoder.normalise_images == Normalise.of(images)


@pytest.mark.parametrize("make", METHODS)
def test_labels_that_are_there_change_nothing(images, make):
    models = [make(), make()]
    losses = [
        fit(model, data, recipe_for(make)).loss for model, data in zip(models, (images, (images, torch.arange(200))))
    ]
    assert losses[0] == losses[1] and same_weights(*models)


@pytest.mark.parametrize("make", METHODS)
def test_resumed_is_bit_for_bit_the_undisturbed_run(images, make, tmp_path):
    undisturbed, path = make(), tmp_path / "run.safetensors"
    recipe = recipe_for(make)
    expected = fit(undisturbed, images, recipe)
    for seed, stop in ((0, 3), (1, 8)):  # from the second on, the checkpoint's weights count

        def stopped(step, stop=stop):
            if step == stop:
                raise KeyboardInterrupt

        with after_each_step(stopped):
            assert fit(make(seed), images, recipe, checkpoint=path).interrupted
    model = make(2)
    assert fit(model, images, recipe, checkpoint=path).loss == expected.loss
    assert same_weights(model, undisturbed)


def test_one_step_is_what_plain_pytorch_does(images):
    recipe = Recipe(steps=1, batch_size=16, lr=1e-2, warmup=0.0, schedule="constant", weight_decay=0.0, grad_clip=None)
    model = mae()
    by_hand = copy.deepcopy(model)
    history = fit(model, images, recipe)

    order = torch.randperm(200, generator=torch.Generator().manual_seed(mixed_seed(0, 0, 1)))[:16]
    torch.manual_seed(mixed_seed(0, 0, 0, 0))
    loss = by_hand(Normalise.of(images)(images[order]))
    loss.backward()
    torch.optim.AdamW(by_hand.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0).step()
    assert history.loss == [loss.item()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), by_hand.parameters()))


def test_after_step_is_told_each_step_after_its_update(images):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))
            self.seen = []

        def forward(self, images):
            return self.w * images.square().mean()

        def after_step(self, step, steps):
            self.seen.append((step, steps, self.w.item()))

    model = Counting()
    fit(model, images, Recipe(steps=3, batch_size=16, lr=0.1))
    assert [seen[:2] for seen in model.seen] == [(0, 3), (1, 3), (2, 3)]
    assert model.seen[-1][2] == model.w.item() < model.seen[0][2] < 1


def test_what_needs_logits_or_labels_is_refused(images):
    labelled = images, torch.arange(200) % 10
    with pytest.raises(ValueError, match="val= measures accuracy.*linear_probe"):
        fit(mae(), images, QUICK, val=labelled)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match="loss of its own"):
        fit(mae(), labelled, QUICK.but(distill="soft"), teacher=teacher)
    with pytest.raises(ValueError, match="labels are needed"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), images, QUICK.but(drop_path=None))
    with pytest.raises(ValueError, match="2 views of each image.*MAE takes the image"):
        fit(mae(), images, recipe_for(dino))
    with pytest.raises(ValueError, match="counted from 0; there is a -1"):
        fit(mae(), (images, torch.full((200,), -1)), QUICK)


def test_stochastic_depth_is_the_encoders():
    model = mae()
    set_drop_path(model, 0.2)
    rates = [module.drop_path for module in model.modules() if hasattr(module, "drop_path")]
    assert rates == pytest.approx([0, 0, 0.2, 0.2, 0, 0]), "two blocks of the encoder, and one of the decoder"


# views


def shares_of(images: torch.Tensor, side: int) -> torch.Tensor:
    """How much of an image a view of it shows: its pixels tell their column and row, in channels."""
    low, high = images.flatten(2).amin(2), images.flatten(2).amax(2)  # (B, 2)
    return ((high - low) / (side - 1)).prod(1)


def test_views_are_of_the_sizes_asked_for_and_each_its_own():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ramps = torch.stack([rows, columns]).expand(40, 2, 64, 64).contiguous()
    recipe = QUICK.but(**VIEWS, batch_size=40, drop_path=None).but(
        local_views=(3, 16), augment=("random_resized_crop",)
    )
    made = Batches(ramps, torch.zeros(40), lambda images: images, recipe, Processes())
    views = made(0).images
    assert [tuple(view.shape) for view in views] == [(40, 2, 64, 64)] * 2 + [(40, 2, 16, 16)] * 3
    assert len({view.sum().item() for view in views}) == 5
    for view in views[:2]:
        assert shares_of(view, 64).min() > 0.35 and shares_of(view, 64).max() > 0.8
    for view in views[2:]:
        assert shares_of(view, 64).min() > 0.02 and shares_of(view, 64).max() < 0.42
    again = made(0).images
    assert all(torch.equal(a, b) for a, b in zip(views, again)), "a step depends on nothing that came before"
    half = Batches(ramps, torch.zeros(40), lambda images: images, recipe, Processes(1, 2))(0).images
    assert all(torch.equal(a[20:], b) for a, b in zip(views, half)), "a process gets its rows of each view"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop_area": (0.5, 0.2)}, "crop_area is the least and the largest"),
        ({"crop_area": (0.0, 1.0)}, "crop_area is the least and the largest"),
        ({"views": 0}, "views is a whole number"),
        ({"views": 2, "mixup": 0.8}, "views are not mixed"),
        ({"local_views": (2, 4)}, "beside two views"),
        ({"views": 2, "local_views": (2, 4)}, "random_resized_crop of augment"),
    ],
)
def test_views_that_cannot_be(changes, words):
    with pytest.raises(ValueError, match=words):
        Recipe(steps=1, **changes)


# words


def language_model(seed: int = 0) -> MaskedLanguageModel:
    torch.manual_seed(seed)
    body = BERT(45, dim=16, num_heads=2, depth=1, mlp_ratio=2, max_length=24)
    return MaskedLanguageModel(body, mask=MASK, special=4)


WORDS_RECIPE = Recipe(steps=30, batch_size=64, lr=1e-2)


@proves(151)
def test_one_step_on_masked_words_is_what_plain_pytorch_does():
    words = load("sentiment", size=200, device="cpu").words
    recipe = WORDS_RECIPE.but(steps=1, warmup=0.0, schedule="constant", grad_clip=None, weight_decay=0.0)
    model = language_model()
    by_hand = copy.deepcopy(model)
    history = fit(model, words, recipe)

    order = torch.randperm(200, generator=torch.Generator().manual_seed(mixed_seed(0, 0, 1)))[:64]
    torch.manual_seed(mixed_seed(0, 0, 0, 0))
    read, chosen = hide_words(words[order], 45, mask=MASK, special=4)
    loss = F.cross_entropy(by_hand.head(by_hand.body(read))[chosen], words[order][chosen])
    loss.backward()
    torch.optim.AdamW(by_hand.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0).step()
    assert history.loss == [pytest.approx(loss.item(), rel=1e-6)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), by_hand.parameters()))


@proves(151)
def test_masked_words_are_learned_and_resumed_bit_for_bit(tmp_path):
    sentences = load("sentiment", size=400, device="cpu")
    undisturbed, path = language_model(), tmp_path / "run.safetensors"
    expected = fit(undisturbed, sentences, WORDS_RECIPE)
    assert sum(expected.loss[-5:]) < 0.9 * sum(expected.loss[:5])

    def stop(step):
        if step == 11:
            raise KeyboardInterrupt

    with after_each_step(stop):
        assert fit(language_model(), sentences, WORDS_RECIPE, checkpoint=path).interrupted
    model = language_model(1)
    assert fit(model, sentences, WORDS_RECIPE, checkpoint=path).loss == expected.loss and same_weights(
        model, undisturbed
    )


def test_a_classifier_of_words_is_trained_and_evaluated():
    sentences = load("sentiment", size=400, device="cpu")

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Embedding(45, 8), nn.Linear(8, 2)

        def forward(self, words):
            return self.head(self.words(words).mean(1))

    model = Bag()
    history = fit(model, sentences, WORDS_RECIPE.but(steps=120), val=sentences, val_points=1)
    assert history.final_accuracy == evaluate(model, sentences) > 0.6
