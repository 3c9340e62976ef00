"""What every network of the table offers beside its logits: features, their width, and another last layer."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

FURTHER = 448  # pixels: every stride of the table divides them


class Feature(NamedTuple):
    """Of one of ``features``: D; pixels from one place to the next, or None without places; class tokens in front."""

    channels: int
    stride: int | None
    class_tokens: int


class Model(nn.Module):
    """A network of the table. ``create_model`` gives it its ``name`` and its ``spec``.

    The page of a network (``show``) says ``nn.Module`` in its place, for no output depends on what is here.

    Attributes:
        num_features: channels of what ``forward_features`` gives; where that gives nothing, of what comes out with
            ``num_classes=0``.
        channels_last, blocks_channels_last: whether maps are (B, h, w, D) in ``stage_outputs`` and behind each block,
            and not (B, D, h, w).
    """

    num_features: int
    channels_last: ClassVar[bool] = False
    blocks_channels_last: ClassVar[bool] = False

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """What comes out of each stage, the coarsest last, as the network computes with it; ``features`` gives it.

        Every class writes its own; tokens are (B, n + N, D), the n class tokens in front.
        """
        raise NotImplementedError(
            f"{self._called()} has no features by stages, for no one map or sequence of tokens stands for its "
            "input: with num_classes=0 it gives what its last layer reads"
        )

    def features(self, images: Tensor, blocks: Sequence[int] | None = None, layout: str | None = None) -> list[Tensor]:
        """Maps or tokens from within the network, the coarsest last, before any norm that belongs to the head.

        ``features(images, layout="maps")`` has one form for every network: (B, D, h, w) behind each stage, as wide and
        as coarse as ``feature_info()`` says. A ViT is one stage; ``blocks=(3, 7, 11)`` looks into it.

        For who knows timm: its ``features_only`` is the first (of Swin it gives (B, h, w, D), of ResNets the stem too);
        ``forward_intermediates`` and DINO's ``get_intermediate_layers`` are the second, with ``norm=False``. Numbers
        count the blocks of the whole network here; there, those of a pyramid count its stages, and one number alone
        means the last so many.

        Args:
            images: as the network takes them.
            blocks: numbers of the blocks behind which to look, in forward order from 0; -1 is the last. A norm that
                ends a stage comes later. None: behind each stage.
            layout: "maps": (B, D, h, w), of clips (B, D, T, h, w), class tokens left out. "tokens": (B, n + N, D), the
                n class tokens in front, places row by row. None: as the network computes with it, which costs
                nothing: tokens, maps (B, h, w, D) in the backbones of the map, or maps (B, D, h, w) in networks of
                convolutions and those for dense prediction.

        Returns:
            One for each stage, or for each of `blocks` in their order.

        Raises:
            NotImplementedError: no one map or sequence stands for the input, or there are no blocks; says why.
            ValueError: there is no such block or layout, tokens that stand for no place are to be a map, or images
                that do not fit.
        """
        if layout not in (None, "maps", "tokens"):
            raise ValueError(f"layout is 'maps', 'tokens' or None, and not {layout!r}")
        for check in self._forward_pre_hooks.values():
            if getattr(check, "only_looks", False):  # what ``create_model`` puts in front of ``forward``
                check(self, (images,))
        if blocks is None:
            found, last = self.stage_outputs(images), self.channels_last
            of_stage = range(len(found)) if len(getattr(self, "stages", ())) == len(found) else [0] * len(found)
        else:
            chosen, last = self._chosen(blocks), self.blocks_channels_last
            found = self._behind([block for _, block in chosen], images)
            of_stage = [stage for stage, _ in chosen]
        if layout is None:
            return found
        if layout == "tokens":
            return [x if x.ndim == 3 else x.flatten(1, 2) if last else x.flatten(2).transpose(1, 2) for x in found]
        return [self._as_map(x, stage, last) for x, stage in zip(found, of_stage)]

    def forward_features(self, images: Tensor, layout: str | None = None) -> Tensor:
        """The last of ``features``. timm's is the same, but behind the last norm where the head norms before it averages.

        Raises:
            NotImplementedError, ValueError: as ``features``.
        """
        return self.features(images, layout=layout)[-1]

    def feature_info(self, blocks: Sequence[int] | None = None) -> list[Feature]:
        """Of each of ``features(images, blocks)``, how wide and how coarse it is; found from the spec, without weights.

        Raises:
            NotImplementedError: as ``features``.
            ValueError: the model was not made by ``create_model``, or there is no such block.
        """
        self._require_spec("feature_info")
        from course.models.registry import input_shape_of  # which makes models of this class

        *before, height, width = input_shape_of(self)
        has_a_size = hasattr(self.spec, "img_size") or self.spec.fits_one_size()
        measured = []
        for more in (0, FURTHER):
            sides = (height + more, width + more)
            with torch.device("meta"):
                try:
                    model = (self.spec.but(img_size=sides) if has_a_size else self.spec).build().eval()
                except ValueError:  # widths that fit no other size (ViP); its places divide the image
                    measured.append(None)
                    continue
                model.name, images = self._called(), torch.empty(1, *before, *sides)
                tokens = model.features(images, blocks, "tokens")
                try:
                    maps = model.features(images, blocks, "maps")
                except ValueError:  # no places
                    return [Feature(x.shape[2], None, 0) for x in tokens]
            measured.append([(x.shape[1] - y[0, 0].numel(), y.shape) for x, y in zip(tokens, maps)])
        here, larger = measured
        return [
            Feature(
                shape[1],
                round(FURTHER / (larger[i][1][-1] - shape[-1]) if larger else width / shape[-1]),
                class_tokens,
            )
            for i, (class_tokens, shape) in enumerate(here)
        ]

    def _called(self) -> str:
        return getattr(self, "name", type(self).__name__)

    def _blocks(self) -> list[tuple[int, nn.Module]]:
        """All blocks in forward order, each with the number of its stage.

        Raises:
            NotImplementedError: the network is not made of blocks, or not of such as look at a whole batch at once.
        """
        inside = getattr(self, "backbone", getattr(self, "encoder", self))
        stages = getattr(inside, "stages", None) or [getattr(inside, "blocks", nn.ModuleList())]
        found = [(i, b) for i, stage in enumerate(stages) for b in getattr(stage, "blocks", stage).children()]
        if not found or any(type(block).__module__.startswith("torch.") for _, block in found):
            raise NotImplementedError(
                f"{self._called()} has no blocks to look behind one by one: features(images) without blocks= gives "
                "what comes out of its stages"
            )
        return found

    def _chosen(self, blocks: Sequence[int]) -> list[tuple[int, nn.Module]]:
        every = self._blocks()
        if isinstance(blocks, int) or not all(isinstance(i, int) and -len(every) <= i < len(every) for i in blocks):
            raise ValueError(
                f"{self._called()} has {len(every)} blocks: blocks= is a list of their numbers, from 0 to "
                f"{len(every) - 1}, or from the last, -1; not {blocks!r}"
            )
        return [every[i] for i in blocks]

    def _behind(self, modules: list[nn.Module], images: Tensor) -> list[Tensor]:
        """What each of them gives on the way of these images."""
        outputs: dict[nn.Module, Tensor] = {}
        handles = [m.register_forward_hook(lambda m, _, y: outputs.__setitem__(m, y)) for m in set(modules)]
        try:
            self.stage_outputs(images)
        finally:
            for handle in handles:
                handle.remove()
        return [outputs[module] for module in modules]

    def _as_map(self, x: Tensor, stage: int, channels_last: bool) -> Tensor:
        """(B, D, h, w), or of clips (B, D, T, h, w)."""
        if x.ndim == 4:
            return x.permute(0, 3, 1, 2) if channels_last else x
        stem = getattr(self, "stem", getattr(self, "video", None))
        grid = getattr(stem, "grid", ())
        for _ in range(stage):
            grid = tuple(-(-side // 2) for side in grid)  # as ``Pyramid`` counts
        class_tokens = x.shape[1] - prod(grid)
        if not grid or not 0 <= class_tokens <= 2:
            raise ValueError(
                f"the tokens of {self._called()} stand for no places of the input, so that they make no map: "
                "layout='tokens' gives them"
            )
        return x[:, class_tokens:].transpose(1, 2).unflatten(2, grid)

    def _require_spec(self, what: str) -> None:
        if not hasattr(self, "spec"):
            raise ValueError(
                f"{what} needs a model made by create_model, which knows its spec, and this "
                f"{type(self).__name__} was made by hand"
            )

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last layer for other classes, in place; the rest stays as it is trained. 0: no last layer.

        The new weights are drawn as in a new model (``at_resolution`` has zeros); an optimiser that was made before
        does not know them.

        Raises:
            ValueError: the model was not made by ``create_model``, or nothing in it follows the number of classes.
        """
        self._require_spec("reset_classifier")
        with torch.device("meta"):
            before, fresh = self.spec.build(), self.spec.but(num_classes=num_classes).build()
            other = self.spec.but(num_classes=num_classes + 1).build()
        new = dict(fresh.named_modules())
        last = _differing(fresh, other) | _differing(fresh, before)
        if not last:
            raise ValueError(f"{type(self).__name__} has no layer that follows the number of classes")
        some = next(self.parameters())
        for name in sorted(last):
            layer = new.get(name)
            if layer is not None and _shapes(layer):
                layer = layer.to_empty(device=some.device).to(some.dtype).train(self.training)
                layer.reset_parameters()
            owner, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(owner), leaf, layer)
        self.spec = self.spec.but(num_classes=num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Training with less memory: of each block only the input is kept, and the backward pass computes the rest again.

        No number changes: dropout and stochastic depth are drawn as before, and batch norms count a batch once. It takes
        about a third more time (Chen et al. 2016, arXiv:1604.06174, section 4). Weights and their names stay as they are.

        Raises:
            ValueError: the model is no stack of blocks.
        """
        blocks = _stacked(self)
        if not blocks:
            raise ValueError(f"{type(self).__name__} has no blocks, between which its gradient could be kept")
        for block in blocks:
            block.__dict__.pop("forward", None)
            if enable:
                block.forward = partial(_recomputed, block.forward, block)


def _stacked(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model, none of which is inside another: `Block`s, layers of `encoder` and `decoder`, parts of stages."""
    found: dict[nn.Module, None] = {}
    for module in model.modules():
        if getattr(module, "is_block", False):
            found[module] = None
        for name in ("stages", "encoder", "decoder"):
            stack = getattr(module, name, None)
            if isinstance(stack, nn.ModuleList):
                for part in stack:
                    found |= dict.fromkeys(part) if isinstance(part, nn.Sequential) else {}
                    if name != "stages":
                        found[part] = None
    inside = {inner for block in found for inner in block.modules() if inner is not block}
    return [block for block in found if block not in inside]


def _recomputed(forward, block: nn.Module, *inputs, **named):
    """What `forward`, the block's own, gives, so that the backward pass computes what is inside once more."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_both_times, block), **named)


def _both_times(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _seen_before(block)


@contextmanager
def _seen_before(block: nn.Module) -> Iterator[None]:
    """Batch norms do not count the batch into their running means a second time."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Of a module's own weights, not of those of its children."""
    return {name: weight.shape for name, weight in module.named_parameters(recurse=False)}


def _differing(a: nn.Module, b: nn.Module) -> set[str]:
    """The names of the modules that only one of the two has, or that have weights of other shapes in them."""
    left, right = ({name: _shapes(module) for name, module in model.named_modules()} for model in (a, b))
    return {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}
