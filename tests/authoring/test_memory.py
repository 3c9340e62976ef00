"""``course build --check`` remembers what it found clean, and notices every byte that has changed since."""

import os
import sys

import pytest

from course import cli
from course.authoring import AuthoringError, build, examine, release
from course.authoring.examine import checked
from course.authoring.files import HomeworkFiles, LectureFiles
from course.remembered import Memory

WORK = "hw7_tiny"
SOURCE, EXERCISES, SOLUTION = (f"solutions/{WORK}/{name}" for name in (f"{WORK}.py", "exercises.py", f"{WORK}.ipynb"))
ASSIGNMENT, CHECKS = f"assignments/{WORK}/{WORK}.ipynb", f"assignments/{WORK}/checks.safetensors"


@pytest.fixture
def examined(monkeypatch):
    """The names of what was really examined."""
    names = []
    for function in ("check_lecture", "check_homework"):
        real = getattr(examine, function)
        monkeypatch.setattr(examine, function, lambda target, real=real: (names.append(target.name), real(target))[1])
    return names


def check(root):
    return build(check=True, root=root, memory=Memory(root))


def test_what_was_clean_is_examined_once_and_dates_do_not_count(built, examined):
    assert check(built) == [] and examined == ["01_tiny", WORK]
    for path in built.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert check(built) == [] and examined == ["01_tiny", WORK]


@pytest.mark.parametrize(
    ("path", "old", "new", "line"),
    [
        ("notebooks/source/01_tiny.py", b"Count to", b"Count ta", "notebooks/01_tiny.ipynb: cell 3"),
        ("notebooks/01_tiny.ipynb", b"Count to", b"Count ta", "notebooks/01_tiny.ipynb: cell 3"),
        (SOURCE, b"Play with", b"Play wiht", f"{SOLUTION}: cell"),
        (EXERCISES, b"You squared", b"You squered", f"{CHECKS}: not what exercises.py gives"),
        (SOLUTION, b"Play with", b"Play wiht", f"{SOLUTION}: cell"),
        (ASSIGNMENT, b"Play with", b"Play wiht", f"{ASSIGNMENT}: cell"),
        (CHECKS, b'\\"points\\"', b'\\"pionts\\"', f"{CHECKS}: not what exercises.py gives"),
    ],
)
def test_a_changed_byte_is_noticed_even_under_the_old_date(built, monkeypatch, path, old, new, line):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # Python itself trusts the date of a compiled file
    assert check(built) == []
    path = built / path
    date, content = path.stat().st_mtime_ns, path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    os.utime(path, ns=(date, date))
    for _ in range(2):  # what is not clean is not remembered
        found = check(built)
        assert any(problem.startswith(line) for problem in found), found
    path.write_bytes(content)
    assert check(built) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(examine, "code_and_versions", lambda: "a file of course/ has changed"),
        lambda patch: patch.setattr(examine.torch, "__version__", "9.9"),
        lambda patch: patch.setattr(examine.torch.backends.cpu, "get_cpu_capability", lambda: "ANOTHER"),
    ],
    ids=["course", "torch", "capability"],
)
def test_other_code_another_torch_and_another_processor_are_examined_anew(built, examined, monkeypatch, change):
    check(built)
    change(monkeypatch)
    assert check(built) == [] and examined == 2 * ["01_tiny", WORK]


def test_a_file_of_another_homework_counts_for_a_homework(built, examined):
    # Its answers may not stand in this assignment either.
    check(built)
    (built / "solutions/hw8_more").mkdir()
    (built / "solutions/hw8_more/notes.md").write_text("more")
    assert checked(HomeworkFiles(built, WORK), Memory(built)) == [] and examined.count(WORK) == 2
    assert checked(LectureFiles(built, "01_tiny"), Memory(built)) == [] and examined.count("01_tiny") == 1


def test_what_was_written_while_it_was_examined_is_not_remembered(built, monkeypatch):
    source = built / "notebooks/source/01_tiny.py"
    right = source.read_bytes()
    wrong = right.replace(b"Count to", b"Count ta")
    source.write_bytes(wrong)
    real, lecture = examine.read_source, LectureFiles(built, "01_tiny")
    with monkeypatch.context() as patch:
        patch.setattr(examine, "read_source", lambda *given: (source.write_bytes(right), real(*given))[1])
        assert checked(lecture, Memory(built)) == []
    source.write_bytes(wrong)
    assert checked(lecture, Memory(built)) != []


def test_only_the_command_that_a_person_types_remembers(built, examined, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(built)
    for _ in range(2):
        build(check=True, root=built)
        release(tmp_path / "out", root=built, say=lambda line: None)
        assert cli.main(["build", "--check"]) == 0
        assert cli.main(["release", str(tmp_path / "out")]) == 0
    assert len(examined) == 16 and not (built / "build").exists()

    monkeypatch.setattr(sys, "argv", ["course", "build", "--check"])
    assert cli.main() == cli.main() == 0
    assert len(examined) == 18
    said = capsys.readouterr()
    assert "course build --check: hw7_tiny (2 of 2)" in said.err
    assert said.out.splitlines()[-1] == "Every notebook is what its source says, and no assignment holds an answer."


def test_a_release_that_remembers_looks_into_every_file_all_the_same(built, tmp_path, monkeypatch):
    memory = Memory(built)
    release(tmp_path / "first", root=built, say=lambda line: None, memory=memory)
    (built / "course/extra.py").write_text("    ### BEGIN SOLUTION\n")
    with pytest.raises(AuthoringError, match="course/extra.py: holds the marker"):
        release(tmp_path / "second", root=built, say=lambda line: None, memory=memory)
    assert not (tmp_path / "second").exists()
