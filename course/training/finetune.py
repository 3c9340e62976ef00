"""Fine-tuning at another resolution and with another head: ``at_resolution(model, 384, num_classes=10)``.

ViT is trained at 224 pixels and fine-tuned at 384, with patches of the same size, so that there are more of
them. Most weights belong to a patch or to a pair and do not notice; those that belong to a place are resized.
"""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.gates.gather_excite import GatherExcite
from course.models.registry import another, input_shape_of
from course.models.spec import Whole
from course.models.stems import Tokens, resized_positions
from course.models.token_mixers.global_filter import GlobalFilter
from course.models.token_mixers.linformer import LinformerAttention
from course.models.token_mixers.offset_bias import OffsetBias
from course.models.token_mixers.permutator import Permutator
from course.models.token_mixers.relative_attention import RelativeAttention
from course.models.token_mixers.relative_bias import RelativeBiasAttention
from course.models.token_mixers.spatial_gating import SpatialGatingUnit
from course.models.token_mixers.token_linear import TokenLinear
from course.models.token_mixers.token_mlp import TokenMLP
from course.models.token_mixers.window import WindowAttention
from course.models.vatt import VideoTokens
from course.models.video import ClipTokens

Grid = tuple[int, int]


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
                weight.copy_(_carried(model, result, name, trained.get(name), weight.shape))
    if hasattr(model, "normalise_images"):  # what ``fit`` found out about the images
        result.normalise_images = model.normalise_images
    some = next(model.parameters())
    return result.to(some.device, some.dtype).train(model.training)


# How each kind of weight is resized
# -----------------------------------------------------------------------------------------------------------


def positions(position: Tensor, old: Grid, new: Grid) -> Tensor:
    """One vector for each place, (n + h*w, D) -> (n + h'*w', D); those of n class tokens stay."""
    return position if old == new else resized_positions(position, old, new)


def clip_positions(position: Tensor, old: tuple[int, int, int], new: tuple[int, int, int], class_tokens: int) -> Tensor:
    """Likewise for the (t, h, w) places of a clip, moment by moment, or the (h, w) that all moments share."""
    before, after = old[1:], new[1:]
    moments = position[class_tokens:].unflatten(0, (-1, before[0] * before[1]))  # (t or 1, h*w, D)
    return torch.cat([position[:class_tokens], *[positions(moment, before, after) for moment in moments]])


def displacement_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """A row for each displacement, ((2h-1)*(2w-1), D) -> ((2h'-1)*(2w'-1), D); no displacement in the middle.

    Bicubic, as Swin goes from windows of 7 to windows of 12 (Liu et al. 2021, arXiv:2103.14030, section 3.2),
    and as in its authors' code without antialiasing.
    """
    if old == new:
        return table
    image = table.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1).float()  # (1, D, 2h-1, 2w-1)
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    image = F.interpolate(image, size=size, mode="bicubic")  # (1, D, 2h'-1, 2w'-1)
    return image.flatten(2)[0].T.to(table.dtype)


