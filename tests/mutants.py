"""Mutants of our own code: one small fault at a time, and the tests that belong to the place must fail.

`python -m tests.mutants` tries all of `MUTANTS`, `python -m tests.mutants 3 17` those two. Each is made in a copy of
the files that git tracks, as they are now, in a temporary folder; the working tree is left alone. It prints the
survivors and ends with 1 if there are any: what a test should have seen. Not part of `make test`, which only checks
that every mutant still finds its place (`tests/test_mutants.py`).
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
SECONDS = 600  # of the tests of one mutant: one that makes them hang is caught by that
FAILED = 1  # how pytest ends when tests fail; other numbers say that it could not run them

JUDGE = "course/grading/judge/exercise.py"
KNOWN_SAFE = "course/grading/known_safe.py"
COMPARE = "course/checks/compare.py"
PLACE = "course/checks/place.py"
TRACE = "course/checks/trace.py"
EXERCISE = "course/checks/exercise.py"
ROUNDING = "course/checks/rounding.py"
MESSAGE = "course/checks/message.py"
WINDOW = "course/models/token_mixers/window.py"
STEP = "course/training/step.py"
GUARDS = "course/checks/guards.py"
OPERATORS = "course/checks/operators.py"
HOUSE = "course/grading/sandbox/house.py"
SECCOMP = "course/grading/sandbox/seccomp.py"

TEST_JUDGE = "tests/grading/test_judge.py"
TEST_OBSERVATION = "tests/grading/test_observation.py"
TEST_GUARDS = "tests/grading/test_guards.py"
TEST_WALLS = "tests/grading/test_walls.py"
TEST_SANDBOX = "tests/grading/test_sandbox.py"
TEST_PLACE = "tests/checks/test_place.py"
TEST_VERDICTS = "tests/checks/test_verdicts.py"
TEST_CREDIT = "tests/checks/test_credit.py"
TEST_SWIN = "tests/models/test_swin.py"
HEADERS = (
    f"{TEST_OBSERVATION}::test_a_forged_header_is_refused_before_safetensors_sees_it",
    f"{TEST_OBSERVATION}::test_a_message_may_hold_exactly_what_its_bounds_say",
)
NUMBERS = (
    f"{TEST_OBSERVATION}::test_whole_numbers_count_to_the_last_digit",
    f"{TEST_OBSERVATION}::test_other_kinds_of_numbers",
    f"{TEST_OBSERVATION}::test_a_complex_number_does_not_pass_for_its_real_part",
    f"{TEST_OBSERVATION}::test_a_goal_is_not_reached_by_scores_that_are_none",
)
TEST_FIT = "tests/training/test_fit.py"
TEST_RECIPE = "tests/training/test_every_recipe.py"


@dataclass(frozen=True)
class Mutant:
    """A fault that somebody could make.

    Args:
        file: of the course.
        before: text that stands in it exactly once.
        after: what stands there instead.
        means: what would then be wrong.
        tests: what must see it, as pytest takes it.
    """

    file: str
    before: str
    after: str
    means: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        JUDGE,
        "observation(seen, known), rule_broken, [",
        "observation(seen, known), None, [",
        "what is forbidden and found in the source costs nothing",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "verdict.points(max_points),",
        "max_points if verdict.status == RIGHT else 0.0,",
        "no points for a part",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "judge(expected, observation(seen, known), ",
        "judge(expected, seen, ",
        "an error message carries a hidden number",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "[asked.sizes for asked in known.calls]",
        "None",
        "numbers of what was made of hidden inputs are told",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "LOST, one_line(seen.sentence))",
        "LOST, seen.sentence)",
        "what a lost child said last fills a page",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "if len(text) <= longest else",
        "if len(text) < longest else",
        "a sentence that just fits is cut",
        (TEST_JUDGE,),
    ),
    Mutant(
        JUDGE,
        "except Exception as error:  # tensors",
        "except ValueError as error:  # tensors",
        "a tensor of a kind that cannot be compared stops the grader",
        (TEST_JUDGE,),
    ),
    Mutant(
        KNOWN_SAFE,
        "expression.fullmatch(said)",
        "expression.match(said)",
        "what begins as a known sentence passes for it",
        (TEST_JUDGE,),
    ),
    Mutant(
        KNOWN_SAFE,
        "_REFUSED.fullmatch(note)",
        "_REFUSED.match(note)",
        "what begins as a known refusal passes for it",
        (TEST_JUDGE,),
    ),
    Mutant(
        KNOWN_SAFE,
        're.fullmatch(r"\\d", part)',
        're.match(r"\\d", part)',
        "the name of a parameter carries a long number",
        (TEST_JUDGE,),
    ),
    Mutant(
        KNOWN_SAFE,
        r"(?<![\w.])\d{1,6}(?![\w.])",
        r"(?<![\w.])\d{1,9}(?![\w.])",
        "a number as long as the bits of a float counts as a size",
        (TEST_JUDGE,),
    ),
    Mutant(
        COMPARE,
        "_keys(i, a) == _keys(i, b)\n        and all(_close",
        "set(_keys(i, a)) <= set(_keys(i, b))\n        and all(_close",
        "a result too many does not count",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        'return keys == [key for key in _keys(i, b) if ".grad." not in key] and all(',
        "return set(keys) <= set(_keys(i, b)) and all(",
        "a result too many earns the points for the shape",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        "    if all(right[i] for i in exact):\n        exact = list(expected.goals)\n",
        "",
        "every failed training is called by the name of the first mistake",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        "*range(1, 11), *(size for size in sizes if size)",
        "*range(1, 11), *sizes",
        "a size of 0 stops the comparison",
        (TEST_JUDGE, TEST_VERDICTS),
    ),
    Mutant(
        COMPARE,
        "return Verdict(WRONG, refused or rule_broken)",
        "return replace(verdict, sentence=refused or rule_broken)",
        "what is forbidden is said, and costs nothing",
        (TEST_CREDIT,),
    ),
    Mutant(
        COMPARE,
        'return replace(verdict, share=0.0, earned="") if rule_broken else verdict',
        "return verdict",
        "a wrong answer with what is forbidden in it earns a part",
        (TEST_CREDIT,),
    ),
    Mutant(
        COMPARE,
        "math.floor(100 * of * self.share + 1e-6) / 100",
        "round(of * self.share, 2)",
        "a part of the points is rounded up",
        (TEST_CREDIT,),
    ),
    Mutant(
        COMPARE,
        "(has_shape or values)",
        "True",
        "a single number earns the points for the right shape",
        (TEST_CREDIT,),
    ),
    Mutant(
        COMPARE,
        "_accuracy(i, expected, seen) >= expected.goals[i].at_least",
        "_accuracy(i, expected, seen) > expected.goals[i].at_least",
        "who just reaches a goal has not",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        "        _notes(i, a) == _notes(i, b)\n        and _keys(i, a)",
        "        _keys(i, a)",
        "an input that was changed in place does not count",
        (TEST_CREDIT, TEST_VERDICTS),
    ),
    Mutant(
        COMPARE,
        "        exact = list(expected.goals)\n",
        "        return True\n",
        "any failed training is called by the name of the first mistake",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        "return all(same_in_call(i, mistake,",
        "return any(same_in_call(i, mistake,",
        "two mistakes at once are called by the name of one",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        "        and expected.is_complex() == seen.is_complex()\n",
        "",
        "complex numbers pass for real ones",
        NUMBERS,
    ),
    Mutant(
        COMPARE,
        "if scores[0].is_complex() or not scores[0].double().isfinite().all():",
        "if scores[0].is_complex():",
        "a network that gives NaN knows class 0",
        NUMBERS,
    ),
    Mutant(
        COMPARE,
        "if expected.numel() < MANY or not square > 0:",
        "if not square > 0:",
        "of a single number it is said that it is right but for a factor",
        (TEST_VERDICTS,),
    ),
    Mutant(
        COMPARE,
        'f"{i}.error" not in seen.notes or _said_by(i, mistake) == _said_by(i, seen)',
        "True",
        "an error of the same class is called by the name of a mistake",
        (TEST_VERDICTS,),
    ),
    Mutant(
        PLACE,
        "        if seen.neutral[number] and seen.records[number].value.alone:\n",
        "        if False:\n",
        "a wrong map is forgiven because its size is right",
        (TEST_PLACE,),
    ),
    Mutant(
        PLACE,
        "if seen.off[number] and not known_again[number]]",
        "if seen.off[number]]",
        "a way of one's own is blamed",
        (TEST_PLACE,),
    ),
    Mutant(
        TRACE,
        "            namespace[name] = copy.deepcopy(namespace[name])\n",
        "            pass\n",
        "the second run writes into what a student keeps",
        (TEST_PLACE,),
    ),
    Mutant(
        COMPARE,
        "rtol=tolerance, atol=tolerance + NOISE_FACTOR * asked.answer.noise.get(key, 0.0))",
        "rtol=tolerance, atol=0.0)",
        "more values are said to differ than do",
        (TEST_VERDICTS,),
    ),
    Mutant(
        EXERCISE,
        "        seen = observed(mistake.objects)\n",
        "        seen = exercise.observe(calls[:exact], mistake.objects)\n",
        "rounding hides from which mistake a result comes",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "atol = tolerance + NOISE_FACTOR * noise",
        "atol = tolerance",
        "what a processor rounds otherwise is wrong",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "atol = tolerance + NOISE_FACTOR * noise",
        "atol = tolerance + noise",
        "the noise that was measured once is taken for the largest there is",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "        return _same_whole_numbers(expected, seen)\n",
        "        return torch.allclose(seen.double(), expected.double(), rtol=tolerance, atol=atol)\n",
        "an index that is off by a little is right",
        NUMBERS,
    ),
    Mutant(
        ROUNDING,
        "torch.finfo(value.dtype).eps",
        "0.0",
        "inputs are not moved, and no noise is ever seen",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "parameters=nudge_all(call.parameters)",
        "parameters=call.parameters",
        "weights are not moved",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "difference[difference.isfinite()].max()",
        "difference[difference.isfinite()].mean()",
        "the noise of the worst value is averaged away",
        (TEST_VERDICTS,),
    ),
    Mutant(
        ROUNDING,
        "float(difference[difference.isfinite()].max())",
        "float(difference.max())",
        "one infinite value makes the noise infinite, and everything right",
        (TEST_VERDICTS,),
    ),
    Mutant(
        MESSAGE,
        "size > min(bounds.header, len(data) - 8):",
        "size > len(data) - 8:",
        "a header may be as long as it likes",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "if begin != at:",
        "if begin < at:",
        "gaps between tensors carry what nobody looks at",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "if begin != at:",
        "if begin > at:",
        "tensors overlap",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "if at != len(data) - 8 - size:",
        "if at > len(data) - 8 - size:",
        "bytes behind the last tensor",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "if len(header) > bounds.tensors:",
        "if len(header) > OURS.tensors:",
        "as many tensors as in a message of our own",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "end - begin != prod(shape) *",
        "end - begin < prod(shape) *",
        "a tensor has more bytes than it needs",
        HEADERS,
    ),
    Mutant(
        MESSAGE,
        "    if len(made) != len(pairs):\n",
        "    if False:\n",
        "of two entries of one name the last one counts",
        HEADERS,
    ),
    Mutant(
        WINDOW,
        '"b (i m) (j n) d -> b (i j) (m n) d", m=window_size',
        '"b (i m) (j n) d -> b (j i) (m n) d", m=window_size',
        "windows are numbered column by column",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "i=height // m, j=width // m",
        "i=width // m, j=height // m",
        "the windows of a map that is no square are put together in the wrong order",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "dx = column[:, None] - column +",
        "dx = column - column[:, None] +",
        "the displacement from left to right has the wrong sign",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "(place >= length - shift)",
        "(place > length - shift)",
        "the seam is off by one",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "region(grid[0])[:, None] * 3 + region(grid[1])",
        "region(grid[1])[:, None] * 3 + region(grid[0])",
        "the mask of a map that is no square lies on its side",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "if min(grid) <= window_size:",
        "if min(grid) < window_size:",
        "a window that is the whole map is shifted all the same",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        "if any(self.padding):",
        "if all(self.padding):",
        "a map that windows do not divide is not filled up",
        (TEST_SWIN,),
    ),
    Mutant(
        WINDOW,
        'shift = window_size // 2 if shift == "half"',
        'shift = (window_size + 1) // 2 if shift == "half"',
        "windows of odd size are shifted by one too much",
        (TEST_SWIN,),
    ),
    Mutant(
        STEP,
        ' * group["lr_scale"]',
        "",
        "all layers learn at one rate",
        (f"{TEST_FIT}::test_several_steps_are_what_plain_pytorch_does",),
    ),
    Mutant(
        STEP,
        "self.recipe.learning_rate(step, self.steps)",
        "self.recipe.learning_rate(step + 1, self.steps)",
        "the schedule is one step ahead",
        (f"{TEST_FIT}::test_several_steps_are_what_plain_pytorch_does",),
    ),
    Mutant(
        STEP,
        "            self.optimizer.zero_grad()\n",
        "",
        "gradients of all steps add up",
        (f"{TEST_FIT}::test_several_steps_are_what_plain_pytorch_does",),
    ),
    Mutant(
        STEP,
        "            torch.manual_seed(seed)  # dropout and the like\n",
        "",
        "dropout depends on what was drawn before",
        (f"{TEST_FIT}::test_the_same_twice_and_the_callers_randomness_untouched",),
    ),
    Mutant(
        STEP,
        '        self.optimizer.step()\n        if hasattr(self.model, "after_step"):\n'
        "            self.model.after_step(step, self.steps)\n"
        "        if self.ema:\n            self.ema.update(self.model)\n",
        "        if self.ema:\n            self.ema.update(self.model)\n        self.optimizer.step()\n",
        "the running mean is one step behind",
        (f"{TEST_FIT}::test_several_steps_are_what_plain_pytorch_does",),
    ),
    Mutant(
        STEP,
        "images = theirs(mine.undo(images))",
        "images = theirs(images)",
        "a teacher sees pixels that were normalised twice",
        (f"{TEST_RECIPE}::test_a_teacher_sees_the_pixels_in_its_own_way",),
    ),
    Mutant(
        STEP,
        "        teacher.train(was_training)\n",
        "",
        "a teacher that was training is left in eval mode",
        (f"{TEST_FIT}::test_a_teacher_is_left_in_the_mode_it_was_in",),
    ),
    Mutant(
        STEP,
        " or len(logits) != count:",
        ":",
        "logits for another number of images go on to the loss",
        (f"{TEST_FIT}::test_logits_for_another_number_of_images_are_refused",),
    ),
    Mutant(
        OPERATORS,
        '_KEYS = ("AutogradCPU", "CPU", ',
        '_KEYS = ("AutogradCPU", ',
        "without gradients what is forbidden runs",
        (f"{TEST_GUARDS}::test_operators_are_refused_without_gradients_as_well",),
    ),
    Mutant(
        GUARDS,
        "        if name is not None:\n            _ask(name, spoken_operator",
        "        if False:\n            _ask(name, spoken_operator",
        "the operator beneath a forbidden layer runs",
        (TEST_GUARDS,),
    ),
    Mutant(
        GUARDS,
        "            _state.uses.setdefault(_state.exercise, use)\n            raise Forbidden(",
        "            raise Forbidden(",
        "who catches the refusal is not found out",
        (f"{TEST_GUARDS}::test_a_trick_is_noted_with_its_line_and_name",),
    ),
    Mutant(
        GUARDS,
        "    if _state.exercise and covered(name, _state.forbidden):\n        use =",
        "    if _state.exercise:\n        use =",
        "what another exercise forbids is refused",
        (f"{TEST_GUARDS}::test_what_one_exercise_forbids_another_may_use",),
    ),
    Mutant(
        GUARDS,
        "inside in targets and exercise != _state.exercise and exercise",
        "inside in targets and exercise",
        "an exercise that was found out once may go on",
        (f"{TEST_GUARDS}::test_a_second_use_in_the_same_exercise_is_refused_too",),
    ),
    Mutant(
        GUARDS,
        "return None  # it has cost that exercise its points",
        "pass  # it has cost that exercise its points",
        "who builds on an exercise with what is forbidden in it pays as well",
        (f"{TEST_GUARDS}::test_who_builds_on_an_exercise_that_was_found_out_is_not_to_blame",),
    ),
    Mutant(
        GUARDS,
        "            spec.loader = _SilentLoader(spec.loader.name, spec.loader.path)\n",
        "            pass\n",
        "a forbidden module that a library loads answers a student",
        (f"{TEST_GUARDS}::test_a_trick_is_noted_with_its_line_and_name",),
    ),
    Mutant(
        HOUSE,
        'HIDDEN = ("timm", "transformers", "course/models", "course/authoring")',
        'HIDDEN = ("timm", "transformers", "course/authoring")',
        "the models of the course lie before student code",
        (f"{TEST_SANDBOX}::test_what_does_the_exercises_is_not_there",),
    ),
    Mutant(
        HOUSE,
        '    kernel.mount(None, "/", None, kernel.REMOUNT |',
        '    None and kernel.mount(None, "/", None, kernel.REMOUNT |',
        "the root folder can be written to",
        (f"{TEST_SANDBOX}::test_what_is_shown_is_mounted_read_only",),
    ),
    Mutant(
        SECCOMP,
        '    "process_vm_writev": (311, 271),\n',
        "",
        "one process may write into the memory of another",
        (f"{TEST_WALLS}::test_filter_names_what_it_should",),
    ),
    Mutant(
        SECCOMP,
        '"setns": (308, 268),\n',
        "\n",
        "a process may enter the namespaces of another",
        (f"{TEST_WALLS}::test_filter_names_what_it_should",),
    ),
    Mutant(
        SECCOMP,
        '    "fallocate": (285, 47),\n',
        "",
        "the disk is taken at once",
        (f"{TEST_WALLS}::test_filter_names_what_it_should",),
    ),
    Mutant(
        SECCOMP,
        '("tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open")',
        '("tkill", "tgkill", "rt_tgsigqueueinfo", "pidfd_open")',
        "signals with a value go to anybody",
        (f"{TEST_WALLS}::test_filter_without_namespaces_looks_at_whom_a_call_is_about",),
    ),
)


def main(numbers: Iterable[int]) -> None:
    """
    Args:
        numbers: of mutants, from 1; all of them if there is none.
    """
    numbers = list(numbers) or range(1, len(MUTANTS) + 1)
    chosen = {number: MUTANTS[number - 1] for number in numbers}
    check_baseline(sorted({test for mutant in chosen.values() for test in mutant.tests}))
    survivors = []
    for number in tqdm(chosen, desc="mutants"):
        if survives(chosen[number]):
            survivors.append(number)
            tqdm.write(f"{number} lives")
    for number in survivors:
        mutant = chosen[number]
        print(f"{number} lives: {mutant.file}: {mutant.means}\n  - {mutant.before.strip()}\n  + {mutant.after.strip()}")
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were caught")
    sys.exit(bool(survivors))


def check_baseline(tests: list[str]) -> None:
    """Ends the program where the tests fail without any mutant: they would then catch anything."""
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        done = run_tests(Path(folder), tests)
    if done is None or done.returncode:
        sys.exit(f"without any mutant the tests do not pass:\n{done.stdout if done else 'they do not come to an end'}")


def survives(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        file = Path(folder, mutant.file)
        file.write_text(file.read_text().replace(mutant.before, mutant.after))
        done = run_tests(Path(folder), ["-x", *mutant.tests])
    if done is not None and done.returncode not in (0, FAILED):
        sys.exit(f"the tests of {mutant.file} cannot be run:\n{done.stdout}")
    return done is not None and done.returncode == 0


def copy_tree(to: Path) -> None:
    """What git tracks, as it is in the working tree."""
    to.chmod(0o755)  # student code runs as another user
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.split("\0"):
        if name and (ROOT / name).is_file():
            place = to / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


def run_tests(root: Path, arguments: list[str]) -> subprocess.CompletedProcess | None:
    """pytest in a copy; None if it takes too long.

    The copy goes before the installed course on every path: processes that tests start inherit PYTHONPATH or, as the
    sandbox does, make it from where their own `course` lies.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COURSE_BUDGET": "tiny",
        "COURSE_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not long", *arguments]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, said)


if __name__ == "__main__":
    main(map(int, sys.argv[1:]))
