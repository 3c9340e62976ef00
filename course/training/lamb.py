"""LAMB: Adam whose step in each tensor is as long, compared with the tensor, as the learning rate says."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """LAMB (You et al. 2020, arXiv:1904.00962, algorithm 2, with the identity for its phi).

    Adam's direction plus the weight decay, u = m / (√v + eps) + decay · w, is brought to the length of the
    tensor w itself, so that w moves by the share `lr` of its own length: w ← w - lr · ‖w‖ / ‖u‖ · u. The high
    learning rates of batches of many thousands of images break Adam where ‖u‖ is long beside ‖w‖; here no
    layer moves further than another. A ratio in which either length is 0 counts as 1.

    timm's ``Lamb`` also clips the gradient, all of it together, to norm 1 (here the loop does, by
    ``recipe.grad_clip``), and adapts the length only of what is decayed.

    Args:
        params: tensors, or groups of them as dicts, as for every optimizer of torch.
        lr: learning rate.
        betas: decay of the running means of the gradient (m) and of its square (v).
        eps: keeps the division finite.
        weight_decay: added to the direction before its length is taken.
        adapt: whether the length is adapted. The paper does so for every tensor; TensorFlow Addons and timm
            leave out what is not decayed, and so does `make_optimizer`.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        adapt: bool = True,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, adapt=adapt))

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step along ``.grad``; a `closure` computes loss and gradients first, its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(weights, group)
        return loss

    def _step_group(self, weights: list[Tensor], group: dict) -> None:
        """All tensors at once: on a GPU, a call for each of them would take longer than the arithmetic."""
        for weight in weights:
            if not self.state[weight]:
                # The step is a tensor on the CPU, as torch's optimizers have it.
                self.state[weight] |= {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }
            self.state[weight]["step"] += 1
        states, grads = [self.state[weight] for weight in weights], [weight.grad for weight in weights]
        steps = [state["step"].item() for state in states]
        means, squares = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
        beta1, beta2 = group["betas"]

        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        updates = torch._foreach_div(means, [1 - beta1**step for step in steps])
        roots = torch._foreach_div(squares, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_div_(updates, roots)
        torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            of_weights = torch.stack(torch._foreach_norm(weights))  # (tensors,)
            of_updates = torch.stack(torch._foreach_norm(updates))  # (tensors,)
            both = (of_weights > 0) & (of_updates > 0)
            ratios = torch.where(both, of_weights / of_updates, 1.0)  # (tensors,)
            torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(weights, updates, alpha=-group["lr"])
