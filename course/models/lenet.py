"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B)."""

from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model


class LeNet5(Model):
    """Two convolutions of 5×5, a 2×2 mean behind each, three linear layers: (B, C, H, W) -> (B, num_classes).

    As it is drawn since: its second convolution sees all six maps, where the paper connects each of its maps to some of
    them; the means have no weights of their own; and the last layer is linear, where the paper measures distances.

    Args:
        img_size: H = W, or (H, W); 32 in the paper, in which a digit of 28×28 has a border of 2.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the 84 numbers before them.

    Raises:
        ValueError: the image is too small for two convolutions.
    """

    one_map = "fc1.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(self, img_size: int | tuple[int, int] = 32, in_chans: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        h, w = (((side - 4) // 2 - 4) // 2 for side in (height, width))  # of the last map
        if min(h, w) < 1:
            raise ValueError(
                f"img_size is at least 16, and not {min(height, width)}: two 5×5 convolutions eat the rest"
            )
        self.conv1 = nn.Conv2d(in_chans, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * h * w, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = linear_or_nothing(84, num_classes)
        self.pool = nn.AvgPool2d(2)
        self.act = nn.Tanh()
        self.num_features = 16

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each pooling: (B, 6, 14, 14) and (B, 16, 5, 5) of images of 32×32."""
        first = self.pool(self.act(self.conv1(images)))  # (B, 6, H/2 - 2, W/2 - 2)
        return [first, self.pool(self.act(self.conv2(first)))]

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage_outputs(images)[-1].flatten(1)  # (B, 16·h·w)
        x = self.act(self.fc2(self.act(self.fc1(x))))  # (B, 120), then (B, 84)
        return self.fc3(x)
