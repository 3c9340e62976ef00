"""Every command answers --help without importing torch, and says one clear sentence about bad arguments."""

import re
import subprocess
import sys

import pytest

from course.cli import main

READERS = ("doctor", "progress", "check", "data", "models", "train")
INSTRUCTORS = ("release", "grade", "name-mistake", "formgrader", "new", "build", "site", "slides", "bench")
COMMANDS = (*READERS, *INSTRUCTORS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and f"course {command}" in capsys.readouterr().out


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert tuple(re.findall(r"^ {4}([\w-]+)", said, flags=re.MULTILINE)) == COMMANDS
    readers, instructors = said.partition("for everybody who takes the course:")[2].split(
        "for instructors and authors:"
    )
    for names, text in ((READERS, readers), (INSTRUCTORS, instructors)):
        assert tuple(re.findall(r"^ {4}([\w-]+)", text, flags=re.MULTILINE)) == names


def test_help_is_quick_because_torch_is_not_imported():
    code = "import sys; from course.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("False\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["grade"], ["grade", "here"], ["check"], ["release"], ["new"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and "usage: course" in capsys.readouterr().err


def test_data_lists_every_set_and_where_it_is(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    for name in ("cifar10", "cifar100", "digits", "two_questions", "digit_video", "shapes", "narrated_digits"):
        assert f"\n{name} " in out
    assert str(tmp_path) in out


def test_fetching_says_what_happened(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert main(["data", "digits"]) == 0 and "needs no download" in capsys.readouterr().out
    assert main(["data", "cifar10"]) == 1 and "COURSE_OFFLINE" in capsys.readouterr().err
    assert main(["data", "cifer10"]) == 1 and "cifar10" in capsys.readouterr().err


def test_a_value_of_the_spec_may_stand_where_the_usage_shows_it(monkeypatch, capsys):
    """Behind the options; what is no KEY=VALUE, or belongs to no training, is still refused."""
    seen = []
    monkeypatch.setattr("course.training.command.train_command", lambda model, spec, **_: seen.append(spec) or 0)
    for words in (["depth=3", "--data", "digits"], ["--data", "digits", "depth=3"]):
        assert main(["train", "vit_cifar", *words]) == 0
    assert seen == [["depth=3"]] * 2
    for words in (["train", "vit_cifar", "--data", "digits", "deep"], ["doctor", "depth=3"]):
        with pytest.raises(SystemExit):
            main(words)
        assert "unrecognized arguments" in capsys.readouterr().err


def test_networks_of_any_size_are_made_for_the_images_of_any_data():
    from course.data import load
    from course.training import recipes
    from course.training.command import _network, input_shape

    data = load("digits", "test", device="cpu")
    for name in ("resnet_50", "detr_r50"):
        with pytest.MonkeyPatch.context() as patch:
            asked = {}
            patch.setattr("course.training.command.create_model", lambda name, **options: asked.update(options))
            _network(name, input_shape(name), {}, data, recipes.cpu_minute)
        assert asked == {"num_classes": 10, "in_chans": 1}
