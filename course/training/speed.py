"""How a training is computed on the machine at hand: precision, attention kernel, compilation.

No fixed choice is right everywhere. On a processor with units for bfloat16 (AMX), autocast to bfloat16 with
attention written out, softmax(QKᵀ)V, was measured 2.2 times as fast as float32 with the fused kernel, and
with the fused kernel 1.4 times; on a processor without such units it was 14 times slower. So on a CPU the
choice is timed, on the model and the images at hand (what a wide network gains, a tiny one may lose), and
remembered.

Compiling is never chosen on a CPU, where it took 45 to 66 s for a gain of 1.15. On CUDA the choice is
bfloat16 and the fused kernel. TF32 stays off, as PyTorch has it: float32 means float32, so that results can
be compared, and where bfloat16 does the work there is little left to gain.
"""

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from course.atomic import write_atomically
from course.data_folder import data_folder
from course.names import one_of
from course.notebook import budget_name
from course.training.compiling import compiled

PRECISIONS = ("float32", "bfloat16")
ATTENTIONS = ("fused", "explicit")

MARGIN = 1.1  # less than that is a tie, which float32 with fused attention wins
ROUNDS, LEAST_ROUNDS = 6, 3  # of which the first does not count
FEW = 2  # images of the first timing; batch norm needs two
HOPELESS = 3.0  # so many times slower in the first timing is not timed any further
SECONDS = {False: 0.3, True: 1.6}  # for timing, without and with units for bfloat16
TOO_LARGE = 5.0  # times that: a model so large that two images of it take longer is not timed
REMEMBERED = 200  # choices in the file

# Estimates; what compiling costs and saves on CUDA has not been measured.
COMPILE_SECONDS = 45.0
COMPILE_SAVES = 0.3  # of an eager step


