"""Fine-tuning at another resolution and with another head: ``at_resolution(model, 384, num_classes=10)``.

ViT is trained at 224 pixels and fine-tuned at 384, with patches of the same size, so that there are more of
them. Most weights belong to a patch or to a pair and do not notice; those that belong to a place are resized.
Each module knows how: its ``resized(name, weight, trained)`` gives the weight of a trained module for its own places,
and ``one_map`` names one that cannot be resized.
"""

import inspect

import torch
from torch import Tensor, nn

from course.models.registry import another, input_shape_of
from course.models.spec import Whole


def at_resolution(
    model: nn.Module, img_size: int | tuple[int, int], num_classes: int | None = None, **spec_overrides
) -> nn.Module:
    """The trained model for images of another size: a new one of the same spec with the weights carried over.

    Learned positions and tables of relative positions are resized as images, by bicubic interpolation
    (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.2). Positions that are computed are computed anew:
    sines and cosines go on where they ended; but the Perceiver's frequencies follow the size, and its weights
    were trained on others.

    Args:
        model: made by ``create_model``; it stays as it is.
        img_size: H = W, or (H, W), in pixels.
        num_classes: of a new last layer, all zeros (ViT's protocol, section 3.2); 0: none. None: the trained
            one stays.
        spec_overrides: other values of the spec: Swin goes from 224 to 384 pixels with ``window_size=12``.

    Returns:
        The new model, on the same device, in the same mode, every weight to be trained.

    Raises:
        ValueError: a model that ``create_model`` did not make, a size that does not fit its spec, or weights
            that belong to a number of tokens and cannot be resized; names them.
    """
    size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    changes = dict(spec_overrides)
    if num_classes is not None:
        changes["num_classes"] = num_classes
    if _knows_its_size(model):
        changes["img_size"] = size
        if input_shape_of(model)[-2:] != size:
            _check_no_fixed_map(model, size)
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn and then written over
        result = another(model, **changes)
    new_layer = set() if num_classes is None else _last_layer(model, num_classes)
    trained = model.state_dict()
    gone = [name for name in trained if name not in result.state_dict() and name not in new_layer]
    if gone:
        raise ValueError(f"{model.name}: for {', '.join(gone[:5])} there is no place in the new spec")
    with torch.no_grad():
        for name, weight in result.state_dict().items():
            if name in new_layer:
                weight.zero_()
            else:
                weight.copy_(_carried(model, result, name, trained.get(name), weight.shape, not spec_overrides))
    if hasattr(model, "normalise_images"):  # what ``fit`` found out about the images
        result.normalise_images = model.normalise_images
    some = next(model.parameters())
    return result.to(some.device, some.dtype).train(model.training)


def _carried(
    model: nn.Module, result: nn.Module, name: str, weight: Tensor | None, shape: torch.Size, only_size: bool
) -> Tensor:
    """The trained weight of that name, resized if it belongs to a place and the places are others."""
    owner, _, leaf = name.rpartition(".")
    if weight is not None:
        resize = getattr(result.get_submodule(owner), "resized", None)
        if resize is not None:
            weight = resize(leaf, weight, model.get_submodule(owner))
        if weight.shape == shape:
            return weight
    found = "not there" if weight is None else f"{tuple(weight.shape)}"
    if only_size and weight is not None:
        while type(result.get_submodule(owner)).__module__.startswith("torch.") and owner:
            owner, _, child = owner.rpartition(".")
            leaf = f"{child}.{leaf}"
        cls = type(result.get_submodule(owner)).__name__
        raise ValueError(
            f"{model.name}: {name} is {found} at one image size and {tuple(shape)} at the other, and {cls} does not "
            f"say how it is resized: write a method resized(self, name, weight, trained) into {cls}, as "
            f'WindowAttention has one (token_mixers/window.py), or, if it cannot be resized, one_map = "{leaf}" '
            "as TokenMLP has (token_mixers/token_mlp.py)"
        )
    raise ValueError(
        f"{model.name}: the new spec needs {name} of shape {tuple(shape)}, and in the trained model it is "
        f"{found}; besides img_size and num_classes, only what leaves the weights' shapes alone can change"
    )


def _knows_its_size(model: nn.Module) -> bool:
    """Whether its spec says an image size; a ResNet's does not, and takes any.

    Raises:
        ValueError: the model has no spec.
    """
    if not hasattr(model, "spec"):
        raise ValueError(
            f"a model made by create_model is needed, which knows its spec, and not {type(model).__name__}"
        )
    whole = isinstance(model.spec, Whole)
    return not whole or "img_size" in inspect.signature(model.spec.part.cls).parameters


def _check_no_fixed_map(model: nn.Module, size: tuple[int, int]) -> None:
    for owner, module in model.named_modules():
        leaf = getattr(module, "one_map", None)
        if leaf is not None:
            height, width = input_shape_of(model)[-2:]
            shape = tuple(module.get_parameter(leaf).shape)
            raise ValueError(
                f"{model.name} cannot be taken from images of {height}×{width} to another size: "
                f"the weights of {type(module).__name__} ({owner}.{leaf}, {shape}) belong to the places of one "
                f"map, and another has others. With img_size=({height}, {width}) it can have a new head; "
                f"create_model('{model.name}', img_size={size}) is one to train anew"
            )


def _last_layer(model: nn.Module, num_classes: int) -> set[str]:
    """The names of the weights whose shapes follow the number of classes."""
    with torch.device("meta"):
        one, other = (another(model, num_classes=max(num_classes, 1) + more).state_dict() for more in (0, 1))
    return {name for name in one if one[name].shape != other[name].shape}
