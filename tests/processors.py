"""Every check on this process's instructions: is the stored data what it gives, does every answer get its verdict?

`python -m tests.processors` compares the committed check data of all homeworks with what this torch computes, and
judges every right answer, alternative and named mistake against that data. It prints JSON: the capability that torch
took, how many were judged, and one line for whatever is not as it should be. `tests/test_processors.py` starts it with
other instructions, which have to be chosen before torch is loaded.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from course.checks import judge, load_homework, public
from course.checks.compare import RIGHT, WRONG
from course.checks.exercise import Homework

ROOT = Path(__file__).parents[1]


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    problems, judged = [], 0
    for folder in sorted(path.parent for path in ROOT.glob("solutions/hw*_*/exercises.py")):
        homework, stored = load_homework(folder), ROOT / "assignments" / folder.name / public.FILE_NAME
        if not public.same_content(stored, public.to_bytes(homework)):
            problems.append(f"{folder.name}: {public.FILE_NAME} is not what exercises.py gives")
        for problem in judge_all(homework, stored):
            judged += 1
            problems += [problem] if problem else []
    said = {"capability": torch.backends.cpu.get_cpu_capability(), "judged": judged, "problems": problems}
    json.dump(said, sys.stdout)


def judge_all(homework: Homework, stored: Path) -> Iterator[str]:
    """For each right answer and each mistake, an empty text or what went wrong."""
    for exercise in homework.exercises.values():
        check = public.read(stored, exercise.name)
        calls = check.calls
        for objects in ({}, *exercise.alternatives):
            verdict = judge(check.expected, exercise.observe(calls, objects))
            ok = verdict.status == RIGHT
            yield "" if ok else f"{exercise.id}: {_name(objects) or 'the answer'} is refused: {verdict.sentence}"
        for k, mistake in enumerate(exercise.mistakes):
            only = calls if _shown_by_goals(check, k) else calls[: len(calls) - len(check.expected.goals)]
            verdict = judge(check.expected, exercise.observe(only, mistake.objects))
            ok = verdict.status == WRONG and verdict.sentence == mistake.sentence
            yield "" if ok else f"{exercise.id}: {mistake.name} is told: {verdict.sentence}"


def _shown_by_goals(check: public.PublicCheck, k: int) -> bool:
    """Goals train for seconds: only where nothing else shows the mistake were they observed."""
    seen = check.expected.mistakes[k][1]
    return bool({int(key.split(".")[0]) for key in seen.tensors} & set(check.expected.goals))


def _name(objects: dict) -> str:
    return ", ".join(getattr(value, "__name__", name) for name, value in objects.items())


if __name__ == "__main__":
    main()
