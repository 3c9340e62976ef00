"""``narrated_digits``: the digit is in the clip, in the tone and in one of the sentences, and nothing else is shared."""

import torch

from course.data import load
from course.data.narrated import DIGIT_WORDS, LOUDNESS, LOWEST, MOTIONS, PERIOD, VOCABULARY

DATA = load("narrated_digits", size=2000, device="cpu")
DIGIT, MOTION, TONE, WORDS = (DATA.all_labels[name] for name in ("digit", "motion", "tone", "words"))


def test_types_and_sizes():
    assert DATA.images.shape == (2000, 4, 1, 10, 10) and DATA.images.dtype == torch.uint8
    assert DIGIT.dtype == MOTION.dtype == WORDS.dtype == torch.int64 and TONE.dtype == torch.float32
    assert DATA.labels is DIGIT and TONE.shape == (2000, 256) and WORDS.shape == (2000, 2, 5)
    assert len(load("narrated_digits", device="cpu")) == 4000 and len(load("narrated_digits", "test")) == 1000


def spectrum() -> torch.Tensor:
    """Strength of each whole number of swings in 32 samples, (N, 17)."""
    return torch.fft.rfft(TONE.unflatten(1, (-1, PERIOD)).double()).abs().mean(dim=1)


def test_the_pitch_of_the_tone_is_the_digits():
    assert torch.equal(spectrum()[:, 1:].argmax(1) + 1 - LOWEST, DIGIT)


def test_loudness_and_phase_say_nothing_of_the_digit():
    swings = torch.fft.rfft(TONE.double())  # (N, 129)
    own = swings[torch.arange(len(TONE)), (DIGIT + LOWEST) * TONE.shape[1] // PERIOD]  # (N,)
    loudness = 2 * own.abs() / TONE.shape[1]
    assert loudness.min() > LOUDNESS[0] - 0.2 and loudness.max() < LOUDNESS[1] + 0.2
    by_digit = torch.stack([loudness[digit == DIGIT].mean() for digit in range(10)])
    assert by_digit.max() - by_digit.min() < 0.12, "the standard error is 0.02"
    middle = torch.stack([(own / own.abs())[digit == DIGIT].mean() for digit in range(10)])
    assert middle.abs().max() < 0.25, "the phases of a digit point everywhere"


def test_one_sentence_names_the_digit_at_any_place_and_no_word_else_does():
    names = len(DIGIT_WORDS) > WORDS  # (N, 2, 5)
    assert (names.flatten(1).sum(1) == 1).all() and torch.equal(WORDS[names], DIGIT)
    count = names.sum(0)  # (2, 5): 200 expected each
    assert count.min() > 145 and count.max() < 255
    others = torch.bincount(WORDS[~names], minlength=len(VOCABULARY))[len(DIGIT_WORDS) :]
    assert others.min() > 0.85 * others.float().mean()


def test_motion_says_nothing_of_the_digit_and_is_seen_in_the_clip():
    table = torch.zeros(10, 4).index_put_((DIGIT, MOTION), torch.tensor(1.0), accumulate=True)  # 50 expected
    assert table.min() > 22 and table.max() < 82
    bright = (DATA.images[:, :, 0].float() - 110).clamp(min=0)  # (N, T, H, W), above the noise
    place = torch.arange(10.0)
    x, y = ((bright.sum(axis) * place).sum(2) / bright.sum((2, 3)) for axis in (2, 3))
    moved = torch.stack([x[:, -1] - x[:, 0], y[:, -1] - y[:, 0]], dim=1)  # two pixels in one direction
    assert ((moved - 2 * torch.tensor(list(MOTIONS.values()))[MOTION]).abs().amax(1) < 0.6).float().mean() > 0.97


def test_the_digits_of_the_splits_are_different_images():
    clips = load("narrated_digits", "test", size=200, device="cpu").images[:, -1, 0].float()
    windows = clips.unfold(1, 8, 1).unfold(2, 8, 1).flatten(1, 2).flatten(2)  # (N, 9, 64)
    near = {
        split: torch.cdist(windows, load("digits", split, device="cpu").images.float().flatten(1)).amin((1, 2))
        for split in ("train", "test")
    }
    assert (near["test"] < near["train"]).float().mean() > 0.95
