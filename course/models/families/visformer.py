"""Visformer (Chen et al. 2021, arXiv:2104.12533): a stage of convolutions, then two of self-attention; batch norms."""

from torch import Tensor

from course.models.channel_mixers.conv_mlp import GroupConvMLP
from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvPatchStem
from course.models.downsampling import PositionedPatches
from course.models.heads import MeanHead
from course.models.norms import BatchNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.attention import SelfAttention


def positions_in_rows(theirs: Tensor) -> Tensor:
    """(1, D, h, w) -> (h*w, D)."""
    return theirs[0].flatten(1).T


TIMM = {
    "stem.0.*": "stem.conv.*",
    "stem.1.*": "stem.conv_norm.*",
    "patch_embed1.*": "stem.*",
    "pos_embed1": ("stem.tokens.position", positions_in_rows),
    "stage1.#.norm2.*": "stages.0.blocks.#.token_mixer.norm.*",
    "stage1.#.mlp.conv1.*": "stages.0.blocks.#.token_mixer.branch.fc1.*",
    "stage1.#.mlp.conv2.*": "stages.0.blocks.#.token_mixer.branch.conv.*",
    "stage1.#.mlp.conv3.*": "stages.0.blocks.#.token_mixer.branch.fc2.*",
    **{f"patch_embed{i + 1}.*": f"stages.{i}.entry.*" for i in (1, 2)},
    **{f"pos_embed{i + 1}": (f"stages.{i}.entry.tokens.position", positions_in_rows) for i in (1, 2)},
    **{f"stage{i + 1}.#.norm1.*": f"stages.{i}.blocks.#.token_mixer.norm.*" for i in (1, 2)},
    **{f"stage{i + 1}.#.attn.*": f"stages.{i}.blocks.#.token_mixer.branch.*" for i in (1, 2)},
    **{f"stage{i + 1}.#.norm2.*": f"stages.{i}.blocks.#.channel_mixer.norm.*" for i in (1, 2)},
    **{f"stage{i + 1}.#.mlp.conv1.*": f"stages.{i}.blocks.#.channel_mixer.branch.fc1.*" for i in (1, 2)},
    **{f"stage{i + 1}.#.mlp.conv3.*": f"stages.{i}.blocks.#.channel_mixer.branch.fc2.*" for i in (1, 2)},
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def visformer(embed_dim: int, depths: tuple[int, int, int], num_heads: int, stem_dim: int) -> Pyramid:
    attention = part(SelfAttention, num_heads=num_heads, qkv_bias=False, proj_bias=False)
    mlp = part(MLP, mlp_ratio=4, bias=False)
    return Pyramid(
        stem=part(ConvPatchStem, stem_dim=stem_dim, patch_size=4),
        downsample=part(PositionedPatches, norm=BatchNorm),
        token_mixer=per_stage(part(GroupConvMLP, expansion=2, groups=8), attention, attention),
        channel_mixer=per_stage(None, mlp, mlp),
        norm=part(BatchNorm),
        head=part(MeanHead, norm=BatchNorm),
        dims=(embed_dim // 2, embed_dim, embed_dim * 2),
        depths=depths,
    )


register(
    "visformer_s",
    visformer(384, (7, 4, 4), num_heads=6, stem_dim=32),
    paper="Chen et al. 2021, arXiv:2104.12533",
    says="40.2M 4.9G",
    keys={"timm": TIMM},
)
