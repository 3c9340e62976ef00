"""DeiT (Touvron et al. 2021, arXiv:2012.12877) and DeiT III (Touvron et al. 2022, arXiv:2204.07118).

DeiT is ViT, number for number: what is new is how it is trained, and the distillation token. DeiT III adds LayerScale
and takes the class token's position away.
"""

from dataclasses import replace

from course.models.families.vit import AS_IN, IN_FILES, KEYS, TIMM, TRANSFORMERS, vit
from course.models.heads import DistilledHead
from course.models.registry import and_in_files, register
from course.models.spec import part
from course.models.stems import Tokens

PAPER = "Touvron et al. 2021, arXiv:2012.12877, table 1"

DISTILLED = {
    "timm": {
        "cls_token": "stages.0.entry.class_tokens[0/2]",
        "dist_token": "stages.0.entry.class_tokens[1/2]",
        "head_dist.*": "head.fc_distilled.*",
        **{theirs: ours for theirs, ours in TIMM.items() if theirs != "cls_token"},
    },
    "transformers": and_in_files(
        {
            "deit.embeddings.cls_token": "stages.0.entry.class_tokens[0/2]",
            "deit.embeddings.distillation_token": "stages.0.entry.class_tokens[1/2]",
            "cls_classifier.*": "head.fc.*",
            "distillation_classifier.*": "head.fc_distilled.*",
            **{
                theirs.replace("vit.", "deit."): ours
                for theirs, ours in TRANSFORMERS.items()
                if theirs not in ("vit.embeddings.cls_token", "classifier.*")
            },
        },
        IN_FILES,
    ),
}
DEIT3 = TIMM | {
    "blocks.#.ls1.gamma": "stages.0.blocks.#.token_mixer.scale",
    "blocks.#.ls2.gamma": "stages.0.blocks.#.channel_mixer.scale",
}

deit_s = vit(16, 384, 12, 6)
deit_s_distilled = replace(deit_s, tokens=part(Tokens, class_tokens=2), head=part(DistilledHead))
# The network that CaiT starts from, 36 blocks deep; with its 8 heads, which add no parameters.
deit_s_36 = vit(16, 384, 36, 8)
deit3_s = replace(deit_s, tokens=part(Tokens, class_tokens=1, position_on_class=False), layer_scale=1e-6)

register("deit_s", deit_s, paper=PAPER, says="22M", keys=KEYS, as_in=AS_IN)
register("deit_b", vit(16, 768, 12, 12), paper=PAPER, says="86M", keys=KEYS, as_in=AS_IN)
register("deit_b_384", vit(16, 768, 12, 12, img_size=384), paper=PAPER, says="86M", keys=KEYS, as_in=AS_IN)
register("deit_s_36", deit_s_36, paper="Touvron et al. 2021, arXiv:2103.17239, table 1", keys=KEYS, as_in=AS_IN)
register("deit_s_distilled", deit_s_distilled, paper=PAPER, says="22M", keys=DISTILLED, as_in=AS_IN)
register("deit3_s", deit3_s, paper="Touvron et al. 2022, arXiv:2204.07118", says="22.0M 4.6G", keys={"timm": DEIT3})