def displacement_line(table: Tensor, new: Tensor) -> Tensor:
    """A row for each displacement on a line, (2L-1, D) -> (2L'-1, D); of `new` only the length is used."""
    return displacement_table(table, *[((len(rows) + 1) // 2, 1) for rows in (table, new)])


def offset_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """A number for each (|dy|, |dx|), (D, h*w) -> (D, h'*w'): a quarter of a table of displacements."""
    if old == new:
        return table
    quarter = table.unflatten(1, old)  # (D, h, w)
    half = torch.cat([quarter[:, 1:].flip(1), quarter], dim=1)  # (D, 2h-1, w)
    whole = torch.cat([half[:, :, 1:].flip(2), half], dim=2)  # (D, 2h-1, 2w-1)
    whole = displacement_table(whole.flatten(1).T, old, new).T  # (D, (2h'-1)*(2w'-1))
    return whole.unflatten(1, (2 * new[0] - 1, -1))[:, new[0] - 1 :, new[1] - 1 :].flatten(1)


def filter_weight(weight: Tensor, old: Grid, new: Grid) -> Tensor:
    """A filter by its frequencies, (h, w//2+1, D, 2) -> (h', w'//2+1, D, 2), that stays the same convolution.

    Its kernel of h×w places gets zeros around it, or loses its rim, until it is as large as the new map.
    """
    if old == new:
        return weight
    kernel = torch.fft.irfft2(torch.view_as_complex(weight.float()), s=old, dim=(0, 1))  # (h, w, D)
    kernel = torch.fft.fftshift(kernel, dim=(0, 1))  # its middle now lies at (h//2, w//2)
    before = [n // 2 - o // 2 for o, n in zip(old, new)]
    after = [n - o - b for o, n, b in zip(old, new, before)]
    kernel = F.pad(kernel, (0, 0, before[1], after[1], before[0], after[0]))  # (h', w', D)
    spectrum = torch.fft.rfft2(torch.fft.ifftshift(kernel, dim=(0, 1)), dim=(0, 1))  # (h', w'//2+1, D)
    return torch.view_as_real(spectrum).to(weight.dtype)


# (owner's class, weight) -> (trained owner, new owner, trained weight) -> new weight
_RESIZED: dict[tuple[type, str], Callable[[nn.Module, nn.Module, Tensor], Tensor]] = {
    (Tokens, "position"): lambda old, new, table: positions(table, old.grid, new.grid),
    (ClipTokens, "position"): lambda old, new, table: clip_positions(
        table, old.grid, new.grid, class_tokens=int(old.class_token is not None)
    ),
    (VideoTokens, "row"): lambda old, new, table: positions(table, (len(table), 1), (len(new.row), 1)),
    (VideoTokens, "column"): lambda old, new, table: positions(table, (len(table), 1), (len(new.column), 1)),
    (WindowAttention, "bias_table"): lambda old, new, table: displacement_table(
        table, (old.window_size,) * 2, (new.window_size,) * 2
    ),
    (RelativeBiasAttention, "bias_table"): lambda old, new, table: displacement_table(table, old.grid, new.grid),
    (RelativeAttention, "rows"): lambda old, new, table: displacement_line(table, new.rows),
    (RelativeAttention, "columns"): lambda old, new, table: displacement_line(table, new.columns),
    (OffsetBias, "table"): lambda old, new, table: offset_table(table, old.grid, new.grid),
    (GlobalFilter, "weight"): lambda old, new, weight: filter_weight(weight, old.grid, new.grid),
}

# Weights that belong to one map alone. Shapes do not tell: ViP's are D×D on every map.
_FIXED = {
    TokenMLP: "fc1.weight",
    TokenLinear: "proj.weight",
    SpatialGatingUnit: "proj.weight",
    LinformerAttention: "summary_k",
    Permutator: "height.weight",
    GatherExcite: "conv.weight",
}


def _carried(model: nn.Module, result: nn.Module, name: str, weight: Tensor | None, shape: torch.Size) -> Tensor:
    """The trained weight of that name, resized if it belongs to a place and the places are others."""
    owner, _, leaf = name.rpartition(".")
    if weight is not None:
        old, new = model.get_submodule(owner), result.get_submodule(owner)
        for (cls, which), resized in _RESIZED.items():
            if isinstance(old, cls) and which == leaf:
                weight = resized(old, new, weight)
        if weight.shape == shape:
            return weight
    found = "not there" if weight is None else f"{tuple(weight.shape)}"
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
        for cls, leaf in _FIXED.items():
            if isinstance(module, cls) and getattr(module, leaf.partition(".")[0]) is not None:
                height, width = input_shape_of(model)[-2:]
                shape = tuple(module.get_parameter(leaf).shape)
                raise ValueError(
                    f"{model.name} cannot be taken from images of {height}×{width} to another size: "
                    f"the weights of {cls.__name__} ({owner}.{leaf}, {shape}) belong to the places of one "
                    f"map, and another has others. With img_size=({height}, {width}) it can have a new head; "
                    f"create_model('{model.name}', img_size={size}) is one to train anew"
                )


def _last_layer(model: nn.Module, num_classes: int) -> set[str]:
    """The names of the weights whose shapes follow the number of classes."""
    with torch.device("meta"):
        one, other = (another(model, num_classes=max(num_classes, 1) + more).state_dict() for more in (0, 1))
    return {name for name in one if one[name].shape != other[name].shape}
