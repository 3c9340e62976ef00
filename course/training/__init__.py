"""Training: ``fit(model, data, recipes.cpu_minute)``.

What is imported here does not import ``course.models``, which does not exist where students' code is graded.
"""

from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.history import History
from course.training.loop import evaluate, fit
from course.training.not_finite import TrainingError
from course.training.pretrained import Price, train_or_load
from course.training.recipe import Recipe

__all__ = [
    "CheckpointError",
    "History",
    "Price",
    "Recipe",
    "TrainingError",
    "at_resolution",
    "evaluate",
    "fit",
    "recipes",
    "train_or_load",
]


def __getattr__(name: str):
    if name == "at_resolution":
        from course.models.resizing import at_resolution

        return at_resolution
    raise AttributeError(f"module 'course.training' has no attribute {name!r}")
