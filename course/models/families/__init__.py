"""The families, one short file each: the specs and how public weights are named. A file put here is found."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
