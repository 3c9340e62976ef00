"""The sets of sequences: what their docstrings claim is measured here from the words."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from course import cli
from course.data import SequenceSet, load, sequences
from course.data.sequences import BAD, END, GOOD, NOT, PADDING, draw_sentiment

SETS = ["sentiment", "lookup", "reversal"]


def rows(data: SequenceSet) -> list[tuple]:
    return [tuple(row) for row in data.words.flatten(1).tolist()]


@pytest.mark.parametrize(
    ("name", "words", "labels", "train", "classes"),
    [
        ("sentiment", (24,), (), 4000, 2),
        ("lookup", (13, 2), (), 20_000, 8),
        ("reversal", (8,), (9,), 10_000, 30),
    ],
)
def test_sizes_types_and_classes(name, words, labels, train, classes):
    for split, count in (("train", train), ("test", 1000)):
        data = load(name, split, device="cpu")
        assert isinstance(data, SequenceSet) and len(data) == count
        assert data.words.shape == (count, *words) and data.words.dtype == torch.int64
        assert data.labels.shape == (count, *labels) and data.labels.dtype == torch.int64
        assert len(data.classes) == classes
        assert data.words.min() >= 0 and data.words.max() < len(data.vocabulary)
        assert len(set(data.vocabulary)) == len(data.vocabulary)
        if not labels:
            assert set(data.labels.tolist()) == set(range(classes))


@pytest.mark.parametrize("name", SETS)
def test_the_same_call_gives_the_same_and_splits_share_nothing(name):
    data, again = load(name, device="cpu"), load(name, device="cpu")
    assert torch.equal(data.words, again.words) and torch.equal(data.labels, again.labels)
    assert not set(rows(data)) & set(rows(load(name, "test", device="cpu")))
    short = load(name, size=30, seed=3, device="cpu")
    long = load(name, size=1200, seed=3, device="cpu")
    assert torch.equal(short.words, long.words[:30]) and torch.equal(short.labels, long.labels[:30])
    assert not set(rows(short)) & set(rows(data))


# sentiment


def spoken(data: SequenceSet) -> list[list[str]]:
    return [data.text(row).split() for row in data.words]


def test_sentiment_is_what_not_makes_of_each_word():
    data = load("sentiment", "test", device="cpu")
    for words, label, length in zip(spoken(data), data.labels.tolist(), data.lengths.tolist()):
        assert len(words) == length and 10 <= length <= 24
        said = []
        for before, word in zip(["", *words], words):
            if word in GOOD or word in BAD:
                said.append((word in GOOD) != (before == NOT))
        assert set(said) == {bool(label)}, "every word says the same, with its 'not'"
        followed = [after for word, after in zip(words, words[1:]) if word == NOT]
        assert len(followed) == words.count(NOT) == 3 and NOT not in followed


def test_sentiment_as_a_bag_of_words_says_nothing():
    """How many good words, bad ones and "not" there are is drawn alike for both labels: the same distribution of bags."""
    random = np.random.default_rng(0)
    words, labels = draw_sentiment(random, 4000)
    kind = {word: "good" if word in GOOD else "bad" if word in BAD else word for word in sequences.SENTIMENT_WORDS}
    by_bag = defaultdict(list)
    for row, label in zip(words, labels["sentiment"]):
        bag = Counter(kind[sequences.SENTIMENT_WORDS[word]] for word in row if word != PADDING)
        assert 1 <= bag["good"] <= 3 and 1 <= bag["bad"] <= 3 and bag[NOT] == 3
        by_bag[bag["good"], bag["bad"]].append(label)
    assert len(by_bag) == 9
    for found in by_bag.values():
        error = 4 * 0.5 / len(found) ** 0.5
        assert abs(np.mean(found) - 0.5) < error, "of each kind of bag, half are positive"
    # each single word comes as often in positive sentences as in negative ones
    positive = labels["sentiment"] == 1
    for word in range(4, len(sequences.SENTIMENT_WORDS)):
        share = (words[positive] == word).any(axis=1).mean() - (words[~positive] == word).any(axis=1).mean()
        assert abs(share) < 0.06


# lookup


def test_lookup_asks_for_one_of_its_names():
    data = load("lookup", "test", device="cpu")
    names, numbers = data.words.unbind(-1)  # (N, 13)
    assert all(len(set(row)) == 12 for row in names[:, :-1].tolist()), "the names of a sequence differ"
    found = names[:, :-1] == names[:, -1:]  # (N, 12)
    assert (found.sum(1) == 1).all()
    answers = [data.vocabulary[word] for word in numbers[:, :-1][found].tolist()]
    assert answers == [data.classes[label] for label in data.labels.tolist()]
    place = found.int().argmax(1)
    assert torch.bincount(place, minlength=12).min() > 50, "every place is asked for: 83 of 1000 each"
    assert data.vocabulary[numbers[0, -1]] == "<mask>" and data.lengths.unique().tolist() == [13]
    assert data.text(data.words[0]).endswith("=<mask>")


def test_nothing_but_the_pair_knows_the_answer():
    data = load("lookup", size=8000, device="cpu")
    for known in (data.words[:, -1, 0] - 4, data.words[:, 0, 1] - 20, data.words[:, 11, 1] - 20):
        count = torch.zeros(16, 8)
        count.index_put_((known[:6000], data.labels[:6000]), torch.tensor(1.0), accumulate=True)
        right = (count.argmax(1)[known[6000:]] == data.labels[6000:]).float().mean()
        assert right < 0.25, "the question alone, the first or the last number: 1/8, and 1/12 of the cases more"


# reversal


def test_reversal_is_written_backwards_and_ended():
    data = load("reversal", "test", device="cpu")
    for word, reversed_, length in zip(data.words.tolist(), data.labels.tolist(), data.lengths.tolist()):
        letters = word[:length]
        assert 5 <= length <= 8 and word[length:] == [PADDING] * (8 - length)
        assert reversed_ == [*letters[::-1], END, *[PADDING] * (8 - length)]
    assert data.text(data.labels[0]).endswith("<end>") and data.classes == data.vocabulary


def test_a_letter_says_nothing_about_the_next():
    data = load("reversal", size=10_000, device="cpu")
    count = torch.zeros(30, 30)
    count.index_put_((data.labels[:, 0], data.labels[:, 1]), torch.tensor(1.0), accumulate=True)
    likeliest = count.amax(1).sum() / count.sum()
    assert likeliest < 0.08, "1/26, and what is the most frequent by chance"


# the object itself


def test_subset_to_and_repr():
    data = load("sentiment", "test", size=50, device="cpu")
    words, labels = data
    assert words is data.words and labels is data.labels
    few = data.subset([3, 1])
    assert torch.equal(few.words, words[[3, 1]]) and torch.equal(few.labels, labels[[3, 1]])
    assert len(data.subset(7)) == 7 and data.subset(labels == 1).labels.all()
    assert data.to("meta").words.is_meta and data.to("meta").labels.is_meta
    assert repr(data) == "sentiment/test: 50 sequences 24 of 45 words on cpu, labels (50,)"
    with pytest.raises(ValueError, match="51"):
        data.subset(51)
    with pytest.raises(ValueError, match="relation"):
        load("sentiment", label="relation")


def test_course_train_says_that_words_are_no_images(capsys):
    assert cli.main(["train", "vit_cifar", "--data", "sentiment"]) == 2
    assert "sentiment is sequences of words" in capsys.readouterr().err
