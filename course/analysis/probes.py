"""What features are good for, with the network that makes them frozen: a linear classifier on them, or their neighbours.

The number says little without its control: ``linear_probe(PIXELS, train, test)``, the same with the pixels for features,
and the same network before it was trained. On centred digits, neighbours by their pixels are right in 98 of 100.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.analysis.features import evaluating, prepared

PIXELS = nn.Flatten()
"""The control: a network whose features are the pixels."""


@torch.no_grad()
def frozen_features(model: nn.Module, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """What the model gives in eval mode, (N, D), on the CPU; made with ``num_classes=0``, its pooled features.

    Args:
        model: any; what trains without labels has the network in ``encoder``, and DINO in ``teacher``.
        images: (N, C, H, W) as they are stored: they are normalised as ``fit`` did it, where it did.
        batch_size: images at once; decides memory, not the result.

    Raises:
        ValueError: what comes out is no vector for each image.
    """
    found = []
    with evaluating(model):
        for batch in images.split(batch_size):
            features = model(prepared(model, batch))
            if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(batch):
                shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                raise ValueError(
                    f"one vector for each image is needed, ({len(batch)}, D), and {type(model).__name__} gives {shape}: "
                    "take a model made with num_classes=0; of MAE and SimMIM the encoder, of DINO the teacher"
                )
            found.append(features.float().cpu())
    return torch.cat(found)


def linear_probe(model: nn.Module, train, test, *, strength: float = 1.0) -> float:
    """Accuracy, 0 to 1, on `test` of a linear classifier that was trained on the frozen features of `train`.

    Logistic regression on features of mean 0 and standard deviation 1 (over `train`), by scikit-learn.

    Args:
        model, train, test: as in `frozen_features`; ``ImageSet`` or pairs of images and labels.
        strength: 1 / that of the L2 penalty (scikit-learn's ``C``).
    """
    from sklearn.linear_model import LogisticRegression

    (known, labels), (asked, answers) = _of_both(model, train, test)
    mean, std = known.mean(0), known.std(0) + 1e-6
    classifier = LogisticRegression(C=strength, max_iter=1000)
    classifier.fit(((known - mean) / std).numpy(), labels.numpy())
    return float(classifier.score(((asked - mean) / std).numpy(), answers.numpy()))


def knn(model: nn.Module, train, test, *, k: int = 20, temperature: float = 0.07) -> float:
    """Accuracy, 0 to 1, of the vote of the k images of `train` whose features are most alike, by the cosine.

    A vote counts exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978, section 3.4; DINO, arXiv:2104.14294,
    appendix F.1 has k = 20). The mean over `train` is taken off first: pixels are all positive, so that without it
    every two images are alike.

    Args:
        model, train, test: as in `linear_probe`.
    """
    (known, labels), (asked, answers) = _of_both(model, train, test)
    mean = known.mean(0)
    known, asked = F.normalize(known - mean, dim=1), F.normalize(asked - mean, dim=1)
    right = 0
    for batch, answer in zip(asked.split(1000), answers.split(1000), strict=True):
        alike, who = (batch @ known.T).topk(min(k, len(known)), dim=1)  # (B, k)
        votes = torch.zeros(len(batch), 1 + int(labels.max()))
        votes.scatter_add_(1, labels[who], (alike / temperature).exp())
        right += int((votes.argmax(1) == answer).sum())
    return right / len(answers)


def _of_both(model: nn.Module, train, test) -> list[tuple[Tensor, Tensor]]:
    return [(frozen_features(model, images), labels.cpu().long()) for images, labels in (train, test)]
