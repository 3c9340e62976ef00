"""One linear layer across positions, the same for every channel (ResMLP: Touvron et al. 2021, arXiv:2105.03404)."""

from torch import Tensor, nn

from course.models.token_mixers.token_mlp import along_tokens


class TokenLinear(nn.Module):
    """A linear layer along the tokens, with nothing after it: (B, N, D) -> (B, N, D) (section 2 of the paper).

    Half of Mixer's token MLP: its N×N weights can be looked at, row by row, as images of what a position reads.

    Args:
        grid: (h, w) with N = h*w. The weights belong to N: another image size needs another network.
    """

    one_map = "proj.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        tokens = grid[0] * grid[1]
        self.proj = nn.Linear(tokens, tokens)

    def forward(self, x: Tensor) -> Tensor:
        return along_tokens(self.proj, x)  # (B, N, D)
