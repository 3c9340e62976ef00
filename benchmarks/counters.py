"""``course bench counters``: what five public counters count of a network's multiply-adds, beside a count by hand.

First single layers, each written as networks write it, then whole networks. A cell is the counter's figure as a
multiple of the count by hand: 1.00 is right, 0.00 is not seen. By hand, a product of matrices (M, K) and (K, N) is
M K N multiply-adds, a convolution is one such product at every place, and norms, activations and sums are none.

The public counters are no part of the course: ``pip install fvcore thop ptflops torchinfo``.
"""

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from course.models import create_model
from course.models.count import count_macs
from course.names import one_of
from course.steps import Steps

N, D, SIDE, HEADS = 196, 64, 14, 4  # tokens, channels, the map of as many tokens, heads


class Written(nn.Module):
    """A module that is a function of its input and of one linear layer's weight."""

    def __init__(self, forward: Callable[[Tensor, nn.Linear], Tensor]) -> None:
        super().__init__()
        self.linear, self.written = nn.Linear(D, D, bias=False), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.written(x, self.linear)


def heads(x: Tensor) -> Tensor:
    return rearrange(x, "b n (h d) -> b h n d", h=HEADS)


def channels_last(conv: nn.Conv2d) -> nn.Module:
    """A convolution from (B, H, W, D) to (B, H, W, D) that is one module, as in networks that keep this order."""

    class Conv(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    return Conv(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding, bias=False)


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` as torchvision's ViT calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(D, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


@dataclass(frozen=True)
class Part:
    """One layer: how to make it, the shape of its input, and its multiply-adds by hand."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    by_hand: int


TOKENS, MAP = (1, N, D), (1, D, SIDE, SIDE)
PARTS = {
    "linear layer on tokens": Part(lambda: nn.Linear(D, D, bias=False), TOKENS, N * D * D),
    "1×1 convolution": Part(lambda: nn.Conv2d(D, D, 1, bias=False), MAP, N * D * D),
    "3×3 convolution, channels last": Part(
        lambda: channels_last(nn.Conv2d(D, D, 3, padding=1)), (1, SIDE, SIDE, D), 9 * N * D * D
    ),
    '3×3 convolution, padding="same"': Part(lambda: nn.Conv2d(D, D, 3, padding="same", bias=False), MAP, 9 * N * D * D),
    "depthwise 7×7 convolution": Part(lambda: nn.Conv2d(D, D, 7, padding=3, groups=D, bias=False), MAP, 49 * N * D),
    "one layer called twice": Part(lambda: Written(lambda x, linear: linear(linear(x))), TOKENS, 2 * N * D * D),
    "F.linear with the layer's weight": Part(
        lambda: Written(lambda x, linear: F.linear(x, linear.weight)), TOKENS, N * D * D
    ),
    "product q kᵀ with @": Part(lambda: Written(lambda x, linear: heads(x) @ heads(x).mT), TOKENS, N * N * D),
    "the same with einsum": Part(
        lambda: Written(lambda x, linear: torch.einsum("bhid,bhjd->bhij", heads(x), heads(x))), TOKENS, N * N * D
    ),
    "fused attention": Part(
        lambda: Written(lambda x, linear: F.scaled_dot_product_attention(heads(x), heads(x), heads(x))),
        TOKENS,
        2 * N * N * D,
    ),
    "nn.MultiheadAttention": Part(SelfAttention, TOKENS, 4 * N * D * D + 2 * N * N * D),
    "nn.LSTM": Part(lambda: nn.LSTM(D, D, bias=False, batch_first=True), TOKENS, 8 * N * D * D),
}


# -- whole networks, by hand


def vit(depth: int, width: int, tokens: int = 197, patch: int = 16, classes: int = 1000) -> int:
    """A ViT at 224 px whose class token alone goes to the head."""
    patches = (224 // patch) ** 2 * 3 * patch**2 * width
    return patches + depth * (12 * tokens * width**2 + 2 * tokens**2 * width) + classes * width


def mixer(depth: int, width: int, tokens: int = 196, between: int = 256, patch: int = 16) -> int:
    """An MLP-Mixer at 224 px: tokens are mixed through `between` numbers, channels through 4 times the width."""
    one = 2 * tokens * between * width + 8 * tokens * width**2
    return tokens * 3 * patch**2 * width + depth * one + 1000 * width


def swin(depths: tuple[int, ...], width: int, window: int = 7) -> int:
    """A Swin at 224 px."""
    side, total = 56, 56**2 * 3 * 4**2 * width
    for stage, depth in enumerate(depths):
        if stage:
            side, width = side // 2, 2 * width
            total += side**2 * (2 * width) * width  # 4 neighbours of half the width become one of the whole
        total += depth * side**2 * (12 * width**2 + 2 * window**2 * width)
    return total + 1000 * width


def convnext(depths: tuple[int, ...], width: int) -> int:
    """A ConvNeXt at 224 px: depthwise 7×7, and two linear layers through 4 times the width."""
    side, total = 56, 56**2 * 3 * 4**2 * width
    for stage, depth in enumerate(depths):
        if stage:
            side, width = side // 2, 2 * width
            total += side**2 * 4 * (width // 2) * width
        total += depth * side**2 * (49 * width + 8 * width**2)
    return total + 1000 * width


def resnet_50() -> int:
    """A ResNet-50 at 224 px that halves the map in its 3×3 convolutions."""
    side, before, total = 56, 64, 112**2 * 3 * 7**2 * 64
    for depth, width in zip((3, 4, 6, 3), (64, 128, 256, 512)):
        for block in range(depth):
            total += side**2 * before * width  # 1×1
            if block == 0:
                side = side // 2 if width > 64 else side
                total += side**2 * before * 4 * width  # the path around
            total += side**2 * (9 * width**2 + 4 * width**2)  # 3×3, 1×1
            before = 4 * width
    return total + 1000 * before


def _torchvision_vit() -> nn.Module:
    import torchvision

    return torchvision.models.vit_b_16()


def _timm_vit() -> nn.Module:
    import timm

    return timm.create_model("vit_small_patch16_224")


IMAGE = (1, 3, 224, 224)
NETWORKS = {
    "vit_s16": Part(lambda: create_model("vit_s16"), IMAGE, vit(12, 384)),
    "timm's ViT-S": Part(_timm_vit, IMAGE, vit(12, 384)),
    "torchvision's ViT-B": Part(_torchvision_vit, IMAGE, vit(12, 768)),
    "mixer_s16": Part(lambda: create_model("mixer_s16"), IMAGE, mixer(8, 512)),
    "swin_t": Part(lambda: create_model("swin_t"), IMAGE, swin((2, 2, 6, 2), 96)),
    "resnet_50": Part(lambda: create_model("resnet_50"), IMAGE, resnet_50()),
    "convnext_t": Part(lambda: create_model("convnext_t"), IMAGE, convnext((3, 3, 9, 3), 96)),
}


# -- the counters: each of a model and the shape of its input


def torch_plain(model: nn.Module, shape: tuple[int, ...]) -> float:
    """FlopCounterMode, as in most examples: without gradients, whatever kernel runs."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(shape))
    return counter.get_total_flops() / 2


def torch_gradients(model: nn.Module, shape: tuple[int, ...]) -> float:
    """The same with gradients switched on: ``nn.MultiheadAttention`` then takes another way."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(shape))
    return counter.get_total_flops() / 2


def ours(model: nn.Module, shape: tuple[int, ...]) -> float:
    """`course.models.count_macs`: FlopCounterMode where attention is explicit."""
    return count_macs(model.to("meta"), *shape)


def fvcore(model: nn.Module, shape: tuple[int, ...]) -> float:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, torch.zeros(shape))
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def thop(model: nn.Module, shape: tuple[int, ...]) -> float:
    from thop import profile

    return profile(model, (torch.zeros(shape),), verbose=False)[0]


def _ptflops(model: nn.Module, shape: tuple[int, ...], backend: str) -> float:
    from ptflops import get_model_complexity_info

    options = dict(as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend)
    count, _ = get_model_complexity_info(model, tuple(shape[1:]), **options)
    if count is None:
        raise ValueError("no figure")
    return count


def ptflops_pytorch(model: nn.Module, shape: tuple[int, ...]) -> float:
    return _ptflops(model, shape, "pytorch")


def ptflops_aten(model: nn.Module, shape: tuple[int, ...]) -> float:
    return _ptflops(model, shape, "aten")


def torchinfo(model: nn.Module, shape: tuple[int, ...]) -> float:
    from torchinfo import summary

    return summary(model, input_data=torch.zeros(shape), verbose=0).total_mult_adds


COUNTERS: dict[str, tuple[str, Callable[[nn.Module, tuple[int, ...]], float]]] = {  # their package, and how to ask
    "course": ("torch", ours),
    "torch": ("torch", torch_plain),
    "torch, gradients": ("torch", torch_gradients),
    "fvcore": ("fvcore", fvcore),
    "thop": ("thop", thop),
    "ptflops": ("ptflops", ptflops_pytorch),
    "ptflops, aten": ("ptflops", ptflops_aten),
    "torchinfo": ("torchinfo", torchinfo),
}


def bench(words: list[str] | None = None, *, steps: Steps | None = None) -> dict:
    """Count every layer and network by every counter that is installed, and print a table.

    Args:
        words: only these counters: ``torch``, ``fvcore``, ``ptflops``, ...
        steps: shows how far it is; by default on stderr.

    Returns:
        {"versions": {package: version}, "parts" and "networks": {name: {"by_hand", "times": {counter: multiple of the
        count by hand, or None where the counter fails}}}}.
    """
    packages = {package for package, _ in COUNTERS.values()}
    for word in words or ():
        one_of(word, packages, "there is no counter")
    versions = _installed(packages & set(words) if words else packages)
    chosen = {name: ask for name, (package, ask) in COUNTERS.items() if package in versions}
    steps = steps or Steps("course bench counters")
    figures: dict = {"versions": versions}
    with steps:
        for kind, rows in (("parts", PARTS), ("networks", NETWORKS)):
            steps.say(f"{'':34}{'by hand':>10}" + "".join(f"{name:>18}" for name in chosen))
            figures[kind] = {}
            for number, (name, part) in enumerate(rows.items(), start=1):
                steps(name, number, len(rows))
                seen = {counter: times(part, ask) for counter, ask in chosen.items()}
                figures[kind][name] = {"by_hand": part.by_hand, "times": seen}
                cells = ["fails" if value is None else f"{value:.3f}" for value in seen.values()]
                steps.say(f"{name:34}{part.by_hand / 1e6:8.1f} M" + "".join(f"{cell:>18}" for cell in cells))
    return figures


def table(figures: dict) -> list[str]:
    """The lines of lecture 13's table, in Markdown, of what `bench` returned with all counters installed."""
    lines = ["| | by hand | " + " | ".join(COUNTERS) + " |", "|---" * (2 + len(COUNTERS)) + "|"]
    for row, figure in (figures["parts"] | figures["networks"]).items():
        cells = ["fails" if value is None else f"{value:.2f}" for value in figure["times"].values()]
        lines.append(f"| {row} | {figure['by_hand'] / 1e6:,.1f} M | " + " | ".join(cells) + " |")
    return lines


def _installed(packages: set[str]) -> dict[str, str]:
    found = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            print(f"{package} is left out: it is not installed (pip install {package})")
    return found


def times(part: Part, ask: Callable[[nn.Module, tuple[int, ...]], float]) -> float | None:
    """The counter's figure as a multiple of the count by hand; None where it raises or gives no number."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            count = ask(part.make().eval(), part.shape)
        except Exception:  # a public counter may raise anything on a network that it does not know
            return None
        finally:
            logging.disable(logging.NOTSET)
    return count / part.by_hand if math.isfinite(count) else None
