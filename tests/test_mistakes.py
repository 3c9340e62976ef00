"""The tests of the tests, over every homework: right work earns everything, and every mistake gets its own sentence."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from course.authoring.new import FRAME, FRAMED
from course.authoring.source import read_source
from course.checks import Call, Draw, expected_for, from_scratch, judge, load_homework, observe, public
from course.checks.calls import PLAIN
from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Expected, Verdict
from course.checks.exercise import Exercise, Homework
from course.checks.guards import found, watching
from course.checks.observe import live

ROOT = Path(__file__).parents[1]
FOLDERS = {FRAMED: ROOT / FRAME} | {
    folder.name: folder for folder in sorted(ROOT.glob("solutions/hw*_*/")) if (folder / "exercises.py").is_file()
}
SEEDS = (1, 2, 3)  # beside the public one; no check may depend on luck with its inputs
FEWEST_MISTAKES, FEWEST_ALTERNATIVES = 4, 2
LONGEST_SENTENCE = 300
LARGEST_CHECK_DATA = 800_000  # bytes of a homework


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The networks are tiny: on a busy machine a second thread makes them several times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def homework_in(topic: str) -> Homework:
    return load_homework(FOLDERS[topic])


@cache
def expected_on(topic: str, name: str, seed: int) -> Expected:
    return expected_for(homework_in(topic).exercises[name], seed)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """topic, name -> the public check as a student's notebook reads it, through the file and back."""

    @cache
    def file_of(topic: str) -> Path:
        path = tmp_path_factory.mktemp(f"data-{topic}") / public.FILE_NAME
        path.write_bytes(public.to_bytes(homework_in(topic)))
        return path

    return cache(lambda topic, name: public.read(file_of(topic), name))


every_exercise = pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic in FOLDERS for name in homework_in(topic).exercises]
)
every_mistake = pytest.mark.parametrize(
    ("topic", "name", "number"),
    [
        pytest.param(topic, name, number, id=f"{topic}-{name}-{mistake.name}-{number}")
        for topic in FOLDERS
        for name, exercise in homework_in(topic).exercises.items()
        for number, mistake in enumerate(exercise.mistakes)
    ],
)


def seen_of_mistake(exercise: Exercise, number: int, expected: Expected, calls: list):
    """A fresh run of a mistake, as a student's would be; goals, which train for seconds, only where they matter."""
    objects = exercise.mistakes[number].objects
    shown_by_goals = {key.split(".")[0] for key in expected.mistakes[number][1].tensors} & {
        str(i) for i in expected.goals
    }
    return exercise.observe(calls if shown_by_goals else calls[: len(calls) - len(expected.goals)], objects)


def test_there_is_homework_to_test():
    assert {"hw0_first_check", "hw1_self_attention"} <= set(FOLDERS)


@every_exercise
@pytest.mark.parametrize("seed", SEEDS)
def test_right_answer_earns_everything(topic, name, seed):
    exercise = homework_in(topic).exercises[name]
    verdict = judge(expected_on(topic, name, seed), exercise.observe(exercise.calls(seed)))
    assert verdict.status == RIGHT, verdict


def of_mistake(exercise: Exercise, number: int, verdict: Verdict) -> str | None:
    """What is wrong with a mistake that was judged so, and what to do about it; None if it gets its own sentence."""
    mistake = exercise.mistakes[number]
    where = f"solutions/{exercise.homework.topic}/exercises.py: the mistake {mistake.name} of {exercise.name}"
    if verdict.status == RIGHT:
        return f"{where} earns everything: make it wrong on these inputs, or mark it @{exercise.name}.alternative"
    if verdict.status != WRONG or not verdict.named:
        return f"{where} is not recognised, and gets this: {verdict.sentence} {verdict.detail}"
    if verdict.sentence != mistake.sentence:
        return f"{where} gets the sentence of another mistake: choose inputs on which they differ. {verdict.sentence}"
    return None


