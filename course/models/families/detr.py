"""DETR (Carion et al. 2020, arXiv:2005.12872)."""

from course.models.dense.detr import DETR
from course.models.families.resnet import TORCHVISION
from course.models.registry import and_in_files, register
from course.models.spec import Whole

_ATTENTION = {"q_proj.*": "q.*", "k_proj.*": "k.*", "v_proj.*": "v.*", "o_proj.*": "proj.*"}
TRANSFORMERS = {
    **{f"model.backbone.model.{theirs}": f"backbone.{ours}" for theirs, ours in TORCHVISION.items()},
    "model.input_projection.*": "reduce.*",
    "model.query_position_embeddings.weight": "queries",
    **{
        f"model.encoder.layers.#.self_attn.{theirs}": f"encoder.#.attention.{ours}"
        for theirs, ours in _ATTENTION.items()
    },
    "model.encoder.layers.#.self_attn_layer_norm.*": "encoder.#.norm1.*",
    "model.encoder.layers.#.mlp.fc1.*": "encoder.#.mlp.fc1.*",
    "model.encoder.layers.#.mlp.fc2.*": "encoder.#.mlp.fc2.*",
    "model.encoder.layers.#.final_layer_norm.*": "encoder.#.norm2.*",
    **{
        f"model.decoder.layers.#.self_attn.{theirs}": f"decoder.#.attention.{ours}"
        for theirs, ours in _ATTENTION.items()
    },
    "model.decoder.layers.#.self_attn_layer_norm.*": "decoder.#.norm1.*",
    **{
        f"model.decoder.layers.#.encoder_attn.{theirs}": f"decoder.#.cross_attention.{ours}"
        for theirs, ours in _ATTENTION.items()
    },
    "model.decoder.layers.#.encoder_attn_layer_norm.*": "decoder.#.norm2.*",
    "model.decoder.layers.#.mlp.fc1.*": "decoder.#.mlp.fc1.*",
    "model.decoder.layers.#.mlp.fc2.*": "decoder.#.mlp.fc2.*",
    "model.decoder.layers.#.final_layer_norm.*": "decoder.#.norm3.*",
    "model.decoder.layernorm.*": "norm.*",
    "class_labels_classifier.*": "classifier.*",
    "bbox_predictor.layers.0.*": "box.0.*",
    "bbox_predictor.layers.1.*": "box.2.*",
    "bbox_predictor.layers.2.*": "box.4.*",
}
IN_FILES = {"backbone.model": "backbone.conv_encoder.model", "o_proj": "out_proj", "mlp.fc": "fc"}

register(
    "detr_r50",
    Whole(DETR),
    paper="Carion et al. 2020, arXiv:2005.12872, table 1",
    says="41M",
    keys={"transformers": and_in_files(TRANSFORMERS, IN_FILES)},
)

# For images of 64 pixels, from nothing: the encoder reads 8×8 places.
register(
    "detr_shapes",
    Whole(
        DETR,
        depths=(1, 1),
        block="basic",
        width=32,
        frozen_norms=False,
        num_classes=4,
        num_queries=8,
        embed_dim=64,
        num_heads=4,
        mlp_ratio=2.0,
        encoder_depth=2,
        decoder_depth=2,
    ),
    paper="Carion et al. 2020, arXiv:2005.12872",
    usual_size=64,
)
