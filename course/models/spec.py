"""A model as data: which parts it has, and the two layouts that put them together.

``Isotropic`` keeps one grid of tokens from the first block to the last (ViT, MLP-Mixer); ``Pyramid`` halves the grid
and widens the channels from stage to stage (Swin, PoolFormer, ConvNeXt). Whatever fits neither is a ``Whole``: a
class written plainly, with its options. All three are frozen, comparable and printable.
"""

import ast
import inspect
import re
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from course.models.backbone import Backbone, Block, Residual, Stage
from course.models.recording import make
from course.names import one_of


@dataclass(frozen=True)
class Part:
    """A module's class and the options it is built with; written ``part(SelfAttention, num_heads=12)``.

    An option that is ``per_stage(3, 6, 12, 24)`` has another value in each stage. Any other value, a tuple too, reaches
    the module as it stands here.
    """

    cls: type
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"{self.cls.__name__}({', '.join(f'{k}={written(v)}' for k, v in self.options)})"

    def accepts(self) -> list[str]:
        """The option names that a user may set."""
        return [name for name in inspect.signature(self.cls).parameters if name not in _FROM_THE_LAYOUT]

    def but(self, **options) -> "Part":
        return Part(self.cls, tuple((dict(self.options) | options).items()))

    def at_stage(self, stage: int) -> "Part":
        return Part(self.cls, tuple((name, value_at(value, stage)) for name, value in self.options))

    def asks_for(self, name: str) -> bool:
        """Whether its constructor has an argument of that name."""
        return name in inspect.signature(self.cls).parameters

    def build(self, **context) -> nn.Module:
        """The module; of the context (``dim``, ``grid``, ...) its constructor gets what it asks for by name.

        Raises:
            ValueError: it asks for something else, and the spec does not say it.
        """
        asked = {name: value for name, value in context.items() if self.asks_for(name)}
        given = asked | dict(self.options)
        needed = [
            name
            for name, argument in inspect.signature(self.cls).parameters.items()
            if argument.default is argument.empty
            and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        ]
        for name in needed:
            if name not in given:
                raise ValueError(
                    f"{self.cls.__name__} asks for {name}, which its spec does not say (part({self.cls.__name__}, "
                    f"{name}=...)) and the layout does not know: here it knows {', '.join(context)}"
                )
        return make(self.cls, **given)


def written(value) -> str:
    """A value of a spec as one writes it: a class by its name."""
    return value.__name__ if isinstance(value, type) else repr(value)


def read(text: str):
    """The value that a text on the command line says: ``0.5``, ``(2, 2)``, ``per_stage(3, 6)``; else the text itself."""
    stages = re.fullmatch(r"per_stage\((.*)\)", text)
    try:
        return per_stage(*ast.literal_eval(f"[{stages[1]}]")) if stages else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


# What the layouts hand to a part that names it among its constructor's arguments.
_FROM_THE_LAYOUT = ("dim", "in_dim", "grid", "stage", "index", "depth", "img_size", "in_chans", "num_classes")


def part(cls: type, **options) -> Part:
    """A module's class with its options, not yet built."""
    return Part(cls, tuple(options.items()))


@dataclass(frozen=True)
class PerStage:
    """What differs from stage to stage, of a pyramid: one value for each."""

    values: tuple

    def __repr__(self) -> str:
        return f"per_stage({', '.join(map(written, self.values))})"


def per_stage(*values) -> PerStage:
    """One value for each stage, from the first to the last: ``num_heads=per_stage(3, 6, 12, 24)``."""
    return PerStage(values)


@dataclass(frozen=True)
class Alternate:
    """Parts taken in turn by the blocks of a stage: Swin's windows, then its shifted windows."""

    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        return f"alternate({', '.join(map(repr, self.parts))})"


def alternate(*parts: Part) -> Alternate:
    return Alternate(parts)


# The fields of a layout in which ``per_stage`` may stand.
_STAGE_BY_STAGE = ("token_mixer", "channel_mixer", "downsample", "layer_scale", "skip_scale")


def value_at(value, stage: int):
    """A value in a stage: of a `PerStage` the stage's own, of anything else the thing itself."""
    return value.values[stage] if isinstance(value, PerStage) else value