def of_counts(exercise: Exercise) -> list[str]:
    """Mistakes and alternatives that are still to be written, and sentences that several mistakes share."""
    where = f"solutions/{exercise.homework.topic}/exercises.py, {exercise.name}"
    names_by_sentence: dict[str, set[str]] = {}
    for mistake in exercise.mistakes:
        names_by_sentence.setdefault(mistake.sentence, set()).add(mistake.name)
    problems = []
    for kind, count, fewest in (
        ("mistake", len(names_by_sentence), FEWEST_MISTAKES),
        ("alternative", len(exercise.alternatives), FEWEST_ALTERNATIVES),
    ):
        if count < fewest:
            problems.append(
                f"{where}: {count} @{exercise.name}.{kind}, at least {fewest} are needed: add what is missing"
            )
    for sentence, names in names_by_sentence.items():
        # One mistake may be written in two ways, under one name; two mistakes never share a sentence.
        if len(names) > 1:
            problems.append(f"{where}: {' and '.join(sorted(names))} have one sentence: give each its own")
        if sentence[-1] not in ".?" or len(sentence) > LONGEST_SENTENCE:
            problems.append(
                f"{where}: a sentence ends in . or ? and has at most {LONGEST_SENTENCE} letters: {sentence}"
            )
    return problems


def of_sentence(sentence: str, answer: list[str]) -> str | None:
    """What of the answer's code, of which `answer` are the lines, a sentence gives away."""
    found = CODE.search(sentence)
    given = [found[0]] if found else [line for line in answer if len(line) >= 12 and line in sentence]
    return f"a sentence must not give the code away ({given[0]}): say it in words. {sentence}" if given else None


@every_exercise
def test_right_answer_runs_to_its_end(topic, name):
    """If the answer itself stopped with an error, that error would be what students are asked for."""
    exercise = homework_in(topic).exercises[name]
    notes = exercise.observe(exercise.calls(SEEDS[0])).notes
    assert not [key for key in notes if key.partition(".")[2] != PLAIN], notes


@every_exercise
def test_right_answers_keep_the_rules_they_are_judged_by(topic, name):
    exercise = homework_in(topic).exercises[name]
    cells = read_source(FOLDERS[topic] / f"{topic}.py", ROOT).cells
    names = from_scratch.imported_names(cell.text for cell in cells if cell.role in ("setup", "exercise"))
    [answer] = [cell.text for cell in cells if cell.role == "exercise" and cell.name == name]
    assert not from_scratch.forbidden_uses(answer, exercise.forbidden, names)
    for objects in exercise.alternatives:
        assert not from_scratch.sentences(objects.values(), exercise.forbidden)


@every_exercise
def test_right_answers_run_nothing_that_is_refused(topic, name):
    """By the operators that they run, in forward and backward passes, goals left out: these train what stands before."""
    exercise = homework_in(topic).exercises[name]
    calls = exercise.calls(SEEDS[0])
    calls = calls[: max(1, len(calls) - len(exercise.goals_for(SEEDS[0])))]
    with watching(exercise.id, exercise.forbidden):
        for objects in (None, *exercise.alternatives):
            exercise.observe(calls, objects)
            assert found() is None, objects


@every_exercise
def test_right_answer_passes_the_public_check(topic, name, stored):
    check = stored(topic, name)
    verdict = judge(check.expected, homework_in(topic).exercises[name].observe(check.calls))
    assert verdict.status == RIGHT, verdict


@pytest.mark.parametrize("topic", [topic for topic in FOLDERS if topic != FRAMED])
def test_check_data_are_small_enough_to_send(topic):
    path = ROOT / "assignments" / topic / public.FILE_NAME
    assert path.stat().st_size < LARGEST_CHECK_DATA
    largest = max(public.messages(path.read_bytes()).values(), key=len)
    assert len(largest) < 4 * LARGEST_CHECK_DATA, "unpressed"


@every_exercise
def test_every_alternative_earns_everything(topic, name):
    exercise = homework_in(topic).exercises[name]
    for objects in exercise.alternatives:
        verdict = judge(expected_on(topic, name, SEEDS[0]), exercise.observe(exercise.calls(SEEDS[0]), objects))
        assert verdict.status == RIGHT, (objects, verdict)


@every_mistake
def test_every_mistake_gets_exactly_its_own_sentence(topic, name, number, stored):
    exercise = homework_in(topic).exercises[name]
    public_check = stored(topic, name)
    inputs = [(public_check.expected, public_check.calls)]
    inputs += [(expected_on(topic, name, seed), exercise.calls(seed)) for seed in SEEDS]
    for expected, calls in inputs:
        verdict = judge(expected, seen_of_mistake(exercise, number, expected, calls))
        problem = of_mistake(exercise, number, verdict)
        assert not problem, problem