@dataclass(frozen=True)
class Speed:
    """One way to compute a training step; what it computes is the same, up to rounding.

    Attributes:
        precision: ``float32``, or ``bfloat16``: autocast, with weights, gradients and loss in float32.
        attention: ``fused`` lets PyTorch choose the kernel of ``F.scaled_dot_product_attention``;
            ``explicit`` has it computed as softmax(QKᵀ)V, step by step, in the same precision.
        compiled: through ``torch.compile``.

    Raises:
        ValueError: no such precision or attention.
    """

    precision: str = "float32"
    attention: str = "fused"
    compiled: bool = False

    def __post_init__(self) -> None:
        one_of(self.precision, PRECISIONS, "there is no precision")
        one_of(self.attention, ATTENTIONS, "there is no way to compute attention")

    @classmethod
    def plain(cls) -> "Speed":
        """float32 and fused attention, not compiled: right everywhere, and what others are compared with."""
        return cls()

    @contextmanager
    def applied(self, device: torch.device | str) -> Iterator[None]:
        """Around forward and loss, in training and in evaluation alike; backward follows by itself.

        To be left before the optimizer's step, because autocast keeps bfloat16 copies of the weights until it
        is left. Logits come out in bfloat16, so a loss starts with ``logits.float()``.
        """
        with ExitStack() as stack:
            if self.precision == "bfloat16":
                stack.enter_context(torch.autocast(torch.device(device).type, torch.bfloat16))
            if self.attention == "explicit":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                stack.enter_context(_attention_keeps_its_precision())
            yield

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model to call in a training step: itself, or compiled with the same weights.

        The first call of a compiled one takes a minute or so, and so does a first call with another shape or
        in eval mode: evaluation, and what is saved, are for the model itself.
        """
        if not self.compiled:
            return model
        on_cuda = any(parameter.is_cuda for parameter in model.parameters())
        # Not CUDA graphs: their outputs and gradients are overwritten by the next call.
        return compiled(model, dynamic=False, mode="max-autotune-no-cudagraphs" if on_cuda else None)

    def describe(self) -> str:
        """In words, for a person: ``float32, fused attention``."""
        return f"{self.precision}, {self.attention} attention{', compiled' if self.compiled else ''}"


def fastest(model: nn.Module, images: Tensor, device: torch.device | str, *, steps: int | None = None) -> Speed:
    """The speed to train `model` with, measured once for it on this machine and remembered.

    On a CPU: `measure`, unless this process or the file ``speed.json`` in the data folder knows. With
    ``COURSE_BUDGET=tiny`` nothing is measured and the answer is ``Speed.plain()``.

    Args:
        model: on `device`; left as it was.
        images: a batch as the model is given it, (B, C, H, W) or (B, T, C, H, W), normalised.
        device: CUDA, CPU; any other is given ``Speed.plain()``.
        steps: how long the training will be; on CUDA, compiling is chosen only where that pays.
    """
    device = torch.device(device)
    if budget_name() == "tiny":
        return Speed.plain()
    if device.type == "cuda":
        return _on_cuda(model, images, steps)
    if device.type != "cpu":
        return Speed.plain()
    key = _key(model, images)
    if key not in _known:
        path = data_folder() / "speed.json"
        remembered = _read(path)
        chosen = remembered.get(key) or measure(model, images)
        if chosen is None:
            return Speed.plain()
        _known[key] = chosen
        if key not in remembered:
            _write(path, remembered | {key: chosen})
    return _known[key]


def measure(model: nn.Module, images: Tensor) -> Speed | None:
    """The fastest of what this CPU can do, by timing training steps of `model` in turns.

    Another speed than ``Speed.plain()`` is chosen only if it was `MARGIN` times as fast in three rounds of
    four. bfloat16 is tried where the processor has units for it, and explicit attention where the model has
    any. As many of the images are taken as the time (`SECONDS`) allows; few favour float32, so a mistake is
    on the safe side. The model keeps its weights, gradients, buffers and modes, and torch its random state.

    Returns:
        The speed; None if the model cannot be trained on these images at all, of which training says more.
    """
    units = has_bfloat16_units()
    seconds = SECONDS[units]
    plain = Speed.plain()
    with _left_as_it_was(model):
        step = _Step(model, images)
        first = step.first_timing(plain, seconds)
        if first == math.inf:
            return None
        attentions = ATTENTIONS if step.has_attention else ATTENTIONS[:1]
        _, *others = (Speed(*pair) for pair in product(PRECISIONS if units else PRECISIONS[:1], attentions))
        if not others or first * LEAST_ROUNDS * (1 + len(others)) > TOO_LARGE * seconds:
            return plain
        tried, hopeless = [plain], set()
        for speed in others:
            if speed.precision in hopeless:  # with one kernel: then with the other, too
                continue
            other_first = step.first_timing(speed, seconds)
            if other_first < HOPELESS * first:
                tried.append(speed)
            elif other_first < math.inf:
                hopeless.add(speed.precision)
        if len(tried) == 1:
            return plain
        count = int(FEW * seconds / (first * ROUNDS * len(tried)))
        count = min(max(count, FEW), len(images))
        return _winner(tried, lambda speed: step.seconds(speed, count), seconds)


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in hardware."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


_now: Callable[[], float] = time.perf_counter
_known: dict[str, Speed] = {}


class _Step:
    """Training steps without an optimizer, which costs every speed the same."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model = model
        self.images = images.float() if images.dtype == torch.uint8 else images  # words stay as they are
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Batch norm writes its running statistics in place; here, into copies.
        self.buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        self.has_attention = False

    def first_timing(self, speed: Speed, patience: float) -> float:
        """What a step of `FEW` images takes so, in seconds; infinite if it cannot be computed so.

        The first one sets things up and does not count, unless it has already taken longer than `patience`.
        """
        try:
            with _SeesAttention() as attention:
                first = self.seconds(speed, FEW)
        except Exception:  # of the student's model: anything
            return math.inf
        self.has_attention |= attention.seen
        return first if first > patience else min(self.seconds(speed, FEW) for _ in range(2))

    def seconds(self, speed: Speed, count: int) -> float:
        """What forward and backward of `count` images take."""
        start = _now()
        self._run(speed, count)
        return _now() - start

    def _run(self, speed: Speed, count: int) -> None:
        images = self.images[:count]
        with speed.applied(images.device):
            output = torch.func.functional_call(self.model, self.buffers, (images,))
            parts = output if isinstance(output, (tuple, list)) else [output]
            loss = sum(part.float().square().mean() for part in parts)
        torch.autograd.grad(loss, self.trained, allow_unused=True)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)


