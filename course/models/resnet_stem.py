"""The ResNet in front of a hybrid ViT: images (B, C, H, W) -> (B, h, w, D); within it the channels stand second."""

import torch.nn.functional as F
from torch import Tensor, nn

from course.models.stems import divided


class StandardisedConv(nn.Conv2d):
    """A convolution whose kernels are brought to mean 0 and variance 1 before use, each output channel's for itself.

    (B, C, H, W) -> (B, C', H/s, W/s), without bias. Weight standardisation: Qiao et al. 2019, arXiv:1903.10520. Where
    the padding cannot be the same on both sides (even H and s = 2), the right and the bottom get the extra row, as in
    the network's first implementation.
    """

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_chans, out_chans, kernel_size, stride=stride, bias=False)

    def kernels(self) -> Tensor:
        return F.layer_norm(self.weight, self.weight.shape[1:], eps=1e-8)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(padded(x, self.kernel_size[0], self.stride[0]), self.kernels(), stride=self.stride)


def padded(x: Tensor, kernel_size: int, stride: int, value: float = 0.0) -> Tensor:
    """Room for windows at all multiples of the stride, which divides H and W; the odd row goes right and below."""
    total = max(kernel_size - stride, 0)
    before, after = total // 2, total - total // 2
    return F.pad(x, (before, after, before, after), value=value) if total else x  # (B, C, H + total, W + total)


class Bottleneck(nn.Module):
    """ResNet's step: 1×1, 3×3 and 1×1 convolutions beside the path around, then ReLU, (B, C, H, W) -> (B, C', H/s, W/s).

    He et al. 2016, arXiv:1512.03385, figure 5, right; here with group norm and standardised kernels
    (Kolesnikov et al. 2020, arXiv:1912.11370).

    Args:
        project: whether a 1×1 convolution fits the path around to the new shape.
    """

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        inner = out_chans // 4
        self.conv1 = StandardisedConv(in_chans, inner, 1)
        self.norm1 = nn.GroupNorm(32, inner)
        self.conv2 = StandardisedConv(inner, inner, 3, stride)
        self.norm2 = nn.GroupNorm(32, inner)
        self.conv3 = StandardisedConv(inner, out_chans, 1)
        self.norm3 = nn.GroupNorm(32, out_chans)
        self.around = nn.Identity()
        if project:
            self.around = nn.Sequential(StandardisedConv(in_chans, out_chans, 1, stride), nn.GroupNorm(32, out_chans))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        y = self.act(self.norm2(self.conv2(y)))
        return self.act(self.around(x) + self.norm3(self.conv3(y)))


class ResNetStem(nn.Module):
    """A ResNet whose last map becomes the tokens, each position one patch (ViT: arXiv:2010.11929, section 3.1, hybrid).

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        in_chans: C.
        depths, widths: blocks and channels of each stage. ViT's ResNet-50 has three stages, the blocks of the fourth
            (there are 3) moved into the third, so that tokens are 16 pixels apart.

    Raises:
        ValueError: the sides of the image cannot be halved often enough, or a width is no multiple of 128: the group
            norms have 32 groups, and the inner convolutions a quarter of the width.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        in_chans: int = 3,
        depths: tuple[int, ...] = (3, 4, 9),
        widths: tuple[int, ...] = (256, 512, 1024),
    ) -> None:
        super().__init__()
        if any(width % 128 for width in widths):
            raise ValueError(f"the widths of the ResNet are multiples of 128, and {widths} are not all")
        self.grid = divided(img_size, 2 * 2 ** len(widths))
        self.conv = StandardisedConv(in_chans, 64, 7, stride=2)
        self.norm = nn.GroupNorm(32, 64)
        self.act = nn.ReLU()
        self.stages = nn.Sequential()
        for stage, (depth, in_width, width) in enumerate(zip(depths, (64, *widths), widths)):
            first = Bottleneck(in_width, width, stride=1 if stage == 0 else 2, project=True)
            self.stages.append(nn.Sequential(first, *[Bottleneck(width, width) for _ in range(depth - 1)]))
        self.proj = nn.Conv2d(widths[-1], dim, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(images)))  # (B, 64, H/2, W/2)
        x = F.max_pool2d(padded(x, 3, 2, value=-float("inf")), kernel_size=3, stride=2)  # (B, 64, H/4, W/4)
        return self.proj(self.stages(x)).permute(0, 2, 3, 1)  # (B, h, w, D)
