"""Convolutional networks with two streams, clips (B, T, C, H, W) to logits: what is there, and how it moves."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model


def conv_norm(
    in_dim: int, dim: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Module:
    """A 3-D convolution, padded so that it keeps every side that its stride leaves alone, and a batch norm."""
    padding = tuple(side // 2 for side in kernel)
    return nn.Sequential(nn.Conv3d(in_dim, dim, kernel, stride, padding, bias=False), nn.BatchNorm3d(dim))


class Bottleneck3D(nn.Module):
    """ResNet's bottleneck on clips, (B, C, T, H, W) -> (B, 4W', T, H/s, W/s): t×1×1, then 1×3×3, then 1×1×1.

    Args:
        in_dim: C.
        width: W', channels inside.
        frames: t, how many frames the first convolution sees.
        stride: s, along height and width.
    """

    def __init__(self, in_dim: int, width: int, frames: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(in_dim, width, (frames, 1, 1)),
            nn.ReLU(),
            conv_norm(width, width, (1, 3, 3), (1, stride, stride)),
            nn.ReLU(),
            conv_norm(width, 4 * width, (1, 1, 1)),
        )
        same = in_dim == 4 * width and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(in_dim, 4 * width, (1, 1, 1), (1, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))


def pathway(
    in_chans: int, width: int, depths: tuple[int, ...], stem_frames: int, frames: tuple[int, ...], lateral: int
) -> nn.ModuleList:
    """A stem and stages of bottlenecks; `lateral` channels join what each but the last gives."""
    stem = nn.Sequential(
        conv_norm(in_chans, width, (stem_frames, 7, 7), (1, 2, 2)),
        nn.ReLU(),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )
    stages, in_dim = [stem], width + lateral
    for stage, depth in enumerate(depths):
        inside = width * 2**stage
        first = Bottleneck3D(in_dim, inside, frames[stage], stride=1 if stage == 0 else 2)
        rest = [Bottleneck3D(4 * inside, inside, frames[stage], stride=1) for _ in range(depth - 1)]
        stages.append(nn.Sequential(first, *rest))
        in_dim = 4 * inside + lateral * 4 * 2**stage
    return nn.ModuleList(stages)


class SlowFast(Model):
    """A wide pathway on few frames and a narrow one on many, (B, T, C, H, W) -> (B, num_classes).

    Feichtenhofer et al. 2019, arXiv:1812.03982, section 3 and table 1. The fast pathway sees all T frames with β times
    the slow one's channels; the slow one sees every α-th frame. After the stem and after each stage but the last, the
    fast pathway's map joins the slow one's through a convolution of stride α in time, which doubles its channels. It
    spans 5 frames in the paper, and 7, as here, in the authors' code for 8 slow frames.

    Args:
        num_frames: T, a multiple of α.
        depths: blocks of each stage.
        width: channels behind the slow stem.
        alpha, beta: α and β.

    Raises:
        ValueError: α does not divide T, or β times the width is no whole number.
    """

    def __init__(
        self,
        num_frames: int = 32,
        in_chans: int = 3,
        num_classes: int = 400,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        width: int = 64,
        alpha: int = 4,
        beta: float = 1 / 8,
    ) -> None:
        super().__init__()
        if num_frames % alpha:
            raise ValueError(
                f"every {alpha}th of {num_frames} frames goes to the slow pathway: alpha has to divide num_frames"
            )
        narrow = round(width * beta)
        if narrow != width * beta or narrow == 0:
            raise ValueError(f"the fast pathway has {beta} times {width} channels, and that is no whole number")
        self.alpha = alpha
        # In the slow pathway only the last two stages look at more than one frame.
        self.slow = pathway(in_chans, width, depths, 1, (1, 1, 3, 3), lateral=2 * narrow)
        self.fast = pathway(in_chans, narrow, depths, 5, (3, 3, 3, 3), lateral=0)
        joins = [narrow, *[4 * narrow * 2**stage for stage in range(len(depths) - 1)]]
        self.lateral = nn.ModuleList(
            nn.Sequential(conv_norm(dim, 2 * dim, (7, 1, 1), (alpha, 1, 1)), nn.ReLU()) for dim in joins
        )
        self.dropout = nn.Dropout(0.5)
        self.num_features = 4 * 2 ** (len(depths) - 1) * (width + narrow)  # of both pathways, side by side
        self.fc = linear_or_nothing(self.num_features, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        fast = clips.transpose(1, 2)  # (B, C, T, H, W)
        slow = fast[:, :, :: self.alpha]  # (B, C, T/α, H, W)
        for index, (slow_stage, fast_stage) in enumerate(zip(self.slow, self.fast)):
            slow, fast = slow_stage(slow), fast_stage(fast)
            if index < len(self.lateral):
                slow = torch.cat([slow, self.lateral[index](fast)], dim=1)  # (B, D + 2βD, T/α, h, w)
        pooled = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)  # (B, D + βD)
        return self.fc(self.dropout(pooled))


def stream(in_chans: int, widths: tuple[int, ...]) -> nn.Sequential:
    """A small ConvNet, (B, C, H, W) -> (B, D): convolutions of 7×7, 5×5 and then 3×3, and the mean over all places."""
    layers, in_dim = [], in_chans
    for index, width in enumerate(widths):
        kernel, stride = {0: (7, 2), 1: (5, 2)}.get(index, (3, 1))
        layers += [nn.Conv2d(in_dim, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if index in (0, 1, len(widths) - 1):
            layers.append(nn.MaxPool2d(2))
        in_dim = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class TwoStream(Model):
    """One ConvNet sees the middle frame, another one the motion; their probabilities are averaged.

    Simonyan & Zisserman 2014, arXiv:1406.2199, sections 2 and 3.1. (B, T, C, H, W) -> log probabilities
    (B, num_classes): as logits they have the averaged probabilities as their softmax. The motion is the optical flow
    between neighbouring frames, stacked in the channels, or, where none is given, the difference of the frames. Of the
    paper's ConvNet (figure 1) these are the convolutions, with batch norm in place of its normalisation and the mean in
    place of its fully connected layers.

    Args:
        num_frames: T; T - 1 steps of motion.
        motion_chans: channels of one step of motion: C for differences, 2 for optical flow.
        widths: channels of each convolution.
    """

    def __init__(
        self,
        num_frames: int = 11,
        in_chans: int = 3,
        num_classes: int = 101,
        motion_chans: int = 3,
        widths: tuple[int, ...] = (96, 256, 512, 512, 512),
    ) -> None:
        super().__init__()
        if num_frames < 2:
            raise ValueError("motion takes two frames or more: num_frames=2 fits")
        self.space = stream(in_chans, widths)
        self.motion = stream((num_frames - 1) * motion_chans, widths)
        self.fc_space = linear_or_nothing(widths[-1], num_classes)
        self.fc_motion = linear_or_nothing(widths[-1], num_classes)
        self.num_features = 2 * widths[-1]

    def both(self, clips: Tensor, motion: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The logits of each stream, (B, num_classes) both: the paper trains the streams separately."""
        if motion is None:
            motion = clips[:, 1:] - clips[:, :-1]  # (B, T-1, C, H, W)
        middle = clips[:, clips.shape[1] // 2]  # (B, C, H, W)
        return self.fc_space(self.space(middle)), self.fc_motion(self.motion(motion.flatten(1, 2)))

    def forward(self, clips: Tensor, motion: Tensor | None = None) -> Tensor:
        by_space, by_motion = self.both(clips, motion)
        if isinstance(self.fc_space, nn.Identity):
            return torch.cat([by_space, by_motion], dim=1)  # (B, 2D)
        return torch.logaddexp(by_space.log_softmax(-1), by_motion.log_softmax(-1)) - math.log(2)
