#!/usr/bin/env bash
# torchinfo's "total mult-adds" of a transformer are those of one token: 0.08 G of a ViT-S that has 4.60 G. And a class of
# one's own whose name contains "Conv" gets a multiple of its work if its output has the channels last.
#
# torchinfo 1.8.0 with torch 2.14.1. For any layer the figure is the weights times the batch size, output_size[0], and
# nothing else. The one exception is a class with "Conv" in its *name*: there the weights are multiplied by the axes from
# the third on, which are height and width in (B, C, H, W), and width and channels in (B, H, W, C).
#
# Good guesses that are wrong: that a linear layer applied to 196 tokens counts 196 times one applied to one (its help
# says multiply-adds, and for a convolution it does count every place); that the same layer as a 1×1 convolution counts
# the same; and that the name of a class is no part of its cost.
#
# Prints the versions and the figures of four ways to write one layer; ends with 1 once the first is as the second.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet torchinfo==1.8.0 torch==2.14.1 numpy
"$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from torch import nn
from torchinfo import summary

print(f"torchinfo {version('torchinfo')}, torch {torch.__version__}")


class ChannelsLastConv(nn.Conv2d):
    """(B, H, W, C) to (B, H, W, C)"""

    def forward(self, x):
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Pointwise(ChannelsLastConv):
    """The same layer by another name."""


def counted(layer, *shape):
    return summary(layer, input_data=torch.zeros(shape), verbose=0).total_mult_adds


print(f"by hand, 196 places, 64 to 64 channels: {196 * 64 * 64:,}")
linear = counted(nn.Linear(64, 64, bias=False), 1, 196, 64)
conv = counted(nn.Conv2d(64, 64, 1, bias=False), 1, 64, 14, 14)
print(f"nn.Linear on 196 tokens: {linear:,}")
print(f"nn.Conv2d, 1x1: {conv:,}")
print(f"channels last, its class called ChannelsLastConv: {counted(ChannelsLastConv(64, 64, 1, bias=False), 1, 14, 14, 64):,}")
print(f"channels last, its class called Pointwise: {counted(Pointwise(64, 64, 1, bias=False), 1, 14, 14, 64):,}")
sys.exit(linear == conv)
PYTHON
