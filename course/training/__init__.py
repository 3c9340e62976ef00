"""Training: ``fit(model, data, recipes.cpu_minute)``."""

from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.finetune import at_resolution
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
