"""``course bench models``: our models against the public implementations, the same weights in the same process.

Ours and theirs take turns, so that whatever else the machine does falls on both; what is printed are ratios, above 1
where ours is faster (or smaller), with the middle half of the rounds as spread. Widths and image sizes are those of
the papers; most models are cut to a few blocks, because all blocks cost the same and compiling many takes minutes.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course.data.names import one_of
from course.data.progress import progress_bar
from course.models import create_model, load_reference
from course.models.registry import input_shape


@dataclass(frozen=True)
class Case:
    """One comparison: our model's name and overrides, and how to make theirs at the same size."""

    name: str
    source: str
    theirs: Callable[[], nn.Module]
    overrides: dict = field(default_factory=dict)
    batch_size: int = 4


def _timm(name: str, **options) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=1000, drop_path_rate=0.0, **options)

    return make


def _mixer(embed_dim: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from timm.models.mlp_mixer import MlpMixer

        return MlpMixer(num_blocks=3, embed_dim=embed_dim)

    return make


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None)

    return make


def _transformers(model: str, config: str, **options) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**options))

    return make


CASES = (
    Case("vit_b16", "timm", _timm("vit_base_patch16_224", depth=3), dict(depth=3)),
    Case("vit_l16", "timm", _timm("vit_large_patch16_224", depth=2), dict(depth=2), 2),
    Case("vit_l32", "timm", _timm("vit_large_patch32_224", depth=2), dict(depth=2), 4),
    Case("vit_h14", "timm", _timm("vit_huge_patch14_224", depth=1), dict(depth=1), 2),
    Case("vit_b16_384", "timm", _timm("vit_base_patch16_384", depth=2), dict(depth=2), 2),
    Case("swin_t", "timm", _timm("swin_tiny_patch4_window7_224", depths=(2, 2, 2, 2)), dict(depths=(2, 2, 2, 2))),
    Case("swin_b", "timm", _timm("swin_base_patch4_window7_224", depths=(2, 2, 2, 2)), dict(depths=(2, 2, 2, 2)), 2),
    Case("swin_b_384", "timm", _timm("swin_base_patch4_window12_384", depths=(2, 2, 2, 2)), dict(depths=(2, 2, 2, 2)), 1),
    Case("mixer_s16", "timm", _mixer(512), dict(depth=3)),
    Case("mixer_b16", "timm", _mixer(768), dict(depth=3)),
    Case("convnext_t", "timm", _timm("convnext_tiny", depths=(2, 2, 2, 2)), dict(depths=(2, 2, 2, 2))),
)


def bench(names: list[str] | None = None, *, compiled: bool = False, seconds: float = 5.0) -> dict:
    """Run the comparisons, print one line each, and return all figures.

    Args:
        names: only these models.
        compiled: both through ``torch.compile``.
        seconds: for each of forward and training step, after warming up.

    Returns:
        {"device", "mode", "rows": [...], "median": {"forward", "step", "memory"}}.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in names or ():
        one_of(name, [case.name for case in CASES], "there is no comparison of")
    cases = [case for case in CASES if not names or case.name in names]
    mode = "compiled" if compiled else "eager"
    print(f"theirs / ours on {device.type}, {mode}, {torch.get_num_threads()} threads; above 1: ours is faster, or smaller")
    print(f"{'model':22} {'against':13} {'forward':>22} {'training step':>22} {'memory':>8}")
    rows = []
    with progress_bar(len(cases), None, desc=mode, unit=" models") as progress:
        for case in cases:
            rows.append(_row(case, device, compiled, seconds))
            progress.clear()
            print(_line(rows[-1]))
            progress.update()
    median = {what: statistics.median(row[what]["ratio"] for row in rows) for what in ("forward", "step", "memory")}
    print(
        f"median of {len(rows)} models, {mode} on {device.type}: forward {median['forward']:.2f}×, "
        f"training step {median['step']:.2f}×, memory {median['memory']:.2f}×"
    )
    return {"device": device.type, "mode": mode, "rows": rows, "median": median}


def _row(case: Case, device: torch.device, compiled: bool, seconds: float) -> dict:
    torch.manual_seed(0)
    theirs = case.theirs()
    ours = create_model(case.name, **case.overrides)
    load_reference(ours, theirs.state_dict(), case.source)
    images = torch.randn(case.batch_size, *input_shape(case.name), device=device)
    pair = [model.to(device) for model in (ours, theirs)]
    row = {"model": case.name, "against": case.source, "overrides": case.overrides, "batch_size": case.batch_size}
    memory = [_peak_memory(model.train(), images) for model in pair]
    row["memory"] = {"ours": memory[0], "theirs": memory[1], "ratio": memory[1] / memory[0]}
    if compiled:
        torch._dynamo.reset()
        pair = [torch.compile(pair[0], fullgraph=True), torch.compile(pair[1])]
    row["forward"] = _interleaved([_forward(model.eval(), images) for model in pair], device, seconds)
    row["step"] = _interleaved([_step(model.train(), images) for model in pair], device, seconds)
    gc.collect()
    return row


def _logits(output) -> Tensor:
    return output if isinstance(output, Tensor) else getattr(output, "logits", output[0])


def _forward(model: nn.Module, images: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            model(images)

    return run


def _step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Forward, loss and backward; an optimizer would cost both the same."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        _logits(model(images)).square().mean().backward()

    return run


def _interleaved(runs: list[Callable[[], None]], device: torch.device, seconds: float) -> dict:
    """Turn about until the time is over; the ratio is the median over the rounds."""
    for run in runs:
        run()
        run()
    times: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end and len(times) < 200:
        order = (0, 1) if len(times) % 2 else (1, 0)
        took = [0.0, 0.0]
        for which in order:
            took[which] = _timed(runs[which], device)
        times.append(took)
    ratios = sorted(theirs / ours for ours, theirs in times)
    return {
        "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 4],
        "high": ratios[-1 - len(ratios) // 4],
        "rounds": len(ratios),
        "ours_ms": 1000 * statistics.median(ours for ours, _ in times),
    }


def _timed(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _peak_memory(model: nn.Module, images: Tensor) -> int:
    """Bytes that a training step has allocated at its highest, weights and gradients included."""
    step = _step(model, images)
    step()
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    from torch.profiler import ProfilerActivity, profile

    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    now = highest = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            highest = max(highest, now)
    return highest + sum(p.numel() * p.element_size() for p in model.parameters())


def _line(row: dict) -> str:
    def ratio(figure: dict) -> str:
        return f"{figure['ratio']:.2f}× ({figure['low']:.2f}–{figure['high']:.2f})"

    return (
        f"{row['model']:22} {row['against']:13} {ratio(row['forward']):>22} {ratio(row['step']):>22} "
        f"{row['memory']['ratio']:7.2f}×"
    )


if __name__ == "__main__":
    bench()
