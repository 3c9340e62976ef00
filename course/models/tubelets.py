"""From clips (B, T, C, H, W) to a first map of tokens (B, t, h, w, D), and from an image model's filters to a clip's."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.stems import PatchEmbed, divided


def uniform_frames(clips: Tensor, every: int) -> Tensor:
    """One frame of every `every`, (B, T, C, H, W) -> (B, T/every, C, H, W): the middle one, of two the later.

    The paper leaves open which; these are the frames that ``central_frame_filters`` look at.
    """
    return clips[:, every // 2 :: every]


def tubelet_grid(
    num_frames: int, img_size: tuple[int, int], tubelet_size: int, patch_size: int
) -> tuple[int, int, int]:
    """How many tubelets fit along time, height and width.

    Raises:
        ValueError: they do not divide the clip; the message names what does.
    """
    if num_frames % tubelet_size:
        fits = [t for t in range(1, num_frames + 1) if num_frames % t == 0]
        raise ValueError(
            f"{num_frames} frames are not divided by tubelets of {tubelet_size}: tubelet_size may be {', '.join(map(str, fits))}"
        )
    return num_frames // tubelet_size, *divided(img_size, patch_size)


class FrameEmbed(PatchEmbed):
    """Uniform frame sampling (ViViT: arXiv:2103.15691, section 3.2): keep T/t frames, cut each into patches as ViT does.

    (B, T, C, H, W) -> (B, T/t, H/P, W/P, D). With t = 1 every frame is kept (TimeSformer: arXiv:2102.05095).

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        num_frames: T.
        in_chans: C.
        tubelet_size: t; one frame of every t is kept.
        patch_size: P, in pixels.

    Raises:
        ValueError: t does not divide T, or P not H and W; or, later, a clip has another number of frames.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        num_frames: int,
        in_chans: int = 3,
        tubelet_size: int = 1,
        patch_size: int = 16,
    ) -> None:
        super().__init__(dim, img_size, in_chans, patch_size)
        self.grid = tubelet_grid(num_frames, img_size, tubelet_size, patch_size)
        self.num_frames = num_frames
        self.every = tubelet_size

    def forward(self, clips: Tensor) -> Tensor:
        check_frames(clips, self.num_frames)
        frames = uniform_frames(clips, self.every)  # (B, T/t, C, H, W)
        return super().forward(frames.flatten(0, 1)).unflatten(0, (len(clips), -1))  # (B, T/t, h, w, D)


class TubeletEmbed(nn.Module):
    """Cut the clip into boxes of t frames by P×P pixels and map each linearly to D channels (ViViT, section 3.2).

    (B, T, C, H, W) -> (B, T/t, H/P, W/P, D). A 3-D convolution whose kernel is as long as its stride is that map; it
    keeps the filters (D, C, t, P, P) here, and one matrix product applies them, in half of the convolution's time.

    Args:
        dim: D.
        img_size: (H, W) in pixels.
        num_frames: T.
        in_chans: C.
        tubelet_size: t, in frames.
        patch_size: P, in pixels.

    Raises:
        ValueError: t does not divide T, or P not H and W; or, later, a clip has another number of frames.
    """

    def __init__(
        self,
        dim: int,
        img_size: tuple[int, int],
        num_frames: int,
        in_chans: int = 3,
        tubelet_size: int = 2,
        patch_size: int = 16,
    ) -> None:
        super().__init__()
        self.grid = tubelet_grid(num_frames, img_size, tubelet_size, patch_size)
        self.num_frames = num_frames
        size = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(in_chans, dim, kernel_size=size, stride=size)

    def forward(self, clips: Tensor) -> Tensor:
        check_frames(clips, self.num_frames)
        t, p, q = self.proj.kernel_size
        boxes = rearrange(clips, "b (T t) c (h p) (w q) -> b T h w (c t p q)", t=t, p=p, q=q)
        return F.linear(boxes, self.proj.weight.flatten(1), self.proj.bias)  # (B, T/t, h, w, D)


def check_frames(clips: Tensor, num_frames: int) -> None:
    """ValueError if the clips have another number of frames."""
    if clips.shape[1] != num_frames:
        raise ValueError(
            f"made for clips of {num_frames} frames and got {clips.shape[1]}: num_frames={clips.shape[1]} makes one for these"
        )


# Where a clip's filters (D, C, t, P, P) come from (ViViT, section 3.4).


def random_filters(image_weight: Tensor, tubelet_size: int) -> Tensor:
    """Fresh filters as ``nn.Conv3d`` draws them; of the image's (D, C, P, P) only the shape is used."""
    filters, channels, height, width = image_weight.shape
    weight = image_weight.new_empty(filters, channels, tubelet_size, height, width)
    return nn.init.kaiming_uniform_(weight, a=5**0.5)


def inflated_filters(image_weight: Tensor, tubelet_size: int) -> Tensor:
    """Filter inflation: the image's filter for each of the t frames, divided by t (equation 8).

    A tubelet's token is then the mean of its frames' tokens. Carreira & Zisserman 2017, arXiv:1705.07750.
    """
    return image_weight[:, :, None].repeat(1, 1, tubelet_size, 1, 1) / tubelet_size  # (D, C, t, P, P)


def central_frame_filters(image_weight: Tensor, tubelet_size: int) -> Tensor:
    """The image's filter for frame t // 2 and zeros for the others (equation 9): at first, this is uniform sampling."""
    weight = image_weight[:, :, None].repeat(1, 1, tubelet_size, 1, 1)  # (D, C, t, P, P)
    others = torch.arange(tubelet_size, device=weight.device) != tubelet_size // 2
    weight[:, :, others] = 0
    return weight
