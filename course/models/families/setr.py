"""SETR (Zheng et al. 2021, arXiv:2012.15840): segmentation with a plain ViT and three heads.

The authors' code makes PUP and MLA smaller than the paper's table does; these are the networks of the code.
"""

from dataclasses import replace

from torch import Tensor

from course.models.dense.setr_heads import SETRMLA, NaiveHead, PUPHead
from course.models.families.vit import vit
from course.models.registry import register
from course.models.spec import Isotropic, Whole, part

PAPER = "Zheng et al. 2021, arXiv:2012.15840, table 2"

_BLOCK = {  # within a block, as the authors' code names it
    "norm1.*": "token_mixer.norm.*",
    "attn.*": "token_mixer.branch.*",
    "norm2.*": "channel_mixer.norm.*",
    "mlp.*": "channel_mixer.branch.*",
}
_TRUNK = {
    "backbone.patch_embed.proj.*": "stem.proj.*",
    **{f"backbone.blocks.#.{theirs}": f"stages.0.blocks.#.{ours}" for theirs, ours in _BLOCK.items()},
    "decode_head.conv_seg.*": None,  # made by a base class of theirs and never called
    "auxiliary_head.*": None,
}
_UP = {
    **_TRUNK,
    "backbone.cls_token": "stages.0.entry.class_tokens",
    "backbone.pos_embed": "stages.0.entry.position",
    "decode_head.norm.*": "head.norm.*",
}
NAIVE = {
    **_UP,
    "decode_head.conv_0.*": "head.conv.conv.*",
    "decode_head.syncbn_fc_0.*": "head.conv.norm.*",
    "decode_head.conv_1.*": "head.classifier.*",
}
PUP = {
    **_UP,
    "decode_head.conv_4.*": "head.classifier.*",
    "decode_head.conv_#.*": "head.convs.#.conv.*",
    "decode_head.syncbn_fc_#.*": "head.convs.#.norm.*",
}


def _without_class_token(position: Tensor) -> Tensor:
    return position[:, 1:]


def _level(i: int) -> dict:
    """Their names of the layers in stream i, as the modules of a sequence: 0 and 3 convolve, 1 and 4 are norms."""
    return {
        f"backbone.mla.mla_p{i + 2}_1x1.0.*": f"head.reduce.{i}.conv.*",
        f"backbone.mla.mla_p{i + 2}_1x1.1.*": f"head.reduce.{i}.norm.*",
        f"backbone.mla.mla_p{i + 2}.0.*": f"head.smooth.{i}.conv.*",
        f"backbone.mla.mla_p{i + 2}.1.*": f"head.smooth.{i}.norm.*",
        f"decode_head.mlahead.head{i + 2}.0.*": f"head.refine.{i}.0.conv.*",
        f"decode_head.mlahead.head{i + 2}.1.*": f"head.refine.{i}.0.norm.*",
        f"decode_head.mlahead.head{i + 2}.3.*": f"head.refine.{i}.1.conv.*",
        f"decode_head.mlahead.head{i + 2}.4.*": f"head.refine.{i}.1.norm.*",
    }


MLA = {
    **_TRUNK,
    "backbone.cls_token": None,  # taken away again before the first block
    "backbone.pos_embed": ("stages.0.entry.position", _without_class_token),
    "backbone.norm_#.*": "head.norms.#.*",
    **_level(0),
    **_level(1),
    **_level(2),
    **_level(3),
    "decode_head.cls.*": "head.classifier.*",
}

LARGE, BASE = vit(16, 1024, 24, 16), vit(16, 768, 12, 12)


def setr(trunk: Isotropic, head: type) -> Isotropic:
    return replace(trunk, head=part(head, patch_size=16), num_classes=19)


register("setr_naive", setr(LARGE, NaiveHead), paper=PAPER, says="305.67M", keys={"official": NAIVE})
register("setr_pup", setr(LARGE, PUPHead), paper=PAPER, says="318.31M", keys={"official": PUP})
register(
    "setr_mla",
    Whole(SETRMLA, embed_dim=1024, depth=24, num_heads=16),
    paper=PAPER,
    says="310.57M",
    keys={"official": MLA},
)
register("setr_naive_b", setr(BASE, NaiveHead), paper=PAPER, says="87.69M", keys={"official": NAIVE})
register("setr_pup_b", setr(BASE, PUPHead), paper=PAPER, says="97.64M", keys={"official": PUP})
register(
    "setr_mla_b",
    Whole(SETRMLA, embed_dim=768, depth=12, num_heads=12),
    paper=PAPER,
    says="92.59M",
    keys={"official": MLA},
)

# For images of 64 pixels: 8×8 tokens.
SHAPES = dict(img_size=64, patch_size=8, embed_dim=64, depth=4, num_heads=4, mlp_ratio=2, num_classes=5, channels=32)
register("setr_naive_shapes", setr(LARGE, NaiveHead).but(**SHAPES), paper=PAPER)
register("setr_pup_shapes", setr(LARGE, PUPHead).but(**SHAPES), paper=PAPER)
register("setr_mla_shapes", Whole(SETRMLA, **SHAPES), paper=PAPER)
