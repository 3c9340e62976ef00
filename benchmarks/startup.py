"""``course bench startup``: importing the models and making ten of them, ours and timm's, each in a fresh process.

Each process imports ``course.models``, or ``timm``, and makes ten networks of the same sizes with fresh weights. The
two take turns. Counted are the processor seconds, user and system, of the whole process, with the import of PyTorch,
which both need; those of the clock are kept beside them.
"""

import resource
import statistics
import subprocess
import sys
import time

from course.progress_bar import progress_bar

NAMES = {
    "vit_s16": "vit_small_patch16_224",
    "deit_s_distilled": "deit_small_distilled_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "mixer_s16": "mixer_s16_224",
    "resmlp_s12": "resmlp_12_224",
    "gmlp_s": "gmlp_s16_224",
    "poolformer_s12": "poolformer_s12",
    "convnext_t": "convnext_tiny",
    "pvt_v2_b2": "pvt_v2_b2",
    "resnet_50": "resnet50",
}
OURS = "from course.models import create_model\nfor name in {names!r}: create_model(name)"
THEIRS = "import timm\nfor name in {names!r}: timm.create_model(name)"


def bench(words: list[str] | None = None, *, rounds: int = 3) -> dict:
    """Start the processes, print seconds, and return all figures.

    Args:
        words: none are known.
        rounds: processes of each side.

    Raises:
        ValueError: there are words, or a process failed.
    """
    if words:
        raise ValueError(f"startup takes no words, such as {words[0]!r}")
    code = {"ours": OURS.format(names=list(NAMES)), "theirs": THEIRS.format(names=list(NAMES.values()))}
    code |= {"ours_import": "import course.models", "theirs_import": "import timm"}
    cpu: dict[str, list[float]] = {side: [] for side in code}
    wall: dict[str, list[float]] = {side: [] for side in code}
    with progress_bar(rounds * len(code), None, desc="starting", unit=" processes") as bar:
        for turn in range(rounds):
            for side in code if turn % 2 else reversed(code):
                seconds, of_processor = _run(code[side])
                wall[side].append(seconds)
                cpu[side].append(of_processor)
                bar.update()
    figures = {
        "names": NAMES,
        "rounds": rounds,
        "cpu": {side: statistics.median(found) for side, found in cpu.items()},
        "wall": {side: statistics.median(found) for side, found in wall.items()},
    }
    of = figures["cpu"]
    print(f"importing alone: course.models {of['ours_import']:.1f} CPU s, timm {of['theirs_import']:.1f}")
    print(
        f"importing and making ten models: course.models {of['ours']:.1f} CPU s, timm {of['theirs']:.1f}: "
        f"{of['theirs'] / of['ours']:.2f}× as fast"
    )
    return figures


def _run(code: str) -> tuple[float, float]:
    """Seconds of the clock and of processors of a fresh Python."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise ValueError(f"{code.splitlines()[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
