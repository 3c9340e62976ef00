"""Optimizers, and which tensors of a model are decayed, are given to Muon, or learn more slowly."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course.training.lamb import Lamb
from course.training.parts import loaded

# Words in the names of parameters that are looked up or added to activations, and multiply none.
TABLES = frozenset(
    [
        "bias",
        "biases",
        "class",
        "cls",
        "code",
        "column",
        "embed",
        "embedding",
        "latent",
        "pos",
        "position",
        "queries",
        "query",
        "row",
        "table",
        "time",
        "token",
        "word",
    ]
)


def make_optimizer(model: nn.Module, recipe) -> Optimizer:
    """The optimizer that the recipe names, over the parameters of the model that learn.

    Each group has an ``"lr_scale"``: what the scheduled learning rate is to be multiplied by. Under ``muon``
    the matrices of `hidden_matrices` go to Muon at ``muon_lr``, and everything else to AdamW at ``lr``. Both
    decay weights by learning rate times `weight_decay` in each step, so the matrices by more.

    Args:
        model: its parameters are already on their device.
        recipe: a `Recipe`, or whatever has ``optimizer``, ``lr``, ``muon_lr``, ``weight_decay``, ``betas``
            and ``layer_decay``.

    Raises:
        ValueError: nothing learns, nothing is for Muon, or ``layer_decay`` for a model that is no `Backbone`.
    """
    learned = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    if not learned:
        raise ValueError("this model has no parameter to train (all of them have requires_grad=False)")
    decayed = decayed_names(model)
    matrices = hidden_matrices(model) & set(learned) if recipe.optimizer == "muon" else set()
    if recipe.optimizer == "muon" and not matrices:
        raise ValueError(
            "Muon is for the weight matrices between stem and head, and this model has none that learns "
            "(kernels of convolutions are none); take recipe.but(optimizer='adamw')"
        )
    scales = dict.fromkeys(learned, 1.0)
    if recipe.layer_decay is not None:
        scales = layer_scales(model, recipe.layer_decay)

    groups: dict[tuple, dict] = {}
    for name, tensor in learned.items():
        scale = scales[name] * (recipe.muon_lr / recipe.lr if name in matrices else 1.0)
        kind = name not in matrices, name not in decayed, scale
        decay = recipe.weight_decay if name in decayed else 0.0
        empty = {"params": [], "weight_decay": decay, "lr": recipe.lr * scale, "lr_scale": scale}
        groups.setdefault(kind, empty)["params"].append(tensor)
    kinds = sorted(groups)  # Muon's first, decayed before not decayed, deep layers last
    ordered = [groups[kind] for kind in kinds]

    if recipe.optimizer == "sgd":
        momentum = recipe.betas[0]
        return torch.optim.SGD(ordered, lr=recipe.lr, momentum=momentum, nesterov=momentum > 0)
    if recipe.optimizer == "lamb":
        adapted = [group | {"adapt": not spared} for group, (_, spared, _) in zip(ordered, kinds, strict=True)]
        return Lamb(adapted, lr=recipe.lr, betas=recipe.betas)
    if recipe.optimizer == "muon":
        count = sum(not others for others, _, _ in kinds)
        return MuonWithAdamW(ordered[:count], ordered[count:], betas=recipe.betas)
    return torch.optim.AdamW(ordered, lr=recipe.lr, betas=recipe.betas)


def decayed_names(model: nn.Module) -> set[str]:
    """The parameters that weight decay shrinks: those that multiply activations, as matrices or kernels.

    Not the biases, scales of norms and LayerScale, which are vectors; nor position embeddings, class tokens,
    queries and tables of relative position biases, which have two axes but are looked up and added. So in
    timm, by each model's ``no_weight_decay()`` (ViT and DeiT: position and class token; Swin:
    ``relative_position_bias_table``), in BEiT's code (``pos_embed``, ``cls_token``) and in big_vision, ViT's
    (only what is called ``kernel``).

    A parameter of one's own is taken for such a table if a word of its name is in `TABLES`, and for a vector
    if at most one of its axes is longer than 1, such as (1, 1, D). The weights of modules stay what they are.
    """
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name, tensor in module.named_parameters(recurse=False)
        if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and _multiplies(name, tensor)
    }


def _multiplies(name: str, tensor: Tensor) -> bool:
    if name == "weight":
        return tensor.ndim >= 2
    words = {word for part in name.split("_") for word in (part, part.removesuffix("s"))}
    return tensor.squeeze().ndim >= 2 and not words & TABLES


def hidden_matrices(model: nn.Module) -> set[str]:
    """The weight matrices inside the network: without stem, tokens and head, and without kernels.

    Of a `Backbone`, those of the stages; of another module, all between the first weight and the last, in the
    order in which they were made. "Scalar and vector parameters of the network, as well as the input and
    output layers, should be optimized by a standard method such as AdamW" (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/).
    """
    tensors = dict(model.named_parameters())
    decayed = decayed_names(model)
    weights = [name for name in tensors if name in decayed]
    if isinstance(model, loaded("backbone", "Backbone")):
        inside = [name for name in weights if name.startswith("stages.")]
    else:
        inside = weights[1:-1]
    return {name for name in inside if tensors[name].ndim == 2}


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by: ``decay ** (depth + 1 - layer)``.

    Layer 0 is the stem, with positions and class tokens; block i is layer i + 1, counted over all stages;
    what stands between two blocks (downsampling, the norm of a stage) belongs to the one behind it; the head,
    with the norm before it, is layer depth + 1 and learns at the full rate. This is BEiT's rule (Bao et al.
    2022, arXiv:2106.08254, and its code), after ELECTRA (Clark et al. 2020, arXiv:2003.10555).

    Two differ: timm counts the norm before the head to the last block, and the authors of ConvNeXt make 12
    layers of 3 + 3 + 27 + 3 blocks, three blocks each, where here each block counts for itself.

    Raises:
        ValueError: the model is no `Backbone`, so that it is not known what its layers are.
    """
    if not isinstance(model, loaded("backbone", "Backbone")):
        raise ValueError(
            "layer_decay needs a model whose blocks are known, a course.models.backbone.Backbone, "
            f"and not {type(model).__name__}: make it of stem, stages and head, or take "
            "recipe.but(layer_decay=None)"
        )
    layers, layer = {"stem": 0}, 0
    for number, stage in enumerate(model.stages):
        layers[f"stages.{number}.entry"] = layer + 1 if number else 0
        for index in range(len(stage.blocks)):
            layer += 1
            layers[f"stages.{number}.blocks.{index}"] = layer
        layers[f"stages.{number}.norm"] = layer + 1
    last = layer + 1

    def layer_of(name: str) -> int:
        parts = name.split(".")
        return next((layers[start] for n in (1, 3, 4) if (start := ".".join(parts[:n])) in layers), last)

    return {name: decay ** (last - layer_of(name)) for name, _ in model.named_parameters()}


class MuonWithAdamW(Optimizer):
    """Muon for some groups of parameters and AdamW for the others, as one optimizer.

    Muon (Jordan et al. 2024) steps along the momentum made orthogonal: all its singular values about 1. The
    groups are the concatenated groups of the two and the state is common to them, so that torch's
    ``state_dict`` and ``load_state_dict`` see one optimizer.

    Args:
        matrices: groups for ``torch.optim.Muon``: tensors of two axes.
        others: groups for ``torch.optim.AdamW``; may be empty.
        betas: AdamW's.
    """

    def __init__(self, matrices: list[dict], others: list[dict], betas: tuple[float, float]) -> None:
        self.parts: list[Optimizer] = [torch.optim.Muon(matrices)]
        if others:
            self.parts.append(torch.optim.AdamW(others, betas=betas))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step along ``.grad``; a `closure` computes loss and gradients first, its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
