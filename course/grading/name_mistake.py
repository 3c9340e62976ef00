"""The command ``course name-mistake``: what a group of a class does gets its sentence, as a named mistake of exercises.py.

The mistake is code that a student wrote, and exercises.py is run by the grader itself, outside every wall. So the
definition alone is taken, without comments and docstrings; it may use nothing but torch, einops, math and what the homework
gives; and a person reads it before it is written or run. That is what the diff is for: the rules find what is
obvious, and no more. Then it must do what the group did, and the tests of the tests must pass, or exercises.py is put
back.
"""

import ast
import builtins
import difflib
import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from course.atomic import write_atomically
from course.checks import Exercise, expected_for, load_homework
from course.checks.compare import Expected, faulty_calls, same_fault
from course.checks.exercise import one_thread
from course.grading.judge.unnamed import what_it_did
from course.grading.problems import CannotGrade
from course.grading.read.bare import without_docstrings
from course.grading.report.groups import FILE
from course.grading.settings import find_homework

TESTS = Path("tests", "test_mistakes.py")
SECONDS = 1200  # for the tests of one exercise
WIDTH = 100  # of a line of the sentence
PACKAGES = ("torch", "einops", "math")
BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bool",
        "dict",
        "divmod",
        "enumerate",
        "float",
        "int",
        "isinstance",
        "len",
        "list",
        "map",
        "max",
        "min",
        "pow",
        "print",
        "range",
        "reversed",
        "round",
        "set",
        "slice",
        "sorted",
        "str",
        "sum",
        "super",
        "tuple",
        "zip",
        "filter",
    ]
) | {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Exception)}
REFUSED = frozenset(
    [
        "os",
        "sys",
        "subprocess",
        "builtins",
        "load",
        "save",
        "hub",
        "from_file",
        "load_library",
        "load_url",
        "cpp_extension",
        "system",
        "popen",
        "tofile",
        "fromfile",
        "set_rng_state",
    ]
)


def name_mistake(group: str, sentence: str, out: Path, yes: bool) -> int:
    """Add what a group does to exercises.py, with its sentence.

    Args:
        group: as report.html calls it.
        out: the folder that ``course grade`` wrote.
        yes: write and run it without asking.

    Returns:
        0 if exercises.py has the mistake now, 1 if it is as it was.
    """
    try:
        found, assignment = _find(group, out)
        root, folder = find_homework(assignment)
        if not (root / TESTS).is_file():
            raise CannotGrade(
                f"{root / TESTS} is missing: a mistake is added in the course's repository, with its tests."
            )
        path = folder / "exercises.py"
        before = path.read_bytes()
        exercise = load_homework(folder).exercises[found["exercise"]]
        with one_thread():
            expected = expected_for(exercise, found["seed"])
        target = _target(exercise, expected, found)
        after = with_mistake(before.decode(), exercise, target, found["code"], group, sentence)
        print(
            f"{found['students']} students do this. The code is a student's: read what it does before you let it in.\n"
        )
        names = (f"{path} as it is", f"{path} with the mistake")
        print("".join(difflib.unified_diff(before.decode().splitlines(True), after.splitlines(True), *names)))
        if not yes and not _agreed():
            raise CannotGrade("nothing was written. With --yes it is, without a question.")
        try:
            write_atomically(path, after.encode())
            problem = _problem(folder, exercise.name, expected, found) or _failed(root, folder.name, exercise.name)
        except BaseException:
            write_atomically(path, before)
            raise
        if problem:
            write_atomically(path, before)
            raise CannotGrade(f"{path} is as it was, since {problem}")
    except CannotGrade as problem:
        print(f"course name-mistake: {problem}", file=sys.stderr)
        return 1
    print(f"{path} has the mistake, and its tests pass. Look at its place and its name; then:")
    print(f"  course build {folder.relative_to(root)}    so that notebooks say the sentence too")
    print(f"  course grade … -o {out}    says it to whoever made the mistake")
    return 0


