"""Percent sources that are read quickly are read as jupytext reads them; what it reads otherwise is left to it."""

from pathlib import Path

import jupytext
import pytest

from course import percent

ROOT = Path(__file__).parents[1]
SOURCES = [*ROOT.glob("notebooks/source/*.py"), *ROOT.glob("solutions/*/hw*.py")]
CODE = "# %%\nx = 1\n"


def by_jupytext(text: str) -> list[tuple]:
    """The cells, but for what jupytext notes of empty lines between them."""
    found = jupytext.reads(text, fmt=percent.PERCENT).cells
    return [(c.cell_type, c.source, {k: v for k, v in c.metadata.items() if k != "lines_to_next_cell"}) for c in found]


def told(cells: list[percent.PercentCell] | None) -> list[tuple] | None:
    return cells and [(cell.cell_type, cell.source, cell.metadata) for cell in cells]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_source_of_the_course_is_plain_and_read_as_jupytext_reads_it(path):
    text = path.read_text(encoding="utf-8")
    assert told(percent._read_plain(text)) == by_jupytext(text)


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        "# %%\nx = 1",
        "# %%\nx = 1\n\n\n# %%\ny = 2\n",
        '# %% tags=["setup", "no-output"]\nimport torch\n',
        '# %% exercise="a"\ndef a():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n',
        '# %% [markdown] written="why" points=2.5\n# Why?\n#\n#No space.\n#  Two.\n',
        "# %% [markdown]\n# ```\n# # x\n# ```\n" + CODE,
        "# %% [markdown]\n# ~~~~ python\n# ~~~\n# ~~~~\n" + CODE,
    ],
)
def test_plain(text):
    assert told(percent._read_plain(text)) == by_jupytext(text)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n" + CODE,
        "\n" + CODE,
        "# ---\n# jupyter: 1\n# ---\n" + CODE,
        "# %% a title\nx = 1\n",
        "# %%  \nx = 1\n",
        "#%%\nx = 1\n",
        CODE + "  # %%\ny = 2\n",
        CODE + "# <codecell>\ny = 2\n",
        CODE + "# In[3]:\ny = 2\n",
        "# %% [raw]\n# x\n",
        '# %% tags=["active-py"]\nx = 1\n',
        '# %% language="bash"\nls\n',
        '# %% exercise="a" exercise="b"\nx = 1\n',
        "# %%\n",
        "# %%\nx = 1\n\n\n\n# %%\ny = 2\n",
        "# %%\nx = 1\n  \n# %%\ny = 2\n",
        '# %%\nx = """\n# %%\n"""\n',
        "# %%\n# # + x\nx = 1\n",
        "# %%\nx = (\n",
        '# %% [markdown]\n"""\nText.\n"""\n',
        "# %% [markdown]\n# ```\n\n# %%\nx = 1\n\n# %% [markdown]\n# ```\n",
        "# %% [markdown]\n# ```a```\n# ```\n\n# %%\nx = 1\n\n# %% [markdown]\n# ```\n",
        "# %%\nx = 1\x0cy = 2\n",
        "# %%\r\nx = 1\r\n",
    ],
)
def test_what_is_not_plain_is_left_to_jupytext(text):
    assert percent._read_plain(text) is None
    cells = jupytext.reads(text, fmt=percent.PERCENT).cells
    assert told(percent.read(text)) == [(cell.cell_type, cell.source, cell.metadata) for cell in cells]