modules = pytest.mark.parametrize(
    ("topic", "name", "target"),
    [
        (topic, name, target)
        for topic in FOLDERS
        for name, exercise in homework_in(topic).exercises.items()
        for target in exercise.targets
        if any(call.target == target and call.init is not None for call in exercise.calls(public.PUBLIC_SEED))
    ],
)


def with_other_eps(right: type, path: str) -> type:
    """The same module in which the norm called `path` has ten times its eps, or a tenth of it."""

    def __init__(self, *arguments):
        right.__init__(self, *arguments)
        norm = self.get_submodule(path)
        norm.eps *= 0.1 if norm.eps > 3e-6 else 10

    return type(right.__name__, (right,), {"__init__": __init__})


@modules
def test_another_eps_is_judged_alike_in_the_notebook_and_at_grading(topic, name, target):
    """Of the module's own norms it costs points, each by itself; in the blocks inside it, at least the same everywhere."""
    exercise = homework_in(topic).exercises[name]
    seeds = (public.PUBLIC_SEED, *SEEDS)
    [call, *_] = [call for call in exercise.calls(seeds[0]) if call.target == target]
    built = exercise.homework.reference[target](*map(live, call.init.values()))
    for path in [path for path, part in built.named_modules() if isinstance(getattr(part, "eps", None), float)]:
        variant = {target: with_other_eps(exercise.homework.reference[target], path)}
        verdicts = [
            judge(expected_on(topic, name, seed), exercise.observe(exercise.calls(seed), variant)) for seed in seeds
        ]
        assert len({verdict.status for verdict in verdicts}) == 1, (path, verdicts)
        assert "." in path or verdicts[0].status == WRONG, path


@every_exercise
def test_there_are_enough_mistakes_and_each_has_words_of_its_own(topic, name):
    problems = of_counts(homework_in(topic).exercises[name])
    assert not problems, "\n".join(problems)


CODE = re.compile(r"\bdim ?=|\bF\.\w|\w\[|\.\w+\(\w*\)|\w+\(\w+=|\s@\s|\*\*|\btorch\.(?!randint\b)\w+")


@every_exercise
def test_no_sentence_gives_the_code_away(topic, name):
    homework = homework_in(topic)
    source = read_source(homework.source, ROOT)
    answer = [
        re.sub(r"\s+", " ", line.split(" # ")[0]).strip()
        for cell in source.cells
        if cell.role == "exercise"
        for first, last in cell.regions()
        for line in cell.text.split("\n")[first + 1 : last]
    ]
    problems = [of_sentence(mistake.sentence, answer) for mistake in homework.exercises[name].mistakes]
    assert not any(problems), "\n".join(filter(None, problems))


@every_exercise
@pytest.mark.parametrize("seed", SEEDS)
def test_axes_of_an_input_are_told_apart_by_their_sizes(topic, name, seed):
    """A tensor with two axes of one length hides a swap of them. (A mask (N, N) has to; photographs are square.)"""
    exercise = homework_in(topic).exercises[name]
    goals = exercise.goals_for(seed)
    for i, call in enumerate(exercise.calls(seed)):
        for argument, value in call.arguments.items() if i not in goals else ():
            if isinstance(value, torch.Tensor) and value.dtype != torch.bool:
                sizes = [size for size in value.shape if size > 1]
                assert len(set(sizes)) == len(sizes), (argument, value.shape)


def plainness(call: Call) -> dict[str, bool]:
    """Whether each argument is there and is something: a mask, a shift, a second result."""
    given = {**call.arguments, **(call.init or {})}
    return {
        name: value is not None and not (type(value) in (bool, int, float) and value == 0)
        for name, value in given.items()
    }


def not_plain(calls: list[Call]) -> list[str]:
    """What the first call of a target has and a later one of the same target has not."""
    problems = []
    for target in dict.fromkeys(call.target for call in calls):
        first, *later = [plainness(call) for call in calls if call.target == target]
        for name, there in first.items():
            if there and any(not each.get(name, False) for each in later):
                problems.append(f"{target}: its first call has {name}, a later one has not: put the plain one first")
    return problems


