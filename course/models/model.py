"""What every network of the table offers beside its logits: features, their width, and another last layer."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Model(nn.Module):
    """A network of the table. ``create_model`` gives it its ``name`` and its ``spec``.

    The page of a network (``show``) says ``nn.Module`` in its place, for no output depends on what is here.

    Attributes:
        num_features: channels of what ``forward_features`` gives; where that gives nothing, of what comes out with
            ``num_classes=0``.
    """

    num_features: int

    def features(self, images: Tensor) -> list[Tensor]:
        """What comes out of each stage, the coarsest last, before any norm that belongs to the head.

        Backbones of the map give tokens (B, N, D), class tokens in front, or maps (B, h, w, D). Networks of
        convolutions, and those for dense prediction that are built on one, give maps (B, D, h, w).

        Raises:
            NotImplementedError: no one map or sequence stands for the input.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no features by stages, for no one map or sequence of tokens stands for its "
            "input: with num_classes=0 it gives what its last layer reads"
        )

    def forward_features(self, images: Tensor) -> Tensor:
        """The last of ``features``: tokens (B, N, D), a map (B, h, w, D) or a map (B, D, h, w).

        Raises:
            NotImplementedError: as ``features``.
        """
        return self.features(images)[-1]

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last layer for other classes, in place; the rest stays as it is trained. 0: no last layer.

        The new weights are drawn as in a new model (``at_resolution`` has zeros); an optimiser that was made before
        does not know them.

        Raises:
            ValueError: the model was not made by ``create_model``, or nothing in it follows the number of classes.
        """
        if not hasattr(self, "spec"):
            raise ValueError(
                f"reset_classifier needs a model made by create_model, which knows its spec, and this "
                f"{type(self).__name__} was made by hand"
            )
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
    from course.models.backbone import Block  # which is made of this module

    found: dict[nn.Module, None] = {}
    for module in model.modules():
        if isinstance(module, Block):
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
