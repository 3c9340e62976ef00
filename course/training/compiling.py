"""Compiling a model: ``torch.compile``, told that functions of einops are operators."""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn


def compiled(model: nn.Module, **options) -> Callable:
    """`model` through ``torch.compile(model, **options)``; what it computes stays the same.

    Since torch 2.8, einops has its functions traced line by line like anybody's code, the reading of their patterns
    included. Taken whole, they leave less than half of the tracing: 18 s become 8 s for six small models of this course
    (einops 0.8.2, torch 2.14.1).
    """
    _take_einops_whole()
    return torch.compile(model, **options)


@cache
def _take_einops_whole() -> None:
    import einops
    from torch._dynamo import allow_in_graph

    for function in (einops.rearrange, einops.reduce, einops.repeat, einops.einsum):
        allow_in_graph(function)
