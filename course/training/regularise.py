"""Stochastic depth and dropout for a model that was built without them; neither adds anything that is learned."""

import torch
from torch import Tensor, nn

from course.training.parts import loaded


def set_drop_path(model: nn.Module, rate: float) -> None:
    """Stochastic depth that grows evenly from 0 in the first block to `rate` in the last, in place.

    Huang et al. 2016, arXiv:1603.09382, section 3 ("linear decay"); both halves of a block have the block's
    rate, as ``create_model(name, drop_path=rate)`` gives them. Of a `Backbone`, the blocks of its stages
    count; of another model, all its `Block`s in the order in which they were made (so that in ViViT's model 2
    the rate grows over both encoders, where ``create_model`` lets it grow in each). Of what trains a `Backbone` as
    its ``encoder`` (MAE, SimMIM, DINO), those of the encoder count.

    Raises:
        ValueError: `rate` is not at least 0 and below 1, or no block of the model has a step to leave out.
    """
    _check(rate, "drop_path")
    if isinstance(getattr(model, "encoder", None), loaded("backbone", "Backbone")):
        model = model.encoder
    if isinstance(model, loaded("backbone", "Backbone")):
        blocks = [block for stage in model.stages for block in stage.blocks]
    else:
        blocks = [module for module in model.modules() if isinstance(module, loaded("backbone", "Block"))]
    steps = [[module for module in block.modules() if hasattr(module, "drop_path")] for block in blocks]
    if not any(steps):
        raise ValueError(
            f"{type(model).__name__} has no residual step that stochastic depth could leave out: make "
            "it of course.models.backbone.Residual steps in Blocks, or take recipe.but(drop_path=None)"
        )
    for at, inside in zip(torch.linspace(0, rate, len(blocks), device="cpu").tolist(), steps, strict=True):
        for step in inside:
            step.drop_path = at


def set_dropout(model: nn.Module, rate: float) -> None:
    """Dropout where ViT has it, in place; calling it again changes the rate.

    "After every dense layer except for the qkv-projections and directly after adding positional- to patch
    embeddings" (Dosovitskiy et al. 2021, arXiv:2010.11929, appendix B.1): behind the last layer of an
    attention, the activation and the last layer of an `MLP` (where the authors' code has it), and the tokens.
    Those modules get a child ``dropped``. Every ``nn.Dropout`` of the model's own gets the rate too.

    Raises:
        ValueError: `rate` is not at least 0 and below 1, or the model has no such module.
    """
    _check(rate, "dropout")
    followed = [inner for module in model.modules() for inner in _followed_by_dropout(module)]
    for module in dict.fromkeys(followed):
        if not hasattr(module, "dropped"):
            module.dropped = nn.Dropout().train(module.training)
            module.register_forward_hook(_drop)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    if not dropouts:
        raise ValueError(
            f"{type(model).__name__} has neither an attention, an MLP nor an nn.Dropout of its own, so "
            "there is no place for dropout: take recipe.but(dropout=None)"
        )
    for dropout in dropouts:
        dropout.p = rate


def _followed_by_dropout(module: nn.Module) -> list[nn.Module]:
    """The modules behind whose output ViT's dropout stands, of those directly in `module` or itself."""
    if isinstance(module, loaded("channel_mixers.mlp", "MLP")):
        return [module.act, module.fc2]
    if isinstance(module, (*loaded("stems", "Tokens"), *loaded("video", "ClipTokens"))):
        return [module]
    if hasattr(module, "num_heads") and isinstance(getattr(module, "proj", None), nn.Linear):
        return [module.proj]
    return []


def _drop(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
    return module.dropped(output)


def _check(rate: float, name: str) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"{name} is at least 0 and below 1, and not {rate}")
