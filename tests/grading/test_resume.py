"""Grading again: only what has changed is run, whatever happened to the files of the earlier run."""

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from course.grading import grade, grade_command, resume
from course.grading.judge.exercise import ExerciseResult
from course.grading.lock import only_one
from course.grading.student import Judged

TOPIC = "hw9_small"
EXERCISES = ("double", "mean_and_spread", "Scale")
POINTS = dict(zip(EXERCISES, (2, 1.5, 3)))


class FakePlace:
    """Runs nothing: writes down who was asked what, and judges by the student's name. Done in an order of its own."""

    def __init__(self, limits, order: int):
        self.limits, self.isolation, self.at_a_time = limits, "Isolation: a test's.", 3
        self.asked: dict[str, tuple[str, ...]] = {}
        self.draw = random.Random(order)
        self.pool = ThreadPoolExecutor(3)

    def give(self, exam) -> None:
        self.exam = exam

    def submit(self, work) -> Future:
        self.asked[work.student] = work.asked
        return self.pool.submit(self.judge, work, self.draw.uniform(0, 0.01))

    def judge(self, work, seconds: float) -> Judged:
        time.sleep(seconds)
        if work.student == "faye":
            return Judged(fault="there was no memory")
        odd = work.student == "odette"
        exercises = tuple(self.judged(work.student, name) for name in work.asked)
        return Judged(exercises, ("timeout",) if odd else (), ("Her cell hung.",) if odd else ())

    def judged(self, student: str, name: str) -> ExerciseResult:
        wrong = student in ("walt", "wanda") and name != "double"
        points = 0.0 if wrong else self.exam.points[name]
        outcome, sentence = ("wrong", f"{name} is wrong.") if wrong else ("right", "All right.")
        return ExerciseResult(name, points, self.exam.points[name], outcome, sentence)

    def close(self) -> None:
        self.pool.shutdown()


class ClassRoom:
    """A small class, and what grading it asked, said and wrote."""

    def __init__(self, monkeypatch, folder, new_work, exam, capsys):
        self.submissions, self.out, self.capsys, self.runs = folder / "class", folder / "grades", capsys, 0
        monkeypatch.setattr(grade, "place_for", self._place)
        # Made once, and no gradebook: they take most of the time and have tests of their own.
        self.seeds: list[int] = []  # of the exams that were prepared
        monkeypatch.setattr(grade, "prepare_exam", lambda root, folder, seed, step: (self.seeds.append(seed), exam)[1])
        monkeypatch.setattr(grade, "_write_gradebook", lambda *_: {})
        for name in ("anna", "bert", "faye", "odette", "walt", "wanda"):
            self.hand_in(f"{name}.ipynb", new_work().solve().write(why=f"{name} says so.").to_bytes())

    def hand_in(self, name: str, notebook: bytes) -> None:
        path = self.submissions / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(notebook)
        os.utime(path, (1.7e9, 1.7e9))

    def _place(self, scheduler, workers, limits) -> FakePlace:
        self.runs += 1
        self.place = FakePlace(limits, order=self.runs)
        return self.place

    def grade(self, status: int = 0, **given) -> dict[str, tuple[str, ...]]:
        """Grade the class; by student, what was asked."""
        self.place = None
        assert grade_command(self.submissions, TOPIC, self.out, **given) == status
        said = self.capsys.readouterr()
        self.said, self.errors = said.out, said.err
        return self.place.asked if self.place else {}

    def files(self) -> dict[str, bytes]:
        """What must not depend on how often the class was graded: all but which hidden inputs somebody had."""
        paths = [path for path in self.out.rglob("*") if path.suffix in (".csv", ".html", ".json")]
        return {path.relative_to(self.out).as_posix(): self._without_inputs(path) for path in sorted(paths)}

    def _without_inputs(self, path) -> bytes:
        data = path.read_bytes()
        if path.suffix == ".json":
            try:
                told = json.loads(data)
                for part, names in ((told, ("inputs", "told")), (told.get("kept") or {}, ("inputs", "seal"))):
                    for name in names:
                        part.pop(name, None)
                return json.dumps(told).encode()
            except (ValueError, RecursionError):
                pass
        return data

    def run(self) -> dict:
        return json.loads((self.out / "run.json").read_text())

    def inputs(self) -> dict[str, str]:
        """By student, which hidden inputs the result is from."""
        told = {path.stem: json.loads(path.read_text()).get("kept") for path in (self.out / "results").glob("*.json")}
        return {name: kept["inputs"] for name, kept in told.items() if kept}


