"""``course bench lessons``: all of it in two steps a training; and what verdicts and ceilings rest on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.lessons import (
    CPU_SECONDS,
    FAR,
    LESSONS,
    NEAR,
    TEST_IMAGES,
    TRAININGS,
    MiddleFrame,
    Outcome,
    Prediction,
    bench,
    cnn,
    judged,
    vit,
    vivit,
)
from course.cli import main
from course.data import load
from course.data.two_questions import CLASSES, DISTANCE, GLYPH, SECTOR_MARGIN, SIZE


@pytest.fixture(autouse=True)
def two_steps(monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")


# -- the command


def test_every_lesson_runs_and_what_two_steps_cannot_show_does_not_hold(capsys):
    threads = torch.get_num_threads()
    figures = bench(seeds=1)
    assert torch.get_num_threads() == threads
    assert list(figures["lessons"]) == list(LESSONS) and set(figures["trainings"]) == set(TRAININGS)
    assert all(len(each) == 1 and each[0]["cpu"] > 0 for each in figures["trainings"].values())
    *_, last = printed = capsys.readouterr().out.splitlines()
    for name in ("receptive_field", "no_positions", "wrong_augmentation", "video_time_code"):
        assert figures["lessons"][name]["held"] == [False]
        assert any(line.startswith(f"DOES NOT HOLD: {name} ") for line in printed)
    held = [name for name, lesson in figures["lessons"].items() if lesson["held"] == [True]]
    assert all(any(line.startswith(f"held: {name} ") for line in printed) for name in held)
    assert last == f"{len(held)} of {len(LESSONS)} lessons held on all seeds" and figures["held"] == len(held)


def test_the_command_says_which_prediction_failed_on_which_seed(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["bench", "lessons", "video_time_code", "--seeds", "2", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "  NO (seed 0, 1) attention, time code ≥ 90 %: " in printed
    assert printed.endswith("0 of 1 lessons held on all seeds\n")
    figures = json.loads(out.read_text())["lessons"]
    assert list(figures["trainings"]) == ["attention, time code", "attention, no time code"]
    assert figures["lessons"]["video_time_code"]["predictions"][0]["held"] == [False] * 2


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["no_position"], "did you mean 'no_positions'"),
        (["--seeds", "0"], "1 at least, and not 0"),
    ],
)
def test_what_there_is_not_is_a_sentence(arguments, sentence, capsys):
    assert main(["bench", "lessons", *arguments]) == 2
    assert sentence in capsys.readouterr().err


# -- the verdicts

AS_PREDICTED = dict.fromkeys(TRAININGS, 8.0) | {
    "9-px CNN, texture": 99.0,
    "deep CNN": 98.0,
    "ViT": 95.0,
    "ViT, 1,000 images": 85.0,
    "deep CNN, 1,000 images": 30.0,
    "Mixer, 1,000 images": 40.0,
    "ViT, learned from 0.7": 70.0,
    "one frame": 25.0,
    "mean over frames": 45.0,
    "attention, no time code": 50.0,
    "attention, time code": 97.0,
}


def outcomes(**differing: Outcome) -> dict[str, list[Outcome]]:
    """Two seeds: everything as predicted, and in the second what differs."""
    fine = {name: Outcome(percent, TEST_IMAGES, 20.0) for name, percent in AS_PREDICTED.items()}
    return {name: [outcome, differing.get(name, outcome)] for name, outcome in fine.items()}


EVERY_PREDICTION = [(name, k) for name, lesson in LESSONS.items() for k in range(len(lesson.predictions))]


@pytest.mark.parametrize("name, k", EVERY_PREDICTION)
def test_a_lesson_holds_until_one_prediction_fails_on_one_seed(name, k):
    assert judged(LESSONS[name], outcomes())["held"] == [True, True]
    prediction = LESSONS[name].predictions[k]
    bound = prediction.percent + AS_PREDICTED.get(prediction.of, 0)
    wrong = Outcome(bound + (-0.1 if prediction.sign == "≥" else 4), TEST_IMAGES, 20.0)
    verdict = judged(LESSONS[name], outcomes(**{prediction.training: wrong}))
    assert verdict["held"] == [True, False] and verdict["predictions"][k]["held"] == [True, False]


def test_a_training_beyond_its_minute_fails_the_lessons_that_need_it():
    slow = Outcome(AS_PREDICTED["ViT"], TEST_IMAGES, CPU_SECONDS + 1.0)
    verdict = judged(LESSONS["no_positions"], outcomes(ViT=slow))
    assert verdict["held"] == verdict["in_time"] == [True, False]
    assert judged(LESSONS["video_order"], outcomes(ViT=slow))["held"] == [True, True]


def test_a_ceiling_grants_three_standard_errors_and_a_floor_nothing():
    ceiling = Prediction("a", "≤", 50, "")
    assert [ceiling.holds({"a": percent}, {"a": 2500}) for percent in (52.9, 53.1)] == [True, False]
    assert not replace(ceiling, sign="≥").holds({"a": 49.9}, {"a": 2500})
    ahead = Prediction("a", "≥", 20, "", of="b")
    assert [ahead.holds({"a": 60, "b": b}, {}) for b in (40, 41)] == [True, False]


# -- what the predictions rest on


@pytest.mark.parametrize("layers, pixels", [(NEAR, 9), (FAR, 29)])
def test_the_fields_of_the_convolutions_are_as_said(layers, pixels):
    convolutions = cnn(*layers)[:-3].eval()
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    with torch.no_grad():
        for weight in convolutions.parameters():
            weight.fill_(0.01)  # every path open, and none cancels another
    feature = convolutions(image)  # (1, C, h, w)
    feature[0, 0, feature.shape[2] // 2, feature.shape[3] // 2].backward()
    seen = image.grad.abs().amax(dim=(0, 1)) > 0  # (H, W)
    assert int(seen.any(dim=0).sum()) == int(seen.any(dim=1).sum()) == pixels


def test_without_positions_the_order_of_the_patches_is_nothing_and_with_them_something():
    torch.manual_seed(0)
    patches = torch.randn(2, 3, 8, 4, 8, 4)  # (B, C, rows, 4, columns, 4)
    moved = patches.flip(2)[:, :, :, :, torch.randperm(8)]
    images, moved = (x.reshape(2, 3, 32, 32) for x in (patches, moved))
    blind, with_waves = vit(None).eval(), vit().eval()
    assert (blind(images) - blind(moved)).abs().max() < 1e-5
    assert (with_waves(images) - with_waves(moved)).abs().max() > 0.01
    waves, noise = (model.stages[0].entry.position.detach() for model in (with_waves, vit("learned", 0.7)))
    assert noise.std() == pytest.approx(waves.square().mean().sqrt().item(), rel=0.05)  # of one size


def test_the_video_models_are_as_blind_as_said():
    torch.manual_seed(0)
    clips = torch.randn(3, 5, 1, 16, 16)
    others = torch.cat([clips[:, :2] + 1, clips[:, 2:3], clips[:, 3:] - 1], dim=1)  # the same middle frame

    def change(model, different):
        return (model.eval()(clips) - model(different)).abs().max()

    one_frame = MiddleFrame(vivit(num_frames=1))
    assert change(one_frame, others) == 0 < change(one_frame, clips + torch.randn(()))
    assert change(vivit(temporal_depth=0), clips.flip(1)) < 1e-5
    assert change(vivit(time_code=False), clips.flip(1)) < 1e-5 < 1e-3 < change(vivit(), clips.flip(1))
    assert not vivit(time_code=False).time.tokens.position.requires_grad


def test_a_mirrored_image_has_another_label_in_eight_of_ten_classes():
    """So with flips in training, the label of a new image is a coin toss in these: 6 of 10 are right."""
    for question in ("relation", "texture"):
        classes = load("two_questions", "test", size=10, device="cpu").ask(question).classes
        degrees = [int(name.rstrip("°")) for name in classes]
        turn = 360 if question == "relation" else 180
        assert sum((180 - angle) % turn == angle for angle in degrees) == 2


def test_a_bag_of_patches_says_where_in_its_patch_a_glyph_begins_and_no_more():
    """The relation, guessed from the offsets of both glyphs in their patches of 4×4: 12.3 %, not 10 %."""
    random, count = np.random.default_rng(0), 1_000_000
    table = np.zeros((2, 256, CLASSES))  # learned from one half, tried on the other
    relation = random.integers(CLASSES, size=count)
    angle = 2 * np.pi / CLASSES * (relation + random.uniform(SECTOR_MARGIN, 1 - SECTOR_MARGIN, count))
    distance, bag = random.uniform(*DISTANCE, count), np.zeros(count, dtype=int)
    for step in (distance * np.cos(angle), -distance * np.sin(angle)):
        last = SIZE - GLYPH
        plus = np.rint(random.uniform(np.maximum(-step, 0), last - np.maximum(step, 0))).astype(int)
        ring = (plus + np.rint(step).astype(int)).clip(0, last)
        bag = 16 * bag + 4 * (plus % 4) + ring % 4
    np.add.at(table, (np.arange(count) % 2, bag, relation), 1)
    best = table[0].argmax(axis=1)
    tried = table[1][np.arange(256), best].sum() / table[1].sum()
    fitted = table[0].max(axis=1).sum() / table[0].sum()  # the truth lies between the two
    [ceiling] = [p.percent for p in LESSONS["no_positions"].predictions if p.training == "ViT, no positions"]
    assert tried < ceiling / 100 < fitted < 0.13
