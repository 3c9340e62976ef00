"""What every picture of the course must be, for the tests of those who draw them."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from course.drawing import Picture


def assert_nothing_is_cut_off(name: str, picture: Picture) -> None:
    """All ink is on the page, no title runs into another, and every word can be read."""
    assert_readable(name, picture)
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    renderer = canvas.get_renderer()
    ink, (width, height) = picture.get_tightbbox(renderer), picture.get_size_inches()
    assert min(ink.x0, ink.y0, width - ink.x1, height - ink.y1) > -0.01, name
    titles = [axis.title.get_window_extent(renderer) for axis in picture.get_axes() if axis.get_title()]
    for i, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[:i]), name


def assert_readable(name: str, picture: Picture) -> None:
    """No word is smaller than 8 points, none paler than 4.5 : 1 on white (WCAG 1.4.3); white is for dark grounds."""
    for text in picture.findobj(Text):
        if not text.get_visible() or not text.get_text().strip():
            continue
        said = f"{name}: {text.get_text()!r}"
        assert text.get_fontsize() >= 8, f"{said} has {text.get_fontsize()} points"
        luminance = _luminance(to_rgb(text.get_color()))
        alpha = text.get_alpha() if text.get_alpha() is not None else 1.0
        contrast = 1.05 / (1 - alpha * (1 - luminance) + 0.05)
        assert contrast >= 4.5 or luminance > 0.95, f"{said} has a contrast of {contrast:.1f} : 1 on white"


def _luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
