"""``course train``, killed and run again, and run by several processes: the same weights."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60
TOLERANCE = 1e-3  # of weights of about 1

# A process that has done its imports and forks for each training: these take seconds, a training here less than one.
SERVER = """
import contextlib, json, os, signal, sys
import matplotlib.backends.backend_agg, safetensors.torch, torch, torch._dynamo, torch.distributed.tensor
from course import cli
from course.data import load
from course.training import Recipe, recipes
from tests.training.after_steps import after_each_step

torch.set_num_threads(1)
load("digits")
STEPS = 60
recipes.NAMED |= {
    "plain": Recipe(steps=STEPS, batch_size=32, lr=3e-3, augment=("random_crop",)),
    "everything": Recipe(
        steps=STEPS, batch_size=32, optimizer="muon", muon_lr=5e-3, lr=3e-3, ema=0.9, sam=0.02, mixup=0.8, cutmix=1.0,
        mix_until=0.6, rand_augment=(5, 0.5), random_erasing=0.25, drop_path=0.2, dropout=0.1,
    ),
    "sgd": Recipe(steps=STEPS, batch_size=32, optimizer="sgd", lr=0.05, augment=("random_crop",), ema=0.9),
    "lamb": Recipe(
        steps=STEPS, batch_size=32, optimizer="lamb", lr=1e-2, betas=(0.9, 0.999), loss="bce", color_jitter=0.2,
        mixup=0.8, cutmix=1.0,
    ),
}
for line in sys.stdin:
    asked = json.loads(line)
    children = []
    for rank in range(asked["processes"]):
        if (child := os.fork()) == 0:
            os.setpgid(0, children[0] if children else 0)
            os.dup2(os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
            os.dup2(1, 2)
            os.environ |= asked["environment"] | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            def noted(step):
                with open(asked["reached"], "w") as file:
                    file.write(str(step))
            code = 1
            with contextlib.suppress(SystemExit), after_each_step(noted, save_every=0.0):
                code = cli.main(asked["arguments"])
            sys.stdout.flush()
            os._exit(code)
        children.append(child)
    print(json.dumps(children), flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


class Trainings:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "COURSE_BUDGET": "tiny", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, recipe: str, out: str, processes: int = 1) -> dict[str, torch.Tensor]:
        """Train to the end; returns the checkpoint's tensors."""
        self._ask(recipe, out, processes)
        assert self._codes() == [0] * processes, (self.folder / "said").read_text()[-3000:]
        return load_file(self.folder / out / "run.safetensors")

    def kill(self, recipe: str, out: str, at: int, processes: int = 1) -> None:
        """Kill all its processes a moment after the step `at`."""
        children = self._ask(recipe, out, processes)
        while int((self.folder / "reached").read_text() or 0) < at:
            time.sleep(0.001)
        time.sleep(random.Random(at).uniform(0, 0.01))
        os.killpg(children[0], signal.SIGKILL)
        assert self._codes() == [-signal.SIGKILL] * processes, "it was over before it could be killed"

    def _ask(self, recipe: str, out: str, processes: int) -> list[int]:
        (self.folder / "reached").write_text("0")
        group = {}
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            size = str(processes)
            group = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        arguments = (
            f"train vit_cifar depth=1 embed_dim=16 num_heads=2 --data digits --device cpu --recipe {recipe} --out {out}"
        )
        asked = {
            "arguments": arguments.split(),
            "processes": processes,
            "environment": group,
            "said": "said",
            "reached": "reached",
        }
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def _codes(self) -> list[int]:
        return json.loads(self.server.stdout.readline())


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    trainings = Trainings(tmp_path_factory.mktemp("trainings"))
    with trainings.server:
        yield trainings
        trainings.server.stdin.close()


def moments(recipe: str, count: int) -> list[int]:
    return sorted(random.Random(recipe).sample(range(2, STEPS - 10), count))


@pytest.mark.parametrize(
    "recipe", ["everything", *(pytest.param(name, marks=pytest.mark.long) for name in ("plain", "lamb"))]
)
def test_killed_and_run_again_is_the_undisturbed_run_bit_for_bit(trainings, recipe):
    undisturbed = trainings.run(recipe, f"{recipe}-undisturbed")
    for at in moments(recipe, 4):
        trainings.kill(recipe, f"{recipe}-killed", at)
    killed = trainings.run(recipe, f"{recipe}-killed")
    assert undisturbed.keys() == killed.keys() and len(killed) > 20
    assert [name for name, tensor in undisturbed.items() if not torch.equal(tensor, killed[name])] == []
    figures = [
        (trainings.folder / f"{recipe}-{how}" / "history.json").read_bytes() for how in ("undisturbed", "killed")
    ]
    assert figures[0] == figures[1] and len(json.loads(figures[0])["loss"]) == STEPS
    kept = sorted(path.name for path in (trainings.folder / f"{recipe}-killed").iterdir())
    assert kept == ["curve.png", "history.json", "run.safetensors"]


def largest_difference(one: dict, other: dict) -> float:
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


# Not AdamW, which makes whole steps of the noise in gradients of nearly 0.
@pytest.mark.parametrize("recipe", ["lamb", pytest.param("sgd", marks=pytest.mark.long)])
def test_two_processes_train_what_one_trains(trainings, recipe):
    """And so does a training that two began, were killed in, and one ended; and one that one began and two ended."""
    one = trainings.run(recipe, f"{recipe}-one")
    two = trainings.run(recipe, f"{recipe}-two", processes=2)
    assert one.keys() == two.keys()
    assert 0 < largest_difference(one, two) < TOLERANCE, "float32 sums in another order, over 60 steps"
    trainings.kill(recipe, f"{recipe}-two-then-one", 25, processes=2)
    assert largest_difference(one, trainings.run(recipe, f"{recipe}-two-then-one")) < TOLERANCE
    trainings.kill(recipe, f"{recipe}-one-then-two", 31)
    assert largest_difference(one, trainings.run(recipe, f"{recipe}-one-then-two", processes=2)) < TOLERANCE


@pytest.mark.long
def test_under_torchrun(trainings, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "course"]
    words = [
        "train",
        "vit_cifar",
        "depth=1",
        "embed_dim=16",
        "num_heads=2",
        "--data",
        "digits",
        "--device",
        "cpu",
        "--steps",
        "20",
        "--out",
    ]
    environment = {**os.environ, "COURSE_BUDGET": "tiny", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([*torchrun, *words, str(tmp_path)], env=environment, check=True, timeout=300, capture_output=True)
    assert len(json.loads((tmp_path / "history.json").read_text())["loss"]) == 20
