"""LeNet-5, the convolutional network that read cheques."""

from course.models.lenet import LeNet5
from course.models.registry import register
from course.models.spec import Whole

# The paper's own network has 60,000: see the class.
register("lenet_5", Whole(LeNet5), paper="LeCun et al. 1998, section II.B", usual_size=32)