class _SeesAttention(TorchFunctionMode):
    """Notes whether ``F.scaled_dot_product_attention`` is called: all that the choice of a kernel changes."""

    seen = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        # What a function like the second one calls is not shown here.
        self.seen |= function in (F.scaled_dot_product_attention, F.multi_head_attention_forward)
        return function(*args, **(kwargs or {}))


def _winner(speeds: list[Speed], seconds_of: Callable[[Speed], float], seconds: float) -> Speed:
    """The fastest of `speeds`, timed in turns; the first of them if no other is so by a clear margin."""
    end = _now() + seconds
    rounds: list[list[float]] = []  # rounds × speeds
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < ROUNDS and _now() < end):
        rounds.append([seconds_of(speed) for speed in speeds])
    gains = {}
    for k, speed in enumerate(speeds):
        ratios = sorted(times[0] / times[k] for times in rounds[1:])  # the first sets up kernels for the size
        if ratios[len(ratios) // 4] >= MARGIN:
            gains[speed] = statistics.median(ratios)
    return max(gains, key=gains.get, default=speeds[0])


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Train mode inside; afterwards every module's mode and torch's random state are as they were."""
    modes = {module: module.training for module in model.modules()}
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            model.train()
            yield
        finally:
            for module, training in modes.items():
                module.training = training


@contextmanager
def _attention_keeps_its_precision() -> Iterator[None]:
    """Otherwise PyTorch computes explicit attention of bfloat16 in float32, and the gain is lost."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # in spite of its name, on a CPU too
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


# -- CUDA


def _on_cuda(model: nn.Module, images: Tensor, steps: int | None) -> Speed:
    speed = Speed("bfloat16" if _cuda_has_bfloat16() else "float32")
    if steps is None or not _cuda_can_compile():
        return speed
    with _left_as_it_was(model):
        step = _Step(model, images)
        if step.first_timing(speed, math.inf) == math.inf:
            return speed
        step.seconds(speed, len(images))
        each = min(step.seconds(speed, len(images)) for _ in range(3))
    return replace(speed, compiled=steps * each * COMPILE_SAVES > COMPILE_SECONDS)


def _cuda_has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cuda_can_compile() -> bool:
    from torch.utils._triton import has_triton

    return has_triton()


# -- What is remembered


def _key(model: nn.Module, images: Tensor) -> str:
    """The machine and what was measured on it; the same in another process."""
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    units = "bfloat16 units" if has_bfloat16_units() else "no bfloat16 units"
    modules = [type(module).__qualname__ for module in model.modules()]
    weights = [(name, tuple(value.shape), value.requires_grad) for name, value in model.named_parameters()]
    built = sha256(repr((modules, weights)).encode()).hexdigest()[:16]
    return (
        f"{processor}, {units}, {torch.get_num_threads()} threads, torch {torch.__version__}: "
        f"{type(model).__name__} {built} on {'×'.join(map(str, images.shape))}"
    )


def _read(path: Path) -> dict[str, Speed]:
    """What the file holds; nothing if it is not there or not as it should be."""
    try:
        stored = json.loads(path.read_bytes())
        return {key: Speed(precision, attention) for key, (precision, attention) in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(path: Path, speeds: dict[str, Speed]) -> None:
    """The last `REMEMBERED` of them; where nothing can be written, it is measured again next time."""
    last = list(speeds.items())[-REMEMBERED:]
    stored = {key: [speed.precision, speed.attention] for key, speed in last}
    try:
        write_atomically(path, json.dumps(stored, indent=1, ensure_ascii=False).encode())
    except OSError:
        pass
