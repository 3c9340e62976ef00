"""fit_dense: the step is that of the recipe, and the loss is told which images it has."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.data import load
from course.training import Recipe, TrainingError, fit_dense

DATA = load("shapes", size=24, device="cpu")
QUICK = Recipe(steps=5, batch_size=8, lr=0.01, weight_decay=0.1, grad_clip=0.05, seed=3)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(6, 5, 1))


def of_masks(model, images, chosen):
    return F.cross_entropy(model(images), DATA.labels[chosen])


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def test_the_loss_gets_normalised_images_and_their_numbers_all_in_an_epoch():
    model, seen = net(), []

    def noting(model, images, chosen):
        assert model.training and torch.equal(images, model.normalise_images(DATA.images[chosen]))
        seen.append(chosen)
        return of_masks(model, images, chosen)

    history = fit_dense(model, DATA, noting, QUICK.but(steps=3), device="cpu")
    assert sorted(torch.cat(seen).tolist()) == list(range(24))
    assert not model.training and history.steps == [1, 2, 3] and history.seconds > 0


def test_a_step_is_adamw_at_the_recipes_rate_with_a_short_gradient():
    model, other, batches = net(), net(), []

    def noting(model, images, chosen):
        loss = of_masks(model, images, chosen)
        batches.append((images, chosen, loss))
        return loss

    history = fit_dense(model, DATA, noting, QUICK.but(steps=1, warmup=0.0), device="cpu")
    images, chosen, loss = batches[0]
    assert history.loss == [loss.item()] and not same(model, other)
    before = [p.detach().clone() for p in other.parameters()]
    model_gradient = torch.autograd.grad(F.cross_entropy(other.eval()(images), DATA.labels[chosen]), other.parameters())
    assert torch.stack([g.norm() for g in model_gradient]).norm() > QUICK.grad_clip  # so that clipping is at work
    for old, new in zip(before, model.parameters()):  # the first step of Adam moves every weight by the rate
        decayed = old * (1 - 0.01 * 0.1) if old.ndim > 1 else old
        assert (new - decayed).abs().max() <= 0.01 * 1.001 and (new - decayed).abs().median() > 0.009


def test_it_learns_and_does_the_same_again():
    first, again = net(), net()
    long = QUICK.but(steps=40, grad_clip=None)
    history = fit_dense(first, DATA, of_masks, long, device="cpu")
    torch.manual_seed(99)  # randomness around it does not count
    assert history.loss[-1] < 0.6 * history.loss[0]
    assert fit_dense(again, DATA, of_masks, long, device="cpu").loss == history.loss and same(first, again)
    assert fit_dense(net(), DATA, of_masks, long.but(seed=4), device="cpu").loss != history.loss


@pytest.mark.parametrize(
    "asked", [dict(augment=("random_flip",)), dict(mixup=0.2), dict(random_erasing=0.1), dict(sam=0.05), dict(ema=0.9)]
)
def test_a_recipe_that_masks_cannot_follow_is_refused(asked):
    with pytest.raises(ValueError, match=f"this recipe has {next(iter(asked))}$"):
        fit_dense(net(), DATA, of_masks, QUICK.but(**asked), device="cpu")


def test_a_loss_that_is_no_number_ends_it_before_the_weights_change():
    model = net()
    with pytest.raises(TrainingError, match="the loss is nan"):
        fit_dense(model, DATA, lambda *given: of_masks(*given) * float("nan"), QUICK, device="cpu")
    assert same(model, net())


def test_the_bar_can_be_left_out(capsys, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "cpu")

    def slowly(model, images, chosen):
        time.sleep(0.3)
        return of_masks(model, images, chosen)

    fit_dense(net(), DATA, slowly, QUICK, device="cpu", progress=False)
    assert capsys.readouterr().err == ""
    fit_dense(net(), DATA, slowly, QUICK, device="cpu")
    assert "training" in capsys.readouterr().err