def _find(group: str, out: Path) -> tuple[dict[str, Any], str]:
    """What groups.json says of a group, and of which homework it is."""
    path = out / FILE
    try:
        told = json.loads(path.read_bytes())
        groups = {each["id"]: each for each in told["groups"]}
        assignment = told["assignment"]
    except FileNotFoundError:
        raise CannotGrade(f"{path} is missing: with -o give the folder that `course grade` wrote.") from None
    except OSError as error:
        raise CannotGrade(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError):
        raise CannotGrade(f"{path} is damaged: run `course grade` again.") from None
    if group not in groups:
        there = ", ".join(groups) or "none"
        raise CannotGrade(
            f"{path} has no group {group!r}; it has {there}. A group's name changes with the code that the report shows of "
            "it: look at the report again."
        )
    if groups[group]["seed"] is None:
        raise CannotGrade(
            f"{group} was found on hidden inputs of an earlier run, on which nothing can be tried any more: "
            "`course grade` with --again finds it on fresh ones."
        )
    if not groups[group]["code"]:
        raise CannotGrade(f"the code of {group} could not be read: write its mistake into exercises.py by hand.")
    return groups[group], assignment


def _target(exercise: Exercise, expected: Expected, found: dict[str, Any]) -> str:
    """Which of the exercise's names the group gets wrong: that of the first call that goes wrong."""
    if len(exercise.targets) == 1:
        return exercise.targets[0]
    return expected.made[faulty_calls(expected, what_it_did(found["did"]))[0]].target


def _agreed() -> bool:
    try:
        return input("Add it, run it and test it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


# -- the text


def with_mistake(text: str, exercise: Exercise, target: str, code: str, group: str, sentence: str) -> str:
    """The text of exercises.py with a named mistake more, behind the others of its exercise.

    Raises:
        CannotGrade: the code is not a definition that can stand there by itself, or there is no place for it.
    """
    sentence = " ".join(sentence.split())
    if not sentence:
        raise CannotGrade("the sentence is empty: say what went wrong and what to look at.")
    tree = ast.parse(text)
    variable = _variable(tree, exercise.name)
    name = re.sub(r"\W", "_", f"{target}_{group.rpartition('-')[2]}")
    definition = _definition(code, target, name, exercise, _module_names(exercise))
    decorator = f"@{variable}.mistake({_written(sentence)}{f', {target!r}' if len(exercise.targets) > 1 else ''})"
    lines = text.splitlines(True)
    end = _end_of_mistakes(tree, variable)
    lines[end:end] = [f"\n\n{decorator}\n{definition}\n"]
    return _formatted("".join(lines))


def _variable(tree: ast.Module, exercise: str) -> str:
    """What exercises.py calls an exercise: ``scores = homework.exercise("attention_scores", …)``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            made, first, to = node.value.func, node.value.args[0], node.targets[0]
            is_exercise = isinstance(made, ast.Attribute) and made.attr == "exercise"
            is_this = isinstance(first, ast.Constant) and first.value == exercise
            if is_exercise and is_this and isinstance(to, ast.Name):
                return to.id
    raise CannotGrade(f"exercises.py gives {exercise} no name of its own: write the mistake by hand.")


def _end_of_mistakes(tree: ast.Module, variable: str) -> int:
    """The last line of the last mistake of an exercise; where it has none, of what is said of it."""

    def speaks_of(node: ast.stmt, attribute: str | None) -> bool:
        return any(
            isinstance(part, ast.Attribute)
            and isinstance(part.value, ast.Name)
            and part.value.id == variable
            and attribute in (None, part.attr)
            for part in ast.walk(node)
        )

    last = [node.end_lineno for node in tree.body if speaks_of(node, "mistake")]
    return (last or [node.end_lineno for node in tree.body if speaks_of(node, None)])[-1]


def _written(sentence: str) -> str:
    lines = textwrap.wrap(sentence, WIDTH, drop_whitespace=False, break_on_hyphens=False)
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)


def _formatted(text: str) -> str:
    """As ruff formats it, where ruff is installed."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--line-length", "120", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return text if done.returncode else done.stdout


def _module_names(exercise: Exercise) -> dict[str, Any]:
    """What exercises.py itself gives a meaning to: it stands in the globals of its own functions."""
    if exercise._inputs is None:
        return {}
    return exercise._inputs.__globals__


# -- what of a student's code may come in


@dataclass
class _Used:
    """A name that a definition takes from outside, and the attributes that are taken from it in one go."""

    node: ast.Name
    chain: tuple[str, ...] = ()


def _definition(code: str, target: str, name: str, exercise: Exercise, there: dict[str, Any]) -> str:
    """The definition of `target` under another name, with all that it takes from outside as exercises.py has it."""
    found = [
        node
        for node in ast.parse(code).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == target
    ]
    if not found:
        raise CannotGrade(f"the code shown defines no {target} by itself: write the mistake into exercises.py by hand.")
    definition = found[-1]
    without_docstrings(definition)
    _require_harmless(definition)
    reference = exercise.homework.reference
    definition.name = name
    for used in _from_outside(definition):
        own = used.node.id
        if own == target:
            used.node.id = name
        elif own in reference and there.get(own) is not reference[own]:
            _require_harmless_chain(reference[own], own, used.chain)
            used.node.id = f'homework.reference["{own}"]'  # unparsed as it stands
        elif own in there and (own in reference or _is_of_a_package(there[own])):
            _require_harmless_chain(there[own], own, used.chain)
        elif own not in BUILTINS:
            raise CannotGrade(
                f"its code uses `{own}`, which is defined elsewhere in the student's notebook or is not let in: write the "
                "mistake into exercises.py by hand."
            )
    return ast.unparse(definition)


def _from_outside(definition: ast.stmt) -> list[_Used]:
    """The names that are read in `definition` and given a meaning nowhere in it."""
    own = {node.arg for node in ast.walk(definition) if isinstance(node, ast.arg)}
    own |= {node.name for node in ast.walk(definition) if isinstance(node, ast.ExceptHandler) and node.name}
    for node in ast.walk(definition):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            own.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not definition:
            own.add(node.name)
    chains: dict[int, tuple[str, ...]] = {}
    for node in ast.walk(definition):
        if isinstance(node, ast.Attribute):
            chain, root = [node.attr], node.value
            while isinstance(root, ast.Attribute):
                chain.insert(0, root.attr)
                root = root.value
            if isinstance(root, ast.Name) and len(chain) > len(chains.get(id(root), ())):
                chains[id(root)] = tuple(chain)
    return [
        _Used(node, chains.get(id(node), ()))
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and node.id not in own
    ]


def _require_harmless(definition: ast.stmt) -> None:
    for node in ast.walk(definition):
        refused = ""
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.AsyncFunctionDef)):
            refused = ast.unparse(node).split("\n")[0]
        elif isinstance(node, ast.Attribute) and (node.attr in REFUSED or _is_hidden(node.attr)):
            refused = f".{node.attr}"
        elif isinstance(node, ast.Name) and _is_hidden(node.id):
            refused = node.id
        if refused:
            raise CannotGrade(f"its code holds `{refused}`, which is not let in: write the mistake by hand.")


