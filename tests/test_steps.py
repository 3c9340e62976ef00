"""What a command shows of itself: its first word before torch is loaded, then how far it is."""

import io
import subprocess
import sys

import pytest

from course import cli, steps
from course.remembered import Memory
from course.steps import Steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_there_is_no_terminal_each_step_is_a_line_and_the_same_words_come_seldom(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with Steps("course release", file) as step:
        step("loading")
        step("hw1_self_attention", 2, 15)
        step("hw2_vit", 3, 15)
        for number in range(1, 124):
            step("counting", number, 123)
            now[0] += 0.1
    lines = file.getvalue().splitlines()
    assert lines[:3] == [
        "course release: loading",
        "course release: hw1_self_attention (2 of 15)",
        "course release: hw2_vit (3 of 15)",
    ]
    assert lines[3] == "course release: counting (1 of 123)" and 2 <= len(lines[3:]) <= 4


def test_in_a_terminal_it_is_one_line_that_is_gone_at_the_end(capsys):
    file = Terminal()
    with Steps("course build", file) as step:
        step("hw2_vit", 3, 15)
        assert "course build: hw2_vit (3 of 15)" in file.getvalue()
        step.say("written")
        step("hw3_swin", 4, 15)
    assert capsys.readouterr().out == "written\n"
    assert "\n" not in file.getvalue()
    assert file.getvalue().split("\r")[-2].strip() == file.getvalue().split("\r")[-1] == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["build"],
        ["build", "--check"],
        ["release", "OUT"],
        ["models"],
        ["bench", "models", "vit_b16"],
        ["grade", "CLASS", "-a", "hw1", "-o", "OUT"],
    ],
)
def test_the_first_word_comes_before_torch_is_loaded(arguments, tmp_path):
    (tmp_path / "CLASS").mkdir()
    (tmp_path / "CLASS" / "ada.ipynb").write_text("{}")  # else it is said at once that there is none
    code = "import sys; sys.modules['torch'] = None; from course.cli import main; main(sys.argv[1:])"
    arguments = [str(tmp_path / word) if word.isupper() else word for word in arguments]
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    first, *others = run.stderr.splitlines()
    assert first.startswith(f"course {arguments[0]}") and "loading PyTorch" in first
    assert "import of torch halted" in others[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-a", "hw1_self_atention"], "there is no homework 'hw1_self_atention'"),
        (["-a", "hw1", "--config", "BAD"], "due"),
    ],
)
def test_a_misspelt_homework_and_a_wrong_date_are_told_before_torch_is_loaded(options, sentence, tmp_path):
    (tmp_path / "CLASS").mkdir()
    (tmp_path / "BAD").write_text('[hw1_self_attention]\ndue = "2026-13-45"\n')
    code = "import sys; sys.modules['torch'] = None; from course.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["grade", "CLASS", *options, "-o", "OUT"]
    words = [str(tmp_path / word) if word.isupper() else word for word in words]
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1 and sentence in run.stderr


# -- the table of models, remembered


@pytest.fixture
def few_models(monkeypatch, tmp_path):
    """Three models, a memory below tmp_path, and the names of the models that were counted."""
    from course.models import pages

    counted = []
    sizes = pages._sizes
    monkeypatch.setattr(pages, "list_models", lambda: ["vit_cifar", "mixer_cifar", "swin_cifar"])
    monkeypatch.setattr(pages, "_sizes", lambda found: (counted.append(found.name), sizes(found))[1])
    monkeypatch.setattr(Memory, "beside_the_package", staticmethod(lambda: Memory(tmp_path)))
    monkeypatch.setattr(sys, "argv", ["course", "models"])
    return counted


def test_the_second_table_is_the_first_without_counting(few_models, capsys, monkeypatch):
    assert cli.main() == 0
    first = capsys.readouterr()
    assert few_models == ["vit_cifar", "mixer_cifar", "swin_cifar"]
    assert "course models: counting the models (1 of 3)" in first.err
    assert cli.main() == 0
    second = capsys.readouterr()
    assert len(few_models) == 3 and second.out == first.out and second.err == ""
    monkeypatch.setattr(cli, "code_and_versions", lambda: "another version")
    assert cli.main() == 0
    assert len(few_models) == 6, "counted again"


def test_the_command_as_a_function_neither_asks_the_memory_nor_writes_to_it(few_models, tmp_path, capsys):
    assert cli.main(["models"]) == cli.main(["models"]) == 0
    assert len(few_models) == 6 and not (tmp_path / "build").exists()
