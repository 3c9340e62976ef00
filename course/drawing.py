"""What every figure of the course is made of: a `Picture`, the colours, and how an image or a frame is drawn."""

import base64
import html
import io
import itertools
import re
from collections.abc import Iterable

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BROWN = "#8c564b"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
GREY, PALE = "#767676", "#d9d9d9"
# What is shown in many lectures has the same colour in all of them.
MEANINGS = {"texture": BLUE, "relation": ORANGE, "ViT": GREEN, "CNN": PURPLE, "untrained": GREY}
NEUTRAL = (SKY, BROWN, RED)  # these mean nothing

PAGE = 8.4  # inches: about the width of a notebook's output
DPI = 90
SMALL = 8  # points; nothing in a figure is smaller


class Picture(Figure):
    """A figure that a notebook shows as a small PNG: a palette of 256 colours takes a third of the bytes.

    Attributes:
        alt: what there is to see, in words, for those who cannot; also what a terminal prints.
    """

    alt = "a figure"

    def described(self, alt: str) -> "Picture":
        """The same picture with these words: its result, in numbers, which the drawing alone cannot know."""
        self.alt = " ".join(alt.split())
        return self

    def png(self) -> bytes:
        """The picture as PNG. The same drawing gives the same bytes: no date, no version is in them."""
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        self.set_layout_engine("none")  # arranged once; a second time would move things by a dot
        page = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # Cropped here: savefig(bbox_inches="tight") would draw, and arrange, everything twice.
        ink = self.get_tightbbox(canvas.get_renderer()).padded(0.06).extents * DPI  # left, bottom, right, top
        left, right = max(round(ink[0]), 0), min(round(ink[2]), page.width)
        top, bottom = max(round(page.height - ink[3]), 0), min(round(page.height - ink[1]), page.height)
        page = page.crop((left, top, right, bottom))
        # Maximum coverage keeps a colour that few pixels have, such as a thin frame's; the other methods lose it.
        palette = page.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        stored = io.BytesIO()
        palette.save(stored, "PNG", optimize=True, dpi=(DPI, DPI))
        return stored.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """As HTML for JupyterLab and nbconvert, which give a bare PNG no words; as PNG for who shows no HTML."""
        png = self.png()
        data = {"image/png": png, "text/html": image_html(png, self.alt), "text/plain": repr(self)}
        return data, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"[picture: {self.alt}]"


def colours_of(names: Iterable[str]) -> list[str]:
    """A colour for each name: its own where `MEANINGS` gives one ("ViT, 1,000 images" is a ViT), else one that is left."""
    names = list(names)
    meant = [
        next((colour for word, colour in MEANINGS.items() if re.match(rf"{word}\b", name)), None) for name in names
    ]
    left = [colour for colour in COLOURS if colour not in meant] or list(COLOURS)
    rest = itertools.cycle(left)
    return [colour or next(rest) for colour in meant]


def image_html(png: bytes, alt: str) -> str:
    """A PNG with what it shows in words, which a screen reader reads."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{html.escape(alt)}">'


# -- images and video


def new_figure(alt: str, rows: int, columns: int, width: float, height: float, **ratios) -> tuple[Picture, np.ndarray]:
    """A picture of that size in inches, and its axes (rows, columns)."""
    figure = empty_figure(alt, width, height)
    return figure, figure.subplots(rows, columns, squeeze=False, **ratios)


def empty_figure(alt: str, width: float, height: float) -> Picture:
    figure = Picture(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    figure.alt = " ".join(alt.split())
    return figure


def pixels_of(image: Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, 3), or (H, W) of a grey image, in 0..1; floats outside that are stretched to it."""
    image = image.detach().cpu()
    if image.dtype == torch.uint8:
        image = image.float() / 255
    elif image.min() < 0 or image.max() > 1:
        image = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-12)
    pixels = image.float().permute(1, 2, 0).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def show_image(axis: Axes, image: Tensor) -> None:
    axis.imshow(pixels_of(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    without_axes(axis)


def without_axes(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def frame_axes(axis: Axes, colour: str) -> None:
    axis.spines[:].set(visible=True, color=colour, linewidth=2)


def outline(left: int, top: int, width: int, height: int, colour: str) -> Rectangle:
    box = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=2)
    # The dark rim keeps it apart from whatever colours are under it.
    box.set_path_effects([patheffects.withStroke(linewidth=3.5, foreground="black")])
    return box
