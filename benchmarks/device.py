"""What only a GPU can show, in at most eight minutes of one: ``benchmarks/device.sh FILE OUT`` runs it.

    python -m benchmarks.device FILE OUT

First every path through CUDA that the course has, each with a small training or a comparison that can fail. Then the
throughput of five networks at 224 pixels beside timm's, where timm is installed, and the fastest row of each kind of the
GPU board (`cifar.ROWS`), once: a row that would not end within the time left is only timed. FILE is what
`pack_cifar` wrote. What is known is in ``OUT/device.json`` after each part, so that whatever ends this early loses only
the part it was in. On a CPU, and with ``COURSE_BUDGET=tiny``, all of it is tiny and shows that it runs.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import cifar
from course.atomic import write_atomically
from course.data import ImageSet
from course.data.augment import AUGMENTATIONS, ColorJitter
from course.data.mix import Mix, RandomErasing
from course.data.rand_augment import RandAugment
from course.models import create_model
from course.models.count import count_macs
from course.notebook import budget_name
from course.training import Recipe, evaluate, fit
from course.training.speed import Speed, fastest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 430  # of all parts; device.sh ends everything after 480, the decoding of the images included
TIMED_STEPS = 30  # of a row, after those that compile
SPARE = 15  # seconds to leave for evaluation and what is not counted
FEW = Recipe(steps=8, batch_size=32, lr=3e-3)
SMALL = dict(embed_dim=64, depth=2, num_heads=4)
PAIRS = {  # ours and timm's, of the same layers
    "vit_b16": "vit_base_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "mixer_s16": "mixer_s16_224",
    "poolformer_s12": "poolformer_s12",
    "convnext_t": "convnext_tiny",
}

_now = cifar._now


def main(words: list[str]) -> int:
    """0 if every check is passed; 1 if one is not; 2 if it cannot run."""
    try:
        file, out = (Path(word) for word in words)
    except ValueError:
        print(__doc__, file=sys.stderr)
        return 2
    short = budget_name() != "gpu" or not torch.cuda.is_available()
    try:
        train, test = cifar._loaded(file, short)
    except ValueError as error:
        print(f"device: {error}", file=sys.stderr)
        return 2
    figures = run(train, test, out / "device.json", short=short)
    return 0 if all(check["passed"] for check in figures["checks"]) else 1


def run(train: ImageSet, test: ImageSet, out: Path, *, short: bool, seconds: float = SECONDS) -> dict:
    """All parts, one after the other; the figures are written to `out` after each.

    Returns:
        {"device", "torch", "python", "date", "data", "short", "matrix_rate" (FLOP/s), "seconds", "checks":
        [{"name", "passed", "seconds", "said"}], "throughput": [...], "rows": [...]}. A short run has no figures.
    """
    start, device = time.monotonic(), train.images.device
    figures = {
        "device": cifar._device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": date.today().isoformat(),
        "data": train.name,
        "short": short,
        "matrix_rate": cifar.matrix_rate(device),
        "checks": [],
        "throughput": [],
        "rows": [],
    }

    def keep(part: str, found: dict, line: str) -> None:
        figures[part].append(found)
        figures["seconds"] = round(time.monotonic() - start, 1)
        write_atomically(out, (json.dumps(figures, indent=1) + "\n").encode())
        print(f"{figures['seconds']:6.0f} s  {line}", flush=True)

    def left() -> float:
        return seconds - (time.monotonic() - start)

    few = train.subset(min(256, len(train)))
    for check in CHECKS:
        found = checked(check, few)
        keep("checks", found, f"{'passed' if found['passed'] else 'FAILED'}  {found['name']}: {found['said']}")
    for ours, theirs in PAIRS.items():
        found = throughput(ours, theirs, device, figures["matrix_rate"], short)
        keep("throughput", found, f"{ours}: {found['said']}")
    for row in fastest_of_each_kind():
        found = board(row, train, test, figures["matrix_rate"], left(), short)
        keep("rows", found, f"{row.name}: {found['said']}")
    return figures


# -- checks: each takes a few images and returns what it saw, or raises


def checked(check: Callable[[ImageSet], str], images: ImageSet) -> dict:
    begin = time.monotonic()
    try:
        passed, said = True, check(images)
    except Exception as error:  # whatever it is, the others go on
        traceback.print_exc()
        passed, said = False, f"{type(error).__name__}: {error}"[:500]
    return {
        "name": check.__name__,
        "passed": passed,
        "seconds": round(time.monotonic() - begin, 1),
        "said": said,
    }


def attention_kernels(images: ImageSet) -> str:
    """Each of PyTorch's kernels that this device has says in bfloat16 what float32 says, and so do our two ways."""
    device = images.images.device
    q, k, v = torch.randn(3, 2, 4, 65, 64, device=device)  # (B, h, N, d) each
    expected = F.scaled_dot_product_attention(q, k, v)
    ran = []
    for kernel in (
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.MATH,
    ):
        try:
            with sdpa_kernel(kernel):
                found = F.scaled_dot_product_attention(*(x.bfloat16() for x in (q, k, v)))
        except RuntimeError:
            continue  # not on this device
        torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=0)
        ran.append(kernel.name.lower())
    for attention in ("fused", "explicit"):
        with Speed("bfloat16", attention).applied(device):
            found = F.scaled_dot_product_attention(*(x.bfloat16() for x in (q, k, v)))
        torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=0)
    return ", ".join(ran)


