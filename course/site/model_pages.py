"""The map of models, and for each model a page: its figures, its drawing, its source, and what its neighbours do otherwise."""

import html
import json
import multiprocessing
import platform
from base64 import b64encode
from functools import partial
from importlib.metadata import version
from pathlib import Path

from course.remembered import PACKAGE, Memory, digest_of_files, files_below
from course.steps import Step, silent

AT_ONCE = 2  # processes
COORDINATES = ("stem", "token mixer", "channel mixer", "layout", "head")

_INDEX = """\
# The map of models

{count} networks, each proved equal to the public implementation or to its paper's equations. Each name leads to a page with
its figures, its drawing and its whole source. Sizes are counted here, at the size of images that the paper uses.

<div class="pst-scrollable-table-container" tabindex="0">
<table class="table models">
<thead><tr><th>model</th><th>parameters</th><th>multiply-adds</th><th>stem</th><th>token mixer</th><th>channel mixer</th>\
<th>layout</th><th>head</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
"""

_PAGE = """\
---
orphan: true
---
# {name}

<table class="table">
<tbody>
{figures}
</tbody>
</table>

<img src="data:image/png;base64,{png}" alt="{alt}">

[The map of models](index.md) · in a terminal: `course models {name}`

## Its source on one page

It runs as it stands in an empty notebook, and leaves the network in `model`.

```python
{source}
```
{neighbours}"""

_NEIGHBOURS = """
## Beside its neighbours

{links}

{tables}
"""


def write_model_pages(
    folder: Path, names: list[str], step: Step = silent, memory: Memory | None = None, processes: int = AT_ONCE
) -> None:
    """Write ``index.md`` and ``NAME.md`` for each name to `folder`, which is made.

    Args:
        memory: where pages are kept from one time to the next, as long as nothing that they show changes.
        processes: how many write pages at once; 1: this one.
    """
    folder.mkdir(parents=True)
    pages = _remembered(names, memory)
    if pages is None:
        pages = {}
        step("drawing and counting the models", 1, len(names))
        if processes == 1:
            pages |= {name: page_of(name, names) for name in names}
        else:
            # A fresh process each: torch's threads do not survive a fork.
            with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
                for name, page in pool.imap(partial(_named_page, names=names), names):
                    pages[name] = page
                    step("drawing and counting the models", len(pages), len(names))
        if memory:
            memory.keep("models_of_the_site", _key(), json.dumps(pages))
    rows = "\n".join(pages[name]["row"] for name in names)
    (folder / "index.md").write_text(_INDEX.format(count=len(names), rows=rows), encoding="utf-8")
    for name in names:
        (folder / f"{name}.md").write_text(pages[name]["text"], encoding="utf-8")


def page_of(name: str, names: list[str]) -> dict[str, str]:
    """``text``: the page of a model in Markdown, which leads to others of `names`; ``row``: its row on the map, in HTML."""
    import torch

    from course.models import compare, create_model, show
    from course.models.count import count_macs, count_parameters
    from course.models.drawn import drawing_of, shapes_noted
    from course.models.pages import card_of, neighbours
    from course.models.registry import entry, input_shape_of

    with torch.device("meta"):
        model = create_model(name)
    with shapes_noted(model) as shapes:  # one run for the figures and the drawing
        macs = count_macs(model, 1, *input_shape_of(model))
    its_card = card_of(entry(name), count_parameters(model), macs)
    cells = "".join(f"<td>{html.escape(its_card.on_the_map.get(key, ''))}</td>" for key in COORDINATES)
    sizes = f"<td>{its_card.parameters / 1e6:.2f}M</td><td>{its_card.macs / 1e9:.2f}G</td>"
    row = f'<tr><td><a href="{name}.html">{name}</a></td>{sizes}{cells}</tr>'
    figures = "\n".join(
        f'<tr><th scope="row">{html.escape(what)}</th><td>{html.escape(said)}</td></tr>'
        for what, said in its_card.lines()
        if what != "model"
    )
    near = neighbours(name, among=names)
    beside = ""
    if near:
        beside = _NEIGHBOURS.format(
            links="The networks that differ from it in least: " + ", ".join(f"[{x}]({x}.md)" for x in near) + ".",
            tables="\n\n".join(f"```text\n{compare(name, other, sizes=False)}\n```" for other in near),
        )
    drawing = drawing_of(name, model, shapes)
    png = b64encode(drawing.png()).decode()
    alt = html.escape(drawing.alt)
    text = _PAGE.format(name=name, figures=figures, png=png, alt=alt, source=show(name), neighbours=beside)
    return {"text": text, "row": row}


def _named_page(name: str, names: list[str]) -> tuple[str, dict[str, str]]:
    return name, page_of(name, names)


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _remembered(names: list[str], memory: Memory | None) -> dict[str, dict[str, str]] | None:
    text = memory.recall("models_of_the_site", _key()) if memory else None
    pages = json.loads(text) if text else {}
    return pages if set(pages) == set(names) else None


def _key() -> str:
    """Digest of what the pages of models depend on."""
    ours = [PACKAGE / "drawing.py", Path(__file__), *files_below(PACKAGE / "models")]
    versions = [f"{name} {version(name)}" for name in ("torch", "matplotlib", "pillow")]
    return " ".join([digest_of_files(PACKAGE, ours), platform.python_version(), *versions])