@pytest.fixture
def room(small_course, new_work, exam, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(small_course)
    return ClassRoom(monkeypatch, tmp_path, new_work, exam, capsys)


ALL = dict.fromkeys(("anna", "bert", "faye", "odette", "walt", "wanda"), EXERCISES)
FAYE = {"faye": EXERCISES}  # the machine failed her: she is graded again every time


def test_the_same_command_again_runs_nothing(room):
    assert room.grade() == ALL and "earlier run" not in room.said
    before = room.files()
    assert room.grade() == FAYE
    assert "\n  5 of them were graded by an earlier run" in room.said
    assert room.files() == before


def test_only_what_changed_is_run(room, new_work, exam, monkeypatch):
    room.grade()
    before = room.files()
    anna, bert = ((room.submissions / name).read_bytes() for name in ("anna.ipynb", "bert.ipynb"))
    room.hand_in("anna.ipynb", new_work().write(double="def double(x):\n    return x * 2.0").to_bytes())
    assert room.grade() == {"anna": EXERCISES, **FAYE}
    room.hand_in("bert.ipynb", bert.replace(b"bert says so.", b"Bert thought again."))
    assert room.grade() == FAYE
    assert b"Bert thought again" in room.files()["feedback/bert.html"]
    prepare = grade.prepare_exam

    dearer = replace(exam, points={**exam.points, "double": 4.0})
    monkeypatch.setattr(grade, "prepare_exam", lambda *_: dearer)
    # What is wrong may be right with the course's own answers in place of others, so it is asked with the rest.
    assert room.grade() == {
        **FAYE,
        "anna": ("double",),
        "bert": ("double",),
        "odette": EXERCISES,
        "walt": EXERCISES,
        "wanda": EXERCISES,
    }
    rows = dict(line.split(",", 1) for line in room.files()["grades.csv"].decode().splitlines())
    assert rows["bert"].startswith("hw9_small,8.5,") and rows["odette"].startswith('hw9_small,8.5,8.5,"graded,timeout')
    monkeypatch.setattr(grade, "prepare_exam", prepare)
    room.hand_in("anna.ipynb", anna)
    room.hand_in("bert.ipynb", bert)
    room.grade()
    assert room.files() == before


def test_the_answers_matter_to_what_is_wrong_only(room, exam, monkeypatch):
    room.grade()
    monkeypatch.setattr(grade, "prepare_exam", lambda *_: replace(exam, reference="other = 1"))
    assert room.grade() == {**FAYE, "odette": EXERCISES, "walt": EXERCISES[1:], "wanda": EXERCISES[1:]}


def test_other_circumstances_are_another_grading(room, monkeypatch):
    room.grade()
    assert room.grade(timeout=61) == ALL and room.grade(timeout=61) == FAYE
    assert room.grade(timeout=61, memory=2**31) == ALL
    assert room.grade(workers=7) == ALL, "back to the first limits"
    assert room.grade(workers=3) == FAYE
    monkeypatch.setattr(resume, "code_fingerprint", lambda: "mended")
    assert room.grade() == ALL


def test_the_seed_stays_until_another_is_asked_for(room):
    room.grade()
    first = room.run()
    assert stat.S_IMODE((room.out / "run.json").stat().st_mode) == 0o600 and f"seed       {first['seed']} " in room.said
    room.grade()
    assert {**room.run(), "inputs": first["seed"]} == first and room.grade(seed=first["seed"]) == FAYE
    assert room.grade(seed=7) == ALL and "graded with another seed: everybody is graded again" in room.errors
    assert room.run()["seed"] == 7 and room.grade() == FAYE and room.run()["seed"] == 7
    assert room.grade(again=True) == ALL and room.run()["seed"] not in (7, first["seed"])
    assert room.grade() == FAYE
    seed = room.run()["seed"]
    assert room.grade(again=True, seed=seed) == ALL and room.run()["seed"] == seed
    texts = b"".join(data for name, data in room.files().items() if name != "run.json")
    assert str(seed).encode() not in texts and room.run()["key"].encode() not in texts


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"assignment": "hw9_small", "seed": 1, "key": "00"}'])
def test_a_damaged_run_is_said_and_begun_anew(room, damage):
    room.grade()
    (room.out / "run.json").write_bytes(damage)
    assert room.grade() == ALL
    assert "run.json is damaged: everybody is graded again, with fresh hidden inputs." in room.errors
    assert room.grade() == FAYE


def test_a_damaged_or_altered_result_is_graded_again(room):
    room.grade()
    before = room.files()
    path = room.out / "results" / "walt.json"
    kept = path.read_text()
    for damaged in (
        "",
        kept[:-40],
        "[]",
        "null",
        '{"kept": 3}',
        kept.replace('"wrong"', '"right"'),
        kept.replace("0.0", "1.5"),
        re.sub(r'"kept": \{', '"kept": {"more": 1,', kept),
        "[" * 100_000,
    ):
        path.write_text(damaged)
        assert damaged != kept and room.grade() == {**FAYE, "walt": EXERCISES}, damaged
        assert f"{path} is damaged" in room.errors and "walt is graded again" in room.errors
        assert room.files() == before


