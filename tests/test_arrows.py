"""Which module of `course` imports which: no circles, and every arrow from one room to another points the agreed way.

Read from the text of the modules, so imports inside functions count too; those for type checkers only do not. Not
seen is what `importlib` imports by a name made at run time (`course/__init__.py`, the families of models), nor that
Python runs a package's `__init__` before any module in it.
"""

import ast
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Room -> the rooms that it may import. Everyone may import the base, which is what stands beside the packages.
BASE = "the base"
MAY_IMPORT = {
    BASE: (),
    "data": (),
    "models": ("data",),
    "training": ("data", "models"),
    "analysis": ("data", "models"),
    "pictures": ("data", "models", "training", "analysis"),
    "checks": (),  # runs beside student code, where the models are hidden
    "authoring": ("checks",),
    "grading": ("checks", "authoring"),
    "site": ("models", "authoring"),
    "slides": ("authoring",),
    "commands": (
        "data",
        "models",
        "training",
        "analysis",
        "pictures",
        "checks",
        "authoring",
        "grading",
        "site",
        "slides",
    ),
}
PICTURES = ("course.plots", "course.figures", "course.analysis.plots")
COMMANDS = ("course.__main__", "course.cli", "course.bench", "course.doctor")

# Arrows that close a circle, and those against the order: (who, whom) -> why it is there all the same.
CLOSE_A_CIRCLE: dict[tuple[str, str], str] = {
    ("course.models.registry", "course.models.weight_files"): "create_model(..., pretrained=FILE) is one function for "
    "people, and whoever reads the file makes the model by that very function without it",
    (
        "course.models.model",
        "course.models.registry",
    ): "feature_info measures with the images that fit, which the registry "
    "knows, and the registry makes models of this class",
}
AGAINST_THE_ORDER: dict[tuple[str, str], str] = {}

# The rooms of grading, each of which may import those before it, and what stands beside them that every room may import.
GRADING = ("read", "collect", "sandbox", "run", "judge", "record", "report")
BESIDE = ("limits", "problems", "statuses", "known_safe")
BACK_IN_GRADING = {
    ("course.grading.sandbox.jobs", "course.grading.run.worker"): "the job that runs a student's cells is the worker",
    ("course.grading.judge.second_chance", "course.grading.exam"): "its questions are those of the exam",
}

Arrows = dict[str, dict[str, int]]  # module -> what it imports -> in which line first


@pytest.fixture(scope="module")
def arrows() -> Arrows:
    return arrows_in(ROOT)


def test_no_modules_import_each_other_in_a_circle(arrows):
    rings = rings_in(arrows, CLOSE_A_CIRCLE)
    assert not rings, "these modules import each other in a circle: " + "; ".join(rings)


def test_every_arrow_follows_the_order_of_the_rooms(arrows):
    contrary = [
        f"{who} (in {room_of(who)}) imports {whom} (in {room_of(whom)}) in line {line}"
        for (who, whom), line in contrary_in(arrows).items()
        if (who, whom) not in AGAINST_THE_ORDER
    ]
    assert not contrary, "against the order of the rooms: " + "; ".join(contrary)


def test_what_is_let_pass_is_there_and_needs_it(arrows):
    for arrow in CLOSE_A_CIRCLE:
        others = CLOSE_A_CIRCLE.keys() - {arrow}
        assert rings_in(arrows, others), (
            f"without {' → '.join(arrow)} there is no circle any more: take it off the list"
        )
    gone = AGAINST_THE_ORDER.keys() - contrary_in(arrows).keys()
    assert not gone, f"these do not go against the order any more: take them off the list: {sorted(gone)}"


def test_a_submission_walks_through_grading_one_way(arrows):
    back = set()
    inside = [(who, whom) for who, imported in arrows.items() for whom in imported]
    for who, whom in inside:
        if who.startswith("course.grading.") and whom.startswith("course.grading."):
            here, there = who.split(".")[2:], whom.split(".")[2:]
            if here[0] in GRADING and there[0] not in (*BESIDE, *GRADING[: GRADING.index(here[0]) + 1]):
                back.add((who, whom))
    assert back == BACK_IN_GRADING.keys(), (
        f"new: {back - BACK_IN_GRADING.keys()}; gone: {BACK_IN_GRADING.keys() - back}"
    )


