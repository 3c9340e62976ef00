"""A picture with knobs: ``turn(draw, query=range(64))`` shows ``draw(query=0)`` and a slider to choose another query.

Where no kernel runs (a notebook that was closed and opened again, a page on the web) the picture stays, and in place of
the slider a line says how to have it back (`course/lab/labextensions`).
"""

import base64
from collections.abc import Callable, Sequence

from course.drawing import Picture, image_html
from course.notebook import in_notebook

WIDGET = "application/vnd.jupyter.widget-view+json"


def turn(draw: Callable[..., Picture], **knobs: Sequence) -> None:
    """Show a picture that depends on a few choices, and in a notebook a slider for each of them.

    Args:
        draw: takes each knob by name and returns a `Picture`.
        knobs: what each can be; the picture first shown has the first of each. On the slider they are sorted.

    Raises:
        ValueError: a knob without choices.
    """
    empty = [name for name, choices in knobs.items() if len(choices) == 0]
    if empty:
        raise ValueError(f"there is nothing to choose for {', '.join(empty)}")
    picture = draw(**{name: choices[0] for name, choices in knobs.items()})
    if not in_notebook():
        print(picture.alt)
        return
    from IPython.display import DisplayHandle, display

    # Two outputs: of one that holds both, JupyterLab shows the slider alone, and nothing once its kernel is gone.
    shown = DisplayHandle()
    sliders = _sliders(lambda **values: shown.update(_bundle(draw(**values)), raw=True), knobs)
    # Where no widget can be shown, this is what is read.
    display({**sliders._repr_mimebundle_(), "text/plain": f"[run this cell to choose {', '.join(knobs)}]"}, raw=True)
    shown.display(_bundle(picture), raw=True)


def _bundle(picture: Picture) -> dict[str, str]:
    """As a kernel sends it. Shown as it is, pyplot's own formatter would draw it anew where pyplot is loaded."""
    png = picture.png()
    image = base64.b64encode(png).decode()
    return {"image/png": image, "text/html": image_html(png, picture.alt), "text/plain": repr(picture)}


def _sliders(show: Callable[..., None], knobs: dict[str, Sequence]):
    """A box with a slider for each knob; `show` is called with the value of each when one is turned."""
    import ipywidgets

    sliders = {
        name: ipywidgets.SelectionSlider(
            options=[(str(choice), choice) for choice in _sorted(choices)],
            value=choices[0],
            description=name,
            continuous_update=False,
        )
        for name, choices in knobs.items()
    }
    for slider in sliders.values():
        slider.observe(lambda _change: show(**{name: slider.value for name, slider in sliders.items()}), "value")
    return ipywidgets.VBox([*sliders.values()])


def _sorted(choices: Sequence) -> list:
    """In order where there is one: names stay as they came."""
    try:
        return list(choices) if isinstance(choices[0], str) else sorted(choices)
    except TypeError:
        return list(choices)
