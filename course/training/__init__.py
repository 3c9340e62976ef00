"""Training: ``fit(model, data, recipes.cpu_minute)``."""

from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.history import History
from course.training.loop import TrainingError, evaluate, fit
from course.training.recipes import Recipe

__all__ = ["CheckpointError", "History", "Recipe", "TrainingError", "evaluate", "fit", "recipes"]
