"""A mixture of experts: many MLPs, of which each token visits a few (Shazeer et al. 2017, arXiv:1701.06538)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixtureOfExperts(nn.Module):
    """Each token goes to the k experts that the router rates highest, (B, ..., D) -> (B, ..., D).

    y = Σ_i softmax(top-k of W x)_i E_i(x): the softmax is over the chosen experts only (Mixtral: Jiang et al. 2024,
    arXiv:2401.04088, section 2.1). E times the weights of one MLP, at k times its cost.

    The tokens are sorted into a box for each expert, so that all experts work in one batched product. A box has room
    for C tokens of each image; who comes too late gets nothing from that expert, only the path around it (Switch
    Transformer: Fedus et al. 2021, arXiv:2101.03961, section 2.2).

    Args:
        dim: D.
        num_experts, top_k: E and k.
        mlp_ratio: hidden width of an expert, in units of D.
        gated: E(x) = (SiLU(x W₁) ⊙ x W₃) W₂ as in Mixtral; otherwise GELU(x W₁) W₂, ViT's MLP without biases.
        capacity_factor: C is this many times N*k/E, its fair share of N tokens. None: C = N, room for all, at E times
            the work of one expert.

    Raises:
        ValueError: k is not between 1 and E.
    """

    def __init__(
        self,
        dim: int,
        num_experts: int = 8,
        top_k: int = 2,
        mlp_ratio: float = 4.0,
        gated: bool = False,
        capacity_factor: float | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k is between 1 and the {num_experts} experts, and not {top_k}")
        hidden = int(dim * mlp_ratio)
        self.top_k = top_k
        self.gated = gated
        self.capacity_factor = capacity_factor
        self.router = nn.Linear(dim, num_experts, bias=False)
        self.fc1 = nn.Parameter(torch.randn(num_experts, dim, 2 * hidden if gated else hidden) * dim**-0.5)
        self.fc2 = nn.Parameter(torch.randn(num_experts, hidden, dim) * hidden**-0.5)

    def experts(self, boxes: Tensor) -> Tensor:
        """Every expert on its own box, (B, E, C, D) -> (B, E, C, D)."""
        hidden = torch.einsum("becd,edh->bech", boxes, self.fc1)
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=-1)  # (B, E, C, H) each
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden)
        return torch.einsum("bech,ehd->becd", hidden, self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, -2)  # (B, N, D)
        length, num_experts = tokens.shape[1], len(self.fc1)
        capacity = length
        if self.capacity_factor is not None:
            capacity = min(length, math.ceil(self.capacity_factor * length * self.top_k / num_experts))
        logits, expert = self.router(tokens).topk(self.top_k, dim=-1)  # (B, N, k) each
        weight = logits.softmax(dim=-1).mT.unsqueeze(-1)  # (B, k, N, 1)

        # First choices queue before second ones, earlier tokens before later ones.
        expert = expert.mT.flatten(1)[..., None]  # (B, k*N, 1)
        goes_to = expert == torch.arange(num_experts, device=x.device)  # (B, k*N, E)
        place = goes_to.cumsum(dim=1).gather(2, expert) - 1  # (B, k*N, 1): how many came before
        slot = torch.where(place < capacity, expert * capacity + place, num_experts * capacity)  # the last: no room

        slot = slot.expand(-1, -1, tokens.shape[2])  # (B, k*N, D)
        boxes = tokens.new_zeros(len(tokens), num_experts * capacity + 1, tokens.shape[2])
        boxes = boxes.scatter(1, slot, tokens.repeat(1, self.top_k, 1))  # (B, E*C + 1, D)
        y = self.experts(boxes[:, :-1].unflatten(1, (num_experts, capacity))).flatten(1, 2)  # (B, E*C, D)
        y = F.pad(y, (0, 0, 0, 1)).gather(1, slot)  # (B, k*N, D); without room: 0
        return (y.unflatten(1, (self.top_k, length)) * weight).sum(dim=1).view_as(x)  # (B, N, D), or the map


def load_balancing_loss(router_logits: Tensor, top_k: int = 1) -> Tensor:
    """E Σ_i f_i P_i, for tokens' ratings of the experts (T, E): 1 if all are used alike, and more otherwise.

    f_i is the share of the tokens that go to expert i and P_i the mean probability that the router gives it (Switch
    Transformer, equations 4 to 6). f has no gradient: P learns to give less to whoever gets much. With k choices f
    counts them all, and the least value is k.
    """
    probabilities = router_logits.softmax(dim=-1)  # (T, E)
    chosen = router_logits.topk(top_k, dim=-1).indices  # (T, k)
    counts = torch.zeros_like(router_logits).scatter(1, chosen, 1.0)  # (T, E): 1 where a token goes
    return router_logits.shape[1] * (counts.mean(dim=0) * probabilities.mean(dim=0)).sum()