def choice_of_speed(images: ImageSet) -> str:
    """For a short training and for a long one, which alone is worth compiling."""
    model, device = _small(images)
    pixels = images.images[:64].float() / 255
    return "; ".join(
        f"{steps} steps: {fastest(model, pixels, device, steps=steps).describe()}" for steps in (20, 10**7)
    )


def bfloat16_learns(images: ImageSet) -> str:
    """The loss of a few images falls."""
    model, device = _small(images)
    losses = _losses(model, images.subset(32), FEW.but(steps=16), Speed("bfloat16"), device)
    assert losses[-1] < losses[0] < float("inf"), f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f}"


def compiled_is_eager(images: ImageSet) -> str:
    """A compiled training has the losses of one that is not."""
    eager, compiled = (
        _losses(*_with_device(images, speed), device=images.images.device) for speed in (Speed(), Speed(compiled=True))
    )
    apart = max(abs(a - b) for a, b in zip(eager, compiled, strict=True))
    assert apart < 1e-2, f"losses are {apart:.1e} apart"
    return f"{len(eager)} losses, at most {apart:.0e} apart"


def augmentations(images: ImageSet) -> str:
    """Each does on this device what it does on the CPU, told the same, and draws there too."""
    some, device = images.images[:64], images.images.device
    all_of_them = {**AUGMENTATIONS, "rand_augment": RandAugment(9, 0.5), "color_jitter": ColorJitter(0.4)}
    all_of_them |= {"random_erasing": RandomErasing(1.0), "mix": Mix(0.8, 1.0)}
    worst = {}
    for name, augmentation in all_of_them.items():
        pixels = some.float() / 255 if getattr(augmentation, "on_normalised", True) else some
        drawn = augmentation.draw(len(some), some.shape, torch.Generator().manual_seed(0))
        here, there = (
            augmentation.apply(x, numbers) for x, numbers in ((pixels, drawn.to(device)), (pixels.cpu(), drawn))
        )
        if isinstance(here, tuple):  # of a mix: the images, the partners and the shares
            here, there = here[0], there[0]
        apart = (here.cpu().float() - there.float()).abs().mean().item() / (1 if here.is_floating_point() else 255)
        assert apart < 0.01, f"{name} differs by {apart:.3f} of the range of pixels"
        worst[name] = apart
        assert augmentation.draw(4, some.shape, torch.Generator(device).manual_seed(0)).device.type == device.type
    name = max(worst, key=worst.get)
    return f"{len(all_of_them)} of them; most apart from the CPU: {name}, {worst[name]:.0e} of the range"


def resume(images: ImageSet) -> str:
    """A training that Ctrl-C ended goes on from its checkpoint to the weights of one that was left alone."""
    recipe = FEW.but(augment=("random_crop", "random_flip"), mixup=0.8)
    alone, device = _small(images)
    fit(alone, images, recipe, device=device, speed=Speed(), plot=False, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        options = dict(
            checkpoint=Path(folder) / "run.safetensors", device=device, speed=Speed(), plot=False, progress=False
        )
        steps = []

        def stop(*_) -> None:
            steps.append(1)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGINT)

        hook = register_optimizer_step_post_hook(stop)
        try:
            assert fit(_small(images)[0], images, recipe, **options).interrupted, "Ctrl-C did not end it"
        finally:
            hook.remove()
        again, _ = _small(images, seed=1)
        fit(again, images, recipe, **options)
    pairs = zip(alone.parameters(), again.parameters(), strict=True)
    apart = max((a - b).abs().max().item() for a, b in pairs)
    assert apart < 1e-3, f"weights are {apart:.1e} apart"
    return f"ended after 3 of {recipe.steps} steps; weights at most {apart:.0e} apart"


def two_processes(images: ImageSet) -> str:
    """torchrun trains with two; where they have one GPU, they are told that each needs its own."""
    said = _torchrun("--device", "cpu")
    assert "2 processes on cpu" in said, said[-500:]
    if images.images.device.type != "cuda":
        return "two train on a CPU"
    if torch.cuda.device_count() == 1:
        refused = _torchrun(code=1)
        assert "2 processes, but 1 GPUs" in refused, refused[-500:]
        return "two train on a CPU; two on one GPU are refused with a sentence"
    said = _torchrun()
    assert "2 processes on cuda" in said, said[-500:]
    return "two train on a CPU, and on two GPUs"


CHECKS = [
    attention_kernels,
    choice_of_speed,
    bfloat16_learns,
    compiled_is_eager,
    augmentations,
    resume,
    two_processes,
]


def _small(images: ImageSet, seed: int = 0) -> tuple[nn.Module, torch.device]:
    torch.manual_seed(seed)
    device = images.images.device
    return create_model("vit_cifar", num_classes=len(images.classes), **SMALL).to(device), device


