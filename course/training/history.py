"""The losses and accuracies of a training, and their curves."""

import base64
import html
import io
import time
from dataclasses import dataclass, field

from course.data.normalise import Normalise
from course.progress_bar import CellOutput
from course.training.recipe import Recipe

REDRAW_SECONDS = 2.0


@dataclass(repr=False)
class History:
    """The course of one training.

    Attributes:
        recipe, total_steps: what was to be done.
        normalise: what was done to the images; also in ``model.normalise_images``.
        steps, loss: the training loss of every step, counted from 1.
        val_steps, val_accuracy: accuracy on the validation set, 0..1, after these steps.
        interrupted: stopped by Ctrl-C before the end.
        seconds: how long it took here, without what an earlier, interrupted call took.
    """

    recipe: Recipe
    total_steps: int
    normalise: Normalise
    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def final_accuracy(self) -> float | None:
        """The last validation accuracy, 0..1; None without a validation set."""
        return self.val_accuracy[-1] if self.val_accuracy else None

    def __repr__(self) -> str:
        parts = [f"{len(self.steps)} of {self.total_steps} steps"]
        if self.loss:
            parts.append(f"loss {self.loss[-1]:.3f}")
        if self.val_accuracy:
            parts.append(f"validation accuracy {100 * self.val_accuracy[-1]:.1f} %")
        return ", ".join(parts)

    def figure(self):
        """The curves as a matplotlib ``Figure``: loss, and validation accuracy if there is one."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 2.2), layout="constrained")
        self._draw(figure)
        return figure

    def plot(self) -> None:
        """Show the curves."""
        import matplotlib.pyplot as plt

        self._draw(plt.figure(figsize=(6.4, 2.2), layout="constrained"))
        plt.show()

    def _draw(self, figure) -> None:
        left, right = figure.subplots(1, 2) if self.val_accuracy else (figure.subplots(), None)
        left.plot(self.steps, self.loss, color="C0", alpha=0.3, linewidth=0.8)
        left.plot(self.steps, _smooth(self.loss), color="C0")
        left.set(title="training loss", xlabel="step", xlim=(0, self.total_steps))
        left.set_ylim(bottom=0)
        if right:
            percent = [100 * accuracy for accuracy in self.val_accuracy]
            right.plot(self.val_steps, percent, "o-", color="C1", markersize=4)
            right.annotate(
                f"{percent[-1]:.1f} %",
                (self.val_steps[-1], percent[-1]),
                (0, -12),
                textcoords="offset points",
                ha="right",
            )
            right.set(title="validation accuracy, %", xlabel="step")
            right.set(xlim=(0, 1.03 * self.total_steps), ylim=(0, 103))


def _smooth(values: list[float], keep: float = 0.9) -> list[float]:
    """Running mean in which a value fades by `keep` a step, divided by the sum of the weights as Adam does,
    so that it is right from the first step on."""
    smooth, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        smooth.append(mean / weight)
    return smooth


class LiveCurve(CellOutput):
    """In one output of a cell: bar and curve while training goes on, at the end the curve alone."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self.history = history
        self.picture = ""
        self.drawn_at = 0.0

    def write(self, text: str) -> None:
        """What tqdm calls with each new state of the bar."""
        line = text.strip("\r\n ")
        if not line:
            return
        if self.history.loss and time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            self.picture = f'<img src="data:image/png;base64,{_png(self.history)}">'
            self.drawn_at = time.monotonic()
        self.show({"text/html": f"<pre>{html.escape(line)}</pre>{self.picture}", "text/plain": line})

    def close(self) -> None:
        """Leave the final figure, which is an ordinary picture, with no time in it and no path."""
        if self.history.loss:
            self.show({"image/png": _png(self.history), "text/plain": repr(self.history)})


def _png(history: History) -> str:
    buffer = io.BytesIO()
    # Without the version of matplotlib in the file, the same curve is the same bytes.
    history.figure().savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()
