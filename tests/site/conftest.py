"""One small site for all tests of a file: a lecture, two homeworks, what is looked up, texts for authors, two models."""

from pathlib import Path

import pytest

from course.site.build import build_site
from course.site.pages import Pages

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://github.com/owner/name"
MODELS = ["vit_cifar", "vit_s16"]


def small_pages(**others) -> Pages:
    homeworks = [f"assignments/{name}/{name}.ipynb" for name in ("hw0_first_check", "hw1_self_attention")]
    given = {
        "lectures": ["notebooks/02_beyond_local.ipynb"],
        "homeworks": homeworks,
        "reference": ["notebooks/glossary.md"],
        "for_instructors": ["docs/statuses.md", "CONTRIBUTING.md"],
    }
    return Pages(ROOT, **(given | others))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("site") / "site"
    build_site(small_pages(repository=ADDRESS), folder, models=MODELS)
    return folder
