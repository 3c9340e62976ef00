"""``course bench lessons``: do the course's short experiments show what they are there to show?

Every lesson says beforehand, with the reason, which network must reach which accuracy. Then three seeds are
trained (the data stay the same, the first weights and the order of the images change), and a lesson holds if
all its predictions do on all of them, every training within one minute of two cores. Time is processor
seconds of one thread, which a busy machine lengthens far less than the clock.

``course bench lessons 11_metaformer`` is another thing: it runs that lecture's own cells, each experiment with every
seed, and stores what they give in ``course/stored_runs``, where the lecture and its sentences find it.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from course.authoring.source import read_source
from course.authoring.stored_runs import store_runs
from course.data import ImageSet, load
from course.data.digits import FRAMES
from course.models import create_model
from course.models.heads import MeanHead
from course.models.spec import part
from course.names import one_of
from course.notebook import budget
from course.progress_bar import progress_bar
from course.steps import Steps
from course.training import Recipe, evaluate, fit, recipes

SEEDS = 3
CPU_SECONDS = 100  # for each training: a minute on two cores, of which two threads get some 85 %
TEST_IMAGES = 2000


# -- the networks


def cnn(*layers: tuple[int, int]) -> nn.Module:
    """3×3 convolutions of (channels, stride), each with batch norm and ReLU; then mean and linear layer."""
    modules, before = [], 3
    for channels, stride in layers:
        convolution = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        modules += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


NEAR = ((16, 1), (32, 2), (32, 1))  # one position of the last map sees 3 + 2 + 2·2 = 9 pixels
FAR = (*NEAR, (64, 2), (64, 1), (64, 2))  # 9 + 2·2 + 2·4 + 2·4 = 29 pixels


def vit(position: str | None = "sinusoidal", spread: float | None = None) -> nn.Module:
    """Patches of 4×4, width 64, three blocks, and the mean of all tokens.

    Args:
        position: see ``course.models.stems.Tokens``.
        spread: standard deviation of learned positions at the start.
    """
    model = create_model(
        "vit_cifar",
        num_classes=10,
        embed_dim=64,
        depth=3,
        num_heads=4,
        mlp_ratio=2,
        class_tokens=0,
        position=position,
        head=part(MeanHead),
    )
    if spread is not None:
        nn.init.normal_(model.stages[0].entry.position, std=spread)
    return model


def mixer() -> nn.Module:
    return create_model("mixer_cifar", num_classes=10, embed_dim=64, depth=3, mlp_ratio=2)


def poolformer() -> nn.Module:
    """On one grid throughout: the convolutions between PoolFormer's stages tell left from right."""
    return create_model(
        "poolformer_cifar",
        num_classes=10,
        dims=(64,),
        depths=(3,),
        patch_size=4,
        stride=4,
        mlp_ratio=2,
        layer_scale=None,
    )


def vivit(num_frames: int = FRAMES, temporal_depth: int = 1, time_code: bool = True) -> nn.Module:
    """ViViT's Model 2: each frame to one token, then attention over the frames, or without it their mean."""
    model = create_model(
        "vivit_digits_model2", embed_dim=32, depth=1, temporal_depth=temporal_depth, num_frames=num_frames
    )
    nn.init.normal_(model.space.tokens.position, std=0.5)  # 0.02 is too small: lesson position_scale
    if temporal_depth and time_code:
        nn.init.normal_(model.time.tokens.position, std=0.5)
    elif temporal_depth:
        model.time.tokens.position.requires_grad_(False).zero_()
    return model


