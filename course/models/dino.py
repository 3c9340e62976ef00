"""Learning without labels by agreeing with oneself: DINO (Caron et al. 2021, arXiv:2104.14294).

Student and teacher are one network twice. Both see views of an image and give a distribution over prototypes; the student
learns to say of each view what the teacher says of another. The teacher learns nothing: its weights are a running mean of
the student's. Two things keep it from saying the same of all images: its mean answer is taken off (centring, against one
prototype for everything) and its temperature is low (sharpening, against all prototypes alike).

``fit(DINO(encoder), images, recipes.dino)`` trains one: ``forward`` is the loss. What is kept afterwards is ``teacher``.
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.backbone import Backbone
from course.models.masked_images import WithoutLabels
from course.models.registry import another, input_shape_of

GLOBAL_VIEWS = 2  # that the teacher sees


def dino_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], centre: Tensor, student_temp: float, teacher_temp: float
) -> Tensor:
    """Cross-entropy of the student's answer to a view from the teacher's to another, a scalar (equations 1 to 3).

    The mean over all pairs of different views. There is no gradient into the teacher's answers.

    Args:
        student: logits (B, K) of each view.
        teacher: logits (B, K) of the first few of these views.
        centre: (K,), taken off the teacher's logits.
    """
    targets = [((logits - centre) / teacher_temp).softmax(dim=-1).detach() for logits in teacher]
    answers = [(logits / student_temp).log_softmax(dim=-1) for logits in student]
    pairs = [
        -(target * answer).sum(dim=-1).mean()
        for i, target in enumerate(targets)
        for j, answer in enumerate(answers)
        if i != j
    ]
    return torch.stack(pairs).mean()


class DINOHead(nn.Module):
    """Features (B, D) to logits of prototypes (B, K): three layers, then cosines with each prototype (appendix C).

    Args:
        dim: D.
        prototypes: K.
        hidden: width of the two hidden layers.
        bottleneck: width in which prototypes and answers lie, on a sphere.
    """

    def __init__(self, dim: int, prototypes: int, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.mlp(x), dim=-1), F.normalize(self.prototypes, dim=-1))


class DINO(WithoutLabels):
    """``forward`` gives the loss of the views of some images, a scalar; in training it moves the centre.

    Without centring: ``centre_momentum=1``, for then it stays 0. Without sharpening: ``teacher_temp=1``.

    The paper warms ``teacher_temp`` up to 0.07; here it is one number, as it is by default in the authors' code.

    Args:
        encoder: a model with ``num_classes=0``, the student's.
        prototypes: K.
        student_temp, teacher_temp: temperatures of the two softmaxes.
        momentum: share of the teacher that an update leaves, in the first step; it grows to 1 along a cosine.
        centre_momentum: share of the centre that a step leaves.
        hidden, bottleneck: of the heads.

    Attributes:
        teacher: the teacher's encoder, always in eval mode. Running statistics it has from the student.
        centre: (K,).
    """

    takes_views = True  # what ``fit`` asks before it makes several of each image

    def __init__(
        self,
        encoder: nn.Module,
        prototypes: int = 65_536,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        hidden: int = 2048,
        bottleneck: int = 256,
    ) -> None:
        super().__init__(encoder)
        self.head = DINOHead(encoder.num_features, prototypes, hidden, bottleneck)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False).eval()
        self.register_buffer("centre", torch.zeros(prototypes))
        self.student_temp, self.teacher_temp = student_temp, teacher_temp
        self.momentum, self.centre_momentum = momentum, centre_momentum
        self._sized: dict[tuple[int, ...], nn.Module] = {}

    @WithoutLabels.normalise_images.setter
    def normalise_images(self, normalise: Callable) -> None:
        self.encoder.normalise_images = self.teacher.normalise_images = normalise

    def train(self, mode: bool = True) -> "DINO":
        super().train(mode)
        self.teacher.eval()
        self.teacher_head.eval()
        return self

    def logits(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The student's logits (B, K) of each view (B, C, h, w)."""
        return [self.head(self._features(view)).float() for view in views]

    @torch.no_grad()
    def teacher_logits(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's, of views of the size that the encoder was made for; not centred."""
        return [self.teacher_head(self.teacher(view)).float() for view in views]

    def forward(self, views: Sequence[Tensor] | Tensor) -> Tensor:
        """
        Args:
            views: each (B, C, h, w), of the same images; the first two are large, and the teacher sees them alone.
                Images (B, C, H, W) stand for two views that are the same.
        """
        views = (views,) * GLOBAL_VIEWS if isinstance(views, Tensor) else views
        teacher = self.teacher_logits(views[:GLOBAL_VIEWS])
        loss = dino_loss(self.logits(views), teacher, self.centre, self.student_temp, self.teacher_temp)
        if self.training:
            self._move_centre(torch.cat(teacher).mean(dim=0))
        return loss

    @torch.no_grad()
    def _move_centre(self, mean: Tensor) -> None:
        """Equation 4; of several processes, the mean over all of them."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean)
            mean = mean / dist.get_world_size()
        self.centre.lerp_(mean, 1 - self.centre_momentum)

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """The teacher follows the student, by a momentum that grows from `momentum` to 1 over the steps (section 3.1)."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * step / steps)) / 2
        for theirs, own in ((self.teacher, self.encoder), (self.teacher_head, self.head)):
            torch._foreach_lerp_(list(theirs.parameters()), list(own.parameters()), 1 - momentum)
            for buffer, value in zip(theirs.buffers(), own.buffers(), strict=True):
                buffer.copy_(value)

    def _features(self, images: Tensor) -> Tensor:
        """What the student's encoder makes of images of any size, (B, D): its positions are resized for others."""
        size = tuple(images.shape[-2:])
        fixed = (
            isinstance(self.encoder, Backbone) and hasattr(self.encoder, "spec") and self.encoder.spec.fits_one_size()
        )
        if not fixed or size == input_shape_of(self.encoder)[-2:]:
            return self.encoder(images)
        if size not in self._sized:
            with torch.random.fork_rng(devices=[]):  # its own weights are of no use
                self._sized[size] = another(self.encoder, img_size=size).to(images.device)
        model = self._sized[size].train(self.training)
        weights = {}
        for name, weight in self.encoder.named_parameters():
            owner, _, leaf = name.rpartition(".")
            resize = getattr(model.get_submodule(owner), "resized", None)
            weights[name] = resize(leaf, weight, self.encoder.get_submodule(owner)) if resize else weight
        return torch.func.functional_call(model, weights, (images,))
