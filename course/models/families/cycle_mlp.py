"""CycleMLP (Chen et al. 2021, arXiv:2107.10224): an MLP that takes images of any size, so that it can serve detectors."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvDownsampling
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part
from course.models.token_mixers.cycle_fc import CycleMixing
from course.models.token_mixers.split_attention import branch_by_branch

PAPER = "Chen et al. 2021, arXiv:2107.10224"

_BLOCK = {  # within a block, as the authors name it
    "norm1.*": "token_mixer.norm.*",
    "attn.sfc_h.*": "token_mixer.branch.horizontal.*",
    "attn.sfc_w.*": "token_mixer.branch.vertical.*",
    "attn.mlp_c.*": "token_mixer.branch.channels.*",
    "attn.reweight.fc1.*": "token_mixer.branch.fuse.fc1.*",
    "attn.proj.*": "token_mixer.branch.proj.*",
    "norm2.*": "channel_mixer.norm.*",
    "mlp.*": "channel_mixer.branch.*",
}
# They count what stands between the stages as a stage of its own: 0 blocks, 1 downsampling, 2 blocks, ...
OFFICIAL = {
    "patch_embed.proj.*": "stem.conv.*",
    "network.#.#.attn.sfc_h.offset": None,  # the steps, which we compute
    "network.#.#.attn.sfc_w.offset": None,
    **{
        f"network.{2 * i}.#.{theirs}": f"stages.{i}.blocks.#.{ours}"
        for i in range(4)
        for theirs, ours in _BLOCK.items()
    },
    **{
        f"network.{2 * i}.#.attn.reweight.fc2.*": (
            f"stages.{i}.blocks.#.token_mixer.branch.fuse.fc2.*",
            branch_by_branch,
        )
        for i in range(4)
    },
    **{f"network.{2 * i - 1}.proj.*": f"stages.{i}.entry.conv.*" for i in range(1, 4)},
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def cyclemlp(dims: tuple, depths: tuple) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=7, stride=4, padding=2),
        downsample=part(ConvDownsampling),
        token_mixer=part(CycleMixing),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-5),
        head=part(MeanHead, eps=1e-5),
        dims=dims,
        depths=depths,
    )


register(
    "cyclemlp_b2",
    cyclemlp((64, 128, 320, 512), (2, 3, 10, 3)),
    paper=PAPER,
    says="27M 3.9G",
    keys={"official": OFFICIAL},
)
