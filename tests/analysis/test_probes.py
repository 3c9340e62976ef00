"""Frozen features judged by a linear classifier and by neighbours, against loops and against what must come out."""

import math

import pytest
import torch
from torch import nn

from course.analysis.probes import PIXELS, frozen_features, knn, linear_probe
from course.data import load
from course.data.normalise import Normalise
from course.models import create_model
from course.models.masked_images import MAE
from tests.models.parity import proves


@pytest.fixture(scope="module")
def digits():
    return load("digits", device="cpu").subset(300), load("digits", "test", device="cpu").subset(150)


def test_features_are_those_in_eval_mode_of_normalised_images(digits):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5)).train()
    model.normalise_images = Normalise((10.0,), (2.0,))
    images = digits[0].images[:7]
    found = frozen_features(model, images, batch_size=3)
    assert model.training and not model[1].running_mean.any()
    torch.testing.assert_close(found, (images.flatten(1).float() - 10) / 2 / math.sqrt(1 + 1e-5))


def test_pixels_are_the_control(digits):
    """The centred digits are easy: neighbours by their pixels know them, so that no network is needed."""
    assert torch.equal(frozen_features(PIXELS, digits[0].images), digits[0].images.flatten(1).float())
    assert knn(PIXELS, *digits) > 0.9 and linear_probe(PIXELS, *digits) > 0.85


class Lift(nn.Module):
    """Two images of one class are alike in the sum of their pixels alone."""

    def forward(self, images):
        level = images.flatten(1).mean(1, keepdim=True)
        return torch.cat([level, level.square()], 1)


@proves(168)
def test_a_probe_is_as_good_as_the_features():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    noise = torch.randn(120, 1, 4, 4, generator=generator)
    images = noise - noise.mean((2, 3), keepdim=True) + labels.view(-1, 1, 1, 1)
    train, test = (images[:60], labels[:60]), (images[60:], labels[60:])
    assert linear_probe(Lift(), train, test) == 1.0
    random = torch.randint(3, (120,), generator=generator)
    for judge in (linear_probe, knn):
        assert judge(Lift(), (images[:60], random[:60]), (images[60:], random[60:])) < 0.6, "labels that say nothing"


def test_a_probe_does_not_follow_the_scale_of_a_feature(digits):
    class Scaled(nn.Module):
        def forward(self, images):
            return images.flatten(1) * torch.logspace(-3, 3, 64)

    assert linear_probe(Scaled(), *digits) == pytest.approx(linear_probe(PIXELS, *digits), abs=0.03)


def test_neighbours_vote_by_their_cosines(digits):
    train, test = digits[0].subset(40), digits[1].subset(20)
    known, asked = train.images.flatten(1).double(), test.images.flatten(1).double()
    mean = known.mean(0)
    for k in (1, 5):
        right = 0
        for x, answer in zip(asked, test.labels.tolist(), strict=True):
            cosine = [(torch.dot(x - mean, z - mean) / (x - mean).norm() / (z - mean).norm()).item() for z in known]
            nearest = sorted(range(40), key=lambda i: -cosine[i])[:k]
            votes = dict.fromkeys(range(10), 0.0)
            for i in nearest:
                votes[int(train.labels[i])] += math.exp(cosine[i] / 0.07)
            right += max(votes, key=votes.get) == answer
        assert knn(PIXELS, train, test, k=k) == pytest.approx(right / 20)


def test_what_gives_no_vectors_is_refused(digits):
    encoder = create_model(
        "vit_cifar", img_size=8, patch_size=2, in_chans=1, embed_dim=16, depth=1, num_heads=2, num_classes=0
    )
    with pytest.raises(ValueError, match="MAE gives.*of MAE and SimMIM the encoder"):
        knn(MAE(encoder, decoder_dim=8, decoder_depth=1, decoder_heads=2), *digits)
    with pytest.raises(ValueError, match=r"\(300, D\), and Conv2d gives \(300, 2, 6, 6\)"):
        linear_probe(nn.Conv2d(1, 2, 3), *digits)
    assert frozen_features(encoder, digits[0].images[:3]).shape == (3, 16)