def _with_device(images: ImageSet, speed: Speed) -> tuple[nn.Module, ImageSet, Recipe, Speed]:
    return _small(images)[0], images, FEW, speed


def _losses(model: nn.Module, images: ImageSet, recipe: Recipe, speed: Speed, device: torch.device) -> list[float]:
    return fit(model, images, recipe, device=device, speed=speed, plot=False, progress=False).loss


def _torchrun(*more: str, code: int = 0) -> str:
    """What a training of two processes says."""
    with tempfile.TemporaryDirectory() as folder:
        command = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 -m course train vit_cifar"
        command += f" depth=1 embed_dim=16 num_heads=2 --data digits --steps 3 --batch-size 32 --out {folder}/run"
        ended = subprocess.run(
            [*command.split(), *more], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )
    said = ended.stdout + ended.stderr
    assert (ended.returncode == 0) == (code == 0), said[-500:]
    return said


# -- figures


def throughput(ours: str, theirs: str, device: torch.device, rate: float, short: bool) -> dict:
    """Images a second, forward and backward in bfloat16, of our network and of timm's, in turns."""
    found = {"model": ours, "timm": theirs, "images_per_second": None, "share_of_matrix_rate": None, "ratio": None}
    models, names = [create_model(ours).to(device).train()], ["ours"]
    try:
        import timm

        models.append(timm.create_model(theirs).to(device).train())
        names.append("timm")
    except ImportError:
        pass
    batch, rounds, steps = (1, 1, 1) if short else (128, 5, 10)
    images = torch.randn(batch, 3, 224, 224, device=device)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name, model in zip(names, models):
            start = _now(device)
            for _ in range(steps):
                model.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    loss = model(images).float().square().mean()
                loss.backward()
            if number:  # the first sets things up
                seconds[name].append((_now(device) - start) / steps)
    if short:
        return found | {"said": f"{' and '.join(names)} run"}
    each = {name: batch / statistics.median(times) for name, times in seconds.items()}
    with torch.device("meta"):
        flops = 3 * 2 * count_macs(create_model(ours), 1, 3, 224, 224)
    found |= {"images_per_second": each, "share_of_matrix_rate": each["ours"] * flops / rate}
    said = f"{each['ours']:,.0f} images/s, {found['share_of_matrix_rate']:.0%} of the matrix rate"
    if "timm" not in each:
        return found | {"said": f"{said}; timm is not installed here"}
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["timm"])]
    found["ratio"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return found | {"said": f"{said}; {found['ratio']['median']:.2f} times timm's"}


def fastest_of_each_kind() -> list[cifar.Row]:
    """Of each kind with a target the row with the shortest, the shortest first; then those to compare with."""
    aimed: dict[str, cifar.Row] = {}
    for row in cifar.ROWS:
        if row.seconds is not None and (row.kind not in aimed or row.seconds < aimed[row.kind].seconds):
            aimed[row.kind] = row
    yardsticks = [row for row in cifar.ROWS if row.kind not in aimed]
    return [*sorted(aimed.values(), key=lambda row: row.seconds), *yardsticks]


def board(row: cifar.Row, train: ImageSet, test: ImageSet, rate: float, left: float, short: bool) -> dict:
    """One row: timed over a few steps, and trained if that ends within `left` seconds."""
    device = train.images.device
    found = {"name": row.name, "target": {"accuracy": row.accuracy, "seconds": row.seconds}}
    found |= dict.fromkeys(("images_per_second", "share_of_matrix_rate", "predicted_seconds", "seconds", "accuracy"))
    recipe = row.recipe.but(**cifar.SHORT) if short else row.recipe
    if left < SPARE:
        return found | {"said": "no time is left for it"}
    torch.compiler.reset()
    torch.manual_seed(0)
    model = row.build().to(device)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    speed = Speed.plain() if short else cifar.GPU_SPEED
    begin = time.monotonic()
    timed = recipe.but(steps=2 if short else TIMED_STEPS)
    seconds, _ = cifar.timed_fit(model, train, timed, speed)
    left -= time.monotonic() - begin
    batch_size = min(recipe.batch_size, len(train))
    per_second = timed.steps * batch_size / seconds
    predicted = recipe.total_steps(len(train) // batch_size) * batch_size / per_second
    if not short:
        found |= {"images_per_second": per_second, "predicted_seconds": predicted}
        found["share_of_matrix_rate"] = per_second * cifar.flops_of(row) / rate
    if predicted + SPARE > left:
        return found | {
            "said": f"{per_second:,.0f} images/s; {predicted:.0f} s of training do not fit, and were left out"
        }
    model.load_state_dict(fresh)
    seconds, _ = cifar.timed_fit(model, train, recipe, speed)
    accuracy = evaluate(model, test)
    if short:
        return found | {"said": "runs"}
    found |= {"seconds": seconds, "accuracy": accuracy}
    return found | {"said": f"{accuracy:.2%} in {seconds:.1f} s, {per_second:,.0f} images/s"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
