"""Training: ``fit(model, data, recipes.cpu_minute)``.

How a recipe goes through `fit`, each line where it first happens; a step is one batch.

Before the first step::

    loop.fit                    the phases, one after the other; each is a method of _Training, in the same file
    loop._checked               are these images and labels, and of one length?
    regularise.set_drop_path    recipe.drop_path, on a model that is there already
    regularise.set_dropout      recipe.dropout, likewise
    batches.Batches             which augmentations, how many steps
    step.Step                   the model, its optimizer and its running mean
    optimizers.make_optimizer   recipe.optimizer; which weights decay, which learn more slowly (lr_scale)
    ema.Ema                     recipe.ema: the running mean of the weights
    checkpoint.signature        what a checkpoint must be of
    checkpoint.resume           a checkpoint that is there is put back
    speed.fastest               precision and attention kernel, where none were given
    step.distillation_modes     the teacher in eval mode

Each step::

    batches.Batches.__call__    the images of the step: chosen, augmented, normalised, mixed
    step.Step.__call__          forward, backward, update
    recipe.Recipe.learning_rate the rate of this step; each group of weights has it times its lr_scale
    sam.sharpness_step          recipe.sam: forward and backward twice
    loss.training_loss          recipe.loss, label_smoothing, distill
    ema.Ema.update              the new weights are counted in

After some steps::

    ema.Ema.in_place_of         accuracy is that of the mean
    loop.evaluate               accuracy on the validation set, at recipe.test_crop
    checkpoint.save             after every 20 seconds, at the end and after Ctrl-C

A model whose forward gives a scalar brings its own loss, and no labels are needed: MAE, SimMIM
(``course.models.masked_images``) and DINO (``course.models.dino``), by recipes of their names.

``history.History`` is what comes back. ``dense.fit_dense`` goes the same way with a loss of the caller's own, for masks and
boxes. ``parallel.Processes`` is asked wherever several processes must agree.

What is imported here does not import ``course.models``, which does not exist where students' code is graded.
"""

from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.dense import fit_dense
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
    "fit_dense",
    "recipes",
    "train_or_load",
]


def __getattr__(name: str):
    if name == "at_resolution":
        from course.models.resizing import at_resolution

        return at_resolution
    raise AttributeError(f"module 'course.training' has no attribute {name!r}")
