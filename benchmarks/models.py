"""``course bench models``: our models against the public implementations, the same weights in the same process.

Ours and theirs take turns, so that whatever else the machine does falls on both; what is printed are ratios, above 1
where ours is faster (or smaller), with the middle half of the rounds as spread. Widths and image sizes are those of
the papers; most models are cut to a few blocks, because all blocks cost the same and compiling many takes minutes.
"""

import gc
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.reference import copy_weights
from course.models.registry import entry, input_shape
from course.names import one_of
from course.steps import Steps


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

        return timm.create_model(name, **{"num_classes": 1000} | options)

    return make


def _timm_mixer(embed_dim: int) -> Callable[[], nn.Module]:
    """timm's Mixer with three blocks; its names fix their number."""

    def make() -> nn.Module:
        from timm.models import mlp_mixer

        return mlp_mixer.MlpMixer(num_blocks=3, embed_dim=embed_dim)

    return make


def _torchvision(name: str, **options) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, **options)

    return make


def _vit_c() -> nn.Module:
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    stem = [ConvStemConfig(width, 3, 2) for width in (48, 96, 192, 384)]
    return VisionTransformer(224, 16, 3, 6, 384, 1152, conv_stem_configs=stem)


def _transformers(name: str, **options) -> Callable[[], nn.Module]:
    """The model and its configuration by the model's name: `Pvt` and `ForImageClassification`."""

    def make() -> nn.Module:
        import transformers

        config = getattr(transformers, re.split("For(?=Image|Video)", name)[0] + "Config")
        return getattr(transformers, name)(config(**options))

    return make


_SHALLOW = dict(depths=(2, 2, 2, 2))
_VIDEO = dict(num_hidden_layers=2)

# Every row of core or high priority that has a public implementation to measure against, and most of the others.
CASES = (
    Case("vit_b16", "timm", _timm("vit_base_patch16_224", depth=3), dict(depth=3)),
    Case("vit_l16", "timm", _timm("vit_large_patch16_224", depth=2), dict(depth=2), 2),
    Case("vit_l32", "timm", _timm("vit_large_patch32_224", depth=2), dict(depth=2)),
    Case("vit_h14", "timm", _timm("vit_huge_patch14_224", depth=1), dict(depth=1), 2),
    Case("vit_b16_384", "timm", _timm("vit_base_patch16_384", depth=2), dict(depth=2), 2),
    Case("vit_c_4gf", "torchvision", _vit_c, dict(depth=3)),
    Case("deit_s", "timm", _timm("deit_small_patch16_224", depth=3), dict(depth=3)),
    Case("deit_b", "timm", _timm("deit_base_patch16_224", depth=3), dict(depth=3), 2),
    Case("deit_s_distilled", "timm", _timm("deit_small_distilled_patch16_224", depth=3), dict(depth=3)),
    Case("deit3_s", "timm", _timm("deit3_small_patch16_224", depth=3), dict(depth=3)),
    Case("cait_s36", "timm", _timm("cait_s36_384", img_size=224, depth=3), dict(depth=3), 2),
    Case("convit_s", "timm", _timm("convit_small"), {}, 2),
    Case("swin_t", "timm", _timm("swin_tiny_patch4_window7_224", **_SHALLOW), _SHALLOW),
    Case("swin_s", "timm", _timm("swin_small_patch4_window7_224", depths=(2, 2, 6, 2)), dict(depths=(2, 2, 6, 2)), 2),
    Case("swin_b", "timm", _timm("swin_base_patch4_window7_224", **_SHALLOW), _SHALLOW, 2),
    Case("swin_b_384", "timm", _timm("swin_base_patch4_window12_384", **_SHALLOW), _SHALLOW, 1),
    Case(
        "pvt_s",
        "transformers",
        _transformers("PvtForImageClassification", depths=[2, 2, 2, 2], num_labels=1000),
        _SHALLOW,
    ),
    Case("pvt_v2_b2", "timm", _timm("pvt_v2_b2", **_SHALLOW), _SHALLOW),
    Case(
        "cvt_13",
        "transformers",
        _transformers("CvtForImageClassification", depth=[1, 2, 3], num_labels=1000),
        dict(depths=(1, 2, 3)),
    ),
    Case("coatnet_0", "timm", _timm("coatnet_0_224"), {}, 2),
    Case("levit_256", "timm", _timm("levit_256")),
    Case("pit_s", "timm", _timm("pit_s_224")),
    Case("mvit_v2_t", "timm", _timm("mvitv2_tiny"), {}, 2),
    Case("visformer_s", "timm", _timm("visformer_small"), {}, 2),
    Case("mixer_s16", "timm", _timm_mixer(512), dict(depth=3)),
    Case("mixer_b16", "timm", _timm_mixer(768), dict(depth=3)),
    Case("resmlp_s12", "timm", _timm("resmlp_12_224")),
    Case("resmlp_s24", "timm", _timm("resmlp_24_224"), {}, 2),
    Case("gmlp_s", "timm", _timm("gmlp_s16_224"), {}, 2),
    Case("poolformer_s12", "transformers", _transformers("PoolFormerForImageClassification", num_labels=1000)),
    Case("caformer_s18", "timm", _timm("caformer_s18"), {}, 2),
    Case("efficientformer_l1", "timm", _timm("efficientformer_l1")),
    Case("convmixer_768_32", "timm", _timm("convmixer_768_32"), {}, 1),
    Case("convnext_t", "timm", _timm("convnext_tiny", **_SHALLOW), _SHALLOW),
    Case("resnet_50", "torchvision", _torchvision("resnet50")),
    Case("resnext_50_32x4d", "torchvision", _torchvision("resnext50_32x4d")),
    Case("vgg_16", "torchvision", _torchvision("vgg16"), {}, 1),
    Case("mobilenet_v1", "timm", _timm("mobilenetv1_100")),
    Case("regnety_4gf", "timm", _timm("regnety_040"), {}, 2),
    Case("efficientnet_b3", "timm", _timm("tf_efficientnet_b3"), {}, 2),
    Case("se_resnet_50", "timm", _timm("seresnet50"), dict(stride="v1.5")),
    Case(
        "vivit_model1",
        "transformers",
        _transformers("VivitForVideoClassification", num_labels=400, num_frames=8, **_VIDEO),
        dict(num_frames=8, depth=2, num_classes=400),
        1,
    ),
    *[
        Case(
            f"timesformer_{ours}",
            "transformers",
            _transformers(
                "TimesformerForVideoClassification", num_labels=174, num_frames=4, attention_type=theirs, **_VIDEO
            ),
            dict(num_frames=4, depth=2),
            1,
        )
        for ours, theirs in [("space", "space_only"), ("joint", "joint_space_time"), ("divided", "divided_space_time")]
    ],
    Case("fcn_r50", "torchvision", _torchvision("fcn_resnet50", weights_backbone=None), {}, 1),
)


