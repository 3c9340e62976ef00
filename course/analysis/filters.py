"""What the patch embedding looks for (Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7, left)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from course.models.stems import PatchEmbed


class PrincipalFilters(NamedTuple):
    """The principal components of D filters; ``mean + coordinates @ components`` gives the filters back.

    Attributes:
        components: (K, C, P, P), orthonormal, the most important first. Their signs mean nothing: the
            entry of the largest magnitude is positive.
        shares: (K,) of the variance among the filters; together at most 1.
        coordinates: (D, K), how much of each component is in each filter.
        mean: (C, P, P), the mean filter.
    """

    components: Tensor
    shares: Tensor
    coordinates: Tensor
    mean: Tensor


@torch.no_grad()
def principal_filters(filters: Tensor | nn.Module, count: int | None = None) -> PrincipalFilters:
    """The few pictures that the filters of a patch embedding are mixtures of.

    Args:
        filters: (D, C, P, P), the weight of the embedding written as a convolution; or a model of the
            course with one ``PatchEmbed``.
        count: K, how many components; default: all that there are, min(D, C*P*P).

    Raises:
        ValueError: the model has no patch embedding, or more than one; or these are no filters; or there
            are fewer components.
    """
    if isinstance(filters, nn.Module):
        found = [module for module in filters.modules() if isinstance(module, PatchEmbed)]
        if len(found) != 1:
            raise ValueError(
                f"this {type(filters).__name__} has {len(found) or 'no'} patch embeddings, and one is "
                "needed: pass the weight itself, (D, C, P, P)"
            )
        filters = found[0].proj.weight
    if filters.ndim != 4:
        raise ValueError(f"filters are (D, C, P, P), and not {tuple(filters.shape)}")
    flat = filters.detach().flatten(1)  # (D, C*P*P)
    mean = flat.mean(dim=0)
    # The rows of `axes` are orthonormal, and flat - mean = left @ diag(spread) @ axes.
    left, spread, axes = torch.linalg.svd((flat - mean).double(), full_matrices=False)
    if count is not None and count > len(spread):
        raise ValueError(f"{len(flat)} filters of {flat.shape[1]} numbers have {len(spread)} components, not {count}")
    sign = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()  # (K, 1)
    shares = spread.square() / spread.square().sum().clamp(min=torch.finfo(spread.dtype).tiny)
    return PrincipalFilters(
        (axes * sign).unflatten(1, filters.shape[1:])[:count].to(filters.dtype),
        shares[:count].to(filters.dtype),
        (left * spread * sign[:, 0])[:, :count].to(filters.dtype),
        mean.unflatten(0, filters.shape[1:]),
    )
