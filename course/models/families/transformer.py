"""ViT-S/16 with one of its parts exchanged for what was invented for long sequences or for many weights."""

from dataclasses import replace

from course.models.channel_mixers.mixture_of_experts import MixtureOfExperts
from course.models.channel_mixers.mlp import MLP
from course.models.families.vit import vit
from course.models.heads import MeanHead
from course.models.registry import register
from course.models.spec import alternate, part
from course.models.stems import Tokens
from course.models.token_mixers.linformer import LinformerAttention
from course.models.token_mixers.performer import PerformerAttention
from course.models.token_mixers.retention import Retention

VIT_S16 = vit(16, 384, 12, 6)

register(
    "vit_linformer_s16",
    replace(VIT_S16, token_mixer=part(LinformerAttention, num_heads=6, num_summaries=64)),
    paper="ours: ViT-S/16 with the attention of Wang et al. 2020, arXiv:2006.04768",
)
register(
    "vit_performer_s16",
    replace(VIT_S16, token_mixer=part(PerformerAttention, num_heads=6, num_features=256)),
    paper="ours: ViT-S/16 with the attention of Choromanski et al. 2021, arXiv:2009.14794",
)
register(
    "vit_moe_s16",
    replace(
        VIT_S16,
        channel_mixer=alternate(
            part(MLP, mlp_ratio=4), part(MixtureOfExperts, num_experts=8, top_k=2, mlp_ratio=4, capacity_factor=1.05)
        ),
    ),
    paper="ours: ViT-S/16 with experts in every second block, as in Riquelme et al. 2021, arXiv:2106.05974",
)
# Retention is causal: a class token in front would see nothing, so all tokens are averaged.
register(
    "vit_retention_s16",
    replace(
        VIT_S16,
        tokens=part(Tokens, class_tokens=0),
        token_mixer=part(Retention, num_heads=6, value_ratio=1),
        head=part(MeanHead),
    ),
    paper="ours: ViT-S/16 with the retention of Sun et al. 2023, arXiv:2307.08621",
)
