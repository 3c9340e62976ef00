"""Parameters and multiply-adds, counted by running the model on PyTorch's meta device: shapes only, no numbers."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Learned numbers, each counted once."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, *shape: int) -> int:
    """Multiply-adds of matrix products and convolutions for one input of that shape.

    Not counted: norms, activations, softmax, pooling, Fourier transforms, deformable convolutions.

    Args:
        model: on the meta device (``with torch.device("meta"): create_model(...)``).
        shape: of the input, the batch axis included: 1, 3, 224, 224.
    """
    model = model.eval().requires_grad_(False)
    # Fused attention hides its two products from the counter; the explicit form shows them.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2
