"""How a module was made, for printing a model as source: ``make`` notes every call while someone records."""

from contextlib import contextmanager

from torch import nn

_calls: dict[int, tuple] | None = None


def make(cls: type, *arguments, **options) -> nn.Module:
    """``cls(*arguments, **options)``, noted if inside ``recorded``."""
    module = cls(*arguments, **options)
    if _calls is not None:
        # The module itself is kept with its call, so that its id stays its own.
        _calls[id(module)] = (module, cls, arguments, options)
    return module


@contextmanager
def recorded():
    """Within it, every ``make`` is noted: yields {id of the module: (module, class, arguments, options)}."""
    global _calls
    before, _calls = _calls, {}
    try:
        yield _calls
    finally:
        _calls = before
