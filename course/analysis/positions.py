"""Which positions are alike (Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7, centre; appendix D.4)."""

import torch.nn.functional as F
from torch import Tensor, nn

from course.analysis.token_grid import token_grid
from course.models.stems import Tokens


def position_similarity(position: Tensor | nn.Module, grid: tuple[int, int] | None = None) -> Tensor:
    """The cosine between the embedding of each position and that of each other, (h, w, h, w), from -1 to 1.

    ``similarity[i, j]`` is the map (h, w) of what is like the position in row i and column j. Class
    tokens are left out.

    Args:
        position: (n + h*w, D), or (1, n + h*w, D) as many libraries store it; or a model of the course
            that adds one such table to its tokens.
        grid: (h, w); default: the model's, or a square.

    Raises:
        ValueError: the model has no table of positions, or more than one; or it is no grid.
    """
    if isinstance(position, nn.Module):
        position, own_grid = _table_of(position)
        grid = grid or own_grid
    position = position.detach()
    position = position[0] if position.ndim == 3 and len(position) == 1 else position  # (n + h*w, D)
    if position.ndim != 2:
        raise ValueError(f"positions are (n + h*w, D), and not {tuple(position.shape)}")
    grid = grid or token_grid(len(position))[1]
    if not 0 <= len(position) - grid[0] * grid[1] <= 2:
        raise ValueError(f"{len(position)} positions are not {grid[0]}×{grid[1]} with at most 2 class tokens")
    direction = F.normalize(position[-grid[0] * grid[1] :], dim=-1)  # (h*w, D)
    return (direction @ direction.T).clamp(-1, 1).reshape(*grid, *grid)


def _table_of(model: nn.Module) -> tuple[Tensor, tuple[int, int]]:
    found = [m for m in model.modules() if isinstance(m, Tokens) and m.position is not None]
    if len(found) != 1:
        raise ValueError(
            f"this {type(model).__name__} has {len(found) or 'no'} tables of positions that are added to "
            "tokens, and one is needed: pass the table itself, (n + h*w, D)"
        )
    return found[0].position, found[0].grid
