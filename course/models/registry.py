"""Names of models: which there are, what each is made of, and making one."""

import fnmatch
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from math import ceil, floor
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from course.models import public_names
from course.models.spec import PerStage, Pyramid, Spec, Whole, overridden, per_stage
from course.names import one_of

# A public library's names of weights -> ours; `course.models.reference` explains the signs.
Keys = dict[str, str | None | tuple[str, Callable[[Tensor], Tensor]]]


@dataclass(frozen=True)
class Registered:
    """One model of the table.

    Attributes:
        paper: whom to read, with the table that the figures come from.
        says: the paper's own parameters and multiply-adds, as printed there ("28.6M 4.5G"), or nothing.
        keys: by public library, how its weights are named.
        as_in: by public library, the change of the spec after which it computes what that library's network does,
            where it does not as it stands.
        usual_size: H = W of the paper's images, where the spec has no ``img_size`` because the model takes any.
    """

    name: str
    spec: Spec
    paper: str
    says: str = ""
    keys: dict[str, Keys] = field(default_factory=dict)
    as_in: dict[str, Callable[[Spec], Spec]] = field(default_factory=dict)
    usual_size: int = 224


_REGISTERED: dict[str, Registered] = {}


def register(
    name: str,
    spec: Spec,
    *,
    paper: str,
    says: str = "",
    keys: dict[str, Keys] | None = None,
    as_in: dict[str, Callable[[Spec], Spec]] | None = None,
    usual_size: int = 224,
) -> None:
    """Give a spec its name.

    Raises:
        ValueError: the name is taken, or `says` is not a number of parameters (M) or multiply-adds (G).
    """
    if name in _REGISTERED:
        raise ValueError(f"there is a model {name!r} already")
    if not re.fullmatch(r"([\d.]+M)?( ?[\d.]+G)?", says):
        raise ValueError(f"{name}: what the paper says is written like '28.6M 4.5G', not {says!r}")
    _REGISTERED[name] = Registered(name, spec, paper, says, keys or {}, as_in or {}, usual_size)


def and_in_files(keys: Keys, renamed: dict[str, str]) -> Keys:
    """The table with the names in files beside those in memory, where transformers renames what it reads and writes.

    `renamed`: pieces of the names, in memory -> in files.
    """
    found = {}
    for theirs, ours in keys.items():
        for memory, file in renamed.items():
            theirs = theirs.replace(memory, file)
        found[theirs] = ours
    return found | keys


def with_eps(eps: float) -> Callable[[Spec], Spec]:
    """For ``as_in``: that library has this eps in every norm."""
    return lambda spec: spec.but(eps=eps)


def none_there(why: str) -> Callable[[Spec], Spec]:
    """For ``as_in``: no network of that library computes this one. `why` is a sentence, and its remedy."""

    def refused(spec: Spec) -> Spec:
        raise ValueError(why)

    return refused


def entry(name: str) -> Registered:
    """What is registered under a name, ours or a public one (``course.models.public_names``).

    Raises:
        ValueError: nothing is; the message names the nearest.
    """
    import course.models.families  # noqa: F401  registers them all

    if name in _REGISTERED or not isinstance(name, str):
        return _REGISTERED[one_of(name, _REGISTERED, "there is no model")]
    found, near = public_names.ours(name), public_names.nearest(name, _REGISTERED)
    if found is None and near not in (None, *_REGISTERED):
        guess = f"did you mean {public_names.ours(near)!r}, which is {near!r} elsewhere?"
        raise ValueError(f"there is no model {name!r}: {guess} There are: {', '.join(_REGISTERED)}")
    return _REGISTERED[one_of(found or name, _REGISTERED, "there is no model")]


def list_models(pattern: str = "") -> list[str]:
    """The names that fit `pattern`, sorted.

    Args:
        pattern: with ``*``, ``?`` or ``[...]`` as of files, for the whole name: ``"vit*"`` does not find "convit_s".
            Without any of them a piece of the name: ``"vit"`` does. Case does not matter.
    """
    import course.models.families  # noqa: F401

    pattern = pattern.lower()
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return sorted(fnmatch.filter(_REGISTERED, pattern))


