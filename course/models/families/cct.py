"""CCT: compact convolutional transformers for small data sets (Hassani et al. 2021, arXiv:2104.05704)."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvTokenizer
from course.models.norms import LayerNorm
from course.models.pooling_heads import SequencePoolHead
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import Tokens
from course.models.token_mixers.attention import SelfAttention

# Seven blocks, one convolution of 3×3.
cct_7_3x1 = Isotropic(
    stem=part(ConvTokenizer),
    tokens=part(Tokens, class_tokens=0, position="learned"),
    token_mixer=part(SelfAttention, num_heads=4, qkv_bias=False),
    channel_mixer=part(MLP, mlp_ratio=2),
    norm=part(LayerNorm, eps=1e-5),
    head=part(SequencePoolHead, eps=1e-5),
    embed_dim=256,
    depth=7,
    img_size=32,
    num_classes=10,
)

register("cct_7_3x1_cifar", cct_7_3x1, paper="Hassani et al. 2021, arXiv:2104.05704", says="3.76M")
