"""The doctor finds what is wrong, says what to do, and is never stopped by what it finds."""

import re
from pathlib import Path

import pytest

from course import doctor

ROOT = Path(__file__).parents[1]


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]


def test_a_good_machine_is_told_so(capsys):
    assert doctor.report() == 0
    found = lines(capsys)
    assert all(re.match(r"\[(OK|WARN)\] +\S", line) for line in found) and len(found) >= 6
    assert all("->" in line for line in found if line.startswith("[WARN]")), "a warning without a remedy"


def test_a_missing_package_fails_with_the_remedy(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", (*doctor.NEEDED, "no-such-package"))
    assert doctor.report() == 1
    failed = [line for line in lines(capsys) if line.startswith("[FAIL]")]
    assert len(failed) == 1 and "no-such-package" in failed[0] and "requirements.lock" in failed[0]


def test_a_broken_torch_does_not_hide_the_other_findings(capsys, monkeypatch):
    import torch

    def broken(*args, **kwargs):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(torch, "ones", broken)
    assert doctor.report() == 1
    found = lines(capsys)
    assert any(line.startswith("[FAIL] torch: OSError: libgomp") for line in found) and "COURSE_BUDGET" in found[-1]


def test_an_old_python_is_refused_with_the_remedy(capsys, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    assert doctor.report() == 1
    assert "PYTHON=python3.12" in lines(capsys)[0]


def test_a_wrong_budget_is_found(capsys, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "huge")
    assert doctor.report() == 1
    assert "'huge'; it can be tiny, cpu, gpu" in lines(capsys)[-1]


@pytest.mark.parametrize("gigabytes, status", [(2, "WARN"), (16, "OK")])
def test_memory(capsys, monkeypatch, gigabytes, status):
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: 4096 if "SIZE" in name else gigabytes * 2**30 // 4096)
    doctor.report()
    assert any(
        line.startswith(f"[{status}]") and f"{gigabytes}" in line and "GiB of memory" in line for line in lines(capsys)
    )


def test_a_data_set_that_is_not_here_is_said_to_be_needed_where_it_is(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    doctor.report()
    told = [line for line in lines(capsys) if line.startswith("[WARN] data set ")]
    said = {line.split()[3]: line for line in told}
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("solutions/*/*.py")]
    for name in ("cifar10", "cifar100"):
        words = [f'load("{name}")', *(["photographs("] if name == "cifar10" else [])]
        used = any(word in source for source in sources for word in words)
        assert ("homeworks have a cell" in said[name]) == used and f"course data {name}" in said[name]
