"""DETR: detection as the prediction of a set (Carion et al. 2020, arXiv:2005.12872)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.channel_mixers.mlp import MLP
from course.models.model import Model
from course.models.norms import LayerNorm
from course.models.resnet import ResNet
from course.models.token_mixers.attention import head_width


class FrozenBatchNorm(nn.Module):
    """Batch norm (B, D, H, W) -> (B, D, H, W) whose statistics, scale and shift are constants, in training too.

    Detectors see few images at a time, too few for statistics; those of the classifier that the trunk was are kept.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            self.register_buffer(name, torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def freeze_batch_norms(model: nn.Module) -> None:
    """Exchange every batch norm inside a model for a frozen one, in place."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, FrozenBatchNorm(child.num_features, child.eps))
        else:
            freeze_batch_norms(child)


def sine_positions(visible: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Sines and cosines of where each place lies in its image, (B, h, w) -> (B, h*w, D).

    Half of the channels tell the row and half the column. Rows count from 1, and only those with pixels; as the last
    is always 2π, the same place in images of different sizes has the same vector.

    Args:
        visible: True for what is image and no padding.
        dim: D.
        dtype: of the result.
    """
    frequency = 10_000 ** (-torch.arange(0, dim // 2, 2, dtype=dtype, device=visible.device) / (dim // 2))  # (D/4,)

    def along(axis: int) -> Tensor:
        place = visible.to(dtype).cumsum(dim=axis)  # (B, h, w)
        place = place / (place.amax(dim=axis, keepdim=True) + 1e-6) * 2 * math.pi
        angle = place[..., None] * frequency  # (B, h, w, D/4)
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(3)  # (B, h, w, D/2), in turn

    return torch.cat([along(1), along(2)], dim=-1).flatten(1, 2)  # (B, h*w, D)


class Attention(nn.Module):
    """Multi-head attention with queries, keys and values each from its own place: (B, N, D), (B, M, D) twice -> (B, N, D).

    Args:
        dim: D.
        num_heads: h.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.num_heads)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
        mask = None if visible is None else visible[:, None, None, :]  # (B, 1, 1, M), True: may be looked at
        q, k, v = self.heads(self.q(query)), self.heads(self.k(key)), self.heads(self.v(value))  # (B, h, N or M, d)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))  # (B, N, D)


class DETREncoderLayer(nn.Module):
    """Self-attention, then an MLP, the norm behind each sum: (B, N, D) -> (B, N, D) (figure 10, left).

    The positions are added anew in every layer, and to queries and keys only: what is passed on knows no place.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm1 = LayerNorm(dim, eps=1e-5)
        self.mlp = MLP(dim, mlp_ratio, act=nn.ReLU)
        self.norm2 = LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, position: Tensor, visible: Tensor | None = None) -> Tensor:
        placed = x + position
        x = self.norm1(x + self.attention(placed, placed, x, visible))
        return self.norm2(x + self.mlp(x))


class DETRDecoderLayer(nn.Module):
    """Self-attention, a look at the image, then an MLP: (B, Q, D), (B, N, D) -> (B, Q, D) (figure 10, right).

    What positions are to places of the image, learned vectors are to the Q objects that are asked for. All objects
    are found at once: no mask hides one from another.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm1 = LayerNorm(dim, eps=1e-5)
        self.cross_attention = Attention(dim, num_heads)
        self.norm2 = LayerNorm(dim, eps=1e-5)
        self.mlp = MLP(dim, mlp_ratio, act=nn.ReLU)
        self.norm3 = LayerNorm(dim, eps=1e-5)

    def forward(
        self, y: Tensor, queries: Tensor, memory: Tensor, position: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        placed = y + queries
        y = self.norm1(y + self.attention(placed, placed, y))
        y = self.norm2(y + self.cross_attention(y + queries, memory + position, memory, visible))
        return self.norm3(y + self.mlp(y))


class DETR(Model):
    """Images (B, C, H, W) -> logits (B, Q, num_classes + 1) and boxes (B, Q, 4): figure 2.

    The last class is "no object". A box is (centre x, centre y, width, height), in units of the image's sides. The
    paper trains with dropout of 0.1 behind every attention and MLP; there is none here.

    Args:
        depths, block, width: of the ResNet whose last map the encoder reads: a 32nd of the image's side if it has four
            stages, an eighth if it has two.
        frozen_norms: the ResNet's batch norms are constants, those of the trained classifier that it comes from. A
            ResNet that starts from nothing needs norms that learn.
        in_chans: C.
        num_classes: COCO has 80 classes, with numbers up to 90.
        num_queries: Q, more than an image has objects.
        embed_dim, num_heads, mlp_ratio: D, the heads and the MLP's width of both stacks.
        encoder_depth, decoder_depth: how many layers they have.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        block: str = "bottleneck",
        width: int = 64,
        frozen_norms: bool = True,
        in_chans: int = 3,
        num_classes: int = 91,
        num_queries: int = 100,
        embed_dim: int = 256,
        num_heads: int = 8,
        mlp_ratio: float = 8.0,
        encoder_depth: int = 6,
        decoder_depth: int = 6,
    ) -> None:
        super().__init__()
        if embed_dim % 4:
            raise ValueError(f"sines and cosines of rows and columns need a width divided by 4, and {embed_dim} is not")
        if num_classes < 1:
            raise ValueError(
                'num_classes=0 leaves no last layer away, for "no object" is a class, too: what the last layers read is '
                "objects(images)[-1], and features(images) what the encoder reads"
            )
        self.backbone = ResNet(depths, block=block, width=width, in_chans=in_chans, num_classes=0)
        if frozen_norms:
            freeze_batch_norms(self.backbone)
        self.num_features = self.backbone.num_features
        self.reduce = nn.Conv2d(self.num_features, embed_dim, 1)
        self.encoder = nn.ModuleList([DETREncoderLayer(embed_dim, num_heads, mlp_ratio) for _ in range(encoder_depth)])
        self.decoder = nn.ModuleList([DETRDecoderLayer(embed_dim, num_heads, mlp_ratio) for _ in range(decoder_depth)])
        self.norm = LayerNorm(embed_dim, eps=1e-5)  # the decoder's: the encoder has none at its end
        self.queries = nn.Parameter(torch.randn(num_queries, embed_dim))
        self.classifier = nn.Linear(embed_dim, num_classes + 1)
        self.box = nn.Sequential(
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, 4),
        )
        for p in [*self.encoder.parameters(), *self.decoder.parameters()]:
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The maps of its ResNet, (B, D', h, w), of which the encoder reads the last."""
        return self.backbone.stage_outputs(images)

    def objects(self, images: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """What each layer of the decoder makes of the queries, normed, each (B, Q, D); see ``forward``."""
        x = self.reduce(self.stage_outputs(images)[-1])  # (B, D, h, w)
        if visible is None:
            position = sine_positions(torch.ones_like(x[:1, 0], dtype=torch.bool), x.shape[1], x.dtype)  # (1, h*w, D)
        else:
            visible = F.interpolate(visible[:, None].to(x.dtype), size=x.shape[2:])[:, 0] > 0.5  # (B, h, w)
            position = sine_positions(visible, x.shape[1], x.dtype)  # (B, h*w, D)
            visible = visible.flatten(1)  # (B, h*w)
        x = x.flatten(2).transpose(1, 2)  # (B, h*w, D)
        for layer in self.encoder:
            x = layer(x, position, visible)
        y = x.new_zeros(x.shape[0], *self.queries.shape)  # (B, Q, D)
        found = []
        for layer in self.decoder:
            y = layer(y, self.queries, x, position, visible)
            found.append(self.norm(y))
        return found

    def predictions(self, objects: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (..., num_classes + 1) and boxes (..., 4) of objects (..., D)."""
        return self.classifier(objects), self.box(objects).sigmoid()

    def forward(self, images: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """
        Args:
            images: (B, C, H, W); images of different sizes are filled up at the right and below.
            visible: (B, H, W), True for what is image and not filled up; None: all of it.
        """
        return self.predictions(self.objects(images, visible)[-1])


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), 0 to 1."""
    both, union, _ = _overlap(a, b)
    return both / union


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """How well boxes (..., 4) cover each other, from -1 to 1, a perfect match (Rezatofighi et al. 2019, arXiv:1902.09630).

    Intersection over union, less the share of the smallest box around both that neither covers.
    """
    both, union, around = _overlap(a, b)
    return both / union - (around - union) / around


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of boxes (..., 4), the areas (...) of what both cover, of what either does, and of the smallest box around both."""
    a_low, a_high = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2  # (..., 2): two corners
    b_low, b_high = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    both = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(dim=-1)  # (...)
    around = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).prod(dim=-1)
    return both, a[..., 2:].prod(dim=-1) + b[..., 2:].prod(dim=-1) - both, around


def detections(logits: Tensor, boxes: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each image the scores (Q,), classes (Q,) and boxes (Q, 4) of what the queries found.

    A query's class is its most probable one apart from "no object", the probability its score. Nothing is taken away:
    a query that found nothing has low scores only.
    """
    score, classes = logits.softmax(dim=-1)[..., :-1].max(dim=-1)  # (B, Q)
    return list(zip(score, classes, boxes))


Targets = list[tuple[Tensor, Tensor]]  # for each image the classes (M,) and boxes (M, 4) of its objects
Pairs = list[tuple[Tensor, Tensor]]  # for each image the numbers of queries, and of the objects they answer for


def matching_cost(
    logits: Tensor, boxes: Tensor, classes: Tensor, true: Tensor, l1: float = 5.0, iou: float = 2.0
) -> Tensor:
    """What it costs that a query answers for an object (section 3.1, equation 1).

    -p(class) + l1 * |difference of the boxes| - iou * generalized IoU.

    Args:
        logits, boxes: (..., Q, num_classes + 1) and (..., Q, 4), of the queries.
        classes, true: (M,) and (M, 4), of the objects.

    Returns:
        (..., Q, M).
    """
    probability = logits.softmax(dim=-1)[..., classes]  # (..., Q, M)
    distance = (boxes[..., None, :] - true).abs().sum(dim=-1)  # (..., Q, M)
    return -probability + l1 * distance - iou * generalized_iou(boxes[..., None, :], true)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: Targets, l1: float = 5.0, iou: float = 2.0) -> Pairs:
    """Which query answers for which object of each image: the cheapest one-to-one matching (section 3.1).

    Args:
        logits, boxes: (B, Q, num_classes + 1) and (B, Q, 4).
        targets: of the B images.
        l1, iou: of ``matching_cost``.
    """
    from scipy.optimize import (
        linear_sum_assignment,  # the Hungarian algorithm; slow to import
    )

    classes, true = (torch.cat(parts) for parts in zip(*targets))  # of all images: one way to the CPU and back
    cost = matching_cost(logits, boxes, classes, true, l1, iou).cpu()  # (B, Q, all M)
    counts = [len(own) for own, _ in targets]
    chosen = [linear_sum_assignment(part[image].numpy()) for image, part in enumerate(cost.split(counts, dim=-1))]
    return [(torch.from_numpy(q).to(boxes.device), torch.from_numpy(m).to(boxes.device)) for q, m in chosen]


def in_order(targets: Targets) -> Pairs:
    """No matching: the first query answers for the first object, and so on. What DETR is compared with."""
    numbers = [torch.arange(len(classes), device=classes.device) for classes, _ in targets]
    return [(number, number) for number in numbers]


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    l1: float = 5.0,
    iou: float = 2.0,
    no_object: float = 0.1,
    pairs: Pairs | None = None,
) -> Tensor:
    """The Hungarian loss (section 3.1, equation 2): cross-entropy for all queries, boxes for the matched ones.

    Args:
        logits: (B, Q, num_classes + 1).
        boxes: (B, Q, 4).
        targets: for each image the classes (M,) and boxes (M, 4) of its objects.
        l1, iou: weights of the boxes' two losses, each divided by the number of objects in the batch.
        no_object: weight of the last class in the cross-entropy: most queries have nothing to find.
        pairs: who answers for what; None: as ``match`` says.
    """
    if pairs is None:
        pairs = match(logits, boxes, targets, l1, iou)
    wanted = torch.full(logits.shape[:2], logits.shape[2] - 1, device=logits.device)  # (B, Q)
    for row, (queries, objects), (classes, _) in zip(wanted, pairs, targets):
        row[queries] = classes[objects]
    weight = logits.new_ones(logits.shape[2])
    weight[-1] = no_object
    loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)

    found = torch.cat([box[queries] for box, (queries, _) in zip(boxes, pairs)])  # (all M, 4)
    true = torch.cat([box[objects] for (_, box), (_, objects) in zip(targets, pairs)])  # (all M, 4)
    distance = l1 * (found - true).abs().sum() + iou * (1 - generalized_iou(found, true)).sum()
    return loss + distance / max(len(true), 1)


def set_loss_of_all_layers(model: DETR, images: Tensor, targets: Targets, **options) -> Tensor:
    """The set loss of what each layer of the decoder finds, summed: the last one's and the "auxiliary losses".

    All layers share the norm, the classifier and the boxes' MLP; each has its own matching (section 3.2).

    Args:
        images: (B, C, H, W).
        targets: of the B images.
        options: of ``set_loss``.
    """
    return sum(set_loss(*model.predictions(found), targets, **options) for found in model.objects(images))
