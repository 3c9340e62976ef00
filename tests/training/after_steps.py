"""Something done after each step of a training: a look at it, Ctrl-C, a fault, a pause."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from course.training import loop


@contextmanager
def after_each_step(act: Callable[[int], None], save_every: float = loop.SAVE_EVERY) -> Iterator[None]:
    """Within it, `fit` calls this with the number of each step, counted from 1, before it saves it or stops.

    Args:
        save_every: seconds from one checkpoint to the next.
    """
    save_or_stop = loop._Training._save_or_stop

    def acting(training, at: int, pressed: list) -> None:
        act(at)
        save_or_stop(training, at, pressed)

    with patch.object(loop._Training, "_save_or_stop", acting), patch.object(loop, "SAVE_EVERY", save_every):
        yield
