"""LeViT (Graham et al. 2021, arXiv:2104.01136): a pyramid of attention, after four convolutions, made for speed."""

import torch
from torch import Tensor, nn

from course.models.channel_mixers.linear_norm import LinearNormMLP
from course.models.conv_stems import HalvingStem
from course.models.heads import linear_or_nothing
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.offset_bias import (
    OffsetBiasAttention,
    ShrinkingAttention,
)


class TwoHeads(nn.Module):
    """The mean over all positions, then two classifiers, each batch norm and linear: (B, H, W, D) -> (B, num_classes).

    As in DeiT one learns from the label and one from the teacher. ``forward`` gives their mean, as at test time;
    ``both`` gives the pair.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.fc = linear_or_nothing(dim, num_classes)
        self.norm_distilled = nn.BatchNorm1d(dim)
        self.fc_distilled = linear_or_nothing(dim, num_classes)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(1, -2).mean(dim=1)  # (B, D)
        return self.fc(self.norm(x)), self.fc_distilled(self.norm_distilled(x))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.both(x)).mean(dim=0)  # (B, num_classes)


# Within a stage, as timm names it: "linear" and "bn" make one of our LinearNorms.
_LAYERS = {
    "blocks.#.attn.qkv": "blocks.#.token_mixer.branch.qkv",
    "blocks.#.attn.proj.ln": "blocks.#.token_mixer.branch.proj",
    "blocks.#.mlp.ln1": "blocks.#.channel_mixer.branch.fc1",
    "blocks.#.mlp.ln2": "blocks.#.channel_mixer.branch.fc2",
    "downsample.attn_downsample.q.ln": "entry.q",
    "downsample.attn_downsample.kv": "entry.kv",
    "downsample.attn_downsample.proj.ln": "entry.proj",
    "downsample.mlp.ln1": "entry.mlp.branch.fc1",
    "downsample.mlp.ln2": "entry.mlp.branch.fc2",
}
TIMM = {
    **{f"stem.conv{i + 1}.linear.*": f"stem.convs.{i}.*" for i in range(4)},
    **{f"stem.conv{i + 1}.bn.*": f"stem.norms.{i}.*" for i in range(4)},
    **{f"stages.#.{theirs}.linear.*": f"stages.#.{ours}.linear.*" for theirs, ours in _LAYERS.items()},
    **{f"stages.#.{theirs}.bn.*": f"stages.#.{ours}.norm.*" for theirs, ours in _LAYERS.items()},
    "stages.#.blocks.#.attn.attention_biases": "stages.#.blocks.#.token_mixer.branch.bias.table",
    "stages.#.downsample.attn_downsample.attention_biases": "stages.#.entry.bias.table",
    "head.bn.*": "head.norm.*",
    "head.linear.*": "head.fc.*",
    "head_dist.bn.*": "head.norm_distilled.*",
    "head_dist.linear.*": "head.fc_distilled.*",
}


def levit(dims: tuple[int, ...], depths: tuple[int, ...], num_heads: tuple[int, ...], key_dim: int) -> Pyramid:
    return Pyramid(
        stem=part(HalvingStem, act=nn.Hardswish),
        downsample=part(ShrinkingAttention, key_dim=key_dim, act=nn.Hardswish),
        token_mixer=part(
            OffsetBiasAttention, num_heads=per_stage(*num_heads), key_dim=key_dim, attn_ratio=2, act=nn.Hardswish
        ),
        channel_mixer=part(LinearNormMLP, mlp_ratio=2, act=nn.Hardswish),
        norm=None,
        head=part(TwoHeads),
        dims=dims,
        depths=depths,
    )


register(
    "levit_256",
    levit((256, 384, 512), (4, 4, 4), (4, 6, 8), key_dim=32),
    paper="Graham et al. 2021, arXiv:2104.01136",
    says="18.9M 1.12G",
    keys={"timm": TIMM},
)
