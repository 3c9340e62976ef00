"""A picture with knobs: ``turn(draw, query=range(64))`` shows ``draw(query=0)`` and a slider to choose another query.

Where no kernel runs (a built notebook, a page on the web) the picture stays and the slider is gone.
"""

import base64
from collections.abc import Callable, Sequence

from course.drawing import Picture
from course.notebook import in_notebook

WIDGET = "application/vnd.jupyter.widget-view+json"


def turn(draw: Callable[..., Picture], **knobs: Sequence) -> None:
    """Show a picture that depends on a few choices, and in a notebook a slider for each of them.

    Args:
        draw: takes each knob by name and returns a `Picture`.
        knobs: what each can be; the picture first shown has the first of each.

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
    from IPython.display import display

    png = picture.png()
    box = _sliders(draw, knobs, png)
    bundle = box._repr_mimebundle_() | {"image/png": base64.b64encode(png).decode(), "text/plain": picture.alt}
    display(bundle, raw=True)


def _sliders(draw: Callable[..., Picture], knobs: dict[str, Sequence], png: bytes):
    """A box with a slider for each knob, and below them the picture, drawn anew after each turn."""
    import ipywidgets

    image = ipywidgets.Image(value=png, format="png", layout={"max_width": "100%", "object_fit": "contain"})
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=[(str(choice), choice) for choice in choices], description=name, continuous_update=False
        )
        for name, choices in knobs.items()
    }

    def drawn(_change) -> None:
        image.value = draw(**{name: slider.value for name, slider in sliders.items()}).png()

    for slider in sliders.values():
        slider.observe(drawn, "value")
    return ipywidgets.VBox([*sliders.values(), image])
