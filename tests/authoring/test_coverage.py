"""The page of what the course covers: nothing on it that is not there, and everything that is promised."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest

from course.authoring import build
from course.authoring.coverage import PAGE, SYSTEMS, TOPICS, Coverage, page_problems
from course.models import list_models
from course.syllabus import LECTURES, Lecture

ROOT = Path(__file__).parents[2]
REFERENCES = """row,name,priority,model
1,Attention,core,vit_b16
2,A table,low,
"""
SOURCE = """# %% [markdown]
# # 1 · Tiny
#
# ## 1 · Why
#
# ## 2 · The block ●●○○○
"""
TEST = """@proves(1)
@pytest.mark.parametrize("n", [1])
def test_it(n): ...
"""


def is_there(name: str) -> bool:
    """Whether a registered model, or something that can be imported by its full name."""
    if "." not in name:
        return name in list_models()
    module, _, rest = name.rpartition(".")
    try:
        return hasattr(import_module(module), rest) or bool(import_module(name))
    except ModuleNotFoundError:
        return False


def test_the_page_of_this_course_is_true():
    assert not page_problems(ROOT)
    missing = [
        f"row {system.row}: {name}"
        for system in Coverage(ROOT).systems
        for name in system.implemented
        if not is_there(name)
    ]
    assert not missing, f"named in notebooks/source/{SYSTEMS}, and not there: {'; '.join(missing)}"


def test_a_name_that_leads_nowhere_is_seen():
    assert is_there("vit_b16") and is_there("course.analysis.rollout") and is_there("torchvision.models.alexnet")
    assert not any(map(is_there, ("vit_b17", "course.analysis.rolled", "course.nowhere.rollout")))


def test_all_rows_and_statements_are_accounted_for():
    coverage = Coverage(ROOT)
    assert (len(coverage.systems), len(coverage.topics)) == (206, 140)
    assert {line for line in coverage.page().splitlines() if line.startswith("| 206 |")}


@pytest.fixture
def small(tmp_path):
    """A repository with one lecture, a row that is promised, one that is mentioned, and one statement."""
    files = {
        "course/models/references.csv": REFERENCES,
        "notebooks/source/01_convolution.py": SOURCE,
        "tests/models/test_it.py": TEST,
        f"notebooks/source/{SYSTEMS}": "row,taught,implemented,reason\n1,01 §1; 01 §2,,\n2,01 §2,,Only read.\n",
        f"notebooks/source/{TOPICS}": "decks,topic,kind,taught,reason\nS0,All,figure,01 §1,\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "solutions").mkdir()
    return tmp_path


def test_the_page_links_sections_and_names_tests(small):
    coverage = Coverage(small)
    assert not coverage.problems()
    assert coverage.sections == {"01 §1": "Why", "01 §2": "The block"}
    page = coverage.page()
    assert '[01 §2](01_convolution.ipynb "The block")' in page
    assert "`models/test_it.py::test_it`" in page
    assert "**2 systems**, 1 of them taught, built and proved" in page
    assert "| 2 | A table | [01 §2]" in page and ": Only read. |" in page


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (SYSTEMS, "01 §1; 01 §2", "01 §7", "row 1: no section 01 §7"),
        (SYSTEMS, "01 §1; 01 §2", "", "row 1: Attention is taught nowhere"),
        (SYSTEMS, "Only read.", "", "row 2: A table is not built and gives no reason"),
        (SYSTEMS, "2,01 §2", "2,", "row 2: A table is mentioned nowhere"),
        (SYSTEMS, "2,01 §2,,Only read.", "1,01 §1,,", "row 1: stands twice"),
        (SYSTEMS, "2,01 §2", "3,01 §2", "row 3: no such row"),
        (TOPICS, "01 §1", "01 §3", '"All": no section 01 §3'),
        (TOPICS, "01 §1", "", '"All": neither a section nor a reason'),
        ("../../tests/models/test_it.py", "@proves(1)", "", "no test proves Attention"),
        ("../../tests/models/test_it.py", "@proves(1)", "@proves(1, 9)", "has no row 9, which tests/models/test_it.py"),
        ("../../course/models/references.csv", "vit_b16", "", "row 1: Attention is not built"),
    ],
)
def test_each_fault_is_named(small, file, old, new, says):
    path = small / "notebooks" / "source" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(says in line for line in page_problems(small)), page_problems(small)


def test_a_lecture_to_come_may_have_a_row(small, monkeypatch):
    to_come = Lecture("98_to_come", "To come", box="to come", on_map=(0, 0))
    monkeypatch.setattr("course.authoring.coverage.LECTURES", (*LECTURES, to_come))
    path = small / "notebooks" / "source" / SYSTEMS
    path.write_text("row,taught,implemented,reason\n1,98 §1,,\n2,01 §2,,Only read.\n", encoding="utf-8")
    assert not Coverage(small).problems()
    assert "98 §1 (to come)" in Coverage(small).page()


def test_build_writes_it_and_check_names_what_differs(small):
    for folder in ("course", "tests", "solutions", "assignments"):
        (small / folder).mkdir(exist_ok=True)
    shutil.rmtree(small / "notebooks" / "source")  # no lecture is to be run here
    (small / "notebooks" / "source").mkdir()
    for name in (SYSTEMS, TOPICS):
        shutil.copy(ROOT / "notebooks" / "source" / name, small / "notebooks" / "source" / name)
    assert any(line.startswith(f"notebooks/source/{SYSTEMS}") for line in build(root=small))
    assert not (small / "notebooks" / PAGE).exists()
    (small / "notebooks" / "source" / SYSTEMS).write_text("row,taught,implemented,reason\n2,,,\n1,,,\n")
    assert any("taught nowhere" in line for line in build(root=small, check=True))
