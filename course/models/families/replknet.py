"""RepLKNet (Ding et al. 2022, arXiv:2203.06717): kernels up to 31×31, trained beside small ones."""

from course.models.channel_mixers.batch_norm_mlp import BatchNormMLP
from course.models.conv_stems import RepLKStem
from course.models.downsampling import RepLKTransition
from course.models.heads import MeanHead
from course.models.norms import BatchNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.depthwise import LargeKernelMixer

register(
    "replknet_31b",
    Pyramid(
        stem=part(RepLKStem),
        downsample=part(RepLKTransition),
        token_mixer=part(LargeKernelMixer, kernel_size=per_stage(31, 29, 27, 13), small_kernel=5, merged=False),
        channel_mixer=part(BatchNormMLP, mlp_ratio=4),
        norm=part(BatchNorm),
        head=part(MeanHead, norm=BatchNorm),
        dims=(128, 256, 512, 1024),
        depths=(2, 2, 18, 2),
    ),
    paper="Ding et al. 2022, arXiv:2203.06717, table 5",
    says="79M 15.3G",
)
