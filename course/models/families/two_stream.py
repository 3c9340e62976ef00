"""Networks with two streams, the ConvNets that video transformers are compared with.

SlowFast (Feichtenhofer et al. 2019, arXiv:1812.03982) and the two-stream network (Simonyan & Zisserman 2014,
arXiv:1406.2199).
"""

from course.models.registry import register
from course.models.spec import Whole
from course.models.video_convnets import SlowFast, TwoStream

register(
    "slowfast_r50",
    Whole(SlowFast, num_frames=32, num_classes=400, depths=(3, 4, 6, 3), alpha=4, beta=1 / 8),
    paper="Feichtenhofer et al. 2019, arXiv:1812.03982, table 1",
)
register(
    "two_stream",
    Whole(TwoStream, num_frames=11, num_classes=101),
    paper="Simonyan & Zisserman 2014, arXiv:1406.2199, figure 1, without its fully connected layers",
)
