"""Clips (B, T, C, H, W) to logits: one transformer over all tokens of a clip, and one over frames, then over time."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course.models.backbone import Block, Residual
from course.models.channel_mixers.mlp import MLP
from course.models.heads import ClassTokenHead, MeanHead, linear_or_nothing
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.stems import Tokens, resized_positions
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.space_time import (
    GROUPS,
    GroupedAttention,
    SplitHeadsAttention,
)
from course.models.tubelets import FrameEmbed, TubeletEmbed
from course.names import one_of


class TanhGELU(nn.GELU):
    """GELU through a tanh, less than 1e-3 off the exact one (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2)."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")


def video_stem(embedding: str, dim: int, img_size: int | tuple[int, int], **cut: int) -> TubeletEmbed | FrameEmbed:
    """What makes tokens of a clip: "tubelets" (t frames together) or "frames" (one frame of every t).

    `cut` are the other arguments that the two have: num_frames, in_chans, tubelet_size, patch_size.
    """
    stems = {"tubelets": TubeletEmbed, "frames": FrameEmbed}
    stem = stems[one_of(embedding, stems, "there is no embedding")]
    return stem(dim, (img_size, img_size) if isinstance(img_size, int) else tuple(img_size), **cut)


class ClipTokens(nn.Module):
    """From a clip's map to a sequence, (B, T, h, w, D) -> (B, n + T*h*w, D), a class token in front (n = 1) or none.

    Args:
        dim: D.
        grid: (T, h, w).
        class_token: whether there is one.
        position: "joint": learned for each (t, row, column). "separate": one for each (row, column) plus one for each
            t; the class token has its own, without a time.
    """

    def __init__(self, dim: int, grid: tuple[int, int, int], class_token: bool = True, position: str = "joint") -> None:
        super().__init__()
        one_of(position, ("joint", "separate"), "there is no position")
        self.grid = grid
        frames, height, width = grid
        rows = height * width * (frames if position == "joint" else 1) + class_token
        self.class_token = nn.Parameter(torch.randn(1, dim) * 0.02) if class_token else None
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, dim), std=0.02))
        self.time = nn.Parameter(torch.zeros(frames, dim)) if position == "separate" else None

    def resized(self, name: str, weight: Tensor, trained: "ClipTokens | None" = None) -> Tensor:
        """Learned positions of maps of another size for this one's."""
        if name != "position" or trained is None:
            return weight
        return clip_positions(weight, trained.grid, self.grid, class_tokens=int(self.class_token is not None))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 3)  # (B, T*h*w, D)
        n = 0 if self.class_token is None else 1
        position = self.position
        if self.time is not None:
            patches = self.time[:, None] + position[n:]  # (T, h*w, D)
            position = torch.cat([position[:n], patches.flatten(0, 1)])  # (n + T*h*w, D)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)  # (B, 1 + T*h*w, D)
        return tokens + position


def clip_positions(position: Tensor, old: tuple[int, int, int], new: tuple[int, int, int], class_tokens: int) -> Tensor:
    """Learned positions of a clip for maps of another size, each moment's, or the (h, w) that all moments share."""
    before, after = old[1:], new[1:]
    moments = position[class_tokens:].unflatten(0, (-1, before[0] * before[1]))  # (t or 1, h*w, D)
    return torch.cat([position[:class_tokens], *[resized_positions(moment, before, after) for moment in moments]])


@dataclass(frozen=True, kw_only=True)
class VideoBlocks:
    """What the blocks of a transformer on clips are: the attentions in turn, then an MLP, each with a path around.

    Attributes:
        num_heads, mlp_ratio, act: h of each attention, and the MLP's width (in units of D) and activation.
        drop_path: stochastic depth, the rate of the last block; it grows from 0 along the depth.
        attention, class_token, extra_linear: as of ``ClipTransformer``.
    """

    num_heads: int
    mlp_ratio: float
    act: type
    drop_path: float
    attention: tuple[str, ...] = ("joint",)
    class_token: bool = True
    extra_linear: bool = False

    def build(self, depth: int, dim: int, grid: tuple[int, int, int]) -> nn.Sequential:
        """So many blocks on tokens of (T, h, w) places, (B, n + T*h*w, D) -> the same.

        Raises:
            ValueError: no attention at all, or an unknown one.
        """
        if not self.attention:
            raise ValueError("a block has at least one attention: ('joint',), say")
        rates = [self.drop_path * index / max(depth - 1, 1) for index in range(depth)]
        return nn.Sequential(*[self._block(dim, grid, rate) for rate in rates])

    def _block(self, dim: int, grid: tuple[int, int, int], drop_path: float) -> Block:
        def step(branch: nn.Module) -> Residual:
            return Residual(branch, norm=LayerNorm(dim), drop_path=drop_path)

        last = len(self.attention) - 1
        mixers = [self._mixer(within, dim, grid, index == last) for index, within in enumerate(self.attention)]
        return Block(nn.Sequential(*map(step, mixers)), step(MLP(dim, self.mlp_ratio, self.act)))

    def _mixer(self, within: str, dim: int, grid: tuple[int, int, int], is_last: bool) -> nn.Module:
        """Attention over all tokens ("joint"), inside groups of them, or with heads of both kinds ("split_heads")."""
        one_of(within, ("joint", "split_heads", *GROUPS), "there is no attention")
        if within == "joint":
            return SelfAttention(dim, self.num_heads)
        if within == "split_heads":
            if self.class_token:
                raise ValueError("attention with split heads has no place for a class token: class_token=False fits")
            return SplitHeadsAttention(dim, grid, self.num_heads)
        class_token = ("copied" if is_last else "skipped") if self.class_token else None
        extra_linear = self.extra_linear and not is_last
        return GroupedAttention(dim, grid, within, self.num_heads, class_token, extra_linear)


