"""Files written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from course import atomic
from course.atomic import remove_left_overs, replacing, write_atomically


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