def test_rooms_are_those_that_there_are(arrows):
    packages = {file.parent.name for file in ROOT.glob("course/*/__init__.py")}
    assert MAY_IMPORT.keys() == packages - {"figures", "plots"} | {BASE, "pictures", "commands"}
    assert {*PICTURES, *COMMANDS} <= arrows.keys()


def test_a_circle_is_found_and_named(tmp_path):
    write(tmp_path, "a", "import course.b\n")
    write(tmp_path, "b", "def late():\n    from course.c import name\n")
    write(tmp_path, "c", "from course import a, d\n")
    write(tmp_path, "d", "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from course.a import name\n")
    write(tmp_path, "d", "if __name__ == '__main__':\n    from course.d import name\n")
    arrows = arrows_in(tmp_path)
    assert arrows["course.c"] == {"course.a": 1, "course.d": 1} and arrows["course.b"] == {"course.c": 2}
    assert rings_in(arrows) == ["course.a → course.b → course.c → course.a"]
    assert rings_in(arrows, {("course.b", "course.c")}) == []


def test_an_arrow_against_the_order_is_found(tmp_path):
    write(tmp_path, "notebook", "")
    write(tmp_path, "plots", "from course.analysis.cka import cka\nfrom course.notebook import name\n")
    write(tmp_path, "analysis/cka", "from course.analysis import plots\n")
    write(tmp_path, "analysis/plots", "from course.analysis.cka import cka\n\nfrom course import plots\n")
    write(tmp_path, "data/digits", "def late():\n    import course.plots\n")
    assert contrary_in(arrows_in(tmp_path)) == {
        ("course.analysis.cka", "course.analysis.plots"): 1,
        ("course.data.digits", "course.plots"): 2,
    }


def write(root: Path, name: str, text: str) -> None:
    file = root / "course" / f"{name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write(text)


def arrows_in(root: Path) -> Arrows:
    """Of all modules of the folder ``course`` in `root`, by their full names."""
    files = {}
    for file in sorted(root.glob("course/**/*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    arrows: Arrows = {}
    for module, file in files.items():
        arrows[module] = {}
        for name, line in imported(ast.parse(file.read_text(), str(file))):
            # `from course.checks import judge` names either a module or something in one.
            found = name if name in files else name.rpartition(".")[0]
            if found in files and found != module:  # what is started as a program imports itself by its name
                arrows[module].setdefault(found, line)
    return arrows


def imported(node: ast.AST) -> Iterator[tuple[str, int]]:
    """(full name, line) of every import at or below `node` that runs."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: imports in course are written with full names"
        yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    for_types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in node.orelse if for_types_only else ast.iter_child_nodes(node):
        yield from imported(child)


def rings_in(arrows: Arrows, without: set | dict = frozenset()) -> list[str]:
    """For each module that comes back to itself the shortest way, each ring once: "a → b → a"."""
    rings: dict[frozenset, str] = {}
    for start in sorted(arrows):
        came_from = {}
        waiting = deque([start])
        while waiting and start not in came_from:
            who = waiting.popleft()
            for whom in sorted(arrows[who]):
                if whom not in came_from and (who, whom) not in without:
                    came_from[whom] = who
                    waiting.append(whom)
        if start in came_from:
            ring = [start, came_from[start]]
            while ring[-1] != start:
                ring.append(came_from[ring[-1]])
            rings.setdefault(frozenset(ring), " → ".join(reversed(ring)))
    return list(rings.values())


def contrary_in(arrows: Arrows) -> dict[tuple[str, str], int]:
    """(who, whom) -> line."""
    return {
        (who, whom): line
        for who, these in arrows.items()
        for whom, line in these.items()
        if room_of(whom) not in (BASE, room_of(who), *MAY_IMPORT[room_of(who)])
    }


def room_of(module: str) -> str:
    if module in COMMANDS:
        return "commands"
    if any(f"{module}.".startswith(f"{room}.") for room in PICTURES):
        return "pictures"
    package = module.split(".")[1] if "." in module else ""
    return package if package in MAY_IMPORT else BASE
