"""The spectrum: backbones as stem × token mixer × channel mixer × layout × head, and what does not fit that beside.

``list_models()`` names them, ``create_model(name)`` makes one, ``show(name)`` prints its source in forward order,
``architecture(name)`` draws it,
``compare(a, b)`` what differs, ``card(name)`` its figures; ``load_reference`` copies public weights into it.
"""

from course.models.drawn import architecture
from course.models.pages import card, compare, show
from course.models.reference import ReferenceMismatch, load_reference
from course.models.registry import create_model, list_models
from course.models.resizing import at_resolution

__all__ = [
    "ReferenceMismatch",
    "architecture",
    "at_resolution",
    "card",
    "compare",
    "create_model",
    "list_models",
    "load_reference",
    "show",
]