def test_who_has_left_the_class_keeps_a_result_but_no_row(room):
    room.grade()
    (room.submissions / "bert.ipynb").unlink()
    room.grade()
    assert "1 graded earlier, no longer in the class, so not in grades.csv: bert" in room.said
    assert "results/bert.json" in room.files() and b"bert" not in room.files()["grades.csv"]


def test_another_homework_in_the_same_folder_is_said(room):
    room.grade()
    told = {**room.run(), "assignment": "hw8_other"}
    (room.out / "run.json").write_text(json.dumps(told))
    assert room.grade() == ALL and "held hw8_other" in room.errors and room.run()["seed"] != told["seed"]


def test_left_overs_of_a_killed_grader_are_removed(room):
    room.grade()
    (room.out / "similar").mkdir(exist_ok=True)
    for place in (".", "results", "feedback", "similar"):
        (room.out / place / ".writing-anna.json").write_bytes(b"half")
    room.grade()
    assert not list(room.out.rglob(".writing-*"))


def test_a_fault_in_who_is_alike_costs_its_section_and_no_grade(room, monkeypatch):
    room.grade(seed=1)
    before = room.files()

    def fails(*_):
        raise MemoryError("no room for <so many> students")

    for module, name in ((grade, "similar_submissions"), (grade.report, "similar_pages")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails)
            room.grade(seed=1)
        after = room.files()
        assert {name for name in before if after[name] != before[name]} == {"report.html"}
        assert b"could not be found out" in after["report.html"] and b"for &lt;so many&gt;" in after["report.html"]
        assert "MemoryError" in room.errors


def test_a_second_grader_is_refused(room):
    room.grade()
    before = room.files()
    with only_one(room.out):
        assert room.grade(status=2) == {}
        said = room.errors.strip()
    assert said.startswith(f"course grade: another `course grade` (process {os.getpid()}) is writing to {room.out}")
    assert len(said.splitlines()) == 1 and room.files() == before
    code = "import sys, time, pathlib\nfrom course.grading.lock import only_one\n"
    code += "with only_one(pathlib.Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    other = subprocess.Popen([sys.executable, "-c", code, str(room.out)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        assert room.grade(status=2) == {} and f"(process {other.pid})" in room.errors
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    assert room.grade() == FAYE, "a dead grader holds no lock"


def test_the_first_word_comes_before_anything_slow_and_every_part_has_its_own(room, monkeypatch):
    prepare, said = grade.prepare_exam, []
    monkeypatch.setattr(
        grade, "prepare_exam", lambda *given: (said.append(room.capsys.readouterr().err), prepare(*given))[1]
    )
    room.grade()
    before = f"course grade: preparing {TOPIC}: "
    assert said == [f"{before}loading PyTorch\n"]  # the submissions are read before that
    assert room.errors.startswith(f"{before}opening the gradebook\n{before}starting the sandbox\n")
    assert f"Grading {TOPIC}:" in room.errors


# -- hidden inputs serve once


def test_who_hands_in_again_gets_fresh_inputs_and_the_others_keep_their_result(room, new_work):
    room.grade()
    first = room.inputs()
    assert len(set(first.values())) == 1 and room.seeds == [room.run()["seed"]] and room.run()["told"]
    before = room.files()
    for again in range(2):
        room.hand_in("anna.ipynb", new_work().write(double=f"def double(x):\n    return x * 2.{again}").to_bytes())
        room.seeds.clear()
        last = room.run()["inputs"]
        assert room.grade() == {"anna": EXERCISES, **FAYE}
        told = room.run()
        assert room.seeds == [told["seed"], told["inputs"]] and told["inputs"] not in (told["seed"], last)
        assert f"seed       {told['inputs']} " in room.said
        now = room.inputs()
        assert now.pop("anna") not in first.values() and now.items() <= first.items()
        texts = b"".join(data for name, data in room.files().items() if name != "run.json")
        assert str(told["inputs"]).encode() not in texts
    assert {name for name, data in room.files().items() if data != before[name]} >= {"results/anna.json"}
    assert room.files()["results/bert.json"] == before["results/bert.json"]


def test_who_comes_after_pages_were_given_out_gets_fresh_inputs(room, new_work):
    room.grade()
    room.hand_in("zoe.ipynb", new_work().solve().to_bytes())
    assert room.grade() == {"zoe": EXERCISES, **FAYE}
    now = room.inputs()
    assert now.pop("zoe") not in now.values()


def stopped_after(room, students: int) -> None:
    """As if killed when so many are recorded: nothing that comes at the end was written."""
    write = grade._Class._write_student

    def some(self, *given):
        if len(list((room.out / "results").glob("*.json"))) >= students:
            raise KeyboardInterrupt
        write(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade._Class, "_write_student", some)
        with pytest.raises(KeyboardInterrupt):
            room.grade()


