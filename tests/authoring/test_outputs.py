"""What is kept of outputs, and what is refused in committed ones."""

import base64
import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course.authoring.outputs import WIDGET, clean, hygiene

ROOT = Path("/srv/checkout/vit")


def notebook_of(*outputs, tags=()):
    cell = new_code_cell("x", outputs=list(outputs), execution_count=7, metadata={"tags": list(tags)} if tags else {})
    return new_notebook(cells=[cell])


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def png(dpi=90, inches=(4, 3)):
    out = io.BytesIO()
    Figure(figsize=inches).savefig(out, format="png", dpi=dpi)
    return new_output("display_data", {"image/png": base64.b64encode(out.getvalue()).decode()})


def in_html(output):
    address = f"data:image/png;base64,{output.data['image/png'].strip()}"
    return new_output("display_data", {"text/html": f'<img src="{address}" alt="a line">'})


def error(*frames):
    return new_output("error", ename="ValueError", evalue="no", traceback=list(frames))


def test_ordinary_outputs_stay_as_they_are():
    outputs = [
        stream("B=2, N=3\n"),
        new_output("display_data", {"text/html": "<b>card</b>", "text/plain": "card"}),
        png(),
    ]
    notebook = notebook_of(*outputs)
    before = [dict(output) for output in outputs]
    clean(notebook)
    assert [dict(output) for output in notebook.cells[0].outputs] == before
    assert notebook.cells[0].execution_count == 1
    assert hygiene(notebook, ROOT) == []


def test_progress_goes_and_what_was_said_beside_it_stays():
    bar = "\r 40%|████      | 2/5 [00:01<00:02,  1.3it/s]\r100%|██████████| 5/5 [00:03<00:00,  1.3it/s]\n"
    notebook = notebook_of(
        stream(bar, "stderr"),
        stream("\rstep 1\rstep 2\n"),
        stream("accuracy 0.97\nepoch: 3it [00:02,  1.4it/s]\n"),
        new_output("display_data", {"text/plain": "  0%|          | 0/5 [00:00<?, ?it/s]"}),
    )
    clean(notebook)
    assert [output.text for output in notebook.cells[0].outputs] == ["accuracy 0.97\n"]


def test_text_is_one_piece_however_it_arrived():
    whole, cut = (
        notebook_of(stream("a\nb\n"), stream("w\n", "stderr")),
        notebook_of(stream("a\n"), stream("w\n", "stderr"), stream("b\n")),
    )
    other = notebook_of(stream("w\n", "stderr"), stream("a\nb\n"))
    for notebook in (whole, cut, other):
        clean(notebook)
    assert whole.cells[0].outputs == cut.cells[0].outputs == other.cells[0].outputs


def test_a_widget_goes_and_a_picture_beside_it_stays():
    view = {"model_id": "ab", "version_major": 2}
    picture = png().data["image/png"]
    notebook = notebook_of(
        new_output("display_data", {WIDGET: view, "text/plain": "HBox(children=...)"}),
        new_output("display_data", {WIDGET: view, "image/png": picture, "text/plain": "<Figure>"}),
    )
    notebook.metadata.widgets = {"state": {}}
    clean(notebook)
    assert [set(output.data) for output in notebook.cells[0].outputs] == [{"image/png", "text/plain"}]
    assert "widgets" not in notebook.metadata


def test_a_picture_is_stored_once_where_its_html_holds_it():
    page = in_html(png())
    lines = png().data["image/png"] + "\n"  # as a kernel may send it
    twice = new_output("display_data", {"image/png": lines, **page.data}, metadata={"image/png": {"alt": "a line"}})
    others = new_output("display_data", {**png(inches=(2, 2)).data, **page.data})
    notebook = notebook_of(twice, others)
    clean(notebook)
    first, second = notebook.cells[0].outputs
    assert dict(first) == dict(page)
    assert set(second.data) == {"image/png", "text/html"}, "another picture than the one in the HTML stays"


def test_timestamps_and_no_output_cells():
    notebook = notebook_of(stream("x"), tags=["no-output"])
    notebook.cells[0].metadata.execution = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    clean(notebook)
    assert notebook.cells[0].outputs == [] and notebook.cells[0].metadata == {"tags": ["no-output"]}


def test_tracebacks_lose_library_frames_and_colours():
    notebook = notebook_of(
        error(
            "\x1b[31mValueError\x1b[39m",
            "Cell In[1], line 1\n----> 1 f()",
            "\x1b[36mFile ~/lib/a.py:3\x1b[39m in f",
            "no",
        ),
        tags=["raises-exception"],
    )
    clean(notebook)
    assert notebook.cells[0].outputs[0].traceback == ["ValueError", "Cell In[1], line 1\n----> 1 f()", "no"]
    assert hygiene(notebook, ROOT) == []


BAD = {
    "home": (
        stream("saved in /home/ada/course/x.pt"),
        "a path of the machine it ran on (/home/ada/course/x.pt)",
    ),
    "mac": (stream("see '/Users/ada/x'"), "(/Users/ada/x)"),
    "windows": (stream(r"C:\Users\ada\x.pt"), r"(C:\Users\ada\x.pt)"),
    "root": (stream("in /srv/checkout/vit/data"), "(/srv/checkout/vit)"),
    "tmp": (new_output("display_data", {"text/html": "<p>/tmp/abc</p>"}), "(/tmp/abc)"),
    "kernel": (stream("T/ipykernel_4711/12.py:3: UserWarning", "stderr"), "ipykernel_4711"),
    "package": (stream("~/venv/lib/site-packages/torch/nn.py: warning"), "site-packages"),
    "bar": (stream("10%|█  | 1/10 [00:00<00:01, 2.0it/s]", "stderr"), "a progress bar"),
    "carriage": (stream("\rstep 3"), "a progress bar"),
    "time": (stream("Wall time: 3 s"), "a time that differs on every run (Wall time:)"),
    "clock": (stream("done at 12:31:07"), "12:31:07"),
    "address": (new_output("execute_result", {"text/plain": "<f at 0x7f44d32c07c0>"}), "0x7f44d32c07c0"),
    "widget": (new_output("display_data", {WIDGET: {}}), "holds a widget"),
    "error": (error("ValueError: no"), "stopped with ValueError"),
    "dpi": (png(dpi=150), "150 dpi: at most 100"),
    "pixels": (png(inches=(20, 2)), "1800 x 180 pixels"),
    "dpi in HTML": (in_html(png(dpi=150)), "150 dpi: at most 100"),
    "size": (stream("x" * 600_000), "its outputs have 586 KB, more than 500"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_place_in_a_committed_notebook(case):
    output, expected = BAD[case]
    found = hygiene(notebook_of(output), ROOT)
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/home/ada and (B, N, D) -> x/tmp",
        "112.5 MiB against 768 GiB, 40% of 5",
        "lr 1e-3, loss 0.31 [3, 4]",
        '<img src="data:image/png;base64,iVBOR/tmp/+/home/abc0x7f44d32c07c0=">',
    ],
)
def test_innocent_text_is_left_in_peace(text):
    assert hygiene(notebook_of(stream(text)), ROOT) == []


def test_stored_widget_state_is_found():
    notebook = notebook_of()
    notebook.metadata.widgets = {}
    assert hygiene(notebook, ROOT) == ["the state of widgets is stored in its metadata"]