def _is_hidden(name: str) -> bool:
    return name.startswith("__") and name != "__init__"


def _require_harmless_chain(value: Any, name: str, chain: tuple[str, ...]) -> None:
    """``torch.nn.functional`` leads to torch, ``torch.os`` does not."""
    for k, attribute in enumerate(("", *chain)):
        value = getattr(value, attribute, None) if attribute else value
        if isinstance(value, ModuleType) and not _is_of_a_package(value):
            said = ".".join((name, *chain[:k]))
            raise CannotGrade(f"its code uses `{said}`, which is not let in: write the mistake by hand.")


def _is_of_a_package(value: Any) -> bool:
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    return module.partition(".")[0] in PACKAGES


# -- whether it is what was meant


def _problem(folder: Path, name: str, expected: Expected, found: dict[str, Any]) -> str:
    """Why the mistake that was added is not what the group did; "" if it is."""
    try:
        exercise = load_homework(folder).exercises[name]
    except Exception as error:
        return f"it cannot be read any more: {type(error).__name__}: {error}"
    [*_, mistake] = exercise.mistakes
    exact = [i for i in range(expected.calls) if i not in expected.goals]
    with one_thread():
        did = exercise.observe([expected.made[i] for i in exact], mistake.objects)
    if same_fault(expected, what_it_did(found["did"]), did):
        return ""
    return (
        "by itself, with the course's own answers for everything else, this code does not do what the group did: it uses "
        "something else of the student's notebook. Write the mistake by hand."
    )


def _failed(root: Path, topic: str, name: str) -> str:
    """What the tests of this exercise say against it; "" if they pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "-m", "not long"]
    try:
        done = subprocess.run(
            [*command, str(TESTS), "-k", f"{topic}-{name}"],
            cwd=root,
            env={
                **os.environ,
                "COURSE_BUDGET": "tiny",
                "COURSE_OFFLINE": "1",
                "MPLBACKEND": "agg",
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"its tests are not through after {SECONDS} seconds."
    if done.returncode == 0:
        return ""
    said = re.findall(r"^E +(?:AssertionError: )?(.*)", done.stdout, re.MULTILINE)
    return f"a test says: {said[0]}" if said else f"its tests fail:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
