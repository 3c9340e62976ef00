"""Retention: one mixer, computed in parallel, step by step, or chunk by chunk (RetNet: Sun et al. 2023, arXiv:2307.08621).

Without a softmax the sum over the past can be carried along as a d×d_v state. All three forms give the same numbers:
the parallel one trains, the recurrent one needs the same time and memory for every further token, and the chunkwise
one is for long sequences.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width
from course.names import one_of


def decay_rates(num_heads: int) -> Tensor:
    """γ of each head, 1 - 2^(-5-i): what a step of the sequence leaves of the past, (h,) (equation 8)."""
    return 1 - 2.0 ** (-5 - torch.arange(num_heads))


def rotated(x: Tensor) -> Tensor:
    """x_n e^{inθ}: each pair of channels turned by an angle that grows with the position n, (B, h, N, d) to the same.

    Where queries and keys are turned alike, their product knows n - m only (equations 3 to 5; θ as in Vaswani et al.).
    """
    length, width = x.shape[-2:]
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, device=x.device, dtype=x.dtype) / width)  # (d/2,)
    angle = torch.arange(length, device=x.device, dtype=x.dtype)[:, None] * frequency  # (N, d/2)
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, h, N, d/2) each
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1).flatten(-2)  # (B, h, N, d)


def parallel_retention(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Tensor:
    """(Q Kᵀ ⊙ D) V with D_nm = γ^(n-m) for n ≥ m and else 0, (B, h, N, d), same, (B, h, N, d_v) -> (B, h, N, d_v).

    Equation 5. The cost grows with N².
    """
    place = torch.arange(q.shape[-2], device=q.device)
    distance = place[:, None] - place  # (N, N)
    decay = (gamma[:, None, None] ** distance.clamp(min=0)).tril()  # (h, N, N)
    return (q @ k.transpose(-2, -1) * decay) @ v


def recurrent_retention(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Tensor:
    """S_n = γ S_{n-1} + k_nᵀ v_n, and o_n = q_n S_n: as ``parallel_retention``, one token after the other.

    Equation 6. The state S (B, h, d, d_v) is all that is kept of the past, however long it was.
    """
    gamma = gamma[:, None, None]  # (h, 1, 1)
    state = torch.zeros_like(k[:, :, :1].mT @ v[:, :, :1])  # (B, h, d, d_v)
    out = []
    for n in range(q.shape[2]):
        now = slice(n, n + 1)
        state = gamma * state + k[:, :, now].mT @ v[:, :, now]  # (B, h, d, d_v)
        out.append(q[:, :, now] @ state)  # (B, h, 1, d_v)
    return torch.cat(out, dim=2)  # (B, h, N, d_v)


def chunkwise_retention(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, chunk_size: int = 64) -> Tensor:
    """In parallel within chunks of C tokens, recurrent from chunk to chunk; the last one may be shorter (equation 7).

    A token at place j of its chunk sees the state R of the chunks before it, weakened by γ^(j+1); the chunk then adds
    its own keys and values to it, each weakened by γ^(C-1-j). The cost grows with N*C.
    """
    state = torch.zeros_like(k[:, :, :1].mT @ v[:, :, :1])  # (B, h, d, d_v)
    out = []
    for q_i, k_i, v_i in zip(*(t.split(chunk_size, dim=2) for t in (q, k, v))):
        place = torch.arange(q_i.shape[2], device=q.device)
        since = gamma[:, None, None] ** (place[:, None] + 1)  # (h, C, 1): from the end of the chunk before
        left = gamma[:, None, None] ** (len(place) - 1 - place[:, None])  # (h, C, 1): to the end of this one
        out.append(parallel_retention(q_i, k_i, v_i, gamma) + (q_i @ state) * since)  # (B, h, C, d_v)
        state = gamma[:, None, None] ** len(place) * state + k_i.mT @ (v_i * left)  # (B, h, d, d_v)
    return torch.cat(out, dim=2)  # (B, h, N, d_v)


def retention_form(form: str) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    forms = {"parallel": parallel_retention, "recurrent": recurrent_retention, "chunkwise": chunkwise_retention}
    return forms[one_of(form, forms, "there is no form of retention")]


class Retention(nn.Module):
    """Gated multi-scale retention, (B, N, D) -> (B, N, D): (swish(X W_G) ⊙ GroupNorm(heads)) W_O (equation 8).

    Causal: a token sees itself and those before it. A class token therefore belongs at the end of the sequence, or
    the mean is taken of all tokens; in front it would see nothing.

    Args:
        dim: D.
        num_heads: h, each with its own decay; queries and keys have width d = D/h.
        value_ratio: width of values and gate, in units of D (section 3.1: 2, with a narrower MLP behind it).
        form: "parallel", "recurrent" or "chunkwise": how, not what, is computed.

    Raises:
        ValueError: h does not divide D, or d is odd, or there is no such form.
    """

    def __init__(self, dim: int, num_heads: int = 8, value_ratio: int = 2, form: str = "parallel") -> None:
        super().__init__()
        if head_width(dim, num_heads) % 2:
            raise ValueError(
                f"heads are turned in pairs of channels, and {dim} / {num_heads} = {dim // num_heads} is odd"
            )
        self.num_heads = num_heads
        self.retain = retention_form(form)
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.vg = nn.Linear(dim, 2 * value_ratio * dim, bias=False)
        self.proj = nn.Linear(value_ratio * dim, dim, bias=False)
        self.register_buffer("gamma", decay_rates(num_heads), persistent=False)  # (h,)

    def forward(self, x: Tensor) -> Tensor:
        q, k = rearrange(self.qk(x), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        v, gate = self.vg(x).chunk(2, dim=-1)  # (B, N, ratio*D) each
        v = rearrange(v, "b n (h d) -> b h n d", h=self.num_heads)
        q, k = rotated(q), rotated(k) * k.shape[-1] ** -0.5
        y = self.retain(q, k, v, self.gamma)  # (B, h, N, d_v)
        # The group norm, one group a head, at every token for itself. Each head is brought to the same size, however
        # much its γ lets it gather.
        y = F.layer_norm(y, y.shape[-1:])
        return self.proj(F.silu(gate) * rearrange(y, "b h n d -> b n (h d)"))  # (B, N, D)
