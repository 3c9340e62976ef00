"""``course bench tests OTHER [ROUNDS]``: `make test` here and in another checkout, in turns, and what takes longest here.

OTHER is the folder of another commit of this repository in which `make test` has run once, so that it is set up.
"""

import os
import re
import shlex
import statistics
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import measured
from course.bench import CannotRunHere
from course.progress_bar import progress_bar

HERE = Path(__file__).resolve().parents[1]
SLOWEST = 20


def bench(words: list[str]) -> dict:
    """Run both, `ROUNDS` times (2 by default), and print the ratio of each pair.

    Returns:
        {"rounds": [{"ratio", "here", "other"}], "slowest": [[seconds, test]], "files": [[seconds, file]]}; of each side
        its wall and processor seconds and how many tests passed, failed and were skipped.

    Raises:
        CannotRunHere: no checkout to compare with was named.
        ValueError: there is none, or it is not set up.
    """
    if not words:
        raise CannotRunHere("name the folder of another checkout: course bench tests FOLDER")
    other, rounds = Path(words[0]).resolve(), int(words[1]) if len(words) > 1 else 2
    for folder in (HERE, other):
        if not list(folder.glob(".venv/.ready-*")):
            raise ValueError(f"{folder} is not set up: run `make test` there once")
    figures: dict = {"rounds": []}
    with progress_bar(2 * rounds, None, desc="tests", unit=" runs") as progress:
        for k in range(rounds):
            sides = [("here", HERE), ("other", other)]
            found = {}
            for side, folder in sides if k % 2 == 0 else sides[::-1]:  # neither is always the first
                found[side], times = _run(folder)
                if side == "here":
                    figures |= _slowest(times)
                progress.update()
            figures["rounds"].append({"ratio": round(found["here"]["wall"] / found["other"]["wall"], 3), **found})
    for row in figures["rounds"]:
        print(
            *(
                f"{side} {row[side]['wall']:.0f} s, {row[side]['cpu']:.0f} CPU s, {row[side]['said']}"
                for side, _ in sides
            ),
            sep="; ",
        )
    print(*(f"{seconds:6.1f} s  {name}" for seconds, name in figures["slowest"]), sep="\n")
    ratios = [row["ratio"] for row in figures["rounds"]]
    print(f"`make test` takes {statistics.median(ratios):.2f} of the time ({min(ratios):.2f}–{max(ratios):.2f})")
    return figures


def _run(folder: Path) -> tuple[dict, list[tuple[float, str]]]:
    """(what one run cost and said, seconds by test)"""
    with tempfile.TemporaryDirectory() as place:
        report, log = Path(place) / "report.xml", Path(place) / "log"
        options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={shlex.quote(str(report))}"
        # Whether all pass is said in the figures; a failure is not the end of the comparison.
        cost = measured.run(
            ["sh", "-c", "make test || true"],
            env={**os.environ, "PYTEST_ADDOPTS": options},
            cwd=folder,
            log=log,
            weigh=False,
        )
        if not report.is_file():
            raise ValueError(f"`make test` did not get to its end in {folder}: {log.read_text()[-500:]}")
        cases = [case.attrib for case in ElementTree.parse(report).iter("testcase")]
        said = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", log.read_text().splitlines()[-1])
    times = [(float(case["time"]), f"{case['classname']}::{case['name']}") for case in cases]
    return {"wall": round(cost.wall, 1), "cpu": round(cost.cpu, 1), "said": ", ".join(said)}, times


def _slowest(times: list[tuple[float, str]]) -> dict:
    files: dict[str, float] = {}
    for seconds, name in times:
        file = name.partition("::")[0]
        files[file] = files.get(file, 0.0) + seconds
    return {
        "slowest": [[round(seconds, 1), name] for seconds, name in sorted(times, reverse=True)[:SLOWEST]],
        "files": sorted(([round(seconds, 1), file] for file, seconds in files.items()), reverse=True)[:SLOWEST],
    }
