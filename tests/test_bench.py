"""``course bench``: real ratios of real runs, on the shortest of them."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.grading import figures_of
from benchmarks.measured import Cost, run
from benchmarks.submissions import MIX, write_class
from course.cli import main


def test_models_prints_ratios_and_ends_with_the_figure_that_counts(tmp_path, capsys):
    assert main(["bench", "models", "vit_l32", "--json", str(tmp_path / "out.json")]) == 0
    *_, line, last = capsys.readouterr().out.splitlines()
    assert line.startswith("vit_l32") and last.startswith("median of 1 models, eager on ")
    [row] = json.loads((tmp_path / "out.json").read_text())["models"]["rows"]
    assert row["forward"]["rounds"] >= 5 and row["forward"]["low"] <= row["forward"]["ratio"] <= row["forward"]["high"]
    assert 0.2 < row["step"]["ratio"] < 5 and row["step"]["ours_ms"] > 1
    weights = 306_535_400 - 22 * 12_596_224  # 2 of 24 blocks
    assert row["memory"]["ours"] > 2 * 4 * weights  # weights and gradients, at least


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["modles"], "did you mean 'models'"),
        (["measured"], "there is no benchmark"),
        (["models", "vit_b17"], "did you mean 'vit_b16'"),
        (["models", "--timeout", "3"], "models has no --timeout"),
        (["grading", "3"], "4 at least, not '3'"),
        (["grading", "30", "40"], "expected one whole number"),
        (["large_class", "many"], "20 at least, not 'many'"),
    ],
)
def test_an_unknown_name_is_a_sentence(arguments, sentence, capsys):
    assert main(["bench", *arguments]) == 2
    assert sentence in capsys.readouterr().err


# -- what a command costs

ROOT = Path(__file__).parents[1]
BUSY = """
import os, time
def work(seconds):
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass
filled = b"x" * (60 << 20)
if os.fork() == 0:
    if os.fork() == 0:  # its parent ends before it, and it has left the session
        os.setsid()
        mine = b"y" * (60 << 20)
        time.sleep(0.7)
        work(0.4)
        os._exit(0)
    os._exit(0)
os.wait()
time.sleep(2)
work(0.2)
"""


def test_the_cost_of_a_command_holds_that_of_processes_it_left_alone(tmp_path):
    # In a process of its own: under that of the tests there may be servers which other tests keep.
    alone = f"run([sys.executable, '-c', {BUSY!r}], env=dict(os.environ), log={str(tmp_path / 'log')!r})"
    code = f"import os, sys; from benchmarks.measured import Cost, run; print({alone})"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    cost = eval(said, {"Cost": Cost})
    assert 0.6 < cost.cpu < 1.5 and cost.wall > 2
    assert 120 << 20 < cost.memory < 170 << 20  # twice 60 MB, and what the two share is counted once


def test_a_command_that_fails_is_a_sentence_with_its_last_words(tmp_path):
    with pytest.raises(ValueError, match="failed with 3: no such class"):
        run([sys.executable, "-c", "print('no such class'); exit(3)"], env=dict(os.environ), log=tmp_path / "log")


def test_start_and_one_more_submission_are_told_apart():
    start, more = 7.0, 2.0
    costs = [Cost(start + n * more, 10 * (start + n * more), 100 + n) for n in (1, 4, 3)]
    figures = figures_of(costs, submissions=7)
    assert figures["wall"] == pytest.approx({"start": 7, "one_more": 2, "each": 3})
    assert figures["cpu"]["one_more"] == pytest.approx(20)
    told_apart = figures_of(costs, submissions=7, large=(41, Cost(7 + 41 * 3.0, 70.0 + 41 * 30, 1)))
    assert told_apart["wall"]["one_more"] == pytest.approx((7 + 41 * 3 - 9) / 40)
    assert figures["memory"] == 104 and figures["runs"] == [asdict(cost) for cost in costs]


# -- the large class


def test_the_large_class_is_the_same_each_time_and_mixed_as_it_says(tmp_path):
    kinds = write_class(tmp_path / "a", 60, seed=1)
    assert write_class(tmp_path / "b", 60, seed=1) == kinds
    files = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.ipynb")}
        for name in "ab"
    }
    assert files["a"] == files["b"] and len(set(files["a"].values())) > 30  # hardly two of them wrote the same
    groups = Counter(kind.partition(": ")[0] for kind in kinds.values())
    assert [groups[group.name] for group in MIX] == [42, 9, 6, 3]
    assert {p.name.partition(".")[0] for p in (tmp_path / "a").iterdir()} == set(kinds)
    shutil.rmtree(tmp_path / "a")
    assert write_class(tmp_path / "a", 60, seed=2) != kinds


# -- grading, in full


@pytest.mark.long
def test_grading_gives_both_the_same_points_and_ends_with_the_ratio(tmp_path, capsys):
    assert main(["bench", "grading", "4", "--json", str(tmp_path / "out.json")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    figures = json.loads((tmp_path / "out.json").read_text())["grading"]
    assert last.startswith("CPU seconds for one more submission, nbgrader / course grade: ")
    # Of parts of one, two and two, only the first of the second part is in the wrong way.
    assert sorted(figures["points"].values()) == [51, 55, 55, 55, 55]
    for grader in ("nbgrader", "course"):
        assert figures[grader]["cpu"]["one_more"] > 0 and figures[grader]["memory"] > 100 << 20
    assert figures["ratio"]["cpu"]["one_more"] > 1


@pytest.mark.long
def test_the_large_class_is_graded_and_every_row_is_as_it_should_be(tmp_path, capsys):
    assert main(["bench", "large_class", "20", "--timeout", "30", "--json", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("20 submissions: ")
    figures = json.loads((tmp_path / "out.json").read_text())["large_class"]
    assert [row["submissions"] for row in figures["classes"]] == [10, 20]
    assert sum(figures["kinds"].values()) == 20 and figures["speedup"]["whole"]["low"] > 0