def _chosen(choice, stage: int, index: int) -> Part | None:
    """The part of block `index` in `stage`: the stage's, and of an alternation the one whose turn it is."""
    choice = value_at(choice, stage)
    if isinstance(choice, Alternate):
        choice = choice.parts[index % len(choice.parts)]
    return choice and choice.at_stage(stage)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What both layouts say.

    Attributes:
        stem: images (B, C, H, W) to a first map (B, h, w, D); it has a ``grid``, its (h, w).
        token_mixer, channel_mixer: the two halves of a block; without a channel mixer the block is one step.
            ``per_stage`` has another one in each stage, ``alternate`` has them in turn. A mixer whose class says
            ``residual = False`` stands alone, without norm and without a path around it.
        norm: before each half.
        head: features to logits.
        layer_scale: first value of the learned scale of each half; None: no such scale.
        skip_scale: likewise, for the path around each half.
        drop_path: stochastic depth, the rate of the last block; it grows from 0 along the depth.
    """

    stem: Part
    token_mixer: Part | Alternate | PerStage | None
    channel_mixer: Part | Alternate | PerStage | None
    norm: Part | None
    head: Part
    layer_scale: float | PerStage | None = None
    skip_scale: float | PerStage | None = None
    drop_path: float = 0.0
    img_size: int | tuple[int, int] = 224
    in_chans: int = 3
    num_classes: int = 1000

    def _blocks(self, stage: int, dim: int, depth: int, grid: tuple[int, int], rates: list[float]) -> list[nn.Module]:
        scales = {"layer_scale": value_at(self.layer_scale, stage), "skip_scale": value_at(self.skip_scale, stage)}
        scales = {name: value for name, value in scales.items() if value is not None}
        if scales:
            scales = {"dim": dim, **scales}

        def half(choice, index: int) -> nn.Module | None:
            mixer = _chosen(choice, stage, index)
            if mixer is None:
                return None
            built = mixer.build(dim=dim, grid=grid, stage=stage, index=index, depth=depth)
            if not getattr(mixer.cls, "residual", True):
                return built
            norm = self.norm and self.norm.build(dim=dim)
            return make(Residual, built, norm=norm, drop_path=rates[index], **scales)

        return [make(Block, half(self.token_mixer, i), half(self.channel_mixer, i)) for i in range(depth)]

    def _check_stages(self, count: int) -> None:
        """Every ``per_stage`` has a value for each of so many stages.

        Raises:
            ValueError: one has not, or it stands in a field that all stages share; the message names its place.
        """
        for f in fields(self):
            for where, value in _per_stage_in(getattr(self, f.name), f.name):
                if f.name not in _STAGE_BY_STAGE:
                    raise ValueError(f"{where} is one and the same for the whole network, and not {value!r}")
                if len(value.values) != count:
                    have = "1 value" if len(value.values) == 1 else f"{len(value.values)} values"
                    stages = "1 stage" if count == 1 else f"{count} stages"
                    raise ValueError(f"{where}={value!r} has {have}, and the network has {stages}")

    def fits_one_size(self) -> bool:
        """Whether images of one size alone may come, for some part was built for the `grid` that they make."""
        return any(p.asks_for("grid") for found in self.parts().values() for p in found)

    def but(self, **overrides) -> "Layout":
        """As ``overridden``."""
        return overridden(self, **overrides)

    def parts(self) -> dict[str, tuple[Part, ...]]:
        """Every part of the spec, by the field it stands in."""
        return {f.name: found for f in fields(self) if (found := _parts_in(getattr(self, f.name)))}


@dataclass(frozen=True, kw_only=True)
class Isotropic(Layout):
    """One grid of tokens (B, N, D) throughout.

    Attributes:
        tokens: map to tokens: flattening, class tokens, positions.
        embed_dim, depth: the width D and the number of blocks.
    """

    tokens: Part
    embed_dim: int
    depth: int

    def build(self) -> nn.Module:
        self._check_stages(1)
        stem = self.stem.build(dim=self.embed_dim, img_size=_pair(self.img_size), in_chans=self.in_chans)
        entry = self.tokens.build(dim=self.embed_dim, grid=stem.grid)
        rates = torch.linspace(0, self.drop_path, self.depth, device="cpu").tolist()
        blocks = self._blocks(0, self.embed_dim, self.depth, stem.grid, rates)
        head = self.head.build(dim=self.embed_dim, num_classes=self.num_classes, grid=stem.grid)
        model = make(Backbone, stem, [make(Stage, blocks, entry=entry)], head)
        model.num_features = self.embed_dim
        return model


@dataclass(frozen=True, kw_only=True)
class Pyramid(Layout):
    """Stages on ever smaller, ever wider maps (B, H, W, D).

    Attributes:
        downsample: what stands at the entry of every stage but the first, (B, H, W, D) -> (B, H/2, W/2, D'). A
            ``per_stage`` in it has a value for the first stage too, which nothing reads.
        dims, depths: width and number of blocks, stage by stage; their lengths say how many stages there are.
        stage_norm: what stands at the end of every stage, if anything does.
    """

    downsample: Part
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    stage_norm: Part | None = None

    def build(self) -> nn.Module:
        if len(self.dims) != len(self.depths):
            raise ValueError(
                f"dims and depths have one entry a stage each, and not {len(self.dims)} and {len(self.depths)}"
            )
        self._check_stages(len(self.dims))
        stem = self.stem.build(dim=self.dims[0], img_size=_pair(self.img_size), in_chans=self.in_chans)
        grid = stem.grid
        rates = iter(torch.linspace(0, self.drop_path, sum(self.depths), device="cpu").tolist())
        stages = []
        for stage, (dim, depth) in enumerate(zip(self.dims, self.depths)):
            entry = None
            if stage > 0:
                entry = self.downsample.at_stage(stage).build(
                    dim=dim, in_dim=self.dims[stage - 1], grid=grid, stage=stage
                )
                grid = tuple(-(-side // 2) for side in grid)
            blocks = self._blocks(stage, dim, depth, grid, [next(rates) for _ in range(depth)])
            norm = self.stage_norm and self.stage_norm.build(dim=dim)
            stages.append(make(Stage, blocks, entry=entry, norm=norm))
        head = self.head.build(dim=self.dims[-1], num_classes=self.num_classes, grid=grid)
        model = make(Backbone, stem, stages, head)
        model.num_features = self.dims[-1]
        return model


@dataclass(frozen=True, init=False)
class Whole:
    """A model that is no sequence of such blocks: its class, written plainly, and its options."""

    part: Part

    def __init__(self, cls: type, **options) -> None:
        object.__setattr__(self, "part", part(cls, **options))

    def __repr__(self) -> str:
        return repr(self.part)

    def but(self, **overrides) -> "Whole":
        """As ``overridden``."""
        return overridden(self, **overrides)

    def build(self) -> nn.Module:
        return make(self.part.cls, **dict(self.part.options))

    def fits_one_size(self) -> bool:
        """Whether images of one size alone may come: its class is told their size."""
        return self.part.asks_for("img_size")


Spec = Isotropic | Pyramid | Whole


def overridden(spec: Spec, **overrides) -> Spec:
    """The spec with other values: of its own fields (``depth=2``) or of its parts' options (``window_size=4``).

    Raises:
        ValueError: nothing in the spec is called so; the message names what is.
    """
    if isinstance(spec, Whole):
        for name in overrides:
            one_of(name, inspect.signature(spec.part.cls).parameters, "this model has nothing to set called")
        return Whole(spec.part.cls, **dict(spec.part.options) | overrides)
    for name, value in overrides.items():
        own = [f.name for f in fields(spec)]
        takers = [field for field, found in spec.parts().items() if any(name in p.accepts() for p in found)]
        one_of(name, dict.fromkeys(own + _all_options(spec)), "this model has nothing to set called")
        if name in own:
            spec = replace(spec, **{name: value})
        else:
            spec = replace(spec, **{field: _with_option(getattr(spec, field), name, value) for field in takers})
    return spec


def _all_options(spec: Layout) -> list[str]:
    return [option for found in spec.parts().values() for p in found for option in p.accepts()]


def _with_option(value, name: str, new):
    if isinstance(value, Part):
        return value.but(**{name: new}) if name in value.accepts() else value
    if isinstance(value, Alternate):
        return Alternate(tuple(_with_option(p, name, new) for p in value.parts))
    if isinstance(value, PerStage):
        return PerStage(tuple(_with_option(p, name, new) for p in value.values))
    return value


def _parts_in(value) -> tuple[Part, ...]:
    """The parts in what stands in a field: itself, those of each stage, or those that take turns."""
    if isinstance(value, Part):
        return (value,)
    inside = value.parts if isinstance(value, Alternate) else value.values if isinstance(value, PerStage) else ()
    return tuple(p for entry in inside for p in _parts_in(entry))


def _per_stage_in(value, where: str) -> list[tuple[str, PerStage]]:
    """Every ``per_stage`` in what stands in a field, with its place: "token_mixer.num_heads"."""
    found = [(where, value)] if isinstance(value, PerStage) else []
    for p in _parts_in(value):
        found += [(f"{where}.{name}", option) for name, option in p.options if isinstance(option, PerStage)]
    return found


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
