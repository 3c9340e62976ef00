"""How alike two images are to a training: the neural tangent kernel, and its condition number."""

import torch
from torch import Tensor, nn

from course.analysis.features import evaluating, prepared
from course.analysis.sharpness import trained_parameters
from course.analysis.waiting import waiting


def tangent_kernel(model: nn.Module, images: Tensor) -> Tensor:
    """The neural tangent kernel of the model as it is: ``Θ[i, j] = mean over outputs k of ∇f_k(xᵢ) · ∇f_k(xⱼ)``.

    A small step of gradient descent on image j changes the outputs for image i in proportion to it (Jacot, Gabriel and
    Hongler 2018, arXiv:1806.07572). The gradients are those of each output by all trained parameters, in eval mode; of
    several outputs, the kernels of each with itself are averaged.

    Args:
        model: images (B, C, H, W) to outputs (B, K).
        images: (N, C, H, W), as stored. K backward passes an image.

    Returns:
        (N, N) float64, symmetric, no eigenvalue below 0.

    Raises:
        ValueError: the model has no parameter to train, or there is no image.
    """
    parameters = list(trained_parameters(model).values())
    if not len(images):
        raise ValueError("a tangent kernel compares images: give at least one")
    rows = []  # (K, parameters) of each image
    with evaluating(model), torch.enable_grad(), waiting(len(images), "tangent kernel", "image") as bar:
        for image in prepared(model, images):
            outputs = model(image[None])[0]  # (K,)
            rows.append(torch.stack([_gradient(output, parameters) for output in outputs]))
            bar.update()
    jacobian = torch.stack(rows).double()  # (N, K, parameters)
    return torch.einsum("i k p, j k p -> i j", jacobian, jacobian).cpu() / jacobian.shape[1]


def condition_number(kernel: Tensor) -> float:
    """The largest eigenvalue of a kernel (N, N) by its smallest: κ.

    The error of the direction that is learned fastest shrinks κ times as fast as that of the slowest. Chen, Hsieh and
    Gong 2022, arXiv:2106.01548, table 1, give it for ResNets, ViT and Mixer.

    Returns:
        κ, at least 1; infinity where the smallest eigenvalue is no more than rounding.

    Raises:
        ValueError: the kernel is not square, or 0 throughout.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.any():
        raise ValueError(f"a kernel is a square matrix that is not 0, not {tuple(kernel.shape)}")
    eigenvalues = torch.linalg.eigvalsh(kernel.double())  # (N,), ascending
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    rounding = len(kernel) * torch.finfo(torch.float32).eps ** 2 * largest  # of gradients in float32, squared
    return largest / smallest if smallest > rounding else float("inf")


def _gradient(output: Tensor, parameters: list[Tensor]) -> Tensor:
    """Of one number by all parameters, in a row."""
    parts = torch.autograd.grad(output, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
