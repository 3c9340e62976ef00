"""What comes out of every layer of a network, recorded on its way; any ``nn.Module`` will do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from course.analysis.token_grid import token_grid
from course.models.backbone import Backbone, Stage
from course.names import one_of

# What only strings layers together: its parts are the layers.
CONTAINERS = (Backbone, Stage, nn.Sequential, nn.ModuleList)


def layers(model: nn.Module) -> list[str]:
    """The layers that are looked at unless others are named: ``stem``, ``stages.0.blocks.0``, ..., ``head``.

    These are the model's own parts; ``Backbone``, ``Stage``, ``Sequential`` and ``ModuleList`` are opened,
    whatever else is one layer. What returns its input as it is (``Identity``, ``Dropout``) is none.
    """

    def opened(module: nn.Module, name: str) -> Iterator[str]:
        for child_name, child in module.named_children():
            path = f"{name}.{child_name}" if name else child_name
            if isinstance(child, CONTAINERS):
                yield from opened(child, path)
            elif not isinstance(child, nn.Identity | nn.Dropout):
                yield path

    return list(opened(model, ""))


@contextmanager
def recorded(
    model: nn.Module, names: Sequence[str] | None = None, keep: Callable[[Tensor], Tensor] = torch.clone
) -> Iterator[dict[str, Tensor]]:
    """Within it, a forward pass leaves each layer's output in the dictionary that this yields.

    Args:
        model: any.
        names: of its modules, as in ``model.named_modules()``; default: ``layers(model)``.
        keep: what to keep of an output, at once. A copy, by default: the layer that follows may write over it
            (``ReLU(inplace=True)``). Of a module that runs several times the last output stays.

    Raises:
        ValueError: the model has no module of that name; says which it has.
    """
    names = layers(model) if names is None else names
    modules = dict(model.named_modules())
    for name in names:
        one_of(name, [known for known in modules if known], "this model has no layer")
    kept: dict[str, Tensor] = {}

    def hook(name: str):
        def record(module: nn.Module, inputs: tuple, output) -> None:
            if isinstance(output, Tensor):
                kept[name] = keep(output)

        return record

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, with right gradients of a single image; afterwards it is as it was.

    Of one image torch 2.14 computes the gradient of a batch norm wrongly on CPUs, where the map is contiguous and the
    gradient that comes back is not, as behind ``flatten(2).transpose(1, 2)`` (``course/models/PEERS.md``).
    """
    was_training = model.training
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    hooks = [norm.register_forward_hook(_with_contiguous_gradient) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)


def _with_contiguous_gradient(norm: nn.Module, inputs: tuple, output: Tensor) -> None:
    if output.requires_grad and len(output) == 1:
        output.register_hook(Tensor.contiguous)


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters are."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def prepared(model: nn.Module, images: Tensor) -> Tensor:
    """Images as they are stored -> float32 as the model takes them, on its device.

    That is, normalised by what ``fit`` left in ``model.normalise_images``; where there is nothing, as they
    are.
    """
    images = images.to(device_of(model))
    normalise = getattr(model, "normalise_images", None)
    return images.float() if normalise is None else normalise(images)


def as_map(features: Tensor, size: tuple[int, int], channels_last: bool = True) -> Tensor:
    """Tokens (B, n + h*w, D) or a map (B, h, w, D) or (B, D, h, w) -> (B, h, w, D).

    The grid has the proportions of the image; in a map it is the two axes that have them.

    Args:
        features: what a layer returned.
        size: (H, W) of the images.
        channels_last: how to read a map that both readings fit.

    Raises:
        ValueError: there is no such grid in it.
    """
    height, width = size
    shape = tuple(features.shape)
    if features.ndim == 3:
        class_tokens, grid = token_grid(shape[1], size)
        return features[:, class_tokens:].unflatten(1, grid)  # (B, h, w, D)
    if features.ndim == 4:
        # Where strides do not divide the image, h and w are each rounded.
        last = abs(shape[1] * width - shape[2] * height) < max(size)
        first = abs(shape[2] * width - shape[3] * height) < max(size)
        if last and (channels_last or not first):
            return features
        if first:
            return features.permute(0, 2, 3, 1)
    raise ValueError(f"features of shape {shape} have no grid in the proportions of an image of {height}×{width}")