class MiddleFrame(nn.Module):
    """Shows a network the middle frame alone: clips (B, T, C, H, W) -> (B, 1, C, H, W) -> its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        middle = clips.shape[1] // 2
        return self.model(clips[:, middle : middle + 1])


# -- the trainings


@dataclass(frozen=True)
class Training:
    """One row of the table: a network, the question it is asked, the images it learns from, the recipe."""

    make: Callable[[], nn.Module]
    question: str = "relation"
    images: int = 5000
    recipe: Recipe = recipes.cpu_minute.but(steps=250)
    data: str = "two_questions"


def _video(make: Callable[[], nn.Module], steps: int = 375) -> Training:
    return Training(make, "motion", 4000, recipes.cpu_minute.but(steps=steps), "digit_video")


_FLIPPED = recipes.cpu_minute.but(steps=250, augment=("random_flip",))
TRAININGS = {
    "9-px CNN, texture": Training(lambda: cnn(*NEAR), "texture"),
    "9-px CNN": Training(lambda: cnn(*NEAR)),
    "deep CNN": Training(lambda: cnn(*FAR)),
    "ViT": Training(vit),
    "ViT, 1,000 images": Training(vit, images=1000),
    "deep CNN, 1,000 images": Training(lambda: cnn(*FAR), images=1000),
    "Mixer, 1,000 images": Training(mixer, images=1000),
    "ViT, no positions": Training(lambda: vit(None)),
    "PoolFormer, no positions": Training(poolformer),
    "ViT, learned from 0.02": Training(lambda: vit("learned", 0.02)),
    "ViT, learned from 0.7": Training(lambda: vit("learned", 0.7)),
    "ViT, flipped": Training(vit, recipe=_FLIPPED),
    "9-px CNN, texture, flipped": Training(lambda: cnn(*NEAR), "texture", recipe=_FLIPPED),
    "one frame": _video(lambda: MiddleFrame(vivit(num_frames=1))),
    "mean over frames": _video(lambda: vivit(temporal_depth=0)),
    # Longer, because with some first weights it has not found the axis after 375 steps.
    "attention, no time code": _video(lambda: vivit(time_code=False), steps=600),
    "attention, time code": _video(vivit),
}


# -- what is predicted


@dataclass(frozen=True)
class Prediction:
    """An accuracy in percent that a training reaches, or does not pass, and why.

    Attributes:
        training: whose accuracy.
        sign: "≥" or "≤".
        percent: the bound; with `of`, so many points above that training's accuracy.
        because: why, without having tried it.
        of: another training.
    """

    training: str
    sign: str
    percent: float
    because: str
    of: str | None = None

    def holds(self, accuracy: dict[str, float], tested: dict[str, int]) -> bool:
        """On one seed. A ceiling is passed by chance: three standard errors of the test set are granted.

        Args:
            accuracy: in percent, by training.
            tested: on how many images, by training.
        """
        bound = self.percent + (accuracy[self.of] if self.of else 0)
        if self.sign == "≥":
            return accuracy[self.training] >= bound
        share = bound / 100
        return accuracy[self.training] <= bound + 300 * (share * (1 - share) / tested[self.training]) ** 0.5

    def __str__(self) -> str:
        than = f"{self.of} + {self.percent:g} points" if self.of else f"{self.percent:g} %"
        return f"{self.training} {self.sign} {than}"


@dataclass(frozen=True)
class Lesson:
    """A short experiment: what it shows, and what must come out if it does."""

    shows: str
    predictions: tuple[Prediction, ...]

    def trainings(self) -> list[str]:
        names = (name for each in self.predictions for name in (each.training, each.of) if name)
        return list(dict.fromkeys(names))


LESSONS = {
    "receptive_field": Lesson(
        "what a network does not see it cannot answer",
        (
            Prediction("9-px CNN, texture", "≥", 97, "two periods of the stripes fit into 9 pixels"),
            # Not for ever: zero padding marks the borders, and in a longer training it learns from them (lecture 3).
            Prediction("9-px CNN", "≤", 20, "plus and ring are always there, and no window holds both"),
            Prediction("deep CNN", "≥", 90, "29 pixels see both: it was the field, not the convolution"),
        ),
    ),
    "thousand_images": Lesson(
        "with a thousand images attention beats a CNN at a global question; with more the CNN catches up",
        (
            Prediction(
                "ViT, 1,000 images",
                "≥",
                20,
                "content and place meet in one layer",
                of="deep CNN, 1,000 images",
            ),
            Prediction(
                "ViT, 1,000 images",
                "≥",
                20,
                "a Mixer learns each pair of places by itself",
                of="Mixer, 1,000 images",
            ),
            Prediction("deep CNN", "≥", 90, "with 5,000 images: it lacked images, not a field"),
        ),
    ),
    "no_positions": Lesson(
        "without positions an image is a bag of patches, and no amount of training helps",
        (
            # Not 10: a bag of patches still says where in its patch each glyph begins (see the test).
            Prediction("ViT, no positions", "≤", 12.3, "every order of the patches gives the same logits"),
            Prediction("PoolFormer, no positions", "≤", 20, "an average is the same on all sides"),
            Prediction("ViT", "≥", 80, "positions are all that was missing"),
        ),
    ),
    "position_scale": Lesson(
        "positions too small to be heard beside the pixels are no positions, in a short training",
        (
            Prediction("ViT, learned from 0.02", "≤", 25, "the patches are tens of times larger"),
            Prediction("ViT", "≥", 50, "sines are as large as patches", of="ViT, learned from 0.02"),
            Prediction(
                "ViT, learned from 0.7",
                "≥",
                20,
                "so is this noise: it is the size that matters",
                of="ViT, learned from 0.02",
            ),
        ),
    ),
    "wrong_augmentation": Lesson(
        "a flip that changes the label teaches the wrong thing",
        (
            # Two of ten classes are their own mirror image; the others come with either label, just as often.
            Prediction("ViT, flipped", "≤", 60, "in 8 of 10 classes the label is a coin toss between two"),
            Prediction("9-px CNN, texture, flipped", "≤", 60, "the stripes lean the other way: likewise"),
            Prediction("ViT", "≥", 80, "unflipped it learns the relation"),
            Prediction("9-px CNN, texture", "≥", 97, "and the CNN the stripes"),
        ),
    ),
    "video_one_frame": Lesson(
        "one frame says nothing about motion",
        (Prediction("one frame", "≤", 25, "the middle frame looks the same under all four motions"),),
    ),
    "video_order": Lesson(
        "who is blind to the order of the frames knows the axis and not the direction",
        (
            Prediction("mean over frames", "≤", 50, "right and left show the same set of frames"),
            Prediction("attention, no time code", "≤", 50, "attention knows no order"),
            Prediction("attention, no time code", "≥", 40, "it meets the ceiling: the axis is found"),
        ),
    ),
    "video_time_code": Lesson(
        "a time code is all that was missing",
        (
            Prediction("attention, time code", "≥", 90, "which frame came first is known"),
            Prediction("attention, time code", "≥", 35, "a few rows more", of="attention, no time code"),
        ),
    ),
}


# -- the benchmark


@dataclass(frozen=True)
class Outcome:
    """Accuracy in percent, on how many images, and processor seconds of one training."""

    accuracy: float
    tested: int
    cpu: float


def bench(names: list[str] | None = None, *, seeds: int = SEEDS) -> dict:
    """Train what the lessons compare, say whether what they predict came out, and print it all.

    Args:
        names: which lessons; default: all. A network that several compare is trained once for each seed. Or lectures,
            whose runs are to be stored.
        seeds: how many; of first weights and of the order of the images.

    Returns:
        {"seeds", "cpu_limit", "trainings": {name: [{"accuracy", "tested", "cpu"} for each seed]},
        "lessons": {name: as `judged` gives it}, "held": how many lessons on all seeds}; of lectures, {name: the file}.

    Raises:
        ValueError: there is no such lesson, or no seed.
    """
    if seeds < 1:
        raise ValueError(f"--seeds is how often each network is trained, 1 at least, and not {seeds}")
    root = Path(__file__).resolve().parents[1]
    lectures = sorted(path.stem for path in (root / "notebooks" / "source").glob("*.py"))
    if names and set(names) <= set(lectures):
        return {name: store(name, root) for name in names}
    chosen = {name: LESSONS[one_of(name, [*LESSONS, *lectures], "there is no lesson")] for name in names or LESSONS}
    needed = list(dict.fromkeys(name for lesson in chosen.values() for name in lesson.trainings()))
    outcomes: dict[str, list[Outcome]] = {name: [] for name in needed}
    columns = "seeds " + ", ".join(map(str, range(seeds)))
    print(f"{'accuracy in %':30} {'mean':>6}  spread  {columns:22} CPU s")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with progress_bar(len(needed) * seeds, None, desc="lessons", unit=" trainings") as progress:
            for name, each in outcomes.items():
                for seed in range(seeds):
                    each.append(trained(TRAININGS[name], seed))
                    progress.update()
                progress.clear()
                print(_row(name, each), flush=True)
    finally:
        torch.set_num_threads(threads)
    report = {name: judged(lesson, outcomes) for name, lesson in chosen.items()}
    for name, lesson in chosen.items():
        print(_verdict(name, lesson, report[name]))
    held = sum(all(lesson["held"]) for lesson in report.values())
    print(f"{held} of {len(chosen)} lessons held on all seeds")
    return {
        "seeds": seeds,
        "cpu_limit": CPU_SECONDS,
        "trainings": {name: [asdict(outcome) for outcome in each] for name, each in outcomes.items()},
        "lessons": report,
        "held": held,
    }


def store(lecture: str, root: Path) -> str:
    """Run a lecture with every seed and store what its experiments give; returns the file."""
    source = read_source(root / "notebooks" / "source" / f"{lecture}.py", root)
    with Steps(f"course bench lessons {lecture}") as steps:
        path = store_runs(source, root, steps)
    print(f"{path.relative_to(root)} is written: build {source.shown} and read its numbers again")
    return str(path.relative_to(root))


@cache
def _data(name: str, split: str, size: int) -> ImageSet:
    return load(name, split, size=size, device="cpu")


def trained(training: Training, seed: int) -> Outcome:
    """One training, on the CPU: a laptop's minute is what is asked for."""
    data = _data(training.data, "train", budget(tiny=64, cpu=training.images)).ask(training.question)
    test = _data(training.data, "test", budget(tiny=50, cpu=TEST_IMAGES)).ask(training.question)
    torch.manual_seed(seed)
    model = training.make()
    recipe = training.recipe.but(seed=seed, steps=budget(tiny=2, cpu=training.recipe.steps))
    begin = time.process_time()
    fit(model, data, recipe, device="cpu", plot=False, progress=False)
    cpu = time.process_time() - begin
    return Outcome(100 * evaluate(model, test), len(test), cpu)


