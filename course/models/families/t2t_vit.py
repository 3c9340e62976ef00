"""T2T-ViT (Yuan et al. 2021, arXiv:2101.11986): a deep and narrow ViT behind a stem that merges neighbouring tokens."""

import torch
from torch import Tensor

from course.models.channel_mixers.mlp import MLP
from course.models.heads import ClassTokenHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import Tokens
from course.models.token_mixers.attention import SelfAttention
from course.models.tokens_to_token import TokensToToken

HEADS = 6


def _queries_as_ours(qkv: Tensor) -> Tensor:
    """The authors trained the weights that they publish with scores divided by √D; here they are divided by √(D/h)."""
    q, kv = qkv[: len(qkv) // 3], qkv[len(qkv) // 3 :]
    return torch.cat([q * HEADS**-0.5, kv])


_STEM = "tokens_to_token"
OFFICIAL = {
    **{
        f"{_STEM}.attention#.{theirs}": f"stem.attention#.{ours}"
        for theirs, ours in {"w": "features", "mlp.0.*": "mlp.fc1.*", "mlp.2.*": "mlp.fc2.*", "*": "*"}.items()
    },
    f"{_STEM}.project.*": "stem.project.*",
    "cls_token": "stages.0.entry.class_tokens",
    "pos_embed": None,  # computed
    "blocks.#.norm1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.attn.qkv.weight": ("stages.0.blocks.#.token_mixer.branch.qkv.weight", _queries_as_ours),
    "blocks.#.attn.*": "stages.0.blocks.#.token_mixer.branch.*",
    "blocks.#.norm2.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "blocks.#.mlp.*": "stages.0.blocks.#.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}

register(
    "t2t_vit_14",
    Isotropic(
        stem=part(TokensToToken, token_dim=64),
        tokens=part(Tokens, class_tokens=1, position="sequence"),
        token_mixer=part(SelfAttention, num_heads=HEADS, qkv_bias=False),
        channel_mixer=part(MLP, mlp_ratio=3),
        norm=part(LayerNorm, eps=1e-5),
        head=part(ClassTokenHead, eps=1e-5),
        embed_dim=384,
        depth=14,
    ),
    paper="Yuan et al. 2021, arXiv:2101.11986, tables 1 and 2",
    says="21.5M 4.8G",
    keys={"official": OFFICIAL},
)