def bench(
    names: list[str] | None = None, *, compiled: bool = False, seconds: float = 5.0, steps: Steps | None = None
) -> dict:
    """Run the comparisons, print one line each, and return all figures.

    Args:
        names: only these models.
        compiled: both through ``torch.compile``.
        seconds: for each of forward and training step, after warming up.
        steps: shows how far it is; by default on stderr.

    Returns:
        {"device", "mode", "rows": [...], "median": {"forward", "step", "memory"}}.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in names or ():
        one_of(name, [case.name for case in CASES], "there is no comparison of")
    cases = [case for case in CASES if not names or case.name in names]
    mode = "compiled" if compiled else "eager"
    steps = steps or Steps("course bench models")
    steps.say(
        f"theirs / ours on {device.type}, {mode}, {torch.get_num_threads()} threads; above 1: ours is faster, or smaller"
    )
    steps.say(f"{'model':22} {'against':13} {'forward':>22} {'training step':>22} {'memory':>8}")
    rows = []
    with steps:
        for number, case in enumerate(cases, start=1):
            rows.append(
                _row(case, device, compiled, seconds, lambda what, number=number: steps(what, number, len(cases)))
            )
            steps.say(_line(rows[-1]))
    median = {what: statistics.median(row[what]["ratio"] for row in rows) for what in ("forward", "step", "memory")}
    print(
        f"median of {len(rows)} models, {mode} on {device.type}: forward {median['forward']:.2f}×, "
        f"training step {median['step']:.2f}×, memory {median['memory']:.2f}×"
    )
    return {"device": device.type, "mode": mode, "rows": rows, "median": median}


def _row(case: Case, device: torch.device, compiled: bool, seconds: float, step: Callable[[str], None]) -> dict:
    step(f"{case.name}, making ours and theirs")
    torch.manual_seed(0)
    theirs = case.theirs()
    ours = create_model(case.name, **case.overrides)
    copy_weights(ours, theirs.state_dict(), entry(case.name).keys[case.source])
    *frames, channels, height, width = input_shape(case.name)
    frames = [case.overrides["num_frames"]] if frames else []
    images = torch.randn(case.batch_size, *frames, channels, height, width, device=device)
    pair = [model.to(device) for model in (ours, theirs)]
    row = {"model": case.name, "against": case.source, "overrides": case.overrides, "batch_size": case.batch_size}
    step(f"{case.name}, memory")
    memory = [_peak_memory(model.train(), images) for model in pair]
    row["memory"] = {"ours": memory[0], "theirs": memory[1], "ratio": memory[1] / memory[0]}
    if compiled:
        torch._dynamo.reset()
        pair = [torch.compile(pair[0], fullgraph=True), torch.compile(pair[1])]
    step(f"{case.name}, forward")
    row["forward"] = _interleaved([_forward(model.eval(), images) for model in pair], device, seconds)
    step(f"{case.name}, training step")
    row["step"] = _interleaved([_step(model.train(), images) for model in pair], device, seconds)
    gc.collect()
    return row


def _logits(output) -> Tensor:
    if isinstance(output, dict) and "out" in output:
        return output["out"]
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
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
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
