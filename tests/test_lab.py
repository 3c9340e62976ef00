"""JupyterLab's settings of `make lab`: JupyterLab knows each of them, and finds its extension."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).parents[1] / "course" / "lab"
INSTALLED = Path(sys.prefix) / "share" / "jupyter"


def read(name: str) -> dict:
    return json.loads((LAB / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("plugin, settings", read("labconfig/default_setting_overrides.json").items())
def test_what_is_set_is_a_setting_of_jupyterlab(plugin, settings):
    package, _, name = plugin.partition(":")
    known = json.loads((INSTALLED / "lab" / "schemas" / package / f"{name}.json").read_text())["properties"]
    assert set(settings) <= set(known)
    for key, value in settings.items():
        if isinstance(value, dict) and isinstance(known[key].get("default"), dict):
            assert set(known[key]["default"]) <= set(value), "JupyterLab takes the whole of it, or parts are lost"


def test_what_is_switched_off_is_installed():
    for name in read("labconfig/page_config.json")["disabledExtensions"]:
        assert (INSTALLED / "labextensions" / name / "package.json").is_file()


def test_the_extension_is_complete():
    folder = LAB / "labextensions" / "course-reading"
    package = read("labextensions/course-reading/package.json")
    text = (folder / package["jupyterlab"]["_build"]["load"]).read_text(encoding="utf-8")
    assert package["name"] == folder.name and f'"{folder.name}"' in text
    manager = INSTALLED / "labextensions" / "@jupyter-widgets" / "jupyterlab-manager" / "static"
    widgets = "".join(path.read_text(encoding="utf-8") for path in manager.glob("*.js"))
    said = re.search(r"DEAD = \[(.*)\];", text)[1]
    for words in json.loads(f"[{said}]"):
        assert f'"{words}"' in widgets, "ipywidgets says it in other words now: change them in DEAD"


def test_a_terminal_is_no_login_shell(tmp_path):
    command = read("jupyter_server_config.json")["ServerApp"]["terminado_settings"]["shell_command"]
    (tmp_path / ".profile").write_text("PATH=/nowhere\n")
    environment = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "PATH": os.environ["PATH"]}
    ran = subprocess.run(command, input="echo $PATH\n", env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == os.environ["PATH"]
