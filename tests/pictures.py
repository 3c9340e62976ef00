"""What every picture of the course must be, for the tests of those who draw them."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

from course.drawing import Picture


def assert_nothing_is_cut_off(name: str, picture: Picture) -> None:
    """All ink is on the page, and no title runs into another."""
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    renderer = canvas.get_renderer()
    ink, (width, height) = picture.get_tightbbox(renderer), picture.get_size_inches()
    assert min(ink.x0, ink.y0, width - ink.x1, height - ink.y1) > -0.01, name
    titles = [axis.title.get_window_extent(renderer) for axis in picture.get_axes() if axis.get_title()]
    for i, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[:i]), name