class ClipTransformer(Model):
    """All tokens of a clip through one transformer, (B, T, C, H, W) -> (B, num_classes).

    Args:
        num_frames: T, frames of a clip.
        tubelet_size: t, frames of a tubelet.
        embedding: "tubelets" or "frames" (one frame of every t).
        attention: the attentions of a block in turn: "joint", "space", "time", "height", "width", "local", "global"
            (see ``GROUPS``) or "split_heads".
        class_token: whether a class token is read at the end, or else the mean over all tokens.
        position: "joint" or "separate" (see ``ClipTokens``).
        extra_linear: whether every attention but the block's last has a second linear layer (TimeSformer).
        act: class of the MLP's activation.

    Raises:
        ValueError: options that do not fit together; or, later, a clip with another number of frames.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        num_frames: int = 32,
        in_chans: int = 3,
        num_classes: int = 400,
        tubelet_size: int = 2,
        patch_size: int = 16,
        embedding: str = "tubelets",
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        attention: tuple[str, ...] = ("joint",),
        class_token: bool = True,
        position: str = "joint",
        extra_linear: bool = False,
        act: type = nn.GELU,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        cut = dict(num_frames=num_frames, in_chans=in_chans, tubelet_size=tubelet_size, patch_size=patch_size)
        self.stem = video_stem(embedding, embed_dim, img_size, **cut)
        self.tokens = ClipTokens(embed_dim, self.stem.grid, class_token, position)
        blocks = VideoBlocks(
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            act=act,
            drop_path=drop_path,
            attention=attention,
            class_token=class_token,
            extra_linear=extra_linear,
        )
        self.blocks = blocks.build(depth, embed_dim, self.stem.grid)
        self.num_features = embed_dim
        self.head = (ClassTokenHead if class_token else MeanHead)(embed_dim, num_classes)

    def stage_outputs(self, clips: Tensor) -> list[Tensor]:
        """The tokens behind the last block, (B, n + T/t*h*w, D), as the one stage there is."""
        return [self.blocks(self.tokens(self.stem(clips)))]

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.stage_outputs(clips)[-1])


class Encoder(nn.Module):
    """A ViT without patches and classes: a map (B, h, w, D) to its normed class token (B, D)."""

    def __init__(self, dim: int, grid: tuple[int, int], depth: int, blocks: VideoBlocks) -> None:
        super().__init__()
        self.tokens = Tokens(dim, grid)
        self.blocks = blocks.build(depth, dim, (1, *grid))
        self.norm = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.tokens(x))  # (B, 1 + h*w, D)
        return self.norm(x[:, 0])  # (B, D)


class FactorisedEncoder(Model):
    """One transformer on each moment by itself, another one on the sequence of moments, (B, T, C, H, W) -> (B, num_classes).

    Args:
        num_frames: T, frames of a clip.
        tubelet_size: t, frames of a tubelet, so that there are T/t moments.
        embedding: "tubelets" or "frames" (one frame of every t).
        depth, temporal_depth: blocks of the first and of the second transformer. Without the second
            (``temporal_depth=0``) the moments are averaged, and their order is lost.
        act: class of the MLP's activation.

    Raises:
        ValueError: options that do not fit together; or, later, a clip with another number of frames.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        num_frames: int = 32,
        in_chans: int = 3,
        num_classes: int = 400,
        tubelet_size: int = 2,
        patch_size: int = 16,
        embedding: str = "tubelets",
        embed_dim: int = 768,
        depth: int = 12,
        temporal_depth: int = 4,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        act: type = nn.GELU,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        cut = dict(num_frames=num_frames, in_chans=in_chans, tubelet_size=tubelet_size, patch_size=patch_size)
        self.stem = video_stem(embedding, embed_dim, img_size, **cut)
        moments, *grid = self.stem.grid
        blocks = VideoBlocks(num_heads=num_heads, mlp_ratio=mlp_ratio, act=act, drop_path=drop_path)
        self.space = Encoder(embed_dim, tuple(grid), depth, blocks)
        self.time = Encoder(embed_dim, (moments, 1), temporal_depth, blocks) if temporal_depth else None
        self.num_features = embed_dim
        self.fc = linear_or_nothing(embed_dim, num_classes)

    def stage_outputs(self, clips: Tensor) -> list[Tensor]:
        """One normed token for each moment, what the second transformer reads: (B, T/t, D), as the one stage."""
        x = self.stem(clips)  # (B, T/t, h, w, D)
        return [self.space(x.flatten(0, 1)).unflatten(0, (x.shape[0], -1))]

    def forward(self, clips: Tensor) -> Tensor:
        moments = self.stage_outputs(clips)[-1]  # (B, T/t, D)
        clip = moments.mean(dim=1) if self.time is None else self.time(moments[:, :, None])  # (B, D)
        return self.fc(clip)
