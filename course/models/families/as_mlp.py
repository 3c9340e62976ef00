"""AS-MLP (Lian et al. 2021, arXiv:2107.08391): Swin's pyramid with axial shifts for its windows."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import PatchMerging
from course.models.heads import MeanHead
from course.models.norms import GroupNorm1
from course.models.registry import register
from course.models.spec import Pyramid, part
from course.models.stems import divided
from course.models.token_mixers.axial_shift import AxialShift

PAPER = "Lian et al. 2021, arXiv:2107.08391"

_BLOCK = {  # within a block, as the authors name it
    "norm1.*": "token_mixer.norm.*",
    "axial_shift.conv1.*": "token_mixer.branch.fc1.*",
    "axial_shift.norm1.*": "token_mixer.branch.norm1.*",
    "axial_shift.conv2_1.*": "token_mixer.branch.horizontal.*",
    "axial_shift.conv2_2.*": "token_mixer.branch.vertical.*",
    "axial_shift.norm2.*": "token_mixer.branch.norm2.*",
    "axial_shift.conv3.*": "token_mixer.branch.fc2.*",
    "norm2.*": "channel_mixer.norm.*",
    "mlp.*": "channel_mixer.branch.*",
}
OFFICIAL = {
    "patch_embed.proj.*": "stem.conv.*",
    "patch_embed.norm.*": "stem.norm.*",
    **{f"layers.#.blocks.#.{theirs}": f"stages.#.blocks.#.{ours}" for theirs, ours in _BLOCK.items()},
    **{f"layers.{i}.downsample.*": f"stages.{i + 1}.entry.*" for i in range(3)},  # the end of theirs begins ours
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


class GroupNormPatchMerging(PatchMerging):
    """Swin's patch merging, (B, H, W, D) -> (B, H/2, W/2, D'), with a group norm.

    Raises:
        ValueError: the map has an odd side.
    """

    def __init__(self, in_dim: int, dim: int, grid: tuple[int, int]) -> None:
        divided(grid, 2, what="a map")
        super().__init__(in_dim, dim, grid)
        self.norm = GroupNorm1(4 * in_dim)


def as_mlp(embed_dim: int, depths: tuple) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=4, stride=4, padding=0, norm=GroupNorm1),
        downsample=part(GroupNormPatchMerging),
        token_mixer=part(AxialShift, shift_size=5),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(GroupNorm1),
        head=part(MeanHead, norm=GroupNorm1),
        dims=tuple(embed_dim * 2**stage for stage in range(len(depths))),
        depths=depths,
    )


register("as_mlp_t", as_mlp(96, (2, 2, 6, 2)), paper=PAPER, says="28M 4.4G", keys={"official": OFFICIAL})
register("as_mlp_s", as_mlp(96, (2, 2, 18, 2)), paper=PAPER, says="50M 8.5G", keys={"official": OFFICIAL})
register("as_mlp_b", as_mlp(128, (2, 2, 18, 2)), paper=PAPER, says="88M 15.2G", keys={"official": OFFICIAL})
