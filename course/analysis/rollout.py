"""Attention rollout: where, through all layers, what is in a token came from (Abnar & Zuidema 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course.analysis.attention import not_negative
from course.analysis.token_grid import token_grid
from course.names import one_of

OVER_HEADS = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


def rollout(weights: Sequence[Tensor], heads: str = "mean") -> Tensor:
    """The share of each input token in each token of the last layer, (B, N, N); rows sum to 1.

    Abnar & Zuidema 2020, arXiv:2005.00928, section 3: a layer passes on half of what its attention W
    gathers and half of what was there (the path around it), A = 0.5 W + 0.5 I with rows made to sum to 1;
    the layers are multiplied, the last one from the left. What values, MLPs and norms do is left out.

    Args:
        weights: of each layer (B, heads, N, N), as from ``attention_weights``; the first layer first.
        heads: what stands for the heads of a layer: their "mean" (the paper), "max" or "min".

    Raises:
        ValueError: layers of other shapes: in windows, to fewer keys, or of a class token alone there is
            no product; weights below 0 (after CaiT's talking heads); or no such `heads`.
    """
    over_heads = OVER_HEADS[one_of(heads, OVER_HEADS, "there is no way over the heads called")]
    product = None
    for number, layer in enumerate(weights):
        if layer.ndim != 4 or layer.shape[2] != layer.shape[3]:
            raise ValueError(
                f"rollout needs (B, heads, N, N) in every layer, and layer {number} is {tuple(layer.shape)}: "
                "it is made for models in which all tokens see all tokens, such as ViT"
            )
        if product is not None and layer.shape[2] != product.shape[1]:
            raise ValueError(
                f"layer {number} has {layer.shape[2]} tokens and the one before {product.shape[1]}: rollout "
                "needs the same tokens in every layer"
            )
        not_negative(layer)
        attention = over_heads(layer, dim=1)  # (B, N, N)
        attention = attention + torch.eye(layer.shape[2], dtype=layer.dtype, device=layer.device)
        attention = attention / attention.sum(dim=-1, keepdim=True)
        product = attention if product is None else attention @ product
    if product is None:
        raise ValueError("there is no layer to roll out")
    return product


def rollout_maps(weights: Sequence[Tensor], heads: str = "mean", image_size: int | tuple[int, int] = 1) -> Tensor:
    """The share of each patch in the answer, (B, h, w).

    The answer is read from the first token, or, where there is no class token, from the mean of all
    tokens. The maps sum to 1 less the share of the class tokens themselves.

    Args:
        weights, heads: as for `rollout`.
        image_size: H = W, or (H, W); only the ratio counts.

    Raises:
        ValueError: as for `rollout`, or the tokens are not a grid of that ratio.
    """
    shares = rollout(weights, heads)  # (B, N, N)
    class_tokens, grid = token_grid(shares.shape[1], image_size)
    answer = shares[:, 0] if class_tokens else shares.mean(dim=1)  # (B, N)
    return answer[:, class_tokens:].unflatten(1, grid)  # (B, h, w)
