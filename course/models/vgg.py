"""VGG (Simonyan & Zisserman 2015, arXiv:1409.1556, table 1): depth by many small convolutions."""

from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model


class VGG(Model):
    """Five stages of convolutions, each ended by a 2×2 maximum, and three linear layers: (B, C, H, W) -> logits.

    Args:
        kernels: for each stage the kernel sizes of its convolutions.
        width: channels of the first stage; they double from stage to stage up to 8 times as many.
        hidden: of the two linear layers before the last.
        img_size: H = W, or (H, W), a multiple of 32: the linear layers belong to a map's size.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the `hidden` numbers before them.

    Raises:
        ValueError: five halvings do not divide the image.
    """

    one_map = "fc1.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(
        self,
        kernels: tuple[tuple[int, ...], ...],
        width: int = 64,
        hidden: int = 4096,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        height, wide = (img_size, img_size) if isinstance(img_size, int) else img_size
        halvings = 2 ** len(kernels)
        if height % halvings or wide % halvings:
            raise ValueError(f"img_size is a multiple of {halvings}, and not {height}×{wide}")
        self.stages = nn.ModuleList()
        in_dim = in_chans
        for stage, sizes in enumerate(kernels):
            dim, layers = width * min(2**stage, 8), []
            for size in sizes:
                layers += [nn.Conv2d(in_dim, dim, size, padding=size // 2), nn.ReLU(inplace=True)]
                in_dim = dim
            self.stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.num_features = in_dim
        self.fc1 = nn.Linear(in_dim * (height // halvings) * (wide // halvings), hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = linear_or_nothing(hidden, num_classes)
        self.act, self.dropout = nn.ReLU(), nn.Dropout(0.5)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/2, W/2) to (B, 8D, H/32, W/32)."""
        maps, x = [], images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage_outputs(images)[-1].flatten(1)  # (B, 8D·h·w)
        for layer in (self.fc1, self.fc2):
            x = self.dropout(self.act(layer(x)))  # (B, hidden)
        return self.fc3(x)