def create_model(
    name: str,
    num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    pretrained: str | Path | None = None,
    **spec_overrides,
) -> nn.Module:
    """The model of that name, with fresh weights or those of a file: images (B, C, H, W), or clips (B, T, C, H, W), to logits.

    Args:
        name: one of ``list_models()``, or what timm, torchvision or transformers call it ("vit_base_patch16_224").
        num_classes: width of the logits; 0: the features before the last layer. Default: the paper's.
        img_size: H = W, or (H, W), in pixels. Default: the paper's.
        pretrained: a .safetensors, .pth or .pt file of weights (timm's, torchvision's, transformers' or this course's;
            nothing else in it is run or read), or a folder with config.json and model.safetensors. Another `num_classes`
            than its own puts a new last layer, another ``in_chans`` makes the first layer fit, another `img_size` resizes
            what belongs to places; what was done is printed.
        spec_overrides: other values of the spec (``depth=2``) or of its parts (``window_size=4``).

    Raises:
        FileNotFoundError: there is nothing at `pretrained`.
        ValueError: no such name, no such override, or values that do not fit together; one sentence says what fits.
    """
    if pretrained is not None:
        from course.models.weight_files import create_from_file  # which makes models by this function

        return create_from_file(name, pretrained, num_classes, img_size, spec_overrides)
    overrides = dict(spec_overrides)
    overrides |= {k: v for k, v in {"num_classes": num_classes, "img_size": img_size}.items() if v is not None}
    found = entry(name)
    return _made(found.name, found.spec, overrides)


def another(model: nn.Module, **spec_overrides) -> nn.Module:
    """A model of the same spec as this one, which ``create_model`` made, with other values in it and fresh weights.

    Raises:
        ValueError: as ``create_model``.
    """
    return _made(model.name, model.spec, spec_overrides)


def _made(name: str, spec: Spec, overrides: dict) -> nn.Module:
    _require_whole_numbers(name, overrides)
    try:
        spec = overridden(spec, **overrides)
        model = spec.build()
    except ValueError as error:
        raise ValueError(f"{name}: {_with_sizes_that_fit(str(error), name, spec)}") from None
    except (TypeError, RuntimeError, IndexError, ZeroDivisionError, AttributeError) as error:
        if not overrides:
            raise
        given = ", ".join(f"{k}={v!r}" for k, v in overrides.items())
        sentence = f"{name}: {given} does not fit together with the rest of the spec ({error})"
        raise ValueError(sentence + _about_tuples(spec, overrides)) from error
    model.name, model.spec = name, spec
    model.register_forward_pre_hook(_InputCheck.of(name, spec))
    return model


def _with_sizes_that_fit(sentence: str, name: str, spec: Spec) -> str:
    """What a part says of a map or an image that it does not divide, and at the end sizes of the image that were tried.

    A part knows its own map and no other: what fits it need not fit the next.
    """
    found = re.fullmatch(r"(an image|a map)( of \d+×\d+ is not divided .*): (?:(.*) and )?(\d+) fits?", sentence)
    if not found:
        return sentence
    size = dict(spec.part.options).get("img_size") if isinstance(spec, Whole) else spec.img_size
    height, width = (size, size) if isinstance(size, int | None) else size
    named = [int(side) for side in [*(found[3] or "").split(", "), found[4]] if side]
    if found[1] == "an image" and height == width and all(_fits(name, spec, (side, side)) for side in named):
        return sentence
    for step in (2, 4, 8, 16, 32, 64, 128) if size else ():
        below, above = (tuple(way(side / step) * step for side in (height, width)) for way in (floor, ceil))
        fits = [s for s in dict.fromkeys((below, above)) if min(s) > 0 and _fits(name, spec, s)]
        if fits:
            sizes = " and ".join(f"img_size={h if h == w else (h, w)}" for h, w in fits)
            return f"{found[1]}{found[2]}: {sizes} fit{'s' if len(fits) == 1 else ''}"
    return f"{found[1]}{found[2]}" if size else sentence


def _fits(name: str, spec: Spec, size: tuple[int, int]) -> bool:
    """Whether such a model can be made, and looks through an image of that size."""
    try:
        with torch.device("meta"):
            spec = overridden(spec, img_size=size)
            spec.build().eval()(torch.empty(1, *_input_shape(name, spec)))
    except (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError, AttributeError):
        return False
    return True


def _require_whole_numbers(name: str, overrides: dict) -> None:
    """
    Raises:
        ValueError: `img_size`, `in_chans` or `num_classes` is no whole number, or too small a one; or another size is 0 or less.
    """
    for key, least in (("img_size", 1), ("in_chans", 1), ("num_classes", 0)):
        value = overrides.get(key, least)
        sides = value if key == "img_size" and isinstance(value, tuple | list) and len(value) == 2 else [value]
        if not all(isinstance(side, int) and side >= least for side in sides):
            pair = ", or two of them, (H, W)" if key == "img_size" else ""
            raise ValueError(f"{name}: {key} is a whole number, at least {least}{pair}; not {value!r}")
    for key in SIZES & overrides.keys():
        numbers = _numbers_in(overrides[key])
        if not numbers or any(number <= 0 for number in numbers):
            each = " in every stage" if len(numbers) > 1 else ""
            raise ValueError(f"{name}: {key} is greater than 0{each}, and not {overrides[key]!r}")