@every_exercise
@pytest.mark.parametrize("seed", (public.PUBLIC_SEED, SEEDS[0]))
def test_the_first_call_of_each_target_is_the_plain_one(topic, name, seed):
    """There one slip shows alone: what is said of single calls begins with it."""
    problems = not_plain(homework_in(topic).exercises[name].calls(seed))
    assert not problems, "\n".join(problems)


def test_a_first_call_that_is_not_plain_is_named():
    x, mask = torch.ones(2), torch.ones(2, dtype=torch.bool)
    bare, masked = Call("f", {"x": x}), Call("f", {"x": x, "mask": mask})
    assert not not_plain([bare, masked]) and not not_plain([Call("f", {"x": x, "mask": None}), masked])
    assert not_plain([masked, bare]) == ["f: its first call has mask, a later one has not: put the plain one first"]
    shifted, still = (Call("F", {"x": x}, init={"shift": shift}) for shift in (2, 0))
    assert not_plain([shifted, still]) and not not_plain([still, shifted, bare])


@every_exercise
def test_inputs_follow_from_the_seed_and_differ_between_seeds(topic, name):
    exercise = homework_in(topic).exercises[name]
    once, again, other = (public.calls_to_bytes(exercise.calls(seed)) for seed in (1, 1, 2))
    assert once == again
    assert once != other


@every_exercise
def test_hidden_inputs_are_never_those_of_the_notebook(topic, name):
    exercise = homework_in(topic).exercises[name]
    known = public.calls_to_bytes(exercise.calls(public.PUBLIC_SEED))
    for seed in range(100, 105 if exercise.trains else 200):
        assert public.calls_to_bytes(exercise.calls(seed)) != known, seed


def text_before(source, name: str) -> str:
    """The markdown of an exercise: from the heading above its cell."""
    end = next(i for i, cell in enumerate(source.cells) if (cell.role, cell.name) == ("exercise", name))
    starts = [i for i, cell in enumerate(source.cells[:end]) if re.search(r"^## ", cell.text, re.MULTILINE)]
    return "\n".join(cell.text for cell in source.cells[starts[-1] : end] if cell.kind == "markdown")


@every_exercise
def test_gradients_are_compared_of_every_input_or_the_text_says_that_they_are_not(topic, name):
    """Each homework promises that a lost gradient is seen."""
    exercise = homework_in(topic).exercises[name]
    if exercise.trains:
        return
    compared, numbers = set(), set()
    for call in exercise.calls(public.PUBLIC_SEED):
        floats = {key for key, value in call.arguments.items() if torch.is_tensor(value) and value.is_floating_point()}
        numbers |= {(call.target, key) for key in floats}
        compared |= {(call.target, key) for key in call.gradients}
    if numbers - compared:
        source = read_source(homework_in(topic).source, ROOT)
        rule = re.search(r"\* \*Gradients\.\*.*?(?=\n\* \*)", source.cells[1].text + source.cells[0].text, re.DOTALL)
        text = text_before(source, name) + (rule[0] if rule and "not compared" in rule[0] else "")
        assert re.search(r"gradients?[^.]*\bcompared\b|no\s+gradients", re.sub(r"\s+", " ", text), re.IGNORECASE), (
            numbers - compared
        )


@pytest.mark.parametrize("topic", FOLDERS)
def test_points_promised_in_the_text_are_those_that_are_given(topic):
    homework = homework_in(topic)
    source = read_source(homework.source, ROOT)
    given = {name: exercise.points for name, exercise in homework.exercises.items()}
    given |= {cell.name: cell.points for cell in source.cells if cell.role == "written"}
    promised = re.search(r"\*\*(\d+) points\*\*", source.cells[0].text)
    if promised:
        assert sum(given.values()) == int(promised[1])
    for row in re.findall(r"^\| \d+ \|.*\|$", source.cells[0].text, re.MULTILINE):
        names = [
            name for name, exercise in homework.exercises.items() if {*exercise.targets} & {*re.findall(r"\w+", row)}
        ]
        points = given[names[0]] if names else sum(given[name] for name in given if name not in homework.exercises)
        assert row.endswith(f"| {points:g} |"), row


