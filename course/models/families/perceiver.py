"""Perceiver (Jaegle et al. 2021, arXiv:2103.03206) and Perceiver IO (Jaegle et al. 2021, arXiv:2107.14795)."""

from course.models.perceiver import Perceiver, PerceiverIO
from course.models.registry import register
from course.models.spec import Spec, Whole


def _cross_attend(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.attention.self.layernorm1.*": f"{ours}.norm.*",
        f"{theirs}.attention.self.layernorm2.*": f"{ours}.norm_inputs.*",
        f"{theirs}.attention.self.query.*": f"{ours}.q.*",
        f"{theirs}.attention.self.key.*": f"{ours}.kv.*[0/2]",
        f"{theirs}.attention.self.value.*": f"{ours}.kv.*[1/2]",
        f"{theirs}.attention.output.dense.*": f"{ours}.proj.*",
        f"{theirs}.layernorm.*": f"{ours}.channel_mixer.norm.*",
        f"{theirs}.mlp.dense1.*": f"{ours}.channel_mixer.branch.fc1.*",
        f"{theirs}.mlp.dense2.*": f"{ours}.channel_mixer.branch.fc2.*",
    }


_BLOCK, _OURS = "perceiver.encoder.self_attends.#", "latent_transformer.#"
TRANSFORMERS = {
    "perceiver.embeddings.latents": "latents",
    **_cross_attend("perceiver.encoder.cross_attention", "encoder"),
    f"{_BLOCK}.attention.self.layernorm1.*": f"{_OURS}.token_mixer.norm.*",
    f"{_BLOCK}.attention.self.query.*": f"{_OURS}.token_mixer.branch.qkv.*[0/3]",
    f"{_BLOCK}.attention.self.key.*": f"{_OURS}.token_mixer.branch.qkv.*[1/3]",
    f"{_BLOCK}.attention.self.value.*": f"{_OURS}.token_mixer.branch.qkv.*[2/3]",
    f"{_BLOCK}.attention.output.dense.*": f"{_OURS}.token_mixer.branch.proj.*",
    f"{_BLOCK}.layernorm.*": f"{_OURS}.channel_mixer.norm.*",
    f"{_BLOCK}.mlp.dense1.*": f"{_OURS}.channel_mixer.branch.fc1.*",
    f"{_BLOCK}.mlp.dense2.*": f"{_OURS}.channel_mixer.branch.fc2.*",
    "perceiver.decoder.decoder.output_position_encodings.position_embeddings": "query",
    **_cross_attend("perceiver.decoder.decoder.decoding_cross_attention", "decoder"),
    "perceiver.decoder.decoder.final_layer.*": "head.*",
}


def at_224_pixels(spec: Spec) -> Spec:
    """transformers' highest frequency is that of 224 pixels for an image of any size; ours is that of the image."""
    size = dict(spec.part.options).get("img_size", 224)
    if size not in (224, (224, 224)):
        raise ValueError(f"its frequencies are those of images of 224×224, and not of {size}: img_size=224 fits")
    return spec


register("perceiver", Whole(Perceiver), paper="Jaegle et al. 2021, arXiv:2103.03206", says="44.9M")
register(
    "perceiver_io",
    Whole(PerceiverIO),
    paper="Jaegle et al. 2021, arXiv:2107.14795",
    says="48.4M",
    keys={"transformers": TRANSFORMERS},
    as_in={"transformers": at_224_pixels},
)
register(
    "perceiver_cifar",
    Whole(Perceiver, img_size=32, num_latents=64, embed_dim=192, iterations=4, depth=4, num_heads=3, num_bands=16),
    paper="ours: Perceiver at the size of 32×32 images",
)
