"""PiT, the pooling-based vision transformer (Heo et al. 2021, arXiv:2103.16302): a ViT whose map shrinks as a CNN's."""

from torch import Tensor

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import TokenStem
from course.models.downsampling import TokenPooling
from course.models.heads import ClassTokenHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.attention import SelfAttention


def _as_tokens(position: Tensor) -> Tensor:
    return position.flatten(2).transpose(1, 2)  # (1, D, h, w) -> (1, h*w, D)


TIMM = {
    "patch_embed.conv.*": "stem.conv.*",
    "cls_token": "stem.tokens.class_tokens",
    "pos_embed": ("stem.tokens.position", _as_tokens),
    "transformers.#.pool.*": "stages.#.entry.*",
    "transformers.#.blocks.#.norm1.*": "stages.#.blocks.#.token_mixer.norm.*",
    "transformers.#.blocks.#.attn.*": "stages.#.blocks.#.token_mixer.branch.*",
    "transformers.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "transformers.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}

register(
    "pit_s",
    Pyramid(
        stem=part(TokenStem, patch_size=16, stride=8),
        downsample=part(TokenPooling),
        token_mixer=part(SelfAttention, num_heads=per_stage(3, 6, 12)),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm),
        head=part(ClassTokenHead),
        dims=(144, 288, 576),
        depths=(2, 6, 4),
    ),
    paper="Heo et al. 2021, arXiv:2103.16302, table 1",
    says="23.5M 2.9G",
    keys={"timm": TIMM},
)
