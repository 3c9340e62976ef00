"""UperNet on Swin (Liu et al. 2021, arXiv:2103.14030, table 3)."""

from course.models.dense.upernet import UperNet
from course.models.families.swin import IN_FILES, TRANSFORMERS_TRUNK
from course.models.registry import and_in_files, register
from course.models.spec import Whole

PAPER = "Liu et al. 2021, arXiv:2103.14030, table 3"

_CONVS = {  # each a convolution and a norm
    "decode_head.psp_modules.#.1": "head.pooling.pools.#.1",
    "decode_head.bottleneck": "head.pooling.fuse",
    "decode_head.lateral_convs.#": "head.lateral.#",
    "decode_head.fpn_convs.#": "head.smooth.#",
    "decode_head.fpn_bottleneck": "head.fuse",
    "auxiliary_head.convs.0": "auxiliary.0",
}
TRANSFORMERS = {
    **{f"backbone.{theirs}": ours for theirs, ours in TRANSFORMERS_TRUNK.items()},
    "backbone.swin.layernorm.*": None,  # made and never called
    **{f"backbone.hidden_states_norms.stage{i + 1}.*": f"norms.{i}.*" for i in range(4)},
    **{f"{theirs}.conv.*": f"{ours}.conv.*" for theirs, ours in _CONVS.items()},
    **{f"{theirs}.batch_norm.*": f"{ours}.norm.*" for theirs, ours in _CONVS.items()},
    "decode_head.classifier.*": "head.classifier.*",
    "auxiliary_head.classifier.*": "auxiliary.1.*",
}
KEYS = {"transformers": and_in_files(TRANSFORMERS, {"backbone.swin.": "backbone."} | IN_FILES)}

DEPTHS = (2, 2, 18, 2)

register("upernet_swin_t", Whole(UperNet), paper=PAPER, says="60M 945G", keys=KEYS)
register(
    "upernet_swin_s",
    Whole(UperNet, embed_dim=96, depths=DEPTHS, num_heads=(3, 6, 12, 24)),
    paper=PAPER,
    says="81M 1038G",
    keys=KEYS,
)
register(
    "upernet_swin_b",
    Whole(UperNet, embed_dim=128, depths=DEPTHS, num_heads=(4, 8, 16, 32)),
    paper=PAPER,
    says="121M",
    keys=KEYS,
)
register(
    "upernet_swin_l",
    Whole(UperNet, embed_dim=192, depths=DEPTHS, num_heads=(6, 12, 24, 48), window_size=12),
    paper=PAPER,
    says="234M",
    keys=KEYS,
)

# For images of 64 pixels: maps of 16×16, 8×8 and 4×4 places.
register(
    "upernet_shapes",
    Whole(
        UperNet,
        img_size=64,
        embed_dim=32,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
        num_classes=5,
        channels=32,
        auxiliary_channels=16,
    ),
    paper=PAPER,
)
