"""The weights of every attention layer of any model, without a change to the model."""

import sys
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course.analysis.features import evaluating, prepared

SOFTMAX = {torch.softmax, Tensor.softmax, F.softmax}
PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum}


@torch.no_grad()
def attention_weights(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The weights of every attention layer, in the order in which they are computed.

    One forward pass, in eval mode; the model is left in the mode it was in. Seen are

    * ``F.scaled_dot_product_attention``, with its mask or bias: its weights are computed a second time,
      from the same queries and keys, in float32 at least, as inside; a token that may see nothing has none;
    * ``torch.nn.MultiheadAttention``;
    * attention written out: what comes from a softmax over the last axis and is the left factor of a
      product, as in ``weights = scores.softmax(dim=-1); weights @ v``. What happens to the weights in
      between is in them (dropout, the gate of ConViT, CaiT's talking heads).

    Args:
        model: any module; a compiled one is run as it was before compilation.
        images: (B, C, H, W) as they are stored: they are normalised as ``fit`` did it, where it did.

    Returns:
        For each layer (B, heads, queries, keys), on the device of the model; rows sum to 1 over the keys
        (only after CaiT's talking heads they do not, and entries may be below 0). In ViT both are N
        tokens, the class token first; in PVT the keys are fewer; in windows (Swin) it is (B, windows,
        heads, M*M, M*M). Written by hand it is whatever the left factor is. All layers together take
        4·B·layers·heads·N² bytes: for ViT-B/16, 22 MB an image.

    Raises:
        ValueError: the model computes no attention that can be seen; the message says how to write it.
    """
    # To import set_stance takes seconds; where something was compiled, it is imported already.
    compiler = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiler else nullcontext()
    with evaluating(model), eager, _Recorder() as recorder:
        model(prepared(model, images))
    if not recorder.weights:
        raise ValueError(
            f"no attention was seen in this {type(model).__name__}. If it has some, write it as "
            "F.scaled_dot_product_attention(q, k, v), or as weights = scores.softmax(dim=-1) and then "
            "weights @ v"
        )
    return recorder.weights


def not_negative(weights: Tensor) -> None:
    """
    Raises:
        ValueError: there are weights below 0, so that they are no shares.
    """
    if weights.min() < 0:
        raise ValueError("there are weights below 0, as after CaiT's talking heads: they are no shares of the tokens")


class _Recorder(TorchFunctionMode):
    """Sees every call of a torch function while it is active, and keeps the weights of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        # What comes from a softmax, by id. Held: the id of a tensor that is gone may be given to another.
        self.from_softmax: dict[int, Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            return self.multi_head(function, args, kwargs)
        if function is F.scaled_dot_product_attention:
            self.weights.append(_fused_weights(*args, **kwargs))
            return function(*args, **kwargs)
        if function in PRODUCTS:
            operands = [*args, *kwargs.values()]
            if function is torch.einsum:  # torch.einsum("...", a, b), or torch.einsum("...", [a, b])
                operands = operands[1] if isinstance(operands[1], (list, tuple)) else operands[1:]
            else:
                operands = operands[:1]
            self.weights.extend(operand for operand in operands if id(operand) in self.from_softmax)
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            if function in SOFTMAX:
                axis = args[1] if len(args) > 1 else kwargs.get("dim")
                follows = result.ndim > 2 and axis in (-1, result.ndim - 1)
            else:
                follows = any(
                    id(x) in self.from_softmax and x.numel() == result.numel() for x in (*args, *kwargs.values())
                )
            if follows:
                self.from_softmax[id(result)] = result
        return result

    def multi_head(self, function, args: tuple, kwargs: dict):
        """``torch.nn.MultiheadAttention``, called as it was: whether it is asked for its weights decides how it computes.

        Asked, it multiplies and takes the softmax itself, and gives the weights; else it calls the fused attention.
        """
        with _Fused() as fused:
            result = function(*args, **kwargs)
        if fused.weights is not None:
            weights = fused.weights if args[0].ndim == 3 else fused.weights[0]
        else:
            _, weights = function(*args, **kwargs | {"need_weights": True, "average_attn_weights": False})
            weights = weights.masked_fill(weights.isnan().all(dim=-1, keepdim=True), 0.0)
        self.weights.append(weights)  # (B, heads, N, M), or without B
        return result


class _Fused(TorchFunctionMode):
    """Sees the one fused attention inside ``multi_head_attention_forward``, if that calls it."""

    weights: Tensor | None = None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            self.weights = _fused_weights(*args, **kwargs)
        return function(*args, **kwargs)


def _fused_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights inside ``F.scaled_dot_product_attention``: (..., N, d) and (..., M, d) -> (..., N, M)."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    dtype, wide = query.dtype, torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(wide), key.to(wide)  # in half precision a score beside a mask of -65504 has no digits left
    scores = (query * scale) @ key.transpose(-2, -1)  # (..., N, M)
    if is_causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible, -torch.inf)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
    nothing = (scores == -torch.inf).all(dim=-1, keepdim=True)  # such a token gets 0, and not nan
    return scores.softmax(dim=-1).masked_fill(nothing, 0.0).to(dtype)
