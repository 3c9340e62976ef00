"""When the loss is no longer a number: at which step, why, and from where one can go on."""

from pathlib import Path

import torch
from torch import Tensor, nn

from course.training.recipe import Recipe

IN_THE_IMAGES = "There are values in the images themselves that are not finite. "


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says why and what to change."""

    @classmethod
    def at(
        cls, step: int, steps: int, recipe: Recipe, what: str, path: Path | None, cause: str = ""
    ) -> "TrainingError":
        """The error of a step, counted from 1."""
        rate = recipe.learning_rate(step - 1, steps)
        kept = f" {path} holds the last whole save before it." if path and path.exists() else ""
        if cause == IN_THE_IMAGES:
            return cls(f"{what} at step {step}. {cause}Look at what makes them, and at the augmentation.{kept}")
        return cls(
            f"{what} at step {step}, where the learning rate is {rate:.2g}. {cause}Build the model anew and train "
            f"with a smaller one, say recipe.but(lr={recipe.lr / 10:.2g}), or with a longer warmup; if it stays, look "
            f"in the model for a division by zero or an exp of something large.{kept}"
        )


def cause_of(model: nn.Module, images: Tensor | tuple[Tensor, ...]) -> str:
    """Where, on these images, something is first not finite: a sentence with a space behind it, or ``""``.

    The weights are those before the step that failed, or what is left of them.
    """
    if not all(torch.isfinite(view).all() for view in (images if isinstance(images, tuple) else [images])):
        return IN_THE_IMAGES
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"The weights {name} are not finite: an earlier update of them was too large. "
    found: list[str] = []

    def before(name: str):
        def hook(module: nn.Module, inputs: tuple) -> None:
            if not found and any(not torch.isfinite(value).all() for value in _tensors(inputs)):
                owner = name.rpartition(".")[0] or "the model"
                found.append(
                    f"The first that is not finite is what {owner} gives to {name} ({type(module).__name__}), computed "
                    "between two of its layers. "
                )

        return hook

    def after(name: str):
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if not found and any(not torch.isfinite(value).all() for value in _tensors(output)):
                largest = max((float(value.abs().max()) for value in _tensors(inputs)), default=0.0)
                found.append(
                    f"The first that is not finite is what {name or 'the model'} ({type(module).__name__}) makes of "
                    f"values up to {largest:.3g}. "
                )

        return hook

    hooks = [module.register_forward_hook(after(name)) for name, module in model.named_modules()]
    hooks += [module.register_forward_pre_hook(before(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _tensors(values) -> list[Tensor]:
    """The floating-point ones of what a layer takes or gives, tuples looked into."""
    if isinstance(values, Tensor):
        return [values] if values.is_floating_point() else []
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, tuple | list) else []


def gradient_cause(model: nn.Module) -> str:
    """Which weights' gradient is not finite, as a sentence with a space behind it, or ``""``."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"The loss is finite, but its gradient with respect to {name} is not. "
    return ""
