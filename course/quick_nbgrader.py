"""Imported for its effect, before a module of nbgrader: loading that takes a third of the time.

The package itself (0.9.6) loads its four server extensions, and with them a web server, nbconvert and all of its commands.
Its gradebook (``nbgrader.api``) needs none of them. With this entry the package is an empty shell around its modules, until
something asks it for a name: then it loads itself.
"""

import sys
from importlib.util import find_spec, module_from_spec

if "nbgrader" not in sys.modules and (_spec := find_spec("nbgrader")) is not None:
    _shell = module_from_spec(_spec)

    def _load(name: str):
        if name == "__version__":  # asked for by its commands, while one of the extensions may be half loaded
            from nbgrader._version import __version__

            return __version__
        if name.startswith("__") or find_spec(f"nbgrader.{name}"):
            raise AttributeError(name)  # on which Python imports it, if it is a module
        del _shell.__getattr__
        _spec.loader.exec_module(_shell)
        return getattr(_shell, name)

    _shell.__getattr__ = _load
    sys.modules["nbgrader"] = _shell
