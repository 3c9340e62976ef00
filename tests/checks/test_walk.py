"""The walk that ``course/checks/__init__.py`` describes is that of the code, and its three faces are used as it says."""

import ast
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import course.checks

ROOT = Path(__file__).resolve().parents[2]
WALK = course.checks.__doc__
NAMES = list(dict.fromkeys(re.findall(r"`(course\.[\w.]+)`", WALK)))
FACES = [  # for students, for authors, for the build and the grader, in the order of the file
    ast.literal_eval(node.value)
    for node in ast.parse(Path(course.checks.__file__).read_text()).body
    if isinstance(node, (ast.Assign, ast.AugAssign))
]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_walk_names_is_there(name):
    pkgutil.resolve_name(name)


# Step -> the function that takes it, and what it calls, in this order.
ORDER = {
    "2": ("course.authoring.examine.read_homework", ["read_source", "load_homework", "require_homework"]),
    "3": ("course.checks.public.message_of", ["expected_for", "calls_to_bytes", "pools_for", "pack"]),
    "5": (
        "course.authoring.builder._build_homework",
        ["read_homework", "_fresh_assignment", "_fresh_notebook", "_write", "leak_problems"],
    ),
    "6": ("course.checks.student.check", ["heard_on_stderr", "_judged", "show_card"]),
    "7": ("course.checks.student._judged", ["find", "read", "sentences", "watching", "observe", "judge"]),
}


@pytest.mark.parametrize("step", ORDER)
def test_the_code_goes_in_the_order_of_the_walk(step):
    function, wanted = ORDER[step]
    tree = ast.parse(inspect.getsource(pkgutil.resolve_name(function)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.end_lineno, call.end_col_offset))  # arguments end before the call that takes them
    named = [getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls]
    missing = set(wanted) - set(named)
    assert not missing, f"{function} calls them no longer: correct the walk in course/checks/__init__.py"
    assert [named.index(name) for name in wanted] == sorted(named.index(name) for name in wanted), named


def imported_from_checks(path: Path) -> set[str]:
    return {
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "course.checks"
        for alias in node.names
    }


def test_each_face_is_used_by_those_it_is_for():
    students, authors, graders = map(set, FACES)
    assert students | authors | graders == set(course.checks.__all__) and not students & authors & graders
    described = [imported_from_checks(path) for path in ROOT.glob("solutions/*/exercises.py")]
    assert described and set.union(*described) == authors
    for path in [*ROOT.glob("notebooks/source/*.py"), *ROOT.glob("solutions/*/hw*.py")]:
        assert not imported_from_checks(path) - students, path
    modules = {module.name for module in pkgutil.iter_modules(course.checks.__path__)}
    inside = [*ROOT.glob("course/grading/**/*.py"), *ROOT.glob("course/authoring/*.py")]
    used = set.union(*map(imported_from_checks, inside)) - modules
    assert used and not used & students


def test_contributors_are_led_to_four_walks_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Walks\n")[2].partition("\n## ")[0]
    links = re.findall(r"^- .*\]\((.+?)\)$", section, re.MULTILINE)
    assert len(links) == 4 and all(ast.get_docstring(ast.parse((ROOT / link).read_text())) for link in links)
