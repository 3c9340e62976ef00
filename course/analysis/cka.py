"""How alike layers are, of one network or of two: centred kernel alignment."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course.analysis.features import evaluating, prepared, recorded
from course.analysis.waiting import waiting


@dataclass(frozen=True, eq=False)
class Similarity:
    """CKA of every layer of one network with every layer of another.

    Attributes:
        values: (layers of a, layers of b); 1: the same up to a rotation and a factor, 0: unrelated.
        layers_a, layers_b: the names.
    """

    values: Tensor
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]


@torch.no_grad()
def cka(
    model_a: nn.Module,
    model_b: nn.Module,
    images: Tensor,
    batch_size: int = 64,
    *,
    layers_a: Sequence[str] | None = None,
    layers_b: Sequence[str] | None = None,
) -> Similarity:
    """Linear CKA between all layers of two networks, batch by batch.

    ``CKA = mean HSIC(K, L) / √(mean HSIC(K, K) · mean HSIC(L, L))`` with K = XXᵀ, L = YYᵀ of the features X,
    Y of a batch, the means over batches (Nguyen, Raghu and Kornblith 2021, arXiv:2010.15327, equations 2 to
    4; ViT against CNN: Raghu et al. 2021, arXiv:2108.08810, figures 1 and 2). HSIC is the unbiased estimate
    (Song et al. 2012, JMLR 13), without which the result would depend on the size of the batch. It can be a
    little below 0.

    Args:
        model_a, model_b: any networks; a model may be compared with itself.
        images: (N, C, H, W) as stored, the same for both; each network normalises them as in its training.
        batch_size: n, at least 4. Images that do not fill a last batch are left out.
        layers_a, layers_b: names of modules; default: ``course.analysis.features.layers``.

    Returns:
        Similarity; nan for a layer whose features are the same for all images.

    Raises:
        ValueError: fewer than four images a batch, or no such layer.
    """
    batch_size = min(batch_size, len(images))
    if batch_size < 4:
        raise ValueError(f"unbiased HSIC needs at least 4 images a batch, and not {batch_size}")
    same = model_a is model_b and layers_a == layers_b
    batches = images.split(batch_size)[: len(images) // batch_size]
    across = within_a = within_b = 0.0
    with ExitStack() as stack:
        stack.enter_context(evaluating(model_a))
        stack.enter_context(evaluating(model_b))
        kept_a = stack.enter_context(recorded(model_a, layers_a, keep=centred_gram))
        kept_b = kept_a if same else stack.enter_context(recorded(model_b, layers_b, keep=centred_gram))
        bar = stack.enter_context(waiting(len(batches), "comparing layers"))
        for batch in batches:
            model_a(prepared(model_a, batch))
            if model_b is not model_a:
                model_b(prepared(model_b, batch))
            a = torch.stack(list(kept_a.values())).flatten(1)  # (layers of a, n*n)
            b = torch.stack(list(kept_b.values())).flatten(1)  # (layers of b, n*n)
            across = across + a @ b.T  # (layers of a, layers of b)
            within_a = within_a + a.square().sum(1)  # (layers of a,)
            within_b = within_b + b.square().sum(1)
            bar.update()
    values = across / (within_a[:, None] * within_b).sqrt()  # the factor 1 / n(n-3) of every HSIC cancels
    return Similarity(values.float(), tuple(kept_a), tuple(kept_b))


def centred_gram(features: Tensor) -> Tensor:
    """Features (n, ...) -> the Gram matrix (n, n), centred so that a product of two is an unbiased HSIC.

    ``(Ũ(K) * Ũ(L)).sum() / (n (n - 3))`` is HSIC as in equations 2 to 4 of arXiv:2010.15327, for Ũ(K) with
    ``K_ij - r_i/(n-2) - r_j/(n-2) + s/((n-1)(n-2))`` off the diagonal and 0 on it; r are the sums of K's rows
    and s their sum, both without the diagonal (Székely and Rizzo 2014, arXiv:1310.2926: U-centred matrices).
    So all pairs of layers cost one product of matrices.
    """
    x = features.flatten(1).float()
    x = x - x.mean(0)  # changes nothing but the rounding
    gram = (x @ x.T).to("cpu", torch.float64)  # (n, n)
    n = len(gram)
    gram.fill_diagonal_(0)
    rows = gram.sum(1) / (n - 2)  # (n,)
    return (gram - rows[:, None] - rows + rows.sum() / (n - 1)).fill_diagonal_(0)
