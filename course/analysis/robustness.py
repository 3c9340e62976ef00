"""What a network still tells when patches of the image are taken away (PatchDrop) or change places."""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from course.analysis.features import device_of, evaluating, prepared
from course.analysis.waiting import waiting
from course.names import one_of

ORDERS = ("random", "salient", "non-salient")
DROPPED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def occlusion(
    model: nn.Module,
    data,
    shares: Sequence[float] = DROPPED,
    *,
    grid: int = 8,
    order: str = "random",
    saliency: Callable[[nn.Module, Tensor], Tensor] | None = None,
    batch_size: int = 250,
    seed: int = 0,
) -> list[float]:
    """Accuracy when a share of the tiles of each image is gone: PatchDrop.

    Naseer et al. 2021, arXiv:2105.10497, section 3.1. A tile that is gone has the value 0 after
    normalisation: the mean colour of the training images. Tiles fall one after the other, so at a larger
    share those of a smaller one are gone too.

    Args:
        model: images (B, C, H, W) to logits (B, classes).
        data: an ``ImageSet`` or a pair of images, as stored, and labels.
        shares: of the tiles that are gone, each 0..1.
        grid: the image is cut into grid × grid tiles.
        order: ``random``, for each image its own; ``salient``: the most salient tiles fall first;
            ``non-salient``: the least.
        saliency: (model, prepared images (B, C, H, W)) -> (B, H, W), from attention, say; default:
            ``gradient_saliency``. (The paper takes the attention of another network, DINO.)
        batch_size: images at once; decides memory, not the result.
        seed: of the random order.

    Returns:
        One accuracy 0..1 for each share.

    Raises:
        ValueError: no such order, a share outside 0..1, or tiles that do not divide the image.
    """
    one_of(order, ORDERS, "there is no order")
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares of the tiles are between 0 and 1, and not {list(shares)}")
    images, labels = data
    _checked(images, grid)
    random = torch.rand(len(images), grid * grid, generator=torch.Generator().manual_seed(seed))
    right = torch.zeros(len(shares), dtype=torch.int64)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), random.split(batch_size)))
    with evaluating(model), waiting(len(batches), "dropping patches") as bar:
        for batch, answer, score in batches:
            batch = prepared(model, batch)
            if order != "random":
                score = tile_means((saliency or gradient_saliency)(model, batch), grid)  # (B, grid*grid)
                score = -score if order == "non-salient" else score
            # Which comes first, 0 the first to fall.
            rank = score.argsort(1, descending=True).argsort(1).to(batch.device)  # (B, grid*grid)
            for i, share in enumerate(shares):
                gone = rank < round(share * grid * grid)  # (B, grid*grid)
                right[i] += _right(model, drop_tiles(batch, gone), answer)
            bar.update()
    return (right / len(images)).tolist()


def drop_tiles(images: Tensor, gone: Tensor) -> Tensor:
    """Images with 0 where tiles are gone.

    Args:
        images: (B, C, H, W), normalised: 0 is the mean.
        gone: (B, grid*grid) truth values, tiles in reading order.
    """
    side = round(gone.shape[1] ** 0.5)
    tile = images.shape[-2] // side, images.shape[-1] // side
    rows = gone.view(-1, 1, side, side).repeat_interleave(tile[0], 2)  # (B, 1, H, grid)
    mask = rows.repeat_interleave(tile[1], 3)  # (B, 1, H, W)
    return images.masked_fill(mask, 0.0)


def tile_means(maps: Tensor, grid: int) -> Tensor:
    """The mean over each tile in reading order, (B, H, W) -> (B, grid*grid)."""
    return rearrange(maps, "b (r h) (c w) -> b (r c) (h w)", r=grid, c=grid).mean(-1)


def gradient_saliency(model: nn.Module, images: Tensor) -> Tensor:
    """How much each pixel moves the logit of the class that the model says, (B, C, H, W) -> (B, H, W).

    The largest |gradient| of its channels: Simonyan et al. 2014, arXiv:1312.6034, section 3.1.
    """
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        said = model(x).max(1).values.sum()  # images do not see each other
    (gradient,) = torch.autograd.grad(said, x)
    return gradient.abs().amax(1)  # (B, H, W)


def shuffling(
    model: nn.Module, data, grids: Sequence[int] = (1, 2, 4, 8), *, batch_size: int = 250, seed: int = 0
) -> list[float]:
    """Accuracy when each image is cut into n × n tiles that change places (arXiv:2105.10497, section 3.3).

    Args:
        model, data, batch_size: as for ``occlusion``.
        grids: the n to try; 1 leaves the image as it is.
        seed: of the permutations.

    Returns:
        One accuracy 0..1 for each n.

    Raises:
        ValueError: tiles that do not divide the image.
    """
    images, labels = data
    accuracies = []
    batches = -(-len(images) // batch_size)
    with evaluating(model), waiting(batches * len(grids), "shuffling patches") as bar:
        for grid in grids:
            generator = torch.Generator().manual_seed(seed)
            right = 0
            for batch, answer in zip(images.split(batch_size), labels.split(batch_size)):
                right += _right(model, prepared(model, shuffle_tiles(batch, grid, generator)), answer)
                bar.update()
            accuracies.append(right / len(images))
    return accuracies


def shuffle_tiles(images: Tensor, grid: int, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) cut into grid × grid tiles and put together again, each in an order of its own.

    Raises:
        ValueError: the tiles do not divide the image.
    """
    _checked(images, grid)
    # On the CPU, so that the order is the same on every device.
    order = torch.rand(len(images), grid * grid, generator=generator).argsort(1)  # (B, grid*grid)
    tiles = rearrange(images, "b c (r h) (s w) -> b (r s) c h w", r=grid, s=grid)
    tiles = tiles[torch.arange(len(images), device=images.device)[:, None], order.to(images.device)]
    return rearrange(tiles, "b (r s) c h w -> b c (r h) (s w)", r=grid)


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    return int((model(images).argmax(1) == labels.to(device_of(model))).sum())


def _checked(images: Tensor, grid: int) -> None:
    if images.ndim != 4:
        raise ValueError(f"these are images (N, C, H, W) cut into tiles, and not {tuple(images.shape)}")
    height, width = images.shape[-2:]
    if grid < 1 or height % grid or width % grid:
        fits = ", ".join(str(n) for n in range(1, min(height, width) + 1) if not (height % n or width % n))
        raise ValueError(f"{grid}×{grid} tiles do not divide an image of {height}×{width}: {fits} do")
