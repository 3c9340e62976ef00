"""One list of versions: what pip, conda and the README's commands install must be the same."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
HERE = {str(r.name).lower(): r for r in LOCK if r.marker is None or r.marker.evaluate()}


def project():
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_line_of_the_lock_is_one_exact_version():
    for requirement in LOCK:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{requirement} is not pinned exactly"
        assert requirement.url is None


def test_the_lock_names_no_index():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--" not in text


def test_what_is_installed_here_is_what_the_lock_says():
    different = {
        n: (version(n), str(r.specifier)) for n, r in HERE.items() if not r.specifier.contains(version(n), True)
    }
    assert not different, f"installed and locked versions differ: {different}"


def test_the_lock_satisfies_pyproject():
    extras = project()["optional-dependencies"]
    for line in [*project()["dependencies"], *extras["tests"], *extras["site"]]:
        wanted = Requirement(line)
        locked = [r for r in LOCK if r.name.lower() == wanted.name.lower()]
        assert locked, f"{wanted.name} stands in pyproject.toml but not in requirements.lock"
        for requirement in locked:
            assert wanted.specifier.contains(str(requirement.specifier)[2:]), f"{requirement} does not satisfy {wanted}"


def test_conda_gets_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, with_pip = environment["dependencies"]
    python = next(entry for entry in conda if entry.startswith("python"))
    allowed, required = SpecifierSet(python.removeprefix("python")), SpecifierSet(project()["requires-python"])
    assert all(required.contains(v) == allowed.contains(v) for v in ("3.10", "3.11", "3.12", "3.13"))
    pins = [Requirement(line) for line in with_pip["pip"] if not line.startswith("-")]
    for pin in pins:
        assert str(pin.specifier) == str(HERE[pin.name].specifier), (
            f"environment.yml says {pin}, the lock {HERE[pin.name]}"
        )
    assert {p.name for p in pins} == {"torch", "torchvision", "jupyterlab", "matplotlib", "nbval", "einops"}
    assert {"-r requirements.lock", "-e ."} <= set(with_pip["pip"])


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_is_locked_once(name):
    assert len([r for r in LOCK if r.name == name]) == 1, "the Makefile reads its version off this one line"


def test_the_course_has_one_version():
    """A version a year; the changelog's first is this one."""
    import course

    said = {
        "pyproject.toml": project()["version"],
        "course/__init__.py": course.__version__,
        "CITATION.cff": str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]),
        "CHANGELOG.md": re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1],
    }
    assert len(set(said.values())) == 1, said
    assert re.fullmatch(r"20\d\d\.\d+", project()["version"])


def test_the_citation_has_what_the_format_demands():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and all(author["name"] for author in citation["authors"])
    licences = project()["license"].split(" AND ")
    assert citation["license"] == licences and citation["abstract"].rstrip(".") == project()["description"]
