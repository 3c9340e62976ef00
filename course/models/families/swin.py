"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030)."""

from collections.abc import Callable

from course.models.channel_mixers.mlp import MLP
from course.models.downsampling import PatchMerging
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import and_in_files, register
from course.models.spec import Pyramid, alternate, part, per_stage
from course.models.stems import PatchEmbed
from course.models.token_mixers.window import WindowAttention

PAPER = "Liu et al. 2021, arXiv:2103.14030, table 1"

_BLOCK = {  # within a block, as timm names it
    "norm1.*": "token_mixer.norm.*",
    "attn.relative_position_bias_table": "token_mixer.branch.bias_table",
    "attn.relative_position_index": None,
    "attn.qkv.*": "token_mixer.branch.qkv.*",
    "attn.proj.*": "token_mixer.branch.proj.*",
    "norm2.*": "channel_mixer.norm.*",
}
TIMM = {
    "patch_embed.*": "stem.*",
    **{f"layers.#.blocks.#.{theirs}": ours and f"stages.#.blocks.#.{ours}" for theirs, ours in _BLOCK.items()},
    "layers.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "layers.#.blocks.#.attn_mask": None,
    "layers.#.downsample.*": "stages.#.entry.*",
    "norm.*": "head.norm.*",
    "head.fc.*": "head.fc.*",
}
# torchvision counts the merging as a stage of its own: 0 stem, 1 blocks, 2 merging, 3 blocks, ...
TORCHVISION = {
    "features.0.0.*": "stem.proj.*",
    "features.0.2.*": "stem.norm.*",
    **{
        f"features.{2 * i + 1}.#.{theirs}": ours and f"stages.{i}.blocks.#.{ours}"
        for i in range(4)
        for theirs, ours in _BLOCK.items()
    },
    **{f"features.{2 * i + 1}.#.mlp.0.*": f"stages.{i}.blocks.#.channel_mixer.branch.fc1.*" for i in range(4)},
    **{f"features.{2 * i + 1}.#.mlp.3.*": f"stages.{i}.blocks.#.channel_mixer.branch.fc2.*" for i in range(4)},
    **{f"features.{2 * i}.*": f"stages.{i}.entry.*" for i in range(1, 4)},
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}
TRANSFORMERS_TRUNK = {
    "swin.embeddings.patch_embeddings.projection.*": "stem.proj.*",
    "swin.embeddings.norm.*": "stem.norm.*",
    **{
        f"swin.encoder.layers.#.blocks.#.{theirs}": f"stages.#.blocks.#.{ours}"
        for theirs, ours in {
            "attention.q_proj.*": "token_mixer.branch.qkv.*[0/3]",
            "attention.k_proj.*": "token_mixer.branch.qkv.*[1/3]",
            "attention.v_proj.*": "token_mixer.branch.qkv.*[2/3]",
            "attention.o_proj.*": "token_mixer.branch.proj.*",
            "attention.relative_position_bias.relative_position_bias_table": "token_mixer.branch.bias_table",
            "layernorm_before.*": "token_mixer.norm.*",
            "layernorm_after.*": "channel_mixer.norm.*",
            "mlp.fc1.*": "channel_mixer.branch.fc1.*",
            "mlp.fc2.*": "channel_mixer.branch.fc2.*",
        }.items()
    },
    # Theirs stands at the end of a stage and ours at the beginning of the next.
    **{f"swin.encoder.layers.{i}.downsample.*": f"stages.{i + 1}.entry.*" for i in range(3)},
}
TRANSFORMERS_TRUNK |= {"swin.encoder.layers.#.blocks.#.attention.relative_position_index": None}  # of older files
IN_FILES = {
    "attention.q_proj": "attention.self.query",
    "attention.k_proj": "attention.self.key",
    "attention.v_proj": "attention.self.value",
    "attention.relative_position_bias.": "attention.self.",
    "attention.relative_position_index": "attention.self.relative_position_index",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
TRANSFORMERS = TRANSFORMERS_TRUNK | {"swin.layernorm.*": "head.norm.*", "classifier.*": "head.fc.*"}
KEYS = {"timm": TIMM, "torchvision": TORCHVISION, "transformers": and_in_files(TRANSFORMERS, IN_FILES)}


def _same_windows(filled_up: bool) -> Callable[[Pyramid], Pyramid]:
    """For ``as_in``: torchvision and timm look at each side alone to say whether its windows move, and timm moves them
    before it fills the map up (`filled_up` False), which is another function. Neither shows in names or shapes."""

    def as_there(spec: Pyramid) -> Pyramid:
        stem, windows = dict(spec.stem.options), dict(spec.token_mixer.parts[0].options)
        size = (spec.img_size, spec.img_size) if isinstance(spec.img_size, int) else spec.img_size
        m, grid = windows["window_size"], tuple(side // stem["patch_size"] for side in size)
        for _ in spec.dims:
            one_window = grid[0] == grid[1] <= m
            if not one_window and (min(grid) <= m or (not filled_up and any(side % m for side in grid))):
                raise ValueError(
                    f"on a map of {grid[0]}×{grid[1]} its windows of {m}×{m} lie otherwise than in the paper's code: "
                    f"img_size={stem['patch_size'] * 2 ** (len(spec.dims) - 1) * m} fits"
                )
            grid = tuple(-(-side // 2) for side in grid)
        return spec

    return as_there


AS_IN = {"timm": _same_windows(filled_up=False), "torchvision": _same_windows(filled_up=True)}


def swin(
    embed_dim: int, depths: tuple, num_heads: tuple, window_size: int = 7, img_size: int = 224, patch_size: int = 4
) -> Pyramid:
    windows = part(WindowAttention, num_heads=per_stage(*num_heads), window_size=window_size)
    return Pyramid(
        stem=part(PatchEmbed, patch_size=patch_size, norm=True),
        downsample=part(PatchMerging),
        token_mixer=alternate(windows.but(shift=0), windows.but(shift="half")),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-5),
        head=part(MeanHead, eps=1e-5),
        dims=tuple(embed_dim * 2**stage for stage in range(len(depths))),
        depths=depths,
        img_size=img_size,
    )


register("swin_t", swin(96, (2, 2, 6, 2), (3, 6, 12, 24)), paper=PAPER, says="29M 4.5G", keys=KEYS, as_in=AS_IN)
register("swin_s", swin(96, (2, 2, 18, 2), (3, 6, 12, 24)), paper=PAPER, says="50M 8.7G", keys=KEYS, as_in=AS_IN)
register("swin_b", swin(128, (2, 2, 18, 2), (4, 8, 16, 32)), paper=PAPER, says="88M 15.4G", keys=KEYS, as_in=AS_IN)
register(
    "swin_b_384",
    swin(128, (2, 2, 18, 2), (4, 8, 16, 32), window_size=12, img_size=384),
    paper=PAPER,
    says="88M 47.0G",
    keys=KEYS,
    as_in=AS_IN,
)
register(
    "swin_l_384",
    swin(192, (2, 2, 18, 2), (6, 12, 24, 48), window_size=12, img_size=384),
    paper=PAPER,
    says="197M 103.9G",
    keys=KEYS,
    as_in=AS_IN,
)
register(
    "swin_cifar",
    swin(96, (2, 6), (3, 6), window_size=4, img_size=32, patch_size=2),
    paper="ours: Swin at the size of 32×32 images",
    keys=KEYS,
    as_in=AS_IN,
)
