"""Vision Permutator (Hou et al. 2021, arXiv:2106.12368): height, width and channels mixed apart, and then weighed."""

from course.models.channel_mixers.mlp import MLP
from course.models.downsampling import ConvDownsampling
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part
from course.models.stems import PatchEmbed
from course.models.token_mixers.permutator import Permutator
from course.models.token_mixers.split_attention import branch_by_branch

PAPER = "Hou et al. 2021, arXiv:2106.12368"

_BLOCK = {  # within a block, as the authors name it
    "norm1.*": "token_mixer.norm.*",
    "attn.mlp_h.*": "token_mixer.branch.height.*",
    "attn.mlp_w.*": "token_mixer.branch.width.*",
    "attn.mlp_c.*": "token_mixer.branch.channels.*",
    "attn.reweight.fc1.*": "token_mixer.branch.fuse.fc1.*",
    "attn.proj.*": "token_mixer.branch.proj.*",
    "norm2.*": "channel_mixer.norm.*",
    "mlp.*": "channel_mixer.branch.*",
}
# The authors write stage 2 as three sequences of blocks, of 3, 8 and 3: where each of theirs stands in ours.
_PLACES = {"0.#": "0.blocks.#", "2.#": "1.blocks.#"}
_PLACES |= {f"3.{j}": f"1.blocks.{3 + j}" for j in range(8)} | {f"4.{j}": f"1.blocks.{11 + j}" for j in range(3)}
OFFICIAL = {
    "patch_embed.proj.*": "stem.proj.*",
    "network.1.proj.*": "stages.1.entry.conv.*",
    **{f"network.{a}.{theirs}": f"stages.{b}.{ours}" for a, b in _PLACES.items() for theirs, ours in _BLOCK.items()},
    **{
        f"network.{a}.attn.reweight.fc2.*": (f"stages.{b}.token_mixer.branch.fuse.fc2.*", branch_by_branch)
        for a, b in _PLACES.items()
    },
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def vip(dims: tuple, depths: tuple) -> Pyramid:
    return Pyramid(
        stem=part(PatchEmbed, patch_size=7),
        downsample=part(ConvDownsampling, overlap=False),
        token_mixer=part(Permutator),
        channel_mixer=part(MLP, mlp_ratio=3),
        norm=part(LayerNorm, eps=1e-5),
        head=part(MeanHead, eps=1e-5),
        dims=dims,
        depths=depths,
    )


register("vip_s7", vip((192, 384), (4, 14)), paper=PAPER, says="25M", keys={"official": OFFICIAL})