def judged(lesson: Lesson, outcomes: dict[str, list[Outcome]]) -> dict:
    """What held, seed by seed: {"held", "in_time", "cpu", "predictions": [{"says", "because", "held"}, ...]}.

    `cpu` is what all its trainings took together.
    """
    mine = {name: outcomes[name] for name in lesson.trainings()}
    predictions = []
    for prediction in lesson.predictions:
        held = []
        for each in zip(*mine.values()):
            accuracy = {name: outcome.accuracy for name, outcome in zip(mine, each)}
            tested = {name: outcome.tested for name, outcome in zip(mine, each)}
            held.append(prediction.holds(accuracy, tested))
        predictions.append({"says": str(prediction), "because": prediction.because, "held": held})
    cpu = [sum(outcome.cpu for outcome in each) for each in zip(*mine.values())]
    in_time = [all(outcome.cpu <= CPU_SECONDS for outcome in each) for each in zip(*mine.values())]
    held = [all(seed) for seed in zip(in_time, *(prediction["held"] for prediction in predictions))]
    return {"held": held, "in_time": in_time, "cpu": cpu, "predictions": predictions}


def _row(name: str, each: list[Outcome]) -> str:
    accuracies = [outcome.accuracy for outcome in each]
    spread = statistics.stdev(accuracies) if len(each) > 1 else 0.0
    listed = " ".join(f"{accuracy:5.1f}" for accuracy in accuracies)
    return (
        f"{name:30} {statistics.mean(accuracies):6.1f}  ± {spread:4.1f}  {listed:22} "
        f"{statistics.mean(outcome.cpu for outcome in each):5.1f}"
    )


def _verdict(name: str, lesson: Lesson, judged: dict) -> str:
    verdict = "held" if all(judged["held"]) else "DOES NOT HOLD"
    lines = [f"{verdict}: {name} ({statistics.mean(judged['cpu']):.0f} CPU s a seed): {lesson.shows}"]
    for prediction in judged["predictions"]:
        lines.append(f"  {_held(prediction['held'])} {prediction['says']}: {prediction['because']}")
    if not all(judged["in_time"]):
        lines.append(f"  {_held(judged['in_time'])} every training within {CPU_SECONDS} CPU seconds")
    return "\n".join(lines)


def _held(held: list[bool]) -> str:
    failed = [str(seed) for seed, fine in enumerate(held) if not fine]
    return "yes" if not failed else f"NO (seed {', '.join(failed)})"


if __name__ == "__main__":
    bench()