def test_a_run_that_was_broken_off_goes_on_with_its_own_inputs(room, new_work):
    stopped_after(room, 3)
    seed, had = room.run()["seed"], room.inputs()
    assert not room.run()["told"] and room.run()["inputs"] == seed and len(had) >= 2
    room.capsys.readouterr()
    asked = room.grade()
    assert not set(asked) & set(had) and room.run() == {**room.run(), "seed": seed, "inputs": seed, "told": True}
    assert set(room.inputs().values()) == set(had.values())
    # And one in which fresh inputs were drawn already.
    for name in ("anna", "bert", "walt", "wanda"):
        room.hand_in(f"{name}.ipynb", new_work().write(double="def double(x):\n    return x * 2.5").to_bytes())
        (room.out / "results" / f"{name}.json").unlink()
    stopped_after(room, 4)
    fresh = room.run()["inputs"]
    assert fresh != seed and not room.run()["told"]
    room.grade()
    assert room.run()["inputs"] == fresh and room.run()["told"]
    again = room.inputs()
    assert len({again[name] for name in ("anna", "bert", "walt", "wanda")}) == 1 and again["odette"] in had.values()


def test_who_hands_in_again_before_a_run_has_ended_does_not_meet_the_same_inputs(room, new_work):
    stopped_after(room, 3)
    had = room.inputs()
    name = next(iter(had))
    room.hand_in(f"{name}.ipynb", new_work().write(double="def double(x):\n    return x * 2.5").to_bytes())
    room.capsys.readouterr()
    room.grade()
    assert room.inputs()[name] != had[name]


def test_a_given_seed_holds_for_everybody_and_is_repeatable(room, new_work):
    room.grade(seed=7)
    before = room.files()
    room.hand_in("anna.ipynb", new_work().write(double="def double(x):\n    return x * 2.5").to_bytes())
    assert room.grade(seed=7) == {"anna": EXERCISES, **FAYE}
    assert set(room.seeds) == {7} and len(set(room.inputs().values())) == 1
    room.hand_in("anna.ipynb", new_work().write(double="def double(x):\n    return x * 3.5").to_bytes())
    room.grade()
    assert len(set(room.inputs().values())) == 2, "without it, fresh ones"
    assert room.grade(seed=7) == {"anna": EXERCISES, **FAYE}, "what was graded on other inputs is graded on these"
    assert len(set(room.inputs().values())) == 1 and room.files().keys() == before.keys()


# -- what goes wrong with the disk


FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
out = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(out)], check=True)
from course.grading import command
from course.grading.lock import only_one
from course.atomic import write_atomically
with only_one(out):
    write_atomically(out / "results" / "anna.json", b"earlier")
with open(out / "filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(2**16))
    except OSError:
        pass
try:
    with command.writing(out):
        write_atomically(out / "results" / "anna.json", bytes(2**20))
except command.CannotGrade as problem:
    print(problem)
print((out / "results" / "anna.json").read_bytes(), sorted(os.listdir(out / "results")))
"""


def test_a_full_disk_leaves_what_was_there(tmp_path):
    code = tmp_path / "full.py"
    code.write_text(FULL_DISK)
    (tmp_path / "out").mkdir()
    unshared = ["unshare", "-m", "--propagation", "private"]
    if subprocess.run([*unshared, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "out")]).returncode:
        pytest.skip("this user may not mount a small disk of their own")
    done = subprocess.run(
        [*unshared, sys.executable, str(code), str(tmp_path / "out")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told, left = done.stdout.splitlines()
    assert "results/anna.json cannot be written (No space left on device); what was graded so far is kept" in told
    assert left == "b'earlier' ['anna.json']"


@pytest.mark.parametrize("which", ["run.json", "results/bert.json", "feedback/bert.html", "grades.csv", "report.html"])
def test_what_cannot_be_written_ends_in_a_sentence_and_can_be_gone_on_with(room, monkeypatch, which):
    room.grade()
    before = room.files()
    real = os.replace

    def full(source, target):
        if str(target).endswith(which):
            raise OSError(28, "No space left on device", str(target))
        return real(source, target)

    monkeypatch.setattr("course.atomic.os.replace", full)
    room.grade(status=2, again=True)
    said = room.errors.strip().splitlines()[-1]
    assert said.startswith("course grade: ") and f"{which} cannot be written (No space left on device)" in said
    assert not list(room.out.rglob(".writing-*")) and room.files()[which] == before[which]
    monkeypatch.setattr("course.atomic.os.replace", real)
    room.grade()
    assert room.files()["grades.csv"] == before["grades.csv"]
