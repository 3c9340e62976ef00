"""Files written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from course import atomic
from course.atomic import remove_left_overs, replacing, undisturbed, write_atomically, write_together


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "new" / "folder" / "grades.csv"
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["grades.csv"]
    monkeypatch.undo()
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["grades.csv"]


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.safetensors"]


def test_what_a_killed_process_leaves_is_one_hidden_file_that_goes_away(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from course.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old" and len(os.listdir(tmp_path)) == 2
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["grades.csv"]
    (tmp_path / ".writing-other").touch()
    remove_left_overs(tmp_path)
    assert os.listdir(tmp_path) == ["grades.csv"]


def test_a_secret_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"{}")
    path.chmod(0o644)
    write_atomically(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_that_belong_together_are_all_written_before_one_is_replaced(tmp_path, monkeypatch):
    old = {tmp_path / name: b"old " + name.encode() for name in ("checks", "assignment", "new/solution")}
    write_together(old)
    new = {path: b"new " + path.name.encode() for path in old}
    real, seen = atomic.os.replace, []

    def replace(partial, path):
        seen.append({path.read_bytes() for path in old} | {p.read_bytes() for p in tmp_path.rglob(".writing-*")})
        real(partial, path)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", replace)
        write_together(new)
    assert seen[0] == {*old.values(), *new.values()} and len(seen) == 3
    assert {path: path.read_bytes() for path in old} == new and not list(tmp_path.rglob(".writing-*"))

    def full(path, data, mode=0o666, real=atomic._write):
        if path.name == ".writing-assignment":
            raise OSError(28, "No space left on device")
        real(path, data, mode)

    monkeypatch.setattr(atomic, "_write", full)
    with pytest.raises(OSError, match="No space"):
        write_together(old)
    assert {path: path.read_bytes() for path in old} == new and not list(tmp_path.rglob(".writing-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_files_takes_effect_after_the_last(tmp_path, monkeypatch, number):
    class Told(BaseException):
        pass

    def noted(number, frame):
        raise Told

    real = atomic.os.replace
    monkeypatch.setattr(atomic.os, "replace", lambda *paths: (real(*paths), signal.raise_signal(number)))
    before = signal.signal(number, noted)
    try:
        with pytest.raises(Told):
            write_together({tmp_path / name: name.encode() for name in "abc"})
        assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
        assert signal.getsignal(number) is noted
        with undisturbed():
            pass
    finally:
        signal.signal(number, before)