@pytest.mark.parametrize("topic", FOLDERS)
def test_untouched_homework_is_not_started_and_crashes_nothing(topic, stored):
    homework = homework_in(topic)
    untouched: dict = {"__name__": f"untouched_{homework.short}"}
    for cell in read_source(homework.source, ROOT).cells:
        if cell.role in ("setup", "exercise"):
            exec(compile(cell.stripped(homework.short).text, topic, "exec"), untouched)
    for name, exercise in homework.exercises.items():
        seen = observe({target: untouched[target] for target in exercise.targets}, stored(topic, name).calls)
        verdict = judge(stored(topic, name).expected, seen)
        assert (verdict.status, verdict.sentence) == (NOT_STARTED, f"{exercise.id} is not written yet.")
        assert all(key.endswith(".unwritten") for key in seen.notes), seen.notes


def test_sizes_are_all_different_and_in_range():
    draw = Draw(0)
    for _ in range(50):
        sizes = draw.sizes(4, low=3, high=7)
        assert len(set(sizes)) == 4 and min(sizes) >= 3 and max(sizes) <= 7
    with pytest.raises(ValueError, match="no 6 different sizes from 3 to 7"):
        draw.sizes(6, low=3, high=7)


# -- what the author of a mistake reads who has left out a step


@pytest.fixture
def scale(tmp_path) -> Exercise:
    """An exercise with an answer, inputs, and nothing else."""
    (tmp_path / "hw9_small.py").write_text('# %% exercise="scale"\ndef scale(x):\n    return 2 * x\n')
    exercise = Homework("hw9_small", source=tmp_path / "hw9_small.py").exercise("scale", points=1)
    exercise.inputs(lambda draw: [Call("scale", {"x": draw.normal(3, 5)})])
    return exercise


def judged(exercise: Exercise, number: int) -> Verdict:
    calls = exercise.calls(1)
    return judge(expected_for(exercise, 1), exercise.observe(calls, exercise.mistakes[number].objects))


def test_a_mistake_without_its_sentence_is_refused_with_what_to_write(scale):
    for sentence in (lambda x: x, "", " "):
        with pytest.raises(
            TypeError, match=r"hw9.scale: a mistake needs the sentence that students read: @scale.mistake"
        ):
            scale.mistake(sentence)


def test_an_exercise_without_inputs_is_told_to_have_some():
    bare = Homework("hw9_small").exercise("bare", points=1)
    for seed in (1, public.PUBLIC_SEED):
        with pytest.raises(ValueError, match="hw9.bare has no inputs: write a function .* @bare.inputs"):
            bare.calls(seed)


def test_a_mistake_that_is_none_and_two_that_are_one_are_named(scale):
    scale.mistake("You added nothing.")(lambda x: x + x)
    assert "earns everything: make it wrong on these inputs, or mark it @scale.alternative" in of_mistake(
        scale, 0, judged(scale, 0)
    )
    scale.mistake("You tripled.")(lambda x: 3 * x)
    assert of_mistake(scale, 1, judged(scale, 1)) is None
    scale.mistake("You doubled and added.")(lambda x: 2 * x + x)
    assert "gets the sentence of another mistake" in of_mistake(scale, 2, judged(scale, 2))
    unnamed = judge(expected_for(scale, 1), scale.observe(scale.calls(1), {"scale": lambda x: 4 * x}))
    assert "is not recognised, and gets this: The result is the right one times 2" in of_mistake(scale, 1, unnamed)


def test_what_is_still_to_be_written_is_counted(scale):
    def first(x):
        return 3 * x

    def second(x):
        return 4 * x

    scale.mistake("You tripled")(first)
    scale.mistake("You tripled")(second)
    assert of_counts(scale) == [
        "solutions/hw9_small/exercises.py, scale: 1 @scale.mistake, at least 4 are needed: add what is missing",
        "solutions/hw9_small/exercises.py, scale: 0 @scale.alternative, at least 2 are needed: add what is missing",
        "solutions/hw9_small/exercises.py, scale: first and second have one sentence: give each its own",
        "solutions/hw9_small/exercises.py, scale: a sentence ends in . or ? and has at most 300 letters: You tripled",
    ]


def test_a_sentence_with_code_in_it_is_named():
    assert "(.mean(dim)): say it in words" in of_sentence("Take x.mean(dim) here.", [])
    assert "(return 2 times x): say it in words" in of_sentence("You should return 2 times x.", ["return 2 times x"])
    assert of_sentence("You took the mean.", ["return x"]) is None
