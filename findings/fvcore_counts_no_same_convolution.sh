#!/usr/bin/env bash
# fvcore counts nothing for a convolution that says padding="same": two layers that compute the same numbers differ by
# all their work, and a ConvNet written so has almost no FLOPs.
#
# fvcore 0.1.5.post20221221 with torch 2.14.1. `FlopCountAnalysis` traces the network and looks up each operation by its
# name. With padding=1 torch's trace holds aten::_convolution, for which there is a rule; with padding="same" it holds
# aten::_convolution_mode, for which there is none. The total leaves it out. `unsupported_ops()` names it, and a warning
# does (of a logger; many programs switch it off, because norms and activations fill it).
#
# Good guesses that are wrong: that the count is of what is computed, so that two ways to write one layer agree; and that
# convolutions, the oldest rule of a counter, need no second look, only attention does.
#
# Prints the versions, the two counts and the name; ends with 1 once both counts are the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet fvcore==0.1.5.post20221221 torch==2.14.1 numpy setuptools wheel
"$folder/env/bin/python" - <<'PYTHON'
import logging
import sys
from importlib.metadata import version

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

logging.disable(logging.WARNING)
print(f"fvcore {version('fvcore')}, torch {torch.__version__}")
torch.manual_seed(0)
images = torch.randn(1, 64, 14, 14)
one = nn.Conv2d(64, 64, 3, padding=1, bias=False)
same = nn.Conv2d(64, 64, 3, padding="same", bias=False)
same.load_state_dict(one.state_dict())
print("largest difference of their outputs:", (one(images) - same(images)).abs().max().item())
counts = []
for layer, padding in ((one, "1"), (same, '"same"')):
    analysis = FlopCountAnalysis(layer, images)
    counts.append(analysis.total())
    print(f"padding={padding}: {counts[-1]:,} (by hand {14 * 14 * 9 * 64 * 64:,}); not counted: {dict(analysis.unsupported_ops())}")
sys.exit(counts != [14 * 14 * 9 * 64 * 64, 0])
PYTHON
