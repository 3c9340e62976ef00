"""The one residual step, the one block, and what strings them together. Every backbone of the course is made of these."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from course.models.model import Model


class Residual(nn.Module):
    """``skip * x + drop_path(scale * branch(norm(x)))``, on tokens (B, N, D) or maps (B, H, W, D).

    Args:
        branch: what is computed beside the path around it.
        norm: before the branch (pre-norm: Dosovitskiy et al. 2021, equations 2 and 3).
        dim: D; only needed with a scale.
        layer_scale: first value of a learned factor for each channel (LayerScale: Touvron et al. 2021,
            arXiv:2103.17239, section 2).
        skip_scale: likewise for the path around (MetaFormer baselines: Yu et al. 2022, arXiv:2210.13452).
        drop_path: chance, for each sample, that training goes without the branch (stochastic depth: Huang et al.
            2016, arXiv:1603.09382). What remains is divided by the chance of remaining.
    """

    def __init__(
        self,
        branch: nn.Module,
        norm: nn.Module | None = None,
        dim: int | None = None,
        layer_scale: float | None = None,
        skip_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm if norm is not None else nn.Identity()
        self.branch = branch
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((dim,), float(layer_scale)))
        self.skip_scale = None if skip_scale is None else nn.Parameter(torch.full((dim,), float(skip_scale)))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(self.norm(x))
        if self.skip_scale is not None:
            x = x * self.skip_scale
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            y = y * y.new_empty(y.shape[0], *[1] * (y.ndim - 1)).bernoulli_(keep) / keep
        return x + y if self.scale is None else torch.addcmul(x, y, self.scale)


class Block(nn.Module):
    """Mix tokens, then mix channels: the one block of every backbone, (B, ..., D) -> (B, ..., D).

    A network whose step does both at once (ConvNeXt, gMLP) has no second half.
    """

    is_block: ClassVar[bool] = True  # `set_grad_checkpointing` looks for it

    def __init__(self, token_mixer: nn.Module, channel_mixer: nn.Module | None = None) -> None:
        super().__init__()
        self.token_mixer = token_mixer
        self.channel_mixer = channel_mixer if channel_mixer is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.channel_mixer(self.token_mixer(x))


class Stage(nn.Module):
    """Blocks at one resolution, behind what leads to it (downsampling, or making tokens)."""

    def __init__(self, blocks: list[nn.Module], entry: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.entry = entry if entry is not None else nn.Identity()
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm if norm is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.entry(x)))


class Backbone(Model):
    """Images (B, C, H, W) -> stem -> stages -> head -> logits (B, num_classes)."""

    channels_last = blocks_channels_last = True

    def __init__(self, stem: nn.Module, stages: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = head

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """What comes out of each stage: tokens (B, N, D) or maps (B, h, w, D), the coarsest last."""
        x = self.stem(images)
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage_outputs(images)[-1])
