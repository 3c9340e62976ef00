"""Which of torch's operators do the work of a forbidden name, and how they are asked for before they run.

A name is only one way to an operator: ``F.conv2d``, ``torch.convolution``, ``nn.Conv3d``, ``torch.ops.aten`` and a
compiled function end at the same few. All ways lead through torch's dispatcher, which knows neither
names nor modules. `put_before` makes it ask before it runs one of them. The others run as usual, so this costs
nothing, and it holds for every step of a training and on every thread.
"""

import re
from collections.abc import Callable
from functools import cache

import torch

_ATTENTION = r"scaled_dot_product|(flash|efficient|cudnn)_attention|triton_scaled_dot"
# Tensors in the layout of mkldnn have kernels that cannot be asked about; there is one way into it.
_CONVOLUTION = r"conv(olution|\d|_|$)|^to_mkldnn$"
_STATISTICS = r"(group|instance|batch)_norm|^to_mkldnn$"  # not layer norm: over a whole image it is one's own idea
_ALL_NORMS = rf"(layer|rms)_norm|{_STATISTICS}"
_PACKAGED = r"multi_head_attention|transform_bias_rescale_qkv"

# By forbidden name, what is found in the names of the operators that do its work, in any namespace of torch.
_WORK = {
    "torch.nn.functional.scaled_dot_product_attention": _ATTENTION,
    "torch.nn.MultiheadAttention": _PACKAGED,
    "torch.nn.TransformerEncoderLayer": "transformer_encoder_layer",
    "torch.nn.Conv1d": _CONVOLUTION,
    "torch.nn.Conv2d": _CONVOLUTION,
    "torch.nn.Conv3d": _CONVOLUTION,
    "torch.nn.functional.conv1d": _CONVOLUTION,
    "torch.nn.functional.conv2d": _CONVOLUTION,
    "torch.nn.functional.conv3d": _CONVOLUTION,
    "torch.nn.GroupNorm": _STATISTICS,
    "torch.nn.functional.group_norm": _STATISTICS,
    "torch.nn.LayerNorm": _ALL_NORMS,
    "torch.nn.functional.layer_norm": _ALL_NORMS,
}

# Where tensors on the CPU arrive: with and without gradients, in each of torch's layouts that has kernels of its own.
_KEYS = ("AutogradCPU", "CPU", "AutogradNestedTensor", "NestedTensorCPU", "QuantizedCPU")


@cache
def does_the_work_of(name: str) -> re.Pattern:
    """What to search the name of an operator for; of a name without an entry, its own last part."""
    last = re.escape(name.rpartition(".")[2])
    return re.compile(_WORK.get(name, f"^(native_)?{last}$"))


def worker_of(operator: str, forbidden: tuple[str, ...]) -> str | None:
    """The forbidden name whose work an operator does (``"native_group_norm"``), the likest first; None if none's."""
    names = [name for name in forbidden if does_the_work_of(name).search(operator)]
    alike = [name for name in names if name.rpartition(".")[2] == operator.removeprefix("native_")]
    return next(iter(alike or names), None)


def spoken_operator(operator: str, name: str) -> str:
    """As a student should read it: the forbidden name where it says what the operator does, else the operator's."""
    if "attention" in name.lower() or name.rpartition(".")[2] == operator.removeprefix("native_"):
        return spoken(name)
    return f"torch's operator {operator}"


def spoken(name: str) -> str:
    """As it is written in a notebook: F.softmax, nn.Linear."""
    for long, short in (("torch.nn.functional.", "F."), ("torch.nn.", "nn.")):
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name


def all_operators() -> list[str]:
    """The full names of those that torch has loaded: ``"aten::conv2d.padding"``."""
    return torch._C._dispatch_get_all_op_names()


def put_before(full_names: list[str], ask: Callable[[str], None]) -> Callable[[], None]:
    """Have `ask` called with the bare name of one of these operators whenever it is about to run; what it raises stops it.

    Returns:
        What takes it away again.
    """
    kernels = []
    for full_name in full_names:
        namespace, _, rest = full_name.partition("::")
        bare, _, overload = rest.partition(".")
        packet = getattr(getattr(torch.ops, namespace), bare)
        try:
            operator = getattr(packet, overload or "default")
        except AttributeError:  # what has no schema cannot be called either
            continue
        for key in _KEYS:
            try:
                # All are read before the first is written: a kernel for the CPU hides those made of other operators.
                kernels.append((namespace, bare, operator, key, torch.library.get_kernel(operator, key)))
            except RuntimeError:  # there is none for this kind of tensor
                pass
    libraries = {}
    for namespace, bare, operator, key, original in kernels:
        if namespace not in libraries:
            libraries[namespace] = torch.library.Library(namespace, "IMPL")
        libraries[namespace].impl(operator, _asking(bare, original, ask), key, with_keyset=True)

    def take_away() -> None:
        for library in libraries.values():
            library._destroy()

    return take_away


def _asking(bare: str, original, ask: Callable[[str], None]) -> Callable:
    def kernel(keys, *arguments, **options):
        ask(bare)
        return original.call_boxed(keys, *arguments, **options)

    return kernel


def canaries() -> dict[str, Callable[[], object]]:
    """Small calls of guarded operators, by name: where a guard is asked before them, it still works."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float32, device="cpu")
    aten = torch.ops.aten
    return {
        "_scaled_dot_product_attention_math": lambda: aten._scaled_dot_product_attention_math(one, one, one),
        "_transform_bias_rescale_qkv": lambda: aten._transform_bias_rescale_qkv(
            torch.ones(1, 1, 3, dtype=torch.float32, device="cpu"), torch.ones(3, dtype=torch.float32, device="cpu"), 1
        ),
        "convolution": lambda: aten.convolution(one, one, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        "native_group_norm": lambda: aten.native_group_norm(one, None, None, 1, 1, 1, 1, 1e-5),
    }
