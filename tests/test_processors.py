"""The same commit gives the same verdicts on any processor: tried with the instructions that this machine has."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
# Of torch's own kernels; of the libraries that multiply its matrices and convolve, with how they are held down.
CAPABILITIES = {"DEFAULT": ["default"], "AVX2": ["default", "avx2"], "AVX512": ["default", "avx2", "avx512"]}.get(
    torch.backends.cpu.get_cpu_capability(), ["default"]
)
LIBRARIES = {
    "libraries free": {},
    "libraries avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "libraries sse": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"},
}
THREADS = (1, 2)
OTHER = (CAPABILITIES[0], "libraries sse", 2)  # than what the other tests run with


@pytest.mark.parametrize(
    ("capability", "libraries", "threads"),
    [
        pytest.param(*way, marks=[] if way == OTHER else [pytest.mark.long])
        for way in product(CAPABILITIES, LIBRARIES, THREADS)
    ],
)
def test_stored_checks_and_all_verdicts_are_the_same(capability, libraries, threads):
    environment = {**os.environ, **LIBRARIES[libraries], "ATEN_CPU_CAPABILITY": capability}
    environment |= {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.run(
        [sys.executable, "-m", "tests.processors"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    said = json.loads(process.stdout)
    assert said["capability"].lower() in (capability, "no avx")  # other processors than Intel's and AMD's have one
    assert said["judged"] > 500
    assert said["problems"] == []