# What a network has none of makes no network; the parts that know more of a size say so themselves.
SIZES = {"depth", "depths", "dims", "embed_dim", "num_heads", "patch_size", "window_size", "kernel_size", "width"}
SIZES |= {"num_frames", "tubelet_size", "num_latents", "num_queries"}


def _numbers_in(value) -> list[float]:
    """Those of a number, a tuple or a ``per_stage``; what is none of them is left to the part that it is for."""
    if isinstance(value, PerStage | tuple | list):
        return [n for entry in (value.values if isinstance(value, PerStage) else value) for n in _numbers_in(entry)]
    return [value] if isinstance(value, int | float) else [1]


def _about_tuples(spec: Spec, overrides: dict) -> str:
    """What to write in place of a tuple that was meant stage by stage."""
    own = [f.name for f in fields(spec)]
    for key, value in overrides.items():
        if isinstance(spec, Pyramid) and key not in own and isinstance(value, tuple):
            return (
                f"; a value for each stage is written {key}={per_stage(*value)!r}, with per_stage of course.models.spec"
            )
    return ""


def input_shape(name: str) -> tuple[int, ...]:
    """The shape of one input as in the paper: (C, H, W), or (T, C, H, W) for a clip."""
    return _input_shape(name, entry(name).spec)


def input_shape_of(model: nn.Module) -> tuple[int, ...]:
    """The shape of one input, without the batch, for a model made by ``create_model``."""
    return _input_shape(model.name, model.spec)


def takes_any_size(name: str) -> bool:
    """Whether there is no ``img_size`` to set, because nothing in the model is made for one."""
    spec = entry(name).spec
    return isinstance(spec, Whole) and not spec.fits_one_size()


def _input_shape(name: str, spec: Spec) -> tuple[int, ...]:
    if isinstance(spec, Whole):
        defaults = {k: p.default for k, p in inspect.signature(spec.part.cls).parameters.items()}
        given = defaults | dict(spec.part.options)
    else:
        given = {"img_size": spec.img_size, "in_chans": spec.in_chans}
    size = given["img_size"] if "img_size" in given else entry(name).usual_size
    height, width = (size, size) if isinstance(size, int) else size
    frames = (given["num_frames"],) if "num_frames" in given else ()
    return (*frames, given.get("in_chans", 3), height, width)


@dataclass(frozen=True)
class _InputCheck:
    """Looks at what comes in, so that a wrong size is a sentence and not an error from the depth of a layer."""

    name: str
    axes: str
    in_chans: int
    img_size: tuple[int, int] | None  # None: any
    only_looks: ClassVar[bool] = True  # ``Model.features`` lets it look, too

    @staticmethod
    def of(name: str, spec: Spec) -> "_InputCheck":
        *frames, channels, height, width = _input_shape(name, spec)
        axes = "(B, T, C, H, W)" if frames else "(B, C, H, W)"
        return _InputCheck(name, axes, channels, (height, width) if spec.fits_one_size() else None)

    def __call__(self, model: nn.Module, arguments: tuple) -> None:
        images = arguments[0] if arguments else None
        if not isinstance(images, Tensor):
            return
        if images.ndim != self.axes.count(",") + 1:
            raise ValueError(f"{self.name} takes a batch {self.axes}, and not a tensor of shape {tuple(images.shape)}")
        if not images.is_floating_point():
            raise ValueError(
                f"{self.name} takes float images, and these are {str(images.dtype).removeprefix('torch.')}: "
                "model.normalise_images(images) makes them what a model that fit() trained was given, "
                "images.float() / 255 values of 0 to 1"
            )
        if images.shape[-3] != self.in_chans:
            raise ValueError(
                f"{self.name} was made for {self.in_chans} channels and got {images.shape[-3]} in {tuple(images.shape)}: "
                f"the channels stand third from last, or create_model('{self.name}', in_chans={images.shape[-3]})"
            )
        if self.img_size and tuple(images.shape[-2:]) != tuple(self.img_size):
            height, width = images.shape[-2:]
            raise ValueError(
                f"{self.name} was made for images of {self.img_size[0]}×{self.img_size[1]} and got {height}×{width}: "
                f"create_model('{self.name}', img_size=({height}, {width})) makes one for these"
            )
