"""Attention over the tokens of a clip: which of the T*h*w see each other. Each answer is a way to cut them into groups."""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from course.models.token_mixers.attention import SelfAttention, head_width
from course.names import one_of

# The tokens of a clip -> groups of tokens that see each other. b, d: batch, channels; t, h, w: time, height, width.
GROUPS = {
    "space": "b (t h w) d -> (b t) (h w) d",
    "time": "b (t h w) d -> (b h w) t d",
    "height": "b (t h w) d -> (b t w) h d",
    "width": "b (t h w) d -> (b t h) w d",
    # The four quarters of the image, each over all frames.
    "local": "b (t i h j w) d -> (b i j) (t h w) d",
    # Every second token along each of the three axes.
    "global": "b (t p h i w j) d -> (b p i j) (t h w) d",
}
# Axes of the pattern that have length 2, and those of t, h, w which they halve.
HALVES = {"local": ("ij", "hw"), "global": ("pij", "thw")}


class GroupedAttention(SelfAttention):
    """Self-attention inside groups of a clip's tokens, (B, n + T*h*w, D) -> the same, n = 1 with a class token.

    TimeSformer (Bertasius et al. 2021, arXiv:2102.05095, section 3) takes two or three of these in turn: time and space
    (divided), local and global, or the three axes. A class token belongs to no place. Either every group gets a copy of
    it, and the results of the copies are averaged, or the groups do without it and it gets 0. The public code has it in
    the last attention of a block only; the paper's equations have it among the keys of the others too.

    Args:
        dim: D.
        grid: (T, h, w), in tokens.
        within: which tokens see each other, a key of ``GROUPS``.
        num_heads: number of heads.
        class_token: None: there is none. "copied": in every group. "skipped": in no group.
        extra_linear: a second linear layer behind the attention's own, without anything between (TimeSformer).

    Raises:
        ValueError: no such groups; the heads do not divide D; or the grid is odd where it has to be halved.
    """

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int, int],
        within: str,
        num_heads: int = 8,
        class_token: str | None = None,
        extra_linear: bool = False,
    ) -> None:
        super().__init__(dim, num_heads)
        self.pattern = GROUPS[one_of(within, GROUPS, "there is no attention within")]
        self.within = within
        self.sizes = dict(zip("thw", grid))
        parts, halved = HALVES.get(within, ("", ""))
        for axis in halved:
            if self.sizes[axis] % 2:
                raise ValueError(
                    f"attention within '{within}' halves a grid of {'×'.join(map(str, grid))} tokens: {axis} is odd"
                )
            self.sizes[axis] //= 2
        self.sizes |= dict.fromkeys(parts, 2)
        self.back = " -> ".join(reversed(self.pattern.split(" -> ")))
        self.class_token = class_token
        self.fc = nn.Linear(dim, dim) if extra_linear else nn.Identity()

    def extra_repr(self) -> str:
        return f"within={self.within}"

    def forward(self, x: Tensor) -> Tensor:
        patches = x if self.class_token is None else x[:, 1:]  # (B, T*h*w, D)
        groups = rearrange(patches, self.pattern, **self.sizes)  # (B*groups, tokens of a group, D)
        if self.class_token == "copied":
            first = repeat(x[:, :1], "b n d -> (b g) n d", g=groups.shape[0] // x.shape[0])
            groups = torch.cat([first, groups], dim=1)  # (B*groups, 1 + tokens of a group, D)
        y = self.fc(super().forward(groups))
        if self.class_token == "copied":
            first, y = reduce(y[:, :1], "(b g) n d -> b n d", "mean", b=x.shape[0]), y[:, 1:]
        y = rearrange(y, self.back, b=x.shape[0], **self.sizes)  # (B, T*h*w, D)
        if self.class_token == "copied":
            return torch.cat([first, y], dim=1)  # (B, 1 + T*h*w, D)
        return y if self.class_token is None else F.pad(y, (0, 0, 1, 0))  # (B, n + T*h*w, D)


class SplitHeadsAttention(nn.Module):
    """Half of the heads look over space and half over time, (B, T*h*w, D) -> (B, T*h*w, D).

    Factorised dot-product attention, ViViT's Model 4 (Arnab et al. 2021, arXiv:2103.15691, section 3.3, equation 7):
    the parameters of full attention at the cost of the divided one. The heads over space come first, as in the paper's
    Concat(Y_s, Y_t); in the authors' code those over time do.

    Args:
        dim: D.
        grid: (T, h, w), in tokens.
        num_heads: of both kinds together.

    Raises:
        ValueError: an odd number of heads, or one that does not divide D.
    """

    def __init__(self, dim: int, grid: tuple[int, int, int], num_heads: int = 8) -> None:
        super().__init__()
        head_width(dim, num_heads)
        if num_heads % 2:
            raise ValueError(f"half of the heads look over space and half over time: {num_heads} is odd")
        self.num_frames = grid[0]
        self.heads_each = num_heads // 2
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        sizes = {"t": self.num_frames, "h": self.heads_each}
        qkv = rearrange(self.qkv(x), "b n (three two hd) -> two three b n hd", three=3, two=2)
        over_space = rearrange(qkv[0], "three b (t s) (h d) -> three (b t) h s d", **sizes)
        over_time = rearrange(qkv[1], "three b (t s) (h d) -> three (b s) h t d", **sizes)
        space = F.scaled_dot_product_attention(*over_space)  # (B*T, heads, h*w, d)
        time = F.scaled_dot_product_attention(*over_time)  # (B*h*w, heads, T, d)
        space = rearrange(space, "(b t) h s d -> b (t s) (h d)", **sizes)  # (B, T*h*w, D/2)
        time = rearrange(time, "(b s) h t d -> b (t s) (h d)", b=x.shape[0])  # (B, T*h*w, D/2)
        return self.proj(torch.cat([space, time], dim=-1))
